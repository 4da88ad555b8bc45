#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Services by IPv6: from the host, from another instance and under load, while the service goes from
# a container to a native process, to a sandbox where those run, to a unikernel on a macvtap and on a
# tap, and back. One lost request fails the test. Then the addresses over a restart, and without IPv6.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh
. tests/lib/e2e.sh

vip6=fdff:2000::2

of() { lab_weft "$1" show "$2" -o json | jq -r "$3 // empty"; } # KIND NAME JQ
curl6() { "${@:2}" curl -6 -s --max-time 5 "http://[$1]/"; }    # ADDRESS [PREFIX...]
ready() { lab_weft instance list -o json | jq -r '[.items[] | select(.service == "shop.web" and .phase == "ready")][0].id'; }

# nginx on both families, whose answer says by which address it was asked.
nginx_conf6() {
	nginx_conf
	sed -i 's/listen 80;/listen 80; listen [::]:80 ipv6only=on;/' "$LAB_DIR/nginx.conf"
}

addresses() {
	local id
	id=$(ready)
	same 'rr' $vip6 "$(of service shop.web .vip6)" &&
		same 'wrr' fdff:5000::5 "$(of service shop.web .vips6.wrr)" &&
		has "$(of instance "$id" .ns_addr6)" '^fc00::1[0-9a-f]{2}$' &&
		has "$(of instance "$id" .inst_addr6)" '^fdff::80[0-9a-f]{2}$' &&
		has "$(lab_weft service show shop.web)" 'VIPS6 +rr=fdff:2000::2,wrr=fdff:5000::5' &&
		has "$(lab_weft instance show "$id")" 'ADDRESS6 +fc00::1' 'INSTANCE-IP6 +fdff::80' &&
		has "$(lab_weft dp lb list -o wide)" 'VIP6 +ADDRESS6' 'fdff:2000::2 +fc00::1' &&
		has "$(lab_weft doctor)" 'IPv6 +services and instances have addresses'
}
every_address() {
	local id
	id=$(ready)
	for a in $vip6 fdff:5000::5 "$(of instance "$id" .inst_addr6)" "$(of instance "$id" .ns_addr6)"; do
		has "$(curl6 "$a" lab_in)" "$1" || return 1
	done
	has "$(lab_in ping -6 -c 2 -W 2 "$(of instance "$id" .inst_addr6)")" ' 0% packet loss'
}

swap_to_guest() { # NETWORK
	jq "(.applications[0].microservices[0].variants[] | select(.virtualization == \"unikernel\")).network = \"$1\"" \
		"$LAB_DIR/shop.json" >"$LAB_DIR/$1.json" &&
		lab_weft apply -f "$LAB_DIR/$1.json" --wait --timeout 60 && swap_under_load unikernel &&
		same 'network' "$1" "$(of instance "$(ready)" .network)"
}

# What only some images take, those do not get that do not say so.
guest_alone() {
	local dir=$LAB_DIR/old
	mkdir -p "$dir" && tar -C "$dir" -xzf "$LAB_BUILD/guest/weft-guest.tar.gz" &&
		jq 'del(.ipv6)' "$dir/weft.json" >"$dir/new" && mv "$dir/new" "$dir/weft.json" &&
		tar -C "$dir" -czf "$LAB_DIR/old.tar.gz" kernel weft.json || return 1
	descriptor old.web 1 ".applications[0].microservices[0] |= (del(.cmd) | .virtualization = \"unikernel\"
		| .memory = 32 | .code = \"file://$LAB_DIR/old.tar.gz\" | .readiness.timeout_s = 60)"
	lab_weft apply -f "$LAB_DIR/old.web.json" --wait --timeout 60 || return 1
	same 'address' '' "$(of instance old.web.1 .ns_addr6)$(of instance old.web.1 .inst_addr6)" &&
		has "$(lab_in curl -s --max-time 5 "http://$(of service old.web .vip)/")" 'hello from a unikernel' &&
		lab_weft service delete old.web --wait --timeout 60
}

