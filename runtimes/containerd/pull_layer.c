/* SPDX-License-Identifier: Apache-2.0 */
/* Layers from a registry into containerd's content store, some at a time. Nothing is kept in
 * between but a chunk of each: what containerd has not taken yet holds the registry up. A write
 * that was broken off is known to containerd by its reference, and goes on where it stopped, with
 * this daemon or the next. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/containerd/import.h"

#define AT_A_TIME 3
#define CHUNK     (256U * 1024)
#define WINDOW    (1U << 20) /* bytes sent and not taken yet */
#define LOCKED_MS 200
#define IDLE_MS   600000 /* nothing moves: containerd hangs; a registry that does is left before */
#define TELL_NS   200000000ULL

static int start_layer(struct pull_layer *l);
static void start_more(struct pull *p);

/* --- progress ------------------------------------------------------------------------------------
 */

void pull_progress(struct pull *p, bool now)
{
	struct weft_runtime *rt = p->im.op.rt;
	uint64_t bytes = 0, t = weft_now_ns();

	if (!rt->on_progress || (!now && t < p->told_ns + TELL_NS))
		return;
	for (unsigned i = 0; i < p->n_layers; i++)
		bytes += p->layers[i].complete ? p->layers[i].d->size : p->layers[i].acked;
	p->told_ns = t;
	rt->on_progress(rt->userdata, p->im.path, bytes, p->total);
}

/* --- one layer -----------------------------------------------------------------------------------
 */

static void stop_layer(struct pull_layer *l)
{
	weft_registry_cancel(TAKE_PTR(l->get));
	weft_grpc_cancel(TAKE_PTR(l->write));
	l->timer = sd_event_source_disable_unref(l->timer);
	free(TAKE_PTR(l->chunk));
}

void pull_layers_release(struct pull *p)
{
	for (unsigned i = 0; p->layers && i < p->n_layers; i++)
		stop_layer(&p->layers[i]);
	free(TAKE_PTR(p->layers));
}

static void layer_failed(struct pull_layer *l, int r)
{
	struct pull *p = l->pull;

	pull_layers_release(p);
	pull_failed(p, r);
}

static void layer_done(struct pull_layer *l)
{
	struct pull *p = l->pull;

	stop_layer(l);
	l->complete = true;
	p->active--;
	start_more(p);
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct pull_layer *l = userdata;

	(void)source;
	(void)usec;
	layer_failed(l, weft_err_set(&l->pull->im.op.err, ETIMEDOUT,
				"image %s: layer %.19s…: containerd takes no more of it",
				l->pull->im.path, l->d->digest));
	return 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct pull_layer *l = userdata;
	int r;

	(void)source;
	(void)usec;
	r = start_layer(l);
	if (r < 0)
		layer_failed(l, r);
	return 0;
}

static int arm(struct pull_layer *l, uint64_t ms, sd_event_time_handler_t handler)
{
	l->timer = sd_event_source_disable_unref(l->timer);
	return sd_event_add_time_relative(
		l->pull->im.op.rt->event, &l->timer, CLOCK_MONOTONIC, ms * 1000, 10000, handler, l);
}

static void moved(struct pull_layer *l)
{
	if (l->timer)
		sd_event_source_set_time_relative(l->timer, IDLE_MS * 1000ULL);
}

/* --- to containerd -------------------------------------------------------------------------------
 */

static void send_chunk(struct pull_layer *l, Ctrd__WriteAction action)
{
	Ctrd__WriteContentRequest q = CTRD__WRITE_CONTENT_REQUEST__INIT;

	q.action = action;
	q.ref = l->ref;
	q.expected = (char *)(uintptr_t)l->d->digest;
	q.total = (int64_t)l->d->size;
	q.offset = (int64_t)(l->sent - l->n);
	q.data.data = l->chunk;
	q.data.len = l->n;
	l->n = 0;
	weft_grpc_send(l->write, &q.base, action == CTRD__WRITE_ACTION__COMMIT);
}

static int on_data(void *userdata, const char *data, size_t size)
{
	struct pull_layer *l = userdata;

	if (l->sent - l->acked > WINDOW) {
		l->paused = true;
		return -EAGAIN;
	}
	while (size > 0) {
		size_t n = size < CHUNK - l->n ? size : CHUNK - l->n;

		memcpy(l->chunk + l->n, data, n);
		l->n += n;
		l->sent += n;
		data += n;
		size -= n;
		if (l->n == CHUNK)
			send_chunk(l, CTRD__WRITE_ACTION__WRITE);
	}
	return 0;
}

static void on_blob(void *userdata, int r, const struct weft_err *err, const char *text,
	size_t size, const char *media_type)
{
	struct pull_layer *l = userdata;

	(void)text;
	(void)size;
	(void)media_type;
	l->get = NULL;
	if (r < 0) {
		l->pull->im.op.err = *err;
		layer_failed(l, r);
		return;
	}
	send_chunk(l, CTRD__WRITE_ACTION__COMMIT);
}

/* STAT's answer says where to go on. */
static void fetch(struct pull_layer *l, uint64_t offset)
{
	int r;

	l->sent = l->acked = offset;
	if (offset >= l->d->size) {
		send_chunk(l, CTRD__WRITE_ACTION__COMMIT);
		return;
	}
	r = weft_registry_blob(l->pull->registry, l->d, offset, on_data, on_blob, l, &l->get);
	if (r < 0)
		layer_failed(l, weft_err_set(&l->pull->im.op.err, r, "image %s: %s",
					l->pull->im.path, strerror(-r)));
}

