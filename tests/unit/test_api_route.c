/* SPDX-License-Identifier: Apache-2.0 */
/* From a request to a call of the engine and back, on an engine that only remembers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/api/route.h"
#include "ctrl/base/util.h"
#include "ctrl/engine/events.h"
#include "tests/lib/fake_engine.h"

static struct weft_api_response got;
static json_t *doc;

/* userdata: "key=value" or NULL */
static const char *query(void *userdata, const char *key)
{
	const char *pair = userdata;
	size_t n = strlen(key);

	return pair && strncmp(pair, key, n) == 0 && pair[n] == '=' ? pair + n + 1 : NULL;
}

static void forget(void)
{
	free(got.body);
	json_decref(doc);
	memset(&got, 0, sizeof(got));
	doc = NULL;
}

static int setup(void **state)
{
	(void)state;
	memset(&fake_engine, 0, sizeof(fake_engine));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	forget();
	return 0;
}

static void ask_with(const char *method, const char *path, const char *body, const char *pair)
{
	struct weft_api_request q = {.method = method,
		.path = path,
		.body = body ? body : "",
		.body_size = body ? strlen(body) : 0,
		.query = query,
		.userdata = (void *)pair};

	forget();
	fake_engine.asked[0] = '\0';
	weft_api_route(NULL, &q, &got);
	assert_non_null(got.body);
	assert_non_null(got.type);
	if (strcmp(got.type, "application/json") == 0) {
		doc = json_loads(got.body, 0, NULL);
		assert_non_null(doc);
	}
}

static void ask(const char *method, const char *path)
{
	ask_with(method, path, NULL, NULL);
}

static const char *error_text(const char *key)
{
	const char *s = json_string_value(json_object_get(json_object_get(doc, "error"), key));

	return s ? s : "";
}

static void expect_error(int status, const char *code, const char *message, const char *hint)
{
	assert_int_equal(got.status, status);
	assert_string_equal(error_text("code"), code);
	if (!strstr(error_text("message"), message))
		fail_msg("no \"%s\" in \"%s\"", message, error_text("message"));
	if (!strstr(error_text("hint"), hint))
		fail_msg("no \"%s\" in \"%s\"", hint, error_text("hint"));
}

