/* SPDX-License-Identifier: Apache-2.0 */
/* What instances write: the end of it, or on and on. Followed is an instance, and then whoever
 * takes its place; or a service, with all of its instances and those to come. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/follow.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/value.h"

#define LOOK_MS 300
#define LINES   100

struct followed {
	struct followed *next;
	char *name, *at; /* at "": from the last lines on */
	bool gone;       /* it is no instance any more: its log has an end */
	bool seen;       /* in the last look at the instances */
};

struct logs {
	struct cli *cli;
	struct followed *first;
	const char *service; /* NULL: not known yet; owned by doc */
	json_t *doc;         /* the last list of instances */
	bool one;            /* an instance is followed, not a service */
	bool prefixed, cut;  /* cut: the last line that was written has no end yet */
	bool written;        /* anything at all */
	const struct followed *last;
	uint64_t away_ns;
};

static void logs_done(struct logs *l)
{
	for (struct followed *f = l->first, *next; f; f = next) {
		next = f->next;
		free(f->name);
		free(f->at);
		free(f);
	}
	json_decref(l->doc);
}

static struct followed *find(struct logs *l, const char *name)
{
	for (struct followed *f = l->first; f; f = f->next)
		if (strcmp(f->name, name) == 0)
			return f;
	return NULL;
}

static int add(struct logs *l, const char *name)
{
	struct followed *f = calloc(1, sizeof(*f)), **end = &l->first;

	if (f) {
		f->name = strdup(name);
		f->at = strdup("");
	}
	if (!f || !f->name || !f->at) {
		free(f ? f->name : NULL);
		free(f);
		return -ENOMEM;
	}
	while (*end)
		end = &(*end)->next;
	*end = f;
	return 0;
}

/* A line of another instance begins on a line of its own. */
static void write_text(struct logs *l, const struct followed *f, const char *text)
{
	FILE *out = l->cli->io.out;

	l->written |= *text != '\0';
	while (*text) {
		size_t n = strcspn(text, "\n");
		bool whole = text[n] == '\n';

		if (l->cut && l->last != f) {
			fputc('\n', out);
			l->cut = false;
		}
		if (l->prefixed && !l->cut)
			fprintf(out, "%s  ", f->name);
		fwrite(text, 1, n + whole, out);
		text += n + whole;
		l->cut = !whole;
		l->last = f;
	}
}

/* 1: there may be more at once. */
static int read_one(struct logs *l, struct followed *f, struct weft_err *err)
{
	struct cli *cli = l->cli;
	uint64_t lines = cli->tail == UINT64_MAX ? LINES : cli->tail;
	_cleanup_(freep) char *query = weft_strf("/logs?tail=%" PRIu64 "&after=%s", lines, f->at);
	_cleanup_(freep) char *path = query ? cli_path("/v1/instances/", f->name, query) : NULL;
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	const char *text;
	char *at;
	int r = path ? cli_get(cli, path, &reply, err) : -ENOMEM;

	if (r < 0)
		return r;
	text = cli_str(reply.doc, "text", "");
	at = strdup(cli_str(reply.doc, "at", f->at));
	if (!at)
		return -ENOMEM;
	if (cli->output == CLI_JSON && *text) {
		cli_put_body(cli, &reply, true);
		l->written = true;
	} else if (cli->output != CLI_JSON) {
		write_text(l, f, text);
	}
	r = *f->at && (*text || strcmp(at, f->at) != 0);
	free(f->at);
	f->at = at;
	return r;
}

/* Everything that it has written by now. One that has no log any more has none to be read. */
static int read_all(struct logs *l, struct followed *f, struct weft_err *err)
{
	int r;

	do
		r = read_one(l, f, err);
	while (r > 0);
	if (r == -ENOENT && f->gone) {
		*err = (struct weft_err){0};
		r = 0;
	}
	return r;
}

static int look(struct logs *l, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	int r = cli_get(l->cli, "/v1/instances", &reply, err);

	if (r < 0)
		return r;
	json_decref(l->doc);
	l->doc = json_incref(reply.doc);
	return 0;
}

static const json_t *instance(const struct logs *l, const char *name)
{
	const json_t *item;
	size_t i;

	json_array_foreach ((json_t *)cli_items(l->doc), i, item)
		if (strcmp(cli_str(item, "id", ""), name) == 0)
			return item;
	return NULL;
}

static bool is_own(const json_t *item)
{
	const char *kind = cli_str(item, "virtualization", "");

	return strcmp(kind, "remote") != 0 && strcmp(kind, "attached") != 0;
}

static bool is_over(const json_t *item)
{
	return !item || strcmp(cli_str(item, "phase", ""), "failed") == 0;
}

/* One of the service that is not followed yet, and was made after who is to be replaced. */
static const char *newcomer(struct logs *l, uint64_t after_ms)
{
	const json_t *item;
	size_t i;

	json_array_foreach ((json_t *)cli_items(l->doc), i, item)
		if (strcmp(cli_str(item, "service", ""), l->service) == 0 && is_own(item) &&
			!is_over(item) && cli_u64(item, "created_ms") >= after_ms &&
			!find(l, cli_str(item, "id", "")))
			return cli_str(item, "id", NULL);
	return NULL;
}

static int add_newcomers(struct logs *l)
{
	const char *name;
	int r = 0;

	while (r == 0 && (name = newcomer(l, 0)))
		r = add(l, name);
	return r;
}

