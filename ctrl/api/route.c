/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/api/route.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/internal.h"
#include "ctrl/base/util.h"

#define MAX_NAME 160

typedef int (*list_fn)(struct weft_engine *e, json_t **ret, struct weft_err *err);
typedef int (*item_fn)(struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err);
typedef int (*request_fn)(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err);

int api_answer(struct weft_api_response *ret, int status, json_t *doc)
{
	ret->status = status;
	ret->type = "application/json";
	ret->body = json_dumps(doc, JSON_COMPACT);
	ret->version = (uint64_t)json_integer_value(json_object_get(doc, "version"));
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
	if (api_answer(ret, status ? status : weft_err_http(err->code),
		    json_pack("{s:o}", "error", e)) < 0)
		ret->body = strdup("{}");
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
	{"POST", "/v1/apply", 200, NULL, NULL, api_apply},
	{"GET", "/v1/services", 200, weft_engine_services, NULL, NULL},
	{"GET", "/v1/services/*", 200, NULL, weft_engine_service, NULL},
	{"DELETE", "/v1/services/*", 202, NULL, weft_engine_service_delete, NULL},
	{"POST", "/v1/services/*/settings", 200, NULL, NULL, api_settings},
	{"POST", "/v1/services/*/scale", 200, NULL, NULL, api_scale},
	{"POST", "/v1/services/*/weights", 200, NULL, NULL, api_weights},
	{"DELETE", "/v1/services/*/weights", 200, NULL, weft_engine_weights_reset, NULL},
	{"GET", "/v1/instances", 200, weft_engine_instances, NULL, NULL},
	{"POST", "/v1/instances", 201, NULL, NULL, api_attach},
	{"DELETE", "/v1/instances/*", 200, NULL, weft_engine_detach, NULL},
	{"GET", "/v1/instances/*", 200, NULL, weft_engine_instance, NULL},
	{"GET", "/v1/instances/*/logs", 200, NULL, NULL, api_logs},
	{"POST", "/v1/instances/*/pause", 200, NULL, NULL, api_pause},
	{"POST", "/v1/instances/*/resume", 200, NULL, NULL, api_resume},
	{"POST", "/v1/instances/*/exec", 200, NULL, NULL, api_exec},
	{"GET", "/v1/images", 200, NULL, NULL, api_images},
	{"POST", "/v1/images", 200, NULL, NULL, api_image_pull},
	{"DELETE", "/v1/images", 200, NULL, NULL, api_image_remove},
	{"POST", "/v1/images/prune", 200, NULL, NULL, api_images_prune},
	{"GET", "/v1/export", 200, weft_engine_export, NULL, NULL},
	{"GET", "/v1/peers", 200, weft_engine_peers, NULL, NULL},
	{"POST", "/v1/peers", 201, NULL, NULL, api_peer},
	{"GET", "/v1/peers/*", 200, NULL, weft_engine_peer, NULL},
	{"DELETE", "/v1/peers/*", 200, NULL, weft_engine_peer_remove, NULL},
	{"POST", "/v1/peers/*/instances", 200, NULL, NULL, api_peer_import},
	{"POST", "/v1/swaps", 201, NULL, NULL, api_swap},
	{"GET", "/v1/swaps", 200, weft_engine_swaps, NULL, NULL},
	{"GET", "/v1/swaps/*", 200, NULL, weft_engine_swap, NULL},
	{"POST", "/v1/swaps/*/abort", 202, NULL, weft_engine_swap_abort, NULL},
	{"POST", "/v1/swaps/*/pause", 200, NULL, weft_engine_swap_pause, NULL},
	{"POST", "/v1/swaps/*/resume", 200, NULL, weft_engine_swap_resume, NULL},
	{"POST", "/v1/swaps/*/rollback", 202, NULL, weft_engine_swap_rollback, NULL},
	{"GET", "/v1/events", 200, NULL, NULL, api_events},
	{"GET", "/v1/watch", 200, NULL, NULL, api_watch},
	{"GET", "/v1/dp/lb", 200, NULL, NULL, api_dp_lb},
	{"GET", "/v1/dp/flows", 200, NULL, NULL, api_dp_flows},
	{"GET", "/v1/dp/drops", 200, weft_engine_dp_drops, NULL, NULL},
	{"GET", "/v1/dp/stats", 200, NULL, NULL, api_dp_stats},
	{"GET", "/v1/trace/*", 200, NULL, NULL, api_trace},
	{"GET", "/", 200, NULL, NULL, api_web},
	{"GET", "/web/*", 200, NULL, NULL, api_web},
	{"GET", "/metrics", 200, NULL, NULL, api_metrics},
	{"GET", "/healthz", 200, NULL, NULL, api_healthz},
	{"GET", "/readyz", 200, NULL, NULL, api_readyz},
};

