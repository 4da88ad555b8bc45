/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The one program on the host side of every instance's device, whatever its runtime. It sees each
 * packet that the instance sends, and is the only way from one instance to another:
 *
 *   VLAN tag              dropped, unless it only carries a priority: an access port
 *   ARP, ND               answered as the overlay's gateway
 *   foreign source        dropped
 *   semantic destination  service or instance: translated, balanced, delivered
 *   namespace address     delivered as it is
 *   anything else         up the host's stack, unless it pretends to come from another node */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/arp.h"
#include "bpf/borrowed.h"
#include "bpf/forward.h"
#include "bpf/icmp.h"
#include "bpf/ipv6.h"
#include "bpf/outside.h"
#include "bpf/publish.h"
#include "bpf/quick.h"
#include "bpf/reset.h"
#include "bpf/unreachable.h"
#include "bpf/waiting.h"

#define VLAN_ID_MASK 0xfff

static __always_inline int semantic(struct __sk_buff *skb, struct packet *p, struct route *r)
{
	__u32 low = bpf_ntohl(p->daddr) & 0xffff, kind;
	const __u32 *target;
	int ret;

	if (p->frag_later)
		return later_fragment(skb, p, r);
	ret = parse_l4(skb, p);
	if (ret == DROP(ICMP_TYPE))
		return IS_ERROR;
	if (ret)
		return ret;
	if (overlay_mtu && p->ip_len > overlay_mtu && too_big(skb, overlay_mtu, false))
		return DROP(TOO_BIG);

	target = bpf_map_lookup_elem(&targets, &low);
	kind = target ? WEFT_TARGET_KIND(*target) : WEFT_TARGET_NONE;
	if (kind >= WEFT_TARGET_SERVICE) {
		ret = call_service(p, r, WEFT_TARGET_ID(*target), kind);
		r->backend = r->to_id;
	} else if (kind == WEFT_TARGET_INSTANCE) {
		ret = call_instance(p, r, WEFT_TARGET_ID(*target));
	} else {
		return DROP(UNKNOWN_ADDR);
	}
	if (ret)
		return ret;

	if (p->frag_first)
		first_fragment(p, r);
	return finish(skb, p, r);
}

/* Let it wait, or tell the sender of what was dropped: the verdict, or ret again. */
static __always_inline int refuse(
	struct __sk_buff *skb, const struct packet *p, const struct route *r, int ret)
{
	int answer;

	if (p->frag_later || has_waited(skb))
		return ret;
	if (waits(skb, p, r->from_id, r->service, ret))
		return TC_ACT_SHOT;
	if (p->proto == IPPROTO_TCP && is_lost(p, ret))
		answer = reset_sender(skb, p, r->from);
	else
		answer = icmp_answer(skb, r->from_id, DROP_REASON(ret), r->mtu);
	if (answer < 0)
		return ret;
	count_drop(DROP_REASON(ret));
	return answer;
}

/* Not part of the program's main function, whose stack all others would have to share. The verdict,
 * NOT_OURS or IS_ERROR. */
static __noinline int ipv4(
	struct __sk_buff *skb, const struct weft_bpf_instance *from, __u32 from_id)
{
	struct packet p = {};
	struct route r = {.from = from, .from_id = from_id, .mtu = overlay_mtu};
	bool is_semantic;
	const __u32 *id;
	int ret;

	ret = parse_ip(skb, &p);
	if (ret)
		return ret;
	/* The host's stack also brings what others send to instances (answers from outside). */
	is_semantic = in_semantic_range(p.daddr);
	if ((p.saddr != from->ns_addr || !p.saddr) &&
		(is_semantic || from->device != WEFT_DEVICE_HOST))
		return DROP(SPOOFED_ADDR);

	if (is_semantic) {
		ret = semantic(skb, &p, &r);
		return ret < 0 ? refuse(skb, &p, &r, ret) : ret;
	}
	id = bpf_map_lookup_elem(&ns_addrs, &p.daddr);
	r.to = id ? instance_get(*id) : NULL;
	if (r.to)
		return r.to->device == WEFT_DEVICE_REMOTE ? DROP(REMOTE_ADDR) : deliver(skb, r.to);
	/* What the host sent here for nobody must not go round in circles. */
	if (from->device == WEFT_DEVICE_HOST)
		return DROP(UNKNOWN_ADDR);
	return NOT_OURS;
}

/* What ipv4() leaves to do, with more of the stack than that has to give. */
static __always_inline int ipv4_rest(
	struct __sk_buff *skb, const struct weft_bpf_instance *from, __u32 id, int ret)
{
	if (ret == IS_ERROR)
		return icmp_error(skb, id, 0);
	if (ret != NOT_OURS)
		return ret;
	ret = outside4(skb);
	if (ret)
		return ret;
	ret = from->service ? publish_out(skb, id) : NOT_OURS;
	return ret == NOT_OURS ? pass_to_host(skb) : ret;
}

static __always_inline int handle(
	struct __sk_buff *skb, const struct weft_bpf_instance *from, __u32 id)
{
	const struct ethhdr *eth;
	int ret;

	/* The kernel has taken the outermost tag out of the frame, one behind it is still inside.
	 */
	if (skb->vlan_present) {
		if (skb->vlan_tci & VLAN_ID_MASK)
			return DROP(VLAN);
		if (bpf_skb_vlan_pop(skb))
			return DROP(NO_MEMORY);
		if (skb->vlan_present)
			return DROP(VLAN);
	}
	ret = parse_pull(skb);
	if (ret)
		return ret;
	eth = (void *)frame(skb);
	if ((void *)(eth + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	if (!mac_equal(eth->h_source, from->mac))
		return DROP(SPOOFED_MAC);

	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		return ipv4_rest(skb, from, id, ipv4(skb, from, id));
	case bpf_htons(ETH_P_ARP):
		return arp_answer(skb, from);
	case bpf_htons(ETH_P_IPV6):
		return ipv6_rest(skb, from, id, ipv6(skb, id));
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return DROP(VLAN);
	default:
		return DROP(ETHERTYPE);
	}
}

/* What comes by the host's device may be an instance's that has waited. */
static __always_inline int handle_any(
	struct __sk_buff *skb, const struct weft_bpf_instance *from, __u32 id)
{
	__u32 sender = skb->mark ? sent_again(skb, from) : 0;

	if (sender) {
		id = sender;
		from = instance_get(id);
	}
	return from ? handle(skb, from, id) : DROP(UNKNOWN_DEVICE);
}

SEC("tc")
int tc_instance(struct __sk_buff *skb)
{
	__u32 id = device_instance(skb->ifindex);
	const struct weft_bpf_instance *from = instance_get(id);
	int ret = DROP(UNKNOWN_DEVICE);

	if (from) {
		ret = quick(skb, from, id);
		if (ret == NOT_QUICK) {
			if (from->active & WEFT_INSTANCE_BORROWED && !for_overlay(skb, from))
				return TC_ACT_UNSPEC;
			ret = handle_any(skb, from, id);
		}
	}
	if (ret >= 0)
		return ret;
	count_drop(DROP_REASON(ret));
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
