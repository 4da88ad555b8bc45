#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What one user of the API may have of it, and hostile ones: those that take too much, are slow, or go
# away do not keep others from being heard. And what a revoked token had begun ends.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. tests/lib/tls.sh
. scripts/lab.sh

port=7444
url=https://localhost:$port
half_a_request=$'POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{'
declare -A token=()
new_token() { # NAME ROLE
	local entry
	{ read -r "token[$1]" && read -r entry; } < <("$LAB_BUILD/weft" token new "$1" --role "$2") || return 1
	(umask 077 && printf '%s\n' "${token[$1]}" >"$LAB_DIR/$1.token")
	printf '%s\n' "$entry" >>"$LAB_DIR/entries"
}
write_tokens() { jq -s '{tokens: .}' "$LAB_DIR/entries" >"$LAB_DIR/tokens.json"; }
starts() {
	tls_make "$LAB_DIR" && new_token one admin && new_token other admin && write_tokens || return 1
	lab_weftd --listen="127.0.0.1:$port" --tls-cert="$LAB_DIR/server.pem" --tls-key="$LAB_DIR/server.key" \
		--tokens="$LAB_DIR/tokens.json" --log-level=debug --api-connections=6 --api-streams=3 --api-calls=2 \
		--api-head-timeout=3
}
tls_curl() { # TOKEN PATH [CURL...]
	lab_in curl -sN --max-time 120 --cacert "$LAB_DIR/ca.pem" -H "Authorization: Bearer ${token[$1]}" "$url$2" "${@:3}"
}
unix_curl() { curl -sN --max-time 120 --unix-socket "$LAB_SOCKET" "http://weft$1" "${@:2}"; }
others_are_heard() { # over either
	same 'the other token' 200 "$(tls_curl other /v1/status -o /dev/null -w '%{http_code}' --max-time 30)"
}
root_is_heard() { same 'root' 200 "$(unix_curl /v1/status -o /dev/null -w '%{http_code}' --max-time 30)"; }

service() {
	jq -n '{sla_version: "v2.0", customerID: "t", applications: [{
		application_name: "t", application_namespace: "default", microservices: [{
			microservice_name: "s", microservice_namespace: "default", virtualization: "native",
			cmd: ["sleep", "300.'"$$"'"]}]}]}' >"$LAB_DIR/t.json"
	lab_weft apply -f "$LAB_DIR/t.json" --wait --timeout 60 || return 1
	instance=$(lab_weft instance list -o json | jq -r '.items[0].id')
}
commands() { pgrep -fc "^sleep 400\.$$\$"; }
running() { same 'commands that run' "$1" "$(commands)"; }

pids=()
begin() { # FILE CMD...: in the background
	rm -f "$1" # what an earlier one has said
	"${@:2}" >"$1" 2>"$1.err" &
	pids+=($!)
}
end_one() { # and the client that it waits for
	local child
	for child in $(pgrep -P "$1"); do kill -KILL "$child"; done
	lab_end "$1"
} 2>/dev/null
end_all() {
	local p
	for p in "${pids[@]}"; do end_one "$p"; done
	pids=()
}
streams_by() { # N CMD PATH...: each has said something
	local i n=$1
	shift
	for ((i = 0; i < n; i++)); do
		begin "$LAB_DIR/stream.$i" "$@"
		wait_for 60 test -s "$LAB_DIR/stream.$i" || return 1
	done
}
at_their_limit() { # TEXT CMD...
	has "$("${@:2}")" '"code":"no_capacity"' "$1"
}
streams_of_a_token() {
	streams_by 3 tls_curl one '/v1/events?wait=100' || return 1
	at_their_limit 'token one has 3 streams already' tls_curl one '/v1/events?wait=1' &&
		at_their_limit 'api-streams' tls_curl one '/v1/watch?wait=1' && others_are_heard &&
		has "$(tls_curl other '/v1/events?wait=1')" '"kind":"daemon"' && root_is_heard
	local rc=$?
	end_one "${pids[0]}"
	wait_for 60 room_again || rc=1
	end_all
	return "$rc"
}
room_again() { tls_curl one '/v1/events?wait=1' | grep -q '"kind":"daemon"'; }
streams_of_a_uid() {
	streams_by 3 unix_curl '/v1/events?wait=100' || return 1
	at_their_limit 'uid 0 has 3 streams already' unix_curl '/v1/events?wait=1' &&
		at_their_limit 'uid 0 has 3 streams already' unix_curl '/v1/events?wait=1' -H "Authorization: Bearer ${token[other]}" &&
		others_are_heard && has "$(tls_curl one '/v1/events?wait=1')" '"kind":"daemon"'
	local rc=$?
	end_all
	return "$rc"
}

