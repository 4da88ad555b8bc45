/* SPDX-License-Identifier: Apache-2.0 */
/* The data plane as typed maps: what the TC program on every instance's device reads, and what it
 * counts. Programs, links and maps are pinned, so traffic flows on while no daemon runs; open()
 * takes over what an earlier daemon left and keeps flows and tables.
 *
 * Ids are indices chosen by the caller: services 1..WEFT_DP_MAX_SERVICES-1, instances
 * 1..WEFT_DP_MAX_INSTANCES-1 (0 is never valid). All addresses are in network byte order. Calls are
 * synchronous and quick; setting what is already so changes nothing, so a restarted daemon may
 * simply set its whole desired state again. */
#ifndef WEFT_DATAPLANE_H
#define WEFT_DATAPLANE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctrl/base/err.h"

#define WEFT_DP_MAX_SERVICES  16384
#define WEFT_DP_MAX_INSTANCES 16384 /* and every weight vector's length: too long for the stack */
#define WEFT_DP_MAX_WEIGHT    1000

struct weft_dp;

struct weft_dp_config {
	const char *bpffs_dir; /* pins live here, e.g. /sys/fs/bpf/weft: made if missing. Must be on
				  a bpffs: open() mounts one at /sys/fs/bpf if nothing is there */
	uint32_t max_flows;    /* flow table entries, 0: the default; ignored when taking over */
	uint32_t mtu;   /* of the overlay, 576..65535: TCP's MSS is lowered to it, a larger packet
			   that must not be fragmented is answered by ICMP; 0: no limit */
	bool clsact;    /* attach by clsact even where the kernel has tcx */
	bool no_kfuncs; /* do without functions of the kernel even where it has them */
	bool no_decap_flags; /* do without what 6.3 brought for tunnels, likewise */
	const char *without; /* features (feature.h) that the kernel is to count as one without:
				"tcx,XDP links"; NULL: as it is */
	const char *cgroup;  /* of cgroup v2: whose sockets may take the shortcut (sockmap.h); NULL:
				the whole hierarchy, wherever it is mounted */
};

/* Load and pin, or take over. err names the missing kernel feature or privilege. */
int weft_dp_open(const struct weft_dp_config *config, struct weft_dp **ret, struct weft_err *err);
void weft_dp_free(struct weft_dp *dp); /* pins and attachments stay */
/* Detach and unpin everything under bpffs_dir, also without an open data plane. */
int weft_dp_destroy(const char *bpffs_dir, struct weft_err *err);

enum weft_dp_device {
	WEFT_DP_DEV_PEER,   /* veth: deliver with bpf_redirect_peer into the peer's namespace */
	WEFT_DP_DEV_DIRECT, /* tap, or a veth whose peer is in the same namespace: bpf_redirect */
	WEFT_DP_DEV_HOST,   /* the host's own veth: direct, and the one device whose packets to
			       instances may come from any source, because the host forwards */
	WEFT_DP_DEV_REMOTE, /* none: the instance is on another node, its peer */
};

/* An instance has addresses of one family or of both: the pair of the other family is 0. */
struct weft_dp_instance {
	uint32_t id;
	uint32_t service;         /* service id it is a backend of, 0: none (a plain client) */
	struct in_addr ns_addr;   /* the address on its interface */
	struct in_addr inst_addr; /* its instance address in the semantic range 10.30.0.0/16 */
	struct in6_addr ns_addr6;
	struct in6_addr inst_addr6; /* in fdff::/16 */
	uint8_t mac[6];             /* of its interface: destination of what is delivered */
	uint32_t ifindex;           /* host side, in the caller's namespace */
	enum weft_dp_device device;
	bool borrowed; /* the device carries other traffic too: what is not for the overlay passes
			  by it, and removing the instance leaves the device as it was */
	bool gateway6; /* borrowed, with an ns_addr6: nobody but weft is its gateway fe80::1 */
	uint32_t peer; /* REMOTE: the peer it is behind, and no ifindex and mac; else 0 */
};

/* -EBUSY: the device is an instance of another data plane, which its name in the error says. */
int weft_dp_device_check(
	struct weft_dp *dp, uint32_t ifindex, const char *device, struct weft_err *err);

/* Add or change an instance and attach the TC program to its host side (tcx where there is one,
 * clsact otherwise). A new id never inherits flows of its predecessor. */
int weft_dp_instance_set(
	struct weft_dp *dp, const struct weft_dp_instance *inst, struct weft_err *err);
/* Was it set and not removed since, by whatever daemon? */
bool weft_dp_instance_known(const struct weft_dp *dp, uint32_t id);
/* Detach, forget, purge its flows. The device may be gone already. Unknown: 0, but the program that
 * somebody who was killed had just attached for it is detached. */
int weft_dp_instance_remove(struct weft_dp *dp, uint32_t id);

struct weft_dp_weight {
	uint32_t instance;
	uint32_t weight; /* 0..WEFT_DP_MAX_WEIGHT; 0 gets no new flows, existing ones go on */
};

/* How new flows get their backend. Each policy has addresses of its own that a service is called
 * by, and weights of its own, which is all that tells them apart here: who gives only the nearest
 * backend a weight makes CLOSEST of it. */
enum weft_dp_policy {
	WEFT_DP_RR,
	WEFT_DP_WRR,
	WEFT_DP_CLOSEST,
	WEFT_DP_LEAST_LOADED,
	WEFT_DP_POLICIES,
};

