# SPDX-License-Identifier: Apache-2.0
# What scripts/bench-hops.sh measured → the result document. Figures are medians of the rounds.
def round3: . * 1000 | round / 1000;
def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def of($s): $runs | map(select(.service == $s));
def way($d): .trace.groups[0].ways | map(select(.direction == $d)) | .[0];
# µs of a run: of the round trip, of a part of it
def trip: way("reply").round_trip.p50_ns / 1e3;
def part($p): [.trace.groups[0].parts[] | select(.part == $p) | .p50_ns] | add // 0 | . / 1e3;
# The turn at the backend: the application's or the guest's.
def turn: part("application") + part("guest");
def at($s; f): [of($s)[] | f] | median;
# Round by round, b against a.
def rounds($a; $b; f): [of($a)[] as $x | of($b)[] | select(.round == $x.round) | {x: ($x | f), y: f}];
def ratio($a; $b; f): [rounds($a; $b; f)[] | .y / .x] | median;

def extra($s): at($s; trip) - at("container"; trip);
{
	name: "bench-hops", commit: $commit, when: $when, host: ($host + {accelerator: $accel, rate: $rate}),
	metrics: ({
		container_rtt_us: at("container"; trip), macvtap_rtt_us: at("macvtap"; trip), tap_rtt_us: at("tap"; trip),
		# the paper's: how much slower the unikernel is
		macvtap_container_ratio: ratio("container"; "macvtap"; trip),
		tap_container_ratio: ratio("container"; "tap"; trip),
		# what the bare tap saves of it
		macvtap_tap_ratio: ratio("tap"; "macvtap"; trip),
		# the macvtap itself, there and back, and in proportion
		macvtap_hop_us: at("macvtap"; part("macvtap")), tap_hop_us: at("tap"; part("tap")),
		macvtap_hop_share: ([of("macvtap")[] | part("macvtap") / trip] | median),
		# what the unikernel costs more than the container, and which part of that is whose
		macvtap_extra_us: extra("macvtap"),
		macvtap_share_of_extra: (at("macvtap"; part("macvtap")) / extra("macvtap")),
		guest_share_of_extra: ((at("macvtap"; turn) - at("container"; turn)) / extra("macvtap")),
		wakeup_share_of_extra: ((at("macvtap"; part("wakeup")) - at("container"; part("wakeup"))) / extra("macvtap")),
		# a hop's cost against what it is blamed for
		guest_macvtap_ratio: ([of("macvtap")[] | turn / part("macvtap")] | median),
		wakeup_macvtap_ratio: ([of("macvtap")[] | part("wakeup") / part("macvtap")] | median),
		# what tracing itself adds, by what the load generator sees
		trace_cost_ratio: ([$runs[] | .traced_p50_us / .p50_us] | median)
	} + ([("container", "macvtap", "tap") as $s | of($s)[0].trace.groups[0].parts[].part as $p
		| {key: "\($s)_\($p)_us", value: at($s; part($p))}] | from_entries)
	| map_values(if . == null then . else round3 end)),
	checks: {
		# every request and its reply were followed, at most a few of a hundred in other ways
		packets_followed: ([$runs[] | .requests as $n
			| (way("request").packets >= $n * 0.9, way("reply").round_trip.count >= $n * 0.9)] | all),
		# the hops are the round trip, in the mean
		hops_add_up: ([$runs[] | ([.trace.groups[0].parts[].mean_ns] | add) / way("reply").round_trip.mean_ns
			| . > 0.7 and . < 1.3] | all),
		# the paper blames the macvtap for what a unikernel takes longer
		macvtap_is_less_than_half_of_it: (at("macvtap"; part("macvtap")) < extra("macvtap") / 2),
		few_lost: ([$runs[].trace.packets | .request, .reply | .lost <= .begun * 0.02] | all)
	},
	runs: $runs
}
