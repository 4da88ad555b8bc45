/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
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
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/link.h"

/* The tests live in namespaces of their own as "the host", so that they cannot meet the machine's
 * links and mounts, and bind instances' namespaces below a directory of their own. */
static char dir[64], ns_a[96], ns_b[96];
static const uint8_t mac_a[6] = {0x02, 0xfe, 0, 0, 0, 0xa}, mac_b[6] = {0x02, 0xfe, 0, 0, 0, 0xb};
static const uint8_t mac_vm[6] = {0x02, 0xfe, 0, 0, 0, 0x77};

static struct in_addr ip(const char *s)
{
	struct in_addr a;

	assert_int_equal(inet_pton(AF_INET, s, &a), 1);
	return a;
}

static struct in6_addr ip6(const char *s)
{
	struct in6_addr a;

	assert_int_equal(inet_pton(AF_INET6, s, &a), 1);
	return a;
}

static struct weft_err err;

#define ok(call)                                 \
	do {                                     \
		if ((call) < 0)                  \
			fail_msg("%s", err.msg); \
	} while (0)

static struct weft_link_veth veth(const char *name, const char *netns, const uint8_t *mac,
	const char *addr, const char *gateway)
{
	struct weft_link_veth v = {.host_name = name,
		.netns = netns,
		.peer_name = "eth0",
		.prefix_len = 26,
		.mtu = 1400};

	memcpy(v.mac, mac, 6);
	if (addr)
		v.addr = ip(addr);
	if (gateway)
		v.gateway = ip(gateway);
	return v;
}

/* --- looking around ------------------------------------------------------------------------------
 */

static int enter(const char *netns)
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	_cleanup_(closep) int fd = open(netns, O_RDONLY | O_CLOEXEC);

	assert_true(home >= 0 && fd >= 0);
	assert_int_equal(setns(fd, CLONE_NEWNET), 0);
	return home;
}

static void leave(int home)
{
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	close(home);
}

/* Standard output of a shell command run in netns (NULL: here), without the blanks at its end. */
static const char *sh(const char *netns, const char *command)
{
	static char out[8192];
	int home = netns ? enter(netns) : -1;
	FILE *f = popen(command, "r");
	size_t n;

	assert_non_null(f);
	n = fread(out, 1, sizeof(out) - 1, f);
	out[n] = '\0';
	while (n && isspace((unsigned char)out[n - 1]))
		out[--n] = '\0';
	pclose(f);
	if (home >= 0)
		leave(home);
	return out;
}

static void read_sysctl(const char *netns, const char *path, char *buf, size_t size)
{
	int home = netns ? enter(netns) : -1;
	_cleanup_(freep) char *text = NULL;

	assert_int_equal(weft_read_file(path, 4096, &text, NULL), 0);
	if (home >= 0)
		leave(home);
	snprintf(buf, size, "%s", text);
}

static unsigned count_entries(const char *path)
{
	_cleanup_(closedirp) DIR *d = opendir(path);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	return n;
}

static unsigned count_lines(const char *path, const char *with)
{
	_cleanup_(freep) char *text = NULL;
	char *save = NULL;
	unsigned n = 0;

	assert_int_equal(weft_read_file(path, 1 << 20, &text, NULL), 0);
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		n += strstr(l, with) != NULL;
	return n;
}

static int socket_in(const char *netns, int family, int type, int proto)
{
	int home = netns ? enter(netns) : -1;
	int fd = socket(family, type | SOCK_CLOEXEC, proto);

	assert_true(fd >= 0);
	if (home >= 0)
		leave(home);
	return fd;
}

static unsigned offload(const char *netns, const char *ifname, unsigned command)
{
	_cleanup_(closep) int fd = socket_in(netns, AF_INET, SOCK_DGRAM, 0);
	struct ethtool_value v = {.cmd = command};
	struct ifreq ifr = {.ifr_data = (void *)&v};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	assert_int_equal(ioctl(fd, SIOCETHTOOL, &ifr), 0);
	return v.data;
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 5000) == 1;
}

