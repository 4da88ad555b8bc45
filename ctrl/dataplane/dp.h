/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the data plane: what its source files share. Nobody else includes it but its tests. */
#ifndef WEFT_DATAPLANE_DP_H
#define WEFT_DATAPLANE_DP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/weft_abi.h"
#include "ctrl/base/cleanup.h"
#include "ctrl/dataplane/dataplane.h"
#include "ctrl/dataplane/peer.h"

struct bpf_object;
struct bpf_map;
struct bpf_insn;
struct tc_instance; /* the skeleton */
struct sockmap;     /* that of the shortcut */
struct dp_uplink;   /* dp_uplink.c */
struct dp_peer;     /* dp_peer.c */
struct tc_publish;

struct weft_dp {
	char *dir, *cgroup;
	struct tc_instance *skel;
	struct sockmap *sockmap; /* NULL: not loaded */
	bool tcx, kern_ctx, no_decap_flags;
	bool moving; /* to the maps in DIR/next, which are not in their place yet */
	uint32_t features, features_tried; /* of the kernel, a bit for each */
	uint64_t seed[2];
	uint64_t jiffy_ns, jiffy_zero; /* dp_probe_jiffies() */
	uint32_t mtu;

	/* Views of the maps, shared with the kernel. */
	struct weft_meta *meta;
	struct weft_bpf_instance *instances;
	struct weft_bpf_service *services;
	uint64_t *devices;
	uint64_t *slot_dir;
	union weft_room *rooms;
	uint16_t *slots;
	struct weft_bucket *flows;
	struct weft_netns *shortcut_netns;
	uint32_t flow_buckets;
	struct weft_bpf_peer *peers;
	uint64_t *peers_by_addr;
	struct weft_bpf_uplink *uplink;
	struct weft_bpf_published *published;
	uint64_t *publish_ports;
	struct weft_bpf_publish_at *publish_at;
	struct weft_quality *quality;

	struct dp_uplink *up;       /* NULL: none is wanted */
	struct tc_publish *publish; /* loaded, to be attached; else NULL */
	struct dp_peer *peer_notes;
	uint32_t peer_next; /* to be looked after */

	/* Of the pool, a bit for each of the smallest rooms; given back, some packet may still
	 * be reading it. */
	uint64_t *slots_used, *slots_given_back;

	bool shortcut_probed;
	struct weft_err shortcut_err; /* code 0: it can be done */

	/* When what readers may still be using was last taken out of their sight; 0: not by us, so
	 * that it may have been until we opened. */
	uint64_t opened_ns, grace_ns, freed_ns, service_retired_ns;
	uint64_t flipped_ns[WEFT_MAX_SERVICES * WEFT_POLICIES];
	uint64_t retired_ns[WEFT_MAX_INSTANCES];

	/* The vector that an instance was last seen in, to find those that are in it twice. */
	uint32_t vector, in_vector[WEFT_MAX_INSTANCES];
};

WEFT_DEFINE_CLEANUP(struct weft_dp *, weft_dp_free);

/* Wait until no program still works with what was replaced at since_ns (CLOCK_MONOTONIC, 0: before
 * we opened): at once if that is long ago, else one RCU grace period (some milliseconds). */
void dp_grace(struct weft_dp *dp, uint64_t since_ns);
bool dp_grace_over(const struct weft_dp *dp, uint64_t since_ns); /* it would not wait */

/* libbpf's talk goes to the debug log. */
void dp_quiet_libbpf(void);

/* Before it is loaded: the constants that every object of ours has, and maps shared by their pins.
 */
#define DP_CONSTANTS(dp, rodata)                              \
	do {                                                  \
		(rodata)->flow_seed[0] = (dp)->seed[0];       \
		(rodata)->flow_seed[1] = (dp)->seed[1];       \
		(rodata)->flow_mask = (dp)->flow_buckets - 1; \
		(rodata)->overlay_mtu = (dp)->mtu;            \
		(rodata)->kern_ctx = (dp)->kern_ctx;          \
		(rodata)->jiffy_ns = (dp)->jiffy_ns;          \
		(rodata)->jiffy_zero = (dp)->jiffy_zero;      \
	} while (0)
