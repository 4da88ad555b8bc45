/* SPDX-License-Identifier: Apache-2.0 */
/* What the program makes of single frames: ARP, spoofing, everything malformed, plain delivery. */
#include <arpa/inet.h>
#include <errno.h>
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

#include "tests/lib/dp_lab.h"

#define dropped LAB_DROPPED
#define VIP     "10.30.0.1"

static int setup(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 4096};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	lab_service(dp, 1, VIP);
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

static void arp_is_answered(void **state)
{
	static const char *const overlay[] = {
		"10.18.0.254", "10.18.0.1", VIP, "10.30.1.1", "10.16.0.1", "10.31.255.255"};
	struct lab_frame f;

	for (unsigned i = 0; i < sizeof(overlay) / sizeof(*overlay); i++) {
		uint32_t asked = lab_addr(overlay[i]), own = lab_addr("10.18.0.2");

		lab_arp(&f, 2, overlay[i]);
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		assert_int_equal(lab_receiver(&f), 2);
		assert_memory_equal(f.data + 6, "\2weft\1", 6);
		assert_memory_equal(f.data + 14, "\0\1\x08\0\6\4\0\2", 8);
		assert_memory_equal(f.data + 22, "\2weft\1", 6);
		assert_memory_equal(f.data + 28, &asked, 4);
		assert_memory_equal(f.data + 32, "\2\0\0\0\0\2", 6);
		assert_memory_equal(f.data + 38, &own, 4);
	}
	/* A probe for duplicates of somebody's address is a question as well. */
	lab_arp(&f, 2, "10.18.0.1");
	memset(f.data + 28, 0, 4);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
}

static void arp_is_not_answered(void **state)
{
	struct lab_frame f;

	lab_arp(&f, 2, "10.18.0.2"); /* its own: announcement, duplicate detection */
	dropped(*state, &f, ARP_IGNORED);
	lab_arp(&f, 2, "192.168.1.1");
	dropped(*state, &f, ARP_IGNORED);
	lab_arp(&f, 2, "10.18.0.254");
	f.data[21] = 2; /* a reply */
	dropped(*state, &f, ARP_IGNORED);
	lab_arp(&f, 2, "10.18.0.254");
	f.data[31] = 77;
	dropped(*state, &f, SPOOFED_ARP);
	lab_arp(&f, 2, "10.18.0.254");
	f.data[27] = 77;
	dropped(*state, &f, SPOOFED_ARP);
	lab_arp(&f, 2, "10.18.0.254");
	f.data[11] = 77;
	dropped(*state, &f, SPOOFED_MAC);
	lab_arp(&f, 2, "10.18.0.254");
	f.data[18] = 8;
	dropped(*state, &f, MALFORMED);
	lab_arp(&f, 2, "10.18.0.254");
	f.len--;
	dropped(*state, &f, TRUNCATED);
}

static void spoofing(void **state)
{
	struct lab_frame f;

	syn(&f);
	lab_ip(&f)->saddr = lab_addr("10.18.0.1");
	lab_check_ip(&f);
	dropped(*state, &f, SPOOFED_ADDR);
	syn(&f);
	lab_ip(&f)->saddr = lab_addr("10.30.1.2");
	lab_check_ip(&f);
	dropped(*state, &f, SPOOFED_ADDR);
	syn(&f);
	f.data[11] = 1;
	dropped(*state, &f, SPOOFED_MAC);
	syn(&f);
	f.ifindex = 1;
	dropped(*state, &f, UNKNOWN_DEVICE);
	/* The source is checked whatever the destination. */
	lab_udp(&f, (struct lab_tuple){2, "192.0.2.1", 1, 2}, 10);
	lab_ip(&f)->saddr = lab_addr("10.18.0.1");
	lab_check_ip(&f);
	dropped(*state, &f, SPOOFED_ADDR);
}

static void other_protocols(void **state)
{
	struct lab_frame f;

	syn(&f);
	f.data[12] = 0x88;
	f.data[13] = 0x8e;
	dropped(*state, &f, ETHERTYPE);
	syn(&f);
	f.data[12] = 0x81;
	f.data[13] = 0;
	dropped(*state, &f, VLAN);
	syn(&f);
	lab_ip(&f)->protocol = 132;
	lab_check_ip(&f);
	dropped(*state, &f, PROTOCOL);
	lab_echo(&f, (struct lab_tuple){2, VIP, 1, 0}, 5); /* redirect */
	dropped(*state, &f, ICMP_TYPE);
	lab_tcp(&f, (struct lab_tuple){2, "10.30.99.99", 1000, 80}, LAB_SYN, 1);
	dropped(*state, &f, UNKNOWN_ADDR);
}

static void malformed_ip(void **state)
{
	struct lab_frame f;

	syn(&f);
	lab_ip(&f)->version = 6;
	dropped(*state, &f, MALFORMED);
	syn(&f);
	lab_ip(&f)->ihl = 4;
	dropped(*state, &f, MALFORMED);
	syn(&f);
	lab_ip(&f)->tot_len = htons(19);
	dropped(*state, &f, MALFORMED);
	syn(&f);
	lab_ip(&f)->tot_len = 0;
	dropped(*state, &f, MALFORMED);
	syn(&f);
	lab_ip(&f)->tot_len = htons(52);
	dropped(*state, &f, TRUNCATED);
	/* The header's length says more than there is. */
	syn(&f);
	lab_ip(&f)->ihl = 15;
	dropped(*state, &f, MALFORMED);
}

