#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Three nodes, each a namespace with a weftd of its own, over an underlay that routes between them:
# they are told of each other by hand, and a client on the first uses what runs on the others with
# the tools of every day; who is outside of them all calls published ports, also while they swap.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh
. tests/lib/e2e.sh

# --- the nodes: n1, n2, n3 ----------------------------------------------------------------------

declare -A PID=()
in_node() { # N CMD...
	local n=$1
	shift
	nsenter --net="/run/netns/$LAB_NS-$n" "$@"
}
at() { # N ARGS...: the command line of node N
	local n=$1
	shift
	"$LAB_BUILD/weft" -H "unix:$LAB_DIR/$n.sock" "$@"
}
address() { echo "198.51.100.$((4 * $1 + 2))"; } # N
uplink() {                                        # N
	lab_in ip link add "node$1" type veth peer name up0 netns "$LAB_NS-$1" &&
		lab_in ip addr add "198.51.100.$((4 * $1 + 1))/30" dev "node$1" &&
		lab_in ip link set "node$1" up &&
		in_node "$1" ip addr add "$(address "$1")/30" dev up0 &&
		in_node "$1" ip link set up0 up &&
		in_node "$1" ip route add default via "198.51.100.$((4 * $1 + 1))"
}
settings() { # N
	echo "--node=n$1 --state-dir=$LAB_DIR/$1 --socket=$LAB_DIR/$1.sock --bpffs=$LAB_BPFFS-$1 \
		--cgroup=weft-$LAB_NAME-$1 --subnet=10.18.$1.0/26 --subnet6=fc00::$1:0/120 --instances=10.30.$((128 + $1)).0/24 \
		--containerd=$LAB_DIR/none.sock --uplink=up0"
}
probed() { at "$1" status -o json | jq -e '.runtimes | length >= 3'; } # N
daemon() {                                                             # N [FLAGS]
	local n=$1
	shift
	# shellcheck disable=SC2046 # words
	setsid nsenter --net="/run/netns/$LAB_NS-$n" "$LAB_BUILD/weftd" $(settings "$n") "$@" \
		>>"$LAB_DIR/weftd$n.log" 2>&1 </dev/null &
	PID[$n]=$!
	wait_for 30 probed "$n" || {
		tail -n 10 "$LAB_DIR/weftd$n.log"
		return 1
	}
}
three_nodes() {
	local n
	lab_in sysctl -q net.ipv4.ip_forward=1
	for n in 1 2 3; do
		ip netns add "$LAB_NS-$n" && in_node "$n" ip link set lo up && uplink "$n" || return 1
		daemon "$n" || return 1
	done
	in_node 1 ping -c 1 -W 5 "$(address 3)"
}
clean_up() {
	local n
	for n in "${!PID[@]}"; do
		lab_end "${PID[$n]}" KILL
		# shellcheck disable=SC2046 # words
		in_node "$n" "$LAB_BUILD/weftd" $(settings "$n") --purge >>"$LAB_DIR/purge.log" 2>&1 || {
			echo "warning: node $n cannot be purged" >&2
			tail -n 20 "$LAB_DIR/purge.log" >&2
		}
		ip netns del "$LAB_NS-$n"
	done
	PID=()
	ip netns del "$LAB_NS-c" 2>/dev/null
	lab_close
}

# --- what runs on them ----------------------------------------------------------------------------

big=8000000
web_conf() {
	nginx_conf
	sed -i "s|location / {|location /big { alias $LAB_DIR/big; } &|" "$LAB_DIR/nginx.conf"
	grep -q 'listen \[::\]:80' "$LAB_DIR/nginx.conf" || sed -i 's/listen 80;/& listen [::]:80;/' "$LAB_DIR/nginx.conf"
	head -c $big /dev/urandom >"$LAB_DIR/big"
}
run_on() { # N NAME REPLICAS [JQ]
	descriptor "$2" "$3" ".applications[0].microservices[0] |= (${4:-.})"
	at "$1" apply -f "$LAB_DIR/$2.json" --wait --timeout 60
}
run_for_1() { run_on "$1" "$2" 1 "$3" && run_on 1 "$2" 0 "$3"; } # N NAME JQ
native() { # READINESS-PORT CMD...: a program
	local port=$1
	shift
	echo ".readiness = {type: \"tcp\", port: $port, timeout_s: 20} | .cmd = $(printf '%s\n' "$@" | jq -R . | jq -cs .)"
}
guest() { # NETWORK: a unikernel
	echo ".virtualization = \"unikernel\" | .code = \"file://$LAB_BUILD/guest/weft-guest.tar.gz\" | del(.cmd)
		| .memory = 32 | .network = \"$1\" | .readiness.timeout_s = 60"
}
address_of() { at "$1" service show "$2" -o json | jq -r .vip; } # N NAME

