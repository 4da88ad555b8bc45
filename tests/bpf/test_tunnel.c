/* SPDX-License-Identifier: Apache-2.0 */
/* The programs of the tunnel on built frames: both formats over both underlays, every reason to
 * drop a datagram, and what is left to others. */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "tests/lib/outer_lab.h"

#define VIP     "10.30.0.1" /* backend: instance 1, here */
#define VIP_FAR "10.30.0.2" /* backend: an instance of another node */
#define SERVER  1
#define CLIENT  2
#define MTU     1500

/* Peer n speaks ways[n - 1]; its instance is 100 + n. */
static const struct {
	bool v6, vxlan;
} ways[] = {{false, false}, {false, true}, {true, false}, {true, true}};
#define WAYS ARRAY_SIZE(ways)

static bool provoked[WEFT_DROP_COUNT];

static int setup(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 65536, .mtu = MTU};
	struct weft_dp_uplink uplink = {.device = "up0", .xdp = WEFT_DP_XDP_GENERIC};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0 || weft_dp_uplink_set(dp, &uplink, &err) < 0)
		fail_msg("%s", err.msg);
	lab_service(dp, 1, VIP);
	lab_service(dp, 2, VIP_FAR);
	lab_add(dp, SERVER, 1);
	lab_add(dp, CLIENT, 0);
	lab_weights(dp, 1, (struct weft_dp_weight[]){{SERVER, 1}}, 1);
	for (uint32_t n = 1; n <= WAYS; n++)
		lab_add_peer(
			dp, n, ways[n - 1].v6, ways[n - 1].vxlan ? WEFT_DP_VXLAN : WEFT_DP_RAW, 2);
	*state = dp;
	return 0;
}

static int teardown(void **state)
{
	weft_dp_free(*state);
	lab_sh("ip link del v1 2>/dev/null; ip link del v2 2>/dev/null");
	return weft_dp_destroy(LAB_PINS, NULL);
}

static void serve_from(struct weft_dp *dp, uint32_t n)
{
	lab_weights(dp, 2, (struct weft_dp_weight[]){{100 + n, 1}}, 1);
}

/* An inner packet as peer n's instance sends it. */
static void from_far(struct lab_frame *f, uint32_t n)
{
	lab_ip(f)->saddr = lab_instance(100 + n, 0).inst_addr.s_addr;
	lab_check_ip(f);
	if (lab_ip(f)->protocol == IPPROTO_TCP)
		lab_check_tcp(f);
	else if (lab_ip(f)->protocol == IPPROTO_UDP)
		lab_udph(f)->check = 0;
}

static void far_tcp(struct lab_frame *f, uint32_t n, const char *to, uint16_t sport, uint16_t dport,
	uint8_t flags)
{
	lab_tcp(f, (struct lab_tuple){100 + n, to, sport, dport}, flags, 7);
	from_far(f, n);
}

static struct lab_outer wrap(struct lab_frame *f, uint32_t n)
{
	return lab_wrap(f, n, ways[n - 1].v6, ways[n - 1].vxlan);
}

static uint16_t unwrap(struct lab_frame *f, uint32_t n)
{
	return lab_unwrap(f, n, ways[n - 1].v6, ways[n - 1].vxlan);
}

/* Built, taken in and delivered: what is left is for instance to. */
static void arrives_at(
	struct weft_dp *dp, struct lab_frame *f, uint32_t to, const char *file, int line)
{
	if (lab_run_uplink(dp, f) != LAB_REDIRECT || lab_receiver(f) != (int)to)
		fail_msg("%s:%d: verdict %d, to %d", file, line, f->verdict, lab_receiver(f));
	assert_int_equal(((struct ethhdr *)f->data)->h_proto, htons(ETH_P_IP));
	assert_true(lab_sums_right(f));
}
#define arrives(dp, f, to) arrives_at(dp, f, to, __FILE__, __LINE__)

static void dropped_at(
	struct weft_dp *dp, struct lab_frame *f, enum weft_drop reason, const char *file, int line)
{
	uint64_t before = lab_drops(dp, reason);
	int verdict = lab_run_uplink(dp, f);

	if (verdict != LAB_SHOT || lab_drops(dp, reason) != before + 1)
		fail_msg("%s:%d: verdict %d, not dropped as %s", file, line, verdict,
			weft_dp_drop_name(reason));
	provoked[reason] = true;
}
#define dropped(dp, f, reason) dropped_at(dp, f, WEFT_DROP_##reason, __FILE__, __LINE__)

