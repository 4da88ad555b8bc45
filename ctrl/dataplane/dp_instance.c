/* SPDX-License-Identifier: Apache-2.0 */
/* Instances: identity, addresses, attachment.
 *
 * An instance is known to packets through its device, its semantic address and its namespace
 * address. A change of identity takes the old one out of sight (active = 0), waits until no packet
 * is still being handled with it, and only then writes the new one; a daemon that is killed in
 * between leaves an inactive instance, which the next one sets again. */
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

/* --- semantic addresses --- */

bool dp_semantic(struct in_addr addr)
{
	return (addr.s_addr & htonl(WEFT_SEMANTIC_MASK)) == htonl(WEFT_SEMANTIC_NET);
}

int dp_target_get(struct weft_dp *dp, struct in_addr addr, uint32_t *ret)
{
	uint32_t key = ntohl(addr.s_addr) & 0xffff;

	return bpf_map_lookup_elem(bpf_map__fd(dp->skel->maps.targets), &key, ret);
}

int dp_target_set(struct weft_dp *dp, struct in_addr addr, uint32_t target)
{
	uint32_t key = ntohl(addr.s_addr) & 0xffff;

	return bpf_map_update_elem(bpf_map__fd(dp->skel->maps.targets), &key, &target, BPF_ANY);
}

int dp_target_clear(struct weft_dp *dp, struct in_addr addr, uint32_t target)
{
	uint32_t now;
	int r = dp_target_get(dp, addr, &now);

	if (r < 0 || now != target)
		return r;
	return dp_target_set(dp, addr, 0);
}

/* --- devices and namespace addresses --- */

