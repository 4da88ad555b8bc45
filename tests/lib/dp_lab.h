/* SPDX-License-Identifier: Apache-2.0 */
/* A data plane of its own in namespaces of its own, instances on veth pairs, frames built by hand
 * and run through the unmodified program with BPF_PROG_TEST_RUN. */
#ifndef WEFT_TESTS_DP_LAB_H
#define WEFT_TESTS_DP_LAB_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/weft_abi.h"
#include "ctrl/dataplane/dataplane.h"

#define LAB_PINS "/sys/fs/bpf/weft"

/* TC verdicts */
#define LAB_OK       0
#define LAB_SHOT     2
#define LAB_REDIRECT 7

#define LAB_FIN 0x01
#define LAB_SYN 0x02
#define LAB_RST 0x04
#define LAB_ACK 0x10

/* Move the process into new mount and network namespaces with a bpffs; everything goes with it.
 * False, after printing a TAP line that skips the program, where that can not be. */
bool lab_enter(void);

/* Run a command by the shell; the exit status. */
int lab_sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Addresses of lab instance n: 10.18.0.n and fc00::n, 10.30.1.n and fdff::1:n, 02:00:00:00:00:n on
 * device "vn" (a veth whose peer "pn" is here as well, which suffices for built frames). */
uint32_t lab_addr(const char *dotted);
struct in6_addr lab_addr6(const char *text);
struct weft_dp_instance lab_instance(uint32_t n, uint32_t service);
/* The service's address for round robin; its weights, of instances w; or the test fails. */
void lab_service(struct weft_dp *dp, uint32_t id, const char *vip);
void lab_service46(struct weft_dp *dp, uint32_t id, const char *vip, const char *vip6);
void lab_weights(struct weft_dp *dp, uint32_t id, const struct weft_dp_weight *w, unsigned n);
/* Live flows of one instance. */
uint32_t lab_live(struct weft_dp *dp, uint32_t id);
/* Make the device and set the instance. */
void lab_add(struct weft_dp *dp, uint32_t n, uint32_t service);

struct lab_frame {
	_Alignas(8) uint8_t align[2]; /* puts the IP header on a word boundary */
	uint8_t data[2048];
	size_t len;
	uint32_t ifindex;
	uint32_t gso_size;
	int verdict;
};

struct lab_tuple {
	uint32_t from;     /* instance that sends: device, source address and hardware address */
	const char *daddr; /* "10.30.0.1", "fdff:2000::1": which decides the family */
	uint16_t sport, dport;
};

void lab_tcp(struct lab_frame *f, struct lab_tuple t, uint8_t flags, uint32_t seq);
void lab_udp(struct lab_frame *f, struct lab_tuple t, size_t payload);
void lab_echo(struct lab_frame *f, struct lab_tuple t, uint8_t type); /* sport is the id */
void lab_arp(struct lab_frame *f, uint32_t from, const char *asked);
/* A neighbour solicitation from source ("": the instance's namespace address), with its hardware
 * address as an option unless source is "::". */
void lab_solicit(struct lab_frame *f, uint32_t from, const char *source, const char *asked);
/* n words of IP options (NOP), before running. */
void lab_options(struct lab_frame *f, unsigned words);
void lab_fragment(struct lab_frame *f, uint16_t id, uint16_t offset, bool more);
/* Put an extension header of len bytes behind the IPv6 header; the first two of them are written
 * here. And a fragment header, likewise. */
void lab_extension(struct lab_frame *f, uint8_t kind, const void *bytes, size_t len);
void lab_fragment6(struct lab_frame *f, uint32_t id, uint16_t offset, bool more);
/* The length field, from f->len. */
void lab_fit6(struct lab_frame *f);
/* Recompute what was changed by hand. */
void lab_check_ip(struct lab_frame *f);
void lab_check_icmp(struct lab_frame *f);
void lab_check_tcp(struct lab_frame *f);
/* What a checksum to be completed by the receiver's device holds: the pseudo-header's sum. */
uint16_t lab_pseudo(struct lab_frame *f);

struct iphdr *lab_ip(struct lab_frame *f);
struct ipv6hdr *lab_ip6(struct lab_frame *f);
struct tcphdr *lab_tcph(struct lab_frame *f);
struct udphdr *lab_udph(struct lab_frame *f);

/* Frames arrive as if a device had summed them up, and the kernel looks whether the program keeps
 * that sum right: as it must where it translates. */
extern bool lab_summed;

/* Run f through the program as if it had come from f->ifindex; the frame that came out is in f
 * again. Returns the verdict. */
int lab_run(struct weft_dp *dp, struct lab_frame *f);
/* Are the IP and the transport checksum what the bytes say? */
bool lab_sums_right(struct lab_frame *f);
/* The instance whose hardware address the frame was sent to, 0 for the gateway's, -1 for others. */
int lab_receiver(const struct lab_frame *f);

/* Is the source, or the destination, that address (of either family)? */
bool lab_from(struct lab_frame *f, const char *addr);
bool lab_to(struct lab_frame *f, const char *addr);

uint64_t lab_drops(struct weft_dp *dp, enum weft_drop reason);
/* Run a frame that must be dropped for that reason, counted once. */
void lab_dropped(
	struct weft_dp *dp, struct lab_frame *f, enum weft_drop reason, const char *file, int line);
#define LAB_DROPPED(dp, f, reason) lab_dropped(dp, f, WEFT_DROP_##reason, __FILE__, __LINE__)

#endif
