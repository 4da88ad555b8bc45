/* SPDX-License-Identifier: Apache-2.0 */
/* A device is told by its kind, and its other end by index and namespace. What is in another
 * namespace is asked for through ours, by the number that ours has for it; nothing is entered but
 * where the caller says which namespace is meant. */
#include "ctrl/dataplane/link_find.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_arp.h>
#include <linux/net_namespace.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/route/addr.h>
#include <netlink/route/rtnl.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/link.h"
#include "ctrl/dataplane/link_nl.h"

#define IFLA_TARGET_NETNSID_ 46 /* linux/if_link.h clashes with net/if.h */
#define LINKS_MAX            4096
#define OURS                 (-1)

struct links {
	struct rtnl_link **list;
	size_t n;
	int r;
};

static void links_done(struct links *l)
{
	for (size_t i = 0; i < l->n; i++)
		rtnl_link_put(l->list[i]);
	free(l->list);
}

static inline void nlmsg_freep(struct nl_msg **m)
{
	nlmsg_free(*m);
}

static inline void nl_cb_putp(struct nl_cb **cb)
{
	nl_cb_put(*cb);
}

/* --- asking --------------------------------------------------------------------------------------
 */

static void on_link(struct nl_object *o, void *arg)
{
	struct links *l = arg;
	struct rtnl_link **more;

	if (l->n >= LINKS_MAX)
		return;
	more = realloc(l->list, (l->n + 1) * sizeof(struct rtnl_link *));
	if (!more) {
		l->r = -ENOMEM;
		return;
	}
	nl_object_get(o);
	l->list = more;
	l->list[l->n++] = (struct rtnl_link *)o;
}

/* Ours to change, for one question. */
static struct nl_cb *own_cb(struct weft_nl *nl)
{
	struct nl_cb *theirs = nl_socket_get_cb(nl->sk), *cb = nl_cb_clone(theirs);

	nl_cb_put(theirs);
	return cb;
}

static int on_message(struct nl_msg *msg, void *arg)
{
	nl_msg_parse(msg, on_link, arg);
	return NL_OK;
}

/* Only questions are asked, whose answers are their own acknowledgement. */
static int open_to_ask(struct weft_nl *nl, const char *netns, struct weft_err *err)
{
	int r = weft_nl_open(nl, netns, err);

	if (r == 0)
		nl_socket_disable_auto_ack(nl->sk);
	return r;
}

/* All links of the namespace that ours knows as nsid. ret is to be done with, whatever happens. */
static int list_links(struct weft_nl *nl, int nsid, struct links *ret, struct weft_err *err)
{
	_cleanup_(nlmsg_freep) struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETLINK, NLM_F_DUMP);
	_cleanup_(nl_cb_putp) struct nl_cb *cb = own_cb(nl);
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	int r;

	if (!msg || !cb || nlmsg_append(msg, &header, sizeof(header), NLMSG_ALIGNTO) < 0 ||
		(nsid != OURS && nla_put_s32(msg, IFLA_TARGET_NETNSID_, nsid) < 0))
		return weft_err_set(err, ENOMEM, "links: out of memory");
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_message, ret);
	r = nl_send_auto(nl->sk, msg);
	if (r >= 0)
		r = nl_recvmsgs(nl->sk, cb);
	r = weft_nl_result(nl, r, err, "listing links%s",
		nsid == OURS ? "" : " of the namespace behind the device");
	if (r == 0 && ret->r < 0)
		r = weft_err_set(err, ENOMEM, "links: out of memory");
	return r;
}

static int on_nsid(struct nl_msg *msg, void *arg)
{
	struct nlattr *a = nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct rtgenmsg), NETNSA_NSID);

	if (a)
		*(int *)arg = nla_get_s32(a);
	return NL_OK;
}

/* What our namespace calls the one at path; OURS when it has no name for it, and so no link. */
static int get_nsid(struct weft_nl *nl, const char *path, int *ret, struct weft_err *err)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_(nlmsg_freep) struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETNSID, 0);
	_cleanup_(nl_cb_putp) struct nl_cb *cb = own_cb(nl);
	struct rtgenmsg header = {.rtgen_family = AF_UNSPEC};
	int r;

	if (fd < 0)
		return weft_err_set(err, errno, "network namespace %s: %m", path);
	*ret = OURS;
	if (!msg || !cb || nlmsg_append(msg, &header, sizeof(header), NLMSG_ALIGNTO) < 0 ||
		nla_put_u32(msg, NETNSA_FD, (uint32_t)fd) < 0)
		return weft_err_set(err, ENOMEM, "network namespace %s: out of memory", path);
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_nsid, ret);
	r = nl_send_auto(nl->sk, msg);
	if (r >= 0)
		r = nl_recvmsgs(nl->sk, cb);
	return weft_nl_result(nl, r, err, "network namespace %s", path);
}

