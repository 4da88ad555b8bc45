/* SPDX-License-Identifier: Apache-2.0 */
/* Flows by IPv6, and both families beside each other. */
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
#include <string.h>

#include <cmocka.h>

#include "tests/lib/dp_lab.h"

#define dropped LAB_DROPPED
#define VIP4    "10.30.0.1"
#define VIP     "fdff:2000::1"
#define SERVICE 3
#define CLIENT  9
#define OTHER   8 /* a second client */

/* By family, 4 first. */
static const char *const vips[] = {VIP4, VIP};
static const char *const clients[] = {"10.30.1.9", "fdff::1:9"};
static const char *const others[] = {"10.30.1.8", "fdff::1:8"};

static int setup(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 65536};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	lab_service46(dp, SERVICE, VIP4, VIP);
	for (uint32_t n = 1; n <= 3; n++)
		lab_add(dp, n, SERVICE);
	lab_add(dp, CLIENT, 0);
	lab_add(dp, OTHER, 0);
	*state = dp;
	return 0;
}

static int teardown(void **state)
{
	weft_dp_free(*state);
	return weft_dp_destroy(LAB_PINS, NULL);
}

static void weights(struct weft_dp *dp, uint32_t a, uint32_t b, uint32_t c)
{
	struct weft_dp_weight w[] = {{1, a}, {2, b}, {3, c}};

	lab_weights(dp, SERVICE, w, 3);
}

/* A segment from one to an address: who gets it, -1 for nobody. */
static int sent(struct weft_dp *dp, struct lab_tuple t, uint8_t flags, struct lab_frame *f)
{
	lab_tcp(f, t, flags, t.sport * 7919U);
	if (lab_run(dp, f) != LAB_REDIRECT || lab_receiver(f) == (int)t.from)
		return -1;
	assert_true(lab_sums_right(f));
	return lab_receiver(f);
}

static int segment(struct weft_dp *dp, uint16_t sport, uint8_t flags)
{
	struct lab_frame f;

	return sent(dp, (struct lab_tuple){CLIENT, VIP, sport, 80}, flags, &f);
}

static void new_flow_and_reply(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	lab_summed = true;
	weights(dp, 1, 0, 0);
	assert_int_equal(sent(dp, (struct lab_tuple){CLIENT, VIP, 1000, 80}, LAB_SYN, &f), 1);
	assert_memory_equal(f.data + 6, "\2weft\1", 6);
	assert_true(lab_from(&f, "fdff::1:9"));
	assert_true(lab_to(&f, "fc00::1"));
	assert_int_equal(ntohs(lab_tcph(&f)->source), 1000);
	assert_int_equal(ntohs(lab_tcph(&f)->dest), 80);
	assert_int_equal(lab_ip6(&f)->hop_limit, 64);
	assert_int_equal(lab_ip6(&f)->flow_lbl[2], 77);
	assert_int_equal(
		sent(dp, (struct lab_tuple){1, "fdff::1:9", 80, 1000}, LAB_SYN | LAB_ACK, &f),
		CLIENT);
	assert_true(lab_from(&f, VIP));
	assert_true(lab_to(&f, "fc00::9"));
	assert_int_equal(segment(dp, 1000, LAB_ACK), 1);
	weights(dp, 0, 1, 0);
	assert_int_equal(segment(dp, 1000, LAB_ACK), 1);
	assert_int_equal(segment(dp, 1001, LAB_SYN), 2);
	lab_summed = false;
}

/* Rewritten checksums are right for every content, and so is a device's sum over all of it. */
static void checksums(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	weights(dp, 1, 1, 1);
	lab_summed = true;
	for (uint16_t i = 0; i < 2000; i++) {
		for (int v6 = 0; v6 < 2; v6++) {
			lab_udp(&f, (struct lab_tuple){CLIENT, vips[v6], (uint16_t)(30000 + i), i},
				i % 700);
			if (v6 && i % 3 == 0)
				lab_extension(&f, 60, "\0\0\1\4\0\0\0\0", 8);
			assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
			assert_true(lab_sums_right(&f));
			assert_int_not_equal(lab_udph(&f)->check, 0);
			lab_echo(&f, (struct lab_tuple){CLIENT, vips[v6], i, 0}, 8);
			assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
			assert_true(lab_sums_right(&f));
		}
	}
	lab_summed = false;
}

