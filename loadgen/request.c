/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "loadgen/worker_internal.h"

#define CLOSED_LOOP_PAUSE_NS 10000000

int requests_init(struct load_worker *w)
{
	const struct load_options *o = w->options;

	TAILQ_INIT(&w->free);
	TAILQ_INIT(&w->age);
	TAILQ_INIT(&w->queue);
	w->queue_max = share_of(o->max_queue, w->index, o->threads);
	/* All that the queue and the connections hold, and the new one that may turn out to be too
	 * many. */
	w->request_count = w->queue_max + w->conn_count + 1;
	w->requests = calloc(w->request_count, sizeof(*w->requests));
	return w->requests ? 0 : -ENOMEM;
}

void requests_free(struct load_worker *w)
{
	free(w->requests);
}

static struct request *request_alloc(struct load_worker *w)
{
	struct request *r = TAILQ_FIRST(&w->free);

	if (r)
		TAILQ_REMOVE(&w->free, r, link);
	else
		r = &w->requests[w->requests_used++];
	*r = (struct request){0};
	return r;
}

static void queue_remove(struct load_worker *w, struct request *r)
{
	TAILQ_REMOVE(&w->queue, r, link);
	w->queued--;
}

struct request *queue_pop(struct load_worker *w)
{
	struct request *r = TAILQ_FIRST(&w->queue);

	if (r)
		queue_remove(w, r);
	return r;
}

void request_new(struct load_worker *w, uint64_t intended)
{
	struct request *r = request_alloc(w);

	r->intended = intended;
	w->outstanding++;
	TAILQ_INSERT_TAIL(&w->age, r, age);
	TAILQ_INSERT_TAIL(&w->queue, r, link);
	w->queued++;
	conns_pump(w);
	if (w->queued > w->queue_max) {
		struct request *last = TAILQ_LAST(&w->queue, request_list);

		queue_remove(w, last);
		request_end(w, last, LOAD_OVERLOAD);
	}
}

void request_end(struct load_worker *w, struct request *r, enum load_class class)
{
	struct load_sample sample = {
		.intended = r->intended,
		.sent = r->sent,
		.done = weft_now_ns(),
		.bytes = r->bytes,
		.class = class,
	};

	load_recorder_ended(w->recorder, &sample);
	/* A closed loop would ask a dead server again and again without a pause. */
	if (class >= LOAD_CONNECT_REFUSED && class <= LOAD_CONNECT_FAILED)
		w->resume = sample.done + CLOSED_LOOP_PAUSE_NS;
	TAILQ_REMOVE(&w->age, r, age);
	TAILQ_INSERT_HEAD(&w->free, r, link);
	w->outstanding--;
}

/* The timeout is the same for all and counts from the intended time, so the oldest goes first. */
void requests_expire(struct load_worker *w, uint64_t now)
{
	struct request *r;

	while ((r = TAILQ_FIRST(&w->age)) && r->intended + w->options->timeout <= now) {
		struct conn *c = r->conn;
		bool connecting = c ? c->state == CONN_CONNECTING : !w->established;

		if (c)
			conn_give_up(w, c);
		else
			queue_remove(w, r);
		request_end(w, r, connecting ? LOAD_CONNECT_TIMEOUT : LOAD_TIMEOUT);
	}
}
