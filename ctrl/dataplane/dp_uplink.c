/* SPDX-License-Identifier: Apache-2.0 */
/* The uplink: programs on its ingress, and what is known of it. What is attached is noted in a
 * pinned map, from which a later daemon goes on and from which all of it can be taken off. */
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/tc_uplink.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

#define LINK       "uplink-tc"
#define LINK_VXLAN "vxlan-tc"
#define INNER_MIN  576 /* what everybody must take, RFC 791 */
#define PEERS_MOST 64  /* looked after by one refresh */

struct dp_uplink {
	char device[IF_NAMESIZE]; /* what is wanted */
	uint16_t port;
	enum weft_dp_xdp xdp;
	bool whole_sums;

	uint32_t ifindex, mtu; /* what it is now; 0: it does not work */
	struct tc_uplink *skel;
	struct dp_xdp_choice choice;
	char gro[160], problem[256];
};

const char *dp_uplink_device(struct weft_dp *dp, uint32_t *ret_ifindex, uint32_t *ret_mtu)
{
	if (!dp->up || !dp->up->ifindex)
		return NULL;
	*ret_ifindex = dp->up->ifindex;
	*ret_mtu = dp->up->mtu;
	return dp->up->device;
}

const char *dp_uplink_wanted(struct weft_dp *dp)
{
	return dp->up ? dp->up->device : "";
}

uint16_t dp_uplink_port(struct weft_dp *dp)
{
	return dp->up ? dp->up->port : WEFT_DP_TUNNEL_PORT;
}

/* --- the device --- */

static int ask(const char *device, unsigned long what, struct ifreq *ret)
{
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memset(ret, 0, sizeof(*ret));
	snprintf(ret->ifr_name, sizeof(ret->ifr_name), "%s", device);
	return fd < 0 || ioctl(fd, what, ret) < 0 ? -errno : 0;
}

static int look(const char *device, uint32_t *ret_ifindex, uint32_t *ret_mtu, struct weft_err *err)
{
	uint32_t ifindex = if_nametoindex(device), least;
	struct ifreq req;

	if (!ifindex || ask(device, SIOCGIFHWADDR, &req) < 0) {
		weft_err_set(err, ENODEV, "uplink %s: there is no such device", device);
		return weft_err_hint(err, "ip link shows those that are there");
	}
	if (req.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
		weft_err_set(err, ENOTSUP, "uplink %s: it is no Ethernet device", device);
		return weft_err_hint(err, "name the device that leads to the other nodes");
	}
	if (ask(device, SIOCGIFMTU, &req) < 0)
		return weft_err_set(err, errno, "uplink %s: its MTU: %m", device);
	least = INNER_MIN + weft_tunnel_overhead(WEFT_FORMAT_VXLAN, 6);
	if ((uint32_t)req.ifr_mtu < least) {
		weft_err_set(err, EMSGSIZE, "uplink %s: its MTU of %d is too small", device,
			req.ifr_mtu);
		return weft_err_hint(
			err, "tunnels need %u: ip link set %s mtu %u", least, device, least);
	}
	*ret_ifindex = ifindex;
	*ret_mtu = (uint32_t)req.ifr_mtu;
	return 0;
}

/* --- programs --- */

static struct dp_ports ports_of(const struct dp_uplink *up)
{
	return (struct dp_ports){htons(up->port), htons((uint16_t)(up->port + 1))};
}

static int load(struct weft_dp *dp, struct dp_uplink *up, struct weft_err *err)
{
	struct dp_ports ports = ports_of(up);
	int r;

	if (up->skel)
		return 0;
	up->skel = tc_uplink__open();
	if (!up->skel)
		return dp_refused(err, errno, "the uplink's program");
	DP_CONSTANTS(dp, up->skel->rodata);
	up->skel->rodata->tunnel_port = ports.raw;
	up->skel->rodata->vxlan_port = ports.vxlan;
	up->skel->rodata->decap_sets_protocol = !dp->no_decap_flags && dp_has(dp, DP_DECAP_FLAGS);
	r = dp_prepare(dp, up->skel->obj);
	if (r == 0)
		r = tc_uplink__load(up->skel);
	if (r == 0)
		return 0;
	tc_uplink__destroy(up->skel);
	up->skel = NULL;
	return dp_refused(err, r, "loading the uplink's program");
}

