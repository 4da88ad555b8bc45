# SPDX-License-Identifier: Apache-2.0
# bench-swap.json from what scripts/bench-swap.sh recorded.
def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def of(m): [$runs[] | select(.measure == m)];
(of("latency") | map(. + {ratio: (.p90_swap_us / .p90_before_us)})) as $latency
| of("redis") as $redis
| {
	swaps: (of("in_a_row") | length),
	requests: ($keepalive[0].total.requests + $close[0].total.requests),
	failed_requests: ($keepalive[0].total.failed + $close[0].total.failed),
	failed_keepalive: $keepalive[0].total.failed,
	failed_close: $close[0].total.failed,
	capacity_per_s: $peak,
	rate_per_s: $load[0].rate,
	p90_swap_ratio: ($latency | map(.ratio) | median),
	p90_swap_ratio_to_unikernel: ($latency | map(select(.to == "unikernel").ratio) | median),
	p90_swap_ratio_to_container: ($latency | map(select(.to == "container").ratio) | median),
	p90_before_us: ($latency | map(.p90_before_us) | median),
	failed_latency: $load[0].total.failed,
	redis_swaps: ($redis | length),
	redis_acknowledged: ($redis | map(.acknowledged) | add),
	redis_lost_writes: ($redis | map(.lost) | add),
	redis_pause_ms: ($redis | map(.longest_pause_ms) | median)
} as $metrics
| {
	name: "bench-swap", commit: $commit, when: $when,
	host: $host,
	kinds: $kinds,
	errors: {keepalive: $keepalive[0].total.errors, close: $close[0].total.errors, latency: $load[0].total.errors},
	targets: {failed_requests: 0, swaps: 100, p90_swap_ratio: 1.05, redis_lost_writes: 0},
	metrics: $metrics,
	checks: {
		failed_requests: ($metrics.failed_requests == 0),
		swaps: ($metrics.swaps >= 100),
		# Where requests failed, the machine could not bear the load, and the ratio says nothing.
		p90_swap_ratio: ($latency != [] and $metrics.p90_swap_ratio <= 1.05 and $metrics.failed_latency == 0),
		redis_lost_writes: ($metrics.redis_lost_writes == 0)
	},
	runs: (of("in_a_row") + $latency + $redis)
}
