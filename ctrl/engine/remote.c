/* SPDX-License-Identifier: Apache-2.0 */
/* Instances of peers, as those told of them: clients that may call, and backends of the services of
 * the same name. Nothing here starts or stops them; what is told next replaces what was told. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/peer.h"

#define MAX_ITEMS    1024
#define NAME_MAX_LEN 76
#define SERVICE_MAX  300
#define IS_REMOTE(i) ((i)->borrowed && (i)->borrowed->peer)
#define IS_OF(i, p)  ((i)->borrowed && (i)->borrowed->peer == (p))
#define SEMANTIC_NET (10u << 8 | 30u) /* 10.30.0.0/16 */

bool remote_is_cut_off(const struct instance *inst)
{
	return IS_REMOTE(inst) && inst->borrowed->peer->problem[0];
}

/* --- its record ----------------------------------------------------------------------------------
 */

static int put(const struct instance *inst, const char *of, uint32_t weight, struct weft_err *err)
{
	json_auto_t *doc = borrowed_pack(inst, weight);
	json_auto_t *own =
		json_pack("{s:s, s:s*}", "peer", inst->borrowed->peer->name, "service", of);

	if (json_object_update(doc, own) < 0)
		return weft_err_set(err, ENOMEM, "out of memory");
	return weft_store_put(inst->engine->store, "remote", inst->name, doc, err);
}

int remote_store(struct instance *inst, struct weft_err *err)
{
	return put(inst, inst->borrowed->of, inst->borrowed->weight, err);
}

static int unpack(struct instance *inst, const json_t *doc)
{
	const char *peer, *of = NULL;

	if (borrowed_unpack(inst, doc) < 0 ||
		json_unpack((json_t *)doc, "{s:s, s?s}", "peer", &peer, "service", &of) < 0)
		return -EBADMSG;
	inst->borrowed->peer = peer_find(inst->engine, peer);
	if (!inst->borrowed->peer)
		return -EBADMSG;
	inst->borrowed->of = of ? strdup(of) : NULL;
	inst->service = of ? service_find(inst->engine, of) : NULL;
	return of && !inst->borrowed->of ? -ENOMEM : 0;
}

int remote_restore(void *engine, const char *name, const json_t *doc)
{
	struct weft_engine *e = engine;
	struct instance *inst = attached_new(e, name);
	int r = inst ? unpack(inst, doc) : -ENOMEM;

	if (r < 0) {
		log_error("stored instance %s of a peer cannot be read: %s", name, strerror(-r));
		instance_free(inst);
		return r;
	}
	attached_enlist(inst);
	e->last_instance_id = inst->id > e->last_instance_id ? inst->id : e->last_instance_id;
	return 0;
}

/* --- in the data plane ---------------------------------------------------------------------------
 */

int remote_join(struct instance *inst, struct weft_err *err)
{
	struct weft_dp_instance dpi = {
		.id = inst->id,
		.service = inst->service ? inst->service->id : 0,
		.ns_addr = inst->ns_addr,
		.inst_addr = inst->inst_addr,
		.ns_addr6 = inst->engine->no_ipv6.code ? in6addr_any : inst->ns_addr6,
		.inst_addr6 = inst->engine->no_ipv6.code ? in6addr_any : inst->inst_addr6,
		.device = WEFT_DP_DEV_REMOTE,
		.peer = inst->borrowed->peer->id,
	};

	return weft_dp_instance_set(inst->engine->dp, &dpi, err);
}

/* It is what it is at its peer, and has to be asked anew whether it serves here. */
static void bind_to(struct instance *inst, struct service *s)
{
	inst->service = s;
	inst->rtt_us = inst->load = -1;
	inst->probe = (weft_probe_free(inst->probe), NULL);
	inst->rtt_probe = (weft_probe_free(inst->rtt_probe), NULL);
	inst->phase = PHASE_WARMING;
	attached_resume(inst);
}