# Another instance: its namespace, its address, its way.
inside() { nsenter --net="$LAB_DIR/state/netns/app.client.1" "$@"; }
curl_all_along() { # FILE PREFIX...
	local n=0 bad=0 file=$1
	while [ -e "$LAB_DIR/curling" ]; do
		[ -n "$(curl6 $vip6 "${@:2}")" ] || bad=$((bad + 1))
		n=$((n + 1))
	done
	echo "$n $bad" >"$file"
}
swap_under_load() { # VARIANT
	local a b n bad
	touch "$LAB_DIR/curling"
	curl_all_along "$LAB_DIR/host" lab_in 7>&- &
	a=$!
	curl_all_along "$LAB_DIR/instance" inside 7>&- &
	b=$!
	swap_to "$1" || return 1
	rm "$LAB_DIR/curling"
	wait "$a" "$b"
	for a in host instance; do
		read -r n bad <"$LAB_DIR/$a"
		echo "$a: $n curls, $bad failed"
		[ "$bad" = 0 ] && [ "$n" -gt 0 ] || return 1
	done
}

restarted() {
	local before id
	id=$(ready)
	before=$(lab_weft service show shop.web -o json | jq -c .vips6)$(of instance "$id" .ns_addr6)
	lab_weftd_kill
	has "$(curl6 $vip6 lab_in)" '.' || return 1
	lab_weftd --subnet6=fc00::100/120 || return 1
	same 'addresses' "$before" "$(lab_weft service show shop.web -o json | jq -c .vips6)$(of instance "$id" .ns_addr6)" &&
		every_address '.'
}

# Off: nothing of it is served, nothing of it forgotten.
switched_off() {
	lab_weftd_kill
	lab_weftd --subnet6=off || return 1
	same 'vips6' '{}' "$(lab_weft service show shop.web -o json | jq -c .vips6)" &&
		has "$(lab_weft doctor)" 'IPv6 +switched off' || return 1
	[ -z "$(lab_in ip -6 route show dev weft0)" ] && [ -z "$(curl6 $vip6 lab_in)" ] &&
		has "$(lab_in curl -s --max-time 5 "http://$vip/")" '.'
}
on_again() {
	lab_weftd_kill
	lab_weftd --subnet6=fc00::100/120 && every_address '.'
}

# A host that has it disabled: instances and services have IPv4 alone, and doctor says why.
disabled() {
	lab_weftd_kill
	lab_in sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6'
	lab_weftd --subnet6=fc00::100/120 || return 1
	has "$(lab_weft doctor)" 'IPv6 +disabled: net\.ipv6\.conf\.all\.disable_ipv6 is 1' 'sysctl' || return 1
	descriptor other.web 1
	lab_weft apply -f "$LAB_DIR/other.web.json" --wait --timeout 30 || return 1
	same 'address' '' "$(of service other.web .vip6)$(of instance other.web.1 .ns_addr6)" &&
		has "$(lab_in curl -s --max-time 5 "http://$(of service other.web .vip)/")" '^10'
}
enabled() {
	lab_weftd_kill
	lab_in sh -c 'echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6'
	lab_weftd --subnet6=fc00::100/120 || return 1
	has "$(of service other.web .vip6)" '^fdff:2000::' && every_address '.'
}

