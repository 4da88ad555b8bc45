#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weft as it is installed: the program in its locales, with streams that fail, and its manual.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
weft=$B/weft
no_daemon=unix:/nonexistent/weftd.sock
unset WEFT_HOST NO_COLOR

n=0
check() { # NAME COMMAND...
	local name=$1 out
	shift
	n=$((n + 1))
	if out=$("$@" 2>&1); then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		printf '%s\n' "$out" | sed 's/^/# /'
	fi
}
status() { # WANTED COMMAND...
	local want=$1 got
	shift
	"$@"
	got=$?
	[ "$got" = "$want" ] || { echo "status $got, should be $want" && false; }
}

starts_fast() { # asks nobody, so it must be there at once
	timeout 5 "$weft" --version | grep -qx 'weft [0-9.]*'
}
bare_is_status() {
	local bare status
	bare=$(WEFT_HOST=$no_daemon "$weft" 2>&1)
	status=$("$weft" -H "$no_daemon" status 2>&1)
	echo "$bare"
	[ "$bare" = "$status" ] && [[ $bare == *"cannot reach weftd at /nonexistent/weftd.sock"* ]]
}
explains_nouns() { # by all of their verbs
	local noun n
	for noun in service instance peer swap image dp token; do
		n=$("$weft" --help | grep -c "^  $noun ")
		[ "$n" -gt 0 ] && [ "$("$weft" $noun --help | grep -c "^  $noun ")" = "$n" ] || { echo "$noun" && return 1; }
	done
	"$weft" swap list --help | grep -q '^usage: weft swap list '
}
speaks_ascii() {
	local out
	out=$(LC_ALL=C "$weft" -H "$no_daemon" doctor)
	[[ $out == 'x daemon '* ]] && ! LC_ALL=C grep '[^ -~]' <<<"$out"
}
speaks_utf8() {
	local out
	out=$(LC_ALL=C.UTF-8 "$weft" -H "$no_daemon" doctor)
	[[ $out == '✗ daemon '* ]]
}
full_disk() {
	status 1 "$weft" --help >/dev/full 2>"$tmp/err" && grep -q 'No space left on device' "$tmp/err"
}
words() { # the commands, as help shows them
	"$weft" --help | sed -n 's/^  \([a-z][a-z ]*[a-z]\)\( [A-Z[][^ ]*\)\?   *.*/\1/p'
}
manual_has_commands() {
	local missing=0 page
	page=$(mandoc -Tascii ctrl/man/weft.1 | col -b)
	while read -r command; do
		grep -q "^ *$command\b" <<<"$page" || { echo "weft.1 lacks $command" && missing=1; }
	done < <(words)
	[ "$(words | wc -l)" -gt 15 ] && [ $missing = 0 ]
}
flags() { grep -o -e '--[a-z][a-z-]*' | sort -u; }
manual_has_flags() {
	local page
	page=$(mandoc -Tascii "ctrl/man/$1" | col -b | flags)
	comm -23 - <(echo "$page") >"$tmp/missing"
	cat "$tmp/missing"
	[ ! -s "$tmp/missing" ]
}
weft_flags() {
	{
		"$weft" --help
		words | while read -r command; do
			# shellcheck disable=SC2086
			"$weft" $command --help </dev/null
		done
	} | flags | manual_has_flags weft.1
}
weftd_flags() { "$B/weftd" --help | flags | manual_has_flags weftd.8; }
# shellcheck disable=SC2317
completes() { # WANTED WORD...
	local want=$1
	shift
	(
		eval "$("$weft" completion)"
		_weft_names() { case $1 in service) echo shop.db shop.web ;; instance) echo shop.web.1 ;; peer) echo edge-2 ;; esac; }
		COMP_WORDS=(weft "$@") COMP_CWORD=$#
		_weft
		[ "${COMPREPLY[*]}" = "$want" ] || { echo "weft $*: ${COMPREPLY[*]}, should be $want" && false; }
	)
}
completion_clean() { "$weft" completion | shellcheck -s bash -; }

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
check 'prints its version' starts_fast
check 'is status when bare' bare_is_status
check 'explains a noun by its verbs' explains_nouns
check 'unreachable is 6' status 6 "$weft" -H "$no_daemon" swap list
check 'arguments of what is run in an instance may be empty' status 6 "$weft" -H "$no_daemon" instance exec a.1 -- echo ''
check 'an empty name names nothing' status 2 "$weft" -H "$no_daemon" instance exec '' -- echo
check 'usage is 2' status 2 "$weft" frobnicate
check 'writes ASCII in the C locale' speaks_ascii
check 'writes UTF-8 in a UTF-8 locale' speaks_utf8
check 'says that the result could not be written' full_disk
check 'completes commands' completes 'abort' swap ab
check 'completes the words of a command' completes 'list' dp lb ''
check 'completes names' completes 'shop.db shop.web' service show ''
check 'completes a name in part' completes 'shop.web' swap start shop.w
check 'completes values' completes 'container' swap start shop.web --to c
check 'completes names of either kind' completes 'shop.db shop.web shop.web.1' logs ''
check 'completes peers' completes 'edge-2' peer remove ''
check 'completes roles' completes 'operate' token new ci --role o
check 'completes flags of the command' completes '--strategy' swap start shop.web --str
check 'completes behind the value of a flag' completes 'list' -o json service l
if command -v shellcheck >/dev/null; then
	check 'the completion is clean' completion_clean
else
	n=$((n + 1))
	echo "ok $n - the completion is clean # SKIP shellcheck is not installed"
fi
if command -v mandoc >/dev/null; then
	check 'weft.1 is clean' mandoc -Tlint -Wwarning ctrl/man/weft.1
	check 'weftd.8 is clean' mandoc -Tlint -Wwarning ctrl/man/weftd.8
	check 'weftd.conf.5 is clean' mandoc -Tlint -Wwarning ctrl/man/weftd.conf.5
	check 'weft-descriptor.5 is clean' mandoc -Tlint -Wwarning ctrl/man/weft-descriptor.5
	check 'weft.1 has every command' manual_has_commands
	check 'weft.1 has every flag' weft_flags
	check 'weftd.8 has every flag' weftd_flags
else
	n=$((n + 1))
	echo "ok $n - the manual # SKIP mandoc is not installed"
fi
echo "1..$n"
