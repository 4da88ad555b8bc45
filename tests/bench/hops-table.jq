# SPDX-License-Identifier: Apache-2.0
# build/results/bench-hops.json as text.
def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def pad($n): . + (" " * ([$n - length, 0] | max) // "");
def right($n): (" " * ([$n - length, 0] | max) // "") + .;
def us: if . == null then "-" else . / 10 | round | . / 100 | tostring
	| if contains(".") then (split(".") | .[0] + "." + (.[1] + "0")[:2]) else . + ".00" end end;

. as $doc
| ["container", "macvtap", "tap"] as $services
| def ways($s): [$doc.runs[] | select(.service == $s) | .trace.groups[0].ways];
# "request/veth-tx/host-rx" → {name, p50, p99}, of the ways that most packets took
def steps($s): [ways($s)[] | (map(select(.direction == "request"))[0], map(select(.direction == "reply"))[0])
	| .direction as $d | .hops[] | if .from == "read" then {key: "backend", name: "application, or qemu and guest", p50_ns, p99_ns}
		else {key: "\($d)/\(.from)/\(.to)", name, p50_ns, p99_ns} end]
	| group_by(.key) | map({key: .[0].key,
		value: {name: .[0].name, p50: (map(.p50_ns) | median), p99: (map(.p99_ns) | median)}}) | from_entries;
($services | map({key: ., value: steps(.)}) | from_entries) as $all
| [
	"request/veth-tx/host-rx", "request/host-rx/host-in", "request/host-in/veth-in", "request/host-in/redirect",
	"request/veth-in/queued", "request/veth-in/macvtap-in", "request/redirect/queued", "request/queued/running",
	"request/macvtap-in/running", "request/running/read", "backend", "reply/macvtap-tx/veth-tx", "reply/veth-tx/host-rx",
	"reply/host-rx/host-in", "reply/host-in/redirect", "reply/redirect/veth-rx", "reply/veth-rx/veth-in",
	"reply/veth-in/queued", "reply/queued/running", "reply/running/read"
] as $rows
| ([$all[] | keys[]] | unique | map(select(. as $k | $rows | index($k) | not))) as $others
| "", ("µs, medians of the rounds" | pad(43)) + ($services | map(right(20)) | add),
(" " * 43) + ($services | map("p50       p99" | right(20)) | add),
(($rows + $others)[] as $k | ([$all[][$k] | values.name] | .[0]) as $name | select($name)
	| ($k | split("/")[0] | pad(10)) + ($name | pad(33)) + ($services | map($all[.][$k] as $v
		| (($v.p50 | us) | right(10)) + (($v.p99 | us) | right(10))) | add)),
("round trip" | pad(43)) + ($services | map([ways(.)[] | map(select(.direction == "reply"))[0].round_trip]
	| ((map(.p50_ns) | median | us) | right(10)) + ((map(.p99_ns) | median | us) | right(10))) | add),
"",
(["macvtap_container_ratio", "a unikernel behind a macvtap takes as long as a container times"],
	["tap_container_ratio", "one behind a tap"],
	["macvtap_hop_us", "the macvtap itself, there and back, µs"],
	["macvtap_hop_share", "  of the round trip"],
	["macvtap_share_of_extra", "  of what the unikernel takes longer"],
	["wakeup_share_of_extra", "wakeups' share of what it takes longer"],
	["guest_share_of_extra", "qemu's and the guest's, less the application's"],
	["guest_macvtap_ratio", "qemu and guest, in macvtaps"],
	["trace_cost_ratio", "what tracing makes of a round trip, by the load generator"]
	| (.[1] | pad(65)) + ($doc.metrics[.[0]] | tostring)),
"\($doc.host.accelerator); \($doc.host.rate) requests/s;  load before \($doc.host.load_before), after \($doc.host.load_after);  "
	+ ($doc.checks | to_entries | map("\(.key) \(if .value then "✓" else "NO" end)") | join(", "))
