/* SPDX-License-Identifier: Apache-2.0 */
/* The engine as JSON: the resources of ctrl/schema/api.md. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "ctrl/dataplane/feature.h"
#include "ctrl/engine/peer.h"

json_t *view_address(struct in_addr a)
{
	char text[INET_ADDRSTRLEN];

	return a.s_addr ? json_string(inet_ntop(AF_INET, &a, text, sizeof(text))) : json_null();
}

static json_t *time_or_null(uint64_t ms)
{
	return ms ? json_integer((json_int_t)ms) : json_null();
}

json_t *view_counters(const struct weft_dp_counters *c)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "packets", (json_int_t)c->packets, "bytes",
		(json_int_t)c->bytes, "new_flows", (json_int_t)c->flows, "rx_packets",
		(json_int_t)c->rx_packets, "rx_bytes", (json_int_t)c->rx_bytes);
}

static unsigned count_ready(const struct service *s)
{
	unsigned n = 0;

	for (struct instance *i = s->engine->instances; i; i = i->next)
		n += i->service == s && !i->borrowed && !i->paused && i->phase == PHASE_READY;
	return n;
}

static const char *service_phase(const struct service *s, unsigned ready)
{
	if (s->deleting)
		return "deleting";
	if (ready >= s->spec->replicas)
		return "running";
	if (ready > 0)
		return "degraded";
	return s->failures ? "failed" : "pending";
}

static json_t *view_variant(const struct weft_sla_variant *v)
{
	json_t *arches = json_array();

	for (int a = 0; a < WEFT_ARCH_COUNT; a++)
		if (v->arch[a])
			json_array_append_new(
				arches, json_string(weft_arch_name((enum weft_arch)a)));
	return json_pack("{s:s, s:s?, s:o, s:i, s:i, s:s}", "virtualization",
		weft_virt_name(v->virt), "code", v->code, "arch", arches, "memory_mb",
		(int)v->memory_mb, "vcpus", (int)v->vcpus, "network", weft_net_kind_name(v->net));
}

/* Until a failed instance is replaced; 0: it is not waited for. */
static json_int_t retry_ms(const struct service *s, unsigned ready)
{
	uint64_t now = weft_now_ns();

	if (ready >= s->spec->replicas || s->retry_ns <= now)
		return 0;
	return (json_int_t)((s->retry_ns - now) / 1000000);
}

json_t *view_version(json_t *doc, uint64_t version)
{
	if (doc)
		json_object_set_new(doc, "version", json_integer((json_int_t)version));
	return doc;
}

static json_t *view_weights(const struct service *s)
{
	json_t *weights = json_object();

	for (const struct instance *i = s->engine->instances; i; i = i->next)
		if (i->service == s && i->phase == PHASE_READY)
			json_object_set_new(
				weights, i->name, json_integer((json_int_t)i->weight[WEFT_DP_RR]));
	return weights;
}

