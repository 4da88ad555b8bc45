/* SPDX-License-Identifier: Apache-2.0 */
/* Flows: balancing, both directions, affinity, ends of life. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/dp_lab.h"

#define VIP     "10.30.0.1"
#define SERVICE 3
#define CLIENT  9

/* One data plane for the program; every test has its own ports. */
static int setup(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 65536};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	lab_service(dp, SERVICE, VIP);
	for (uint32_t n = 1; n <= 3; n++)
		lab_add(dp, n, SERVICE);
	lab_add(dp, CLIENT, 0);
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

/* Send a segment of the client to the service: the backend that gets it, or -1. */
static int segment(struct weft_dp *dp, uint16_t sport, uint8_t flags, uint32_t seq)
{
	struct lab_frame f;

	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP, sport, 80}, flags, seq);
	if (lab_run(dp, &f) != LAB_REDIRECT || lab_receiver(&f) == CLIENT)
		return -1;
	assert_true(lab_sums_right(&f));
	return lab_receiver(&f);
}

static int answer(struct weft_dp *dp, int backend, uint16_t port, uint8_t flags)
{
	struct lab_frame f;

	lab_tcp(&f, (struct lab_tuple){(uint32_t)backend, "10.30.1.9", 80, port}, flags, 5);
	if (lab_run(dp, &f) != LAB_REDIRECT || lab_receiver(&f) != CLIENT)
		return -1;
	assert_true(lab_sums_right(&f));
	assert_int_equal(lab_ip(&f)->saddr, lab_addr(VIP));
	assert_int_equal(lab_ip(&f)->daddr, lab_addr("10.18.0.9"));
	return 0;
}

static void new_flow_and_reply(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	weights(dp, 1, 0, 0);
	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP, 1000, 80}, LAB_SYN, 77);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
	assert_memory_equal(f.data + 6, "\2weft\1", 6);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.9"));
	assert_int_equal(lab_ip(&f)->daddr, lab_addr("10.18.0.1"));
	assert_int_equal(ntohs(lab_tcph(&f)->source), 1000);
	assert_int_equal(ntohs(lab_tcph(&f)->dest), 80);
	assert_true(lab_sums_right(&f));
	assert_int_equal(answer(dp, 1, 1000, LAB_SYN | LAB_ACK), 0);
	assert_int_equal(segment(dp, 1000, LAB_ACK, 78), 1);
}

static void weighted_shares_are_exact(void **state)
{
	struct weft_dp *dp = *state;
	struct weft_dp_counters before, after;
	unsigned got[4] = {0};

	weights(dp, 7, 2, 1);
	weft_dp_service_counters(dp, SERVICE, &before);
	for (uint16_t i = 0; i < 1000; i++)
		got[segment(dp, (uint16_t)(10000 + i), LAB_SYN, i)]++;
	assert_int_equal(got[1], 700);
	assert_int_equal(got[2], 200);
	assert_int_equal(got[3], 100);
	weft_dp_service_counters(dp, SERVICE, &after);
	assert_int_equal(after.flows - before.flows, 1000);
	assert_int_equal(after.packets - before.packets, 1000);
	assert_int_equal(after.bytes - before.bytes, 1000 * 51);
}

static void weights_do_not_move_flows(void **state)
{
	struct weft_dp *dp = *state;

	weights(dp, 1, 0, 0);
	for (uint16_t i = 0; i < 50; i++)
		assert_int_equal(segment(dp, (uint16_t)(12000 + i), LAB_SYN, i), 1);
	weights(dp, 0, 1, 0);
	for (uint16_t i = 0; i < 50; i++) {
		assert_int_equal(segment(dp, (uint16_t)(12000 + i), LAB_ACK, 1), 1);
		assert_int_equal(answer(dp, 1, (uint16_t)(12000 + i), LAB_ACK), 0);
		assert_int_equal(segment(dp, (uint16_t)(12100 + i), LAB_SYN, i), 2);
	}
}

