#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The daemon's configuration file: checked, printed, read again while it runs.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh

conf() { printf '%s\n' "$1" >"$LAB_DIR/weftd.conf"; }
weftd_conf() { "$LAB_BUILD/weftd" --config="$LAB_DIR/weftd.conf" "$@"; }
in_log() { tail -n +"$((seen + 1))" "$LAB_DIR/weftd.log" | grep -qE -- "$1"; }
said() { # PATTERN...: after the last reload
	for p in "$@"; do wait_for 10 in_log "$p" || { tail "$LAB_DIR/weftd.log" && return 1; }; done
}
reload() {
	seen=$(wc -l <"$LAB_DIR/weftd.log")
	kill -HUP "$LAB_WEFTD_PID"
}

checked() { conf '{ "mtu": 1400, "log_level": "info" }' && weftd_conf --check-config; }
refused_at() { # TEXT POSITION-AND-MESSAGE
	conf "$1"
	refused 2 "weftd.conf:$2" -- weftd_conf --check-config &&
		refused 2 "weftd.conf:$2" -- weftd_conf --state-dir="$LAB_DIR/other"
}
round_trip() {
	conf '{ "cgroup": "of-weft", "image_keep": 60, "api_calls": "7" }'
	weftd_conf --mtu=1300 --print-config >"$LAB_DIR/printed" &&
		same 'numbers' '[1300,60,7,256,32,10,50103]' "$(jq -c '[.mtu, .image_keep, .api_calls, .api_connections,
			.api_streams, .api_head_timeout, .tunnel_port]' "$LAB_DIR/printed")" &&
		cp "$LAB_DIR/printed" "$LAB_DIR/weftd.conf" &&
		weftd_conf --print-config | diff "$LAB_DIR/printed" -
}
mtu_is() { same 'mtu' "$1" "$(ip -n "$LAB_NS" -j link show weft0 | jq '.[0].mtu')"; }
starts() {
	conf '{ "mtu": 1400, "log_level": "info" }'
	lab_weftd --config="$LAB_DIR/weftd.conf" && mtu_is 1400
}
level_changes() {
	conf '{ "mtu": 1400, "log_level": "debug" }'
	reload
	said 'log_level is debug now' 'configuration read again'
}
mtu_waits() {
	conf '{ "mtu": 1200, "log_level": "debug" }'
	reload
	said 'mtu has changed: it counts from the next start on' && mtu_is 1400
}
error_keeps() {
	conf '{ "mtu": 1200, "log_level": "loud" }'
	reload
	said 'weftd.conf:1:29: log_level=loud: unknown level.*stays as it was' && mtu_is 1400 && lab_weft status
}
restarted() {
	conf '{ "mtu": 1200 }'
	lab_weftd_kill
	lab_weftd --config="$LAB_DIR/weftd.conf" && mtu_is 1200 &&
		has "$(lab_weft doctor)" 'IPv6.*an MTU of 1200 is below'
}
has_ipv6() { ip -n "$LAB_NS" -6 addr show weft0 | grep -c 'scope global'; }
ipv6_back() {
	same 'IPv6 addresses' 0 "$(has_ipv6)" && conf '{ "mtu": 1400 }' && lab_weftd_kill &&
		lab_weftd --config="$LAB_DIR/weftd.conf" && mtu_is 1400 && same 'IPv6 addresses' 1 "$(has_ipv6)"
}

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq; do command -v "$c" >/dev/null || tap_skip_all "$c is not installed"; done
for c in weftd weft; do [ -x "$LAB_BUILD/$c" ] || tap_skip_all "$LAB_BUILD/$c is not built"; done
lab_open e2e-config
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock

tap 'a file is checked' checked
tap 'a number out of range, with its position' refused_at $'{\n  "mtu": 12 }' '2:10: mtu=12 is no MTU'
tap 'an unknown key' refused_at '{ "mtuu": 1400 }' '1:3: unknown key "mtuu"'
tap 'a key twice' refused_at '{ "mtu": 1400, "mtu": 1400 }' '1:'
tap 'a text that is cut off' refused_at '{ "mtu": 1400' '2:1: '
tap 'what is printed can be read' round_trip
tap 'the daemon starts with it' starts
tap 'reload: the log level changes at once' level_changes
tap 'reload: the MTU waits for the next start, and the log says so' mtu_waits
tap 'reload: an error changes nothing' error_keeps
tap 'the next start has it, without IPv6, and doctor says why' restarted
tap 'with a larger MTU IPv6 is there again' ipv6_back
tap 'the lab closes clean' lab_close
tap_end
