/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces and the veth pairs of instances; link_host.c has the host's own pair, link_tap.c the
 * devices of virtual machines. */
#include "ctrl/dataplane/link.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netlink/route/link/veth.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/link_nl.h"

/* --- namespaces ----------------------------------------------------------------------------------
 */

/* Make a namespace and keep it by binding it to path; ours is the old one again afterwards. */
static int make_netns(const char *path, struct weft_err *err)
{
	_cleanup_(weft_ns_leave) int home = -1;
	_cleanup_(closep) int self = -1;

	self = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (self < 0)
		return weft_err_set(err, errno, "our own network namespace: %m");
	if (unshare(CLONE_NEWNET) < 0)
		return weft_err_set(err, errno, "network namespace %s: create it: %m", path);
	home = TAKE_FD(self);
	if (mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL) < 0)
		return weft_err_set(err, errno, "network namespace %s: bind it: %m", path);
	return 0;
}

static int bring_lo_up(const char *path, struct weft_err *err)
{
	_cleanup_(rtnl_link_putp) struct rtnl_link *lo = NULL, *up = rtnl_link_alloc();
	_cleanup_(weft_nl_close) struct weft_nl nl = {};
	int r;

	r = weft_nl_open(&nl, path, err);
	if (r < 0)
		return r;
	r = weft_nl_link_get(&nl, "lo", &lo, err);
	if (r < 0)
		return weft_err_set(err, r, "network namespace %s: lo: %s", path, strerror(-r));
	if (!up)
		return weft_err_set(err, ENOMEM, "network namespace %s: out of memory", path);
	rtnl_link_set_flags(up, IFF_UP);
	return weft_nl_result(&nl, rtnl_link_change(nl.sk, lo, up, 0), err,
		"network namespace %s: bring lo up", path);
}

int weft_netns_add(const char *path, struct weft_err *err)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	int r;

	if (fd < 0)
		return weft_err_set(err, errno, "network namespace %s: %m", path);
	r = make_netns(path, err);
	if (r == 0)
		r = bring_lo_up(path, err);
	if (r < 0)
		(void)weft_netns_del(path);
	return r;
}

