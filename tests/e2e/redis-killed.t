#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weftd is killed (-9) at each step of a Redis handover under a thousand writes a second, and stays
# away for longer than Redis keeps its writes paused: every write that was acknowledged is there
# afterwards. And one that cannot keep up is not handed over to.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh
. tests/lib/redis.sh

AWAY=34 # s: the writes' pause is 30

acked() { wc -l <"$LAB_DIR/$1.acked"; }
written() { [ "$(acked "$1")" -gt "$2" ]; }
goes_on() { wait_for 30 written "$1" $(($(acked "$1") + 300)); }
killed() { lab_gone "$LAB_WEFTD_PID"; }
ended() { has "$(last_swap .state)" '^(done|rolled-back)$'; }
is_master() { has "$(lab_in redis-cli -h $redis_vip info replication)" 'role:master' 'connected_slaves:0'; }
faults() { # WHAT STEP
	jq -n --arg what "$1" --arg step "$2" \
		'[{call: "step", runtime: $what, id: $step, do: "die-before"}]' >"$LAB_DIR/faults.json"
	rm -f "$LAB_DIR/faults.json.0"
}
weftd_with_faults() {
	lab_end "$LAB_WEFTD_PID"
	WEFT_FAULTS=$LAB_DIR/faults.json lab_weftd
}
tell() {
	lab_weft swap show "$(last_swap .id)"
	tail -n 30 "$LAB_DIR/weftd.log"
	return 1
}
none_lost() { # NAME
	redis_stop
	cat "$LAB_DIR/$1.json"
	same 'acknowledged writes that are not there' 0 "$(redis_lost "$1")" || tell
}

killed_at() { # WHAT STEP SECONDS
	local name=$1-$2
	faults "$1" "$2"
	weftd_with_faults && redis_writes "$name" 1000 && wait_for 20 written "$name" 300 || return 1
	lab_weft swap start shop.redis --to "$(redis_other)"
	wait_for 60 killed || tell || return 1
	pause "$3"
	lab_weftd && wait_for 90 ended && state_is "done" || tell || return 1
	goes_on "$name" && none_lost "$name" && is_master
}

# Signal what runs in the instance that was made last.
signal_new() {
	local group
	group=$(find /sys/fs/cgroup -type d -path "*/weft-$LAB_NAME/shop.redis.*" -printf '%f %p\n' | sort -rV | head -n 1)
	find "${group#* }" -name cgroup.procs -exec cat {} + | sort -u | xargs -r kill "-$1"
}
killed_then() { # NAME STEP SIGNAL: weftd dies before STEP, and its new instance gets SIGNAL
	redis_writes "$1" 1000
	wait_for 20 written "$1" 300 || return 1
	lab_weft swap start shop.redis --to "$(redis_other)"
	wait_for 60 killed || tell || return 1
	signal_new "$3"
}
turned_back() { # NAME WAS
	wait_for 90 state_is rolled-back && goes_on "$1" && none_lost "$1" && is_master || tell || return 1
	same 'active' "$2" "$(lab_weft service show shop.redis -o json | jq -r .active)"
}
active() { lab_weft service show shop.redis -o json | jq -r .active; }

# The new one stands still, and its offset with it.
cannot_keep_up() {
	local was
	was=$(active)
	faults handover catch-up
	weftd_with_faults && killed_then slow catch-up STOP || return 1
	lab_weftd && turned_back slow "$was"
}

# The old one, which refuses writes already, takes them again; whoever of weftd has to say so.
undone_by_another() {
	local was
	was=$(active)
	faults handover handed
	jq '. + [{call: "step", runtime: "swap", id: "rollback", do: "die-before"}]' "$LAB_DIR/faults.json" \
		>"$LAB_DIR/faults.new" && mv "$LAB_DIR/faults.new" "$LAB_DIR/faults.json"
	weftd_with_faults && killed_then undone handed KILL || return 1
	has "$(lab_in redis-cli -h $redis_vip set fenced no 2>&1)" READONLY || return 1
	WEFT_FAULTS=$LAB_DIR/faults.json lab_weftd_until_killed || tell || return 1
	has "$(lab_in redis-cli -h $redis_vip set fenced no 2>&1)" READONLY || return 1
	lab_weftd && turned_back undone "$was"
}
# It may die before it is seen to have started.
lab_weftd_until_killed() {
	(lab_weftd) || :
	wait_for 30 has "$(ls "$LAB_DIR")" 'faults\.json\.1'
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
redis_image
lab_open e2e-redis-killed
lab_containerd
lab_weftd
redis_descriptor "$LAB_DIR/redis.json" '{"type": "redis"}'

tap 'the service runs as a container' lab_weft apply -f "$LAB_DIR/redis.json" --wait --timeout 60
for step in role clear follow copy pause measure catch-up fence promote handed cut; do
	tap "killed before $step: none is lost" killed_at handover $step 0.3
done
tap 'killed when the shift is stored, and away for long: none is lost' killed_at swap shift $AWAY
tap 'killed when the drain is stored, and away for long: none is lost' killed_at swap drain $AWAY
tap 'killed before it promotes, and away for long: none is lost' killed_at handover promote $AWAY
tap 'killed before the fence, and away for long: none is lost' killed_at handover fence $AWAY
tap 'a new instance that does not keep up: turned back, none is lost' cannot_keep_up
tap 'killed when all was handed over, and the new one dies: the old one takes writes' undone_by_another
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
