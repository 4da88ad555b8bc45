/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest guest: a process on the queue of a macvtap or a tap that answers ARP for its address
 * and sends every UDP datagram back. A virtual machine adds the same to every path.
 *   tap_echo tap NAME MAC ADDRESS CPU
 *   tap_echo macvtap NETNS LOWER NAME MAC ADDRESS CPU */
#include <linux/ip.h>
#include <linux/udp.h>
#include <linux/virtio_net.h>
#include <net/if_arp.h>
#include <netinet/ether.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/link.h"
#include "tests/bench/bench.h"

#define MTU 1500

struct guest {
	struct ether_addr mac;
	uint32_t addr;
};

struct arp {
	struct arphdr head;
	uint8_t sha[ETH_ALEN];
	uint32_t spa;
	uint8_t tha[ETH_ALEN];
	uint32_t tpa;
} __attribute__((packed));

struct frame {
	struct virtio_net_hdr vnet;
	struct ethhdr eth;
	union {
		struct arp arp;
		struct {
			struct iphdr ip;
			struct udphdr udp; /* no options: ours have none */
		} __attribute__((packed));
	};
	uint8_t rest[2048];
} __attribute__((packed));

static bool answer_arp(const struct guest *g, struct arp *a)
{
	if (a->head.ar_op != htons(ARPOP_REQUEST) || a->tpa != g->addr || a->spa == g->addr)
		return false;
	a->head.ar_op = htons(ARPOP_REPLY);
	memcpy(a->tha, a->sha, ETH_ALEN);
	memcpy(a->sha, &g->mac, ETH_ALEN);
	a->tpa = a->spa;
	a->spa = g->addr;
	return true;
}

/* Both checksums stay what they are: sums do not ask in which order. */
static bool answer_udp(const struct guest *g, struct frame *f)
{
	uint32_t from = f->ip.saddr;
	uint16_t port = f->udp.source;

	if (f->ip.ihl != 5 || f->ip.protocol != IPPROTO_UDP || f->ip.daddr != g->addr)
		return false;
	f->ip.saddr = f->ip.daddr;
	f->ip.daddr = from;
	f->udp.source = f->udp.dest;
	f->udp.dest = port;
	return true;
}

static bool answer(const struct guest *g, struct frame *f, size_t size)
{
	bool yes = false;

	if (f->eth.h_proto == htons(ETH_P_ARP) && size >= ETH_HLEN + sizeof(f->arp))
		yes = answer_arp(g, &f->arp);
	else if (f->eth.h_proto == htons(ETH_P_IP) &&
		 size >= ETH_HLEN + sizeof(f->ip) + sizeof(f->udp))
		yes = answer_udp(g, f);
	if (!yes)
		return false;
	memcpy(f->eth.h_dest, f->eth.h_source, ETH_ALEN);
	memcpy(f->eth.h_source, &g->mac, ETH_ALEN);
	return true;
}

static void serve(int fd, const struct guest *g)
{
	static struct frame f;

	for (;;) {
		ssize_t n = read(fd, &f, sizeof(f));

		if (n < 0)
			err(1, "read");
		if ((size_t)n < sizeof(f.vnet) || !answer(g, &f, (size_t)n - sizeof(f.vnet)))
			continue;
		/* What came with its checksum yet to be completed leaves like that. */
		f.vnet.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
		if (write(fd, &f, (size_t)n) < 0)
			warn("write");
	}
}

int main(int argc, char **argv)
{
	bool tap = argc == 6 && strcmp(argv[1], "tap") == 0;
	struct weft_err error = {0};
	struct guest g;
	uint32_t ifindex;
	uint64_t cpu;
	int fd, r;

	if ((!tap && (argc != 8 || strcmp(argv[1], "macvtap") != 0)) ||
		weft_parse_u64(argv[argc - 1], 0, CPU_SETSIZE - 1, &cpu) < 0)
		errx(2, "usage: tap_echo tap NAME MAC ADDRESS CPU\n"
			"       tap_echo macvtap NETNS LOWER NAME MAC ADDRESS CPU");
	if (!ether_aton_r(argv[argc - 3], &g.mac))
		errx(2, "%s: no hardware address", argv[argc - 3]);
	g.addr = socket_address(argv[argc - 2], 0).sin_addr.s_addr;
	pin(cpu);
	r = tap ? weft_link_tap_add(argv[2], MTU, &fd, &ifindex, &error)
		: weft_link_macvtap_add(
			  argv[2], argv[3], argv[4], g.mac.ether_addr_octet, MTU, &fd, &error);
	if (r < 0)
		errx(1, "%s", error.msg);
	serve(fd, &g);
}
