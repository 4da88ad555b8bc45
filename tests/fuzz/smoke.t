#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run every fuzzer for a few seconds from its corpus; ok when it finds nothing. What one finds is
# kept in $B/results. Longer: FUZZ_SECONDS=600 tests/fuzz/smoke.t
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
B=${B:-build}
seconds=${FUZZ_SECONDS:-4}

mapfile -t sources < <(cd tests/fuzz && ls fuzz_*.c 2>/dev/null)
if [ ${#sources[@]} = 0 ]; then
	echo '1..0 # SKIP there is no fuzzer'
	exit 0
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$B/results"

# A fuzzer's exit status goes to $tmp/NAME/status, its talk to $tmp/NAME/log.
run() {
	local name=$1 dir=$tmp/$1 corpus=()
	mkdir -p "$dir/new"
	[ ! -d "tests/fuzz/corpus/$name" ] || corpus=("tests/fuzz/corpus/$name")
	"$B/tests/fuzz/$name" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 \
		-artifact_prefix="$B/results/$name-" "$dir/new" "${corpus[@]}" >"$dir/log" 2>&1
	echo $? >"$dir/status"
}

echo "1..${#sources[@]}"
names=("${sources[@]%.c}")
at_once=$(nproc)
for name in "${names[@]}"; do
	[ -x "$B/tests/fuzz/$name" ] || continue
	while [ "$(jobs -rp | wc -l)" -ge "$at_once" ]; do wait -n; done
	run "$name" &
done
wait
n=0 status=0
for name in "${names[@]}"; do
	n=$((n + 1))
	if [ ! -x "$B/tests/fuzz/$name" ]; then
		echo "not ok $n - $name"
		echo "# $B/tests/fuzz/$name is missing; hint: make fuzz"
		status=1
	elif [ "$(cat "$tmp/$name/status")" = 0 ]; then
		echo "ok $n - $name: $(grep -o 'Done [0-9]* runs.*' "$tmp/$name/log")"
	else
		echo "not ok $n - $name"
		# What it found, without the lines about its progress.
		grep -vE '^(#[0-9]|INFO:)' "$tmp/$name/log" | tail -n 40 | sed 's/^/# /'
		status=1
	fi
done
exit $status
