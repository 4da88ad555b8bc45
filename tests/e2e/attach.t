#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Interfaces that weft did not make come into the overlay and leave it again, shares are set by hand,
# and the event log tells of it all: on a service of native processes, under load. One lost request
# fails the test.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh
. tests/lib/e2e.sh

service() { lab_weft service show shop.web -o json | jq -r "$1"; }
instance() { lab_weft instance show "$1" -o json | jq -r "$2"; }
is_in() { [ "$(instance "$1" .phase)" = "$2" ]; } # NAME PHASE
weights() { lab_weft dp lb list --service shop.web -o json | jq -c '[.items[] | {(.instance): .weight}] | add'; }
weights_are() { same 'weights' "$(jq -cS . <<<"$1")" "$(weights | jq -cS .)"; }
answer() { lab_in curl -s --max-time 5 "http://$vip/"; }
# Out of N new connections each address answered so many: "7 10.18.0.2,3 10.18.0.3". No other client
# opens any meanwhile.
shares() {
	local i
	for ((i = 0; i < $1; i++)); do answer; done | sort -V | uniq -c | awk '{print $1 " " $2}' | paste -sd,
}

# --- hand-made namespaces with an nginx in each --------------------------------------------------

in_b() { nsenter --net="/run/netns/$LAB_NS-b" "$@"; }

# As another engine would: a veth to a bridge of its own, whose address is the default gateway.
other_engine() {
	lab_in ip link add engine0 type bridge
	lab_in ip addr add 172.20.5.1/24 dev engine0
	lab_in ip link set engine0 up
	ip netns add "$LAB_NS-b"
	other_veth || return 1
	mkdir "$LAB_DIR/b"
	setsid nsenter --net="/run/netns/$LAB_NS-b" nginx -p "$LAB_DIR/b" -e stderr -c "$LAB_DIR/nginx.conf" \
		>"$LAB_DIR/b.log" 2>&1 </dev/null &
	wait_for 10 in_b curl -sf http://172.20.5.2/
}
other_veth() {
	lab_in ip link add engine0.b type veth peer name eth0 netns "$LAB_NS-b" &&
		lab_in ip link set engine0.b master engine0 up &&
		in_b ip link set lo up &&
		in_b ip addr add 172.20.5.2/24 dev eth0 &&
		in_b ip link set eth0 up &&
		in_b ip route add default via 172.20.5.1
}

# What of the device could be changed: all but counters, and addresses that are new.
device_state() {
	lab_in ip -d -j link show engine0.b | jq -cS 'map(del(.stats, .stats64) | del(.. | .forward_delay_timer?))'
	lab_in ip -j addr show engine0.b | jq -cS 'map(.addr_info | map(del(.tentative)))'
	lab_in tc qdisc show dev engine0.b
	lab_in bridge link show dev engine0.b
	in_b ip route
	in_b ip -d -j link show eth0 | jq -cS .
}

attached_with_traffic() {
	device_state >"$LAB_DIR/before"
	lab_weft instance attach byhand --service shop.web --device engine0.b --ns-addr 172.20.5.2 || return 1
	wait_for 10 is_in byhand ready || return 1
	same device engine0.b "$(instance byhand .device)" && weights_are '{"byhand":1,"shop.web.1":1,"shop.web.2":1}'
}

# Its engine's own traffic goes on.
own_traffic() {
	in_b ping -c 1 -W 5 172.20.5.1 && has "$(lab_in curl -s --max-time 5 http://172.20.5.2/)" '^172\.20\.5\.2$'
}

calls_the_service() {
	local i
	for i in 1 2 3; do
		has "$(in_b curl -s --max-time 5 "http://$vip/")" '^1' || return 1
	done
}

plain_client() {
	ip netns add "$LAB_NS-c"
	lab_in ip link add vc type veth peer name eth7 netns "$LAB_NS-c"
	lab_in ip link set vc up
	local in_c=(nsenter --net="/run/netns/$LAB_NS-c")
	"${in_c[@]}" ip addr add 10.18.0.40/26 dev eth7
	"${in_c[@]}" ip link set eth7 up
	"${in_c[@]}" ip route add default via 10.18.0.1
	lab_weft instance attach client --netns "/run/netns/$LAB_NS-c" --ns-addr 10.18.0.40 || return 1
	same phase ready "$(instance client .phase)" && same service null "$(instance client .service)" &&
		has "$("${in_c[@]}" curl -s --max-time 5 "http://$vip/")" '^1' &&
		lab_weft instance detach client && refused 3 'no such instance' -- lab_weft instance show client
}

