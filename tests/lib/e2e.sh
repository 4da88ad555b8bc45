# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What end-to-end tests of shop.web share: its load, its swaps, what is left behind. Sourced after
# tests/lib/tap.sh and scripts/lab.sh.
#   load_start NAME RATE CONNECTIONS [FLAGS]   until load_stop
#   network_counted [SERVICE]                  the link of its one instance has the bytes of calls, both ways
#   none_failed NAME AT_LEAST                  so many requests were sent, and each was answered
vip=10.30.0.2

load_start() {
	local name=$1 rate=$2 connections=$3
	shift 3
	rm -f "$LAB_DIR/control"
	mkfifo "$LAB_DIR/control"
	exec 7<>"$LAB_DIR/control"
	setsid nsenter --net="/run/netns/$LAB_NS" "$LAB_BUILD/weft-load" "http://$vip/" --rate "$rate" \
		--connections "$connections" --duration 120s --control "$LAB_DIR/control" \
		--output "$LAB_DIR/$name.json" "$@" >"$LAB_DIR/$name.txt" 2>&1 </dev/null 7>&- &
	LOAD=$!
}

load_stop() {
	printf 'stop\n' >&7
	wait "$LOAD"
	exec 7>&-
}

none_failed() {
	local sent failed
	sent=$(jq .total.requests "$LAB_DIR/$1.json") || return 1
	failed=$(jq .total.failed "$LAB_DIR/$1.json") || return 1
	echo "$sent requests, $failed failed"
	[ "$failed" = 0 ] && [ "$sent" -ge "$2" ] || {
		jq -c '.total' "$LAB_DIR/$1.json"
		lab_weft dp drops list
		tail -n 20 "$LAB_DIR/weftd.log"
		return 1
	}
}

network_counted() {
	# shellcheck disable=SC2016 # jq's
	local before i of='[.items[] | select(.service == $s)][0]' service=${1:-shop.web}
	before=$(lab_weft instance list -o json | jq -c --arg s "$service" "$of | [.rx_packets, .rx_bytes, .tx_packets, .tx_bytes]")
	for i in 1 2 3 4 5 6 7 8; do
		lab_in curl -sf --max-time 20 -o /dev/null "http://$vip/" || return 1
	done
	# The last connection's last segments may still be under way.
	wait_for 10 network_is "$of | .rx_packets >= \$b[0] + 24 and .rx_bytes >= \$b[1] + 2000
		and .tx_packets >= \$b[2] + 24 and .tx_bytes >= \$b[3] + 2000" || {
		echo "before: $before, $i calls, now: $(lab_weft instance list -o json)"
		return 1
	}
}
network_is() { lab_weft instance list -o json | jq -e --arg s "$service" --argjson b "$before" "$1"; }

swap_to() { lab_weft swap start shop.web --to "$1" --duration 2s --drain 20s --wait --timeout 60; }
last_swap() { lab_weft swap list -o json | jq -r ".items[0]$1"; }
state_is() { [ "$(last_swap .state)" = "$1" ]; }
share_above() { lab_weft swap list -o json | jq -e ".items[0].weight_new > $1"; }
active() { same 'active variant' "$1" "$(lab_weft service show shop.web -o json | jq -r .active)"; }
answers_as() { has "$(lab_in curl -s --max-time 5 "http://$vip/")" "$1"; }

# DIR: where the lab that is closed now had its state.
nothing_left() {
	local left
	left=$(
		ip netns list | grep -F "weft-$LAB_NAME"
		ls -d "/sys/fs/bpf/weft-$LAB_NAME"* 2>/dev/null
		find /sys/fs/cgroup -type d -name "weft-$LAB_NAME*" 2>/dev/null
		grep -F "$1" /proc/self/mountinfo
		pgrep -af -- "$1" | grep -v "^$$ "
		ls -d "$1" 2>/dev/null
	)
	[ -z "$left" ] || {
		echo "left behind: $left"
		return 1
	}
}