/* --- two namespaces over a plain bridge of the host ----------------------------------------------
 */

static int setup(void **state)
{
	(void)state;
	ok(weft_netns_add(ns_a, &err));
	ok(weft_netns_add(ns_b, &err));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	weft_link_del("wtl-a");
	weft_link_del("wtl-b");
	weft_link_del("wtl-br");
	weft_link_del("wtl-tap");
	weft_link_host_del("wtl0");
	weft_netns_del(ns_a);
	weft_netns_del(ns_b);
	return 0;
}

/* As the kernel says it at the instance's own end, where something may come by itself. */
static struct weft_link_counters at_its_end(const char *netns)
{
	const char *text =
		sh(netns, "awk '$1 == \"eth0:\" {print $2, $3, $10, $11}' /proc/net/dev");
	struct weft_link_counters c = {0};

	assert_int_equal(sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &c.rx_bytes,
				 &c.rx_packets, &c.tx_bytes, &c.tx_packets),
		4);
	return c;
}

static void expect_counted(struct weft_link_reader *reader, const char *netns, uint32_t ifindex)
{
	struct weft_link_counters before = at_its_end(netns), c = {0}, after;

	assert_int_equal(weft_link_read(reader, ifindex, &c), 0);
	after = at_its_end(netns);
	assert_in_range(c.rx_bytes, before.rx_bytes, after.rx_bytes);
	assert_in_range(c.rx_packets, before.rx_packets, after.rx_packets);
	assert_in_range(c.tx_bytes, before.tx_bytes, after.tx_bytes);
	assert_in_range(c.tx_packets, before.tx_packets, after.tx_packets);
	assert_true(c.rx_bytes > 3000 && c.rx_packets > 2 && c.tx_bytes > 3000 && c.tx_packets > 2);
}

static void udp_echo(const char *from_ns, const char *to_ns, const char *to)
{
	_cleanup_(closep) int client = socket_in(from_ns, AF_INET, SOCK_DGRAM, 0);
	_cleanup_(closep) int server = socket_in(to_ns, AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = ip(to), .sin_port = htons(7)};
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	char buf[4096];

	assert_int_equal(bind(server, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&sa, sizeof(sa)), 0);
	memset(buf, 'x', 3000); /* more than the MTU: fragments and checksums as well */
	assert_int_equal(send(client, buf, 3000, 0), 3000);
	assert_true(readable(server));
	assert_int_equal(
		recvfrom(server, buf, sizeof(buf), 0, (struct sockaddr *)&peer, &len), 3000);
	assert_int_equal(sendto(server, "pong", 4, 0, (struct sockaddr *)&peer, len), 4);
	assert_true(readable(client));
	assert_int_equal(recv(client, buf, sizeof(buf), 0), 4);
}

