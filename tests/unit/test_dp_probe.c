/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of kernel functions that the kernel has not, as libbpf leaves them in a program. */
#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

static void missing_calls_go(void **state)
{
	static const struct bpf_insn call = {
		.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL, .imm = 0};
	struct bpf_insn found = call, helper = {.code = BPF_JMP | BPF_CALL, .imm = 1},
			subprogram = {.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_CALL},
			set = {.code = BPF_ALU64 | BPF_MOV | BPF_K};
	struct bpf_insn insns[6], want[6];

	(void)state;
	found.imm = 1234;
	memcpy(insns, (struct bpf_insn[]){call, found, helper, subprogram, call, set},
		sizeof(insns));
	memcpy(want, (struct bpf_insn[]){set, found, helper, subprogram, set, set}, sizeof(want));
	dp_drop_missing_calls(insns, ARRAY_SIZE(insns));
	assert_memory_equal(insns, want, sizeof(want));
	dp_drop_missing_calls(insns, 0);
}

/* A jiffy is as long as said: so many of them later, the clock is where it was foretold. */
static void jiffies_tell_the_time(void **state)
{
	uint64_t ns, zero, ns2, zero2, apart;

	(void)state;
	if (geteuid() != 0) {
		assert_false(dp_probe_jiffies(&ns, &zero));
		assert_int_equal(ns, 0);
		return;
	}
	assert_true(dp_probe_jiffies(&ns, &zero));
	assert_in_range(ns, 1000000, 10000000);
	for (int i = 0; i < 5; i++) {
		nanosleep(&(struct timespec){.tv_nsec = (long)(50 * ns)}, NULL);
		assert_true(dp_probe_jiffies(&ns2, &zero2));
		apart = zero2 - zero < zero - zero2 ? zero2 - zero : zero - zero2;
		assert_int_equal(ns, ns2);
		assert_true(apart <= 2 * ns);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(missing_calls_go),
		cmocka_unit_test(jiffies_tell_the_time),
	};

	return cmocka_run_group_tests_name("dp_probe", tests, NULL, NULL);
}