int dp_prepare(struct weft_dp *dp, struct bpf_object *obj);

/* --- dp_probe.c: what this kernel has --- */
/* bpf_cast_to_kern_ctx(), Linux 6.2: sk_buff's own fields. */
bool dp_probe_kern_ctx(void);
/* How long a jiffy is, and what CLOCK_MONOTONIC_COARSE said at jiffy 0 (modulo 2^64): both go on in
 * step. False, and *ret_ns 0, where it cannot be told. */
bool dp_probe_jiffies(uint64_t *ret_ns, uint64_t *ret_zero);
/* Does any enum of the kernel's have it? Some constants, and so what they stand for, are known by
 * that alone. */
bool dp_probe_enumerator(const char *name);
/* Make libbpf, before it loads a program, take the calls of kernel functions out that this kernel
 * has not. They are never reached, but Linux before 5.16 refuses them all the same. */
int dp_probe_prepare(void);
void dp_drop_missing_calls(struct bpf_insn *insns, size_t n);

/* --- dp_feature.c: the same, one by one and by name --- */
enum dp_feature {
	DP_BTF,
	DP_MMAPABLE,
	DP_REDIRECT_PEER,
	DP_REDIRECT_NEIGH,
	DP_COARSE_CLOCK,
	DP_CMPXCHG,
	DP_TCX,
	DP_KERN_CTX,
	DP_DECAP_FLAGS,
	DP_XDP_LINK,
	DP_XDP_FRAGS,
	DP_FREPLACE,
	DP_NETNS_COOKIE,
	DP_SOCKMAP,
	DP_RING_BUFFER,
	DP_TRACEPOINTS,
	DP_MEMBARRIER,
	DP_JIT,
	DP_FEATURES,
};
bool dp_has(struct weft_dp *dp, enum dp_feature feature);
/* -ENOTSUP and the feature's name; of the first one missing that there is no data plane without. */
int dp_feature_need(struct weft_dp *dp, enum dp_feature feature, struct weft_err *err);
int dp_feature_check(struct weft_dp *dp, struct weft_err *err);
/* The kernel counts as one without these: "tcx,XDP links". Before any of them is asked for. */
int dp_feature_hide(struct weft_dp *dp, const char *names, struct weft_err *err);

/* --- dp_pin.c: the directory of pins --- */
/* Make dir and what is below it, on a bpffs; mount one at /sys/fs/bpf if that is meant and empty.
 */
int dp_pin_prepare(const char *dir, struct weft_err *err);
/* malloc'ed paths, NULL when out of memory. */
char *dp_pin_map(const char *dir, const char *name);
char *dp_pin_link(const char *dir, uint32_t id);
char *dp_pin_name(const char *dir, const char *name); /* of a link that is no instance's */
/* The error of a step that the kernel refused: not root, or errno's own text. Returns -code. */
int dp_refused(struct weft_err *err, int code, const char *what);

/* --- dp_migrate.c: from one layout to the next --- */
struct dp_layout {
	uint32_t number;  /* 0: half made */
	char version[32]; /* of the weftd that made or took it over last; "": not known */
};
/* What is pinned in dir, of whatever layout. -ENOENT: nothing; -EBADMSG: no data plane's. */
int dp_layout_read(const char *dir, struct dp_layout *ret);
/* A map that a step changes: elements keep their keys, and convert makes each new one, which is
 * zeroed, from the old one (of per-CPU maps, each processor's). NULL: it is not carried over. */
struct dp_map_change {
	const char *map;
	uint32_t value_size; /* in the new layout */
	void (*convert)(const void *old, void *fresh);
};
/* From a layout to the one above it; arrays end with one that has no map, no changes. One of the
 * changes is meta's. What programs write into a changed map while they are being replaced is lost,
 * and of flows those that are opened then: lost says so to people. NULL: nothing is. */
struct dp_step {
	uint32_t from;
	const struct dp_map_change *changes;
	const char *lost;
};
extern const struct dp_step *const dp_steps;
/* Make the maps that all steps from dir's layout on lead to, in DIR/next: the number of steps, 0:
 * there are none to take. What is pinned in DIR/maps stays as it is. */