/* The same ports by both families: two flows, with backends of their own; turns are shared. */
static void families_never_meet(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;
	unsigned got[4] = {0};

	for (int v6 = 0; v6 < 2; v6++) {
		weights(dp, !v6, v6, 0);
		assert_int_equal(
			sent(dp, (struct lab_tuple){CLIENT, vips[v6], 2000, 80}, LAB_SYN, &f),
			1 + v6);
	}
	for (int v6 = 0; v6 < 2; v6++) {
		uint32_t backend = 1 + (uint32_t)v6;

		assert_int_equal(
			sent(dp, (struct lab_tuple){CLIENT, vips[v6], 2000, 80}, LAB_ACK, &f),
			backend);
		assert_int_equal(
			sent(dp, (struct lab_tuple){backend, clients[v6], 80, 2000}, LAB_ACK, &f),
			CLIENT);
		assert_true(lab_from(&f, vips[v6]));
		/* The other family's backend knows nothing of it. */
		assert_int_equal(
			sent(dp, (struct lab_tuple){backend, clients[!v6], 80, 2000}, LAB_ACK, &f),
			-1);
	}
	weights(dp, 3, 2, 1);
	for (uint16_t i = 0; i < 60; i++)
		got[sent(dp, (struct lab_tuple){CLIENT, vips[i % 2], (uint16_t)(2100 + i), 80},
			LAB_SYN, &f)]++;
	assert_int_equal(got[1], 30);
	assert_int_equal(got[2], 20);
	assert_int_equal(got[3], 10);
}

/* Two clients of a node, with one source port, to one port of one backend. */
static void same_port_twice(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	weights(dp, 0, 0, 1);
	for (int v6 = 0; v6 < 2; v6++) {
		const char *const *const callers[] = {clients, others};

		for (int i = 0; i < 2; i++)
			assert_int_equal(
				sent(dp, (struct lab_tuple){i ? OTHER : CLIENT, vips[v6], 3000, 80},
					LAB_SYN, &f),
				3);
		for (int i = 0; i < 2; i++) {
			const char *called = callers[i][v6];
			int who = i ? OTHER : CLIENT;

			assert_int_equal(sent(dp, (struct lab_tuple){3, called, 80, 3000},
						 LAB_SYN | LAB_ACK, &f),
				who);
			assert_true(lab_from(&f, vips[v6]));
			assert_int_equal(
				sent(dp, (struct lab_tuple){(uint32_t)who, vips[v6], 3000, 80},
					LAB_ACK, &f),
				3);
			assert_true(lab_from(&f, called));
		}
	}
}

static void hairpin(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	weights(dp, 1, 0, 0);
	lab_tcp(&f, (struct lab_tuple){1, VIP, 20000, 80}, LAB_SYN, 1);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
	assert_true(lab_from(&f, "fdff::1:1"));
	assert_true(lab_to(&f, "fc00::1"));
	lab_tcp(&f, (struct lab_tuple){1, "fdff::1:1", 80, 20000}, LAB_SYN | LAB_ACK, 1);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
	assert_true(lab_from(&f, VIP));
	assert_true(lab_sums_right(&f));
}

static void instance_address(void **state)
{
	struct weft_dp *dp = *state;
	struct weft_dp_counters before, after;
	struct lab_frame f;

	weights(dp, 1, 1, 1);
	weft_dp_service_counters(dp, SERVICE, &before);
	assert_int_equal(
		sent(dp, (struct lab_tuple){CLIENT, "fdff::1:2", 19000, 80}, LAB_SYN, &f), 2);
	assert_true(lab_from(&f, "fdff::1:9"));
	assert_int_equal(
		sent(dp, (struct lab_tuple){2, "fdff::1:9", 80, 19000}, LAB_SYN | LAB_ACK, &f),
		CLIENT);
	assert_true(lab_from(&f, "fdff::1:2"));
	weft_dp_service_counters(dp, SERVICE, &after);
	assert_int_equal(after.packets, before.packets);
}

