#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A service by several addresses, each of another policy: round robin, by weight, the closest, the
# least loaded; on native processes.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh
. tests/lib/e2e.sh

# The address for a policy of shop.web.
address() { lab_weft service show shop.web -o json | jq -r ".vips.\"$1\" // empty"; }
answer() { lab_in curl -s --max-time 5 "http://$1/"; } # ADDRESS
# Who answered so many new connections to the address: "2 10.18.0.2,2 10.18.0.3".
shares() { # ADDRESS N
	local i
	for ((i = 0; i < $2; i++)); do answer "$1"; done | sort -V | uniq -c | awk '{print $1 " " $2}' | paste -sd,
}
weights_are() { # POLICY JSON
	[ "$(jq -cS . <<<"$2")" = "$(lab_weft dp lb list -o json |
		jq -cS "[.items[] | select(.policy == \"$1\") | {(.instance): .weight}] | add")" ]
}
become() { # POLICY JSON
	wait_for 30 weights_are "$@" || {
		lab_weft dp lb list -o wide
		return 1
	}
}

apply() { # JQ
	descriptor shop.web 3 ".applications[0].microservices[0] |= (.cpu_limit = 0.1 | .addresses.rr_ip = \"$vip\" | $1)"
	lab_weft apply -f "$LAB_DIR/shop.web.json" --wait --timeout 30
}

all_answer() {
	local p a
	for p in rr wrr closest underutilized; do
		a=$(address $p)
		has "$a" '^10\.30\.' && has "$(answer "$a")" '^10\.18\.0\.[0-9]+$' || return 1
	done
	same 'addresses' 4 "$(lab_weft service show shop.web -o json | jq '[.vips[]] | unique | length')" &&
		same 'rows' 12 "$(lab_weft dp lb list -o json | jq '.items | length')" &&
		same 'closest' 10.30.0.77 "$(address closest)" &&
		has "$(lab_weft service show shop.web)" 'VIPS +rr=10\.30\.0\.2,wrr='
}

more_addresses() {
	apply '.addresses += {wrr_ip: "auto", closest_ip: "10.30.0.77", underutilized_ip: "auto"}' &&
		same 'rr' $vip "$(address rr)"
}
address_stays() {
	local before
	before=$(lab_weft service show shop.web -o json | jq -c .vips)
	apply '.addresses += {wrr_ip: "auto"}' && same 'addresses' "$before" \
		"$(lab_weft service show shop.web -o json | jq -c .vips)" && has "$(answer 10.30.0.77)" '^10'
}
address_refused() {
	descriptor shop.web 3 ".applications[0].microservices[0].addresses = {rr_ip: \"$vip\", closest_ip: \"10.30.0.78\"}"
	refused 4 'its address for closest_ip cannot change while it runs' 'hint: ' -- \
		lab_weft apply -f "$LAB_DIR/shop.web.json" || return 1
	descriptor other.web 1 '.applications[0].microservices[0].addresses = {underutilized_ip: "10.30.0.77"}'
	refused 4 'address 10\.30\.0\.77 is already taken by shop\.web' 'hint: .*underutilized_ip' -- \
		lab_weft apply -f "$LAB_DIR/other.web.json"
}

# An nginx in a namespace, attached at the other end of a long cable.
far_away() {
	ip netns add "$LAB_NS-c"
	setsid nsenter --net="/run/netns/$LAB_NS" tests/lib/delay.pl far0 far1 20 >"$LAB_DIR/delay" 2>&1 </dev/null &
	CABLE=$!
	wait_for 10 grep -q ready "$LAB_DIR/delay" || return 1
	lab_in ip link set far0 up
	lab_in ip link set far1 netns "$LAB_NS-c"
	local in_c=(nsenter --net="/run/netns/$LAB_NS-c")
	"${in_c[@]}" ip link set far1 address 02:00:00:00:00:77
	"${in_c[@]}" ip addr add 10.18.0.60/26 dev far1
	"${in_c[@]}" ip link set far1 up
	"${in_c[@]}" ip route add default via 10.18.0.1
	mkdir "$LAB_DIR/c"
	setsid "${in_c[@]}" nginx -p "$LAB_DIR/c" -e stderr -c "$LAB_DIR/nginx.conf" >/dev/null 2>&1 </dev/null &
	FAR=$!
	lab_weft instance attach far --service shop.web --device far0 --ns-addr 10.18.0.60 \
		--mac 02:00:00:00:00:77 --weight 2 && wait_for 10 far_is_ready
}
far_is_ready() { [ "$(lab_weft instance show far -o json | jq -r .phase)" = ready ]; }

