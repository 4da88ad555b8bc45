/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/follow.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/swap_view.h"
#include "ctrl/cli/table.h"
#include "ctrl/cli/value.h"

static char *cell_took(const struct cli *cli, const json_t *row, const char *key)
{
	uint64_t start = cli_u64(row, key), end = cli_u64(row, "ended_ms");

	(void)cli;
	return strdup(start && end > start ? cli_fmt_duration(end - start).s : "-");
}

static char *cell_error(const struct cli *cli, const json_t *row, const char *key)
{
	return cli_cell_text(cli, json_object_get(row, key), "message");
}

static const struct cli_column columns[] = {
	{"SWAP", "id", cli_cell_text, 0},
	{"SERVICE", "service", cli_cell_text, 0},
	{"FROM", "from", cli_cell_text, 0},
	{"TO", "to", cli_cell_text, 0},
	{"STATE", "state", cli_cell_text, CLI_COL_STATE},
	{"NEW", "weight_new", cli_cell_share, CLI_COL_RIGHT},
	{"TOOK", "started_ms", cell_took, CLI_COL_RIGHT},
	{"AGE", "started_ms", cli_cell_age, CLI_COL_RIGHT},
	{"STRATEGY", "strategy", cli_cell_text, CLI_COL_WIDE},
	{"DURATION", "duration_ms", cli_cell_duration, CLI_COL_WIDE | CLI_COL_RIGHT},
	{"DRAIN", "drain_ms", cli_cell_duration, CLI_COL_WIDE | CLI_COL_RIGHT},
	{"OLD", "old", cli_cell_text, CLI_COL_WIDE},
	{"NEW-IDS", "new", cli_cell_text, CLI_COL_WIDE},
	{"ERROR", "error", cell_error, CLI_COL_WIDE},
};

static int render_list(const struct cli *cli, const json_t *doc)
{
	return cli_table(cli, columns, ARRAY_SIZE(columns), cli_items(doc));
}

int cli_cmd_swap_list(struct cli *cli, struct weft_err *err)
{
	const struct cli_view view = {
		.path = "/v1/swaps", .name_key = "id", .render = render_list, .empty = "no swaps"};

	return cli_show(cli, &view, err);
}

/* Why it was turned back, as the text of our own error: exit status 1 whatever its code. */
static int rolled_back(const json_t *swap, struct weft_err *err)
{
	const json_t *e = json_object_get(swap, "error");

	weft_err_set(err, EIO, "swap %s of %s was rolled back: %s", cli_str(swap, "id", "?"),
		cli_str(swap, "service", "?"), cli_str(e, "message", "no reason is given"));
	return weft_err_hint(err, "%s", cli_str(e, "hint", ""));
}

static int render_one(const struct cli *cli, const json_t *swap)
{
	struct weft_err err = {0};
	_cleanup_(freep) char *text = NULL, *clean = NULL;

	cli_swap_print(cli, swap, weft_realtime_ms(), 0);
	if (cli_is_null(swap, "error"))
		return cli_swap_effects(cli, swap);
	rolled_back(swap, &err);
	text = weft_strf("%s%s%s", err.msg, *err.hint ? "\nhint: " : "", err.hint);
	for (char *line = text, *next; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		free(clean);
		clean = cli_clean(line, cli->io.utf8);
		fprintf(cli->io.out, "%s\n", clean ? clean : "");
	}
	return cli_swap_effects(cli, swap);
}

int cli_cmd_swap_show(struct cli *cli, struct weft_err *err)
{
	_cleanup_(freep) char *path = cli_path("/v1/swaps/", cli->args[0], "");
	const struct cli_view view = {.path = path, .name_key = "id", .render = render_one};

	return cli_show(cli, &view, err);
}

struct following {
	struct cli_swap_view view;
	bool shown;   /* progress is wanted */
	bool aborted; /* rolled-back is what was asked for */
	char *state;  /* the last one seen */
	char *last;   /* the last document printed as JSON */
};

