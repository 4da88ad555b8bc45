#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Chaos under load: weftd and containerd are killed at random moments while swaps begin, are paused,
# turned back and go on; then instances are killed too. While only the daemons die, no request may
# be lost. The death of an instance may cost what was being asked of it and nothing else: no
# request that was sent later than WITHIN after it, while another instance was ready.
#   CHAOS_SECONDS=600 tests/e2e/chaos.t     ten minutes; WEFT_SEED=N repeats the order of an earlier run
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh

seconds=${CHAOS_SECONDS:-24} # of each of the two parts
WITHIN=1000                  # ms

running() { lab_weft swap list -o json | jq -e '[.items[] | select(.ended_ms == null)] | length > 0' >/dev/null; }
ready() { lab_weft instance list -o json | jq -r '.items[] | select(.phase == "ready") | "\(.id) \(.pid)"'; }
log() { printf '%s %s\n' "$(date +%s%3N)" "$*" | tee -a "$LAB_DIR/chaos.log"; }

kill_weftd() {
	log 'kill weftd'
	lab_weftd_kill
	pause "0.$((RANDOM % 9))"
	lab_weftd
}
kill_containerd() {
	log 'kill containerd'
	lab_end "$LAB_CONTAINERD_PID" KILL
	pause "0.$((RANDOM % 9))"
	lab_containerd
}
some_swap() {
	local to
	to=$(lab_weft service show shop.web -o json | jq -r 'if .active == "container" then "unikernel" else "container" end')
	log "swap to $to"
	lab_weft swap start shop.web --to "$to" --duration 3s --drain 5s --at-a-time "$((RANDOM % 3 + 1))" || :
}
some_command() {
	local commands=(pause resume abort rollback) c
	c=${commands[RANDOM % 4]}
	log "swap $c"
	lab_weft swap "$c" "$(last_swap .id)" || :
}
# One of several that are ready.
kill_instance() {
	local who id pid
	mapfile -t who < <(ready)
	[ ${#who[@]} -ge 2 ] || return 0
	read -r id pid <<<"${who[RANDOM % ${#who[@]}]}"
	log "kill instance $id"
	kill -KILL "$pid" 2>/dev/null || :
}

chaos() { # SECONDS ACTION...: one of them, now and then
	local end=$((SECONDS + $1)) acts
	shift
	acts=("$@")
	while [ $SECONDS -lt $end ]; do
		if running || [ $((RANDOM % 2)) = 0 ]; then "${acts[RANDOM % ${#acts[@]}]}"; else some_swap; fi || return 1
		pause "$((RANDOM % 2)).$((RANDOM % 9))"
	done
}
settles() {
	lab_weft swap resume "$(last_swap .id)" >/dev/null 2>&1 || :
	wait_for 90 quiet || {
		lab_weft swap list
		lab_weft instance list
		tail -n 30 "$LAB_DIR/weftd.log"
		return 1
	}
}
quiet() { ! running && [ "$(lab_weft service show shop.web -o json | jq -r '"\(.phase) \(.ready)"')" = 'running 3' ]; }

daemons_die() { chaos "$seconds" kill_weftd kill_containerd some_command kill_weftd; }
instances_die() { chaos "$seconds" kill_weftd kill_containerd kill_instance kill_instance some_command; }

# Failures of the second part, each within WITHIN of an instance's death. The load's own interval, and
# the time that a request may take until it is seen to have failed, come on top.
excused() {
	local kills failed
	kills=$(sed -n 's/^\([0-9]*\) kill instance.*/\1/p' "$LAB_DIR/chaos.log" | jq -sc .)
	failed=$(jq -c --argjson kills "$kills" --argjson within "$WITHIN" 'select(.failed > 0) |
		.t as $t | select([$kills[] | select($t >= . - 200 and $t <= . + $within)] == [])' "$LAB_DIR/second.series")
	echo "$(jq length <<<"$kills") instances killed, $(jq .total.failed "$LAB_DIR/second.json") requests lost"
	[ "$(jq length <<<"$kills")" -gt 0 ] && same 'failures without excuse' '' "$failed" || {
		tail -n 60 "$LAB_DIR/chaos.log"
		return 1
	}
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
seed=${WEFT_SEED:-$RANDOM}
RANDOM=$seed
lab_image_nginx
lab_open e2e-chaos
lab_containerd
lab_weftd
lab_descriptor "$LAB_DIR/shop.json" '.applications[0].microservices[0].replicas = 3'

tap "three containers run (seed $seed)" lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60
load_start first 40 16 --close --duration 3600s --timeout 20s
tap 'weftd and containerd die during swaps' daemons_die
tap 'all goes on' settles
load_stop
tap 'no request was lost' none_failed first $((seconds * 36))
load_start second 40 16 --close --duration 3600s --timeout 20s --series "$LAB_DIR/second.series" --interval 100ms
tap 'instances die too' instances_die
tap 'all goes on' settles
load_stop
tap 'no request was lost but those of the dead' excused
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