far_is_measured() {
	lab_weft dp lb list -o json |
		jq -e '.items[] | select(.policy == "closest" and .instance == "far") | .rtt_us > 30000'
}
the_closest() {
	wait_for 20 far_is_measured || return 1
	become closest '{"far":0,"shop.web.1":1,"shop.web.2":1,"shop.web.3":1}' || return 1
	weights_are rr '{"far":2,"shop.web.1":1,"shop.web.2":1,"shop.web.3":1}' &&
		weights_are wrr '{"far":2,"shop.web.1":1,"shop.web.2":1,"shop.web.3":1}' &&
		same 'closest' '2 10.18.0.2,2 10.18.0.3,2 10.18.0.4' "$(shares "$(address closest)" 6)" &&
		same 'round robin' '1 10.18.0.2,1 10.18.0.3,1 10.18.0.4,2 10.18.0.60' "$(shares $vip 5)"
}
# Nobody else is left to be closer.
far_alone() {
	descriptor shop.web 0 ".applications[0].microservices[0].addresses.rr_ip = \"$vip\""
	lab_weft apply -f "$LAB_DIR/shop.web.json" || return 1
	become closest '{"far":1}' && same 'closest' '2 10.18.0.60' "$(shares "$(address closest)" 2)"
}
near_again() {
	apply '.' && lab_weft instance detach far && lab_end "$FAR" && lab_end "$CABLE" &&
		become closest '{"shop.web.4":1,"shop.web.5":1,"shop.web.6":1}'
}

ns_addr() { lab_weft instance show "shop.web.$1" -o json | jq -r .ns_addr; }

# One has more flows than its share.
busy_with_flows() {
	local addr
	addr=$(lab_weft instance show shop.web.4 -o json | jq -r .inst_addr)
	# shellcheck disable=SC2016 # its own variables
	setsid nsenter --net="/run/netns/$LAB_NS" bash -c 'for i in {10..40}; do
		eval "exec $i<>/dev/tcp/$1/80" || exit 1
	done; read -r' x "$addr" <"$LAB_DIR/hold" >/dev/null 2>&1 &
	HOLD=$!
	exec 8>"$LAB_DIR/hold"
	become underutilized '{"shop.web.4":0,"shop.web.5":1,"shop.web.6":1}' || return 1
	same 'shares' "3 $(ns_addr 5),3 $(ns_addr 6)" "$(shares "$(address underutilized)" 6)"
}
idle_again() {
	exec 8>&-
	wait "$HOLD"
	become underutilized '{"shop.web.4":1,"shop.web.5":1,"shop.web.6":1}'
}

# One uses all of its CPU.
busy_with_work() {
	local f
	bash -c 'while :; do :; done' &
	BURN=$!
	while read -r f; do
		echo "$BURN" >"$f" || return 1
	done < <(find /sys/fs/cgroup -path "*/weft-$LAB_NAME/shop.web.6/cgroup.procs")
	become underutilized '{"shop.web.4":1,"shop.web.5":1,"shop.web.6":0}'
}
rested() {
	kill "$BURN"
	become underutilized '{"shop.web.4":1,"shop.web.5":1,"shop.web.6":1}'
}

by_hand() {
	lab_weft service weights shop.web 4=5 5=1 6=0 -o name || return 1
	weights_are rr '{"shop.web.4":5,"shop.web.5":1,"shop.web.6":0}' &&
		weights_are wrr '{"shop.web.4":5,"shop.web.5":1,"shop.web.6":0}' &&
		weights_are closest '{"shop.web.4":1,"shop.web.5":1,"shop.web.6":1}' &&
		same 'shares' "5 $(ns_addr 4),1 $(ns_addr 5)" "$(shares "$(address wrr)" 6)" &&
		lab_weft service weights shop.web --reset -o name
}

