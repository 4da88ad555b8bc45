/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/shortcut_lab.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/link.h"
#include "tests/lib/dp_lab.h"

#define GATEWAY "10.18.0.9"

struct sc_lab sc;

/* --- cgroup --- */

static bool join(const char *cgroup)
{
	char path[192], pid[16];
	int fd, n;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = snprintf(pid, sizeof(pid), "%d", getpid());
	n = (int)write(fd, pid, (size_t)n);
	close(fd);
	return n > 0;
}

static char cgroup_root[96];

static bool make_cgroup(void)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *m;

	while (mounts && !cgroup_root[0] && (m = getmntent(mounts)))
		if (strcmp(m->mnt_type, "cgroup2") == 0)
			snprintf(cgroup_root, sizeof(cgroup_root), "%s", m->mnt_dir);
	if (mounts)
		endmntent(mounts);
	snprintf(sc.cgroup, sizeof(sc.cgroup), "%s/weft-test-shortcut-%d", cgroup_root, getpid());
	if (cgroup_root[0] && mkdir(sc.cgroup, 0755) == 0 && join(sc.cgroup))
		return true;
	rmdir(sc.cgroup);
	return false;
}

static void remove_cgroup(void)
{
	join(cgroup_root);
	rmdir(sc.cgroup);
}

bool sc_supported(void)
{
	struct weft_err err = {0};
	int r;

	if (!make_cgroup()) {
		puts("1..0 # SKIP no cgroup v2");
		return false;
	}
	sc_open();
	r = weft_dp_shortcut_supported(sc.dp, &err);
	weft_dp_free(sc.dp);
	if (r == 0)
		return true;
	weft_dp_destroy(LAB_PINS, NULL);
	remove_cgroup();
	printf("1..0 # SKIP %s\n", err.msg);
	return false;
}

/* --- the data plane --- */

void sc_enter_ns(uint32_t n)
{
	assert_int_equal(setns(n == SC_HOST ? sc.home : sc.ns[n], CLONE_NEWNET), 0);
}

void sc_leave_ns(void)
{
	assert_int_equal(setns(sc.home, CLONE_NEWNET), 0);
}

void sc_open(void)
{
	const struct weft_dp_service service = {
		.id = SC_SERVICE,
		.vip[WEFT_DP_WRR].s_addr = inet_addr(SC_VIP),
	};
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .cgroup = sc.cgroup};
	struct weft_err err = {0};

	if (weft_dp_open(&config, &sc.dp, &err) < 0 ||
		weft_dp_service_set(sc.dp, &service, &err) < 0)
		fail_msg("%s", err.msg);
}

void sc_switch(bool on)
{
	struct weft_err err = {0};

	if (weft_dp_shortcut_service(sc.dp, SC_SERVICE, on, &err) < 0)
		fail_msg("%s", err.msg);
}

void sc_weights(uint32_t first, uint32_t second)
{
	const struct weft_dp_weight w[] = {{1, first}, {2, second}};
	struct weft_err err = {0};

	if (weft_dp_service_weights(sc.dp, SC_SERVICE, WEFT_DP_WRR, w, 2, &err) < 0)
		fail_msg("%s", err.msg);
}

static void ns_path(uint32_t n, char *ret, size_t size)
{
	snprintf(ret, size, "%s/ns%u", sc.dir, n);
}

void sc_set(const struct weft_dp_instance *inst)
{
	struct weft_err err = {0};

	if (weft_dp_instance_set(sc.dp, inst, &err) < 0)
		fail_msg("%s", err.msg);
}

void sc_set_with_sockets(uint32_t n)
{
	struct weft_err err = {0};
	char path[96];

	sc_set(&sc.instances[n]);
	ns_path(n, path, sizeof(path));
	if (weft_dp_shortcut_netns(sc.dp, n, n == SC_HOST ? NULL : path, &err) < 0)
		fail_msg("%s", err.msg);
}

