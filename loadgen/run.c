/* SPDX-License-Identifier: Apache-2.0 */
/* The main thread of a run: it starts the workers together, takes the intervals out of their
 * recorders, and listens to signals and commands. */
#include "loadgen/run.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "loadgen/control.h"
#include "loadgen/worker.h"

/* Between setting the start and the start itself, so that every worker is awake by then. */
#define START_LEAD_NS 20000000ULL

struct run {
	const struct load_options *options;
	struct load_shared shared;
	struct load_target *target;
	struct load_worker *workers[LOAD_THREADS_MAX];
	struct load_control *control;
	struct load_result *result;
	struct load_interval interval; /* the sum over the workers */
	uint64_t next_tick;            /* end of the interval that is being recorded */
	const char *first_phase;
	char renamed[LOAD_NAME_MAX + 1];
	int signal_fd;
	sigset_t old_mask;
	bool masked;
};

static void run_done(struct run *run)
{
	for (unsigned i = 0; i < run->options->threads; i++)
		load_worker_free(run->workers[i]);
	if (run->target)
		run->target->protocol->teardown(run->shared.protocol);
	load_target_free(run->target);
	load_control_close(run->control);
	load_interval_done(&run->interval);
	load_result_free(run->result);
	closep(&run->shared.report_fd);
	closep(&run->signal_fd);
	if (run->masked)
		pthread_sigmask(SIG_SETMASK, &run->old_mask, NULL);
}

void load_result_free(struct load_result *r)
{
	if (!r)
		return;
	for (int i = 0; i < LOAD_PHASES_MAX; i++)
		load_stats_done(&r->by_phase[i]);
	load_stats_done(&r->total);
	weft_hist_free(r->lag);
	load_phases_free(r->phases);
	load_series_close(r->series);
	free(r);
}

static int allow_descriptors(const struct load_options *o, struct weft_err *err)
{
	/* Lingering connections, epoll and wake-up of each thread, and a few of our own. */
	rlim_t need = o->connections + 260ULL * o->threads + 32;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
		return 0;
	limit.rlim_cur = limit.rlim_max;
	if (limit.rlim_max >= need && setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return 0;
	weft_err_set(err, EMFILE, "--connections %u: %llu descriptors are needed, %llu allowed",
		o->connections, (unsigned long long)need, (unsigned long long)limit.rlim_max);
	return weft_err_hint(err, "use fewer --connections, or raise the limit (ulimit -Hn)");
}

static int block_signals(struct run *run, struct weft_err *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, &run->old_mask);
	run->masked = true;
	run->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	run->shared.report_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (run->signal_fd < 0 || run->shared.report_fd < 0)
		return weft_err_set(err, errno, "signals: %m");
	return 0;
}

static int result_init(struct run *run, struct weft_err *err)
{
	struct load_result *r = calloc(1, sizeof(*r));
	int e = r ? 0 : -ENOMEM;

	run->result = r;
	if (e == 0)
		e = load_phases_new(run->options->threads, &r->phases);
	if (e == 0)
		e = weft_hist_new(3, WEFT_HIST_HOUR_NS, &r->lag);
	if (e == 0)
		e = load_stats_init(&r->total);
	if (e == 0)
		e = load_interval_init(&run->interval);
	if (e < 0)
		return weft_err_set(err, e, "the result: %s", strerror(-e));
	return load_series_open(run->options->series, &r->series, err);
}

