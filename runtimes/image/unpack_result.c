/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/image/unpack_result.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

json_t *weft_unpacked_to_json(const struct weft_unpacked *u)
{
	return json_pack("{s:s, s:b, s:s?, s:I, s:o}", "boot", weft_kernel_boot_name(u->boot),
		"initrd", u->initrd, "files", u->files, "bytes", (json_int_t)u->bytes, "hints",
		weft_hints_to_json(&u->hints));
}

char *weft_unpack_result_format(const struct weft_unpacked *out, const struct weft_err *err)
{
	json_auto_t *o = NULL;

	if (out)
		o = json_pack("{s:o}", "unpacked", weft_unpacked_to_json(out));
	else
		o = json_pack("{s:{s:i, s:s, s:s}}", "error", "code", err->code, "msg", err->msg,
			"hint", err->hint);
	return o ? json_dumps(o, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
}

int weft_unpacked_from_json(const json_t *o, struct weft_unpacked *ret)
{
	const char *boot = json_string_value(json_object_get(o, "boot"));
	const char *files = json_string_value(json_object_get(o, "files"));
	const json_t *bytes = json_object_get(o, "bytes");
	struct weft_unpacked u = {.initrd = json_is_true(json_object_get(o, "initrd"))};
	int r = boot ? weft_kernel_boot_parse(boot) : -EINVAL;

	if (r < 0 || !json_is_integer(bytes) || json_integer_value(bytes) < 0)
		return -EPROTO;
	u.boot = (enum weft_kernel_boot)r;
	u.bytes = (uint64_t)json_integer_value(bytes);
	if (files) /* never another string than these two: it becomes part of a path */
		u.files = strcmp(files, "files") == 0    ? "files"
			  : strcmp(files, "files1") == 0 ? "files1"
							 : NULL;
	if (files && !u.files)
		return -EPROTO;
	if (weft_hints_from_json(json_object_get(o, "hints"), &u.hints, NULL) < 0)
		return -EPROTO;
	*ret = u;
	return 0;
}

static void copy_text(char *to, size_t size, const char *from)
{
	size_t n = 0;

	for (; from && *from && n + 1 < size; from++)
		to[n++] = isprint((unsigned char)*from) ? *from : '?';
	to[n] = '\0';
}

int weft_unpack_result_parse(
	const char *text, size_t size, struct weft_unpacked *ret, struct weft_err *err)
{
	json_auto_t *o = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	const json_t *unpacked = json_object_get(o, "unpacked"),
		     *error = json_object_get(o, "error");
	json_int_t code = json_integer_value(json_object_get(error, "code"));
	struct weft_err said = {};

	if (unpacked && weft_unpacked_from_json(unpacked, ret) == 0)
		return 0;
	copy_text(said.msg, sizeof(said.msg), json_string_value(json_object_get(error, "msg")));
	copy_text(said.hint, sizeof(said.hint), json_string_value(json_object_get(error, "hint")));
	if (unpacked || code <= 0 || code > 4095 || !said.msg[0])
		return weft_err_set(err, EPROTO, "weft-unpack gave an answer that makes no sense");
	said.code = (int)code;
	if (err)
		*err = said;
	return -said.code;
}
