/* SPDX-License-Identifier: Apache-2.0 */
/* Services: addresses and weights. A weight vector becomes a sequence of slots. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

/* A period beyond this is scaled down, but to no less than two slots for every backend. */
#define SEQUENCE_MAX 2048U

_Static_assert((int)WEFT_POLICY_RR == (int)WEFT_DP_RR, "one enum");
_Static_assert((int)WEFT_POLICY_WRR == (int)WEFT_DP_WRR, "one enum");
_Static_assert((int)WEFT_POLICY_CLOSEST == (int)WEFT_DP_CLOSEST, "one enum");
_Static_assert((int)WEFT_POLICY_LEAST_LOADED == (int)WEFT_DP_LEAST_LOADED, "one enum");
_Static_assert((int)WEFT_POLICIES == (int)WEFT_DP_POLICIES, "one enum");

static bool id_valid(uint32_t id)
{
	return id > 0 && id < WEFT_MAX_SERVICES;
}

static uint32_t target_of(uint32_t id, unsigned policy)
{
	return WEFT_TARGET(WEFT_TARGET_SERVICE + policy, id);
}

static struct in6_addr vip6_of(const struct weft_bpf_service *s, unsigned policy)
{
	struct in6_addr addr;

	memcpy(&addr, s->vip6[policy], sizeof(addr));
	return addr;
}

/* --- set --- */

static int check_address(struct weft_dp *dp, uint32_t id, int family, const void *addr,
	bool semantic, uint32_t target, struct weft_err *err)
{
	char text[INET6_ADDRSTRLEN], whose[32];

	inet_ntop(family, addr, text, sizeof(text));
	if (!semantic)
		return weft_err_set(
			err, EINVAL, "service %u: %s is not in the semantic range", id, text);
	if (WEFT_TARGET_KIND(target) >= WEFT_TARGET_SERVICE && WEFT_TARGET_ID(target) == id)
		return 0;
	if (dp_target_held(dp, target))
		return weft_err_set(err, EEXIST, "service %u: address %s is %s", id, text,
			dp_target_whose(target, whose));
	return 0;
}

static int check_twice(const struct weft_dp_service *s, struct weft_err *err)
{
	for (unsigned a = 0; a < WEFT_POLICIES; a++)
		for (unsigned b = 0; b < a; b++)
			if ((s->vip[a].s_addr && s->vip[a].s_addr == s->vip[b].s_addr) ||
				(!dp_any6(&s->vip6[a]) &&
					IN6_ARE_ADDR_EQUAL(&s->vip6[a], &s->vip6[b])))
				return weft_err_set(err, EINVAL,
					"service %u: one address for two policies", s->id);
	return 0;
}

static int check_service(struct weft_dp *dp, const struct weft_dp_service *s, struct weft_err *err)
{
	bool any = false;
	int r = 0;

	if (!id_valid(s->id))
		return weft_err_set(
			err, EINVAL, "service id %u is not in 1..%u", s->id, WEFT_MAX_SERVICES - 1);
	for (unsigned p = 0; p < WEFT_POLICIES && r == 0; p++) {
		uint32_t target = 0;

		if (s->vip[p].s_addr) {
			any = true;
			dp_target_get(dp, s->vip[p], &target);
			r = check_address(dp, s->id, AF_INET, &s->vip[p], dp_semantic(s->vip[p]),
				target, err);
		}
		if (r == 0 && !dp_any6(&s->vip6[p])) {
			any = true;
			target = 0;
			dp_target_get6(dp, &s->vip6[p], &target);
			r = check_address(dp, s->id, AF_INET6, &s->vip6[p],
				dp_semantic6(&s->vip6[p]), target, err);
		}
	}
	if (r == 0 && !any)
		return weft_err_set(err, EINVAL, "service %u: no address", s->id);
	return r < 0 ? r : check_twice(s, err);
}

/* Is an address gone that the service was called by? */
static bool withdraws(const struct weft_bpf_service *was, const struct weft_dp_service *s)
{
	for (unsigned p = 0; p < WEFT_POLICIES; p++) {
		struct in6_addr vip6 = vip6_of(was, p);

		if ((was->vip[p] && was->vip[p] != s->vip[p].s_addr) ||
			(!dp_any6(&vip6) && !IN6_ARE_ADDR_EQUAL(&vip6, &s->vip6[p])))
			return true;
	}
	return false;
}

