/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/table.h"
#include "ctrl/cli/value.h"

#define PULL_MS 3600000 /* registries may be slow */

/* "sha256:" says nothing to people, and twelve digits tell images apart. */
static char *cell_id(const struct cli *cli, const json_t *row, const char *key)
{
	const char *id = cli_str(row, key, "-");
	size_t n = strncmp(id, "sha256:", 7) == 0 ? 7 : 0;

	return weft_strf("%.*s", cli->output == CLI_WIDE ? 128 : 12, id + n);
}

static const struct cli_column columns[] = {
	{"IMAGE", "id", cell_id, 0},
	{"RUNTIME", "runtime", cli_cell_text, 0},
	{"SIZE", "bytes", cli_cell_bytes, CLI_COL_RIGHT},
	{"INSTANCES", "instances", cli_cell_text, CLI_COL_RIGHT},
	{"SERVICES", "services", cli_cell_text, 0},
	{"USED", "used_ms", cli_cell_age, CLI_COL_RIGHT},
	{"NAME", "names", cli_cell_text, 0},
	{"ARCH", "arch", cli_cell_text, CLI_COL_WIDE},
	{"REFERENCE", "ref", cli_cell_text, CLI_COL_WIDE},
};

static void say_problems(struct cli *cli, const json_t *doc)
{
	const json_t *list = json_object_get(doc, "problems"), *text;
	size_t i;

	json_array_foreach ((json_t *)(uintptr_t)list, i, text)
		cli_say(cli, "warning: %s", json_is_string(text) ? json_string_value(text) : "?");
}

static int render_list(const struct cli *cli, const json_t *doc)
{
	say_problems((struct cli *)(uintptr_t)cli, doc);
	return cli_table(cli, columns, ARRAY_SIZE(columns), cli_items(doc));
}

int cli_cmd_image_list(struct cli *cli, struct weft_err *err)
{
	const struct cli_view view = {
		.path = "/v1/images",
		.name_key = "id",
		.render = render_list,
		.empty = "no images",
	};

	return cli_show(cli, &view, err);
}

static void put(struct cli *cli, const struct cli_reply *reply, const char *verb)
{
	const json_t *list = json_object_get(reply->doc, "removed"), *id;
	size_t i;

	if (cli->output == CLI_JSON) {
		cli_put_body(cli, reply, true);
		return;
	}
	json_array_foreach ((json_t *)(uintptr_t)list, i, id) {
		const char *text = json_string_value(id);

		if (text)
			fprintf(cli->io.out, "%s%s%s\n", cli->output == CLI_NAME ? "" : "image ",
				text, cli->output == CLI_NAME ? "" : verb);
	}
	say_problems(cli, reply->doc);
}

int cli_cmd_image_pull(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	json_auto_t *doc = json_pack("{s:s, s:s*}", "image", cli->args[0], "virtualization",
		cli->n_args > 1 ? cli->args[1] : NULL);
	_cleanup_(freep) char *body = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	_cleanup_(freep) char *id = NULL;
	int r;

	if (!body)
		return weft_err_set(err, EINVAL, "the image's name is not UTF-8");
	if (!cli->deadline_ns)
		cli->deadline_ns = weft_now_ns() + PULL_MS * 1000000ULL;
	r = cli_call(cli, "POST", "/v1/images", body, strlen(body), &reply, err);
	if (r < 0)
		return r;
	if (cli->output == CLI_JSON) {
		cli_put_body(cli, &reply, true);
		return 0;
	}
	id = cli_clean(cli_str(reply.doc, "id", ""), cli->io.utf8);
	if (cli->output == CLI_NAME)
		fprintf(cli->io.out, "%s\n", id);
	else
		fprintf(cli->io.out, "image %s is here: %s, %s\n", cli->args[0], id,
			cli_fmt_bytes(cli_u64(reply.doc, "bytes")).s);
	return 0;
}

static int remove_one(struct cli *cli, const char *name, const void *userdata, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *path = cli_path("/v1/images?image=", name, "");
	int r = path ? cli_call(cli, "DELETE", path, NULL, 0, &reply, err) : -ENOMEM;

	(void)userdata;
	if (r == 0)
		put(cli, &reply, " removed");
	return r;
}

int cli_cmd_image_remove(struct cli *cli, struct weft_err *err)
{
	return cli_each(cli, "image", remove_one, NULL, err);
}

int cli_cmd_image_prune(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	int r = cli_call(cli, "POST", "/v1/images/prune", "", 0, &reply, err);

	if (r < 0)
		return r;
	put(cli, &reply, " removed");
	if (cli->output != CLI_JSON && cli->output != CLI_NAME)
		cli_say(cli, "%s freed", cli_fmt_bytes(cli_u64(reply.doc, "bytes")).s);
	return 0;
}
