/* SPDX-License-Identifier: Apache-2.0 */
/* The policies that go by measurements: who is near, by the round-trip time of a connection from
 * this node, and who has little to do, by its live flows and its CPU time. Each second, smoothed;
 * who is preferred changes only when the difference is plain. */
#include <errno.h>
#include <string.h>

#include "ctrl/engine/internal.h"
#include "sched/prefer.h"

#define EVERY_NS       1000000000ULL
#define RTT_PART       0.2
#define RTT_NEAR       0.25
#define RTT_SLACK_US   50
#define RTT_TIMEOUT_MS 2000
#define LOAD_PART      0.3
#define LOAD_NEAR      0.25
#define LOAD_SLACK     0.15

static bool is_measured(const struct service *s, enum weft_dp_policy policy)
{
	return service_called_by(s, policy);
}

/* --- near ----------------------------------------------------------------------------------------
 */

static void on_rtt(void *userdata, int r, unsigned attempts, const struct weft_err *err)
{
	struct instance *inst = userdata;
	double us = r == 0 ? weft_probe_rtt_us(inst->rtt_probe) : RTT_TIMEOUT_MS * 1000.0;

	(void)attempts;
	(void)err;
	inst->rtt_probe = (weft_probe_free(inst->rtt_probe), NULL);
	inst->rtt_us = weft_smooth(inst->rtt_us, us, RTT_PART);
}

/* An attached one may only be reached by way of the overlay. */
static void measure_rtt(struct instance *inst)
{
	const struct weft_sla_probe *p = &inst->service->spec->readiness;
	struct weft_probe_config config = {
		.addr = inst->borrowed ? inst->inst_addr : inst->ns_addr,
		.port = p->port,
		.attempt_ms = RTT_TIMEOUT_MS / 2,
		.interval_ms = 50,
		.timeout_ms = RTT_TIMEOUT_MS,
	};

	if (p->port && !inst->rtt_probe)
		weft_probe_start(inst->engine->event, &config, on_rtt, inst, &inst->rtt_probe);
}

/* --- idle ----------------------------------------------------------------------------------------
 */

/* The part of its CPUs that it has used since it was last asked, or -1. */
static double cpu_part(struct instance *inst, uint64_t now)
{
	const struct weft_sla_variant *v = service_variant(inst->service, inst->virt);
	double cpus = 1, passed = (double)(now - inst->cpu_at_ns), used;
	struct weft_runtime_stats stats;

	if (instance_stats(inst, &stats) < 0) { /* 0 would make the next one a jump */
		inst->cpu_at_ns = 0;
		return -1;
	}
	used = (double)stats.cpu_ns - (double)inst->cpu_ns;
	if (inst->cpu_at_ns == 0)
		used = -1;
	inst->cpu_ns = stats.cpu_ns;
	inst->cpu_at_ns = now;
	if (stats.cpu_ns == 0 || used < 0 || passed <= 0)
		return -1;
	if (v && v->cpu_milli)
		cpus = v->cpu_milli / 1000.0;
	else if (v && v->vcpus)
		cpus = v->vcpus;
	return used / passed / cpus;
}

static void measure_load(struct service *s, uint64_t now)
{
	double flows = 0;
	unsigned n = 0;

	for (struct instance *i = s->engine->instances; i; i = i->next)
		if (i->service == s && i->phase == PHASE_READY) {
			flows += s->engine->flows[i->id];
			n++;
		}
	for (struct instance *i = s->engine->instances; i; i = i->next)
		if (i->service == s && i->phase == PHASE_READY)
			i->load = weft_smooth(i->load,
				weft_load(s->engine->flows[i->id], flows / n, cpu_part(i, now)),
				LOAD_PART);
}

/* --- preferred -----------------------------------------------------------------------------------
 */

static double cost_of(const struct instance *inst, enum weft_dp_policy policy)
{
	return policy == WEFT_DP_CLOSEST ? inst->rtt_us : inst->load;
}

static bool prefer(struct service *s, enum weft_dp_policy policy)
{
	_cleanup_(freep) struct weft_prefer_item *items = NULL;
	bool changed = false, closest = policy == WEFT_DP_CLOSEST;
	unsigned n = 0;

	for (struct instance *i = s->engine->instances; i; i = i->next)
		n += i->service == s && i->phase == PHASE_READY;
	items = calloc(n + 1, sizeof(*items));
	if (!items)
		return false;
	n = 0;
	for (struct instance *i = s->engine->instances; i; i = i->next)
		if (i->service == s && i->phase == PHASE_READY)
			items[n++] =
				(struct weft_prefer_item){cost_of(i, policy), i->preferred[policy]};
	weft_prefer(items, n, closest ? RTT_NEAR : LOAD_NEAR, closest ? RTT_SLACK_US : LOAD_SLACK);
	n = 0;
	for (struct instance *i = s->engine->instances; i; i = i->next)
		if (i->service == s && i->phase == PHASE_READY) {
			changed |= i->preferred[policy] != items[n].preferred;
			i->preferred[policy] = items[n++].preferred;
		}
	return changed;
}

static void consider(struct service *s, uint64_t now)
{
	bool changed = false;

	if (is_measured(s, WEFT_DP_CLOSEST)) {
		for (struct instance *i = s->engine->instances; i; i = i->next)
			if (i->service == s && i->phase == PHASE_READY)
				measure_rtt(i);
		changed |= prefer(s, WEFT_DP_CLOSEST);
	}
	if (is_measured(s, WEFT_DP_LEAST_LOADED)) {
		measure_load(s, now);
		changed |= prefer(s, WEFT_DP_LEAST_LOADED);
	}
	if (changed)
		service_weigh(s);
}

void policy_tick(struct weft_engine *e, uint64_t now)
{
	bool any = false;

	if (now < e->policy_ns)
		return;
	e->policy_ns = now + EVERY_NS;
	for (struct service *s = e->services; s; s = s->next)
		any |= is_measured(s, WEFT_DP_LEAST_LOADED);
	if (any)
		engine_count_flows(e);
	for (struct service *s = e->services; s; s = s->next)
		if (!s->deleting)
			consider(s, now);
}
