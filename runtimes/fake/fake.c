/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/fake/fake.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/deferred.h"
#include "runtimes/fake/script.h"

struct weft_runtime {
	const struct weft_runtime_ops *ops; /* of the one that does the work */
	struct weft_runtime *inner;
	sd_event *event;
	struct weft_fault_script *script;
	struct weft_deferred_set owed;
	struct call *calls;
};

/* A call under way: its answer passes through here. */
struct call {
	struct call *prev, *next;
	struct weft_runtime *rt;
	struct weft_fault_action action;
	struct weft_deferred *owed; /* done or prepared: given through this one */
	weft_runtime_probed_t probed;
	weft_runtime_executed_t executed;
	void *userdata;
	/* an answer that is delayed */
	sd_event_source *timer;
	int r;
	struct weft_err err;
	char *ref;
	uint64_t size;
	bool prepared;
};

static void call_free(struct call *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		c->rt->calls = c->next;
	if (c->next)
		c->next->prev = c->prev;
	sd_event_source_disable_unref(c->timer);
	free(c->ref);
	free(c);
}

static struct call *call_new(
	struct weft_runtime *rt, const struct weft_fault_action *action, void *userdata)
{
	struct call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->rt = rt;
	c->action = *action;
	c->userdata = userdata;
	c->next = rt->calls;
	if (c->next)
		c->next->prev = c;
	rt->calls = c;
	return c;
}

static void die(void)
{
	kill(getpid(), SIGKILL);
}

/* --- answers -------------------------------------------------------------------------------------
 */

static void give(struct call *c)
{
	if (c->prepared)
		weft_deferred_post_prepared(c->owed, c->r, &c->err, c->ref, c->size);
	else
		weft_deferred_post(c->owed, c->r, &c->err);
	call_free(c);
}

static int on_delay(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	give(userdata);
	return 0;
}

static void answer(struct call *c, int r, const struct weft_err *err)
{
	c->r = r;
	if (err)
		c->err = *err;
	switch (c->action.fault) {
	case WEFT_FAULT_DIE_ANSWER:
		die();
		break;
	case WEFT_FAULT_SWALLOW:
		weft_deferred_drop(c->owed);
		call_free(c);
		return;
	case WEFT_FAULT_DELAY:
		if (sd_event_add_time_relative(c->rt->event, &c->timer, CLOCK_MONOTONIC,
			    c->action.delay_ms * 1000, 1000, on_delay, c) >= 0)
			return;
		break;
	default:
		break;
	}
	give(c);
}

static void on_done(void *userdata, int r, const struct weft_err *err)
{
	answer(userdata, r, err);
}

static void on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	struct call *c = userdata;

	c->prepared = true;
	c->ref = ref ? strdup(ref) : NULL;
	c->size = size;
	answer(c, r, err);
}

/* --- calls ---------------------------------------------------------------------------------------
 */

struct begun {
	struct call *c; /* NULL: there is nothing left to do */
	int r;          /* and this is the call's result */
};

static int injected(
	struct weft_runtime *rt, const char *what, const char *id, int code, struct weft_err *err)
{
	return weft_err_set(err, code, "runtime %s: %s%s%s: a fault on order", rt->ops->name, what,
		id ? " of " : "", id ? id : "");
}

/* What the script says of a call that is answered by done or prepared. */
static struct begun begin(struct weft_runtime *rt, const char *what, const char *id,
	weft_runtime_done_t done, weft_runtime_prepared_t prepared, void *userdata,
	struct weft_err *err)
{
	struct weft_fault_action action = weft_fault_next(rt->script, rt->ops->name, what, id);
	struct weft_deferred *owed = NULL;
	struct weft_err why = {0};
	struct call *c;
	int r;

	if (action.fault == WEFT_FAULT_DIE_BEFORE)
		die();
	if (action.fault == WEFT_FAULT_REFUSE)
		return (struct begun){NULL, injected(rt, what, id, action.code, err)};
	if (action.fault == WEFT_FAULT_HANG)
		return (struct begun){NULL, 0};
	r = prepared ? weft_deferred_prepared(&rt->owed, rt->event, prepared, userdata, &owed)
		     : weft_deferred_done(&rt->owed, rt->event, done, userdata, &owed);
	if (r < 0)
		return (struct begun){NULL, r};
	if (action.fault == WEFT_FAULT_FAIL) {
		injected(rt, what, id, action.code, &why);
		if (prepared)
			weft_deferred_post_prepared(owed, -action.code, &why, NULL, 0);
		else
			weft_deferred_post(owed, -action.code, &why);
		return (struct begun){NULL, 0};
	}
	c = call_new(rt, &action, userdata);
	if (!c) {
		weft_deferred_drop(owed);
		return (struct begun){NULL, -ENOMEM};
	}
	c->owed = owed;
	return (struct begun){c, 0};
}

