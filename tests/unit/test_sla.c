/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors in tests/golden/sla: NAME.json is accepted and read as NAME.txt says, or, when it is
 * called bad-*, refused with the text of NAME.txt. WEFT_UPDATE_GOLDEN=1 writes the .txt anew. */
#include "sched/sla.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "sched/sla_internal.h"

#define GOLDEN "tests/golden/sla/"

WEFT_DEFINE_CLEANUP(struct weft_sla *, weft_sla_free);

/* --- golden files
 * --------------------------------------------------------------------------------- */

static void dump_list(FILE *f, const char *what, char *const *list)
{
	if (!list)
		return;
	fprintf(f, "    %s:", what);
	for (; *list; list++)
		fprintf(f, " [%s]", *list);
	fprintf(f, "\n");
}

static void dump_container(FILE *f, const struct weft_sla_variant *v)
{
	if (v->cpu_milli || v->cpu_weight || v->pids || v->log_max_mb != 64)
		fprintf(f, "    limits: cpu %u m, weight %u, pids %u, log %u MiB\n", v->cpu_milli,
			v->cpu_weight, v->pids, v->log_max_mb);
	if (v->runtime || v->user || v->read_only)
		fprintf(f, "    runtime %s, user %s%s\n", v->runtime ? v->runtime : "-",
			v->user ? v->user : "-", v->read_only ? ", read-only" : "");
	dump_list(f, "capabilities", v->capabilities);
	for (size_t i = 0; i < v->n_volumes; i++)
		fprintf(f, "    volume %s -> %s%s\n", v->volumes[i].source, v->volumes[i].target,
			v->volumes[i].read_only ? " (read-only)" : "");
}

static void dump_variant(FILE *f, const struct weft_sla_variant *v)
{
	fprintf(f, "  %s: memory %u, vcpus %u, net %s, code %s\n", weft_virt_name(v->virt),
		v->memory_mb, v->vcpus, weft_net_kind_name(v->net), v->code ? v->code : "-");
	if (v->weight != 1)
		fprintf(f, "    weight %u\n", v->weight);
	for (size_t a = 0; a < WEFT_ARCH_COUNT; a++)
		if (v->arch[a])
			fprintf(f, "    %s: %s\n", weft_arch_name((enum weft_arch)a),
				v->image[a] ? v->image[a] : "-");
	dump_list(f, "cmd", v->cmd);
	dump_list(f, "env", v->env);
	dump_container(f, v);
}

static void dump_service(FILE *f, const struct weft_sla_service *s)
{
	char ip[INET_ADDRSTRLEN];

	fprintf(f, "%s (%s) = %s . %s . %s . %s\n", s->short_name, s->job_name, s->app, s->app_ns,
		s->name, s->name_ns);
	fprintf(f, "  rr_ip %s, node %s, replicas %u\n",
		inet_ntop(AF_INET, &s->vip[0].addr, ip, sizeof(ip)), s->node ? s->node : "any",
		s->replicas);
	if (s->shortcut)
		fprintf(f, "  shortcut\n");
	for (int p = 1; p < WEFT_POLICIES; p++)
		if (s->vip[p].wanted)
			fprintf(f, "  %s %s\n", weft_sla_vip_key((enum weft_policy)p),
				inet_ntop(AF_INET, &s->vip[p].addr, ip, sizeof(ip)));
	for (size_t i = 0; i < s->n_ports; i++)
		fprintf(f, "  port %u -> %u/%s\n", s->ports[i].host, s->ports[i].container,
			s->ports[i].proto == IPPROTO_UDP ? "udp" : "tcp");
	fprintf(f, "  readiness %s, port %u, path %s, timeout %u s\n",
		weft_probe_type_name(s->readiness.type), s->readiness.port,
		s->readiness.path ? s->readiness.path : "-", s->readiness.timeout_s);
	fprintf(f, "  swap %s, duration %u ms, drain %u ms\n",
		weft_shift_strategy_name(s->swap.strategy), s->swap.duration_ms, s->swap.drain_ms);
	for (size_t i = 0; i < s->n_variants; i++)
		dump_variant(f, &s->variants[i]);
}

/* What the parser makes of a file, as text. */
static char *outcome(const char *file, const char *text, size_t size)
{
	_cleanup_(weft_sla_freep) struct weft_sla *sla = NULL;
	struct weft_err err = {0};
	char *out = NULL;
	size_t n;
	FILE *f = open_memstream(&out, &n);
	int r = weft_sla_parse(file, text, size, &sla, &err);

	assert_non_null(f);
	if (r < 0) {
		assert_int_equal(r, -err.code);
		assert_null(sla);
		fprintf(f, "%s: %s\n", weft_err_word(r), err.msg);
		if (err.hint[0])
			fprintf(f, "hint: %s\n", err.hint);
	} else {
		fprintf(f, "customer \"%s\", %zu services\n", sla->customer, sla->n_services);
		for (size_t i = 0; i < sla->n_services; i++)
			dump_service(f, &sla->services[i]);
		for (size_t i = 0; i < sla->n_named; i++)
			fprintf(f, "ignored %s\n", sla->ignored[i]);
		if (sla->n_ignored > sla->n_named)
			fprintf(f, "ignored: %zu in all\n", sla->n_ignored);
	}
	fclose(f);
	return out;
}