# Each node tells the others what it runs.
meet() {
	local a b
	for a in 1 2 3; do
		for b in 1 2 3; do
			[ $a = $b ] || at $a peer export | at $b peer import "n$a" -f - || return 1
		done
	done
}
phase_of() { at "$1" instance show "$2" -o json | jq -r .phase; }
is_ready() { [ "$(phase_of "$1" "$2")" = ready ]; }
weights() { # N NAME: of round robin
	at "$1" dp lb list --service "$2" -o json | jq -cS '[.items[] | select(.policy == "rr") | {(.instance): .weight}] | add'
}
weights_are() { [ "$(weights "$1" "$2")" = "$3" ]; }

peers_known() {
	has "$(at 1 peer add n2 --address "$(address 2)")" '^peer n2: known, packets of up to 1450 bytes' || return 1
	has "$(at 1 peer add n3 --address "$(address 3)" --format raw)" 'up to 1472 bytes' || return 1
	at 2 peer add n1 --address "$(address 1)" && at 2 peer add n3 --address "$(address 3)" &&
		at 3 peer add n1 --address "$(address 1)" --format raw && at 3 peer add n2 --address "$(address 2)" || return 1
	same peers 'n2 n3' "$(at 1 peer list -o name | sort | paste -sd' ')" || return 1
	has "$(at 1 peer list)" 'n2 +198\.51\.100\.10 +50104 +vxlan +ok +1450 +0' \
		'n3 +198\.51\.100\.14 +50103 +raw +ok +1472 +0' || return 1
	has "$(at 1 status)" '^uplink up0: MTU 1500, tunnel port 50103, 2 peers, XDP off: .*veth' \
		'published ports at 198\.51\.100\.6$' && has "$(at 1 doctor)" 'uplink +up0: MTU 1500'
}
peers_refused() {
	refused 2 'where is it' 'hint: --address' -- at 1 peer add x || return 1
	refused 2 'peer x: "nowhere" is not an IP address' -- at 1 peer add x --address nowhere || return 1
	refused 2 'peer x: 127\.0\.0\.1 is no node.s address' -- at 1 peer add x --address 127.0.0.1 || return 1
	refused 4 'peer x: address 198\.51\.100\.10 is peer n2.s' -- at 1 peer add x --address "$(address 2)" || return 1
	refused 2 'format "gre" is unknown' 'hint: raw' -- at 1 peer add x --address 192.0.2.1 --format gre || return 1
	refused 3 'peer x: no such peer' 'hint: weft peer list' -- at 1 peer remove x || return 1
	refused 2 'n2: instances: must be a list' 'hint: .*peer export' -- \
		at 1 peer import n2 -f - <<<'{"node": "n2"}' || return 1
	refused 2 'instances\[0\]: its inst_addr is not in 10\.30' -- at 1 peer import n2 -f - <<<'{"instances":
		[{"id": "a", "ns_addr": "10.18.2.2", "inst_addr": "10.29.0.1"}]}' || return 1
	# What another node has, this one has not.
	at 1 peer export >"$LAB_DIR/own.json"
	refused 4 'its instance host is already taken by this node itself' 'hint: .*--subnet' -- \
		at 1 peer import n2 -f "$LAB_DIR/own.json"
}

