/* SPDX-License-Identifier: Apache-2.0 */
/* Unikernel images from servers: as they should be, and from one that is slow, breaks off, lies,
 * redirects, wants to know who asks, changes the file meanwhile, or is not there. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/image/fetch.h"
#include "runtimes/image/oci.h"
#include "runtimes/image/unikernel.h"
#include "tests/lib/kernel.h"
#include "tests/lib/registry.h"
#include "tests/lib/tls.h"

#define DEADLINE_NS 60000000000ULL
#define FILLER      (3U << 20)

static struct {
	char dir[64], cache[96], settings[96];
	struct test_registry http, https;
	sd_event *event;
	struct weft_unikernel_store *store;
	unsigned answers, progress;
	int r;
	struct weft_err err;
	char ref[128];
	uint64_t size, told, total;
} lab;

static char libexec[PATH_MAX];

/* --- images --------------------------------------------------------------------------------------
 */

/* tar.gz with a kernel, and a file that does not compress: another one for each seed. */
static void write_image(const char *path, unsigned seed, size_t filler)
{
	_cleanup_(freep) uint8_t *kernel = NULL, *noise = malloc(filler + 1);
	struct archive *a = archive_write_new();
	size_t size, sizes[2] = {0, filler};
	const char *const names[2] = {"kernel", "files/noise"};

	test_kernel_make(test_code_idle, test_code_idle_size, &kernel, &size);
	sizes[0] = size;
	for (size_t i = 0; i < filler; i++) {
		seed = seed * 1664525 + 1013904223;
		noise[i] = (uint8_t)(seed >> 24);
	}
	assert_int_equal(archive_write_set_format_ustar(a), ARCHIVE_OK);
	assert_int_equal(archive_write_add_filter_gzip(a), ARCHIVE_OK);
	assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
	for (int i = 0; i < 2; i++) {
		struct archive_entry *e = archive_entry_new();

		archive_entry_set_pathname(e, names[i]);
		archive_entry_set_filetype(e, AE_IFREG);
		archive_entry_set_perm(e, 0644);
		archive_entry_set_size(e, (la_int64_t)sizes[i]);
		assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
		assert_true(archive_write_data(a, i ? noise : kernel, sizes[i]) >= 0);
		archive_entry_free(e);
	}
	assert_int_equal(archive_write_free(a), ARCHIVE_OK);
}

static char *file_path(const char *name)
{
	return weft_strf("%s/served/files/%s", lab.dir, name);
}

static void serve_image(const char *name, unsigned seed)
{
	_cleanup_(freep) char *path = file_path(name);

	write_image(path, seed, FILLER);
}

static void digest_of(const char *name, char ret[WEFT_OCI_DIGEST])
{
	_cleanup_(freep) char *path = file_path(name), *data = NULL;
	size_t size;

	assert_int_equal(weft_read_file(path, 64 << 20, &data, &size), 0);
	weft_oci_digest(data, size, ret);
}

/* --- artifacts in the registry -------------------------------------------------------------------
 */

static void put_blob(
	const char *tag, const void *data, size_t size, char ret_digest[WEFT_OCI_DIGEST])
{
	_cleanup_(freep) char *dir = weft_strf("%s/served/%s/blobs/sha256", lab.dir, tag);
	_cleanup_(freep) char *path = NULL;

	assert_int_equal(weft_mkdir_p(dir, 0755), 0);
	weft_oci_digest(data, size, ret_digest);
	path = weft_strf("%s/%s", dir, WEFT_OCI_HEX(ret_digest));
	assert_int_equal(weft_write_file(path, data, size, 0644), 0);
}

struct layer {
	const char *title;
	const void *data;
	size_t size;
};

