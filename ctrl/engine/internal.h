/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's files share; nobody else includes it. */
#ifndef WEFT_ENGINE_INTERNAL_H
#define WEFT_ENGINE_INTERNAL_H

#include <net/if.h>
#include <stdbool.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dataplane.h"
#include "ctrl/dataplane/link.h"
#include "ctrl/dataplane/link_watch.h"
#include "ctrl/dataplane/waiting.h"
#include "ctrl/engine/engine.h"
#include "ctrl/engine/events.h"
#include "ctrl/health/probe.h"
#include "ctrl/state/store.h"
#include "ctrl/swap/guard.h"
#include "ctrl/swap/swap.h"
#include "runtimes/runtime.h"
#include "sched/place.h"
#include "sched/sla.h"

#define MAX_SERVICES   512
#define MAX_SWAPS_KEPT 50 /* ended ones, for `weft swap list` */
#define HOST_INSTANCE  (WEFT_DP_MAX_INSTANCES - 1)
#define STOP_GRACE_MS  10000
#define TICK_MS        50

enum phase {
	PHASE_PREPARING,
	PHASE_STARTING,
	PHASE_WARMING,
	PHASE_READY,
	PHASE_DRAINING,
	PHASE_STOPPING,
	PHASE_FAILED,
	PHASE_LOST, /* attached, and its device has gone */
	PHASE_COUNT,
};

struct service {
	struct service *next;
	uint32_t id; /* in the data plane */
	char *name;
	char *descriptor; /* of this service alone, compact JSON: what is stored and compared */
	struct weft_sla *sla;
	const struct weft_sla_service *spec;    /* in sla */
	struct in_addr vip[WEFT_DP_POLICIES];   /* 0: not called by that policy; rr has one */
	struct in6_addr vip6[WEFT_DP_POLICIES]; /* kept also while IPv6 is off */
	enum weft_virt active;
	unsigned next_number;
	uint64_t created_ms;
	bool deleting;
	unsigned failures; /* in a row: the back-off's exponent */
	uint64_t restarts; /* instances that took the place of one that failed */
	uint64_t retry_ns;
	struct weft_err error;    /* of the last instance that failed */
	struct hand_weight *hand; /* weights set by hand, NULL: weft's own */
	unsigned n_hand;
	bool shortcut;               /* wanted: by the descriptor, until somebody says otherwise */
	struct weft_err no_shortcut; /* why there is none though */
	char *weights_said[WEFT_DP_POLICIES]; /* in the event log, as text */
	uint64_t version;        /* version.c: the event that told its last change, ... */
	uint64_t wanted_version; /* ... and the last one of what is wanted of it */
	uint64_t weigh_ns;       /* the weights are to be worked out then, 0: not */

	struct weft_swap *swap;             /* the running one */
	uint64_t swap_entered_ns;           /* when this daemon saw it enter its state ... */
	uint64_t swap_base_ms;              /* ... and how long it had been there already */
	uint64_t shift_ns;                  /* the weights may move again then */
	bool swap_prepared, swap_preparing; /* preparing: its answer is still to come ... */
	bool swap_stale;                    /* ... and is for a swap that has ended meanwhile */
	uint64_t guard_ns;                  /* the guard looks again then */
	struct handover *handover;          /* under way */
	uint64_t swap_retry_ns;             /* next try of an edge that could not be stored */
	struct weft_engine *engine;
};

/* ask.c: a question to an instance */
enum ask_kind { ASK_READY, ASK_LIVE };

/* What the guard of a swap remembers of an instance. */
#define GUARD_PAST 8
struct guard {
	struct weft_guard_count base, phase;      /* when it begins to count, and this phase did */
	struct weft_guard_count past[GUARD_PAST]; /* the last looks at it, */
	unsigned looks;                           /* and how many there were */
};

/* numbers.c: what an instance uses, and how long the parts of its life took */
enum span {
	SPAN_PREPARE,      /* its image */
	SPAN_START,        /* from then until its process runs */
	SPAN_FIRST_ANSWER, /* likewise, until its readiness probe is answered */
	SPAN_STOP,         /* from being asked to end until nothing is left of it */
	SPAN_COUNT,
};
struct usage {
	uint64_t at_ns; /* 0: never */
	uint64_t cpu_ns;
	struct weft_link_counters net;
	struct weft_guard_count quality; /* of TCP connections to it */
};
#define SPAN_BOUNDS 14
struct span_sum {
	uint64_t count, sum_us, below[SPAN_BOUNDS]; /* in the bucket of each bound */
};

