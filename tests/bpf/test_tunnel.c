/* SPDX-License-Identifier: Apache-2.0 */
/* What the tunnel carries: there and back, sizes, errors, congestion marks. */
#include "tests/bpf/tunnel.h"

#include <unistd.h>

/* --- there and back --- */

static void call_from_afar(void **state)
{
	struct weft_dp_peer_status status;
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		far_tcp(&f, n, "10.18.0.1", 1000, 80, LAB_SYN);
		wrap(&f, n);
		arrives(*state, &f, SERVER);
		/* As it came: translated by the node that sent it. */
		assert_int_equal(lab_ip(&f)->saddr, lab_instance(100 + n, 0).inst_addr.s_addr);
		assert_int_equal(lab_ip(&f)->daddr, lab_addr("10.18.0.1"));
		assert_int_equal(lab_live(*state, SERVER), n);

		lab_tcp(&f,
			(struct lab_tuple){SERVER,
				n == 1   ? "10.30.1.101"
				: n == 2 ? "10.30.1.102"
				: n == 3 ? "10.30.1.103"
					 : "10.30.1.104",
				80, 1000},
			LAB_SYN | LAB_ACK, 1);
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		unwrap(&f, n);
		assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.1"));
		assert_int_equal(lab_ip(&f)->daddr, lab_instance(100 + n, 0).ns_addr.s_addr);
		assert_true(lab_sums_right(&f));

		assert_int_equal(weft_dp_peer_status(*state, n, &status), 0);
		assert_int_equal(status.rx_packets, 1);
		assert_int_equal(status.rx_bytes, f.len - ETH_HLEN);
		assert_int_equal(status.packets, 1);
		assert_int_equal(status.bytes, f.len - ETH_HLEN);
		assert_int_equal(status.drops, 0);
	}
}

static void call_to_afar(void **state)
{
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		uint16_t sport = (uint16_t)(2000 + n), port;

		serve_from(*state, n);
		lab_tcp(&f, (struct lab_tuple){CLIENT, VIP_FAR, sport, 80}, LAB_SYN, 1);
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		port = unwrap(&f, n);
		assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.2"));
		assert_int_equal(lab_ip(&f)->daddr, lab_instance(100 + n, 0).ns_addr.s_addr);
		assert_true(lab_sums_right(&f));
		assert_int_equal(lab_live(*state, 100 + n), 1);

		/* The answer seems to come from the service that was called. */
		far_tcp(&f, n, "10.18.0.2", 80, sport, LAB_SYN | LAB_ACK);
		wrap(&f, n);
		arrives(*state, &f, CLIENT);
		assert_int_equal(lab_ip(&f)->saddr, lab_addr(VIP_FAR));
		assert_int_equal(lab_ip(&f)->daddr, lab_addr("10.18.0.2"));

		/* One flow keeps to one port, and so to one way through the underlay. */
		lab_tcp(&f, (struct lab_tuple){CLIENT, VIP_FAR, sport, 80}, LAB_ACK, 2);
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		assert_int_equal(unwrap(&f, n), port);
	}
}

static void source_ports(void **state)
{
	struct weft_dp *dp = *state;
	bool seen[65536] = {false};
	unsigned different = 0;
	struct lab_frame f;
	uint16_t port = 0;

	serve_from(dp, 2);
	for (uint16_t sport = 1000; sport < 1200; sport++) {
		lab_udp(&f, (struct lab_tuple){CLIENT, VIP_FAR, sport, 53}, 20);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		port = unwrap(&f, 2);
		different += !seen[port];
		seen[port] = true;
	}
	assert_true(different > 150);
	/* Fragments have no ports of their own to be told apart by: they stay together. */
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP_FAR, 1000, 53}, 400);
	lab_fragment(&f, 77, 0, true);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	port = unwrap(&f, 2);
	for (uint16_t off = 400; off < 1200; off += 400) {
		lab_udp(&f, (struct lab_tuple){CLIENT, VIP_FAR, off, 9}, 400);
		lab_fragment(&f, 77, off, off == 400);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		assert_int_equal(unwrap(&f, 2), port);
	}
}

