#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The daemon on native processes alone: life of a service, kill -9 at random moments, a full disk,
# hostile clients of its API. WEFT_SEED=N repeats the random moments of an earlier run.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh

vip=10.30.0.2 other_ip='.applications[0].microservices[0].addresses.rr_ip = "10.30.0.9"'

# --- a service of nginx processes ----------------------------------------------------------------

at_vip() { descriptor "$1" "$2" ".applications[0].microservices[0].addresses.rr_ip = \"$vip\""; }
apply() { at_vip shop.web "$1" && lab_weft apply -f "$LAB_DIR/shop.web.json" "${@:2}"; }
service() { lab_weft service show "$1" -o json | jq -r "$2"; }
instances() { lab_weft instance list -o json | jq -r "$1"; }
answers() { lab_in curl -sf --max-time 2 "http://$vip/"; }
# So many instances answer, and no other. Somebody else's requests may take every other turn.
addresses_are() {
	local i seen
	for i in {1..100}; do
		# Out of step with the other client: exact round robin may give one of two that
		# alternate the same backend for ever.
		pause "0.0$((RANDOM % 30 + 10))"
		seen=$(printf '%s\n%s' "${seen:-}" "$(answers)" | sort -u | grep .)
		[ "$i" -lt 8 ] || [ "$(wc -l <<<"$seen")" -lt "$1" ] || break
	done
	count 'addresses that answer' "$1" "$seen"
}
count() { # WHAT WANTED LINES
	same "$1" "$2" "$(grep -c . <<<"$3")" || {
		printf '%s\n' "$3"
		return 1
	}
}
is_settled() { # N: as many instances, all of them ready
	[ "$(service shop.web '"\(.phase) \(.ready)"')" = "running $1" ] &&
		[ "$(instances '[.items[] | select(.service == "shop.web")] | length')" = "$1" ]
}
settles() {
	wait_for "${2:-10}" is_settled "$1" || {
		lab_weft service list
		lab_weft instance list
		tail -n 20 "$LAB_DIR/weftd.log"
		return 1
	}
}

status_says_why() {
	local s
	s=$(lab_weft status -o json) || return 1
	jq -e '.runtimes[] | select(.virtualization == "native") | .usable' <<<"$s" &&
		jq -e '.runtimes[] | select(.virtualization == "container") | .usable | not' <<<"$s" &&
		has "$(lab_weft status)" 'unusable .*no-containerd\.sock: No such file'
}

# What it has probed is what its scheduler knows: the runtime that cannot be used is named, and why.
not_placed() {
	: >"$LAB_DIR/box.tar"
	descriptor box.one 1 ".applications[0].microservices[0] |= (.virtualization = \"container\"
		| .code = \"file://$LAB_DIR/box.tar\" | del(.cmd))"
	lab_weft apply -f "$LAB_DIR/box.one.json" || return 1
	wait_for 20 is_refused || {
		lab_weft service show box.one
		return 1
	}
	same 'instances' 0 "$(instances '.items | length')" && lab_weft service delete box.one && wait_for 20 is_gone box.one
}
is_refused() {
	has "$(service box.one .detail)" "no node can run it as container: node $LAB_NAME: virtualization: container wanted" \
		'offers .*native.* \(.*no-containerd\.sock: No such file'
}

shown() {
	has "$(lab_weft service list)" '^shop\.web +10\.30\.0\.2 +running +1/1 +native' &&
		has "$(lab_weft instance list)" '^shop\.web\.1 +shop\.web +native +ready' &&
		has "$(lab_weft apply -f "$LAB_DIR/shop.web.json")" 'shop\.web: unchanged' && answers
}

curl_all_along() {
	local n=0 bad=0
	while [ -e "$LAB_DIR/curling" ]; do
		answers >/dev/null || bad=$((bad + 1))
		n=$((n + 1))
	done
	echo "$n $bad" >"$LAB_DIR/curled"
}
# none_lost AT_MOST CMD...: requests go on while CMD runs; so many of them may fail.
none_lost() {
	local most=$1 rc=0 n bad pid
	shift
	touch "$LAB_DIR/curling"
	curl_all_along &
	pid=$!
	"$@" || rc=1
	rm "$LAB_DIR/curling"
	wait "$pid"
	read -r n bad <"$LAB_DIR/curled"
	echo "$n requests, $bad failed"
	[ $rc = 0 ] && [ "$bad" -le "$most" ] && [ "$n" -gt 5 ]
}

scale() {
	apply 3 --wait --timeout 10 && settles 3 && addresses_are 3 &&
		apply 2 && settles 2 && apply 1 && settles 1
}

