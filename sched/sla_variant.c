/* SPDX-License-Identifier: Apache-2.0 */
/* The variants of a microservice: what each one says, what it inherits, what is left to default. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "sched/sla_internal.h"

static const char *const net_kinds[] = {
	[WEFT_NET_VETH] = "veth",
	[WEFT_NET_MACVTAP] = "macvtap",
	[WEFT_NET_TAP] = "tap",
};

const char *weft_net_kind_name(enum weft_net_kind k)
{
	return k < ARRAY_SIZE(net_kinds) ? net_kinds[k] : "unknown";
}

/* The architectures in the order they were listed: a unikernel's images go by it. */
struct arch_order {
	enum weft_arch arch[WEFT_ARCH_COUNT];
	size_t n;
};

/* The same OCI image runs under runc and runsc. */
static bool same_images(enum weft_virt a, enum weft_virt b)
{
	return a == b || (a == WEFT_VIRT_CONTAINER && b == WEFT_VIRT_GVISOR) ||
	       (a == WEFT_VIRT_GVISOR && b == WEFT_VIRT_CONTAINER);
}

static int parse_virt(const struct sla_at *at, enum weft_virt *ret)
{
	struct sla_at member;
	const char *s;
	int r;

	if (!sla_member(at, "virtualization", &member))
		return -EINVAL; /* required: checked before */
	s = json_string_value(member.value);
	r = weft_virt_parse(s);
	if (r < 0) {
		sla_fail(&member, "unknown virtualization \"%s\"", sla_quote(s).text);
		return weft_err_hint(at->doc->err,
			"known are container (or docker), gvisor (or runsc), unikernel and native");
	}
	*ret = (enum weft_virt)r;
	return 0;
}

static int parse_arch(const struct sla_at *at, struct weft_sla_variant *v, struct arch_order *order)
{
	struct sla_at list;

	if (!sla_member(at, "arch", &list))
		return 0;
	if (json_array_size(list.value) == 0) {
		sla_fail(&list, "must name an architecture, is empty");
		return weft_err_hint(at->doc->err, "leave it out for this machine's own, %s",
			weft_arch_name(weft_arch_host()));
	}
	memset(v->arch, 0, sizeof(v->arch));
	order->n = 0;
	for (size_t i = 0; i < json_array_size(list.value); i++) {
		struct sla_at item = sla_element(&list, i);
		const char *s = json_string_value(item.value);
		int a = weft_arch_parse(s);

		if (a < 0) {
			sla_fail(&item, "unknown architecture \"%s\"", sla_quote(s).text);
			return weft_err_hint(at->doc->err, "known are amd64 and arm64");
		}
		if (v->arch[a])
			return sla_fail(&item, "\"%s\" is listed twice", sla_quote(s).text);
		v->arch[a] = true;
		order->arch[order->n++] = (enum weft_arch)a;
	}
	return 0;
}

static int parse_code(const struct sla_at *at, struct weft_sla_variant *v)
{
	struct sla_at member;
	int r = sla_string(at, "code", SLA_CODE_MAX, &v->code);

	if (r < 0 || !v->code)
		return r;
	sla_member(at, "code", &member);
	for (const char *p = v->code; *p; p++)
		if ((uint8_t)*p < 0x20 || *p == 0x7f)
			return sla_fail(&member, "must not contain control characters");
	if (*v->code)
		return 0;
	if (v->virt != WEFT_VIRT_NATIVE)
		return sla_fail(&member, "must name an image, is empty");
	free(TAKE_PTR(v->code)); /* Oakestra's schema wants the key, native has no use for it */
	return 0;
}

static int parse_environment(const struct sla_at *at, struct weft_sla_variant *v)
{
	struct sla_at list;
	int r = sla_strings(at, "environment", &v->env);

	if (r < 0 || !v->env)
		return r;
	sla_member(at, "environment", &list);
	for (size_t i = 0; v->env[i]; i++) {
		const char *eq = strchr(v->env[i], '=');
		struct sla_at item = sla_element(&list, i);

		if (!eq || eq == v->env[i])
			return sla_fail(&item, "must be \"NAME=value\", is \"%s\"",
				sla_quote(v->env[i]).text);
	}
	return 0;
}

