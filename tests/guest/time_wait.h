/* SPDX-License-Identifier: Apache-2.0 */
/* A connection in TIME_WAIT whose client begins anew. */
#ifndef WEFT_GUEST_TIME_WAIT_H
#define WEFT_GUEST_TIME_WAIT_H

#include <stddef.h>

#include "lwip/ip_addr.h"

/* Look at a TCP segment from remote to local before lwIP does: a SYN that is newer than all that
 * its connection in TIME_WAIT has received ends that one, so that lwIP takes it for a new
 * connection (RFC 1122, section 4.2.2.13). lwIP itself acknowledges it, or resets it if it falls
 * into the window; a client that comes back to a port within 2 MSL would wait for seconds.
 * segment: len bytes, network order; one that is too short is nobody's. */
void time_wait_look(
	const void *segment, size_t len, const ip_addr_t *remote, const ip_addr_t *local);

#endif
