/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ctrl/base/util.h"

#define YEAR_NS     (365ULL * 86400 * 1000000000)
#define SHORTEST_NS 10000000 /* of a timeout and an interval */
#define RATE_MAX    1e7
#define FIRST_LONG  256 /* getopt values above every character */

enum kind {
	KIND_SWITCH,
	KIND_TEXT,
	KIND_NAME,     /* of a phase */
	KIND_METHOD,   /* of HTTP */
	KIND_HEADER,   /* appended to the list */
	KIND_WORD,     /* one of words, stored as its index */
	KIND_UNSIGNED, /* from min to max, stored as unsigned */
	KIND_U64,      /* the same, stored as uint64_t */
	KIND_DURATION, /* at least min ns */
	KIND_RATE,
};

static const char *const arrivals_names[] = {
	[LOAD_ARRIVALS_CONSTANT] = "constant",
	[LOAD_ARRIVALS_POISSON] = "poisson",
	NULL,
};
_Static_assert(ARRAY_SIZE(arrivals_names) == LOAD_ARRIVALS_COUNT + 1, "a name for each kind");

static const char *const format_names[] = {
	[LOAD_FORMAT_TABLE] = "table",
	[LOAD_FORMAT_JSON] = "json",
	NULL,
};
_Static_assert(ARRAY_SIZE(format_names) == LOAD_FORMAT_COUNT + 1, "a name for each format");

#define AT(member) offsetof(struct load_options, member)

static const struct spec {
	const char *flag;
	enum kind kind;
	size_t offset;
	uint64_t min, max;
	const char *const *words;
} specs[] = {
	{"--rate", KIND_RATE, AT(rate), 0, 0, NULL},
	{"--arrivals", KIND_WORD, AT(arrivals), 0, 0, arrivals_names},
	{"--seed", KIND_U64, AT(seed), 0, UINT32_MAX, NULL},
	{"--closed", KIND_SWITCH, AT(closed_loop), 0, 0, NULL},
	{"--duration", KIND_DURATION, AT(duration), 0, 0, NULL},
	{"--warmup", KIND_DURATION, AT(warmup), 0, 0, NULL},
	{"--timeout", KIND_DURATION, AT(timeout), SHORTEST_NS, 0, NULL},
	{"--interval", KIND_DURATION, AT(interval), SHORTEST_NS, 0, NULL},
	{"--connections", KIND_UNSIGNED, AT(connections), 1, LOAD_CONNECTIONS_MAX, NULL},
	{"--threads", KIND_UNSIGNED, AT(threads), 1, LOAD_THREADS_MAX, NULL},
	{"--max-queue", KIND_U64, AT(max_queue), 0, LOAD_QUEUE_MAX, NULL},
	{"--retry-stale", KIND_UNSIGNED, AT(retry_stale), 0, 100, NULL},
	{"--close", KIND_SWITCH, AT(close), 0, 0, NULL},
	{"--method", KIND_METHOD, AT(method), 0, 0, NULL},
	{"--header", KIND_HEADER, AT(headers), 0, 0, NULL},
	{"--data", KIND_TEXT, AT(data), 0, 0, NULL},
	{"--name", KIND_TEXT, AT(name), 0, 0, NULL},
	{"--commit", KIND_TEXT, AT(commit), 0, 0, NULL},
	{"--phase", KIND_NAME, AT(phase), 0, 0, NULL},
	{"--output", KIND_TEXT, AT(output), 0, 0, NULL},
	{"--series", KIND_TEXT, AT(series), 0, 0, NULL},
	{"--control", KIND_TEXT, AT(control), 0, 0, NULL},
	{"--histogram", KIND_SWITCH, AT(histogram), 0, 0, NULL},
	{"--fail-on-error", KIND_SWITCH, AT(fail_on_error), 0, 0, NULL},
};

static const struct spec format_spec = {"-o", KIND_WORD, AT(format), 0, 0, format_names};

