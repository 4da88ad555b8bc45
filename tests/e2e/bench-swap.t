#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The bench of swaps, coarse: its file is complete, and what must hold on any machine holds.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh

out=$(mktemp -d /var/tmp/weft-test-bench-swap.XXXXXX)
doc=$out/bench-swap.json
trap 'rm -rf "$out"' EXIT

runs() {
	RESULTS=$out QUICK=1 scripts/bench-swap.sh >"$out/table" 2>"$out/log" || {
		tail -n 30 "$out/log"
		return 1
	}
}

complete() {
	jq -e '
		(.name == "bench-swap") and (.commit | length > 0) and (.host | .cpus > 0 and (.load_before | length > 0))
		and (.when | test("^20[0-9-]+T[0-9:]+Z$"))
		and ((.targets | keys) - (.metrics | keys) == []) and ((.targets | keys) == (.checks | keys))
		and ([.checks[]] | all(type == "boolean")) and ([.metrics[]] | all(type == "number"))
		and ([.runs[].measure] | unique == ["in_a_row", "latency", "redis"])
		and (.metrics | .swaps == 4 and .requests > 500 and .rate_per_s > 0 and .p90_swap_ratio > 0
			and .redis_swaps == 2 and .redis_acknowledged > 1000 and .redis_pause_ms > 0)' "$doc"
}

nothing_lost() {
	jq -c .metrics "$doc"
	jq -e '.metrics | .failed_requests == 0 and .redis_lost_writes == 0' "$doc"
}

table() {
	has "$(cat "$out/table")" '^swaps in a row +4 ' '^failed requests +0 of [0-9]+ +✓' \
		'^p90 during a swap / before it +[0-9.]+' '^lost writes of Redis +0 of [0-9]+ +✓' "^$doc$"
}

# ROUNDS=1 has a swap to a unikernel alone, and REDIS_SWAPS=0 none.
part() {
	local out
	out=$(jq '.metrics.p90_swap_ratio_to_container = null' "$doc" | jq -r -f scripts/bench-swap-table.jq) || return 1
	has "$out" '^p90 during a swap .*\(to unikernel [0-9.]+, to container -, at [0-9]+ requests/s' || return 1
	out=$(jq '.metrics |= (.redis_pause_ms = null | .redis_lost_writes = null | .redis_acknowledged = null)' "$doc" |
		jq -r -f scripts/bench-swap-table.jq) || return 1
	has "$out" '^lost writes of Redis +0 of 0 .*two writes - ms\)'
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
tap 'QUICK=1 make bench-swap runs' runs
tap 'bench-swap.json is complete' complete
tap 'neither a request nor a write is lost' nothing_lost
tap 'the table shows it' table
tap 'and shows less where less was measured' part
tap_end