static void fragments_arrive(void **state)
{
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		lab_udp(&f, (struct lab_tuple){100 + n, "10.18.0.1", 5, 53}, 400);
		from_far(&f, n);
		lab_fragment(&f, (uint16_t)n, 0, true);
		wrap(&f, n);
		arrives(*state, &f, SERVER);
		lab_udp(&f, (struct lab_tuple){100 + n, "10.18.0.1", 0, 0}, 400);
		from_far(&f, n);
		lab_fragment(&f, (uint16_t)n, 408, false);
		wrap(&f, n);
		assert_int_equal(lab_run_uplink(*state, &f), LAB_REDIRECT);
		assert_int_equal(lab_receiver(&f), SERVER);
	}
	lab_udp(&f, (struct lab_tuple){101, "10.18.0.1", 0, 0}, 400);
	from_far(&f, 1);
	lab_fragment(&f, 999, 408, false);
	wrap(&f, 1);
	dropped(*state, &f, FRAGMENT);
}

static void echo(void **state)
{
	struct lab_frame f;

	serve_from(*state, 1);
	lab_echo(&f, (struct lab_tuple){CLIENT, VIP_FAR, 33, 0}, 8);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	unwrap(&f, 1);
	assert_true(lab_sums_right(&f));
	lab_echo(&f, (struct lab_tuple){101, "10.18.0.2", 33, 0}, 0);
	from_far(&f, 1);
	wrap(&f, 1);
	arrives(*state, &f, CLIENT);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr(VIP_FAR));
}

/* --- what the nodes have lost --- */

static void segment_of_no_flow(void **state)
{
	struct lab_frame f;

	/* This node has forgotten, the other has not: it goes on. */
	far_tcp(&f, 2, "10.18.0.1", 3000, 80, LAB_ACK);
	wrap(&f, 2);
	arrives(*state, &f, SERVER);
	lab_tcp(&f, (struct lab_tuple){SERVER, "10.30.1.102", 80, 3000}, LAB_ACK, 1);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	unwrap(&f, 2);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.1"));
	/* The same when this side speaks first. */
	lab_tcp(&f, (struct lab_tuple){SERVER, "10.30.1.102", 80, 3001}, LAB_ACK, 1);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	unwrap(&f, 2);
	/* But which backend a service's client had called, nobody knows any more. */
	serve_from(*state, 2);
	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP_FAR, 3000, 80}, LAB_ACK, 1);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_true(lab_tcph(&f)->rst);
}

static void peer_is_removed(void **state)
{
	struct lab_frame f;

	serve_from(*state, 2);
	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP_FAR, 4000, 80}, LAB_SYN, 1);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	far_tcp(&f, 2, "10.18.0.1", 4000, 80, LAB_SYN);
	wrap(&f, 2);
	arrives(*state, &f, SERVER);

	assert_int_equal(weft_dp_peer_remove(*state, 2), 0);
	assert_int_equal(weft_dp_peer_remove(*state, 2), 0);
	assert_int_equal(lab_live(*state, 102), 0);
	/* Both ends here learn at once. */
	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP_FAR, 4000, 80}, LAB_ACK, 2);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_true(lab_tcph(&f)->rst);
	lab_tcp(&f, (struct lab_tuple){SERVER, "10.30.1.102", 80, 4000}, LAB_ACK, 2);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_true(lab_tcph(&f)->rst);
	far_tcp(&f, 2, "10.18.0.1", 4000, 80, LAB_ACK);
	wrap(&f, 2);
	dropped(*state, &f, UNKNOWN_PEER);
}

/* --- sizes --- */

/* Inner MTU: 1500 less what the way's headers take. */
static uint32_t inner_mtu(uint32_t n)
{
	return 1500 - (ways[n - 1].v6 ? 40 : 20) - 8 - (ways[n - 1].vxlan ? 22 : 0);
}

static void mss_option(struct lab_frame *f, uint16_t mss)
{
	uint8_t *opts = (uint8_t *)lab_tcph(f) + 20;

	lab_tcph(f)->doff = 6;
	opts[0] = 2;
	opts[1] = 4;
	opts[2] = (uint8_t)(mss >> 8);
	opts[3] = (uint8_t)mss;
	lab_check_tcp(f);
}

static uint32_t mss_of(struct lab_frame *f)
{
	const uint8_t *opts = (const uint8_t *)lab_tcph(f) + 20;

	return (uint32_t)opts[2] << 8 | opts[3];
}

