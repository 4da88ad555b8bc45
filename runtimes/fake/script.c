/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/fake/script.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <jansson.h>
#include <string.h>

#include "ctrl/base/util.h"

static const char *const faults[] = {
	[WEFT_FAULT_NONE] = "none",
	[WEFT_FAULT_FAIL] = "fail",
	[WEFT_FAULT_REFUSE] = "refuse",
	[WEFT_FAULT_DELAY] = "delay",
	[WEFT_FAULT_HANG] = "hang",
	[WEFT_FAULT_SWALLOW] = "swallow",
	[WEFT_FAULT_DIE_BEFORE] = "die-before",
	[WEFT_FAULT_DIE_AFTER] = "die-after",
	[WEFT_FAULT_DIE_ANSWER] = "die-answer",
};

static const struct {
	const char *name;
	int code;
} errors[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"ENOENT", ENOENT}, {"ETIMEDOUT", ETIMEDOUT},
	{"ECONNREFUSED", ECONNREFUSED}, {"EBADMSG", EBADMSG}, {"ENOMEM", ENOMEM},
	{"EEXIST", EEXIST}};

struct rule {
	const char *call, *runtime, *id; /* in the document */
	struct weft_fault_action action;
	int skip, times;
	bool forever;
};

struct weft_fault_script {
	char *path;
	json_t *doc;
	struct rule *rules;
	size_t n;
};

void weft_fault_script_free(struct weft_fault_script *s)
{
	if (!s)
		return;
	json_decref(s->doc);
	free(s->rules);
	free(s->path);
	free(s);
}

static int word(const char *name, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(words[i], name) == 0)
			return (int)i;
	return -EINVAL;
}

static int read_rule(const json_t *v, struct rule *ret, const char **ret_why)
{
	struct rule r = {.runtime = "*", .id = "*", .times = 1, .action.code = EIO};
	const char *what = "", *error = NULL;
	json_int_t ms = 0;
	json_error_t e;
	int fault;

	*ret_why = "must have \"call\" and \"do\", and no keys that are not in fake.h";
	if (json_unpack_ex((json_t *)v, &e, JSON_STRICT, "{s:s, s:s, s?s, s?s, s?i, s?i, s?I, s?s}",
		    "call", &r.call, "do", &what, "runtime", &r.runtime, "id", &r.id, "skip",
		    &r.skip, "times", &r.times, "ms", &ms, "error", &error) < 0)
		return -EINVAL;
	*ret_why = "\"do\" is unknown";
	fault = word(what, faults, ARRAY_SIZE(faults));
	if (fault <= 0)
		return -EINVAL;
	*ret_why = "\"error\" is unknown";
	for (size_t i = 0; error && i < ARRAY_SIZE(errors); i++)
		if (strcmp(errors[i].name, error) == 0) {
			r.action.code = errors[i].code;
			error = NULL;
		}
	if (error)
		return -EINVAL;
	r.forever = r.times == 0;
	r.action.fault = (enum weft_fault)fault;
	r.action.delay_ms = (uint64_t)ms;
	*ret = r;
	return 0;
}

int weft_fault_script_load(const char *path, struct weft_fault_script **ret, struct weft_err *err)
{
	_cleanup_(weft_fault_script_freep) struct weft_fault_script *s = calloc(1, sizeof(*s));
	json_error_t e;

	if (!s)
		return weft_err_set(err, ENOMEM, "faults: out of memory");
	if (path) {
		s->path = strdup(path);
		s->doc = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
		if (!s->doc || !json_is_array(s->doc))
			return weft_err_set(err, EINVAL, "faults: %s:%d: %s", path,
				s->doc ? 1 : e.line, s->doc ? "must be an array" : e.text);
		s->n = json_array_size(s->doc);
		s->rules = calloc(s->n + 1, sizeof(*s->rules));
		if (!s->path || !s->rules)
			return weft_err_set(err, ENOMEM, "faults: out of memory");
	}
	for (size_t i = 0; i < s->n; i++) {
		const char *why;

		if (read_rule(json_array_get(s->doc, i), &s->rules[i], &why) < 0)
			return weft_err_set(err, EINVAL, "faults: %s: rule %zu: %s", path, i, why);
	}
	*ret = TAKE_PTR(s);
	return 0;
}

/* True the first time ever. */
static bool first_time(const struct weft_fault_script *s, const struct rule *rule)
{
	_cleanup_(freep) char *mark = weft_strf("%s.%zu", s->path, (size_t)(rule - s->rules));
	_cleanup_(closep) int fd =
		mark ? open(mark, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;

	return fd >= 0;
}

static bool fits(const struct rule *r, const char *runtime, const char *call, const char *id)
{
	return strcmp(r->call, call) == 0 && fnmatch(r->runtime, runtime, 0) == 0 &&
	       fnmatch(r->id, id ? id : "", 0) == 0 && (r->forever || r->times > 0);
}

struct weft_fault_action weft_fault_next(
	struct weft_fault_script *s, const char *runtime, const char *call, const char *id)
{
	const struct weft_fault_action none = {0};

	for (size_t i = 0; i < s->n; i++) {
		struct rule *r = &s->rules[i];

		if (!fits(r, runtime, call, id))
			continue;
		if (r->skip > 0) {
			r->skip--;
			return none;
		}
		if (r->action.fault >= WEFT_FAULT_DIE_BEFORE && !first_time(s, r)) {
			r->times = 0;
			r->forever = false;
			continue;
		}
		if (!r->forever)
			r->times--;
		return r->action;
	}
	return none;
}