static const char usage[] =
	"usage: weft-load --rate R [flags] http://HOST[:PORT][/PATH]\n"
	"Send requests at a fixed rate, whatever the server does, and report what became of them.\n"
	"\n"
	"load\n"
	"  --rate R            requests per second, over all threads\n"
	"  --arrivals KIND     constant (default) or poisson\n"
	"  --seed N            of the poisson arrivals (default 1)\n"
	"  --closed            closed loop instead: send when the answer before is there\n"
	"  --duration TIME     30s (default), 5m, 100ms ...; 0: until stopped\n"
	"  --warmup TIME       load before the measuring starts, reported apart (default 0)\n"
	"  --connections N     keep-alive connections over all threads (default 32)\n"
	"  --close             a new connection for each request, at most --connections at a time\n"
	"  --threads N         default: one per core\n"
	"  --timeout TIME      of a request from its intended time on (default 5s)\n"
	"  --max-queue N       requests that may wait for a connection (default 65536)\n"
	"  --retry-stale N     send again when a reused connection was closed before any answer\n"
	"                      (default 0)\n"
	"request\n"
	"  --method M  --header 'Name: value' (may be repeated)  --data TEXT\n"
	"result\n"
	"  -o table|json       what is printed (default table)\n"
	"  --output FILE       write the JSON document to FILE too\n"
	"  --series FILE       write a JSON line for each interval while it runs\n"
	"  --interval TIME     of the series (default 1s, at least 10ms)\n"
	"  --histogram         put the histograms' buckets into the JSON document\n"
	"  --name NAME  --commit ID  --phase NAME\n"
	"  --fail-on-error     exit with 1 when a request failed\n"
	"control\n"
	"  --control PATH      read \"phase NAME\" and \"stop\" from a FIFO (made if missing),\n"
	"                      or, with -, from standard input\n"
	"  --help  --version   more in weft-load(1)\n";

const char *load_arrivals_name(enum load_arrivals_kind kind)
{
	return arrivals_names[kind];
}

int load_parse_duration(const char *s, uint64_t *ret_ns)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"", 1e9}, {"s", 1e9}, {"ms", 1e6}, {"us", 1e3}, {"ns", 1}, {"m", 60e9},
		{"h", 3600e9}};
	char *end;
	double v;

	if (!s || !isdigit((unsigned char)*s))
		return -EINVAL;
	v = strtod(s, &end);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (strcmp(end, units[i].unit) != 0)
			continue;
		v *= units[i].ns;
		if (!(v <= (double)YEAR_NS))
			return -ERANGE;
		*ret_ns = (uint64_t)(v + 0.5);
		return 0;
	}
	return -EINVAL;
}

static int bad(struct weft_err *err, const char *flag, const char *value, const char *why,
	const char *next)
{
	weft_err_set(err, EINVAL, "%s %s: %s", flag, value, why);
	return weft_err_hint(err, "%s", next);
}

static int set_duration(const struct spec *f, const char *s, uint64_t *ret, struct weft_err *err)
{
	uint64_t v = 0;
	int r = load_parse_duration(s, &v);

	if (r == -EINVAL)
		return bad(err, f->flag, s, "not a duration",
			"give a number with a unit: 30s, 5m, 100ms");
	if (r < 0)
		return bad(err, f->flag, s, "longer than a year", "give a shorter time");
	if (v < f->min)
		return bad(err, f->flag, s, "too short", "give at least 10ms");
	*ret = v;
	return 0;
}

static int set_number(const struct spec *f, const char *s, void *at, struct weft_err *err)
{
	uint64_t v = 0;
	int r = weft_parse_u64(s, f->min, f->max, &v);

	if (r < 0) {
		weft_err_set(err, EINVAL, "%s %s: %s", f->flag, s,
			r == -ERANGE ? "out of range" : "not a whole number");
		return weft_err_hint(err, "give a number from %llu to %llu",
			(unsigned long long)f->min, (unsigned long long)f->max);
	}
	if (f->kind == KIND_U64)
		*(uint64_t *)at = v;
	else
		*(unsigned *)at = (unsigned)v;
	return 0;
}

