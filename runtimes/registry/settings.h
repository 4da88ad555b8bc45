/* SPDX-License-Identifier: Apache-2.0 */
/* The file of what must be known of registries beside their names. What Docker keeps in its
 * config.json is understood, so that one may be used for the other:
 *
 *   { "auths":      { "HOST[:PORT]": { "auth": "<base64 of user:password>" } },
 *     "registries": { "HOST[:PORT]": { "ca": "/etc/...pem", "insecure": true } } }
 *
 * In auths, "username" and "password" may stand for "auth". ca: certificates trusted beside the
 * system's. insecure: plain HTTP, and passwords over it. The file is read anew for each pull. */
#ifndef WEFT_RUNTIMES_REGISTRY_SETTINGS_H
#define WEFT_RUNTIMES_REGISTRY_SETTINGS_H

#include <stdbool.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"
#include "runtimes/registry/reference.h"

struct weft_registry_settings {
	char *user, *password; /* NULL: none */
	char *ca;              /* NULL: the system's certificates alone */
	bool insecure;
};

/* What the file says of the reference's registry; nothing when file is NULL or does not exist. A
 * file with passwords that others may read is refused (-EPERM). */
int weft_registry_settings_load(const char *file, const struct weft_reference *ref,
	struct weft_registry_settings *ret, struct weft_err *err);
/* The same from its text (exposed for the fuzzer). */
int weft_registry_settings_parse(const char *file, const char *text, size_t size,
	const struct weft_reference *ref, struct weft_registry_settings *ret, struct weft_err *err);
void weft_registry_settings_done(struct weft_registry_settings *s);
/* "Basic ...", for an Authorization header; the caller's. NULL: out of memory. */
char *weft_registry_basic(const struct weft_registry_settings *s);

#endif
