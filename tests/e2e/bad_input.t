#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bad input to the data plane's commands: a table of what is said and what it is answered. Each
# answer names what was wrong, of which object, and the next step; afterwards nothing has changed.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh
. tests/lib/e2e.sh

long=$(printf 'x%.0s' {1..200})
state() {
	lab_weft instance list -o json | jq -Sc '[.items[] | {name, service, device, phase, weight}] | sort'
	lab_weft dp lb list -o json | jq -Sc '[.items[] | {service, instance, weight}] | sort'
}

# bad STATUS PATTERN ARG...: the command line refuses it so, with a hint where PATTERN has "; ".
# Every case of a table is tried, whatever became of those before it.
bad() {
	local status=$1 pattern=$2 patterns=()
	shift 2
	patterns=("error: .*${pattern%%; *}")
	[[ $pattern != *'; '* ]] || patterns+=("hint: .*${pattern#*; }")
	refused "$status" "${patterns[@]}" -- lab_weft "$@" || failed=1
	cases=$((cases + 1))
}
# api CODE PATTERN METHOD PATH [BODY]: and so does the API.
api() {
	local answer
	answer=$(curl -s --max-time 20 -X "$3" --unix-socket "$LAB_SOCKET" ${5:+-d "$5"} "http://weft$4")
	has "$answer" "\"code\":\"$1\"" "$2" || failed=1
	cases=$((cases + 1))
}
table() {
	local failed=0 cases=0 before
	before=$(state)
	"$@"
	same 'what there is' "$before" "$(state)" || failed=1
	echo "$cases cases"
	[ $failed = 0 ] && [ $cases -gt 3 ]
}

