/* SPDX-License-Identifier: Apache-2.0 */
/* A VXLAN device that carries nothing. Its socket is what makes the kernel's GRO merge segments in
 * VXLAN format before the uplink's program sees them; the program then takes them, and whatever
 * reaches the device by another way is dropped at its ingress. */
#include <errno.h>
#include <net/if.h>
#include <netlink/route/link/vxlan.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/link.h"
#include "ctrl/dataplane/link_nl.h"

#define PREFIX "weft-vx"

static int create(struct weft_nl *nl, const char *name, uint16_t port, struct weft_err *err)
{
	_cleanup_(rtnl_link_putp) struct rtnl_link *link = rtnl_link_vxlan_alloc();

	if (!link)
		return weft_err_set(err, ENOMEM, "link %s: out of memory", name);
	rtnl_link_set_name(link, name);
	rtnl_link_vxlan_set_port(link, port);
	rtnl_link_vxlan_set_collect_metadata(link, 1);
	return weft_nl_result(nl, rtnl_link_add(nl->sk, link, NLM_F_CREATE | NLM_F_EXCL), err,
		"link %s: create it", name);
}

static int get(struct weft_nl *nl, const char *name, struct rtnl_link **ret, struct weft_err *err)
{
	_cleanup_(rtnl_link_putp) struct rtnl_link *link = NULL;
	int r = weft_nl_link_get(nl, name, &link, err);

	if (r < 0)
		return r;
	if (!rtnl_link_is_vxlan(link)) {
		weft_err_set(err, EEXIST, "link %s: is there already, but is none of VXLAN", name);
		return weft_err_hint(err, "delete it: ip link del %s", name);
	}
	*ret = TAKE_PTR(link);
	return 0;
}

int dp_vxlan_add(uint16_t port, uint32_t *ret_ifindex, struct weft_err *err)
{
	_cleanup_(rtnl_link_putp) struct rtnl_link *link = NULL;
	_cleanup_(weft_nl_close) struct weft_nl nl = {};
	static const struct weft_nl_change as_it_is;
	char name[IF_NAMESIZE];
	int r;

	snprintf(name, sizeof(name), PREFIX "%u", port);
	r = weft_nl_open(&nl, NULL, err);
	if (r == 0)
		r = get(&nl, name, &link, err);
	if (r == -ENODEV) {
		r = create(&nl, name, port, err);
		if (r == 0)
			r = get(&nl, name, &link, err);
	}
	if (r < 0)
		return r;
	*ret_ifindex = (uint32_t)rtnl_link_get_ifindex(link);
	r = weft_nl_link_up(&nl, link, &as_it_is, err);
	if (r < 0)
		weft_link_del(name);
	return r;
}

void dp_vxlan_del(uint32_t ifindex)
{
	char name[IF_NAMESIZE];

	/* An index may be another device's by now. */
	if (ifindex && if_indextoname(ifindex, name) && strncmp(name, PREFIX, strlen(PREFIX)) == 0)
		weft_link_del(name);
}
