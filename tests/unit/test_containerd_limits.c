/* SPDX-License-Identifier: Apache-2.0 */
/* What a descriptor may say of a container, proved from inside of it and in its cgroup: user,
 * capabilities, volumes, read-only root, memory, CPU quota and weight, processes, runtime. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "tests/lib/ctrd_lab.h"

static bool gvisor;

static int setup(void **state)
{
	(void)state;
	if (clab_setup("ctrlimits", 0) < 0)
		return -1;
	clab.virt = gvisor ? WEFT_VIRT_GVISOR : WEFT_VIRT_CONTAINER;
	clab_import();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return clab_teardown();
}

static int nothing_left(void **state)
{
	(void)state;
	clab_assert_clean(1);
	return 0;
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no '%s' in: %s", part, text);
}

static void assert_run_says(const struct weft_runtime_spec *spec, const char *part)
{
	_cleanup_(freep) char *text = clab_output(spec);
	_cleanup_(freep) char *path = strdup(spec->log_path);

	assert_has(text, part);
	unlink(path);
}

/* --- user ----------------------------------------------------------------------------------------
 */

static void test_user(void **state)
{
	static const struct {
		const char *user, *want, *groups;
	} cases[] = {
		{NULL, "uid=1234 gid=5678 ", "groups 50 60\n"},
		{"root", "uid=0 gid=0 ", "groups 60\n"},
		{"tester", "uid=1234 gid=5678 ", "groups 50 60\n"},
		{"1234", "uid=1234 gid=5678 ", "groups 50 60\n"},
		{"tester:staff", "uid=1234 gid=50 ", "groups"},
		{"77:88", "uid=77 gid=88 ", "groups"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct weft_runtime_spec *spec = clab_spec("test.user", "groups");
		_cleanup_(freep) char *text = NULL;

		spec->user = cases[i].user;
		text = clab_output(spec);
		assert_has(text, cases[i].want);
		/* gVisor counts the primary group among them, as some kernels' libraries do */
		if (!gvisor)
			assert_has(text, cases[i].groups);
		unlink(clab_spec("test.user", NULL)->log_path);
	}
}

static void test_unknown_user(void **state)
{
	struct weft_runtime_spec *spec = clab_spec("test.user", "groups");

	(void)state;
	spec->user = "nobody.here";
	clab_expect(clab_begin(spec), -ENOENT);
	assert_has(clab.err.msg, "user 'nobody.here' is not in the image's /etc/passwd");
}

/* --- capabilities --------------------------------------------------------------------------------
 */

static void test_capabilities(void **state)
{
	static const char *const none[] = {NULL}, *const two[] = {"CAP_NET_BIND_SERVICE",
							  "CAP_CHOWN", NULL};
	struct weft_runtime_spec *spec = clab_spec("test.caps", "caps");

	(void)state;
	spec->user = "root";
	/* every container engine's; gVisor gives no raw sockets */
	assert_run_says(
		spec, gvisor ? "CapBnd:\t00000000a80405fb\n" : "CapBnd:\t00000000a80425fb\n");
	spec = clab_spec("test.caps", "caps");
	spec->user = "root";
	spec->capabilities = none;
	assert_run_says(spec, "CapBnd:\t0000000000000000\n");
	/* Of another user, too, when they are named. */
	spec = clab_spec("test.caps", "caps");
	spec->capabilities = two;
	assert_run_says(spec, "CapEff:\t0000000000000401\n");
}

/* --- file systems --------------------------------------------------------------------------------
 */

static void test_read_only(void **state)
{
	struct weft_runtime_spec *spec = clab_spec("test.ro", "write /new");
	_cleanup_(freep) char *log = NULL;

	(void)state;
	spec->user = "root";
	assert_run_says(spec, "write /new: ok");
	spec = clab_spec("test.ro", "write /new /dev/shm/new");
	spec->user = "root";
	spec->read_only = true;
	log = clab_output(spec);
	assert_has(log, "write /new: Read-only file system");
	assert_has(log, "write /dev/shm/new: ok");
}

static char *put(const char *name, const char *text)
{
	char *path = weft_strf("%s/%s", clab.ctrd.dir, name);

	assert_int_equal(weft_write_file(path, text, strlen(text), 0666), 0);
	return path;
}

static void test_volumes(void **state)
{
	_cleanup_(freep) char *rw = weft_strf("%s/rw dir", clab.ctrd.dir);
	_cleanup_(freep) char *ro = weft_strf("%s/ro", clab.ctrd.dir), *made = NULL, *log = NULL;
	_cleanup_(freep) char *file = put("a,file", "from the host\n"), *text = NULL;
	struct weft_runtime_mount mounts[] = {
		{rw, "/mnt/rw", false}, {ro, "/mnt/ro", true}, {file, "/etc/one file", true}};
	struct weft_runtime_spec *spec;

	(void)state;
	assert_int_equal(weft_mkdir_p(rw, 0777), 0);
	assert_int_equal(weft_mkdir_p(ro, 0777), 0);
	spec = clab_spec("test.volumes", "write /mnt/rw/x /mnt/ro/x");
	spec->user = "root";
	spec->mounts = mounts;
	spec->n_mounts = ARRAY_SIZE(mounts);
	log = clab_output(spec);
	assert_has(log, "write /mnt/rw/x: ok");
	assert_has(log, "write /mnt/ro/x: Read-only file system");
	made = weft_strf("%s/x", rw);
	assert_int_equal(weft_read_file(made, 100, &text, NULL), 0);
	assert_string_equal(text, "inside\n");

	mounts[2].target = "/one";
	spec = clab_spec("test.volumes", "cat /one");
	spec->mounts = mounts;
	spec->n_mounts = ARRAY_SIZE(mounts);
	assert_run_says(spec, "from the host\n");
}

/* What is mounted below a read-only volume is not to be written to either. */
static void test_volume_below(void **state)
{
	_cleanup_(freep) char *dir = weft_strf("%s/outer", clab.ctrd.dir);
	_cleanup_(freep) char *inner = weft_strf("%s/outer/inner", clab.ctrd.dir);
	struct weft_runtime_mount outer = {dir, "/outer", true};
	struct weft_runtime_spec *spec;

	(void)state;
	assert_int_equal(weft_mkdir_p(inner, 0777), 0);
	assert_int_equal(mount("none", inner, "tmpfs", 0, "size=64k"), 0);
	spec = clab_spec("test.below", "write /outer/inner/x");
	spec->user = "root";
	spec->mounts = &outer;
	spec->n_mounts = 1;
	assert_run_says(spec, "write /outer/inner/x: Read-only file system");
	assert_int_equal(umount2(inner, MNT_DETACH), 0);
}

static void test_missing_volume(void **state)
{
	const struct weft_runtime_mount mount = {"/no/such/dir", "/x", false};
	struct weft_runtime_spec *spec = clab_spec("test.volumes", NULL);

	(void)state;
	spec->mounts = &mount;
	spec->n_mounts = 1;
	assert_int_equal(clab_begin(spec), -ENOENT);
	assert_has(clab.err.msg, "instance test.volumes: volume /no/such/dir: No such file");
	assert_true(clab.err.hint[0]);
}

/* --- resources -----------------------------------------------------------------------------------
 */

static void assert_file(const char *controller, const char *v1, const char *v1_want, const char *v2,
	const char *v2_want)
{
	_cleanup_(freep) char *text = clab_cgroup_file("test.limits", controller, v1, v2);

	if (strcmp(text, v1_want) != 0 && strcmp(text, v2_want) != 0)
		fail_msg("%s: %s, not %s", v1, text, v1_want);
}

static void test_cgroup_files(void **state)
{
	struct weft_runtime_spec *spec = clab_spec("test.limits", "serve");

	(void)state;
	spec->memory_mb = 96;
	spec->vcpus = 3;
	spec->limits =
		(struct weft_runtime_limits){.cpu_milli = 250, .cpu_weight = 300, .pids = 77};
	clab_run(spec);
	assert_file("memory", "memory.limit_in_bytes", "100663296", "memory.max", "100663296");
	assert_file("cpu", "cpu.cfs_quota_us", "25000", "cpu.max", "25000 100000");
	assert_file("cpu", "cpu.shares", "3072", "cpu.weight", "300");
	assert_file("pids", "pids.max", "77", "pids.max", "77");
	clab_delete("test.limits");

	spec = clab_spec("test.limits", "serve"); /* vcpus alone is a quota of as many */
	spec->vcpus = 2;
	clab_run(spec);
	assert_file("cpu", "cpu.cfs_quota_us", "200000", "cpu.max", "200000 100000");
	assert_file("cpu", "cpu.shares", "1024", "cpu.weight", "100");
	clab_delete("test.limits");
}

static void test_pids(void **state)
{
	struct weft_runtime_spec *spec = clab_spec("test.pids", "forks 40");

	(void)state;
	spec->limits.pids = 9;
	assert_run_says(spec, "forked 8\n");
}

/* Wall time for as much CPU time tells the quota, whatever else runs here. */
static void test_quota(void **state)
{
	struct weft_runtime_spec *spec = clab_spec("test.quota", "spin");
	uint64_t begin, cpu;
	double share;

	(void)state;
	spec->limits.cpu_milli = 200;
	clab_run(spec);
	clab_wait_for(clab_stats("test.quota").cpu_ns > 300000000);
	begin = weft_now_ns();
	cpu = clab_stats("test.quota").cpu_ns;
	clab_wait_for(clab_stats("test.quota").cpu_ns > cpu + 200000000);
	share = (double)(clab_stats("test.quota").cpu_ns - cpu) / (double)(weft_now_ns() - begin);
	print_message("# quota 0.2 CPU: %.3f\n", share);
	assert_true(share < 0.26);
	clab_delete("test.quota");
}

/* --- other runtimes ------------------------------------------------------------------------------
 */

static void expect_refused(const char *runtime, int code, const char *part)
{
	struct weft_runtime_spec *spec = clab_spec("test.runtime", "serve");

	spec->runtime = runtime;
	assert_int_equal(clab_begin(spec), code);
	assert_has(clab.err.msg, "instance test.runtime: runtime ");
	assert_has(clab.err.msg, part);
	assert_true(clab.err.hint[0] || code == -EINVAL);
}

static void add_program(const char *name, const char *script)
{
	_cleanup_(freep) char *dir = weft_strf("%s/bin", clab.ctrd.dir);
	_cleanup_(freep) char *path = weft_strf("%s/%s", dir, name);

	assert_int_equal(weft_mkdir_p(dir, 0755), 0);
	assert_int_equal(weft_write_file(path, script, strlen(script), 0755), 0);
}

static void test_other_runtime(void **state)
{
	struct weft_runtime_spec *spec;

	(void)state;
	expect_refused("weft-no-such-runc", -ENOTSUP, "not in containerd's PATH");
	expect_refused("io.containerd.weftnone.v2", -ENOTSUP, "containerd-shim-weftnone-v2 is not");
	expect_refused("io.containerd.", -EINVAL, "not a name");
	expect_refused("io.containerd.a.b", -EINVAL, "not a name");
	expect_refused("io.containerd.a.b.v1", -EINVAL, "not a name");
	expect_refused("../x", -EINVAL, "not a valid name");

	spec = clab_spec("test.runtime", "caps");
	spec->runtime = "io.containerd.runc.v2";
	assert_run_says(spec, "CapBnd:");
	spec = clab_spec("test.runtime", "caps");
	spec->runtime = "io.containerd.weftother.v2";
	add_program(
		"containerd-shim-weftother-v2", "#!/bin/sh\nexec containerd-shim-runc-v2 \"$@\"\n");
	assert_run_says(spec, "CapBnd:");
}

/* A program of another name that understands what runc does: runc, leaving a trace. */
static void other_program(void)
{
	_cleanup_(freep) char *script =
		weft_strf("#!/bin/sh\necho \"$@\" >>%s/trace\nexec runc \"$@\"\n", clab.ctrd.dir);
	_cleanup_(freep) char *path = weft_strf("%s/trace", clab.ctrd.dir), *trace = NULL;
	struct weft_runtime_spec *spec = clab_spec("test.other", "serve");

	add_program("otherrunc", script);
	spec->runtime = "otherrunc";
	spec->memory_mb = 64;
	clab_run(spec);
	clab_wait_log("test.other", "serve uid=1234 gid=5678");
	assert_true(clab_stats("test.other").memory_bytes > 0);
	clab_exec("test.other", "groups", 10000, 0);
	assert_has(clab.output, "groups 50 60");
	clab_expect(CLAB_OPS->pause(clab.rt, "test.other", clab_on_done, NULL, &clab.err), 0);
	clab_expect(clab_stop("test.other", 5000), 0);
	clab_assert_log("test.other", "bye 15");
	clab_delete("test.other");
	assert_int_equal(weft_read_file(path, 65536, &trace, NULL), 0);
	assert_has(trace, " create ");
	assert_has(trace, " exec ");
	assert_has(trace, " pause test.other");
	assert_has(trace, " delete ");
}

static void test_other_program(void **state)
{
	(void)state;
	clab_skip_in_chroot(); /* does not return then: nothing may be held */
	other_program();
}

int main(void)
{
#define T(name) cmocka_unit_test_teardown(name, nothing_left)
	const struct CMUnitTest with_runc[] = {
		T(test_user),
		T(test_unknown_user),
		T(test_capabilities),
		T(test_read_only),
		T(test_volumes),
		T(test_volume_below),
		T(test_missing_volume),
		T(test_cgroup_files),
		T(test_pids),
		T(test_quota),
		T(test_other_runtime),
		T(test_other_program),
	};
	const struct CMUnitTest with_runsc[] = {
		T(test_user),
		T(test_capabilities),
		T(test_read_only),
		T(test_volumes),
		T(test_cgroup_files),
		T(test_quota),
	};
	const char *missing = clab_missing();
	int failed;

	if (missing) {
		printf("1..0 # SKIP %s\n", missing);
		return 0;
	}
	failed = cmocka_run_group_tests(with_runc, setup, teardown);
	missing = clab_runsc_missing();
	gvisor = true;
	if (missing)
		printf("1..1\nok 1 - gVisor # SKIP %s\n", missing);
	else
		failed += cmocka_run_group_tests(with_runsc, setup, teardown);
	return failed;
}