/* The index of the link that has that address, 0: none has, or not the one that only says. */
static int who_has(struct weft_nl *nl, const struct weft_nl_ip *ip, int only)
{
	_cleanup_(nl_cache_freep) struct nl_cache *cache = NULL;
	size_t size = ip->family == AF_INET ? sizeof(ip->v4) : sizeof(ip->v6);

	if (rtnl_addr_alloc_cache(nl->sk, &cache) < 0)
		return 0;
	for (struct nl_object *o = nl_cache_get_first(cache); o; o = nl_cache_get_next(o)) {
		struct nl_addr *local = rtnl_addr_get_local((struct rtnl_addr *)o);
		int ifindex = rtnl_addr_get_ifindex((struct rtnl_addr *)o);

		if (local && nl_addr_get_family(local) == ip->family &&
			(!only || only == ifindex) &&
			memcmp(nl_addr_get_binary_addr(local), &ip->v6, size) == 0)
			return ifindex;
	}
	return 0;
}

/* --- looking -------------------------------------------------------------------------------------
 */

static struct rtnl_link *by_index(const struct links *l, int ifindex)
{
	for (size_t i = 0; i < l->n; i++)
		if (rtnl_link_get_ifindex(l->list[i]) == ifindex)
			return l->list[i];
	return NULL;
}

static bool is_kind(struct rtnl_link *link, const char *kind)
{
	const char *type = rtnl_link_get_type(link);

	return type && strcmp(type, kind) == 0;
}

static bool is_macvlan(struct rtnl_link *link)
{
	return is_kind(link, "macvtap") || is_kind(link, "macvlan");
}

/* The namespace that the link's other end, or the one below it, is in. */
static int other_nsid(struct rtnl_link *link)
{
	int32_t nsid;

	return rtnl_link_get_link_netnsid(link, &nsid) == 0 ? nsid : OURS;
}

static void take_mac(struct rtnl_link *link, struct weft_link_found *f)
{
	struct nl_addr *a = rtnl_link_get_addr(link);

	f->has_mac = a && nl_addr_get_len(a) == sizeof(f->mac);
	if (f->has_mac)
		memcpy(f->mac, nl_addr_get_binary_addr(a), sizeof(f->mac));
}

/* end is the other end of a veth: whoever uses it, by itself or through one macvtap. */
static void take_user(const struct links *l, struct rtnl_link *end, struct weft_link_found *f)
{
	struct rtnl_link *user = end;
	unsigned n = 0;

	for (size_t i = 0; i < l->n; i++)
		if (is_macvlan(l->list[i]) && other_nsid(l->list[i]) == OURS &&
			rtnl_link_get_link(l->list[i]) == rtnl_link_get_ifindex(end)) {
			user = l->list[i];
			n++;
		}
	if (n <= 1)
		take_mac(user, f);
}

static int take_host_side(
	struct rtnl_link *host, bool elsewhere, struct weft_link_found *f, struct weft_err *err)
{
	snprintf(f->host_side, sizeof(f->host_side), "%s", rtnl_link_get_name(host));
	f->ifindex = (uint32_t)rtnl_link_get_ifindex(host);
	f->elsewhere = elsewhere;
	if (rtnl_link_get_flags(host) & IFF_UP)
		return 0;
	weft_err_set(err, EBUSY, "device %s is down", f->host_side);
	return weft_err_hint(err, "ip link set %s up", f->host_side);
}

static int find_veth(struct weft_nl *nl, const struct links *ours, struct rtnl_link *host,
	struct weft_link_found *f, struct weft_err *err)
{
	_cleanup_(links_done) struct links theirs = {0};
	int nsid = other_nsid(host), r = 0;
	const struct links *there = ours;
	struct rtnl_link *end;

	if (nsid != OURS) {
		r = list_links(nl, nsid, &theirs, err);
		there = &theirs;
	}
	if (r < 0)
		return r;
	end = by_index(there, rtnl_link_get_link(host));
	if (end)
		take_user(there, end, f);
	return take_host_side(host, nsid != OURS, f, err);
}

static int find_macvtap(const struct links *ours, struct rtnl_link *link, struct weft_link_found *f,
	struct weft_err *err)
{
	const char *name = rtnl_link_get_name(link);
	struct rtnl_link *lower = NULL, *host = NULL;

	if (other_nsid(link) == OURS)
		lower = by_index(ours, rtnl_link_get_link(link));
	if (lower && is_kind(lower, "veth") && other_nsid(lower) == OURS)
		host = by_index(ours, rtnl_link_get_link(lower));
	if (!host) {
		weft_err_set(err, ENOTSUP,
			"device %s: what a %s sends leaves by the device below it, which is %s",
			name, rtnl_link_get_type(link),
			lower ? "no veth with its other end here" : "in another namespace");
		return weft_err_hint(
			err, "put it on one end of a veth pair and name the other, or use a tap");
	}
	take_mac(link, f);
	return take_host_side(host, false, f, err);
}

