#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The demo itself, short: its result document and page are complete; ^C at any time leaves nothing.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh

out=$(mktemp -d /var/tmp/weft-test-demo.XXXXXX)
trap 'rm -rf "$out"' EXIT

demo() {
	RESULTS=$out RATE=300 CONNECTIONS=8 SECONDS_QUIET=2 SECONDS_SHIFT=2 scripts/demo.sh >"$out/log" 2>&1
}
runs() {
	demo || {
		tail -n 30 "$out/log"
		return 1
	}
}

complete() {
	jq -e '
		(.name == "demo") and (.commit | length > 0) and (.when | length > 0) and (.host.cpus > 0)
		and (.metrics | .failed_requests == 0 and .swaps == 2
			and (["before", "shift", "after", "back"]
				| all(. as $p | $m | all(.[]; . as $k | $metrics[$k + $p] | type == "number"))))
		and ([.checks[]] | all)
		and (.metrics.cpu_container_before > 0) and (.metrics.cpu_unikernel_after > 0)' \
		--argjson m '["p50_us_", "p90_us_", "p99_us_", "cpu_container_", "cpu_unikernel_"]' \
		--argjson metrics "$(jq .metrics "$out/demo.json")" "$out/demo.json"
}

page() { # one file, its data in it, nothing fetched from elsewhere
	local bytes
	bytes=$(wc -c <"$out/demo.html")
	[ "$bytes" -gt 15000 ] && ! grep -q '/\*DATA\*/null' "$out/demo.html" &&
		! grep -qE '(src|href)="?(https?:)?//' "$out/demo.html" &&
		sed -n 's/^const data = \(.*\);$/\1/p' "$out/demo.html" |
		jq -e '(.phases | length == 4) and (.series | length > 10) and (.weights | length > 20)
			and (.cpu | length > 10)'
}

# Everything carries the lab's name, which has the demo's pid in it.
left_of() {
	ip netns list | grep -F "weft-demo-$1"
	ls -d "/sys/fs/bpf/weft-demo-$1" 2>/dev/null
	find /sys/fs/cgroup -type d -name "weft-demo-$1*" 2>/dev/null
	pgrep -af "weft-demo-$1"
}

interrupted() { # SIGNAL LOG-PATTERN: when the demo has said that, send it the signal
	local pid left
	: >"$out/log"
	# What starts in the background ignores SIGINT; the demo must not.
	RESULTS=$out SECONDS_QUIET=2 perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' \
		setsid scripts/demo.sh >"$out/log" 2>&1 &
	pid=$!
	wait_for 40 grep -q "$2" "$out/log" || return 1
	kill "-$1" -- "-$pid"
	wait "$pid" && {
		echo 'it ended well'
		return 1
	}
	left=$(left_of "$pid")
	[ -z "$left" ] || {
		printf 'left behind: %s\n' "$left"
		return 1
	}
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
tap 'the demo runs, no request fails' runs
tap 'demo.json is complete' complete
tap 'demo.html holds its data and fetches nothing' page
tap '^C while services start' interrupted INT '2\. shop\.web'
tap '^C while weights move' interrupted INT 'shift  *new'
tap 'SIGTERM while weights move' interrupted TERM 'shift  *new'
tap_end
