/* SPDX-License-Identifier: Apache-2.0 */
/* Probes: what they are told, and when they are attached. dp_trace_read.c has what they measure. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "bpf/hop_abi.h"

#include "bpf/hop_probe.skel.h"
#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/dp_trace_internal.h"
#include "ctrl/dataplane/link_nl.h"

/* --- what the kernel has --- */

/* Without the last ones some hops are not told apart. */
static const struct {
	const char *name;
	bool needed;
} tracepoints[] = {
	{"net_dev_queue", true},
	{"netif_rx", true},
	{"netif_receive_skb", true},
	{"skb_copy_datagram_iovec", true},
	{"kfree_skb", false},
	{"sched_switch", false},
	{"sk_data_ready", false},    /* 6.3 */
	{"sock_recv_length", false}, /* 6.3; consume_skb where it is missing */
	{"consume_skb", false},
};

static bool has_tracepoint(const struct btf *btf, const char *name)
{
	char type[64];

	snprintf(type, sizeof(type), "btf_trace_%s", name);
	return btf__find_by_name_kind(btf, type, BTF_KIND_TYPEDEF) > 0;
}

static int no_btf(struct weft_err *err)
{
	weft_err_set(err, ENOTSUP, "tracing hops: the kernel has no BTF (/sys/kernel/btf/vmlinux)");
	return weft_err_hint(err, "a kernel with CONFIG_DEBUG_INFO_BTF; Debian 12's own has it");
}

int weft_dp_trace_supported(struct weft_dp *dp, struct weft_err *err)
{
	int r = dp_feature_need(dp, DP_RING_BUFFER, err);
	struct btf *btf;

	if (r == 0)
		r = dp_feature_need(dp, DP_TRACEPOINTS, err);
	if (r < 0)
		return weft_err_prefix(err, "tracing hops");
	btf = btf__load_vmlinux_btf();
	if (!btf)
		return no_btf(err);
	for (unsigned i = 0; i < ARRAY_SIZE(tracepoints) && r == 0; i++)
		if (tracepoints[i].needed && !has_tracepoint(btf, tracepoints[i].name)) {
			weft_err_set(err, ENOTSUP, "tracing hops: the kernel has no tracepoint %s",
				tracepoints[i].name);
			r = weft_err_hint(err, "a kernel with CONFIG_TRACEPOINTS and CONFIG_NET");
		}
	btf__free(btf);
	return r;
}

/* --- groups and devices --- */

static unsigned group_of(struct weft_dp_trace *t, const char *name)
{
	unsigned i = 0;

	while (i < t->n_groups && strcmp(t->groups[i], name) != 0)
		i++;
	if (i < t->n_groups)
		return i;
	if (t->n_groups == WEFT_HOP_GROUPS)
		return WEFT_HOP_GROUPS - 1; /* with others, rather than not at all */
	t->groups[i] = strdup(name);
	if (!t->groups[i])
		return 0;
	t->n_groups++;
	return i;
}

static const struct weft_dp_trace_instance *spoken_of(const struct weft_dp_trace *t, uint32_t id)
{
	for (unsigned i = 0; i < t->n_instances; i++)
		if (t->instances[i].id == id)
			return &t->instances[i];
	return NULL;
}

static bool is_member(const struct weft_dp_trace *t, const struct weft_bpf_instance *inst)
{
	return inst->service == t->service;
}

static int set_addr(struct weft_dp_trace *t, const struct weft_hop_addr *a,
	enum weft_hop_addr_kind k, unsigned g)
{
	uint32_t value = WEFT_HOP_ADDR(k, g);

	return bpf_map_update_elem(bpf_map__fd(t->skel->maps.addrs), a, &value, BPF_ANY);
}

static void clear_addr(struct weft_dp_trace *t, const struct weft_hop_addr *a)
{
	bpf_map_delete_elem(bpf_map__fd(t->skel->maps.addrs), a);
}

static struct weft_hop_addr mapped(uint32_t v4)
{
	return (struct weft_hop_addr){{0, 0, htonl(0xffff), v4}};
}