static void check_golden(const char *file)
{
	_cleanup_(freep) char *json = weft_strf(GOLDEN "%s", file);
	_cleanup_(freep) char *txt = weft_strf(GOLDEN "%.*stxt", (int)strlen(file) - 4, file);
	_cleanup_(freep) char *text = NULL, *want = NULL, *got = NULL;
	size_t size;

	assert_int_equal(weft_read_file(json, SLA_TEXT_MAX, &text, &size), 0);
	got = outcome(file, text, size);
	assert_non_null(got);
	if ((strncmp(file, "bad-", 4) == 0) != (strncmp(got, "customer", 8) != 0))
		fail_msg("%s: %s", file, got);
	if (getenv("WEFT_UPDATE_GOLDEN"))
		assert_int_equal(weft_write_file(txt, got, strlen(got), 0644), 0);
	assert_int_equal(weft_read_file(txt, SLA_TEXT_MAX, &want, NULL), 0);
	if (strcmp(got, want) != 0)
		print_message("%s\n", json);
	assert_string_equal(got, want);
}

static int is_json(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return n > 5 && strcmp(e->d_name + n - 5, ".json") == 0;
}

static void test_golden(void **state)
{
	struct dirent **list;
	int n = scandir(GOLDEN, &list, is_json, alphasort);

	(void)state;
	assert_true(n > 10);
	for (int i = 0; i < n; i++) {
		check_golden(list[i]->d_name);
		free(list[i]);
	}
	free(list);
}

/* --- one microservice with one thing wrong
 * -------------------------------------------------------- */

#define HEAD                                                                           \
	"{\"sla_version\": \"v2.0\", \"customerID\": \"Admin\", \"applications\": [\n" \
	"{\"application_name\": \"shop\", \"application_namespace\": \"default\", "    \
	"\"microservices\": [\n{\n"
#define BODY                                                                         \
	"\"microservice_name\": \"web\", \"microservice_namespace\": \"default\",\n" \
	"\"virtualization\": \"container\", \"code\": \"file:///web.tar\",\n"
#define TAIL      "\n}]}]}\n"
#define SERVICE   "applications[0].microservices[0]"
#define UNIKERNEL "\"variants\": [{\"virtualization\": \"unikernel\", "
#define RR_IP     "must be 10.30.x.y with x and y from 0 to 253, and not 10.30.0.0, is "
#define NO_PORT   "required, as the microservice maps no TCP port to default to"

/* want is the message; what follows a newline in it is part of the hint. */
static void assert_text(const char *text, const char *want)
{
	_cleanup_(weft_sla_freep) struct weft_sla *sla = NULL;
	_cleanup_(freep) char *msg = strdup(want);
	struct weft_err err = {0};
	char *hint;

	assert_non_null(msg);
	hint = strchr(msg, '\n');
	if (hint)
		*hint++ = '\0';
	assert_int_equal(weft_sla_parse("f", text, strlen(text), &sla, &err), -EINVAL);
	assert_string_equal(err.msg, msg);
	if (hint)
		assert_non_null(strstr(err.hint, hint));
	assert_int_equal(weft_sla_parse("f", text, strlen(text), &sla, NULL), -EINVAL);
	assert_null(sla);
}

/* The extra line of the microservice is line 6 of the text; a ^ in it is where the error points
 * at, and is taken out. */
static void assert_bad(const char *extra, const char *want)
{
	const char *mark = strchr(extra, '^') ?: extra;
	_cleanup_(freep) char *text =
		weft_strf(HEAD BODY "%.*s%s" TAIL, (int)(mark - extra), extra, mark + 1);
	_cleanup_(freep) char *msg =
		weft_strf("f:6:%zu: " SERVICE "%s", (size_t)(mark - extra) + 1, want);

	assert_text(text, msg);
}

static struct weft_sla *assert_good(const char *extra)
{
	_cleanup_(freep) char *text = weft_strf(HEAD BODY "%s" TAIL, extra);
	struct weft_sla *sla = NULL;
	struct weft_err err = {0};

	if (weft_sla_parse("f", text, strlen(text), &sla, &err) < 0)
		print_message("%s\n", err.msg);
	assert_non_null(sla);
	return sla;
}

struct bad {
	const char *extra, *want;
};

static void assert_all_bad(const struct bad *bad, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_bad(bad[i].extra, bad[i].want);
}

