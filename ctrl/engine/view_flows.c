/* SPDX-License-Identifier: Apache-2.0 */
/* The flow table as JSON, a page at a time: the table may have millions of entries, an answer has
 * so many as were asked for at most. A page ends at a place in the table, where the next one goes
 * on: behind its last entry, or where it has looked at enough for one turn of the loop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/engine/internal.h"
#include "ctrl/engine/peer.h"

/* Of the table in one turn of the loop, which is held up for a millisecond or two by that. */
#define PLACES_AT_ONCE (1U << 20)

struct flow_page {
	const struct weft_flow_query *q;
	const struct service *service;
	const struct peer *peer;
	const struct instance **by_id; /* WEFT_DP_MAX_INSTANCES of them */
	int64_t only;                  /* this instance's alone, -1: all */
	json_t *items;
	uint64_t next; /* the place where the next page begins */
};

static bool is_asked_for(const struct flow_page *p, uint32_t instance)
{
	const struct instance *i = p->by_id[instance];

	if (p->only >= 0 && instance != (uint32_t)p->only)
		return false;
	if (p->service && !(i && i->service == p->service))
		return false;
	return !p->peer || (i && i->borrowed && i->borrowed->peer == p->peer);
}

static json_t *row(const struct flow_page *p, const struct weft_dp_flow *f)
{
	const struct instance *i = p->by_id[f->instance];
	const struct peer *peer = i && i->borrowed ? i->borrowed->peer : NULL;
	const char *name = f->instance == HOST_INSTANCE ? "host" : "-";

	return json_pack("{s:s, s:s, s:s?, s:s, s:s, s:i}", "service",
		i && i->service ? i->service->name : "-", "instance", i ? i->name : name, "peer",
		peer ? peer->name : NULL, "direction", f->reverse ? "reverse" : "forward", "state",
		f->state, "idle_s", (int)f->idle_s);
}

static int add(void *userdata, const struct weft_dp_flow *f)
{
	struct flow_page *p = userdata;

	if (!is_asked_for(p, f->instance))
		return 0;
	if (json_array_size(p->items) >= p->q->limit) {
		p->next = f->place;
		return 1;
	}
	return json_array_append_new(p->items, row(p, f)) < 0 ? -ENOMEM : 0;
}

static int find_names(struct weft_engine *e, struct flow_page *p, struct weft_err *err)
{
	const struct weft_flow_query *q = p->q;
	const struct instance *only = q->instance ? instance_find(e, q->instance) : NULL;

	p->service = q->service ? service_find(e, q->service) : NULL;
	p->peer = q->peer ? peer_find(e, q->peer) : NULL;
	p->only = only ? (int64_t)only->id : -1;
	if (q->instance && strcmp(q->instance, "host") == 0)
		p->only = HOST_INSTANCE;
	if (q->service && !p->service) {
		weft_err_set(err, ENOENT, "service %s: no such service", q->service);
		return weft_err_hint(err, "weft service list");
	}
	if (q->instance && p->only < 0) {
		weft_err_set(err, ENOENT, "instance %s: no such instance", q->instance);
		return weft_err_hint(err, "weft instance list; \"host\" is the node itself");
	}
	if (q->peer && !p->peer) {
		weft_err_set(err, ENOENT, "peer %s: no such peer", q->peer);
		return weft_err_hint(err, "weft peer list");
	}
	return 0;
}

void engine_count_flows(struct weft_engine *e)
{
	weft_dp_flows_count(e->dp, e->flows, e->flows_reverse);
	e->flows_ms = (int64_t)weft_realtime_ms();
}

/* A table that a page could go over whole is counted for it; the count of a larger one is that of
 * the last sweep. */
static json_int_t count_all(struct weft_engine *e, const struct flow_page *p)
{
	json_int_t n = 0;

	if (weft_dp_flow_capacity(e->dp) <= PLACES_AT_ONCE || !e->flows_ms)
		engine_count_flows(e);
	for (uint32_t id = 0; id < WEFT_DP_MAX_INSTANCES; id++)
		if ((e->flows[id] || e->flows_reverse[id]) && is_asked_for(p, id))
			n += (json_int_t)e->flows[id] + e->flows_reverse[id];
	return n;
}

static json_t *answer(struct weft_engine *e, struct flow_page *p)
{
	uint64_t capacity = weft_dp_flow_capacity(e->dp);
	json_int_t total = count_all(e, p);

	return json_pack("{s:O, s:I, s:I, s:I, s:o}", "items", p->items, "total", total,
		"counted_ms", (json_int_t)e->flows_ms, "capacity", (json_int_t)capacity, "next",
		p->next < capacity ? json_integer((json_int_t)p->next) : json_null());
}

int weft_engine_dp_flows(
	struct weft_engine *e, const struct weft_flow_query *q, json_t **ret, struct weft_err *err)
{
	struct flow_page p = {.q = q, .next = q->after + PLACES_AT_ONCE};
	int r = find_names(e, &p, err);

	if (r < 0)
		return r;
	p.by_id = calloc(WEFT_DP_MAX_INSTANCES, sizeof(struct instance *));
	p.items = json_array();
	for (struct instance *i = e->instances; i && p.by_id; i = i->next)
		p.by_id[i->id] = i;
	r = p.by_id && p.items ? weft_dp_flows_each(e->dp, q->after, PLACES_AT_ONCE, add, &p)
			       : -ENOMEM;
	if (r >= 0)
		*ret = answer(e, &p);
	free(p.by_id);
	json_decref(p.items);
	return r < 0 ? weft_err_set(err, r, "flow table: %s", strerror(-r)) : 0;
}