static void put_artifact(const char *tag, const struct layer *layers, size_t n)
{
	_cleanup_(freep) char *list = strdup(""), *index_path = NULL;
	char digest[WEFT_OCI_DIGEST], empty[WEFT_OCI_DIGEST];
	_cleanup_(freep) char *manifest = NULL, *index = NULL;

	put_blob(tag, "{}", 2, empty);
	for (size_t i = 0; i < n; i++) {
		char *more;

		put_blob(tag, layers[i].data, layers[i].size, digest);
		more = weft_strf(
			"%s%s{\"mediaType\":\"application/octet-stream\",\"digest\":\"%s\","
			"\"size\":%zu,\"annotations\":{\"org.opencontainers.image.title\":"
			"\"%s\"}}",
			list, i ? "," : "", digest, layers[i].size, layers[i].title);
		free(list);
		list = more;
	}
	manifest =
		weft_strf("{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/"
			  "vnd.oci.empty.v1+json\",\"digest\":\"%s\",\"size\":2},\"layers\":[%s]}",
			empty, list);
	put_blob(tag, manifest, strlen(manifest), digest);
	index = weft_strf("{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/"
			  "vnd.oci.image.manifest.v1+json\",\"digest\":\"%s\",\"size\":%zu,"
			  "\"platform\":{\"os\":\"qemu\",\"architecture\":\"amd64\"}}]}",
		digest, strlen(manifest));
	index_path = weft_strf("%s/served/%s/index.json", lab.dir, tag);
	assert_int_equal(weft_write_file(index_path, index, strlen(index), 0644), 0);
}

/* --- set-up --------------------------------------------------------------------------------------
 */

static void on_progress(void *userdata, const char *image, uint64_t bytes, uint64_t total)
{
	(void)userdata;
	assert_true(*image && (total == 0 || bytes <= total));
	lab.progress++;
	lab.told = bytes;
	lab.total = total;
}

static void open_store(void)
{
	struct weft_fetcher *f;

	assert_int_equal(
		weft_unikernel_store_new(lab.event, lab.cache, libexec, &lab.store, &lab.err), 0);
	f = weft_unikernel_fetcher(lab.store);
	assert_int_equal(weft_fetcher_set_registries(f, lab.settings), 0);
	weft_fetcher_on_progress(f, on_progress, NULL);
	weft_fetcher_set_pause(f, 20);
}

static void close_store(void)
{
	weft_unikernel_store_free(lab.store);
	lab.store = NULL;
}

static int setup(void **state)
{
	_cleanup_(freep) char *served = NULL, *files = NULL, *text = NULL;

	(void)state;
	memset(&lab, 0, sizeof(lab));
	snprintf(lab.dir, sizeof(lab.dir), "/tmp/weft-test-fetch-XXXXXX");
	assert_non_null(mkdtemp(lab.dir));
	snprintf(lab.cache, sizeof(lab.cache), "%s/cache", lab.dir);
	snprintf(lab.settings, sizeof(lab.settings), "%s/registries.json", lab.dir);
	served = weft_strf("%s/served", lab.dir);
	files = weft_strf("%s/served/files", lab.dir);
	assert_int_equal(weft_mkdir_p(files, 0755), 0);
	test_tls_make(lab.dir);
	test_registry_start(&lab.http, served, NULL);
	test_registry_start(&lab.https, served, lab.dir);
	text = weft_strf("{\"auths\":{\"localhost:%u\":{\"username\":\"weft\",\"password\":"
			 "\"se:cret\"}},\"registries\":{\"localhost:%u\":{\"ca\":\"%s/ca.pem\"}}}",
		lab.https.port, lab.https.port, lab.dir);
	assert_int_equal(weft_write_file(lab.settings, text, strlen(text), 0600), 0);
	assert_true(sd_event_new(&lab.event) >= 0);
	open_store();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close_store();
	sd_event_unref(lab.event);
	test_registry_stop(&lab.http);
	test_registry_stop(&lab.https);
	assert_int_equal(weft_remove_tree(lab.dir), 0);
	return 0;
}

/* --- calls ---------------------------------------------------------------------------------------
 */

static void on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	(void)userdata;
	lab.answers++;
	lab.r = r;
	lab.err = *err;
	lab.size = size;
	snprintf(lab.ref, sizeof(lab.ref), "%s", ref ? ref : "");
}

static void begin(const char *image)
{
	lab.err = (struct weft_err){};
	lab.r = weft_unikernel_prepare(
		lab.store, image, WEFT_ARCH_AMD64, on_prepared, NULL, &lab.err);
	if (lab.r < 0)
		lab.answers++;
}

