#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every reason to drop a packet has a test that drops one for it: a line that runs a frame and names
# the reason. The one that no test can bring about is named here.
cd "$(dirname "$0")/../.." || exit 1
cannot=(NO_MEMORY) # needs an allocation to fail in the kernel

mapfile -t reasons < <(sed -n '/^#define WEFT_DROPS/,/^enum/p' bpf/weft_abi.h |
	sed -nE 's/^\tX\(([A-Z0-9_]+), "[a-z0-9_]+", .*/\1/p')
echo "1..$((${#reasons[@]} + 1))"
[ ${#reasons[@]} -gt 20 ] || echo -n 'not '
echo "ok 1 - ${#reasons[@]} reasons are found"
n=1
for reason in "${reasons[@]}"; do
	n=$((n + 1))
	if [[ " ${cannot[*]} " = *" $reason "* ]]; then
		echo "ok $n - $reason cannot be tested"
	elif grep -qE "(dropped|refused|drops|WITH|lost|counted)[a-z_0-9]*\(.*\b(WEFT_DROP_)?$reason\b" tests/bpf/*.c; then
		echo "ok $n - $reason has a test"
	else
		echo "not ok $n - $reason has a test"
		echo "# no line of tests/bpf/*.c drops a packet for $reason"
	fi
done
