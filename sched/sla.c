/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/sla.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "sched/sla_internal.h"

/* Only "direct" constraints bind, as in Oakestra; `cluster` is for a root to look at. */
static int parse_constraints(const struct sla_at *at, struct weft_sla_service *svc)
{
	struct sla_at list;
	int r = 0;

	if (!sla_member(at, "constraints", &list))
		return 0;
	for (size_t i = 0; r == 0 && i < json_array_size(list.value); i++) {
		struct sla_at item = sla_element(&list, i), node;
		const char *type = json_string_value(json_object_get(item.value, "type"));

		r = sla_check(&item, &sla_constraint_keys);
		if (r < 0 || strcmp(type, "direct") != 0 || !sla_member(&item, "node", &node) ||
			json_string_length(node.value) == 0)
			continue;
		if (!svc->node)
			r = sla_string(&item, "node", SLA_SHORT_MAX, &svc->node);
		else if (strcmp(svc->node, json_string_value(node.value)) != 0)
			r = sla_fail(&node, "\"%s\", but another constraint says \"%s\"",
				sla_quote(json_string_value(node.value)).text,
				sla_quote(svc->node).text);
	}
	return r;
}

static int parse_name(const struct sla_at *at, const char *key, char **ret)
{
	struct sla_at member;
	const char *s;

	if (!sla_member(at, key, &member))
		return -EINVAL; /* required: checked before */
	s = json_string_value(member.value);
	if (!weft_name_valid(s, 30) || s[strcspn(s, "._-")] != '\0')
		return sla_fail(&member, "must be 1 to 30 letters and digits, is \"%s\"",
			sla_quote(s).text);
	return sla_string(at, key, 30, ret);
}

static int parse_names(
	const struct sla_at *app, const struct sla_at *at, struct weft_sla_service *svc)
{
	int r = parse_name(app, "application_name", &svc->app);

	if (r == 0)
		r = parse_name(app, "application_namespace", &svc->app_ns);
	if (r == 0)
		r = parse_name(at, "microservice_name", &svc->name);
	if (r == 0)
		r = parse_name(at, "microservice_namespace", &svc->name_ns);
	if (r < 0)
		return r;
	svc->job_name = weft_strf("%s.%s.%s.%s", svc->app, svc->app_ns, svc->name, svc->name_ns);
	if (!svc->job_name)
		return sla_no_memory(at->doc);
	if (strcmp(svc->app_ns, "default") == 0 && strcmp(svc->name_ns, "default") == 0)
		svc->short_name = weft_strf("%s.%s", svc->app, svc->name);
	else
		svc->short_name = strdup(svc->job_name);
	return svc->short_name ? 0 : sla_no_memory(at->doc);
}

static int parse_service(
	const struct sla_at *app, const struct sla_at *at, struct weft_sla_service *svc)
{
	int r = sla_check(at, &sla_microservice_keys);

	svc->replicas = 1;
	if (r == 0)
		r = parse_names(app, at, svc);
	if (r == 0)
		r = sla_parse_variants(at, svc);
	if (r == 0)
		r = sla_parse_ports(at, svc);
	if (r == 0)
		r = sla_parse_addresses(at, svc);
	if (r == 0)
		r = sla_parse_probes(at, svc);
	if (r == 0)
		r = sla_parse_handover(at, svc);
	if (r == 0)
		r = sla_parse_swap(at, svc);
	svc->swap.handover = svc->handover.type != WEFT_HANDOVER_NONE;
	if (r == 0)
		r = parse_constraints(at, svc);
	if (r == 0)
		r = sla_uint(at, "replicas", 0, WEFT_SLA_MAX_REPLICAS, &svc->replicas);
	svc->shortcut = json_is_true(json_object_get(at->value, "shortcut"));
	return r;
}

