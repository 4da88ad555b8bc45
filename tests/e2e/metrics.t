#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# /metrics, /healthz and /readyz of a running daemon; the alert rules and the dashboard name metrics
# that there are, by labels that these have.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh

api() { curl -s --max-time 10 --unix-socket "$LAB_SOCKET" "http://weftd$1" "${@:2}"; }
scrape() { api /metrics >"$LAB_DIR/metrics" && cat "$LAB_DIR/metrics"; }
value() { # SERIES: the number that stands behind it
	awk -v s="$1" 'index($0, s " ") == 1 { print $NF; n++ } END { exit n != 1 }' "$LAB_DIR/metrics"
}
is() { scrape >/dev/null && same "$1" "$2" "$(value "$1")"; }
above() { # SERIES NUMBER
	scrape >/dev/null && awk -v v="$(value "$1")" -v than="$2" 'BEGIN { exit !(v > than) }' || {
		echo "$1 is $(value "$1"), not above $2"
		return 1
	}
}

typed() { has "$(api /metrics -i)" '^HTTP/1.1 200' '^Content-Type: text/plain; version=0.0.4'; }
promtool_clean() { scrape | promtool check metrics; }
names() { # of the metrics in an expression
	grep -oE '\b(weft|process)_[a-z_]+\b' | sort -u
}
series() { # names in the answer; a histogram has three
	awk '/^# TYPE/ { print $3; if ($4 == "histogram") { print $3 "_bucket"; print $3 "_sum"; print $3 "_count" } }' \
		"$LAB_DIR/metrics" | sort -u
}
known() { # FILTER FILE: expressions
	local missing
	scrape >/dev/null
	missing=$(jq -r "$1" "$2" | names | comm -23 - <(series))
	[ "$(jq -r "$1" "$2" | names | wc -l)" -gt 3 ] && same 'unknown metrics' '' "$missing"
}
rules_known() {
	sed -n 's/^ *expr: \(.*\)/\1/p' ctrl/metrics/weft.rules.yml | jq -R . >"$LAB_DIR/rules"
	known . "$LAB_DIR/rules"
}
# Expressions and the labels that are shown of each: "EXPRESSION<tab>LABEL LABEL".
shown_by_rules() { # but for Prometheus' own label: where it was scraped
	# shellcheck disable=SC2016 # it is perl
	perl -ne '
		sub told { print "$e\t@l\n" if defined $e; @l = () }
		if (/^ *expr: (.*)/) { told(); $e = $1 }
		for (/\$labels\.(\w+)/g) { push @l, $_ if $_ ne "instance" }
		END { told() }' ctrl/metrics/weft.rules.yml
}
shown_by_dashboard() {
	jq -r '.panels[].targets[] | [.expr, ([.legendFormat // "" | scan("{{ *([a-z_]+) *}}")[0]] | join(" "))] | @tsv' \
		ctrl/metrics/weft-dashboard.json
}
labels_of() { # METRIC: of its first series
	grep -m1 "^$1[{ ]" "$LAB_DIR/metrics" | grep -oE '[{,][a-z_]+="' | tr -d '{,="' | sort
}
# Each label that is shown, summed up by or asked for is one of every metric in its expression; one
# that is summed up by others is gone.
labels_known() { # COMMAND that lists them
	local expression shown by used metric n=0 bad=0
	scrape >/dev/null
	while IFS=$'\t' read -r expression shown; do
		by=$(grep -oP '\b(by|on) *\(\K[^)]*' <<<"$expression" | tr -d ' ' | tr ',' '\n')
		used=$({ tr ' ' '\n' <<<"$shown" && echo "$by" && grep -oP '[{,] *\K[a-z_]+(?= *[=!]=?~?")' <<<"$expression"; } | sort -u | sed '/^$/d')
		n=$((n + $(wc -w <<<"$used")))
		for metric in $(names <<<"$expression" | grep -vxF "$used"); do
			labels_of "$metric" | comm -13 - <(sort <<<"$used") | sed '/^$/d' | sed "s/^/$metric has no label /" | grep . && bad=1
		done
		if [ -n "$by" ] && tr ' ' '\n' <<<"$shown" | sed '/^$/d' | grep -vxF "$by"; then
			echo "is not in: $expression"
			bad=1
		fi
	done < <("$1")
	echo "$n labels"
	[ "$n" -ge "$2" ] && [ $bad = 0 ]
}
# A series that is there while a swap runs.
swap_begins() {
	# shellcheck disable=SC2016 # it is jq
	descriptor shop.two 1 '.applications[0].microservices[0].variants = [{virtualization: "unikernel",
		code: $ENV.GUEST, arch: ["amd64"], memory: 32, network: "tap"}]'
	lab_weft apply -f "$LAB_DIR/shop.two.json" --wait --timeout 60 &&
		lab_weft swap start shop.two --to unikernel --strategy canary --steps 20,60 --hold 1h && wait_for 60 shares
}
shares() { scrape | grep -q '^weft_swap_new_share{'; }
swap_ends() {
	lab_weft swap abort "$(lab_weft swap list -o json | jq -r '.items[0].id')" --wait --timeout 60
	lab_weft service delete shop.two --wait --timeout 60
}
service() {
	descriptor shop.web 2 '.applications[0].microservices[0].addresses.rr_ip = "10.30.0.2"'
	lab_weft apply -f "$LAB_DIR/shop.web.json" --wait --timeout 20
}
asked() {
	local id
	for _ in {1..20}; do lab_in curl -sf --max-time 2 -o /dev/null http://10.30.0.2/ || return 1; done
	id=$(lab_weft instance list -o json | jq -r '.items[0].id')
	is 'weft_service_ready{service="shop.web"}' 2 && is 'weft_service_up{service="shop.web"}' 1 &&
		above 'weft_service_new_flows_total{service="shop.web"}' 19 &&
		is "weft_instance_ready{weft_instance=\"$id\",service=\"shop.web\",virtualization=\"native\"}" 1 &&
		above "weft_instance_memory_bytes{weft_instance=\"$id\",service=\"shop.web\",virtualization=\"native\"}" 4096
}
labels() { echo "{weft_instance=\"$1\",service=\"shop.web\",virtualization=\"native\"}"; }
network() { # what 20 calls are at least, by whichever of the two they were answered
	local id
	id=$(lab_weft instance list -o json | jq -r '.items | max_by(.tx_packets).id')
	above "weft_instance_network_receive_packets_total$(labels "$id")" 29 &&
		above "weft_instance_network_receive_bytes_total$(labels "$id")" 1999 &&
		above "weft_instance_network_transmit_packets_total$(labels "$id")" 29 &&
		above "weft_instance_network_transmit_bytes_total$(labels "$id")" 1999
}
rates() { # are worked out while requests come, every 2 s unless this machine has no time
	lab_in curl -sf --max-time 2 -o /dev/null http://10.30.0.2/
	lab_weft instance list -o json | jq -e 'any(.items[].rates; . != null and .interval_s > 1.9 and .interval_s < 2.5 and
		.rx_bytes > 0 and .tx_packets > 0 and .cpu >= 0)'
}
phase='phase="first_answer",virtualization="native"'
times() { # of both instances, in whole and one by one
	is "weft_instance_phase_seconds_count{$phase}" 2 &&
		is "weft_instance_phase_seconds_bucket{$phase,le=\"+Inf\"}" 2 &&
		above "weft_instance_phase_seconds_sum{$phase}" 0 &&
		is 'weft_instance_phase_seconds_count{phase="start",virtualization="native"}' 2 || return 1
	lab_weft instance list -o json | jq -e 'all(.items[].times;
		.prepare_ms > 0 and .start_ms > 0 and .first_answer_ms > .start_ms and .stop_ms == null)'
}
stopped() { # once one has ended, that is counted, and in its last event
	lab_weft service scale shop.web 1 || return 1
	wait_for 20 is 'weft_instance_phase_seconds_count{phase="stop",virtualization="native"}' 1 || return 1
	api '/v1/events?since=0' | jq -e '[.items[] | select(.kind == "instance" and .action == "removed")][0].data.stop_ms > 0'
}
drop='weft_dataplane_drops_total{reason="unknown_addr"}'
counted() {
	local before
	scrape >/dev/null
	before=$(value "$drop") || return 1
	wait_for 20 dropped "$before"
}
dropped() { # a first call may wait for a service to come: it is no drop
	lab_in curl -s --max-time 1 -o /dev/null http://10.30.0.99/
	above "$drop" "$1"
}
unikernels_run() {
	lab_weft status -o json | jq -e '.runtimes[] | select(.virtualization == "unikernel" and .arch == "amd64" and .usable)' >/dev/null
}
no_swap() { is weft_swaps_running 0 && ! grep '^weft_swap_new_share' "$LAB_DIR/metrics"; }
well() { same 'healthz' ok "$(api /healthz)" && same 'readyz' ok "$(api /readyz)"; }
not_ready() {
	local full code
	full=$LAB_DIR/state/full
	dd if=/dev/zero of="$full" bs=64k >/dev/null 2>&1
	lab_weft service delete shop.web
	wait_for 10 unready
	code=$?
	rm -f "$full"
	[ $code = 0 ] && same 'healthz' ok "$(api /healthz)"
}
unready() { has "$(api /readyz -i)" '^HTTP/1.1 503' '^store: '; }
labels_escaped() { scrape | grep -q 'weft_runtime_usable{virtualization="native",arch="[a-z0-9_]*",version="[^"]*"} 1'; }
only_get() { has "$(api /metrics -i -X POST -d x)" '^HTTP/1.1 405'; }

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq curl nginx; do command -v "$c" >/dev/null || tap_skip_all "$c is not installed"; done
for c in weftd weft; do [ -x "$LAB_BUILD/$c" ] || tap_skip_all "$LAB_BUILD/$c is not built"; done
lab_open e2e-metrics
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
mkdir "$LAB_DIR/state"
mount -t tmpfs -o size=16m,mode=700 weft "$LAB_DIR/state"
nginx_conf
export GUEST=file://$LAB_BUILD/guest/weft-guest.tar.gz
lab_weftd

