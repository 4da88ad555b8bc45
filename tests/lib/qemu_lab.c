/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/qemu_lab.h"

#include <archive.h>
#include <archive_entry.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/qemu/machine.h"
#include "tests/lib/kernel.h"

char qlab_libexec[PATH_MAX];

bool qlab_available(void)
{
	const char *build = getenv("B");
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/libexec", build ? build : "build");
	if (geteuid() != 0)
		puts("1..0 # SKIP not root: qemu is started in a cgroup and drops privileges");
	else if (!realpath(path, qlab_libexec))
		printf("1..0 # SKIP %s: %s\n", path, strerror(errno));
	else if (system("command -v " WEFT_QEMU_AMD64 " >/dev/null") != 0)
		puts("1..0 # SKIP " WEFT_QEMU_AMD64 " is not installed");
	else
		return true;
	return false;
}

bool qlab_guest_image(char path[PATH_MAX])
{
	const char *build = getenv("B");
	char image[PATH_MAX];

	snprintf(image, sizeof(image), "%s/guest/weft-guest.tar.gz", build ? build : "build");
	return realpath(image, path);
}

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
	struct qlab *f = userdata;

	assert_string_equal(id, QLAB_ID);
	f->events++;
	f->event_kind = event;
	snprintf(f->detail, sizeof(f->detail), "%s", detail);
}

void qlab_on_done(void *userdata, int r, const struct weft_err *err)
{
	struct qlab *f = userdata;

	f->done++;
	f->r = r;
	f->err = *err;
	assert_true(r == 0 || (err->code == -r && err->msg[0]));
}

void qlab_on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	struct qlab *f = userdata;

	if (r < 0)
		fail_msg("%s", err->msg);
	assert_true(size > 0);
	f->prepared++;
	snprintf(f->image, sizeof(f->image), "%s", ref);
}

void qlab_on_probed(void *userdata, const struct weft_runtime_cap *caps, unsigned n_caps)
{
	struct qlab *f = userdata;

	assert_int_equal(n_caps, 2);
	assert_int_equal(caps[0].arch, WEFT_ARCH_AMD64);
	assert_int_equal(caps[1].arch, WEFT_ARCH_ARM64);
	assert_true(caps[1].detail[0]);
	f->probed++;
	f->cap = caps[0];
	f->arm = caps[1];
}

void qlab_await(struct qlab *f, const unsigned *count, unsigned n)
{
	uint64_t end = weft_now_ns() + QLAB_DEADLINE_NS;

	while (*count < n && weft_now_ns() < end)
		assert_true(sd_event_run(f->event, 50000) >= 0);
	assert_int_equal(*count, n);
}

/* --- images and specs ----------------------------------------------------------------------------
 */

void qlab_prepare(struct qlab *f, const char *path)
{
	f->prepared = 0;
	assert_int_equal(weft_runtime_qemu.prepare(
				 f->rt, path, WEFT_ARCH_AMD64, qlab_on_prepared, f, &f->err),
		0);
	qlab_await(f, &f->prepared, 1);
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
void qlab_prepare_code(struct qlab *f, const char *hints, const uint8_t *code, size_t code_size)
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
	qlab_prepare(f, path);
}

struct weft_runtime_spec qlab_spec(struct qlab *f)
{
	return (struct weft_runtime_spec){
		.id = QLAB_ID,
		.image = f->image,
		.dir = f->inst,
		.log_path = f->log,
		.arch = WEFT_ARCH_AMD64,
		.memory_mb = 32,
		.net.tap_fd = -1,
	};
}

int qlab_start_spec(struct qlab *f, const struct weft_runtime_spec *spec)
{
	int r;

	f->done = 0;
	f->err = (struct weft_err){};
	r = weft_runtime_qemu.start(f->rt, spec, qlab_on_done, f, &f->err);
	if (r < 0) {
		assert_int_equal(f->err.code, -r);
		return r;
	}
	assert_int_equal(f->done, 0);
	qlab_await(f, &f->done, 1);
	return f->r;
}

void qlab_start(struct qlab *f)
{
	struct weft_runtime_spec spec = qlab_spec(f);

	if (qlab_start_spec(f, &spec) != 0)
		fail_msg("%s", f->err.msg);
}

int qlab_stop(struct qlab *f, unsigned grace_ms)
{
	f->done = 0;
	assert_int_equal(
		weft_runtime_qemu.stop(f->rt, QLAB_ID, grace_ms, qlab_on_done, f, &f->err), 0);
	qlab_await(f, &f->done, 1);
	return f->r;
}

int qlab_delete(struct qlab *f)
{
	f->done = 0;
	assert_int_equal(weft_runtime_qemu.delete_(f->rt, QLAB_ID, qlab_on_done, f, &f->err), 0);
	qlab_await(f, &f->done, 1);
	return f->r;
}

