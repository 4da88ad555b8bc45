#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# List the project's files whose name matches one of the shell patterns: those under version
# control, or, in an unpacked archive, all but what the build made.
#   scripts/tracked.sh '*.c' '*.h'
set -euo pipefail
cd "$(dirname "$0")/.."

if ! list=$(git -c safe.directory="$PWD" ls-files 2>/dev/null); then
	list=$(find . -type f -not -path './build/*' -not -path './.git/*' -printf '%P\n' | sort)
fi
while read -r file; do
	for pattern in "$@"; do
		# shellcheck disable=SC2053 # the right side is a pattern
		if [[ $file == $pattern && -f $file ]]; then
			echo "$file"
			break
		fi
	done
done <<<"$list"
