/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels that lack something: each feature in turn counts as missing. The data plane does without
 * it or says what is missing, and what it does without is named. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/dp_trace.h"
#include "ctrl/dataplane/feature.h"
#include "ctrl/dataplane/sockmap.h"
#include "tests/lib/dp_lab.h"

#define VIP "10.30.0.1"

static int open_without(const char *names, struct weft_dp **ret, struct weft_err *err)
{
	const struct weft_dp_config config = {
		.bpffs_dir = LAB_PINS, .max_flows = 4096, .without = names};

	return weft_dp_open(&config, ret, err);
}

static struct weft_dp *must_open(const char *names)
{
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (open_without(names, &dp, &err) < 0)
		fail_msg("without %s: %s", names ? names : "nothing", err.msg);
	return dp;
}

static void close_dp(struct weft_dp *dp)
{
	weft_dp_free(dp);
	assert_int_equal(weft_dp_destroy(LAB_PINS, NULL), 0);
	assert_int_equal(access(LAB_PINS, F_OK), -1);
}

static struct weft_dp_feature feature(struct weft_dp *dp, const char *name)
{
	for (unsigned i = 0; i < weft_dp_feature_count(); i++) {
		struct weft_dp_feature f = weft_dp_feature(dp, i);

		if (strcmp(f.name, name) == 0)
			return f;
	}
	fail_msg("no feature %s", name);
	return (struct weft_dp_feature){0};
}

/* What a configuration may leave out is not among them, but for the JIT, which may be off, and for
 * extensions, which a kernel in lockdown refuses. */
static bool promised(const struct weft_dp_feature *f)
{
	unsigned major = 0, minor = 0, since_major, since_minor;
	struct utsname uts;

	assert_int_equal(sscanf(f->since, "%u.%u", &since_major, &since_minor), 2);
	return strcmp(f->name, "JIT") != 0 && strcmp(f->name, "program extensions") != 0 &&
	       uname(&uts) == 0 && sscanf(uts.release, "%u.%u", &major, &minor) == 2 &&
	       (major > since_major || (major == since_major && minor >= since_minor));
}

static void as_it_is(void **state)
{
	struct weft_dp *dp = must_open(NULL);

	(void)state;
	assert_true(weft_dp_feature_count() > 10);
	for (unsigned i = 0; i < weft_dp_feature_count(); i++) {
		struct weft_dp_feature f = weft_dp_feature(dp, i);

		assert_true(f.name[0] && f.since[0] && f.what[0]);
		if (!f.has && promised(&f))
			fail_msg("%s is not found, but Linux %s has it", f.name, f.since);
		assert_true(f.has || f.lost); /* the data plane is there */
	}
	assert_string_equal(weft_dp_hook(dp), feature(dp, "tcx").has ? "tcx" : "clsact");
	close_dp(dp);
}

static void each_in_turn(void **state)
{
	struct weft_dp *all = must_open(NULL);
	struct weft_dp_feature f[32];
	unsigned n = weft_dp_feature_count();

	(void)state;
	assert_true(n <= 32);
	for (unsigned i = 0; i < n; i++)
		f[i] = weft_dp_feature(all, i);
	close_dp(all);
	for (unsigned i = 0; i < n; i++) {
		struct weft_dp_instance inst = lab_instance(1, 1);
		struct weft_dp_weight w = {1, 1};
		struct weft_dp *dp = NULL;
		struct weft_err err = {0};
		int r = open_without(f[i].name, &dp, &err);

		if (!f[i].lost) {
			assert_int_equal(r, -ENOTSUP);
			assert_null(dp);
			assert_non_null(strstr(err.msg, f[i].name));
			assert_non_null(strstr(err.hint, f[i].since));
			assert_int_equal(access(LAB_PINS, F_OK), -1);
			continue;
		}
		if (r < 0)
			fail_msg("without %s: %s", f[i].name, err.msg);
		assert_false(feature(dp, f[i].name).has);
		lab_service(dp, 1, VIP);
		assert_int_equal(weft_dp_instance_set(dp, &inst, &err), 0);
		lab_weights(dp, 1, &w, 1);
		lab_weights(dp, 1, &w, 1);
		close_dp(dp);
	}
}

/* The old kernel's ways are taken, and a daemon that finds the new ones goes over to them. */
static void what_takes_their_place(void **state)
{
	struct weft_dp *dp = must_open("tcx,kernel context,XDP links,XDP fragments");
	struct weft_dp_uplink uplink = {.device = "v2", .xdp = WEFT_DP_XDP_NATIVE};
	struct weft_dp_uplink_status status;
	struct weft_err err = {0};

	(void)state;
	assert_string_equal(weft_dp_hook(dp), "clsact");
	assert_false(dp->kern_ctx);
	assert_int_equal(weft_dp_uplink_set(dp, &uplink, &err), 0);
	assert_int_equal(weft_dp_uplink_status(dp, &status), 0);
	assert_int_equal(status.xdp_used, WEFT_DP_XDP_OFF);
	assert_string_equal(status.xdp, "off: the kernel has no links for XDP");
	assert_string_equal(status.problem, "");

	weft_dp_free(dp);
	dp = must_open(NULL);
	assert_string_equal(weft_dp_hook(dp), feature(dp, "tcx").has ? "tcx" : "clsact");
	assert_int_equal(dp->kern_ctx, feature(dp, "kernel context").has);
	assert_int_equal(weft_dp_uplink_set(dp, &uplink, &err), 0);
	assert_int_equal(weft_dp_uplink_status(dp, &status), 0);
	assert_int_equal(status.xdp_used,
		feature(dp, "XDP links").has ? WEFT_DP_XDP_NATIVE : WEFT_DP_XDP_OFF);
	close_dp(dp);
}

static void named_where_it_is_missed(void **state)
{
	static const char *const shortcut[] = {"sockmap", "netns cookies"};
	static const char *const trace[] = {"ring buffer", "tracepoints"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct weft_dp *dp = must_open(shortcut[i]);
		struct weft_err err = {0};

		assert_int_equal(weft_dp_shortcut_supported(dp, &err), -ENOTSUP);
		assert_non_null(strstr(err.msg, shortcut[i]));
		lab_service(dp, 1, VIP);
		assert_int_equal(weft_dp_shortcut_service(dp, 1, true, &err), -ENOTSUP);
		close_dp(dp);
		dp = must_open(trace[i]);
		err = (struct weft_err){0};
		assert_int_equal(weft_dp_trace_supported(dp, &err), -ENOTSUP);
		assert_non_null(strstr(err.msg, trace[i]));
		close_dp(dp);
	}
}

static void no_such_feature(void **state)
{
	struct weft_err err = {0};
	struct weft_dp *dp = NULL;

	(void)state;
	assert_int_equal(open_without("tcx,warp drive", &dp, &err), -EINVAL);
	assert_null(dp);
	assert_non_null(strstr(err.msg, "\"warp drive\" is no feature"));
}

static int setup(void **state)
{
	(void)state;
	for (int n = 1; n <= 2; n++)
		if (lab_sh("ip link add v%d up type veth peer name p%d && ip link set p%d up", n, n,
			    n) != 0)
			return -1;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_it_is),
		cmocka_unit_test(each_in_turn),
		cmocka_unit_test(what_takes_their_place),
		cmocka_unit_test(named_where_it_is_missed),
		cmocka_unit_test(no_such_feature),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("feature", tests, setup, NULL);
}
