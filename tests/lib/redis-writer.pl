#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Writes to a Redis server at a steady rate, by some connections that are made again when they
# break, and notes which writes were acknowledged.
#   redis-writer.pl ADDRESS PORT WRITES/S ACKED STOP     until the file STOP is there
#   redis-writer.pl ADDRESS PORT check ACKED             prints how many of them are not there
# Write N is SET k:N N; ACKED gets a line N for each +OK. At the end of writing a line of JSON says
# how many were sent, acknowledged, and not known to be either, and the longest pause in ms.
use strict;
use warnings;
use Errno qw(EINPROGRESS EAGAIN);
use IO::Handle;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes 'time';

my ($addr, $port, $rate, $acked, $stop) = @ARGV;
my $CONNECTIONS = 8;
my $PATIENCE = 3; # seconds for an answer

sub dial { IO::Socket::INET->new(PeerAddr => $addr, PeerPort => $port, Timeout => $PATIENCE) }

if ($rate eq 'check') {
	open my $in, '<', $acked or die "$acked: $!\n";
	my ($s, $lost, $n) = (dial() // die("$addr:$port: $!\n"), 0, 0);
	my @keys = <$in>;
	chomp @keys;
	while (my @some = splice @keys, 0, 200) { # at a time: a sandbox is slow to answer each alone
		print $s map { "GET k:$_\r\n" } @some;
		$s->flush;
		for my $k (@some) {
			my $head = <$s> // die "closed\n";
			my $value = $head =~ /^\$(?!-1)/ ? <$s> // die "closed\n" : '';
			$value =~ s/\r\n//;
			$lost++ if $value ne $k;
			$n++;
		}
	}
	print "{\"acknowledged\": $n, \"lost\": $lost}\n";
	exit 0;
}

open my $log, '>', $acked or die "$acked: $!\n";
$log->autoflush(1); # who waits for so many of them does not wait for a full buffer
my (@conn, $sent, $ok, $unknown, $longest, $last);
$sent = $ok = $unknown = $longest = 0;
my $begin = $last = time;
while (!-e $stop) {
	my $now = time;
	for my $c (0 .. $CONNECTIONS - 1) {
		next if $conn[$c] || $now < ($conn[$c + $CONNECTIONS] // 0);
		my $s = dial();
		$conn[$c] = {s => $s, want => ''} if $s;
		$conn[$c + $CONNECTIONS] = time + 0.02 unless $s;
	}
	for my $c (grep { $_ && $_->{s} && $_->{want} eq '' } @conn[0 .. $CONNECTIONS - 1]) {
		last if $sent >= ($now - $begin) * $rate;
		$c->{want} = ++$sent;
		$c->{since} = $now;
		$c->{got} = '';
		syswrite $c->{s}, "SET k:$sent $sent\r\n";
	}
	my $sel = IO::Select->new(map { $_->{s} } grep { $_ } @conn[0 .. $CONNECTIONS - 1]);
	my %ready = map { $_ => 1 } $sel->can_read(0.001);
	for my $i (0 .. $CONNECTIONS - 1) {
		my $c = $conn[$i] or next;
		my $dead = $c->{want} ne '' && time - $c->{since} > $PATIENCE;
		if ($ready{$c->{s}}) {
			my $n = sysread $c->{s}, $c->{got}, 4096, length($c->{got} // '');
			$dead ||= !$n;
			if (($c->{got} // '') =~ /\r\n$/ && $c->{want} ne '') {
				my $good = $c->{got} eq "+OK\r\n";
				if ($good) {
					print $log "$c->{want}\n";
					$ok++;
					my $gap = time - $last;
					$longest = $gap if $gap > $longest;
					$last = time;
				}
				$dead ||= !$good;
				$c->{want} = '' if $good;
			}
		}
		next unless $dead;
		$unknown++ if $c->{want} ne '';
		close $c->{s};
		$conn[$i] = undef;
	}
}
close $log;
printf "{\"sent\": %d, \"acknowledged\": %d, \"unknown\": %d, \"longest_pause_ms\": %.1f, \"seconds\": %.2f}\n",
	$sent, $ok, $unknown, $longest * 1000, time - $begin;
