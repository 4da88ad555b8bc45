/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/follow.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/value.h"

#define BODY_MAX (1u << 20) /* the API refuses more */
#define WAIT_MS  (5 * 60 * 1000)

struct result {
	json_t *names; /* of the services applied */
	size_t done, failed;
	int first; /* exit status of the first failure */
};

static int read_stream(FILE *f, char **ret, size_t *ret_size)
{
	_cleanup_(freep) char *buf = malloc(BODY_MAX + 2);
	size_t n;

	if (!buf)
		return -ENOMEM;
	n = fread(buf, 1, BODY_MAX + 1, f);
	if (ferror(f))
		return -EIO;
	if (n > BODY_MAX)
		return -E2BIG;
	buf[n] = '\0';
	*ret = TAKE_PTR(buf);
	*ret_size = n;
	return 0;
}

int cli_read_file(
	struct cli *cli, const char *file, char **ret, size_t *ret_size, struct weft_err *err)
{
	int r = strcmp(file, "-") == 0 ? read_stream(cli->io.in, ret, ret_size)
				       : weft_read_file(file, BODY_MAX, ret, ret_size);

	if (r == -E2BIG)
		return weft_err_set(
			err, r, "%s: larger than 1 MiB, which weftd does not take", file);
	if (r < 0)
		return weft_err_set(err, r, "%s: %s", file, strerror(-r));
	return 0;
}

static void put_items(struct cli *cli, const json_t *doc, struct result *result)
{
	const json_t *item;
	size_t i;

	json_array_foreach ((json_t *)cli_items(doc), i, item) {
		const char *name = cli_str(item, "name", NULL);
		_cleanup_(freep) char *clean = name ? cli_clean(name, cli->io.utf8) : NULL;
		_cleanup_(freep) char *action =
			cli_clean(cli_str(item, "action", "applied"), false);

		if (!clean || !action)
			continue;
		json_array_append(result->names, json_object_get(item, "name"));
		if (cli->output == CLI_NAME)
			fprintf(cli->io.out, "%s\n", clean);
		else if (cli->output != CLI_JSON)
			fprintf(cli->io.out, "service %s: %s\n", clean, action);
	}
	fflush(cli->io.out);
}

/* Whoever wrote them may count on them. */
static void warn_ignored(struct cli *cli, const char *file, const json_t *doc)
{
	const json_t *key;
	size_t i;

	json_array_foreach (json_object_get(doc, "ignored"), i, key) {
		const char *text = json_string_value(key);
		_cleanup_(freep) char *clean = text ? cli_clean(text, cli->io.utf8) : NULL;

		if (clean)
			cli_say(cli, "warning: %s: %s: has no effect here", file, clean);
	}
}

static int apply_file(
	struct cli *cli, const char *file, bool more, struct result *result, struct weft_err *err)
{
	const char *shown = strcmp(file, "-") == 0 ? "stdin" : file;
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *path = cli_path("/v1/apply?file=", shown, "");
	_cleanup_(freep) char *body = NULL;
	size_t size = 0;
	int r;

	if (!path)
		return -ENOMEM;
	r = cli_read_file(cli, file, &body, &size, err);
	if (r == 0)
		r = cli_call(cli, "POST", path, body, size, &reply, err);
	if (r < 0)
		return r;
	if (cli->output == CLI_JSON)
		cli_put_body(cli, &reply, more);
	put_items(cli, reply.doc, result);
	warn_ignored(cli, shown, reply.doc);
	return 0;
}

static void note_failure(struct cli *cli, struct result *result, int r, struct weft_err *err)
{
	if (!err->code)
		weft_err_set(err, r, "%s", strerror(-r));
	cli_say_error(cli, err);
	if (result->failed++ == 0)
		result->first = weft_err_exit(err->code);
	*err = (struct weft_err){0};
}

static int is_descriptor(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return e->d_name[0] != '.' && n > 5 && strcmp(e->d_name + n - 5, ".json") == 0;
}

