/* SPDX-License-Identifier: Apache-2.0 */
/* XDP on the uplink: in which mode, by what, and why. libxdp's dispatcher holds the program where
 * the kernel lets it, so that those of others have their place beside it; else a pinned bpf_link.
 */
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
#include "ctrl/base/log.h"
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

static void detach_link(const char *dir)
{
	_cleanup_(freep) char *path = dp_pin_name(dir, LINK);
	_cleanup_(closep) int link = path ? bpf_obj_get(path) : -1;

	if (link < 0)
		return;
	bpf_link_detach(link);
	unlink(path);
}

static void detach_dispatched(const struct weft_bpf_uplink *note)
{
	if (note->xdp_dispatched)
		dp_dispatch_detach(note->ifindex);
}

void dp_xdp_detach(const char *dir, const struct weft_bpf_uplink *note)
{
	detach_link(dir);
	detach_dispatched(note);
}

static void detach(struct weft_dp *dp)
{
	dp_xdp_detach(dp->dir, dp->uplink);
	dp->uplink->xdp_dispatched = 0;
}

static int attach_link(struct weft_dp *dp, int prog, uint32_t ifindex, enum weft_dp_xdp mode)
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
	if (link >= 0)
		close(TAKE_FD(link));
	detach(dp);
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

struct how {
	enum weft_dp_xdp mode;
	bool whole_sums, dispatcher;
};

