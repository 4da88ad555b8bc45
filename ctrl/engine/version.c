/* SPDX-License-Identifier: Apache-2.0 */
/* Versions of the resources, and what has changed since one. A resource's version is the number of
 * the event that told its last change: events are numbered over the whole node, and go on where
 * they were after a restart. What is measured all the time (counters, flows, CPU, memory) is no
 * change. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/peer.h"

static const char *const kinds[WEFT_ENGINE_KINDS] = {
	[WEFT_ENGINE_SERVICE] = "service",
	[WEFT_ENGINE_INSTANCE] = "instance",
	[WEFT_ENGINE_SWAP] = "swap",
	[WEFT_ENGINE_PEER] = "peer",
};

const char *weft_engine_kind_name(enum weft_engine_kind kind)
{
	return kinds[kind];
}

int weft_engine_kind_parse(const char *name, size_t size)
{
	for (int k = 0; k < WEFT_ENGINE_KINDS; k++)
		if (strlen(kinds[k]) == size && strncmp(kinds[k], name, size) == 0)
			return k;
	return -EINVAL;
}

static struct weft_swap *find_swap(struct weft_engine *e, const char *id)
{
	for (struct service *s = e->services; s; s = s->next)
		if (s->swap && strcmp(s->swap->id, id) == 0)
			return s->swap;
	for (unsigned i = 0; i < e->n_swaps; i++)
		if (strcmp(e->swaps[i]->id, id) == 0)
			return e->swaps[i];
	return NULL;
}

static uint64_t *version_of(struct weft_engine *e, enum weft_engine_kind kind, const char *name)
{
	struct instance *i;
	struct service *s;
	struct weft_swap *w;
	struct peer *p;

	switch (kind) {
	case WEFT_ENGINE_SERVICE:
		s = service_find(e, name);
		return s ? &s->version : NULL;
	case WEFT_ENGINE_INSTANCE:
		i = instance_find(e, name);
		return i ? &i->version : NULL;
	case WEFT_ENGINE_SWAP:
		w = find_swap(e, name);
		return w ? &w->version : NULL;
	default:
		p = peer_find(e, name);
		return p ? &p->version : NULL;
	}
}

/* --- what an event is about ----------------------------------------------------------------------
 */

static const char *text_of(const json_t *event, const char *key)
{
	const char *s = json_string_value(json_object_get(event, key));

	return s ? s : "";
}

static bool is_wanted(const char *action)
{
	return strcmp(action, "created") == 0 || strcmp(action, "updated") == 0 ||
	       strcmp(action, "deleting") == 0;
}

/* What the event says they are: at a replay nothing else knows. */
static void weights_changed(struct service *s, uint64_t seq, const json_t *data)
{
	const json_t *weights = json_object_get(data, "weights");
	bool rr = strcmp(text_of(data, "policy"), policy_name(WEFT_DP_RR)) == 0;

	s->version = seq;
	if (s->swap)
		s->swap->version = seq;
	for (struct instance *i = s->engine->instances; i && rr; i = i->next) {
		uint32_t weight = i->service != s ? 0
						  : (uint32_t)json_integer_value(
							    json_object_get(weights, i->name));

		if (i->service != s || i->weight_said == weight)
			continue;
		i->weight_said = weight;
		i->version = seq;
	}
}

static void observe(void *userdata, uint64_t seq, const json_t *event)
{
	const char *word = text_of(event, "kind"), *object = text_of(event, "object");
	int kind = weft_engine_kind_parse(word, strlen(word));
	struct weft_engine *e = userdata;
	struct service *of;
	uint64_t *version = kind < 0 ? NULL : version_of(e, (enum weft_engine_kind)kind, object);

	if (version)
		*version = seq;
	of = service_find(e, text_of(json_object_get(event, "data"), "service"));
	if (of)
		of->version = seq;
	of = service_find(e, object);
	if (of && kind == WEFT_ENGINE_SERVICE && is_wanted(text_of(event, "action")))
		of->wanted_version = seq;
	if (of && strcmp(word, "weights") == 0)
		weights_changed(of, seq, json_object_get(event, "data"));
}

