#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# debian-vm.sh COMMAND...: run a command as root in a virtual machine with the kernel that Debian 12
# comes with and this machine's files. It is emulated, slow, and without a network; cgroups are
# version 2 alone. What it writes goes to memory, and is gone afterwards. What it prints comes to
# stdout, and its exit status is ours; 124: it took too long; 125: this cannot be done here.
#   SECONDS_MOST=N    how long it may take (600)
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C
B=${B:-build}
case $B in /*) ;; *) B=$PWD/$B ;; esac
virtiofsd=/usr/lib/qemu/virtiofsd
work='' files=''

fail() {
	printf 'debian-vm: %s\n' "$1" >&2
	[ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
	exit "${3:-125}"
}
clean() {
	[ -z "$files" ] || { kill "$files" && wait "$files"; } 2>/dev/null || :
	[ -z "$work" ] || rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM HUP

[ $# -gt 0 ] || fail 'usage: debian-vm.sh COMMAND...'
[ "$(uname -m)" = x86_64 ] || fail "the kernel is one for amd64, this is $(uname -m)"
[ "$(id -u)" = 0 ] || fail 'root alone may hand all files on'
for c in qemu-system-x86_64 $virtiofsd busybox cpio depmod dpkg-deb; do
	command -v "$c" >/dev/null || fail "$c is not installed" 'sudo scripts/deps.sh'
done
work=$(mktemp -d /var/tmp/weft-debian-vm.XXXXXX)

# --- the kernel: its package is one that the image of a virtual machine has, too ------------------
mkdir -p "$B/images"
deb=$(find "$B/images" -name 'linux-image-*-cloud-amd64_*.deb' | head -n 1)
if [ -z "$deb" ]; then
	scripts/mkimage-vm.sh "$work/image.tar.gz" httpd >&2 || fail 'no kernel'
	deb=$(find "$B/images" -name 'linux-image-*-cloud-amd64_*.deb' | head -n 1)
fi
mkdir "$work/kernel"
dpkg-deb -x "$deb" "$work/kernel"
version=$(ls "$work/kernel/lib/modules")
depmod -b "$work/kernel" "$version"

# --- what it boots into: enough to reach the files -----------------------------------------------
root=$work/root
mkdir -p "$root"/{bin,modules,proc,sys,dev,files,memory,new}
cp "$(readlink -f "$(command -v busybox)")" "$root/bin/busybox"
order=()
for m in virtio_pci virtiofs overlay; do
	while read -r _ file _; do
		[ -e "$root/modules/${file##*/}" ] || order+=("${file##*/}")
		cp "$file" "$root/modules/"
	done < <(modprobe -d "$work/kernel" -S "$version" --show-depends "$m" | grep ^insmod)
done
printf '%q ' "$@" >"$work/command"
cat >"$root/init" <<-INIT
	#!/bin/busybox sh
	/bin/busybox --install -s /bin
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	mount -t devtmpfs dev /dev
	for m in ${order[*]}; do insmod /modules/\$m; done
	mount -t virtiofs files /files
	mount -t tmpfs -o size=50% memory /memory
	mkdir /memory/upper /memory/work
	mount -t overlay -o lowerdir=/files,upperdir=/memory/upper,workdir=/memory/work overlay /new
	for m in proc sys dev; do mount --move /\$m /new/\$m; done
	mkdir -p /new/lib/modules/$version
	mount --bind /files$work/kernel/lib/modules/$version /new/lib/modules/$version
	exec switch_root /new /bin/bash $work/start
INIT
chmod +x "$root/init"
cat >"$work/start" <<-START
	export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
	tree=$(printf %q "$PWD")
	command=\$(cat $work/command)
	mount --bind "\$tree" /mnt
	for d in /run /tmp /var/tmp /dev/shm; do
		mkdir -p \$d
		mount -t tmpfs -o mode=1777 tmpfs \$d
	done
	[ -d "\$tree" ] || mkdir -p "\$tree" # where a tmpfs is now
	mount --move /mnt "\$tree"
	cd "\$tree"
	mount -t cgroup2 cgroup /sys/fs/cgroup
	mount -t bpf bpf /sys/fs/bpf
	ln -s /proc/self/fd /dev/fd
	modprobe tun
	ip link set lo up
	eval "\$command" </dev/null
	echo "debian-vm: exit status \$?"
	echo o >/proc/sysrq-trigger
	sleep 60
START
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd"

# --- run it --------------------------------------------------------------------------------------
"$virtiofsd" --socket-path="$work/files" -o source=/ -o cache=auto -o sandbox=chroot --rlimit-nofile=0 \
	>"$work/files.log" 2>&1 &
files=$!
for _ in {1..100}; do
	[ ! -S "$work/files" ] || break
	sleep 0.1
done
[ -S "$work/files" ] || fail "virtiofsd: $(tail -n 1 "$work/files.log")"
# Ticks come late in what is emulated beside other work: no reason for it to panic.
timeout "${SECONDS_MOST:-600}" qemu-system-x86_64 -M q35 -m 3G -smp 2 -accel tcg,thread=multi -cpu max \
	-nodefaults -no-user-config -no-reboot -display none -serial stdio \
	-object memory-backend-memfd,id=memory,size=3G,share=on -numa node,memdev=memory \
	-chardev "socket,id=files,path=$work/files" -device vhost-user-fs-pci,chardev=files,tag=files \
	-kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/initrd" \
	-append 'console=ttyS0 quiet panic=-1 mitigations=off no_timer_check' </dev/null |
	sed -u 's/\r//g' | tee "$work/out" ||
	fail "the machine did not come to its end within ${SECONDS_MOST:-600} s" '' 124
status=$(sed -n 's/^debian-vm: exit status //p' "$work/out")
[ -n "$status" ] || fail 'the machine ended before the command did' '' 124
exit "$status"
