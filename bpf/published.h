/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Ports that a service has on the node's own address: who is outside of the overlay calls them, and
 * the node balances them over the service's backends, its own and those of other nodes. The client
 * keeps its address all the way. For TC and XDP alike; nothing here touches the packet.
 *
 * A flow has a word under (client, service, host port), and one for the answer under (client,
 * service, backend), which says by which of the service's published ports it came. */
#ifndef WEFT_BPF_PUBLISHED_H
#define WEFT_BPF_PUBLISHED_H

#include "bpf/service.h"

struct outside {
	const struct weft_bpf_published *pub;
	const struct weft_bpf_service *svc;
	const struct weft_bpf_instance *to;
	__u32 to_id;
};

static __always_inline const struct weft_bpf_publish_at *published_at(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&publish_at, &zero);
}

/* The service of a published port. */
static __always_inline bool published_port(struct outside *o, __be16 dport, __u8 proto)
{
	__u32 key = bpf_ntohs(dport) | (__u32)(proto == IPPROTO_UDP) << 16, id;
	const __u64 *word;

	word = bpf_map_lookup_elem(&publish_ports, &key);
	if (!word || !*word)
		return false;
	id = *word;
	o->pub = bpf_map_lookup_elem(&published, &id);
	if (!o->pub || !o->pub->active)
		return false;
	o->svc = service_get(o->pub->service);
	return o->svc != NULL;
}

/* Is it the address at which there are published ports? */
static __always_inline bool published_addr(__be32 addr)
{
	const struct weft_bpf_publish_at *at = published_at();

	return at && at->addr && at->addr == addr;
}

static __always_inline bool published_addr6(const __be32 addr[4])
{
	const struct weft_bpf_publish_at *at = published_at();

	return at && has_addr6(at->addr6) &&
	       !((at->addr6[0] ^ addr[0]) | (at->addr6[1] ^ addr[1]) | (at->addr6[2] ^ addr[2]) |
		       (at->addr6[3] ^ addr[3]));
}

/* Whether what is sent to daddr is for a published port. */
static __always_inline bool published_find(
	struct outside *o, __be32 daddr, __be16 dport, __u8 proto)
{
	return published_addr(daddr) && published_port(o, dport, proto);
}

static __always_inline bool published_find6(
	struct outside *o, const __be32 daddr[4], __be16 dport, __u8 proto)
{
	return published_addr6(daddr) && published_port(o, dport, proto);
}

/* What stands for a client's IPv6 address in a flow's key. Two that share it, and a port, share a
 * backend as well; what is sent to either still goes to its own address. */
static __always_inline __be32 client6(const __be32 addr[4])
{
	__u64 x = (((__u64)addr[0] << 32 | addr[1]) ^ flow_seed[0]) * 0xff51afd7ed558ccdULL;

	x ^= x >> 32;
	x = (x + (((__u64)addr[2] << 32 | addr[3]) ^ flow_seed[1])) * 0xc4ceb9fe1a85ec53ULL;
	return (__be32)(x >> 32);
}

/* Addresses of clients are no epochs of instances, and policies no ports. */
#define OUTSIDE_END  (1ULL << 63)
#define OUTSIDE_MARK 0x10000

/* Of a packet between client and one of the service's backends, at its own port. */
static __always_inline struct flow_key outside_key(const struct packet *p, __be32 client,
	__be16 client_port, const struct weft_bpf_service *svc, __be16 port)
{
	struct flow_key key = {
		.pair = flow_pair(
			p, OUTSIDE_END | flow_end(client, client_port), flow_end(svc->epoch, port)),
	};

	return key;
}

static __always_inline bool outside_backend(__u64 word, struct outside *o)
{
	__u32 id = weft_flow_id(word);

	o->to = instance_get(id);
	o->to_id = id;
	return o->to && !(word & WEFT_FLOW_REVERSE) && o->to->service == o->pub->service &&
	       flow_holds(word, id, o->to);
}

static __always_inline void outside_open_back(
	const struct packet *p, const struct outside *o, const struct flow_key *back)
{
	__u64 hash = flow_hash(back), called = 1 + o->pub->index;
	__u64 bits = WEFT_FLOW_REVERSE | (called & 7) << WEFT_FLOW_AUX_SHIFT;

	flow_replace(hash, flow_word(hash, o->to_id, o->to->generation, bits, flow_first_state(p)));
}

/* The backend of a packet for a published port, whose transport header has been parsed. */
static __always_inline int call_published(const struct packet *p, __be32 client, struct outside *o)
{
	struct flow_key key = outside_key(p, client, p->sport, o->svc, o->pub->port), back;
	__u64 hash, stale = 0, other, isn;
	int lost = DROP(NO_FLOW), id;
	struct flow f;

	key.mark = OUTSIDE_MARK | o->pub->host_port;
	hash = flow_hash(&key);
	if (p->opens)
		flow_expect_back(key.pair);
	if (flow_find(hash, &f)) {
		stale = f.word;
		if (!outside_backend(f.word, o)) {
			lost = DROP(BACKEND_GONE);
		} else if (!flow_reopens(p, f.word)) {
			back = key_from_backend(&key, o->to);
			flow_touch(&f, p, &key, &back);
			return 0;
		}
	}
	if (!p->opens)
		return lost;
	id = pick_backend(p, &key, o->pub->service, WEFT_POLICY_RR, (1 + o->pub->index) & 7);
	if (id < 0)
		return id;
	o->to_id = id;
	o->to = instance_get(o->to_id);
	if (!o->to)
		return DROP(NO_BACKEND);
	isn = (__u64)flow_isn(p) << WEFT_FLOW_AUX_SHIFT;
	other = flow_insert(hash,
		flow_word(hash, o->to_id, o->to->generation, isn, flow_first_state(p)), stale);
	if (!other)
		count_flow(o->pub->service, o->to_id);
	else if (!outside_backend(other, o))
		return DROP(BACKEND_GONE);
	back = key_from_backend(&key, o->to);
	outside_open_back(p, o, &back);
	return 0;
}

/* The flow that is between a caller and a backend: which word it has for calls. For what must not
 * change anything. */
static __always_inline bool known_published(
	const struct packet *p, struct outside *o, __be32 client)
{
	struct flow_key key = outside_key(p, client, p->sport, o->svc, o->pub->port);
	struct flow f;

	key.mark = OUTSIDE_MARK | o->pub->host_port;
	return flow_find(flow_hash(&key), &f) && outside_backend(f.word, o);
}

/* p is an answer of a backend, from its namespace address, to who called a published port of this
 * node: then by which. With touch it counts as a sign of life. */
static __always_inline bool answers_published(const struct packet *p, __be32 client,
	const struct weft_bpf_instance *from, __u32 from_id, struct outside *o, bool touch)
{
	struct flow_key forth, back;
	struct flow f;
	__u32 id;

	o->svc = service_get(from->service);
	if (!o->svc || !o->svc->n_published)
		return false;
	forth = outside_key(p, client, p->dport, o->svc, p->sport);
	back = key_from_backend(&forth, from);
	if (!flow_find(flow_hash(&back), &f) || !flow_holds(f.word, from_id, from))
		return false;
	id = o->svc->published + weft_flow_aux(f.word) - 1;
	o->pub = bpf_map_lookup_elem(&published, &id);
	if (!o->pub || !o->pub->active || o->pub->service != from->service)
		return false;
	forth.mark = OUTSIDE_MARK | o->pub->host_port;
	if (touch)
		flow_touch(&f, p, &back, &forth);
	return true;
}

#endif
