/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/cli.h"

#include <errno.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "loadgen/report.h"

static void print_error(FILE *talk, const struct weft_err *err)
{
	fprintf(talk, "error: %s\n", err->msg);
	if (err->hint[0])
		fprintf(talk, "hint: %s\n", err->hint);
}

/* The document as text, with a newline at its end. */
static char *dump(const struct load_options *o, const struct load_result *r)
{
	json_auto_t *doc = load_report_json(o, r);
	_cleanup_(freep) char *json = NULL;

	if (doc)
		json = json_dumps(doc, LOAD_JSON_FLAGS | JSON_INDENT(2));
	return json ? weft_strf("%s\n", json) : NULL;
}

static int write_output(const struct load_options *o, const char *json, struct weft_err *err)
{
	int r = weft_write_file(o->output, json, strlen(json), 0644);

	if (r == 0)
		return 0;
	weft_err_set(err, r, "output %s: %s", o->output, strerror(-r));
	return weft_err_hint(err, "give --output a file in a directory that you may write");
}

static int print_result(
	const struct load_options *o, const struct load_result *r, FILE *out, struct weft_err *err)
{
	_cleanup_(freep) char *json = NULL;
	int e = 0, saved = 0;

	if (o->output || o->format == LOAD_FORMAT_JSON) {
		json = dump(o, r);
		if (!json)
			return weft_err_set(err, ENOMEM, "the result: out of memory");
	}
	/* The result is printed even if the file cannot be written: it took a while to get it. */
	if (o->output)
		saved = write_output(o, json, err);
	if (o->format == LOAD_FORMAT_JSON)
		e = fputs(json, out) < 0 ? -EIO : 0;
	else
		e = load_report_table(o, r, out);
	if (e == 0 && fflush(out) != 0)
		e = -errno;
	if (saved < 0)
		return saved;
	if (e < 0)
		return weft_err_set(err, e, "the result: %s", strerror(-e));
	return load_series_check(r->series, err);
}

int load_main(int argc, char **argv, FILE *out, FILE *talk)
{
	_cleanup_(load_result_freep) struct load_result *result = NULL;
	struct load_options o;
	struct weft_err err = {0};
	int r;

	r = load_options_parse(argc, argv, out, &o, &err);
	if (r > 0)
		return 0;
	if (r == 0)
		r = load_run(&o, &result, &err);
	if (r == 0)
		r = print_result(&o, result, out, &err);
	if (r < 0) {
		print_error(talk, &err);
		return weft_err_exit(r);
	}
	return o.fail_on_error && load_stats_failed(&result->total) ? 1 : 0;
}
