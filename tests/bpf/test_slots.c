/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of slots, and how much fits: rooms that grow and shrink, a daemon killed in between, a
 * full pool; ten thousand services, a thousand backends of one. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/dataplane/dp.h"
#include "tests/lib/dp_lab.h"

#define VIP     "10.30.0.1"
#define SERVICE 1
#define CLIENT  9
#define KEY     weft_service_policy(SERVICE, WEFT_POLICY_RR)

static struct weft_dp *dp;
static uint16_t next_port;

static void reopen(void)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 1 << 18};
	struct weft_err err = {0};

	weft_dp_free(dp);
	dp = NULL;
	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
}

static int setup(void **state)
{
	(void)state;
	reopen();
	lab_service(dp, SERVICE, VIP);
	for (uint32_t n = 1; n <= 3; n++)
		lab_add(dp, n, SERVICE);
	lab_add(dp, CLIENT, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	weft_dp_free(dp);
	return weft_dp_destroy(LAB_PINS, NULL);
}

static int call(const char *vip)
{
	struct lab_frame f;

	lab_tcp(&f, (struct lab_tuple){CLIENT, vip, next_port++, 80}, LAB_SYN, next_port);
	return lab_run(dp, &f) == LAB_REDIRECT ? lab_receiver(&f) : -1;
}

/* Two backends, whose sequence has that length. */
static void set_length(uint32_t length)
{
	struct weft_dp_weight w[] = {{1, length / 2}, {2, length - length / 2}, {3, 0}};

	lab_weights(dp, SERVICE, w, 3);
	assert_int_equal(weft_slot_length(dp->slot_dir[KEY]), length);
}

static void has_length(uint32_t length)
{
	unsigned got[4] = {0};

	for (uint32_t i = 0; i < length; i++)
		got[call(VIP)]++;
	assert_int_equal(got[1], length / 2);
	assert_int_equal(got[2], length - length / 2);
}

static void rooms_fit(void **state)
{
	static const uint32_t lengths[] = {1, 3, 5, 9, 101, 999, 1999, 17, 1001, 1, 63};

	(void)state;
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		set_length(lengths[i]);
		assert_in_range(dp->rooms[KEY].size, lengths[i], WEFT_SLOTS_MAX);
		assert_int_equal(dp->rooms[KEY].first % (2 * dp->rooms[KEY].size), 0);
		has_length(lengths[i]);
	}
	/* What is far too large was given back. */
	set_length(1999);
	set_length(1);
	assert_int_equal(dp->rooms[KEY].size, WEFT_ROOM_MIN);
	lab_weights(dp, SERVICE, NULL, 0);
	assert_int_equal(dp->rooms[KEY].size, 0);
	assert_int_equal(call(VIP), -1);
}

/* A move has two stores; see what the next daemon makes of one alone. */
static void killed_while_it_moved(void **state)
{
	union weft_room moved = {.first = WEFT_SLOT_POOL / 2, .size = 128};

	(void)state;
	set_length(101);

	dp->rooms[KEY] = moved; /* growing: the room first */
	reopen();
	assert_int_equal(dp->rooms[KEY].first, moved.first);
	assert_int_equal((uint32_t)dp->slot_dir[KEY], moved.first);
	has_length(101);

	dp->rooms[KEY] = (union weft_room){.first = 0, .size = 2048}; /* shrinking: it comes last */
	reopen();
	assert_int_equal((uint32_t)dp->slot_dir[KEY], 0);
	has_length(101);
	set_length(7);
	has_length(7);

	/* Nonsense is no harm. */
	dp->rooms[KEY] = (union weft_room){.first = 3, .size = 77};
	dp->slot_dir[KEY] = weft_slot_word(1, 60000, WEFT_SLOT_POOL - 1);
	reopen();
	assert_int_equal(call(VIP), -1);
	set_length(5);
	has_length(5);
}

