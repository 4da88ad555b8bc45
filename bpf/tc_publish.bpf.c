/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* On the uplink's ingress, behind tc_uplink: calls of published ports. All else it leaves to those
 * behind it. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/publish6.h"

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
	int ret = publish_any(skb);

	if (ret == NOT_OURS)
		return TC_ACT_UNSPEC;
	if (ret >= 0)
		return ret;
	count_drop(DROP_REASON(ret));
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
