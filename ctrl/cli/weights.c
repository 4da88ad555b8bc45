/* SPDX-License-Identifier: Apache-2.0 */
/* Shares of new flows, shown and set. */
#include <errno.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/table.h"
#include "ctrl/cli/value.h"

static const struct cli_column columns[] = {
	{"INSTANCE", "instance", cli_cell_text, 0},
	{"RUNTIME", "virtualization", cli_cell_text, 0},
	{"WEIGHT", "weight", cli_cell_text, CLI_COL_RIGHT},
	{"SHARE", "share", cli_cell_share, CLI_COL_RIGHT},
	{"FLOWS", "flows", cli_cell_count, CLI_COL_RIGHT},
};

static int render(const struct cli *cli, const json_t *doc)
{
	return cli_table(cli, columns, ARRAY_SIZE(columns), cli_items(doc));
}

/* "shop.web.1=70", and nothing that could be meant otherwise. */
static int take_pair(json_t *weights, const char *pair, struct weft_err *err)
{
	const char *equals = strrchr(pair, '=');
	_cleanup_(freep) char *name = equals ? strndup(pair, (size_t)(equals - pair)) : NULL;
	uint64_t weight;

	if (!name || !*name || weft_parse_u64(equals + 1, 0, UINT32_MAX, &weight) < 0) {
		weft_err_set(err, EINVAL, "\"%s\": not an instance and its weight", pair);
		return weft_err_hint(err, "weft service weights SERVICE INSTANCE=NUMBER ...");
	}
	if (json_object_get(weights, name))
		return weft_err_set(err, EINVAL, "instance %s has two weights", name);
	json_object_set_new(weights, name, json_integer((json_int_t)weight));
	return 0;
}

static int take_pairs(struct cli *cli, char **ret, struct weft_err *err)
{
	json_auto_t *weights = json_object();
	json_auto_t *body = json_pack("{s:O}", "weights", weights);

	for (size_t i = 1; i < cli->n_args; i++) {
		int r = take_pair(weights, cli->args[i], err);

		if (r < 0)
			return r;
	}
	*ret = body ? json_dumps(body, JSON_COMPACT) : NULL;
	return *ret ? 0 : -ENOMEM;
}

static int change(struct cli *cli, const char *path, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *body = NULL;
	int r;

	if (cli->reset) {
		r = cli_call(cli, "DELETE", path, NULL, 0, &reply, err);
	} else {
		r = take_pairs(cli, &body, err);
		if (r == 0)
			r = cli_call(cli, "POST", path, body, strlen(body), &reply, err);
	}
	if (r < 0)
		return r;
	if (cli->output == CLI_JSON)
		cli_put_body(cli, &reply, false);
	return 0;
}

int cli_cmd_service_weights(struct cli *cli, struct weft_err *err)
{
	_cleanup_(freep) char *path = cli_path("/v1/services/", cli->args[0], "/weights");
	_cleanup_(freep) char *shown = cli_path("/v1/dp/lb?service=", cli->args[0], "");
	const struct cli_view view = {.path = shown,
		.name_key = "instance",
		.render = render,
		.empty = "no instance is ready"};
	bool changes = cli->reset || cli->n_args > 1;
	int r;

	if (!path || !shown)
		return -ENOMEM;
	if (cli->reset && cli->n_args > 1) {
		weft_err_set(err, EINVAL, "weft service weights: set them or reset them?");
		return weft_err_hint(err, "weft service weights %s --reset", cli->args[0]);
	}
	r = changes ? change(cli, path, err) : 0;
	if (r < 0 || (changes && cli->output == CLI_JSON))
		return r;
	return cli_show(cli, &view, err);
}
