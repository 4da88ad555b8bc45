# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # see ../lab.sh
# The program alone, by BPF_PROG_TEST_RUN, and updates of its tables.
alone tc
metric services_growth alone/1/services_many_ns alone/1/services_one_ns
metric services_growth_new alone/1/services_many_new_ns alone/1/services_one_new_ns
metric backends_growth alone/1/backends_many_ns alone/1/backends_one_ns
metric backends_growth_new alone/1/backends_many_new_ns alone/1/backends_one_new_ns
target tc_hit_ns at-most 80
target tc_new_ns at-most 150
target services_growth at-most 1.2
target backends_growth at-most 1.2
target weights_update_us at-most 1
target weights_update_1000_ms at-most 10

alone_tc() {
	new_ns program
	within program "$programs/test_run" "$LAB_BUILD/gen/tests/bench/test_run.bpf.o" "$dir/bpf/program" \
		"$(((rounds + 2) / 3))" 0
}
