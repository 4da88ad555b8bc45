/* SPDX-License-Identifier: Apache-2.0 */
/* The data plane as JSON: what it holds and what it counts, by the engine's names. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "ctrl/engine/internal.h"

static json_t *known(double value)
{
	return value < 0 ? json_null() : json_real(value);
}

json_t *view_published_at(const struct service *s)
{
	struct in_addr at = weft_dp_published_at(s->engine->dp);

	return at.s_addr && s->spec->n_ports ? view_address(at) : json_null();
}

json_t *view_published_at6(const struct service *s)
{
	struct in6_addr at = weft_dp_published_at6(s->engine->dp);

	return s->spec->n_ports ? view_address6(&at) : json_null();
}

/* "192.0.2.1:80/tcp", "[2001:db8::1]:80/tcp": where who is outside calls it, by round robin. */
static json_t *published_by(const struct service *s, enum weft_dp_policy policy)
{
	struct in_addr at = weft_dp_published_at(s->engine->dp);
	struct in6_addr at6 = weft_dp_published_at6(s->engine->dp);
	char text[INET_ADDRSTRLEN], text6[INET6_ADDRSTRLEN];
	json_t *list = json_array();

	inet_ntop(AF_INET, &at, text, sizeof(text));
	inet_ntop(AF_INET6, &at6, text6, sizeof(text6));
	for (size_t i = 0; policy == WEFT_DP_RR && i < s->spec->n_ports; i++) {
		const char *proto = s->spec->ports[i].proto == IPPROTO_UDP ? "udp" : "tcp";
		unsigned port = s->spec->ports[i].host;

		if (at.s_addr)
			json_array_append_new(list, json_sprintf("%s:%u/%s", text, port, proto));
		if (!IN6_IS_ADDR_UNSPECIFIED(&at6))
			json_array_append_new(list, json_sprintf("[%s]:%u/%s", text6, port, proto));
	}
	return list;
}

static json_t *lb_row(const struct service *s, const struct instance *i, enum weft_dp_policy policy)
{
	struct weft_dp_counters c = {0};
	uint64_t total = 0;

	for (struct instance *k = s->engine->instances; k; k = k->next)
		total += k->service == s ? k->weight[policy] : 0;
	weft_dp_instance_counters(s->engine->dp, i->id, &c);
	return json_pack(
		"{s:s, s:s, s:o, s:o, s:o, s:s, s:s, s:o, s:o, s:i, s:f, s:i, s:o, s:o, s:I, s:I, s:I}",
		"service", s->name, "policy", policy_name(policy), "vip",
		view_address(s->vip[policy]), "vip6", view_address6(service_vip6(s, policy)),
		"published", published_by(s, policy), "instance", i->name, "virtualization",
		instance_kind(i), "addr", view_address(i->ns_addr), "addr6",
		view_address6(&i->ns_addr6), "weight", (int)i->weight[policy], "share",
		total ? (double)i->weight[policy] / (double)total : 0.0, "flows",
		(int)s->engine->flows[i->id], "rtt_us", known(i->rtt_us), "load", known(i->load),
		"packets", (json_int_t)c.packets, "bytes", (json_int_t)c.bytes, "new_flows",
		(json_int_t)c.flows);
}

static void lb_rows(json_t *list, const struct service *s, enum weft_dp_policy policy)
{
	json_t *rows = json_array();

	for (struct instance *i = s->engine->instances; i; i = i->next)
		if (i->service == s && i->phase >= PHASE_READY)
			json_array_insert_new(rows, 0, lb_row(s, i, policy));
	json_array_extend(list, rows);
	json_decref(rows);
}

/* The one that is asked for; NULL: all are. */
static int wanted_service(
	struct weft_engine *e, const char *name, struct service **ret, struct weft_err *err)
{
	*ret = name ? service_find(e, name) : NULL;
	if (!name || *ret)
		return 0;
	weft_err_set(err, ENOENT, "service %s: no such service", name);
	return weft_err_hint(err, "weft service list");
}

int weft_engine_dp_lb(
	struct weft_engine *e, const char *service, json_t **ret, struct weft_err *err)
{
	struct service *only = NULL;
	json_t *list;
	int r = wanted_service(e, service, &only, err);

	if (r < 0)
		return r;
	list = json_array();
	engine_count_flows(e);
	for (struct service *s = e->services; s; s = s->next)
		for (int policy = 0; policy < WEFT_DP_POLICIES; policy++)
			if ((!only || only == s) && service_called_by(s, policy))
				lb_rows(list, s, (enum weft_dp_policy)policy);
	return view_items(list, ret);
}

int weft_engine_dp_drops(struct weft_engine *e, json_t **ret, struct weft_err *err)
{
	uint64_t *drops = calloc(weft_dp_drop_count(), sizeof(*drops));
	json_t *list = json_array();
	int r = drops ? weft_dp_drops(e->dp, drops) : -ENOMEM;

	for (unsigned i = 0; r == 0 && i < weft_dp_drop_count(); i++)
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:I}", "reason", weft_dp_drop_name(i), "text",
				      weft_dp_drop_text(i), "packets", (json_int_t)drops[i]));
	free(drops);
	if (r < 0) {
		json_decref(list);
		return weft_err_set(err, r, "drop counters: %s", strerror(-r));
	}
	return view_items(list, ret);
}

static void stats_row(
	json_t *list, const char *kind, const char *name, const struct weft_dp_counters *c)
{
	json_t *row = view_counters(c);

	json_object_set_new(row, "kind", json_string(kind));
	json_object_set_new(row, "name", json_string(name));
	json_array_append_new(list, row);
}

int weft_engine_dp_stats(
	struct weft_engine *e, const char *service, json_t **ret, struct weft_err *err)
{
	struct service *only = NULL;
	json_t *list;
	int r = wanted_service(e, service, &only, err);

	if (r < 0)
		return r;
	list = json_array();
	for (struct service *s = e->services; s; s = s->next) {
		struct weft_dp_counters c = {0};

		if (only && only != s)
			continue;
		weft_dp_service_counters(e->dp, s->id, &c);
		stats_row(list, "service", s->name, &c);
	}
	for (struct instance *i = e->instances; i; i = i->next) {
		struct weft_dp_counters c = {0};

		if (only && only != i->service)
			continue;
		weft_dp_instance_counters(e->dp, i->id, &c);
		stats_row(list, "instance", i->name, &c);
	}
	return view_items(list, ret);
}