static void malformed_l4(void **state)
{
	struct lab_frame f;

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
	lab_ip(&f)->tot_len = htons(20 + 19);
	dropped(*state, &f, TRUNCATED);
	lab_udp(&f, (struct lab_tuple){2, VIP, 1, 2}, 10);
	lab_ip(&f)->tot_len = htons(20 + 7);
	dropped(*state, &f, TRUNCATED);
	lab_echo(&f, (struct lab_tuple){2, VIP, 1, 0}, 8);
	lab_ip(&f)->tot_len = htons(20 + 7);
	dropped(*state, &f, TRUNCATED);
}

/* Whatever the frame is cut to, it is dropped or passed on whole, never more. */
static void every_length(void **state)
{
	struct lab_frame whole, f;

	for (int kind = 0; kind < 3; kind++) {
		if (kind == 0)
			syn(&whole);
		else if (kind == 1)
			lab_udp(&whole, (struct lab_tuple){2, VIP, 1, 2}, 10);
		else
			lab_arp(&whole, 2, VIP);
		/* Test runs refuse what has not even a network header. */
		for (size_t len = ETH_HLEN + (kind < 2 ? 20 : 1); len < whole.len; len++) {
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
	lab_ip(&f)->tot_len = 0;
	f.gso_size = 1448;
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
}

/* Namespace addresses are reached as they are, by any protocol and in fragments. */
static void plain_delivery(void **state)
{
	struct lab_frame f, before;

	lab_echo(&f, (struct lab_tuple){2, "10.18.0.1", 1, 0}, 8);
	lab_fragment(&f, 5, 1480, true);
	before = f;
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
	assert_memory_equal(f.data + 6, "\2weft\1", 6);
	assert_int_equal(f.len, before.len);
	assert_memory_equal(f.data + ETH_HLEN, before.data + ETH_HLEN, f.len - ETH_HLEN);

	lab_tcp(&f, (struct lab_tuple){2, "10.18.0.1", 1, 80}, LAB_ACK, 1);
	before = f;
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_memory_equal(f.data + ETH_HLEN, before.data + ETH_HLEN, f.len - ETH_HLEN);
}

static void everything_else_is_the_hosts(void **state)
{
	struct lab_frame f, before;

	lab_udp(&f, (struct lab_tuple){2, "192.0.2.1", 1, 2}, 10);
	before = f;
	assert_int_equal(lab_run(*state, &f), LAB_OK);
	assert_memory_equal(f.data, before.data, f.len);
	lab_udp(&f, (struct lab_tuple){2, "10.18.0.77", 1, 2}, 10);
	assert_int_equal(lab_run(*state, &f), LAB_OK);
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
	lab_udp(&f, (struct lab_tuple){3, "10.18.0.1", 1, 2}, 10);
	lab_ip(&f)->saddr = lab_addr("192.0.2.1");
	lab_check_ip(&f);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr("192.0.2.1"));
	lab_udp(&f, (struct lab_tuple){3, VIP, 1, 2}, 10);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	lab_udp(&f, (struct lab_tuple){3, VIP, 1, 2}, 10);
	lab_ip(&f)->saddr = lab_addr("192.0.2.1");
	lab_check_ip(&f);
	dropped(*state, &f, SPOOFED_ADDR);
	lab_udp(&f, (struct lab_tuple){3, "10.18.0.77", 1, 2}, 10);
	dropped(*state, &f, UNKNOWN_ADDR);
}

/* Of another node, and no way to it. */
static void remote_instance(void **state)
{
	struct weft_dp_instance remote = lab_instance(4, 0);
	struct weft_err err = {0};
	struct lab_frame f;

	remote.device = WEFT_DP_DEV_REMOTE;
	remote.ifindex = 0;
	assert_int_equal(weft_dp_instance_set(*state, &remote, &err), -EINVAL);
	remote.peer = 1;
	assert_int_equal(weft_dp_instance_set(*state, &remote, &err), 0);
	lab_tcp(&f, (struct lab_tuple){2, "10.30.1.4", 1, 2}, LAB_SYN, 1);
	dropped(*state, &f, NO_PEER);
	lab_udp(&f, (struct lab_tuple){2, "10.18.0.4", 1, 2}, 10);
	dropped(*state, &f, REMOTE_ADDR);
	assert_int_equal(weft_dp_instance_remove(*state, 4), 0);
	lab_tcp(&f, (struct lab_tuple){2, "10.30.1.4", 1, 2}, LAB_SYN, 1);
	dropped(*state, &f, UNKNOWN_ADDR);
}

/* Reasons are numbered once, named and explained. */
static void reasons_have_names(void **state)
{
	(void)state;
	assert_int_equal(weft_dp_drop_count(), WEFT_DROP_COUNT);
	assert_null(weft_dp_drop_name(WEFT_DROP_COUNT));
	assert_null(weft_dp_drop_text(WEFT_DROP_COUNT));
	for (unsigned i = 0; i < WEFT_DROP_COUNT; i++) {
		assert_true(strlen(weft_dp_drop_name(i)) > 0 && strlen(weft_dp_drop_text(i)) > 0);
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(weft_dp_drop_name(i), weft_dp_drop_name(j));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arp_is_answered),
		cmocka_unit_test(arp_is_not_answered),
		cmocka_unit_test(spoofing),
		cmocka_unit_test(other_protocols),
		cmocka_unit_test(malformed_ip),
		cmocka_unit_test(malformed_l4),
		cmocka_unit_test(every_length),
		cmocka_unit_test(super_packet_without_length),
		cmocka_unit_test(plain_delivery),
		cmocka_unit_test(everything_else_is_the_hosts),
		cmocka_unit_test(host_device),
		cmocka_unit_test(remote_instance),
		cmocka_unit_test(reasons_have_names),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("packet", tests, setup, teardown);
}
