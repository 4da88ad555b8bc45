/* SPDX-License-Identifier: Apache-2.0 */
/* A gRPC server on a unix socket for tests of the client, on the test's own loop. The method says
 * how it behaves:
 *   /test/Echo     each message comes back at once; status 0 after the last
 *   /test/Thrice   the request comes back three times
 *   /test/Fail     status 5 and a message, without any body
 *   /test/Hang     no answer
 *   /test/None     status 0, no message        /test/NoStatus  a message, no status
 *   /test/Http     HTTP status 503             /test/Huge      a message said to be 1 GiB
 *   /test/Garbage  not the message wanted      /test/Compressed a message flagged compressed
 *   /test/Flood    64 messages of 64 KiB */
#ifndef WEFT_TESTS_LIB_GRPC_SERVER_H
#define WEFT_TESTS_LIB_GRPC_SERVER_H

#include <systemd/sd-event.h>

struct test_grpc_server;

struct test_grpc_stats {
	unsigned connections, requests, resets;
	unsigned reset_code; /* of the last RST_STREAM */
	char namespace_[64]; /* of the last request's metadata */
	char content_type[64];
};

/* Aborts on failure. */
struct test_grpc_server *test_grpc_server_new(sd_event *event, const char *path);
void test_grpc_server_free(struct test_grpc_server *s); /* closes everything */
void test_grpc_server_drop(struct test_grpc_server *s); /* breaks all connections */
void test_grpc_server_goaway(struct test_grpc_server *s);
void test_grpc_server_garbage(struct test_grpc_server *s); /* sends what is no HTTP/2 */
const struct test_grpc_stats *test_grpc_server_stats(const struct test_grpc_server *s);

#endif
