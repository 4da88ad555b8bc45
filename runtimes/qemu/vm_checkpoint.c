/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint of a running instance: it stands still, its state is written, it goes on. Written to
 * FILE.part, which becomes FILE once it is whole. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/qemu/checkpoint.h"
#include "runtimes/qemu/migrate.h"
#include "runtimes/qemu/vm.h"

#define TIMEOUT_MS 60000

struct weft_vm_checkpoint {
	struct weft_vm *vm;
	char *file, *part;
	int fd;
	bool was_paused;
	struct weft_migration *migration;
	struct weft_deferred *answer;
	struct weft_err err; /* why it fails, while the guest is made to go on */
};

static void checkpoint_free(struct weft_vm_checkpoint *c)
{
	if (!c)
		return;
	weft_migration_free(c->migration);
	weft_deferred_drop(c->answer);
	closep(&c->fd);
	if (c->part)
		unlink(c->part); /* gone already, if all went well */
	free(c->part);
	free(c->file);
	free(c);
}
WEFT_DEFINE_CLEANUP(struct weft_vm_checkpoint *, checkpoint_free);

static void note(struct weft_vm *vm, bool saving)
{
	vm->record.saving = saving;
	if (weft_vm_record_save(vm->rt->dir, vm->id, &vm->record) < 0)
		log_debug("%s: record: %m", vm->id);
}

static void finish(struct weft_vm_checkpoint *c)
{
	struct weft_vm *vm = c->vm;
	int r = -c->err.code;

	if (r == 0 && rename(c->part, c->file) < 0)
		r = weft_err_set(&c->err, errno, "checkpoint %s: %m", c->file);
	if (r < 0)
		weft_err_prefix(&c->err, "instance %s", vm->id);
	weft_deferred_post(TAKE_PTR(c->answer), r, &c->err);
	vm->checkpoint = NULL;
	checkpoint_free(c);
	vm->changing--;
	if (vm->ended)
		return;
	note(vm, false);
	if (vm->changing == 0)
		weft_vm_query(vm);
}

void weft_vm_checkpoint_end(struct weft_vm *vm, const char *why)
{
	struct weft_vm_checkpoint *c = vm->checkpoint;

	if (!c)
		return;
	weft_err_set(&c->err, ENOENT, "instance %s: ended meanwhile: %s", vm->id, why);
	weft_deferred_post(TAKE_PTR(c->answer), -ENOENT, &c->err);
	vm->checkpoint = NULL;
	checkpoint_free(c);
}

static void on_goes_on(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	struct weft_vm_checkpoint *c = userdata;

	(void)result;
	if (r == 0)
		c->vm->paused = false;
	else if (!c->err.code)
		weft_err_set(&c->err, r, "checkpoint %s: the guest does not go on: %s", c->file,
			err->msg);
	finish(c);
}

static void go_on(struct weft_vm_checkpoint *c)
{
	int r = c->was_paused ? 0
		: c->vm->qmp  ? weft_qmp_execute(
					c->vm->qmp, "cont", NULL, c->vm->rt->hang_ms, on_goes_on, c)
			     : -ENOTCONN;

	if (r < 0 && !c->err.code)
		weft_err_set(&c->err, r, "checkpoint %s: the guest does not go on: %s", c->file,
			strerror(-r));
	if (r < 0 || c->was_paused)
		finish(c);
}

static void on_saved(void *userdata, int r, const struct weft_err *err)
{
	struct weft_vm_checkpoint *c = userdata;

	if (r < 0)
		weft_err_set(&c->err, r, "checkpoint %s: %s", c->file, err->msg);
	go_on(c);
}

static void on_stands(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	struct weft_vm_checkpoint *c = userdata;

	(void)result;
	if (r == 0)
		r = weft_migration_save(c->vm->rt->config.event, c->vm->qmp, c->fd, false,
			TIMEOUT_MS, on_saved, c, &c->migration);
	if (r == 0)
		return;
	weft_err_set(&c->err, r, "checkpoint %s: %s", c->file, err->code ? err->msg : strerror(-r));
	go_on(c);
}

static int prepare(struct weft_vm_checkpoint *c, const char *file, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	struct weft_vm *vm = c->vm;
	int r;

	c->file = strdup(file);
	c->part = weft_strf("%s.part", file);
	r = c->file && c->part ? weft_deferred_done(&vm->rt->owed, vm->rt->config.event, done,
					 userdata, &c->answer)
			       : -ENOMEM;
	if (r < 0)
		return weft_err_set(err, r, "%s", strerror(-r));
	r = weft_checkpoint_create(c->part, vm->record.shape, &c->fd, err);
	if (r < 0)
		return r;
	note(vm, true);
	r = vm->qmp ? weft_qmp_execute(vm->qmp, "stop", NULL, vm->rt->hang_ms, on_stands, c)
		    : -ENOTCONN;
	if (r == 0)
		return 0;
	note(vm, false);
	return weft_err_set(err, r, "its monitor does not answer: %s", strerror(-r));
}

int weft_vm_checkpoint(struct weft_runtime *rt, const char *id, const char *file,
	weft_runtime_done_t done, void *userdata, struct weft_err *err)
{
	_cleanup_(checkpoint_freep) struct weft_vm_checkpoint *c = NULL;
	struct weft_vm *vm = NULL;
	int r = weft_vm_find_running(rt, id, &vm, err);

	if (r < 0)
		return r;
	if (vm->checkpoint)
		return weft_err_set(
			err, EBUSY, "instance %s: a checkpoint is being made of it", id);
	c = calloc(1, sizeof(*c));
	if (!c)
		return weft_err_set(err, ENOMEM, "instance %s: out of memory", id);
	c->vm = vm;
	c->fd = -1;
	c->was_paused = vm->paused;
	r = prepare(c, file, done, userdata, err);
	if (r < 0)
		return weft_err_prefix(err, "instance %s", id);
	vm->changing++;
	vm->checkpoint = TAKE_PTR(c);
	return 0;
}
