/* SPDX-License-Identifier: Apache-2.0 */
/* weft: what each table looks like, and that no answer, however odd, brings the program down. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "ctrl/base/util.h"
#include "tests/lib/cli_run.h"

/* "@NUMBER" in a document stands for the time so many seconds ago, in ms. */
static char *dated(const char *doc)
{
	char *ret = NULL;
	size_t size;
	FILE *f = open_memstream(&ret, &size);

	for (const char *p = doc; *p; p++) {
		char *end;

		if (*p != '@') {
			fputc(*p, f);
			continue;
		}
		fprintf(f, "%llu",
			(unsigned long long)weft_realtime_ms() - strtoull(p + 1, &end, 10) * 1000 -
				300);
		p = end - 1;
	}
	fclose(f);
	return ret;
}

static const char status_doc[] =
	"{\"version\": \"0.1.0\", \"uptime_s\": 273700, \"role\": \"all\", \"node\": {\"name\": "
	"\"edge-1\", \"arch\": \"amd64\"}, \"runtimes\": ["
	"{\"virtualization\": \"container\", \"arch\": \"amd64\", \"usable\": true, \"version\": "
	"\"1.6.20\", \"detail\": \"runc 1.1.5\"},"
	"{\"virtualization\": \"gvisor\", \"arch\": \"amd64\", \"usable\": false, \"version\": \"\", "
	"\"detail\": \"runsc is not in PATH\"},"
	"{\"virtualization\": \"unikernel\", \"arch\": \"amd64\", \"usable\": true, \"version\": "
	"\"7.2\", \"detail\": \"kvm\"}],"
	"\"dataplane\": {\"state\": \"ok\", \"hook\": \"tcx\", \"services\": 2, \"instances\": 3, "
	"\"flows\": 4930, \"flow_capacity\": 65536, \"drops\": 0},"
	"\"store\": {\"kind\": \"sqlite\", \"state\": \"ok\"}, \"services\": 2, \"instances\": 3, "
	"\"swaps_running\": 1}";

static const char service_doc[] =
	"{\"name\": \"shop.web\", \"job_name\": \"shop.default.web.default\", \"vip\": "
	"\"10.30.0.2\", \"vips\": {\"rr\": \"10.30.0.2\", \"closest\": \"10.30.0.7\"}, \"vips6\": {\"rr\": \"fdff:2000::2\"}, \"ports\": [\"80:8080/tcp\"], \"published_at\": \"192.0.2.1\", \"phase\": \"running\", \"detail\": \"\", \"active\": \"container\", "
	"\"replicas\": 2, \"ready\": 1, \"instances\": [\"shop.web.1\", \"shop.web.2\"], \"swap\": "
	"null, \"variants\": [{\"virtualization\": \"container\", \"code\": "
	"\"file:///images/nginx.tar\", \"arch\": [\"amd64\", \"arm64\"], \"memory_mb\": 64, "
	"\"vcpus\": 1, \"network\": \"veth\"}, {\"virtualization\": \"unikernel\", \"code\": "
	"\"file:///images/web.tar.gz\", \"arch\": [\"amd64\"], \"memory_mb\": 32, \"vcpus\": 1, "
	"\"network\": \"macvtap\"}], \"created_ms\": @7200, \"counters\": {\"packets\": 123456, "
	"\"bytes\": 3250586, \"new_flows\": 4930, \"rx_packets\": 99, \"rx_bytes\": 512}}";

