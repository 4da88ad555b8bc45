#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From what the demo recorded to build/results/demo.json, a table, the verdict and a page with plots.
#   demo-report.sh DIR RESULTS     DIR: load.json samples.ndjson phases end swaps.json
# Exits with 1 when a request failed or a swap did not complete.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$1 results=$2

commit=$(git -C "$here" rev-parse --short HEAD 2>/dev/null || echo unknown)
host=$(jq -n --arg kernel "$(uname -r)" --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
	--argjson cpus "$(nproc)" --arg os "$(. /etc/os-release && echo "$PRETTY_NAME")" \
	--argjson memory_mb "$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)" \
	--slurpfile status "$dir/status.json" '{kernel: $kernel, cpu: $cpu, cpus: $cpus, os: $os,
		memory_mb: $memory_mb, runtimes: [$status[0].runtimes[] | select(.usable)
			| "\(.virtualization)/\(.arch): \(.version)\(if .detail != "" then ", " + .detail else "" end)"],
		data_plane: $status[0].dataplane.hook}')

jq -n --arg commit "$commit" --arg when "$(date -u +%Y-%m-%dT%H:%M:%SZ)" --argjson host "$host" \
	--slurpfile load "$dir/load.json" --slurpfile samples "$dir/samples.ndjson" \
	--slurpfile swaps "$dir/swaps.json" --slurpfile drops "$dir/drops.json" \
	--rawfile marks "$dir/phases" --argjson ended "$(cat "$dir/end")" \
	-f "$here/demo-report.jq" >"$results/demo.json"

# The page: the same data put into the template's place for it.
jq -c '.page' "$results/demo.json" | sed 's/</\\u003c/g' >"$dir/page.json"
awk -v data="$dir/page.json" '
	(i = index($0, "/*DATA*/null")) {
		printf "%s", substr($0, 1, i - 1)
		while ((getline line < data) > 0) printf "%s", line
		print substr($0, i + 12)
		next
	}
	{ print }' "$here/demo-report.html" >"$results/demo.html"

jq -r '
	def pad(n): tostring | (" " * ([n - length, 0] | max)) + .;
	(["phase", "seconds", "requests", "failed", "p50 µs", "p90 µs", "p99 µs", "CPU ctr", "CPU uk"]
		| (.[0] | . + " " * (8 - length)) + (.[1:] | map(pad(10)) | add)),
	(.page.phases[] | (.name | . + " " * (8 - length)) + ([
		((.end_ms - .start_ms) / 100 | round / 10), .requests, .failed,
		(.p50_us, .p90_us, .p99_us | if . then round else "-" end),
		(.cpu.container, .cpu.unikernel | . * 1000 | round / 10 | "\(.) %")] | map(pad(10)) | add)),
	"", .page.verdict' "$results/demo.json"
printf '%s\n%s\n' "$results/demo.json" "$results/demo.html" | sed "s|^$(dirname "$(dirname "$results")")/||"
jq -e '.checks | all' "$results/demo.json" >/dev/null
