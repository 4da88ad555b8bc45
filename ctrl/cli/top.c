/* SPDX-License-Identifier: Apache-2.0 */
/* Services and instances at work: what each does in a second, redrawn every two. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/follow.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/table.h"
#include "ctrl/cli/value.h"

#define REFRESH_MS 2000 /* weftd measures as often */

static char *cell_rate(const struct cli *cli, const json_t *row, const char *key)
{
	const json_t *v = json_object_get(row, key);
	double n = json_number_value(v);

	if (!json_is_number(v))
		return cli_cell_text(cli, NULL, key);
	return n > 0 && n < 10 ? weft_strf("%.1f", n) : strdup(cli_fmt_count((uint64_t)n).s);
}

static char *cell_cpus(const struct cli *cli, const json_t *row, const char *key)
{
	const json_t *v = json_object_get(row, key);

	return json_is_number(v) ? weft_strf("%.0f%%", json_number_value(v) * 100)
				 : cli_cell_text(cli, NULL, key);
}

static char *cell_us(const struct cli *cli, const json_t *row, const char *key)
{
	uint64_t us = cli_u64(row, key);

	return us ? strdup(cli_fmt_ns(us * 1000, cli->io.utf8).s) : cli_cell_text(cli, NULL, key);
}

static const struct cli_column service_columns[] = {
	{"SERVICE", "name", cli_cell_text, 0},
	{"PHASE", "phase", cli_cell_text, CLI_COL_STATE},
	{"READY", "ready", cli_cell_text, CLI_COL_RIGHT},
	{"RPS", "requests", cell_rate, CLI_COL_RIGHT},
	{"FAILED/S", "failed", cell_rate, CLI_COL_RIGHT},
	{"P50", "p50_us", cell_us, CLI_COL_RIGHT},
	{"P99", "p99_us", cell_us, CLI_COL_RIGHT},
	{"CPU", "cpu", cell_cpus, CLI_COL_RIGHT},
	{"MEMORY", "memory_bytes", cli_cell_bytes, CLI_COL_RIGHT},
	{"SWAP", "swap", cli_cell_text, 0},
};

static const struct cli_column instance_columns[] = {
	{"INSTANCE", "id", cli_cell_text, 0},
	{"RUNTIME", "virtualization", cli_cell_text, 0},
	{"PHASE", "phase", cli_cell_text, CLI_COL_STATE},
	{"WEIGHT", "weight", cli_cell_text, CLI_COL_RIGHT},
	{"RPS", "requests", cell_rate, CLI_COL_RIGHT},
	{"FAILED/S", "failed", cell_rate, CLI_COL_RIGHT},
	{"P50", "p50_us", cell_us, CLI_COL_RIGHT},
	{"P99", "p99_us", cell_us, CLI_COL_RIGHT},
	{"CPU", "cpu", cell_cpus, CLI_COL_RIGHT},
	{"MEMORY", "memory_bytes", cli_cell_bytes, CLI_COL_RIGHT},
	{"FLOWS", "flows", cli_cell_count, CLI_COL_RIGHT},
};

/* --- what is shown -------------------------------------------------------------------------------
 */

static double number(const json_t *obj, const char *key)
{
	return json_number_value(json_object_get(obj, key));
}

/* A row has what is measured beside what the instance is. */
static json_t *instance_row(const json_t *item)
{
	json_t *row = json_copy((json_t *)item);
	const json_t *rates = json_object_get(item, "rates");
	static const char *const keys[] = {"requests", "failed", "cpu", "p50_us", "p99_us", NULL};

	for (const char *const *key = keys; *key; key++)
		if (json_object_get(rates, *key))
			json_object_set(row, *key, json_object_get(rates, *key));
	return row;
}

static void add_number(json_t *row, const char *key, double n)
{
	json_object_set_new(row, key, json_real(number(row, key) + n));
}