/* Every *.json by name; one that is refused does not keep the others away. */
static int apply_directory(
	struct cli *cli, const char *dir, struct result *result, struct weft_err *err)
{
	struct dirent **list = NULL;
	int n = scandir(dir, &list, is_descriptor, alphasort);

	if (n < 0)
		return weft_err_set(err, errno, "%s: %m", dir);
	for (int i = 0; i < n; i++) {
		_cleanup_(freep) char *file = weft_strf("%s/%s", dir, list[i]->d_name);
		int r = file ? apply_file(cli, file, true, result, err) : -ENOMEM;

		if (r < 0)
			note_failure(cli, result, r, err);
		else
			result->done++;
		free(list[i]);
	}
	free(list);
	if (n == 0)
		return weft_err_set(err, ENOENT, "%s: no *.json in this directory", dir);
	return 0;
}

struct waited {
	const char *name;
	char *detail, *hint; /* why it does not run yet, when last asked */
};

static int is_up(
	struct cli *cli, const struct cli_reply *reply, void *userdata, struct weft_err *err)
{
	const char *phase = reply ? cli_str(reply->doc, "phase", "") : "";
	struct waited *w = userdata;

	(void)cli;
	if (!reply)
		return weft_err_set(err, ENOENT, "service %s: deleted meanwhile", w->name);
	if (strcmp(phase, "running") == 0)
		return 1;
	if (strcmp(phase, "failed") != 0 && strcmp(phase, "deleting") != 0) {
		free(w->detail);
		free(w->hint);
		w->detail = strdup(cli_str(reply->doc, "detail", ""));
		w->hint = strdup(cli_str(reply->doc, "hint", ""));
		return 0;
	}
	weft_err_set(err, EIO, "service %s: %s: %s", w->name, phase,
		cli_str(reply->doc, "detail", "no reason is given"));
	if (*cli_str(reply->doc, "hint", ""))
		return weft_err_hint(err, "%s", cli_str(reply->doc, "hint", ""));
	return weft_err_hint(err, "weft service show %s, weft instance list", w->name);
}

static void wait_for(struct cli *cli, const char *name, struct result *result, struct weft_err *err)
{
	_cleanup_(freep) char *path = cli_path("/v1/services/", name, "");
	struct waited w = {.name = name};
	int r = path ? cli_wait(cli, path, WAIT_MS, is_up, &w, err) : -ENOMEM;

	if (r == -ETIMEDOUT) {
		/* The detail names its object: the service or one of its instances. */
		if (w.detail && *w.detail)
			weft_err_set(
				err, r, "does not run yet: %s; the deployment goes on", w.detail);
		else
			weft_err_set(err, r, "service %s: does not run yet; the deployment goes on",
				name);
		if (w.hint && *w.hint)
			weft_err_hint(err, "%s", w.hint);
		else
			weft_err_hint(err, "weft service show %s", name);
	}
	free(w.detail);
	free(w.hint);
	if (r < 0) {
		note_failure(cli, result, r, err);
		return;
	}
	result->done++;
	if (cli->output == CLI_TABLE || cli->output == CLI_WIDE)
		fprintf(cli->io.out, "service %s: running\n", name);
}

int cli_cmd_apply(struct cli *cli, struct weft_err *err)
{
	json_auto_t *names = json_array();
	struct result result = {.names = names};
	const json_t *name;
	struct stat st;
	size_t i;
	int r;

	if (!cli->file) {
		weft_err_set(err, EINVAL, "weft apply: which descriptor?");
		return weft_err_hint(err, "weft apply -f FILE, or -f - for stdin");
	}
	if (strcmp(cli->file, "-") != 0 && stat(cli->file, &st) == 0 && S_ISDIR(st.st_mode))
		r = apply_directory(cli, cli->file, &result, err);
	else
		r = apply_file(cli, cli->file, false, &result, err);
	if (r < 0)
		return r;
	if (cli->wait) {
		result.done = 0;
		json_array_foreach (names, i, name)
			wait_for(cli, json_string_value(name), &result, err);
	}
	return result.failed && result.done ? CLI_EXIT_PARTLY : result.first;
}
