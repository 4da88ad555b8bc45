/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP errors, those of instances and the overlay's own, and the MSS clamp: on built packets. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/dp_lab.h"

#define dropped LAB_DROPPED
#define VIP     "10.30.0.1"
#define EMPTY   "10.30.0.2" /* a service without a backend */
#define CLIENT  9
#define BACKEND 1
#define MTU     1400

static int setup(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 65536, .mtu = MTU};
	struct weft_dp_weight all[] = {{BACKEND, 1}};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	lab_service(dp, 1, VIP);
	lab_service(dp, 2, EMPTY);
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
	struct in_addr to = {lab_ip((struct lab_frame *)got)->saddr};
	struct lab_tuple t = {from, inet_ntoa(to), 0, 0};

	lab_echo(f, t, type);
	f->len = ETH_HLEN + 28 + size;
	memcpy(f->data + ETH_HLEN + 28, got->data + ETH_HLEN, size);
	lab_ip(f)->tot_len = htons((uint16_t)(28 + size));
	f->data[ETH_HLEN + 21] = code;
	f->data[ETH_HLEN + 26] = 1300 >> 8; /* the MTU, of fragmentation needed */
	f->data[ETH_HLEN + 27] = 1300 & 0xff;
	lab_check_ip(f);
	lab_check_icmp(f);
}

/* Is what came out the frame that was sent, quoted by who it was sent to? */
static void quotes(
	struct lab_frame *f, struct lab_frame *sent, uint8_t type, uint8_t code, size_t size)
{
	const uint8_t *icmp = f->data + ETH_HLEN + 20;

	assert_true(lab_sums_right(f));
	assert_int_equal(lab_ip(f)->protocol, IPPROTO_ICMP);
	assert_int_equal(lab_ip(f)->saddr, lab_ip(sent)->daddr);
	assert_int_equal(lab_ip(f)->daddr, lab_ip(sent)->saddr);
	assert_int_equal(icmp[0], type);
	assert_int_equal(icmp[1], code);
	assert_int_equal(ntohs(lab_ip(f)->tot_len), 28 + size);
	assert_memory_equal(icmp + 8, sent->data + ETH_HLEN, size);
}

/* Send a frame, let its receiver send errors about it, see that they arrive as if it had got just
 * what was sent: byte for byte, which includes every checksum that is quoted. */
static void there_and_back(struct weft_dp *dp, struct lab_frame *sent)
{
	static const uint8_t kinds[][2] = {{3, 3}, {3, 1}, {3, 4}, {11, 0}, {12, 0}};
	uint32_t sender = sent->data[11];
	struct lab_frame got = *sent, f;
	size_t whole = sent->len - ETH_HLEN;
	size_t least = (size_t)lab_ip(sent)->ihl * 4 + 8;

	assert_int_equal(lab_run(dp, &got), LAB_REDIRECT);
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		for (size_t size = least; size <= whole; size++) {
			/* Half a checksum stays as it is. */
			if (lab_ip(sent)->protocol == IPPROTO_TCP && size == least + 9)
				continue;
			error_about(&f, &got, (uint32_t)lab_receiver(&got), kinds[i][0],
				kinds[i][1], size);
			assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
			assert_int_equal(lab_receiver(&f), sender);
			quotes(&f, sent, kinds[i][0], kinds[i][1], size);
			assert_int_equal(f.data[ETH_HLEN + 26] << 8 | f.data[ETH_HLEN + 27], 1300);
		}
}

