/* SPDX-License-Identifier: Apache-2.0 */
/* The program on a device's ingress: a pinned tcx link where the kernel has them (6.6), else a
 * filter of clsact, which the device itself keeps.
 *
 * libbpf 1.1 has no name for tcx; the attach type's number is enough for bpf_link_create(). */
#include <errno.h>
#include <limits.h>
#include <linux/pkt_sched.h>
#include <netlink/route/classifier.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

/* Where our filters are: clsact may hold those of others. */
#define FILTER_HANDLE   0x77656674
#define FILTER_PRIORITY 1
#define FILTER_SECOND   2

static int program(struct weft_dp *dp)
{
	return bpf_program__fd(dp->skel->progs.tc_instance);
}

/* The device that a link is on, 0 when it has gone. struct bpf_link_info of our headers has no
 * member for tcx, which begins with the index like the one for XDP. */
uint32_t dp_link_ifindex(int link_fd)
{
	struct bpf_link_info info = {0};
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(link_fd, &info, &size) < 0)
		return 0;
	return info.xdp.ifindex;
}

static int attach_error(struct weft_err *err, int code, uint32_t ifindex)
{
	if (code == -ENODEV || code == -EINVAL)
		return weft_err_set(err, ENODEV, "no device has index %u", ifindex);
	errno = -code;
	return weft_err_set(err, code, "attaching to device %u: %m", ifindex);
}

/* The program in the place of what is attached by the pin at path, or newly. */
static int attach_tcx(int prog, const char *path, uint32_t ifindex, struct weft_err *err)
{
	_cleanup_(closep) int old = -1, link = -1;
	int r;

	old = bpf_obj_get(path);
	if (old >= 0 && dp_link_ifindex(old) == ifindex) {
		r = bpf_link_update(old, prog, NULL);
		if (r == 0 || r == -EEXIST) /* it is that one already */
			return 0;
	}
	link = bpf_link_create(prog, (int)ifindex, DP_TCX_INGRESS, NULL);
	if (link < 0)
		return attach_error(err, link, ifindex);
	if (old >= 0) {
		bpf_link_detach(old);
		unlink(path);
	}
	r = bpf_obj_pin(link, path);
	if (r < 0)
		return dp_refused(err, r, path);
	return 0;
}

static int attach_clsact(int prog, uint32_t ifindex, uint32_t priority, struct weft_err *err)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog, .handle = FILTER_HANDLE,
		.priority = priority, .flags = BPF_TC_F_REPLACE);
	int made, r;

	made = bpf_tc_hook_create(&hook);
	if (made < 0 && made != -EEXIST)
		return attach_error(err, made, ifindex);
	r = bpf_tc_attach(&hook, &opts);
	return r < 0 ? attach_error(err, r, ifindex) : made == 0;
}

/* The qdisc stays: it may be somebody else's, and goes with the device. */
static void detach_clsact(uint32_t ifindex, uint32_t priority)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE, .priority = priority);

	if (ifindex)
		bpf_tc_detach(&hook, &opts);
}

static uint32_t filter_program(uint32_t ifindex, uint32_t priority)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE, .priority = priority);

	return bpf_tc_query(&hook, &opts) < 0 ? 0 : opts.prog_id;
}

uint32_t dp_clsact_program(uint32_t ifindex)
{
	return filter_program(ifindex, FILTER_PRIORITY);
}

/* The order of several on one device: with tcx, that in which they are attached. */
static uint32_t priority_of(const char *name)
{
	return strcmp(name, DP_PUBLISH_LINK) == 0 ? FILTER_SECOND : FILTER_PRIORITY;
}

int dp_attach_program(
	struct weft_dp *dp, int prog, const char *name, uint32_t ifindex, struct weft_err *err)
{
	_cleanup_(freep) char *path = dp_pin_name(dp->dir, name);
	int r;

	if (!path)
		return weft_err_set(err, ENOMEM, "out of memory");
	r = dp->tcx ? attach_tcx(prog, path, ifindex, err)
		    : attach_clsact(prog, ifindex, priority_of(name), err);
	return r < 0 ? r : 0;
}

void dp_detach_program(const char *dir, const char *name, uint32_t ifindex)
{
	_cleanup_(freep) char *path = dp_pin_name(dir, name);
	_cleanup_(closep) int link = path ? bpf_obj_get(path) : -1;

	if (link < 0) {
		detach_clsact(ifindex, priority_of(name));
		return;
	}
	/* Detaching acts at once; dropping the last reference would some time later. */
	bpf_link_detach(link);
	unlink(path);
}

uint32_t dp_attached_program(const char *dir, const char *name, uint32_t ifindex)
{
	_cleanup_(freep) char *path = dp_pin_name(dir, name);
	_cleanup_(closep) int link = path ? bpf_obj_get(path) : -1;
	struct bpf_link_info info = {0};
	uint32_t size = sizeof(info);

	if (link < 0)
		return ifindex ? filter_program(ifindex, priority_of(name)) : 0;
	return bpf_obj_get_info_by_fd(link, &info, &size) < 0 ? 0 : info.prog_id;
}

/* --- instances: their ids are the names --- */

int dp_attach(struct weft_dp *dp, uint32_t id, uint32_t ifindex, struct weft_err *err)
{
	_cleanup_(freep) char *path = dp_pin_link(dp->dir, id);
	_cleanup_(closep) int link = path && dp->tcx ? bpf_obj_get(path) : -1;

	if (!path)
		return weft_err_set(err, ENOMEM, "out of memory");
	if (link >= 0 && dp_link_ifindex(link) == ifindex)
		return 0;
	return dp->tcx ? attach_tcx(program(dp), path, ifindex, err)
		       : attach_clsact(program(dp), ifindex, FILTER_PRIORITY, err);
}

int dp_attach_refresh(struct weft_dp *dp, uint32_t id, uint32_t ifindex)
{
	_cleanup_(freep) char *path = dp_pin_link(dp->dir, id);
	_cleanup_(closep) int link = -1;
	int r;

	if (!path)
		return -ENOMEM;
	link = bpf_obj_get(path);
	if (link >= 0)
		return bpf_link_update(link, program(dp), NULL);
	r = dp->tcx ? 0 : attach_clsact(program(dp), ifindex, FILTER_PRIORITY, NULL);
	return r < 0 ? r : 0;
}

/* Has the parent any filter, of whatever kind? */
static bool has_filters(struct nl_sock *sk, uint32_t ifindex, uint32_t parent)
{
	struct nl_cache *cache = NULL;
	bool any;

	if (rtnl_cls_alloc_cache(sk, (int)ifindex, parent, &cache) < 0)
		return true;
	any = nl_cache_nitems(cache) > 0;
	nl_cache_free(cache);
	return any;
}

void dp_detach_qdisc(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
		.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	struct nl_sock *sk = nl_socket_alloc();

	if (sk && nl_connect(sk, NETLINK_ROUTE) == 0 &&
		!has_filters(sk, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)) &&
		!has_filters(sk, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)))
		bpf_tc_hook_destroy(&hook);
	nl_socket_free(sk);
}

void dp_detach(const char *dir, uint32_t id, uint32_t ifindex)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", id);
	dp_detach_program(dir, name, ifindex);
}
