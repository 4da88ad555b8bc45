/* SPDX-License-Identifier: Apache-2.0 */
#include "netif_port.h"

#include <string.h>

#include "cpu.h"
#include "guest.h"
#include "netif_port6.h"
#include "time_wait.h"
#include "virtio_net.h"

#include "lwip/etharp.h"
#include "lwip/icmp.h"
#include "lwip/init.h"
#include "lwip/ip4.h"
#include "lwip/netif.h"
#include "lwip/prot/ip.h"
#include "lwip/prot/tcp.h"
#include "lwip/sys.h"
#include "lwip_hooks.h"

#define BATCH     64
#define MTU_LEAST 1280 /* as IPv6 wants it */

unsigned char *netif_port_heap;

static struct netif netif;
static uint64_t random_state;
static bool narrow;     /* segments under way may have to be fragmented */
static uint16_t checks; /* NETIF_CHECKSUM_* for a frame that the device does not vouch for */

u32_t sys_now(void)
{
	return clock_ms();
}

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* Not for secrets. The TSC's low bits differ from start to start. */
uint32_t netif_port_random(void)
{
	random_state += 0x9e3779b97f4a7c15ULL;
	return (uint32_t)mix(random_state ^ cpu_cycles());
}

/* RFC 6528: a clock of 4 us, plus a function of the connection that only we know. The clock makes
 * the numbers of one connection's successors grow, which is what middleboxes look at. */
u32_t netif_port_isn(
	const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote, u16_t remote_port)
{
	uint64_t ports = (uint64_t)remote_port << 16 | local_port;
	uint64_t ends = random_state;

	if (IP_IS_V6(remote))
		for (unsigned i = 0; i < 4; i++)
			ends = mix(ends ^ ((uint64_t)ip_2_ip6(remote)->addr[i] << 32 |
						  ip_2_ip6(local)->addr[i]));
	else
		ends = mix(ends ^ ((uint64_t)ip4_addr_get_u32(ip_2_ip4(remote)) << 32 |
					  ip4_addr_get_u32(ip_2_ip4(local))));
	return (u32_t)mix(ends ^ ports) + (u32_t)(cpu_cycles() / (clock_khz() * 4 / 1000 + 1));
}

static uint16_t pseudo_sum4(const uint8_t *frame, size_t len, uint64_t *ret_sum)
{
	const struct ip_hdr *ip = (const struct ip_hdr *)(frame + SIZEOF_ETH_HDR);
	uint16_t tcp_len;

	if (len < SIZEOF_ETH_HDR + IP_HLEN + TCP_HLEN || IPH_PROTO(ip) != IP_PROTO_TCP)
		return 0;
	tcp_len = (uint16_t)(lwip_ntohs(IPH_LEN(ip)) - IPH_HL_BYTES(ip));
	*ret_sum = (uint64_t)ip->src.addr + ip->dest.addr + PP_HTONS(IP_PROTO_TCP) +
		   lwip_htons(tcp_len);
	return (uint16_t)(SIZEOF_ETH_HDR + IPH_HL_BYTES(ip));
}

/* Leave the checksum of a TCP segment to the device: it wants the pseudo header's sum in its place.
 * Segments are not fragmented, as the MSS follows the MTU (and netif_port6_narrow()). Returns where
 * TCP begins, 0 if this is none. */
static uint16_t offload_checksum(uint8_t *frame, size_t len)
{
	const struct eth_hdr *eth = (const struct eth_hdr *)frame;
	uint16_t start = 0;
	uint64_t sum = 0;

	if (eth->type == PP_HTONS(ETHTYPE_IP))
		start = pseudo_sum4(frame, len, &sum);
	else if (eth->type == PP_HTONS(ETHTYPE_IPV6))
		start = netif_port6_pseudo_sum(frame, len, &sum);
	if (!start)
		return 0;
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	((struct tcp_hdr *)(frame + start))->chksum = (uint16_t)((sum & 0xffff) + (sum >> 16));
	return start;
}

/* lwIP takes no notice of an ICMP error that says that a packet was too big for its path. What the
 * narrowest path takes is sent to everybody from then on: there is one gateway for all. */
static void learn_mtu(const uint8_t *icmp)
{
	uint16_t mtu = (uint16_t)(icmp[6] << 8 | icmp[7]);

	if (icmp[0] != ICMP_DUR || icmp[1] != ICMP_DUR_FRAG || mtu >= netif.mtu)
		return;
	netif.mtu = mtu < MTU_LEAST ? MTU_LEAST : mtu;
	narrow = true;
}

