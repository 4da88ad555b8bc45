#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The systemd unit is well-formed; the daemon does its whole work with the capabilities that the unit
# names, announces itself, and feeds the watchdog.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

unit=ctrl/systemd/weftd.service
verified() {
	sed "s|/usr/sbin/weftd|$(realpath "$LAB_BUILD/weftd")|" "$unit" >"$LAB_DIR/weftd.service"
	same 'systemd-analyze' '' "$(systemd-analyze verify --man=no "$LAB_DIR/weftd.service" 2>&1 | grep weftd)"
}
capabilities() {
	sed -n 's/^CapabilityBoundingSet=//p' "$unit" | tr ' ' '\n' | sed 's/^CAP_//' | tr '[:upper:]' '[:lower:]' | sort
}
# As mask, of those that this machine lets us have.
mask() {
	local m=0 cap n
	while read -r cap; do
		n=$(grep -nxF "$cap" <<<"$all" | cut -d: -f1)
		[ -n "$n" ] || { echo "no such capability: $cap" >&2 && return 1; }
		m=$((m | 1 << (n - 1)))
	done < <(capabilities)
	printf '%016x\n' $((m & 16#$(bounding self)))
}
bounding() { sed -n 's/^CapBnd:[[:space:]]*//p' "/proc/$1/status"; }
effective() { sed -n 's/^CapEff:[[:space:]]*//p' "/proc/$1/status"; }
dropped() {
	local pid want
	pid=$(weftd_pid) && want=$(mask) || return 1
	same 'bounding set' "$want" "$(bounding "$pid")" && same 'effective set' "$want" "$(effective "$pid")"
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
all=$(setpriv --list-caps) # in the order of their numbers
LAB_WEFTD_AS=(env NOTIFY_SOCKET="$LAB_DIR/notify.sock" WATCHDOG_USEC=4000000)

if command -v systemd-analyze >/dev/null; then
	tap 'systemd finds nothing wrong with the unit' verified
else
	tap 'the unit is well-formed # SKIP systemd-analyze is not installed' true
fi
tap 'the daemon starts' lab_weftd
tap 'it has dropped all capabilities but those of the unit' dropped
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