static void every_quick_update_holds(void **state)
{
	struct weft_dp *dp = *state;

	for (uint16_t i = 0; i < 90; i++) {
		weights(dp, i % 3 == 0, i % 3 == 1, i % 3 == 2);
		assert_int_equal(segment(dp, (uint16_t)(13000 + i), LAB_SYN, i), 1 + i % 3);
	}
}

static void no_backend(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t before = lab_drops(dp, WEFT_DROP_NO_BACKEND);

	weights(dp, 0, 0, 0);
	assert_int_equal(segment(dp, 14000, LAB_SYN, 1), -1);
	lab_weights(dp, SERVICE, NULL, 0);
	assert_int_equal(segment(dp, 14000, LAB_SYN, 1), -1);
	assert_int_equal(lab_drops(dp, WEFT_DROP_NO_BACKEND), before + 2);
}

static void repeated_syn_stays(void **state)
{
	struct weft_dp *dp = *state;
	int first, other = 0;

	weights(dp, 1, 1, 1);
	first = segment(dp, 15000, LAB_SYN, 4711);
	for (int i = 0; i < 6; i++)
		assert_int_equal(segment(dp, 15000, LAB_SYN, 4711), first);
	/* Another initial sequence number: a new connection from the same port. */
	for (uint32_t i = 1; i <= 64 && !other; i++)
		if (segment(dp, 15000, LAB_SYN, 4711 + i * 1000003) != first)
			other = 1;
	assert_true(other);
}

static void closed_port_is_free(void **state)
{
	struct weft_dp *dp = *state;

	weights(dp, 1, 0, 0);
	assert_int_equal(segment(dp, 16000, LAB_SYN, 1), 1);
	assert_int_equal(segment(dp, 16000, LAB_ACK, 2), 1);
	assert_int_equal(answer(dp, 1, 16000, LAB_RST), 0);
	weights(dp, 0, 1, 0);
	/* The very same SYN again, after the refusal: another backend may do better. */
	assert_int_equal(segment(dp, 16000, LAB_SYN, 1), 2);
	assert_int_equal(answer(dp, 2, 16000, LAB_SYN | LAB_ACK), 0);
}

static void life_of_a_connection(void **state)
{
	struct weft_dp *dp = *state;
	uint32_t before;

	weights(dp, 0, 0, 1);
	before = lab_live(dp, 3);
	assert_int_equal(segment(dp, 17000, LAB_SYN, 1), 3);
	assert_int_equal(lab_live(dp, 3), before + 1);
	assert_int_equal(answer(dp, 3, 17000, LAB_SYN | LAB_ACK), 0);
	assert_int_equal(segment(dp, 17000, LAB_ACK, 2), 3);
	/* Half closed: the answer may still take its time. */
	assert_int_equal(segment(dp, 17000, LAB_FIN | LAB_ACK, 2), 3);
	assert_int_equal(segment(dp, 17000, LAB_FIN | LAB_ACK, 2), 3);
	assert_int_equal(lab_live(dp, 3), before + 1);
	assert_int_equal(answer(dp, 3, 17000, LAB_FIN | LAB_ACK), 0);
	assert_int_equal(lab_live(dp, 3), before);
	/* The last acknowledgements still pass. */
	assert_int_equal(segment(dp, 17000, LAB_ACK, 3), 3);
	assert_int_equal(answer(dp, 3, 17000, LAB_ACK), 0);
	assert_int_equal(lab_live(dp, 3), before);
}

static int count_states(void *userdata, const struct weft_dp_flow *f)
{
	unsigned *n = userdata;

	if (f->instance != 3)
		return 0;
	assert_int_equal(f->service, SERVICE);
	if (strcmp(f->state, "established") == 0)
		n[f->reverse]++;
	return 0;
}

static void both_directions_share_a_state(void **state)
{
	struct weft_dp *dp = *state;
	unsigned n[2] = {0}, m[2] = {0};

	weights(dp, 0, 0, 1);
	weft_dp_flows_each(dp, 0, UINT64_MAX, count_states, n);
	segment(dp, 17500, LAB_SYN, 1);
	segment(dp, 17500, LAB_ACK, 2);
	weft_dp_flows_each(dp, 0, UINT64_MAX, count_states, m);
	assert_int_equal(m[0], n[0] + 1);
	assert_int_equal(m[1], n[1] + 1);
}

