#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A veth made by hand, attached with an IPv6 address: its kernel finds the gateways that it may have by
# neighbour discovery, and calls services through them. What another engine has under the same name
# stays that engine's.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh
. tests/lib/e2e.sh

vip6=fdff:2000::2
weft_mac=02:77:65:66:74:01
of() { lab_weft "$1" show "$2" -o json | jq -r "$3 // empty"; } # KIND NAME JQ
in_c() { nsenter --net="/run/netns/$LAB_NS-c" "$@"; }
neighbour() { in_c ip -6 -j neigh show to "$1" dev eth7 | jq -r '.[] | "\(.lladdr) \(.state[0])"'; }
neighbour_is() { has "$(neighbour "$1")" "^$2 $3$"; } # ADDRESS MAC STATE
has_address() { in_c ip -6 -j addr show dev eth7 | jq -e --arg a "$1" ".[].addr_info[] | select(.local == \$a) | $2" >/dev/null; }
settled() { has_address "$1" '.tentative != true and .dadfailed != true'; }
dad_failed() { has_address "$1" '.dadfailed == true'; }
attach() { lab_weft instance attach "$1" --device "$2" --ns-addr 10.18.0.40 --ns-addr6 "$3"; } # NAME DEVICE ADDRESS

calls() {
	local a
	has "$(in_c curl -6 -sS --max-time 10 "http://[$vip6]/")" '^fc00::1' || return 1
	for a in $vip6 "$(of instance shop.web.1 .inst_addr6)"; do
		has "$(in_c ping -6 -c 2 -W 5 "$a")" ' 0% packet loss' || return 1
	done
}

# By its own means: its kernel looks for duplicates of each address before it uses it.
by_hand() {
	ip netns add "$LAB_NS-c"
	lab_in ip link add vc type veth peer name eth7 netns "$LAB_NS-c" && lab_in ip link set vc up &&
		in_c ip addr add 10.18.0.40/26 dev eth7 && in_c ip link set lo up && in_c ip link set eth7 up || return 1
	attach client vc fc00::140 || return 1
	in_c ip -6 addr add fc00::140/128 dev eth7 && wait_for 20 settled fc00::140
}
link_local_gateway() {
	in_c ip -6 route add default via fe80::1 dev eth7 && calls && has "$(neighbour fe80::1)" "^$weft_mac "
}
# Asked of the gateway alone, as of every neighbour that has been silent for a while.
probed() {
	in_c ip -6 neigh change fe80::1 lladdr $weft_mac dev eth7 nud probe && wait_for 20 neighbour_is fe80::1 $weft_mac REACHABLE
}
# Whoever takes the gateway's address for itself is told that there is one.
defended() {
	in_c ip -6 addr add fe80::1/64 dev eth7 && wait_for 20 dad_failed fe80::1 && in_c ip -6 addr del fe80::1/64 dev eth7
}
# What it has besides has the way to the gateway, too.
other_address() {
	in_c ip -6 addr add 2001:db8::7/128 dev eth7 nodad && in_c ip -6 neigh flush dev eth7 || return 1
	in_c ping -6 -c 1 -W 1 -I 2001:db8::7 2001:db8:ffff::1 # nobody is there, but the gateway is asked for
	has "$(neighbour fe80::1)" "^$weft_mac "
}
subnets_gateway() {
	in_c ip -6 route del default && in_c ip -6 route add fc00::101 dev eth7 &&
		in_c ip -6 route add default via fc00::101 dev eth7 && calls && has "$(neighbour fc00::101)" "^$weft_mac "
}
answers() { has "$(lab_in ping -6 -c 2 -W 5 "$(of instance client .inst_addr6)")" ' 0% packet loss'; }
no_drops() {
	local reasons
	reasons=$(lab_weft dp drops list -o json | jq -r '.items[] | select(.packets > 0).reason')
	same reasons '' "$(grep -E 'spoofed|malformed' <<<"$reasons")"
}

# A bridge whose address is the gateway, as container engines have them.
other_engine() {
	lab_weft instance detach client && in_c ip link del eth7 || return 1
	lab_in ip link add engine0 type bridge && lab_in ip link set engine0 up &&
		lab_in ip -6 addr add fe80::1/64 dev engine0 nodad && lab_in ip -6 addr add 2001:db8:5::1/64 dev engine0 nodad &&
		lab_in ip link add vd type veth peer name eth7 netns "$LAB_NS-c" && lab_in ip link set vd master engine0 up &&
		in_c ip addr add 10.18.0.40/26 dev eth7 && in_c ip link set eth7 up &&
		in_c ip -6 addr add 2001:db8:5::2/64 dev eth7 nodad && in_c ip -6 route add default via fe80::1 dev eth7 || return 1
	attach theirs vd 2001:db8:5::2 && calls || return 1
	has "$(neighbour fe80::1)" "^$(lab_in ip -j link show engine0 | jq -r '.[].address') " &&
		has "$(in_c ping -6 -c 2 -W 5 2001:db8:5::1)" ' 0% packet loss'
}

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq nginx curl ping; do
	command -v "$c" >/dev/null || tap_skip_all "$c is not installed"
done
[ -e /proc/sys/net/ipv6 ] || tap_skip_all 'this kernel has no IPv6'
lab_open e2e-attach6
clean_up() {
	ip netns del "$LAB_NS-c" 2>/dev/null
	lab_close
}
trap clean_up EXIT
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
nginx_conf
sed -i 's/listen 80;/listen 80; listen [::]:80 ipv6only=on;/' "$LAB_DIR/nginx.conf"
lab_weftd --subnet6=fc00::100/120
descriptor shop.web 1 ".applications[0].microservices[0].addresses = {rr_ip: \"$vip\", rr_ip_v6: \"$vip6\"}"

tap 'a service' lab_weft apply -f "$LAB_DIR/shop.web.json" --wait --timeout 30
tap 'a veth by hand, its address checked for duplicates' by_hand
tap 'by the gateway fe80::1' link_local_gateway
tap 'which answers when it is probed' probed
tap 'and whoever would take its address' defended
tap "and another of the interface's addresses" other_address
tap "by the subnet's gateway" subnets_gateway
tap 'it is called, too' answers
tap 'nothing of that was taken for forged' no_drops
tap "another engine's gateway of that name stays its own" other_engine
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
trap - EXIT
ip netns del "$LAB_NS-c"
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
