#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is installed: the package is made, lintian accepts it, and what is in it runs.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
B=${B:-build}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

made() { deb=$(scripts/mkdeb.sh 9.9.9 "$B") && [ -s "$deb" ] && mv "$deb" "$tmp/" && deb=$tmp/${deb##*/}; }
accepted() { lintian --allow-root --fail-on error,warning "$deb"; }
depends() { has "$(dpkg-deb -f "$deb" Depends)" 'libbpf1' 'libmicrohttpd12' 'libsystemd0'; }
unpacked() { dpkg-deb -x "$deb" "$tmp/root"; }
sums() { dpkg-deb -e "$deb" "$tmp/control" && (cd "$tmp/root" && md5sum --quiet -c "$tmp/control/md5sums"); }
runs() {
	has "$("$tmp/root/usr/bin/weft" --version)" '^weft ' &&
		has "$("$tmp/root/usr/sbin/weftd" --print-config)" '"libexec": ".*/usr/sbin/../libexec/weft"' &&
		"$tmp/root/usr/sbin/weftd" --check-config --config="$tmp/root/usr/share/doc/weft/examples/weftd.conf"
}
helpers() { for p in weft-unpack weft-log weft-runsc; do [ -x "$tmp/root/usr/libexec/weft/$p" ] || return 1; done; }
manual() { same 'pages' 5 "$(find "$tmp/root/usr/share/man" -name 'weft*.gz' | wc -l)"; }
nothing_else() { # outside of these places
	same 'other files' '' "$(cd "$tmp/root" && find . -type f | grep -vE '^./(lib/systemd/system|usr/(bin|sbin|libexec/weft|share))/')"
}
installed() { # below another prefix
	make -s B="$B" install DESTDIR="$tmp/i" PREFIX=/opt/weft UNITDIR=/etc/systemd/system || return 1
	has "$("$tmp/i/opt/weft/bin/weft" --version)" '^weft ' &&
		has "$("$tmp/i/opt/weft/sbin/weftd" --print-config)" '"libexec": ".*/opt/weft/sbin/../libexec/weft"' &&
		same 'its pages' 5 "$(find "$tmp/i/opt/weft/share/man" -name 'weft*' | wc -l)" &&
		same 'its unit' 2 "$(grep -cE '^ExecStart(Pre)?=/opt/weft/sbin/weftd' "$tmp/i/etc/systemd/system/weftd.service")" &&
		same 'elsewhere' '' "$(cd "$tmp/i" && find . -type f | grep -vE '^./(opt/weft|etc/systemd/system)/')"
}

command -v dpkg-shlibdeps >/dev/null || tap_skip_all 'dpkg-dev is not installed'
[ -x "$B/weftd" ] || tap_skip_all "$B/weftd is not built"
tap 'make install, below another prefix' installed
tap 'a package is made' made
if command -v lintian >/dev/null; then
	tap 'lintian accepts it' accepted
else
	tap 'lintian # SKIP lintian is not installed' true
fi
tap 'it depends on the libraries' depends
tap 'it is unpacked' unpacked
tap 'its sums are right' sums
tap 'its programs run' runs
tap 'its helpers are there' helpers
tap 'its manual is there' manual
tap 'it has nothing elsewhere' nothing_else
tap_end