/* Without it datagrams come in one by one: slower, but right. */
static void add_gro(struct weft_dp *dp, struct dp_uplink *up)
{
	uint16_t port = (uint16_t)(up->port + 1);
	struct weft_err err = {0};
	uint32_t ifindex = 0;
	int r = dp_vxlan_add(port, &ifindex, &err);

	if (r == 0) {
		r = dp_attach_program(
			dp, bpf_program__fd(up->skel->progs.tc_vxlan), LINK_VXLAN, ifindex, &err);
		/* An open door otherwise. */
		if (r < 0)
			dp_vxlan_del(ifindex);
	}
	dp->uplink->vxlan_ifindex = r == 0 ? ifindex : 0;
	if (r == 0)
		snprintf(up->gro, sizeof(up->gro), "VXLAN on port %u", port);
	else
		snprintf(up->gro, sizeof(up->gro), "none: %.150s", err.msg);
}

/* --- up and down --- */

static void take_off(const char *dir, const struct weft_bpf_uplink *note)
{
	dp_xdp_detach(dir, note);
	dp_publish_detach(dir, note->ifindex);
	dp_detach_program(dir, LINK, note->ifindex);
	dp_vxlan_del(note->vxlan_ifindex);
	dp_detach_program(dir, LINK_VXLAN, 0);
}

/* Noted before anything is attached, so that nothing can be forgotten. */
static void note(struct weft_dp *dp, const struct dp_uplink *up, uint32_t ifindex)
{
	struct weft_bpf_uplink *n = dp->uplink;

	if (n->ifindex && (n->ifindex != ifindex || n->port != up->port)) {
		take_off(dp->dir, n);
		memset(n, 0, sizeof(*n));
	}
	memcpy(n->device, up->device, sizeof(n->device));
	n->port = up->port;
	n->xdp_wanted = (uint8_t)up->xdp;
	n->ifindex = ifindex;
}

static int bring_up(struct weft_dp *dp, struct dp_uplink *up, struct weft_err *err)
{
	uint32_t ifindex = 0, mtu = 0;
	struct dp_ports ports = ports_of(up);
	int r = look(up->device, &ifindex, &mtu, err);

	if (r == 0)
		r = load(dp, up, err);
	if (r < 0)
		return r;
	note(dp, up, ifindex);
	r = dp_attach_program(dp, bpf_program__fd(up->skel->progs.tc_uplink), LINK, ifindex, err);
	if (r < 0) {
		weft_err_prefix(err, "uplink %s", up->device);
		return r;
	}
	add_gro(dp, up);
	up->ifindex = ifindex;
	/* Without published ports, or with those of a predecessor, nodes reach each other all the
	 * same; it is tried again, as the MTU is not as it is known. */
	r = dp_publish_attach(dp, ifindex, up->device, err);
	if (r < 0)
		return r;
	r = dp_xdp_attach(
		dp, &ports, ifindex, up->device, up->xdp, up->whole_sums, &up->choice, err);
	dp->uplink->xdp_used = (uint8_t)up->choice.used;
	up->mtu = mtu;
	return r;
}

static int bring_up_or_say(struct weft_dp *dp, struct weft_err *err)
{
	struct dp_uplink *up = dp->up;
	struct weft_err own = {0}, *e = err ? err : &own;
	int r;

	up->ifindex = 0;
	r = bring_up(dp, up, e);
	up->problem[0] = '\0';
	if (r < 0)
		snprintf(up->problem, sizeof(up->problem), "%.250s", e->msg);
	dp_peers_refresh(dp, WEFT_MAX_PEERS);
	return r;
}

static void drop_programs(struct dp_uplink *up)
{
	tc_uplink__destroy(up->skel);
	up->skel = NULL;
}

int weft_dp_uplink_set(
	struct weft_dp *dp, const struct weft_dp_uplink *uplink, struct weft_err *err)
{
	uint16_t port = uplink->port ? uplink->port : WEFT_DP_TUNNEL_PORT;
	size_t len = strlen(uplink->device);

