/* SPDX-License-Identifier: Apache-2.0 */
/* Images on this node: which there are, what they are wanted for, and their end. An image is wanted
 * as long as an instance runs from it or a service names it; one that nobody has wanted for a while
 * (config.image_keep_s) is removed. What descriptors call it is written down when it is prepared.
 */
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/internal.h"

#define MAX_CODES   8
#define FIRST_NS    60000000000ULL /* after the start */
#define INTERVAL_NS 600000000000ULL
#define WRITE_MS    60000 /* a record is not written again for less */

struct image {
	struct image *next;
	char *ref;
	char *codes[MAX_CODES]; /* newest first */
	uint64_t used_ms, written_ms;
};

/* --- records -------------------------------------------------------------------------------------
 */

static void image_free(struct image *i)
{
	for (int k = 0; k < MAX_CODES; k++)
		free(i->codes[k]);
	free(i->ref);
	free(i);
}

void images_free(struct weft_engine *e)
{
	while (e->images) {
		struct image *i = e->images;

		e->images = i->next;
		image_free(i);
	}
}

static struct image *find(struct weft_engine *e, const char *ref)
{
	struct image *i = e->images;

	while (i && strcmp(i->ref, ref) != 0)
		i = i->next;
	return i;
}

static struct image *find_or_add(struct weft_engine *e, const char *ref)
{
	struct image *i = find(e, ref);

	if (i)
		return i;
	i = calloc(1, sizeof(*i));
	if (i)
		i->ref = strdup(ref);
	if (!i || !i->ref) {
		free(i);
		return NULL;
	}
	i->used_ms = weft_realtime_ms();
	i->next = e->images;
	e->images = i;
	return i;
}

static void write_record(struct weft_engine *e, struct image *i)
{
	json_t *codes = json_array();
	struct weft_err err = {0};

	for (int k = 0; k < MAX_CODES && i->codes[k]; k++)
		json_array_append_new(codes, json_string(i->codes[k]));
	json_auto_t *doc =
		json_pack("{s:o, s:I}", "codes", codes, "used_ms", (json_int_t)i->used_ms);

	i->written_ms = i->used_ms;
	if (weft_store_put(e->store, "image", i->ref, doc, &err) < 0)
		log_warning("image %s: %s", i->ref, err.msg);
}

int image_restore(void *engine, const char *name, const json_t *doc)
{
	struct image *i = find_or_add(engine, name);
	const json_t *codes = json_object_get(doc, "codes");

	if (!i)
		return -ENOMEM;
	i->used_ms = i->written_ms = (uint64_t)json_integer_value(json_object_get(doc, "used_ms"));
	for (size_t k = 0; k < MAX_CODES && k < json_array_size(codes); k++) {
		const char *code = json_string_value(json_array_get(codes, k));

		i->codes[k] = code ? strdup(code) : NULL;
		if (!i->codes[k])
			break;
	}
	return 0;
}

static void forget(struct weft_engine *e, const char *ref)
{
	struct weft_err err = {0};

	for (struct image **p = &e->images; *p; p = &(*p)->next) {
		struct image *i = *p;

		if (strcmp(i->ref, ref) != 0)
			continue;
		if (weft_store_del(e->store, "image", ref, &err) < 0)
			log_warning("image %s: %s", ref, err.msg);
		*p = i->next;
		image_free(i);
		return;
	}
}

static void used(struct weft_engine *e, struct image *i)
{
	i->used_ms = weft_realtime_ms();
	if (i->used_ms > i->written_ms + WRITE_MS)
		write_record(e, i);
}

