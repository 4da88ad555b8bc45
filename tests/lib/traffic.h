/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets in network namespaces, of the family that an address in text says. What does not succeed
 * within some seconds fails the test. */
#ifndef WEFT_TESTS_TRAFFIC_H
#define WEFT_TESTS_TRAFFIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The namespace that the process is in becomes its home; it goes back there, and forgets it. */
void ns_open(void);
void ns_close(void);

void ns_enter(int ns);
void ns_home(void);
int ns_sh(int ns, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int ns_listen(int ns, int type, const char *addr, uint16_t port);
int ns_dial(int ns, const char *to, uint16_t port, int type);
int ns_accept(int listener, char peer[64]);
void sock_talk(int a, int b);
/* size bytes from a to b, each of them checked. */
void sock_bulk(int a, int b, size_t size);
/* A reset, within some seconds. */
void sock_is_reset(int fd);
/* The pending error, waited for; 0: there is none. */
int sock_error(int fd);
/* That its path has by now. */
int sock_path_mtu(int fd);
/* Set the IP_ or the IPV6_ option, as the socket's family is. */
void sock_option(int fd, int option4, int option6, int value);

void ns_checksum_offload(int ns, const char *device, bool on);
/* Checksum errors that the stack of ns has met, of all protocols and both families. */
unsigned long long ns_csum_errors(int ns);

#endif
