# SPDX-License-Identifier: Apache-2.0
# bench-swap.json for people.
def pad(n): tostring | . + (" " * ([n - length, 0] | max));
def verdict(k): if .checks[k] then "✓" else "✗ wanted: \(if k == "swaps" then "at least " elif k == "p90_swap_ratio" then "at most " else "" end)\(.targets[k])" end;
# What was not measured (ROUNDS=1 goes to a unikernel alone) is no number.
def to(digits): pow(10; digits) as $p | if . == null then "-" else . * $p | round / $p end;
. as $d | .metrics as $m
| ("\("swaps in a row" | pad(34))\($m.swaps | pad(14))\(verdict("swaps"))  (\($d.kinds | join(" → ")))"),
	("\("failed requests" | pad(34))\("\($m.failed_requests) of \($m.requests)" | pad(14)) \(verdict("failed_requests"))\(if $m.failed_requests > 0 then "  \($d.errors | tojson)" else "" end)"),
	("\("p90 during a swap / before it" | pad(34))\($m.p90_swap_ratio | to(3) | pad(14))\(verdict("p90_swap_ratio"))  (to unikernel \($m.p90_swap_ratio_to_unikernel | to(2)), to container \($m.p90_swap_ratio_to_container | to(2)), at \($m.rate_per_s | to(0)) requests/s\(if $m.failed_latency > 0 then "; which says nothing, as the machine could not bear that: \($m.failed_latency) requests failed" else "" end))"),
	("\("lost writes of Redis" | pad(34))\("\($m.redis_lost_writes // 0) of \($m.redis_acknowledged // 0)" | pad(14)) \(verdict("redis_lost_writes"))  (\($m.redis_swaps) swaps, the longest pause between two writes \($m.redis_pause_ms | to(0)) ms)")