int qlab_adopt(struct qlab *f)
{
	struct weft_runtime_spec spec = qlab_spec(f);

	f->done = 0;
	assert_int_equal(weft_runtime_qemu.adopt(f->rt, &spec, qlab_on_done, f, &f->err), 0);
	qlab_await(f, &f->done, 1);
	return f->r;
}

pid_t qlab_pid(struct qlab *f)
{
	struct weft_runtime_stats s;

	assert_int_equal(weft_runtime_qemu.stats(f->rt, QLAB_ID, &s), 0);
	assert_true(s.pid > 1);
	return (pid_t)s.pid;
}

void qlab_assert_nothing_left(struct qlab *f)
{
	struct weft_runtime_stats s;
	char path[PATH_MAX + 32];
	struct stat st;

	assert_int_equal(weft_runtime_qemu.stats(f->rt, QLAB_ID, &s), -ENOENT);
	assert_int_equal(weft_cgroup_read(f->cgroup, NULL, NULL), -ENOENT);
	snprintf(path, sizeof(path), "%s/qemu/instances/" QLAB_ID ".json", f->dir);
	assert_int_equal(stat(path, &st), -1);
	snprintf(path, sizeof(path), "%s/qmp.sock", f->inst);
	assert_int_equal(stat(path, &st), -1);
}

void qlab_new_runtime(struct qlab *f)
{
	const struct weft_runtime_config config = {
		.event = f->event,
		.state_dir = f->dir,
		.libexec_dir = qlab_libexec,
		.cgroup_root = f->cgroup_root,
		.on_event = on_event,
		.userdata = f,
	};

	assert_int_equal(weft_runtime_qemu.new_(&config, &f->rt, &f->err), 0);
}

int qlab_setup(void **state)
{
	struct qlab *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fds = count_fds();
	snprintf(f->dir, sizeof(f->dir), "/tmp/weft-test-qemu-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->cgroup_root, sizeof(f->cgroup_root), "weft-test-qemu-%d", (int)getpid());
	snprintf(f->cgroup, sizeof(f->cgroup), "%s/" QLAB_ID, f->cgroup_root);
	snprintf(f->inst, sizeof(f->inst), "%s/an,instance's directory", f->dir);
	snprintf(f->log, sizeof(f->log), "%s/console, of it.log", f->dir);
	assert_int_equal(mkdir(f->inst, 0700), 0);
	assert_true(sd_event_new(&f->event) >= 0);
	qlab_new_runtime(f);
	*state = f;
	return 0;
}

int qlab_teardown(void **state)
{
	struct qlab *f = *state;

	weft_runtime_qemu.free_(f->rt);
	sd_event_unref(f->event);
	assert_int_equal(weft_cgroup_destroy(f->cgroup_root), 0);
	assert_int_equal(weft_remove_tree(f->dir), 0);
	assert_int_equal(count_fds(), f->fds);
	free(f);
	return 0;
}

/* --- network -------------------------------------------------------------------------------------
 */

int qlab_tap(const char *name, const char *addr)
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

bool qlab_tap6(const char *name, const char *addr)
{
	struct in6_ifreq ifr = {.ifr6_prefixlen = 64, .ifr6_ifindex = (int)if_nametoindex(name)};
	_cleanup_(closep) int s = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), fd = -1;
	char path[80];

	if (s < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_dad", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		return false;
	assert_int_equal(inet_pton(AF_INET6, addr, &ifr.ifr6_addr), 1);
	return ioctl(s, SIOCSIFADDR, &ifr) == 0;
}

bool qlab_http(const char *addr, const char *text)
{
	bool v6 = strchr(addr, ':');
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(80)};
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
	struct sockaddr *to = v6 ? (struct sockaddr *)&sin6 : (struct sockaddr *)&sin;
	struct timeval patience = {.tv_usec = 500000};
	_cleanup_(closep) int s = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static const char get[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	char buf[2048] = "";

	inet_pton(to->sa_family, addr, v6 ? (void *)&sin6.sin6_addr : (void *)&sin.sin_addr);
	setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return connect(s, to, v6 ? sizeof(sin6) : sizeof(sin)) == 0 &&
	       send(s, get, sizeof(get) - 1, MSG_NOSIGNAL) > 0 &&
	       recv(s, buf, sizeof(buf) - 1, 0) > 0 && strncmp(buf, "HTTP/1.1 200", 12) == 0 &&
	       (!text || strstr(buf, text));
}

unsigned qlab_await_http(struct qlab *f, const char *addr, const char *text, uint64_t start_ns)
{
	uint64_t end = weft_now_ns() + QLAB_DEADLINE_NS;

	while (!qlab_http(addr, text)) {
		assert_true(sd_event_run(f->event, 0) >= 0);
		if (f->events)
			fail_msg("%s ended: %s", addr, f->detail);
		if (weft_now_ns() > end)
			fail_msg("no answer from %s", addr);
	}
	return (unsigned)((weft_now_ns() - start_ns) / 1000000);
}
