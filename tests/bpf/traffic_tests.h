/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for traffic of both families. */
#ifndef WEFT_TESTS_BPF_TRAFFIC_TESTS_H
#define WEFT_TESTS_BPF_TRAFFIC_TESTS_H

#include "tests/bpf/traffic.h"

static void service_by_tcp(void **state)
{
	int served[3] = {0}, backend;
	char peer[64];

	(void)state;
	set_weights(3, 1);
	for (int i = 0; i < 12; i++) {
		int a = dial(lab.ns[CLIENT], vip()), b = take(&backend, peer);

		assert_string_equal(peer, called(CLIENT));
		sock_talk(a, b);
		served[backend]++;
		close_pair(a, b);
	}
	assert_int_equal(served[1], 9);
	assert_int_equal(served[2], 3);
	await_live(1, 0);
	await_live(2, 0);
}

/* A connection of the client's from that port. */
static int dial_from(uint16_t port, const char *to)
{
	const struct timeval patience = {.tv_sec = 20};
	struct sockaddr_in6 mine6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)},
			    to6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	struct sockaddr_in mine = {.sin_family = AF_INET, .sin_port = htons(port)},
			   to4 = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd;

	ns_enter(lab.ns[CLIENT]);
	fd = socket(lab.v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ns_home();
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
	inet_pton(AF_INET6, to, &to6.sin6_addr);
	inet_pton(AF_INET, to, &to4.sin_addr);
	if (bind(fd, lab.v6 ? (void *)&mine6 : (void *)&mine,
		    lab.v6 ? sizeof(mine6) : sizeof(mine)) < 0 ||
		connect(fd, lab.v6 ? (void *)&to6 : (void *)&to4,
			lab.v6 ? sizeof(to6) : sizeof(to4)) < 0)
		fail_msg("from port %u to %s: %s", port, to, strerror(errno));
	return fd;
}

/* The same port of the client to two addresses of the service: two connections, to two backends. */
static void one_port_to_two_addresses(void **state)
{
	const char *const other = lab.v6 ? "fdff:2000::2" : "10.30.0.2";
	struct weft_dp_weight w[] = {{1, 1}, {2, 1}};
	struct weft_dp_service s = {.id = SERVICE};
	int a, b, c, d, one, two;
	struct weft_err err = {0};

	(void)state;
	s.vip[WEFT_DP_RR].s_addr = lab_addr(VIP4);
	s.vip[WEFT_DP_WRR].s_addr = lab_addr("10.30.0.2");
	if (lab.v6) {
		s.vip6[WEFT_DP_RR] = lab_addr6(VIP6);
		s.vip6[WEFT_DP_WRR] = lab_addr6(other);
	}
	assert_int_equal(weft_dp_service_set(lab.dp, &s, &err), 0);
	assert_int_equal(weft_dp_service_weights(lab.dp, SERVICE, WEFT_DP_WRR, w, 2, &err), 0);
	set_weights(1, 1);
	for (uint16_t port = 21000; port < 21006; port++) {
		a = dial_from(port, vip());
		b = take(&one, NULL);
		c = dial_from(port, other);
		d = take(&two, NULL);
		assert_int_not_equal(one, two);
		sock_talk(a, b);
		sock_talk(c, d);
		sock_talk(a, b);
		close_pair(a, b);
		sock_talk(c, d);
		close_pair(c, d);
	}
	await_live(1, 0);
	await_live(2, 0);
	lab_service46(lab.dp, SERVICE, VIP4, lab.v6 ? VIP6 : NULL);
}

/* The overlay is one hop. */
static bool answers_pings(int ns, const char *to)
{
	static const char *const options[] = {"", "-s 4000", "-t 1"};

	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		if (ns_sh(ns, "ping -%d -c1 -W5 %s %s >/dev/null", lab.v6 ? 6 : 4, options[i], to))
			return false;
	return true;
}

