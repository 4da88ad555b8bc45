#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016 # the variables are jq's
# Traces of a real service under load: as a container and as a unikernel in qemu, with their hops
# told apart; and that nothing of a trace outlives whoever asked for it.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

traced() { lab_weft trace shop.web --duration "$1" -o json >"$LAB_DIR/trace.json"; }
# says JQ: of the last trace
says() {
	jq -e "$1" "$LAB_DIR/trace.json" || {
		jq -c 'del(.samples, .groups[].ways[].hops[].buckets, .groups[].ways[].round_trip)' "$LAB_DIR/trace.json"
		return 1
	}
}

# Every packet was followed hop by hop, but those under way at either end and what TCP sent twice; and
# what is in between adds up to the round trip.
plausible() {
	says '.ended == "time" and (.groups | length) == 1' || return 1
	says '.packets | [.request, .reply][] | .begun > 200 and .lost <= .begun * 0.02
		and .read >= .begun * 0.95 and .read <= .begun' || return 1
	says '[.groups[].ways[] | .packets as $n | .hops[] | select(.from != "read") | .count == $n] | all' || return 1
	says '[.groups[0].ways[] | select(.direction == "request") | .packets] | (max / add) > 0.9' || return 1
	says '.groups[0] | ([.parts[].mean_ns] | add) as $sum
		| [.ways[] | select(.direction == "reply")][0].round_trip
		| .count > 200 and $sum > .mean_ns * 0.5 and $sum < .mean_ns * 1.5' || return 1
	says '.cost.probes > 7 and .cost.packet_ns > 0'
}
hops() { jq -r '.groups[0].ways | map(select(.direction == "'"$1"'"))[0].hops | map(.name) | join(",")' "$LAB_DIR/trace.json"; }

container_hops() {
	same group 'container veth' "$(jq -r '.groups[0].name' "$LAB_DIR/trace.json")" || return 1
	same request 'veth,backlog,weft,stack,wakeup,read' "$(hops request)" || return 1
	same reply 'application,veth,backlog,weft,veth,backlog,stack,wakeup,read' "$(hops reply)"
}
unikernel_hops() {
	same group 'unikernel macvtap' "$(jq -r '.groups[0].name' "$LAB_DIR/trace.json")" || return 1
	same request 'veth,backlog,weft,macvtap in,wakeup,read' "$(hops request)" || return 1
	same reply 'qemu and guest,macvtap out,veth,backlog,weft,veth,backlog,stack,wakeup,read' "$(hops reply)" || return 1
	# what the trace is for
	says '.groups[0].parts | map({key: .part, value: .p50_ns}) | from_entries | .macvtap > 0 and .guest > .macvtap'
}

table_for_people() {
	local out
	out=$(lab_weft trace shop.web --duration 1s) || return 1
	has "$out" '^shop.web, 1.0s of 1.0s' '^request: [0-9]+ packets' '^container veth' \
		'^request +weft +weft +[0-9.]+' '^PART +P50 +MEAN +SHARE' 'the probes themselves'
}

running() { pgrep -P "$LAB_WEFTD_PID" -f 'weftd' >/dev/null; }
idle() { ! running; }
# Until the first second is over: the probes are in place then.
start_trace() {
	: >"$LAB_DIR/out"
	setsid "$LAB_BUILD/weft" -H "unix:$LAB_SOCKET" trace shop.web --duration 60s -w >"$LAB_DIR/out" 2>&1 </dev/null &
	TRACE=$!
	wait_for 30 grep -q '^shop.web, ' "$LAB_DIR/out" && running
}

one_at_a_time() {
	start_trace || return 1
	refused 4 'service shop.web: it is being traced already' -- lab_weft trace shop.web --duration 1s
}
client_goes() {
	kill -KILL "$TRACE"
	wait "$TRACE" 2>/dev/null
	wait_for 20 idle
}
interrupted() {
	local rc=0
	start_trace || return 1
	kill -INT "$TRACE"
	wait "$TRACE" || rc=$?
	same 'exit status' 0 "$rc" && has "$(tail -n 40 "$LAB_DIR/out")" '^round trip' 'the probes themselves' &&
		wait_for 20 idle
}
daemon_goes() {
	local child
	start_trace || return 1
	child=$(pgrep -P "$LAB_WEFTD_PID" -f weftd) || return 1
	lab_weftd_kill
	wait_for 20 lab_gone "$child" || return 1
	wait "$TRACE"
	same 'exit status' 6 $? && has "$(cat "$LAB_DIR/out")" 'error: the trace broke off after [0-9.]+s: weftd at ' \
		'hint: .*say it again: weft trace shop.web' || return 1
	answers_as hello || return 1
	lab_weftd
}
service_goes() {
	start_trace || return 1
	lab_weft service delete shop.web --wait --timeout 60 || return 1
	wait "$TRACE"
	has "$(cat "$LAB_DIR/out")" 'the trace ended early: the service is gone' && wait_for 20 idle
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_image_nginx
lab_open e2e-trace
lab_containerd
lab_weftd
lab_descriptor "$LAB_DIR/shop.json"

tap 'the service runs as a container' lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60
tap 'the kernel has what it takes' has "$(lab_weft doctor)" 'trace +weft trace: the kernel has'
tap 'no such service' refused 3 'service shop.none: no such service' -- lab_weft trace shop.none
load_start traced 200 4
tap 'a container is traced' traced 3s
tap 'each of its packets, all of its time' plausible
tap 'hop by hop' container_hops
tap 'as a table' table_for_people
tap 'container → unikernel' swap_to unikernel
tap 'a unikernel is traced' traced 3s
tap 'each of its packets, all of its time' plausible
tap 'hop by hop' unikernel_hops
tap 'a second trace is refused' one_at_a_time
tap 'a client that goes away ends its trace' client_goes
tap '^C shows what there is' interrupted
tap 'weftd is killed: its trace ends, traffic goes on' daemon_goes
load_stop
tap 'no request was lost' none_failed traced 1000
tap 'the service is deleted while it is traced' service_goes
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