struct peer;

/* How an attached instance, which weft did not start, is found; or one of another node. */
struct borrowed {
	char *device, *netns; /* one of them; remote: none */
	struct peer *peer;    /* remote: the node it runs on */
	char *of;             /* remote: its service, which need not be known here; NULL: none */
	bool mac_given;
	uint32_t weight;
};

struct instance {
	struct instance *next;
	struct weft_engine *engine;
	struct service *service;   /* NULL only when attached: a plain client */
	struct borrowed *borrowed; /* attached or remote; NULL: weft's own */
	char device[IFNAMSIZ];     /* its host side, */
	uint32_t ifindex;          /* 0: not in the data plane */
	uint64_t gone_ns;          /* it has vanished: time for its runtime to say why */
	uint32_t id;               /* in the data plane */
	char *name;
	enum weft_virt virt;
	enum weft_arch arch;
	enum weft_net_kind net;
	struct in_addr ns_addr, inst_addr;
	struct in6_addr ns_addr6, inst_addr6; /* ::, it has none */
	uint8_t mac[6];
	enum phase phase;
	char *code, *image; /* image: what prepare() answered */
	uint64_t created_ms, started_ms, ready_ms;
	struct weft_err error;
	uint32_t weight[WEFT_DP_POLICIES];

	/* policy.c */
	bool preferred[WEFT_DP_POLICIES];
	double rtt_us, load; /* smoothed; negative: not known yet */
	uint64_t cpu_ns, cpu_at_ns;
	struct weft_probe *rtt_probe;

	bool busy;         /* a runtime call is under way: its callback will come */
	bool unwanted;     /* to be removed as soon as it is not busy */
	bool released;     /* FAILED, and nothing of it is left but the record */
	bool stopped;      /* STOPPING: the runtime's stop has answered */
	bool adopted;      /* taken over from an earlier daemon, which is still to be confirmed */
	bool unstored;     /* its record is older than it is ... */
	uint64_t store_ns; /* ... until this next try */
	bool oom;          /* the kernel has killed something of it for memory */
	uint64_t retry_ns; /* next try of a stop, delete or adopt that failed */
	uint64_t drain_until_ns; /* DRAINING */
	int tap_fd;
	struct ask *asked;        /* readiness while warming, guard while swapping */
	struct weft_probe *probe; /* the same, of one that was attached */
	uint64_t guard_ns;        /* when the next guard probe is due */
	unsigned guard_failures;  /* of them in a row */
	struct guard guard;
	struct ask *live;       /* liveness, */
	uint64_t live_ns;       /* when it is due; 0: not yet told */
	unsigned live_failures; /* in a row */

	uint64_t span_ns[SPAN_COUNT]; /* when it began; 0: it has not, or ended */
	uint64_t span_us[SPAN_COUNT]; /* how long it took; 0: not known */
	struct usage usage, earlier;  /* the last two looks at it */
	uint64_t usage_ms;            /* when the last was */

	bool paused;                /* stands still, and gets no new flows */
	uint64_t fetched, to_fetch; /* PREPARING: bytes of its image; 0: not told */

	uint64_t version;     /* version.c */
	uint32_t weight_said; /* at that version */
};

struct runtime_slot {
	const struct weft_runtime_ops *ops;
	struct weft_runtime *rt;
	struct weft_runtime_cap caps[WEFT_RUNTIME_MAX_CAPS];
	unsigned n_caps;
	bool probed;
	uint64_t probe_ns; /* when to look again */
	struct weft_engine *engine;
};
#define N_RUNTIMES 3