static bool some6(const uint32_t v6[4], struct weft_hop_addr *ret)
{
	memcpy(ret, v6, sizeof(*ret));
	return v6[0] || v6[1] || v6[2] || v6[3];
}

/* What a member of the service is called by, and what its replies come from. */
static int add_addrs(struct weft_dp_trace *t, const struct weft_bpf_instance *inst, unsigned group)
{
	struct weft_hop_addr a = mapped(inst->ns_addr), called = mapped(inst->inst_addr);
	int r = 0;

	if (inst->ns_addr)
		r = set_addr(t, &a, WEFT_HOP_BACKEND, group);
	if (r == 0 && inst->inst_addr)
		r = set_addr(t, &called, WEFT_HOP_CALLED, 0);
	if (r == 0 && some6(inst->ns_addr6, &a))
		r = set_addr(t, &a, WEFT_HOP_BACKEND, group);
	if (r == 0 && some6(inst->inst_addr6, &a))
		r = set_addr(t, &a, WEFT_HOP_CALLED, 0);
	return r;
}

static void remove_addrs(struct weft_dp_trace *t, const struct weft_bpf_instance *inst)
{
	struct weft_hop_addr a = mapped(inst->ns_addr), called = mapped(inst->inst_addr);

	clear_addr(t, &a);
	clear_addr(t, &called);
	if (some6(inst->ns_addr6, &a))
		clear_addr(t, &a);
	if (some6(inst->inst_addr6, &a))
		clear_addr(t, &a);
}

static int add_service(struct weft_dp_trace *t)
{
	const struct weft_bpf_service *s = &t->dp->services[t->service];
	struct weft_hop_addr a;
	int r = 0;

	for (unsigned p = 0; p < WEFT_POLICIES && r == 0; p++) {
		a = mapped(s->vip[p]);
		if (s->vip[p])
			r = set_addr(t, &a, WEFT_HOP_CALLED, 0);
		if (r == 0 && some6(s->vip6[p], &a))
			r = set_addr(t, &a, WEFT_HOP_CALLED, 0);
	}
	return r;
}

/* --- probes on devices --- */

static int attach_device(
	struct weft_dp_trace *t, const char *netns, struct bpf_program *prog, uint32_t ifindex)
{
	_cleanup_(weft_ns_leave) int home = -1;
	int link, r;

	if (t->n_devices == TRACE_DEVICES)
		return 0;
	r = weft_ns_enter(netns, &home, NULL);
	if (r < 0)
		return r;
	link = bpf_link_create(bpf_program__fd(prog), (int)ifindex, DP_TCX_INGRESS, NULL);
	if (link < 0)
		return link;
	t->devices[t->n_devices++] = link;
	return 0;
}

/* A device that has none, because the kernel has no tcx, the namespace is not known or there are
 * too many of them, costs no more than a hop told apart. */
static void probe_devices(struct weft_dp_trace *t, uint32_t id, const struct weft_link_way *way)
{
	const struct weft_dp_trace_instance *known = spoken_of(t, id);
	int r;

	if (!t->dp->tcx || !known || !known->netns || !way->peer || way->peer_home)
		return;
	r = attach_device(t, known->netns, t->skel->progs.at_veth_in, way->peer);
	if (r == 0 && way->macvtap)
		r = attach_device(t, known->netns, t->skel->progs.at_macvtap_in, way->macvtap);
	if (r < 0)
		log_debug("trace: instance %u: no probe on its device: %s", id, strerror(-r));
}

static void watch(struct weft_dp_trace *t, bool home, uint32_t ifindex, unsigned bits)
{
	uint8_t *table = home ? t->watched_home : t->watched_away;

	if (ifindex)
		table[ifindex % WEFT_HOP_DEVICES] |= (uint8_t)bits;
}

static void watch_instance(struct weft_dp_trace *t, const struct trace_known *k)
{
	unsigned member = is_member(t, &k->inst) ? WEFT_HOP_MEMBER : 0;

	watch(t, true, k->inst.ifindex,
		WEFT_HOP_HOST | member | (k->way.peer ? 0 : WEFT_HOP_ORIGIN));
	watch(t, k->way.peer_home, k->way.peer, WEFT_HOP_SENDER | member);
	watch(t, k->way.peer_home, k->way.macvtap, WEFT_HOP_UPPER | member);
}

