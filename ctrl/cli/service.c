/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/follow.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/table.h"
#include "ctrl/cli/value.h"

#define DELETE_MS (5 * 60 * 1000)

static char *cell_instances(const struct cli *cli, const json_t *row, const char *key)
{
	(void)cli, (void)key;
	return weft_strf("%" PRIu64 "/%" PRIu64, cli_u64(row, "ready"), cli_u64(row, "replicas"));
}

static char *cell_variants(const struct cli *cli, const json_t *row, const char *key)
{
	json_auto_t *names = json_array();
	json_auto_t *holder = NULL;
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(row, key), i, v)
		json_array_append(names, json_object_get(v, "virtualization"));
	holder = json_pack("{s:O}", "names", names);
	return cli_cell_text(cli, holder, "names");
}

/* "rr=10.30.0.2,closest=10.30.0.3" */
static char *cell_vips(const struct cli *cli, const json_t *row, const char *key)
{
	json_auto_t *list = json_array();
	json_auto_t *holder = NULL;
	const char *policy;
	json_t *vip;

	json_object_foreach (json_object_get(row, key), policy, vip)
		if (json_is_string(vip))
			json_array_append_new(
				list, json_sprintf("%s=%s", policy, json_string_value(vip)));
	holder = json_pack("{s:O}", "vips", list);
	return cli_cell_text(cli, holder, "vips");
}

/* Only what is wanted is worth a word more. */
static char *cell_shortcut(const struct cli *cli, const json_t *row, const char *key)
{
	const json_t *v = json_object_get(row, key);
	const char *state = cli_str(v, "state", "-"), *detail = cli_str(v, "detail", "");
	_cleanup_(freep) char *text = NULL;

	if (strcmp(state, "on") == 0)
		text = weft_strf("on: %s sockets, %s messages, %s",
			cli_fmt_count(cli_u64(v, "sockets")).s,
			cli_fmt_count(cli_u64(v, "messages")).s,
			cli_fmt_bytes(cli_u64(v, "bytes")).s);
	else
		text = weft_strf("%s%s%s", state, *detail ? ": " : "", detail);
	return text ? cli_clean(text, cli->io.utf8) : NULL;
}

/* A number of "counters" under the name that the table gives it. */
static char *cell_packets(const struct cli *cli, const json_t *row, const char *key)
{
	return cli_cell_count(cli, json_object_get(row, "counters"), key);
}

static char *cell_bytes(const struct cli *cli, const json_t *row, const char *key)
{
	return cli_cell_bytes(cli, json_object_get(row, "counters"), key);
}

/* Until a failed instance is replaced. */
static char *cell_retry(const struct cli *cli, const json_t *row, const char *key)
{
	return cli_u64(row, key) ? cli_cell_duration(cli, row, key) : strdup("-");
}

static const struct cli_column columns[] = {
	{"SERVICE", "name", cli_cell_text, 0},
	{"VIP", "vip", cli_cell_text, 0},
	{"PHASE", "phase", cli_cell_text, CLI_COL_STATE},
	{"INSTANCES", "instances", cell_instances, CLI_COL_RIGHT},
	{"RUNTIME", "active", cli_cell_text, 0},
	{"VARIANTS", "variants", cell_variants, 0},
	{"SWAP", "swap", cli_cell_text, 0},
	{"FLOWS", "new_flows", cell_packets, CLI_COL_RIGHT},
	{"PACKETS", "packets", cell_packets, CLI_COL_RIGHT | CLI_COL_WIDE},
	{"BYTES", "bytes", cell_bytes, CLI_COL_RIGHT | CLI_COL_WIDE},
	{"RX-PACKETS", "rx_packets", cell_packets, CLI_COL_RIGHT | CLI_COL_WIDE},
	{"RX-BYTES", "rx_bytes", cell_bytes, CLI_COL_RIGHT | CLI_COL_WIDE},
	{"AGE", "created_ms", cli_cell_age, CLI_COL_RIGHT},
	{"JOB", "job_name", cli_cell_text, CLI_COL_WIDE},
	{"VIPS", "vips", cell_vips, CLI_COL_WIDE},
	{"VIPS6", "vips6", cell_vips, CLI_COL_WIDE},
	{"SHORTCUT", "shortcut", cell_shortcut, CLI_COL_WIDE},
	{"PORTS", "ports", cli_cell_text, CLI_COL_WIDE},
	{"PUBLISHED-AT", "published_at", cli_cell_text, CLI_COL_WIDE},
	{"PUBLISHED-AT6", "published_at6", cli_cell_text, CLI_COL_WIDE},
	{"IDS", "instances", cli_cell_text, CLI_COL_WIDE},
	{"RESTARTS", "restarts", cli_cell_count, CLI_COL_WIDE},
	{"NEXT-TRY", "retry_ms", cell_retry, CLI_COL_WIDE},
	{"VERSION", "version", cli_cell_text, CLI_COL_WIDE},
	{"DETAIL", "detail", cli_cell_text, CLI_COL_WIDE},
};