attach() { bad "$1" "$2" instance attach "${@:3}"; }
names() {
	local n
	for n in 'a b' ../x $'x\ny' "$long" .x host; do
		attach 2 'no name for an instance; letters, digits' "$n" --device va --ns-addr 172.20.5.9
	done
	attach 2 'an empty name names nothing' '' --device va --ns-addr 172.20.5.9
	attach 4 'instance shop\.web\.1 is there already; weft instance show' shop.web.1 --device va --ns-addr 172.20.5.9
	bad 3 'instance nope: no such instance; weft instance list' instance detach nope
	bad 3 "no such resource; a name has no '/'" instance detach ../x
	bad 3 "no such resource; a name has no '/', and less than 160" instance detach "$long"
	bad 4 'shop\.web\.1 is run by weft; ' instance detach shop.web.1
}
addresses() {
	local a
	for a in 1 1.2.3 256.1.1.1 10.18.0.5/26 fe80::1 ' 10.18.0.9' 10.18.0.09 0x0a120009 "$long"; do
		attach 2 'is not an IPv4 address; as 10\.18\.0\.9, without' x --device va --ns-addr "$a"
	done
	for a in 0.0.0.0 127.0.0.1 224.0.0.1 255.255.255.255 10.30.0.9; do
		attach 2 "${a//./\\.} is not an address that an interface can have; " x --device va --ns-addr "$a"
	done
	for a in zz 1.2.3.4 fc00::9/64 fe80::1%va "$long"; do
		attach 2 'is not an IPv6 address; as fc00::9, without' x --device va --ns-addr 172.20.5.9 --ns-addr6 "$a"
	done
	for a in :: ::1 fe80::1 ff02::1 fdff::9 ::ffff:1.2.3.4; do
		attach 2 "$a is not an address that an interface can have; " x --device va --ns-addr 172.20.5.9 --ns-addr6 "$a"
	done
	attach 4 'address 10\.18\.0\.1 is already taken by the node itself; weft instance list' x --device va --ns-addr 10.18.0.1
	attach 4 'address 10\.18\.0\.2 is already taken by shop\.web\.1; weft instance list' x --device va --ns-addr 10.18.0.2
	attach 4 'address fc00::2 is already taken by shop\.web\.1; ' x --device va --ns-addr 172.20.5.9 --ns-addr6 fc00::2
	attach 2 'which address does it have; --ns-addr ADDR' x --device va
	attach 2 '--ns-addr: an empty word' x --device va --ns-addr ''
	for a in zz 1:2:3:4:5:6 ff:ff:ff:ff:ff:ff 00:00:00:00:00:00 01:00:5e:00:00:01 52:54:00:12:34:56:78; do
		attach 2 "\"$a\" is no unicast hardware address; six pairs" x --device va --ns-addr 172.20.5.9 --mac "$a"
	done
}
devices() {
	attach 3 "device nope: weftd's namespace has no such device; ip link" x --device nope --ns-addr 172.20.5.9
	attach 3 "device $long: .* no such device; ip link" x --device "$long" --ns-addr 172.20.5.9
	attach 3 'device va/b: .* no such device; ip link' x --device va/b --ns-addr 172.20.5.9
	attach 2 '--device: an empty word' x --device '' --ns-addr 172.20.5.9
	attach 1 'device lo is .* of the machine itself; name the veth' x --device lo --ns-addr 172.20.5.9
	attach 4 "device weft0 is weft's own" x --device weft0 --ns-addr 172.20.5.9
	attach 4 'device down0 is down; ip link set down0 up' x --device down0 --ns-addr 172.20.5.9
	attach 2 'by which device, or in which namespace; one of' x --ns-addr 172.20.5.9
	attach 2 'by which device, or in which namespace; one of' x --device va --netns a --ns-addr 172.20.5.9
	attach 3 'namespace /run/netns/nope-nope: No such file.*; ip netns' x --netns nope-nope --ns-addr 172.20.5.9
	attach 3 'namespace /proc/0/ns/net: No such file.*; ip netns' x --netns /proc/0/ns/net --ns-addr 172.20.5.9
	attach 2 'namespace /dev/null: it is none; ip netns' x --netns /dev/null --ns-addr 172.20.5.9
	attach 3 'none of its links is a veth with its other end; ' x --netns "$LAB_NS" --ns-addr 172.20.5.9
	attach 4 'device veth0 is in another overlay: another weftd.*; take it out there' x --device veth0 --ns-addr 172.20.5.9
}
twice() {
	attach 4 'instance byhand is there already; weft instance show byhand' byhand --device va --ns-addr 172.20.5.9
	attach 4 "device va is byhand's already; weft instance detach byhand" x --device va --ns-addr 172.20.5.10
	attach 4 'address 172\.20\.5\.9 is already taken by byhand; ' x --device vc --ns-addr 172.20.5.9
	attach 4 "device va is byhand's already; weft instance detach byhand" x --device va --ns-addr 172.20.5.10 --service shop.web
}
detached_twice() {
	lab_weft instance detach byhand && refused 3 'instance byhand: no such instance' 'hint: weft instance list' -- \
		lab_weft instance detach byhand && serves
}
weights() {
	local w
	for w in -1 1001 1e3 0x10 99999999999999999999 1.5 ' 1' +1 ''; do
		attach 2 '--weight .*: not a weight from 0 to 1000' x --device va --ns-addr 172.20.5.9 "--weight=$w"
	done
	for w in 1 1= =1 1=x 1=-1 1=1.5 1=99999999999999999999; do
		bad 2 "\"$w\": not an instance and its weight; weft service weights" service weights shop.web "$w"
	done
	for w in 9 shop.web.9 1=1 host "$long"; do
		bad 3 "service shop\.web has no instance $w; weft service show" service weights shop.web "$w=1"
	done
	bad 2 'shop\.web\.1: a weight is 0 to 1000, not 1001' service weights shop.web 1=1001
	bad 2 'all weights are 0.*; .*--reset' service weights shop.web 1=0
	bad 2 'instance shop\.web\.1 has two weights' service weights shop.web 1=1 shop.web.1=2
	bad 4 'version 999999 is not one of this node.s; read it again' service weights shop.web 1=1 --if-version 999999
	for w in -1 65 99999999999999; do
		bad 2 '.' service scale shop.web -- "$w"
	done
}
services() {
	local c
	for c in 'dp lb list' 'dp flows list' 'dp stats list'; do
		# shellcheck disable=SC2086 # words
		bad 3 'service nope: no such service; weft service list' $c --service nope
		# shellcheck disable=SC2086
		bad 2 '--service: an empty word' $c --service ''
	done
	bad 3 'service nope: no such service; weft service list' service weights nope 1=1
	bad 3 'service nope: no such service; weft service list' service set nope shortcut=on
	bad 3 'service nope: no such service; weft service list' trace nope
	bad 3 'instance x: service nope: no such service; ' instance attach x --device va --ns-addr 172.20.5.9 --service nope
	bad 2 'trace of shop\.web: duration_ms .* at least 100; weft trace' trace shop.web --duration 0
	bad 2 'longer than 30 days' trace shop.web --duration 99999999999h
	bad 2 'not a time such as' trace shop.web --duration -1s
	bad 2 'not a setting; weft service set' service set shop.web shortcut=maybe
}
ports() {
	local p
	for p in 0:80 80:0 65536:80 80:80/sctp x:y 80:80:80 -1:80 99999999999999999999:1; do
		descriptor p.q 1 ".applications[0].microservices[0].port = \"$p\""
		bad 2 ".*p\.q\.json:[0-9]+:[0-9]+: .*\.port: \"$p\" is not a port mapping; host" apply -f "$LAB_DIR/p.q.json"
	done
	for p in 10.30.0.0 10.31.0.1 10.30.255.255 1.2 10.30.0.5/24; do
		descriptor p.q 1 ".applications[0].microservices[0].addresses.rr_ip = \"$p\""
		bad 2 '.*p\.q\.json:[0-9]+:[0-9]+: .*rr_ip: must be 10\.30\.x\.y.*; or "auto"' apply -f "$LAB_DIR/p.q.json"
	done
	bad 2 'peer p: "10\.0\.0\.1/24" is not an IP address; ' peer add p --address 10.0.0.1/24
	bad 2 'peer p: an MTU is' peer add p --address 10.0.0.1 --mtu 1
	bad 2 '--port 65536: not a number from 1 to 65535' peer add p --address 10.0.0.1 --port 65536
}
by_api() {
	local x='"device":"va","ns_addr":"172.20.5.9"'
	api malformed 'line 1 column 1' POST /v1/instances '{'
	api invalid 'must be an object' POST /v1/instances '[]'
	api invalid 'name: must be given' POST /v1/instances '{}'
	api invalid 'name: must be a string' POST /v1/instances "{\"name\":5,$x}"
	api malformed '0000 is not allowed' POST /v1/instances "{\"name\":\"y\\u0000z\",$x}"
	api invalid 'unknown key .*toast' POST /v1/instances "{\"name\":\"y\",\"toast\":1,$x}"
	api invalid 'weight: must be a whole number' POST /v1/instances "{\"name\":\"y\",\"weight\":-5,$x}"
	api invalid 'instance y: a weight is 0 to 1000' POST /v1/instances "{\"name\":\"y\",\"weight\":4294967297,$x}"
	api malformed 'overflow' POST /v1/instances "{\"name\":\"y\",\"weight\":1e400,$x}"
	api invalid 'by which device' POST /v1/instances '{"name":"y","device":"","ns_addr":"172.20.5.9"}'
	api invalid 'weights: 1: must be a whole number' POST /v1/services/shop.web/weights '{"weights":{"1":"1"}}'
	api invalid 'must be an object with the key' POST /v1/services/shop.web/weights '{"weights":[]}'
	api not_found 'service nope' POST /v1/services/nope/weights '{"weights":{"1":1}}'
	api not_found 'instance nope' DELETE /v1/instances/nope
	api not_found 'service nope: no such' GET '/v1/dp/flows?service=nope'
	api invalid 'no such method' PUT /v1/dp/flows
	api invalid 'duration_ms: .*is not a number' GET '/v1/trace/shop.web?duration_ms=99999999999999999999'
}

