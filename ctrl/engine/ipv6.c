/* SPDX-License-Identifier: Apache-2.0 */
/* The IPv6 side of addresses. Each that weft gives out has the number of the IPv4 address beside
 * it, where that is free: 10.30.0.2 and fdff:2000::2. What a descriptor says is kept, and served
 * once the node has IPv6. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "ctrl/engine/internal.h"

#define SERVICES_MAX 0xfffffU /* numbers looked at, of a policy's /24 */

static bool any6(const struct in6_addr *a)
{
	return IN6_IS_ADDR_UNSPECIFIED(a);
}

static struct in6_addr with_number(struct in6_addr base, uint32_t n)
{
	n |= (uint32_t)base.s6_addr[12] << 24 | (uint32_t)base.s6_addr[13] << 16 |
	     (uint32_t)base.s6_addr[14] << 8 | base.s6_addr[15];
	for (int i = 15; i > 11; i--, n >>= 8)
		base.s6_addr[i] = (uint8_t)n;
	return base;
}

#define MTU6_LEAST 1280U /* RFC 8200, section 5 */

static struct in6_addr semantic(uint8_t third, uint32_t n)
{
	const struct in6_addr base = {.s6_addr = {0xfd, 0xff, third}};

	return with_number(base, n);
}

static uint32_t number_of(struct in_addr a)
{
	return ntohl(a.s_addr) & 0xffff;
}

void ipv6_open(struct weft_engine *e)
{
	if (!e->config.subnet6_len) {
		weft_err_set(&e->no_ipv6, ENOTSUP, "switched off");
		weft_err_hint(&e->no_ipv6, "start weftd with --subnet6=fc00::/120");
	} else if (e->config.mtu < MTU6_LEAST) {
		weft_err_set(&e->no_ipv6, ENOTSUP, "off: an MTU of %u is below IPv6's least, %u",
			e->config.mtu, MTU6_LEAST);
		weft_err_hint(&e->no_ipv6, "start weftd with --mtu=%u or more", MTU6_LEAST);
	} else if (weft_link_ipv6(&e->no_ipv6) == 0) {
		e->gateway6 = with_number(e->config.subnet6, 1);
	}
}

struct in6_addr ipv6_instance_address(struct in_addr inst_addr)
{
	return semantic(0, number_of(inst_addr));
}

const struct in6_addr *service_vip6(const struct service *s, int policy)
{
	return s->engine->no_ipv6.code ? &in6addr_any : &s->vip6[policy];
}

bool service_called_by(const struct service *s, int policy)
{
	return s->vip[policy].s_addr || !any6(service_vip6(s, policy));
}

bool ipv6_taken(struct weft_engine *e, const struct in6_addr *a, const char **by)
{
	for (struct service *s = e->services; s; s = s->next)
		for (int p = 0; p < WEFT_DP_POLICIES; p++)
			if (IN6_ARE_ADDR_EQUAL(&s->vip6[p], a)) {
				*by = s->name;
				return true;
			}
	for (struct instance *i = e->instances; i; i = i->next)
		if (IN6_ARE_ADDR_EQUAL(&i->ns_addr6, a) || IN6_ARE_ADDR_EQUAL(&i->inst_addr6, a)) {
			*by = i->name;
			return true;
		}
	*by = "the node itself";
	return IN6_ARE_ADDR_EQUAL(&e->gateway6, a);
}

/* One that nobody has, nor s, which need not be in the engine's list yet. */
static int choose(struct service *s, int policy, struct weft_err *err)
{
	uint32_t first = number_of(s->vip[policy]);
	const char *by;

	for (uint32_t i = 0; i < SERVICES_MAX; i++) {
		uint32_t n = (first + i) & SERVICES_MAX;
		struct in6_addr a = semantic(weft_sla_vip6_third((enum weft_policy)policy), n);

		if (n == 0 || ipv6_taken(s->engine, &a, &by))
			continue;
		s->vip6[policy] = a;
		return 0;
	}
	return weft_err_set(err, ENODEV, "service %s: no IPv6 address is left for %s", s->name,
		policy_name(policy));
}

