/* SPDX-License-Identifier: Apache-2.0 */
/* What is computed about a container without containerd: its specification, environment, user. */
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/containerd/ctrd.h"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/weft-test-spec-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return weft_remove_tree(dir);
}

static const json_t *at(const json_t *o, const char *path)
{
	_cleanup_(freep) char *copy = strdup(path);
	char *save = NULL;

	for (char *k = strtok_r(copy, ".", &save); k && o; k = strtok_r(NULL, ".", &save))
		o = *k >= '0' && *k <= '9' ? json_array_get(o, strtoul(k, NULL, 10))
					   : json_object_get(o, k);
	return o;
}

static void test_spec(void **state)
{
	char *args[] = {(char[]){"/x"}, (char[]){"a \"b\""}, NULL}, *env[] = {NULL};
	struct ctrd_process p = {
		.id = "shop.web.1",
		.cgroup = "weft/shop.web.1",
		.netns = "/run/netns/x",
		.args = args,
		.env = env,
		.cwd = "/srv",
		.user = {.uid = 4294967294U, .gid = 7},
		.memory_bytes = 5ULL << 30,
		.cpu_milli = 2000,
		.nofile = 20000,
	};
	_cleanup_(freep) char *text = ctrd_spec(&p), *plain = NULL;
	json_auto_t *o = NULL, *q = NULL;

	(void)state;
	assert_non_null(text);
	o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(o);
	assert_string_equal(json_string_value(at(o, "process.args.1")), "a \"b\"");
	assert_string_equal(json_string_value(at(o, "process.cwd")), "/srv");
	assert_string_equal(json_string_value(at(o, "hostname")), "shop.web.1");
	assert_int_equal(json_integer_value(at(o, "process.user.uid")), 4294967294LL);
	assert_true(json_is_true(at(o, "process.noNewPrivileges")));
	assert_int_equal(json_integer_value(at(o, "process.rlimits.0.hard")), 20000);
	assert_string_equal(json_string_value(at(o, "linux.cgroupsPath")), "/weft/shop.web.1");
	assert_int_equal(json_integer_value(at(o, "linux.resources.memory.limit")), 5LL << 30);
	assert_int_equal(json_integer_value(at(o, "linux.resources.cpu.quota")), 200000);
	assert_int_equal(json_integer_value(at(o, "linux.resources.cpu.period")), 100000);
	assert_string_equal(json_string_value(at(o, "linux.namespaces.4.path")), "/run/netns/x");

	p = (struct ctrd_process){.id = "a", .cgroup = "a", .args = args, .env = env, .cwd = "/"};
	plain = ctrd_spec(&p);
	q = json_loads(plain, 0, NULL);
	assert_null(at(q, "linux.resources.memory"));
	assert_null(at(q, "linux.resources.cpu.quota"));
	assert_null(at(q, "linux.namespaces.4.path"));
	assert_null(at(q, "process.rlimits"));

	args[1] = (char[]){"\xff\xfe"};
	assert_null(ctrd_spec(&p)); /* JSON cannot carry it */
}

static void assert_text(const json_t *o, const char *path, const char *want)
{
	assert_string_equal(json_string_value(at(o, path)), want);
}

static void assert_number(const json_t *o, const char *path, json_int_t want)
{
	assert_int_equal(json_integer_value(at(o, path)), want);
}

