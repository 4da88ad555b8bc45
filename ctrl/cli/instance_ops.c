/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to an instance that runs. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/show.h"

#define EXEC_MS  30000 /* as the API has it */
#define GRACE_MS 20000 /* for a command to be ended that took too long */

struct change {
	const char *verb, *done;
};

static int change_one(struct cli *cli, const char *name, const void *userdata, struct weft_err *err)
{
	const struct change *change = userdata;
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *path = cli_path("/v1/instances/", name, change->verb);
	int r = path ? cli_call(cli, "POST", path, "", 0, &reply, err) : -ENOMEM;

	if (r < 0)
		return r;
	if (cli->output == CLI_JSON)
		cli_put_body(cli, &reply, true);
	else if (cli->output == CLI_NAME)
		fprintf(cli->io.out, "%s\n", name);
	else
		fprintf(cli->io.out, "instance %s %s\n", name, change->done);
	return 0;
}

int cli_cmd_instance_pause(struct cli *cli, struct weft_err *err)
{
	const struct change pause = {"/pause", "paused"};

	return cli_each(cli, "instance", change_one, &pause, err);
}

int cli_cmd_instance_resume(struct cli *cli, struct weft_err *err)
{
	const struct change resume = {"/resume", "goes on"};

	return cli_each(cli, "instance", change_one, &resume, err);
}

static char *make_body(const struct cli *cli, uint64_t timeout_ms)
{
	json_auto_t *doc = json_pack("{s:I}", "timeout_ms", (json_int_t)timeout_ms);
	json_t *command = json_array();

	for (size_t i = 1; i < cli->n_args; i++)
		if (json_array_append_new(command, json_string(cli->args[i])) < 0) {
			json_decref(command);
			return NULL;
		}
	json_object_set_new(doc, "command", command);
	return json_dumps(doc, JSON_COMPACT);
}

/* Its status is ours, as of any program that runs another. */
int cli_cmd_instance_exec(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	uint64_t ms = cli->timeout_ms != UINT64_MAX ? cli->timeout_ms : EXEC_MS;
	_cleanup_(freep) char *body = make_body(cli, ms ? ms : 1);
	_cleanup_(freep) char *path = cli_path("/v1/instances/", cli->args[0], "/exec");
	const char *output;
	int r;

	if (!body)
		return weft_err_set(err, EINVAL, "the command is not UTF-8");
	cli->deadline_ns = weft_now_ns() + (ms + GRACE_MS) * 1000000;
	r = path ? cli_call(cli, "POST", path, body, strlen(body), &reply, err) : -ENOMEM;
	if (r < 0)
		return r;
	if (cli->output == CLI_JSON) {
		fprintf(cli->io.out, "%s\n", reply.body);
		return 0;
	}
	output = json_string_value(json_object_get(reply.doc, "output"));
	if (output)
		fputs(output, cli->io.out);
	return (int)json_integer_value(json_object_get(reply.doc, "status")) & 0xff;
}
