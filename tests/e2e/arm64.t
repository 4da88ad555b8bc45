#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A Linux for arm64 on this machine, whatever that is: Debian's kernel and busybox as a guest of
# qemu's virt machine, which answers at a service's address over the overlay. It takes packages that
# may have to be downloaded: without them it is left out.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

vm=$LAB_BUILD/images/vm-arm64.tar.gz
name() { lab_weft instance list -o json | jq -r '.items[0].id'; }
instance() { lab_weft instance show "$(name)" -o json | jq -r "$1"; }

deploys() {
	lab_descriptor "$LAB_DIR/shop.json" ".applications[0].microservices[0] |= (
		.virtualization = \"unikernel\" | .code = \"file://$vm\" | del(.variants) | .arch = [\"arm64\"]
		| .memory = 192 | .network = \"$1\" | .warm_start = false | .readiness.timeout_s = 400)"
	lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 400 || {
		lab_weft logs "$(name)" | tail -n 20
		return 1
	}
}
answers() { has "$(lab_in curl -s --max-time 30 "http://$vip/")" 'hello from a virtual machine'; }
is_arm64() {
	same arch arm64 "$(instance .arch)" && has "$(tr '\0' ' ' <"/proc/$(instance .pid)/cmdline")" \
		'^qemu-system-aarch64 ' '-M virt'
}
timed() { lab_weft instance list -o json | jq -e '.items[0].times | .first_answer_ms > .start_ms and .start_ms > 0'; }
goes() { lab_weft service delete shop.web --wait --timeout 60; }

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
command -v qemu-system-aarch64 >/dev/null || tap_skip_all 'qemu-system-aarch64 is not installed'
if ! [ -e "$vm" ] && ! why=$(ARCH=arm64 timeout 200 scripts/mkimage-vm.sh "$vm" 2>&1); then
	tap_skip_all "no image: $(tail -n 1 <<<"$why")"
fi
lab_image_nginx
lab_open e2e-arm64
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
lab_weftd
tap 'the node has qemu for arm64' wait_for 60 eval 'lab_weft status -o json |
	jq -e "any(.runtimes[]; .virtualization == \"unikernel\" and .arch == \"arm64\" and .usable)"'
tap 'a Linux for arm64 becomes ready, on a macvtap' deploys macvtap
tap 'it is one' is_arm64
tap 'it answers at the address of its service' answers
tap 'its network is counted' network_counted
tap 'its start was timed' timed
tap 'it goes' goes
tap 'another, on a tap' deploys tap
tap 'that answers, too' answers
dir=$LAB_DIR
tap 'the lab closes clean' lab_close
tap 'nothing is left' nothing_left "$dir"
tap_end