static void mss_is_lowered(void **state)
{
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		serve_from(*state, n);
		lab_tcp(&f, (struct lab_tuple){CLIENT, VIP_FAR, (uint16_t)(6000 + n), 80}, LAB_SYN,
			1);
		mss_option(&f, 1460);
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		unwrap(&f, n);
		assert_int_equal(mss_of(&f), inner_mtu(n) - 40);
		assert_true(lab_sums_right(&f));

		far_tcp(&f, n, "10.18.0.2", 80, (uint16_t)(6000 + n), LAB_SYN | LAB_ACK);
		mss_option(&f, 1460);
		wrap(&f, n);
		arrives(*state, &f, CLIENT);
		assert_int_equal(mss_of(&f), inner_mtu(n) - 40);
	}
}

static void larger_than_the_tunnel(void **state)
{
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		uint32_t mtu = inner_mtu(n);

		serve_from(*state, n);
		lab_udp(&f, (struct lab_tuple){CLIENT, VIP_FAR, (uint16_t)(7000 + n), 80},
			mtu - 28);
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		unwrap(&f, n);
		/* Asked not to be cut or not: nobody on the way could. */
		for (int ask = 0; ask < 2; ask++) {
			uint64_t before = lab_drops(*state, WEFT_DROP_TOO_BIG);

			lab_udp(&f, (struct lab_tuple){CLIENT, VIP_FAR, (uint16_t)(7000 + n), 80},
				mtu - 27);
			lab_ip(&f)->frag_off = htons(ask ? 0x4000 : 0);
			lab_check_ip(&f);
			assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
			assert_int_equal(lab_drops(*state, WEFT_DROP_TOO_BIG), before + 1);
			assert_int_equal(lab_receiver(&f), CLIENT);
			assert_int_equal(lab_ip(&f)->protocol, IPPROTO_ICMP);
			assert_int_equal(lab_ip(&f)->saddr, lab_addr(VIP_FAR));
			assert_int_equal(f.data[34], 3);
			assert_int_equal(f.data[35], 4);
			assert_int_equal(f.data[40] << 8 | f.data[41], mtu);
			assert_true(lab_sums_right(&f));
		}
	}
}

/* Segments of a super-packet count, not the whole. (That they are put into the tunnel is seen with
 * real traffic: here a super-packet is of no kind, which the kernel does not encapsulate.) */
static void super_packets(void **state)
{
	uint64_t before = lab_drops(*state, WEFT_DROP_ENCAP);
	struct lab_frame f;

	serve_from(*state, 2);
	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP_FAR, 7100, 80}, LAB_SYN, 1);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	for (int big = 0; big < 2; big++) {
		lab_tcp(&f, (struct lab_tuple){CLIENT, VIP_FAR, 7100, 80}, LAB_ACK, 2);
		f.len = 14 + 40 + 1900;
		lab_ip(&f)->tot_len = htons(40 + 1900);
		lab_ip(&f)->frag_off = htons(0x4000);
		lab_check_ip(&f);
		lab_check_tcp(&f);
		f.gso_size = inner_mtu(2) - 40 + (uint32_t)big;
		assert_int_equal(lab_run(*state, &f), big ? LAB_REDIRECT : LAB_SHOT);
		assert_int_equal(lab_drops(*state, WEFT_DROP_ENCAP), before + 1);
		provoked[WEFT_DROP_ENCAP] = true;
		if (big)
			assert_int_equal(lab_ip(&f)->protocol, IPPROTO_ICMP);
	}
}

/* --- errors --- */

/* Node 1's client gets the error about what it sent, though node 2 quotes what arrived there. */
static void icmp_error_arrives(void **state)
{
	struct lab_frame f, sent;
	uint8_t *icmp;

	serve_from(*state, 2);
	lab_udp(&sent, (struct lab_tuple){CLIENT, VIP_FAR, 8000, 80}, 20);
	assert_int_equal(lab_run(*state, &sent), LAB_REDIRECT);
	unwrap(&sent, 2);
	/* It comes translated by its node: source and quoted destination the instance address. */
	lab_echo(&f, (struct lab_tuple){102, "10.18.0.2", 0, 0}, 3);
	icmp = f.data + 34;
	memset(icmp, 0, 8);
	icmp[0] = 3;
	icmp[1] = 3;
	memcpy(icmp + 8, sent.data + ETH_HLEN, 28);
	f.len = 34 + 8 + 28;
	lab_ip(&f)->tot_len = htons(20 + 8 + 28);
	memcpy(icmp + 8 + 12, &(uint32_t){lab_addr("10.18.0.2")}, 4);
	memcpy(icmp + 8 + 16, &(uint32_t){lab_addr("10.30.1.102")}, 4);
	from_far(&f, 2);
	lab_check_icmp(&f);
	wrap(&f, 2);
	arrives(*state, &f, CLIENT);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr(VIP_FAR));
	assert_memory_equal(icmp + 8 + 12, &(uint32_t){lab_addr("10.18.0.2")}, 4);
	assert_memory_equal(icmp + 8 + 16, &(uint32_t){lab_addr(VIP_FAR)}, 4);
	/* About a flow that nobody has here. */
	icmp[8 + 20] = 1;
	memcpy(icmp + 8 + 16, &(uint32_t){lab_addr("10.30.1.102")}, 4);
	from_far(&f, 2);
	lab_check_icmp(&f);
	wrap(&f, 2);
	dropped(*state, &f, ICMP_NO_FLOW);
}

