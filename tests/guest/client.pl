#!/usr/bin/env perl
# SPDX-License-Identifier: Apache-2.0
# Clients that curl cannot be: client.pl HOST:PORT WHAT [ARGUMENT...]
# Exit status 0, or 1 and why on stderr.
use strict;
use warnings;
use IO::Socket::IP;
use Errno;
use Socket qw(IPPROTO_TCP TCP_NODELAY);

my ($where, $what, @args) = @ARGV;
my $request = "GET / HTTP/1.1\r\nHost: guest\r\n\r\n";
local $SIG{ALRM} = sub { die "$what: no end after 30 s\n" };
local $SIG{PIPE} = 'IGNORE';
alarm 30;
$| = 1;

sub dial {
	my $s = IO::Socket::IP->new(PeerAddr => $where, Proto => 'tcp', Timeout => 10, @_)
		or die "$what: connect: $@\n";
	setsockopt $s, IPPROTO_TCP, TCP_NODELAY, 1;
	return $s;
}

sub put {
	my ($s, $data) = @_;
	while (length $data) {
		my $n = syswrite $s, $data;
		die "$what: write: $!\n" unless defined $n;
		substr $data, 0, $n, '';
	}
}

# One answer, whole; dies at the end of the stream.
my %rest;
sub answer {
	my ($s) = @_;
	my $b = delete $rest{$s} // '';
	my $end;
	while (1) {
		my $head = index $b, "\r\n\r\n";
		$end = $head + 4 + $1 if $head >= 0 && $b =~ /^content-length: (\d+)/mi;
		last if defined $end && length $b >= $end;
		my $r = sysread $s, $b, 65536, length $b;
		die "$what: read: $!\n" unless defined $r;
		die "$what: closed before the answer was whole\n" unless $r;
	}
	$rest{$s} = substr $b, $end;
	$b =~ m{^HTTP/1\.1 (\d+)} or die "$what: not an answer: $b\n";
	return $1;
}

# Read to the end; a reset is a failure.
sub until_end {
	my ($s) = @_;
	my $b = delete $rest{$s} // '';
	while (1) {
		my $r = sysread $s, $b, 65536, length $b;
		die "$what: read: $!\n" unless defined $r;
		return $b unless $r;
	}
}

sub expect {
	my ($got, $want) = @_;
	die "$what: got $got, want $want\n" unless $got eq $want;
}

