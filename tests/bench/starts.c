/* SPDX-License-Identifier: Apache-2.0 */
/* How long it takes from the start of an instance to its first answered request: by weft's runtimes
 * and by hand, in turn, each time with the same image, the same network and the same arguments.
 *   starts CASE ROUNDS DIR LIBEXEC CGROUP IMAGE [CONTAINERD]
 *     runc    IMAGE an OCI archive: weft, and `ctr run`
 *     qemu    IMAGE a unikernel: weft, and the very qemu command line that weft's has
 *     warm    IMAGE a virtual machine that can: weft's cold and warm starts
 * prints a line of JSON per start: {"case", "how", "round", "ms"}. DIR is for its own use. Runs in
 * a network namespace of its own, which it fills. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/link.h"
#include "runtimes/cgroup.h"
#include "runtimes/qemu/guest_config.h"
#include "runtimes/qemu/qemu.h"
#include "runtimes/runtime.h"

#define DEADLINE_NS 120000000000ULL
#define ID          "bench.web.1"
#define NETNS       "netns"

static const uint8_t mac[6] = {2, 0, 10, 19, 77, 2};

static struct {
	const char *name, *dir, *image_path, *containerd;
	char *by_hand; /* containerd's namespace, hence a control group, of what ctr starts */
	const struct weft_runtime_ops *ops;
	struct weft_runtime *rt;
	sd_event *event;
	char *hand; /* control group of what is started by hand */
	char *netns, *inst_dir, *log, *image, *image_dir;
	char addr[INET_ADDRSTRLEN];
	int tap;
	unsigned answers;
	int r;
	struct weft_err err;
	bool died;
} bench;

/* --- who asks ------------------------------------------------------------------------------------
 */

/* One whole exchange; a guest's first SYN may meet nobody, and the kernel repeats it late. */
static bool ask(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(80)};
	struct linger now = {.l_onoff = 1};
	_cleanup_(closep) int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	static const char get[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	struct pollfd p = {.fd = s, .events = POLLOUT};
	char buf[2048] = "";

	inet_pton(AF_INET, bench.addr, &sin.sin_addr);
	setsockopt(s, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	if (connect(s, (struct sockaddr *)&sin, sizeof(sin)) < 0 && errno != EINPROGRESS)
		return false;
	if (poll(&p, 1, 10) <= 0 || (p.revents & (POLLERR | POLLHUP)))
		return false;
	if (send(s, get, sizeof(get) - 1, MSG_NOSIGNAL) < 0)
		return false;
	p.events = POLLIN;
	return poll(&p, 1, 1000) > 0 && recv(s, buf, sizeof(buf) - 1, 0) > 0 &&
	       strncmp(buf, "HTTP/1.1 200", 12) == 0;
}

/* A process beside us asks again and again, and says when it had an answer. */
static pid_t start_asking(int *ret_fd)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		err(1, "pipe");
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		uint64_t now;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (!ask())
			usleep(500);
		now = weft_now_ns();
		_exit(write(fds[1], &now, sizeof(now)) != sizeof(now));
	}
	close(fds[1]);
	*ret_fd = fds[0];
	return pid;
}

static double await_answer(pid_t asker, int fd, uint64_t begin)
{
	uint64_t when = 0, end = weft_now_ns() + DEADLINE_NS;
	struct pollfd p = {.fd = fd, .events = POLLIN};

	while (poll(&p, 1, 0) == 0) {
		if (sd_event_run(bench.event, 1000) < 0 || bench.died || weft_now_ns() > end)
			errx(1, "%s: no answer from %s%s", bench.name, bench.addr,
				bench.died ? ": it has ended" : "");
	}
	if (read(fd, &when, sizeof(when)) != sizeof(when))
		errx(1, "%s: who asks has failed", bench.name);
	waitpid(asker, NULL, 0);
	close(fd);
	return (double)(when - begin) / 1e6;
}

/* --- weft's runtimes -----------------------------------------------------------------------------
 */

static void on_event(
	void *userdata, const char *id, enum weft_runtime_event event, const char *detail)
{
	(void)userdata, (void)id;
	if (event == WEFT_RUNTIME_EXITED || event == WEFT_RUNTIME_FAILED) {
		warnx("%s: ended: %s", bench.name, detail);
		bench.died = true;
	}
}

