/* SPDX-License-Identifier: Apache-2.0 */
/* Rooms in the pool of slots. A service has one for each policy that it has backends by: two
 * halves, of which packets read one while the next sequence is written to the other, so that a
 * change is a single store. Sizes are powers of two and rooms lie at multiples of theirs; what is
 * free is known by the rooms alone, which are a map and outlive us.
 *
 * A sequence that outgrows its room moves to a larger one: two stores, between which a daemon may
 * be killed. The directory word is right at any moment, so the next one brings the room after it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

#define UNIT  (2U * WEFT_ROOM_MIN) /* slots of the smallest room */
#define UNITS (WEFT_SLOT_POOL / UNIT)

/* A room so much too large is given back. */
#define WASTE      8U
#define WASTE_FROM 1024U

_Static_assert(UNITS % 64 == 0, "whole words of bits");
_Static_assert(WEFT_SLOTS_MAX % WEFT_ROOM_MIN == 0 && WEFT_SLOT_POOL % (2 * WEFT_SLOTS_MAX) == 0,
	"rooms of every size fit");

static uint32_t room_units(union weft_room room)
{
	return room.size * 2 / UNIT;
}

/* used: a bit for each of the smallest rooms. */
static void mark(uint64_t *used, union weft_room room, bool is_used)
{
	uint32_t n = room_units(room), at = room.first / UNIT;
	uint64_t mask = n < 64 ? ((1ULL << n) - 1) << at % 64 : ~0ULL;

	for (uint32_t w = at / 64; w <= (at + n - 1) / 64; w++)
		if (is_used)
			used[w] |= mask;
		else
			used[w] &= ~mask;
}

static uint64_t taken(const struct weft_dp *dp, uint32_t word)
{
	return dp->slots_used[word] | dp->slots_given_back[word];
}

static bool free_at(const struct weft_dp *dp, uint32_t at, uint32_t n)
{
	if (n < 64)
		return !(taken(dp, at / 64) >> at % 64 & ((1ULL << n) - 1));
	for (uint32_t w = at / 64; w < (at + n) / 64; w++)
		if (taken(dp, w))
			return false;
	return true;
}

static int find(const struct weft_dp *dp, union weft_room *ret, uint32_t size)
{
	union weft_room room = {.size = size};
	uint32_t n = room_units(room);

	for (uint32_t at = 0; at < UNITS; at += n) {
		if (at % 64 == 0 && n < 64 && taken(dp, at / 64) == ~0ULL) {
			at += 64 - n;
			continue;
		}
		if (free_at(dp, at, n)) {
			room.first = at * UNIT;
			*ret = room;
			return 0;
		}
	}
	return -ENOSPC;
}

static uint32_t size_for(uint16_t length)
{
	uint32_t size = WEFT_ROOM_MIN;

	while (size < length)
		size *= 2;
	return size;
}

/* A single store: never half of one room and half of another. */
static void enter(struct weft_dp *dp, uint32_t key, union weft_room room)
{
	__atomic_store_n(&dp->rooms[key].word, room.word, __ATOMIC_RELEASE);
}

static void turn_to(struct weft_dp *dp, uint32_t key, uint32_t first, uint16_t length)
{
	uint16_t generation = (uint16_t)(weft_slot_generation(dp->slot_dir[key]) + 1);

	__atomic_store_n(
		&dp->slot_dir[key], weft_slot_word(generation, length, first), __ATOMIC_RELEASE);
	dp->flipped_ns[key] = weft_now_ns();
}

static void give_back(struct weft_dp *dp, union weft_room room)
{
	if (!room.size)
		return;
	mark(dp->slots_used, room, false);
	mark(dp->slots_given_back, room, true);
	dp->freed_ns = weft_now_ns();
}

/* What was given back can be had again. */
static void nobody_reads_them(struct weft_dp *dp)
{
	memset(dp->slots_given_back, 0, UNITS / 8);
}

