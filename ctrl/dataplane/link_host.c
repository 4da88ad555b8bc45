/* SPDX-License-Identifier: Apache-2.0 */
/* The veth pair through which the host's own processes reach the overlay. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netlink/route/addr.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/route.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/link.h"
#include "ctrl/dataplane/link_nl.h"

#define N_ROUTES 2

struct pair {
	struct rtnl_link *near, *far; /* NAME with the address, NAMEp with the TC program */
};

static void pair_put(struct pair *p)
{
	rtnl_link_put(p->near);
	rtnl_link_put(p->far);
}

static int create_pair(struct weft_nl *nl, const char *name, const char *far, struct weft_err *err)
{
	_cleanup_(rtnl_link_putp) struct rtnl_link *link = rtnl_link_veth_alloc();
	struct rtnl_link *peer;

	if (!link)
		return weft_err_set(err, ENOMEM, "link %s: out of memory", name);
	rtnl_link_set_name(link, name);
	peer = rtnl_link_veth_get_peer(link);
	rtnl_link_set_name(peer, far);
	rtnl_link_put(peer);
	return weft_nl_result(nl, rtnl_link_add(nl->sk, link, NLM_F_CREATE | NLM_F_EXCL), err,
		"link %s: create it with peer %s", name, far);
}

static int get_pair(
	struct weft_nl *nl, const char *name, const char *far, struct pair *p, struct weft_err *err)
{
	int r;

	r = weft_nl_link_get(nl, name, &p->near, err);
	return r < 0 ? r : weft_nl_link_get(nl, far, &p->far, err);
}

/* Find the pair of an earlier daemon, or make it. */
static int have_pair(struct weft_nl *nl, const char *name, struct pair *p, struct weft_err *err)
{
	char far[IFNAMSIZ];
	int r;

	if (strlen(name) + 2 > sizeof(far))
		return weft_err_set(
			err, EINVAL, "link %s: longer than %zu characters", name, sizeof(far) - 2);
	snprintf(far, sizeof(far), "%.14sp", name);
	r = get_pair(nl, name, far, p, err);
	if (r == -ENODEV && !p->near) {
		r = create_pair(nl, name, far, err);
		if (r == 0)
			r = get_pair(nl, name, far, p, err);
	}
	if (r < 0 && r != -ENODEV)
		return r;
	if (r < 0 || !rtnl_link_is_veth(p->near) ||
		rtnl_link_get_link(p->near) != rtnl_link_get_ifindex(p->far)) {
		weft_err_set(err, EEXIST, "link %s: is there already, but is no veth pair with %s",
			name, far);
		weft_err_hint(err, "delete it: ip link del %s", name);
		return -EEXIST;
	}
	return 0;
}

/* Answers come from addresses that are routed through this very device, so strict filtering would
 * do; but conf/all may ask for more than conf/NAME, and the larger of the two wins: 2 (loose). */
static int loosen_rp_filter(const char *name, struct weft_err *err)
{
	_cleanup_(closep) int fd = -1;
	char path[128];
	int r;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/rp_filter", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : weft_write_all(fd, "2\n", 2);
	if (r < 0)
		return weft_err_set(err, r, "link %s: write %s: %s", name, path, strerror(-r));
	return 0;
}

/* --- addresses and routes: those we want, and no others ------------------------------------------
 */

static int set_address(
	struct weft_nl *nl, uint32_t ifindex, const struct weft_link_host *h, struct weft_err *err)
{
	_cleanup_(nl_cache_freep) struct nl_cache *cache = NULL;
	bool there = false;
	int r;

	r = weft_nl_result(nl, rtnl_addr_alloc_cache(nl->sk, &cache), err,
		"link %s: list its addresses", h->name);
	if (r < 0)
		return r;
	for (struct nl_object *o = nl_cache_get_first(cache); o; o = nl_cache_get_next(o)) {
		struct rtnl_addr *a = (struct rtnl_addr *)o;
		struct nl_addr *local = rtnl_addr_get_local(a);

		if (rtnl_addr_get_ifindex(a) != (int)ifindex || rtnl_addr_get_family(a) != AF_INET)
			continue;
		if (local && rtnl_addr_get_prefixlen(a) == 32 &&
			memcmp(nl_addr_get_binary_addr(local), &h->addr, sizeof(h->addr)) == 0) {
			there = true;
			continue;
		}
		r = weft_nl_result(nl, rtnl_addr_delete(nl->sk, a, 0), err,
			"link %s: remove an old address", h->name);
		if (r < 0)
			return r;
	}
	return there ? 0 : weft_nl_addr_add(nl, ifindex, h->addr, 32, err);
}