static int under_way(struct call *c, int r)
{
	bool dies = c->action.fault == WEFT_FAULT_DIE_AFTER;

	if (r < 0) {
		weft_deferred_drop(c->owed);
		call_free(c);
	}
	if (dies)
		die();
	return r;
}

/* A call on an instance that the runtime may not have. */
#define FAKE_CALL(member, word, id, params, args)                                        \
	static int fake_##member params                                                  \
	{                                                                                \
		struct begun b;                                                          \
                                                                                         \
		if (!rt->ops->member)                                                    \
			return weft_err_set(                                             \
				err, ENOTSUP, "runtime %s cannot " word, rt->ops->name); \
		b = begin(rt, word, id, done, NULL, userdata, err);                      \
		return b.c ? under_way(b.c, rt->ops->member args) : b.r;                 \
	}
#define TAIL weft_runtime_done_t done, void *userdata, struct weft_err *err
#define REST on_done, b.c, err
#define SPEC const struct weft_runtime_spec *spec

FAKE_CALL(start, "start", spec->id, (struct weft_runtime * rt, SPEC, TAIL), (rt->inner, spec, REST))
FAKE_CALL(adopt, "adopt", spec->id, (struct weft_runtime * rt, SPEC, TAIL), (rt->inner, spec, REST))
FAKE_CALL(stop, "stop", id, (struct weft_runtime * rt, const char *id, unsigned grace_ms, TAIL),
	(rt->inner, id, grace_ms, REST))
FAKE_CALL(delete_, "delete", id, (struct weft_runtime * rt, const char *id, TAIL),
	(rt->inner, id, REST))
FAKE_CALL(
	pause, "pause", id, (struct weft_runtime * rt, const char *id, TAIL), (rt->inner, id, REST))
FAKE_CALL(resume, "resume", id, (struct weft_runtime * rt, const char *id, TAIL),
	(rt->inner, id, REST))
FAKE_CALL(kill, "kill", id, (struct weft_runtime * rt, const char *id, int signal, TAIL),
	(rt->inner, id, signal, REST))
FAKE_CALL(
	check, "check", id, (struct weft_runtime * rt, const char *id, TAIL), (rt->inner, id, REST))
FAKE_CALL(checkpoint, "checkpoint", id,
	(struct weft_runtime * rt, const char *id, const char *file, TAIL),
	(rt->inner, id, file, REST))

static int fake_prepare(struct weft_runtime *rt, const char *image, enum weft_arch arch,
	weft_runtime_prepared_t done, void *userdata, struct weft_err *err)
{
	struct begun b = begin(rt, "prepare", image, NULL, done, userdata, err);

	return b.c ? under_way(b.c, rt->ops->prepare(rt->inner, image, arch, on_prepared, b.c, err))
		   : b.r;
}

static void on_executed(void *userdata, int r, const struct weft_err *err, int status,
	const char *output, size_t size)
{
	struct call *c = userdata;

	if (c->action.fault == WEFT_FAULT_DIE_ANSWER)
		die();
	if (c->action.fault != WEFT_FAULT_SWALLOW)
		c->executed(c->userdata, r, err, status, output, size);
	call_free(c);
}

static int fake_exec(struct weft_runtime *rt, const char *id, const char *const *argv,
	unsigned timeout_ms, weft_runtime_executed_t done, void *userdata, struct weft_err *err)
{
	struct weft_fault_action action = weft_fault_next(rt->script, rt->ops->name, "exec", id);
	struct call *c;
	int r;

	if (!rt->ops->exec)
		return weft_err_set(err, ENOTSUP, "runtime %s cannot exec", rt->ops->name);
	if (action.fault == WEFT_FAULT_DIE_BEFORE)
		die();
	if (action.fault == WEFT_FAULT_HANG)
		return 0;
	if (action.fault == WEFT_FAULT_FAIL || action.fault == WEFT_FAULT_REFUSE)
		return injected(rt, "exec", id, action.code, err);
	c = call_new(rt, &action, userdata);
	if (!c)
		return -ENOMEM;
	c->executed = done;
	r = rt->ops->exec(rt->inner, id, argv, timeout_ms, on_executed, c, err);
	return under_way(c, r);
}

static void fake_exec_end(struct weft_runtime *rt, void *userdata)
{
	for (struct call *c = rt->calls; c; c = c->next)
		if (c->executed && c->userdata == userdata) {
			rt->ops->exec_end(rt->inner, c);
			return;
		}
}

static void on_probed(void *userdata, const struct weft_runtime_cap *caps, unsigned n)
{
	struct call *c = userdata;

	if (c->action.fault == WEFT_FAULT_DIE_ANSWER)
		die();
	if (c->action.fault != WEFT_FAULT_SWALLOW)
		c->probed(c->userdata, caps, n);
	call_free(c);
}

