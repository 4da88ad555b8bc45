#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bad input to the running system: each is refused with what, which object, why and the next step,
# and the service goes on serving.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh

serves() { has "$(lab_in curl -s --max-time 5 http://10.30.0.2/)" container; }
apply() { lab_descriptor "$LAB_DIR/x.json" "$1" && lab_weft apply -f "$LAB_DIR/x.json"; }
unikernel_image() { # NAME FILE...: a tar.gz with these files
	local name=$1
	shift
	tar -czf "$LAB_DIR/$name.tar.gz" -C "$LAB_DIR/img" "$@"
}
variant() { # FILE: shop.web with that unikernel image
	apply ".applications[0].microservices[0].variants[0].code = \"$1\"" >/dev/null
}

# A swap with a bad image turns back by itself, says why, and the container serves all along.
turned_back() { # IMAGE PATTERN...
	local image=$1 id
	shift
	variant "$image" || return 1
	refused 1 "$@" -- lab_weft swap start shop.web --to unikernel --wait --timeout 60 || return 1
	id=$(lab_weft swap list -o json | jq -r '.items[0].id')
	same 'state' rolled-back "$(lab_weft swap show "$id" -o json | jq -r .state)" &&
		same 'instances' 1 "$(lab_weft instance list -o json | jq '.items | length')" && serves
}

silent_guest() {
	local bad=0 n=0 pid
	apply '.applications[0].microservices[0] |= (.readiness.timeout_s = 3
		| .variants[0].cmd = ["port=81"])' >/dev/null || return 1
	lab_weft swap start shop.web --to unikernel --wait --timeout 60 >"$LAB_DIR/swap.out" 2>&1 &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		serves >/dev/null || bad=$((bad + 1))
		n=$((n + 1))
	done
	if wait $pid; then echo 'the swap succeeded'; return 1; fi
	echo "$n requests, $bad failed"
	[ "$bad" = 0 ] && [ "$n" -gt 20 ] &&
		has "$(cat "$LAB_DIR/swap.out")" 'did not become ready' 'no answer from 10\.18\.0\.[0-9]+:80' \
			'hint: '
}

second_swap() {
	lab_descriptor "$LAB_DIR/x.json" && lab_weft apply -f "$LAB_DIR/x.json" >/dev/null || return 1
	lab_weft swap start shop.web --to unikernel --duration 20s >/dev/null || return 1
	refused 4 'swap [0-9a-f]+ is running already' 'hint: weft swap watch' -- \
		lab_weft swap start shop.web --to unikernel || return 1
	refused 4 'is running' -- lab_weft service delete shop.web || return 1
	local id
	id=$(lab_weft swap list -o json | jq -r '.items[0].id')
	lab_weft swap abort "$id" --wait --timeout 30 || :
	wait_for 30 swap_is "$id" rolled-back && serves
}
swap_is() { [ "$(lab_weft swap show "$1" -o json | jq -r .state)" = "$2" ]; }

port_taken() {
	apply '.applications[0].microservices[0].port = "18080:80"' >/dev/null || return 1
	lab_descriptor "$LAB_DIR/x.json" '.applications[0].application_name = "other"
		| .applications[0].microservices[0] |= (.addresses = {} | .port = "18080:80/tcp")'
	refused 4 'other\.web: port 18080/tcp is already published by shop\.web' 'hint: ' -- \
		lab_weft apply -f "$LAB_DIR/x.json"
}

address_taken() {
	lab_descriptor "$LAB_DIR/x.json" '.applications[0].application_name = "other"'
	refused 4 'address 10\.30\.0\.2 is already taken by shop\.web' -- lab_weft apply -f "$LAB_DIR/x.json"
}

malformed() {
	printf '{\n  "sla_version": "v2.0",\n  "customerID": "x"\n  "applications": []\n}\n' >"$LAB_DIR/x.json"
	refused 2 'x\.json:4:' -- lab_weft apply -f "$LAB_DIR/x.json" || return 1
	lab_descriptor "$LAB_DIR/x.json" '.applications[0].microservices[0].memory = "much"'
	refused 2 'x\.json:[0-9]+:[0-9]+: applications\[0\]\.microservices\[0\]\.memory' -- \
		lab_weft apply -f "$LAB_DIR/x.json" || return 1
	has "$(curl -s --unix-socket "$LAB_SOCKET" -d '{"service": "shop.web",, }' http://weft/v1/swaps)" \
		'"malformed"' 'line 1 column'
}

second_weftd() {
	refused 4 'another weftd uses it' 'hint: ' -- \
		lab_in "$LAB_BUILD/weftd" --state-dir="$LAB_DIR/state" --socket="$LAB_DIR/other.sock"
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_image_nginx
lab_open e2e-refusals
lab_containerd
lab_weftd
mkdir "$LAB_DIR/img"
printf '#!/bin/sh\necho hello\n' >"$LAB_DIR/img/kernel"
printf 'x' >"$LAB_DIR/img/other"
unikernel_image script kernel
unikernel_image empty other
head -c 3000 build/guest/weft-guest.tar.gz >"$LAB_DIR/short.tar.gz"

lab_descriptor "$LAB_DIR/shop.json"
tap 'the service runs' lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60
tap 'unknown service' refused 3 'service shop\.wob: no such service' 'hint: weft service list' -- \
	lab_weft swap start shop.wob --to unikernel
tap 'a variant that it does not have' refused 3 'shop\.web has no variant native' 'container, unikernel' \
	'hint: ' -- lab_weft swap start shop.web --to native
tap 'no virtualization at all' refused 2 'toaster' -- lab_weft swap start shop.web --to toaster
tap 'the variant that runs already' refused 4 'runs as container already' -- \
	lab_weft swap start shop.web --to container
tap 'a missing image' refused 3 'unikernel: image /nowhere/x\.tar\.gz: No such file' 'hint: ' -- \
	variant /nowhere/x.tar.gz
tap 'an image that is no kernel' turned_back "$LAB_DIR/script.tar.gz" 'script\.tar\.gz' 'kernel' '#!/bin/sh'
tap 'an image without a kernel' turned_back "$LAB_DIR/empty.tar.gz" 'empty\.tar\.gz' 'kernel'
tap 'a truncated image' turned_back "$LAB_DIR/short.tar.gz" 'short\.tar\.gz' 'truncated'
tap 'a guest that never answers: rolled back, nobody notices' silent_guest
tap 'a second swap while one runs' second_swap
tap 'malformed JSON has its position' malformed
tap 'a port already taken' port_taken
tap 'an address already taken' address_taken
tap 'a second weftd on the same state' second_weftd
tap 'the service still serves' serves
tap_end
