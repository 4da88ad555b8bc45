/* SPDX-License-Identifier: Apache-2.0 */
/* Published ports on built frames: calls from outside to backends here and on another node, their
 * answers, and what is no business of theirs. */
#include <sched.h>

#include "tests/bpf/publish.h"

static void to_a_backend_here_and_back(void **state)
{
	struct weft_dp_counters before, c;
	struct weft_dp *dp = *state;
	struct lab_frame f;

	assert_int_equal(weft_dp_service_counters(dp, 1, &before), 0);
	call_tcp(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), HERE);
	assert_tuple(&f, CALLER, 40000, ns_addr(HERE), PORT);

	lab_tcp(&f, (struct lab_tuple){HERE, CALLER, PORT, 40000}, LAB_SYN | LAB_ACK, 9);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_tuple(&f, NODE, HOST, inet_addr(CALLER), 40000);

	call_tcp(&f, 40000, HOST, LAB_ACK);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_live(dp, HERE), 1);
	assert_int_equal(weft_dp_service_counters(dp, 1, &c), 0);
	assert_int_equal(c.flows - before.flows, 1);
	assert_int_equal(c.packets - before.packets, 2);
	assert_int_equal(c.rx_packets - before.rx_packets, 1);
}

static void datagrams_too(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	lab_udp(&f, (struct lab_tuple){HERE, "10.30.0.1", 40000, 5353}, 20);
	from_outside(&f, NODE);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_tuple(&f, CALLER, 40000, ns_addr(HERE), 53);
	lab_udp(&f, (struct lab_tuple){HERE, CALLER, 53, 40000}, 20);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_tuple(&f, NODE, 5353, inet_addr(CALLER), 40000);
	/* An answer that would be a datagram of the tunnel, and from this node, is none. */
	for (uint16_t port = 50103; port <= 50104; port++) {
		lab_udp(&f, (struct lab_tuple){HERE, "10.30.0.1", port, 5353}, 20);
		from_outside(&f, NODE);
		assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
		lab_udp(&f, (struct lab_tuple){HERE, CALLER, 53, port}, 20);
		assert_int_equal(lab_run(dp, &f), LAB_SHOT);
	}
}

static void all_else_is_left_alone(void **state)
{
	static const struct {
		const char *to;
		uint16_t port;
	} others[] = {{NODE, 22}, {"192.0.2.2", HOST}, {NODE, 5353}};
	struct weft_dp *dp = *state;
	struct lab_frame f, before;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		call_tcp(&f, 40000, others[i].port, LAB_SYN);
		from_outside(&f, others[i].to);
		before = f;
		assert_int_equal(lab_run_publish(dp, &f), LAB_UNSPEC);
		assert_memory_equal(f.data, before.data, f.len);
	}
	/* What the instance began itself goes up the host's stack, as ever. */
	lab_tcp(&f, (struct lab_tuple){HERE, CALLER, PORT, 40001}, LAB_SYN, 9);
	assert_int_equal(lab_run(dp, &f), LAB_OK);
}

static void lost_connections_are_reset(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t before = lab_drops(dp, WEFT_DROP_NO_FLOW);
	struct lab_frame f;

	call_tcp(&f, 40000, HOST, LAB_ACK);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_true(((uint8_t *)lab_tcph(&f))[13] & LAB_RST);
	assert_tuple(&f, NODE, HOST, inet_addr(CALLER), 40000);
	assert_memory_equal(f.data, caller_mac, 6);
	assert_int_equal(lab_drops(dp, WEFT_DROP_NO_FLOW), before + 1);

	lab_weights(dp, 1, NULL, 0);
	before = lab_drops(dp, WEFT_DROP_NO_BACKEND);
	call_tcp(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_SHOT);
	assert_int_equal(lab_drops(dp, WEFT_DROP_NO_BACKEND), before + 1);
}

/* Two ports of the node that lead to one of the backends': it could not tell the callers apart. */
static void one_caller_by_two_ports(void **state)
{
	static const struct weft_dp_port two[] = {
		{HOST, PORT, IPPROTO_TCP}, {HOST + 1, PORT, IPPROTO_TCP}};
	struct weft_dp *dp = *state;
	uint64_t before = lab_drops(dp, WEFT_DROP_PORT_IN_USE);
	struct weft_err err = {0};
	struct lab_frame f;

	assert_int_equal(weft_dp_service_publish(dp, 1, two, ARRAY_SIZE(two), &err), 0);
	call_tcp(&f, 42000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), HERE);
	call_tcp(&f, 42000, HOST + 1, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_true(lab_tcph(&f)->rst);
	assert_tuple(&f, NODE, HOST + 1, inet_addr(CALLER), 42000);
	assert_int_equal(lab_drops(dp, WEFT_DROP_PORT_IN_USE), before + 1);

	lab_tcp(&f, (struct lab_tuple){HERE, CALLER, PORT, 42000}, LAB_SYN | LAB_ACK, 9);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_tuple(&f, NODE, HOST, inet_addr(CALLER), 42000);
}