/* From an instance and from the host: neighbours are found, echoes come back, in fragments too. */
static void everybody_answers_pings(void **state)
{
	const int from[] = {lab.ns[CLIENT], lab.host_ns, lab.ns[2]};

	(void)state;
	set_weights(1, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(from); i++) {
		for (uint32_t n = 1; n <= 2; n++)
			if (!answers_pings(from[i], own(n)) || !answers_pings(from[i], called(n)))
				fail_msg("no answer of %u to %u", n, i);
		if (!answers_pings(from[i], vip()) || !answers_pings(from[i], own(HOST)))
			fail_msg("no answer of the service or the host to %u", i);
	}
}

static void host_calls_the_service(void **state)
{
	int a, b, backend;
	char peer[64];

	(void)state;
	set_weights(1, 0);
	a = dial(lab.host_ns, vip());
	b = take(&backend, peer);
	assert_string_equal(peer, called(HOST));
	sock_talk(a, b);
	close_pair(a, b);
}

/* What a readiness probe does. */
static void host_reaches_instances_as_they_are(void **state)
{
	int a, b, backend;
	char peer[64];

	(void)state;
	a = dial(lab.host_ns, own(2));
	b = take(&backend, peer);
	assert_int_equal(backend, 2);
	assert_string_equal(peer, own(HOST));
	sock_talk(a, b);
	close_pair(a, b);
}

/* From an instance to the host's own addresses and back, with a source from outside the overlay. */
static void instance_reaches_the_host_stack(void **state)
{
	int fd = ns_listen(lab.host_ns, SOCK_STREAM, outside(), PORT);
	int a = dial(lab.ns[CLIENT], outside()), b = ns_accept(fd, NULL);

	(void)state;
	sock_talk(a, b);
	close_pair(a, b);
	close(fd);
}

static void hairpin(void **state)
{
	int a, b, backend;
	char peer[64];

	(void)state;
	set_weights(1, 0);
	a = dial(lab.ns[1], vip());
	b = take(&backend, peer);
	assert_int_equal(backend, 1);
	assert_string_equal(peer, called(1));
	sock_talk(a, b);
	close_pair(a, b);
}

static void datagrams(void **state)
{
	const size_t edge = payload(MTU), most = lab.v6 ? 65527 : 65507;
	const size_t sizes[] = {1, 100, edge, edge + 1, 4000, 30000, 65000, most};
	static char sent[65536], got[65536];
	int a;

	(void)state;
	set_weights(1, 1);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)(i * 31 + (i >> 8));
	a = ns_dial(lab.ns[CLIENT], vip(), PORT, SOCK_DGRAM);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct sockaddr_storage from;
		socklen_t size = sizeof(from);
		int b;

		assert_int_equal(send(a, sent, sizes[i], 0), sizes[i]);
		b = lab.udp[chosen(lab.udp)];
		assert_int_equal(recvfrom(b, got, sizeof(got), 0, (void *)&from, &size), sizes[i]);
		assert_memory_equal(sent, got, sizes[i]);
		assert_int_equal(sendto(b, got, sizes[i], 0, (void *)&from, size), sizes[i]);
		memset(got, 0, sizes[i]);
		/* A connected socket: it takes answers of the service's address alone. */
		assert_int_equal(recv(a, got, sizeof(got), 0), sizes[i]);
		assert_memory_equal(sent, got, sizes[i]);
	}
	close(a);
}

static void both_ways(int a, int b, size_t size)
{
	sock_bulk(a, b, size);
	sock_bulk(b, a, size);
}