/* A purged flow's next segment, either way, is answered by a reset that its sender believes. */
static void purge_resets(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t lost = lab_drops(dp, WEFT_DROP_NO_FLOW);
	struct weft_dp_events ev, ev2;
	struct lab_frame f;

	weights(dp, 0, 1, 0);
	assert_int_equal(segment(dp, 18000, LAB_SYN, 1), 2);
	assert_int_equal(segment(dp, 18000, LAB_ACK, 2), 2);
	weft_dp_events(dp, &ev);
	assert_int_equal(weft_dp_flows_purge(dp, 2), 0);
	assert_int_equal(lab_live(dp, 2), 0);

	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP, 18000, 80}, LAB_ACK, 2);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
	assert_true(lab_sums_right(&f));
	assert_int_equal(f.len, 54);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr(VIP));
	assert_int_equal(lab_ip(&f)->daddr, lab_addr("10.18.0.9"));
	assert_int_equal(ntohs(lab_tcph(&f)->source), 80);
	assert_int_equal(ntohs(lab_tcph(&f)->dest), 18000);
	assert_int_equal(((uint8_t *)lab_tcph(&f))[13], LAB_RST);
	assert_int_equal(ntohl(lab_tcph(&f)->seq), 0xabcdef01);

	/* Without ACK there is no number to take: acknowledge what came (here 11 bytes and FIN). */
	lab_tcp(&f, (struct lab_tuple){2, "10.30.1.9", 80, 18000}, LAB_FIN, 100);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 2);
	assert_true(lab_sums_right(&f));
	assert_int_equal(((uint8_t *)lab_tcph(&f))[13], LAB_RST | LAB_ACK);
	assert_int_equal(ntohl(lab_tcph(&f)->ack_seq), 112);

	/* Never a reset for a reset. */
	lab_tcp(&f, (struct lab_tuple){CLIENT, VIP, 18000, 80}, LAB_RST, 2);
	assert_int_equal(lab_run(dp, &f), LAB_SHOT);
	assert_int_equal(lab_drops(dp, WEFT_DROP_NO_FLOW), lost + 3);
	weft_dp_events(dp, &ev2);
	assert_int_equal(ev2.resets, ev.resets + 2);

	assert_int_equal(segment(dp, 18000, LAB_SYN, 9), 2);
}

static void datagrams(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;
	int backend;

	weights(dp, 1, 1, 1);
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 5000, 53}, 21);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_true(lab_sums_right(&f));
	assert_int_not_equal(lab_udph(&f)->check, 0);
	backend = lab_receiver(&f);
	for (int i = 0; i < 5; i++) {
		lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 5000, 53}, 8);
		lab_run(dp, &f);
		assert_int_equal(lab_receiver(&f), backend);
	}
	lab_udp(&f, (struct lab_tuple){(uint32_t)backend, "10.30.1.9", 53, 5000}, 100);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr(VIP));
	assert_true(lab_sums_right(&f));

	/* No checksum stays none. */
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 5000, 53}, 8);
	lab_udph(&f)->check = 0;
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_udph(&f)->check, 0);
	assert_true(lab_sums_right(&f));

	/* When its backend's flows are purged, a datagram flow moves on without a word. */
	weights(dp, backend != 1, backend == 1, 0);
	assert_int_equal(weft_dp_flows_purge(dp, (uint32_t)backend), 0);
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, 5000, 53}, 8);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), backend == 1 ? 2 : 1);
}

/* Rewritten checksums are right for every change of address and any content. */
static void checksums(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	weights(dp, 1, 1, 1);
	for (uint16_t i = 0; i < 2000; i++) {
		lab_udp(&f, (struct lab_tuple){CLIENT, VIP, (uint16_t)(30000 + i), i}, i % 700);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		assert_true(lab_sums_right(&f));
		assert_int_not_equal(lab_udph(&f)->check, 0);
	}
}

