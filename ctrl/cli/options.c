/* SPDX-License-Identifier: Apache-2.0 */
/* The flags: one table for parsing and for help. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/cli/cli.h"
#include "ctrl/cli/client.h"
#include "ctrl/cli/value.h"

enum {
	ID_NO_HEADERS = 256,
	ID_COLOR,
	ID_TIMEOUT,
	ID_VERSION,
	ID_TO,
	ID_STRATEGY,
	ID_DURATION,
	ID_DRAIN,
	ID_HOLD,
	ID_STEPS,
	ID_AT_A_TIME,
	ID_GUARD,
	ID_WAIT,
	ID_TAIL,
	ID_SINCE,
	ID_FOLLOW,
	ID_IF_VERSION,
	ID_RESET,
	ID_SERVICE,
	ID_DEVICE,
	ID_NETNS,
	ID_NS_ADDR,
	ID_NS_ADDR6,
	ID_MAC,
	ID_WEIGHT,
	ID_INSTANCE,
	ID_PEER,
	ID_LIMIT,
	ID_AFTER,
	ID_ADDRESS,
	ID_PORT,
	ID_FORMAT,
	ID_MTU,
	ID_ALL,
	ID_CA,
	ID_TOKEN_FILE,
	ID_ROLE,
};

static const struct {
	const char *name;
	int id; /* its letter, or one of the above */
	const char *arg;
	unsigned of; /* CLI_OPT_* that brings it, 0: every command has it */
	const char *help;
} options[] = {
	{"file", 'f', "FILE", CLI_OPT_FILE,
		"what to read: a file, - for stdin, or (descriptors) a directory of *.json"},
	{"to", ID_TO, "VIRT", CLI_OPT_TO, "container, gvisor, unikernel or native"},
	{"strategy", ID_STRATEGY, "S", CLI_OPT_TO,
		"how traffic shifts: linear, exponential, at-once, canary or blue-green"},
	{"duration", ID_DURATION, "TIME", CLI_OPT_TO | CLI_OPT_DURATION,
		"of the shift or the trace, as 5s or 300ms"},
	{"steps", ID_STEPS, "N,N,...", CLI_OPT_TO, "canary: percent of new flows, as 5,25,50"},
	{"hold", ID_HOLD, "TIME", CLI_OPT_TO,
		"canary: at each step; blue-green: with the old ones standing by"},
	{"at-a-time", ID_AT_A_TIME, "N", CLI_OPT_TO, "swap N instances at a time"},
	{"guard", ID_GUARD, "K=N,...", CLI_OPT_TO,
		"turn back by itself: requests, errors (%), latency (% of the old), probes"},
	{"drain", ID_DRAIN, "TIME", CLI_OPT_TO, "deadline for the old instance's flows to end"},
	{"tail", ID_TAIL, "N", CLI_OPT_TAIL, "the last N lines (default 100)"},
	{"follow", ID_FOLLOW, NULL, CLI_OPT_FOLLOW, "go on as it writes (logs: also -f)"},
	{"since", ID_SINCE, "SEQ", CLI_OPT_SINCE, "only what came after event number SEQ"},
	{"if-version", ID_IF_VERSION, "N", CLI_OPT_VERSION,
		"only if nobody has changed it after version N"},
	{"reset", ID_RESET, NULL, CLI_OPT_RESET, "give the shares back to weft: equal ones"},
	{"service", ID_SERVICE, "NAME", CLI_OPT_SERVICE, "of this service only"},
	{"instance", ID_INSTANCE, "NAME", CLI_OPT_FLOWS, "of this instance only"},
	{"peer", ID_PEER, "NAME", CLI_OPT_FLOWS, "of instances of this node only"},
	{"limit", ID_LIMIT, "N", CLI_OPT_FLOWS, "so many at most: 1 to 10000 (default 1000)"},
	{"after", ID_AFTER, "PLACE", CLI_OPT_FLOWS, "those that come next, as the last page says"},
	{"device", ID_DEVICE, "NAME", CLI_OPT_ATTACH,
		"the host side of its veth, its tap, or its macvtap"},
	{"netns", ID_NETNS, "PATH", CLI_OPT_ATTACH,
		"its network namespace instead: a path or a name"},
	{"ns-addr", ID_NS_ADDR, "ADDR", CLI_OPT_ATTACH, "the address that it has"},
	{"ns-addr6", ID_NS_ADDR6, "ADDR", CLI_OPT_ATTACH, "and that of IPv6"},
	{"mac", ID_MAC, "MAC", CLI_OPT_ATTACH, "its hardware address, where weft cannot see it"},
	{"weight", ID_WEIGHT, "N", CLI_OPT_ATTACH, "its weight beside the others' (default 1)"},
	{"address", ID_ADDRESS, "ADDR", CLI_OPT_PEER, "of its uplink, IPv4 or IPv6"},
	{"port", ID_PORT, "N", CLI_OPT_PEER, "of its tunnel (raw 50103, vxlan 50104)"},
	{"format", ID_FORMAT, "F", CLI_OPT_PEER,
		"of the tunnel: vxlan (the default, faster) or raw (Oakestra's)"},
	{"mtu", ID_MTU, "N", CLI_OPT_PEER, "of the way there, where its routes promise more"},
	{"all", ID_ALL, NULL, CLI_OPT_ALL, "also those that have not counted anything"},
	{"wait", ID_WAIT, NULL, CLI_OPT_WAIT, "return when it is done"},
	{"watch", 'w', NULL, CLI_OPT_WATCH, "keep showing it as it changes"},
	{"role", ID_ROLE, "ROLE", CLI_OPT_ROLE, "what the token is for: read, operate or admin"},
	{"host", 'H', "WHERE", 0,
		"weftd: unix:PATH or https://HOST:PORT (WEFT_HOST; " CLI_DEFAULT_HOST ")"},
	{"token-file", ID_TOKEN_FILE, "FILE", 0, "the token for it (WEFT_TOKEN_FILE)"},
	{"ca", ID_CA, "FILE", 0,
		"who signed weftd's certificate, instead of the system's list; PEM"},
	{"output", 'o', "FORMAT", 0, "table, wide, json (the API's bytes) or name"},
	{"no-headers", ID_NO_HEADERS, NULL, 0, "tables without their first line"},
	{"color", ID_COLOR, "WHEN", 0, "auto, always or never (NO_COLOR)"},
	{"timeout", ID_TIMEOUT, "S", 0, "give up after S seconds"},
	{"version", ID_VERSION, NULL, 0, "print the version"},
	{"help", 'h', NULL, 0, "explain the command"},
};
_Static_assert(ARRAY_SIZE(options) <= 64, "struct cli.used has a bit for each");

