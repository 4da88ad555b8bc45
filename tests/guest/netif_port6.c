/* SPDX-License-Identifier: Apache-2.0 */
#include "netif_port6.h"

#include <string.h>

#include "addr6.h"
#include "lwip_hooks.h"
#include "time_wait.h"

#include "lwip/ethip6.h"
#include "lwip/icmp6.h"
#include "lwip/inet_chksum.h"
#include "lwip/ip6.h"
#include "lwip/nd6.h"
#include "lwip/prot/ethernet.h"
#include "lwip/prot/ip6.h"
#include "lwip/prot/nd6.h"
#include "lwip/prot/tcp.h"

#define LINK_LOCAL 0 /* the interface's addresses, by lwIP's numbers */
#define OWN        1

#define HOP_LIMIT 255  /* of neighbour discovery */
#define MTU_LEAST 1280 /* RFC 8200, section 5 */

static struct netif *nif;
static ip6_addr_t own, gateway;
static unsigned prefix;
static bool narrow;

void netif_port6_init(struct netif *netif)
{
	nif = netif;
	nif->output_ip6 = ethip6_output;
}

static void copy(ip6_addr_t *to, const uint8_t from[static 16])
{
	memcpy(to->addr, from, sizeof(to->addr));
}

/* A router answers solicitations by its link-local address alone, and lwIP asks it by ours. */
void netif_port6_address(const struct guest_args *args)
{
	netif_ip6_addr_set_state(nif, LINK_LOCAL, IP6_ADDR_INVALID);
	netif_ip6_addr_set_state(nif, OWN, IP6_ADDR_INVALID);
	narrow = false;
	prefix = args->prefix6;
	copy(&own, args->addr6);
	copy(&gateway, args->gateway6);
	if (ip6_addr_isany(&own))
		return;
	netif_create_ip6_linklocal_address(nif, 1);
	netif_ip6_addr_set(nif, OWN, &own);
	netif_ip6_addr_set_valid_life(nif, OWN, IP6_ADDR_LIFE_INFINITE);
	netif_ip6_addr_set_pref_life(nif, OWN, IP6_ADDR_LIFE_INFINITE);
	netif_ip6_addr_set_state(nif, OWN, IP6_ADDR_PREFERRED);
}

/* An advertisement that nobody has asked for (RFC 4861, 7.2.6): whoever knew the address at another
 * hardware address learns ours. lwIP has none, as it does for IPv4. */
void netif_port6_announce(void)
{
	struct na_header *na;
	struct lladdr_option *opt;
	ip6_addr_t all;
	struct pbuf *p;

	if (ip6_addr_isany(&own))
		return;
	p = pbuf_alloc(PBUF_IP, sizeof(*na) + sizeof(*opt), PBUF_RAM);
	if (!p)
		return;
	na = p->payload;
	opt = (struct lladdr_option *)(na + 1);
	memset(na, 0, sizeof(*na) + sizeof(*opt));
	na->type = ICMP6_TYPE_NA;
	na->flags = ND6_FLAG_OVERRIDE;
	ip6_addr_copy_to_packed(na->target_address, own);
	opt->type = ND6_OPTION_TYPE_TARGET_LLADDR;
	opt->length = 1;
	memcpy(opt->addr, nif->hwaddr, 6);
	ip6_addr_set_allnodes_linklocal(&all);
	na->chksum = ip6_chksum_pseudo(p, IP6_NEXTH_ICMP6, p->tot_len, &own, &all);
	ip6_output_if(p, &own, &all, HOP_LIMIT, 0, IP6_NEXTH_ICMP6, nif);
	pbuf_free(p);
}

bool netif_port6_narrow(void)
{
	return narrow;
}

static bool on_link(const ip6_addr_t *addr)
{
	for (unsigned i = 0, bits = prefix; i < 4 && bits; i++) {
		unsigned n = bits < 32 ? bits : 32;
		uint32_t mask = lwip_htonl(0xffffffffU << (32 - n));

		if ((addr->addr[i] ^ own.addr[i]) & mask)
			return false;
		bits -= n;
	}
	return prefix > 0;
}

const ip6_addr_t *netif_port_gateway6(const ip6_addr_t *dest)
{
	if (on_link(dest))
		return dest;
	return ip6_addr_isany(&gateway) ? NULL : &gateway;
}

/* Where the header behind those begins that a router or the receiver may read; 0: nowhere. */
static unsigned skip_options(const uint8_t *packet, unsigned len, uint8_t *next)
{
	unsigned at = IP6_HLEN;

	while (*next == IP6_NEXTH_HOPBYHOP || *next == IP6_NEXTH_ROUTING ||
		*next == IP6_NEXTH_DESTOPTS) {
		if (at + 8 > len)
			return 0;
		*next = packet[at];
		at += 8 * (1 + packet[at + 1]);
	}
	return at + 8 <= len ? at : 0;
}

static void look_at_tcp(const uint8_t *packet, unsigned at, unsigned len)
{
	const struct ip6_hdr *ip = (const struct ip6_hdr *)packet;
	ip_addr_t remote, local;

	ip_addr_copy_from_ip6_packed(remote, ip->src);
	ip_addr_copy_from_ip6_packed(local, ip->dest);
	time_wait_look(packet + at, len - at, &remote, &local);
}

/* What lwIP takes at its word and should not: a fragment whose datagram, put together, has more
 * bytes than it can count, and a path that takes less than IPv6 allows (RFC 8201, section 4).
 * Behind a path that takes less than the interface a segment under way may have to be fragmented,
 * and the device completes no sum over that: from then on lwIP sums. */
int netif_port_input6(struct pbuf *p)
{
	const uint8_t *packet = p->payload;
	uint16_t frag_offset, frag_len;
	uint32_t mtu;
	unsigned at;
	uint8_t next;

	if (p->len < IP6_HLEN)
		return 0;
	next = packet[6];
	at = skip_options(packet, p->len, &next);
	if (!at)
		return 0;
	if (next == IP6_NEXTH_FRAGMENT) {
		frag_offset = (uint16_t)((packet[at + 2] << 8 | packet[at + 3]) & 0xfff8);
		frag_len = (uint16_t)(p->tot_len - at - 8);
		if (at + frag_offset + frag_len <= UINT16_MAX)
			return 0;
	} else if (next == IP6_NEXTH_ICMP6 && packet[at] == ICMP6_TYPE_PTB) {
		memcpy(&mtu, packet + at + 4, 4);
		if (lwip_ntohl(mtu) >= MTU_LEAST) {
			narrow |= lwip_ntohl(mtu) < nif->mtu;
			return 0;
		}
	} else {
		if (next == IP6_NEXTH_TCP)
			look_at_tcp(packet, at, p->len);
		return 0;
	}
	pbuf_free(p);
	return 1;
}

uint16_t netif_port6_pseudo_sum(const uint8_t *frame, size_t len, uint64_t *ret_sum)
{
	const struct ip6_hdr *ip = (const struct ip6_hdr *)(frame + SIZEOF_ETH_HDR);
	uint64_t sum;

	if (len < SIZEOF_ETH_HDR + IP6_HLEN + TCP_HLEN || IP6H_NEXTH(ip) != IP6_NEXTH_TCP)
		return 0;
	sum = PP_HTONS(IP6_NEXTH_TCP) + (uint64_t)ip->_plen;
	for (unsigned i = 0; i < 4; i++)
		sum += (uint64_t)ip->src.addr[i] + ip->dest.addr[i];
	*ret_sum = sum;
	return SIZEOF_ETH_HDR + IP6_HLEN;
}