static const char instance_doc[] =
	"{\"id\": \"shop.web.1\", \"service\": \"shop.web\", \"virtualization\": \"container\", "
	"\"arch\": \"amd64\", \"node\": \"edge-1\", \"phase\": \"ready\", \"detail\": \"\", "
	"\"ns_addr\": \"10.18.0.2\", \"inst_addr\": \"10.30.1.1\", \"ns_addr6\": \"fc00::2\", \"inst_addr6\": null, \"mac\": \"02:00:0a:12:00:02\", "
	"\"network\": \"veth\", \"device\": \"weft0.1\", \"weight\": 100, \"flows\": 12, \"pid\": 4121, \"cpu_ns\": "
	"190400000, \"memory_bytes\": 9751756, \"rx_bytes\": 20480, \"rx_packets\": 12345, \"tx_bytes\": 3250586, \"tx_packets\": 42, "
	"\"rates\": {\"t_ms\": 1700000000000, \"interval_s\": 2.0, \"cpu\": 0.256, \"rx_bytes\": 1.5}, "
	"\"times\": {\"prepare_ms\": 1.25, \"start_ms\": 42.0, \"first_answer_ms\": 71.5, \"stop_ms\": null}, \"image\": \"sha256:9c1\", \"created_ms\": @90, "
	"\"started_ms\": @90, \"ready_ms\": @89}";

static const char swap_doc[] =
	"{\"id\": \"7f3a\", \"service\": \"shop.web\", \"from\": \"container\", \"to\": "
	"\"unikernel\", \"state\": \"rolled-back\", \"detail\": \"\", \"strategy\": \"linear\", "
	"\"duration_ms\": 5000, \"drain_ms\": 30000, \"old\": [\"shop.web.1\"], \"new\": "
	"[\"shop.web.2\"], \"weight_new\": 0.0, \"flows_old\": 0, \"started_ms\": 1700000000000, "
	"\"ended_ms\": 1700000030700, \"phases\": [{\"name\": \"prepare\", \"started_ms\": "
	"1700000000000, \"ended_ms\": 1700000000100, \"detail\": \"image sha256:9c1 3.1 MiB "
	"cached\"}, {\"name\": \"start-new\", \"started_ms\": 1700000000100, \"ended_ms\": "
	"1700000000500, \"detail\": \"shop.web.2 on edge-1, qemu pid 4121\"}, {\"name\": \"warm\", "
	"\"started_ms\": 1700000000500, \"ended_ms\": 1700000030500, \"detail\": \"\"}, {\"name\": "
	"\"rollback\", \"started_ms\": 1700000030500, \"ended_ms\": 1700000030700, \"detail\": "
	"\"shop.web.2 removed\"}], \"trace\": [{\"t_ms\": 1700000000000, \"new\": 0.0}], \"error\": "
	"{\"code\": \"timeout\", \"message\": \"instance shop.web.2 did not become ready in 30s\", "
	"\"hint\": \"weft logs shop.web.2 --tail 20\"}}";

static const char lb_doc[] =
	"{\"service\": \"shop.web\", \"policy\": \"wrr\", \"rtt_us\": 190.4, \"load\": 1.25, \"vip\": \"10.30.0.2\", \"published\": [\"192.0.2.1:80/tcp\"], \"instance\": \"shop.web.1\", "
	"\"virtualization\": \"container\", \"addr\": \"10.18.0.2\", \"vip6\": \"fdff:5000::2\", \"addr6\": \"fc00::2\", \"weight\": 40, \"share\": 0.4, "
	"\"flows\": 12, \"packets\": 12345, \"bytes\": 3250586, \"new_flows\": 4930}";
static const char flow_doc[] =
	"{\"service\": \"shop.web\", \"instance\": \"shop.web.1\", \"peer\": \"n2\", "
	"\"direction\": \"forward\", \"state\": \"established\", \"idle_s\": 3}";
static const char drop_doc[] =
	"{\"reason\": \"no_backend\", \"text\": \"the service has no backend "
	"with a weight\", \"packets\": 1234}";
static const char stat_doc[] =
	"{\"kind\": \"service\", \"name\": \"shop.web\", \"packets\": 123456, \"bytes\": 3250586, "
	"\"new_flows\": 4930, \"rx_packets\": 99, \"rx_bytes\": 512}";

static const char event_doc[] =
	"{\"seq\": 17, \"t_us\": 1795736533757960, \"mono_us\": 2112992434, \"kind\": \"weights\", "
	"\"action\": \"set\", \"object\": \"shop.web\", \"data\": {\"by\": \"hand\", \"weights\": "
	"{\"shop.web.1\": 70, \"shop.web.2\": 30}}}";

