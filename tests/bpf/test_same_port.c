/* SPDX-License-Identifier: Apache-2.0 */
/* One port of a client that calls a service by two of its addresses: a backend could not tell the
 * flows apart, so each has a backend of its own, or the later one is refused at once; neither ever
 * sees the other's packets. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/dp_lab.h"

#define SERVICE 1
#define OTHER   2
#define CLIENT  9

enum kind { TCP, UDP, ECHO };

/* By round robin, and by weights. */
static const char *const vips[2][2] = {
	{"10.30.0.1", "10.30.0.2"}, {"fdff:2000::1", "fdff:2000::2"}};
static const char *const clients[2] = {"10.30.1.9", "fdff::1:9"};

static int setup(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 65536};
	struct weft_dp_service s = {.id = SERVICE};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	for (unsigned p = WEFT_DP_RR; p <= WEFT_DP_WRR; p++) {
		s.vip[p].s_addr = lab_addr(vips[0][p]);
		s.vip6[p] = lab_addr6(vips[1][p]);
	}
	assert_int_equal(weft_dp_service_set(dp, &s, &err), 0);
	lab_service(dp, OTHER, "10.30.0.9");
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

/* For both addresses. */
static void weights(struct weft_dp *dp, uint32_t a, uint32_t b, uint32_t c)
{
	struct weft_dp_weight w[] = {{1, a}, {2, b}, {3, c}};
	struct weft_err err = {0};

	for (int p = WEFT_DP_RR; p <= WEFT_DP_WRR; p++)
		assert_int_equal(
			weft_dp_service_weights(dp, SERVICE, (enum weft_dp_policy)p, w, 3, &err),
			0);
}

static void build(struct lab_frame *f, enum kind kind, struct lab_tuple t, uint8_t flags, bool back)
{
	bool v6 = strchr(t.daddr, ':');
	uint8_t request = v6 ? 128 : 8, reply = v6 ? 129 : 0;

	if (kind == TCP)
		lab_tcp(f, t, flags, 7);
	else if (kind == UDP)
		lab_udp(f, t, 20);
	else
		lab_echo(f, t, back ? reply : request);
}

static void to_service(
	struct lab_frame *f, enum kind kind, int v6, int policy, uint16_t port, uint8_t flags)
{
	build(f, kind, (struct lab_tuple){CLIENT, vips[v6][policy], port, 80}, flags, false);
}

/* The backend that gets it; 0: it is answered to the client. */
static uint32_t call(
	struct weft_dp *dp, enum kind kind, int v6, int policy, uint16_t port, uint8_t flags)
{
	struct lab_frame f;

	to_service(&f, kind, v6, policy, port, flags);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_true(lab_sums_right(&f));
	return lab_receiver(&f) == CLIENT ? 0 : (uint32_t)lab_receiver(&f);
}

static void answers_as(
	struct weft_dp *dp, enum kind kind, int v6, int policy, uint16_t port, uint32_t backend)
{
	struct lab_tuple t = {backend, clients[v6], 80, port};
	struct lab_frame f;

	if (kind == ECHO)
		t = (struct lab_tuple){backend, clients[v6], port, 0};
	build(&f, kind, t, LAB_SYN | LAB_ACK, true);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
	assert_true(lab_from(&f, vips[v6][policy]));
	assert_true(lab_sums_right(&f));
}

static void each_has_its_own(void **state)
{
	struct weft_dp *dp = *state;
	uint16_t port = 20000;

	weights(dp, 5, 2, 1);
	for (int v6 = 0; v6 < 2; v6++)
		for (enum kind kind = TCP; kind <= ECHO; kind++)
			for (int i = 0; i < 24; i++, port++) {
				uint32_t a = call(dp, kind, v6, i % 2, port, LAB_SYN);
				uint32_t b = call(dp, kind, v6, !(i % 2), port, LAB_SYN);

				assert_true(a && b);
				assert_int_not_equal(a, b);
				answers_as(dp, kind, v6, i % 2, port, a);
				answers_as(dp, kind, v6, !(i % 2), port, b);
				assert_int_equal(call(dp, kind, v6, i % 2, port, LAB_ACK), a);
				assert_int_equal(call(dp, kind, v6, !(i % 2), port, LAB_ACK), b);
			}
}

/* Refused as no backend is: told at once, and counted. */
static void refused(struct weft_dp *dp, enum kind kind, int v6, int policy, uint16_t port)
{
	uint64_t before = lab_drops(dp, WEFT_DROP_PORT_IN_USE);
	struct lab_frame f;

	to_service(&f, kind, v6, policy, port, LAB_SYN);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
	assert_true(lab_from(&f, vips[v6][policy]));
	if (kind == TCP)
		assert_true(lab_tcph(&f)->rst);
	assert_int_equal(lab_drops(dp, WEFT_DROP_PORT_IN_USE), before + 1);
}

static void the_later_one_is_refused(void **state)
{
	struct weft_dp *dp = *state;
	uint16_t port = 30000;

	weights(dp, 1, 0, 0);
	for (int v6 = 0; v6 < 2; v6++)
		for (enum kind kind = TCP; kind <= ECHO; kind++, port++) {
			assert_int_equal(call(dp, kind, v6, 0, port, LAB_SYN), 1);
			refused(dp, kind, v6, 1, port);
			answers_as(dp, kind, v6, 0, port, 1);
			refused(dp, kind, v6, 1, port);
			assert_int_equal(call(dp, kind, v6, 0, port, LAB_ACK), 1);
			answers_as(dp, kind, v6, 0, port, 1);
			/* Another port is free. */
			assert_int_equal(call(dp, kind, v6, 1, port + 100, LAB_SYN), 1);
		}
}

/* A connection that has ended holds nothing, nor one of a backend that was purged. */
static void free_again(void **state)
{
	struct weft_dp *dp = *state;

	weights(dp, 1, 0, 0);
	assert_int_equal(call(dp, TCP, 0, 0, 40000, LAB_SYN), 1);
	refused(dp, TCP, 0, 1, 40000);
	assert_int_equal(call(dp, TCP, 0, 0, 40000, LAB_RST | LAB_ACK), 1);
	assert_int_equal(call(dp, TCP, 0, 1, 40000, LAB_SYN), 1);
	answers_as(dp, TCP, 0, 1, 40000, 1);

	assert_int_equal(call(dp, UDP, 1, 0, 40001, 0), 1);
	refused(dp, UDP, 1, 1, 40001);
	assert_int_equal(weft_dp_flows_purge(dp, 1), 0);
	assert_int_equal(call(dp, UDP, 1, 1, 40001, 0), 1);
	answers_as(dp, UDP, 1, 1, 40001, 1);
}

/* By the same address again it is the same port's next flow, not another one's. */
static void opened_anew(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f;

	weights(dp, 1, 0, 0);
	assert_int_equal(call(dp, TCP, 0, 0, 41000, LAB_SYN), 1);
	lab_tcp(&f, (struct lab_tuple){CLIENT, vips[0][0], 41000, 80}, LAB_SYN, 12345);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), 1);
}

/* Two services never share a backend. */
static void of_one_service_only(void **state)
{
	struct weft_dp_weight w = {1, 1};
	struct weft_err err = {0};

	assert_int_equal(weft_dp_service_weights(*state, OTHER, WEFT_DP_RR, &w, 1, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_has_its_own),
		cmocka_unit_test(the_later_one_is_refused),
		cmocka_unit_test(free_again),
		cmocka_unit_test(opened_anew),
		cmocka_unit_test(of_one_service_only),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("same_port", tests, setup, teardown);
}
