#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Boot the project's own unikernel on a tap in a namespace of its own and ask it everything it claims
# to answer: under TCG, and under KVM where a guest of ours runs there.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
PATH=/usr/sbin:/sbin:$PATH
elf=$B/guest/weft-guest.elf
ns=test-guest-$$
guest=10.255.7.2 host=10.255.7.1
guest6=fd00:255:7::2 host6=fd00:255:7::1
tmp='' pid='' netns=''

skip_all() {
	echo "1..0 # SKIP $1"
	exit 0
}
[ "$(uname -m)" = x86_64 ] || skip_all "the guest is an x86-64 kernel, this is $(uname -m)"
[ "$(id -u)" = 0 ] || skip_all 'needs root for a network namespace and a tap'
[ -c /dev/net/tun ] || skip_all 'no /dev/net/tun'
for tool in qemu-system-x86_64 nsenter ip curl perl ping wrk; do
	command -v $tool >/dev/null || skip_all "no $tool"
done

n=0 failed=0
ok() { # STATUS DESCRIPTION
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		failed=$((failed + 1))
		[ ! -s "$tmp/console" ] || sed 's/^/# console: /' "$tmp/console"
		[ ! -s "$tmp/why" ] || tail -n 3 "$tmp/why" | sed 's/^/# /'
	fi
}
skip() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}
check() { # DESCRIPTION COMMAND...
	local what=$1
	shift
	"$@" >"$tmp/why" 2>&1
	ok $? "$what"
}
is() { # GOT WANT DESCRIPTION
	[ "$1" = "$2" ] || printf '# got: %s\n# want: %s\n' "$1" "$2"
	[ "$1" = "$2" ]
	ok $? "$3"
}
in_ns() {
	nsenter --net="/run/netns/$ns" "$@"
}
now_ms() {
	echo $((${EPOCHREALTIME/./} / 1000))
}
wait_for() { # SECONDS COMMAND...
	local end=$(($(now_ms) + $1 * 1000))
	shift
	until "$@"; do
		[ "$(now_ms)" -lt $end ] || return 1
		sleep 0.01
	done
}

# --- the guest -----------------------------------------------------------------------------------
reap() {
	[ -n "$pid" ] || return 0
	kill "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	pid=
}
clean() {
	reap
	[ -z "$netns" ] || ip netns del "$netns"
	[ ! -e "/run/netns/$ns-far" ] || ip netns del "$ns-far"
	[ -z "$tmp" ] || rm -rf "$tmp"
}
trap clean EXIT
trap 'exit 1' INT TERM HUP

