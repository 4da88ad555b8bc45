#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctrl/schema/openapi.json: whole, and true of a weftd that is asked its examples.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq nginx; do command -v "$c" >/dev/null || tap_skip_all "$c is not installed"; done
/usr/bin/python3 -c 'import jsonschema' 2>/dev/null || tap_skip_all 'python3-jsonschema is not installed'
for c in weftd weft guest/weft-guest.tar.gz; do [ -e "$LAB_BUILD/$c" ] || tap_skip_all "$LAB_BUILD/$c is not built"; done
lab_open e2e-openapi
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
nginx_conf

starts() { lab_weftd; }
device() { # that an example attaches
	lab_in ip link add db0 type veth peer name db1 && lab_in ip link set db0 up && lab_in ip link set db1 up
}
local_texts() {
	cp "$LAB_BUILD/guest/weft-guest.tar.gz" "$LAB_DIR/web.tar.gz" &&
		jq -n --arg dir "$LAB_DIR" '{"/srv/nginx.conf": "\($dir)/nginx.conf", "/srv/web.tar.gz": "\($dir)/web.tar.gz"}' \
			>"$LAB_DIR/local.json"
}
say_and_fail() { echo "$1" && false; }
all_as_said() {
	local line name
	while read -r line; do
		case $line in
		ok\ *) tap "${line#* - }" true ;;
		not\ ok\ *)
			name=${line#* - }
			read -r line
			tap "$name" say_and_fail "$line"
			;;
		esac
	done <"$LAB_DIR/replayed"
}

tap 'it describes each route, and nothing else' tests/lib/openapi.py check
tap 'weftd starts' starts
tap 'an interface to attach' device
tap 'what is elsewhere on this machine' local_texts
tests/lib/openapi.py replay "$LAB_SOCKET" "$LAB_DIR/local.json" >"$LAB_DIR/replayed" 2>&1
all_as_said
tap 'each example was asked' same 'operations' "$(jq '[.paths[][]] | length' ctrl/schema/openapi.json)" \
	"$(grep -cE '^(not )?ok ' "$LAB_DIR/replayed")"
tap 'the lab closes clean' lab_close
tap_end
