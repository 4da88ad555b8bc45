/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/value.h"

int cli_cmd_service_scale(struct cli *cli, struct weft_err *err)
{
	_cleanup_(freep) char *path = cli_path("/v1/services/", cli->args[0], "/scale");
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *body = NULL;
	uint64_t n;
	int r;

	if (weft_parse_u64(cli->args[1], 0, UINT32_MAX, &n) < 0) {
		weft_err_set(err, EINVAL, "\"%s\" is not a number of instances", cli->args[1]);
		return weft_err_hint(err, "weft service scale %s 3", cli->args[0]);
	}
	body = weft_strf("{\"replicas\":%" PRIu64 "}", n);
	if (!path || !body)
		return -ENOMEM;
	r = cli_call(cli, "POST", path, body, strlen(body), &reply, err);
	if (r < 0)
		return r;
	if (cli->output == CLI_JSON)
		cli_put_body(cli, &reply, false);
	else if (cli->output == CLI_NAME)
		cli_put_names(cli, reply.doc, "name");
	else
		cli_say(cli, "service %s: %" PRIu64 " instances are wanted, %" PRIu64 " are ready",
			cli_str(reply.doc, "name", cli->args[0]), cli_u64(reply.doc, "replicas"),
			cli_u64(reply.doc, "ready"));
	return 0;
}
