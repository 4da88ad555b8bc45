/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's whole state, through its monitor into a file and out of one. */
#ifndef WEFT_RUNTIMES_QEMU_MIGRATE_H
#define WEFT_RUNTIMES_QEMU_MIGRATE_H

#include <stdbool.h>

#include "runtimes/qemu/qmp.h"

struct weft_migration;

/* Called once, from the loop; may free the migration. */
typedef void (*weft_migration_done_t)(void *userdata, int r, const struct weft_err *err);

/* Write to fd from where it stands. The guest must stand still, and still does afterwards.
 * without_ram: its memory is a file that is shared, and stays behind in it. q has to live as long
 * as the migration; fd may be closed once done is called. On success the caller owns *ret. */
int weft_migration_save(sd_event *event, struct weft_qmp *q, int fd, bool without_ram,
	unsigned timeout_ms, weft_migration_done_t done, void *userdata,
	struct weft_migration **ret);

/* Read from fd, into a qemu that was started with -incoming defer and waits. */
int weft_migration_load(sd_event *event, struct weft_qmp *q, int fd, bool without_ram,
	unsigned timeout_ms, weft_migration_done_t done, void *userdata,
	struct weft_migration **ret);

/* Only once done was called, or q is freed. NULL is fine. */
void weft_migration_free(struct weft_migration *m);
WEFT_DEFINE_CLEANUP(struct weft_migration *, weft_migration_free);

#endif
