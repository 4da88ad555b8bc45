#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mkimage-redis.sh OUT.tar: an OCI image archive with redis-server, redis-cli and a shell, made of this
# machine's own packages and the libraries they need. It serves on port 6379 to everybody and keeps
# nothing on disk.
set -euo pipefail
. "$(dirname "$0")/oci-archive.sh"
out=${1:?usage: mkimage-redis.sh OUT.tar}
export LC_ALL=C
umask 022
programs=()
for p in redis-server redis-cli sh; do
	programs+=("$(command -v $p)") || {
		echo "mkimage-redis: $p is not installed" >&2
		echo 'hint: apt-get install redis-server redis-tools' >&2
		exit 1
	}
done
case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) echo "mkimage-redis: no image for $(uname -m)" >&2 && exit 1 ;;
esac
mkdir -p "$(dirname "$out")"
root=$(mktemp -d)
tmp=$(mktemp "$out.XXXXXX")
trap 'rm -rf "$root" "$tmp"' EXIT
chmod 755 "$root"
mkdir -p "$root"/{data,dev,etc,proc,sys,tmp,usr/bin}
for p in "${programs[@]}"; do
	install -m 755 "$(readlink -f "$p")" "$root/usr/bin/${p##*/}"
done
ln -s usr/bin "$root/bin"
for lib in $(ldd "${programs[@]}" | grep -oE '(^\s|=> )/[^ :]+ ' | grep -oE '/[^ ]+' | sort -u); do
	install -D -m 755 "$(readlink -f "$lib")" "$root$lib"
done
printf 'root:x:0:0:root:/:/bin/false\n' >"$root/etc/passwd"
config='"Entrypoint":["/usr/bin/redis-server"],"Cmd":["--bind","0.0.0.0","--protected-mode","no","--save","","--dir","/data","--repl-diskless-sync-delay","0"],"ExposedPorts":{"6379/tcp":{}}'
oci_archive "$root" "$tmp" weft.local/redis:latest "$arch" "$config" mkimage-redis.sh
mv "$tmp" "$out"
