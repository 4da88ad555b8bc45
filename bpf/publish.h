/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Published ports in TC: calls from outside as they come in at the uplink, and their answers on the
 * way out. A backend of another node gets the packet by the tunnel, with the client's address as
 * its source; that node remembers whom to send the answer to, and this one sends it on as its own.
 *
 * A later fragment follows its first by the same notes as inside of the overlay. That of an answer
 * says by reverse that it is one, and whose: to is the peer's id, 0 for the caller of a port of
 * this node. */
#ifndef WEFT_BPF_PUBLISH_H
#define WEFT_BPF_PUBLISH_H

#include "bpf/forward.h"
#include "bpf/icmp.h"
#include "bpf/publish_icmp.h"
#include "bpf/published.h"
#include "bpf/reset.h"
#include "bpf/unreachable.h"

static __always_inline int nat_port(
	struct __sk_buff *skb, const struct packet *p, __u32 which, __be16 from, __be16 to)
{
	bool udp = p->proto == IPPROTO_UDP;
	__u32 check = p->l4 + (udp ? UDP_CHECK_OFF : TCP_CHECK_OFF);

	if (from == to)
		return 0;
	if (bpf_l4_csum_replace(skb, check, from, to, 2 | (udp ? BPF_F_MARK_MANGLED_0 : 0)) ||
		bpf_skb_store_bytes(skb, p->l4 + which, &to, sizeof(to), 0))
		return DROP(NO_MEMORY);
	return 0;
}

/* A connection that is no more: its caller shall know at once. The verdict, or ret again. */
__noinline int publish_lost(struct __sk_buff *skb, int ret)
{
	struct packet p = {};
	int answer;

	if ((ret != DROP(NO_FLOW) && ret != DROP(BACKEND_GONE) && ret != DROP(PORT_IN_USE)) ||
		parse_ip(skb, &p) || p.proto != IPPROTO_TCP || parse_l4(skb, &p))
		return ret;
	answer = reset_sender(skb, &p, NULL);
	if (answer < 0)
		return ret;
	count_drop(DROP_REASON(ret));
	return answer;
}

/* Steps in functions of their own, one after the other: each has the stack for itself, and is
 * verified once. */
#define PICKED(pub, to)  ((__s64)(pub) << 32 | (to))
#define PICKED_PUB(pick) ((__u32)((pick) >> 32))
#define PICKED_TO(pick)  ((__u32)(pick))

/* Of what comes in at the uplink: which port and which backend of it, 0: it is for no published
 * one; or a DROP(). */
__noinline __s64 publish_pick(struct __sk_buff *skb)
{
	struct packet p = {};
	struct outside o = {};
	int ret;

	if (parse_pull(skb) || parse_ip(skb, &p) || !has_ports(p.proto) || p.frag_later ||
		parse_l4(skb, &p) || !published_find(&o, p.daddr, p.dport, p.proto))
		return 0;
	ret = call_published(&p, p.saddr, &o);
	if (ret)
		return ret;
	if (p.frag_first) {
		struct weft_frag note = {
			.saddr = p.saddr,
			.daddr = o.to->ns_addr,
			.to = o.to_id,
			.backend = o.to_id,
			.service = o.pub->service,
		};

		frag_note(&p, &note);
	}
	return PICKED(o.svc->published + o.pub->index, o.to_id);
}

/* The way to the backend: what it takes, or a DROP(). */
static __always_inline int outside_mtu(struct __sk_buff *skb, const struct packet *p,
	const struct weft_bpf_instance *to, __u32 *ret)
{
	*ret = overlay_mtu;
	if (to->device != WEFT_DEVICE_REMOTE)
		return 0;
	*ret = peer_mtu(to->peer);
	if (!*ret)
		return DROP(NO_PEER);
	return p->ip_len > *ret && too_big(skb, *ret, true) ? DROP(TOO_BIG) : 0;
}

/* Its sender, 0: who is outside, has to know. */
static __always_inline int outside_too_big(struct __sk_buff *skb, __u32 from_id, __u32 mtu)
{
	int answer = icmp_answer(skb, from_id, WEFT_DROP_TOO_BIG, mtu);

	if (answer < 0)
		return DROP(TOO_BIG);
	count_drop(WEFT_DROP_TOO_BIG);
	return answer;
}

/* Make it a packet to that backend's own port: 0, a DROP(), or the verdict on an error to its
 * sender. */
__noinline int publish_to(struct __sk_buff *skb, __u32 pub_id, __u32 to_id)
{
	const struct weft_bpf_published *pub = bpf_map_lookup_elem(&published, &pub_id);
	const struct weft_bpf_instance *to = instance_get(to_id);
	struct packet p = {};
	__u32 mtu;
	int ret;

	if (!pub || !to || parse_ip(skb, &p) || parse_l4(skb, &p))
		return DROP(BACKEND_GONE);
	ret = outside_mtu(skb, &p, to, &mtu);
	if (ret)
		return ret == DROP(TOO_BIG) ? outside_too_big(skb, 0, mtu) : ret;
	count_packet(skb, pub->service, to_id, TO_BACKEND);
	if (mtu && p.tcp_flags & TCP_SYN && !p.frag_first)
		mss_clamp(skb, p.l4, mtu);
	ret = nat_port(skb, &p, PORT_DEST, p.dport, pub->port);
	if (!ret)
		ret = nat_rewrite(skb, &p, p.saddr, to->ns_addr);
	return ret;
}

