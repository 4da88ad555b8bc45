#!/usr/bin/env perl
# SPDX-License-Identifier: Apache-2.0
# A qemu that runs no guest: it speaks QMP on descriptor 3 as the real one, until it does what the
# file "mode" beside it says. Tests put it into PATH under qemu's name.
use strict;
use warnings;
use FindBin;
use IO::Handle;

my @words = @ARGV;
if (grep { $_ eq '--version' } @words) {
	print "QEMU emulator version 7.2.99 (fake)\n";
	exit 0;
}
if (grep { /^loader,/ } @words) { # nor a processor of another kind
	warn "qemu: a first word\nqemu: no such processor today\n";
	exit 1;
}
exit 1 if grep { /isa-debug-exit/ } @words; # it has no KVM
open(my $f, '<', "$FindBin::Bin/mode") or die "mode: $!\n";
my $mode = <$f>;
chomp $mode;
close $f;
$SIG{PIPE} = 'IGNORE';
$SIG{TERM} = sub { exit 0 };
warn "qemu-system-x86_64: fake: $mode\n";
exit 3 if $mode eq 'die-at-once';

sub hang { sleep 1 while 1 }
open(my $listener, '+<&=', 3) or die "descriptor 3: $!\n";

my $status = 'prelaunch';
my %answers = (
	'qmp_capabilities' => sub { '{}' },
	'query-status' => sub { qq({"running": false, "singlestep": false, "status": "$status"}) },
	'cont' => sub { $status = 'running'; '{}' },
	'stop' => sub { $status = 'paused'; '{}' },
);

# "later-STATUS": once nobody listens any more. "then-STATUS": once it has been seen to run, it does not any more; the events are those of qemu.
my %before = (
	'guest-panicked' => 'GUEST_PANICKED", "data": {"action": "pause"}',
	'watchdog' => 'WATCHDOG", "data": {"action": "pause"}',
	'io-error' => 'BLOCK_IO_ERROR", "data": {"device": "d", "operation": "write", "action": "stop"}',
);

sub event {
	my ($c, $event) = @_;
	print $c qq({"event": $event, "timestamp": {"seconds": 1, "microseconds": 2}}), "\r\n";
}

while (accept(my $c, $listener)) {
	$c->autoflush(1);
	hang() if $mode eq 'silent';
	print $c "\xff\xfe{{{ this is no monitor\r\n" if $mode eq 'garbage';
	hang() if $mode eq 'garbage';
	if ($mode eq 'endless') {
		1 while print $c 'x' x 65536;
		next;
	}
	print $c '{"QMP": {"version": {"qemu": {"micro": 99, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}', "\r\n";
	exit 3 if $mode eq 'die-after-greeting';
	while (my $line = <$c>) {
		my ($command) = $line =~ /"execute"\s*:\s*"([^"]+)"/ or next;
		my ($id) = $line =~ /"id"\s*:\s*("[^"]*"|\d+)/;
		my $tail = defined $id ? qq(, "id": $id) : '';
		select(undef, undef, undef, 0.3) if $mode eq 'slow';
		exit 3 if $mode eq "die-at-$command";
		hang() if $mode eq "hang-at-$command";
		close($c), last if $mode eq "close-at-$command";
		if ($mode eq "refuse-$command" || !$answers{$command} && $command ne 'quit') {
			print $c qq({"error": {"class": "GenericError", "desc": "fake: not $command"}$tail}), "\r\n";
			next;
		}
		$status = 'no such status' if $mode eq 'odd-status';
		exit 0 if $command eq 'quit';
		print $c qq({"return": ) . $answers{$command}->() . "$tail}\r\n";
		event($c, '"RESUME"') if $command eq 'cont';
		next unless $command eq 'query-status' && $status eq 'running' && $mode =~ /^then-(.*)/;
		$status = $1;
		event($c, qq("$before{$status})) if $before{$status};
		event($c, '"STOP"');
	}
	$status = $1 if $status eq 'running' && $mode =~ /^later-(.*)/;
}
