/* SPDX-License-Identifier: Apache-2.0 */
/* weftd's command line. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include <cmocka.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "ctrl/daemon/config.c"
#include "ctrl/daemon/options.c"
#include "ctrl/daemon/options_net.c"

static struct options o;
static struct weft_err err;

static int parse(const char *line)
{
	char copy[512], *argv[16] = {(char *)"weftd"}, *save = NULL;
	int argc = 1, r;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	memset(&err, 0, sizeof(err));
	r = options_parse(argc, argv, &o, &err);
	/* Options point into argv, which is gone now: tests of values use literals. */
	return r;
}

static bool is_address6(const char *text)
{
	struct in6_addr a;

	return inet_pton(AF_INET6, text, &a) == 1 && IN6_ARE_ADDR_EQUAL(&a, &o.engine.subnet6);
}

static void test_defaults(void **state)
{
	(void)state;
	assert_int_equal(parse(""), 0);
	assert_string_equal(o.engine.state_dir, "/var/lib/weft");
	assert_string_equal(o.engine.bpffs, "/sys/fs/bpf/weft");
	assert_string_equal(o.engine.host_device, "weft0");
	assert_string_equal(o.engine.ctrd_namespace, "weft");
	assert_string_equal(o.engine.cgroup, "weft");
	assert_string_equal(o.api.socket, "/run/weft/weftd.sock");
	assert_null(o.engine.containerd);
	assert_ptr_equal(o.engine.node, o.node);
	assert_true(o.node[0] != '\0');
	assert_int_equal(ntohl(o.engine.subnet.s_addr), 0x0a120000);
	assert_int_equal(o.engine.subnet_len, 26);
	assert_int_equal(o.engine.subnet6_len, 120);
	assert_true(is_address6("fc00::"));
	assert_int_equal(o.engine.mtu, 1500);
	assert_null(o.engine.uplink);
	assert_int_equal(o.engine.tunnel_port, 50103);
	assert_int_equal(o.engine.xdp, WEFT_DP_XDP_AUTO);
	assert_int_equal(ntohl(o.engine.instances.s_addr), 0x0a1e8000);
	assert_int_equal(o.engine.instances_len, 17);
	assert_int_equal(o.api.each.connections, 256);
	assert_int_equal(o.api.each.streams, 32);
	assert_int_equal(o.api.each.calls, 32);
	assert_int_equal(o.api.each.head_s, 10);
	assert_false(o.purge);
	assert_int_equal(o.engine.libexec[0], '/');
}

static void test_all(void **state)
{
	const char *argv[] = {"weftd", "--role=all", "--state-dir", "/s", "--socket=/k",
		"--bpffs=/b", "--node=edge-1.example", "--subnet=10.20.4.0/22", "--host-device=w-1",
		"--mtu=9000", "--containerd=/c", "--containerd-namespace=n", "--cgroup=g",
		"--libexec=/l", "--log-level=debug", "--purge", "--uplink=eth0",
		"--tunnel-port=6000", "--xdp=generic", "--instances=10.30.253.240/28"};

	(void)state;
	assert_int_equal(options_parse(ARRAY_SIZE(argv), (char **)argv, &o, &err), 0);
	assert_string_equal(o.engine.state_dir, "/s");
	assert_string_equal(o.api.socket, "/k");
	assert_string_equal(o.engine.bpffs, "/b");
	assert_string_equal(o.engine.node, "edge-1.example");
	assert_int_equal(ntohl(o.engine.subnet.s_addr), 0x0a140400);
	assert_int_equal(o.engine.subnet_len, 22);
	assert_string_equal(o.engine.host_device, "w-1");
	assert_int_equal(o.engine.mtu, 9000);
	assert_string_equal(o.engine.containerd, "/c");
	assert_string_equal(o.engine.ctrd_namespace, "n");
	assert_string_equal(o.engine.cgroup, "g");
	assert_string_equal(o.engine.libexec, "/l");
	assert_string_equal(o.engine.uplink, "eth0");
	assert_int_equal(o.engine.tunnel_port, 6000);
	assert_int_equal(o.engine.xdp, WEFT_DP_XDP_GENERIC);
	assert_int_equal(ntohl(o.engine.instances.s_addr), 0x0a1efdf0);
	assert_int_equal(o.engine.instances_len, 28);
	assert_true(o.purge);
	weft_log_level(LOG_INFO);
}

static void test_subnets(void **state)
{
	static const char *const good[] = {"10.16.0.0/16", "10.31.0.0/16", "10.18.0.64/26",
		"10.18.0.248/29", "10.29.255.0/24"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		char line[64];

		snprintf(line, sizeof(line), "--subnet=%s", good[i]);
		if (parse(line) != 0)
			fail_msg("%s: %s", good[i], err.msg);
	}
}

