/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the containerd runtime. Each call of the vtable is an operation: an object that issues
 * one gRPC call after the other, each with the step that follows, until it finishes. Instances that
 * run are watched apart from operations, by a Tasks.Wait that stays open. */
#ifndef WEFT_RUNTIMES_CONTAINERD_CTRD_H
#define WEFT_RUNTIMES_CONTAINERD_CTRD_H

#include <jansson.h>
#include <sys/queue.h>

#include "runtimes/containerd/containerd.pb-c.h"
#include "runtimes/grpc/grpc.h"
#include "runtimes/image/oci.h"
#include "runtimes/runtime.h"

#define CTRD_INSTANCE_LABEL    "weft.instance"
#define CTRD_STOP_SIGNAL_LABEL "io.containerd.image.config.stop-signal"

#define CTRD_MAX_ID 76 /* containerd's own limit for names */

#define CTRD_QUICK_MS 10000  /* calls that only touch containerd's own records */
#define CTRD_TASK_MS  60000  /* calls that run runc */
#define CTRD_DISK_MS  600000 /* calls that move an image's bytes */

struct ctrd_op;
struct ctrd_instance;
struct ctrd_image;
TAILQ_HEAD(ctrd_ops, ctrd_op);
TAILQ_HEAD(ctrd_images, ctrd_image);
TAILQ_HEAD(ctrd_instances, ctrd_instance);

struct weft_runtime {
	sd_event *event;
	weft_runtime_event_t on_event;
	void *userdata;
	char *socket, *namespace_, *cgroup_root;
	char *dir;      /* ours below the daemon's state directory */
	char *runc_dir; /* where runc and runsc keep their state */
	char *runsc;    /* weft-runsc, NULL: no libexec_dir, hence no gVisor */
	char *logger;   /* weft-log, NULL: no libexec_dir, hence no rotation */
	struct weft_grpc *grpc;
	bool up;
	char snapshotter[32]; /* "": not asked for yet */

	struct ctrd_ops ops;
	struct ctrd_ops parked; /* clean-ups that wait for containerd to come back */
	struct ctrd_ops imports;
	struct ctrd_ops pulls; /* until they have their layers, and are imports */
	char *registries;
	weft_runtime_progress_t on_progress;
	struct weft_http *http; /* while there are pulls */
	sd_event_source *http_idle;
	struct ctrd_images images;
	struct ctrd_instances instances;
	struct weft_grpc_call *events;
	sd_event_source *resync;
	uint64_t token; /* tells our execs and leases from an earlier daemon's */
	char **old_leases;
	size_t n_old_leases;
	unsigned n_execs;
};

/* --- client.c: methods and operations ------------------------------------------------------------
 */

enum ctrd_method {
	CTRD_VERSION,
	CTRD_PLUGINS,
	CTRD_LEASE_CREATE,
	CTRD_LEASE_LIST,
	CTRD_LEASE_DELETE,
	CTRD_CONTENT_READ,
	CTRD_CONTENT_WRITE,
	CTRD_CONTENT_ABORT,
	CTRD_CONTENT_UPDATE,
	CTRD_IMAGE_GET,
	CTRD_IMAGE_CREATE,
	CTRD_IMAGE_UPDATE,
	CTRD_IMAGE_LIST,
	CTRD_IMAGE_DELETE,
	CTRD_SNAPSHOT_PREPARE,
	CTRD_SNAPSHOT_COMMIT,
	CTRD_SNAPSHOT_STAT,
	CTRD_SNAPSHOT_REMOVE,
	CTRD_DIFF_APPLY,
	CTRD_CONTAINER_GET,
	CTRD_CONTAINER_CREATE,
	CTRD_CONTAINER_DELETE,
	CTRD_TASK_CREATE,
	CTRD_TASK_START,
	CTRD_TASK_DELETE,
	CTRD_TASK_GET,
	CTRD_TASK_LIST,
	CTRD_TASK_KILL,
	CTRD_TASK_WAIT,
	CTRD_TASK_PAUSE,
	CTRD_TASK_RESUME,
	CTRD_TASK_EXEC,
	CTRD_TASK_DELETE_PROCESS,
	CTRD_SUBSCRIBE,
	CTRD_METHODS,
};

/* Begin a call by hand: those that stream. */
int ctrd_begin(struct weft_runtime *rt, enum ctrd_method method, struct weft_grpc_spec *spec,
	struct weft_grpc_call **ret);