int netif_port_input4(struct pbuf *p)
{
	const struct ip_hdr *ip = p->payload;
	ip_addr_t remote, local;
	uint16_t head;

	if (p->len < IP_HLEN)
		return 0;
	head = IPH_HL_BYTES(ip);
	if (head < IP_HLEN || p->len < head + 8 || IPH_OFFSET(ip) & PP_HTONS(IP_OFFMASK))
		return 0;
	if (IPH_PROTO(ip) == IP_PROTO_ICMP) {
		learn_mtu((const uint8_t *)ip + head);
	} else if (IPH_PROTO(ip) == IP_PROTO_TCP) {
		ip_addr_copy_from_ip4(remote, ip->src);
		ip_addr_copy_from_ip4(local, ip->dest);
		time_wait_look((const uint8_t *)ip + head, p->len - head, &remote, &local);
	}
	return 0;
}

static err_t output(struct netif *nif, struct pbuf *p)
{
	uint16_t csum_start = 0;
	uint8_t *frame;

	(void)nif;
	if (p->tot_len > VIRTIO_NET_MAX_FRAME)
		return ERR_BUF;
	frame = virtio_net_tx_buffer();
	if (!frame)
		return ERR_MEM; /* TCP tries again, the others may lose a frame */
	pbuf_copy_partial(p, frame, p->tot_len, 0);
	if (!(netif.chksum_flags & NETIF_CHECKSUM_GEN_TCP))
		csum_start = offload_checksum(frame, p->tot_len);
	virtio_net_tx(p->tot_len, csum_start, offsetof(struct tcp_hdr, chksum));
	return ERR_OK;
}

static void input(const uint8_t *frame, size_t len, bool csum_ok)
{
	struct pbuf *p;

	if (len > VIRTIO_NET_MAX_FRAME)
		return;
	p = pbuf_alloc(PBUF_RAW, (u16_t)len, PBUF_POOL);
	if (!p)
		return; /* as a full NIC does */
	pbuf_take(p, frame, (u16_t)len);
	netif.chksum_flags =
		csum_ok ? checks & ~(NETIF_CHECKSUM_CHECK_TCP | NETIF_CHECKSUM_CHECK_UDP) : checks;
	if (netif.input(p, &netif) != ERR_OK)
		pbuf_free(p);
	if (narrow || netif_port6_narrow()) {
		checks |= NETIF_CHECKSUM_GEN_TCP;
		NETIF_SET_CHECKSUM_CTRL(&netif, checks);
	}
}

/* What lwIP sums, and checks, itself, as long as no path takes less than the device. */
static void choose_checks(void)
{
	struct virtio_net_info info;

	virtio_net_get_info(&info);
	netif.mtu = info.mtu;
	narrow = false;
	checks = NETIF_CHECKSUM_ENABLE_ALL;
	if (info.tx_csum)
		checks &= (uint16_t)~NETIF_CHECKSUM_GEN_TCP;
	NETIF_SET_CHECKSUM_CTRL(&netif, checks);
}

static err_t init(struct netif *nif)
{
	struct virtio_net_info info;

	virtio_net_get_info(&info);
	memcpy(nif->hwaddr, info.mac, sizeof(info.mac));
	nif->hwaddr_len = sizeof(info.mac);
	nif->mtu = info.mtu;
	nif->name[0] = 'e';
	nif->name[1] = 'n';
	nif->flags =
		NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
	nif->output = etharp_output;
	nif->linkoutput = output;
	netif_port6_init(nif);
	return ERR_OK;
}

void netif_port_init(void)
{
	random_state = cpu_cycles();
	netif_port_heap = memory_alloc(MEM_SIZE + 4096, 4096);
	lwip_init();
	if (!netif_add(&netif, NULL, NULL, NULL, NULL, init, netif_input))
		panic("lwIP refuses the interface");
	netif_set_default(&netif);
}

void netif_port_address(const struct guest_args *args)
{
	ip4_addr_t addr, mask, gateway;

	netif_set_down(&netif); /* which empties the tables of neighbours */
	random_state = mix(random_state ^ args->seed ^ cpu_cycles());
	if (args->has_mac)
		memcpy(netif.hwaddr, args->mac, sizeof(args->mac));
	memcpy(&addr, args->addr, 4);
	memcpy(&mask, args->mask, 4);
	memcpy(&gateway, args->gateway, 4);
	choose_checks();
	netif_set_addr(&netif, &addr, &mask, &gateway);
	netif_port6_address(args);
	netif_set_up(&netif);
	netif_port6_announce();
	virtio_net_flush();
}

unsigned netif_port_poll(void)
{
	return virtio_net_poll(input, BATCH);
}
