#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Redis keeps what it was told: swapped under a thousand writes a second, with weft's own handover and
# with one by a command in the instances, every write that was acknowledged is there afterwards.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh
. tests/lib/redis.sh

written() { [ "$(wc -l <"$LAB_DIR/$1.acked")" -gt "$2" ]; }
swap() { lab_weft swap start shop.redis --to "$(redis_other)" --wait --timeout 90; }
is_master() { has "$(lab_in redis-cli -h $redis_vip info replication)" 'role:master' 'connected_slaves:0'; }

swapped_while_written() { # NAME
	local was
	was=$(lab_weft service show shop.redis -o json | jq -r .active)
	redis_writes "$1" 1000
	wait_for 20 written "$1" 1500 || return 1
	swap || return 1
	wait_for 20 written "$1" $(($(wc -l <"$LAB_DIR/$1.acked") + 1500)) || return 1
	redis_stop
	cat "$LAB_DIR/$1.json"
	[ "$was" != "$(lab_weft service show shop.redis -o json | jq -r .active)" ] && is_master
}

none_lost() {
	cat "$LAB_DIR/$1.json"
	same 'acknowledged writes that are not there' 0 "$(redis_lost "$1")" &&
		jq -e '.acknowledged > 3000' "$LAB_DIR/$1.json"
}

told() {
	has "$(lab_weft swap show "$(last_swap .id)")" 'warm .*copied in .* s, then writes paused'
}

# weftd dies in the middle of it, and of what it does next: whoever comes goes on, or begins anew.
killed_amid() {
	local state
	redis_writes killed 1000
	wait_for 20 written killed 500 || return 1
	lab_weft swap start shop.redis --to "$(redis_other)" || return 1
	for state in 'start-new|warm|shift|drain|stop-old|done' 'warm|shift|drain|stop-old|done'; do
		wait_for 60 passes "$state" || return 1
		lab_weftd_kill
		lab_weftd || return 1
	done
	wait_for 90 state_is "done" || {
		lab_weft swap show "$(last_swap .id)"
		return 1
	}
	wait_for 20 written killed $(($(wc -l <"$LAB_DIR/killed.acked") + 500)) || return 1
	redis_stop
	cat "$LAB_DIR/killed.json"
	is_master && same 'lost' 0 "$(redis_lost killed)"
}
passes() { has "$(last_swap .state)" "^($1)$"; }

# The old one goes on as if nothing had been.
turned_back() {
	# shellcheck disable=SC2016 # for the shell in the instance
	redis_descriptor "$LAB_DIR/redis.json" '{"type": "exec", "command": ["/bin/sh", "-c", "[ $1 != promote ]", "handover"]}'
	lab_weft apply -f "$LAB_DIR/redis.json" || return 1
	redis_writes back 1000
	wait_for 20 written back 500 || return 1
	refused 1 'was rolled back' 'handover from .*/bin/sh ended with status 1' -- swap || return 1
	wait_for 20 written back $(($(wc -l <"$LAB_DIR/back.acked") + 500)) || return 1
	redis_stop
	same 'lost' 0 "$(redis_lost back)"
}

# What is being undone goes by the descriptor, which stays as it is until then.
not_changed_meanwhile() {
	# shellcheck disable=SC2016 # for the shell in the instance
	redis_descriptor "$LAB_DIR/redis.json" '{"type": "exec", "command": ["/bin/sh", "-c", "case $1 in promote) exit 1 ;; resume) until [ \"$(redis-cli get undo)\" = 1 ]; do :; done; exit 1 ;; esac", "handover"]}'
	lab_weft apply -f "$LAB_DIR/redis.json" || return 1
	refused 1 'was rolled back' -- swap || return 1
	redis_descriptor "$LAB_DIR/redis.json" '{"type": "redis"}'
	refused 4 'its last handover is being undone' 'hint: apply it again' -- lab_weft apply -f "$LAB_DIR/redis.json" || return 1
	lab_in redis-cli -h $redis_vip set undo 1
	wait_for 20 lab_weft apply -f "$LAB_DIR/redis.json"
}

