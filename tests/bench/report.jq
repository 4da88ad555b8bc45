# SPDX-License-Identifier: Apache-2.0
# What tests/bench/run.sh measured → the result document. Ratios are medians of the rounds' own.
def round3: . * 1000 | round / 1000;
def median: sort | if length % 2 == 1 then .[length / 2 | floor]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;

# [[variant, cpus, measure] → round → value]; figures of the program alone have neither of the first.
($runs | group_by([.variant, .cpus, .measure])
	| map({key: (.[0] | "\(.variant)/\(.cpus)/\(.measure)"),
		value: (map({key: (.round | tostring), value: .value}) | from_entries)}) | from_entries) as $values
| def series($variant; $cpus; $measure): $values["\($variant)/\($cpus)/\($measure)"];
def ratio($a; $b):
	if $a and $b then [$a | to_entries[] | .value / $b[.key]] | median | round3 else empty end;
def alone($measure): series(null; null; $measure);

# [[metric, at most (or, with a third element, at least) what is to be reached]]
[
	["tcp_rr_ratio", 1.05], ["udp_rr_ratio", 1.05], ["tcp_crr_ratio", 1.06],
	["tcp_stream_ratio", 0.95, "at least"], ["udp_pps_ratio", 0.90, "at least"],
	["macvtap_rr_ratio", 0.92], ["tap_rr_ratio", 0.82],
	["tc_hit_ns", 80], ["tc_new_ns", 150], ["services_growth", 1.2], ["backends_growth", 1.2],
	["weights_update_us", 1]
] as $targets
| ([$runs[] | select(.variant) | .variant] | unique) as $variants
| ([
	($variants[] | select(. != "direct" and (contains("-") | not)) as $v
		| ("tcp_rr", "udp_rr", "tcp_crr", "tcp_stream", "udp_pps") as $m
		| (1, 2) as $cpus
		| {key: ((if $v == "weft" then "" else $v + "_" end) + $m
				+ (if $cpus == 2 then "_2cpu" else "" end) + "_ratio"),
			value: ratio(series($v; $cpus; $m); series("direct"; $cpus; $m))}),
	("macvtap", "tap" | {key: "\(.)_rr_ratio", value: ratio(series("\(.)-weft"; 1; "udp_rr");
		series(if . == "tap" then "tap-bridge" else "macvtap-routed" end; 1; "udp_rr"))}),
	("tc_hit_ns", "tc_hit_1_ns", "tc_hit_50k_ns", "tc_hit_back_ns", "tc_new_ns",
			"weights_update_us", "weights_update_at_once_us", "weights_update_1000_backends_us"
		| {key: ., value: ([alone(.)[]] | median | round3)}),
	("services", "backends" | {key: "\(.)_growth", value: ratio(alone("\(.)_1000_ns"); alone("\(.)_1_ns"))},
		{key: "\(.)_growth_new", value: ratio(alone("\(.)_1000_new_ns"); alone("\(.)_1_new_ns"))})
] | from_entries) as $metrics
| {
	name: "bench-dataplane", commit: $commit, when: $when, host: $host,
	metrics: $metrics,
	checks: ([$targets[] | {key: .[0], value: (if .[2] then $metrics[.[0]] >= .[1] else $metrics[.[0]] <= .[1] end)}]
		+ [{key: "nothing_lost", value: ([$runs[].lost // 0] | add == 0)}] | from_entries),
	targets: ($targets | map({key: .[0], value: ((.[2] // "at most") + " \(.[1])")}) | from_entries),
	runs: $runs
}
