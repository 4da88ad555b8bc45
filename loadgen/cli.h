/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_LOADGEN_CLI_H
#define WEFT_LOADGEN_CLI_H

#include <stdio.h>

/* weft-load's main: run what argv asks for, results to out, talk to talk. Returns the exit status:
 * 0, 1 failed, 2 usage, 6 unreachable ... as weft-load(1) says. */
int load_main(int argc, char **argv, FILE *out, FILE *talk);

#endif
