/* SPDX-License-Identifier: Apache-2.0 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/image/unikernel.h"
#include "tests/lib/doomed.h"
#include "tests/lib/kernel.h"

#define DEADLINE_MS 30000

struct fixture {
	char dir[64];
	sd_event *event;
	struct weft_unikernel_store *store;
	/* what prepare answered */
	unsigned answers;
	int r;
	struct weft_err err;
	char ref[128];
	uint64_t size;
};

static char libexec[PATH_MAX];

/* --- archives ------------------------------------------------------------------------------------
 */

struct entry {
	const char *name;
	unsigned type; /* 0: AE_IFREG */
	const void *data;
	size_t size;
	const char *link;
	bool hard;
};

static void write_archive(const char *path, const struct entry *e, size_t n)
{
	struct archive *a = archive_write_new();

	assert_int_equal(archive_write_set_format_pax_restricted(a), ARCHIVE_OK);
	assert_int_equal(archive_write_add_filter_gzip(a), ARCHIVE_OK);
	assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
	for (size_t i = 0; i < n; i++) {
		struct archive_entry *h = archive_entry_new();

		archive_entry_set_pathname(h, e[i].name);
		archive_entry_set_filetype(h, e[i].type ? e[i].type : AE_IFREG);
		archive_entry_set_perm(h, 0644);
		archive_entry_set_size(h, (la_int64_t)e[i].size);
		if (e[i].link && e[i].hard)
			archive_entry_set_hardlink(h, e[i].link);
		else if (e[i].link)
			archive_entry_set_symlink(h, e[i].link);
		if (e[i].type == AE_IFCHR)
			archive_entry_set_rdev(h, makedev(1, 3));
		assert_int_equal(archive_write_header(a, h), ARCHIVE_OK);
		if (e[i].size)
			assert_int_equal(
				archive_write_data(a, e[i].data, e[i].size), (la_ssize_t)e[i].size);
		archive_entry_free(h);
	}
	assert_int_equal(archive_write_free(a), ARCHIVE_OK);
}

static void path_of(const struct fixture *f, const char *name, char *ret)
{
	snprintf(ret, PATH_MAX, "%s/%s", f->dir, name);
}

/* An image with a kernel that boots, and `more` beside it. */
static void write_image(struct fixture *f, const char *name, const struct entry *more, size_t n)
{
	_cleanup_(freep) uint8_t *kernel = NULL;
	struct entry all[16] = {{.name = "kernel"}};
	char path[PATH_MAX];

	assert_true(n < 15);
	test_kernel_make(test_code_idle, test_code_idle_size, &kernel, &all[0].size);
	all[0].data = kernel;
	for (size_t i = 0; i < n; i++)
		all[i + 1] = more[i];
	path_of(f, name, path);
	write_archive(path, all, n + 1);
}

static void write_file(struct fixture *f, const char *name, const void *data, size_t size)
{
	char path[PATH_MAX];

	path_of(f, name, path);
	assert_int_equal(weft_write_file(path, data, size, 0644), 0);
}

/* --- prepare -------------------------------------------------------------------------------------
 */

static void on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	struct fixture *f = userdata;

	f->answers++;
	f->r = r;
	f->err = *err;
	f->size = size;
	snprintf(f->ref, sizeof(f->ref), "%s", ref ? ref : "");
}

static int prepare_as(struct fixture *f, const char *name, enum weft_arch arch)
{
	uint64_t end = weft_now_ns() + DEADLINE_MS * 1000000ULL;
	char path[PATH_MAX];
	int r;

	path_of(f, name, path);
	f->answers = 0;
	f->err = (struct weft_err){};
	r = weft_unikernel_prepare(f->store, path, arch, on_prepared, f, &f->err);
	if (r < 0) {
		assert_int_equal(f->err.code, -r);
		return r;
	}
	assert_int_equal(f->answers, 0); /* never from within the call */
	while (f->answers == 0 && weft_now_ns() < end)
		assert_true(sd_event_run(f->event, 100000) >= 0);
	assert_int_equal(f->answers, 1);
	return f->r;
}

static int prepare(struct fixture *f, const char *name)
{
	return prepare_as(f, name, WEFT_ARCH_AMD64);
}

/* Nothing half-done may stay in the cache. */
static void assert_cached(struct fixture *f, unsigned expected)
{
	_cleanup_(closedirp) DIR *d = NULL;
	char path[PATH_MAX];
	unsigned n = 0;
	struct dirent *e;

	path_of(f, "cache", path);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.' ||
		     strncmp(e->d_name, WEFT_TMP_PREFIX, strlen(WEFT_TMP_PREFIX)) == 0;
	assert_int_equal(n, expected);
}

