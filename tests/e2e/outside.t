#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What instances send to who is outside of the overlay is the host's to route and to masquerade: with
# the rules that weftd(8) names, by TCP, UDP and ICMP, IPv4 and IPv6, over a narrow link, while the
# daemon is away, and beside a published port on an uplink. Without them nothing gets out, and doctor
# says so.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/lib/tap.sh
. scripts/lab.sh
. tests/lib/native.sh
. tests/lib/e2e.sh

host=198.51.100.1 host6=2001:db8:1::1
far=198.51.100.2 far6=2001:db8:1::2
out() { nsenter --net="/run/netns/$LAB_NS-o" "$@"; }
inside() { nsenter --net="$LAB_DIR/state/netns/app.client.1" "$@"; }

# Somebody outside, who has no way back to any instance: it says who called it.
somebody() {
	ip netns add "$LAB_NS-o"
	lab_in ip link add up0 type veth peer name eth0 netns "$LAB_NS-o"
	lab_in ip addr add $host/24 dev up0 && lab_in ip addr add $host6/64 dev up0 nodad && lab_in ip link set up0 up
	out ip link set lo up && out ip addr add $far/24 dev eth0 && out ip addr add $far6/64 dev eth0 nodad &&
		out ip link set eth0 up || return 1
	mkdir "$LAB_DIR/o"
	cat >"$LAB_DIR/o.conf" <<-'EOF'
		daemon off; master_process off; pid nginx.pid; error_log stderr;
		events { worker_connections 64; }
		http {
			access_log off;
			client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
			client_max_body_size 0;
			server {
				listen 80; listen [::]:80 ipv6only=on;
				location / { return 200 "$remote_addr\n"; }
				# All of a body is read before it is answered.
				location /put { proxy_pass http://127.0.0.1:81; }
			}
			server { listen 127.0.0.1:81; location / { return 200 "$content_length\n"; } }
		}
	EOF
	setsid nsenter --net="/run/netns/$LAB_NS-o" nginx -p "$LAB_DIR/o" -e stderr -c "$LAB_DIR/o.conf" \
		>"$LAB_DIR/o.log" 2>&1 </dev/null &
	setsid nsenter --net="/run/netns/$LAB_NS-o" perl -e "$udp_server" >>"$LAB_DIR/o.log" 2>&1 </dev/null &
	wait_for 10 out curl -sf http://127.0.0.1/
}
# shellcheck disable=SC2016
udp_server='use Socket;
socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!;
bind($s, sockaddr_in(9, INADDR_ANY)) or die $!;
while (my $from = recv($s, my $b, 9000, 0)) {
	my ($port, $ip) = sockaddr_in($from);
	send($s, inet_ntoa($ip) . " " . length($b), 0, $from);
}'
# shellcheck disable=SC2016
udp_call='use Socket;
my ($to, $len) = @ARGV;
socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!;
for (1 .. 20) {
	send($s, "x" x $len, 0, sockaddr_in(9, inet_aton($to)));
	my $in = "";
	vec($in, fileno($s), 1) = 1;
	next unless select($in, undef, undef, 1);
	recv($s, my $b, 100, 0);
	print "$b\n";
	exit 0;
}
exit 1'

nothing_gets_out() {
	has "$(lab_weft doctor)" 'outside +instances reach the overlay alone: net\.ipv4\.ip_forward' 'weftd\(8\)' || return 1
	! inside curl -s --max-time 2 "http://$far/" && ! inside ping -c 1 -W 1 $far
}

# As weftd(8) has it, in THE OUTSIDE.
rules() {
	lab_in sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	lab_in nft -f - <<-EOF
		table inet instances {
			chain postrouting {
				type nat hook postrouting priority srcnat;
				ip saddr 10.18.0.0/26 oifname != "weft0" masquerade
				ip6 saddr fc00::/120 oifname != "weft0" masquerade
			}
		}
	EOF
	has "$(lab_weft doctor)" 'outside +the host forwards what instances send elsewhere'
}

calls() {
	same 'who calls' $host "$(inside curl -s --max-time 10 "http://$far/")" &&
		same 'who calls by IPv6' $host6 "$(inside curl -g -s --max-time 10 "http://[$far6]/")"
}
datagrams() {
	same 'a datagram' "$host 100" "$(inside perl -e "$udp_call" $far 100)" &&
		same 'one in fragments' "$host 5000" "$(inside perl -e "$udp_call" $far 5000)"
}
echoes() {
	has "$(inside ping -c 2 -i 0.2 -W 5 $far)" ' 0% packet loss' &&
		has "$(inside ping -6 -c 2 -i 0.2 -W 5 $far6)" ' 0% packet loss' &&
		has "$(inside ping -c 1 -W 5 -t 1 $far)" "From (10\.18\.0\.[0-9]+|$host).* Time to live exceeded"
}

# The host's link is narrower than the overlay: the instance is told.
narrow() {
	local a
	lab_in ip link set up0 mtu 1300 || return 1
	head -c 1000000 /dev/zero >"$LAB_DIR/body"
	for a in "$far" "[$far6]"; do
		same "a million bytes to $a" 1000000 \
			"$(inside curl -g -s --max-time 20 -T "$LAB_DIR/body" "http://$a/put")" || return 1
	done
	has "$(inside ip route get $far)" 'mtu 1300' && lab_in ip link set up0 mtu 1500
}

without_daemon() {
	lab_weftd_kill
	calls && datagrams && echoes && lab_weftd "$@"
}

published() {
	lab_weftd_kill
	lab_weftd --uplink=up0 || return 1
	descriptor shop.web 1 '.applications[0].microservices[0].port = "8080:80/tcp"'
	lab_weft apply -f "$LAB_DIR/shop.web.json" --wait --timeout 30 &&
		has "$(out curl -s --max-time 10 "http://$host:8080/")" '^10\.18\.0\.' &&
		calls && datagrams && echoes && has "$(out curl -s --max-time 10 "http://$host:8080/")" '^10\.18\.0\.'
}

if ! why=$(lab_check test 2>&1); then tap_skip_all "$(head -n 1 <<<"$why")"; fi
command -v nft >/dev/null || tap_skip_all 'nft is not installed'
lab_open e2e-outside
trap 'ip netns del "$LAB_NS-o" 2>/dev/null; lab_close' EXIT
lab_containerd
nginx_conf
tap 'somebody outside' somebody
lab_weftd
descriptor app.client 1
tap 'an instance' lab_weft apply -f "$LAB_DIR/app.client.json" --wait --timeout 30
tap 'a host that does not forward: nothing gets out, and doctor says so' nothing_gets_out
tap 'forwarding, and rules for nft' rules
tap 'connections out' calls
tap 'datagrams out' datagrams
tap 'echoes, and a router that says where it is' echoes
tap 'a narrow link' narrow
tap 'the same while the daemon is away' without_daemon
tap 'beside a published port' published
tap 'the lab closes clean' lab_close
ip netns del "$LAB_NS-o"
tap_end