/* A room that no packet reads any more; if it can be, one that did not have to be waited for. */
static int find_quiet(struct weft_dp *dp, union weft_room *ret, uint32_t size)
{
	if (dp_grace_over(dp, dp->freed_ns))
		nobody_reads_them(dp);
	dp_grace(dp, 0);
	if (find(dp, ret, size) == 0)
		return 0;
	dp_grace(dp, dp->freed_ns);
	nobody_reads_them(dp);
	return find(dp, ret, size);
}

/* The order of the two stores leaves the larger room noted if we are killed in between. */
static int move(struct weft_dp *dp, uint32_t key, const uint16_t *ids, uint16_t length)
{
	union weft_room old = dp->rooms[key], next;
	int r = find_quiet(dp, &next, size_for(length));

	if (r < 0)
		return r;
	mark(dp->slots_used, next, true);
	memcpy(dp->slots + next.first, ids, length * sizeof(*ids));
	if (next.size > old.size)
		enter(dp, key, next);
	turn_to(dp, key, next.first, length);
	enter(dp, key, next);
	give_back(dp, old);
	return 0;
}

int dp_slots_flip(struct weft_dp *dp, uint32_t key, const uint16_t *ids, uint16_t length)
{
	union weft_room room = dp->rooms[key];
	uint32_t base;

	if (!length) {
		if (weft_slot_length(dp->slot_dir[key]))
			turn_to(dp, key, 0, 0);
		enter(dp, key, (union weft_room){.word = 0});
		give_back(dp, room);
		return 0;
	}
	if (room.size < length || (room.size > WASTE_FROM && size_for(length) * WASTE <= room.size))
		return move(dp, key, ids, length);
	base = (uint32_t)dp->slot_dir[key] == room.first ? room.first + room.size : room.first;
	/* Packets of before the last flip may still be reading this half. */
	dp_grace(dp, dp->flipped_ns[key]);
	memcpy(dp->slots + base, ids, length * sizeof(*ids));
	turn_to(dp, key, base, length);
	return 0;
}

static bool room_valid(union weft_room room)
{
	return room.size >= WEFT_ROOM_MIN && room.size <= WEFT_SLOTS_MAX &&
	       (room.size & (room.size - 1)) == 0 && room.first % (room.size * 2) == 0 &&
	       room.first <= WEFT_SLOT_POOL - room.size * 2;
}

/* Bring the sequence in use into the room that is noted, if it is elsewhere. */
static void repair(struct weft_dp *dp, uint32_t key)
{
	union weft_room room = dp->rooms[key];
	uint64_t word = dp->slot_dir[key];
	uint32_t first = (uint32_t)word;
	uint16_t length = weft_slot_length(word);

	if (length > room.size || first > WEFT_SLOT_POOL - length) {
		turn_to(dp, key, 0, 0);
		return;
	}
	if (!length || first == room.first || first == room.first + room.size)
		return;
	memcpy(dp->slots + room.first, dp->slots + first, length * sizeof(*dp->slots));
	turn_to(dp, key, room.first, length);
}

int dp_slots_open(struct weft_dp *dp)
{
	dp->slots_used = calloc(UNITS / 64, sizeof(*dp->slots_used));
	dp->slots_given_back = calloc(UNITS / 64, sizeof(*dp->slots_given_back));
	if (!dp->slots_used || !dp->slots_given_back)
		return -ENOMEM;
	for (uint32_t key = 0; key < WEFT_MAX_SERVICES * WEFT_POLICIES; key++) {
		union weft_room *room = &dp->rooms[key];

		if (room->size &&
			(!room_valid(*room) || !free_at(dp, room->first / UNIT, room_units(*room))))
			enter(dp, key, (union weft_room){.word = 0});
		if (room->size)
			mark(dp->slots_used, *room, true);
	}
	for (uint32_t key = 0; key < WEFT_MAX_SERVICES * WEFT_POLICIES; key++)
		repair(dp, key);
	return 0;
}
