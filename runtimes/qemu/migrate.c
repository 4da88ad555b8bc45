/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/migrate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/util.h"

#define FD_NAME       "weft-state"
#define FAST_POLLS    200 /* a small guest is done in a few of them */
#define FAST_POLL_US  1000
#define SLOW_POLL_US  20000
#define MAX_BANDWIDTH (1LL << 40) /* it is a file, and nobody waits for the network */

struct weft_migration {
	struct weft_qmp *q;
	int fd;
	bool load, without_ram;
	unsigned step, polls, timeout_ms;
	uint64_t end_ns;
	sd_event_source *timer;
	weft_migration_done_t done;
	void *userdata;
};

static void next_step(struct weft_migration *m);

static void finish(struct weft_migration *m, int r, const struct weft_err *err)
{
	static const struct weft_err none;

	sd_event_source_set_enabled(m->timer, SD_EVENT_OFF);
	m->done(m->userdata, r, err ? err : &none);
}

static void fail(struct weft_migration *m, int r, const char *why)
{
	struct weft_err err = {};

	weft_err_set(&err, r, "%s", why);
	finish(m, r, &err);
}

static void on_step(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	struct weft_migration *m = userdata;

	(void)result;
	if (r < 0) {
		finish(m, r, err);
		return;
	}
	m->step++;
	next_step(m);
}

static void on_progress(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	const char *status = json_string_value(json_object_get(result, "status"));
	const char *why = json_string_value(json_object_get(result, "error-desc"));
	struct weft_migration *m = userdata;

	if (r < 0) {
		finish(m, r, err);
	} else if (status && strcmp(status, "completed") == 0) {
		finish(m, 0, NULL);
	} else if (status && (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0)) {
		fail(m, -EIO,
			why       ? why
			: m->load ? "qemu cannot load the state"
				  : "qemu cannot write the state");
	} else if (weft_now_ns() > m->end_ns) {
		fail(m, -ETIMEDOUT, "it takes too long");
	} else {
		sd_event_source_set_time_relative(
			m->timer, m->polls++ < FAST_POLLS ? FAST_POLL_US : SLOW_POLL_US);
		sd_event_source_set_enabled(m->timer, SD_EVENT_ONESHOT);
	}
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_migration *m = userdata;

	(void)source;
	(void)usec;
	next_step(m);
	return 0;
}

static json_t *capabilities(const struct weft_migration *m)
{
	return json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", "x-ignore-shared",
		"state", m->without_ram);
}

/* One after the other, each when the one before was answered; the last one again and again. */
static void next_step(struct weft_migration *m)
{
	int r;

	switch (m->step) {
	case 0:
		r = weft_qmp_execute(m->q, "migrate-set-capabilities", capabilities(m),
			m->timeout_ms, on_step, m);
		break;
	case 1:
		r = weft_qmp_execute(m->q, "migrate-set-parameters",
			json_pack("{s:I}", "max-bandwidth", (json_int_t)MAX_BANDWIDTH),
			m->timeout_ms, on_step, m);
		break;
	case 2:
		r = weft_qmp_getfd(m->q, FD_NAME, m->fd, m->timeout_ms, on_step, m);
		break;
	case 3:
		r = weft_qmp_execute(m->q, m->load ? "migrate-incoming" : "migrate",
			json_pack("{s:s}", "uri", "fd:" FD_NAME), m->timeout_ms, on_step, m);
		break;
	default:
		r = weft_qmp_execute(m->q, "query-migrate", NULL, m->timeout_ms, on_progress, m);
	}
	if (r < 0)
		fail(m, r, r == -ENOTCONN ? "qemu's monitor is closed" : strerror(-r));
}

static int start(sd_event *event, struct weft_qmp *q, int fd, bool load, bool without_ram,
	unsigned timeout_ms, weft_migration_done_t done, void *userdata,
	struct weft_migration **ret)
{
	_cleanup_(weft_migration_freep) struct weft_migration *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	*m = (struct weft_migration){
		.q = q,
		.fd = fd,
		.load = load,
		.without_ram = without_ram,
		.timeout_ms = timeout_ms,
		.end_ns = weft_now_ns() + timeout_ms * 1000000ULL,
		.done = done,
		.userdata = userdata,
	};
	/* The first command from the loop as well, so that done is never called from in here. */
	r = sd_event_add_time_relative(event, &m->timer, CLOCK_MONOTONIC, 0, 1, on_timer, m);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(m);
	return 0;
}

int weft_migration_save(sd_event *event, struct weft_qmp *q, int fd, bool without_ram,
	unsigned timeout_ms, weft_migration_done_t done, void *userdata,
	struct weft_migration **ret)
{
	return start(event, q, fd, false, without_ram, timeout_ms, done, userdata, ret);
}

int weft_migration_load(sd_event *event, struct weft_qmp *q, int fd, bool without_ram,
	unsigned timeout_ms, weft_migration_done_t done, void *userdata,
	struct weft_migration **ret)
{
	return start(event, q, fd, true, without_ram, timeout_ms, done, userdata, ret);
}

void weft_migration_free(struct weft_migration *m)
{
	if (!m)
		return;
	sd_event_source_disable_unref(m->timer);
	free(m);
}