static void await(unsigned n)
{
	uint64_t end = weft_now_ns() + DEADLINE_NS;

	while (lab.answers < n && weft_now_ns() < end)
		assert_true(sd_event_run(lab.event, 100000) >= 0);
	assert_int_equal(lab.answers, n);
}

static void prepare(const char *image, int want)
{
	lab.answers = lab.progress = 0;
	begin(image);
	await(1);
	if (lab.r != want)
		fail_msg("%s: %d, not %d: %s", image, lab.r, want, lab.err.msg);
}

static void expect_bad(const char *image, int want, const char *part)
{
	prepare(image, want);
	print_message("# %s (%s)\n", lab.err.msg, lab.err.hint);
	if (!strstr(lab.err.msg, part) || !strstr(lab.err.msg, image))
		fail_msg("no '%s' or no name in: %s", part, lab.err.msg);
}

static const char *url(const char *name)
{
	static char text[256];

	snprintf(text, sizeof(text), "http://localhost:%u/files/%s", lab.http.port, name);
	return text;
}

static const char *secure(const char *name)
{
	static char text[256];

	snprintf(text, sizeof(text), "https://localhost:%u/files/%s", lab.https.port, name);
	return text;
}

static const char *artifact(const char *tag)
{
	static char text[256];

	snprintf(text, sizeof(text), "localhost:%u/test/image:%s", lab.https.port, tag);
	return text;
}

/* What is left of fetches. */
static unsigned parts(void)
{
	_cleanup_(freep) char *path = weft_strf("%s/.fetch", lab.cache);
	_cleanup_(closedirp) DIR *dir = opendir(path);
	struct dirent *e;
	unsigned n = 0;

	assert_non_null(dir);
	while ((e = readdir(dir)))
		n += e->d_name[0] != '.';
	return n;
}

static unsigned images(void)
{
	struct weft_runtime_image *list = NULL;
	unsigned n = 0;

	assert_int_equal(weft_unikernel_list(lab.store, &list, &n), 0);
	for (unsigned i = 0; i < n; i++)
		assert_true(list[i].bytes > 0 && list[i].arch_known);
	free(list);
	return n;
}

/* --- by URL --------------------------------------------------------------------------------------
 */

static void by_url(void **state)
{
	char digest[WEFT_OCI_DIGEST], first[128], pinned[400];

	(void)state;
	serve_image("web.tar.gz", 1);
	digest_of("web.tar.gz", digest);
	prepare(url("web.tar.gz"), 0);
	assert_string_equal(lab.ref, digest);
	assert_true(lab.size > FILLER && lab.told == lab.size && lab.total == lab.size);
	assert_int_equal(parts(), 0);
	assert_int_equal(images(), 1);

	/* Again: one question. It changes: the new one. It goes, or its server: as it was. */
	test_registry_reset(&lab.http);
	prepare(url("web.tar.gz"), 0);
	assert_string_equal(lab.ref, digest);
	assert_int_equal(lab.http.c->files, 1);
	assert_int_equal(lab.http.c->sent, 0);
	memcpy(first, lab.ref, sizeof(first));
	serve_image("web.tar.gz", 2);
	prepare(url("web.tar.gz"), 0);
	assert_string_not_equal(lab.ref, first);
	assert_int_equal(images(), 2);
	lab.http.c->fail = 100;
	lab.http.c->fail_status = 503;
	memcpy(first, lab.ref, sizeof(first));
	prepare(url("web.tar.gz"), 0);
	assert_string_equal(lab.ref, first);

	/* With a digest in its name nobody is asked twice, also by another daemon. */
	test_registry_reset(&lab.http);
	digest_of("web.tar.gz", digest);
	snprintf(pinned, sizeof(pinned), "%s#sha256=%s", url("web.tar.gz"), WEFT_OCI_HEX(digest));
	prepare(pinned, 0);
	test_registry_reset(&lab.http);
	close_store();
	open_store();
	prepare(pinned, 0);
	assert_int_equal(lab.http.c->requests, 0);
	serve_image("web.tar.gz", 3);
	assert_int_equal(weft_unikernel_remove(lab.store, lab.ref, &lab.err), 0);
	expect_bad(pinned, -EBADMSG, "has the digest");
	assert_int_equal(parts(), 0);
	expect_bad("http://localhost:1/x#sha256=abc", -EINVAL, "no sha256 digest");
	expect_bad("ftp://localhost/x", -ENOTSUP, "cannot fetch by ftp");
}

