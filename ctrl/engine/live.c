/* SPDX-License-Identifier: Apache-2.0 */
/* Liveness: an instance that runs is asked from time to time; one that fails too often in a row has
 * failed as a whole, and its service replaces it. */
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/internal.h"

void live_stop(struct instance *inst)
{
	inst->live = (ask_free(inst->live), NULL);
	inst->live_ns = 0;
	inst->live_failures = 0;
}

static bool is_asked(const struct instance *inst)
{
	return inst->phase == PHASE_READY && !inst->paused && !inst->adopted && !inst->unwanted &&
	       ask_probe(inst, ASK_LIVE)->type != WEFT_PROBE_NONE;
}

static void failed(struct instance *inst, const struct weft_err *err)
{
	const struct weft_sla_probe *p = ask_probe(inst, ASK_LIVE);
	struct weft_err why = *err;

	inst->live_failures++;
	weft_err_prefix(&why, "instance %s failed its liveness probe (%u of %u)", inst->name,
		inst->live_failures, p->failures);
	log_warning("%s", why.msg);
	weft_events_add(inst->engine->events, "instance", "probe-failed", inst->name,
		json_pack("{s:s, s:i, s:i, s:s}", "service", inst->service->name, "failures",
			(int)inst->live_failures, "of", (int)p->failures, "error", why.msg));
	if (inst->live_failures < p->failures)
		return;
	weft_err_hint(&why, "weft logs %s", inst->name);
	live_stop(inst);
	instance_fail(inst, &why);
}

static void on_asked(struct instance *inst, int r, const struct weft_err *err)
{
	struct weft_err why = *err;

	inst->live = (ask_free(inst->live), NULL);
	inst->live_ns = weft_now_ns() + ask_probe(inst, ASK_LIVE)->interval_ms * 1000000ULL;
	if (!is_asked(inst))
		return;
	if (r < 0)
		failed(inst, &why);
	else
		inst->live_failures = 0;
}

void live_tick(struct instance *inst, uint64_t now)
{
	const struct weft_sla_probe *p = ask_probe(inst, ASK_LIVE);
	unsigned most = p->timeout_s * 1000;

	if (!is_asked(inst)) {
		if (inst->live || inst->live_ns)
			live_stop(inst);
		return;
	}
	if (!inst->live_ns) /* it has just become ready, and so was asked already */
		inst->live_ns = now + p->interval_ms * 1000000ULL;
	if (inst->live || now < inst->live_ns)
		return;
	if (ask_start(inst, ASK_LIVE, most, most, on_asked, &inst->live) < 0)
		inst->live_ns = now + p->interval_ms * 1000000ULL;
}
