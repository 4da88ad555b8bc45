/* SPDX-License-Identifier: Apache-2.0 */
/* When an instance is ready, and whether it still lives: of the microservice, and of a variant that
 * says otherwise. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "sched/sla_internal.h"

#define READY_TIMEOUT_S 30
#define LIVE_TIMEOUT_S  2
#define LIVE_EVERY_MS   5000
#define LIVE_FAILURES   3

static const char *const types[] = {
	[WEFT_PROBE_NONE] = "none",
	[WEFT_PROBE_TCP] = "tcp",
	[WEFT_PROBE_HTTP] = "http",
	[WEFT_PROBE_EXEC] = "exec",
	[WEFT_PROBE_QMP] = "qmp",
};

const char *weft_probe_type_name(enum weft_probe_type type)
{
	return type < ARRAY_SIZE(types) ? types[type] : "unknown";
}

void sla_free_probe(struct weft_sla_probe *p)
{
	free(p->path);
	strv_free(p->command);
}

static int copy_probe(
	const struct sla_doc *doc, const struct weft_sla_probe *from, struct weft_sla_probe *ret)
{
	*ret = *from;
	ret->command = NULL;
	ret->path = from->path ? strdup(from->path) : NULL;
	if (from->path && !ret->path)
		return sla_no_memory(doc);
	return sla_copy_strings(doc, from->command, &ret->command);
}

static uint16_t first_tcp_port(const struct weft_sla_service *svc)
{
	for (size_t i = 0; i < svc->n_ports; i++)
		if (svc->ports[i].proto == IPPROTO_TCP)
			return svc->ports[i].container;
	return 0;
}

/* The path goes into a request line as it is. */
static int parse_path(const struct sla_at *at, struct weft_sla_probe *probe)
{
	struct sla_at member;
	int r = sla_string(at, "path", SLA_SHORT_MAX, &probe->path);

	if (r < 0)
		return r;
	if (!probe->path) {
		probe->path = strdup("/");
		return probe->path ? 0 : sla_no_memory(at->doc);
	}
	sla_member(at, "path", &member);
	if (probe->path[0] != '/')
		return sla_fail(
			&member, "must start with '/', is \"%s\"", sla_quote(probe->path).text);
	for (const char *p = probe->path; *p; p++)
		if (*p <= ' ' || *p > '~')
			return sla_fail(&member,
				"must be printable ASCII without spaces "
				"(%%-encode the rest), is \"%s\"",
				sla_quote(probe->path).text);
	return 0;
}

static int parse_type(const struct sla_at *at, enum weft_probe_type *ret)
{
	struct sla_at member;
	const char *s;

	if (!sla_member(at, "type", &member))
		return -EINVAL; /* required: checked before */
	s = json_string_value(member.value);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (strcmp(s, types[i]) != 0)
			continue;
		*ret = (enum weft_probe_type)i;
		return 0;
	}
	return sla_fail(&member,
		"must be \"none\", \"tcp\", \"http\", \"exec\" or \"qmp\", is \"%s\"",
		sla_quote(s).text);
}

/* Keys that mean something for other types only. */
static int check_keys(const struct sla_at *at, const struct weft_sla_probe *probe)
{
	struct sla_at member;

	if (probe->type != WEFT_PROBE_HTTP && sla_member(at, "path", &member))
		return sla_fail_name(&member, "only for %s of type http", at->key);
	if ((probe->type == WEFT_PROBE_EXEC || probe->type == WEFT_PROBE_QMP) &&
		sla_member(at, "port", &member))
		return sla_fail_name(&member, "only for %s of type tcp or http", at->key);
	if (probe->type != WEFT_PROBE_EXEC && sla_member(at, "command", &member))
		return sla_fail_name(&member, "only for %s of type exec", at->key);
	if (probe->type == WEFT_PROBE_EXEC && !probe->command) {
		struct sla_at missing = {at->doc, at, "command", 0, NULL};

		sla_fail(&missing, "required for type exec, but missing or empty");
		return weft_err_hint(at->doc->err, "the program in the instance and its arguments: "
						   "\"command\": [\"/bin/healthy\", \"--quick\"]");
	}
	return 0;
}

/* at is the probe's object; ret has its defaults. */
static int parse_probe(const struct sla_at *at, uint32_t port, const struct sla_keys *keys,
	struct weft_sla_probe *ret)
{
	bool asks_port;
	int r = sla_check(at, keys);