struct weft_engine {
	sd_event *event;
	sd_event_source *tick;
	struct weft_engine_config config; /* strings owned */
	struct in_addr gateway;
	struct in6_addr gateway6;
	struct weft_err no_ipv6; /* why it is not served */
	struct weft_store *store;
	uint64_t store_ns; /* when it is looked at next */
	struct weft_events *events;
	struct weft_dp *dp;
	struct runtime_slot runtimes[N_RUNTIMES];
	struct service *services;
	struct instance *instances;
	struct weft_engine_call *calls; /* under way */
	struct ask_call *asks;          /* likewise, of probes */
	struct image *images;
	struct image_job *image_jobs; /* under way */
	uint64_t images_ns;           /* when images are looked through next */
	bool images_purge;            /* removing them has begun */
	struct peer *peers;
	uint64_t tunnel_ns; /* when the uplink and the ways to peers are looked at next */
	struct weft_swap *swaps[MAX_SWAPS_KEPT]; /* ended, newest last */
	unsigned n_swaps;
	uint64_t started_ns;
	uint32_t last_instance_id;
	uint32_t last_ns_host, last_inst_host;
	uint32_t flows[WEFT_DP_MAX_INSTANCES];         /* as they were counted last, */
	uint32_t flows_reverse[WEFT_DP_MAX_INSTANCES]; /* and their answers' entries, */
	int64_t flows_ms;                              /* then; 0: never yet */
	uint64_t sweep_ns;  /* when they are counted next, at the latest */
	uint64_t policy_ns; /* when measurements are looked at next */
	struct weft_link_watch *links;
	struct weft_link_reader *reader;
	uint64_t numbers_ns; /* when instances are looked at next */
	struct span_sum spans[WEFT_VIRT_COUNT][SPAN_COUNT];
	struct weft_dp_waiting *waiting; /* NULL: none waits */
	sd_event_source *waiting_io;
	unsigned n_waiting;
	sd_event_source *links_io;
	bool restoring; /* the data plane does not know every instance yet */
	bool weights_held;
	struct trace *traces;
	struct weft_err no_trace, no_shortcut; /* why there can be none */
	struct weft_fault_script *faults;      /* NULL: none */
	bool purging;
	void (*purged)(void *userdata);
	void *purged_userdata;
};

/* changes.c: what differs between two descriptors of one service, appended to list: {"key", "from",
 * "to"}, of which a missing one is not there. */
void descriptor_changes(const json_t *before, const json_t *after, json_t *list);

/* view_flows.c: go over the whole table, which also takes out what has expired. */
void engine_count_flows(struct weft_engine *e);

/* node.c: addresses, capacity, runtimes */
struct runtime_slot *engine_runtime(struct weft_engine *e, enum weft_virt virt);
int engine_runtimes_open(struct weft_engine *e, struct weft_err *err);
void engine_runtimes_tick(struct weft_engine *e, uint64_t now);
/* One that nobody has, nor s, which need not be in the engine's list yet. */
int engine_alloc_vip(
	struct weft_engine *e, const struct service *s, struct in_addr *ret, struct weft_err *err);
int engine_alloc_instance(struct weft_engine *e, struct instance *inst, struct weft_err *err);
int engine_alloc_attached(struct weft_engine *e, struct instance *inst, struct weft_err *err);
struct in_addr engine_host_addr(const struct weft_engine *e); /* the host's instance address */
uint32_t engine_next_id(struct weft_engine *e);               /* of an instance; 0: none is left */
bool engine_ns_addr_taken(struct weft_engine *e, struct in_addr a, const char **by);
void engine_mac(struct instance *inst); /* from its address */
bool engine_vip_taken(struct weft_engine *e, struct in_addr vip, const char **by);
int engine_place(struct weft_engine *e, const struct service *s,
	const struct weft_sla_variant *variant, enum weft_arch *ret_arch, struct weft_err *err);

/* service.c */
struct service *service_find(struct weft_engine *e, const char *name);
const struct weft_sla_variant *service_variant(const struct service *s, enum weft_virt virt);
int service_restore(void *engine, const char *name, const json_t *doc);
int service_store(struct service *s, struct weft_err *err);
void service_free(struct service *s);
void service_reconcile(struct service *s, uint64_t now);
/* Have the data plane know the service and its addresses; then, where there is an uplink, the ports
 * that spec publishes. */
int service_enter(struct service *s, struct weft_err *err);
int service_publish(struct service *s, const struct weft_sla_service *spec, struct weft_err *err);
json_t *service_ports(const struct service *s); /* ["80:8080/tcp"] */
void service_instance_failed(struct service *s, struct instance *inst);

/* vips.c: a service's addresses */
const char *policy_name(int policy);
bool vips_certain(const struct weft_sla_service *spec); /* it wants certain ones */
int vips_check(struct weft_engine *e, const struct weft_sla_service *spec,
	const struct service *now, struct weft_err *err);
