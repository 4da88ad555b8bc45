#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install what the build, the run and the tests need, from Debian's packages alone. Quick when
# nothing is missing. Says at once what stands in the way: not root, not Debian, offline.
set -euo pipefail
cd "$(dirname "$0")/.."

build=(gcc libc6-dev make pkg-config clang-14 libclang-rt-14-dev libbpf-dev libxdp-dev
	bpftool libnl-3-dev libnl-route-3-dev libjansson-dev libsystemd-dev libmicrohttpd-dev
	libgnutls28-dev libnghttp2-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler
	libarchive-dev libsmartcols-dev libsqlite3-dev libcurl4-openssl-dev libssl-dev
	linux-libc-dev binutils dpkg-dev)
run=(containerd runc runsc qemu-system-x86 nginx-light iproute2 jq curl procps util-linux kmod
	ca-certificates)
tests=(libcmocka-dev perl wrk clang-format-14 shellcheck mandoc sparse cppcheck nftables haproxy
	iputils-ping git bsdextrautils netbase ethtool prometheus redis-server redis-tools openssl
	python3-jsonschema busybox-static cpio qemu-system-arm iperf3 traceroute dnsmasq-base
	bind9-dnsutils e2fsprogs)

fail() {
	printf 'deps: %s\n' "$1" >&2
	[ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
	exit 1
}

missing() {
	{ dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || :; } |
		awk '$1 == "installed" {print $2}' | sort >"$have"
	printf '%s\n' "$@" | sort -u | comm -23 - "$have"
}

command -v dpkg-query >/dev/null || fail 'this is not a Debian system (no dpkg)' \
	'weft builds on Debian 12; elsewhere install the packages named in scripts/deps.sh by hand'
have=$(mktemp)
trap 'rm -f "$have"' EXIT
mapfile -t want < <(missing "${build[@]}" "${run[@]}" "${tests[@]}")
if [ ${#want[@]} -gt 0 ] && [ -n "${want[0]}" ]; then
	[ "$(id -u)" = 0 ] || fail "not root, and these packages are missing: ${want[*]}" \
		"sudo make test, or: sudo apt-get install ${want[*]}"
	export DEBIAN_FRONTEND=noninteractive
	echo "deps: installing ${#want[@]} packages" >&2
	log=$(mktemp)
	trap 'rm -f "$have" "$log"' EXIT
	# Services must not start by themselves: weft starts its own.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
		trap 'rm -f "$have" "$log" "$policy"' EXIT
	fi
	apt=(apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20)
	# One list of several may be away: the download decides.
	"${apt[@]}" -o APT::Update::Error-Mode=any update >"$log" 2>&1 ||
		echo "deps: apt-get update failed ($(grep -m 1 '^[EW]:' "$log" || echo 'no reason given')); trying with the lists that are there" >&2
	"${apt[@]}" install -y --no-install-recommends "${want[@]}" >>"$log" 2>&1 || {
		tail -n 5 "$log" >&2
		fail "apt-get could not install: ${want[*]}" \
			'is this machine online, and does "apt-get update" work?'
	}
fi
# The guest's TCP/IP, so that nothing is fetched later on.
scripts/lwip-source.sh "${B:-build}/lwip"
