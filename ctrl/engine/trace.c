/* SPDX-License-Identifier: Apache-2.0 */
/* Traces run in a child process each: loading and attaching the probes takes longer than the loop
 * may stand still, and what a process holds goes with it, however it ends. It writes a document per
 * line into a pipe, and ends when the other end of the pipe is closed, or we die. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/internal.h"
#include "ctrl/engine/trace_internal.h"
#include "runtimes/process.h"

#define MAX_TRACES   4
#define PIPE_FD      3
#define REFRESH_MS   1000
#define SAMPLE_EVERY 64

struct trace {
	struct trace *next;
	struct weft_engine *engine;
	uint32_t service;
	int pidfd;
	struct weft_process_watch *watch;
};

/* --- in the child --------------------------------------------------------------------------------
 */

/* Nothing of the daemon's must stay open in here: others would take it for alive. */
static void leave_the_daemon(pid_t parent, int pipe)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(1);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_IGN); /* of a terminal: the daemon's business */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (pipe != PIPE_FD && dup2(pipe, PIPE_FD) < 0)
		_exit(1);
	close_range(PIPE_FD + 1, ~0U, 0);
	prctl(PR_SET_NAME, "weftd: trace", 0, 0, 0);
}

static int write_line(json_t *doc)
{
	_cleanup_(freep) char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	_cleanup_(freep) char *line = text ? weft_strf("%s\n", text) : NULL;

	json_decref(doc);
	return line ? weft_write_all(PIPE_FD, line, strlen(line)) : -ENOMEM;
}

static int write_error(const struct weft_err *err)
{
	struct weft_err text = *err;
	const char *hint = text.hint[0] ? weft_text_clean_line(text.hint) : NULL;

	return write_line(json_pack("{s:{s:s, s:s, s:s*}}", "error", "code",
		weft_err_word(text.code), "message", weft_text_clean_line(text.msg), "hint", hint));
}

/* Until then, or the reader has gone: false. */
static bool wait_until(uint64_t ns)
{
	struct pollfd p = {.fd = PIPE_FD}; /* POLLERR comes unasked */
	uint64_t now;

	while ((now = weft_now_ns()) < ns)
		if (poll(&p, 1, (int)((ns - now + 999999) / 1000000)) > 0)
			return false;
	return true;
}

static int write_report(const struct trace_request *q, struct weft_dp_trace *t, uint64_t started,
	const char *ended, struct weft_err *err)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *report = NULL;
	uint64_t t_ms = (weft_now_ns() - started) / 1000000;
	int r = weft_dp_trace_read(t, &report);

	if (r < 0)
		return weft_err_set(
			err, r, "service %s: reading its trace: %s", q->service, strerror(-r));
	return write_line(trace_view(q, report, t_ms, ended));
}

static int run(const struct trace_request *q, struct weft_dp *dp,
	const struct weft_dp_trace_config *config, struct weft_err *err)
{
	_cleanup_(weft_dp_trace_stopp) struct weft_dp_trace *t = NULL;
	uint64_t started, end, refresh, report, next;
	int r = weft_dp_trace_start(dp, config, &t, err);

	if (r < 0)
		return weft_err_prefix(err, "service %s", q->service);
	started = weft_now_ns();
	end = started + q->duration_ms * 1000000;
	refresh = started + REFRESH_MS * 1000000ULL;
	report = q->interval_ms ? started + q->interval_ms * 1000000 : end;
	/* The first line says that all is well. */
	r = write_report(q, t, started, NULL, err);
	while (r == 0) {
		next = end < report ? end : report;
		next = next < refresh ? next : refresh;
		if (!wait_until(next))
			return 0;
		if (next == end)
			return write_report(q, t, started, "time", err);
		if (next == refresh) {
			r = weft_dp_trace_refresh(t, err);
			refresh += REFRESH_MS * 1000000ULL;
		}
		if (r == -ENOENT)
			return write_report(q, t, started, "the service is gone", err);
		if (r == 0 && next == report) {
			r = write_report(q, t, started, NULL, err);
			report += q->interval_ms * 1000000;
		}
	}
	return r;
}

/* --- in the daemon -------------------------------------------------------------------------------
 */

/* "unikernel macvtap"; what was attached is in the group of its device. */
static char *group_name(const struct instance *i)
{
	return weft_strf("%s %s", instance_kind(i), weft_net_kind_name(i->net));
}

/* NULL: not known, or a tap, which has none. Of one that was attached it may also be what no path
 * says, a process; then its devices have no probes. */
static char *netns_of(const struct instance *i)
{
	if (i->borrowed)
		return i->borrowed->netns && i->borrowed->netns[0] == '/'
			       ? strdup(i->borrowed->netns)
			       : NULL;
	return i->net == WEFT_NET_TAP ? NULL : instance_netns(i);
}

