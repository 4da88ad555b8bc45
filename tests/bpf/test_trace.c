/* SPDX-License-Identifier: Apache-2.0 */
/* Hops of real packets: a client asks servers on a veth, on a macvtap and on a tap, one at a time,
 * and measures what the probes measure too. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/dp_trace.h"
#include "ctrl/dataplane/link.h"
#include "tests/lib/dp_lab.h"

#define PORT    7001 /* where tap_echo and our own servers answer */
#define ROUNDS  200
#define MTU     1500 /* of tap_echo */
#define GATEWAY "10.18.0.9"

/* Instances, and each server's service. */
enum { VETH = 1, MACVTAP, TAP, SERVERS, CLIENT = SERVERS, HOST = 9 };

static struct {
	struct weft_dp *dp;
	char dir[64], echo[128];
	int host_ns, ns[CLIENT + 1];
	pid_t servers[8];
	unsigned n_servers;
	char path[CLIENT + 1][96];
} lab;

static const struct weft_dp_trace_instance spoken[] = {
	{VETH, "container veth", lab.path[VETH]},
	{MACVTAP, "unikernel macvtap", lab.path[MACVTAP]},
	{TAP, "unikernel tap", NULL},
	{CLIENT, NULL, lab.path[CLIENT]},
};

/* --- the lab --- */

static void enter(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

static void home(void)
{
	enter(lab.host_ns);
}

static struct sockaddr_in address(const char *dotted, uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = inet_addr(dotted),
		.sin_port = htons(port),
	};
}

static void set_instance(const struct weft_dp_instance *inst)
{
	struct weft_err err = {0};

	if (weft_dp_instance_set(lab.dp, inst, &err) < 0)
		fail_msg("%s", err.msg);
}

/* Service n is at 10.30.0.n, and instance n its one backend. */
static void add_service(uint32_t n)
{
	struct weft_dp_service s = {.id = n, .vip[WEFT_DP_RR].s_addr = htonl(0x0a1e0000 + n)};
	const struct weft_dp_weight w = {n, 1};
	struct weft_err err = {0};

	if (weft_dp_service_set(lab.dp, &s, &err) < 0 ||
		weft_dp_service_weights(lab.dp, n, WEFT_DP_RR, &w, 1, &err) < 0)
		fail_msg("%s", err.msg);
}

static void add_veth(uint32_t n, uint32_t service)
{
	struct weft_dp_instance inst = lab_instance(n, service);
	struct weft_err err = {0};
	char name[16];
	struct weft_link_veth veth = {
		.host_name = name,
		.netns = lab.path[n],
		.peer_name = "eth0",
		.addr = inst.ns_addr,
		.prefix_len = 26,
		.gateway.s_addr = inet_addr(GATEWAY),
		.mtu = MTU,
	};

	snprintf(name, sizeof(name), "v%u", n);
	memcpy(veth.mac, inst.mac, sizeof(veth.mac));
	if (n == MACVTAP) {
		veth.mac[4] = 1;
		veth.addr.s_addr = veth.gateway.s_addr = 0;
	}
	if (weft_netns_add(lab.path[n], &err) < 0 ||
		weft_link_veth_add(&veth, &inst.ifindex, &err) < 0)
		fail_msg("%s", err.msg);
	lab.ns[n] = open(lab.path[n], O_RDONLY | O_CLOEXEC);
	set_instance(&inst);
}

static void add_host(void)
{
	struct weft_dp_instance inst = lab_instance(HOST, 0);
	struct weft_err err = {0};
	struct weft_link_host host = {
		.name = "weft0",
		.addr = inst.ns_addr,
		.subnet.s_addr = inet_addr("10.18.0.0"),
		.subnet_len = 26,
		.service.s_addr = inet_addr("10.30.0.0"),
		.service_len = 16,
		.mtu = MTU,
	};

	inst.device = WEFT_DP_DEV_HOST;
	if (weft_link_host_add(&host, &inst.ifindex, inst.mac, &err) < 0)
		fail_msg("%s", err.msg);
	set_instance(&inst);
}