static const struct {
	const char *line, *request, *item;
	int list; /* the document is {"items": [item]} */
	const char *out;
} tables[] = {
	{"status", "GET /v1/status", status_doc, 0,
		"weftd 0.1.0  up 3d4h  role all  node edge-1 (amd64)   data plane: tcx, 2 services, 3 "
		"instances, 4.9k flows, 0 drops\n"
		"swaps running: 1  (weft swap list)\n"
		"RUNTIME    ARCH   STATE     DETAIL\n"
		"container  amd64  ok        1.6.20: runc 1.1.5\n"
		"gvisor     amd64  unusable  runsc is not in PATH\n"
		"unikernel  amd64  ok        7.2: kvm\n"
		"STORE      -      ok        sqlite\n"},
	{"status -o name", "GET /v1/status", status_doc, 0, "edge-1\n"},
	{"doctor", "GET /v1/status", status_doc, 0,
		"✓ daemon       weftd 0.1.0, role all, up 3d4h\n"
		"✓ data plane   tcx, 4.9k of 66k flows, 0 drops\n"
		"✓ store        sqlite\n"
		"✓ container    amd64  1.6.20: runc 1.1.5\n"
		"– gvisor       amd64  runsc is not in PATH\n"
		"✓ unikernel    amd64  7.2: kvm\n"},
	{"service list", "GET /v1/services", service_doc, 1,
		"SERVICE   VIP        PHASE    INSTANCES  RUNTIME    VARIANTS             SWAP  FLOWS  "
		"AGE\n"
		"shop.web  10.30.0.2  running        1/2  container  container,unikernel  -      4.9k   "
		"2h\n"},
	{"service list -o wide --no-headers", "GET /v1/services", service_doc, 1,
		"shop.web  10.30.0.2  running  1/2  container  container,unikernel  -  4.9k  123k  3.1 "
		"MiB  99  512 B  2h  shop.default.web.default  rr=10.30.0.2,closest=10.30.0.7  rr=fdff:2000::2  -  80:8080/tcp  192.0.2.1  -  shop.web.1,shop.web.2  -  -  -  -\n"},
	{"service list -o name", "GET /v1/services", service_doc, 1, "shop.web\n"},
	{"service show shop.web", "GET /v1/services/shop.web", service_doc, 0,
		"SERVICE        shop.web\n"
		"VIP            10.30.0.2\n"
		"PHASE          running\n"
		"INSTANCES      1/2\n"
		"RUNTIME        container\n"
		"VARIANTS       container,unikernel\n"
		"SWAP           -\n"
		"FLOWS          4.9k\n"
		"PACKETS        123k\n"
		"BYTES          3.1 MiB\n"
		"RX-PACKETS     99\n"
		"RX-BYTES       512 B\n"
		"AGE            2h\n"
		"JOB            shop.default.web.default\n"
		"VIPS           rr=10.30.0.2,closest=10.30.0.7\n"
		"VIPS6          rr=fdff:2000::2\n"
		"SHORTCUT       -\n"
		"PORTS          80:8080/tcp\n"
		"PUBLISHED-AT   192.0.2.1\n"
		"PUBLISHED-AT6  -\n"
		"IDS            shop.web.1,shop.web.2\n"
		"RESTARTS       -\n"
		"NEXT-TRY       -\n"
		"VERSION        -\n"
		"DETAIL         -\n"
		"\n"
		"VARIANT    ARCH         MEMORY  VCPUS  NETWORK  IMAGE\n"
		"container  amd64,arm64  64 MiB      1  veth     file:///images/nginx.tar\n"
		"unikernel  amd64        32 MiB      1  macvtap  file:///images/web.tar.gz\n"},
	{"instance list", "GET /v1/instances", instance_doc, 1,
		"INSTANCE    SERVICE   RUNTIME    PHASE  ADDRESS    WEIGHT  FLOWS    CPU   MEMORY  "
		"    RX       TX  AGE\n"
		"shop.web.1  shop.web  container  ready  10.18.0.2     100     12  190ms  9.3 MiB  "
		"20 KiB  3.1 MiB   1m\n"},
	{"instance show shop.web.1", "GET /v1/instances/shop.web.1", instance_doc, 0,
		"INSTANCE      shop.web.1\n"
		"SERVICE       shop.web\n"
		"RUNTIME       container\n"
		"PHASE         ready\n"
		"ADDRESS       10.18.0.2\n"
		"WEIGHT        100\n"
		"FLOWS         12\n"
		"CPU           190ms\n"
		"MEMORY        9.3 MiB\n"
		"RX            20 KiB\n"
		"TX            3.1 MiB\n"
		"AGE           1m\n"
		"CPU/S         26%\n"
		"RX-PACKETS    12k\n"
		"TX-PACKETS    42\n"
		"PREPARE       1.2ms\n"
		"START         42ms\n"
		"FIRST-ANSWER  72ms\n"
		"ARCH          amd64\n"
		"NODE          edge-1\n"
		"PID           4121\n"
		"INSTANCE-IP   10.30.1.1\n"
		"ADDRESS6      fc00::2\n"
		"INSTANCE-IP6  -\n"
		"MAC           02:00:0a:12:00:02\n"
		"NETWORK       veth\n"
		"DEVICE        weft0.1\n"
		"IMAGE         sha256:9c1\n"
		"DETAIL        -\n"},
	{"swap list -o wide", "GET /v1/swaps", swap_doc, 1, NULL},
	{"swap list -o name", "GET /v1/swaps", swap_doc, 1, "7f3a\n"},
	{"swap show 7f3a", "GET /v1/swaps/7f3a", swap_doc, 0,
		"swap 7f3a  shop.web  container → unikernel\n"
		"  ✓ prepare     image sha256:9c1 3.1 MiB cached           0.1s\n"
		"  ✓ start-new   shop.web.2 on edge-1, qemu pid 4121       0.4s\n"
		"  ✗ warm                                                  30s\n"
		"  ✓ rollback    shop.web.2 removed                        0.2s\n"
		"swap 7f3a of shop.web was rolled back: instance shop.web.2 did not become ready in "
		"30s\n"
		"hint: weft logs shop.web.2 --tail 20\n"},
	{"dp lb list", "GET /v1/dp/lb", lb_doc, 1,
		"SERVICE   POLICY  VIP        BACKEND     RUNTIME    ADDRESS    WEIGHT  SHARE  FLOWS  "
		"NEW-FLOWS  PACKETS    BYTES\n"
		"shop.web  wrr     10.30.0.2  shop.web.1  container  10.18.0.2      40    40%     12       "
		"4.9k      12k  3.1 MiB\n"},
	{"dp lb list -o wide --no-headers", "GET /v1/dp/lb", lb_doc, 1,
		"shop.web  wrr  10.30.0.2  192.0.2.1:80/tcp  shop.web.1  container  10.18.0.2  fdff:5000::2  fc00::2  40  40%  "
		"190µs  1.25  "
		"12  4.9k  12k  3.1 MiB\n"},
	{"dp lb list --service shop.web", "GET /v1/dp/lb?service=shop.web", lb_doc, 1, NULL},
	{"service weights shop.web", "GET /v1/dp/lb?service=shop.web", lb_doc, 1,
		"INSTANCE    RUNTIME    WEIGHT  SHARE  FLOWS\n"
		"shop.web.1  container      40    40%     12\n"},
	{"events", "GET /v1/events", event_doc, 1,
		"SEQ  TIME                     KIND     OBJECT    EVENT  DETAIL\n"
		" 17  2026-11-26 23:42:13.757  weights  shop.web  set    by=hand shop.web.1=70 "
		"shop.web.2=30\n"},
	{"events --since 16 -o wide --no-headers", "GET /v1/events?since=16", event_doc, 1,
		"17  2026-11-26 23:42:13.757  2112.992434  weights  shop.web  set  by=hand "
		"shop.web.1=70 shop.web.2=30\n"},
	{"events -o name", "GET /v1/events", event_doc, 1, "17\n"},
	{"dp flows list", "GET /v1/dp/flows", flow_doc, 1,
		"SERVICE   BACKEND     DIRECTION  STATE        IDLE\n"
		"shop.web  shop.web.1  forward    established    3s\n"},
	{"dp flows list --no-headers --service shop.web --instance shop.web.1 --peer n2 "
	 "--limit 1 --after 77",
		"GET /v1/dp/flows?service=shop.web&instance=shop.web.1&peer=n2&limit=1&after=77",
		flow_doc, 1, "shop.web  shop.web.1  forward  established  3s\n"},
	{"dp flows list --after 0 -o name", "GET /v1/dp/flows?after=0", flow_doc, 1,
		"shop.web.1\n"},
	{"dp drops list", "GET /v1/dp/drops", drop_doc, 1,
		"REASON      PACKETS  MEANING\n"
		"no_backend     1.2k  the service has no backend with a weight\n"},
	{"dp stats list", "GET /v1/dp/stats", stat_doc, 1,
		"KIND     NAME      NEW-FLOWS  PACKETS    BYTES  RX-PACKETS  RX-BYTES\n"
		"service  shop.web       4.9k     123k  3.1 MiB          99     512 B\n"},
};

