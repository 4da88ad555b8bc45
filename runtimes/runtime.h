/* SPDX-License-Identifier: Apache-2.0 */
/* One interface for whatever runs an instance: containerd (runc, runsc), qemu, a native process.
 *
 * Everything that may take longer than a millisecond or two is asynchronous on the caller's
 * sd-event loop: the call returns 0 once it is under way (or a negative errno with err filled, and
 * then `done` is never called); `done` is called exactly once, from the loop, never from within the
 * call. After free() no `done` and no event is delivered any more.
 *
 * Instances outlive the daemon: free() leaves them running, and adopt() of a later daemon finds
 * them again. An instance is known by its id; one id is at most one instance of one runtime. */
#ifndef WEFT_RUNTIMES_RUNTIME_H
#define WEFT_RUNTIMES_RUNTIME_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "ctrl/base/err.h"
#include "ctrl/base/virt.h"

/* What befell an instance by itself, not by a call of ours. */
enum weft_runtime_event {
	WEFT_RUNTIME_EXITED, /* ended with status 0 */
	WEFT_RUNTIME_FAILED, /* ended otherwise: status, signal, panic, internal error */
	WEFT_RUNTIME_OOM,    /* killed for memory; FAILED follows */
	WEFT_RUNTIME_PAUSED,
	WEFT_RUNTIME_RESUMED,
};

/* id and detail ("exit status 1", "guest panicked") live until the callback returns. The callback
 * may call into the runtime again, but must not free it. */
typedef void (*weft_runtime_event_t)(
	void *userdata, const char *id, enum weft_runtime_event event, const char *detail);

/* r is 0 or a negative errno, then err says why; err lives until the callback returns. */
typedef void (*weft_runtime_done_t)(void *userdata, int r, const struct weft_err *err);

/* As above; on success ref is what start() wants as spec.image: stable across daemon restarts,
 * and valid until the callback returns. size is the image's size in bytes on disk. */
typedef void (*weft_runtime_prepared_t)(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size);

/* exec() has ended: r < 0 with err, or 0. output lives until the callback returns. */
typedef void (*weft_runtime_executed_t)(void *userdata, int r, const struct weft_err *err,
	int status, const char *output, size_t size);

/* How far the transfer of an image is that prepare() was asked for by that name, some times a
 * second; total is 0 while nobody knows. */
typedef void (*weft_runtime_progress_t)(
	void *userdata, const char *image, uint64_t bytes, uint64_t total);

/* An image that is ready to be started from. */
struct weft_runtime_image {
	char ref[192]; /* as prepare() says it */
	bool arch_known;
	enum weft_arch arch;
	uint64_t bytes; /* on the disk, as far as it is the runtime's to say; 0: not known */
};
/* r 0 or negative with err; list lives until the callback returns. */
typedef void (*weft_runtime_images_t)(void *userdata, int r, const struct weft_err *err,
	const struct weft_runtime_image *list, unsigned n);

struct weft_runtime_config {
	sd_event *event;            /* referenced until free() */
	const char *state_dir;      /* existing directory, the runtime makes its own one below it */
	const char *libexec_dir;    /* where weft's helper programs are (weft-unpack, ...) */
	const char *containerd;     /* socket; NULL: /run/containerd/containerd.sock */
	const char *ctrd_namespace; /* containerd namespace; NULL: "weft" */
	const char
		*cgroup_root; /* parent cgroup for what we start, e.g. "weft" (no slashes around) */
	const char *registries; /* file of credentials and CAs for registries; NULL: none */
	weft_runtime_event_t on_event;
	weft_runtime_progress_t on_progress; /* NULL: nobody wants to know */
	void *userdata;
};

/* The instance's network, made by ctrl/dataplane/link.h before start(). */
struct weft_runtime_net {
	const char *netns;  /* path of the bound namespace; NULL: none (tap beside the host side) */
	const char *ifname; /* the instance's interface in it */
	struct in_addr addr; /* namespace address */
	uint8_t prefix_len;
	struct in_addr gateway;
	struct in6_addr addr6; /* ::, no IPv6. Read by qemu alone: the others find it on ifname */
	uint8_t prefix6_len;
	struct in6_addr gateway6;
	uint8_t mac[6];
	uint16_t mtu;
	int tap_fd; /* qemu: macvtap or tap, vnet_hdr on. The caller keeps it; -1: none */
};

