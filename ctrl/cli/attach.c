/* SPDX-License-Identifier: Apache-2.0 */
/* Interfaces that weft did not make, into the overlay and out again. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/value.h"

/* The daemon has another working directory; and `ip netns` knows namespaces by name. */
static char *netns_path(const char *s)
{
	char *real;

	if (!strchr(s, '/'))
		return weft_strf("/run/netns/%s", s);
	real = s[0] == '/' ? NULL : realpath(s, NULL);
	return real ? real : strdup(s);
}

static int make_request(struct cli *cli, char **ret, struct weft_err *err)
{
	_cleanup_(freep) char *netns = cli->netns ? netns_path(cli->netns) : NULL;
	json_auto_t *doc = NULL;

	if (!cli->device == !cli->netns) {
		weft_err_set(err, EINVAL,
			"weft instance attach %s: by which device, or in which namespace?",
			cli->args[0]);
		return weft_err_hint(err, "one of --device NAME and --netns PATH");
	}
	if (!cli->ns_addr) {
		weft_err_set(err, EINVAL, "weft instance attach %s: which address does it have?",
			cli->args[0]);
		return weft_err_hint(err, "--ns-addr ADDR: that of the interface itself");
	}
	doc = json_pack("{s:s, s:s*, s:s*, s:s*, s:s, s:s*, s:s*}", "name", cli->args[0], "service",
		cli->service, "device", cli->device, "netns", netns, "ns_addr", cli->ns_addr, "mac",
		cli->mac, "ns_addr6", cli->ns_addr6);
	if (doc && cli->weight != UINT64_MAX)
		json_object_set_new(doc, "weight", json_integer((json_int_t)cli->weight));
	*ret = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	return *ret ? 0 : weft_err_set(err, EINVAL, "weft instance attach: not UTF-8");
}

int cli_cmd_instance_attach(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *body = NULL, *done = NULL;
	int r = make_request(cli, &body, err);

	if (r == 0)
		r = cli_call(cli, "POST", "/v1/instances", body, strlen(body), &reply, err);
	if (r < 0)
		return r;
	done = weft_strf("attached by %s, instance address %s", cli_str(reply.doc, "device", "?"),
		cli_str(reply.doc, "inst_addr", "?"));
	return cli_put_done(cli, &reply, "instance", "id", done);
}

int cli_cmd_instance_detach(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *path = cli_path("/v1/instances/", cli->args[0], "");
	int r = path ? cli_call(cli, "DELETE", path, NULL, 0, &reply, err) : -ENOMEM;

	return r < 0 ? r : cli_put_done(cli, &reply, "instance", "id", "detached");
}