static void test_veth_carries_udp(void **state)
{
	struct weft_link_veth a = veth("wtl-a", ns_a, mac_a, "10.77.1.2", "10.77.1.1");
	struct weft_link_veth b = veth("wtl-b", ns_b, mac_b, "10.77.1.3", "10.77.1.1");
	struct weft_link_reader *reader = NULL;
	uint32_t ifindex = 0, index_b = 0;
	char text[64];

	(void)state;
	ok(weft_link_veth_add(&a, &ifindex, &err));
	ok(weft_link_veth_add(&b, &index_b, &err));
	assert_int_equal(ifindex, if_nametoindex("wtl-a"));
	assert_int_equal(index_b, if_nametoindex("wtl-b"));

	assert_string_equal(
		sh(ns_a, "ip -br -4 addr show eth0 | awk '{print $2, $3}'"), "UP 10.77.1.2/26");
	assert_string_equal(sh(ns_a, "ip -o link show eth0 | grep -o 'mtu 1400.*ether [0-9a-f:]*' "
				     "| awk '{print $2, $NF}'"),
		"1400 02:fe:00:00:00:0a");
	assert_string_equal(
		sh(ns_a, "ip route show default"), "default via 10.77.1.1 dev eth0 proto static");
	assert_string_equal(sh(ns_a, "ip -br link show lo | awk '{print $2}'"), "UNKNOWN");
	/* silent: no addresses on the host side, no link-local ones anywhere */
	assert_string_equal(sh(NULL, "ip -o addr show wtl-a"), "");
	assert_string_equal(sh(ns_a, "ip -o -6 addr show eth0"), "");
	read_sysctl(NULL, "/proc/sys/net/ipv6/conf/wtl-a/addr_gen_mode", text, sizeof(text));
	assert_string_equal(text, "1\n");
	/* offloads stay on: GSO packets must pass whole */
	assert_int_equal(offload(ns_a, "eth0", ETHTOOL_GTXCSUM), 1);
	assert_int_equal(offload(ns_a, "eth0", ETHTOOL_GTSO), 1);
	assert_int_equal(offload(ns_a, "eth0", ETHTOOL_GGSO), 1);

	sh(NULL, "ip link add wtl-br type bridge && ip link set wtl-br up && "
		 "ip link set wtl-a master wtl-br && ip link set wtl-b master wtl-br");
	udp_echo(ns_a, ns_b, "10.77.1.3");
	udp_echo(ns_b, ns_a, "10.77.1.2");

	ok(weft_link_reader_new(&reader, &err));
	expect_counted(reader, ns_a, ifindex);
	expect_counted(reader, ns_b, index_b);
	assert_int_equal(weft_link_del("wtl-a"), 0);
	assert_int_equal(weft_link_read(reader, ifindex, &(struct weft_link_counters){0}), -ENODEV);
	expect_counted(reader, ns_b, index_b);
	weft_link_reader_free(reader);
}

static void test_gateway_outside_of_the_prefix(void **state)
{
	struct weft_link_veth a = veth("wtl-a", ns_a, mac_a, "10.77.1.2", "10.77.9.1");
	uint32_t ifindex;

	(void)state;
	a.prefix_len = 32;
	ok(weft_link_veth_add(&a, &ifindex, &err));
	assert_string_equal(sh(ns_a, "ip route show default"),
		"default via 10.77.9.1 dev eth0 proto static onlink");
}

static void test_errors_leave_nothing(void **state)
{
	struct weft_link_veth a = veth("wtl-a", ns_a, mac_a, "10.77.1.2", "10.77.1.1");
	unsigned links = count_lines("/proc/net/dev", ""), fds = count_entries("/proc/self/fd");
	uint32_t ifindex = 42;
	char none[128];

	(void)state;
	assert_int_equal(weft_netns_add(ns_a, &err), -EEXIST);
	snprintf(none, sizeof(none), "%s/none", dir);
	a.netns = none;
	assert_int_equal(weft_link_veth_add(&a, &ifindex, &err), -ENOENT);
	a.netns = ns_a;
	a.peer_name = "lo"; /* taken */
	assert_int_equal(weft_link_veth_add(&a, &ifindex, &err), -EEXIST);
	a.peer_name = "eth0";
	a.mac[0] = 1; /* multicast */
	assert_int_equal(weft_link_veth_add(&a, &ifindex, &err), -EADDRNOTAVAIL);
	a.mac[0] = 2;
	a.host_name = "much-too-long-for-a-link";
	assert_int_equal(weft_link_veth_add(&a, &ifindex, &err), -EINVAL);
	a.host_name = "../x";
	assert_int_equal(weft_link_veth_add(&a, &ifindex, &err), -EINVAL);
	a.host_name = "wtl-a";
	a.gateway = ip("127.0.0.1"); /* refused when the pair exists already */
	assert_true(weft_link_veth_add(&a, &ifindex, &err) < 0);
	print_message("# %s\n", err.msg);
	assert_int_equal(ifindex, 42);
	assert_int_equal(count_lines("/proc/net/dev", ""), links);
	assert_int_equal(count_entries("/proc/self/fd"), fds);

	assert_int_equal(weft_link_del("wtl-none"), 0);
	assert_int_equal(weft_netns_del(none), 0);
	assert_int_equal(weft_link_ifindex("wtl-none", &ifindex), -ENODEV);
	assert_int_equal(ifindex, 42);
}

