#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Calls that come before their service: they wait for it, and are answered; those for nobody are
# refused; a flood of those disturbs no other service.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh
. tests/lib/e2e.sh

vip=10.30.0.9
waiting() { lab_weft status -o json | jq ".dataplane.waiting.$1"; }
waits() { [ "$(waiting "$1")" -ge "$2" ]; }
inside() { nsenter --net="$LAB_DIR/state/netns/app.client.1" "$@"; }

# One datagram, sent before anybody knows the address: whoever did not keep it could not deliver it.
# shellcheck disable=SC2016 # perl's own
echo_server='use IO::Socket::INET;
my $u = IO::Socket::INET->new(Proto => "udp", LocalPort => 53) or die $!;
my $t = IO::Socket::INET->new(Listen => 5, LocalPort => 80) or die $!;
my $d;
$u->send("got $d") while defined $u->recv($d, 2000);'
# shellcheck disable=SC2016
ask='use IO::Socket::INET;
alarm 8;
my $s = IO::Socket::INET->new(Proto => "udp", PeerAddr => $ARGV[0], PeerPort => 53) or die $!;
my $d;
$s->send("hello");
defined $s->recv($d, 2000) or die $!;
print "$d\n";'

apply_echo() {
	descriptor udp.echo 1 ".applications[0].microservices[0] |= (.addresses.rr_ip = \"$vip\"
		| .readiness = {type: \"tcp\", port: 80} | .cmd = [\"perl\", \"-e\", \$ENV.SERVER])"
	lab_weft apply -f "$LAB_DIR/udp.echo.json"
}

# PREFIX...: one datagram, the service, the answer.
before_the_service() {
	local sent pid
	sent=$(waiting sent)
	"$@" perl -e "$ask" "$vip" >"$LAB_DIR/answer" 2>&1 &
	pid=$!
	wait_for 5 waits now 1 || return 1
	SERVER=$echo_server apply_echo || return 1
	wait "$pid" || {
		cat "$LAB_DIR/answer"
		lab_weft status -o json | jq .dataplane.waiting
		return 1
	}
	same 'answer' 'got hello' "$(cat "$LAB_DIR/answer")" && waits sent $((sent + 1))
}
gone() { lab_weft service delete udp.echo --wait --timeout 20; }

for_nobody() {
	local expired
	expired=$(waiting expired)
	inside ping -c 1 -W 5 10.30.77.77 >/dev/null && return 1
	waits expired $((expired + 1)) || return 1
	has "$(inside ping -c 1 -W 5 10.30.77.77)" 'Destination Host Unreachable'
}

# Datagrams to ten thousand addresses of nobody, and meanwhile another service.
# shellcheck disable=SC2016
flood='use Socket;
socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!;
for my $i (0 .. 20000) {
	my $to = sprintf("10.30.%d.%d", 100 + $i / 250 % 40, $i % 250);
	send($s, "x", 0, sockaddr_in(9, inet_aton($to)));
}'
flooded() {
	local answers=0 i pid taken
	taken=$(waiting taken)
	inside perl -e "$flood" &
	pid=$!
	for ((i = 0; i < 20; i++)); do
		has "$(inside curl -s --max-time 5 "http://$web/")" '^10' && answers=$((answers + 1))
	done
	wait "$pid"
	lab_weft status -o json | jq -c .dataplane.waiting
	same 'answers' 20 "$answers" && [ "$(waiting now)" -le 32 ] && waits taken $((taken + 1)) &&
		! waits taken $((taken + 2000)) && wait_for 20 none_waits
}
none_waits() { [ "$(waiting now)" = 0 ]; }

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
lab_open e2e-waiting
lab_containerd
lab_weftd
nginx_conf
descriptor app.client 1
tap 'a service of another' lab_weft apply -f "$LAB_DIR/app.client.json" --wait --timeout 30
web=$(lab_weft service show app.client -o json | jq -r .vip)
tap 'an instance calls before the service is there' before_the_service inside
tap 'the service goes' gone
vip=10.30.0.10
tap 'the host calls before the service is there' before_the_service lab_in
tap 'for nobody: in vain, and then refused at once' for_nobody
tap 'a flood of such calls' flooded
tap 'the lab closes clean' lab_close
tap_end
