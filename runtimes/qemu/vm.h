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

#include "runtimes/cgroup.h"
#include "runtimes/deferred.h"
#include "runtimes/image/unikernel.h"
#include "runtimes/log_rotate.h"
#include "runtimes/process.h"
#include "runtimes/qemu/accel.h"
#include "runtimes/qemu/cmdline.h"
#include "runtimes/qemu/machine.h"
#include "runtimes/qemu/qmp.h"
#include "runtimes/qemu/record.h"
#include "runtimes/qemu/warm.h"

#define WEFT_VM_START_MS 30000 /* from spawn to "running", on a host that is busy */
#define WEFT_VM_BEAT_MS  5000  /* from one question whether it is still there to the next */
#define WEFT_VM_HANG_MS  20000 /* a monitor that is silent for so long will not answer any more */
#define WEFT_VM_WAITERS  8     /* stop() and delete() at the same time */

enum weft_vm_phase { VM_WAITING, VM_STARTING, VM_ADOPTING, VM_RUNNING, VM_ENDING };

struct weft_vm_call;       /* pause() or resume() under way (vm_control.c) */
struct weft_vm_checkpoint; /* (vm_checkpoint.c) */

struct weft_vm {
	struct weft_runtime *rt;
	struct weft_vm *prev, *next;
	char *id, *cgroup;
	enum weft_vm_phase phase;

	/* what start() was given */
	struct weft_unikernel *image;
	const struct weft_qemu_machine *machine;
	char *image_ref, *dir, *log_path, *netns, *cmdline;
	struct weft_runtime_mount *mounts; /* strings owned */
	struct weft_runtime_net net;       /* numbers only */
	int taps[WEFT_MAX_QUEUES];         /* the first is a copy of net's; -1 behind the last */
	struct weft_qemu_args args;
	struct weft_cgroup_limits limits;
	uint64_t log_max;
	char *restore; /* the checkpoint to begin from, NULL: boot */
	int restore_fd;
	bool warm_asked;
	char *warm_line; /* kernel command line of those that begin from it; NULL: not wanted */
	char *warm_dir, *warm_ram; /* what it begins from; NULL: it boots */
	char warm_remark[420];     /* why it boots all the same */
	uint64_t runs_ns;          /* since when, if it was started by us */
	struct weft_accel_ask *ask;

	/* the process */
	struct weft_vm_record record;
	int pidfd;
	struct weft_process_watch *watch;
	struct weft_qmp *qmp;
	sd_event_source *timer, *beat;
	struct weft_log_rotate *rotate;
	off_t log_start; /* what qemu says itself is behind it */

	bool ended; /* the process is gone: only its last words are still read */
	bool paused;
	bool wants_paused; /* pause() was the last of pause() and resume() */
	unsigned changing; /* of these, under way: what the monitor says is not news */
	uint64_t lost_ns;  /* since when its monitor is closed while it runs, 0: it is not */
	unsigned quit_ms;  /* ENDING: what is left of the grace once the button did not help */
	bool killed;       /* by SIGKILL of ours */
	bool fate_is_good; /* the guest ended as it wanted */
	char fate[128];    /* why it ends, as the monitor said; "" while unknown */
	struct weft_err failure; /* why starting fails, when we ended it */

	struct weft_deferred *started;                  /* owed to start() or adopt() */
	struct weft_deferred *waiters[WEFT_VM_WAITERS]; /* owed to stop() and delete() */
	unsigned n_waiters;
	struct weft_vm_call *calls;
	struct weft_vm_checkpoint *checkpoint;
	struct weft_migration *loading;
};

struct weft_runtime {
	struct weft_runtime_config config; /* strings below, not its */
	char *dir;                         /* STATE/qemu/instances: the records */
	char *cgroup_root;
	struct weft_deferred_set owed;
	struct weft_unikernel_store *images;
	struct weft_accel *accel;
	struct weft_warm *warm;
	struct weft_vm *vms;
	struct weft_qemu_probe *probes; /* under way */
	/* WEFT_VM_..._MS; tests shorten them */
	unsigned start_ms, beat_ms, hang_ms;
};

struct weft_vm *weft_vm_find(const struct weft_runtime *rt, const char *id);
/* A new one in rt's table. */
int weft_vm_new(
	struct weft_runtime *rt, const char *id, enum weft_vm_phase phase, struct weft_vm **ret);
/* Out of the table, without touching the process; nobody owed anything is answered. */
void weft_vm_free(struct weft_vm *vm);
WEFT_DEFINE_CLEANUP(struct weft_vm *, weft_vm_free);

