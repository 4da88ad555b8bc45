/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes among strangers, and what happens when a peer, a device or a data plane goes away. */
#include "tests/bpf/nodes.h"

/* --- strangers --- */

static int stranger_socket(struct node *from)
{
	char addr[64];

	return ns_dial(from->ns, node_addr(2, false, addr), RAW, SOCK_DGRAM);
}

/* An inner packet in Oakestra's format, as whoever can make one. */
static size_t forge(char *buf, const char *saddr, const char *daddr, size_t payload)
{
	struct iphdr *ip = (void *)buf;
	struct udphdr *uh = (void *)(ip + 1);
	uint32_t sum = 0;

	memset(buf, 0, sizeof(*ip) + sizeof(*uh) + payload);
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	ip->tot_len = htons((uint16_t)(sizeof(*ip) + sizeof(*uh) + payload));
	ip->saddr = inet_addr(saddr);
	ip->daddr = inet_addr(daddr);
	for (unsigned i = 0; i < 10; i++)
		sum += ((uint16_t *)ip)[i];
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = (uint16_t) ~(sum + (sum >> 16));
	uh->source = htons(4242);
	uh->dest = htons(NODE_PORT);
	uh->len = htons((uint16_t)(sizeof(*uh) + payload));
	memset(uh + 1, 'x', payload);
	return sizeof(*ip) + sizeof(*uh) + payload;
}

static void await_drops(struct node *n, enum weft_drop reason, uint64_t want)
{
	uint64_t deadline = weft_now_ns() + 20000000000ULL;

	while (node_drops(n, reason) < want) {
		if (weft_now_ns() > deadline)
			fail_msg("%s: %lu, not %lu", weft_dp_drop_name(reason),
				node_drops(n, reason), want);
		poll(NULL, 0, 5);
	}
}

static void nothing_for(int fd)
{
	struct pollfd p = {fd, POLLIN, 0};

	assert_int_equal(poll(&p, 1, 0), 0);
}

/* One that speaks the format and is no peer, beside somebody who listens on the tunnel's port: it
 * reaches neither him nor an instance. */
static void a_stranger(void **state)
{
	int fd, listener = ns_listen(node[2].ns, SOCK_DGRAM, "0.0.0.0", RAW);
	uint64_t before = node_drops(&node[2], WEFT_DROP_UNKNOWN_PEER);
	char buf[256];
	size_t size;

	(void)state;
	assert_int_equal(weft_dp_peer_remove(node[2].dp, 3), 0);
	fd = stranger_socket(&node[3]);
	size = forge(buf, "10.30.1.31", "10.18.0.21", 10);
	assert_int_equal(send(fd, buf, size, 0), size);
	assert_int_equal(send(fd, buf, 0, 0), 0);
	assert_int_equal(send(fd, "\x45", 1, 0), 1);
	await_drops(&node[2], WEFT_DROP_UNKNOWN_PEER, before + 3);
	nothing_for(listener);
	nothing_for(udp[2]);
	close(fd);
	close(listener);
	join_all(&ways[1]);
	populate(&node[2]);
}

static void spoofed_sources(void **state)
{
	int fd = stranger_socket(&node[3]),
	    listener = ns_listen(node[2].ns, SOCK_DGRAM, "0.0.0.0", RAW);
	uint64_t before = node_drops(&node[2], WEFT_DROP_TUNNEL_SOURCE),
		 truncated = node_drops(&node[2], WEFT_DROP_TUNNEL_TRUNCATED),
		 malformed = node_drops(&node[2], WEFT_DROP_TUNNEL_MALFORMED);
	char buf[256], got[32];
	size_t size;

	(void)state;
	/* Its own instance may. */
	size = forge(buf, "10.30.1.31", "10.18.0.21", 10);
	assert_int_equal(send(fd, buf, size, 0), size);
	assert_int_equal(recv(udp[2], got, sizeof(got), 0), 10);
	/* Node 1's, node 2's own, the service, the rest of the world may not. */
	size = forge(buf, "10.30.1.11", "10.18.0.21", 10);
	assert_int_equal(send(fd, buf, size, 0), size);
	size = forge(buf, "10.30.1.21", "10.18.0.21", 10);
	assert_int_equal(send(fd, buf, size, 0), size);
	size = forge(buf, VIP, "10.18.0.21", 10);
	assert_int_equal(send(fd, buf, size, 0), size);
	size = forge(buf, "8.8.8.8", "10.18.0.21", 10);
	assert_int_equal(send(fd, buf, size, 0), size);
	await_drops(&node[2], WEFT_DROP_TUNNEL_SOURCE, before + 4);
	/* A peer, but nothing in it. */
	assert_int_equal(send(fd, buf, 0, 0), 0);
	assert_int_equal(send(fd, buf, 19, 0), 19);
	assert_int_equal(send(fd, buf, 30, 0), 30);
	assert_int_equal(send(fd, "This is no packet at all", 24, 0), 24);
	await_drops(&node[2], WEFT_DROP_TUNNEL_TRUNCATED, truncated + 3);
	await_drops(&node[2], WEFT_DROP_TUNNEL_MALFORMED, malformed + 1);
	nothing_for(listener);
	nothing_for(udp[2]);
	close(fd);
	close(listener);
}

