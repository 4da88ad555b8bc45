/* SPDX-License-Identifier: Apache-2.0 */
/* The client of all variants: takes one measure of them in turn, round after round, against the
 * netserve (or, for udp_rr, the tap_echo) of each. A slice is short, so that whatever else the
 * machine does at the time meets all variants alike. Each even round goes through them in a new
 * order, the next one backwards: who comes first, or twice in a row, finds everything warm.
 *   netbench MEASURE FIRST-ROUND ROUNDS MICROSECONDS CPUS NAME,NETNS,ADDRESS...
 *     tcp_rr udp_rr    64 bytes there and back                       {"value": p50 µs, "p99", ...}
 *     tcp_rr_poll      tcp_rr by a client that waits in poll()       the same
 *     tcp_crr          connect, 64 bytes there and back, close       the same
 *     tcp_stream       one connection, as much as goes through       {"value": Gbit/s}
 *     udp_pps          the smallest datagrams, one sender            {"value": 1000 received/s}
 * prints a line of JSON per slice, in which CPUS only says on how many the ends are. A request that
 * is not answered within half a second counts as lost. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
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

#define VARIANTS_MAX 32
#define LOST_MS      500
#define WARM_UP      20 /* transactions of each slice */
#define LOST_MAX     20 /* then something is broken */
#define BATCH        32
#define ASK_TRIES    25

struct variant {
	const char *name;
	int ns;
	struct sockaddr_in to;
	int fd; /* of measures that keep one connection for all their slices */
	uint64_t sequence;
};

static struct {
	struct variant list[VARIANTS_MAX];
	unsigned n;
	uint64_t slice_ns;
} bench;

__attribute__((noreturn)) static void give_up(const struct variant *v, const char *what)
{
	err(1, "%s: %s", v->name, what);
}

static bool ready(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, LOST_MS) == 1;
}