static char *make_doc(size_t i)
{
	char *item = dated(tables[i].item), *doc;

	if (!tables[i].list)
		return item;
	doc = weft_strf("{\"items\": [%s], \"total\": 1}", item);
	free(item);
	return doc;
}

static void each_table_looks_like_this(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		char *doc = make_doc(i);
		struct fake_reply reply = {.status = 200, .body = doc};
		struct fake_route routes[] = {{tables[i].request, &reply, 1}, {0}};
		struct cli_run r = cli_run(routes, tables[i].line);

		assert_run(&r, 0, tables[i].out, "");
		assert_true(*r.out);
		cli_run_done(&r);
		free(doc);
	}
}

/* What a counter has grown by between two looks, a second apart; one that began anew has no rate.
 */
static void watching_shows_rates(void **state)
{
	static const char first[] =
		"{\"items\": [{\"kind\": \"service\", \"name\": \"a\", \"packets\": 1000, \"bytes\": 7}, "
		"{\"kind\": \"instance\", \"name\": \"a\", \"packets\": 5, \"bytes\": 0}]}";
	static const char second[] =
		"{\"items\": [{\"kind\": \"instance\", \"name\": \"a\", \"packets\": 4, \"bytes\": 0}, "
		"{\"kind\": \"service\", \"name\": \"a\", \"packets\": 9001000, \"bytes\": 7}]}";
	struct fake_reply replies[] = {{.status = 200, .body = first},
		{.status = 200, .body = second}, {.status = 404, .body = "{}"}};
	struct fake_route routes[] = {{"GET /v1/dp/stats", replies, 3}, {0}};
	struct cli_run r = cli_run(routes, "dp stats -w --no-headers");
	char rate[16] = "";

	(void)state;
	/* nothing to compare the first look with */
	if (!strstr(r.out, "service   a  -  -  1.0k  -  7 B  -  -  -  -  -\n"))
		fail_msg("%s", r.out);
	if (!strstr(r.out, "-  0 B  0 B  -  -  -  -\n"))
		fail_msg("%s", r.out);
	assert_non_null(strstr(r.out, "9.0M"));
	assert_int_equal(sscanf(strstr(r.out, "9.0M"), "9.0M %15s 7 B 0 B", rate), 1);
	/* nine million in a second or, on a machine that is busy, some more */
	assert_non_null(strpbrk(rate, "kM"));
	assert_in_range(atoi(rate), 1, 999);
	cli_run_done(&r);
}

