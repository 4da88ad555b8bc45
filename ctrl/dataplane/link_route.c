/* SPDX-License-Identifier: Apache-2.0 */
/* Questions about the host's routes. */
#include <errno.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include "ctrl/dataplane/link.h"
#include "ctrl/dataplane/link_nl.h"

static inline void rtnl_route_putp(struct rtnl_route **r)
{
	rtnl_route_put(*r);
}

int weft_link_route(const struct in6_addr *addr, uint32_t *ret_ifindex)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED(addr);
	_cleanup_(nl_addr_putp) struct nl_addr *dst =
		v4 ? nl_addr_build(AF_INET, (void *)(uintptr_t)&addr->s6_addr[12], 4)
		   : nl_addr_build(AF_INET6, (void *)(uintptr_t)addr, sizeof(*addr));
	_cleanup_(rtnl_route_putp) struct rtnl_route *route = NULL;
	_cleanup_(weft_nl_close) struct weft_nl nl = {};
	struct rtnl_nexthop *hop;
	int r;

	if (!dst)
		return -ENOMEM;
	r = weft_nl_open(&nl, NULL, NULL);
	if (r < 0)
		return r;
	/* It has an error handler of its own, which keeps the kernel's reason to itself. */
	if (rtnl_route_lookup(nl.sk, dst, &route) < 0)
		return -EHOSTUNREACH;
	hop = rtnl_route_nexthop_n(route, 0);
	if (!hop)
		return -EHOSTUNREACH;
	*ret_ifindex = (uint32_t)rtnl_route_nh_get_ifindex(hop);
	return 0;
}
