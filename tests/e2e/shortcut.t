#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016,SC2317 # perl's variables; functions that tap calls
# The shortcut between sockets, as a service asks for it: a real nginx and a real redis with real
# clients in another container, swapped to a unikernel and back under load, restarted, switched on
# and off. One lost request fails the test.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/e2e.sh
cache=10.30.0.4

shortcut() { lab_weft service show "${2:-shop.web}" -o json | jq -r ".shortcut$1"; }
shows() { same 'state of the shortcut' "$1" "$(shortcut .state "${2:-shop.web}")"; }
# grew BY CMD...: the messages of shop.web by the shortcut grow by so many at least while CMD runs.
grew() {
	local before after by=$1
	shift
	before=$(shortcut .messages)
	"$@" || return 1
	after=$(shortcut .messages)
	echo "messages: $before, then $after"
	[ $((after - before)) -ge "$by" ]
}
stayed() {
	local before
	before=$(shortcut .messages)
	"$@" && same 'messages by the shortcut' "$before" "$(shortcut .messages)"
}

# In the client's container: its namespace, with the host's programs.
instance_of() { lab_weft service show "$1" -o json | jq -r '.instances[0]'; }
in_client() { nsenter --net="$LAB_DIR/state/netns/$CLIENT" "$@"; }
asks() { # N
	local i
	for ((i = 0; i < $1; i++)); do
		in_client curl -sf --max-time 5 "http://$vip/" >/dev/null || return 1
	done
}

# Two containers and a redis; the client's own service does not ask for the shortcut.
apply() { # SHORTCUT
	lab_descriptor "$LAB_DIR/shop.json" '.applications[0].microservices |= [
		(.[0] | .shortcut = '"$1"'),
		(.[0] | .microservice_name = "client" | .addresses.rr_ip = "10.30.0.3" | del(.variants, .swap)),
		{microservice_name: "cache", microservice_namespace: "default", virtualization: "native",
			addresses: {rr_ip: "'"$cache"'"}, shortcut: '"$1"', readiness: {type: "tcp", port: 6379},
			cmd: ["redis-server", "--save", "", "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", "."]}]' &&
		lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60 || return 1
	CLIENT=$(instance_of shop.client)
}
by_descriptor() {
	apply true && shows on && shows off shop.client
}

# A request, and the end of what is sent, before the answer is read.
half_close() {
	has "$(in_client perl -MIO::Socket::INET -MIO::Select -e '
		my $s = IO::Socket::INET->new(PeerAddr => "'"$vip"':80", Timeout => 5) or die "connect: $!";
		$s->blocking(0);
		syswrite($s, "GET / HTTP/1.0\r\n\r\n") == 18 or die "write: $!";
		shutdown($s, 1);
		my ($text, $wait) = ("", IO::Select->new($s));
		while ($wait->can_read(5)) { my $n = sysread($s, $text, 65536, length $text); last if defined $n && !$n }
		print $text')" '^HTTP/1.1 200 OK' 'hello'
}

# The rate is low enough for a busy machine.
load() {
	rm -f "$LAB_DIR/control"
	mkfifo "$LAB_DIR/control"
	exec 7<>"$LAB_DIR/control"
	setsid nsenter --net="$LAB_DIR/state/netns/$CLIENT" "$LAB_BUILD/weft-load" "http://$vip/" --rate 200 \
		--connections 8 --duration 120s --control "$LAB_DIR/control" --output "$LAB_DIR/$1.json" \
		>"$LAB_DIR/$1.txt" 2>&1 </dev/null 7>&- &
	LOAD=$!
}
by_shortcut() { [ "$(shortcut .sockets)" -gt 0 ] && [ "$(shortcut .messages)" -gt "$1" ]; }
to_unikernel() {
	swap_to unikernel && active unikernel && shows on || return 1
	wait_for 20 no_sockets
}
no_sockets() { [ "$(shortcut .sockets)" = 0 ]; }
back() {
	local before
	before=$(shortcut .messages)
	swap_to container && active container && wait_for 20 by_shortcut $((before + 100))
}