static void errors_find_back(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	/* About what the client sent, and about what it was answered. */
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1000, 53}, 20);
	there_and_back(dp, &f);
	lab_udp(&f, (struct lab_tuple){BACKEND, "10.30.1.9", 53, 1000}, 31);
	there_and_back(dp, &f);
	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP, 1000, 80}, LAB_SYN, 77);
	there_and_back(dp, &f);
	lab_tcp(&f, (struct lab_tuple){BACKEND, "10.30.1.9", 80, 1000}, LAB_SYN | LAB_ACK, 5);
	there_and_back(dp, &f);
	lab_echo(&f, (struct lab_tuple){CLIENT, VIP, 33, 0}, 8);
	there_and_back(dp, &f);
	/* By an instance's own address. */
	lab_udp(&f, (struct lab_tuple){CLIENT, "10.30.1.1", 2000, 53}, 20);
	there_and_back(dp, &f);
	lab_udp(&f, (struct lab_tuple){BACKEND, "10.30.1.9", 53, 2000}, 20);
	there_and_back(dp, &f);
	/* Options in the quoted header; no checksum; a hairpin. */
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1001, 53}, 20);
	lab_options(&f, 3);
	there_and_back(dp, &f);
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1002, 53}, 20);
	lab_udph(&f)->check = 0;
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
	error_about(&f, &got, BACKEND, 3, 4, 28);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	error_about(&f, &got, BACKEND, 11, 0, 28);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(weft_dp_instance_quality(dp, BACKEND, &after), 0);
	assert_int_equal(after.unreachable, before.unreachable);
	error_about(&f, &got, BACKEND, 3, 3, 28);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	lab_udp(&got, (struct lab_tuple){BACKEND, "10.30.1.9", 53, 3000}, 20);
	assert_int_equal(lab_run(dp, &got), LAB_REDIRECT);
	error_about(&f, &got, CLIENT, 3, 3, 28);
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
		error_about(&f, &got, BACKEND, 3, 3, 28);
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		quotes(&f, &sent, 3, 3, 28);
	}
}

/* A checksum that was only begun is the pseudo-header's sum, before and after. */
static void errors_quoting_begun_checksums(void **state)
{
	struct lab_frame sent, got, f;
	uint32_t n = 0;

	lab_udp(&sent, (struct lab_tuple){CLIENT, VIP, 1010, 53}, 20);
	got = sent;
	assert_int_equal(lab_run(*state, &got), LAB_REDIRECT);
	lab_udph(&sent)->check = lab_pseudo(&sent);
	lab_udph(&got)->check = lab_pseudo(&got);
	error_about(&f, &got, BACKEND, 3, 3, 48);
	n = (uint32_t)lab_run(*state, &f);
	assert_int_equal(n, LAB_REDIRECT);
	quotes(&f, &sent, 3, 3, 48);
}

static void errors_that_are_dropped(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame sent, got, f, g;
	struct iphdr *in;

	lab_udp(&sent, (struct lab_tuple){CLIENT, VIP, 1020, 53}, 20);
	got = sent;
	assert_int_equal(lab_run(dp, &got), LAB_REDIRECT);
	error_about(&f, &got, BACKEND, 3, 3, 28);
	in = (void *)(g.data + ETH_HLEN + 28);

#define WITH(change, reason)             \
	do {                             \
		g = f;                   \
		change;                  \
		lab_check_ip(&g);        \
		lab_check_icmp(&g);      \
		dropped(dp, &g, reason); \
	} while (0)
	WITH(in->version = 6, MALFORMED);
	WITH(in->ihl = 4, MALFORMED);
	WITH(in->tot_len = htons(19), MALFORMED);
	WITH(in->ihl = 6, TRUNCATED); /* the quote ends before the ports */
	WITH(in->frag_off = htons(100), ICMP_NO_FLOW);
	WITH(in->protocol = 132, ICMP_NO_FLOW);
	WITH(in->protocol = IPPROTO_TCP, ICMP_NO_FLOW);
	WITH((in->protocol = IPPROTO_ICMP, g.data[ETH_HLEN + 48] = 3), ICMP_TYPE);
	WITH(g.data[ETH_HLEN + 48] ^= 1, ICMP_NO_FLOW);        /* another port */
	WITH(in->daddr = lab_addr("10.18.0.9"), ICMP_NO_FLOW); /* not what it got */
	WITH(in->saddr = lab_addr(VIP), ICMP_NO_FLOW);         /* not who gets the error */
	WITH(lab_ip(&g)->daddr = lab_addr("10.30.77.77"), ICMP_NO_FLOW);
	WITH(g.data[ETH_HLEN + 20] = 4, ICMP_TYPE); /* source quench */
	g = f;
	lab_fragment(&g, 5, 0, true);
	dropped(dp, &g, MALFORMED);
	for (size_t cut = 1; cut <= 36; cut++) {
		g = f;
		g.len -= cut;
		lab_ip(&g)->tot_len = htons((uint16_t)(56 - cut));
		lab_check_ip(&g);
		dropped(dp, &g, TRUNCATED);
	}
	/* A flow that was purged is unknown. */
	assert_int_equal(weft_dp_flows_purge(dp, BACKEND), 0);
	dropped(dp, &f, ICMP_NO_FLOW);
}