/* A fragment that follows: the backend that its first one went to; 0, a DROP(). Only those notes
 * are ours that keep the source. */
__noinline int publish_later(struct __sk_buff *skb)
{
	const struct weft_bpf_instance *to;
	const struct weft_frag *note;
	struct packet p = {};
	int ret;

	if (parse_pull(skb) || parse_ip(skb, &p) || !p.frag_later)
		return 0;
	note = frag_find(&p);
	if (!note || note->reverse || note->saddr != p.saddr)
		return 0;
	to = instance_get(note->to);
	if (!to || to->ns_addr != note->daddr)
		return DROP(BACKEND_GONE);
	ret = nat_rewrite(skb, &p, p.saddr, note->daddr);
	return ret ? ret : note->to;
}

/* At the uplink: NOT_OURS, a verdict, or a DROP(). */
static __always_inline int publish_in(struct __sk_buff *skb)
{
	const struct weft_bpf_instance *to;
	__s64 pick;
	int ret;

	if (is_icmp4(skb))
		return publish_error_in(skb);
	pick = publish_pick(skb);
	if (pick < 0)
		return publish_lost(skb, pick);
	ret = pick ? publish_to(skb, PICKED_PUB(pick), PICKED_TO(pick)) : publish_later(skb);
	if (ret < 0 || (pick && ret))
		return ret;
	if (!pick && !ret)
		return NOT_OURS;
	to = instance_get(pick ? PICKED_TO(pick) : (__u32)ret);
	return to ? deliver(skb, to) : DROP(BACKEND_GONE);
}

/* Whose the answer is that a fragment follows the first one of: PUBLISH(). */
static __always_inline __u64 answer_later(const struct packet *p, __u32 from_id)
{
	const struct weft_frag *note = frag_find(p);

	if (!note || !note->reverse || note->backend != from_id || note->saddr != p->saddr)
		return 0;
	return note->to ? PUBLISH(PUBLISH_PEERS, note->to) : PUBLISH(PUBLISH_OURS, 0);
}

static __always_inline void answer_first(const struct packet *p, __u32 from_id, __u32 peer)
{
	struct weft_frag note = {
		.saddr = p->saddr,
		.daddr = p->daddr,
		.to = peer,
		.backend = from_id,
		.reverse = 1,
	};

	frag_note(p, &note);
}

__noinline __u64 publish_whose(struct __sk_buff *skb, __u32 from_id)
{
	const struct weft_bpf_instance *from = instance_get(from_id);
	struct weft_return_key key;
	struct packet p = {};
	struct outside o = {};
	const __u32 *peer;

	if (!from || parse_ip(skb, &p) || !has_ports(p.proto))
		return 0;
	if (p.frag_later)
		return answer_later(&p, from_id);
	if (parse_l4(skb, &p))
		return 0;
	if (answers_published(&p, p.daddr, from, from_id, &o, true))
		return PUBLISH(PUBLISH_OURS, o.pub->host_port);
	if (from->device == WEFT_DEVICE_REMOTE)
		return 0;
	return_key(&key, p.daddr, p.dport, from->epoch, p.sport, p.proto);
	peer = bpf_map_lookup_elem(&returns, &key);
	return peer ? PUBLISH(PUBLISH_PEERS, *peer) : 0;
}

/* As the node's own, out of the uplink. */
__noinline int publish_send(struct __sk_buff *skb, __u32 from_id, __u32 port)
{
	const struct weft_bpf_instance *from = instance_get(from_id);
	__u32 zero = 0, mtu = overlay_mtu;
	const struct weft_bpf_publish_at *at = bpf_map_lookup_elem(&publish_at, &zero);
	struct packet p = {};
	int ret;

	if (!from || !at || parse_ip(skb, &p) || (!p.frag_later && parse_l4(skb, &p)))
		return DROP(NO_UPLINK);
	if (p.frag_first)
		answer_first(&p, from_id, 0);
	if (from->device == WEFT_DEVICE_REMOTE)
		mtu = peer_mtu(from->peer);
	count_packet(skb, from->service, from_id, FROM_BACKEND);
	if (mtu && p.tcp_flags & TCP_SYN && !p.frag_first)
		mss_clamp(skb, p.l4, mtu);
	ret = p.frag_later ? 0 : nat_port(skb, &p, PORT_SOURCE, p.sport, port);
	if (!ret)
		ret = nat_rewrite(skb, &p, at->addr, p.daddr);
	return ret ? ret : leave();
}

