/* SPDX-License-Identifier: Apache-2.0 */
/* ICMPv6 errors about what goes by a published port, both ways, here and between nodes. */
#include <linux/ipv6.h>

#include "tests/bpf/publish.h"

#define NODE6   "2001:db8::1"
#define OTHER6  "2001:db8::2" /* another one of this node */
#define CALLER6 "2001:db8:7::7"
#define ROUTER6 "2001:db8:9::9"
#define VIP6    "fdff:2000::1"
#define IP6     40

static struct in6_addr ns6(uint32_t n)
{
	return lab_instance(n, 0).ns_addr6;
}

static void addresses(struct lab_frame *f, struct in6_addr from, struct in6_addr to)
{
	struct ipv6hdr *ip = lab_ip6(f);

	memcpy(&ip->saddr, &from, sizeof(from));
	memcpy(&ip->daddr, &to, sizeof(to));
}

/* A segment, or a datagram, between any two. */
static void packet(struct lab_frame *f, bool udp, struct in6_addr from, uint16_t sport,
	struct in6_addr to, uint16_t dport, uint8_t flags)
{
	struct lab_tuple t = {HERE, VIP6, sport, dport};

	if (udp)
		lab_udp(f, t, 20);
	else
		lab_tcp(f, t, flags, 7);
	addresses(f, from, to);
	if (!udp) {
		lab_check_tcp(f);
		return;
	}
	lab_udph(f)->check = lab_pseudo(f); /* only begun: neither port is in it */
}

static void at_the_uplink(struct lab_frame *f)
{
	struct ethhdr *eth = (void *)f->data;

	f->ifindex = lab_up0(eth->h_dest);
	memcpy(eth->h_source, caller_mac, sizeof(caller_mac));
}

static void call(struct lab_frame *f, bool udp, uint8_t flags)
{
	packet(f, udp, lab_addr6(CALLER6), 40000, lab_addr6(NODE6), udp ? 5353 : HOST, flags);
	at_the_uplink(f);
}

/* What from says about the packet that got holds, of which it quotes size bytes. */
static void error_about(struct lab_frame *f, struct lab_frame *got, struct in6_addr from,
	uint8_t type, uint8_t code, size_t size)
{
	uint8_t *icmp = f->data + ETH_HLEN + IP6;
	struct in6_addr to;

	memcpy(&to, &lab_ip6(got)->saddr, sizeof(to));
	lab_echo(f, (struct lab_tuple){HERE, VIP6, 0, 0}, 8);
	f->len = ETH_HLEN + IP6 + 8 + size;
	lab_fit6(f);
	addresses(f, from, to);
	memcpy(icmp + 8, got->data + ETH_HLEN, size);
	icmp[0] = type;
	icmp[1] = code;
	icmp[6] = 1300 >> 8;
	icmp[7] = 1300 & 0xff;
	lab_check_icmp(f);
}

/* Does it tell of the frame that was sent, byte for byte, whom that came from? */
static void tells(struct lab_frame *f, struct lab_frame *sent, struct in6_addr from, uint8_t type,
	size_t size)
{
	const uint8_t *icmp = f->data + ETH_HLEN + IP6;

	assert_true(lab_sums_right(f));
	assert_int_equal(lab_ip6(f)->nexthdr, IPPROTO_ICMPV6);
	assert_memory_equal(&lab_ip6(f)->saddr, &from, sizeof(from));
	assert_memory_equal(&lab_ip6(f)->daddr, &lab_ip6(sent)->saddr, sizeof(from));
	assert_int_equal(icmp[0], type);
	assert_int_equal(icmp[6] << 8 | icmp[7], 1300);
	assert_memory_equal(icmp + 8, sent->data + ETH_HLEN, size);
}

static const uint8_t kinds[][2] = {{1, 4}, {1, 3}, {2, 0}, {3, 0}, {4, 1}};
#define N_KINDS ARRAY_SIZE(kinds)

/* TCP with its checksum and without, whole, and not with half of it. */
static const size_t sizes[] = {IP6 + 8, IP6 + 16, IP6 + 18, IP6 + 20};

