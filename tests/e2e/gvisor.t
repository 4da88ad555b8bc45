#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The same image as a container and as a gVisor sandbox: under light load the service goes from the
# container to the sandbox, to a unikernel and back. One lost request fails the test. Then large
# bodies both ways through the sandbox's own network stack; and two daemons of one machine, each
# with a sandbox of the same name.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

page=8000000   # bytes
upload=1000000 # nginx takes up to 1 MiB

swap_to() { lab_weft swap start shop.web --to "$1" --duration 2s --drain 15s --wait --timeout 60; }

# Sentry and gofer are in the group that the numbers come from.
both_charged() {
	local pid group names
	pid=$(lab_weft instance list -o json | jq '.items[] | select(.name == "shop.web.2") | .pid')
	group=$(sed -n 's/^[0-9]*:memory://p' "/proc/$pid/cgroup")
	[ -n "$group" ] || group=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
	names=$(grep -lsF "$group" /proc/[0-9]*/cgroup | cut -d/ -f3 | while read -r p; do
		tr '\0' ' ' <"/proc/$p/cmdline" | cut -d' ' -f1
	done)
	has "$names" '^runsc-sandbox$' '^runsc-gofer$'
}

# The whole page, byte for byte, and again: super-packets leave the sandbox and partial checksums.
download() {
	local i sum
	for i in 1 2 3 4; do
		sum=$(lab_in curl -s --max-time 20 "http://$vip/" | sha256sum) || return 1
		same "page $i" "$PAGE" "$sum" || return 1
	done
}

# nginx reads and forgets the body of a GET, and answers with the page.
upload() {
	head -c $upload /dev/zero >"$LAB_DIR/body"
	same 'upload' "200 $upload" "$(lab_in curl -s --max-time 20 -o /dev/null -H Expect: \
		-X GET --data-binary "@$LAB_DIR/body" -w '%{http_code} %{size_upload}' "http://$vip/")"
}

a_twin() {
	lab_descriptor "$LAB_DIR/twin.json" '.applications[0].microservices[0] |= (.microservice_name = "twin"
		| .addresses.rr_ip = "10.30.0.4" | .virtualization = "gvisor" | .memory = 160 | del(.variants))'
	vip=10.30.0.4
	lab_weft apply -f "$LAB_DIR/twin.json" --wait --timeout 60 && answers_as container &&
		has "$(lab_weft instance exec shop.twin.1 -- nginx -v 2>&1)" "nginx version" || {
		lab_weft instance list
		tail -n 20 "$LAB_DIR/weftd.log"
		return 1
	}
}

# Another daemon, on the containerd of the first.
and_another() (
	WEFT_CONTAINERD=$LAB_CONTAINERD LAB_CONTAINERD_PID='' TAP_OUT=''
	lab_open e2e-gvisor-other
	lab_containerd
	lab_weftd
	a_twin
)

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
if ! why=$("$LAB_BUILD/libexec/weft-runsc" --version 2>&1); then
	tap_skip_all "gVisor does not work here: $(head -n 1 <<<"$why")"
fi
lab_image_nginx
lab_open e2e-gvisor
lab_containerd
lab_weftd
sandbox='.applications[0].microservices[0].variants += [{virtualization: "gvisor", memory: 160}]'
lab_descriptor "$LAB_DIR/shop.json" "$sandbox"

tap 'the service runs as a container' lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60
load_start load 200 8
tap 'container → gvisor' swap_to gvisor
tap 'gVisor is the active variant' active gvisor
tap 'the sandbox serves the same image' answers_as container
tap 'sentry and gofer are charged to the instance' both_charged
tap 'gvisor → unikernel' swap_to unikernel
tap 'the unikernel serves' answers_as unikernel
tap 'unikernel → container' swap_to container
tap 'the container is the active variant' active container
load_stop
tap 'no request was lost' none_failed load 1000

LAB_NGINX=$LAB_DIR/large.tar
scripts/mkimage-nginx.sh "$LAB_NGINX" weft.local/large:latest $page >/dev/null 2>&1
large='.applications[0].microservices[0] |= (.microservice_name = "large" | .addresses.rr_ip = "10.30.0.3"
	| .memory = 256 | .variants = [{virtualization: "gvisor"}])'
lab_descriptor "$LAB_DIR/large.json" "$large"
vip=10.30.0.3
tap 'a large page from a container' lab_weft apply -f "$LAB_DIR/large.json" --wait --timeout 60
PAGE=$(lab_in curl -s --max-time 20 "http://$vip/" | sha256sum)
tap 'the same service as a sandbox' lab_weft swap start shop.large --to gvisor --duration 0.1s \
	--drain 5s --wait --timeout 60
tap 'its network is counted' network_counted shop.large
tap 'large pages come whole' download
tap 'a large body goes in' upload
tap 'a sandbox, and a command in it' a_twin
tap 'one of the same name of another daemon' and_another
tap 'the first one serves on' answers_as container
tap 'the lab closes clean' lab_close
tap_end
