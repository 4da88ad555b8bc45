/* SPDX-License-Identifier: Apache-2.0 */
/* Packets that wait for their address: those of a service that is starting, or that is applied in
 * that very moment. */
#include <string.h>
#include <sys/epoll.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/internal.h"

/* Once, until the next tick: a flood is not to have more of us. */
static int on_packet(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct weft_engine *e = userdata;

	(void)source;
	(void)fd;
	(void)events;
	e->n_waiting = weft_dp_waiting_run(e->waiting, weft_now_ns());
	return 0;
}

/* Without it nothing waits, and all else works. */
void waiting_open(struct weft_engine *e)
{
	struct weft_err err = {0};
	int r = weft_dp_waiting_open(e->dp, e->config.host_device, &e->waiting, &err);

	if (r == 0)
		r = sd_event_add_io(e->event, &e->waiting_io, weft_dp_waiting_fd(e->waiting),
			EPOLLIN, on_packet, e);
	if (r < 0) {
		log_warning("packets do not wait for services that start: %s",
			err.code ? err.msg : strerror(-r));
		waiting_close(e);
		return;
	}
	sd_event_source_set_enabled(e->waiting_io, SD_EVENT_ONESHOT);
}

void waiting_tick(struct weft_engine *e, uint64_t now)
{
	if (!e->waiting)
		return;
	e->n_waiting = weft_dp_waiting_run(e->waiting, now);
	sd_event_source_set_enabled(e->waiting_io, SD_EVENT_ONESHOT);
}

void waiting_close(struct weft_engine *e)
{
	e->waiting_io = sd_event_source_disable_unref(e->waiting_io);
	weft_dp_waiting_close(e->waiting);
	e->waiting = NULL;
	e->n_waiting = 0;
}

/* One that fails again and again is not waited for. */
void waiting_for(struct service *s)
{
	bool ready = s->deleting || s->failures > 0 || s->spec->replicas == 0;

	for (struct instance *i = s->engine->instances; i && !ready; i = i->next)
		ready = i->service == s && i->phase == PHASE_READY;
	weft_dp_service_starting(s->engine->dp, s->id, !ready);
}

json_t *view_waiting(const struct weft_engine *e)
{
	struct weft_dp_waiting_counters c = {0};

	if (!e->waiting)
		return json_null();
	weft_dp_waiting_counters(e->waiting, &c);
	return json_pack("{s:i, s:I, s:I, s:I, s:I}", "now", (int)e->n_waiting, "taken",
		(json_int_t)c.taken, "sent", (json_int_t)c.sent, "expired", (json_int_t)c.expired,
		"refused", (json_int_t)c.refused);
}
