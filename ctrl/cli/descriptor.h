/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptors that -f names: a file, what comes in at the terminal, or a directory's. */
#ifndef WEFT_CLI_DESCRIPTOR_H
#define WEFT_CLI_DESCRIPTOR_H

#include "ctrl/cli/cli.h"

/* What became of several things that were tried one by one. */
struct cli_outcome {
	size_t done, failed;
	int first; /* exit status of the first failure */
};

/* One of them has failed: err is said and emptied. */
void cli_note_failure(struct cli *cli, struct cli_outcome *o, int r, struct weft_err *err);
int cli_exit_status(const struct cli_outcome *o);

/* one() for each descriptor, in the order of their names; shown is what errors call it, more:
 * others may follow. Of a directory one that fails does not keep the others away; what can be said
 * of none of them is the error that is returned. verb is for whoever gave no -f. */
typedef int (*cli_descriptor_t)(struct cli *cli, const char *shown, const char *body, size_t size,
	bool more, void *userdata, struct weft_err *err);
int cli_each_descriptor(struct cli *cli, const char *verb, cli_descriptor_t one, void *userdata,
	struct cli_outcome *o, struct weft_err *err);

#endif