static void icmp_error_leaves(void **state)
{
	struct lab_frame f, got;
	uint8_t *icmp;

	lab_udp(&got, (struct lab_tuple){102, "10.18.0.1", 8100, 80}, 20);
	from_far(&got, 2);
	wrap(&got, 2);
	arrives(*state, &got, SERVER);
	lab_echo(&f, (struct lab_tuple){SERVER, "10.30.1.102", 0, 0}, 3);
	icmp = f.data + 34;
	memset(icmp, 0, 8);
	icmp[0] = 3;
	icmp[1] = 3;
	memcpy(icmp + 8, got.data + ETH_HLEN, 28);
	f.len = 34 + 8 + 28;
	lab_ip(&f)->tot_len = htons(20 + 8 + 28);
	lab_check_ip(&f);
	lab_check_icmp(&f);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	unwrap(&f, 2);
	assert_true(lab_sums_right(&f));
	assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.1"));
	assert_int_equal(lab_ip(&f)->daddr, lab_addr("10.18.0.102"));
	assert_memory_equal(f.data + 42 + 12, &(uint32_t){lab_addr("10.18.0.102")}, 4);
	assert_memory_equal(f.data + 42 + 16, &(uint32_t){lab_addr("10.30.1.1")}, 4);
}

/* --- congestion --- */

static void congestion_marks(void **state)
{
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		struct lab_outer o;

		serve_from(*state, n);
		lab_udp(&f, (struct lab_tuple){CLIENT, VIP_FAR, (uint16_t)(9100 + n), 80}, 20);
		lab_ip(&f)->tos = 0xb8 | 2;
		lab_check_ip(&f);
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		if (ways[n - 1].v6)
			assert_int_equal((f.data[14] << 4 | f.data[15] >> 4) & 0xff, 0xba);
		else
			assert_int_equal(f.data[15], 0xba);

		for (uint8_t inner = 0; inner < 4; inner++) {
			far_tcp(&f, n, "10.18.0.1", 9001, 80, LAB_SYN);
			lab_ip(&f)->tos = 0xb8 | inner;
			lab_check_ip(&f);
			o = wrap(&f, n);
			f.data[o.ip + 1] |= o.v6 ? 3 << 4 : 3;
			lab_refit(&f, &o);
			arrives(*state, &f, SERVER);
			assert_int_equal(lab_ip(&f)->tos, 0xb8 | (inner ? 3 : 0));
		}
	}
}

/* --- where to --- */

static void far_datagram(void **state, const char *to, int receiver)
{
	struct lab_frame f;

	lab_udp(&f, (struct lab_tuple){102, to, 9200, 53}, 20);
	from_far(&f, 2);
	wrap(&f, 2);
	if (receiver)
		arrives(*state, &f, (uint32_t)receiver);
	else
		dropped(*state, &f, TUNNEL_TARGET);
}