static void test_limits(void **state)
{
	char *args[] = {(char[]){"/x"}, NULL}, *env[] = {NULL};
	char *caps[] = {(char[]){"CAP_CHOWN"}, NULL}, *no_caps[] = {NULL};
	const struct weft_runtime_mount mounts[] = {{"/a", "/b", true}, {"/c", "/d", false}};
	struct ctrd_process p = {
		.id = "a",
		.cgroup = "a",
		.args = args,
		.env = env,
		.cwd = "/",
		.user = {.uid = 1, .gid = 2, .groups = {3, 4}, .n_groups = 2},
		.capabilities = caps,
		.read_only = true,
		.mounts = mounts,
		.n_mounts = 2,
		.recursive_ro = true,
		.cpu_milli = 1,
		.cpu_weight = 10000,
		.pids = 7,
		.cgroup2 = true,
	};
	_cleanup_(freep) char *text = ctrd_spec(&p), *plain = NULL;
	json_auto_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *q = NULL;

	(void)state;
	assert_number(o, "process.user.additionalGids.1", 4);
	assert_text(o, "process.capabilities.ambient.0", "CAP_CHOWN");
	assert_text(o, "process.capabilities.bounding.0", "CAP_CHOWN");
	assert_null(at(o, "process.capabilities.bounding.1"));
	assert_true(json_is_true(at(o, "root.readonly")));
	assert_text(o, "mounts.6.source", "/a");
	assert_text(o, "mounts.6.destination", "/b");
	assert_text(o, "mounts.6.options.2", "ro");
	assert_text(o, "mounts.6.options.3", "rro");
	assert_text(o, "mounts.7.options.2", "rw");
	assert_number(o, "linux.resources.cpu.quota", 1000); /* the kernel's least */
	assert_number(o, "linux.resources.cpu.shares", 102400);
	assert_string_equal(
		json_string_value(json_object_get(at(o, "linux.resources.unified"), "cpu.weight")),
		"10000");
	assert_number(o, "linux.resources.pids.limit", 7);

	p.capabilities = no_caps;
	p.cgroup2 = p.recursive_ro = false;
	p.cpu_weight = 1;
	plain = ctrd_spec(&p);
	q = json_loads(plain, 0, NULL);
	assert_int_equal(json_array_size(at(q, "process.capabilities.bounding")), 0);
	assert_null(at(q, "mounts.6.options.3"));
	assert_number(q, "linux.resources.cpu.shares", 10);
	assert_null(at(q, "linux.resources.unified"));
}

/* What is denied to a process with these capabilities, if the call is. */
static const json_t *denied(char *const *capabilities, const char *call, json_t **ret_doc)
{
	const json_t *rules;
	json_t *r, *name;
	size_t i, k;

	*ret_doc = ctrd_seccomp(capabilities);
	rules = json_object_get(*ret_doc, "syscalls");
	assert_text(*ret_doc, "defaultAction", "SCMP_ACT_ALLOW");
	assert_true(json_array_size(rules) > 3);
	json_array_foreach (rules, i, r)
		json_array_foreach (json_object_get(r, "names"), k, name)
			if (strcmp(json_string_value(name), call) == 0)
				return r;
	return NULL;
}