static uint64_t *device_place(struct weft_dp *dp, uint32_t ifindex, bool free_too)
{
	uint64_t *empty = NULL;

	for (uint32_t i = 0; i < WEFT_DEV_PROBES; i++) {
		uint64_t *place = &dp->devices[(ifindex + i) % WEFT_DEV_SLOTS];

		if (*place >> 32 == ifindex)
			return place;
		if (!*place && !empty)
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
	uint64_t *place = device_place(dp, ifindex, false);

	if (place && (uint32_t)*place == id)
		__atomic_store_n(place, 0, __ATOMIC_RELEASE);
}

static void ns_addr_clear(struct weft_dp *dp, uint32_t addr, uint32_t id)
{
	int fd = bpf_map__fd(dp->skel->maps.ns_addrs);
	uint32_t holder;

	if (bpf_map_lookup_elem(fd, &addr, &holder) == 0 && holder == id)
		bpf_map_delete_elem(fd, &addr);
}

/* --- set --- */

static const char *dotted(struct in_addr addr, char buf[INET_ADDRSTRLEN])
{
	return inet_ntop(AF_INET, &addr, buf, INET_ADDRSTRLEN);
}

static int check(const struct weft_dp_instance *i, struct weft_err *err)
{
	static const uint8_t no_mac[6];
	char a[INET_ADDRSTRLEN];

	if (i->id == 0 || i->id >= WEFT_MAX_INSTANCES)
		return weft_err_set(err, EINVAL, "instance id %u is not in 1..%u", i->id,
			WEFT_MAX_INSTANCES - 1);
	if (i->service >= WEFT_MAX_SERVICES)
		return weft_err_set(err, EINVAL, "instance %u: service id %u is above %u", i->id,
			i->service, WEFT_MAX_SERVICES - 1);
	if (!i->ns_addr.s_addr || dp_semantic(i->ns_addr))
		return weft_err_set(err, EINVAL, "instance %u: %s is no namespace address", i->id,
			dotted(i->ns_addr, a));
	if (!dp_semantic(i->inst_addr))
		return weft_err_set(err, EINVAL,
			"instance %u: instance address %s is not in the semantic range", i->id,
			dotted(i->inst_addr, a));
	if (i->mac[0] & 1 || memcmp(i->mac, no_mac, sizeof(no_mac)) == 0)
		return weft_err_set(
			err, EINVAL, "instance %u: not a unicast hardware address", i->id);
	if (!i->ifindex)
		return weft_err_set(err, EINVAL, "instance %u: no device", i->id);
	return 0;
}

/* Devices and addresses have one holder. */
static int check_unique(struct weft_dp *dp, const struct weft_dp_instance *i, struct weft_err *err)
{
	uint32_t target = 0;
	char a[INET_ADDRSTRLEN];

	for (uint32_t id = 1; id < WEFT_MAX_INSTANCES; id++) {
		const struct weft_bpf_instance *other = &dp->instances[id];

		if (id == i->id || !other->active)
			continue;
		if (other->ifindex == i->ifindex)
			return weft_err_set(err, EEXIST, "instance %u: device %u is instance %u's",
				i->id, i->ifindex, id);
		if (other->ns_addr == i->ns_addr.s_addr)
			return weft_err_set(err, EEXIST, "instance %u: address %s is instance %u's",
				i->id, dotted(i->ns_addr, a), id);
		if (other->inst_addr == i->inst_addr.s_addr)
			return weft_err_set(err, EEXIST, "instance %u: address %s is instance %u's",
				i->id, dotted(i->inst_addr, a), id);
	}
	if (dp_target_get(dp, i->inst_addr, &target) == 0 &&
		WEFT_TARGET_KIND(target) == WEFT_TARGET_SERVICE)
		return weft_err_set(err, EEXIST, "instance %u: address %s is service %u's", i->id,
			dotted(i->inst_addr, a), WEFT_TARGET_ID(target));
	return 0;
}

static bool same(const struct weft_bpf_instance *a, const struct weft_dp_instance *b)
{
	return a->active && a->ns_addr == b->ns_addr.s_addr &&
	       a->inst_addr == b->inst_addr.s_addr && a->ifindex == b->ifindex &&
	       a->service == b->service && a->device == b->device &&
	       memcmp(a->mac, b->mac, sizeof(a->mac)) == 0;
}

/* Out of sight, with all that was known to belong to it. */
static void retire(struct weft_dp *dp, uint32_t id)
{
	struct weft_bpf_instance *inst = &dp->instances[id];

	__atomic_store_n(&inst->active, 0, __ATOMIC_RELEASE);
	dp_target_clear(
		dp, (struct in_addr){inst->inst_addr}, WEFT_TARGET(WEFT_TARGET_INSTANCE, id));
	ns_addr_clear(dp, inst->ns_addr, id);
	device_clear(dp, inst->ifindex, id);
	dp->retired_ns[id] = weft_now_ns();
}

static int publish(struct weft_dp *dp, const struct weft_dp_instance *i)
{
	int r;

	r = dp_target_set(dp, i->inst_addr, WEFT_TARGET(WEFT_TARGET_INSTANCE, i->id));
	if (r == 0)
		r = bpf_map_update_elem(
			bpf_map__fd(dp->skel->maps.ns_addrs), &i->ns_addr.s_addr, &i->id, BPF_ANY);
	if (r == 0)
		r = device_set(dp, i->ifindex, i->id);
	return r;
}

static void fill(struct weft_dp *dp, const struct weft_dp_instance *i)
{
	struct weft_bpf_instance *inst = &dp->instances[i->id];

	inst->ns_addr = i->ns_addr.s_addr;
	inst->inst_addr = i->inst_addr.s_addr;
	inst->ifindex = i->ifindex;
	inst->service = (uint16_t)i->service;
	inst->device = (uint8_t)i->device;
	memcpy(inst->mac, i->mac, sizeof(inst->mac));
	inst->generation++;
	inst->epoch = __atomic_add_fetch(&dp->meta->epoch, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&inst->active, 1, __ATOMIC_RELEASE);
}

int weft_dp_instance_set(
	struct weft_dp *dp, const struct weft_dp_instance *inst, struct weft_err *err)
{
	bool known;
	int r;

	r = check(inst, err);
	if (r == 0)
		r = check_unique(dp, inst, err);
	if (r < 0)
		return r;
	known = same(&dp->instances[inst->id], inst);
	r = dp_attach(dp, inst->id, inst->ifindex, err);
	if (r < 0) {
		weft_err_prefix(err, "instance %u", inst->id);
		return r;
	}
	if (!known) {
		retire(dp, inst->id);
		dp_grace(dp, dp->retired_ns[inst->id]);
		fill(dp, inst);
		dp_flows_forget(dp, inst->id);
		dp_stats_reset(bpf_map__fd(dp->skel->maps.instance_stats), inst->id);
	}
	r = publish(dp, inst);
	if (r < 0) {
		weft_dp_instance_remove(dp, inst->id);
		errno = -r;
		return weft_err_set(err, r, "instance %u: entering it in the maps: %m", inst->id);
	}
	return 0;
}

int weft_dp_instance_remove(struct weft_dp *dp, uint32_t id)
{
	if (id == 0 || id >= WEFT_MAX_INSTANCES)
		return -EINVAL;
	if (!dp->instances[id].active)
		return 0;
	dp_detach(dp->dir, id, dp->instances[id].ifindex);
	retire(dp, id);
	__atomic_add_fetch(&dp->instances[id].generation, 1, __ATOMIC_RELEASE);
	dp_flows_forget(dp, id);
	return 0;
}