int vips_choose(struct service *s, const struct weft_sla_service *spec, struct weft_err *err);
int vips_complete(struct service *s, struct weft_err *err); /* after a start */
json_t *vips_to_json(const struct service *s);
int vips_from_json(struct service *s, const char *rr, const json_t *doc);

/* ipv6.c */
void ipv6_open(struct weft_engine *e); /* fills e->no_ipv6 or e->gateway6 */
bool ipv6_taken(struct weft_engine *e, const struct in6_addr *a, const char **by);
struct in6_addr ipv6_instance_address(struct in_addr inst_addr);
int ipv6_check_attached(
	struct weft_engine *e, const char *text, struct in6_addr *ret, struct weft_err *err);
void ipv6_alloc_instance(struct weft_engine *e, struct instance *inst);
void ipv6_alloc_guest(struct instance *inst); /* once its image is known */
const struct in6_addr *service_vip6(const struct service *s, int policy); /* as it is served */
bool service_called_by(const struct service *s, int policy);
int vips6_check(struct weft_engine *e, const struct weft_sla_service *spec,
	const struct service *now, struct weft_err *err);
int vips6_choose(struct service *s, const struct weft_sla_service *spec, struct weft_err *err);
json_t *view_address6(const struct in6_addr *a); /* null for none */
json_t *vips6_to_json(const struct service *s, bool served);
int vips6_from_json(struct service *s, const json_t *doc);
int instance_ipv6_from_json(struct instance *inst, const json_t *doc);
void instance_ipv6_to_json(const struct instance *inst, json_t *doc);

/* version.c: each resource's version is the number of the event that told its last change */
void versions_open(struct weft_engine *e); /* once everything is restored */

/* policy.c: the policies that go by measurements */
void policy_tick(struct weft_engine *e, uint64_t now);

/* weights.c */
/* Work out every instance's weight and hand the vector to the data plane. */
void service_weigh(struct service *s);
/* The same within some ticks: of many that come one by one, once for all. */
void service_weigh_soon(struct service *s);
void weights_tick(struct weft_engine *e, uint64_t now);
/* From hold to release service_weigh() is put off, and done once. Who leaves must not be hidden by
 * that: it has to be out of the weights before it is out of the data plane. */
void weights_hold(struct weft_engine *e);
void weights_release(struct weft_engine *e);
/* After a start: what the event log said last, so that only changes are said. */
void weights_recall(struct weft_engine *e);

/* hand.c: weights set by hand */
uint32_t hand_weight(const struct instance *inst);
/* Give a new instance one: the caller stores the service. */
void hand_adopt(struct service *s, const struct instance *inst);
/* The same, for one that a swap brings for from, which may be NULL. */
void hand_inherit(struct service *s, const struct instance *inst, const char *from);
/* The same, for one that comes with a weight of its own. */
void hand_add(struct service *s, const struct instance *inst, uint32_t weight);
void hand_drop(struct service *s, const struct instance *inst);
void hand_prune(struct service *s); /* after a start: of those that are gone */
void hand_forget(struct service *s);
json_t *hand_to_json(const struct service *s); /* NULL: none */
int hand_from_json(struct service *s, const json_t *doc);

/* shortcut.c: between sockets of this node */
/* Have the data plane do as the service wants. What it cannot do is no error, but shown. */
void service_shortcut(struct service *s);
/* Tell the data plane whose sockets are the instance's, if they are this kernel's. */
void instance_shortcut(struct instance *inst);
json_t *view_shortcut(const struct service *s);

/* instance.c: life of an instance */
const char *phase_name(enum phase p);
const char *instance_kind(const struct instance *inst); /* its virtualization, or "attached" */
char *instance_mac(const struct instance *inst, char buf[18]);
int phase_parse(const char *s);
struct instance *instance_find(struct weft_engine *e, const char *name);
/* Would the service name one of its own instances so, now, later or in the past? */
bool instance_name_is_of(const struct service *s, const char *name);
/* Make a record for one more instance of a variant, with addresses; not stored, not started. */
int instance_new(struct service *s, const struct weft_sla_variant *v, struct instance **ret,
	struct weft_err *err);
