/* SPDX-License-Identifier: Apache-2.0 */
/* The phases of a run. A phase begins at a time and lasts until the next one begins; a request
 * belongs to the phase in which its intended time lies.
 *
 * One thread (the main one) adds phases; the others only look them up, without a lock: what they
 * need of a phase is written before the count that makes it visible. */
#ifndef WEFT_LOADGEN_PHASE_H
#define WEFT_LOADGEN_PHASE_H

#include <stdbool.h>
#include <stdint.h>

#include "ctrl/base/hist.h"
#include "loadgen/options.h"
#include "loadgen/protocol.h"

enum { LOAD_PHASES_MAX = 64 };

/* What one thread did in one phase. */
struct load_stats {
	uint64_t requests; /* that came to an end: by_class adds up to it */
	uint64_t by_class[LOAD_CLASS_COUNT];
	uint64_t retries;                    /* sent again after a stale connection */
	uint64_t stale;                      /* requests (or retries) that met a stale connection */
	uint64_t reconnects;                 /* connections opened in place of an earlier one */
	uint64_t bytes;                      /* received, headers included */
	struct weft_hist *latency, *service; /* ns, of the requests that are LOAD_OK */
};

uint64_t load_stats_failed(const struct load_stats *s);
int load_stats_init(struct load_stats *s); /* histograms; -ENOMEM */
void load_stats_done(struct load_stats *s);
int load_stats_merge(struct load_stats *to, const struct load_stats *from);

struct load_phases;

int load_phases_new(unsigned threads, struct load_phases **ret);
void load_phases_free(struct load_phases *p);
WEFT_DEFINE_CLEANUP(struct load_phases *, load_phases_free);

/* The main thread. start is weft_now_ns() time and not before the last phase's. -ENOSPC: there are
 * LOAD_PHASES_MAX already; -ENOMEM. */
int load_phases_add(struct load_phases *p, const char *name, uint64_t start, bool warmup);
void load_phases_rename(struct load_phases *p, unsigned phase, const char *name);
unsigned load_phases_count(const struct load_phases *p);
const char *load_phases_name(const struct load_phases *p, unsigned phase);
bool load_phases_warmup(const struct load_phases *p, unsigned phase);
uint64_t load_phases_start(const struct load_phases *p, unsigned phase);

/* Any thread. The phase in which a time lies; times before the first phase lie in the first. */
unsigned load_phases_find(const struct load_phases *p, uint64_t time);

/* Of a thread itself while it runs, of the main thread afterwards. */
struct load_stats *load_phases_stats(struct load_phases *p, unsigned phase, unsigned thread);

#endif