/* Out of sight, until it has an epoch again: its addresses stay where a packet may be reading them.
 */
static void retire(struct weft_dp *dp, uint32_t id)
{
	struct weft_bpf_service *svc = &dp->services[id];

	for (unsigned p = 0; p < WEFT_POLICIES; p++) {
		struct in6_addr vip6 = vip6_of(svc, p);

		dp_target_clear(dp, (struct in_addr){svc->vip[p]}, target_of(id, p));
		dp_target_clear6(dp, &vip6, target_of(id, p));
	}
	__atomic_store_n(&svc->epoch, 0, __ATOMIC_RELEASE);
	dp->service_retired_ns = weft_now_ns();
}

/* Addresses that are withdrawn or changed are so out of sight; others were 0, and nobody reads them
 * yet. */
static void fill(struct weft_dp *dp, const struct weft_dp_service *s)
{
	struct weft_bpf_service *svc = &dp->services[s->id];
	uint32_t epoch;

	if (!svc->epoch)
		dp_grace(dp, dp->service_retired_ns);
	for (unsigned p = 0; p < WEFT_POLICIES; p++) {
		svc->vip[p] = s->vip[p].s_addr;
		memcpy(svc->vip6[p], &s->vip6[p], sizeof(svc->vip6[p]));
		if (!s->vip[p].s_addr && dp_any6(&s->vip6[p]))
			dp_slots_flip(dp, weft_service_policy(s->id, p), NULL, 0);
	}
	if (svc->epoch)
		return;
	epoch = __atomic_add_fetch(&dp->meta->epoch, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&svc->epoch, epoch, __ATOMIC_RELEASE);
}

static int publish(struct weft_dp *dp, const struct weft_dp_service *s)
{
	int r = 0;

	for (unsigned p = 0; p < WEFT_POLICIES && r == 0; p++) {
		if (s->vip[p].s_addr)
			r = dp_target_set(dp, s->vip[p], target_of(s->id, p));
		if (r == 0 && !dp_any6(&s->vip6[p]))
			r = dp_target_set6(dp, &s->vip6[p], target_of(s->id, p));
	}
	return r;
}

int weft_dp_service_set(
	struct weft_dp *dp, const struct weft_dp_service *service, struct weft_err *err)
{
	int r;

	r = check_service(dp, service, err);
	if (r < 0)
		return r;
	if (!dp->services[service->id].epoch)
		dp_stats_reset(bpf_map__fd(dp->skel->maps.service_stats), service->id);
	else if (withdraws(&dp->services[service->id], service))
		retire(dp, service->id);
	fill(dp, service);
	r = publish(dp, service);
	if (r < 0) {
		errno = -r;
		return weft_err_set(err, r, "service %u: entering its address: %m", service->id);
	}
	return 0;
}

/* --- weights --- */

static bool has_policy(const struct weft_bpf_service *s, unsigned policy)
{
	struct in6_addr vip6 = vip6_of(s, policy);

	return s->vip[policy] || !dp_any6(&vip6);
}

static int check_weight(
	struct weft_dp *dp, uint32_t id, const struct weft_dp_weight *w, struct weft_err *err)
{
	uint32_t inst = w->instance;

	if (inst == 0 || inst >= WEFT_MAX_INSTANCES || !dp->instances[inst].active)
		return weft_err_set(
			err, ENOENT, "service %u: instance %u is not in the data plane", id, inst);
	if (dp->instances[inst].service != id)
		return weft_err_set(err, EINVAL,
			"service %u: instance %u is a backend of service %u", id, inst,
			dp->instances[inst].service);
	if (w->weight > WEFT_DP_MAX_WEIGHT)
		return weft_err_set(err, EINVAL, "service %u: instance %u: weight %u is above %u",
			id, inst, w->weight, WEFT_DP_MAX_WEIGHT);
	if (dp->in_vector[inst] == dp->vector)
		return weft_err_set(
			err, EINVAL, "service %u: instance %u has two weights", id, inst);
	dp->in_vector[inst] = dp->vector;
	return 0;
}