/* --- servers: processes of their own, as guests and containers are --- */

static void echo_datagrams(int fd)
{
	struct sockaddr_in from;
	char data[2048];

	for (;;) {
		socklen_t size = sizeof(from);
		ssize_t n = recvfrom(fd, data, sizeof(data), 0, (void *)&from, &size);

		if (n >= 0)
			sendto(fd, data, (size_t)n, 0, (void *)&from, size);
	}
}

static void echo_streams(int listener)
{
	char data[2048];

	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		ssize_t n;

		while ((n = recv(fd, data, sizeof(data), 0)) > 0)
			if (send(fd, data, (size_t)n, MSG_NOSIGNAL) != n)
				break;
		close(fd);
	}
}

static void serve(int type, void (*echo)(int fd))
{
	struct sockaddr_in any = address("0.0.0.0", PORT);
	pid_t pid;
	int fd;

	enter(lab.ns[VETH]);
	fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	home();
	assert_int_equal(bind(fd, (void *)&any, sizeof(any)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 8), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		echo(fd);
	}
	lab.servers[lab.n_servers++] = pid;
	close(fd);
}

static void guest(const char *const argv[])
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execv(argv[0], (char *const *)argv);
		_exit(1);
	}
	lab.servers[lab.n_servers++] = pid;
}

static bool is_up(uint32_t ifindex, bool macvtap)
{
	struct weft_link_way way = {0};

	return weft_link_way(ifindex, &way, NULL) == 0 && (!macvtap || way.macvtap);
}

static void add_guests(void)
{
	const char *macvtap[] = {lab.echo, "macvtap", lab.path[MACVTAP], "eth0", "macvtap0",
		"02:00:00:00:00:02", "10.18.0.2", "0", NULL};
	const char *tap[] = {lab.echo, "tap", "v3", "02:00:00:00:00:03", "10.18.0.3", "0", NULL};
	struct weft_dp_instance inst;
	uint64_t deadline = weft_now_ns() + 10000000000ULL;

	guest(macvtap);
	guest(tap);
	while (!is_up(if_nametoindex("v2"), true) || !if_nametoindex("v3")) {
		assert_true(weft_now_ns() < deadline);
		poll(NULL, 0, 5);
	}
	inst = lab_instance(TAP, TAP);
	inst.device = WEFT_DP_DEV_DIRECT;
	set_instance(&inst);
}

static int setup(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .mtu = MTU};
	struct weft_err err = {0};

	(void)state;
	lab.host_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	snprintf(lab.dir, sizeof(lab.dir), "/tmp/weft-test-trace-XXXXXX");
	if (!mkdtemp(lab.dir))
		return -1;
	for (unsigned n = 0; n <= CLIENT; n++)
		snprintf(lab.path[n], sizeof(lab.path[n]), "%s/ns%u", lab.dir, n);
	if (weft_dp_open(&config, &lab.dp, &err) < 0)
		fail_msg("%s", err.msg);
	add_host();
	add_veth(VETH, VETH);
	add_veth(MACVTAP, MACVTAP);
	add_veth(CLIENT, 0);
	add_guests();
	serve(SOCK_DGRAM, echo_datagrams);
	serve(SOCK_STREAM, echo_streams);
	for (uint32_t n = VETH; n < SERVERS; n++)
		add_service(n);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	home();
	for (unsigned i = 0; i < lab.n_servers; i++) {
		kill(lab.servers[i], SIGKILL);
		waitpid(lab.servers[i], NULL, 0);
	}
	for (unsigned n = VETH; n <= CLIENT; n++)
		if (lab.ns[n] > 0) {
			weft_netns_del(lab.path[n]);
			close(lab.ns[n]);
		}
	rmdir(lab.dir);
	close(lab.host_ns);
	weft_dp_free(lab.dp);
	return weft_dp_destroy(LAB_PINS, NULL);
}