/* Servers that say when a file was changed, and such that say nothing. */
static void marks(void **state)
{
	(void)state;
	serve_image("web.tar.gz", 1);
	lab.http.c->dated = true;
	prepare(url("web.tar.gz"), 0);
	prepare(url("web.tar.gz"), 0);
	assert_true(lab.http.c->sent < lab.size + 65536);
	test_registry_reset(&lab.http);
	serve_image("bare.tar.gz", 2);
	lab.http.c->unmarked = true;
	prepare(url("bare.tar.gz"), 0);
	prepare(url("bare.tar.gz"), 0);
	assert_true(lab.http.c->sent >= 2 * lab.size);
	assert_int_equal(images(), 2);
}

static void with_tls(void **state)
{
	(void)state;
	serve_image("web.tar.gz", 1);
	lab.https.c->auth = REGISTRY_BASIC;
	prepare(secure("web.tar.gz"), 0);
	assert_int_equal(weft_fetcher_set_registries(weft_unikernel_fetcher(lab.store), NULL), 0);
	expect_bad(secure("web.tar.gz"), -EPROTO, "localhost");
	lab.http.c->auth = REGISTRY_BASIC;
	expect_bad(url("web.tar.gz"), -EACCES, "status 401");
}

/* Several want the same: it is fetched once. */
static void together(void **state)
{
	(void)state;
	serve_image("web.tar.gz", 1);
	lab.http.c->pace_us = 5000;
	for (int i = 0; i < 20; i++)
		begin(url("web.tar.gz"));
	await(20);
	assert_int_equal(lab.r, 0);
	assert_int_equal(lab.http.c->files, 1);

	lab.answers = 0;
	for (int i = 0; i < 5; i++)
		begin(url("none.tar.gz"));
	await(5);
	assert_int_equal(lab.r, -ENOENT);
	assert_int_equal(lab.http.c->files, 2);
}

/* --- breaking off --------------------------------------------------------------------------------
 */

static void goes_on(void **state)
{
	(void)state;
	serve_image("web.tar.gz", 1);
	lab.http.c->cuts = 4;
	prepare(url("web.tar.gz"), 0);
	assert_true(lab.http.c->ranges >= 4);
	assert_true(lab.http.c->sent < lab.size + 600000);

	/* A part that is shorter than asked for is not the end. */
	serve_image("web.tar.gz", 4);
	lab.http.c->cuts = 1;
	lab.http.c->short_ranges = true;
	prepare(url("web.tar.gz"), 0);
	test_registry_reset(&lab.http);

	/* All of it is a part, too: that begins at the beginning. */
	serve_image("web.tar.gz", 5);
	lab.http.c->parts_only = true;
	prepare(url("web.tar.gz"), 0);
	serve_image("web.tar.gz", 6);
	lab.http.c->cuts = 2;
	prepare(url("web.tar.gz"), 0);
	test_registry_reset(&lab.http);

	/* It does not do ranges; it sends others than asked for; it changes half-way. */
	serve_image("web.tar.gz", 2);
	lab.http.c->cuts = 2;
	lab.http.c->ignore_range = true;
	prepare(url("web.tar.gz"), 0);
	test_registry_reset(&lab.http);
	serve_image("web.tar.gz", 3);
	lab.http.c->cuts = 1;
	lab.http.c->wrong_range = true;
	expect_bad(url("web.tar.gz"), -EPROTO, "another part");
	assert_int_equal(parts(), 0);
	test_registry_reset(&lab.http);
	lab.http.c->fail = 2;
	lab.http.c->fail_status = 500;
	prepare(url("web.tar.gz"), 0);
	assert_int_equal(lab.http.c->requests, 3);
}