/* Do the rooms of all services overlap, or lie elsewhere than their sequences? */
static void rooms_are_sound(void)
{
	static uint8_t used[WEFT_SLOT_POOL / WEFT_ROOM_MIN];

	memset(used, 0, sizeof(used));
	for (uint32_t key = 0; key < WEFT_MAX_SERVICES * WEFT_POLICIES; key++) {
		union weft_room r = dp->rooms[key];
		uint32_t first = (uint32_t)dp->slot_dir[key];

		for (uint32_t at = r.first; at < r.first + 2 * r.size; at += WEFT_ROOM_MIN)
			assert_int_equal(used[at / WEFT_ROOM_MIN]++, 0);
		if (weft_slot_length(dp->slot_dir[key]))
			assert_true(first == r.first || first == r.first + r.size);
	}
}

static void rooms_never_overlap(void **state)
{
	static const uint16_t ids[WEFT_SLOTS_MAX] = {1};

	(void)state;
	srand(4711);
	for (int i = 0; i < 30000; i++) {
		uint32_t key = 100 + (uint32_t)rand() % 3000;
		uint16_t length = (uint16_t)((uint32_t)rand() % (1U << rand() % 14));
		int r;

		dp->freed_ns = 0; /* nobody reads them: no need to wait */
		dp->flipped_ns[key] = 0;
		dp->opened_ns = 0;
		r = dp_slots_flip(dp, key, ids, length);
		assert_true(r == 0 || r == -ENOSPC);
		if (r == 0)
			assert_int_equal(weft_slot_length(dp->slot_dir[key]), length);
		if (i % 10000 == 0)
			rooms_are_sound();
	}
	rooms_are_sound();
	reopen();
	rooms_are_sound();
	for (uint32_t key = 100; key < 3100; key++)
		assert_int_equal(dp_slots_flip(dp, key, NULL, 0), 0);
}

/* A thousand services outgrow their rooms in a row: each takes a room that nobody has had, and not
 * what the one before has just given back, which would have to be waited for. */
static void moves_do_not_wait(void **state)
{
	enum {
		FIRST = 100,
		LAST = 1100,
		LONG = 100,
	};
	static const uint16_t ids[LONG] = {1};
	uint64_t before;

	(void)state;
	reopen();
	dp->opened_ns = 0;
	for (uint32_t key = FIRST; key < LAST; key++)
		assert_int_equal(dp_slots_flip(dp, key, ids, 2), 0);
	before = dp->grace_ns;
	for (uint32_t key = FIRST; key < LAST; key++)
		assert_int_equal(dp_slots_flip(dp, key, ids, LONG), 0);
	assert_int_equal(dp->grace_ns, before);
	rooms_are_sound();
	for (uint32_t key = FIRST; key < LAST; key++)
		assert_int_equal(dp_slots_flip(dp, key, NULL, 0), 0);
}

static struct weft_dp_service service(uint32_t id)
{
	return (struct weft_dp_service){
		.id = id,
		.vip[WEFT_DP_RR].s_addr = htonl(0x0a1e2000 + id),
		.vip6[WEFT_DP_RR].s6_addr = {0xfd, 0xff,
			0x20, [14] = (uint8_t)(id >> 8), [15] = (uint8_t)id},
	};
}

/* A backend that has no device of its own, entered as the calls would do it. */
static void backend(uint32_t id, uint32_t of)
{
	dp->instances[id] = (struct weft_bpf_instance){
		.ns_addr = htonl(0x0a120000 + id),
		.inst_addr = htonl(0x0a1e8000 + id),
		.ifindex = lab_instance(1, 0).ifindex,
		.service = (uint16_t)of,
		.active = 1,
		.epoch = 1000000 + id,
		.mac = {2, 0, 0, 0, (uint8_t)(id >> 8), (uint8_t)id},
	};
}

