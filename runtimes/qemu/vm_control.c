/* SPDX-License-Identifier: Apache-2.0 */
/* Calls on a running instance: pause, resume, check, kill. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/qemu/vm.h"

struct weft_vm_call {
	struct weft_vm *vm;
	struct weft_vm_call *prev, *next;
	struct weft_deferred *answer;
	bool pause;
};

static void call_free(struct weft_vm_call *call)
{
	if (call->next)
		call->next->prev = call->prev;
	if (call->prev)
		call->prev->next = call->next;
	else
		call->vm->calls = call->next;
	weft_deferred_drop(call->answer);
	free(call);
}

void weft_vm_calls_end(struct weft_vm *vm, const char *why)
{
	struct weft_err err = {};

	weft_err_set(&err, ENOENT, "instance %s: ended meanwhile: %s", vm->id, why);
	while (vm->calls) {
		weft_deferred_post(TAKE_PTR(vm->calls->answer), -ENOENT, &err);
		call_free(vm->calls);
	}
}

int weft_vm_find_running(
	struct weft_runtime *rt, const char *id, struct weft_vm **ret, struct weft_err *err)
{
	struct weft_vm *vm = weft_vm_find(rt, id);

	if (!vm || vm->ended || vm->killed || vm->fate[0] || vm->phase == VM_ENDING)
		return weft_err_set(err, ENOENT, "instance %s: does not run", id);
	if (vm->phase != VM_RUNNING)
		return weft_err_set(err, EBUSY, "instance %s: is still starting", id);
	*ret = vm;
	return 0;
}

/* Ask the monitor; answered gets the call as its userdata, and frees it. */
static int call_new(struct weft_vm *vm, const char *command, weft_qmp_reply_t answered, bool pause,
	weft_runtime_done_t done, void *userdata)
{
	struct weft_runtime *rt = vm->rt;
	struct weft_vm_call *call;
	int r;

	if (!vm->qmp)
		return -ENOTCONN;
	call = calloc(1, sizeof(*call));
	if (!call)
		return -ENOMEM;
	*call = (struct weft_vm_call){.vm = vm, .next = vm->calls, .pause = pause};
	if (call->next)
		call->next->prev = call;
	vm->calls = call;
	r = weft_deferred_done(&rt->owed, rt->config.event, done, userdata, &call->answer);
	if (r == 0)
		r = weft_qmp_execute(vm->qmp, command, NULL, rt->hang_ms, answered, call);
	if (r < 0)
		call_free(call);
	return r;
}

/* --- pause and resume ----------------------------------------------------------------------------
 */

static void on_changed(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	struct weft_vm_call *call = userdata;
	struct weft_vm *vm = call->vm;
	struct weft_err why = *err;

	(void)result;
	vm->changing--;
	if (r == 0)
		vm->paused = call->pause;
	else
		weft_err_prefix(&why, "instance %s", vm->id);
	weft_deferred_post(TAKE_PTR(call->answer), r, &why);
	call_free(call);
	/* What others did to it meanwhile has been ignored. */
	if (vm->changing == 0 && !vm->ended)
		weft_vm_query(vm);
}

static int change(struct weft_runtime *rt, const char *id, bool pause, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	struct weft_vm *vm = NULL;
	int r = weft_vm_find_running(rt, id, &vm, err);

	if (r < 0)
		return r;
	if (vm->checkpoint)
		return weft_err_set(
			err, EBUSY, "instance %s: a checkpoint is being made of it", id);
	r = call_new(vm, pause ? "stop" : "cont", on_changed, pause, done, userdata);
	if (r < 0)
		return weft_err_set(err, r, "instance %s: %s it: %s", id,
			pause ? "pause" : "resume",
			r == -ENOTCONN ? "its monitor does not answer" : strerror(-r));
	vm->wants_paused = pause;
	vm->changing++;
	return 0;
}

int weft_vm_pause(struct weft_runtime *rt, const char *id, weft_runtime_done_t done, void *userdata,
	struct weft_err *err)
{
	return change(rt, id, true, done, userdata, err);
}

int weft_vm_resume(struct weft_runtime *rt, const char *id, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	return change(rt, id, false, done, userdata, err);
}

/* --- check
 * -----------------------------------------------------------------------------------------
 */

static void on_checked(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	const char *status = json_string_value(json_object_get(result, "status"));
	struct weft_vm_call *call = userdata;
	struct weft_err why = *err;

	if (r == 0 && (!status || strcmp(status, "running") != 0))
		r = weft_err_set(&why, EIO, "its monitor says \"%.40s\"", status ? status : "");
	weft_deferred_post(TAKE_PTR(call->answer), r, &why);
	call_free(call);
}

int weft_vm_check(struct weft_runtime *rt, const char *id, weft_runtime_done_t done, void *userdata,
	struct weft_err *err)
{
	struct weft_vm *vm = NULL;
	int r = weft_vm_find_running(rt, id, &vm, err);

	if (r < 0)
		return r;
	r = call_new(vm, "query-status", on_checked, false, done, userdata);
	return r < 0 ? weft_err_set(err, r, "instance %s: its monitor does not answer: %s", id,
			       strerror(-r))
		     : 0;
}

/* --- kill ----------------------------------------------------------------------------------------
 */

/* A guest knows no signals: those that ask a program to end press the power button. */
static int press(struct weft_vm *vm)
{
	const char *how = vm->record.powerdown ? "system_powerdown" : "quit";

	return vm->qmp ? weft_qmp_execute(vm->qmp, how, NULL, vm->rt->hang_ms, NULL, NULL)
		       : -ENOTCONN;
}

int weft_vm_signal(struct weft_runtime *rt, const char *id, int signal, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	struct weft_deferred *answer;
	struct weft_vm *vm = NULL;
	int r = weft_vm_find_running(rt, id, &vm, err);

	if (r < 0)
		return r;
	if (signal != SIGKILL && signal != SIGTERM && signal != SIGINT && signal != SIGQUIT &&
		signal != SIGPWR) {
		weft_err_set(err, ENOTSUP, "instance %s: a virtual machine has no use for SIG%s",
			id, sigabbrev_np(signal) ? sigabbrev_np(signal) : "?");
		return weft_err_hint(err, "KILL ends it; TERM presses its power button");
	}
	r = weft_deferred_done(&rt->owed, rt->config.event, done, userdata, &answer);
	if (r < 0)
		return weft_err_set(err, r, "instance %s: %s", id, strerror(-r));
	if (signal == SIGKILL)
		weft_vm_kill(vm);
	else
		r = press(vm);
	if (r < 0) {
		weft_deferred_drop(answer);
		return weft_err_set(
			err, r, "instance %s: its monitor does not answer: %s", id, strerror(-r));
	}
	weft_deferred_post(answer, 0, NULL);
	return 0;
}
