# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # see ../lab.sh
# A virtual machine's device: a macvtap in its namespace, routed to by the host or reached by weft;
# a tap, on a bridge or reached by weft. weft's are made by setup_weft.
variant macvtap-routed - udp_rr
variant macvtap-weft macvtap-routed udp_rr
variant tap-bridge - udp_rr
variant tap-weft tap-bridge udp_rr
metric macvtap_rr_ratio macvtap-weft/1/udp_rr macvtap-routed/1/udp_rr
metric tap_rr_ratio tap-weft/1/udp_rr tap-bridge/1/udp_rr
target macvtap_rr_ratio at-most 0.92
target tap_rr_ratio at-most 0.82

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

setup_macvtap-weft() { :; }
setup_tap-weft() { :; }