int cli_check_options(const struct cli *cli, struct weft_err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (!(cli->used & 1ULL << i) || !options[i].of ||
			(cli->command->options & options[i].of))
			continue;
		weft_err_set(err, EINVAL, "weft %s does not take --%s", cli->command->words,
			options[i].name);
		return weft_err_hint(err, "weft %s --help", cli->command->words);
	}
	return 0;
}

void cli_help_options(FILE *f, const struct cli_command *command)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		_cleanup_(freep) char *left = NULL;
		bool letter = options[i].id < 256;

		if (command ? !(command->options & options[i].of) : options[i].of != 0)
			continue;
		left = weft_strf("%c%c%s--%s%s%s", letter ? '-' : ' ', letter ? options[i].id : ' ',
			letter ? ", " : "  ", options[i].name, options[i].arg ? " " : "",
			options[i].arg ? options[i].arg : "");
		fprintf(f, "  %-22s  %s\n", left ? left : options[i].name, options[i].help);
	}
}

void cli_flag_names(FILE *f, const struct cli_command *command)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (command ? (command->options & options[i].of) != 0 : options[i].of == 0)
			fprintf(f, " --%s", options[i].name);
}

void cli_valued_flags(FILE *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (!options[i].arg)
			continue;
		fprintf(f, " --%s", options[i].name);
		if (options[i].id < 256)
			fprintf(f, " -%c", options[i].id);
	}
}

int cli_parse_duration(const char *s, uint64_t *ret_ms)
{
	static const struct {
		const char *unit;
		double ms;
	} units[] = {{"", 1e3}, {"s", 1e3}, {"ms", 1}, {"m", 6e4}, {"min", 6e4}, {"h", 3.6e6}};
	size_t n = strspn(s, "0123456789.");
	char *end;
	double v;

	/* strtod() alone would take "inf", "0x1p3" and "1e9" too */
	if (!n)
		return -EINVAL;
	v = strtod(s, &end);
	if (end != s + n)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (strcmp(end, units[i].unit) != 0)
			continue;
		if (v * units[i].ms > 30.0 * 86400e3)
			return -ERANGE;
		*ret_ms = (uint64_t)(v * units[i].ms + 0.5);
		return 0;
	}
	return -EINVAL;
}

