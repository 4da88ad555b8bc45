/* SPDX-License-Identifier: Apache-2.0 */
/* weft trace: what a trace looks like, and what becomes of one that does not end well. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/cli_run.h"

#define GET "GET /v1/trace/shop.web?duration_ms="

#define HIST(count, p50, p90, p99, max)                                                           \
	"\"count\": " #count ", \"mean_ns\": " #p50 ".5, \"p50_ns\": " #p50 ", \"p90_ns\": " #p90 \
	", \"p99_ns\": " #p99 ", \"max_ns\": " #max ", \"buckets\": []"
#define HOP(name, part, from, to, hist)                                                          \
	"{\"name\": \"" name "\", \"part\": \"" part "\", \"from\": \"" from "\", \"to\": \"" to \
	"\", " hist "}"

#define HEAD(t, ended)                                                                           \
	"{\"service\": \"shop.web\", \"t_ms\": " #t ", \"duration_ms\": 2000, \"ended\": " ended \
	", "
#define TAIL                                                                                 \
	"\"packets\": {\"request\": {\"begun\": 12, \"read\": 11, \"lost\": 1}, \"reply\": " \
	"{\"begun\": 10, \"read\": 10, \"lost\": 0}}, \"cost\": {\"probes\": 11, "           \
	"\"hook_ns\": 240.0, \"packet_ns\": 1880.0}}\n"
#define FIRST     HEAD(0, "null") "\"groups\": [], " TAIL
#define TAP_HOP   HOP("tap", "tap", "redirect", "queued", HIST(10, 570, 610, 12040, 123456))
#define GUEST     HIST(9, 25000, 99900, 1500000, 2000000)
#define GUEST_HOP HOP("qemu and guest", "guest", "read", "host-in", GUEST)
#define ROUND     "{" HIST(9, 30000, 31000, 32000, 33000) "}"
#define WAY(direction, packets, hops, round)                                                   \
	"{\"direction\": \"" direction "\", \"packets\": " #packets ", \"hops\": [" hops "], " \
	"\"round_trip\": " round "}"
#define WAYS                                \
	WAY("request", 10, TAP_HOP, "null") \
	", " WAY("request", 1, "", "null") ", " WAY("reply", 10, GUEST_HOP, ROUND)
#define PART(part, mean, p50, share)                                         \
	"{\"part\": \"" part "\", \"mean_ns\": " #mean ", \"p50_ns\": " #p50 \
	", \"share\": " #share "}"
#define PARTS          PART("guest", 26000.0, 25000.0, 0.9) ", " PART("tap", 600.0, 570.0, 0.1)
#define GROUP          "{\"name\": \"unikernel tap\", \"ways\": [" WAYS "], \"parts\": [" PARTS "]}"
#define BODY(t, ended) HEAD(t, ended) "\"groups\": [" GROUP "], " TAIL

static void check(const char *line, const char *request, const struct fake_reply *reply, int status,
	const char *out, const char *err)
{
	const struct fake_route routes[] = {{request, reply, 1}, {0}};
	struct cli_run r = cli_run(routes, line);

	assert_run(&r, status, out, err);
	cli_run_done(&r);
}

static const struct fake_reply good = {.status = 200,
	.body = FIRST BODY(1000, "null") BODY(2000, "\"time\""),
	.type = "application/x-ndjson"};

static void table(void **state)
{
	(void)state;
	check("trace shop.web --duration 2s", GET "2000&interval_ms=1000", &good, 0,
		"shop.web, 2.0s of 2.0s\n"
		"request: 12 packets, 11 followed to their reader, 1 dropped\n"
		"reply: 10 packets, 10 followed to their reader\n"
		"\n"
		"unikernel tap\n"
		"WAY         HOP             PART      P50     P90     P99     MAX  COUNT\n"
		"request     tap             tap    0.57µs  0.61µs  12.0µs   123µs     10\n"
		"backend     qemu and guest  guest  25.0µs  99.9µs   1.5ms   2.0ms      9\n"
		"round trip  -               -      30.0µs  31.0µs  32.0µs  33.0µs      9\n"
		"(1 packets took other ways: -o wide)\n"
		"\n"
		"PART      P50    MEAN  SHARE\n"
		"guest  25.0µs  26.0µs    90%\n"
		"tap    0.57µs  0.60µs    10%\n"
		"\n"
		"the probes themselves (11) cost 0.24µs a hook, 1.88µs a packet, which is part of "
		"the times\n",
		"");
}

static void other_outputs(void **state)
{
	(void)state;
	check("trace shop.web -o json", GET "10000&interval_ms=1000", &good, 0,
		BODY(2000, "\"time\""), "");
	check("trace shop.web -o name", GET "10000&interval_ms=1000", &good, 0, "shop.web\n", "");
	/* with --watch each, but the first, which only says that it has begun */
	check("trace shop.web -o json -w", GET "10000&interval_ms=1000", &good, 0,
		BODY(1000, "null") BODY(2000, "\"time\""), "");
}

