/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/api/route.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/util.h"

#define MAX_NAME 160

typedef int (*list_fn)(struct weft_engine *e, json_t **ret, struct weft_err *err);
typedef int (*item_fn)(struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err);
typedef int (*request_fn)(struct weft_engine *e, const struct weft_api_request *request,
	const char *name, struct weft_api_response *ret, struct weft_err *err);

static int answer(struct weft_api_response *ret, int status, json_t *doc)
{
	ret->status = status;
	ret->type = "application/json";
	ret->body = json_dumps(doc, JSON_COMPACT);
	json_decref(doc);
	return ret->body ? 0 : -ENOMEM;
}

void weft_api_error(const struct weft_err *err, int status, struct weft_api_response *ret)
{
	struct weft_err text = *err;
	json_t *e = json_pack("{s:s, s:s}", "code", weft_err_word(err->code), "message",
		weft_text_clean_line(text.msg));

	if (text.hint[0])
		json_object_set_new(e, "hint", json_string(weft_text_clean_line(text.hint)));
	if (answer(ret, status ? status : weft_err_http(err->code),
		    json_pack("{s:o}", "error", e)) < 0)
		ret->body = strdup("{}");
}

static int do_apply(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	const char *file = q->query(q->userdata, "file");
	json_t *doc = NULL;
	int r;

	(void)name;
	r = weft_engine_apply(e, file ? file : "descriptor", q->body, q->body_size, &doc, err);
	return r < 0 ? r : answer(ret, 200, doc);
}

static int do_logs(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	const char *tail = q->query(q->userdata, "tail");
	uint64_t lines = 100;
	int r;

	if (tail && weft_parse_u64(tail, 0, 1000000, &lines) < 0)
		return weft_err_set(err, EINVAL, "tail: \"%.40s\" is not a number of lines", tail);
	r = weft_engine_logs(e, name, (unsigned)lines, &ret->body, err);
	if (r < 0)
		return r;
	ret->status = 200;
	ret->type = "text/plain; charset=utf-8";
	return 0;
}

static int bad_key(const char *key, const char *wants, struct weft_err *err)
{
	return weft_err_set(err, EINVAL, "swap: %s: must be %s", key, wants);
}

static int get_number(const json_t *doc, const char *key, int64_t *ret, struct weft_err *err)
{
	const json_t *v = json_object_get(doc, key);

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return bad_key(key, "a whole number", err);
	*ret = json_integer_value(v);
	return 0;
}

static int get_text(const json_t *doc, const char *key, const char **ret, struct weft_err *err)
{
	const json_t *v = json_object_get(doc, key);

	if (v && !json_is_string(v))
		return bad_key(key, "a string", err);
	if (!v && !*ret)
		return 0;
	if (!v)
		return bad_key(key, "given", err);
	*ret = json_string_value(v);
	return 0;
}

/* A swap with a misspelt key would be another swap than the one that was meant. */
static int check_keys(json_t *doc, const char *what, const char *const *keys, struct weft_err *err)
{
	char known[256] = "";
	const char *key;
	json_t *value;

	for (size_t i = 0; keys[i]; i++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
			i ? ", " : "", keys[i]);
	json_object_foreach (doc, key, value) {
		size_t i = 0;

		while (keys[i] && strcmp(key, keys[i]) != 0)
			i++;
		if (keys[i])
			continue;
		weft_err_set(err, EINVAL, "%s: unknown key \"%.40s\"", what, key);
		return weft_err_hint(err, "%s", known);
	}
	return 0;
}

static int get_guard(json_t *doc, struct weft_swap_request *swap, struct weft_err *err)
{
	static const char *const keys[] = {
		"min_requests", "error_percent", "latency_percent", "probe_failures", NULL};
	int64_t *const fields[] = {&swap->guard_requests, &swap->guard_errors, &swap->guard_latency,
		&swap->guard_probes};
	json_t *guard = json_object_get(doc, "guard");
	int r;

	if (!guard)
		return 0;
	if (!json_is_object(guard))
		return bad_key("guard", "an object", err);
	r = check_keys(guard, "swap: guard", keys, err);
	for (size_t i = 0; i < ARRAY_SIZE(fields) && r == 0; i++)
		r = get_number(guard, keys[i], fields[i], err);
	return r;
}

static int get_swap(json_t *doc, struct weft_swap_request *swap, struct weft_err *err)
{
	static const char *const keys[] = {"service", "to", "strategy", "steps", "duration_ms",
		"drain_ms", "hold_ms", "at_a_time", "guard", NULL};
	int r = check_keys(doc, "swap", keys, err);

	if (r == 0)
		r = get_text(doc, "service", &swap->service, err);
	if (r == 0)
		r = get_text(doc, "to", &swap->to, err);
	if (r == 0)
		r = get_text(doc, "strategy", &swap->strategy, err);
	if (r == 0)
		r = get_text(doc, "steps", &swap->steps, err);
	if (r == 0)
		r = get_number(doc, "duration_ms", &swap->duration_ms, err);
	if (r == 0)
		r = get_number(doc, "drain_ms", &swap->drain_ms, err);
	if (r == 0)
		r = get_number(doc, "hold_ms", &swap->hold_ms, err);
	if (r == 0)
		r = get_number(doc, "at_a_time", &swap->at_a_time, err);
	return r < 0 ? r : get_guard(doc, swap, err);
}

