#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job, short: under load a service goes from a container to a unikernel and back, then again
# while weftd is killed during the shift. One lost request fails the test.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

# Both instances get a share of new flows while the weights move.
both_served() {
	lab_weft swap show "$(last_swap .id)" -o json | jq -e '[.trace[].new] | (min == 0) and (max == 1) and (length > 10)'
}

kill_in_shift() {
	lab_weft swap start shop.web --to unikernel --duration 4s --drain 20s || return 1
	wait_for 20 state_is shift || return 1
	wait_for 5 share_above 0.2 || return 1
	lab_weftd_kill
	answers_as hello || return 1 # traffic flows while nobody is in charge
	lab_weftd || return 1
	wait_for 60 state_is "done"
}

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
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
