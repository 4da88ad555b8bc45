/* SPDX-License-Identifier: Apache-2.0 */
/* Published ports with real sockets of both families: who calls is outside of all nodes, behind a
 * link that is narrower than it says. What is too large for one packet, and what goes wrong on the
 * way, must get through all the same. */
#include "tests/bpf/nodes.h"

#include <fcntl.h>
#include <linux/if_link.h>

#include "ctrl/dataplane/link.h"
#include "tests/lib/outer_lab.h"

#define LARGE  4000
#define NARROW 1300
#define CLOSED 5354 /* at the backend's port nobody listens */

static int outside = -1;
static char place[] = "/tmp/weft-test-published-XXXXXX";

/* By the port of the first node to a backend of the second, and by the second's own. */
static const struct {
	bool v6;
	unsigned node;
} calls[] = {{false, 1}, {false, 2}, {true, 1}, {true, 2}};

static void publish(void)
{
	static const struct weft_dp_port ports[] = {{8080, NODE_PORT, IPPROTO_TCP},
		{5353, NODE_PORT, IPPROTO_UDP}, {CLOSED, 9, IPPROTO_UDP}};

	for (unsigned n = 1; n <= 2; n++) {
		struct weft_dp_weight w[] = {{21, 1}};
		struct weft_err err = {0};
		int r;

		lab_weights(node[n].dp, SERVICE, w, 1);
		ns_enter(node[n].ns);
		r = weft_dp_service_publish(
			node[n].dp, SERVICE, ports, sizeof(ports) / sizeof(ports[0]), &err);
		ns_home();
		if (r < 0)
			fail_msg("%s", err.msg);
	}
}

static void make_outside(void)
{
	_cleanup_(freep) char *path = NULL;
	struct weft_err err = {0};

	assert_non_null(mkdtemp(place));
	path = weft_strf("%s/ns", place);
	if (weft_netns_add(path, &err) < 0)
		fail_msg("%s", err.msg);
	outside = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(outside >= 0);
	assert_int_equal(
		lab_sh("ip link add out0 mtu %d type veth peer name out1 netns /proc/%d/fd/%d && "
		       "ip addr add 203.0.113.1/30 dev out0 && "
		       "ip -6 addr add 2001:db8:99::1/64 dev out0 nodad && ip link set out0 up",
			NARROW, getpid(), outside),
		0);
	assert_int_equal(ns_sh(outside, "ip link set out1 mtu 1500 up && "
					"ip addr add 203.0.113.2/30 dev out1 && "
					"ip -6 addr add 2001:db8:99::2/64 dev out1 nodad && "
					"ip route add default via 203.0.113.1 mtu 1400 && "
					"ip -6 route add default via 2001:db8:99::1 mtu 1400"),
		0);
}

static int setup_published(void **state)
{
	setup(state);
	publish();
	/* Of addresses outside only the gateway knows. */
	assert_int_equal(
		ns_sh(node_instance_ns[21], "ip -6 route replace default via fe80::1 dev eth0"), 0);
	make_outside();
	return 0;
}

static int teardown_published(void **state)
{
	_cleanup_(freep) char *path = weft_strf("%s/ns", place);

	close(outside);
	lab_sh("ip link del out0");
	weft_netns_del(path);
	rmdir(place);
	return teardown(state);
}

static void a_datagram_and_its_answer(const char *to, bool v6)
{
	int a = ns_dial(outside, to, 5353, SOCK_DGRAM);
	int b = v6 ? ns_listen(node_instance_ns[21], SOCK_DGRAM, "::", NODE_PORT) : udp[2];
	struct sockaddr_storage from;
	socklen_t size = sizeof(from);
	char sent[LARGE], got[LARGE + 1];

	for (size_t i = 0; i < LARGE; i++)
		sent[i] = (char)(i * 7 + i / 256);
	assert_int_equal(send(a, sent, LARGE, 0), LARGE);
	assert_int_equal(recvfrom(b, got, sizeof(got), 0, (void *)&from, &size), LARGE);
	assert_memory_equal(got, sent, LARGE);
	/* A connected socket takes nothing that is not from whom it has called. */
	assert_int_equal(sendto(b, sent, LARGE, 0, (void *)&from, size), LARGE);
	assert_int_equal(recv(a, got, sizeof(got), 0), LARGE);
	assert_memory_equal(got, sent, LARGE);
	close(a);
	if (v6)
		close(b);
}

