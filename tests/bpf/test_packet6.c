/* SPDX-License-Identifier: Apache-2.0 */
/* What the program makes of single IPv6 frames: neighbour discovery, spoofing, extension headers,
 * everything malformed, plain delivery. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/dp_lab.h"

#define dropped LAB_DROPPED
#define VIP     "fdff:2000::1"
#define L4      (ETH_HLEN + 40)

static int setup(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 4096};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	lab_service46(dp, 1, NULL, VIP);
	lab_add(dp, 1, 1);
	lab_add(dp, 2, 0);
	lab_weights(dp, 1, (struct weft_dp_weight[]){{1, 1}}, 1);
	*state = dp;
	return 0;
}

static int teardown(void **state)
{
	weft_dp_free(*state);
	return weft_dp_destroy(LAB_PINS, NULL);
}

static void syn(struct lab_frame *f)
{
	lab_tcp(f, (struct lab_tuple){2, VIP, 1000, 80}, LAB_SYN, 1);
}

static void set_addr(void *place, const char *text)
{
	struct in6_addr addr = lab_addr6(text);

	memcpy(place, &addr, sizeof(addr));
}

/* --- neighbour discovery --- */

static void answered(struct weft_dp *dp, const char *source, const char *asked)
{
	bool probe = strcmp(source, "::") == 0;
	struct lab_frame f;

	lab_solicit(&f, 2, source, asked);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 2);
	assert_memory_equal(f.data + 6, "\2weft\1", 6);
	assert_int_equal(f.len, L4 + 32);
	assert_true(lab_from(&f, asked));
	assert_true(lab_to(&f, probe ? "ff02::1" : source[0] ? source : "fc00::2"));
	assert_int_equal(lab_ip6(&f)->hop_limit, 255);
	assert_int_equal(ntohs(lab_ip6(&f)->payload_len), 32);
	assert_true(lab_sums_right(&f));
	assert_int_equal(f.data[L4], 136);
	assert_int_equal(f.data[L4 + 1], 0);
	assert_int_equal(f.data[L4 + 4], probe ? 0xa0 : 0xe0);
	assert_memory_equal(f.data + L4 + 8, &lab_ip6(&f)->saddr, 16);
	assert_memory_equal(f.data + L4 + 24, "\2\1\2weft\1", 8);
}

static void neighbours_are_answered(void **state)
{
	static const char *const asked[] = {"fc00::1", "fc00::ffff", VIP, "fdff::1:1",
		"fdff:ffff::1", "fc00::", "fe80::1", "fd12:3456::1"};

	for (unsigned i = 0; i < sizeof(asked) / sizeof(*asked); i++) {
		answered(*state, "", asked[i]);
		answered(*state, "fe80::ff:fe00:2", asked[i]);
		/* A probe for duplicates of somebody's address is a question as well. */
		answered(*state, "::", asked[i]);
	}
}

static void unicast_solicitation(void **state)
{
	struct lab_frame f;

	/* Is the neighbour still there? Without an option, to the address itself. */
	lab_solicit(&f, 2, "", "fe80::1");
	set_addr(&lab_ip6(&f)->daddr, "fe80::1");
	f.len -= 8;
	lab_fit6(&f);
	lab_check_icmp(&f);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(f.len, L4 + 32);
	assert_true(lab_sums_right(&f));
	/* A nonce (RFC 7527) in a probe. */
	lab_solicit(&f, 2, "", "fc00::1");
	f.data[L4 + 24] = 14;
	set_addr(&lab_ip6(&f)->saddr, "::");
	lab_check_icmp(&f);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_memory_equal(f.data + L4 + 24, "\2\1\2weft\1", 8);
	assert_true(lab_sums_right(&f));
}

static void neighbours_are_not_answered(void **state)
{
	struct lab_frame f;

	lab_solicit(&f, 2, "::", "fc00::2"); /* its own: is there another? */
	dropped(*state, &f, ND_IGNORED);
	lab_solicit(&f, 2, "::", "fe80::ff:fe00:2");
	dropped(*state, &f, ND_IGNORED);
	lab_solicit(&f, 2, "", "2001:db8::1");
	dropped(*state, &f, ND_IGNORED);
	lab_solicit(&f, 2, "", "fe80::2");
	dropped(*state, &f, ND_IGNORED);
	for (uint8_t type = 133; type <= 137; type++) { /* also from routers, and redirects */
		if (type == 135)
			continue;
		lab_solicit(&f, 2, "", "fc00::1");
		f.data[L4] = type;
		lab_check_icmp(&f);
		dropped(*state, &f, ND_IGNORED);
	}
	lab_solicit(&f, 2, "fc00::1", "fc00::1");
	dropped(*state, &f, SPOOFED_ADDR);
	lab_solicit(&f, 2, "fdff::1:2", "fc00::1");
	dropped(*state, &f, SPOOFED_ADDR);
	lab_solicit(&f, 2, "", "fc00::1");
	f.data[L4 + 31] = 77;
	dropped(*state, &f, SPOOFED_ND);
	lab_solicit(&f, 2, "", "fc00::1");
	f.data[11] = 77;
	dropped(*state, &f, SPOOFED_MAC);
}