static void bulk_with_offload(void **state)
{
	unsigned long long errors = all_csum_errors();
	struct weft_dp_counters before, after;
	int a, b, backend;

	(void)state;
	set_weights(0, 1);
	weft_dp_instance_counters(lab.dp, 2, &before);
	open_pair(&a, &b, &backend);
	both_ways(a, b, BULK);
	weft_dp_instance_counters(lab.dp, 2, &after);
	assert_true(after.bytes - before.bytes > BULK);
	assert_true(after.rx_bytes - before.rx_bytes > BULK);
	/* Segments are counted, not the super-packets that they travelled in. */
	assert_true(after.packets - before.packets >= BULK / MTU);
	close_pair(a, b);
	/* A device that completes checksums itself finds them right too. */
	offload_all(false);
	open_pair(&a, &b, &backend);
	both_ways(a, b, 1 << 20);
	close_pair(a, b);
	offload_all(true);
	assert_int_equal(all_csum_errors(), errors);
}

/* The heart of a hot-swap: new connections move, old ones stay until they end. */
static void shift_and_drain(void **state)
{
	uint32_t datagram_flows = lab_live(lab.dp, 1);
	int a, b, backend;

	(void)state;
	set_weights(1, 0);
	open_pair(&a, &b, &backend);
	assert_int_equal(backend, 1);
	for (uint32_t step = 0; step <= 10; step++) {
		int served[3] = {0};

		set_weights(10 - step, step);
		for (int i = 0; i < 10; i++) {
			int c, d;

			open_pair(&c, &d, &backend);
			sock_talk(c, d);
			served[backend]++;
			close_pair(c, d);
			sock_talk(a, b);
		}
		assert_int_equal(served[2], step);
	}
	await_live(1, datagram_flows + 1);
	sock_talk(a, b);
	close_pair(a, b);
	await_live(1, datagram_flows);
}

/* What it sends, of any size, is answered at once. */
static void is_reset_by(int fd, const void *data, size_t size)
{
	char c;

	assert_true(send(fd, data, size, MSG_NOSIGNAL) > 0);
	assert_int_equal(recv(fd, &c, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
}

static void purge_resets_connections(void)
{
	static const char big[60000];
	int a, b, backend;

	set_weights(1, 0);
	open_pair(&a, &b, &backend);
	sock_talk(a, b);
	set_weights(0, 1);
	assert_int_equal(weft_dp_flows_purge(lab.dp, 1), 0);
	is_reset_by(a, "x", 1);
	is_reset_by(b, "x", 1);
	close_pair(a, b);
	open_pair(&a, &b, &backend);
	assert_int_equal(backend, 2);
	/* A closed super-packet is answered as well as a small segment. */
	assert_int_equal(weft_dp_flows_purge(lab.dp, 2), 0);
	is_reset_by(a, big, sizeof(big));
	close_pair(a, b);
}

/* At the end of its patience a drain purges: both ends learn it at once, and reconnect. Of
 * checksums that are whole, and of begun ones. */
static void purge_resets(void **state)
{
	(void)state;
	offload_all(false);
	purge_resets_connections();
	offload_all(true);
	purge_resets_connections();
}

/* --- ICMP --- */

/* The overlay is one hop: so traceroute shows the service's address as the first. */
static void refuses(int ns, const char *to, uint16_t port, int want)
{
	int fd = ns_dial(ns, to, port, SOCK_DGRAM);

	sock_option(fd, IP_TTL, IPV6_UNICAST_HOPS, 1);
	/* What is transient is told only to who asks. */
	if (want != ECONNREFUSED)
		sock_option(fd, IP_RECVERR, IPV6_RECVERR, 1);
	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_int_equal(sock_error(fd), want);
	close(fd);
}

/* By the stack of a backend, and by that of the host as a caller. */
static void closed_port_refuses(void **state)
{
	const int from[] = {lab.ns[CLIENT], lab.host_ns, lab.ns[1]};

	(void)state;
	set_weights(1, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(from); i++)
		refuses(from[i], vip(), PORT + 1, ECONNREFUSED);
}

/* The client's socket is gone when the answer comes: the backend learns that. */
static void closed_client_refuses(void **state)
{
	int a = ns_dial(lab.ns[CLIENT], vip(), PORT, SOCK_DGRAM), b = lab.udp[1];
	struct sockaddr_storage from;
	socklen_t size = sizeof(from);
	char c;

	(void)state;
	set_weights(1, 0);
	assert_int_equal(send(a, "x", 1, 0), 1);
	assert_int_equal(chosen(lab.udp), 1);
	assert_int_equal(recvfrom(b, &c, 1, 0, (void *)&from, &size), 1);
	close(a);
	assert_int_equal(connect(b, (void *)&from, size), 0);
	assert_int_equal(send(b, "y", 1, 0), 1);
	assert_int_equal(sock_error(b), ECONNREFUSED);
	from.ss_family = AF_UNSPEC;
	assert_int_equal(connect(b, (void *)&from, size), 0);
}

/* The overlay's own errors: about checksums that are whole, begun, and begun but completed on the
 * way back by a device that leaves none undone. */
static void no_backend_refuses(void **state)
{
	unsigned long long errors = all_csum_errors();
	int client = lab.ns[CLIENT];

	(void)state;
	set_weights(0, 0);
	refuses(client, vip(), PORT + 2, ECONNREFUSED);
	ns_checksum_offload(client, "eth0", false);
	refuses(client, vip(), PORT + 2, ECONNREFUSED);
	ns_checksum_offload(client, "eth0", true);
	ns_checksum_offload(lab.host_ns, "v3", false);
	refuses(client, vip(), PORT + 2, ECONNREFUSED);
	if (lab.v6)
		refuses(client, "::ffff:" VIP4, PORT + 2, ECONNREFUSED);
	ns_checksum_offload(lab.host_ns, "v3", true);
	refuses(client, lab.v6 ? "fdff:7777::1" : "10.30.77.77", PORT, EHOSTUNREACH);
	assert_int_equal(all_csum_errors(), errors);
	set_weights(1, 1);
}

static void forget_paths(void)
{
	for (int n = 1; n <= CLIENT; n++)
		assert_int_equal(ns_sh(lab.ns[n], "ip -%d route flush cache", lab.v6 ? 6 : 4), 0);
}

static void change_mtu(uint32_t mtu)
{
	weft_dp_free(lab.dp);
	lab.dp = NULL;
	lab.mtu = mtu;
	open_dp(lab.old_kernel);
}

static void has_mss_below(int fd, int most)
{
	socklen_t size = sizeof(int);
	int mss;

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, &size), 0);
	assert_in_range(mss, most - 60, most);
}

