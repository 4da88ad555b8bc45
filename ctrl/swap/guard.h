/* SPDX-License-Identifier: Apache-2.0 */
/* How a swap's new instances do beside the old ones, by what the data plane counts: pure functions.
 *
 * A request is a connection, or a segment with data from the client, whichever there are more of. A
 * failed one was refused, reset, answered by an ICMP error, or got no answer for
 * WEFT_GUARD_PATIENCE ms. What an answer says is not looked at: an error page is an answer. */
#ifndef WEFT_SWAP_GUARD_H
#define WEFT_SWAP_GUARD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "bpf/weft_abi.h"
#include "ctrl/base/err.h"
#include "sched/sla.h"

#define WEFT_GUARD_PATIENCE_MS 2000

/* One instance at one moment. */
struct weft_guard_count {
	uint64_t cpu_ns;
	struct weft_quality quality;
};

/* What happened to one side, or several of its instances, in some time. */
struct weft_guard_sum {
	uint64_t requests, refused, resets, unreachable;
	uint64_t silent;          /* connections that were not answered in time */
	uint64_t unheard, waited; /* of waited requests that were timed, those without an answer */
	uint64_t timed, cpu_ns;
	uint32_t latency[WEFT_LATENCY_BUCKETS];
};

/* Add what happened to an instance between two counts. */
void weft_guard_add(struct weft_guard_sum *sum, const struct weft_guard_count *from,
	const struct weft_guard_count *to);
/* What of an instance's connections and requests that had begun by `then` is not answered `now`. */
void weft_guard_wait(struct weft_guard_sum *sum, const struct weft_guard_count *from,
	const struct weft_guard_count *then, const struct weft_guard_count *now);
uint64_t weft_guard_failed(const struct weft_guard_sum *sum);
/* The latency that percent of the timed requests did not exceed, within a tenth or so; 0: none. */
uint64_t weft_guard_latency_ns(const struct weft_guard_sum *sum, double percent);

/* Are the new ones too bad to go on with? err then says why, without naming them. */
bool weft_guard_judge(const struct weft_sla_guard *guard, const struct weft_guard_sum *old,
	const struct weft_guard_sum *coming, struct weft_err *err);

/* What a phase of a swap did to a side. */
struct weft_guard_effect {
	uint64_t requests, failed;
	uint32_t p50_us, p90_us, p99_us; /* 0: nothing was timed */
	uint32_t cpu_ms;
};
struct weft_guard_effect weft_guard_effect(const struct weft_guard_sum *sum);
json_t *weft_guard_effect_to_json(const struct weft_guard_effect *e);
void weft_guard_effect_from_json(const json_t *doc, struct weft_guard_effect *ret);

#endif
