#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a hot-swap costs those who are served meanwhile: failed requests over many swaps in a row, the
# 90th percentile of latency during a swap beside that of the time before it, and acknowledged writes
# that Redis has lost. Writes build/results/bench-swap.json and prints it.
#   QUICK=1          coarse figures in a minute or two
#   SWAPS=100        in a row: container, unikernel, gVisor (where it works), container, ...
#   ROUNDS=12        swaps whose latency is compared
#   REDIS_SWAPS=6
#   RESULTS=build/results
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lab.sh
. tests/lib/redis.sh
quick=${QUICK:-}
swaps=${SWAPS:-$([ -n "$quick" ] && echo 4 || echo 100)}
rounds=${ROUNDS:-$([ -n "$quick" ] && echo 2 || echo 12)}
redis_swaps=${REDIS_SWAPS:-$([ -n "$quick" ] && echo 2 || echo 6)}
quiet=$([ -n "$quick" ] && echo 2 || echo 8)
results=${RESULTS:-$LAB_BUILD/results}
vip=10.30.0.2
load_before=$(cut -d' ' -f1-3 /proc/loadavg)

say() { printf '%s\n' "$*" >&2; }
pass() { read -rt "$1" <> <(:) || :; } # SECONDS

usable() { lab_weft status -o json | jq -e --arg v "$1" 'any(.runtimes[]; .virtualization == $v and .usable)' >/dev/null; }

declare -A loads=()
load() { # NAME FLAGS...: in the background, steered by LAB_DIR/NAME.control
	local name=$1
	shift
	mkfifo "$LAB_DIR/$name.control"
	setsid nsenter --net="/run/netns/$LAB_NS" "$LAB_BUILD/weft-load" "http://$vip/" --duration 0 --name "$name" \
		--control "$LAB_DIR/$name.control" --output "$LAB_DIR/$name.json" "$@" \
		>"$LAB_DIR/$name.txt" 2>&1 </dev/null &
	loads[$name]=$!
}
tell() { printf '%s\n' "$2" >"$LAB_DIR/$1.control"; } # NAME COMMAND
load_end() {
	tell "$1" stop
	wait "${loads[$1]}" || {
		cat "$LAB_DIR/$1.txt" >&2
		lab_die "weft-load $1 failed"
	}
}

swap_to() { # VIRTUALIZATION FLAGS...
	lab_weft swap start shop.web --to "$1" --drain 20s "${@:2}" --wait --timeout 120 >"$LAB_DIR/swap.out" 2>&1 || {
		cat "$LAB_DIR/swap.out" >&2
		tail -n 20 "$LAB_DIR/weftd.log" >&2
		lab_die "the swap to $1 did not end well"
	}
}

