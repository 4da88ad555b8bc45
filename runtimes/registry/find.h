/* SPDX-License-Identifier: Apache-2.0 */
/* What a reference means on a machine: its manifest, or of an index the first one that is for the
 * machine, however indexes are nested. */
#ifndef WEFT_RUNTIMES_REGISTRY_FIND_H
#define WEFT_RUNTIMES_REGISTRY_FIND_H

#include "runtimes/registry/registry.h"

struct weft_registry_find;

struct weft_registry_wish {
	const char *what; /* as errors name it: "image docker.io/library/nginx:latest" */
	const struct weft_reference *ref;
	enum weft_arch arch;
	bool any_os; /* else for Linux */
};

/* done as of weft_registry_manifest(), with text a manifest's. -ENOTSUP: nothing for the machine.
 * The call is gone then. */
int weft_registry_find(struct weft_registry *r, const struct weft_registry_wish *wish,
	weft_registry_done_t done, void *userdata, struct weft_registry_find **ret);
void weft_registry_find_cancel(struct weft_registry_find *f); /* NULL is fine */

#endif
