/* SPDX-License-Identifier: Apache-2.0 */
/* The deployment descriptor: Oakestra's SLA v2.0 (shared keys keep their meaning) extended by
 * `variants` of a microservice: the same service as a container, as a unikernel, ...
 *
 *   { "sla_version": "v2.0", "customerID": "Admin", "applications": [ {
 *       "application_name": "shop", "application_namespace": "default",
 *       "microservices": [ {
 *           "microservice_name": "web", "microservice_namespace": "default",
 *           "memory": 64, "vcpus": 1, "port": "8080:80/tcp",
 *           "addresses": { "rr_ip": "10.30.0.2" },
 *           "readiness": { "type": "http", "port": 80, "path": "/", "timeout_s": 30 },
 *           "liveness": { "type": "tcp", "port": 80, "interval_s": 5, "failures": 3 },
 *           "virtualization": "container", "code": "file:///images/nginx.tar",
 *           "variants": [
 *               { "virtualization": "unikernel", "code": "file:///images/web.tar.gz",
 *                 "arch": ["amd64"], "memory": 32, "network": "macvtap" } ],
 *           "swap": { "strategy": "linear", "duration_s": 5, "drain_s": 10,
 *                     "guard": { "latency_percent": 300 } } } ] } ] }
 *
 * The microservice's own virtualization/code is the first variant and the one deployed first. Other
 * variants inherit what they do not say:
 *   memory, vcpus, environment, arch   always; a list that is given replaces the inherited one
 *   code                               between container and gvisor, which run the same images
 *   cmd                                together with the image: from a variant with the same code.
 *                                      A container's argv means nothing to a kernel.
 *   cpu_limit, cpu_weight, pids_limit, log_limit   always
 *   user, capabilities, read_only, volumes         between container and gvisor
 *   readiness, liveness                always
 *   network, runtime, warm_start       never; they follow from the virtualization
 * A unikernel's `code` has one image per entry of `arch`, joined with ',' (Oakestra's rule).
 * `volumes` is Oakestra's list; weft mounts a `host_path` of the node at `mount_path`, writable
 * unless `read_only`, and refuses CSI volumes of containers rather than to run without them.
 * `cpu_limit` counts in CPUs (0.5), `log_limit` in MiB (default 64, 0: none): the log is rotated
 * there. A native process runs as weftd's user: it has no `user`, `capabilities` or `read_only`.
 * `constraints` of type "direct" with a `node` are kept, other types are not understood.
 *
 * `addresses` has a key for each policy that the service is to be called by, with an address of its
 * own, or "auto" for any: rr_ip (round robin, always there), wrr_ip (by `weight` of a variant),
 * closest_ip (the shortest round-trip time from this node), underutilized_ip (the least loaded),
 * each with _v6. closest_ip and underutilized_ip are Oakestra's names, wrr_ip is weft's.
 *
 * `shortcut` has TCP connections between containers and native processes of one node go from socket
 * to socket; ctrl/dataplane/sockmap.h says what that cannot keep.
 *
 * Unknown keys are permitted, as Oakestra's schema permits them, but a key one edit away from a
 * known one is refused as a typo. Oakestra's other known keys are checked for their type and have
 * no effect; both are named in weft_sla.ignored; `vcpu`, as its documentation writes, is taken for
 * `vcpus`. */
#ifndef WEFT_SCHED_SLA_H
#define WEFT_SCHED_SLA_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/weft_abi.h"
#include "ctrl/base/err.h"
#include "ctrl/base/virt.h"

enum weft_probe_type {
	WEFT_PROBE_NONE,
	WEFT_PROBE_TCP,  /* a connection is accepted */
	WEFT_PROBE_HTTP, /* GET is answered by a status below 400 */
	WEFT_PROBE_EXEC, /* a command in the instance ends with status 0: not in virtual machines */
	WEFT_PROBE_QMP,  /* the monitor of a virtual machine says that it runs: only of those */
};
/* unikernel: macvtap by default, or tap; all others: veth */
enum weft_net_kind { WEFT_NET_VETH, WEFT_NET_MACVTAP, WEFT_NET_TAP };
/* How new flows move to the new instances; ctrl/swap/swap.h says what each does when. */
enum weft_shift_strategy {
	WEFT_SHIFT_LINEAR,
	WEFT_SHIFT_EXPONENTIAL,
	WEFT_SHIFT_AT_ONCE,
	WEFT_SHIFT_CANARY,     /* by steps, each held for a while */
	WEFT_SHIFT_BLUE_GREEN, /* all at once, with the old ones standing by for a while */
};

/* Readiness, by default tcp on the first TCP port of `port`, else none; liveness, by default none:
 * so many failures in a row, and the instance is replaced by another. */
struct weft_sla_probe {
	enum weft_probe_type type;
	uint16_t port;      /* tcp, http; else 0 */
	char *path;         /* http: "/" */
	char **command;     /* exec */
	uint32_t timeout_s; /* readiness: until the first success, 30; liveness: of each, 2 */
	uint32_t interval_ms, failures; /* liveness: from one to the next, 5000; 3. Else 0 */
};

struct weft_sla_port { /* Oakestra's `port`: host[:container][/tcp|/udp] joined with ';' */
	uint16_t host, container;
	uint8_t proto; /* IPPROTO_TCP or IPPROTO_UDP */
};

struct weft_sla_volume {
	char *source, *target; /* absolute: host_path, mount_path */
	bool read_only;
};

