#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A peer with as many instances as it may have, told, changed and removed at a stroke: the weights
# are worked out once and not for each of them, the API answers, and traffic goes on.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh
. tests/lib/native.sh

N=1023

uplink() {
	lab_in ip link add up0 type veth peer name up1 && lab_in ip link set up1 up &&
		lab_in ip addr add 198.51.100.1/30 dev up0 && lab_in ip link set up0 up
}
told() { # FIRST N WEIGHT
	jq -n --argjson first "$1" --argjson n "$2" --argjson w "$3" '{node: "far", instances: [range($first; $first + $n) |
		{id: "i\(.)", service: "shop.web", ns_addr: "10.20.\(. / 250 | floor).\(. % 250 + 1)",
			inst_addr: "10.30.\(100 + (. / 250 | floor)).\(. % 250 + 1)", weight: $w}]}'
}
of_peer() { lab_weft instance list -o json | jq '[.items[] | select(.id | endswith("@far"))] | '"$1"; }
counted() { [ "$(of_peer length)" = "$1" ]; }
all_ready() { [ "$(of_peer 'map(select(.phase == "ready")) | length')" = "$1" ]; }
weighings() { lab_weft events -o json | jq '[.items[] | select(.kind == "weights")] | length'; }

# The API is asked all along, by somebody else.
healthy_during() { # CMD...
	local rc=0 bad=0 n=0 job
	touch "$LAB_DIR/asking"
	while [ -e "$LAB_DIR/asking" ]; do
		curl -sf --max-time 20 -o /dev/null -w '%{time_total}\n' --unix-socket "$LAB_SOCKET" http://weft/healthz ||
			echo bad
	done >"$LAB_DIR/asked" &
	job=$!
	"$@" || rc=1
	rm "$LAB_DIR/asking"
	wait $job
	bad=$(grep -c bad "$LAB_DIR/asked") n=$(grep -vc bad "$LAB_DIR/asked")
	echo "$n answers, $bad failures, the slowest after $(grep -v bad "$LAB_DIR/asked" | sort -n | tail -n 1) s"
	[ $rc = 0 ] && [ "$bad" = 0 ] && [ "$n" -gt 0 ]
}
at_a_stroke() { # FIRST N WEIGHT
	local start
	start=$(date +%s%3N)
	told "$@" >"$LAB_DIR/told.json"
	lab_weft peer import far -f "$LAB_DIR/told.json" --timeout 60 || return 1
	echo "# imported in $(($(date +%s%3N) - start)) ms"
	wait_for 60 all_ready "$2" && counted "$2" && [ "$(weighings)" -gt 0 ] && [ "$(weighings)" -le 20 ] || {
		echo "weighed $(weighings) times"
		return 1
	}
}
kept() {
	lab_weftd_kill
	lab_weftd --uplink=up0 && wait_for 60 all_ready $N
}
gone() { lab_weft peer remove far && counted 0; }

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq curl nginx; do
	command -v "$c" >/dev/null || tap_skip_all "$c is not installed"
done
lab_open e2e-many
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
nginx_conf
uplink
lab_weftd --uplink=up0
descriptor shop.web 2 ".applications[0].microservices[0] |= (.addresses.rr_ip = \"$vip\" | .readiness = {type: \"none\"})"

tap 'a service runs' lab_weft apply -f "$LAB_DIR/shop.web.json" --wait --timeout 30
tap 'a peer' lab_weft peer add far --address 198.51.100.2
load_start load 100 4 --close --duration 3600s --timeout 20s
tap "$N instances of it" healthy_during at_a_stroke 0 $N 0
tap 'told again, nothing changes' healthy_during at_a_stroke 0 $N 0
tap 'a half of them by others' healthy_during at_a_stroke 500 $N 0
tap 'another weftd knows them' kept
tap 'the peer is removed' healthy_during gone
load_stop
tap 'no request was lost' none_failed load 100
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
