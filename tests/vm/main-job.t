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
swaps_to() {
	lab_weft swap start shop.web --to "$1" --duration 2s --drain 20s --wait --timeout 300 || {
		tail -n 20 "$LAB_DIR/weftd.log"
		return 1
	}
}
answers_within() { has "$(lab_in curl -s --max-time "$2" "http://$vip/")" "$1"; }

lab_check test || tap_skip_all 'something is missing'
lab_image_nginx
lab_open on-debian
uplink
lab_containerd
lab_weftd --uplink=up0 --xdp=native
lab_descriptor "$LAB_DIR/shop.json" '.applications[0].microservices[0].readiness.timeout_s = 200'
tap "the programs are loaded, on the uplink through libxdp's dispatcher" dispatched
tap 'the service runs as a container' lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 200
tap 'it answers at its service address' answers_within container 60
load_start slow 10 2 --timeout 60s
tap 'container → unikernel' swaps_to unikernel
tap 'the unikernel serves' answers_within unikernel 60
tap 'unikernel → container' swaps_to container
tap 'the container serves' answers_within container 60
load_stop
tap 'no request was lost' none_failed slow 50
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
