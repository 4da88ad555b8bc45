/* SPDX-License-Identifier: Apache-2.0 */
/* The life of an instance: preparing → starting → warming → ready, then draining or stopping; or
 * failed at any time. One runtime call is under way at most (busy); whoever wants it gone meanwhile
 * says so (unwanted), and the call's callback acts on it. */
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/internal.h"

#define MAX_NAME_KEPT    64
#define RETRY_NS         1000000000ULL
#define GUARD_NS         250000000ULL /* from one guard probe to the next */
#define GUARD_ATTEMPT_MS 600
#define GUARD_EXEC_MS    3000

static const char *const phases[] = {
	[PHASE_PREPARING] = "preparing",
	[PHASE_STARTING] = "starting",
	[PHASE_WARMING] = "warming",
	[PHASE_READY] = "ready",
	[PHASE_DRAINING] = "draining",
	[PHASE_STOPPING] = "stopping",
	[PHASE_FAILED] = "failed",
	[PHASE_LOST] = "lost",
};
_Static_assert(ARRAY_SIZE(phases) == PHASE_COUNT, "a name for every phase");

const char *phase_name(enum phase p)
{
	return phases[p];
}

int phase_parse(const char *s)
{
	for (int i = 0; i < PHASE_COUNT; i++)
		if (strcmp(phases[i], s) == 0)
			return i;
	return -EINVAL;
}

const char *instance_kind(const struct instance *inst)
{
	if (inst->borrowed)
		return inst->borrowed->peer ? "remote" : "attached";
	return weft_virt_name(inst->virt);
}

char *instance_mac(const struct instance *inst, char buf[18])
{
	snprintf(buf, 18, "%02x:%02x:%02x:%02x:%02x:%02x", inst->mac[0], inst->mac[1], inst->mac[2],
		inst->mac[3], inst->mac[4], inst->mac[5]);
	return buf;
}

struct instance *instance_find(struct weft_engine *e, const char *name)
{
	for (struct instance *i = e->instances; i; i = i->next)
		if (strcmp(i->name, name) == 0)
			return i;
	return NULL;
}

bool instance_is_new(const struct instance *inst)
{
	const struct weft_swap *swap = inst->service ? inst->service->swap : NULL;

	for (unsigned i = 0; swap && i < swap->n_new; i++)
		if (strcmp(swap->new_ids[i], inst->name) == 0)
			return true;
	return false;
}

/* Runtimes take names of at most 76 characters (containerd's limit); a service's may be longer, and
 * is then cut and told apart by a hash (FNV-1a) of the whole. */
