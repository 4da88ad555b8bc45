/* SPDX-License-Identifier: Apache-2.0 */
/* The shortcut between TCP sockets of this node, service by service. */
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/dataplane/sockmap.h"
#include "ctrl/engine/internal.h"

void service_shortcut(struct service *s)
{
	struct weft_err err = {0};

	if (weft_dp_shortcut_service(s->engine->dp, s->id, s->shortcut, &err) < 0 &&
		strcmp(err.msg, s->no_shortcut.msg) != 0)
		log_warning("service %s: %s: its connections go by packets", s->name, err.msg);
	s->no_shortcut = err;
}

/* A guest and a sandbox have a network stack of their own. What is behind an interface of somebody
 * else's is not known, but whose sockets are in its namespace is. */
static char *netns_of(const struct instance *inst)
{
	if (inst->borrowed)
		return inst->borrowed->netns ? strdup(inst->borrowed->netns) : NULL;
	if (inst->virt != WEFT_VIRT_CONTAINER && inst->virt != WEFT_VIRT_NATIVE)
		return NULL;
	return instance_netns(inst);
}

void instance_shortcut(struct instance *inst)
{
	_cleanup_(freep) char *netns = netns_of(inst);
	struct weft_err err = {0};

	if (netns && weft_dp_shortcut_netns(inst->engine->dp, inst->id, netns, &err) < 0)
		log_warning(
			"instance %s: no shortcut for its connections: %s", inst->name, err.msg);
}

static json_t *view_left(const struct weft_dp_shortcut_counters *c)
{
	json_t *left = json_object();

	for (unsigned i = 0; i < weft_dp_shortcut_reason_count(); i++)
		json_object_set_new(left, weft_dp_shortcut_reason_name(i),
			json_integer((json_int_t)c->left[i]));
	return left;
}

json_t *view_shortcut(const struct service *s)
{
	struct weft_dp_shortcut_counters c = {0};

	weft_dp_shortcut_counters(s->engine->dp, s->id, &c);
	return json_pack("{s:b, s:s, s:s, s:I, s:I, s:I, s:o}", "wanted", s->shortcut, "state",
		!s->shortcut          ? "off"
		: s->no_shortcut.code ? "unavailable"
				      : "on",
		"detail", s->shortcut ? s->no_shortcut.msg : "", "sockets", (json_int_t)c.sockets,
		"messages", (json_int_t)c.messages, "bytes", (json_int_t)c.bytes, "left",
		view_left(&c));
}

int weft_engine_service_set(struct weft_engine *e, const char *name,
	const struct weft_engine_settings *settings, json_t **ret, struct weft_err *err)
{
	struct service *s = service_find(e, name);
	bool before;
	int r;

	if (!s) {
		weft_err_set(err, ENOENT, "service %s: no such service", name);
		return weft_err_hint(err, "weft service list");
	}
	if (s->deleting)
		return weft_err_set(err, EBUSY, "service %s is being deleted", s->name);
	before = s->shortcut;
	if (settings->shortcut >= 0 && settings->shortcut != before) {
		s->shortcut = settings->shortcut;
		r = service_store(s, err);
		if (r < 0) {
			s->shortcut = before;
			return r;
		}
		service_shortcut(s);
		log_info("service %s: shortcut %s", s->name, s->shortcut ? "on" : "off");
		weft_events_add(e->events, "service", "updated", s->name,
			json_pack("{s:b}", "shortcut", s->shortcut));
	}
	*ret = view_service(s);
	return 0;
}