/* Take from spec what launching needs (vm_spec.c); its strings may go afterwards. */
int weft_vm_configure(
	struct weft_vm *vm, const struct weft_runtime_spec *spec, struct weft_err *err);
/* WAITING: launched once the accelerator is known. */
int weft_vm_await_accel(struct weft_vm *vm);
/* WAITING to STARTING: the answer to start() follows by itself, also of a failure. */
void weft_vm_launch(struct weft_vm *vm, const struct weft_accel_state *accel);
/* Take vm->record's process under watch. -ESRCH when it is gone. */
int weft_vm_attach(struct weft_vm *vm);
/* STARTING or ADOPTING to RUNNING, and whoever waits for it is told. */
void weft_vm_runs(struct weft_vm *vm);
/* To ENDING: by the power button, then by the monitor, by SIGKILL after grace_ms (0: now). waiter
 * is told when it is gone. -EBUSY: too many wait. The vm may be gone afterwards. */
int weft_vm_end(struct weft_vm *vm, unsigned grace_ms, struct weft_deferred *waiter);
/* Remove what an instance leaves beside its process: socket (NULL: as its record says), cgroup,
 * record. */
int weft_vm_clean(struct weft_runtime *rt, const char *id, const char *qmp_path);

/* Warm starts (vm_warm.c): what there is to say for spec; a checkpoint to begin from, if there is
 * one, becomes part of args; words for the log; one is made if there was none. The last is told of
 * the end of the process: true when the vm is WAITING again, to be booted. */
int weft_vm_warm_configure(
	struct weft_vm *vm, const struct weft_runtime_spec *spec, struct weft_err *err);
void weft_vm_warm_begin(struct weft_vm *vm, const char *shape);
const char *weft_vm_warm_remark(const struct weft_vm *vm);
void weft_vm_warm_runs(struct weft_vm *vm);
bool weft_vm_warm_ended(struct weft_vm *vm, const char *why);

/* The monitor's side (vm_monitor.c). Connect to it and ask for the guest's status; what follows
 * depends on the phase. */
int weft_vm_connect(struct weft_vm *vm, struct weft_err *err);
/* Ask for the guest's status; what follows from it. */
void weft_vm_query(struct weft_vm *vm);
void weft_vm_status(struct weft_vm *vm, const char *status);
/* The guest is at its end, or qemu is, and is killed should it not end soon. The first reason
 * counts: what follows it is its consequence. */
void weft_vm_doom(struct weft_vm *vm, bool good, const char *why);

/* Is it still there (vm_beat.c)? From RUNNING on; one that is silent for too long is doomed. */
int weft_vm_beat_start(struct weft_vm *vm);

/* Calls on a running one (vm_control.c); as in runtime.h. */
int weft_vm_pause(struct weft_runtime *rt, const char *id, weft_runtime_done_t done, void *userdata,
	struct weft_err *err);
int weft_vm_resume(struct weft_runtime *rt, const char *id, weft_runtime_done_t done,
	void *userdata, struct weft_err *err);
int weft_vm_signal(struct weft_runtime *rt, const char *id, int signal, weft_runtime_done_t done,
	void *userdata, struct weft_err *err);
int weft_vm_check(struct weft_runtime *rt, const char *id, weft_runtime_done_t done, void *userdata,
	struct weft_err *err);
int weft_vm_checkpoint(struct weft_runtime *rt, const char *id, const char *file,
	weft_runtime_done_t done, void *userdata, struct weft_err *err);
/* Its calls fail, as it ends. */
void weft_vm_calls_end(struct weft_vm *vm, const char *why);
void weft_vm_checkpoint_end(struct weft_vm *vm, const char *why);
/* One that takes calls; -ENOENT, -EBUSY. */
int weft_vm_find_running(
	struct weft_runtime *rt, const char *id, struct weft_vm **ret, struct weft_err *err);

/* SIGKILL; what follows is weft_vm_ended(). */
void weft_vm_kill(struct weft_vm *vm);
/* The vm's one timer: what it means depends on the phase. */
int weft_vm_arm(struct weft_vm *vm, unsigned ms);
void weft_vm_disarm(struct weft_vm *vm);
/* ADOPTING, and it cannot be talked to: killed, which adopt() is told once it is gone. */
void weft_vm_lost(struct weft_vm *vm, const struct weft_err *why);
/* The process ended (vm_exit.c). Answers whom it must, tells of it if nobody asked for it, and
 * frees the vm. */
void weft_vm_ended(void *userdata, int status);

#endif
