#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job where everything is slow: what tests/e2e/debian_kernel.t runs on Debian 12's own kernel.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

uplink() { lab_in ip link add up0 type veth peer name up1 && lab_in ip link set up0 up && lab_in ip link set up1 up; }
dispatched() {
	wait_for 60 uplink_is "native, through libxdp's dispatcher" || {
		lab_weft status -o json | jq .uplink
		return 1
	}
}
uplink_is() { [ "$(lab_weft status -o json | jq -r .uplink.xdp_detail)" = "$1" ]; }
# Connections end by themselves after 200 requests, which takes 40 s: the drain waits for that.
swaps_to() {
	lab_weft swap start shop.web --to "$1" --duration 2s --drain 90s --wait --timeout 300 || {
		tail -n 20 "$LAB_DIR/weftd.log"
		return 1
	}
}
# The kernel's own back-end has the guest's network: its thread runs for a call, as one of the instance's.
has_vhost() {
	local qemu thread before
	qemu=$(lab_weft instance list -o json | jq -r '.items[] | select(.virtualization == "unikernel").pid')
	has "$(tr '\0' ' ' <"/proc/$qemu/cmdline")" 'vhost=on,vhostfd=' &&
		has "$(readlink "/proc/$qemu"/fd/*)" '^/dev/vhost-net$' && thread=$(pgrep -x "vhost-$qemu") &&
		same 'control group' "$(cat "/proc/$qemu/cgroup")" "$(cat "/proc/$thread/cgroup")" || return 1
	before=$(switches "$thread")
	answers_within unikernel 60 && [ "$(switches "$thread")" -gt "$before" ]
}
switches() { awk '/_ctxt_switches:/ {n += $2} END {print n}' "/proc/$1/status"; }
can() { lab_weft status -o json | jq -e --arg v "$1" 'any(.runtimes[]; .virtualization == $v and .arch == "amd64" and .usable)'; }
answers_within() { has "$(lab_in curl -s --max-time "$2" "http://$vip/")" "$1"; }

lab_check test || tap_skip_all 'something is missing'
modprobe vhost_net
# Read for the first time they take longer than weftd gives them to say their versions.
for c in runc containerd-shim-runc-v2 nginx qemu-system-x86_64; do "$c" --version; done >/dev/null 2>&1
lab_image_nginx
LAB_START_S=300
lab_open on-debian
uplink
lab_containerd
lab_weftd --uplink=up0 --xdp=native
wait_for 120 can unikernel || lab_die 'qemu does not get ready'
lab_descriptor "$LAB_DIR/shop.json" '.applications[0].microservices[0].readiness.timeout_s = 200'
tap "the programs are loaded, on the uplink through libxdp's dispatcher" dispatched
tap 'the service runs as a container' lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 200
tap 'it answers at its service address' answers_within container 60
load_start slow 10 2 --timeout 60s
tap 'container → unikernel' swaps_to unikernel
tap 'the unikernel serves' answers_within unikernel 60
tap 'its network is vhost-net, whose thread is counted with it' has_vhost
tap 'unikernel → container' swaps_to container
tap 'the container serves' answers_within container 60
load_stop
tap 'no request was lost' none_failed slow 50
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