static void name_stem(const struct service *s, char ret[MAX_NAME_KEPT + 1])
{
	uint32_t hash = 2166136261u;

	snprintf(ret, MAX_NAME_KEPT + 1, "%s", s->name);
	if (strlen(s->name) <= MAX_NAME_KEPT)
		return;
	for (const char *p = s->name; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 16777619u;
	snprintf(ret + MAX_NAME_KEPT - 9, 10, "-%08x", hash);
}

static char *make_name(const struct service *s)
{
	char stem[MAX_NAME_KEPT + 1];

	name_stem(s, stem);
	return weft_strf("%s.%u", stem, s->next_number);
}

bool instance_name_is_of(const struct service *s, const char *name)
{
	char stem[MAX_NAME_KEPT + 1];
	size_t n;

	name_stem(s, stem);
	n = strlen(stem);
	return strncmp(name, stem, n) == 0 && name[n] == '.' && name[n + 1] &&
	       !name[n + 1 + strspn(name + n + 1, "0123456789")];
}

int instance_new(struct service *s, const struct weft_sla_variant *v, struct instance **ret,
	struct weft_err *err)
{
	struct weft_engine *e = s->engine;
	struct instance *inst = calloc(1, sizeof(*inst));
	int r;

	if (!inst)
		return weft_err_set(err, ENOMEM, "service %s: out of memory", s->name);
	inst->engine = e;
	inst->service = s;
	inst->virt = v->virt;
	inst->net = v->virt == WEFT_VIRT_UNIKERNEL ? v->net : WEFT_NET_VETH;
	inst->tap_fd = -1;
	inst->rtt_us = inst->load = -1;
	inst->created_ms = weft_realtime_ms();
	/* One that was attached before there was such a service may have taken a name of ours. */
	while ((inst->name = make_name(s)) && instance_find(e, inst->name)) {
		free(inst->name);
		s->next_number++;
	}
	r = inst->name ? engine_place(e, s, v, &inst->arch, err)
		       : weft_err_set(err, ENOMEM, "out of memory");
	if (r == 0) {
		inst->code = strdup(v->image[inst->arch] ? v->image[inst->arch] : "");
		r = inst->code ? 0 : weft_err_set(err, ENOMEM, "out of memory");
	}
	if (r == 0)
		r = engine_alloc_instance(e, inst, err);
	if (r < 0) {
		free(inst->name);
		free(inst->code);
		free(inst);
		return r;
	}
	s->next_number++;
	inst->next = e->instances;
	e->instances = inst;
	*ret = inst;
	return 0;
}

void instance_free(struct instance *inst)
{
	if (!inst)
		return;
	for (struct instance **p = &inst->engine->instances; *p; p = &(*p)->next)
		if (*p == inst) {
			*p = inst->next;
			break;
		}
	weft_probe_free(inst->probe);
	weft_probe_free(inst->rtt_probe);
	ask_free(inst->asked);
	ask_free(inst->live);
	if (inst->tap_fd >= 0)
		close(inst->tap_fd);
	borrowed_free(inst->borrowed);
	free(inst->name);
	free(inst->code);
	free(inst->image);
	free(inst);
}

/* Try again later what the store refuses: a later daemon cleans away what is not written down. */
static void keep_record(struct instance *inst)
{
	struct weft_err err = {0};

	inst->unstored = instance_store(inst, &err) < 0;
	if (!inst->unstored)
		return;
	inst->store_ns = weft_now_ns() + RETRY_NS;
	log_error("instance %s: %s: %s", inst->name, phase_name(inst->phase), err.msg);
}

void instance_say(const struct instance *inst, const char *action)
{
	const char *error = inst->error.code ? inst->error.msg : NULL;

	json_t *data = json_pack("{s:s*, s:s, s:s*}", "service",
		inst->service ? inst->service->name : NULL, "virtualization", instance_kind(inst),
		"error", error);

	if (strcmp(action, "removed") == 0 && inst->span_us[SPAN_STOP])
		json_object_set_new(
			data, "stop_ms", json_real((double)inst->span_us[SPAN_STOP] / 1000.0));
	weft_events_add(inst->engine->events, "instance", action, inst->name, data);
}

void instance_set_phase(struct instance *inst, enum phase phase)
{
	bool news = inst->phase != phase;

	if (news)
		log_info("instance %s: %s", inst->name, phase_name(phase));
	inst->phase = phase;
	if (news)
		instance_say(inst, phase_name(phase));
	keep_record(inst);
	engine_kick(inst->engine);
}

static struct runtime_slot *runtime_of(const struct instance *inst)
{
	return engine_runtime(inst->engine, inst->virt);
}

/* A call that failed at once, as its callback would be told. */
static int refused(const struct instance *inst, int r, struct weft_err *err)
{
	if (!err->code)
		weft_err_set(err, r, "instance %s: %s", inst->name, strerror(-r));
	return r;
}

static void on_deleted(void *userdata, int r, const struct weft_err *err)
{
	struct instance *inst = userdata;
	struct weft_engine *e = inst->engine;
	_cleanup_(freep) char *dir = NULL;
	struct weft_err store_err = {0};

	inst->busy = false;
	if (r < 0) {
		log_warning("not removed, will try again: %s", err->msg);
		inst->error = *err;
		inst->retry_ns = weft_now_ns() + RETRY_NS;
		return;
	}
	instance_network_del(inst);
	dir = instance_dir(inst);
	if (dir)
		weft_remove_tree(dir);
	inst->released = true;
	instance_span_end(inst, SPAN_STOP);
	engine_kick(e);
	if (inst->phase == PHASE_FAILED && !inst->unwanted)
		return; /* its record stays for people to see */
	if (weft_store_del(e->store, "instance", inst->name, &store_err) < 0) {
		log_warning(
			"instance %s: not removed, will try again: %s", inst->name, store_err.msg);
		inst->retry_ns = weft_now_ns() + RETRY_NS;
		return;
	}
	log_info("instance %s: removed", inst->name);
	instance_say(inst, "removed");
	instance_free(inst);
}

static void remove_now(struct instance *inst)
{
	struct runtime_slot *slot = runtime_of(inst);
	struct weft_err err = {0};
	int r;

	inst->busy = true;
	r = slot->ops->delete_(slot->rt, inst->name, on_deleted, inst, &err);
	if (r < 0)
		on_deleted(inst, refused(inst, r, &err), &err);
}

static void on_stopped(void *userdata, int r, const struct weft_err *err)
{
	struct instance *inst = userdata;

	inst->busy = false;
	if (r < 0)
		log_warning("did not stop: %s", err->msg);
	inst->stopped = true;
	remove_now(inst);
}

static void stop_now(struct instance *inst)
{
	struct runtime_slot *slot = runtime_of(inst);
	struct weft_err err = {0};
	int r;

	inst->asked = (ask_free(inst->asked), NULL);
	live_stop(inst);
	if (inst->stopped || inst->released || inst->phase == PHASE_FAILED) {
		remove_now(inst);
		return;
	}
	inst->busy = true;
	instance_span_begin(inst, SPAN_STOP);
	r = slot->ops->stop(slot->rt, inst->name, STOP_GRACE_MS, on_stopped, inst, &err);
	if (r < 0)
		on_stopped(inst, refused(inst, r, &err), &err);
}

void instance_destroy(struct instance *inst)
{
	struct weft_err err = {0};

	if (inst->borrowed) {
		if (attached_destroy(inst, &err) < 0)
			log_warning("instance %s: not detached, will try again: %s", inst->name,
				err.msg);
		return;
	}
	inst->unwanted = true;
	if (inst->phase != PHASE_STOPPING && inst->phase != PHASE_FAILED)
		instance_set_phase(inst, PHASE_STOPPING);
	service_weigh(inst->service);
	if (!inst->busy)
		stop_now(inst);
}

void instance_retire(struct instance *inst, unsigned drain_ms)
{
	if (inst->phase != PHASE_READY) {
		instance_destroy(inst);
		return;
	}
	inst->drain_until_ns = weft_now_ns() + (uint64_t)drain_ms * 1000000ULL;
	instance_set_phase(inst, PHASE_DRAINING);
	service_weigh(inst->service);
}

void instance_fail(struct instance *inst, const struct weft_err *why)
{
	if (inst->phase == PHASE_FAILED || inst->phase == PHASE_STOPPING)
		return;
	log_error("%s (while %s)", why->msg, phase_name(inst->phase));
	if (inst->phase == PHASE_DRAINING) {
		instance_destroy(inst); /* nobody waits for it to come back */
		return;
	}
	inst->error = *why;
	service_instance_failed(inst->service, inst);
	inst->asked = (ask_free(inst->asked), NULL);
	live_stop(inst);
	instance_set_phase(inst, PHASE_FAILED);
	service_weigh(inst->service);
	if (!inst->busy)
		remove_now(inst);
}

/* The common beginning of every runtime callback: true if the instance goes on. */
static bool goes_on(struct instance *inst, int r, const struct weft_err *err)
{
	inst->busy = false;
	if (inst->unwanted || inst->phase == PHASE_FAILED) {
		stop_now(inst);
		return false;
	}
	if (r < 0) {
		instance_fail(inst, err);
		return false;
	}
	return true;
}

static void ready(struct instance *inst)
{
	inst->ready_ms = weft_realtime_ms();
	instance_set_phase(inst, PHASE_READY);
	service_weigh(inst->service);
}

/* While traffic moves to it, a new instance has to go on answering. */
static bool guarded(const struct instance *inst)
{
	const struct weft_swap *swap = inst->service->swap;

	return swap && swap->plan.guard.probe_failures &&
	       (swap->state == WEFT_SWAP_SHIFT || swap->state == WEFT_SWAP_DRAIN) &&
	       inst->phase == PHASE_READY && instance_is_new(inst);
}

/* A command takes its time. */
static unsigned guard_patience(const struct instance *inst)
{
	return ask_probe(inst, ASK_READY)->type == WEFT_PROBE_EXEC ? GUARD_EXEC_MS
								   : GUARD_ATTEMPT_MS;
}

static void on_asked(struct instance *inst, int r, const struct weft_err *err)
{
	struct weft_err why = *err;

	inst->asked = (ask_free(inst->asked), NULL);
	inst->guard_ns = weft_now_ns() + GUARD_NS;
	if (r < 0 && inst->phase == PHASE_READY) {
		if (!guarded(inst))
			return; /* the swap cannot turn back any more: a slow instance beats none */
		if (++inst->guard_failures < inst->service->swap->plan.guard.probe_failures)
			return;
	}
	if (r < 0) {
		weft_err_prefix(&why, "instance %s %s", inst->name,
			inst->phase == PHASE_WARMING ? "did not become ready"
						     : "does not answer any more");
		weft_err_hint(&why, "weft logs %s", inst->name);
		instance_fail(inst, &why);
	} else if (inst->phase == PHASE_WARMING) {
		instance_span_end(inst, SPAN_FIRST_ANSWER);
		ready(inst);
	} else {
		inst->guard_failures = 0;
	}
}

static void warm(struct instance *inst)
{
	const struct weft_sla_probe *p = ask_probe(inst, ASK_READY);
	struct weft_err err = {0};
	int r;

	if (inst->phase != PHASE_WARMING)
		instance_set_phase(inst, PHASE_WARMING);
	if (p->type == WEFT_PROBE_NONE) {
		ready(inst);
		return;
	}
	r = ask_start(inst, ASK_READY, 200, p->timeout_s * 1000, on_asked, &inst->asked);
	if (r < 0) {
		weft_err_set(&err, r, "instance %s: readiness probe: %s", inst->name, strerror(-r));
		instance_fail(inst, &err);
	}
}

static void on_started(void *userdata, int r, const struct weft_err *err)
{
	struct instance *inst = userdata;

	if (inst->tap_fd >= 0)
		close(TAKE_FD(inst->tap_fd)); /* qemu has its own */
	if (!goes_on(inst, r, err))
		return;
	inst->started_ms = weft_realtime_ms();
	instance_span_end(inst, SPAN_START);
	warm(inst);
}

static void on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	struct instance *inst = userdata;
	struct runtime_slot *slot = runtime_of(inst);
	_cleanup_(instance_spec_done) struct instance_spec s = {0};
	struct weft_err e = {0};

	(void)size;
	if (!goes_on(inst, r, err))
		return;
	free(inst->image);
	inst->image = ref ? strdup(ref) : NULL;
	if (ref && slot->ops->images)
		image_note(inst->engine, inst->code, ref);
	instance_span_end(inst, SPAN_PREPARE);
	instance_span_begin(inst, SPAN_START);
	instance_span_begin(inst, SPAN_FIRST_ANSWER);
	ipv6_alloc_guest(inst);
	instance_set_phase(inst, PHASE_STARTING);
	if (instance_network_add(inst, &e) < 0) {
		instance_fail(inst, &e);
		return;
	}
	if (instance_spec_fill(inst, &s, &e) < 0) {
		instance_fail(inst, &e);
		return;
	}
	inst->busy = true;
	r = slot->ops->start(slot->rt, &s.spec, on_started, inst, &e);
	if (r < 0)
		on_started(inst, refused(inst, r, &e), &e);
}