/* Of a large table a page may be empty and yet not the last. */
static void an_empty_page_is_not_the_end(void **state)
{
	static const char more[] = "{\"items\": [], \"total\": 5000, \"next\": 1048576}";
	static const char none[] = "{\"items\": [], \"total\": 0, \"next\": null}";
	struct fake_reply replies[] = {
		{.status = 200, .body = more}, {.status = 200, .body = none}};
	struct fake_route routes[] = {{"GET /v1/dp/flows", replies, 2}, {0}};
	struct cli_run r = cli_run(routes, "dp flows --no-headers");

	(void)state;
	assert_run(&r, 0, "", "0 of 5000 entries; more: --after 1048576\n");
	cli_run_done(&r);
	routes[0].replies = &replies[1];
	r = cli_run(routes, "dp flows --no-headers");
	assert_run(&r, 0, "", "no flows\n");
	cli_run_done(&r);
}

static void drops_that_counted_nothing_are_left_out(void **state)
{
	static const char doc[] = "{\"items\": [{\"reason\": \"truncated\", \"text\": \"a\", "
				  "\"packets\": 0}, {\"reason\": \"vlan\", \"text\": \"b\", "
				  "\"packets\": 3}]}";
	static const char none[] = "{\"items\": [{\"reason\": \"truncated\", \"packets\": 0}]}";
	struct fake_reply reply = {.status = 200, .body = doc};
	struct fake_route routes[] = {{"GET /v1/dp/drops", &reply, 1}, {0}};
	struct cli_run r = cli_run(routes, "dp drops --no-headers");

	(void)state;
	assert_run(&r, 0, "vlan  3  b\n", "");
	cli_run_done(&r);
	r = cli_run(routes, "dp drops --no-headers --all");
	assert_run(&r, 0, "truncated  0  a\nvlan       3  b\n", "");
	cli_run_done(&r);
	r = cli_run(routes, "dp drops -o name");
	assert_run(&r, 0, "vlan\n", "");
	cli_run_done(&r);
	r = cli_run(routes, "dp drops -o json");
	assert_run(&r, 0, doc, "");
	cli_run_done(&r);
	reply.body = none;
	r = cli_run(routes, "dp drops");
	assert_run(&r, 0, "", "no packet was dropped\n");
	cli_run_done(&r);
}

