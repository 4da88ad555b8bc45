/* SPDX-License-Identifier: Apache-2.0 */
/* Preparing an image: its digest, by a worker that reads and nothing else; then, when the cache
 * does not have it, the unpacking by a second one. The digest is not the unpacking worker's to say:
 * whoever can make that one misbehave could name an honest image's digest. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/image/unikernel_store.h"
#include "runtimes/image/unpack_result.h"
#include "runtimes/job.h"

#define MAX_IMAGE         (512LL << 20)
#define DIGEST_TIMEOUT_MS 60000
#define UNPACK_TIMEOUT_MS 120000

struct weft_unikernel_op {
	struct weft_unikernel_store *store;
	struct weft_unikernel_op *prev, *next;
	char *image; /* as the caller named it */
	enum weft_arch arch;
	int fd;
	struct stat st; /* when it was opened */
	char digest[WEFT_DIGEST_LEN + 1];
	char *tmp;
	struct weft_unikernel_op *leader; /* has the same image fetched; its answer is ours */
	struct weft_fetch *fetch;
	struct weft_unikernel_source before; /* what it was the last time; digest "": not known */
	char *file;                          /* what was fetched, NULL: no such thing */
	char wanted[WEFT_DIGEST_LEN + 1];    /* the digest it must have, "": any */
	char mark[WEFT_FETCH_MARK];
	uint64_t size;
	struct weft_job *job;
	struct weft_deferred *answer;
};

static void op_free(struct weft_unikernel_op *op)
{
	if (!op)
		return;
	if (op->next)
		op->next->prev = op->prev;
	if (op->prev)
		op->prev->next = op->next;
	else if (op->store->ops == op)
		op->store->ops = op->next;
	for (struct weft_unikernel_op *o = op->store->ops; o; o = o->next)
		if (o->leader == op)
			o->leader = NULL; /* only when all of them go */
	weft_fetch_cancel(op->fetch);
	weft_job_free(op->job);
	weft_deferred_drop(op->answer);
	if (op->tmp)
		weft_remove_tree(op->tmp);
	if (op->file)
		unlink(op->file);
	closep(&op->fd);
	free(op->file);
	free(op->tmp);
	free(op->image);
	free(op);
}
WEFT_DEFINE_CLEANUP(struct weft_unikernel_op *, op_free);

/* Those that wait for another one's fetch get its answer. */
static void answer(struct weft_unikernel_op *op, int r, const struct weft_err *err, const char *ref)
{
	struct weft_unikernel_op *o = op->store->ops, *next;

	for (; o; o = next) {
		next = o->next;
		if (o->leader != op)
			continue;
		weft_deferred_post_prepared(TAKE_PTR(o->answer), r, err, ref, op->size);
		op_free(o);
	}
	weft_deferred_post_prepared(TAKE_PTR(op->answer), r, err, ref, op->size);
	op_free(op);
}

static void finish(struct weft_unikernel_op *op, int r, struct weft_err *err)
{
	struct weft_unikernel_source source = {.size = op->size};
	char ref[sizeof(WEFT_REF_PREFIX) + WEFT_DIGEST_LEN];

	snprintf(ref, sizeof(ref), WEFT_REF_PREFIX "%s", op->digest);
	if (r < 0 && strncmp(err->msg, "image ", 6) != 0)
		weft_err_prefix(err, "image %s", op->image);
	if (r == 0 && op->file) {
		strcpy(source.digest, op->digest);
		strcpy(source.mark, op->mark);
		if (weft_unikernel_source_save(op->store, op->image, op->arch, &source) < 0)
			log_debug("image %s: will be fetched again", op->image);
	}
	answer(op, r, err, r < 0 ? NULL : ref);
}

/* What a worker's end means; 0 when there is an answer to read. */
static int judge(const struct weft_job_result *res, const char *what, struct weft_err *err)
{
	char how[64];

	if (res->timed_out)
		return weft_err_set(err, ETIMEDOUT, "%s took too long", what);
	if (res->overflow || res->status != 0)
		return weft_err_set(err, EIO, "%s failed: weft-unpack ended with %s", what,
			weft_process_status_text(res->status, how, sizeof(how)));
	return 0;
}

static int run_worker(struct weft_unikernel_op *op, const char *const *argv, const int *fds,
	unsigned n_fds, unsigned timeout_ms, weft_job_done_t done, struct weft_err *err)
{
	const struct weft_process_spec spec = {
		.argv = argv,
		.uid = WEFT_WORKER_USER,
		.gid = WEFT_WORKER_USER,
		.drop = true,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1,
		.fds = fds,
		.n_fds = n_fds,
	};

	return weft_job_run(op->store->event, &spec, WEFT_UNPACK_RESULT_MAX, timeout_ms, done, op,
		&op->job, err);
}

/* --- unpack --------------------------------------------------------------------------------------
 */

static int take_unpacked(
	struct weft_unikernel_op *op, const struct weft_job_result *res, struct weft_err *err)
{
	struct weft_known_file before = {
		.dev = op->st.st_dev,
		.ino = op->st.st_ino,
		.size = op->st.st_size,
		.mtime = op->st.st_mtim,
		.ctime = op->st.st_ctim,
	};
	struct weft_unpacked what;
	struct stat now;
	int r;

