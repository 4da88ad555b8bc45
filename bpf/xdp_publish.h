/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Published ports in XDP: what goes on to another node is translated, put into the tunnel and sent
 * before the kernel has made a descriptor of it. What stays on this node goes to TC as it is: it
 * needs one for the instance's device anyway.
 *
 * XDP sees bytes: a checksum that is only begun would be taken for a whole one. So this is only for
 * devices that deliver whole ones, which is all but virtual ones of this very machine. */
#ifndef WEFT_BPF_XDP_PUBLISH_H
#define WEFT_BPF_XDP_PUBLISH_H

#include "bpf/encap.h"
#include "bpf/published.h"

const volatile bool xdp_publishes; /* checksums are whole here */

/* Destination address and port; the checksums by difference. */
static __always_inline int xdp_nat(struct xdp_md *xdp, const struct outside *o)
{
	struct iphdr *ip = (void *)(long)xdp->data + IP_OFF;
	void *end = (void *)(long)xdp->data_end;
	struct udphdr *uh = (void *)(ip + 1);
	struct tcphdr *th = (void *)(ip + 1);
	__u32 addr, diff;

	if ((void *)(uh + 1) > end)
		return -1;
	addr = csum_fold((__u64)(__u32)~ip->daddr + o->to->ns_addr);
	diff = csum_fold((__u64)addr + (__u16)~o->pub->host_port + o->pub->port);
	ip->check = csum_update(ip->check, addr);
	ip->daddr = o->to->ns_addr;
	if (ip->protocol == IPPROTO_TCP) {
		if ((void *)(th + 1) > end)
			return -1;
		th->dest = o->pub->port;
		th->check = csum_update(th->check, diff);
		return 0;
	}
	uh->dest = o->pub->port;
	if (uh->check) {
		uh->check = csum_update(uh->check, diff);
		if (!uh->check)
			uh->check = 0xffff;
	}
	return 0;
}

static __always_inline int xdp_outer(struct xdp_md *xdp, const struct weft_bpf_peer *peer,
	const struct weft_gateway *gw, const struct inner *in)
{
	__u32 payload = sizeof(struct udphdr) + in->len;
	struct ethhdr *eth = (void *)(long)xdp->data;
	void *end = (void *)(long)xdp->data_end;
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *uh = (void *)(ip + 1);
	struct vxlan_header *v;

	if (peer->format != WEFT_FORMAT_RAW)
		payload += sizeof(*v);
	if ((void *)(uh + 1) > end || !address_to(eth, end, gw))
		return -1;
	if (peer->family == 4) {
		eth->h_proto = bpf_htons(ETH_P_IP);
		outer_ipv4(ip, peer, payload, in->tos);
	} else {
		uh = (void *)(ip6 + 1);
		if ((void *)(uh + 1) > end)
			return -1;
		eth->h_proto = bpf_htons(ETH_P_IPV6);
		outer_ipv6(ip6, peer, payload, in->tos, in->hash);
	}
	outer_udp(uh, peer, payload - sizeof(*uh), in->hash);
	if (peer->format == WEFT_FORMAT_RAW)
		return 0;
	v = (void *)(uh + 1);
	if ((void *)(v + 1) > end)
		return -1;
	outer_vxlan(v, false);
	return 0;
}

/* A whole, plain TCP or UDP packet over IPv4; false leaves it to TC. */
static __always_inline bool xdp_parse(struct xdp_md *xdp, struct packet *p, struct inner *in)
{
	const struct ethhdr *eth = (void *)(long)xdp->data;
	const void *end = (void *)(long)xdp->data_end;
	const struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->version != 4 ||
		ip->ihl != IP_HLEN_MIN / 4 || ip->frag_off & bpf_htons(IP_FRAG_MORE | IP_FRAG_OFF))
		return false;
	p->family = 4;
	p->proto = ip->protocol;
	p->saddr = ip->saddr;
	p->daddr = ip->daddr;
	p->ip_len = bpf_ntohs(ip->tot_len);
	p->l4 = IP_OFF + IP_HLEN_MIN;
	in->len = p->ip_len;
	in->tos = ip->tos;
	in->hash = inner_hash((void *)ip, end, false);
	if (p->proto == IPPROTO_TCP)
		return parse_tcp((void *)(ip + 1), end, p) == 0;
	return p->proto == IPPROTO_UDP && parse_udp((void *)(ip + 1), end, p) == 0;
}

static __always_inline int xdp_forward(
	struct xdp_md *xdp, const struct packet *p, const struct outside *o, const struct inner *in)
{
	const struct weft_gateway *gw;
	__u32 id = o->to->peer;
	const struct weft_bpf_peer *peer = peer_get(id);

	/* SYNs have their MSS lowered by TC; and a padded frame is trimmed there. */
	if (!peer || p->ip_len > peer->mtu || p->tcp_flags & TCP_SYN ||
		xdp->data_end - xdp->data != IP_OFF + p->ip_len)
		return XDP_PASS;
	gw = xdp_way_to(xdp, id, peer);
	if (!gw || xdp_nat(xdp, o))
		return XDP_PASS;
	peer_count(id, 1, p->ip_len);
	count_into(bpf_map_lookup_elem(&instance_stats, &o->to_id), 1, p->ip_len, TO_BACKEND);
	count_into(bpf_map_lookup_elem(&service_stats, &o->pub->service), 1, p->ip_len, TO_BACKEND);
	if (bpf_xdp_adjust_head(xdp, -(int)weft_tunnel_overhead(peer->format, peer->family)) ||
		xdp_outer(xdp, peer, gw, in)) {
		count_drop(WEFT_DROP_ENCAP);
		return XDP_DROP;
	}
	return peer->ifindex == xdp->ingress_ifindex ? XDP_TX : (int)bpf_redirect(peer->ifindex, 0);
}

/* What is neither for another node nor lost is TC's. */
static __always_inline int xdp_publish(struct xdp_md *xdp)
{
	struct outside o = {};
	struct packet p = {};
	struct inner in = {};

	if (!xdp_publishes || !xdp_parse(xdp, &p, &in) ||
		!published_find(&o, p.daddr, p.dport, p.proto))
		return XDP_PASS;
	if (call_published(&p, p.saddr, &o) || o.to->device != WEFT_DEVICE_REMOTE)
		return XDP_PASS;
	return xdp_forward(xdp, &p, &o, &in);
}

#endif
