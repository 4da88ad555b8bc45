/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Between test_run.bpf.c and test_run.c. */
#ifndef WEFT_TESTS_BENCH_TEST_RUN_H
#define WEFT_TESTS_BENCH_TEST_RUN_H

#include <linux/types.h>

#define FRAME_SIZE 64
#define LINE_SIZE  64
#define LINES      (1U << 19) /* as much memory as a large table of flows is spread over */

/* Packet n of a run is the frame with flow n % flows put in: the client's port counts first, then
 * the server's; and with several services also the address, vip + n % services. */
struct stimulus {
	__u8 frame[FRAME_SIZE];
	__u32 flows;
	__u32 services;
	__u32 vip;      /* host byte order; 0: the frame's own destination */
	__u32 backward; /* the frame goes from server to client */
	__u64 next;
};

#endif
