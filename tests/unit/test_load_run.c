/* SPDX-License-Identifier: Apache-2.0 */
/* Whole runs against a server that misbehaves (tests/lib/load_server.h). With --serve MODE this
 * program is that server, for test_load.t. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "loadgen/report.h"
#include "tests/lib/load_server.h"

#define MS 1000000ULL

static struct load_options defaults(void)
{
	return (struct load_options){
		.url = "",
		.rate = 500,
		.duration = 1000 * MS,
		.timeout = 5000 * MS,
		.interval = 100 * MS,
		.connections = 4,
		.threads = 2,
		.max_queue = 65536,
		.seed = 1,
		.method = "GET",
		.name = "test",
		.phase = "run",
	};
}

/* The result as its JSON document, which the caller owns. */
static json_t *run(const char *mode, struct load_options o)
{
	_cleanup_(load_server_stop) struct load_server server = {0};
	_cleanup_(load_result_freep) struct load_result *result = NULL;
	struct weft_err err = {0};
	json_t *doc;
	int r;

	assert_int_equal(load_server_start(mode, &server), 0);
	o.url = server.url;
	r = load_run(&o, &result, &err);
	if (r < 0)
		fail_msg("%s: %s", mode, err.msg);
	assert_int_equal(load_series_check(result->series, &err), 0);
	doc = load_report_json(&o, result);
	assert_non_null(doc);
	return doc;
}

static json_int_t total(const json_t *doc, const char *key)
{
	const json_t *v = json_object_get(json_object_get(doc, "total"), key);

	assert_true(json_is_integer(v));
	return json_integer_value(v);
}

static double total_ms(const json_t *doc, const char *key)
{
	const json_t *v = json_object_get(json_object_get(doc, "total"), key);

	assert_true(json_is_real(v));
	return json_real_value(v) / 1000;
}

static json_int_t error_count(const json_t *doc, const char *class)
{
	const json_t *errors = json_object_get(json_object_get(doc, "total"), "errors");

	assert_true(json_is_integer(json_object_get(errors, class)));
	return json_integer_value(json_object_get(errors, class));
}

static void assert_all_ok(const json_t *doc, json_int_t requests)
{
	assert_int_equal(total(doc, "requests"), requests);
	assert_int_equal(total(doc, "ok"), requests);
	assert_int_equal(total(doc, "failed"), 0);
}

static void assert_all_failed(const json_t *doc, const char *class, json_int_t requests)
{
	assert_int_equal(total(doc, "requests"), requests);
	assert_int_equal(total(doc, "ok"), 0);
	assert_int_equal(error_count(doc, class), requests);
}

static json_int_t series_sum(const json_t *doc, const char *key)
{
	json_t *point;
	json_int_t sum = 0;
	size_t i;

	json_array_foreach (json_object_get(doc, "series"), i, point)
		sum += json_integer_value(json_object_get(point, key));
	return sum;
}

static void test_rate(void **state)
{
	struct load_options o = defaults();
	json_auto_t *doc = NULL;

	(void)state;
	o.rate = 2000;
	o.connections = 16;
	doc = run("ok", o);
	assert_all_ok(doc, 2000);
	assert_int_equal(series_sum(doc, "sent"), 2000);
	assert_int_equal(series_sum(doc, "ok"), 2000);
	assert_in_range(json_array_size(json_object_get(doc, "series")), 10, 11);
	assert_int_equal(json_integer_value(json_object_get(doc, "connects")), 16);
	assert_int_equal(total(doc, "reconnects"), 0);
	assert_true(total_ms(doc, "service_p50_us") <= total_ms(doc, "p50_us"));
	assert_true(total_ms(doc, "p50_us") < 100);
	assert_true(json_real_value(json_object_get(doc, "duration_s")) == 1);
}

static void test_odd_shares(void **state)
{
	struct load_options o = defaults();
	json_auto_t *doc = NULL;

	(void)state;
	o.rate = 333.3;
	o.threads = 3;
	o.duration = 2000 * MS;
	doc = run("ok", o);
	/* Due at i / 333.3 s for i = 0, 1 ... below 2 s. */
	assert_all_ok(doc, 667);
}

static void test_poisson(void **state)
{
	struct load_options o = defaults();
	json_auto_t *doc = NULL;

	(void)state;
	o.rate = 2000;
	o.arrivals = LOAD_ARRIVALS_POISSON;
	doc = run("ok", o);
	assert_in_range(total(doc, "requests"), 2000 - 5 * 45, 2000 + 5 * 45); /* 5 sigma */
	assert_int_equal(total(doc, "failed"), 0);
}

