# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# TAP for tests written in bash. Sourced.
#   tap_begin                        at the start
#   tap NAME CMD...                  ok when CMD succeeds; its output is shown when it does not
#   tap_skip NAME WHY                leave one out, and say so
#   tap_skip_all WHY                 skip the whole program
#   tap_end                          print the plan; the exit status says whether all were ok
TAP_N=0 TAP_BAD=0 TAP_OUT=
exec {TAP_ERR}>&2

# A CMD that ends the whole program (lab_die) does not take its reason with it.
tap_last_words() {
	[ -z "$TAP_OUT" ] || sed "s/^/# /" "$TAP_OUT" >&"$TAP_ERR"
	rm -f "$TAP_OUT"
	TAP_OUT=
}
trap tap_last_words EXIT

tap_skip_all() {
	echo "1..0 # SKIP $1"
	exit 0
}

tap_skip() {
	TAP_N=$((TAP_N + 1))
	echo "ok $TAP_N - $1 # SKIP $2"
}

tap() {
	# Not in a subshell: what CMD sets and starts is the test's own. Hence the prefix: CMD sees our
	# variables.
	local tap_name=$1 tap_rc=0
	shift
	TAP_N=$((TAP_N + 1))
	TAP_OUT=$(mktemp)
	"$@" >"$TAP_OUT" 2>&1 </dev/null || tap_rc=$?
	if [ $tap_rc = 0 ]; then
		echo "ok $TAP_N - $tap_name"
	else
		TAP_BAD=$((TAP_BAD + 1))
		echo "not ok $TAP_N - $tap_name"
		tail -n 30 "$TAP_OUT" | sed 's/^/#   /'
	fi
	rm -f "$TAP_OUT"
	TAP_OUT=
}

tap_end() {
	echo "1..$TAP_N"
	[ "$TAP_BAD" = 0 ]
}

# So many seconds, for what happens at random moments; to wait for something there is wait_for.
pause() { read -rt "$1" <> <(:) || :; }

# same WHAT WANTED GOT
same() {
	[ "$2" = "$3" ] || {
		printf '%s: wanted %s, got %s\n' "$1" "$2" "$3"
		return 1
	}
}

# has TEXT PATTERN...: each extended regular expression matches somewhere in TEXT.
has() {
	local text=$1 p
	shift
	for p in "$@"; do
		grep -qE -- "$p" <<<"$text" || {
			printf 'no match for /%s/ in:\n%s\n' "$p" "$text"
			return 1
		}
	done
}

# refused STATUS PATTERN... -- CMD...: CMD exits with STATUS and its stderr matches each PATTERN.
refused() {
	local want=$1 rc=0 err patterns=()
	shift
	while [ "$1" != -- ]; do
		patterns+=("$1")
		shift
	done
	shift
	err=$("$@" 2>&1 >/dev/null) || rc=$?
	same "exit status of $*" "$want" "$rc" && has "$err" "${patterns[@]}" || {
		printf 'stderr: %s\n' "$err"
		return 1
	}
}
