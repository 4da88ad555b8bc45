#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What starting an instance costs: runc beside `ctr run`, a unikernel beside qemu started by hand
# with the same arguments, a Linux VM cold beside warm, in turn within one run; then 50 instances,
# containers and guests mixed, at once, and whether anything of them is left when they are gone.
# Writes build/results/bench-runtimes.json and prints it.
#   QUICK=1              few rounds, and 8 instances
#   ROUNDS=20            starts of each kind
#   INSTANCES=50
#   WITHOUT="warm"       cases to leave out (runc qemu warm many)
#   RESULTS=build/results
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lab.sh
results=${RESULTS:-$LAB_BUILD/results}
without=" ${WITHOUT:-} "
if [ -n "${QUICK:-}" ]; then
	rounds=${ROUNDS:-3} warm_rounds=1 instances=${INSTANCES:-8}
else
	rounds=${ROUNDS:-20} warm_rounds=$(((${ROUNDS:-20} + 3) / 4)) instances=${INSTANCES:-50}
fi

left_out() { [[ $without == *" $1 "* ]]; }

# One case of tests/bench/starts.c in a network namespace of its own.
starts() { # CASE ROUNDS IMAGE
	local dir=$LAB_DIR/$1
	echo "bench: $1, $2 rounds" >&2
	mkdir -p "$dir"
	unshare --net sh -c 'ip link set lo up; exec "$@"' - "$LAB_BUILD/tests/bench/starts" "$1" "$2" \
		"$dir" "$LAB_BUILD/libexec" "weft-$LAB_NAME-$1" "$3" "$LAB_CONTAINERD" >>"$runs" ||
		lab_die "case $1 did not complete" 'what failed is said above'
}

# All that an instance might leave, a line each: where it is counted is where it would be found. Logs
# stay for a while, for people.
inventory() {
	local state=$LAB_DIR/state what
	find "$state/netns" "$state/instances" "$state/qemu/instances" -mindepth 1 -printf 'file %p\n'
	lab_in ip -o link | awk -F': ' '{sub(/@.*/, "", $2); print "link " $2}'
	find /sys/fs/cgroup -mindepth 1 -type d -path "*weft-$LAB_NAME*" -printf 'cgroup %p\n'
	awk -v d="$state/" 'index($5, d) == 1 {print "mount " $5}' /proc/self/mountinfo
	pgrep -f -- "$LAB_DIR/(state|containerd)" | while read -r what; do
		[ "$what" = $$ ] || [ "$what" = "$LAB_WEFTD_PID" ] || [ "$what" = "$LAB_CONTAINERD_PID" ] ||
			tr '\0' ' ' <"/proc/$what/cmdline" 2>/dev/null | sed 's/^/process /; s/$/\n/'
	done | grep -v '^process \(find\|pgrep\|bash\)' || :
	for what in containers tasks; do
		ctr -a "$LAB_CONTAINERD" -n weft $what ls -q | sed "s/^/$what /"
	done
	ctr -a "$LAB_CONTAINERD" -n weft snapshots ls | awk 'NR > 1 {print "snapshot " $1}'
}

