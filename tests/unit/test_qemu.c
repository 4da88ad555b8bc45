/* SPDX-License-Identifier: Apache-2.0 */
#include <archive.h>
#include <archive_entry.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/process.h"
#include "runtimes/qemu/cmdline.h"
#include "runtimes/qemu/machine.h"
#include "runtimes/qemu/qemu.h"
#include "runtimes/qemu/qmp.h"
#include "tests/lib/kernel.h"

#define DEADLINE_NS 30000000000ULL
#define ID          "shop.web.1"

static const struct weft_runtime_ops *const ops = &weft_runtime_qemu;
static char libexec[PATH_MAX], guest_image[PATH_MAX];

struct fixture {
	char dir[64], inst[PATH_MAX], log[PATH_MAX], cgroup_root[64], cgroup[160];
	char image[128]; /* the last one prepared */
	unsigned fds;    /* open at the beginning */
	sd_event *event;
	struct weft_runtime *rt;

	unsigned done, events, probed, prepared;
	int r;
	struct weft_err err;
	enum weft_runtime_event event_kind;
	char detail[256];
	struct weft_runtime_cap cap;
};

static unsigned count_fds(void)
{
	_cleanup_(closedirp) DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	return n;
}

/* --- callbacks and the loop ----------------------------------------------------------------------
 */

static void on_event(
	void *userdata, const char *id, enum weft_runtime_event event, const char *detail)
{
	struct fixture *f = userdata;

	assert_string_equal(id, ID);
	f->events++;
	f->event_kind = event;
	snprintf(f->detail, sizeof(f->detail), "%s", detail);
}

static void on_done(void *userdata, int r, const struct weft_err *err)
{
	struct fixture *f = userdata;

	f->done++;
	f->r = r;
	f->err = *err;
	assert_true(r == 0 || (err->code == -r && err->msg[0]));
}

static void on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	struct fixture *f = userdata;

	if (r < 0)
		fail_msg("%s", err->msg);
	assert_true(size > 0);
	f->prepared++;
	snprintf(f->image, sizeof(f->image), "%s", ref);
}

static void on_probed(void *userdata, const struct weft_runtime_cap *caps, unsigned n_caps)
{
	struct fixture *f = userdata;

	assert_int_equal(n_caps, 1);
	f->probed++;
	f->cap = caps[0];
}

static void await(struct fixture *f, const unsigned *count, unsigned n)
{
	uint64_t end = weft_now_ns() + DEADLINE_NS;

	while (*count < n && weft_now_ns() < end)
		assert_true(sd_event_run(f->event, 50000) >= 0);
	assert_int_equal(*count, n);
}

/* --- images and specs ----------------------------------------------------------------------------
 */

static void prepare_path(struct fixture *f, const char *path)
{
	f->prepared = 0;
	assert_int_equal(ops->prepare(f->rt, path, WEFT_ARCH_AMD64, on_prepared, f, &f->err), 0);
	await(f, &f->prepared, 1);
}

static void add_file(struct archive *a, const char *name, const void *data, size_t size)
{
	struct archive_entry *h = archive_entry_new();

	archive_entry_set_pathname(h, name);
	archive_entry_set_filetype(h, AE_IFREG);
	archive_entry_set_perm(h, 0644);
	archive_entry_set_size(h, (la_int64_t)size);
	assert_int_equal(archive_write_header(a, h), ARCHIVE_OK);
	assert_int_equal(archive_write_data(a, data, size), (la_ssize_t)size);
	archive_entry_free(h);
}

/* An image whose kernel is code, for a machine. */
static void prepare_code(
	struct fixture *f, const char *hints, const uint8_t *code, size_t code_size)
{
	_cleanup_(freep) uint8_t *kernel = NULL;
	struct archive *a = archive_write_new();
	char path[PATH_MAX];
	size_t size;

	snprintf(path, sizeof(path), "%s/image.tar.gz", f->dir);
	test_kernel_make(code, code_size, &kernel, &size);
	archive_write_set_format_pax_restricted(a);
	archive_write_add_filter_gzip(a);
	assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
	add_file(a, "kernel", kernel, size);
	add_file(a, "weft.json", hints, strlen(hints));
	assert_int_equal(archive_write_free(a), ARCHIVE_OK);
	prepare_path(f, path);
}