replaced() {
	local pid id
	apply 2 --wait --timeout 10 && settles 2 || return 1
	read -r pid id <<<"$(instances '.items[0] | "\(.pid) \(.id)"')"
	kill -KILL "$pid" || return 1
	wait_for 5 is_not_listed "$id" && settles 2 && addresses_are 2
}
is_not_listed() { [ "$(instances "[.items[] | select(.id == \"$1\" and .phase != \"failed\")] | length")" = 0 ]; }

fails_with_text() {
	descriptor bad.one 1 '.applications[0].microservices[0] |= (.readiness = {type: "none"}
		| .cmd = ["sh", "-c", "printf \"\\377\\376 first\\0\\n\\303\\nlast\\n\"; exit 3"])'
	lab_weft apply -f "$LAB_DIR/bad.one.json" || return 1
	wait_for 5 has_failed || return 1
	has "$(lab_weft logs bad.one.1 --tail 1)" '^last$' && has "$(lab_weft logs bad.one.1)" '^\?\? first' &&
		lab_weft service delete bad.one && wait_for 5 is_gone bad.one
}
has_failed() { [[ $(service bad.one .detail) == *"exit status 3"* ]]; }
is_gone() {
	local rc=0
	lab_weft service show "$1" || rc=$?
	[ $rc = 3 ]
}

# --- the daemon is killed ------------------------------------------------------------------------

adopted() {
	local before after
	before=$(instances '[.items[] | [.id, .pid]] | sort')
	lab_weftd_kill
	# As if killed while it wrote these.
	echo '{"pid"' | tee "$LAB_DIR/state/native/.weft-tmp-6UnELm" >"$LAB_DIR/state/.weft-tmp-events"
	answers || return 1
	lab_weftd || return 1
	! ls -d "$LAB_DIR"/state/.weft-tmp-* || return 1
	settles 2 && exactly 2 && after=$(instances '[.items[] | [.id, .pid]] | sort') && same 'instances' "$before" "$after"
}

# As systemd does it.
stopped() {
	local before
	before=$(instances '[.items[] | [.id, .pid]] | sort')
	kill -TERM "$LAB_WEFTD_PID" && wait "$LAB_WEFTD_PID"
	same 'exit status' 0 $? && ! lab_weft status && addresses_are 2 && lab_weftd && settles 2 &&
		same 'instances' "$before" "$(instances '[.items[] | [.id, .pid]] | sort')"
}

died_meanwhile() {
	local pid
	pid=$(instances '.items[0].pid')
	lab_weftd_kill
	kill -KILL "$pid"
	lab_weftd && wait_for 5 is_pid_gone "$pid" && settles 2 && addresses_are 2
}
is_pid_gone() { instances "[.items[].pid] | index($1) | not" | grep -q true; }

# Of what a reboot leaves there is only the state directory.
rebooted() {
	local name
	lab_weftd_kill
	groups | while read -r name; do
		find /sys/fs/cgroup -path "*/weft-$LAB_NAME/$name/cgroup.procs" -exec cat {} +
	done | sort -u | xargs -r kill -KILL
	find "$LAB_DIR/state/netns" -type f -exec umount {} \;
	for name in $(ip -n "$LAB_NS" -o link | grep -oE 'weft0(\.[0-9]+)?@' | tr -d @); do
		ip -n "$LAB_NS" link del "$name"
	done
	rm -r "$LAB_BPFFS"
	lab_weftd && settles 3 20 && addresses_are 3
}

some_change() {
	case $((RANDOM % 5)) in
	0 | 1) apply $((RANDOM % 4 + 1)) ;;
	2) descriptor other.api $((RANDOM % 2 + 1)) "$other_ip" && lab_weft apply -f "$LAB_DIR/other.api.json" ;;
	3) lab_weft service delete shop.web ;;
	*) lab_weft service delete other.api ;;
	esac
}

killed_at_random() {
	RANDOM=$seed
	for _ in {1..20}; do
		some_change
		pause "0.$(printf '%03d' $((RANDOM % 150)))"
		lab_weftd_kill
		lab_weftd || return 1
	done
	wait_for 15 apply 3 || return 1
	lab_weft service delete other.api
	wait_for 15 is_gone other.api && settles 3 20 && addresses_are 3
}