static void changes_half_way(void **state)
{
	char digest[WEFT_OCI_DIGEST];
	uint64_t end = weft_now_ns() + DEADLINE_NS;

	(void)state;
	serve_image("web.tar.gz", 1);
	weft_fetcher_set_pause(weft_unikernel_fetcher(lab.store), 500);
	lab.http.c->cuts = 1;
	begin(url("web.tar.gz"));
	while (lab.http.c->at_once > 0 || lab.http.c->files == 0) {
		assert_true(sd_event_run(lab.event, 10000) >= 0);
		assert_true(weft_now_ns() < end);
	}
	serve_image("web.tar.gz", 2);
	digest_of("web.tar.gz", digest);
	await(1);
	assert_int_equal(lab.r, 0);
	assert_string_equal(lab.ref, digest);
}

/* Killed half-way: the next daemon goes on where it was. */
static void daemon_killed(void **state)
{
	uint64_t sent;
	int status;
	pid_t pid;

	(void)state;
	serve_image("web.tar.gz", 1);
	close_store();
	lab.event = sd_event_unref(lab.event);
	lab.http.c->pace_us = 10000;
	pid = fork();
	if (pid == 0) {
		if (sd_event_new(&lab.event) < 0)
			_exit(1);
		open_store();
		begin(url("web.tar.gz"));
		while (lab.told < FILLER / 2)
			if (sd_event_run(lab.event, 100000) < 0)
				_exit(2);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(parts(), 2);
	lab.http.c->pace_us = 0;
	assert_true(sd_event_new(&lab.event) >= 0);
	open_store();
	sent = lab.http.c->sent;
	prepare(url("web.tar.gz"), 0);
	assert_int_equal(lab.http.c->ranges, 1);
	assert_true(lab.http.c->sent - sent < lab.size * 2 / 3);
	assert_int_equal(parts(), 0);
}

static void make_part(const char *name, time_t age)
{
	_cleanup_(freep) char *path = weft_strf("%s/.fetch/%s", lab.cache, name);
	const struct timespec at = {.tv_sec = time(NULL) - age}, times[2] = {at, at};

	assert_int_equal(weft_write_file(path, "part", 4, 0600), 0);
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* What a killed daemon left, and nobody came back for: it grows old while the next one lives. */
static void old_parts(void **state)
{
	(void)state;
	serve_image("web.tar.gz", 1);
	make_part("0123", 100000);
	make_part("0123.mark", 100000);
	make_part("4567", 50000);
	prepare(url("web.tar.gz"), 0);
	assert_int_equal(parts(), 1);
}

static void refusals(void **state)
{
	_cleanup_(freep) char *path = file_path("huge.tar.gz"), *text = file_path("text.tar.gz");
	int fd;

	(void)state;
	expect_bad(url("none.tar.gz"), -ENOENT, "status 404");
	lab.http.c->fail = 1;
	lab.http.c->fail_status = 403;
	expect_bad(url("none.tar.gz"), -EACCES, "status 403");
	lab.http.c->fail = 100;
	lab.http.c->fail_status = 502;
	expect_bad(url("none.tar.gz"), -EIO, "status 502");
	test_registry_reset(&lab.http);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (513 << 20)), 0);
	close(fd);
	expect_bad(url("huge.tar.gz"), -E2BIG, "larger than the 512 MiB");
	assert_int_equal(weft_write_file(text, "not an image", 12, 0644), 0);
	expect_bad(url("text.tar.gz"), -EBADMSG, "image http");
	expect_bad("http://127.0.0.1:1/x.tar.gz", -ECONNREFUSED, "127.0.0.1");
	assert_int_equal(parts(), 0);
	assert_int_equal(images(), 0);
}

static void disk_full(void **state)
{
	(void)state;
	serve_image("web.tar.gz", 1);
	close_store();
	assert_int_equal(mount("none", lab.cache, "tmpfs", 0, "size=2m,mode=700"), 0);
	open_store();
	expect_bad(url("web.tar.gz"), -ENOSPC, "No space left");
	assert_int_equal(parts(), 0);
	close_store();
	assert_int_equal(umount(lab.cache), 0);
	open_store();
	prepare(url("web.tar.gz"), 0);
}

/* --- from a registry -----------------------------------------------------------------------------
 */

