/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/image/hints.h"

#include <errno.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/jsonpos.h"
#include "ctrl/base/util.h"

static const char *const machines[] = {
	[WEFT_MACHINE_Q35] = "q35",
	[WEFT_MACHINE_PC] = "pc",
	[WEFT_MACHINE_MICROVM] = "microvm",
};
_Static_assert(ARRAY_SIZE(machines) == WEFT_MACHINE_COUNT, "a name for every machine");

static const char *const netdevs[] = {
	[WEFT_NETDEV_IP] = "ip",
	[WEFT_NETDEV_IPV4_ADDR] = "ipv4_addr",
};
_Static_assert(ARRAY_SIZE(netdevs) == WEFT_NETDEV_COUNT, "a name for every form");

static const char *const accels[] = {
	[WEFT_ACCEL_AUTO] = "auto",
	[WEFT_ACCEL_KVM] = "kvm",
	[WEFT_ACCEL_TCG] = "tcg",
};
_Static_assert(ARRAY_SIZE(accels) == WEFT_ACCEL_COUNT, "a name for every accelerator");

const char *weft_machine_name(enum weft_machine m)
{
	return m < WEFT_MACHINE_COUNT ? machines[m] : "unknown";
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

int weft_hints_from_json(const json_t *o, struct weft_hints *ret, struct weft_err *err)
{
	struct weft_hints h = {.machine = WEFT_MACHINE_Q35};
	int machine = h.machine, netdev = h.netdev, accel = h.accel, r;
	const json_t *ring3;

	if (!json_is_object(o))
		return weft_err_set(err, EBADMSG, "not a JSON object");
	r = read_word(o, "machine", machines, WEFT_MACHINE_COUNT, &machine, err);
	if (r < 0)
		return r;
	r = read_word(o, "netdev", netdevs, WEFT_NETDEV_COUNT, &netdev, err);
	if (r < 0)
		return r;
	r = read_word(o, "accel", accels, WEFT_ACCEL_COUNT, &accel, err);
	if (r < 0)
		return r;
	ring3 = json_object_get(o, "ring3");
	if (ring3 && !json_is_boolean(ring3))
		return weft_err_set(err, EBADMSG, "ring3 is not true or false");
	r = read_args(o, "kernel_args", h.kernel_args, err);
	if (r < 0)
		return r;
	r = read_args(o, "args", h.args, err);
	if (r < 0)
		return r;
	h.machine = (enum weft_machine)machine;
	h.netdev = (enum weft_netdev_args)netdev;
	h.accel = (enum weft_accel_hint)accel;
	h.ring3 = json_is_true(ring3);
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
	return json_pack("{s:s, s:s, s:s, s:b, s:s, s:s}", "machine", machines[h->machine],
		"netdev", netdevs[h->netdev], "accel", accels[h->accel], "ring3", h->ring3,
		"kernel_args", h->kernel_args, "args", h->args);
}
