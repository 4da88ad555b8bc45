/* SPDX-License-Identifier: Apache-2.0 */
/* The same cases for every runtime: what runtime.h promises, whatever the virtualization.
 * A target says how its runtime is made, and how a guest of it behaves in one of some ways. */
#ifndef WEFT_TESTS_CONFORMANCE_SUITE_H
#define WEFT_TESTS_CONFORMANCE_SUITE_H

#include <limits.h>
#include <stdbool.h>

#include "runtimes/runtime.h"

enum conf_program {
	CONF_SERVE,    /* says "ready" or something else, ends when it is asked to */
	CONF_STUBBORN, /* does not */
	CONF_EXIT,     /* ends by itself, well */
	CONF_FAIL,     /* ends by itself, badly */
	CONF_BUSY,     /* uses CPU time */
	CONF_HOG,      /* uses ever more memory */
	CONF_TALK,     /* writes without end */
	CONF_PROGRAMS,
};

#define CONF_ARGS_MAX 8
struct conf {
	const struct conf_target *target;
	char dir[64], libexec[PATH_MAX], cgroup[48], socket[96];
	char image[CONF_PROGRAMS][PATH_MAX]; /* of each program, "": the target has none */
	const char *args[CONF_PROGRAMS][CONF_ARGS_MAX];
	void *own; /* the target's */
};

struct conf_target {
	const char *name;
	const struct weft_runtime_ops *ops;
	enum weft_virt virt;
	/* NULL, or why it cannot run here. */
	const char *(*missing)(struct conf *c);
	/* c->dir exists; fill in image and args. 0 or -1. */
	int (*open)(struct conf *c);
	void (*close)(struct conf *c);
	/* Something of an instance is left though all were removed: says what and returns true. */
	bool (*left)(struct conf *c);
	bool images;  /* prepare() reads an image of a format of its own */
	bool netns;   /* instances live in a network namespace */
	bool rotates; /* logs do not grow beyond spec.log_max_bytes */
	bool exec;    /* programs can be run in an instance */
	/* What a start says that fails since the guest has ended already, well and badly; NULL: its
	 * end is an event. */
	const char *early[2];
	bool status; /* the end of a program tells its exit status */
};

int conf_main(const struct conf_target *target);

/* For targets: compile the program that has all the behaviours, static; 0 or -1. */
int conf_build_program(const char *path);
/* Its argument for a behaviour. */
const char *conf_word(enum conf_program p);

#endif