my %do = (
	# All requests in one piece, all answers in order.
	pipeline => sub {
		my ($n) = @_;
		my $s = dial();
		put($s, $request x $n);
		expect(answer($s), 200) for 1 .. $n;
	},
	bytes => sub {
		my $s = dial();
		put($s, $_) for split //, $request;
		expect(answer($s), 200);
	},
	# Garbage, and more of it: one 400, then an orderly end.
	garbage => sub {
		my $s = dial();
		put($s, "\x16\x03\x01\x02\x00\x01" . join '', map { chr rand 256 } 1 .. 3000);
		my $all = until_end($s);
		$all =~ m{^HTTP/1\.1 400 .*\r\nConnection: close\r\n}s or die "$what: $all\n";
	},
	# Requests behind one that closes are not answered, and do not make a reset of the answer.
	close => sub {
		my $s = dial();
		(my $last = $request) =~ s/\r\n\r\n/\r\nConnection: close\r\n\r\n/;
		put($s, $request . $last . $request x 100);
		my @got = until_end($s) =~ m{^HTTP/1\.1 (\d+)}mg;
		expect("@got", '200 200');
	},
	# The client has no more to say, and still wants its answers.
	half_close => sub {
		my $s = dial();
		put($s, $request x 3);
		shutdown $s, 1;
		my @got = until_end($s) =~ m{^HTTP/1\.1 (\d+)}mg;
		expect("@got", '200 200 200');
	},
	# Nothing is read until everything is written: more than fits into the buffers in between.
	slow_reader => sub {
		my ($n) = @_;
		my $s = dial();
		my $pid = fork // die "fork: $!\n";
		if (!$pid) {
			put($s, $request x $n);
			exit 0;
		}
		select undef, undef, undef, 0.3;
		expect(answer($s), 200) for 1 .. $n;
		waitpid $pid, 0;
	},
	# N connections at once, each of them used twice.
	many => sub {
		my ($n) = @_;
		my @s = map { dial() } 1 .. $n;
		for (1 .. 2) {
			put($_, $request) for @s;
			expect(answer($_), 200) for @s;
		}
	},
	# N connections one after the other, each closed by the server.
	again => sub {
		my ($n) = @_;
		for (1 .. $n) {
			my $s = dial();
			put($s, "GET /healthz HTTP/1.0\r\n\r\n");
			until_end($s) =~ m{^HTTP/1\.1 200 .*ok\n\z}s or die "$what: no answer\n";
		}
	},
	# N connections from one port, each closed by the server and still in TIME_WAIT there when the next
	# one comes: were that to wait for the end of it, they would take longer than they may.
	same_port => sub {
		my ($n) = @_;
		my @from = (ReuseAddr => 1);
		for (1 .. $n) {
			# Ours is still in LAST_ACK for as long as the acknowledgement is under way.
			my $s = eval { dial(@from) };
			die $@ unless $s || $!{EADDRNOTAVAIL};
			redo unless $s;
			@from = (ReuseAddr => 1, LocalHost => $s->sockhost, LocalPort => $s->sockport);
			put($s, "GET /healthz HTTP/1.0\r\n\r\n");
			until_end($s) =~ m{^HTTP/1\.1 200 .*ok\n\z}s or die "$what: no answer\n";
		}
	},
	# A connection that waits: opened, used, idle for S seconds, used again.
	idle => sub {
		my ($seconds) = @_;
		my $s = dial();
		put($s, $request);
		expect(answer($s), 200);
		sleep $seconds; # being idle is what is tested
		put($s, $request);
		alarm 2;
		expect(answer($s), 200);
	},
	# Ends its request once the file has the word in it, and wants one answer and the end.
	late => sub {
		my ($file, $word) = @_;
		my $s = dial();
		put($s, substr $request, 0, -2);
		# What is behind it in the queue has been answered, so it has been read itself.
		my $behind = dial();
		put($behind, $request);
		expect(answer($behind), 200);
		print "begun\n";
		while (1) {
			open my $f, '<', $file or die "$file: $!\n";
			last if grep { /\Q$word\E/ } <$f>;
			select undef, undef, undef, 0.01;
		}
		put($s, "\r\n");
		my $all = until_end($s);
		die "$what: $all" unless $all =~ m{^HTTP/1\.1 200.*^Connection: close\r$}ms;
	},
	# A command to qemu's monitor, HOST:PORT being its socket.
	qmp => sub {
		require IO::Socket::UNIX;
		my $s = IO::Socket::UNIX->new($where) or die "$what: $where: $!\n";
		for my $command ('qmp_capabilities', @args) {
			put($s, "{\"execute\": \"$command\"}\n");
			while (1) {
				defined(my $line = <$s>) or die "$what: closed\n";
				die "$what: $line" if $line =~ /"error"/;
				last if $line =~ /"return"/;
			}
		}
	},
	echo => sub {
		my ($size) = @_;
		my $s = dial();
		my $data = join '', map { chr rand 256 } 1 .. 65536;
		$data x= 1 + $size / 65536;
		substr $data, $size, length($data), '';
		my $pid = fork // die "fork: $!\n";
		if (!$pid) {
			put($s, $data);
			shutdown $s, 1;
			exit 0;
		}
		my $back = until_end($s);
		waitpid $pid, 0;
		die "$what: ", length $back, " bytes came back, or others than sent\n" if $back ne $data;
	},
	udp => sub {
		my ($size) = @_;
		my $s = IO::Socket::IP->new(PeerAddr => $where, Proto => 'udp') or die "udp: $@\n";
		my $data = join '', map { chr rand 256 } 1 .. $size;
		defined $s->send($data) or die "udp: send: $!\n";
		my $back;
		alarm 5;
		defined $s->recv($back, 65536) or die "udp: receive: $!\n";
		die "$what: other bytes than sent\n" if $back ne $data;
	},
);
my $f = $do{ $what // '' } or die "usage: client.pl HOST:PORT WHAT [ARGUMENT...]\n";
$f->(@args);
