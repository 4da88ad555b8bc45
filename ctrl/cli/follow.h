/* SPDX-License-Identifier: Apache-2.0 */
/* Following something for a while: waiting between looks, ^C, a daemon that restarts. */
#ifndef WEFT_CLI_FOLLOW_H
#define WEFT_CLI_FOLLOW_H

#include "ctrl/base/cleanup.h"
#include "ctrl/cli/client.h"

/* From here ^C is an answer of cli_pause() and cli_get_patient() instead of the end. */
int cli_follow_begin(struct cli *cli, struct weft_err *err);
void cli_follow_end(struct cli *cli);
WEFT_DEFINE_CLEANUP(struct cli *, cli_follow_end);

/* Wait ms, or until --timeout is over, or ^C (-EINTR). */
int cli_pause(struct cli *cli, unsigned ms);
bool cli_expired(const struct cli *cli); /* --timeout is over */

/* What to do after a call that returned r, for who rides out a restart of the daemon: -EAGAIN: try
 * again, having paused; else what is to be returned. known: the daemon has answered this program
 * before the call. *away_ns begins as 0 and remembers since when nobody answers. */
int cli_patience(struct cli *cli, int r, bool known, uint64_t *away_ns, struct weft_err *err);

/* cli_get() that rides out a restart of the daemon: once it has answered this program, it may stay
 * away for 30 s, which is said on stderr. -EINTR: ^C. */
int cli_get_patient(struct cli *cli, const char *path, struct cli_reply *ret, struct weft_err *err);

/* Is what the answer describes over? 0: no, 1: yes, negative errno with err: badly. reply is NULL
 * when there is no such object (any more); err says so already. */
typedef int (*cli_ended_t)(
	struct cli *cli, const struct cli_reply *reply, void *userdata, struct weft_err *err);

/* Look at path every 200 ms until ended() says so; returns what it said. -ETIMEDOUT when --timeout
 * (or default_ms, 0: none) is over first, -EINTR for ^C, then the caller puts the words. */
int cli_wait(struct cli *cli, const char *path, uint64_t default_ms, cli_ended_t ended,
	void *userdata, struct weft_err *err);

#endif
