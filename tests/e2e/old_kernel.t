#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weftd on a kernel that lacks what newer ones have: a service runs, under load, over a restart of
# weftd, by clsact and without the rest; what is missing is named. And on one that lacks what there
# is no data plane without.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh
. tests/lib/e2e.sh

hook() { same hook clsact "$(lab_weft status -o json | jq -r .dataplane.hook)"; }
filters() { # N: on so many devices
	local d n=0
	for d in $(ip -n "$LAB_NS" -o link | sed -E 's/^[0-9]+: ([^:@]+).*/\1/'); do
		[[ $(lab_in tc filter show dev "$d" ingress) != *tc_instance* ]] || n=$((n + 1))
	done
	same 'devices with a filter' "$1" "$n"
}
named() {
	local out
	out=$(lab_weft doctor)
	has "$out" 'kernel +BTF, .*redirect_peer' 'no tcx \(Linux 6.6\): clsact filters take its place' \
		'no sockmap \(Linux 4.18\): no shortcut' 'no ring buffer \(Linux 5.8\): no weft trace' \
		'trace +tracing hops: the kernel has no ring buffer' 'shortcut +the shortcut.*no netns cookies' ||
		return 1
	lab_weft status -o json | jq -e '[.dataplane.features[] | select(.has | not) | .name] | sort ==
		["XDP links", "decap flags", "kernel context", "netns cookies", "program extensions",
		 "ring buffer", "sockmap", "tcx"]'
}
answers() { has "$(lab_in curl -s --max-time 5 "http://$vip/")" '^10\.18\.0\.'; }
restart() {
	lab_weftd_kill
	answers || return 1
	lab_weftd
	hook && answers && filters 3
}
# A later weftd on a newer kernel takes the service over; flows go on.
newer() {
	lab_weftd_kill
	WEFT_WITHOUT='' lab_weftd
	answers
}
refuses() {
	refused 1 'loading the data plane: the kernel has no redirect_peer' 'Linux 5.10 has it' -- \
		env WEFT_WITHOUT=redirect_peer "$LAB_BUILD/weftd" --state-dir="$LAB_DIR/other" \
		--socket="$LAB_DIR/other.sock" --bpffs="$LAB_BPFFS-other" --cgroup="weft-$LAB_NAME-other" ||
		return 1
	[ ! -e "$LAB_BPFFS-other" ]
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_open e2e-old-kernel
nginx_conf
export WEFT_WITHOUT='tcx,kernel context,decap flags,XDP links,program extensions,sockmap,netns cookies,ring buffer'
lab_containerd
lab_weftd
descriptor shop.web 2 '.applications[0].microservices[0] |= (.addresses.rr_ip = "10.30.0.2" | .shortcut = true)'
tap 'a service of two native processes' lab_weft apply -f "$LAB_DIR/shop.web.json" --wait --timeout 60
tap 'hooked by clsact' hook
tap 'on each device' filters 3
tap 'it answers' answers
tap 'what is missing is named' named
tap 'no trace, with the reason' refused 1 'no ring buffer' -- lab_weft trace shop.web --duration 1s
load_start old 100 4
tap 'weftd is killed and comes back' restart
load_stop
tap 'no request was lost' none_failed old 50
tap 'a newer kernel: weftd takes the service over' newer
tap 'it is deleted' lab_weft service delete shop.web --wait --timeout 30
tap 'its filters are gone with it' filters 1
tap 'what there is no data plane without' refuses
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