static void passed_at(struct weft_dp *dp, struct lab_frame *f, const char *file, int line)
{
	struct lab_frame before = *f;

	if (lab_run_uplink(dp, f) != LAB_UNSPEC || f->len != before.len ||
		memcmp(f->data, before.data, f->len) != 0)
		fail_msg("%s:%d: verdict %d, or no longer what it was", file, line, f->verdict);
}
#define passed(dp, f) passed_at(dp, f, __FILE__, __LINE__)

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

/* --- bad datagrams --- */
static void strangers(void **state)
{
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		struct lab_outer o;

		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		f.data[o.ip + (o.v6 ? 23 : 15)] = 99;
		lab_refit(&f, &o);
		dropped(*state, &f, UNKNOWN_PEER);
		/* A peer, and an instance of another. */
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		lab_ip(&f)->saddr = lab_instance(100 + n % WAYS + 1, 0).inst_addr.s_addr;
		lab_check_ip(&f);
		wrap(&f, n);
		dropped(*state, &f, TUNNEL_SOURCE);
		/* Of nobody, of this node, no instance address, a service's. */
		static const char *const sources[] = {
			"10.30.9.9", "10.30.1.2", "10.18.0.101", "192.0.2.77", VIP};
		for (unsigned i = 0; i < ARRAY_SIZE(sources); i++) {
			far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
			lab_ip(&f)->saddr = lab_addr(sources[i]);
			lab_check_ip(&f);
			wrap(&f, n);
			dropped(*state, &f, TUNNEL_SOURCE);
		}
		/* To nobody, to another node, to an address that only callers use. */
		static const char *const targets[] = {
			"10.18.0.77", "10.18.0.101", "10.30.1.1", VIP, "192.0.2.1", "8.8.8.8"};
		for (unsigned i = 0; i < ARRAY_SIZE(targets); i++) {
			far_tcp(&f, n, targets[i], 1, 80, LAB_SYN);
			wrap(&f, n);
			dropped(*state, &f, TUNNEL_TARGET);
		}
	}
}

/* The outer headers whole, and ever less behind them. */
static void every_length(void **state)
{
	struct lab_frame whole, f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		struct lab_outer o;

		far_tcp(&whole, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&whole, n);
		for (size_t len = o.udp + 8; len < whole.len; len++) {
			f = whole;
			f.len = len;
			lab_refit(&f, &o);
			dropped(*state, &f, TUNNEL_TRUNCATED);
			/* Cut by somebody on the way, with headers that know nothing of it. */
			f = whole;
			f.len = len;
			dropped(*state, &f, TUNNEL_TRUNCATED);
		}
		/* Nor does it reach anybody when nothing of it can be told. */
		for (size_t len = o.udp; len < o.udp + 8; len++) {
			f = whole;
			f.len = len;
			passed(*state, &f);
		}
	}
}

static void malformed(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		/* What the UDP header says is longer than what is there, or no length. */
		static const uint16_t lengths[] = {0, 7, 9000};
		for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
			far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
			o = wrap(&f, n);
			((struct udphdr *)(f.data + o.udp))->len = htons(lengths[i]);
			dropped(*state, &f, TUNNEL_MALFORMED);
		}
		/* No IP packet in it. */
		for (unsigned version = 0; version < 16; version++) {
			far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
			o = wrap(&f, n);
			if (version == 4 || (version == 6 && !o.vxlan))
				continue;
			f.data[o.inner] = (uint8_t)(version << 4 | 5);
			if (version == 6) /* short enough to be one */
				f.data[o.inner + 4] = f.data[o.inner + 5] = 0;
			dropped(*state, &f, TUNNEL_MALFORMED);
		}
		/* The inner headers are looked at like any instance's. */
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		lab_tcph(&f)->doff = 4;
		wrap(&f, n);
		dropped(*state, &f, MALFORMED);
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		lab_ip(&f)->ihl = 4;
		wrap(&f, n);
		dropped(*state, &f, MALFORMED);
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		lab_ip(&f)->protocol = 132;
		lab_check_ip(&f);
		wrap(&f, n);
		dropped(*state, &f, PROTOCOL);
	}
}

