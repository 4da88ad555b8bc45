/* SPDX-License-Identifier: Apache-2.0 */
/* What the way from one hook to the next is called, and which part of the system it is charged to.
 * A hook that a kernel does not have leaves one hop where there would be two, with both names. */
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp_trace.h"

static const struct {
	const char *name, *text;
} hooks[] = {
#define WEFT_HOOK_ROW(symbol, name, text) [WEFT_HOOK_##symbol] = {name, text},
	WEFT_HOOKS(WEFT_HOOK_ROW)
#undef WEFT_HOOK_ROW
};
_Static_assert(ARRAY_SIZE(hooks) == WEFT_HOOK_COUNT, "a row for every hook");

const char *weft_dp_trace_hook_name(enum weft_hook hook)
{
	return (unsigned)hook < WEFT_HOOK_COUNT ? hooks[hook].name : NULL;
}

const char *weft_dp_trace_hook_text(enum weft_hook hook)
{
	return (unsigned)hook < WEFT_HOOK_COUNT ? hooks[hook].text : NULL;
}

#define HOP(from, to, name, part)                 \
	{                                         \
		WEFT_HOOK_##from, WEFT_HOOK_##to, \
		{                                 \
			name, part                \
		}                                 \
	}

static const struct {
	enum weft_hook from, to;
	struct weft_dp_trace_hop hop;
} hops[] = {
	HOP(UPPER_TX, TX, "macvtap out", "macvtap"),
	HOP(UPPER_TX, RX, "macvtap out, veth", "macvtap"),
	HOP(TX, RX, "veth", "veth"),
	HOP(TX, HOST, "veth, backlog", "veth"),
	HOP(RX, HOST, "backlog", "softirq"),
	HOP(HOST, DEVICE, "weft", "weft"),
	HOP(HOST, REDIRECT, "weft", "weft"),
	HOP(HOST, UPPER, "weft, macvtap in", "macvtap"),
	HOP(HOST, QUEUED, "weft, stack", "stack"),
	HOP(HOST, RUNS, "weft, queue, wakeup", "wakeup"),
	HOP(REDIRECT, BACKLOG, "veth", "veth"),
	HOP(REDIRECT, QUEUED, "tap", "tap"),
	HOP(REDIRECT, RUNS, "tap, wakeup", "wakeup"),
	HOP(BACKLOG, DEVICE, "backlog", "softirq"),
	HOP(DEVICE, UPPER, "macvtap in", "macvtap"),
	HOP(DEVICE, QUEUED, "stack", "stack"),
	HOP(DEVICE, RUNS, "stack, wakeup", "wakeup"),
	HOP(UPPER, RUNS, "wakeup", "wakeup"),
	HOP(QUEUED, RUNS, "wakeup", "wakeup"),
	HOP(QUEUED, READ, "wakeup, read", "wakeup"),
	HOP(RUNS, READ, "read", "read"),
};

struct weft_dp_trace_hop weft_dp_trace_hop(enum weft_hook from, enum weft_hook to, bool guest)
{
	if (from == WEFT_HOOK_READ)
		return guest ? (struct weft_dp_trace_hop){"qemu and guest", "guest"}
			     : (struct weft_dp_trace_hop){"application", "application"};
	for (size_t i = 0; i < ARRAY_SIZE(hops); i++)
		if (hops[i].from == from && hops[i].to == to)
			return hops[i].hop;
	return (struct weft_dp_trace_hop){"other", "other"};
}