void image_note(struct weft_engine *e, const char *code, const char *ref)
{
	struct image *i = find_or_add(e, ref);
	char *copy;
	int k = 0;

	if (!i)
		return;
	while (k < MAX_CODES - 1 && i->codes[k] && strcmp(i->codes[k], code) != 0)
		k++;
	if (k == 0 && i->codes[0] && strcmp(i->codes[0], code) == 0) {
		used(e, i);
		return;
	}
	copy = strdup(code);
	if (!copy)
		return;
	free(i->codes[k]);
	memmove(i->codes + 1, i->codes, (size_t)k * sizeof(i->codes[0]));
	i->codes[0] = copy;
	i->used_ms = weft_realtime_ms();
	write_record(e, i);
	/* A name means one image at a time. */
	for (struct image *o = e->images; o; o = o->next)
		for (k = 0; o != i && k < MAX_CODES && o->codes[k]; k++) {
			if (strcmp(o->codes[k], code) != 0)
				continue;
			free(o->codes[k]);
			memmove(o->codes + k, o->codes + k + 1,
				(size_t)(MAX_CODES - 1 - k) * sizeof(o->codes[0]));
			o->codes[MAX_CODES - 1] = NULL;
			write_record(e, o);
		}
}

/* --- who wants it --------------------------------------------------------------------------------
 */

static bool has_code(const struct image *i, const char *code)
{
	for (int k = 0; code && k < MAX_CODES && i->codes[k]; k++)
		if (strcmp(i->codes[k], code) == 0)
			return true;
	return false;
}

static bool names(const struct service *s, const struct image *i)
{
	for (size_t v = 0; v < s->spec->n_variants; v++)
		for (int a = 0; a < WEFT_ARCH_COUNT; a++)
			if (has_code(i, s->spec->variants[v].image[a]))
				return true;
	return false;
}

static bool runs(const struct instance *inst, const struct image *i)
{
	return !inst->borrowed && inst->image && strcmp(inst->image, i->ref) == 0;
}

static bool wanted(struct weft_engine *e, const struct image *i)
{
	for (const struct instance *inst = e->instances; inst; inst = inst->next)
		if (runs(inst, i) || (!inst->borrowed && has_code(i, inst->code)))
			return true;
	for (const struct service *s = e->services; s; s = s->next)
		if (names(s, i))
			return true;
	return false;
}

/* --- going through all that there are ------------------------------------------------------------
 */

enum job_kind { JOB_LIST, JOB_REMOVE, JOB_PRUNE, JOB_COLLECT, JOB_PURGE };

struct found {
	struct weft_runtime_image image;
	struct runtime_slot *slot;
	bool goes;
};

struct image_job {
	struct image_job *next;
	struct weft_engine *engine;
	struct weft_engine_call *call; /* NULL: weft's own idea */
	enum job_kind kind;
	char *what; /* REMOVE: its digest, the beginning of it, or a name */
	unsigned slot, n, at;
	struct found *found;
	json_t *removed, *problems;
	uint64_t bytes;
	struct weft_err err;
	sd_event_source *begin;
};

static void job_free(struct image_job *job)
{
	sd_event_source_disable_unref(job->begin);
	for (struct image_job **p = &job->engine->image_jobs; *p; p = &(*p)->next)
		if (*p == job) {
			*p = job->next;
			break;
		}
	json_decref(job->removed);
	json_decref(job->problems);
	free(job->found);
	free(job->what);
	free(job);
}

void image_jobs_free(struct weft_engine *e)
{
	while (e->image_jobs)
		job_free(e->image_jobs);
}

static void job_end(struct image_job *job, int r, json_t *doc)
{
	struct weft_engine_call *call = job->call;
	struct weft_err err = job->err;

	job_free(job);
	if (call)
		engine_call_finish(call, r, &err, doc);
	else
		json_decref(doc);
}

/* Of a purge nobody hears but by the log. */
static void log_problems(const struct image_job *job)
{
	const json_t *text;
	size_t i;

	json_array_foreach (job->problems, i, text)
		log_warning("images: %s", json_string_value(text));
}

static const char *digest_of(const char *ref)
{
	const char *at = strstr(ref, "sha256:");

	return at ? at : ref;
}

