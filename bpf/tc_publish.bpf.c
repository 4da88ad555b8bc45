/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* On the uplink's ingress, behind tc_uplink: calls of published ports. All else it leaves to those
 * behind it. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/generic_xdp.h"
#include "bpf/publish6.h"

static __always_inline bool calls4(struct __sk_buff *skb)
{
	struct outside o = {};
	struct iphdr ip;
	__be16 ports[2];

	return !bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) &&
	       !bpf_skb_load_bytes(skb, ip.ihl * 4, ports, sizeof(ports)) &&
	       has_ports(ip.protocol) && published_find(&o, ip.daddr, ports[1], ip.protocol);
}

static __always_inline bool calls6(struct __sk_buff *skb)
{
	struct outside o = {};
	struct ipv6hdr ip;
	__be32 daddr[4];
	__be16 ports[2];

	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) ||
		bpf_skb_load_bytes(skb, sizeof(ip), ports, sizeof(ports)))
		return false;
	__builtin_memcpy(daddr, &ip.daddr, sizeof(daddr));
	return has_ports(ip.nexthdr) && published_find6(&o, daddr, ports[1], ip.nexthdr);
}

/* A call that generic XDP has left without its head gets another. */
__noinline int find_head(struct __sk_buff *skb)
{
	bool calls = false;

	if (!head_may_be_lost(skb))
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		calls = calls4(skb);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		calls = calls6(skb);
	return calls ? give_head(skb) : 0;
}

/* What is addressed to this very host, on no VLAN. */
static __always_inline int publish_any(struct __sk_buff *skb)
{
	const struct ethhdr *eth = (void *)frame(skb);

	if (skb->vlan_present || skb->pkt_type != PACKET_HOST || (void *)(eth + 1) > frame_end(skb))
		return NOT_OURS;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return publish_in(skb);
	return eth->h_proto == bpf_htons(ETH_P_IPV6) ? publish6_in(skb) : NOT_OURS;
}

SEC("tc")
int tc_publish(struct __sk_buff *skb)
{
	int ret = find_head(skb);

	if (!ret)
		ret = publish_any(skb);
	if (ret == NOT_OURS)
		return TC_ACT_UNSPEC;
	if (ret >= 0)
		return ret;
	count_drop(DROP_REASON(ret));
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
