/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/arrivals.h"

#include <math.h>
#include <stdlib.h>

void load_arrivals_init(struct load_arrivals *a, enum load_arrivals_kind kind, double rate,
	unsigned thread, unsigned threads, uint64_t seed)
{
	*a = (struct load_arrivals){
		.kind = kind,
		.gap = kind == LOAD_ARRIVALS_POISSON ? threads * 1e9 / rate : 1e9 / rate,
		.next = thread,
		.step = threads,
		.random = {(unsigned short)thread, (unsigned short)seed,
			(unsigned short)(seed >> 16)},
	};
}

uint64_t load_arrivals_next(struct load_arrivals *a)
{
	if (a->kind == LOAD_ARRIVALS_POISSON) {
		/* erand48 is in [0, 1): its complement has a logarithm. */
		a->time -= log(1 - erand48(a->random)) * a->gap;
		return (uint64_t)a->time;
	}
	/* Multiplied, not summed up: a sum would drift by its rounding errors. */
	a->time = (double)a->next * a->gap;
	a->next += a->step;
	return (uint64_t)a->time;
}
