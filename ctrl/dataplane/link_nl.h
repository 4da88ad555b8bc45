/* SPDX-License-Identifier: Apache-2.0 */
/* Private to link*.c: rtnetlink sockets inside a namespace, and the requests that all links need.
 */
#ifndef WEFT_DATAPLANE_LINK_NL_H
#define WEFT_DATAPLANE_LINK_NL_H

#include <netinet/in.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"

/* Enter the network namespace at path; weft_ns_leave() goes back and closes *home. The daemon has
 * one thread, so nothing else runs between the two. */
int weft_ns_enter(const char *path, int *ret_home, struct weft_err *err);
void weft_ns_leave(int *home); /* -1: nothing to do */

/* A socket that stays in the namespace it was opened in, and what the kernel last said on it. */
struct weft_nl {
	struct nl_sock *sk;
	int error;      /* negative errno of the last refused request, 0 */
	char text[160]; /* and its explanation, may be empty */
};

/* netns NULL: ours. weft_nl_close() is for _cleanup_ and accepts one that was never opened. */
int weft_nl_open(struct weft_nl *nl, const char *netns, struct weft_err *err);
void weft_nl_close(struct weft_nl *nl);

/* From libnl's answer r to 0 or a negative errno, with err set to "TEXT: why". */
int weft_nl_result(struct weft_nl *nl, int r, struct weft_err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The link as the kernel has it; -ENODEV without a word in err, as that is often no error. */
int weft_nl_link_get(
	struct weft_nl *nl, const char *name, struct rtnl_link **ret, struct weft_err *err);

struct weft_nl_change {
	const uint8_t *mac; /* NULL: as it is */
	uint16_t mtu;       /* 0: as it is */
};
/* What a device has as its own on which the TC program runs: the gateway's address, as what its
 * instance sends is sent there. So the kernel takes it for its own without the program's help. */
extern const uint8_t weft_nl_gateway_mac[6];
/* Bring a link up that makes no IPv6 addresses of its own. */
int weft_nl_link_up(struct weft_nl *nl, struct rtnl_link *link, const struct weft_nl_change *change,
	struct weft_err *err);

/* An address of either family, network byte order. */
struct weft_nl_ip {
	int family; /* 0: none */
	union {
		struct in_addr v4;
		struct in6_addr v6;
	};
};
struct weft_nl_ip weft_nl_ip4(struct in_addr addr);         /* 0.0.0.0: none */
struct weft_nl_ip weft_nl_ip6(const struct in6_addr *addr); /* :: likewise */

/* IPv6: usable at once, without looking for duplicates. No route to its prefix unless prefix_route
 * (IPv4: there always is one). */
int weft_nl_addr_add(struct weft_nl *nl, uint32_t ifindex, const struct weft_nl_ip *addr,
	uint8_t prefix_len, bool prefix_route, struct weft_err *err);

/* One that is not there is no error. */
int weft_nl_addr_del(struct weft_nl *nl, uint32_t ifindex, const struct weft_nl_ip *addr,
	uint8_t prefix_len, const char *name, struct weft_err *err);

struct weft_nl_route {
	struct weft_nl_ip dst; /* its family is the route's; 0/0: default */
	uint8_t prefix_len;
	struct weft_nl_ip gateway; /* none: on the link itself */
	bool onlink;               /* the gateway is on the link though no address says so */
	struct weft_nl_ip src;     /* preferred source address */
	uint32_t ifindex;
};
int weft_nl_route_add(struct weft_nl *nl, const struct weft_nl_route *route, struct weft_err *err);

/* Is name a device name that is also a plain file name? Fills err with -EINVAL if not. */
int weft_link_name_check(const char *name, struct weft_err *err);

WEFT_DEFINE_CLEANUP(struct rtnl_link *, rtnl_link_put);
WEFT_DEFINE_CLEANUP(struct nl_addr *, nl_addr_put);
WEFT_DEFINE_CLEANUP(struct nl_cache *, nl_cache_free);

#endif