/* Oakestra's own node: a process with a socket, whose datagrams have checksums, begun ones at that
 * on a wire that is none; and who answers to the port that it is told. */
static void a_node_of_another_kind(void **state)
{
	char buf[2048], addr[64];
	int far, near;

	(void)state;
	weft_dp_uplink_remove(node[3].dp);
	for (unsigned kind = 0; kind < 2; kind++) {
		struct sockaddr_in from;
		socklen_t len = sizeof(from);
		size_t size;
		ssize_t n;

		node_add(&node[1], CLIENT, 0, kind ? WEFT_DP_DEV_DIRECT : WEFT_DP_DEV_PEER);
		node_join(&node[1], &node[2], false, WEFT_DP_RAW);
		ns_enter(node[1].ns);
		{
			struct weft_dp_peer peer = node_peer(3, false, WEFT_DP_RAW);
			struct weft_err err = {0};

			assert_int_equal(weft_dp_peer_set(node[1].dp, &peer, &err), 0);
		}
		ns_home();
		node_add_remote(&node[1], 31, SERVICE);
		serve_from(31);
		far = ns_listen(node[3].ns, SOCK_DGRAM, "0.0.0.0", RAW);
		near = ns_dial(client(), VIP, NODE_PORT, SOCK_DGRAM);
		assert_int_equal(send(near, "question", 8, 0), 8);
		n = recvfrom(far, buf, sizeof(buf), 0, (void *)&from, &len);
		assert_int_equal(n, 20 + 8 + 8);
		assert_memory_equal(buf + 12, &(uint32_t){inet_addr("10.30.1.11")}, 4);
		assert_memory_equal(buf + 16, &(uint32_t){inet_addr("10.18.0.31")}, 4);
		assert_memory_equal(buf + 28, "question", 8);
		/* Back, from a socket of its own, to the node's port. */
		close(far);
		far = ns_dial(node[3].ns, node_addr(1, false, addr), RAW, SOCK_DGRAM);
		memmove(buf + 40, buf + 20, 2);
		size = forge(buf, "10.30.1.31", "10.18.0.11", 6);
		memcpy(buf + 22, buf + 40, 2);
		((struct udphdr *)(buf + 20))->source = htons(NODE_PORT);
		assert_int_equal(send(far, buf, size, 0), size);
		memset(buf, 0, sizeof(buf));
		assert_int_equal(recv(near, buf, sizeof(buf), 0), 6);
		assert_memory_equal(buf, "xxxxxx", 6);
		close(far);
		close(near);
	}
	ns_enter(node[3].ns);
	assert_int_equal(weft_dp_uplink_set(node[3].dp, &node[3].uplink, NULL), 0);
	ns_home();
	node_add(&node[1], CLIENT, 0, WEFT_DP_DEV_PEER);
	rejoin(&ways[1]);
}

/* --- what goes away --- */

static void peer_is_removed(void **state)
{
	int a, b, c, d;

	(void)state;
	serve_from(21);
	connect_pair(VIP, 2, &a, &b);
	sock_talk(a, b);
	connect_pair("10.30.1.31", 3, &c, &d);
	assert_int_equal(weft_dp_peer_remove(node[1].dp, 2), 0);
	assert_int_equal(weft_dp_peer_remove(node[2].dp, 1), 0);
	sock_is_reset(a);
	sock_is_reset(b);
	/* Others notice nothing. */
	sock_talk(c, d);
	close_pair(a, b);
	close_pair(c, d);
	rejoin(&ways[1]);
	populate(&node[1]);
	populate(&node[2]);
	serve_from(21);
	connect_pair(VIP, 2, &a, &b);
	sock_talk(a, b);
	close_pair(a, b);
}

/* The backend's node loses its data plane and gets another, while the backend lives on. */
static void node_restarts(void **state)
{
	int a, b, c, d;

	(void)state;
	serve_from(21);
	connect_pair(VIP, 2, &a, &b);
	connect_pair(VIP, 2, &c, &d);
	sock_talk(a, b);
	sock_talk(c, d);
	node_stop(&node[2]);
	node_start(&node[2], WEFT_DP_XDP_AUTO);
	rejoin(&ways[1]);
	populate(&node[2]);
	sock_talk(a, b);
	/* And when it is the backend that has something to say first. */
	sock_talk(d, c);
	sock_bulk(b, a, BULK / 8);
	close_pair(a, b);
	close_pair(c, d);
}

