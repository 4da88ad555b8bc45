#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# A web server that goes wrong: weft's probes are answered by "ok", others
#   serve.pl MODE FILE [PORT]
# by MODE: good; reset (the connection is); mute (never answered); slow (30 ms later); refuse (it
# does not listen any more, from the third second after its first probe on); sick (from then on its
# probes get 500, and others what is good). What became of a request or a connection is appended to
# FILE, a word per line.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_LINGER);
use Time::HiRes 'time';

my ($mode, $file, $port) = @ARGV;
my $listener = IO::Socket::INET->new(LocalPort => $port || 80, Listen => 128, ReuseAddr => 1)
	or die "port: $!\n";
my $all = IO::Select->new($listener);
my (%got, @later, $closes);
open my $log, '>>', $file or die "$file: $!\n";
$log->autoflush(1);
$| = 1;
print "serving: $mode\n";

sub answer {
	my ($s, $body, $status) = @_;
	$status ||= '200 OK';
	syswrite $s, "HTTP/1.1 $status\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
}

sub hang_up {
	my ($s) = @_;
	$all->remove($s);
	delete $got{$s};
	close $s;
}

sub request {
	my ($s, $head) = @_;
	if ($head =~ /^User-Agent: weft\r?$/m) {
		$closes ||= time + 2;
		return answer($s, "sick\n", '500 Sick') if $mode eq 'sick' && time > $closes;
		return answer($s, "ok\n");
	}
	print $log "$mode\n";
	if ($mode eq 'reset') {
		setsockopt $s, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
		return hang_up($s);
	}
	return push @later, [time + 0.03, $s] if $mode eq 'slow';
	answer($s, "$mode\n") unless $mode eq 'mute';
}

while (1) {
	my $wait = @later ? $later[0][0] - time : 0.2;
	for my $s ($all->can_read($wait < 0 ? 0 : $wait)) {
		if ($listener && $s == $listener) {
			my $new = $listener->accept or next;
			$all->add($new);
			next;
		}
		my $n = sysread $s, $got{$s}, 65536, length($got{$s} // '');
		if (!$n) {
			hang_up($s);
			next;
		}
		while (defined $got{$s} && $got{$s} =~ s/\A(.*?)\r\n\r\n//s) {
			request($s, $1);
		}
	}
	answer((shift @later)->[1], "$mode\n") while @later && $later[0][0] <= time;
	if ($mode eq 'refuse' && $listener && $closes && time > $closes) {
		$all->remove($listener);
		close $listener;
		undef $listener;
	}
}
