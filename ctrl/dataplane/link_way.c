/* SPDX-License-Identifier: Apache-2.0 */
/* Which devices are behind the host side of an instance. They are asked for by the number that the
 * kernel has given their namespace here, so nobody has to know where that namespace is bound. */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>

#include "ctrl/dataplane/link.h"
#include "ctrl/dataplane/link_nl.h"

/* --- the other end of a veth --- */

static int by_index(
	struct weft_nl *nl, uint32_t ifindex, struct rtnl_link **ret, struct weft_err *err)
{
	int r = rtnl_link_get_kernel(nl->sk, (int)ifindex, NULL, ret);

	if (r == -NLE_NODEV || r == -NLE_OBJ_NOTFOUND)
		return -ENODEV;
	return weft_nl_result(nl, r, err, "link %u", ifindex);
}

/* --- a macvtap on it --- */

struct search {
	uint32_t lower, found;
};

static int on_link(struct nl_msg *msg, void *userdata)
{
	struct nlmsghdr *hdr = nlmsg_hdr(msg);
	const struct ifinfomsg *info = nlmsg_data(hdr);
	struct nlattr *tb[IFLA_MAX + 1], *kind[IFLA_INFO_MAX + 1];
	struct search *s = userdata;

	if (hdr->nlmsg_type != RTM_NEWLINK ||
		nlmsg_parse(hdr, sizeof(*info), tb, IFLA_MAX, NULL) < 0)
		return NL_SKIP;
	if (!tb[IFLA_LINK] || !tb[IFLA_LINKINFO] || tb[IFLA_LINK_NETNSID] ||
		nla_get_u32(tb[IFLA_LINK]) != s->lower)
		return NL_SKIP;
	if (nla_parse_nested(kind, IFLA_INFO_MAX, tb[IFLA_LINKINFO], NULL) == 0 &&
		kind[IFLA_INFO_KIND] && nla_strcmp(kind[IFLA_INFO_KIND], "macvtap") == 0)
		s->found = (uint32_t)info->ifi_index;
	return NL_OK;
}

static int find_macvtap(
	struct weft_nl *nl, int netns, uint32_t lower, uint32_t *ret, struct weft_err *err)
{
	struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP);
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	struct search s = {.lower = lower};
	int r = -NLE_NOMEM;

	if (msg && nlmsg_append(msg, &info, sizeof(info), NLMSG_ALIGNTO) == 0 &&
		(netns < 0 || nla_put_s32(msg, IFLA_TARGET_NETNSID, netns) == 0))
		r = nl_send_auto(nl->sk, msg);
	nlmsg_free(msg);
	nl_socket_modify_cb(nl->sk, NL_CB_VALID, NL_CB_CUSTOM, on_link, &s);
	if (r >= 0)
		r = nl_recvmsgs_default(nl->sk);
	if (r >= 0)
		*ret = s.found;
	return weft_nl_result(nl, r, err, "links beside link %u", lower);
}

int weft_link_way(uint32_t host_ifindex, struct weft_link_way *ret, struct weft_err *err)
{
	_cleanup_(rtnl_link_putp) struct rtnl_link *link = NULL;
	_cleanup_(weft_nl_close) struct weft_nl nl = {};
	struct weft_link_way way = {0};
	int netns = -1, r;
	const char *type;

	r = weft_nl_open(&nl, NULL, err);
	if (r == 0)
		r = by_index(&nl, host_ifindex, &link, err);
	if (r < 0)
		return r;
	type = rtnl_link_get_type(link);
	if (type && strcmp(type, "veth") == 0 && rtnl_link_get_link(link) > 0) {
		way.peer = (uint32_t)rtnl_link_get_link(link);
		way.peer_home = rtnl_link_get_link_netnsid(link, &netns) < 0;
		r = find_macvtap(&nl, way.peer_home ? -1 : netns, way.peer, &way.macvtap, err);
		if (r < 0)
			return r;
	}
	*ret = way;
	return 0;
}
