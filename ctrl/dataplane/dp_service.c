/* SPDX-License-Identifier: Apache-2.0 */
/* Services: address and weights. A weight vector becomes a sequence of slots in the half of the
 * service's table that no packet reads, and one store of the directory word turns to it. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

static bool id_valid(uint32_t id)
{
	return id > 0 && id < WEFT_MAX_SERVICES;
}

static int check_service(struct weft_dp *dp, uint32_t id, struct in_addr vip, struct weft_err *err)
{
	char addr[INET_ADDRSTRLEN];
	uint32_t target = 0;

	if (!id_valid(id))
		return weft_err_set(
			err, EINVAL, "service id %u is not in 1..%u", id, WEFT_MAX_SERVICES - 1);
	inet_ntop(AF_INET, &vip, addr, sizeof(addr));
	if (!dp_semantic(vip))
		return weft_err_set(
			err, EINVAL, "service %u: %s is not in the semantic range", id, addr);
	dp_target_get(dp, vip, &target);
	if (target && target != WEFT_TARGET(WEFT_TARGET_SERVICE, id))
		return weft_err_set(err, EEXIST, "service %u: address %s is %s %u's", id, addr,
			WEFT_TARGET_KIND(target) == WEFT_TARGET_SERVICE ? "service" : "instance",
			WEFT_TARGET_ID(target));
	return 0;
}

int weft_dp_service_set(struct weft_dp *dp, uint32_t id, struct in_addr vip, struct weft_err *err)
{
	uint32_t target = WEFT_TARGET(WEFT_TARGET_SERVICE, id);
	struct in_addr old;
	int r;

	r = check_service(dp, id, vip, err);
	if (r < 0)
		return r;
	old.s_addr = dp->services[id].vip;
	if (!old.s_addr)
		dp_stats_reset(bpf_map__fd(dp->skel->maps.service_stats), id);
	else if (old.s_addr != vip.s_addr)
		dp_target_clear(dp, old, target);
	__atomic_store_n(&dp->services[id].vip, vip.s_addr, __ATOMIC_RELEASE);
	r = dp_target_set(dp, vip, target);
	if (r < 0) {
		errno = -r;
		return weft_err_set(err, r, "service %u: entering its address: %m", id);
	}
	return 0;
}

static int check_weights(struct weft_dp *dp, uint32_t id, const struct weft_dp_weight *w,
	unsigned n, struct weft_err *err)
{
	bool seen[WEFT_MAX_INSTANCES] = {0};

	if (!id_valid(id) || !dp->services[id].vip)
		return weft_err_set(err, ENOENT, "service %u is not in the data plane", id);
	for (unsigned i = 0; i < n; i++) {
		uint32_t inst = w[i].instance;

		if (inst == 0 || inst >= WEFT_MAX_INSTANCES || !dp->instances[inst].active)
			return weft_err_set(err, ENOENT,
				"service %u: instance %u is not in the data plane", id, inst);
		if (dp->instances[inst].service != id)
			return weft_err_set(err, EINVAL,
				"service %u: instance %u is a backend of service %u", id, inst,
				dp->instances[inst].service);
		if (w[i].weight > WEFT_DP_MAX_WEIGHT)
			return weft_err_set(err, EINVAL,
				"service %u: instance %u: weight %u is above %u", id, inst,
				w[i].weight, WEFT_DP_MAX_WEIGHT);
		if (seen[inst])
			return weft_err_set(
				err, EINVAL, "service %u: instance %u has two weights", id, inst);
		seen[inst] = true;
	}
	return 0;
}

/* Weights whose period exceeds the table, scaled down to it: each keeps a slot at least, and no
 * share is off by more than one slot in WEFT_SLOTS. */
static int sequence_scaled(const struct weft_dp_weight *w, unsigned n, uint16_t *ret)
{
	_cleanup_(freep) struct weft_dp_weight *scaled = calloc(n, sizeof(*scaled));
	uint64_t sum = 0, free_slots = WEFT_SLOTS;

	if (!scaled)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		sum += w[i].weight;
		free_slots -= w[i].weight > 0;
	}
	for (unsigned i = 0; i < n; i++)
		if (w[i].weight)
			scaled[i].weight = (uint32_t)(1 + w[i].weight * free_slots / sum);
	return weft_dp_swrr(scaled, n, ret, WEFT_SLOTS);
}

/* Slots of w as instance ids. */
static int sequence(const struct weft_dp_weight *w, unsigned n, uint16_t *ret)
{
	int length = weft_dp_swrr(w, n, ret, WEFT_SLOTS);

	if (length == -E2BIG)
		length = sequence_scaled(w, n, ret);
	for (int i = 0; i < length; i++)
		ret[i] = (uint16_t)w[ret[i]].instance;
	return length;
}

static void flip(struct weft_dp *dp, uint32_t id, const uint16_t *ids, uint16_t length)
{
	uint64_t word = dp->slot_dir[id];
	uint32_t base = (uint32_t)word ? 0 : WEFT_SLOTS;
	uint16_t *half = dp->slots[id].id + base;

	/* Packets of before the last flip may still be reading this half. */
	dp_grace(dp, dp->flipped_ns[id]);
	memcpy(half, ids, length * sizeof(*ids));
	word = weft_slot_word((uint16_t)(weft_slot_generation(word) + 1), length, base);
	__atomic_store_n(&dp->slot_dir[id], word, __ATOMIC_RELEASE);
	dp->flipped_ns[id] = weft_now_ns();
}

int weft_dp_service_weights(struct weft_dp *dp, uint32_t id, const struct weft_dp_weight *w,
	unsigned n, struct weft_err *err)
{
	uint16_t ids[WEFT_SLOTS];
	uint64_t word;
	int length;

	length = check_weights(dp, id, w, n, err);
	if (length < 0)
		return length;
	length = sequence(w, n, ids);
	if (length < 0)
		return weft_err_set(err, length, "service %u: out of memory", id);
	word = dp->slot_dir[id];
	if (weft_slot_length(word) == length &&
		memcmp(dp->slots[id].id + (uint32_t)word, ids, (size_t)length * sizeof(*ids)) == 0)
		return 0;
	flip(dp, id, ids, (uint16_t)length);
	return 0;
}

int weft_dp_service_remove(struct weft_dp *dp, uint32_t id)
{
	struct in_addr vip;

	if (!id_valid(id))
		return -EINVAL;
	vip.s_addr = dp->services[id].vip;
	if (!vip.s_addr)
		return 0;
	dp_target_clear(dp, vip, WEFT_TARGET(WEFT_TARGET_SERVICE, id));
	flip(dp, id, (const uint16_t[1]){0}, 0);
	__atomic_store_n(&dp->services[id].vip, 0, __ATOMIC_RELEASE);
	return 0;
}