static void malformed_solicitations(void **state)
{
	struct lab_frame f;

	lab_solicit(&f, 2, "", "fc00::1");
	lab_ip6(&f)->hop_limit = 254;
	dropped(*state, &f, MALFORMED);
	lab_solicit(&f, 2, "", "fc00::1");
	f.data[L4 + 1] = 1;
	dropped(*state, &f, MALFORMED);
	lab_solicit(&f, 2, "", "ff02::1");
	dropped(*state, &f, MALFORMED);
	lab_solicit(&f, 2, "", "fc00::1");
	f.data[L4 + 25] = 0;
	dropped(*state, &f, MALFORMED);
	lab_solicit(&f, 2, "", "fc00::1");
	set_addr(&lab_ip6(&f)->saddr, "::"); /* it has no address, so no hardware address to tell */
	dropped(*state, &f, MALFORMED);
	lab_solicit(&f, 2, "::", "fc00::1");
	f.len--;
	lab_fit6(&f);
	dropped(*state, &f, TRUNCATED);
}

/* --- who may send what --- */

static void spoofing(void **state)
{
	static const char *const sources[] = {
		"fc00::1", "fdff::1:2", "fe80::ff:fe00:2", "::", "::1", "2001:db8::1", VIP};
	struct lab_frame f;

	for (unsigned i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
		syn(&f);
		set_addr(&lab_ip6(&f)->saddr, sources[i]);
		dropped(*state, &f, SPOOFED_ADDR);
		/* Whatever the destination. */
		lab_udp(&f, (struct lab_tuple){2, "2001:db8::1", 1, 2}, 10);
		set_addr(&lab_ip6(&f)->saddr, sources[i]);
		dropped(*state, &f, SPOOFED_ADDR);
	}
}

/* An instance without addresses of a family has nothing to send by it, and is sent nothing. */
static void one_family_only(void **state)
{
	struct weft_dp_instance inst;
	struct weft_err err = {0};
	struct lab_frame f;

	lab_add(*state, 5, 1);
	inst = lab_instance(5, 1);
	inst.ns_addr6 = inst.inst_addr6 = (struct in6_addr){0};
	assert_int_equal(weft_dp_instance_set(*state, &inst, &err), 0);
	lab_tcp(&f, (struct lab_tuple){5, VIP, 1, 80}, LAB_SYN, 1);
	dropped(*state, &f, SPOOFED_ADDR);
	lab_tcp(&f, (struct lab_tuple){5, VIP, 1, 80}, LAB_SYN, 1);
	set_addr(&lab_ip6(&f)->saddr, "::");
	dropped(*state, &f, SPOOFED_ADDR);
	lab_tcp(&f, (struct lab_tuple){2, "fdff::1:5", 1, 80}, LAB_SYN, 1);
	dropped(*state, &f, UNKNOWN_ADDR);
	/* As a backend it gets no IPv6 flows, and leaves them to the others. */
	lab_weights(*state, 1, (struct weft_dp_weight[]){{5, 20}, {1, 1}}, 2);
	for (uint16_t i = 0; i < 50; i++) {
		lab_tcp(&f, (struct lab_tuple){2, VIP, (uint16_t)(100 + i), 80}, LAB_SYN, 1);
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		assert_int_equal(lab_receiver(&f), 1);
	}
	lab_weights(*state, 1, (struct weft_dp_weight[]){{5, 1}}, 1);
	lab_tcp(&f, (struct lab_tuple){2, VIP, 200, 80}, LAB_SYN, 1);
	dropped(*state, &f, NO_BACKEND);
	lab_weights(*state, 1, (struct weft_dp_weight[]){{1, 1}}, 1);
	/* The other way round. */
	inst = lab_instance(5, 1);
	inst.ns_addr.s_addr = inst.inst_addr.s_addr = 0;
	assert_int_equal(weft_dp_instance_set(*state, &inst, &err), 0);
	lab_udp(&f, (struct lab_tuple){5, "10.18.0.1", 1, 2}, 10);
	dropped(*state, &f, SPOOFED_ADDR);
	lab_udp(&f, (struct lab_tuple){5, "10.18.0.1", 1, 2}, 10);
	lab_ip(&f)->saddr = 0;
	lab_check_ip(&f);
	dropped(*state, &f, SPOOFED_ADDR);
	lab_tcp(&f, (struct lab_tuple){5, VIP, 1, 80}, LAB_SYN, 1);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(weft_dp_instance_remove(*state, 5), 0);
}