static void options_and_fragments(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t lost = lab_drops(dp, WEFT_DROP_FRAGMENT);
	struct lab_tuple t = {CLIENT, VIP, 6000, 53};
	struct lab_frame f;
	int backend;

	weights(dp, 1, 1, 1);
	for (unsigned words = 1; words <= 10; words++) {
		lab_tcp(&f, (struct lab_tuple){CLIENT, VIP, (uint16_t)(6100 + words), 80}, LAB_SYN,
			1);
		lab_options(&f, words);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		assert_true(lab_sums_right(&f));
	}

	lab_udp(&f, t, 800);
	lab_udph(&f)->len = htons(2000);
	lab_fragment(&f, 77, 0, true);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	backend = lab_receiver(&f);
	for (uint16_t offset = 808; offset <= 1616; offset = (uint16_t)(offset + 808)) {
		lab_udp(&f, t, 800); /* its transport header is content here */
		lab_fragment(&f, 77, offset, offset < 1616);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		assert_int_equal(lab_receiver(&f), backend);
		assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.9"));
		assert_int_equal(lab_ip(&f)->daddr, htonl(0x0a120000 + (uint32_t)backend));
		lab_udph(&f)->check = 0; /* only the IP checksum is asked here */
		assert_true(lab_sums_right(&f));
	}
	lab_udp(&f, t, 800);
	lab_fragment(&f, 78, 808, false);
	assert_int_equal(lab_run(dp, &f), LAB_SHOT);
	assert_int_equal(lab_drops(dp, WEFT_DROP_FRAGMENT), lost + 1);
}

static void echo(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t lost = lab_drops(dp, WEFT_DROP_NO_FLOW);
	struct lab_frame f;
	int backend;

	weights(dp, 1, 1, 1);
	lab_echo(&f, (struct lab_tuple){CLIENT, VIP, 700, 0}, 8);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_true(lab_sums_right(&f));
	backend = lab_receiver(&f);
	lab_echo(&f, (struct lab_tuple){(uint32_t)backend, "10.30.1.9", 700, 0}, 0);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr(VIP));
	assert_true(lab_sums_right(&f));
	lab_echo(&f, (struct lab_tuple){(uint32_t)backend, "10.30.1.9", 701, 0}, 0);
	assert_int_equal(lab_run(dp, &f), LAB_SHOT);
	assert_int_equal(lab_drops(dp, WEFT_DROP_NO_FLOW), lost + 1);
}

/* Every policy has its own address, weights and turn, and answers come from the one called. */
static void policies(void **state)
{
	static const char *const vips[] = {"10.30.0.40", "10.30.0.41", "10.30.0.42", "10.30.0.43"};
	struct weft_dp_service s = {.id = SERVICE};
	struct weft_dp *dp = *state;
	struct weft_err err = {0};
	struct lab_frame f;

	for (unsigned p = 1; p < WEFT_DP_POLICIES; p++)
		s.vip[p].s_addr = lab_addr(vips[p]);
	s.vip[WEFT_DP_RR].s_addr = lab_addr(VIP);
	weights(dp, 1, 1, 1);
	assert_int_not_equal(segment(dp, 22000, LAB_SYN, 1), -1);
	assert_int_not_equal(segment(dp, 22000, LAB_ACK, 2), -1);
	assert_int_equal(weft_dp_service_set(dp, &s, &err), 0);
	for (unsigned p = 1; p < WEFT_DP_POLICIES; p++) {
		struct weft_dp_weight w[] = {{1, p == 1}, {2, p == 2}, {3, p == 3}};

		assert_int_equal(weft_dp_service_weights(dp, SERVICE, p, w, 3, &err), 0);
	}
	/* Flows by another address of the service are not disturbed by new ones. */
	assert_int_not_equal(segment(dp, 22000, LAB_ACK, 3), -1);
	for (uint32_t p = 1; p < WEFT_DP_POLICIES; p++) {
		lab_tcp(&f, (struct lab_tuple){CLIENT, vips[p], 22001, 80}, LAB_SYN, 1);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		assert_int_equal(lab_receiver(&f), p);
		lab_tcp(&f, (struct lab_tuple){p, "10.30.1.9", 80, 22001}, LAB_SYN | LAB_ACK, 1);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		assert_int_equal(lab_ip(&f)->saddr, lab_addr(vips[p]));
		assert_true(lab_sums_right(&f));
	}
	/* An address that is withdrawn means nothing; its flows are reset like those of others. */
	lab_service(dp, SERVICE, VIP);
	lab_tcp(&f, (struct lab_tuple){CLIENT, vips[1], 22001, 80}, LAB_ACK, 1);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_true(lab_tcph(&f)->rst);
	lab_tcp(&f, (struct lab_tuple){CLIENT, vips[1], 22001, 80}, LAB_SYN, 1);
	assert_int_equal(lab_run(dp, &f), LAB_SHOT);
	assert_int_equal(segment(dp, 22000, LAB_ACK, 4), -1);
	assert_int_equal(weft_dp_service_weights(dp, SERVICE, WEFT_DP_WRR, NULL, 0, &err), -ENOENT);
	weights(dp, 1, 1, 1);
	assert_int_not_equal(segment(dp, 22002, LAB_SYN, 1), -1);
}

