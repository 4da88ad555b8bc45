/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* On the uplink's ingress, behind tc_uplink: calls of published ports. All else it leaves to those
 * behind it. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/publish.h"

/* Addressed to this very host, on no VLAN. */
static __always_inline bool for_this_host(struct __sk_buff *skb)
{
	const struct ethhdr *eth = (void *)frame(skb);

	return !skb->vlan_present && skb->pkt_type == PACKET_HOST &&
	       (void *)(eth + 1) <= frame_end(skb) && eth->h_proto == bpf_htons(ETH_P_IP);
}

SEC("tc")
int tc_publish(struct __sk_buff *skb)
{
	int ret = for_this_host(skb) ? publish_in(skb) : NOT_OURS;

	if (ret == NOT_OURS)
		return TC_ACT_UNSPEC;
	if (ret >= 0)
		return ret;
	count_drop(DROP_REASON(ret));
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
