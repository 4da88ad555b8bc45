/* SPDX-License-Identifier: Apache-2.0 */
/* The shortcut between TCP sockets of one node: data goes from the one's send() into the other's
 * receive queue, not through their devices. For connections to backends of services that ask for
 * it, between instances whose sockets are this kernel's (containers, native processes, the host
 * itself; not virtual machines and sandboxes). Everything else about a connection stays with the
 * packet path: how it is opened, balanced, counted as a flow, drained, reset and closed.
 *
 * What it can not keep, because the kernel has no way for it. A program gets less than TCP's own
 * semantics if it
 *   - takes data by splice() from the socket, TCP_ZEROCOPY_RECEIVE or MSG_TRUNC: it finds none;
 *   - marks data as urgent (MSG_OOB): it comes in line, without the mark;
 *   - closes with data unread: the other side sees an end, not a reset;
 *   - counts segments or bytes by TCP_INFO.
 * Services of such programs must not ask for it. Sockets with SO_ZEROCOPY, SO_RCVLOWAT,
 * SO_OOBINLINE, kernel TLS or MPTCP, and those that sent data with their SYN, keep to packets by
 * themselves; so does a direction for the rest of its connection whose receiver leaves more unread
 * than the connection's buffers hold. */
#ifndef WEFT_DATAPLANE_SOCKMAP_H
#define WEFT_DATAPLANE_SOCKMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "ctrl/dataplane/dataplane.h"

/* Can this kernel and host do it? -ENOTSUP and why. Tries one connection over the loopback device;
 * the answer is remembered. */
int weft_dp_shortcut_supported(struct weft_dp *dp, struct weft_err *err);

/* Instance id's sockets are those of the network namespace bound to netns; NULL: the caller's own.
 * To be said again whenever the instance is set to something else. Needs no support. */
int weft_dp_shortcut_netns(
	struct weft_dp *dp, uint32_t id, const char *netns, struct weft_err *err);

/* Switch it for new connections to a service's backends. Off: also for those that are open, whose
 * data goes by packets from the next message on. The programs are attached as long as one service
 * has it on or a socket is left of such a time. Removing a service switches it off. */
int weft_dp_shortcut_service(struct weft_dp *dp, uint32_t id, bool on, struct weft_err *err);
bool weft_dp_shortcut_wanted(struct weft_dp *dp, uint32_t id);

/* Reasons 0..weft_dp_shortcut_reason_count()-1 for a direction to go by packets, with a name and a
 * sentence each. */
unsigned weft_dp_shortcut_reason_count(void);
const char *weft_dp_shortcut_reason_name(unsigned reason);
const char *weft_dp_shortcut_reason_text(unsigned reason);

#define WEFT_DP_SHORTCUT_REASONS 8
struct weft_dp_shortcut_counters {
	uint64_t sockets;                        /* open now */
	uint64_t messages, bytes;                /* by the shortcut, both directions */
	uint64_t left[WEFT_DP_SHORTCUT_REASONS]; /* directions that went over to packets */
};
/* Since the service had it switched on first; zeros if it never had. */
int weft_dp_shortcut_counters(
	struct weft_dp *dp, uint32_t id, struct weft_dp_shortcut_counters *ret);

#endif
