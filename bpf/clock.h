/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The coarse monotonic clock, which every packet asks for: it goes on by whole jiffies, and those
 * are read without a call. */
#ifndef WEFT_BPF_CLOCK_H
#define WEFT_BPF_CLOCK_H

#include "bpf/maps.h"

static __always_inline __u64 clock_ns(void)
{
	return jiffy_ns ? bpf_jiffies64() * jiffy_ns + jiffy_zero : bpf_ktime_get_coarse_ns();
}

#endif
