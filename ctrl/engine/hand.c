/* SPDX-License-Identifier: Apache-2.0 */
/* Weights set by hand: a number for each instance of a service, stored with it, until they are
 * given back. */
#include <errno.h>
#include <string.h>

#include "ctrl/engine/internal.h"

struct hand_weight {
	char *instance;
	uint32_t weight;
};

static struct hand_weight *hand_find(const struct service *s, const char *instance)
{
	for (unsigned i = 0; i < s->n_hand; i++)
		if (strcmp(s->hand[i].instance, instance) == 0)
			return &s->hand[i];
	return NULL;
}

uint32_t hand_weight(const struct instance *inst)
{
	const struct hand_weight *h = hand_find(inst->service, inst->name);

	return h ? h->weight : 0;
}

static void hand_clear(struct service *s)
{
	for (unsigned i = 0; i < s->n_hand; i++)
		free(s->hand[i].instance);
	free(s->hand);
	s->hand = NULL;
	s->n_hand = 0;
}

static int hand_append(struct service *s, const char *instance, uint32_t weight)
{
	struct hand_weight *more = realloc(s->hand, (s->n_hand + 1) * sizeof(*more));
	char *name = strdup(instance);

	if (more)
		s->hand = more;
	if (!more || !name) {
		free(name);
		return -ENOMEM;
	}
	more[s->n_hand++] = (struct hand_weight){name, weight};
	return 0;
}

json_t *hand_to_json(const struct service *s)
{
	json_t *doc = s->hand ? json_object() : NULL;

	for (unsigned i = 0; doc && i < s->n_hand; i++)
		json_object_set_new(
			doc, s->hand[i].instance, json_integer((json_int_t)s->hand[i].weight));
	return doc;
}

int hand_from_json(struct service *s, const json_t *doc)
{
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)doc, name, value) {
		json_int_t w = json_integer_value(value);

		if (!json_is_integer(value) || w < 0 || w > WEFT_DP_MAX_WEIGHT)
			return -EBADMSG;
		if (hand_append(s, name, (uint32_t)w) < 0)
			return -ENOMEM;
	}
	return 0;
}

static bool is_vacant(const struct service *s, const struct hand_weight *h)
{
	const struct instance *i = instance_find(s->engine, h->instance);

	return !i || i->service != s || (i->phase >= PHASE_DRAINING && !i->borrowed);
}

static void rename_entry(struct hand_weight *h, const char *name)
{
	char *copy = strdup(name);

	if (!copy)
		return; /* it stays vacant, and the new one has no weight until the next change */
	free(h->instance);
	h->instance = copy;
}

/* One that takes a lost one's place takes its weight, too; one more gets the others' average. */
void hand_adopt(struct service *s, const struct instance *inst)
{
	uint64_t sum = 0;

	if (!s->hand || hand_find(s, inst->name))
		return;
	for (unsigned i = 0; i < s->n_hand; i++) {
		sum += s->hand[i].weight;
		if (!is_vacant(s, &s->hand[i]))
			continue;
		rename_entry(&s->hand[i], inst->name);
		return;
	}
	hand_append(s, inst->name, (uint32_t)((sum + s->n_hand - 1) / s->n_hand));
}

void hand_add(struct service *s, const struct instance *inst, uint32_t weight)
{
	if (s->hand && !hand_find(s, inst->name))
		hand_append(s, inst->name, weight);
}

void hand_inherit(struct service *s, const struct instance *inst, const char *from)
{
	const struct hand_weight *h = from ? hand_find(s, from) : NULL;

	if (h)
		hand_append(s, inst->name, h->weight);
	else
		hand_adopt(s, inst);
}

void hand_drop(struct service *s, const struct instance *inst)
{
	struct hand_weight *h = hand_find(s, inst->name);

	if (!h)
		return;
	free(h->instance);
	*h = s->hand[--s->n_hand];
	if (s->n_hand == 0)
		hand_clear(s);
}

void hand_forget(struct service *s)
{
	hand_clear(s);
}

void hand_prune(struct service *s)
{
	for (unsigned i = s->n_hand; i-- > 0;) {
		if (instance_find(s->engine, s->hand[i].instance))
			continue;
		free(s->hand[i].instance);
		s->hand[i] = s->hand[--s->n_hand];
	}
	if (s->n_hand == 0)
		hand_clear(s);
}

/* --- requests ------------------------------------------------------------------------------------
 */