static void test_table(void **state)
{
	static const struct {
		const char *method, *path;
		int status;
		const char *asked;
	} rows[] = {
		{"GET", "/v1/status", 200, "status"},
		{"POST", "/v1/apply", 200, "apply descriptor 0"},
		{"GET", "/v1/services", 200, "services"},
		{"GET", "/v1/services/shop.web", 200, "service shop.web"},
		{"DELETE", "/v1/services/shop.web", 202, "service_delete shop.web"},
		{"GET", "/v1/instances", 200, "instances"},
		{"GET", "/v1/instances/shop.web.1", 200, "instance shop.web.1"},
		{"DELETE", "/v1/instances/vm1", 200, "detach vm1"},
		{"GET", "/v1/instances/shop.web.1/logs", 200, "logs shop.web.1 100"},
		{"GET", "/v1/swaps", 200, "swaps"},
		{"GET", "/v1/swaps/7f3a", 200, "swap 7f3a"},
		{"POST", "/v1/swaps/7f3a/abort", 202, "swap_abort 7f3a"},
		{"DELETE", "/v1/services/shop.web/weights", 200, "weights_reset shop.web"},
		{"GET", "/v1/dp/lb", 200, "dp_lb all"},
		{"GET", "/v1/dp/flows", 200, "dp_flows all all all 0 1000"},
		{"GET", "/v1/dp/drops", 200, "dp_drops"},
		{"GET", "/v1/dp/stats", 200, "dp_stats all"},
		{"GET", "/v1/services/..", 200, "service .."}, /* a name like any other: no file */
		{"GET", "/v1/services/*", 200, "service *"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ask(rows[i].method, rows[i].path);
		assert_string_equal(fake_engine.asked, rows[i].asked);
		assert_int_equal(got.status, rows[i].status);
		if (doc)
			assert_string_equal(
				json_string_value(json_object_get(doc, "asked")), rows[i].asked);
	}
}

static void test_unknown_paths(void **state)
{
	static const char *const paths[] = {"", "*", "/v1", "/v1/", "/v1/statu", "/v1/status/",
		"/v1/statuss", "/v1/services/", "/v1/services//", "/v1/services/a/b", "//v1/status",
		"/v2/status", "/v1/instances//logs", "/v1/instances/a/logs/", "/v1/instances/a/log",
		"/v1/swaps/a/abort/b", "/v1/dp", "/v1/dp/", "/v1/dp/lb/x"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		ask("GET", paths[i]);
		expect_error(404, "not_found", "no such resource", "");
		assert_string_equal(fake_engine.asked, "");
	}
}

static void test_wrong_methods(void **state)
{
	(void)state;
	ask("PUT", "/v1/services/shop.web");
	expect_error(405, "invalid", "PUT /v1/services/shop.web: no such method", "GET, DELETE");
	ask("GET", "/v1/swaps/7f3a/abort");
	expect_error(405, "invalid", "no such method", "POST");
	ask("get", "/v1/status");
	expect_error(405, "invalid", "get /v1/status", "GET");
	ask("", "/v1/swaps");
	expect_error(405, "invalid", "no such method", "POST, GET");
	assert_int_equal(fake_engine.calls, 0);
}

static void test_long_names(void **state)
{
	char path[8192] = "/v1/services/";

	(void)state;
	memset(path + strlen(path), 'a', 159);
	ask("GET", path);
	assert_int_equal(got.status, 200);
	assert_int_equal(strlen(fake_engine.asked), strlen("service ") + 159);
	memset(path + strlen(path), 'a', 1);
	ask("GET", path);
	expect_error(404, "not_found", "/v1/services/aaa", "");
	memset(path + strlen(path), 'a', 7000);
	ask("GET", path);
	expect_error(404, "not_found", "no such resource", "");
	ask(path, "/v1/nothing");
	expect_error(404, "not_found", "no such resource", "");
}

static void test_apply(void **state)
{
	(void)state;
	ask_with("POST", "/v1/apply", "{}", "file=shop.json");
	assert_string_equal(fake_engine.asked, "apply shop.json 2");
	ask_with("POST", "/v1/apply", "{}", "other=x");
	assert_string_equal(fake_engine.asked, "apply descriptor 2");
}

static void test_logs(void **state)
{
	static const char *const bad[] = {"tail=", "tail=x", "tail=-1", "tail=1000001",
		"tail=99999999999999999999", "tail= 1", "tail=1 "};

	(void)state;
	fake_engine.log = "one\ntwo\n";
	ask_with("GET", "/v1/instances/shop.web.1/logs", NULL, "tail=2");
	assert_string_equal(fake_engine.asked, "logs shop.web.1 2");
	assert_string_equal(got.type, "text/plain; charset=utf-8");
	assert_string_equal(got.body, "one\ntwo\n");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ask_with("GET", "/v1/instances/shop.web.1/logs", NULL, bad[i]);
		expect_error(400, "invalid", "tail: \"", "");
		assert_string_equal(fake_engine.asked, "");
	}
}

static void test_swap(void **state)
{
	(void)state;
	ask_with("POST", "/v1/swaps", "{\"service\": \"shop.web\", \"to\": \"unikernel\"}", NULL);
	assert_int_equal(got.status, 201);
	assert_string_equal(fake_engine.asked, "swap_start shop.web unikernel - -1 -1");
	ask_with("POST", "/v1/swaps",
		"{\"service\": \"a\", \"to\": \"b\", \"strategy\": \"at-once\", \"drain_ms\": 0, "
		"\"duration_ms\": 9223372036854775807}",
		NULL);
	assert_int_equal(got.status, 201);
	assert_string_equal(fake_engine.asked, "swap_start a b at-once 9223372036854775807 0");
}

static void test_one_service(void **state)
{
	(void)state;
	ask_with("GET", "/v1/dp/lb", NULL, "service=shop.web");
	assert_string_equal(fake_engine.asked, "dp_lb shop.web");
	ask_with("GET", "/v1/dp/flows", NULL, "service=shop.web");
	assert_string_equal(fake_engine.asked, "dp_flows shop.web all all 0 1000");
	ask_with("GET", "/v1/dp/stats", NULL, "service=shop.web");
	assert_string_equal(fake_engine.asked, "dp_stats shop.web");
}

