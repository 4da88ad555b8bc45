/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of a trace: what dp_trace.c and dp_trace_read.c share. */
#ifndef WEFT_DATAPLANE_TRACE_INTERNAL_H
#define WEFT_DATAPLANE_TRACE_INTERNAL_H

#include "bpf/weft_abi.h"
#include "ctrl/dataplane/dp_trace.h"
#include "ctrl/dataplane/link.h"

#define TRACE_DEVICES 64 /* with a probe of their own: each costs a grace period to attach */
#define TRACE_LINKS   16

struct hop_probe; /* the skeleton */
struct bpf_link;
struct ring_buffer;

struct trace_known {
	uint32_t id;
	struct weft_bpf_instance inst; /* as it was when it was added */
	struct weft_link_way way;
};

struct weft_dp_trace {
	struct weft_dp *dp;
	uint32_t service, epoch;
	const struct weft_dp_trace_instance *instances; /* the caller's */
	unsigned n_instances;
	struct hop_probe *skel;

	char *groups[WEFT_HOP_GROUPS];
	unsigned n_groups;
	struct trace_known *known;
	unsigned n_known, room_known;
	uint8_t watched_home[WEFT_HOP_DEVICES], watched_away[WEFT_HOP_DEVICES];

	struct bpf_link *links[TRACE_LINKS];
	unsigned n_links;
	int devices[TRACE_DEVICES]; /* links as well */
	unsigned n_devices;

	struct ring_buffer *ring;
	struct weft_dp_trace_sample samples[WEFT_DP_TRACE_SAMPLES]; /* a ring, too */
	unsigned long n_samples;                                    /* ever */
};

int trace_samples_open(struct weft_dp_trace *t);

#endif