# Who is outside of the overlay calls the node's own address.
out() { nsenter --net="/run/netns/$LAB_NS-out" "$@"; }
up='[2001:db8::1]:8080'
published() {
	ip netns add "$LAB_NS-out"
	lab_in ip link add up0 type veth peer name eth0 netns "$LAB_NS-out"
	lab_in ip addr add 2001:db8::1/64 dev up0 nodad
	lab_in ip link set up0 up
	out ip addr add 2001:db8::2/64 dev eth0 nodad
	out ip link set eth0 up
	lab_weftd_kill
	lab_weftd --subnet6=fc00::100/120 --uplink=up0 || return 1
	jq '.applications[0].microservices[0].port = "8080:80"' "$LAB_DIR/shop.json" >"$LAB_DIR/port.json"
	lab_weft apply -f "$LAB_DIR/port.json" --wait --timeout 30 || return 1
	same 'published at' 2001:db8::1 "$(of service shop.web .published_at6)" || return 1
	has "$(out curl -6 -s --max-time 10 "http://$up/")" 'hello from a container' &&
		has "$(out curl -6 -s --max-time 10 "http://$up/")" 'hello from a container' &&
		has "$(out ping -6 -c 1 -W 5 2001:db8::1)" ' 0% packet loss'
}

guest_published() {
	swap_to unikernel && has "$(out curl -6 -s --max-time 10 "http://$up/")" 'hello from a unikernel' &&
		has "$(out curl -6 -s --max-time 10 "http://$up/")" 'hello from a unikernel'
}

refusals() {
	descriptor bad.web 1 ".applications[0].microservices[0].addresses.rr_ip_v6 = \"$vip6\""
	refused 4 "address $vip6 is already taken by shop\.web" 'hint: .*rr_ip_v6' -- \
		lab_weft apply -f "$LAB_DIR/bad.web.json" || return 1
	refused 2 'is not a subnet of the overlay' 'hint: .*fc00::/120' -- \
		lab_in "$LAB_BUILD/weftd" --subnet6=fdff::/120
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
[ -e /proc/net/if_inet6 ] || tap_skip_all 'this kernel has no IPv6'
lab_image_nginx
lab_open e2e-ipv6
lab_containerd
lab_weftd --subnet6=fc00::100/120
nginx_conf6
variants="[{virtualization: \"native\", cmd: [\"nginx\", \"-p\", \".\", \"-e\", \"stderr\", \"-c\", \"$LAB_DIR/nginx.conf\"]}"
sandbox=
if "$LAB_BUILD/libexec/weft-runsc" --version >/dev/null 2>&1; then
	sandbox=1
	variants+=', {virtualization: "gvisor", memory: 160}'
fi
lab_descriptor "$LAB_DIR/shop.json" ".applications[0].microservices[0] |= (.variants += $variants]
	| .addresses += {wrr_ip: \"10.30.0.5\"})"
descriptor app.client 1

tap 'the service runs as a container' lab_weft apply -f "$LAB_DIR/shop.json" --wait --timeout 60
tap 'and beside it another' lab_weft apply -f "$LAB_DIR/app.client.json" --wait --timeout 30
tap 'addresses are shown' addresses
tap 'the container answers at each of them' every_address 'hello from a container'
vip="[$vip6]"
load_start one 50 4 --close
tap 'container → native' swap_under_load native
tap 'the native process answers' every_address '^f[cd]'
if [ -n "$sandbox" ]; then
	tap 'native → gvisor' swap_under_load gvisor
	tap 'the sandbox answers' every_address 'hello from a container'
fi
tap 'back to the container' swap_under_load container
load_stop
tap 'no request was lost' none_failed one 100
load_start guests 50 4 --close
for network in macvtap tap; do
	tap "container → unikernel on a $network" swap_to_guest $network
	tap 'the unikernel answers' every_address 'hello from a unikernel'
	tap 'back to the container' swap_under_load container
done
load_stop
tap 'no request was lost' none_failed guests 100
tap 'a unikernel whose image knows IPv4 alone has that' guest_alone
vip=10.30.0.2
tap 'refused' refusals
tap 'weftd killed: all goes on, addresses stay' restarted
tap 'switched off' switched_off
tap 'on again' on_again
tap 'disabled on the host' disabled
tap 'enabled again' enabled
tap 'published for who is outside' published
tap 'so is a unikernel' guest_published
ip netns del "$LAB_NS-out"
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
