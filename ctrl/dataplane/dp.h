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
	struct weft_slots *slots;
	struct weft_bucket *flows;
	uint32_t flow_buckets;

	/* When what readers may still be using was last taken out of their sight. */
	uint64_t grace_ns;
	uint64_t flipped_ns[WEFT_MAX_SERVICES];
	uint64_t retired_ns[WEFT_MAX_INSTANCES];
};

WEFT_DEFINE_CLEANUP(struct weft_dp *, weft_dp_free);

/* Wait until no program still works with what was replaced at since_ns (CLOCK_MONOTONIC): at once
 * if that is long ago, else one RCU grace period (some milliseconds). */
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

/* --- dp_instance.c, dp_service.c: semantic addresses --- */
int dp_target_get(struct weft_dp *dp, struct in_addr addr, uint32_t *ret);
int dp_target_set(struct weft_dp *dp, struct in_addr addr, uint32_t target);
/* Set to nothing if it means target now. */
int dp_target_clear(struct weft_dp *dp, struct in_addr addr, uint32_t target);
bool dp_semantic(struct in_addr addr);

/* --- dp_flows.c --- */
/* Delete every word of backend id that is not of its present generation. */
void dp_flows_forget(struct weft_dp *dp, uint32_t id);

/* --- dp_stats.c --- */
int dp_stats_reset(int map_fd, uint32_t key);

#endif
