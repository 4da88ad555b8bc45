#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make build/weft_VERSION_ARCH.deb out of what is built. Dependencies are those that the programs'
# libraries need, and the programs that weftd starts.
#   scripts/mkdeb.sh VERSION [BUILD]
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?usage: scripts/mkdeb.sh VERSION [BUILD]}
B=${2:-build}
arch=$(dpkg --print-architecture)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/debian/weft # where dpkg-shlibdeps wants it
doc=$root/usr/share/doc/weft
when=$(git log -1 --format=%cd --date=rfc2822 2>/dev/null || date -R)
who='weft <weft@localhost.localdomain>'

${MAKE:-make} --no-print-directory -s B="$B" install DESTDIR="$root" PREFIX=/usr
find "$root/usr/bin" "$root/usr/sbin" "$root/usr/libexec" -type f -exec strip --strip-unneeded {} +
find "$root/usr/share/man" -type f -exec gzip -9n {} +

install -D -m 644 README.md "$doc/README.md"
mkdir "$doc/examples"
echo '{}' >"$work/none.conf"
"$B/weftd" --print-config --config="$work/none.conf" --node=edge-1 --libexec=/usr/libexec/weft >"$doc/examples/weftd.conf"
cat >"$doc/copyright" <<-EOF
	Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
	Upstream-Name: weft

	Files: *
	Copyright: 2026 the weft authors
	License: Apache-2.0
	 On Debian systems, the text of the Apache License, version 2.0, is in
	 /usr/share/common-licenses/Apache-2.0.

	Files: bpf/*
	Copyright: 2026 the weft authors
	License: Apache-2.0 or GPL-2.0-only or BSD-2-Clause
	 On Debian systems, the text of the Apache License, version 2.0, is in
	 /usr/share/common-licenses/Apache-2.0, and that of the GNU General Public
	 License, version 2, in /usr/share/common-licenses/GPL-2.

	Files: ctrl/web/uPlot.*
	Copyright: 2022 Leon Sorokin
	License: MIT
	 Permission is hereby granted, free of charge, to any person obtaining a copy
	 of this software and associated documentation files (the "Software"), to deal
	 in the Software without restriction, including without limitation the rights
	 to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
	 copies of the Software, and to permit persons to whom the Software is
	 furnished to do so, subject to the following conditions:
	 .
	 The above copyright notice and this permission notice shall be included in
	 all copies or substantial portions of the Software.
	 .
	 THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
	 IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
	 FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
	 AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
	 LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
	 OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN
	 THE SOFTWARE.
EOF
printf 'weft (%s) unstable; urgency=medium\n\n  * Version %s.\n\n -- %s  %s\n' "$version" "$version" "$who" "$when" |
	gzip -9n >"$doc/changelog.gz"

# The kernel that probes the accelerator is no program of this system; nor is there a mail host.
mkdir -p "$root/usr/share/lintian/overrides"
cat >"$root/usr/share/lintian/overrides/weft" <<-EOF
	weft: statically-linked-binary [usr/libexec/weft/weft-probe-guest.elf]
	weft: bogus-mail-host Maintainer *
	weft: bogus-mail-host-in-debian-changelog *
EOF

# dpkg-shlibdeps reads a source package's control file, which there is only for it.
printf 'Source: weft\n\nPackage: weft\nArchitecture: any\n' >"$work/debian/control"
mkdir "$root/DEBIAN"
mapfile -t programs < <(find "$root/usr/bin" "$root/usr/sbin" "$root/usr/libexec" -type f ! -name '*.elf')
libs=$(cd "$work" && dpkg-shlibdeps -O "${programs[@]/#/-e}" | sed -n 's/^shlibs:Depends=//p')

cat >"$root/DEBIAN/control" <<-EOF
	Package: weft
	Version: $version
	Architecture: $arch
	Maintainer: $who
	Installed-Size: $(du -sk "$root/usr" | cut -f1)
	Depends: $libs
	Recommends: containerd, runc, qemu-system-x86
	Suggests: runsc
	Section: admin
	Priority: optional
	Homepage: https://doi.org/10.1145/3721888.3722093
	Description: hot-swap services between containers, sandboxes and unikernels
	 weft runs a service as a container, in a gVisor sandbox, as a unikernel or as
	 a plain process, and moves it from one to another while it serves, without
	 losing a request. BPF programs on the host side of every instance's device
	 balance its flows by weights.
	 .
	 This package has the daemon weftd, the command line weft and the load
	 generator weft-load. Start the daemon by: systemctl enable --now weftd
EOF
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
chmod -R u+w,go-w,a+rX "$root"
dpkg-deb --root-owner-group --build -Zxz "$root" "$B/weft_${version}_$arch.deb" >/dev/null
echo "$B/weft_${version}_$arch.deb"
