# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # see ../lab.sh
# A service with one backend, both ends on weft's data plane as weftd would have set it up.
variant weft direct tcp_rr tcp_crr tcp_stream udp_rr udp_pps
variant again direct tcp_rr tcp_crr tcp_stream udp_rr udp_pps
[ -z "${OTHER:-}" ] || variant other direct tcp_rr tcp_crr tcp_stream udp_rr udp_pps
target tcp_rr_ratio at-most 1.05
target udp_rr_ratio at-most 1.05
target tcp_crr_ratio at-most 1.06
target tcp_stream_ratio at-least 0.95
target udp_pps_ratio at-least 0.90

# One client and the services 10.30.0.1 (a container), .2 (a guest on a macvtap), .3 (on a tap)
# share one data plane, as on a node.
setup_weft() {
	setup_node weft "$programs" /run/netns ''
	client[macvtap-weft]=weft-c address[macvtap-weft]=10.30.0.2
	client[tap-weft]=weft-c address[tap-weft]=10.30.0.3
	start weft-n "$programs/tap_echo" macvtap /run/netns/weft-m eth0 mvt0 02:00:00:00:00:03 10.18.0.3 0
	device weft-m mvt0
}

# The same by the build in the directory OTHER: what a change brings, within one run.
setup_other() {
	mkdir /run/netns/other
	setup_node other "$OTHER/tests/bench" /run/netns/other other/
}

# setup_node NAME PROGRAMS NETNS-DIR PREFIX
setup_node() {
	new_ns "$1-n"
	start "$1-n" "$programs/tap_echo" tap tapw 02:00:00:00:00:04 10.18.0.4 0
	device "$1-n" tapw
	within "$1-n" "$2/weft_lab" "$3" "$dir/bpf/$1" tapw >"$dir/$1.hook"
	calm "${4}weft-c" && calm "${4}weft-s" && calm "${4}weft-m"
	client[$1]=${4}weft-c address[$1]=10.30.0.1
	serve "${4}weft-s"
}