groups() { find /sys/fs/cgroup -mindepth 3 -type d -path "*/weft-$LAB_NAME/*" -printf '%f\n' | sort -u; }
# Of everything that an instance is made of there are as many as there are instances.
exactly() { # N
	count processes "$1" "$(pgrep -f -- "nginx .*-c $LAB_DIR/nginx.conf")" &&
		count devices "$1" "$(ip -n "$LAB_NS" -o link | grep -F 'weft0.')" &&
		count namespaces "$1" "$(ls -A "$LAB_DIR/state/netns")" &&
		count mounts "$1" "$(grep -F "$LAB_DIR/state/netns/" /proc/self/mountinfo)" &&
		count directories "$1" "$(ls -A "$LAB_DIR/state/instances")" &&
		count records "$1" "$(ls -A "$LAB_DIR/state/native")" &&
		count 'control groups' "$1" "$(groups | grep -v '\.log$')" &&
		count "control groups of their logs' writers" "$1" "$(groups | grep '\.log$')" &&
		count 'attached programs' $(($1 + 1)) "$(ls -A "$LAB_BPFFS/links")" &&
		same 'rows of the balancer' "$1" "$(lab_weft dp lb list -o json | jq '.items | length')"
}

deleted() {
	lab_weft service delete shop.web && wait_for 10 is_gone shop.web && exactly 0 && ! answers
}

# --- a full disk ---------------------------------------------------------------------------------

fill() {
	dd if=/dev/zero of="$LAB_DIR/state/filler" bs=64k
	dd if=/dev/zero of="$LAB_DIR/state/filler2" bs=4k
	! echo x >"$LAB_DIR/state/filler3"
}
full_disk() {
	local pid
	fill 2>/dev/null || return 1
	at_vip shop.web 4
	refused 1 'store .*full' 'hint: free some disk space' -- lab_weft apply -f "$LAB_DIR/shop.web.json" || return 1
	refused 1 'full' 'hint: ' -- lab_weft service delete shop.web || return 1
	same 'service' 'running 3' "$(service shop.web '"\(.phase) \(.ready)"')" || return 1
	has "$(lab_weft status)" 'STORE .*full' || return 1
	none_lost 0 addresses_are 3 || return 1
	pid=$(instances '.items[0].pid')
	kill -KILL "$pid"
	wait_for 10 is_served_without "$pid" && addresses_are "$(service shop.web .ready)"
}
# The dead one is noticed; SQLite may still have had room in its log for another in its place.
is_served_without() { # PID
	[[ $(service shop.web '"\(.phase) \(.ready)"') == @(degraded 2|running 3) ]] &&
		! lab_weft instance list -o json | jq -e "any(.items[]; .pid == $1)"
}

full_restart() {
	local ready
	ready=$(service shop.web .ready)
	lab_weftd_kill
	lab_weftd && none_lost 0 addresses_are "$ready" &&
		[ "$(service shop.web .ready)" -ge "$ready" ]
}

space_again() {
	rm "$LAB_DIR"/state/filler*
	wait_for 10 apply 4 && settles 4 20 && exactly 4 && has "$(lab_weft status)" 'STORE .*ok'
}

# --- clients -------------------------------------------------------------------------------------

raw() { curl -s --max-time 10 --unix-socket "$LAB_SOCKET" "$@"; }

# hold N TEXT: so many connections that say TEXT and then nothing, until its standard input ends.
hold() {
	perl -MIO::Socket::UNIX -e '
		my ($path, $n, $text) = @ARGV;
		$SIG{PIPE} = "IGNORE";
		for (1 .. $n) {
			my $s = IO::Socket::UNIX->new(Peer => $path) or die "connection $_: $!";
			$s->syswrite($text) if length $text;
			push @all, $s;
		}
		$| = 1;
		print "held\n";
		<STDIN>;' "$LAB_SOCKET" "$1" "$2"
}
held() { # N TEXT CMD...: CMD while they are held
	local rc=0 n=$1 text=$2 out end pid
	shift 2
	coproc HOLD { hold "$n" "$text"; }
	end=${HOLD[1]} pid=$HOLD_PID
	read -rt 20 -u "${HOLD[0]}" out || rc=1
	"$@" || rc=1
	exec {end}>&-
	wait "$pid"
	same 'connections' held "${out:-}" && return $rc
}
quick_status() { timeout 5 "$LAB_BUILD/weft" -H "unix:$LAB_SOCKET" status; }

garbage() {
	held 20 $'\x16\x03\x01\xff\xfe GET\r\n\r\n' quick_status &&
		held 20 "$(head -c 60000 /dev/zero | tr '\0' A)" quick_status &&
		same 'status of a long header' 431 "$(raw -o /dev/null -w '%{http_code}' \
			-H "X: $(head -c 40000 /dev/zero | tr '\0' A)" http://weft/v1/status)" && quick_status
}
half_a_request() {
	held 20 $'POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{' quick_status
}
huge_body() {
	has "$(head -c 2000000 /dev/zero | raw --data-binary @- http://weft/v1/apply)" '"too_large"' '1048576' || return 1
	# One without an end is cut off.
	! raw -T - -X POST http://weft/v1/apply </dev/zero && quick_status
}

