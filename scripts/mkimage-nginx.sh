#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mkimage-nginx.sh OUT.tar [NAME [BYTES]]: an OCI image archive with nginx, made of this machine's own
# packages: the binary, the libraries it needs, a configuration and one page of 612 bytes, or
# BYTES. No registry, no container engine. The same packages give the same bytes.
#
# The image serves on port 80, of IPv6 too if this machine has it, in the foreground, logs to stderr,
# ends gracefully on SIGQUIT (its stop signal) and at once on SIGTERM.
set -euo pipefail
# shellcheck source=scripts/oci-archive.sh
. "$(dirname "$0")/oci-archive.sh"
out=${1:?usage: mkimage-nginx.sh OUT.tar [NAME [BYTES]]}
name=${2:-weft.local/nginx:latest}
bytes=${3:-612}
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C
umask 022

nginx=$(command -v nginx) || oci_fail 'nginx is not installed' 'apt-get install nginx-light'
oci_begin "$out"
root=$work/rootfs

# --- the root file system ------------------------------------------------------------------------
mkdir -p "$root"/{dev,etc/nginx,proc,root,run,srv/www,sys,tmp,usr/sbin,var/lib/nginx,var/log/nginx}
chmod 1777 "$root/tmp"
oci_program "$root" /usr/sbin "$nginx"
listen6=
[ ! -e /proc/net/if_inet6 ] || listen6='listen [::]:80 ipv6only=on backlog=4096;'
printf 'root:x:0:0:root:/root:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n' \
	>"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
cat >"$root/etc/nginx/nginx.conf" <<'CONF'
daemon off;
user root;
worker_processes 1;
worker_shutdown_timeout 2s;
pid /run/nginx.pid;
error_log stderr warn;
events {
	worker_connections 4096;
	multi_accept on;
}
http {
	types { text/html html; }
	default_type text/plain;
	access_log off;
	sendfile on;
	tcp_nodelay on;
	keepalive_timeout 300s;
	keepalive_requests 200; # then "Connection: close": a drain ends without a reset
	open_file_cache max=64 inactive=600s;
	open_file_cache_valid 600s;
	server {
		listen 80 backlog=4096;
		#LISTEN6
		root /srv/www;
	}
}
CONF
sed -i "s/#LISTEN6/$listen6/" "$root/etc/nginx/nginx.conf"
page=$root/srv/www/index.html
printf '<!DOCTYPE html>\n<title>weft</title>\n<h1>hello from a container</h1>\n<!--' >"$page"
have=$(stat -c %s "$page")
printf '%*s' $((bytes - have - 4)) '' | tr ' ' . >>"$page"
printf -- '-->\n' >>"$page"

config='"Entrypoint":["/usr/sbin/nginx"],"Cmd":["-e","stderr"],"StopSignal":"SIGQUIT","ExposedPorts":{"80/tcp":{}}'
oci_archive "$root" "$tmp" "$name" "$arch" "$config" mkimage-nginx.sh
mv "$tmp" "$out"
