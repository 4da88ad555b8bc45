# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # see ../lab.sh
# The programs alone, by BPF_PROG_TEST_RUN, and updates of their tables.
alone tc
alone xdp
metric services_growth alone/1/services_many_ns alone/1/services_one_ns
metric services_growth_new alone/1/services_many_new_ns alone/1/services_one_new_ns
metric backends_growth alone/1/backends_many_ns alone/1/backends_one_ns
metric backends_growth_new alone/1/backends_many_new_ns alone/1/backends_one_new_ns
metric tc_new_looks alone/1/tc_new_ns alone/1/look_ns
target tc_hit_ns at-most 80
target tc_new_ns at-most 150
target xdp_hit_ns at-most 30
target xdp_new_ns at-most 100
target services_growth at-most 1.2
target backends_growth at-most 1.2
target weights_update_us at-most 1
target weights_update_1000_ms at-most 10

alone_tc() {
	new_ns program
	within program "$programs/test_run" "$LAB_BUILD/gen/tests/bench/test_run.bpf.o" "$dir/bpf/program" \
		"$(((rounds + 2) / 3))" 0
}

# What XDP does where published ports are called from a network whose checksums are whole.
alone_xdp() {
	new_ns uplink
	wire uplink up0 192.0.2.1/24 uplink up1 -
	within uplink sh -c 'echo 1 >/proc/sys/net/ipv4/conf/up0/forwarding'
	ip -n uplink neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev up0
	within uplink "$programs/test_run_xdp" "$LAB_BUILD/gen/tests/bench/test_run_xdp.bpf.o" \
		"$dir/bpf/uplink" "$(((rounds + 2) / 3))" 0
}
