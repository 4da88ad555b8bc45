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

#define N_ROUTES 2 /* of a family: namespace addresses, semantic ones */

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

static bool is_ip(const struct nl_addr *a, const struct weft_nl_ip *ip)
{
	size_t size = ip->family == AF_INET ? sizeof(ip->v4) : sizeof(ip->v6);

	return a && ip->family == nl_addr_get_family(a) && nl_addr_get_len(a) == size &&
	       memcmp(nl_addr_get_binary_addr(a), &ip->v6, size) == 0;
}

/* addr alone, or none where that is none. Link-local ones are the kernel's affair. */
static int set_address(struct weft_nl *nl, uint32_t ifindex, const char *name, int family,
	const struct weft_nl_ip *addr, struct weft_err *err)
{
	_cleanup_(nl_cache_freep) struct nl_cache *cache = NULL;
	unsigned len = family == AF_INET ? 32 : 128;
	bool there = !addr->family;
	int r;

	r = weft_nl_result(nl, rtnl_addr_alloc_cache(nl->sk, &cache), err,
		"link %s: list its addresses", name);
	if (r < 0)
		return r;
	for (struct nl_object *o = nl_cache_get_first(cache); o; o = nl_cache_get_next(o)) {
		struct rtnl_addr *a = (struct rtnl_addr *)o;

		if (rtnl_addr_get_ifindex(a) != (int)ifindex || rtnl_addr_get_family(a) != family ||
			(family == AF_INET6 && rtnl_addr_get_scope(a) == RT_SCOPE_LINK))
			continue;
		if ((unsigned)rtnl_addr_get_prefixlen(a) == len &&
			is_ip(rtnl_addr_get_local(a), addr)) {
			there = true;
			continue;
		}
		r = weft_nl_result(nl, rtnl_addr_delete(nl->sk, a, 0), err,
			"link %s: remove an old address", name);
		if (r < 0)
			return r;
	}
	return there ? 0 : weft_nl_addr_add(nl, ifindex, addr, (uint8_t)len, false, err);
}

/* Index of the wanted route that r is, -1 if it is none of them. */
static int which_route(struct rtnl_route *r, const struct weft_nl_route *want, int n)
{
	struct nl_addr *dst = rtnl_route_get_dst(r);

	for (int i = 0; i < n; i++)
		if (is_ip(dst, &want[i].dst) && nl_addr_get_prefixlen(dst) == want[i].prefix_len &&
			is_ip(rtnl_route_get_pref_src(r), &want[i].src))
			return i;
	return -1;
}

static bool route_is_through(struct rtnl_route *r, uint32_t ifindex)
{
	return rtnl_route_get_table(r) == RT_TABLE_MAIN && rtnl_route_get_nnexthops(r) == 1 &&
	       rtnl_route_get_protocol(r) != RTPROT_KERNEL &&
	       rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(r, 0)) == (int)ifindex;
}

/* The n of want, all of one family. */
static int set_routes(struct weft_nl *nl, const char *name, uint32_t ifindex, int family,
	const struct weft_nl_route *want, int n, struct weft_err *err)
{
	_cleanup_(nl_cache_freep) struct nl_cache *cache = NULL;
	bool there[N_ROUTES] = {};
	int r;

	r = weft_nl_result(nl, rtnl_route_alloc_cache(nl->sk, family, 0, &cache), err,
		"link %s: list its routes", name);
	if (r < 0)
		return r;
	for (struct nl_object *o = nl_cache_get_first(cache); o; o = nl_cache_get_next(o)) {
		struct rtnl_route *route = (struct rtnl_route *)o;
		int i;

		if (!route_is_through(route, ifindex))
			continue;
		i = which_route(route, want, n);
		if (i >= 0) {
			there[i] = true;
			continue;
		}
		r = weft_nl_result(nl, rtnl_route_delete(nl->sk, route, 0), err,
			"link %s: remove an old route", name);
		if (r < 0)
			return r;
	}
	for (int i = 0; i < n; i++) {
		r = there[i] ? 0 : weft_nl_route_add(nl, &want[i], err);
		if (r == -EEXIST)
			weft_err_hint(err, "another device has that route already; see: ip%s route",
				family == AF_INET6 ? " -6" : "");
		if (r < 0)
			return r;
	}
	return 0;
}

/* addr cut to its first prefix_len bits. */
static struct weft_nl_ip network(const void *addr, int family, uint8_t prefix_len)
{
	struct weft_nl_ip ip = {.family = family};
	uint8_t *bytes = (void *)&ip.v6;
	unsigned size = family == AF_INET ? sizeof(ip.v4) : sizeof(ip.v6);

	memcpy(bytes, addr, size);
	for (unsigned bit = prefix_len; bit < size * 8; bit++)
		bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	return ip;
}

