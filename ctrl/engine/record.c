/* SPDX-License-Identifier: Apache-2.0 */
/* An instance as a stored document. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/internal.h"

int instance_store(struct instance *inst, struct weft_err *err)
{
	char ns[INET_ADDRSTRLEN], in[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &inst->ns_addr, ns, sizeof(ns));
	inet_ntop(AF_INET, &inst->inst_addr, in, sizeof(in));
	json_auto_t *doc = json_pack(
		"{s:s, s:i, s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s?, s:I, s:I, s:I, s:s, s:i}",
		"service", inst->service->name, "id", (int)inst->id, "virtualization",
		weft_virt_name(inst->virt), "arch", weft_arch_name(inst->arch), "network",
		(int)inst->net, "ns_addr", ns, "inst_addr", in, "phase", phase_name(inst->phase),
		"code", inst->code, "image", inst->image, "created_ms",
		(json_int_t)inst->created_ms, "started_ms", (json_int_t)inst->started_ms,
		"ready_ms", (json_int_t)inst->ready_ms, "error", inst->error.msg, "errno",
		inst->error.code);

	instance_ipv6_to_json(inst, doc);
	json_object_set_new(doc, "times", view_spans(inst));
	return weft_store_put(inst->engine->store, "instance", inst->name, doc, err);
}

static int unpack(struct instance *inst, const json_t *doc, const char **ret_service)
{
	const char *virt, *arch, *ns, *in, *phase, *code, *error;
	json_t *image = NULL;
	json_int_t created, started, ready;
	int id, net, v, a, p, code_nr;

	if (json_unpack((json_t *)doc,
		    "{s:s, s:i, s:s, s:s, s:i, s:s, s:s, s:s, s:s, s?o, s:I, s:I, s:I, s:s, s:i}",
		    "service", ret_service, "id", &id, "virtualization", &virt, "arch", &arch,
		    "network", &net, "ns_addr", &ns, "inst_addr", &in, "phase", &phase, "code",
		    &code, "image", &image, "created_ms", &created, "started_ms", &started,
		    "ready_ms", &ready, "error", &error, "errno", &code_nr) < 0)
		return -EBADMSG;
	v = weft_virt_parse(virt);
	a = weft_arch_parse(arch);
	p = phase_parse(phase);
	if (v < 0 || a < 0 || p < 0 || id < 1 || id >= HOST_INSTANCE || net < WEFT_NET_VETH ||
		net > WEFT_NET_TAP || inet_pton(AF_INET, ns, &inst->ns_addr) != 1 ||
		inet_pton(AF_INET, in, &inst->inst_addr) != 1 ||
		instance_ipv6_from_json(inst, doc) < 0)
		return -EBADMSG;
	inst->id = (uint32_t)id;
	inst->virt = (enum weft_virt)v;
	inst->arch = (enum weft_arch)a;
	inst->net = (enum weft_net_kind)net;
	inst->phase = (enum phase)p;
	inst->code = strdup(code);
	inst->image = json_is_string(image) ? strdup(json_string_value(image)) : NULL;
	inst->created_ms = (uint64_t)created;
	inst->started_ms = (uint64_t)started;
	inst->ready_ms = (uint64_t)ready;
	instance_spans_from_json(inst, json_object_get(doc, "times"));
	if (code_nr)
		weft_err_set(&inst->error, code_nr, "%s", error);
	return inst->code ? 0 : -ENOMEM;
}

int instance_restore(void *engine, const char *name, const json_t *doc)
{
	struct weft_engine *e = engine;
	struct instance *inst = calloc(1, sizeof(*inst));
	const char *service = NULL;
	int r;

	if (!inst)
		return -ENOMEM;
	inst->engine = e;
	inst->tap_fd = -1;
	inst->rtt_us = inst->load = -1;
	inst->name = strdup(name);
	r = inst->name ? unpack(inst, doc, &service) : -ENOMEM;
	inst->service = r == 0 ? service_find(e, service) : NULL;
	if (r == 0 && !inst->service)
		r = -ENOENT;
	if (r < 0) {
		log_error("stored instance %s cannot be read: %s", name, strerror(-r));
		instance_free(inst);
		return r;
	}
	engine_mac(inst);
	inst->next = e->instances;
	e->instances = inst;
	e->last_instance_id = inst->id;
	return 0;
}
