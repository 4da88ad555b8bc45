/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/dataplane/link_nl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/netlink.h>
#include <netlink/attr.h>
#include <netlink/route/addr.h>
#include <netlink/route/link/inet6.h>
#include <netlink/route/route.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "bpf/weft_abi.h"
#include "ctrl/base/log.h"
#include "ctrl/base/util.h"

#define ADDR_GEN_MODE_NONE 1 /* IN6_ADDR_GEN_MODE_NONE; linux/if_link.h clashes with net/if.h */

const uint8_t weft_nl_gateway_mac[6] = WEFT_GATEWAY_MAC;

static inline void rtnl_addr_putp(struct rtnl_addr **a)
{
	rtnl_addr_put(*a);
}

static inline void rtnl_route_putp(struct rtnl_route **r)
{
	rtnl_route_put(*r);
}

/* --- namespaces ----------------------------------------------------------------------------------
 */

static int no_namespace(const char *path, int code, const char *why, struct weft_err *err)
{
	weft_err_set(err, code, "network namespace %s: %s", path, why);
	weft_err_hint(err, "ip netns has the names; a process's is /proc/PID/ns/net");
	return -code;
}

int weft_ns_enter(const char *path, int *ret_home, struct weft_err *err)
{
	_cleanup_(closep) int home = -1, target = -1;

	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0)
		return weft_err_set(err, errno, "our own network namespace: %m");
	target = open(path, O_RDONLY | O_CLOEXEC);
	if (target < 0)
		return no_namespace(path, errno, strerror(errno), err);
	if (setns(target, CLONE_NEWNET) < 0)
		return no_namespace(
			path, errno, errno == EINVAL ? "it is none" : strerror(errno), err);
	*ret_home = TAKE_FD(home);
	return 0;
}

void weft_ns_leave(int *home)
{
	if (*home < 0)
		return;
	/* Going on in an instance's namespace would configure the wrong devices from now on. */
	if (setns(*home, CLONE_NEWNET) < 0) {
		log_error("cannot return to our own network namespace: %m");
		abort();
	}
	close(*home);
	*home = -1;
}

/* --- socket --------------------------------------------------------------------------------------
 */

/* libnl folds errno values together; keep the kernel's own, and its extended acknowledgement. */
static int on_error(struct sockaddr_nl *from, struct nlmsgerr *e, void *arg)
{
	struct nlmsghdr *hdr = (struct nlmsghdr *)((char *)e - NLMSG_HDRLEN);
	int rest = (int)hdr->nlmsg_len - NLMSG_HDRLEN - (int)sizeof(*e);
	struct weft_nl *nl = arg;
	struct nlattr *a;

	(void)from;
	nl->error = e->error;
	nl->text[0] = '\0';
	if (!(hdr->nlmsg_flags & NLM_F_ACK_TLVS))
		return NL_STOP;
	if (!(hdr->nlmsg_flags & NLM_F_CAPPED))
		return NL_STOP; /* NETLINK_CAP_ACK is on: not an answer we know */
	a = nla_find((struct nlattr *)(e + 1), rest, NLMSGERR_ATTR_MSG);
	if (a)
		nla_strlcpy(nl->text, a, sizeof(nl->text));
	return NL_STOP;
}

