/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of runtime.h on a running native instance. */
#ifndef WEFT_RUNTIMES_NATIVE_CONTROL_H
#define WEFT_RUNTIMES_NATIVE_CONTROL_H

#include "runtimes/native/native_instance.h"

int weft_native_pause(struct weft_runtime *rt, const char *id, weft_runtime_done_t done,
	void *userdata, struct weft_err *err);
int weft_native_resume(struct weft_runtime *rt, const char *id, weft_runtime_done_t done,
	void *userdata, struct weft_err *err);
int weft_native_kill(struct weft_runtime *rt, const char *id, int signal, weft_runtime_done_t done,
	void *userdata, struct weft_err *err);
/* In the network namespace, the control group and the directory of the instance's process. */
int weft_native_exec(struct weft_runtime *rt, const char *id, const char *const *argv,
	unsigned timeout_ms, weft_runtime_executed_t done, void *userdata, struct weft_err *err);
void weft_native_exec_end(struct weft_runtime *rt, void *userdata);
void weft_native_exec_free_all(struct weft_runtime *rt);

#endif
