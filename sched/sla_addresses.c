/* SPDX-License-Identifier: Apache-2.0 */
/* The service addresses of a microservice: one for each policy that it is to be called by. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "sched/sla_internal.h"

#define AUTO "auto"

/* In IPv6 the third byte tells the policy. */
static const struct {
	const char *key, *key6;
	uint8_t third;
} policies[WEFT_POLICIES] = {
	[WEFT_POLICY_RR] = {"rr_ip", "rr_ip_v6", 0x20},
	[WEFT_POLICY_WRR] = {"wrr_ip", "wrr_ip_v6", 0x50},
	[WEFT_POLICY_CLOSEST] = {"closest_ip", "closest_ip_v6", 0x10},
	[WEFT_POLICY_LEAST_LOADED] = {"underutilized_ip", "underutilized_ip_v6", 0x30},
};

const char *weft_sla_vip_key(enum weft_policy policy)
{
	return policies[policy].key;
}

uint8_t weft_sla_vip6_third(enum weft_policy policy)
{
	return policies[policy].third;
}

/* Oakestra's allocator counts both octets from 0 to 253; .0.0 stays free as the network's own. */
static bool is_semantic(struct in_addr addr)
{
	uint32_t a = ntohl(addr.s_addr), x = a >> 8 & 0xff, y = a & 0xff;

	return a >> 16 == (10 << 8 | 30) && x <= 253 && y <= 253 && (x || y);
}

static bool same_vip(const struct weft_sla_vip *a, const struct weft_sla_vip *b)
{
	return (a->addr.s_addr && a->addr.s_addr == b->addr.s_addr) ||
	       (!IN6_IS_ADDR_UNSPECIFIED(&a->addr6) && IN6_ARE_ADDR_EQUAL(&a->addr6, &b->addr6));
}

static int parse_vip(const struct sla_at *at, struct weft_sla_vip *vip)
{
	const char *s = json_string_value(at->value);
	struct in_addr addr;

	if (*s == '\0')
		return 0;
	vip->wanted = true;
	if (strcmp(s, AUTO) == 0)
		return 0;
	if (inet_pton(AF_INET, s, &addr) != 1 || !is_semantic(addr)) {
		sla_fail(at,
			"must be 10.30.x.y with x and y from 0 to 253, and not 10.30.0.0, "
			"is \"%s\"",
			sla_quote(s).text);
		return weft_err_hint(at->doc->err, "or \"" AUTO "\", and weft picks a free one");
	}
	vip->addr = addr;
	return 0;
}

/* Oakestra lets a user choose from fdff:20xx:: only, and so for the others. */
static int parse_vip6(const struct sla_at *at, uint8_t third, struct weft_sla_vip *vip)
{
	const char *s = json_string_value(at->value);
	struct in6_addr a;

	if (*s == '\0')
		return 0;
	vip->wanted6 = true;
	if (strcmp(s, AUTO) == 0)
		return 0;
	if (inet_pton(AF_INET6, s, &a) != 1 || a.s6_addr[0] != 0xfd || a.s6_addr[1] != 0xff ||
		a.s6_addr[2] != third)
		return sla_fail(at, "must be an address in fdff:%02x00::/24, is \"%s\"", third,
			sla_quote(s).text);
	vip->addr6 = a;
	return 0;
}

static int check_own(
	const struct sla_at *at, const struct weft_sla_service *svc, enum weft_policy policy)
{
	for (int other = 0; other < (int)policy; other++)
		if (same_vip(&svc->vip[other], &svc->vip[policy]))
			return sla_fail(at, "\"%s\" is the address of %s already",
				json_string_value(at->value), policies[other].key);
	return 0;
}

int sla_parse_addresses(const struct sla_at *at, struct weft_sla_service *svc)
{
	struct sla_at addresses, member;
	int r;

	svc->vip[WEFT_POLICY_RR].wanted = true;
	if (!sla_member(at, "addresses", &addresses))
		return 0;
	r = sla_check(&addresses, &sla_addresses_keys);
	for (int p = 0; p < WEFT_POLICIES && r == 0; p++) {
		if (sla_member(&addresses, policies[p].key6, &member))
			r = parse_vip6(&member, policies[p].third, &svc->vip[p]);
		if (r == 0 && sla_member(&addresses, policies[p].key, &member)) {
			r = parse_vip(&member, &svc->vip[p]);
			if (r == 0)
				r = check_own(&member, svc, (enum weft_policy)p);
		}
	}
	return r;
}

int sla_check_addresses(const struct sla_at *at, const struct weft_sla_service *last,
	const struct weft_sla_service *other)
{
	struct sla_at addresses, where;

	if (!sla_member(at, "addresses", &addresses))
		return 0;
	for (int p = 0; p < WEFT_POLICIES; p++)
		for (int o = 0; o < WEFT_POLICIES; o++) {
			if (!same_vip(&last->vip[p], &other->vip[o]) ||
				(!sla_member(&addresses, policies[p].key, &where) &&
					!sla_member(&addresses, policies[p].key6, &where)))
				continue;
			sla_fail(&where, "%s is the address of service %s already",
				json_string_value(where.value), other->job_name);
			return weft_err_hint(at->doc->err,
				"give every service its own, or say \"" AUTO
				"\" and weft picks one");
		}
	return 0;
}