static void test_types(void **state)
{
	static const struct bad bad[] = {
		{"\"memory\": ^\"64\"", ".memory: must be an integer, is a string"},
		{"\"memory\": ^64.5", ".memory: must be an integer, is 64.5"},
		{"\"memory\": ^null", ".memory: must be an integer, is null"},
		{"\"memory\": ^-1", ".memory: must be 0 to 1048576, is -1"},
		{"\"memory\": ^1048577", ".memory: must be 0 to 1048576, is 1048577"},
		{"\"vcpus\": ^1025", ".vcpus: must be 0 to 1024, is 1025"},
		{"\"vcpu\": ^true", ".vcpu: must be an integer, is true"},
		{"\"replicas\": ^-1", ".replicas: must be 0 to 64, is -1"},
		{"\"replicas\": ^65", ".replicas: must be 0 to 64, is 65"},
		{"\"shortcut\": ^1", ".shortcut: must be true or false, is a number"},
		{"\"cmd\": ^\"sh\"", ".cmd: must be an array of strings, is a string"},
		{"\"cmd\": [\"sh\", ^1]", ".cmd[1]: must be a string, is a number"},
		{"\"port\": ^80", ".port: must be a string, is a number"},
		{"\"addresses\": ^[]", ".addresses: must be an object, is an array"},
		{"\"variants\": [^[]]", ".variants[0]: must be an object, is an array"},
		{"\"one_shot\": ^\"no\"", ".one_shot: must be true or false, is a string"},
		{"\"constraints\": ^{}", ".constraints: must be an array of objects, is an object"},
	};

	(void)state;
	assert_all_bad(bad, ARRAY_SIZE(bad));
}

static void test_typos(void **state)
{
	static const struct bad bad[] = {
		{"^\"memroy\": 1", ".memroy: unknown key, did you mean \"memory\"?\nrename it"},
		{" ^\"ports\": \"\"", ".ports: unknown key, did you mean \"port\"?"},
		{"^\"Code\": \"\"", ".Code: unknown key, did you mean \"code\"?"},
		{"^\"co.de\": 1", "[\"co.de\"]: unknown key, did you mean \"code\"?"},
		{"^\"co\\u0064es\": 1", ".codes: unknown key, did you mean \"code\"?"},
		{"\"swap\": {^\"duration_ms\": 5000}",
			".swap.duration_ms: unknown key, did you mean \"duration_s\"?"},
		{"\"readiness\": {\"type\": \"tcp\", ^\"prot\": 1}",
			".readiness.prot: unknown key, did you mean \"port\"?"},
		{"\"addresses\": {^\"rrip\": \"\"}",
			".addresses.rrip: unknown key, did you mean \"rr_ip\"?"},
		{"\"variants\": [{\"virtualization\": \"gvisor\", ^\"memor\": 1}]",
			".variants[0].memor: unknown key, did you mean \"memory\"?"},
		{"\"constraints\": [{^\"typ\": \"direct\"}]",
			".constraints[0].typ: unknown key, did you mean \"type\"?"},
	};

	(void)state;
	assert_all_bad(bad, ARRAY_SIZE(bad));
	weft_sla_free(assert_good("\"monitoring_class\": \"fps\", \"x\": [{\"cod\": 1}]"));
	assert_true(sla_near("abc", "acb") && sla_near("abc", "ab") && sla_near("abc", "xbc"));
	assert_true(sla_near("abc", "abcd") && sla_near("abc", "ABC") && sla_near("", "a"));
	assert_false(sla_near("abc", "abcde") || sla_near("abc", "cba") || sla_near("ab", "cd"));
	assert_false(sla_near("aabb", "bbaa") || sla_near("state", "status"));
}

static void test_network(void **state)
{
	static const struct bad bad[] = {
		{"\"port\": ^\"80x\"",
			".port: \"80x\" is not a port mapping\nhost[:container][/tcp|/udp]"},
		{"\"port\": ^\"80;\"", ".port: \"\" is not a port mapping"},
		{"\"port\": ^\"0:80\"", ".port: \"0:80\" is not a port mapping"},
		{"\"port\": ^\"80:65536\"", ".port: \"80:65536\" is not a port mapping"},
		{"\"port\": ^\"80:\"", ".port: \"80:\" is not a port mapping"},
		{"\"port\": ^\"80/sctp\"", ".port: \"80/sctp\" is not a port mapping"},
		{"\"port\": ^\"1:2:3\"", ".port: \"1:2:3\" is not a port mapping"},
		{"\"port\": ^\" 80\"", ".port: \" 80\" is not a port mapping"},
		{"\"port\": ^\"-80\"", ".port: \"-80\" is not a port mapping"},
		{"\"port\": ^\"80;80:81/tcp\"", ".port: host port 80/tcp is mapped twice"},
		{"\"addresses\": {\"rr_ip\": ^\"192.168.1.4\"}",
			".addresses.rr_ip: " RR_IP "\"192.168.1.4\"\n\"auto\""},
		{"\"addresses\": {\"rr_ip\": ^\"10.30.0.0\"}",
			".addresses.rr_ip: " RR_IP "\"10.30.0.0\""},
		{"\"addresses\": {\"rr_ip\": ^\"10.30.254.1\"}",
			".addresses.rr_ip: " RR_IP "\"10.30.254.1\""},
		{"\"addresses\": {\"rr_ip\": ^\"10.30.1.254\"}",
			".addresses.rr_ip: " RR_IP "\"10.30.1.254\""},
		{"\"addresses\": {\"rr_ip\": ^\"10.30.1\"}",
			".addresses.rr_ip: " RR_IP "\"10.30.1\""},
		{"\"addresses\": {\"rr_ip_v6\": ^\"fdff:2100::1\"}",
			".addresses.rr_ip_v6: must be an address in fdff:2000::/24, is "
			"\"fdff:2100::1\""},
		{"\"addresses\": {\"closest_ip_v6\": ^\"fdff:2000::1\"}",
			".addresses.closest_ip_v6: must be an address in fdff:1000::/24, is "
			"\"fdff:2000::1\""},
		{"\"addresses\": {\"closest_ip\": ^\"Auto\"}",
			".addresses.closest_ip: " RR_IP "\"Auto\""},
		{"\"addresses\": {\"wrr_ip\": ^7}",
			".addresses.wrr_ip: must be a string, is a number"},
		{"\"addresses\": {^\"closets_ip\": \"auto\"}",
			".addresses.closets_ip: unknown key, did you mean \"closest_ip\"?"},
		{"\"addresses\": {\"rr_ip\": \"10.30.0.9\", \"closest_ip\": ^\"10.30.0.9\"}",
			".addresses.closest_ip: \"10.30.0.9\" is the address of rr_ip already"},
		{"\"weight\": ^0", ".weight: must be 1 to 1000, is 0"},
		{"\"weight\": ^1001", ".weight: must be 1 to 1000, is 1001"},
	};

	(void)state;
	assert_all_bad(bad, ARRAY_SIZE(bad));
}

