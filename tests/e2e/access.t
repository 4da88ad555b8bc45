#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Who may do what: the API over TCP with TLS and tokens, and over the unix socket by credentials.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. tests/lib/tls.sh
. scripts/lab.sh

port=7443
url=https://localhost:$port
declare -A token=()

new_token() { # NAME ROLE: token[NAME], and its entry
	local entry
	{ read -r "token[$1]" && read -r entry; } < <("$LAB_BUILD/weft" token new "$1" --role "$2") || return 1
	(umask 077 && printf '%s\n' "${token[$1]}" >"$LAB_DIR/$1.token")
	printf '%s\n' "$entry" >>"$LAB_DIR/entries"
}
write_tokens() { jq -s '{tokens: .}' "$LAB_DIR/entries" >"$LAB_DIR/tokens.json"; }
server() { # NAME of a certificate: what weftd is given
	cp "$LAB_DIR/$1.pem" "$LAB_DIR/cert.pem" && cp "$LAB_DIR/$1.key" "$LAB_DIR/key.pem"
}
made() {
	local role
	tls_make "$LAB_DIR" && server server || return 1
	for role in read operate admin; do new_token "$role" "$role" || return 1; done
	write_tokens
}
flags=()
starts() {
	flags=(--listen="127.0.0.1:$port" --tls-cert="$LAB_DIR/cert.pem" --tls-key="$LAB_DIR/key.pem"
		--tokens="$LAB_DIR/tokens.json" --log-level=debug)
	lab_weftd "${flags[@]}"
}

over_tls() { lab_in curl -s --max-time 20 --cacert "$LAB_DIR/ca.pem" "$@"; }
status_of() { # TOKEN|'' METHOD PATH [BODY]: over TLS
	local auth=()
	[ -z "$1" ] || auth=(-H "Authorization: Bearer $1")
	over_tls -o "$LAB_DIR/answer" -w '%{http_code}' -X "$2" "${auth[@]}" "$url$3" ${4:+-d "$4"}
}
weft_tls() { lab_in "$LAB_BUILD/weft" -H "$url" --ca "$LAB_DIR/ca.pem" "$@"; }

by_cli() {
	same 'node' "$LAB_NAME" "$(weft_tls --token-file "$LAB_DIR/read.token" status -o json | jq -r .node.name)" &&
		same 'node' "$LAB_NAME" "$(WEFT_TOKEN_FILE=$LAB_DIR/read.token weft_tls status -o json | jq -r .node.name)"
}
cli_refused() {
	refused 1 'error: GET /v1/status: the request is refused: it has no token' 'hint: .*weft token new' -- \
		weft_tls status &&
		refused 1 'error: POST /v1/apply: needs the role admin, and token read from 127.0.0.1 has read' \
			'hint: use a token with the role admin' -- \
			weft_tls --token-file "$LAB_DIR/read.token" apply -f tests/e2e/access.t &&
		refused 3 'token file .*/nothing: No such file' -- weft_tls --token-file "$LAB_DIR/nothing" status
}
wrong_tokens() {
	local t
	for t in x "${token[read]}x" "${token[read]::-1}" "${token[read]^^}" "weft_$(printf 'A%.0s' {1..43})" \
		"$(jq -r '.tokens[0].sha256' "$LAB_DIR/tokens.json")"; do
		same "token $t" 401 "$(status_of "$t" GET /v1/status)" || return 1
		grep -q '"code":"unauthenticated"' "$LAB_DIR/answer" || return 1
	done
	same 'Basic' 401 "$(over_tls -o /dev/null -w '%{http_code}' -u "read:${token[read]}" "$url/v1/status")" &&
		has "$(over_tls -i "$url/v1/status")" '^WWW-Authenticate: Bearer'
}

