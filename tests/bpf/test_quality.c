/* SPDX-License-Identifier: Apache-2.0 */
/* What is counted of how well a backend does: connections, resets, and how long requests take. */
#include <arpa/inet.h>
#include <linux/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/dp_lab.h"

#define VIP     "10.30.0.1"
#define VIP6    "fdff:2000::1"
#define SERVICE 3
#define BACKEND 1
#define CLIENT  9
#define DATA    11 /* bytes that the lab's segments carry */

static int setup(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS};
	struct weft_dp_weight w = {BACKEND, 1};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	lab_service46(dp, SERVICE, VIP, VIP6);
	lab_add(dp, BACKEND, SERVICE);
	lab_add(dp, CLIENT, 0);
	lab_weights(dp, SERVICE, &w, 1);
	*state = dp;
	return 0;
}

static int teardown(void **state)
{
	weft_dp_free(*state);
	return weft_dp_destroy(LAB_PINS, NULL);
}

static struct weft_quality quality(struct weft_dp *dp)
{
	struct weft_quality q;

	assert_int_equal(weft_dp_instance_quality(dp, BACKEND, &q), 0);
	return q;
}

static void client(struct weft_dp *dp, const char *vip, uint16_t port, uint8_t flags, uint32_t seq)
{
	struct lab_frame f;

	lab_tcp(&f, (struct lab_tuple){CLIENT, vip, port, 80}, flags, seq);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), BACKEND);
}

static void backend(struct weft_dp *dp, const char *to, uint16_t port, uint8_t flags, uint32_t ack)
{
	struct lab_frame f;

	lab_tcp(&f, (struct lab_tuple){BACKEND, to, 80, port}, flags, 5);
	lab_tcph(&f)->ack_seq = htonl(ack);
	lab_check_tcp(&f);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), CLIENT);
}

static const struct family {
	const char *vip, *client;
} families[] = {{VIP, "10.30.1.9"}, {VIP6, "fdff::1:9"}};

static void connect_to(struct weft_dp *dp, const struct family *a, uint16_t port)
{
	client(dp, a->vip, port, LAB_SYN, 0);
	backend(dp, a->client, port, LAB_SYN | LAB_ACK, 1);
	client(dp, a->vip, port, LAB_ACK, 1);
}

static void connections(void **state)
{
	struct weft_dp *dp = *state;

	for (unsigned i = 0; i < 2; i++) {
		const struct family *a = &families[i];
		struct weft_quality b = quality(dp), q;
		uint16_t port = (uint16_t)(1000 + 100 * i);

		connect_to(dp, a, port);
		client(dp, a->vip, port + 1, LAB_SYN, 0); /* not answered */
		client(dp, a->vip, port + 1, LAB_SYN, 0);
		client(dp, a->vip, port + 2, LAB_SYN, 0);
		backend(dp, a->client, port + 2, LAB_RST | LAB_ACK, 1);
		q = quality(dp);
		assert_int_equal(q.opened - b.opened, 3);
		assert_int_equal(q.accepted - b.accepted, 1);
		assert_int_equal(q.refused - b.refused, 1);
		assert_int_equal(q.resets - b.resets, 0);
	}
}

/* One that comes when the client has gone away already hurts nobody. */
static void resets(void **state)
{
	struct weft_dp *dp = *state;

	for (unsigned i = 0; i < 2; i++) {
		const struct family *a = &families[i];
		struct weft_quality b = quality(dp), q;
		uint16_t port = (uint16_t)(2000 + 100 * i);

		connect_to(dp, a, port);
		backend(dp, a->client, port, LAB_RST, 1);
		connect_to(dp, a, port + 1);
		backend(dp, a->client, port + 1, LAB_FIN | LAB_ACK, 1);
		backend(dp, a->client, port + 1, LAB_RST, 1);
		connect_to(dp, a, port + 2);
		client(dp, a->vip, port + 2, LAB_FIN | LAB_ACK, 1);
		backend(dp, a->client, port + 2, LAB_RST, 1);
		connect_to(dp, a, port + 3);
		client(dp, a->vip, port + 3, LAB_RST, 1);
		q = quality(dp);
		assert_int_equal(q.resets - b.resets, 2);
		assert_int_equal(q.refused - b.refused, 0);
	}
}

static uint64_t timed(const struct weft_quality *q)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < WEFT_LATENCY_BUCKETS; i++)
		n += q->latency[i];
	return n;
}

/* Some requests are timed, whatever connection they come by, and each once. */
static void latency(void **state)
{
	enum { REQUESTS = 1600 };
	struct weft_dp *dp = *state;

	for (unsigned i = 0; i < 2; i++) {
		const struct family *a = &families[i];
		struct weft_quality b = quality(dp), q;
		uint16_t port = (uint16_t)(3000 + 100 * i);
		uint32_t seq = 1;

		connect_to(dp, a, port);
		for (unsigned n = 0; n < REQUESTS; n++) {
			client(dp, a->vip, port, LAB_ACK, seq);
			client(dp, a->vip, port, LAB_ACK, seq); /* again */
			seq += DATA;
			backend(dp, a->client, port, LAB_ACK, seq);
			backend(dp, a->client, port, LAB_ACK, seq); /* more of it */
		}
		q = quality(dp);
		assert_in_range(
			q.asked - b.asked, REQUESTS / WEFT_SAMPLE / 2, REQUESTS / WEFT_SAMPLE * 2);
		assert_int_equal(q.answered - b.answered, q.asked - b.asked);
		assert_int_equal(timed(&q) - timed(&b), q.answered - b.answered);
	}
}

static void buckets(void **state)
{
	(void)state;
	assert_int_equal(weft_latency_bucket(0), 0);
	assert_int_equal(weft_latency_bucket(UINT64_MAX), WEFT_LATENCY_BUCKETS - 1);
	assert_int_equal(weft_latency_from(0), 1024);
	for (uint32_t i = 0; i < WEFT_LATENCY_BUCKETS; i++) {
		assert_int_equal(weft_latency_bucket(weft_latency_from(i)), i);
		assert_int_equal(weft_latency_bucket(weft_latency_from(i + 1) - 1), i);
	}
}

/* Whoever holds an id next begins anew. */
static void forgotten(void **state)
{
	struct weft_dp *dp = *state;
	struct weft_dp_instance inst = lab_instance(BACKEND, SERVICE);
	struct weft_quality q, none = {0};
	struct weft_err err = {0};

	assert_int_equal(weft_dp_instance_remove(dp, BACKEND), 0);
	if (weft_dp_instance_set(dp, &inst, &err) < 0)
		fail_msg("%s", err.msg);
	q = quality(dp);
	assert_memory_equal(&q, &none, sizeof(q));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connections),
		cmocka_unit_test(resets),
		cmocka_unit_test(latency),
		cmocka_unit_test(buckets),
		cmocka_unit_test(forgotten),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("quality", tests, setup, teardown);
}
