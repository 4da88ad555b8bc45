/* SPDX-License-Identifier: Apache-2.0 */
/* The loop sleeps in epoll_pwait2 until the next intended time, to the nanosecond, and dispatches
 * all that is due when it wakes up: being late makes a burst, never a drift, and is counted in the
 * latency of each request, which begins at its intended time. */
#include "loadgen/worker.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include "loadgen/worker_internal.h"

enum { EVENTS_MAX = 128 };

static void report(struct load_worker *w, atomic_uint *counter)
{
	uint64_t one = 1;

	atomic_fetch_add(counter, 1);
	(void)!write(w->shared->report_fd, &one, sizeof(one));
}

static void dispatch_open(struct load_worker *w, uint64_t now, uint64_t end)
{
	while (w->next <= now && w->next < end) {
		/* Read anew for each: a burst takes its time too. */
		load_recorder_lag(w->recorder, weft_now_ns() - w->next);
		request_new(w, w->next);
		w->next = w->start + load_arrivals_next(&w->arrivals);
	}
}

static void dispatch_closed(struct load_worker *w, uint64_t now, uint64_t end)
{
	while (now >= w->start && now < end && now >= w->resume && w->outstanding < w->conn_count)
		request_new(w, weft_now_ns());
}

static void dispatch(struct load_worker *w, uint64_t now, uint64_t end)
{
	if (!w->start) {
		w->start = atomic_load(&w->shared->start);
		if (!w->start)
			return;
		w->next = w->options->closed_loop ? UINT64_MAX
						  : w->start + load_arrivals_next(&w->arrivals);
	}
	if (w->options->closed_loop)
		dispatch_closed(w, now, end);
	else
		dispatch_open(w, now, end);
	w->draining = now >= end;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When something is to be done, should nothing happen before. */
static uint64_t next_wake(const struct load_worker *w, uint64_t now, uint64_t end)
{
	const struct request *oldest = TAILQ_FIRST(&w->age);
	const struct conn *connecting = TAILQ_FIRST(&w->by_state[CONN_CONNECTING]);
	uint64_t wake = linger_deadline(w);

	if (w->start && !w->draining) {
		wake = earlier(wake, earlier(w->next, end));
		if (w->options->closed_loop && w->outstanding < w->conn_count)
			wake = earlier(wake, now < w->start ? w->start : w->resume);
	}
	if (oldest)
		wake = earlier(wake, oldest->intended + w->options->timeout);
	if (connecting)
		wake = earlier(wake, connecting->deadline);
	return wake;
}

static void handle(struct load_worker *w, const struct epoll_event *e)
{
	uint32_t source = (uint32_t)e->data.u64;
	uint64_t sink;

	if (source == SOURCE_WAKE) {
		(void)!read(w->wake_fd, &sink, sizeof(sink));
	} else if (source & SOURCE_LINGER) {
		linger_event(w, source & ~SOURCE_LINGER);
	} else {
		struct conn *c = &w->conns[source];

		/* It may have been closed, even opened anew, by an event before in this batch. */
		if (c->fd >= 0 && c->generation == (uint32_t)(e->data.u64 >> 32))
			conn_event(w, c, e->events);
	}
}

static int wait_and_handle(struct load_worker *w, uint64_t wake)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t now = weft_now_ns(), ns = wake > now ? wake - now : 0;
	struct timespec timeout = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
	int n;

	n = epoll_pwait2(
		w->epoll_fd, events, EVENTS_MAX, wake == UINT64_MAX ? NULL : &timeout, NULL);
	if (n < 0 && errno != EINTR)
		return -errno;
	for (int i = 0; i < n; i++)
		handle(w, &events[i]);
	return 0;
}

static bool turn(struct load_worker *w)
{
	uint64_t now = weft_now_ns(), end = atomic_load(&w->shared->end);

	requests_expire(w, now);
	conns_expire(w, now);
	linger_expire(w, now);
	dispatch(w, now, end);
	conns_pump(w);
	load_recorder_gauge(w->recorder, w->in_flight, w->queued);
	if (!w->start) {
		conns_prewarm(w);
		if (!w->reported && TAILQ_EMPTY(&w->by_state[CONN_CONNECTING])) {
			w->reported = true;
			report(w, &w->shared->ready);
		}
	}
	if (atomic_load(&w->shared->abort) || (w->start && w->draining && !w->outstanding))
		return false;
	return wait_and_handle(w, next_wake(w, now, end)) == 0;
}

static void *worker_main(void *arg)
{
	struct load_worker *w = arg;

	/* The kernel may delay a sleeper by 50 us to spare wake-ups; that would be our latency. */
	prctl(PR_SET_TIMERSLACK, 1UL);
	while (turn(w))
		;
	load_recorder_gauge(w->recorder, 0, 0);
	report(w, &w->shared->finished);
	return NULL;
}

static int worker_init(struct load_worker *w)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = SOURCE_WAKE};
	const struct load_options *o = w->options;
	int r;

	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->epoll_fd < 0 || w->wake_fd < 0 ||
		epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->wake_fd, &e) < 0)
		return -errno;
	r = load_recorder_new(w->shared->phases, w->index, &w->recorder);
	if (r == 0)
		r = conns_init(w);
	if (r == 0)
		r = requests_init(w);
	if (r == 0 && !o->closed_loop)
		load_arrivals_init(
			&w->arrivals, o->arrivals, o->rate, w->index, o->threads, o->seed);
	return r;
}

int load_worker_new(
	struct load_shared *shared, unsigned index, struct load_worker **ret, struct weft_err *err)
{
	struct load_worker *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return weft_err_set(err, ENOMEM, "thread %u: out of memory", index);
	w->shared = shared;
	w->options = shared->options;
	w->driver = shared->target->protocol;
	w->index = index;
	w->epoll_fd = w->wake_fd = -1;
	r = worker_init(w);
	if (r == 0)
		r = -pthread_create(&w->thread, NULL, worker_main, w);
	if (r < 0) {
		weft_err_set(err, r, "thread %u: %s", index, strerror(-r));
		load_worker_free(w);
		return weft_err_hint(err, "use fewer --threads, --connections or --max-queue");
	}
	w->running = true;
	*ret = w;
	return 0;
}

void load_worker_free(struct load_worker *w)
{
	if (!w)
		return;
	if (w->running) {
		atomic_store(&w->shared->abort, true);
		load_worker_join(w);
	}
	conns_free(w);
	requests_free(w);
	load_recorder_free(w->recorder);
	closep(&w->epoll_fd);
	closep(&w->wake_fd);
	free(w);
}

void load_worker_wake(struct load_worker *w)
{
	uint64_t one = 1;

	(void)!write(w->wake_fd, &one, sizeof(one));
}

void load_worker_join(struct load_worker *w)
{
	if (!w->running)
		return;
	load_worker_wake(w);
	pthread_join(w->thread, NULL);
	w->running = false;
}

struct load_recorder *load_worker_recorder(struct load_worker *w)
{
	return w->recorder;
}

uint64_t load_worker_connects(const struct load_worker *w)
{
	return w->connects;
}

uint64_t load_worker_unfinished(const struct load_worker *w)
{
	return w->outstanding;
}
