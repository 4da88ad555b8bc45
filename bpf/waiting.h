/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A packet that would open a flow to an address of nobody, or of a service whose backends are still
 * to come, waits a moment for it: in user space, which sends it by the host's device again, marked,
 * once there is a way. Nothing here waits. Where nobody reads, or too little, or the address was
 * waited for in vain lately, the packet is refused at once. */
#ifndef WEFT_BPF_WAITING_H
#define WEFT_BPF_WAITING_H

#include "bpf/clock.h"
#include "bpf/parse6.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, WEFT_WAITING_RING);
} waiting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weft_waiting_room);
} waiting_room SEC(".maps");

/* Addresses that were waited for in vain -> until when they are not waited for again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct weft_addr6);
	__type(value, __u64);
} waited SEC(".maps");

static __always_inline const struct weft_waiting_room *room_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&waiting_room, &zero);
}

/* One that has waited, by the host's device: from this instance. 0: it is none. */
static __always_inline __u32 sent_again(struct __sk_buff *skb, const struct weft_bpf_instance *host)
{
	const struct weft_waiting_room *room = room_get();
	const struct ethhdr *eth = (void *)frame(skb);
	const struct ipv6hdr *ip6 = (void *)(eth + 1);
	const struct iphdr *ip = (void *)(eth + 1);
	const __u32 *id = NULL;

	if (host->device != WEFT_DEVICE_HOST || !room || !room->mark || skb->mark != room->mark)
		return 0;
	if ((void *)(ip6 + 1) <= frame_end(skb) && eth->h_proto == bpf_htons(ETH_P_IPV6))
		id = bpf_map_lookup_elem(&ns_addrs6, &ip6->saddr);
	else if ((void *)(ip + 1) <= frame_end(skb) && eth->h_proto == bpf_htons(ETH_P_IP))
		id = bpf_map_lookup_elem(&ns_addrs, &ip->saddr);
	return id ? *id : 0;
}

static __noinline bool has_waited(struct __sk_buff *skb)
{
	const struct weft_waiting_room *room = room_get();

	return skb->mark && room && skb->mark == room->mark;
}

/* Is it worth to wait for what was refused with ret, and has not waited already? */
static __always_inline bool may_wait(const struct packet *p, __u32 service, int ret)
{
	const struct weft_bpf_service *svc;

	if (!p->opens || p->frag_first || p->frag_later)
		return false;
	if (ret == DROP(UNKNOWN_ADDR))
		return true;
	svc = ret == DROP(NO_BACKEND) ? service_get(service) : NULL;
	return svc && svc->flags & WEFT_SERVICE_STARTING;
}

/* A key on the stack: memory of a caller's may be none before Linux 6.4. */
static __always_inline bool waited_in_vain(const struct weft_waiting_head *head)
{
	struct weft_addr6 addr = head->addr;
	const __u64 *until = bpf_map_lookup_elem(&waited, &addr);

	return until && *until > clock_ns();
}

/* The length is looked at in one register, bound by bound: so older verifiers understand it. */
static __always_inline bool copy_frame(struct __sk_buff *skb, struct weft_waiting *w)
{
	__u32 len = skb->len;

	w->head.len = len;
	asm volatile("" : "+r"(len));
	if (len > sizeof(w->frame))
		return false;
	asm volatile("" : "+r"(len));
	return len >= ETH_HLEN && !bpf_skb_load_bytes(skb, 0, w->frame, len);
}

/* Does it wait now? */
__noinline int wait_for(struct __sk_buff *skb, const struct weft_waiting_head *head)
{
	const struct weft_waiting_room *room = room_get();
	struct weft_waiting *w;

	if (!head || !room || skb->gso_size || room->reader_ns + WEFT_WAITING_READER < clock_ns())
		return 0;
	if (skb->len > sizeof(w->frame) || waited_in_vain(head))
		return 0;
	w = bpf_ringbuf_reserve(&waiting, sizeof(*w), 0);
	if (!w)
		return 0;
	w->head = *head;
	if (!copy_frame(skb, w)) {
		bpf_ringbuf_discard(w, 0);
		return 0;
	}
	bpf_ringbuf_submit(w, 0);
	count_event(WEFT_EVENT_WAITING);
	return 1;
}

static __always_inline void waiting_head(
	struct weft_waiting_head *h, const struct packet *p, __u32 from_id)
{
	h->from = from_id;
	h->l4 = p->l4;
	h->end = IP_OFF + p->ip_len;
	h->family = p->family;
	h->proto = p->proto;
}

static __always_inline bool waits(
	struct __sk_buff *skb, const struct packet *p, __u32 from_id, __u32 service, int ret)
{
	struct weft_waiting_head h = {};

	if (!may_wait(p, service, ret))
		return false;
	waiting_head(&h, p, from_id);
	h.addr.word[2] = bpf_htonl(0xffff);
	h.addr.word[3] = p->daddr;
	return wait_for(skb, &h);
}

/* With a stack of its own, that those beside it do not have to share. */
static __noinline bool waits6(
	struct __sk_buff *skb, const struct packet *p, __u32 from_id, __u32 service, int ret)
{
	struct weft_waiting_head h = {};

	if (!may_wait(p, service, ret) ||
		bpf_skb_load_bytes(skb, IP_OFF + IP6_DADDR_OFF, &h.addr, sizeof(h.addr)))
		return false;
	waiting_head(&h, p, from_id);
	return wait_for(skb, &h);
}

#endif
