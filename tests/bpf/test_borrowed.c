/* SPDX-License-Identifier: Apache-2.0 */
/* Devices that weft did not make: what is not for the overlay passes by the program untouched, and
 * when the instance is removed the device is as it was. */
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/dp_lab.h"

#define VIP     "10.30.0.1"
#define PASS_BY (-1) /* TC_ACT_UNSPEC: whoever comes next on the device decides */

static struct weft_dp *open_dp(bool clsact)
{
	struct weft_dp_config config = {
		.bpffs_dir = LAB_PINS, .max_flows = 4096, .mtu = 1450, .clsact = clsact};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	return dp;
}

/* Instance n on its device, which is borrowed, with an address of another engine's network; is its
 * gateway fe80::1 weft? */
static void borrow_as(struct weft_dp *dp, uint32_t n, const char *ns_addr, bool gateway6)
{
	struct weft_dp_instance inst = lab_instance(n, 0);
	struct weft_err err = {0};

	inst.borrowed = true;
	inst.gateway6 = gateway6;
	inst.ns_addr.s_addr = lab_addr(ns_addr);
	if (weft_dp_instance_set(dp, &inst, &err) < 0)
		fail_msg("%s", err.msg);
}

static void borrow(struct weft_dp *dp, uint32_t n, const char *ns_addr)
{
	borrow_as(dp, n, ns_addr, false);
}

static void make_device(uint32_t n)
{
	assert_int_equal(
		lab_sh("ip link add v%u type veth peer name p%u && ip link set v%u up", n, n, n),
		0);
}

static int setup(void **state)
{
	struct weft_dp *dp = open_dp(false);

	lab_service(dp, 1, VIP);
	lab_add(dp, 1, 1);
	make_device(2);
	borrow(dp, 2, "172.20.5.2");
	lab_weights(dp, 1, (struct weft_dp_weight[]){{1, 1}}, 1);
	*state = dp;
	return 0;
}

static int teardown(void **state)
{
	weft_dp_free(*state);
	lab_sh("for d in v1 v2 v3; do ip link del $d 2>/dev/null; done");
	return weft_dp_destroy(LAB_PINS, NULL);
}

static uint64_t all_drops(struct weft_dp *dp)
{
	uint64_t sum = 0;

	for (unsigned reason = 0; reason < WEFT_DROP_COUNT; reason++)
		sum += lab_drops(dp, reason);
	return sum;
}

static void passes_at(struct weft_dp *dp, struct lab_frame *f, int line)
{
	struct lab_frame before = *f;
	uint64_t drops = all_drops(dp);
	int verdict = lab_run(dp, f);

	if (verdict != PASS_BY)
		fail_msg("line %d: verdict %d", line, verdict);
	assert_int_equal(f->len, before.len);
	assert_memory_equal(f->data, before.data, before.len);
	assert_int_equal(all_drops(dp), drops);
}
#define passes(dp, f) passes_at(dp, f, __LINE__)

static void udp_from(struct lab_frame *f, const char *saddr, const char *daddr)
{
	lab_udp(f, (struct lab_tuple){2, daddr, 1000, 53}, 100);
	lab_ip(f)->saddr = lab_addr(saddr);
	lab_check_ip(f);
}

static void other_traffic_passes_by(void **state)
{
	static const char *const others[] = {"192.0.2.1", "172.20.5.1", "172.20.5.3",
		"255.255.255.255", "224.0.0.251", "10.32.0.1", "10.18.0.77"};
	struct lab_frame f;

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		udp_from(&f, "172.20.5.2", others[i]);
		passes(*state, &f);
	}
	udp_from(&f, "0.0.0.0", "255.255.255.255"); /* DHCP */
	passes(*state, &f);
	udp_from(&f, "172.20.5.99", "192.0.2.1"); /* a second address of its own */
	passes(*state, &f);
	udp_from(&f, "172.20.5.2", "192.0.2.1");
	f.data[11] = 0x77; /* another machine behind the same bridge */
	passes(*state, &f);
	udp_from(&f, "172.20.5.2", "192.0.2.1");
	lab_options(&f, 10);
	passes(*state, &f);
	udp_from(&f, "172.20.5.2", "192.0.2.1");
	lab_ip(&f)->version = 7; /* what is nobody's here is nobody's here */
	passes(*state, &f);
}

