/* SPDX-License-Identifier: Apache-2.0 */
/* What has happened on this node, in order: services, instances, swaps' steps, every change of
 * weights. A bounded log with a sequence number that only grows, also over restarts, and that no
 * other event gets when the disk has not taken the one that had it; each entry is one line of JSON
 * (the event of ctrl/schema/api.md) with wall-clock and monotonic time, so that it can be laid over
 * a measurement made on this machine. */
#ifndef WEFT_ENGINE_EVENTS_H
#define WEFT_ENGINE_EVENTS_H

#include <jansson.h>
#include <stdint.h>

#include "ctrl/base/cleanup.h"

#define WEFT_EVENTS_MAX       4096       /* entries held */
#define WEFT_EVENTS_MAX_BYTES (1U << 20) /* of their text: the oldest go first */

struct weft_events;

/* Read what path holds of earlier daemons and write to it from now on; NULL: only in memory. A file
 * that cannot be read or written costs the history, never the log: 0, or -ENOMEM. */
int weft_events_open(const char *path, struct weft_events **ret);
void weft_events_free(struct weft_events *l);
WEFT_DEFINE_CLEANUP(struct weft_events *, weft_events_free);

/* kind "weights", action "set", object "shop.web". data is taken over, and may be NULL. The time is
 * that of the call. Without memory the event is lost, and its number with it. l NULL: nothing. */
void weft_events_add(struct weft_events *l, const char *kind, const char *action,
	const char *object, json_t *data);

/* Numbers of the oldest and the newest that are held: first == last + 1 when none is. */
uint64_t weft_events_first(const struct weft_events *l);
uint64_t weft_events_last(const struct weft_events *l);
/* Its line, without a newline, valid until the next weft_events_add(); NULL: not held. */
const char *weft_events_line(const struct weft_events *l, uint64_t seq);
/* The number to begin at for one who has seen all up to since: a number beyond the last one is of
 * another log, of which nothing is known here. */
uint64_t weft_events_next(const struct weft_events *l, uint64_t since);

/* Be called with each event, before the listener is: the engine, which gives what it is about that
 * number as its version. */
typedef void (*weft_events_observe_t)(void *userdata, uint64_t seq, const json_t *event);
void weft_events_observe(struct weft_events *l, weft_events_observe_t observe, void *userdata);
/* The same for those that are held, the oldest first. */
void weft_events_replay(const struct weft_events *l, weft_events_observe_t observe, void *userdata);

/* Be called after each event; there is one listener. */
void weft_events_listen(struct weft_events *l, void (*news)(void *userdata), void *userdata);

#endif
