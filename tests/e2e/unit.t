#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The systemd unit: it is well-formed, and the daemon does its whole work with no more capabilities
# than the unit leaves it, announces itself, and feeds the watchdog.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

unit=ctrl/systemd/weftd.service
verified() {
	command -v systemd-analyze >/dev/null || return 0
	sed "s|/usr/sbin/weftd|$(realpath "$LAB_BUILD/weftd")|" "$unit" >"$LAB_DIR/weftd.service"
	same 'systemd-analyze' '' "$(systemd-analyze verify --man=no "$LAB_DIR/weftd.service" 2>&1 | grep weftd)"
}
capabilities() {
	sed -n 's/^CapabilityBoundingSet=//p' "$unit" | tr ' ' '\n' | sed 's/^CAP_//' | tr '[:upper:]' '[:lower:]' | sort
}
# Fewer than what this shell has: else nothing is shown.
bounded() {
	local set
	set=$(sed -n 's/^CapBnd:[[:space:]]*//p' "/proc/$(weftd_pid)/status")
	echo "capabilities: $set"
	[ "$((16#$set))" -lt "$((16#$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status)))" ]
}
weftd_pid() { lab_weft status -o json >/dev/null && pgrep -f -- "weftd --role=all --node=$LAB_NAME" | tail -n 1; }
deployed() { lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60; }
notified() { wait_for 20 grep -q '^READY=1' "$LAB_DIR/notify"; }
fed() { wait_for 20 grep -q '^WATCHDOG=1' "$LAB_DIR/notify"; }

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
command -v setpriv >/dev/null || tap_skip_all 'setpriv is not installed'
lab_image_nginx
lab_open e2e-unit
lab_containerd
lab_descriptor "$LAB_DIR/shop.json"
perl tests/lib/notify.pl "$LAB_DIR/notify.sock" >"$LAB_DIR/notify" &
wait_for 5 test -S "$LAB_DIR/notify.sock"
have=$(setpriv --list-caps)
keep=$(capabilities | grep -xF "$have" | sed 's/^/+/' | paste -sd, -)
LAB_WEFTD_AS=(env NOTIFY_SOCKET="$LAB_DIR/notify.sock" WATCHDOG_USEC=4000000
	setpriv --inh-caps=-all --bounding-set="-all,$keep")

tap 'systemd finds nothing wrong with the unit' verified
tap 'the daemon starts' lab_weftd
tap 'with the capabilities of the unit' bounded
tap 'it says that it is ready' notified
tap 'a service runs as a container' deployed
load_start close 100 4 --close
tap 'container → unikernel' swap_to unikernel
tap 'unikernel → container' swap_to container
load_stop
tap 'no request was lost' none_failed close 300
tap 'the watchdog is fed' fed
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
