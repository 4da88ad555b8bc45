/* SPDX-License-Identifier: Apache-2.0 */
/* The node's engine: services, their instances and swaps as wanted and as they are; it moves the
 * second towards the first. Everything is stored before it is acted on, so that a daemon killed at
 * any instruction is followed by one that goes on from there.
 *
 * Calls return at once; the work goes on on the loop. JSON answers are the resources of
 * ctrl/schema/api.md and are the caller's to free. */
#ifndef WEFT_ENGINE_H
#define WEFT_ENGINE_H

#include <jansson.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"
#include "ctrl/dataplane/peer.h"

struct weft_engine;

struct weft_engine_config {
	const char *state_dir;      /* exists; read-only: nothing is changed in it */
	const char *bpffs;          /* where the data plane is pinned */
	const char *node;           /* this node's name */
	const char *host_device;    /* "weft0"; instances' devices are named after it: weft0.7 */
	const char *containerd;     /* socket, NULL: the default one */
	const char *ctrd_namespace; /* "weft" */
	const char *cgroup;         /* parent control group, "weft" */
	const char *libexec;        /* directory of weft's helper programs */
	uint32_t image_keep_s;      /* images that nobody wants are removed after that */
	const char *registries;     /* credentials and CAs for registries; NULL: none */
	struct in_addr subnet;      /* namespace addresses of this node; .1 is the gateway */
	uint8_t subnet_len;
	struct in6_addr subnet6;  /* the same of IPv6, */
	uint8_t subnet6_len;      /* 0: no IPv6 */
	struct in_addr instances; /* instance addresses of this node; the last is the host's own */
	uint8_t instances_len;
	uint16_t mtu;
	const char
		*uplink; /* the device that leads to other nodes and to the outside; NULL: none */
	uint16_t tunnel_port; /* 0: the usual one; the next is used, too */
	enum weft_dp_xdp xdp;
};

/* Open store, data plane and runtimes, take over what an earlier daemon left, and go on. */
int weft_engine_open(sd_event *event, const struct weft_engine_config *config,
	struct weft_engine **ret, struct weft_err *err);
/* Let go of it: instances, links and the data plane stay as they are. */
void weft_engine_free(struct weft_engine *e);
WEFT_DEFINE_CLEANUP(struct weft_engine *, weft_engine_free);

/* The event loop ends with it when the state directory, which was read-only at the start, can be
 * written again: weftd starts itself anew. */
#define WEFT_ENGINE_ANEW 64

/* 0, or -EROFS: nothing that is to be kept can be changed now. */
int weft_engine_writable(const struct weft_engine *e, struct weft_err *err);

/* Remove every service, instance, link and pin; done is called once nothing is left. */
void weft_engine_purge(struct weft_engine *e, void (*done)(void *userdata), void *userdata);

/* Versions: the number of the event (events.h) that told a resource's last change. They grow over
 * the whole node, so that one number says up to where somebody has seen it all. */
#define WEFT_ENGINE_ANY_VERSION UINT64_MAX
enum weft_engine_kind {
	WEFT_ENGINE_SERVICE,
	WEFT_ENGINE_INSTANCE,
	WEFT_ENGINE_SWAP,
	WEFT_ENGINE_PEER,
	WEFT_ENGINE_KINDS,
};
const char *weft_engine_kind_name(enum weft_engine_kind kind); /* "service" */
int weft_engine_kind_parse(const char *name, size_t size);     /* or -EINVAL */
/* -EBUSY with err: the resource has changed after version; of a service, what is wanted of it has.
 * One that is not there has not, unless it was removed after version. */
int weft_engine_unchanged(struct weft_engine *e, enum weft_engine_kind kind, const char *name,
	uint64_t version, struct weft_err *err);
uint64_t weft_engine_version(struct weft_engine *e); /* of the last change of any */

/* What there is of some kinds (bits), and up to which version; then what has changed after a
 * version, which becomes that of the changes in *ret. Elements are as ctrl/schema/api.md has them.
 * 1, or 0: nothing has changed. -ESTALE with err: what has is not known any more. */
int weft_engine_watch_list(
	struct weft_engine *e, unsigned kinds, json_t **ret, uint64_t *ret_version);
int weft_engine_watch_check(struct weft_engine *e, uint64_t version, struct weft_err *err);
int weft_engine_watch_next(struct weft_engine *e, unsigned kinds, uint64_t *version, json_t **ret,
	struct weft_err *err);

