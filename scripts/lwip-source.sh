#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fetch the sources of lwIP, the guest's TCP/IP, from Debian's source package into DIR.
#   scripts/lwip-source.sh DIR
# Done at once when DIR has them. apt works on lists, cache and sources of its own below a temporary
# directory, with the machine's mirror, keyring and proxy settings; apt checks the signatures. The
# machine's configuration of apt is read and never changed; root is not needed.
set -euo pipefail

fail() {
	printf 'lwip-source: %s\n' "$1" >&2
	[ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
	exit 1
}

[ $# = 1 ] || fail 'usage: scripts/lwip-source.sh DIR'
dir=$1
stamp=$dir/.version
[ ! -s "$stamp" ] || exit 0
[ ! -e "$dir" ] || [ -z "$(ls -A "$dir")" ] || [ -e "$dir/src/include/lwip/init.h" ] ||
	fail "$dir is there and holds something else" 'name another directory, or remove it'
for tool in apt-get dpkg-source; do
	command -v "$tool" >/dev/null || fail "$tool is missing" \
		'scripts/deps.sh installs it (package dpkg-dev); elsewhere than on Debian unpack the sources of lwIP 2.1 there by hand and write the version into .version'
done

# The machine's own entries for Debian itself, as deb-src.
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
suite_ok="^($codename|stable)(-updates|-security|/updates)?/?\$"
sources_deb822() {
	awk -v want="$suite_ok" '
		function flush(  n, i, s, keep) {
			n = split(suites, s, /[ \t]+/)
			for (i = 1; i <= n; i++)
				if (s[i] ~ want) keep = keep " " s[i]
			if (keep != "" && uris != "" && types ~ /deb/ && enabled !~ /^no/)
				printf "Types: deb-src\nURIs: %s\nSuites:%s\nComponents: main\n%s\n", uris, keep, signed
			types = uris = suites = signed = enabled = field = ""
		}
		FNR == 1 || /^[ \t]*$/ { flush() }
		/^#/ { next }
		/^[^ \t]/ { field = tolower($1) }
		field == "signed-by:" { signed = signed $0 "\n"; next }
		{ value = $0; sub(/^[^ \t][^:]*:[ \t]*/, "", value); gsub(/^[ \t]+|[ \t]+$/, "", value) }
		field == "types:" { types = types " " value }
		field == "uris:" { uris = (uris == "" ? "" : uris " ") value }
		field == "suites:" { suites = (suites == "" ? "" : suites " ") value }
		field == "enabled:" { enabled = tolower(value) }
		END { flush() }' "$@"
}
sources_list() {
	awk -v want="$suite_ok" '$1 == "deb" {
		line = $0
		options = match(line, /\[[^]]*\]/) ? substr(line, RSTART, RLENGTH) : ""
		sub(/\[[^]]*\]/, "", line)
		n = split(line, w, /[ \t]+/)
		if (n >= 4 && w[3] ~ want)
			print "deb-src", options, w[2], w[3], "main"
	}' "$@"
}

mkdir -p "$(dirname "$dir")"
tmp=$(mktemp -d "$(realpath "$(dirname "$dir")")/.lwip.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp" # apt fetches as its own user when started by root
mkdir -p "$tmp/etc/sources.list.d" "$tmp/state/lists/partial" "$tmp/cache/archives/partial" "$tmp/src"
shopt -s nullglob
deb822=(/etc/apt/sources.list.d/*.sources)
lists=(/etc/apt/sources.list.d/*.list)
[ ! -e /etc/apt/sources.list ] || lists+=(/etc/apt/sources.list)
[ ${#deb822[@]} = 0 ] || sources_deb822 "${deb822[@]}" >"$tmp/etc/sources.list.d/src.sources"
[ ${#lists[@]} = 0 ] || sources_list "${lists[@]}" >"$tmp/etc/sources.list"
touch "$tmp/etc/sources.list" "$tmp/state/status"
grep -qs deb-src "$tmp/etc/sources.list" "$tmp/etc/sources.list.d/src.sources" ||
	fail "no entry for $codename in /etc/apt/sources.list or sources.list.d" \
		'the sources come from where the packages come from: add the Debian mirror there'

apt=(apt-get -qq -o Dir::Etc::SourceList="$tmp/etc/sources.list"
	-o Dir::Etc::SourceParts="$tmp/etc/sources.list.d" -o Dir::State="$tmp/state"
	-o Dir::State::status="$tmp/state/status" -o Dir::Cache="$tmp/cache"
	-o Acquire::Languages=none -o Acquire::Retries=1 -o Acquire::http::Timeout=20
	-o Acquire::https::Timeout=20)
# One mirror of several may be away: the download below decides.
"${apt[@]}" update >"$tmp/log" 2>&1 || true
(cd "$tmp/src" && "${apt[@]}" source lwip) >>"$tmp/log" 2>&1 || {
	tail -n 5 "$tmp/log" >&2
	fail 'could not fetch the source package of lwIP' \
		'is this machine online, and does "apt-get update" work? Once fetched, it is not fetched again'
}
tree=("$tmp"/src/lwip-*/)
[ -e "${tree[0]:-}/src/include/lwip/init.h" ] ||
	fail 'the source package of lwIP does not hold what is expected' 'src/include/lwip/init.h is missing'
basename "$tmp"/src/lwip_*.dsc .dsc | sed 's/^lwip_//' >"${tree[0]}.version"
rm -rf "$dir"
mv "${tree[0]}" "$dir"
echo "lwip-source: lwIP $(cat "$stamp") in $dir" >&2