/* A file or directory of the host inside the instance. */
struct weft_runtime_mount {
	const char *source, *target; /* absolute */
	bool read_only;
};

/* Begin from a checkpoint of the image, where there is one that fits; else boot, and one is made
 * for those that follow. AUTO: if the image says that it is worth it. */
enum weft_warm_start { WEFT_WARM_START_AUTO, WEFT_WARM_START_ON, WEFT_WARM_START_OFF };

/* What an instance may use; 0: no limit. */
struct weft_runtime_limits {
	uint32_t
		cpu_milli; /* quota in thousandths of a CPU; beside it spec.vcpus is what is seen */
	uint32_t cpu_weight; /* 1..10000 as in cgroup v2, 100 is everybody's */
	uint32_t pids;
};

struct weft_runtime_spec {
	const char *id;    /* weft_name_valid(), <= 76 chars: "shop.web.1" */
	const char *image; /* what prepare() answered; native: NULL */
	const char
		*dir; /* the instance's own directory: exists, mode 0700, removed by the caller */
	const char *log_path; /* console or stdout+stderr, appended */
	enum weft_virt virt;  /* one of those the runtime's probe() answers; the others take no
				 notice of it. gVisor: addr has to be on ifname before start(), as
				 the sandbox takes it out of the namespace and never gives it back:
				 each start needs a namespace made anew */
	enum weft_arch arch;
	const char
		*runtime; /* container: another than runc: a program that understands what runc
			     does ("crun"), or a shim of containerd's ("io.containerd.kata.v2") */
	const char *const
		*args; /* NULL-terminated or NULL: the image's own. unikernel: application args */
	const char *const *env; /* "K=V", NULL-terminated or NULL */
	uint32_t memory_mb;     /* 0: no limit (qemu: 64) */
	uint32_t vcpus; /* 0: 1 for qemu, no quota for the others; else a quota of vcpus CPUs */
	struct weft_runtime_limits limits;
	const struct weft_runtime_mount *mounts; /* containers: bind mounts; qemu: 9p, NULL: none */
	unsigned n_mounts;
	const char *user;                /* "uid[:gid]" or names, NULL: the image's own */
	const char *const *capabilities; /* NULL: a small default set; {NULL}: none */
	bool read_only;                  /* root filesystem */
	uint64_t log_max_bytes;          /* the log is rotated there, one old one kept; 0: never */
	const char *machine; /* qemu: "q35", "pc", "microvm", "virt"; NULL: as the image says */
	const char *restore; /* qemu: a checkpoint() to begin from, NULL: boot */
	enum weft_warm_start warm_start; /* qemu */
	struct weft_runtime_net net;
};

struct weft_runtime_stats {
	uint64_t cpu_ns; /* CPU time used since start by all that the instance costs */
	uint64_t memory_bytes;
	uint32_t pid; /* the instance's main process as the host sees it, 0: none */
	/* Beside cpu_ns and memory_bytes: what of the runtime stands by for this instance alone but
	 * outside of its limits (containerd's shim, the log's writer). */
	uint64_t helper_cpu_ns, helper_memory_bytes;
};

/* One tuple the node offers or not, and why not. */
struct weft_runtime_cap {
	enum weft_virt virt;
	enum weft_arch arch;
	bool usable;
	char version[64]; /* "containerd 1.6.20, runc 1.1.5" */
	char detail[192]; /* usable: a remark ("TCG only: KVM present, ring 0 unusable") or "";
			     else why not and what to do */
};
#define WEFT_RUNTIME_MAX_CAPS 4
typedef void (*weft_runtime_probed_t)(
	void *userdata, const struct weft_runtime_cap *caps, unsigned n_caps);

struct weft_runtime; /* each runtime's own; created by ops->new_ */

struct weft_runtime_ops {
	const char *name; /* "containerd", "qemu", "native" */
	int (*new_)(const struct weft_runtime_config *config, struct weft_runtime **ret,
		struct weft_err *err);
	void (*free_)(struct weft_runtime *rt); /* NULL is fine; instances go on */

	/* What can run here, found out by trying. Always answers, with usable=false if need be. */
	int (*probe)(struct weft_runtime *rt, weft_runtime_probed_t done, void *userdata);