static void other_protocols_pass_by(void **state)
{
	static const uint16_t protos[] = {0x88cc, 0x8100, 0x88a8, 0x0026, 0xfffe};
	struct lab_frame f;

	for (size_t i = 0; i < sizeof(protos) / sizeof(*protos); i++) {
		udp_from(&f, "172.20.5.2", VIP);
		f.data[12] = (uint8_t)(protos[i] >> 8);
		f.data[13] = (uint8_t)protos[i];
		passes(*state, &f);
	}
	for (size_t len = ETH_HLEN + 1; len < ETH_HLEN + 28; len++) {
		lab_arp(&f, 2, VIP); /* it asks for nobody yet */
		f.len = len;
		passes(*state, &f);
	}
}

static void its_own_arp_passes_by(void **state)
{
	static const char *const asked[] = {"172.20.5.1", "172.20.5.2", "10.18.0.77", "10.29.0.1"};
	struct lab_frame f;

	for (size_t i = 0; i < sizeof(asked) / sizeof(*asked); i++) {
		lab_arp(&f, 2, asked[i]);
		passes(*state, &f);
	}
	lab_arp(&f, 2, "172.20.5.1");
	f.len--;
	passes(*state, &f);
}

/* An IPv6 frame from instance 2; next header and destination as told. */
static void ipv6(struct lab_frame *f, uint8_t next, const uint8_t *dst)
{
	memset(f, 0, sizeof(*f));
	lab_arp(f, 2, "10.30.0.1");
	f->data[12] = 0x86;
	f->data[13] = 0xdd;
	memset(f->data + 14, 0, 64);
	f->data[14] = 0x60;
	f->data[19] = 24;
	f->data[20] = next;
	f->data[21] = 255;
	f->data[22] = 0xfe;
	f->data[23] = 0x80;
	memcpy(f->data + 14 + 24, dst, 16);
	f->len = 14 + 64;
}

static void ipv6_passes_by_unless_it_is_semantic(void **state)
{
	static const uint8_t global[16] = {0x20, 1, 0xd, 0xb8}, ula[16] = {0xfd, 0xfe, 1},
			     solicited[16] = {0xff, 2, [11] = 1, [12] = 0xff},
			     semantic[16] = {0xfd, 0xff, 0x20, [15] = 1};
	struct lab_frame f;

	ipv6(&f, 17, global);
	passes(*state, &f);
	ipv6(&f, 17, ula);
	passes(*state, &f);
	ipv6(&f, 58, solicited);
	f.data[14 + 40] = 135;
	memcpy(f.data + 14 + 48, ula, 16);
	passes(*state, &f);
	ipv6(&f, 58, solicited);
	f.data[14 + 40] = 135;
	memcpy(f.data + 14 + 48, semantic, 16);
	assert_int_not_equal(lab_run(*state, &f), PASS_BY);
	ipv6(&f, 17, semantic);
	assert_int_not_equal(lab_run(*state, &f), PASS_BY);
}

static void overlay_traffic_is_handled(void **state)
{
	struct lab_frame f;

	lab_tcp(&f, (struct lab_tuple){2, VIP, 1000, 80}, LAB_SYN, 1);
	lab_ip(&f)->saddr = lab_addr("172.20.5.2");
	lab_check_ip(&f);
	lab_check_tcp(&f);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.2"));
	assert_int_equal(lab_ip(&f)->daddr, lab_addr("10.18.0.1"));
	assert_true(lab_sums_right(&f));

	/* and the answer comes back to the address that its device has */
	lab_tcp(&f, (struct lab_tuple){1, "10.30.1.2", 80, 1000}, LAB_SYN | LAB_ACK, 9);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 2);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr(VIP));
	assert_int_equal(lab_ip(&f)->daddr, lab_addr("172.20.5.2"));
	assert_true(lab_sums_right(&f));
}