static void groups(void **state)
{
	static const char *const to[] = {"ff02::1", "ff02::fb", "ff05::2", "ff0e::1"};
	struct lab_frame f;

	for (unsigned i = 0; i < sizeof(to) / sizeof(*to); i++) {
		lab_udp(&f, (struct lab_tuple){2, to[i], 5353, 5353}, 20);
		dropped(*state, &f, MULTICAST);
	}
	/* A listener's report: to the routers, behind a router alert. */
	lab_echo(&f, (struct lab_tuple){2, "ff02::16", 0, 0}, 143);
	lab_extension(&f, 0, "\0\0\5\2\0\0\1\0", 8);
	dropped(*state, &f, MULTICAST);
}

static void other_protocols(void **state)
{
	static const uint8_t kinds[] = {4, 41, 47, 50, 51, 59, 132};
	struct lab_frame f;

	for (unsigned i = 0; i < sizeof(kinds); i++) {
		syn(&f);
		lab_ip6(&f)->nexthdr = kinds[i];
		dropped(*state, &f, PROTOCOL);
	}
	lab_echo(&f, (struct lab_tuple){2, VIP, 1, 0}, 130);
	dropped(*state, &f, ICMP_TYPE);
	lab_tcp(&f, (struct lab_tuple){2, "fdff:7777::1", 1000, 80}, LAB_SYN, 1);
	dropped(*state, &f, UNKNOWN_ADDR);
	lab_udp(&f, (struct lab_tuple){2, VIP, 1, 2}, 10);
	lab_udph(&f)->check = 0;
	dropped(*state, &f, UDP_CHECKSUM);
	/* IPv4's ICMP is nothing here. */
	lab_echo(&f, (struct lab_tuple){2, VIP, 1, 0}, 8);
	lab_ip6(&f)->nexthdr = 1;
	dropped(*state, &f, PROTOCOL);
}

/* --- headers --- */

static void malformed_headers(void **state)
{
	struct lab_frame f;

	syn(&f);
	lab_ip6(&f)->version = 4;
	dropped(*state, &f, MALFORMED);
	syn(&f);
	lab_ip6(&f)->payload_len = htons((uint16_t)(f.len - L4 + 1));
	dropped(*state, &f, TRUNCATED);
	syn(&f);
	lab_ip6(&f)->payload_len = 0;
	dropped(*state, &f, TRUNCATED);
	syn(&f);
	lab_extension(&f, 0, "\0\0\xc2\4\0\1\0\0", 8); /* RFC 2675 */
	lab_ip6(&f)->payload_len = 0;
	dropped(*state, &f, JUMBOGRAM);
	syn(&f);
	lab_tcph(&f)->doff = 4;
	dropped(*state, &f, MALFORMED);
	syn(&f);
	lab_tcph(&f)->doff = 15;
	dropped(*state, &f, MALFORMED);
	lab_udp(&f, (struct lab_tuple){2, VIP, 1, 2}, 10);
	lab_udph(&f)->len = htons(7);
	dropped(*state, &f, MALFORMED);
	lab_udp(&f, (struct lab_tuple){2, VIP, 1, 2}, 10);
	lab_udph(&f)->len = htons(19);
	dropped(*state, &f, MALFORMED);
	/* Header in the padding behind the datagram. */
	syn(&f);
	lab_ip6(&f)->payload_len = htons(19);
	dropped(*state, &f, TRUNCATED);
	lab_echo(&f, (struct lab_tuple){2, VIP, 1, 0}, 8);
	lab_ip6(&f)->payload_len = htons(7);
	dropped(*state, &f, TRUNCATED);
}

#define OPTIONS "\0\0\1\4\0\0\0\0"
#define ARRIVED "\0\0\0\0\0\0\0\0" /* a routing header without segments left */
#define DETOUR  "\0\0\0\1\0\0\0\0"
#define HOP     0
#define ROUTING 43
#define DEST    60

