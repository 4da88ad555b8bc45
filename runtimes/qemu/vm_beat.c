/* SPDX-License-Identifier: Apache-2.0 */
/* Is it still there? A process that exists proves nothing: a qemu that is stopped, or stuck in the
 * kernel or in a loop, serves nobody and ends never. So its monitor is asked every few seconds. One
 * that closed the connection or babbled is given another chance, as long as it takes for one that
 * is silent to be given up. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/qemu/vm.h"

static void give_up(struct weft_vm *vm, const char *why)
{
	char text[sizeof(vm->fate)];

	snprintf(text, sizeof(text), "qemu hangs: %s", why);
	weft_vm_doom(vm, false, text);
	weft_vm_kill(vm);
}

static void on_answer(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	const char *status = json_string_value(json_object_get(result, "status"));
	struct weft_vm *vm = userdata;

	(void)err;
	if (r == 0 && status) {
		vm->lost_ns = 0;
		weft_vm_status(vm, status);
	} else if (r == -ETIMEDOUT && !vm->ended && !vm->killed && vm->phase == VM_RUNNING) {
		give_up(vm, "its monitor does not answer");
	}
}

static void reconnect(struct weft_vm *vm, uint64_t now)
{
	struct weft_err err = {};

	if (now - vm->lost_ns > vm->rt->hang_ms * 1000000ULL) {
		give_up(vm, "its monitor is lost");
		return;
	}
	if (weft_vm_connect(vm, &err) < 0)
		log_debug("%s: %s", vm->id, err.msg);
}

static int on_beat(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_vm *vm = userdata;
	uint64_t now = weft_now_ns();

	(void)usec;
	sd_event_source_set_time_relative(source, vm->rt->beat_ms * 1000ULL);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	if (vm->ended || vm->killed || vm->fate[0] || vm->phase != VM_RUNNING)
		return 0;
	if (!vm->qmp)
		reconnect(vm, now);
	else
		(void)weft_qmp_execute(
			vm->qmp, "query-status", NULL, vm->rt->hang_ms, on_answer, vm);
	return 0;
}

int weft_vm_beat_start(struct weft_vm *vm)
{
	return sd_event_add_time_relative(vm->rt->config.event, &vm->beat, CLOCK_MONOTONIC,
		vm->rt->beat_ms * 1000ULL, vm->rt->beat_ms * 100ULL, on_beat, vm);
}
