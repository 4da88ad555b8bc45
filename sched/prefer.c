/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/prefer.h"

static double least(const struct weft_prefer_item *items, unsigned n)
{
	double best = -1;

	for (unsigned i = 0; i < n; i++)
		if (items[i].cost >= 0 && (best < 0 || items[i].cost < best))
			best = items[i].cost;
	return best;
}

void weft_prefer(struct weft_prefer_item *items, unsigned n, double near, double slack)
{
	double best = least(items, n), in = best * (1 + near) + slack;
	double out = in + best * near + slack;

	for (unsigned i = 0; i < n; i++) {
		if (best < 0)
			items[i].preferred = true;
		else if (items[i].cost < 0)
			continue;
		else if (items[i].cost <= in)
			items[i].preferred = true;
		else if (items[i].cost > out)
			items[i].preferred = false;
	}
}

double weft_smooth(double so_far, double value, double part)
{
	return so_far < 0 ? value : so_far + (value - so_far) * part;
}

double weft_load(double flows, double fair, double cpu)
{
	double load = flows / (fair > 1 ? fair : 1);

	return cpu < 0 ? load : load + cpu;
}
