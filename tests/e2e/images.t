#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Images over the API: of containers and unikernels together, fetched, listed, kept while somebody
# wants them, and removed when nobody does.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh

image() { lab_weft image "$@"; }
items() { image list -o json | jq -r ".items$1"; }
count() { items '| length'; }
url=http://127.0.0.1:8099/guest.tar.gz

serve() { # the guest's image, as a web server has it
	mkdir -p "$LAB_DIR/www"
	cp "$LAB_BUILD/guest/weft-guest.tar.gz" "$LAB_DIR/www/guest.tar.gz"
	setsid nsenter --net="/run/netns/$LAB_NS" busybox httpd -f -p 127.0.0.1:8099 -h "$LAB_DIR/www" &
	wait_for 10 lab_in curl -sfo /dev/null "$url"
}

pulls() {
	same 'images' 0 "$(count)" &&
		image pull "$url" unikernel && image pull "$url" unikernel &&
		same 'images' 1 "$(count)" && same 'its name' "$url" "$(items '[0].names[0]')" &&
		same 'its architecture' amd64 "$(items '[0].arch')" &&
		[ "$(items '[0].bytes')" -gt 10000 ]
}

refuses() {
	local out
	out=$(image pull "http://127.0.0.1:8099/none.tar.gz" unikernel 2>&1) && return 1
	has "$out" 'none.tar.gz' '404' || return 1
	out=$(image pull "$url" spaceship 2>&1) && return 1
	has "$out" 'spaceship' || return 1
	out=$(image remove nothing-like-it 2>&1)
	same 'exit status' 3 $? && has "$out" 'no such image'
}

deploys() {
	lab_descriptor "$LAB_DIR/shop.json" ".applications[0].microservices[0].variants[0].code = \"$url\""
	lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60 &&
		same 'images' 2 "$(count)" &&
		same 'who wants them' shop.web "$(items '[].services[]' | sort -u)" &&
		same 'instances of the container' 1 "$(items '[] | select(.runtime == "containerd") | .instances')"
}

# What is wanted stays, whoever asks for its end.
keeps() {
	local out
	out=$(image remove "$url" 2>&1)
	same 'exit status' 4 $? && has "$out" 'wants it' || return 1
	image prune && same 'images' 2 "$(count)"
}

without_service() { lab_weft service list -o json | jq -e '.items == []'; }

prunes() {
	local id
	lab_weft service delete shop.web && wait_for 60 without_service || return 1
	id=$(items '[] | select(.runtime == "qemu") | .id')
	image remove "${id:7:8}" && same 'images' 1 "$(count)" || return 1
	image prune && same 'images' 0 "$(count)" &&
		same 'content' '' "$(ctr -a "$LAB_CONTAINERD" -n weft content ls -q)" &&
		same 'snapshots' 1 "$(ctr -a "$LAB_CONTAINERD" -n weft snapshots ls | wc -l)" &&
		same 'unpacked' '' "$(find "$LAB_DIR/state/qemu/images" -name kernel)"
}

gone() { [ "$(count)" = 0 ]; }

# Across a restart, and by itself.
collects() {
	image pull "$url" unikernel || return 1
	lab_weftd_kill
	lab_weftd --image-keep=2
	same 'its name' "$url" "$(items '[0].names[0]')" && wait_for 60 gone &&
		has "$(lab_weft events -o json)" '"kind":"image","action":"removed"'
}

name_of() { items "[] | select(.runtime == \"$1\") | .names[0]"; } # RUNTIME
named() { [ "$(name_of containerd)" = "file://$LAB_NGINX" ]; }
absent() { [ ! -e "$1" ]; }
lost() { grep -qF -- "$1: it is not there any more" "$LAB_DIR/weftd.log"; }

restarts() {
	lab_weftd_kill
	lab_weftd "$@"
}

fetched() { # the unikernel: id, and dir in the cache
	image pull "$url" unikernel || return 1
	id=$(items '[] | select(.runtime == "qemu") | .id')
	dir=$LAB_DIR/state/qemu/images/${id#sha256:}
	[ -e "$dir" ]
}

# What a runtime has that is away when images are collected keeps its record.
remembers() {
	local id dir
	restarts && image pull "file://$LAB_NGINX" container && fetched || return 1
	lab_probed() { lab_weft status; } # that containerd works is not waited for any more
	lab_end "$LAB_CONTAINERD_PID" KILL
	restarts --image-keep=2 && wait_for 60 absent "$dir"
	lab_weftd_kill
	lab_containerd
	lab_weftd && wait_for 60 named
}

# Killed when the runtime had removed one, and its record was still there.
forgets() {
	local id dir
	fetched || return 1
	lab_weftd_kill
	mv "$dir" "$LAB_DIR/away"
	lab_weftd --image-keep=2
	wait_for 60 lost "$id" || return 1
	lab_weftd_kill
	mv "$LAB_DIR/away" "$dir"
	lab_weftd
	same 'its name' null "$(name_of qemu)"
}

# A runtime that is away is said, and the other's images are still shown.
half() {
	local out
	image pull "$url" unikernel || return 1
	lab_end "$LAB_CONTAINERD_PID" KILL
	out=$(image list 2>&1)
	lab_containerd
	has "$out" 'warning: .*containerd' "$url"
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
command -v busybox >/dev/null || tap_skip_all 'busybox is not installed'
lab_image_nginx
lab_open images
lab_containerd
lab_weftd
tap 'a web server has an image' serve
tap 'a unikernel is fetched by URL, once' pulls
tap 'what cannot be had is said' refuses
tap 'a service runs from it, and from a container image' deploys
tap 'what is wanted stays' keeps
tap 'what nobody wants goes, whole' prunes
tap 'by itself too, after a while' collects
tap 'what a runtime has that is away meanwhile is remembered' remembers
tap 'what is gone without our doing is forgotten' forgets
tap 'a runtime that is away is said' half
tap 'the lab closes clean' lab_close
tap_end
