/* SPDX-License-Identifier: Apache-2.0 */
/* A probe for each feature of the kernel that our programs use. They ask the kernel itself, by
 * doing the thing in small: what a version number promises, a configuration may have left out. */
#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/feature.h"

/* No device has this index. Whoever knows the kind of link looks for it first. */
#define NO_DEVICE INT_MAX

static const struct bpf_insn do_nothing[] = {
	{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
	{.code = BPF_JMP | BPF_EXIT},
};

static int load(enum bpf_prog_type type, const struct bpf_insn *insns, size_t n, uint32_t flags)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = flags);

	return bpf_prog_load(type, "probe", "GPL", insns, n, &opts);
}

static bool loads(enum bpf_prog_type type, const struct bpf_insn *insns, size_t n, uint32_t flags)
{
	_cleanup_(closep) int fd = load(type, insns, n, flags);

	return fd >= 0;
}

static bool has_helper(enum bpf_prog_type type, enum bpf_func_id id)
{
	return libbpf_probe_bpf_helper(type, id, NULL) == 1;
}

static bool has_map(
	enum bpf_map_type type, uint32_t key, uint32_t value, uint32_t entries, uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = flags);
	_cleanup_(closep) int fd = bpf_map_create(type, "probe", key, value, entries, &opts);

	return fd >= 0;
}

/* --- one for each --- */

static bool has_btf(void)
{
	return access("/sys/kernel/btf/vmlinux", R_OK) == 0;
}

static bool has_mmapable_arrays(void)
{
	return has_map(BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_MMAPABLE);
}

static bool has_compare_and_swap(void)
{
	static const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_1},
		{.code = BPF_STX | BPF_MEM | BPF_DW,
			.dst_reg = BPF_REG_10,
			.src_reg = BPF_REG_0,
			.off = -8},
		{.code = BPF_STX | BPF_ATOMIC | BPF_DW,
			.dst_reg = BPF_REG_10,
			.src_reg = BPF_REG_1,
			.off = -8,
			.imm = BPF_CMPXCHG},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return loads(BPF_PROG_TYPE_SCHED_CLS, insns, ARRAY_SIZE(insns), 0);
}

static bool has_coarse_clock(void)
{
	return has_helper(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_ktime_get_coarse_ns);
}

static bool has_redirect_peer(void)
{
	return has_helper(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_redirect_peer);
}

static bool has_redirect_neigh(void)
{
	return has_helper(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_redirect_neigh);
}

static bool has_xdp_link(void)
{
	/* A device that is not there and a kind of link that is not are the same error. */
	return dp_probe_enumerator("BPF_LINK_TYPE_XDP");
}

static bool has_xdp_frags(void)
{
	return loads(BPF_PROG_TYPE_XDP, do_nothing, ARRAY_SIZE(do_nothing), BPF_F_XDP_HAS_FRAGS);
}

static bool has_freplace(void)
{
	return dp_dispatch_probe() == 0;
}

static bool has_tcx(void)
{
	_cleanup_(closep) int prog =
		load(BPF_PROG_TYPE_SCHED_CLS, do_nothing, ARRAY_SIZE(do_nothing), 0);
	_cleanup_(closep) int link =
		prog < 0 ? -1 : bpf_link_create(prog, NO_DEVICE, DP_TCX_INGRESS, NULL);

	return prog >= 0 && link == -ENODEV;
}

static bool has_decap_flags(void)
{
	return dp_probe_enumerator("BPF_F_ADJ_ROOM_DECAP_L3_IPV4");
}

static bool has_cgroup_link(void)
{
	return libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SOCK_OPS, NULL) == 1 &&
	       has_helper(BPF_PROG_TYPE_SOCK_OPS, BPF_FUNC_get_netns_cookie);
}

static bool has_sockmap(void)
{
	return has_map(BPF_MAP_TYPE_SOCKHASH, 4, 8, 1, 0) &&
	       libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SK_MSG, NULL) == 1;
}

static bool has_ring_buffer(void)
{
	return has_map(BPF_MAP_TYPE_RINGBUF, 0, 0, (uint32_t)sysconf(_SC_PAGESIZE), 0);
}

static bool has_tracing(void)
{
	return libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_RAW_TRACEPOINT, NULL) == 1;
}

static bool has_membarrier(void)
{
	long r = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	return r >= 0 && r & MEMBARRIER_CMD_GLOBAL;
}

static bool has_jit(void)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;

	return weft_read_file("/proc/sys/net/core/bpf_jit_enable", 16, &text, &size) < 0 ||
	       text[0] != '0';
}

