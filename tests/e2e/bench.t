#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The data plane bench, coarse: every figure is there and makes sense, and nothing is left behind.
# Not how quick this machine is.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh

out=$(mktemp -d /var/tmp/weft-test-bench.XXXXXX)
doc=$out/bench-dataplane.json
trap 'rm -rf "$out"' EXIT

bench() { RESULTS=$out QUICK=1 scripts/bench-dataplane.sh >"$out/table" 2>"$out/log" 3>&-; }
runs() {
	bench || {
		tail -n 30 "$out/log"
		return 1
	}
}

complete() {
	jq -e '
		(.name == "bench-dataplane") and (.commit | length > 0) and (.host | .cpus > 0 and (.load_before | length > 0))
		and (.when | test("^20[0-9-]+T[0-9:]+Z$")) and (.runs | length > 200)
		and ((.targets | keys) - (.metrics | keys) | . == [] or error("not measured: \(.)"))
		and ((.targets | keys) - (.checks | keys) == []) and ([.checks[]] | all(type == "boolean"))
		and ([.metrics[]] | all(type == "number" and . > 0))' "$doc"
}

# Each way answers, and what goes through a process is slower than what does not.
sensible() {
	jq -e '
		([.variants[].name] - [.runs[].variant // empty] == [])
		and (["direct", "bridge", "routed", "nft", "haproxy", "tun", "weft"] - [.variants[].name] == [])
		and .checks.nothing_lost
		and (.metrics | .haproxy_tcp_rr_ratio > 1.2 and .tun_tcp_rr_ratio > 1.2 and .tun_tcp_stream_ratio < 0.8
			and .tcp_rr_ratio < .haproxy_tcp_rr_ratio and .tc_new_ns > .tc_hit_ns
			and .xdp_new_ns > .xdp_hit_ns)' "$doc"
}

table() {
	has "$(cat "$out/table")" '^weft +[0-9.]+ +[0-9.]+ +[0-9]\.[0-9]{3}' '^haproxy .* - ' \
		'^tc_hit_ns +[0-9.]+ .*at most 80' '^nothing lost: ✓' "^$doc$"
}

# A document of a run that broke off is none; and the run leaves nothing.
interrupted() { # SIGNAL
	local pid
	rm -f "$doc"
	RESULTS=$out QUICK=1 perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' \
		setsid scripts/bench-dataplane.sh >/dev/null 2>"$out/log" &
	pid=$!
	wait_for 60 grep -q 'pass 1' "$out/log" || return 1
	kill "-$1" "$pid"
	wait "$pid" && return 1
	[ ! -e "$doc" ] && wait_for 10 gone "$out/log"
}
# Whoever has the log open is one of them.
gone() { ! find /proc/[0-9]*/fd -lname "$1" 2>/dev/null | grep -q .; }

if [ "$(id -u)" != 0 ]; then tap_skip_all 'not root'; fi
if [ ! -c /dev/net/tun ]; then tap_skip_all 'no /dev/net/tun'; fi
tap 'QUICK=1 make bench-dataplane runs' runs
tap 'bench-dataplane.json is complete' complete
tap 'its figures make sense' sensible
tap 'the table shows them' table
tap '^C leaves neither a document nor a process' interrupted INT
tap_end
