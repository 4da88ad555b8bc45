#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Guests as their descriptors want them: memory, processors, limits, arguments, environment and
# volumes reach qemu; and a Linux VM with a real nginx in it, whose second instance starts from the
# checkpoint that was made behind the first one; and one with two queues and a volume. The VMs take
# kernels' packages that may have to be downloaded: without one they are left out.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

vm=$LAB_BUILD/images/vm.tar.gz
name() { lab_weft instance list -o json | jq -r ".items[$1].id"; }
instance() { lab_weft instance show "$(name 0)" -o json | jq -r "$1"; }
words() { tr '\0' ' ' <"/proc/$(instance .pid)/cmdline"; }

deploys() {
	mkdir -p "$LAB_DIR/data"
	lab_descriptor "$LAB_DIR/shop.json" ".applications[0].microservices[0] |= (
		.virtualization = \"unikernel\" | .code = .variants[0].code | del(.variants) | .arch = [\"amd64\"]
		| .memory = 48 | .vcpus = 2 | .cpu_limit = 0.5 | .pids_limit = 70 | .log_limit = 1
		| .cmd = [\"keepalive=5\", \"spin=0\"] | .environment = [\"GREETING=hello there\"]
		| .volumes = [{host_path: \"$LAB_DIR/data\", mount_path: \"/data\", read_only: true}])"
	lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60 && answers_as .
}

is_told() {
	local all
	all=$(words)
	has "$all" ' -m 48M ' 'size=48M' ' -smp 2 ' || return 1
	has "$(lab_weft logs "$(name 0)")" 'qemu microvm on (KVM|TCG: .+), 2 vCPU' || return 1
	has "$all" "path=$LAB_DIR/data,security_model=none,readonly=on" 'mount_tag=m0' || return 1
	has "$all" 'vfs.fstab=\[ "m0:/data:9pfs" \]' 'env.vars=\[ "GREETING=hello there" \]' '-- keepalive=5 spin=0 *$'
}

# One of v1's and v2's files has it.
limit() { # CONTROLLER V1-FILE V2-FILE PATTERN
	local group
	group=$(sed -n "s/^[0-9]*:[^:]*\b$1\b[^:]*:\(.*shop\.web.*\)/\1/p" "/proc/$(instance .pid)/cgroup" | head -n 1)
	[ -n "$group" ] || group=$(sed -n 's/^0:://p' "/proc/$(instance .pid)/cgroup")
	grep -qsE "$4" "/sys/fs/cgroup/$1$group/$2" "/sys/fs/cgroup$group/$3" || {
		echo "$1 of $group:" && cat "/sys/fs/cgroup/$1$group/$2" "/sys/fs/cgroup$group/$3"
		return 1
	}
}

# The guest's memory and what qemu itself may take; a thread for each processor beside qemu's own.
is_limited() {
	limit cpu cpu.cfs_quota_us cpu.max '^50000' &&
		limit memory memory.limit_in_bytes memory.max "^$(((48 + 384) << 20))\$" &&
		limit pids pids.max pids.max '^[0-9]+$'
}

counts() {
	[ "$(instance .memory_bytes)" -gt 10000000 ] && [ "$(instance .cpu_ns)" -gt 10000000 ] &&
		same 'virtualization' unikernel "$(instance .virtualization)"
}

vm_serves() {
	lab_descriptor "$LAB_DIR/vm.json" ".applications[0].microservices[0] |= (
		.virtualization = \"unikernel\" | .code = \"file://$vm\" | del(.variants) | .arch = [\"amd64\"]
		| .memory = 192 | .readiness.timeout_s = 240)"
	lab_weft apply -f "$LAB_DIR/vm.json" --wait --timeout 240 &&
		has "$(lab_in curl -s --max-time 20 "http://$vip/")" 'hello from a virtual machine'
}

checkpoint() { find "$LAB_DIR/state/qemu/images" -path '*/warm/*' -name seal.json | grep -v '\.part/' | grep -q .; }
two_ready() { [ "$(lab_weft service show shop.web -o json | jq .ready)" = 2 ]; }

second_is_warm() { # FILE TEXT
	local i
	wait_for 240 checkpoint || return 1
	jq '.applications[0].microservices[0].replicas = 2' "$1" >"$LAB_DIR/two.json"
	lab_weft apply -f "$LAB_DIR/two.json" --wait --timeout 240 && wait_for 240 two_ready || return 1
	for i in 0 1; do lab_weft logs "$(name $i)"; done | grep -q ', from a checkpoint' || {
		for i in 0 1; do lab_weft logs "$(name $i)"; done
		return 1
	}
	for i in 1 2 3 4; do # each of the two
		has "$(lab_in curl -s --max-time 20 "http://$vip/")" "$2" || return 1
	done
}

# The same on the older of qemu's machines.
on_pc() {
	mkdir "$LAB_DIR/pc" && tar -C "$LAB_DIR/pc" -xzf "$vm" && jq '.machine = "pc" | .warm = "no"' "$LAB_DIR/pc/weft.json" \
		>"$LAB_DIR/pc.json" && mv "$LAB_DIR/pc.json" "$LAB_DIR/pc/weft.json" &&
		tar -C "$LAB_DIR/pc" -c kernel initrd.cpio weft.json | gzip -1 >"$LAB_DIR/pc.tar.gz" || return 1
	lab_descriptor "$LAB_DIR/pc.json" ".applications[0].microservices[0] |= (
		.virtualization = \"unikernel\" | .code = \"file://$LAB_DIR/pc.tar.gz\" | del(.variants) | .arch = [\"amd64\"]
		| .memory = 192 | .readiness.timeout_s = 240)"
	lab_weft apply -f "$LAB_DIR/pc.json" --wait --timeout 240 &&
		has "$(lab_in curl -s --max-time 20 "http://$vip/")" 'hello from a virtual machine' &&
		has "$(words)" ' -M pc,' && lab_weft service delete shop.web --wait && lab_weft image prune
}

# What its image can, and would not by itself.
asked_for() {
	lab_descriptor "$LAB_DIR/asked.json" ".applications[0].microservices[0] |= (
		.virtualization = \"unikernel\" | .code = .variants[0].code | del(.variants) | .arch = [\"amd64\"]
		| .memory = 48 | .warm_start = true)"
	lab_weft service delete shop.web --wait && lab_weft apply -f "$LAB_DIR/asked.json" --wait --timeout 60 &&
		second_is_warm "$LAB_DIR/asked.json" . && lab_weft service delete shop.web --wait && lab_weft image prune
}

