#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a fresh Debian 12 has is not what this machine has: its kernel's verifier is an older one,
# without tcx but with libxdp's dispatcher, and cgroups are version 2. There, emulated, the main job
# runs, its unikernel by vhost-net: tests/vm/main-job.t. It takes some minutes,
# and a package that may have to be downloaded.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_image_nginx
dir=$(mktemp -d /var/tmp/weft-test-debian.XXXXXX)
trap 'rm -rf "$dir"' EXIT
SECONDS_MOST=840 timeout 870 scripts/debian-vm.sh tests/vm/main-job.t >"$dir/out" 2>"$dir/err"
rc=$?
[ $rc != 125 ] || tap_skip_all "$(head -n 1 "$dir/err")"
grep -E '^(ok|not ok|#|1\.\.)' "$dir/out"
if [ $rc != 0 ]; then
	tail -n 5 "$dir/err" "$dir/out" | sed 's/^/# /'
	exit 1
fi
