#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measure, within the namespaces that scripts/bench-dataplane.sh made for it: one line of JSON per
# figure on stdout. Never run it elsewhere: it mounts over /run.
#   run.sh [WITHOUT]
# A measure is taken of all variants in turn before the next measure, in one order in odd rounds and
# in the other in even ones, so that what the machine does meanwhile meets all alike.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/lab.sh
[ $$ = 1 ] || lab_die 'this runs in namespaces of its own' 'make bench-dataplane'
programs=$LAB_BUILD/tests/bench dir=/run/bench
. tests/bench/variants.sh
without=${1:-}

if [ -n "${QUICK:-}" ]; then
	rounds=3 seconds=0.04 seconds_stream=0.08
else
	rounds=15 seconds=0.15 seconds_stream=0.3
fi
variants=(direct bridge routed nft haproxy tun weft)
guests=(macvtap-routed macvtap-weft tap-bridge tap-weft)

left_out() { [[ " $without " == *" $1 "* ]]; }

# measure ROUND CPUS VARIANT MEASURE
measure() {
	local figures s=$seconds
	if [ "$4" = tcp_stream ]; then s=$seconds_stream; fi
	figures=$(within "${client[$3]}" "$programs/netbench" "$4" "${address[$3]}" "$s" 0) ||
		lab_die "variant $3: $4 failed"
	printf '{"round": %d, "cpus": %d, "variant": "%s", "measure": "%s", %s\n' "$1" "$2" "$3" "$4" \
		"${figures#\{}"
}

# measure_all ROUND CPUS MEASURE VARIANT...
measure_all() {
	local round=$1 cpus=$2 what=$3 order variant
	shift 3
	mapfile -t order < <(printf '%s\n' "$@" | if ((round % 2)); then cat; else tac; fi)
	for variant in "${order[@]}"; do measure "$round" "$cpus" "$variant" "$what"; done
}

place() {
	local pid
	for pid in "${movable[@]}"; do
		taskset -pc "$1" "$pid" >/dev/null || lab_die 'a server of the bench has died'
	done
}

answers() { within "${client[$1]}" "$programs/netbench" "$2" "${address[$1]}" 0.001 0; }

mount -t tmpfs tmpfs /run
mkdir -p "$dir/bpf" /run/netns
mount -t bpf bpf "$dir/bpf"

picked=()
for v in "${variants[@]}"; do
	if ! left_out "$v"; then picked+=("$v"); fi
done
datagrams=()
for v in "${picked[@]}"; do
	if [ "$v" != haproxy ]; then datagrams+=("$v"); fi
done
echo 'bench: setting up' >&2
for v in "${picked[@]}" macvtap-routed tap-bridge; do "setup_$v"; done
for v in "${picked[@]}"; do wait_for 10 answers "$v" tcp_rr || lab_die "variant $v: no answer"; done
for v in "${datagrams[@]}" "${guests[@]}"; do
	wait_for 10 answers "$v" udp_rr || lab_die "variant $v: no answer to UDP"
done

for ((round = 1; round <= rounds; round++)); do
	echo "bench: round $round of $rounds" >&2
	for m in tcp_rr tcp_crr tcp_stream; do measure_all "$round" 1 "$m" "${picked[@]}"; done
	for m in udp_rr udp_pps; do measure_all "$round" 1 "$m" "${datagrams[@]}"; done
	measure_all "$round" 1 udp_rr "${guests[@]}"
	if [ $((round % 3)) = 1 ] && [ "$(nproc)" -gt 1 ]; then
		place 1
		for m in tcp_rr tcp_stream; do measure_all "$round" 2 "$m" "${picked[@]}"; done
		for m in udp_rr udp_pps; do measure_all "$round" 2 "$m" "${datagrams[@]}"; done
		place 0
	fi
done

echo 'bench: the program alone' >&2
new_ns program
within program "$programs/test_run" "$LAB_BUILD/gen/tests/bench/test_run.bpf.o" "$dir/bpf/program" \
	"$rounds" 0