static void datagrams_in_fragments(void **state)
{
	(void)state;
	/* On the narrow link IPv6 is not cut by who forwards it. */
	assert_int_equal(lab_sh("ip link set out0 mtu 1500"), 0);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		char to[64];

		a_datagram_and_its_answer(node_addr(calls[i].node, calls[i].v6, to), calls[i].v6);
	}
	assert_int_equal(lab_sh("ip link set out0 mtu %d", NARROW), 0);
}

/* The backend's host says that nobody listens: the caller hears it of whom it has called. */
static void nobody_listens(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		char to[64];
		int a = ns_dial(
			outside, node_addr(calls[i].node, calls[i].v6, to), CLOSED, SOCK_DGRAM);

		assert_int_equal(send(a, "?", 1, 0), 1);
		assert_int_equal(sock_error(a), ECONNREFUSED);
		close(a);
	}
}

/* A router says that a backend's answers are too large for the way to the caller, and they get
 * smaller. */
static void a_narrow_way_to_the_caller(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		int a, b,
			listener = calls[i].v6 ? ns_listen(node_instance_ns[21], SOCK_STREAM,
							 "::", NODE_PORT)
					       : tcp[2];
		char to[64];

		a = ns_dial(outside, node_addr(calls[i].node, calls[i].v6, to), 8080, SOCK_STREAM);
		b = ns_accept(listener, NULL);
		sock_bulk(b, a, BULK / 16);
		sock_bulk(a, b, BULK / 16);
		assert_int_equal(sock_path_mtu(b), NARROW);
		close_pair(a, b);
		if (calls[i].v6)
			close(listener);
		ns_sh(node_instance_ns[21], "ip route flush cache; ip -6 route flush cache");
	}
}

static void nothing_was_lost(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 2; n++) {
		assert_int_equal(node_drops(&node[n], WEFT_DROP_FRAGMENT), 0);
		assert_int_equal(node_drops(&node[n], WEFT_DROP_ICMP_NO_FLOW), 0);
		assert_int_equal(node_drops(&node[n], WEFT_DROP_TUNNEL_SOURCE), 0);
		assert_int_equal(node_drops(&node[n], WEFT_DROP_MALFORMED), 0);
	}
	assert_int_equal(ns_csum_errors(outside) + ns_csum_errors(node_instance_ns[21]), 0);
}

/* Where the kernel may have forgotten the Ethernet header before TC sees the packet. */
static void generic_xdp(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 2; n++)
		node_xdp(&node[n], WEFT_DP_XDP_GENERIC);
	datagrams_in_fragments(state);
	nobody_listens(state);
	a_narrow_way_to_the_caller(state);
}

static void anothers_generic_xdp(void **state)
{
	int link[2];

	(void)state;
	for (unsigned n = 1; n <= 2; n++) {
		node_xdp(&node[n], WEFT_DP_XDP_OFF);
		ns_enter(node[n].ns);
		link[n - 1] = lab_foreign_xdp(if_nametoindex("up0"), XDP_FLAGS_SKB_MODE);
		ns_home();
	}
	datagrams_in_fragments(state);
	nobody_listens(state);
	a_narrow_way_to_the_caller(state);
	close(link[0]);
	close(link[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(datagrams_in_fragments),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(a_narrow_way_to_the_caller),
		cmocka_unit_test(generic_xdp),
		cmocka_unit_test(anothers_generic_xdp),
		cmocka_unit_test(nothing_was_lost),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name(
		"nodes_published", tests, setup_published, teardown_published);
}