/* --- a client that measures for itself --- */

static int dial(int ns, uint32_t service, int type)
{
	struct timeval patience = {.tv_sec = 10};
	struct sockaddr_in to = address("0.0.0.0", PORT);
	int fd, on = 1;

	to.sin_addr.s_addr = htonl(0x0a1e0000 + service);
	enter(ns);
	fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	home();
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (void *)&to, sizeof(to)) < 0)
		fail_msg("connect: %s", strerror(errno));
	return fd;
}

/* One request after the other; the sum of the time that each took. */
static uint64_t ask(int fd, unsigned times)
{
	uint64_t sum = 0, before;
	char data[64] = {0}, got[64];

	for (unsigned i = 0; i < times; i++) {
		memcpy(data, &i, sizeof(i));
		before = weft_now_ns();
		assert_int_equal(send(fd, data, sizeof(data), MSG_NOSIGNAL), sizeof(data));
		assert_int_equal(recv(fd, got, sizeof(got), 0), sizeof(got));
		sum += weft_now_ns() - before;
		assert_memory_equal(data, got, sizeof(data));
	}
	return sum;
}

/* The first request may come before a guest's device is up. Answers that are late are drained. */
static void await_answer(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t deadline = weft_now_ns() + 10000000000ULL;
	char data[64] = "are you there?", got[64];

	do {
		assert_true(weft_now_ns() < deadline);
		assert_int_equal(send(fd, data, sizeof(data), MSG_NOSIGNAL), sizeof(data));
	} while (poll(&p, 1, 50) != 1);
	do {
		assert_int_equal(recv(fd, got, sizeof(got), 0), sizeof(got));
	} while (poll(&p, 1, 100) == 1);
}

/* --- traces --- */

static struct weft_dp_trace *start(uint32_t service, unsigned sample_every)
{
	struct weft_dp_trace_config config = {
		.service = service,
		.instances = spoken,
		.n_instances = ARRAY_SIZE(spoken),
		.sample_every = sample_every,
	};
	struct weft_dp_trace *t = NULL;
	struct weft_err err = {0};

	if (weft_dp_trace_start(lab.dp, &config, &t, &err) < 0)
		fail_msg("%s; %s", err.msg, err.hint);
	return t;
}

static struct weft_dp_trace_report *take(struct weft_dp_trace *t)
{
	struct weft_dp_trace_report *report = NULL;

	assert_int_equal(weft_dp_trace_read(t, &report), 0);
	return report;
}

static void print_way(const struct weft_dp_trace_way *w, bool is_guest)
{
	enum weft_hook before = WEFT_HOOK_READ;

	printf("# %s %s: %" PRIu64 " packets\n", w->group,
		w->direction == WEFT_HOP_REQUEST ? "request" : "reply", w->packets);
	for (unsigned hook = 0; hook < WEFT_HOOK_COUNT; hook++) {
		const struct weft_hop_hist *h = &w->hop[hook];

		if (!(w->hooks & WEFT_HOOK_BIT(hook)))
			continue;
		if (h->count)
			printf("#   %-10s %-16s %5llu  mean %8.2f  p50 %8.2f  p99 %9.2f us\n",
				weft_dp_trace_hook_name((enum weft_hook)hook),
				weft_dp_trace_hop(before, (enum weft_hook)hook, is_guest).name,
				h->count, (double)h->sum / (double)h->count / 1e3,
				(double)weft_dp_trace_percentile(h, 50) / 1e3,
				(double)weft_dp_trace_percentile(h, 99) / 1e3);
		before = (enum weft_hook)hook;
	}
}