# Each of its processors has a queue of its own, and connections go by both; what it serves is the
# host's file, and what it writes is in the host's directory.
two_queues_and_a_volume() {
	local i
	mkdir -p "$LAB_DIR/www" "$LAB_DIR/out put" && chmod 777 "$LAB_DIR/out put" && echo 'a file of the host' >"$LAB_DIR/www/index.html"
	lab_descriptor "$LAB_DIR/wide.json" ".applications[0].microservices[0] |= (
		.virtualization = \"unikernel\" | .code = \"file://$wide\" | del(.variants) | .arch = [\"amd64\"]
		| .memory = 192 | .vcpus = 2 | .readiness.timeout_s = 240 | .log_limit = 1
		| .cmd = [\"sh\", \"-c\", \"while :; do grep input /proc/interrupts >/out/seen; usleep 500000; done\"]
		| .volumes = [{host_path: \"$LAB_DIR/www\", mount_path: \"/srv/www\", read_only: true},
			{host_path: \"$LAB_DIR/out put\", mount_path: \"/out\"}])"
	lab_weft apply -f "$LAB_DIR/wide.json" --wait --timeout 240 || return 1
	wait_for 60 has_queues 2 && has "$(words)" 'fds=[0-9]+:[0-9]+,' || {
		lab_weft logs "$(name 0)"
		return 1
	}
	for i in {1..40}; do
		has "$(lab_in curl -s --max-time 20 "http://$vip/")" 'a file of the host' || return 1
	done
	wait_for 60 both_queues || {
		cat "$LAB_DIR/out put/seen"
		return 1
	}
	lab_weft service delete shop.web --wait && lab_weft image prune
}
has_queues() { has "$(lab_weft logs "$(name 0)")" "weft-guest: up, $1 queues"; }
# Lines of /proc/interrupts: "26:  10  0  PCI-MSI 32769-edge  virtio0-input.0".
both_queues() {
	awk '$NF ~ /input\.[01]$/ && $2 + $3 > 0 {n++} END {exit n != 2}' "$LAB_DIR/out put/seen"
}

# A checkpoint goes with its image.
goes() {
	lab_weft service delete shop.web --wait && lab_weft image prune &&
		same 'files' '' "$(find "$LAB_DIR/state/qemu/images" -name 'kernel' -o -name 'ram')"
}

lab_check guests
wide=$LAB_BUILD/images/vm-wide.tar.gz
why_no_vm=$([ -e "$vm" ] || timeout 240 scripts/mkimage-vm.sh "$vm" 2>&1)
why_no_wide=$([ -e "$wide" ] || KERNEL=generic QUEUES=2 timeout 240 scripts/mkimage-vm.sh "$wide" httpd 2>&1)
lab_image_nginx
lab_open guests
lab_containerd
lab_weftd
tap 'a guest runs with all that its descriptor says' deploys
tap 'its qemu was told memory, processors, volume, environment and arguments; its log names the accelerator' is_told
tap 'it has the limits' is_limited
tap 'what it uses is counted' counts
tap 'so is its network' network_counted
tap 'the second one of a guest that is asked to starts from a checkpoint' asked_for
if [ -e "$vm" ]; then
	tap 'a Linux VM serves with a real nginx' vm_serves
	tap 'its second one starts from a checkpoint' second_is_warm "$LAB_DIR/vm.json" 'hello from a virtual machine'
	tap 'the checkpoint goes with its image' goes
	tap 'it serves on machine pc as well' on_pc
else
	tap_skip 'a Linux VM' "no image: $(tail -n 1 <<<"$why_no_vm")"
fi
if [ -e "$wide" ]; then
	tap 'a Linux VM with two queues and volumes uses all of them' two_queues_and_a_volume
else
	tap_skip 'a Linux VM with two queues and volumes' "no image: $(tail -n 1 <<<"$why_no_wide")"
fi
tap_end