	/* Make the image ready: fetch, check, unpack. image is the descriptor's `code`: a path, a
	 * "file://" URL, or what the runtime fetches: HOST/NAME:TAG in a registry; qemu: also from
	 * https://HOST/PATH. -ENOENT missing, -EBADMSG
	 * truncated or not an image, -ENOTSUP for another architecture. Cached: doing it again is
	 * quick. */
	int (*prepare)(struct weft_runtime *rt, const char *image, enum weft_arch arch,
		weft_runtime_prepared_t done, void *userdata, struct weft_err *err);

	/* Start; done(0) means: its process runs. Strings of spec may go once the call returns. On
	 * failure nothing is left. -EEXIST: that id runs already. */
	int (*start)(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
		weft_runtime_done_t done, void *userdata, struct weft_err *err);

	/* Find a running instance of an earlier daemon and watch it again. done: 0 running,
	 * -ENOENT not (or no longer) there. */
	int (*adopt)(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
		weft_runtime_done_t done, void *userdata, struct weft_err *err);

	/* Ask it to end (SIGTERM, powerdown), kill it after grace_ms. done(0): it is gone. An
	 * instance already gone is no error. No event is sent for it. */
	int (*stop)(struct weft_runtime *rt, const char *id, unsigned grace_ms,
		weft_runtime_done_t done, void *userdata, struct weft_err *err);

	/* Remove whatever is left of it (kills first if need be): cgroup, snapshot, container,
	 * sockets. Idempotent, also for ids never heard of: used to clean after a crash. */
	int (*delete_)(struct weft_runtime *rt, const char *id, weft_runtime_done_t done,
		void *userdata, struct weft_err *err);

	/* Numbers now; quick and synchronous. -ENOENT when not running. */
	int (*stats)(struct weft_runtime *rt, const char *id, struct weft_runtime_stats *ret);

	/* The rest may be NULL where the runtime has nothing of the kind: -ENOTSUP. Stand still,
	 * keeping memory and connections, and go on. Idempotent. */
	int (*pause)(struct weft_runtime *rt, const char *id, weft_runtime_done_t done,
		void *userdata, struct weft_err *err);
	int (*resume)(struct weft_runtime *rt, const char *id, weft_runtime_done_t done,
		void *userdata, struct weft_err *err);

	/* At once and without grace; unlike stop() the end is an event like any other. */
	int (*kill)(struct weft_runtime *rt, const char *id, int signal, weft_runtime_done_t done,
		void *userdata, struct weft_err *err);

	/* Run argv inside it for debugging, probes and hooks; at most timeout_ms. done has its exit
	 * status (128 + signal) and its output, stdout and stderr in order, cut at 64 KiB. */
	int (*exec)(struct weft_runtime *rt, const char *id, const char *const *argv,
		unsigned timeout_ms, weft_runtime_executed_t done, void *userdata,
		struct weft_err *err);
	/* Kill what an exec() with this userdata runs, if it still does: done says -ECANCELED. NULL
	 * where exec is. */
	void (*exec_end)(struct weft_runtime *rt, void *userdata);

	/* Write its whole state to the file, from which start() with spec.restore begins others. It
	 * is paused meanwhile and goes on afterwards. */
	int (*checkpoint)(struct weft_runtime *rt, const char *id, const char *file,
		weft_runtime_done_t done, void *userdata, struct weft_err *err);

	/* The images that prepare() has made ready, and the end of one, with all that was made of
	 * it. Instances that run go on. -ENOENT: not there. */
	int (*images)(struct weft_runtime *rt, weft_runtime_images_t done, void *userdata,
		struct weft_err *err);
	int (*image_remove)(struct weft_runtime *rt, const char *ref, weft_runtime_done_t done,
		void *userdata, struct weft_err *err);
	/* Does what is started from it take an IPv6 address? NULL: always, the host's kernel does.
	 */
	bool (*image_ipv6)(struct weft_runtime *rt, const char *ref);

	/* Ask whoever runs it now (a virtual machine's monitor): done(0) says that it does run, not
	 * that it serves. */
	int (*check)(struct weft_runtime *rt, const char *id, weft_runtime_done_t done,
		void *userdata, struct weft_err *err);
};

extern const struct weft_runtime_ops weft_runtime_containerd; /* CONTAINER, GVISOR */
extern const struct weft_runtime_ops weft_runtime_qemu;       /* UNIKERNEL */
extern const struct weft_runtime_ops weft_runtime_native;     /* NATIVE */

#endif
