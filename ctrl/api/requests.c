/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that carry more than a name: read, checked, handed to the engine. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/internal.h"
#include "ctrl/base/util.h"
#include "ctrl/engine/events.h"

int api_apply(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	const char *file = q->query(q->userdata, "file");
	const char *dry_run = q->query(q->userdata, "dry_run");
	struct weft_engine_descriptor d = {
		.file = file ? file : "descriptor",
		.text = q->body,
		.size = q->body_size,
		.version = q->version,
		.dry_run = dry_run && strcmp(dry_run, "1") == 0,
	};
	json_t *doc = NULL;
	int r = 0;

	(void)name;
	if (dry_run && !d.dry_run && strcmp(dry_run, "0") != 0)
		r = weft_err_set(err, EINVAL, "dry_run: \"%.40s\" is neither 0 nor 1", dry_run);
	if (r == 0)
		r = weft_engine_apply(e, &d, &doc, err);
	return r < 0 ? r : api_answer(ret, 200, doc);
}

int api_logs(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	const char *tail = q->query(q->userdata, "tail");
	const char *after = q->query(q->userdata, "after");
	uint64_t lines = 100;
	json_t *doc = NULL;
	int r;

	if (tail && weft_parse_u64(tail, 0, 1000000, &lines) < 0)
		return weft_err_set(err, EINVAL, "tail: \"%.40s\" is not a number of lines", tail);
	if (after) {
		r = weft_engine_logs_after(e, name, after, (unsigned)lines, &doc, err);
		return r < 0 ? r : api_answer(ret, 200, doc);
	}
	r = weft_engine_logs(e, name, (unsigned)lines, &ret->body, err);
	if (r < 0)
		return r;
	ret->status = 200;
	ret->type = "text/plain; charset=utf-8";
	return 0;
}

static int get_number(const struct weft_api_request *q, const char *key, uint64_t max,
	uint64_t *ret, struct weft_err *err)
{
	const char *text = q->query(q->userdata, key);

	if (text && weft_parse_u64(text, 0, max, ret) < 0)
		return weft_err_set(err, EINVAL, "%s: \"%.40s\" is not a number from 0 to %llu",
			key, text, (unsigned long long)max);
	return text != NULL;
}

static json_t *events_after(const struct weft_events *l, uint64_t since)
{
	json_t *items = json_array();

	for (uint64_t seq = weft_events_next(l, since); seq <= weft_events_last(l); seq++) {
		const char *line = weft_events_line(l, seq);

		if (line)
			json_array_append_new(items, json_loads(line, 0, NULL));
	}
	return json_pack("{s:o, s:I, s:I}", "items", items, "first",
		(json_int_t)weft_events_first(l), "last", (json_int_t)weft_events_last(l));
}

int api_events(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	uint64_t since = 0, wait = 0;
	int r = get_number(q, "since", INT64_MAX, &since, err), follow;

	(void)name;
	follow = r < 0 ? r : get_number(q, "wait", WEFT_API_MAX_FOLLOW, &wait, err);
	if (follow < 0)
		return follow;
	if (!follow)
		return api_answer(ret, 200, events_after(weft_engine_events(e), since));
	*ret = (struct weft_api_response){
		.status = 200,
		.type = "application/x-ndjson",
		.follow = true,
		.since = since,
		.follow_s = (unsigned)wait,
	};
	return 0;
}

/* kind=service,swap; all when it is not given */
static int get_kinds(const struct weft_api_request *q, unsigned *ret, struct weft_err *err)
{
	const char *text = q->query(q->userdata, "kind");
	unsigned kinds = 0;

	for (const char *p = text; p;) {
		size_t n = strcspn(p, ",");
		int kind = weft_engine_kind_parse(p, n);

		if (kind < 0) {
			weft_err_set(err, EINVAL, "kind: there is no kind \"%.*s\"",
				(int)(n < 40 ? n : 40), p);
			return weft_err_hint(
				err, "some of service, instance, swap, peer: kind=service,swap");
		}
		kinds |= 1U << kind;
		p = p[n] ? p + n + 1 : NULL;
	}
	*ret = text ? kinds : (1U << WEFT_ENGINE_KINDS) - 1;
	return 0;
}

