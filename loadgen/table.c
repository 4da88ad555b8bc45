/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <langinfo.h>
#include <libsmartcols.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "loadgen/report.h"

enum { CELL = 48 };

static const char *const columns[] = {"PHASE", "TIME", "REQUESTS", "FAILED", "RETRIES", "OK/S",
	"P50", "P90", "P99", "P99.9", "MAX"};

static void scols_tablep(struct libscols_table **t)
{
	scols_unref_table(*t);
}

/* Three digits and a unit that a person reads at once. */
static void print_time(char cell[CELL], uint64_t ns)
{
	double us = (double)ns / 1000;
	const char *micro = strcmp(nl_langinfo(CODESET), "UTF-8") == 0 ? "\302\265s" : "us";

	if (us < 10)
		snprintf(cell, CELL, "%.1f%s", us, micro);
	else if (us < 10000)
		snprintf(cell, CELL, "%.0f%s", us, micro);
	else if (us < 1e6)
		snprintf(cell, CELL, "%.0fms", us / 1e3);
	else
		snprintf(cell, CELL, "%.2fs", us / 1e6);
}

static int add_cells(struct libscols_table *table, char cells[][CELL])
{
	struct libscols_line *line = scols_table_new_line(table, NULL);

	if (!line)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
		if (scols_line_set_data(line, i, cells[i]) < 0)
			return -ENOMEM;
	return 0;
}

static void time_cells(char cells[][CELL], const struct weft_hist *h)
{
	static const double percentiles[] = {50, 90, 99, 99.9};
	size_t first = ARRAY_SIZE(columns) - ARRAY_SIZE(percentiles) - 1;

	for (size_t i = first; i < ARRAY_SIZE(columns); i++)
		strcpy(cells[i], "-");
	if (!weft_hist_count(h))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(percentiles); i++)
		print_time(cells[first + i], weft_hist_percentile(h, percentiles[i]));
	print_time(cells[ARRAY_SIZE(columns) - 1], weft_hist_max(h));
}

static int add_stats(
	struct libscols_table *table, const char *name, const struct load_stats *s, double seconds)
{
	char cells[ARRAY_SIZE(columns)][CELL];

	snprintf(cells[0], CELL, "%s", name);
	snprintf(cells[1], CELL, "%.1fs", seconds);
	snprintf(cells[2], CELL, "%llu", (unsigned long long)s->requests);
	snprintf(cells[3], CELL, "%llu", (unsigned long long)load_stats_failed(s));
	snprintf(cells[4], CELL, "%llu", (unsigned long long)s->retries);
	snprintf(
		cells[5], CELL, "%.1f", seconds > 0 ? (double)s->by_class[LOAD_OK] / seconds : 0.0);
	time_cells(cells, s->latency);
	return add_cells(table, cells);
}

/* The second row of the total: from the actual send on. */
static int add_service(struct libscols_table *table, const struct load_stats *s)
{
	char cells[ARRAY_SIZE(columns)][CELL] = {"service time"};

	time_cells(cells, s->service);
	return add_cells(table, cells);
}

static int fill(struct libscols_table *table, const struct load_result *r)
{
	int e = 0;

	for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
		if (!scols_table_new_column(table, columns[i], 0, i ? SCOLS_FL_RIGHT : 0))
			return -ENOMEM;
	for (unsigned i = 0; e == 0 && i < load_phases_count(r->phases); i++)
		e = add_stats(table, load_phases_name(r->phases, i), &r->by_phase[i],
			load_phase_seconds(r, i));
	if (e == 0)
		e = add_stats(table, "total", &r->total, load_total_seconds(r));
	return e < 0 ? e : add_service(table, &r->total);
}

static void print_head(const struct load_options *o, FILE *f)
{
	fprintf(f, "%s  ", o->url);
	if (o->closed_loop)
		fprintf(f, "closed loop");
	else
		fprintf(f, "open loop, %g/s %s", o->rate, load_arrivals_name(o->arrivals));
	if (o->close)
		fprintf(f, ", a connection for each request (at most %u)", o->connections);
	else
		fprintf(f, ", %u connection%s", o->connections, o->connections == 1 ? "" : "s");
	fprintf(f, ", %u thread%s\n", o->threads, o->threads == 1 ? "" : "s");
}

static void print_rest(const struct load_result *r, FILE *f)
{
	const struct load_stats *s = &r->total;
	const char *between = "failed: ";
	char p50[CELL], p99[CELL];

	for (int c = LOAD_OK + 1; c < LOAD_CLASS_COUNT; c++) {
		if (!s->by_class[c])
			continue;
		fprintf(f, "%s%s %llu", between, load_class_name((enum load_class)c),
			(unsigned long long)s->by_class[c]);
		between = ", ";
	}
	if (load_stats_failed(s))
		fputc('\n', f);
	fprintf(f, "connections opened %llu, reconnects %llu, stale %llu",
		(unsigned long long)r->connects, (unsigned long long)s->reconnects,
		(unsigned long long)s->stale);
	if (r->unfinished)
		fprintf(f, ", unfinished %llu", (unsigned long long)r->unfinished);
	if (weft_hist_count(r->lag)) {
		print_time(p50, weft_hist_percentile(r->lag, 50));
		print_time(p99, weft_hist_percentile(r->lag, 99));
		fprintf(f, "; generator late by p50 %s, p99 %s", p50, p99);
	}
	fputc('\n', f);
}

int load_report_table(const struct load_options *o, const struct load_result *r, FILE *f)
{
	_cleanup_(scols_tablep) struct libscols_table *table = scols_new_table();
	_cleanup_(freep) char *text = NULL;

	if (!table || fill(table, r) < 0 || scols_print_table_to_string(table, &text) < 0)
		return -ENOMEM;
	print_head(o, f);
	fprintf(f, "%s\n", text);
	print_rest(r, f);
	return 0;
}