int dp_migrate_prepare(const char *dir, const struct dp_step *list, struct weft_err *err);
/* And put them in its place. The programs run on with the old maps until they are replaced by ones
 * that have the new. */
int dp_migrate_commit(const char *dir, const struct dp_step *list, struct weft_err *err);
/* End what a daemon that was killed had begun, or give up what has been prepared. */
int dp_migrate_recover(const char *dir);

/* --- dp_attach.c --- */
/* BPF_TCX_INGRESS: uapi headers of Debian 12 are those of 6.1. */
#define DP_TCX_INGRESS ((enum bpf_attach_type)46)
/* Make the program run on ifindex for instance id, whatever it was attached to before. 1: the
 * device got a clsact qdisc for it, */
int dp_attach(struct weft_dp *dp, uint32_t id, uint32_t ifindex, struct weft_err *err);
/* which this takes away, unless others have come to use it. */
void dp_detach_qdisc(uint32_t ifindex);
/* Make another program run there, by a pin of that name. */
int dp_attach_program(
	struct weft_dp *dp, int prog, const char *name, uint32_t ifindex, struct weft_err *err);
void dp_detach_program(const char *dir, const char *name, uint32_t ifindex);
/* Its id, whether a link or a filter has it; 0: none runs. */
uint32_t dp_attached_program(const char *dir, const char *name, uint32_t ifindex);
uint32_t dp_clsact_program(uint32_t ifindex); /* where an instance's filter is, its id; 0: none */
uint32_t dp_link_ifindex(int link_fd);        /* 0: its device has gone */
/* Put this build's program in the place of what an earlier daemon attached for id. */
int dp_attach_refresh(struct weft_dp *dp, uint32_t id, uint32_t ifindex);
void dp_detach(const char *dir, uint32_t id, uint32_t ifindex);

/* --- dp_target.c: semantic addresses --- */
bool dp_semantic(struct in_addr addr);
bool dp_semantic6(const struct in6_addr *addr);
int dp_target_get(struct weft_dp *dp, struct in_addr addr, uint32_t *ret);
int dp_target_get6(struct weft_dp *dp, const struct in6_addr *addr, uint32_t *ret);
int dp_target_set(struct weft_dp *dp, struct in_addr addr, uint32_t target);
int dp_target_set6(struct weft_dp *dp, const struct in6_addr *addr, uint32_t target);
/* Set to nothing if it means target now. Address 0: nothing to do. */
void dp_target_clear(struct weft_dp *dp, struct in_addr addr, uint32_t target);
void dp_target_clear6(struct weft_dp *dp, const struct in6_addr *addr, uint32_t target);
bool dp_any6(const struct in6_addr *addr); /* :: */
/* Does it mean something that is there? */
bool dp_target_held(struct weft_dp *dp, uint32_t target);
/* "service 3's", for errors. */
const char *dp_target_whose(uint32_t target, char buf[32]);

/* --- dp_slots.c: the pool of slots --- */
/* Learn from the maps what is in use. */
int dp_slots_open(struct weft_dp *dp);
/* Have key (of weft_service_policy()) use these slots from now on; length 0 gives its room back. */
int dp_slots_flip(struct weft_dp *dp, uint32_t key, const uint16_t *ids, uint16_t length);

/* --- dp_flows.c --- */
/* Delete every word of backend id that is not of its present generation. */
void dp_flows_forget(struct weft_dp *dp, uint32_t id);

/* --- dp_stats.c --- */
int dp_stats_reset(int map_fd, uint32_t key);
/* The n 64-bit words of key, added up over the processors. */
int dp_stats_sum(const struct bpf_map *map, uint32_t key, uint64_t *ret, unsigned n);
/* Drops of user space's own, for a reason that no program has. */
void dp_drops_add(struct weft_dp *dp, enum weft_drop reason, uint64_t n);

