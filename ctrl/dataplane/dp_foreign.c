/* SPDX-License-Identifier: Apache-2.0 */
/* Is a device somebody else's instance already? The program of another weftd there has this one's
 * name, but other maps. */
#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

#define MOST_PROGRAMS 64
#define MOST_MAPS     64 /* BPF's own limit for a program */

static uint32_t map_id(const struct bpf_map *map)
{
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(bpf_map__fd(map), &info, &size) < 0 ? 0 : info.id;
}

/* A program that cannot be looked at is nobody's that we know. */
static bool is_foreign(struct weft_dp *dp, uint32_t program)
{
	const char *name = bpf_program__name(dp->skel->progs.tc_instance);
	_cleanup_(closep) int fd = bpf_prog_get_fd_by_id(program);
	uint32_t maps[MOST_MAPS] = {0}, size = sizeof(struct bpf_prog_info),
		 own = map_id(dp->skel->maps.instances);
	struct bpf_prog_info info = {.map_ids = (uintptr_t)maps, .nr_map_ids = MOST_MAPS};

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0 || strcmp(info.name, name) != 0)
		return false;
	for (uint32_t i = 0; i < info.nr_map_ids && i < MOST_MAPS; i++)
		if (maps[i] == own)
			return false;
	return own != 0;
}

/* Of tcx, which the kernel need not have. */
static bool any_foreign_link(struct weft_dp *dp, uint32_t ifindex)
{
	uint32_t ids[MOST_PROGRAMS] = {0};
	LIBBPF_OPTS(bpf_prog_query_opts, opts, .prog_ids = ids, .prog_cnt = MOST_PROGRAMS);

	if (bpf_prog_query_opts((int)ifindex, DP_TCX_INGRESS, &opts) < 0)
		return false;
	for (uint32_t i = 0; i < opts.prog_cnt && i < MOST_PROGRAMS; i++)
		if (is_foreign(dp, ids[i]))
			return true;
	return false;
}

int weft_dp_device_check(
	struct weft_dp *dp, uint32_t ifindex, const char *device, struct weft_err *err)
{
	uint32_t filter = dp_clsact_program(ifindex);

	if (!any_foreign_link(dp, ifindex) && !(filter && is_foreign(dp, filter)))
		return 0;
	weft_err_set(err, EBUSY,
		"device %s is in another overlay: another weftd's program is on it", device);
	return weft_err_hint(err,
		"take it out there, by that weftd's socket: weft -H unix:SOCKET "
		"instance detach NAME; or, while this one is stopped, weftd "
		"--purge with that one's flags; if its pins are gone: tc filter "
		"del dev %s ingress pref 1",
		device);
}