start() { # ACCEL ARGUMENTS [DEVICE OPTIONS [QEMU ARGUMENT...]]
	local accel=$1 args=$2 dev=${3:-} cpu=max
	shift $(($# > 3 ? 3 : $#))
	[ "$accel" = tcg ] || cpu=host,-arch-capabilities
	reap
	: >"$tmp/console"
	started=$(now_ms)
	# Not in_ns: a function in the background is a shell with a child, and its pid is the shell's.
	nsenter --net="/run/netns/$ns" qemu-system-x86_64 \
		-M "microvm,ioapic2=off,acpi=${acpi:-off},rtc=off,pit=off,pic=off" -accel "$accel" -cpu $cpu \
		-m "${mem:-64}" -smp 1 -nodefaults -no-user-config -no-reboot -display none \
		-global virtio-mmio.force-legacy=false \
		-netdev tap,id=n0,ifname=tap0,script=no,downscript=no \
		-device "virtio-net-device,netdev=n0,mac=52:54:00:12:34:56$dev" \
		-serial "file:$tmp/console" -kernel "$elf" -append "$args" "$@" \
		</dev/null >"$tmp/qemu" 2>&1 &
	pid=$!
}
get() { # [CURL ARGUMENT...] PATH
	in_ns curl -g -s -S -m 5 --noproxy '*' "${@:1:$#-1}" "http://$guest:${port:-80}${*: -1}"
}
answers() {
	[ -d "/proc/$pid" ] || return 1
	in_ns curl -g -s --noproxy '*' --connect-timeout 0.05 -m 1 -o "$tmp/body" \
		"http://$guest:${port:-80}/"
}
boot() { # as start
	start "$@"
	wait_for "${limit:-20}" answers
}
gone() {
	[ ! -d "/proc/$pid" ] || grep -q '^State:.*Z' "/proc/$pid/status"
}
client() { # PORT WHAT...
	local p=$1
	shift
	in_ns tests/guest/client.pl "$guest:$p" "$@"
}
cpu_ticks() {
	awk '{print $14 + $15}' "/proc/$pid/stat"
}
load() { # CONNECTIONS SECONDS [WRK ARGUMENT...]; sets requests, fails on any error
	in_ns wrk -t1 -c"$1" -d"$2" --latency "${@:3}" "http://$guest/" >"$tmp/wrk" || return 1
	requests=$(awk '/requests in/ {print $1}' "$tmp/wrk")
	[ "${requests:-0}" -gt 0 ] && ! grep -q -e 'Socket errors' -e 'Non-2xx' "$tmp/wrk"
}
report() {
	awk -v what="$1" '/50%/ {p50 = $2} /99%/ {p99 = $2} /^Requests\/sec/ {rate = $2}
		END {printf "# %s: p50 %s, p99 %s, %s req/s\n", what, p50, p99, rate}' "$tmp/wrk"
}

tmp=$(mktemp -d)
ip netns add "$ns" || skip_all 'cannot make a network namespace'
netns=$ns
in_ns sh -c "ip link set lo up && ip tuntap add tap0 mode tap vnet_hdr &&
	ip addr add $host/24 dev tap0 && ip link set tap0 up" || {
	echo 'Bail out! cannot make a tap'
	exit 1
}
ipv6=
if [ -e /proc/net/if_inet6 ]; then
	# The guest answers at once, so nothing is probed.
	in_ns sh -c "echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 0 >/proc/sys/net/ipv6/conf/tap0/disable_ipv6
		echo 1 >/proc/sys/net/ipv6/conf/all/forwarding; echo 1 >/proc/sys/net/ipv4/ip_forward; ip addr add $host6/64 dev tap0 nodad" && ipv6=1
fi

# --- what it serves ------------------------------------------------------------------------------
serves() { # ACCEL: the whole list, with the guest running
	local accel=$1 body

	is "$(get -o "$tmp/body" -w '%{http_code} %{size_download}' /)" '200 612' "$accel: GET /"
	body=$(tr '\0' '?' <"$tmp/body")
	case $body in
	*'hello from a unikernel'*"instance shop.web.1 at $guest"*) ok 0 "$accel: it says who it is" ;;
	*) ok 1 "$accel: it says who it is" ;;
	esac
	is "$(get /healthz)" ok "$accel: GET /healthz"
	is "$(get -o /dev/null -w '%{http_code}' '/healthz?verbose')" 200 "$accel: a query is no name"
	is "$(get -o /dev/null -w '%{http_code}' /nowhere)" 404 "$accel: an unknown path"
	is "$(get -o /dev/null -w '%{http_code}' -d x=y /)" 405 "$accel: POST"
	is "$(get -I /healthz | tr -d '\r' | grep -ic -e '200 OK' -e '^content-length: 3$')" 2 \
		"$accel: HEAD"
	is "$(get -0 -o /dev/null -w '%{http_code} %{size_download}' /)" '200 612' "$accel: HTTP/1.0"
	is "$(in_ns curl -s -m 5 --noproxy '*' -o /dev/null -o /dev/null -w '%{num_connects}' \
		"http://$guest/" "http://$guest/healthz")" 10 "$accel: keep-alive"
	check "$accel: Connection: close, with requests behind it" client 80 close
	check "$accel: 300 pipelined requests" client 80 pipeline 300
	check "$accel: a client that reads late" client 80 slow_reader 2000
	check "$accel: a client that closes its side first" client 80 half_close
	check "$accel: one byte at a time" client 80 bytes
	check "$accel: garbage gets 400, and no reset" client 80 garbage
	check "$accel: 100 connections at once" client 80 many 100
	check "$accel: 1,000 connections at once" client 80 many 1000
	check "$accel: 200 connections in a row" client 80 again 200
	check "$accel: 40 connections from one port" client 80 same_port 40
	check "$accel: ping" in_ns ping -q -c 3 -i 0.2 -W 2 $guest
	check "$accel: ping with fragments" in_ns ping -q -c 3 -i 0.2 -W 2 -s 4000 $guest
	check "$accel: UDP echo" client 7 udp 500
	check "$accel: UDP echo with fragments" client 7 udp 20000
	check "$accel: UDP echo of 64 KiB" client 7 udp 65507
	check "$accel: TCP echo of 2 MB" client 7 echo 2000000
}

