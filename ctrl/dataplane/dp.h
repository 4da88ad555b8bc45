/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the data plane: what its source files share. Nobody else includes it but its tests. */
#ifndef WEFT_DATAPLANE_DP_H
#define WEFT_DATAPLANE_DP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/weft_abi.h"
#include "ctrl/base/cleanup.h"
#include "ctrl/dataplane/dataplane.h"

struct tc_instance; /* the skeleton */

struct weft_dp {
	char *dir;
	struct tc_instance *skel;
	bool tcx;

	/* Views of the maps, shared with the kernel. */
	struct weft_meta *meta;
	struct weft_bpf_instance *instances;
	struct weft_bpf_service *services;
	uint64_t *devices;
	uint64_t *slot_dir;
	union weft_room *rooms;
	uint16_t *slots;
	struct weft_bucket *flows;
	uint32_t flow_buckets;

	uint64_t *slots_used; /* of the pool, a bit for each of the smallest rooms */

	/* When what readers may still be using was last taken out of their sight; 0: not by us, so
	 * that it may have been until we opened. */
	uint64_t opened_ns, grace_ns, freed_ns, service_retired_ns;
	uint64_t flipped_ns[WEFT_MAX_SERVICES * WEFT_POLICIES];
	uint64_t retired_ns[WEFT_MAX_INSTANCES];

	/* The vector that an instance was last seen in, to find those that are in it twice. */
	uint32_t vector, in_vector[WEFT_MAX_INSTANCES];
};

WEFT_DEFINE_CLEANUP(struct weft_dp *, weft_dp_free);

/* Wait until no program still works with what was replaced at since_ns (CLOCK_MONOTONIC, 0: before
 * we opened): at once if that is long ago, else one RCU grace period (some milliseconds). */
void dp_grace(struct weft_dp *dp, uint64_t since_ns);

/* libbpf's talk goes to the debug log. */
void dp_quiet_libbpf(void);

/* --- dp_pin.c: the directory of pins --- */
/* Make dir and what is below it, on a bpffs; mount one at /sys/fs/bpf if that is meant and empty.
 */
int dp_pin_prepare(const char *dir, struct weft_err *err);
/* malloc'ed paths, NULL when out of memory. */
char *dp_pin_map(const char *dir, const char *name);
char *dp_pin_link(const char *dir, uint32_t id);
/* The error of a step that the kernel refused: not root, or errno's own text. Returns -code. */
int dp_refused(struct weft_err *err, int code, const char *what);

/* --- dp_attach.c --- */
/* Does the kernel have tcx? prog_fd is any loaded TC program. */
bool dp_attach_probe(int prog_fd);
/* Make the program run on ifindex for instance id, whatever it was attached to before. */
int dp_attach(struct weft_dp *dp, uint32_t id, uint32_t ifindex, struct weft_err *err);
/* Put this build's program in the place of what an earlier daemon attached for id. */
int dp_attach_refresh(struct weft_dp *dp, uint32_t id, uint32_t ifindex);
void dp_detach(const char *dir, uint32_t id, uint32_t ifindex);

/* --- dp_target.c: semantic addresses --- */
bool dp_semantic(struct in_addr addr);
bool dp_semantic6(const struct in6_addr *addr);
int dp_target_get(struct weft_dp *dp, struct in_addr addr, uint32_t *ret);
int dp_target_get6(struct weft_dp *dp, const struct in6_addr *addr, uint32_t *ret);
int dp_target_set(struct weft_dp *dp, struct in_addr addr, uint32_t target);
int dp_target_set6(struct weft_dp *dp, const struct in6_addr *addr, uint32_t target);
/* Set to nothing if it means target now. Address 0: nothing to do. */
void dp_target_clear(struct weft_dp *dp, struct in_addr addr, uint32_t target);
void dp_target_clear6(struct weft_dp *dp, const struct in6_addr *addr, uint32_t target);
bool dp_any6(const struct in6_addr *addr); /* :: */
/* Does it mean something that is there? */
bool dp_target_held(struct weft_dp *dp, uint32_t target);
/* "service 3's", for errors. */
const char *dp_target_whose(uint32_t target, char buf[32]);

/* --- dp_slots.c: the pool of slots --- */
/* Learn from the maps what is in use. */
int dp_slots_open(struct weft_dp *dp);
/* Have key (of weft_service_policy()) use these slots from now on; length 0 gives its room back. */
int dp_slots_flip(struct weft_dp *dp, uint32_t key, const uint16_t *ids, uint16_t length);

/* --- dp_flows.c --- */
/* Delete every word of backend id that is not of its present generation. */
void dp_flows_forget(struct weft_dp *dp, uint32_t id);

/* --- dp_stats.c --- */
int dp_stats_reset(int map_fd, uint32_t key);

#endif