# A guest that somebody has started on a tap.
virtual_machine() {
	lab_in ip tuntap add vm0 mode tap vnet_hdr
	lab_in ip link set vm0 up
	setsid nsenter --net="/run/netns/$LAB_NS" qemu-system-x86_64 \
		-M microvm,ioapic2=off,acpi=off,rtc=off,pit=off,pic=off -accel tcg -cpu max -m 64 -smp 1 \
		-nodefaults -no-user-config -no-reboot -display none -global virtio-mmio.force-legacy=false \
		-netdev tap,id=n0,ifname=vm0,script=no,downscript=no \
		-device virtio-net-device,netdev=n0,mac=52:54:00:12:34:56 -serial "file:$LAB_DIR/console" \
		-kernel "$LAB_BUILD/guest/weft-guest.elf" \
		-append "netdev.ipv4_addr=10.18.0.41 netdev.ipv4_gw_addr=10.18.0.1 netdev.ipv4_subnet_mask=255.255.255.192" \
		</dev/null >"$LAB_DIR/qemu" 2>&1 &
	VM=$!
	refused 2 'device vm0 does not tell the hardware address' 'hint: .*--mac' -- \
		lab_weft instance attach vm1 --service shop.web --device vm0 --ns-addr 10.18.0.41 || return 1
	lab_weft instance attach vm1 --service shop.web --device vm0 --ns-addr 10.18.0.41 \
		--mac 52:54:00:12:34:56 --weight 2 || return 1
	wait_for 30 is_in vm1 ready && weights_are '{"byhand":1,"shop.web.1":1,"shop.web.2":1,"vm1":2}'
}
guest_serves() { has "$(lab_in curl -s --max-time 5 "http://$(instance vm1 .inst_addr)/")" unikernel\|hello; }

# A guest that has stopped answering gets no new flows, though nobody has told weft.
silent_machine() {
	kill -STOP "$VM"
	wait_for 30 is_in vm1 warming || return 1
	weights_are '{"byhand":1,"shop.web.1":1,"shop.web.2":1}' || return 1
	kill -CONT "$VM"
	wait_for 30 is_in vm1 ready
}

machine_detached() {
	lab_weft instance detach vm1 && weights_are '{"byhand":1,"shop.web.1":1,"shop.web.2":1}' &&
		kill -0 "$VM" && lab_in ip link show vm0 && lab_end "$VM" && lab_in ip link del vm0
}

attach_refused() {
	refused 4 'device .* is byhand.s|device [0-9]+ is instance' -- \
		lab_weft instance attach twice --device engine0.b --ns-addr 172.20.5.9 || return 1
	refused 4 'instance byhand is there already' 'hint: ' -- \
		lab_weft instance attach byhand --device engine0.b --ns-addr 172.20.5.9 || return 1
	# Names that the service has given, or will give, to its own.
	local n
	for n in 3 17 0; do
		refused 4 "instance shop\.web\.$n: so service shop\.web names its own" 'hint: attach it by another name' -- \
			lab_weft instance attach "shop.web.$n" --device engine0.b --ns-addr 172.20.5.9 || return 1
	done
	refused 4 'address 172\.20\.5\.2 is already taken by byhand' -- \
		lab_weft instance attach x --device engine0.b --ns-addr 172.20.5.2 || return 1
	refused 4 'weft0\.[0-9]+ is weft.s own' -- \
		lab_weft instance attach x --device "$(instance shop.web.1 .device)" --ns-addr 172.20.5.9 || return 1
	refused 3 'no such device' 'hint: ' -- \
		lab_weft instance attach x --device nope --ns-addr 172.20.5.9 || return 1
	refused 1 'engine0 is a bridge' 'hint: ' -- \
		lab_weft instance attach x --device engine0 --ns-addr 172.20.5.9 || return 1
	refused 3 'service shop\.wob: no such service' 'hint: ' -- \
		lab_weft instance attach x --service shop.wob --device engine0.b --ns-addr 172.20.5.9 || return 1
	refused 3 'byhand was not started here: weft has no log of it' -- lab_weft logs byhand || return 1
	refused 2 '10\.30\.0\.9 is not an address' -- \
		lab_weft instance attach x --device engine0.b --ns-addr 10.30.0.9 || return 1
	refused 2 'is no name for an instance' -- \
		lab_weft instance attach host --device engine0.b --ns-addr 172.20.5.9 || return 1
	refused 4 'shop\.web\.1 is run by weft' 'hint: ' -- lab_weft instance detach shop.web.1 || return 1
	refused 3 'no such instance' -- lab_weft instance detach nobody || return 1
	same instances 3 "$(lab_weft instance list -o json | jq '.items | length')"
}

# A name that a service's own would have, taken before there was that service: it leaves it out.
named_before() {
	lab_weft instance attach shop.other.2 --netns "/run/netns/$LAB_NS-c" --ns-addr 10.18.0.40 || return 1
	descriptor shop.other 1 '.applications[0].microservices[0].addresses.rr_ip = "10.30.0.3"'
	lab_weft apply -f "$LAB_DIR/shop.other.json" --wait --timeout 30 -o name || return 1
	lab_weft service scale shop.other 2 || return 1
	wait_for 30 is_in shop.other.3 ready || return 1
	same "the service's own" 'shop.other.1 shop.other.3' \
		"$(lab_weft instance list -o json | jq -r '.items | map(select(.service == "shop.other").id) | sort | join(" ")')" &&
		same 'whose it is' 'ready attached null' "$(instance shop.other.2 '"\(.phase) \(.virtualization) \(.service)"')" || return 1
	refused 3 'shop\.other has no instance 2' -- lab_weft service weights shop.other 1=1 2=1 || return 1
	lab_weft service weights shop.other 1=1 3=1 -o name || return 1
	lab_weft service delete shop.other --wait --timeout 30 && lab_weft instance detach shop.other.2
}

# --- weights -------------------------------------------------------------------------------------

weights_by_hand() {
	lab_weft service weights shop.web 1=7 shop.web.2=3 || return 1
	weights_are '{"byhand":0,"shop.web.1":7,"shop.web.2":3}' &&
		same shares '7 10.18.0.2,3 10.18.0.3' "$(shares 10)" &&
		same shares '14 10.18.0.2,6 10.18.0.3' "$(shares 20)"
}
weights_back() {
	lab_weft service weights shop.web --reset && weights_are '{"byhand":1,"shop.web.1":1,"shop.web.2":1}' &&
		same shares '2 10.18.0.2,2 10.18.0.3,2 172.20.5.2' "$(shares 6)"
}
weights_refused() {
	refused 3 'shop\.web has no instance shop\.web\.9' -- lab_weft service weights shop.web shop.web.9=1 || return 1
	lab_weft instance attach by.9 --service shop.web --netns "/run/netns/$LAB_NS-c" --ns-addr 10.18.0.40 || return 1
	refused 3 'shop\.web has no instance 9' -- lab_weft service weights shop.web 1=1 9=1 || return 1
	lab_weft instance detach by.9 || return 1
	refused 2 'weight is 0 to 1000' -- lab_weft service weights shop.web 1=1001 || return 1
	refused 2 'all weights are 0' 'hint: .*--reset' -- lab_weft service weights shop.web 1=0 2=0 || return 1
	refused 2 'has two weights' -- lab_weft service weights shop.web 1=1 shop.web.1=2 || return 1
	weights_are '{"byhand":1,"shop.web.1":1,"shop.web.2":1}'
}
many_weights() {
	local i
	for i in {1..60}; do
		lab_weft service weights shop.web "1=$((i % 7))" "2=$((i % 5 + 1))" "byhand=$((i % 3))" -o name || return 1
	done >/dev/null
	lab_weft service weights shop.web --reset -o name
}

# A failed instance's replacement has its weight; so have those that a swap brings.
weight_is_inherited() {
	lab_weft service weights shop.web 1=7 2=3 -o name || return 1
	kill -KILL "$(instance shop.web.1 .pid)"
	wait_for 15 is_in shop.web.3 ready && weights_are '{"byhand":0,"shop.web.2":3,"shop.web.3":7}'
}
swap_and_weights() {
	local id
	lab_weft swap start shop.web --to unikernel --duration 3s --drain 20s >/dev/null || return 1
	id=$(last_swap .id)
	refused 4 "swap $id is running, and has the weights" 'hint: weft swap watch' -- \
		lab_weft service weights shop.web --reset || return 1
	refused 4 'is running' -- lab_weft service weights shop.web 2=1 || return 1
	wait_for 90 state_is 'done' || {
		lab_weft swap show "$id"
		return 1
	}
	weights_are '{"byhand":0,"shop.web.4":3,"shop.web.5":7}' ||
		weights_are '{"byhand":0,"shop.web.4":7,"shop.web.5":3}' || return 1
	lab_weft swap start shop.web --to native --duration 2s --drain 20s --wait --timeout 90 || return 1
	lab_weft service weights shop.web --reset -o name
}

# --- restart, loss, return -----------------------------------------------------------------------

restarted() {
	lab_weft service weights shop.web 6=5 7=2 byhand=3 -o name || return 1
	local before
	before=$(weights)
	lab_weftd_kill
	answer || return 1
	lab_weftd || return 1
	wait_for 10 is_in byhand ready
	weights_are "$before" && same shares '3 172.20.5.2' "$(shares 10 | tr , '\n' | grep 172)"
}

# A connection to it ends at once instead of hanging, and who asks is told.
lost() {
	local addr rc=0 pid
	addr=$(instance byhand .inst_addr)
	mkfifo "$LAB_DIR/go"
	# shellcheck disable=SC2016 # its own variables
	setsid nsenter --net="/run/netns/$LAB_NS" bash -c 'exec 3<>"/dev/tcp/$1/80" && : >"$2/open" && read -r <"$2/go"
		printf "GET / HTTP/1.0\r\n\r\n" >&3
		read -r -t 8 <&3
		[ $? -le 128 ]' x "$addr" "$LAB_DIR" >/dev/null 2>&1 </dev/null &
	pid=$!
	wait_for 5 test -e "$LAB_DIR/open" || return 1
	lab_in ip link del engine0.b
	wait_for 5 is_in byhand lost || return 1
	echo go >"$LAB_DIR/go"
	wait "$pid" || rc=$?
	same 'a read from a lost backend' 0 $rc || return 1
	has "$(lab_weft status)" 'byhand: device engine0\.b is gone' || return 1
	has "$(lab_weft instance list -o wide)" 'byhand .* lost .* device engine0\.b is gone' || return 1
	same shares '' "$(shares 6 | tr , '\n' | grep 172)"
}
lost_over_a_restart() {
	lab_weftd_kill
	lab_weftd || return 1
	is_in byhand lost && answer
}
back_again() {
	other_veth && wait_for 20 is_in byhand ready && ! grep -q byhand <<<"$(lab_weft status)" &&
		same shares '3 172.20.5.2' "$(shares 10 | tr , '\n' | grep 172)"
}

detached() {
	device_state >"$LAB_DIR/before"
	lab_weft instance detach byhand || return 1
	device_state >"$LAB_DIR/after"
	diff "$LAB_DIR/before" "$LAB_DIR/after" && own_traffic && same shares '' "$(shares 6 | tr , '\n' | grep 172)"
}

# --- events --------------------------------------------------------------------------------------

follow_events() {
	# Not lab_weft: a function in the background is a shell of its own, and its pid the shell's.
	"$LAB_BUILD/weft" -H "unix:$LAB_SOCKET" events -w -o json >"$LAB_DIR/events" 2>"$LAB_DIR/events.err" &
	EVENTS=$!
}
events_told() {
	local seen held
	lab_end "$EVENTS"
	lab_weft events -o json | jq -c '.items[]' >"$LAB_DIR/held"
	jq -s -e '[.[].seq] == ([.[].seq] | sort | unique)' "$LAB_DIR/events" || return 1
	jq -s -e '[.[].mono_us] == ([.[].mono_us] | sort)' "$LAB_DIR/events" || return 1
	# Followed over three restarts of the daemon, and nothing was missed or told twice.
	seen=$(jq -c . "$LAB_DIR/events" | sort | md5sum) held=$(sort "$LAB_DIR/held" | md5sum)
	same 'what was followed and what is held' "$held" "$seen" || return 1
	jq -s -e '[.[] | select(.kind == "instance" and .object == "byhand") | .action]
		| index("attached") < index("ready") and index("ready") < index("lost") and index("lost") < index("detached")' \
		"$LAB_DIR/events" || return 1
	jq -s -e '[.[] | select(.kind == "swap") | .action] | index("prepare") < index("shift") and index("shift") < index("done")' \
		"$LAB_DIR/events" || return 1
	jq -s -e '[.[] | select(.kind == "weights" and .data.by == "hand")] | length > 50' "$LAB_DIR/events" &&
		jq -s -e '[.[] | select(.kind == "weights" and .data.by == "swap")] | length > 10' "$LAB_DIR/events" &&
		jq -s -e '[.[] | select(.kind == "daemon")] | length == 3' "$LAB_DIR/events"
}
events_since() {
	local last
	last=$(lab_weft events -o name | tail -n 1)
	same 'nothing new' '' "$(lab_weft events --since "$last" -o name 2>/dev/null)" &&
		same 'two of them' 2 "$(lab_weft events --since $((last - 2)) -o name | wc -l)"
}

service_deleted() {
	lab_weft instance attach byhand --service shop.web --device engine0.b --ns-addr 172.20.5.2 || return 1
	lab_weft service delete shop.web --wait --timeout 30 || return 1
	refused 3 'no such instance' -- lab_weft instance show byhand && own_traffic
}
# weftd dies before or after its program is on the device: the next one has both, or its owner is cut off.
killed_at() { # STEP
	jq -n --arg step "$1" '[{call: "step", runtime: "attach", id: $step, do: "die-before"}]' >"$LAB_DIR/faults.json"
	rm -f "$LAB_DIR/faults.json.0"
	lab_end "$LAB_WEFTD_PID"
	device_state >"$LAB_DIR/before"
	WEFT_FAULTS=$LAB_DIR/faults.json lab_weftd
	! lab_weft instance attach byhand --device engine0.b --ns-addr 172.20.5.2 || return 1
	wait_for 10 lab_gone "$LAB_WEFTD_PID" && own_traffic && lab_weftd || return 1
	is_in byhand ready && own_traffic && lab_weft instance detach byhand && own_traffic || return 1
	device_state >"$LAB_DIR/after"
	diff "$LAB_DIR/before" "$LAB_DIR/after"
}
killed_attaching() { killed_at entered && killed_at joined; }
purged_too() { lab_weft instance attach byhand --device engine0.b --ns-addr 172.20.5.2; }

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_open e2e-attach
clean_up() {
	ip netns pids "$LAB_NS-b" 2>/dev/null | xargs -r kill 2>/dev/null
	ip netns del "$LAB_NS-b" 2>/dev/null
	ip netns del "$LAB_NS-c" 2>/dev/null
	lab_close
}
trap clean_up EXIT
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
nginx_conf
lab_weftd
follow_events
descriptor shop.web 2 ".applications[0].microservices[0] |= (.addresses.rr_ip = \"$vip\"
	| .variants = [{virtualization: \"unikernel\", code: \"file://$LAB_BUILD/guest/weft-guest.tar.gz\",
		arch: [\"amd64\"], memory: 32, network: \"tap\"}])"

tap 'a service of two native processes' lab_weft apply -f "$LAB_DIR/shop.web.json" --wait --timeout 30
tap "another engine's namespace" other_engine
load_start keepalive 200 8
tap 'its veth is attached and gets a share' attached_with_traffic
tap "its engine's own traffic goes on" own_traffic
tap 'it calls the service, which it is part of' calls_the_service
tap 'a plain client, by its namespace' plain_client
tap 'what cannot be attached is refused' attach_refused
tap "a service's name for its own, taken before" named_before
tap 'a hand-started machine on a tap' virtual_machine
tap 'the guest serves' guest_serves
tap 'a guest that is silent gets no new flows' silent_machine
tap 'detached, the machine goes on' machine_detached
load_stop
tap 'no request was lost so far' none_failed keepalive 500
tap 'weights by hand: exact shares' weights_by_hand
tap 'given back: equal ones' weights_back
tap 'weights that make no sense are refused' weights_refused
load_start close 100 4 --close
tap 'sixty changes of weights' many_weights
load_stop
tap 'a connection per request: none was lost' none_failed close 50
tap "a lost instance's weight is inherited" weight_is_inherited
load_start swap 100 4 --close
tap 'a swap has the weights, and hands them on' swap_and_weights
load_stop
tap 'no request was lost over the swaps' none_failed swap 200
tap 'weftd killed: attached and weights stay' restarted
tap 'its device vanishes: flows are reset, status says so' lost
tap 'and so after a restart' lost_over_a_restart
tap 'the device is back, and so is the instance' back_again
tap 'detached, the device is as it was' detached
tap 'the events tell it all, in order' events_told
tap 'events since a number' events_since
tap 'a service that is deleted lets go of what was attached' service_deleted
tap 'weftd killed while it attaches one' killed_attaching
tap 'left attached for the end' purged_too
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
trap - EXIT
ip netns pids "$LAB_NS-b" 2>/dev/null | xargs -r kill 2>/dev/null
ip netns del "$LAB_NS-b"
ip netns del "$LAB_NS-c"
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
