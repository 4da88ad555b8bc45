/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/image/hints.h"

#include <errno.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/jsonpos.h"
#include "ctrl/base/util.h"

static const char *const machines[] = {
	[WEFT_MACHINE_AUTO] = "auto",
	[WEFT_MACHINE_Q35] = "q35",
	[WEFT_MACHINE_PC] = "pc",
	[WEFT_MACHINE_MICROVM] = "microvm",
	[WEFT_MACHINE_VIRT] = "virt",
};
_Static_assert(ARRAY_SIZE(machines) == WEFT_MACHINE_COUNT, "a name for every machine");

static const char *const netdevs[] = {
	[WEFT_NETDEV_AUTO] = "auto",
	[WEFT_NETDEV_IP] = "ip",
	[WEFT_NETDEV_IPV4_ADDR] = "ipv4_addr",
	[WEFT_NETDEV_LINUX] = "linux",
};
_Static_assert(ARRAY_SIZE(netdevs) == WEFT_NETDEV_COUNT, "a name for every form");

static const char *const accels[] = {
	[WEFT_ACCEL_AUTO] = "auto",
	[WEFT_ACCEL_KVM] = "kvm",
	[WEFT_ACCEL_TCG] = "tcg",
};
_Static_assert(ARRAY_SIZE(accels) == WEFT_ACCEL_COUNT, "a name for every accelerator");

static const char *const warms[] = {
	[WEFT_WARM_NO] = "no",
	[WEFT_WARM_CAN] = "can",
	[WEFT_WARM_YES] = "yes",
};
_Static_assert(ARRAY_SIZE(warms) == WEFT_WARM_COUNT, "a name for every answer");

const char *weft_machine_name(enum weft_machine m)
{
	return m < WEFT_MACHINE_COUNT ? machines[m] : "unknown";
}

int weft_machine_parse(const char *s)
{
	for (int i = 0; i < WEFT_MACHINE_COUNT; i++)
		if (strcmp(s, machines[i]) == 0)
			return i;
	return -EINVAL;
}

void weft_hints_default(struct weft_hints *ret)
{
	*ret = (struct weft_hints){.powerdown = -1, .queues = 1};
}

static int read_word(const json_t *o, const char *key, const char *const *words, int n_words,
	int *ret, struct weft_err *err)
{
	const json_t *v = json_object_get(o, key);
	char list[64] = "";

	if (!v)
		return 0;
	for (int i = 0; i < n_words; i++) {
		if (json_is_string(v) && strcmp(json_string_value(v), words[i]) == 0) {
			*ret = i;
			return 0;
		}
		strcat(strcat(list, i ? ", " : ""), words[i]);
	}
	return weft_err_set(err, EBADMSG, "%s is not one of %s", key, list);
}

static int read_args(const json_t *o, const char *key, char *ret, struct weft_err *err)
{
	const json_t *v = json_object_get(o, key);
	const char *s = json_string_value(v);

	if (!v)
		return 0;
	if (!s || json_string_length(v) >= WEFT_HINTS_ARGS_MAX)
		return weft_err_set(err, EBADMSG, "%s is not a string of less than %d bytes", key,
			WEFT_HINTS_ARGS_MAX);
	for (const char *c = s; *c; c++)
		if ((unsigned char)*c < ' ')
			return weft_err_set(err, EBADMSG, "%s has a control character", key);
	strcpy(ret, s);
	return 0;
}

static int read_bool(const json_t *o, const char *key, int *ret, struct weft_err *err)
{
	const json_t *v = json_object_get(o, key);

	if (!v)
		return 0;
	if (!json_is_boolean(v))
		return weft_err_set(err, EBADMSG, "%s is not true or false", key);
	*ret = json_is_true(v);
	return 0;
}

static int read_queues(const json_t *o, unsigned *ret, struct weft_err *err)
{
	const json_t *v = json_object_get(o, "queues");

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 1 ||
		json_integer_value(v) > WEFT_MAX_QUEUES)
		return weft_err_set(
			err, EBADMSG, "queues is not a number from 1 to %d", WEFT_MAX_QUEUES);
	*ret = (unsigned)json_integer_value(v);
	return 0;
}