/* Beside GET, which needs READ, and all else, which needs ADMIN. */
static const struct {
	const char *method, *pattern;
	enum weft_api_role role;
} others[] = {
	{"GET", "/healthz", WEFT_API_NOBODY},
	{"GET", "/", WEFT_API_NOBODY}, /* nothing but the page, which then asks for a token */
	{"GET", "/web/*", WEFT_API_NOBODY},
	{"POST", "/v1/services/*/scale", WEFT_API_OPERATE},
	{"POST", "/v1/services/*/weights", WEFT_API_OPERATE},
	{"DELETE", "/v1/services/*/weights", WEFT_API_OPERATE},
	{"POST", "/v1/instances/*/pause", WEFT_API_OPERATE},
	{"POST", "/v1/instances/*/resume", WEFT_API_OPERATE},
	{"POST", "/v1/swaps", WEFT_API_OPERATE},
	{"POST", "/v1/swaps/*/abort", WEFT_API_OPERATE},
	{"POST", "/v1/swaps/*/pause", WEFT_API_OPERATE},
	{"POST", "/v1/swaps/*/resume", WEFT_API_OPERATE},
	{"POST", "/v1/swaps/*/rollback", WEFT_API_OPERATE},
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

enum weft_api_role weft_api_needs(const char *method, const char *path)
{
	char name[MAX_NAME];

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (strcmp(others[i].method, method) == 0 && matches(others[i].pattern, path, name))
			return others[i].role;
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++)
		if (strcmp(routes[i].method, method) == 0 && matches(routes[i].pattern, path, name))
			return strcmp(method, "GET") == 0 ? WEFT_API_READ : WEFT_API_ADMIN;
	return WEFT_API_READ;
}

static void refuse(const struct weft_api_request *q, const char *methods, struct weft_err *err)
{
	if (methods[0]) {
		weft_err_set(err, EINVAL, "%.20s %.200s: no such method here", q->method, q->path);
		weft_err_hint(err, "%s", methods);
	} else {
		weft_err_set(err, ENOENT, "%.20s %.200s: no such resource", q->method, q->path);
		weft_err_hint(err, "a name has no '/', and less than %d characters", MAX_NAME);
	}
}

/* The kind of the resource that the path names, or -1. */
static int kind_of(const char *pattern)
{
	for (int kind = 0; kind < WEFT_ENGINE_KINDS; kind++) {
		char prefix[32];

		snprintf(prefix, sizeof(prefix), "/v1/%ss/*",
			weft_engine_kind_name((enum weft_engine_kind)kind));
		if (strncmp(pattern, prefix, strlen(prefix)) == 0)
			return kind;
	}
	return -1;
}

/* Its body says what it is about, and whoever reads that looks at the version, too. */
static bool looks_itself(const struct route *route)
{
	return route->request == api_apply || route->request == api_swap ||
	       route->request == api_peer;
}

/* If-Match: 12, "12" as ETags are written, or *. */
static int read_if_match(const char *text, uint64_t *ret, struct weft_err *err)
{
	char number[24] = "";
	size_t n = strlen(text);

	if (strcmp(text, "*") == 0)
		return 0;
	if (n > 2 && text[0] == '"' && text[n - 1] == '"' && n - 2 < sizeof(number))
		memcpy(number, text + 1, n - 2);
	else if (n < sizeof(number))
		memcpy(number, text, n);
	if (weft_parse_u64(number, 0, INT64_MAX, ret) == 0)
		return 0;
	weft_err_set(err, EINVAL, "If-Match: %.40s is not a version", text);
	return weft_err_hint(err, "one number, as a resource's \"version\" is: If-Match: \"12\"");
}

int api_unchanged(struct weft_engine *e, const struct weft_api_request *q,
	enum weft_engine_kind kind, const char *name, struct weft_err *err)
{
	if (q->version == WEFT_ENGINE_ANY_VERSION)
		return 0;
	return weft_engine_unchanged(e, kind, name, q->version, err);
}

static int check_version(struct weft_engine *e, const struct route *route, const char *name,
	struct weft_api_request *q, struct weft_err *err)
{
	int kind = kind_of(route->pattern), r;

	q->version = WEFT_ENGINE_ANY_VERSION;
	if (!q->if_match || strcmp(q->method, "GET") == 0)
		return 0;
	r = read_if_match(q->if_match, &q->version, err);
	if (r < 0 || q->version == WEFT_ENGINE_ANY_VERSION || looks_itself(route))
		return r;
	if (kind < 0)
		return weft_err_set(err, EINVAL,
			"If-Match: %.20s %.200s is about no resource that has a version", q->method,
			q->path);
	return api_unchanged(e, q, (enum weft_engine_kind)kind, name, err);
}

/* What would change something that is to be kept. A command in an instance is none of that, and a
 * dry run changes nothing. */
static bool changes(const struct route *route, const struct weft_api_request *q)
{
	const char *dry_run = q->query ? q->query(q->userdata, "dry_run") : NULL;

	return strcmp(route->method, "GET") != 0 && route->request != api_exec &&
	       !(dry_run && strcmp(dry_run, "1") == 0);
}

static int run(struct weft_engine *e, const struct route *route, const char *name,
	const struct weft_api_request *request, struct weft_api_response *ret, struct weft_err *err)
{
	struct weft_api_request copy = *request, *q = &copy;
	json_t *doc = NULL;
	int r = check_version(e, route, name, q, err);

	if (r == 0 && changes(route, q))
		r = weft_engine_writable(e, err);
	if (r < 0)
		return r;
	if (route->request)
		return route->request(e, q, name, ret, err);
	r = route->list ? route->list(e, &doc, err) : route->item(e, name, &doc, err);
	return r < 0 ? r : api_answer(ret, route->status, doc);
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