	r = judge(res, "unpacking it", err);
	if (r < 0)
		return r;
	r = weft_unpack_result_parse(res->output, res->size, &what, err);
	if (r < 0)
		return r;
	/* Else the digest might be that of other bytes than those unpacked. */
	if (fstat(op->fd, &now) < 0 || !weft_unikernel_same_file(&before, &now)) {
		weft_err_set(err, EBUSY, "it changed while it was being read");
		return weft_err_hint(err, "try again when it is written completely");
	}
	r = weft_unikernel_adopt(op->store, op->tmp, op->digest, op->arch, &what, err);
	if (r < 0)
		return r;
	free(TAKE_PTR(op->tmp));
	log_debug("image %s: unpacked, %s kernel, %llu bytes", op->image,
		weft_kernel_boot_name(what.boot), (unsigned long long)what.bytes);
	return 0;
}

static void on_unpacked(void *userdata, const struct weft_job_result *res)
{
	struct weft_unikernel_op *op = userdata;
	struct weft_err err = {};

	finish(op, take_unpacked(op, res, &err), &err);
}

static int start_unpack(struct weft_unikernel_op *op, struct weft_err *err)
{
	const char *argv[] = {op->store->worker, "unpack", weft_arch_name(op->arch), NULL};
	_cleanup_(closep) int dir = -1;
	int fds[2], r;

	r = weft_unikernel_make_tmp(op->store, &op->tmp, &dir);
	if (r < 0)
		return weft_err_set(
			err, r, "make a directory in %s: %s", op->store->dir, strerror(-r));
	fds[0] = op->fd;
	fds[1] = dir;
	return run_worker(op, argv, fds, 2, UNPACK_TIMEOUT_MS, on_unpacked, err);
}

/* --- digest --------------------------------------------------------------------------------------
 */

/* 1 when the cache has it, 0 when not, -ENOTSUP when it is for another architecture. */
static int look_up(struct weft_unikernel_op *op, struct weft_err *err)
{
	_cleanup_(weft_unikernel_freep) struct weft_unikernel *u = NULL;
	char ref[sizeof(WEFT_REF_PREFIX) + WEFT_DIGEST_LEN];

	snprintf(ref, sizeof(ref), WEFT_REF_PREFIX "%s", op->digest);
	if (weft_unikernel_load(op->store, ref, &u, NULL) < 0)
		return 0;
	if (u->arch == op->arch)
		return 1;
	weft_err_set(err, ENOTSUP, "kernel is built for %s, not for %s", weft_arch_name(u->arch),
		weft_arch_name(op->arch));
	return weft_err_hint(err, "build it for %s, or place the service on a node of its machine",
		weft_arch_name(op->arch));
}

static int check_wanted(const struct weft_unikernel_op *op, struct weft_err *err)
{
	if (!*op->wanted || strcmp(op->wanted, op->digest) == 0)
		return 0;
	weft_err_set(err, EBADMSG, "what was sent has the digest sha256:%.12s…, not sha256:%.12s…",
		op->digest, op->wanted);
	return weft_err_hint(err, "is it the image that is meant? Then it was damaged on the way");
}

static void on_digest(void *userdata, const struct weft_job_result *res)
{
	struct weft_unikernel_op *op = userdata;
	struct weft_err err = {};
	int r = judge(res, "reading it", &err);

	if (r == 0 && (res->size != WEFT_DIGEST_LEN || !weft_unikernel_digest_valid(res->output)))
		r = weft_err_set(&err, EPROTO, "weft-unpack printed no digest");
	if (r == 0) {
		memcpy(op->digest, res->output, WEFT_DIGEST_LEN);
		r = check_wanted(op, &err);
	}
	if (r == 0) {
		weft_unikernel_remember(op->store, &op->st, op->digest);
		r = look_up(op, &err);
	}
	weft_job_free(TAKE_PTR(op->job));
	if (r == 0)
		r = start_unpack(op, &err) < 0 ? -err.code : 0;
	else if (r > 0)
		return finish(op, 0, &err);
	if (r < 0)
		finish(op, r, &err);
}

static int start_digest(struct weft_unikernel_op *op, struct weft_err *err)
{
	const char *argv[] = {op->store->worker, "digest", NULL};

	return run_worker(op, argv, &op->fd, 1, DIGEST_TIMEOUT_MS, on_digest, err);
}

/* --- prepare -------------------------------------------------------------------------------------
 */

static int open_image(struct weft_unikernel_op *op, struct weft_err *err)
{
	const char *path = op->file ? op->file : op->image;

	if (strncmp(path, "file://", 7) == 0)
		path += 7;
	if (path[0] != '/')
		return weft_err_set(err, EINVAL, "not an absolute path or file:// URL");
	op->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (op->fd < 0 || fstat(op->fd, &op->st) < 0) {
		weft_err_set(err, errno, "%m");
		return weft_err_hint(err, "is the path right, as seen from this node?");
	}
	if (!S_ISREG(op->st.st_mode))
		return weft_err_set(err, EBADMSG, "not a file");
	if (op->st.st_size == 0)
		return weft_err_set(err, EBADMSG, "it is empty");
	if (op->st.st_size > MAX_IMAGE)
		return weft_err_set(err, E2BIG, "larger than %lld MiB", MAX_IMAGE >> 20);
	op->size = (uint64_t)op->st.st_size;
	return 0;
}

