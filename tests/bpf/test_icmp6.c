/* SPDX-License-Identifier: Apache-2.0 */
/* ICMPv6 errors, those of instances and the overlay's own, and the MSS clamp: on built packets. */
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
#define EMPTY   "fdff:2000::2" /* a service without a backend */
#define CLIENT  9
#define BACKEND 1
#define MTU     1400
#define L4      (ETH_HLEN + 40)
#define OPTIONS "\0\0\1\4\0\0\0\0"

static struct weft_dp *open_dp(uint32_t mtu)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 65536, .mtu = mtu};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	return dp;
}

static int setup(void **state)
{
	struct weft_dp_weight all[] = {{BACKEND, 1}};
	struct weft_dp *dp = open_dp(MTU);

	lab_service46(dp, 1, NULL, VIP);
	lab_service46(dp, 2, NULL, EMPTY);
	lab_add(dp, BACKEND, 1);
	lab_add(dp, CLIENT, 0);
	lab_weights(dp, 1, all, 1);
	*state = dp;
	return 0;
}

static int teardown(void **state)
{
	weft_dp_free(*state);
	return weft_dp_destroy(LAB_PINS, NULL);
}

/* The error that instance from sends about the frame that it got, of which it quotes size bytes. */
static void error_about(struct lab_frame *f, const struct lab_frame *got, uint32_t from,
	uint8_t type, uint8_t code, size_t size)
{
	char to[INET6_ADDRSTRLEN];
	struct lab_tuple t = {from, to, 0, 0};

	inet_ntop(AF_INET6, &lab_ip6((struct lab_frame *)got)->saddr, to, sizeof(to));
	lab_echo(f, t, type);
	f->data[L4] = type;
	f->data[L4 + 1] = code;
	f->data[L4 + 6] = 1300 >> 8; /* the MTU, of packet too big */
	f->data[L4 + 7] = 1300 & 0xff;
	memcpy(f->data + L4 + 8, got->data + ETH_HLEN, size);
	f->len = L4 + 8 + size;
	lab_fit6(f);
	lab_check_icmp(f);
}

/* Is what came out the frame that was sent, quoted by who it was sent to? */
static void quotes(
	struct lab_frame *f, struct lab_frame *sent, uint8_t type, uint8_t code, size_t size)
{
	const uint8_t *icmp = f->data + L4;

	assert_true(lab_sums_right(f));
	assert_int_equal(lab_ip6(f)->nexthdr, IPPROTO_ICMPV6);
	assert_memory_equal(&lab_ip6(f)->saddr, &lab_ip6(sent)->daddr, 16);
	assert_memory_equal(&lab_ip6(f)->daddr, &lab_ip6(sent)->saddr, 16);
	assert_int_equal(icmp[0], type);
	assert_int_equal(icmp[1], code);
	assert_int_equal(ntohs(lab_ip6(f)->payload_len), 8 + size);
	assert_memory_equal(icmp + 8, sent->data + ETH_HLEN, size);
}

/* Send a frame, let its receiver send errors about it, see that they arrive as if it had got just
 * what was sent: byte for byte, which includes every checksum that is quoted. */
static void there_and_back(struct weft_dp *dp, struct lab_frame *sent)
{
	static const uint8_t kinds[][2] = {{1, 4}, {1, 3}, {2, 0}, {3, 0}, {4, 1}};
	uint32_t sender = sent->data[11];
	struct lab_frame got = *sent, f;
	size_t whole = sent->len - ETH_HLEN;
	size_t headers = (size_t)((uint8_t *)lab_tcph(sent) - sent->data) - ETH_HLEN;

	lab_summed = true;
	assert_int_equal(lab_run(dp, &got), LAB_REDIRECT);
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		for (size_t size = headers + 8; size <= whole; size++) {
			/* Half a checksum stays as it is. */
			if (lab_ip6(sent)->nexthdr == IPPROTO_TCP && size == headers + 17)
				continue;
			error_about(&f, &got, (uint32_t)lab_receiver(&got), kinds[i][0],
				kinds[i][1], size);
			assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
			assert_int_equal(lab_receiver(&f), sender);
			quotes(&f, sent, kinds[i][0], kinds[i][1], size);
			assert_int_equal(f.data[L4 + 6] << 8 | f.data[L4 + 7], 1300);
		}
	lab_summed = false;
}