static int take_duration(const char *flag, const char *s, uint64_t *ret_ms, struct weft_err *err)
{
	int r = cli_parse_duration(s, ret_ms);

	if (r < 0)
		weft_err_set(err, EINVAL, "%s %s: %s", flag, s,
			r == -ERANGE ? "longer than 30 days"
				     : "not a time such as 5s, 300ms or 2m");
	return r < 0 ? -EINVAL : 0;
}

static int take_word(
	const char *flag, const char *s, const char *const *words, struct weft_err *err)
{
	_cleanup_(freep) char *all = strdup("");

	for (int i = 0; words[i]; i++) {
		char *more = weft_strf("%s%s%s", all ? all : "", i ? ", " : "", words[i]);

		if (strcmp(words[i], s) == 0) {
			free(more);
			return i;
		}
		free(all);
		all = more;
	}
	weft_err_set(err, EINVAL, "%s %s: unknown word", flag, s);
	return weft_err_hint(err, "one of %s", all ? all : "");
}

static int take_global(struct cli *cli, int id, const char *arg, struct weft_err *err)
{
	static const char *const outputs[] = {"table", "wide", "json", "name", NULL};
	static const char *const colors[] = {"auto", "always", "never", NULL};
	int r = 0;

	switch (id) {
	case 'H':
		return cli_parse_host(arg, cli, err);
	case 'o':
		r = take_word("--output", arg, outputs, err);
		if (r >= 0)
			cli->output = (enum cli_output)r;
		break;
	case ID_COLOR:
		r = take_word("--color", arg, colors, err);
		cli->color = arg;
		break;
	case ID_TIMEOUT:
		return take_duration("--timeout", arg, &cli->timeout_ms, err);
	}
	return r < 0 ? r : 0;
}

/* Where a flag goes that is taken as it is; NULL: it is none of those. */
static const char **text_flag(struct cli *cli, int id)
{
	switch (id) {
	case 'f':
		return &cli->file;
	case ID_TO:
		return &cli->to;
	case ID_STRATEGY:
		return &cli->strategy;
	case ID_STEPS:
		return &cli->steps;
	case ID_GUARD:
		return &cli->guard;
	case ID_SERVICE:
		return &cli->service;
	case ID_INSTANCE:
		return &cli->instance;
	case ID_PEER:
		return &cli->peer;
	case ID_DEVICE:
		return &cli->device;
	case ID_NETNS:
		return &cli->netns;
	case ID_NS_ADDR:
		return &cli->ns_addr;
	case ID_NS_ADDR6:
		return &cli->ns_addr6;
	case ID_MAC:
		return &cli->mac;
	case ID_CA:
		return &cli->ca;
	case ID_TOKEN_FILE:
		return &cli->token_file;
	case ID_ROLE:
		return &cli->role;
	case ID_ADDRESS:
		return &cli->address;
	case ID_FORMAT:
		return &cli->format;
	default:
		return NULL;
	}
}

static bool *bool_flag(struct cli *cli, int id)
{
	switch (id) {
	case ID_RESET:
		return &cli->reset;
	case ID_ALL:
		return &cli->all;
	case ID_FOLLOW:
		return &cli->follow;
	case ID_WAIT:
		return &cli->wait;
	case ID_NO_HEADERS:
		return &cli->no_headers;
	case ID_VERSION:
		return &cli->version;
	case 'w':
		return &cli->watch;
	case 'h':
		return &cli->help;
	default:
		return NULL;
	}
}

static int take_number(const char *flag, const char *s, uint64_t min, uint64_t max,
	const char *what, uint64_t *ret, struct weft_err *err)
{
	if (weft_parse_u64(s, min, max, ret) < 0)
		return weft_err_set(err, EINVAL, "%s %s: not %s", flag, s, what);
	return 0;
}

/* As it is written. */
static const char *name_of(int id)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (options[i].id == id)
			return options[i].name;
	return "";
}