static int parse_network(const struct sla_at *at, struct weft_sla_variant *v)
{
	bool vm = v->virt == WEFT_VIRT_UNIKERNEL;
	struct sla_at member;
	const char *s;

	v->net = vm ? WEFT_NET_MACVTAP : WEFT_NET_VETH;
	if (!sla_member(at, "network", &member))
		return 0;
	s = json_string_value(member.value);
	for (size_t k = 0; k < ARRAY_SIZE(net_kinds); k++) {
		if (strcmp(s, net_kinds[k]) != 0 || (k == WEFT_NET_VETH) == vm)
			continue;
		v->net = (enum weft_net_kind)k;
		return 0;
	}
	return sla_fail(&member, "must be %s for virtualization %s, is \"%s\"",
		vm ? "\"macvtap\" or \"tap\"" : "\"veth\"", weft_virt_name(v->virt),
		sla_quote(s).text);
}

/* What the object itself says; keys that it lacks leave their field zero. */
static int parse_own(const struct sla_at *at, struct weft_sla_variant *v, struct arch_order *order)
{
	int r = parse_virt(at, &v->virt);

	v->weight = 1;
	if (r == 0)
		r = parse_code(at, v);
	if (r == 0)
		r = parse_arch(at, v, order);
	if (r == 0)
		r = sla_uint(at, "memory", 0, SLA_MEMORY_MAX, &v->memory_mb);
	if (r == 0)
		r = sla_uint(at, "vcpu", 0, SLA_VCPUS_MAX, &v->vcpus);
	if (r == 0)
		r = sla_uint(at, "vcpus", 0, SLA_VCPUS_MAX, &v->vcpus);
	if (r == 0)
		r = sla_uint(at, "weight", 1, SLA_WEIGHT_MAX, &v->weight);
	if (r == 0)
		r = sla_strings(at, "cmd", &v->cmd);
	if (r == 0)
		r = parse_environment(at, v);
	if (r == 0)
		r = parse_network(at, v);
	if (r == 0)
		r = sla_parse_container(at, v);
	return r;
}

/* The rules in sla.h. base is the microservice's own variant. */
static int inherit(
	const struct sla_at *at, struct weft_sla_variant *v, const struct weft_sla_variant *base)
{
	int r = 0;

	if (!sla_says(at, "memory"))
		v->memory_mb = base->memory_mb;
	if (!sla_says(at, "vcpus") && !sla_says(at, "vcpu"))
		v->vcpus = base->vcpus;
	if (!sla_says(at, "environment"))
		r = sla_copy_strings(at->doc, base->env, &v->env);
	if (r < 0)
		return r;
	if (!v->code && base->code && same_images(v->virt, base->virt)) {
		v->code = strdup(base->code);
		if (!v->code)
			return sla_no_memory(at->doc);
	}
	if (!sla_says(at, "cmd") && same_images(v->virt, base->virt) && v->code && base->code &&
		strcmp(v->code, base->code) == 0)
		r = sla_copy_strings(at->doc, base->cmd, &v->cmd);
	if (r == 0)
		r = sla_inherit_container(at, v, base, same_images(v->virt, base->virt));
	return r;
}

static int require_image(const struct sla_at *at, const struct weft_sla_variant *v)
{
	struct sla_at code = {at->doc, at, "code", 0, NULL}, cmd = {at->doc, at, "cmd", 0, NULL};

	if (v->virt == WEFT_VIRT_NATIVE) {
		if (v->cmd)
			return 0;
		sla_fail(&cmd, "required for virtualization native, but missing or empty");
		return weft_err_hint(at->doc->err,
			"the program and its arguments: "
			"\"cmd\": [\"/usr/sbin/nginx\", \"-g\", \"...\"]");
	}
	if (v->code)
		return 0;
	sla_fail(&code, "required, but missing");
	if (at->up->key && strcmp(at->up->key, "variants") == 0)
		return weft_err_hint(at->doc->err,
			"a variant inherits the image only between container and gvisor");
	return -EINVAL;
}