json_t *view_service(const struct service *s)
{
	json_t *doc;

	json_t *instances = json_array(), *variants = json_array();
	struct weft_dp_counters c = {0};
	unsigned ready = count_ready(s);
	const char *phase = service_phase(s, ready);
	const char *detail = strcmp(phase, "running") == 0 ? "" : s->error.msg;

	for (struct instance *i = s->engine->instances; i; i = i->next)
		if (i->service == s)
			json_array_insert_new(instances, 0, json_string(i->name));
	for (size_t i = 0; i < s->spec->n_variants; i++)
		json_array_append_new(variants, view_variant(&s->spec->variants[i]));
	weft_dp_service_counters(s->engine->dp, s->id, &c);
	doc = json_pack(
		"{s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:s, s:s, s:s, s:i, s:i, s:o, s:s?, s:o, s:I, s:o, s:o, "
		"s:I, s:I, s:o, s:o, s:o}",
		"name", s->name, "job_name", s->spec->job_name, "vip",
		view_address(s->vip[WEFT_DP_RR]), "vips", vips_to_json(s), "vip6",
		view_address6(service_vip6(s, WEFT_DP_RR)), "vips6", vips6_to_json(s, true),
		"phase", phase, "detail", detail, "hint", detail[0] ? s->error.hint : "", "active",
		weft_virt_name(s->active), "replicas", (int)s->spec->replicas, "ready", (int)ready,
		"instances", instances, "swap", s->swap ? s->swap->id : NULL, "variants", variants,
		"created_ms", (json_int_t)s->created_ms, "counters", view_counters(&c), "shortcut",
		view_shortcut(s), "restarts", (json_int_t)s->restarts, "retry_ms",
		retry_ms(s, ready), "ports", service_ports(s), "published_at", view_published_at(s),
		"published_at6", view_published_at6(s));
	json_object_set_new(doc, "weights", view_weights(s));
	json_object_set_new(doc, "wanted_version", json_integer((json_int_t)s->wanted_version));
	return view_version(doc, s->version);
}

json_t *view_instance(const struct instance *inst)
{
	struct weft_engine *e = inst->engine;
	struct weft_dp_counters c = {0};
	bool remote = inst->borrowed && inst->borrowed->peer;
	char mac[18], detail[96];
	json_t *doc;

	weft_dp_instance_counters(e->dp, inst->id, &c);
	doc = json_pack(
		"{s:I, s:s, s:s?, s:s, s:s?, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:s?, s:s, s:i, s:i, "
		"s:s, s:I, s:o, s:o, s:o}",
		"version", (json_int_t)inst->version, "id", inst->name, "service",
		inst->service ? inst->service->name : NULL, "virtualization", instance_kind(inst),
		"arch", inst->borrowed ? NULL : weft_arch_name(inst->arch), "node",
		remote ? inst->borrowed->peer->name : e->config.node, "phase",
		phase_name(inst->phase), "detail", instance_detail(inst, detail, sizeof(detail)),
		"ns_addr", view_address(inst->ns_addr), "inst_addr", view_address(inst->inst_addr),
		"ns_addr6", view_address6(&inst->ns_addr6), "inst_addr6",
		view_address6(&inst->inst_addr6), "mac", instance_mac(inst, mac), "network",
		inst->borrowed ? NULL : weft_net_kind_name(inst->net), "device",
		inst->ifindex ? inst->device : "", "weight", (int)inst->weight[WEFT_DP_RR], "flows",
		(int)e->flows[inst->id], "image", inst->code, "created_ms",
		(json_int_t)inst->created_ms, "started_ms", time_or_null(inst->started_ms),
		"ready_ms", time_or_null(inst->ready_ms), "counters", view_counters(&c));
	view_usage(inst, doc);
	return doc;
}

/* What is stored has the effect of phases that have ended; who looks wants that of this one, too.
 */
static void view_so_far(const struct service *s, json_t *phases)
{
	json_t *phase = json_array_get(phases, json_array_size(phases) - 1);
	struct weft_guard_effect old, coming;

	if (!phase || !json_is_null(json_object_get(phase, "ended_ms")))
		return;
	guard_phase_so_far(s, &old, &coming);
	json_object_set_new(phase, "old", weft_guard_effect_to_json(&old));
	json_object_set_new(phase, "new", weft_guard_effect_to_json(&coming));
}

json_t *view_swap(const struct service *s, const struct weft_swap *swap)
{
	json_t *doc = weft_swap_to_json(swap);
	json_int_t flows = 0;

	if (s && s->swap == swap)
		view_so_far(s, json_object_get(doc, "phases"));

	for (struct instance *i = s ? s->engine->instances : NULL; i; i = i->next)
		for (unsigned k = 0; i->service == s && k < swap->n_old; k++)
			if (strcmp(i->name, swap->old_ids[k]) == 0)
				flows += s->engine->flows[i->id];
	json_object_set_new(doc, "flows_old", json_integer(flows));
	return view_version(doc, swap->version);
}

