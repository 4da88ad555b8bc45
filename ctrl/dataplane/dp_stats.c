/* SPDX-License-Identifier: Apache-2.0 */
/* Counters: sums over the processors. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

static const struct {
	const char *name, *text;
} reasons[] = {
#define WEFT_DROP_ROW(symbol, name, text) [WEFT_DROP_##symbol] = {name, text},
	WEFT_DROPS(WEFT_DROP_ROW)
#undef WEFT_DROP_ROW
};
_Static_assert(ARRAY_SIZE(reasons) == WEFT_DROP_COUNT, "a row for every reason");

unsigned weft_dp_drop_count(void)
{
	return WEFT_DROP_COUNT;
}

const char *weft_dp_drop_name(unsigned reason)
{
	return reason < WEFT_DROP_COUNT ? reasons[reason].name : NULL;
}

const char *weft_dp_drop_text(unsigned reason)
{
	return reason < WEFT_DROP_COUNT ? reasons[reason].text : NULL;
}

/* Per-processor values are a multiple
 * of eight bytes apart, and ours are one. */
int dp_stats_sum(const struct bpf_map *map, uint32_t key, uint64_t *ret, unsigned n)
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_(freep) uint64_t *values = NULL;
	int r;

	if (cpus < 0)
		return cpus;
	values = calloc((size_t)cpus * n, sizeof(*values));
	if (!values)
		return -ENOMEM;
	r = bpf_map_lookup_elem(bpf_map__fd(map), &key, values);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < n; i++) {
		ret[i] = 0;
		for (int cpu = 0; cpu < cpus; cpu++)
			ret[i] += values[(unsigned)cpu * n + i];
	}
	return 0;
}

void dp_drops_add(struct weft_dp *dp, enum weft_drop reason, uint64_t n)
{
	int fd = bpf_map__fd(dp->skel->maps.drops), cpus = libbpf_num_possible_cpus();
	_cleanup_(freep) uint64_t *values = cpus > 0 ? calloc((size_t)cpus, sizeof(*values)) : NULL;
	uint32_t key = reason;

	if (!values || bpf_map_lookup_elem(fd, &key, values) < 0)
		return;
	values[0] += n;
	bpf_map_update_elem(fd, &key, values, BPF_ANY);
}

int dp_stats_reset(int map_fd, uint32_t key)
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_(freep) void *zero = NULL;
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);
	int r;

	if (cpus < 0)
		return cpus;
	r = bpf_obj_get_info_by_fd(map_fd, &info, &size);
	if (r < 0)
		return r;
	zero = calloc((size_t)cpus, info.value_size);
	if (!zero)
		return -ENOMEM;
	return bpf_map_update_elem(map_fd, &key, zero, BPF_ANY);
}

static int counters(const struct bpf_map *map, uint32_t key, struct weft_dp_counters *ret)
{
	union {
		struct weft_counters c;
		uint64_t words[sizeof(struct weft_counters) / sizeof(uint64_t)];
	} total;
	int r = dp_stats_sum(map, key, total.words, ARRAY_SIZE(total.words));

	if (r < 0)
		return r;
	*ret = (struct weft_dp_counters){
		.packets = total.c.packets,
		.bytes = total.c.bytes,
		.flows = total.c.flows,
		.rx_packets = total.c.rx_packets,
		.rx_bytes = total.c.rx_bytes,
	};
	return 0;
}

int weft_dp_service_counters(struct weft_dp *dp, uint32_t id, struct weft_dp_counters *ret)
{
	if (id == 0 || id >= WEFT_MAX_SERVICES)
		return -EINVAL;
	return counters(dp->skel->maps.service_stats, id, ret);
}

int weft_dp_instance_counters(struct weft_dp *dp, uint32_t id, struct weft_dp_counters *ret)
{
	if (id == 0 || id >= WEFT_MAX_INSTANCES)
		return -EINVAL;
	return counters(dp->skel->maps.instance_stats, id, ret);
}

int weft_dp_instance_quality(struct weft_dp *dp, uint32_t id, struct weft_quality *ret)
{
	if (id == 0 || id >= WEFT_MAX_INSTANCES)
		return -EINVAL;
	*ret = dp->quality[id];
	return 0;
}

int weft_dp_drops(struct weft_dp *dp, uint64_t *ret)
{
	uint64_t n[WEFT_DROP_COUNT];

	for (uint32_t reason = 0; reason < WEFT_DROP_COUNT; reason++) {
		int r = dp_stats_sum(dp->skel->maps.drops, reason, &n[reason], 1);

		if (r < 0)
			return r;
	}
	memcpy(ret, n, sizeof(n));
	return 0;
}

int weft_dp_events(struct weft_dp *dp, struct weft_dp_events *ret)
{
	uint64_t n[WEFT_EVENT_COUNT];

	for (uint32_t event = 0; event < WEFT_EVENT_COUNT; event++) {
		int r = dp_stats_sum(dp->skel->maps.events, event, &n[event], 1);

		if (r < 0)
			return r;
	}
	*ret = (struct weft_dp_events){
		.displaced = n[WEFT_EVENT_DISPLACED],
		.resets = n[WEFT_EVENT_RESETS],
		.icmp_sent = n[WEFT_EVENT_ICMP_SENT],
		.icmp_limited = n[WEFT_EVENT_ICMP_LIMITED],
		.races = n[WEFT_EVENT_RACES],
	};
	return 0;
}