/* Read a descriptor and want what it says. */
struct weft_engine_descriptor {
	const char *file; /* the name that errors carry */
	const char *text;
	size_t size;
	uint64_t version; /* its services have not changed after it, or: WEFT_ENGINE_ANY_VERSION */
	bool dry_run;     /* only say what would change */
};
int weft_engine_apply(struct weft_engine *e, const struct weft_engine_descriptor *d, json_t **ret,
	struct weft_err *err);

int weft_engine_services(struct weft_engine *e, json_t **ret, struct weft_err *err);
int weft_engine_service(
	struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err);
int weft_engine_service_delete(
	struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err);

int weft_engine_service_scale(struct weft_engine *e, const char *name, int64_t replicas,
	json_t **ret, struct weft_err *err);

/* Shares of new flows by hand: of the service's instances, named by name or number, those that are
 * not named get none. Until they are reset; -EBUSY while a swap has the weights. */
struct weft_engine_weight {
	const char *instance;
	uint32_t weight;
};
int weft_engine_weights_set(struct weft_engine *e, const char *service,
	const struct weft_engine_weight *w, size_t n, json_t **ret, struct weft_err *err);
int weft_engine_weights_reset(
	struct weft_engine *e, const char *service, json_t **ret, struct weft_err *err);

/* What can be set of a service that runs. It holds until a changed descriptor is applied. */
struct weft_engine_settings {
	int shortcut; /* 0, 1; -1: stays */
};
int weft_engine_service_set(struct weft_engine *e, const char *name,
	const struct weft_engine_settings *settings, json_t **ret, struct weft_err *err);

int weft_engine_instances(struct weft_engine *e, json_t **ret, struct weft_err *err);
int weft_engine_instance(
	struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err);
/* Bring an interface into the overlay that weft did not make; see `weft instance attach`. */
struct weft_attach_request {
	const char *name;
	const char *service;        /* NULL: a plain client */
	const char *device, *netns; /* one of them, the other NULL */
	const char *ns_addr;        /* IPv4 */
	const char *ns_addr6;       /* NULL: none */
	const char *mac;            /* NULL: find out */
	int64_t weight;             /* beside the others of the service; -1: 1 */
};
int weft_engine_attach(struct weft_engine *e, const struct weft_attach_request *request,
	json_t **ret, struct weft_err *err);
int weft_engine_detach(struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err);
/* Other nodes; see `weft peer`. Setting one that is there changes it. */
struct weft_peer_request {
	const char *name;
	const char *address; /* of the underlay, IPv4 or IPv6 */
	const char *format;  /* NULL: vxlan */
	int64_t port, mtu;   /* 0: the usual ones */
};
int weft_engine_peers(struct weft_engine *e, json_t **ret, struct weft_err *err);
int weft_engine_peer(struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err);
int weft_engine_peer_set(struct weft_engine *e, const struct weft_peer_request *request,
	json_t **ret, struct weft_err *err);
int weft_engine_peer_remove(
	struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err);
/* What peers have to know of this node, and the same of a peer: its instances, and no others. */
int weft_engine_export(struct weft_engine *e, json_t **ret, struct weft_err *err);
int weft_engine_peer_import(struct weft_engine *e, const char *name, const json_t *doc,
	json_t **ret, struct weft_err *err);

/* The last `lines` lines of its log, of at most 1 MiB; the caller frees *ret. */
int weft_engine_logs(
	struct weft_engine *e, const char *name, unsigned lines, char **ret, struct weft_err *err);

/* The same as {"id", "text", "at"}; after is "" or an "at" of before: what was written since, whole
 * lines of at most 256 KiB. Rotation loses none of them. */
int weft_engine_logs_after(struct weft_engine *e, const char *name, const char *after,
	unsigned lines, json_t **ret, struct weft_err *err);

struct weft_swap_request {
	const char *service;
	const char *to;       /* virtualization */
	const char *strategy; /* NULL: the service's */
	const char *steps;    /* canary: "5,25,50"; NULL: the service's */
	/* -1: the service's */
	int64_t duration_ms, drain_ms, hold_ms, at_a_time;
	int64_t guard_requests, guard_errors, guard_latency, guard_probes;
};
#define WEFT_SWAP_REQUEST_DEFAULT                  \
	((struct weft_swap_request){.service = "", \
		.to = "",                          \
		.duration_ms = -1,                 \
		.drain_ms = -1,                    \
		.hold_ms = -1,                     \
		.at_a_time = -1,                   \
		.guard_requests = -1,              \
		.guard_errors = -1,                \
		.guard_latency = -1,               \
		.guard_probes = -1})