static void print_report(const struct weft_dp_trace_report *r, bool is_guest)
{
	const struct weft_hop_counts *c = &r->counts;

	for (unsigned i = 0; i < r->n_ways; i++)
		print_way(&r->ways[i], is_guest);
	printf("# begun %llu+%llu read %llu+%llu lost %llu+%llu odd %llu unpaired %llu\n",
		c->begun[0], c->begun[1], c->read[0], c->read[1], c->lost[0], c->lost[1], c->odd,
		c->unpaired);
	printf("# probes: %u, %llu hits of %.0f ns, %llu others of %.0f ns\n", r->probes, c->hits,
		c->hits_timed ? (double)c->hits_ns / (double)c->hits_timed : 0, c->misses,
		c->misses_timed ? (double)c->misses_ns / (double)c->misses_timed : 0);
}

static uint64_t total(const struct weft_dp_trace_way *w)
{
	uint64_t sum = 0;

	for (unsigned hook = 0; hook < WEFT_HOOK_COUNT; hook++)
		sum += w->hop[hook].sum;
	return sum;
}

struct totals {
	uint64_t packets[2], hops_ns, round_trips, round_trips_ns, turns;
};

/* Over all ways. On each, every hop has as many packets as the others. */
static struct totals totals(const struct weft_dp_trace_report *r)
{
	struct totals t = {0};

	for (unsigned i = 0; i < r->n_ways; i++) {
		const struct weft_dp_trace_way *w = &r->ways[i];
		bool first = true;

		t.packets[w->direction] += w->packets;
		t.hops_ns += total(w);
		t.round_trips += w->round_trip.count;
		t.round_trips_ns += w->round_trip.sum;
		for (unsigned hook = 0; hook < WEFT_HOOK_COUNT; hook++) {
			if (!(w->hooks & WEFT_HOOK_BIT(hook)))
				continue;
			if (!first)
				assert_int_equal(w->hop[hook].count, w->packets);
			else if (w->direction == WEFT_HOP_REPLY)
				t.turns += w->hop[hook].count;
			else
				assert_int_equal(w->hop[hook].count, 0);
			first = false;
		}
	}
	return t;
}

static const struct weft_dp_trace_way *main_way(
	const struct weft_dp_trace_report *r, enum weft_hop_direction d)
{
	const struct weft_dp_trace_way *best = NULL;

	for (unsigned i = 0; i < r->n_ways; i++)
		if (r->ways[i].direction == d && (!best || r->ways[i].packets > best->packets))
			best = &r->ways[i];
	assert_non_null(best);
	return best;
}

static void assert_passed(const struct weft_dp_trace_way *w, const enum weft_hook *hooks, size_t n)
{
	uint32_t want = 0;

	for (size_t i = 0; i < n; i++)
		want |= WEFT_HOOK_BIT(hooks[i]);
	assert_int_equal(w->hooks, want);
}
#define ASSERT_PASSED(way, ...)                                       \
	do {                                                          \
		static const enum weft_hook hooks_[] = {__VA_ARGS__}; \
		assert_passed(way, hooks_, ARRAY_SIZE(hooks_));       \
	} while (0)

/* n exchanges were all seen, hop by hop, and took together what the client says or a bit less:
 * it also counts its own system calls. */
static void assert_plausible(const struct weft_dp_trace_report *r, unsigned n, uint64_t measured_ns)
{
	struct totals t = totals(r);

	assert_int_equal(t.packets[WEFT_HOP_REQUEST], n);
	assert_int_equal(t.packets[WEFT_HOP_REPLY], n);
	assert_int_equal(t.turns, n);
	assert_int_equal(t.round_trips, n);
	assert_int_equal(t.hops_ns, t.round_trips_ns);
	printf("# the client measured %.2f us, the probes %.2f\n", (double)measured_ns / n / 1e3,
		(double)t.round_trips_ns / n / 1e3);
	assert_true(t.round_trips_ns <= measured_ns);
	assert_true(t.round_trips_ns >= measured_ns / 2);
}