static void balanced_by_the_services_weights(void **state)
{
	struct weft_dp *dp = *state;
	unsigned here = 0;
	struct lab_frame f;

	lab_weights(dp, 1, (struct weft_dp_weight[]){{HERE, 3}, {FAR, 1}}, 2);
	for (uint16_t i = 0; i < 40; i++) {
		call_tcp(&f, (uint16_t)(41000 + i), HOST, LAB_SYN);
		assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
		here += lab_receiver(&f) == HERE;
	}
	assert_int_equal(here, 30);
}

/* The client's address goes along, and the answer comes by the same way. */
static void to_another_node_and_back(void **state)
{
	struct weft_dp *dp = *state;
	char far[INET_ADDRSTRLEN];
	struct lab_frame f;

	lab_weights(dp, 1, (struct weft_dp_weight[]){{FAR, 1}}, 1);
	call_tcp(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	lab_unwrap(&f, PEER, false, false);
	assert_tuple(&f, CALLER, 40000, ns_addr(FAR), PORT);

	lab_tcp(&f, (struct lab_tuple){HERE, CALLER, PORT, 40000}, LAB_SYN | LAB_ACK, 9);
	lab_ip(&f)->saddr = inet_addr(ns_text(FAR, far));
	lab_check_ip(&f);
	lab_check_tcp(&f);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
	assert_tuple(&f, NODE, HOST, inet_addr(CALLER), 40000);
}

/* The other node's side of that: a call that has come by a peer's port. */
static void for_a_peers_caller(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	call_tcp(&f, 40000, PORT, LAB_SYN);
	lab_ip(&f)->daddr = ns_addr(HERE);
	lab_check_ip(&f);
	lab_check_tcp(&f);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), HERE);
	assert_tuple(&f, CALLER, 40000, ns_addr(HERE), PORT);

	lab_tcp(&f, (struct lab_tuple){HERE, CALLER, PORT, 40000}, LAB_SYN | LAB_ACK, 9);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	lab_unwrap(&f, PEER, false, false);
	assert_int_equal(lab_ip(&f)->saddr, ns_addr(HERE));
	assert_int_equal(lab_ip(&f)->daddr, inet_addr(CALLER));
}

/* A datagram in fragments: to a backend here or on the other node, and for a peer's caller. */
static void datagram(struct lab_frame *f, uint32_t to, uint16_t dport, uint16_t id, int later)
{
	struct in_addr addr = {to};

	lab_udp(f, (struct lab_tuple){HERE, "10.30.0.1", 40000, dport}, 64);
	from_outside(f, inet_ntoa(addr));
	lab_fragment(f, id, later ? 64 : 0, !later);
}

static void fragments_follow(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	for (int later = 0; later < 2; later++) {
		datagram(&f, inet_addr(NODE), 5353, 90, later);
		assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
		assert_int_equal(lab_receiver(&f), HERE);
		assert_int_equal(lab_ip(&f)->daddr, ns_addr(HERE));
	}
	weft_dp_flows_purge(dp, HERE);
	lab_weights(dp, 1, (struct weft_dp_weight[]){{FAR, 1}}, 1);
	for (int later = 0; later < 2; later++) {
		datagram(&f, inet_addr(NODE), 5353, 91, later);
		assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
		lab_unwrap(&f, PEER, false, false);
		assert_int_equal(lab_ip(&f)->daddr, ns_addr(FAR));
	}
	for (int later = 0; later < 2; later++) {
		datagram(&f, ns_addr(HERE), 53, 92, later);
		lab_wrap(&f, PEER, false, false);
		assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
		assert_int_equal(lab_receiver(&f), HERE);
		assert_int_equal(lab_ip(&f)->saddr, inet_addr(CALLER));
	}
	/* One without a first is nobody's. */
	datagram(&f, ns_addr(HERE), 53, 93, 1);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_SHOT);
}