static void add_instance(uint32_t n, uint32_t service)
{
	struct weft_dp_instance *inst = &sc.instances[n];
	char path[96], name[16];
	struct weft_err err = {0};
	struct weft_link_veth veth = {
		.host_name = name,
		.netns = path,
		.peer_name = "eth0",
		.prefix_len = 26,
		.gateway.s_addr = inet_addr(GATEWAY),
		.mtu = 1450,
	};

	*inst = lab_instance(n, service);
	ns_path(n, path, sizeof(path));
	snprintf(name, sizeof(name), "v%u", n);
	veth.addr = inst->ns_addr;
	memcpy(veth.mac, inst->mac, sizeof(veth.mac));
	if (weft_netns_add(path, &err) < 0 || weft_link_veth_add(&veth, &inst->ifindex, &err) < 0)
		fail_msg("%s", err.msg);
	sc.ns[n] = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(sc.ns[n] >= 0);
	sc_set_with_sockets(n);
}

static void add_host(void)
{
	struct weft_dp_instance *inst = &sc.instances[SC_HOST];
	struct weft_err err = {0};
	struct weft_link_host host = {
		.name = "weft0",
		.subnet.s_addr = inet_addr("10.18.0.0"),
		.subnet_len = 26,
		.service.s_addr = inet_addr("10.30.0.0"),
		.service_len = 16,
		.mtu = 1450,
	};

	*inst = lab_instance(SC_HOST, 0);
	inst->device = WEFT_DP_DEV_HOST;
	host.addr = inst->ns_addr;
	if (weft_link_host_add(&host, &inst->ifindex, inst->mac, &err) < 0)
		fail_msg("%s", err.msg);
	sc_set_with_sockets(SC_HOST);
}

static int listener(uint32_t n)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(SC_PORT)};
	int fd, on = 1;

	sc_enter_ns(n);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sc_leave_ns();
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (void *)&any, sizeof(any)), 0);
	assert_int_equal(listen(fd, 1024), 0);
	return fd;
}

int sc_setup(void **state)
{
	(void)state;
	sc.home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	snprintf(sc.dir, sizeof(sc.dir), "/tmp/weft-test-shortcut-XXXXXX");
	if (!mkdtemp(sc.dir))
		return -1;
	sc_open();
	add_host();
	for (uint32_t n = 1; n <= 4; n++)
		add_instance(n, n <= 2 ? SC_SERVICE : 0);
	for (uint32_t n = 1; n <= 2; n++)
		sc.listener[n] = listener(n);
	sc_weights(1, 0);
	sc_switch(true);
	return 0;
}

int sc_teardown(void **state)
{
	char path[96];
	int r;

	(void)state;
	sc_leave_ns();
	for (uint32_t n = 1; n <= 4; n++) {
		ns_path(n, path, sizeof(path));
		weft_netns_del(path);
		close(sc.ns[n]);
	}
	close(sc.listener[1]);
	close(sc.listener[2]);
	rmdir(sc.dir);
	close(sc.home);
	weft_dp_free(sc.dp);
	r = weft_dp_destroy(LAB_PINS, NULL);
	remove_cgroup();
	return r;
}

/* --- connections --- */

void sc_wait(int fd, short events)
{
	struct pollfd p = {fd, events, 0};

	if (poll(&p, 1, SC_PATIENCE_MS) != 1)
		fail_msg("nothing to %s for %d ms", events & POLLIN ? "read" : "write",
			SC_PATIENCE_MS);
}

static int no_delay(int fd)
{
	const int on = 1;

	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	return fd;
}

int sc_dial(uint32_t client, const char *to, uint16_t port)
{
	struct sockaddr_in peer = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = inet_addr(to),
		.sin_port = htons(port),
	};
	socklen_t size = sizeof(int);
	int fd, error = 0;

	sc_enter_ns(client);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	sc_leave_ns();
	if (connect(fd, (void *)&peer, sizeof(peer)) < 0 && errno != EINPROGRESS)
		fail_msg("connect to %s: %s", to, strerror(errno));
	sc_wait(fd, POLLOUT);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
	if (error)
		fail_msg("connect to %s: %s", to, strerror(error));
	return no_delay(fd);
}

