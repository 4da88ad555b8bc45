/* SPDX-License-Identifier: Apache-2.0 */
/* Does an instance answer? TCP connect, or an HTTP GET that is answered by a status below 400.
 * Asynchronous on the loop. */
#ifndef WEFT_HEALTH_PROBE_H
#define WEFT_HEALTH_PROBE_H

#include <netinet/in.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"

struct weft_probe;

struct weft_probe_config {
	struct in_addr addr;
	uint16_t port;
	const char *http_path; /* NULL: TCP connect is enough. Copied */
	unsigned attempt_ms;   /* an attempt without an answer is given up and made anew */
	unsigned interval_ms;  /* from one attempt's failure to the next attempt */
	unsigned timeout_ms;   /* for all attempts; then done(-ETIMEDOUT) with the last reason */
};

/* r 0: it answered, after `attempts`. Called once, from the loop; the probe may be freed in it. */
typedef void (*weft_probe_done_t)(
	void *userdata, int r, unsigned attempts, const struct weft_err *err);

int weft_probe_start(sd_event *event, const struct weft_probe_config *config,
	weft_probe_done_t done, void *userdata, struct weft_probe **ret);
/* Within done(0): the round-trip time of the connection that was made, as TCP measured it. */
uint32_t weft_probe_rtt_us(const struct weft_probe *p);
void weft_probe_free(struct weft_probe *p); /* cancels */
WEFT_DEFINE_CLEANUP(struct weft_probe *, weft_probe_free);

#endif
