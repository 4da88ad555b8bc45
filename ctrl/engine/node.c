/* SPDX-License-Identifier: Apache-2.0 */
/* What this node has: runtimes as probed, addresses, memory and CPUs. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/internal.h"
#include "runtimes/fake/fake.h"

/* Oakestra's pool for service and instance addresses: 10.30.x.y with x and y in 0..253. Services
 * are counted from .0.2 up; instances have a range of their node's, from .128.1 up where it is
 * alone, the last of which is the host's own. */
#define POOL_BASE 0x0a1e0000u
#define VIP_FIRST 2u
#define VIP_LAST  (127u << 8 | 253u)

/* Runtimes come and go: containerd ends, qemu is installed. */
#define PROBE_AGAIN_NS 30000000000ULL

struct runtime_slot *engine_runtime(struct weft_engine *e, enum weft_virt virt)
{
	switch (virt) {
	case WEFT_VIRT_UNIKERNEL:
		return &e->runtimes[1];
	case WEFT_VIRT_NATIVE:
		return &e->runtimes[2];
	default:
		return &e->runtimes[0];
	}
}

static void on_probed(void *userdata, const struct weft_runtime_cap *caps, unsigned n_caps)
{
	struct runtime_slot *slot = userdata;

	for (unsigned i = 0; i < n_caps && i < WEFT_RUNTIME_MAX_CAPS; i++) {
		struct weft_runtime_cap *c = &slot->caps[i];
		bool news = i >= slot->n_caps || c->usable != caps[i].usable;

		*c = caps[i];
		/* What programs said of themselves. */
		weft_text_clean_line(c->version);
		weft_text_clean_line(c->detail);
		if (news)
			log_info("%s/%s: %s %s%s%s", weft_virt_name(c->virt),
				weft_arch_name(c->arch), c->usable ? "usable" : "not usable",
				c->version, c->detail[0] ? ": " : "", c->detail);
	}
	slot->n_caps = n_caps < WEFT_RUNTIME_MAX_CAPS ? n_caps : WEFT_RUNTIME_MAX_CAPS;
	slot->probed = true;
	slot->probe_ns = weft_now_ns() + PROBE_AGAIN_NS;
	engine_kick(slot->engine);
}

int engine_runtimes_open(struct weft_engine *e, struct weft_err *err)
{
	static const struct weft_runtime_ops *const all[N_RUNTIMES] = {
		&weft_runtime_containerd, &weft_runtime_qemu, &weft_runtime_native};
	struct weft_runtime_config config = {
		.event = e->event,
		.state_dir = e->config.state_dir,
		.libexec_dir = e->config.libexec,
		.containerd = e->config.containerd,
		.ctrd_namespace = e->config.ctrd_namespace,
		.cgroup_root = e->config.cgroup,
		.registries = e->config.registries,
		.on_event = instance_event,
		.on_progress = instance_progress,
		.userdata = e,
	};

	for (unsigned i = 0; i < N_RUNTIMES; i++) {
		struct runtime_slot *slot = &e->runtimes[i];
		int r;

		slot->ops = weft_fake_around(all[i]);
		slot->engine = e;
		r = slot->ops->new_(&config, &slot->rt, err);
		if (r < 0)
			return r;
		r = slot->ops->probe(slot->rt, on_probed, slot);
		if (r < 0)
			return weft_err_set(err, r, "runtime %s: cannot be probed: %s",
				slot->ops->name, strerror(-r));
	}
	return 0;
}

void engine_runtimes_tick(struct weft_engine *e, uint64_t now)
{
	for (unsigned i = 0; i < N_RUNTIMES; i++) {
		struct runtime_slot *slot = &e->runtimes[i];

		if (!slot->probe_ns || now < slot->probe_ns)
			continue;
		slot->probe_ns = 0;
		if (slot->ops->probe(slot->rt, on_probed, slot) < 0)
			slot->probe_ns = now + PROBE_AGAIN_NS;
	}
}

static bool has_vip(const struct service *s, struct in_addr a)
{
	for (int p = 0; p < WEFT_DP_POLICIES; p++)
		if (s->vip[p].s_addr == a.s_addr)
			return true;
	return false;
}

