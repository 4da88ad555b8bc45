/* SPDX-License-Identifier: Apache-2.0 */
/* Published ports for callers of IPv6, on built frames: as test_publish.c and test_publish_icmp.c.
 */
#include <linux/ipv6.h>

#include "tests/bpf/publish.h"

#define NODE6   "2001:db8::1"
#define CALLER6 "2001:db8:7::7"
#define VIP6    "fdff:2000::1"

static struct in6_addr text6(const char *text)
{
	struct in6_addr a;

	assert_int_equal(inet_pton(AF_INET6, text, &a), 1);
	return a;
}

static void addresses(struct lab_frame *f, struct in6_addr from, struct in6_addr to)
{
	struct ipv6hdr *ip = lab_ip6(f);

	memcpy(&ip->saddr, &from, sizeof(from));
	memcpy(&ip->daddr, &to, sizeof(to));
}

static void at_the_uplink(struct lab_frame *f)
{
	struct ethhdr *eth = (void *)f->data;

	f->ifindex = lab_up0(eth->h_dest);
	memcpy(eth->h_source, caller_mac, sizeof(caller_mac));
}

static void call6(struct lab_frame *f, uint16_t sport, uint16_t dport, uint8_t flags)
{
	lab_tcp(f, (struct lab_tuple){HERE, VIP6, sport, dport}, flags, 7);
	addresses(f, text6(CALLER6), text6(NODE6));
	lab_check_tcp(f);
	at_the_uplink(f);
}

static struct in6_addr ns6(uint32_t n)
{
	return lab_instance(n, 0).ns_addr6;
}

static void assert_tuple6(struct lab_frame *f, struct in6_addr from, uint16_t sport,
	struct in6_addr to, uint16_t dport)
{
	assert_memory_equal(&lab_ip6(f)->saddr, &from, sizeof(from));
	assert_memory_equal(&lab_ip6(f)->daddr, &to, sizeof(to));
	assert_int_equal(ntohs(lab_udph(f)->source), sport);
	assert_int_equal(ntohs(lab_udph(f)->dest), dport);
	assert_true(lab_sums_right(f));
}

static void answer6(struct lab_frame *f, uint32_t from, uint8_t flags)
{
	lab_tcp(f, (struct lab_tuple){HERE, CALLER6, PORT, 40000}, flags, 9);
	addresses(f, ns6(from), text6(CALLER6));
	lab_check_tcp(f);
}

static void to_a_backend_here_and_back(void **state)
{
	struct weft_dp *dp = *state;
	struct in6_addr at = weft_dp_published_at6(dp), node = text6(NODE6);
	struct lab_frame f;

	assert_memory_equal(&at, &node, sizeof(at));
	call6(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), HERE);
	assert_tuple6(&f, text6(CALLER6), 40000, ns6(HERE), PORT);
	answer6(&f, HERE, LAB_SYN | LAB_ACK);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_tuple6(&f, text6(NODE6), HOST, text6(CALLER6), 40000);
	call6(&f, 40000, HOST, LAB_ACK);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_live(dp, HERE), 1);

	lab_udp(&f, (struct lab_tuple){HERE, VIP6, 40000, 5353}, 20);
	addresses(&f, text6(CALLER6), text6(NODE6));
	lab_udph(&f)->check = 1; /* so that it is none of 0 */
	at_the_uplink(&f);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_int_equal(ntohs(lab_udph(&f)->dest), 53);
}

static void all_else_is_left_alone(void **state)
{
	static const struct {
		const char *to;
		uint16_t port;
	} others[] = {{NODE6, 22}, {"2001:db8::2", HOST}, {NODE6, 5353}};
	struct weft_dp *dp = *state;
	struct lab_frame f, before;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		call6(&f, 40000, others[i].port, LAB_SYN);
		addresses(&f, text6(CALLER6), text6(others[i].to));
		lab_check_tcp(&f);
		before = f;
		assert_int_equal(lab_run_publish(dp, &f), LAB_UNSPEC);
		assert_memory_equal(f.data, before.data, f.len);
	}
	answer6(&f, HERE, LAB_SYN);
	assert_int_equal(lab_run(dp, &f), LAB_OK);
}

static void lost_connections_are_reset(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t before = lab_drops(dp, WEFT_DROP_NO_FLOW);
	struct lab_frame f;

	call6(&f, 40000, HOST, LAB_ACK);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_true(((uint8_t *)lab_tcph(&f))[13] & LAB_RST);
	assert_tuple6(&f, text6(NODE6), HOST, text6(CALLER6), 40000);
	assert_memory_equal(f.data, caller_mac, 6);
	assert_int_equal(lab_drops(dp, WEFT_DROP_NO_FLOW), before + 1);
}