/* The overlay's own error: back to the sender's device, its packet counted as dropped. */
static void refused(struct weft_dp *dp, struct lab_frame *sent, enum weft_drop reason, uint8_t code,
	size_t quoted)
{
	uint64_t before = lab_drops(dp, reason);
	struct lab_frame f = *sent;

	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
	assert_memory_equal(f.data + 6, "\2weft\1", 6);
	assert_int_equal(f.len, ETH_HLEN + 28 + quoted);
	quotes(&f, sent, 3, code, quoted);
	assert_int_equal(f.data[ETH_HLEN + 26] << 8 | f.data[ETH_HLEN + 27], code == 4 ? MTU : 0);
	assert_int_equal(lab_drops(dp, reason), before + 1);
}

static void no_backend_is_unreachable(void **state)
{
	struct lab_frame f;

	lab_udp(&f, (struct lab_tuple){CLIENT, EMPTY, 1030, 53}, 0);
	refused(*state, &f, WEFT_DROP_NO_BACKEND, 3, 28);
	lab_udp(&f, (struct lab_tuple){CLIENT, EMPTY, 1030, 53}, 1000);
	refused(*state, &f, WEFT_DROP_NO_BACKEND, 3, 28);
	lab_echo(&f, (struct lab_tuple){CLIENT, EMPTY, 1, 0}, 8);
	refused(*state, &f, WEFT_DROP_NO_BACKEND, 1, 28);
	lab_udp(&f, (struct lab_tuple){CLIENT, "10.30.99.99", 1030, 53}, 20);
	refused(*state, &f, WEFT_DROP_UNKNOWN_ADDR, 1, 28);
	/* Not worth one: options, fragments, TCP. */
	lab_udp(&f, (struct lab_tuple){CLIENT, EMPTY, 1030, 53}, 20);
	lab_options(&f, 1);
	dropped(*state, &f, NO_BACKEND);
	lab_udp(&f, (struct lab_tuple){CLIENT, EMPTY, 1030, 53}, 24);
	lab_fragment(&f, 1, 0, true);
	dropped(*state, &f, NO_BACKEND);
	lab_tcp(&f, (struct lab_tuple){CLIENT, EMPTY, 1030, 53}, LAB_SYN, 1);
	dropped(*state, &f, NO_BACKEND);
}

/* The flow's backend goes, and there is no other. */
static void gone_backend_is_unreachable(void **state)
{
	struct weft_dp_weight both[] = {{2, 1}};
	struct weft_dp *dp = *state;
	struct lab_frame f, sent;

	lab_add(dp, 2, 2);
	lab_weights(dp, 2, both, 1);
	lab_udp(&sent, (struct lab_tuple){CLIENT, EMPTY, 1040, 53}, 20);
	f = sent;
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 2);
	assert_int_equal(weft_dp_instance_remove(dp, 2), 0);
	refused(dp, &sent, WEFT_DROP_NO_BACKEND, 3, 28);
}

static void too_big_is_answered(void **state)
{
	struct lab_frame f;

	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1050, 53}, MTU - 28 + 1);
	lab_fragment(&f, 0, 0, false);
	lab_ip(&f)->frag_off = htons(0x4000);
	lab_check_ip(&f);
	refused(*state, &f, WEFT_DROP_TOO_BIG, 4, 28);
	lab_ip(&f)->frag_off = 0;
	lab_check_ip(&f);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), BACKEND);
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 1050, 53}, MTU - 28);
	lab_ip(&f)->frag_off = htons(0x4000);
	lab_check_ip(&f);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), BACKEND);
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
	/* Another instance has its own. */
	lab_udp(&f, (struct lab_tuple){BACKEND, EMPTY, 1060, 53}, 20);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
}

/* --- MSS --- */

static void syn_options(struct lab_frame *f, uint8_t flags, const uint8_t *options, size_t len)
{
	static uint16_t port = 3000;

	lab_tcp(f, (struct lab_tuple){CLIENT, VIP, port++, 80}, flags, 1);
	f->len = ETH_HLEN + 40 + len;
	lab_ip(f)->tot_len = htons((uint16_t)(40 + len));
	lab_tcph(f)->doff = (5 + len / 4) & 0xf;
	memcpy(lab_tcph(f) + 1, options, len);
	lab_check_ip(f);
	lab_check_tcp(f);
}

