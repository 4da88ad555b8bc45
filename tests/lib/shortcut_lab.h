/* SPDX-License-Identifier: Apache-2.0 */
/* Containers as far as sockets are concerned: network namespaces that are instances of a data plane
 * of the test's own, whose processes are all this one, in a cgroup of the test's own. Service 1 is
 * at SC_VIP, instances 1 and 2 are its backends, 3 and 4 are clients, 9 is the host. */
#ifndef WEFT_TESTS_SHORTCUT_LAB_H
#define WEFT_TESTS_SHORTCUT_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctrl/dataplane/dataplane.h"
#include "ctrl/dataplane/sockmap.h"

#define SC_VIP     "10.30.0.1"
#define SC_PORT    7777
#define SC_SERVICE 1
#define SC_BACKEND 1
#define SC_OTHER   2
#define SC_CLIENT  3
#define SC_HOST    9

struct sc_lab {
	struct weft_dp *dp;
	char dir[64], cgroup[128];
	int home, ns[SC_HOST + 1]; /* namespaces; the host's is home */
	struct weft_dp_instance instances[SC_HOST + 1];
	int listener[3]; /* of backends 1 and 2 */
};
extern struct sc_lab sc;

/* After lab_enter(). False, after printing a TAP line that skips the program, where the shortcut
 * can not be. */
bool sc_supported(void);
/* For cmocka's groups. The shortcut of the service is on. */
int sc_setup(void **state);
int sc_teardown(void **state);

void sc_open(void); /* the daemon comes; weft_dp_free(sc.dp): it goes */
void sc_set(const struct weft_dp_instance *inst);
/* The same, and its sockets are those of its namespace. */
void sc_set_with_sockets(uint32_t n);
void sc_weights(uint32_t first, uint32_t second);
void sc_switch(bool on);

void sc_enter_ns(uint32_t n);
void sc_leave_ns(void);

/* A connection of the service by client, over any backend with a weight. */
struct sc_conn {
	int client, backend; /* non-blocking sockets */
};
struct sc_conn sc_connect(uint32_t client);
void sc_close(struct sc_conn *c);
/* From client's namespace to any address; and the next that calls a backend. */
int sc_dial(uint32_t client, const char *to, uint16_t port);
int sc_accept(uint32_t backend);

/* Messages that took the shortcut, and directions that left it for this reason. */
uint64_t sc_messages(void);
uint64_t sc_left(const char *reason);
void sc_await_sockets(unsigned want); /* open ones that it knows */

/* size bytes of pattern from offset at on: what was sent, and what must be there. */
void sc_pattern(uint8_t *buf, size_t size, uint64_t at);
void sc_check_pattern(const uint8_t *buf, size_t size, uint64_t at);
/* Send and receive all of it, of the pattern. */
void sc_send(int fd, size_t size, uint64_t at);
void sc_recv(int fd, size_t size, uint64_t at);

#define SC_PATIENCE_MS 10000
void sc_wait(int fd, short events); /* of poll(); fails the test in the end */
/* The next recv() that is not premature: bytes, 0 or a negative errno. */
int sc_read(int fd, void *buf, size_t size);
void sc_say(int fd, const char *text);    /* all of it at once */
void sc_expect(int fd, const char *text); /* exactly this comes next */
void sc_talk(const struct sc_conn *c);    /* a word there and one back */

#endif