struct weft_dp_service {
	uint32_t id;
	struct in_addr vip[WEFT_DP_POLICIES];   /* in 10.30.0.0/16, 0: not called by that policy */
	struct in6_addr vip6[WEFT_DP_POLICIES]; /* in fdff::/16, likewise; one at least of all */
};

/* Add or change. Flows go on, unless an address is withdrawn that the service had: then all of its
 * flows are forgotten. A policy that has no address (any more) loses its weights. */
int weft_dp_service_set(
	struct weft_dp *dp, const struct weft_dp_service *service, struct weft_err *err);
/* Replace the whole weight vector of a policy that has an address: one atomic flip; existing flows
 * keep their backend. All weights 0 or n == 0: new flows are dropped with a counted reason.
 * -ENOSPC when there is no room for the sequence. */
int weft_dp_service_weights(struct weft_dp *dp, uint32_t id, enum weft_dp_policy policy,
	const struct weft_dp_weight *w, unsigned n, struct weft_err *err);
int weft_dp_service_remove(struct weft_dp *dp, uint32_t id);

/* A service's port at the node's own address, for who is outside of the overlay. */
#define WEFT_DP_MAX_PORTS 7 /* of a service */
struct weft_dp_port {
	uint16_t host, port; /* the node's, and the backends' */
	uint8_t proto;       /* IPPROTO_TCP or IPPROTO_UDP */
};
/* Replace all of a service's published ports; they work once there is an uplink (peer.h). Those
 * that stay keep their place in the list, or their connections are reset. -EADDRINUSE: another
 * service's; -E2BIG. */
int weft_dp_service_publish(struct weft_dp *dp, uint32_t id, const struct weft_dp_port *ports,
	unsigned n, struct weft_err *err);
/* Where: the uplink's first IPv4 address, and its first IPv6 address that is not of the link alone;
 * 0: nowhere. */
struct in_addr weft_dp_published_at(struct weft_dp *dp);
struct in6_addr weft_dp_published_at6(struct weft_dp *dp);

/* Live flows per instance, by a sweep of the flow table: TCP flows that have not ended, UDP flows
 * younger than their idle time. ret has WEFT_DP_MAX_INSTANCES elements, indexed by instance id;
 * ret_reverse likewise, of their answers' entries, or is NULL.
 * The sweep also removes what has expired: call it every few minutes at least. */
int weft_dp_flows_count(struct weft_dp *dp, uint32_t *ret, uint32_t *ret_reverse);
/* Forget all flows of one backend (end of a drain): its clients' next packets are new flows, and a
 * TCP segment that is not a SYN is dropped or reset. */
int weft_dp_flows_purge(struct weft_dp *dp, uint32_t instance);

struct weft_dp_counters {
	uint64_t packets, bytes;       /* towards it */
	uint64_t flows;                /* new flows */
	uint64_t rx_packets, rx_bytes; /* back from it */
};
/* How well TCP connections to an instance went, since it was set: bpf/weft_abi.h says what counts.
 * Of published ports nothing does. */
struct weft_quality;
int weft_dp_instance_quality(struct weft_dp *dp, uint32_t id, struct weft_quality *ret);

int weft_dp_service_counters(struct weft_dp *dp, uint32_t id, struct weft_dp_counters *ret);
int weft_dp_instance_counters(struct weft_dp *dp, uint32_t id, struct weft_dp_counters *ret);

/* Drop reasons 0..weft_dp_drop_count()-1 with a name ("no_backend") and a sentence each. */
unsigned weft_dp_drop_count(void);
const char *weft_dp_drop_name(unsigned reason);
const char *weft_dp_drop_text(unsigned reason);
int weft_dp_drops(struct weft_dp *dp, uint64_t *ret); /* weft_dp_drop_count() elements */

/* What happened to flows, since the data plane was made. */
struct weft_dp_events {
	uint64_t displaced;    /* live entries that gave way to new ones: the table is too small */
	uint64_t resets;       /* RSTs sent for segments of lost flows */
	uint64_t icmp_sent;    /* ICMP errors of the overlay's own: unreachable, too big */
	uint64_t icmp_limited; /* withheld, because their receiver had enough of them lately */
	uint64_t races;        /* the same flow opened by two processors at once, and settled */
};
int weft_dp_events(struct weft_dp *dp, struct weft_dp_events *ret);

/* One entry of the flow table, as the table stores it (hashed: no addresses). */
struct weft_dp_flow {
	uint64_t place; /* in the table, where it stays as long as it lives; the order of them */
	uint32_t instance, service;
	bool reverse;
	uint32_t idle_s;
	const char *state; /* "syn", "established", "closing", "udp" ... */
};
/* Calls cb for each live entry of the table's n places from first on, until it returns non-zero,
 * and returns that. Behind the table's end there is nothing. */
int weft_dp_flows_each(struct weft_dp *dp, uint64_t first, uint64_t n,
	int (*cb)(void *userdata, const struct weft_dp_flow *f), void *userdata);

/* How packets are hooked: "tcx" or "clsact"; and the flow table's size. */
const char *weft_dp_hook(struct weft_dp *dp);
uint32_t weft_dp_flow_capacity(struct weft_dp *dp);

/* Smooth weighted round robin (pure): write the sequence of period sum/gcd into ret (room for max),
 * interleaved as evenly as the weights allow. Returns its length, 0 when all weights are 0,
 * -E2BIG above max. Elements are indices into w. */
int weft_dp_swrr(const struct weft_dp_weight *w, unsigned n, uint16_t *ret, unsigned max);

#endif
