/* SPDX-License-Identifier: Apache-2.0 */
/* What apply would change, as weftd says, and the services of a descriptor removed. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/descriptor.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/value.h"

#define TROUBLE 2 /* as diff(1) says it: 1 is for differences */

struct differences {
	size_t n;         /* services that would change */
	uint64_t version; /* as of which that is so: the oldest answer's */
};

static char *value_text(const json_t *value)
{
	return value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : strdup("none");
}

char *cli_fmt_change(const struct cli *cli, const json_t *change)
{
	_cleanup_(freep) char *from = value_text(json_object_get(change, "from"));
	_cleanup_(freep) char *to = value_text(json_object_get(change, "to"));
	_cleanup_(freep) char *text = NULL;

	if (!from || !to)
		return NULL;
	text = weft_strf(
		"%s %s %s %s", cli_str(change, "key", "?"), from, cli->io.utf8 ? "→" : "->", to);
	return text ? cli_clean(text, cli->io.utf8) : NULL;
}

static void put_change(const struct cli *cli, const json_t *change)
{
	_cleanup_(freep) char *text = cli_fmt_change(cli, change);

	if (text)
		fprintf(cli->io.out, "  %s\n", text);
}

static void put_service(struct cli *cli, const json_t *item)
{
	_cleanup_(freep) char *name = cli_clean(cli_str(item, "name", "?"), cli->io.utf8);
	_cleanup_(freep) char *action = cli_clean(cli_str(item, "action", "changed"), false);
	const json_t *change;
	size_t i;

	if (!name || !action)
		return;
	if (cli->output == CLI_NAME) {
		fprintf(cli->io.out, "%s\n", name);
		return;
	}
	fprintf(cli->io.out, "service %s: would be %s\n", name, action);
	json_array_foreach (json_object_get(item, "changes"), i, change)
		put_change(cli, change);
}

static int diff_one(struct cli *cli, const char *shown, const char *body, size_t size, bool more,
	void *userdata, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	_cleanup_(freep) char *path = cli_path("/v1/apply?dry_run=1&file=", shown, "");
	int r = path ? cli_call(cli, "POST", path, body, size, &reply, err) : -ENOMEM;
	struct differences *d = userdata;
	const json_t *item;
	size_t i;

	if (r < 0)
		return r;
	if (cli->output == CLI_JSON)
		cli_put_body(cli, &reply, more);
	if (!d->version || d->version > cli_u64(reply.doc, "version"))
		d->version = cli_u64(reply.doc, "version");
	json_array_foreach ((json_t *)cli_items(reply.doc), i, item) {
		if (strcmp(cli_str(item, "action", "unchanged"), "unchanged") == 0)
			continue;
		d->n++;
		if (cli->output != CLI_JSON)
			put_service(cli, item);
	}
	return 0;
}

int cli_cmd_diff(struct cli *cli, struct weft_err *err)
{
	struct differences d = {0};
	struct cli_outcome outcome = {0};
	int r = cli_each_descriptor(cli, "diff", diff_one, &d, &outcome, err);

	if (r < 0 && weft_err_exit(err->code) == 1) {
		cli_say_error(cli, err);
		return TROUBLE;
	}
	if (r < 0)
		return r;
	if (outcome.failed)
		return outcome.first == 1 ? TROUBLE : outcome.first;
	if (d.n > 0)
		cli_say(cli, "apply just that: weft apply -f %s --if-version %" PRIu64, cli->file,
			d.version);
	return d.n > 0;
}

/* --- delete --------------------------------------------------------------------------------------
 */

/* As weftd names it (sched/sla.h). */
static char *service_name(const json_t *app, const json_t *service)
{
	const char *a = cli_str(app, "application_name", NULL);
	const char *ans = cli_str(app, "application_namespace", "default");
	const char *s = cli_str(service, "microservice_name", NULL);
	const char *sns = cli_str(service, "microservice_namespace", "default");

	if (!a || !s)
		return NULL;
	if (strcmp(ans, "default") == 0 && strcmp(sns, "default") == 0)
		return weft_strf("%s.%s", a, s);
	return weft_strf("%s.%s.%s.%s", a, ans, s, sns);
}

/* One that is not there is gone already. */
static int delete_service(struct cli *cli, const char *name, bool more, struct weft_err *err)
{
	int r = cli_delete_service(cli, name, more, err);

	if (r == -ENOENT) {
		cli_say(cli, "service %s: not there", name);
		*err = (struct weft_err){0};
		r = 0;
	}
	return r;
}

static int delete_all(struct cli *cli, const char *shown, const json_t *doc, bool more,
	struct cli_outcome *o, struct weft_err *err)
{
	const json_t *apps = json_object_get(doc, "applications"), *app, *service;
	size_t a, s, n = 0;

	json_array_foreach ((json_t *)apps, a, app)
		json_array_foreach (json_object_get(app, "microservices"), s, service) {
			_cleanup_(freep) char *name = service_name(app, service);
			int r = name ? delete_service(cli, name, more, err) : -EINVAL;

			n++;
			if (!name)
				weft_err_set(err, EINVAL, "%s: a service without a name", shown);
			if (r < 0)
				cli_note_failure(cli, o, r, err);
			else
				o->done++;
		}
	return n ? 0 : weft_err_set(err, EINVAL, "%s: no service in this descriptor", shown);
}

static int delete_one(struct cli *cli, const char *shown, const char *body, size_t size, bool more,
	void *userdata, struct weft_err *err)
{
	json_error_t je;
	json_auto_t *doc = json_loadb(body, size, JSON_REJECT_DUPLICATES, &je);

	if (!doc)
		return weft_err_set(
			err, EBADMSG, "%s:%d:%d: %s", shown, je.line, je.column, je.text);
	return delete_all(cli, shown, doc, more, userdata, err);
}

int cli_cmd_delete(struct cli *cli, struct weft_err *err)
{
	struct cli_outcome files = {0}, services = {0};
	int r = cli_each_descriptor(cli, "delete", delete_one, &services, &files, err);

	if (r < 0)
		return r;
	services.failed += files.failed;
	services.first = services.first ? services.first : files.first;
	return cli_exit_status(&services);
}
