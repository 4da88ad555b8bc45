/* SPDX-License-Identifier: Apache-2.0 */
/* Semantic addresses: what a packet to one of them is meant for. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

bool dp_semantic(struct in_addr addr)
{
	return (addr.s_addr & htonl(WEFT_SEMANTIC_MASK)) == htonl(WEFT_SEMANTIC_NET);
}

bool dp_semantic6(const struct in6_addr *addr)
{
	return (ntohl(addr->s6_addr32[0]) & WEFT_SEMANTIC6_MASK) == WEFT_SEMANTIC6_NET;
}

bool dp_any6(const struct in6_addr *addr)
{
	return IN6_IS_ADDR_UNSPECIFIED(addr);
}

int dp_target_get(struct weft_dp *dp, struct in_addr addr, uint32_t *ret)
{
	uint32_t key = ntohl(addr.s_addr) & 0xffff;

	return bpf_map_lookup_elem(bpf_map__fd(dp->skel->maps.targets), &key, ret);
}

int dp_target_get6(struct weft_dp *dp, const struct in6_addr *addr, uint32_t *ret)
{
	return bpf_map_lookup_elem(bpf_map__fd(dp->skel->maps.targets6), addr, ret);
}

int dp_target_set(struct weft_dp *dp, struct in_addr addr, uint32_t target)
{
	uint32_t key = ntohl(addr.s_addr) & 0xffff;

	return bpf_map_update_elem(bpf_map__fd(dp->skel->maps.targets), &key, &target, BPF_ANY);
}

int dp_target_set6(struct weft_dp *dp, const struct in6_addr *addr, uint32_t target)
{
	return bpf_map_update_elem(bpf_map__fd(dp->skel->maps.targets6), addr, &target, BPF_ANY);
}

void dp_target_clear(struct weft_dp *dp, struct in_addr addr, uint32_t target)
{
	uint32_t now;

	if (addr.s_addr && dp_target_get(dp, addr, &now) == 0 && now == target)
		dp_target_set(dp, addr, 0);
}

void dp_target_clear6(struct weft_dp *dp, const struct in6_addr *addr, uint32_t target)
{
	uint32_t now;

	if (!dp_any6(addr) && dp_target_get6(dp, addr, &now) == 0 && now == target)
		bpf_map_delete_elem(bpf_map__fd(dp->skel->maps.targets6), addr);
}

bool dp_target_held(struct weft_dp *dp, uint32_t target)
{
	uint32_t id = WEFT_TARGET_ID(target);

	if (WEFT_TARGET_KIND(target) >= WEFT_TARGET_SERVICE)
		return id < WEFT_MAX_SERVICES && dp->services[id].epoch;
	return target && id < WEFT_MAX_INSTANCES && dp->instances[id].active;
}

const char *dp_target_whose(uint32_t target, char buf[32])
{
	snprintf(buf, 32, "%s %u's",
		WEFT_TARGET_KIND(target) >= WEFT_TARGET_SERVICE ? "service" : "instance",
		WEFT_TARGET_ID(target));
	return buf;
}