static void test_flows(void **state)
{
	static const char *const bad[] = {"limit=0", "limit=10001", "limit=x", "limit=", "after=-1",
		"after=9223372036854775808"};

	(void)state;
	ask_with("GET", "/v1/dp/flows", NULL, "instance=shop.web.2");
	assert_string_equal(fake_engine.asked, "dp_flows all shop.web.2 all 0 1000");
	ask_with("GET", "/v1/dp/flows", NULL, "peer=n2");
	assert_string_equal(fake_engine.asked, "dp_flows all all n2 0 1000");
	ask_with("GET", "/v1/dp/flows", NULL, "limit=10000");
	assert_string_equal(fake_engine.asked, "dp_flows all all all 0 10000");
	ask_with("GET", "/v1/dp/flows", NULL, "after=4711");
	assert_string_equal(fake_engine.asked, "dp_flows all all all 4711 1000");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ask_with("GET", "/v1/dp/flows", NULL, bad[i]);
		assert_int_equal(got.status, 400);
	}
}

static void test_weights(void **state)
{
	static const struct {
		const char *body, *code, *message;
	} bad[] = {
		{"", "malformed", "request: line 1"},
		{"[]", "invalid", "must be an object"},
		{"{}", "invalid", "weights: must be an object"},
		{"{\"weights\": 7}", "invalid", "weights: must be an object"},
		{"{\"weights\": {}, \"weight\": 1}", "invalid", "with the key weights alone"},
		{"{\"weights\": {\"a\": -1}}", "invalid", "weights: a: must be a whole number"},
		{"{\"weights\": {\"a\": 1.5}}", "invalid", "weights: a: must be a whole number"},
		{"{\"weights\": {\"a\": 4294967296}}", "invalid", "weights: a: must be"},
		{"{\"weights\": {\"a\": 1, \"a\": 2}}", "malformed", "line 1"},
	};

	(void)state;
	ask_with("POST", "/v1/services/shop.web/weights",
		"{\"weights\": {\"shop.web.1\": 70, \"2\": 0}}", NULL);
	assert_int_equal(got.status, 200);
	assert_string_equal(fake_engine.asked, "weights_set shop.web shop.web.1=70 2=0");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		fake_engine.calls = 0;
		ask_with("POST", "/v1/services/shop.web/weights", bad[i].body, NULL);
		expect_error(400, bad[i].code, bad[i].message, "");
		assert_int_equal(fake_engine.calls, 0);
	}
	ask("GET", "/v1/services/shop.web/weights");
	expect_error(405, "invalid", "no such method", "POST, DELETE");
}

static void test_settings(void **state)
{
	static const struct {
		const char *body, *code, *message;
	} bad[] = {
		{"", "malformed", "request: line 1"},
		{"{\"shortcut\": \"on\"}", "invalid", "settings: shortcut: must be true or false"},
		{"{\"shortcut\": 1}", "invalid", "settings: shortcut: must be true or false"},
		{"{\"shortcuts\": true}", "invalid", "settings: unknown key \"shortcuts\""},
	};

	(void)state;
	ask_with("POST", "/v1/services/shop.web/settings", "{\"shortcut\": true}", NULL);
	assert_int_equal(got.status, 200);
	assert_string_equal(fake_engine.asked, "service_set shop.web shortcut 1");
	ask_with("POST", "/v1/services/shop.web/settings", "{\"shortcut\": false}", NULL);
	assert_string_equal(fake_engine.asked, "service_set shop.web shortcut 0");
	ask_with("POST", "/v1/services/shop.web/settings", "{}", NULL);
	assert_string_equal(fake_engine.asked, "service_set shop.web shortcut -1");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		fake_engine.calls = 0;
		ask_with("POST", "/v1/services/shop.web/settings", bad[i].body, NULL);
		expect_error(400, bad[i].code, bad[i].message, "");
		assert_int_equal(fake_engine.calls, 0);
	}
}

static void test_scale(void **state)
{
	static const char *const bad[][2] = {
		{"{}", "scale: replicas: required, but missing"},
		{"{\"replicas\": -1}", "replicas"},
		{"{\"replicas\": \"3\"}", "replicas"},
		{"{\"replica\": 3}", "replica"},
	};

	(void)state;
	ask_with("POST", "/v1/services/shop.web/scale", "{\"replicas\": 3}", NULL);
	assert_int_equal(got.status, 200);
	assert_string_equal(fake_engine.asked, "scale shop.web 3");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		fake_engine.calls = 0;
		ask_with("POST", "/v1/services/shop.web/scale", bad[i][0], NULL);
		expect_error(400, "invalid", bad[i][1], "");
		assert_int_equal(fake_engine.calls, 0);
	}
}

