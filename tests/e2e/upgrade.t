#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weftd is replaced by a newer one, and by an older one, under load: the newer takes the maps of the
# older layout over, the older says that it cannot read those of the newer. No request is lost.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh
. tests/lib/native.sh

meta() { printf '%s/maps/meta' "$LAB_BPFFS"; }
# The bytes of meta: layout, buckets, seeds, epoch and, from layout 3 on, a version of 32.
meta_bytes() { bpftool -j map dump pinned "$(meta)" | jq -r '.[0].value // .[0].elements[0].value | .[]'; }
meta_write() { bpftool map update pinned "$1" key 0 0 0 0 value "${@:2}"; }
layout_is() { same layout "$1" "$(($(meta_bytes | head -n 1)))"; }

# What weftd of layout 2 left.
make_layout_2() {
	local bytes
	mapfile -t bytes < <(meta_bytes)
	same 'bytes of meta' 64 ${#bytes[@]} || return 1
	bpftool map create "$(meta)_2" type array key 4 value 32 entries 1 name meta flags 0x400 &&
		meta_write "$(meta)_2" 2 0 0 0 "${bytes[@]:4:28}" && mv "$(meta)_2" "$(meta)" && layout_is 2
}

state() { lab_weft dp lb list -o json | jq -Sc '[.items[] | {service, instance, policy, share}] | sort'; }
steps() { grep -c 'layout 2 has become 3' "$LAB_DIR/weftd.log"; }
upgraded() {
	local before n
	for _ in {1..3}; do
		before=$(state) n=$(steps)
		has "$before" '"share":0\.5' || return 1
		lab_weftd_kill
		make_layout_2 && lab_weftd || return 1
		layout_is 3 && same 'shares' "$before" "$(state)" &&
			same 'steps in the log' $((n + 1)) "$(steps)" || return 1
	done
}

# The ids of the pinned maps, and of the programs on the instances' devices: by tcx or clsact.
in_place() {
	local pin
	for pin in "$LAB_BPFFS"/maps/*; do bpftool -j map show pinned "$pin" | jq -r '"\(.name) \(.id)"'; done
	for pin in "$LAB_BPFFS"/links/*; do
		[ ! -e "$pin" ] || bpftool -j link show pinned "$pin" | jq -r --arg pin "${pin##*/}" '"program of \($pin): \(.prog_id)"'
	done
	lab_in bpftool -j net show | jq -r '.[].tc[] | "program on \(.devname): \(.id)"'
}
# The verifier refuses our programs from somebody without CAP_PERFMON.
unloadable() {
	local before weftd=(setpriv '--bounding-set=-sys_admin,-perfmon' "$LAB_BUILD/weftd" --node="$LAB_NAME"
		--state-dir="$LAB_DIR/state" --socket="$LAB_SOCKET" --bpffs="$LAB_BPFFS" --cgroup="weft-$LAB_NAME"
		--containerd="$LAB_CONTAINERD")
	lab_weftd_kill
	make_layout_2 || return 1
	before=$(in_place)
	has "$before" 'program o' || return 1
	refused 1 'loading the data plane: the kernel refused the program' \
		"hint: .*the data plane at $LAB_BPFFS goes on as it was" -- lab_in "${weftd[@]}" || return 1
	same 'maps and programs' "$before" "$(in_place)" && layout_is 2 && lab_in curl -sf --max-time 20 -o /dev/null "http://$vip/" &&
		lab_weftd && layout_is 3
}

by_older() {
	local bytes weftd=("$LAB_BUILD/weftd" --node="$LAB_NAME" --state-dir="$LAB_DIR/state" --socket="$LAB_SOCKET"
		--bpffs="$LAB_BPFFS" --cgroup="weft-$LAB_NAME" --containerd="$LAB_CONTAINERD")
	mapfile -t bytes < <(meta_bytes)
	lab_weftd_kill
	# One byte of the number, and "9.9" for the version.
	meta_write "$(meta)" 4 "${bytes[@]:1:31}" 57 46 57 0 "${bytes[@]:36:28}" || return 1
	for _ in {1..3}; do
		refused 4 'made by weft 9\.9, whose tables \(layout 4\) weft .* \(layout 3\) cannot read' \
			'hint: it goes on as it is' -- lab_in "${weftd[@]}" || return 1
	done
	meta_write "$(meta)" "${bytes[@]}" && lab_weftd
}
ready_3() { [ "$(lab_weft service show shop.web -o json | jq -r '"\(.phase) \(.ready)"')" = 'running 3' ]; }

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq bpftool nginx setpriv; do
	command -v "$c" >/dev/null || tap_skip_all "$c is not installed"
done
lab_open e2e-upgrade
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
nginx_conf
lab_weftd
descriptor shop.web 3 ".applications[0].microservices[0].addresses.rr_ip = \"$vip\""

tap 'the service runs' lab_weft apply -f "$LAB_DIR/shop.web.json" --wait --timeout 30
tap 'and by weights' lab_weft service weights shop.web 1=3 2=1 3=2
load_start kept 300 8 --duration 3600s --timeout 20s
tap 'a newer weftd takes an older layout over' upgraded
load_stop
tap 'no request was lost on connections that went on' none_failed kept 300
load_start fresh 200 8 --close --duration 3600s --timeout 20s
tap 'again, with a connection for each request' upgraded
load_stop
tap 'no request was lost' none_failed fresh 200
load_start refused 200 8 --close --duration 3600s --timeout 20s
tap 'one whose programs do not load leaves all as it is' unloadable
load_stop
tap 'no request was lost' none_failed refused 50
load_start older 200 8 --close --duration 3600s --timeout 20s
tap 'an older weftd says that it cannot' by_older
tap 'and its successor goes on' wait_for 20 ready_3
load_stop
tap 'no request was lost' none_failed older 100
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