static void errors_find_back(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	/* About what the client sent, and about what it was answered. */
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1000, 53}, 20);
	there_and_back(dp, &f);
	lab_udp(&f, (struct lab_tuple){BACKEND, "fdff::1:9", 53, 1000}, 31);
	there_and_back(dp, &f);
	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP, 1000, 80}, LAB_SYN, 77);
	there_and_back(dp, &f);
	lab_tcp(&f, (struct lab_tuple){BACKEND, "fdff::1:9", 80, 1000}, LAB_SYN | LAB_ACK, 5);
	there_and_back(dp, &f);
	lab_echo(&f, (struct lab_tuple){CLIENT, VIP, 33, 0}, 8);
	there_and_back(dp, &f);
	lab_echo(&f, (struct lab_tuple){BACKEND, "fdff::1:9", 33, 0}, 0);
	there_and_back(dp, &f);
	/* By an instance's own address. */
	lab_udp(&f, (struct lab_tuple){CLIENT, "fdff::1:1", 2000, 53}, 20);
	there_and_back(dp, &f);
	lab_udp(&f, (struct lab_tuple){BACKEND, "fdff::1:9", 53, 2000}, 20);
	there_and_back(dp, &f);
	/* Extension headers in what is quoted, a fragment, a hairpin. */
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1001, 53}, 20);
	lab_extension(&f, 60, OPTIONS, 8);
	lab_extension(&f, 0, OPTIONS, 8);
	there_and_back(dp, &f);
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1002, 53}, 24);
	lab_fragment6(&f, 9, 0, false);
	there_and_back(dp, &f);
	lab_udp(&f, (struct lab_tuple){BACKEND, VIP, 1003, 53}, 20);
	there_and_back(dp, &f);
}

/* Those that say it was not reached count against a backend; those about the way to it, or about
 * its answers, do not. */
static void errors_count_against_the_backend(void **state)
{
	struct weft_dp *dp = *state;
	struct weft_quality before, after;
	struct lab_frame f, got;

	assert_int_equal(weft_dp_instance_quality(dp, BACKEND, &before), 0);
	lab_udp(&got, (struct lab_tuple){CLIENT, VIP, 3000, 53}, 20);
	assert_int_equal(lab_run(dp, &got), LAB_REDIRECT);
	error_about(&f, &got, BACKEND, 2, 0, 48);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	error_about(&f, &got, BACKEND, 3, 0, 48);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(weft_dp_instance_quality(dp, BACKEND, &after), 0);
	assert_int_equal(after.unreachable, before.unreachable);
	error_about(&f, &got, BACKEND, 1, 4, 48);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	lab_udp(&got, (struct lab_tuple){BACKEND, "fdff::1:9", 53, 3000}, 20);
	assert_int_equal(lab_run(dp, &got), LAB_REDIRECT);
	error_about(&f, &got, CLIENT, 1, 4, 48);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(weft_dp_instance_quality(dp, BACKEND, &after), 0);
	assert_int_equal(after.unreachable - before.unreachable, 1);
}

/* Among many contents are those whose checksum comes out as 0 or 0xffff. */
static void errors_of_any_content(void **state)
{
	struct lab_frame sent, got, f;

	for (uint32_t i = 0; i < 3000; i++) {
		lab_udp(&sent, (struct lab_tuple){CLIENT, VIP, (uint16_t)(20000 + i), 53}, i % 9);
		got = sent;
		assert_int_equal(lab_run(*state, &got), LAB_REDIRECT);
		error_about(&f, &got, BACKEND, 1, 4, 48);
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		quotes(&f, &sent, 1, 4, 48);
	}
}

/* A checksum that was only begun is the pseudo-header's sum, before and after. */
static void errors_quoting_begun_checksums(void **state)
{
	struct lab_frame sent, got, f;

	lab_udp(&sent, (struct lab_tuple){CLIENT, VIP, 1010, 53}, 20);
	got = sent;
	assert_int_equal(lab_run(*state, &got), LAB_REDIRECT);
	lab_udph(&sent)->check = lab_pseudo(&sent);
	lab_udph(&got)->check = lab_pseudo(&got);
	error_about(&f, &got, BACKEND, 1, 4, 68);
	lab_summed = true;
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	lab_summed = false;
	quotes(&f, &sent, 1, 4, 68);
}

