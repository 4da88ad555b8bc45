# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # see ../lab.sh
# What the kernel has for it: a bridge, routing, and routing with nftables' DNAT.
variant bridge direct tcp_rr tcp_crr tcp_stream udp_rr udp_pps
variant routed direct tcp_rr tcp_crr tcp_stream udp_rr udp_pps
variant nft direct tcp_rr tcp_crr tcp_stream udp_rr udp_pps

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
