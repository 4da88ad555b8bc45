#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run the tests and close with "N passed, N failed[, N skipped]".
#   tests/run.sh [FILE...]      default: lint, unit, bpf, fuzz smoke runs, end to end
# Every test is a program that speaks TAP. A whole program is skipped by "1..0 # SKIP why".
# First come those that tests/beside.list names, WEFT_TEST_JOBS of them at a time (2); then the others,
# one after the other. A line appears when a program ends. Who failed beside others runs once more, alone:
# that run counts, and the summary names those that only company makes fail.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export B=${B:-build} PATH="/usr/sbin:/sbin:$PATH"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1} CMOCKA_MESSAGE_OUTPUT=TAP

if [ $# -gt 0 ]; then
	list=("$@")
else
	mapfile -t list < <(
		ls tests/lint.t 2>/dev/null
		for src in tests/unit/test_*.c tests/bpf/test_*.c tests/conformance/test_*.c; do echo "$B/${src%.c}"; done
		ls tests/unit/*.t tests/bpf/*.t tests/fuzz/*.t tests/e2e/*.t 2>/dev/null
	)
fi

jobs=${WEFT_TEST_JOBS:-2}
passed=0 failed=0 skipped=0
broken=() skips=() again=() touchy=()
company=
declare -A running=() since=()
mkdir -p "$B/results"

results() { echo "$B/results/$(echo "${1#"$B"/}" | tr / -).tap"; }

# What it prints goes to files of its own: nothing of two programs is mixed.
begin() {
	local out
	out=$(results "$1")
	timeout "${WEFT_TEST_TIMEOUT:-900}" "$1" >"$out" 2>"$out.err" </dev/null &
	running[$!]=$1 since[$!]=$SECONDS
}

# Wait until one ends, and say how it went.
end() {
	local pid rc t out plan ok not_ok skip why=
	wait -n -p pid "${!running[@]}"
	rc=$?
	t=${running[$pid]} out=$(results "${running[$pid]}")
	read -r plan ok not_ok skip <<<"$(awk '
		/^1\.\.[0-9]+/ { split($1, a, "[.][.]"); plan += a[2]; if (tolower($0) ~ /^1\.\.0 *# *skip/) whole = 1 }
		/^ok / { if (tolower($0) ~ /# *skip/) skip++; else ok++ }
		/^not ok / { if (tolower($0) ~ /# *skip/) skip++; else bad++ }
		END { if (whole) skip++; printf "%d %d %d %d\n", plan, ok, bad, skip }' "$out")"
	[ $((ok + not_ok + skip)) -gt 0 ] || why="no test ran"
	[ "$rc" = 0 ] || [ "$not_ok" -gt 0 ] || why="exit status $rc"
	[ -z "$why" ] && [ "$plan" -gt $((ok + not_ok + skip)) ] && why="only $((ok + not_ok)) of $plan ran"
	[ -z "$why" ] || not_ok=$((not_ok + 1))
	unset "running[$pid]"
	printf '%-44s %3d ok %3d failed %3d skipped %4ds %s\n' "${t#"$B"/}" "$ok" "$not_ok" "$skip" \
		$((SECONDS - since[$pid])) "$why"
	if [ "$not_ok" -gt 0 ]; then
		grep -A12 '^not ok' "$out" | head -60
		tail -n 40 "$out.err"
		if [ -n "$company" ]; then
			again+=("$t")
			return
		fi
		broken+=("$t")
	fi
	passed=$((passed + ok)) failed=$((failed + not_ok)) skipped=$((skipped + skip))
	if [ "$skip" -gt 0 ]; then
		skips+=("$(grep -ihE '# *SKIP' "$out" | head -5)")
	fi
}

# timeout hands the signal on; what they have made is gone when we are.
trap '[ ${#running[@]} = 0 ] || { kill "${!running[@]}"; wait; } 2>/dev/null' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The list's own order: the longest come first.
beside=() alone=()
mapfile -t named < <(sed 's/#.*//; s/[[:space:]]*$//; /^$/d' "${WEFT_TEST_BESIDE:-tests/beside.list}")
for n in "${named[@]}"; do
	for t in "${list[@]}"; do
		[ "${t#"$B"/}" != "$n" ] || beside+=("$t")
	done
done
for t in "${list[@]}"; do
	printf '%s\n' "${named[@]}" | grep -qxF -- "${t#"$B"/}" || alone+=("$t")
done
company=1
for t in "${beside[@]}"; do
	[ ${#running[@]} -lt "$jobs" ] || end
	begin "$t"
done
while [ ${#running[@]} -gt 0 ]; do end; done
company=
for t in "${alone[@]}"; do
	begin "$t"
	end
done
for t in "${again[@]}"; do
	begin "$t"
	end
	[[ " ${broken[*]} " == *" $t "* ]] || touchy+=("$t")
done
if [ ${#skips[@]} -gt 0 ]; then
	echo "skipped:"
	printf '  %s\n' "${skips[@]}"
fi
if [ ${#touchy[@]} -gt 0 ]; then
	echo "failed beside others, passed alone:"
	printf '  %s\n' "${touchy[@]}"
fi
if [ ${#broken[@]} -gt 0 ]; then
	echo "failed:"
	printf '  %s\n' "${broken[@]}"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
