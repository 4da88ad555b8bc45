#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# What is sent to a notification socket (sd_notify(3)), a line for each assignment.
use strict;
use warnings;
use Socket;

my $path = shift or die "usage: notify.pl SOCKET\n";
$| = 1;
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die "socket: $!\n";
bind($s, pack_sockaddr_un($path)) or die "$path: $!\n";
while (defined(recv($s, my $message, 4096, 0))) {
	print "$message\n";
}
