/* SPDX-License-Identifier: Apache-2.0 */
/* Which of several backends are the best by a measurement that trembles: pure functions. */
#ifndef WEFT_SCHED_PREFER_H
#define WEFT_SCHED_PREFER_H

#include <stdbool.h>

struct weft_prefer_item {
	double cost;    /* the less the better; negative: not known */
	bool preferred; /* in: so far; out: from now on */
};

/* Whoever is nearly as good as the best is as good as the best. One is taken in that costs at most
 * 1 + near of the best and slack more, and put out again only beyond twice that distance, so that a
 * measurement that trembles moves nobody. Nothing known of anybody: all of them. Somebody of whom
 * nothing is known stays what it is, so that a new one is not favoured before it is measured. There
 * is one at least, unless n is 0. */
void weft_prefer(struct weft_prefer_item *items, unsigned n, double near, double slack);

/* An average that forgets: of 1 - part of what it was and part of the new value; a negative one so
 * far is none. */
double weft_smooth(double so_far, double value, double part);

/* How busy an instance is, from its flows, those that each would have if all had the same, and the
 * CPU time that it uses as a part of what it may use. 0 idle; 1 is a fair share of the flows or all
 * of its CPU. cpu negative: not known. */
double weft_load(double flows, double fair, double cpu);

#endif
