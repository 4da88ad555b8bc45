/* SPDX-License-Identifier: Apache-2.0 */
/* What instances use, the same way for whatever runs them: CPU time and memory by its runtime from
 * the control group, network from the link; looked at every two seconds for the rates. And how long
 * the parts of their lives took. */
#include <errno.h>
#include <string.h>

#include "ctrl/engine/internal.h"

#define EVERY_NS 2000000000ULL

static const char *const spans[] = {
	[SPAN_PREPARE] = "prepare",
	[SPAN_START] = "start",
	[SPAN_FIRST_ANSWER] = "first_answer",
	[SPAN_STOP] = "stop",
};
_Static_assert(ARRAY_SIZE(spans) == SPAN_COUNT, "a name for every span");

static const double bounds_s[] = {
	0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300};
_Static_assert(ARRAY_SIZE(bounds_s) == SPAN_BOUNDS, "a sum for every bound");

/* --- what it uses --------------------------------------------------------------------------------
 */

int instance_stats(const struct instance *inst, struct weft_runtime_stats *ret)
{
	struct runtime_slot *slot;

	*ret = (struct weft_runtime_stats){0};
	if (inst->borrowed || inst->phase < PHASE_STARTING || inst->phase > PHASE_STOPPING)
		return 0;
	slot = engine_runtime(inst->engine, inst->virt);
	return slot->ops->stats(slot->rt, inst->name, ret);
}

static int network(const struct instance *inst, struct weft_link_counters *ret)
{
	return inst->ifindex ? weft_link_read(inst->engine->reader, inst->ifindex, ret) : -ENODEV;
}

/* A counter that went back is another one: of a device made anew, say. */
static double rate(uint64_t now, uint64_t earlier, double seconds)
{
	return now < earlier ? 0 : (double)(now - earlier) / seconds;
}

/* What was asked of it over TCP between two looks, and how long the answers took. */
static void put_requests(json_t *doc, const struct usage *a, const struct usage *b, double seconds)
{
	struct weft_guard_effect effect;
	struct weft_guard_sum sum = {0};

	weft_guard_add(&sum, &a->quality, &b->quality);
	effect = weft_guard_effect(&sum);
	json_object_set_new(doc, "requests", json_real((double)effect.requests / seconds));
	json_object_set_new(doc, "failed", json_real((double)effect.failed / seconds));
	json_object_set_new(doc, "p50_us", json_integer(effect.p50_us));
	json_object_set_new(doc, "p90_us", json_integer(effect.p90_us));
	json_object_set_new(doc, "p99_us", json_integer(effect.p99_us));
}

static json_t *view_rates(const struct instance *inst)
{
	json_t *doc;

	const struct usage *a = &inst->earlier, *b = &inst->usage;
	double seconds = (double)(b->at_ns - a->at_ns) / 1e9;

	if (!a->at_ns || seconds <= 0)
		return json_null();
	doc = json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "t_ms", (json_int_t)inst->usage_ms,
		"interval_s", seconds, "cpu", rate(b->cpu_ns, a->cpu_ns, seconds) / 1e9, "rx_bytes",
		rate(b->net.rx_bytes, a->net.rx_bytes, seconds), "rx_packets",
		rate(b->net.rx_packets, a->net.rx_packets, seconds), "tx_bytes",
		rate(b->net.tx_bytes, a->net.tx_bytes, seconds), "tx_packets",
		rate(b->net.tx_packets, a->net.tx_packets, seconds));
	put_requests(doc, a, b, seconds);
	return doc;
}

static json_t *view_network(const struct instance *inst)
{
	struct weft_link_counters net;

	if (network(inst, &net) < 0)
		return json_pack(
			"{s:n, s:n, s:n, s:n}", "rx_bytes", "rx_packets", "tx_bytes", "tx_packets");
	return json_pack("{s:I, s:I, s:I, s:I}", "rx_bytes", (json_int_t)net.rx_bytes, "rx_packets",
		(json_int_t)net.rx_packets, "tx_bytes", (json_int_t)net.tx_bytes, "tx_packets",
		(json_int_t)net.tx_packets);
}