#define MICROVM "{\"machine\": \"microvm\"}"
#define Q35     "{\"machine\": \"q35\"}"

static struct weft_runtime_spec make_spec(struct fixture *f)
{
	return (struct weft_runtime_spec){
		.id = ID,
		.image = f->image,
		.dir = f->inst,
		.log_path = f->log,
		.arch = WEFT_ARCH_AMD64,
		.memory_mb = 32,
		.net.tap_fd = -1,
	};
}

static int start_spec(struct fixture *f, const struct weft_runtime_spec *spec)
{
	int r;

	f->done = 0;
	f->err = (struct weft_err){};
	r = ops->start(f->rt, spec, on_done, f, &f->err);
	if (r < 0) {
		assert_int_equal(f->err.code, -r);
		return r;
	}
	assert_int_equal(f->done, 0);
	await(f, &f->done, 1);
	return f->r;
}

static void start(struct fixture *f)
{
	struct weft_runtime_spec spec = make_spec(f);

	if (start_spec(f, &spec) != 0)
		fail_msg("%s", f->err.msg);
}

static int stop(struct fixture *f, unsigned grace_ms)
{
	f->done = 0;
	assert_int_equal(ops->stop(f->rt, ID, grace_ms, on_done, f, &f->err), 0);
	await(f, &f->done, 1);
	return f->r;
}

static int delete_(struct fixture *f)
{
	f->done = 0;
	assert_int_equal(ops->delete_(f->rt, ID, on_done, f, &f->err), 0);
	await(f, &f->done, 1);
	return f->r;
}

static int adopt(struct fixture *f)
{
	struct weft_runtime_spec spec = make_spec(f);

	f->done = 0;
	assert_int_equal(ops->adopt(f->rt, &spec, on_done, f, &f->err), 0);
	await(f, &f->done, 1);
	return f->r;
}

static pid_t pid_of(struct fixture *f)
{
	struct weft_runtime_stats s;

	assert_int_equal(ops->stats(f->rt, ID, &s), 0);
	assert_true(s.pid > 1);
	return (pid_t)s.pid;
}

static void assert_nothing_left(struct fixture *f)
{
	struct weft_runtime_stats s;
	char path[PATH_MAX + 32];
	struct stat st;

	assert_int_equal(ops->stats(f->rt, ID, &s), -ENOENT);
	assert_int_equal(weft_cgroup_read(f->cgroup, NULL, NULL), -ENOENT);
	snprintf(path, sizeof(path), "%s/qemu/instances/" ID ".json", f->dir);
	assert_int_equal(stat(path, &st), -1);
	snprintf(path, sizeof(path), "%s/qmp.sock", f->inst);
	assert_int_equal(stat(path, &st), -1);
}