int weft_nl_open(struct weft_nl *nl, const char *netns, struct weft_err *err)
{
	_cleanup_(weft_ns_leave) int home = -1;
	int r, on = 1;

	*nl = (struct weft_nl){};
	r = netns ? weft_ns_enter(netns, &home, err) : 0;
	if (r < 0)
		return r;
	nl->sk = nl_socket_alloc();
	if (!nl->sk)
		return weft_err_set(err, ENOMEM, "rtnetlink: out of memory");
	r = nl_connect(nl->sk, NETLINK_ROUTE);
	if (r < 0) {
		r = weft_err_set(err, EIO, "rtnetlink: %s", nl_geterror(r));
		weft_nl_close(nl);
		return r;
	}
	/* Old kernels have neither: then the text is missing, no more. */
	(void)setsockopt(nl_socket_get_fd(nl->sk), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	(void)setsockopt(nl_socket_get_fd(nl->sk), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	nl_socket_modify_err_cb(nl->sk, NL_CB_CUSTOM, on_error, nl);
	return 0;
}

void weft_nl_close(struct weft_nl *nl)
{
	nl_socket_free(nl->sk);
	nl->sk = NULL;
}

int weft_nl_result(struct weft_nl *nl, int r, struct weft_err *err, const char *fmt, ...)
{
	char what[256];
	va_list ap;
	int code;

	if (r >= 0)
		return 0;
	code = nl->error ? -nl->error : r == -NLE_NOMEM ? ENOMEM : EIO;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	weft_err_set(err, code, "%s: %s%s%s%s", what, nl->error ? strerror(code) : nl_geterror(r),
		nl->text[0] ? " (" : "", nl->text, nl->text[0] ? ")" : "");
	if (code == EPERM)
		weft_err_hint(err, "run as root, or with CAP_NET_ADMIN");
	nl->error = 0;
	nl->text[0] = '\0';
	return -code;
}

/* --- links ---------------------------------------------------------------------------------------
 */

int weft_link_name_check(const char *name, struct weft_err *err)
{
	if (weft_name_valid(name, IFNAMSIZ - 1))
		return 0;
	return weft_err_set(err, EINVAL, "link %s: not a device name of at most %d characters",
		name ? name : "(none)", IFNAMSIZ - 1);
}

int weft_nl_link_get(
	struct weft_nl *nl, const char *name, struct rtnl_link **ret, struct weft_err *err)
{
	struct rtnl_link *link = NULL;
	int r = rtnl_link_get_kernel(nl->sk, 0, name, &link);

	/* This call has an error handler of its own, so ours does not see the kernel's answer. */
	if (r == -NLE_NODEV || r == -NLE_OBJ_NOTFOUND)
		return -ENODEV;
	r = weft_nl_result(nl, r, err, "link %s", name);
	if (r == 0)
		*ret = link;
	return r;
}

/* The kernel makes link-local addresses when a link goes up, and applies the flags of a request
 * before its address families: so this is a request of its own, before. */
static int no_ipv6_autoconf(struct weft_nl *nl, struct rtnl_link *link, struct weft_err *err)
{
	_cleanup_(rtnl_link_putp) struct rtnl_link *change = rtnl_link_alloc();
	int r;

	if (!change || rtnl_link_inet6_set_addr_gen_mode(change, ADDR_GEN_MODE_NONE) < 0)
		return weft_err_set(
			err, ENOMEM, "link %s: out of memory", rtnl_link_get_name(link));
	r = rtnl_link_change(nl->sk, link, change, 0);
	if (r < 0 && (nl->error == -EAFNOSUPPORT || nl->error == -EOPNOTSUPP)) {
		nl->error = 0; /* a kernel, or a device, without IPv6 */
		return 0;
	}
	return weft_nl_result(
		nl, r, err, "link %s: switch IPv6 autoconfiguration off", rtnl_link_get_name(link));
}

int weft_nl_link_up(struct weft_nl *nl, struct rtnl_link *link, const struct weft_nl_change *change,
	struct weft_err *err)
{
	_cleanup_(rtnl_link_putp) struct rtnl_link *to = rtnl_link_alloc();
	_cleanup_(nl_addr_putp) struct nl_addr *mac = NULL;
	int r;

	r = no_ipv6_autoconf(nl, link, err);
	if (r < 0)
		return r;
	if (!to)
		return weft_err_set(
			err, ENOMEM, "link %s: out of memory", rtnl_link_get_name(link));
	if (change && change->mac) {
		mac = nl_addr_build(AF_LLC, change->mac, 6);
		if (!mac)
			return weft_err_set(
				err, ENOMEM, "link %s: out of memory", rtnl_link_get_name(link));
		rtnl_link_set_addr(to, mac);
	}
	if (change && change->mtu)
		rtnl_link_set_mtu(to, change->mtu);
	rtnl_link_set_flags(to, IFF_UP);
	r = rtnl_link_change(nl->sk, link, to, 0);
	return weft_nl_result(nl, r, err, "link %s: bring it up", rtnl_link_get_name(link));
}

/* --- addresses and routes ------------------------------------------------------------------------
 */

struct weft_nl_ip weft_nl_ip4(struct in_addr addr)
{
	return (struct weft_nl_ip){.family = addr.s_addr ? AF_INET : 0, .v4 = addr};
}

struct weft_nl_ip weft_nl_ip6(const struct in6_addr *addr)
{
	return (struct weft_nl_ip){
		.family = IN6_IS_ADDR_UNSPECIFIED(addr) ? 0 : AF_INET6, .v6 = *addr};
}

/* NULL when out of memory. */
static struct nl_addr *build(const struct weft_nl_ip *ip, uint8_t prefix_len)
{
	struct nl_addr *a = nl_addr_build(
		ip->family, &ip->v6, ip->family == AF_INET ? sizeof(ip->v4) : sizeof(ip->v6));

	if (a)
		nl_addr_set_prefixlen(a, prefix_len);
	return a;
}

static uint8_t whole(const struct weft_nl_ip *ip)
{
	return ip->family == AF_INET ? 32 : 128;
}

int weft_nl_addr_del(struct weft_nl *nl, uint32_t ifindex, const struct weft_nl_ip *addr,
	uint8_t prefix_len, const char *name, struct weft_err *err)
{
	_cleanup_(rtnl_addr_putp) struct rtnl_addr *a = rtnl_addr_alloc();
	_cleanup_(nl_addr_putp) struct nl_addr *local = build(addr, prefix_len);
	int r;

	if (!a || !local || rtnl_addr_set_local(a, local) < 0)
		return weft_err_set(err, ENOMEM, "link %s: out of memory", name);
	rtnl_addr_set_ifindex(a, (int)ifindex);
	r = rtnl_addr_delete(nl->sk, a, 0);
	/* ENXIO: an MTU too small for IPv6 has taken the device all of it. */
	if (r < 0 && (nl->error == -EADDRNOTAVAIL ||
			     (nl->error == -ENXIO && addr->family == AF_INET6))) {
		nl->error = 0;
		return 0;
	}
	return weft_nl_result(nl, r, err, "link %s: remove an address", name);
}

int weft_nl_addr_add(struct weft_nl *nl, uint32_t ifindex, const struct weft_nl_ip *addr,
	uint8_t prefix_len, bool prefix_route, struct weft_err *err)
{
	_cleanup_(rtnl_addr_putp) struct rtnl_addr *a = rtnl_addr_alloc();
	_cleanup_(nl_addr_putp) struct nl_addr *local = build(addr, prefix_len);
	char text[INET6_ADDRSTRLEN];

	inet_ntop(addr->family, &addr->v6, text, sizeof(text));
	if (!a || !local || rtnl_addr_set_local(a, local) < 0)
		return weft_err_set(err, ENOMEM, "address %s: out of memory", text);
	rtnl_addr_set_ifindex(a, (int)ifindex);
	if (addr->family == AF_INET6)
		rtnl_addr_set_flags(a, IFA_F_NODAD | (prefix_route ? 0U : IFA_F_NOPREFIXROUTE));
	return weft_nl_result(nl, rtnl_addr_add(nl->sk, a, NLM_F_REPLACE), err, "set address %s/%u",
		text, prefix_len);
}

/* Gateway and device. */
static int set_hop(struct rtnl_route *r, const struct weft_nl_route *route)
{
	_cleanup_(nl_addr_putp) struct nl_addr *gateway = NULL;
	struct rtnl_nexthop *hop;

	if (route->gateway.family) {
		gateway = build(&route->gateway, whole(&route->gateway));
		if (!gateway)
			return -ENOMEM;
	}
	hop = rtnl_route_nh_alloc();
	if (!hop)
		return -ENOMEM;
	rtnl_route_nh_set_ifindex(hop, (int)route->ifindex);
	if (gateway)
		rtnl_route_nh_set_gateway(hop, gateway);
	if (route->onlink)
		rtnl_route_nh_set_flags(hop, RTNH_F_ONLINK);
	rtnl_route_add_nexthop(r, hop); /* r owns it now */
	return 0;
}

static int set_ends(struct rtnl_route *r, const struct weft_nl_route *route)
{
	_cleanup_(nl_addr_putp) struct nl_addr *dst = build(&route->dst, route->prefix_len);
	_cleanup_(nl_addr_putp) struct nl_addr *src = NULL;

	if (!dst)
		return -ENOMEM;
	if (route->src.family) {
		src = build(&route->src, whole(&route->src));
		if (!src)
			return -ENOMEM;
		rtnl_route_set_pref_src(r, src);
	}
	rtnl_route_set_dst(r, dst);
	return 0;
}

int weft_nl_route_add(struct weft_nl *nl, const struct weft_nl_route *route, struct weft_err *err)
{
	_cleanup_(rtnl_route_putp) struct rtnl_route *r = rtnl_route_alloc();
	char text[INET6_ADDRSTRLEN];

	inet_ntop(route->dst.family, &route->dst.v6, text, sizeof(text));
	if (!r || rtnl_route_set_family(r, (uint8_t)route->dst.family) < 0 ||
		set_ends(r, route) < 0 || set_hop(r, route) < 0)
		return weft_err_set(
			err, ENOMEM, "route %s/%u: out of memory", text, route->prefix_len);
	rtnl_route_set_table(r, RT_TABLE_MAIN);
	rtnl_route_set_protocol(r, RTPROT_STATIC);
	rtnl_route_set_scope(r, route->gateway.family ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK);
	return weft_nl_result(nl, rtnl_route_add(nl->sk, r, NLM_F_CREATE | NLM_F_EXCL), err,
		"add route %s/%u", text, route->prefix_len);
}
