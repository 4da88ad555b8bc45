#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016 # the variables are jq's
# The hops of a request, coarse: every figure is there and makes sense, and nothing is left behind,
# also of a run that is broken off. Not how quick this machine is.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

out=$(mktemp -d /var/tmp/weft-test-hops.XXXXXX)
doc=$out/bench-hops.json
trap 'rm -rf "$out"' EXIT

# start [COMMAND...]: the measurement; sets BENCH.
start() {
	RESULTS=$out QUICK=1 "$@" scripts/bench-hops.sh >"$out/table" 2>"$out/log" &
	BENCH=$!
}
runs() {
	start env
	wait "$BENCH" || {
		tail -n 30 "$out/log"
		return 1
	}
}

complete() {
	jq -e '
		(.name == "bench-hops") and (.commit | length > 0) and (.when | test("^20[0-9-]+T[0-9:]+Z$"))
		and (.host | .cpus > 0 and (.load_before | length > 0) and (.accelerator | length > 0))
		and ([.runs[].service] | sort == ["container", "macvtap", "tap"])
		and ([.runs[] | .requests > 100 and (.trace.groups | length == 1)] | all)
		and ([.metrics[]] | all(type == "number"))
		and ([.checks[]] | length >= 4 and all(type == "boolean"))' "$doc"
}

# A macvtap is a hop that the others have not, and a guest takes longer than a process.
sensible() {
	jq -e '.metrics | .macvtap_hop_us > 0 and .container_rtt_us > 0 and .macvtap_container_ratio > 1
		and .tap_container_ratio > 1 and .guest_macvtap_ratio > 1 and .macvtap_hop_share < 1' "$doc" &&
		jq -e '.checks.packets_followed and .checks.few_lost' "$doc" || {
		jq -c '.metrics, .checks' "$doc"
		return 1
	}
}

table() {
	has "$(cat "$out/table")" '^request +macvtap in ' '^reply +macvtap out' '^round trip +[0-9.]+ +[0-9.]+' \
		'^the macvtap itself, there and back, µs +[0-9.]+' 'packets_followed ✓' "^$doc$"
}

of_bench() { nothing_left "$(sed -n 's/^bench: setting up in //p' "$out/log" | head -n 1)"; }
closed() {
	local LAB_NAME=bench-hops-$BENCH
	of_bench
}

# A document of a run that broke off is none.
interrupted() { # SIGNAL
	rm -f "$doc" "$out/log"
	start perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' setsid
	wait_for 120 grep -q 'macvtap' "$out/log" || return 1
	kill "-$1" "$BENCH"
	wait "$BENCH" && return 1
	[ ! -e "$doc" ]
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
tap 'QUICK=1 make bench-hops runs' runs
tap 'bench-hops.json is complete' complete
tap 'its figures make sense' sensible
tap 'the table shows them' table
tap 'nothing is left behind' closed
tap '^C leaves no document' interrupted INT
tap 'nor anything else' closed
tap_end
