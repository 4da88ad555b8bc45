/* SPDX-License-Identifier: Apache-2.0 */
/* Ask an instance whether it is well, by whatever its variant's probe says: a connection, an HTTP
 * request, a command in it, the monitor of a virtual machine. */
#include <errno.h>
#include <string.h>

#include "ctrl/engine/internal.h"

#define PAUSE_MS     250  /* between two attempts by the runtime */
#define BY_NETWORK   20   /* the same, by the network */
#define RUNTIME_MS   5000 /* an attempt by the runtime, at the least */
#define REASON_BYTES 80   /* of what a command has said */

/* A runtime's answer to come; it may outlive who waits for it. */
struct ask_call {
	struct ask_call *next;
	struct weft_engine *engine;
	struct ask *ask; /* NULL: nobody waits any more */
};

struct ask {
	struct instance *inst;
	enum ask_kind kind;
	ask_done_t done;
	struct weft_probe *probe; /* by the network; else */
	struct ask_call *call;    /* by the runtime, when under way */
	sd_event_source *timer;
	unsigned attempts, timeout_ms;
	uint64_t deadline_ns;
	char reason[160];
};

const struct weft_sla_probe *ask_probe(const struct instance *inst, enum ask_kind kind)
{
	static const struct weft_sla_probe none;
	const struct weft_sla_variant *v = service_variant(inst->service, inst->virt);

	if (!v)
		return &none;
	return kind == ASK_LIVE ? &v->liveness : &v->readiness;
}

void ask_free(struct ask *a)
{
	if (!a)
		return;
	if (a->call)
		a->call->ask = NULL;
	weft_probe_free(a->probe);
	sd_event_source_disable_unref(a->timer);
	free(a);
}

void asks_free(struct weft_engine *e)
{
	for (struct ask_call *c = e->asks, *next; c; c = next) {
		next = c->next;
		if (c->ask)
			c->ask->call = NULL;
		free(c);
	}
	e->asks = NULL;
}

/* --- by the network ------------------------------------------------------------------------------
 */

static void on_probe(void *userdata, int r, unsigned attempts, const struct weft_err *err)
{
	struct ask *a = userdata;

	(void)attempts;
	a->done(a->inst, r, err);
}

static int by_network(struct ask *a, const struct weft_sla_probe *p, unsigned attempt_ms)
{
	struct weft_probe_config config = {
		.addr = a->inst->ns_addr,
		.port = p->port,
		.http_path = p->type == WEFT_PROBE_HTTP ? p->path : NULL,
		.attempt_ms = attempt_ms,
		.interval_ms = BY_NETWORK,
		.timeout_ms = a->timeout_ms,
	};

	return weft_probe_start(a->inst->engine->event, &config, on_probe, a, &a->probe);
}

/* --- by the runtime ------------------------------------------------------------------------------
 */

static void arm(struct ask *a, unsigned ms)
{
	uint64_t now = weft_now_ns(), at = now + ms * 1000000ULL;

	if (at > a->deadline_ns)
		at = a->deadline_ns > now ? a->deadline_ns : now;
	sd_event_source_set_time(a->timer, at / 1000);
	sd_event_source_set_enabled(a->timer, SD_EVENT_ONESHOT);
}

static void give_up(struct ask *a)
{
	const struct weft_sla_probe *p = ask_probe(a->inst, a->kind);
	struct weft_err err = {0};

	weft_err_set(&err, ETIMEDOUT, "%s%s within %u ms (%u attempts, last: %s)",
		p->type == WEFT_PROBE_EXEC ? "no success of " : "its monitor does not say it runs",
		p->command ? p->command[0] : "", a->timeout_ms, a->attempts,
		a->reason[0] ? a->reason : "no answer");
	a->done(a->inst, -ETIMEDOUT, &err);
}

static void call_free(struct ask_call *c)
{
	for (struct ask_call **p = &c->engine->asks; *p; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			break;
		}
	if (c->ask)
		c->ask->call = NULL;
	free(c);
}

static void answered(struct ask_call *c, const char *reason)
{
	static const struct weft_err fine;
	struct ask *a = c->ask;

	call_free(c);
	if (!a)
		return;
	if (!reason) {
		a->done(a->inst, 0, &fine);
		return;
	}
	snprintf(a->reason, sizeof(a->reason), "%s", reason);
	arm(a, PAUSE_MS);
}

static void on_checked(void *userdata, int r, const struct weft_err *err)
{
	answered(userdata, r < 0 ? err->msg : NULL);
}

static void on_executed(void *userdata, int r, const struct weft_err *err, int status,
	const char *output, size_t size)
{
	_cleanup_(freep) char *reason = NULL;
	size_t line = 0;

	if (r < 0 || status == 0) {
		answered(userdata, r < 0 ? err->msg : NULL);
		return;
	}
	while (line < size && line < REASON_BYTES && output[line] && output[line] != '\n')
		line++;
	reason = weft_strf("status %d%s%.*s", status, line ? ": " : "", (int)line, output);
	answered(userdata, reason ? weft_text_clean_line(reason) : "failed");
}

static int begin(struct ask *a, const struct weft_sla_probe *p, struct weft_err *err)
{
	struct runtime_slot *slot = engine_runtime(a->inst->engine, a->inst->virt);
	unsigned most = a->timeout_ms < RUNTIME_MS ? a->timeout_ms : RUNTIME_MS;

	if (p->type == WEFT_PROBE_EXEC && p->command && slot->ops->exec)
		return slot->ops->exec(slot->rt, a->inst->name, (const char *const *)p->command,
			most, on_executed, a->call, err);
	if (p->type == WEFT_PROBE_QMP && slot->ops->check)
		return slot->ops->check(slot->rt, a->inst->name, on_checked, a->call, err);
	return weft_err_set(err, ENOTSUP, "%s is nothing that a %s can be asked by",
		weft_probe_type_name(p->type), weft_virt_name(a->inst->virt));
}

static void attempt(struct ask *a)
{
	const struct weft_sla_probe *p = ask_probe(a->inst, a->kind);
	struct weft_err err = {0};
	int r;

	a->call = calloc(1, sizeof(*a->call));
	if (!a->call) {
		arm(a, PAUSE_MS);
		return;
	}
	*a->call = (struct ask_call){a->inst->engine->asks, a->inst->engine, a};
	a->inst->engine->asks = a->call;
	a->attempts++;
	r = begin(a, p, &err);
	if (r < 0)
		answered(a->call, err.code ? err.msg : strerror(-r));
	else
		arm(a, a->timeout_ms);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct ask *a = userdata;

	(void)source;
	(void)usec;
	if (weft_now_ns() >= a->deadline_ns)
		give_up(a);
	else if (!a->call)
		attempt(a);
	return 0;
}

int ask_start(struct instance *inst, enum ask_kind kind, unsigned attempt_ms, unsigned timeout_ms,
	ask_done_t done, struct ask **ret)
{
	const struct weft_sla_probe *p = ask_probe(inst, kind);
	struct ask *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	*a = (struct ask){.inst = inst, .kind = kind, .done = done, .timeout_ms = timeout_ms};
	if (p->type == WEFT_PROBE_TCP || p->type == WEFT_PROBE_HTTP) {
		r = by_network(a, p, attempt_ms);
	} else {
		a->deadline_ns = weft_now_ns() + timeout_ms * 1000000ULL;
		r = sd_event_add_time(inst->engine->event, &a->timer, CLOCK_MONOTONIC,
			weft_now_ns() / 1000, 1000, on_timer, a);
	}
	if (r < 0) {
		ask_free(a);
		return r;
	}
	*ret = a;
	return 0;
}