void remotes_bind(struct service *s)
{
	for (struct instance *i = s->engine->instances; i; i = i->next)
		if (IS_REMOTE(i) && !i->service && i->borrowed->of &&
			(strcmp(i->borrowed->of, s->name) == 0 ||
				strcmp(i->borrowed->of, s->spec->job_name) == 0))
			bind_to(i, s);
}

void remote_unbind(struct instance *inst)
{
	struct service *s = inst->service;

	inst->phase = PHASE_WARMING;
	service_weigh(s);
	bind_to(inst, NULL);
}

/* --- what a peer tells ---------------------------------------------------------------------------
 */

struct item {
	const char *id, *of;
	char name[NAME_MAX_LEN + 80]; /* here: ID@PEER */
	struct in_addr ns, inst;
	struct in6_addr ns6, inst6; /* both or none */
	uint32_t weight;
	struct instance *known, *fresh; /* one of them */
};

struct import {
	struct peer *peer;
	struct item *items;
	size_t n, n_fresh;
};

static void import_done(struct import *im)
{
	for (size_t i = 0; i < im->n; i++)
		instance_free(im->items[i].fresh);
	free(im->items);
}

static int bad(const struct import *im, size_t i, const char *what, struct weft_err *err)
{
	weft_err_set(err, EINVAL, "peer %s: instances[%zu]: %s", im->peer->name, i, what);
	return weft_err_hint(err, "what `weft peer export` prints on that node");
}

static bool is_semantic(const struct in6_addr *a)
{
	return a->s6_addr[0] == 0xfd && a->s6_addr[1] == 0xff;
}

static int read_ipv6(struct item *it, const json_t *v)
{
	struct instance told = {0};
	bool none;

	if (instance_ipv6_from_json(&told, v) < 0)
		return -EINVAL;
	none = IN6_IS_ADDR_UNSPECIFIED(&told.ns_addr6);
	if (none != IN6_IS_ADDR_UNSPECIFIED(&told.inst_addr6) ||
		(!none && (is_semantic(&told.ns_addr6) || !is_semantic(&told.inst_addr6) ||
				  IN6_IS_ADDR_MULTICAST(&told.ns_addr6) ||
				  IN6_IS_ADDR_LINKLOCAL(&told.ns_addr6) ||
				  IN6_IS_ADDR_V4MAPPED(&told.ns_addr6) ||
				  IN6_IS_ADDR_LOOPBACK(&told.ns_addr6))))
		return -EINVAL;
	it->ns6 = told.ns_addr6;
	it->inst6 = told.inst_addr6;
	return 0;
}

static int read_item(const struct import *im, const json_t *v, size_t i, struct weft_err *err)
{
	struct item *it = &im->items[i];
	const char *ns, *in;
	int weight = 0;

	if (json_unpack((json_t *)v, "{s:s, s?s, s:s, s:s, s?i}", "id", &it->id, "service", &it->of,
		    "ns_addr", &ns, "inst_addr", &in, "weight", &weight) < 0)
		return bad(im, i,
			"must have id, ns_addr and inst_addr, and may have service and weight",
			err);
	if (!weft_name_valid(it->id, NAME_MAX_LEN))
		return bad(im, i, "its id is no name", err);
	if (it->of && (!*it->of || strlen(it->of) > SERVICE_MAX))
		return bad(im, i, "its service is no name", err);
	if (weight < 0 || weight > WEFT_DP_MAX_WEIGHT)
		return bad(im, i, "a weight is 0 to 1000", err);
	if (inet_pton(AF_INET, ns, &it->ns) != 1 || !weft_ns_addr_valid(it->ns))
		return bad(im, i, "its ns_addr is not an address that an interface can have", err);
	if (inet_pton(AF_INET, in, &it->inst) != 1 || ntohl(it->inst.s_addr) >> 16 != SEMANTIC_NET)
		return bad(im, i, "its inst_addr is not in 10.30.0.0/16", err);
	if (read_ipv6(it, v) < 0)
		return bad(im, i, "its ns_addr6 and inst_addr6 are not a pair that can be", err);
	it->weight = (uint32_t)weight;
	snprintf(it->name, sizeof(it->name), "%s@%s", it->id, im->peer->name);
	return 0;
}