void instance_start(struct instance *inst)
{
	struct runtime_slot *slot = runtime_of(inst);
	struct weft_err err = {0};
	int r;

	inst->busy = true;
	instance_say(inst, phase_name(inst->phase));
	instance_span_begin(inst, SPAN_PREPARE);
	r = slot->ops->prepare(
		slot->rt, inst->code[0] ? inst->code : NULL, inst->arch, on_prepared, inst, &err);
	if (r < 0)
		on_prepared(inst, refused(inst, r, &err), &err, NULL, 0);
}

/* A runtime that cannot say (containerd is restarting) is asked again; meanwhile the instance is
 * taken to run, as its packets flow without either of us. */
static bool ask_again(struct instance *inst, int r, const struct weft_err *err)
{
	if (r >= 0 || r == -ENOENT || inst->unwanted || inst->phase == PHASE_FAILED)
		return false;
	if (strcmp(inst->error.msg, err->msg) != 0)
		log_warning("not taken over yet: %s", err->msg);
	inst->error = *err;
	inst->busy = false;
	inst->retry_ns = weft_now_ns() + RETRY_NS;
	return true;
}

static void on_adopted(void *userdata, int r, const struct weft_err *err)
{
	struct instance *inst = userdata;
	struct weft_err why = *err;

	if (ask_again(inst, r, err))
		return;
	inst->adopted = false;
	inst->error = (struct weft_err){0};
	if (r < 0) {
		weft_err_set(&why, r, "%s, while weftd was away", err->msg);
		weft_err_hint(&why, "weft logs %s", inst->name);
	}
	if (!goes_on(inst, r, &why))
		return;
	if (inst->phase == PHASE_WARMING)
		warm(inst);
}