int api_watch(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	uint64_t since = 0, wait = 0;
	unsigned kinds = 0;
	int from = get_number(q, "since", INT64_MAX, &since, err), r;

	(void)name;
	r = from < 0 ? from : get_number(q, "wait", WEFT_API_MAX_FOLLOW, &wait, err);
	if (r >= 0)
		r = get_kinds(q, &kinds, err);
	if (r >= 0 && from > 0)
		r = weft_engine_watch_check(e, since, err);
	if (r < 0)
		return r;
	*ret = (struct weft_api_response){
		.status = 200,
		.type = "application/x-ndjson",
		.follow = true,
		.since = since,
		.follow_s = (unsigned)wait,
		.kinds = kinds,
		.list = from == 0,
	};
	return 0;
}

/* {"weights": {"shop.web.1": 70, "2": 30}}; the names stay those of doc. */
static int get_weights(
	const json_t *doc, struct weft_engine_weight **ret, size_t *ret_n, struct weft_err *err)
{
	const json_t *weights = json_object_get(doc, "weights");
	struct weft_engine_weight *w;
	const char *name;
	json_t *value;
	size_t n = 0;

	if (!json_is_object(weights) || json_object_size(doc) != 1) {
		weft_err_set(err, EINVAL, "weights: must be an object with the key weights alone");
		return weft_err_hint(err, "{\"weights\": {\"shop.web.1\": 70}}");
	}
	w = calloc(json_object_size(weights) + 1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	json_object_foreach ((json_t *)weights, name, value) {
		json_int_t v = json_integer_value(value);

		if (!json_is_integer(value) || v < 0 || v > UINT32_MAX) {
			free(w);
			return weft_err_set(err, EINVAL,
				"weights: %.80s: must be a whole number from 0 on", name);
		}
		w[n++] = (struct weft_engine_weight){name, (uint32_t)v};
	}
	*ret = w;
	*ret_n = n;
	return 0;
}

static int load_body(const struct weft_api_request *q, json_t **ret, struct weft_err *err)
{
	json_error_t je;
	json_t *doc = json_loadb(q->body, q->body_size, JSON_REJECT_DUPLICATES, &je);

	if (!doc)
		return weft_err_set(err, EBADMSG, "request: line %d column %d: %s", je.line,
			je.column, je.text);
	if (!json_is_object(doc)) {
		json_decref(doc);
		return weft_err_set(err, EINVAL, "request: must be an object");
	}
	*ret = doc;
	return 0;
}

int api_weights(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	_cleanup_(freep) struct weft_engine_weight *w = NULL;
	json_auto_t *doc = NULL;
	json_t *view = NULL;
	size_t n = 0;
	int r = load_body(q, &doc, err);

	if (r == 0)
		r = get_weights(doc, &w, &n, err);
	if (r == 0)
		r = weft_engine_weights_set(e, name, w, n, &view, err);
	return r < 0 ? r : api_answer(ret, 200, view);
}

static int bad_key(const char *what, const char *key, const char *wants, struct weft_err *err)
{
	return weft_err_set(err, EINVAL, "%s: %s: must be %s", what, key, wants);
}

static int get_int(
	const json_t *doc, const char *what, const char *key, int64_t *ret, struct weft_err *err)
{
	const json_t *v = json_object_get(doc, key);

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return bad_key(what, key, "a whole number", err);
	*ret = json_integer_value(v);
	return 0;
}

static int get_text(const json_t *doc, const char *what, const char *key, const char **ret,
	struct weft_err *err)
{
	const json_t *v = json_object_get(doc, key);

	if (v && !json_is_string(v))
		return bad_key(what, key, "a string", err);
	if (!v && !*ret)
		return 0;
	if (!v)
		return bad_key(what, key, "given", err);
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
		return bad_key("swap", "guard", "an object", err);
	r = check_keys(guard, "swap: guard", keys, err);
	for (size_t i = 0; i < ARRAY_SIZE(fields) && r == 0; i++)
		r = get_int(guard, "swap", keys[i], fields[i], err);
	return r;
}

static int get_swap(json_t *doc, struct weft_swap_request *swap, struct weft_err *err)
{
	static const char *const keys[] = {"service", "to", "strategy", "steps", "duration_ms",
		"drain_ms", "hold_ms", "at_a_time", "guard", NULL};
	int r = check_keys(doc, "swap", keys, err);

	if (r == 0)
		r = get_text(doc, "swap", "service", &swap->service, err);
	if (r == 0)
		r = get_text(doc, "swap", "to", &swap->to, err);
	if (r == 0)
		r = get_text(doc, "swap", "strategy", &swap->strategy, err);
	if (r == 0)
		r = get_text(doc, "swap", "steps", &swap->steps, err);
	if (r == 0)
		r = get_int(doc, "swap", "duration_ms", &swap->duration_ms, err);
	if (r == 0)
		r = get_int(doc, "swap", "drain_ms", &swap->drain_ms, err);
	if (r == 0)
		r = get_int(doc, "swap", "hold_ms", &swap->hold_ms, err);
	if (r == 0)
		r = get_int(doc, "swap", "at_a_time", &swap->at_a_time, err);
	return r < 0 ? r : get_guard(doc, swap, err);
}

int api_settings(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	static const char *const keys[] = {"shortcut", NULL};
	struct weft_engine_settings set = {.shortcut = -1};
	json_auto_t *doc = NULL;
	const json_t *v;
	json_t *view = NULL;
	int r = load_body(q, &doc, err);

	if (r == 0)
		r = check_keys(doc, "settings", keys, err);
	v = r == 0 ? json_object_get(doc, "shortcut") : NULL;
	if (v && !json_is_boolean(v))
		r = bad_key("settings", "shortcut", "true or false", err);
	else if (v)
		set.shortcut = json_is_true(v);
	if (r == 0)
		r = weft_engine_service_set(e, name, &set, &view, err);
	return r < 0 ? r : api_answer(ret, 200, view);
}

int api_swap(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	struct weft_swap_request swap = WEFT_SWAP_REQUEST_DEFAULT;
	json_auto_t *doc = NULL;
	json_t *view = NULL;
	int r = load_body(q, &doc, err);

	(void)name;
	if (r == 0)
		r = get_swap(doc, &swap, err);
	if (r == 0)
		r = api_unchanged(e, q, WEFT_ENGINE_SERVICE, swap.service, err);
	if (r == 0)
		r = weft_engine_swap_start(e, &swap, &view, err);
	return r < 0 ? r : api_answer(ret, 201, view);
}

int api_scale(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	static const char *const keys[] = {"replicas", NULL};
	json_auto_t *doc = NULL;
	json_t *view = NULL;
	int64_t replicas = -1;
	int r = load_body(q, &doc, err);

	if (r == 0)
		r = check_keys(doc, "scale", keys, err);
	if (r == 0)
		r = get_int(doc, "scale", "replicas", &replicas, err);
	if (r == 0 && replicas < 0)
		r = weft_err_set(err, EINVAL, "scale: replicas: required, but missing");
	if (r == 0)
		r = weft_engine_service_scale(e, name, replicas, &view, err);
	return r < 0 ? r : api_answer(ret, 200, view);
}

int api_attach(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	static const char *const keys[] = {
		"name", "service", "device", "netns", "ns_addr", "mac", "ns_addr6", "weight", NULL};
	struct weft_attach_request a = {.name = "", .ns_addr = "", .weight = -1};
	const char **const texts[] = {
		&a.name, &a.service, &a.device, &a.netns, &a.ns_addr, &a.mac, &a.ns_addr6};
	json_auto_t *doc = NULL;
	json_t *view = NULL;
	int r = load_body(q, &doc, err);

	(void)name;
	if (r == 0)
		r = check_keys(doc, "attach", keys, err);
	for (size_t i = 0; i < ARRAY_SIZE(texts) && r == 0; i++)
		r = get_text(doc, "attach", keys[i], texts[i], err);
	if (r == 0)
		r = get_int(doc, "attach", "weight", &a.weight, err);
	if (r == 0)
		r = weft_engine_attach(e, &a, &view, err);
	return r < 0 ? r : api_answer(ret, 201, view);
}

int api_peer(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	static const char *const keys[] = {"name", "address", "format", "port", "mtu", NULL};
	struct weft_peer_request p = {.name = "", .address = ""};
	const char **const texts[] = {&p.name, &p.address, &p.format};
	json_auto_t *doc = NULL;
	json_t *view = NULL;
	int r = load_body(q, &doc, err);

	(void)name;
	if (r == 0)
		r = check_keys(doc, "peer", keys, err);
	for (size_t i = 0; i < ARRAY_SIZE(texts) && r == 0; i++)
		r = get_text(doc, "peer", keys[i], texts[i], err);
	if (r == 0)
		r = get_int(doc, "peer", "port", &p.port, err);
	if (r == 0)
		r = get_int(doc, "peer", "mtu", &p.mtu, err);
	if (r == 0)
		r = api_unchanged(e, q, WEFT_ENGINE_PEER, p.name, err);
	if (r == 0)
		r = weft_engine_peer_set(e, &p, &view, err);
	return r < 0 ? r : api_answer(ret, 201, view);
}

int api_peer_import(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	json_auto_t *doc = NULL;
	json_t *view = NULL;
	int r = load_body(q, &doc, err);

	if (r == 0)
		r = weft_engine_peer_import(e, name, doc, &view, err);
	return r < 0 ? r : api_answer(ret, 200, view);
}

/* What the data plane has, of all services or of one. */
#define DP_REQUEST(what)                                                                       \
	int api_dp_##what(struct weft_engine *e, const struct weft_api_request *q,             \
		const char *name, struct weft_api_response *ret, struct weft_err *err)         \
	{                                                                                      \
		json_t *doc = NULL;                                                            \
		int r = weft_engine_dp_##what(e, q->query(q->userdata, "service"), &doc, err); \
                                                                                               \
		(void)name;                                                                    \
		return r < 0 ? r : api_answer(ret, 200, doc);                                  \
	}
