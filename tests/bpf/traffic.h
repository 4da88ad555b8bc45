/* SPDX-License-Identifier: Apache-2.0 */
/* A client, two backends and the host, in namespaces whose stacks use segmentation offload and
 * partial checksums, which built frames can not. */
#ifndef WEFT_TESTS_BPF_TRAFFIC_H
#define WEFT_TESTS_BPF_TRAFFIC_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/link.h"
#include "tests/lib/dp_lab.h"
#include "tests/lib/traffic.h"

#define VIP4    "10.30.0.1"
#define VIP6    "fdff:2000::1"
#define SERVICE 1
#define PORT    7777
#define HOST    9 /* instance ids: backends 1 and 2, client 3, the host */
#define CLIENT  3
#define MTU     1450
#define BULK    (24UL << 20)

static struct {
	bool v6;
	struct weft_dp *dp;
	char dir[64];
	int host_ns, ns[4];
	struct weft_dp_instance instances[HOST + 1];
	uint32_t mtu;
	bool old_kernel;
	int tcp[3], udp[3]; /* listening, on backends 1 and 2 */
} lab;

/* --- addresses, in lab.v6's family --- */

static const char *vip(void)
{
	return lab.v6 ? VIP6 : VIP4;
}

/* Of the host, but not of the overlay. */
static const char *outside(void)
{
	return lab.v6 ? "2001:db8::1" : "192.0.2.1";
}

/* What an instance has itself, and what it is called by; until the next call. */
static const char *own(uint32_t n)
{
	static char text[64];

	snprintf(text, sizeof(text), lab.v6 ? "fc00::%u" : "10.18.0.%u", n);
	return text;
}

static const char *called(uint32_t n)
{
	static char text[64];

	snprintf(text, sizeof(text), lab.v6 ? "fdff::1:%u" : "10.30.1.%u", n);
	return text;
}

/* The largest datagram that one packet of that size carries. */
static size_t payload(size_t mtu)
{
	return mtu - (lab.v6 ? 40 : 20) - 8;
}

/* --- the lab --- */

static void ns_path(uint32_t n, char *ret, size_t size)
{
	snprintf(ret, size, "%s/ns%u", lab.dir, n);
}

static void set_weights(uint32_t a, uint32_t b)
{
	struct weft_dp_weight w[] = {{1, a}, {2, b}};

	lab_weights(lab.dp, SERVICE, w, 2);
}

static void open_dp(bool old_kernel)
{
	const struct weft_dp_config config = {
		.bpffs_dir = LAB_PINS,
		.mtu = lab.mtu,
		.clsact = old_kernel,
		.no_kfuncs = old_kernel,
	};
	struct weft_err err = {0};

	lab.old_kernel = old_kernel;
	if (weft_dp_open(&config, &lab.dp, &err) < 0)
		fail_msg("%s", err.msg);
	if (lab.v6)
		lab_service46(lab.dp, SERVICE, VIP4, VIP6);
	else
		lab_service(lab.dp, SERVICE, VIP4);
}

static void set_instance(const struct weft_dp_instance *inst)
{
	struct weft_err err = {0};

	if (weft_dp_instance_set(lab.dp, inst, &err) < 0)
		fail_msg("%s", err.msg);
	lab.instances[inst->id] = *inst;
}

static void add_instance(uint32_t n, uint32_t service)
{
	struct weft_dp_instance inst = lab_instance(n, service);
	char path[96], name[16];
	struct weft_err err = {0};
	struct weft_link_veth veth = {
		.host_name = name,
		.netns = path,
		.peer_name = "eth0",
		.addr = inst.ns_addr,
		.prefix_len = 26,
		.gateway.s_addr = inet_addr("10.18.0.9"),
		.mtu = MTU,
	};

	if (lab.v6) {
		veth.addr6 = inst.ns_addr6;
		veth.prefix6_len = n == 2 ? 128 : 120; /* both ways of being on the link */
	}
	ns_path(n, path, sizeof(path));
	snprintf(name, sizeof(name), "v%u", n);
	memcpy(veth.mac, inst.mac, sizeof(veth.mac));
	if (weft_netns_add(path, &err) < 0 || weft_link_veth_add(&veth, &inst.ifindex, &err) < 0)
		fail_msg("%s", err.msg);
	set_instance(&inst);
	lab.ns[n] = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(lab.ns[n] >= 0);
}