exec_body() { jq -nc '{command: ["sleep", "400.'"$$"'"], timeout_ms: 300000}'; }
exec_by() { "$1" "${@:2}" -d "$(exec_body)"; }
calls_of() { # CMD...: two under way
	begin "$LAB_DIR/call" exec_by "$@"
	begin "$LAB_DIR/call" exec_by "$@"
	wait_for 30 running 2
}
calls_of_a_token() {
	calls_of tls_curl one "/v1/instances/$instance/exec" &&
		at_their_limit 'token one has 2 calls under way already' tls_curl one "/v1/instances/$instance/exec" -d "$(exec_body)" &&
		has "$(tls_curl other "/v1/instances/$instance/exec" -d '{"command": ["echo", "yes"]}')" 'yes' &&
		root_is_heard && running 2
}
# The clients of the case before are ended while their commands run.
killed_with_client() {
	end_all
	wait_for 60 running 0 && root_is_heard
}
killed_with_unix_client() {
	calls_of unix_curl "/v1/instances/$instance/exec" || return 1
	end_all
	wait_for 60 running 0 && has "$(lab_weft instance exec "$instance" -- echo again)" again
}
all_busy() { # three streams and two calls and one more: the seventh connection
	streams_by 3 unix_curl '/v1/events?wait=100' && calls_of unix_curl "/v1/instances/$instance/exec" &&
		begin "$LAB_DIR/half" drip_unix "$half_a_request" x &&
		wait_for 60 at_their_limit 'uid 0 has 6 connections already' unix_curl /v1/status && others_are_heard
	local rc=$?
	end_all
	wait_for 60 root_is_heard && wait_for 60 running 0 && return "$rc"
}

# Connections that say nothing: those of one user replace each other.
silent() { # N: by the unix socket, and how many of them are still open once N were made
	perl -MIO::Socket::UNIX -MIO::Select -e '
		my ($path, $n) = @ARGV;
		my @all = map { IO::Socket::UNIX->new(Peer => $path) or die "connection $_: $!" } 1 .. $n;
		my $s = IO::Select->new(@all);
		my $open = $n;
		my $end = time + 20;
		while ($open > 6 && time < $end) {
			for ($s->can_read(1)) { $s->remove($_); $open--; }
		}
		$| = 1;
		print "$open\n";
		<STDIN>;' "$LAB_SOCKET" "$1"
}
idle_ones_give_way() {
	local open end pid rc=0
	coproc SILENT { silent 100; }
	end=${SILENT[1]} pid=$SILENT_PID
	read -rt 60 -u "${SILENT[0]}" open || rc=1
	root_is_heard && others_are_heard || rc=1
	exec {end}>&-
	wait "$pid"
	[ "${open:-100}" -le 6 ] || rc=1
	echo "$open stayed open"
	return "$rc"
}

# One header more every now and then, for as long as anybody reads it: the client ends when it is cut off.
drip() {
	perl -e '$| = 1; $SIG{PIPE} = sub { exit }; print "GET /v1/status HTTP/1.1\r\nHost: x\r\n";
		for (1 .. 400) { print "X-$_: x\r\n"; select undef, undef, undef, 0.3 }'
}
drip_tls() { drip | lab_in timeout 100 openssl s_client -quiet -connect "127.0.0.1:$port" -CAfile "$LAB_DIR/ca.pem"; }
drip_handshake() { # a byte of a TLS record now and then
	# shellcheck disable=SC2016 # it is perl
	lab_in perl -MIO::Socket::INET -e '
		my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$ARGV[0]") or die; $SIG{PIPE} = sub { exit };
		$s->autoflush(1); print $s "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
		for (1 .. 400) { print $s "x" or exit; select undef, undef, undef, 0.3 }' "$port"
}
drip_unix() {
	# shellcheck disable=SC2016 # it is perl
	perl -MIO::Socket::UNIX -e '
		my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; $SIG{PIPE} = sub { exit };
		$s->autoflush(1); print $s $ARGV[1];
		for (1 .. 400) { print $s $ARGV[2] or exit; select undef, undef, undef, 0.3 }' "$LAB_SOCKET" "$@"
}
cut_off() { # TEXT CMD...: by weftd, while others are heard
	local pid rc=0
	seen=$(wc -l <"$LAB_DIR/weftd.log")
	"${@:2}" >/dev/null 2>&1 </dev/null &
	pid=$!
	others_are_heard && root_is_heard || rc=1
	wait_for 60 in_log "$1" && wait_for 60 lab_gone "$pid" || rc=1
	end_one "$pid"
	return "$rc"
}
seen=0
in_log() { tail -n +"$((seen + 1))" "$LAB_DIR/weftd.log" | grep -qE -- "$1"; }
reload() {
	seen=$(wc -l <"$LAB_DIR/weftd.log")
	kill -HUP "$LAB_WEFTD_PID"
	wait_for 60 in_log 'configuration read again'
}