static int take_option(struct cli *cli, int id, const char *arg, struct weft_err *err)
{
	const char **text = text_flag(cli, id);
	bool *flag = bool_flag(cli, id);

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (options[i].id == id)
			cli->used |= 1ULL << i;
	if (text && !*arg)
		return weft_err_set(err, EINVAL, "--%s: an empty word names nothing", name_of(id));
	if (text)
		*text = arg;
	if (flag)
		*flag = true;
	if (text || flag)
		return 0;
	switch (id) {
	case ID_DURATION:
		return take_duration("--duration", arg, &cli->duration_ms, err);
	case ID_DRAIN:
		return take_duration("--drain", arg, &cli->drain_ms, err);
	case ID_HOLD:
		return take_duration("--hold", arg, &cli->hold_ms, err);
	case ID_AT_A_TIME:
		return take_number(
			"--at-a-time", arg, 1, 64, "a number from 1 to 64", &cli->at_a_time, err);
	case ID_TAIL:
		return take_number("--tail", arg, 0, 1000000, "a number of lines", &cli->tail, err);
	case ID_SINCE:
		return take_number(
			"--since", arg, 0, INT64_MAX, "an event's number", &cli->since, err);
	case ID_IF_VERSION:
		return take_number("--if-version", arg, 0, INT64_MAX, "a version, see -o json",
			&cli->if_version, err);
	case ID_WEIGHT:
		return take_number(
			"--weight", arg, 0, 1000, "a weight from 0 to 1000", &cli->weight, err);
	case ID_LIMIT:
		return take_number(
			"--limit", arg, 1, 10000, "a number from 1 to 10000", &cli->limit, err);
	case ID_AFTER:
		return take_number(
			"--after", arg, 0, INT64_MAX, "a place in the table", &cli->after, err);
	case ID_PORT:
		return take_number(
			"--port", arg, 1, 65535, "a number from 1 to 65535", &cli->port, err);
	case ID_MTU:
		return take_number("--mtu", arg, 1, 65535, "a number of bytes", &cli->mtu, err);
	default:
		return take_global(cli, id, arg, err);
	}
}

/* Which of the words is wrong is what getopt knows and does not tell; opterr is off, so that the
 * message is ours. */
static int bad_option(int c, int before, char *argv[], struct weft_err *err)
{
	char letter[3] = {'-', (char)optopt, '\0'};
	const char *word = argv[before];

	if (optopt > 0 && optopt < 256 && strncmp(word, "--", 2) != 0)
		word = letter;
	if (c == ':')
		weft_err_set(err, EINVAL, "option %s wants a value", word);
	else if (optopt && strchr(word, '='))
		weft_err_set(err, EINVAL, "option %s takes no value", word);
	else
		weft_err_set(err, EINVAL, "unknown option %s", word);
	return weft_err_hint(err, "weft --help");
}

/* -f is --file but after "logs", where people expect it to follow. */
static bool is_logs(int argc, char *argv[])
{
	int i = 1;

	if (argc > 1 && strcmp(argv[1], "instance") == 0)
		i = 2;
	while (i < argc && argv[i][0] == '-' && strncmp(argv[i], "-f", 2) != 0)
		i += strcmp(argv[i], "-H") == 0 || strcmp(argv[i], "-o") == 0 ? 2 : 1;
	return i < argc && strcmp(argv[i], "logs") == 0;
}

int cli_parse_options(struct cli *cli, int argc, char *argv[], struct weft_err *err)
{
	bool logs = is_logs(argc, argv);
	struct option longs[ARRAY_SIZE(options) + 1] = {0};
	/* '-': words in between come as option 1, whatever POSIXLY_CORRECT says */
	char shorts[2 + 2 * ARRAY_SIZE(options) + 1] = "-:", *s = shorts + 2;
	int c, before;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		longs[i].name = options[i].name;
		longs[i].has_arg = options[i].arg ? required_argument : no_argument;
		longs[i].val = options[i].id;
		if (logs && options[i].id == 'f') {
			*s++ = 'f';
		} else if (options[i].id < 256) {
			*s++ = (char)options[i].id;
			if (options[i].arg)
				*s++ = ':';
		}
	}
	cli->args = calloc((size_t)argc + 1, sizeof(*cli->args));
	if (!cli->args)
		return weft_err_set(err, ENOMEM, "out of memory");
	optind = 0; /* glibc: start anew */
	opterr = 0;
	while (before = optind ? optind : 1,
		(c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		int r = 0;

		if (c == 1)
			cli->args[cli->n_args++] = optarg;
		else
			r = c == '?' || c == ':'
				    ? bad_option(c, before, argv, err)
				    : take_option(cli, c == 'f' && !optarg ? ID_FOLLOW : c, optarg,
					      err);
		if (r < 0)
			return r;
	}
	while (optind < argc)
		cli->args[cli->n_args++] = argv[optind++];
	return 0;
}