static void no_traffic(void **state)
{
	static const struct fake_reply reply = {
		.status = 200, .body = FIRST, .type = "application/x-ndjson"};

	(void)state;
	check("trace shop.web", GET "10000&interval_ms=1000", &reply, 0,
		"shop.web, 0.0s of 2.0s\n"
		"request: 12 packets, 11 followed to their reader, 1 dropped\n"
		"reply: 10 packets, 10 followed to their reader\n"
		"no packet was followed to its reader: is there traffic, from this node to this "
		"node?\n",
		"");
}

static void ended_early(void **state)
{
	static const struct fake_reply reply = {.status = 200,
		.body = FIRST HEAD(500, "\"the service is gone\"") "\"groups\": [], " TAIL,
		.type = "application/x-ndjson"};

	(void)state;
	check("trace shop.web", GET "10000&interval_ms=1000", &reply, 0, NULL,
		"the trace ended early: the service is gone\n");
}

/* --timeout ends it as ^C does: with what there is. */
static void ends_in_time(void **state)
{
	static const struct fake_reply hangs = {.status = 200,
		.body = FIRST BODY(1000, "null") BODY(2000, "\"time\""),
		.type = "application/x-ndjson",
		.cut = sizeof(FIRST BODY(1000, "null")) - 1,
		.hang_ms = 60000};
	static const struct fake_reply never = {
		.status = 200, .body = FIRST, .type = "application/x-ndjson", .delay_ms = 60000};

	(void)state;
	check("trace shop.web -o json --timeout 0.5", GET "10000&interval_ms=1000", &hangs, 0,
		BODY(1000, "null"), "");
	check("trace shop.web --timeout 0.5", GET "10000&interval_ms=1000", &never, 5, "", NULL);
}

/* The daemon goes away in between: what there is, and what to do about the rest. */
static void breaks_off(void **state)
{
	static const struct fake_reply cut = {.status = 200,
		.body = FIRST BODY(1000, "null") BODY(2000, "\"time\""),
		.type = "application/x-ndjson",
		.cut = sizeof(FIRST BODY(1000, "null")) - 1};
	const struct fake_route routes[] = {{GET "10000&interval_ms=1000", &cut, 1}, {0}};
	struct cli_run r = cli_run(routes, "trace shop.web -o json");

	(void)state;
	assert_run(&r, 6, BODY(1000, "null"), NULL);
	assert_non_null(strstr(r.err, "error: the trace broke off after 1.0s: weftd at "));
	assert_non_null(strstr(r.err, "\nhint: it has ended or was restarted: when weft status "
				      "answers, say it again: weft trace shop.web\n"));
	cli_run_done(&r);
}

static void refused(void **state)
{
	static const struct fake_reply busy = {.status = 409,
		.body = "{\"error\": {\"code\": \"conflict\", \"message\": \"service shop.web: it is "
			"being traced already\"}}\n"};
	static const struct fake_reply later = {.status = 200,
		.body = FIRST "{\"error\": {\"code\": \"failed\", \"message\": \"it broke\", "
			      "\"hint\": \"mend it\"}}\n",
		.type = "application/x-ndjson"};
	static const struct fake_reply odd = {
		.status = 200, .body = "[]\n", .type = "application/x-ndjson"};
	static const struct fake_reply nothing = {
		.status = 200, .body = "", .type = "application/x-ndjson"};

	(void)state;
	check("trace shop.web", GET "10000&interval_ms=1000", &busy, 4, "",
		"error: service shop.web: it is being traced already\n");
	check("trace shop.web", GET "10000&interval_ms=1000", &later, 1, "",
		"error: it broke\nhint: mend it\n");
	check("trace shop.web", GET "10000&interval_ms=1000", &odd, 1, "",
		"error: weftd's answer is not JSON\n");
	check("trace shop.web", GET "10000&interval_ms=1000", &nothing, 1, "",
		"error: weftd said nothing\n");
}

static void usage(void **state)
{
	static const char *const lines[] = {
		"trace", "trace a --duration never", "status --duration 5s"};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct cli_run r = cli_run(NULL, lines[i]);

		assert_int_equal(r.status, 2);
		cli_run_done(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(other_outputs),
		cmocka_unit_test(no_traffic),
		cmocka_unit_test(ended_early),
		cmocka_unit_test(ends_in_time),
		cmocka_unit_test(breaks_off),
		cmocka_unit_test(refused),
		cmocka_unit_test(usage),
	};

	setlocale(LC_ALL, "C.UTF-8");
	return cmocka_run_group_tests_name("cli_trace", tests, NULL, NULL);
}
