/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/image/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/image/fetch_internal.h"

#define TELL_NS     200000000ULL
#define OLD_S       86400 /* nobody comes back for it */
#define DIGEST_WORD "#sha256="

/* --- names ---------------------------------------------------------------------------------------
 */

static bool is_url(const char *image)
{
	return strncmp(image, "https://", 8) == 0 || strncmp(image, "http://", 7) == 0;
}

bool weft_fetch_is_remote(const char *image)
{
	return image[0] != '/' && image[0] != '.' && strncmp(image, "file://", 7) != 0;
}

const char *weft_fetch_digest(const char *image)
{
	const char *at = is_url(image) ? strstr(image, DIGEST_WORD) : NULL;

	return at ? at + strlen(DIGEST_WORD) : NULL;
}

int weft_fetch_check(const char *image, struct weft_err *err)
{
	const char *scheme = strstr(image, "://");
	struct weft_reference ref;

	if (is_url(image))
		return 0;
	if (!scheme)
		return weft_reference_parse(image, &ref, err);
	weft_err_set(err, ENOTSUP, "image %s: cannot fetch by %.*s", image, (int)(scheme - image),
		image);
	return weft_err_hint(
		err, "https://HOST/PATH, HOST/NAME:TAG in a registry, or a path on the node");
}

/* --- the file ------------------------------------------------------------------------------------
 */

int fetch_too_large(struct weft_fetch *f)
{
	return weft_err_set(&f->err, E2BIG, "image %s: larger than the %llu MiB an image may have",
		f->image, WEFT_FETCH_MAX_BYTES >> 20);
}

static int cannot_write(struct weft_fetch *f, int r)
{
	weft_err_set(&f->err, r, "image %s: write %s: %s", f->image, f->path, strerror(-r));
	return r == -ENOSPC
		       ? weft_err_hint(&f->err,
				 "make room on that disk; weft image prune removes images that no "
				 "service names")
		       : r;
}

/* A part is not synced to the disk while it comes: of another boot it may have its length and not
 * its bytes, so its mark has the boot, too. (What is complete is synced with what is unpacked.) */
static int save_mark(const struct weft_fetch *f)
{
	_cleanup_(freep) char *text = NULL;
	char boot[64];
	int r = weft_boot_id(boot, sizeof(boot));

	if (r < 0)
		return r;
	text = weft_strf("%s\n%s", boot, f->mark);
	return text ? weft_write_file(f->mark_path, text, strlen(text), 0600) : -ENOMEM;
}

int fetch_load_mark(const struct weft_fetch *f, char **ret)
{
	_cleanup_(freep) char *text = NULL;
	char boot[64], *mark;
	int r = weft_boot_id(boot, sizeof(boot));

	if (r == 0)
		r = weft_read_file(f->mark_path, sizeof(boot) + WEFT_FETCH_MARK - 1, &text, NULL);
	if (r < 0)
		return r;
	mark = strchr(text, '\n');
	if (!mark || strncmp(text, boot, (size_t)(mark - text)) != 0 || boot[mark - text])
		return -ESTALE;
	*ret = strdup(mark + 1);
	return *ret ? 0 : -ENOMEM;
}