/* Two addresses that share the place where one was found last, and one that changes hands. */
static void holders_of_addresses(void **state)
{
	struct weft_dp_instance heir;
	struct weft_err err = {0};

	lab_add(*state, 4096 + SERVER, 0);
	for (int i = 0; i < 3; i++) {
		far_datagram(state, "10.18.0.1", SERVER);
		far_datagram(state, "10.18.16.1", 4096 + SERVER);
		far_datagram(state, "10.18.32.1", 0);
	}
	assert_int_equal(weft_dp_instance_remove(*state, 4096 + SERVER), 0);
	far_datagram(state, "10.18.16.1", 0);
	lab_add(*state, 7, 0);
	far_datagram(state, "10.18.0.7", 7);
	assert_int_equal(weft_dp_instance_remove(*state, 7), 0);
	far_datagram(state, "10.18.0.7", 0);
	heir = lab_instance(8, 0);
	heir.ns_addr.s_addr = lab_addr("10.18.0.7");
	heir.ifindex = lab_instance(4096 + SERVER, 0).ifindex;
	if (weft_dp_instance_set(*state, &heir, &err) < 0)
		fail_msg("%s", err.msg);
	far_datagram(state, "10.18.0.7", 8);
	assert_int_equal(weft_dp_instance_remove(*state, 8), 0);
	lab_sh("ip link del v7; ip link del v%d", 4096 + SERVER);
}

static bool addressed_to(void **state, uint32_t n, const uint8_t mac[ETH_ALEN])
{
	struct lab_frame f;

	lab_udp(&f, (struct lab_tuple){CLIENT, VIP_FAR, (uint16_t)(9300 + n), 53}, 20);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	return memcmp(f.data, mac, ETH_ALEN) == 0;
}

static void await_address(void **state, uint32_t peer, const uint8_t mac[ETH_ALEN], bool wanted)
{
	uint64_t deadline = weft_now_ns() + 20000000000ULL;

	/* From time to time one is left to the kernel: it does not count. */
	for (int n = 0; n < (wanted ? 1 : 10); n++) {
		if (addressed_to(state, peer, mac) != wanted)
			n = -1;
		if (weft_now_ns() > deadline)
			fail_msg("the next hop's address is %s", wanted ? "not learned" : "kept");
	}
}

/* The program writes the address that the neighbour table has, as long as it has one. */
static void address_of_next_hop(void **state)
{
	static const uint8_t first[] = {2, 0, 0, 0, 9, 1}, second[] = {2, 0, 0, 0, 9, 2};

	assert_int_equal(lab_sh("echo 1 >/proc/sys/net/ipv4/conf/up0/forwarding && "
				"echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"),
		0);
	for (uint32_t n = 1; n <= WAYS; n++) {
		char addr[64];

		snprintf(
			addr, sizeof(addr), ways[n - 1].v6 ? "2001:db8::%x" : "192.0.2.%u", 10 + n);
		serve_from(*state, n);
		assert_int_equal(
			lab_sh("ip neigh replace %s lladdr 02:00:00:00:09:01 dev up0", addr), 0);
		await_address(state, n, first, true);
		assert_int_equal(
			lab_sh("ip neigh replace %s lladdr 02:00:00:00:09:02 dev up0", addr), 0);
		await_address(state, n, second, true);
		assert_int_equal(lab_sh("ip neigh del %s dev up0", addr), 0);
		await_address(state, n, second, false);
	}
	lab_sh("echo 0 >/proc/sys/net/ipv4/conf/up0/forwarding; "
	       "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding");
}

static void by_filters(void **state)
{
	assert_string_equal(weft_dp_hook(*state), "clsact");
	assert_int_equal(access(LAB_PINS "/links/uplink-tc", F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(call_from_afar),
		cmocka_unit_test(call_to_afar),
		cmocka_unit_test(source_ports),
		cmocka_unit_test(fragments_arrive),
		cmocka_unit_test(echo),
		cmocka_unit_test(segment_of_no_flow),
		cmocka_unit_test(mss_is_lowered),
		cmocka_unit_test(larger_than_the_tunnel),
		cmocka_unit_test(super_packets),
		cmocka_unit_test(icmp_error_arrives),
		cmocka_unit_test(icmp_error_leaves),
		cmocka_unit_test(congestion_marks),
		cmocka_unit_test(holders_of_addresses),
		cmocka_unit_test(address_of_next_hop),
		cmocka_unit_test(peer_is_removed),
	};
	const struct CMUnitTest clsact[] = {
		cmocka_unit_test(by_filters),
		cmocka_unit_test(call_from_afar),
		cmocka_unit_test(call_to_afar),
		cmocka_unit_test(icmp_error_arrives),
	};

	if (!lab_enter())
		return 0;
	lab_uplink_device();
	return cmocka_run_group_tests_name("tunnel", tests, setup, teardown) +
	       cmocka_run_group_tests_name("tunnel by clsact", clsact, setup_clsact, teardown);
}