# Every route there is, by every role; names that nothing has, so that nothing happens.
routes() { sed -nE 's|^\t\{"([A-Z]+)", "(/[^"]*)", [0-9]+,.*|\1 \2|p' ctrl/api/route.c; }
needs() { # METHOD PATTERN: the role that the description of the API names
	[ -e "$LAB_DIR/roles" ] || jq -r '.paths | to_entries[] | .key as $path | .value | to_entries[]
		| "\(.key | ascii_upcase) \($path | gsub("{[^}]*}"; "*")) \(.value["x-role"])"' \
		ctrl/schema/openapi.json >"$LAB_DIR/roles"
	awk -v m="$1" -v p="$2" '$1 == m && $2 == p { print $3 == "none" ? "nobody" : $3 }' "$LAB_DIR/roles"
}
rank() { case $1 in nobody) echo 0 ;; read) echo 1 ;; operate) echo 2 ;; *) echo 3 ;; esac }
every_route() { # ROLE
	local method pattern path want got n=0
	while read -r method pattern; do
		path=${pattern//\*/no-such-thing}
		got=$(status_of "${token[$1]:-}" "$method" "$path" "$([ "$method" = GET ] || echo x)")
		want=other
		if [ "$(rank "$1")" -lt "$(rank "$(needs "$method" "$pattern")")" ]; then
			want=403
			[ "$1" != nobody ] || want=401
		fi
		case $got in 401 | 403) ;; [2345]??) got=other ;; esac
		same "$method $pattern by $1" "$want" "$got" || return 1
		n=$((n + 1))
	done < <(routes)
	echo "$n routes"
	[ "$n" -ge 30 ]
}
other_methods() { # are nobody's
	local m path
	for m in PUT PATCH OPTIONS TRACE HEAD BREW; do
		for path in /v1/status /v1/services/a /v1/swaps /nothing; do
			same "$m $path" 401 "$(over_tls -m 5 -o /dev/null -w '%{http_code}' -X "$m" "$url$path")" || return 1
		done
	done
	same 'PUT by admin' 405 "$(status_of "${token[admin]}" PUT /v1/status)"
}
unknown_hidden() { same 'nobody' 401 "$(status_of '' GET /nothing)" && same 'read' 404 "$(status_of "${token[read]}" GET /nothing)"; }

untrusted() {
	refused 1 'certificate of weftd at https://localhost:7443 is not trusted' 'hint: --ca FILE' -- \
		lab_in "$LAB_BUILD/weft" -H "$url" --token-file "$LAB_DIR/read.token" status
}
seen=0
reload() {
	seen=$(wc -l <"$LAB_DIR/weftd.log")
	kill -HUP "$LAB_WEFTD_PID"
	wait_for 10 in_log 'configuration read again'
}
in_log() { tail -n +"$((seen + 1))" "$LAB_DIR/weftd.log" | grep -qE -- "$1"; }
certificate_of() { # NAME: is what a new connection is shown
	same 'certificate' "$(openssl x509 -in "$LAB_DIR/$1.pem" -noout -fingerprint)" \
		"$(lab_in openssl s_client -connect "127.0.0.1:$port" </dev/null 2>/dev/null | openssl x509 -noout -fingerprint)"
}
new_certificate() { # NAME WHY: it is refused
	server "$1" && reload && certificate_of "$1" &&
		refused 1 "not trusted: .*$2" -- weft_tls --token-file "$LAB_DIR/read.token" status
}
back() { server server && reload && by_cli; }
goes_on() { # a connection that was there before goes on with what it began with
	lab_in curl -s --max-time 30 --cacert "$LAB_DIR/ca.pem" -N -H "Authorization: Bearer ${token[read]}" \
		"$url/v1/events?wait=4" >"$LAB_DIR/events" &
	local pid=$!
	wait_for 10 test -s "$LAB_DIR/events" || return 1
	server other && reload && wait "$pid" && has "$(<"$LAB_DIR/events")" '"kind":"daemon"' && server server && reload
}
old_tls() {
	! lab_in openssl s_client -connect "127.0.0.1:$port" -tls1_1 -cipher ALL:@SECLEVEL=0 </dev/null >/dev/null 2>&1 &&
		lab_in openssl s_client -connect "127.0.0.1:$port" -tls1_2 </dev/null >/dev/null 2>&1
}
plain_http() {
	local out
	out=$(lab_in curl -s --max-time 10 -i "http://127.0.0.1:$port/v1/status" -H "Authorization: Bearer ${token[admin]}")
	same 'plain HTTP' '' "$out" && by_cli
}
half_open() { # COUNT
	# shellcheck disable=SC2016 # it is perl
	lab_in perl -MIO::Socket::INET -e '
		my @s;
		for (1 .. $ARGV[1]) { my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$ARGV[0]") or last;
			print $s "\x16\x03\x01\x02\x00\x01" if $_ % 2; $s->flush; push @s, $s; }
		open my $f, ">", $ARGV[2]; print $f scalar(@s); close $f;
		sleep 60;' "$port" "$1" "$LAB_DIR/half" &
	HALF=$!
	wait_for 20 test -s "$LAB_DIR/half"
}
not_stalled() {
	local rc=0 i
	half_open 600 || return 1
	same 'opened' 600 "$(<"$LAB_DIR/half")" || rc=1
	for i in {1..20}; do
		lab_in curl -s -o /dev/null -f --max-time 2 --unix-socket "$LAB_SOCKET" http://w/v1/status || rc=$i
	done
	wait_for 20 by_cli || rc=1
	kill "$HALF"
	wait "$HALF" 2>/dev/null
	return "$rc"
}