# By IPv6 as by IPv4.
serves6() { # ACCEL
	local accel=$1 v4=$guest
	local guest="[$guest6]"

	if [ -z "$ipv6" ]; then
		skip "$accel: IPv6" 'this kernel has none'
		return
	fi
	is "$(get -o "$tmp/body" -w '%{http_code} %{size_download}' /)" '200 612' "$accel, IPv6: GET /"
	case $(tr '\0' '?' <"$tmp/body") in
	*"instance shop.web.1 at $v4 and $guest6"*) ok 0 "$accel, IPv6: it says who it is" ;;
	*) ok 1 "$accel, IPv6: it says who it is" ;;
	esac
	check "$accel, IPv6: 300 pipelined requests" client 80 pipeline 300
	check "$accel, IPv6: a client that reads late" client 80 slow_reader 2000
	check "$accel, IPv6: one byte at a time" client 80 bytes
	check "$accel, IPv6: garbage gets 400, and no reset" client 80 garbage
	check "$accel, IPv6: 1,000 connections at once" client 80 many 1000
	check "$accel, IPv6: 200 connections in a row" client 80 again 200
	check "$accel, IPv6: 40 connections from one port" client 80 same_port 40
	check "$accel, IPv6: ping" in_ns ping -q -c 3 -i 0.2 -W 2 $guest6
	check "$accel, IPv6: ping with fragments" in_ns ping -q -c 3 -i 0.2 -W 2 -s 4000 $guest6
	check "$accel, IPv6: UDP echo" client 7 udp 500
	check "$accel, IPv6: UDP echo with fragments" client 7 udp 20000
	check "$accel, IPv6: UDP echo of the most it takes" client 7 udp 65487
	! client 7 udp 65527 2>/dev/null && client 7 udp 500
	ok $? "$accel, IPv6: more than that is dropped, and does no harm"
	check "$accel, IPv6: TCP echo of 2 MB" client 7 echo 2000000
	load 16 1
	ok $? "$accel, IPv6: 16 connections, no error"
}

# Behind a router whose other link takes less than the guest's.
far_away() { # ACCEL
	local accel=$1 guest4=10.255.7.2 guest="[$guest6]" ns=$ns-far

	[ -n "$ipv6" ] || return 0
	if [ ! -e "/run/netns/$ns" ]; then
		ip netns add "$ns"
		ip -n "$netns" link add far0 type veth peer name eth0 netns "$ns"
		ip -n "$netns" addr add fd00:255:8::1/64 dev far0 nodad
		ip -n "$netns" link set far0 up
		ip -n "$netns" addr add 10.255.8.1/24 dev far0
		ip -n "$netns" route add 10.255.8.2/32 dev far0 mtu lock 1280
		ip -n "$ns" addr add fd00:255:8::2/64 dev eth0 nodad
		ip -n "$ns" link set eth0 up
		ip -n "$ns" -6 route add default via fd00:255:8::1
		ip -n "$netns" -6 route add fd00:255:8::2/128 dev far0 mtu lock 1280
	fi
	check "$accel, IPv6: a path that takes less: ping" wait_for 20 in_ns ping -q -c 1 -W 2 -s 4000 $guest6
	check "$accel, IPv6: a path that takes less: TCP echo of 2 MB" client 7 echo 2000000
	check "$accel, IPv6: a path that takes less: UDP echo with fragments" client 7 udp 20000
	ip -n "$ns" addr add 10.255.8.2/24 dev eth0
	ip -n "$ns" route add default via 10.255.8.1
	guest=$guest4
	check "$accel: a path that takes less: TCP echo of 2 MB" client 7 echo 2000000
	check "$accel: a path that takes less: ping" wait_for 20 in_ns ping -q -c 1 -W 2 -s 4000 $guest
}

performs() { # ACCEL
	local total=0 status=0 i

	for i in 1 2 3 4 5; do
		load 16 2 || status=1
		[ "$i" != 1 ] || report "$1, 16 connections"
		total=$((total + requests))
		[ $total -lt 5000 ] || break
	done
	[ $status = 0 ] && [ $total -ge 5000 ]
	ok $? "$1: 5,000 requests and more over 16 connections, no error"
	load 50 2 -H 'Connection: close'
	ok $? "$1: 50 clients that connect for each request, no error"
	load 1 1
	ok $? "$1: one client, no error"
	report "$1, 1 connection"
}