static void test_peers(void **state)
{
	static const struct {
		const char *path, *body, *message;
	} bad[] = {
		{"/v1/peers", "{}", "peer: name: must be given"},
		{"/v1/peers", "{\"name\": \"b\"}", "peer: address: must be given"},
		{"/v1/peers", "{\"name\": \"b\", \"address\": 7}",
			"peer: address: must be a string"},
		{"/v1/peers", "{\"name\": \"b\", \"address\": \"a\", \"mtu\": \"1\"}",
			"peer: mtu: must be"},
		{"/v1/peers", "{\"name\": \"b\", \"address\": \"a\", \"nat\": true}",
			"peer: unknown key \"nat\""},
		{"/v1/peers/b/instances", "[]", "request: must be an object"},
	};

	(void)state;
	ask("GET", "/v1/peers");
	assert_string_equal(fake_engine.asked, "peers");
	ask("GET", "/v1/peers/b");
	assert_string_equal(fake_engine.asked, "peer b");
	ask("DELETE", "/v1/peers/b");
	assert_string_equal(fake_engine.asked, "peer_remove b");
	ask("GET", "/v1/export");
	assert_string_equal(fake_engine.asked, "export");
	ask_with("POST", "/v1/peers", "{\"name\": \"b\", \"address\": \"192.0.2.1\"}", NULL);
	assert_int_equal(got.status, 201);
	assert_string_equal(fake_engine.asked, "peer_set b 192.0.2.1 - 0 0");
	ask_with("POST", "/v1/peers",
		"{\"name\": \"b\", \"address\": \"::1\", \"format\": \"raw\", \"port\": 7, \"mtu\": "
		"1400}",
		NULL);
	assert_string_equal(fake_engine.asked, "peer_set b ::1 raw 7 1400");
	ask_with("POST", "/v1/peers/b/instances", "{\"node\": \"b\", \"instances\": [1, 2]}", NULL);
	assert_int_equal(got.status, 200);
	assert_string_equal(fake_engine.asked, "peer_import b 2");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		fake_engine.calls = 0;
		ask_with("POST", bad[i].path, bad[i].body, NULL);
		expect_error(400, "invalid", bad[i].message, "");
		assert_int_equal(fake_engine.calls, 0);
	}
}

static void test_attach(void **state)
{
	static const struct {
		const char *body, *message;
	} bad[] = {
		{"{}", "attach: name: must be given"},
		{"{\"name\": \"a\"}", "attach: ns_addr: must be given"},
		{"{\"name\": 1}", "attach: name: must be a string"},
		{"{\"name\": \"a\", \"ns_addr\": \"b\", \"weight\": -1}",
			"attach: weight: must be"},
		{"{\"name\": \"a\", \"ns_addr\": \"b\", \"dev\": \"c\"}",
			"attach: unknown key \"dev\""},
	};

	(void)state;
	ask_with("POST", "/v1/instances",
		"{\"name\": \"vm1\", \"device\": \"tap0\", \"ns_addr\": \"10.18.0.40\"}", NULL);
	assert_int_equal(got.status, 201);
	assert_string_equal(fake_engine.asked, "attach vm1 - tap0 - 10.18.0.40 - -1");
	ask_with("POST", "/v1/instances",
		"{\"name\": \"vm1\", \"service\": \"shop.web\", \"netns\": \"/run/netns/x\", "
		"\"ns_addr\": \"a\", \"mac\": \"b\", \"weight\": 7}",
		NULL);
	assert_string_equal(fake_engine.asked, "attach vm1 shop.web - /run/netns/x a b 7");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		fake_engine.calls = 0;
		ask_with("POST", "/v1/instances", bad[i].body, NULL);
		expect_error(400, "invalid", bad[i].message, "");
		assert_int_equal(fake_engine.calls, 0);
	}
}