revoked() {
	new_token gone read && write_tokens && reload && same 'new token' 200 "$(status_of "${token[gone]}" GET /v1/status)" || return 1
	sed -i '$d' "$LAB_DIR/entries"
	write_tokens && reload && same 'revoked' 401 "$(status_of "${token[gone]}" GET /v1/status)" &&
		same 'others' 200 "$(status_of "${token[read]}" GET /v1/status)"
}
broken_file() {
	printf '{ "tokens": [\n  { "name": "a", "role": "king" } ] }\n' >"$LAB_DIR/tokens.json"
	reload
	wait_for 10 in_log 'tokens.json:2:3: role must be read, operate or admin; certificate and tokens stay' &&
		same 'as before' 200 "$(status_of "${token[read]}" GET /v1/status)" || return 1
	write_tokens && chmod 666 "$LAB_DIR/tokens.json" && reload
	wait_for 10 in_log 'tokens.json: others than root could write it' &&
		same 'as before' 200 "$(status_of "${token[read]}" GET /v1/status)" && chmod 600 "$LAB_DIR/tokens.json"
}
# The daemon's has no secret in it, the client's is one.
readable_tokens() {
	chmod 644 "$LAB_DIR/tokens.json" && reload && wait_for 10 in_log 'tokens.json: everybody can read the names and roles' &&
		same 'served' 200 "$(status_of "${token[read]}" GET /v1/status)" || return 1
	chmod 640 "$LAB_DIR/tokens.json" && reload && ! in_log 'everybody can read' && chmod 600 "$LAB_DIR/tokens.json" || return 1
	for mode in 644 604 620 602; do
		chmod "$mode" "$LAB_DIR/read.token"
		refused 1 'token file .*/read.token: others could read or write it' 'hint: chmod 600 .*weft token new' -- \
			weft_tls --token-file "$LAB_DIR/read.token" status || return 1
	done
	chmod 640 "$LAB_DIR/read.token" && by_cli && chmod 600 "$LAB_DIR/read.token" &&
		same 'from a pipe' "$LAB_NAME" "$(weft_tls --token-file <(cat "$LAB_DIR/read.token") status -o json | jq -r .node.name)"
}
readable_key() {
	chmod 644 "$LAB_DIR/key.pem" && reload && wait_for 10 in_log 'key.pem: others than its owner could read' &&
		chmod 600 "$LAB_DIR/key.pem"
}
needs_all() {
	refused 2 'listen=127.0.0.1:7443: tls-cert is missing' 'hint: --tls-cert=FILE' -- \
		"$LAB_BUILD/weftd" --listen=127.0.0.1:7443 --check-config &&
		refused 2 'listen=127.0.0.1:7443: tokens is missing' -- "$LAB_BUILD/weftd" --listen=127.0.0.1:7443 \
			--tls-cert=/a --tls-key=/b --check-config &&
		refused 2 'listen=here:1 is not ADDRESS:PORT' -- "$LAB_BUILD/weftd" --listen=here:1 --check-config &&
		refused 3 'TLS certificate /nothing: No such file' -- "$LAB_BUILD/weftd" "${flags[@]}" --tls-cert=/nothing --check-config &&
		"$LAB_BUILD/weftd" "${flags[@]}" --check-config
}

# The unix socket as somebody else: UID GID PATH [CURL...]
as() { setpriv --reuid "$1" --regid "$2" --clear-groups curl -s --max-time 20 -o "$LAB_ANSWER" -w '%{http_code}' \
	--unix-socket "$LAB_SOCKET" "http://w$3" "${@:4}"; }
