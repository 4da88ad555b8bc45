#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The demo itself, short: its result document and page are complete; ^C at any time leaves nothing.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh

out=$(mktemp -d /var/tmp/weft-test-demo.XXXXXX)
trap 'lab_end "${OTHER:-}"; rm -rf "$out"' EXIT

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

# A swap that is turned back: the demo goes on to its verdict, and fails.
a_swap_aborted() {
	local pid sock id
	: >"$out/log"
	RESULTS=$out RATE=100 CONNECTIONS=4 SECONDS_QUIET=1 SECONDS_SHIFT=4 setsid scripts/demo.sh >"$out/log" 2>&1 &
	pid=$!
	wait_for 40 grep -q 'shift  *new' "$out/log" || return 1
	sock=$(pgrep -af "weftd .*--node=demo-$pid" | grep -o '/var/tmp/[^ ]*/weftd.sock' | head -n 1)
	id=$("$LAB_BUILD/weft" -H "unix:$sock" swap list -o json | jq -r '.items[0].id') &&
		"$LAB_BUILD/weft" -H "unix:$sock" swap abort "$id" || return 1
	wait "$pid"
	same 'status' 1 $? && has "$(cat "$out/log")" 'FAILED: 0 of [0-9]+ requests failed; 0 of 2 swaps completed' &&
		jq -e '.checks == {no_request_failed: true, both_swaps_done: false} and .page.good == false' "$out/demo.json"
}

# In a containerd of somebody else's: used, and left as it was.
OTHER=
ctr_of() { ctr -a "$out/c.sock" "$@"; }
# In every namespace of it.
others() {
	local ns what
	for ns in $(ctr_of namespaces ls -q); do
		echo "namespace $ns"
		for what in 'images ls -q' 'containers ls -q' 'tasks ls -q' 'leases ls -q' 'snapshots ls' 'content ls -q'; do
			# shellcheck disable=SC2086 # words
			ctr_of -n "$ns" $what | grep -v ^KEY
		done
	done
}
given_containerd() {
	mkdir "$out/c"
	printf 'version = 2\nroot = "%s/root"\nstate = "%s/state"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "%s"\n' \
		"$out/c" "$out/c" "$out/c.sock" >"$out/c.toml"
	containerd --config "$out/c.toml" >"$out/c.log" 2>&1 &
	OTHER=$!
	wait_for 20 ctr_of version && ctr_of namespaces create somebodys || return 1
	WEFT_CONTAINERD=$out/c.sock demo && same 'what is in it' 'namespace somebodys' "$(others)"
	local rc=$?
	lab_end "$OTHER"
	return $rc
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
tap 'a swap turned back: a verdict, and a status that says so' a_swap_aborted
tap "somebody else's containerd" given_containerd
tap '^C while services start' interrupted INT '2\. shop\.web'
tap '^C while weights move' interrupted INT 'shift  *new'
tap 'SIGTERM while weights move' interrupted TERM 'shift  *new'
tap_end