#define KERNEL "\"virtualization\": \"unikernel\", \"code\": \"/k\""
static void test_probes(void **state)
{
	static const struct bad bad[] = {
		{"\"liveness\": ^{}", ".liveness.type: required, but missing"},
		{"\"liveness\": {\"type\": \"tcp\", \"port\": 1, \"failures\": ^0}",
			".liveness.failures: must be 1 to 100, is 0"},
		{"\"liveness\": {\"type\": \"tcp\", \"port\": 1, ^\"failure\": 1}",
			".liveness.failure: unknown key, did you mean \"failures\"?"},
		{"\"liveness\": ^{\"type\": \"exec\"}",
			".liveness.command: required for type exec, but missing or empty"},
		{"\"liveness\": {\"type\": \"http\", \"port\": 1, ^\"command\": [\"x\"]}",
			".liveness.command: only for liveness of type exec"},
		{"\"liveness\": {\"type\": \"exec\", \"command\": [\"x\"], ^\"port\": 1}",
			".liveness.port: only for liveness of type tcp or http"},
		{"\"readiness\": {\"type\": \"qmp\", ^\"port\": 1}",
			".readiness.port: only for readiness of type tcp or http"},
		{"\"readiness\": ^{\"type\": \"qmp\"}",
			".readiness: of type qmp, which is nothing for virtualization container"},
		{"\"readiness\": {\"type\": \"exec\", \"command\": [\"x\"]}, "
		 "\"variants\": [^{" KERNEL "}]",
			".variants[0].readiness: required, as the microservice's is of type exec, "
			"which is nothing for virtualization unikernel"},
		{"\"variants\": [{" KERNEL
		 ", \"liveness\": ^{\"type\": \"exec\", \"command\": [\"x\"]}}]",
			".variants[0].liveness: of type exec, which is nothing for virtualization "
			"unikernel"},
	};
	struct weft_sla *sla;

	(void)state;
	assert_all_bad(bad, ARRAY_SIZE(bad));
	sla = assert_good("\"port\": \"8080:80\", \"liveness\": {\"type\": \"exec\", "
			  "\"command\": [\"/ok\", \"-q\"], \"interval_s\": 0.5, \"failures\": 2}, "
			  "\"variants\": [{" KERNEL ", \"liveness\": {\"type\": \"qmp\"}}]");
	const struct weft_sla_variant *v = sla->services[0].variants;

	assert_int_equal(v[0].liveness.type, WEFT_PROBE_EXEC);
	assert_string_equal(v[0].liveness.command[1], "-q");
	assert_int_equal(v[0].liveness.interval_ms, 500);
	assert_int_equal(v[0].liveness.failures, 2);
	assert_int_equal(v[0].liveness.timeout_s, 2);
	assert_int_equal(v[1].liveness.type, WEFT_PROBE_QMP);
	assert_int_equal(v[1].liveness.interval_ms, 5000);
	assert_int_equal(v[1].liveness.failures, 3);
	assert_int_equal(v[1].readiness.type, WEFT_PROBE_TCP); /* as the microservice's */
	assert_int_equal(v[1].readiness.port, 80);
	weft_sla_free(sla);
}

