/* SPDX-License-Identifier: Apache-2.0 */
/* What the data plane bench's small programs share. Each does one thing, is pinned to one processor
 * and gives up with a message when anything goes wrong: there is nothing to save. */
#ifndef WEFT_TESTS_BENCH_H
#define WEFT_TESTS_BENCH_H

#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>

/* Where the servers listen; HAProxy's configuration has the TCP ports too. */
#define PORT_ECHO 7001 /* TCP: stays open; UDP */
#define PORT_SINK 7002 /* TCP: answers a struct sink_report at the end; UDP: counts */
#define PORT_ONCE 7003 /* TCP: one answer, then the server closes */

#define REQUEST_SIZE   64
#define STREAM_WARM_UP (1 << 20) /* bytes: windows open, and do not count */
#define SMALL_SIZE     18 /* of a UDP payload: with its headers the smallest Ethernet frame */

/* What a sink has seen since the first datagram, or since a stream was warm, to the last. Both ends
 * are on one machine: no conversion. */
struct sink_report {
	uint64_t run;
	uint64_t count; /* TCP: bytes */
	uint64_t ns;
};

/* A datagram for the UDP sink. */
struct small_datagram {
	uint64_t run; /* a new one starts a new count */
	uint8_t ask;  /* 0: count me, 1: answer with the report */
	uint8_t pad[SMALL_SIZE - 9];
};

_Static_assert(sizeof(struct small_datagram) >= SMALL_SIZE, "a datagram in full");

static inline void pin(uint64_t cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		err(1, "processor %u", (unsigned)cpu);
}

static inline struct sockaddr_in socket_address(const char *dotted, uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (inet_pton(AF_INET, dotted, &sa.sin_addr) != 1)
		errx(2, "%s: not an IPv4 address", dotted);
	return sa;
}

#endif
