/* SPDX-License-Identifier: Apache-2.0 */
/* An engine that remembers what it was asked and answers as it is told: the routes of ctrl/api
 * without the node below them. Included by a program, it takes the place of the real engine, which
 * the linker then leaves out. */
#ifndef WEFT_TESTS_LIB_FAKE_ENGINE_H
#define WEFT_TESTS_LIB_FAKE_ENGINE_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/engine/engine.h"

static struct fake_engine {
	unsigned calls;
	char asked[4096]; /* "services", "logs shop.web.1 100" */
	int r;            /* what every call returns */
	bool silent;      /* fails without a text */
	bool no_document; /* succeeds without a document, as when memory is out */
	const char *err, *hint;
	const char *log;
	int pipe;
	struct weft_events *events;
} fake_engine;

static int fake_answer(json_t **ret, struct weft_err *err)
{
	struct fake_engine *f = &fake_engine;

	f->calls++;
	if (f->r < 0) {
		if (f->silent)
			return f->r;
		weft_err_set(err, f->r, "%s", f->err ? f->err : "no");
		if (f->hint)
			weft_err_hint(err, "%s", f->hint);
		return f->r;
	}
	*ret = f->no_document ? NULL : json_pack("{s:s}", "asked", f->asked);
	return 0;
}

#define FAKE_LIST(name)                                                                   \
	int weft_engine_##name(struct weft_engine *e, json_t **ret, struct weft_err *err) \
	{                                                                                 \
		(void)e;                                                                  \
		snprintf(fake_engine.asked, sizeof(fake_engine.asked), #name);            \
		return fake_answer(ret, err);                                             \
	}
#define FAKE_ITEM(name)                                                                    \
	int weft_engine_##name(                                                            \
		struct weft_engine *e, const char *id, json_t **ret, struct weft_err *err) \
	{                                                                                  \
		(void)e;                                                                   \
		snprintf(fake_engine.asked, sizeof(fake_engine.asked), #name " %s",        \
			id ? id : "all");                                                  \
		return fake_answer(ret, err);                                              \
	}

FAKE_LIST(status)
FAKE_LIST(services)
FAKE_ITEM(service)
FAKE_ITEM(service_delete)
FAKE_LIST(instances)
FAKE_ITEM(instance)
FAKE_LIST(swaps)
FAKE_ITEM(swap)
FAKE_ITEM(swap_abort)
FAKE_ITEM(swap_pause)
FAKE_ITEM(swap_resume)
FAKE_ITEM(swap_rollback)
FAKE_ITEM(weights_reset)
FAKE_ITEM(dp_lb)
FAKE_LIST(dp_drops)
FAKE_LIST(spans)
FAKE_ITEM(dp_stats)

int weft_engine_dp_flows(
	struct weft_engine *e, const struct weft_flow_query *q, json_t **ret, struct weft_err *err)
{
	(void)e;
	snprintf(fake_engine.asked, sizeof(fake_engine.asked), "dp_flows %s %s %s %llu %u",
		q->service ? q->service : "all", q->instance ? q->instance : "all",
		q->peer ? q->peer : "all", (unsigned long long)q->after, q->limit);
	return fake_answer(ret, err);
}

int weft_engine_weights_set(struct weft_engine *e, const char *service,
	const struct weft_engine_weight *w, size_t n, json_t **ret, struct weft_err *err)
{
	size_t size = sizeof(fake_engine.asked), at;

	(void)e;
	at = (size_t)snprintf(fake_engine.asked, size, "weights_set %.200s", service);
	for (size_t i = 0; i < n && at < size; i++)
		at += (size_t)snprintf(
			fake_engine.asked + at, size - at, " %.80s=%u", w[i].instance, w[i].weight);
	return fake_answer(ret, err);
}

int weft_engine_service_set(struct weft_engine *e, const char *name,
	const struct weft_engine_settings *settings, json_t **ret, struct weft_err *err)
{
	(void)e;
	snprintf(fake_engine.asked, sizeof(fake_engine.asked), "service_set %.200s shortcut %d",
		name, settings->shortcut);
	return fake_answer(ret, err);
}

