/* SPDX-License-Identifier: Apache-2.0 */
/* Packets that wait for their address. What would open a flow to a semantic address of nobody, or
 * of a service that is starting, is kept for a moment and sent again once the data plane knows a
 * way; bounded in number, by sender, and in time. What waited in vain for an address of nobody is
 * refused at once the next time. */
#ifndef WEFT_DATAPLANE_WAITING_H
#define WEFT_DATAPLANE_WAITING_H

#include "ctrl/base/cleanup.h"
#include "ctrl/dataplane/dataplane.h"

#define WEFT_DP_WAITING_MAX 256 /* packets, */
#define WEFT_DP_WAITING_OF  32  /* and of one sender */

struct weft_dp_waiting;

/* host_device: weft_link_host's, by which they are sent again. Until it is closed packets wait. */
int weft_dp_waiting_open(struct weft_dp *dp, const char *host_device, struct weft_dp_waiting **ret,
	struct weft_err *err);
void weft_dp_waiting_close(struct weft_dp_waiting *w); /* NULL is fine; what waits is lost */
WEFT_DEFINE_CLEANUP(struct weft_dp_waiting *, weft_dp_waiting_close);

/* Readable when a packet has come. */
int weft_dp_waiting_fd(struct weft_dp_waiting *w);
/* Take in what has come (as much as there is room for), send what can be, forget what has waited
 * too long. Call it twice a second at least, or packets do not wait any more; and some ten
 * milliseconds apart at least, as a flood would keep it busy. Returns how many wait. */
unsigned weft_dp_waiting_run(struct weft_dp_waiting *w, uint64_t now_ns);

struct weft_dp_waiting_counters {
	uint64_t taken; /* waited, or still do */
	uint64_t sent, expired;
	uint64_t
		refused; /* too many were waiting, or one that waits was sent again by its sender */
};
void weft_dp_waiting_counters(
	const struct weft_dp_waiting *w, struct weft_dp_waiting_counters *ret);

/* Whether calls of the service wait while it has no backend: its first ones are to come. */
int weft_dp_service_starting(struct weft_dp *dp, uint32_t id, bool starting);

#endif
