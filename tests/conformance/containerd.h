/* SPDX-License-Identifier: Apache-2.0 */
/* A containerd of the test's own, with one image that can do all of it. */
#ifndef WEFT_TESTS_CONFORMANCE_CONTAINERD_H
#define WEFT_TESTS_CONFORMANCE_CONTAINERD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/suite.h"
#include "tests/lib/ctrd.h"
#include "tests/lib/image.h"

static struct test_ctrd conf_ctrd;

static int conf_ctrd_open(struct conf *c)
{
	char program[128];

	if (test_ctrd_setup(&conf_ctrd, "conf") < 0)
		return -1;
	snprintf(c->socket, sizeof(c->socket), "%s", conf_ctrd.socket);
	snprintf(program, sizeof(program), "%s/init", c->dir);
	if (conf_build_program(program) < 0)
		return -1;
	for (int p = 0; p < CONF_PROGRAMS; p++) {
		snprintf(c->image[p], sizeof(c->image[p]), "%s/image.tar", c->dir);
		c->args[p][0] = "/init";
		c->args[p][1] = conf_word((enum conf_program)p);
	}
	test_image_write(c->image[0], &(struct test_image){.program = program});
	return 0;
}

static void conf_ctrd_close(struct conf *c)
{
	(void)c;
	if (conf_ctrd.dir[0])
		test_ctrd_teardown(&conf_ctrd);
}

/* `ctr` prints a title and a line for each, or with -q no title. */
static bool conf_ctrd_left(struct conf *c)
{
	static const char *const lists[] = {"containers ls -q", "tasks ls -q", "leases ls -q"};

	(void)c;
	for (int i = 0; i < 3; i++)
		if (test_ctrd_lines(&conf_ctrd, lists[i]) > 0) {
			printf("# left: ctr %s\n", lists[i]);
			return true;
		}
	return false;
}

#define CONF_CONTAINERD                                                                      \
	.ops = &weft_runtime_containerd, .open = conf_ctrd_open, .close = conf_ctrd_close,   \
	.left = conf_ctrd_left, .images = true, .netns = true, .exec = true, .status = true, \
	.rotates = true

#endif