static void new_runtime(struct fixture *f)
{
	const struct weft_runtime_config config = {
		.event = f->event,
		.state_dir = f->dir,
		.libexec_dir = libexec,
		.cgroup_root = f->cgroup_root,
		.on_event = on_event,
		.userdata = f,
	};

	assert_int_equal(ops->new_(&config, &f->rt, &f->err), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fds = count_fds();
	snprintf(f->dir, sizeof(f->dir), "/tmp/weft-test-qemu-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->cgroup_root, sizeof(f->cgroup_root), "weft-test-qemu-%d", (int)getpid());
	snprintf(f->cgroup, sizeof(f->cgroup), "%s/" ID, f->cgroup_root);
	snprintf(f->inst, sizeof(f->inst), "%s/an,instance's directory", f->dir);
	snprintf(f->log, sizeof(f->log), "%s/console, of it.log", f->dir);
	assert_int_equal(mkdir(f->inst, 0700), 0);
	assert_true(sd_event_new(&f->event) >= 0);
	new_runtime(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ops->free_(f->rt);
	sd_event_unref(f->event);
	assert_int_equal(weft_cgroup_destroy(f->cgroup_root), 0);
	assert_int_equal(weft_remove_tree(f->dir), 0);
	assert_int_equal(count_fds(), f->fds);
	free(f);
	return 0;
}

/* --- command lines -------------------------------------------------------------------------------
 */

static void cmdline(void **state)
{
	struct weft_hints h = {.kernel_args = "spin=50", .args = "-c /nginx.conf"};
	struct weft_runtime_net net = {.prefix_len = 26};
	const char *const args[] = {"name=a b", "it's", "", "plain", NULL};
	const char *const env[] = {"A=b c", "D=e", NULL};
	const char *const bad[][2] = {{"a\nb"}, {"both ' and \""}};
	const char *const none[] = {NULL};
	struct weft_err err = {};
	char *s;

	(void)state;
	inet_pton(AF_INET, "10.19.1.2", &net.addr);
	inet_pton(AF_INET, "10.19.1.1", &net.gateway);
	assert_int_equal(weft_qemu_cmdline(&h, &net, NULL, NULL, &s, &err), 0);
	assert_string_equal(s, "netdev.ip=10.19.1.2/26:10.19.1.1 spin=50 -- -c /nginx.conf");
	free(s);
	h.netdev = WEFT_NETDEV_IPV4_ADDR;
	h.kernel_args[0] = '\0';
	assert_int_equal(weft_qemu_cmdline(&h, &net, args, env, &s, &err), 0);
	assert_string_equal(s,
		"netdev.ipv4_addr=10.19.1.2 netdev.ipv4_gw_addr=10.19.1.1 "
		"netdev.ipv4_subnet_mask=255.255.255.192 env.vars=[ \"A=b c\" \"D=e\" ] -- "
		"\"name=a b\" \"it's\" \"\" plain");
	free(s);
	net = (struct weft_runtime_net){};
	assert_int_equal(weft_qemu_cmdline(&h, &net, none, none, &s, &err), 0);
	assert_string_equal(s, "--");
	free(s);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(weft_qemu_cmdline(&h, &net, bad[i], NULL, &s, &err), -EINVAL);
	{
		_cleanup_(freep) char *huge = calloc(1, 6000);
		const char *const v[] = {memset(huge, 'x', 5999), NULL};

		assert_int_equal(weft_qemu_cmdline(&h, &net, v, NULL, &s, &err), -E2BIG);
	}
}

static bool has(char **argv, const char *word)
{
	for (; *argv; argv++)
		if (strcmp(*argv, word) == 0)
			return true;
	return false;
}

static void argv(void **state)
{
	const struct weft_unpacked image = {.initrd = true, .files = "files"};
	struct weft_qemu_args a = {
		.id = ID,
		.machine = weft_qemu_machine(WEFT_ARCH_AMD64, WEFT_MACHINE_MICROVM),
		.image = &image,
		.cmdline = "x",
		.log_path = "/a,b",
		.memory_mb = 64,
		.vcpus = 2,
		.tap = true,
		.mac = {2, 0, 0, 0, 0, 0xa},
		.mtu = 1450,
	};
	_cleanup_(strv_freep) char **micro = NULL, **q35 = NULL;

	(void)state;
	assert_int_equal(weft_qemu_argv(&a, &micro), 0);
	assert_true(has(micro, "file,id=console,path=/a,,b,append=on"));
	assert_true(has(micro, "virtio-net-device,netdev=n0,mac=02:00:00:00:00:0a,host_mtu=1450"));
	assert_true(has(micro, "virtio-mmio.force-legacy=false"));
	assert_true(has(micro, "initrd"));
	assert_false(has(micro, "-runas"));
	a.machine = weft_qemu_machine(WEFT_ARCH_AMD64, WEFT_MACHINE_Q35);
	a.kvm = a.drop = true;
	a.mtu = 1500;
	assert_int_equal(weft_qemu_argv(&a, &q35), 0);
	assert_true(has(q35, "virtio-net-pci,romfile=,netdev=n0,mac=02:00:00:00:00:0a"));
	assert_true(has(q35, WEFT_QEMU_KVM_CPU));
	assert_true(has(q35, "-runas"));
	assert_true(has(q35, "virtio-9p-pci,fsdev=fs1,mount_tag=fs1"));
	assert_null(weft_qemu_machine(WEFT_ARCH_ARM64, WEFT_MACHINE_Q35));
}

/* --- the probe -----------------------------------------------------------------------------------
 */

static void probe(void **state)
{
	struct fixture *f = *state;
	char path[PATH_MAX];
	struct stat st;

	assert_int_equal(ops->probe(f->rt, on_probed, f), 0);
	assert_int_equal(ops->probe(f->rt, on_probed, f), 0);
	assert_int_equal(f->probed, 0);
	await(f, &f->probed, 2);
	assert_true(f->cap.usable);
	assert_int_equal(f->cap.virt, WEFT_VIRT_UNIKERNEL);
	assert_int_equal(strncmp(f->cap.version, "qemu ", 5), 0);
	assert_true(strncmp(f->cap.detail, "TCG: ", 5) == 0 || strcmp(f->cap.detail, "KVM") == 0);
	print_message("# %s, %s\n", f->cap.version, f->cap.detail);

	/* Known from then on, also to the next daemon when the guest got through. */
	snprintf(path, sizeof(path), "%s/qemu/accel.json", f->dir);
	if (stat(path, &st) == 0) {
		char text[sizeof(f->cap.detail)];

		memcpy(text, f->cap.detail, sizeof(text));
		ops->free_(f->rt);
		new_runtime(f);
		assert_int_equal(ops->probe(f->rt, on_probed, f), 0);
		await(f, &f->probed, 3);
		assert_string_equal(f->cap.detail, text);
	}
	/* Freed while it probes. */
	assert_int_equal(ops->probe(f->rt, on_probed, f), 0);
}

static void not_installed(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *path = strdup(getenv("PATH"));
	struct weft_runtime_spec spec;

	prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	if (access("/usr/bin/" WEFT_QEMU_AMD64, X_OK) == 0 && geteuid() == 0) {
		/* The search path always ends with the sbin directories; qemu is in bin. */
		setenv("PATH", f->dir, 1);
		assert_int_equal(ops->probe(f->rt, on_probed, f), 0);
		await(f, &f->probed, 1);
		assert_false(f->cap.usable);
		assert_non_null(strstr(f->cap.detail, "apt-get install qemu-system-x86"));
		spec = make_spec(f);
		assert_int_equal(start_spec(f, &spec), -ENOTSUP);
		assert_non_null(strstr(f->err.msg, "not installed"));
		assert_nothing_left(f);
		setenv("PATH", path, 1);
	}
	/* Installed meanwhile. */
	assert_int_equal(ops->probe(f->rt, on_probed, f), 0);
	await(f, &f->probed, f->probed + 1);
	assert_true(f->cap.usable);
}

/* --- life and death ------------------------------------------------------------------------------
 */

static void life(void **state)
{
	struct fixture *f = *state;
	struct weft_runtime_spec spec;
	struct weft_runtime_stats s;
	_cleanup_(freep) char *text = NULL, *log = NULL, *group = NULL;
	char path[PATH_MAX];

	prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	start(f);
	spec = make_spec(f);
	assert_int_equal(start_spec(f, &spec), -EEXIST);
	assert_int_equal(ops->stats(f->rt, ID, &s), 0);
	assert_true(s.cpu_ns > 0 && s.memory_bytes > 0);

	/* Unprivileged, confined, in its cgroup. */
	snprintf(path, sizeof(path), "/proc/%u/status", s.pid);
	assert_int_equal(weft_read_file(path, 65536, &text, NULL), 0);
	assert_non_null(strstr(text, "Uid:\t65534\t65534\t65534\t65534"));
	assert_non_null(strstr(text, "CapEff:\t0000000000000000"));
	assert_non_null(strstr(text, "NoNewPrivs:\t1"));
	assert_non_null(strstr(text, "Seccomp:\t2"));
	assert_int_equal(weft_cgroup_of_pid((pid_t)s.pid, &group), 0);
	assert_string_equal(group, f->cgroup);
	assert_int_equal(weft_read_file(f->log, 65536, &log, NULL), 0);
	assert_non_null(strstr(log, "weft: " ID ": qemu microvm on "));

	assert_int_equal(stop(f, 5000), 0);
	assert_nothing_left(f);
	assert_int_equal(stop(f, 5000), 0);
	assert_int_equal(delete_(f), 0);
	assert_int_equal(delete_(f), 0);
	assert_int_equal(f->events, 0);
	/* The same id again. */
	start(f);
	assert_int_equal(delete_(f), 0);
	assert_nothing_left(f);
	assert_int_equal(f->events, 0);
}

static void console(void **state)
{
	struct fixture *f = *state;
	uint64_t end = weft_now_ns() + DEADLINE_NS;
	bool seen = false;

	prepare_code(f, MICROVM, test_code_hello, test_code_hello_size);
	start(f);
	while (!seen && weft_now_ns() < end) {
		_cleanup_(freep) char *log = NULL;

		assert_true(sd_event_run(f->event, 10000) >= 0);
		assert_int_equal(weft_read_file(f->log, 65536, &log, NULL), 0);
		seen = strstr(log, "\nK\n") != NULL;
	}
	assert_true(seen);
	assert_int_equal(delete_(f), 0);
}

static void guest_ends(void **state)
{
	struct fixture *f = *state;
	const struct {
		const char *hints;
		const uint8_t *code;
		size_t size;
		enum weft_runtime_event event;
		const char *detail;
	} ends[] = {
		{Q35, test_code_poweroff, test_code_poweroff_size, WEFT_RUNTIME_EXITED,
			"guest shut down"},
		{Q35, test_code_panic, test_code_panic_size, WEFT_RUNTIME_FAILED, "guest panicked"},
		{MICROVM, test_code_panic, test_code_panic_size, WEFT_RUNTIME_FAILED,
			"guest panicked"},
		{MICROVM, test_code_reset, test_code_reset_size, WEFT_RUNTIME_FAILED,
			"guest reset"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		struct weft_runtime_spec spec;

		prepare_code(f, ends[i].hints, ends[i].code, ends[i].size);
		spec = make_spec(f);
		f->events = 0;
		/* A guest may end before qemu has said that it runs: the reason is known all the
		 * same. */
		if (start_spec(f, &spec) == 0) {
			await(f, &f->events, 1);
			assert_int_equal(f->event_kind, ends[i].event);
		} else {
			snprintf(f->detail, sizeof(f->detail), "%.200s", f->err.msg);
		}
		if (!strstr(f->detail, ends[i].detail))
			fail_msg("'%s' does not say '%s'", f->detail, ends[i].detail);
		assert_nothing_left(f);
	}
}

static void killed(void **state)
{
	struct fixture *f = *state;

	prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	start(f);
	assert_int_equal(kill(pid_of(f), SIGKILL), 0);
	await(f, &f->events, 1);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_FAILED);
	assert_non_null(strstr(f->detail, "SIGKILL"));
	assert_nothing_left(f);

	/* Told to end by somebody else. */
	start(f);
	assert_int_equal(kill(pid_of(f), SIGTERM), 0);
	await(f, &f->events, 2);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_FAILED);
	assert_non_null(strstr(f->detail, "by a signal"));
	assert_nothing_left(f);
}

static void hung_at_start(void **state)
{
	struct fixture *f = *state;
	struct weft_runtime_spec spec;
	struct weft_runtime_stats s;

	prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	spec = make_spec(f);
	weft_qemu_set_start_timeout(f->rt, 300);
	f->done = 0;
	assert_int_equal(ops->start(f->rt, &spec, on_done, f, &f->err), 0);
	while (ops->stats(f->rt, ID, &s) < 0)
		assert_true(sd_event_run(f->event, 50000) >= 0);
	assert_int_equal(kill((pid_t)s.pid, SIGSTOP), 0);
	await(f, &f->done, 1);
	assert_int_equal(f->r, -ETIMEDOUT);
	assert_non_null(strstr(f->err.msg, ID));
	assert_nothing_left(f);
	assert_int_equal(f->events, 0);
}

static void hung_later(void **state)
{
	struct fixture *f = *state;
	uint64_t t;

	prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	start(f);
	assert_int_equal(kill(pid_of(f), SIGSTOP), 0);
	t = weft_now_ns();
	assert_int_equal(stop(f, 200), 0);
	assert_true(weft_now_ns() - t >= 200000000ULL);
	assert_nothing_left(f);
	assert_int_equal(f->events, 0);
}

/* A guest that ignores the power button is killed after its grace. */
static void power_button(void **state)
{
	struct fixture *f = *state;
	unsigned more = 0;

	prepare_code(f, Q35, test_code_idle, test_code_idle_size);
	start(f);
	f->done = 0;
	assert_int_equal(ops->stop(f->rt, ID, 300, on_done, f, &f->err), 0);
	/* Who asks later waits for the same end. */
	while (ops->stop(f->rt, ID, 300, on_done, f, &f->err) == 0)
		more++;
	assert_true(more > 0 && more < 100);
	await(f, &f->done, 1 + more);
	assert_int_equal(f->r, 0);
	assert_nothing_left(f);
}

static void stopped_while_starting(void **state)
{
	struct fixture *f = *state;
	struct weft_runtime_spec spec;
	struct weft_runtime_stats s;

	prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	for (int launched = 0; launched < 2; launched++) {
		spec = make_spec(f);
		f->done = 0;
		assert_int_equal(ops->start(f->rt, &spec, on_done, f, &f->err), 0);
		while (launched && ops->stats(f->rt, ID, &s) < 0)
			assert_true(sd_event_run(f->event, 50000) >= 0);
		assert_int_equal(ops->delete_(f->rt, ID, on_done, f, &f->err), 0);
		await(f, &f->done, 2); /* start() with -ECANCELED, delete() with 0 */
		assert_nothing_left(f);
	}
}

/* --- daemons come and go -------------------------------------------------------------------------
 */

static void adopted(void **state)
{
	struct fixture *f = *state;
	struct weft_runtime_spec spec;
	pid_t pid;

	assert_int_equal(adopt(f), -ENOENT);
	prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	start(f);
	pid = pid_of(f);
	ops->free_(f->rt);
	new_runtime(f);
	spec = make_spec(f);
	assert_int_equal(start_spec(f, &spec), -EEXIST);
	if (adopt(f) != 0)
		fail_msg("%s", f->err.msg);
	assert_int_equal(pid_of(f), pid);
	assert_int_equal(adopt(f), 0); /* again is no error */
	assert_int_equal(stop(f, 5000), 0);
	assert_nothing_left(f);

	/* Deleted without having been adopted. */
	start(f);
	ops->free_(f->rt);
	new_runtime(f);
	assert_int_equal(delete_(f), 0);
	assert_nothing_left(f);

	/* Ended while nobody watched. */
	start(f);
	pid = pid_of(f);
	ops->free_(f->rt);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	new_runtime(f);
	assert_int_equal(adopt(f), -ENOENT);
	assert_int_equal(delete_(f), 0);
	assert_nothing_left(f);
	assert_int_equal(f->events, 0);
}

static void adopt_hung(void **state)
{
	struct fixture *f = *state;
	pid_t pid;

	prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	start(f);
	pid = pid_of(f);
	ops->free_(f->rt);
	new_runtime(f);
	weft_qemu_set_start_timeout(f->rt, 200);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(adopt(f), -ETIMEDOUT);
	assert_int_equal(kill(pid, 0), 0); /* not ours to kill */
	assert_int_equal(delete_(f), 0);
	assert_nothing_left(f);
}

/* The daemon dies of SIGKILL; the instance goes on and is no child of the next one. */
static void daemon_killed(void **state)
{
	struct fixture *f = *state;
	int pipefd[2], status;
	pid_t child;
	char ref[sizeof(f->image)];

	prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	memcpy(ref, f->image, sizeof(ref));
	ops->free_(f->rt);
	f->rt = NULL;
	assert_int_equal(pipe(pipefd), 0);
	child = fork();
	if (child == 0) {
		f->event = NULL; /* an sd_event does not survive fork */
		assert_true(sd_event_new(&f->event) >= 0);
		new_runtime(f);
		start(f);
		(void)!write(pipefd[1], "x", 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(pipefd[0], &status, 1), 1);
	close(pipefd[0]);
	close(pipefd[1]);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);

	new_runtime(f);
	if (adopt(f) != 0)
		fail_msg("%s", f->err.msg);
	assert_int_equal(kill(pid_of(f), SIGKILL), 0);
	await(f, &f->events, 1);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_FAILED);
	assert_nothing_left(f);
}

static void on_nothing(void *userdata)
{
	unsigned *n = userdata;

	(*n)++;
}

static void on_nothing_reply(
	void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	(void)result;
	(void)err;
	assert_int_equal(r, 0);
	on_nothing(userdata);
}

static void on_nothing_closed(void *userdata, int r, const struct weft_err *err)
{
	(void)userdata;
	fail_msg("%d: %s", r, err->msg);
}

static void on_nothing_event(void *userdata, const char *name, const json_t *data)
{
	(void)userdata;
	(void)name;
	(void)data;
}

/* Somebody pauses the guest by the monitor, which takes one client at a time. */
static void paused(void **state)
{
	static const struct weft_qmp_callbacks callbacks = {
		on_nothing, on_nothing_event, on_nothing_closed};
	struct fixture *f = *state;
	struct weft_qmp *q;
	unsigned ready = 0;
	char path[PATH_MAX + 16];

	prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	start(f);
	ops->free_(f->rt);
	snprintf(path, sizeof(path), "%s/qmp.sock", f->inst);
	assert_int_equal(weft_qmp_connect(f->event, path, 10000, &callbacks, &ready, &q, NULL), 0);
	await(f, &ready, 1);
	assert_int_equal(weft_qmp_execute(q, "stop", NULL, 10000, on_nothing_reply, &ready), 0);
	await(f, &ready, 2);
	weft_qmp_free(q);
	new_runtime(f);
	assert_int_equal(adopt(f), 0);
	await(f, &f->events, 1);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_PAUSED);
	assert_int_equal(delete_(f), 0);
	assert_nothing_left(f);
	assert_int_equal(f->events, 1);
}

