#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The state directory on a disk that becomes read-only: under a running daemon, before one starts,
# and when ext4 has stopped taking writes after an error. Traffic goes on, what there is can be
# read, what would change it is refused with a next step, and all is well once it can be written.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh

vip=10.30.0.2

at_vip() { descriptor shop.web "$1" ".applications[0].microservices[0].addresses.rr_ip = \"$vip\""; }
apply() { at_vip "$1" && lab_weft apply -f "$LAB_DIR/shop.web.json" "${@:2}"; }
service() { lab_weft service show shop.web -o json | jq -r "$1"; }
is_settled() { [ "$(service '"\(.phase) \(.ready)"')" = "running $1" ]; }
settles() {
	wait_for 60 is_settled "$1" || {
		lab_weft instance list
		tail -n 20 "$LAB_DIR/weftd.log"
		return 1
	}
}
pids() { lab_weft instance list -o json | jq -c '[.items[] | [.id, .pid]] | sort'; }
api() { curl -s --max-time 20 --unix-socket "$LAB_SOCKET" "http://weft$1" "${@:2}"; }
answers() { lab_in curl -sf --max-time 10 "http://$vip/" >/dev/null; }
all_answered() {
	for _ in {1..40}; do answers || return 1; done
}

store_is() { [ "$(lab_weft status -o json | jq -r .store.state)" = "$1" ]; }
read_only() { wait_for 30 store_is 'read-only file system'; }
well() {
	wait_for 60 store_is ok && same readyz ok "$(api /readyz)" && has "$(lab_weft status)" 'STORE .*ok'
}
it_is_said() {
	read_only || return 1
	has "$(lab_weft status)" 'STORE .*read-only file system' &&
		has "$(lab_weft doctor)" 'store .*read-only file system' &&
		same healthz ok "$(api /healthz)" && has "$(api /readyz -i)" '^HTTP/1.1 503' '^store: read-only'
}
# What is asked for is one more than there are.
refusals() { # N
	at_vip $(($1 + 1))
	refused 1 'store .*read-only' 'hint: .*writable' -- lab_weft apply -f "$LAB_DIR/shop.web.json" &&
		refused 1 'read-only' 'hint: ' -- lab_weft service scale shop.web $(($1 + 1)) &&
		refused 1 'read-only' 'hint: ' -- lab_weft service delete shop.web &&
		same code 'read_only 507' "$(api /v1/services/shop.web -X DELETE -w ' %{http_code}' |
			jq -rs '"\(.[0].error.code) \(.[1])"')" &&
		has "$(lab_weft diff -f "$LAB_DIR/shop.web.json")" replicas
}
reads() { # N
	settles "$1" && has "$(lab_weft service list)" "^shop\\.web .*running +$1/$1" &&
		has "$(lab_weft events)" daemon && has "$(api /metrics)" '^weft_' && all_answered
}

# Another mount over it, with the namespaces that are mounted in it.
cover() {
	mount --rbind "$LAB_DIR/state" "$LAB_DIR/state" && mount -o remount,bind,ro "$LAB_DIR/state"
}
uncover() { umount -l "$LAB_DIR/state"; }

started_on_it() {
	before=$(pids)
	lab_weftd_kill
	cover && lab_weftd && it_is_said && same instances "$before" "$(pids)"
}
only_one() {
	refused 4 'another weftd uses it' 'hint: ' -- lab_in "$LAB_BUILD/weftd" --state-dir="$LAB_DIR/state" \
		--socket="$LAB_DIR/2.sock" --bpffs="$LAB_BPFFS" --cgroup="weft-$LAB_NAME"
}
no_purge() {
	lab_weftd_kill
	refused 1 'state directory .*Read-only' 'hint: ' -- lab_in "$LAB_BUILD/weftd" --purge \
		--state-dir="$LAB_DIR/state" --bpffs="$LAB_BPFFS" --cgroup="weft-$LAB_NAME" || return 1
	all_answered && lab_weftd
}
writable_again() {
	local pid=$LAB_WEFTD_PID
	mount -o remount,bind,rw "$LAB_DIR/state" && well && same instances "$before" "$(pids)" &&
		same 'weftd' "$pid" "$(lab_weft events -o json | jq -r '[.items[] | select(.kind == "daemon")][-1].data.pid')"
}