/* --- virtual machines ----------------------------------------------------------------------------
 */

struct frame {
	struct virtio_net_hdr vnet;
	struct ether_header eth;
	char data[100];
} __attribute__((packed));
#define ON_WIRE (sizeof(struct frame) - offsetof(struct frame, eth))

/* Send a frame on a device from a packet socket in netns. */
static void inject(const char *netns, const char *ifname, const uint8_t *to, const char *text)
{
	_cleanup_(closep) int fd = socket_in(netns, AF_PACKET, SOCK_RAW, 0);
	int home = netns ? enter(netns) : -1;
	struct sockaddr_ll sa = {.sll_family = AF_PACKET,
		.sll_ifindex = (int)if_nametoindex(ifname),
		.sll_halen = 6};
	struct frame f = {.eth.ether_type = htons(0x88b5)};

	if (home >= 0)
		leave(home);
	memcpy(f.eth.ether_dhost, to, 6);
	memcpy(f.eth.ether_shost, mac_b, 6);
	snprintf(f.data, sizeof(f.data), "%s", text);
	assert_int_equal(
		sendto(fd, &f.eth, sizeof(f.eth) + 100, 0, (struct sockaddr *)&sa, sizeof(sa)),
		ON_WIRE);
}

/* The frame of our own ethertype with that text arrives on the device's descriptor. */
static void expect_frame(int fd, const char *text)
{
	struct frame f;

	for (;;) {
		assert_true(readable(fd));
		assert_true(read(fd, &f, sizeof(f)) > 0);
		if (f.eth.ether_type == htons(0x88b5))
			break;
	}
	assert_string_equal(f.data, text);
}

