/* SPDX-License-Identifier: Apache-2.0 */
/* Hot-swap (paper, section 3.3) as pure functions: what a plan's share is at a time, and which
 * state follows from what is observed. No I/O and no clock; ctrl/engine observes, stores each edge,
 * and only then acts on it.
 *
 *                  ┌────────────── the next batch ──────────────┐
 *   prepare ─► start-new ─► warm ─► shift ─► drain ─► stop-old ─► done
 *      └──────────┴──────────┴───────┴────────┴──► rollback ─► rolled-back
 *
 * A plan's batch says how many instances are swapped at a time. What an earlier batch has swapped
 * already is not undone by a rollback itself: the service, which then still counts as what it was,
 * replaces those instances one by one afterwards. */
#ifndef WEFT_SWAP_H
#define WEFT_SWAP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"
#include "ctrl/base/virt.h"
#include "ctrl/swap/guard.h"
#include "sched/sla.h"

enum weft_swap_state {
	WEFT_SWAP_PREPARE,   /* the new variant's image is made ready */
	WEFT_SWAP_START_NEW, /* its instances are started */
	WEFT_SWAP_WARM,      /* until each of them answers */
	WEFT_SWAP_SHIFT,     /* new flows move over by weights */
	WEFT_SWAP_DRAIN,     /* the old instances' flows end, up to a deadline */
	WEFT_SWAP_STOP_OLD,  /* the old instances are removed: no way back */
	WEFT_SWAP_DONE,
	WEFT_SWAP_ROLLBACK, /* all weight is on the old instances, the new ones drain and go */
	WEFT_SWAP_ROLLED_BACK,
	WEFT_SWAP_STATE_COUNT,
};

/* The new instances' share of new flows in percent after elapsed_ms of shifting: 0..100, never
 * falling. Linear and exponential (which doubles its steps: 1, 2, 4, ...) reach 100 at duration_ms;
 * canary holds each of its steps for hold_ms; at-once and blue-green begin with 100. */
unsigned weft_swap_share(const struct weft_sla_swap *plan, uint64_t elapsed_ms);
uint64_t weft_swap_shift_ms(const struct weft_sla_swap *plan); /* how long it takes */
/* Is the shift over then? Blue-green keeps the old instances for hold_ms after it has reached 100,
 * so that turning back costs nobody a connection. */
bool weft_swap_shifted(const struct weft_sla_swap *plan, uint64_t elapsed_ms);

/* Which instances a swap's step is about. */
enum weft_swap_side {
	WEFT_SWAP_OLD,     /* not yet to be swapped, */
	WEFT_SWAP_LEAVING, /* being swapped now, */
	WEFT_SWAP_COMING,  /* for these, */
	WEFT_SWAP_NEW,     /* and swapped by an earlier batch */
	WEFT_SWAP_NONE,    /* of no concern to the swap */
};

/* What the engine sees of a running swap. */
struct weft_swap_observation {
	bool prepared;        /* the image is ready */
	unsigned new_total;   /* instances of this batch that exist */
	unsigned new_running; /* of them: their process runs (warming or ready) */
	unsigned new_ready;   /* of them: answering */
	unsigned old_left;    /* leaving instances not yet removed */
	uint64_t state_ms;    /* time in the present state, without what a dead daemon missed */
	uint32_t old_flows;   /* live flows of the leaving instances */
	bool failed;          /* a new instance failed, the guard fired, or somebody aborted */
	bool paused;          /* by hand: no edge but the one back */
	bool more;            /* another batch is to come after this one */
	bool handed_over;     /* of a service with a handover: the new instances have it all */
};

/* The state that follows, which is the present one while nothing is due; wanted is how many new
 * instances this batch has. */
enum weft_swap_state weft_swap_next(enum weft_swap_state state, const struct weft_sla_swap *plan,
	unsigned wanted, const struct weft_swap_observation *o);

