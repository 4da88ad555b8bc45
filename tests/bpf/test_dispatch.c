/* SPDX-License-Identifier: Apache-2.0 */
/* XDP on the uplink by either way: libxdp's dispatcher, which only some kernels let run, and a link
 * of ours. Which it is, is said with the reason; a daemon that was killed is followed by one that
 * takes over what is there, by whichever way; nothing stays behind, and nobody else's goes. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>
#include <xdp/libxdp.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "tests/lib/outer_lab.h"

#define BY_LINK     "by a bpf_link (libxdp's dispatcher: "
#define BY_LIBRARY  "through libxdp's dispatcher"
#define EXTENSIONS  "program extensions"
#define LIBRARY_DIR "/sys/fs/bpf/xdp"

static bool can_dispatch; /* this kernel */

static struct weft_dp *open_dp(const char *without)
{
	const struct weft_dp_config config = {
		.bpffs_dir = LAB_PINS, .max_flows = 4096, .without = without};
	struct weft_err err = {0};
	struct weft_dp *dp = NULL;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	return dp;
}

static struct weft_dp_uplink_status uplink(struct weft_dp *dp, enum weft_dp_xdp mode)
{
	const struct weft_dp_uplink wanted = {.device = "up0", .xdp = mode};
	struct weft_dp_uplink_status status = {0};
	struct weft_err err = {0};

	weft_dp_uplink_set(dp, &wanted, &err);
	assert_int_equal(weft_dp_uplink_status(dp, &status), 0);
	return status;
}

static void says(const struct weft_dp_uplink_status *status, const char *what)
{
	if (!strstr(status->xdp, what))
		fail_msg("\"%s\" does not say \"%s\"", status->xdp, what);
}

/* The program on the device: the dispatcher, ours, another's. */
static void device_has(const char *name)
{
	if (name)
		assert_int_equal(
			lab_sh("ip -d link show up0 | grep -q 'prog/xdp .* name %s '", name), 0);
	else
		assert_int_not_equal(lab_sh("ip -d link show up0 | grep -q xdp"), 0);
}

static unsigned library_pins(void)
{
	_cleanup_(closedirp) DIR *dir = opendir(LIBRARY_DIR);
	struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir)))
		n += strncmp(entry->d_name, "dispatch-", 9) == 0;
	return n;
}

static unsigned in_dispatcher(void)
{
	struct xdp_multiprog *all = xdp_multiprog__get_from_ifindex((int)lab_up0((uint8_t[6]){0}));
	struct xdp_program *prog = NULL;
	unsigned n = 0;

	if (libxdp_get_error(all))
		return 0;
	while (!xdp_multiprog__is_legacy(all) && (prog = xdp_multiprog__next_prog(prog, all)))
		n++;
	xdp_multiprog__close(all);
	return n;
}

static void close_dp(struct weft_dp *dp)
{
	weft_dp_free(dp);
	assert_int_equal(weft_dp_destroy(LAB_PINS, NULL), 0);
}

static void nothing_is_left(void)
{
	device_has(NULL);
	assert_int_equal(library_pins(), 0);
}

static void whichever_the_kernel_allows(void **state)
{
	static const enum weft_dp_xdp modes[] = {WEFT_DP_XDP_NATIVE, WEFT_DP_XDP_GENERIC};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		struct weft_dp *dp = open_dp(NULL);
		struct weft_dp_uplink_status status = uplink(dp, modes[i]);

		assert_int_equal(status.xdp_used, modes[i]);
		assert_string_equal(status.problem, "");
		says(&status, weft_dp_xdp_name(modes[i]));
		says(&status, can_dispatch ? BY_LIBRARY : BY_LINK);
		if (!can_dispatch)
			says(&status, strerror(-dp_dispatch_probe()));
		device_has(can_dispatch ? "xdp_dispatcher" : "xdp_uplink");
		close_dp(dp);
		nothing_is_left();
	}
}

/* From one mode to the other, and off, while it runs. */
static void modes_change(void **state)
{
	struct weft_dp *dp = open_dp(NULL);

	(void)state;
	for (int round = 0; round < 2; round++)
		for (enum weft_dp_xdp m = WEFT_DP_XDP_NATIVE; m < WEFT_DP_XDP_MODES; m++) {
			assert_int_equal(uplink(dp, m).xdp_used, m);
			assert_int_equal(library_pins(), can_dispatch && m != WEFT_DP_XDP_OFF);
		}
	device_has(NULL);
	close_dp(dp);
	nothing_is_left();
}

/* The daemon is gone without a word; a later one, perhaps on another kernel, goes on. */
static void a_later_daemon(void **state)
{
	static const char *const without[] = {NULL, NULL, EXTENSIONS, EXTENSIONS, NULL};
	struct weft_dp *dp = NULL;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(without); i++) {
		bool library = can_dispatch && !without[i];
		struct weft_dp_uplink_status status;

		dp = open_dp(without[i]);
		status = uplink(dp, WEFT_DP_XDP_NATIVE);
		assert_int_equal(status.xdp_used, WEFT_DP_XDP_NATIVE);
		says(&status, library ? BY_LIBRARY : BY_LINK);
		if (without[i] && can_dispatch)
			says(&status, "left out");
		assert_int_equal(in_dispatcher(), library);
		assert_int_equal(library_pins(), library);
		device_has(library ? "xdp_dispatcher" : "xdp_uplink");
		weft_dp_free(dp);
	}
	assert_int_equal(weft_dp_destroy(LAB_PINS, NULL), 0);
	nothing_is_left();
}