static void malformed_vxlan(void **state)
{
	static const struct {
		size_t off; /* behind the UDP header */
		uint8_t xor ;
	} bad[] = {
		{0, 8},     /* without the flag that says there is an identifier */
		{0, 4},     /* the flags of relatives */
		{4, 1},     /* another network's */
		{6, 1},     /* likewise */
		{8 + 12, 1} /* no IP behind it */
	};
	struct lab_outer o;
	struct lab_frame f;

	for (uint32_t n = 2; n <= WAYS; n += 2) {
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
			far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
			o = wrap(&f, n);
			f.data[o.udp + 8 + bad[i].off] ^= bad[i].xor ;
			dropped(*state, &f, TUNNEL_MALFORMED);
		}
		/* Reserved bits say nothing. */
		far_tcp(&f, n, "10.18.0.1", 10, 80, LAB_SYN);
		o = wrap(&f, n);
		f.data[o.udp + 8 + 3] = 0xff;
		f.data[o.udp + 8 + 7] = 0xff;
		arrives(*state, &f, SERVER);
	}
}

/* A peer may change its mind about the format before we hear of it. */
static void either_format(void **state)
{
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		far_tcp(&f, n, "10.18.0.1", 11, 80, LAB_SYN);
		lab_wrap(&f, n, ways[n - 1].v6, !ways[n - 1].vxlan);
		arrives(*state, &f, SERVER);
	}
}

/* Frames are padded; packets may be followed by something in their datagram. */
static void padding(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		size_t len;

		far_tcp(&f, n, "10.18.0.1", 12, 80, LAB_SYN);
		o = wrap(&f, n);
		len = f.len;
		f.len += 7;
		lab_refit(&f, &o);
		arrives(*state, &f, SERVER);
		assert_true(f.len >= len - o.inner + ETH_HLEN);
		/* And an instance's padding does not travel. */
		serve_from(*state, n);
		lab_udp(&f, (struct lab_tuple){CLIENT, VIP_FAR, (uint16_t)(50 + n), 80}, 2);
		memset(f.data + f.len, 0xee, 20);
		len = f.len;
		f.len += 20;
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		unwrap(&f, n);
		assert_int_equal(f.len, len);
	}
}

/* Several packets in one datagram: a device that merges without knowing what. */
static void merged_datagrams(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	far_tcp(&f, 1, "10.18.0.1", 14, 80, LAB_SYN);
	o = wrap(&f, 1);
	memmove(f.data + f.len, f.data + o.inner, f.len - o.inner);
	f.gso_size = (uint32_t)(f.len - o.inner);
	f.len += f.len - o.inner;
	lab_refit(&f, &o);
	dropped(*state, &f, TUNNEL_MALFORMED);
}

static void outer_fragments(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	for (uint32_t n = 1; n <= 2; n++) {
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		((struct iphdr *)(f.data + o.ip))->frag_off = htons(0x2000);
		lab_refit(&f, &o);
		dropped(*state, &f, TUNNEL_FRAGMENT);
		/* Later ones are nobody's without it. */
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		((struct iphdr *)(f.data + o.ip))->frag_off = htons(0x2000 | 10);
		lab_refit(&f, &o);
		passed(*state, &f);
	}
}

/* Put an extension header between the outer IPv6 header and UDP. */
static void extend(struct lab_frame *f, const struct lab_outer *o, uint8_t kind, const char *bytes)
{
	uint8_t *at = f->data + o->udp;

	memmove(at + 8, at, f->len - o->udp);
	memcpy(at, bytes, 8);
	at[0] = f->data[o->ip + 6];
	f->data[o->ip + 6] = kind;
	f->len += 8;
	f->data[o->ip + 4] = (uint8_t)((f->len - o->udp) >> 8);
	f->data[o->ip + 5] = (uint8_t)(f->len - o->udp);
}

static void outer_extension_headers(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	for (uint32_t n = 3; n <= WAYS; n++) {
		static const uint8_t kinds[] = {0, 43, 60};

		for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
			far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
			o = wrap(&f, n);
			extend(&f, &o, 60, "\0\0\1\4\0\0\0\0");
			extend(&f, &o, kinds[i], "\0\0\1\4\0\0\0\0");
			dropped(*state, &f, TUNNEL_MALFORMED);
		}
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		extend(&f, &o, 44, "\0\0\0\1\0\0\0\7");
		dropped(*state, &f, TUNNEL_FRAGMENT);
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		extend(&f, &o, 44, "\0\0\1\1\0\0\0\7");
		passed(*state, &f);
	}
}