bool weft_swap_ended(enum weft_swap_state s); /* done or rolled-back */
/* Is abort possible? After a handover the new instances alone have what was written since. */
bool weft_swap_can_turn_back(enum weft_swap_state s, const struct weft_sla_swap *plan);

const char *weft_swap_state_name(enum weft_swap_state s);
int weft_swap_state_parse(const char *s); /* the enum or -EINVAL */

/* One swap, as it is stored and shown. Times are ms since the epoch. */
#define WEFT_SWAP_MAX_INSTANCES 256 /* replicas, and what failed or drains beside them */
#define WEFT_SWAP_MAX_TRACE     512
#define WEFT_SWAP_MAX_PHASES    64 /* the last ones are kept */

struct weft_swap_phase {
	enum weft_swap_state state;
	uint64_t started_ms, ended_ms; /* ended 0: still in it */
	char detail[160];
	struct weft_guard_effect old, coming; /* once it has ended: what became of either side */
};

struct weft_swap_mark {
	uint64_t t_ms;
	uint8_t new_percent;
};

struct weft_swap {
	char id[24];
	char service[128];
	enum weft_virt from, to;
	enum weft_swap_state state;
	struct weft_sla_swap plan;
	unsigned wanted; /* new instances asked for */
	char *old_ids[WEFT_SWAP_MAX_INSTANCES];
	unsigned n_old;
	char *new_ids[WEFT_SWAP_MAX_INSTANCES];
	unsigned n_new;
	/* The present batch: old_ids[old_first..old_end) leave for new_ids[new_first..n_new). */
	unsigned old_first, old_end, new_first;
	bool paused;
	uint64_t started_ms, ended_ms; /* ended 0: running */
	uint64_t state_ms;             /* time spent in the present state, as last stored */
	uint8_t batch_percent;         /* what the coming ones have of the batch's new flows */
	struct weft_swap_phase phases[WEFT_SWAP_MAX_PHASES];
	unsigned n_phases;
	struct weft_swap_mark trace[WEFT_SWAP_MAX_TRACE];
	unsigned n_trace;
	struct weft_err error; /* why it was turned back; code 0: it was not */
	uint64_t version;      /* of the engine's: shown, not stored */
};

void weft_swap_free(struct weft_swap *s);
WEFT_DEFINE_CLEANUP(struct weft_swap *, weft_swap_free);

enum weft_swap_side weft_swap_side(const struct weft_swap *s, const char *instance);
/* How many new instances this batch is to have: the last one takes what is left. */
unsigned weft_swap_batch_size(const struct weft_swap *s);
bool weft_swap_has_more(const struct weft_swap *s);
/* Enter start-new: the next batch, which takes as many of the old ones as it brings new ones, and
 * the last one all that are left. */
void weft_swap_next_batch(struct weft_swap *s);
/* What becomes of an instance's own weight while the coming ones have percent of the batch's new
 * flows, in a unit common to all of the service. leaving and coming are the sums of the weights of
 * those sides that are able: a side's share does not depend on how many it has, and the batch as a
 * whole keeps what the leaving ones had, so that the rest keep theirs. */
uint64_t weft_swap_part(enum weft_swap_side side, unsigned percent, uint64_t weight,
	uint64_t leaving, uint64_t coming);

/* Go to a state at now_ms: closes the phase before and opens the next. */
void weft_swap_enter(struct weft_swap *s, enum weft_swap_state state, uint64_t now_ms);
/* The batch's share has become percent. A share of all new flows that equals the last one is not
 * noted in the trace; a full trace keeps its first half and thins it. */
void weft_swap_mark(struct weft_swap *s, unsigned percent, uint64_t now_ms);
/* The new instances' share of all new flows, in percent. */
unsigned weft_swap_overall(const struct weft_swap *s);

/* The stored document and back; also the API's resource (ctrl/schema/api.md). */
json_t *weft_swap_to_json(const struct weft_swap *s);
int weft_swap_from_json(const json_t *doc, struct weft_swap **ret, struct weft_err *err);

#endif