static void test_events(void **state)
{
	static const char *const bad[] = {"since=x", "since=-1", "wait=x", "wait=86401", "wait="};

	(void)state;
	assert_int_equal(weft_events_open(NULL, &fake_engine.events), 0);
	ask("GET", "/v1/events");
	assert_int_equal(json_integer_value(json_object_get(doc, "first")), 1);
	assert_int_equal(json_integer_value(json_object_get(doc, "last")), 0);
	assert_int_equal(json_array_size(json_object_get(doc, "items")), 0);
	for (int i = 0; i < 5; i++)
		weft_events_add(fake_engine.events, "service", "created", "a", NULL);
	ask_with("GET", "/v1/events", NULL, "since=3");
	assert_int_equal(json_array_size(json_object_get(doc, "items")), 2);
	assert_int_equal(json_integer_value(json_object_get(
				 json_array_get(json_object_get(doc, "items"), 0), "seq")),
		4);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ask_with("GET", "/v1/events", NULL, bad[i]);
		expect_error(400, "invalid", "is not a number from 0 to", "");
	}
	forget();
	weft_api_route(NULL,
		&(struct weft_api_request){.method = "GET",
			.path = "/v1/events",
			.body = "",
			.query = query,
			.userdata = (void *)"wait=7"},
		&got);
	assert_true(got.follow);
	assert_null(got.body);
	assert_int_equal(got.follow_s, 7);
	assert_int_equal(got.since, 0);
	assert_string_equal(got.type, "application/x-ndjson");
	weft_events_free(fake_engine.events);
}

static void test_trace(void **state)
{
	static const char *const bad[] = {"duration_ms=x", "duration_ms=99", "duration_ms=3600001",
		"interval_ms=99", "interval_ms=-1"};

	(void)state;
	fake_engine.pipe = 77;
	weft_api_route(NULL,
		&(struct weft_api_request){.method = "GET",
			.path = "/v1/trace/shop.web",
			.body = "",
			.query = query,
			.userdata = (void *)"duration_ms=5000"},
		&got);
	assert_int_equal(got.pipe, 77);
	assert_null(got.body);
	assert_string_equal(fake_engine.asked, "trace shop.web 5000 1000");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ask_with("GET", "/v1/trace/shop.web", NULL, bad[i]);
		expect_error(400, "invalid", "_ms", "");
		assert_int_equal(got.pipe, 0);
	}
	fake_engine.r = -EBUSY;
	ask("GET", "/v1/trace/shop.web");
	assert_int_equal(got.status, 409);
}

/* What there is can be read, and tried; an instance be looked into. */
static void test_read_only(void **state)
{
	static const char *const changes[][2] = {{"POST", "/v1/apply"},
		{"DELETE", "/v1/services/shop.web"}, {"DELETE", "/v1/services/shop.web/weights"},
		{"POST", "/v1/swaps/7f3a/abort"}, {"POST", "/v1/instances/shop.web.1/pause"},
		{"POST", "/v1/images/prune"}, {"DELETE", "/v1/peers/b"}};

	(void)state;
	fake_read_only = true;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		ask_with(changes[i][0], changes[i][1], "{}", NULL);
		expect_error(507, "read_only", "read-only", "");
		assert_string_equal(fake_engine.asked, "");
	}
	ask("GET", "/v1/services");
	assert_int_equal(got.status, 200);
	ask_with("POST", "/v1/apply", "{}", "dry_run=1");
	assert_int_equal(got.status, 200);
	fake_read_only = false;
	ask("DELETE", "/v1/services/shop.web");
	assert_int_equal(got.status, 202);
}