static void trace_server(uint32_t n, int type, struct weft_dp_trace_report **ret)
{
	struct weft_dp_trace *t;
	int fd = dial(lab.ns[CLIENT], n, type);
	uint64_t ns;

	await_answer(fd);
	t = start(n, 16);
	ns = ask(fd, ROUNDS);
	*ret = take(t);
	weft_dp_trace_stop(t);
	close(fd);
	print_report(*ret, n != VETH);
	assert_plausible(*ret, ROUNDS, ns);
}

/* --- tests --- */

static void veth_by_udp(void **state)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *r = NULL;

	(void)state;
	trace_server(VETH, SOCK_DGRAM, &r);
	for (unsigned d = 0; d < 2; d++)
		ASSERT_PASSED(main_way(r, (enum weft_hop_direction)d), WEFT_HOOK_TX, WEFT_HOOK_RX,
			WEFT_HOOK_HOST, WEFT_HOOK_DEVICE, WEFT_HOOK_QUEUED, WEFT_HOOK_RUNS,
			WEFT_HOOK_READ);
	assert_string_equal(r->ways[0].group, "container veth");
}

static void veth_by_tcp(void **state)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *r = NULL;

	(void)state;
	trace_server(VETH, SOCK_STREAM, &r);
}

static void macvtap(void **state)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *r = NULL;

	(void)state;
	trace_server(MACVTAP, SOCK_DGRAM, &r);
	ASSERT_PASSED(main_way(r, WEFT_HOP_REQUEST), WEFT_HOOK_TX, WEFT_HOOK_RX, WEFT_HOOK_HOST,
		WEFT_HOOK_DEVICE, WEFT_HOOK_UPPER, WEFT_HOOK_RUNS, WEFT_HOOK_READ);
	ASSERT_PASSED(main_way(r, WEFT_HOP_REPLY), WEFT_HOOK_UPPER_TX, WEFT_HOOK_TX, WEFT_HOOK_RX,
		WEFT_HOOK_HOST, WEFT_HOOK_DEVICE, WEFT_HOOK_QUEUED, WEFT_HOOK_RUNS, WEFT_HOOK_READ);
	assert_string_equal(r->ways[0].group, "unikernel macvtap");
}

static void tap(void **state)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *r = NULL;

	(void)state;
	trace_server(TAP, SOCK_DGRAM, &r);
	ASSERT_PASSED(main_way(r, WEFT_HOP_REQUEST), WEFT_HOOK_TX, WEFT_HOOK_RX, WEFT_HOOK_HOST,
		WEFT_HOOK_REDIRECT, WEFT_HOOK_QUEUED, WEFT_HOOK_RUNS, WEFT_HOOK_READ);
	ASSERT_PASSED(main_way(r, WEFT_HOP_REPLY), WEFT_HOOK_HOST, WEFT_HOOK_DEVICE,
		WEFT_HOOK_QUEUED, WEFT_HOOK_RUNS, WEFT_HOOK_READ);
	assert_string_equal(r->ways[0].group, "unikernel tap");
}

/* The host's own veth is at both ends in one namespace: its packets go through one backlog more. */
static void host_as_client(void **state)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *r = NULL;
	struct weft_dp_trace *t;
	int fd = dial(lab.host_ns, VETH, SOCK_STREAM);
	uint64_t ns;

	(void)state;
	await_answer(fd);
	t = start(VETH, 0);
	ns = ask(fd, ROUNDS);
	r = take(t);
	weft_dp_trace_stop(t);
	close(fd);
	print_report(r, false);
	assert_plausible(r, ROUNDS, ns);
	ASSERT_PASSED(main_way(r, WEFT_HOP_REPLY), WEFT_HOOK_TX, WEFT_HOOK_RX, WEFT_HOOK_HOST,
		WEFT_HOOK_REDIRECT, WEFT_HOOK_BACKLOG, WEFT_HOOK_DEVICE, WEFT_HOOK_QUEUED,
		WEFT_HOOK_RUNS, WEFT_HOOK_READ);
	assert_int_equal(r->n_samples, 0);
}

