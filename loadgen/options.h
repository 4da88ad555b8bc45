/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line asked for. The strings belong to argv. */
#ifndef WEFT_LOADGEN_OPTIONS_H
#define WEFT_LOADGEN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ctrl/base/err.h"

enum {
	LOAD_THREADS_MAX = 256,
	LOAD_CONNECTIONS_MAX = 100000,
	LOAD_QUEUE_MAX = 10000000,
	LOAD_HEADERS_MAX = 32,
	LOAD_NAME_MAX = 32, /* of a phase */
};

enum load_arrivals_kind {
	LOAD_ARRIVALS_CONSTANT,
	LOAD_ARRIVALS_POISSON,
	LOAD_ARRIVALS_COUNT,
};

enum load_format {
	LOAD_FORMAT_TABLE,
	LOAD_FORMAT_JSON,
	LOAD_FORMAT_COUNT,
};

struct load_options {
	const char *url;
	double rate; /* requests per second over all threads; 0 when closed_loop */
	enum load_arrivals_kind arrivals;
	uint64_t seed;
	uint64_t duration, warmup, timeout, interval; /* ns; duration 0: until stopped */
	unsigned connections, threads;                /* over all threads */
	uint64_t max_queue;                           /* over all threads */
	unsigned retry_stale;
	bool close;       /* a new connection for each request */
	bool closed_loop; /* the next request when the one before is answered */
	const char *method, *data;
	const char *headers[LOAD_HEADERS_MAX + 1]; /* "Name: value", NULL-terminated */
	enum load_format format;
	const char *name, *commit, *phase;
	const char *output, *series, *control; /* paths or NULL */
	bool histogram, fail_on_error;
};

const char *load_arrivals_name(enum load_arrivals_kind kind);

/* Read the command line. 0: *ret is filled; 1: it asked for help or the version, which were
 * written to out; -EINVAL with err and a hint. */
int load_options_parse(
	int argc, char **argv, FILE *out, struct load_options *ret, struct weft_err *err);

/* "30s", "1.5m", "100ms", "250us", "1h" or a plain number of seconds, up to a year, to ns.
 * -EINVAL, -ERANGE. */
int load_parse_duration(const char *s, uint64_t *ret_ns);

#endif