static unsigned vnet_flags(int fd)
{
	struct ifreq ifr = {};

	assert_int_equal(ioctl(fd, TUNGETIFF, &ifr), 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	return (unsigned short)ifr.ifr_flags;
}

static void test_macvtap_carries_frames(void **state)
{
	struct weft_link_veth a = veth("wtl-a", ns_a, mac_a, NULL, NULL);
	_cleanup_(closep) int fd = -1, again = -1, out = -1;
	struct frame f = {.eth.ether_type = htons(0x88b5)};
	struct sockaddr_ll sa = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	uint32_t ifindex;

	(void)state;
	ok(weft_link_veth_add(&a, &ifindex, &err));
	assert_string_equal(sh(ns_a, "ip -o -4 addr show eth0; ip route"), "");
	ok(weft_link_macvtap_add(ns_a, "eth0", "mvt0", mac_vm, 1400, &fd, &err));
	assert_int_equal(vnet_flags(fd) & (IFF_VNET_HDR | IFF_TAP | IFF_NO_PI),
		IFF_VNET_HDR | IFF_TAP | IFF_NO_PI);
	assert_string_equal(
		sh(ns_a, "ip -o -d link show mvt0 | grep -o -E 'macvtap mode bridge|mtu "
			 "1400|02:fe:00:00:00:77' | sort -u | tr '\\n' ' '"),
		"02:fe:00:00:00:77 macvtap mode bridge mtu 1400");
	assert_string_equal(sh(ns_a, "ip -o -6 addr show mvt0"), "");

	/* in: what leaves the host side for the guest's MAC; another MAC does not reach it */
	inject(NULL, "wtl-a", mac_a, "for the peer");
	inject(NULL, "wtl-a", mac_vm, "for the guest");
	expect_frame(fd, "for the guest");

	/* out: what the guest writes arrives on the host side */
	out = socket_in(NULL, AF_PACKET, SOCK_RAW, htons(0x88b5));
	sa.sll_ifindex = (int)ifindex;
	sa.sll_protocol = htons(0x88b5);
	assert_int_equal(bind(out, (struct sockaddr *)&sa, sizeof(sa)), 0);
	memset(f.eth.ether_dhost, 0xff, 6);
	memcpy(f.eth.ether_shost, mac_vm, 6);
	snprintf(f.data, sizeof(f.data), "from the guest");
	assert_int_equal(write(fd, &f, sizeof(f)), sizeof(f));
	assert_true(readable(out));
	assert_int_equal(recv(out, (char *)&f + offsetof(struct frame, eth), ON_WIRE, 0), ON_WIRE);
	assert_string_equal(f.data, "from the guest");

	/* a restarted guest: the device stays, the queue is opened again, with what is wanted now
	 */
	close(TAKE_FD(fd));
	ok(weft_link_macvtap_add(ns_a, "eth0", "mvt0", mac_b, 1400, &again, &err));
	inject(NULL, "wtl-a", mac_b, "again");
	expect_frame(again, "again");

	assert_int_equal(
		weft_link_macvtap_add(ns_a, "eth7", "mvt7", mac_vm, 0, &fd, &err), -ENODEV);
	assert_string_equal(err.msg, "macvtap mvt7: lower device eth7: No such device");
	assert_int_equal(
		weft_link_macvtap_add(ns_a, "eth0", "eth0", mac_vm, 0, &fd, &err), -EEXIST);
	assert_int_equal(fd, -1);
}

/* Two namespaces whose macvtaps have the same interface index: the node of one must not open the
 * device of the other. */
static void test_macvtap_is_the_right_one(void **state)
{
	struct weft_link_veth a = veth("wtl-a", ns_a, mac_a, NULL, NULL);
	struct weft_link_veth b = veth("wtl-b", ns_b, mac_b, NULL, NULL);
	_cleanup_(closep) int fd_a = -1, fd_b = -1;
	uint32_t ifindex;

	(void)state;
	ok(weft_link_veth_add(&a, &ifindex, &err));
	ok(weft_link_veth_add(&b, &ifindex, &err));
	ok(weft_link_macvtap_add(ns_a, "eth0", "mvt0", mac_vm, 0, &fd_a, &err));
	ok(weft_link_macvtap_add(ns_b, "eth0", "mvt0", mac_vm, 0, &fd_b, &err));
	inject(NULL, "wtl-b", mac_vm, "for b");
	inject(NULL, "wtl-a", mac_vm, "for a");
	expect_frame(fd_a, "for a");
	expect_frame(fd_b, "for b");
}

static void test_tap_carries_frames(void **state)
{
	struct weft_link_reader *reader = NULL;
	struct weft_link_counters c = {0};
	uint32_t ifindex = 0;
	int fd = -1, no = -1;

	(void)state;
	ok(weft_link_tap_add("wtl-tap", 1400, &fd, &ifindex, &err));
	assert_int_equal(ifindex, if_nametoindex("wtl-tap"));
	assert_int_equal(vnet_flags(fd) & (IFF_VNET_HDR | IFF_TAP), IFF_VNET_HDR | IFF_TAP);
	assert_string_equal(
		sh(NULL, "ip -o link show wtl-tap | grep -o 'mtu 1400'; ip -o addr show wtl-tap"),
		"mtu 1400");
	inject(NULL, "wtl-tap", mac_vm, "for the guest");
	expect_frame(fd, "for the guest");
	ok(weft_link_reader_new(&reader, &err));
	assert_int_equal(weft_link_read(reader, ifindex, &c), 0);
	assert_true(c.rx_packets > 0 && c.rx_bytes > 0); /* what the host sends, the guest gets */
	assert_int_equal(c.tx_packets, 0);
	weft_link_reader_free(reader);
	assert_int_equal(weft_link_tap_add("wtl-tap", 0, &no, &ifindex, &err), -EEXIST);
	assert_int_equal(no, -1);
	close(fd);
	assert_int_equal(weft_link_ifindex("wtl-tap", &ifindex), -ENODEV);
}

/* --- the host's own pair -------------------------------------------------------------------------
 */

static const char *host_routes(void)
{
	return sh(NULL, "ip -o route show dev wtl0 | sed 's/ *$//' | sort | tr '\\n' ';'; "
			"ip -o -4 addr show wtl0 | awk '{print $4}' | tr '\\n' ';'");
}

static void test_host_pair(void **state)
{
	struct weft_link_host h = {.name = "wtl0",
		.addr = ip("10.77.1.1"),
		.subnet = ip("10.77.1.0"),
		.subnet_len = 26,
		.service = ip("10.30.0.0"),
		.service_len = 16,
		.mtu = 1400};
	uint32_t ifindex = 0, again = 0;
	uint8_t mac[6], mac2[6];
	char text[64], buf[64];

	(void)state;
	ok(weft_link_host_add(&h, &ifindex, mac, &err));
	assert_int_equal(ifindex, if_nametoindex("wtl0p"));
	assert_string_equal(host_routes(),
		"10.30.0.0/16 proto static scope link src 10.77.1.1;"
		"10.77.1.0/26 proto static scope link src 10.77.1.1;10.77.1.1/32;");
	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		mac[3], mac[4], mac[5]);
	assert_string_equal(sh(NULL, "ip -br link show wtl0 | awk '{print $3}'"), text);
	assert_string_equal(sh(NULL, "ip -o addr show wtl0p; ip -o -6 addr show wtl0"), "");
	read_sysctl(NULL, "/proc/sys/net/ipv4/conf/wtl0/rp_filter", buf, sizeof(buf));
	assert_string_equal(buf, "2\n");

	/* kept, with what is wanted now: another subnet, no leftovers */
	sh(NULL, "ip addr add 192.0.2.9/24 dev wtl0; ip link set wtl0p down; "
		 "ip route add 198.51.100.0/24 dev wtl0");
	h.addr = ip("10.77.2.1");
	h.subnet = ip("10.77.2.0");
	ok(weft_link_host_add(&h, &again, mac2, &err));
	assert_int_equal(again, ifindex);
	assert_memory_equal(mac, mac2, 6);
	assert_string_equal(host_routes(),
		"10.30.0.0/16 proto static scope link src 10.77.2.1;"
		"10.77.2.0/26 proto static scope link src 10.77.2.1;10.77.2.1/32;");
	assert_string_equal(sh(NULL, "ip -br link show wtl0p | awk '{print $2}'"), "UP");
	ok(weft_link_host_add(&h, &again, mac2, &err));

	assert_int_equal(weft_link_host_del("wtl0"), 0);
	assert_int_equal(weft_link_host_del("wtl0"), 0);
	assert_int_equal(weft_link_ifindex("wtl0p", &again), -ENODEV);
}