void instance_free(struct instance *inst); /* also takes it out of the engine's list */
int instance_store(struct instance *inst, struct weft_err *err);
int instance_restore(void *engine, const char *name, const json_t *doc);
void instance_start(struct instance *inst);  /* from PREPARING on */
void instance_resume(struct instance *inst); /* after a restart, from whatever phase it was in */
void instance_fail(struct instance *inst, const struct weft_err *why);
void instance_destroy(struct instance *inst);
void instance_retire(struct instance *inst, unsigned drain_ms);
void instance_tick(struct instance *inst, uint64_t now);
void instance_device_gone(struct instance *inst);
void instance_event(
	void *engine, const char *id, enum weft_runtime_event event, const char *detail);
void instance_set_phase(struct instance *inst, enum phase phase);
void instance_say(const struct instance *inst, const char *action); /* in the event log */
bool instance_is_new(const struct instance *inst); /* of its service's running swap */

/* instance_spec.c: what its runtime is told */
struct instance_spec {
	struct weft_runtime_spec spec;
	char *dir, *log, *netns; /* owned */
	struct weft_runtime_mount *mounts;
};
int instance_spec_fill(struct instance *inst, struct instance_spec *ret, struct weft_err *err);
void instance_spec_done(struct instance_spec *s);

/* attach.c: instances that weft did not start */
int attached_restore(void *engine, const char *name, const json_t *doc);
void attached_resume(struct instance *inst);
void attached_tick(struct instance *inst, uint64_t now);
void attached_link(struct instance *inst, uint32_t ifindex, bool gone);
void attached_lost(struct instance *inst, const struct weft_err *why);
int attached_destroy(struct instance *inst, struct weft_err *err); /* frees it, unless it fails */
void borrowed_free(struct borrowed *b);
/* What the records of attached and of remote instances have in common; NULL: out of memory. */
json_t *borrowed_pack(const struct instance *inst, uint32_t weight);
int borrowed_unpack(struct instance *inst, const json_t *doc);          /* -EBADMSG */
struct instance *attached_new(struct weft_engine *e, const char *name); /* in no list yet */
void attached_enlist(struct instance *inst);
/* Can an interface behind weft have it? Not what belongs to services and instances. */
bool weft_ns_addr_valid(struct in_addr a);

/* ask.c: asks an instance again and again until it is well or the time is up; done is called once,
 * from the loop, and may free it. */
struct ask;
typedef void (*ask_done_t)(struct instance *inst, int r, const struct weft_err *err);
int ask_start(struct instance *inst, enum ask_kind kind, unsigned attempt_ms, unsigned timeout_ms,
	ask_done_t done, struct ask **ret);
void ask_free(struct ask *a); /* NULL is fine */
const struct weft_sla_probe *ask_probe(const struct instance *inst, enum ask_kind kind);
void asks_free(struct weft_engine *e); /* once no runtime answers any more */

/* live.c */
void live_tick(struct instance *inst, uint64_t now);
void live_stop(struct instance *inst);

/* instance_ops.c */
void instance_set_paused(struct instance *inst, bool paused);
void engine_calls_free(struct weft_engine *e); /* once no runtime answers any more */
struct weft_engine_call {
	struct weft_engine_call *next;
	struct weft_engine *engine;
	enum weft_engine_op_kind kind;
	enum weft_virt virt; /* of an instance that it is about */
	char *instance;
	weft_engine_done_t done; /* NULL: forgotten */
	void *userdata;
};
/* Frees it, and takes doc over. */
void engine_call_finish(
	struct weft_engine_call *call, int r, const struct weft_err *err, json_t *doc);

/* log_file.c: logs of instances that are gone are kept as long as images. */
void engine_logs_collect(struct weft_engine *e);

/* images.c */
int image_restore(void *engine, const char *name, const json_t *doc);
/* That is what code means now. */
void image_note(struct weft_engine *e, const char *code, const char *ref);
void images_tick(struct weft_engine *e, uint64_t now);
/* Once no service and no instance is left: begin to remove them, and say whether that has ended. */
bool images_purged(struct weft_engine *e);
int image_op(struct weft_engine_call *call, const struct weft_engine_op *op, struct weft_err *err);
void image_jobs_free(struct weft_engine *e); /* once no runtime answers any more */
void images_free(struct weft_engine *e);

void instance_progress(void *engine, const char *image, uint64_t bytes, uint64_t total);
/* What it is about, or what is wrong with it, in buf or for as long as the instance. */
const char *instance_detail(const struct instance *inst, char *buf, size_t size);

/* log_file.c: at most max bytes of a log's end, what was rotated last included; where that is, is
 * in *ret_end. */
