/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "tests/lib/dp_lab.h"

#define PATIENCE_S 20

static int ns_at_home = -1;

void ns_open(void)
{
	ns_at_home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(ns_at_home >= 0);
}

void ns_close(void)
{
	ns_home();
	close(ns_at_home);
	ns_at_home = -1;
}

void ns_enter(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

void ns_home(void)
{
	ns_enter(ns_at_home);
}

int ns_sh(int ns, const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;
	int r;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	ns_enter(ns);
	r = lab_sh("%s", cmd);
	ns_home();
	return r;
}

/* --- sockets --- */

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static union address address(const char *text, uint16_t port)
{
	union address a = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};

	if (inet_pton(AF_INET, text, &a.v4.sin_addr) == 1)
		return a;
	a = (union address){.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};
	if (inet_pton(AF_INET6, text, &a.v6.sin6_addr) != 1)
		fail_msg("%s is no address", text);
	return a;
}

static void be_patient(int fd)
{
	static const struct timeval patience = {.tv_sec = PATIENCE_S};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

int ns_listen(int ns, int type, const char *addr, uint16_t port)
{
	union address a = address(addr, port);
	int fd, on = 1;

	ns_enter(ns);
	fd = socket(a.any.sa_family, type | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a.any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	assert_int_equal(bind(fd, &a.any, sizeof(a)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 128), 0);
	ns_home();
	be_patient(fd);
	return fd;
}

int ns_dial(int ns, const char *to, uint16_t port, int type)
{
	union address peer = address(to, port);
	int fd;

	ns_enter(ns);
	fd = socket(peer.any.sa_family, type | SOCK_CLOEXEC, 0);
	ns_home();
	be_patient(fd);
	if (connect(fd, &peer.any, sizeof(peer)) < 0)
		fail_msg("connect to %s: %s", to, strerror(errno));
	return fd;
}

int ns_accept(int listener, char peer[64])
{
	struct pollfd p = {listener, POLLIN, 0};
	union address from;
	socklen_t size = sizeof(from);
	int fd;

	assert_int_equal(poll(&p, 1, PATIENCE_S * 1000), 1);
	fd = accept4(listener, &from.any, &size, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	be_patient(fd);
	if (peer && from.any.sa_family == AF_INET)
		inet_ntop(AF_INET, &from.v4.sin_addr, peer, 64);
	else if (peer)
		inet_ntop(AF_INET6, &from.v6.sin6_addr, peer, 64);
	return fd;
}

void sock_talk(int a, int b)
{
	char word[8] = {0};

	assert_int_equal(send(a, "hello", 5, MSG_NOSIGNAL), 5);
	assert_int_equal(recv(b, word, sizeof(word), 0), 5);
	assert_string_equal(word, "hello");
	assert_int_equal(send(b, "again", 5, MSG_NOSIGNAL), 5);
	assert_int_equal(recv(a, word, sizeof(word), 0), 5);
	assert_string_equal(word, "again");
}

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 2654435761U >> 13);
}

static size_t push(int fd, size_t sent, size_t size)
{
	static uint8_t out[1 << 17];
	size_t n = size - sent < sizeof(out) ? size - sent : sizeof(out);
	ssize_t r;

	for (size_t i = 0; i < n; i++)
		out[i] = pattern(sent + i);
	r = send(fd, out, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	assert_true(r > 0 || errno == EAGAIN);
	return r > 0 ? (size_t)r : 0;
}

static size_t pull(int fd, size_t got)
{
	static uint8_t in[1 << 17];
	ssize_t r = recv(fd, in, sizeof(in), MSG_DONTWAIT);

	assert_true(r > 0 || (r < 0 && errno == EAGAIN));
	for (ssize_t i = 0; i < r; i++)
		if (in[i] != pattern(got + (size_t)i))
			fail_msg("wrong byte at %zu", got + (size_t)i);
	return r > 0 ? (size_t)r : 0;
}

void sock_bulk(int a, int b, size_t size)
{
	size_t sent = 0, got = 0;

	while (got < size) {
		struct pollfd fds[2] = {{a, sent < size ? POLLOUT : 0, 0}, {b, POLLIN, 0}};

		if (poll(fds, 2, PATIENCE_S * 1000) <= 0)
			fail_msg("%zu sent, %zu received, and no more", sent, got);
		if (fds[0].revents)
			sent += push(a, sent, size);
		if (fds[1].revents)
			got += pull(b, got);
	}
}

void sock_is_reset(int fd)
{
	uint64_t deadline = weft_now_ns() + PATIENCE_S * 1000000000ULL;
	char byte;

	while (weft_now_ns() < deadline) {
		struct pollfd p = {fd, POLLIN, 0};

		send(fd, "x", 1, MSG_NOSIGNAL);
		if (poll(&p, 1, 50) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) < 0) {
			assert_int_equal(errno, ECONNRESET);
			return;
		}
	}
	fail_msg("not reset");
}

int sock_error(int fd)
{
	struct pollfd p = {fd, 0, 0};
	socklen_t size = sizeof(int);
	int error = 0;

	if (poll(&p, 1, PATIENCE_S * 1000) == 1)
		assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
	return error;
}

static bool is_v6(int fd)
{
	socklen_t size = sizeof(int);
	int domain = 0;

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size), 0);
	return domain == AF_INET6;
}

