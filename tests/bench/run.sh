#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measure, within the namespaces that scripts/bench-dataplane.sh made for it: one line of JSON per
# definition and per figure on stdout. Never run it elsewhere: it mounts over /run.
#   run.sh [WITHOUT]
# A measure is taken of a base and of all that is compared with it in turn, then the next measure;
# in one order in odd rounds and in the other in even ones. So what the machine does meanwhile meets
# all alike, and each figure has its base's of the same moment to be divided by.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/lab.sh
[ $$ = 1 ] || lab_die 'this runs in namespaces of its own' 'make bench-dataplane'
programs=$LAB_BUILD/tests/bench dir=/run/bench without=${1:-}
. tests/bench/lab.sh

if [ -n "${QUICK:-}" ]; then
	rounds=${ROUNDS:-3} spread=2
	declare -A seconds=([tcp_stream]=0.08 [udp_pps]=0.06 [any]=0.03)
else
	rounds=${ROUNDS:-25} spread=4
	declare -A seconds=([tcp_stream]=0.2 [udp_pps]=0.15 [any]=0.1)
fi
all_measures=(tcp_rr tcp_crr udp_rr tcp_stream udp_pps)

left_out() { [[ " $without " == *" $1 "* ]]; }
takes() { [[ " ${measures[$1]} " == *" $2 "* ]]; }

# measure ROUND CPUS VARIANT MEASURE
measure() {
	local figures
	figures=$(within "${client[$3]}" "$programs/netbench" "$4" "${address[$3]}" \
		"${seconds[$4]:-${seconds[any]}}" 0) || lab_die "variant $3: $4 failed"
	printf '{"round": %d, "cpus": %d, "variant": "%s", "measure": "%s", %s\n' "$1" "$2" "$3" "$4" \
		"${figures#\{}"
}

# measure_group ROUND CPUS BASE: the base and all that is compared with it.
measure_group() {
	local what variant i group
	for what in "${all_measures[@]}"; do
		group=()
		for variant in "${variants[@]}"; do
			[ "$variant" = "$3" ] || [ "${base[$variant]}" = "$3" ] || continue
			if takes "$variant" "$what"; then group+=("$variant"); fi
		done
		for ((i = 0; i < ${#group[@]}; i++)); do
			measure "$1" "$2" "${group[$1 % 2 ? i : ${#group[@]} - 1 - i]}" "$what"
		done
	done
}

place() {
	local pid
	for pid in "${movable[@]}"; do
		taskset -pc "$1" "$pid" >/dev/null || lab_die 'a server of the bench has died'
	done
}

answers() { within "${client[$1]}" "$programs/netbench" "$2" "${address[$1]}" 0.001 0; }

# Before whatever else runs on this machine: a figure that it took part in says nothing.
renice -n -20 $$ >/dev/null
[ ! -w /proc/self/autogroup ] || echo -20 >/proc/self/autogroup

mount -t tmpfs tmpfs /run
mkdir -p "$dir/bpf" /run/netns
mount -t bpf bpf "$dir/bpf"

for file in tests/bench/variants/*.sh; do
	# shellcheck source=/dev/null
	. "$file"
done
echo 'bench: setting up' >&2
for v in "${variants[@]}"; do "setup_$v"; done
for v in "${variants[@]}"; do
	for m in tcp_rr udp_rr; do
		! takes "$v" "$m" || wait_for 10 answers "$v" "$m" || lab_die "variant $v: no answer to $m"
	done
done

for ((round = 1; round <= rounds; round++)); do
	echo "bench: round $round of $rounds" >&2
	for v in "${variants[@]}"; do
		if [ "${base[$v]}" = - ]; then measure_group "$round" 1 "$v"; fi
	done
	if [ $((round % spread)) = 1 ] && [ "$(nproc)" -gt 1 ]; then
		place 1
		measure_group "$round" 2 direct
		place 0
	fi
done

for a in "${alones[@]}"; do
	echo "bench: $a alone" >&2
	"alone_$a"
done
