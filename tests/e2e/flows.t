#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A flow table of some 200,000 entries is shown page by page, by service and by instance; no answer
# is large, and weftd does not grow with the table.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh
. tests/lib/e2e.sh

other_vip=10.30.0.3
flows() { lab_weft dp flows list "$@"; }
total() { flows --limit 1 -o json "$@" | jq .total; }
peak_kib() { awk '/^VmHWM/ { print $2 }' "/proc/$LAB_WEFTD_PID/status"; }

# A datagram to each of some ports of the service from so many: each is a flow, with its answers' one.
fill() {
	# shellcheck disable=SC2016 # Perl's
	lab_in perl -MSocket -e 'my ($to, $from, $n, @ports) = @ARGV;
		for my $sport ($from .. $from + $n - 1) {
			socket(my $s, AF_INET, SOCK_DGRAM, 0) or die "socket: $!";
			bind($s, sockaddr_in($sport, INADDR_ANY)) or next;
			send($s, "x", 0, sockaddr_in($_, inet_aton($to))) for @ports;
		}' "$@"
}
filled() {
	fill "$vip" 2000 55000 7001 7002
	fill "$other_vip" 2000 5000 7003
	local n
	n=$(total)
	echo "$n entries"
	[ "$n" -ge 150000 ]
}

# Every entry is in one page: what the pages have is what there is.
pages() { # LIMIT [FLAGS]
	local after=0 items=0 n=0 size most=0 limit=$1
	shift
	while [ "$after" != null ]; do
		flows --limit "$limit" --after "$after" -o json "$@" >"$LAB_DIR/page" || return 1
		size=$(wc -c <"$LAB_DIR/page")
		[ "$size" -le "$most" ] || most=$size
		read -r n after < <(jq -r '"\(.items | length) \(.next)"' "$LAB_DIR/page")
		[ "$n" -le "$limit" ] || return 1
		[ "$after" = null ] || [ "$n" = "$limit" ] || return 1
		items=$((items + n)) count=$((count + 1))
	done
	n=$(jq .total "$LAB_DIR/page")
	echo "$count pages of at most $most bytes have $items of $n entries"
	# Probes come and go meanwhile.
	[ "$items" -ge $((n - n / 50 - 20)) ] && [ "$items" -le $((n + n / 50 + 20)) ] && [ "$most" -lt 2000000 ]
}
all_pages() {
	local count=0 before after
	flows --limit 10000 >/dev/null
	before=$(peak_kib)
	pages 10000 || return 1
	after=$(peak_kib)
	echo "peak of weftd: $before KiB after a page, $after KiB after $count"
	[ $count -ge 10 ] && [ $((after - before)) -lt 16384 ]
}

by_name() {
	local all one two other count=0
	# Those that the pages took their time over may have gone.
	fill "$vip" 2000 55000 7001 7002
	fill "$other_vip" 2000 5000 7003
	all=$(total --service shop.web) one=$(total --instance shop.web.1) two=$(total --instance shop.web.2)
	other=$(total --service shop.other)
	echo "shop.web $all: $one and $two; shop.other: $other"
	[ "$one" -gt 50000 ] && [ "$two" -gt 50000 ] && [ $((all - one - two)) -lt 2000 ] &&
		[ $((one + two - all)) -lt 2000 ] && [ "$other" -gt 2000 ] && [ "$other" -lt 15000 ] || return 1
	flows --service shop.other --limit 10000 -o json | jq -e '[.items[].service] | unique == ["shop.other"]' || return 1
	flows --instance shop.web.2 --limit 10000 -o json | jq -e '[.items[].instance] | unique == ["shop.web.2"]' || return 1
	same 'of another service and this instance' 0 "$(total --service shop.other --instance shop.web.2)" || return 1
	pages 1000 --service shop.other
}

table() {
	local out
	out=$(flows --limit 7 2>"$LAB_DIR/err")
	same lines 8 "$(wc -l <<<"$out")" && has "$(cat "$LAB_DIR/err")" '^7 of [0-9]+ entries; more: --after [0-9]+$' &&
		same 'names' 1000 "$(flows -o name 2>/dev/null | wc -l)"
}

bad() {
	local n
	for n in 0 10001 -1 x 99999999999999999999; do
		refused 2 "--limit $n: not a number from 1 to 10000" -- flows --limit "$n" || return 1
	done
	refused 2 '--after x: not a place' -- flows --after x || return 1
	refused 3 'instance nobody: no such instance' 'hint: weft instance list' -- flows --instance nobody || return 1
	refused 3 'peer nobody: no such peer' 'hint: weft peer list' -- flows --peer nobody || return 1
	refused 2 'weft dp lb list does not take --limit' -- lab_weft dp lb list --limit 5 || return 1
	has "$(curl -s --unix-socket "$LAB_SOCKET" 'http://weft/v1/dp/flows?limit=0')" 'limit: 1 to 10000' || return 1
	has "$(curl -s --unix-socket "$LAB_SOCKET" 'http://weft/v1/dp/flows?limit=10001')" 'is not a number from 0 to 10000' || return 1
	# Behind the end there is nothing.
	flows --after 9223372036854775807 -o json | jq -e '.items == [] and .next == null and .total > 0'
}

[ "$(id -u)" = 0 ] || tap_skip_all 'this needs root'
for c in ip nsenter jq nginx curl perl; do
	command -v "$c" >/dev/null || tap_skip_all "$c is not installed"
done
lab_open e2e-flows
LAB_CONTAINERD=$LAB_DIR/no-containerd.sock
nginx_conf
lab_weftd
descriptor shop.web 2 ".applications[0].microservices[0].addresses.rr_ip = \"$vip\""
descriptor shop.other 1 ".applications[0].microservices[0].addresses.rr_ip = \"$other_vip\""

tap 'a service' lab_weft apply -f "$LAB_DIR/shop.web.json" --wait --timeout 60
tap 'and another' lab_weft apply -f "$LAB_DIR/shop.other.json" --wait --timeout 60
tap 'the table fills' filled
tap 'page by page, all of it' all_pages
tap 'by service and by instance' by_name
tap 'as a table' table
tap 'what cannot be asked for' bad
OLD_DIR=$LAB_DIR
tap 'the lab closes clean' lab_close
LAB_DIR=
tap 'nothing is left behind' nothing_left "$OLD_DIR"
tap_end