services() {
	web_conf
	run_on 2 shop.web 1 && run_on 3 shop.web 1 && run_on 1 shop.web 0 || return 1
	# On the first nothing of them runs.
	# It serves one client at a time, and is disturbed by probes.
	run_for_1 2 lab.iperf "$(native 5201 iperf3 -s) | .readiness = {type: \"none\"}" || return 1
	run_for_1 2 lab.dns "$(native 53 dnsmasq -k -C /dev/null -R -h -u root --pid-file= --edns-packet-max=4096 \
		--address=/shop.test/192.0.2.7 "--txt-record=big.test,$(printf 'x%.0s' {1..250})$(printf ",$(printf 'y%.0s' {1..250})%.0s" {1..7})")" || return 1
	run_for_1 3 lab.redis "$(native 6379 redis-server --save '' --protected-mode no)"
}
client() {
	ip netns add "$LAB_NS-c"
	in_node 1 ip link add vc type veth peer name eth7 netns "$LAB_NS-c"
	in_node 1 ip link set vc up
	in_node c ip link set lo up
	in_node c ip addr add 10.18.1.40/26 dev eth7
	in_node c ip link set eth7 up
	in_node c ip route add default via 10.18.1.1
	at 1 instance attach client --netns "/run/netns/$LAB_NS-c" --ns-addr 10.18.1.40
}
has_ipv6() { at 1 status -o json | jq -e '.dataplane.ipv6 == "ok"'; }
told() {
	meet || return 1
	wait_for 30 is_ready 1 shop.web.1@n2 && wait_for 30 is_ready 1 shop.web.1@n3 || {
		at 1 instance list -o wide
		at 1 dp drops list
		return 1
	}
	same weights '{"shop.web.1@n2":1,"shop.web.1@n3":1}' "$(weights 1 shop.web)" &&
		has "$(at 1 instance list -o wide)" 'shop\.web\.1@n3 +shop\.web +remote +ready .* n3 ' &&
		has "$(at 2 instance list)" 'client@n1 +- +remote +ready' || return 1
	refused 4 'shop\.web\.1@n2 runs on another node, peer n2' 'hint: ' -- at 1 instance detach shop.web.1@n2
}

# --- tools of every day ---------------------------------------------------------------------------