static json_t *view(struct weft_engine *e, const struct found *f)
{
	const struct image *i = find(e, f->image.ref);
	json_t *codes = json_array(), *services = json_array();
	int instances = 0;

	for (int k = 0; i && k < MAX_CODES && i->codes[k]; k++)
		json_array_append_new(codes, json_string(i->codes[k]));
	for (const struct service *s = e->services; i && s; s = s->next)
		if (names(s, i))
			json_array_append_new(services, json_string(s->name));
	for (const struct instance *inst = e->instances; i && inst; inst = inst->next)
		instances += runs(inst, i);
	return json_pack("{s:s, s:s, s:s, s:s?, s:I, s:o, s:o, s:i, s:I}", "id",
		digest_of(f->image.ref), "ref", f->image.ref, "runtime", f->slot->ops->name, "arch",
		f->image.arch_known ? weft_arch_name(f->image.arch) : NULL, "bytes",
		(json_int_t)f->image.bytes, "names", codes, "services", services, "instances",
		instances, "used_ms", (json_int_t)(i ? i->used_ms : 0));
}

static json_t *view_list(struct image_job *job)
{
	json_t *items = json_array();

	for (unsigned i = 0; i < job->n; i++)
		json_array_append_new(items, view(job->engine, &job->found[i]));
	return json_pack("{s:o, s:O}", "items", items, "problems", job->problems);
}

static void remove_next(struct image_job *job);

static void on_removed(void *userdata, int r, const struct weft_err *err)
{
	struct image_job *job = userdata;
	const struct found *f = &job->found[job->at];

	if (r < 0 && r != -ENOENT) {
		json_array_append_new(job->problems, json_string(err->msg));
		job->err = *err;
	} else {
		log_info("image %s: removed", f->image.ref);
		weft_events_add(job->engine->events, "image", "removed", f->image.ref, NULL);
		forget(job->engine, f->image.ref);
		json_array_append_new(job->removed, json_string(digest_of(f->image.ref)));
		job->bytes += f->image.bytes;
	}
	job->at++;
	remove_next(job);
}

static void remove_next(struct image_job *job)
{
	bool none;

	while (job->at < job->n && !job->found[job->at].goes)
		job->at++;
	if (job->at < job->n) {
		struct found *f = &job->found[job->at];
		struct weft_err err = {0};
		int r = f->slot->ops->image_remove(
			f->slot->rt, f->image.ref, on_removed, job, &err);

		if (r < 0) {
			if (!err.code)
				weft_err_set(&err, r, "image %s: %s", f->image.ref, strerror(-r));
			on_removed(job, r, &err);
		}
		return;
	}
	if (job->kind == JOB_PURGE)
		log_problems(job);
	none = json_array_size(job->removed) == 0 && job->err.code;
	job_end(job, none ? -job->err.code : 0,
		none ? NULL
		     : json_pack("{s:O, s:I, s:O}", "removed", job->removed, "bytes",
			       (json_int_t)job->bytes, "problems", job->problems));
}

/* By its digest or the beginning of it, or by what descriptors call it. */
static bool is_meant(const struct image_job *job, const struct found *f)
{
	const struct image *i = find(job->engine, f->image.ref);
	const char *digest = digest_of(f->image.ref), *hex = digest + strlen("sha256:");
	size_t n = strlen(job->what);

	return strcmp(job->what, f->image.ref) == 0 || strcmp(job->what, digest) == 0 ||
	       (n >= 6 && strncmp(hex, job->what, n) == 0) || (i && has_code(i, job->what));
}