/* The one that is followed has ended: on with the next of its service. */
static int replace(struct logs *l, struct followed *old, uint64_t *made_ms)
{
	const json_t *item = instance(l, old->name);
	const char *name;

	if (item)
		*made_ms = cli_u64(item, "created_ms");
	if (!is_over(item))
		return 0;
	if (!old->gone)
		cli_say(l->cli, "instance %s: %s", old->name, item ? "failed" : "gone");
	old->gone = true;
	name = newcomer(l, *made_ms);
	if (!name)
		return 0;
	cli_say(l->cli, "going on with instance %s", name);
	return add(l, name);
}

static int step(struct logs *l, uint64_t *made_ms, struct weft_err *err)
{
	struct followed *last = l->first;
	int r = look(l, err);

	while (last && last->next)
		last = last->next;
	if (r == 0)
		r = l->one ? replace(l, last, made_ms) : add_newcomers(l);
	for (struct followed *f = l->first; f && r >= 0; f = f->next) {
		bool gone = !instance(l, f->name);

		/* Its last words may have been written since the last look. */
		if (!f->seen || !gone)
			r = read_all(l, f, err);
		f->seen = gone;
		f->gone |= gone;
	}
	if (r >= 0 && fflush(l->cli->io.out) != 0)
		return -EPIPE;
	return r < 0 ? r : 0;
}

/* Is it an instance's name or a service's? The service is that of the instance, too. */
static int begin(struct logs *l, char **ret_service, struct weft_err *err)
{
	const char *name = l->cli->args[0];
	const json_t *item;
	int r = look(l, err);

	if (r < 0)
		return r;
	item = instance(l, name);
	l->one = item != NULL;
	if (!item) {
		_cleanup_(cli_reply_done) struct cli_reply reply = {0};
		_cleanup_(freep) char *path = cli_path("/v1/services/", name, "");

		r = path ? cli_get(l->cli, path, &reply, err) : -ENOMEM;
		if (r == -ENOENT) {
			weft_err_set(err, r, "%s: neither an instance nor a service", name);
			return weft_err_hint(err, "weft instance list");
		}
	}
	*ret_service = strdup(item ? cli_str(item, "service", "") : name);
	l->prefixed = !l->one;
	if (r == 0 && !*ret_service)
		r = -ENOMEM;
	return r == 0 && l->one ? add(l, name) : r;
}

static int follow(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_follow_endp) struct cli *followed = NULL;
	_cleanup_(logs_done) struct logs l = {.cli = cli};
	_cleanup_(freep) char *service = NULL;
	uint64_t made_ms = 0;
	int r = cli_follow_begin(cli, err);

	if (r < 0)
		return r;
	followed = cli;
	r = begin(&l, &service, err);
	l.service = service;
	while (r == 0 || r == -EAGAIN) {
		bool known = cli->contacted;

		r = step(&l, &made_ms, err);
		r = cli_patience(cli, r, known, &l.away_ns, err);
		if (r == 0 && (cli_expired(cli) || cli_pause(cli, LOOK_MS) < 0))
			return 0;
	}
	return r == -EPIPE || r == -EINTR || cli_expired(cli) ? 0 : r;
}

/* What all of a service's own instances have written by now; one may have no log yet, or no more.
 */
static int of_service(struct logs *l, struct weft_err *err)
{
	const json_t *item;
	size_t i;
	int r = 0;

	json_array_foreach ((json_t *)cli_items(l->doc), i, item)
		if (r == 0 && strcmp(cli_str(item, "service", ""), l->service) == 0 && is_own(item))
			r = add(l, cli_str(item, "id", ""));
	l->prefixed = l->first && l->first->next;
	for (struct followed *f = l->first; f && r >= 0; f = f->next) {
		r = read_one(l, f, err);
		if (r == -ENOENT) {
			*err = (struct weft_err){0};
			r = 0;
		}
	}
	if (r >= 0 && !l->first)
		cli_say(l->cli, "service %s has no instances here", l->service);
	else if (r >= 0 && !l->written)
		cli_say(l->cli, "the instances of service %s have written nothing", l->service);
	return r < 0 ? r : 0;
}

/* There is no log of an instance of that name: a service may be meant, if it is none that was not
 * started here. */
static int show_service(struct cli *cli, struct weft_err *err)
{
	_cleanup_(logs_done) struct logs l = {.cli = cli};
	_cleanup_(freep) char *service = NULL;
	struct weft_err why = *err;
	int r;

	*err = (struct weft_err){0};
	r = begin(&l, &service, err);
	if (r == 0 && l.one) {
		*err = why;
		return -ENOENT;
	}
	l.service = service;
	return r < 0 ? r : of_service(&l, err);
}

/* A console's bytes are passed on as they are, as a terminal there would have got them. */
int cli_cmd_instance_logs(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *path = NULL;
	char query[48] = "/logs";
	int r;

	if (cli->follow)
		return follow(cli, err);
	if (cli->tail != UINT64_MAX)
		snprintf(query, sizeof(query), "/logs?tail=%" PRIu64, cli->tail);
	path = cli_path("/v1/instances/", cli->args[0], query);
	r = path ? cli_get(cli, path, &reply, err) : -ENOMEM;
	if (r == -ENOENT)
		return show_service(cli, err);
	if (r < 0)
		return r;
	if (reply.size == 0)
		cli_say(cli, "instance %s has written nothing", cli->args[0]);
	fwrite(reply.body, 1, reply.size, cli->io.out);
	return 0;
}
