#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Before anything is installed or built: can `make demo` and `make test` work here at all? Says all
# that is in the way at once, with the next step each.
set -uo pipefail
target=${1:-test}
wrong=0

lacks() {
	printf 'error: make %s: %s\n' "$target" "$1" >&2
	printf 'hint: %s\n' "$2" >&2
	wrong=1
}

[ "$(id -u)" = 0 ] || lacks 'not root; it makes network namespaces and loads BPF programs' "sudo make $target"
command -v dpkg-query >/dev/null || lacks 'this is not a Debian system (no dpkg)' \
	'use Debian 12, or install what scripts/deps.sh names by hand and run make and tests/run.sh'
IFS=.- read -r major minor _ < <(uname -r)
if [ "$((major * 1000 + minor))" -lt 5015 ]; then
	lacks "Linux $(uname -r) is too old for the data plane" 'boot Linux 5.15 or later; Debian 12 has 6.1'
fi
[ -e /sys/kernel/btf/vmlinux ] || lacks 'this kernel has no BTF (/sys/kernel/btf/vmlinux)' \
	'boot a kernel with CONFIG_DEBUG_INFO_BTF=y, such as Debian'\''s'
[ -e /dev/net/tun ] || lacks 'there is no /dev/net/tun, which qemu'\''s devices need' 'modprobe tun'
if [ ! -d /sys/fs/bpf ] || ! grep -qw bpf /proc/filesystems; then
	lacks 'there is no /sys/fs/bpf: this kernel or container has no BPF filesystem' \
		'run on the host, or in a container with --privileged'
fi
grep -qE ' - cgroup2? ' /proc/self/mountinfo || lacks 'control groups are not mounted' \
	'mount -t cgroup2 none /sys/fs/cgroup'
# Instances' devices, tried in a network namespace of their own once ip(8) is there.
device() { # KIND WHO COMMAND
	unshare --net sh -c "$3" 2>/dev/null || lacks "this kernel has no $1, which $2 need" \
		"modprobe $1, or boot a kernel that has it; Debian's does"
}
if [ "$(id -u)" = 0 ] && command -v ip >/dev/null; then
	veth='ip link add weft0 type veth peer name weft1'
	device veth containers "$veth"
	device macvtap guests "$veth && ip link add link weft0 name weft2 type macvtap mode bridge"
fi
exit $wrong