static int check_weights(struct weft_dp *dp, uint32_t id, unsigned policy,
	const struct weft_dp_weight *w, unsigned n, struct weft_err *err)
{
	int r = 0;

	if (!id_valid(id) || !dp->services[id].epoch)
		return weft_err_set(err, ENOENT, "service %u is not in the data plane", id);
	if (policy >= WEFT_POLICIES || !has_policy(&dp->services[id], policy))
		return weft_err_set(
			err, ENOENT, "service %u has no address of policy %u", id, policy);
	dp->vector++;
	for (unsigned i = 0; i < n && r == 0; i++)
		r = check_weight(dp, id, &w[i], err);
	return r;
}

/* Weights whose period exceeds max, scaled down to it: no share is off by a whole slot, but that
 * who has a weight at all keeps one. For those whose due may be less than that a slot is set aside.
 * Of the rest each takes what its weight adds to the rounded sum, so that the errors do not add up.
 */
static int sequence_scaled(const struct weft_dp_weight *w, unsigned n, uint16_t *ret, unsigned max)
{
	_cleanup_(freep) struct weft_dp_weight *scaled = calloc(n, sizeof(*scaled));
	uint64_t sum = 0, up_to = 0, slots = max;

	if (!scaled)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		sum += w[i].weight;
	for (unsigned i = 0; i < n; i++)
		slots -= w[i].weight && (2 * n > max || (uint64_t)w[i].weight * max < 2 * sum);
	for (unsigned i = 0; i < n; i++) {
		uint64_t before = up_to * slots / sum;

		up_to += w[i].weight;
		scaled[i].weight = (uint32_t)(up_to * slots / sum - before);
		if (w[i].weight && !scaled[i].weight)
			scaled[i].weight = 1;
	}
	return weft_dp_swrr(scaled, n, ret, max);
}

/* Slots of w as instance ids. */
static int sequence(const struct weft_dp_weight *w, unsigned n, uint16_t *ret)
{
	unsigned max = SEQUENCE_MAX;
	int length;

	while (max < 2 * n && max < WEFT_SLOTS_MAX)
		max *= 2;
	length = weft_dp_swrr(w, n, ret, max);
	if (length == -E2BIG)
		length = sequence_scaled(w, n, ret, max);
	for (int i = 0; i < length; i++)
		ret[i] = (uint16_t)w[ret[i]].instance;
	return length;
}

int weft_dp_service_weights(struct weft_dp *dp, uint32_t id, enum weft_dp_policy policy,
	const struct weft_dp_weight *w, unsigned n, struct weft_err *err)
{
	uint32_t key = weft_service_policy(id, policy);
	uint16_t ids[WEFT_SLOTS_MAX];
	uint64_t word;
	int r, length;

	r = check_weights(dp, id, policy, w, n, err);
	if (r < 0)
		return r;
	length = sequence(w, n, ids);
	if (length < 0)
		return weft_err_set(err, length, "service %u: out of memory", id);
	word = dp->slot_dir[key];
	if (weft_slot_length(word) == length &&
		memcmp(dp->slots + (uint32_t)word, ids, (size_t)length * sizeof(*ids)) == 0)
		return 0;
	r = dp_slots_flip(dp, key, ids, (uint16_t)length);
	if (r < 0) {
		weft_err_set(err, r,
			"service %u: its weights take %d slots, and the pool of %u has no room for "
			"them",
			id, length, WEFT_SLOT_POOL);
		return weft_err_hint(
			err, "smaller weights of a common divisor make shorter sequences");
	}
	return 0;
}

int weft_dp_service_remove(struct weft_dp *dp, uint32_t id)
{
	if (!id_valid(id))
		return -EINVAL;
	if (!dp->services[id].epoch)
		return 0;
	weft_dp_service_publish(dp, id, NULL, 0, NULL);
	retire(dp, id);
	dp_sockmap_forget(dp, id);
	for (unsigned p = 0; p < WEFT_POLICIES; p++)
		dp_slots_flip(dp, weft_service_policy(id, p), NULL, 0);
	return 0;
}
