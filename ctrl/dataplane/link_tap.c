/* SPDX-License-Identifier: Apache-2.0 */
/* The devices that virtual machines read and write: macvtap and tap. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netlink/route/link/macvtap.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/link.h"
#include "ctrl/dataplane/link_nl.h"

/* --- macvtap -------------------------------------------------------------------------------------
 */

static int macvtap_create(struct weft_nl *nl, const char *lower, const char *name,
	const uint8_t mac[6], uint16_t mtu, struct weft_err *err)
{
	_cleanup_(rtnl_link_putp) struct rtnl_link *below = NULL, *link = NULL;
	_cleanup_(nl_addr_putp) struct nl_addr *addr = NULL;
	int r;

	r = weft_nl_link_get(nl, lower, &below, err);
	if (r < 0)
		return weft_err_set(
			err, r, "macvtap %s: lower device %s: %s", name, lower, strerror(-r));
	link = rtnl_link_macvtap_alloc();
	addr = nl_addr_build(AF_LLC, mac, 6);
	if (!link || !addr)
		return weft_err_set(err, ENOMEM, "macvtap %s: out of memory", name);
	rtnl_link_set_name(link, name);
	rtnl_link_set_link(link, rtnl_link_get_ifindex(below));
	rtnl_link_set_addr(link, addr);
	if (mtu)
		rtnl_link_set_mtu(link, mtu);
	r = rtnl_link_macvtap_set_mode(link, (uint32_t)rtnl_link_macvtap_str2mode("bridge"));
	if (r < 0)
		return weft_err_set(err, EINVAL, "macvtap %s: %s", name, nl_geterror(r));
	return weft_nl_result(nl, rtnl_link_add(nl->sk, link, NLM_F_CREATE | NLM_F_EXCL), err,
		"macvtap %s: create it on %s", name, lower);
}

/* A filesystem mounted nowhere but in the descriptor that is returned: nothing to clean up, and no
 * other process ever sees it. */
static int mount_detached(const char *type, struct weft_err *err)
{
	_cleanup_(closep) int fs = fsopen(type, FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0)
		return weft_err_set(err, errno, "private %s: %m", type);
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return weft_err_set(err, errno, "private %s: create it: %m", type);
	fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return fd < 0 ? weft_err_set(err, errno, "private %s: mount it: %m", type) : fd;
}

/* The device number, from the sysfs of that namespace: another one shows other devices by the same
 * name. A sysfs shows the namespace it was mounted from. */
