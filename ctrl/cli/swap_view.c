/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/cli/swap_view.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/cli/value.h"

#define MAX_ROWS    32
#define BAR_CELLS   20
#define NAME_WIDTH  10
#define TEXT_WIDTH  40
#define SHARE_STEP  10   /* percent between two appended lines of a shift */
#define FLOWS_EVERY 1000 /* ms between two appended lines of a drain */

enum mark { MARK_DONE, MARK_CURRENT, MARK_FAILED, MARK_PENDING };

struct row {
	const char *name;
	const json_t *phase; /* NULL: not begun */
	enum mark mark;
};

static const char *const plan[] = {"prepare", "start-new", "warm", "shift", "drain", "stop-old"};

static const char *state_of(const json_t *swap)
{
	return cli_str(swap, "state", "unknown");
}

bool cli_swap_ended(const json_t *swap)
{
	const char *state = state_of(swap);

	return strcmp(state, "done") == 0 || strcmp(state, "rolled-back") == 0;
}

static bool turned_back(const json_t *swap)
{
	return strcmp(state_of(swap), "rollback") == 0 ||
	       strcmp(state_of(swap), "rolled-back") == 0;
}

/* A swap by batches enters its phases again: the present batch is shown. */
static size_t again(const struct row *rows, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(rows[i].name, name) == 0)
			return i;
	return n;
}

/* The phases that were entered, then those that the plan still holds. */
static size_t make_rows(const json_t *swap, struct row *rows)
{
	bool ended = cli_swap_ended(swap);
	const json_t *phase;
	size_t i, n = 0;

	json_array_foreach (json_object_get(swap, "phases"), i, phase) {
		const char *name = cli_str(phase, "name", NULL);

		if (!name || strcmp(name, "done") == 0 || strcmp(name, "rolled-back") == 0)
			continue;
		n = again(rows, n, name);
		if (n == MAX_ROWS)
			break;
		if (n > 0 && strcmp(name, "rollback") == 0)
			rows[n - 1].mark = MARK_FAILED;
		rows[n++] = (struct row){name, phase,
			cli_u64(phase, "ended_ms") || ended ? MARK_DONE : MARK_CURRENT};
	}
	if (ended || turned_back(swap))
		return n;
	for (i = 0; i < ARRAY_SIZE(plan) && n < MAX_ROWS; i++) {
		bool current = strcmp(plan[i], state_of(swap)) == 0;

		if (again(rows, n, plan[i]) == n)
			rows[n++] =
				(struct row){plan[i], NULL, current ? MARK_CURRENT : MARK_PENDING};
	}
	return n;
}

static char *shift_text(const struct cli *cli, const json_t *swap)
{
	unsigned percent = (unsigned)(cli_share(swap, "weight_new") * 100 + 0.5);
	unsigned cells = percent * BAR_CELLS / 100;
	char bar[BAR_CELLS * 3 + 1] = "";

	for (unsigned i = 0; i < BAR_CELLS; i++)
		strcat(bar, cli->io.utf8 ? (i < cells ? "█" : "░") : (i < cells ? "#" : "."));
	return weft_strf("new %u%% %s %u%% old%s", percent, bar, 100 - percent,
		json_is_true(json_object_get(swap, "paused")) ? "  paused" : "");
}

static char *row_text(const struct cli *cli, const json_t *swap, const struct row *row)
{
	const char *detail = cli_str(row->phase, "detail", "");

	if (row->mark == MARK_PENDING)
		return strdup(cli->io.utf8 ? "–" : "-");
	if (row->mark == MARK_CURRENT && strcmp(row->name, "shift") == 0)
		return shift_text(cli, swap);
	if (row->mark == MARK_CURRENT && strcmp(row->name, "drain") == 0)
		return weft_strf("%" PRIu64 " flows left%s%s", cli_u64(swap, "flows_old"),
			*detail ? "  " : "", detail);
	return cli_clean(detail, cli->io.utf8);
}