static void colors_mark_states_only(void **state)
{
	char *doc = dated(service_doc), *list = weft_strf("{\"items\": [%s]}", doc);
	struct fake_reply reply = {.status = 200, .body = list};
	struct fake_route routes[] = {{"GET /v1/services", &reply, 1}, {0}};
	struct cli_run r = cli_run(routes, "service list --color always");

	(void)state;
	assert_int_equal(r.status, 0);
	assert_non_null(strstr(r.out, "\033[32mrunning"));
	assert_null(strstr(r.out, "\033[31m"));
	cli_run_done(&r);
	r = cli_run(routes, "service list");
	assert_null(strchr(r.out, '\033'));
	cli_run_done(&r);
	free(list);
	free(doc);
}

static void without_utf8_everything_is_ascii(void **state)
{
	struct fake_reply reply = {.status = 200, .body = swap_doc};
	struct fake_route routes[] = {{"GET /v1/swaps/7f3a", &reply, 1}, {0}};
	struct cli_run r = cli_run_with(routes, "swap show 7f3a", CLI_RUN_ASCII, NULL);

	(void)state;
	assert_non_null(strstr(r.out, "container -> unikernel\n  + prepare "));
	assert_non_null(strstr(r.out, "\n  x warm "));
	for (const char *p = r.out; *p; p++)
		assert_true((unsigned char)*p < 0x80);
	cli_run_done(&r);
}

static void text_of_the_api_cannot_write_to_the_terminal(void **state)
{
	static const char hostile[] =
		"{\"id\": \"7\\u001b[2J\", \"service\": \"a\\nb\", \"name\": \"\\u009b2J\", \"phase\": "
		"\"\\u001b]0;x\\u0007\", \"state\": \"done\", \"phases\": [{\"name\": \"warm\\u001b\", "
		"\"detail\": \"\\u001b[31m\"}]}";
	static const char *const lines[][2] = {
		{"swap show x", "GET /v1/swaps/x"},
		{"service show x", "GET /v1/services/x"},
		{"service show x -o name", "GET /v1/services/x"},
		{"instance show x", "GET /v1/instances/x"},
		{"swap watch x", "GET /v1/swaps/x"},
	};
	struct fake_reply reply = {.status = 200, .body = hostile};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct fake_route routes[] = {{lines[i][1], &reply, 1}, {0}};
		struct cli_run r = cli_run(routes, lines[i][0]);

		assert_int_equal(r.status, 0);
		assert_null(strchr(r.out, '\033'));
		assert_null(strchr(r.out, '\a'));
		assert_null(strstr(r.out, "\xc2\x9b"));
		cli_run_done(&r);
	}
}

