/* SPDX-License-Identifier: Apache-2.0 */
/* Real traffic between nodes: every format, both underlays, wires with and without offloads, XDP in
 * each mode, ways that take less. */
#include "tests/bpf/nodes.h"

/* --- every way --- */

static void tcp_both_ways(void)
{
	int a, b;

	serve_from(21);
	connect_pair(VIP, 2, &a, &b);
	sock_talk(a, b);
	sock_bulk(a, b, BULK);
	sock_bulk(b, a, BULK);
	close_pair(a, b);
	/* The instance's own address. */
	connect_pair("10.30.1.31", 3, &a, &b);
	sock_talk(a, b);
	sock_bulk(b, a, BULK / 4);
	close_pair(a, b);
}

/* There and back, once or, where it is too long for the tunnel and has first to learn by how much,
 * at the second try. */
static void datagram_both_ways(int a, int b, const char *bytes, size_t size)
{
	static char got[65507];
	struct sockaddr_storage from;

	for (int back = 0; back < 2; back++) {
		int to = back ? a : b, tries = 0;
		struct pollfd p = {to, POLLIN, 0};
		socklen_t len = sizeof(from);

		do {
			if (tries++ > 10)
				fail_msg("%zu bytes do not get %s", size, back ? "back" : "there");
			if (back ? sendto(b, bytes, size, 0, (void *)&from, sizeof(from)) < 0
				 : send(a, bytes, size, 0) < 0)
				assert_int_equal(errno, EMSGSIZE);
		} while (poll(&p, 1, 300 * tries) != 1);
		memset(got, 0, size);
		assert_int_equal(recvfrom(to, got, sizeof(got), 0, back ? NULL : (void *)&from,
					 back ? NULL : &len),
			size);
		assert_memory_equal(got, bytes, size);
		while (recv(to, got, sizeof(got), MSG_DONTWAIT) >= 0) /* of another try */
			;
	}
}

static void datagrams(const char *to, int b)
{
	static const size_t sizes[] = {
		0, 1, 1000, 1382, 1402, 1403, 1422, 1423, 4000, 20000, 65507};
	static char bytes[65507];
	int a;

	serve_from(21);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 31 + (i >> 8));
	a = ns_dial(client(), to, NODE_PORT, SOCK_DGRAM);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		datagram_both_ways(a, b, bytes, sizes[i]);
	close(a);
}

/* The same with IPv6 inside, whatever is outside. */
static void tcp6_both_ways(void)
{
	int listener = ns_listen(node_instance_ns[21], SOCK_STREAM, "::", NODE_PORT), a, b;
	char peer[64];

	serve_from(21);
	a = ns_dial(client(), VIP6, NODE_PORT, SOCK_STREAM);
	b = ns_accept(listener, peer);
	assert_string_equal(peer, "fdff::1:b");
	sock_talk(a, b);
	sock_bulk(a, b, BULK / 2);
	sock_bulk(b, a, BULK / 2);
	close_pair(a, b);
	close(listener);
}

static void datagrams6(void)
{
	int b = ns_listen(node_instance_ns[21], SOCK_DGRAM, "::", NODE_PORT);

	datagrams(VIP6, b);
	close(b);
}

static void pings(void)
{
	serve_from(21);
	assert_int_equal(ns_sh(client(), "ping -c2 -i0.2 -W5 " VIP " >/dev/null"), 0);
	assert_int_equal(ns_sh(client(), "ping -c1 -W5 -s 4000 " VIP " >/dev/null"), 0);
	assert_int_equal(ns_sh(client(), "ping -c1 -W5 -M do -s 1372 " VIP " >/dev/null"), 0);
	assert_int_equal(ns_sh(client(), "ping -c1 -W5 10.30.1.31 >/dev/null"), 0);
	assert_int_equal(ns_sh(client(), "ping -c2 -i0.2 -W5 " VIP6 " >/dev/null"), 0);
	assert_int_equal(ns_sh(client(), "ping -c1 -W5 -s 4000 " VIP6 " >/dev/null"), 0);
	assert_int_equal(ns_sh(node_instance_ns[31], "ping -c1 -W5 10.30.1.11 >/dev/null"), 0);
}