static int open_program(struct weft_dp *dp, const struct dp_ports *ports, const struct how *how,
	bool frags, struct xdp_uplink **ret)
{
	struct xdp_uplink *skel = xdp_uplink__open();
	int r;

	if (!skel)
		return -errno;
	DP_CONSTANTS(dp, skel->rodata);
	skel->rodata->tunnel_port = ports->raw;
	skel->rodata->vxlan_port = ports->vxlan;
	skel->rodata->xdp_frags = frags;
	skel->rodata->no_decap = how->mode == WEFT_DP_XDP_GENERIC;
	skel->rodata->xdp_publishes = how->whole_sums;
	if (!how->dispatcher)
		bpf_program__set_flags(skel->progs.xdp_uplink, frags ? BPF_F_XDP_HAS_FRAGS : 0);
	r = dp_prepare(dp, skel->obj);
	if (r < 0)
		xdp_uplink__destroy(skel);
	else
		*ret = skel;
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

/* As a program of its own, which the verifier looks at as it does in the dispatcher. It is loaded
 * once more to be attached: for the dispatcher it is another one. */
int dp_xdp_rehearse(struct weft_dp *dp, const struct dp_ports *ports, struct weft_err *err)
{
	const struct how how = {
		.mode = (enum weft_dp_xdp)dp->uplink->xdp_used,
		.whole_sums =
			sums_are_whole(dp->uplink->device, (enum weft_dp_xdp)dp->uplink->xdp_used),
	};
	uint32_t running = 0;
	int r = -EINVAL;

	if (how.mode == WEFT_DP_XDP_OFF ||
		bpf_xdp_query_id((int)dp->uplink->ifindex, 0, &running) < 0 || !running)
		return 0;
	for (int frags = dp_has(dp, DP_XDP_FRAGS); frags >= 0 && r < 0; frags--) {
		struct xdp_uplink *skel = NULL;

		r = open_program(dp, ports, &how, frags, &skel);
		if (r == 0)
			r = xdp_uplink__load(skel);
		xdp_uplink__destroy(skel);
	}
	return r < 0 ? dp_refused(err, r, "loading the uplink's XDP program") : 0;
}

static int load_and_link(
	struct weft_dp *dp, struct xdp_uplink *skel, uint32_t ifindex, const struct how *how)
{
	int r = xdp_uplink__load(skel);

	return r < 0 ? r
		     : attach_link(dp, bpf_program__fd(skel->progs.xdp_uplink), ifindex, how->mode);
}

static int dispatch(struct weft_dp *dp, struct xdp_uplink *skel, uint32_t ifindex,
	const struct how *how, bool frags)
{
	detach_link(dp->dir);
	/* A dispatcher is in one mode. */
	if (dp->uplink->xdp_used != how->mode)
		detach_dispatched(dp->uplink);
	dp->uplink->xdp_dispatched = 1;
	return dp_dispatch_attach(skel->obj, ifindex, how->mode, frags);
}

/* The program stays loaded with its link alone. For frames in pieces where the kernel has them
 * (5.18), else for whole ones. */
static int run(
	struct weft_dp *dp, const struct dp_ports *ports, uint32_t ifindex, const struct how *how)
{
	int r = -EINVAL;

	for (int frags = dp_has(dp, DP_XDP_FRAGS); frags >= 0 && r < 0; frags--) {
		struct xdp_uplink *skel = NULL;

		r = open_program(dp, ports, how, frags, &skel);
		if (r < 0)
			return r;
		r = how->dispatcher ? dispatch(dp, skel, ifindex, how, frags)
				    : load_and_link(dp, skel, ifindex, how);
		xdp_uplink__destroy(skel);
		if (r == -EBUSY || r == -EEXIST)
			break;
	}
	return r;
}

/* Through the dispatcher if it can be, else by a link. ret says by which, and why. */
static int run_either(struct weft_dp *dp, const struct dp_ports *ports, uint32_t ifindex,
	struct how *how, struct dp_xdp_choice *ret)
{
	int r = dp_has(dp, DP_FREPLACE) ? 0 : dp_dispatch_probe();
	const char *why = NULL;

	how->dispatcher = dp_has(dp, DP_FREPLACE);
	if (!how->dispatcher)
		why = r < 0 ? strerror(-r) : "left out";
	if (how->dispatcher) {
		r = run(dp, ports, ifindex, how);
		if (r == 0)
			snprintf(ret->text, sizeof(ret->text), "%s, through libxdp's dispatcher",
				names[how->mode]);
		if (r == 0 || r == -EBUSY || r == -EEXIST)
			return r;
		log_debug("XDP through libxdp: %s", strerror(-r));
		why = strerror(-r);
		how->dispatcher = false;
		detach(dp);
	}
	r = run(dp, ports, ifindex, how);
	if (r == 0)
		snprintf(ret->text, sizeof(ret->text),
			"%s, by a bpf_link (libxdp's dispatcher: %s)", names[how->mode], why);
	return r;
}

int dp_xdp_attach(struct weft_dp *dp, const struct dp_ports *ports, uint32_t ifindex,
	const char *device, enum weft_dp_xdp wanted, bool whole_sums, struct dp_xdp_choice *ret,
	struct weft_err *err)
{
	const char *why = "as set";
	struct how how = {
		.mode = wanted == WEFT_DP_XDP_AUTO ? choose(device, &why) : wanted,
	};
	int r;

	if (!dp_has(dp, DP_XDP_LINK)) {
		how.mode = WEFT_DP_XDP_OFF;
		why = "the kernel has no links for XDP";
	}
	ret->used = WEFT_DP_XDP_OFF;
	if (how.mode == WEFT_DP_XDP_OFF) {
		detach(dp);
		snprintf(ret->text, sizeof(ret->text), "off: %s", why);
		return 0;
	}
	how.whole_sums = whole_sums || sums_are_whole(device, how.mode);
	r = run_either(dp, ports, ifindex, &how, ret);
	if (r == 0) {
		ret->used = how.mode;
		return 0;
	}
	detach(dp);
	snprintf(ret->text, sizeof(ret->text), "off: %s", refusal(r));
	if (wanted == WEFT_DP_XDP_AUTO)
		return 0;
	weft_err_set(err, r, "uplink %s: %s XDP: %s", device, names[how.mode], refusal(r));
	return weft_err_hint(err, "--xdp=auto takes what the device has");
}
