/* SPDX-License-Identifier: Apache-2.0 */
/* Pulling an image: what the reference means (manifest, configuration), a lease, the layers; then
 * it goes the way of an image from the disk. The image is recorded twice, by its digest and by its
 * reference: the second one says what a tag meant last, should its registry be away. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/containerd/import.h"

#define AT_A_TIME 4
#define IDLE_US   (5 * 1000000ULL) /* then connections to registries are closed */

static struct pull *pull_of(struct ctrd_op *op)
{
	return (struct pull *)op;
}

static void release(struct ctrd_op *op)
{
	struct pull *p = pull_of(op);

	pull_layers_release(p);
	weft_registry_cancel(p->call);
	weft_registry_find_cancel(p->find);
	weft_registry_free(p->registry);
	weft_oci_image_free(p->local);
	free(p->manifest);
	import_release(op);
}

/* --- end -----------------------------------------------------------------------------------------
 */

/* What was written so far is kept under its lease if another try may go on from it. */
void pull_failed(struct pull *p, int r)
{
	if (p->im.op.lease && (weft_registry_is_away(r) || r == -EACCES))
		import_finish(&p->im, r);
	else
		import_failed(&p->im, r);
}

static void failed(struct pull *p, int r)
{
	if (!p->im.op.err.code)
		weft_err_set(&p->im.op.err, r, "image %s: %s", p->im.path, strerror(-r));
	pull_failed(p, r);
}

/* --- content -------------------------------------------------------------------------------------
 */

static void my_turn(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	(void)res;
	import_documents((struct import *)op);
}

void pull_layers_done(struct pull *p)
{
	import_queue(&p->im, my_turn);
}

static void got_lease(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct pull *p = pull_of(op);

	if (import_has_lease(&p->im, res))
		pull_layers(p);
}

static void have_image(struct pull *p)
{
	struct import *im = &p->im;

	snprintf(im->name, sizeof(im->name), IMPORT_NAME_PREFIX "%s", im->image->manifest.digest);
	import_take_lease(im, got_lease);
}

/* The reference means what it meant: nothing is to be done. */
static void use_local(struct pull *p)
{
	weft_oci_image_free(p->im.image);
	p->im.image = TAKE_PTR(p->local);
	snprintf(p->im.name, sizeof(p->im.name), IMPORT_NAME_PREFIX "%s",
		p->im.image->manifest.digest);
	import_finish(&p->im, 0);
}

/* --- what the registry says ----------------------------------------------------------------------
 */

static void got_config(void *userdata, int r, const struct weft_err *err, const char *text,
	size_t size, const char *media_type)
{
	struct pull *p = userdata;
	char what[512];

	(void)media_type;
	p->call = NULL;
	if (r < 0) {
		p->im.op.err = *err;
		failed(p, r);
		return;
	}
	snprintf(what, sizeof(what), "image %.480s", p->im.path);
	r = weft_oci_image_parse(what, p->type, p->manifest, p->manifest_size, text, size,
		p->im.arch, &p->im.image, &p->im.op.err);
	if (r < 0)
		failed(p, r);
	else
		have_image(p);
}

static int take_manifest(
	struct pull *p, const char *what, const char *text, size_t size, const char *type)
{
	struct weft_oci_descriptor config;
	char digest[WEFT_OCI_DIGEST];
	int r;

	weft_oci_digest(text, size, digest);
	if (p->local && strcmp(digest, p->local->manifest.digest) == 0) {
		use_local(p);
		return 0;
	}
	r = weft_oci_manifest_config(what, text, size, &config, &p->im.op.err);
	if (r < 0)
		return r;
	p->manifest = strndup(text, size);
	p->manifest_size = size;
	snprintf(p->type, sizeof(p->type), "%s", type);
	weft_registry_hurry(p->registry, false);
	return p->manifest ? weft_registry_text(p->registry, &config, got_config, p, &p->call)
			   : -ENOMEM;
}

static void got_manifest(void *userdata, int r, const struct weft_err *err, const char *text,
	size_t size, const char *media_type)
{
	struct pull *p = userdata;
	char what[512];

	p->find = NULL;
	if (r < 0 && p->local && weft_registry_is_away(r)) {
		log_debug("image %s: as it was last: %s", p->im.path, err->msg);
		use_local(p);
		return;
	}
	if (r < 0) {
		p->im.op.err = *err;
		failed(p, r);
		return;
	}
	snprintf(what, sizeof(what), "image %.480s", p->im.path);
	r = take_manifest(p, what, text, size, media_type);
	if (r < 0)
		failed(p, r);
}

static void ask_registry(struct pull *p)
{
	struct weft_runtime *rt = p->im.op.rt;
	struct weft_registry_settings settings = {};
	char what[512];
	const struct weft_registry_wish wish = {.what = what, .ref = &p->ref, .arch = p->im.arch};
	int r;

	r = weft_registry_settings_load(rt->registries, &p->ref, &settings, &p->im.op.err);
	if (r == 0 && !rt->http)
		r = weft_http_new(rt->event, &rt->http);
	snprintf(what, sizeof(what), "image %.480s", p->im.path);
	if (r == 0)
		r = weft_registry_new(rt->http, &p->ref, &settings, what, &p->registry);
	weft_registry_settings_done(&settings);
	if (r < 0) {
		failed(p, r);
		return;
	}
	weft_registry_hurry(p->registry, p->local != NULL);
	r = weft_registry_find(p->registry, &wish, got_manifest, p, &p->find);
	if (r < 0)
		failed(p, r);
}

/* --- what is here --------------------------------------------------------------------------------
 */