/* The kernel promised, and libxdp fails all the same: its object is missing, or, where the kernel
 * did not promise, the kernel refuses. */
static void the_library_fails(void **state)
{
	struct weft_dp *dp = open_dp(NULL);
	struct weft_dp_uplink_status status;

	(void)state;
	dp->features |= 1U << DP_FREPLACE;
	dp->features_tried |= 1U << DP_FREPLACE;
	assert_int_equal(setenv("LIBXDP_OBJECT_PATH", "/nonexistent", can_dispatch), 0);
	status = uplink(dp, WEFT_DP_XDP_NATIVE);
	unsetenv("LIBXDP_OBJECT_PATH");
	assert_int_equal(status.xdp_used, WEFT_DP_XDP_NATIVE);
	says(&status, BY_LINK);
	device_has("xdp_uplink");
	assert_int_equal(dp->uplink->xdp_dispatched, 0);
	close_dp(dp);
	nothing_is_left();
}

/* --- beside others --- */

static void anothers_alone(void **state)
{
	struct weft_dp *dp = open_dp(NULL);
	_cleanup_(closep) int link = lab_foreign_xdp(lab_up0((uint8_t[6]){0}), 0);
	struct weft_dp_uplink_status status = uplink(dp, WEFT_DP_XDP_NATIVE);

	(void)state;
	assert_int_equal(status.xdp_used, WEFT_DP_XDP_OFF);
	says(&status, "another XDP program is on it");
	assert_non_null(strstr(status.problem, "another XDP program is on it"));
	close_dp(dp);
	device_has("foreign");
	close(TAKE_FD(link));
	nothing_is_left();
}

static struct xdp_program *foreign_member(int ifindex)
{
	DECLARE_LIBXDP_OPTS(xdp_program_opts, opts, .find_filename = "xdp-dispatcher.o",
		.prog_name = "xdp_pass");
	struct xdp_program *prog = xdp_program__create(&opts);

	assert_int_equal(libxdp_get_error(prog), 0);
	assert_int_equal(xdp_program__attach(prog, ifindex, XDP_MODE_NATIVE, 0), 0);
	return prog;
}

static void anothers_in_the_dispatcher(void **state)
{
	int ifindex = (int)lab_up0((uint8_t[6]){0});
	struct xdp_program *other;
	struct weft_dp *dp;

	(void)state;
	if (!can_dispatch)
		return;
	other = foreign_member(ifindex);
	for (int i = 0; i < 2; i++) {
		struct weft_dp_uplink_status status;

		dp = open_dp(NULL);
		status = uplink(dp, WEFT_DP_XDP_NATIVE);
		says(&status, BY_LIBRARY);
		assert_int_equal(in_dispatcher(), 2);
		weft_dp_free(dp);
	}
	assert_int_equal(weft_dp_destroy(LAB_PINS, NULL), 0);
	assert_int_equal(in_dispatcher(), 1);
	assert_int_equal(xdp_program__detach(other, ifindex, XDP_MODE_NATIVE, 0), 0);
	xdp_program__close(other);
	nothing_is_left();
}

static void the_device_vanishes(void **state)
{
	struct weft_dp *dp = open_dp(NULL);
	struct weft_dp_uplink_status status = uplink(dp, WEFT_DP_XDP_NATIVE);

	(void)state;
	assert_int_equal(lab_sh("ip link del up0"), 0);
	assert_int_equal(weft_dp_tunnel_refresh(dp), 1);
	assert_int_equal(weft_dp_uplink_status(dp, &status), 0);
	assert_non_null(strstr(status.problem, "there is no such device"));
	lab_uplink_device();
	assert_int_equal(weft_dp_tunnel_refresh(dp), 1);
	assert_int_equal(weft_dp_uplink_status(dp, &status), 0);
	assert_string_equal(status.problem, "");
	assert_int_equal(status.xdp_used, WEFT_DP_XDP_NATIVE);
	says(&status, can_dispatch ? BY_LIBRARY : BY_LINK);
	assert_int_equal(library_pins(), can_dispatch);
	assert_int_equal(lab_sh("ip link del up0"), 0);
	close_dp(dp);
	assert_int_equal(library_pins(), 0);
	lab_uplink_device();
}

static int setup(void **state)
{
	(void)state;
	lab_uplink_device();
	can_dispatch = dp_dispatch_probe() == 0;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whichever_the_kernel_allows),
		cmocka_unit_test(modes_change),
		cmocka_unit_test(a_later_daemon),
		cmocka_unit_test(the_library_fails),
		cmocka_unit_test(anothers_alone),
		cmocka_unit_test(anothers_in_the_dispatcher),
		cmocka_unit_test(the_device_vanishes),
	};

	if (!lab_enter())
		return 0;
	dp_quiet_libbpf();
	return cmocka_run_group_tests_name("dispatch", tests, setup, NULL);
}