redis() {
	local out
	out=$(in_client redis-benchmark -h "$cache" -p 6379 -c 8 -n 4000 -t set,get -q --csv) || return 1
	has "$out" '"SET","[0-9]' '"GET","[0-9]' && [ "$(shortcut .messages shop.cache)" -gt 8000 ]
}
large_value() {
	in_client perl -MIO::Socket::INET -e '
		my $s = IO::Socket::INET->new(PeerAddr => shift, PeerPort => 6379, Timeout => 5) or die "connect: $!";
		my $data = pack("C*", 0 .. 255) x 32768;
		alarm 30;
		sub line { local $/ = "\r\n"; my $l = <$s>; chomp $l; $l }
		printf $s "*3\r\n\$3\r\nSET\r\n\$1\r\nx\r\n\$%d\r\n%s\r\n", length $data, $data;
		$s->flush;
		line() eq "+OK" or die "not set";
		print $s "*2\r\n\$3\r\nGET\r\n\$1\r\nx\r\n";
		$s->flush;
		line() eq "\$" . length $data or die "not as long";
		read($s, my $got, length $data);
		$got eq $data or die "other data"' "$cache"
}

# An idle connection ends with its backend, and what replaces it is reached by the shortcut again.
restart() {
	local pid waiter old
	old=$(instance_of shop.web)
	in_client perl -MIO::Socket::INET -MIO::Select -e '
		my $s = IO::Socket::INET->new(PeerAddr => "'"$vip"':80", Timeout => 5) or die "connect: $!";
		$s->blocking(0);
		syswrite($s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
		IO::Select->new($s)->can_read(5) or die "no answer";
		sysread($s, my $text, 65536);
		print STDERR "open\n";
		IO::Select->new($s)->can_read(30) or die "it hangs";
		my $n = sysread($s, $text, 65536);
		die "more data" if $n' 2>"$LAB_DIR/idle" &
	waiter=$!
	wait_for 10 grep -q open "$LAB_DIR/idle" || return 1
	pid=$(lab_weft instance show "$old" -o json | jq .pid)
	kill -KILL "$pid"
	wait "$waiter" || {
		cat "$LAB_DIR/idle"
		return 1
	}
	wait_for 30 replaced "$old" && wait_for 10 asks 1 && grew 20 asks 10
}
replaced() { [ "$(lab_weft service show shop.web -o json | jq -r '.ready, (.instances | index("'"$1"'"))' | paste -sd,)" = 1,null ]; }

at_run_time() {
	lab_weft service set shop.web shortcut=off && shows off && stayed asks 10 || return 1
	lab_weft service set shop.web shortcut=on && shows on && grew 20 asks 10
}
by_hand_and_restart() {
	lab_weft service set shop.web shortcut=off || return 1
	lab_weftd_kill
	lab_weftd
	shows off && stayed asks 5 && lab_weft service set shop.web shortcut=on && grew 10 asks 5
}
after_restart() {
	lab_weftd_kill
	grew_while_away && lab_weftd && shows on && grew 20 asks 10
}
grew_while_away() { asks 5; }
by_new_descriptor() {
	apply false && shows off && stayed asks 5 || return 1
	apply true && shows on && grew 10 asks 5
}
shown() {
	has "$(lab_weft service show shop.web)" 'SHORTCUT +on: [0-9]+ sockets, [0-9.k]+ messages' &&
		has "$(lab_weft doctor)" 'shortcut +TCP between local sockets' &&
		refused 2 'not a setting' 'shortcut=on' -- lab_weft service set shop.web shortcut=perhaps &&
		refused 3 'no such service' -- lab_weft service set shop.none shortcut=on
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
command -v redis-server >/dev/null || tap_skip_all 'redis is not installed: scripts/deps.sh'
lab_image_nginx
lab_open e2e-shortcut
lab_containerd
lab_weftd
why=$(lab_weft status -o json | jq -r .dataplane.shortcut)
if [ "$why" != ok ]; then
	refused_there() { apply true && shows unavailable && asks 5 && has "$(lab_weft status)" "shop.web: $why"; }
	tap 'a kernel that cannot do it is named, and packets go' refused_there
	tap_end
	exit
fi

tap 'a service asks for it' by_descriptor
tap 'curl from another container' grew 20 asks 10
tap 'half-close' half_close
tap 'as people see it' shown
load moved
tap 'load goes by the shortcut' wait_for 20 by_shortcut 200
tap 'container → unikernel: by packets' to_unikernel
tap 'unikernel → container: by the shortcut again' back
load_stop
tap 'no request was lost' none_failed moved 500
tap 'redis: small requests' redis
tap 'redis: 8 MiB there and back, by a client that blocks' large_value
tap 'the backend is killed: its connections end, others come' restart
tap 'off and on at run time' at_run_time
tap 'weftd is killed: it is on still' after_restart
tap 'what was set by hand outlives weftd' by_hand_and_restart
tap 'a changed descriptor decides' by_new_descriptor
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
