/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* On the uplink's ingress, behind tc_uplink: calls of published ports. All else it leaves to those
 * behind it. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/generic_xdp.h"
#include "bpf/publish6.h"

/* Of what came without its head: whether it is addressed as a call is, and by its port may be one.
 * What has no ports, because it follows a first fragment or is an error, may be about one. */
static __always_inline bool concerns4(struct __sk_buff *skb, bool no_ports, __be16 port, __u8 proto)
{
	struct outside o = {};
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
		return false;
	return no_ports ? published_addr(ip.daddr) : published_find(&o, ip.daddr, port, proto);
}

static __always_inline bool concerns6(struct __sk_buff *skb, bool no_ports, __be16 port, __u8 proto)
{
	struct outside o = {};
	__be32 daddr[4];

	if (bpf_skb_load_bytes(skb, IP6_DADDR_OFF, daddr, sizeof(daddr)))
		return false;
	return no_ports ? published_addr6(daddr) : published_find6(&o, daddr, port, proto);
}

static __always_inline bool concerns(struct __sk_buff *skb)
{
	bool v6 = skb->protocol == bpf_htons(ETH_P_IPV6), no_ports;
	int walk = headless_walk(skb);
	__u8 proto = WALK_PROTO(walk);
	__be16 ports[2] = {};

	if (walk < 0)
		return false;
	no_ports = walk & WALK_LATER || proto == (v6 ? NEXT_ICMP : IPPROTO_ICMP);
	if (!no_ports && (!has_ports(proto) ||
				 bpf_skb_load_bytes(skb, WALK_OFF(walk), ports, sizeof(ports))))
		return false;
	return v6 ? concerns6(skb, no_ports, ports[1], proto)
		  : concerns4(skb, no_ports, ports[1], proto);
}

/* What generic XDP has left without its head gets another if it may be ours. */
__noinline int find_head(struct __sk_buff *skb)
{
	if (!skb_headless(skb))
		return 0;
	return concerns(skb) ? give_head(skb) : NOT_OURS;
}

/* What is addressed to this very host, on no VLAN. */
static __always_inline int publish_any(struct __sk_buff *skb)
{
	const struct ethhdr *eth;

	if (skb->vlan_present || skb->pkt_type != PACKET_HOST || parse_pull(skb))
		return NOT_OURS;
	eth = (void *)frame(skb);
	if ((void *)(eth + 1) > frame_end(skb))
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
