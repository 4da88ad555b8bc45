/* SPDX-License-Identifier: Apache-2.0 */
/* weft: what changes instances, weights, interfaces and peers. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/cli_routes.h"

static void others_are_done_after_one_that_is_refused(void **state)
{
	static const char refusal[] =
		"{\"error\": {\"code\": \"not_found\", \"message\": \"b: no such thing\"}}";
	const struct fake_route *routes =
		ROUTES(ROUTE("POST /v1/instances/a/pause", {.status = 200, .body = "{}"}),
			ROUTE("POST /v1/instances/b/pause", {.status = 404, .body = refusal}),
			ROUTE("DELETE /v1/images?image=a",
				{.status = 200, .body = "{\"removed\": [\"a\"]}"}),
			ROUTE("DELETE /v1/images?image=b", {.status = 404, .body = refusal}));
	struct cli_run r = cli_run(routes, "instance pause b a");

	(void)state;
	assert_run(&r, 7, "instance a paused\n", "error: b: no such thing\n");
	cli_run_done(&r);
	r = cli_run(routes, "instance pause b");
	assert_run(&r, 3, "", "error: b: no such thing\n");
	cli_run_done(&r);
	r = cli_run(routes, "image remove b a");
	assert_run(&r, 7, "image a removed\n", "error: b: no such thing\n");
	cli_run_done(&r);
}

static void weights_are_set_and_given_back(void **state)
{
	static const char lb[] = "{\"items\": [{\"instance\": \"shop.web.1\", \"virtualization\": "
				 "\"native\", \"weight\": 70, \"share\": 0.7, \"flows\": 0}]}";
	const struct fake_route *routes = ROUTES(
		ROUTE("POST /v1/services/shop.web/weights", {.status = 200, .body = "{}"}),
		ROUTE("DELETE /v1/services/shop.web/weights", {.status = 200, .body = "{}"}),
		ROUTE("GET /v1/dp/lb?service=shop.web", {.status = 200, .body = lb}));
	struct cli_run r = cli_run(routes, "service weights shop.web 1=70 shop.web.2=30");

	(void)state;
	assert_run(&r, 0,
		"INSTANCE    RUNTIME  WEIGHT  SHARE  FLOWS\n"
		"shop.web.1  native       70    70%      0\n",
		"");
	assert_string_equal(r.requests,
		"POST /v1/services/shop.web/weights {\"weights\":{\"1\":70,\"shop.web.2\":30}}\n"
		"GET /v1/dp/lb?service=shop.web\n");
	cli_run_done(&r);
	r = cli_run(routes, "service weights shop.web --reset -o json");
	assert_run(&r, 0, "{}", "");
	assert_string_equal(r.requests, "DELETE /v1/services/shop.web/weights\n");
	cli_run_done(&r);
	r = cli_run(routes, "service weights shop.web 1=70 1=30");
	assert_run(&r, 2, "", "error: instance 1 has two weights\n");
	cli_run_done(&r);
	r = cli_run(routes, "service weights shop.web 1:70");
	assert_run(&r, 2, "",
		"error: \"1:70\": not an instance and its weight\n"
		"hint: weft service weights SERVICE INSTANCE=NUMBER ...\n");
	cli_run_done(&r);
	r = cli_run(routes, "service weights shop.web 1=70 --reset");
	assert_run(&r, 2, "",
		"error: weft service weights: set them or reset them?\n"
		"hint: weft service weights shop.web --reset\n");
	assert_string_equal(r.requests, "");
	cli_run_done(&r);
}

static void a_shortcut_is_switched(void **state)
{
	static const char on[] = "{\"name\": \"shop.web\", \"shortcut\": {\"state\": \"on\", "
				 "\"sockets\": 2, \"messages\": 12, \"bytes\": 512}}";
	static const char unable[] = "{\"name\": \"shop.web\", \"shortcut\": {\"state\": "
				     "\"unavailable\", \"detail\": \"no cgroup v2\"}}";
	const struct fake_route *routes = ROUTES(ROUTE("POST /v1/services/shop.web/settings",
		{.status = 200, .body = on}, {.status = 200, .body = unable}));
	struct cli_run r = cli_run(routes, "service set shop.web shortcut=on");

	(void)state;
	assert_run(&r, 0, "service shop.web: shortcut on: 2 sockets, 12 messages, 512 B\n", "");
	assert_string_equal(
		r.requests, "POST /v1/services/shop.web/settings {\"shortcut\":true}\n");
	cli_run_done(&r);
	r = cli_run(routes, "service set shop.web shortcut=sideways");
	assert_run(&r, 2, "",
		"error: \"shortcut=sideways\": not a setting\n"
		"hint: weft service set SERVICE shortcut=on, or shortcut=off\n");
	assert_string_equal(r.requests, "");
	cli_run_done(&r);
}

static void interfaces_come_and_go(void **state)
{
	static const char vm1[] = "{\"id\": \"vm1\", \"device\": \"tap0\", \"inst_addr\": "
				  "\"10.30.128.3\"}";
	const struct fake_route *routes =
		ROUTES(ROUTE("POST /v1/instances", {.status = 201, .body = vm1}),
			ROUTE("DELETE /v1/instances/vm1", {.status = 200, .body = vm1}));
	struct cli_run r = cli_run(routes,
		"instance attach vm1 --service shop.web --device tap0 --ns-addr 10.18.0.40 --mac "
		"52:54:00:12:34:56 --weight 2");

	(void)state;
	assert_run(&r, 0, "instance vm1: attached by tap0, instance address 10.30.128.3\n", "");
	assert_string_equal(r.requests,
		"POST /v1/instances {\"name\":\"vm1\",\"service\":\"shop.web\",\"device\":\"tap0\","
		"\"ns_addr\":\"10.18.0.40\",\"mac\":\"52:54:00:12:34:56\",\"weight\":2}\n");
	cli_run_done(&r);
	r = cli_run(routes, "instance attach vm1 --netns blue --ns-addr 10.18.0.40 -o name");
	assert_run(&r, 0, "vm1\n", "");
	assert_string_equal(r.requests,
		"POST /v1/instances {\"name\":\"vm1\",\"netns\":\"/run/netns/blue\",\"ns_addr\":"
		"\"10.18.0.40\"}\n");
	cli_run_done(&r);
	r = cli_run(routes, "instance detach vm1");
	assert_run(&r, 0, "instance vm1: detached\n", "");
	cli_run_done(&r);
	r = cli_run(routes, "instance attach vm1 --ns-addr 10.18.0.40");
	assert_run(&r, 2, "",
		"error: weft instance attach vm1: by which device, or in which namespace?\n"
		"hint: one of --device NAME and --netns PATH\n");
	cli_run_done(&r);
	r = cli_run(routes, "instance attach vm1 --device a --netns b --ns-addr 10.18.0.40");
	assert_int_equal(r.status, 2);
	cli_run_done(&r);
	r = cli_run(routes, "instance attach vm1 --device a");
	assert_run(&r, 2, "",
		"error: weft instance attach vm1: which address does it have?\n"
		"hint: --ns-addr ADDR: that of the interface itself\n");
	assert_string_equal(r.requests, "");
	cli_run_done(&r);
}

static void peers_come_and_go(void **state)
{
	static const char b[] =
		"{\"name\": \"b\", \"mtu\": 1450, \"instances\": 3, \"problem\": \"\"}";
	static const char far[] =
		"{\"name\": \"b\", \"mtu\": 0, \"problem\": \"there is no uplink\"}";
	const struct fake_route *routes =
		ROUTES(ROUTE("POST /v1/peers", {.status = 201, .body = b}),
			ROUTE("GET /v1/export", {.status = 200, .body = "{\"node\": \"a\"}"}),
			ROUTE("POST /v1/peers/b/instances", {.status = 200, .body = b}),
			ROUTE("DELETE /v1/peers/b", {.status = 200, .body = b}));
	struct cli_run r =
		cli_run(routes, "peer add b --address 192.0.2.1 --format raw --port 7 --mtu 1400");

	(void)state;
	assert_run(&r, 0, "peer b: known, packets of up to 1450 bytes fit the tunnel\n", "");
	assert_string_equal(r.requests,
		"POST /v1/peers {\"name\":\"b\",\"address\":\"192.0.2.1\",\"format\":\"raw\","
		"\"port\":7,\"mtu\":1400}\n");
	cli_run_done(&r);
	r = cli_run(ROUTES(ROUTE("POST /v1/peers", {.status = 201, .body = far})),
		"peer add b --address 192.0.2.1");
	assert_run(&r, 0, "peer b: known, but there is no way to it yet: there is no uplink\n", "");
	cli_run_done(&r);
	r = cli_run(routes, "peer export");
	assert_run(&r, 0, "{\n  \"node\": \"a\"\n}\n", "");
	cli_run_done(&r);
	r = cli_run(routes, "peer remove b");
	assert_run(&r, 0, "peer b: removed, with its instances\n", "");
	cli_run_done(&r);
	r = cli_run(routes, "peer add b");
	assert_run(&r, 2, "",
		"error: weft peer add b: where is it?\n"
		"hint: --address ADDR: that of the other node's uplink\n");
	cli_run_done(&r);
	r = cli_run(routes, "peer import b");
	assert_run(&r, 2, "",
		"error: weft peer import b: of what?\n"
		"hint: -f FILE, or -f -: what that node's `weft peer export` says\n");
	assert_string_equal(r.requests, "");
	cli_run_done(&r);
	r = cli_run(routes, "peer add b --address a --port 0");
	assert_int_equal(r.status, 2);
	cli_run_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(others_are_done_after_one_that_is_refused),
		cmocka_unit_test(weights_are_set_and_given_back),
		cmocka_unit_test(a_shortcut_is_switched),
		cmocka_unit_test(interfaces_come_and_go),
		cmocka_unit_test(peers_come_and_go),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	setenv("TZ", "UTC", 1);
	unsetenv("NO_COLOR");
	unsetenv("WEFT_HOST");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
