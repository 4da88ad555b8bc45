#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The bench of the runtimes, coarse: every figure is there and makes sense, many instances start at
# once, and nothing of them is left. Not how quick this machine is. The virtual machine takes a
# kernel's package that may have to be downloaded: without one its figures are left out.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh

out=$(mktemp -d /var/tmp/weft-test-starts.XXXXXX)
doc=$out/bench-runtimes.json
trap 'rm -rf "$out"' EXIT
vm=$LAB_BUILD/images/vm.tar.gz without=warm
if [ -e "$vm" ] || timeout 120 scripts/mkimage-vm.sh "$vm" 2>"$out/mkimage"; then without=; fi

runs() {
	RESULTS=$out QUICK=1 INSTANCES=6 WITHOUT=$without scripts/bench-runtimes.sh >"$out/table" 2>"$out/log" || {
		tail -n 30 "$out/log"
		return 1
	}
}

complete() {
	jq -e --arg without "$without" '
		(.name == "bench-runtimes") and (.commit | length > 0) and (.host | .cpus > 0 and (.accelerator | length > 0))
		and (.when | test("^20[0-9-]+T[0-9:]+Z$"))
		and ((.targets | keys) - (.metrics | keys) - (if $without == "warm" then ["warm_start_ratio"] else [] end)
			| . == [] or error("not measured: \(.)"))
		and ([.checks[]] | all(type == "boolean")) and ([.metrics[]] | all(type == "number"))
		and ([.metrics | to_entries[] | select(.key | test("_ms$") and (test("overhead") | not)) | .value] | all(. > 0))
		and ([.runs[] | select(.case == "qemu") | .how] | sort | unique == ["hand", "weft"])
		and ([.runs[] | select(.case == "runc") | .how] | sort | unique == ["hand", "weft"])' "$doc"
}

nothing_left() {
	jq -e '.metrics.leftovers == 0 and .checks.all_ready' "$doc" || {
		grep -E '^(file|link|cgroup|mount|process|snapshot|tasks|containers) ' "$out/log"
		return 1
	}
}
table() { has "$(cat "$out/table")" '^qemu_start_overhead_ms +-?[0-9.]+ +at most 15' '^leftovers +0 +at most 0 +✓' "^$doc$"; }
warmer() { jq -e '.metrics.warm_start_ratio < 0.9' "$doc"; }

if [ "$(id -u)" != 0 ]; then tap_skip_all 'not root'; fi
if [ ! -c /dev/net/tun ]; then tap_skip_all 'no /dev/net/tun'; fi
tap 'QUICK=1 make bench-runtimes runs' runs
tap 'bench-runtimes.json is complete' complete
tap 'all instances were ready, and nothing of them is left' nothing_left
tap 'the table shows them' table
[ -n "$without" ] || tap 'a warm start is quicker than a cold one' warmer
tap_end