static int configure4(
	struct weft_nl *nl, const struct weft_link_host *h, uint32_t ifindex, struct weft_err *err)
{
	const struct weft_nl_ip addr = weft_nl_ip4(h->addr);
	const struct weft_nl_route want[N_ROUTES] = {
		{.dst = network(&h->subnet, AF_INET, h->subnet_len),
			.prefix_len = h->subnet_len,
			.src = addr,
			.ifindex = ifindex},
		{.dst = network(&h->service, AF_INET, h->service_len),
			.prefix_len = h->service_len,
			.src = addr,
			.ifindex = ifindex},
	};
	int r = set_address(nl, ifindex, h->name, AF_INET, &addr, err);

	return r < 0 ? r : set_routes(nl, h->name, ifindex, AF_INET, want, N_ROUTES, err);
}

/* Where packets from elsewhere are sent on to an instance, the kernel asks for its neighbour from
 * an address of the link alone, and there the gateway's is fe80::1. */
static int set_link_local(
	struct weft_nl *nl, uint32_t ifindex, const char *name, bool wanted, struct weft_err *err)
{
	static const struct in6_addr own = {.s6_addr = {0xfe, 0x80, [15] = 2}};
	const struct weft_nl_ip ip = weft_nl_ip6(&own);

	return wanted ? weft_nl_addr_add(nl, ifindex, &ip, 64, false, err)
		      : weft_nl_addr_del(nl, ifindex, &ip, 64, name, err);
}

/* Without an address of this family nothing of it is left either. */
static int configure6(
	struct weft_nl *nl, const struct weft_link_host *h, uint32_t ifindex, struct weft_err *err)
{
	const struct weft_nl_ip addr = weft_nl_ip6(&h->addr6);
	const struct weft_nl_route want[N_ROUTES] = {
		{.dst = network(&h->subnet6, AF_INET6, h->subnet6_len),
			.prefix_len = h->subnet6_len,
			.src = addr,
			.ifindex = ifindex},
		{.dst = network(&h->service6, AF_INET6, h->service6_len),
			.prefix_len = h->service6_len,
			.src = addr,
			.ifindex = ifindex},
	};
	int r;

	if (!addr.family && access("/proc/sys/net/ipv6", F_OK) < 0)
		return 0;
	r = set_address(nl, ifindex, h->name, AF_INET6, &addr, err);
	if (r == 0)
		r = set_link_local(nl, ifindex, h->name, addr.family, err);
	return r < 0 ? r
		     : set_routes(nl, h->name, ifindex, AF_INET6, want, addr.family ? N_ROUTES : 0,
			       err);
}

static int configure(
	struct weft_nl *nl, const struct weft_link_host *h, struct pair *p, struct weft_err *err)
{
	const struct weft_nl_change near = {.mtu = h->mtu};
	const struct weft_nl_change far = {.mtu = h->mtu, .mac = weft_nl_gateway_mac};
	uint32_t ifindex = (uint32_t)rtnl_link_get_ifindex(p->near);
	int r;

	r = loosen_rp_filter(h->name, err);
	if (r == 0)
		r = weft_nl_link_up(nl, p->far, &far, err);
	if (r == 0)
		r = weft_nl_link_up(nl, p->near, &near, err);
	if (r == 0)
		r = configure4(nl, h, ifindex, err);
	return r < 0 ? r : configure6(nl, h, ifindex, err);
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
	if (!host->addr.s_addr || host->subnet_len > 32 || host->service_len > 32 ||
		host->subnet6_len > 128 || host->service6_len > 128)
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

/* The first character of a setting, '0' where it is not there. */
static char setting(const char *name)
{
	_cleanup_(closep) int fd = -1;
	char path[64], value;

	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, &value, 1) == 1 ? value : '0';
}

int weft_link_ipv6(struct weft_err *err)
{
	static const char *const of[] = {"all", "default"};

	if (access("/proc/sys/net/ipv6", F_OK) < 0) {
		weft_err_set(err, EAFNOSUPPORT, "the kernel has none, or it is disabled");
		return weft_err_hint(err, "boot without ipv6.disable=1");
	}
	for (size_t i = 0; i < ARRAY_SIZE(of); i++) {
		char name[48];

		snprintf(name, sizeof(name), "ipv6/conf/%s/disable_ipv6", of[i]);
		if (setting(name) == '0')
			continue;
		weft_err_set(
			err, EAFNOSUPPORT, "disabled: net.ipv6.conf.%s.disable_ipv6 is 1", of[i]);
		return weft_err_hint(
			err, "sysctl net.ipv6.conf.%s.disable_ipv6=0, then restart weftd", of[i]);
	}
	return 0;
}

int weft_link_forwards(bool ipv6, struct weft_err *err)
{
	if (setting("ipv4/ip_forward") == '0')
		weft_err_set(err, ENETUNREACH,
			"instances reach the overlay alone: net.ipv4.ip_forward is 0");
	else if (ipv6 && setting("ipv6/conf/all/forwarding") == '0')
		weft_err_set(err, ENETUNREACH,
			"instances get there by IPv4 alone: net.ipv6.conf.all.forwarding is 0");
	else
		return 0;
	return weft_err_hint(err, "to let them out: THE OUTSIDE in weftd(8)");
}

int weft_link_host_del(const char *name)
{
	return weft_link_del(name);
}
