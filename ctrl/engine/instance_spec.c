/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/engine/internal.h"

/* Several instances may wait for the same image. */
void instance_progress(void *engine, const char *image, uint64_t bytes, uint64_t total)
{
	struct weft_engine *e = engine;

	for (struct instance *i = e->instances; i; i = i->next) {
		if (i->phase != PHASE_PREPARING || i->borrowed || strcmp(i->code, image) != 0)
			continue;
		i->fetched = bytes;
		i->to_fetch = total;
	}
}

const char *instance_detail(const struct instance *inst, char *buf, size_t size)
{
	if (inst->paused && !inst->error.code)
		return "paused";
	if (inst->phase != PHASE_PREPARING || inst->error.code || !inst->to_fetch)
		return inst->error.msg;
	snprintf(buf, size, "image: %.1f of %.1f MB (%u%%)", (double)inst->fetched / 1e6,
		(double)inst->to_fetch / 1e6, (unsigned)(inst->fetched * 100 / inst->to_fetch));
	return buf;
}

void instance_spec_done(struct instance_spec *s)
{
	free(s->dir);
	free(s->log);
	free(s->netns);
	free(s->mounts);
}

static int fill_mounts(struct instance_spec *s, const struct weft_sla_variant *v)
{
	if (v->n_volumes == 0)
		return 0;
	s->mounts = calloc(v->n_volumes, sizeof(*s->mounts));
	if (!s->mounts)
		return -ENOMEM;
	for (size_t i = 0; i < v->n_volumes; i++)
		s->mounts[i] = (struct weft_runtime_mount){
			.source = v->volumes[i].source,
			.target = v->volumes[i].target,
			.read_only = v->volumes[i].read_only,
		};
	s->spec.mounts = s->mounts;
	s->spec.n_mounts = (unsigned)v->n_volumes;
	return 0;
}

static int fill_variant(struct instance_spec *s, const struct weft_sla_variant *v)
{
	struct weft_runtime_spec *spec = &s->spec;

	spec->runtime = v->runtime;
	spec->args = (const char *const *)v->cmd;
	spec->env = (const char *const *)v->env;
	spec->memory_mb = v->memory_mb;
	spec->vcpus = v->vcpus;
	spec->limits = (struct weft_runtime_limits){
		.cpu_milli = v->cpu_milli,
		.cpu_weight = v->cpu_weight,
		.pids = v->pids,
	};
	spec->user = v->user;
	spec->capabilities = (const char *const *)v->capabilities;
	spec->read_only = v->read_only;
	spec->warm_start = v->warm_start < 0 ? WEFT_WARM_START_AUTO
			   : v->warm_start   ? WEFT_WARM_START_ON
					     : WEFT_WARM_START_OFF;
	spec->log_max_bytes = (uint64_t)v->log_max_mb << 20;
	return fill_mounts(s, v);
}

int instance_spec_fill(struct instance *inst, struct instance_spec *ret, struct weft_err *err)
{
	const struct weft_sla_variant *v = service_variant(inst->service, inst->virt);
	bool tap = inst->net == WEFT_NET_TAP, v6 = !inst->engine->no_ipv6.code;

	ret->dir = instance_dir(inst);
	ret->log = instance_log(inst);
	ret->netns = tap ? NULL : instance_netns(inst);
	ret->spec = (struct weft_runtime_spec){
		.id = inst->name,
		.image = inst->image,
		.dir = ret->dir,
		.log_path = ret->log,
		.virt = inst->virt,
		.arch = inst->arch,
		.net =
			{
				.netns = ret->netns,
				.ifname = inst->net == WEFT_NET_VETH ? "eth0" : "macvtap0",
				.addr = inst->ns_addr,
				.prefix_len = inst->engine->config.subnet_len,
				.gateway = inst->engine->gateway,
				.addr6 = v6 ? inst->ns_addr6 : in6addr_any,
				.prefix6_len = 128,
				.gateway6 = v6 && !IN6_IS_ADDR_UNSPECIFIED(&inst->ns_addr6)
						    ? weft_link_gateway6
						    : in6addr_any,
				.mtu = inst->engine->config.mtu,
				.tap_fd = inst->tap_fd,
			},
	};
	memcpy(ret->spec.net.mac, inst->mac, sizeof(ret->spec.net.mac));
	if (!ret->dir || !ret->log || (!tap && !ret->netns) || (v && fill_variant(ret, v) < 0))
		return weft_err_set(err, ENOMEM, "instance %s: out of memory", inst->name);
	return 0;
}