static void errors_that_are_dropped(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame sent, got, f, g;
	struct ipv6hdr *in;

	lab_udp(&sent, (struct lab_tuple){CLIENT, VIP, 1020, 53}, 20);
	got = sent;
	assert_int_equal(lab_run(dp, &got), LAB_REDIRECT);
	error_about(&f, &got, BACKEND, 1, 4, 48);
	in = (void *)(g.data + L4 + 8);

#define WITH(change, reason)             \
	do {                             \
		g = f;                   \
		change;                  \
		lab_check_icmp(&g);      \
		dropped(dp, &g, reason); \
	} while (0)
	WITH(in->version = 4, MALFORMED);
	WITH(in->nexthdr = 132, ICMP_NO_FLOW);
	WITH(in->nexthdr = IPPROTO_TCP, ICMP_NO_FLOW);
	WITH((in->nexthdr = IPPROTO_ICMPV6, g.data[L4 + 48] = 1), ICMP_TYPE);
	WITH((in->nexthdr = 60, g.data[L4 + 49] = 0), TRUNCATED); /* reaches beyond the quote */
	WITH((in->nexthdr = 43, g.data[L4 + 51] = 1), EXTENSION);
	WITH((in->nexthdr = 44, g.data[L4 + 51] = 8), ICMP_NO_FLOW); /* about a later fragment */
	WITH(g.data[L4 + 48] ^= 1, ICMP_NO_FLOW);                    /* another port */
	WITH(in->daddr.s6_addr[15] ^= 1, ICMP_NO_FLOW);              /* not what it got */
	WITH(in->saddr.s6_addr[15] ^= 1, ICMP_NO_FLOW);              /* not who gets the error */
	WITH(lab_ip6(&g)->daddr.s6_addr[15] ^= 1, ICMP_NO_FLOW);
	WITH(g.data[L4] = 5, ICMP_TYPE);
	WITH(g.data[L4] = 127, ICMP_TYPE);
	WITH(g.data[L4] = 0, ICMP_TYPE);
	g = f;
	lab_fragment6(&g, 5, 0, true);
	dropped(dp, &g, MALFORMED);
	for (size_t cut = 1; cut <= 56; cut++) {
		g = f;
		g.len -= cut;
		lab_fit6(&g);
		dropped(dp, &g, TRUNCATED);
	}
	/* A flow that was purged is unknown. */
	assert_int_equal(weft_dp_flows_purge(dp, BACKEND), 0);
	dropped(dp, &f, ICMP_NO_FLOW);
}

/* The overlay's own error: back to the sender's device, its packet counted as dropped. */
static void refused(struct weft_dp *dp, struct lab_frame *sent, enum weft_drop reason, uint8_t type,
	uint8_t code, size_t quoted)
{
	uint64_t before = lab_drops(dp, reason);
	struct lab_frame f = *sent;
	uint32_t mtu;

	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
	assert_memory_equal(f.data + 6, "\2weft\1", 6);
	assert_int_equal(f.len, L4 + 8 + quoted);
	quotes(&f, sent, type, code, quoted);
	memcpy(&mtu, f.data + L4 + 4, sizeof(mtu));
	assert_int_equal(ntohl(mtu), type == 2 ? MTU : 0);
	assert_int_equal(lab_drops(dp, reason), before + 1);
}

static void no_backend_is_unreachable(void **state)
{
	struct lab_frame f;

	lab_udp(&f, (struct lab_tuple){CLIENT, EMPTY, 1030, 53}, 0);
	refused(*state, &f, WEFT_DROP_NO_BACKEND, 1, 4, 48);
	lab_udp(&f, (struct lab_tuple){CLIENT, EMPTY, 1030, 53}, 1000);
	refused(*state, &f, WEFT_DROP_NO_BACKEND, 1, 4, 48);
	lab_echo(&f, (struct lab_tuple){CLIENT, EMPTY, 1, 0}, 8);
	refused(*state, &f, WEFT_DROP_NO_BACKEND, 1, 3, 48);
	lab_udp(&f, (struct lab_tuple){CLIENT, "fdff:7777::1", 1030, 53}, 20);
	refused(*state, &f, WEFT_DROP_UNKNOWN_ADDR, 1, 3, 48);
	/* Behind extension headers: quoted with them. */
	lab_udp(&f, (struct lab_tuple){CLIENT, EMPTY, 1030, 53}, 20);
	lab_extension(&f, 60, OPTIONS, 8);
	lab_extension(&f, 0, OPTIONS, 8);
	refused(*state, &f, WEFT_DROP_NO_BACKEND, 1, 4, 64);
	/* Not worth one: fragments, TCP. */
	lab_udp(&f, (struct lab_tuple){CLIENT, EMPTY, 1030, 53}, 24);
	lab_fragment6(&f, 1, 0, true);
	dropped(*state, &f, NO_BACKEND);
	lab_tcp(&f, (struct lab_tuple){CLIENT, EMPTY, 1030, 53}, LAB_SYN, 1);
	dropped(*state, &f, NO_BACKEND);
}