/* Called by its own address an instance answers as that, though it is a backend as well. */
static void instance_address(void **state)
{
	struct weft_dp *dp = *state;
	struct weft_dp_counters before, after, callee, callee_after;
	struct lab_frame f;

	weights(dp, 1, 1, 1);
	weft_dp_service_counters(dp, SERVICE, &before);
	lab_tcp(&f, (struct lab_tuple){CLIENT, "10.30.1.2", 19000, 80}, LAB_SYN, 1);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 2);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.9"));
	assert_true(lab_sums_right(&f));
	lab_tcp(&f, (struct lab_tuple){2, "10.30.1.9", 80, 19000}, LAB_SYN | LAB_ACK, 1);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.2"));
	assert_true(lab_sums_right(&f));
	/* Established, both ways, and each packet counted at the instance that is called. */
	weft_dp_instance_counters(dp, 2, &callee);
	for (uint32_t seq = 2; seq < 40; seq++) {
		lab_tcp(&f, (struct lab_tuple){CLIENT, "10.30.1.2", 19000, 80}, LAB_ACK, seq);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		assert_int_equal(lab_receiver(&f), 2);
		assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.9"));
		assert_true(lab_sums_right(&f));
		lab_tcp(&f, (struct lab_tuple){2, "10.30.1.9", 80, 19000}, LAB_ACK, seq);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		assert_int_equal(lab_receiver(&f), CLIENT);
		assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.2"));
		assert_true(lab_sums_right(&f));
	}
	weft_dp_instance_counters(dp, 2, &callee_after);
	assert_int_equal(callee_after.packets - callee.packets, 38);
	assert_int_equal(callee_after.rx_packets - callee.rx_packets, 38);
	weft_dp_service_counters(dp, SERVICE, &after);
	assert_int_equal(after.packets, before.packets);
	assert_int_equal(after.rx_packets, before.rx_packets);

	/* The same ports by the service afterwards: the newer connection counts. */
	weights(dp, 0, 1, 0);
	assert_int_equal(segment(dp, 19000, LAB_SYN, 1), 2);
	assert_int_equal(answer(dp, 2, 19000, LAB_SYN | LAB_ACK), 0);
	/* And the other way round. */
	lab_tcp(&f, (struct lab_tuple){CLIENT, "10.30.1.2", 19000, 80}, LAB_SYN, 3);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	lab_tcp(&f, (struct lab_tuple){2, "10.30.1.9", 80, 19000}, LAB_SYN | LAB_ACK, 3);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.2"));
	/* A backend may call its client from the port that it serves. */
	assert_int_equal(segment(dp, 19001, LAB_SYN, 1), 2);
	assert_int_equal(answer(dp, 2, 19001, LAB_SYN | LAB_ACK), 0);
	lab_tcp(&f, (struct lab_tuple){2, "10.30.1.9", 80, 19001}, LAB_SYN, 7);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.2"));
	lab_tcp(&f, (struct lab_tuple){CLIENT, "10.30.1.2", 19001, 80}, LAB_SYN | LAB_ACK, 7);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.9"));
}

