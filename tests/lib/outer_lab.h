/* SPDX-License-Identifier: Apache-2.0 */
/* Tunnel datagrams by hand, and the uplink's programs on them: beside dp_lab.h, in the same lab.
 * The uplink is "up0" with 192.0.2.1 and 2001:db8::1 (and the .2 and ::2 of both); peer n has
 * 192.0.2.(10 + n) or 2001:db8::(10
 * + n). Instances of other nodes are instances 100 and up, with the addresses that lab_instance()
 * gives. */
#ifndef WEFT_TESTS_OUTER_LAB_H
#define WEFT_TESTS_OUTER_LAB_H

#include "ctrl/dataplane/peer.h"
#include "tests/lib/dp_lab.h"

#define LAB_UNSPEC   (-1) /* to whoever is next */
#define LAB_XDP_DROP 1
#define LAB_XDP_PASS 2

/* Make the device. */
void lab_uplink_device(void);
uint32_t lab_up0(uint8_t ret_mac[6]); /* its index and hardware address */
/* Somebody else's XDP program on a device, which passes everything, until the link that is returned
 * is closed. flags: XDP_FLAGS_... or 0. */
int lab_foreign_xdp(uint32_t ifindex, uint32_t flags);
struct weft_dp_peer lab_peer(uint32_t n, bool v6, enum weft_dp_format format);
/* Set the peer, and instance 100 + n of it as a backend of service (0: none); or the test fails. */
void lab_add_peer(
	struct weft_dp *dp, uint32_t n, bool v6, enum weft_dp_format format, uint32_t service);

/* Where a datagram's parts are. */
struct lab_outer {
	bool v6, vxlan;
	size_t ip, udp, inner; /* offsets; the inner one is its IP header's */
};

/* Put what f holds (an instance's frame, of which the IP packet counts) into a datagram from peer
 * n to us, arriving at the uplink. */
struct lab_outer lab_wrap(struct lab_frame *f, uint32_t n, bool v6, bool vxlan);
/* Make the lengths and the checksum of the outer headers what the frame's length says. */
void lab_refit(struct lab_frame *f, const struct lab_outer *o);
/* f came out of an instance's program, as a datagram: check every field of its outer headers
 * against peer n, take them off, and return the UDP source port. The test fails where one is wrong.
 */
uint16_t lab_unwrap(struct lab_frame *f, uint32_t n, bool v6, bool vxlan);

/* The unmodified programs as they are attached now. */
int lab_run_uplink(struct weft_dp *dp, struct lab_frame *f);
int lab_run_publish(struct weft_dp *dp, struct lab_frame *f);
int lab_run_vxlan(struct weft_dp *dp, struct lab_frame *f);
/* ret_peer: the one it is handed over with, 0. */
int lab_run_xdp(struct weft_dp *dp, struct lab_frame *f, uint32_t *ret_peer);

#endif