/* Both families call the same port: two flows; one with an answer does not answer the other. */
static void beside_ipv4(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	call6(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	call_tcp(&f, 40000, HOST, LAB_ACK);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_true(((uint8_t *)lab_tcph(&f))[13] & LAB_RST);
	call_tcp(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_live(dp, HERE), 2);
}

static void to_another_node_and_back(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	lab_weights(dp, 1, (struct weft_dp_weight[]){{FAR, 1}}, 1);
	call6(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	lab_unwrap(&f, PEER, false, false);
	assert_tuple6(&f, text6(CALLER6), 40000, ns6(FAR), PORT);
	answer6(&f, FAR, LAB_SYN | LAB_ACK);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
	assert_tuple6(&f, text6(NODE6), HOST, text6(CALLER6), 40000);
}

static void for_a_peers_caller(void **state)
{
	struct weft_dp *dp = *state;
	struct in6_addr here = ns6(HERE);
	struct lab_frame f;

	call6(&f, 40000, PORT, LAB_SYN);
	addresses(&f, text6(CALLER6), here);
	lab_check_tcp(&f);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), HERE);
	assert_tuple6(&f, text6(CALLER6), 40000, here, PORT);
	answer6(&f, HERE, LAB_SYN | LAB_ACK);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	lab_unwrap(&f, PEER, false, false);
	assert_tuple6(&f, here, PORT, text6(CALLER6), 40000);
}

/* Not from an instance that is nobody's, nor for a service that has no ports. */
static void strangers_by_the_tunnel(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t before = lab_drops(dp, WEFT_DROP_TUNNEL_SOURCE);
	struct lab_frame f;

	for (int i = 0; i < 2; i++) {
		call6(&f, 40000, PORT, LAB_SYN);
		addresses(&f, text6(i ? "fc00::77" : CALLER6), ns6(HERE));
		lab_check_tcp(&f);
		if (!i)
			assert_int_equal(weft_dp_service_publish(dp, 1, NULL, 0, NULL), 0);
		lab_wrap(&f, PEER, false, false);
		assert_int_equal(lab_run_uplink(dp, &f), LAB_SHOT);
	}
	assert_int_equal(lab_drops(dp, WEFT_DROP_TUNNEL_SOURCE), before + 2);
}

static void fragments_follow(void **state)
{
	struct weft_dp *dp = *state;
	struct in6_addr here = ns6(HERE);
	struct lab_frame f;

	for (int later = 0; later < 2; later++) {
		lab_udp(&f, (struct lab_tuple){HERE, VIP6, 40000, 5353}, 64);
		addresses(&f, text6(CALLER6), text6(NODE6));
		lab_udph(&f)->check = 1;
		lab_fragment6(&f, 99, later ? 64 : 0, !later);
		at_the_uplink(&f);
		assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
		assert_int_equal(lab_receiver(&f), HERE);
		assert_memory_equal(&lab_ip6(&f)->daddr, &here, sizeof(here));
	}
	/* And those of a peer's caller, but none without a first. */
	for (int i = 0; i < 3; i++) {
		lab_udp(&f, (struct lab_tuple){HERE, VIP6, 40000, 53}, 64);
		addresses(&f, text6(CALLER6), here);
		lab_udph(&f)->check = 1;
		lab_fragment6(&f, i < 2 ? 97 : 96, i ? 64 : 0, !i);
		lab_wrap(&f, PEER, false, false);
		assert_int_equal(lab_run_uplink(dp, &f), i < 2 ? LAB_REDIRECT : LAB_SHOT);
		assert_true(i == 2 || lab_receiver(&f) == HERE);
	}
	/* One without a first is whoever's it is. */
	lab_udp(&f, (struct lab_tuple){HERE, VIP6, 40000, 5353}, 64);
	addresses(&f, text6(CALLER6), text6(NODE6));
	lab_fragment6(&f, 98, 64, false);
	at_the_uplink(&f);
	assert_int_equal(lab_run_publish(dp, &f), LAB_UNSPEC);
}

/* A part of a call to an address, and of an answer of instance from. */
static void part_of_call(struct lab_frame *f, struct in6_addr to, uint16_t dport, uint32_t id)
{
	lab_udp(f, (struct lab_tuple){HERE, VIP6, 40000, dport}, 64);
	addresses(f, text6(CALLER6), to);
	lab_udph(f)->check = 1;
	lab_fragment6(f, id, 0, true);
}

static void part_of_answer(struct lab_frame *f, uint32_t from, uint32_t id, int later)
{
	lab_udp(f, (struct lab_tuple){HERE, CALLER6, 53, 40000}, 64);
	addresses(f, ns6(from), text6(CALLER6));
	lab_udph(f)->check = 1;
	lab_fragment6(f, id, later ? 64 : 0, !later);
}