static void assert_refused(
	struct fixture *f, const char *name, int code, const char *what, const char *which)
{
	char path[PATH_MAX];

	path_of(f, name, path);
	assert_int_equal(prepare(f, name), -code);
	if (!strstr(f->err.msg, what) || !strstr(f->err.msg, which) || !strstr(f->err.msg, path))
		fail_msg("'%s' does not say '%s', '%s' and the image", f->err.msg, what, which);
	assert_cached(f, 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char cache[PATH_MAX];

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "/tmp/weft-test-unikernel-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_true(sd_event_new(&f->event) >= 0);
	path_of(f, "cache", cache);
	assert_int_equal(weft_unikernel_store_new(f->event, cache, libexec, &f->store, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	weft_unikernel_store_free(f->store);
	sd_event_unref(f->event);
	assert_int_equal(weft_remove_tree(f->dir), 0);
	free(f);
	return 0;
}

/* --- good images ---------------------------------------------------------------------------------
 */

static void good(void **state)
{
	struct fixture *f = *state;
	static const char hints[] =
		"{\"machine\": \"microvm\", \"ring3\": true, \"args\": \"-c /nginx.conf\"}";
	const struct entry more[] = {
		{.name = "./initrd.cpio", .data = "cpio", .size = 4},
		{.name = "files/", .type = AE_IFDIR},
		{.name = "files/etc/motd", .data = "hello", .size = 5},
		{.name = "README", .data = "x", .size = 1},
		{.name = "weft.json", .data = hints, .size = sizeof(hints) - 1},
	};
	_cleanup_(weft_unikernel_freep) struct weft_unikernel *u = NULL;
	_cleanup_(freep) char *motd = NULL;
	char path[PATH_MAX + 32];
	struct stat st;

	write_image(f, "good.tar.gz", more, ARRAY_SIZE(more));
	if (prepare(f, "good.tar.gz") != 0)
		fail_msg("%s", f->err.msg);
	assert_int_equal(strncmp(f->ref, "sha256:", 7), 0);
	assert_true(f->size > 0);
	assert_cached(f, 1);

	assert_int_equal(weft_unikernel_load(f->store, f->ref, &u, NULL), 0);
	assert_int_equal(u->arch, WEFT_ARCH_AMD64);
	assert_int_equal(u->what.boot, WEFT_KERNEL_PVH);
	assert_int_equal(u->what.hints.machine, WEFT_MACHINE_MICROVM);
	assert_true(u->what.hints.ring3);
	assert_string_equal(u->what.hints.args, "-c /nginx.conf");
	assert_true(u->what.initrd);
	assert_string_equal(u->what.files, "files");

	snprintf(path, sizeof(path), "%s/files/etc/motd", u->dir);
	assert_int_equal(weft_read_file(path, 100, &motd, NULL), 0);
	assert_string_equal(motd, "hello");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0); /* no longer the worker's */
	snprintf(path, sizeof(path), "%s/README", u->dir);
	assert_int_equal(stat(path, &st), -1);
}

/* Who reads what comes from outside is nobody and may do nothing: a script in its place tells. */
static void by_nobody(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *script = NULL, *copy = NULL, *text = NULL;
	char own[PATH_MAX], file[PATH_MAX + 16], said[PATH_MAX], cache[PATH_MAX];

	path_of(f, "libexec", own);
	path_of(f, "said", said);
	path_of(f, "cache", cache);
	snprintf(file, sizeof(file), "%s/weft-unpack", own);
	/* A copy of the worker: the tree that it was built in may be root's alone. */
	script = weft_strf("#!/bin/sh\n/bin/grep -E '^(Uid|Gid|NoNewPrivs|Cap(Prm|Eff|Bnd)):' "
			   "/proc/self/status >%s/it\nexec %s/worker \"$@\"\n",
		said, own);
	copy = weft_strf("cp '%s/weft-unpack' '%s/worker'", libexec, own);
	assert_int_equal(chmod(f->dir, 0711), 0);
	assert_int_equal(mkdir(own, 0755), 0);
	assert_int_equal(system(copy), 0);
	assert_int_equal(mkdir(said, 0700), 0);
	assert_int_equal(chmod(said, 0777), 0);
	assert_int_equal(weft_write_file(file, script, strlen(script), 0755), 0);
	weft_unikernel_store_free(f->store);
	f->store = NULL;
	assert_int_equal(weft_unikernel_store_new(f->event, cache, own, &f->store, NULL), 0);
	write_image(f, "a.tar.gz", NULL, 0);
	if (prepare(f, "a.tar.gz") != 0)
		fail_msg("%s", f->err.msg);
	snprintf(file, sizeof(file), "%s/it", said);
	assert_int_equal(weft_read_file(file, 1000, &text, NULL), 0);
	assert_string_equal(text, "Uid:\t65534\t65534\t65534\t65534\n"
				  "Gid:\t65534\t65534\t65534\t65534\n"
				  "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"
				  "CapBnd:\t0000000000000000\nNoNewPrivs:\t1\n");
}

static void cached(void **state)
{
	struct fixture *f = *state;
	char cache[PATH_MAX], ref[128];
	uint64_t t;

	write_image(f, "a.tar.gz", NULL, 0);
	assert_int_equal(prepare(f, "a.tar.gz"), 0);
	memcpy(ref, f->ref, sizeof(ref));
	t = weft_now_ns();
	assert_int_equal(prepare(f, "a.tar.gz"), 0);
	t = weft_now_ns() - t;
	assert_true(t < 100000000ULL);
	assert_string_equal(f->ref, ref);

	/* Another daemon finds it, and another file of the same content is the same image. */
	weft_unikernel_store_free(f->store);
	f->store = NULL;
	path_of(f, "cache", cache);
	assert_int_equal(weft_unikernel_store_new(f->event, cache, libexec, &f->store, NULL), 0);
	{
		_cleanup_(freep) char *data = NULL;
		char path[PATH_MAX];
		size_t size;

		path_of(f, "a.tar.gz", path);
		assert_int_equal(weft_read_file(path, 1 << 20, &data, &size), 0);
		write_file(f, "b.tar.gz", data, size);
	}
	assert_int_equal(prepare(f, "b.tar.gz"), 0);
	assert_string_equal(f->ref, ref);
	assert_cached(f, 1);
}

static void changed(void **state)
{
	struct fixture *f = *state;
	const struct entry more[] = {{.name = "initrd.cpio", .data = "c", .size = 1}};
	char ref[128];

	write_image(f, "a.tar.gz", NULL, 0);
	assert_int_equal(prepare(f, "a.tar.gz"), 0);
	memcpy(ref, f->ref, sizeof(ref));
	write_image(f, "a.tar.gz", more, 1);
	assert_int_equal(prepare(f, "a.tar.gz"), 0);
	assert_string_not_equal(f->ref, ref);
	assert_cached(f, 2);
}

static void half_written_cache(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *path = NULL;
	char cache[PATH_MAX], tmp[PATH_MAX];

	write_image(f, "a.tar.gz", NULL, 0);
	assert_int_equal(prepare(f, "a.tar.gz"), 0);
	path_of(f, "cache", cache);
	path = weft_strf("%s/%s/manifest.json", cache, f->ref + strlen("sha256:"));
	assert_int_equal(weft_write_file(path, "{\"arch\":", 8, 0600), 0);
	assert_int_equal(prepare(f, "a.tar.gz"), 0);
	assert_cached(f, 1);

	/* What a killed daemon was unpacking is removed by the next. */
	path_of(f, "cache/" WEFT_TMP_PREFIX "abcdef", tmp);
	assert_int_equal(mkdir(tmp, 0700), 0);
	weft_unikernel_store_free(f->store);
	assert_int_equal(weft_unikernel_store_new(f->event, cache, libexec, &f->store, NULL), 0);
	assert_cached(f, 1);
}

/* Killed while it puts a whole image in the place of half a one: nothing is left that nobody sees.
 */
static void killed_while_replacing(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *manifest = NULL;
	char cache[PATH_MAX], image[PATH_MAX];
	pid_t pid;

	write_image(f, "a.tar.gz", NULL, 0);
	assert_int_equal(prepare(f, "a.tar.gz"), 0);
	path_of(f, "cache", cache);
	path_of(f, "a.tar.gz", image);
	manifest = weft_strf("%s/%s/manifest.json", cache, f->ref + strlen("sha256:"));
	assert_int_equal(weft_write_file(manifest, "{\"arch\":", 8, 0600), 0);
	weft_unikernel_store_free(f->store);
	f->store = NULL;
	pid = fork();
	if (pid == 0) {
		f->answers = 0;
		if (sd_event_new(&f->event) < 0 ||
			weft_unikernel_store_new(f->event, cache, libexec, &f->store, NULL) < 0 ||
			weft_unikernel_prepare(
				f->store, image, WEFT_ARCH_AMD64, on_prepared, f, &f->err) < 0)
			_exit(1);
		test_die_at_rmdir();
		while (f->answers == 0 && sd_event_run(f->event, UINT64_MAX) >= 0)
			;
		_exit(2);
	}
	assert_int_equal(test_await_doomed(pid), 0);
	assert_int_equal(weft_unikernel_store_new(f->event, cache, libexec, &f->store, NULL), 0);
	assert_cached(f, 0);
	assert_int_equal(prepare(f, "a.tar.gz"), 0);
	assert_cached(f, 1);
}

static void bare_kernel(void **state)
{
	struct fixture *f = *state;
	_cleanup_(weft_unikernel_freep) struct weft_unikernel *u = NULL;
	_cleanup_(freep) uint8_t *kernel = NULL;
	size_t size;

	test_kernel_make(test_code_idle, test_code_idle_size, &kernel, &size);
	write_file(f, "vmlinux", kernel, size);
	assert_int_equal(prepare(f, "vmlinux"), 0);
	assert_int_equal(weft_unikernel_load(f->store, f->ref, &u, NULL), 0);
	assert_int_equal(u->what.hints.machine, WEFT_MACHINE_Q35);
	assert_false(u->what.initrd);
}

static void freed_while_unpacking(void **state)
{
	struct fixture *f = *state;
	char path[PATH_MAX], cache[PATH_MAX];

	write_image(f, "a.tar.gz", NULL, 0);
	path_of(f, "a.tar.gz", path);
	f->answers = 0;
	assert_int_equal(
		weft_unikernel_prepare(f->store, path, WEFT_ARCH_AMD64, on_prepared, f, NULL), 0);
	weft_unikernel_store_free(f->store);
	while (sd_event_run(f->event, 0) > 0)
		;
	assert_int_equal(f->answers, 0);
	path_of(f, "cache", cache);
	assert_int_equal(weft_unikernel_store_new(f->event, cache, libexec, &f->store, NULL), 0);
	assert_cached(f, 0);
}

/* --- bad images ----------------------------------------------------------------------------------
 */

static void missing(void **state)
{
	struct fixture *f = *state;

	assert_refused(f, "none.tar.gz", ENOENT, "No such file", "none.tar.gz");
	assert_int_equal(weft_unikernel_prepare(
				 f->store, "ftp://h/x", WEFT_ARCH_AMD64, on_prepared, f, &f->err),
		-ENOTSUP);
	assert_int_equal(weft_unikernel_prepare(
				 f->store, "x.tar.gz", WEFT_ARCH_AMD64, on_prepared, f, &f->err),
		-EINVAL);
	assert_int_equal(weft_unikernel_prepare(
				 f->store, "./x.tar.gz", WEFT_ARCH_AMD64, on_prepared, f, &f->err),
		-EINVAL);
	assert_int_equal(
		weft_unikernel_prepare(f->store, f->dir, WEFT_ARCH_AMD64, on_prepared, f, &f->err),
		-EBADMSG);
	assert_int_equal(weft_unikernel_load(f->store, "sha256:../../etc", NULL, NULL), -EINVAL);
}

static void truncated(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) uint8_t *noise = malloc(100000);
	char path[PATH_MAX];
	struct stat st;
	off_t cuts[4];
	uint32_t x = 1;

	for (size_t i = 0; i < 100000; i++)
		noise[i] = (uint8_t)((x = x * 1103515245 + 12345) >> 16);
	const struct entry more[] = {{.name = "initrd.cpio", .data = noise, .size = 100000}};

	write_image(f, "full.tar.gz", more, 1);
	path_of(f, "full.tar.gz", path);
	assert_int_equal(stat(path, &st), 0);
	cuts[0] = st.st_size - 4;
	cuts[1] = st.st_size / 2;
	cuts[2] = 200;
	cuts[3] = 12;
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		assert_int_equal(truncate(path, cuts[i]), 0);
		assert_refused(f, "full.tar.gz", EBADMSG, "", "");
	}
	assert_int_equal(truncate(path, 0), 0);
	assert_refused(f, "full.tar.gz", EBADMSG, "empty", "");
}