int weft_netns_del(const char *path)
{
	/* EINVAL: nothing is mounted there. Removing the file also detaches the copies of the mount
	 * that other mount namespaces got when they were made. */
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
		return -errno;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* --- veth pairs ----------------------------------------------------------------------------------
 */

static int create_pair(struct weft_nl *nl, const struct weft_link_veth *v, struct weft_err *err)
{
	_cleanup_(closep) int netns = open(v->netns, O_RDONLY | O_CLOEXEC);
	_cleanup_(rtnl_link_putp) struct rtnl_link *link = NULL;
	_cleanup_(nl_addr_putp) struct nl_addr *mac = NULL;
	struct rtnl_link *peer;
	int r;

	if (netns < 0)
		return weft_err_set(err, errno, "network namespace %s: %m", v->netns);
	link = rtnl_link_veth_alloc();
	mac = nl_addr_build(AF_LLC, v->mac, sizeof(v->mac));
	if (!link || !mac)
		return weft_err_set(err, ENOMEM, "link %s: out of memory", v->host_name);
	rtnl_link_set_name(link, v->host_name);
	peer = rtnl_link_veth_get_peer(link); /* a reference more */
	rtnl_link_set_name(peer, v->peer_name);
	rtnl_link_set_addr(peer, mac);
	rtnl_link_set_ns_fd(peer, netns);
	if (v->mtu) {
		rtnl_link_set_mtu(link, v->mtu);
		rtnl_link_set_mtu(peer, v->mtu);
	}
	rtnl_link_put(peer);
	r = weft_nl_result(nl, rtnl_link_add(nl->sk, link, NLM_F_CREATE | NLM_F_EXCL), err,
		"link %s: create it with peer %s in %s", v->host_name, v->peer_name, v->netns);
	if (r == -EEXIST)
		weft_err_hint(err, "delete the old one: ip link del %s", v->host_name);
	return r;
}

static bool in_prefix(struct in_addr a, struct in_addr net, uint8_t prefix_len)
{
	uint32_t mask = prefix_len ? htonl(~0U << (32 - prefix_len)) : 0;

	return ((a.s_addr ^ net.s_addr) & mask) == 0;
}

static int configure_peer4(
	struct weft_nl *nl, uint32_t ifindex, const struct weft_link_veth *v, struct weft_err *err)
{
	const struct weft_nl_route route = {
		.dst.family = AF_INET,
		.gateway = weft_nl_ip4(v->gateway),
		.onlink = !in_prefix(v->gateway, v->addr, v->prefix_len),
		.ifindex = ifindex,
	};

	if (!v->addr.s_addr || !v->gateway.s_addr)
		return 0;
	return weft_nl_route_add(nl, &route, err);
}

const struct in6_addr weft_link_gateway6 = {.s6_addr = {0xfe, 0x80, [15] = 1}};

static int configure_peer6(
	struct weft_nl *nl, uint32_t ifindex, const struct weft_link_veth *v, struct weft_err *err)
{
	const struct weft_nl_ip addr = weft_nl_ip6(&v->addr6);
	const struct weft_nl_route route = {
		.dst.family = AF_INET6,
		.gateway = weft_nl_ip6(&weft_link_gateway6),
		.ifindex = ifindex,
	};
	int r;

	if (!addr.family)
		return 0;
	r = weft_nl_addr_add(nl, ifindex, &addr, v->prefix6_len, true, err);
	return r < 0 ? r : weft_nl_route_add(nl, &route, err);
}

static int configure_peer(const struct weft_link_veth *v, struct weft_err *err)
{
	_cleanup_(rtnl_link_putp) struct rtnl_link *link = NULL;
	_cleanup_(weft_nl_close) struct weft_nl nl = {};
	const struct weft_nl_ip addr = weft_nl_ip4(v->addr);
	uint32_t ifindex;
	int r;

	r = weft_nl_open(&nl, v->netns, err);
	if (r < 0)
		return r;
	r = weft_nl_link_get(&nl, v->peer_name, &link, err);
	if (r < 0)
		return weft_err_set(
			err, r, "link %s in %s: %s", v->peer_name, v->netns, strerror(-r));
	ifindex = (uint32_t)rtnl_link_get_ifindex(link);
	if (addr.family)
		r = weft_nl_addr_add(&nl, ifindex, &addr, v->prefix_len, true, err);
	if (r == 0)
		r = weft_nl_link_up(&nl, link, NULL, err);
	if (r == 0)
		r = configure_peer4(&nl, ifindex, v, err);
	if (r == 0)
		r = configure_peer6(&nl, ifindex, v, err);
	return r;
}

/* The host side is only where the TC program sits: up, and silent. */
static int configure_host_side(
	struct weft_nl *nl, const char *name, uint32_t *ret_ifindex, struct weft_err *err)
{
	static const struct weft_nl_change change = {.mac = weft_nl_gateway_mac};
	_cleanup_(rtnl_link_putp) struct rtnl_link *link = NULL;
	int r;

	r = weft_nl_link_get(nl, name, &link, err);
	if (r < 0)
		return weft_err_set(err, r, "link %s: %s", name, strerror(-r));
	r = weft_nl_link_up(nl, link, &change, err);
	if (r == 0)
		*ret_ifindex = (uint32_t)rtnl_link_get_ifindex(link);
	return r;
}

int weft_link_veth_add(
	const struct weft_link_veth *veth, uint32_t *ret_host_ifindex, struct weft_err *err)
{
	_cleanup_(weft_nl_close) struct weft_nl nl = {};
	uint32_t ifindex = 0;
	int r;

	if (veth->prefix_len > 32 || veth->prefix6_len > 128)
		return weft_err_set(err, EINVAL, "link %s: prefix length %u", veth->host_name,
			veth->prefix_len > 32 ? veth->prefix_len : veth->prefix6_len);
	r = weft_link_name_check(veth->host_name, err);
	if (r == 0)
		r = weft_link_name_check(veth->peer_name, err);
	if (r == 0)
		r = weft_nl_open(&nl, NULL, err);
	if (r == 0)
		r = create_pair(&nl, veth, err);
	if (r < 0)
		return r;
	/* In this order the peer has its carrier when it comes up, and its routes are not marked
	 * linkdown until the kernel's link watch runs. */
	r = configure_host_side(&nl, veth->host_name, &ifindex, err);
	if (r == 0)
		r = configure_peer(veth, err);
	if (r < 0) {
		(void)weft_link_del(veth->host_name);
		return r;
	}
	*ret_host_ifindex = ifindex;
	return 0;
}

/* --- any link ------------------------------------------------------------------------------------
 */

int weft_link_del(const char *name)
{
	_cleanup_(rtnl_link_putp) struct rtnl_link *link = rtnl_link_alloc();
	_cleanup_(weft_nl_close) struct weft_nl nl = {};
	int r;

	if (!link)
		return -ENOMEM;
	r = weft_link_name_check(name, NULL);
	if (r == 0)
		r = weft_nl_open(&nl, NULL, NULL);
	if (r < 0)
		return r;
	rtnl_link_set_name(link, name);
	r = weft_nl_result(&nl, rtnl_link_delete(nl.sk, link), NULL, "link %s", name);
	return r == -ENODEV ? 0 : r;
}

int weft_link_ifindex(const char *name, uint32_t *ret_ifindex)
{
	unsigned index = if_nametoindex(name);

	if (index == 0)
		return -ENODEV;
	*ret_ifindex = index;
	return 0;
}
