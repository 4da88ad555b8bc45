/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that are killed at a certain place. */
#ifndef WEFT_TESTS_LIB_DOOMED_H
#define WEFT_TESTS_LIB_DOOMED_H

#include <linux/bpf.h>
#include <sys/types.h>

/* From now on this process is killed where it first removes a directory, which it has emptied by
 * then; */
void test_die_at_rmdir(void);
/* changes the mode of a file that it has open; */
void test_die_at_fchmod(void);
/* gives bpf(2) that command. */
void test_die_at_bpf(enum bpf_cmd cmd);
/* Wait for such a one. 0: it was killed there. */
int test_await_doomed(pid_t pid);

#endif
