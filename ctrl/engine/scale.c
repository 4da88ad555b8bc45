/* SPDX-License-Identifier: Apache-2.0 */
/* How many instances a service has: a key of its descriptor, changed as if it had been applied
 * again. */
#include <errno.h>
#include <string.h>

#include "ctrl/engine/internal.h"

static char *with_replicas(const struct service *s, unsigned replicas)
{
	json_auto_t *doc = json_loads(s->descriptor, 0, NULL);
	json_t *apps = json_object_get(doc, "applications");
	json_t *services = json_object_get(json_array_get(apps, 0), "microservices");
	json_t *service = json_array_get(services, 0);

	if (!service ||
		json_object_set_new(service, "replicas", json_integer((json_int_t)replicas)) < 0)
		return NULL;
	return json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS);
}

int weft_engine_service_scale(struct weft_engine *e, const char *name, int64_t replicas,
	json_t **ret, struct weft_err *err)
{
	struct service *s = service_find(e, name);
	_cleanup_(freep) char *text = NULL;
	struct weft_engine_descriptor d = {.version = WEFT_ENGINE_ANY_VERSION};
	json_t *applied = NULL;
	int r;

	if (!s) {
		weft_err_set(err, ENOENT, "service %s: no such service", name);
		return weft_err_hint(err, "weft service list");
	}
	if (replicas < 0 || replicas > WEFT_SLA_MAX_REPLICAS) {
		weft_err_set(err, EINVAL, "service %s: replicas: must be 0 to %u, is %lld", s->name,
			WEFT_SLA_MAX_REPLICAS, (long long)replicas);
		return weft_err_hint(err, "weft service scale %s 3", s->name);
	}
	text = with_replicas(s, (unsigned)replicas);
	if (!text)
		return weft_err_set(err, ENOMEM, "service %s: out of memory", s->name);
	d.file = s->name;
	d.text = text;
	d.size = strlen(text);
	r = weft_engine_apply(e, &d, &applied, err);
	if (r < 0)
		return r;
	json_decref(applied);
	*ret = view_service(s);
	return 0;
}
