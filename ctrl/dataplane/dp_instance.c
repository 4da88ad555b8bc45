/* SPDX-License-Identifier: Apache-2.0 */
/* Instances: identity, addresses, attachment.
 *
 * An instance is known to packets through its device, its semantic and its namespace addresses. A
 * change of identity takes the old one out of sight (active = 0), waits until no packet is still
 * being handled with it, writes the new one, enters it under its addresses, and only then brings it
 * in sight; a daemon that is killed in between leaves an inactive instance, which the next one sets
 * again, and entries that name it, which count for nothing. What it had attached by then is found
 * by its pin or, where there is none, by announce(). */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

_Static_assert((int)WEFT_DEVICE_PEER == (int)WEFT_DP_DEV_PEER, "one enum");
_Static_assert((int)WEFT_DEVICE_DIRECT == (int)WEFT_DP_DEV_DIRECT, "one enum");
_Static_assert((int)WEFT_DEVICE_HOST == (int)WEFT_DP_DEV_HOST, "one enum");
_Static_assert((int)WEFT_DEVICE_REMOTE == (int)WEFT_DP_DEV_REMOTE, "one enum");

static struct in6_addr addr6(const __be32 words[4])
{
	struct in6_addr addr;

	memcpy(&addr, words, sizeof(addr));
	return addr;
}

/* --- devices and namespace addresses --- */

static bool device_held(struct weft_dp *dp, uint64_t entry)
{
	uint32_t id = (uint32_t)entry;

	return id < WEFT_MAX_INSTANCES && dp->instances[id].active &&
	       dp->instances[id].ifindex == entry >> 32;
}

static uint64_t *device_place(struct weft_dp *dp, uint32_t ifindex, bool free_too)
{
	uint64_t *empty = NULL;

	for (uint32_t i = 0; i < WEFT_DEV_PROBES; i++) {
		uint64_t *place = &dp->devices[(ifindex + i) % WEFT_DEV_SLOTS];

		if (*place >> 32 == ifindex)
			return place;
		if (!empty && !device_held(dp, *place))
			empty = place;
	}
	return free_too ? empty : NULL;
}

static int device_set(struct weft_dp *dp, uint32_t ifindex, uint32_t id)
{
	uint64_t *place = device_place(dp, ifindex, true);

	if (!place)
		return -ENOSPC;
	__atomic_store_n(place, (uint64_t)ifindex << 32 | id, __ATOMIC_RELEASE);
	return 0;
}

static void device_clear(struct weft_dp *dp, uint32_t ifindex, uint32_t id)
{
	uint64_t *place = ifindex ? device_place(dp, ifindex, false) : NULL;

	if (place && (uint32_t)*place == id)
		__atomic_store_n(place, 0, __ATOMIC_RELEASE);
}

static void ns_addr_clear(const struct bpf_map *map, const void *addr, uint32_t id)
{
	uint32_t holder;

	if (bpf_map_lookup_elem(bpf_map__fd(map), addr, &holder) == 0 && holder == id)
		bpf_map_delete_elem(bpf_map__fd(map), addr);
}

/* The instance that addr belongs to now, 0 for none. */
static uint32_t ns_addr_holder(struct weft_dp *dp, const struct bpf_map *map, const void *addr)
{
	uint32_t id;

	if (bpf_map_lookup_elem(bpf_map__fd(map), addr, &id) < 0 || id >= WEFT_MAX_INSTANCES ||
		!dp->instances[id].active)
		return 0;
	return id;
}

/* --- set --- */

static const char *text(int family, const void *addr)
{
	static char buf[INET6_ADDRSTRLEN];

	return inet_ntop(family, addr, buf, sizeof(buf));
}

static int check_addresses(const struct weft_dp_instance *i, struct weft_err *err)
{
	bool v4 = i->ns_addr.s_addr || i->inst_addr.s_addr;
	bool v6 = !dp_any6(&i->ns_addr6) || !dp_any6(&i->inst_addr6);

	if (!v4 && !v6)
		return weft_err_set(err, EINVAL, "instance %u: no address", i->id);
	if (v4 && (!i->ns_addr.s_addr || dp_semantic(i->ns_addr)))
		return weft_err_set(err, EINVAL, "instance %u: %s is no namespace address", i->id,
			text(AF_INET, &i->ns_addr));
	if (v4 && !dp_semantic(i->inst_addr))
		return weft_err_set(err, EINVAL,
			"instance %u: instance address %s is not in the semantic range", i->id,
			text(AF_INET, &i->inst_addr));
	if (v6 && (dp_any6(&i->ns_addr6) || dp_semantic6(&i->ns_addr6)))
		return weft_err_set(err, EINVAL, "instance %u: %s is no namespace address", i->id,
			text(AF_INET6, &i->ns_addr6));
	if (v6 && !dp_semantic6(&i->inst_addr6))
		return weft_err_set(err, EINVAL,
			"instance %u: instance address %s is not in the semantic range", i->id,
			text(AF_INET6, &i->inst_addr6));
	return 0;
}