static void test_host_pair_conflicts(void **state)
{
	struct weft_link_host h = {.name = "wtl0",
		.addr = ip("10.77.1.1"),
		.subnet = ip("10.77.1.0"),
		.subnet_len = 26,
		.service = ip("10.30.0.0"),
		.service_len = 16};
	uint32_t ifindex = 42;
	uint8_t mac[6];

	(void)state;
	sh(NULL, "ip link add wtl0 type bridge");
	assert_int_equal(weft_link_host_add(&h, &ifindex, mac, &err), -EEXIST);
	assert_string_equal(err.msg, "link wtl0: is there already, but is no veth pair with wtl0p");
	assert_string_equal(err.hint, "delete it: ip link del wtl0");
	sh(NULL, "ip link del wtl0; ip route add 10.30.0.0/16 dev lo");
	assert_int_equal(weft_link_host_add(&h, &ifindex, mac, &err), -EEXIST);
	assert_string_equal(err.msg, "add route 10.30.0.0/16: File exists");
	assert_true(err.hint[0]);
	sh(NULL, "ip route del 10.30.0.0/16 dev lo");
	assert_int_equal(ifindex, 42);
	assert_int_equal(weft_link_ifindex("wtl0", &ifindex), -ENODEV); /* undone */
	h.name = "fifteen-letters";
	assert_int_equal(weft_link_host_add(&h, &ifindex, mac, &err), -EINVAL);
}