	if (len == 0 || len >= IF_NAMESIZE)
		return weft_err_set(
			err, EINVAL, "uplink \"%.40s\" is no device's name", uplink->device);
	if (port == UINT16_MAX || uplink->xdp >= WEFT_DP_XDP_MODES)
		return weft_err_set(err, EINVAL,
			"uplink %s: tunnel port %u: that and the next one are needed",
			uplink->device, port);
	if (!dp->up)
		dp->up = calloc(1, sizeof(*dp->up));
	if (!dp->up)
		return weft_err_set(err, ENOMEM, "out of memory");
	if (dp->up->port != port)
		drop_programs(dp->up);
	snprintf(dp->up->device, sizeof(dp->up->device), "%s", uplink->device);
	dp->up->port = port;
	dp->up->xdp = uplink->xdp;
	dp->up->whole_sums = uplink->whole_sums;
	return bring_up_or_say(dp, err);
}

void weft_dp_uplink_remove(struct weft_dp *dp)
{
	if (dp->uplink->ifindex) {
		take_off(dp->dir, dp->uplink);
		memset(dp->uplink, 0, sizeof(*dp->uplink));
	}
	dp_publish_at(dp, NULL);
	dp_uplink_free(dp);
	dp_peers_refresh(dp, WEFT_MAX_PEERS);
}

void dp_uplink_free(struct weft_dp *dp)
{
	dp_publish_free(dp);
	if (dp->up)
		drop_programs(dp->up);
	free(dp->up);
	dp->up = NULL;
}

int dp_uplink_rehearse(struct weft_dp *dp, struct weft_err *err)
{
	struct dp_ports ports;
	int r;

	if (!dp->uplink->ifindex)
		return 0;
	dp->up = calloc(1, sizeof(*dp->up));
	if (!dp->up)
		return weft_err_set(err, ENOMEM, "out of memory");
	dp->up->port = dp->uplink->port;
	ports = ports_of(dp->up);
	r = load(dp, dp->up, err);
	if (r == 0)
		r = dp_publish_rehearse(dp, err);
	return r < 0 ? r : dp_xdp_rehearse(dp, &ports, err);
}

void dp_uplink_take_over(struct weft_dp *dp)
{
	struct weft_dp_uplink uplink = {
		.device = dp->uplink->device,
		.port = dp->uplink->port,
		.xdp = dp->uplink->xdp_wanted,
	};

	if (dp->uplink->ifindex)
		weft_dp_uplink_set(dp, &uplink, NULL);
}

void dp_uplink_destroy(const char *dir)
{
	_cleanup_(freep) char *path = dp_pin_map(dir, "uplink");
	_cleanup_(closep) int fd = path ? bpf_obj_get(path) : -1;
	struct weft_bpf_uplink n = {0};
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info), key = 0;

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0 ||
		info.value_size != sizeof(n) || bpf_map_lookup_elem(fd, &key, &n) < 0)
		return;
	take_off(dir, &n);
}

/* --- what has become of it --- */

static bool has_changed(const struct dp_uplink *up)
{
	uint32_t ifindex = 0, mtu = 0;
	struct weft_err err = {0};

	if (look(up->device, &ifindex, &mtu, &err) < 0)
		return strncmp(up->problem, err.msg, sizeof(up->problem) - 6) != 0;
	return ifindex != up->ifindex || mtu != up->mtu;
}

int weft_dp_tunnel_refresh(struct weft_dp *dp)
{
	if (dp->up && has_changed(dp->up)) {
		bring_up_or_say(dp, NULL);
		return 1;
	}
	if (dp->up && dp->up->ifindex)
		dp_publish_at(dp, dp->up->device);
	dp_peers_refresh(dp, PEERS_MOST);
	return 0;
}

int weft_dp_uplink_status(struct weft_dp *dp, struct weft_dp_uplink_status *ret)
{
	const struct dp_uplink *up = dp->up;

	if (!up)
		return -ENOENT;
	*ret = (struct weft_dp_uplink_status){
		.port = up->port,
		.mtu = up->ifindex ? up->mtu : 0,
		.xdp_wanted = up->xdp,
		.xdp_used = up->ifindex ? up->choice.used : WEFT_DP_XDP_OFF,
	};
	memcpy(ret->device, up->device, sizeof(ret->device));
	if (up->ifindex) {
		memcpy(ret->xdp, up->choice.text, sizeof(ret->xdp));
		memcpy(ret->gro, up->gro, sizeof(ret->gro));
	}
	memcpy(ret->problem, up->problem, sizeof(ret->problem));
	return 0;
}