static int check_device(const struct weft_dp_instance *i, struct weft_err *err)
{
	static const uint8_t no_mac[6];

	if (i->device == WEFT_DP_DEV_REMOTE) {
		if (!i->peer || i->ifindex)
			return weft_err_set(err, EINVAL,
				"instance %u: of another node: has a peer and no device", i->id);
		return 0;
	}
	if (i->peer)
		return weft_err_set(err, EINVAL, "instance %u: of this node: has no peer", i->id);
	if (i->mac[0] & 1 || memcmp(i->mac, no_mac, sizeof(no_mac)) == 0)
		return weft_err_set(
			err, EINVAL, "instance %u: not a unicast hardware address", i->id);
	if (!i->ifindex)
		return weft_err_set(err, EINVAL, "instance %u: no device", i->id);
	return 0;
}

static int check(const struct weft_dp_instance *i, struct weft_err *err)
{
	int r;

	if (i->id == 0 || i->id >= WEFT_MAX_INSTANCES)
		return weft_err_set(err, EINVAL, "instance id %u is not in 1..%u", i->id,
			WEFT_MAX_INSTANCES - 1);
	if (i->service >= WEFT_MAX_SERVICES)
		return weft_err_set(err, EINVAL, "instance %u: service id %u is above %u", i->id,
			i->service, WEFT_MAX_SERVICES - 1);
	if (i->peer > UINT16_MAX)
		return weft_err_set(err, EINVAL, "instance %u: peer %u", i->id, i->peer);
	r = check_addresses(i, err);
	return r < 0 ? r : check_device(i, err);
}

static int taken(
	uint32_t id, const char *what, const char *which, const char *whose, struct weft_err *err)
{
	return weft_err_set(err, EEXIST, "instance %u: %s %s is %s", id, what, which, whose);
}

static int check_unique_addresses(
	struct weft_dp *dp, const struct weft_dp_instance *i, struct weft_err *err)
{
	uint32_t own = WEFT_TARGET(WEFT_TARGET_INSTANCE, i->id), target = 0, holder = 0;
	char whose[32];

	if (i->ns_addr.s_addr) {
		holder = ns_addr_holder(dp, dp->skel->maps.ns_addrs, &i->ns_addr);
		dp_target_get(dp, i->inst_addr, &target);
	}
	if (holder && holder != i->id)
		return taken(i->id, "address", text(AF_INET, &i->ns_addr),
			dp_target_whose(WEFT_TARGET(WEFT_TARGET_INSTANCE, holder), whose), err);
	if (target != own && dp_target_held(dp, target))
		return taken(i->id, "address", text(AF_INET, &i->inst_addr),
			dp_target_whose(target, whose), err);
	target = holder = 0;
	if (!dp_any6(&i->ns_addr6)) {
		holder = ns_addr_holder(dp, dp->skel->maps.ns_addrs6, &i->ns_addr6);
		dp_target_get6(dp, &i->inst_addr6, &target);
	}
	if (holder && holder != i->id)
		return taken(i->id, "address", text(AF_INET6, &i->ns_addr6),
			dp_target_whose(WEFT_TARGET(WEFT_TARGET_INSTANCE, holder), whose), err);
	if (target != own && dp_target_held(dp, target))
		return taken(i->id, "address", text(AF_INET6, &i->inst_addr6),
			dp_target_whose(target, whose), err);
	return 0;
}

/* Devices and addresses have one holder. */
static int check_unique(struct weft_dp *dp, const struct weft_dp_instance *i, struct weft_err *err)
{
	uint64_t *place = i->ifindex ? device_place(dp, i->ifindex, false) : NULL;
	uint32_t holder = place && device_held(dp, *place) ? (uint32_t)*place : i->id;
	char which[16], whose[32];

	if (holder != i->id) {
		snprintf(which, sizeof(which), "%u", i->ifindex);
		return taken(i->id, "device", which,
			dp_target_whose(WEFT_TARGET(WEFT_TARGET_INSTANCE, holder), whose), err);
	}
	return check_unique_addresses(dp, i, err);
}

