# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # $programs is run.sh's, and so is who reads the rest
# What variants are made of. Sourced by run.sh.
#
# A file in tests/bench/variants/ says what it adds, and brings the functions named after that:
#   variant NAME BASE MEASURE...  a way from a client to a server. setup_NAME makes it and sets
#                                 client[NAME], a namespace, and address[NAME]. Its figures are
#                                 compared with those of BASE, which is measured next to it
#                                 ("-": it is a base itself). With the base `direct` it is also
#                                 measured with the server on a processor of its own, and every
#                                 MEASURE makes a metric NAME_MEASURE_ratio
#   alone NAME                    alone_NAME prints figures that need no network: lines of
#                                 {"round", "measure", "value", "what"}, MEASURE being the metric
#   metric NAME OF TO             one more ratio; OF and TO are VARIANT/CPUS/MEASURE or alone/1/MEASURE
#   target NAME at-most|at-least VALUE
# Namespaces are its own: NAME-c, NAME-s and, between them, NAME-n.
declare -A client address base measures
variants=() alones=()
movable=() # processes that go with the server when it gets a processor of its own

define() { jq -cn "$@"; }
variant() {
	left_out "$1" && return
	variants+=("$1")
	base[$1]=$2
	measures[$1]="${*:3}"
	define --arg name "$1" --arg base "$2" '{define: "variant", name: $name, base: $base}'
}
alone() { left_out "$1" || alones+=("$1"); }
metric() {
	define --arg name "$1" --arg of "$2" --arg to "$3" '{define: "metric", name: $name, of: $of, to: $to}'
}
target() {
	define --arg name "$1" --arg bound "${2/-/ }" --argjson value "$3" \
		'{define: "target", name: $name, bound: $bound, value: $value}'
}

within() {
	local ns=$1
	shift
	nsenter --net="/run/netns/$ns" "$@"
}

# No neighbour discovery in between.
calm() { within "$1" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6' 2>/dev/null || :; }

new_ns() {
	local ns
	for ns; do
		ip netns add "$ns"
		ip -n "$ns" link set lo up
		calm "$ns"
	done
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

device() {
	wait_for 10 within "$1" ip link show "$2" || lab_die "device $2 in $1 did not appear"
}

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
