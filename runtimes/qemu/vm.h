/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the qemu runtime: one instance, from start() or adopt() to the end of its process.
 *
 *   WAITING    for the accelerator's probe; no process yet
 *   STARTING   qemu runs, its monitor has not said "running" yet
 *   ADOPTING   an earlier daemon's qemu, its monitor has not answered yet
 *   RUNNING    answered for; what befalls it now is an event
 *   ENDING     asked to end or killed; whoever asked is told when it is gone
 */
#ifndef WEFT_RUNTIMES_QEMU_VM_H
#define WEFT_RUNTIMES_QEMU_VM_H

#include <sys/types.h>

#include "runtimes/deferred.h"
#include "runtimes/image/unikernel.h"
#include "runtimes/process.h"
#include "runtimes/qemu/accel.h"
#include "runtimes/qemu/machine.h"
#include "runtimes/qemu/qmp.h"
#include "runtimes/qemu/record.h"

#define WEFT_VM_START_MS 10000 /* from spawn to "running" */
#define WEFT_VM_WAITERS  8     /* stop() and delete() at the same time */

enum weft_vm_phase { VM_WAITING, VM_STARTING, VM_ADOPTING, VM_RUNNING, VM_ENDING };

struct weft_vm {
	struct weft_runtime *rt;
	struct weft_vm *prev, *next;
	char *id, *cgroup;
	enum weft_vm_phase phase;

	/* what start() was given */
	struct weft_unikernel *image;
	const struct weft_qemu_machine *machine;
	char *image_ref, *dir, *log_path, *netns, *cmdline;
	int tap_fd;
	struct weft_qemu_args args;
	struct weft_accel_ask *ask;

	/* the process */
	struct weft_vm_record record;
	int pidfd;
	struct weft_process_watch *watch;
	struct weft_qmp *qmp;
	sd_event_source *timer;
	off_t log_start; /* what qemu says itself is behind it */

	bool ended; /* the process is gone: only its last words are still read */
	bool paused;
	bool killed;             /* by SIGKILL of ours */
	bool fate_is_good;       /* the guest ended as it wanted */
	char fate[128];          /* why it ends, as the monitor said; "" while unknown */
	struct weft_err failure; /* why starting fails, when we ended it */

	struct weft_deferred *started;                  /* owed to start() or adopt() */
	struct weft_deferred *waiters[WEFT_VM_WAITERS]; /* owed to stop() and delete() */
	unsigned n_waiters;
};

struct weft_runtime {
	struct weft_runtime_config config; /* strings below, not its */
	char *dir;                         /* STATE/qemu/instances: the records */
	char *cgroup_root;
	struct weft_deferred_set owed;
	struct weft_unikernel_store *images;
	struct weft_accel *accel;
	struct weft_vm *vms;
	struct weft_qemu_probe *probes; /* under way */
	unsigned start_ms;              /* WEFT_VM_START_MS; tests shorten it */
};

struct weft_vm *weft_vm_find(const struct weft_runtime *rt, const char *id);
/* A new one in rt's table. */
int weft_vm_new(
	struct weft_runtime *rt, const char *id, enum weft_vm_phase phase, struct weft_vm **ret);
/* Out of the table, without touching the process; nobody owed anything is answered. */
void weft_vm_free(struct weft_vm *vm);
WEFT_DEFINE_CLEANUP(struct weft_vm *, weft_vm_free);

/* WAITING to STARTING: the answer to start() follows by itself, also of a failure. */
void weft_vm_launch(struct weft_vm *vm, const struct weft_accel_state *accel);
/* Take vm->record's process under watch. -ESRCH when it is gone. */
int weft_vm_attach(struct weft_vm *vm);
/* To ENDING: by the power button or the monitor, by SIGKILL after grace_ms (0: now). waiter is told
 * when it is gone. -EBUSY: too many wait. The vm may be gone afterwards. */
int weft_vm_end(struct weft_vm *vm, unsigned grace_ms, struct weft_deferred *waiter);
/* Remove what an instance leaves beside its process: socket (NULL: as its record says), cgroup,
 * record. */
int weft_vm_clean(struct weft_runtime *rt, const char *id, const char *qmp_path);

/* The monitor's side (vm_monitor.c). Connect to it and ask for the guest's status; what follows
 * depends on the phase. */
int weft_vm_connect(struct weft_vm *vm, struct weft_err *err);

/* SIGKILL; what follows is weft_vm_ended(). */
void weft_vm_kill(struct weft_vm *vm);
/* The vm's one timer: what it means depends on the phase. */
int weft_vm_arm(struct weft_vm *vm, unsigned ms);
void weft_vm_disarm(struct weft_vm *vm);
/* An answer to adopt() that leaves the process alone. The vm is gone afterwards. */
void weft_vm_give_up(struct weft_vm *vm, int r, const struct weft_err *err);
/* The process ended (vm_exit.c). Answers whom it must, tells of it if nobody asked for it, and
 * frees the vm. */
void weft_vm_ended(void *userdata, int status);

#endif