# A stream, a watch and a command with a token that is then taken away; and one of another's.
revoked() {
	local rc=0
	new_token gone admin && write_tokens && reload || return 1
	begin "$LAB_DIR/gone.events" tls_curl gone '/v1/events?wait=100'
	begin "$LAB_DIR/gone.watch" tls_curl gone '/v1/watch?wait=100' -H 'Accept: text/event-stream'
	begin "$LAB_DIR/gone.exec" exec_by tls_curl gone "/v1/instances/$instance/exec"
	begin "$LAB_DIR/other.events" tls_curl other '/v1/events?wait=100'
	wait_for 60 test -s "$LAB_DIR/gone.events" && wait_for 60 test -s "$LAB_DIR/gone.watch" &&
		wait_for 60 test -s "$LAB_DIR/other.events" && wait_for 60 running 1 || return 1
	sed -i '$d' "$LAB_DIR/entries"
	write_tokens && reload || rc=1
	local i
	for i in 0 1 2; do wait_for 60 lab_gone "${pids[i]}" || rc=1; done
	for i in events watch exec; do
		has "$(tail -n 2 "$LAB_DIR/gone.$i")" '"code":"unauthenticated"' 'does not allow it any more' || rc=1
	done
	wait_for 60 running 0 || rc=1
	lab_gone "${pids[3]}" && rc=1
	! grep -q unauthenticated "$LAB_DIR/other.events" || rc=1
	end_all
	return "$rc"
}
# A trace comes out of a process of its own, which ends too; then, and only then, there is room for another's.
tracing() { pgrep -P "$LAB_WEFTD_PID" -f weftd >/dev/null; }
not_tracing() { ! tracing; }
trace_by() { # TOKEN
	begin "$LAB_DIR/$1.trace" lab_in "$LAB_BUILD/weft" -H "$url" --ca "$LAB_DIR/ca.pem" \
		--token-file "$LAB_DIR/$1.token" trace t.s --duration 100s -w -o json
	wait_for 60 grep -q '"t_ms"' "$LAB_DIR/$1.trace" && tracing
}
revoked_trace() {
	local rc=0
	new_token gone admin && write_tokens && reload && trace_by gone || return 1
	has "$(tls_curl other '/v1/trace/t.s?duration_ms=1000')" 'being traced already' || rc=1
	sed -i '$d' "$LAB_DIR/entries"
	write_tokens && reload && wait_for 60 lab_gone "${pids[0]}" && wait_for 60 not_tracing &&
		in_log 'what nobody from [0-9.]+ was doing is ended: its token does not allow it any more' || rc=1
	! grep -q '"ended":"' "$LAB_DIR/gone.trace" || rc=1
	has "$(<"$LAB_DIR/gone.trace.err")" 'error: the trace broke off after' 'or took the token back' || rc=1
	trace_by other && reload && others_are_heard && tracing || rc=1
	! in_log 'was doing is ended' && ! lab_gone "${pids[1]}" || rc=1
	end_all
	wait_for 60 not_tracing || rc=1
	return "$rc"
}
demoted() { # to read: what it follows goes on, what it runs does not
	local rc=0 entry
	new_token less admin && write_tokens && reload || return 1
	begin "$LAB_DIR/less.events" tls_curl less '/v1/events?wait=100'
	begin "$LAB_DIR/less.exec" exec_by tls_curl less "/v1/instances/$instance/exec"
	wait_for 60 test -s "$LAB_DIR/less.events" && wait_for 60 running 1 || return 1
	entry=$(tail -n 1 "$LAB_DIR/entries" | jq -c '.role = "read"')
	sed -i '$d' "$LAB_DIR/entries"
	printf '%s\n' "$entry" >>"$LAB_DIR/entries"
	write_tokens && reload && wait_for 60 lab_gone "${pids[1]}" && wait_for 60 running 0 &&
		has "$(<"$LAB_DIR/less.exec")" '"code":"forbidden"' 'role admin' || rc=1
	lab_gone "${pids[0]}" && rc=1
	end_all
	return "$rc"
}

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq curl openssl perl; do command -v "$c" >/dev/null || tap_skip_all "$c is not installed"; done
for c in weftd weft; do [ -x "$LAB_BUILD/$c" ] || tap_skip_all "$LAB_BUILD/$c is not built"; done
lab_open e2e-api-limits
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock

tap 'weftd starts with narrow limits' starts
tap 'a service to run commands in' service
tap 'streams of one token' streams_of_a_token
tap 'streams of one uid, with whatever token' streams_of_a_uid
tap 'calls under way of one token' calls_of_a_token
tap 'a command ends with its client, over TLS' killed_with_client
tap 'and over the unix socket' killed_with_unix_client
tap 'connections of one user that are all busy' all_busy
tap 'idle connections give way to new ones' idle_ones_give_way
tap 'a head that never ends, over TLS' cut_off 'no whole head of a request came' drip_tls
tap 'a handshake that never ends' cut_off 'no whole head of a request came' drip_handshake
tap 'a head that never ends, on the unix socket' cut_off 'no whole head of a request came' \
	drip_unix $'GET /v1/status HTTP/1.1\r\nHost: x\r\n' $'X: x\r\n'
tap 'a body that never ends' cut_off 'the body of its request did not come' \
	drip_unix "$half_a_request" '{'
tap 'a revoked token ends what it had begun' revoked
if lab_weft doctor | grep -qE 'trace +weft trace: the kernel has'; then
	tap 'and a trace' revoked_trace
else
	tap 'and a trace # SKIP the kernel cannot trace' true
fi
tap 'one that may less now ends what it may not' demoted
tap 'the lab closes clean' lab_close
tap_end
