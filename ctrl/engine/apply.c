/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptor in: all of its services are checked before the first of them is touched. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/peer.h"
#include "runtimes/image/fetch.h"
#include "runtimes/registry/reference.h"

enum action { CREATED, UPDATED, UNCHANGED };
static const char *const actions[] = {
	[CREATED] = "created",
	[UPDATED] = "updated",
	[UNCHANGED] = "unchanged",
};

struct plan {
	struct service *existing; /* NULL: a new one */
	uint64_t before;          /* its version, 0: a new one */
	char *descriptor;
	const struct weft_sla_service *spec;
	enum action action;
};

/* The descriptor of one service alone: its application with that one microservice, sorted, compact.
 */
static char *single(const json_t *root, size_t wanted)
{
	const json_t *apps = json_object_get(root, "applications"), *app, *micro;
	size_t a, m, n = 0;

	json_array_foreach ((json_t *)apps, a, app) {
		json_array_foreach (json_object_get(app, "microservices"), m, micro) {
			if (n++ != wanted)
				continue;
			json_auto_t *one = json_copy((json_t *)root);
			json_auto_t *one_app = json_copy((json_t *)app);
			json_auto_t *list = json_array();

			json_array_append(list, (json_t *)micro);
			json_object_set(one_app, "microservices", list);
			json_auto_t *app_list = json_array();
			json_array_append(app_list, one_app);
			json_object_set(one, "applications", app_list);
			return json_dumps(one, JSON_COMPACT | JSON_SORT_KEYS);
		}
	}
	return NULL;
}

static const char *local_path(const char *code)
{
	if (strncmp(code, "file://", 7) == 0)
		return code + 7;
	return code[0] == '/' ? code : NULL;
}

static int check_image(const struct weft_sla_service *spec, enum weft_virt virt, const char *image,
	struct weft_err *err)
{
	const char *path = local_path(image);
	struct weft_reference ref;

	if (!path && virt != WEFT_VIRT_NATIVE) {
		int r = virt == WEFT_VIRT_UNIKERNEL ? weft_fetch_check(image, err)
						    : weft_reference_parse(image, &ref, err);

		if (r == 0)
			return 0;
		return weft_err_prefix(
			err, "service %s: variant %s", spec->short_name, weft_virt_name(virt));
	}
	if (!path) {
		weft_err_set(err, ENOTSUP, "service %s: variant %s: code \"%s\" is not a file",
			spec->short_name, weft_virt_name(virt), image);
		return weft_err_hint(err, "give an image file: file:///path or /path");
	}
	if (access(path, R_OK) < 0) {
		weft_err_set(err, errno, "service %s: variant %s: image %s: %s", spec->short_name,
			weft_virt_name(virt), path, strerror(errno));
		return weft_err_hint(err, "the file must be on the node that runs weftd");
	}
	return 0;
}

static int check_variants(const struct weft_sla_service *spec, struct weft_err *err)
{
	for (size_t i = 0; i < spec->n_variants; i++) {
		const struct weft_sla_variant *v = &spec->variants[i];
		const char *image = v->image[weft_arch_host()];
		int r = image ? check_image(spec, v->virt, image, err) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

/* Is somebody outside weft listening there already? */
static int port_in_use(const struct weft_sla_port *p)
{
	bool udp = p->proto == IPPROTO_UDP;
	_cleanup_(closep) int fd =
		socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, p->proto);
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(p->host)};
	int one = 1;

	if (fd < 0)
		return -errno;
	/* For TCP only a listener is somebody; connections that linger are not. */
	if (!udp)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno == EADDRINUSE;
}

static bool is_tunnels(const struct weft_engine *e, const struct weft_sla_port *p)
{
	uint16_t port = e->config.tunnel_port ? e->config.tunnel_port : WEFT_DP_TUNNEL_PORT;

	return e->config.uplink && p->proto == IPPROTO_UDP &&
	       (p->host == port || p->host == port + 1);
}

static bool has_port(const struct service *s, const struct weft_sla_port *p)
{
	for (size_t i = 0; s && i < s->spec->n_ports; i++)
		if (s->spec->ports[i].host == p->host && s->spec->ports[i].proto == p->proto)
			return true;
	return false;
}