void view_usage(const struct instance *inst, json_t *doc)
{
	json_auto_t *usage = NULL, *net = view_network(inst);
	struct weft_runtime_stats s;

	instance_stats(inst, &s);
	usage = json_pack("{s:i, s:I, s:I, s:I, s:I, s:o, s:o}", "pid", (int)s.pid, "cpu_ns",
		(json_int_t)s.cpu_ns, "memory_bytes", (json_int_t)s.memory_bytes, "helper_cpu_ns",
		(json_int_t)s.helper_cpu_ns, "helper_memory_bytes",
		(json_int_t)s.helper_memory_bytes, "rates", view_rates(inst), "times",
		view_spans(inst));
	json_object_update(doc, usage);
	json_object_update(doc, net);
}

/* What could not be read is not 0: a rate would be made of it at the next look. */
static void look(struct instance *inst)
{
	struct weft_runtime_stats s;
	struct weft_link_counters net = {0};
	struct weft_guard_count quality;

	if (instance_stats(inst, &s) < 0 || (inst->ifindex && network(inst, &net) < 0)) {
		inst->earlier = inst->usage = (struct usage){0};
		return;
	}
	guard_count(inst, &quality);
	inst->earlier = inst->usage;
	inst->usage = (struct usage){
		.at_ns = weft_now_ns(), .cpu_ns = s.cpu_ns, .net = net, .quality = quality};
	inst->usage_ms = weft_realtime_ms();
}

void numbers_tick(struct weft_engine *e, uint64_t now)
{
	if (now < e->numbers_ns)
		return;
	e->numbers_ns = now + EVERY_NS;
	for (struct instance *i = e->instances; i; i = i->next)
		if (i->phase >= PHASE_STARTING && i->phase <= PHASE_STOPPING)
			look(i);
}

/* --- how long it took ----------------------------------------------------------------------------
 */

void instance_span_begin(struct instance *inst, enum span span)
{
	inst->span_ns[span] = weft_now_ns();
	inst->span_us[span] = 0;
}

void instance_span_end(struct instance *inst, enum span span)
{
	struct span_sum *sum = &inst->engine->spans[inst->virt][span];
	uint64_t us;
	unsigned i = 0;

	if (!inst->span_ns[span])
		return;
	us = (weft_now_ns() - inst->span_ns[span]) / 1000;
	inst->span_ns[span] = 0;
	inst->span_us[span] = us ? us : 1;
	sum->count++;
	sum->sum_us += us;
	while (i < SPAN_BOUNDS && (double)us > bounds_s[i] * 1e6)
		i++;
	if (i < SPAN_BOUNDS)
		sum->below[i]++;
}

json_t *view_spans(const struct instance *inst)
{
	json_t *doc = json_object();

	for (int i = 0; i < SPAN_COUNT; i++) {
		char key[32];

		snprintf(key, sizeof(key), "%s_ms", spans[i]);
		json_object_set_new(doc, key,
			inst->span_us[i] ? json_real((double)inst->span_us[i] / 1000.0)
					 : json_null());
	}
	return doc;
}

void instance_spans_from_json(struct instance *inst, const json_t *doc)
{
	for (int i = 0; i < SPAN_COUNT; i++) {
		char key[32];
		double ms;

		snprintf(key, sizeof(key), "%s_ms", spans[i]);
		ms = json_number_value(json_object_get(doc, key));
		if (ms > 0 && ms < 1e12)
			inst->span_us[i] = (uint64_t)(ms * 1000.0);
	}
}

static json_t *view_sum(enum weft_virt virt, int span, const struct span_sum *sum)
{
	json_t *buckets = json_array();
	uint64_t up_to = 0;

	for (unsigned i = 0; i < SPAN_BOUNDS; i++) {
		up_to += sum->below[i];
		json_array_append_new(buckets, json_pack("[f, I]", bounds_s[i], (json_int_t)up_to));
	}
	return json_pack("{s:s, s:s, s:I, s:f, s:o}", "phase", spans[span], "virtualization",
		weft_virt_name(virt), "count", (json_int_t)sum->count, "sum_s",
		(double)sum->sum_us / 1e6, "buckets", buckets);
}

int weft_engine_spans(struct weft_engine *e, json_t **ret, struct weft_err *err)
{
	json_t *list = json_array();

	(void)err;
	for (int span = 0; span < SPAN_COUNT; span++)
		for (int virt = 0; virt < WEFT_VIRT_COUNT; virt++)
			if (e->spans[virt][span].count)
				json_array_append_new(list, view_sum((enum weft_virt)virt, span,
								    &e->spans[virt][span]));
	return view_items(list, ret);
}