static void put_end(struct cli *cli, const json_t *swap, const struct following *f)
{
	uint64_t start = cli_u64(swap, "started_ms"), end = cli_u64(swap, "ended_ms");
	_cleanup_(freep) char *line = NULL, *clean = NULL;

	if (cli->output == CLI_NAME)
		line = weft_strf("%s", cli_str(swap, "id", "?"));
	else if (f->aborted)
		line = weft_strf("swap %s: rolled back", cli_str(swap, "id", "?"));
	else
		line = weft_strf("swap %s: done, %s runs as %s now, after %s",
			cli_str(swap, "id", "?"), cli_str(swap, "service", "?"),
			cli_str(swap, "to", "?"),
			cli_fmt_duration(end > start ? end - start : 0).s);
	clean = line ? cli_clean(line, cli->io.utf8) : NULL;
	if (clean)
		fprintf(cli->io.out, "%s\n", clean);
}

/* With -o json a watch is a document per change, and a wait is the final one. */
static void put_json(struct cli *cli, const struct cli_reply *reply, struct following *f)
{
	if (!f->shown && !cli_swap_ended(reply->doc))
		return;
	if (f->last && strcmp(f->last, reply->body) == 0)
		return;
	cli_put_body(cli, reply, f->shown);
	fflush(cli->io.out);
	free(f->last);
	f->last = strdup(reply->body);
}

static int on_swap(
	struct cli *cli, const struct cli_reply *reply, void *userdata, struct weft_err *err)
{
	struct following *f = userdata;
	const json_t *swap = reply ? reply->doc : NULL;
	bool done = strcmp(cli_str(swap, "state", ""), "done") == 0;

	if (!reply)
		return -ENOENT; /* in the daemon's own words */
	free(f->state);
	f->state = strdup(cli_str(swap, "state", "unknown"));
	if (cli->output == CLI_JSON)
		put_json(cli, reply, f);
	else if (f->shown && cli->output != CLI_NAME)
		cli_swap_update(cli, &f->view, swap, weft_realtime_ms());
	if (!cli_swap_ended(swap))
		return 0;
	if (done && f->aborted)
		return weft_err_set(err, EIO, "swap %s had already gone too far: it is done",
			cli_str(swap, "id", "?"));
	if (!done && !f->aborted)
		return rolled_back(swap, err);
	if (cli->output != CLI_JSON)
		put_end(cli, swap, f);
	return 1;
}

static int follow(struct cli *cli, const char *id, struct following *f, struct weft_err *err)
{
	_cleanup_(freep) char *path = cli_path("/v1/swaps/", id, "");
	_cleanup_(cli_follow_endp) struct cli *ours = cli;
	int r = path ? cli_follow_begin(cli, err) : -ENOMEM;

	if (r == 0)
		r = cli_wait(cli, path, 0, on_swap, f, err);
	if (r == -EINTR) {
		cli_say(cli, "detached; swap %s goes on", id);
		cli_say(cli, "hint: weft swap watch %s, or weft swap abort %s", id, id);
		r = CLI_EXIT_INTERRUPTED;
	} else if (r == -ETIMEDOUT) {
		weft_err_set(err, r, "swap %s has not ended in time, it goes on in state %s", id,
			f->state ? f->state : "unknown");
		weft_err_hint(err, "weft swap watch %s", id);
	} else if (r == 1) {
		r = 0;
	}
	free(f->state);
	free(f->last);
	return r;
}

/* "errors=5,latency=300" as the API's guard. */
static int put_guard(const char *text, json_t *request, struct weft_err *err)
{
	static const char *const words[][2] = {{"requests", "min_requests"},
		{"errors", "error_percent"}, {"latency", "latency_percent"},
		{"probes", "probe_failures"}};
	_cleanup_(freep) char *copy = strdup(text);
	json_t *guard = json_object();
	char *at = copy, *item;

	json_object_set_new(request, "guard", guard);
	while (copy && (item = strsep(&at, ","))) {
		char *value = strchr(item, '=');
		size_t i = 0;
		uint64_t n;

		if (value)
			*value++ = '\0';
		while (i < ARRAY_SIZE(words) && strcmp(words[i][0], item) != 0)
			i++;
		if (!value || i == ARRAY_SIZE(words) || weft_parse_u64(value, 0, 1000000, &n) < 0) {
			weft_err_set(
				err, EINVAL, "--guard %s: not understood at \"%s\"", text, item);
			return weft_err_hint(
				err, "--guard requests=50,errors=5,latency=300,probes=3");
		}
		json_object_set_new(guard, words[i][1], json_integer((json_int_t)n));
	}
	return 0;
}