static int check_ports(struct weft_engine *e, const struct weft_sla_service *spec,
	const struct service *self, struct weft_err *err)
{
	for (size_t i = 0; i < spec->n_ports; i++) {
		const struct weft_sla_port *p = &spec->ports[i];
		const char *proto = p->proto == IPPROTO_UDP ? "udp" : "tcp";

		for (struct service *s = e->services; s; s = s->next)
			for (size_t k = 0; s != self && k < s->spec->n_ports; k++)
				if (s->spec->ports[k].host == p->host &&
					s->spec->ports[k].proto == p->proto) {
					weft_err_set(err, EADDRINUSE,
						"service %s: port %u/%s is already published by %s",
						spec->short_name, p->host, proto, s->name);
					return weft_err_hint(
						err, "choose another host port in \"port\"");
				}
		if (is_tunnels(e, p)) {
			weft_err_set(err, EADDRINUSE,
				"service %s: port %u/udp belongs to the overlay's tunnel",
				spec->short_name, p->host);
			return weft_err_hint(err, "choose another host port in \"port\"");
		}
		if (!has_port(self, p) && port_in_use(p) > 0) {
			weft_err_set(err, EADDRINUSE,
				"service %s: port %u/%s is already taken by another process on "
				"node %s",
				spec->short_name, p->host, proto, e->config.node);
			return weft_err_hint(err, "ss -lntup sport = :%u", p->host);
		}
	}
	return 0;
}

/* Two services of one descriptor. */
static int check_ports_between(
	const struct plan *p, const struct plan *others, size_t n, struct weft_err *err)
{
	for (size_t i = 0; i < p->spec->n_ports; i++)
		for (size_t o = 0; o < n; o++)
			for (size_t k = 0; k < others[o].spec->n_ports; k++) {
				const struct weft_sla_port *a = &p->spec->ports[i],
							   *b = &others[o].spec->ports[k];

				if (a->host != b->host || a->proto != b->proto)
					continue;
				weft_err_set(err, EADDRINUSE,
					"service %s: port %u/%s is taken by service %s of the same "
					"descriptor",
					p->spec->short_name, a->host,
					a->proto == IPPROTO_UDP ? "udp" : "tcp",
					others[o].spec->short_name);
				return weft_err_hint(err, "choose another host port in \"port\"");
			}
	return 0;
}

static int check_existing(
	const struct service *s, const struct weft_sla_service *spec, struct weft_err *err)
{
	bool keeps_active = false;

	if (s->deleting) {
		weft_err_set(err, EBUSY, "service %s is being deleted", s->name);
		return weft_err_hint(err, "apply it again once `weft service list` shows it gone");
	}
	if (s->swap) {
		weft_err_set(err, EBUSY, "service %s: swap %s is running", s->name, s->swap->id);
		return weft_err_hint(
			err, "weft swap watch %s, or weft swap abort %s", s->swap->id, s->swap->id);
	}
	if (s->handover) {
		/* It goes by what the descriptor says. */
		weft_err_set(err, EBUSY, "service %s: its last handover is being undone", s->name);
		return weft_err_hint(err, "apply it again in a moment");
	}
	for (size_t i = 0; i < spec->n_variants; i++)
		keeps_active |= spec->variants[i].virt == s->active;
	if (!keeps_active) {
		weft_err_set(err, EBUSY, "service %s runs as %s, a variant this descriptor drops",
			s->name, weft_virt_name(s->active));
		return weft_err_hint(err, "weft swap start %s --to %s first", s->name,
			weft_virt_name(spec->variants[0].virt));
	}
	return 0;
}

static int check(struct weft_engine *e, struct plan *p, uint64_t version, struct weft_err *err)
{
	int r = weft_engine_unchanged(e, WEFT_ENGINE_SERVICE, p->spec->short_name, version, err);

	if (r < 0)
		return r;
	p->existing = service_find(e, p->spec->short_name);
	p->before = p->existing ? p->existing->version : 0;
	if (!p->existing)
		p->action = CREATED;
	else if (!p->existing->deleting && strcmp(p->existing->descriptor, p->descriptor) == 0)
		p->action = UNCHANGED;
	else
		p->action = UPDATED;
	if (p->action == UNCHANGED)
		return 0;
	r = check_variants(p->spec, err);
	if (r == 0)
		r = check_ports(e, p->spec, p->existing, err);
	if (r == 0 && p->existing)
		r = check_existing(p->existing, p->spec, err);
	return r < 0 ? r : vips_check(e, p->spec, p->existing, err);
}

