#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Swaps by plan, under load: canary steps, blue-green, some instances at a time; paused, resumed,
# turned back while running and afterwards. One lost request fails the test.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

swap_begin() { lab_weft swap start shop.web --drain 15s "$@"; }
this() { last_swap .id; }
weight_is() { lab_weft swap show "$(this)" -o json | jq -e ".weight_new == $1"; }
trace() { lab_weft swap show "$(this)" -o json | jq -c '[.trace[].new]'; }
running() { # VIRT N: so many are ready, and no others
	lab_weft instance list -o json | jq -e --arg v "$1" --argjson n "$2" \
		'(.items | length) == $n and all(.items[]; .virtualization == $v and .phase == "ready")'
}

canary_paused() {
	swap_begin --to unikernel --strategy canary --steps 20,60 --hold 1s || return 1
	wait_for 30 weight_is 0.2 || return 1
	lab_weft swap pause "$(this)" || return 1
	# Longer than all of its steps take.
	for _ in $(seq 30); do
		read -rt 0.1 <> <(:) || :
		weight_is 0.2 >/dev/null && state_is shift || return 1
	done
	lab_weft swap resume "$(this)" || return 1
	wait_for 60 state_is "done" || return 1
	same trace '[0,0.2,0.6,1]' "$(trace)"
}

# What is done can be undone at once.
rolled_back_afterwards() {
	local before
	before=$(this)
	lab_weft swap rollback "$before" --wait --timeout 60 || return 1
	[ "$before" != "$(this)" ] || return 1
	same trace '[0,1]' "$(trace)" && active container
}

blue_green_turned_back() {
	swap_begin --to unikernel --strategy blue-green --hold 60s || return 1
	wait_for 30 weight_is 1 || return 1
	answers_as hello || return 1
	lab_weft swap abort "$(this)" --wait --timeout 60 || return 1
	active container && answers_as container
}

scale() { # REPLICAS
	lab_descriptor "$LAB_DIR/shop.json" ".applications[0].microservices[0].replicas = $1" &&
		lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 120
}

most_instances() { # until the swap has ended
	local n most=0
	until state_is "done" || state_is rolled-back; do
		n=$(lab_weft instance list -o json | jq '.items | length')
		[ "$n" -le "$most" ] || most=$n
	done
	echo "$most"
}

two_at_a_time() {
	local most
	swap_begin --to unikernel --duration 1s --at-a-time 2 || return 1
	most=$(most_instances)
	state_is "done" || return 1
	[ "$most" -le 6 ] || {
		echo "$most instances at once"
		return 1
	}
	lab_weft swap show "$(this)" -o json |
		jq -e '[.phases[].name] | map(select(. == "start-new")) | length == 2' || return 1
	wait_for 20 running unikernel 4
}

# The first batch is swapped already: the service goes back all the same.
second_batch_turned_back() {
	swap_begin --to container --strategy blue-green --hold 3s --at-a-time 2 || return 1
	wait_for 60 weight_is 1 || return 1
	lab_weft swap abort "$(this)" --wait --timeout 60 || return 1
	active unikernel && wait_for 60 running unikernel 4
}

killed_between_batches() {
	swap_begin --to container --strategy canary --steps 50 --hold 1500ms --at-a-time 2 || return 1
	wait_for 60 weight_is 0.75 || return 1
	lab_weftd_kill
	lab_weftd || return 1
	wait_for 90 state_is "done" || return 1
	wait_for 20 running container 4
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_image_nginx
lab_open e2e-plans
lab_containerd
lab_weftd
lab_descriptor "$LAB_DIR/shop.json"

tap 'the service runs as a container' lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60
load_start close 100 8 --close
tap 'canary: each step is held, a pause holds on' canary_paused
tap 'the unikernel is the active variant' active unikernel
tap 'rollback of a swap that is done' rolled_back_afterwards
tap 'blue-green: back at once while the old one stands by' blue_green_turned_back
tap 'four instances' scale 4
tap 'two at a time, and six at the most' two_at_a_time
tap 'turned back in the second batch' second_batch_turned_back
tap 'weftd killed in the second batch' killed_between_batches
load_stop
tap 'no request was lost' none_failed close 1500
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
