/* SPDX-License-Identifier: Apache-2.0 */
/* What the native runtime's target is made of; the fake stands around the same. */
#ifndef WEFT_TESTS_CONFORMANCE_NATIVE_H
#define WEFT_TESTS_CONFORMANCE_NATIVE_H

#include <stdio.h>

#include "tests/conformance/suite.h"

static int conf_native_open(struct conf *c)
{
	static char program[PATH_MAX];

	snprintf(program, sizeof(program), "%s/program", c->dir);
	for (int p = 0; p < CONF_PROGRAMS; p++) {
		snprintf(c->image[p], sizeof(c->image[p]), "%s", program);
		c->args[p][0] = program;
		c->args[p][1] = conf_word((enum conf_program)p);
	}
	return conf_build_program(program);
}

static void conf_native_close(struct conf *c)
{
	(void)c;
}

#define CONF_NATIVE                                                                     \
	.virt = WEFT_VIRT_NATIVE, .open = conf_native_open, .close = conf_native_close, \
	.netns = true, .exec = true, .status = true, .rotates = true

#endif