static int do_swap(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	struct weft_swap_request swap = WEFT_SWAP_REQUEST_DEFAULT;
	json_error_t je;
	json_auto_t *doc = json_loadb(q->body, q->body_size, JSON_REJECT_DUPLICATES, &je);
	json_t *view = NULL;
	int r;

	(void)name;
	if (!doc)
		return weft_err_set(err, EBADMSG, "request: line %d column %d: %s", je.line,
			je.column, je.text);
	if (!json_is_object(doc))
		return weft_err_set(err, EINVAL, "request: must be an object");
	r = get_swap(doc, &swap, err);
	if (r == 0)
		r = weft_engine_swap_start(e, &swap, &view, err);
	return r < 0 ? r : answer(ret, 201, view);
}

/* A pattern's '*' is one path segment, handed over as the name. */
static const struct route {
	const char *method, *pattern;
	int status;
	list_fn list;
	item_fn item;
	request_fn request;
} routes[] = {
	{"GET", "/v1/status", 200, weft_engine_status, NULL, NULL},
	{"POST", "/v1/apply", 200, NULL, NULL, do_apply},
	{"GET", "/v1/services", 200, weft_engine_services, NULL, NULL},
	{"GET", "/v1/services/*", 200, NULL, weft_engine_service, NULL},
	{"DELETE", "/v1/services/*", 202, NULL, weft_engine_service_delete, NULL},
	{"GET", "/v1/instances", 200, weft_engine_instances, NULL, NULL},
	{"GET", "/v1/instances/*", 200, NULL, weft_engine_instance, NULL},
	{"GET", "/v1/instances/*/logs", 200, NULL, NULL, do_logs},
	{"POST", "/v1/swaps", 201, NULL, NULL, do_swap},
	{"GET", "/v1/swaps", 200, weft_engine_swaps, NULL, NULL},
	{"GET", "/v1/swaps/*", 200, NULL, weft_engine_swap, NULL},
	{"POST", "/v1/swaps/*/abort", 202, NULL, weft_engine_swap_abort, NULL},
	{"POST", "/v1/swaps/*/pause", 200, NULL, weft_engine_swap_pause, NULL},
	{"POST", "/v1/swaps/*/resume", 200, NULL, weft_engine_swap_resume, NULL},
	{"POST", "/v1/swaps/*/rollback", 202, NULL, weft_engine_swap_rollback, NULL},
	{"GET", "/v1/dp/lb", 200, weft_engine_dp_lb, NULL, NULL},
	{"GET", "/v1/dp/flows", 200, weft_engine_dp_flows, NULL, NULL},
	{"GET", "/v1/dp/drops", 200, weft_engine_dp_drops, NULL, NULL},
	{"GET", "/v1/dp/stats", 200, weft_engine_dp_stats, NULL, NULL},
};

static bool matches(const char *pattern, const char *path, char name[MAX_NAME])
{
	while (*pattern && *path) {
		if (*pattern == '*') {
			size_t n = strcspn(path, "/");

			if (n == 0 || n >= MAX_NAME)
				return false;
			memcpy(name, path, n);
			name[n] = '\0';
			path += n;
			pattern++;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return *pattern == *path;
}

static void refuse(const struct weft_api_request *q, const char *methods, struct weft_err *err)
{
	if (methods[0]) {
		weft_err_set(err, EINVAL, "%.20s %.200s: no such method here", q->method, q->path);
		weft_err_hint(err, "%s", methods);
	} else {
		weft_err_set(err, ENOENT, "%.20s %.200s: no such resource", q->method, q->path);
	}
}

static int run(struct weft_engine *e, const struct route *route, const char *name,
	const struct weft_api_request *q, struct weft_api_response *ret, struct weft_err *err)
{
	json_t *doc = NULL;
	int r;

	if (route->request)
		return route->request(e, q, name, ret, err);
	r = route->list ? route->list(e, &doc, err) : route->item(e, name, &doc, err);
	return r < 0 ? r : answer(ret, route->status, doc);
}

void weft_api_route(struct weft_engine *engine, const struct weft_api_request *request,
	struct weft_api_response *ret)
{
	const struct route *found = NULL;
	struct weft_err err = {0};
	char name[MAX_NAME] = "";
	char methods[64] = "";
	int r;

	*ret = (struct weft_api_response){0};
	for (size_t i = 0; i < ARRAY_SIZE(routes) && !found; i++) {
		if (!matches(routes[i].pattern, request->path, name))
			continue;
		snprintf(methods + strlen(methods), sizeof(methods) - strlen(methods), "%s%s",
			methods[0] ? ", " : "", routes[i].method);
		if (strcmp(routes[i].method, request->method) == 0)
			found = &routes[i];
	}
	if (!found) {
		refuse(request, methods, &err);
		weft_api_error(&err, methods[0] ? 405 : 404, ret);
		return;
	}
	r = run(engine, found, name, request, ret, &err);
	if (r < 0) {
		if (!err.code)
			weft_err_set(&err, r, "%s %.200s: %s", request->method, request->path,
				strerror(-r));
		weft_api_error(&err, 0, ret);
	}
}