static void test_subnets6(void **state)
{
	static const char *const good[] = {
		"fc00::/120", "fc00::100/120", "fc00:1::/112", "fdfd:ffff::ffff:fff0/124"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		char line[64];

		snprintf(line, sizeof(line), "--subnet6=%s", good[i]);
		if (parse(line) != 0)
			fail_msg("%s: %s", good[i], err.msg);
		*strchr(line, '/') = '\0';
		assert_true(is_address6(line + strlen("--subnet6=")));
	}
	assert_int_equal(parse("--subnet6=off"), 0);
	assert_int_equal(o.engine.subnet6_len, 0);
}

struct refusal {
	const char *line;
	int code;
	const char *msg, *hint;
};

static void all_refused(const struct refusal *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (parse(rows[i].line) != -rows[i].code || err.code != rows[i].code)
			fail_msg("%s: %d \"%s\"", rows[i].line, err.code, err.msg);
		if (!strstr(err.msg, rows[i].msg) || !strstr(err.hint, rows[i].hint))
			fail_msg("%s: \"%s\", hint \"%s\"", rows[i].line, err.msg, err.hint);
	}
}

static void test_refused(void **state)
{
	static const struct refusal rows[] = {
		{"--frobnicate", EINVAL, "--frobnicate: unknown option", "weftd --help"},
		{"-x", EINVAL, "-x: unknown option", "weftd --help"},
		{"--mtu", EINVAL, "--mtu: unknown option, or its value is missing", "weftd --help"},
		{"--purge=yes", EINVAL, "--purge=yes", "weftd --help"},
		{"start", EINVAL, "start: weftd takes options only", "weftd --help"},
		{"--purge -- x", EINVAL, "x: weftd takes options only", "weftd --help"},
		{"--role=node", ENOTSUP, "--role=node: this weftd manages one node", "--role=all"},
		{"--role=king", EINVAL, "--role=king: unknown role", "--role=all"},
		{"--state-dir=state", EINVAL, "--state-dir=state is not an absolute",
			"from the root"},
		{"--state-dir=", EINVAL, "--state-dir= is not an absolute path", "from the root"},
		{"--socket=x.sock", EINVAL, "--socket=x.sock is not an absolute", "from the root"},
		{"--bpffs=bpf", EINVAL, "--bpffs=bpf is not an absolute path", "from the root"},
		{"--containerd=c", EINVAL, "--containerd=c is not an absolute", "from the root"},
		{"--libexec=./x", EINVAL, "--libexec=./x is not an absolute path", "from the root"},
		{"--node=", EINVAL, "--node= is no name", "letters, digits"},
		{"--node=a/b", EINVAL, "--node=a/b is no name", "at most 128"},
		{"--node=\xff", EINVAL, "--node=? is no name", "letters, digits"},
		{"--host-device=weft0123456", EINVAL, "--host-device=weft0123456", "at most 10"},
		{"--host-device=-w", EINVAL, "--host-device=-w is no name",
			"letter or digit first"},
		{"--cgroup=a/../b", EINVAL, "--cgroup=a/../b is no name", "at most 64"},
		{"--containerd-namespace=a:b", EINVAL, "--containerd-namespace=a:b", "at most 76"},
		{"--mtu=575", EINVAL, "--mtu=575 is no MTU", "576 to 65000"},
		{"--mtu=65001", EINVAL, "--mtu=65001 is no MTU", "576 to 65000"},
		{"--mtu=1500b", EINVAL, "--mtu=1500b is no MTU", "576 to 65000"},
		{"--mtu=-1", EINVAL, "--mtu=-1 is no MTU", "576 to 65000"},
		{"--log-level=loud", EINVAL, "--log-level=loud: unknown level", "debug"},
		{"--subnet=10.18.0.0", EINVAL, "--subnet=10.18.0.0 is not", "10.18.0.0/26"},
		{"--subnet=10.18.0.0/", EINVAL, "is not a subnet", "10.18.0.0/26"},
		{"--subnet=10.18.0.0/15", EINVAL, "is not a subnet", "/16 to /29"},
		{"--subnet=10.18.0.0/30", EINVAL, "is not a subnet", "/16 to /29"},
		{"--subnet=10.18.0.1/26", EINVAL, "is not a subnet", "/16 to /29"},
		{"--subnet=10.30.0.0/26", EINVAL, "is not a subnet", "outside 10.30.0.0/16"},
		{"--subnet=10.32.0.0/26", EINVAL, "is not a subnet", "10.16.0.0/12"},
		{"--subnet=192.168.0.0/26", EINVAL, "is not a subnet", "10.16.0.0/12"},
		{"--subnet=10.18.0/26", EINVAL, "is not a subnet", "10.18.0.0/26"},
		{"--subnet=10.018.000.000/000000000026", EINVAL, "is not a subnet", "10.18.0.0/26"},
		{"--uplink=", EINVAL, "--uplink= is no device's name", "default route"},
		{"--uplink=a/b", EINVAL, "--uplink=a/b is no device's name", "default route"},
		{"--uplink=0123456789abcdef", EINVAL, "is no device's name", "default route"},
		{"--api-connections=0", EINVAL, "--api-connections=0 is no limit", "1 to 512"},
		{"--api-streams=65", EINVAL, "--api-streams=65 is no limit", "1 to 64"},
		{"--api-calls=-1", EINVAL, "--api-calls=-1 is no limit", "1 to 64"},
		{"--api-head-timeout=x", EINVAL, "--api-head-timeout=x is no limit", "1 to 3600"},
		{"--tunnel-port=0", EINVAL, "--tunnel-port=0 is no port", "1 to 65534"},
		{"--tunnel-port=65535", EINVAL, "--tunnel-port=65535 is no port", "VXLAN"},
		{"--xdp=fast", EINVAL, "--xdp=fast: unknown mode", "auto, native, generic"},
		{"--instances=10.30.0.0/17", EINVAL, "is no range of instance", "10.30.129.0/24"},
		{"--instances=10.30.128.0/16", EINVAL, "is no range of instance", "/17 to /28"},
		{"--instances=10.30.254.0/24", EINVAL, "is no range of instance", "253"},
		{"--instances=10.30.129.1/24", EINVAL, "is no range of instance", "/17 to /28"},
		{"--subnet=x", EINVAL, "--subnet=x is not a subnet", "10.18.0.0/26"},
	};

	(void)state;
	all_refused(rows, ARRAY_SIZE(rows));
}

