# SPDX-License-Identifier: Apache-2.0
# build/results/bench-dataplane.json as text.
def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def spaces($n): " " * ([$n, 0] | max) // "";
def pad($width): . + spaces($width - length);
# A number with so many decimals, right-aligned; "-" for none.
def num($decimals; $width):
	(if . == null then "-" else pow(10; $decimals) as $f | . * $f | round | tostring
		| if $decimals == 0 then . else
			(("0" * ([$decimals + 1 - length, 0] | max)) // "") + .
			| .[:-$decimals] + "." + .[-$decimals:] end end)
	| spaces($width - length) + .;

{tcp_rr: ["  TCP RR", "  p50 µs p99 µs  ratio", 22], tcp_crr: ["  TCP connect-RR-close", "  p50 µs p99 µs  ratio", 22],
	udp_rr: ["  UDP RR", "  p50 µs p99 µs  ratio", 22], tcp_rr_poll: ["  TCP RR, poll()", "  p50 µs p99 µs  ratio", 22],
	tcp_stream: ["  bulk TCP", "  Gbit/s  ratio", 15], udp_pps: ["  small UDP", "  kpkt/s  ratio", 15]} as $columns
| . as $doc
| def runs($v; $cpus; $m): [$doc.runs[] | select(.variant == $v and .cpus == $cpus and .measure == $m)];
def ratio($v; $base; $cpus; $m):
	(runs($base; $cpus; $m) | map({key: (.round | tostring), value: .value}) | from_entries) as $b
	| runs($v; $cpus; $m) | map(.value / ($b[.round | tostring] // empty)) | median;
def cell($v; $base; $cpus; $m):
	runs($v; $cpus; $m) as $r
	| ($r | map(.value) | median | num(if $m == "udp_pps" then 0 else 2 end; 8))
	+ (if $columns[$m][2] == 22 then $r | map(.p99) | median | num(1; 7) else "" end)
	+ (ratio($v; $base; $cpus; $m) | num(3; 7));
def table($title; $base; $cpus):
	[$base, ($doc.variants[] | select(.base == $base) | .name)] as $rows
	| [$columns | keys_unsorted[] as $m | select(runs($base; $cpus; $m) != []) | $m] as $shown
	| if $shown == [] then empty else
		(0, 1) as $line | (if $line == 0 then $title else "" end | pad(16))
			+ ($shown | map(. as $m | $columns[$m][$line] | pad($columns[$m][2])) | add)
		end,
		($rows[] as $v | select($shown | any(. as $m | runs($v; $cpus; $m) != []))
			| ($v | pad(16)) + ($shown | map(cell($v; $base; $cpus; .)) | add)),
		(if $shown == [] then empty else "" end);
def between($name): $doc.spread[$name] | "(\(.[0]) – \(.[1]))";

"",
table("one CPU"; "direct"; 1), table("two CPUs"; "direct"; 2),
($doc.variants[] | select(.base == "-" and .name != "direct") | .name as $b | table(""; $b; 1)),
(if [$doc.runs[] | select(.variant == null)] == [] then empty else "program and tables alone (BPF_PROG_TEST_RUN, net of the empty program): median, quartiles" end),
(reduce ($doc.runs[] | select(.variant == null)) as $r ([]; if any(.measure == $r.measure) then . else . + [$r] end)
	| .[] | "  " + (.what | pad(58)) + ($doc.metrics[.measure] | num(1; 9)) + " \(.unit)  " + between(.measure)),
"",
("metric" | pad(24)) + "    value" + "  " + ("quartiles" | pad(18)) + "to reach",
($doc.targets | to_entries[] | .key as $name | ($name | pad(24))
	+ if $doc.metrics[$name] == null then "  not measured" else ($doc.metrics[$name] | num(3; 9))
		+ "  " + (between($name) | pad(18)) + (.value | pad(16))
		+ (if $doc.checks[$name] then "✓" else "missed" end) end),
"nothing lost: \(if $doc.checks.nothing_lost then "✓" else "NO" end);  load before \($doc.host.load_before), after \($doc.host.load_after)"