# More refusals in a second than are logged, however slow the machine: one client asks 500 times.
many_refused() { as 65534 65534 '/v1/status?[1-500]' >/dev/null; }
many_are_one_line() {
	many_refused && as 65534 65534 /v1/status >/dev/null && grep -q 'more requests were refused' "$LAB_DIR/weftd.log"
}
peer_credentials() {
	LAB_ANSWER=$(mktemp /tmp/weft-access-answer.XXXXXX) && chmod 666 "$LAB_ANSWER"
	chmod 711 "$LAB_DIR" && chgrp 4711 "$LAB_SOCKET" && chmod 666 "$LAB_SOCKET"
	same 'a stranger' 401 "$(as 65534 65534 /v1/status)" && has "$(<"$LAB_ANSWER")" 'neither root nor of the socket' 'join that group' &&
		same 'a stranger, healthz' 200 "$(as 65534 65534 /healthz)" &&
		same 'group of the process' 200 "$(as 65534 0 /v1/status)" &&
		same 'root' 200 "$(as 0 65534 /v1/status)" &&
		same 'a token takes away' 403 "$(as 0 0 /v1/apply -d x -H "Authorization: Bearer ${token[operate]}")" &&
		same 'a wrong one takes all' 401 "$(as 0 0 /v1/status -H 'Authorization: Bearer x')" &&
		same 'and none gives' 401 "$(as 65534 65534 /v1/status -H "Authorization: Bearer ${token[admin]}")" &&
		wait_for 60 many_are_one_line
	local rc=$?
	rm -f "$LAB_ANSWER"
	return "$rc"
}
socket_group() {
	lab_weftd_kill
	lab_weftd "${flags[@]}" --socket-group=nogroup && same 'group' nogroup "$(stat -c %G "$LAB_SOCKET")" &&
		LAB_ANSWER=/dev/null same 'its group' 200 "$(LAB_ANSWER=/dev/null as 4711 "$(stat -c %g "$LAB_SOCKET")" /v1/status)"
}
logged() {
	has "$(<"$LAB_DIR/weftd.log")" 'api: refused POST /v1/apply by token read from 127.0.0.1, role read' \
		'api: POST /v1/apply by token admin from 127.0.0.1, role admin' 'api: GET /v1/status by uid 0, role admin' \
		'more requests were refused'
}
no_secrets() {
	local name n=0
	for name in "${!token[@]}"; do
		[ ${#token[$name]} = 48 ] || return 1
		! grep -rF -- "${token[$name]#weft_}" "$LAB_DIR" --include='*.log' --include='*.db*' --include='*.json' || return 1
		n=$((n + 1))
	done
	[ "$n" = 4 ]
}

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq curl openssl perl setpriv; do command -v "$c" >/dev/null || tap_skip_all "$c is not installed"; done
for c in weftd weft; do [ -x "$LAB_BUILD/$c" ] || tap_skip_all "$LAB_BUILD/$c is not built"; done
lab_open e2e-access
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock

tap 'certificates and tokens are made' made
tap 'weftd starts with them' starts
tap 'what is missing or wrong is said before it starts' needs_all
tap 'weft over TLS, by flag and by environment' by_cli
tap 'weft says what was missing' cli_refused
tap 'wrong tokens' wrong_tokens
tap 'every route by nobody' every_route nobody
tap 'every route by read' every_route read
tap 'every route by operate' every_route operate
tap 'every route by admin' every_route admin
tap 'other methods' other_methods
tap 'nobody is told what there is' unknown_hidden
tap 'a certificate that nobody vouches for' untrusted
tap 'SIGHUP: an expired certificate is refused by weft' new_certificate old expired
tap 'SIGHUP: and one of another authority' new_certificate other ''
tap 'SIGHUP: and the right one is taken again' back
tap 'SIGHUP: a stream goes on over it' goes_on
tap 'TLS 1.2 and on' old_tls
tap 'plain HTTP at the TLS port gets nothing' plain_http
tap 'six hundred half-open handshakes stall nobody' not_stalled
tap 'SIGHUP: a token comes and goes' revoked
tap 'SIGHUP: a broken file of tokens changes nothing' broken_file
tap 'a file of tokens, and one with a token, that others can read' readable_tokens
tap 'SIGHUP: nor does a key that all can read' readable_key
tap 'the unix socket goes by credentials' peer_credentials
tap 'the unix socket can be a group'"'"'s' socket_group
tap 'the log says who did what' logged
tap 'tokens are in no log and no store' no_secrets
tap 'the lab closes clean' lab_close
tap_end
