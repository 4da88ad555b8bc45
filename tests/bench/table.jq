# SPDX-License-Identifier: Apache-2.0
# build/results/bench-dataplane.json as text.
def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def quartile($q): sort | .[(length - 1) * $q | round];
# A number with so many decimals, right-aligned; "-" for none.
def num($decimals; $width):
	(if . == null then "-" else pow(10; $decimals) as $f | . * $f | round | tostring
		| if $decimals == 0 then . else
			(("0" * ([$decimals + 1 - length, 0] | max)) // "") + .
			| .[:-$decimals] + "." + .[-$decimals:] end end)
	| (" " * ([$width - length, 0] | max) // "") + .;
def pad($width): . + (" " * ([$width - length, 0] | max) // "");

. as $doc
| def values($v; $cpus; $m; $field): [$doc.runs[] | select(.variant == $v and .cpus == $cpus and .measure == $m) | .[$field]];
def ratios($v; $base; $cpus; $m):
	([$doc.runs[] | select(.variant == $base and .cpus == $cpus and .measure == $m)
		| {key: (.round | tostring), value: .value}] | from_entries) as $b
	| [$doc.runs[] | select(.variant == $v and .cpus == $cpus and .measure == $m) | .value / $b[.round | tostring]];
# value, p99 for latencies, ratio
def cell($v; $base; $cpus; $m):
	if $m == "tcp_stream" then (values($v; $cpus; $m; "value") | median | num(2; 8))
	elif $m == "udp_pps" then (values($v; $cpus; $m; "value") | median | num(0; 8))
	else (values($v; $cpus; $m; "value") | median | num(2; 8)) + (values($v; $cpus; $m; "p99") | median | num(1; 7)) end
	+ (ratios($v; $base; $cpus; $m) | median | num(3; 7));
def head($measures): ($measures | map(
	if . == "tcp_stream" then "  bulk TCP       " | .[:15]
	elif . == "udp_pps" then "  small UDP      " | .[:15]
	else ({tcp_rr: "TCP RR", udp_rr: "UDP RR", tcp_crr: "TCP connect-RR-close"}[.] | "  " + . | pad(22)) end) | add),
	($measures | map(if . == "tcp_stream" then "  Gbit/s  ratio" elif . == "udp_pps" then "  kpkt/s  ratio"
		else "  p50 µs p99 µs  ratio" end | pad(if startswith("  p50") then 22 else 15 end)) | add);
def table($title; $cpus; $measures; $variants):
	if [$doc.runs[] | select(.cpus == $cpus)] == [] then empty else
	([head($measures)] | ($title | pad(15)) + .[0], (" " * 15) + .[1]),
	($variants[] as $v | select(values($v; $cpus; "tcp_rr"; "value") != [])
		| ($v | pad(15)) + ($measures | map(cell($v; "direct"; $cpus; .)) | add)), "" end;
def guests($title; $base):
	($title | pad(15)) + "  UDP RR", (" " * 15) + "  p50 µs p99 µs  ratio",
	($base, ($base | split("-")[0] + "-weft") | (. | pad(15)) + cell(.; $base; 1; "udp_rr")), "";
def alone($m): [$doc.runs[] | select(.measure == $m) | .value];
def line($what; $m): "  " + ($what | pad(58)) + (alone($m) | (median | num(1; 8)) + "   (quartiles \(quartile(0.25)) \(quartile(0.75)))");

["direct", "bridge", "routed", "nft", "haproxy", "tun", "weft"] as $variants
| "",
table("one CPU"; 1; ["tcp_rr", "tcp_crr", "udp_rr", "tcp_stream", "udp_pps"]; $variants),
table("two CPUs"; 2; ["tcp_rr", "udp_rr", "tcp_stream", "udp_pps"]; $variants),
guests("macvtap guest"; "macvtap-routed"), guests("tap guest"; "tap-bridge"),
"the program alone, ns per packet (BPF_PROG_TEST_RUN, net of the empty program)",
line("established, 1 flow"; "tc_hit_1_ns"), line("established, 1,000 flows"; "tc_hit_ns"),
line("established, 1,000 flows, from the backend"; "tc_hit_back_ns"),
line("established, 50,000 flows"; "tc_hit_50k_ns"),
line("new, 200,000 flows into 1 Mi entries"; "tc_new_ns"),
line("established, 10,000 flows to 1 service"; "services_1_ns"),
line("  to 1,000 services (the maps hold 1,023)"; "services_1000_ns"),
line("new, to 1 service"; "services_1_new_ns"), line("  to 1,000 services"; "services_1000_new_ns"),
line("established, 10,000 flows to 1 backend"; "backends_1_ns"),
line("  to 1,000 backends of one service"; "backends_1000_ns"),
line("new, to 1 backend"; "backends_1_new_ns"), line("  to 1,000 backends"; "backends_1000_new_ns"),
"a service's weights, µs",
line("two backends"; "weights_update_us"),
line("  again at once: after a grace period"; "weights_update_at_once_us"),
line("1,000 backends"; "weights_update_1000_backends_us"), "",
("metric" | pad(20)) + ("value" | (" " * 4) + .) + "   to reach",
($doc.targets | to_entries[] | (.key | pad(20)) + ($doc.metrics[.key] | num(3; 9))
	+ "   " + (.value | pad(14)) + (if $doc.checks[.key] then "✓" else "missed" end)),
"nothing lost: \(if $doc.checks.nothing_lost then "✓" else "NO" end);  load before \($doc.host.load_before), after \($doc.host.load_after)"