static void not_here(struct pull *p, const struct weft_grpc_result *res)
{
	weft_oci_image_free(TAKE_PTR(p->local));
	free(TAKE_PTR(p->manifest));
	p->manifest_size = 0;
	if (res && res->status == WEFT_GRPC_UNAVAILABLE)
		failed(p, ctrd_op_fail(&p->im.op, res, "image %s: look for it", p->im.path));
	else
		ask_registry(p);
}

/* A digest means the same for ever. */
static void got_snapshot(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct pull *p = pull_of(op);

	free(TAKE_PTR(p->manifest));
	if (res->status != WEFT_GRPC_OK)
		not_here(p, res);
	else if (*p->ref.digest)
		use_local(p);
	else
		ask_registry(p);
}

static void read_config(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__SnapshotRequest q = CTRD__SNAPSHOT_REQUEST__INIT;
	struct pull *p = pull_of(op);
	struct weft_err unwanted = {};

	if (res->status != WEFT_GRPC_OK ||
		weft_oci_image_parse("", NULL, p->manifest, p->manifest_size,
			op->text ? op->text : "", op->text_size, p->im.arch, &p->local,
			&unwanted) < 0) {
		not_here(p, res);
		return;
	}
	q.snapshotter = op->snapshots;
	q.key = p->local->chain_id;
	ctrd_op_call(op, CTRD_SNAPSHOT_STAT, &q.base, CTRD_QUICK_MS, got_snapshot);
}

static void read_manifest(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct weft_oci_descriptor config;
	struct pull *p = pull_of(op);
	struct weft_err unwanted = {};

	p->manifest = res->status == WEFT_GRPC_OK ? TAKE_PTR(op->text) : NULL;
	p->manifest_size = op->text_size;
	if (!p->manifest ||
		weft_oci_manifest_config("", p->manifest, p->manifest_size, &config, &unwanted) < 0)
		not_here(p, res);
	else
		ctrd_op_read(op, config.digest, read_config);
}

static void got_record(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__ImageResponse *m = (const Ctrd__ImageResponse *)res->reply;

	if (m && m->image && m->image->target)
		ctrd_op_read(op, m->image->target->digest, read_manifest);
	else
		not_here(pull_of(op), res);
}

static void got_snapshotter(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__ImageNameRequest q = CTRD__IMAGE_NAME_REQUEST__INIT;
	struct pull *p = pull_of(op);

	if (res->status != WEFT_GRPC_OK) {
		failed(p, ctrd_op_fail(op, res, "image %s: pull it", p->im.path));
		return;
	}
	q.name = p->im.alias;
	ctrd_op_call(op, CTRD_IMAGE_GET, &q.base, CTRD_QUICK_MS, got_record);
}

static void begin(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	(void)res;
	ctrd_op_snapshotter(op, got_snapshotter);
}

/* --- queue ---------------------------------------------------------------------------------------
 */

/* Whoever wants what another is at waits for it, and finds it here. */
static bool may_begin(const struct weft_runtime *rt, const struct pull *p)
{
	const struct ctrd_ops *const lists[] = {&rt->pulls, &rt->imports};
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		struct ctrd_op *op;

		TAILQ_FOREACH(op, lists[i], link)
		{
			const struct pull *other = pull_of(op);

			if (op->release != release || !other->running)
				continue;
			n++;
			if (other->im.arch == p->im.arch &&
				strcmp(other->im.alias, p->im.alias) == 0)
				return false;
		}
	}
	return n < AT_A_TIME;
}

void ctrd_pull_next(struct weft_runtime *rt)
{
	struct ctrd_op *op;

	TAILQ_FOREACH(op, &rt->pulls, link)
	{
		struct pull *p = pull_of(op);

		if (p->running || !may_begin(rt, p))
			continue;
		p->running = true;
		ctrd_op_after(op, 0, begin);
	}
	sd_event_source_set_time_relative(rt->http_idle, IDLE_US);
	sd_event_source_set_enabled(rt->http_idle, SD_EVENT_ONESHOT);
}

static bool any_pulls(const struct weft_runtime *rt)
{
	struct ctrd_op *op;

	TAILQ_FOREACH(op, &rt->imports, link)
	if (op->release == release)
		return true;
	return !TAILQ_EMPTY(&rt->pulls);
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_runtime *rt = userdata;

	(void)source;
	(void)usec;
	if (!any_pulls(rt))
		weft_http_free(TAKE_PTR(rt->http));
	return 0;
}

int ctrd_pull_init(struct weft_runtime *rt)
{
	int r = sd_event_add_time(
		rt->event, &rt->http_idle, CLOCK_MONOTONIC, 0, 1000000, on_idle, rt);

	return r < 0 ? r : sd_event_source_set_enabled(rt->http_idle, SD_EVENT_OFF);
}

int ctrd_pull(struct weft_runtime *rt, const char *image, enum weft_arch arch,
	weft_runtime_prepared_t done, void *userdata, struct weft_err *err)
{
	struct weft_reference ref;
	struct ctrd_op *op;
	struct pull *p;
	int r = weft_reference_parse(image, &ref, err);

	if (r < 0)
		return r;
	op = ctrd_op_new(rt, sizeof(*p), NULL);
	if (!op)
		return weft_err_set(err, ENOMEM, "image %s: out of memory", image);
	p = pull_of(op);
	p->ref = ref;
	p->im.fd = -1;
	p->im.arch = arch;
	p->im.prepared = done;
	op->userdata = userdata;
	op->release = release;
	weft_reference_format(&ref, p->im.alias);
	p->im.path = strdup(image);
	if (!p->im.path) {
		ctrd_op_free(op);
		return weft_err_set(err, ENOMEM, "image %s: out of memory", image);
	}
	ctrd_op_move(op, &rt->pulls);
	ctrd_pull_next(rt);
	return 0;
}
