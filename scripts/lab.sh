# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A lab of its own for one run of the demo, a test or a benchmark: network namespace, state
# directory, containerd and weftd. Sourced, not run.
#   lab_open NAME          make it; sets LAB_NS, LAB_DIR, LAB_SOCKET
#   lab_containerd         start containerd in it (or take WEFT_CONTAINERD)
#   lab_weftd [FLAGS]      start weftd in it; again after lab_weftd_kill. LAB_WEFTD_AS: a command before it
#                          LAB_START_S: how long it may take to say what it can run (90)
#   lab_in CMD...          run in its namespace
#   lab_weft ARGS...       the command line against its weftd
#   lab_close              remove everything, whatever state it is in (the EXIT trap calls it)
LAB_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case ${B:-build} in /*) LAB_BUILD=$B ;; *) LAB_BUILD=$LAB_ROOT/${B:-build} ;; esac
PATH=$PATH:/usr/sbin:/sbin
LAB_NS='' LAB_DIR='' LAB_SOCKET='' LAB_CONTAINERD='' LAB_CONTAINERD_PID='' LAB_WEFTD_PID=''
LAB_WEFTD_AS=() LAB_CTRD_NS=weft

lab_die() {
	printf 'error: %s\n' "$1" >&2
	[ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
	exit 1
}

# What no test or demo can do without; says all that is missing at once.
lab_check() {
	local missing=() c
	[ "$(id -u)" = 0 ] || lab_die 'this needs root: it makes network namespaces and loads BPF programs' \
		"sudo make ${1:-demo}"
	[ -e /sys/kernel/btf/vmlinux ] || lab_die 'this kernel has no BTF (/sys/kernel/btf/vmlinux)' \
		'use a kernel built with CONFIG_DEBUG_INFO_BTF=y, such as Debian 12 has'
	[ -c /dev/net/tun ] || lab_die 'there is no /dev/net/tun' 'modprobe tun'
	for c in ip nsenter jq curl containerd runc qemu-system-x86_64 nginx; do
		command -v "$c" >/dev/null || missing+=("$c")
	done
	[ ${#missing[@]} -eq 0 ] || lab_die "not installed: ${missing[*]}" 'sudo scripts/deps.sh'
	for c in weftd weft weft-load guest/weft-guest.tar.gz; do
		[ -e "$LAB_BUILD/$c" ] || lab_die "not built: $LAB_BUILD/$c" 'make'
	done
}

# wait_for SECONDS CMD...: until it succeeds.
wait_for() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || return 1
		read -rt 0.05 <> <(:) || :
	done
}

# A zombie is gone: within a trap bash does not reap.
lab_gone() { ! kill -0 "$1" 2>/dev/null || [[ $(cat "/proc/$1/stat" 2>/dev/null) == *") Z "* ]]; }

# lab_up SECONDS PID CMD...: until it succeeds, or PID is gone: then nobody waits.
lab_up() {
	local up=
	wait_for "$1" lab_up_or_gone "${@:2}" || :
	[ -n "$up" ]
}
lab_up_or_gone() { if "${@:2}"; then up=1; else lab_gone "$1"; fi; }

lab_open() {
	LAB_NAME=$1-$$
	LAB_NS=weft-$LAB_NAME
	trap lab_close EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	LAB_DIR=$(mktemp -d "/var/tmp/weft-$1.XXXXXX")
	LAB_SOCKET=$LAB_DIR/weftd.sock
	LAB_BPFFS=/sys/fs/bpf/weft-$LAB_NAME
	ip netns add "$LAB_NS"
	lab_in ip link set lo up
}

lab_in() { nsenter --net="/run/netns/$LAB_NS" "$@"; }
lab_weft() { "$LAB_BUILD/weft" -H "unix:$LAB_SOCKET" "$@"; }

lab_containerd() {
	if [ -n "${WEFT_CONTAINERD:-}" ]; then
		LAB_CONTAINERD=$WEFT_CONTAINERD
		LAB_CTRD_NS=weft-$LAB_NAME # beside what else it runs
		return
	fi
	LAB_CONTAINERD=$LAB_DIR/containerd.sock
	if [ ! -e "$LAB_DIR/containerd.toml" ]; then
		cat >"$LAB_DIR/containerd.toml" <<-EOF
			version = 2
			root = "$LAB_DIR/containerd"
			state = "$LAB_DIR/containerd-state"
			disabled_plugins = ["io.containerd.grpc.v1.cri"]
			[grpc]
			  address = "$LAB_CONTAINERD"
		EOF
	fi
	setsid containerd --config "$LAB_DIR/containerd.toml" >>"$LAB_DIR/containerd.log" 2>&1 </dev/null &
	LAB_CONTAINERD_PID=$!
	lab_up 60 "$LAB_CONTAINERD_PID" ctr -a "$LAB_CONTAINERD" version || {
		tail -n 5 "$LAB_DIR/containerd.log" >&2
		lab_die 'containerd did not start' "its log is above"
	}
}

# weftd answers, and knows what it can run: each of the three runtimes has said.
lab_probed() {
	lab_weft status -o json | jq -e '[.runtimes[].virtualization] | contains(["container", "unikernel", "native"])'
}

lab_weftd() {
	# Not lab_in: a function in the background is a shell of its own, and its pid the shell's.
	# And in a session of its own, as containerd: ^C is for us, who need both to clean up.
	setsid nsenter --net="/run/netns/$LAB_NS" "${LAB_WEFTD_AS[@]}" "$LAB_BUILD/weftd" --role=all --node="$LAB_NAME" \
		--state-dir="$LAB_DIR/state" --socket="$LAB_SOCKET" --bpffs="$LAB_BPFFS" --cgroup="weft-$LAB_NAME" \
		--containerd="$LAB_CONTAINERD" --containerd-namespace="$LAB_CTRD_NS" "$@" >>"$LAB_DIR/weftd.log" 2>&1 </dev/null &
	LAB_WEFTD_PID=$!
	lab_up "${LAB_START_S:-90}" "$LAB_WEFTD_PID" lab_probed || {
		tail -n 10 "$LAB_DIR/weftd.log" >&2
		lab_die 'weftd did not start' 'its log is above'
	}
}

# End a process that we started, and wait until it is gone.
lab_end() {
	[ -n "$1" ] || return 0
	kill "-${2:-TERM}" "$1" 2>/dev/null || return 0
	wait_for 15 lab_gone "$1" || kill -KILL "$1" 2>/dev/null || :
	wait "$1" 2>/dev/null || :
}

lab_weftd_kill() {
	lab_end "$LAB_WEFTD_PID" KILL
	LAB_WEFTD_PID=
}

lab_close() {
	local rc=$? cgroup job
	! declare -F tap_last_words >/dev/null || tap_last_words
	trap - EXIT
	trap '' INT TERM HUP
	[ -n "$LAB_DIR" ] || return $rc
	for job in $(jobs -p); do
		[ "$job" = "$LAB_CONTAINERD_PID" ] || lab_end "$job"
	done
	if [ -d "$LAB_DIR/state" ]; then
		lab_in "$LAB_BUILD/weftd" --purge --node="$LAB_NAME" --state-dir="$LAB_DIR/state" \
			--socket="$LAB_SOCKET" --bpffs="$LAB_BPFFS" --cgroup="weft-$LAB_NAME" \
			--containerd="$LAB_CONTAINERD" --containerd-namespace="$LAB_CTRD_NS" >>"$LAB_DIR/purge.log" 2>&1 || {
			echo 'warning: not everything could be removed:' >&2
			tail -n 20 "$LAB_DIR/purge.log" >&2
			rc=1
		}
	fi
	[ -z "${WEFT_CONTAINERD:-}" ] || ctr -a "$WEFT_CONTAINERD" namespaces rm "$LAB_CTRD_NS" >/dev/null 2>&1 || :
	lab_end "$LAB_CONTAINERD_PID"
	awk -v d="$LAB_DIR/" 'index($5, d) == 1 {print $5}' /proc/self/mountinfo | sort -r |
		while read -r m; do umount -l "$m" 2>/dev/null || :; done
	find /sys/fs/cgroup -depth -type d -name "weft-$LAB_NAME*" 2>/dev/null |
		while read -r cgroup; do
			find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || :
		done
	ip netns del "$LAB_NS" 2>/dev/null || :
	if [ -n "${WEFT_KEEP:-}" ]; then
		echo "kept: $LAB_DIR" >&2
	else
		rm -rf --one-file-system "$LAB_DIR"
	fi
	LAB_DIR=
	return $rc
}

# lab_host LOAD: the machine, for a result; LOAD is /proc/loadavg's from before the measurement.
lab_host() {
	jq -n --arg kernel "$(uname -r)" --arg before "$1" --arg after "$(cut -d' ' -f1-3 /proc/loadavg)" \
		--arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
		--argjson cpus "$(nproc)" --arg os "$(. /etc/os-release && echo "$PRETTY_NAME")" \
		--argjson memory_mb "$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)" \
		'{kernel: $kernel, cpu: $cpu, cpus: $cpus, os: $os, memory_mb: $memory_mb,
			load_before: $before, load_after: $after}'
}

# lab_image_nginx: the container image, built once.
lab_image_nginx() {
	LAB_NGINX=$LAB_BUILD/images/nginx.tar
	[ "$LAB_NGINX" -nt "$LAB_ROOT/scripts/mkimage-nginx.sh" ] || {
		mkdir -p "$LAB_BUILD/images"
		"$LAB_ROOT/scripts/mkimage-nginx.sh" "$LAB_NGINX" >&2
	}
}

# lab_descriptor FILE [JQ]: shop.web as a container with a unikernel variant, changed by a jq program.
lab_descriptor() {
	jq -n --arg nginx "file://$LAB_NGINX" --arg guest "file://$LAB_BUILD/guest/weft-guest.tar.gz" '{
		sla_version: "v2.0", customerID: "demo", applications: [{
			application_name: "shop", application_namespace: "default", microservices: [{
				microservice_name: "web", microservice_namespace: "default",
				addresses: {rr_ip: "10.30.0.2"}, memory: 64,
				readiness: {type: "http", port: 80, path: "/", timeout_s: 20},
				virtualization: "container", code: $nginx,
				variants: [{virtualization: "unikernel", code: $guest, arch: ["amd64"],
					memory: 32, network: "macvtap"}],
				swap: {strategy: "linear", duration_s: 6, drain_s: 20}
			}]
		}]
	} | '"${2:-.}" >"$1"
}