static void hairpin(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	weights(dp, 1, 0, 0);
	lab_tcp(&f, (struct lab_tuple){1, VIP, 20000, 80}, LAB_SYN, 1);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr("10.30.1.1"));
	assert_int_equal(lab_ip(&f)->daddr, lab_addr("10.18.0.1"));
	lab_tcp(&f, (struct lab_tuple){1, "10.30.1.1", 80, 20000}, LAB_SYN | LAB_ACK, 1);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
	assert_int_equal(lab_ip(&f)->saddr, lab_addr(VIP));
	assert_true(lab_sums_right(&f));
}

/* A removed backend: its segments are reset, datagrams and new connections go elsewhere, also while
 * the weights still name it; and a successor under its id inherits nothing. */
static void instance_gone(void **state)
{
	struct weft_dp *dp = *state;
	struct weft_dp_instance next;
	struct weft_err err = {0};
	struct lab_frame f;

	lab_add(dp, 4, SERVICE);
	weights(dp, 1, 0, 0);
	lab_weights(dp, SERVICE, (struct weft_dp_weight[]){{4, 1}, {1, 1}}, 2);
	for (uint16_t i = 0; i < 2; i++)
		if (segment(dp, (uint16_t)(21000 + i), LAB_SYN, 1) == 4)
			assert_int_equal(segment(dp, (uint16_t)(21000 + i), LAB_ACK, 2), 4);
	assert_int_equal(lab_live(dp, 4), 1);
	assert_int_equal(weft_dp_instance_remove(dp, 4), 0);
	assert_int_equal(weft_dp_instance_remove(dp, 4), 0);
	assert_int_equal(lab_live(dp, 4), 0);
	for (uint16_t i = 0; i < 20; i++)
		assert_int_equal(segment(dp, (uint16_t)(21100 + i), LAB_SYN, 1), 1);
	lab_tcp(&f, (struct lab_tuple){4, VIP, 1, 80}, LAB_SYN, 1);
	assert_int_equal(lab_run(dp, &f), LAB_SHOT);

	next = lab_instance(4, SERVICE);
	next.ns_addr.s_addr = lab_addr("10.18.0.44");
	assert_int_equal(weft_dp_instance_set(dp, &next, &err), 0);
	for (uint16_t i = 0; i < 2; i++)
		assert_int_not_equal(segment(dp, (uint16_t)(21000 + i), LAB_ACK, 3), 4);
	assert_int_equal(weft_dp_instance_remove(dp, 4), 0);
}

/* A word whose backend is no longer valid, met before any sweep removed it. */
static void stale_word(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t unknown = lab_drops(dp, WEFT_DROP_NO_FLOW);
	struct weft_dp_instance inst;
	struct weft_err err = {0};
	struct lab_frame f;

	lab_add(dp, 5, SERVICE + 1);
	lab_service(dp, SERVICE + 1, "10.30.0.2");
	lab_weights(dp, SERVICE + 1, (struct weft_dp_weight[]){{5, 1}}, 1);
	lab_tcp(&f, (struct lab_tuple){CLIENT, "10.30.0.2", 1, 80}, LAB_SYN, 1);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 5);
	/* The answer to a service that has gone has no address to come from. */
	assert_int_equal(weft_dp_service_remove(dp, SERVICE + 1), 0);
	lab_tcp(&f, (struct lab_tuple){5, "10.30.1.9", 80, 1}, LAB_ACK, 1);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 5);
	assert_int_equal(((uint8_t *)lab_tcph(&f))[13], LAB_RST);
	assert_int_equal(lab_drops(dp, WEFT_DROP_NO_FLOW), unknown + 1);
	inst = lab_instance(5, SERVICE);
	assert_int_equal(weft_dp_instance_set(dp, &inst, &err), 0);
	assert_int_equal(weft_dp_instance_remove(dp, 5), 0);
}