static const struct row {
	const char *name, *since, *what, *lost;
	bool (*has)(void);
} rows[DP_FEATURES] = {
	[DP_BTF] = {"BTF", "5.2", "programs that fit any kernel", NULL, has_btf},
	[DP_MMAPABLE] = {"mmapable arrays", "5.5", "tables that weftd writes by plain stores", NULL,
		has_mmapable_arrays},
	[DP_REDIRECT_PEER] = {"redirect_peer", "5.10", "into a container without a queue", NULL,
		has_redirect_peer},
	[DP_REDIRECT_NEIGH] = {"redirect_neigh", "5.10", "to other nodes", NULL,
		has_redirect_neigh},
	[DP_COARSE_CLOCK] = {"coarse clock", "5.11", "the age of flows", NULL, has_coarse_clock},
	[DP_CMPXCHG] = {"compare-and-swap", "5.12", "the flow table, without locks", NULL,
		has_compare_and_swap},
	[DP_TCX] = {"tcx", "6.6", "programs on devices by links of their own",
		"clsact filters take its place: some hundredths slower", has_tcx},
	[DP_KERN_CTX] = {"kernel context", "6.2", "whether a checksum is only begun",
		"checksums are completed by the kernel's helper alone: some ns a packet",
		dp_probe_kern_ctx},
	[DP_DECAP_FLAGS] = {"decap flags", "6.3",
		"the inner packet's protocol where the outer has another",
		"of other nodes' packets those of the other IP version are moved twice",
		has_decap_flags},
	[DP_XDP_LINK] = {"XDP links", "5.9", "XDP on the uplink",
		"the uplink is served by TC alone", has_xdp_link},
	[DP_XDP_FRAGS] = {"XDP fragments", "5.18", "XDP on devices with large frames",
		"no native XDP above an MTU of some 3,500", has_xdp_frags},
	[DP_FREPLACE] = {"program extensions", "5.10",
		"libxdp's dispatcher: XDP on the uplink beside the programs of others",
		"XDP on the uplink by a bpf_link, for weft alone", has_freplace},
	[DP_NETNS_COOKIE] = {"netns cookies", "5.15", "whose sockets the shortcut may take",
		"no shortcut between sockets", has_cgroup_link},
	[DP_SOCKMAP] = {"sockmap", "4.18", "the shortcut between sockets",
		"no shortcut between sockets", has_sockmap},
	[DP_RING_BUFFER] = {"ring buffer", "5.8", "samples of a trace", "no weft trace",
		has_ring_buffer},
	[DP_TRACEPOINTS] = {"tracepoints", "5.5", "the hops of a trace", "no weft trace",
		has_tracing},
	[DP_MEMBARRIER] = {"membarrier", "4.3", "weights that are changed again at once",
		"the second of two changes within 0.1 s waits for 20 ms", has_membarrier},
	[DP_JIT] = {"JIT", "3.0", "programs at the processor's speed",
		"programs are interpreted: several times slower; sysctl net.core.bpf_jit_enable=1",
		has_jit},
};
_Static_assert(DP_FEATURES <= 32, "a bit for each");

unsigned weft_dp_feature_count(void)
{
	return DP_FEATURES;
}

bool dp_has(struct weft_dp *dp, enum dp_feature i)
{
	uint32_t bit = 1U << i;

	if (!(dp->features_tried & bit) && rows[i].has())
		dp->features |= bit;
	dp->features_tried |= bit;
	return dp->features & bit;
}

struct weft_dp_feature weft_dp_feature(struct weft_dp *dp, unsigned i)
{
	return (struct weft_dp_feature){
		.name = rows[i].name,
		.since = rows[i].since,
		.what = rows[i].what,
		.lost = rows[i].lost,
		.has = dp_has(dp, i),
	};
}

int dp_feature_need(struct weft_dp *dp, enum dp_feature i, struct weft_err *err)
{
	if (dp_has(dp, i))
		return 0;
	weft_err_set(err, ENOTSUP, "the kernel has no %s: %s", rows[i].name, rows[i].what);
	return weft_err_hint(
		err, "Linux %s has it, unless its configuration leaves it out", rows[i].since);
}

int dp_feature_check(struct weft_dp *dp, struct weft_err *err)
{
	int r = 0;

	/* Who is not root may not even try. */
	for (unsigned i = 0; i < DP_FEATURES && r == 0 && geteuid() == 0; i++)
		if (!rows[i].lost)
			r = dp_feature_need(dp, i, err);
	return r < 0 ? weft_err_prefix(err, "loading the data plane") : 0;
}

int dp_feature_hide(struct weft_dp *dp, const char *names, struct weft_err *err)
{
	_cleanup_(freep) char *copy = strdup(names ? names : "");
	char *rest = copy;

	if (!copy)
		return weft_err_set(err, ENOMEM, "out of memory");
	for (char *name; (name = strsep(&rest, ","));) {
		unsigned i = 0;

		while (i < DP_FEATURES && strcmp(rows[i].name, name) != 0)
			i++;
		if (i < DP_FEATURES)
			dp->features_tried |= 1U << i;
		else if (*name)
			return weft_err_set(err, EINVAL, "\"%.60s\" is no feature", name);
	}
	return 0;
}