static void test_readiness_and_swap(void **state)
{
	static const struct bad bad[] = {
		{"\"readiness\": ^{}", ".readiness.type: required, but missing"},
		{"\"readiness\": {\"type\": ^\"grpc\"}",
			".readiness.type: must be \"none\", \"tcp\", \"http\", \"exec\" or \"qmp\", "
			"is \"grpc\""},
		{"\"readiness\": ^{\"type\": \"tcp\"}", ".readiness.port: " NO_PORT},
		{"\"port\": \"53/udp\", \"readiness\": ^{\"type\": \"http\"}",
			".readiness.port: " NO_PORT},
		{"\"readiness\": {\"type\": \"tcp\", \"port\": ^0}",
			".readiness.port: must be 1 to 65535, is 0"},
		{"\"readiness\": {\"type\": \"tcp\", \"port\": 1, ^\"path\": \"/\"}",
			".readiness.path: only for readiness of type http"},
		{"\"readiness\": {\"type\": \"http\", \"port\": 1, \"path\": ^\"x\"}",
			".readiness.path: must start with '/', is \"x\""},
		{"\"readiness\": {\"type\": \"http\", \"port\": 1, "
		 "\"path\": ^\"/ HTTP/1.1\\r\\nX: y\"}",
			".readiness.path: must be printable ASCII without spaces "
			"(%-encode the rest), is "
			"\"/ HTTP/1.1??X: y\""},
		{"\"readiness\": {\"type\": \"none\", \"timeout_s\": ^0}",
			".readiness.timeout_s: must be 1 to 3600, is 0"},
		{"\"swap\": {\"strategy\": ^\"slow\"}",
			".swap.strategy: must be linear, exponential, at-once, canary or "
			"blue-green, is \"slow\""},
		{"\"swap\": {\"steps\": ^\"5,5\"}",
			".swap.steps: must be rising percentages below 100, as \"5,25,50\", is "
			"\"5,5\""},
		{"\"swap\": {\"steps\": ^\"\"}",
			".swap.steps: must be rising percentages below 100, as \"5,25,50\", is "
			"\"\""},
		{"\"swap\": {\"steps\": ^\"50,100\"}",
			".swap.steps: must be rising percentages below 100, as \"5,25,50\", is "
			"\"50,100\""},
		{"\"swap\": {\"at_a_time\": ^0}", ".swap.at_a_time: must be 1 to 64, is 0"},
		{"\"swap\": {\"guard\": {\"error_percent\": ^101}}",
			".swap.guard.error_percent: must be 0 to 100, is 101"},
		{"\"swap\": {\"duration_s\": ^-0.5}",
			".swap.duration_s: must be 0 to 3600 seconds, is -0.5"},
		{"\"swap\": {\"drain_s\": ^3601}",
			".swap.drain_s: must be 0 to 3600 seconds, is 3601"},
	};

	(void)state;
	assert_all_bad(bad, ARRAY_SIZE(bad));
}

static void test_variants(void **state)
{
	static const struct bad bad[] = {
		{"\"network\": ^\"tap\"",
			".network: must be \"veth\" for virtualization container, is \"tap\""},
		{"\"arch\": ^[]", ".arch: must name an architecture, is empty\nleave it out"},
		{"\"arch\": [^\"riscv64\"]", ".arch[0]: unknown architecture \"riscv64\"\namd64"},
		{"\"arch\": [\"amd64\", ^\"x86_64\"]", ".arch[1]: \"x86_64\" is listed twice"},
		{"\"environment\": [\"A=\", ^\"=b\"]",
			".environment[1]: must be \"NAME=value\", is \"=b\""},
		{"\"environment\": [^\"A\"]", ".environment[0]: must be \"NAME=value\", is \"A\""},
		{"\"variants\": [^{}]", ".variants[0].virtualization: required, but missing"},
		{"\"variants\": [{\"virtualization\": ^\"crosvm\"}]",
			".variants[0].virtualization: unknown virtualization \"crosvm\"\n"
			"known are container"},
		{"\"variants\": [{\"virtualization\": ^\"docker\"}]",
			".variants[0].virtualization: shop.web has a container variant already\n"
			"at most one"},
		{"\"variants\": [{\"virtualization\": \"gvisor\"}, "
		 "{\"virtualization\": ^\"runsc\"}]",
			".variants[1].virtualization: shop.web has a gvisor variant already"},
		{"\"variants\": [^{\"virtualization\": \"unikernel\"}]",
			".variants[0].code: required, but missing\n"
			"only between container and gvisor"},
		{UNIKERNEL "\"code\": ^\"\"}]", ".variants[0].code: must name an image, is empty"},
		{UNIKERNEL "\"code\": ^\"a\\n\"}]",
			".variants[0].code: must not contain control characters"},
		{UNIKERNEL "\"code\": ^\"a,b\", \"arch\": [\"amd64\"]}]",
			".variants[0].code: names 2 images for 1 architecture\n"
			"one image per entry"},
		{UNIKERNEL "\"code\": ^\"a\", \"arch\": [\"amd64\", \"arm64\"]}]",
			".variants[0].code: names 1 image for 2 architectures"},
		{UNIKERNEL "\"code\": ^\"a,\", \"arch\": [\"amd64\", \"arm64\"]}]",
			".variants[0].code: image 2 of 2 is empty"},
		{UNIKERNEL "\"code\": \"a\", \"network\": ^\"veth\"}]",
			".variants[0].network: must be \"macvtap\" or \"tap\" for virtualization "
			"unikernel, "
			"is \"veth\""},
		{"\"variants\": [^{\"virtualization\": \"native\"}]",
			".variants[0].cmd: required for virtualization native, "
			"but missing or empty\nthe program"},
		{"\"variants\": [{\"virtualization\": \"gvisor\", ^\"port\": \"80\"}]",
			".variants[0].port: belongs to the microservice, not to a variant\nshare"},
		{"\"variants\": ^[{},{},{},{},{},{},{},{},{}]",
			".variants: must have at most 8 entries, has 9"},
		{"\"constraints\": [{\"type\": \"direct\", \"node\": \"a\"}, "
		 "{\"type\": \"direct\", \"node\": ^\"b\"}]",
			".constraints[1].node: \"b\", but another constraint says \"a\""},
		{"\"constraints\": [^{\"node\": \"a\"}]",
			".constraints[0].type: required, but missing"},
	};

	(void)state;
	assert_all_bad(bad, ARRAY_SIZE(bad));
}