/* Connections that last for one request: handshakes and ends are not counted. */
static void connection_per_request(void **state)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *r = NULL;
	struct weft_dp_trace *t = start(VETH, 0);
	uint64_t ns = 0;

	(void)state;
	for (int i = 0; i < 50; i++) {
		int fd = dial(lab.ns[CLIENT], VETH, SOCK_STREAM);

		ns += ask(fd, 1);
		close(fd);
	}
	r = take(t);
	weft_dp_trace_stop(t);
	assert_plausible(r, 50, ns);
}

/* Several under way at once: each is followed, but which one an answer is for is not known. */
static void several_at_once(void **state)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *r = NULL;
	int fd = dial(lab.ns[CLIENT], VETH, SOCK_DGRAM);
	struct weft_dp_trace *t;
	char data[64] = {0};
	struct totals sum;

	(void)state;
	await_answer(fd);
	t = start(VETH, 0);
	for (int i = 0; i < 20; i++) {
		for (int k = 0; k < 8; k++)
			assert_int_equal(send(fd, data, sizeof(data), 0), sizeof(data));
		for (int k = 0; k < 8; k++)
			assert_int_equal(recv(fd, data, sizeof(data), 0), sizeof(data));
	}
	r = take(t);
	weft_dp_trace_stop(t);
	close(fd);
	sum = totals(r);
	assert_int_equal(r->counts.begun[WEFT_HOP_REQUEST], 160);
	assert_int_equal(r->counts.begun[WEFT_HOP_REPLY], 160);
	assert_int_equal(r->counts.odd, 0);
	/* one that is received while it is queued may be taken for its neighbour */
	assert_true(sum.packets[WEFT_HOP_REQUEST] >= 152);
	assert_true(sum.packets[WEFT_HOP_REPLY] >= 152);
	assert_int_equal(sum.turns, sum.round_trips);
	assert_true(sum.round_trips <= 160);
}

/* Nobody listens on that port. */
static void dropped_packets_are_lost(void **state)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *r = NULL;
	struct sockaddr_in to = address("10.30.0.1", PORT + 1);
	struct weft_dp_trace *t = start(VETH, 0);
	int fd;

	(void)state;
	enter(lab.ns[CLIENT]);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	home();
	for (int i = 0; i < 5; i++)
		assert_int_equal(sendto(fd, "?", 1, 0, (void *)&to, sizeof(to)), 1);
	close(fd);
	r = take(t);
	weft_dp_trace_stop(t);
	assert_int_equal(r->counts.begun[WEFT_HOP_REQUEST], 5);
	assert_int_equal(r->counts.lost[WEFT_HOP_REQUEST], 5);
	assert_int_equal(r->n_ways, 0);
}

/* Each counts what is of its service alone, also while both run. */
static void two_services(void **state)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *a = NULL, *b = NULL;
	int one = dial(lab.ns[CLIENT], VETH, SOCK_DGRAM),
	    two = dial(lab.ns[CLIENT], TAP, SOCK_DGRAM);
	struct weft_dp_trace *t, *u;
	uint64_t ns_one, ns_two;

	(void)state;
	await_answer(one);
	await_answer(two);
	t = start(VETH, 0);
	u = start(TAP, 0);
	ns_one = ask(one, 30);
	ns_two = ask(two, 50);
	a = take(t);
	b = take(u);
	weft_dp_trace_stop(t);
	weft_dp_trace_stop(u);
	close(one);
	close(two);
	assert_plausible(a, 30, ns_one);
	assert_plausible(b, 50, ns_two);
	assert_string_equal(a->ways[0].group, "container veth");
	assert_string_equal(b->ways[0].group, "unikernel tap");
}

