/* SPDX-License-Identifier: Apache-2.0 */
/* weftd: arguments, privileges, one loop. It may be killed at any time: instances and the data
 * plane go on without it, and the next weftd takes them over. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "ctrl/api/server.h"
#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "ctrl/daemon/journal.h"
#include "ctrl/daemon/options.h"
#include "ctrl/daemon/privilege.h"

#define PURGE_TIMEOUT_US 60000000ULL

static int complain(const struct weft_err *err)
{
	fprintf(stderr, "error: %s\n", err->msg);
	if (err->hint[0])
		fprintf(stderr, "hint: %s\n", err->hint);
	return weft_err_exit(err->code);
}

/* Of a read-only file system: a record lock that keeps who could write away, and, as that does not
 * keep another reader away, one of flock() over it. */
static int lock_read_only(int fd)
{
	struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_SETLK, &whole) < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 ? -EBUSY : 0;
}

static int lock_for_writing(int fd)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_SETLK, &whole) < 0 ? -EBUSY : 0;
}

/* One weftd to a state directory: held until the process ends. A record lock, which children that
 * are just being forked do not inherit, as they would one of flock(). One that is read-only is
 * served as it is, but not removed. */
static int lock_state(const char *dir, bool purge, int *ret_fd, struct weft_err *err)
{
	_cleanup_(freep) char *path = weft_strf("%s/lock", dir);
	_cleanup_(closep) int fd = -1;
	bool read_only = false;
	int r = weft_mkdir_p(dir, 0700);

	if (r == 0 && !path)
		r = -ENOMEM;
	if (r == 0) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		r = fd < 0 ? -errno : 0;
	}
	if (r == -EROFS && path && !purge && (fd = open(path, O_RDONLY | O_CLOEXEC)) >= 0) {
		read_only = true;
		r = 0;
	}
	if (r < 0) {
		weft_err_set(err, r, "state directory %s: %s", dir, strerror(-r));
		return weft_err_hint(err, "make it writable, or choose another --state-dir");
	}
	if ((read_only ? lock_read_only(fd) : lock_for_writing(fd)) < 0) {
		weft_err_set(err, EBUSY, "state directory %s: another weftd uses it", dir);
		return weft_err_hint(err, "stop that one, or choose another --state-dir");
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int socket_dir(const char *socket, struct weft_err *err)
{
	_cleanup_(freep) char *dir = strdup(socket);
	char *slash = dir ? strrchr(dir, '/') : NULL;
	int r;

	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	r = weft_mkdir_p(dir, 0755);
	if (r < 0) {
		weft_err_set(err, r, "socket %s: its directory: %s", socket, strerror(-r));
		return weft_err_hint(err, "choose another --socket");
	}
	return 0;
}

static void on_purged(void *event)
{
	sd_event_exit(event, 0);
}

static int on_purge_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
	(void)usec;
	(void)userdata;
	log_error("not everything could be removed within %llu s; see the lines above",
		PURGE_TIMEOUT_US / 1000000);
	sd_event_exit(sd_event_source_get_event(s), 7);
	return 0;
}

/* What the process was started with, for a reload. */
struct start {
	int argc;
	char **argv;
	struct options options;
	struct weft_api *api;
};

/* A configuration with an error in it leaves everything as it is. */
static int on_hangup(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
	struct start *start = userdata;
	struct weft_err err = {0};
	struct options fresh;

	(void)s;
	(void)si;
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)weft_now_ns() / 1000);
	if (options_parse(start->argc, start->argv, &fresh, &err) == 0) {
		options_reload(&start->options, &fresh);
		options_free(&fresh);
		log_info("configuration read again");
		if (start->api && weft_api_reload(start->api, &err) < 0)
			log_error("%s; certificate and tokens stay as they were", err.msg);
	} else {
		log_error("%s; the configuration stays as it was", err.msg);
	}
	sd_notify(0, "READY=1");
	return 0;
}

static int run(sd_event *event, struct start *start, struct weft_err *err)
{
	struct options *o = &start->options;
	_cleanup_(weft_engine_freep) struct weft_engine *engine = NULL;
	_cleanup_(weft_api_freep) struct weft_api *api = NULL;
	int r;

	r = weft_engine_open(event, &o->engine, &engine, err);
	if (r == 0 && !o->purge) {
		r = socket_dir(o->api.socket, err);
		if (r == 0)
			r = weft_api_open(event, &o->api, engine, &api, err);
	}
	if (r < 0)
		return r;
	start->api = api;
	if (o->purge) {
		weft_engine_purge(engine, on_purged, event);
		sd_event_add_time_relative(
			event, NULL, CLOCK_MONOTONIC, PURGE_TIMEOUT_US, 0, on_purge_timeout, NULL);
	}
	log_info("weftd " WEFT_VERSION " ready: node %s, socket %s%s%s", o->engine.node,
		o->api.socket, o->api.listen ? ", https://" : "",
		o->api.listen ? o->api.listen : "");
	sd_notify(0, "READY=1");
	r = sd_event_loop(event);
	start->api = NULL;
	return r < 0 ? weft_err_set(err, r, "event loop: %s", strerror(-r)) : r;
}

static int loop(struct start *start, struct weft_err *err)
{
	sd_event *event = NULL;
	int r = sd_event_default(&event);

	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGHUP, on_hangup, start);
	if (r >= 0)
		r = sd_event_set_watchdog(event, true); /* when the service manager wants it */
	r = r < 0 ? weft_err_set(err, r, "event loop: %s", strerror(-r)) : run(event, start, err);
	sd_event_unref(event);
	return r;
}

static int daemon_main(struct start *start, struct weft_err *err)
{
	_cleanup_(closep) int lock = -1;
	sigset_t mask;
	int r;

	if (geteuid() != 0) {
		weft_err_set(err, EPERM,
			"weftd needs root: it makes network namespaces and loads BPF programs");
		return weft_err_hint(err, "sudo weftd ...");
	}
	r = privilege_drop(err);
	if (r == 0)
		r = lock_state(start->options.engine.state_dir, start->options.purge, &lock, err);
	if (r < 0)
		return r;
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	return loop(start, err);
}

int main(int argc, char **argv)
{
	struct start start = {.argc = argc, .argv = argv};
	struct options *o = &start.options;
	struct weft_err err = {0};
	int r = options_parse(argc, argv, o, &err);

	if (r != 0)
		return r < 0 ? complain(&err) : 0;
	weft_log_level(o->log_level);
	journal_open();
	if (o->print_config)
		r = options_print(o) < 0 ? weft_err_set(&err, EIO, "cannot write") : 0;
	else if (o->check_config)
		r = weft_api_check(&o->api, &err);
	else
		r = daemon_main(&start, &err);
	options_free(o);
	if (r == WEFT_ENGINE_ANEW) {
		execv("/proc/self/exe", argv);
		r = weft_err_set(&err, errno, "cannot start anew: %m");
	}
	return r < 0 ? complain(&err) : r;
}