/* Index of the wanted route that r is, -1 if it is none of them. */
static int which_route(struct rtnl_route *r, const struct weft_nl_route *want)
{
	struct nl_addr *dst = rtnl_route_get_dst(r), *src = rtnl_route_get_pref_src(r);

	for (int i = 0; i < N_ROUTES; i++)
		if (dst && nl_addr_get_prefixlen(dst) == want[i].prefix_len &&
			nl_addr_get_len(dst) == sizeof(want[i].dst) &&
			memcmp(nl_addr_get_binary_addr(dst), &want[i].dst, sizeof(want[i].dst)) ==
				0 &&
			src &&
			memcmp(nl_addr_get_binary_addr(src), &want[i].src, sizeof(want[i].src)) ==
				0)
			return i;
	return -1;
}

static bool route_is_through(struct rtnl_route *r, uint32_t ifindex)
{
	return rtnl_route_get_table(r) == RT_TABLE_MAIN && rtnl_route_get_nnexthops(r) == 1 &&
	       rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(r, 0)) == (int)ifindex;
}

static int set_routes(struct weft_nl *nl, const char *name, const struct weft_nl_route *want,
	struct weft_err *err)
{
	_cleanup_(nl_cache_freep) struct nl_cache *cache = NULL;
	bool there[N_ROUTES] = {};
	int r;

	r = weft_nl_result(nl, rtnl_route_alloc_cache(nl->sk, AF_INET, 0, &cache), err,
		"link %s: list its routes", name);
	if (r < 0)
		return r;
	for (struct nl_object *o = nl_cache_get_first(cache); o; o = nl_cache_get_next(o)) {
		struct rtnl_route *route = (struct rtnl_route *)o;
		int i;

		if (!route_is_through(route, want[0].ifindex))
			continue;
		i = which_route(route, want);
		if (i >= 0) {
			there[i] = true;
			continue;
		}
		r = weft_nl_result(nl, rtnl_route_delete(nl->sk, route, 0), err,
			"link %s: remove an old route", name);
		if (r < 0)
			return r;
	}
	for (int i = 0; i < N_ROUTES; i++) {
		r = there[i] ? 0 : weft_nl_route_add(nl, &want[i], err);
		if (r == -EEXIST)
			weft_err_hint(err, "another device has that route already; see: ip route");
		if (r < 0)
			return r;
	}
	return 0;
}

static struct in_addr network(struct in_addr addr, uint8_t prefix_len)
{
	if (prefix_len < 32)
		addr.s_addr &= prefix_len ? htonl(~0U << (32 - prefix_len)) : 0;
	return addr;
}

static int configure(
	struct weft_nl *nl, const struct weft_link_host *h, struct pair *p, struct weft_err *err)
{
	const struct weft_nl_change change = {.mtu = h->mtu};
	const struct weft_nl_change change_far = {.mac = weft_nl_gateway_mac, .mtu = h->mtu};
	uint32_t ifindex = (uint32_t)rtnl_link_get_ifindex(p->near);
	const struct weft_nl_route want[N_ROUTES] = {
		{.dst = network(h->subnet, h->subnet_len),
			.prefix_len = h->subnet_len,
			.src = h->addr,
			.ifindex = ifindex},
		{.dst = network(h->service, h->service_len),
			.prefix_len = h->service_len,
			.src = h->addr,
			.ifindex = ifindex},
	};
	int r;

	r = loosen_rp_filter(h->name, err);
	if (r == 0)
		r = weft_nl_link_up(nl, p->far, &change_far, err);
	if (r == 0)
		r = weft_nl_link_up(nl, p->near, &change, err);
	if (r == 0)
		r = set_address(nl, ifindex, h, err);
	return r < 0 ? r : set_routes(nl, h->name, want, err);
}

int weft_link_host_add(const struct weft_link_host *host, uint32_t *ret_ifindex, uint8_t ret_mac[6],
	struct weft_err *err)
{
	_cleanup_(weft_nl_close) struct weft_nl nl = {};
	_cleanup_(pair_put) struct pair p = {};
	uint32_t before;
	struct nl_addr *mac;
	bool existed;
	int r;

	r = weft_link_name_check(host->name, err);
	if (r < 0)
		return r;
	if (!host->addr.s_addr || host->subnet_len > 32 || host->service_len > 32)
		return weft_err_set(
			err, EINVAL, "link %s: bad address or prefix length", host->name);
	existed = weft_link_ifindex(host->name, &before) == 0;
	r = weft_nl_open(&nl, NULL, err);
	if (r == 0)
		r = have_pair(&nl, host->name, &p, err);
	if (r < 0)
		return r;
	r = configure(&nl, host, &p, err);
	if (r < 0) {
		if (!existed)
			(void)weft_link_del(host->name);
		return r;
	}
	mac = rtnl_link_get_addr(p.near);
	if (!mac || nl_addr_get_len(mac) != 6)
		return weft_err_set(err, EIO, "link %s: has no MAC address", host->name);
	memcpy(ret_mac, nl_addr_get_binary_addr(mac), 6);
	*ret_ifindex = (uint32_t)rtnl_link_get_ifindex(p.far);
	return 0;
}

int weft_link_host_del(const char *name)
{
	return weft_link_del(name);
}
