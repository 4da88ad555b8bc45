/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what over TCP: a file of names, roles and the SHA-256 of tokens.
 *
 *   { "tokens": [ { "name": "ci", "role": "operate", "sha256": "<64 hexadecimal digits>" } ] } */
#ifndef WEFT_API_TOKENS_H
#define WEFT_API_TOKENS_H

#include <stddef.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"

#define WEFT_TOKENS_MAX     1000
#define WEFT_TOKENS_FILE    (1U << 20)
#define WEFT_TOKEN_NAME_MAX 64

/* Each may do what those before it may. */
enum weft_api_role { WEFT_API_NOBODY, WEFT_API_READ, WEFT_API_OPERATE, WEFT_API_ADMIN };
const char *weft_api_role_name(enum weft_api_role role);

struct weft_tokens;

/* Strict: errors have the file and the position. A file that others than its owner may write, or
 * whose owner is neither root nor us, is -EPERM. */
int weft_tokens_load(const char *path, struct weft_tokens **ret, struct weft_err *err);
int weft_tokens_parse(const char *path, const char *text, size_t size, struct weft_tokens **ret,
	struct weft_err *err);
void weft_tokens_free(struct weft_tokens *t);
WEFT_DEFINE_CLEANUP(struct weft_tokens *, weft_tokens_free);

/* The role of this token, and its name, which lives as long as t; NOBODY leaves *ret_name alone.
 * Takes the same time whichever token it is, and for one that is none. */
enum weft_api_role weft_tokens_find(
	const struct weft_tokens *t, const char *token, const char **ret_name);

#endif
