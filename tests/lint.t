#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One test point per linter of scripts/lint.sh.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

mapfile -t tools < <(scripts/lint.sh --list)
echo "1..${#tools[@]}"
n=0 status=0
for tool in "${tools[@]}"; do
	n=$((n + 1))
	if out=$(scripts/lint.sh "$tool" 2>&1); then
		echo "ok $n - $tool"
	else
		echo "not ok $n - $tool"
		printf '%s\n' "$out" | sed 's/^/# /'
		status=1
	fi
done
exit $status