static void on_done(void *userdata, int r, const struct weft_err *why)
{
	(void)userdata;
	bench.answers++;
	bench.r = r;
	bench.err = *why;
}

static void on_prepared(
	void *userdata, int r, const struct weft_err *why, const char *ref, uint64_t size)
{
	(void)userdata, (void)size;
	on_done(NULL, r, why);
	free(bench.image);
	bench.image = ref ? strdup(ref) : NULL;
}

static void await(int r, const char *what)
{
	uint64_t end = weft_now_ns() + DEADLINE_NS;

	while (r == 0 && bench.answers == 0 && weft_now_ns() < end)
		if (sd_event_run(bench.event, 100000) < 0)
			errx(1, "event loop");
	if (r < 0 || bench.r < 0 || bench.answers == 0)
		errx(1, "%s: %s: %s", bench.name, what, bench.err.msg);
	bench.answers = 0;
}

static struct weft_runtime_spec spec_of(enum weft_virt virt)
{
	struct weft_runtime_spec s = {
		.id = ID,
		.image = bench.image,
		.dir = bench.inst_dir,
		.log_path = bench.log,
		.virt = virt,
		.arch = WEFT_ARCH_AMD64,
		.memory_mb = virt == WEFT_VIRT_UNIKERNEL ? 64 : 0,
		.net = {.prefix_len = 24, .mtu = 1500, .tap_fd = bench.tap},
	};

	inet_pton(AF_INET, "10.19.77.1", &s.net.gateway);
	inet_pton(AF_INET, bench.addr, &s.net.addr);
	memcpy(s.net.mac, mac, sizeof(mac));
	if (virt == WEFT_VIRT_CONTAINER) {
		s.net.netns = bench.netns;
		s.net.ifname = "eth0";
	}
	return s;
}

static void open_runtime(const char *libexec, const char *cgroup)
{
	const struct weft_runtime_config config = {
		.event = bench.event,
		.state_dir = bench.dir,
		.libexec_dir = libexec,
		.containerd = bench.containerd,
		.ctrd_namespace = cgroup,
		.cgroup_root = cgroup,
		.on_event = on_event,
	};

	bench.r = bench.ops->new_(&config, &bench.rt, &bench.err);
	if (bench.r < 0)
		errx(1, "%s: %s", bench.name, bench.err.msg);
	await(bench.ops->prepare(
		      bench.rt, bench.image_path, WEFT_ARCH_AMD64, on_prepared, NULL, &bench.err),
		"prepare the image");
}

static double start_weft(const struct weft_runtime_spec *spec)
{
	uint64_t begin;
	pid_t asker;
	double ms;
	int fd;

	asker = start_asking(&fd);
	begin = weft_now_ns();
	bench.r = bench.ops->start(bench.rt, spec, on_done, NULL, &bench.err);
	await(bench.r, "start");
	ms = await_answer(asker, fd, begin);
	return ms;
}

static void delete_weft(void)
{
	await(bench.ops->delete_(bench.rt, ID, on_done, NULL, &bench.err), "delete");
	bench.died = false;
}

/* --- by hand -------------------------------------------------------------------------------------
 */

static int run(const char *const *argv)
{
	int status = -1, null;
	pid_t pid = fork();

	if (pid == 0) {
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return status;
}

static void ctr(bool must, const char *words)
{
	_cleanup_(freep) char *line = strdup(words);
	const char *argv[24] = {"ctr", "-a", bench.containerd, "-n", bench.by_hand};
	char *save = NULL;
	unsigned n = 5;

	for (char *w = strtok_r(line, " ", &save); w && n < 23; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	if (run(argv) != 0 && must)
		errx(1, "ctr %s: failed", words);
}

static double start_ctr(void)
{
	_cleanup_(freep) char *words =
		weft_strf("run -d --with-ns network:%s weft.local/nginx:latest " ID, bench.netns);
	uint64_t begin;
	pid_t asker;
	int fd;

	asker = start_asking(&fd);
	begin = weft_now_ns();
	ctr(true, words);
	return await_answer(asker, fd, begin);
}

static void delete_ctr(void)
{
	ctr(false, "task kill -s KILL " ID);
	ctr(false, "task rm -f " ID);
	ctr(true, "container rm " ID);
}

/* weft's command line without what only weft needs: -S, for which somebody has to say "cont". */
static char **qemu_words(void)
{
	struct weft_runtime_stats stats;
	char path[64], *text = NULL;
	char **v = calloc(160, sizeof(*v));
	size_t size, n = 0;

	if (bench.ops->stats(bench.rt, ID, &stats) < 0)
		errx(1, "qemu: no pid");
	snprintf(path, sizeof(path), "/proc/%u/cmdline", stats.pid);
	if (weft_read_file(path, 65536, &text, &size) < 0)
		errx(1, "%s", path);
	for (char *w = text; w < text + size && n < 159; w += strlen(w) + 1)
		if (strcmp(w, "-S") != 0)
			v[n++] = strdup(w);
	snprintf(path, sizeof(path), "/proc/%u/cwd", stats.pid);
	bench.image_dir = realpath(path, NULL);
	free(text);
	return v;
}

static int listener(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/hand.sock", bench.dir);
	unlink(sa.sun_path);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 1) < 0)
		err(1, "%s", sa.sun_path);
	return fd;
}

