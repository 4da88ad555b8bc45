/* SPDX-License-Identifier: Apache-2.0 */
/* Commands to a running weft-load, one on a line: "phase NAME" and "stop". */
#ifndef WEFT_LOADGEN_CONTROL_H
#define WEFT_LOADGEN_CONTROL_H

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"
#include "loadgen/options.h"

enum load_verb {
	LOAD_VERB_PHASE,
	LOAD_VERB_STOP,
};

struct load_command {
	enum load_verb verb;
	char name[LOAD_NAME_MAX + 1]; /* of the phase */
};

struct load_control;

/* "-" is standard input; any other path is a FIFO, made when nothing is there, and removed in the
 * end if it was made. Writers may come and go. */
int load_control_open(const char *path, struct load_control **ret, struct weft_err *err);
void load_control_close(struct load_control *c); /* NULL is allowed */
WEFT_DEFINE_CLEANUP(struct load_control *, load_control_close);

/* To be polled for input; -1 once standard input has ended. */
int load_control_fd(const struct load_control *c);

/* Read once, after poll said that something is there. */
void load_control_read(struct load_control *c);

/* The next command of what was read. 1: *ret is one; 0: no whole line is left; -EINVAL: a line that
 * is no command, err says why; call again for those behind it. */
int load_control_next(struct load_control *c, struct load_command *ret, struct weft_err *err);

#endif