/* --- dp_publish.c --- */
#define DP_PUBLISH_LINK "publish-tc" /* behind all else on the uplink */
/* Have ports published at the device's addresses; NULL: nowhere. */
void dp_publish_at(struct weft_dp *dp, const char *device);
/* And have the program run there. */
int dp_publish_attach(
	struct weft_dp *dp, uint32_t ifindex, const char *device, struct weft_err *err);
void dp_publish_detach(const char *dir, uint32_t ifindex);
/* Load what is to take the place of one that runs. */
int dp_publish_rehearse(struct weft_dp *dp, struct weft_err *err);
void dp_publish_free(struct weft_dp *dp);

/* --- dp_uplink.c --- */
/* Load what the pins say is attached, of this build; nothing that runs changes. */
int dp_uplink_rehearse(struct weft_dp *dp, struct weft_err *err);
/* Go on with what an earlier daemon had attached, with the programs of this build. */
void dp_uplink_take_over(struct weft_dp *dp);
void dp_uplink_free(struct weft_dp *dp); /* what is attached stays */
void dp_uplink_destroy(const char *dir); /* take off what the pins say is attached */
/* The device that works as the uplink now, NULL: none. */
const char *dp_uplink_device(struct weft_dp *dp, uint32_t *ret_ifindex, uint32_t *ret_mtu);
const char *dp_uplink_wanted(struct weft_dp *dp); /* its name, "" for none */
uint16_t dp_uplink_port(struct weft_dp *dp);

/* --- dp_xdp.c --- */
struct dp_ports {
	__be16 raw, vxlan;
};
struct dp_xdp_choice {
	enum weft_dp_xdp used;
	char text[WEFT_DP_XDP_TEXT];
};
int dp_xdp_attach(struct weft_dp *dp, const struct dp_ports *ports, uint32_t ifindex,
	const char *device, enum weft_dp_xdp wanted, bool whole_sums, struct dp_xdp_choice *ret,
	struct weft_err *err);
/* Does the one load that is to take the place of what runs, as the note of the uplink says? */
int dp_xdp_rehearse(struct weft_dp *dp, const struct dp_ports *ports, struct weft_err *err);
/* As the note of the uplink says; its device may have gone. */
void dp_xdp_detach(const char *dir, const struct weft_bpf_uplink *note);

/* --- dp_dispatch.c, dp_dispatch_probe.c: libxdp's dispatcher --- */
int dp_dispatch_probe(void); /* 0, or how the kernel refuses what it is made of */
/* Load the one program of obj into the dispatcher on ifindex, beside those of others and in the
 * place of one of ours. -EOPNOTSUPP: the library does without a dispatcher here; nothing is on. */
int dp_dispatch_attach(struct bpf_object *obj, uint32_t ifindex, enum weft_dp_xdp how, bool frags);
/* Take whatever is ours off, and leave what others have there. */
void dp_dispatch_detach(uint32_t ifindex);

/* --- dp_vxlan.c --- */
/* A VXLAN device that does nothing but make GRO know the port. Kept when it is there. */
int dp_vxlan_add(uint16_t port, uint32_t *ret_ifindex, struct weft_err *err);
void dp_vxlan_del(uint32_t ifindex);

/* --- dp_peer.c --- */
bool dp_peer_known(struct weft_dp *dp, uint32_t id);
/* Find the way to it anew. */
void dp_peer_refresh(struct weft_dp *dp, uint32_t id);
void dp_peers_refresh(struct weft_dp *dp, uint32_t most); /* the next so many */

/* --- dp_sockmap.c, dp_sockmap_probe.c --- */
/* As dp_uplink_rehearse(). */
int dp_sockmap_rehearse(struct weft_dp *dp, struct weft_err *err);
void dp_sockmap_take_over(struct weft_dp *dp);
void dp_sockmap_forget(struct weft_dp *dp, uint32_t service);
/* Detach when no service wants it and no socket is left. */
void dp_sockmap_sweep(struct weft_dp *dp);
void dp_sockmap_detach(const char *dir);
void dp_sockmap_free(struct weft_dp *dp);
/* The directory of cgroup v2; dir NULL: wherever it is mounted. */
int dp_cgroup_open(const char *dir, int *ret, struct weft_err *err);
int dp_sockmap_probe(struct weft_err *err);

#endif
