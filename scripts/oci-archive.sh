# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# An OCI image archive of one layer, whose bytes depend on names, modes and contents alone. Sourced.
#   oci_begin OUT.tar              $arch; work in $work, write $tmp: both go when the script ends
#   oci_program ROOT DIR PROGRAM...   this machine's programs, and the libraries they need
#   oci_archive ROOT OUT.tar NAME ARCH CONFIG CREATED-BY
# CONFIG is the members of the image's "config" but for Env and WorkingDir.
oci_fail() {
	printf '%s: %s\n' "$(basename "$0" .sh)" "$1" >&2
	[ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
	exit 1
}

oci_begin() {
	case $(uname -m) in
	x86_64) arch=amd64 ;;
	aarch64) arch=arm64 ;;
	*) oci_fail "no image for $(uname -m)" ;;
	esac
	mkdir -p "$(dirname "$1")"
	work=$(mktemp -d)
	tmp=$(mktemp "$1.XXXXXX")
	trap 'rm -rf "$work" "$tmp"' EXIT
}

oci_program() {
	local root=$1 dir=$2 program lib libraries
	shift 2
	for program; do
		install -D -m 755 "$(readlink -f "$program")" "$root$dir/${program##*/}"
		libraries=$(ldd "$program" | grep -oE '(^\s|=> )/[^ :]+ ' | grep -oE '/[^ ]+') ||
			oci_fail "$program is not a dynamic executable"
		for lib in $libraries; do # at its path: links of a merged /usr are not reproduced
			install -D -m 755 "$(readlink -f "$lib")" "$root$lib"
		done
	done
}

oci_pack() { # DIRECTORY ENTRY...: a tar stream
	tar --format=gnu --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$1" -cf - "${@:2}"
}

oci_blob() { # LAYOUT FILE: move it in; prints "digest":…,"size":…
	local sum size
	sum=$(sha256sum "$2" | cut -d' ' -f1)
	size=$(stat -c %s "$2")
	mv "$2" "$1/blobs/sha256/$sum"
	printf '"digest":"sha256:%s","size":%s' "$sum" "$size"
}

oci_archive() {
	local root=$1 out=$2 name=$3 arch=$4 work layout diff_id layer config manifest
	local type=application/vnd.oci.image
	work=$(mktemp -d)
	layout=$work/layout
	mkdir -p "$layout/blobs/sha256"
	oci_pack "$root" . >"$work/layer.tar"
	diff_id=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
	gzip -n -6 "$work/layer.tar"
	layer=$(oci_blob "$layout" "$work/layer.tar.gz")
	printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/",%s},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created_by":"%s"}]}' \
		"$arch" "$5" "$diff_id" "$6" >"$work/config"
	config=$(oci_blob "$layout" "$work/config")
	printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json",%s},"layers":[{"mediaType":"%s.layer.v1.tar+gzip",%s}],"annotations":{"org.opencontainers.image.architecture":"%s"}}' \
		$type $type "$config" $type "$layer" "$arch" >"$work/manifest"
	manifest=$(oci_blob "$layout" "$work/manifest")
	printf '{"schemaVersion":2,"mediaType":"%s.index.v1+json","manifests":[{"mediaType":"%s.manifest.v1+json",%s,"platform":{"architecture":"%s","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"%s","io.containerd.image.name":"%s"}}]}' \
		$type $type "$manifest" "$arch" "$name" "$name" >"$layout/index.json"
	printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
	oci_pack "$layout" oci-layout index.json blobs >"$out"
	chmod 644 "$out"
	rm -rf "$work"
}