static void test_seccomp(void **state)
{
	char *admin[] = {(char[]){"CAP_CHOWN"}, (char[]){"CAP_SYS_ADMIN"}, NULL};
	static const struct {
		const char *call;
		int plain, with_admin; /* the errno, 0: allowed */
	} calls[] = {
		{"read", 0, 0},
		{"clone", EPERM, 0},
		{"clone3", ENOSYS, 0},
		{"mount", EPERM, 0},
		{"bpf", EPERM, 0},
		{"keyctl", EPERM, EPERM},
		{"io_uring_setup", EPERM, EPERM},
		{"init_module", EPERM, EPERM},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		for (int with = 0; with < 2; with++) {
			json_auto_t *doc = NULL;
			const json_t *r = denied(with ? admin : NULL, calls[i].call, &doc);
			int want = with ? calls[i].with_admin : calls[i].plain;

			assert_int_equal(json_integer_value(json_object_get(r, "errnoRet")), want);
			/* Threads and processes are made by clone: only its flag is denied. */
			if (r && strcmp(calls[i].call, "clone") == 0)
				assert_number(r, "args.0.value", 0x10000000);
		}
}

static void assert_env(char **env, const char *const *want)
{
	size_t n = 0;

	assert_non_null(env);
	for (; env[n] && want[n]; n++)
		assert_string_equal(env[n], want[n]);
	assert_null(env[n]);
	assert_null(want[n]);
	strv_free(env);
}

static void test_env(void **state)
{
	char *image[] = {(char[]){"PATH=/bin"}, (char[]){"A=1"}, (char[]){"AB=2"}, NULL};
	char *ours[] = {(char[]){"A=x=y"}, (char[]){"HOSTNAME=h"}, NULL};

	(void)state;
	assert_env(ctrd_env(image, ours, "id"),
		(const char *[]){"PATH=/bin", "AB=2", "A=x=y", "HOSTNAME=h", NULL});
	assert_env(ctrd_env(NULL, NULL, "id"),
		(const char *[]){
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOSTNAME=id", NULL});
}

/* --- users ---------------------------------------------------------------------------------------
 */

static void put(const char *layer, const char *file, const char *text)
{
	_cleanup_(freep) char *path = weft_strf("%s/%s/etc", dir, layer);
	_cleanup_(freep) char *name = weft_strf("%s/%s/etc/%s", dir, layer, file);

	assert_int_equal(weft_mkdir_p(path, 0755), 0);
	assert_int_equal(weft_write_file(name, text, strlen(text), 0644), 0);
}

static int lookup(const char *user, const char *layers, struct ctrd_user *ret)
{
	_cleanup_(freep) char *lower = weft_strf("lowerdir=%s", layers);
	char type[] = "overlay", *options[] = {(char[]){"index=off"}, lower};
	Ctrd__Mount m = CTRD__MOUNT__INIT, *mounts[] = {&m};
	struct weft_err err = {};
	int r;

	m.type = type;
	m.options = options;
	m.n_options = 2;
	r = ctrd_user_lookup(user, mounts, 1, ret, &err);
	assert_true(r == 0 || (err.msg[0] && err.hint[0]));
	return r;
}

static void expect(const char *user, const char *layers, int r, uint32_t uid, uint32_t gid)
{
	struct ctrd_user u = {.uid = 99, .gid = 99};

	assert_int_equal(lookup(user, layers, &u), r);
	assert_int_equal(u.uid, r ? 99 : uid);
	assert_int_equal(u.gid, r ? 99 : gid);
}

static void expect_groups(const char *user, const char *layers, unsigned n, uint32_t last)
{
	struct ctrd_user u = {};

	assert_int_equal(lookup(user, layers, &u), 0);
	assert_int_equal(u.n_groups, n);
	assert_true(n == 0 || u.groups[n - 1] == last);
}

static void test_users(void **state)
{
	_cleanup_(freep) char *two = weft_strf("%s/top:%s/bottom", dir, dir);
	_cleanup_(freep) char *links = weft_strf("%s/links", dir);
	_cleanup_(freep) char *gone = weft_strf("%s/gone:%s/bottom", dir, dir);
	_cleanup_(freep) char *etc = weft_strf("%s/links/etc", dir);
	_cleanup_(freep) char *passwd = weft_strf("%s/links/etc/passwd", dir);
	_cleanup_(freep) char *gone_etc = weft_strf("%s/gone/etc", dir);
	_cleanup_(freep) char *whiteout = weft_strf("%s/gone/etc/passwd", dir);

	(void)state;
	put("bottom", "passwd",
		"root:x:0:0\nweb:x:33:34:www\nold:x:1:1\nbad:x:-5:1\n:::\n\nhalf\n");
	put("bottom", "group",
		"root:x:0:\nstaff:x:50:web\nwww:x:134:web\nwebs:x:9:webs,xweb\nall:x:60:a,web\n:60\n");
	put("top", "passwd", "root:x:0:0\nweb:x:133:134:www\n");
	expect("", two, 0, 0, 0);
	expect("root", two, 0, 0, 0);
	expect("web", two, 0, 133, 134);
	expect("133", two, 0, 133, 134);
	expect("500", two, 0, 500, 0);
	expect("500:600", two, 0, 500, 600);
	expect("web:staff", two, 0, 133, 50);
	expect("web:", two, 0, 133, 134);
	expect("old", two, -ENOENT, 0, 0); /* the top layer's file hides it */
	expect("bad", two, -ENOENT, 0, 0);
	expect("web:nobody", two, -ENOENT, 0, 0);
	expect("99999999999", two, -ENOENT, 0, 0);

	expect_groups("web", two, 2, 60); /* not 134, which is its own */
	expect_groups("133", two, 2, 60);
	expect_groups("web:staff", two, 0, 0);
	expect_groups("500", two, 0, 0);
	expect_groups("root", two, 0, 0);

	/* A link must not lead out of the image: to a file beside it, here. */
	assert_int_equal(weft_mkdir_p(etc, 0755), 0);
	assert_int_equal(symlink("../../bottom/etc/passwd", passwd), 0);
	expect("web", links, -ENOENT, 0, 0);
	assert_int_equal(unlink(passwd), 0);
	assert_int_equal(symlink("/etc/real", passwd), 0);
	put("links", "real", "web:x:7:8\n");
	expect("web", links, 0, 7, 8);

	if (geteuid() != 0)
		return;
	assert_int_equal(weft_mkdir_p(gone_etc, 0755), 0);
	assert_int_equal(mknod(whiteout, S_IFCHR, makedev(0, 0)), 0);
	expect("web", gone, -ENOENT, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spec),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_seccomp),
		cmocka_unit_test(test_env),
		cmocka_unit_test(test_users),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
