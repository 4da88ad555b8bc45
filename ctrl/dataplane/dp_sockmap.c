/* SPDX-License-Identifier: Apache-2.0 */
/* The shortcut's programs: loaded when the first service wants them, attached to cgroup v2 by a
 * pinned link, and to the pinned map of sockets, which holds its program by itself. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/sockmap.skel.h"
#include "bpf/tc_instance.skel.h"
#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/link_nl.h"
#include "ctrl/dataplane/sockmap.h"

_Static_assert(WEFT_DP_SHORTCUT_REASONS == WEFT_SHORTCUT_REASON_SLOTS, "one limit");

static const struct {
	const char *name, *text;
} reasons[] = {
#define WEFT_SHORTCUT_ROW(symbol, name, text) [WEFT_SHORTCUT_##symbol] = {name, text},
	WEFT_SHORTCUT_REASONS(WEFT_SHORTCUT_ROW)
#undef WEFT_SHORTCUT_ROW
};
_Static_assert(ARRAY_SIZE(reasons) == WEFT_SHORTCUT_REASON_COUNT, "a row for every reason");

unsigned weft_dp_shortcut_reason_count(void)
{
	return WEFT_SHORTCUT_REASON_COUNT;
}

const char *weft_dp_shortcut_reason_name(unsigned reason)
{
	return reason < WEFT_SHORTCUT_REASON_COUNT ? reasons[reason].name : NULL;
}

const char *weft_dp_shortcut_reason_text(unsigned reason)
{
	return reason < WEFT_SHORTCUT_REASON_COUNT ? reasons[reason].text : NULL;
}

static char *link_path(const char *dir)
{
	return weft_strf("%s/links/shortcut", dir);
}

/* --- loading --- */

static int load(struct weft_dp *dp, struct weft_err *err)
{
	struct sockmap *skel = sockmap__open();
	int r;

	if (!skel)
		return dp_refused(err, errno, "loading the shortcut");
	DP_CONSTANTS(dp, skel->rodata);
	r = dp_prepare(dp, skel->obj);
	if (r == 0)
		r = sockmap__load(skel);
	if (r < 0) {
		sockmap__destroy(skel);
		return dp_refused(err, r, "loading the shortcut");
	}
	dp->sockmap = skel;
	return 0;
}

/* Sockets that come into the map from now on have this program. */
static int attach_to_map(struct weft_dp *dp, struct weft_err *err)
{
	int r = bpf_prog_attach(bpf_program__fd(dp->sockmap->progs.shortcut_send),
		bpf_map__fd(dp->sockmap->maps.shortcut_socks), BPF_SK_MSG_VERDICT, 0);

	return r < 0 ? dp_refused(err, r, "attaching to the shortcut's sockets") : 0;
}

static int attach(struct weft_dp *dp, struct weft_err *err)
{
	_cleanup_(freep) char *path = link_path(dp->dir);
	_cleanup_(closep) int cgroup = -1, link = -1;
	int r;

	if (!path)
		return weft_err_set(err, ENOMEM, "out of memory");
	link = bpf_obj_get(path);
	if (link >= 0)
		return 0;
	r = dp_cgroup_open(dp->cgroup, &cgroup, err);
	if (r < 0)
		return r;
	link = bpf_link_create(bpf_program__fd(dp->sockmap->progs.shortcut_sockets), cgroup,
		BPF_CGROUP_SOCK_OPS, NULL);
	if (link < 0)
		return dp_refused(err, link, "attaching to cgroup v2");
	r = bpf_obj_pin(link, path);
	return r < 0 ? dp_refused(err, r, path) : 0;
}

void dp_sockmap_detach(const char *dir)
{
	_cleanup_(freep) char *path = link_path(dir);
	_cleanup_(closep) int link = path ? bpf_obj_get(path) : -1;

	if (link < 0)
		return;
	bpf_link_detach(link);
	unlink(path);
}

int dp_sockmap_rehearse(struct weft_dp *dp, struct weft_err *err)
{
	_cleanup_(freep) char *path = link_path(dp->dir);
	_cleanup_(closep) int link = path ? bpf_obj_get(path) : -1;

	return link < 0 ? 0 : load(dp, err);
}

/* Sockets that are known already keep the program that they came with. */
void dp_sockmap_take_over(struct weft_dp *dp)
{
	_cleanup_(freep) char *path = link_path(dp->dir);
	_cleanup_(closep) int link = path ? bpf_obj_get(path) : -1;
	struct weft_err err = {0};
	int r;

	if (link < 0 || !dp->sockmap)
		return;
	r = attach_to_map(dp, &err);
	if (r == 0) {
		r = bpf_link_update(
			link, bpf_program__fd(dp->sockmap->progs.shortcut_sockets), NULL);
		if (r < 0)
			dp_refused(&err, r, "replacing the program in cgroup v2");
	}
	if (r < 0)
		log_warning("the shortcut goes on as the last weftd left it: %s", err.msg);
}

void dp_sockmap_free(struct weft_dp *dp)
{
	sockmap__destroy(dp->sockmap);
}

/* --- what there is --- */

int weft_dp_shortcut_supported(struct weft_dp *dp, struct weft_err *err)
{
	_cleanup_(closep) int cgroup = -1;
	int r = 0;

	if (!dp->shortcut_probed) {
		dp->shortcut_err = (struct weft_err){0};
		r = dp_feature_need(dp, DP_NETNS_COOKIE, &dp->shortcut_err);
		if (r == 0)
			r = dp_feature_need(dp, DP_SOCKMAP, &dp->shortcut_err);
		if (r == 0)
			r = dp_cgroup_open(dp->cgroup, &cgroup, &dp->shortcut_err);
		if (r == 0)
			r = dp_sockmap_probe(&dp->shortcut_err);
		if (r < 0)
			weft_err_prefix(&dp->shortcut_err, "the shortcut between sockets");
		dp->shortcut_probed = true;
	}
	if (!dp->shortcut_err.code)
		return 0;
	if (err)
		*err = dp->shortcut_err;
	return -dp->shortcut_err.code;
}