static bool same(const struct weft_bpf_instance *a, const struct weft_dp_instance *b)
{
	return a->active & WEFT_INSTANCE_ACTIVE && a->ns_addr == b->ns_addr.s_addr &&
	       a->inst_addr == b->inst_addr.s_addr && a->ifindex == b->ifindex &&
	       a->service == b->service && a->device == b->device && a->peer == b->peer &&
	       memcmp(a->ns_addr6, &b->ns_addr6, sizeof(a->ns_addr6)) == 0 &&
	       memcmp(a->inst_addr6, &b->inst_addr6, sizeof(a->inst_addr6)) == 0 &&
	       memcmp(a->mac, b->mac, sizeof(a->mac)) == 0;
}

static void unpublish(struct weft_dp *dp, uint32_t id)
{
	const struct weft_bpf_instance *inst = &dp->instances[id];
	struct in6_addr inst_addr6 = addr6(inst->inst_addr6);

	dp_target_clear(
		dp, (struct in_addr){inst->inst_addr}, WEFT_TARGET(WEFT_TARGET_INSTANCE, id));
	dp_target_clear6(dp, &inst_addr6, WEFT_TARGET(WEFT_TARGET_INSTANCE, id));
	ns_addr_clear(dp->skel->maps.ns_addrs, &inst->ns_addr, id);
	ns_addr_clear(dp->skel->maps.ns_addrs6, inst->ns_addr6, id);
	device_clear(dp, inst->ifindex, id);
}

/* Out of sight, with all that was known to belong to it. */
static void retire(struct weft_dp *dp, uint32_t id)
{
	__atomic_store_n(&dp->instances[id].active, 0, __ATOMIC_RELEASE);
	unpublish(dp, id);
	dp->retired_ns[id] = weft_now_ns();
}

static int publish(struct weft_dp *dp, const struct weft_dp_instance *i)
{
	uint32_t target = WEFT_TARGET(WEFT_TARGET_INSTANCE, i->id);
	int r = 0;

	if (i->ns_addr.s_addr) {
		r = dp_target_set(dp, i->inst_addr, target);
		if (r == 0)
			r = bpf_map_update_elem(bpf_map__fd(dp->skel->maps.ns_addrs),
				&i->ns_addr.s_addr, &i->id, BPF_ANY);
	}
	if (r == 0 && !dp_any6(&i->ns_addr6)) {
		r = dp_target_set6(dp, &i->inst_addr6, target);
		if (r == 0)
			r = bpf_map_update_elem(bpf_map__fd(dp->skel->maps.ns_addrs6), &i->ns_addr6,
				&i->id, BPF_ANY);
	}
	if (r == 0 && i->ifindex)
		r = device_set(dp, i->ifindex, i->id);
	return r;
}

static void fill(struct weft_dp *dp, const struct weft_dp_instance *i)
{
	struct weft_bpf_instance *inst = &dp->instances[i->id];

	inst->ns_addr = i->ns_addr.s_addr;
	inst->inst_addr = i->inst_addr.s_addr;
	memcpy(inst->ns_addr6, &i->ns_addr6, sizeof(inst->ns_addr6));
	memcpy(inst->inst_addr6, &i->inst_addr6, sizeof(inst->inst_addr6));
	inst->ifindex = i->ifindex;
	inst->service = (uint16_t)i->service;
	inst->device = (uint8_t)i->device;
	inst->peer = (uint16_t)i->peer;
	memcpy(inst->mac, i->mac, sizeof(inst->mac));
	inst->generation++;
	inst->epoch = __atomic_add_fetch(&dp->meta->epoch, 1, __ATOMIC_RELAXED);
}

static void detach(struct weft_dp *dp, uint32_t id, uint8_t active)
{
	dp_detach(dp->dir, id, dp->instances[id].ifindex);
	if (active & WEFT_INSTANCE_QDISC)
		dp_detach_qdisc(dp->instances[id].ifindex);
}