static int macvtap_devnum(
	const char *netns, const char *name, int ifindex, dev_t *ret, struct weft_err *err)
{
	_cleanup_(closep) int sysfs = -1, fd = -1;
	_cleanup_(weft_ns_leave) int home = -1;
	unsigned major, minor;
	char path[128], text[32];
	ssize_t n;
	int r;

	r = weft_ns_enter(netns, &home, err);
	if (r < 0)
		return r;
	sysfs = mount_detached("sysfs", err);
	if (sysfs < 0)
		return sysfs;
	snprintf(path, sizeof(path), "class/net/%s/macvtap/tap%d/dev", name, ifindex);
	fd = openat(sysfs, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return weft_err_set(err, errno, "macvtap %s: sysfs %s: %m", name, path);
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return weft_err_set(err, errno, "macvtap %s: sysfs %s: %m", name, path);
	text[n] = '\0';
	if (sscanf(text, "%u:%u", &major, &minor) != 2)
		return weft_err_set(err, EIO, "macvtap %s: sysfs %s: unexpected text", name, path);
	*ret = makedev(major, minor);
	return 0;
}

static int macvtap_open(const char *name, dev_t dev, int *ret_fd, struct weft_err *err)
{
	_cleanup_(closep) int tmpfs = mount_detached("tmpfs", err), fd = -1;
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

	if (tmpfs < 0)
		return tmpfs;
	if (mknodat(tmpfs, "tap", S_IFCHR | 0600, dev) < 0)
		return weft_err_set(err, errno, "macvtap %s: device node: %m", name);
	fd = openat(tmpfs, "tap", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return weft_err_set(err, errno, "macvtap %s: open its queue: %m", name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return weft_err_set(err, errno, "macvtap %s: switch vnet_hdr on: %m", name);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int macvtap_configure(struct weft_nl *nl, const char *netns, const char *name,
	const struct weft_nl_change *change, int *ret_fd, struct weft_err *err)
{
	_cleanup_(rtnl_link_putp) struct rtnl_link *link = NULL;
	dev_t dev = 0;
	int r;

	r = weft_nl_link_get(nl, name, &link, err);
	if (r < 0)
		return weft_err_set(err, r, "macvtap %s: %s", name, strerror(-r));
	if (!rtnl_link_is_macvtap(link)) {
		weft_err_set(err, EEXIST, "macvtap %s: %s has another kind of link by that name",
			name, netns);
		weft_err_hint(err, "remove the instance and deploy it anew");
		return -EEXIST;
	}
	r = weft_nl_link_up(nl, link, change, err);
	if (r == 0)
		r = macvtap_devnum(netns, name, rtnl_link_get_ifindex(link), &dev, err);
	return r < 0 ? r : macvtap_open(name, dev, ret_fd, err);
}

int weft_link_macvtap_add(const char *netns, const char *lower, const char *name,
	const uint8_t mac[6], uint16_t mtu, int *ret_fd, struct weft_err *err)
{
	const struct weft_nl_change change = {.mac = mac, .mtu = mtu};
	_cleanup_(rtnl_link_putp) struct rtnl_link *made = NULL;
	_cleanup_(weft_nl_close) struct weft_nl nl = {};
	int r;

	r = weft_link_name_check(name, err);
	if (r == 0)
		r = weft_nl_open(&nl, netns, err);
	if (r < 0)
		return r;
	r = macvtap_create(&nl, lower, name, mac, mtu, err);
	if (r == 0)
		r = weft_nl_link_get(&nl, name, &made, err);
	if (r < 0 && r != -EEXIST)
		return r;
	r = macvtap_configure(&nl, netns, name, &change, ret_fd, err);
	if (r < 0 && made)
		(void)rtnl_link_delete(nl.sk, made);
	return r;
}

/* --- tap -----------------------------------------------------------------------------------------
 */

int weft_link_tap_add(
	const char *name, uint16_t mtu, int *ret_fd, uint32_t *ret_ifindex, struct weft_err *err)
{
	const struct weft_nl_change change = {.mac = weft_nl_gateway_mac, .mtu = mtu};
	_cleanup_(rtnl_link_putp) struct rtnl_link *link = NULL;
	_cleanup_(weft_nl_close) struct weft_nl nl = {};
	_cleanup_(closep) int fd = -1;
	struct ifreq ifr = {};
	int r;

	r = weft_link_name_check(name, err);
	if (r < 0)
		return r;
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		r = weft_err_set(err, errno, "tap %s: /dev/net/tun: %m", name);
		weft_err_hint(err, "load the module: modprobe tun");
		return r;
	}
	/* EXCL: never attach to a device that somebody else made. */
	ifr.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.15s", name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return weft_err_set(err, errno == EBUSY ? EEXIST : errno, "tap %s: create it: %s",
			name, errno == EBUSY ? "there is one of that name" : strerror(errno));
	r = weft_nl_open(&nl, NULL, err);
	if (r < 0)
		return r;
	r = weft_nl_link_get(&nl, name, &link, err);
	if (r < 0)
		return weft_err_set(err, r, "tap %s: %s", name, strerror(-r));
	r = weft_nl_link_up(&nl, link, &change, err);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	*ret_ifindex = (uint32_t)rtnl_link_get_ifindex(link);
	return 0;
}