broken() {
	local dev
	sync -f "$LAB_DIR/state" # what the disk has not taken by then is gone, as after a power cut
	dev=$(basename "$(findmnt -nro SOURCE "$LAB_DIR/state" | tail -n 1)")
	echo 1 >"/sys/fs/ext4/$dev/trigger_fs_error"
	! touch "$LAB_DIR/state/x"
}
# Who is killed while nothing can be kept is not asked any more, and not replaced.
one_dies() {
	kill -KILL "$(lab_weft instance list -o json | jq '.items[0].pid')"
	wait_for 60 one_less && all_answered
}
one_less() { [ "$(service .ready)" = 2 ]; }

# What a repair is: nothing uses the disk any more, it is checked, and mounted again.
take_away() {
	find /sys/fs/cgroup -path "*/weft-$LAB_NAME/*/cgroup.procs" -exec cat {} + | sort -u | xargs -r kill -KILL
	awk -v d="$LAB_DIR/state" 'index($5, d) == 1 {print $5}' /proc/self/mountinfo | sort -r |
		while read -r m; do umount "$m" || umount -l "$m"; done
}
loop_gone() { ! losetup -n -O BACK-FILE -a | grep -qF "$LAB_DIR/disk"; }
repaired() {
	lab_weftd_kill
	take_away
	wait_for 60 loop_gone || return 1
	e2fsck -fy "$LAB_DIR/disk" || [ $? -le 2 ] || return 1
	mount_disk && lab_weftd && well && settles 3 && all_answered
}
mount_disk() { mount -o loop,errors=remount-ro "$LAB_DIR/disk" "$LAB_DIR/state"; }

# Also when the test ends half way: weftd --purge needs a state directory that it can write.
close() {
	local rc=$?
	[ -z "$LAB_DIR" ] || ! grep -qF " $LAB_DIR/state " /proc/self/mountinfo || {
		lab_weftd_kill
		take_away
	} >/dev/null 2>&1
	(exit $rc)
	lab_close
}
nothing_left() {
	local left
	left=$(
		ip netns list | grep -F "weft-$LAB_NAME"
		ls -d "/sys/fs/bpf/weft-$LAB_NAME"* 2>/dev/null
		find /sys/fs/cgroup -type d -name "weft-$LAB_NAME*" 2>/dev/null
		grep -F "$OLD_DIR" /proc/self/mountinfo
		losetup -n -O BACK-FILE -a | grep -F "$OLD_DIR"
		pgrep -af -- "$OLD_DIR" | grep -v "^$$ "
		ls -d "$OLD_DIR" /run/weft/weft-store.* /run/weft-store.* 2>/dev/null
	)
	[ -z "$left" ] || {
		echo "left behind: $left"
		return 1
	}
}

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq curl nginx mkfs.ext4 e2fsck losetup findmnt; do
	command -v "$c" >/dev/null || tap_skip_all "$c is not installed"
done
for c in weftd weft; do [ -x "$LAB_BUILD/$c" ] || tap_skip_all "$LAB_BUILD/$c is not built"; done
lab_open e2e-readonly
trap close EXIT
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
mkdir "$LAB_DIR/state"
truncate -s 64M "$LAB_DIR/disk"
mkfs.ext4 -q "$LAB_DIR/disk"
if ! mount_disk 2>/dev/null; then
	tap_skip_all 'there is no loop device, or no ext4'
fi
before=
nginx_conf
lab_weftd

tap 'a service runs' apply 3 --wait --timeout 60
tap 'the disk becomes read-only: it is said' eval 'cover && it_is_said'
tap 'what would change something is refused' refusals 3
tap 'what there is can be read, and traffic goes on' reads 3
tap 'it can be written again: all is well' eval 'uncover && well && apply 2 && settles 2 && apply 3 && settles 3'
tap 'weftd starts on a read-only disk, and says so' started_on_it
tap 'what would change something is refused there, too' refusals 3
tap 'and what there is can be read' reads 3
tap 'a second one is refused' only_one
tap 'nothing is removed from there; the data plane goes on' no_purge
tap 'it can be written again: weftd starts itself anew' writable_again
tap 'and goes on' eval 'apply 2 && settles 2 && apply 3 && settles 3'
if [ -e "/sys/fs/ext4/$(basename "$(findmnt -nro SOURCE "$LAB_DIR/state" | tail -n 1)")/trigger_fs_error" ]; then
	tap 'ext4 takes nothing any more after an error: it is said' eval 'broken && it_is_said'
	tap 'refused' refusals 3
	tap 'read, and traffic goes on' reads 3
	tap 'an instance that dies is not asked any more' one_dies
	tap 'weftd starts on it' eval 'lab_weftd_kill && lab_weftd && it_is_said && all_answered'
	tap 'repaired: all is made anew' repaired
fi
tap 'the service is deleted' lab_weft service delete shop.web
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left
tap_end
