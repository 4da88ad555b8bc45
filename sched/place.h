/* SPDX-License-Identifier: Apache-2.0 */
/* Placement: prune the nodes by filters, score what is left, decide. Pure: no I/O, no clock, the
 * same input gives the same answer. */
#ifndef WEFT_SCHED_PLACE_H
#define WEFT_SCHED_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctrl/base/err.h"
#include "ctrl/base/virt.h"

/* A node as it advertises itself. */
struct weft_sched_node {
	const char *name;
	bool ready;                                          /* its lease is alive */
	bool offers[WEFT_VIRT_COUNT][WEFT_ARCH_COUNT];       /* probed tuples */
	const char *lacks[WEFT_VIRT_COUNT][WEFT_ARCH_COUNT]; /* why not, NULL or "": not said */
	uint32_t memory_mb, memory_free_mb;
	uint32_t cpu_milli, cpu_free_milli; /* thousandths of a CPU */
	uint32_t addresses_free;            /* namespace addresses left in its subnet */
};

struct weft_sched_request {
	const char *service; /* for the texts */
	const char *node;    /* direct constraint, NULL: any */
	enum weft_virt virt;
	bool arch[WEFT_ARCH_COUNT]; /* acceptable ones */
	uint32_t memory_mb, cpu_milli;
};

struct weft_sched_decision {
	size_t node; /* index into nodes */
	enum weft_arch arch;
	double score;
};

/* Best fit. -ENODEV: no node is left; err says for every node (for the first few of many) which
 * filter refused it and with what numbers: "node edge-1: memory: 512 MiB wanted, 128 MiB free". */
int weft_sched_place(const struct weft_sched_request *request, const struct weft_sched_node *nodes,
	size_t n_nodes, struct weft_sched_decision *ret, struct weft_err *err);

#endif