/* A part of an answer of instance from to the caller. */
static void answer(struct lab_frame *f, uint32_t from, uint16_t id, int later)
{
	lab_udp(f, (struct lab_tuple){HERE, CALLER, 53, 40000}, 64);
	lab_ip(f)->saddr = ns_addr(from);
	lab_udph(f)->check = 0;
	lab_fragment(f, id, later ? 64 : 0, !later);
}

/* So is an answer: from here, ... */
static void fragments_of_answers_follow(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f, before;

	datagram(&f, inet_addr(NODE), 5353, 80, 0);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	for (int later = 0; later < 3; later++) {
		answer(&f, HERE, 80, later);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		assert_true(lab_from(&f, NODE));
		assert_true(lab_to(&f, CALLER));
		assert_int_equal(ntohs(lab_udph(&f)->source), later ? 53 : 5353);
		assert_true(later || lab_sums_right(&f));
	}
	/* Of another datagram, or sent by somebody else, it is none of it. */
	answer(&f, HERE, 81, 1);
	assert_int_equal(lab_run(dp, &f), LAB_OK);
	answer(&f, HERE, 80, 1);
	from_outside(&f, CALLER);
	lab_ip(&f)->saddr = ns_addr(HERE);
	lab_check_ip(&f);
	before = f;
	assert_int_equal(lab_run_publish(dp, &f), LAB_UNSPEC);
	assert_memory_equal(f.data, before.data, f.len);
}

/* ... from another node, and to a peer's caller. */
static void fragments_of_answers_between_nodes(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	lab_weights(dp, 1, (struct weft_dp_weight[]){{FAR, 1}}, 1);
	datagram(&f, inet_addr(NODE), 5353, 82, 0);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	for (int later = 0; later < 2; later++) {
		answer(&f, FAR, 82, later);
		lab_wrap(&f, PEER, false, false);
		assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
		assert_true(lab_from(&f, NODE));
		assert_true(lab_to(&f, CALLER));
		assert_int_equal(ntohs(lab_udph(&f)->source), later ? 53 : 5353);
	}
	answer(&f, FAR, 83, 1);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_SHOT);

	datagram(&f, ns_addr(HERE), 53, 84, 0);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
	for (int later = 0; later < 2; later++) {
		answer(&f, HERE, 84, later);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		lab_unwrap(&f, PEER, false, false);
		assert_int_equal(lab_ip(&f)->saddr, ns_addr(HERE));
		assert_true(lab_to(&f, CALLER));
	}
}

static void ports_come_and_go(void **state)
{
	const struct weft_dp_port less[] = {{HOST, PORT, IPPROTO_TCP}},
				  many[WEFT_DP_MAX_PORTS + 1] = {{1, 1, IPPROTO_TCP}},
				  odd[] = {{0, 1, IPPROTO_TCP}};
	struct weft_err err = {0};
	struct weft_dp *dp = *state;
	struct lab_frame f;

	call_tcp(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_int_equal(weft_dp_service_publish(dp, 1, less, 1, &err), 0);
	call_tcp(&f, 40000, HOST, LAB_ACK); /* it stayed in its place: the connection lives */
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), HERE);
	lab_tcp(&f, (struct lab_tuple){HERE, CALLER, PORT, 40000}, LAB_ACK, 9);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	call_tcp(&f, 40000, 81, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_UNSPEC);

	lab_service(dp, 2, "10.30.0.2");
	assert_int_equal(weft_dp_service_publish(dp, 2, less, 1, &err), -EADDRINUSE);
	assert_int_equal(weft_dp_service_publish(dp, 2, many, ARRAY_SIZE(many), &err), -E2BIG);
	assert_int_equal(weft_dp_service_publish(dp, 2, odd, 1, &err), -EINVAL);
	assert_int_equal(weft_dp_service_publish(dp, 9, less, 1, &err), -ENOENT);
	assert_int_equal(weft_dp_service_remove(dp, 1), 0);
	assert_int_equal(weft_dp_service_publish(dp, 2, less, 1, &err), 0);
}