static void refused_entries(void **state)
{
	struct fixture *f = *state;
	const struct {
		struct entry entry;
		const char *what;
	} bad[] = {
		{{.name = "files/../../etc/cron.d/x", .data = "x", .size = 1}, "'..'"},
		{{.name = "..", .type = AE_IFDIR}, "'..'"},
		{{.name = "/etc/passwd", .data = "x", .size = 1}, "absolute"},
		{{.name = "files/link", .type = AE_IFLNK, .link = "/etc"}, "symbolic link"},
		{{.name = "initrd.cpio", .type = AE_IFLNK, .link = "/etc/shadow"}, "symbolic link"},
		{{.name = "files/hard", .link = "kernel", .hard = true}, "hard link"},
		{{.name = "files/null", .type = AE_IFCHR}, "device"},
		{{.name = "files/fifo", .type = AE_IFIFO}, "FIFO"},
		{{.name = "README", .type = AE_IFLNK, .link = "kernel"}, "symbolic link"},
		{{.name = "kernel", .data = "x", .size = 1}, "twice"},
		{{.name = "files", .data = "x", .size = 1}, "directory"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		write_image(f, "bad.tar.gz", &bad[i].entry, 1);
		assert_refused(f, "bad.tar.gz", EBADMSG, bad[i].what, bad[i].entry.name);
	}
}

static void bombs(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) struct entry *many = calloc(5000, sizeof(*many));
	_cleanup_(freep) char *names = malloc(5000 * 16);
	char path[PATH_MAX];
	struct archive *a = archive_write_new();
	struct archive_entry *h = archive_entry_new();
	static const char zeros[1 << 20];

	for (size_t i = 0; i < 5000; i++) {
		snprintf(names + i * 16, 16, "files/%zu", i);
		many[i].name = names + i * 16;
	}
	path_of(f, "many.tar.gz", path);
	write_archive(path, many, 5000);
	assert_refused(f, "many.tar.gz", E2BIG, "4096", "files/4");

	path_of(f, "big.tar.gz", path);
	archive_write_set_format_gnutar(a);
	archive_write_add_filter_gzip(a);
	archive_write_open_filename(a, path);
	archive_entry_set_pathname(h, "ignored");
	archive_entry_set_filetype(h, AE_IFREG);
	archive_entry_set_perm(h, 0644);
	archive_entry_set_size(h, 520LL << 20);
	assert_int_equal(archive_write_header(a, h), ARCHIVE_OK);
	for (unsigned i = 0; i < 520; i++)
		assert_int_equal(archive_write_data(a, zeros, sizeof(zeros)), sizeof(zeros));
	archive_entry_free(h);
	archive_write_free(a);
	assert_refused(f, "big.tar.gz", E2BIG, "512 MiB", "ignored");
}