static const struct cli_column variant_columns[] = {
	{"VARIANT", "virtualization", cli_cell_text, 0},
	{"ARCH", "arch", cli_cell_text, 0},
	{"MEMORY", "memory_mb", cli_cell_mib, CLI_COL_RIGHT},
	{"VCPUS", "vcpus", cli_cell_text, CLI_COL_RIGHT},
	{"NETWORK", "network", cli_cell_text, 0},
	{"IMAGE", "code", cli_cell_text, 0},
};

static int render_list(const struct cli *cli, const json_t *doc)
{
	return cli_table(cli, columns, ARRAY_SIZE(columns), cli_items(doc));
}

static int render_one(const struct cli *cli, const json_t *doc)
{
	int r = cli_record(cli, columns, ARRAY_SIZE(columns), doc);

	if (r < 0 || json_array_size(json_object_get(doc, "variants")) == 0)
		return r;
	fputc('\n', cli->io.out);
	return cli_table(cli, variant_columns, ARRAY_SIZE(variant_columns),
		json_object_get(doc, "variants"));
}

int cli_cmd_service_list(struct cli *cli, struct weft_err *err)
{
	const struct cli_view view = {
		.path = "/v1/services",
		.name_key = "name",
		.render = render_list,
		.empty = "no services; deploy one: weft apply -f FILE",
	};

	return cli_show(cli, &view, err);
}

int cli_cmd_service_show(struct cli *cli, struct weft_err *err)
{
	_cleanup_(freep) char *path = cli_path("/v1/services/", cli->args[0], "");
	const struct cli_view view = {.path = path, .name_key = "name", .render = render_one};

	return cli_show(cli, &view, err);
}

/* "shortcut=on" → {"shortcut":true} */
static char *take_setting(const char *pair, struct weft_err *err)
{
	static const char key[] = "shortcut=";
	bool known = strncmp(pair, key, sizeof(key) - 1) == 0;
	const char *value = known ? pair + sizeof(key) - 1 : "";
	bool on = strcmp(value, "on") == 0;

	if (on || strcmp(value, "off") == 0)
		return weft_strf("{\"shortcut\":%s}", on ? "true" : "false");
	weft_err_set(err, EINVAL, "\"%s\": not a setting", pair);
	weft_err_hint(err, "weft service set SERVICE shortcut=on, or shortcut=off");
	return NULL;
}

int cli_cmd_service_set(struct cli *cli, struct weft_err *err)
{
	_cleanup_(freep) char *path = cli_path("/v1/services/", cli->args[0], "/settings");
	_cleanup_(freep) char *body = take_setting(cli->args[1], err);
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *state = NULL, *done = NULL;
	int r;

	if (!body || !path)
		return err->code ? -err->code : -ENOMEM;
	r = cli_call(cli, "POST", path, body, strlen(body), &reply, err);
	if (r < 0)
		return r;
	state = cell_shortcut(cli, reply.doc, "shortcut");
	done = state ? weft_strf("shortcut %s", state) : NULL;
	return cli_put_done(cli, &reply, "service", "name", done);
}

static int is_gone(
	struct cli *cli, const struct cli_reply *reply, void *userdata, struct weft_err *err)
{
	(void)cli, (void)userdata, (void)err;
	return !reply;
}

int cli_delete_service(struct cli *cli, const char *name, bool more, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *path = cli_path("/v1/services/", name, "");
	int r = path ? cli_call(cli, "DELETE", path, NULL, 0, &reply, err) : -ENOMEM;

	if (r < 0)
		return r;
	if (cli->wait) {
		r = cli_wait(cli, path, DELETE_MS, is_gone, NULL, err);
		if (r == -ETIMEDOUT) {
			weft_err_set(
				err, ETIMEDOUT, "service %s: not removed yet; it goes on", name);
			return weft_err_hint(err, "weft service show %s", name);
		}
		if (r < 0)
			return r;
	}
	if (cli->output == CLI_JSON)
		cli_put_body(cli, &reply, more);
	else if (cli->output == CLI_NAME)
		fprintf(cli->io.out, "%s\n", name);
	else
		fprintf(cli->io.out, "service %s: %s\n", name, cli->wait ? "deleted" : "deleting");
	return 0;
}

static int delete_one(struct cli *cli, const char *name, const void *userdata, struct weft_err *err)
{
	(void)userdata;
	return cli_delete_service(cli, name, cli->n_args > 1, err);
}

int cli_cmd_service_delete(struct cli *cli, struct weft_err *err)
{
	return cli_each(cli, "service", delete_one, NULL, err);
}