/* --- instances --- */

static int netns_cookie(const char *netns, uint64_t *ret, struct weft_err *err)
{
	_cleanup_(weft_ns_leave) int home = -1;
	_cleanup_(closep) int fd = -1;
	socklen_t size = sizeof(*ret);
	uint64_t cookie;

	if (netns) {
		int r = weft_ns_enter(netns, &home, err);

		if (r < 0)
			return r;
	}
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) < 0)
		return weft_err_set(err, errno, "network namespace %s: its cookie: %m",
			netns ? netns : "of weftd");
	*ret = cookie;
	return 0;
}

int weft_dp_shortcut_netns(struct weft_dp *dp, uint32_t id, const char *netns, struct weft_err *err)
{
	struct weft_netns *ns;
	uint64_t cookie = 0;
	int r;

	if (id == 0 || id >= WEFT_MAX_INSTANCES || !dp->instances[id].active)
		return weft_err_set(err, ENOENT, "instance %u is not in the data plane", id);
	r = netns_cookie(netns, &cookie, err);
	if (r < 0)
		return r;
	ns = &dp->shortcut_netns[id];
	if (ns->cookie == cookie && ns->epoch == dp->instances[id].epoch)
		return 0;
	/* Whoever reads in between finds an epoch that is nobody's. */
	__atomic_store_n(&ns->epoch, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&ns->cookie, cookie, __ATOMIC_RELEASE);
	__atomic_store_n(&ns->epoch, dp->instances[id].epoch, __ATOMIC_RELEASE);
	return 0;
}

/* --- services --- */

static int sum(struct weft_dp *dp, uint32_t id, struct weft_shortcut_counters *ret)
{
	union {
		struct weft_shortcut_counters c;
		uint64_t words[sizeof(struct weft_shortcut_counters) / sizeof(uint64_t)];
	} total;
	int r = dp_stats_sum(
		dp->sockmap->maps.shortcut_stats, id, total.words, ARRAY_SIZE(total.words));

	if (r == 0)
		*ret = total.c;
	return r;
}

bool weft_dp_shortcut_wanted(struct weft_dp *dp, uint32_t id)
{
	return id < WEFT_MAX_SERVICES && dp->services[id].flags & WEFT_SERVICE_SHORTCUT;
}

static bool wanted_by_any(struct weft_dp *dp)
{
	for (uint32_t id = 1; id < WEFT_MAX_SERVICES; id++)
		if (weft_dp_shortcut_wanted(dp, id))
			return true;
	return false;
}

static void set_flag(struct weft_dp *dp, uint32_t id, bool on)
{
	uint16_t flags = dp->services[id].flags;

	flags = on ? flags | WEFT_SERVICE_SHORTCUT : flags & (uint16_t)~WEFT_SERVICE_SHORTCUT;
	__atomic_store_n(&dp->services[id].flags, flags, __ATOMIC_RELEASE);
}

/* The program has to see the end of every socket that it knows. */
void dp_sockmap_sweep(struct weft_dp *dp)
{
	struct weft_shortcut_counters all = {0};

	if (!dp->sockmap || sum(dp, 0, &all) < 0)
		return;
	if (all.opened == all.closed && !wanted_by_any(dp))
		dp_sockmap_detach(dp->dir);
}

static void switch_off(struct weft_dp *dp, uint32_t id)
{
	if (!weft_dp_shortcut_wanted(dp, id))
		return;
	set_flag(dp, id, false);
	dp_sockmap_sweep(dp);
}

void dp_sockmap_forget(struct weft_dp *dp, uint32_t id)
{
	switch_off(dp, id);
	if (dp->sockmap)
		dp_stats_reset(bpf_map__fd(dp->sockmap->maps.shortcut_stats), id);
}

int weft_dp_shortcut_service(struct weft_dp *dp, uint32_t id, bool on, struct weft_err *err)
{
	int r;

	if (id == 0 || id >= WEFT_MAX_SERVICES || !dp->services[id].epoch)
		return weft_err_set(err, ENOENT, "service %u is not in the data plane", id);
	if (!on) {
		switch_off(dp, id);
		return 0;
	}
	r = weft_dp_shortcut_supported(dp, err);
	if (r == 0 && !dp->sockmap)
		r = load(dp, err);
	if (r == 0)
		r = attach_to_map(dp, err);
	if (r == 0)
		r = attach(dp, err);
	if (r < 0)
		return r;
	set_flag(dp, id, true);
	return 0;
}

int weft_dp_shortcut_counters(
	struct weft_dp *dp, uint32_t id, struct weft_dp_shortcut_counters *ret)
{
	struct weft_shortcut_counters c = {0};
	int r = 0;

	if (id == 0 || id >= WEFT_MAX_SERVICES)
		return -EINVAL;
	if (dp->sockmap)
		r = sum(dp, id, &c);
	if (r < 0)
		return r;
	*ret = (struct weft_dp_shortcut_counters){
		/* Sockets of an earlier service of this id may still be closing. */
		.sockets = c.opened > c.closed ? c.opened - c.closed : 0,
		.messages = c.messages,
		.bytes = c.bytes,
	};
	memcpy(ret->left, c.left, sizeof(ret->left));
	return 0;
}
