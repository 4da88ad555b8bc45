/* SPDX-License-Identifier: Apache-2.0 */
/* The `weft` program: what all of its commands share.
 *
 * stdout is the result, stderr is talk. A handler returns the exit status (>= 0), or a negative
 * errno with err filled, which the caller prints and turns into an exit status. */
#ifndef WEFT_CLI_H
#define WEFT_CLI_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "ctrl/base/err.h"

#define CLI_DEFAULT_HOST     "unix:/run/weft/weftd.sock"
#define CLI_EXIT_PARTLY      7
#define CLI_EXIT_INTERRUPTED 130 /* 128 + SIGINT, as shells say it */

struct cli_io {
	FILE *in, *out, *err;
	const char *root; /* put before the paths that doctor looks at; "" */
	bool utf8;        /* the locale is a UTF-8 one */
};

/* The whole program. Returns the exit status; may be called more than once. */
int weft_cli(int argc, char *argv[], const struct cli_io *io);

enum cli_output { CLI_TABLE, CLI_WIDE, CLI_JSON, CLI_NAME };

struct cli {
	struct cli_io io;
	const struct cli_command *command;
	char **args; /* what follows the command's words */
	size_t n_args;

	/* flags; strings point into argv or the environment */
	const char *socket; /* its path, or url: what errors say */
	const char *url;    /* "https://HOST:PORT", or NULL */
	const char *ca, *token_file, *role;
	enum cli_output output;
	bool watch, wait, no_headers, help, version, reset, all, follow;
	uint64_t used; /* bit per flag that was given */
	const char *color, *file, *to, *strategy, *steps, *guard, *service;
	const char *device, *netns, *ns_addr, *ns_addr6, *mac;
	const char *address, *format;
	const char *instance, *peer;
	/* UINT64_MAX: not given */
	uint64_t timeout_ms, duration_ms, drain_ms, hold_ms, at_a_time, tail, since, weight, port,
		mtu, if_version, limit, after;

	bool colored, tty;
	uint64_t deadline_ns; /* weft_now_ns() at which --timeout is over; 0: none */
	unsigned talk;        /* lines said on stderr: what is redrawn in place starts anew */

	/* client.c, follow.c */
	CURL *curl;
	char *token;               /* out of token_file; owned */
	char why[CURL_ERROR_SIZE]; /* of libcurl's last failure */
	bool contacted;            /* the daemon has answered before */
	bool streamed;             /* the last stream had begun, however it ended */
	bool asks;                 /* the last call was to change nothing */
	bool unanswered;           /* the last call failed because no (whole) answer came */
	int signal_fd;             /* SIGINT while something is followed, else -1 */
};

enum {
	CLI_OPT_WATCH = 1 << 0,
	CLI_OPT_WAIT = 1 << 1,
	CLI_OPT_FILE = 1 << 2,
	CLI_OPT_TO = 1 << 3, /* with all that makes a swap's plan */
	CLI_OPT_TAIL = 1 << 4,
	CLI_OPT_SINCE = 1 << 5,
	CLI_OPT_RESET = 1 << 6,
	CLI_OPT_SERVICE = 1 << 7,
	CLI_OPT_ATTACH = 1 << 8, /* --device, --netns, --ns-addr, --mac, --weight */
	CLI_OPT_ALL = 1 << 9,
	CLI_OPT_DURATION = 1 << 10,
	CLI_OPT_ROLE = 1 << 11,
	CLI_OPT_PEER = 1 << 12, /* --address, --port, --format, --mtu */
	CLI_OPT_VERSION = 1 << 13,
	CLI_OPT_FOLLOW = 1 << 14,
	CLI_OPT_FLOWS = 1 << 15, /* --instance, --peer, --limit, --after */
};

struct cli_command {
	const char *words; /* "service list"; one that ends in "list" is found without it too */
	const char *args;  /* as help shows them, or "" */
	unsigned min_args, max_args;
	unsigned options; /* CLI_OPT_* that it takes beside the global flags */
	int (*run)(struct cli *cli, struct weft_err *err);
	const char *help; /* one line */
	const char *more; /* further text of --help, or NULL */
};

extern const struct cli_command cli_commands[]; /* ends with words == NULL */

/* options.c: fill cli from argv. The positional arguments stay in cli->args, which the caller
 * frees (not the strings). */
int cli_parse_options(struct cli *cli, int argc, char *argv[], struct weft_err *err);
/* "5s", "300ms", "2m", "1h", or a number of seconds. -EINVAL, -ERANGE. */
int cli_parse_duration(const char *s, uint64_t *ret_ms);
/* Were only flags given that the command takes? */
int cli_check_options(const struct cli *cli, struct weft_err *err);
void cli_help_options(FILE *f, const struct cli_command *command);
void cli_flag_names(FILE *f, const struct cli_command *command); /* NULL: what each command takes */
void cli_valued_flags(FILE *f); /* those that a value follows, of all commands */

