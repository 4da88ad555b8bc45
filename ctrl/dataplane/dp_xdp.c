/* SPDX-License-Identifier: Apache-2.0 */
/* XDP on the uplink: in which mode, and why. A pinned bpf_link holds the program; xdp_uplink.bpf.c
 * says why it is not libxdp's dispatcher. */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/xdp_uplink.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

#define LINK "uplink-xdp"

static const char *const names[WEFT_DP_XDP_MODES] = {
	[WEFT_DP_XDP_AUTO] = "auto",
	[WEFT_DP_XDP_NATIVE] = "native",
	[WEFT_DP_XDP_GENERIC] = "generic",
	[WEFT_DP_XDP_OFF] = "off",
};

const char *weft_dp_xdp_name(enum weft_dp_xdp mode)
{
	return mode < WEFT_DP_XDP_MODES ? names[mode] : NULL;
}

int weft_dp_xdp_parse(const char *name)
{
	for (int i = 0; i < WEFT_DP_XDP_MODES; i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	return -EINVAL;
}

/* Drivers that give up more for native XDP than it gives: super-packets that cross them whole
 * otherwise, which is most of what a bulk transfer's speed is made of. */
static const struct {
	const char *driver, *why;
} losing[] = {
	{"veth", "a veth's segmentation offload would end"},
	{"virtio_net", "a virtio device would receive no large segments any more"},
	{"vif", "a Xen device would receive no large segments any more"},
	{"tun", "a tap's segmentation offload would end"},
	{"bridge", "a bridge runs it no earlier than TC"},
	{"bonding", "of a bond the ports decide"},
	{"team", "of a team the ports decide"},
	{"macvlan", "a macvlan runs it no earlier than TC"},
	{"ipvlan", "an ipvlan runs it no earlier than TC"},
	{"802.1Q VLAN Support", "a VLAN device runs it no earlier than TC"},
};

static void driver_of(const char *device, char ret[32])
{
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq req = {0};

	ret[0] = '\0';
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", device);
	req.ifr_data = (void *)&info;
	if (fd >= 0 && ioctl(fd, SIOCETHTOOL, &req) == 0)
		snprintf(ret, 32, "%s", info.driver);
}

/* What auto comes to, and the reason when that is nothing. */
static enum weft_dp_xdp choose(const char *device, const char **ret_why)
{
	char driver[32];

	driver_of(device, driver);
	for (unsigned i = 0; i < ARRAY_SIZE(losing); i++)
		if (strcmp(driver, losing[i].driver) == 0) {
			*ret_why = losing[i].why;
			return WEFT_DP_XDP_OFF;
		}
	return WEFT_DP_XDP_NATIVE;
}

void dp_xdp_detach(const char *dir)
{
	_cleanup_(freep) char *path = dp_pin_name(dir, LINK);
	_cleanup_(closep) int link = path ? bpf_obj_get(path) : -1;

	if (link < 0)
		return;
	bpf_link_detach(link);
	unlink(path);
}

static int attach(struct weft_dp *dp, int prog, uint32_t ifindex, enum weft_dp_xdp mode)
{
	_cleanup_(freep) char *path = dp_pin_name(dp->dir, LINK);
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		.flags = mode == WEFT_DP_XDP_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	_cleanup_(closep) int link = path ? bpf_obj_get(path) : -1;
	int r;

	if (!path)
		return -ENOMEM;
	/* A new program in the old one's place, as long as nothing else has changed. */
	if (link >= 0 && dp_link_ifindex(link) == ifindex && dp->uplink->xdp_used == mode &&
		bpf_link_update(link, prog, NULL) == 0)
		return 0;
	if (link >= 0) {
		dp_xdp_detach(dp->dir);
		close(link);
	}
	link = bpf_link_create(prog, (int)ifindex, BPF_XDP, &opts);
	if (link < 0)
		return link;
	r = bpf_obj_pin(link, path);
	return r < 0 ? r : 0;
}

static const char *refusal(int code)
{
	switch (code) {
	case -EBUSY:
	case -EEXIST:
		return "another XDP program is on it";
	case -EOPNOTSUPP:
		return "its driver has none";
	case -ERANGE:
		return "its MTU is too large for the driver's XDP";
	default:
		return strerror(-code);
	}
}

/* For frames in pieces where the kernel has them (5.18), else for whole ones. */
static int load(struct weft_dp *dp, const struct dp_ports *ports, bool generic, bool whole_sums,
	struct xdp_uplink **ret)
{
	int r = -EINVAL;

	for (int frags = dp_has(dp, DP_XDP_FRAGS); frags >= 0 && r < 0; frags--) {
		struct xdp_uplink *skel = xdp_uplink__open();

		if (!skel)
			return -errno;
		DP_CONSTANTS(dp, skel->rodata);
		skel->rodata->tunnel_port = ports->raw;
		skel->rodata->vxlan_port = ports->vxlan;
		skel->rodata->xdp_frags = frags;
		skel->rodata->no_decap = generic;
		skel->rodata->xdp_publishes = whole_sums;
		bpf_program__set_flags(skel->progs.xdp_uplink, frags ? BPF_F_XDP_HAS_FRAGS : 0);
		r = dp_prepare(dp, skel->obj);
		if (r == 0)
			r = xdp_uplink__load(skel);
		if (r == 0)
			*ret = skel;
		else
			xdp_uplink__destroy(skel);
	}
	return r;
}

/* Whoever sends into one of these is on this machine, and may leave checksums to the receiver. In
 * generic mode any virtual device may bring such packets. */
static bool sums_are_whole(const char *device, enum weft_dp_xdp mode)
{
	char driver[32];

	driver_of(device, driver);
	return mode == WEFT_DP_XDP_NATIVE && strcmp(driver, "veth") != 0 &&
	       strcmp(driver, "tun") != 0 && strcmp(driver, "vif") != 0;
}

/* The program stays loaded with its link alone. */
static int run(struct weft_dp *dp, const struct dp_ports *ports, uint32_t ifindex,
	enum weft_dp_xdp mode, bool whole_sums)
{
	struct xdp_uplink *skel = NULL;
	int r = load(dp, ports, mode == WEFT_DP_XDP_GENERIC, whole_sums, &skel);

	if (r == 0)
		r = attach(dp, bpf_program__fd(skel->progs.xdp_uplink), ifindex, mode);
	xdp_uplink__destroy(skel);
	return r;
}

int dp_xdp_attach(struct weft_dp *dp, const struct dp_ports *ports, uint32_t ifindex,
	const char *device, enum weft_dp_xdp wanted, bool whole_sums, struct dp_xdp_choice *ret,
	struct weft_err *err)
{
	const char *why = "as set";
	enum weft_dp_xdp mode = wanted == WEFT_DP_XDP_AUTO ? choose(device, &why) : wanted;
	int r;

	if (!dp_has(dp, DP_XDP_LINK)) {
		mode = WEFT_DP_XDP_OFF;
		why = "the kernel has no links for XDP";
	}
	if (mode == WEFT_DP_XDP_OFF) {
		dp_xdp_detach(dp->dir);
		ret->used = mode;
		snprintf(ret->text, sizeof(ret->text), "off: %s", why);
		return 0;
	}
	r = run(dp, ports, ifindex, mode, whole_sums || sums_are_whole(device, mode));
	if (r == 0) {
		ret->used = mode;
		snprintf(ret->text, sizeof(ret->text), "%s, by a bpf_link", names[mode]);
		return 0;
	}
	dp_xdp_detach(dp->dir);
	ret->used = WEFT_DP_XDP_OFF;
	snprintf(ret->text, sizeof(ret->text), "off: %s", refusal(r));
	if (wanted == WEFT_DP_XDP_AUTO)
		return 0;
	weft_err_set(err, r, "uplink %s: %s XDP: %s", device, names[mode], refusal(r));
	return weft_err_hint(err, "--xdp=auto takes what the device has");
}
