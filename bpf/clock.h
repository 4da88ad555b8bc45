/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The coarse monotonic clock, which every packet asks for. It goes on by whole jiffies, and those
 * are read without a call: so it is called for once a jiffy. */
#ifndef WEFT_BPF_CLOCK_H
#define WEFT_BPF_CLOCK_H

#include "bpf/maps.h"

static __always_inline __u64 clock_ns(void)
{
	__u64 jiffies = bpf_jiffies64();
	struct weft_clock *c;
	__u32 key = 0;

	c = bpf_map_lookup_elem(&clocks, &key);
	if (!c)
		return bpf_ktime_get_coarse_ns();
	if (c->jiffies != jiffies) {
		c->ns = bpf_ktime_get_coarse_ns();
		c->jiffies = jiffies;
	}
	return c->ns;
}

#endif
