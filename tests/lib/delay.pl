#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# A long cable: two tap devices, and what is sent into the one comes out of the other later.
#   delay.pl TAP TAP MILLISECONDS      until it is killed; says "ready" when both are there
use strict;
use warnings;
use Time::HiRes 'time';

my ($name_a, $name_b, $ms) = @ARGV;
my $TUNSETIFF = 0x400454ca;
my $TAP_NO_PI = 0x1002;

sub tap {
	my ($name) = @_;
	open my $fh, '+<', '/dev/net/tun' or die "/dev/net/tun: $!\n";
	ioctl $fh, $TUNSETIFF, pack('a16 s x22', $name, $TAP_NO_PI) or die "$name: $!\n";
	return $fh;
}

my ($a, $b) = (tap($name_a), tap($name_b));
my @queue; # of [when, where, what], the soonest first
$| = 1;
print "ready\n";
while (1) {
	my $rin = '';
	vec($rin, fileno($_), 1) = 1 for $a, $b;
	my $wait = @queue ? $queue[0][0] - time : undef;
	select(my $rout = $rin, undef, undef, defined $wait && $wait < 0 ? 0 : $wait);
	for ([$a, $b], [$b, $a]) {
		my ($from, $to) = @$_;
		next unless vec($rout, fileno($from), 1);
		push @queue, [time + $ms / 1000, $to, $_] if sysread $from, $_, 65536;
	}
	while (@queue && $queue[0][0] <= time) {
		my (undef, $to, $frame) = @{shift @queue};
		syswrite $to, $frame;
	}
}
