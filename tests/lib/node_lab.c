/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/node_lab.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/link.h"

#define GATEWAY "10.18.0.254"
#define MTU     1450

static char dir[] = "/tmp/weft-test-nodes-XXXXXX";
int node_instance_ns[INSTANCES];

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
	ns_open();
	assert_non_null(mkdtemp(dir));
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
	ns_close();
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

void node_xdp(struct node *node, enum weft_dp_xdp xdp)
{
	struct weft_dp_uplink_status status;
	struct weft_err err = {0};
	int r;

	node->uplink.xdp = xdp;
	ns_enter(node->ns);
	r = weft_dp_uplink_set(node->dp, &node->uplink, &err);
	ns_home();
	if (r < 0)
		fail_msg("node %u: %s", node->n, err.msg);
	assert_int_equal(weft_dp_uplink_status(node->dp, &status), 0);
	assert_string_equal(status.problem, "");
	if (xdp != WEFT_DP_XDP_AUTO)
		assert_int_equal(status.xdp_used, xdp);
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
