/* SPDX-License-Identifier: Apache-2.0 */
/* The script of faults: rules, and which of them acts on a call. */
#ifndef WEFT_RUNTIMES_FAKE_SCRIPT_H
#define WEFT_RUNTIMES_FAKE_SCRIPT_H

#include <stdint.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"

enum weft_fault {
	WEFT_FAULT_NONE,
	WEFT_FAULT_FAIL,
	WEFT_FAULT_REFUSE,
	WEFT_FAULT_DELAY,
	WEFT_FAULT_HANG,
	WEFT_FAULT_SWALLOW,
	WEFT_FAULT_DIE_BEFORE,
	WEFT_FAULT_DIE_AFTER,
	WEFT_FAULT_DIE_ANSWER,
};

struct weft_fault_action {
	enum weft_fault fault;
	int code; /* positive errno, of FAIL and REFUSE */
	uint64_t delay_ms;
};

struct weft_fault_script;

/* path NULL: no rules. Errors name the file and the rule. */
int weft_fault_script_load(const char *path, struct weft_fault_script **ret, struct weft_err *err);
void weft_fault_script_free(struct weft_fault_script *s);
WEFT_DEFINE_CLEANUP(struct weft_fault_script *, weft_fault_script_free);

/* What happens to this call; uses a rule up. id may be NULL. */
struct weft_fault_action weft_fault_next(
	struct weft_fault_script *s, const char *runtime, const char *call, const char *id);

#endif
