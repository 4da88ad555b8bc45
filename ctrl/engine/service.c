/* SPDX-License-Identifier: Apache-2.0 */
/* A service: as many ready instances of its active variant as it wants, and their weights. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/peer.h"

#define BACKOFF_FIRST_NS 500000000ULL
#define BACKOFF_MAX_EXP  6     /* 32 s */
#define STABLE_MS        10000 /* ready for so long: a later failure is the first again */

struct service *service_find(struct weft_engine *e, const char *name)
{
	for (struct service *s = e->services; s; s = s->next)
		if (strcmp(s->name, name) == 0 || strcmp(s->spec->job_name, name) == 0)
			return s;
	return NULL;
}

const struct weft_sla_variant *service_variant(const struct service *s, enum weft_virt virt)
{
	for (size_t i = 0; i < s->spec->n_variants; i++)
		if (s->spec->variants[i].virt == virt)
			return &s->spec->variants[i];
	return NULL;
}

void service_free(struct service *s)
{
	if (!s)
		return;
	handover_free(s);
	weft_swap_free(s->swap);
	weft_sla_free(s->sla);
	hand_forget(s);
	for (int p = 0; p < WEFT_DP_POLICIES; p++)
		free(s->weights_said[p]);
	free(s->descriptor);
	free(s->name);
	free(s);
}

int service_store(struct service *s, struct weft_err *err)
{
	char vip[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &s->vip[WEFT_DP_RR], vip, sizeof(vip));
	json_auto_t *doc = json_pack(
		"{s:s, s:i, s:s, s:o, s:o, s:s, s:i, s:I, s:b, s:o*, s:b, s:I}", "descriptor",
		s->descriptor, "id", (int)s->id, "vip", vip, "vips", vips_to_json(s), "vips6",
		vips6_to_json(s, false), "active", weft_virt_name(s->active), "next_number",
		(int)s->next_number, "created_ms", (json_int_t)s->created_ms, "deleting",
		s->deleting, "weights", hand_to_json(s), "shortcut", s->shortcut, "restarts",
		(json_int_t)s->restarts);

	return weft_store_put(s->engine->store, "service", s->name, doc, err);
}

int service_restore(void *engine, const char *name, const json_t *doc)
{
	struct weft_engine *e = engine;
	struct service *s = calloc(1, sizeof(*s));
	const char *descriptor, *vip, *active;
	int id, number, deleting, virt;
	struct weft_err err = {0};
	const json_t *said;
	json_int_t created;

	if (!s)
		return -ENOMEM;
	s->engine = e;
	if (json_unpack((json_t *)doc, "{s:s, s:i, s:s, s:s, s:i, s:I, s:b}", "descriptor",
		    &descriptor, "id", &id, "vip", &vip, "active", &active, "next_number", &number,
		    "created_ms", &created, "deleting", &deleting) < 0 ||
		(virt = weft_virt_parse(active)) < 0 || id < 1 || id >= WEFT_DP_MAX_SERVICES ||
		number < 1 || vips_from_json(s, vip, json_object_get(doc, "vips")) < 0 ||
		vips6_from_json(s, json_object_get(doc, "vips6")) < 0 ||
		!(s->name = strdup(name)) || !(s->descriptor = strdup(descriptor)) ||
		hand_from_json(s, json_object_get(doc, "weights")) < 0 ||
		weft_sla_parse(name, descriptor, strlen(descriptor), &s->sla, &err) < 0) {
		log_error("stored service %s cannot be read: %s", name, err.msg);
		service_free(s);
		return -EBADMSG;
	}
	s->spec = &s->sla->services[0];
	said = json_object_get(doc, "shortcut");
	s->shortcut = said ? json_is_true(said) : s->spec->shortcut;
	s->id = (uint32_t)id;
	s->active = (enum weft_virt)virt;
	s->next_number = (unsigned)number;
	s->created_ms = (uint64_t)created;
	s->deleting = deleting;
	s->restarts = (uint64_t)json_integer_value(json_object_get(doc, "restarts"));
	s->next = e->services;
	e->services = s;
	return 0;
}

int service_enter(struct service *s, struct weft_err *err)
{
	struct weft_dp_service dps = {.id = s->id};
	int r;

	memcpy(dps.vip, s->vip, sizeof(dps.vip));
	for (int p = 0; p < WEFT_DP_POLICIES; p++)
		dps.vip6[p] = *service_vip6(s, p);
	r = weft_dp_service_set(s->engine->dp, &dps, err);
	if (r == 0)
		service_shortcut(s);
	return r;
}

int service_publish(struct service *s, const struct weft_sla_service *spec, struct weft_err *err)
{
	struct weft_dp_port ports[WEFT_DP_MAX_PORTS];
	struct weft_err why = {0};
	unsigned n = 0;
	int r;

	if (!s->engine->config.uplink)
		return weft_dp_service_publish(s->engine->dp, s->id, NULL, 0, err);
	if (spec->n_ports > WEFT_DP_MAX_PORTS) {
		weft_err_set(err, E2BIG, "service %s: publishes %zu ports, %d at most", s->name,
			spec->n_ports, WEFT_DP_MAX_PORTS);
		return weft_err_hint(err, "\"port\" in its descriptor");
	}
	for (; n < spec->n_ports; n++)
		ports[n] = (struct weft_dp_port){
			spec->ports[n].host, spec->ports[n].container, spec->ports[n].proto};
	r = weft_dp_service_publish(s->engine->dp, s->id, ports, n, &why);
	return r < 0 ? weft_err_set(
			       err, r, "service %s: publishing its ports: %s", s->name, why.msg)
		     : 0;
}