static void overlay_traffic_is_checked(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;
	uint64_t n;

	n = lab_drops(dp, WEFT_DROP_SPOOFED_ADDR);
	udp_from(&f, "172.20.5.3", VIP);
	assert_int_equal(lab_run(dp, &f), LAB_SHOT);
	assert_int_equal(lab_drops(dp, WEFT_DROP_SPOOFED_ADDR), n + 1);
	n = lab_drops(dp, WEFT_DROP_SPOOFED_MAC);
	udp_from(&f, "172.20.5.2", VIP);
	f.data[11] = 0x77;
	assert_int_equal(lab_run(dp, &f), LAB_SHOT);
	assert_int_equal(lab_drops(dp, WEFT_DROP_SPOOFED_MAC), n + 1);
}

static void the_overlay_answers_arp_for_itself(void **state)
{
	static const char *const asked[] = {VIP, "10.30.1.1", "10.18.0.1"};
	struct lab_frame f;

	for (size_t i = 0; i < sizeof(asked) / sizeof(*asked); i++) {
		uint32_t own = lab_addr("172.20.5.2");

		lab_arp(&f, 2, asked[i]);
		memcpy(f.data + 28, &own, 4);
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		assert_memory_equal(f.data + 22, "\2weft\1", 6);
	}
}

static void advertised(struct weft_dp *dp, struct lab_frame *f, const char *target, int line)
{
	struct in6_addr addr = lab_addr6(target);

	if (lab_run(dp, f) != LAB_REDIRECT)
		fail_msg("line %d: %s: verdict %d", line, target, f->verdict);
	assert_int_equal(f->data[ETH_HLEN + 40], 136);
	assert_memory_equal(f->data + ETH_HLEN + 48, &addr, sizeof(addr));
	assert_memory_equal(f->data + ETH_HLEN + 66, "\2weft\1", 6);
	assert_true(lab_sums_right(f));
}
#define ADVERTISED(dp, f, target) advertised(dp, f, target, __LINE__)

static void the_overlay_answers_for_its_neighbours(void **state)
{
	struct lab_frame f;

	lab_solicit(&f, 2, "", "fc00::1");
	ADVERTISED(*state, &f, "fc00::1");
	lab_solicit(&f, 2, "2001:db8::7", "fc00::1"); /* another address that it has */
	ADVERTISED(*state, &f, "fc00::1");
	lab_solicit(&f, 2, "::", "fc00::2"); /* its own: is there another? */
	passes(*state, &f);
	lab_solicit(&f, 2, "", "2001:db8::1");
	passes(*state, &f);
}

static void a_gateway_of_the_same_name_is_left_alone(void **state)
{
	static const char *const sources[] = {"", "fe80::ff:fe00:2", "2001:db8::7", "::"};
	struct in6_addr gateway = lab_addr6("fe80::1");
	struct lab_frame f;

	for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
		lab_solicit(&f, 2, sources[i], "fe80::1");
		passes(*state, &f);
	}
	lab_solicit(&f, 2, "", "fe80::1");
	memcpy(&lab_ip6(&f)->daddr, &gateway, sizeof(gateway));
	lab_check_icmp(&f);
	passes(*state, &f);
}

/* As on a device that weft made, whichever way it is asked. */
static void it_is_the_gateway_where_nobody_else_is(void **state)
{
	static const char *const sources[] = {"", "fe80::ff:fe00:2", "2001:db8::7", "::"};
	struct in6_addr gateway = lab_addr6("fe80::1"), routers = lab_addr6("ff02::2");
	struct lab_frame f;

	borrow_as(*state, 2, "172.20.5.2", true);
	for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
		lab_solicit(&f, 2, sources[i], "fe80::1");
		ADVERTISED(*state, &f, "fe80::1");
	}
	lab_solicit(&f, 2, "", "fe80::1"); /* is it still there? */
	memcpy(&lab_ip6(&f)->daddr, &gateway, sizeof(gateway));
	lab_check_icmp(&f);
	ADVERTISED(*state, &f, "fe80::1");
	lab_solicit(&f, 2, "", "fe80::2");
	passes(*state, &f);
	lab_solicit(&f, 2, "::", "fc00::2");
	passes(*state, &f);
	/* Whoever else is on the device may be a router. */
	lab_solicit(&f, 2, "", "fe80::1");
	memcpy(&lab_ip6(&f)->daddr, &routers, sizeof(routers));
	f.data[ETH_HLEN + 40] = 133;
	lab_check_icmp(&f);
	passes(*state, &f);
	/* And no longer, once somebody else is. */
	borrow_as(*state, 2, "172.20.5.2", false);
	lab_solicit(&f, 2, "", "fe80::1");
	passes(*state, &f);
}