/* The frame gets to the backend, whatever is between its headers; there and back. */
static void passes(struct weft_dp *dp, struct lab_frame *f)
{
	struct lab_frame before = *f;

	assert_int_equal(lab_run(dp, f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(f), 1);
	assert_int_equal(f->len, before.len);
	assert_true(lab_from(f, "fdff::1:2"));
	assert_true(lab_to(f, "fc00::1"));
	assert_true(lab_sums_right(f));
	/* Nothing but addresses and the checksum is another. */
	assert_memory_equal(f->data + ETH_HLEN, before.data + ETH_HLEN, 8);
	assert_memory_equal(
		f->data + L4, before.data + L4, (size_t)((uint8_t *)lab_tcph(f) - f->data - L4));
}

static void extension_headers(void **state)
{
	static const uint8_t long_one[256] = {0, 31, 1, 253};
	struct lab_frame f;

	syn(&f);
	lab_extension(&f, DEST, OPTIONS, 8);
	passes(*state, &f);
	syn(&f);
	lab_extension(&f, HOP, OPTIONS, 8);
	passes(*state, &f);
	syn(&f);
	lab_extension(&f, ROUTING, ARRIVED, 8);
	passes(*state, &f);
	syn(&f);
	lab_extension(&f, DEST, OPTIONS, 8);
	lab_extension(&f, ROUTING, ARRIVED, 8);
	lab_extension(&f, DEST, OPTIONS, 8);
	lab_extension(&f, HOP, long_one, sizeof(long_one));
	passes(*state, &f);
	/* UDP and echo as well. */
	lab_udp(&f, (struct lab_tuple){2, VIP, 7, 8}, 10);
	lab_extension(&f, DEST, long_one, sizeof(long_one));
	passes(*state, &f);
	lab_echo(&f, (struct lab_tuple){2, VIP, 7, 0}, 8);
	lab_extension(&f, HOP, OPTIONS, 8);
	passes(*state, &f);
}

static void bad_extension_headers(void **state)
{
	static const uint8_t long_one[256] = {0, 31, 1, 253};
	struct lab_frame f;

	syn(&f);
	lab_extension(&f, ROUTING, DETOUR, 8);
	dropped(*state, &f, EXTENSION);
	syn(&f);
	lab_extension(&f, HOP, OPTIONS, 8);
	lab_extension(&f, DEST, OPTIONS, 8); /* before it */
	dropped(*state, &f, EXTENSION);
	syn(&f);
	for (int i = 0; i < 9; i++)
		lab_extension(&f, DEST, OPTIONS, 8);
	dropped(*state, &f, EXTENSION);
	syn(&f);
	for (int i = 0; i < 2; i++)
		lab_extension(&f, DEST, long_one, sizeof(long_one));
	dropped(*state, &f, EXTENSION);
	syn(&f);
	lab_fragment6(&f, 1, 0, true);
	lab_fragment6(&f, 1, 0, true);
	dropped(*state, &f, EXTENSION);
	/* Longer than the packet. */
	syn(&f);
	lab_extension(&f, DEST, OPTIONS, 8);
	f.data[L4 + 1] = 20;
	dropped(*state, &f, TRUNCATED);
	/* The last one that may be there, with nothing behind it. */
	syn(&f);
	lab_extension(&f, DEST, OPTIONS, 8);
	f.len = L4 + 8;
	lab_fit6(&f);
	dropped(*state, &f, TRUNCATED);
	/* Of a chain the end is missing. */
	syn(&f);
	lab_extension(&f, DEST, OPTIONS, 8);
	f.data[L4] = DEST;
	f.len = L4 + 8;
	lab_fit6(&f);
	dropped(*state, &f, TRUNCATED);
}

/* Whatever the frame is cut to, it is dropped or passed on whole, never more. */
static void every_length(void **state)
{
	struct lab_frame whole, f;

	for (int kind = 0; kind < 5; kind++) {
		if (kind == 1)
			lab_udp(&whole, (struct lab_tuple){2, VIP, 1, 2}, 10);
		else if (kind == 2)
			lab_echo(&whole, (struct lab_tuple){2, VIP, 1, 2}, 8);
		else if (kind == 3)
			lab_solicit(&whole, 2, "", "fc00::1");
		else
			syn(&whole);
		if (kind == 4) {
			lab_extension(&whole, DEST, OPTIONS, 8);
			lab_extension(&whole, HOP, OPTIONS, 8);
		}
		/* Test runs refuse what has not even a network header. */
		for (size_t len = ETH_HLEN + 40; len < whole.len; len++) {
			f = whole;
			f.len = len;
			dropped(*state, &f, TRUNCATED);
		}
		f = whole;
		f.len += 6; /* padding */
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	}
}

static void super_packet_without_length(void **state)
{
	struct lab_frame f;

	syn(&f);
	lab_ip6(&f)->payload_len = 0;
	f.gso_size = 1428;
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
}

/* --- what is not translated --- */

static void plain_delivery(void **state)
{
	struct lab_frame f, before;

	lab_echo(&f, (struct lab_tuple){2, "fc00::1", 1, 0}, 8);
	lab_fragment6(&f, 5, 1480, true);
	before = f;
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
	assert_memory_equal(f.data + 6, "\2weft\1", 6);
	assert_int_equal(f.len, before.len);
	assert_memory_equal(f.data + ETH_HLEN, before.data + ETH_HLEN, f.len - ETH_HLEN);
	syn(&f);
	set_addr(&lab_ip6(&f)->daddr, "fc00::1");
	lab_ip6(&f)->nexthdr = 132; /* any protocol */
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
}

static void everything_else_is_the_hosts(void **state)
{
	static const char *const to[] = {"2001:db8::1", "fc00::77", "fe80::1", "::1"};
	struct lab_frame f, before;

	for (unsigned i = 0; i < sizeof(to) / sizeof(*to); i++) {
		lab_udp(&f, (struct lab_tuple){2, to[i], 1, 2}, 10);
		before = f;
		assert_int_equal(lab_run(*state, &f), LAB_OK);
		assert_memory_equal(f.data, before.data, f.len);
	}
}

/* The host forwards for others, but not into the semantic range and not in circles. */
static void host_device(void **state)
{
	struct weft_dp_instance host;
	struct weft_err err = {0};
	struct lab_frame f;

	lab_add(*state, 3, 0);
	host = lab_instance(3, 0);
	host.device = WEFT_DP_DEV_HOST;
	assert_int_equal(weft_dp_instance_set(*state, &host, &err), 0);
	lab_udp(&f, (struct lab_tuple){3, "fc00::1", 1, 2}, 10);
	set_addr(&lab_ip6(&f)->saddr, "2001:db8::1");
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
	assert_true(lab_from(&f, "2001:db8::1"));
	lab_udp(&f, (struct lab_tuple){3, VIP, 1, 2}, 10);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_true(lab_from(&f, "fdff::1:3"));
	lab_udp(&f, (struct lab_tuple){3, VIP, 1, 2}, 10);
	set_addr(&lab_ip6(&f)->saddr, "2001:db8::1");
	dropped(*state, &f, SPOOFED_ADDR);
	lab_udp(&f, (struct lab_tuple){3, "fc00::77", 1, 2}, 10);
	dropped(*state, &f, UNKNOWN_ADDR);
}

static void remote_instance(void **state)
{
	struct weft_dp_instance remote = lab_instance(4, 0);
	struct weft_err err = {0};
	struct lab_frame f;

	remote.device = WEFT_DP_DEV_REMOTE;
	remote.ifindex = 0;
	remote.peer = 1;
	assert_int_equal(weft_dp_instance_set(*state, &remote, &err), 0);
	lab_udp(&f, (struct lab_tuple){2, "fdff::1:4", 1, 2}, 10);
	dropped(*state, &f, NO_PEER);
	lab_udp(&f, (struct lab_tuple){2, "fc00::4", 1, 2}, 10);
	dropped(*state, &f, REMOTE_ADDR);
	assert_int_equal(weft_dp_instance_remove(*state, 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbours_are_answered),
		cmocka_unit_test(unicast_solicitation),
		cmocka_unit_test(neighbours_are_not_answered),
		cmocka_unit_test(malformed_solicitations),
		cmocka_unit_test(spoofing),
		cmocka_unit_test(one_family_only),
		cmocka_unit_test(groups),
		cmocka_unit_test(other_protocols),
		cmocka_unit_test(malformed_headers),
		cmocka_unit_test(extension_headers),
		cmocka_unit_test(bad_extension_headers),
		cmocka_unit_test(every_length),
		cmocka_unit_test(super_packet_without_length),
		cmocka_unit_test(plain_delivery),
		cmocka_unit_test(everything_else_is_the_hosts),
		cmocka_unit_test(host_device),
		cmocka_unit_test(remote_instance),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("packet6", tests, setup, teardown);
}