static void from_registry(void **state)
{
	_cleanup_(freep) char *path = NULL, *data = NULL;
	char digest[WEFT_OCI_DIGEST];
	size_t size;

	(void)state;
	serve_image("web.tar.gz", 1);
	digest_of("web.tar.gz", digest);
	path = file_path("web.tar.gz");
	assert_int_equal(weft_read_file(path, 64 << 20, &data, &size), 0);
	put_artifact("one", &(struct layer){"web.tar.gz", data, size}, 1);
	put_artifact("multi-one", &(struct layer){"web.tar.gz", data, size}, 1);
	prepare(artifact("one"), 0);
	assert_string_equal(lab.ref, digest);
	assert_true(lab.told == size && lab.progress > 0);
	test_registry_reset(&lab.https);
	prepare(artifact("one"), 0);
	assert_int_equal(lab.https.c->blobs, 0);
	assert_int_equal(lab.https.c->requests, 1);
	prepare(artifact("multi-one"), 0); /* os "qemu" is as good as any */
	assert_string_equal(lab.ref, digest);
	assert_int_equal(images(), 1);

	/* Away: as it was. Cut off: it goes on. Damaged: refused, and nothing is left. */
	lab.https.c->fail = 100;
	lab.https.c->fail_status = 503;
	prepare(artifact("one"), 0);
	assert_string_equal(lab.ref, digest);
	test_registry_reset(&lab.https);
	assert_int_equal(weft_unikernel_remove(lab.store, lab.ref, &lab.err), 0);
	assert_int_equal(images(), 0);
	lab.https.c->auth = REGISTRY_BEARER;
	lab.https.c->cuts = 2;
	prepare(artifact("one"), 0);
	assert_true(lab.https.c->ranges >= 2);
	assert_int_equal(weft_unikernel_remove(lab.store, lab.ref, &lab.err), 0);
	lab.https.c->wrong_layer = true;
	expect_bad(artifact("one"), -EBADMSG, "has the digest");
	assert_int_equal(parts(), 0);
}

static void titled_layers(void **state)
{
	static const char hints[] = "{\"machine\": \"microvm\", \"args\": \"hello\"}";
	_cleanup_(weft_unikernel_freep) struct weft_unikernel *u = NULL;
	_cleanup_(freep) uint8_t *kernel = NULL;
	struct layer layers[] = {
		{"weft.json", hints, sizeof(hints) - 1},
		{"kernel", NULL, 0},
		{"README.md", "read me", 7},
		{"initrd.cpio", "cpio", 4},
	};

	(void)state;
	test_kernel_make(test_code_idle, test_code_idle_size, &kernel, &layers[1].size);
	layers[1].data = kernel;
	put_artifact("parts", layers, ARRAY_SIZE(layers));
	prepare(artifact("parts"), 0);
	assert_int_equal(weft_unikernel_load(lab.store, lab.ref, &u, NULL), 0);
	assert_int_equal(u->what.hints.machine, WEFT_MACHINE_MICROVM);
	assert_string_equal(u->what.hints.args, "hello");
	assert_true(u->what.initrd);

	layers[1].title = "vmlinuz";
	put_artifact("nameless", layers, ARRAY_SIZE(layers));
	expect_bad(artifact("nameless"), -EBADMSG, "none is titled \"kernel\"");
	expect_bad(artifact("none"), -ENOENT, "none");
	expect_bad("nginx", -EINVAL, "neither a full path nor");
	assert_int_equal(parts(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(by_url, setup, teardown),
		cmocka_unit_test_setup_teardown(marks, setup, teardown),
		cmocka_unit_test_setup_teardown(with_tls, setup, teardown),
		cmocka_unit_test_setup_teardown(together, setup, teardown),
		cmocka_unit_test_setup_teardown(goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(changes_half_way, setup, teardown),
		cmocka_unit_test_setup_teardown(daemon_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(old_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(disk_full, setup, teardown),
		cmocka_unit_test_setup_teardown(from_registry, setup, teardown),
		cmocka_unit_test_setup_teardown(titled_layers, setup, teardown),
	};
	const char *build = getenv("B");
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/libexec", build ? build : "build");
	if (geteuid() != 0) {
		puts("1..0 # SKIP not root: the worker drops privileges");
		return 0;
	}
	if (!realpath(path, libexec) || unshare(CLONE_NEWNS) < 0 ||
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		perror(path);
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
