/* SPDX-License-Identifier: Apache-2.0 */
/* Translated checksums, whatever they were before: written by the program itself where the kernel
 * says what they hold, by its helper elsewhere. Sums that a device completes need real devices:
 * test_traffic. */
#include <arpa/inet.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/dataplane/dp.h"
#include "tests/lib/dp_lab.h"

#define VIP "10.30.0.1"

static int open_dp(void **state, bool no_kfuncs)
{
	struct weft_dp_config config = {
		.bpffs_dir = LAB_PINS, .max_flows = 4096, .no_kfuncs = no_kfuncs};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(dp->kern_ctx, !no_kfuncs && dp_probe_kern_ctx());
	lab_service(dp, 1, VIP);
	lab_add(dp, 1, 1);
	lab_add(dp, 2, 0);
	lab_weights(dp, 1, (struct weft_dp_weight[]){{1, 1}}, 1);
	*state = dp;
	return 0;
}

static int close_dp(void **state)
{
	weft_dp_free(*state);
	lab_sh("ip link del v1; ip link del v2");
	return weft_dp_destroy(LAB_PINS, NULL);
}

static int by_the_program(void **state)
{
	return open_dp(state, false);
}

static int by_the_helper(void **state)
{
	return open_dp(state, true);
}

/* Of the words that a datagram may end in, one makes its translated sum 0, which has to be written
 * as 0xffff, and one the sum that it has before. */
static void every_udp_sum(void **state)
{
	unsigned zeros = 0, ones = 0;
	struct lab_frame f, made;

	lab_udp(&made, (struct lab_tuple){2, VIP, 1000, 53}, 4);
	for (uint32_t word = 0; word < 0x10000; word++) {
		uint16_t last = (uint16_t)word;
		uint32_t sum;

		f = made;
		sum = (uint16_t)~lab_udph(&f)->check + 0xffffU - *(uint16_t *)(f.data + f.len - 2);
		sum += last;
		sum = (sum & 0xffff) + (sum >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		memcpy(f.data + f.len - 2, &last, 2);
		lab_udph(&f)->check = (uint16_t)~sum;
		if (!lab_udph(&f)->check)
			lab_udph(&f)->check = 0xffff;
		assert_true(lab_sums_right(&f));
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		zeros += !lab_udph(&f)->check;
		ones += lab_udph(&f)->check == 0xffff;
		if (!lab_sums_right(&f))
			fail_msg("ends in %04x: checksum %04x", word, lab_udph(&f)->check);
	}
	assert_int_equal(zeros, 0);
	assert_true(ones >= 1);
}

static void no_udp_sum(void **state)
{
	struct lab_frame f;

	lab_udp(&f, (struct lab_tuple){2, VIP, 1001, 53}, 4);
	lab_udph(&f)->check = 0;
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_int_equal(lab_udph(&f)->check, 0);
}

static void tcp_sums(void **state)
{
	struct lab_frame f;

	for (uint32_t seq = 0; seq < 2000; seq++) {
		lab_tcp(&f, (struct lab_tuple){2, VIP, 1002, 80}, LAB_SYN, seq * 0x9e3779b9U);
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		assert_true(lab_sums_right(&f));
	}
	/* Behind options, where the offset is another one. */
	for (unsigned words = 1; words <= 10; words++) {
		lab_tcp(&f, (struct lab_tuple){2, VIP, 1002, 80}, LAB_SYN, words);
		lab_options(&f, words);
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		assert_true(lab_sums_right(&f));
	}
}

/* Nobody makes a wrong sum right. */
static void wrong_sums(void **state)
{
	struct lab_frame f;

	lab_tcp(&f, (struct lab_tuple){2, VIP, 1003, 80}, LAB_SYN, 1);
	lab_tcph(&f)->check = (uint16_t)(lab_tcph(&f)->check + 1);
	assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
	assert_false(lab_sums_right(&f));
}

static int group(const char *name, CMFixtureFunction open)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_udp_sum),
		cmocka_unit_test(no_udp_sum),
		cmocka_unit_test(tcp_sums),
		cmocka_unit_test(wrong_sums),
	};

	return cmocka_run_group_tests_name(name, tests, open, close_dp);
}

int main(void)
{
	if (!lab_enter())
		return 0;
	return group("checksum by the program", by_the_program) +
	       group("checksum by the helper", by_the_helper);
}
