/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* May a program take the place of a function of another here? libxdp's dispatcher is made of that.
 * Loaded for a moment, one after the other, and attached to no device. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

__attribute__((noinline)) int probe_stage(struct xdp_md *xdp)
{
	volatile int action = XDP_PASS;

	return xdp ? action : XDP_ABORTED;
}

SEC("xdp")
int probe_dispatcher(struct xdp_md *xdp)
{
	return probe_stage(xdp);
}

SEC("freplace")
int probe_member(struct xdp_md *xdp)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
