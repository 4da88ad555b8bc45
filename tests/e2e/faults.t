#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What breaks while a service is swapped: weftd is killed in each state of a swap, a swap is aborted
# half way, qemu dies, containerd dies. Where the instances themselves live, no request is lost.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

start() { lab_weft swap start shop.web --to "$1" --duration "$2" --drain 20s; }
instances() { lab_weft instance list -o json | jq -r "[.items[] | $1] | length"; }
ready_only() { # N: so many instances, all of them ready
	[ "$(instances .)" = "$1" ] && [ "$(instances 'select(.phase == "ready")')" = "$1" ]
}
settled() { wait_for 20 ready_only "$1" || { lab_weft instance list; return 1; }; }

# Do CMD, and kill weftd as soon as its log says that the swap has come to STATE. By then it may be
# one state further on: the swap has to end well wherever it was.
kill_at() { # STATE CMD...
	local state=$1 line deadline=$((SECONDS + 20)) job
	shift
	exec 8<"$LAB_DIR/weftd.log"
	while read -r line <&8; do :; done
	"$@" 8<&- &
	job=$!
	until read -r line <&8 && [[ $line == *"shop.web: "$state* ]]; do
		[ $SECONDS -lt $deadline ] || break
		[ -n "$line" ] || read -rt 0.002 <> <(:) || :
	done
	exec 8<&-
	lab_weftd_kill
	wait $job # it may have been answered, or not
	[[ $line == *"shop.web: "$state* ]] || { echo "the swap never came to $state"; return 1; }
}

killed_at() { # STATE TO
	local to=$2 state=$1
	[ "$state" != prepare ] || state='* to '
	# shellcheck disable=SC2053
	kill_at "$state" start "$to" 500ms || return 1
	answers_as hello && lab_weftd || return 1
	grep 'going on from' "$LAB_DIR/weftd.log" | tail -n 1
	wait_for 40 state_is "done" && active "$to" && settled 1 && answers_as "$to"
}

half_way() { # TO
	start "$1" 15s && wait_for 20 share_above 0.1
}
abort() { lab_weft swap abort "$(last_swap .id)"; }
aborted() {
	half_way unikernel && abort && wait_for 40 state_is rolled-back && active container && settled 1
}
killed_in_rollback() {
	half_way unikernel && kill_at rollback abort || return 1
	answers_as hello && lab_weftd || return 1
	wait_for 40 state_is rolled-back && active container && settled 1 && answers_as container
}

qemu_killed() {
	local new
	half_way unikernel || return 1
	new=$(last_swap '.new[0]')
	kill -KILL "$(lab_weft instance show "$new" -o json | jq .pid)" || return 1
	wait_for 20 state_is rolled-back && active container && settled 1 &&
		has "$(last_swap .error.message)" "instance $new ended: .*(9|KILL)" &&
		has "$(last_swap .error.hint)" "weft logs $new"
}
serves_all() { # TEXT: forty new connections
	for _ in {1..40}; do answers_as "$1" || return 1; done
}

containerd_killed() {
	lab_end "$LAB_CONTAINERD_PID" KILL
	LAB_CONTAINERD_PID=
	serves_all container
}
# The old instance's runtime is away while the swap goes on: it is removed once it can be.
containerd_back() {
	start unikernel 500ms && wait_for 20 state_is stop-old && answers_as unikernel || return 1
	lab_containerd && wait_for 60 state_is "done" && settled 1
}

two_by_tap() {
	lab_descriptor "$LAB_DIR/shop.json" '.applications[0].microservices[0] |= (.replicas = 2
		| .variants[0].network = "tap")'
	lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60 && settled 2 || return 1
	swap_to unikernel && active unikernel && settled 2 && answers_as unikernel || return 1
	same 'taps' 2 "$(instances 'select(.network == "tap" and .flows > 0)')"
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_image_nginx
lab_open e2e-faults
lab_containerd
lab_weftd
lab_descriptor "$LAB_DIR/shop.json"

tap 'the service runs as a container' lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60
load_start killed 600 8
tap 'weftd killed in prepare' killed_at prepare unikernel
tap 'weftd killed in start-new' killed_at start-new container
tap 'weftd killed in warm' killed_at warm unikernel
tap 'weftd killed in shift' killed_at shift container
tap 'weftd killed in drain' killed_at drain unikernel
tap 'weftd killed in stop-old' killed_at stop-old container
tap 'a swap is aborted half way' aborted
tap 'weftd killed in rollback' killed_in_rollback
load_stop
tap 'no request was lost' none_failed killed 3000
tap 'qemu killed in shift: rolled back, it is said why' qemu_killed
tap 'the container serves alone' serves_all container
tap 'containerd killed: the container serves' containerd_killed
tap 'a swap without containerd ends when it is back' containerd_back
tap 'the unikernel serves' serves_all unikernel
tap 'back to the container' swap_to container
load_start two 400 8
tap 'two instances each, by tap' two_by_tap
tap 'and back' swap_to container
load_stop
tap 'no request was lost' none_failed two 400
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