static void test_inheritance(void **state)
{
	static const char extra[] =
		"\"memory\": 10, \"vcpus\": 2, \"cmd\": [\"a\"], \"environment\": [\"K=V\"],\n"
		"\"variants\": [{\"virtualization\": \"gvisor\"},\n"
		"{\"virtualization\": \"unikernel\", \"code\": \"k\", "
		"\"environment\": [], \"vcpu\": 1},\n"
		"{\"virtualization\": \"native\", \"memory\": 0, "
		"\"cmd\": [\"b\"], \"code\": \"\"}]";
	_cleanup_(weft_sla_freep) struct weft_sla *sla = assert_good(extra), *other = NULL;
	const struct weft_sla_variant *v = sla->services[0].variants;

	(void)state;
	assert_int_equal(sla->services[0].n_variants, 4);
	assert_int_equal(v[1].virt, WEFT_VIRT_GVISOR);
	assert_string_equal(v[1].code, "file:///web.tar");
	assert_string_equal(v[1].image[weft_arch_host()], "file:///web.tar");
	assert_string_equal(v[1].cmd[0], "a");
	assert_int_equal(v[1].net, WEFT_NET_VETH);
	assert_int_equal(v[1].memory_mb, 10);

	assert_int_equal(v[2].virt, WEFT_VIRT_UNIKERNEL);
	assert_int_equal(v[2].net, WEFT_NET_MACVTAP);
	assert_null(v[2].cmd);
	assert_null(v[2].env);
	assert_int_equal(v[2].vcpus, 1);
	assert_int_equal(v[2].memory_mb, 10);

	assert_int_equal(v[3].virt, WEFT_VIRT_NATIVE);
	assert_null(v[3].code);
	assert_null(v[3].image[weft_arch_host()]);
	assert_int_equal(v[3].memory_mb, 0);
	assert_string_equal(v[3].env[0], "K=V");

	/* Another image has another argv. */
	other = assert_good("\"cmd\": [\"a\"], \"variants\": [{\"virtualization\": \"gvisor\", "
			    "\"code\": \"other.tar\"}]");
	assert_null(other->services[0].variants[1].cmd);
}

static void test_container(void **state)
{
	static const struct bad bad[] = {
		{"\"cpu_limit\": ^\"1\"", ".cpu_limit: must be a number, is a string"},
		{"\"cpu_limit\": ^0.001", ".cpu_limit: must be 0.01 to 1024 CPUs, or 0 for no "
					  "limit, is 0.001"},
		{"\"cpu_limit\": ^-1",
			".cpu_limit: must be 0.01 to 1024 CPUs, or 0 for no limit, is -1"},
		{"\"cpu_limit\": ^1e300",
			".cpu_limit: must be 0.01 to 1024 CPUs, or 0 for no limit, is 1e+300"},
		{"\"cpu_weight\": ^0", ".cpu_weight: must be 1 to 10000, is 0"},
		{"\"pids_limit\": ^4194305", ".pids_limit: must be 0 to 4194304, is 4194305"},
		{"\"log_limit\": ^1.5", ".log_limit: must be an integer, is 1.5"},
		{"\"user\": ^\"\"", ".user: must not be empty"},
		{"\"user\": ^\"a b\"", ".user: must not contain spaces or control characters"},
		{"\"runtime\": ^\"../x\"", ".runtime: \"../x\" is no runtime's name"},
		{"\"capabilities\": [\"KILL\", ^\"FLY\"]",
			".capabilities[1]: unknown capability \"FLY\""},
		{"^\"warm_start\": true", ".warm_start: means nothing to virtualization container"},
		{"\"read_only\": ^1", ".read_only: must be true or false, is a number"},
		{"\"volumes\": [^{\"mount_path\": \"/x\"}]",
			".volumes[0].host_path: required, but missing"},
		{"\"volumes\": [^{\"host_path\": \"/x\"}]",
			".volumes[0].mount_path: required, but missing"},
		{"\"volumes\": [{\"host_path\": \"/x\", \"mount_path\": ^\"y\"}]",
			".volumes[0].mount_path: must be an absolute path, is \"y\""},
		{"\"volumes\": [{\"host_path\": ^\"/a/../x\", \"mount_path\": \"/y\"}]",
			".volumes[0].host_path: must not lead upwards, is \"/a/../x\""},
		{"\"volumes\": [{\"host_path\": \"/x\", \"mount_path\": ^\"//\"}]",
			".volumes[0].mount_path: must not be the root itself"},
		{"\"volumes\": [{\"host_path\": \"/x\", \"mount_path\": \"/y\"}, "
		 "{\"host_path\": \"/z\", \"mount_path\": ^\"/y\"}]",
			".volumes[1].mount_path: another volume is mounted at \"/y\" already"},
		{"\"volumes\": [{\"volume_id\": \"v\", \"csi_driver\": ^\"csi.x\"}]",
			".volumes[0].csi_driver: CSI volumes are not mounted by weft"},
		{"\"variants\": [{\"virtualization\": \"unikernel\", \"code\": \"k\", "
		 "^\"user\": \"0\"}]",
			".variants[0].user: means nothing to virtualization unikernel"},
		{"\"variants\": [{\"virtualization\": \"native\", \"cmd\": [\"x\"], "
		 "^\"user\": \"www-data\"}]",
			".variants[0].user: means nothing to virtualization native"},
		{"\"variants\": [{\"virtualization\": \"native\", \"cmd\": [\"x\"], "
		 "^\"capabilities\": []}]",
			".variants[0].capabilities: means nothing to virtualization native"},
		{"\"variants\": [{\"virtualization\": \"gvisor\", ^\"runtime\": \"crun\"}]",
			".variants[0].runtime: means nothing to virtualization gvisor"},
	};

	(void)state;
	assert_all_bad(bad, ARRAY_SIZE(bad));
}

