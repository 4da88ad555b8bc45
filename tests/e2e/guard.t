#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The guard, by what the data plane sees: under load a new instance that resets, refuses, is slow or
# mute is turned back by itself, and no request is lost but those that it had got.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

# MODE [JQ]: the service's native variant is one that goes wrong so.
describe() {
	SERVE=$PWD/tests/lib/serve.pl MODE=$1 FILE=$LAB_DIR/$1.log \
		lab_descriptor "$LAB_DIR/shop.json" '.applications[0].microservices[0] |= (
			.swap.drain_s = 5 |
			.variants = [{virtualization: "native", cmd: ["perl", env.SERVE, env.MODE, env.FILE]}] | '"${2:-.}"')' &&
		lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60
}

# MODE GUARD WORDS...: it is turned back, for a reason that has these words in it.
turned_back() {
	local mode=$1 guard=$2 error word
	shift 2
	describe "$mode" || return 1
	lab_weft swap start shop.web --to native --strategy canary --steps 30 --hold 60s \
		--guard "$guard" --wait --timeout 100 2>&1 | tee "$LAB_DIR/said"
	state_is rolled-back || return 1
	error=$(last_swap .error.message)
	for word in "$@"; do has "$error" "$word" || return 1; done
	active container
}

# MODE GUARD: the guard allows what it does, and the swap is done.
goes_on() {
	describe "$1" && lab_weft swap start shop.web --to native --strategy canary --steps 30 --hold 6s \
		--guard "$2" --wait --timeout 100 && state_is "done" && active native
}
back() { lab_weft swap start shop.web --to container --strategy at-once --drain 1s --guard errors=100 --wait --timeout 60; }

# By what the service's descriptor allows; requests are answered all along.
by_probes() {
	describe sick '.swap.guard = {error_percent: 100, probe_failures: 2}' || return 1
	lab_weft swap start shop.web --to native --strategy canary --steps 30 --hold 60s --wait --timeout 100
	state_is rolled-back && active container && lab_weft swap show "$(last_swap .id)" -o json |
		jq -e '.plan.guard.probe_failures == 2 and .plan.guard.error_percent == 100' || return 1
	has "$(last_swap .error.message)" 'instance shop\.web\.[0-9]+ ' '500'
}

failed() { jq .total.failed "$LAB_DIR/$1.json"; }

# LOAD MODE: so many failed at the most as the bad one had got.
no_more_failed() {
	local failed met
	failed=$(failed "$1")
	met=$(wc -l <"$LAB_DIR/$2.log")
	echo "$failed failed, $met had reached the bad one"
	[ "$failed" -le "$met" ] && [ "$met" -gt 0 ]
}

refused_no_more() {
	local failed refused
	failed=$(failed refuse)
	refused=$(last_swap .error.message | sed -n 's/.*(refused \([0-9]*\),.*/\1/p')
	echo "$failed failed, $refused refused when it was judged"
	# Those on their way meanwhile: a look each quarter of a second, at 100 requests in one.
	[ "$failed" -gt 0 ] && [ "$failed" -le $((refused + 60)) ]
}

effects() {
	local shown
	shown=$(lab_weft swap show "$(last_swap .id)") || return 1
	echo "$shown"
	has "$shown" 'INSTANCES' && has "$shown" 'shift  *new' && has "$shown" 'shift  *old' || return 1
	lab_weft swap show "$(last_swap .id)" -o json | jq -e '
		[.phases[] | select(.name == "shift")][0] |
		.old.requests > 0 and .new.requests > 0 and .old.failed == 0 and .new.failed == 0 and
		.old.cpu_ms > 0 and .new.cpu_ms > 0 and .new.p90_us > 25000 and .old.p50_us > 0 and .old.p90_us < .new.p90_us'
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_image_nginx
lab_open e2e-guard
lab_containerd
lab_weftd

tap 'the service runs as a container' describe good
load_start good 100 8 --close
tap 'a good one goes on' swap_to native
tap 'and back' swap_to container
load_stop
tap 'no request was lost' none_failed good 300

load_start reset 100 8 --close
tap 'one that resets is turned back' turned_back reset probes=0 'requests failed' 'of the old ones'
load_stop
tap 'no others failed' no_more_failed reset reset

load_start refuse 100 8 --close
tap 'one that refuses is turned back' turned_back refuse probes=0 'refused' 'error_percent 5'
load_stop
tap 'no others failed' refused_no_more

load_start slow 150 8 --close
tap 'one that is slow is turned back' turned_back slow probes=0,latency=200 'latency_percent is 200'
load_stop
tap 'no request was lost' none_failed slow 300
tap 'the history tells what it did' effects

load_start mute 100 64 --close
tap 'one that never answers is turned back' turned_back mute probes=0 'no answer for 2 s'
load_stop
tap 'no others failed' no_more_failed mute mute

load_start sick 100 8 --close
tap 'one whose probes fail is turned back, by the guard of its descriptor' by_probes
tap 'unless no number of failures is too many' goes_on sick probes=0
tap 'and back' swap_to container
load_stop
tap 'no request was lost' none_failed sick 300

load_start more 100 8 --close
tap 'errors=100 lets one go on that resets' goes_on reset errors=100,probes=0
tap 'and back' back
tap 'latency=0 lets one go on that is slow' goes_on slow latency=0
tap 'and back' back
tap 'requests=100000: nor was it asked often enough to be slow' goes_on slow latency=200,requests=100000
load_stop
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
