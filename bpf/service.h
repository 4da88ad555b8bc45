/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a semantic address means for a packet: which instance it goes to, and as whom. Three cases:
 *   call of a service     client -> VIP                  the flow's backend, or one by weight
 *   call of an instance   client -> instance address     that one; tracked as a flow as well
 *   way back              backend -> client's instance address    as what the client had called */
#ifndef WEFT_BPF_SERVICE_H
#define WEFT_BPF_SERVICE_H

#include "bpf/balance.h"
#include "bpf/flow.h"
#include "bpf/quality.h"

struct route {
	const struct weft_bpf_instance *from, *to;
	__u32 from_id, to_id;
	__be32 saddr;  /* the new source; the new destination is to->ns_addr */
	__u32 backend; /* which of both, */
	__u32 service; /* and the service it was called by: 0 for its own address */
	__u32 policy;
	__u32 mtu; /* of the way: 0 without limit */
	bool reverse;
	__u8 state; /* reverse: the flow's, before this packet */
};

/* The new source is addr or, of IPv6, addr6, which is found again later. False when there is none
 * of this family. */
static __always_inline bool route_source(
	const struct packet *p, struct route *r, __be32 addr, const __be32 addr6[4])
{
	if (p->family != 4)
		return has_addr6(addr6);
	r->saddr = addr;
	return addr;
}

/* Of p from client to the service, or (swap) back from one of its backends. */
static __always_inline struct flow_key key_to_service(const struct packet *p,
	const struct weft_bpf_instance *client, const struct weft_bpf_service *svc, __u32 policy,
	bool swap)
{
	struct flow_key key = {
		.pair = flow_pair(p, flow_end(client->epoch, swap ? p->dport : p->sport),
			flow_end(svc->epoch, swap ? p->sport : p->dport)),
		.mark = policy,
	};

	return key;
}

static __always_inline struct flow_key key_from_backend(
	const struct flow_key *forth, const struct weft_bpf_instance *backend)
{
	struct flow_key key = {.pair = forth->pair, .mark = backend->epoch, .back = true};

	return key;
}

/* Between instances: which end is whose cannot be told yet, so the lower one comes first. */
static __always_inline struct flow_key key_direct(const struct packet *p,
	const struct weft_bpf_instance *from, const struct weft_bpf_instance *to)
{
	__u64 a = flow_end(from->epoch, p->sport), b = flow_end(to->epoch, p->dport);
	struct flow_key key = {
		.pair = a < b ? flow_pair(p, a, b) : flow_pair(p, b, a),
		.back = a > b,
	};

	return key;
}

static __always_inline struct flow_key key_direct_other(const struct flow_key *key)
{
	struct flow_key other = {.pair = key->pair, .back = !key->back};

	return other;
}

/* A word may be of an earlier holder of the backend's id, or purged: then it stands for nobody. */
static __always_inline bool flow_holds(
	__u64 word, __u32 id, const struct weft_bpf_instance *backend)
{
	return weft_flow_id(word) == id && weft_flow_generation(word) == (backend->generation & 3);
}

/* Enter a new flow to r->to. Returns 0, or the word of another processor that was quicker. */
static __always_inline __u64 flow_open(
	const struct packet *p, const struct route *r, const struct flow_key *key, __u64 stale)
{
	__u64 isn = (__u64)flow_isn(p) << WEFT_FLOW_AUX_SHIFT, hash = flow_hash(key);

	return flow_insert(hash,
		flow_word(hash, r->to_id, r->to->generation, isn, flow_first_state(p)), stale);
}

static __always_inline void flow_open_back(
	const struct packet *p, const struct route *r, const struct flow_key *back)
{
	__u64 called = r->service ? 1 + r->policy : 0;
	__u64 bits = WEFT_FLOW_REVERSE | called << WEFT_FLOW_AUX_SHIFT;
	__u64 hash = flow_hash(back);

	flow_replace(hash, flow_word(hash, r->to_id, r->to->generation, bits, flow_first_state(p)));
}

/* The backend that a forward word stands for, if it still is one of the service. */
static __always_inline bool flow_backend(__u64 word, __u32 service, struct route *r)
{
	__u32 id = weft_flow_id(word);
	const struct weft_bpf_instance *to = instance_get(id);

	if (!to || word & WEFT_FLOW_REVERSE || to->service != service || !flow_holds(word, id, to))
		return false;
	r->to = to;
	r->to_id = id;
	return true;
}

/* How many backends are tried before a client's port counts as in use. */
#define FREE_TRIES 8

/* A backend for a new flow of that pair, whose way back no other address of the service holds: its
 * id, or a DROP(). A step of its own, with the stack to itself. */
__noinline int pick_free(__u64 pair, __u32 service, __u32 policy, __u32 called, __u32 proto)
{
	/* In the high half: the family. */
	bool echo = (proto & 0xff) != IPPROTO_TCP && (proto & 0xff) != IPPROTO_UDP;

	for (int i = 0; i < FREE_TRIES; i++) {
		__u32 id = balance_pick(service, policy, proto >> 16);
		const struct weft_bpf_instance *to = instance_get(id);

		if (!to)
			return DROP(NO_BACKEND);
		if (!flow_back_taken(pair, to, id, called, echo))
			return id;
	}
	return DROP(PORT_IN_USE);
}

static __always_inline int pick_backend(const struct packet *p, const struct flow_key *key,
	__u32 service, __u32 policy, __u32 called)
{
	return pick_free(
		key->pair, service, policy, called, (__u32)p->family << 16 | (__u32)p->proto);
}