static void on_written(void *userdata, const ProtobufCMessage *message)
{
	const Ctrd__WriteContentResponse *m = (const Ctrd__WriteContentResponse *)message;
	struct pull_layer *l = userdata;

	moved(l);
	if (m->action == CTRD__WRITE_ACTION__STAT) {
		fetch(l, m->offset > 0 ? (uint64_t)m->offset : 0);
		return;
	}
	if (m->action == CTRD__WRITE_ACTION__COMMIT || (uint64_t)m->offset < l->acked)
		return;
	l->acked = (uint64_t)m->offset;
	pull_progress(l->pull, false);
	if (l->paused && l->sent - l->acked <= WINDOW / 2 && l->get) {
		l->paused = false;
		weft_registry_continue(l->get);
	}
}

/* What is wrong in the store must not be gone on from. */
static void aborted(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	(void)res;
	pull_failed((struct pull *)op, -EBADMSG);
}

static void wrong_digest(struct pull_layer *l)
{
	Ctrd__AbortContentRequest q = CTRD__ABORT_CONTENT_REQUEST__INIT;
	struct pull *p = l->pull;
	char ref[sizeof(l->ref)];

	memcpy(ref, l->ref, sizeof(ref));
	weft_err_set(&p->im.op.err, EBADMSG,
		"image %s: what registry %s sent for layer %.19s… does not match its digest",
		p->im.path, p->ref.host, l->d->digest);
	weft_err_hint(&p->im.op.err, "try again; if it stays so, the registry is damaged");
	pull_layers_release(p);
	q.ref = ref;
	ctrd_op_call(&p->im.op, CTRD_CONTENT_ABORT, &q.base, CTRD_QUICK_MS, aborted);
}

static void on_write_end(void *userdata, const struct weft_grpc_result *res)
{
	struct pull_layer *l = userdata;

	l->write = NULL;
	if (res->status == WEFT_GRPC_OK || res->status == WEFT_GRPC_ALREADY_EXISTS)
		layer_done(l);
	else if (import_is_locked(res) && !l->get && arm(l, LOCKED_MS, on_retry) >= 0)
		return; /* by another pull, or by what is left of an earlier daemon's */
	else if (res->status == WEFT_GRPC_FAILED_PRECONDITION)
		wrong_digest(l);
	else
		layer_failed(l, ctrd_op_fail(&l->pull->im.op, res, "image %s: write layer %.19s…",
					l->pull->im.path, l->d->digest));
}

static int begin_write(struct pull_layer *l)
{
	const char *lease[] = {"containerd-lease", l->pull->im.op.lease, NULL};
	struct weft_grpc_spec spec = {
		.metadata = lease,
		.on_message = on_written,
		.on_end = on_write_end,
		.userdata = l,
	};
	Ctrd__WriteContentRequest q = CTRD__WRITE_CONTENT_REQUEST__INIT;
	int r;

	if (!l->chunk)
		l->chunk = malloc(CHUNK);
	if (!l->chunk)
		return -ENOMEM;
	r = ctrd_begin(l->pull->im.op.rt, CTRD_CONTENT_WRITE, &spec, &l->write);
	if (r < 0) {
		l->write = NULL;
		return r;
	}
	q.action = CTRD__WRITE_ACTION__STAT;
	q.ref = l->ref;
	q.expected = (char *)(uintptr_t)l->d->digest;
	q.total = (int64_t)l->d->size;
	weft_grpc_send(l->write, &q.base, false);
	return arm(l, IDLE_MS, on_idle);
}

static int start_layer(struct pull_layer *l)
{
	int r = begin_write(l);

	if (r < 0)
		weft_err_set(&l->pull->im.op.err, r, "image %s: write layer %.19s…: %s",
			l->pull->im.path, l->d->digest, strerror(-r));
	return r;
}

/* --- all layers ----------------------------------------------------------------------------------
 */

/* An image may have the same layer several times. */
static bool had_before(const struct pull *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (strcmp(p->layers[i].d->digest, p->layers[n].d->digest) == 0)
			return true;
	return false;
}

static void start_more(struct pull *p)
{
	unsigned n = p->n_layers;

	pull_progress(p, p->next == n && p->active == 0);
	while (p->active < AT_A_TIME && p->next < n) {
		struct pull_layer *l = &p->layers[p->next++];
		int r;

		if (had_before(p, (unsigned)(l - p->layers))) {
			l->complete = true;
			continue;
		}
		p->active++;
		r = start_layer(l);
		if (r < 0) {
			layer_failed(l, r);
			return;
		}
	}
	if (p->active == 0)
		pull_layers_done(p);
}

void pull_layers(struct pull *p)
{
	const struct weft_oci_image *image = p->im.image;

	p->layers = calloc(image->n_layers, sizeof(*p->layers));
	if (!p->layers) {
		pull_failed(p,
			weft_err_set(&p->im.op.err, ENOMEM, "image %s: out of memory", p->im.path));
		return;
	}
	p->n_layers = image->n_layers;
	for (unsigned i = 0; i < p->n_layers; i++) {
		struct pull_layer *l = &p->layers[i];

		l->pull = p;
		l->d = &image->layers[i];
		snprintf(l->ref, sizeof(l->ref), "weft-%s", l->d->digest);
		p->total += l->d->size;
	}
	start_more(p);
}