int weft_engine_service_scale(struct weft_engine *e, const char *name, int64_t replicas,
	json_t **ret, struct weft_err *err)
{
	(void)e;
	snprintf(fake_engine.asked, sizeof(fake_engine.asked), "scale %.200s %lld", name,
		(long long)replicas);
	return fake_answer(ret, err);
}

/* Made by the program that wants events. */
struct weft_events *weft_engine_events(struct weft_engine *e)
{
	(void)e;
	return fake_engine.events;
}

/* fake_engine.pipe is what the trace comes out of. */
int weft_engine_trace(struct weft_engine *e, const char *service, uint64_t duration_ms,
	uint64_t interval_ms, int *ret_fd, struct weft_err *err)
{
	json_t *none = NULL;
	int r;

	(void)e;
	snprintf(fake_engine.asked, sizeof(fake_engine.asked), "trace %s %llu %llu", service,
		(unsigned long long)duration_ms, (unsigned long long)interval_ms);
	r = fake_answer(&none, err);
	json_decref(none);
	if (r == 0)
		*ret_fd = fake_engine.pipe;
	return r;
}

/* Refused: no call ever begins, so none is ever forgotten. */
int weft_engine_do(struct weft_engine *e, const struct weft_engine_op *op, weft_engine_done_t done,
	void *userdata, struct weft_engine_call **ret, struct weft_err *err)
{
	(void)e, (void)done, (void)userdata, (void)ret;
	snprintf(fake_engine.asked, sizeof(fake_engine.asked), "do %.200s", op->instance);
	return weft_err_set(err, ENOTSUP, "not here");
}

void weft_engine_call_end(struct weft_engine_call *call)
{
	if (call)
		abort();
}

void weft_engine_call_forget(struct weft_engine_call *call)
{
	if (call)
		abort();
}

FAKE_ITEM(detach)
FAKE_LIST(export)
FAKE_LIST(peers)
FAKE_ITEM(peer)
FAKE_ITEM(peer_remove)

int weft_engine_peer_set(struct weft_engine *e, const struct weft_peer_request *q, json_t **ret,
	struct weft_err *err)
{
	(void)e;
	if (!q->name || !q->address || q->port < 0 || q->mtu < 0)
		abort();
	snprintf(fake_engine.asked, sizeof(fake_engine.asked),
		"peer_set %.99s %.99s %.99s %lld %lld", q->name, q->address,
		q->format ? q->format : "-", (long long)q->port, (long long)q->mtu);
	return fake_answer(ret, err);
}

int weft_engine_peer_import(struct weft_engine *e, const char *name, const json_t *doc,
	json_t **ret, struct weft_err *err)
{
	(void)e;
	if (!json_is_object(doc))
		abort();
	snprintf(fake_engine.asked, sizeof(fake_engine.asked), "peer_import %.200s %zu", name,
		json_array_size(json_object_get(doc, "instances")));
	return fake_answer(ret, err);
}

int weft_engine_attach(struct weft_engine *e, const struct weft_attach_request *q, json_t **ret,
	struct weft_err *err)
{
	(void)e;
	if (!q->name || !q->ns_addr || q->weight < -1)
		abort();
	snprintf(fake_engine.asked, sizeof(fake_engine.asked),
		"attach %.99s %.99s %.99s %.99s %.99s %.99s %lld", q->name,
		q->service ? q->service : "-", q->device ? q->device : "-",
		q->netns ? q->netns : "-", q->ns_addr, q->mac ? q->mac : "-", (long long)q->weight);
	return fake_answer(ret, err);
}

int weft_engine_apply(struct weft_engine *e, const struct weft_engine_descriptor *d, json_t **ret,
	struct weft_err *err)
{
	(void)e;
	if (strlen(d->text) > d->size)
		abort();
	snprintf(
		fake_engine.asked, sizeof(fake_engine.asked), "apply %.200s %zu", d->file, d->size);
	if (d->dry_run)
		strcat(fake_engine.asked, " dry");
	if (d->version != WEFT_ENGINE_ANY_VERSION)
		sprintf(fake_engine.asked + strlen(fake_engine.asked), " version %llu",
			(unsigned long long)d->version);
	return fake_answer(ret, err);
}