/* --- what cannot start ---------------------------------------------------------------------------
 */

static void refused(void **state)
{
	struct fixture *f = *state;
	struct weft_runtime_spec spec;
	const char *const bad[] = {"a\nb", NULL};

	prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	spec = make_spec(f);
	spec.id = "../x";
	assert_int_equal(start_spec(f, &spec), -EINVAL);
	spec = make_spec(f);
	spec.image = "sha256:0";
	assert_int_equal(start_spec(f, &spec), -EINVAL);
	spec.image = "sha256:"
		     "0000000000000000000000000000000000000000000000000000000000000000";
	assert_int_equal(start_spec(f, &spec), -ENOENT);
	spec = make_spec(f);
	spec.arch = WEFT_ARCH_ARM64;
	assert_int_equal(start_spec(f, &spec), -ENOTSUP);
	assert_int_equal(
		ops->prepare(f->rt, "/x", WEFT_ARCH_ARM64, on_prepared, f, &f->err), -ENOTSUP);
	spec = make_spec(f);
	spec.memory_mb = 1;
	assert_int_equal(start_spec(f, &spec), -EINVAL);
	spec = make_spec(f);
	spec.args = bad;
	assert_int_equal(start_spec(f, &spec), -EINVAL);
	spec = make_spec(f);
	spec.net.tap_fd = 900;
	assert_int_equal(start_spec(f, &spec), -EBADF);

	/* These fail later, and leave nothing either. */
	spec = make_spec(f);
	spec.net.netns = "/run/netns/weft-test-qemu-no-such";
	assert_int_equal(start_spec(f, &spec), -ENOENT);
	assert_non_null(strstr(f->err.msg, "weft-test-qemu-no-such"));
	assert_nothing_left(f);
	spec = make_spec(f);
	spec.memory_mb = 3u << 30; /* qemu's word on it is passed on */
	assert_int_equal(start_spec(f, &spec), -EIO);
	assert_non_null(strstr(f->err.msg, "memory"));
	assert_nothing_left(f);
	spec = make_spec(f);
	spec.net.tap_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(start_spec(f, &spec), -EIO);
	close(spec.net.tap_fd);
	assert_nothing_left(f);
}