static int choose_one(struct image_job *job)
{
	const struct image *i = NULL;
	unsigned n = 0;

	for (unsigned k = 0; k < job->n; k++) {
		job->found[k].goes = is_meant(job, &job->found[k]);
		n += job->found[k].goes;
		if (job->found[k].goes)
			i = find(job->engine, job->found[k].image.ref);
	}
	if (n == 0) {
		weft_err_set(&job->err, ENOENT, "image %s: no such image here", job->what);
		return weft_err_hint(&job->err, "weft image list");
	}
	if (n > 1) {
		weft_err_set(&job->err, EINVAL, "image %s: it is the beginning of %u images'",
			job->what, n);
		return weft_err_hint(&job->err, "weft image list -o wide");
	}
	if (i && wanted(job->engine, i)) {
		weft_err_set(
			&job->err, EBUSY, "image %s: a service or an instance wants it", job->what);
		return weft_err_hint(&job->err, "weft image list shows which");
	}
	return 0;
}

static bool is_old(const struct weft_engine *e, const struct image *i)
{
	return weft_realtime_ms() > i->used_ms + (uint64_t)e->config.image_keep_s * 1000;
}

static void choose_unwanted(struct image_job *job)
{
	for (unsigned k = 0; k < job->n; k++) {
		struct image *i = find_or_add(job->engine, job->found[k].image.ref);

		if (!i)
			continue;
		if (wanted(job->engine, i))
			used(job->engine, i);
		else
			job->found[k].goes = job->kind == JOB_PRUNE || is_old(job->engine, i);
		if (!i->written_ms)
			write_record(job->engine, i);
	}
}

static bool is_found(const struct image_job *job, const struct image *i)
{
	for (unsigned k = 0; k < job->n; k++)
		if (strcmp(job->found[k].image.ref, i->ref) == 0)
			return true;
	return false;
}

/* What would go now and is not there, though every runtime has said what it has: a daemon was
 * killed between its end and that of its record, or somebody else removed it. */
static void forget_lost(struct image_job *job)
{
	struct image *next;

	for (struct image *i = job->engine->images; i; i = next) {
		next = i->next;
		if (is_found(job, i) || wanted(job->engine, i) || !is_old(job->engine, i))
			continue;
		log_info("image %s: it is not there any more", i->ref);
		forget(job->engine, i->ref);
	}
}

/* Those that were prepared for this state directory; no service or instance is left. */
static void choose_own(struct image_job *job)
{
	for (unsigned k = 0; k < job->n; k++)
		job->found[k].goes = find(job->engine, job->found[k].image.ref) != NULL;
}

static void all_found(struct image_job *job)
{
	int r = 0;

	if (job->kind == JOB_LIST) {
		job_end(job, 0, view_list(job));
		return;
	}
	if (job->kind == JOB_REMOVE)
		r = choose_one(job);
	else if (job->kind == JOB_PURGE)
		choose_own(job);
	else
		choose_unwanted(job);
	if (job->kind == JOB_COLLECT && json_array_size(job->problems) == 0)
		forget_lost(job);
	if (r < 0)
		job_end(job, r, NULL);
	else
		remove_next(job);
}

static void ask_next(struct image_job *job);

static void on_images(void *userdata, int r, const struct weft_err *err,
	const struct weft_runtime_image *list, unsigned n)
{
	struct image_job *job = userdata;
	struct found *more;

	if (r < 0)
		json_array_append_new(job->problems, json_string(err->msg));
	more = r == 0 && n ? reallocarray(job->found, job->n + n, sizeof(*more)) : NULL;
	if (r == 0 && n && !more)
		json_array_append_new(job->problems, json_string("images: out of memory"));
	if (more) {
		job->found = more;
		for (unsigned i = 0; i < n; i++)
			job->found[job->n++] = (struct found){
				.image = list[i], .slot = &job->engine->runtimes[job->slot]};
	}
	job->slot++;
	ask_next(job);
}

static void ask_next(struct image_job *job)
{
	while (job->slot < N_RUNTIMES) {
		struct runtime_slot *slot = &job->engine->runtimes[job->slot];
		struct weft_err err = {0};

		if (slot->rt && slot->ops->images &&
			slot->ops->images(slot->rt, on_images, job, &err) == 0)
			return;
		if (err.code)
			json_array_append_new(job->problems, json_string(err.msg));
		job->slot++;
	}
	all_found(job);
}