/* The slowest instance's: percentiles cannot be added. */
static void take_most(json_t *row, const char *key, const json_t *rates)
{
	uint64_t us = cli_u64(rates, key);

	if (us > cli_u64(row, key))
		json_object_set_new(row, key, json_integer((json_int_t)us));
}

static json_t *service_row(const json_t *service, const json_t *instances)
{
	const char *name = cli_str(service, "name", "");
	json_t *row = json_copy((json_t *)service);
	const json_t *item;
	uint64_t memory = 0;
	size_t i;

	json_array_foreach ((json_t *)instances, i, item) {
		const json_t *rates = json_object_get(item, "rates");

		if (strcmp(cli_str(item, "service", ""), name) != 0)
			continue;
		memory += cli_u64(item, "memory_bytes");
		if (!json_is_object(rates))
			continue;
		add_number(row, "requests", number(rates, "requests"));
		add_number(row, "failed", number(rates, "failed"));
		add_number(row, "cpu", number(rates, "cpu"));
		take_most(row, "p50_us", rates);
		take_most(row, "p99_us", rates);
	}
	json_object_set_new(row, "memory_bytes", json_integer((json_int_t)memory));
	return row;
}

static bool is_wanted(const struct cli *cli, const json_t *item, const char *key)
{
	return !cli->service || strcmp(cli_str(item, key, ""), cli->service) == 0;
}

static int render(struct cli *cli, const json_t *services, const json_t *instances)
{
	json_auto_t *upper = json_array(), *lower = json_array();
	const json_t *item;
	size_t i;
	int r;

	json_array_foreach ((json_t *)services, i, item)
		if (is_wanted(cli, item, "name"))
			json_array_append_new(upper, service_row(item, instances));
	json_array_foreach ((json_t *)instances, i, item)
		if (is_wanted(cli, item, "service"))
			json_array_append_new(lower, instance_row(item));
	r = cli_table(cli, service_columns, ARRAY_SIZE(service_columns), upper);
	if (r < 0)
		return r;
	if (json_array_size(upper) > 0 && json_array_size(lower) > 0)
		fputc('\n', cli->io.out);
	return cli_table(cli, instance_columns, ARRAY_SIZE(instance_columns), lower);
}

static void put_json(struct cli *cli, const json_t *services, const json_t *instances)
{
	json_auto_t *doc = json_pack(
		"{s:O, s:O}", "services", (json_t *)services, "instances", (json_t *)instances);
	_cleanup_(freep) char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;

	if (text)
		fprintf(cli->io.out, "%s\n", text);
}

static int look(struct cli *cli, bool first, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply services = {0}, instances = {0};
	int r = cli_get_patient(cli, "/v1/services", &services, err);

	if (r == 0)
		r = cli_get_patient(cli, "/v1/instances", &instances, err);
	if (r < 0)
		return r;
	if (cli->output == CLI_JSON) {
		put_json(cli, cli_items(services.doc), cli_items(instances.doc));
		return 0;
	}
	if (cli->output == CLI_NAME) {
		cli_put_names(cli, services.doc, "name");
		cli_put_names(cli, instances.doc, "id");
		return 0;
	}
	if (cli->tty)
		fputs(first ? "\033[2J\033[H" : "\033[H\033[J", cli->io.out);
	else if (!first)
		fputc('\n', cli->io.out);
	return render(cli, cli_items(services.doc), cli_items(instances.doc));
}

int cli_cmd_top(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_follow_endp) struct cli *followed = NULL;
	bool once = cli->output == CLI_JSON || cli->output == CLI_NAME;
	int r;

	if (once)
		return look(cli, true, err);
	r = cli_follow_begin(cli, err);
	if (r < 0)
		return r;
	followed = cli;
	for (bool first = true;; first = false) {
		r = look(followed, first, err);
		if (r == -EINTR || (r < 0 && cli_expired(cli)))
			return 0;
		if (r < 0)
			return r;
		/* the reader of a pipe may be gone */
		if (fflush(cli->io.out) != 0 || cli_pause(cli, REFRESH_MS) < 0 || cli_expired(cli))
			return 0;
	}
}