/* --- what is not ours --- */

static void everything_else(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		((struct udphdr *)(f.data + o.udp))->dest = htons(53);
		passed(*state, &f);
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		f.data[o.ip + (o.v6 ? 6 : 9)] = IPPROTO_TCP;
		lab_refit(&f, &o);
		passed(*state, &f);
		/* An Ethernet type of somebody else's. */
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		f.data[12] = 0x88;
		f.data[13] = 0xf7;
		passed(*state, &f);
	}
	/* Bare inner packets on the underlay are the host's to judge. */
	far_tcp(&f, 1, "10.18.0.1", 1, 80, LAB_SYN);
	f.ifindex = lab_instance(1, 0).ifindex;
	passed(*state, &f);
}

/* A node may be other nodes' router. */
static void in_transit(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	assert_int_equal(lab_sh("echo 1 >/proc/sys/net/ipv4/ip_forward; "
				"echo 1 >/proc/sys/net/ipv6/conf/all/forwarding; "
				"ip route add 198.51.100.0/24 via 192.0.2.77 dev up0; "
				"ip route add 2001:db8:1::/64 via 2001:db8::77 dev up0"),
		0);
	for (uint32_t n = 1; n <= WAYS; n++) {
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		if (o.v6)
			f.data[o.ip + 24 + 5] = 1;
		else
			memcpy(f.data + o.ip + 16, "\xc6\x33\x64\x01", 4);
		lab_refit(&f, &o);
		passed(*state, &f);
		/* To another address of this node's it is for us. */
		far_tcp(&f, n, "10.18.0.1", 15, 80, LAB_SYN);
		o = wrap(&f, n);
		if (o.v6)
			f.data[o.ip + 24 + 15] = 2;
		else
			f.data[o.ip + 16 + 3] = 2;
		lab_refit(&f, &o);
		arrives(*state, &f, SERVER);
	}
	assert_int_equal(lab_sh("ip route del 198.51.100.0/24; ip route del 2001:db8:1::/64; "
				"echo 0 >/proc/sys/net/ipv4/ip_forward; "
				"echo 0 >/proc/sys/net/ipv6/conf/all/forwarding"),
		0);
}

static void by_another_device(void **state)
{
	uint64_t before = lab_drops(*state, WEFT_DROP_TUNNEL_DEVICE);
	struct lab_frame f;

	far_tcp(&f, 2, "10.18.0.1", 1, 80, LAB_SYN);
	f.ifindex = lab_instance(1, 0).ifindex;
	assert_int_equal(lab_run_vxlan(*state, &f), LAB_SHOT);
	assert_int_equal(lab_drops(*state, WEFT_DROP_TUNNEL_DEVICE), before + 1);
	provoked[WEFT_DROP_TUNNEL_DEVICE] = true;
}

/* --- XDP --- */

static void by_xdp(void **state)
{
	for (uint32_t n = 1; n <= WAYS; n++) {
		struct lab_frame f, inner;
		struct lab_outer o;
		uint32_t peer;

		far_tcp(&inner, n, "10.18.0.1", 16, 80, LAB_SYN);
		f = inner;
		o = wrap(&f, n);
		f.data[o.ip + 1] |= o.v6 ? 3 << 4 : 3;
		lab_refit(&f, &o);
		assert_int_equal(lab_run_xdp(*state, &f, &peer), LAB_XDP_PASS);
		assert_int_equal(peer, n);
		assert_int_equal(f.len, inner.len);
		assert_memory_equal(f.data, "\2\0\0\0\1\1\2\0\0\0\1\2\x08\0", 14);
		assert_memory_equal(f.data + 14, inner.data + 14, inner.len - 14);
		/* Left to TC: a checksum that may be half done. */
		f = inner;
		o = wrap(&f, n);
		((struct udphdr *)(f.data + o.udp))->check = htons(0x1234);
		assert_int_equal(lab_run_xdp(*state, &f, &peer), LAB_XDP_PASS);
		assert_int_equal(peer, 0);
		assert_int_equal(f.len, inner.len + o.inner - 14);
		/* To another port. */
		((struct udphdr *)(f.data + o.udp))->dest = htons(53);
		assert_int_equal(lab_run_xdp(*state, &f, &peer), LAB_XDP_PASS);
		assert_int_equal(peer, 0);
		assert_int_equal(f.len, inner.len + o.inner - 14);
	}
}