static bool address_taken(struct weft_engine *e, struct in_addr a)
{
	for (struct service *s = e->services; s; s = s->next)
		if (has_vip(s, a))
			return true;
	for (struct instance *i = e->instances; i; i = i->next)
		if (i->ns_addr.s_addr == a.s_addr || i->inst_addr.s_addr == a.s_addr)
			return true;
	return a.s_addr == e->gateway.s_addr;
}

bool engine_vip_taken(struct weft_engine *e, struct in_addr vip, const char **by)
{
	for (struct service *s = e->services; s; s = s->next)
		if (has_vip(s, vip)) {
			*by = s->name;
			return true;
		}
	for (struct instance *i = e->instances; i; i = i->next)
		if (i->inst_addr.s_addr == vip.s_addr) {
			*by = i->name;
			return true;
		}
	*by = "the node itself";
	return vip.s_addr == engine_host_addr(e).s_addr;
}

bool engine_ns_addr_taken(struct weft_engine *e, struct in_addr a, const char **by)
{
	for (struct instance *i = e->instances; i; i = i->next)
		if (i->ns_addr.s_addr == a.s_addr) {
			*by = i->name;
			return true;
		}
	*by = "the node itself";
	return a.s_addr == e->gateway.s_addr;
}

static bool in_pool(uint32_t low)
{
	return (low & 0xff) <= 253 && (low >> 8 & 0xff) <= 253;
}

struct in_addr engine_host_addr(const struct weft_engine *e)
{
	uint32_t at = ntohl(e->config.instances.s_addr) | (0xffffffffu >> e->config.instances_len);

	while (!in_pool(at))
		at--;
	return (struct in_addr){htonl(at)};
}

int engine_alloc_vip(
	struct weft_engine *e, const struct service *s, struct in_addr *ret, struct weft_err *err)
{
	for (uint32_t low = VIP_FIRST; low <= VIP_LAST; low++) {
		struct in_addr a = {htonl(POOL_BASE | low)};

		if (!in_pool(low) || (low & 0xff) == 0 || address_taken(e, a) || has_vip(s, a))
			continue;
		*ret = a;
		return 0;
	}
	return weft_err_set(err, ENODEV, "no service address is left in 10.30.0.0/16");
}

/* Next fit rather than first fit: an address that was just given back rests for a while, so that
 * nobody's stale packet meets a new instance. */
static uint32_t next_free(
	struct weft_engine *e, uint32_t base, uint32_t first, uint32_t last, uint32_t previous)
{
	uint32_t n = last - first + 1, at = previous < first ? first : previous + 1;

	for (uint32_t i = 0; i < n; i++, at++) {
		struct in_addr a;

		if (at > last)
			at = first;
		a.s_addr = htonl(base | at);
		if (base == POOL_BASE && (!in_pool(at) || (at & 0xff) == 0))
			continue;
		if (!address_taken(e, a))
			return at;
	}
	return 0;
}

/* An instance address' low 16 bits. */
static uint32_t next_inst(struct weft_engine *e)
{
	return next_free(e, POOL_BASE, (ntohl(e->config.instances.s_addr) & 0xffff) + 1,
		(ntohl(engine_host_addr(e).s_addr) & 0xffff) - 1, e->last_inst_host);
}

uint32_t engine_next_id(struct weft_engine *e)
{
	bool taken[HOST_INSTANCE] = {};
	uint32_t id = e->last_instance_id;

	for (const struct instance *k = e->instances; k; k = k->next)
		if (k->id < HOST_INSTANCE)
			taken[k->id] = true;
	for (uint32_t i = 1; i < HOST_INSTANCE; i++) {
		id = id + 1 < HOST_INSTANCE ? id + 1 : 1;
		if (!taken[id])
			return id;
	}
	return 0;
}

/* Locally administered, and always the same at the same address: no stale neighbours. */
void engine_mac(struct instance *inst)
{
	inst->mac[0] = 0x02;
	inst->mac[1] = 0x76;
	memcpy(inst->mac + 2, &inst->ns_addr.s_addr, 4);
}