static bool same6(const struct in6_addr *a, const struct in6_addr *b)
{
	return !IN6_IS_ADDR_UNSPECIFIED(a) && IN6_ARE_ADDR_EQUAL(a, b);
}

/* Who has one of its addresses here, NULL: nobody. */
static const char *holder(const struct import *im, const struct item *it)
{
	struct weft_engine *e = im->peer->engine;

	for (struct instance *i = e->instances; i; i = i->next)
		if (!IS_OF(i, im->peer) &&
			(i->ns_addr.s_addr == it->ns.s_addr ||
				i->inst_addr.s_addr == it->inst.s_addr ||
				same6(&it->ns6, &i->ns_addr6) || same6(&it->inst6, &i->inst_addr6)))
			return i->name;
	for (struct service *s = e->services; s; s = s->next)
		for (int p = 0; p < WEFT_DP_POLICIES; p++)
			if (s->vip[p].s_addr == it->inst.s_addr || same6(&it->inst6, &s->vip6[p]))
				return s->name;
	return same6(&it->ns6, &e->gateway6) || it->ns.s_addr == e->gateway.s_addr ||
			       it->inst.s_addr == engine_host_addr(e).s_addr
		       ? "this node itself"
		       : NULL;
}

static int check_item(const struct import *im, size_t i, struct weft_err *err)
{
	const struct item *it = &im->items[i];
	const char *by = holder(im, it);

	if (by) {
		weft_err_set(err, EADDRINUSE,
			"peer %s: an address of its instance %s is already taken by %s",
			im->peer->name, it->id, by);
		return weft_err_hint(err,
			"give each node a --subnet, --subnet6 and range of --instances of its own");
	}
	for (size_t k = 0; k < i; k++) {
		const struct item *o = &im->items[k];

		if (strcmp(o->id, it->id) == 0 || o->ns.s_addr == it->ns.s_addr ||
			o->inst.s_addr == it->inst.s_addr || same6(&o->ns6, &it->ns6) ||
			same6(&o->inst6, &it->inst6))
			return bad(im, i, "another one has its id or one of its addresses", err);
	}
	return 0;
}

