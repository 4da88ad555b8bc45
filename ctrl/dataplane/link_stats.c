/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance's network has carried, read at its own end: what is handed straight to the far
 * end of a veth is not counted by the near one. */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/dataplane/link.h"
#include "ctrl/dataplane/link_nl.h"

struct weft_link_reader {
	struct weft_nl nl;
};

struct answer {
	bool found, veth;
	uint32_t peer; /* 0: none */
	int netns;     /* of peer, as this namespace numbers it; -1: this one */
	struct rtnl_link_stats64 stats;
};

int weft_link_reader_new(struct weft_link_reader **ret, struct weft_err *err)
{
	struct weft_link_reader *reader = calloc(1, sizeof(*reader));
	int r = reader ? weft_nl_open(&reader->nl, NULL, err)
		       : weft_err_set(err, ENOMEM, "out of memory");

	if (r < 0) {
		free(reader);
		return r;
	}
	nl_socket_disable_auto_ack(reader->nl.sk); /* one answer to one request */
	*ret = reader;
	return 0;
}

void weft_link_reader_free(struct weft_link_reader *reader)
{
	if (!reader)
		return;
	weft_nl_close(&reader->nl);
	free(reader);
}

static int on_link(struct nl_msg *msg, void *userdata)
{
	struct nlmsghdr *hdr = nlmsg_hdr(msg);
	struct nlattr *tb[IFLA_MAX + 1], *kind[IFLA_INFO_MAX + 1];
	struct answer *a = userdata;

	if (hdr->nlmsg_type != RTM_NEWLINK ||
		nlmsg_parse(hdr, sizeof(struct ifinfomsg), tb, IFLA_MAX, NULL) < 0 ||
		!tb[IFLA_STATS64])
		return NL_SKIP;
	a->found = true;
	a->netns = tb[IFLA_LINK_NETNSID] ? nla_get_s32(tb[IFLA_LINK_NETNSID]) : -1;
	a->peer = tb[IFLA_LINK] ? nla_get_u32(tb[IFLA_LINK]) : 0;
	a->veth = tb[IFLA_LINKINFO] &&
		  nla_parse_nested(kind, IFLA_INFO_MAX, tb[IFLA_LINKINFO], NULL) == 0 &&
		  kind[IFLA_INFO_KIND] && nla_strcmp(kind[IFLA_INFO_KIND], "veth") == 0;
	nla_memcpy(&a->stats, tb[IFLA_STATS64], sizeof(a->stats)); /* older kernels have less */
	return NL_OK;
}

static int ask(struct weft_nl *nl, uint32_t ifindex, int netns, struct answer *ret)
{
	struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETLINK, NLM_F_REQUEST);
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = (int)ifindex};
	struct answer answer = {0};
	int r = -NLE_NOMEM;

	if (msg && nlmsg_append(msg, &info, sizeof(info), NLMSG_ALIGNTO) == 0 &&
		(netns < 0 || nla_put_s32(msg, IFLA_TARGET_NETNSID, netns) == 0))
		r = nl_send_auto(nl->sk, msg);
	nlmsg_free(msg);
	nl_socket_modify_cb(nl->sk, NL_CB_VALID, NL_CB_CUSTOM, on_link, &answer);
	nl->error = 0;
	if (r >= 0)
		r = nl_recvmsgs_default(nl->sk);
	if (nl->error)
		return nl->error;
	if (r < 0 || !answer.found)
		return r == -NLE_NOMEM ? -ENOMEM : -EIO;
	*ret = answer;
	return 0;
}

int weft_link_read(
	struct weft_link_reader *reader, uint32_t host_ifindex, struct weft_link_counters *ret)
{
	struct answer near, far;
	int r = ask(&reader->nl, host_ifindex, -1, &near);

	if (r == 0 && near.veth && near.peer) {
		r = ask(&reader->nl, near.peer, near.netns, &far);
		if (r == 0)
			*ret = (struct weft_link_counters){far.stats.rx_bytes, far.stats.rx_packets,
				far.stats.tx_bytes, far.stats.tx_packets};
	} else if (r == 0) {
		*ret = (struct weft_link_counters){near.stats.tx_bytes, near.stats.tx_packets,
			near.stats.rx_bytes, near.stats.rx_packets};
	}
	return r;
}
