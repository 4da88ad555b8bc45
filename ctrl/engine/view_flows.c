/* SPDX-License-Identifier: Apache-2.0 */
/* The flow table as JSON, a page at a time: the table may have millions of entries, an answer has
 * so many as were asked for. A page ends at a place in the table, where the next one goes on. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/engine/internal.h"
#include "ctrl/engine/peer.h"

struct flow_page {
	const struct weft_flow_query *q;
	const struct service *service;
	const struct peer *peer;
	const struct instance **by_id; /* WEFT_DP_MAX_INSTANCES of them */
	int64_t only;                  /* this instance's alone, -1: all */
	json_t *items;
	json_int_t total;
	uint64_t last; /* the place of the last one in the page */
	bool more;     /* there are some behind it */
};

static bool is_asked_for(const struct flow_page *p, const struct weft_dp_flow *f)
{
	const struct instance *i = p->by_id[f->instance];

	if (p->only >= 0 && f->instance != (uint32_t)p->only)
		return false;
	if (p->service && f->service != p->service->id)
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

	if (!is_asked_for(p, f))
		return 0;
	p->total++;
	if (f->place < p->q->after)
		return 0;
	if (json_array_size(p->items) >= p->q->limit) {
		p->more = true;
		return 0;
	}
	p->last = f->place;
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

int weft_engine_dp_flows(
	struct weft_engine *e, const struct weft_flow_query *q, json_t **ret, struct weft_err *err)
{
	struct flow_page p = {.q = q};
	int r = find_names(e, &p, err);

	if (r < 0)
		return r;
	p.by_id = calloc(WEFT_DP_MAX_INSTANCES, sizeof(struct instance *));
	p.items = json_array();
	for (struct instance *i = e->instances; i && p.by_id; i = i->next)
		p.by_id[i->id] = i;
	r = p.by_id && p.items ? weft_dp_flows_each(e->dp, add, &p) : -ENOMEM;
	free(p.by_id);
	if (r < 0) {
		json_decref(p.items);
		return weft_err_set(err, r, "flow table: %s", strerror(-r));
	}
	*ret = json_pack("{s:o, s:I, s:I, s:o}", "items", p.items, "total", p.total, "capacity",
		(json_int_t)weft_dp_flow_capacity(e->dp), "next",
		p.more ? json_integer((json_int_t)p.last + 1) : json_null());
	return 0;
}