static void clamped(struct weft_dp *dp, const uint8_t *in, const uint8_t *want, size_t len)
{
	struct lab_frame f;

	syn_options(&f, LAB_SYN, in, len);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_true(lab_sums_right(&f));
	assert_memory_equal(lab_tcph(&f) + 1, want, len);
}
#define CLAMPED(in, want) clamped(*state, (const void *)(in), (const void *)(want), sizeof(in) - 1)

/* 1360 is \x05\x50, 1460 \x05\xb4. */
static void mss_is_clamped(void **state)
{
	struct lab_frame f;

	CLAMPED("\2\4\x05\xb4", "\2\4\x05\x50");
	CLAMPED("\2\4\x05\x51", "\2\4\x05\x50");
	CLAMPED("\2\4\x05\x50", "\2\4\x05\x50");
	CLAMPED("\2\4\x02\x18", "\2\4\x02\x18");
	CLAMPED("\2\4\xff\xff\4\2\1\3", "\2\4\x05\x50\4\2\1\3");
	/* Behind others, also at an odd place; SACK, timestamps and window scale as they were. */
	CLAMPED("\1\1\1\1\2\4\x05\xb4", "\1\1\1\1\2\4\x05\x50");
	CLAMPED("\1\2\4\x05\xb4\1\1\1", "\1\2\4\x05\x50\1\1\1");
	CLAMPED("\4\2\x08\x0a\x12\x34\x56\x78\0\0\0\0\3\3\7\2\4\x05\xb4\0",
		"\4\2\x08\x0a\x12\x34\x56\x78\0\0\0\0\3\3\7\2\4\x05\x50\0");
	CLAMPED("\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\2\4\x05"
		"\xb4",
		"\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\2\4\x05\x50");
	/* Not one: behind the end, of another size, cut off, a broken list. */
	CLAMPED("\0\2\4\x05\xb4\0\0\0", "\0\2\4\x05\xb4\0\0\0");
	CLAMPED("\2\5\x05\xb4\1\1\1\1", "\2\5\x05\xb4\1\1\1\1");
	CLAMPED("\1\2\4\x05", "\1\2\4\x05");
	CLAMPED("\x08\0\2\4\x05\xb4\1\1", "\x08\0\2\4\x05\xb4\1\1");
	CLAMPED("\x08\x01\2\4\x05\xb4\1\1", "\x08\x01\2\4\x05\xb4\1\1");
	CLAMPED("\x08\xff\2\4\x05\xb4\1\1", "\x08\xff\2\4\x05\xb4\1\1");

	/* The answer's as well, and no other segment's. */
	syn_options(&f, LAB_SYN, (const uint8_t *)"\2\4\x05\xb4", 4);
	lab_tcph(&f)->source = htons(2999);
	lab_check_tcp(&f);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	syn_options(&f, LAB_SYN | LAB_ACK, (const uint8_t *)"\2\4\x05\xb4", 4);
	f.data[11] = BACKEND;
	f.ifindex = lab_instance(BACKEND, 0).ifindex;
	lab_ip(&f)->saddr = lab_addr("10.18.0.1");
	lab_ip(&f)->daddr = lab_addr("10.30.1.9");
	lab_tcph(&f)->source = htons(80);
	lab_tcph(&f)->dest = htons(2999);
	lab_check_ip(&f);
	lab_check_tcp(&f);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
	assert_true(lab_sums_right(&f));
	assert_memory_equal(lab_tcph(&f) + 1, "\2\4\x05\x50", 4);
	syn_options(&f, LAB_ACK, (const uint8_t *)"\2\4\x05\xb4", 4);
	lab_tcph(&f)->source = htons(2999);
	lab_check_tcp(&f);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), BACKEND);
	assert_memory_equal(lab_tcph(&f) + 1, "\2\4\x05\xb4", 4);
}

static void mtu_out_of_range(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .mtu = 575};
	struct weft_err err = {0};
	struct weft_dp *dp;

	(void)state;
	assert_int_equal(weft_dp_open(&config, &dp, &err), -EINVAL);
	config.mtu = 65536;
	assert_int_equal(weft_dp_open(&config, &dp, &err), -EINVAL);
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
		cmocka_unit_test(gone_backend_is_unreachable),
		cmocka_unit_test(too_big_is_answered),
		cmocka_unit_test(mss_is_clamped),
		cmocka_unit_test(mtu_out_of_range),
		cmocka_unit_test(errors_are_limited),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("icmp", tests, setup, teardown);
}