static void test_refused6(void **state)
{
	static const struct refusal rows[] = {
		{"--subnet6=fc00::", EINVAL, "--subnet6=fc00:: is not", "fc00::/120; or off"},
		{"--subnet6=fc00::1/120", EINVAL, "--subnet6=fc00::1/120 is not", "fc00::/120"},
		{"--subnet6=fc00::/111", EINVAL, "--subnet6=fc00::/111 is not", "/112 to /124"},
		{"--subnet6=fc00::/125", EINVAL, "--subnet6=fc00::/125 is not", "/112 to /124"},
		{"--subnet6=fdfe::/120", EINVAL, "--subnet6=fdfe::/120 is not", "fdfe::/15"},
		{"--subnet6=fdff:2000::/120", EINVAL, "--subnet6=fdff:2000::", "fdfe::/15"},
		{"--subnet6=2001:db8::/120", EINVAL, "--subnet6=2001:db8::", "in fc00::/7"},
		{"--subnet6=10.18.0.0/26", EINVAL, "--subnet6=10.18.0.0/26 is not", "fc00::"},
	};

	(void)state;
	all_refused(rows, ARRAY_SIZE(rows));
}

static int file(const char *text)
{
	memset(&err, 0, sizeof(err));
	options_parse(1, (char *[]){(char *)"weftd"}, &o, &err);
	return config_parse("f", text, strlen(text), &o, &err);
}

static void test_file(void **state)
{
	(void)state;
	assert_int_equal(file("{\"mtu\": 9000, \"state_dir\": \"/s\", \"log_level\": \"debug\","
			      "\"containerd_namespace\": \"n\"}"),
		0);
	assert_int_equal(o.engine.mtu, 9000);
	assert_string_equal(o.engine.state_dir, "/s");
	assert_string_equal(o.engine.ctrd_namespace, "n");
	assert_int_equal(o.log_level, LOG_DEBUG);
	options_free(&o);
}

static void test_file_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"", "f:1:1: "},
		{"[]", "f:1:1: must be an object"},
		{"{\n \"mtu\": 12}", "f:2:9: mtu=12 is no MTU"},
		{"{\n \"mtuu\": 12}", "f:2:2: unknown key \"mtuu\""},
		{"{\"state-dir\": \"/s\"}", "f:1:2: unknown key"},
		{"{\"purge\": \"\"}", "f:1:2: unknown key"},
		{"{\"config\": \"/c\"}", "f:1:2: unknown key"},
		{"{\"mtu\": 1400,\n\"mtu\": 1400}", "f:2:"},
		{"{\"cgroup\": true}", "f:1:12: cgroup must be a string"},
		{"{\"cgroup\": \"\\u0000\"}", "f:1:"},
		{"{\"mtu\": 1400", "f:1:"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(file(bad[i].text), -EINVAL);
		if (strncmp(err.msg, bad[i].says, strlen(bad[i].says)) != 0)
			fail_msg("%s: \"%s\"", bad[i].text, err.msg);
		options_free(&o);
	}
}

/* The command line counts more than the file, wherever it stands. */
static void test_order(void **state)
{
	char path[] = "/tmp/weft-options.XXXXXX", option[64];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0 && dprintf(fd, "{\"mtu\": 9000, \"cgroup\": \"c\"}") > 0);
	close(fd);
	snprintf(option, sizeof(option), "--config=%s", path);
	memset(&err, 0, sizeof(err));
	assert_int_equal(options_parse(3, (char *[]){(char *)"weftd", (char *)"--mtu=1300", option},
				 &o, &err),
		0);
	assert_int_equal(o.engine.mtu, 1300);
	assert_string_equal(o.engine.cgroup, "c");
	options_free(&o);
	unlink(path);
	assert_int_equal(options_parse(2, (char *[]){(char *)"weftd", option}, &o, &err), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_subnets),
		cmocka_unit_test(test_subnets6),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_file_refused),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_refused6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