static void __attribute__((noreturn)) exec_qemu(char *const *words, const int fds[3])
{
	int null = open("/dev/null", O_RDWR), high[3];

	if (weft_cgroup_join(bench.hand, 0) < 0)
		_exit(126);
	for (int i = 0; i < 3; i++)
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 20);
	for (int i = 0; i < 3; i++) {
		dup2(null, i);
		dup2(high[i], 3 + i);
	}
	if (chdir(bench.image_dir) == 0)
		execvp(words[0], words);
	_exit(127);
}

static double start_qemu(char *const *words, pid_t *ret)
{
	struct weft_runtime_spec spec = spec_of(WEFT_VIRT_UNIKERNEL);
	_cleanup_(closep) int monitor = listener(), config = -1;
	const struct weft_cgroup_limits none = {};
	uint64_t begin;
	pid_t asker;
	int fd;

	if (weft_guest_config_file(ID, &spec.net, &config) < 0)
		errx(1, "the guest's configuration");
	/* Groups share processors out between them: one outside would be another machine. That it
	 * has to be made counts for weft alone. */
	if (weft_cgroup_create(bench.hand, &none, &bench.err) < 0)
		errx(1, "%s", bench.err.msg);
	asker = start_asking(&fd);
	begin = weft_now_ns();
	*ret = fork();
	if (*ret == 0)
		exec_qemu(words, (const int[]){monitor, bench.tap, config});
	return await_answer(asker, fd, begin);
}

/* --- cases ---------------------------------------------------------------------------------------
 */

static void print(const char *how, int round, double ms)
{
	printf("{\"case\":\"%s\",\"how\":\"%s\",\"round\":%d,\"ms\":%.3f}\n", bench.name, how,
		round, ms);
	fflush(stdout);
}

static void make_tap(void)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, .ifr_name = "guest0"};

	bench.tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (bench.tap < 0 || ioctl(bench.tap, TUNSETIFF, &ifr) < 0)
		err(1, "/dev/net/tun");
	if (system("ip addr add 10.19.77.1/24 dev guest0 && ip link set guest0 up && "
		   "ip neigh replace 10.19.77.2 lladdr 02:00:0a:13:4d:02 dev guest0 nud permanent"))
		errx(1, "ip: the tap cannot be set up");
}

static void case_runc(int rounds)
{
	_cleanup_(freep) char *import = weft_strf("image import %s", bench.image_path);
	struct weft_runtime_spec spec;

	if (weft_netns_add(bench.netns, &bench.err) < 0)
		errx(1, "%s", bench.err.msg);
	setenv("N", bench.netns, 1);
	if (system("ip link add host0 type veth peer name eth0 && "
		   "ip addr add 10.19.77.1/24 dev host0 && ip link set host0 up && "
		   "ip link set eth0 netns \"$N\" 2>/dev/null || "
		   "{ exec 3<\"$N\"; ip link set eth0 netns /proc/$$/fd/3; }") ||
		system("nsenter --net=\"$N\" sh -c 'ip addr add 10.19.77.2/24 dev eth0; "
		       "ip link set lo up; ip link set eth0 up'"))
		errx(1, "ip: the namespace cannot be set up");
	ctr(true, import);
	spec = spec_of(WEFT_VIRT_CONTAINER);
	for (int i = -1; i < rounds; i++) { /* one before, which counts for nothing */
		for (int k = 0; k < 2; k++) {
			bool hand = (i + k) % 2;
			double ms = hand ? start_ctr() : start_weft(&spec);

			if (hand)
				delete_ctr();
			else
				delete_weft();
			if (i >= 0)
				print(hand ? "hand" : "weft", i, ms);
		}
	}
	ctr(true, "image rm --sync weft.local/nginx:latest");
	weft_cgroup_destroy(bench.by_hand);
}