static void pool_is_full(void **state)
{
	struct weft_dp_weight w[] = {{100, 1000}, {101, 999}};
	struct weft_err err = {0};
	uint32_t id = 2;
	int r = 0;

	(void)state;
	set_length(3);
	for (; id < 2000 && r == 0; id++) {
		const struct weft_dp_service s = service(id);

		backend(100, id);
		backend(101, id);
		assert_int_equal(weft_dp_service_set(dp, &s, &err), 0);
		r = weft_dp_service_weights(dp, id, WEFT_DP_RR, w, 2, &err);
	}
	assert_int_equal(r, -ENOSPC);
	assert_in_range(id, WEFT_SLOT_POOL / 4096, WEFT_SLOT_POOL / 4096 + 3);
	assert_non_null(strstr(err.msg, "no room"));
	assert_true(err.hint[0]);
	/* Others are as they were, also those that change within their room. */
	has_length(3);
	set_length(1);
	has_length(1);
	/* Room that is given back can be had. */
	id--;
	assert_int_equal(weft_dp_service_remove(dp, 2), 0);
	assert_int_equal(weft_dp_service_weights(dp, id, WEFT_DP_RR, w, 2, &err), 0);
	for (; id > 2; id--)
		assert_int_equal(weft_dp_service_remove(dp, id), 0);
	rooms_are_sound();
}

static void ten_thousand_services(void **state)
{
	char vip[INET_ADDRSTRLEN];
	struct weft_err err = {0};

	(void)state;
	for (uint32_t id = 2; id <= 10001; id++) {
		struct weft_dp_weight w[] = {{3000 + id, 1}};
		const struct weft_dp_service s = service(id);

		backend(3000 + id, id);
		assert_int_equal(weft_dp_service_set(dp, &s, &err), 0);
		assert_int_equal(weft_dp_service_weights(dp, id, WEFT_DP_RR, w, 1, &err), 0);
	}
	rooms_are_sound();
	for (uint32_t id = 2; id <= 10001; id += 7) {
		const struct weft_dp_service s = service(id);

		inet_ntop(AF_INET, &s.vip[WEFT_DP_RR], vip, sizeof(vip));
		assert_int_equal(call(vip), 3000 + id);
	}
	for (uint32_t id = 2; id <= 10001; id++) {
		assert_int_equal(weft_dp_service_remove(dp, id), 0);
		dp->instances[3000 + id].active = 0;
	}
}

static void thousand_backends(void **state)
{
	static struct weft_dp_weight w[1000];
	static uint8_t got[2000];
	struct weft_dp_service s = service(2);
	char vip[INET_ADDRSTRLEN];
	struct weft_err err = {0};

	(void)state;
	assert_int_equal(weft_dp_service_set(dp, &s, &err), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		backend(1000 + i, 2);
		w[i] = (struct weft_dp_weight){1000 + i, 1};
	}
	inet_ntop(AF_INET, &s.vip[WEFT_DP_RR], vip, sizeof(vip));
	for (uint32_t rest = 1; rest <= 2; rest++) {
		/* The second time every other has twice the weight. */
		for (uint32_t i = 0; i < 1000; i += 2)
			w[i].weight = rest;
		assert_int_equal(weft_dp_service_weights(dp, 2, WEFT_DP_RR, w, 1000, &err), 0);
		memset(got, 0, sizeof(got));
		for (uint32_t i = 0; i < 500 * (1 + rest); i++)
			got[call(vip)]++;
		for (uint32_t i = 0; i < 1000; i++)
			assert_int_equal(got[1000 + i], w[i].weight);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rooms_fit),
		cmocka_unit_test(killed_while_it_moved),
		cmocka_unit_test(rooms_never_overlap),
		cmocka_unit_test(moves_do_not_wait),
		cmocka_unit_test(pool_is_full),
		cmocka_unit_test(ten_thousand_services),
		cmocka_unit_test(thousand_backends),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("slots", tests, setup, teardown);
}