/* From a router on the way to the caller, about an answer of the backend's. */
static void about_an_answer(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f, sent, out;

	for (int udp = 0; udp < 2; udp++) {
		call(&f, udp, LAB_SYN);
		assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
		packet(&sent, udp, ns6(HERE), udp ? 53 : PORT, lab_addr6(CALLER6), 40000,
			LAB_SYN | LAB_ACK);
		out = sent;
		assert_int_equal(lab_run(dp, &out), LAB_REDIRECT);
		assert_true(lab_from(&out, NODE6));
		for (size_t i = 0; i < N_KINDS * ARRAY_SIZE(sizes); i++) {
			const uint8_t *kind = kinds[i % N_KINDS];
			size_t size = sizes[i % ARRAY_SIZE(sizes)];

			error_about(&f, &out, lab_addr6(ROUTER6), kind[0], kind[1], size);
			at_the_uplink(&f);
			assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
			assert_int_equal(lab_receiver(&f), HERE);
			tells(&f, &sent, lab_addr6(ROUTER6), kind[0], size);
		}
	}
	assert_int_equal(lab_live(dp, HERE), 2);
}

/* From the backend, about what the caller sent: a port at which nobody listens. */
static void about_a_call(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f, sent, got;

	for (int udp = 0; udp < 2; udp++) {
		call(&sent, udp, LAB_SYN);
		got = sent;
		assert_int_equal(lab_run_publish(dp, &got), LAB_REDIRECT);
		for (size_t i = 0; i < N_KINDS; i++) {
			error_about(&f, &got, ns6(HERE), kinds[i][0], kinds[i][1], IP6 + 16);
			assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
			assert_true(lab_from(&f, NODE6));
			tells(&f, &sent, lab_addr6(NODE6), kinds[i][0], IP6 + 16);
		}
	}
}

/* The error itself behind an extension header, and what it is about too. */
static void behind_extension_headers(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f, sent, out;
	const uint8_t padding[8] = {0, 0, 1, 4};

	call(&f, false, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	packet(&sent, false, ns6(HERE), PORT, lab_addr6(CALLER6), 40000, LAB_ACK);
	lab_extension(&sent, 60, padding, sizeof(padding));
	out = sent;
	assert_int_equal(lab_run(dp, &out), LAB_REDIRECT);
	error_about(&f, &out, lab_addr6(ROUTER6), 2, 0, IP6 + 28);
	lab_extension(&f, 60, padding, sizeof(padding));
	at_the_uplink(&f);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), HERE);
	assert_true(lab_sums_right(&f));
	assert_memory_equal(f.data + ETH_HLEN + IP6 + 8 + 8, sent.data + ETH_HLEN, IP6 + 28);
}

