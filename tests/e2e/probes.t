#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Readiness and liveness by command, connection, HTTP and a virtual machine's monitor; what fails is
# replaced, later and later; and as many instances as are wanted, drained before they go.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh
. tests/lib/e2e.sh

apply() { # NAME JQ [FLAGS]: a service of one nginx, changed
	descriptor "$1" 1 ".applications[0].microservices[0] |= ($2)" &&
		lab_weft apply -f "$LAB_DIR/$1.json" "${@:3}"
}
instances() { lab_weft instance list -o json | jq -r --arg s "$1" ".items[] | select(.service == \$s) | $2"; }
service() { lab_weft service show "$1" -o json | jq -r "$2"; }
is() { [ "$(service "$1" "$2")" = "$3" ]; }
ready() { [ "$(instances "$1" 'select(.phase == "ready") | .id' | wc -l)" = "$2" ]; }
number() { [ "$(instances "$1" .id | wc -l)" = "$2" ]; }
phase() { [ "$(instances "$1" .phase)" = "$2" ]; }
events() { lab_weft events -o json | jq -c "(.items[]? // .) | select(.action == \"$1\" and (.object | startswith(\"$2\")))"; }

# Ready when a command says so, and not before.
ready_by_command() {
	apply shop.cmd ".readiness = {type: \"exec\", command: [\"test\", \"-e\", \"$LAB_DIR/ready\"]}" || return 1
	wait_for 20 phase shop.cmd warming || return 1
	is shop.cmd .ready 0 || return 1
	touch "$LAB_DIR/ready"
	wait_for 20 ready shop.cmd 1
}

# Ready when it listens, and not before.
ready_by_connection() {
	apply shop.tcp ".cmd = [\"bash\", \"-c\", \"until [ -e \\\"\$1\\\" ]; do read -rt 0.1 <> <(:); done; exec perl \$0 good \$1\",
		\"$PWD/tests/lib/serve.pl\", \"$LAB_DIR/listen\"] | .readiness = {type: \"tcp\", port: 80, timeout_s: 60}" || return 1
	wait_for 20 phase shop.tcp warming || return 1
	is shop.tcp .ready 0 || return 1
	: >"$LAB_DIR/listen"
	wait_for 30 ready shop.tcp 1
}

alive_by_http() {
	apply shop.http ".cmd = [\"perl\", \"$PWD/tests/lib/serve.pl\", \"sick\", \"$LAB_DIR/sick.log\"] |
		.liveness = {type: \"http\", port: 80, path: \"/\", interval_s: 0.5, timeout_s: 5, failures: 2}" --wait --timeout 30 || return 1
	local first
	first=$(instances shop.http .id)
	wait_for 60 is shop.http '.restarts > 0' true || return 1
	has "$(events failed "$first")" 'liveness probe .2 of 2.*500' && wait_for 60 ready shop.http 1 &&
		lab_weft service delete shop.http --wait --timeout 30
}

alive_by_command() {
	touch "$LAB_DIR/alive"
	apply shop.live ".liveness = {type: \"exec\", interval_s: 0.5, failures: 2,
		command: [\"test\", \"-e\", \"$LAB_DIR/alive\"]}" --wait --timeout 30 || return 1
	local first
	first=$(instances shop.live .id)
	rm "$LAB_DIR/alive"
	wait_for 30 is shop.live '.restarts > 0' true || return 1
	has "$(events probe-failed "$first")" 'failed its liveness probe .1 of 2.: no success of test .*status 1' &&
		has "$(events failed "$first")" '2 of 2' || return 1
	touch "$LAB_DIR/alive"
	wait_for 60 ready shop.live 1 || return 1
	[ "$first" != "$(instances shop.live .id)" ]
}

# One that dies again and again is begun later and later.
back_off() {
	apply shop.off ".cmd = [\"perl\", \"$PWD/tests/lib/serve.pl\", \"refuse\", \"$LAB_DIR/refuse.log\"] |
		.readiness.type = \"http\" | .liveness = {type: \"tcp\", port: 80, interval_s: 0.5, timeout_s: 1, failures: 1}" || return 1
	wait_for 90 is shop.off '.restarts >= 3' true || return 1
	same 'waits' '[500,1000,2000]' "$(events backing-off shop.off | jq -s -c '[.[].data.retry_ms][:3]')" &&
		has "$(lab_weft service show shop.off)" 'RESTARTS +[3-9]'
}

# A machine that runs is ready, whether or not anything in it answers.
ready_by_monitor() {
	lab_descriptor "$LAB_DIR/shop.json" '.applications[0].microservices[0] |= (
		.addresses = {} | .virtualization = "unikernel" | .code = .variants[0].code | .memory = 32 | .variants = [] |
		.cmd = ["port=81"] | .readiness = {type: "qmp"})'
	lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60 || return 1
	ready shop.web 1 && ! lab_in curl -s --max-time 3 -o /dev/null "http://$(service shop.web .vip)/" &&
		lab_weft service delete shop.web --wait --timeout 30
}

alive_by_monitor() {
	lab_descriptor "$LAB_DIR/shop.json" '.applications[0].microservices[0] |= (
		.addresses = {} | .virtualization = "unikernel" | .code = .variants[0].code | .memory = 32 | .variants = [] |
		.liveness = {type: "qmp", interval_s: 0.5, timeout_s: 1, failures: 2})'
	lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60 || return 1
	local first pid
	first=$(instances shop.web .id)
	pid=$(instances shop.web .pid)
	[ "$pid" -gt 1 ] && kill -STOP "$pid" || return 1
	wait_for 60 is shop.web '.restarts > 0' true || return 1
	has "$(events failed "$first")" 'liveness probe .2 of 2.: its monitor does not say it runs' &&
		wait_for 60 ready shop.web 1 && vip=$(service shop.web .vip) && answers_as hello
}

scaled() {
	lab_weft service scale shop.live 3 || return 1
	wait_for 30 ready shop.live 3
}
killed() {
	local pid restarts
	restarts=$(service shop.live .restarts)
	pid=$(instances shop.live .pid | head -n 1)
	[ "$pid" -gt 1 ] && kill -KILL "$pid" || return 1
	wait_for 30 is shop.live ".restarts > $restarts" true && wait_for 30 ready shop.live 3
}
scaled_down() {
	lab_weft service scale shop.live 1 || return 1
	wait_for 30 number shop.live 1 && ready shop.live 1 || return 1
	same 'drained' 2 "$(events draining shop.live | wc -l)"
}
refusals() {
	refused 2 '"x" is not a number of instances' 'hint: ' -- lab_weft service scale shop.live x &&
		refused 2 'replicas: must be 0 to 64, is 65' -- lab_weft service scale shop.live 65 &&
		refused 3 'no such service' 'hint: ' -- lab_weft service scale shop.none 1
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_image_nginx
lab_open e2e-probes
lab_containerd
lab_weftd
nginx_conf

tap 'ready by a command' ready_by_command
tap 'ready by a connection' ready_by_connection
tap 'alive by HTTP: replaced when it is not' alive_by_http
tap 'alive by a command: replaced when it is not' alive_by_command
tap 'three instances' scaled
vip=$(service shop.live .vip)
load_start scale 300 8 --close
tap 'surplus ones are drained' scaled_down
load_stop
tap 'no request was lost' none_failed scale 20
tap 'three again' scaled
tap 'one that is killed is replaced' killed
tap 'a number that cannot be' refusals
tap 'what fails again and again waits longer and longer' back_off
tap 'ready by the monitor' ready_by_monitor
tap 'alive by the monitor: replaced when it is not' alive_by_monitor
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