# --- started wrongly -----------------------------------------------------------------------------

weftd_with() { lab_in "$LAB_BUILD/weftd" --state-dir="$LAB_DIR/state2" --socket="$LAB_DIR/2.sock" "$@"; }
not_root() {
	refused 1 'needs root' 'hint: sudo' -- setpriv --reuid=65534 --clear-groups "$LAB_BUILD/weftd"
}
no_bpffs() { refused 1 "$LAB_DIR/bpf: not on a bpffs" 'hint: ' -- weftd_with --bpffs="$LAB_DIR/bpf"; }
readonly_bpffs() {
	mkdir "$LAB_DIR/ro"
	# shellcheck disable=SC2016
	refused 1 "$LAB_DIR/ro.*Read-only file system" -- unshare --mount sh -c \
		'mount -t bpf -o ro bpf "$1" && shift && exec "$@"' sh "$LAB_DIR/ro" nsenter --net="/run/netns/$LAB_NS" \
		"$LAB_BUILD/weftd" --state-dir="$LAB_DIR/state2" --bpffs="$LAB_DIR/ro/weft"
}
no_socket() {
	local weftd=(unshare --net "$LAB_BUILD/weftd" --state-dir="$LAB_DIR/state2" --bpffs="$LAB_BPFFS-2"
		--socket="$LAB_DIR/file")
	echo precious >"$LAB_DIR/file"
	refused 4 "$LAB_DIR/file: there is a file that is no socket" 'hint: ' -- "${weftd[@]}" || return 1
	same 'file' precious "$(cat "$LAB_DIR/file")" && "${weftd[@]}" --purge
}

nothing_left() {
	local left
	left=$(
		ip netns list | grep -F "weft-$LAB_NAME"
		ls -d "/sys/fs/bpf/weft-$LAB_NAME"* 2>/dev/null
		find /sys/fs/cgroup -type d -name "weft-$LAB_NAME*" 2>/dev/null
		grep -F "$OLD_DIR" /proc/self/mountinfo
		pgrep -af -- "$OLD_DIR" | grep -v "^$$ "
		ls -d "$OLD_DIR" 2>/dev/null
	)
	[ -z "$left" ] || {
		echo "left behind: $left"
		return 1
	}
}

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq curl nginx perl setpriv; do
	command -v "$c" >/dev/null || tap_skip_all "$c is not installed"
done
for c in weftd weft; do [ -x "$LAB_BUILD/$c" ] || tap_skip_all "$LAB_BUILD/$c is not built"; done
seed=${WEFT_SEED:-$RANDOM}
lab_open e2e-daemon
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
mkdir "$LAB_DIR/state"
mount -t tmpfs -o size=16m,mode=700 weft "$LAB_DIR/state"
nginx_conf
lab_weftd

tap 'status says that containerd cannot be used, and why' status_says_why
tap 'a service that its runtimes cannot run is not placed, and it says why' not_placed
tap 'a service runs' apply 1 --wait --timeout 10
tap 'it is listed and shown, and answers' shown
tap 'replicas up and down: no request is lost' none_lost 0 scale
tap 'an instance that is killed is replaced' none_lost 2 replaced
tap 'an instance that fails says why; its log is text' fails_with_text
tap 'weftd killed: the next one takes the instances over' none_lost 0 adopted
tap 'weftd stopped in good order: instances and traffic go on' none_lost 0 stopped
tap 'an instance that died meanwhile is replaced' died_meanwhile
tap "weftd killed at twenty random moments: all is well (seed $seed)" killed_at_random
tap 'nothing is doubled, nothing is left over' exactly 3
tap 'after a reboot all is made anew' rebooted
tap 'and nothing is left over either' exactly 3
tap 'a full disk: refused with a next step, traffic goes on' full_disk
tap 'a start on a full disk' full_restart
tap 'with space again it goes on' space_again
tap 'clients that send garbage' garbage
tap 'clients that send half a request' half_a_request
tap 'clients that send too much' huge_body
tap '300 idle clients' held 300 '' quick_status
tap '700 idle clients' held 700 '' quick_status
tap 'a service is deleted, and nothing of it is left' deleted
tap 'not root' not_root
tap 'a directory that is no bpffs' no_bpffs
tap 'a read-only bpffs' readonly_bpffs
tap 'a file that is no socket is not touched' no_socket
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left
tap_end