/* An address of IPv6 is there at once, with the gateway that answers on every link. */
static void test_veth_of_ipv6(void **state)
{
	struct weft_link_veth a = veth("wtl-a", ns_a, mac_a, "10.77.1.2", "10.77.1.1");
	struct weft_link_veth b = veth("wtl-b", ns_b, mac_b, NULL, NULL);
	uint32_t ifindex;

	(void)state;
	a.addr6 = ip6("fc00::5");
	a.prefix6_len = 120;
	ok(weft_link_veth_add(&a, &ifindex, &err));
	assert_string_equal(sh(ns_a, "ip -o -6 addr show eth0 | awk '{print $4}'; "
				     "ip -6 addr show eth0 | grep -c tentative"),
		"fc00::5/120\n0");
	assert_string_equal(
		sh(ns_a, "ip -6 route show default | grep -o 'default via fe80::1 dev eth0'; "
			 "ip -6 route get 2001:db8::1 | grep -o 'src fc00::5'"),
		"default via fe80::1 dev eth0\nsrc fc00::5");
	assert_string_equal(sh(ns_a, "ip -o -4 addr show eth0 | awk '{print $4}'"), "10.77.1.2/26");
	assert_string_equal(sh(NULL, "ip -o -6 addr show wtl-a"), "");
	/* Alone, and alone on its link. */
	b.addr6 = ip6("fc00::6");
	b.prefix6_len = 128;
	ok(weft_link_veth_add(&b, &ifindex, &err));
	assert_string_equal(sh(ns_b, "ip -o addr show eth0 | awk '{print $4}'"), "fc00::6/128");
	b.prefix6_len = 129;
	assert_int_equal(weft_link_veth_add(&b, &ifindex, &err), -EINVAL);
}

static const char *host_routes6(void)
{
	return sh(NULL, "ip -o -6 route show dev wtl0 proto static | "
			"grep -o '^[^ ]*\\|src [^ ]*' | tr '\\n' ' '; "
			"ip -o -6 addr show wtl0 | awk '{print $4}' | sort | tr '\\n' ';'");
}

static void test_host_pair_of_ipv6(void **state)
{
	struct weft_link_host h = {.name = "wtl0",
		.addr = ip("10.77.1.1"),
		.subnet = ip("10.77.1.0"),
		.subnet_len = 26,
		.service = ip("10.30.0.0"),
		.service_len = 16,
		.addr6 = ip6("fc00::101"),
		.subnet6 = ip6("fc00::101"), /* cut to its prefix */
		.subnet6_len = 120,
		.service6 = ip6("fdff::"),
		.service6_len = 16,
		.mtu = 1400};
	uint32_t ifindex;
	uint8_t mac[6];

	(void)state;
	ok(weft_link_host_add(&h, &ifindex, mac, &err));
	assert_string_equal(host_routes6(),
		"fc00::100/120 src fc00::101 fdff::/16 src fc00::101 fc00::101/128;fe80::2/64;");
	assert_string_equal(sh(NULL, "ip -6 route get fdff:2000::1 | grep -o 'src fc00::101'"),
		"src fc00::101");
	ok(weft_link_host_add(&h, &ifindex, mac, &err)); /* as it is */
	/* Another subnet, no leftovers. */
	sh(NULL,
		"ip addr add 2001:db8::9/64 dev wtl0 nodad; ip route add 2001:db8:1::/64 dev wtl0");
	h.addr6 = ip6("fc00::201");
	h.subnet6 = ip6("fc00::200");
	ok(weft_link_host_add(&h, &ifindex, mac, &err));
	assert_string_equal(host_routes6(),
		"fc00::200/120 src fc00::201 fdff::/16 src fc00::201 fc00::201/128;fe80::2/64;");
	assert_string_equal(host_routes(),
		"10.30.0.0/16 proto static scope link src 10.77.1.1;"
		"10.77.1.0/26 proto static scope link src 10.77.1.1;10.77.1.1/32;");
	/* No IPv6 any more. */
	h.addr6 = (struct in6_addr){0};
	ok(weft_link_host_add(&h, &ifindex, mac, &err));
	assert_string_equal(host_routes6(), "");
	assert_int_equal(weft_link_host_del("wtl0"), 0);
}

