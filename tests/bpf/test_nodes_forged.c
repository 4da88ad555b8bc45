/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile instance on a node that forwards and masquerades, as one with a way to the outside
 * does: what it sends to another node's own address must not be taken for a router's or for its
 * node's. */
#include "tests/bpf/nodes.h"

#define OTHER 12 /* of the first node as well */

static int setup_forged(void **state)
{
	setup(state);
	node_add(&node[1], OTHER, 0, WEFT_DP_DEV_PEER);
	node_add_remote(&node[2], OTHER, 0);
	assert_int_equal(ns_sh(client(), "ip -6 route replace default via fe80::1 dev eth0"), 0);
	return ns_sh(node[1].ns,
		"echo 1 >/proc/sys/net/ipv4/ip_forward && "
		"echo 1 >/proc/sys/net/ipv6/conf/all/forwarding && "
		"ip route replace 10.18.0.11 dev v11 && ip -6 route replace fc00::b dev v11 && "
		"ip neigh replace 10.18.0.11 lladdr 02:00:00:00:00:0b dev v11 && "
		"ip neigh replace fc00::b lladdr 02:00:00:00:00:0b dev v11 && "
		"ip -6 route replace default via 2001:db8:1::1 dev up0 && "
		"nft 'table inet out { chain c { type nat hook postrouting priority 100; "
		"oifname up0 masquerade; }; }'");
}

/* From the client by raw IP; from where it looks like coming is the host's affair. */
static int raw_socket(bool v6)
{
	int fd;

	ns_enter(client());
	fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC,
		v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	ns_home();
	assert_true(fd >= 0);
	return fd;
}

static void send_to(int fd, const char *to, const void *bytes, size_t size)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6};
	bool v6 = strchr(to, ':');

	inet_pton(AF_INET, to, &a4.sin_addr);
	inet_pton(AF_INET6, to, &a6.sin6_addr);
	assert_int_equal(sendto(fd, bytes, size, 0, v6 ? (void *)&a6 : (void *)&a4,
				 v6 ? sizeof(a6) : sizeof(a4)),
		size);
}

static uint16_t sum(const uint8_t *p, size_t len)
{
	uint32_t n = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		n += (uint32_t)(p[i] << 8 | p[i + 1]);
	while (n >> 16)
		n = (n & 0xffff) + (n >> 16);
	return htons((uint16_t)~n);
}

/* "Fragmentation needed", or "packet too big": what the second node sends to the first is told to
 * be too large for the way. */
static size_t forge_error(uint8_t *buf, bool v6)
{
	uint8_t *ip = buf + 8, *uh = ip + (v6 ? 40 : 20);
	size_t size = (size_t)(uh - buf) + 8;
	char addr[64];

	memset(buf, 0, size);
	buf[0] = v6 ? 2 : 3;
	buf[1] = v6 ? 0 : 4;
	buf[6] = 700 >> 8;
	buf[7] = 700 & 0xff;
	ip[0] = v6 ? 0x60 : 0x45;
	ip[v6 ? 4 : 2] = 1400 >> 8;
	ip[v6 ? 5 : 3] = 1400 & 0xff;
	ip[v6 ? 6 : 9] = IPPROTO_UDP;
	inet_pton(v6 ? AF_INET6 : AF_INET, node_addr(2, v6, addr), ip + (v6 ? 8 : 12));
	inet_pton(v6 ? AF_INET6 : AF_INET, node_addr(1, v6, addr), ip + (v6 ? 24 : 16));
	uh[0] = 50000 >> 8;
	uh[1] = 50000 & 0xff;
	uh[2] = (RAW + 1) >> 8;
	uh[3] = (RAW + 1) & 0xff;
	if (!v6) /* the kernel sums ICMPv6 up itself */
		memcpy(buf + 2, &(uint16_t){sum(buf, size)}, 2);
	return size;
}

/* What the node thinks, after everything sent until now has arrived or been dropped. */
static uint32_t mtu_to_the_first(void)
{
	struct weft_dp_peer_status status;

	assert_int_equal(weft_dp_peer_status(node[2].dp, 1, &status), 0);
	return status.mtu;
}

static void a_path_mtu(void **state)
{
	(void)state;
	for (unsigned i = 1; i < ARRAY_SIZE(ways); i += 2) {
		uint64_t before = node_drops(&node[1], WEFT_DROP_ICMP_FORGED);
		bool v6 = ways[i].v6;
		int fd = raw_socket(v6);
		uint32_t mtu;
		uint8_t buf[128];
		char to[64];

		rejoin(&ways[i]);
		mtu = mtu_to_the_first();
		/* There is a way. */
		assert_int_equal(
			ns_sh(client(), "ping -c1 -W10 %s >/dev/null", node_addr(2, v6, to)), 0);
		send_to(fd, to, buf, forge_error(buf, v6));
		assert_int_equal(ns_sh(client(), "ping -c1 -W10 %s >/dev/null", to), 0);
		assert_int_equal(mtu_to_the_first(), mtu);
		assert_int_equal(node_drops(&node[1], WEFT_DROP_ICMP_FORGED), before + 1);
		close(fd);
	}
	rejoin(&ways[1]);
}

/* In Oakestra's format: from the neighbour's instance address to the second node's instance. */
static void a_tunnel_datagram(void **state)
{
	uint64_t before = node_drops(&node[1], WEFT_DROP_TUNNEL_FORGED);
	uint8_t buf[20 + 8 + 4] = {0x45, [3] = sizeof(buf), [8] = 64, [9] = IPPROTO_UDP};
	struct pollfd p = {udp[2], POLLIN, 0};
	uint16_t check;
	char to[64];
	int fd;

	(void)state;
	rejoin(&ways[0]);
	inet_pton(AF_INET, "10.30.1.12", buf + 12);
	inet_pton(AF_INET, "10.18.0.21", buf + 16);
	check = sum(buf, 20);
	memcpy(buf + 10, &check, 2);
	buf[20] = 0x10;
	buf[22] = NODE_PORT >> 8;
	buf[23] = NODE_PORT & 0xff;
	buf[25] = 8 + 4;
	fd = ns_dial(client(), node_addr(2, false, to), RAW, SOCK_DGRAM);
	assert_int_equal(send(fd, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(ns_sh(client(), "ping -c1 -W10 %s >/dev/null", to), 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(node_drops(&node[1], WEFT_DROP_TUNNEL_FORGED), before + 1);
	close(fd);
	rejoin(&ways[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_mtu),
		cmocka_unit_test(a_tunnel_datagram),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("nodes_forged", tests, setup_forged, teardown);
}