static void test_warmup(void **state)
{
	struct load_options o = defaults();
	json_auto_t *doc = NULL;
	json_t *phases;

	(void)state;
	o.warmup = 500 * MS;
	doc = run("ok", o);
	assert_all_ok(doc, 500);
	phases = json_object_get(doc, "phases");
	assert_int_equal(json_array_size(phases), 2);
	assert_true(json_is_true(json_object_get(json_array_get(phases, 0), "warmup")));
	assert_int_equal(
		json_integer_value(json_object_get(json_array_get(phases, 0), "requests")), 250);
	assert_string_equal(
		json_string_value(json_object_get(json_array_get(phases, 1), "name")), "run");
}

static void test_new_connections(void **state)
{
	struct load_options o = defaults();
	json_auto_t *doc = NULL;

	(void)state;
	o.close = true;
	o.connections = 100;
	doc = run("close", o);
	assert_all_ok(doc, 500);
	assert_int_equal(json_integer_value(json_object_get(doc, "connects")), 500);
	assert_int_equal(total(doc, "reconnects"), 0);
}

static void test_chunked(void **state)
{
	json_auto_t *doc = run("chunked", defaults());

	(void)state;
	assert_all_ok(doc, 500);
	assert_int_equal(total(doc, "reconnects"), 0);
}

/* A server that closes after each response is no error, whether it says so or not. */
static void test_server_closes(void **state)
{
	static const char *const modes[] = {"close", "to_eof"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		json_auto_t *doc = run(modes[i], defaults());

		assert_all_ok(doc, 500);
		assert_int_equal(total(doc, "stale"), 0);
		assert_in_range(total(doc, "reconnects"), 490, 500);
	}
}

/* One that does not say so is a race, which a retry makes good. */
static void test_early_close(void **state)
{
	struct load_options o = defaults();
	json_auto_t *doc = NULL;

	(void)state;
	o.retry_stale = 1;
	doc = run("early_close", o);
	assert_all_ok(doc, 500);
	assert_int_equal(total(doc, "stale"), total(doc, "retries"));
}

static void test_stale(void **state)
{
	struct load_options o = defaults();
	json_auto_t *lost = NULL, *retried = NULL;

	(void)state;
	lost = run("stale", o);
	assert_true(error_count(lost, "closed") > 100);
	assert_int_equal(total(lost, "failed"), error_count(lost, "closed"));
	assert_int_equal(total(lost, "stale"), total(lost, "failed"));
	assert_int_equal(total(lost, "retries"), 0);

	o.retry_stale = 1;
	retried = run("stale", o);
	assert_all_ok(retried, 500);
	assert_true(total(retried, "retries") > 100);
	assert_int_equal(total(retried, "stale"), total(retried, "retries"));
	/* A request that is sent twice still counts as one. */
	assert_int_equal(series_sum(retried, "sent"), 500);
}

static void test_cut(void **state)
{
	struct load_options o = defaults();
	json_auto_t *doc = NULL;

	(void)state;
	o.retry_stale = 3; /* bytes came: not to be sent again */
	doc = run("cut", o);
	assert_all_failed(doc, "closed", 500);
	assert_int_equal(total(doc, "retries"), 0);
	assert_true(json_is_null(json_object_get(json_object_get(doc, "total"), "p99_us")));
}

static void test_reset(void **state)
{
	json_auto_t *doc = run("reset", defaults());

	(void)state;
	assert_int_equal(total(doc, "requests"), 500);
	assert_int_equal(error_count(doc, "reset"), 50);
	assert_int_equal(total(doc, "failed"), 50);
}

static void test_silent(void **state)
{
	struct load_options o = defaults();
	json_auto_t *doc = NULL;

	(void)state;
	o.timeout = 200 * MS;
	doc = run("silent", o);
	assert_int_equal(total(doc, "requests"), 500);
	assert_int_equal(total(doc, "failed"), 500);
	/* On a busy host one or the other is late already while it connects. */
	assert_true(error_count(doc, "timeout") > 0);
	assert_int_equal(error_count(doc, "timeout") + error_count(doc, "connect_timeout"), 500);
}

static void test_overload(void **state)
{
	struct load_options o = defaults();
	json_auto_t *doc = NULL;

	(void)state;
	o.timeout = 500 * MS;
	o.max_queue = 6;
	doc = run("silent", o);
	assert_int_equal(total(doc, "requests"), 500);
	assert_true(error_count(doc, "overload") > 400);
	assert_int_equal(total(doc, "failed"), 500);
}