DP_REQUEST(lb)
DP_REQUEST(stats)

#define FLOWS_LIMIT 1000  /* unless another is asked for */
#define FLOWS_MOST  10000 /* in one answer, which is a megabyte of them */

int api_dp_flows(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	struct weft_flow_query query = {
		.service = q->query(q->userdata, "service"),
		.instance = q->query(q->userdata, "instance"),
		.peer = q->query(q->userdata, "peer"),
	};
	uint64_t limit = FLOWS_LIMIT;
	json_t *doc = NULL;
	int r = get_number(q, "limit", FLOWS_MOST, &limit, err);

	(void)name;
	if (r >= 0 && limit == 0) {
		r = weft_err_set(err, EINVAL, "limit: 1 to %u flows", FLOWS_MOST);
		weft_err_hint(err, "\"next\" in an answer is \"after\" of the next request");
	}
	if (r >= 0)
		r = get_number(q, "after", INT64_MAX, &query.after, err);
	query.limit = (uint32_t)limit;
	if (r >= 0)
		r = weft_engine_dp_flows(e, &query, &doc, err);
	return r < 0 ? r : api_answer(ret, 200, doc);
}

#define TRACE_MIN_MS      100
#define TRACE_MS          10000
#define TRACE_MAX_MS      3600000
#define TRACE_INTERVAL_MS 1000

static int get_time(const struct weft_api_request *q, const char *key, uint64_t fallback,
	uint64_t *ret, struct weft_err *err)
{
	const char *text = q->query(q->userdata, key);

	*ret = fallback;
	if (text && weft_parse_u64(text, 0, TRACE_MAX_MS, ret) < 0)
		return weft_err_set(err, EINVAL,
			"%s: \"%.40s\" is not a number of milliseconds up to %u", key, text,
			TRACE_MAX_MS);
	return 0;
}

int api_trace(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	uint64_t duration_ms, interval_ms = 0;
	int r = get_time(q, "duration_ms", TRACE_MS, &duration_ms, err);

	if (r == 0)
		r = get_time(q, "interval_ms", TRACE_INTERVAL_MS, &interval_ms, err);
	if (r == 0 && (duration_ms < TRACE_MIN_MS || (interval_ms && interval_ms < TRACE_MIN_MS))) {
		r = weft_err_set(err, EINVAL,
			"trace of %s: duration_ms and interval_ms are at least %u", name,
			TRACE_MIN_MS);
		weft_err_hint(err, "weft trace %s --duration 10s", name);
	}
	return r < 0 ? r : weft_engine_trace(e, name, duration_ms, interval_ms, &ret->pipe, err);
}