/* A kernel is built for one architecture, a container image may hold several. */
static int assign_images(
	const struct sla_at *at, struct weft_sla_variant *v, const struct arch_order *order)
{
	struct sla_at code = {at->doc, at, "code", 0, NULL};
	_cleanup_(freep) char *copy = NULL;
	char *rest, *part;
	size_t n = 1;

	if (!v->code)
		return 0;
	copy = rest = strdup(v->code);
	if (!copy)
		return sla_no_memory(at->doc);
	if (v->virt == WEFT_VIRT_UNIKERNEL)
		for (const char *p = copy; *p; p++)
			n += *p == ',';
	if (v->virt == WEFT_VIRT_UNIKERNEL && n != order->n) {
		sla_fail(&code, "names %zu image%s for %zu architecture%s", n, n == 1 ? "" : "s",
			order->n, order->n == 1 ? "" : "s");
		return weft_err_hint(at->doc->err,
			"one image per entry of arch, in the same order, joined with ','");
	}
	for (size_t i = 0; i < order->n; i++) {
		part = n > 1 ? strsep(&rest, ",") : copy;
		if (*part == '\0')
			return sla_fail(&code, "image %zu of %zu is empty", i + 1, n);
		v->image[order->arch[i]] = strdup(part);
		if (!v->image[order->arch[i]])
			return sla_no_memory(at->doc);
	}
	return 0;
}

static int finish(
	const struct sla_at *at, struct weft_sla_variant *v, const struct arch_order *order)
{
	int r = require_image(at, v);

	return r < 0 ? r : assign_images(at, v, order);
}

static int check_variant(const struct sla_at *at, const struct weft_sla_service *svc)
{
	int r = sla_check(at, &sla_variant_keys);
	const char *key;
	json_t *value;

	if (r < 0)
		return r;
	json_object_foreach ((json_t *)at->value, key, value) {
		struct sla_at member = {at->doc, at, key, 0, value};

		if (!sla_find_key(&sla_microservice_keys, key) ||
			sla_find_key(&sla_variant_keys, key))
			continue;
		sla_fail_name(&member, "belongs to the microservice, not to a variant");
		return weft_err_hint(at->doc->err, "all variants of %s share it", svc->short_name);
	}
	return 0;
}

static int parse_variant(
	const struct sla_at *at, const struct arch_order *base_order, struct weft_sla_service *svc)
{
	struct weft_sla_variant *v = &svc->variants[svc->n_variants];
	struct arch_order order = *base_order;
	int r = check_variant(at, svc);

	if (r < 0)
		return r;
	memcpy(v->arch, svc->variants[0].arch, sizeof(v->arch));
	svc->n_variants++;
	r = parse_own(at, v, &order);
	for (size_t i = 0; r == 0 && i < svc->n_variants - 1; i++) {
		struct sla_at virt = {at->doc, at, "virtualization", 0, NULL};

		if (svc->variants[i].virt != v->virt)
			continue;
		sla_fail(&virt, "%s has a %s variant already", svc->short_name,
			weft_virt_name(v->virt));
		return weft_err_hint(at->doc->err,
			"a service has at most one variant per "
			"virtualization, the microservice's own included");
	}
	if (r == 0)
		r = inherit(at, v, &svc->variants[0]);
	return r < 0 ? r : finish(at, v, &order);
}

int sla_parse_variants(const struct sla_at *at, struct weft_sla_service *svc)
{
	struct arch_order order = {.arch = {weft_arch_host()}, .n = 1};
	struct sla_at list;
	size_t n = 0;
	int r;

	if (sla_member(at, "variants", &list))
		n = json_array_size(list.value);
	if (n > SLA_VARIANTS_MAX)
		return sla_fail(
			&list, "must have at most %u entries, has %zu", SLA_VARIANTS_MAX, n);
	svc->variants = calloc(n + 1, sizeof(*svc->variants));
	if (!svc->variants)
		return sla_no_memory(at->doc);
	svc->n_variants = 1;
	svc->variants[0].arch[weft_arch_host()] = true;
	r = parse_own(at, &svc->variants[0], &order);
	if (r == 0)
		r = finish(at, &svc->variants[0], &order);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct sla_at item = sla_element(&list, i);

		r = parse_variant(&item, &order, svc);
	}
	return r;
}
