#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weftd is killed (-9) at each step of a Redis handover under a thousand writes a second, and stays
# away for longer than Redis keeps its writes paused: every write that was acknowledged is there
# afterwards. And one that cannot keep up is not handed over to. It stays away in labs of their own,
# beside the steps: that takes half a minute each time, and next to nothing is done in it.
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
	lab_weft swap start "$redis_app.redis" --to "$(redis_other)"
	wait_for 60 killed || tell || return 1
	pause "$3"
	lab_weftd && wait_for 90 ended && state_is "done" || tell || return 1
	goes_on "$name" && none_lost "$name" && is_master
}

# Signal what runs in the instance that was made last.
signal_new() {
	local group
	group=$(find /sys/fs/cgroup -type d -path "*/weft-$LAB_NAME/$redis_app.redis.*" -printf '%f %p\n' | sort -rV | head -n 1)
	find "${group#* }" -name cgroup.procs -exec cat {} + | sort -u | xargs -r kill "-$1"
}
killed_then() { # NAME STEP SIGNAL: weftd dies before STEP, and its new instance gets SIGNAL
	redis_writes "$1" 1000
	wait_for 20 written "$1" 300 || return 1
	lab_weft swap start "$redis_app.redis" --to "$(redis_other)"
	wait_for 60 killed || tell || return 1
	signal_new "$3"
}
turned_back() { # NAME WAS
	wait_for 90 state_is rolled-back && goes_on "$1" && none_lost "$1" && is_master || tell || return 1
	same 'active' "$2" "$(lab_weft service show "$redis_app.redis" -o json | jq -r .active)"
}
active() { lab_weft service show "$redis_app.redis" -o json | jq -r .active; }

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
	busy && lab_weftd && wait_for 60 grep -q 'being undone:.* BUSY .*trying again' "$LAB_DIR/weftd.log" || tell || return 1
	lab_in redis-cli -h $redis_vip script kill && turned_back undone "$was"
}
# It answers whatever it is asked by an error, until the script is killed: one that may not write, as
# writes pause.
busy() {
	lab_in redis-cli -h $redis_vip config set lua-time-limit 1 || return 1
	lab_in timeout 100 redis-cli -h $redis_vip eval_ro 'while true do end' 0 >/dev/null 2>&1 &
	wait_for 10 has_busy
}
has_busy() { has "$(lab_in redis-cli -h $redis_vip ping 2>&1)" BUSY; }
# The right to take the fence away is taken from us in between: what is left to do is said, and done by hand.
undone_by_hand() {
	faults handover handed
	weftd_with_faults && killed_then byhand handed KILL || return 1
	lab_in redis-cli -h $redis_vip acl setuser default -replicaof || return 1
	lab_weftd && wait_for 60 state_is rolled-back || tell || return 1
	has "$(lab_weft swap show "$(last_swap .id)")" 'rollback .*not undone, it may refuse writes: redis at .*NOPERM' &&
		has "$(last_swap .error.hint)" "have $redis_app.redis.[0-9]+ take writes again: REPLICAOF NO ONE, then CLIENT UNPAUSE" &&
		! grep -q 'being undone:.*NOPERM' "$LAB_DIR/weftd.log" &&
		has "$(lab_in redis-cli -h $redis_vip set fenced no 2>&1)" READONLY || tell || return 1
	lab_in redis-cli -h $redis_vip acl setuser default +replicaof &&
		lab_in redis-cli -h $redis_vip replicaof no one && lab_in redis-cli -h $redis_vip client unpause || return 1
	goes_on byhand && none_lost byhand && is_master
}
# It may die before it is seen to have started.
lab_weftd_until_killed() {
	(lab_weftd) || :
	wait_for 30 has "$(ls "$LAB_DIR")" 'faults\.json\.1'
}

# The application has a name of its own, too: sandboxes of several daemons do not meet by their names.
open_lab() { # NAME APPLICATION
	redis_app=$2
	redis_image
	lab_open "$1"
	lab_containerd
	lab_weftd
	redis_descriptor "$LAB_DIR/redis.json" '{"type": "redis"}'
}
applied() { lab_weft apply -f "$LAB_DIR/redis.json" --wait --timeout 60; }

# A lab beside this one is this program again. Each case tells in a file how it went: WHAT-STEP.ok
# has what it printed, or WHAT-STEP.out if it failed.
away() { # WHAT STEP [WHAT STEP]...
	local out old results=${AWAY_DIR:?}
	open_lab e2e-redis-away "away$1" && applied || return 1
	while [ $# -gt 0 ]; do
		out=$results/$1-$2
		killed_at "$1" "$2" $AWAY >"$out.out" 2>&1 && mv "$out.out" "$out.ok"
		shift 2
	done
	old=$LAB_DIR
	lab_close && nothing_left "$old"
}
begin_away() {
	AWAY_DIR=$away_dir "$0" away "$@" >"$away_dir/$1-$2.log" 2>&1 </dev/null &
	away_pids+=($!)
}
# Also when it is this program that is ended: its labs are closed as well.
end_away() {
	local rc=$?
	[ ${#away_pids[@]} = 0 ] || { kill "${away_pids[@]}" && wait "${away_pids[@]}"; } 2>/dev/null
	rm -rf "$away_dir"
	(exit $rc)
	lab_close
}
survived() { # WHAT STEP
	[ -e "$away_dir/$1-$2.ok" ] || {
		cat "$away_dir/$1-$2.out" "$away_dir"/*.log
		return 1
	}
}
closed_clean() {
	local pid rc=0
	for pid in "${away_pids[@]}"; do wait "$pid" || rc=1; done
	away_pids=()
	[ $rc = 0 ] || {
		tail -n 15 "$away_dir"/*.log
		return 1
	}
}

if [ "${1:-}" = away ]; then
	shift
	away "$@"
	exit
fi
if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
redis_image
away_dir=$(mktemp -d /var/tmp/weft-test-redis-away.XXXXXX) away_pids=()
trap end_away EXIT
begin_away swap shift swap drain
begin_away handover promote handover fence
open_lab e2e-redis-killed killed
trap end_away EXIT

tap 'the service runs as a container' applied
for step in role clear follow copy pause measure catch-up fence promote handed cut; do
	tap "killed before $step: none is lost" killed_at handover $step 0.3
done
tap 'a new instance that does not keep up: turned back, none is lost' cannot_keep_up
tap 'killed when all was handed over, and the new one dies: the old one takes writes' undone_by_another
tap 'the same, and it may not do so any more: said in the history, and mended by hand' undone_by_hand
tap 'the labs with long absences close clean' closed_clean
tap 'killed when the shift is stored, and away for long: none is lost' survived swap shift
tap 'killed when the drain is stored, and away for long: none is lost' survived swap drain
tap 'killed before it promotes, and away for long: none is lost' survived handover promote
tap 'killed before the fence, and away for long: none is lost' survived handover fence
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
rm -rf "$away_dir"
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
