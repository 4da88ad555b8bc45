/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTP server for tests that misbehaves on purpose, on 127.0.0.1 and a port of its own, in a
 * child process that dies with its parent. */
#ifndef WEFT_TESTS_LIB_LOAD_SERVER_H
#define WEFT_TESTS_LIB_LOAD_SERVER_H

#include <stdint.h>
#include <sys/types.h>

struct load_server {
	pid_t pid;
	uint16_t port;
	char url[64];
};

/* Modes:
 *   ok           answers, keeps the connection
 *   chunked      answers in chunks, after an interim response
 *   close        answers with "Connection: close" and closes
 *   to_eof       answers without a length: the end of the connection is the end of the body
 *   early_close  keeps the connection by what it says, and closes it all the same
 *   cut          closes in the middle of the body
 *   reset        resets the connection instead of answering every tenth request
 *   stale        answers the first request of a connection, closes it upon the second
 *   stall        does nothing for a second, once, after 1000 requests
 *   silent       never answers
 *   deaf         never accepts, with the shortest backlog
 *   vanish       closes all, the listening socket too, after 200 requests
 *   missing, unavailable   answers 404, 503
 *   garbage, stray         no HTTP; more bytes than Content-Length says
 * 0 or a negative errno; -EINVAL: no such mode. */
int load_server_start(const char *mode, struct load_server *ret);
void load_server_stop(struct load_server *s); /* may be called again */

/* Serve in this process: print the port, go on until standard input ends. An exit status. */
int load_server_main(const char *mode);

#endif