typedef void (*ctrd_step_t)(struct ctrd_op *op, const struct weft_grpc_result *res);

/* Embedded first in every operation's own struct. */
struct ctrd_op {
	TAILQ_ENTRY(ctrd_op) link;
	struct ctrd_ops *list;
	struct weft_runtime *rt;
	char *id; /* of the instance; NULL: the operation is about something else */
	struct weft_grpc_call *call;
	sd_event_source *timer;
	bool no_memory; /* the call could not even begin: the timer tells the next step */
	ctrd_step_t next, after_plugins;
	const char *lease;  /* sent along with each call while set */
	char snapshots[32]; /* snapshotter, since ctrd_op_snapshotter(): the connection may break */
	void (*release)(struct ctrd_op *op); /* frees what the operation's own struct owns */

	weft_runtime_done_t done; /* NULL: nobody waits for it */
	void *userdata;
	struct weft_err err;

	char *text; /* collected by ctrd_op_read() */
	size_t text_size;

	/* Of what waits for containerd to come back: what to do then. */
	void (*unpark)(struct ctrd_op *op);

	/* ctrd_op_remove() and ctrd_op_undo() */
	bool paused; /* or may be */
	bool unsure; /* what is there of the id may be another's: only if it is no whole instance */
	struct weft_err cause;
	void (*removed)(struct ctrd_op *op, int r);
	unsigned snapshotter;
};

/* size is that of the struct whose first member is the op. id may be NULL. */
struct ctrd_op *ctrd_op_new(struct weft_runtime *rt, size_t size, const char *id);
void ctrd_op_free(struct ctrd_op *op);
/* Free it and give r and its err to whoever waits: the last thing a step does. */
void ctrd_op_finish(struct ctrd_op *op, int r);
void ctrd_op_move(struct ctrd_op *op, struct ctrd_ops *list);

/* Issue a unary call; `next` comes from the loop with its result, whatever happens. */
void ctrd_op_call(struct ctrd_op *op, enum ctrd_method method, const ProtobufCMessage *request,
	unsigned timeout_ms, ctrd_step_t next);
/* Take the next step in ms, with a result that is OK and no reply. */
void ctrd_op_after(struct ctrd_op *op, unsigned ms, ctrd_step_t next);
/* Read a small piece of content into op->text. */
void ctrd_op_read(struct ctrd_op *op, const char *digest, ctrd_step_t next);