# --- other overlay: another weftd beside ours, with an instance of its own ----------------------

other=(--node=other --host-device=othr0 --subnet=10.18.1.0/26 --subnet6=off --instances=10.30.129.0/24)
other_weft() { "$LAB_BUILD/weft" -H "unix:$LAB_DIR/other.sock" "$@"; }
other_flags() {
	flags=("${other[@]}" --state-dir="$LAB_DIR/other" --socket="$LAB_DIR/other.sock" --bpffs="$LAB_BPFFS-other"
		--cgroup="weft-$LAB_NAME-other" --containerd="$LAB_CONTAINERD")
}
# One that was killed leaves its programs running.
other_overlay() {
	local flags
	other_flags
	lab_in ip link add veth0 type veth peer name pveth0
	lab_in ip link set veth0 up
	setsid nsenter --net="/run/netns/$LAB_NS" "$LAB_BUILD/weftd" "${flags[@]}" >"$LAB_DIR/other.log" 2>&1 </dev/null &
	OTHER=$!
	lab_up 60 "$OTHER" other_weft status || {
		tail -n 5 "$LAB_DIR/other.log"
		return 1
	}
	other_weft instance attach theirs --device veth0 --ns-addr 172.20.5.77 || return 1
	lab_end "$OTHER" KILL
	lab_in ip link del othr0
}
other_gone() {
	local flags
	[ -n "${OTHER:-}" ] || return 0
	other_flags
	lab_end "$OTHER" KILL
	OTHER=
	lab_in "$LAB_BUILD/weftd" --purge "${flags[@]}" 2>&1
}
# Only one of them can have the route to the services.
ours_now() {
	lab_weftd_kill
	lab_in ip link del weft0
	other_gone && lab_weftd && lab_weft instance attach ours --device veth0 --ns-addr 172.20.5.77 && lab_weft instance detach ours
}