/* TCP keeps to the overlay's limit by itself. */
static void tcp_keeps_to(int mtu)
{
	int a, b, backend, most = mtu - (lab.v6 ? 40 : 20) - 20;

	open_pair(&a, &b, &backend);
	has_mss_below(a, most);
	has_mss_below(b, most);
	assert_int_equal(sock_path_mtu(a), MTU);
	both_ways(a, b, 4 << 20);
	assert_int_equal(sock_path_mtu(a), MTU); /* nothing was ever too big */
	close_pair(a, b);
}

/* Datagrams learn of it. */
static void datagrams_learn(size_t mtu)
{
	static const char big[MTU];
	int fd = ns_dial(lab.ns[CLIENT], vip(), PORT, SOCK_DGRAM);
	size_t fits = payload(mtu);
	char got[MTU];

	sock_option(fd, IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO);
	assert_int_equal(sock_path_mtu(fd), MTU);
	assert_int_equal(send(fd, big, payload(MTU), 0), payload(MTU));
	assert_int_equal(sock_error(fd), EMSGSIZE);
	assert_int_equal(sock_path_mtu(fd), mtu);
	assert_int_equal(send(fd, big, fits, 0), fits);
	assert_int_equal(recv(lab.udp[2], got, sizeof(got), 0), fits);
	close(fd);
}
_Static_assert((int)IP_PMTUDISC_DO == (int)IPV6_PMTUDISC_DO, "one value for both");