int fetch_begin_anew(struct weft_fetch *f)
{
	int r = 0;

	/* First the mark goes, or a crash would leave it beside another file's beginning. */
	(void)unlink(f->mark_path);
	if (f->fd < 0)
		f->fd = open(f->path,
			O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
	if (f->fd < 0 || ftruncate(f->fd, 0) < 0)
		r = -errno;
	if (r == 0 && *f->mark)
		r = save_mark(f);
	f->size = 0;
	return r < 0 ? cannot_write(f, r) : 0;
}

int fetch_open(struct weft_fetch *f)
{
	_cleanup_(freep) char *mark = NULL;
	struct stat st;

	if (fetch_load_mark(f, &mark) < 0 || strcmp(mark, f->mark) != 0)
		return fetch_begin_anew(f);
	f->fd = open(f->path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	if (f->fd < 0 || fstat(f->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return fetch_begin_anew(f);
	f->size = (uint64_t)st.st_size;
	return 0;
}

int fetch_write(struct weft_fetch *f, const void *data, size_t size)
{
	int r;

	if (f->size + size > WEFT_FETCH_MAX_BYTES)
		return fetch_too_large(f);
	r = weft_write_all(f->fd, data, size);
	if (r < 0)
		return cannot_write(f, r);
	f->size += size;
	fetch_progress(f, false);
	return 0;
}

void fetch_progress(struct weft_fetch *f, bool now)
{
	struct weft_fetcher *all = f->fetcher;
	uint64_t t = weft_now_ns();

	if (!all->progress || (!now && t < f->told_ns + TELL_NS))
		return;
	f->told_ns = t;
	all->progress(all->progress_userdata, f->image, f->size, f->total);
}

/* --- the end -------------------------------------------------------------------------------------
 */

static void fetch_free(struct weft_fetch *f)
{
	if (f->next)
		f->next->prev = f->prev;
	if (f->prev)
		f->prev->next = f->next;
	else if (f->fetcher->all == f)
		f->fetcher->all = f->next;
	weft_http_cancel(f->call);
	fetch_oci_done(f);
	sd_event_source_disable_unref(f->timer);
	closep(&f->fd);
	free(f->image);
	free(f->path);
	free(f->mark_path);
	free(f);
}

/* Only what another try may go on from is worth its room. */
static void keep_or_remove(struct weft_fetch *f)
{
	if (f->result < 0 && f->away && f->size > 0)
		return;
	(void)unlink(f->mark_path);
	if (f->result < 0 || f->unchanged)
		(void)unlink(f->path);
}

static int on_end(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_fetch *f = userdata;
	weft_fetched_t done = f->done;
	void *whose = f->userdata;
	_cleanup_(freep) char *path = TAKE_PTR(f->path);
	struct weft_err err = f->err;
	char mark[WEFT_FETCH_MARK], digest[65];
	const struct weft_fetched res = {
		.r = f->result,
		.err = &err,
		.away = f->away,
		.unchanged = f->unchanged,
		.path = f->result == 0 && !f->unchanged ? path : NULL,
		.digest = f->digest[0] ? digest : NULL,
		.mark = mark,
	};

	(void)source;
	(void)usec;
	memcpy(mark, f->mark, sizeof(mark));
	memcpy(digest, f->digest, sizeof(digest));
	f->path = NULL;
	fetch_free(f);
	done(whose, &res);
	return 0;
}

void fetch_end(struct weft_fetch *f, int r)
{
	f->result = r;
	if (r < 0 && !f->err.code)
		weft_err_set(&f->err, r, "image %s: %s", f->image, strerror(-r));
	if (r == 0)
		fetch_progress(f, true);
	closep(&f->fd);
	f->fd = -1;
	keep_or_remove(f);
	f->timer = sd_event_source_disable_unref(f->timer);
	if (sd_event_add_time_relative(
		    f->fetcher->event, &f->timer, CLOCK_MONOTONIC, 0, 1, on_end, f) < 0)
		log_error("image %s: out of memory", f->image); /* its receiver waits for ever */
}

void weft_fetch_cancel(struct weft_fetch *fetch)
{
	if (fetch)
		fetch_free(fetch);
}

/* --- begin ---------------------------------------------------------------------------------------
 */

static int name_file(struct weft_fetch *f)
{
	_cleanup_(freep) char *text = weft_strf("%s\n%s", weft_arch_name(f->arch), f->image);
	char digest[WEFT_OCI_DIGEST];

	if (!text)
		return -ENOMEM;
	weft_oci_digest(text, strlen(text), digest);
	f->path = weft_strf("%s/%s", f->fetcher->dir, WEFT_OCI_HEX(digest));
	f->mark_path = weft_strf("%s/%s.mark", f->fetcher->dir, WEFT_OCI_HEX(digest));
	return f->path && f->mark_path ? 0 : -ENOMEM;
}

static int check_digest(struct weft_fetch *f, struct weft_err *err)
{
	const char *digest = weft_fetch_digest(f->image);

	if (!digest)
		return 0;
	if (strlen(digest) != 64 || strspn(digest, "0123456789abcdef") != 64) {
		weft_err_set(err, EINVAL, "image %s: what follows the '#' is no sha256 digest",
			f->image);
		return weft_err_hint(err, "URL#sha256=<64 hex digits>");
	}
	memcpy(f->digest, digest, sizeof(f->digest));
	return 0;
}

static int begin(struct weft_fetch *f, struct weft_err *err)
{
	int r;

	r = weft_fetch_check(f->image, err);
	if (r < 0)
		return r;
	r = name_file(f);
	if (r < 0)
		return weft_err_set(err, r, "image %s: out of memory", f->image);
	if (!f->fetcher->http) {
		r = weft_http_new(f->fetcher->event, &f->fetcher->http);
		if (r < 0)
			return weft_err_set(err, r, "image %s: %s", f->image, strerror(-r));
	}
	if (!is_url(f->image))
		return fetch_oci_start(f, err);
	r = check_digest(f, err);
	if (r < 0)
		return r;
	r = fetch_http(f);
	if (r < 0)
		*err = f->err;
	return r;
}

static void remove_old(const char *path)
{
	_cleanup_(closedirp) DIR *dir = opendir(path);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		struct stat st;

		if (e->d_name[0] != '.' &&
			fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			st.st_mtime + OLD_S < time(NULL))
			unlinkat(dirfd(dir), e->d_name, 0);
	}
}

int weft_fetch(struct weft_fetcher *all, const char *image, enum weft_arch arch, const char *mark,
	weft_fetched_t done, void *userdata, struct weft_fetch **ret, struct weft_err *err)
{
	struct weft_fetch *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return weft_err_set(err, ENOMEM, "image %s: out of memory", image);
	/* What was too young for that when we began. */
	if (!all->all)
		remove_old(all->dir);
	f->fetcher = all;
	f->fd = -1;
	f->arch = arch;
	f->done = done;
	f->userdata = userdata;
	f->next = all->all;
	if (f->next)
		f->next->prev = f;
	all->all = f;
	snprintf(f->known, sizeof(f->known), "%s", mark ? mark : "");
	f->image = strdup(image);
	r = f->image ? begin(f, err) : weft_err_set(err, ENOMEM, "image %s: out of memory", image);
	if (r < 0) {
		fetch_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

/* --- life ----------------------------------------------------------------------------------------
 */

int weft_fetcher_new(
	sd_event *event, const char *dir, struct weft_fetcher **ret, struct weft_err *err)
{
	_cleanup_(weft_fetcher_freep) struct weft_fetcher *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return weft_err_set(err, ENOMEM, "%s: out of memory", dir);
	f->event = sd_event_ref(event);
	f->dir = strdup(dir);
	if (!f->dir)
		return weft_err_set(err, ENOMEM, "%s: out of memory", dir);
	r = weft_mkdir_p(dir, 0700);
	if (r < 0)
		return weft_err_set(err, r, "%s: %s", dir, strerror(-r));
	weft_remove_leftovers(dir);
	remove_old(dir);
	*ret = TAKE_PTR(f);
	return 0;
}

int weft_fetcher_set_registries(struct weft_fetcher *f, const char *file)
{
	char *copy = file ? strdup(file) : NULL;

	if (file && !copy)
		return -ENOMEM;
	free(f->registries);
	f->registries = copy;
	return 0;
}

void weft_fetcher_on_progress(
	struct weft_fetcher *f, weft_runtime_progress_t progress, void *userdata)
{
	f->progress = progress;
	f->progress_userdata = userdata;
}

void weft_fetcher_set_pause(struct weft_fetcher *f, unsigned ms)
{
	f->pause_ms = ms;
}

void weft_fetcher_free(struct weft_fetcher *f)
{
	if (!f)
		return;
	while (f->all)
		fetch_free(f->all);
	weft_http_free(f->http);
	sd_event_unref(f->event);
	free(f->dir);
	free(f->registries);
	free(f);
}
