#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measure, within the namespaces that scripts/bench-dataplane.sh made for it: one line of JSON per
# definition and per figure on stdout. Never run it elsewhere: it mounts over /run.
#   run.sh [WITHOUT]
# A measure is taken of a base and of all that is compared with it in turn, in slices of
# milliseconds: what the machine does meanwhile meets all alike, and each figure has its base's of
# the same moment to be divided by. Then the next measure; and all of it in several passes.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/lab.sh
[ $$ = 1 ] || lab_die 'this runs in namespaces of its own' 'make bench-dataplane'
programs=$LAB_BUILD/tests/bench dir=/run/bench without=${1:-}
. tests/bench/lab.sh

passes=3
if [ -n "${QUICK:-}" ]; then
	rounds=${ROUNDS:-9}
	declare -A slice=([tcp_stream]=12000 [udp_pps]=10000 [any]=5000) # µs
else
	rounds=${ROUNDS:-120}
	declare -A slice=([tcp_stream]=30000 [udp_pps]=20000 [any]=15000)
fi
read -ra all_measures <<<"${MEASURES:-tcp_rr tcp_rr_poll tcp_crr udp_rr tcp_stream udp_pps}"

left_out() { [[ " $without " == *" $1 "* ]]; }
takes() { [[ " ${measures[$1]} " == *" $2 "* ]]; }

# measure FIRST-ROUND ROUNDS CPUS MEASURE VARIANT...
measure() {
	local args=("$4" "$1" "$2" "${slice[$4]:-${slice[any]}}" "$3") v
	for v in "${@:5}"; do args+=("$v,/run/netns/${client[$v]},${address[$v]}"); done
	"$programs/netbench" "${args[@]}"
}

# measure_group FIRST-ROUND ROUNDS CPUS BASE: the base and all that is compared with it.
measure_group() {
	local what v group
	for what in "${all_measures[@]}"; do
		group=()
		for v in "${variants[@]}"; do
			[ "$v" = "$4" ] || [ "${base[$v]}" = "$4" ] || continue
			if takes "$v" "$what"; then group+=("$v"); fi
		done
		[ ${#group[@]} = 0 ] || measure "$1" "$2" "$3" "$what" "${group[@]}"
	done
}

place() {
	local pid
	for pid in "${movable[@]}"; do
		taskset -pc "$1" "$pid" >/dev/null || lab_die 'a server of the bench has died'
	done
}

answers() { "$programs/netbench" "$2" 1 1 1000 1 "$1,/run/netns/${client[$1]},${address[$1]}"; }

# Before whatever else runs on this machine: a figure that it took part in says nothing.
renice -n -20 $$ >/dev/null
{ echo -20 >/proc/self/autogroup; } 2>/dev/null || : # none, or not in one

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
	for m in tcp_rr tcp_rr_poll udp_rr; do
		! takes "$v" "$m" || wait_for 10 answers "$v" "$m" || lab_die "variant $v: no answer to $m"
	done
done

each=$(((rounds + passes - 1) / passes))
for ((pass = 0; pass < passes; pass++)); do
	echo "bench: pass $((pass + 1)) of $passes" >&2
	for v in "${variants[@]}"; do
		if [ "${base[$v]}" = - ]; then measure_group $((pass * each + 1)) $each 1 "$v"; fi
	done
	if [ "$(nproc)" -gt 1 ]; then
		place 1
		measure_group $((pass * each + 1)) $(((each + 2) / 3)) 2 direct
		place 0
	fi
done

for a in "${alones[@]}"; do
	echo "bench: $a alone" >&2
	"alone_$a"
done
