/* SPDX-License-Identifier: Apache-2.0 */
/* XDP through libxdp's dispatcher, which runs the programs of several owners one after the other.
 * It keeps them by pins of its own, in /sys/fs/bpf/xdp. Which of them are ours they tell
 * themselves, so that also those are found that a killed daemon had no time to note. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

#define MAPS_MOST 64 /* that a program of ours uses, and more */

WEFT_DEFINE_CLEANUP(struct xdp_program *, xdp_program__close);
WEFT_DEFINE_CLEANUP(struct xdp_multiprog *, xdp_multiprog__close);

__attribute__((format(printf, 2, 0))) static int print(
	enum libxdp_print_level level, const char *format, va_list args)
{
	char text[256];

	if (level == LIBXDP_DEBUG)
		return 0;
	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	log_debug("libxdp: %s", text);
	return 0;
}

static struct xdp_multiprog *attached(uint32_t ifindex)
{
	struct xdp_multiprog *all = xdp_multiprog__get_from_ifindex((int)ifindex);

	return libxdp_get_error(all) ? NULL : all;
}

static bool is_peers(uint32_t id)
{
	_cleanup_(closep) int fd = bpf_map_get_fd_by_id(id);
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);

	return fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0 &&
	       strcmp(info.name, "peers") == 0;
}

/* By its name and the map that every program of ours on an uplink has, and not by which map that
 * is: libxdp's pins may have outlived those of the data plane that it was part of. */
static bool is_ours(const struct xdp_program *prog)
{
	uint32_t ids[MAPS_MOST] = {0}, size = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {.nr_map_ids = MAPS_MOST, .map_ids = (uintptr_t)ids};

	if (bpf_obj_get_info_by_fd(xdp_program__fd(prog), &info, &size) < 0 ||
		strcmp(info.name, "xdp_uplink") != 0)
		return false;
	for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MOST; i++)
		if (is_peers(ids[i]))
			return true;
	return false;
}

/* Take the first one of ours off, but the one to be kept. 0: there is none. */
static int take_one_off(uint32_t ifindex, uint32_t keep)
{
	_cleanup_(xdp_multiprog__closep) struct xdp_multiprog *all = attached(ifindex);
	struct xdp_program *prog = NULL;
	int r;

	if (!all || xdp_multiprog__is_legacy(all))
		return 0;
	while ((prog = xdp_multiprog__next_prog(prog, all)))
		if (xdp_program__id(prog) != keep && is_ours(prog)) {
			r = xdp_program__detach(
				prog, (int)ifindex, xdp_multiprog__attach_mode(all), 0);
			return r < 0 ? r : 1;
		}
	return 0;
}

static void take_off(uint32_t ifindex, uint32_t keep)
{
	int r;

	do
		r = take_one_off(ifindex, keep);
	while (r > 0);
	if (r < 0)
		log_warning("uplink: an older XDP program of weft's stays beside the new one: %s",
			strerror(-r));
}

void dp_dispatch_detach(uint32_t ifindex)
{
	libxdp_set_print(print);
	take_off(ifindex, 0);
	libxdp_clean_references((int)ifindex); /* of a device that has gone */
}

/* libxdp puts a lone program on the device as it is where its dispatcher fails: that is no success,
 * a link of ours does it better. */
static int check(struct xdp_program *prog, uint32_t ifindex, enum xdp_attach_mode mode)
{
	_cleanup_(xdp_multiprog__closep) struct xdp_multiprog *all = attached(ifindex);

	if (!all)
		return -ENOENT;
	if (!xdp_multiprog__is_legacy(all))
		return 0;
	xdp_program__detach(prog, (int)ifindex, mode, 0);
	return -EOPNOTSUPP;
}

int dp_dispatch_attach(struct bpf_object *obj, uint32_t ifindex, enum weft_dp_xdp how, bool frags)
{
	enum xdp_attach_mode mode = how == WEFT_DP_XDP_NATIVE ? XDP_MODE_NATIVE : XDP_MODE_SKB;
	_cleanup_(xdp_program__closep) struct xdp_program *prog = NULL;
	int r;

	libxdp_set_print(print);
	prog = xdp_program__from_bpf_obj(obj, NULL);
	r = (int)libxdp_get_error(prog);
	if (r < 0) {
		prog = NULL;
		return r;
	}
	r = xdp_program__set_xdp_frags_support(prog, frags);
	if (r == 0)
		r = xdp_program__attach(prog, (int)ifindex, mode, 0);
	if (r == 0)
		r = check(prog, ifindex, mode);
	/* Until here the one before it was still there: no packet has gone by. */
	if (r == 0)
		take_off(ifindex, xdp_program__id(prog));
	return r;
}