/* What traceroute asks, and gets: the overlay is one hop. */
static void traceroute(void)
{
	int a = ns_dial(client(), VIP, 33434, SOCK_DGRAM), one = 1;
	char byte;

	serve_from(31);
	close(a);
	a = ns_dial(client(), VIP, 33434, SOCK_DGRAM);
	assert_int_equal(setsockopt(a, IPPROTO_IP, IP_TTL, &one, sizeof(one)), 0);
	assert_int_equal(send(a, "x", 1, 0), 1);
	assert_int_equal(recv(a, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(a);
}

static unsigned long long all_csum_errors(void)
{
	return ns_csum_errors(client()) + ns_csum_errors(node_instance_ns[21]) +
	       ns_csum_errors(node_instance_ns[31]);
}

static void everything(const char *what)
{
	unsigned long long errors = all_csum_errors();

	print_message("# %s\n", what);
	tcp_both_ways();
	datagrams(VIP, udp[2]);
	tcp6_both_ways();
	datagrams6();
	pings();
	traceroute();
	assert_int_equal(all_csum_errors(), errors);
	for (unsigned n = 1; n < NODES; n++) {
		assert_int_equal(node_drops(&node[n], WEFT_DROP_TUNNEL_TRUNCATED), 0);
		assert_int_equal(node_drops(&node[n], WEFT_DROP_TUNNEL_MALFORMED), 0);
		assert_int_equal(node_drops(&node[n], WEFT_DROP_ENCAP), 0);
	}
}

static void offloads(bool on)
{
	const char *w = on ? "on" : "off";

	for (unsigned n = 1; n < NODES; n++) {
		assert_int_equal(ns_sh(node[n].ns,
					 "ethtool -K up0 tso %s gso %s tx-udp_tnl-segmentation %s "
					 "tx-udp_tnl-csum-segmentation %s gro on >/dev/null",
					 w, w, w, w),
			0);
		assert_int_equal(lab_sh("ethtool -K node%u tso %s gso %s tx-udp_tnl-segmentation "
					"%s tx-udp_tnl-csum-segmentation %s gro on >/dev/null",
					 n, w, w, w, w),
			0);
	}
}

static void wire_with_offloads(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		char what[64];

		rejoin(&ways[i]);
		snprintf(what, sizeof(what), "%s over IPv%d", weft_dp_format_name(ways[i].format),
			ways[i].v6 ? 6 : 4);
		everything(what);
	}
	rejoin(&ways[1]);
}

static void wire_without_offloads(void **state)
{
	(void)state;
	offloads(false);
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		char what[64];

		rejoin(&ways[i]);
		snprintf(what, sizeof(what), "%s over IPv%d", weft_dp_format_name(ways[i].format),
			ways[i].v6 ? 6 : 4);
		everything(what);
	}
	/* Nor checksums: everything is whole on the wire then. */
	for (unsigned n = 1; n < NODES; n++)
		assert_int_equal(ns_sh(node[n].ns, "ethtool -K up0 tx off >/dev/null"), 0);
	everything("whole checksums");
	for (unsigned n = 1; n < NODES; n++)
		assert_int_equal(ns_sh(node[n].ns, "ethtool -K up0 tx on >/dev/null"), 0);
	offloads(true);
	rejoin(&ways[1]);
}

static uint64_t counter(int ns, const char *dev, const char *what)
{
	uint64_t n = 0;
	char path[128];
	FILE *f;

	ns_enter(ns);
	snprintf(path, sizeof(path), "ip -j -s link show %s | jq '.[0].stats64.%s'", dev, what);
	f = popen(path, "re");
	ns_home();
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu", &n), 1);
	pclose(f);
	return n;
}

/* Super-packets cross whole where the wire takes them, in either format; and where it does not,
 * VXLAN is merged again by the receiver. */
static void super_packets(void **state)
{
	int a, b;

	(void)state;
	serve_from(21);
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		uint64_t before;

		rejoin(&ways[i]);
		connect_pair(VIP, 2, &a, &b);
		before = counter(node[1].ns, "up0", "tx.packets");
		sock_bulk(a, b, BULK);
		assert_true(counter(node[1].ns, "up0", "tx.packets") - before < BULK / 1400 / 2);
		close_pair(a, b);
	}
	rejoin(&ways[1]);
}

/* Through the device's own transmission, as a tap gets it: what the kernel still believes of the
 * outer headers must not matter. */
static void device_of_another_kind(void **state)
{
	(void)state;
	node_add(&node[1], CLIENT, 0, WEFT_DP_DEV_DIRECT);
	node_add(&node[2], 21, SERVICE, WEFT_DP_DEV_DIRECT);
	populate(&node[3]);
	for (int wire = 1; wire >= 0; wire--) {
		offloads(wire);
		for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
			rejoin(&ways[i]);
			tcp_both_ways();
			datagrams(VIP, udp[2]);
			tcp6_both_ways();
			datagrams6();
		}
	}
	offloads(true);
	rejoin(&ways[1]);
	node_add(&node[1], CLIENT, 0, WEFT_DP_DEV_PEER);
	node_add(&node[2], 21, SERVICE, WEFT_DP_DEV_PEER);
}