static void freed_while_starting(void **state)
{
	struct fixture *f = *state;
	struct weft_runtime_spec spec;

	prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	spec = make_spec(f);
	f->done = 0;
	assert_int_equal(ops->start(f->rt, &spec, on_done, f, &f->err), 0);
	ops->free_(f->rt);
	while (sd_event_run(f->event, 0) > 0)
		;
	assert_int_equal(f->done, 0);
	new_runtime(f);
	assert_int_equal(delete_(f), 0);
	assert_nothing_left(f);
}

/* --- the project's own guest ---------------------------------------------------------------------
 */

static int open_tap(const char *name, const char *addr)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	struct sockaddr_in *sin = (struct sockaddr_in *)&ifr.ifr_addr;
	_cleanup_(closep) int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	assert_true(tap >= 0 && s >= 0);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(tap, TUNSETIFF, &ifr), 0);
	sin->sin_family = AF_INET;
	assert_int_equal(inet_pton(AF_INET, addr, &sin->sin_addr), 1);
	assert_int_equal(ioctl(s, SIOCSIFADDR, &ifr), 0);
	assert_int_equal(inet_pton(AF_INET, "255.255.255.0", &sin->sin_addr), 1);
	assert_int_equal(ioctl(s, SIOCSIFNETMASK, &ifr), 0);
	ifr.ifr_flags = IFF_UP;
	assert_int_equal(ioctl(s, SIOCSIFFLAGS, &ifr), 0);
	return tap;
}

