/* SPDX-License-Identifier: Apache-2.0 */
/* Per-hop latency of one service's packets: probes on the kernel's tracepoints and on the devices
 * of instances, attached from start to stop and not a moment longer, also when the process dies.
 * What is measured is TCP segments with data and UDP datagrams between local clients and local
 * backends; handshakes and bare acknowledgements are not.
 *
 * Start and refresh take as long as the kernel needs to load and to attach (some 100 ms): not for
 * an event loop that has something else to do. */
#ifndef WEFT_DATAPLANE_TRACE_H
#define WEFT_DATAPLANE_TRACE_H

#include "bpf/hop_abi.h"
#include "ctrl/base/cleanup.h"
#include "ctrl/dataplane/dataplane.h"

struct weft_dp_trace;

/* What the caller knows of an instance. One it does not speak of is in the group of its kind of
 * device ("veth", "macvtap", "tap"), and there the time up to its devices is not told apart from
 * the time behind them. */
struct weft_dp_trace_instance {
	uint32_t id;
	const char *group; /* hops are counted by group: "container veth"; NULL: as above */
	const char *netns; /* path of its namespace, NULL */
};

struct weft_dp_trace_config {
	uint32_t service;
	const struct weft_dp_trace_instance *instances;
	unsigned n_instances;
	unsigned sample_every; /* packets; 0: no samples */
};

/* 0, or -ENOTSUP: the kernel has not what it takes. */
int weft_dp_trace_supported(struct weft_dp *dp, struct weft_err *err);

/* dp must outlive it. */
int weft_dp_trace_start(struct weft_dp *dp, const struct weft_dp_trace_config *config,
	struct weft_dp_trace **ret, struct weft_err *err);
/* Take note of instances that came and went; the service's own and all those that may call it.
 * -ENOENT: the service itself is gone. */
int weft_dp_trace_refresh(struct weft_dp_trace *t, struct weft_err *err);
void weft_dp_trace_stop(struct weft_dp_trace *t); /* NULL is fine */
WEFT_DEFINE_CLEANUP(struct weft_dp_trace *, weft_dp_trace_stop);

/* --- what was measured, since the start --- */

#define WEFT_DP_TRACE_GROUP 64 /* of a name, which is cut */

/* Packets of one direction and group that passed the same hooks. */
struct weft_dp_trace_way {
	char group[WEFT_DP_TRACE_GROUP];
	enum weft_hop_direction direction;
	uint32_t hooks; /* bits */
	uint64_t packets;
	/* Up to a hook from the one before; at a reply's first hook: since the request was read. */
	struct weft_hop_hist hop[WEFT_HOOK_COUNT];
	struct weft_hop_hist round_trip; /* replies: since the request's first hook */
};

struct weft_dp_trace_sample {
	char group[WEFT_DP_TRACE_GROUP];
	enum weft_hop_direction direction;
	uint32_t hooks;
	bool slowest;                    /* of its way, up to then */
	uint64_t at_ns[WEFT_HOOK_COUNT]; /* CLOCK_MONOTONIC; of the hooks in hooks */
	uint64_t read_ns;                /* reply: when the request was read, 0: not known */
};
#define WEFT_DP_TRACE_SAMPLES 64

struct weft_dp_trace_report {
	struct weft_dp_trace_way *ways; /* by group and direction, the most used first */
	unsigned n_ways;
	struct weft_hop_counts counts;
	unsigned probes; /* programs that are attached, on tracepoints and devices */
	struct weft_dp_trace_sample samples[WEFT_DP_TRACE_SAMPLES]; /* the latest; oldest first */
	unsigned n_samples;
};

/* The caller frees *ret. */
int weft_dp_trace_read(struct weft_dp_trace *t, struct weft_dp_trace_report **ret);
void weft_dp_trace_report_free(struct weft_dp_trace_report *report); /* NULL is fine */
WEFT_DEFINE_CLEANUP(struct weft_dp_trace_report *, weft_dp_trace_report_free);

/* Pure: the smallest value that at least p percent of the values are not above; known to 1/32. 0
 * for an empty histogram. */
uint64_t weft_dp_trace_percentile(const struct weft_hop_hist *h, double p);

const char *weft_dp_trace_hook_name(enum weft_hook hook); /* "host-in" */
const char *weft_dp_trace_hook_text(enum weft_hook hook);

/* The way from one hook to the next (from is READ for the turn from request to reply): a name for
 * the hop, and the part of the system that it is charged to. */
struct weft_dp_trace_hop {
	const char *name; /* "macvtap in" */
	const char *part; /* "macvtap" */
};
struct weft_dp_trace_hop weft_dp_trace_hop(enum weft_hook from, enum weft_hook to,
	bool guest /* the backend is behind a macvtap or tap */);

#endif