static void balanced(void **state)
{
	unsigned served[NODES] = {0};

	(void)state;
	serve_from(0);
	for (int i = 0; i < 20; i++) {
		int a = ns_dial(client(), VIP, NODE_PORT, SOCK_STREAM), b;
		struct pollfd fds[2] = {{tcp[2], POLLIN, 0}, {tcp[3], POLLIN, 0}};
		unsigned n;

		assert_int_equal(poll(fds, 2, 20000), 1);
		n = fds[0].revents ? 2 : 3;
		b = ns_accept(tcp[n], NULL);
		sock_talk(a, b);
		served[n]++;
		close_pair(a, b);
	}
	assert_int_equal(served[2], 10);
	assert_int_equal(served[3], 10);
}

/* --- sizes --- */

static int path_mtu(int fd)
{
	socklen_t size = sizeof(int);
	int mtu = 0;

	assert_int_equal(getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &size), 0);
	return mtu;
}

static void await_path_mtu(int fd, size_t payload, int want)
{
	static char bytes[65536];
	uint64_t deadline = weft_now_ns() + 20000000000ULL;

	while (path_mtu(fd) != want) {
		if (weft_now_ns() > deadline)
			fail_msg("path MTU %d, not %d", path_mtu(fd), want);
		if (send(fd, bytes, payload, MSG_DONTWAIT) < 0 && errno != EMSGSIZE)
			assert_int_equal(errno, EAGAIN);
		poll(NULL, 0, 5);
	}
}

static void path_mtu_of_the_tunnel(void **state)
{
	static const int inner[] = {1450, 1450, 1450, 1430};

	(void)state;
	serve_from(21);
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		int fd, probe = IP_PMTUDISC_DO;

		rejoin(&ways[i]);
		ns_sh(client(), "ip route flush cache");
		fd = ns_dial(client(), VIP, 9, SOCK_DGRAM);
		assert_int_equal(
			setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe, sizeof(probe)), 0);
		await_path_mtu(fd, 1400 + 22, inner[i]);
		close(fd);
	}
	ns_sh(client(), "ip route flush cache");
	rejoin(&ways[1]);
}

/* The nodes' own stacks hear of it as well, where the error is about a port that they know. */
static void forget_paths(void)
{
	ns_sh(client(), "ip route flush cache");
	for (unsigned n = 1; n < NODES; n++)
		ns_sh(node[n].ns, "ip route flush cache; ip -6 route flush cache");
}

/* A link between the nodes takes less than the uplinks do. */
static void narrow_underlay(void **state)
{
	(void)state;
	serve_from(21);
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		uint32_t narrow = 1400 - weft_tunnel_overhead(ways[i].format, ways[i].v6 ? 6 : 4);
		struct weft_dp_peer_status status;
		int fd, probe = IP_PMTUDISC_DO, a, b;

		rejoin(&ways[i]);
		connect_pair(VIP, 2, &a, &b);
		assert_int_equal(lab_sh("ip link set node2 mtu 1400"), 0);
		fd = ns_dial(client(), VIP, 9, SOCK_DGRAM);
		assert_int_equal(
			setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe, sizeof(probe)), 0);
		await_path_mtu(fd, 1400, (int)narrow);
		close(fd);
		assert_int_equal(weft_dp_peer_status(node[1].dp, 2, &status), 0);
		assert_int_equal(status.mtu, narrow);
		/* A connection from before gets through. */
		sock_bulk(a, b, BULK / 4);
		close_pair(a, b);
		/* Setting the peer again is asking for the whole way again. */
		assert_int_equal(lab_sh("ip link set node2 mtu 1500"), 0);
		forget_paths();
		node_join(&node[1], &node[2], !ways[i].v6, ways[i].format);
	}
	rejoin(&ways[1]);
}