static void test_bad_swaps(void **state)
{
	static const struct {
		const char *body, *code, *message;
	} rows[] = {
		{"", "malformed", "request: line 1 column"},
		{"{", "malformed", "line 1 column 1"},
		{"{\n\"service\": \"a\",,}", "malformed", "line 2 column"},
		{"{\"service\": \"a\"} x", "malformed", "line 1"},
		{"{\"service\": \"\xff\"}", "malformed", "line 1"},
		{"{\"service\": \"a\", \"service\": \"b\"}", "malformed", "line 1"},
		{"[]", "invalid", "must be an object"},
		{"null", "malformed", "'{' expected"},
		{"{}", "invalid", "swap: service: must be given"},
		{"{\"service\": \"a\"}", "invalid", "swap: to: must be given"},
		{"{\"service\": 1, \"to\": \"b\"}", "invalid", "service: must be a string"},
		{"{\"service\": null, \"to\": \"b\"}", "invalid", "service: must be a string"},
		{"{\"service\": \"a\", \"to\": [\"b\"]}", "invalid", "to: must be a string"},
		{"{\"service\": \"a\", \"to\": \"b\", \"strategy\": 3}", "invalid",
			"strategy: must"},
		{"{\"service\": \"a\", \"to\": \"b\", \"drain_ms\": -1}", "invalid",
			"drain_ms: must"},
		{"{\"service\": \"a\", \"to\": \"b\", \"drain_ms\": 1.5}", "invalid",
			"drain_ms: must"},
		{"{\"service\": \"a\", \"to\": \"b\", \"duration_ms\": \"1\"}", "invalid",
			"duration_ms: must be a whole number"},
		{"{\"service\": \"a\", \"to\": \"b\", \"duration\": 1}", "invalid",
			"unknown key \"duration\""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ask_with("POST", "/v1/swaps", rows[i].body, NULL);
		expect_error(400, rows[i].code, rows[i].message, "");
	}
	ask_with("POST", "/v1/swaps", "{\"to\": 1, \"drain\": 1}", NULL);
	expect_error(400, "invalid", "unknown key \"drain\"", "duration_ms, drain_ms");
	assert_int_equal(fake_engine.calls, 0);
}

/* As deep as a request may be, it is refused and not followed. */
static void test_deep_json(void **state)
{
	_cleanup_(freep) char *body = malloc(WEFT_API_MAX_BODY + 1);

	(void)state;
	assert_non_null(body);
	memset(body, '[', WEFT_API_MAX_BODY);
	body[WEFT_API_MAX_BODY] = '\0';
	ask_with("POST", "/v1/swaps", body, NULL);
	expect_error(400, "malformed", "request: line 1", "");
}

static void test_engine_errors(void **state)
{
	static const struct {
		int r, status;
		const char *code;
	} rows[] = {
		{-ENOENT, 404, "not_found"},
		{-EEXIST, 409, "conflict"},
		{-EBUSY, 409, "conflict"},
		{-ENODEV, 422, "no_capacity"},
		{-ENOTSUP, 422, "unsupported"},
		{-E2BIG, 413, "too_large"},
		{-ENOSPC, 507, "no_space"},
		{-ETIMEDOUT, 504, "timeout"},
		{-ECONNREFUSED, 503, "unreachable"},
		{-EIO, 500, "failed"},
	};

	(void)state;
	fake_engine.err = "service shop.web: so it is";
	fake_engine.hint = "weft service list";
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		fake_engine.r = rows[i].r;
		ask("GET", "/v1/services/shop.web");
		expect_error(
			rows[i].status, rows[i].code, "shop.web: so it is", "weft service list");
	}
	fake_engine.hint = NULL;
	ask("GET", "/v1/status");
	assert_null(json_object_get(json_object_get(doc, "error"), "hint"));
	fake_engine.silent = true;
	fake_engine.r = -ENOENT;
	ask("DELETE", "/v1/services/x");
	expect_error(404, "not_found", "DELETE /v1/services/x: No such file", "");
}

static void test_texts_from_outside(void **state)
{
	struct weft_err raw = {.code = EIO, .msg = "image \xff\x1b[31m", .hint = "see \xc3"};

	(void)state;
	fake_engine.r = -EBADMSG;
	fake_engine.err = "image /x: neither ELF nor a script: \"\x7f\xfe\xc3(\"\n";
	ask("GET", "/v1/status");
	expect_error(400, "malformed", "image /x: neither ELF nor a script: \"?\?\?(\"", "");
	ask("GET", "/v1/\xff\xfe/\x01");
	expect_error(404, "not_found", "GET /v1/?\?/?: no such resource", "");
	forget();
	weft_api_error(&raw, 0, &got);
	doc = json_loads(got.body, 0, NULL);
	expect_error(500, "failed", "image ?\?[31m", "see ");
}