/* What is not spoken of has a group by its device, and fewer hooks. */
static void unknown_instances(void **state)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *r = NULL;
	struct weft_dp_trace_config config = {.service = MACVTAP};
	int fd = dial(lab.ns[CLIENT], MACVTAP, SOCK_DGRAM);
	struct weft_dp_trace *t = NULL;
	struct weft_err err = {0};
	uint64_t ns;

	(void)state;
	await_answer(fd);
	if (weft_dp_trace_start(lab.dp, &config, &t, &err) < 0)
		fail_msg("%s", err.msg);
	ns = ask(fd, 30);
	r = take(t);
	weft_dp_trace_stop(t);
	close(fd);
	assert_plausible(r, 30, ns);
	assert_string_equal(r->ways[0].group, "macvtap");
	ASSERT_PASSED(main_way(r, WEFT_HOP_REQUEST), WEFT_HOOK_TX, WEFT_HOOK_RX, WEFT_HOOK_HOST,
		WEFT_HOOK_RUNS, WEFT_HOOK_READ);
}

/* A client that comes while a trace runs, and another instance of the service that goes. */
static void instances_come_and_go(void **state)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *r = NULL;
	struct weft_dp_instance inst = lab_instance(CLIENT, 0);
	struct weft_dp_trace *t;
	struct weft_err err = {0};
	int fd;

	(void)state;
	inst.ifindex = if_nametoindex("v4");
	assert_int_equal(weft_dp_instance_remove(lab.dp, CLIENT), 0);
	t = start(VETH, 0);
	set_instance(&inst);
	assert_int_equal(weft_dp_trace_refresh(t, &err), 0);
	fd = dial(lab.ns[CLIENT], VETH, SOCK_STREAM);
	ask(fd, 10);
	close(fd);
	assert_int_equal(weft_dp_instance_remove(lab.dp, CLIENT), 0);
	assert_int_equal(weft_dp_trace_refresh(t, &err), 0);
	set_instance(&inst);
	r = take(t);
	assert_int_equal(totals(r).round_trips, 10);
	assert_int_equal(weft_dp_service_remove(lab.dp, VETH), 0);
	assert_int_equal(weft_dp_trace_refresh(t, &err), -ENOENT);
	weft_dp_trace_stop(t);
	add_service(VETH);
}

/* More than a histogram: the packets themselves, the slowest among them. */
static void samples(void **state)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *r = NULL;
	unsigned slowest = 0, others = 0;

	(void)state;
	trace_server(VETH, SOCK_STREAM, &r);
	assert_true(r->n_samples > 0);
	for (unsigned i = 0; i < r->n_samples; i++) {
		const struct weft_dp_trace_sample *s = &r->samples[i];
		uint64_t before = s->read_ns;

		slowest += s->slowest;
		others += !s->slowest;
		assert_true(s->hooks & WEFT_HOOK_BIT(WEFT_HOOK_READ));
		for (unsigned hook = 0; hook < WEFT_HOOK_COUNT; hook++) {
			if (!(s->hooks & WEFT_HOOK_BIT(hook)))
				continue;
			assert_true(s->at_ns[hook] >= before);
			before = s->at_ns[hook];
		}
	}
	assert_true(slowest > 0);
	assert_true(others > 0);
}

/* Of each size, in super-packets of the veth and in segments for the guest. */
static void bulk(void **state)
{
	_cleanup_(weft_dp_trace_report_freep) struct weft_dp_trace_report *r = NULL;
	int fd = dial(lab.ns[CLIENT], VETH, SOCK_STREAM);
	struct weft_dp_trace *t = start(VETH, 0);
	char data[20000] = {0};
	size_t got = 0;

	(void)state;
	for (int i = 0; i < 50; i++)
		assert_int_equal(send(fd, data, sizeof(data), MSG_NOSIGNAL), sizeof(data));
	while (got < 50 * sizeof(data)) {
		ssize_t n = recv(fd, data, sizeof(data), 0);

		assert_true(n > 0);
		got += (size_t)n;
	}
	r = take(t);
	weft_dp_trace_stop(t);
	close(fd);
	print_report(r, false);
	for (unsigned d = 0; d < 2; d++) {
		assert_true(r->counts.read[d] > 0);
		assert_true(r->counts.read[d] + r->counts.lost[d] <= r->counts.begun[d]);
	}
	assert_int_equal(r->counts.odd, 0);
}