int view_items(json_t *list, json_t **ret)
{
	*ret = json_pack("{s:o}", "items", list);
	return *ret ? 0 : -ENOMEM;
}

int weft_engine_services(struct weft_engine *e, json_t **ret, struct weft_err *err)
{
	json_t *list = json_array();

	(void)err;
	for (struct service *s = e->services; s; s = s->next)
		json_array_insert_new(list, 0, view_service(s));
	return view_items(list, ret);
}

int weft_engine_service(struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err)
{
	struct service *s = service_find(e, name);

	if (!s) {
		weft_err_set(err, ENOENT, "service %s: no such service", name);
		return weft_err_hint(err, "weft service list");
	}
	*ret = view_service(s);
	return 0;
}

int weft_engine_instances(struct weft_engine *e, json_t **ret, struct weft_err *err)
{
	json_t *list = json_array();

	(void)err;
	engine_count_flows(e);
	for (struct instance *i = e->instances; i; i = i->next)
		json_array_insert_new(list, 0, view_instance(i));
	return view_items(list, ret);
}

int view_no_instance(const char *name, struct weft_err *err)
{
	weft_err_set(err, ENOENT, "instance %s: no such instance", name);
	return weft_err_hint(err, "weft instance list");
}

int weft_engine_instance(
	struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err)
{
	struct instance *i = instance_find(e, name);

	if (!i)
		return view_no_instance(name, err);
	engine_count_flows(e);
	*ret = view_instance(i);
	return 0;
}

int weft_engine_swaps(struct weft_engine *e, json_t **ret, struct weft_err *err)
{
	json_t *list = json_array();

	(void)err;
	for (struct service *s = e->services; s; s = s->next)
		if (s->swap)
			json_array_append_new(list, view_swap(s, s->swap));
	for (unsigned i = e->n_swaps; i-- > 0;)
		json_array_append_new(list, view_swap(NULL, e->swaps[i]));
	return view_items(list, ret);
}

int weft_engine_swap(struct weft_engine *e, const char *id, json_t **ret, struct weft_err *err)
{
	for (struct service *s = e->services; s; s = s->next)
		if (s->swap && strcmp(s->swap->id, id) == 0) {
			*ret = view_swap(s, s->swap);
			return 0;
		}
	for (unsigned i = 0; i < e->n_swaps; i++)
		if (strcmp(e->swaps[i]->id, id) == 0) {
			*ret = view_swap(NULL, e->swaps[i]);
			return 0;
		}
	weft_err_set(err, ENOENT, "swap %s: no such swap", id);
	return weft_err_hint(err, "weft swap list");
}

static json_t *view_runtimes(struct weft_engine *e)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < N_RUNTIMES; i++)
		for (unsigned k = 0; k < e->runtimes[i].n_caps; k++) {
			const struct weft_runtime_cap *c = &e->runtimes[i].caps[k];

			json_array_append_new(
				list, json_pack("{s:s, s:s, s:b, s:s, s:s}", "virtualization",
					      weft_virt_name(c->virt), "arch",
					      weft_arch_name(c->arch), "usable", c->usable,
					      "version", c->version, "detail", c->detail));
		}
	return list;
}

static void view_outside(const struct weft_engine *e, json_t *ret)
{
	struct weft_err err = {0};
	bool ok = weft_link_forwards(!e->no_ipv6.code, &err) == 0;

	json_object_set_new(ret, "outside", json_string(ok ? "ok" : err.msg));
	json_object_set_new(ret, "outside_hint", json_string(err.hint));
}

static json_t *view_features(struct weft_engine *e)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < weft_dp_feature_count(); i++) {
		struct weft_dp_feature f = weft_dp_feature(e->dp, i);

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:b, s:s, s:s?}", "name", f.name, "since",
				      f.since, "has", f.has, "what", f.what, "lost", f.lost));
	}
	return list;
}

