#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The speed of the data plane beside a direct veth pair, a bridge, routing, nftables, HAProxy and a
# TUN proxy, all in turn within one run. Writes build/results/bench-dataplane.json and prints it.
#   QUICK=1              coarse figures in half a minute
#   ROUNDS=120           how often each figure is taken
#   MEASURES="tcp_rr"    measures to take (all: tcp_rr tcp_crr udp_rr tcp_stream udp_pps)
#   WITHOUT="haproxy"    variants to leave out
#   OTHER=/other/build   another build's weft beside this one's: what a change brings
#   RESULTS=build/results
# All of it happens in mount, process and network namespaces that end with this script, however it
# ends: tests/bench/run.sh is what runs there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lab.sh
results=${RESULTS:-$LAB_BUILD/results}
without=${WITHOUT:-}

check() {
	local c missing=()
	[ "$(id -u)" = 0 ] || lab_die 'this needs root: it makes network namespaces and loads BPF programs' \
		'sudo make bench-dataplane'
	[ -c /dev/net/tun ] || lab_die 'there is no /dev/net/tun' 'modprobe tun'
	for c in ip nsenter unshare setpriv taskset jq nft ethtool; do
		command -v "$c" >/dev/null || missing+=("$c")
	done
	[[ " $without " == *' haproxy '* ]] || command -v haproxy >/dev/null || missing+=(haproxy)
	[ ${#missing[@]} = 0 ] || lab_die "not installed: ${missing[*]}" 'sudo scripts/deps.sh'
	[ -x "$LAB_BUILD/tests/bench/netbench" ] || lab_die "not built: $LAB_BUILD/tests/bench/netbench" \
		'make bench-dataplane'
}

# What starts in the background ignores ^C: it is for us, and ends all the others at once. A session
# of its own, because the kernel shares processors out between sessions first.
inside() {
	setpriv --pdeathsig KILL setsid unshare --mount --net --pid --fork --kill-child --mount-proc \
		tests/bench/run.sh "$without" >&3 &
	child=$!
	wait "$child"
}

check
export QUICK=${QUICK:-} ROUNDS=${ROUNDS:-} OTHER=${OTHER:-}
load_before=$(cut -d' ' -f1-3 /proc/loadavg)
child=
trap '[ -z "$child" ] || kill -KILL "$child" 2>/dev/null || :' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# Figures go to a file without a name, which is gone when we are.
runs=$(mktemp)
exec 3<>"$runs"
rm "$runs"
inside || lab_die 'the measurement did not complete' 'what failed is said above'
child=

mkdir -p "$results"
jq -n --arg commit "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" --argjson host "$(lab_host "$load_before")" \
	--arg when "$(date -u +%Y-%m-%dT%H:%M:%SZ)" --slurpfile lines "/proc/$$/fd/3" \
	-f tests/bench/report.jq >"$results/bench-dataplane.json"
jq -r -f tests/bench/table.jq "$results/bench-dataplane.json"
printf '\n%s\n' "$results/bench-dataplane.json"
