/* SPDX-License-Identifier: Apache-2.0 */
/* What weft-unpack prints and weftd reads: {"unpacked": {...}} or {"error": {code, msg, hint}}.
 * The reader does not trust the writer, which has handled bytes from outside. The "unpacked" object
 * is also what the cache keeps as its manifest. */
#ifndef WEFT_RUNTIMES_IMAGE_UNPACK_RESULT_H
#define WEFT_RUNTIMES_IMAGE_UNPACK_RESULT_H

#include <jansson.h>

#include "runtimes/image/unpack.h"

#define WEFT_UNPACK_RESULT_MAX 16384

/* malloc'ed, NULL when out of memory. out NULL: the error. */
char *weft_unpack_result_format(const struct weft_unpacked *out, const struct weft_err *err);

/* The worker's answer: 0 with *ret, the error it reported, or -EPROTO when it is no answer. */
int weft_unpack_result_parse(
	const char *text, size_t size, struct weft_unpacked *ret, struct weft_err *err);

json_t *weft_unpacked_to_json(const struct weft_unpacked *u);
int weft_unpacked_from_json(const json_t *o, struct weft_unpacked *ret); /* -EPROTO */

#endif