static void policies(void **state)
{
	static const char *const addr[] = {VIP, "fdff:2000::2", "fdff:1000::1", "fdff:3000::1"};
	struct weft_dp_service s = {.id = SERVICE, .vip[WEFT_DP_RR].s_addr = lab_addr(VIP4)};
	struct weft_dp *dp = *state;
	struct weft_err err = {0};
	struct lab_frame f;

	for (unsigned p = 0; p < WEFT_DP_POLICIES; p++)
		s.vip6[p] = lab_addr6(addr[p]);
	assert_int_equal(weft_dp_service_set(dp, &s, &err), 0);
	for (unsigned p = 1; p < WEFT_DP_POLICIES; p++) {
		struct weft_dp_weight w[] = {{1, p == 1}, {2, p == 2}, {3, p == 3}};

		assert_int_equal(weft_dp_service_weights(dp, SERVICE, p, w, 3, &err), 0);
	}
	for (uint32_t p = 1; p < WEFT_DP_POLICIES; p++) {
		assert_int_equal(
			sent(dp, (struct lab_tuple){CLIENT, addr[p], 22001, 80}, LAB_SYN, &f), p);
		assert_int_equal(
			sent(dp, (struct lab_tuple){p, "fdff::1:9", 80, 22001}, LAB_ACK, &f),
			CLIENT);
		assert_true(lab_from(&f, addr[p]));
	}
	/* A policy may have an address of one family only: by RR the other still works. */
	lab_service46(dp, SERVICE, VIP4, VIP);
	lab_tcp(&f, (struct lab_tuple){CLIENT, addr[1], 22002, 80}, LAB_SYN, 1);
	dropped(dp, &f, UNKNOWN_ADDR);
	weights(dp, 1, 1, 1);
	assert_int_not_equal(segment(dp, 22003, LAB_SYN), -1);
}

/* A lost flow's next segment, either way, is answered by a reset that its sender believes. */
static void purge_resets(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t lost = lab_drops(dp, WEFT_DROP_NO_FLOW);
	struct weft_dp_events ev, ev2;
	struct lab_frame f;

	weights(dp, 0, 1, 0);
	assert_int_equal(segment(dp, 18000, LAB_SYN), 2);
	assert_int_equal(segment(dp, 18000, LAB_ACK), 2);
	weft_dp_events(dp, &ev);
	assert_int_equal(weft_dp_flows_purge(dp, 2), 0);

	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP, 18000, 80}, LAB_ACK, 2);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
	assert_true(lab_sums_right(&f));
	assert_int_equal(f.len, ETH_HLEN + 60);
	assert_int_equal(ntohs(lab_ip6(&f)->payload_len), 20);
	assert_true(lab_from(&f, VIP));
	assert_true(lab_to(&f, "fc00::9"));
	assert_int_equal(ntohs(lab_tcph(&f)->source), 80);
	assert_int_equal(ntohs(lab_tcph(&f)->dest), 18000);
	assert_int_equal(((uint8_t *)lab_tcph(&f))[13], LAB_RST);
	assert_int_equal(ntohl(lab_tcph(&f)->seq), 0xabcdef01);

	lab_tcp(&f, (struct lab_tuple){2, "fdff::1:9", 80, 18000}, LAB_FIN, 100);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 2);
	assert_true(lab_sums_right(&f));
	assert_int_equal(((uint8_t *)lab_tcph(&f))[13], LAB_RST | LAB_ACK);
	assert_int_equal(ntohl(lab_tcph(&f)->ack_seq), 112);

	/* Never one for a reset, and none to who hides its segment behind other headers. */
	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP, 18000, 80}, LAB_RST, 2);
	dropped(dp, &f, NO_FLOW);
	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP, 18000, 80}, LAB_ACK, 2);
	lab_extension(&f, 60, "\0\0\1\4\0\0\0\0", 8);
	dropped(dp, &f, NO_FLOW);
	assert_int_equal(lab_drops(dp, WEFT_DROP_NO_FLOW), lost + 4);
	weft_dp_events(dp, &ev2);
	assert_int_equal(ev2.resets, ev.resets + 2);
	assert_int_equal(segment(dp, 18000, LAB_SYN), 2);
}

static void backend_gone(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	lab_add(dp, 4, SERVICE);
	lab_weights(dp, SERVICE, (struct weft_dp_weight[]){{4, 1}}, 1);
	assert_int_equal(segment(dp, 18500, LAB_SYN), 4);
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 18501, 53}, 9);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(weft_dp_instance_remove(dp, 4), 0);
	weights(dp, 1, 0, 0);
	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP, 18500, 80}, LAB_ACK, 2);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
	/* A datagram flow moves on without a word. */
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 18501, 53}, 9);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
}

static void echo(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;
	int backend;

	weights(dp, 1, 1, 1);
	lab_echo(&f, (struct lab_tuple){CLIENT, VIP, 700, 0}, 8);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_true(lab_sums_right(&f));
	backend = lab_receiver(&f);
	lab_echo(&f, (struct lab_tuple){(uint32_t)backend, "fdff::1:9", 700, 0}, 0);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
	assert_true(lab_from(&f, VIP));
	assert_true(lab_sums_right(&f));
	lab_echo(&f, (struct lab_tuple){(uint32_t)backend, "fdff::1:9", 701, 0}, 0);
	dropped(dp, &f, NO_FLOW);
}