static void test_container_values(void **state)
{
	_cleanup_(weft_sla_freep) struct weft_sla *sla =
		assert_good("\"cpu_limit\": 0.5, \"capabilities\": [], \"read_only\": true,"
			    "\"user\": \"web\", \"runtime\": \"crun\", \"log_limit\": 0,"
			    "\"volumes\": [{\"host_path\": \"/s\", \"mount_path\": \"/t\"}],"
			    "\"variants\": [{\"virtualization\": \"gvisor\", \"user\": \"0\"},"
			    "{\"virtualization\": \"unikernel\", \"code\": \"k\","
			    "\"volumes\": [], \"read_only\": false, \"cpu_limit\": 0,"
			    "\"warm_start\": true}]");
	const struct weft_sla_variant *v = sla->services[0].variants;

	(void)state;
	assert_int_equal(v[0].cpu_milli, 500);
	assert_non_null(v[0].capabilities);
	assert_null(v[0].capabilities[0]);
	assert_string_equal(v[0].runtime, "crun");

	assert_int_equal(v[1].cpu_milli, 500);
	assert_true(v[1].read_only && v[1].capabilities && !v[1].capabilities[0]);
	assert_string_equal(v[1].user, "0");
	assert_string_equal(v[1].volumes[0].target, "/t");
	assert_null(v[1].runtime);

	assert_int_equal(v[0].warm_start, -1);
	assert_int_equal(v[2].warm_start, 1);
	assert_int_equal(v[2].cpu_milli, 0);
	assert_int_equal(v[2].log_max_mb, 0);
	assert_true(!v[2].read_only && !v[2].capabilities && !v[2].user && !v[2].volumes);
}

static void test_readiness_defaults(void **state)
{
	struct weft_sla *sla = assert_good("\"port\": \"53/udp;8080:80\"");

	(void)state;
	assert_int_equal(sla->services[0].readiness.type, WEFT_PROBE_TCP);
	assert_int_equal(sla->services[0].readiness.port, 80);
	weft_sla_free(sla);

	sla = assert_good("\"port\": \"8080:80\", \"readiness\": {\"type\": \"http\"}");
	assert_int_equal(sla->services[0].readiness.type, WEFT_PROBE_HTTP);
	assert_int_equal(sla->services[0].readiness.port, 80);
	assert_string_equal(sla->services[0].readiness.path, "/");
	weft_sla_free(sla);

	sla = assert_good("\"port\": \"8080:80\", \"readiness\": {\"type\": \"none\"}");
	assert_int_equal(sla->services[0].readiness.type, WEFT_PROBE_NONE);
	assert_int_equal(sla->services[0].readiness.port, 0);
	weft_sla_free(sla);
}

#define NAMED                                                                            \
	HEAD "\"microservice_name\": \"%s\", \"microservice_namespace\": \"default\",\n" \
	     "\"virtualization\": \"native\", \"cmd\": [\"x\"]" TAIL

static void test_names(void **state)
{
	static const char *const bad[] = {
		"", "a-b", "a.b", "a_b", "a b", "\xc3\xa4", "aaaaaaaaaabbbbbbbbbbccccccccccd"};
	_cleanup_(weft_sla_freep) struct weft_sla *sla = NULL;
	_cleanup_(freep) char *good = weft_strf(NAMED, "aaaaaaaaaabbbbbbbbbbcccccccccc");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_(freep) char *full = weft_strf(NAMED, bad[i]);
		_cleanup_(freep) char *want =
			weft_strf("f:4:22: " SERVICE ".microservice_name: must be 1 to 30 letters "
				  "and digits, is \"%s\"",
				bad[i]);

		assert_text(full, want);
	}
	assert_int_equal(weft_sla_parse(NULL, good, strlen(good), &sla, NULL), 0);
	assert_string_equal(sla->services[0].short_name, "shop.aaaaaaaaaabbbbbbbbbbcccccccccc");
}

/* --- sizes
 * ---------------------------------------------------------------------------------------- */