int weft_engine_swap_start(struct weft_engine *e, const struct weft_swap_request *request,
	json_t **ret, struct weft_err *err);
int weft_engine_swap_abort(
	struct weft_engine *e, const char *id, json_t **ret, struct weft_err *err);
/* Stay in the present state, and at the present shares, until resumed. */
int weft_engine_swap_pause(
	struct weft_engine *e, const char *id, json_t **ret, struct weft_err *err);
int weft_engine_swap_resume(
	struct weft_engine *e, const char *id, json_t **ret, struct weft_err *err);
/* Abort one that runs; start one the other way, at once, if it is done. */
int weft_engine_swap_rollback(
	struct weft_engine *e, const char *id, json_t **ret, struct weft_err *err);
/* What takes its time: done is called once, from the loop, unless the call is forgotten or the
 * engine freed before. doc is the callee's, NULL on failure: the instance, or {"status", "output"}.
 */
enum weft_engine_op_kind {
	WEFT_ENGINE_PAUSE,
	WEFT_ENGINE_RESUME,
	WEFT_ENGINE_EXEC,
	/* About images: the document is as ctrl/schema/api.md has it. */
	WEFT_ENGINE_IMAGE_LIST,
	WEFT_ENGINE_IMAGE_PULL,
	WEFT_ENGINE_IMAGE_REMOVE,
	WEFT_ENGINE_IMAGE_PRUNE,
};
struct weft_engine_op {
	enum weft_engine_op_kind kind;
	char *instance;      /* or image: what pull and remove are about; NULL: none */
	char *virt;          /* pull: for which virtualization; NULL: container */
	char **argv;         /* exec: NULL-terminated, not empty */
	unsigned timeout_ms; /* exec */
};
struct weft_engine_call;
typedef void (*weft_engine_done_t)(void *userdata, int r, const struct weft_err *err, json_t *doc);
int weft_engine_do(struct weft_engine *e, const struct weft_engine_op *op, weft_engine_done_t done,
	void *userdata, struct weft_engine_call **ret, struct weft_err *err);
void weft_engine_call_forget(struct weft_engine_call *call); /* NULL is fine */
/* The same, and a command that it runs in an instance is killed. */
void weft_engine_call_end(struct weft_engine_call *call);

int weft_engine_swaps(struct weft_engine *e, json_t **ret, struct weft_err *err);
int weft_engine_swap(struct weft_engine *e, const char *id, json_t **ret, struct weft_err *err);

/* What happened after event number since. The log lives as long as the engine. */
struct weft_events;
struct weft_events *weft_engine_events(struct weft_engine *e);

/* Trace a service for a while. *ret_fd is a pipe that the caller reads and closes (non-blocking): a
 * JSON document per line, one at once and one after each interval (0: none in between) and at the
 * end; what is in "error" has ended it. Closed early, the trace ends early. At most one of a
 * service and a few in all (-EBUSY). */
int weft_engine_trace(struct weft_engine *e, const char *service, uint64_t duration_ms,
	uint64_t interval_ms, int *ret_fd, struct weft_err *err);

int weft_engine_status(struct weft_engine *e, json_t **ret, struct weft_err *err);
/* What the data plane holds and counts; service NULL: of all. */
int weft_engine_dp_lb(
	struct weft_engine *e, const char *service, json_t **ret, struct weft_err *err);
/* A page of the flow table: {"items", "total", "counted_ms", "capacity", "next"}. */
struct weft_flow_query {
	const char *service, *instance, *peer; /* of these alone; NULL: of all */
	uint64_t after;                        /* the page before this one's "next", or 0 */
	uint32_t limit;                        /* items in it, from 1 on */
};
int weft_engine_dp_flows(
	struct weft_engine *e, const struct weft_flow_query *q, json_t **ret, struct weft_err *err);
int weft_engine_dp_stats(
	struct weft_engine *e, const char *service, json_t **ret, struct weft_err *err);
int weft_engine_dp_drops(struct weft_engine *e, json_t **ret, struct weft_err *err);
/* How long the parts of instances' lives took since the daemon started: {"items": [{"phase",
 * "virtualization", "count", "sum_s", "buckets": [[highest s, how many up to there]]}]}. */
int weft_engine_spans(struct weft_engine *e, json_t **ret, struct weft_err *err);

#endif
