/* SPDX-License-Identifier: Apache-2.0 */
/* Which accelerator is worth using here: found out by running qemu with a guest of a few
 * instructions (probe_guest.S) under a time limit, once per boot of the host. */
#ifndef WEFT_RUNTIMES_QEMU_ACCEL_H
#define WEFT_RUNTIMES_QEMU_ACCEL_H

#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"
#include "runtimes/image/hints.h"

enum weft_kvm {
	WEFT_KVM_ABSENT,   /* no /dev/kvm */
	WEFT_KVM_UNUSABLE, /* there, but the probe guest did not get through */
	WEFT_KVM_RING3,    /* ring 0 is emulated instruction by instruction, ring 3 is native */
	WEFT_KVM_FULL,
	WEFT_KVM_COUNT,
};

struct weft_accel_state {
	bool installed;   /* else the rest is meaningless */
	char version[32]; /* "7.2.22" */
	enum weft_kvm kvm;
	char why[96]; /* UNUSABLE: how the probe ended; not installed: what is there does */
};

struct weft_accel;
struct weft_accel_ask; /* somebody who waits for the answer */
typedef void (*weft_accel_known_t)(void *userdata, const struct weft_accel_state *state);

/* dir keeps the answer until the next boot; libexec_dir is where the probe guest is. */
int weft_accel_new(sd_event *event, const char *dir, const char *libexec_dir,
	struct weft_accel **ret, struct weft_err *err);
void weft_accel_free(struct weft_accel *a); /* NULL is fine; nobody is answered any more */
WEFT_DEFINE_CLEANUP(struct weft_accel *, weft_accel_free);

/* Answered once, from the loop, at once when it is known. A qemu that is not installed is looked
 * for again every time. ret is valid until the answer. */
int weft_accel_ask(struct weft_accel *a, weft_accel_known_t known, void *userdata,
	struct weft_accel_ask **ret);
void weft_accel_cancel(struct weft_accel_ask *ask); /* NULL is fine */

/* For a guest with these hints: does KVM run it, and run it best? Else TCG. */
bool weft_accel_use_kvm(const struct weft_accel_state *state, const struct weft_hints *hints);
/* "KVM", or "TCG: " and why not KVM. Returns buf. */
const char *weft_accel_text(const struct weft_accel_state *state, char *buf, size_t size);

#endif