/* One that has its address already. */
int engine_alloc_attached(struct weft_engine *e, struct instance *inst, struct weft_err *err)
{
	uint32_t id = engine_next_id(e), in;

	in = next_inst(e);
	if (!id || !in)
		return weft_err_set(err, ENODEV, "node %s: no instance address is left for %s",
			e->config.node, inst->name);
	e->last_instance_id = inst->id = id;
	e->last_inst_host = in;
	inst->inst_addr.s_addr = htonl(POOL_BASE | in);
	if (!IN6_IS_ADDR_UNSPECIFIED(&inst->ns_addr6))
		inst->inst_addr6 = ipv6_instance_address(inst->inst_addr);
	return 0;
}

int engine_alloc_instance(struct weft_engine *e, struct instance *inst, struct weft_err *err)
{
	uint32_t base = ntohl(e->config.subnet.s_addr), size = 1u << (32 - e->config.subnet_len);
	uint32_t id = engine_next_id(e), ns, in;

	ns = next_free(e, base, 2, size - 2, e->last_ns_host);
	in = next_inst(e);
	if (!id || !ns || !in)
		return weft_err_set(err, ENODEV, "node %s: no address is left for instance %s",
			e->config.node, inst->name);
	e->last_instance_id = inst->id = id;
	e->last_ns_host = ns;
	e->last_inst_host = in;
	inst->ns_addr.s_addr = htonl(base | ns);
	inst->inst_addr.s_addr = htonl(POOL_BASE | in);
	engine_mac(inst);
	ipv6_alloc_instance(e, inst);
	return 0;
}

static uint32_t memory_mb(const char *key)
{
	_cleanup_(fclosep) FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	unsigned long kb;

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key, strlen(key)) == 0 &&
			sscanf(line + strlen(key), ": %lu", &kb) == 1)
			return (uint32_t)(kb / 1024);
	return 0;
}

static uint32_t wanted_cpu(const struct weft_sla_variant *v)
{
	return v->cpu_milli ? v->cpu_milli : v->vcpus * 1000;
}

static void describe_node(struct weft_engine *e, struct weft_sched_node *node)
{
	uint32_t wanted_mb = 0, wanted_milli = 0, used = 0;
	uint32_t size = 1u << (32 - e->config.subnet_len);

	*node = (struct weft_sched_node){.name = e->config.node, .ready = true};
	for (unsigned i = 0; i < N_RUNTIMES; i++)
		for (unsigned c = 0; c < e->runtimes[i].n_caps; c++) {
			const struct weft_runtime_cap *cap = &e->runtimes[i].caps[c];

			node->offers[cap->virt][cap->arch] |= cap->usable;
			node->lacks[cap->virt][cap->arch] = cap->detail;
		}
	for (struct instance *i = e->instances; i; i = i->next) {
		const struct weft_sla_variant *v;

		if (i->borrowed)
			continue;
		v = service_variant(i->service, i->virt);
		used++;
		if (i->phase == PHASE_FAILED || !v)
			continue;
		wanted_mb += v->memory_mb;
		wanted_milli += wanted_cpu(v);
	}
	node->memory_mb = memory_mb("MemTotal");
	node->memory_free_mb = node->memory_mb > wanted_mb ? node->memory_mb - wanted_mb : 0;
	if (memory_mb("MemAvailable") < node->memory_free_mb)
		node->memory_free_mb = memory_mb("MemAvailable");
	/* vcpus is a quota on shared CPUs, so a CPU may be promised four times over. */
	node->cpu_milli = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN) * 4000;
	node->cpu_free_milli = node->cpu_milli > wanted_milli ? node->cpu_milli - wanted_milli : 0;
	node->addresses_free = size > 3 + used ? size - 3 - used : 0;
}

int engine_place(struct weft_engine *e, const struct service *s,
	const struct weft_sla_variant *variant, enum weft_arch *ret_arch, struct weft_err *err)
{
	struct weft_sched_request request = {
		.service = s->name,
		.node = s->spec->node,
		.virt = variant->virt,
		.memory_mb = variant->memory_mb,
		.cpu_milli = wanted_cpu(variant),
	};
	struct weft_sched_decision decision;
	struct weft_sched_node node;
	int r;

	memcpy(request.arch, variant->arch, sizeof(request.arch));
	describe_node(e, &node);
	r = weft_sched_place(&request, &node, 1, &decision, err);
	if (r < 0)
		return r;
	*ret_arch = decision.arch;
	return 0;
}