/* Without anybody's wish to the contrary: IPv6 is cut by its sender alone. */
static void too_big_is_answered(void **state)
{
	struct lab_frame f;

	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1050, 53}, MTU - 48 + 1);
	refused(*state, &f, WEFT_DROP_TOO_BIG, 2, 0, 48);
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1050, 53}, MTU - 48);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), BACKEND);
	/* A first fragment is told as well, or nobody would be; a later one is not. */
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1050, 53}, MTU - 48);
	lab_fragment6(&f, 7, 0, true);
	refused(*state, &f, WEFT_DROP_TOO_BIG, 2, 0, 56);
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1050, 53}, MTU - 48);
	lab_fragment6(&f, 7, 1400, false);
	dropped(*state, &f, TOO_BIG);
	/* TCP: its whole header. A super-packet is as large as its segments. */
	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP, 1050, 80}, LAB_SYN, 1);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP, 1050, 80}, LAB_ACK, 2);
	f.len = L4 + MTU;
	lab_fit6(&f);
	lab_check_tcp(&f);
	refused(*state, &f, WEFT_DROP_TOO_BIG, 2, 0, 60);
	f.gso_size = MTU - 60 + 1;
	refused(*state, &f, WEFT_DROP_TOO_BIG, 2, 0, 60);
	f.gso_size = MTU - 60;
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), BACKEND);
}

/* An overlay narrower than IPv6 permits is as wide as it demands. */
static void narrow_overlay(void **state)
{
	struct weft_dp *narrow = open_dp(600);
	struct lab_frame f;
	uint32_t mtu;

	(void)state;
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1055, 53}, 1280 - 48);
	assert_int_equal(lab_run(narrow, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), BACKEND);
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1055, 53}, 1280 - 48 + 1);
	assert_int_equal(lab_run(narrow, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
	memcpy(&mtu, f.data + L4 + 4, sizeof(mtu));
	assert_int_equal(ntohl(mtu), 1280);
	weft_dp_free(narrow);
}

static void errors_are_limited(void **state)
{
	struct weft_dp_events before, after;
	unsigned sent = 0;
	struct lab_frame f;

	weft_dp_events(*state, &before);
	for (int i = 0; i < 1000; i++) {
		lab_udp(&f, (struct lab_tuple){CLIENT, EMPTY, 1060, 53}, 20);
		sent += lab_run(*state, &f) == LAB_REDIRECT;
	}
	weft_dp_events(*state, &after);
	assert_int_equal(after.icmp_sent - before.icmp_sent, sent);
	assert_int_equal(after.icmp_limited - before.icmp_limited, 1000 - sent);
	assert_true(sent >= 1 && sent < 1000);
}

/* --- MSS: 60 bytes less than the MTU, 1340 (\x05\x3c); 1440 is \x05\xa0 --- */

static void syn_options(struct lab_frame *f, uint8_t flags, const uint8_t *options, size_t len)
{
	static uint16_t port = 3000;

	lab_tcp(f, (struct lab_tuple){CLIENT, VIP, port++, 80}, flags, 1);
	f->len = L4 + 20 + len;
	lab_fit6(f);
	lab_tcph(f)->doff = (5 + len / 4) & 0xf;
	memcpy(lab_tcph(f) + 1, options, len);
	lab_check_tcp(f);
}

static void clamped(struct weft_dp *dp, const uint8_t *in, const uint8_t *want, size_t len)
{
	struct lab_frame f;

	syn_options(&f, LAB_SYN, in, len);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_true(lab_sums_right(&f));
	assert_memory_equal(lab_tcph(&f) + 1, want, len);
	/* Behind an extension header as well. */
	syn_options(&f, LAB_SYN, in, len);
	lab_extension(&f, 60, OPTIONS, 8);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_true(lab_sums_right(&f));
	assert_memory_equal(lab_tcph(&f) + 1, want, len);
}
#define CLAMPED(in, want) clamped(*state, (const void *)(in), (const void *)(want), sizeof(in) - 1)

static void mss_is_clamped(void **state)
{
	lab_summed = true;
	CLAMPED("\2\4\x05\xa0", "\2\4\x05\x3c");
	CLAMPED("\2\4\x05\x3d", "\2\4\x05\x3c");
	CLAMPED("\2\4\x05\x3c", "\2\4\x05\x3c");
	CLAMPED("\2\4\x04\xc4", "\2\4\x04\xc4");
	CLAMPED("\1\2\4\x05\xa0\1\1\1", "\1\2\4\x05\x3c\1\1\1");
	lab_summed = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_find_back),
		cmocka_unit_test(errors_count_against_the_backend),
		cmocka_unit_test(errors_of_any_content),
		cmocka_unit_test(errors_quoting_begun_checksums),
		cmocka_unit_test(errors_that_are_dropped),
		cmocka_unit_test(no_backend_is_unreachable),
		cmocka_unit_test(too_big_is_answered),
		cmocka_unit_test(mss_is_clamped),
		cmocka_unit_test(narrow_overlay),
		cmocka_unit_test(errors_are_limited),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("icmp6", tests, setup, teardown);
}