static int on_begin(sd_event_source *source, void *userdata)
{
	(void)source;
	ask_next(userdata);
	return 0;
}

/* From the loop: nobody is answered from within the call. */
static int job_begin(
	struct weft_engine *e, enum job_kind kind, struct weft_engine_call *call, const char *what)
{
	struct image_job *job = calloc(1, sizeof(*job));

	if (!job)
		return -ENOMEM;
	job->engine = e;
	job->kind = kind;
	job->call = call;
	job->what = what ? strdup(what) : NULL;
	job->removed = json_array();
	job->problems = json_array();
	job->next = e->image_jobs;
	e->image_jobs = job;
	if ((what && !job->what) || !job->removed || !job->problems ||
		sd_event_add_defer(e->event, &job->begin, on_begin, job) < 0) {
		job_free(job);
		return -ENOMEM;
	}
	return 0;
}

void images_tick(struct weft_engine *e, uint64_t now)
{
	uint64_t interval = (uint64_t)e->config.image_keep_s * 500000000ULL;

	if (!interval)
		return;
	if (!e->images_ns) {
		e->images_ns = now + (interval < FIRST_NS ? interval : FIRST_NS);
		return;
	}
	if (now < e->images_ns || e->purging)
		return;
	e->images_ns = now + (interval < INTERVAL_NS ? interval + 1000000000ULL : INTERVAL_NS);
	engine_logs_collect(e);
	if (!e->image_jobs) /* else the next time */
		(void)job_begin(e, JOB_COLLECT, NULL, NULL);
}

bool images_purged(struct weft_engine *e)
{
	if (!e->images_purge) {
		e->images_purge = true;
		if (e->images && job_begin(e, JOB_PURGE, NULL, NULL) < 0)
			log_warning("images: they stay: out of memory");
	}
	return !e->image_jobs;
}

/* --- requests ------------------------------------------------------------------------------------
 */

static void on_pulled(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	struct weft_engine_call *call = userdata;
	json_t *doc = NULL;

	if (r == 0) {
		image_note(call->engine, call->instance, ref);
		doc = json_pack("{s:s, s:s, s:s, s:I}", "id", digest_of(ref), "ref", ref, "name",
			call->instance, "bytes", (json_int_t)size);
	}
	engine_call_finish(call, r, err, doc);
}

static int pull(
	struct weft_engine_call *call, const struct weft_engine_op *op, struct weft_err *err)
{
	int virt = op->virt ? weft_virt_parse(op->virt) : WEFT_VIRT_CONTAINER;
	struct runtime_slot *slot;

	if (virt < 0) {
		weft_err_set(err, EINVAL, "image %s: \"%.40s\" is no virtualization", op->instance,
			op->virt);
		return weft_err_hint(err, "container, gvisor or unikernel");
	}
	slot = engine_runtime(call->engine, (enum weft_virt)virt);
	if (!slot->ops->images) {
		weft_err_set(err, ENOTSUP, "image %s: a %s has no image", op->instance, op->virt);
		return weft_err_hint(err, "container, gvisor or unikernel");
	}
	return slot->ops->prepare(slot->rt, op->instance, weft_arch_host(), on_pulled, call, err);
}

int image_op(struct weft_engine_call *call, const struct weft_engine_op *op, struct weft_err *err)
{
	switch (op->kind) {
	case WEFT_ENGINE_IMAGE_PULL:
		return pull(call, op, err);
	case WEFT_ENGINE_IMAGE_REMOVE:
		return job_begin(call->engine, JOB_REMOVE, call, op->instance);
	case WEFT_ENGINE_IMAGE_PRUNE:
		return job_begin(call->engine, JOB_PRUNE, call, NULL);
	default:
		return job_begin(call->engine, JOB_LIST, call, NULL);
	}
}