static void test_connect_timeout(void **state)
{
	struct load_options o = defaults();
	json_auto_t *doc = NULL;

	(void)state;
	o.close = true;
	o.rate = 50;
	o.connections = 100;
	o.timeout = 300 * MS;
	doc = run("deaf", o);
	assert_int_equal(total(doc, "requests"), 50);
	assert_true(error_count(doc, "connect_timeout") >= 40);
	assert_int_equal(error_count(doc, "connect_timeout") + error_count(doc, "timeout"), 50);
}

static void test_vanish(void **state)
{
	json_auto_t *doc = run("vanish", defaults());

	(void)state;
	assert_int_equal(total(doc, "requests"), 500);
	assert_in_range(total(doc, "ok"), 195, 200);
	assert_true(error_count(doc, "connect_refused") >= 290);
	assert_int_equal(error_count(doc, "connect_refused") + error_count(doc, "closed") +
				 error_count(doc, "reset"),
		total(doc, "failed"));
}

static void test_statuses(void **state)
{
	json_auto_t *missing = run("missing", defaults());
	json_auto_t *unavailable = run("unavailable", defaults());

	(void)state;
	assert_all_failed(missing, "http_4xx", 500);
	assert_all_failed(unavailable, "http_5xx", 500);
	assert_int_equal(total(missing, "reconnects"), 0);
}

static void test_malformed(void **state)
{
	json_auto_t *garbage = run("garbage", defaults());
	json_auto_t *stray = run("stray", defaults());

	(void)state;
	assert_all_failed(garbage, "malformed", 500);
	assert_all_failed(stray, "malformed", 500);
}

/* The point of it all. The server does nothing for a second. A third of all requests of these three
 * seconds are due meanwhile or stand in the queue behind, the first of them waits for the whole
 * second, and the percentiles must say so. The service time, counted from the actual send, knows
 * only of the few that were on their way: that is what coordinated omission hides. */
static void test_no_coordinated_omission(void **state)
{
	struct load_options o = defaults();
	json_auto_t *open = NULL, *closed = NULL;

	(void)state;
	o.rate = 1000;
	o.duration = 3000 * MS;
	for (int tries = 0; tries < 5; tries++) {
		json_decref(open);
		open = run("stall", o);
		assert_all_ok(open, 3000);
		if (total_ms(open, "p50_us") < 300) /* else the host had a stall of its own */
			break;
	}
	assert_true(total_ms(open, "p50_us") < 300);
	assert_true(total_ms(open, "p90_us") > 500 && total_ms(open, "p90_us") < 1000);
	assert_true(total_ms(open, "p99_us") > 900 && total_ms(open, "p99_us") < 1300);
	assert_true(total_ms(open, "max_us") > 950);
	assert_true(total_ms(open, "service_p99_us") < 300);
	assert_true(total_ms(open, "service_max_us") > 900);

	o.rate = 0;
	o.closed_loop = true;
	closed = run("stall", o);
	assert_int_equal(total(closed, "failed"), 0);
	assert_true(total(closed, "ok") > 1000);
	assert_true(total_ms(closed, "p99_us") < 300);
	assert_true(total_ms(closed, "max_us") > 900);
}

static void test_unreachable(void **state)
{
	_cleanup_(load_result_freep) struct load_result *result = NULL;
	struct load_server server = {0};
	struct load_options o = defaults();
	struct weft_err err = {0};

	(void)state;
	assert_int_equal(load_server_start("ok", &server), 0);
	load_server_stop(&server);
	o.url = server.url;
	assert_int_equal(load_run(&o, &result, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.msg, "refused"));
	assert_non_null(strstr(err.hint, server.url));
	assert_null(result);
}

static void test_bad_urls(void **state)
{
	static const char *const urls[] = {"", "127.0.0.1", "ftp://127.0.0.1/", "http://",
		"http://127.0.0.1:99999/", "http://a@127.0.0.1/", "http:// /"};
	struct load_options o = defaults();
	struct load_result *result = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
		struct weft_err err = {0};

		o.url = urls[i];
		assert_int_equal(load_run(&o, &result, &err), -EINVAL);
		assert_true(err.msg[0] && err.hint[0]);
	}
	assert_null(result);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_odd_shares),
		cmocka_unit_test(test_poisson),
		cmocka_unit_test(test_warmup),
		cmocka_unit_test(test_new_connections),
		cmocka_unit_test(test_chunked),
		cmocka_unit_test(test_server_closes),
		cmocka_unit_test(test_early_close),
		cmocka_unit_test(test_stale),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_silent),
		cmocka_unit_test(test_overload),
		cmocka_unit_test(test_connect_timeout),
		cmocka_unit_test(test_vanish),
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_no_coordinated_omission),
		cmocka_unit_test(test_unreachable),
		cmocka_unit_test(test_bad_urls),
	};

	if (argc == 3 && strcmp(argv[1], "--serve") == 0)
		return load_server_main(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