/* Even when no memory is left for an answer there is one. */
static void test_no_document(void **state)
{
	(void)state;
	fake_engine.no_document = true;
	ask("GET", "/v1/status");
	expect_error(500, "failed", "GET /v1/status: Cannot allocate memory", "");
	ask_with("POST", "/v1/apply", "{}", NULL);
	expect_error(500, "failed", "Cannot allocate memory", "");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* --- versions ------------------------------------------------------------------------------------
 */

static void ask_matching(
	const char *method, const char *path, const char *body, const char *if_match)
{
	struct weft_api_request q = {.method = method,
		.path = path,
		.body = body,
		.body_size = strlen(body),
		.query = query,
		.if_match = if_match};

	forget();
	fake_engine.asked[0] = fake_unchanged[0] = '\0';
	weft_api_route(NULL, &q, &got);
	assert_non_null(got.body);
	doc = json_loads(got.body, 0, NULL);
}

/* The fake engine's resources all have version 7. */
static void test_if_match(void **state)
{
	static const struct {
		const char *method, *path, *body, *about;
	} rows[] = {
		{"DELETE", "/v1/services/shop.web", "", "service shop.web 6"},
		{"POST", "/v1/services/shop.web/scale", "{\"replicas\": 1}", "service shop.web 6"},
		{"DELETE", "/v1/instances/vm1", "", "instance vm1 6"},
		{"POST", "/v1/swaps/7f3a/abort", "", "swap 7f3a 6"},
		{"DELETE", "/v1/peers/b", "", "peer b 6"},
		{"POST", "/v1/peers", "{\"name\": \"b\", \"address\": \"::1\"}", "peer b 6"},
		{"POST", "/v1/swaps", "{\"service\": \"a\", \"to\": \"native\"}", "service a 6"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ask_matching(rows[i].method, rows[i].path, rows[i].body, "\"6\"");
		assert_string_equal(fake_unchanged, rows[i].about);
		assert_string_equal(fake_engine.asked, "");
		expect_error(409, "conflict", "has version 7", "");
		ask_matching(rows[i].method, rows[i].path, rows[i].body, "7");
		assert_true(got.status < 300);
		ask_matching(rows[i].method, rows[i].path, rows[i].body, "*");
		assert_true(got.status < 300);
		assert_string_equal(fake_unchanged, "");
	}
	ask_matching("POST", "/v1/apply", "{}", "\"6\"");
	assert_string_equal(fake_engine.asked, "apply descriptor 2 version 6");
	ask_matching("GET", "/v1/services/shop.web", "", "6");
	assert_int_equal(got.status, 200);
}

static void test_bad_if_match(void **state)
{
	static const char *const bad[] = {"", "\"", "\"\"", "abc", "\"7", "7\"", "-7", "7, 8",
		"W/\"7\"", "99999999999999999999", "123456789012345678901234567890"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ask_matching("DELETE", "/v1/services/shop.web", "", bad[i]);
		expect_error(400, "invalid", "is not a version", "If-Match: \"12\"");
		assert_string_equal(fake_engine.asked, "");
	}
	ask_matching("POST", "/v1/images/prune", "", "7");
	expect_error(400, "invalid", "is about no resource", "");
}

static void test_watch(void **state)
{
	struct weft_api_request q = {
		.method = "GET", .path = "/v1/watch", .body = "", .query = query};

	(void)state;
	forget();
	weft_api_route(NULL, &q, &got);
	assert_true(got.follow && got.list);
	assert_int_equal(got.kinds, 15);
	q.userdata = (void *)"since=5";
	weft_api_route(NULL, &q, &got);
	assert_true(got.follow && !got.list);
	assert_int_equal(got.since, 5);
	q.userdata = (void *)"kind=swap,service";
	weft_api_route(NULL, &q, &got);
	assert_int_equal(got.kinds, 1 << WEFT_ENGINE_SERVICE | 1 << WEFT_ENGINE_SWAP);
	ask_with("GET", "/v1/watch", NULL, "since=2");
	expect_error(410, "gone", "version 2 is too old", "");
	ask_with("GET", "/v1/watch", NULL, "kind=service,");
	expect_error(400, "invalid", "there is no kind \"\"", "kind=service,swap");
	ask_with("GET", "/v1/watch", NULL, "since=x");
	expect_error(400, "invalid", "since", "");
	ask_with("POST", "/v1/apply", "{}", "dry_run=1");
	assert_string_equal(fake_engine.asked, "apply descriptor 2 dry");
	ask_with("POST", "/v1/apply", "{}", "dry_run=yes");
	expect_error(400, "invalid", "dry_run", "");
}

/* --- what takes its time -------------------------------------------------------------------------
 */

static struct weft_engine_op *ask_later(const char *path, const char *body)
{
	struct weft_api_request q = {.method = "POST",
		.path = path,
		.body = body,
		.body_size = strlen(body),
		.query = query};

	forget();
	weft_api_route(NULL, &q, &got);
	assert_null(got.body);
	assert_non_null(got.op);
	return got.op;
}

static void test_later(void **state)
{
	struct weft_engine_op *op = ask_later("/v1/instances/shop.web.1/pause", "");

	(void)state;
	assert_int_equal(op->kind, WEFT_ENGINE_PAUSE);
	assert_string_equal(op->instance, "shop.web.1");
	weft_api_op_free(op);
	op = ask_later("/v1/instances/shop.web.1/resume", "");
	assert_int_equal(op->kind, WEFT_ENGINE_RESUME);
	weft_api_op_free(op);
	op = ask_later(
		"/v1/instances/a.1/exec", "{\"command\": [\"ls\", \"\"], \"timeout_ms\": 7}");
	assert_int_equal(op->kind, WEFT_ENGINE_EXEC);
	assert_string_equal(op->argv[0], "ls");
	assert_string_equal(op->argv[1], "");
	assert_null(op->argv[2]);
	assert_int_equal(op->timeout_ms, 7);
	weft_api_op_free(op);
	op = ask_later("/v1/instances/a.1/exec", "{\"command\": [\"ls\"]}");
	assert_int_equal(op->timeout_ms, 30000);
	weft_api_op_free(op);
	got.op = NULL;
}

static void test_bad_exec(void **state)
{
	static const struct {
		const char *body, *want;
	} bad[] = {
		{"", "request: line "},
		{"[]", "request: must be an object"},
		{"{}", "exec: command: must be a list of 1 to 256 strings"},
		{"{\"command\": []}", "exec: command: must be a list of 1 to 256 strings"},
		{"{\"command\": [1]}", "exec: command: must be a list of strings"},
		{"{\"command\": [\"\"]}", "exec: command: must be a list of strings"},
		{"{\"command\": [\"a\"], \"timeout_ms\": 0}", "exec: timeout_ms: must be"},
		{"{\"command\": [\"a\"], \"timeout_ms\": \"5\"}", "exec: timeout_ms: must be"},
		{"{\"command\": [\"a\"], \"tty\": true}", "exec: unknown key \"tty\""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ask_with("POST", "/v1/instances/a.1/exec", bad[i].body, NULL);
		assert_int_equal(got.status, 400);
		if (!strstr(error_text("message"), bad[i].want))
			fail_msg("%s: %s", bad[i].body, error_text("message"));
	}
}

/* The end of an op is an answer, or an error as any other. */
static void test_later_answers(void **state)
{
	struct weft_err err = {0};

	(void)state;
	weft_api_op_answer(0, &err, json_pack("{s:i}", "status", 3), &got);
	assert_int_equal(got.status, 200);
	assert_string_equal(got.body, "{\"status\":3}");
	forget();
	weft_err_set(&err, ETIMEDOUT, "too slow");
	weft_api_op_answer(-ETIMEDOUT, &err, NULL, &got);
	assert_int_equal(got.status, 504);
	assert_non_null(strstr(got.body, "too slow"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_table),
		TEST(test_unknown_paths),
		TEST(test_wrong_methods),
		TEST(test_long_names),
		TEST(test_apply),
		TEST(test_logs),
		TEST(test_swap),
		TEST(test_one_service),
		TEST(test_flows),
		TEST(test_weights),
		TEST(test_settings),
		TEST(test_scale),
		TEST(test_attach),
		TEST(test_peers),
		TEST(test_events),
		TEST(test_trace),
		TEST(test_read_only),
		TEST(test_bad_swaps),
		TEST(test_deep_json),
		TEST(test_engine_errors),
		TEST(test_texts_from_outside),
		TEST(test_no_document),
		TEST(test_if_match),
		TEST(test_bad_if_match),
		TEST(test_watch),
		TEST(test_later),
		TEST(test_bad_exec),
		TEST(test_later_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
