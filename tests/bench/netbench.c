/* SPDX-License-Identifier: Apache-2.0 */
/* The client of every variant: one measurement against a netserve (or, for udp_rr, a tap_echo),
 * printed as one line of JSON.
 *   netbench MEASURE ADDRESS SECONDS CPU
 *     tcp_rr udp_rr    64 bytes there and back                       {"value": p50 µs, "p99", ...}
 *     tcp_crr          connect, 64 bytes there and back, close       the same
 *     tcp_stream       one connection, as much as goes through       {"value": Gbit/s}
 *     udp_pps          the smallest datagrams, one sender            {"value": 1000 received/s,
 * ...} A request that is not answered within half a second counts as lost. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/hist.h"
#include "ctrl/base/util.h"
#include "tests/bench/bench.h"

#define WARM_UP   100 /* transactions */
#define LOST_MAX  20  /* then something is broken */
#define BATCH     32
#define ASK_TRIES 25

struct run {
	struct sockaddr_in to;
	uint64_t ns;
	int fd;
	uint64_t sequence;
};

static int dial(const struct run *r, int type)
{
	static const struct timeval patience = {.tv_usec = 500000};
	static const int on = 1;
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		err(1, "socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (const void *)&r->to, sizeof(r->to)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int dial_now(const struct run *r, int type)
{
	int fd = dial(r, type);

	if (fd < 0)
		err(1, "connect");
	return fd;
}

/* --- transactions: true when answered --- */

static bool exchange(int fd)
{
	static char data[REQUEST_SIZE];
	size_t got = 0;

	if (send(fd, data, sizeof(data), MSG_NOSIGNAL) != sizeof(data))
		return false;
	while (got < sizeof(data)) {
		ssize_t n = recv(fd, data, sizeof(data) - got, 0);

		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return true;
}

static bool tcp_rr(struct run *r)
{
	return exchange(r->fd);
}

static bool tcp_crr(struct run *r)
{
	_cleanup_(closep) int fd = dial(r, SOCK_STREAM);
	char end;

	return fd >= 0 && exchange(fd) && recv(fd, &end, 1, 0) == 0;
}

/* An answer that comes after its time must not pass for the next one's. */
static bool udp_rr(struct run *r)
{
	uint64_t data[REQUEST_SIZE / sizeof(uint64_t)] = {++r->sequence};

	if (send(r->fd, data, sizeof(data), 0) != sizeof(data))
		return false;
	do {
		if (recv(r->fd, data, sizeof(data), 0) != sizeof(data))
			return false;
	} while (data[0] != r->sequence);
	return true;
}

static void report_latency(const struct weft_hist *h, uint64_t lost)
{
	if (!weft_hist_count(h))
		errx(1, "no request was answered");
	printf("{\"value\": %.3f, \"p99\": %.3f, \"n\": %" PRIu64 ", \"lost\": %" PRIu64 "}\n",
		(double)weft_hist_percentile(h, 50) / 1e3,
		(double)weft_hist_percentile(h, 99) / 1e3, weft_hist_count(h), lost);
}

static void latency(struct run *r, bool (*once)(struct run *))
{
	_cleanup_(weft_hist_freep) struct weft_hist *h = NULL;
	uint64_t end, before, now, lost = 0;

	if (weft_hist_new(4, 10 * 1000000000ULL, &h) < 0)
		errx(1, "histogram: out of memory");
	for (int i = 0; i < WARM_UP && lost <= LOST_MAX; i++)
		lost += !once(r);
	before = weft_now_ns();
	for (end = before + r->ns; before < end && lost <= LOST_MAX; before = now) {
		bool answered = once(r);

		now = weft_now_ns();
		if (answered)
			weft_hist_record(h, now - before);
		else
			lost++;
	}
	report_latency(h, lost);
}

/* --- throughput: what the receiver has seen counts --- */

static void tcp_stream(struct run *r)
{
	static char data[128 * 1024];
	_cleanup_(closep) int fd = dial_now(r, SOCK_STREAM);
	uint64_t end = weft_now_ns() + r->ns;
	struct timeval patience = {.tv_sec = 10}; /* for what is still under way */
	struct sink_report seen;

	while (weft_now_ns() < end)
		if (send(fd, data, sizeof(data), MSG_NOSIGNAL) < 0)
			err(1, "send");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (shutdown(fd, SHUT_WR) < 0 ||
		recv(fd, &seen, sizeof(seen), MSG_WAITALL) != sizeof(seen) || !seen.ns)
		errx(1, "the receiver's report did not come");
	printf("{\"value\": %.3f, \"n\": %" PRIu64 "}\n", (double)seen.count * 8 / (double)seen.ns,
		seen.count);
}

static uint64_t flood(int fd, const struct small_datagram *d, uint64_t ns)
{
	struct iovec part = {(void *)(uintptr_t)d, SMALL_SIZE};
	struct mmsghdr messages[BATCH] = {0};
	uint64_t end = weft_now_ns() + ns, sent = 0;

	for (int i = 0; i < BATCH; i++) {
		messages[i].msg_hdr.msg_iov = &part;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while (weft_now_ns() < end) {
		int n = sendmmsg(fd, messages, BATCH, 0);

		if (n < 0 && errno != ENOBUFS)
			err(1, "send");
		sent += n > 0 ? (uint64_t)n : 0;
	}
	return sent;
}

static void udp_pps(struct run *r)
{
	_cleanup_(closep) int fd = dial_now(r, SOCK_DGRAM);
	struct small_datagram d = {.run = weft_now_ns()};
	struct sink_report seen = {0};
	uint64_t sent;

	/* The first one opens the flow and resolves addresses. */
	d.ask = 1;
	if (send(fd, &d, SMALL_SIZE, 0) < 0 || recv(fd, &seen, sizeof(seen), 0) < 0)
		err(1, "the receiver does not answer");
	d.ask = 0;
	sent = flood(fd, &d, r->ns);
	d.ask = 1;
	for (int i = 0; i < ASK_TRIES; i++) {
		if (send(fd, &d, SMALL_SIZE, 0) < 0 || recv(fd, &seen, sizeof(seen), 0) < 0 ||
			seen.run != d.run)
			continue;
		printf("{\"value\": %.3f, \"n\": %" PRIu64 ", \"sent\": %" PRIu64 "}\n",
			(double)seen.count * 1e6 / (double)seen.ns, seen.count, sent);
		return;
	}
	errx(1, "the receiver's report did not come");
}

static void tcp_rr_latency(struct run *r)
{
	r->fd = dial_now(r, SOCK_STREAM);
	latency(r, tcp_rr);
}

static void udp_rr_latency(struct run *r)
{
	r->fd = dial_now(r, SOCK_DGRAM);
	latency(r, udp_rr);
}

static void tcp_crr_latency(struct run *r)
{
	latency(r, tcp_crr);
}

static const struct {
	const char *name;
	uint16_t port;
	void (*measure)(struct run *);
} measures[] = {
	{"tcp_rr", PORT_ECHO, tcp_rr_latency},
	{"udp_rr", PORT_ECHO, udp_rr_latency},
	{"tcp_crr", PORT_ONCE, tcp_crr_latency},
	{"tcp_stream", PORT_SINK, tcp_stream},
	{"udp_pps", PORT_SINK, udp_pps},
};

int main(int argc, char **argv)
{
	struct run r = {.fd = -1};
	double seconds;
	uint64_t cpu;
	char *end;

	if (argc != 5 || weft_parse_u64(argv[4], 0, CPU_SETSIZE - 1, &cpu) < 0)
		errx(2, "usage: netbench MEASURE ADDRESS SECONDS CPU");
	seconds = strtod(argv[3], &end);
	if (*end || !(seconds > 0 && seconds <= 60))
		errx(2, "%s: not a number of seconds up to 60", argv[3]);
	pin(cpu);
	for (size_t i = 0; i < ARRAY_SIZE(measures); i++) {
		if (strcmp(argv[1], measures[i].name) != 0)
			continue;
		r.to = socket_address(argv[2], measures[i].port);
		r.ns = (uint64_t)(seconds * 1e9);
		measures[i].measure(&r);
		return 0;
	}
	errx(2, "%s: no such measure", argv[1]);
}