/* What is about nobody's flow is the host's. */
static void about_nothing_of_ours(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f, other, before;
	static const struct {
		const char *from;
		uint16_t sport, dport;
		uint8_t type;
	} others[] = {
		{NODE6, 22, 40000, 1},    /* another port */
		{OTHER6, HOST, 40000, 1}, /* another address */
		{NODE6, HOST, 40009, 1},  /* nobody's flow */
		{NODE6, HOST, 40000, 5},  /* no error that there is */
	};

	call(&f, false, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	for (size_t i = 0; i <= ARRAY_SIZE(others); i++) {
		size_t k = i % ARRAY_SIZE(others);

		packet(&other, false, lab_addr6(others[k].from), others[k].sport,
			lab_addr6(CALLER6), others[k].dport, LAB_ACK);
		error_about(&f, &other, lab_addr6(ROUTER6), others[k].type, 0, IP6 + 20);
		if (i == ARRAY_SIZE(others)) { /* sent to another than it is about */
			packet(&other, false, lab_addr6(NODE6), HOST, lab_addr6(CALLER6), 40000,
				LAB_ACK);
			error_about(&f, &other, lab_addr6(ROUTER6), 1, 0, IP6 + 20);
			addresses(&f, lab_addr6(ROUTER6), lab_addr6(OTHER6));
			lab_check_icmp(&f);
		}
		at_the_uplink(&f);
		before = f;
		assert_int_equal(lab_run_publish(dp, &f), LAB_UNSPEC);
		assert_memory_equal(f.data, before.data, f.len);
	}
	/* And of an instance's what is about its own calls. */
	packet(&other, false, lab_addr6(CALLER6), PORT, ns6(HERE), 40009, LAB_ACK);
	error_about(&f, &other, ns6(HERE), 1, 4, IP6 + 20);
	assert_int_equal(lab_run(dp, &f), LAB_OK);
}

/* The same where the backend is on another node: the error goes along by the tunnel ... */
static void between_nodes(void **state)
{
	struct lab_frame f, sent, out, got;
	struct weft_dp *dp = *state;

	lab_weights(dp, 1, (struct weft_dp_weight[]){{FAR, 1}}, 1);
	call(&sent, false, LAB_SYN);
	got = sent;
	assert_int_equal(lab_run_publish(dp, &got), LAB_REDIRECT);
	lab_unwrap(&got, PEER, false, false);
	error_about(&f, &got, ns6(FAR), 1, 4, IP6 + 20);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
	tells(&f, &sent, lab_addr6(NODE6), 1,
		IP6 + 16); /* then the checksum: its MSS was lowered */

	packet(&sent, false, ns6(FAR), PORT, lab_addr6(CALLER6), 40000, LAB_ACK);
	out = sent;
	lab_wrap(&out, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &out), LAB_REDIRECT);
	error_about(&f, &out, lab_addr6(ROUTER6), 2, 0, IP6 + 20);
	at_the_uplink(&f);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	lab_unwrap(&f, PEER, false, false);
	tells(&f, &sent, lab_addr6(ROUTER6), 2, IP6 + 20);
}

/* ... and comes to the backend as it is, and back. Of strangers and about nothing it does not. */
static void for_a_peers_caller(void **state)
{
	struct lab_frame f, sent, got;
	struct weft_dp *dp = *state;
	uint64_t before;

	packet(&sent, false, lab_addr6(CALLER6), 40000, ns6(HERE), PORT, LAB_SYN);
	got = sent;
	lab_wrap(&got, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &got), LAB_REDIRECT);
	error_about(&f, &got, ns6(HERE), 1, 4, IP6 + 20);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	lab_unwrap(&f, PEER, false, false);
	tells(&f, &sent, ns6(HERE), 1, IP6 + 20);

	packet(&sent, false, ns6(HERE), PORT, lab_addr6(CALLER6), 40000, LAB_ACK);
	error_about(&f, &sent, lab_addr6(ROUTER6), 2, 0, IP6 + 20);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), HERE);
	tells(&f, &sent, lab_addr6(ROUTER6), 2, IP6 + 20);

	before = lab_drops(dp, WEFT_DROP_ICMP_NO_FLOW);
	packet(&sent, false, ns6(HERE), PORT, lab_addr6(CALLER6), 40001, LAB_ACK);
	error_about(&f, &sent, lab_addr6(ROUTER6), 2, 0, IP6 + 20);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_SHOT);
	assert_int_equal(lab_drops(dp, WEFT_DROP_ICMP_NO_FLOW), before + 1);
	before = lab_drops(dp, WEFT_DROP_TUNNEL_SOURCE);
	error_about(&f, &sent, lab_addr6("fc00::77"), 2, 0, IP6 + 20);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_SHOT);
	assert_int_equal(lab_drops(dp, WEFT_DROP_TUNNEL_SOURCE), before + 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest here[] = {
		T(about_an_answer),
		T(about_a_call),
		T(behind_extension_headers),
		T(about_nothing_of_ours),
	};
	const struct CMUnitTest between[] = {
		T(between_nodes),
		T(for_a_peers_caller),
	};
	int failed;

	if (!lab_enter())
		return 0;
	lab_uplink_device();
	failed = cmocka_run_group_tests_name("publish6_icmp", here, group_setup, group_teardown);
	failed += cmocka_run_group_tests_name(
		"publish6_icmp between nodes", between, group_setup, group_teardown);
	lab_summed = true;
	failed += cmocka_run_group_tests_name(
		"publish6_icmp, summed up by a device", here, group_setup, group_teardown);
	return failed;
}