/* What happened before the oldest event that is held happened at that number at the latest. */
void versions_open(struct weft_engine *e)
{
	uint64_t least = weft_events_first(e->events) - 1;

	weft_events_replay(e->events, observe, e);
	for (struct service *s = e->services; s; s = s->next) {
		s->version = s->version ? s->version : least;
		s->wanted_version = s->wanted_version ? s->wanted_version : least;
		if (s->swap)
			s->swap->version = s->swap->version ? s->swap->version : least;
	}
	for (struct instance *i = e->instances; i; i = i->next)
		i->version = i->version ? i->version : least;
	for (struct peer *p = e->peers; p; p = p->next)
		p->version = p->version ? p->version : least;
	for (unsigned i = 0; i < e->n_swaps; i++)
		if (!e->swaps[i]->version)
			e->swaps[i]->version = least;
	weft_events_observe(e->events, observe, e);
}

uint64_t weft_engine_version(struct weft_engine *e)
{
	return weft_events_last(e->events);
}

/* --- has it changed? -----------------------------------------------------------------------------
 */

static bool is_removal(const json_t *event)
{
	const char *action = text_of(event, "action");

	return strcmp(action, "removed") == 0 || strcmp(action, "detached") == 0;
}

static uint64_t removed_at(
	const struct weft_events *l, const char *kind, const char *name, uint64_t since)
{
	for (uint64_t seq = weft_events_last(l); seq > since && seq >= weft_events_first(l);
		seq--) {
		const char *line = weft_events_line(l, seq);
		json_auto_t *event = line ? json_loads(line, 0, NULL) : NULL;

		if (is_removal(event) && strcmp(text_of(event, "kind"), kind) == 0 &&
			strcmp(text_of(event, "object"), name) == 0)
			return seq;
	}
	return 0;
}

int weft_engine_unchanged(struct weft_engine *e, enum weft_engine_kind kind, const char *name,
	uint64_t version, struct weft_err *err)
{
	const uint64_t *at = version_of(e, kind, name);
	uint64_t last = weft_engine_version(e), now = at ? *at : 0;
	const char *how = "changed";

	if (version == WEFT_ENGINE_ANY_VERSION)
		return 0;
	if (version > last) {
		weft_err_set(err, EBUSY,
			"%s %s: version %" PRIu64
			" is not one of this node's: the last is %" PRIu64,
			kinds[kind], name, version, last);
		return weft_err_hint(err, "read it again");
	}
	if (at && kind == WEFT_ENGINE_SERVICE)
		now = service_find(e, name)->wanted_version;
	if (!at && version + 1 < weft_events_first(e->events)) {
		weft_err_set(err, EBUSY,
			"%s %s: whether it was removed since version %" PRIu64
			" is not known any more",
			kinds[kind], name, version);
		return weft_err_hint(err, "look at what it is to be: weft diff -f FILE");
	}
	if (!at) {
		now = removed_at(e->events, kinds[kind], name, version);
		how = "removed";
	}
	if (now <= version)
		return 0;
	weft_err_set(err, EBUSY,
		"%s %s: %s meanwhile: the request is for version %" PRIu64 ", and it has %" PRIu64,
		kinds[kind], name, how, version, now);
	return weft_err_hint(err, "look at it again, and at what it is to be: weft diff -f FILE");
}

/* --- what has changed ----------------------------------------------------------------------------
 */

static void put(json_t *list, enum weft_engine_kind kind, const char *name, const char *action,
	uint64_t version, json_t *resource)
{
	json_array_append_new(
		list, json_pack("{s:I, s:s, s:s, s:s, s:o}", "version", (json_int_t)version, "kind",
			      kinds[kind], "name", name, "action", action, "resource",
			      resource ? resource : json_null()));
}