/* What it will be when it is active; before it is filled in. */
static uint8_t active_flags(struct weft_dp *dp, const struct weft_dp_instance *i, bool made_qdisc)
{
	const struct weft_bpf_instance *now = &dp->instances[i->id];
	bool has = now->active & WEFT_INSTANCE_QDISC && now->ifindex == i->ifindex;

	if (!i->borrowed)
		return WEFT_INSTANCE_ACTIVE;
	return WEFT_INSTANCE_ACTIVE | WEFT_INSTANCE_BORROWED |
	       (i->gateway6 && !dp_any6(&i->ns_addr6) ? WEFT_INSTANCE_GATEWAY6 : 0) |
	       (made_qdisc || has ? WEFT_INSTANCE_QDISC : 0);
}

/* Of what clsact has on somebody else's device there is no pin by which a later daemon could find
 * it: before it is attached the instance has its device, though no packet finds it by that yet, nor
 * by a flow of who had its id before. */
static bool announce(struct weft_dp *dp, const struct weft_dp_instance *i)
{
	struct weft_bpf_instance *inst = &dp->instances[i->id];

	if (dp->tcx || inst->active || !i->borrowed || !i->ifindex)
		return false;
	unpublish(dp, i->id);
	if (inst->generation)
		inst->generation++;
	inst->ifindex = i->ifindex;
	__atomic_store_n(&inst->active, WEFT_INSTANCE_BORROWED, __ATOMIC_RELEASE);
	return true;
}

/* Attached to its device, or to none when it is of another node. 1: the device got a qdisc for it.
 */
static int attach(struct weft_dp *dp, const struct weft_dp_instance *i, struct weft_err *err)
{
	int r;

	if (!i->ifindex) {
		dp_detach(dp->dir, i->id, dp->instances[i->id].ifindex);
		return 0;
	}
	r = dp_attach(dp, i->id, i->ifindex, err);
	if (r < 0)
		weft_err_prefix(err, "instance %u", i->id);
	return r;
}

static void forget(struct weft_dp *dp, uint32_t id, uint8_t active)
{
	detach(dp, id, active);
	retire(dp, id);
	__atomic_add_fetch(&dp->instances[id].generation, 1, __ATOMIC_RELEASE);
	dp_flows_forget(dp, id);
}

static void forget_past(struct weft_dp *dp, uint32_t id)
{
	dp_flows_forget(dp, id);
	dp_stats_reset(bpf_map__fd(dp->skel->maps.instance_stats), id);
	memset(&dp->quality[id], 0, sizeof(dp->quality[0]));
}

int weft_dp_instance_set(
	struct weft_dp *dp, const struct weft_dp_instance *inst, struct weft_err *err)
{
	uint8_t active, before;
	bool announced, held, known;
	int r;

	r = check(inst, err);
	if (r == 0)
		r = check_unique(dp, inst, err);
	if (r < 0)
		return r;
	before = dp->instances[inst->id].active;
	known = same(&dp->instances[inst->id], inst);
	announced = announce(dp, inst);
	r = attach(dp, inst, err);
	active = r < 0 ? 0 : active_flags(dp, inst, r > 0);
	if (announced) /* now also with the qdisc that goes with it */
		__atomic_store_n(&dp->instances[inst->id].active, active & ~WEFT_INSTANCE_ACTIVE,
			__ATOMIC_RELEASE);
	if (r < 0)
		return r;
	if (!known) {
		/* Of one that nobody sees since long, nobody has to be waited for. */
		if (before)
			retire(dp, inst->id);
		else
			unpublish(dp, inst->id);
		dp_grace(dp, dp->retired_ns[inst->id]);
		held = dp->instances[inst->id].generation != 0;
		fill(dp, inst);
		if (held) /* by another before: there is nothing else to forget */
			forget_past(dp, inst->id);
	}
	r = publish(dp, inst);
	if (r < 0) {
		forget(dp, inst->id, active);
		errno = -r;
		return weft_err_set(err, r, "instance %u: entering it in the maps: %m", inst->id);
	}
	__atomic_store_n(&dp->instances[inst->id].active, active, __ATOMIC_RELEASE);
	return 0;
}

bool weft_dp_instance_known(const struct weft_dp *dp, uint32_t id)
{
	return id > 0 && id < WEFT_MAX_INSTANCES && dp->instances[id].active;
}

int weft_dp_instance_remove(struct weft_dp *dp, uint32_t id)
{
	if (id == 0 || id >= WEFT_MAX_INSTANCES)
		return -EINVAL;
	if (dp->instances[id].active)
		forget(dp, id, dp->instances[id].active);
	else
		dp_detach(dp->dir, id, 0);
	return 0;
}