# What weft does itself, by hand; it begins when it is told to.
by_command() {
	local script
	lab_in redis-cli -h $redis_vip set go 1
	# shellcheck disable=SC2016 # for the shell in the instance
	script='info() { redis-cli "$@" info replication; }
		number() { o=${1##*$2:}; echo "${o%%[!0-9]*}"; }
		case $1 in
		sync) redis-cli -h "$2" incr asked
			until [ "$(redis-cli -h "$2" get go)" = 1 ]; do :; done
			redis-cli replicaof "$2" 6379
			until case $(info) in *master_link_status:up*) ;; *) false ;; esac; do :; done ;;
		pause) redis-cli client pause 600000 write ;;
		promote) o=$(number "$(info -h "$2")" master_repl_offset)
			until [ "$(number "$(info)" slave_repl_offset)" -ge "$o" ]; do :; done
			redis-cli replicaof no one ;;
		resume) redis-cli client unpause ;;
		esac'
	redis_descriptor "$LAB_DIR/redis.json" "$(jq -n --arg s "$script" '{type: "exec", command: ["/bin/sh", "-c", $s, "handover"]}')"
	lab_weft apply -f "$LAB_DIR/redis.json" && swapped_while_written command
}

# A swap that is paused by hand once all is handed over: the old one takes writes as long as it is.
paused_amid() {
	local handed asked
	handed=$(handovers)
	asked=$(lab_in redis-cli -h $redis_vip get asked)
	lab_in redis-cli -h $redis_vip set go 0
	lab_weft swap start shop.redis --to "$(redis_other)" || return 1
	wait_for 60 key_is asked $((asked + 1)) && lab_weft swap pause "$(last_swap .id)" || return 1
	lab_in redis-cli -h $redis_vip set go 1
	wait_for 20 handed_again "$handed" && wait_for 20 takes_writes && state_is warm || return 1
	lab_weft swap resume "$(last_swap .id)" && wait_for 60 state_is "done" && is_master && key_is paused yes
}
handovers() { grep -c ': handed over to ' "$LAB_DIR/weftd.log"; }
handed_again() { [ "$(handovers)" -gt "$1" ]; }
key_is() { [ "$(lab_in redis-cli -h $redis_vip get "$1")" = "$2" ]; }
takes_writes() { [ "$(lab_in timeout 2 redis-cli -h $redis_vip set paused yes)" = OK ]; }

# A password that it did not have before: the handover fails, and so would each try to undo it.
with_password() {
	local was
	was=$(lab_weft service show shop.redis -o json | jq -r .active)
	redis_descriptor "$LAB_DIR/redis.json" '{"type": "redis"}'
	lab_weft apply -f "$LAB_DIR/redis.json" || return 1
	lab_in redis-cli -h $redis_vip config set requirepass secret || return 1
	refused 1 'was rolled back' 'INFO: NOAUTH' 'hint: have shop.redis.[0-9]+ take writes again: REPLICAOF NO ONE' -- swap || return 1
	has "$(lab_weft swap show "$(last_swap .id)")" 'rollback .*not undone, it may refuse writes: redis at .*NOAUTH' || return 1
	! grep -q 'being undone:.*NOAUTH' "$LAB_DIR/weftd.log" || return 1
	lab_in redis-cli -h $redis_vip -a secret config set requirepass '' || return 1
	same 'active' "$was" "$(lab_weft service show shop.redis -o json | jq -r .active)" &&
		swap && is_master
}

refusals() {
	lab_weft service scale shop.redis 2 || return 1
	refused 1 'has 2 replicas: what one of them keeps' 'hint: weft service scale' -- swap || return 1
	lab_weft service scale shop.redis 1
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
redis_image
lab_open e2e-redis
lab_containerd
lab_weftd
redis_descriptor "$LAB_DIR/redis.json" '{"type": "redis"}'

tap 'the service runs as a container' lab_weft apply -f "$LAB_DIR/redis.json" --wait --timeout 60
tap 'swapped at 1,000 writes/s' swapped_while_written there
tap 'every acknowledged write is there' none_lost there
tap 'the history tells of the handover' told
tap 'and back' swapped_while_written back_again
tap 'every acknowledged write is there' none_lost back_again
tap 'weftd killed amid a handover' killed_amid
tap 'a handover by a command that fails is turned back' turned_back
tap 'while it is undone the descriptor stays' not_changed_meanwhile
tap 'a handover by a command' by_command
tap 'every acknowledged write is there' none_lost command
tap 'a swap paused amid a handover' paused_amid
tap 'with a password in between: turned back, and not tried again' with_password
tap 'several replicas are refused' refusals
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