# --- a device that goes while it is attached ------------------------------------------------------

vanished() {
	lab_weft instance attach gone --device vc --ns-addr 172.20.5.30 --service shop.web &&
		lab_in ip link del vc && wait_for 20 gone_is lost || return 1
	has "$(lab_weft status)" 'gone: device vc is gone' && serves &&
		lab_weft instance detach gone && refused 3 'instance gone: no such instance' -- lab_weft instance detach gone
}
gone_is() { [ "$(lab_weft instance show gone -o json | jq -r .phase)" = "$1" ]; }
serves() { has "$(lab_in curl -s --max-time 20 "http://$vip/")" '^10\.18\.0\.2'; }

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq nginx curl; do
	command -v "$c" >/dev/null || tap_skip_all "$c is not installed"
done
lab_open e2e-bad-input
clean_up() {
	other_gone
	lab_close
}
trap clean_up EXIT
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
nginx_conf
tap 'another weftd with a device of its own, killed' other_overlay
lab_weftd
descriptor shop.web 1 ".applications[0].microservices[0].addresses.rr_ip = \"$vip\""
for v in va vc; do
	lab_in ip link add "$v" type veth peer name "p$v"
	lab_in ip link set "$v" up
done
lab_in ip link add down0 type veth peer name pdown0

tap 'a service' lab_weft apply -f "$LAB_DIR/shop.web.json" --wait --timeout 60
tap 'names' table names
tap 'addresses' table addresses
tap 'devices and namespaces' table devices
tap 'weights and numbers' table weights
tap 'services and times' table services
tap 'ports and ranges' table ports
tap 'by the API' table by_api
tap 'an interface is attached' lab_weft instance attach byhand --device va --ns-addr 172.20.5.9
tap 'attached twice' table twice
tap 'and detached twice' detached_twice
tap 'a device that vanishes' vanished
tap "purged, the other's device can be ours" ours_now
tap 'the service still serves' serves
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
