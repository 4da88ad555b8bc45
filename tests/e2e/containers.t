#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A container as its descriptor wants it: its image pulled from a registry, with limits and a volume;
# then what people do to it: exec, pause, resume, logs; and a weftd killed meanwhile.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

# A registry to read from is a tree of files: what nginx sends is slow enough to be watched.
registry_start() {
	local root=$LAB_DIR/registry layout=$LAB_DIR/layout manifest
	mkdir -p "$layout" "$root/v2/shop/web/manifests" "$root/v2/shop/web/blobs"
	tar -xf "$LAB_NGINX" -C "$layout"
	for blob in "$layout"/blobs/sha256/*; do
		cp "$blob" "$root/v2/shop/web/blobs/sha256:${blob##*/}"
	done
	manifest=$(jq -r '.manifests[0].digest' "$layout/index.json")
	cp "$layout/blobs/sha256/${manifest#sha256:}" "$root/v2/shop/web/manifests/1.0"
	cat >"$LAB_DIR/registry.conf" <<-EOF
		daemon off; user root; pid $LAB_DIR/registry.pid; error_log $LAB_DIR/registry.log;
		events {}
		http {
			access_log $LAB_DIR/registry.access;
			server {
				listen 127.0.0.1:5000; root $root;
				default_type application/vnd.oci.image.manifest.v1+json;
				location ~ /blobs/ { limit_rate 2m; }
			}
		}
	EOF
	nsenter --net="/run/netns/$LAB_NS" nginx -c "$LAB_DIR/registry.conf" >/dev/null 2>&1 </dev/null &
	REGISTRY=$!
	echo '{"registries": {"127.0.0.1:5000": {"insecure": true}}}' >"$LAB_DIR/registries.json"
	wait_for 10 lab_in curl -sf -o /dev/null http://127.0.0.1:5000/v2/shop/web/manifests/1.0
}

# "shop.web.1": the one there is.
name() { lab_weft instance list -o json | jq -r '.items[0].id'; }
instance() { lab_weft instance show "$(name)" -o json | jq -r "$1"; }
detail_is() { grep -qE "$1" <<<"$(instance .detail)"; }
is_ready() { [ "$(instance .phase)" = ready ]; }
page_is() { same page "$1" "$(lab_in curl -s --max-time 5 "http://$vip/")"; }
no_page() { ! lab_in curl -s --max-time 1 "http://$vip/"; }

limits_hold() {
	local pid group
	pid=$(instance .pid)
	group=$(sed -n 's/^[0-9]*:cpu[^:]*:\(.*shop\.web.*\)/\1/p' "/proc/$pid/cgroup" | head -n 1)
	[ -n "$group" ] || group=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
	grep -qsE '^50000' "/sys/fs/cgroup/cpu$group/cpu.cfs_quota_us" \
		"/sys/fs/cgroup$group/cpu.max" || return 1
	grep -qsx 40 "/sys/fs/cgroup/pids$group/pids.max" "/sys/fs/cgroup$group/pids.max"
}

exec_says() {
	has "$(lab_weft instance exec "$(name)" -- /usr/sbin/nginx -v)" 'nginx version: nginx/1'
}
exec_status() {
	lab_weft instance exec "$(name)" -- /usr/sbin/nginx -Q >/dev/null
	same status 1 $?
}
exec_refused() {
	refused 1 "exec /no/such: .*no such file" -- lab_weft instance exec "$(name)" -- /no/such &&
		refused 3 'no such instance' -- lab_weft instance exec shop.web.99 -- /x &&
		refused 2 'is missing' -- lab_weft instance exec "$(name)"
}

paused_over_restart() {
	lab_weftd_kill
	lab_weftd --registries="$LAB_DIR/registries.json"
	wait_for 20 detail_is '^paused$'
}

log_has() {
	lab_in curl -s -o /dev/null --max-time 5 "http://$vip/missing"
	wait_for 10 logged 'srv/www/missing.*No such file'
}
logged() { lab_weft logs "$(name)" | grep -q "$1"; }
costs_told() { instance 'select(.helper_memory_bytes > 0 and .memory_bytes > 0) | .id' | grep -q .; }

redeployed_without_registry() {
	lab_weft service delete shop.web --wait --timeout 60 || return 1
	lab_end "$REGISTRY"
	lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60
}

unknown_registry() {
	lab_descriptor "$LAB_DIR/away.json" "$away" && lab_weft apply -f "$LAB_DIR/away.json" || return 1
	wait_for 60 service_says 'registry.invalid: no such host'
	lab_weft service delete shop.away --wait --timeout 60
}
service_says() { grep -qE "$1" <<<"$(lab_weft service show shop.away -o json | jq -r .detail)"; }

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_image_nginx
lab_open e2e-containers
lab_containerd
registry_start
lab_weftd --registries="$LAB_DIR/registries.json"
mkdir "$LAB_DIR/www"
echo 'from the node' >"$LAB_DIR/www/index.html"
wanted='.applications[0].microservices[0] |= (.variants = [] | .code = "127.0.0.1:5000/shop/web:1.0"
	| .cpu_limit = 0.5 | .cpu_weight = 200 | .pids_limit = 40 | .log_limit = 1
	| .volumes = [{host_path: "'$LAB_DIR/www'", mount_path: "/srv/www", read_only: true}])'
away='.applications[0].microservices[0] |= (.variants = [] | .microservice_name = "away"
	| .addresses.rr_ip = "10.30.0.9" | .code = "registry.invalid/a/b:c")'
lab_descriptor "$LAB_DIR/shop.json" "$wanted"

tap 'it is applied' lab_weft apply -f "$LAB_DIR/shop.json"
tap 'the pull can be watched' wait_for 30 detail_is '^image: [0-9.]+ of [0-9.]+ MB'
tap 'it runs' wait_for 60 is_ready
tap 'the volume is seen' page_is 'from the node'
tap 'limits hold' limits_hold
tap 'what it costs beside is told' costs_told
tap 'its network is counted' network_counted
tap 'exec' exec_says
tap "the command's status is passed on" exec_status
tap 'exec that cannot be' exec_refused
tap 'its log' log_has
tap 'pause' lab_weft instance pause "$(name)"
tap 'it says so' detail_is '^paused$'
tap 'nobody answers' no_page
tap 'a weftd that is killed: the next one knows' paused_over_restart
tap 'resume' lab_weft instance resume "$(name)"
tap 'it answers again' page_is 'from the node'
tap 'the registry is away: the image is still here' redeployed_without_registry
tap 'and serves' page_is 'from the node'
tap 'a registry that does not exist is named' unknown_registry
dir=$LAB_DIR
tap 'the lab closes clean' lab_close
tap 'nothing is left' nothing_left "$dir"
tap_end
