/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ICMP errors about what a published port's caller and its backend send each other: quoted is a
 * packet as the one or the other side of the translation knows it. Echo is the host's own. */
#ifndef WEFT_BPF_PUBLISH_ICMP_H
#define WEFT_BPF_PUBLISH_ICMP_H

#include "bpf/encap.h"
#include "bpf/icmp.h"
#include "bpf/published.h"

#define PORT_SOURCE 0 /* offsets in a transport header */
#define PORT_DEST   2

static __always_inline bool has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP;
}

static __always_inline bool in_overlay_range(__be32 addr)
{
	return (addr & bpf_htonl(WEFT_OVERLAY_MASK)) == bpf_htonl(WEFT_OVERLAY_NET);
}

/* Out of the node, by the uplink and its routes. */
static __always_inline int leave(void)
{
	__u32 zero = 0;
	const struct weft_bpf_uplink *up = bpf_map_lookup_elem(&uplink, &zero);

	return up && up->ifindex ? (int)bpf_redirect_neigh(up->ifindex, NULL, 0, 0)
				 : DROP(NO_UPLINK);
}

static __always_inline void return_key(struct weft_return_key *k, __be32 client, __be16 client_port,
	__u32 instance, __be16 port, __u8 proto)
{
	__builtin_memset(k, 0, sizeof(*k));
	k->client[2] = bpf_htonl(0xffff);
	k->client[3] = client;
	k->instance = instance;
	k->client_port = client_port;
	k->port = port;
	k->proto = proto;
}

/* Whose answer, or error, is it that an instance, here or on another node, sends to who is outside,
 * or that comes by a tunnel? */
enum publish_kind {
	PUBLISH_NONE,
	PUBLISH_OURS,  /* of a call by our own port: its number in the low bits */
	PUBLISH_PEERS, /* of a call that came by the peer's: its id */
};
#define PUBLISH(kind, id)    ((__u64)(kind) << 32 | (id))
#define PUBLISH_KIND(answer) ((__u32)((answer) >> 32))

static __always_inline bool is_icmp4(struct __sk_buff *skb)
{
	const __u8 *ip = frame(skb) + IP_OFF;

	return (void *)(ip + IP_HLEN_MIN) <= frame_end(skb) && ip[9] == IPPROTO_ICMP;
}

/* Make the quoted packet one from saddr to daddr with another port at which of its header. */
static __always_inline int quoted_outside(struct __sk_buff *skb, const struct packet *p,
	struct quoted *q, __be32 saddr, __be32 daddr, __u32 which, __be16 port)
{
	__be16 old = q->words[which / 2];

	if (bpf_skb_store_bytes(skb, q->l4 + which, &port, sizeof(port), 0) ||
		bpf_l4_csum_replace(skb, p->l4 + ICMP_CHECK_OFF, old, port, sizeof(port)))
		return DROP(NO_MEMORY);
	return quoted_rewrite(skb, p, q, saddr, daddr, csum_fold((__u64)(__u16)~old + port));
}

/* From outside, about an answer that has left this node: the verdict or NOT_OURS. */
__noinline int publish_error_in(struct __sk_buff *skb)
{
	struct packet p = {}, answer = {};
	struct quoted q = {};
	struct outside o = {};
	int ret;

	if (error_read(skb, &p, &q, &answer) || answer.daddr != p.daddr ||
		!has_ports(answer.proto) ||
		!published_find(&o, answer.daddr, answer.dport, answer.proto) ||
		!known_published(&answer, &o, answer.saddr))
		return NOT_OURS;
	ret = quoted_outside(skb, &p, &q, o.to->ns_addr, q.ip.daddr, PORT_SOURCE, o.pub->port);
	if (!ret)
		ret = nat_rewrite(skb, &p, p.saddr, o.to->ns_addr);
	if (ret)
		return ret;
	count_packet(skb, o.pub->service, o.to_id, TO_BACKEND);
	return deliver(skb, o.to);
}

/* From an instance to a caller, about what that sent: PUBLISH(). */
static __always_inline __u64 error_whose(const struct packet *p, const struct packet *answer,
	const struct weft_bpf_instance *from, __u32 from_id, struct outside *o)
{
	struct weft_return_key key;
	const __u32 *peer;

	if (answer->saddr != from->ns_addr || answer->daddr != p->daddr ||
		!has_ports(answer->proto))
		return 0;
	if (answers_published(answer, answer->daddr, from, from_id, o, false))
		return PUBLISH(PUBLISH_OURS, 0);
	if (from->device == WEFT_DEVICE_REMOTE)
		return 0;
	return_key(&key, answer->daddr, answer->dport, from->epoch, answer->sport, answer->proto);
	peer = bpf_map_lookup_elem(&returns, &key);
	return peer ? PUBLISH(PUBLISH_PEERS, *peer) : 0;
}

/* The verdict; NOT_OURS; or, for encap() and above all verdicts, the peer whose caller's it is. */
#define ERROR_PEER(peer) (0x10000 + (peer))
__noinline int publish_error_out(struct __sk_buff *skb, __u32 from_id)
{
	const struct weft_bpf_publish_at *at = published_at();
	const struct weft_bpf_instance *from = instance_get(from_id);
	struct packet p = {}, answer = {};
	struct quoted q = {};
	struct outside o = {};
	__u64 whose;
	int ret;

	if (!from || !at || error_read(skb, &p, &q, &answer))
		return NOT_OURS;
	whose = error_whose(&p, &answer, from, from_id, &o);
	if (PUBLISH_KIND(whose) == PUBLISH_PEERS)
		return ERROR_PEER((__u32)whose);
	if (PUBLISH_KIND(whose) != PUBLISH_OURS)
		return NOT_OURS;
	ret = quoted_outside(skb, &p, &q, q.ip.saddr, at->addr, PORT_DEST, o.pub->host_port);
	if (!ret)
		ret = nat_rewrite(skb, &p, at->addr, p.daddr);
	if (ret)
		return ret;
	count_packet(skb, from->service, from_id, FROM_BACKEND);
	return leave();
}

/* By a tunnel: about an answer to a peer's caller, for the instance here whose id is returned; from
 * an instance of the peer about what a caller of ours sent, then its id and PUBLISH_OURS; or a
 * DROP(). */
__noinline __s64 publish_error_judge(struct __sk_buff *skb, __u32 peer)
{
	const struct weft_bpf_instance *to, *from;
	struct packet p = {}, answer = {};
	struct weft_return_key key;
	struct quoted q = {};
	const __u32 *id, *known;
	int ret;

	ret = error_read(skb, &p, &q, &answer);
	if (ret)
		return ret;
	id = bpf_map_lookup_elem(&ns_addrs, &p.saddr);
	from = id ? instance_get(*id) : NULL;
	if (from)
		return from->device == WEFT_DEVICE_REMOTE && from->peer == peer
			       ? (__s64)PUBLISH(PUBLISH_OURS, *id)
			       : DROP(TUNNEL_SOURCE);
	id = bpf_map_lookup_elem(&ns_addrs, &p.daddr);
	to = id ? instance_get(*id) : NULL;
	if (in_overlay_range(p.saddr) || !to || to->device == WEFT_DEVICE_REMOTE ||
		answer.daddr != p.daddr)
		return DROP(TUNNEL_SOURCE);
	return_key(&key, answer.saddr, answer.sport, to->epoch, answer.dport, answer.proto);
	known = bpf_map_lookup_elem(&returns, &key);
	if (!known || *known != peer)
		return DROP(ICMP_NO_FLOW);
	count_packet(skb, to->service, *id, TO_BACKEND);
	return *id;
}

#endif
