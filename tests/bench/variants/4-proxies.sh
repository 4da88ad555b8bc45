# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # see ../lab.sh
# Through a process: HAProxy in TCP mode, and a plain overlay proxy on a TUN device.
variant haproxy direct tcp_rr tcp_crr tcp_stream
variant tun direct tcp_rr tcp_crr tcp_stream udp_rr udp_pps

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
