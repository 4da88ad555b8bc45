/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* IPv6 is cut into functions that the verifier looks at one by one, and which so can not hand each
 * other pointers to instances: a route by ids. */
#ifndef WEFT_BPF_ROUTE6_H
#define WEFT_BPF_ROUTE6_H

#include "bpf/icmp.h"
#include "bpf/parse6.h"

struct route6 {
	__u32 from_id, to_id;
	__u32 backend; /* which of both, */
	__u32 service; /* and the service it was called by: 0 for its own address */
	__u32 policy;
	__u32 mtu; /* of the way: 0 without limit */
	__u8 reverse;
	__u8 state; /* reverse: the flow's, before this packet */
	__u16 pad;
};

static __always_inline void route6_take(struct route6 *to, const struct route *r)
{
	to->to_id = r->to_id;
	to->backend = r->backend;
	to->service = r->service;
	to->policy = r->policy;
	to->reverse = r->reverse;
	to->state = r->state;
}

/* The new source: what the client had called, or the sender's own instance address. */
static __always_inline const __be32 *route6_source(
	const struct route6 *r, const struct weft_bpf_instance *from)
{
	const struct weft_bpf_service *svc;

	if (!r->reverse || !r->service)
		return from->inst_addr6;
	svc = service_get(r->service);
	return svc ? svc->vip6[r->policy & (WEFT_POLICIES - 1)] : NULL;
}

/* Where p goes that is sent to target: 0 or a DROP(). */
__noinline int route6_find(const struct packet *p, struct route6 *ret, __u32 target)
{
	__u32 kind = WEFT_TARGET_KIND(target), id = WEFT_TARGET_ID(target);
	struct route r = {};
	int verdict;

	if (!p || !ret || p->family != 6)
		return DROP(MALFORMED);
	r.from_id = ret->from_id;
	r.from = instance_get(r.from_id);
	if (!r.from)
		return DROP(UNKNOWN_DEVICE);
	if (kind >= WEFT_TARGET_SERVICE) {
		verdict = call_service(p, &r, id, kind);
		r.backend = r.to_id;
	} else if (kind == WEFT_TARGET_INSTANCE) {
		verdict = call_instance(p, &r, id);
	} else {
		return DROP(UNKNOWN_ADDR);
	}
	route6_take(ret, &r);
	return verdict;
}

/* The same for a packet that must not change anything: is its route known? */
__noinline int route6_known(const struct packet *p, struct route6 *ret, __u32 target)
{
	struct route r = {};

	if (!p || !ret || p->family != 6)
		return 0;
	r.from_id = ret->from_id;
	r.from = instance_get(r.from_id);
	if (!r.from || !known_target(p, &r, target))
		return 0;
	route6_take(ret, &r);
	return 1;
}

#endif