/* --- instances --- */

static const char *kind(const struct weft_link_way *way)
{
	return way->macvtap ? "macvtap" : way->peer ? "veth" : "tap";
}

static int add_instance(struct weft_dp_trace *t, uint32_t id, const struct weft_bpf_instance *inst,
	struct weft_err *err)
{
	const struct weft_dp_trace_instance *spoken = spoken_of(t, id);
	struct trace_known k = {.id = id, .inst = *inst};
	struct trace_known *more;
	int r;

	r = weft_link_way(inst->ifindex, &k.way, err);
	if (r == -ENODEV)
		return 0; /* it went just now */
	if (r < 0)
		return r;
	if (t->n_known == t->room_known) {
		more = realloc(t->known, (t->room_known * 2 + 16) * sizeof(*more));
		if (!more)
			return weft_err_set(err, ENOMEM, "out of memory");
		t->known = more;
		t->room_known = t->room_known * 2 + 16;
	}
	if (is_member(t, inst)) {
		const char *group = spoken && spoken->group ? spoken->group : kind(&k.way);

		r = add_addrs(t, inst, group_of(t, group));
		if (r < 0)
			return dp_refused(err, r, "trace: entering an instance's addresses");
	}
	probe_devices(t, id, &k.way);
	t->known[t->n_known++] = k;
	return 0;
}

static bool still_there(const struct weft_dp_trace *t, const struct trace_known *k)
{
	const struct weft_bpf_instance *now = &t->dp->instances[k->id];

	return now->active && now->epoch == k->inst.epoch;
}

static bool known_already(const struct weft_dp_trace *t, uint32_t id)
{
	for (unsigned i = 0; i < t->n_known; i++)
		if (t->known[i].id == id)
			return true;
	return false;
}

int weft_dp_trace_refresh(struct weft_dp_trace *t, struct weft_err *err)
{
	int r = 0;

	if (t->dp->services[t->service].epoch != t->epoch)
		return weft_err_set(
			err, ENOENT, "service %u: gone from the data plane", t->service);
	for (unsigned i = 0; i < t->n_known;) {
		if (still_there(t, &t->known[i])) {
			i++;
			continue;
		}
		if (is_member(t, &t->known[i].inst))
			remove_addrs(t, &t->known[i].inst);
		t->known[i] = t->known[--t->n_known];
	}
	for (uint32_t id = 1; id < WEFT_MAX_INSTANCES && r == 0; id++) {
		const struct weft_bpf_instance *inst = &t->dp->instances[id];

		if (inst->active && inst->ifindex && !known_already(t, id))
			r = add_instance(t, id, inst, err);
	}
	memset(t->watched_home, 0, sizeof(t->watched_home));
	memset(t->watched_away, 0, sizeof(t->watched_away));
	for (unsigned i = 0; i < t->n_known; i++)
		watch_instance(t, &t->known[i]);
	memcpy(t->skel->bss->watched_home, t->watched_home, sizeof(t->watched_home));
	memcpy(t->skel->bss->watched_away, t->watched_away, sizeof(t->watched_away));
	return r;
}

/* --- start and stop --- */

static int load_error(struct weft_err *err, int r)
{
	if (r == -EPERM || r == -EACCES) {
		dp_refused(err, r, "tracing hops: loading the probes");
		return geteuid() == 0 ? weft_err_hint(err, "weft needs CAP_BPF, CAP_PERFMON and "
							   "CAP_NET_ADMIN; the debug log has more")
				      : r;
	}
	return dp_refused(err, r, "tracing hops: loading the probes");
}