/* The service parsed last against those before it. */
static int check_unique(const struct sla_at *at, const struct weft_sla *sla)
{
	const struct weft_sla_service *last = &sla->services[sla->n_services - 1];

	for (const struct weft_sla_service *s = sla->services; s < last; s++) {
		struct sla_at where;
		int r;

		if (strcmp(s->job_name, last->job_name) == 0) {
			sla_member(at, "microservice_name", &where);
			return sla_fail(&where, "service %s is described twice in this file",
				last->job_name);
		}
		r = sla_check_addresses(at, last, s);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_application(const struct sla_at *app, struct weft_sla *sla)
{
	struct sla_at list;

	if (!sla_member(app, "microservices", &list))
		return 0;
	for (size_t i = 0; i < json_array_size(list.value); i++) {
		struct sla_at at = sla_element(&list, i);
		int r = parse_service(app, &at, &sla->services[sla->n_services++]);

		if (r == 0)
			r = check_unique(&at, sla);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Check all applications' own keys, so that the services can be counted before any is read. */
static int count_services(const struct sla_at *apps, size_t *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < json_array_size(apps->value); i++) {
		struct sla_at app = sla_element(apps, i);
		int r = sla_check(&app, &sla_application_keys);

		if (r < 0)
			return r;
		n += json_array_size(json_object_get(app.value, "microservices"));
	}
	if (n == 0) {
		sla_fail(apps, "no microservice in it, so there is nothing to deploy");
		return weft_err_hint(
			apps->doc->err, "describe at least one in applications[0].microservices");
	}
	if (n > SLA_SERVICES_MAX) {
		sla_fail(apps, "must have at most %u microservices in all, has %zu",
			SLA_SERVICES_MAX, n);
		return weft_err_hint(apps->doc->err, "split it into several descriptors");
	}
	*ret = n;
	return 0;
}

static int parse_root(const struct sla_at *root, struct weft_sla *sla)
{
	struct sla_at version, apps;
	size_t n = 0;
	int r = sla_check(root, &sla_root_keys);

	if (r < 0 || !sla_member(root, "sla_version", &version) ||
		!sla_member(root, "applications", &apps))
		return r;
	if (strcmp(json_string_value(version.value), "v2.0") != 0) {
		sla_fail(&version, "must be \"v2.0\", is \"%s\"",
			sla_quote(json_string_value(version.value)).text);
		return weft_err_hint(root->doc->err,
			"v2.0 is the only version of the descriptor "
			"that weft reads; Oakestra has withdrawn v1.0");
	}
	r = sla_string(root, "customerID", SLA_SHORT_MAX, &sla->customer);
	if (r == 0)
		r = count_services(&apps, &n);
	if (r < 0)
		return r;
	sla->services = calloc(n, sizeof(*sla->services));
	if (!sla->services)
		return sla_no_memory(root->doc);
	for (size_t i = 0; r == 0 && i < json_array_size(apps.value); i++) {
		struct sla_at app = sla_element(&apps, i);

		r = parse_application(&app, sla);
	}
	return r;
}

/* jansson says where its token ended; what people get wrong most is right before it. */
static int not_json(const struct sla_doc *doc, const json_error_t *e)
{
	size_t end = e->position > 0 ? (size_t)e->position : 0, i;
	char what[sizeof(e->text)];

	if (e->text[0] && json_error_code(e) == json_error_out_of_memory)
		return sla_no_memory(doc);
	sla_clean(what, sizeof(what), e->text);
	weft_err_set(doc->err, EBADMSG, "%s:%d:%d: not JSON: %s", doc->name,
		e->line > 0 ? e->line : 1, e->column > 0 ? e->column : 1, what);
	if (end > doc->size)
		end = doc->size;
	if (end == 0)
		return weft_err_hint(doc->err, "the text is empty");
	i = end - 1;
	if (doc->text[i] == '/' || doc->text[i] == '#')
		return weft_err_hint(doc->err, "JSON has no comments");
	if (doc->text[i] == '\'')
		return weft_err_hint(doc->err, "JSON strings stand in double quotes");
	if (doc->text[i] != '}' && doc->text[i] != ']')
		return -EBADMSG;
	while (i > 0 && strchr(" \t\r\n", doc->text[i - 1]))
		i--;
	if (i > 0 && doc->text[i - 1] == ',')
		weft_err_hint(doc->err, "remove the comma before the '%c'", doc->text[end - 1]);
	return -EBADMSG;
}

WEFT_DEFINE_CLEANUP(struct weft_sla *, weft_sla_free);

int weft_sla_parse(const char *name, const char *text, size_t size, struct weft_sla **ret,
	struct weft_err *err)
{
	struct weft_err unwanted = {0};
	struct sla_doc doc = {.text = text, .size = size, .err = err ? err : &unwanted};
	_cleanup_(weft_sla_freep) struct weft_sla *sla = NULL;
	json_auto_t *json = NULL;
	struct sla_at root = {.doc = &doc};
	json_error_t e;
	int r;

	sla_clean(doc.name, sizeof(doc.name), name ? name : "descriptor");
	if (size > SLA_TEXT_MAX) {
		weft_err_set(doc.err, E2BIG,
			"%s: the descriptor has %zu bytes, at most %u are read", doc.name, size,
			SLA_TEXT_MAX);
		return weft_err_hint(doc.err, "split it into several descriptors");
	}
	json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &e);
	if (!json)
		return not_json(&doc, &e);
	sla = calloc(1, sizeof(*sla));
	if (!sla)
		return sla_no_memory(&doc);
	root.value = json;
	doc.sla = sla;
	r = parse_root(&root, sla);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(sla);
	return 0;
}

static void free_variant(struct weft_sla_variant *v)
{
	for (size_t a = 0; a < WEFT_ARCH_COUNT; a++)
		free(v->image[a]);
	free(v->code);
	strv_free(v->cmd);
	strv_free(v->env);
	sla_free_container(v);
	sla_free_probe(&v->readiness);
	sla_free_probe(&v->liveness);
}

static void free_service(struct weft_sla_service *s)
{
	for (size_t i = 0; i < s->n_variants; i++)
		free_variant(&s->variants[i]);
	free(s->variants);
	free(s->ports);
	sla_free_probe(&s->readiness);
	sla_free_probe(&s->liveness);
	strv_free(s->handover.command);
	free(s->node);
	free(s->app);
	free(s->app_ns);
	free(s->name);
	free(s->name_ns);
	free(s->job_name);
	free(s->short_name);
}

void weft_sla_free(struct weft_sla *sla)
{
	if (!sla)
		return;
	for (size_t i = 0; i < sla->n_services; i++)
		free_service(&sla->services[i]);
	for (size_t i = 0; i < sla->n_named; i++)
		free(sla->ignored[i]);
	free(sla->ignored);
	free(sla->services);
	free(sla->customer);
	free(sla);
}