tap 'well and ready' well
tap 'a service runs' service
tap 'the type is that of Prometheus' typed
tap 'its numbers are true' asked
tap 'the network of instances is counted' network
tap 'what goes on is worked out every two seconds' wait_for 60 rates
tap 'the phases of a start are timed' times
tap 'the end is timed' stopped
tap 'a runtime and its version' labels_escaped
if command -v promtool >/dev/null; then
	tap 'promtool has nothing to say' promtool_clean
	tap 'promtool reads the alert rules' promtool check rules ctrl/metrics/weft.rules.yml
else
	tap 'promtool # SKIP promtool is not installed' true
fi
tap 'a drop is counted' counted
if [ -e "$LAB_BUILD/guest/weft-guest.tar.gz" ] && unikernels_run; then
	tap 'a swap begins' swap_begins
	tap 'the dashboard knows the labels of its metrics' labels_known shown_by_dashboard 12
	tap 'it ends' swap_ends
else
	tap_skip 'the dashboard knows the labels of its metrics' 'no unikernel runs here: there is no swap'
fi
tap 'the alert rules know the labels of their metrics' labels_known shown_by_rules 3
tap 'no swap runs' no_swap
tap 'the alert rules know their metrics' rules_known
tap 'the dashboard knows its metrics' known '.panels[].targets[].expr, .annotations.list[].expr' ctrl/metrics/weft-dashboard.json
tap 'only GET' only_get
tap 'a full store: not ready, but alive' not_ready
tap 'the lab closes clean' lab_close
tap_end