struct known {
	struct weft_dp_trace_instance *instances;
	unsigned n;
};

static void known_done(struct known *k)
{
	for (unsigned i = 0; i < k->n; i++) {
		free((char *)k->instances[i].group);
		free((char *)k->instances[i].netns);
	}
	free(k->instances);
}

static int know_instances(struct weft_engine *e, const struct service *s, struct known *k)
{
	unsigned n = 0;

	for (struct instance *i = e->instances; i; i = i->next)
		n++;
	k->instances = calloc(n + 1, sizeof(*k->instances));
	if (!k->instances)
		return -ENOMEM;
	for (struct instance *i = e->instances; i; i = i->next) {
		struct weft_dp_trace_instance *to = &k->instances[k->n++];

		to->id = i->id;
		to->group = i->service == s && !i->borrowed ? group_name(i) : NULL;
		to->netns = netns_of(i);
	}
	return 0;
}

static void forget(struct trace *t)
{
	struct trace **place = &t->engine->traces;

	while (*place != t)
		place = &(*place)->next;
	*place = t->next;
	weft_process_unwatch(t->watch);
	close(t->pidfd);
	free(t);
}

static void on_ended(void *userdata, int status)
{
	char text[64];

	if (status != 0)
		log_warning("trace: %s", weft_process_status_text(status, text, sizeof(text)));
	forget(userdata);
}

void traces_free(struct weft_engine *e)
{
	while (e->traces) {
		struct trace *t = e->traces;

		pidfd_send_signal(t->pidfd, SIGKILL, NULL, 0);
		waitid(P_PIDFD, (id_t)t->pidfd, NULL, WEXITED);
		forget(t);
	}
}

static int may_start(struct weft_engine *e, const struct service *s, struct weft_err *err)
{
	unsigned n = 0;

	for (struct trace *t = e->traces; t; t = t->next, n++)
		if (t->service == s->id)
			return weft_err_set(
				err, EBUSY, "service %s: it is being traced already", s->name);
	if (n < MAX_TRACES)
		return 0;
	weft_err_set(err, EBUSY, "service %s: %u traces run already", s->name, n);
	return weft_err_hint(err, "wait for one to end");
}

static int watch(struct weft_engine *e, const struct service *s, pid_t pid, struct weft_err *err)
{
	struct trace *t = calloc(1, sizeof(*t));
	int fd = pidfd_open(pid, 0), r = fd < 0 ? -errno : 0;

	if (!t && r == 0)
		r = -ENOMEM;
	if (r == 0) {
		*t = (struct trace){.engine = e, .service = s->id, .pidfd = fd};
		r = weft_process_watch(e->event, fd, on_ended, t, &t->watch);
	}
	if (r == 0) {
		t->next = e->traces;
		e->traces = t;
		return 0;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (fd >= 0)
		close(fd);
	free(t);
	return weft_err_set(err, r, "service %s: watching its trace: %s", s->name, strerror(-r));
}

int weft_engine_trace(struct weft_engine *e, const char *name, uint64_t duration_ms,
	uint64_t interval_ms, int *ret_fd, struct weft_err *err)
{
	_cleanup_(known_done) struct known known = {0};
	_cleanup_(closep) int in = -1, out = -1;
	struct service *s = service_find(e, name);
	struct weft_dp_trace_config config = {.sample_every = SAMPLE_EVERY};
	struct trace_request q = {name, duration_ms, interval_ms};
	int r, fds[2];
	pid_t parent = getpid(), pid;

	if (!s) {
		weft_err_set(err, ENOENT, "service %s: no such service", name);
		return weft_err_hint(err, "weft service list");
	}
	r = may_start(e, s, err);
	if (r < 0)
		return r;
	if (know_instances(e, s, &known) < 0)
		return weft_err_set(err, ENOMEM, "out of memory");
	if (pipe2(fds, O_CLOEXEC) < 0)
		return weft_err_set(err, errno, "service %s: a pipe for its trace: %m", name);
	in = fds[0];
	out = fds[1];
	fcntl(in, F_SETFL, O_NONBLOCK);
	config.service = s->id;
	config.instances = known.instances;
	config.n_instances = known.n;
	pid = fork();
	if (pid < 0)
		return weft_err_set(err, errno, "service %s: a process for its trace: %m", name);
	if (pid == 0) {
		leave_the_daemon(parent, out);
		r = run(&q, e->dp, &config, err);
		_exit(r < 0 && r != -EPIPE && write_error(err) < 0);
	}
	r = watch(e, s, pid, err);
	if (r == 0)
		*ret_fd = TAKE_FD(in);
	return r;
}
