/* SPDX-License-Identifier: Apache-2.0 */
/* Interfaces of all kinds, made by hand in namespaces of the test's own: which can be hooked where,
 * and who is behind them; and devices that come and go. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/link_find.h"
#include "ctrl/dataplane/link_watch.h"

static char dir[] = "/tmp/weft-test-link-find-XXXXXX";
static char *there; /* another namespace, bound to a file */
static struct weft_link_found f;
static struct weft_err err;

static void sh(const char *command)
{
	if (system(command) != 0)
		fail_msg("%s", command);
}

static void in_there(const char *command)
{
	char *line = weft_strf("nsenter --net=%s %s", there, command);

	sh(line);
	free(line);
}

static int by_device(const char *name)
{
	memset(&f, 0, sizeof(f));
	memset(&err, 0, sizeof(err));
	return weft_link_find_device(name, &f, &err);
}

static int by_netns(const char *path, const char *addr)
{
	struct in_addr a;

	assert_int_equal(inet_pton(AF_INET, addr, &a), 1);
	memset(&f, 0, sizeof(f));
	memset(&err, 0, sizeof(err));
	return weft_link_find_netns(path, a, &f, &err);
}

static void is(const char *host_side, bool elsewhere, const char *mac)
{
	uint8_t want[6];

	assert_string_equal(f.host_side, host_side);
	assert_int_equal(f.ifindex, if_nametoindex(host_side));
	assert_int_equal(f.elsewhere, elsewhere);
	assert_int_equal(f.has_mac, mac != NULL);
	if (mac) {
		assert_int_equal(weft_mac_parse(mac, want), 0);
		assert_memory_equal(f.mac, want, 6);
	}
}

static void says(int r, int code, const char *text, const char *hint)
{
	assert_int_equal(r, -code);
	if (!strstr(err.msg, text) || !strstr(err.hint, hint))
		fail_msg("%s\n%s", err.msg, err.hint);
}

/* A namespace at there, with ea in it, the other end of va. `ip` takes a path for a namespace only
 * below /run/netns, but any process's number. */
static void move_there(const char *link)
{
	char *line = weft_strf("nsenter --net=%s sleep 60 & pid=$!; "
			       "until [ \"$(readlink /proc/$pid/exe)\" = \"$(command -v sleep | "
			       "xargs readlink -f)\" ]; do :; done; "
			       "ip link set %s netns $pid; r=$?; kill $pid; exit $r",
		there, link);

	sh(line);
	free(line);
}

static int setup(void **state)
{
	char *line = weft_strf("touch %s && unshare --net=%s true", there, there);

	(void)state;
	sh(line);
	free(line);
	sh("ip link add va type veth peer name ea address 02:00:00:00:00:0a");
	move_there("ea");
	in_there("ip addr add 172.20.5.2/24 dev ea");
	sh("ip link set va up");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	sh("for d in $(ls /sys/class/net); do [ $d = lo ] || ip link del $d 2>/dev/null; done; true");
	umount2(there, MNT_DETACH);
	unlink(there);
	return 0;
}

static void a_veth_into_another_namespace(void **state)
{
	(void)state;
	assert_int_equal(by_device("va"), 0);
	is("va", true, "02:00:00:00:00:0a");
	assert_int_equal(by_netns(there, "172.20.5.2"), 0);
	is("va", true, "02:00:00:00:00:0a");
	/* The guest of a macvtap has its address for itself. */
	assert_int_equal(by_netns(there, "192.0.2.1"), 0);
	is("va", true, "02:00:00:00:00:0a");
}

static void whether_another_is_its_gateway(void **state)
{
	(void)state;
	assert_int_equal(by_device("va"), 0);
	assert_true(f.alone);
	sh("ip link add other type bridge && ip addr add fe80::1/64 dev other nodad");
	assert_int_equal(by_netns(there, "172.20.5.2"), 0);
	assert_true(f.alone);
	sh("ip addr add fe80::1/64 dev va nodad");
	assert_int_equal(by_netns(there, "172.20.5.2"), 0);
	assert_false(f.alone);
	sh("ip addr del fe80::1/64 dev va && ip link add br1 type bridge && "
	   "ip link set va master br1");
	assert_int_equal(by_device("va"), 0);
	assert_false(f.alone);
}

static void a_guest_on_a_macvtap(void **state)
{
	(void)state;
	in_there("ip link add link ea name mt0 address 02:00:00:00:00:77 type macvtap mode bridge");
	assert_int_equal(by_device("va"), 0);
	is("va", true, "02:00:00:00:00:77");
	assert_int_equal(by_netns(there, "192.0.2.1"), 0);
	is("va", true, "02:00:00:00:00:77");
	in_there("ip link add link ea name mt1 address 02:00:00:00:00:78 type macvtap mode bridge");
	assert_int_equal(by_device("va"), 0);
	is("va", true, NULL); /* which of both cannot be told */
}

static void several_veths(void **state)
{
	(void)state;
	sh("ip link add vb type veth peer name eb address 02:00:00:00:00:0b && ip link set vb up");
	move_there("eb");
	assert_int_equal(by_netns(there, "172.20.5.2"), 0);
	is("va", true, "02:00:00:00:00:0a");
	in_there("ip addr add 172.20.6.2/24 dev eb");
	assert_int_equal(by_netns(there, "172.20.6.2"), 0);
	is("vb", true, "02:00:00:00:00:0b");
	says(by_netns(there, "192.0.2.1"), EINVAL, "several of its veths", "--device");
}