int sc_accept(uint32_t backend)
{
	int fd;

	sc_wait(sc.listener[backend], POLLIN);
	fd = accept4(sc.listener[backend], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(fd >= 0);
	return no_delay(fd);
}

struct sc_conn sc_connect(uint32_t client)
{
	struct pollfd p[2] = {{sc.listener[1], POLLIN, 0}, {sc.listener[2], POLLIN, 0}};
	struct sc_conn c = {.client = sc_dial(client, SC_VIP, SC_PORT)};

	assert_int_equal(poll(p, 2, 5000), 1);
	c.backend = sc_accept(p[0].revents ? 1 : 2);
	return c;
}

void sc_close(struct sc_conn *c)
{
	if (c->client >= 0)
		close(c->client);
	if (c->backend >= 0)
		close(c->backend);
	*c = (struct sc_conn){-1, -1};
}

static struct weft_dp_shortcut_counters counters(void)
{
	struct weft_dp_shortcut_counters c;

	assert_int_equal(weft_dp_shortcut_counters(sc.dp, SC_SERVICE, &c), 0);
	return c;
}

uint64_t sc_messages(void)
{
	return counters().messages;
}

uint64_t sc_left(const char *reason)
{
	for (unsigned i = 0; i < weft_dp_shortcut_reason_count(); i++)
		if (strcmp(weft_dp_shortcut_reason_name(i), reason) == 0)
			return counters().left[i];
	fail_msg("no reason is called %s", reason);
	return 0;
}

void sc_await_sockets(unsigned want)
{
	uint64_t deadline = weft_now_ns() + SC_PATIENCE_MS * 1000000ULL;

	while (counters().sockets != want) {
		if (weft_now_ns() > deadline)
			fail_msg("%u sockets, not %u", (unsigned)counters().sockets, want);
		poll(NULL, 0, 5);
	}
}

/* --- content --- */

static uint8_t byte_at(uint64_t at)
{
	return (uint8_t)((at * 0x9e3779b97f4a7c15ULL) >> 40);
}

void sc_pattern(uint8_t *buf, size_t size, uint64_t at)
{
	for (size_t i = 0; i < size; i++)
		buf[i] = byte_at(at + i);
}

void sc_check_pattern(const uint8_t *buf, size_t size, uint64_t at)
{
	for (size_t i = 0; i < size; i++)
		if (buf[i] != byte_at(at + i))
			fail_msg("wrong byte at %llu", (unsigned long long)(at + i));
}

void sc_send(int fd, size_t size, uint64_t at)
{
	uint8_t *buf = malloc(size);

	assert_non_null(buf);
	sc_pattern(buf, size, at);
	for (size_t done = 0; done < size;) {
		ssize_t r = send(fd, buf + done, size - done, MSG_NOSIGNAL);

		if (r <= 0 && errno != EAGAIN)
			fail_msg("send: %s", strerror(errno));
		if (r > 0)
			done += (size_t)r;
		else
			sc_wait(fd, POLLOUT);
	}
	free(buf);
}

void sc_recv(int fd, size_t size, uint64_t at)
{
	uint8_t *buf = malloc(size);

	assert_non_null(buf);
	for (size_t done = 0; done < size;) {
		ssize_t r = recv(fd, buf + done, size - done, 0);

		if (r == 0 || (r < 0 && errno != EAGAIN))
			fail_msg("recv after %zu of %zu: %s", done, size,
				r ? strerror(errno) : "end");
		if (r > 0)
			done += (size_t)r;
		else
			sc_wait(fd, POLLIN);
	}
	sc_check_pattern(buf, size, at);
	free(buf);
}

int sc_read(int fd, void *buf, size_t size)
{
	ssize_t r;

	sc_wait(fd, POLLIN);
	r = recv(fd, buf, size, 0);
	return r < 0 ? -errno : (int)r;
}

void sc_expect(int fd, const char *text)
{
	char got[64] = "";
	size_t have = 0, want = strlen(text);

	assert_true(want < sizeof(got));
	while (have < want) {
		int r = sc_read(fd, got + have, want - have);

		if (r <= 0)
			fail_msg("%s instead of \"%s\"", r ? strerror(-r) : "end", text + have);
		have += (size_t)r;
	}
	assert_string_equal(got, text);
}

void sc_say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

void sc_talk(const struct sc_conn *c)
{
	sc_say(c->client, "hello");
	sc_expect(c->backend, "hello");
	sc_say(c->backend, "again");
	sc_expect(c->client, "again");
}
