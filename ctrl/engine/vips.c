/* SPDX-License-Identifier: Apache-2.0 */
/* A service's addresses, one for each policy that it is called by. One that it has had it keeps
 * until it is deleted, as clients may be calling it by it. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "ctrl/engine/internal.h"

_Static_assert((int)WEFT_POLICIES == (int)WEFT_DP_POLICIES, "one list of policies");

static const char *const names[] = {
	[WEFT_DP_RR] = "rr",
	[WEFT_DP_WRR] = "wrr",
	[WEFT_DP_CLOSEST] = "closest",
	[WEFT_DP_LEAST_LOADED] = "underutilized",
};
_Static_assert(ARRAY_SIZE(names) == WEFT_DP_POLICIES, "a name for every policy");

const char *policy_name(int policy)
{
	return names[policy];
}

bool vips_certain(const struct weft_sla_service *spec)
{
	for (int p = 0; p < WEFT_DP_POLICIES; p++)
		if (spec->vip[p].addr.s_addr || !IN6_IS_ADDR_UNSPECIFIED(&spec->vip[p].addr6))
			return true;
	return false;
}

int vips_check(struct weft_engine *e, const struct weft_sla_service *spec,
	const struct service *now, struct weft_err *err)
{
	char text[INET_ADDRSTRLEN];
	const char *by = NULL;

	for (int p = 0; p < WEFT_DP_POLICIES; p++) {
		struct in_addr want = spec->vip[p].addr;

		if (!want.s_addr)
			continue;
		if (now && now->vip[p].s_addr && now->vip[p].s_addr != want.s_addr) {
			weft_err_set(err, EBUSY,
				"service %s: its address for %s cannot change while it runs",
				now->name, weft_sla_vip_key((enum weft_policy)p));
			return weft_err_hint(err, "weft service delete %s, then apply", now->name);
		}
		if (now && now->vip[p].s_addr == want.s_addr)
			continue;
		if (!engine_vip_taken(e, want, &by))
			continue;
		inet_ntop(AF_INET, &want, text, sizeof(text));
		weft_err_set(err, EADDRINUSE, "service %s: address %s is already taken by %s",
			spec->short_name, text, by);
		return weft_err_hint(err, "choose another addresses.%s, or \"auto\"",
			weft_sla_vip_key((enum weft_policy)p));
	}
	return vips6_check(e, spec, now, err);
}

/* One address is not given out twice in between: it is the service's as soon as it is chosen. */
int vips_choose(struct service *s, const struct weft_sla_service *spec, struct weft_err *err)
{
	for (int p = 0; p < WEFT_DP_POLICIES; p++) {
		int r = 0;

		if (!spec->vip[p].wanted || s->vip[p].s_addr)
			continue;
		s->vip[p] = spec->vip[p].addr;
		if (!s->vip[p].s_addr)
			r = engine_alloc_vip(s->engine, s, &s->vip[p], err);
		if (r < 0)
			return r;
	}
	return vips6_choose(s, spec, err);
}

json_t *vips_to_json(const struct service *s)
{
	json_t *doc = json_object();

	for (int p = 0; p < WEFT_DP_POLICIES; p++)
		if (s->vip[p].s_addr)
			json_object_set_new(doc, names[p], view_address(s->vip[p]));
	return doc;
}

/* Of a store of before there were policies: rr is what "vip" says. */
int vips_from_json(struct service *s, const char *rr, const json_t *doc)
{
	if (inet_pton(AF_INET, rr, &s->vip[WEFT_DP_RR]) != 1)
		return -EBADMSG;
	for (int p = 0; p < WEFT_DP_POLICIES; p++) {
		const char *text = json_string_value(json_object_get(doc, names[p]));

		if (text && inet_pton(AF_INET, text, &s->vip[p]) != 1)
			return -EBADMSG;
	}
	return 0;
}

/* Of a store of before there was IPv6, or while it was off. */
int vips_complete(struct service *s, struct weft_err *err)
{
	struct in6_addr before[WEFT_DP_POLICIES];
	int r;

	memcpy(before, s->vip6, sizeof(before));
	r = vips6_choose(s, s->spec, err);
	if (r < 0 || memcmp(before, s->vip6, sizeof(before)) == 0)
		return r;
	return service_store(s, err);
}