static void look_around(struct weft_nl *nl, const struct links *ours, struct weft_link_found *f)
{
	const struct weft_nl_ip gateway = weft_nl_ip6(&weft_link_gateway6);
	struct rtnl_link *host = by_index(ours, (int)f->ifindex);

	f->alone = host && !rtnl_link_get_master(host) && !who_has(nl, &gateway, (int)f->ifindex);
}

int weft_link_find_device(const char *device, struct weft_link_found *ret, struct weft_err *err)
{
	_cleanup_(links_done) struct links ours = {0};
	_cleanup_(weft_nl_close) struct weft_nl nl = {};
	struct weft_link_found f = {0};
	struct rtnl_link *link = NULL;
	int r;

	r = open_to_ask(&nl, NULL, err);
	if (r == 0)
		r = list_links(&nl, OURS, &ours, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ours.n; i++)
		if (strcmp(rtnl_link_get_name(ours.list[i]), device) == 0)
			link = ours.list[i];
	if (!link) {
		weft_err_set(
			err, ENOENT, "device %s: weftd's namespace has no such device", device);
		return weft_err_hint(err, "ip link; or name the namespace it is in: --netns PATH");
	}
	if (is_kind(link, "veth")) {
		r = find_veth(&nl, &ours, link, &f, err);
	} else if (is_macvlan(link)) {
		r = find_macvtap(&ours, link, &f, err);
	} else if (is_kind(link, "tun") && rtnl_link_get_arptype(link) == ARPHRD_ETHER) {
		r = take_host_side(link, false, &f, err);
	} else {
		const char *type = rtnl_link_get_type(link);

		weft_err_set(err, ENOTSUP, "device %s is %s%s, nobody's own interface", device,
			type ? "a " : "a device of the machine itself", type ? type : "");
		r = weft_err_hint(err, "name the veth or tap that is one instance's alone");
	}
	if (r < 0)
		return r;
	look_around(&nl, &ours, &f);
	*ret = f;
	return 0;
}

/* --- a namespace --------------------------------------------------------------------------------
 */

/* Our side of a link of theirs, or NULL. */
static struct rtnl_link *host_side_of(
	const struct links *ours, int nsid, const struct rtnl_link *their)
{
	struct rtnl_link *end = (struct rtnl_link *)their, *host;

	if (!is_kind(end, "veth") || other_nsid(end) == OURS)
		return NULL;
	host = by_index(ours, rtnl_link_get_link(end));
	return host && is_kind(host, "veth") && other_nsid(host) == nsid &&
			       rtnl_link_get_link(host) == rtnl_link_get_ifindex(end)
		       ? host
		       : NULL;
}

static int choose(const struct links *ours, const struct links *theirs, int nsid, int holder,
	const char *netns, struct weft_link_found *f, struct weft_err *err)
{
	struct rtnl_link *found = NULL;
	unsigned n = 0;

	for (size_t i = 0; i < theirs->n && nsid != OURS; i++) {
		struct rtnl_link *end = theirs->list[i];
		bool holds = holder && rtnl_link_get_ifindex(end) == holder;

		if (!host_side_of(ours, nsid, end))
			continue;
		n++;
		if (!found || holds)
			found = end;
		if (holds) {
			n = 1;
			break;
		}
	}
	if (n == 1) {
		take_user(theirs, found, f);
		return take_host_side(host_side_of(ours, nsid, found), true, f, err);
	}
	weft_err_set(err, n ? EINVAL : ENOENT,
		n ? "network namespace %s: several of its veths have their other end here, and none "
		    "of them has the address"
		  : "network namespace %s: none of its links is a veth with its other end in "
		    "weftd's namespace",
		netns);
	return weft_err_hint(err, n ? "name the host side of the right one: --device NAME"
				    : "ip -n NAME link, or --device NAME");
}

int weft_link_find_netns(
	const char *netns, struct in_addr addr, struct weft_link_found *ret, struct weft_err *err)
{
	_cleanup_(links_done) struct links ours = {0}, theirs = {0};
	_cleanup_(weft_nl_close) struct weft_nl here = {}, there = {};
	const struct weft_nl_ip ip = weft_nl_ip4(addr);
	struct weft_link_found f = {0};
	int nsid = OURS, r;

	r = open_to_ask(&here, NULL, err);
	if (r == 0)
		r = open_to_ask(&there, netns, err);
	if (r == 0)
		r = get_nsid(&here, netns, &nsid, err);
	if (r == 0)
		r = list_links(&here, OURS, &ours, err);
	if (r == 0)
		r = list_links(&there, OURS, &theirs, err);
	if (r == 0)
		r = choose(&ours, &theirs, nsid, who_has(&there, &ip, 0), netns, &f, err);
	if (r < 0)
		return r;
	look_around(&here, &ours, &f);
	*ret = f;
	return 0;
}