static int swap_request(const struct cli *cli, char **ret, struct weft_err *err)
{
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {{"duration_ms", cli->duration_ms}, {"drain_ms", cli->drain_ms},
		{"hold_ms", cli->hold_ms}, {"at_a_time", cli->at_a_time}};
	json_auto_t *o = json_pack("{s:s, s:s}", "service", cli->args[0], "to", cli->to);
	int r;

	if (!o)
		return weft_err_set(err, EINVAL, "weft swap start: a name is not UTF-8");
	if (cli->strategy)
		json_object_set_new(o, "strategy", json_string(cli->strategy));
	if (cli->steps)
		json_object_set_new(o, "steps", json_string(cli->steps));
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (numbers[i].value != UINT64_MAX)
			json_object_set_new(
				o, numbers[i].key, json_integer((json_int_t)numbers[i].value));
	r = cli->guard ? put_guard(cli->guard, o, err) : 0;
	if (r < 0)
		return r;
	*ret = json_dumps(o, JSON_COMPACT);
	return *ret ? 0 : weft_err_set(err, ENOMEM, "out of memory");
}

/* What start and abort say when nobody waits for the end. */
static void put_begun(struct cli *cli, const struct cli_reply *reply, const char *what)
{
	_cleanup_(freep) char *id = cli_clean(cli_str(reply->doc, "id", "?"), cli->io.utf8);

	if (cli->output == CLI_JSON)
		cli_put_body(cli, reply, false);
	else if (cli->output == CLI_NAME)
		cli_put_names(cli, reply->doc, "id");
	else if (id) {
		fprintf(cli->io.out, "swap %s: %s\n", id, what);
		cli_say(cli, "hint: weft swap watch %s", id);
	}
}

/* Begun by reply: say so, or follow it. */
static int begun(struct cli *cli, const struct cli_reply *reply, struct weft_err *err)
{
	struct following f = {.shown = cli->watch};

	if (!cli->watch && !cli->wait) {
		put_begun(cli, reply, "started");
		return 0;
	}
	if (!*cli_str(reply->doc, "id", ""))
		return weft_err_set(err, EPROTO, "weftd's answer names no swap");
	return follow(cli, cli_str(reply->doc, "id", ""), &f, err);
}

int cli_cmd_swap_start(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *body = NULL;
	int r;

	if (!cli->to) {
		weft_err_set(
			err, EINVAL, "weft swap start %s: to which virtualization?", cli->args[0]);
		return weft_err_hint(err,
			"weft swap start %s --to unikernel; the variants it has: "
			"weft service show %s",
			cli->args[0], cli->args[0]);
	}
	r = swap_request(cli, &body, err);
	if (r == 0)
		r = cli_call(cli, "POST", "/v1/swaps", body, strlen(body), &reply, err);
	return r < 0 ? r : begun(cli, &reply, err);
}

int cli_cmd_swap_watch(struct cli *cli, struct weft_err *err)
{
	struct following f = {.shown = !cli->wait || cli->watch};

	return follow(cli, cli->args[0], &f, err);
}

static int ask(struct cli *cli, const char *what, struct cli_reply *reply, struct weft_err *err)
{
	_cleanup_(freep) char *path = cli_path("/v1/swaps/", cli->args[0], what);

	return path ? cli_call(cli, "POST", path, "", 0, reply, err) : -ENOMEM;
}

static int turn_back(struct cli *cli, const struct cli_reply *reply, struct weft_err *err)
{
	struct following f = {.aborted = true, .shown = cli->watch};

	if (cli->wait || cli->watch)
		return follow(cli, cli->args[0], &f, err);
	put_begun(cli, reply, "turning back");
	return 0;
}

int cli_cmd_swap_abort(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	int r = ask(cli, "/abort", &reply, err);

	return r < 0 ? r : turn_back(cli, &reply, err);
}

int cli_cmd_swap_pause(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	int r = ask(cli, "/pause", &reply, err);

	if (r == 0)
		put_begun(cli, &reply, "paused");
	return r;
}

int cli_cmd_swap_resume(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	int r = ask(cli, "/resume", &reply, err);

	if (r == 0)
		put_begun(cli, &reply, "goes on");
	return r;
}

int cli_cmd_swap_rollback(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	int r = ask(cli, "/rollback", &reply, err);

	if (r < 0)
		return r;
	/* The same one turns back, or another one has begun. */
	return strcmp(cli_str(reply.doc, "id", ""), cli->args[0]) == 0 ? turn_back(cli, &reply, err)
								       : begun(cli, &reply, err);
}