const char *weft_engine_kind_name(enum weft_engine_kind kind)
{
	static const char *const names[] = {"service", "instance", "swap", "peer"};

	return names[kind];
}

int weft_engine_kind_parse(const char *name, size_t size)
{
	for (int k = 0; k < WEFT_ENGINE_KINDS; k++)
		if (strlen(weft_engine_kind_name((enum weft_engine_kind)k)) == size &&
			strncmp(weft_engine_kind_name((enum weft_engine_kind)k), name, size) == 0)
			return k;
	return -EINVAL;
}

/* What it was asked last; all resources have version 7. */
static char fake_unchanged[256];
int weft_engine_unchanged(struct weft_engine *e, enum weft_engine_kind kind, const char *name,
	uint64_t version, struct weft_err *err)
{
	(void)e;
	snprintf(fake_unchanged, sizeof(fake_unchanged), "%s %.200s %llu",
		weft_engine_kind_name(kind), name, (unsigned long long)version);
	return version < 7 ? weft_err_set(err, EBUSY, "%s has version 7", name) : 0;
}

/* Its disk is read-only. */
static bool fake_read_only;
int weft_engine_writable(const struct weft_engine *e, struct weft_err *err)
{
	(void)e;
	return fake_read_only ? weft_err_set(err, EROFS, "store: read-only") : 0;
}

int weft_engine_watch_check(struct weft_engine *e, uint64_t version, struct weft_err *err)
{
	(void)e;
	return version < 3 ? weft_err_set(err, ESTALE, "version %u is too old", (unsigned)version)
			   : 0;
}

int weft_engine_watch_list(
	struct weft_engine *e, unsigned kinds, json_t **ret, uint64_t *ret_version)
{
	struct weft_err err = {0};

	(void)e;
	snprintf(fake_engine.asked, sizeof(fake_engine.asked), "watch %u", kinds);
	*ret_version = 7;
	return fake_answer(ret, &err);
}

int weft_engine_watch_next(struct weft_engine *e, unsigned kinds, uint64_t *version, json_t **ret,
	struct weft_err *err)
{
	(void)e, (void)ret, (void)err;
	snprintf(fake_engine.asked, sizeof(fake_engine.asked), "watch %u after %llu", kinds,
		(unsigned long long)*version);
	return 0; /* nothing has changed */
}

int weft_engine_logs(
	struct weft_engine *e, const char *name, unsigned lines, char **ret, struct weft_err *err)
{
	json_t *none = NULL;
	int r;

	(void)e;
	snprintf(fake_engine.asked, sizeof(fake_engine.asked), "logs %s %u", name, lines);
	r = fake_answer(&none, err);
	json_decref(none);
	if (r < 0)
		return r;
	*ret = strdup(fake_engine.log ? fake_engine.log : "");
	return 0;
}

int weft_engine_logs_after(struct weft_engine *e, const char *name, const char *after,
	unsigned lines, json_t **ret, struct weft_err *err)
{
	(void)e;
	snprintf(fake_engine.asked, sizeof(fake_engine.asked), "logs_after %s %.99s %u", name,
		after, lines);
	return fake_answer(ret, err);
}

int weft_engine_swap_start(struct weft_engine *e, const struct weft_swap_request *q, json_t **ret,
	struct weft_err *err)
{
	(void)e;
	if (!q->service || !q->to || q->duration_ms < -1 || q->drain_ms < -1)
		abort();
	snprintf(fake_engine.asked, sizeof(fake_engine.asked), "swap_start %s %s %s %lld %lld",
		q->service, q->to, q->strategy ? q->strategy : "-", (long long)q->duration_ms,
		(long long)q->drain_ms);
	return fake_answer(ret, err);
}

#endif