static void xdp_drops(void **state)
{
	for (uint32_t n = 1; n <= WAYS; n++) {
		uint64_t before = lab_drops(*state, WEFT_DROP_UNKNOWN_PEER);
		struct lab_frame whole, f;
		struct lab_outer o;
		uint32_t peer;

		far_tcp(&whole, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&whole, n);
		f = whole;
		f.data[o.ip + (o.v6 ? 23 : 15)] = 99;
		lab_refit(&f, &o);
		assert_int_equal(lab_run_xdp(*state, &f, &peer), LAB_XDP_DROP);
		assert_int_equal(lab_drops(*state, WEFT_DROP_UNKNOWN_PEER), before + 1);
		before = lab_drops(*state, WEFT_DROP_TUNNEL_TRUNCATED);
		for (size_t len = o.udp + 8; len < whole.len; len++) {
			f = whole;
			f.len = len;
			lab_refit(&f, &o);
			assert_int_equal(lab_run_xdp(*state, &f, &peer), LAB_XDP_DROP);
			assert_int_equal(lab_drops(*state, WEFT_DROP_TUNNEL_TRUNCATED), ++before);
		}
	}
}

/* A sender's checksum, whatever it is, does no harm. */
static void outer_checksum(void **state)
{
	for (uint32_t n = 1; n <= WAYS; n++) {
		struct lab_outer o;
		struct lab_frame f;

		far_tcp(&f, n, "10.18.0.1", 17, 80, LAB_SYN);
		o = wrap(&f, n);
		((struct udphdr *)(f.data + o.udp))->check = htons(0x1234);
		arrives(*state, &f, SERVER);
	}
}

static void no_way(void **state)
{
	struct weft_dp_peer_status status;
	uint64_t before = lab_drops(*state, WEFT_DROP_NO_PEER);
	struct lab_frame f;

	serve_from(*state, 1);
	weft_dp_uplink_remove(*state);
	assert_int_equal(weft_dp_peer_status(*state, 1, &status), 0);
	assert_string_equal(status.problem, "there is no uplink");
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP_FAR, 20, 80}, 20);
	assert_int_equal(lab_run(*state, &f), LAB_SHOT);
	assert_int_equal(lab_drops(*state, WEFT_DROP_NO_PEER), before + 1);
	provoked[WEFT_DROP_NO_PEER] = true;
}

static void reasons_have_tests(void **state)
{
	static const enum weft_drop ours[] = {WEFT_DROP_UNKNOWN_PEER, WEFT_DROP_TUNNEL_TRUNCATED,
		WEFT_DROP_TUNNEL_MALFORMED, WEFT_DROP_TUNNEL_FRAGMENT, WEFT_DROP_TUNNEL_SOURCE,
		WEFT_DROP_TUNNEL_TARGET, WEFT_DROP_TUNNEL_DEVICE, WEFT_DROP_ENCAP,
		WEFT_DROP_NO_PEER};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(ours); i++)
		if (!provoked[ours[i]])
			fail_msg("no test drops a packet as %s", weft_dp_drop_name(ours[i]));
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
		cmocka_unit_test(strangers),
		cmocka_unit_test(every_length),
		cmocka_unit_test(malformed),
		cmocka_unit_test(malformed_vxlan),
		cmocka_unit_test(either_format),
		cmocka_unit_test(padding),
		cmocka_unit_test(merged_datagrams),
		cmocka_unit_test(outer_fragments),
		cmocka_unit_test(outer_extension_headers),
		cmocka_unit_test(everything_else),
		cmocka_unit_test(in_transit),
		cmocka_unit_test(by_another_device),
		cmocka_unit_test(by_xdp),
		cmocka_unit_test(xdp_drops),
		cmocka_unit_test(outer_checksum),
		cmocka_unit_test(peer_is_removed),
		cmocka_unit_test(no_way),
		cmocka_unit_test(reasons_have_tests),
	};

	if (!lab_enter())
		return 0;
	lab_uplink_device();
	return cmocka_run_group_tests_name("tunnel", tests, setup, teardown);
}