/* help.c */
void cli_help(FILE *f, const struct cli_command *command); /* NULL: of the program */
bool cli_help_noun(FILE *f, const char *noun);             /* false: no such noun */
int cli_unknown_command(char *const *words, size_t n, struct weft_err *err);
const struct cli_command *cli_find_command(char *const *words, size_t n, size_t *ret_used);

/* descriptor.c: a file, or "-": what comes in at the terminal; of at most 1 MiB. */
int cli_read_file(
	struct cli *cli, const char *file, char **ret, size_t *ret_size, struct weft_err *err);

/* Talk to the person, on stderr. Text of the API is cleaned of control characters. */
void cli_say(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_say_error(struct cli *cli, const struct weft_err *err);

/* handlers */
int cli_cmd_status(struct cli *cli, struct weft_err *err);
int cli_cmd_apply(struct cli *cli, struct weft_err *err);
int cli_cmd_diff(struct cli *cli, struct weft_err *err);
int cli_cmd_delete(struct cli *cli, struct weft_err *err);
int cli_cmd_service_list(struct cli *cli, struct weft_err *err);
int cli_cmd_service_show(struct cli *cli, struct weft_err *err);
int cli_cmd_service_set(struct cli *cli, struct weft_err *err);
int cli_cmd_service_delete(struct cli *cli, struct weft_err *err);
int cli_cmd_instance_list(struct cli *cli, struct weft_err *err);
int cli_cmd_instance_show(struct cli *cli, struct weft_err *err);
int cli_cmd_instance_logs(struct cli *cli, struct weft_err *err);
int cli_cmd_top(struct cli *cli, struct weft_err *err);
int cli_cmd_swap_start(struct cli *cli, struct weft_err *err);
int cli_cmd_swap_list(struct cli *cli, struct weft_err *err);
int cli_cmd_swap_show(struct cli *cli, struct weft_err *err);
int cli_cmd_swap_watch(struct cli *cli, struct weft_err *err);
int cli_cmd_swap_abort(struct cli *cli, struct weft_err *err);
int cli_cmd_swap_pause(struct cli *cli, struct weft_err *err);
int cli_cmd_swap_resume(struct cli *cli, struct weft_err *err);
int cli_cmd_swap_rollback(struct cli *cli, struct weft_err *err);
int cli_cmd_service_scale(struct cli *cli, struct weft_err *err);
int cli_cmd_service_weights(struct cli *cli, struct weft_err *err);
int cli_cmd_instance_pause(struct cli *cli, struct weft_err *err);
int cli_cmd_instance_resume(struct cli *cli, struct weft_err *err);
int cli_cmd_instance_exec(struct cli *cli, struct weft_err *err);
int cli_cmd_instance_attach(struct cli *cli, struct weft_err *err);
int cli_cmd_instance_detach(struct cli *cli, struct weft_err *err);
int cli_cmd_image_list(struct cli *cli, struct weft_err *err);
int cli_cmd_image_pull(struct cli *cli, struct weft_err *err);
int cli_cmd_image_remove(struct cli *cli, struct weft_err *err);
int cli_cmd_image_prune(struct cli *cli, struct weft_err *err);
int cli_cmd_peer_list(struct cli *cli, struct weft_err *err);
int cli_cmd_peer_show(struct cli *cli, struct weft_err *err);
int cli_cmd_peer_add(struct cli *cli, struct weft_err *err);
int cli_cmd_peer_remove(struct cli *cli, struct weft_err *err);
int cli_cmd_peer_export(struct cli *cli, struct weft_err *err);
int cli_cmd_peer_import(struct cli *cli, struct weft_err *err);
int cli_cmd_events(struct cli *cli, struct weft_err *err);
int cli_cmd_dp_lb(struct cli *cli, struct weft_err *err);
int cli_cmd_dp_flows(struct cli *cli, struct weft_err *err);
int cli_cmd_dp_drops(struct cli *cli, struct weft_err *err);
int cli_cmd_dp_stats(struct cli *cli, struct weft_err *err);
int cli_cmd_trace(struct cli *cli, struct weft_err *err);
int cli_cmd_token_new(struct cli *cli, struct weft_err *err);
int cli_cmd_doctor(struct cli *cli, struct weft_err *err);
int cli_cmd_completion(struct cli *cli, struct weft_err *err);
int cli_cmd_help(struct cli *cli, struct weft_err *err);

#endif
