#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016 # the variables are jq's
# Is it the macvtap that makes a unikernel slow? The same load on a container, on a unikernel behind a
# macvtap and on one behind a tap, in turn, each traced hop by hop. Writes build/results/bench-hops.json and
# prints the hops side by side.
#   QUICK=1          one round of a second each
#   ROUNDS=9         how often each is measured
#   RATE=500         requests per second, on one connection
#   RESULTS=build/results
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lab.sh
results=${RESULTS:-$LAB_BUILD/results}
rounds=${ROUNDS:-${QUICK:+1}}
rounds=${rounds:-9}
seconds=${QUICK:+1}
seconds=${seconds:-3}
rate=${RATE:-500}
services=(container macvtap tap)
declare -A address=([container]=10.30.0.2 [macvtap]=10.30.0.3 [tap]=10.30.0.4)

# Each by a descriptor of its own, and running before the next one comes.
deploy() {
	jq -n --arg name "$1" --arg addr "${address[$1]}" --arg nginx "file://$LAB_NGINX" \
		--arg guest "file://$LAB_BUILD/guest/weft-guest.tar.gz" '{
		sla_version: "v2.0", customerID: "bench", applications: [{
			application_name: "hops", application_namespace: "default", microservices: [{
				microservice_name: $name, microservice_namespace: "default",
				addresses: {rr_ip: $addr}, memory: 64,
				readiness: {type: "http", port: 80, path: "/", timeout_s: 60}
			} + if $name == "container" then {virtualization: "container", code: $nginx}
				else {virtualization: "unikernel", code: $guest, arch: ["amd64"], network: $name} end]
		}]}' >"$LAB_DIR/$1.json"
	lab_weft apply -f "$LAB_DIR/$1.json" --wait --timeout 90 >&2
}

# One connection, whose requests are far enough apart for everybody to sleep in between.
load() {
	lab_in "$LAB_BUILD/weft-load" "http://${address[$1]}/" --rate "$rate" --connections 1 --threads 1 \
		--duration "${seconds}s" --fail-on-error -o json >"$LAB_DIR/load.json"
	jq -e '.total.failed == 0' "$LAB_DIR/load.json" >/dev/null || lab_die "service hops.$1: requests failed"
}

# The probes are in place once the first second is reported; the load comes and goes in between.
traced() {
	local pid
	rm -f "$LAB_DIR/trace.json"
	"$LAB_BUILD/weft" -H "unix:$LAB_SOCKET" trace "hops.$1" --duration "$((seconds + 3))s" -w -o json \
		>"$LAB_DIR/trace.json" </dev/null &
	pid=$!
	wait_for 60 test -s "$LAB_DIR/trace.json" || lab_die "service hops.$1: the trace does not begin"
	load "$1"
	wait "$pid" || lab_die "service hops.$1: the trace failed"
}

slice() {
	local round=$1 service=$2
	load "$service"
	cp "$LAB_DIR/load.json" "$LAB_DIR/alone.json"
	traced "$service"
	tail -n 1 "$LAB_DIR/trace.json" | jq -c --arg service "$service" --argjson round "$round" \
		--slurpfile alone "$LAB_DIR/alone.json" --slurpfile load "$LAB_DIR/load.json" \
		'def slim: del(.buckets);
		{service: $service, round: $round, p50_us: $alone[0].total.service_p50_us,
			traced_p50_us: $load[0].total.service_p50_us, requests: $load[0].total.requests,
			trace: {packets, cost, groups: [.groups[] | .ways |= map(.hops |= map(slim) | .round_trip |= (if . then slim else . end))]}}' >&3
}

measure() {
	local i round n=${#services[@]}
	for ((round = 0; round < rounds; round++)); do
		for ((i = 0; i < n; i++)); do slice "$round" "${services[(round + i) % n]}"; done
		printf '\rround %d of %d' "$((round + 1))" "$rounds" >&2
	done
	echo >&2
}

lab_check bench-hops
load_before=$(cut -d' ' -f1-3 /proc/loadavg)
lab_image_nginx
lab_open bench-hops
echo "bench: setting up in $LAB_DIR" >&2
exec 3>"$LAB_DIR/runs"
lab_containerd
lab_weftd
for s in "${services[@]}"; do deploy "$s"; done
accel=$(lab_weft status -o json | jq -r '.runtimes[] | select(.virtualization == "unikernel" and .usable) | "\(.version) \(.detail)"' | head -n 1)
measure
exec 3>&-

mkdir -p "$results"
jq -n --arg commit "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" \
	--argjson host "$(lab_host "$load_before")" --arg accel "$accel" --argjson rate "$rate" \
	--arg when "$(date -u +%Y-%m-%dT%H:%M:%SZ)" --slurpfile runs "$LAB_DIR/runs" \
	-f tests/bench/hops-report.jq >"$results/bench-hops.json"
jq -r -f tests/bench/hops-table.jq "$results/bench-hops.json"
printf '\n%s\n' "$results/bench-hops.json"