answers() { # N: out of so many new connections each address answered so many
	local i
	for ((i = 0; i < $1; i++)); do in_node c curl -sS --max-time 10 "http://$web/" || break; done |
		sort -V | uniq -c | awk '{print $1 " " $2}' | paste -sd,
}
balanced() {
	web=$(address_of 1 shop.web)
	same answers '5 10.18.2.2,5 10.18.3.2' "$(answers 10)" || return 1
	# By hand, too; and a process of the node itself is a client like others.
	at 1 service weights shop.web shop.web.1@n3=1 && same answers '4 10.18.3.2' "$(answers 4)" &&
		has "$(in_node 1 curl -s --max-time 10 "http://$web/")" '^10\.18\.3\.2$' &&
		at 1 service weights shop.web --reset
}
# Of two open connections each peer has one.
flows_of_peers() {
	local of weft
	for of in n2 n3; do
		weft=("$LAB_BUILD/weft" -H "unix:$LAB_DIR/1.sock" dp flows list --peer "$of" -o)
		# shellcheck disable=SC2016 # its own variables
		in_node 1 bash -c 'exec 3<>"/dev/tcp/$1/80" 4<>"/dev/tcp/$1/80" && "${@:3}" json >"$2" && "${@:3}" wide >"$2.wide"' \
			x "$web" "$LAB_DIR/flows" "${weft[@]}" || return 1
		jq -e --arg p "$of" '.total > 0 and all(.items[]; .peer == $p and (.instance | endswith("@" + $p)))' \
			"$LAB_DIR/flows" && has "$(cat "$LAB_DIR/flows.wide")" "^shop\.web .*@$of +$of " || return 1
	done
}
by_ipv6() {
	local vip6 i
	vip6=$(at 1 service show shop.web -o json | jq -r .vip6)
	for i in 1 2; do
		has "$(in_node 1 curl -gsS --max-time 10 "http://[$vip6]/")" '^fc00::[23]:2$' &&
			in_node 1 curl -gs --max-time 30 "http://[$vip6]/big" | cmp - "$LAB_DIR/big" || return 1
	done
	in_node 1 ping -6 -c 2 -i 0.2 -W 5 "$vip6"
}
large() {
	local i
	for i in 1 2; do
		in_node c curl -s --max-time 30 "http://$web/big" | cmp - "$LAB_DIR/big" || return 1
	done
}
pinged() {
	in_node c ping -c 3 -i 0.2 -W 5 "$web" && in_node c ping -c 3 -i 0.2 -W 5 -s 4000 "$web" &&
		in_node 1 ping -c 1 -W 5 "$web"
}
# The overlay is one hop, and whoever is asked answers by the address that he was asked at.
traced() {
	local lines
	lines=$(in_node c traceroute -n -q 1 -w 5 "$web" | tail -n +2)
	echo "$lines"
	same hops 1 "$(wc -l <<<"$lines")" && has "$lines" "^ 1  ${web//./\\.} "
}
iperf() { # FLAGS...
	in_node c iperf3 -c "$(address_of 1 lab.iperf)" -J --connect-timeout 10000 "$@" >"$LAB_DIR/iperf.json" &&
		jq -c '.end | .sum_received // .sum | {bytes, lost_percent}' "$LAB_DIR/iperf.json"
}
streams() {
	wait_for 20 iperf -n 1K && iperf -n 64M && jq -e '.end.sum_received.bytes > 3e7' "$LAB_DIR/iperf.json" &&
		iperf -n 64M -R && jq -e '.end.sum_received.bytes > 3e7' "$LAB_DIR/iperf.json"
}
datagrams() {
	iperf -u -b 20M -l 1200 -t 1 && jq -e '.end.sum.packets > 100 and .end.sum.lost_percent < 20' "$LAB_DIR/iperf.json" &&
		iperf -u -b 20M -l 1200 -t 1 -R && jq -e '.end.sum.packets > 100 and .end.sum.lost_percent < 20' "$LAB_DIR/iperf.json"
}
dug() {
	local dns
	dns=$(address_of 1 lab.dns)
	same A 192.0.2.7 "$(in_node c dig "@$dns" +short +tries=3 +timeout=5 www.shop.test)" &&
		same A 192.0.2.7 "$(in_node c dig "@$dns" +short +tcp www.shop.test)" || return 1
	# More than a packet of the tunnel holds: in fragments.
	has "$(in_node c dig "@$dns" +bufsize=4096 +ignore +tries=3 +timeout=5 TXT big.test)" 'y{250}.*y{250}' 'MSG SIZE +rcvd: 2[0-9]{3}'
}
redis() {
	local at
	at=$(address_of 1 lab.redis)
	same set OK "$(in_node c redis-cli -h "$at" set key "$(head -c 3000 /dev/zero | tr '\0' v)")" &&
		same length 3000 "$(in_node c redis-cli -h "$at" strlen key)" &&
		in_node c timeout 60 redis-benchmark -h "$at" -c 20 -n 5000 -d 500 -P 4 -t set,get -q
}
# A connection each.
new_flows() { at 1 dp stats list --service lab.redis -o json | jq '[.items[] | select(.kind == "service")][0].new_flows'; }
no_flow() { at 1 dp drops list --all -o json | jq '[.items[] | select(.reason == "no_flow")][0].packets'; }
fifty_thousand() {
	local before after at lost
	at=$(address_of 1 lab.redis)
	in_node c sysctl -q net.ipv4.ip_local_port_range='1024 65535'
	before=$(new_flows) && lost=$(no_flow) || return 1
	in_node c timeout 120 redis-benchmark -h "$at" -k 0 -c 50 -n 50000 -t ping_mbulk -q || return 1
	after=$(new_flows)
	echo "$before flows before, $after after"
	[ $((after - before)) -ge 50000 ] && same 'packets of flows that were forgotten' "$lost" "$(no_flow)"
}
byte_by_byte() {
	# shellcheck disable=SC2016 # its own variables
	has "$(in_node c perl -MIO::Socket::INET -MSocket=IPPROTO_TCP,TCP_NODELAY -e '
		my $s = IO::Socket::INET->new(PeerAddr => "$ARGV[0]:80", Timeout => 10) or die "$!";
		setsockopt($s, IPPROTO_TCP, TCP_NODELAY, 1);
		for (split //, "GET / HTTP/1.0\r\nX: ".("x" x 400)."\r\n\r\n") { syswrite($s, $_) == 1 or die "$!"; }
		print while <$s>;' "$web")" '200 OK' '^10\.18\.[23]\.2'
}

# --- guests on a macvtap and on a tap ------------------------------------------------------------

guests() {
	run_on 2 vm.web 1 "$(guest macvtap)" && run_on 3 vm.web 1 "$(guest tap)" && run_on 1 vm.web 0 && meet &&
		wait_for 60 is_ready 1 vm.web.1@n2 && wait_for 60 is_ready 1 vm.web.1@n3
}
guests_serve() {
	local i vm
	vm=$(address_of 1 vm.web)
	for i in 1 2 3 4; do
		has "$(in_node c curl -s --max-time 20 "http://$vm/")" unikernel\|hello || return 1
	done
	in_node c ping -c 2 -i 0.2 -W 10 "$vm" &&
		at 1 dp stats list --service vm.web -o json |
		jq -e '[.items[] | select(.kind == "instance") | .new_flows] | length == 2 and all(. > 1)'
}

# The tools of every day against a guest at its own addresses: from the client, and by IPv6 from the node.
udp_echo() { in_node "$from" tests/guest/client.pl "$1:7" udp "$2"; } # HOST SIZE
tools() {                                                      # ADDRESS
	local at=$1 host=$1 from=c size
	[[ $at != *:* ]] || from=1 host="[$at]"
	# The first large one tells what the path takes.
	in_node "$from" ping -c 2 -i 0.2 -W 10 "$at" && wait_for 30 in_node "$from" ping -c 1 -W 5 -s 4000 "$at" || return 1
	has "$(in_node "$from" traceroute -n -q 1 -w 10 -m 3 "$at")" "^ 1  $at " || return 1
	has "$(in_node "$from" curl -gs --max-time 20 "http://$host/")" 'hello from a unikernel' &&
		same 'a large body' "405 $big" "$(in_node "$from" curl -gs --max-time 60 -H Expect: -o "$LAB_DIR/refused" \
			-w '%{http_code} %{size_upload}' --data-binary "@$LAB_DIR/big" "http://$host/")" || return 1
	in_node "$from" tests/guest/client.pl "$host:80" bytes && in_node "$from" tests/guest/client.pl "$host:80" pipeline 100 &&
		in_node "$from" tests/guest/client.pl "$host:7" echo 2000000 || return 1
	for size in 40 1400 65000; do # a datagram may be lost
		wait_for 30 udp_echo "$host" $size || {
			echo "no echo of $size bytes by UDP"
			return 1
		}
	done
}
guest_tools() { # INSTANCE...: on node 1 or known there
	local id at
	for id in "$@"; do
		for at in $(at 1 instance show "$id" -o json | jq -r '.inst_addr, .inst_addr6 // empty'); do
			tools "$at" || {
				echo "$id, $at"
				at 1 dp drops list
				return 1
			}
		done
	done
}
guests_near() {
	run_on 1 near.macvtap 1 "$(guest macvtap)" && run_on 1 near.tap 1 "$(guest tap)" || return 1
	! has_ipv6 || same 'addresses by IPv6' 4 "$(at 1 instance list -o json | jq '[.items[] |
		select((.id | test("^(near|vm)\\.")) and .inst_addr6)] | length')" || return 1
	guest_tools near.macvtap.1 near.tap.1 || return 1
	at 1 service delete near.macvtap --wait --timeout 60 && at 1 service delete near.tap --wait --timeout 60
}