static void not_a_kernel(void **state)
{
	struct fixture *f = *state;
	static const char script[] = "#!/bin/sh\necho hello\n";
	const struct entry e[] = {{.name = "kernel", .data = script, .size = sizeof(script) - 1}};
	const struct entry deep[] = {{.name = "img/kernel", .data = "x", .size = 1}};
	const struct entry none[] = {{.name = "README", .data = "x", .size = 1}};
	char path[PATH_MAX];

	path_of(f, "script.tar.gz", path);
	write_archive(path, e, 1);
	assert_refused(f, "script.tar.gz", EBADMSG, "not a bootable kernel", "'#!/bin/sh'");
	write_file(f, "script", script, sizeof(script) - 1);
	assert_refused(f, "script", EBADMSG, "neither", "'#!/bin/sh'");
	path_of(f, "deep.tar.gz", path);
	write_archive(path, deep, 1);
	assert_refused(f, "deep.tar.gz", EBADMSG, "no kernel", "");
	assert_non_null(strstr(f->err.hint, "img/kernel"));
	path_of(f, "none.tar.gz", path);
	write_archive(path, none, 1);
	assert_refused(f, "none.tar.gz", EBADMSG, "no kernel", "");
}

static void wrong_machine(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) uint8_t *kernel = NULL;
	size_t size;

	test_kernel_make(test_code_idle, test_code_idle_size, &kernel, &size);
	kernel[18] = 183; /* e_machine: EM_AARCH64 */
	write_file(f, "arm", kernel, size);
	assert_refused(f, "arm", ENOTSUP, "built for arm64, not for amd64", "");
	assert_int_equal(prepare_as(f, "arm", WEFT_ARCH_ARM64), 0);
	assert_int_equal(prepare(f, "arm"), -ENOTSUP); /* also from the cache */
}

