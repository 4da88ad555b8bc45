/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* As test_run.bpf.c, for an XDP program, which may have put a header in front of the packet. The
 * flow is told by the client: its port counts first, then its address. */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tests/bench/test_run.h"

#define SADDR_OFF 26
#define SPORT_OFF 34

#define PORTS 60000

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stimulus);
} stimulus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

static __always_inline void restore(__u8 *frame, struct stimulus *s)
{
	const __u64 *from = (const __u64 *)s->frame;
	__u64 *to = (__u64 *)frame;
	__u32 n = s->next;

#pragma unroll
	for (int i = 0; i < FRAME_SIZE / 8; i++)
		to[i] = from[i];
	s->next = n + 1 < s->flows ? n + 1 : 0;
	*(__be16 *)(frame + SPORT_OFF) = bpf_htons(1024 + n % PORTS);
	*(__be32 *)(frame + SADDR_OFF) = bpf_htonl(s->vip + n / PORTS);
}

SEC("xdp")
int stimulate(struct xdp_md *xdp)
{
	struct stimulus *s;
	__u32 key = 0;

	s = bpf_map_lookup_elem(&stimulus, &key);
	/* Also where it is by nothing: the empty program's price has to have it too. */
	if (!s || bpf_xdp_adjust_head(xdp, (int)(xdp->data_end - xdp->data) - FRAME_SIZE) ||
		(long)xdp->data + FRAME_SIZE > (long)xdp->data_end)
		return XDP_ABORTED;
	restore((void *)(long)xdp->data, s);
	bpf_tail_call(xdp, &target, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int empty(struct xdp_md *xdp)
{
	return xdp->data ? XDP_TX : XDP_ABORTED;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
