/* SPDX-License-Identifier: Apache-2.0 */
/* Other nodes: the device that leads to them, and who they are. Instances of theirs are set like
 * this node's, with WEFT_DP_DEV_REMOTE and the peer's id.
 *
 * What is set stays set, also in the pins: a daemon that comes later only has to say it again. When
 * the world does not allow it (a device that is gone, no route), it is kept all the same, packets
 * that would need it are dropped by a counted reason, the status says what is wrong, and
 * weft_dp_tunnel_refresh() tries again. */
#ifndef WEFT_DATAPLANE_PEER_H
#define WEFT_DATAPLANE_PEER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctrl/base/err.h"
#include "ctrl/dataplane/dataplane.h"

#define WEFT_DP_MAX_PEERS   1024
#define WEFT_DP_TUNNEL_PORT 50103 /* of raw datagrams; those in VXLAN format go to the next one */

/* Where datagrams of the tunnel are taken apart: all can be in TC, behind GRO. */
enum weft_dp_xdp {
	WEFT_DP_XDP_AUTO,   /* native where that costs nothing, else off */
	WEFT_DP_XDP_NATIVE, /* in the driver: small packets, and GRO for whatever format */
	WEFT_DP_XDP_GENERIC,
	WEFT_DP_XDP_OFF,
	WEFT_DP_XDP_MODES,
};
const char *weft_dp_xdp_name(enum weft_dp_xdp mode);
int weft_dp_xdp_parse(const char *name); /* -EINVAL */

enum weft_dp_format {
	WEFT_DP_RAW,   /* Oakestra's: the inner packet is the datagram */
	WEFT_DP_VXLAN, /* merged by the receiver's GRO: weft's own choice */
	WEFT_DP_FORMATS,
};
const char *weft_dp_format_name(enum weft_dp_format format);
int weft_dp_format_parse(const char *name); /* -EINVAL */

struct weft_dp_uplink {
	const char *device; /* Ethernet */
	uint16_t port;      /* 0: WEFT_DP_TUNNEL_PORT */
	enum weft_dp_xdp xdp;
	/* Though it is a veth or a tap, what comes from it has whole checksums: XDP may translate
	 * it. Of other devices that is known. */
	bool whole_sums;
};

/* One uplink: setting another takes the program off the first. On failure it is what is wanted all
 * the same, see above; -EINVAL alone changes nothing. */
int weft_dp_uplink_set(
	struct weft_dp *dp, const struct weft_dp_uplink *uplink, struct weft_err *err);
void weft_dp_uplink_remove(struct weft_dp *dp); /* none: nothing to do */

#define WEFT_DP_XDP_TEXT 192
struct weft_dp_uplink_status {
	char device[16];
	uint16_t port;
	uint32_t mtu;
	enum weft_dp_xdp xdp_wanted, xdp_used; /* used: NATIVE, GENERIC or OFF */
	char xdp[WEFT_DP_XDP_TEXT];            /* how, by what, or why not */
	char gro[160];                         /* who merges segments in VXLAN format */
	char problem[256];                     /* "": it works */
};
/* -ENOENT: no uplink is wanted. */
int weft_dp_uplink_status(struct weft_dp *dp, struct weft_dp_uplink_status *ret);

struct weft_dp_peer {
	uint32_t id;          /* 1..WEFT_DP_MAX_PEERS-1 */
	struct in6_addr addr; /* in the underlay; IPv4 as ::ffff:a.b.c.d */
	uint16_t port;        /* 0: the format's */
	uint32_t mtu;         /* of the underlay on the way there, 0: as its routes say */
	enum weft_dp_format format;
};

/* Add or change. Datagrams of either format are accepted from it; it is sent those of its own. */
int weft_dp_peer_set(struct weft_dp *dp, const struct weft_dp_peer *peer, struct weft_err *err);
/* With its instances, whose flows are reset. Unknown: 0. */
int weft_dp_peer_remove(struct weft_dp *dp, uint32_t id);

struct weft_dp_peer_status {
	struct in6_addr local;         /* sent from */
	uint32_t mtu;                  /* of the inner packet */
	uint64_t packets, bytes;       /* towards it, inner */
	uint64_t rx_packets, rx_bytes; /* from it */
	uint64_t drops;                /* of what came from it */
	char problem[160];             /* "": there is a way to it */
};
int weft_dp_peer_status(struct weft_dp *dp, uint32_t id, struct weft_dp_peer_status *ret);

/* See what has become of the device, its MTU and the routes to peers: to be called every few
 * seconds; each call looks after some of the peers. Above 0: the uplink's status has changed. */
int weft_dp_tunnel_refresh(struct weft_dp *dp);

#endif