/* The first datagrams of a flow may be on two processors at once: both must choose the same
 * backend, which is the one that stays. The threads step through the flows side by side. */
#define RACES 3000

struct racer {
	struct weft_dp *dp;
	unsigned *turn; /* shared: both add 1 when they are ready for the next flow */
	uint8_t chosen[RACES];
};

static int datagram(struct weft_dp *dp, uint16_t sport)
{
	struct lab_frame f;

	lab_udp(&f, (struct lab_tuple){CLIENT, VIP, sport, 99}, 4);
	return lab_run(dp, &f) == LAB_REDIRECT ? lab_receiver(&f) : -1;
}

static void *race(void *arg)
{
	struct racer *r = arg;

	for (unsigned i = 0; i < RACES; i++) {
		__atomic_add_fetch(r->turn, 1, __ATOMIC_ACQ_REL);
		while (__atomic_load_n(r->turn, __ATOMIC_ACQUIRE) < 2 * (i + 1))
			sched_yield();
		r->chosen[i] = (uint8_t)datagram(r->dp, (uint16_t)(40000 + i));
	}
	return NULL;
}

static void two_processors(void **state)
{
	struct weft_dp *dp = *state;
	struct weft_dp_counters before, after;
	struct weft_dp_events ev, ev2;
	static struct racer a, b;
	unsigned turn = 0, lost = 0;
	pthread_t thread;

	weights(dp, 1, 1, 1);
	weft_dp_events(dp, &ev);
	weft_dp_service_counters(dp, SERVICE, &before);
	a = (struct racer){.dp = dp, .turn = &turn};
	b = a;
	assert_int_equal(pthread_create(&thread, NULL, race, &a), 0);
	race(&b);
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (unsigned i = 0; i < RACES; i++)
		assert_int_equal(a.chosen[i], b.chosen[i]);
	weft_dp_service_counters(dp, SERVICE, &after);
	assert_int_equal(after.flows - before.flows, RACES);
	for (unsigned i = 0; i < RACES; i++)
		lost += a.chosen[i] != datagram(dp, (uint16_t)(40000 + i));
	/* A bucket may be full by chance, as the hash has a seed. */
	weft_dp_events(dp, &ev2);
	assert_true(lost <= ev2.displaced - ev.displaced);
}

/* A table far too small: every flow still works while it is used, and displacement is counted. */
static void overflow(void **state)
{
	struct weft_dp *dp = *state;
	struct weft_dp_events ev, ev2;

	weights(dp, 1, 1, 1);
	weft_dp_events(dp, &ev);
	for (uint32_t i = 0; i < 60000; i++) {
		struct lab_frame f;

		lab_udp(&f, (struct lab_tuple){CLIENT, VIP, (uint16_t)i, (uint16_t)(i >> 8)}, 1);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	}
	weft_dp_events(dp, &ev2);
	assert_true(ev2.displaced > ev.displaced);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_flow_and_reply),
		cmocka_unit_test(weighted_shares_are_exact),
		cmocka_unit_test(weights_do_not_move_flows),
		cmocka_unit_test(every_quick_update_holds),
		cmocka_unit_test(no_backend),
		cmocka_unit_test(repeated_syn_stays),
		cmocka_unit_test(closed_port_is_free),
		cmocka_unit_test(life_of_a_connection),
		cmocka_unit_test(both_directions_share_a_state),
		cmocka_unit_test(purge_resets),
		cmocka_unit_test(datagrams),
		cmocka_unit_test(checksums),
		cmocka_unit_test(options_and_fragments),
		cmocka_unit_test(echo),
		cmocka_unit_test(policies),
		cmocka_unit_test(instance_address),
		cmocka_unit_test(hairpin),
		cmocka_unit_test(instance_gone),
		cmocka_unit_test(stale_word),
		cmocka_unit_test(two_processors),
		cmocka_unit_test(overflow),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("flow", tests, setup, teardown);
}