static void on_cleaned(void *userdata, int r, const struct weft_err *err)
{
	struct instance *inst = userdata;

	if (!goes_on(inst, r, err))
		return;
	instance_network_del(inst);
	instance_start(inst);
}

static void adopt(struct instance *inst)
{
	struct runtime_slot *slot = runtime_of(inst);
	_cleanup_(instance_spec_done) struct instance_spec s = {0};
	struct weft_err err = {0};
	int r;

	if (instance_network_again(inst, &err) < 0) {
		instance_fail(inst, &err);
		return;
	}
	if (instance_spec_fill(inst, &s, &err) < 0) {
		instance_fail(inst, &err);
		return;
	}
	inst->busy = inst->adopted = true;
	r = slot->ops->adopt(slot->rt, &s.spec, on_adopted, inst, &err);
	if (r < 0)
		on_adopted(inst, refused(inst, r, &err), &err);
}

void instance_resume(struct instance *inst)
{
	struct runtime_slot *slot = runtime_of(inst);
	struct weft_err err = {0};
	int r;

	if (inst->borrowed) {
		attached_resume(inst);
		return;
	}
	switch (inst->phase) {
	case PHASE_PREPARING:
	case PHASE_STARTING:
		/* Nobody knows how far the start came: clean and begin again. */
		inst->busy = true;
		r = slot->ops->delete_(slot->rt, inst->name, on_cleaned, inst, &err);
		if (r < 0)
			on_cleaned(inst, refused(inst, r, &err), &err);
		break;
	case PHASE_DRAINING:
		inst->drain_until_ns =
			weft_now_ns() + (uint64_t)inst->service->spec->swap.drain_ms * 1000000ULL;
		adopt(inst);
		break;
	case PHASE_WARMING:
	case PHASE_READY:
		adopt(inst);
		break;
	case PHASE_STOPPING:
		inst->unwanted = true;
		stop_now(inst);
		break;
	case PHASE_FAILED:
		remove_now(inst);
		break;
	case PHASE_LOST:
	case PHASE_COUNT:
		break;
	}
}