struct weft_sla_variant {
	enum weft_virt virt;
	char *code;                   /* as written; may be NULL for native */
	bool arch[WEFT_ARCH_COUNT];   /* where it may run; default: the host's own only */
	char *image[WEFT_ARCH_COUNT]; /* code for that architecture; NULL without arch or code */
	uint32_t memory_mb, vcpus;    /* 0: not said */
	uint32_t weight;              /* of each of its instances, under wrr_ip; default 1 */
	enum weft_net_kind net;
	char **cmd; /* NULL-terminated or NULL */
	char **env; /* "K=V", NULL-terminated or NULL */
	/* 0: not said, no limit */
	uint32_t cpu_milli, cpu_weight, pids, log_max_mb;
	char *runtime;       /* NULL: the virtualization's own */
	char *user;          /* NULL: the image's */
	char **capabilities; /* "CAP_...", NULL: a default set, {NULL}: none */
	bool read_only;      /* its root file system */
	int warm_start;      /* from a checkpoint of its image; -1: as the image says */
	struct weft_sla_volume *volumes;
	size_t n_volumes;
	struct weft_sla_probe readiness, liveness; /* its own, or the microservice's */
};

/* How what a service keeps comes to the new instance of a swap, which then gets all flows at once.
 * redis: by replication. exec: by a command in the instances, which gets what to do and the other's
 * address: "sync" in the new one (begin to copy), "pause" in the old one (write no more), "promote"
 * in the new one (have all, take writes), "resume" in the old one (the swap is turned back). */
enum weft_handover_type { WEFT_HANDOVER_NONE, WEFT_HANDOVER_REDIS, WEFT_HANDOVER_EXEC };
struct weft_sla_handover {
	enum weft_handover_type type;
	uint16_t port;      /* redis: 6379 */
	char **command;     /* exec */
	uint32_t timeout_s; /* redis: of the copying; exec: of each step; default 60 */
};

/* When a new instance is too bad to go on with, compared with the old ones during the shift. */
struct weft_sla_guard {
	uint32_t min_requests;    /* that the new ones count as having got at least; default 50 */
	uint32_t error_percent;   /* more of them failed (and more than the old ones'); default 5 */
	uint32_t latency_percent; /* p90 above so many percent of the old ones'; 0 (default): off */
	uint32_t probe_failures;  /* in a row, a quarter of a second apart; default 3, 0: off */
};

#define WEFT_SLA_MAX_REPLICAS 64
#define WEFT_SLA_MAX_STEPS    16
struct weft_sla_swap {
	enum weft_shift_strategy strategy; /* default linear */
	uint32_t duration_ms;              /* linear, exponential: of the shift; default 5000 */
	uint32_t drain_ms;                 /* deadline of the drain; default 30000 */
	uint32_t hold_ms; /* canary: at each step; blue-green: at 100 %; default 10000 */
	uint32_t batch;   /* instances swapped at a time; 0 (default): all */
	uint8_t steps[WEFT_SLA_MAX_STEPS]; /* canary: percent, rising; default 5, 25, 50 */
	uint8_t n_steps;
	struct weft_sla_guard guard;
	bool handover; /* the service has one: at once then, and no way back after it */
};

/* A policy's address, of either family. */
struct weft_sla_vip {
	bool wanted, wanted6;  /* rr's IPv4 address always is */
	struct in_addr addr;   /* 0: any */
	struct in6_addr addr6; /* ::, any */
};

struct weft_sla_service {
	char *app, *app_ns, *name, *name_ns;
	char *job_name;   /* "<app>.<appns>.<service>.<servicens>" */
	char *short_name; /* "<app>.<service>" when both namespaces are "default", else job_name */
	struct weft_sla_vip vip[WEFT_POLICIES];
	char *node;        /* direct constraint, NULL: any node */
	uint32_t replicas; /* default 1, at most 64; 0: only instances that are attached serve */
	bool shortcut;     /* TCP between sockets of this node, past the packet path */
	struct weft_sla_port *ports;
	size_t n_ports;
	struct weft_sla_probe readiness, liveness;
	struct weft_sla_handover handover;
	struct weft_sla_swap swap;
	struct weft_sla_variant *variants; /* [0] first deployed; at most one per virtualization */
	size_t n_variants;
};

struct weft_sla {
	char *customer;
	struct weft_sla_service *services; /* of all applications, in order */
	size_t n_services;
	/* Paths of the keys that are in it and do nothing here: unknown ones, and those of
	 * Oakestra's that weft does not carry out and that ask for something. So many at most are
	 * named, of n_ignored. */
	char **ignored;
	size_t n_named, n_ignored;
};

/* Read a descriptor. Never crashes on hostile text (at most 1 MiB). Every error has its position:
 * "FILE:LINE:COL: applications[0].microservices[1].code: must be a string, is a number"; name is
 * the FILE to show, NULL: "descriptor". -EBADMSG: not JSON; -EINVAL: JSON, but not a descriptor;
 * -E2BIG: more than 1 MiB. */
int weft_sla_parse(const char *name, const char *text, size_t size, struct weft_sla **ret,
	struct weft_err *err);
void weft_sla_free(struct weft_sla *sla);

const char *weft_sla_vip_key(enum weft_policy policy); /* "rr_ip", "closest_ip" */
uint8_t weft_sla_vip6_third(enum weft_policy policy);  /* byte of such an address */
const char *weft_probe_type_name(enum weft_probe_type type);
const char *weft_net_kind_name(enum weft_net_kind k);             /* "veth", "macvtap", "tap" */
const char *weft_shift_strategy_name(enum weft_shift_strategy s); /* "linear", ... */
int weft_shift_strategy_parse(const char *s);                     /* the enum or -EINVAL */
extern const char weft_shift_strategies[]; /* all of them, as an error lists them */
/* "5,25,50" into steps and n_steps; -EINVAL: not rising percentages from 1 to 99. */
int weft_sla_steps_parse(const char *text, struct weft_sla_swap *ret);
extern const struct weft_sla_swap weft_sla_swap_default;

#endif
