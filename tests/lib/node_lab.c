/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/node_lab.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/link.h"

#define GATEWAY "10.18.0.254"
#define MTU     1450

static char dir[] = "/tmp/weft-test-nodes-XXXXXX";
static int home = -1;
int node_instance_ns[INSTANCES];

void ns_enter(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

void ns_home(void)
{
	ns_enter(home);
}

int ns_sh(int ns, const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;
	int r;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	ns_enter(ns);
	r = lab_sh("%s", cmd);
	ns_home();
	return r;
}

static void must_sh(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	if (lab_sh("%s", cmd) != 0)
		fail_msg("failed: %s", cmd);
}

void node_lab_open(void)
{
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(home >= 0 && mkdtemp(dir));
	for (unsigned i = 0; i < INSTANCES; i++)
		node_instance_ns[i] = -1;
	must_sh("echo 1 >/proc/sys/net/ipv4/ip_forward && "
		"echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
}

void node_lab_close(void)
{
	ns_home();
	node_drop_instances();
	rmdir(dir);
	close(home);
}

static int ns_make(const char *name)
{
	_cleanup_(freep) char *path = weft_strf("%s/%s", dir, name);
	struct weft_err err = {0};
	int fd;

	if (weft_netns_add(path, &err) < 0)
		fail_msg("%s", err.msg);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void ns_delete(const char *name)
{
	_cleanup_(freep) char *path = weft_strf("%s/%s", dir, name);

	weft_netns_del(path);
}

/* --- nodes --- */

const char *node_addr(unsigned n, bool v6, char buf[64])
{
	snprintf(buf, 64, v6 ? "2001:db8:%u::2" : "198.51.100.%u", v6 ? n : 4 * n + 2);
	return buf;
}

static void await_address(int ns, const char *addr)
{
	uint64_t deadline = weft_now_ns() + 10000000000ULL;

	while (ns_sh(ns, "ip -6 route get %s 2>&1 | grep -q ^local", addr) != 0)
		if (weft_now_ns() > deadline)
			fail_msg("nobody has %s", addr);
}

void node_make(struct node *node, unsigned n)
{
	char name[16], addr[64];

	snprintf(name, sizeof(name), "node%u", n);
	*node = (struct node){.n = n, .ns = ns_make(name)};
	snprintf(node->pins, sizeof(node->pins), "/sys/fs/bpf/node%u", n);
	node->config =
		(struct weft_dp_config){.bpffs_dir = node->pins, .max_flows = 65536, .mtu = MTU};
	must_sh("ip link add node%u type veth peer name up0 netns /proc/%d/fd/%d", n, getpid(),
		node->ns);
	must_sh("ip addr add 198.51.100.%u/30 dev node%u && ip -6 addr add 2001:db8:%u::1/64 dev "
		"node%u nodad && ip link set node%u up",
		4 * n + 1, n, n, n, n);
	assert_int_equal(ns_sh(node->ns,
				 "ip addr add 198.51.100.%u/30 dev up0 && "
				 "ip -6 addr add 2001:db8:%u::2/64 dev up0 nodad && "
				 "ip link set up0 up && ip route add default via 198.51.100.%u && "
				 "ip -6 route add default via 2001:db8:%u::1",
				 4 * n + 2, n, 4 * n + 1, n),
		0);
	await_address(node->ns, node_addr(n, true, addr));
}

void node_start(struct node *node, enum weft_dp_xdp xdp)
{
	struct weft_err err = {0};
	int r;

	node->uplink = (struct weft_dp_uplink){.device = "up0", .xdp = xdp};
	ns_enter(node->ns);
	r = weft_dp_open(&node->config, &node->dp, &err);
	if (r == 0)
		r = weft_dp_uplink_set(node->dp, &node->uplink, &err);
	ns_home();
	if (r < 0)
		fail_msg("node %u: %s", node->n, err.msg);
}

void node_free(struct node *node)
{
	weft_dp_free(node->dp);
	node->dp = NULL;
}

void node_stop(struct node *node)
{
	struct weft_err err = {0};

	node_free(node);
	ns_enter(node->ns);
	if (weft_dp_destroy(node->pins, &err) < 0)
		fail_msg("node %u: %s", node->n, err.msg);
	ns_home();
}

void node_delete(struct node *node)
{
	char name[16];

	if (node->dp)
		node_stop(node);
	snprintf(name, sizeof(name), "node%u", node->n);
	close(node->ns);
	lab_sh("ip link del %s", name);
	ns_delete(name);
}

struct weft_dp_peer node_peer(unsigned n, bool v6, enum weft_dp_format format)
{
	struct weft_dp_peer peer = {.id = n, .format = format};
	char addr[64], mapped[80];

	snprintf(mapped, sizeof(mapped), "%s%s", v6 ? "" : "::ffff:", node_addr(n, v6, addr));
	assert_int_equal(inet_pton(AF_INET6, mapped, &peer.addr), 1);
	return peer;
}

static void add_peer(struct node *node, unsigned other, bool v6, enum weft_dp_format format)
{
	struct weft_dp_peer peer = node_peer(other, v6, format);
	struct weft_dp_peer_status status;
	struct weft_err err = {0};
	int r;

	ns_enter(node->ns);
	r = weft_dp_peer_set(node->dp, &peer, &err);
	ns_home();
	if (r < 0)
		fail_msg("node %u: %s", node->n, err.msg);
	assert_int_equal(weft_dp_peer_status(node->dp, other, &status), 0);
	assert_string_equal(status.problem, "");
}

void node_join(struct node *a, struct node *b, bool v6, enum weft_dp_format format)
{
	add_peer(a, b->n, v6, format);
	add_peer(b, a->n, v6, format);
}

static void set_instance(struct node *node, const struct weft_dp_instance *inst)
{
	struct weft_err err = {0};
	int r;

	ns_enter(node->ns);
	r = weft_dp_instance_set(node->dp, inst, &err);
	ns_home();
	if (r < 0)
		fail_msg("node %u: %s", node->n, err.msg);
}

static uint32_t make_instance(struct node *node, uint32_t i)
{
	struct weft_dp_instance inst = lab_instance(i, 0);
	_cleanup_(freep) char *path = weft_strf("%s/i%u", dir, i);
	struct weft_err err = {0};
	uint32_t ifindex = 0;
	char name[16];
	int r;
	struct weft_link_veth veth = {
		.host_name = name,
		.netns = path,
		.peer_name = "eth0",
		.addr = inst.ns_addr,
		.prefix_len = 24,
		.gateway.s_addr = inet_addr(GATEWAY),
		.mtu = MTU,
	};

	snprintf(name, sizeof(name), "v%u", i);
	memcpy(veth.mac, inst.mac, sizeof(veth.mac));
	ns_enter(node->ns);
	r = weft_netns_add(path, &err);
	if (r == 0)
		r = weft_link_veth_add(&veth, &ifindex, &err);
	ns_home();
	if (r < 0)
		fail_msg("instance %u: %s", i, err.msg);
	node_instance_ns[i] = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(node_instance_ns[i] >= 0);
	assert_int_equal(ns_sh(node_instance_ns[i],
				 "ip -6 addr add fc00::%x/128 dev eth0 nodad && "
				 "ip -6 route add default dev eth0",
				 i),
		0);
	return ifindex;
}

void node_add(struct node *node, uint32_t i, uint32_t service, enum weft_dp_device device)
{
	static uint32_t ifindex[INSTANCES];
	struct weft_dp_instance inst = lab_instance(i, service);

	if (node_instance_ns[i] < 0)
		ifindex[i] = make_instance(node, i);
	inst.ifindex = ifindex[i];
	inst.device = device;
	set_instance(node, &inst);
}

void node_add_remote(struct node *node, uint32_t i, uint32_t service)
{
	struct weft_dp_instance inst = lab_instance(i, service);

	inst.ifindex = 0;
	inst.device = WEFT_DP_DEV_REMOTE;
	inst.peer = i / 10;
	memset(inst.mac, 0, sizeof(inst.mac));
	set_instance(node, &inst);
}

void node_drop_instances(void)
{
	char name[16];

	for (unsigned i = 0; i < INSTANCES; i++) {
		if (node_instance_ns[i] < 0)
			continue;
		close(node_instance_ns[i]);
		node_instance_ns[i] = -1;
		snprintf(name, sizeof(name), "i%u", i);
		ns_delete(name);
	}
}

uint64_t node_drops(struct node *node, enum weft_drop reason)
{
	return lab_drops(node->dp, reason);
}

/* --- sockets --- */

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static union address address(const char *text, uint16_t port)
{
	union address a = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};

	if (inet_pton(AF_INET, text, &a.v4.sin_addr) == 1)
		return a;
	a = (union address){.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};
	if (inet_pton(AF_INET6, text, &a.v6.sin6_addr) != 1)
		fail_msg("%s is no address", text);
	return a;
}

static void be_patient(int fd)
{
	static const struct timeval patience = {.tv_sec = 20};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

int ns_listen(int ns, int type, const char *addr, uint16_t port)
{
	union address a = address(addr, port);
	int fd, on = 1;

	ns_enter(ns);
	fd = socket(a.any.sa_family, type | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a.any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	assert_int_equal(bind(fd, &a.any, sizeof(a)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 128), 0);
	ns_home();
	be_patient(fd);
	return fd;
}

int ns_dial(int ns, const char *to, uint16_t port, int type)
{
	union address peer = address(to, port);
	int fd;

	ns_enter(ns);
	fd = socket(peer.any.sa_family, type | SOCK_CLOEXEC, 0);
	ns_home();
	be_patient(fd);
	if (connect(fd, &peer.any, sizeof(peer)) < 0)
		fail_msg("connect to %s: %s", to, strerror(errno));
	return fd;
}

int ns_accept(int listener, char peer[64])
{
	struct pollfd p = {listener, POLLIN, 0};
	union address from;
	socklen_t size = sizeof(from);
	int fd;

	assert_int_equal(poll(&p, 1, 20000), 1);
	fd = accept4(listener, &from.any, &size, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	be_patient(fd);
	if (peer && from.any.sa_family == AF_INET)
		inet_ntop(AF_INET, &from.v4.sin_addr, peer, 64);
	else if (peer)
		inet_ntop(AF_INET6, &from.v6.sin6_addr, peer, 64);
	return fd;
}

void sock_talk(int a, int b)
{
	char word[8] = {0};

	assert_int_equal(send(a, "hello", 5, MSG_NOSIGNAL), 5);
	assert_int_equal(recv(b, word, sizeof(word), 0), 5);
	assert_string_equal(word, "hello");
	assert_int_equal(send(b, "again", 5, MSG_NOSIGNAL), 5);
	assert_int_equal(recv(a, word, sizeof(word), 0), 5);
	assert_string_equal(word, "again");
}

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 2654435761U >> 13);
}

static size_t push(int fd, size_t sent, size_t size)
{
	static uint8_t out[1 << 17];
	size_t n = size - sent < sizeof(out) ? size - sent : sizeof(out);
	ssize_t r;

	for (size_t i = 0; i < n; i++)
		out[i] = pattern(sent + i);
	r = send(fd, out, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	assert_true(r > 0 || errno == EAGAIN);
	return r > 0 ? (size_t)r : 0;
}

static size_t pull(int fd, size_t got)
{
	static uint8_t in[1 << 17];
	ssize_t r = recv(fd, in, sizeof(in), MSG_DONTWAIT);

	assert_true(r > 0 || (r < 0 && errno == EAGAIN));
	for (ssize_t i = 0; i < r; i++)
		if (in[i] != pattern(got + (size_t)i))
			fail_msg("wrong byte at %zu", got + (size_t)i);
	return r > 0 ? (size_t)r : 0;
}

void sock_bulk(int a, int b, size_t size)
{
	size_t sent = 0, got = 0;

	while (got < size) {
		struct pollfd fds[2] = {{a, sent < size ? POLLOUT : 0, 0}, {b, POLLIN, 0}};

		if (poll(fds, 2, 20000) <= 0)
			fail_msg("%zu sent, %zu received, and no more", sent, got);
		if (fds[0].revents)
			sent += push(a, sent, size);
		if (fds[1].revents)
			got += pull(b, got);
	}
}

void sock_is_reset(int fd)
{
	uint64_t deadline = weft_now_ns() + 20000000000ULL;
	char byte;

	while (weft_now_ns() < deadline) {
		struct pollfd p = {fd, POLLIN, 0};

		send(fd, "x", 1, MSG_NOSIGNAL);
		if (poll(&p, 1, 50) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) < 0) {
			assert_int_equal(errno, ECONNRESET);
			return;
		}
	}
	fail_msg("not reset");
}

unsigned long long ns_csum_errors(int ns)
{
	char line[1024], names[1024] = "";
	unsigned long long sum = 0;
	FILE *f;

	ns_enter(ns);
	f = fopen("/proc/thread-self/net/snmp", "re");
	ns_home();
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		char *n, *v, *sn = NULL, *sv = NULL;

		if (!names[0] || strncmp(line, names, 4) != 0) {
			snprintf(names, sizeof(names), "%s", line);
			continue;
		}
		n = strtok_r(names, " ", &sn);
		v = strtok_r(line, " ", &sv);
		for (; n && v; n = strtok_r(NULL, " \n", &sn), v = strtok_r(NULL, " \n", &sv))
			if (strcmp(n, "InCsumErrors") == 0)
				sum += strtoull(v, NULL, 10);
		names[0] = '\0';
	}
	fclose(f);
	return sum;
}
