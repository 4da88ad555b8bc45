#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mkimage-redis.sh OUT.tar: an OCI image archive with redis-server, redis-cli and a shell, made of this
# machine's own packages and the libraries they need. It serves on port 6379 to everybody and keeps
# nothing on disk.
set -euo pipefail
# shellcheck source=scripts/oci-archive.sh
. "$(dirname "$0")/oci-archive.sh"
out=${1:?usage: mkimage-redis.sh OUT.tar}
export LC_ALL=C
umask 022
programs=()
for p in redis-server redis-cli sh; do
	programs+=("$(command -v $p)") ||
		oci_fail "$p is not installed" 'apt-get install redis-server redis-tools'
done
oci_begin "$out"
root=$work/rootfs
mkdir -p "$root"/{data,dev,etc,proc,sys,tmp,usr/bin}
oci_program "$root" /usr/bin "${programs[@]}"
ln -s usr/bin "$root/bin"
printf 'root:x:0:0:root:/:/bin/false\n' >"$root/etc/passwd"
config='"Entrypoint":["/usr/bin/redis-server"],"Cmd":["--bind","0.0.0.0","--protected-mode","no","--save","","--dir","/data","--repl-diskless-sync-delay","0"],"ExposedPorts":{"6379/tcp":{}}'
oci_archive "$root" "$tmp" weft.local/redis:latest "$arch" "$config" mkimage-redis.sh
mv "$tmp" "$out"