# Nothing happens for 10 s: the guest must sleep, and it must wake up. Somebody's connection waits, too.
idles() { # ACCEL
	local before after

	before=$(cpu_ticks)
	client 80 idle 5 >"$tmp/why" 2>&1
	ok $? "$1: a connection used again after 5 s"
	sleep 5 # idling is what is measured
	after=$(cpu_ticks)
	echo "# $1: $((after - before)) ticks of CPU in 10 s of idling"
	[ $((after - before)) -lt 100 ]
	ok $? "$1: idle, it sleeps"
	is "$(get -m 1 -o /dev/null -w '%{http_code}' /)" 200 "$1: an answer after 10 s of silence"
}

limit=20 boot tcg "netdev.ip=$guest/24:$host ip6=$guest6/64 gw6=$host6 -- name=shop.web.1 keepalive=0"
ok $? 'tcg: it boots, with netdev.ip='
echo "# tcg: first answer $(($(now_ms) - started)) ms after the start of qemu"
serves tcg
serves6 tcg
far_away tcg
performs tcg
idles tcg
kill -0 "$pid" 2>/dev/null
ok $? 'tcg: it is still there'

# --- other ways to start it ----------------------------------------------------------------------
boot tcg "netdev.ipv4_addr=$guest netdev.ipv4_gw_addr=$host netdev.ipv4_subnet_mask=255.255.255.0"
ok $? 'it boots, with netdev.ipv4_addr='
port=8080 boot tcg "ip=$guest/24 gw=$host port=80 tsc_khz=1000000 -- port=8080"
ok $? 'it boots, with ip= gw= port='
if [ -n "$ipv6" ]; then
	guest="[$guest6]" boot tcg "weft.ip6=$guest6/128 weft.gw6=$host6"
	ok $? 'it boots, with an IPv6 address alone, through its gateway'
	is "$(guest="[$guest6]" get / | tr '\0' '?' | grep -o 'instance .* at [0-9a-f:]*')" \
		"instance $guest6 at $guest6" 'and says so'
fi
boot tcg "ip=$guest/24 gw=$host -- keepalive=3"
ok $? 'it boots, with keepalive='
is "$(in_ns curl -s -m 5 --noproxy '*' -o /dev/null -o /dev/null -o /dev/null -o /dev/null \
	-w '%{num_connects}' "http://$guest/" "http://$guest/" "http://$guest/" "http://$guest/")" 1001 \
	'the last answer of a connection closes it'
mem=32 boot tcg "netdev.ip=$guest/24:$host:8.8.8.8 ip6=$guest6/64 gw6=$host6 spin=50" \
	,csum=off,guest_csum=off,event_idx=off
ok $? 'it boots in 32 MiB, polls, does without offloads'
check 'without offloads: 1,000 connections at once' client 80 many 1000
check 'without offloads: TCP echo of 2 MB' client 7 echo 2000000
check 'without offloads: UDP echo with fragments' client 7 udp 20000
load 16 1
ok $? 'without offloads: 16 connections, no error'
[ -z "$ipv6" ] || guest="[$guest6]" check 'without offloads, IPv6: TCP echo of 2 MB' client 7 echo 2000000

# --- the power button, and a configuration in fw_cfg ---------------------------------------------
qmp() { # COMMAND
	tests/guest/client.pl "$tmp/qmp" qmp "$1"
}
config() { # LINE...
	{
		printf 'weft-guest 1\n'
		printf '%s\n' "$@"
	} >"$tmp/config"
	truncate -s 512 "$tmp/config"
}
button=(-qmp "unix:$tmp/qmp,server,nowait")
devices='virtio_mmio.device=512@0xfeb00e00:23 ged.device=0xfea00000:9'

acpi=on boot tcg "netdev.ip=$guest/24:$host $devices -- name=shop.web.1" '' "${button[@]}"
ok $? 'it boots where devices are told of by weft'
client 80 late "$tmp/console" 'the power button was pressed' >"$tmp/late" 2>"$tmp/why" &
late=$!
wait_for 5 grep -q begun "$tmp/late"
check 'the power button is pressed' qmp system_powerdown
wait_for 10 gone
ok $? 'it powers off'
wait "$pid"
is $? 0 'as it wanted to'
pid=
wait $late
is $? 0 'whoever had begun to ask is answered'

config "state=go" "name=shop.web.7" "mac=52:54:00:12:34:57" "ip=$guest/24" "gw=$host" \
	"ip6=$guest6/128" "gw6=$host6" "seed=00112233445566778899aabbccddeeff"
# Somebody knows its address at another's hardware address, from when the link is there.
link_is() { in_ns ip -o link show tap0 | grep -q " state $1 "; }
reap
wait_for 10 link_is DOWN
acpi=on start tcg "weft.net=fw_cfg $devices" '' -fw_cfg "name=opt/weft/guest,file=$tmp/config" \
	"${button[@]}" -S
