# SPDX-License-Identifier: Apache-2.0
# What tests/bench/run.sh printed → the result document. Ratios are medians of the rounds' own.
def round3: . * 1000 | round / 1000;
def median: sort | if length % 2 == 1 then .[length / 2 | floor]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def quartiles: sort | [.[(length - 1) * (0.25, 0.75) | round] | round3];
def key: "\(.variant // "alone")/\(.cpus // 1)/\(.measure)";

($lines | map(select(.define == null))) as $runs
| ($lines | map(select(.define == "variant") | {name, base})) as $variants
| ($lines | map(select(.define == "target"))) as $targets
| ($runs | group_by(key) | map({key: (.[0] | key),
	value: (map({key: (.round | tostring), value: .value}) | from_entries)}) | from_entries) as $series
| def values($of; $to):
	if $to == "-" then [$series[$of] // {} | .[]]
	else [$series[$of] // {} | to_entries[] | .value / ($series[$to][.key] // empty)] end;
([
	($variants[] | select(.base == "direct") | .name as $v
		| (1, 2) as $cpus | ("tcp_rr", "tcp_rr_poll", "udp_rr", "tcp_crr", "tcp_stream", "udp_pps") as $m
		| {name: ((if $v == "weft" then "" else $v + "_" end) + $m
				+ (if $cpus == 2 then "_2cpu" else "" end) + "_ratio"),
			of: "\($v)/\($cpus)/\($m)", to: "direct/\($cpus)/\($m)"}),
	($runs | map(select(.variant == null) | .measure) | unique[] | {name: ., of: "alone/1/\(.)", to: "-"}),
	($lines[] | select(.define == "metric"))
] | map({key: .name, value: values(.of; .to)} | select(.value != [])) | from_entries) as $figures
| ($figures | map_values(median | round3)) as $metrics
| {
	name: "bench-dataplane", commit: $commit, when: $when, host: $host,
	metrics: $metrics,
	spread: ($figures | map_values(quartiles)),
	checks: (($targets | map({key: .name, value: ($metrics[.name] as $is | .value as $limit
			| $is != null and (if .bound == "at least" then $is >= $limit else $is <= $limit end))}))
		+ [{key: "nothing_lost", value: ([$runs[].lost // 0] | add == 0)}] | from_entries),
	targets: ($targets | map({key: .name, value: "\(.bound) \(.value)"}) | from_entries),
	variants: $variants,
	runs: $runs
}
