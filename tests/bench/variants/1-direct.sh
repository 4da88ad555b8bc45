# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # see ../lab.sh
# One veth pair: what no way from one namespace to another can be quicker than. weft's is measured
# between it and another one of the kind, whose ratio shows how far a figure is to be trusted.
variant direct - tcp_rr tcp_rr_poll tcp_crr tcp_stream udp_rr udp_pps

setup_direct() { setup_pair direct; }
setup_again() { setup_pair again; }

setup_pair() {
	new_ns "$1-c" "$1-s"
	wire "$1-c" eth0 10.19.1.2/24 "$1-s" eth0 10.19.1.3/24
	client[$1]=$1-c address[$1]=10.19.1.3
	serve "$1-s"
}