/* Those of a version, or all of them. */
static void put_all(
	struct weft_engine *e, unsigned wanted, uint64_t version, const char *action, json_t *list)
{
	bool all = version == WEFT_ENGINE_ANY_VERSION;

	for (struct service *s = e->services; s; s = s->next) {
		if ((wanted & 1 << WEFT_ENGINE_SERVICE) && (all || s->version == version))
			put(list, WEFT_ENGINE_SERVICE, s->name, action, s->version,
				view_service(s));
		if (s->swap && (wanted & 1 << WEFT_ENGINE_SWAP) &&
			(all || s->swap->version == version))
			put(list, WEFT_ENGINE_SWAP, s->swap->id, action, s->swap->version,
				view_swap(s, s->swap));
	}
	for (struct instance *i = e->instances; i && (wanted & 1 << WEFT_ENGINE_INSTANCE);
		i = i->next)
		if (all || i->version == version)
			put(list, WEFT_ENGINE_INSTANCE, i->name, action, i->version,
				view_instance(i));
	for (unsigned i = 0; i < e->n_swaps && (wanted & 1 << WEFT_ENGINE_SWAP); i++)
		if (all || e->swaps[i]->version == version)
			put(list, WEFT_ENGINE_SWAP, e->swaps[i]->id, action, e->swaps[i]->version,
				view_swap(NULL, e->swaps[i]));
	for (struct peer *p = e->peers; p && (wanted & 1 << WEFT_ENGINE_PEER); p = p->next)
		if (all || p->version == version)
			put(list, WEFT_ENGINE_PEER, p->name, action, p->version, view_peer(p));
}

int weft_engine_watch_list(
	struct weft_engine *e, unsigned wanted, json_t **ret, uint64_t *ret_version)
{
	json_t *list = json_array();

	put_all(e, wanted, WEFT_ENGINE_ANY_VERSION, "present", list);
	*ret_version = weft_engine_version(e);
	json_array_append_new(list,
		json_pack("{s:I, s:s}", "version", (json_int_t)*ret_version, "action", "listed"));
	*ret = list;
	return list ? 0 : -ENOMEM;
}

int weft_engine_watch_check(struct weft_engine *e, uint64_t version, struct weft_err *err)
{
	uint64_t first = weft_events_first(e->events), last = weft_events_last(e->events);

	if (version + 1 >= first && version <= last)
		return 0;
	weft_err_set(err, ESTALE,
		version > last
			? "version %" PRIu64 " is not one of this node's: the last is %" PRIu64
			: "version %" PRIu64 " is too old: what has changed is known from %" PRIu64
			  " on",
		version, version > last ? last : first - 1);
	return weft_err_hint(err, "begin anew: the same request without since lists what there is");
}

static void put_removed(struct weft_engine *e, unsigned wanted, uint64_t seq, json_t *list)
{
	const char *line = weft_events_line(e->events, seq);
	json_auto_t *event = line && strstr(line, "ed\"") ? json_loads(line, 0, NULL) : NULL;
	const char *word = text_of(event, "kind"), *name = text_of(event, "object");
	int kind = weft_engine_kind_parse(word, strlen(word));

	if (kind >= 0 && (wanted & 1U << kind) && is_removal(event) &&
		!version_of(e, (enum weft_engine_kind)kind, name))
		put(list, (enum weft_engine_kind)kind, name, "removed", seq, NULL);
}

int weft_engine_watch_next(struct weft_engine *e, unsigned wanted, uint64_t *version, json_t **ret,
	struct weft_err *err)
{
	int r = weft_engine_watch_check(e, *version, err);

	if (r < 0)
		return r;
	while (*version < weft_events_last(e->events)) {
		json_auto_t *list = json_array();

		put_all(e, wanted, ++*version, "changed", list);
		put_removed(e, wanted, *version, list);
		if (json_array_size(list) > 0) {
			*ret = json_incref(list);
			return 1;
		}
	}
	return 0;
}