/* The client's node knows no longer what its client had called: both ends learn that. */
static void node_of_the_client_restarts(void **state)
{
	int a, b, c, d;

	(void)state;
	serve_from(21);
	connect_pair(VIP, 2, &a, &b);
	connect_pair(VIP, 2, &c, &d);
	node_stop(&node[1]);
	node_start(&node[1], WEFT_DP_XDP_AUTO);
	rejoin(&ways[1]);
	populate(&node[1]);
	sock_is_reset(a);
	sock_is_reset(d);
	close_pair(a, b);
	close_pair(c, d);
}

static void daemon_comes_and_goes(void **state)
{
	int a, b;

	(void)state;
	serve_from(21);
	connect_pair(VIP, 2, &a, &b);
	node_free(&node[1]);
	node_free(&node[2]);
	sock_talk(a, b);
	sock_bulk(a, b, BULK / 8);
	for (unsigned n = 1; n <= 2; n++) {
		struct weft_dp_uplink_status status;
		struct weft_err err = {0};

		ns_enter(node[n].ns);
		assert_int_equal(weft_dp_open(&node[n].config, &node[n].dp, &err), 0);
		ns_home();
		/* It goes on with what was set, without being told. */
		assert_int_equal(weft_dp_uplink_status(node[n].dp, &status), 0);
		assert_string_equal(status.device, "up0");
		assert_string_equal(status.problem, "");
		assert_int_equal(status.xdp_used, WEFT_DP_XDP_OFF);
		sock_talk(a, b);
	}
	rejoin(&ways[1]);
	sock_talk(b, a);
	close_pair(a, b);
}

static void device_vanishes(void **state)
{
	struct weft_dp_uplink_status status;
	struct weft_dp_peer_status peer;
	int a, b;

	(void)state;
	serve_from(21);
	ns_enter(node[1].ns);
	assert_int_equal(lab_sh("ip link set up0 down; ip link set up0 name gone0"), 0);
	assert_int_equal(weft_dp_tunnel_refresh(node[1].dp), 1);
	assert_int_equal(weft_dp_uplink_status(node[1].dp, &status), 0);
	assert_string_equal(status.problem, "uplink up0: there is no such device");
	assert_int_equal(weft_dp_peer_status(node[1].dp, 2, &peer), 0);
	assert_string_equal(peer.problem, "uplink up0 does not work");
	/* Said once. */
	assert_int_equal(weft_dp_tunnel_refresh(node[1].dp), 0);
	assert_int_equal(lab_sh("ip link set gone0 name up0; ip link set up0 up; ip route add "
				"default via 198.51.100.5; :"),
		0);
	assert_int_equal(weft_dp_tunnel_refresh(node[1].dp), 1);
	assert_int_equal(weft_dp_uplink_status(node[1].dp, &status), 0);
	assert_string_equal(status.problem, "");
	assert_int_equal(weft_dp_peer_status(node[1].dp, 2, &peer), 0);
	assert_string_equal(peer.problem, "");
	ns_home();
	connect_pair(VIP, 2, &a, &b);
	sock_talk(a, b);
	close_pair(a, b);
}

static void mtu_changes(void **state)
{
	struct weft_dp_uplink_status status;
	struct weft_dp_peer_status peer;

	(void)state;
	ns_enter(node[1].ns);
	assert_int_equal(lab_sh("ip link set up0 mtu 1300"), 0);
	assert_int_equal(weft_dp_tunnel_refresh(node[1].dp), 1);
	assert_int_equal(weft_dp_peer_status(node[1].dp, 2, &peer), 0);
	assert_int_equal(peer.mtu, 1250);
	/* Too small for anything. (IPv6 ends at 1280 on a device.) */
	assert_int_equal(lab_sh("ip link set up0 mtu 600"), 0);
	assert_int_equal(weft_dp_tunnel_refresh(node[1].dp), 1);
	assert_int_equal(weft_dp_uplink_status(node[1].dp, &status), 0);
	assert_string_equal(status.problem, "uplink up0: its MTU of 600 is too small");
	assert_int_equal(lab_sh("ip link set up0 mtu 1500; ip -6 addr add 2001:db8:1::2/64 dev up0 "
				"nodad; ip -6 route add default via 2001:db8:1::1"),
		0);
	assert_int_equal(weft_dp_tunnel_refresh(node[1].dp), 1);
	assert_int_equal(weft_dp_peer_status(node[1].dp, 2, &peer), 0);
	assert_int_equal(peer.mtu, 1450);
	ns_home();
}