static __always_inline void opened(const struct packet *p, __u32 service, __u32 backend)
{
	count_flow(service, backend);
	quality_opened(p, backend);
}

static __always_inline int call_service(
	const struct packet *p, struct route *r, __u32 service, __u32 kind)
{
	const struct weft_bpf_service *svc = service_get(service);
	int lost = DROP(NO_FLOW);
	__u64 stale = 0, other;
	struct flow_key key, back;
	struct flow f;
	int id;

	if (!svc)
		return DROP(UNKNOWN_ADDR);
	key = key_to_service(p, r->from, svc, kind - WEFT_TARGET_SERVICE, false);
	route_source(p, r, r->from->inst_addr, r->from->inst_addr6);
	r->service = service;
	r->policy = kind - WEFT_TARGET_SERVICE;
	if (p->opens)
		flow_expect_back(key.pair);
	if (flow_find(flow_hash(&key), &f)) {
		stale = f.word;
		if (!flow_backend(f.word, service, r)) {
			lost = DROP(BACKEND_GONE);
		} else if (!flow_reopens(p, f.word)) {
			back = key_from_backend(&key, r->to);
			flow_touch(&f, p, &key, &back);
			return 0;
		}
	}
	if (!p->opens)
		return lost;

	id = pick_backend(p, &key, service, r->policy, 1 + r->policy);
	if (id < 0)
		return id;
	r->to_id = id;
	r->to = instance_get(r->to_id);
	if (!r->to)
		return DROP(NO_BACKEND);
	other = flow_open(p, r, &key, stale);
	if (!other)
		opened(p, service, r->to_id);
	else if (!flow_backend(other, service, r))
		return DROP(BACKEND_GONE);
	back = key_from_backend(&key, r->to);
	flow_open_back(p, r, &back);
	return 0;
}

static __always_inline void answers(struct route *r, __u64 word)
{
	r->backend = r->from_id;
	r->reverse = true;
	r->state = weft_flow_state(word);
}

/* r->from answers r->to, which had called its service: by the key back, and that by forth. */
static __always_inline bool way_back(const struct packet *p, struct route *r, struct flow *f,
	struct flow_key *back, struct flow_key *forth)
{
	const struct weft_bpf_service *svc = service_get(r->from->service);
	__u32 policy;

	if (!svc)
		return false;
	*forth = key_to_service(p, r->to, svc, 0, true);
	*back = key_from_backend(forth, r->from);
	if (!flow_find(flow_hash(back), f) || !flow_holds(f->word, r->from_id, r->from))
		return false;
	policy = (weft_flow_aux(f->word) - 1) & (WEFT_POLICIES - 1);
	if (!route_source(p, r, svc->vip[policy], svc->vip6[policy]))
		return false;
	forth->mark = policy;
	r->service = r->from->service;
	r->policy = policy;
	answers(r, f->word);
	return true;
}

/* A client that calls a backend itself may have called it by its service before, from the same
 * port: what the backend says from now on is to the newer call. */
static __always_inline void way_back_forget(const struct packet *p, const struct route *r)
{
	const struct weft_bpf_service *svc = service_get(r->to->service);
	struct flow_key key;

	if (!svc)
		return;
	key = key_to_service(p, r->from, svc, 0, false);
	key = key_from_backend(&key, r->to);
	flow_forget(flow_hash(&key));
}

/* Between nodes, a segment of no known flow goes on as one of a direct flow: the other node's table
 * may have outlived ours. If it has not, its instance resets the connection. */
static __always_inline bool adopts(const struct packet *p, const struct route *r)
{
	return p->proto == IPPROTO_TCP &&
	       (r->from->device == WEFT_DEVICE_REMOTE || r->to->device == WEFT_DEVICE_REMOTE);
}

/* Is p of a direct flow? Then which way does it go? */
static __always_inline bool direct_holds(struct route *r, __u64 word)
{
	if (!(word & WEFT_FLOW_REVERSE))
		return flow_holds(word, r->to_id, r->to);
	if (!flow_holds(word, r->from_id, r->from))
		return false;
	answers(r, word);
	return true;
}

static __always_inline int call_instance(const struct packet *p, struct route *r, __u32 id)
{
	struct flow_key key, other;
	int lost = DROP(NO_FLOW);
	__u64 stale = 0;
	struct flow f;

	r->to = instance_get(id);
	if (!r->to)
		return DROP(UNKNOWN_ADDR);
	r->to_id = r->backend = id;
	if (r->from->service && way_back(p, r, &f, &key, &other)) {
		if (!flow_reopens(p, f.word)) {
			flow_touch(&f, p, &key, &other);
			return 0;
		}
		/* It calls its client, between the same ports. */
		__sync_val_compare_and_swap(f.place, f.word, 0);
		r->service = 0;
		r->reverse = false;
		r->backend = id;
	}
	route_source(p, r, r->from->inst_addr, r->from->inst_addr6);
	key = key_direct(p, r->from, r->to);
	other = key_direct_other(&key);
	if (flow_find(flow_hash(&key), &f)) {
		stale = f.word;
		lost = DROP(BACKEND_GONE);
		if (!flow_reopens(p, f.word) && direct_holds(r, f.word)) {
			flow_touch(&f, p, &key, &other);
			return 0;
		}
	}
	if (!p->opens && !adopts(p, r))
		return lost;
	if (!flow_open(p, r, &key, stale))
		opened(p, 0, id);
	flow_open_back(p, r, &other);
	if (r->to->service)
		way_back_forget(p, r);
	return 0;
}

#endif