static int read_items(struct import *im, const json_t *doc, struct weft_err *err)
{
	const json_t *list = json_object_get(doc, "instances"), *v;
	size_t i, n = json_array_size(list);

	if (!json_is_array(list)) {
		weft_err_set(err, EINVAL, "peer %s: instances: must be a list", im->peer->name);
		return weft_err_hint(err, "what `weft peer export` prints on that node");
	}
	if (n > MAX_ITEMS)
		return weft_err_set(err, E2BIG, "peer %s: %zu instances, %d at most",
			im->peer->name, n, MAX_ITEMS);
	im->items = calloc(n + 1, sizeof(*im->items));
	if (!im->items)
		return weft_err_set(err, ENOMEM, "out of memory");
	im->n = n;
	json_array_foreach (list, i, v) {
		int r = read_item(im, v, i, err);

		if (r == 0)
			r = check_item(im, i, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Numbers go round: one is handed out twice if more are asked for than there are. */
static size_t numbers_left(const struct weft_engine *e)
{
	size_t left = HOST_INSTANCE - 1;

	for (const struct instance *i = e->instances; i && left; i = i->next)
		left--;
	return left;
}

/* One that is the same as before keeps its place in the data plane, and its flows. */
static int find_or_make(struct import *im, struct item *it, struct weft_err *err)
{
	struct weft_engine *e = im->peer->engine;
	struct instance *i = instance_find(e, it->name);

	if (i && i->ns_addr.s_addr == it->ns.s_addr && i->inst_addr.s_addr == it->inst.s_addr &&
		IN6_ARE_ADDR_EQUAL(&i->ns_addr6, &it->ns6) &&
		IN6_ARE_ADDR_EQUAL(&i->inst_addr6, &it->inst6)) {
		it->known = i;
		return 0;
	}
	i = attached_new(e, it->name);
	if (!i)
		return weft_err_set(err, ENOMEM, "out of memory");
	it->fresh = i;
	i->id = im->n_fresh++ < numbers_left(e) ? engine_next_id(e) : 0;
	if (!i->id) {
		weft_err_set(err, ENOSPC, "node %s: no number is left for instance %s",
			e->config.node, it->name);
		return weft_err_hint(err, "remove services or peers");
	}
	e->last_instance_id = i->id;
	i->ns_addr = it->ns;
	i->inst_addr = it->inst;
	i->ns_addr6 = it->ns6;
	i->inst_addr6 = it->inst6;
	i->phase = PHASE_WARMING;
	i->created_ms = weft_realtime_ms();
	i->borrowed->peer = im->peer;
	i->borrowed->weight = it->weight;
	i->borrowed->of = it->of ? strdup(it->of) : NULL;
	return it->of && !i->borrowed->of ? weft_err_set(err, ENOMEM, "out of memory") : 0;
}

static bool is_told(const struct import *im, const struct instance *inst)
{
	for (size_t i = 0; i < im->n; i++)
		if (im->items[i].known == inst)
			return true;
	return false;
}

static int store_all(const struct import *im, struct weft_err *err)
{
	struct weft_store *store = im->peer->engine->store;
	int r = weft_store_begin(store, err), end;

	if (r < 0)
		return r;
	for (struct instance *i = im->peer->engine->instances; i && r == 0; i = i->next)
		if (IS_OF(i, im->peer) && !is_told(im, i))
			r = weft_store_del(store, "remote", i->name, err);
	for (size_t i = 0; i < im->n && r == 0; i++) {
		const struct item *it = &im->items[i];

		r = put(it->known ? it->known : it->fresh, it->of, it->weight, err);
	}
	if (r == 0)
		r = peer_store(im->peer, err);
	end = weft_store_end(store, r == 0, r == 0 ? err : NULL);
	return r < 0 ? r : end;
}

/* Its record is gone already. */
static void leave_service(struct instance *inst)
{
	struct service *s = inst->service;
	struct weft_err err = {0};

	inst->phase = PHASE_STOPPING; /* so that it has no weight any more */
	if (!s)
		return;
	if (s->hand) {
		hand_drop(s, inst);
		if (service_store(s, &err) < 0)
			log_error("%s", err.msg);
	}
	service_weigh(s);
}

/* Those of the peer that are not told of any more: im NULL, none is. First out of the weights. */
static void leave_all(struct peer *p, const struct import *im)
{
	weights_hold(p->engine);
	for (struct instance *i = p->engine->instances; i; i = i->next)
		if (IS_OF(i, p) && !(im && is_told(im, i)))
			leave_service(i);
	weights_release(p->engine);
	for (struct instance *i = p->engine->instances, *next; i; i = next) {
		next = i->next;
		if (!IS_OF(i, p) || (im && is_told(im, i)))
			continue;
		weft_dp_instance_remove(i->engine->dp, i->id);
		instance_say(i, "removed");
		instance_free(i);
	}
}

static bool same_service(const struct item *it)
{
	const char *of = it->known->borrowed->of;

	return (!of && !it->of) || (of && it->of && strcmp(of, it->of) == 0);
}

static void update(struct instance *inst, const struct item *it)
{
	struct borrowed *b = inst->borrowed;
	struct service *before = inst->service;

	b->weight = it->weight;
	if (!same_service(it)) {
		free(b->of);
		b->of = it->of ? strdup(it->of) : NULL;
		inst->phase = PHASE_WARMING;
		if (before)
			service_weigh(before);
		bind_to(inst, it->of ? service_find(inst->engine, it->of) : NULL);
	}
	if (inst->service)
		service_weigh(inst->service);
}

static void enter(const struct import *im, struct item *it)
{
	struct instance *fresh = TAKE_PTR(it->fresh);

	if (!fresh) {
		update(it->known, it);
		return;
	}
	attached_enlist(fresh);
	instance_say(fresh, "told");
	bind_to(fresh, it->of ? service_find(im->peer->engine, it->of) : NULL);
}

/* Who changes to another service is out of the first one's weights at once. Of all others the
 * records are written together, and the weights worked out once. */
static void enter_all(struct import *im)
{
	struct weft_engine *e = im->peer->engine;
	struct weft_err err = {0};
	bool whole;

	for (size_t i = 0; i < im->n; i++)
		if (im->items[i].known && !same_service(&im->items[i]))
			enter(im, &im->items[i]);
	weights_hold(e);
	whole = weft_store_begin(e->store, &err) == 0;
	for (size_t i = 0; i < im->n; i++)
		enter(im, &im->items[i]);
	if (whole && weft_store_end(e->store, 1, &err) < 0)
		for (struct instance *i = e->instances; i; i = i->next)
			i->unstored |= IS_OF(i, im->peer);
	if (err.code)
		log_error("peer %s: %s", im->peer->name, err.msg);
	weights_release(e);
}

int remotes_import(struct peer *p, const json_t *doc, struct weft_err *err)
{
	_cleanup_(import_done) struct import im = {.peer = p};
	uint64_t before = p->imported_ms;
	int r = read_items(&im, doc, err);

	for (size_t i = 0; i < im.n && r == 0; i++)
		r = find_or_make(&im, &im.items[i], err);
	p->imported_ms = weft_realtime_ms();
	if (r == 0)
		r = store_all(&im, err);
	if (r < 0) {
		p->imported_ms = before;
		return r;
	}
	leave_all(p, &im);
	enter_all(&im);
	return 0;
}

int remotes_remove(struct peer *p, struct weft_err *err)
{
	struct weft_store *store = p->engine->store;
	int r = weft_store_begin(store, err), end;

	if (r < 0)
		return r;
	for (struct instance *i = p->engine->instances; i && r == 0; i = i->next)
		if (IS_OF(i, p))
			r = weft_store_del(store, "remote", i->name, err);
	if (r == 0)
		r = weft_store_del(store, "peer", p->name, err);
	end = weft_store_end(store, r == 0, r == 0 ? err : NULL);
	if (r == 0)
		r = end;
	if (r < 0)
		return r;
	leave_all(p, NULL);
	return 0;
}

/* --- what we tell peers --------------------------------------------------------------------------
 */

static uint32_t weight_to_tell(const struct instance *inst)
{
	const struct weft_sla_variant *v;

	if (!inst->service || inst->phase != PHASE_READY || inst->paused)
		return 0;
	if (inst->borrowed)
		return inst->borrowed->weight;
	v = service_variant(inst->service, inst->virt);
	return v ? v->weight : 1;
}

static json_t *tell(const struct instance *inst)
{
	const struct service *s = inst->service;
	json_t *doc = json_pack("{s:s, s:s*, s:o, s:o, s:i}", "id", inst->name, "service",
		s ? s->name : NULL, "ns_addr", view_address(inst->ns_addr), "inst_addr",
		view_address(inst->inst_addr), "weight", (int)weight_to_tell(inst));

	if (doc && !inst->engine->no_ipv6.code && !IN6_IS_ADDR_UNSPECIFIED(&inst->ns_addr6))
		instance_ipv6_to_json(inst, doc);
	return doc;
}

/* Instances, and the host itself, which calls them as clients do. */
int weft_engine_export(struct weft_engine *e, json_t **ret, struct weft_err *err)
{
	char name[] = "host";
	struct instance host = {
		.engine = e,
		.name = name,
		.ns_addr = e->gateway,
		.inst_addr = engine_host_addr(e),
		.ns_addr6 = e->gateway6,
		.inst_addr6 = ipv6_instance_address(engine_host_addr(e)),
	};
	json_t *list = json_array();

	(void)err;
	json_array_append_new(list, tell(&host));
	for (struct instance *i = e->instances; i; i = i->next)
		if (!IS_REMOTE(i) && i->phase >= PHASE_STARTING && i->phase <= PHASE_DRAINING)
			json_array_insert_new(list, 1, tell(i));
	*ret = json_pack("{s:s, s:o}", "node", e->config.node, "instances", list);
	return *ret ? 0 : -ENOMEM;
}