static void by_each_xdp_mode(void **state)
{
	static const enum weft_dp_xdp modes[] = {WEFT_DP_XDP_NATIVE, WEFT_DP_XDP_GENERIC};

	for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
		for (unsigned n = 1; n < NODES; n++)
			node_xdp(&node[n], modes[m]);
		for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
			char what[64];

			rejoin(&ways[i]);
			snprintf(what, sizeof(what), "%s over IPv%d, %s XDP",
				weft_dp_format_name(ways[i].format), ways[i].v6 ? 6 : 4,
				weft_dp_xdp_name(modes[m]));
			everything(what);
		}
		narrow_underlay(state);
	}
	for (unsigned n = 1; n < NODES; n++)
		node_xdp(&node[n], WEFT_DP_XDP_AUTO);
}

static bool arrives(int fd)
{
	struct pollfd p = {.fd = udp[2], .events = POLLIN};
	char b;

	(void)send(fd, "x", 1, 0);
	if (poll(&p, 1, 100) != 1)
		return false;
	while (recv(udp[2], &b, 1, MSG_DONTWAIT) == 1)
		;
	return true;
}

static void await_arrival(int fd, bool wanted)
{
	uint64_t deadline = weft_now_ns() + 20000000000ULL;

	/* One may be late: none does where ten in a row do not. */
	for (int n = 0; n < (wanted ? 1 : 10); n++) {
		if (arrives(fd) != wanted)
			n = -1;
		if (weft_now_ns() > deadline)
			fail_msg("%s", wanted ? "nothing arrives" : "it goes the old way");
	}
}

/* The next hop is remembered for a moment, where the node forwards; elsewhere each packet
 * is routed. Either way a route that leads nowhere is followed, and so is what comes after it. */
static void route_changes(void **state)
{
	(void)state;
	serve_from(21);
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(ways); i++) {
		bool forwards = i >= ARRAY_SIZE(ways), v6 = ways[i % ARRAY_SIZE(ways)].v6;
		const char *nowhere = v6 ? "-6 route %s 2001:db8:2::2 via 2001:db8:1::77 dev up0"
					 : "route %s 198.51.100.10 via 203.0.113.9 dev up0 onlink";
		char add[128], del[128];
		int fd;

		snprintf(add, sizeof(add), nowhere, "add");
		snprintf(del, sizeof(del), nowhere, "del");
		rejoin(&ways[i % ARRAY_SIZE(ways)]);
		assert_int_equal(ns_sh(node[1].ns,
					 "echo %d >/proc/sys/net/ipv4/ip_forward && "
					 "echo %d >/proc/sys/net/ipv6/conf/all/forwarding",
					 forwards, forwards),
			0);
		fd = ns_dial(client(), VIP, NODE_PORT, SOCK_DGRAM);
		await_arrival(fd, true);
		assert_int_equal(ns_sh(node[1].ns, "ip %s", add), 0);
		await_arrival(fd, false);
		assert_int_equal(ns_sh(node[1].ns, "ip %s", del), 0);
		await_arrival(fd, true);
		close(fd);
	}
	rejoin(&ways[1]);
}

/* Everything again on what an older kernel has. */
static void old_kernel(void **state)
{
	(void)state;
	for (unsigned n = 1; n < NODES; n++) {
		node_stop(&node[n]);
		node[n].config.clsact = true;
		node[n].config.no_decap_flags = true;
		node_start(&node[n], WEFT_DP_XDP_AUTO);
	}
	join_all(&ways[1]);
	for (unsigned n = 1; n < NODES; n++) {
		populate(&node[n]);
		assert_string_equal(weft_dp_hook(node[n].dp), "clsact");
	}
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		rejoin(&ways[i]);
		everything(weft_dp_format_name(ways[i].format));
	}
}

static void nothing_is_left(void **state)
{
	(void)state;
	for (unsigned n = 1; n < NODES; n++) {
		node_stop(&node[n]);
		assert_int_not_equal(access(node[n].pins, F_OK), 0);
		assert_int_not_equal(
			ns_sh(node[n].ns, "ip link show type vxlan | grep -q weft-vx"), 0);
		assert_int_not_equal(
			ns_sh(node[n].ns, "tc filter show dev up0 ingress | grep -q bpf"), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(balanced),
		cmocka_unit_test(wire_with_offloads),
		cmocka_unit_test(wire_without_offloads),
		cmocka_unit_test(super_packets),
		cmocka_unit_test(by_each_xdp_mode),
		cmocka_unit_test(device_of_another_kind),
		cmocka_unit_test(path_mtu_of_the_tunnel),
		cmocka_unit_test(narrow_underlay),
		cmocka_unit_test(route_changes),
		cmocka_unit_test(old_kernel),
		cmocka_unit_test(nothing_is_left),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("nodes", tests, setup, teardown);
}