# --- failed requests over swaps in a row ----------------------------------------------------------
in_a_row() {
	local i to
	load keepalive --rate 400 --connections 4
	load close --rate 100 --connections 16 --close
	for ((i = 1; i <= swaps; i++)); do
		to=${kinds[i % ${#kinds[@]}]}
		swap_to "$to" --duration 500ms
		jq -nc --argjson n "$i" --arg to "$to" --arg s "$(<"$LAB_DIR/swap.out")" \
			'{measure: "in_a_row", swap: $n, to: $to, said: $s}' >>"$LAB_DIR/runs"
		[ $((i % 10)) != 0 ] || say "  $i of $swaps swaps"
	done
	load_end keepalive
	load_end close
}

# --- latency during a swap beside the time before it ----------------------------------------------
# What the service does at its best, by the slower of both; a load of half of it.
capacity() {
	local kind best=1000000 n
	for kind in unikernel container; do
		[ "$(lab_weft service show shop.web -o json | jq -r .active)" = "$kind" ] || swap_to "$kind" --strategy at-once
		lab_in "$LAB_BUILD/weft-load" "http://$vip/" --closed --connections 8 --duration "${quiet}s" -o json \
			>"$LAB_DIR/capacity.json"
		n=$(jq '.total.ok_per_s | floor' "$LAB_DIR/capacity.json")
		say "  $kind: $n requests/s"
		[ "$n" -ge "$best" ] || best=$n
	done
	echo "$best"
}

latency() {
	local i to
	say '  capacity'
	peak=$(capacity)
	rate=$((peak / 2))
	load latency --rate "$rate" --connections 8
	for ((i = 1; i <= rounds; i++)); do
		to=$([ $((i % 2)) = 1 ] && echo unikernel || echo container)
		tell latency "phase before-$i"
		pass "$quiet"
		tell latency "phase swap-$i"
		swap_to "$to" --duration "${quiet}s"
		tell latency 'phase between'
		pass 1
	done
	load_end latency
	jq -c --argjson rounds "$rounds" '
		[.phases[] | {(.name): .}] | add as $p | range(1; $rounds + 1) | {measure: "latency", round: .,
			to: (if . % 2 == 1 then "unikernel" else "container" end),
			p90_before_us: $p["before-\(.)"].p90_us, p90_swap_us: $p["swap-\(.)"].p90_us,
			failed: ($p["before-\(.)"].failed + $p["swap-\(.)"].failed)}' "$LAB_DIR/latency.json" >>"$LAB_DIR/runs"
}

# --- Redis ----------------------------------------------------------------------------------------
redis() {
	local i to lost
	redis_image
	redis_descriptor "$LAB_DIR/redis.json" '{"type": "redis"}'
	lab_weft apply -f "$LAB_DIR/redis.json" --wait --timeout 60 >/dev/null
	for ((i = 1; i <= redis_swaps; i++)); do
		to=$(redis_other)
		redis_writes writes 1000
		pass 2
		lab_weft swap start shop.redis --to "$to" --wait --timeout 120 >"$LAB_DIR/swap.out" 2>&1 || {
			cat "$LAB_DIR/swap.out" >&2
			lab_die "the swap of Redis to $to did not end well"
		}
		pass 1
		redis_stop
		lost=$(redis_lost writes)
		jq -c --argjson n "$i" --arg to "$to" --argjson lost "$lost" \
			'{measure: "redis", swap: $n, to: $to, lost: $lost} + .' "$LAB_DIR/writes.json" >>"$LAB_DIR/runs"
	done
}

report() {
	jq -n --arg commit "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" \
		--arg when "$(date -u +%Y-%m-%dT%H:%M:%SZ)" --argjson host "$(lab_host "$load_before")" --argjson peak "$peak" \
		--argjson kinds "$(printf '%s\n' "${kinds[@]}" | jq -R . | jq -sc .)" \
		--slurpfile keepalive "$LAB_DIR/keepalive.json" --slurpfile close "$LAB_DIR/close.json" \
		--slurpfile load "$LAB_DIR/latency.json" --slurpfile runs "$LAB_DIR/runs" \
		-f scripts/bench-swap.jq >"$results/bench-swap.json.tmp"
	mv "$results/bench-swap.json.tmp" "$results/bench-swap.json"
}

lab_check bench-swap
lab_image_nginx
mkdir -p "$results"
lab_open bench-swap
lab_containerd
lab_weftd
kinds=(container unikernel)
! usable gvisor || kinds+=(gvisor)
lab_descriptor "$LAB_DIR/shop.json" '.applications[0].microservices[0].variants += '"$(
	usable gvisor && echo '[{virtualization: "gvisor", memory: 160}]' || echo '[]'
)"
lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60 >/dev/null
say "$swaps swaps in a row: ${kinds[*]}"
in_a_row
say "$rounds swaps at half of capacity"
latency
say "$redis_swaps swaps of Redis at 1,000 writes/s"
redis
report
jq -r -f scripts/bench-swap-table.jq "$results/bench-swap.json"
printf '\n%s\n' "$results/bench-swap.json"