static void devices_of_this_namespace(void **state)
{
	(void)state;
	sh("ip link add a0 type veth peer name a1 address 02:00:00:00:00:01 && ip link set a0 up");
	assert_int_equal(by_device("a0"), 0);
	is("a0", false, "02:00:00:00:00:01");
	sh("ip link add link a1 name mt2 address 02:00:00:00:00:79 type macvtap mode bridge");
	assert_int_equal(by_device("mt2"), 0);
	is("a0", false, "02:00:00:00:00:79");
	assert_int_equal(by_device("a0"), 0);
	is("a0", false, "02:00:00:00:00:79");
	sh("ip tuntap add t0 mode tap && ip link set t0 up");
	assert_int_equal(by_device("t0"), 0);
	is("t0", false, NULL);
}

static void what_cannot_be_hooked(void **state)
{
	(void)state;
	says(by_device("nope"), ENOENT, "device nope: weftd's namespace has no such device",
		"--netns");
	says(by_device(""), ENOENT, "no such device", "");
	says(by_device("a name that no device can have"), ENOENT, "no such device", "");
	says(by_device("lo"), ENOTSUP, "device lo is a device of the machine itself",
		"veth or tap");
	sh("ip link add br0 type bridge");
	says(by_device("br0"), ENOTSUP, "device br0 is a bridge", "veth or tap");
	sh("ip tuntap add t1 mode tun");
	says(by_device("t1"), ENOTSUP, "device t1 is a tun", "veth or tap");
	sh("ip tuntap add t2 mode tap");
	says(by_device("t2"), EBUSY, "device t2 is down", "ip link set t2 up");
	sh("ip link add link t2 name mt3 type macvtap");
	says(by_device("mt3"), ENOTSUP, "no veth with its other end here", "use a tap");
	says(by_netns("/nowhere/at/all", "10.0.0.1"), ENOENT,
		"network namespace /nowhere/at/all: No such file", "");
	says(by_netns("/etc/passwd", "10.0.0.1"), EINVAL, "/etc/passwd", "");
	says(by_netns("/proc/self/ns/net", "10.0.0.1"), ENOENT, "none of its links is a veth", "");
	in_there("ip link del ea");
	says(by_netns(there, "172.20.5.2"), ENOENT, "none of its links is a veth", "--device");
}

/* --- watching ------------------------------------------------------------------------------------
 */

struct seen {
	uint32_t last, gone;
};

static void on_link(void *userdata, uint32_t ifindex, bool gone)
{
	struct seen *s = userdata;

	if (gone)
		s->gone = ifindex;
	else
		s->last = ifindex;
}

static void run(struct weft_link_watch *w)
{
	struct pollfd p = {weft_link_watch_fd(w), POLLIN, 0};

	while (poll(&p, 1, 200) > 0)
		assert_int_equal(weft_link_watch_run(w), 0);
}

static void devices_come_and_go(void **state)
{
	struct weft_link_watch *w = NULL;
	struct seen s = {0};
	uint32_t index;

	(void)state;
	assert_int_equal(weft_link_watch_open(on_link, &s, &w, &err), 0);
	assert_int_equal(weft_link_watch_run(w), 0); /* nothing yet: does not wait */
	sh("ip tuntap add t9 mode tap");
	index = if_nametoindex("t9");
	run(w);
	assert_int_equal(s.last, index);
	assert_int_equal(s.gone, 0);
	sh("ip link del t9");
	run(w);
	assert_int_equal(s.gone, index);
	weft_link_watch_free(w);
}

static void one_that_moves_away_is_gone(void **state)
{
	struct weft_link_watch *w = NULL;
	struct seen s = {0};
	uint32_t index;

	(void)state;
	sh("ip link add c0 type veth peer name c1");
	index = if_nametoindex("c0");
	assert_int_equal(weft_link_watch_open(on_link, &s, &w, &err), 0);
	move_there("c0");
	run(w);
	assert_int_equal(s.gone, index);
	weft_link_watch_free(w);
}

/* A bridge says of its port that it has left, while the port itself is still there. */
static void a_port_that_leaves_its_bridge_is_not_gone(void **state)
{
	struct weft_link_watch *w = NULL;
	struct seen s = {0};

	(void)state;
	sh("ip link add br1 type bridge && ip link set va master br1");
	assert_int_equal(weft_link_watch_open(on_link, &s, &w, &err), 0);
	sh("ip link set va nomaster");
	run(w);
	assert_int_not_equal(s.last, 0);
	assert_int_equal(s.gone, 0);
	weft_link_watch_free(w);
}

static void what_was_lost_is_said(void **state)
{
	struct weft_link_watch *w = NULL;
	struct seen s = {0};

	(void)state;
	assert_int_equal(weft_link_watch_open(on_link, &s, &w, &err), 0);
	sh("for i in $(seq 400); do ip link set va mtu $((1000 + i)); done");
	assert_int_equal(weft_link_watch_run(w), -ENOBUFS);
	weft_link_watch_free(w);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_veth_into_another_namespace),
		TEST(whether_another_is_its_gateway),
		TEST(a_guest_on_a_macvtap),
		TEST(several_veths),
		TEST(devices_of_this_namespace),
		TEST(what_cannot_be_hooked),
		TEST(devices_come_and_go),
		TEST(one_that_moves_away_is_gone),
		TEST(a_port_that_leaves_its_bridge_is_not_gone),
		TEST(what_was_lost_is_said),
	};
	int r;

	if (geteuid() != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("sysfs", "/sys", "sysfs", 0, NULL) < 0) {
		printf("1..0 # SKIP needs root and namespaces\n");
		return 0;
	}
	if (!mkdtemp(dir) || !(there = weft_strf("%s/netns", dir)))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	free(there);
	return r;
}