static void no_way_there(void **state)
{
	struct weft_dp_peer_status status;
	struct weft_dp_peer peer = node_peer(1, false, WEFT_DP_RAW);
	struct weft_err err = {0};

	(void)state;
	ns_enter(node[1].ns);
	/* Itself; somebody to whom no route leads; somebody who cannot be. */
	peer.id = 7;
	assert_int_equal(weft_dp_peer_set(node[1].dp, &peer, &err), 0);
	assert_int_equal(weft_dp_peer_status(node[1].dp, 7, &status), 0);
	assert_string_equal(status.problem, "it is this node's own address");
	assert_int_equal(lab_sh("ip route del default"), 0);
	peer = node_peer(9, false, WEFT_DP_VXLAN);
	peer.id = 7;
	assert_int_equal(weft_dp_peer_set(node[1].dp, &peer, &err), 0);
	assert_int_equal(weft_dp_peer_status(node[1].dp, 7, &status), 0);
	assert_string_equal(status.problem, "no route: Network is unreachable");
	assert_int_equal(
		lab_sh("ip link add else0 type veth peer name else1 && ip link set else0 up && "
		       "ip link set else1 up && ip addr add 203.0.113.1/24 dev else0 && "
		       "ip route add default via 203.0.113.2"),
		0);
	assert_int_equal(weft_dp_tunnel_refresh(node[1].dp), 0);
	assert_int_equal(weft_dp_peer_status(node[1].dp, 7, &status), 0);
	assert_string_equal(status.problem, "its route leaves by else0 and not by the uplink");
	assert_int_equal(lab_sh("ip link del else0; ip route add default via 198.51.100.5"), 0);
	assert_int_equal(weft_dp_tunnel_refresh(node[1].dp), 0);
	assert_int_equal(weft_dp_peer_status(node[1].dp, 7, &status), 0);
	assert_string_equal(status.problem, "");
	inet_pton(AF_INET6, "ff02::1", &peer.addr);
	assert_int_equal(weft_dp_peer_set(node[1].dp, &peer, &err), -EINVAL);
	inet_pton(AF_INET6, "fe80::1", &peer.addr);
	assert_int_equal(weft_dp_peer_set(node[1].dp, &peer, &err), -EINVAL);
	peer = node_peer(2, false, WEFT_DP_VXLAN);
	peer.id = 7;
	assert_int_equal(weft_dp_peer_set(node[1].dp, &peer, &err), -EEXIST);
	assert_int_equal(weft_dp_peer_remove(node[1].dp, 7), 0);
	assert_int_equal(weft_dp_peer_status(node[1].dp, 7, &status), -ENOENT);
	ns_home();
}

static void uplinks_that_are_none(void **state)
{
	struct weft_dp_uplink u = {.device = "nosuch0"};
	struct weft_err err = {0};

	(void)state;
	ns_enter(node[3].ns);
	assert_int_equal(weft_dp_uplink_set(node[3].dp, &u, &err), -ENODEV);
	assert_string_equal(err.msg, "uplink nosuch0: there is no such device");
	u.device = "lo";
	assert_int_equal(weft_dp_uplink_set(node[3].dp, &u, &err), -ENOTSUP);
	u.device = "a-name-that-is-too-long";
	assert_int_equal(weft_dp_uplink_set(node[3].dp, &u, &err), -EINVAL);
	u.device = "";
	assert_int_equal(weft_dp_uplink_set(node[3].dp, &u, &err), -EINVAL);
	/* Somebody has the VXLAN port: it goes without merging, and says so. */
	assert_int_equal(
		lab_sh("ip link add vx9 type vxlan id 9 dstport 60001 dev up0 && ip link set vx9 up"),
		0);
	u = (struct weft_dp_uplink){.device = "up0", .port = 60000};
	assert_int_equal(weft_dp_uplink_set(node[3].dp, &u, &err), 0);
	assert_int_equal(lab_sh("ip link del vx9"), 0);
	assert_int_equal(weft_dp_uplink_set(node[3].dp, &node[3].uplink, &err), 0);
	/* The device of the other port has gone with it. */
	assert_int_not_equal(lab_sh("ip link show weft-vx60001 2>/dev/null"), 0);
	assert_int_equal(lab_sh("ip link show weft-vx50104 >/dev/null"), 0);
	ns_home();
	rejoin(&ways[1]);
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
		cmocka_unit_test(a_stranger),
		cmocka_unit_test(spoofed_sources),
		cmocka_unit_test(a_node_of_another_kind),
		cmocka_unit_test(peer_is_removed),
		cmocka_unit_test(node_restarts),
		cmocka_unit_test(node_of_the_client_restarts),
		cmocka_unit_test(daemon_comes_and_goes),
		cmocka_unit_test(device_vanishes),
		cmocka_unit_test(mtu_changes),
		cmocka_unit_test(no_way_there),
		cmocka_unit_test(uplinks_that_are_none),
		cmocka_unit_test(nothing_is_left),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("nodes_gone", tests, setup, teardown);
}