static int set_word(const struct spec *f, const char *s, unsigned *ret, struct weft_err *err)
{
	for (unsigned i = 0; f->words[i]; i++) {
		if (strcmp(s, f->words[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	weft_err_set(err, EINVAL, "%s %s: unknown word", f->flag, s);
	return weft_err_hint(err, "%s %s or %s %s", f->flag, f->words[0], f->flag, f->words[1]);
}

static int set_rate(const struct spec *f, const char *s, double *ret, struct weft_err *err)
{
	char *end = NULL;
	double v = isdigit((unsigned char)*s) ? strtod(s, &end) : 0;

	if (!end || *end || !isfinite(v) || v < 0.001 || v > RATE_MAX)
		return bad(err, f->flag, s, "not a rate",
			"give requests per second, from 0.001 to 10000000");
	*ret = v;
	return 0;
}

static int add_header(const struct spec *f, const char *s, const char **list, struct weft_err *err)
{
	static const char *const own[] = {"connection:", "content-length:", "transfer-encoding:"};
	size_t n = 0;

	while (list[n])
		n++;
	if (n == LOAD_HEADERS_MAX)
		return bad(err, f->flag, s, "too many headers", "at most 32 can be given");
	if (!strchr(s, ':') || *s == ':' || strpbrk(s, "\r\n"))
		return bad(err, f->flag, s, "not a header",
			"give it as one line: --header 'Accept: text/html'");
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (strncasecmp(s, own[i], strlen(own[i])) == 0)
			return bad(err, f->flag, s, "weft-load sets this one itself",
				"use --close or --data");
	list[n] = s;
	return 0;
}

static int set_option(
	const struct spec *f, const char *v, struct load_options *o, struct weft_err *err)
{
	void *at = (char *)o + f->offset;

	switch (f->kind) {
	case KIND_SWITCH:
		*(bool *)at = true;
		return 0;
	case KIND_NAME:
		if (!weft_name_valid(v, LOAD_NAME_MAX))
			return bad(err, f->flag, v, "not a name",
				"use at most 32 letters, digits, '.', '_' and '-'");
		break;
	case KIND_METHOD:
		if (!*v || strspn(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != strlen(v))
			return bad(err, f->flag, v, "not an HTTP method",
				"methods are written in capitals: --method HEAD");
		break;
	case KIND_TEXT:
		break;
	case KIND_HEADER:
		return add_header(f, v, at, err);
	case KIND_WORD:
		return set_word(f, v, at, err);
	case KIND_UNSIGNED:
	case KIND_U64:
		return set_number(f, v, at, err);
	case KIND_DURATION:
		return set_duration(f, v, at, err);
	case KIND_RATE:
		return set_rate(f, v, at, err);
	}
	*(const char **)at = v;
	return 0;
}

/* What the flags mean together; fills in what was left open. */
static int check_together(struct load_options *o, struct weft_err *err)
{
	cpu_set_t cpus;

	if (!o->rate && !o->closed_loop) {
		weft_err_set(err, EINVAL, "no rate given");
		return weft_err_hint(err, "--rate 1000, or --closed for a closed loop");
	}
	if (o->rate && o->closed_loop) {
		weft_err_set(err, EINVAL, "--rate and --closed exclude each other");
		return weft_err_hint(err, "a closed loop sends as fast as answers come: drop one");
	}
	if (o->threads > o->connections) {
		weft_err_set(err, EINVAL, "%u threads cannot share %u connections", o->threads,
			o->connections);
		return weft_err_hint(
			err, "give --connections %u or more, or fewer --threads", o->threads);
	}
	if (!o->threads) {
		int n = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;

		o->threads = n < LOAD_THREADS_MAX ? (unsigned)n : LOAD_THREADS_MAX;
		if (o->threads > o->connections)
			o->threads = o->connections;
	}
	return 0;
}

static int positional(int argc, char **argv, struct load_options *o, struct weft_err *err)
{
	if (optind == argc) {
		weft_err_set(err, EINVAL, "no URL given");
		return weft_err_hint(err, "weft-load --rate 1000 http://10.30.0.2:80/");
	}
	if (argc - optind > 1) {
		weft_err_set(err, EINVAL, "%s: one URL is enough", argv[optind + 1]);
		return weft_err_hint(err, "run a weft-load for each URL");
	}
	o->url = argv[optind];
	return 0;
}

/* getopt_long's table: the specs, numbered from FIRST_LONG on, --help, --version and the end. */
static void fill_long_options(struct option *flags)
{
	size_t n = 0;

	for (; n < ARRAY_SIZE(specs); n++)
		flags[n] = (struct option){specs[n].flag + 2,
			specs[n].kind == KIND_SWITCH ? no_argument : required_argument, NULL,
			FIRST_LONG + (int)n};
	flags[n++] = (struct option){"help", no_argument, NULL, 'h'};
	flags[n++] = (struct option){"version", no_argument, NULL, 'V'};
	flags[n] = (struct option){0};
}

int load_options_parse(
	int argc, char **argv, FILE *out, struct load_options *ret, struct weft_err *err)
{
	struct load_options o = {
		.duration = 30000000000ULL,
		.timeout = 5000000000ULL,
		.interval = 1000000000ULL,
		.connections = 32,
		.max_queue = 65536,
		.seed = 1,
		.method = "GET",
		.name = "weft-load",
		.phase = "run",
	};
	struct option flags[ARRAY_SIZE(specs) + 3];
	const struct spec *spec;
	int opt, r;

	fill_long_options(flags);
	optind = 0; /* glibc: begin anew, also when called a second time */
	while ((opt = getopt_long(argc, argv, ":o:h", flags, NULL)) >= 0) {
		if (opt == 'h' || opt == 'V') {
			fputs(opt == 'h' ? usage : "weft-load " WEFT_VERSION "\n", out);
			return 1;
		}
		if (opt == '?' || opt == ':') {
			weft_err_set(err, EINVAL, "%s: %s", argv[optind - 1],
				opt == '?' ? "unknown flag" : "a value is missing");
			return weft_err_hint(err, "weft-load --help lists the flags");
		}
		spec = opt >= FIRST_LONG ? &specs[opt - FIRST_LONG] : &format_spec;
		r = set_option(spec, optarg, &o, err);
		if (r < 0)
			return r;
	}
	r = positional(argc, argv, &o, err);
	if (r == 0)
		r = check_together(&o, err);
	if (r < 0)
		return r;
	*ret = o;
	return 0;
}