static void add_host(void)
{
	struct weft_dp_instance inst = lab_instance(HOST, 0);
	struct weft_err err = {0};
	struct weft_link_host host = {
		.name = "weft0",
		.addr = inst.ns_addr,
		.subnet.s_addr = inet_addr("10.18.0.0"),
		.subnet_len = 26,
		.service.s_addr = inet_addr("10.30.0.0"),
		.service_len = 16,
		.mtu = MTU,
	};

	if (lab.v6) {
		host.addr6 = host.subnet6 = inst.ns_addr6;
		host.subnet6_len = 120;
		host.service6 = lab_addr6("fdff::");
		host.service6_len = 16;
	}
	inst.device = WEFT_DP_DEV_HOST;
	if (weft_link_host_add(&host, &inst.ifindex, inst.mac, &err) < 0)
		fail_msg("%s", err.msg);
	set_instance(&inst);
	assert_int_equal(lab_sh("ip addr add %s/%u dev lo", outside(), lab.v6 ? 128 : 32), 0);
}

static int setup(void **state)
{
	(void)state;
	ns_open();
	lab.host_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	snprintf(lab.dir, sizeof(lab.dir), "/tmp/weft-test-traffic%s-XXXXXX", lab.v6 ? "6" : "");
	if (!mkdtemp(lab.dir))
		return -1;
	open_dp(false);
	add_host();
	add_instance(1, SERVICE);
	add_instance(2, SERVICE);
	add_instance(CLIENT, 0);
	for (int n = 1; n <= 2; n++) {
		const char *any = lab.v6 ? "::" : "0.0.0.0";

		lab.tcp[n] = ns_listen(lab.ns[n], SOCK_STREAM, any, PORT);
		lab.udp[n] = ns_listen(lab.ns[n], SOCK_DGRAM, any, PORT);
	}
	return 0;
}

static int teardown(void **state)
{
	char path[96];

	(void)state;
	ns_home();
	for (uint32_t n = 1; n <= CLIENT; n++) {
		ns_path(n, path, sizeof(path));
		weft_netns_del(path);
		close(lab.ns[n]);
	}
	for (int n = 1; n <= 2; n++) {
		close(lab.tcp[n]);
		close(lab.udp[n]);
	}
	rmdir(lab.dir);
	close(lab.host_ns);
	ns_close();
	weft_dp_free(lab.dp);
	return weft_dp_destroy(LAB_PINS, NULL);
}

/* --- connections --- */

static int dial(int ns, const char *to)
{
	return ns_dial(ns, to, PORT, SOCK_STREAM);
}

/* Which backend has been chosen, by its listening sockets. */
static int chosen(const int listening[3])
{
	struct pollfd fds[2] = {{listening[1], POLLIN, 0}, {listening[2], POLLIN, 0}};

	assert_int_equal(poll(fds, 2, 20000), 1);
	return fds[0].revents ? 1 : 2;
}

/* Accept there; who does it think calls? */
static int take(int *ret_backend, char peer[64])
{
	*ret_backend = chosen(lab.tcp);
	return ns_accept(lab.tcp[*ret_backend], peer);
}

static void open_pair(int *ret_a, int *ret_b, int *ret_backend)
{
	*ret_a = dial(lab.ns[CLIENT], vip());
	*ret_b = take(ret_backend, NULL);
}

static void close_pair(int a, int b)
{
	close(a);
	close(b);
}

static void await_live(uint32_t id, uint32_t want)
{
	uint64_t deadline = weft_now_ns() + 20000000000ULL;

	while (lab_live(lab.dp, id) != want) {
		if (weft_now_ns() > deadline)
			fail_msg("%u flows of instance %u, not %u", lab_live(lab.dp, id), id, want);
		poll(NULL, 0, 5);
	}
}

static unsigned long long all_csum_errors(void)
{
	unsigned long long sum = ns_csum_errors(lab.host_ns);

	for (int n = 1; n <= CLIENT; n++)
		sum += ns_csum_errors(lab.ns[n]);
	return sum;
}

static void offload_all(bool on)
{
	for (int n = 1; n <= CLIENT; n++)
		ns_checksum_offload(lab.ns[n], "eth0", on);
}

#endif