/* --- what a trace leaves behind --- */

static uint32_t programs_on(int ns, const char *device)
{
	uint32_t n = 8, flags = 0, ids[8];
	int r;

	enter(ns);
	r = bpf_prog_query(
		(int)if_nametoindex(device), (enum bpf_attach_type)46, 0, &flags, ids, &n);
	home();
	if (r < 0)
		fail_msg("programs on %s: %s", device, strerror(-r));
	return n;
}

static void await_no_programs(void)
{
	uint64_t deadline = weft_now_ns() + 10000000000ULL;

	while (programs_on(lab.ns[CLIENT], "eth0") || programs_on(lab.ns[MACVTAP], "eth0") ||
		programs_on(lab.ns[MACVTAP], "macvtap0")) {
		assert_true(weft_now_ns() < deadline);
		poll(NULL, 0, 5);
	}
}

static void nothing_is_left_behind(void **state)
{
	struct weft_dp_trace *t = start(MACVTAP, 0);
	int ready[2];
	char word;
	pid_t pid;

	(void)state;
	assert_int_equal(programs_on(lab.ns[CLIENT], "eth0"), 1);
	assert_int_equal(programs_on(lab.ns[MACVTAP], "eth0"), 1);
	assert_int_equal(programs_on(lab.ns[MACVTAP], "macvtap0"), 1);
	weft_dp_trace_stop(t);
	assert_int_equal(programs_on(lab.ns[CLIENT], "eth0"), 0);
	await_no_programs();

	/* killed in the middle of it */
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct weft_dp_trace_config config = {MACVTAP, spoken, ARRAY_SIZE(spoken), 0};

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (weft_dp_trace_start(lab.dp, &config, &t, NULL) == 0 &&
			write(ready[1], "!", 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &word, 1), 1);
	assert_int_equal(programs_on(lab.ns[MACVTAP], "macvtap0"), 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	await_no_programs();
	close(ready[0]);
}

static void refusals(void **state)
{
	struct weft_dp_trace_config config = {.service = 77};
	struct weft_dp_trace *t = NULL;
	struct weft_err err = {0};

	(void)state;
	assert_int_equal(weft_dp_trace_start(lab.dp, &config, &t, &err), -ENOENT);
	assert_string_equal(err.msg, "service 77: not in the data plane");
	assert_null(t);
	config.service = WEFT_DP_MAX_SERVICES;
	assert_int_equal(weft_dp_trace_start(lab.dp, &config, &t, &err), -ENOENT);
	assert_int_equal(weft_dp_trace_supported(lab.dp, &err), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(veth_by_udp),
		cmocka_unit_test(veth_by_tcp),
		cmocka_unit_test(macvtap),
		cmocka_unit_test(tap),
		cmocka_unit_test(host_as_client),
		cmocka_unit_test(connection_per_request),
		cmocka_unit_test(several_at_once),
		cmocka_unit_test(dropped_packets_are_lost),
		cmocka_unit_test(two_services),
		cmocka_unit_test(unknown_instances),
		cmocka_unit_test(samples),
		cmocka_unit_test(bulk),
		cmocka_unit_test(instances_come_and_go),
		cmocka_unit_test(nothing_is_left_behind),
		cmocka_unit_test(refusals),
	};
	char *slash = strrchr(argv[0], '/');

	(void)argc;
	/* build/tests/bpf/test_trace and build/tests/bench/tap_echo */
	snprintf(lab.echo, sizeof(lab.echo), "%.*s/../bench/tap_echo",
		slash ? (int)(slash - argv[0]) : 1, slash ? argv[0] : ".");
	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("trace", tests, setup, teardown);
}
