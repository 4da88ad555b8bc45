/* SPDX-License-Identifier: Apache-2.0 */
/* What the next daemon must know to find an instance of this one: a small file per instance. */
#ifndef WEFT_RUNTIMES_QEMU_RECORD_H
#define WEFT_RUNTIMES_QEMU_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct weft_vm_record {
	pid_t pid;
	uint64_t start_time; /* weft_process_start_time() */
	char *qmp_path;
	char *image; /* "sha256:..." */
	char *accel; /* "kvm" or "tcg" */
	char *machine;
	char *shape;    /* weft_qemu_shape() */
	bool powerdown; /* the guest heeds the power button */
	bool saving;    /* a checkpoint is being made: it stands still only for that */
};

/* dir holds one file per id. -ENOENT when there is none, -EBADMSG when it cannot be read. */
int weft_vm_record_save(const char *dir, const char *id, const struct weft_vm_record *rec);
int weft_vm_record_load(const char *dir, const char *id, struct weft_vm_record *ret);
void weft_vm_record_remove(const char *dir, const char *id);
void weft_vm_record_done(struct weft_vm_record *rec); /* frees what load() filled */

#endif
