/* SPDX-License-Identifier: Apache-2.0 */
/* The result for machines (JSON) and for people (a table). */
#ifndef WEFT_LOADGEN_REPORT_H
#define WEFT_LOADGEN_REPORT_H

#include <stdio.h>

#include <jansson.h>

#include "loadgen/options.h"
#include "loadgen/run.h"

/* Twelve digits: ns within an hour, without the noise of the seventeenth. */
#define LOAD_JSON_FLAGS JSON_REAL_PRECISION(12)

/* Microseconds, or null when there was nothing to measure. */
json_t *load_us_json(uint64_t ns, bool measured);

/* The document that weft-load(1) describes. NULL when out of memory. */
json_t *load_report_json(const struct load_options *o, const struct load_result *r);

/* How long a phase lasted, and all but the warm-up. */
double load_phase_seconds(const struct load_result *r, unsigned phase);
double load_total_seconds(const struct load_result *r);

/* 0 or -ENOMEM. */
int load_report_table(const struct load_options *o, const struct load_result *r, FILE *f);

#endif