static void without_an_uplink(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t before = lab_drops(dp, WEFT_DROP_NO_UPLINK);
	struct lab_frame f;

	call_tcp(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	weft_dp_uplink_remove(dp);
	assert_int_equal(weft_dp_published_at(dp).s_addr, 0);
	lab_tcp(&f, (struct lab_tuple){HERE, CALLER, PORT, 40000}, LAB_SYN | LAB_ACK, 9);
	assert_int_equal(lab_run(dp, &f), LAB_SHOT);
	assert_int_equal(lab_drops(dp, WEFT_DROP_NO_UPLINK), before + 1);
}

static const uint8_t next_hop[] = {2, 0, 0, 0, 0, 0x99};

/* A segment of the connection in XDP, again until it is sent on there, or (sent false) left to TC:
 * *ret is what becomes of it. */
static void await_xdp(struct weft_dp *dp, bool sent, struct lab_frame *ret)
{
	uint64_t deadline = weft_now_ns() + 20000000000ULL;
	uint32_t peer;
	int verdict;

	do {
		if (weft_now_ns() > deadline)
			fail_msg("XDP %s", sent ? "leaves all to TC" : "leaves nothing to TC");
		call_tcp(ret, 40000, HOST, LAB_ACK);
		verdict = lab_run_xdp(dp, ret, &peer);
		if (verdict != LAB_XDP_PASS && verdict != 3 && verdict != 4) /* TX, REDIRECT */
			fail_msg("verdict %d", verdict);
	} while ((verdict != LAB_XDP_PASS) != sent);
}

/* XDP takes over what goes on to another node, once TC has seen it begin. */
static void forwarded_by_xdp(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;
	uint32_t peer;

	lab_weights(dp, 1, (struct weft_dp_weight[]){{FAR, 1}}, 1);
	call_tcp(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_xdp(dp, &f, &peer), LAB_XDP_PASS);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	await_xdp(dp, true, &f);
	assert_memory_equal(f.data, next_hop, ETH_ALEN);
	lab_unwrap(&f, PEER, false, false);
	assert_tuple(&f, CALLER, 40000, ns_addr(FAR), PORT);
	/* What stays here, and what is nobody's, is TC's. */
	lab_weights(dp, 1, (struct weft_dp_weight[]){{HERE, 1}}, 1);
	call_tcp(&f, 40001, HOST, LAB_SYN);
	assert_int_equal(lab_run_xdp(dp, &f, &peer), LAB_XDP_PASS);
	call_tcp(&f, 40001, 22, LAB_SYN);
	assert_int_equal(lab_run_xdp(dp, &f, &peer), LAB_XDP_PASS);
}

static void stay_here(void)
{
	int cpu = sched_getcpu();
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu < 0 ? 0 : cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

/* The kernel's neighbour table would not know that the next hop is used: from time to time a packet
 * is left to TC, and sent by that table, which TEST_RUN does not do any more. */
static void neighbours_are_used(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	/* What is known of the way is so by processor. */
	stay_here();
	lab_weights(dp, 1, (struct weft_dp_weight[]){{FAR, 1}}, 1);
	call_tcp(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	for (int i = 0; i < 2; i++) {
		await_xdp(dp, true, &f);
		await_xdp(dp, false, &f);
		assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
		assert_memory_not_equal(f.data, next_hop, ETH_ALEN);
		await_xdp(dp, true, &f);
	}
}

/* A veth's checksums may be begun only: XDP leaves all of it to TC. */
static void not_by_xdp_on_a_veth(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;
	uint32_t peer;

	lab_weights(dp, 1, (struct weft_dp_weight[]){{FAR, 1}}, 1);
	call_tcp(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	call_tcp(&f, 40000, HOST, LAB_ACK);
	assert_int_equal(lab_run_xdp(dp, &f, &peer), LAB_XDP_PASS);
	assert_int_equal(ntohs(lab_tcph(&f)->dest), HOST);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(to_a_backend_here_and_back),
		T(datagrams_too),
		T(all_else_is_left_alone),
		T(lost_connections_are_reset),
		T(one_caller_by_two_ports),
		T(balanced_by_the_services_weights),
		T(to_another_node_and_back),
		T(for_a_peers_caller),
		T(fragments_follow),
		T(fragments_of_answers_follow),
		T(fragments_of_answers_between_nodes),
		T(ports_come_and_go),
		T(not_by_xdp_on_a_veth),
		T(without_an_uplink),
	};
	const struct CMUnitTest whole[] = {T(forwarded_by_xdp), T(neighbours_are_used)};
	const struct CMUnitTest clsact[] = {T(to_a_backend_here_and_back), T(datagrams_too)};

	if (!lab_enter())
		return 0;
	lab_uplink_device();
	return cmocka_run_group_tests_name("publish", tests, group_setup, group_teardown) +
	       cmocka_run_group_tests_name(
		       "publish by clsact", clsact, group_setup_clsact, group_teardown) +
	       cmocka_run_group_tests_name(
		       "publish by XDP", whole, group_setup_whole, group_teardown);
}