/* How long it took; of a phase with a limit how much of that has gone. */
static char *row_time(const json_t *swap, const struct row *row, uint64_t now_ms)
{
	uint64_t start = cli_u64(row->phase, "started_ms"), end = cli_u64(row->phase, "ended_ms");
	uint64_t until = end ? end : now_ms, limit = 0;
	struct cli_text took;

	if (!start || (row->mark != MARK_CURRENT && !end))
		return strdup("");
	took = cli_fmt_duration(until > start ? until - start : 0);
	if (row->mark == MARK_CURRENT && strcmp(row->name, "shift") == 0)
		limit = cli_u64(swap, "shift_ms");
	else if (row->mark == MARK_CURRENT && strcmp(row->name, "drain") == 0)
		limit = cli_u64(swap, "drain_ms");
	if (limit)
		return weft_strf("%s/%s", took.s, cli_fmt_duration(limit).s);
	return strdup(took.s);
}

/* What the new instances have done to requests so far, and their latency against the old ones'. */
static char *row_effect(const struct cli *cli, const struct row *row)
{
	const json_t *coming = json_object_get(row->phase, "new");
	uint64_t now = cli_u64(coming, "p99_us");
	uint64_t before = cli_u64(json_object_get(row->phase, "old"), "p99_us");
	_cleanup_(freep) char *p99 = NULL;

	if (row->mark != MARK_CURRENT || cli_u64(coming, "requests") == 0)
		return strdup("");
	if (now && before)
		p99 = weft_strf("  p99 %s (%+.0f%%)", cli_fmt_ns(now * 1000, cli->io.utf8).s,
			((double)now / (double)before - 1) * 100);
	else if (now)
		p99 = weft_strf("  p99 %s", cli_fmt_ns(now * 1000, cli->io.utf8).s);
	return weft_strf("  err %" PRIu64 "%s", cli_u64(coming, "failed"), p99 ? p99 : "");
}

static int padding(const char *s, size_t width)
{
	size_t n = cli_columns(s);

	return n < width ? (int)(width - n) : 0;
}

static void print_row(const struct cli *cli, const json_t *swap, const struct row *row,
	uint64_t now_ms, unsigned width)
{
	static const char *const marks[][2] = {
		[MARK_DONE] = {"+", "✓"},
		[MARK_CURRENT] = {">", "▸"},
		[MARK_FAILED] = {"x", "✗"},
		[MARK_PENDING] = {" ", " "},
	};
	static const char *const colors[] = {"\033[32m", "\033[36m", "\033[31m", ""};
	_cleanup_(freep) char *name = cli_clean(row->name, cli->io.utf8);
	_cleanup_(freep) char *text = row_text(cli, swap, row);
	_cleanup_(freep) char *took = row_time(swap, row, now_ms);
	_cleanup_(freep) char *effect = row_effect(cli, row);
	_cleanup_(freep) char *line = NULL;
	size_t end;

	if (!name || !text || !took || !effect)
		return;
	line = weft_strf("%s%*s  %s%*s  %s%s", name, padding(name, NAME_WIDTH), "", text,
		padding(text, TEXT_WIDTH), "", took, effect);
	if (!line)
		return;
	for (end = strlen(line); end > 0 && line[end - 1] == ' '; end--)
		line[end - 1] = '\0';
	if (width > 4) /* beside the mark and its spaces */
		cli_cut(line, width - 4);
	fprintf(cli->io.out, "  %s%s%s %s\n", cli->colored ? colors[row->mark] : "",
		marks[row->mark][cli->io.utf8], cli->colored && *colors[row->mark] ? "\033[0m" : "",
		line);
}

