#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job, short: under load a service goes from a container to a unikernel and back, then again
# while weftd is killed during the shift. One lost request fails the test.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh

vip=10.30.0.2

load_start() { # NAME RATE CONNECTIONS [FLAGS]
	local name=$1 rate=$2 connections=$3
	shift 3
	rm -f "$LAB_DIR/control"
	mkfifo "$LAB_DIR/control"
	exec 7<>"$LAB_DIR/control"
	setsid nsenter --net="/run/netns/$LAB_NS" "$LAB_BUILD/weft-load" "http://$vip/" --rate "$rate" --connections "$connections" \
		--duration 120s --control "$LAB_DIR/control" --output "$LAB_DIR/$name.json" "$@" \
		>"$LAB_DIR/$name.txt" 2>&1 </dev/null 7>&- &
	LOAD=$!
}

load_stop() {
	printf 'stop\n' >&7
	wait "$LOAD"
	exec 7>&-
}

none_failed() { # NAME AT_LEAST
	local sent failed
	sent=$(jq .total.requests "$LAB_DIR/$1.json") || return 1
	failed=$(jq .total.failed "$LAB_DIR/$1.json") || return 1
	echo "$sent requests, $failed failed"
	[ "$failed" = 0 ] && [ "$sent" -ge "$2" ] || {
		jq -c '.total' "$LAB_DIR/$1.json"
		lab_weft dp drops list
		tail -n 40 "$LAB_DIR/weftd.log"
		return 1
	}
}

swap_to() { lab_weft swap start shop.web --to "$1" --duration 2s --drain 20s --wait --timeout 60; }
active() { same 'active variant' "$1" "$(lab_weft service show shop.web -o json | jq -r .active)"; }
answers_as() { has "$(lab_in curl -s --max-time 5 "http://$vip/")" "$1"; }

# Both instances get a share of new flows while the weights move.
both_served() {
	local id
	id=$(lab_weft swap list -o json | jq -r '.items[0].id')
	lab_weft swap show "$id" -o json | jq -e '[.trace[].new] | (min == 0) and (max == 1) and (length > 10)'
}

state_is() { [ "$(lab_weft swap list -o json | jq -r '.items[0].state')" = "$1" ]; }

kill_in_shift() {
	lab_weft swap start shop.web --to unikernel --duration 4s --drain 20s || return 1
	wait_for 20 state_is shift || return 1
	wait_for 5 share_above 0.2 || return 1
	lab_weftd_kill
	answers_as hello || return 1 # traffic flows while nobody is in charge
	lab_weftd || return 1
	wait_for 60 state_is "done"
}
share_above() { lab_weft swap list -o json | jq -e ".items[0].weight_new > $1"; }

# A long-lived connection is not torn by the swap that passes by it.
curl_all_along() {
	local n=0 bad=0
	while [ -e "$LAB_DIR/curling" ]; do
		lab_in curl -sf --max-time 5 -o /dev/null "http://$vip/" || bad=$((bad + 1))
		n=$((n + 1))
	done
	echo "$n $bad" >"$LAB_DIR/curled"
}
curl_during_swap() {
	touch "$LAB_DIR/curling"
	curl_all_along 7>&- &
	local pid=$!
	swap_to container || return 1
	rm "$LAB_DIR/curling"
	wait "$pid"
	read -r n bad <"$LAB_DIR/curled"
	echo "$n curls, $bad failed"
	[ "$bad" = 0 ] && [ "$n" -gt 10 ]
}

nothing_left() {
	local before=$LAB_NAME left
	left=$(
		ip netns list | grep -F "weft-$before"
		ls -d "/sys/fs/bpf/weft-$before" 2>/dev/null
		find /sys/fs/cgroup -type d -name "weft-$before*" 2>/dev/null
		grep -F "$OLD_DIR" /proc/self/mountinfo
		pgrep -af -- "$OLD_DIR" | grep -v "^$$ "
		ls -d "$OLD_DIR" 2>/dev/null
	)
	[ -z "$left" ] || {
		echo "left behind: $left"
		return 1
	}
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_image_nginx
lab_open e2e-swap
lab_containerd
lab_weftd
lab_descriptor "$LAB_DIR/shop.json"

tap 'the service runs as a container' lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60
tap 'it answers at its service address' answers_as container
load_start keepalive 500 8
tap 'container → unikernel' swap_to unikernel
tap 'the unikernel serves' answers_as unikernel
tap 'the weights moved in steps' both_served
tap 'unikernel → container' swap_to container
tap 'the container serves' answers_as container
load_stop
tap 'keep-alive load: no request was lost' none_failed keepalive 1500
load_start close 200 8 --close
tap 'weftd killed during shift: the swap goes on' kill_in_shift
tap 'the unikernel is the active variant' active unikernel
tap 'curl all along unikernel → container' curl_during_swap
load_stop
tap 'a connection per request: no request was lost' none_failed close 1000
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left
tap_end