struct log_place {
	uint64_t rotated; /* when, as the rotated file says; 0: never */
	uint64_t offset;  /* in what was written since */
};
ssize_t engine_log_tail(const char *path, char *buf, size_t max, struct log_place *ret_end);
/* At most max bytes from a place on, which moves behind them. 0: there are no more (yet). What was
 * rotated away more than once since is lost. */
ssize_t engine_log_after(const char *path, struct log_place *place, char *buf, size_t max);

/* network.c */
int instance_network_add(struct instance *inst, struct weft_err *err);
/* After a restart: its devices are there; tell the data plane again. */
int instance_network_again(struct instance *inst, struct weft_err *err);
void instance_network_del(struct instance *inst);
char *instance_netns(const struct instance *inst);
char *instance_dir(const struct instance *inst);
char *instance_log(const struct instance *inst);
int engine_host_device(struct weft_engine *e, struct weft_err *err);

/* swapctl.c */
int swap_restore(void *engine, const char *name, const json_t *doc);
void swap_resume(struct service *s);
void swap_tick(struct service *s, uint64_t now);
void swap_say(const struct service *s); /* its state, in the event log */
int swap_store(struct service *s, struct weft_err *err);
uint64_t swap_in_state_ms(const struct service *s, uint64_t now);
void swap_turn_back(struct service *s, const struct weft_err *why); /* the first reason counts */
void swap_keep(struct weft_engine *e, struct weft_swap *swap);

/* guard.c */
void guard_count(const struct instance *inst, struct weft_guard_count *ret);
void guard_begin(struct service *s); /* of its swap, or this daemon's part of it */
void guard_phase_ends(struct service *s, struct weft_swap_phase *phase);
/* Of the phase that the service's swap is in. */
void guard_phase_so_far(
	const struct service *s, struct weft_guard_effect *old, struct weft_guard_effect *coming);
void guard_tick(struct service *s, uint64_t now);

/* handover.c */
void handover_tick(struct service *s, uint64_t now);
bool handover_done(const struct service *s); /* the flip may come */
bool handover_busy(const struct service *s);
void handover_flipped(struct service *s);
void handover_turned_back(struct service *s);
bool handover_fenced(const struct service *s); /* perhaps: until it is undone */
void handover_resume(struct service *s);       /* after a start: undo what is turned back */
void handover_free(struct service *s);

/* waiting.c */
void waiting_open(struct weft_engine *e);
void waiting_tick(struct weft_engine *e, uint64_t now);
void waiting_close(struct weft_engine *e);
void waiting_for(struct service *s); /* whether its callers wait while it has no backend */
json_t *view_waiting(const struct weft_engine *e);

/* numbers.c */
void numbers_tick(struct weft_engine *e, uint64_t now);
/* What its runtime says it uses; all 0 where it has none to ask, or with the runtime's error. */
int instance_stats(const struct instance *inst, struct weft_runtime_stats *ret);
void instance_span_begin(struct instance *inst, enum span span);
void instance_span_end(struct instance *inst, enum span span); /* one that has not begun: nothing */
json_t *view_spans(const struct instance *inst);
/* Adds what it uses to doc. */
void view_usage(const struct instance *inst, json_t *doc);
void instance_spans_from_json(struct instance *inst, const json_t *doc);

/* trace.c: end those that run */
void traces_free(struct weft_engine *e);

/* view.c, view_dp.c */
json_t *view_address(struct in_addr a);
/* The address at which its ports are published, null: they are not. */
json_t *view_published_at(const struct service *s);
json_t *view_published_at6(const struct service *s);
json_t *view_counters(const struct weft_dp_counters *c);
int view_items(json_t *list, json_t **ret); /* takes list over */
json_t *view_service(const struct service *s);
json_t *view_instance(const struct instance *inst);
json_t *view_swap(const struct service *s, const struct weft_swap *swap);
int view_no_instance(const char *name, struct weft_err *err); /* -ENOENT */
json_t *view_peer(const struct peer *p);                      /* peer.c */
json_t *view_version(json_t *doc, uint64_t version);          /* doc with it */

/* engine.c: do the next tick soon */
void engine_kick(struct weft_engine *e);
/* A step is about to be taken: the process dies here if WEFT_FAULTS says so (runtimes/fake/fake.h).
 */
void engine_step(struct weft_engine *e, const char *what, const char *step);

#endif