/* GET / once: true when it answers 200. */
static bool http_get(const char *addr)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(80)};
	struct timeval patience = {.tv_usec = 500000};
	_cleanup_(closep) int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static const char get[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	char buf[512] = "";

	inet_pton(AF_INET, addr, &sin.sin_addr);
	setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return connect(s, (struct sockaddr *)&sin, sizeof(sin)) == 0 &&
	       send(s, get, sizeof(get) - 1, MSG_NOSIGNAL) > 0 &&
	       recv(s, buf, sizeof(buf) - 1, 0) > 0 && strncmp(buf, "HTTP/1.1 200", 12) == 0;
}

static void own_guest(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int tap = open_tap("wqemu0", "10.19.77.1");
	struct weft_runtime_spec spec;
	uint64_t t, end;
	bool answered = false;

	prepare_path(f, guest_image);
	spec = make_spec(f);
	spec.memory_mb = 0;
	spec.net.tap_fd = tap;
	inet_pton(AF_INET, "10.19.77.2", &spec.net.addr);
	inet_pton(AF_INET, "10.19.77.1", &spec.net.gateway);
	spec.net.prefix_len = 24;
	memcpy(spec.net.mac, "\x02\x00\x0a\x13\x4d\x02", 6);
	t = weft_now_ns();
	if (start_spec(f, &spec) != 0)
		fail_msg("%s", f->err.msg);
	end = t + DEADLINE_NS;
	while (!answered && weft_now_ns() < end && f->events == 0) {
		answered = http_get("10.19.77.2");
		assert_true(sd_event_run(f->event, 0) >= 0);
	}
	if (!answered)
		fail_msg("no answer: %s", f->detail);
	print_message("# own guest: first HTTP answer after %u ms\n",
		(unsigned)((weft_now_ns() - t) / 1000000));
	assert_int_equal(stop(f, 5000), 0);
	assert_nothing_left(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cmdline),
		cmocka_unit_test(argv),
		cmocka_unit_test_setup_teardown(probe, setup, teardown),
		cmocka_unit_test_setup_teardown(not_installed, setup, teardown),
		cmocka_unit_test_setup_teardown(life, setup, teardown),
		cmocka_unit_test_setup_teardown(console, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(killed, setup, teardown),
		cmocka_unit_test_setup_teardown(hung_at_start, setup, teardown),
		cmocka_unit_test_setup_teardown(hung_later, setup, teardown),
		cmocka_unit_test_setup_teardown(power_button, setup, teardown),
		cmocka_unit_test_setup_teardown(stopped_while_starting, setup, teardown),
		cmocka_unit_test_setup_teardown(adopted, setup, teardown),
		cmocka_unit_test_setup_teardown(adopt_hung, setup, teardown),
		cmocka_unit_test_setup_teardown(daemon_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(paused, setup, teardown),
		cmocka_unit_test_setup_teardown(refused, setup, teardown),
		cmocka_unit_test_setup_teardown(freed_while_starting, setup, teardown),
	};
	const struct CMUnitTest with_guest[] = {
		cmocka_unit_test_setup_teardown(own_guest, setup, teardown),
	};
	const char *build = getenv("B");
	char path[PATH_MAX];
	int failed;

	build = build ? build : "build";
	snprintf(path, sizeof(path), "%s/libexec", build);
	if (geteuid() != 0) {
		puts("1..0 # SKIP not root: qemu is started in a cgroup and drops privileges");
		return 0;
	}
	if (!realpath(path, libexec)) {
		printf("1..0 # SKIP %s: %s\n", path, strerror(errno));
		return 0;
	}
	if (system("command -v " WEFT_QEMU_AMD64 " >/dev/null") != 0) {
		puts("1..0 # SKIP " WEFT_QEMU_AMD64 " is not installed");
		return 0;
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(path, sizeof(path), "%s/guest/weft-guest.tar.gz", build);
	if (realpath(path, guest_image) && unshare(CLONE_NEWNET) == 0)
		failed += cmocka_run_group_tests(with_guest, NULL, NULL);
	return failed;
}
