# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # $programs and $dir are run.sh's
# The ways from a client to a server that are compared. Sourced by run.sh.
# setup_NAME makes one of them and says where to measure it: client[NAME] (a namespace) and
# address[NAME]. Every one has namespaces of its own: NAME-c, NAME-s and, between them, NAME-n.
declare -A client address
movable=() # processes that go with the server when it gets a processor of its own

new_ns() {
	local ns
	for ns; do
		ip netns add "$ns"
		ip -n "$ns" link set lo up
		calm "$ns"
	done
}

# No neighbour discovery in between.
calm() { within "$1" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6' 2>/dev/null || :; }
within() {
	local ns=$1
	shift
	nsenter --net="/run/netns/$ns" "$@"
}

# wire NS DEVICE ADDRESS NS DEVICE ADDRESS: a veth pair; "-": no address.
wire() {
	ip -n "$1" link add "$2" type veth peer name "$5" netns "$4"
	[ "$3" = - ] || ip -n "$1" addr add "$3" dev "$2"
	[ "$6" = - ] || ip -n "$4" addr add "$6" dev "$5"
	ip -n "$1" link set "$2" up
	ip -n "$4" link set "$5" up
}

# start NS CMD...: in the background, on the processor of the clients at first.
start() {
	local ns=$1
	shift
	taskset -c 0 nsenter --net="/run/netns/$ns" "$@" >&2 </dev/null &
}

serve() {
	start "$1" "$programs/netserve" 0
	movable+=($!)
}

has_device() { ip -n "$1" link show "$2"; }
device() { wait_for 10 has_device "$1" "$2" || lab_die "device $2 in $1 did not appear"; }

# NAME-c at 10.19.1.2 and NAME-s at 10.19.2.2, routed by NAME-n.
setup_way() {
	new_ns "$1-c" "$1-n" "$1-s"
	wire "$1-c" eth0 10.19.1.2/24 "$1-n" c0 10.19.1.1/24
	wire "$1-s" eth0 "${2:-10.19.2.2/24}" "$1-n" s0 10.19.2.1/24
	ip -n "$1-c" route add default via 10.19.1.1
	[ "${2:-}" = - ] || ip -n "$1-s" route add default via 10.19.2.1
	within "$1-n" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
	client[$1]=$1-c
}

# NAME-c at 10.19.1.2, on a bridge in NAME-n.
setup_bridge_way() {
	new_ns "$1-c" "$1-n"
	ip -n "$1-n" link add br0 type bridge
	ip -n "$1-n" link set br0 up
	wire "$1-c" eth0 10.19.1.2/24 "$1-n" c0 -
	ip -n "$1-n" link set c0 master br0
	client[$1]=$1-c address[$1]=10.19.1.3
}

setup_direct() {
	new_ns direct-c direct-s
	wire direct-c eth0 10.19.1.2/24 direct-s eth0 10.19.1.3/24
	client[direct]=direct-c address[direct]=10.19.1.3
	serve direct-s
}

setup_bridge() {
	setup_bridge_way bridge
	new_ns bridge-s
	wire bridge-s eth0 10.19.1.3/24 bridge-n s0 -
	ip -n bridge-n link set s0 master br0
	serve bridge-s
}

setup_routed() {
	setup_way routed
	address[routed]=10.19.2.2
	serve routed-s
}

setup_nft() {
	setup_way nft
	within nft-n nft -f - <<-EOF
		table ip lb {
			chain pre {
				type nat hook prerouting priority -100
				ip daddr 10.30.0.1 dnat to 10.19.2.2
			}
		}
	EOF
	address[nft]=10.30.0.1
	serve nft-s
}

# A server without a port keeps the one that was called.
setup_haproxy() {
	setup_way haproxy
	cat >"$dir/haproxy.cfg" <<-EOF
		global
			nbthread 1
			maxconn 1000
		defaults
			mode tcp
			timeout connect 5s
			timeout client 60s
			timeout server 60s
		listen bench
			bind 10.19.1.1:7001
			bind 10.19.1.1:7002
			bind 10.19.1.1:7003
			server backend 10.19.2.2
	EOF
	serve haproxy-s
	start haproxy-n haproxy -db -q -f "$dir/haproxy.cfg"
	movable+=($!)
	address[haproxy]=10.19.1.1
}

setup_tun() {
	setup_way tun
	start tun-n "$programs/tun_proxy" tun0 10.30.0.1 10.19.1.2 10.30.1.2 10.19.2.2 0
	movable+=($!)
	device tun-n tun0
	ip -n tun-n link set tun0 up
	ip -n tun-n route add 10.30.0.0/16 dev tun0
	address[tun]=10.30.0.1
	serve tun-s
}

# The three that weft serves share one data plane, as on a node.
setup_weft() {
	new_ns weft-n
	start weft-n "$programs/tap_echo" tap tapw 02:00:00:00:00:04 10.18.0.4 0
	device weft-n tapw
	within weft-n "$programs/weft_lab" /run/netns "$dir/bpf/weft" tapw >"$dir/hook"
	calm weft-c && calm weft-s && calm weft-m
	start weft-n "$programs/tap_echo" macvtap /run/netns/weft-m eth0 mvt0 02:00:00:00:00:03 10.18.0.3 0
	device weft-m mvt0
	client[weft]=weft-c address[weft]=10.30.0.1
	client[macvtap-weft]=weft-c address[macvtap-weft]=10.30.0.2
	client[tap-weft]=weft-c address[tap-weft]=10.30.0.3
	serve weft-s
}

setup_macvtap-routed() {
	setup_way macvtap-routed -
	start macvtap-routed-n "$programs/tap_echo" macvtap /run/netns/macvtap-routed-s eth0 mvt0 \
		02:00:00:00:00:03 10.19.2.2 0
	device macvtap-routed-s mvt0
	address[macvtap-routed]=10.19.2.2
}

setup_tap-bridge() {
	setup_bridge_way tap-bridge
	start tap-bridge-n "$programs/tap_echo" tap tap0 02:00:00:00:00:03 10.19.1.3 0
	device tap-bridge-n tap0
	ip -n tap-bridge-n link set tap0 master br0
}
