#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weft-load as its user runs it: exit statuses, formats, signals and commands.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
B=${B:-build}
load=$B/weft-load
server=$B/tests/unit/test_load_run
command -v jq >/dev/null || tap_skip_all "jq is missing"
[ -x "$load" ] && [ -x "$server" ] || tap_skip_all "$load or $server is not built"

dir=$(mktemp -d /tmp/weft-test-load.XXXXXX)
declare -a pids=()
cleanup() {
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
	rm -rf "$dir"
}
trap cleanup EXIT

# wait_for SECONDS CMD...
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		read -r -t 0.02 _ <>"$dir/never"
	done
	return 0
}
mkfifo "$dir/never"

# serve MODE: start the server; its URL goes to $url
serve() {
	: >"$dir/port"
	"$server" --serve "$1" <"$dir/never.in" >"$dir/port" &
	pids+=($!)
	wait_for 10 test -s "$dir/port" || return 1
	url=http://127.0.0.1:$(cat "$dir/port")/
}
mkfifo "$dir/never.in"
exec 9<>"$dir/never.in" # somebody must hold it open for writing
serve ok || { echo "Bail out! the server does not start"; exit 1; }

status() {
	local want=$1 got=0
	shift
	"$@" >"$dir/out" 2>"$dir/err" || got=$?
	cat "$dir/err"
	[ "$got" = "$want" ] || { echo "exit status $got, wanted $want"; return 1; }
}

sum() { jq -e "$1" "$dir/out" >/dev/null || { cat "$dir/out"; return 1; }; }

table() {
	status 0 "$load" --rate 200 --duration 500ms "$url" &&
		grep -q '^PHASE .*P99.9 .*MAX' "$dir/out" && grep -qE '^total +0.5s +100 +0' "$dir/out" &&
		[ ! -s "$dir/err" ]
}

json() {
	status 0 "$load" -o json --rate 400 --duration 500ms --interval 100ms --commit abc \
		--output "$dir/doc.json" --series "$dir/series" --histogram "$url" || return 1
	cmp "$dir/out" "$dir/doc.json" || return 1
	sum '.name == "weft-load" and .commit == "abc" and .mode == "open" and .rate == 400
		and .total.requests == 200 and .total.failed == 0 and (.phases | length) == 1
		and ([.total.errors[]] | add) == 0 and .total.p50_us <= .total.p99_us
		and ([.series[].sent] | add) == 200 and .total.service_p50_us > 0
		and ([.total.latency_histogram_us.buckets[][1]] | add) == 200
		and (.when | test("^20..-..-..T..:..:..Z$"))' || return 1
	[ "$(jq -c . "$dir/series" | jq -s 'map(.sent) | add')" = 200 ] &&
		[ "$(jq -s 'length' "$dir/series")" = "$(jq '.series | length' "$dir/out")" ]
}

unreachable() {
	status 6 "$load" --rate 10 http://127.0.0.1:1/ && grep -q '^error: .*refused' "$dir/err" &&
		grep -q '^hint: ' "$dir/err" && [ ! -s "$dir/out" ]
}

unwritable() {
	status 3 "$load" --rate 100 --duration 100ms --output /nowhere/x "$url" &&
		grep -q 'total' "$dir/out" && grep -q '/nowhere/x' "$dir/err"
}

fail_on_error() {
	local good=$url
	serve missing || return 1
	status 0 "$load" --rate 100 --duration 100ms "$url" &&
		status 1 "$load" --rate 100 --duration 100ms --fail-on-error "$url" &&
		grep -q '^failed: http_4xx 10$' "$dir/out" &&
		status 0 "$load" --rate 100 --duration 100ms --fail-on-error "$good"
	local rc=$?
	url=$good
	return $rc
}

# The load goes on until it is told to stop; each request is in one phase.
commands() {
	"$load" -o json --rate 500 --duration 0 --phase before --control "$dir/ctl" \
		--series "$dir/series" --interval 50ms "$url" >"$dir/out" 2>"$dir/err" &
	local pid=$! rc=0
	pids+=("$pid")
	wait_for 10 grep -qs '"phase":"before"' "$dir/series" || return 1
	echo "phase shift" >"$dir/ctl"
	wait_for 10 grep -q '"phase":"shift"' "$dir/series" || return 1
	printf 'nonsense\nphase after\n' >"$dir/ctl"
	wait_for 10 grep -q '"phase":"after"' "$dir/series" || return 1
	echo stop >"$dir/ctl"
	wait $pid || rc=$?
	[ $rc = 0 ] || { echo "exit status $rc"; return 1; }
	[ ! -e "$dir/ctl" ] || { echo "the FIFO was left behind"; return 1; }
	grep -q nonsense "$dir/err" || return 1
	sum '[.phases[].name] == ["before", "shift", "after"] and .total.failed == 0
		and ([.phases[].requests] | min) >= 10
		and ([.phases[].requests] | add) == .total.requests
		and ((.total.requests / .duration_s - 500) | fabs) < 5 and .unfinished == 0'
}

commands_on_stdin() {
	printf 'phase a\nstop\n' | { status 0 "$load" -o json --rate 100 --duration 0 --control - "$url"; } ||
		[ "$(cat "$dir/err")" = "error: $url: interrupted before the start
hint: the connections were still being opened" ]
}

signal() {
	rm -f "$dir/series"
	"$load" -o json --rate 200 --duration 60s --series "$dir/series" --interval 50ms "$url" \
		>"$dir/out" 2>"$dir/err" &
	local pid=$! rc=0
	pids+=("$pid")
	wait_for 10 test -s "$dir/series" || return 1
	kill "-$1" $pid
	wait $pid || rc=$?
	[ $rc = 0 ] || { echo "exit status $rc"; return 1; }
	sum '.total.requests >= 10 and .total.failed == 0 and .duration_s < 30'
}

# The first signal waits for what is on its way, the second does not.
second_signal() {
	local good=$url
	rm -f "$dir/series"
	serve silent || return 1
	"$load" -o json --rate 100 --timeout 60s --series "$dir/series" --interval 50ms "$url" \
		>"$dir/out" 2>"$dir/err" &
	local pid=$! rc=0
	url=$good
	pids+=("$pid")
	wait_for 10 test -s "$dir/series" || return 1
	kill -INT $pid
	wait_for 10 grep -q '"sent":0' "$dir/series" || return 1
	kill -INT $pid
	wait $pid || rc=$?
	[ $rc = 0 ] || { echo "exit status $rc"; return 1; }
	sum '.unfinished >= 1 and .total.requests == 0'
}

manual() {
	local flag
	command -v mandoc >/dev/null || return 0
	mandoc -Tlint -Wwarning ctrl/man/weft-load.1 || return 1
	for flag in $("$load" --help | grep -oE -- '--[a-z][a-z-]*' | sort -u); do
		grep -q -- "Fl ${flag#-}\b" ctrl/man/weft-load.1 ||
			{ echo "$flag is not in the manual"; return 1; }
	done
}

tap "the table" table
tap "the JSON document, file and series" json
tap "wrong flags are refused with status 2" status 2 "$load" --rate 10 --what "$url"
tap "nobody listens: status 6" unreachable
tap "the result is printed when its file cannot be written" unwritable
tap "--fail-on-error" fail_on_error
tap "phases and stop by a FIFO" commands
tap "commands on standard input" commands_on_stdin
tap "SIGINT ends the run with its result" signal INT
tap "SIGTERM too" signal TERM
tap "a second signal does not wait for answers" second_signal
tap "the manual knows every flag" manual
tap_end
