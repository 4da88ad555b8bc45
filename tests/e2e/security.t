#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What SECURITY.md says an instance, a local user and a neighbour cannot do, tried on a running system.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

instance() { lab_weft instance list -o json | jq -r "[.items[] | select(.service == \"shop.web\")][0]$1"; }
drops() { lab_weft dp drops list --all -o json | jq -r ".items[] | select(.reason == \"$1\") | .packets"; }
counted() { # REASON COMMAND...: the command's packets are dropped for it
	local reason=$1 before
	shift
	before=$(drops "$reason")
	"$@"
	wait_for 5 more_drops "$reason" "$before"
}
more_drops() { [ "$(drops "$1")" -gt "$2" ]; }
in_instance() { nsenter --net="/proc/$(instance .pid)/ns/net" "$@"; }
field() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"; }

# --- an instance ---------------------------------------------------------------------------------
# With root's powers in its namespace, which it does not even have.
other_source() {
	local dev
	dev=$(in_instance ip -j route show default | jq -r '.[0].dev') || return 1
	in_instance ip addr add 10.18.0.50/32 dev "$dev"
	counted spoofed_addr in_instance curl -s --max-time 1 --interface 10.18.0.50 -o /dev/null http://10.30.0.2/
	local rc=$?
	in_instance ip addr del 10.18.0.50/32 dev "$dev"
	return $rc
}
other_mac() {
	local dev mac
	dev=$(in_instance ip -j route show default | jq -r '.[0].dev') || return 1
	mac=$(in_instance ip -j link show "$dev" | jq -r '.[0].address')
	in_instance ip link set "$dev" address 02:11:22:33:44:55
	counted spoofed_mac in_instance curl -s --max-time 1 -o /dev/null http://10.30.0.2/
	local rc=$?
	in_instance ip link set "$dev" address "$mac"
	return $rc
}
still_served() { wait_for 10 answers_as container; }
# A container's default capabilities are few, and a setuid program gains it none.
container_confined() {
	local pid
	pid=$(instance .pid)
	echo "CapBnd $(field "$pid" CapBnd)"
	same 'no_new_privs' 1 "$(field "$pid" NoNewPrivs)" && same 'seccomp' 2 "$(field "$pid" Seccomp)" &&
		[ $((16#$(field "$pid" CapBnd) & (1 << 21 | 1 << 12 | 1 << 19 | 1 << 16 | 1 << 39))) = 0 ]
}
qemu_confined() {
	local pid uid
	pid=$(instance .pid)
	uid=$(field "$pid" Uid | cut -f1)
	echo "uid $uid"
	[ "$uid" != 0 ] && same 'no_new_privs' 1 "$(field "$pid" NoNewPrivs)" && same 'seccomp' 2 "$(field "$pid" Seccomp)" &&
		same 'capabilities' 0000000000000000 "$(field "$pid" CapEff)"
}

# --- a user of this machine ----------------------------------------------------------------------
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
socket_closed() {
	! as_nobody curl -s --max-time 5 --unix-socket "$LAB_SOCKET" http://weftd/v1/status &&
		same 'mode' 660 "$(stat -c %a "$LAB_SOCKET")"
}
state_closed() { ! as_nobody ls "$LAB_DIR/state" && same 'mode' 700 "$(stat -c %a "$LAB_DIR/state")"; }
maps_closed() { ! as_nobody ls "$LAB_BPFFS" && same 'mode' 700 "$(stat -c %a "$LAB_BPFFS")"; }

# --- a neighbour on the network ------------------------------------------------------------------
nothing_listens() {
	local all
	all=$(lab_in ss -Hltun) && same 'listening sockets' '' "$(grep -v '127\.0\.0\.1\|\[::1\]' <<<"$all")"
}

# --- the log -------------------------------------------------------------------------------------
no_secrets() {
	printf '{"auths": {"localhost:9": {"username": "u", "password": "s3cr3t-pa55"}}}' >"$LAB_DIR/registries.json"
	chmod 600 "$LAB_DIR/registries.json"
	lab_weftd_kill
	lab_weftd --registries="$LAB_DIR/registries.json" --log-level=debug || return 1
	jq '.applications[0].application_name = "pull" | .applications[0].microservices[0] |= (
		.code = "localhost:9/a:b" | .addresses.rr_ip = "10.30.0.3" | del(.variants))' \
		"$LAB_DIR/shop.json" >"$LAB_DIR/pull.json"
	lab_weft apply -f "$LAB_DIR/pull.json" --wait --timeout 10
	grep -q 'localhost:9' "$LAB_DIR/weftd.log" && ! grep -E 's3cr3t|dTpzM2NyM3QtcGE1NQ' "$LAB_DIR/weftd.log"
}
readable_by_others() {
	chmod 644 "$LAB_DIR/registries.json"
	lab_weft service delete pull.web --wait --timeout 20
	lab_weft apply -f "$LAB_DIR/pull.json" --wait --timeout 10
	has "$(lab_weft service show pull.web -o json)$(tail -n 20 "$LAB_DIR/weftd.log")" 'registries\.json: it has passwords, and others may read it'
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
for c in setpriv ss; do command -v "$c" >/dev/null || tap_skip_all "$c is not installed"; done
lab_image_nginx
lab_open e2e-security
lab_containerd
lab_weftd
lab_descriptor "$LAB_DIR/shop.json"

tap 'a service runs as a container' lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60
tap 'an instance cannot send from an address that is not its own' other_source
tap 'nor from another hardware address' other_mac
tap 'and serves on' still_served
tap 'a container has few capabilities, seccomp, and gains no privileges' container_confined
tap 'a unikernel takes its place' swap_to unikernel
tap 'qemu has no privileges, no capabilities, and seccomp' qemu_confined
tap "another user cannot talk to the daemon's socket" socket_closed
tap 'nor look into its state' state_closed
tap 'nor at its maps' maps_closed
tap 'nothing listens to the network' nothing_listens
tap "a registry's password is not in the log" no_secrets
tap 'a file of passwords that others can read is refused' readable_by_others
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
