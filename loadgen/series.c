/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/series.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "loadgen/report.h"

struct load_series {
	char *path;
	FILE *file;
	struct load_point *points;
	size_t count, room;
	int error;
};

int load_series_open(const char *path, struct load_series **ret, struct weft_err *err)
{
	_cleanup_(load_series_closep) struct load_series *s = calloc(1, sizeof(*s));

	if (s && path) {
		s->path = strdup(path);
		s->file = fopen(path, "we");
	}
	if (!s || (path && (!s->path || !s->file))) {
		int r = s && s->path ? errno : ENOMEM;

		weft_err_set(err, r, "series %s: %s", path ? path : "", strerror(r));
		return weft_err_hint(err, "give --series a file in a directory that you may write");
	}
	*ret = TAKE_PTR(s);
	return 0;
}

void load_series_close(struct load_series *s)
{
	if (!s)
		return;
	fclosep(&s->file);
	free(s->path);
	free(s->points);
	free(s);
}

static int keep(struct load_series *s, const struct load_point *p)
{
	if (s->count == LOAD_SERIES_MAX)
		return -E2BIG;
	if (s->count == s->room) {
		size_t room = s->room ? s->room * 2 : 256;
		struct load_point *points = reallocarray(s->points, room, sizeof(*points));

		if (!points)
			return -ENOMEM;
		s->points = points;
		s->room = room;
	}
	s->points[s->count++] = *p;
	return 0;
}

static int write_line(struct load_series *s, const struct load_point *p, const char *phase_name)
{
	json_auto_t *line = NULL;

	if (!s->file)
		return 0;
	line = load_point_json(p, phase_name);
	if (!line)
		return -ENOMEM;
	errno = EIO;
	if (json_dumpf(line, s->file, LOAD_JSON_FLAGS | JSON_COMPACT) < 0 ||
		fputc('\n', s->file) == EOF || fflush(s->file) != 0)
		return -errno;
	return 0;
}

void load_series_add(struct load_series *s, uint64_t t_ms, unsigned phase, const char *phase_name,
	const struct load_interval *i)
{
	struct load_point p = {
		.t_ms = t_ms,
		.sent = i->sent,
		.ok = i->ok,
		.failed = i->failed,
		.in_flight = i->in_flight,
		.queued = i->queued,
		.p50 = weft_hist_percentile(i->latency, 50),
		.p90 = weft_hist_percentile(i->latency, 90),
		.p99 = weft_hist_percentile(i->latency, 99),
		.max = weft_hist_max(i->latency),
		.phase = phase,
	};
	int kept = keep(s, &p), written = write_line(s, &p, phase_name);

	if (!s->error)
		s->error = kept ? kept : written;
}

size_t load_series_count(const struct load_series *s)
{
	return s->count;
}

const struct load_point *load_series_point(const struct load_series *s, size_t index)
{
	return &s->points[index];
}

json_t *load_point_json(const struct load_point *p, const char *phase_name)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:I, s:I, s:s}", "t",
		(json_int_t)p->t_ms, "sent", (json_int_t)p->sent, "ok", (json_int_t)p->ok, "failed",
		(json_int_t)p->failed, "p50_us", load_us_json(p->p50, p->ok), "p90_us",
		load_us_json(p->p90, p->ok), "p99_us", load_us_json(p->p99, p->ok), "max_us",
		load_us_json(p->max, p->ok), "in_flight", (json_int_t)p->in_flight, "queued",
		(json_int_t)p->queued, "phase", phase_name);
}

int load_series_check(const struct load_series *s, struct weft_err *err)
{
	if (s->error == -E2BIG)
		return weft_err_set(err, E2BIG, "series: only the first %d intervals are kept",
			LOAD_SERIES_MAX);
	if (s->error)
		return weft_err_set(err, s->error, "series %s: incomplete: %s",
			s->path ? s->path : "", strerror(-s->error));
	return 0;
}