restarted() {
	local before
	before=$(lab_weft service show shop.web -o json | jq -c .vips)
	lab_weftd_kill
	has "$(answer 10.30.0.77)" '^10' || return 1
	lab_weftd || return 1
	same 'addresses' "$before" "$(lab_weft service show shop.web -o json | jq -c .vips)" && all_answer
}

# What a shift gives to either side it gives by every address.
swapped() {
	lab_weft swap start shop.web --to unikernel --duration 3s --drain 10s --wait --timeout 90 || return 1
	local p
	for p in rr wrr closest underutilized; do
		has "$(answer "$(address $p)")" 'unikernel|hello' || return 1
	done
	[ "$(lab_weft events -o json | jq '[.items[] | select(.kind == "weights" and .data.by == "swap") | .data.policy]
		| unique | length')" = 4 ]
}

# No instance of weft's own: the service is whatever is attached to it.
only_attached() {
	descriptor lone.api 0 '.applications[0].microservices[0].addresses.rr_ip = "10.30.0.99"'
	lab_weft apply -f "$LAB_DIR/lone.api.json" --wait --timeout 10 || return 1
	ip netns add "$LAB_NS-b"
	lab_in ip link add vb type veth peer name eth0 netns "$LAB_NS-b"
	lab_in ip link set vb up
	local in_b=(nsenter --net="/run/netns/$LAB_NS-b")
	"${in_b[@]}" ip addr add 10.18.0.50/26 dev eth0
	"${in_b[@]}" ip link set eth0 up
	"${in_b[@]}" ip route add default via 10.18.0.1
	mkdir "$LAB_DIR/b"
	setsid "${in_b[@]}" nginx -p "$LAB_DIR/b" -e stderr -c "$LAB_DIR/nginx.conf" >/dev/null 2>&1 </dev/null &
	NGINX=$!
	lab_weft instance attach alone --service lone.api --device vb --ns-addr 10.18.0.50 || return 1
	wait_for 10 attached_answers
}
attached_answers() { [ "$(answer 10.30.0.99)" = 10.18.0.50 ]; }

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_open e2e-policies
clean_up() {
	for ns in "$LAB_NS-b" "$LAB_NS-c"; do
		ip netns pids "$ns" 2>/dev/null | xargs -r kill 2>/dev/null
		ip netns del "$ns" 2>/dev/null
	done
	[ -z "${BURN:-}" ] || kill "$BURN" 2>/dev/null
	lab_close
}
trap clean_up EXIT
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
mkfifo "$LAB_DIR/hold"
nginx_conf
lab_weftd

tap 'a service by one address' apply '.'
load_start keepalive 100 4
tap 'more addresses while it runs' more_addresses
tap 'each of them answers' all_answer
tap 'one that the service has had stays' address_stays
tap 'one that is taken, or another instead, is refused' address_refused
load_stop
tap 'no request was lost' none_failed keepalive 50
tap 'one that is far away' far_away
tap 'the closest: it gets nothing' the_closest
tap 'but when it is alone' far_alone
tap 'others are near again' near_again
tap 'the least loaded: by flows' busy_with_flows
tap 'idle again' idle_again
tap 'the least loaded: by CPU' busy_with_work
tap 'rested' rested
tap 'weights by hand are for those that go by weights' by_hand
tap 'after a restart' restarted
apply ".variants = [{virtualization: \"unikernel\", code: \"file://$LAB_BUILD/guest/weft-guest.tar.gz\",
	arch: [\"amd64\"], memory: 32, network: \"tap\", weight: 3}]" >/dev/null
tap 'a swap moves all of them' swapped
tap 'a service of attached instances alone' only_attached
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
trap - EXIT
lab_end "${NGINX:-}"
ip netns del "$LAB_NS-b"
ip netns del "$LAB_NS-c"
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