# --- published ports -------------------------------------------------------------------------------

outside() { lab_in curl -sS --max-time 10 "http://$(address 1):$1/"; } # PORT
outside_answers() {                                                   # PORT N
	local i
	for ((i = 0; i < $2; i++)); do outside "$1" || break; done | sort -V | uniq -c | awk '{print $1 " " $2}' | paste -sd,
}
published() {
	local n ports='.port = "8080:80/tcp;8081:80"'
	for n in 3 2 1; do
		run_on $n shop.web 1 "$ports" || return 1
	done
	meet || return 1
	wait_for 30 weights_are 1 shop.web '{"shop.web.1":1,"shop.web.1@n2":1,"shop.web.1@n3":1}' || return 1
	local here
	here=$(at 1 instance show shop.web.1 -o json | jq -r .ns_addr)
	same answers "3 $here,3 10.18.2.2,3 10.18.3.2" "$(outside_answers 8080 9)" &&
		has "$(outside 8081)" '^10\.18' && has "$(lab_in curl -s --max-time 10 "http://$(address 2):8080/")" '^10\.18' &&
		lab_in curl -s --max-time 30 "http://$(address 1):8080/big" | cmp - "$LAB_DIR/big" || return 1
	has "$(at 1 service show shop.web)" 'PORTS +8080:80/tcp,8081:80/tcp' 'PUBLISHED-AT +198\.51\.100\.6' &&
		has "$(at 1 dp lb list -o wide)" 'shop\.web +rr +[0-9.]+ +198\.51\.100\.6:8080/tcp,198\.51\.100\.6:8081/tcp'
}
published_refused() {
	descriptor other.web 1 '.applications[0].microservices[0].port = "8080:80"'
	refused 4 'other\.web: port 8080/tcp is already published by shop\.web' 'hint: ' -- at 1 apply -f "$LAB_DIR/other.web.json" || return 1
	descriptor other.web 1 '.applications[0].microservices[0].port = "50104:80/udp"'
	refused 4 'other\.web: port 50104/udp belongs to the overlay' 'hint: ' -- at 1 apply -f "$LAB_DIR/other.web.json" || return 1
	descriptor other.web 1 '.applications[0].microservices[0].port = "1;2;3;4;5;6;7;8"'
	refused 2 'other\.web: publishes 8 ports, 7 at most' 'hint: ' -- at 1 apply -f "$LAB_DIR/other.web.json" || return 1
	refused 3 'no such service' -- at 1 service show other.web
}
# At the first node's address, while its own instance is swapped, weftd killed, and two backends of
# three are on other nodes.
swapped() {
	descriptor shop.web 1 ".applications[0].microservices[0] |= (.port = \"8080:80/tcp;8081:80\"
		| .variants = [{virtualization: \"unikernel\", code: \"file://$LAB_BUILD/guest/weft-guest.tar.gz\",
			arch: [\"amd64\"], memory: 32, network: \"tap\"}])"
	at 1 apply -f "$LAB_DIR/shop.web.json" || return 1
	vip=$(address 1):8080
	load_start swap 100 4 --close
	at 1 swap start shop.web --to unikernel --duration 2s --drain 10s --wait --timeout 90 &&
		lab_end "${PID[1]}" KILL && daemon 1 &&
		at 1 swap start shop.web --to native --duration 2s --drain 10s --wait --timeout 90
	local rc=$?
	load_stop
	return $rc
}
swap_failed_nobody() {
	LAB_SOCKET=$LAB_DIR/1.sock none_failed swap 200
}
still_published() {
	same peers 'n2 n3' "$(at 1 peer list -o name | sort | paste -sd' ')" &&
		wait_for 30 weights_are 1 shop.web '{"shop.web.1":1,"shop.web.1@n2":1,"shop.web.1@n3":1}' || {
		weights 1 shop.web
		# its number has grown with the swaps
		at 1 instance list
	}
	has "$(outside 8080)" '^10\.18' && has "$(outside 8081)" '^10\.18'
}

# --- trouble ---------------------------------------------------------------------------------------

xdp_is() { [ "$(at 1 status -o json | jq -r .uplink.xdp)" = "$1" ]; }
another_xdp_mode() {
	lab_end "${PID[1]}" KILL && daemon 1 --xdp=generic && xdp_is generic || return 1
	has "$(at 1 status)" 'XDP generic, by ' && large && has "$(outside 8080)" '^10\.18' || return 1
	lab_end "${PID[1]}" KILL && daemon 1 && xdp_is off && large
}
local_service() { run_on 1 own.web 1; }
own_serves() { has "$(in_node c curl -s --max-time 5 "http://$(address_of 1 own.web)/")" '^10\.18\.1\.'; }
mtu_is() { [ "$(at 1 peer show "$1" -o json | jq .mtu)" = "$2" ]; }
narrow() {
	in_node 1 ip link set up0 mtu 1300
	lab_in ip link set node1 mtu 1300
	wait_for 20 mtu_is n2 1250 && wait_for 20 mtu_is n3 1272 && large && own_serves &&
		has "$(at 1 status)" '^uplink up0: MTU 1300' || return 1
	# By hand below what the routes say.
	at 1 peer add n2 --address "$(address 2)" --mtu 1200 && mtu_is n2 1150 && large && at 1 peer add n2 --address "$(address 2)"
}
too_small() {
	in_node 1 ip link set up0 mtu 600
	wait_for 20 mtu_is n2 0 || return 1
	has "$(at 1 status)" '^! uplink up0: its MTU of 600 is too small' '^! peer n2: uplink up0 does not work' &&
		has "$(at 1 peer list)" 'n3 .* failed' && has "$(at 1 doctor)" 'uplink +up0: its MTU of 600' && own_serves || return 1
	in_node c ping -c 1 -W 1 "$(at 1 instance show lab.redis.1@n3 -o json | jq -r .inst_addr)" && return 1
	has "$(at 1 dp drops list)" '^(peer_down|no_uplink|no_peer|encap) +[1-9]' || return 1
	in_node 1 ip link set up0 mtu 1500
	lab_in ip link set node1 mtu 1500
	wait_for 20 mtu_is n2 1450 && ! grep -q '^!' <<<"$(at 1 status)"
}
vanished() {
	lab_in ip link del node1
	wait_for 20 mtu_is n2 0 && has "$(at 1 status)" '^! uplink up0: .*no such device' '^! peer n2: ' && own_serves || return 1
	same 'its own alone has a weight' 1 "$(at 1 dp lb list --service shop.web -o json |
		jq '[.items[] | select(.weight > 0)] | length')" || return 1
	has "$(in_node c curl -s --max-time 5 "http://$web/")" '^10\.18\.1\.' || return 1
	uplink 1 && wait_for 20 mtu_is n2 1450 && wait_for 30 is_ready 1 shop.web.1@n2 || {
		at 1 status
		at 1 instance list -o wide
		at 1 dp drops list
		return 1
	}
	large && wait_for 20 outside 8080 && has "$(outside 8080)" '^10\.18'
}
let_go() {
	at 1 service delete shop.web --wait --timeout 60 || return 1
	! lab_in curl -sS --max-time 5 "http://$(address 1):8080/" || return 1
	same 'a plain client of ours again' null "$(at 1 instance show shop.web.1@n2 -o json | jq -r .service)" || return 1
	run_on 1 shop.web 0 && wait_for 30 is_ready 1 shop.web.1@n2 && web=$(address_of 1 shop.web) &&
		has "$(in_node c curl -s --max-time 10 "http://$web/")" '^10\.18\.[23]\.' || return 1
	has "$(at 1 peer remove n3)" 'removed, with its instances' && refused 3 'no such instance' -- at 1 instance show shop.web.1@n3 &&
		same answers '3 10.18.2.2' "$(answers 3)"
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
for c in iperf3 redis-server redis-benchmark dig dnsmasq traceroute; do
	command -v $c >/dev/null || tap_skip_all "not installed: $c (scripts/deps.sh)"
done
lab_open e2e-nodes
trap clean_up EXIT
tap 'three nodes' three_nodes
tap 'they are told of each other' peers_known
tap 'what makes no sense is refused' peers_refused
tap 'services on two of them' services
tap 'a client on the third' client
tap 'each tells what it runs' told
tap 'balanced over two nodes, and as by hand' balanced
tap 'the flow table knows the peers' flows_of_peers
tap 'large answers' large
if at 1 status -o json | jq -e '.dataplane.ipv6 == "ok"' >/dev/null; then
	tap 'the same by IPv6' by_ipv6
else
	tap "IPv6 # SKIP $(at 1 status -o json | jq -r .dataplane.ipv6)" true
fi
tap ping pinged
tap traceroute traced
tap 'iperf3, both ways' streams
tap 'iperf3 by UDP, both ways' datagrams
tap 'dig, by UDP, by TCP and in fragments' dug
tap 'redis' redis
tap 'fifty thousand connections' fifty_thousand
tap 'a client that sends a byte at a time' byte_by_byte
tap 'guests on a macvtap and on a tap' guests
tap 'they serve' guests_serve
tap 'tools of every day, with guests of other nodes' guest_tools vm.web.1@n2 vm.web.1@n3
tap 'the same with those of this node' guests_near
tap 'ports are published, of local and remote backends' published
tap 'what cannot be published is refused' published_refused
tap 'two swaps and a killed daemon, as seen from outside' swapped
tap 'no request was lost' swap_failed_nobody
tap 'after the restart all is as it was' still_published
tap 'another XDP mode from a restart on' another_xdp_mode
tap 'a service of this node alone' local_service
tap 'an uplink that takes less' narrow
tap 'one that takes too little: named, and counted' too_small
tap 'one that is gone, and comes back' vanished
tap 'services and peers are let go of' let_go
OLD_DIR=$LAB_DIR
tap 'the nodes close clean' clean_up
LAB_DIR=
trap - EXIT
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
