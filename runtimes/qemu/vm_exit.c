/* SPDX-License-Identifier: Apache-2.0 */
/* The end of an instance: why it ended, who is told, what is removed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/qemu/vm.h"

#define MAX_LAST_WORDS 16384

/* The last line that qemu itself wrote to the log, without its program's name: "" when none. */
static void last_words(const struct weft_vm *vm, char *buf, size_t size)
{
	_cleanup_(closep) int fd = -1;
	_cleanup_(freep) char *text = NULL;
	const char *found = NULL;
	char *save = NULL;
	off_t start, end;
	ssize_t n;

	buf[0] = '\0';
	if (!vm->log_path || !vm->machine)
		return;
	fd = open(vm->log_path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	text = malloc(MAX_LAST_WORDS + 1);
	if (fd < 0 || !text)
		return;
	end = lseek(fd, 0, SEEK_END);
	start = end < vm->log_start ? 0 : vm->log_start; /* rotated meanwhile */
	n = pread(fd, text, MAX_LAST_WORDS,
		end - start > MAX_LAST_WORDS ? end - MAX_LAST_WORDS : start);
	if (n <= 0)
		return;
	text[n] = '\0';
	for (char *l = strtok_r(text, "\r\n", &save); l; l = strtok_r(NULL, "\r\n", &save)) {
		size_t name = strlen(vm->machine->program);

		if (strncmp(l, vm->machine->program, name) == 0 && strncmp(l + name, ": ", 2) == 0)
			found = l + name + 2;
	}
	if (found)
		snprintf(buf, size, "%s", found);
}

/* Why it ended, for a person. true when that is as the guest wanted. */
static bool explain(const struct weft_vm *vm, int status, char *buf, size_t size)
{
	bool clean = status == -1 || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
	char how[64], words[200];

	if (vm->fate[0]) {
		snprintf(buf, size, "%s", vm->fate);
		return vm->fate_is_good && clean;
	}
	weft_process_status_text(status, how, sizeof(how));
	words[0] = '\0';
	if (!clean)
		last_words(vm, words, sizeof(words));
	snprintf(buf, size, "qemu: %s%s%s", how, words[0] ? ": " : "", words);
	/* Without a word from the monitor, a status nobody knows is no proof of a good end. */
	return clean && status != -1;
}

static void answer_start(struct weft_vm *vm, const char *why)
{
	int code = vm->phase == VM_ADOPTING ? ENOENT : EIO;
	struct weft_err err = vm->failure;

	if (!err.code) {
		weft_err_set(&err, code, "%s", why);
		if (code == EIO)
			weft_err_hint(&err, "see its log, %s", vm->log_path);
	}
	weft_err_prefix(&err, "instance %s", vm->id);
	weft_deferred_post(TAKE_PTR(vm->started), -err.code, &err);
}

void weft_vm_ended(void *userdata, int status)
{
	struct weft_vm *vm = userdata;
	const struct weft_runtime_config config = vm->rt->config;
	_cleanup_(freep) char *id = NULL;
	bool good, unasked = vm->phase == VM_RUNNING;
	char why[320];
	int r;

	/* What it said before it ended may not have been read yet. */
	vm->ended = true;
	if (vm->qmp)
		weft_qmp_drain(vm->qmp);
	weft_qmp_free(TAKE_PTR(vm->qmp)); /* nobody is called from it any more */
	good = explain(vm, status, why, sizeof(why));
	log_debug("%s: qemu pid %d ended: %s", vm->id, (int)vm->record.pid, why);
	r = weft_vm_clean(vm->rt, vm->id, vm->record.qmp_path);
	if (r < 0)
		log_debug("%s: remove cgroup %s: %s", vm->id, vm->cgroup, strerror(-r));
	if (weft_vm_warm_ended(vm, why) && weft_vm_await_accel(vm) == 0)
		return;
	if (vm->started)
		answer_start(vm, why);
	weft_vm_calls_end(vm, why);
	weft_vm_checkpoint_end(vm, why);
	while (vm->n_waiters > 0)
		weft_deferred_post(vm->waiters[--vm->n_waiters], 0, NULL);
	id = TAKE_PTR(vm->id);
	weft_vm_free(vm);
	if (unasked && config.on_event)
		config.on_event(
			config.userdata, id, good ? WEFT_RUNTIME_EXITED : WEFT_RUNTIME_FAILED, why);
}
