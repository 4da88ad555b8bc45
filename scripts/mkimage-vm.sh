#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mkimage-vm.sh OUT.tar.gz [APP...]: a virtual machine of Debian's kernel package and an initramfs
# with this machine's busybox and a program of Debian's with the libraries it needs, as an image for
# `virtualization: unikernel`. APP: nginx (the default, port 80), redis (port 6379) if installed,
# httpd (busybox' own, port 80).
#
#   KERNEL=cloud   Debian's kernel for virtual machines; generic: the one for all machines, three times as
#                  large, which has 9p, by which a guest mounts its descriptor's volumes
#   QUEUES=1       pairs of queues that its network device has, if it has as many processors
#
# It takes its address from the kernel's command line, or, told weft.net=fw_cfg, from weft by
# fw_cfg, as often as that changes: it can be started from a checkpoint, and asks for it.
# Everything but the kernel comes from installed packages; the kernel's package is downloaded once,
# to build/images, or named by KERNEL_DEB. With ARCH=arm64 kernel and busybox are Debian's for arm64,
# downloaded likewise (KERNEL_DEB, BUSYBOX_DEB), and APP is httpd: no program of this machine runs there.
set -euo pipefail
out=${1:?usage: mkimage-vm.sh OUT.tar.gz [APP...]}
shift
arch=${ARCH:-amd64}
case $arch in
amd64) apps=("${@:-nginx}") machine=q35 console=ttyS0 ;;
arm64) apps=("${@:-httpd}") machine=virt console=ttyAMA0 ;;
*) echo "mkimage-vm: no image for $arch: amd64, arm64" >&2 && exit 1 ;;
esac
case ${KERNEL:=cloud} in
cloud) meta=linux-image-cloud-$arch debs="linux-image-*-cloud-${arch}_*_$arch.deb" ;;
generic) meta=linux-image-$arch debs="linux-image-*[0-9]-${arch}_*_$arch.deb" ;;
*) echo "mkimage-vm: no kernel $KERNEL: cloud, generic" >&2 && exit 1 ;;
esac
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C
umask 022
root_dir=$(cd "$(dirname "$0")/.." && pwd)
cache=${B:-$root_dir/build}/images
case $cache in /*) ;; *) cache=$PWD/$cache ;; esac

fail() {
	printf 'mkimage-vm: %s\n' "$1" >&2
	[ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
	exit 1
}

[ "$arch" = arm64 ] || [ "$(uname -m)" = x86_64 ] || fail "no image for amd64 on $(uname -m)"
for c in busybox cpio dpkg-deb gzip tar; do
	command -v "$c" >/dev/null || fail "$c is not installed" 'sudo scripts/deps.sh'
done
mkdir -p "$(dirname "$out")" "$cache"
work=$(mktemp -d)
tmp=$(mktemp "$out.XXXXXX")
trap 'rm -rf "$work" "$tmp"' EXIT
root=$work/rootfs image=$work/image
mkdir -p "$image"

# --- packages ------------------------------------------------------------------------------------
# Those of another architecture have lists of their own: what is installed here is not asked, or
# changed.
apt_options=(-qq -o APT::Sandbox::User=root)
if [ "$arch" != amd64 ]; then
	mkdir -p "$work"/apt/{state/lists/partial,cache/archives/partial}
	apt_options+=(-o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o "Dir::State=$work/apt/state"
		-o Dir::State::status=/dev/null -o "Dir::Cache=$work/apt/cache")
fi
apt_listed=
apt_lists() {
	[ "$arch" = amd64 ] || [ -n "$apt_listed" ] || apt-get "${apt_options[@]}" update >&2 ||
		fail "cannot ask for packages of $arch" 'is this machine online? Or name the files: KERNEL_DEB=..., BUSYBOX_DEB=...'
	apt_listed=1
}
apt_deb() { # PACKAGE NAMED VARIABLE: sets $deb to its file
	deb=$2
	[ -z "$deb" ] || return 0
	deb=$(find "$cache" -name "$1_*_$arch.deb" | head -n 1)
	[ -z "$deb" ] || return 0
	apt_lists
	(cd "$work" && apt-get "${apt_options[@]}" download "$1") >&2 ||
		fail "cannot download $1" "is this machine online? Or name the file: $3=..."
	# At a stroke: somebody else may look for it just now.
	(cd "$work" && for f in "$1"_*.deb; do mv "$f" "$cache/.$f.$$" && mv "$cache/.$f.$$" "$cache/$f"; done)
	deb=$(find "$cache" -name "$1_*_$arch.deb" | head -n 1)
}

# --- the kernel ----------------------------------------------------------------------------------
package=
[ -n "${KERNEL_DEB:-}" ] || package=$(basename "$(find "$cache" -name "$debs" | head -n 1)" | cut -d_ -f1)
if [ -z "${KERNEL_DEB:-}$package" ]; then
	apt_lists
	package=$(apt-cache "${apt_options[@]}" depends "$meta" 2>/dev/null |
		awk '/Depends: linux-image-/ {print $2; exit}') || :
	[ -n "$package" ] || fail "no package $meta is known here" 'apt-get update'
fi
apt_deb "$package" "${KERNEL_DEB:-}" KERNEL_DEB
mkdir "$work/kernel"
dpkg-deb -x "$deb" "$work/kernel"
cp "$work"/kernel/boot/vmlinuz-* "$image/kernel"
modules=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover
	net_failover virtio_net qemu_fw_cfg netfs fscache 9pnet 9pnet_virtio 9p)
mkdir -p "$root/lib/modules"
for m in "${modules[@]}"; do
	file=$(find "$work/kernel/lib/modules" -name "$m.ko" | head -n 1)
	[ -z "$file" ] || cp "$file" "$root/lib/modules/"
done

# --- programs ------------------------------------------------------------------------------------
mkdir -p "$root"/{bin,dev,etc/nginx,proc,root,run,srv/www,sys,tmp,usr/sbin,var/lib/nginx,var/log/nginx}
chmod 1777 "$root/tmp"
if [ "$arch" = amd64 ]; then
	! ldd "$(command -v busybox)" >/dev/null 2>&1 || fail 'busybox is not a static executable' \
		'apt-get install busybox-static'
	install -m 755 "$(readlink -f "$(command -v busybox)")" "$root/bin/busybox"
else
	apt_deb busybox-static "${BUSYBOX_DEB:-}" BUSYBOX_DEB
	dpkg-deb --fsys-tarfile "$deb" | tar -xO --wildcards '*bin/busybox' >"$root/bin/busybox"
	chmod 755 "$root/bin/busybox"
fi
page=$'<!DOCTYPE html>\n<title>weft</title>\n<h1>hello from a virtual machine</h1>'
copy_program() { # NAME: with what it is linked against
	local path lib
	path=$(command -v "$1") || fail "$1 is not installed" "apt-get install ${2:-$1}"
	install -D -m 755 "$(readlink -f "$path")" "$root$path"
	for lib in $(ldd "$path" | grep -oE '/[^ ]+'); do
		install -D -m 755 "$(readlink -f "$lib")" "$root$lib"
	done
}
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
: >"$work/start"
for app in "${apps[@]}"; do
	[ "$arch" = amd64 ] || [ "$app" = httpd ] || fail "no $app for $arch" 'httpd'
	case $app in
	nginx)
		copy_program nginx nginx-light
		cat >"$root/etc/nginx/nginx.conf" <<-'CONF'
			user root;
			worker_processes 1;
			pid /run/nginx.pid;
			error_log stderr warn;
			events { worker_connections 1024; }
			http {
				types { text/html html; }
				access_log off;
				keepalive_requests 200;
				server { listen 80; listen [::]:80; root /srv/www; }
			}
		CONF
		echo "$page" >"$root/srv/www/index.html"
		echo 'nginx -e stderr' >>"$work/start"
		;;
	redis)
		copy_program redis-server
		echo 'redis-server --protected-mode no --save "" --daemonize yes >/dev/null' >>"$work/start"
		;;
	httpd)
		echo "$page" >"$root/srv/www/index.html"
		echo 'httpd -p 80 -h /srv/www' >>"$work/start"
		;;
	*) fail "no such application: $app" 'nginx, redis, httpd' ;;
	esac
done

# --- init ----------------------------------------------------------------------------------------
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
# What a kernel's command line has behind "--" comes as arguments: a command to run beside.
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
for m in MODULES; do
	[ ! -e /lib/modules/$m.ko ] || insmod /lib/modules/$m.ko 2>/dev/null
done
ip link set lo up
# Nobody else has the address, so nobody is asked; whoever knew it elsewhere is told.
sysctl -qw net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.accept_ra=0 \
	net.ipv6.conf.eth0.ndisc_notify=1 2>/dev/null
config=/sys/firmware/qemu_fw_cfg/by_name/opt/weft/guest/raw

address() { # ADDRESS/PREFIX GATEWAY [MAC]
	ip link set eth0 down
	[ -z "$3" ] || ip link set eth0 address "$3"
	ip addr flush dev eth0
	ip addr add "$1" dev eth0
	ip link set eth0 up
	[ -z "$2" ] || ip route add default via "$2"
}

# Behind address(), which has flushed the old one.
address6() { # ADDRESS/PREFIX GATEWAY
	ip -6 addr add "$1" dev eth0
	[ -z "$2" ] || ip -6 route add default via "$2" dev eth0
}

from_command_line() { # ip=ADDRESS::GATEWAY:MASK:NAME:eth0:off weft.ip6=ADDRESS/PREFIX weft.gw6=GATEWAY
	local word ip= ip6= gw6= IFS=' '
	for word in $(cat /proc/cmdline); do
		case $word in
		ip=*) ip=${word#ip=} ;;
		weft.ip6=*) ip6=${word#*=} ;;
		weft.gw6=*) gw6=${word#*=} ;;
		esac
	done
	[ -n "$ip" ] || return
	IFS=:
	set -- $ip
	address "$1/$(prefix "$4")" "$3"
	hostname "$5"
	[ -z "$ip6" ] || address6 "$ip6" "$gw6"
}

prefix() { # 255.255.255.192
	local n=0 octet IFS=.
	for octet in $1; do
		while [ "$octet" -gt 0 ]; do
			n=$((n + octet % 2))
			octet=$((octet / 2))
		done
	done
	echo $n
}

# The second line says whether the rest is there. Only so much is read, as each byte costs.
waits() { { read -r _ && read -r state; } <$config && [ "$state" = state=wait ]; }

from_fw_cfg() {
	local key value ip= gw= mac= ip6= gw6=
	while IFS== read -r key value; do
		case $key in
		ip) ip=$value ;;
		gw) gw=$value ;;
		mac) mac=$value ;;
		ip6) ip6=$value ;;
		gw6) gw6=$value ;;
		name) hostname "$value" ;;
		time_ms) date -s "@${value%???}" >/dev/null ;;
		esac
	done <<-EOT
		$(cat $config)
	EOT
	[ -z "$ip" ] || address "$ip" "$gw" "$mac"
	[ -z "$ip6" ] || address6 "$ip6" "$gw6"
}

volumes() { # weft.mount="TAG:TARGET[:ro]"
	local how tag target options
	grep -o 'weft.mount="[^"]*"' /proc/cmdline | while IFS='"' read -r _ how _; do
		tag=${how%%:*} target=${how#*:} options=trans=virtio,version=9p2000.L
		case $target in *:ro) target=${target%:ro} options=$options,ro ;; esac
		mkdir -p "$target"
		mount -t 9p -o "$options" "$tag" "$target" ||
			echo "weft-guest: $target is not mounted: has this kernel 9p?"
	done
}

volumes
START
[ "${1:-}" != nokaslr ] || shift # which the kernel leaves to us
[ $# = 0 ] || "$@" &
if grep -q weft.net=fw_cfg /proc/cmdline; then
	if waits; then
		echo 'weft-guest: waiting for an address'
		while waits; do usleep 3000; done
	fi
	from_fw_cfg
else
	from_command_line
fi
echo "weft-guest: up, $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l) queues"
while :; do
	wait
	sleep 3600
done
INIT
sed -i -e "s|MODULES|${modules[*]}|" -e "/^START\$/{r $work/start
d}" "$root/init"
chmod 755 "$root/init"
(cd "$root" && find . -print0 | sort -z | cpio --quiet --null --create --format=newc --owner=0:0 \
	--reproducible) >"$image/initrd.cpio"

# nokaslr and quiet: what takes time and is of no use in a machine that shows nothing.
args="console=$console quiet panic=-1 random.trust_cpu=on nokaslr mitigations=off"
# no_timer_check: an emulator that has to wait for a processor ticks late, for which Linux panics.
[ "$arch" != amd64 ] || args+=' reboot=t tsc=reliable no_timer_check'
cat >"$image/weft.json" <<JSON
{"machine": "$machine", "netdev": "linux", "powerdown": false, "warm": "yes", "ipv6": true, "queues": ${QUEUES:-1},
 "kernel_args": "$args"}
JSON
tar --format=gnu --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$image" -cf - \
	kernel initrd.cpio weft.json | gzip -n -6 >"$tmp"
chmod 644 "$tmp"
mv "$tmp" "$out"
