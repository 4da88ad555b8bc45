# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # see ../lab.sh
# A client on one node and a server on another: routed as it is, and by weft through a tunnel, in
# both formats; and through the kernel's own VXLAN device, which is what other overlays use. Over a
# wire that segments what is sent (a veth passes super-packets on whole), and over one that does
# not: the sender's kernel then cuts them, and the receiver's GRO puts them together.
for nodes_wire in '' -cut; do
	variant "nodes$nodes_wire" - tcp_rr tcp_stream
	variant "vxlan$nodes_wire" "nodes$nodes_wire" tcp_rr tcp_stream
	[ -z "${OTHER:-}" ] || variant "vxlan-other$nodes_wire" "nodes$nodes_wire" tcp_rr tcp_stream
	variant "raw$nodes_wire" "nodes$nodes_wire" tcp_rr tcp_stream
	variant "kernel-vxlan$nodes_wire" "nodes$nodes_wire" tcp_rr tcp_stream
	for nodes_measure in rr stream; do
		metric "tunnel_$nodes_measure${nodes_wire/-/_}_ratio" "vxlan$nodes_wire/1/tcp_$nodes_measure" \
			"nodes$nodes_wire/1/tcp_$nodes_measure"
		metric "tunnel_raw_$nodes_measure${nodes_wire/-/_}_ratio" "raw$nodes_wire/1/tcp_$nodes_measure" \
			"nodes$nodes_wire/1/tcp_$nodes_measure"
	done
	target "tunnel_rr${nodes_wire/-/_}_ratio" at-most 0.95
	target "tunnel_stream${nodes_wire/-/_}_ratio" at-least 0.95
done

setup_nodes() { setup_routed_nodes nodes ''; }
setup_nodes-cut() { setup_routed_nodes nodes-cut cut; }
setup_vxlan() { setup_tunnel vxlan vxlan ''; }
setup_vxlan-cut() { setup_tunnel vxlan-cut vxlan cut; }
setup_vxlan-other() { programs=$OTHER/tests/bench setup_tunnel vxlan-other vxlan ''; }
setup_vxlan-other-cut() { programs=$OTHER/tests/bench setup_tunnel vxlan-other-cut vxlan cut; }
setup_kernel-vxlan() { setup_kernel_vxlan kernel-vxlan ''; }
setup_kernel-vxlan-cut() { setup_kernel_vxlan kernel-vxlan-cut cut; }
setup_raw() { setup_tunnel raw raw ''; }
setup_raw-cut() { setup_tunnel raw-cut raw cut; }

# Two nodes, NAME-a and NAME-b, and the wire between them.
setup_wire() { # NAME CUT
	local ns
	new_ns "$1-a" "$1-b"
	for ns in "$1-a" "$1-b"; do within "$ns" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'; done
	wire "$1-a" up0 192.0.2.1/24 "$1-b" up0 192.0.2.2/24
	[ -n "$2" ] || return 0
	for ns in "$1-a" "$1-b"; do
		within "$ns" ethtool -K up0 gro on
		within "$ns" ethtool -K up0 tso off gso off tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off
	done
}

setup_routed_nodes() { # NAME CUT
	setup_wire "$1" "$2"
	new_ns "$1-c" "$1-s"
	wire "$1-c" eth0 10.19.1.2/24 "$1-a" c0 10.19.1.1/24
	wire "$1-s" eth0 10.19.2.2/24 "$1-b" s0 10.19.2.1/24
	ip -n "$1-c" route add default via 10.19.1.1
	ip -n "$1-s" route add default via 10.19.2.1
	ip -n "$1-a" route add 10.19.2.0/24 via 192.0.2.2
	ip -n "$1-b" route add 10.19.1.0/24 via 192.0.2.1
	client[$1]=$1-c address[$1]=10.19.2.2
	serve "$1-s"
}

# The same two nodes and their routes, by way of a device vx0 on each. MTUs as the tunnel's.
setup_kernel_vxlan() { # NAME CUT
	local ns dev
	setup_routed_nodes "$1" "$2"
	within "$1-a" ip link add vx0 type vxlan id 1 local 192.0.2.1 remote 192.0.2.2 dstport 4789 dev up0
	within "$1-b" ip link add vx0 type vxlan id 1 local 192.0.2.2 remote 192.0.2.1 dstport 4789 dev up0
	ip -n "$1-a" addr add 192.0.3.1/24 dev vx0
	ip -n "$1-b" addr add 192.0.3.2/24 dev vx0
	for ns in "$1-a" "$1-b"; do ip -n "$ns" link set vx0 up; done
	ip -n "$1-a" route replace 10.19.2.0/24 via 192.0.3.2
	ip -n "$1-b" route replace 10.19.1.0/24 via 192.0.3.1
	for dev in c/eth0 a/c0 s/eth0 b/s0; do ip -n "$1-${dev%/*}" link set "${dev#*/}" mtu 1450; done
}

setup_tunnel() { # NAME FORMAT CUT
	setup_wire "$1" "$3"
	within "$1-a" "$programs/tunnel_lab" client "/run/netns/$1-c" "$dir/bpf/$1-a" up0 192.0.2.2 "$2" auto >&2
	within "$1-b" "$programs/tunnel_lab" server "/run/netns/$1-s" "$dir/bpf/$1-b" up0 192.0.2.1 "$2" auto >&2
	calm "$1-c" && calm "$1-s"
	client[$1]=$1-c address[$1]=10.30.0.1
	serve "$1-s"
}