static uint32_t free_service_id(struct weft_engine *e)
{
	for (uint32_t id = 1; id < WEFT_DP_MAX_SERVICES; id++) {
		struct service *s = e->services;

		while (s && s->id != id)
			s = s->next;
		if (!s)
			return id;
	}
	return 0;
}

/* In the store and in the data plane, or in neither. */
static int store_new(struct service *s, struct weft_err *err)
{
	struct weft_engine *e = s->engine;
	int r = weft_store_begin(e->store, err), end;

	if (r < 0)
		return r;
	r = service_store(s, err);
	if (r == 0)
		r = service_enter(s, err);
	if (r == 0)
		r = service_publish(s, s->spec, err);
	end = weft_store_end(e->store, r == 0, r == 0 ? err : NULL);
	if (r == 0)
		r = end;
	if (r < 0)
		weft_dp_service_remove(e->dp, s->id);
	return r;
}

static int create(struct weft_engine *e, struct plan *p, struct weft_err *err)
{
	struct service *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return weft_err_set(err, ENOMEM, "out of memory");
	s->engine = e;
	s->id = free_service_id(e);
	s->name = strdup(p->spec->short_name);
	s->descriptor = TAKE_PTR(p->descriptor);
	s->created_ms = weft_realtime_ms();
	s->next_number = 1;
	if (!s->id)
		r = weft_err_set(err, ENODEV, "service %s: this node has %d services already",
			s->name, WEFT_DP_MAX_SERVICES - 1);
	if (r == 0)
		r = weft_sla_parse(s->name, s->descriptor, strlen(s->descriptor), &s->sla, err);
	if (r == 0) {
		s->spec = &s->sla->services[0];
		s->active = s->spec->variants[0].virt;
		s->shortcut = s->spec->shortcut;
		r = vips_choose(s, s->spec, err);
	}
	if (r == 0)
		r = store_new(s, err);
	if (r < 0) {
		service_free(s);
		return r;
	}
	s->next = e->services;
	e->services = s;
	remotes_bind(s);
	return 0;
}

static int update(struct plan *p, struct weft_err *err)
{
	struct in_addr vip[WEFT_DP_POLICIES];
	struct in6_addr vip6[WEFT_DP_POLICIES];
	struct service *s = p->existing;
	char *old = s->descriptor;
	struct weft_sla *sla = NULL;
	bool stored = false, shortcut = s->shortcut;
	int r;

	r = weft_sla_parse(s->name, p->descriptor, strlen(p->descriptor), &sla, err);
	if (r < 0)
		return r;
	memcpy(vip, s->vip, sizeof(vip));
	memcpy(vip6, s->vip6, sizeof(vip6));
	r = vips_choose(s, &sla->services[0], err);
	s->descriptor = p->descriptor;
	s->shortcut = sla->services[0].shortcut;
	if (r == 0)
		r = service_store(s, err);
	if (r == 0) {
		/* An address that was entered is not taken back: that would cost the service its
		 * flows. So it is stored first. */
		r = service_enter(s, err);
		stored = true;
		if (r == 0)
			r = service_publish(s, &sla->services[0], err);
	}
	if (r < 0) {
		s->descriptor = old;
		s->shortcut = shortcut;
		memcpy(s->vip, vip, sizeof(vip));
		memcpy(s->vip6, vip6, sizeof(vip6));
		if (stored) {
			service_store(s, NULL);
			service_publish(s, s->spec, NULL);
		}
		weft_sla_free(sla);
		return r;
	}
	p->descriptor = NULL;
	free(old);
	weft_sla_free(s->sla);
	s->sla = sla;
	s->spec = &sla->services[0];
	s->failures = 0;
	s->retry_ns = 0;
	service_weigh(s);
	return 0;
}

static int carry_out(struct weft_engine *e, struct plan *plans, size_t n, struct weft_err *err)
{
	/* Those that want a certain address come first: no other is given it by chance. */
	for (int certain = 1; certain >= 0; certain--)
		for (size_t i = 0; i < n; i++) {
			struct plan *p = &plans[i];
			int r = 0;

			if (vips_certain(p->spec) != certain)
				continue;
			if (p->action == CREATED)
				r = create(e, p, err);
			else if (p->action == UPDATED)
				r = update(p, err);
			if (r < 0)
				return r;
			log_info("service %s: %s", p->spec->short_name, actions[p->action]);
			if (p->action != UNCHANGED)
				weft_events_add(e->events, "service", actions[p->action],
					p->spec->short_name, NULL);
		}
	return 0;
}