/* An overlay narrower than its devices; and a path that becomes narrower during a connection. */
static void path_mtu_is_discovered(void **state)
{
	int a, b, backend;

	(void)state;
	set_weights(0, 1);
	forget_paths();
	open_pair(&a, &b, &backend);
	assert_int_equal(sock_path_mtu(a), MTU);
	change_mtu(1300);
	/* Opened before: it hears of the new limit by ICMP. */
	both_ways(a, b, 4 << 20);
	assert_int_equal(sock_path_mtu(a), 1300);
	assert_int_equal(sock_path_mtu(b), 1300);
	close_pair(a, b);
	forget_paths();
	tcp_keeps_to(1300);
	datagrams_learn(1300);
	change_mtu(0);
	forget_paths();
}

static void daemon_comes_and_goes(void **state)
{
	int a, b, backend;

	(void)state;
	set_weights(1, 1);
	open_pair(&a, &b, &backend);
	for (int i = 0; i < 5; i++) {
		weft_dp_free(lab.dp);
		lab.dp = NULL;
		sock_talk(a, b);
		open_dp(lab.old_kernel);
		sock_talk(a, b);
	}
	close_pair(a, b);
}

/* But for what the tests above have had refused, and what nobody asked for. */
static void nothing_was_lost_but(uint64_t reasons)
{
	uint64_t drops[WEFT_DROP_COUNT];
	struct weft_dp_events events;

	reasons |= 1ULL << WEFT_DROP_NO_FLOW | 1ULL << WEFT_DROP_MULTICAST |
		   1ULL << WEFT_DROP_NO_BACKEND | 1ULL << WEFT_DROP_UNKNOWN_ADDR |
		   1ULL << WEFT_DROP_TOO_BIG;
	assert_int_equal(weft_dp_drops(lab.dp, drops), 0);
	for (unsigned i = 0; i < WEFT_DROP_COUNT; i++)
		if (drops[i] && !(reasons & 1ULL << i))
			fail_msg("%llu packets dropped as %s", (unsigned long long)drops[i],
				weft_dp_drop_name(i));
	weft_dp_events(lab.dp, &events);
	assert_int_equal(events.displaced, 0);
}
_Static_assert(WEFT_DROP_COUNT <= 64, "a bit for each");

/* From here on it is as on kernels that have neither tcx nor functions to call. */
static void become_old(void)
{
	weft_dp_free(lab.dp);
	lab.dp = NULL;
	assert_int_equal(weft_dp_destroy(LAB_PINS, NULL), 0);
	open_dp(true);
	assert_string_equal(weft_dp_hook(lab.dp), "clsact");
	set_instance(&lab.instances[HOST]);
	for (uint32_t n = 1; n <= CLIENT; n++)
		set_instance(&lab.instances[n]);
}

/* clang-format off */
#define TESTS_OF_BOTH \
	cmocka_unit_test(service_by_tcp), \
	cmocka_unit_test(one_port_to_two_addresses), \
	cmocka_unit_test(everybody_answers_pings), \
	cmocka_unit_test(host_calls_the_service), \
	cmocka_unit_test(host_reaches_instances_as_they_are), \
	cmocka_unit_test(instance_reaches_the_host_stack), \
	cmocka_unit_test(hairpin), \
	cmocka_unit_test(datagrams), \
	cmocka_unit_test(bulk_with_offload), \
	cmocka_unit_test(shift_and_drain), \
	cmocka_unit_test(purge_resets), \
	cmocka_unit_test(closed_port_refuses), \
	cmocka_unit_test(closed_client_refuses), \
	cmocka_unit_test(no_backend_refuses), \
	cmocka_unit_test(path_mtu_is_discovered), \
	cmocka_unit_test(daemon_comes_and_goes)
/* clang-format on */

static void run_again(void **state)
{
	const struct CMUnitTest tests[] = {TESTS_OF_BOTH};

	for (unsigned i = 0; i < ARRAY_SIZE(tests); i++)
		tests[i].test_func(state);
}

#endif
