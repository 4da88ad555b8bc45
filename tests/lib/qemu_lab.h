/* SPDX-License-Identifier: Apache-2.0 */
/* A qemu runtime in a directory, a cgroup and an event loop of its own, for tests that start
 * guests. Everything asserts: a step that should work and does not fails the test. */
#ifndef WEFT_TESTS_LIB_QEMU_LAB_H
#define WEFT_TESTS_LIB_QEMU_LAB_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "runtimes/qemu/qemu.h"

#define QLAB_DEADLINE_NS 30000000000ULL
#define QLAB_ID          "shop.web.1" /* the one instance */

/* Set by main() before the first test: where weft-unpack and the probe guest are. */
extern char qlab_libexec[PATH_MAX];

/* Can guests be started here? Else the plan that skips all has been printed. Fills qlab_libexec. */
bool qlab_available(void);
/* Where the own guest's image is; false: not built. */
bool qlab_guest_image(char path[PATH_MAX]);

struct qlab {
	char dir[64], inst[PATH_MAX], log[PATH_MAX], cgroup_root[64], cgroup[160];
	char image[128]; /* the last one prepared */
	unsigned fds;    /* open at the beginning */
	sd_event *event;
	struct weft_runtime *rt;

	/* What the runtime called back with: how often, and the last of it. */
	unsigned done, events, probed, prepared;
	int r;
	struct weft_err err;
	enum weft_runtime_event event_kind;
	char detail[256];
	struct weft_runtime_cap cap, arm; /* for amd64, and for arm64 */
};

int qlab_setup(void **state);
/* Also asserts that no process, cgroup, file or descriptor is left. */
int qlab_teardown(void **state);
/* Another daemon on the same state. */
void qlab_new_runtime(struct qlab *f);

void qlab_on_done(void *userdata, int r, const struct weft_err *err);
void qlab_on_probed(void *userdata, const struct weft_runtime_cap *caps, unsigned n_caps);
void qlab_on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size);
/* Run the loop until *count is n, for QLAB_DEADLINE_NS at most. */
void qlab_await(struct qlab *f, const unsigned *count, unsigned n);

void qlab_prepare(struct qlab *f, const char *path);
/* An image whose kernel is code (kernel.h), with hints as its weft.json. */
void qlab_prepare_code(struct qlab *f, const char *hints, const uint8_t *code, size_t code_size);
/* Of an instance of the last image, without network. */
struct weft_runtime_spec qlab_spec(struct qlab *f);

/* Each waits for the answer; int is what it was. */
int qlab_start_spec(struct qlab *f, const struct weft_runtime_spec *spec);
void qlab_start(struct qlab *f);
int qlab_stop(struct qlab *f, unsigned grace_ms);
int qlab_delete(struct qlab *f);
int qlab_adopt(struct qlab *f);
pid_t qlab_pid(struct qlab *f);
void qlab_assert_nothing_left(struct qlab *f);

/* A tap in the current network namespace, with this address/24; its descriptor. */
int qlab_tap(const char *name, const char *addr);
/* Give it that address/64 as well; false: this kernel has no IPv6. */
bool qlab_tap6(const char *name, const char *addr);
/* GET / on port 80 once: true when it answers 200 (and says text, unless NULL). */
bool qlab_http(const char *addr, const char *text);
/* Until it does, or the instance ends, or QLAB_DEADLINE_NS; then the test fails. ms since start. */
unsigned qlab_await_http(struct qlab *f, const char *addr, const char *text, uint64_t start_ns);

#endif