/* --- fragments --- */

/* A part of a datagram of 2,000 bytes, behind an extension header if one is given. */
static void part(struct lab_frame *f, uint32_t id, uint16_t offset, const void *extension)
{
	lab_udp(f, (struct lab_tuple){CLIENT, VIP, 6000, 53}, 800);
	lab_udph(f)->len = htons(2000);
	lab_fragment6(f, id, offset, offset < 1600);
	if (extension)
		lab_extension(f, 60, extension, 8);
}

static void fragments(void **state)
{
	static const char *const extensions[] = {NULL, "\0\0\1\4\0\0\0\0"};
	struct weft_dp *dp = *state;
	struct lab_frame f, before;
	int backend;

	weights(dp, 1, 1, 1);
	lab_summed = true;
	for (uint32_t n = 0; n < 2; n++) {
		uint32_t id = 0x12345678 + n;

		part(&f, id, 0, extensions[n]);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		backend = lab_receiver(&f);
		for (uint16_t offset = 808; offset <= 1616; offset = (uint16_t)(offset + 808)) {
			part(&f, id, offset, extensions[n]);
			before = f;
			assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
			assert_int_equal(lab_receiver(&f), backend);
			assert_true(lab_from(&f, "fdff::1:9"));
			assert_memory_equal(f.data + ETH_HLEN + 40, before.data + ETH_HLEN + 40,
				f.len - ETH_HLEN - 40);
		}
	}
	lab_summed = false;
	part(&f, 0x99, 808, NULL);
	dropped(dp, &f, FRAGMENT);
	/* A later one's other fields mean nothing, its number does. */
	part(&f, 0x12345678, 808, NULL);
	f.data[ETH_HLEN + 40] = 132;
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	part(&f, 0x12345679, 808, NULL);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	part(&f, 0x1234567a, 808, NULL);
	dropped(dp, &f, FRAGMENT);
	/* The first one has to have all headers. */
	part(&f, 0x55, 0, NULL);
	f.len = ETH_HLEN + 40 + 8 + 7;
	lab_fit6(&f);
	dropped(dp, &f, TRUNCATED);
	/* A fragment that is the whole packet (RFC 6946). */
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 6001, 53}, 80);
	lab_fragment6(&f, 0x77, 0, false);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_true(lab_sums_right(&f));
}

/* Of an answer, under the service's address; and to a backend that has gone meanwhile. */
static void fragments_back_and_lost(void **state)
{
	struct weft_dp *dp = *state;
	struct weft_dp_instance inst;
	struct weft_err err = {0};
	struct lab_frame f;

	weights(dp, 0, 1, 0);
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 6100, 53}, 80);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	for (uint16_t offset = 0; offset <= 808; offset = (uint16_t)(offset + 808)) {
		lab_udp(&f, (struct lab_tuple){2, "fdff::1:9", 53, 6100}, 800);
		lab_udph(&f)->len = htons(1608);
		lab_fragment6(&f, 3, offset, !offset);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		assert_int_equal(lab_receiver(&f), CLIENT);
		assert_true(lab_from(&f, VIP));
		assert_true(lab_to(&f, "fc00::9"));
	}
	part(&f, 0x88, 0, NULL);
	weights(dp, 0, 1, 0);
	lab_udph(&f)->source = htons(6200);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	inst = lab_instance(2, SERVICE);
	inst.mac[3] ^= 1;
	assert_int_equal(weft_dp_instance_set(dp, &inst, &err), 0);
	part(&f, 0x88, 808, NULL);
	dropped(dp, &f, BACKEND_GONE);
	inst.mac[3] ^= 1;
	assert_int_equal(weft_dp_instance_set(dp, &inst, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_flow_and_reply),
		cmocka_unit_test(checksums),
		cmocka_unit_test(families_never_meet),
		cmocka_unit_test(same_port_twice),
		cmocka_unit_test(hairpin),
		cmocka_unit_test(instance_address),
		cmocka_unit_test(policies),
		cmocka_unit_test(purge_resets),
		cmocka_unit_test(backend_gone),
		cmocka_unit_test(echo),
		cmocka_unit_test(fragments),
		cmocka_unit_test(fragments_back_and_lost),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("flow6", tests, setup, teardown);
}