wait_for 10 link_is UP
[ -z "$ipv6" ] || in_ns ip -6 neigh replace $guest6 lladdr 52:54:00:12:34:56 dev tap0 nud stale
wait_for 10 qmp cont && wait_for 20 grep -q 'ready after' "$tmp/console"
told=$(in_ns ip -6 -o neigh show $guest6 | awk '{print $5}')
wait_for 20 answers
ok $? 'it takes its address from fw_cfg'
is "$(get / | tr '\0' '?' | grep -o 'instance shop.web.7')" 'instance shop.web.7' 'and its name'
is "$(in_ns ip -o neigh show $guest | awk '{print $5}')" 52:54:00:12:34:57 'and its MAC address'
if [ -n "$ipv6" ]; then
	is "$told" 52:54:00:12:34:57 'and tells of its IPv6 address unasked'
	is "$(guest="[$guest6]" get / | tr '\0' '?' | grep -o 'instance shop.web.7')" 'instance shop.web.7' \
		'at which it answers as well'
fi
config "state=wait"
acpi=on start tcg "weft.net=fw_cfg $devices" '' -fw_cfg "name=opt/weft/guest,file=$tmp/config" \
	"${button[@]}"
wait_for 10 grep -q 'waiting for an address' "$tmp/console"
ok $? 'it waits for an address'
check 'the power button is pressed while it waits' qmp system_powerdown
wait_for 10 gone
ok $? 'it powers off then, too'
pid=
acpi=on start tcg "weft.net=fw_cfg $devices"
wait_for 10 gone
grep -q 'panic: weft.net=fw_cfg, but fw_cfg has no' "$tmp/console"
ok $? 'no configuration: it says so, and ends'
config "state=go" "ip=1.2.3"
acpi=on start tcg "weft.net=fw_cfg $devices" '' -fw_cfg "name=opt/weft/guest,file=$tmp/config"
wait_for 10 gone
grep -q 'panic: argument ip=1.2.3: want ip=ADDR/PREFIX' "$tmp/console"
ok $? 'a configuration that makes no sense: it says so, and ends'

# --- failing visibly -----------------------------------------------------------------------------
start tcg "netdev.ip=$guest/99:$host"
wait_for 10 gone
ok $? 'a bad address: it ends'
grep -q "panic: argument netdev.ip=$guest/99:$host: want netdev.ip=ADDR/PREFIX:GATEWAY" "$tmp/console"
ok $? 'a bad address: it says so'
start tcg "netdev.ip=$guest/24 virtio_mmio.device=512@0:5"
wait_for 10 gone
grep -q 'panic: exception 14 .* cr2 0$' <(tr -d '\r' <"$tmp/console")
ok $? 'a null pointer: it says where, and ends'
start tcg spin=0 '' -device pvpanic -action panic=exit-failure
wait_for 10 gone
wait "$pid"
is $? 1 'pvpanic tells qemu'
pid=

# --- under KVM -----------------------------------------------------------------------------------
if [ ! -w /dev/kvm ]; then
	skip 'kvm' 'no /dev/kvm'
elif ! limit=5 boot kvm "netdev.ip=$guest/24:$host ip6=$guest6/64 gw6=$host6 -- name=shop.web.1 keepalive=0"; then
	reap
	skip 'kvm' "the guest does not run under this KVM: $(tail -n 1 "$tmp/qemu")"
else
	ok 0 'kvm: it boots'
	echo "# kvm: first answer $(($(now_ms) - started)) ms after the start of qemu"
	serves kvm
	serves6 kvm
	performs kvm
	idles kvm
	boot kvm "netdev.ip=$guest/24:$host spin=50"
	ok $? 'kvm: it boots, with spin=50'
	load 1 1
	ok $? 'kvm: one client, polling, no error'
	report 'kvm, 1 connection, spin=50'
fi

# --- the image -----------------------------------------------------------------------------------
is "$(tar -tzf "$B/guest/weft-guest.tar.gz" | tr '\n' ' ')" 'kernel weft.json ' 'the image has its files'
is "$(tar -xzOf "$B/guest/weft-guest.tar.gz" weft.json)" '{"ipv6":true,"machine":"microvm","netdev":"ip","powerdown":true,"ring3":true,"warm":"can"}' \
	'weft.json says what it needs'
echo "1..$n"
[ $failed = 0 ]