/* Before the plan is carried out: what it changes. After that its version is put in. */
static json_t *view_plan(const struct plan *p)
{
	json_auto_t *after = json_loads(p->descriptor, 0, NULL);
	json_auto_t *before =
		p->existing ? json_loads(p->existing->descriptor, 0, NULL) : json_null();
	json_t *changes = json_array();

	if (p->action == UPDATED)
		descriptor_changes(before, after, changes);
	return json_pack("{s:s, s:s, s:o, s:I}", "name", p->spec->short_name, "action",
		actions[p->action], "changes", changes, "version", (json_int_t)p->before);
}

static void put_version(struct weft_engine *e, json_t *item)
{
	const char *name = json_string_value(json_object_get(item, "name"));
	const struct service *s = service_find(e, name);

	if (s)
		view_version(item, s->version);
}

static json_t *ignored_keys(const struct weft_sla *sla)
{
	json_t *list = json_array();

	for (size_t i = 0; i < sla->n_named; i++)
		json_array_append_new(list, json_string(sla->ignored[i]));
	if (sla->n_ignored > sla->n_named)
		json_array_append_new(
			list, json_sprintf("%zu more", sla->n_ignored - sla->n_named));
	return list;
}

/* All of it is checked, and nothing done. plans has an element per service, whose
 * descriptors are the caller's to free. */
static int make_plans(struct weft_engine *e, const struct weft_engine_descriptor *d,
	const struct weft_sla *sla, struct plan *plans, struct weft_err *err)
{
	json_auto_t *root = json_loadb(d->text, d->size, 0, NULL);
	int r = root && plans ? 0 : weft_err_set(err, ENOMEM, "out of memory");

	for (size_t i = 0; r == 0 && i < sla->n_services; i++) {
		plans[i].spec = &sla->services[i];
		plans[i].descriptor = single(root, i);
		r = plans[i].descriptor ? check(e, &plans[i], d->version, err)
					: weft_err_set(err, ENOMEM, "out of memory");
		if (r == 0)
			r = check_ports_between(&plans[i], plans, i, err);
	}
	return r;
}

int weft_engine_apply(struct weft_engine *e, const struct weft_engine_descriptor *d, json_t **ret,
	struct weft_err *err)
{
	json_auto_t *items = json_array(), *ignored = NULL;
	struct weft_sla *sla = NULL;
	struct plan *plans = NULL;
	json_t *item;
	size_t n;
	int r;

	if (e->purging)
		return weft_err_set(err, EBUSY, "this node is being purged");
	r = weft_sla_parse(d->file, d->text, d->size, &sla, err);
	if (r < 0)
		return r;
	plans = calloc(sla->n_services + 1, sizeof(*plans));
	r = make_plans(e, d, sla, plans, err);
	for (size_t i = 0; r == 0 && i < sla->n_services; i++)
		json_array_append_new(items, view_plan(&plans[i]));
	if (r == 0 && !d->dry_run)
		r = carry_out(e, plans, sla->n_services, err);
	json_array_foreach (items, n, item)
		if (r == 0 && !d->dry_run)
			put_version(e, item);
	for (size_t i = 0; plans && i < sla->n_services; i++)
		free(plans[i].descriptor);
	free(plans);
	ignored = ignored_keys(sla);
	weft_sla_free(sla);
	if (r < 0)
		return r;
	engine_kick(e);
	*ret = json_pack("{s:O, s:O, s:I}", "items", items, "ignored", ignored, "version",
		(json_int_t)weft_engine_version(e));
	return *ret ? 0 : -ENOMEM;
}

int weft_engine_service_delete(
	struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err)
{
	struct service *s = service_find(e, name);
	int r;

	if (!s) {
		weft_err_set(err, ENOENT, "service %s: no such service", name);
		return weft_err_hint(err, "weft service list");
	}
	if (s->swap && s->swap->state != WEFT_SWAP_STOP_OLD &&
		s->swap->state != WEFT_SWAP_ROLLBACK) {
		weft_err_set(err, EBUSY, "service %s: swap %s is running", s->name, s->swap->id);
		return weft_err_hint(err, "weft swap abort %s", s->swap->id);
	}
	if (!s->deleting) {
		s->deleting = true;
		r = service_store(s, err);
		if (r < 0) {
			s->deleting = false;
			return r;
		}
		weft_events_add(e->events, "service", "deleting", s->name, NULL);
	}
	engine_kick(e);
	*ret = view_service(s);
	return 0;
}