/* --- every value of every document, replaced by something else ---------------------------------
 */

struct mutation {
	size_t at, n; /* the at-th value is replaced; n values were seen */
	int kind;
};

#define KINDS 6

static json_t *odd_value(int kind)
{
	switch (kind) {
	case 0:
		return json_null();
	case 1:
		return json_integer(-7);
	case 2:
		return json_real(1e300);
	case 3:
		return json_string("\033[31m odd \xf0\x9f\x98\x80");
	case 4:
		return json_pack("[s, i, n]", "x", 7);
	default:
		return json_pack("{s:{}}", "items");
	}
}

static void mutate(json_t *v, struct mutation *m)
{
	const char *key;
	json_t *child;
	size_t i;

	json_object_foreach (v, key, child) {
		if (m->n++ == m->at) {
			json_object_set_new(v, key, odd_value(m->kind));
			return;
		}
		mutate(child, m);
	}
	json_array_foreach (v, i, child) {
		if (m->n++ == m->at) {
			json_array_set_new(v, i, odd_value(m->kind));
			return;
		}
		mutate(child, m);
	}
}

static size_t count_values(const char *text)
{
	struct mutation m = {.at = SIZE_MAX};
	json_t *doc = json_loads(text, 0, NULL);

	assert_non_null(doc);
	mutate(doc, &m);
	json_decref(doc);
	return m.n;
}

static char *mutated(const char *text, size_t at, int kind)
{
	struct mutation m = {.at = at, .kind = kind};
	json_t *doc = json_loads(text, 0, NULL);
	char *ret;

	mutate(doc, &m);
	ret = json_dumps(doc, 0);
	json_decref(doc);
	return ret;
}

static void survive(const char *line, const char *request, const char *text)
{
	size_t n = count_values(text) * KINDS;
	struct fake_reply *replies = calloc(n, sizeof(*replies));
	struct fake_route routes[] = {{request, replies, n}, {0}};
	struct fake_api *api;
	char *full;

	for (size_t i = 0; i < n; i++)
		replies[i] = (struct fake_reply){
			.status = 200, .body = mutated(text, i / KINDS, (int)(i % KINDS))};
	api = fake_api_start(routes);
	full = weft_strf("-H %s %s --timeout 10", fake_api_host(api), line);
	for (size_t i = 0; i < n; i++) {
		struct cli_run r = cli_run(NULL, full);

		if (r.status > 1 || strchr(r.out, '\033'))
			fail_msg("%s: status %d\n%s\n%s\n%s", line, r.status, replies[i].body,
				r.out, r.err);
		cli_run_done(&r);
	}
	free(fake_api_stop(api));
	for (size_t i = 0; i < n; i++)
		free((char *)replies[i].body);
	free(full);
	free(replies);
}

static void no_answer_brings_it_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		char *doc = make_doc(i);

		survive(tables[i].line, tables[i].request, doc);
		free(doc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_table_looks_like_this),
		cmocka_unit_test(watching_shows_rates),
		cmocka_unit_test(an_empty_page_is_not_the_end),
		cmocka_unit_test(drops_that_counted_nothing_are_left_out),
		cmocka_unit_test(colors_mark_states_only),
		cmocka_unit_test(without_utf8_everything_is_ascii),
		cmocka_unit_test(text_of_the_api_cannot_write_to_the_terminal),
		cmocka_unit_test(no_answer_brings_it_down),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	setenv("TZ", "UTC", 1);
	unsetenv("NO_COLOR");
	unsetenv("WEFT_HOST");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
