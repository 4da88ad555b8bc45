#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `make demo` and `make test` say, at once, where they cannot work: not root, not Debian, a kernel
# that lacks something, offline.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"

without() { # PATH SHELL-COMMAND: with an empty directory in its place
	# shellcheck disable=SC2016 # for that shell
	timeout 20 unshare --mount sh -c 'mount -t tmpfs -o mode=755 none "$1" && eval "$2"' sh "$1" "$2"
}
all_is_well() { scripts/preflight.sh test; }
not_root() {
	refused 1 'make demo: not root' 'hint: sudo make demo' -- \
		setpriv --reuid=65534 --clear-groups "$BASH" -s demo <scripts/preflight.sh
}
not_debian() {
	refused 1 'not a Debian system' 'hint: use Debian 12' -- env PATH="$tmp/none" "$BASH" scripts/preflight.sh demo
}
lacks() { # PATH PATTERN...
	refused 1 "${@:2}" -- without "$1" scripts/preflight.sh
}
everything_at_once() {
	local both='mount -t tmpfs none /dev/net && scripts/preflight.sh'
	refused 1 'no BTF' '/dev/net/tun' -- without /sys/kernel/btf "$both"
}
# An ip(8) that knows no macvtap, as on a kernel without it.
no_macvtap() {
	printf '#!/bin/sh\ncase "$*" in *macvtap*) echo "Error: Unknown device type." >&2; exit 2 ;; esac\nexec %s "$@"\n' \
		"$(command -v ip)" >"$tmp/ip"
	chmod 755 "$tmp/ip"
	refused 1 'this kernel has no macvtap, which guests need' 'hint: modprobe macvtap' -- \
		env PATH="$tmp:$PATH" scripts/preflight.sh
}
# The real apt-get in a network namespace without a network, told to get one package more.
offline() {
	mkdir -p "$tmp/project/scripts" "$tmp/lists/partial"
	# shellcheck disable=SC2016 # for the script
	sed 's/^tests=(/&0ad /; s/^\tapt=(apt-get/& -o Dir::State::Lists=$LISTS/' scripts/deps.sh >"$tmp/project/scripts/deps.sh"
	chmod 755 "$tmp/project/scripts/deps.sh"
	LISTS=$tmp/lists refused 1 'apt-get update failed' 'could not install: .*0ad' 'hint: is this machine online' -- \
		timeout 60 unshare --net "$tmp/project/scripts/deps.sh"
}
nothing_installed() { [ ! -e /usr/games/0ad ] && [ ! -e "$tmp/project/build" ]; }

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root: it hides parts of the kernel from the scripts'
mkdir "$tmp/none"
ln -s "$(command -v id)" "$(command -v uname)" "$(command -v grep)" "$tmp/none/"
tap 'here nothing is in the way' all_is_well
tap 'not root' not_root
tap 'not Debian' not_debian
tap 'a kernel without BTF' lacks /sys/kernel/btf 'no BTF' 'hint: boot a kernel'
tap 'no tun' lacks /dev/net 'no /dev/net/tun' 'hint: modprobe tun'
tap 'no macvtap' no_macvtap
tap 'all that is in the way, at once' everything_at_once
tap 'offline' offline
tap 'nothing was installed' nothing_installed
tap_end