	if (r == 0)
		r = parse_type(at, &ret->type);
	if (r == 0)
		r = sla_uint(at, "port", 1, 65535, &port);
	if (r == 0)
		r = sla_uint(at, "timeout_s", 1, SLA_SECONDS_MAX, &ret->timeout_s);
	if (r == 0 && keys == &sla_liveness_keys)
		r = sla_millis(at, "interval_s", SLA_SECONDS_MAX, &ret->interval_ms);
	if (r == 0 && keys == &sla_liveness_keys)
		r = sla_uint(at, "failures", 1, 100, &ret->failures);
	if (r == 0)
		r = sla_strings(at, "command", &ret->command);
	if (r == 0)
		r = check_keys(at, ret);
	if (r < 0)
		return r;
	asks_port = ret->type == WEFT_PROBE_TCP || ret->type == WEFT_PROBE_HTTP;
	ret->port = asks_port ? (uint16_t)port : 0;
	if (asks_port && port == 0) {
		struct sla_at missing = {at->doc, at, "port", 0, NULL};

		sla_fail(&missing, "required, as the microservice maps no TCP port to default to");
		return -EINVAL;
	}
	return ret->type == WEFT_PROBE_HTTP ? parse_path(at, ret) : 0;
}

/* Can a variant be asked so? Its monitor is asked of a virtual machine alone, and nothing can be
 * run in one. own: the probe's object; NULL: it is the microservice's. */
static int check_possible(const struct sla_at *variant, const struct weft_sla_variant *v,
	const char *key, const struct weft_sla_probe *p, bool own)
{
	struct sla_at at = {variant->doc, variant, key, 0, NULL}, member;
	bool machine = v->virt == WEFT_VIRT_UNIKERNEL;

	if (p->type != (machine ? WEFT_PROBE_EXEC : WEFT_PROBE_QMP))
		return 0;
	if (own && sla_member(variant, key, &member))
		sla_fail(&member, "of type %s, which is nothing for virtualization %s",
			types[p->type], weft_virt_name(v->virt));
	else
		sla_fail(&at,
			"required, as the microservice's is of type %s, which is nothing for "
			"virtualization %s",
			types[p->type], weft_virt_name(v->virt));
	return weft_err_hint(variant->doc->err, "%s; tcp and http are for all",
		machine ? "qmp asks a virtual machine's monitor" : "exec runs a command in it");
}

static int variant_probe(const struct sla_at *at, const struct weft_sla_service *svc,
	const struct weft_sla_variant *v, const char *key, const struct sla_keys *keys,
	const struct weft_sla_probe *base, struct weft_sla_probe *ret)
{
	bool own = sla_says(at, key);
	struct sla_at member;
	int r;

	if (own && sla_member(at, key, &member)) {
		*ret = (struct weft_sla_probe){
			.timeout_s = base->failures ? LIVE_TIMEOUT_S : READY_TIMEOUT_S,
			.interval_ms = base->failures ? LIVE_EVERY_MS : 0,
			.failures = base->failures ? LIVE_FAILURES : 0,
		};
		r = parse_probe(&member, first_tcp_port(svc), keys, ret);
	} else {
		r = copy_probe(at->doc, base, ret);
	}
	return r < 0 ? r : check_possible(at, v, key, ret, own);
}

static int variant_probes(
	const struct sla_at *at, const struct weft_sla_service *svc, struct weft_sla_variant *v)
{
	int r = variant_probe(
		at, svc, v, "readiness", &sla_readiness_keys, &svc->readiness, &v->readiness);

	return r < 0 ? r
		     : variant_probe(at, svc, v, "liveness", &sla_liveness_keys, &svc->liveness,
			       &v->liveness);
}

int sla_parse_probes(const struct sla_at *at, struct weft_sla_service *svc)
{
	uint32_t port = first_tcp_port(svc);
	struct sla_at member, list;
	int r = 0;

	svc->readiness = (struct weft_sla_probe){
		.type = port ? WEFT_PROBE_TCP : WEFT_PROBE_NONE,
		.port = (uint16_t)port,
		.timeout_s = READY_TIMEOUT_S,
	};
	svc->liveness = (struct weft_sla_probe){
		.timeout_s = LIVE_TIMEOUT_S,
		.interval_ms = LIVE_EVERY_MS,
		.failures = LIVE_FAILURES,
	};
	if (sla_member(at, "readiness", &member))
		r = parse_probe(&member, port, &sla_readiness_keys, &svc->readiness);
	if (r == 0 && sla_member(at, "liveness", &member))
		r = parse_probe(&member, port, &sla_liveness_keys, &svc->liveness);
	if (r == 0)
		r = variant_probes(at, svc, &svc->variants[0]);
	if (r < 0 || !sla_member(at, "variants", &list))
		return r;
	for (size_t i = 1; r == 0 && i < svc->n_variants; i++) {
		struct sla_at item = sla_element(&list, i - 1);

		r = variant_probes(&item, svc, &svc->variants[i]);
	}
	return r;
}