static int begin_local(struct weft_unikernel_op *op, struct weft_err *err)
{
	const char *known;
	int r;

	r = open_image(op, err);
	if (r < 0)
		return r;
	known = weft_unikernel_known(op->store, &op->st);
	if (!known)
		return start_digest(op, err);
	memcpy(op->digest, known, WEFT_DIGEST_LEN);
	r = look_up(op, err);
	return r == 0 ? start_unpack(op, err) : r;
}

/* --- fetching ------------------------------------------------------------------------------------
 */

static int use_before(struct weft_unikernel_op *op)
{
	memcpy(op->digest, op->before.digest, sizeof(op->digest));
	op->size = op->before.size;
	return 1;
}

static int take_fetched(
	struct weft_unikernel_op *op, const struct weft_fetched *res, struct weft_err *err)
{
	if (res->r < 0 && res->away && *op->before.digest) {
		log_warning("image %s: as it was last: %s", op->image, res->err->msg);
		return use_before(op);
	}
	if (res->r < 0) {
		*err = *res->err;
		return res->r;
	}
	if (res->unchanged)
		return use_before(op);
	op->file = strdup(res->path);
	if (!op->file) {
		unlink(res->path);
		return weft_err_set(err, ENOMEM, "out of memory");
	}
	snprintf(op->wanted, sizeof(op->wanted), "%s", res->digest ? res->digest : "");
	snprintf(op->mark, sizeof(op->mark), "%s", res->mark);
	return begin_local(op, err);
}

static void on_fetched(void *userdata, const struct weft_fetched *res)
{
	struct weft_unikernel_op *op = userdata;
	struct weft_err err = {};
	int r;

	op->fetch = NULL;
	r = take_fetched(op, res, &err);
	if (r != 0)
		finish(op, r < 0 ? r : 0, &err);
}

static struct weft_unikernel_op *find_leader(const struct weft_unikernel_op *op)
{
	struct weft_unikernel_op *o = op->store->ops;

	while (o && (o == op || o->leader || o->arch != op->arch || strcmp(o->image, op->image)))
		o = o->next;
	return o;
}

static int begin(struct weft_unikernel_op *op, struct weft_err *err)
{
	const char *digest = weft_fetch_digest(op->image);
	bool known;

	if (!weft_fetch_is_remote(op->image))
		return begin_local(op, err);
	op->leader = find_leader(op);
	if (op->leader)
		return 0;
	known = weft_unikernel_source_load(op->store, op->image, op->arch, &op->before) == 0;
	if (known) {
		memcpy(op->digest, op->before.digest, sizeof(op->digest));
		known = look_up(op, NULL) == 1;
	}
	if (!known)
		op->before = (struct weft_unikernel_source){};
	else if (digest && strcmp(digest, op->digest) == 0)
		return use_before(op); /* for ever */
	return weft_fetch(op->store->fetcher, op->image, op->arch,
		known && *op->before.mark ? op->before.mark : NULL, on_fetched, op, &op->fetch,
		err);
}

int weft_unikernel_prepare(struct weft_unikernel_store *s, const char *image, enum weft_arch arch,
	weft_runtime_prepared_t done, void *userdata, struct weft_err *err)
{
	_cleanup_(op_freep) struct weft_unikernel_op *op = calloc(1, sizeof(*op));
	struct weft_err local = {};
	int r;

	if (!op)
		return weft_err_set(err, ENOMEM, "image %s: out of memory", image);
	op->store = s;
	op->fd = -1;
	op->arch = arch;
	op->next = s->ops;
	if (op->next)
		op->next->prev = op;
	s->ops = op;
	op->image = strdup(image);
	r = op->image ? weft_deferred_prepared(&s->owed, s->event, done, userdata, &op->answer)
		      : -ENOMEM;
	if (r < 0)
		return weft_err_set(err, r, "image %s: %s", image, strerror(-r));
	r = begin(op, &local);
	if (r < 0) {
		if (strncmp(local.msg, "image ", 6) != 0)
			weft_err_prefix(&local, "image %s", image);
		if (err)
			*err = local;
		return -local.code;
	}
	if (r > 0)
		finish(TAKE_PTR(op), 0, &local);
	else
		op = NULL; /* the store's, until it is finished */
	return 0;
}

void weft_unikernel_store_free(struct weft_unikernel_store *s)
{
	if (!s)
		return;
	while (s->ops)
		op_free(s->ops);
	weft_deferred_drop_all(&s->owed);
	weft_fetcher_free(s->fetcher);
	sd_event_unref(s->event);
	free(s->worker);
	free(s->dir);
	free(s);
}