/* An array's inside: n objects, each starting with the text of one and ending with its number. */
static char *repeat(size_t n, const char *one)
{
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	assert_non_null(f);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%s%s%zu\"}", i ? "," : "", one, i);
	fclose(f);
	return out;
}

static int parse_services(size_t n, struct weft_err *err)
{
	static const char one[] =
		"{\"microservice_namespace\": \"default\", \"virtualization\": \"container\","
		"\"code\": \"c\", \"microservice_name\": \"s";
	_cleanup_(freep) char *list = repeat(n, one);
	_cleanup_(freep) char *text = weft_strf("{\"sla_version\": \"v2.0\", \"customerID\": \"\", "
						"\"applications\": [{\"application_name\": \"a\","
						"\"application_namespace\": \"b\", "
						"\"microservices\": [%s]}]}",
		list);
	_cleanup_(weft_sla_freep) struct weft_sla *sla = NULL;

	return weft_sla_parse("f", text, strlen(text), &sla, err);
}

static void test_limits(void **state)
{
	_cleanup_(freep) char *big = calloc(1, SLA_TEXT_MAX + 1), *long_code = calloc(1, 2050);
	_cleanup_(freep) char *extra = NULL;
	struct weft_sla *sla = NULL;
	struct weft_err err;

	(void)state;
	assert_int_equal(parse_services(64, &err), 0);
	assert_int_equal(parse_services(65, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "at most 64 microservices in all, has 65"));

	assert_non_null(big);
	memset(big, ' ', SLA_TEXT_MAX + 1);
	assert_int_equal(weft_sla_parse("f", big, SLA_TEXT_MAX + 1, &sla, &err), -E2BIG);
	assert_int_equal(weft_sla_parse("f", big, SLA_TEXT_MAX, &sla, &err), -EBADMSG);

	assert_non_null(long_code);
	memset(long_code, 'c', 2049);
	extra = weft_strf(UNIKERNEL "\"code\": ^\"%s\"}]", long_code);
	assert_bad(extra, ".variants[0].code: must be at most 2048 bytes long, is 2049");
}

static void test_many_args(void **state)
{
	char extra[512] = "\"cmd\": [\"0\"";

	(void)state;
	for (size_t i = 1; i < 64; i++)
		strcat(extra, ",\"\"");
	strcat(extra, "]");
	weft_sla_free(assert_good(extra));
	strcpy(extra, "\"cmd\": ^[\"0\"");
	for (size_t i = 1; i < 65; i++)
		strcat(extra, ",\"\"");
	strcat(extra, "]");
	assert_bad(extra, ".cmd: must have at most 64 entries, has 65");
}

/* Nothing of the file may reach the terminal raw, not even its name. */
static void test_hostile_text(void **state)
{
	static const char text[] = "{\"sla_version\": \"\\u001b[2J\\n\", \"customerID\": \"\", "
				   "\"applications\": []}";
	static const char deep[] = "{\"sla_version\":";
	_cleanup_(freep) char *nested = malloc(500000);
	struct weft_sla *sla = NULL;
	struct weft_err err;

	(void)state;
	assert_int_equal(weft_sla_parse("a\n\033b", text, strlen(text), &sla, &err), -EINVAL);
	assert_string_equal(err.msg, "a??b:1:17: sla_version: must be \"v2.0\", is \"?[2J?\"");
	assert_non_null(nested);
	memcpy(nested, deep, strlen(deep));
	memset(nested + strlen(deep), '[', 500000 - strlen(deep));
	assert_int_equal(weft_sla_parse("f", nested, 500000, &sla, &err), -EBADMSG);
	assert_int_equal(weft_sla_parse("f", "\0\0", 2, &sla, &err), -EBADMSG);
	assert_int_equal(weft_sla_parse("f", "{\"a\": \"\xff\"}", 9, &sla, &err), -EBADMSG);
	assert_null(sla);
}

static void test_strategies(void **state)
{
	(void)state;
	assert_int_equal(weft_shift_strategy_parse("linear"), WEFT_SHIFT_LINEAR);
	assert_int_equal(weft_shift_strategy_parse("exponential"), WEFT_SHIFT_EXPONENTIAL);
	assert_int_equal(weft_shift_strategy_parse("at-once"), WEFT_SHIFT_AT_ONCE);
	assert_int_equal(weft_shift_strategy_parse("blue-green"), WEFT_SHIFT_BLUE_GREEN);
	assert_int_equal(weft_shift_strategy_parse(""), -EINVAL);
	assert_string_equal(weft_shift_strategy_name(WEFT_SHIFT_AT_ONCE), "at-once");
	assert_string_equal(weft_net_kind_name(WEFT_NET_TAP), "tap");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_typos),
		cmocka_unit_test(test_network),
		cmocka_unit_test(test_probes),
		cmocka_unit_test(test_readiness_and_swap),
		cmocka_unit_test(test_variants),
		cmocka_unit_test(test_inheritance),
		cmocka_unit_test(test_container),
		cmocka_unit_test(test_container_values),
		cmocka_unit_test(test_readiness_defaults),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_many_args),
		cmocka_unit_test(test_hostile_text),
		cmocka_unit_test(test_strategies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
