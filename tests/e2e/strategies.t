#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Swaps by the plan that a service's descriptor names, by another that a command does, of two
# services side by side; and what becomes of a connection that outlives the drain.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh
. tests/lib/e2e.sh

swap() { lab_weft swap list -o json | jq -r "[.items[] | select(.service == \"$1\")][0]$2"; } # SERVICE JQ
is() { [ "$(swap "$1" .state)" = "$2" ]; }
# NAME ADDRESS JQ: a service of nginx that could be a unikernel, whose probes are its own
describe() {
	GUEST=file://$LAB_BUILD/guest/weft-guest.tar.gz descriptor "$1" 1 ".applications[0].microservices[0] |= (
		.addresses.rr_ip = \"$2\" | .readiness = {type: \"exec\", command: [\"true\"]} |
		.variants = [{virtualization: \"unikernel\", code: env.GUEST, arch: [\"amd64\"], memory: 32, network: \"tap\",
			readiness: {type: \"http\", port: 80, timeout_s: 30}}] | $3)"
	lab_weft apply -f "$LAB_DIR/$1.json" --wait --timeout 60
}

# Half of the time is over before a tenth of new flows goes to the new one.
exponential() {
	lab_weft swap start shop.web --to unikernel --wait --timeout 90 || return 1
	same 'strategy' 'exponential 4000 3000' "$(swap shop.web '| "\(.strategy) \(.duration_ms) \(.drain_ms)"')" || return 1
	lab_weft swap show "$(swap shop.web .id)" -o json | tee "$LAB_DIR/exponential" | jq -e '
		([.phases[] | select(.name == "shift")][0].started_ms - .started_ms) as $begun |
		[.trace[] | select(.new > 0.09 and .new < 0.6) | .t_ms - $begun] | length > 0 and all(. >= 1900)' &&
		jq -e '[.trace[].new] | . == sort and .[0] == 0 and .[-1] == 1' "$LAB_DIR/exponential"
}
at_once() {
	lab_weft swap start shop.web --to native --strategy at-once --drain 5s --wait --timeout 60 &&
		same 'strategy' 'at-once 5000' "$(swap shop.web '| "\(.strategy) \(.drain_ms)"')" &&
		same 'trace' '[0,1]' "$(lab_weft swap show "$(swap shop.web .id)" -o json | jq -c '[.trace[].new]')"
}

both_shift() { is shop.web shift && is shop.db shift; }
side_by_side() {
	lab_weft swap start shop.web --to unikernel --strategy canary --steps 50 --hold 3600s || return 1
	lab_weft swap start shop.db --to unikernel --strategy canary --steps 50 --hold 3600s || return 1
	wait_for 60 both_shift || return 1
	same 'running' 2 "$(lab_weft status -o json | jq .swaps_running)" &&
		has "$(for _ in {1..20}; do lab_in curl -s --max-time 5 http://10.30.0.3/; done)" hello '^10\.18\.'
}
# One is turned back and swapped to its end, while the other stays where it is.
apart() {
	lab_weft swap abort "$(swap shop.db .id)" --wait --timeout 60 || return 1
	lab_weft swap start shop.db --to unikernel --strategy at-once --wait --timeout 60 || return 1
	is shop.web shift && same 'share' 0.5 "$(swap shop.web .weight_new)" &&
		same 'runs as' 'native unikernel' "$(lab_weft service list -o json |
			jq -r '[.items[] | .active] | sort | join(" ")')"
}
to_the_end() {
	lab_weft swap abort "$(swap shop.web .id)" --wait --timeout 60 && is shop.web rolled-back && is shop.db 'done'
}

# A client that keeps its connection: answered before the deadline, reset after it, and not waited for.
held() {
	mkfifo "$LAB_DIR/go"
	# shellcheck disable=SC2016 # it is perl
	lab_in perl -MIO::Socket::INET -e '
		my $s = IO::Socket::INET->new(PeerAddr => "$ARGV[0]:80", Timeout => 20) or die "connect: $!";
		sub ask {
			my $text = "";
			syswrite $s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n" or return "write: " . ($!{ECONNRESET} || $!{EPIPE} ? "reset" : $!);
			until ($text =~ /\r\n\r\n.*\n/s) {
				my $n = sysread($s, $text, 65536, length $text);
				return "read: " . ($!{ECONNRESET} ? "reset" : $!) unless defined $n;
				return "end" unless $n;
			}
			return "answer";
		}
		$| = 1;
		alarm 200;
		$SIG{PIPE} = "IGNORE";
		print ask(), "\n";
		open my $go, "<", $ARGV[1] or die;
		print ask(), "\n" while <$go>;' "$vip" "$LAB_DIR/go" >"$LAB_DIR/held" 2>&1 &
	HELD=$!
	exec 8<>"$LAB_DIR/go"
	wait_for 30 said 1 answer
}
said() { same "line $1" "$2" "$(sed -n "$1p" "$LAB_DIR/held")"; } # LINE TEXT
said_reset() { has "$(sed -n 3p "$LAB_DIR/held")" '^(read|write): reset$'; }
deadline() {
	local rc=0
	held || { cat "$LAB_DIR/held" && return 1; }
	lab_weft swap start shop.web --to unikernel --strategy at-once --drain 15s || return 1
	wait_for 60 is shop.web drain || rc=1
	same 'flows on the old' 1 "$(swap shop.web .flows_old)" || rc=1
	echo ask >&8
	wait_for 10 said 2 answer && is shop.web drain || rc=1
	wait_for 90 is shop.web 'done' || rc=1
	echo ask >&8
	wait_for 30 said_reset || rc=1
	cat "$LAB_DIR/held"
	kill "$HELD" 2>/dev/null
	exec 8>&-
	lab_weft swap show "$(swap shop.web .id)" -o json | jq -e '[.phases[] | select(.name == "drain")][0] |
		.detail == "deadline: 1 flows are reset" and .ended_ms - .started_ms >= 15000' || rc=1
	return $rc
}

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq curl nginx perl; do command -v "$c" >/dev/null || tap_skip_all "$c is not installed"; done
for c in weftd weft weft-load guest/weft-guest.tar.gz; do [ -e "$LAB_BUILD/$c" ] || tap_skip_all "$LAB_BUILD/$c is not built"; done
lab_open e2e-strategies
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
nginx_conf
lab_weftd

tap 'a service with a plan of its own' describe shop.web $vip '.swap = {strategy: "exponential", duration_s: 4, drain_s: 3}'
load_start plans 100 8 --close --duration 3600s --timeout 20s
tap 'it is swapped by that plan: exponentially' exponential
tap 'and by another that the command names: at once' at_once
tap 'another service' describe shop.db 10.30.0.3 .
tap 'both are swapped side by side' side_by_side
tap 'one is turned back and swapped, the other stays' apart
tap 'and the other is turned back' to_the_end
load_stop
tap 'no request was lost' none_failed plans 300
tap 'a connection that is kept: served up to the deadline of the drain, then reset' deadline
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