/* Failing means that nothing is usable. */
static int fake_probe(struct weft_runtime *rt, weft_runtime_probed_t done, void *userdata)
{
	struct weft_fault_action action = weft_fault_next(rt->script, rt->ops->name, "probe", NULL);
	struct weft_deferred *owed;
	struct call *c;

	if (action.fault == WEFT_FAULT_DIE_BEFORE)
		die();
	if (action.fault == WEFT_FAULT_HANG)
		return 0;
	if (action.fault == WEFT_FAULT_REFUSE)
		return -action.code;
	if (action.fault == WEFT_FAULT_FAIL) {
		int r = weft_deferred_probed(&rt->owed, rt->event, done, userdata, &owed);

		if (r == 0)
			weft_deferred_post_probed(owed, NULL, 0);
		return r;
	}
	c = call_new(rt, &action, userdata);
	if (!c)
		return -ENOMEM;
	c->probed = done;
	return under_way(c, rt->ops->probe(rt->inner, on_probed, c));
}

static int fake_stats(struct weft_runtime *rt, const char *id, struct weft_runtime_stats *ret)
{
	return rt->ops->stats(rt->inner, id, ret);
}

/* No script is asked about images: they are nobody's instance. */
static int fake_images(
	struct weft_runtime *rt, weft_runtime_images_t done, void *userdata, struct weft_err *err)
{
	return rt->ops->images ? rt->ops->images(rt->inner, done, userdata, err) : -ENOTSUP;
}

static int fake_image_remove(struct weft_runtime *rt, const char *ref, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	return rt->ops->image_remove ? rt->ops->image_remove(rt->inner, ref, done, userdata, err)
				     : -ENOTSUP;
}

static bool fake_image_ipv6(struct weft_runtime *rt, const char *ref)
{
	return !rt->ops->image_ipv6 || rt->ops->image_ipv6(rt->inner, ref);
}

static void fake_free(struct weft_runtime *rt)
{
	if (!rt)
		return;
	while (rt->calls)
		call_free(rt->calls);
	weft_deferred_drop_all(&rt->owed);
	rt->ops->free_(rt->inner);
	weft_fault_script_free(rt->script);
	sd_event_unref(rt->event);
	free(rt);
}
WEFT_DEFINE_CLEANUP(struct weft_runtime *, fake_free);

static int new_around(const struct weft_runtime_ops *ops, const struct weft_runtime_config *config,
	struct weft_runtime **ret, struct weft_err *err)
{
	_cleanup_(fake_freep) struct weft_runtime *rt = calloc(1, sizeof(*rt));
	struct weft_fault_action action;
	int r;

	if (!rt)
		return weft_err_set(err, ENOMEM, "runtime %s: out of memory", ops->name);
	rt->ops = ops;
	rt->event = sd_event_ref(config->event);
	r = weft_fault_script_load(getenv("WEFT_FAULTS"), &rt->script, err);
	if (r < 0)
		return r;
	action = weft_fault_next(rt->script, ops->name, "new", NULL);
	if (action.fault == WEFT_FAULT_FAIL || action.fault == WEFT_FAULT_REFUSE)
		return injected(rt, "new", NULL, action.code, err);
	r = ops->new_(config, &rt->inner, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(rt);
	return 0;
}

#define AROUND(which)                                                       \
	static int new_##which(const struct weft_runtime_config *config,    \
		struct weft_runtime **ret, struct weft_err *err)            \
	{                                                                   \
		return new_around(&weft_runtime_##which, config, ret, err); \
	}
AROUND(native)
AROUND(qemu)
AROUND(containerd)

#define OPS(n, which)                                                                             \
	{                                                                                         \
		.name = n, .new_ = new_##which, .free_ = fake_free, .probe = fake_probe,          \
		.prepare = fake_prepare, .start = fake_start, .adopt = fake_adopt,                \
		.stop = fake_stop, .delete_ = fake_delete_, .stats = fake_stats,                  \
		.pause = fake_pause, .resume = fake_resume, .kill = fake_kill, .exec = fake_exec, \
		.exec_end = fake_exec_end, .check = fake_check, .checkpoint = fake_checkpoint,    \
		.images = fake_images, .image_remove = fake_image_remove,                         \
		.image_ipv6 = fake_image_ipv6,                                                    \
	}
const struct weft_runtime_ops weft_runtime_fake = OPS("fake", native);

const struct weft_runtime_ops *weft_fake_around(const struct weft_runtime_ops *ops)
{
	static const struct weft_runtime_ops around[] = {
		OPS("native", native), OPS("qemu", qemu), OPS("containerd", containerd)};

	for (size_t i = 0; getenv("WEFT_FAULTS") && i < ARRAY_SIZE(around); i++)
		if (strcmp(around[i].name, ops->name) == 0)
			return &around[i];
	return ops;
}