static void bad_hints(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[][2] = {
		{"{\n\"machine\": \"pdp11\"}", "line 2, column 12: machine"},
		{"{\"ring3\": 1}", "ring3"},
		{"[]", "object"},
		{"{", "line 1"},
		{"{\"args\": \"a\\nb\"}", "control character"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct entry e = {
			.name = "weft.json", .data = bad[i][0], .size = strlen(bad[i][0])};

		write_image(f, "h.tar.gz", &e, 1);
		assert_refused(f, "h.tar.gz", EBADMSG, "weft.json", bad[i][1]);
	}
}

/* --- kernels -------------------------------------------------------------------------------------
 */

static int check(const void *data, size_t size, enum weft_arch arch, enum weft_kernel_boot *ret)
{
	struct weft_kernel kernel = {};
	struct weft_err err = {};
	int r = weft_kernel_check(data, size, arch, &kernel, &err);

	*ret = kernel.boot;
	assert_true(r == 0 || (err.code == -r && strncmp(err.msg, "kernel ", 7) == 0));
	return r;
}

static void kernels(void **state)
{
	_cleanup_(freep) uint8_t *elf = NULL;
	uint8_t linux_amd64[1024] = "MZ", linux_arm64[128] = "MZ", multiboot[64] = {};
	const uint32_t header[] = {0x1badb002, 0x10003, -(0x1badb002u + 0x10003u)};
	enum weft_kernel_boot boot;
	size_t size;

	(void)state;
	test_kernel_make(test_code_idle, test_code_idle_size, &elf, &size);
	assert_int_equal(check(elf, size, WEFT_ARCH_AMD64, &boot), 0);
	assert_int_equal(boot, WEFT_KERNEL_PVH);
	for (size_t n = 0; n < size; n++) {
		/* On the heap, so that a read behind the end is seen. */
		_cleanup_(freep) uint8_t *part = malloc(n ? n : 1);

		memcpy(part, elf, n);
		assert_int_equal(check(part, n, WEFT_ARCH_AMD64, &boot), -EBADMSG);
	}

	memcpy(linux_amd64 + 0x1fe, "\x55\xaa", 2);
	memcpy(linux_amd64 + 0x202, "HdrS", 4);
	assert_int_equal(check(linux_amd64, sizeof(linux_amd64), WEFT_ARCH_AMD64, &boot), 0);
	assert_int_equal(boot, WEFT_KERNEL_BZIMAGE);
	assert_int_equal(check(linux_amd64, sizeof(linux_amd64), WEFT_ARCH_ARM64, &boot), -ENOTSUP);
	memcpy(linux_arm64 + 56, "ARM\x64", 4);
	assert_int_equal(check(linux_arm64, sizeof(linux_arm64), WEFT_ARCH_ARM64, &boot), 0);
	assert_int_equal(boot, WEFT_KERNEL_IMAGE);
	memcpy(multiboot + 16, header, sizeof(header));
	assert_int_equal(check(multiboot, sizeof(multiboot), WEFT_ARCH_AMD64, &boot), 0);
	assert_int_equal(boot, WEFT_KERNEL_MULTIBOOT);
	multiboot[24]++; /* checksum */
	assert_int_equal(check(multiboot, sizeof(multiboot), WEFT_ARCH_AMD64, &boot), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(good, setup, teardown),
		cmocka_unit_test_setup_teardown(by_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(cached, setup, teardown),
		cmocka_unit_test_setup_teardown(changed, setup, teardown),
		cmocka_unit_test_setup_teardown(half_written_cache, setup, teardown),
		cmocka_unit_test_setup_teardown(killed_while_replacing, setup, teardown),
		cmocka_unit_test_setup_teardown(bare_kernel, setup, teardown),
		cmocka_unit_test_setup_teardown(freed_while_unpacking, setup, teardown),
		cmocka_unit_test_setup_teardown(missing, setup, teardown),
		cmocka_unit_test_setup_teardown(truncated, setup, teardown),
		cmocka_unit_test_setup_teardown(refused_entries, setup, teardown),
		cmocka_unit_test_setup_teardown(bombs, setup, teardown),
		cmocka_unit_test_setup_teardown(not_a_kernel, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_machine, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_hints, setup, teardown),
		cmocka_unit_test(kernels),
	};
	const char *build = getenv("B");
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/libexec", build ? build : "build");
	if (geteuid() != 0) {
		puts("1..0 # SKIP not root: images are unpacked as another user");
		return 0;
	}
	if (!realpath(path, libexec)) {
		printf("1..0 # SKIP %s: %s\n", path, strerror(errno));
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