static void case_qemu(int rounds)
{
	struct weft_runtime_spec spec = spec_of(WEFT_VIRT_UNIKERNEL);
	char **words;
	pid_t pid;

	spec.warm_start = WEFT_WARM_START_OFF;
	start_weft(&spec);
	words = qemu_words();
	delete_weft();
	for (int i = 0; i < rounds; i++) {
		for (int k = 0; k < 2; k++) {
			bool hand = (i + k) % 2;
			double ms = hand ? start_qemu(words, &pid) : start_weft(&spec);

			if (hand) {
				kill(pid, SIGKILL);
				waitpid(pid, NULL, 0);
				weft_cgroup_destroy(bench.hand);
			} else {
				delete_weft();
			}
			print(hand ? "hand" : "weft", i, ms);
		}
	}
	strv_free(words);
}

static bool has_checkpoint(void)
{
	_cleanup_(freep) char *pattern =
		weft_strf("%s/qemu/images/*/warm/*[!t]/seal.json", bench.dir);
	glob_t g;
	bool found = glob(pattern, 0, NULL, &g) == 0;

	globfree(&g);
	return found;
}

static void case_warm(int rounds)
{
	struct weft_runtime_spec spec = spec_of(WEFT_VIRT_UNIKERNEL);
	uint64_t end;

	weft_qemu_set_warm_delay(bench.rt, 0);
	spec.memory_mb = 192;
	spec.warm_start = WEFT_WARM_START_ON;
	start_weft(&spec);
	delete_weft();
	end = weft_now_ns() + DEADLINE_NS;
	while (!has_checkpoint()) {
		if (sd_event_run(bench.event, 50000) < 0 || weft_now_ns() > end)
			errx(1, "warm: no checkpoint was made");
	}
	for (int i = 0; i < rounds; i++) {
		for (int k = 0; k < 2; k++) {
			bool cold = (i + k) % 2;
			double ms;

			spec.warm_start = cold ? WEFT_WARM_START_OFF : WEFT_WARM_START_ON;
			ms = start_weft(&spec);
			delete_weft();
			print(cold ? "cold" : "warm", i, ms);
		}
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		const struct weft_runtime_ops *ops;
		void (*run)(int rounds);
	} cases[] = {
		{"runc", &weft_runtime_containerd, case_runc},
		{"qemu", &weft_runtime_qemu, case_qemu},
		{"warm", &weft_runtime_qemu, case_warm},
	};
	uint64_t rounds;

	if (argc < 7 || weft_parse_u64(argv[2], 1, 10000, &rounds) < 0)
		errx(2, "starts CASE ROUNDS DIR LIBEXEC CGROUP IMAGE [CONTAINERD]");
	signal(SIGPIPE, SIG_IGN);
	bench.name = argv[1];
	bench.dir = argv[3];
	bench.image_path = argv[6];
	bench.containerd = argv[7];
	bench.tap = -1;
	bench.netns = weft_strf("%s/" NETNS, bench.dir);
	bench.inst_dir = weft_strf("%s/instance", bench.dir);
	bench.hand = weft_strf("%s/hand", argv[5]);
	bench.by_hand = weft_strf("%s-hand", argv[5]);
	bench.log = weft_strf("%s/log", bench.dir);
	strcpy(bench.addr, "10.19.77.2");
	if (weft_mkdir_p(bench.inst_dir, 0700) < 0 || sd_event_new(&bench.event) < 0)
		err(1, "%s", bench.inst_dir);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (strcmp(bench.name, cases[i].name) != 0)
			continue;
		bench.ops = cases[i].ops;
		if (bench.ops == &weft_runtime_qemu)
			make_tap();
		open_runtime(argv[4], argv[5]);
		cases[i].run((int)rounds);
		bench.ops->free_(bench.rt);
		return 0;
	}
	errx(2, "%s: no such case: runc, qemu, warm", bench.name);
}
