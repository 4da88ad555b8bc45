#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job: a live service goes from a container to a unikernel and back, under load, and no
# request is lost. Writes build/results/demo.json and build/results/demo.html.
#   RATE=N               requests per second (default: 1000, less on a slow machine)
#   CONNECTIONS=16 SECONDS_QUIET=6 SECONDS_SHIFT=6 RESULTS=build/results
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lab.sh

rate=${RATE:-} connections=${CONNECTIONS:-16}
quiet=${SECONDS_QUIET:-6} shift=${SECONDS_SHIFT:-6}
vip=10.30.0.2
results=${RESULTS:-$LAB_BUILD/results}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
now_ms() { date +%s%3N; }

sample() { # CPU and weights of the instances, four times a second
	while lab_weft instance list -o json >"$LAB_DIR/sample.json" 2>/dev/null || [ -d "$LAB_DIR" ]; do
		jq -c --argjson t "$(now_ms)" '{t_ms: $t, instances: [.items[] |
			{id, virtualization, phase, weight, cpu_ns, memory_bytes}]}' \
			<"$LAB_DIR/sample.json" >>"$LAB_DIR/samples.ndjson" 2>/dev/null || :
		read -rt 0.25 <> <(:) || :
	done
}

# Requests per second: 1000, or on a slow machine a tenth of what the container can do with nothing else
# running. A guest whose processor is emulated, a load generator and the swap need the rest.
fitting_rate() {
	local most
	most=$(lab_in "$LAB_BUILD/weft-load" "http://$vip/" --closed --connections "$connections" --duration 2s -o json |
		jq '.total.ok / 20 | floor') || lab_die "no answer from http://$vip/" 'weft logs shop.web.1'
	echo $((most < 20 ? 20 : most > 1000 ? 1000 : most))
}

phase() { # NAME: from here on requests belong to it
	printf 'phase %s\n' "$1" >&7
	printf '%s %s\n' "$(now_ms)" "$1" >>"$LAB_DIR/phases"
}

lab_check demo
lab_image_nginx
lab_open demo
mkdir -p "$results"

say '1. containerd and weftd'
lab_containerd
lab_weftd
lab_weft status

say '2. shop.web as a container'
lab_descriptor "$LAB_DIR/shop.json" ".applications[0].microservices[0].swap.duration_s = $shift"
lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60
lab_weft instance list

[ -n "$rate" ] || rate=$(fitting_rate)
say "3. load: $rate requests/s, open loop, against http://$vip/"
mkfifo "$LAB_DIR/control"
exec 7<>"$LAB_DIR/control"
phase before
setsid nsenter --net="/run/netns/$LAB_NS" "$LAB_BUILD/weft-load" "http://$vip/" --rate "$rate" \
	--connections "$connections" \
	--duration 600s --interval 250ms --control "$LAB_DIR/control" --output "$LAB_DIR/load.json" \
	>"$LAB_DIR/load.txt" 2>&1 </dev/null 7>&- &
load=$!
sample 7>&- 2>/dev/null &
sampler=$!
read -rt "$quiet" <> <(:) || :

say '4. container → unikernel'
phase shift
lab_weft swap start shop.web --to unikernel --watch </dev/null || : # the report tells of it
phase after
lab_weft instance list
read -rt "$quiet" <> <(:) || :

say '5. unikernel → container'
phase back
lab_weft swap start shop.web --to container --watch </dev/null || :
read -rt 2 <> <(:) || :
now_ms >"$LAB_DIR/end"
printf 'stop\n' >&7
wait "$load" || { cat "$LAB_DIR/load.txt" >&2; lab_die 'weft-load failed'; }
kill "$sampler" 2>/dev/null || :
lab_weft swap list -o json >"$LAB_DIR/swaps.json"
lab_weft dp drops -o json >"$LAB_DIR/drops.json"
lab_weft status -o json >"$LAB_DIR/status.json"

say '6. result'
rc=0
scripts/demo-report.sh "$LAB_DIR" "$results" || rc=$?
echo "$SECONDS s in all"
exit $rc
