/* SPDX-License-Identifier: Apache-2.0 */
/* Network namespaces and links by rtnetlink (libnl-3): everything an instance's network is made of.
 * "Host" is the namespace the daemon runs in. All calls are synchronous, undo what they did when
 * they fail, and treat removing what is not there as success. */
#ifndef WEFT_DATAPLANE_LINK_H
#define WEFT_DATAPLANE_LINK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctrl/base/err.h"

/* The host's own way into the overlay: a veth pair `name` (addr/32 and addr6/128, routes to the
 * overlay's ranges) and `name`p, whose ingress carries the TC program, so that host processes can
 * use service addresses. Kept when it already exists. ret_ifindex is `name`p's, ret_mac `name`'s.
 */
struct weft_link_host {
	const char *name;    /* "weft0" */
	struct in_addr addr; /* the gateway address of the node's subnet */
	struct in_addr subnet;
	uint8_t subnet_len; /* namespace addresses, routed through name */
	struct in_addr service;
	uint8_t service_len;   /* semantic range, routed through name */
	struct in6_addr addr6; /* ::, no IPv6; the rest likewise */
	struct in6_addr subnet6;
	uint8_t subnet6_len;
	struct in6_addr service6;
	uint8_t service6_len;
	uint16_t mtu;
};
int weft_link_host_add(const struct weft_link_host *host, uint32_t *ret_ifindex, uint8_t ret_mac[6],
	struct weft_err *err);
int weft_link_host_del(const char *name);

/* Do devices that are made here have IPv6? -EAFNOSUPPORT and why not, and what helps. */
int weft_link_ipv6(struct weft_err *err);

/* Does the host forward what instances send out of the overlay? -ENETUNREACH and what it does not.
 * Whether somebody masquerades it is not looked at: routes to the instances do as well. */
int weft_link_forwards(bool ipv6, struct weft_err *err);

/* A network namespace bound to path (a file that must not exist yet), with lo up. */
int weft_netns_add(const char *path, struct weft_err *err);
int weft_netns_del(const char *path);

/* fe80::1, at which the overlay answers for its gateway on every link. */
extern const struct in6_addr weft_link_gateway6;

struct weft_link_veth {
	const char *host_name; /* <= 15 chars, unique in the host's namespace */
	const char *netns;     /* path of the instance's namespace */
	const char *peer_name; /* name in it: "eth0" */
	uint8_t mac[6];        /* of the peer */
	struct in_addr addr;   /* given to the peer, unless 0 (a macvtap's guest owns it instead) */
	uint8_t prefix_len;
	struct in_addr gateway; /* default route of the namespace */
	struct in6_addr addr6;  /* likewise; the default route is through fe80::1 */
	uint8_t prefix6_len;    /* 128, or what is on the link besides */
	uint16_t mtu;
};
/* veth pair: host side up and kept out of the host's IP (no addresses, no IPv6 autoconfiguration),
 * peer configured and up. */
int weft_link_veth_add(
	const struct weft_link_veth *veth, uint32_t *ret_host_ifindex, struct weft_err *err);

/* A macvtap (bridge mode) `name` with mac on `lower` inside netns; ret_fd is its queue, opened
 * close-on-exec through a private device node (never by the name /dev/tapN, which is global). With
 * an already existing device of that name it is opened again: for a restarted daemon's guest. */
int weft_link_macvtap_add(const char *netns, const char *lower, const char *name,
	const uint8_t mac[6], uint16_t mtu, int *ret_fd, struct weft_err *err);

/* A tap `name` in the host's namespace, vnet_hdr on, up, removed when ret_fd and its copies are
 * closed. */
int weft_link_tap_add(
	const char *name, uint16_t mtu, int *ret_fd, uint32_t *ret_ifindex, struct weft_err *err);

/* Delete a host-side link by name; its peer goes with it. */
int weft_link_del(const char *name);
/* The device by which the host's routes lead to an address (IPv4 as ::ffff:a.b.c.d). */
int weft_link_route(const struct in6_addr *addr, uint32_t *ret_ifindex);
/* 0 and the index, or -ENODEV. */
int weft_link_ifindex(const char *name, uint32_t *ret_ifindex);

/* What is behind the host side of an instance, in whichever namespace. */
struct weft_link_way {
	uint32_t peer;    /* the veth's other end, by its index there; 0: none, it is a tap */
	uint32_t macvtap; /* on peer, in the same namespace; 0: none */
	bool peer_home;   /* it is in our own namespace */
};
int weft_link_way(uint32_t host_ifindex, struct weft_link_way *ret, struct weft_err *err);

/* What an instance has got and sent since its interface was made, as it sees it. Packets that a
 * segment was made of, or is cut into, are one. */
struct weft_link_counters {
	uint64_t rx_bytes, rx_packets, tx_bytes, tx_packets;
};
/* Reads them, in the namespace that it was made in; many a second. */
struct weft_link_reader;
int weft_link_reader_new(struct weft_link_reader **ret, struct weft_err *err);
void weft_link_reader_free(struct weft_link_reader *reader); /* NULL is fine */
/* By the host side of an instance. -ENODEV: it is not there. */
int weft_link_read(
	struct weft_link_reader *reader, uint32_t host_ifindex, struct weft_link_counters *ret);

#endif