int vips6_choose(struct service *s, const struct weft_sla_service *spec, struct weft_err *err)
{
	for (int p = 0; p < WEFT_DP_POLICIES; p++) {
		int r = 0;

		if (!any6(&s->vip6[p]))
			continue;
		s->vip6[p] = spec->vip[p].addr6;
		if (any6(&s->vip6[p]) && !s->engine->no_ipv6.code &&
			(spec->vip[p].wanted || spec->vip[p].wanted6))
			r = choose(s, p, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int vips6_check(struct weft_engine *e, const struct weft_sla_service *spec,
	const struct service *now, struct weft_err *err)
{
	char text[INET6_ADDRSTRLEN];
	const char *by = NULL;

	for (int p = 0; p < WEFT_DP_POLICIES; p++) {
		const struct in6_addr *want = &spec->vip[p].addr6;
		const struct in6_addr *has = now ? &now->vip6[p] : &in6addr_any;

		if (any6(want) || IN6_ARE_ADDR_EQUAL(want, has))
			continue;
		if (!any6(has)) {
			weft_err_set(err, EBUSY,
				"service %s: its address for %s_v6 cannot change while it runs",
				now->name, weft_sla_vip_key((enum weft_policy)p));
			return weft_err_hint(err, "weft service delete %s, then apply", now->name);
		}
		if (!ipv6_taken(e, want, &by))
			continue;
		inet_ntop(AF_INET6, want, text, sizeof(text));
		weft_err_set(err, EADDRINUSE, "service %s: address %s is already taken by %s",
			spec->short_name, text, by);
		return weft_err_hint(err, "choose another addresses.%s_v6, or \"auto\"",
			weft_sla_vip_key((enum weft_policy)p));
	}
	return 0;
}

/* Numbers 2 to size - 2, from the one that its IPv4 address has in its subnet. None left: it has
 * IPv4 alone. */
static void alloc(struct weft_engine *e, struct instance *inst)
{
	uint32_t n = (1U << (128 - e->config.subnet6_len)) - 3;
	uint32_t first = ntohl(inst->ns_addr.s_addr) - ntohl(e->config.subnet.s_addr) - 2;
	const char *by;

	for (uint32_t i = 0; i < n; i++) {
		struct in6_addr a = with_number(e->config.subnet6, 2 + (first + i) % n);

		if (ipv6_taken(e, &a, &by))
			continue;
		inst->ns_addr6 = a;
		inst->inst_addr6 = ipv6_instance_address(inst->inst_addr);
		return;
	}
}

void ipv6_alloc_instance(struct weft_engine *e, struct instance *inst)
{
	if (!e->no_ipv6.code && inst->virt != WEFT_VIRT_UNIKERNEL)
		alloc(e, inst);
}

/* Only its image says whether a guest takes one. */
void ipv6_alloc_guest(struct instance *inst)
{
	const struct runtime_slot *slot = engine_runtime(inst->engine, inst->virt);

	if (inst->virt != WEFT_VIRT_UNIKERNEL || inst->engine->no_ipv6.code)
		return;
	if (!inst->image || !slot->ops->image_ipv6 || !slot->ops->image_ipv6(slot->rt, inst->image))
		inst->ns_addr6 = inst->inst_addr6 = in6addr_any;
	else if (any6(&inst->ns_addr6))
		alloc(inst->engine, inst);
}

int ipv6_check_attached(
	struct weft_engine *e, const char *text, struct in6_addr *ret, struct weft_err *err)
{
	const char *by = NULL;
	struct in6_addr a;

	if (inet_pton(AF_INET6, text, &a) != 1) {
		weft_err_set(err, EINVAL, "\"%.60s\" is not an IPv6 address", text);
		return weft_err_hint(err, "as fc00::9, without a prefix length");
	}
	if (any6(&a) || IN6_IS_ADDR_LOOPBACK(&a) || IN6_IS_ADDR_MULTICAST(&a) ||
		IN6_IS_ADDR_LINKLOCAL(&a) || IN6_IS_ADDR_V4MAPPED(&a) ||
		(a.s6_addr[0] == 0xfd && a.s6_addr[1] == 0xff)) {
		weft_err_set(
			err, EINVAL, "%s is not an address that an interface can have here", text);
		return weft_err_hint(err, "an address of the interface itself that is not of its "
					  "link alone; fdff::/16 has those of services and "
					  "instances");
	}
	if (e->no_ipv6.code) {
		weft_err_set(
			err, EAFNOSUPPORT, "%s: this node has no IPv6: %s", text, e->no_ipv6.msg);
		return weft_err_hint(err, "%s", e->no_ipv6.hint);
	}
	if (ipv6_taken(e, &a, &by)) {
		weft_err_set(err, EADDRINUSE, "address %s is already taken by %s", text, by);
		return weft_err_hint(err, "weft instance list -o wide has those that are");
	}
	*ret = a;
	return 0;
}

json_t *view_address6(const struct in6_addr *a)
{
	char text[INET6_ADDRSTRLEN];

	return any6(a) ? json_null() : json_string(inet_ntop(AF_INET6, a, text, sizeof(text)));
}

json_t *vips6_to_json(const struct service *s, bool served)
{
	json_t *doc = json_object();

	for (int p = 0; p < WEFT_DP_POLICIES; p++) {
		const struct in6_addr *a = served ? service_vip6(s, p) : &s->vip6[p];

		if (!any6(a))
			json_object_set_new(doc, policy_name(p), view_address6(a));
	}
	return doc;
}

static int ipv6_from_json(const json_t *text, struct in6_addr *ret)
{
	if (!text || json_is_null(text))
		return 0;
	return json_is_string(text) && inet_pton(AF_INET6, json_string_value(text), ret) == 1
		       ? 0
		       : -EBADMSG;
}

int vips6_from_json(struct service *s, const json_t *doc)
{
	int r = 0;

	for (int p = 0; p < WEFT_DP_POLICIES && r == 0; p++)
		r = ipv6_from_json(json_object_get(doc, policy_name(p)), &s->vip6[p]);
	return r;
}

int instance_ipv6_from_json(struct instance *inst, const json_t *doc)
{
	int r = ipv6_from_json(json_object_get(doc, "ns_addr6"), &inst->ns_addr6);

	return r < 0 ? r : ipv6_from_json(json_object_get(doc, "inst_addr6"), &inst->inst_addr6);
}

void instance_ipv6_to_json(const struct instance *inst, json_t *doc)
{
	json_object_set_new(doc, "ns_addr6", view_address6(&inst->ns_addr6));
	json_object_set_new(doc, "inst_addr6", view_address6(&inst->inst_addr6));
}