/* As it is to the peer, whose caller it answers. */
__noinline int publish_send_peer(struct __sk_buff *skb, __u32 from_id, __u32 peer)
{
	__u32 mtu = peer_mtu(peer);
	struct packet p = {};

	if (!mtu)
		return DROP(NO_PEER);
	if (parse_ip(skb, &p))
		return DROP(TRUNCATED);
	if (p.ip_len > mtu && too_big(skb, mtu, true))
		return outside_too_big(skb, from_id, mtu);
	if (p.frag_first)
		answer_first(&p, from_id, peer);
	return encap(skb, peer);
}

/* What an instance sends to who is outside: NOT_OURS for what it began itself. */
static __always_inline int publish_out(struct __sk_buff *skb, __u32 from_id)
{
	__u64 whose;
	int ret;

	if (is_icmp4(skb)) {
		ret = publish_error_out(skb, from_id);
		return ret < ERROR_PEER(0) ? ret : encap(skb, ret - ERROR_PEER(0));
	}
	whose = publish_whose(skb, from_id);
	switch (PUBLISH_KIND(whose)) {
	case PUBLISH_OURS:
		return publish_send(skb, from_id, (__u32)whose);
	case PUBLISH_PEERS:
		return publish_send_peer(skb, from_id, (__u32)whose);
	default:
		return NOT_OURS;
	}
}

/* A fragment that follows the first one of a call, by the same peer: the instance, or a DROP(). The
 * notes that publish_judge() leaves have the peer for a backend. */
static __always_inline __s64 judge_later(const struct packet *p, __u32 peer)
{
	const struct weft_frag *note = in_overlay_range(p->saddr) ? NULL : frag_find(p);
	const struct weft_bpf_instance *to;

	if (!note || note->reverse || note->backend != peer || note->daddr != p->daddr)
		return DROP(TUNNEL_SOURCE);
	to = instance_get(note->to);
	if (!to || to->device == WEFT_DEVICE_REMOTE || to->ns_addr != p->daddr)
		return DROP(BACKEND_GONE);
	return note->to;
}

static __always_inline void judge_first(const struct packet *p, __u32 to, __u32 peer)
{
	struct weft_frag note = {.saddr = p->saddr, .daddr = p->daddr, .to = to, .backend = peer};

	frag_note(p, &note);
}

/* From a peer, by the tunnel, with an address that is no instance's: a call of a port that the peer
 * has published, for the instance here whose id is returned; an answer of one there to a caller of
 * ours, then its id and PUBLISH_OURS; or a DROP(). */
__noinline __s64 publish_judge(struct __sk_buff *skb, __u32 peer)
{
	const struct weft_bpf_instance *to, *from;
	const struct weft_bpf_service *svc;
	struct weft_return_key key;
	struct packet p = {};
	const __u32 *known;
	__u32 id;
	int ret;

	ret = parse_ip(skb, &p);
	if (ret)
		return ret;
	if (!has_ports(p.proto))
		return DROP(TUNNEL_SOURCE);
	id = instance_at(p.saddr);
	from = instance_get(id);
	if (!from && p.frag_later)
		return judge_later(&p, peer);
	if (!p.frag_later && parse_l4(skb, &p))
		return DROP(TUNNEL_SOURCE);
	if (from) {
		if (from->device != WEFT_DEVICE_REMOTE || from->peer != peer)
			return DROP(TUNNEL_SOURCE);
		return PUBLISH(PUBLISH_OURS, id);
	}
	if (in_overlay_range(p.saddr))
		return DROP(TUNNEL_SOURCE);
	id = instance_at(p.daddr);
	to = instance_get(id);
	svc = to ? service_get(to->service) : NULL;
	if (!to || to->device == WEFT_DEVICE_REMOTE || !svc || !svc->n_published)
		return DROP(TUNNEL_SOURCE);
	return_key(&key, p.saddr, p.sport, to->epoch, p.dport, p.proto);
	known = bpf_map_lookup_elem(&returns, &key);
	if (!known || *known != peer)
		bpf_map_update_elem(&returns, &key, &peer, BPF_ANY);
	if (p.frag_first)
		judge_first(&p, id, peer);
	count_packet(skb, to->service, id, TO_BACKEND);
	return id;
}

static __always_inline int publish_arrive(struct __sk_buff *skb, __u32 peer)
{
	bool error = is_icmp4(skb);
	const struct weft_bpf_instance *to;
	__s64 judged;
	__u64 whose;
	int ret;

	judged = error ? publish_error_judge(skb, peer) : publish_judge(skb, peer);
	if (judged < 0)
		return judged;
	if (PUBLISH_KIND(judged) == PUBLISH_OURS && error) {
		ret = publish_error_out(skb, (__u32)judged);
		return ret == NOT_OURS ? DROP(ICMP_NO_FLOW) : ret;
	}
	if (PUBLISH_KIND(judged) == PUBLISH_OURS) {
		whose = publish_whose(skb, (__u32)judged);
		return PUBLISH_KIND(whose) == PUBLISH_OURS
			       ? publish_send(skb, (__u32)judged, (__u32)whose)
			       : DROP(TUNNEL_SOURCE);
	}
	to = instance_get((__u32)judged);
	if (!to)
		return DROP(TUNNEL_TARGET);
	return deliver_here(skb, to);
}

#endif