static uint64_t all_drops(struct weft_engine *e)
{
	uint64_t *drops = calloc(weft_dp_drop_count(), sizeof(*drops)), sum = 0;

	if (drops && weft_dp_drops(e->dp, drops) == 0)
		for (unsigned i = 0; i < weft_dp_drop_count(); i++)
			sum += drops[i];
	free(drops);
	return sum;
}

/* Is the message one about name? That the word is somewhere in it says nothing: a name may be any.
 */
static bool begins_with_name(const char *msg, const char *name)
{
	size_t n = strlen(name);

	if (strncmp(msg, "instance ", strlen("instance ")) == 0)
		msg += strlen("instance ");
	return strncmp(msg, name, n) == 0 && (msg[n] == ':' || msg[n] == ' ');
}

/* What somebody should look at, a sentence each. */
static json_t *view_problems(struct weft_engine *e)
{
	json_t *list = json_array();

	for (struct instance *i = e->instances; i; i = i->next) {
		_cleanup_(freep) char *text = NULL;

		if (!i->error.code || i->phase == PHASE_READY)
			continue;
		text = begins_with_name(i->error.msg, i->name)
			       ? strdup(i->error.msg)
			       : weft_strf("instance %s: %s", i->name, i->error.msg);
		json_array_append_new(list, json_string(text));
	}
	for (struct service *s = e->services; s; s = s->next)
		if (s->shortcut && s->no_shortcut.code)
			json_array_append_new(
				list, json_sprintf("service %s: %s", s->name, s->no_shortcut.msg));
	view_tunnel_problems(e, list);
	return list;
}

int weft_engine_status(struct weft_engine *e, json_t **ret, struct weft_err *err)
{
	int services = 0, instances = 0, swaps = 0, peers = 0;
	json_int_t flows = 0;
	json_t *dp;

	(void)err;
	engine_count_flows(e);
	for (struct service *s = e->services; s; s = s->next) {
		services++;
		swaps += s->swap != NULL;
	}
	for (struct instance *i = e->instances; i; i = i->next) {
		instances++;
		flows += e->flows[i->id];
	}
	for (const struct peer *p = e->peers; p; p = p->next)
		peers++;
	*ret = json_pack(
		"{s:s, s:I, s:s, s:{s:s, s:s}, s:o, s:{s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:s, s:s, s:s}, "
		"s:{s:s, s:s}, s:i, s:i, s:i, s:i, s:o, s:o}",
		"version", WEFT_VERSION, "uptime_s",
		(json_int_t)((weft_now_ns() - e->started_ns) / 1000000000ULL), "role", "all",
		"node", "name", e->config.node, "arch", weft_arch_name(weft_arch_host()),
		"runtimes", view_runtimes(e), "dataplane", "state", "ok", "hook",
		weft_dp_hook(e->dp), "services", services, "instances", instances, "flows", flows,
		"flow_capacity", (json_int_t)weft_dp_flow_capacity(e->dp), "drops",
		(json_int_t)all_drops(e), "trace", e->no_trace.code ? e->no_trace.msg : "ok",
		"ipv6", e->no_ipv6.code ? e->no_ipv6.msg : "ok", "ipv6_hint", e->no_ipv6.hint,
		"store", "kind", "sqlite", "state", weft_store_state(e->store), "services",
		services, "instances", instances, "swaps_running", swaps, "peers", peers, "uplink",
		view_uplink(e), "problems", view_problems(e));
	dp = json_object_get(*ret, "dataplane");
	json_object_set_new(
		dp, "shortcut", json_string(e->no_shortcut.code ? e->no_shortcut.msg : "ok"));
	json_object_set_new(dp, "features", view_features(e));
	json_object_set_new(dp, "waiting", view_waiting(e));
	view_outside(e, dp);
	return *ret ? 0 : -ENOMEM;
}
