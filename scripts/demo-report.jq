# SPDX-License-Identifier: Apache-2.0
# The demo's records → one result document (shared format of all results) with what the page shows.
def round3: . * 1000 | round / 1000;

# CPU time that instances of a virtualization used between two samples, in cores.
def cores($a; $b; $virt):
	[$b.instances[] | select(.virtualization == $virt) | .id as $id
		| .cpu_ns - ([$a.instances[] | select(.id == $id) | .cpu_ns][0] // 0)
		| [., 0] | max]
	| (add // 0) / 1e6 / ([$b.t_ms - $a.t_ms, 1] | max);

[$marks | split("\n")[] | select(. != "") | split(" ") | {name: .[1], start_ms: (.[0] | tonumber)}] as $m
| ($m | map(.start_ms) + [$ended]) as $t
| [range($m | length) | $m[.] + {end_ms: $t[. + 1]}] as $windows
| [range(1; $samples | length) | {t_ms: $samples[.].t_ms, from: $samples[. - 1].t_ms,
	container: cores($samples[. - 1]; $samples[.]; "container"),
	unikernel: cores($samples[. - 1]; $samples[.]; "unikernel")}] as $cpu
| [$windows[] | . as $w
	| ($load[0].phases[] | select(.name == $w.name)) as $p
	| [$cpu[] | select(.t_ms > $w.start_ms and .t_ms <= $w.end_ms)] as $c
	| ([$c[] | .t_ms - .from] | add // 1) as $ms
	| $w + {requests: $p.requests, failed: $p.failed, retries: $p.retries,
		p50_us: $p.p50_us, p90_us: $p.p90_us, p99_us: $p.p99_us,
		cpu: {container: ([$c[] | .container * (.t_ms - .from)] | (add // 0) / $ms | round3),
			unikernel: ([$c[] | .unikernel * (.t_ms - .from)] | (add // 0) / $ms | round3)}}] as $phases
| [$swaps[0].items | sort_by(.started_ms)[] | . as $s | .trace[]
	| {t_ms, unikernel: (if $s.to == "unikernel" then .new else 1 - .new end)}] as $trace
| ([{t_ms: $windows[0].start_ms, unikernel: 0}] + $trace
	+ [{t_ms: $ended, unikernel: ($trace[-1].unikernel // 0)}]) as $weights
| ([$swaps[0].items[] | select(.state == "done")] | length) as $done
| $load[0].total.failed as $failed
| ($failed == 0 and $done == 2) as $good
| (if $good then "0 of \($load[0].total.requests) requests failed over 2 swaps."
	else "FAILED: \($failed) of \($load[0].total.requests) requests failed; \($done) of 2 swaps completed." end) as $verdict
| ([$load[0].series | (.[1].t - .[0].t)] | .[0] / 1000) as $step
| {
	name: "demo", commit: $commit, when: $when, host: $host,
	metrics: ({failed_requests: $failed, requests: $load[0].total.requests, swaps: $done,
			retries: $load[0].total.retries,
			dropped_packets: ([$drops[0].items[].packets] | add)}
		+ ([$phases[] | .name as $n
			| {("p50_us_" + $n): .p50_us, ("p90_us_" + $n): .p90_us, ("p99_us_" + $n): .p99_us,
				("cpu_container_" + $n): .cpu.container, ("cpu_unikernel_" + $n): .cpu.unikernel}] | add)),
	checks: {no_request_failed: ($failed == 0), both_swaps_done: ($done == 2)},
	runs: [{load: ($load[0] | del(.series)), swaps: $swaps[0].items, drops: $drops[0].items}],
	page: {
		what: "nginx in a container to the project's unikernel and back, \($load[0].rate) requests/s, \($load[0].connections) connections, open loop.",
		when: $when, verdict: $verdict, good: $good,
		phases: $phases, weights: $weights,
		series: [$load[0].series[:-1][] | {t_ms: .t, rps: (.ok / $step), failed_rps: (.failed / $step),
			p50_us: (.p50_us // 0), p90_us: (.p90_us // 0), p99_us: (.p99_us // 0)}],
		cpu: [$cpu[] | {t_ms, container, unikernel}],
		host: "\($host.os), Linux \($host.kernel), \($host.cpus) CPUs (\($host.cpu)), data plane \($host.data_plane); \($host.runtimes | join("; ")); commit \($commit)."
	}
}
