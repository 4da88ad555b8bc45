/* SPDX-License-Identifier: Apache-2.0 */
/* When requests are meant to be sent: the intended times of one thread, in ns from the start of the
 * run, fixed before the run and independent of what the server does. Pure. */
#ifndef WEFT_LOADGEN_ARRIVALS_H
#define WEFT_LOADGEN_ARRIVALS_H

#include <stdint.h>

#include "loadgen/options.h"

struct load_arrivals {
	enum load_arrivals_kind kind;
	double gap; /* ns: between two of all threads (constant), mean of this thread (poisson) */
	uint64_t next, step;
	double time;
	unsigned short random[3];
};

/* Constant: request number i of all threads is due at i / rate, and thread k takes i = k, k + n,
 * k + 2n ..., so that together they are exact and evenly spaced. Poisson: n independent processes
 * of rate / n each, which together are one of the whole rate. */
void load_arrivals_init(struct load_arrivals *a, enum load_arrivals_kind kind, double rate,
	unsigned thread, unsigned threads, uint64_t seed);

uint64_t load_arrivals_next(struct load_arrivals *a);

#endif
