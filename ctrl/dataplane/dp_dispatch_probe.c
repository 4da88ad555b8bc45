/* SPDX-License-Identifier: Apache-2.0 */
/* Does this kernel let one program take the place of another's function? Some refuse it by their
 * configuration, some when they are locked down: it is tried. */
#include <errno.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/xdp_probe.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

WEFT_DEFINE_CLEANUP(struct xdp_probe *, xdp_probe__destroy);

static int open_one(bool dispatcher, struct xdp_probe **ret)
{
	struct xdp_probe *skel = xdp_probe__open();

	if (!skel)
		return -errno;
	bpf_program__set_autoload(skel->progs.probe_dispatcher, dispatcher);
	bpf_program__set_autoload(skel->progs.probe_member, !dispatcher);
	*ret = skel;
	return 0;
}

int dp_dispatch_probe(void)
{
	_cleanup_(xdp_probe__destroyp) struct xdp_probe *outer = NULL, *inner = NULL;
	struct bpf_link *link;
	int r = open_one(true, &outer);

	if (r == 0)
		r = open_one(false, &inner);
	if (r == 0)
		r = xdp_probe__load(outer);
	if (r == 0)
		r = bpf_program__set_attach_target(inner->progs.probe_member,
			bpf_program__fd(outer->progs.probe_dispatcher), "probe_stage");
	if (r == 0)
		r = xdp_probe__load(inner);
	if (r < 0)
		return r;
	link = bpf_program__attach(inner->progs.probe_member);
	r = libbpf_get_error(link) ? -errno : 0;
	if (r == 0)
		bpf_link__destroy(link);
	return r;
}