static void assert_answers(struct lab_frame *f, struct in6_addr from, uint16_t sport)
{
	struct in6_addr caller = text6(CALLER6);

	assert_memory_equal(&lab_ip6(f)->saddr, &from, sizeof(from));
	assert_memory_equal(&lab_ip6(f)->daddr, &caller, sizeof(caller));
	assert_int_equal(ntohs(((struct udphdr *)(f->data + ETH_HLEN + 48))->source), sport);
}

static void fragments_of_answers_follow(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f, before;

	part_of_call(&f, text6(NODE6), 5353, 80);
	at_the_uplink(&f);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	for (int later = 0; later < 3; later++) {
		part_of_answer(&f, HERE, 81, later);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		assert_answers(&f, text6(NODE6), later ? 53 : 5353);
	}
	part_of_answer(&f, HERE, 82, 1);
	assert_int_equal(lab_run(dp, &f), LAB_OK);
	part_of_answer(&f, HERE, 81, 1);
	at_the_uplink(&f);
	before = f;
	assert_int_equal(lab_run_publish(dp, &f), LAB_UNSPEC);
	assert_memory_equal(f.data, before.data, f.len);
}

static void fragments_of_answers_between_nodes(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	lab_weights(dp, 1, (struct weft_dp_weight[]){{FAR, 1}}, 1);
	part_of_call(&f, text6(NODE6), 5353, 83);
	at_the_uplink(&f);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	for (int later = 0; later < 2; later++) {
		part_of_answer(&f, FAR, 84, later);
		lab_wrap(&f, PEER, false, false);
		assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
		assert_answers(&f, text6(NODE6), later ? 53 : 5353);
	}
	part_of_answer(&f, FAR, 85, 1);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_SHOT);

	part_of_call(&f, ns6(HERE), 53, 86);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
	for (int later = 0; later < 2; later++) {
		part_of_answer(&f, HERE, 87, later);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		lab_unwrap(&f, PEER, false, false);
		assert_answers(&f, ns6(HERE), 53);
	}
}

static void too_big_for_the_tunnel(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t before = lab_drops(dp, WEFT_DROP_TOO_BIG);
	const uint8_t *icmp;
	struct lab_frame f;

	lab_weights(dp, 1, (struct weft_dp_weight[]){{FAR, 1}}, 1);
	lab_udp(&f, (struct lab_tuple){HERE, VIP6, 40000, 5353}, 1452);
	addresses(&f, text6(CALLER6), text6(NODE6));
	lab_udph(&f)->check = 1;
	at_the_uplink(&f);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	icmp = f.data + ETH_HLEN + 40;
	assert_int_equal(lab_ip6(&f)->nexthdr, 58);
	assert_true(lab_sums_right(&f));
	assert_memory_equal(f.data, caller_mac, 6);
	assert_int_equal(icmp[0], 2);
	assert_int_equal(icmp[6] << 8 | icmp[7], 1472);
	assert_int_equal(lab_drops(dp, WEFT_DROP_TOO_BIG), before + 1);
}

static void too_big_for_a_peers_caller(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t before = lab_drops(dp, WEFT_DROP_TOO_BIG);
	struct in6_addr here = ns6(HERE);
	const uint8_t *icmp;
	struct lab_frame f;

	lab_udp(&f, (struct lab_tuple){HERE, VIP6, 40000, 53}, 20);
	addresses(&f, text6(CALLER6), here);
	lab_udph(&f)->check = 1;
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), HERE);

	for (size_t more = 0; more < 2; more++) {
		lab_udp(&f, (struct lab_tuple){HERE, CALLER6, 53, 40000}, 1472 - 48 + more);
		addresses(&f, here, text6(CALLER6));
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		assert_int_equal(lab_drops(dp, WEFT_DROP_TOO_BIG), before + more);
	}
	icmp = f.data + ETH_HLEN + 40;
	assert_int_equal(lab_receiver(&f), HERE);
	assert_true(lab_sums_right(&f));
	assert_int_equal(icmp[0], 2);
	assert_int_equal(icmp[6] << 8 | icmp[7], 1472);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(to_a_backend_here_and_back),
		T(all_else_is_left_alone),
		T(lost_connections_are_reset),
		T(beside_ipv4),
		T(to_another_node_and_back),
		T(for_a_peers_caller),
		T(too_big_for_a_peers_caller),
		T(strangers_by_the_tunnel),
		T(fragments_follow),
		T(fragments_of_answers_follow),
		T(fragments_of_answers_between_nodes),
		T(too_big_for_the_tunnel),
	};

	if (!lab_enter())
		return 0;
	lab_uplink_device();
	return cmocka_run_group_tests_name("publish6", tests, group_setup, group_teardown);
}