static int dial(const struct variant *v, int type)
{
	static const struct timeval patience = {.tv_usec = LOST_MS * 1000};
	static const int on = 1;
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		give_up(v, "socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (type != SOCK_DGRAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (const void *)&v->to, sizeof(v->to)) < 0 &&
		(errno != EINPROGRESS || !ready(fd, POLLOUT))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int dial_now(const struct variant *v, int type)
{
	int fd = dial(v, type);

	if (fd < 0)
		give_up(v, "connect");
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

/* What comes late would pass for the next answer: a connection on which one is missing is over. */
static bool tcp_rr(struct variant *v)
{
	if (exchange(v->fd))
		return true;
	close(v->fd);
	v->fd = dial_now(v, SOCK_STREAM);
	return false;
}

static bool tcp_rr_poll(struct variant *v)
{
	static char data[REQUEST_SIZE];
	size_t got = 0;

	if (send(v->fd, data, sizeof(data), MSG_NOSIGNAL) != sizeof(data))
		give_up(v, "send");
	while (got < sizeof(data)) {
		ssize_t n = ready(v->fd, POLLIN) ? recv(v->fd, data, sizeof(data) - got, 0) : 0;

		if (n <= 0)
			give_up(v, "no answer");
		got += (size_t)n;
	}
	return true;
}

static bool tcp_crr(struct variant *v)
{
	_cleanup_(closep) int fd = dial(v, SOCK_STREAM);
	char end;

	return fd >= 0 && exchange(fd) && recv(fd, &end, 1, 0) == 0;
}

/* An answer that comes after its time must not pass for the next one's. */
static bool udp_rr(struct variant *v)
{
	uint64_t data[REQUEST_SIZE / sizeof(uint64_t)] = {++v->sequence};

	if (send(v->fd, data, sizeof(data), 0) != sizeof(data))
		return false;
	do {
		if (recv(v->fd, data, sizeof(data), 0) != sizeof(data))
			return false;
	} while (data[0] != v->sequence);
	return true;
}

static void latency(struct variant *v, bool (*once)(struct variant *))
{
	_cleanup_(weft_hist_freep) struct weft_hist *h = NULL;
	uint64_t end, before, now, lost = 0;

	if (weft_hist_new(4, 10 * 1000000000ULL, &h) < 0)
		errx(1, "histogram: out of memory");
	for (int i = 0; i < WARM_UP && lost <= LOST_MAX; i++)
		lost += !once(v);
	before = weft_now_ns();
	for (end = before + bench.slice_ns; before < end && lost <= LOST_MAX; before = now) {
		bool answered = once(v);

		now = weft_now_ns();
		if (answered)
			weft_hist_record(h, now - before);
		else
			lost++;
	}
	if (!weft_hist_count(h))
		errx(1, "%s: no request was answered", v->name);
	printf("\"value\": %.3f, \"p99\": %.3f, \"n\": %" PRIu64 ", \"lost\": %" PRIu64,
		(double)weft_hist_percentile(h, 50) / 1e3,
		(double)weft_hist_percentile(h, 99) / 1e3, weft_hist_count(h), lost);
}

static void tcp_rr_latency(struct variant *v)
{
	latency(v, tcp_rr);
}

static void tcp_rr_poll_latency(struct variant *v)
{
	latency(v, tcp_rr_poll);
}

static void udp_rr_latency(struct variant *v)
{
	latency(v, udp_rr);
}

static void tcp_crr_latency(struct variant *v)
{
	latency(v, tcp_crr);
}

/* --- throughput: what the receiver has seen counts --- */

static void tcp_stream(struct variant *v)
{
	static char data[128 * 1024];
	_cleanup_(closep) int fd = dial_now(v, SOCK_STREAM);
	struct timeval patience = {.tv_sec = 10}; /* for what is still under way */
	struct sink_report seen;
	uint64_t sent = 0, end;

	/* It is the receiver who leaves out what came before the stream was warm. */
	while (sent < STREAM_WARM_UP) {
		ssize_t n = send(fd, data, sizeof(data), MSG_NOSIGNAL);

		if (n < 0)
			give_up(v, "send");
		sent += (uint64_t)n;
	}
	for (end = weft_now_ns() + bench.slice_ns; weft_now_ns() < end;)
		if (send(fd, data, sizeof(data), MSG_NOSIGNAL) < 0)
			give_up(v, "send");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (shutdown(fd, SHUT_WR) < 0 ||
		recv(fd, &seen, sizeof(seen), MSG_WAITALL) != sizeof(seen) || !seen.ns)
		errx(1, "%s: the receiver's report did not come", v->name);
	printf("\"value\": %.3f, \"n\": %" PRIu64, (double)seen.count * 8 / (double)seen.ns,
		seen.count);
}

static uint64_t flood(const struct variant *v, int fd, const struct small_datagram *d)
{
	struct iovec part = {(void *)(uintptr_t)d, SMALL_SIZE};
	struct mmsghdr messages[BATCH] = {0};
	uint64_t end = weft_now_ns() + bench.slice_ns, sent = 0;

	for (int i = 0; i < BATCH; i++) {
		messages[i].msg_hdr.msg_iov = &part;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while (weft_now_ns() < end) {
		int n = sendmmsg(fd, messages, BATCH, 0);

		if (n < 0 && errno != ENOBUFS)
			give_up(v, "send");
		sent += n > 0 ? (uint64_t)n : 0;
	}
	return sent;
}

static void udp_pps(struct variant *v)
{
	_cleanup_(closep) int fd = dial_now(v, SOCK_DGRAM);
	struct small_datagram d = {.run = weft_now_ns(), .ask = 1};
	struct sink_report seen = {0};
	uint64_t sent;

	/* The first one opens the flow and resolves addresses. */
	if (send(fd, &d, SMALL_SIZE, 0) < 0 || recv(fd, &seen, sizeof(seen), 0) < 0)
		give_up(v, "the receiver does not answer");
	d.ask = 0;
	sent = flood(v, fd, &d);
	d.ask = 1;
	for (int i = 0; i < ASK_TRIES; i++) {
		if (send(fd, &d, SMALL_SIZE, 0) < 0 || recv(fd, &seen, sizeof(seen), 0) < 0 ||
			seen.run != d.run)
			continue;
		printf("\"value\": %.3f, \"n\": %" PRIu64 ", \"sent\": %" PRIu64,
			(double)seen.count * 1e6 / (double)seen.ns, seen.count, sent);
		return;
	}
	errx(1, "%s: the receiver's report did not come", v->name);
}

/* --- all of them in turn --- */

static const struct measure {
	const char *name;
	uint16_t port;
	int type;                        /* of the connection that is kept, 0: none */
	void (*slice)(struct variant *); /* prints the inside of a JSON object */
} measures[] = {
	{"tcp_rr", PORT_ECHO, SOCK_STREAM, tcp_rr_latency},
	{"tcp_rr_poll", PORT_ECHO, SOCK_STREAM | SOCK_NONBLOCK, tcp_rr_poll_latency},
	{"udp_rr", PORT_ECHO, SOCK_DGRAM, udp_rr_latency},
	{"tcp_crr", PORT_ONCE, 0, tcp_crr_latency},
	{"tcp_stream", PORT_SINK, 0, tcp_stream},
	{"udp_pps", PORT_SINK, 0, udp_pps},
};

static void enter(const struct variant *v)
{
	if (setns(v->ns, CLONE_NEWNET) < 0)
		give_up(v, "its network namespace");
}

static void take(const struct measure *m, struct variant *v, uint64_t round, uint64_t cpus)
{
	enter(v);
	printf("{\"round\": %" PRIu64 ", \"cpus\": %" PRIu64
	       ", \"variant\": \"%s\", \"measure\": \"%s\", ",
		round, cpus, v->name, m->name);
	m->slice(v);
	puts("}");
}

static void add(char *text, const struct measure *m)
{
	struct variant *v = &bench.list[bench.n];
	const char *ns, *addr;

	v->name = strsep(&text, ",");
	ns = strsep(&text, ",");
	addr = strsep(&text, ",");
	if (!addr || bench.n == VARIANTS_MAX)
		errx(2, "%s: not NAME,NETNS,ADDRESS, or one too many", v->name);
	v->to = socket_address(addr, m->port);
	v->ns = open(ns, O_RDONLY | O_CLOEXEC);
	if (v->ns < 0)
		give_up(v, ns);
	v->fd = -1;
	enter(v);
	if (m->type)
		v->fd = dial_now(v, m->type);
	bench.n++;
}

static const struct measure *measure_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(measures); i++)
		if (strcmp(name, measures[i].name) == 0)
			return &measures[i];
	errx(2, "%s: no such measure", name);
}

/* The same from run to run. */
static void shuffle(unsigned *order, unsigned n, uint64_t seed)
{
	for (unsigned i = n - 1; i > 0; i--) {
		unsigned j, t = order[i];

		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		j = (unsigned)(seed >> 33) % (i + 1);
		order[i] = order[j];
		order[j] = t;
	}
}

static void take_all(const struct measure *m, uint64_t round, uint64_t cpus)
{
	unsigned order[VARIANTS_MAX];

	for (unsigned i = 0; i < bench.n; i++)
		order[i] = i;
	shuffle(order, bench.n, round / 2);
	for (unsigned i = 0; i < bench.n; i++)
		take(m, &bench.list[order[round % 2 ? bench.n - 1 - i : i]], round, cpus);
}

int main(int argc, char **argv)
{
	uint64_t first, rounds, us, cpus;
	const struct measure *m;

	if (argc < 7 || weft_parse_u64(argv[2], 1, 1000000, &first) < 0 ||
		weft_parse_u64(argv[3], 1, 100000, &rounds) < 0 ||
		weft_parse_u64(argv[4], 1, 60000000, &us) < 0 ||
		weft_parse_u64(argv[5], 1, CPU_SETSIZE, &cpus) < 0)
		errx(2, "usage: netbench MEASURE FIRST-ROUND ROUNDS MICROSECONDS CPUS "
			"NAME,NETNS,ADDRESS...");
	pin(0);
	m = measure_by_name(argv[1]);
	bench.slice_ns = us * 1000;
	for (int i = 6; i < argc; i++)
		add(argv[i], m);
	for (uint64_t round = first; round < first + rounds; round++)
		take_all(m, round, cpus);
	return 0;
}
