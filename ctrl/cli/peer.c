/* SPDX-License-Identifier: Apache-2.0 */
/* Other nodes, and what nodes tell each other. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/table.h"
#include "ctrl/cli/value.h"

static char *cell_way(const struct cli *cli, const json_t *row, const char *key)
{
	(void)cli;
	return strdup(*cli_str(row, key, "") ? "failed" : "ok");
}

static char *cell_mtu(const struct cli *cli, const json_t *row, const char *key)
{
	return cli_u64(row, key) ? cli_cell_text(cli, row, key) : strdup("-");
}

static const struct cli_column columns[] = {
	{"PEER", "name", cli_cell_text, 0},
	{"ADDRESS", "address", cli_cell_text, 0},
	{"PORT", "port", cli_cell_text, CLI_COL_RIGHT},
	{"FORMAT", "format", cli_cell_text, 0},
	{"STATE", "problem", cell_way, CLI_COL_STATE},
	{"MTU", "mtu", cell_mtu, CLI_COL_RIGHT},
	{"INSTANCES", "instances", cli_cell_text, CLI_COL_RIGHT},
	{"PACKETS", "packets", cli_cell_count, CLI_COL_RIGHT},
	{"PACKETS/S", "packets/s", cli_cell_count, CLI_COL_RIGHT | CLI_COL_RATE},
	{"RX-PACKETS", "rx_packets", cli_cell_count, CLI_COL_RIGHT},
	{"RX-PACKETS/S", "rx_packets/s", cli_cell_count, CLI_COL_RIGHT | CLI_COL_RATE},
	{"DROPS", "drops", cli_cell_count, CLI_COL_RIGHT},
	{"BYTES", "bytes", cli_cell_bytes, CLI_COL_RIGHT | CLI_COL_WIDE},
	{"RX-BYTES", "rx_bytes", cli_cell_bytes, CLI_COL_RIGHT | CLI_COL_WIDE},
	{"LOCAL", "local", cli_cell_text, CLI_COL_WIDE},
	{"DETAIL", "problem", cli_cell_text, CLI_COL_WIDE},
};

char *cli_fmt_uplink(const json_t *status)
{
	const json_t *up = json_object_get(status, "uplink");
	const char *detail = cli_str(up, "xdp_detail", ""), *at = cli_str(up, "address", "");

	if (!json_is_object(up))
		return NULL;
	if (*cli_str(up, "problem", ""))
		return strdup(cli_str(up, "problem", ""));
	return weft_strf("MTU %" PRIu64 ", tunnel port %" PRIu64 ", %" PRIu64 " peers, XDP %s%s%s",
		cli_u64(up, "mtu"), cli_u64(up, "port"), cli_u64(status, "peers"),
		*detail ? detail : cli_str(up, "xdp", "?"), *at ? ", published ports at " : "", at);
}

static int render_list(const struct cli *cli, const json_t *doc)
{
	return cli_table(cli, columns, ARRAY_SIZE(columns), cli_items(doc));
}

static int render_one(const struct cli *cli, const json_t *doc)
{
	return cli_record(cli, columns, ARRAY_SIZE(columns), doc);
}

static const char *const counters[] = {"packets", "rx_packets", NULL};
static const char *const identity[] = {"name", NULL};

int cli_cmd_peer_list(struct cli *cli, struct weft_err *err)
{
	const struct cli_view view = {
		.path = "/v1/peers",
		.name_key = "name",
		.render = render_list,
		.empty = "no peers: this node knows no other",
		.rates = counters,
		.identity = identity,
	};

	return cli_show(cli, &view, err);
}

int cli_cmd_peer_show(struct cli *cli, struct weft_err *err)
{
	_cleanup_(freep) char *path = cli_path("/v1/peers/", cli->args[0], "");
	const struct cli_view view = {.path = path, .name_key = "name", .render = render_one};

	return cli_show(cli, &view, err);
}

static int make_request(struct cli *cli, char **ret, struct weft_err *err)
{
	json_auto_t *doc = NULL;

	if (!cli->address) {
		weft_err_set(err, EINVAL, "weft peer add %s: where is it?", cli->args[0]);
		return weft_err_hint(err, "--address ADDR: that of the other node's uplink");
	}
	doc = json_pack("{s:s, s:s, s:s*}", "name", cli->args[0], "address", cli->address, "format",
		cli->format);
	if (doc && cli->port != UINT64_MAX)
		json_object_set_new(doc, "port", json_integer((json_int_t)cli->port));
	if (doc && cli->mtu != UINT64_MAX)
		json_object_set_new(doc, "mtu", json_integer((json_int_t)cli->mtu));
	*ret = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	return *ret ? 0 : weft_err_set(err, EINVAL, "weft peer add: not UTF-8");
}

int cli_cmd_peer_add(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *body = NULL, *done = NULL;
	const char *problem;
	int r = make_request(cli, &body, err);

	if (r == 0)
		r = cli_call(cli, "POST", "/v1/peers", body, strlen(body), &reply, err);
	if (r < 0)
		return r;
	problem = cli_str(reply.doc, "problem", "");
	done = *problem ? weft_strf("known, but there is no way to it yet: %s", problem)
			: weft_strf("known, packets of up to %" PRIu64 " bytes fit the tunnel",
				  cli_u64(reply.doc, "mtu"));
	return cli_put_done(cli, &reply, "peer", "name", done);
}

int cli_cmd_peer_remove(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *path = cli_path("/v1/peers/", cli->args[0], "");
	int r = path ? cli_call(cli, "DELETE", path, NULL, 0, &reply, err) : -ENOMEM;

	return r < 0 ? r : cli_put_done(cli, &reply, "peer", "name", "removed, with its instances");
}

int cli_cmd_peer_export(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *text = NULL;
	int r = cli_get(cli, "/v1/export", &reply, err);

	if (r < 0)
		return r;
	if (cli->output == CLI_JSON || cli->output == CLI_NAME) {
		cli_put_body(cli, &reply, false);
		return 0;
	}
	text = json_dumps(reply.doc, JSON_INDENT(2));
	if (text)
		fprintf(cli->io.out, "%s\n", text);
	return text ? 0 : -ENOMEM;
}

int cli_cmd_peer_import(struct cli *cli, struct weft_err *err)
{
	_cleanup_(freep) char *path = cli_path("/v1/peers/", cli->args[0], "/instances");
	_cleanup_(freep) char *body = NULL, *done = NULL;
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	size_t size = 0;
	int r;

	if (!path)
		return -ENOMEM;
	if (!cli->file) {
		weft_err_set(err, EINVAL, "weft peer import %s: of what?", cli->args[0]);
		return weft_err_hint(
			err, "-f FILE, or -f -: what that node's `weft peer export` says");
	}
	r = cli_read_file(cli, cli->file, &body, &size, err);
	if (r == 0)
		r = cli_call(cli, "POST", path, body, size, &reply, err);
	if (r < 0)
		return r;
	done = weft_strf("%" PRIu64 " instances", cli_u64(reply.doc, "instances"));
	return cli_put_done(cli, &reply, "peer", "name", done);
}