static int prepare(struct run *run, struct weft_err *err)
{
	const struct load_options *o = run->options;
	int r;

	r = result_init(run, err);
	if (r < 0)
		return r;
	r = allow_descriptors(o, err);
	if (r == 0)
		r = load_target_open(o->url, o->timeout, &run->target, err);
	if (r == 0)
		r = run->target->protocol->setup(o, run->target, &run->shared.protocol, err);
	if (r == 0)
		r = block_signals(run, err);
	/* With signals blocked, so that a FIFO of our own is removed whatever happens. */
	if (r == 0 && o->control)
		r = load_control_open(o->control, &run->control, err);
	if (r < 0)
		return r;
	run->shared.target = run->target;
	run->shared.phases = run->result->phases;
	for (unsigned i = 0; i < o->threads; i++) {
		r = load_worker_new(&run->shared, i, &run->workers[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void wake_all(struct run *run)
{
	for (unsigned i = 0; i < run->options->threads; i++)
		load_worker_wake(run->workers[i]);
}

/* All workers are ready: fix the start, then let them see it. */
static int start(struct run *run, struct weft_err *err)
{
	const struct load_options *o = run->options;
	struct load_result *res = run->result;
	uint64_t measured;
	int r = 0;

	res->start = weft_now_ns() + START_LEAD_NS;
	res->start_ms = weft_realtime_ms() + START_LEAD_NS / 1000000;
	measured = res->start + o->warmup;
	if (o->warmup)
		r = load_phases_add(res->phases, "warmup", res->start, true);
	if (r == 0)
		r = load_phases_add(res->phases, run->first_phase, measured, false);
	if (r < 0)
		return weft_err_set(err, r, "the first phase: %s", strerror(-r));
	run->next_tick = res->start + o->interval;
	for (unsigned i = 0; i < o->threads; i++)
		load_recorder_start(load_worker_recorder(run->workers[i]), run->next_tick);
	if (o->duration && atomic_load(&run->shared.end) == UINT64_MAX)
		atomic_store(&run->shared.end, measured + o->duration);
	atomic_store(&run->shared.start, res->start);
	wake_all(run);
	return 0;
}

static void stop(struct run *run)
{
	uint64_t now = weft_now_ns();

	if (!run->next_tick)
		atomic_store(&run->shared.abort, true); /* there is nothing to report yet */
	if (now < atomic_load(&run->shared.end))
		atomic_store(&run->shared.end, now);
	wake_all(run);
}

static void new_phase(struct run *run, const char *name)
{
	struct load_phases *p = run->result->phases;
	unsigned count = load_phases_count(p);
	uint64_t now = weft_now_ns();
	int r;

	if (!count) {
		strcpy(run->renamed, name);
		run->first_phase = run->renamed;
		return;
	}
	/* Before the measuring begins, what it begins with gets the name. */
	if (now <= load_phases_start(p, count - 1)) {
		load_phases_rename(p, count - 1, name);
		return;
	}
	r = load_phases_add(p, name, now, false);
	if (r < 0)
		log_warning("phase %s: ignored, the phase before goes on: %s", name,
			r == -ENOSPC ? "there are 64 phases already" : strerror(-r));
}

static void read_control(struct run *run)
{
	struct load_command command;
	struct weft_err err;
	int r;

	load_control_read(run->control);
	while ((r = load_control_next(run->control, &command, &err)) != 0) {
		if (r < 0)
			log_warning("%s; %s", err.msg, err.hint);
		else if (command.verb == LOAD_VERB_STOP)
			stop(run);
		else
			new_phase(run, command.name);
	}
}

static void read_signal(struct run *run)
{
	struct signalfd_siginfo info;

	while (read(run->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (atomic_load(&run->shared.end) <= weft_now_ns())
			atomic_store(&run->shared.abort, true);
		stop(run);
	}
}

/* Move the interval that has ended into the series. The last one is left out when it is empty. */
static void tick(struct run *run, bool last)
{
	struct load_result *res = run->result;
	uint64_t began = run->next_tick - run->options->interval;
	unsigned phase = load_phases_find(res->phases, began);

	run->next_tick += run->options->interval;
	load_interval_reset(&run->interval);
	for (unsigned i = 0; i < run->options->threads; i++)
		load_recorder_take(
			load_worker_recorder(run->workers[i]), run->next_tick, &run->interval);
	if (last && !run->interval.sent && !run->interval.ok && !run->interval.failed)
		return;
	load_series_add(res->series, res->start_ms + (began - res->start) / 1000000, phase,
		load_phases_name(res->phases, phase), &run->interval);
}

static int wait_for_something(struct run *run)
{
	int control = run->control ? load_control_fd(run->control) : -1;
	struct pollfd fds[] = {
		{.fd = run->shared.report_fd, .events = POLLIN},
		{.fd = run->signal_fd, .events = POLLIN},
		{.fd = control, .events = POLLIN},
	};
	uint64_t now = weft_now_ns(), ns = run->next_tick > now ? run->next_tick - now : 0, sink;
	struct timespec timeout = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	if (ppoll(fds, ARRAY_SIZE(fds), run->next_tick ? &timeout : NULL, NULL) < 0)
		return errno == EINTR ? 0 : -errno;
	if (fds[0].revents)
		(void)!read(run->shared.report_fd, &sink, sizeof(sink));
	if (fds[1].revents)
		read_signal(run);
	if (fds[2].revents)
		read_control(run);
	return 0;
}

static int supervise(struct run *run, struct weft_err *err)
{
	const struct load_options *o = run->options;
	int r = 0;

	while (r == 0 && atomic_load(&run->shared.finished) < o->threads) {
		if (!run->next_tick && atomic_load(&run->shared.ready) == o->threads) {
			r = start(run, err);
			if (r < 0)
				return r;
		}
		while (run->next_tick && run->next_tick <= weft_now_ns())
			tick(run, false);
		r = wait_for_something(run);
	}
	if (r < 0)
		return weft_err_set(err, r, "poll: %s", strerror(-r));
	return 0;
}

/* All threads have ended: what is left, with an interval cut short at the end. */
static void end_series(struct run *run)
{
	while (run->next_tick <= weft_now_ns())
		tick(run, false);
	tick(run, true);
}

static int collect(struct run *run, struct weft_err *err)
{
	struct load_result *res = run->result;
	int r = 0;

	res->end = atomic_load(&run->shared.end);
	if (res->end > weft_now_ns())
		res->end = weft_now_ns(); /* aborted */
	for (unsigned p = 0; r == 0 && p < load_phases_count(res->phases); p++) {
		r = load_stats_init(&res->by_phase[p]);
		for (unsigned i = 0; r == 0 && i < run->options->threads; i++)
			r = load_stats_merge(
				&res->by_phase[p], load_phases_stats(res->phases, p, i));
		if (r == 0 && !load_phases_warmup(res->phases, p))
			r = load_stats_merge(&res->total, &res->by_phase[p]);
	}
	for (unsigned i = 0; r == 0 && i < run->options->threads; i++) {
		struct load_worker *w = run->workers[i];

		r = weft_hist_merge(res->lag, load_recorder_lags(load_worker_recorder(w)));
		res->connects += load_worker_connects(w);
		res->unfinished += load_worker_unfinished(w);
	}
	return r < 0 ? weft_err_set(err, r, "the result: %s", strerror(-r)) : 0;
}

int load_run(const struct load_options *o, struct load_result **ret, struct weft_err *err)
{
	_cleanup_(run_done) struct run run = {
		.options = o,
		.shared = {.options = o, .report_fd = -1, .end = UINT64_MAX},
		.first_phase = o->phase,
		.signal_fd = -1,
	};
	int r;

	r = prepare(&run, err);
	if (r == 0)
		r = supervise(&run, err);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < o->threads; i++)
		load_worker_join(run.workers[i]);
	if (!run.result->start) {
		weft_err_set(err, EINTR, "%s: interrupted before the start", o->url);
		return weft_err_hint(err, "the connections were still being opened");
	}
	end_series(&run);
	r = collect(&run, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(run.result);
	return 0;
}