/* Tracepoints that the kernel lacks would keep all of them from being loaded. */
static int choose_programs(struct weft_dp_trace *t, struct weft_err *err)
{
	struct btf *btf = btf__load_vmlinux_btf();
	char name[64];

	if (!btf)
		return no_btf(err);
	for (unsigned i = 0; i < ARRAY_SIZE(tracepoints); i++) {
		struct bpf_program *prog;

		snprintf(name, sizeof(name), "at_%s", tracepoints[i].name);
		prog = bpf_object__find_program_by_name(t->skel->obj, name);
		if (prog && !has_tracepoint(btf, tracepoints[i].name))
			bpf_program__set_autoload(prog, false);
	}
	if (has_tracepoint(btf, "sock_recv_length"))
		bpf_program__set_autoload(t->skel->progs.at_consume_skb, false);
	btf__free(btf);
	return 0;
}

static int load(
	struct weft_dp_trace *t, const struct weft_dp_trace_config *config, struct weft_err *err)
{
	struct stat st;
	int r;

	if (stat("/proc/thread-self/ns/net", &st) < 0)
		return weft_err_set(err, errno, "our own network namespace: %m");
	t->skel = hop_probe__open();
	if (!t->skel)
		return load_error(err, -errno);
	t->skel->rodata->home_netns = (uint32_t)st.st_ino;
	t->skel->rodata->sample_every = config->sample_every;
	r = choose_programs(t, err);
	if (r < 0)
		return r;
	/* Four of each instance, two of each policy of the service. */
	r = bpf_map__set_max_entries(t->skel->maps.addrs, 4 * WEFT_MAX_INSTANCES);
	if (r == 0)
		r = hop_probe__load(t->skel);
	return r < 0 ? load_error(err, r) : 0;
}

static int attach(struct weft_dp_trace *t, struct weft_err *err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(tracepoints); i++) {
		struct bpf_program *prog;
		struct bpf_link *link;
		char name[64];

		snprintf(name, sizeof(name), "at_%s", tracepoints[i].name);
		prog = bpf_object__find_program_by_name(t->skel->obj, name);
		if (!prog || !bpf_program__autoload(prog))
			continue;
		link = bpf_program__attach(prog);
		if (!link) {
			char what[96];

			snprintf(what, sizeof(what), "tracing hops: tracepoint %s",
				tracepoints[i].name);
			return dp_refused(err, errno, what);
		}
		t->links[t->n_links++] = link;
	}
	return 0;
}

int weft_dp_trace_start(struct weft_dp *dp, const struct weft_dp_trace_config *config,
	struct weft_dp_trace **ret, struct weft_err *err)
{
	_cleanup_(weft_dp_trace_stopp) struct weft_dp_trace *t = NULL;
	int r;

	if (config->service == 0 || config->service >= WEFT_MAX_SERVICES ||
		!dp->services[config->service].epoch)
		return weft_err_set(
			err, ENOENT, "service %u: not in the data plane", config->service);
	dp_quiet_libbpf();
	r = weft_dp_trace_supported(dp, err);
	if (r < 0)
		return r;
	t = calloc(1, sizeof(*t));
	if (!t)
		return weft_err_set(err, ENOMEM, "out of memory");
	t->dp = dp;
	t->service = config->service;
	t->epoch = dp->services[config->service].epoch;
	t->instances = config->instances;
	t->n_instances = config->n_instances;
	r = load(t, config, err);
	if (r < 0)
		return r;
	r = trace_samples_open(t);
	if (r == 0)
		r = add_service(t);
	if (r < 0)
		return dp_refused(err, r, "tracing hops: filling the maps");
	r = weft_dp_trace_refresh(t, err);
	if (r == 0)
		r = attach(t, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(t);
	return 0;
}

void weft_dp_trace_stop(struct weft_dp_trace *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < t->n_links; i++)
		bpf_link__destroy(t->links[i]);
	for (unsigned i = 0; i < t->n_devices; i++) {
		bpf_link_detach(t->devices[i]); /* acts at once */
		close(t->devices[i]);
	}
	ring_buffer__free(t->ring);
	hop_probe__destroy(t->skel);
	for (unsigned i = 0; i < t->n_groups; i++)
		free(t->groups[i]);
	free(t->known);
	free(t);
}