int weft_hints_from_json(const json_t *o, struct weft_hints *ret, struct weft_err *err)
{
	int machine = WEFT_MACHINE_AUTO, netdev = WEFT_NETDEV_AUTO, accel = WEFT_ACCEL_AUTO;
	int warm = WEFT_WARM_NO, ring3 = 0, ipv6 = 0, watchdog = 0, r;
	struct weft_hints h;

	weft_hints_default(&h);
	if (!json_is_object(o))
		return weft_err_set(err, EBADMSG, "not a JSON object");
	r = read_word(o, "machine", machines, WEFT_MACHINE_COUNT, &machine, err);
	if (r == 0)
		r = read_word(o, "netdev", netdevs, WEFT_NETDEV_COUNT, &netdev, err);
	if (r == 0)
		r = read_word(o, "accel", accels, WEFT_ACCEL_COUNT, &accel, err);
	if (r == 0)
		r = read_word(o, "warm", warms, WEFT_WARM_COUNT, &warm, err);
	if (r == 0)
		r = read_bool(o, "ring3", &ring3, err);
	if (r == 0)
		r = read_bool(o, "ipv6", &ipv6, err);
	if (r == 0)
		r = read_bool(o, "powerdown", &h.powerdown, err);
	if (r == 0)
		r = read_bool(o, "watchdog", &watchdog, err);
	if (r == 0)
		r = read_queues(o, &h.queues, err);
	if (r == 0)
		r = read_args(o, "kernel_args", h.kernel_args, err);
	if (r == 0)
		r = read_args(o, "args", h.args, err);
	if (r < 0)
		return r;
	h.machine = (enum weft_machine)machine;
	h.netdev = (enum weft_netdev_args)netdev;
	h.accel = (enum weft_accel_hint)accel;
	h.warm = (enum weft_warm_hint)warm;
	h.ring3 = ring3;
	h.ipv6 = ipv6;
	h.watchdog = watchdog;
	*ret = h;
	return 0;
}

int weft_hints_parse(const char *text, size_t size, struct weft_hints *ret, struct weft_err *err)
{
	json_auto_t *o = NULL;
	struct weft_jsonpos pos;
	json_error_t e;
	char key[16];
	int r;

	o = json_loadb(text, size, JSON_REJECT_DUPLICATES, &e);
	if (!o)
		return weft_err_set(err, EBADMSG, "weft.json: line %d, column %d: %s", e.line,
			e.column, e.text);
	r = weft_hints_from_json(o, ret, err);
	if (r == 0 || !err)
		return r;
	/* The message begins with the member's name. */
	if (sscanf(err->msg, "%15[a-z0-9_]", key) == 1 &&
		weft_jsonpos_value(text, size, key, &pos) == 0)
		return weft_err_prefix(err, "weft.json: line %u, column %u", pos.line, pos.column);
	return weft_err_prefix(err, "weft.json");
}

json_t *weft_hints_to_json(const struct weft_hints *h)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:i, s:s, s:s}", "machine",
		machines[h->machine], "netdev", netdevs[h->netdev], "accel", accels[h->accel],
		"warm", warms[h->warm], "ring3", h->ring3, "ipv6", h->ipv6, "watchdog", h->watchdog,
		"queues", (int)h->queues, "kernel_args", h->kernel_args, "args", h->args);

	if (o && h->powerdown >= 0 &&
		json_object_set_new(o, "powerdown", json_boolean(h->powerdown)) < 0) {
		json_decref(o);
		return NULL;
	}
	return o;
}

void weft_hints_settle(struct weft_hints *h, enum weft_arch arch, const struct weft_kernel *kernel)
{
	bool linux_ = kernel->boot == WEFT_KERNEL_BZIMAGE || kernel->boot == WEFT_KERNEL_IMAGE;

	if (h->machine == WEFT_MACHINE_AUTO)
		h->machine = arch == WEFT_ARCH_ARM64 ? WEFT_MACHINE_VIRT
			     : linux_                ? WEFT_MACHINE_PC
						     : WEFT_MACHINE_Q35;
	if (h->netdev == WEFT_NETDEV_AUTO)
		h->netdev = linux_               ? WEFT_NETDEV_LINUX
			    : kernel->old_netdev ? WEFT_NETDEV_IPV4_ADDR
						 : WEFT_NETDEV_IP;
	if (h->powerdown < 0)
		h->powerdown = linux_;
}