/* By its name, or by the number that its service has given it. */
static struct instance *instance_of(struct service *s, const char *name)
{
	for (struct instance *i = s->engine->instances; i; i = i->next)
		if (i->service == s &&
			(strcmp(i->name, name) == 0 ||
				(instance_name_is_of(s, i->name) &&
					strcmp(strrchr(i->name, '.') + 1, name) == 0)))
			return i;
	return NULL;
}

static int check_weights(struct service *s, const struct weft_engine_weight *w, size_t n,
	struct instance **ret, struct weft_err *err)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		ret[i] = instance_of(s, w[i].instance);
		if (!ret[i]) {
			weft_err_set(err, ENOENT, "service %s has no instance %s", s->name,
				w[i].instance);
			return weft_err_hint(err, "weft service show %s", s->name);
		}
		if (ret[i]->phase >= PHASE_DRAINING && !ret[i]->borrowed)
			return weft_err_set(err, EBUSY, "instance %s is %s: it gets no new flows",
				ret[i]->name, phase_name(ret[i]->phase));
		if (w[i].weight > WEFT_DP_MAX_WEIGHT)
			return weft_err_set(err, EINVAL, "instance %s: a weight is 0 to %u, not %u",
				ret[i]->name, WEFT_DP_MAX_WEIGHT, w[i].weight);
		for (size_t k = 0; k < i; k++)
			if (ret[k] == ret[i])
				return weft_err_set(
					err, EINVAL, "instance %s has two weights", ret[i]->name);
		sum += w[i].weight;
	}
	if (sum > 0)
		return 0;
	weft_err_set(err, EINVAL, "service %s: all weights are 0: nobody would serve", s->name);
	return weft_err_hint(err, "weft service weights %s --reset gives equal shares", s->name);
}

static int find_service(
	struct weft_engine *e, const char *name, struct service **ret, struct weft_err *err)
{
	struct service *s = service_find(e, name);

	if (!s) {
		weft_err_set(err, ENOENT, "service %s: no such service", name);
		return weft_err_hint(err, "weft service list");
	}
	if (s->deleting)
		return weft_err_set(err, EBUSY, "service %s is being deleted", s->name);
	if (s->swap) {
		weft_err_set(err, EBUSY, "service %s: swap %s is running, and has the weights",
			s->name, s->swap->id);
		return weft_err_hint(
			err, "weft swap watch %s, or weft swap abort %s", s->swap->id, s->swap->id);
	}
	*ret = s;
	return 0;
}

/* What the service had before comes back when the store refuses what it has now. */
static int put_hand(struct service *s, struct hand_weight *hand, unsigned n, struct weft_err *err)
{
	struct hand_weight *before = s->hand;
	unsigned n_before = s->n_hand;
	int r;

	s->hand = hand;
	s->n_hand = n;
	r = service_store(s, err);
	if (r == 0 && (hand || before))
		weft_events_add(s->engine->events, "service", "updated", s->name,
			json_pack("{s:s}", "weights", hand ? "by hand" : "weft's own"));
	if (r == 0) {
		for (unsigned i = 0; i < n_before; i++)
			free(before[i].instance);
		free(before);
		service_weigh(s);
		return 0;
	}
	hand_clear(s);
	s->hand = before;
	s->n_hand = n_before;
	return r;
}

int weft_engine_weights_set(struct weft_engine *e, const char *name,
	const struct weft_engine_weight *w, size_t n, json_t **ret, struct weft_err *err)
{
	_cleanup_(freep) struct instance **named = calloc(n + 1, sizeof(*named));
	struct service *s = NULL, next = {0};
	int r = named ? 0 : weft_err_set(err, ENOMEM, "out of memory");

	if (r == 0)
		r = find_service(e, name, &s, err);
	if (r == 0)
		r = check_weights(s, w, n, named, err);
	if (r < 0)
		return r;
	for (struct instance *i = e->instances; i && r == 0; i = i->next) {
		uint32_t weight = 0;

		if (i->service != s || (i->phase >= PHASE_DRAINING && !i->borrowed))
			continue;
		for (size_t k = 0; k < n; k++)
			weight = named[k] == i ? w[k].weight : weight;
		r = hand_append(&next, i->name, weight);
	}
	if (r < 0) {
		hand_clear(&next);
		return weft_err_set(err, ENOMEM, "out of memory");
	}
	r = put_hand(s, next.hand, next.n_hand, err);
	if (r == 0)
		*ret = view_service(s);
	return r;
}

int weft_engine_weights_reset(
	struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err)
{
	struct service *s = NULL;
	int r = find_service(e, name, &s, err);

	if (r == 0)
		r = put_hand(s, NULL, 0, err);
	if (r == 0)
		*ret = view_service(s);
	return r;
}