mixed() { # FILE N: so many instances, half of them guests
	lab_descriptor "$1" ".applications[0].microservices = [
		(.applications[0].microservices[0] | .microservice_name = \"box\" | .addresses = {rr_ip: \"10.30.0.2\"}
			| .replicas = $(($2 - $2 / 2)) | .memory = 32 | .readiness.timeout_s = 120 | del(.variants)),
		(.applications[0].microservices[0] | .microservice_name = \"guest\" | .addresses = {rr_ip: \"10.30.0.3\"}
			| .virtualization = \"unikernel\" | .code = .variants[0].code | .arch = [\"amd64\"] | .memory = 32
			| .network = \"macvtap\" | .replicas = $(($2 / 2)) | .readiness.timeout_s = 120 | del(.variants))]"
}

now_ms() { date +%s%3N; }
none_there() { [ "$(lab_weft instance list -o json | jq '.items | length')" = 0 ]; }
ready() { lab_weft instance list -o json | jq '[.items[] | select(.phase == "ready")] | length'; }
remove_all() {
	lab_weft service delete shop.box shop.guest >&2
	wait_for 120 none_there || lab_die 'instances were not removed in two minutes' "see $LAB_DIR/weftd.log"
}
same_inventory() { inventory | LC_ALL=C sort >"$LAB_DIR/after" && cmp -s "$LAB_DIR/before" "$LAB_DIR/after"; }

many() {
	local begin end n left
	echo "bench: $instances instances at once" >&2
	lab_weftd
	mixed "$LAB_DIR/few.json" 2
	lab_weft apply -f "$LAB_DIR/few.json" --wait --timeout 120 >&2 # images are there now
	remove_all
	inventory | LC_ALL=C sort >"$LAB_DIR/before"
	mixed "$LAB_DIR/many.json" "$instances"
	begin=$(now_ms)
	lab_weft apply -f "$LAB_DIR/many.json" --wait --timeout 300 >&2 || :
	end=$(now_ms)
	n=$(ready)
	remove_all
	wait_for 20 same_inventory || :
	left=$(LC_ALL=C comm -13 "$LAB_DIR/before" "$LAB_DIR/after" | tee /dev/stderr | wc -l)
	jq -nc --argjson wanted "$instances" --argjson ready "$n" --argjson ms $((end - begin)) \
		--argjson left "$left" '{case: "many", wanted: $wanted, ready: $ready, ms: $ms, left: $left}' >>"$runs"
}

host() {
	lab_host "$load_before" | jq --arg qemu "$(qemu-system-x86_64 --version | head -n 1)" --arg accel "$accel" \
		'. + {qemu: $qemu, accelerator: $accel}'
}

lab_check bench-runtimes
[ -x "$LAB_BUILD/tests/bench/starts" ] || lab_die "not built: $LAB_BUILD/tests/bench/starts" 'make bench-runtimes'
load_before=$(cut -d' ' -f1-3 /proc/loadavg)
accel=
lab_image_nginx
if ! left_out warm && [ ! -e "$LAB_BUILD/images/vm.tar.gz" ]; then
	scripts/mkimage-vm.sh "$LAB_BUILD/images/vm.tar.gz" || {
		echo 'bench: without a virtual machine: warm starts are left out' >&2
		without+='warm '
	}
fi
# Before whatever else runs on this machine: a figure that it took part in says nothing.
renice -n -20 $$ >/dev/null
{ echo -20 >/proc/self/autogroup; } 2>/dev/null || : # none, or not in one
lab_open bench-runtimes
runs=$LAB_DIR/runs
: >"$runs"
lab_containerd
left_out runc || starts runc "$rounds" "$LAB_NGINX"
left_out qemu || starts qemu "$rounds" "$LAB_BUILD/guest/weft-guest.tar.gz"
left_out warm || starts warm "$warm_rounds" "$LAB_BUILD/images/vm.tar.gz"
left_out many || many
accel=$(sed -n 's/.* on \(.*\), [0-9]* vCPU.*/\1/p' "$LAB_DIR"/*/log | tail -n 1) || :

mkdir -p "$results"
jq -n --arg commit "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" --argjson host "$(host)" \
	--arg when "$(date -u +%Y-%m-%dT%H:%M:%SZ)" --slurpfile runs "$runs" '
	def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
		else (.[length / 2 - 1] + .[length / 2]) / 2 end;
	def round3: if . == null then null else . * 1000 | round / 1000 end;
	def of($case; $how): [$runs[] | select(.case == $case and .how == $how) | .ms];
	# Each start has its other of the same moment to be compared with.
	def pairs($case; $a; $b): [$runs[] | select(.case == $case and .how == $a) | . as $x
		| $runs[] | select(.case == $case and .how == $b and .round == $x.round) | [$x.ms, .ms]];
	{runc_start_overhead_ms: "at most 15", qemu_start_overhead_ms: "at most 15",
		guest_first_reply_ms: "at most 120", warm_start_ratio: "at most 0.2", leftovers: "at most 0"} as $targets
	| ([$runs[] | select(.case == "many")][0]) as $many
	| ({
		runc_start_overhead_ms: (pairs("runc"; "weft"; "hand") | map(.[0] - .[1]) | median),
		qemu_start_overhead_ms: (pairs("qemu"; "weft"; "hand") | map(.[0] - .[1]) | median),
		guest_first_reply_ms: (of("qemu"; "weft") | median),
		warm_start_ratio: (pairs("warm"; "warm"; "cold") | map(.[0] / .[1]) | median),
		start_50_s: (if $many and $many.wanted == 50 then $many.ms / 1000 else null end),
		start_many_s: ($many | if . then .ms / 1000 else null end),
		leftovers: $many.left,
		runc_start_ms: (of("runc"; "weft") | median), runc_by_hand_ms: (of("runc"; "hand") | median),
		qemu_by_hand_ms: (of("qemu"; "hand") | median),
		vm_cold_start_ms: (of("warm"; "cold") | median), vm_warm_start_ms: (of("warm"; "warm") | median)
	} | with_entries(select(.value != null) | .value |= round3)) as $metrics
	| {name: "bench-runtimes", commit: $commit, when: $when, host: $host, metrics: $metrics, targets: $targets,
		checks: (($targets | with_entries(select($metrics[.key] != null)
			| .value = ($metrics[.key] <= (.value | ltrimstr("at most ") | tonumber))))
			+ (if $many then {all_ready: ($many.ready == $many.wanted)} else {} end)),
		runs: $runs}' >"$results/bench-runtimes.json"
jq -r '. as $d | "", ("metric                      value  to reach"),
	(.metrics | to_entries[] | "\(.key)\(" " * (25 - (.key | length)))\(.value | tostring | " " * ([8 - length, 0] | max) // "" )\(.value)  \($d.targets[.key] // "")  \(
		if $d.checks[.key] == null then "" elif $d.checks[.key] then "✓" else "missed" end)"),
	"", "qemu runs on \(.host.accelerator);  load before \(.host.load_before), after \(.host.load_after)"' \
	"$results/bench-runtimes.json"
printf '\n%s\n' "$results/bench-runtimes.json"