/* Set op->err from a failed call: "what: the server's words". Returns -errno. */
int ctrd_op_fail(struct ctrd_op *op, const struct weft_grpc_result *res, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Find out which snapshotter works here (op->snapshots), then go on. */
void ctrd_op_snapshotter(struct ctrd_op *op, ctrd_step_t next);
extern const char *const ctrd_snapshotters[]; /* by preference, NULL-terminated */

/* --- images.c: what the images say that were used last
 * --------------------------------------------
 */

struct ctrd_image {
	TAILQ_ENTRY(ctrd_image) link;
	unsigned users; /* besides the list */
	bool listed;
	char *ref; /* what prepare() answered */
	enum weft_arch arch;
	struct weft_oci_image *oci;
};

/* The caller gives it back by ctrd_image_put(). NULL: read it, and have it kept. */
struct ctrd_image *ctrd_image_get(struct weft_runtime *rt, const char *ref, enum weft_arch arch);
/* Takes oci over, also when it fails: NULL when out of memory. */
struct ctrd_image *ctrd_image_keep(
	struct weft_runtime *rt, const char *ref, enum weft_arch arch, struct weft_oci_image *oci);
void ctrd_image_put(struct ctrd_image *image);                    /* NULL is fine */
void ctrd_image_forget(struct weft_runtime *rt, const char *ref); /* NULL: all */

/* --- image_list.c --------------------------------------------------------------------------------
 */

int ctrd_images(
	struct weft_runtime *rt, weft_runtime_images_t done, void *userdata, struct weft_err *err);
int ctrd_image_remove(struct weft_runtime *rt, const char *ref, weft_runtime_done_t done,
	void *userdata, struct weft_err *err);

/* --- leases.c ------------------------------------------------------------------------------------
 */

#define CTRD_LEASE_NAME 64
/* Of the import of the image whose manifest has that digest. */
void ctrd_lease_name(const struct weft_runtime *rt, const char *digest, char ret[CTRD_LEASE_NAME]);
void ctrd_leases_list(struct weft_runtime *rt); /* find those of earlier daemons */
/* The image is whole: let one of its old leases go, then next; false: there is none. */
bool ctrd_lease_settle(struct ctrd_op *op, const char *digest, ctrd_step_t next);
void ctrd_leases_free(struct weft_runtime *rt);

/* --- import.c, start.c, container.c, spec.c, user.c
 * -----------------------------------------------------------
 */

int ctrd_prepare(struct weft_runtime *rt, const char *image, enum weft_arch arch,
	weft_runtime_prepared_t done, void *userdata, struct weft_err *err);
int ctrd_pull_init(struct weft_runtime *rt);
/* Remove what an earlier daemon was extracting from an archive. */
void ctrd_import_init(struct weft_runtime *rt);
int ctrd_start(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
	weft_runtime_done_t done, void *userdata, struct weft_err *err);

/* What containerd runs for an instance. */
struct ctrd_handler {
	char runtime[96];  /* "io.containerd.runc.v2" */
	char binary[4096]; /* what its shim runs, "": its own */
	bool runc;         /* takes runc's options */
	bool recursive_ro; /* knows the mount option "rro" */
};
/* -ENOTSUP with err when it is not there. name as weft_runtime_spec.runtime. */
int ctrd_handler_find(const struct weft_runtime *rt, enum weft_virt virt, const char *name,
	struct ctrd_handler *ret, struct weft_err *err);
/* Is it a program in a directory of containerd's PATH, which is what shims are looked up in? */
bool ctrd_program_there(const struct weft_runtime *rt, const char *name);

/* What start() was asked for, copied. */
struct ctrd_wish {
	struct ctrd_handler handler;
	enum weft_arch arch;
	char *image, *log_path, *netns, *user;
	char **args, **env, **capabilities; /* NULL: the image's own, a default set */
	struct weft_runtime_mount *mounts;
	unsigned n_mounts;
	uint32_t memory_mb, vcpus;
	struct weft_runtime_limits limits;
	bool read_only;
	uint64_t log_max_bytes;
};
int ctrd_wish_copy(struct ctrd_wish *w, const struct weft_runtime_spec *spec, struct weft_err *err);
void ctrd_wish_free(struct ctrd_wish *w);

/* Ask containerd to record the container. -errno with op->err when it cannot be described. */
int ctrd_container_create(struct ctrd_op *op, const struct ctrd_wish *w,
	const struct weft_oci_image *image, Ctrd__Mount *const *rootfs, size_t n_rootfs,
	ctrd_step_t next);
/* Where the shim shall send the output, a URL; NULL when out of memory. */
char *ctrd_log_url(const struct weft_runtime *rt, const struct ctrd_wish *w);

#define CTRD_MAX_GROUPS 64

struct ctrd_user {
	uint32_t uid, gid;
	uint32_t groups[CTRD_MAX_GROUPS]; /* besides gid, of a user who is known by name */
	unsigned n_groups;
};

struct ctrd_process {
	const char *id;
	const char *cgroup; /* as cgroup.h */
	const char *netns;  /* NULL: a new one */
	char **args, **env;
	const char *cwd;
	struct ctrd_user user;
	char **capabilities; /* NULL: a default set */
	bool read_only;
	const struct weft_runtime_mount *mounts;
	unsigned n_mounts;
	bool recursive_ro;     /* the runtime knows "rro" */
	uint64_t memory_bytes; /* 0: no limit */
	uint32_t cpu_milli;    /* quota, 0: none */
	uint32_t cpu_weight;   /* 0: 100, everybody's */
	uint32_t pids;         /* 0: CTRD_MAX_PIDS */
	bool cgroup2;          /* the cpu controller is one of v2 */
	uint64_t nofile;       /* 0: as inherited */
};
#define CTRD_MAX_PIDS 4096

/* The OCI runtime specification; malloc'ed, NULL when out of memory or when a string is no UTF-8,
 * which JSON cannot carry. */
char *ctrd_spec(const struct ctrd_process *p);
/* Its linux.seccomp, for a process with these capabilities; NULL: the default set. */
json_t *ctrd_seccomp(char *const *capabilities);
/* The process of such a specification, but with other arguments: what exec() wants. */
char *ctrd_spec_exec(const void *spec, size_t size, const char *const *argv);

/* Environment of the image with the caller's on top; PATH and HOSTNAME are always there. The caller
 * frees it with strv_free(); NULL when out of memory. */
char **ctrd_env(char *const *image, char *const *ours, const char *hostname);

/* "", "1000", "1000:100", "nginx", "nginx:www-data": names are looked up in the root file system
 * that these mounts make. -EINVAL, -ENOENT. */
int ctrd_user_lookup(const char *user, Ctrd__Mount *const *mounts, size_t n_mounts,
	struct ctrd_user *ret, struct weft_err *err);

/* --- stop.c, remove.c, probe.c -------------------------------------------------------------------
 */

int ctrd_stop(struct weft_runtime *rt, const char *id, unsigned grace_ms, weft_runtime_done_t done,
	void *userdata, struct weft_err *err);
int ctrd_delete(struct weft_runtime *rt, const char *id, weft_runtime_done_t done, void *userdata,
	struct weft_err *err);
int ctrd_probe(struct weft_runtime *rt, weft_runtime_probed_t done, void *userdata);

/* Remove all that containerd and runc have of op->id, then call op->removed. */
void ctrd_op_remove(struct ctrd_op *op, void (*removed)(struct ctrd_op *op, int r));
/* The same for an operation that failed half way: its error is given to whoever waits; what cannot
 * be removed because containerd is away is removed when it is back. */
void ctrd_op_undo(struct ctrd_op *op);
/* Nobody waits for it any more; unpark is called when containerd is back. */
void ctrd_op_park(struct ctrd_op *op, void (*unpark)(struct ctrd_op *op));
void ctrd_unpark(struct weft_runtime *rt);

/* --- control.c, exec.c ---------------------------------------------------------------------------
 */

int ctrd_pause(struct weft_runtime *rt, const char *id, weft_runtime_done_t done, void *userdata,
	struct weft_err *err);
int ctrd_resume(struct weft_runtime *rt, const char *id, weft_runtime_done_t done, void *userdata,
	struct weft_err *err);
int ctrd_kill(struct weft_runtime *rt, const char *id, int signal, weft_runtime_done_t done,
	void *userdata, struct weft_err *err);
int ctrd_exec(struct weft_runtime *rt, const char *id, const char *const *argv, unsigned timeout_ms,
	weft_runtime_executed_t done, void *userdata, struct weft_err *err);
void ctrd_exec_end(struct weft_runtime *rt, void *userdata);
/* End what an earlier daemon left running, as soon as containerd is there. */
int ctrd_exec_init(struct weft_runtime *rt);

/* --- stats.c -------------------------------------------------------------------------------------
 */

int ctrd_stats(struct weft_runtime *rt, const char *id, struct weft_runtime_stats *ret);

/* --- watch.c: instances that run -----------------------------------------------------------------
 */

struct ctrd_instance {
	TAILQ_ENTRY(ctrd_instance) link;
	struct weft_runtime *rt;
	char *id;
	uint32_t pid;
	char *cgroup; /* looked up when first asked for, as are ... */
	bool helpers_known;
	pid_t helpers[2]; /* ... its shim and its log's writer; 0: not there */
	bool quiet;       /* being stopped or removed: its end is no event */
	bool held;        /* start() has not answered yet: its end waits */
	bool over;        /* it has ended; status and text say how */
	bool oom;         /* told of already */
	bool paused;      /* or about to be, by a call of ours */
	bool shim_lost;
	unsigned changing; /* calls under way that pause or resume it */
	uint32_t status;
	const char *text; /* not by its exit status; static */
	struct weft_grpc_call *wait;
	sd_event_source *report;
};

struct ctrd_instance *ctrd_instance_find(struct weft_runtime *rt, const char *id);
/* NULL when out of memory. It is held until ctrd_instance_release(). */
struct ctrd_instance *ctrd_instance_add(struct weft_runtime *rt, const char *id, uint32_t pid);
void ctrd_instance_watch(struct ctrd_instance *inst);   /* Tasks.Wait, if it is not open */
void ctrd_instance_release(struct ctrd_instance *inst); /* from now on its end is an event */
void ctrd_instance_free(struct ctrd_instance *inst);    /* NULL is fine; it goes on running */

int ctrd_adopt(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
	weft_runtime_done_t done, void *userdata, struct weft_err *err);
int ctrd_watch_init(struct weft_runtime *rt);
void ctrd_on_connection(void *userdata, bool up);

#endif
