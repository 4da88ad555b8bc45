/* SPDX-License-Identifier: Apache-2.0 */
/* The containerd runtime on a containerd of the test's own, with an image that holds
 * tests/lib/inside/inside.c as /init. One lab to a program; everything fails the running test. */
#ifndef WEFT_TESTS_LIB_CTRD_LAB_H
#define WEFT_TESTS_LIB_CTRD_LAB_H

#include <limits.h>

#include "runtimes/runtime.h"
#include "tests/lib/ctrd.h"

#define CLAB_OPS     (&weft_runtime_containerd)
#define CLAB_WAIT_NS 30000000000ULL
#define CLAB_EVENTS  64

struct clab_event {
	char id[80], detail[128];
	enum weft_runtime_event event;
};

struct ctrd_lab {
	struct test_ctrd ctrd;
	sd_event *loop;
	struct weft_runtime *rt;
	enum weft_virt virt;
	char libexec[PATH_MAX], image[128], ref[160], cgroup[64];
	const char *socket;     /* of the next clab_runtime(); NULL: containerd's own */
	const char *registries; /* of the next clab_runtime() */
	struct clab_event events[CLAB_EVENTS];
	unsigned n_events;
	/* the last answer */
	bool answered;
	int result;
	struct weft_err err;
	char prepared[160];
	uint64_t size;
	struct weft_runtime_cap caps[WEFT_RUNTIME_MAX_CAPS];
	unsigned n_caps;
	int status;
	char output[65537];
	size_t output_size;
	/* progress of the last prepare() */
	unsigned n_progress;
	uint64_t bytes, total;
};
extern struct ctrd_lab clab;

/* NULL, or why there can be none. */
const char *clab_missing(void);
const char *clab_runsc_missing(void);

/* As cmocka's group set-up and tear-down; name is the test's own, disk_mb: of containerd's root, 0:
 * no limit. */
int clab_setup(const char *name, unsigned disk_mb);
int clab_teardown(void);

struct weft_runtime *clab_runtime(void); /* one more, on clab.ctrd.socket */

/* --- the loop and its answers -------------------------------------------------------------------
 */

void clab_turn(uint64_t usec);
/* r is what the call returned; the answer must come and be `want`. */
void clab_expect(int r, int want);
void clab_expect_event(const char *id, enum weft_runtime_event event);
void clab_on_done(void *userdata, int r, const struct weft_err *err);
void clab_on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size);
void clab_on_probed(void *userdata, const struct weft_runtime_cap *caps, unsigned n);
/* Turn until the condition holds. */
#define clab_wait_for(condition)                                      \
	do {                                                          \
		uint64_t end_ = weft_now_ns() + CLAB_WAIT_NS;         \
		while (!(condition) && weft_now_ns() < end_)          \
			clab_turn(10000);                             \
		if (!(condition))                                     \
			fail_msg("%s did not come true", #condition); \
	} while (0)

/* --- calls --------------------------------------------------------------------------------------
 */

/* A specification for start(): args are those after /init, separated by spaces; NULL: the image's
 * own. What it points to is good until the next call of this. */
struct weft_runtime_spec *clab_spec(const char *id, const char *args);
int clab_begin(const struct weft_runtime_spec *spec);
void clab_run(const struct weft_runtime_spec *spec); /* start, and it runs */
/* Start, wait for its end with status 0, and have its output; it is deleted. The caller frees. */
char *clab_output(const struct weft_runtime_spec *spec);
int clab_adopt(const char *id);
int clab_stop(const char *id, unsigned grace_ms);
void clab_delete(const char *id);
/* Prepare clab.image, and take it for clab.ref. */
void clab_import(void);
/* exec: args as above, with /init; the answer's r is `want`; status and output are in clab. */
void clab_exec(const char *id, const char *args, unsigned timeout_ms, int want);
struct weft_runtime_stats clab_stats(const char *id);

/* --- looking ------------------------------------------------------------------------------------
 */

char *clab_log(const char *id); /* the caller frees it */
void clab_assert_log(const char *id, const char *part);
/* Wait until the program itself runs: a signal that comes earlier meets runc. */
void clab_wait_log(const char *id, const char *part);
/* Nothing but images with that many layers in all is left, in containerd and on the host. */
void clab_assert_clean(unsigned layers);
/* In a chroot "runc exec" looks for the command in the root of the mount namespace, which setns(2)
 * goes to, and not in the container's. Both say so when it is. */
bool clab_in_chroot(void);
void clab_skip_in_chroot(void); /* the rest of the test */
/* Content of a file in the instance's group of a v1 controller ("memory"), or of v2; the caller
 * frees it. */
char *clab_cgroup_file(
	const char *id, const char *controller, const char *v1_file, const char *v2_file);

#endif
