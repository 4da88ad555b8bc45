#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/run.sh: what is in the list runs side by side and the rest alone; totals and the output of
# each failure are whole, whatever runs beside it; every name in the list is a test's.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"; tap_last_words' EXIT
export WEFT_TEST_BESIDE=$dir/list WEFT_TEST_JOBS=2 DIR=$dir

program() { # NAME: what comes on stdin, as a test
	{
		echo '#!/bin/bash'
		cat
	} >"$dir/$1"
	chmod +x "$dir/$1"
}

# Each of the two waits for the other: one after the other, they would not end well.
for n in a b; do
	program "meet-$n" <<-'END'
		touch "$DIR/here-${0##*-}"
		for _ in {1..600}; do
			[ ! -e "$DIR/here-a" ] || [ ! -e "$DIR/here-b" ] || { echo "ok 1"; echo 1..1; exit 0; }
			read -rt 0.05 <> <(:)
		done
		echo "not ok 1 - nobody beside ${0##*/}"
		echo 1..1
		exit 1
	END
done
# Each of these sees whether another one is there.
for n in a b c; do
	program "alone-$n" <<-'END'
		mkdir "$DIR/taken" && echo "ok 1 - alone" || echo "not ok 1 - somebody is beside ${0##*/}"
		read -rt 0.2 <> <(:)
		rmdir "$DIR/taken"
		echo 1..1
	END
done
for n in a b; do
	program "bad-$n" <<-'END'
		me=${0##*/}
		echo "not ok 1 - $me is bad"
		for i in 1 2 3; do
			echo "# $me says $i"
			echo "$me: error $i" >&2
			read -rt 0.05 <> <(:)
		done
		echo "ok 2 - $me"
		echo "ok 3 - no such device # SKIP"
		echo 1..3
		exit 1
	END
done
program short <<<'echo "ok 1"; echo 1..3'
program dies <<<'echo "ok 1"; echo 1..1; exit 7'
program sleeps <<-'END'
	trap 'read -rt 0.5 <> <(:); touch "$DIR/tidied"; exit 143' TERM
	echo $BASHPID >"$DIR/pid"
	while :; do read -rt 0.1 <> <(:); done
END

# RC PATTERN... -- FILE...: run.sh exits with RC, and what it prints matches; in $out.
ran() {
	local want=$1 rc=0 patterns=()
	shift
	while [ "$1" != -- ]; do
		patterns+=("$1")
		shift
	done
	shift
	out=$(B=$dir/build tests/run.sh "${@/#/$dir/}" 2>&1) || rc=$?
	has "$out" "${patterns[@]}" && same 'exit status' "$want" "$rc"
}
listed() { printf '# some tests\n' && printf "$dir/%s # and why\n" "$@"; } >"$dir/list"

side_by_side() {
	listed meet-a meet-b
	ran 0 '^2 passed, 0 failed, 0 skipped$' -- meet-a meet-b
}
one_by_one() {
	listed nothing
	ran 0 '^3 passed, 0 failed, 0 skipped$' -- alone-a alone-b alone-c
}
not_mixed() {
	listed alone-c
	ran 0 '^3 passed, 0 failed, 0 skipped$' -- alone-a alone-b alone-c &&
		same 'the order' 'alone-c alone-a alone-b' "$(grep -oE 'alone-[abc]' <<<"$out" | paste -sd ' ')"
}
# What follows a program's line is what that program printed, and all of it.
failures_whole() {
	local n
	listed bad-a bad-b short
	ran 1 '^4 passed, 4 failed, 2 skipped$' "^$dir/short .*only 1 of 3 ran$" "^$dir/dies .*exit status 7$" \
		-- bad-a bad-b short dies || return 1
	for n in a b; do
		same "what bad-$n printed" "not ok 1 - bad-$n is bad
# bad-$n says 1
# bad-$n says 2
# bad-$n says 3
ok 2 - bad-$n
ok 3 - no such device # SKIP
bad-$n: error 1
bad-$n: error 2
bad-$n: error 3" "$(grep -m1 -A10 "^$dir/bad-$n .*1 ok   1 failed   1 skipped" <<<"$out" | sed 1d | grep -v '^1\.\.')" ||
			return 1
	done
	same 'those that failed' "$(printf "  $dir/%s\n" bad-a bad-b dies short)" \
		"$(sed -n '/^failed:/,/passed/p' <<<"$out" | grep '^ ' | sort)"
}
# It fails as long as it is not alone; what counts is that it passes then.
once_more() {
	listed meet-a meet-b shy
	program shy <<-'END'
		n=$(cat "$DIR/times" 2>/dev/null || echo 0)
		echo $((n + 1)) >"$DIR/times"
		[ "$n" -gt 0 ] && echo "ok 1 - better" || echo "not ok 1 - too many people"
		echo 1..1
	END
	ran 0 '^3 passed, 0 failed, 0 skipped$' '^not ok 1 - too many people$' -- meet-a meet-b shy &&
		same 'the end' "failed beside others, passed alone:
  $dir/shy" "$(tail -n 3 <<<"$out" | head -n 2)"
}
ended() {
	local pid rc=0
	listed sleeps
	B=$dir/build tests/run.sh "$dir/sleeps" &
	pid=$!
	in_time test -s "$dir/pid" && kill "$pid" || return 1
	wait "$pid" || rc=$?
	same 'exit status' 143 "$rc" && [ -e "$dir/tidied" ] && gone "$(cat "$dir/pid")"
}
gone() { ! kill -0 "$1" 2>/dev/null; }
in_time() {
	local deadline=$((SECONDS + 30))
	until "$@"; do
		[ $SECONDS -lt $deadline ] || return 1
		pause 0.05
	done
}
names_are_tests() {
	local n names
	names=$(sed 's/#.*//; s/[[:space:]]*$//; /^$/d' tests/beside.list)
	has "$names" . && same 'named twice' '' "$(sort <<<"$names" | uniq -d)" || return 1
	while read -r n; do
		[ -x "$n" ] || [ -e "$n.c" ] || { echo "no such test: $n" && return 1; }
	done <<<"$names"
}

tap 'programs of the list run side by side' side_by_side
tap 'others run one by one' one_by_one
tap 'others begin when those of the list are through' not_mixed
tap 'totals, and the whole of each failure' failures_whole
tap 'who fails beside others runs once more, alone' once_more
tap 'who ends it ends what it began, once that has tidied up' ended
tap 'every name in the list is a test' names_are_tests
tap_end
