#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weftd is killed before, during and after each call into a runtime; calls fail and hang. Whatever
# happened, the next weftd has every instance once, or has cleaned it away.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

descriptor() { # one service of two native processes that say their name
	jq -n '{sla_version: "v2.0", customerID: "t", applications: [{
		application_name: "t", application_namespace: "default", microservices: [{
			microservice_name: "s", microservice_namespace: "default", virtualization: "native",
			cmd: ["sleep", "300.'"$$"'"], replicas: 2}]}]}' >"$LAB_DIR/t.json"
}
processes() { pgrep -fc "^sleep 300\.$$\$"; }
both_ready() {
	[ "$(lab_weft instance list -o json | jq '[.items[] | select(.phase == "ready")] | length')" = 2 ] &&
		[ "$(processes)" = 2 ]
}
none() { [ "$(lab_weft instance list -o json | jq '.items | length')" = 0 ] && [ "$(processes)" = 0 ]; }
left() {
	{
		find /sys/fs/cgroup -type d -path "*/weft-$LAB_NAME/*"
		ls "$LAB_DIR/state/netns" "$LAB_DIR/state/instances" "$LAB_DIR/state/native"
		ip -n "$LAB_NS" -o link | grep -E 'weft0\.[0-9]'
	} 2>/dev/null
}
clean() { ! left | grep -v : | grep -q .; }

script() { # RULE: for the weftd that is started next
	rm -f "$LAB_DIR"/faults.json*
	printf '[%s]\n' "$1" >"$LAB_DIR/faults.json"
}
# The descriptor may be applied by a weftd that dies of it: then it is applied again.
weftd_again() {
	wait_for 30 lab_gone "$LAB_WEFTD_PID" || return 1
	wait "$LAB_WEFTD_PID" 2>/dev/null
	lab_weftd
}
apply() { lab_weft apply -f "$LAB_DIR/t.json" >/dev/null 2>&1; }
remove() { lab_weft service delete t.s >/dev/null 2>&1; }

# killed CALL HOW: while two instances are made and removed again.
killed() {
	lab_weftd_kill
	script "{\"call\": \"$1\", \"runtime\": \"native\", \"do\": \"$2\"}"
	lab_weftd || return 1
	apply
	case $1 in
	prepare | start) weftd_again || return 1 ;;
	adopt)
		wait_for 30 both_ready || return 1
		lab_end "$LAB_WEFTD_PID" KILL
		setsid nsenter --net="/run/netns/$LAB_NS" true # nothing of it is ours
		start_that_dies || return 1
		lab_weftd || return 1
		;;
	esac
	apply
	wait_for 30 both_ready || {
		lab_weft instance list -o wide
		echo "$(processes) processes"
		return 1
	}
	remove
	case $1 in stop | delete)
		weftd_again || return 1
		remove
		;;
	esac
	wait_for 30 none && wait_for 10 clean || {
		left
		lab_weft instance list -o wide
		return 1
	}
}
# This one is meant to be dead before it answers.
start_that_dies() {
	setsid nsenter --net="/run/netns/$LAB_NS" "$LAB_BUILD/weftd" --role=all --node="$LAB_NAME" \
		--state-dir="$LAB_DIR/state" --socket="$LAB_SOCKET" --bpffs="$LAB_BPFFS" --cgroup="weft-$LAB_NAME" \
		--containerd="$LAB_CONTAINERD" >>"$LAB_DIR/weftd.log" 2>&1 </dev/null &
	local pid=$!
	wait_for 20 lab_gone "$pid"
}

# A start that fails is tried again; one that is never answered holds up nobody else.
failing() {
	lab_weftd_kill
	script '{"call": "start", "runtime": "native", "times": 3, "do": "fail", "error": "ENOSPC"}'
	lab_weftd && apply || return 1
	wait_for 60 both_ready || return 1
	remove && wait_for 30 none && wait_for 10 clean
}
slow() {
	lab_weftd_kill
	script '{"call": "start", "runtime": "native", "times": 0, "do": "delay", "ms": 1500}'
	lab_weftd && apply || return 1
	remove # while both are starting
	wait_for 30 none && wait_for 10 clean
}
stop_fails() {
	lab_weftd_kill
	script '{"call": "delete", "runtime": "native", "times": 3, "do": "refuse", "error": "EIO"}'
	lab_weftd && apply && wait_for 30 both_ready || return 1
	remove && wait_for 30 none && wait_for 10 clean
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_open e2e-calls
LAB_CONTAINERD=$LAB_DIR/none.sock
export WEFT_FAULTS=$LAB_DIR/faults.json
script ''
lab_weftd
descriptor

for call in prepare start stop delete adopt; do
	for how in die-before die-after die-answer; do
		tap "$call: $how" killed "$call" "$how"
	done
done
tap 'starts that fail are tried again' failing
tap 'removed while its start is slow' slow
tap 'a removal that is refused is tried again' stop_fails
OLD_DIR=$LAB_DIR
script ''
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