static void print_head(const struct cli *cli, const json_t *swap, unsigned width)
{
	_cleanup_(freep) char *line = weft_strf("swap %s  %s  %s %s %s", cli_str(swap, "id", "?"),
		cli_str(swap, "service", "?"), cli_str(swap, "from", "?"),
		cli->io.utf8 ? "→" : "->", cli_str(swap, "to", "?"));
	_cleanup_(freep) char *clean = line ? cli_clean(line, cli->io.utf8) : NULL;

	if (!clean)
		return;
	if (width)
		cli_cut(clean, width);
	fprintf(cli->io.out, "%s\n", clean);
}

unsigned cli_swap_print(const struct cli *cli, const json_t *swap, uint64_t now_ms, unsigned width)
{
	struct row rows[MAX_ROWS];
	size_t n = make_rows(swap, rows);

	print_head(cli, swap, width);
	for (size_t i = 0; i < n; i++)
		print_row(cli, swap, &rows[i], now_ms, width);
	return (unsigned)n + 1;
}

static unsigned terminal_width(const struct cli *cli)
{
	struct winsize w;

	if (ioctl(fileno(cli->io.out), TIOCGWINSZ, &w) == 0 && w.ws_col > 0)
		return w.ws_col;
	return 80;
}

static void draw(struct cli *cli, struct cli_swap_view *view, const json_t *swap, uint64_t now_ms)
{
	unsigned width = terminal_width(cli);

	if (view->drawn && view->talk == cli->talk)
		fprintf(cli->io.out, "\r\033[%uA\033[J", view->drawn);
	view->drawn = cli_swap_print(cli, swap, now_ms, width);
	if (!cli_swap_ended(swap)) {
		_cleanup_(freep) char *foot =
			weft_strf("^C detaches (the swap goes on);  abort: weft swap abort %s",
				cli_str(swap, "id", "?"));
		_cleanup_(freep) char *clean = foot ? cli_clean(foot, cli->io.utf8) : NULL;

		if (clean) {
			cli_cut(clean, width);
			fprintf(cli->io.out, "%s\n", clean);
			view->drawn++;
		}
	}
	view->talk = cli->talk;
}

/* Is the present phase worth another line? */
static bool has_moved(
	struct cli_swap_view *view, const json_t *swap, const struct row *row, uint64_t now_ms)
{
	unsigned percent = (unsigned)(cli_share(swap, "weight_new") * 100 + 0.5);
	uint64_t flows = cli_u64(swap, "flows_old");

	if (strcmp(row->name, "shift") == 0 && percent >= view->percent + SHARE_STEP) {
		view->percent = percent;
		return true;
	}
	if (strcmp(row->name, "drain") == 0 && flows != view->flows &&
		now_ms >= view->flows_ms + FLOWS_EVERY) {
		view->flows = flows;
		view->flows_ms = now_ms;
		return true;
	}
	return false;
}

static void append(struct cli *cli, struct cli_swap_view *view, const json_t *swap, uint64_t now_ms)
{
	struct row rows[MAX_ROWS];
	size_t n = make_rows(swap, rows);

	if (!view->headed)
		print_head(cli, swap, 0);
	view->headed = true;
	for (size_t i = 0; i < n; i++) {
		bool ended = rows[i].mark == MARK_DONE || rows[i].mark == MARK_FAILED;
		bool current = rows[i].mark == MARK_CURRENT;
		bool moved = current && has_moved(view, swap, &rows[i], now_ms);

		if ((ended && i >= view->n_ended) || (current && i >= view->n_begun) || moved)
			print_row(cli, swap, &rows[i], now_ms, 0);
		if (ended && i >= view->n_ended)
			view->n_ended = i + 1;
		if (current && i >= view->n_begun)
			view->n_begun = i + 1;
	}
}

void cli_swap_update(
	struct cli *cli, struct cli_swap_view *view, const json_t *swap, uint64_t now_ms)
{
	if (cli->tty)
		draw(cli, view, swap, now_ms);
	else
		append(cli, view, swap, now_ms);
	fflush(cli->io.out);
}