int sock_path_mtu(int fd)
{
	bool v6 = is_v6(fd);
	socklen_t size = sizeof(int);
	int mtu = 0, r;

	r = getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &size);
	assert_int_equal(r, 0);
	return mtu;
}

void sock_option(int fd, int option4, int option6, int value)
{
	bool v6 = is_v6(fd);
	int r;

	r = setsockopt(
		fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? option6 : option4, &value, sizeof(value));
	assert_int_equal(r, 0);
}

/* --- devices and stacks --- */

void ns_checksum_offload(int ns, const char *device, bool on)
{
	struct ethtool_value value = {.cmd = ETHTOOL_STXCSUM, .data = on};
	struct ifreq ifr = {.ifr_data = (void *)&value};
	int fd;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", device);
	ns_enter(ns);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ns_home();
	assert_int_equal(ioctl(fd, SIOCETHTOOL, &ifr), 0);
	close(fd);
}

/* A line of names, a line of their values; and so on. */
static unsigned long long errors_of(FILE *f)
{
	char line[1024], names[1024] = "";
	unsigned long long sum = 0;

	while (fgets(line, sizeof(line), f)) {
		char *n, *v, *sn = NULL, *sv = NULL;

		if (!names[0] || strncmp(line, names, 4) != 0) {
			snprintf(names, sizeof(names), "%s", line);
			continue;
		}
		n = strtok_r(names, " ", &sn);
		v = strtok_r(line, " ", &sv);
		for (; n && v; n = strtok_r(NULL, " \n", &sn), v = strtok_r(NULL, " \n", &sv))
			if (strcmp(n, "InCsumErrors") == 0)
				sum += strtoull(v, NULL, 10);
		names[0] = '\0';
	}
	return sum;
}

/* A name and its value to a line. */
static unsigned long long errors_of6(FILE *f)
{
	unsigned long long sum = 0, n;
	char line[256], name[64];

	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %llu", name, &n) == 2 && strstr(name, "InCsumErrors"))
			sum += n;
	return sum;
}

unsigned long long ns_csum_errors(int ns)
{
	_cleanup_(fclosep) FILE *f = NULL, *f6 = NULL;

	ns_enter(ns);
	f = fopen("/proc/thread-self/net/snmp", "re");
	f6 = fopen("/proc/thread-self/net/snmp6", "re");
	ns_home();
	assert_true(f && f6);
	return errors_of(f) + errors_of6(f6);
}
