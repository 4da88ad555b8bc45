/* SPDX-License-Identifier: Apache-2.0 */
/* Real sockets over IPv6, whose stacks look for neighbours. */
#include "tests/bpf/traffic_tests.h"

/* On a link that has nobody else on it, and so everybody behind the gateway. */
static void gateway_is_a_router(void **state)
{
	(void)state;
	assert_int_equal(ns_sh(lab.ns[2], "ping -6 -c1 -W5 fc00::9 >/dev/null"), 0);
	assert_int_equal(
		ns_sh(lab.ns[2], "ip -6 neigh show fe80::1 | grep -q '02:77:65:66:74:01 router'"),
		0);
}

static void nothing_was_lost(void **state)
{
	(void)state;
	nothing_was_lost_but(1ULL << WEFT_DROP_ND_IGNORED |
			     1ULL << WEFT_DROP_UNKNOWN_DEVICE); /* reports while it was being set */
}

/* All of it again. */
static void on_an_old_kernel(void **state)
{
	become_old();
	run_again(state);
	gateway_is_a_router(state);
	nothing_was_lost(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TESTS_OF_BOTH,
		cmocka_unit_test(gateway_is_a_router),
		cmocka_unit_test(nothing_was_lost),
		cmocka_unit_test(on_an_old_kernel),
	};

	if (!lab_enter())
		return 0;
	lab.v6 = true;
	return cmocka_run_group_tests_name("traffic6", tests, setup, teardown);
}