/* A guest's tap goes with it: then what the runtime says of its end is the better reason. */
void instance_device_gone(struct instance *inst)
{
	inst->ifindex = 0;
	inst->gone_ns = weft_now_ns() + RETRY_NS;
}

void instance_event(void *engine, const char *id, enum weft_runtime_event event, const char *detail)
{
	struct instance *inst = instance_find(engine, id);
	struct weft_err err = {0};

	if (!inst || inst->borrowed)
		return;
	log_info("instance %s: runtime says: %s", id, detail);
	inst->oom |= event == WEFT_RUNTIME_OOM;
	if (event == WEFT_RUNTIME_PAUSED || event == WEFT_RUNTIME_RESUMED)
		instance_set_paused(inst, event == WEFT_RUNTIME_PAUSED);
	if (event != WEFT_RUNTIME_EXITED && event != WEFT_RUNTIME_FAILED)
		return;
	weft_err_set(&err, EIO, "instance %s ended: %s%s", id, detail,
		inst->oom ? ", for it used more than its memory" : "");
	weft_err_hint(&err, "weft logs %s", id);
	instance_fail(inst, &err);
}

void instance_tick(struct instance *inst, uint64_t now)
{
	if (inst->borrowed) {
		attached_tick(inst, now);
		return;
	}
	if (inst->unstored && now >= inst->store_ns)
		keep_record(inst);
	if (inst->gone_ns && now >= inst->gone_ns) {
		struct weft_err err = {0};

		inst->gone_ns = 0;
		weft_err_set(&err, ENODEV, "instance %s: its device %s is gone", inst->name,
			inst->device);
		instance_fail(inst, &err);
		return;
	}
	if (inst->phase == PHASE_DRAINING && !inst->busy &&
		(inst->engine->flows[inst->id] == 0 || now >= inst->drain_until_ns ||
			inst->service->deleting)) {
		instance_destroy(inst);
		return;
	}
	if ((inst->phase == PHASE_STOPPING || inst->phase == PHASE_FAILED) && !inst->busy &&
		inst->retry_ns && now >= inst->retry_ns) {
		inst->retry_ns = 0;
		stop_now(inst);
		return;
	}
	if (inst->adopted && !inst->busy && inst->retry_ns && now >= inst->retry_ns) {
		inst->retry_ns = 0;
		adopt(inst);
		return;
	}
	if (!inst->asked && now >= inst->guard_ns &&
		ask_probe(inst, ASK_READY)->type != WEFT_PROBE_NONE && guarded(inst))
		ask_start(inst, ASK_READY, GUARD_ATTEMPT_MS, guard_patience(inst), on_asked,
			&inst->asked);
	live_tick(inst, now);
}