/* Host processes reach an instance through the pair once something joins the two; here a bridge
 * stands in for the TC program. */
static void test_host_pair_carries_udp(void **state)
{
	struct weft_link_veth a = veth("wtl-a", ns_a, mac_a, "10.77.1.2", "10.77.1.1");
	struct weft_link_host h = {.name = "wtl0",
		.addr = ip("10.77.1.1"),
		.subnet = ip("10.77.1.0"),
		.subnet_len = 26,
		.service = ip("10.30.0.0"),
		.service_len = 16,
		.mtu = 1400};
	uint32_t ifindex;
	uint8_t mac[6];

	(void)state;
	ok(weft_link_host_add(&h, &ifindex, mac, &err));
	ok(weft_link_veth_add(&a, &ifindex, &err));
	sh(NULL, "ip link add wtl-br type bridge && ip link set wtl-br up && "
		 "ip link set wtl-a master wtl-br && ip link set wtl0p master wtl-br");
	udp_echo(NULL, ns_a, "10.77.1.2");
}

/* --- leaving nothing behind ----------------------------------------------------------------------
 */

static void test_fifty_rounds(void **state)
{
	unsigned fds = count_entries("/proc/self/fd"), links = count_lines("/proc/net/dev", "");
	unsigned files = count_entries(dir);
	struct stat before, after;
	uint64_t t = weft_now_ns();

	(void)state;
	assert_int_equal(stat("/proc/self/ns/net", &before), 0);
	for (int i = 0; i < 50; i++) {
		struct weft_link_veth a = veth("wtl-a", ns_a, mac_a, NULL, "10.77.1.1");
		uint32_t ifindex;
		int fd = -1, tap = -1;

		ok(weft_netns_add(ns_a, &err));
		ok(weft_link_veth_add(&a, &ifindex, &err));
		ok(weft_link_macvtap_add(ns_a, "eth0", "mvt0", mac_vm, 1400, &fd, &err));
		ok(weft_link_tap_add("wtl-tap", 1400, &tap, &ifindex, &err));
		close(fd);
		close(tap);
		assert_int_equal(weft_link_del("wtl-a"), 0);
		assert_int_equal(weft_netns_del(ns_a), 0);
		assert_int_equal(weft_netns_del(ns_a), 0);
	}
	t = (weft_now_ns() - t) / 50;
	print_message(
		"# namespace, veth, macvtap and tap made and removed: %.1f ms\n", (double)t / 1e6);
	assert_int_equal(stat("/proc/self/ns/net", &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(count_entries("/proc/self/fd"), fds);
	assert_int_equal(count_lines("/proc/net/dev", ""), links);
	assert_int_equal(count_lines("/proc/self/mountinfo", dir), 0);
	assert_int_equal(count_entries(dir), files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_veth_carries_udp, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_gateway_outside_of_the_prefix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_veth_of_ipv6, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_pair_of_ipv6, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors_leave_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_macvtap_carries_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(test_macvtap_is_the_right_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tap_carries_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_pair, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_pair_conflicts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_pair_carries_udp, setup, teardown),
		cmocka_unit_test_teardown(test_fifty_rounds, teardown),
	};
	int r;

	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		printf("1..0 # SKIP cannot make namespaces: %s\n", strerror(errno));
		return 0;
	}
	snprintf(dir, sizeof(dir), "/run/weft-test-link.%d", (int)getpid());
	snprintf(ns_a, sizeof(ns_a), "%s/a", dir);
	snprintf(ns_b, sizeof(ns_b), "%s/b", dir);
	if (system("ip link set lo up") != 0 || mkdir(dir, 0700) < 0) {
		printf("1..0 # SKIP no ip(8), or no /run to write in\n");
		return 0;
	}
	r = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return r;
}