json_t *service_ports(const struct service *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->spec->n_ports; i++)
		json_array_append_new(
			list, json_sprintf("%u:%u/%s", s->spec->ports[i].host,
				      s->spec->ports[i].container,
				      s->spec->ports[i].proto == IPPROTO_UDP ? "udp" : "tcp"));
	return list;
}

void service_instance_failed(struct service *s, struct instance *inst)
{
	unsigned exp;

	if (inst->ready_ms && weft_realtime_ms() - inst->ready_ms > STABLE_MS)
		s->failures = 0;
	exp = s->failures < BACKOFF_MAX_EXP ? s->failures : BACKOFF_MAX_EXP;
	s->failures++;
	s->restarts++;
	s->retry_ns = weft_now_ns() + (BACKOFF_FIRST_NS << exp);
	s->error = inst->error;
	weft_events_add(s->engine->events, "service", "backing-off", s->name,
		json_pack("{s:s, s:i, s:I, s:s}", "instance", inst->name, "failures",
			(int)s->failures, "retry_ms",
			(json_int_t)((BACKOFF_FIRST_NS << exp) / 1000000), "error",
			inst->error.msg));
}

static void create_one(struct service *s, uint64_t now)
{
	const struct weft_sla_variant *v = service_variant(s, s->active);
	struct instance *inst = NULL;
	struct weft_err err = {0};
	int r;

	r = v ? instance_new(s, v, &inst, &err)
	      : weft_err_set(&err, ENOENT, "service %s has no variant %s", s->name,
			weft_virt_name(s->active));
	if (r == 0) {
		hand_adopt(s, inst);
		r = service_store(s, &err);
		if (r == 0)
			r = instance_store(inst, &err);
		if (r < 0)
			instance_free(inst);
	}
	if (r < 0) {
		if (strcmp(s->error.msg, err.msg) != 0)
			log_warning("service %s: %s", s->name, err.msg);
		s->error = err;
		s->retry_ns = now + 2000000000ULL;
		return;
	}
	instance_start(inst);
}

/* One too many: what a swap that was turned back had swapped already, once enough others are ready;
 * then the newest. */
static struct instance *surplus(struct service *s, unsigned have, unsigned ready)
{
	struct instance *found = NULL;

	for (struct instance *i = s->engine->instances; i; i = i->next) {
		if (i->service != s || i->borrowed || i->phase >= PHASE_DRAINING)
			continue;
		if (i->virt != s->active && ready >= s->spec->replicas)
			return i;
		if (i->virt == s->active && have > s->spec->replicas &&
			(!found || i->created_ms >= found->created_ms))
			found = i;
	}
	return found;
}

/* True once nothing of the service is left. */
static bool delete_all(struct service *s)
{
	bool left = false;

	for (struct instance *i = s->engine->instances, *next; i; i = next) {
		next = i->next;
		if (i->service != s)
			continue;
		if (i->borrowed && i->borrowed->peer) {
			remote_unbind(i);
			continue;
		}
		left = true;
		if (!i->unwanted)
			instance_destroy(i);
	}
	return !left;
}

static void remove_service(struct service *s)
{
	struct weft_engine *e = s->engine;
	struct weft_err err = {0};

	/* Its record goes last, as it is what leads a later daemon to the rest. */
	weft_dp_service_remove(e->dp, s->id);
	if (weft_store_del(e->store, "service", s->name, &err) < 0) {
		log_warning("service %s: not removed, will try again: %s", s->name, err.msg);
		s->retry_ns = weft_now_ns() + 1000000000ULL;
		return;
	}
	for (struct service **p = &e->services; *p; p = &(*p)->next)
		if (*p == s) {
			*p = s->next;
			break;
		}
	log_info("service %s: removed", s->name);
	weft_events_add(e->events, "service", "removed", s->name, NULL);
	service_free(s);
}

void service_reconcile(struct service *s, uint64_t now)
{
	struct runtime_slot *slot = engine_runtime(s->engine, s->active);
	struct instance *inst;
	unsigned have = 0, ready = 0;

	waiting_for(s);
	if (s->deleting) {
		/* A runtime's answer about it may still be to come. */
		if (!s->swap && delete_all(s) && now >= s->retry_ns && !s->swap_preparing)
			remove_service(s);
		return;
	}
	if (s->swap)
		return;
	for (inst = s->engine->instances; inst; inst = inst->next) {
		if (inst->service != s || inst->borrowed || inst->virt != s->active)
			continue;
		have += inst->phase < PHASE_DRAINING;
		ready += inst->phase == PHASE_READY;
	}
	if (ready >= s->spec->replicas)
		s->error = (struct weft_err){0};
	inst = surplus(s, have, ready);
	if (inst) {
		hand_drop(s, inst);
		instance_retire(inst, s->spec->swap.drain_ms);
		return;
	}
	/* What a runtime can do is not known until its probe has answered. */
	if (have < s->spec->replicas && (now < s->retry_ns || !slot->probed))
		return;
	/* One that failed is kept for people to see until another takes its place. */
	for (struct instance *i = s->engine->instances, *next; i; i = next) {
		next = i->next;
		if (i->service == s && i->phase == PHASE_FAILED && !i->unwanted)
			instance_destroy(i);
	}
	if (have < s->spec->replicas)
		create_one(s, now);
}
