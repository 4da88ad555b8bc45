/* SPDX-License-Identifier: Apache-2.0 */
/* A containerd of the test's own: root, state and socket below one temporary directory, whose bin/
 * is first in its PATH. */
#ifndef WEFT_TESTS_LIB_CTRD_H
#define WEFT_TESTS_LIB_CTRD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct test_ctrd {
	char dir[64]; /* "/tmp/weft-NAME-XXXXXX", for the test's files as well */
	char socket[96];
	pid_t pid;     /* 0: not running */
	char disk[96]; /* a file system of its own is mounted there, "": none */
	bool native;   /* from the next start on: without the overlayfs snapshotter */
};

/* NULL, or why containerd cannot run here. */
const char *test_ctrd_missing(void);

/* Make the directory and start containerd; wait until it answers. All three: 0 or -errno. */
int test_ctrd_setup(struct test_ctrd *c, const char *name);
/* The same with its root on a file system of that size. */
int test_ctrd_setup_on(struct test_ctrd *c, const char *name, unsigned disk_mb);
int test_ctrd_start(struct test_ctrd *c);

/* kill -9; shims and containers go on. */
void test_ctrd_kill(struct test_ctrd *c);

/* End everything that came from it, shims and mounts too, and remove the directory. */
void test_ctrd_teardown(struct test_ctrd *c);

/* Is anything left on the host of the instances that ran: shim, log writer, mount, cgroup below
 * that one, runc's state, bundle? Some of it goes a little later: it is given some seconds. What it
 * is is written to what. */
bool test_ctrd_host_leftover(
	const struct test_ctrd *c, const char *cgroup, char *what, size_t size);

/* Number of lines that `ctr ARGS` prints in weft's namespace, -1 when it fails. */
int test_ctrd_lines(const struct test_ctrd *c, const char *args);
/* Its output, to be freed; NULL when it fails. */
char *test_ctrd_run(const struct test_ctrd *c, const char *args);

#endif