/* Set again without it, a device is wholly weft's. */
static void it_may_become_ours(void **state)
{
	struct weft_dp_instance inst = lab_instance(2, 0);
	struct weft_err err = {0};
	struct lab_frame f;

	inst.ns_addr.s_addr = lab_addr("172.20.5.2");
	assert_int_equal(weft_dp_instance_set(*state, &inst, &err), 0);
	lab_arp(&f, 2, "172.20.5.1");
	assert_int_equal(lab_run(*state, &f), LAB_SHOT);
}

static bool has_clsact(const char *dev)
{
	return lab_sh("tc qdisc show dev %s clsact | grep -q clsact", dev) == 0;
}

static void a_qdisc_is_taken_away_by_who_made_it(void **state)
{
	struct weft_dp *dp = open_dp(true);

	(void)state;
	make_device(2);
	make_device(3);
	lab_add(dp, 1, 0);
	assert_int_equal(lab_sh("tc qdisc add dev v3 clsact"), 0);
	borrow(dp, 2, "172.20.5.2");
	borrow(dp, 3, "172.20.5.3");
	borrow(dp, 2, "172.20.5.2"); /* what is so already */
	assert_true(has_clsact("v2"));
	weft_dp_free(dp);
	dp = open_dp(true); /* another daemon does not know, but for the maps */
	borrow(dp, 2, "172.20.5.2");
	borrow(dp, 3, "172.20.5.3");
	assert_int_equal(weft_dp_instance_remove(dp, 2), 0);
	assert_int_equal(weft_dp_instance_remove(dp, 3), 0);
	assert_int_equal(weft_dp_instance_remove(dp, 1), 0);
	assert_false(has_clsact("v2"));
	assert_true(has_clsact("v3")); /* it had one before */
	assert_int_not_equal(lab_sh("tc filter show dev v3 ingress | grep -q tc_instance"), 0);
	weft_dp_free(dp);
}

static void a_qdisc_that_others_use_stays(void **state)
{
	struct weft_dp *dp = open_dp(true);

	(void)state;
	make_device(2);
	borrow(dp, 2, "172.20.5.2");
	assert_int_equal(lab_sh("tc filter add dev v2 egress prio 9 u32 match u32 0 0"), 0);
	assert_int_equal(weft_dp_instance_remove(dp, 2), 0);
	assert_true(has_clsact("v2"));
	assert_int_equal(lab_sh("tc filter show dev v2 egress | grep -q u32"), 0);
	weft_dp_free(dp);
}

static void destroying_it_all_leaves_the_device(void **state)
{
	struct weft_dp *dp = open_dp(true);

	(void)state;
	make_device(2);
	borrow(dp, 2, "172.20.5.2");
	weft_dp_free(dp);
	assert_int_equal(weft_dp_destroy(LAB_PINS, NULL), 0);
	assert_false(has_clsact("v2"));
	assert_int_equal(lab_sh("ip link show v2 >/dev/null"), 0);
}

static int clean(void **state)
{
	(void)state;
	lab_sh("for d in v1 v2 v3; do ip link del $d 2>/dev/null; done");
	return weft_dp_destroy(LAB_PINS, NULL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(other_traffic_passes_by),
		TEST(other_protocols_pass_by),
		TEST(its_own_arp_passes_by),
		TEST(ipv6_passes_by_unless_it_is_semantic),
		TEST(overlay_traffic_is_handled),
		TEST(overlay_traffic_is_checked),
		TEST(the_overlay_answers_arp_for_itself),
		TEST(the_overlay_answers_for_its_neighbours),
		TEST(a_gateway_of_the_same_name_is_left_alone),
		TEST(it_is_the_gateway_where_nobody_else_is),
		TEST(it_may_become_ours),
		cmocka_unit_test_teardown(a_qdisc_is_taken_away_by_who_made_it, clean),
		cmocka_unit_test_teardown(a_qdisc_that_others_use_stays, clean),
		cmocka_unit_test_teardown(destroying_it_all_leaves_the_device, clean),
	};

	return lab_enter() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
