/* SPDX-License-Identifier: Apache-2.0 */
/* Images pulled from a registry into a real containerd: as it should be, and with a registry that
 * is slow, breaks off, lies, redirects, wants to know who asks, or is not there. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "tests/lib/ctrd_lab.h"
#include "tests/lib/image.h"
#include "tests/lib/registry.h"
#include "tests/lib/tls.h"

#define FILLER (700U * 1024)
#define LAYERS 5

static struct test_registry reg, http;
static char settings[128], anonymous[128];
static bool small; /* containerd's disk is */

/* --- set-up --------------------------------------------------------------------------------------
 */

static void add_tag(const char *tag, const struct test_image *how)
{
	_cleanup_(freep) char *path = weft_strf("%s/registry/%s", clab.ctrd.dir, tag);

	assert_int_equal(weft_remove_tree(path), 0);
	assert_int_equal(weft_mkdir_p(path, 0755), 0);
	test_image_write_dir(path, how);
}

static void write_settings(void)
{
	_cleanup_(freep) char *text = weft_strf(
		"{\"auths\": {\"localhost:%u\": {\"username\": \"weft\", \"password\": \"se:cret\"}},"
		"\"registries\": {\"localhost:%u\": {\"ca\": \"%s/ca.pem\"},"
		"\"localhost:%u\": {\"insecure\": true}}}",
		reg.port, reg.port, clab.ctrd.dir, http.port);
	_cleanup_(freep) char *plain =
		weft_strf("{\"registries\": {\"localhost:%u\": {\"ca\": \"%s/ca.pem\"}}}", reg.port,
			clab.ctrd.dir);

	assert_int_equal(weft_write_file(settings, text, strlen(text), 0600), 0);
	assert_int_equal(weft_write_file(anonymous, plain, strlen(plain), 0644), 0);
}

static void use_settings(const char *file)
{
	CLAB_OPS->free_(clab.rt);
	clab.registries = file;
	clab.rt = clab_runtime();
}

static int setup(void **state)
{
	_cleanup_(freep) char *dir = NULL, *init = NULL;

	(void)state;
	if (clab_setup("ctrpull", small ? 6 : 0) < 0)
		return -1;
	dir = weft_strf("%s/registry", clab.ctrd.dir);
	init = weft_strf("%s/init", clab.ctrd.dir);
	test_tls_make(clab.ctrd.dir);
	add_tag("1.0", &(struct test_image){.program = init, .layers = LAYERS, .filler = FILLER});
	add_tag("multi", &(struct test_image){.layers = 2, .other_first = true, .nested = true});
	add_tag("foreign", &(struct test_image){.layers = 1, .arch = "riscv64"});
	add_tag("multi-foreign", &(struct test_image){.layers = 1, .arch = "riscv64"});
	test_registry_start(&reg, dir, clab.ctrd.dir);
	test_registry_start(&http, dir, NULL);
	snprintf(settings, sizeof(settings), "%s/registries.json", clab.ctrd.dir);
	snprintf(anonymous, sizeof(anonymous), "%s/anonymous.json", clab.ctrd.dir);
	write_settings();
	clab.virt = WEFT_VIRT_CONTAINER;
	use_settings(settings);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	test_registry_stop(&reg);
	test_registry_stop(&http);
	return clab_teardown();
}

static int well_behaved(void **state)
{
	(void)state;
	test_registry_reset(&reg);
	test_registry_reset(&http);
	clab.n_progress = 0;
	clab.bytes = clab.total = 0;
	return 0;
}

/* Every image goes, and with it all of its content, layers and leases. */
static int nothing_left(void **state)
{
	_cleanup_(freep) char *names = test_ctrd_run(&clab.ctrd, "images ls -q");
	char *save = NULL;

	(void)state;
	for (char *n = strtok_r(names, "\n", &save); n; n = strtok_r(NULL, "\n", &save)) {
		_cleanup_(freep) char *rm = weft_strf("images rm --sync %s", n);

		free(test_ctrd_run(&clab.ctrd, rm));
	}
	clab_assert_clean(0);
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "content ls -q"), 0);
	return 0;
}

/* --- calls ---------------------------------------------------------------------------------------
 */

static char *image(const char *tag)
{
	static char text[128];

	snprintf(text, sizeof(text), "localhost:%u/test/image:%s", reg.port, tag);
	return text;
}

static void pull(const char *name, int want)
{
	clab_expect(CLAB_OPS->prepare(
			    clab.rt, name, weft_arch_host(), clab_on_prepared, NULL, &clab.err),
		want);
}

static void expect_bad(const char *name, int want, const char *part)
{
	pull(name, want);
	print_message("# %s (%s)\n", clab.err.msg, clab.err.hint);
	if (!strstr(clab.err.msg, part))
		fail_msg("no '%s' in: %s", part, clab.err.msg);
	assert_non_null(strstr(clab.err.msg, name));
}

static void assert_whole(unsigned blobs)
{
	_cleanup_(freep) char *check = test_ctrd_run(&clab.ctrd, "images check");
	_cleanup_(freep) char *want = weft_strf("complete (%u/%u)", blobs, blobs);
	const char *first = strstr(check, want);

	/* by digest, and by name */
	if (!first || !strstr(first + 1, want))
		fail_msg("%s", check);
	assert_null(strstr(check, "incomplete"));
}

/* --- as it should be -----------------------------------------------------------------------------
 */

static void test_pull(void **state)
{
	_cleanup_(freep) char *name = strdup(image("1.0")), *digest = NULL;
	uint64_t begin = weft_now_ns();

	(void)state;
	pull(name, 0);
	print_message("# %.1f MB in %.0f ms, progress told %u times\n", (double)clab.size / 1e6,
		(double)(weft_now_ns() - begin) / 1e6, clab.n_progress);
	assert_true(clab.size > (LAYERS - 1) * FILLER);
	assert_true(clab.n_progress > 0 && clab.bytes == clab.total && clab.total > FILLER);
	assert_int_equal(strncmp(clab.prepared, "weft.local/image@sha256:", 24), 0);
	assert_whole(LAYERS + 1);
	assert_int_equal(reg.c->blobs, LAYERS + 1);

	snprintf(clab.ref, sizeof(clab.ref), "%s", clab.prepared);
	clab_run(clab_spec("test.pulled", NULL));
	clab_wait_log("test.pulled", "serve uid=0");
	clab_delete("test.pulled");

	/* again: one question, and by digest none */
	test_registry_reset(&reg);
	pull(name, 0);
	assert_string_equal(clab.prepared, clab.ref);
	assert_int_equal(reg.c->requests, 1);
	digest = weft_strf("localhost:%u/test/image@%s", reg.port, strchr(clab.ref, '@') + 1);
	pull(digest, 0);
	assert_string_equal(clab.prepared, clab.ref);
	test_registry_reset(&reg);
	pull(digest, 0);
	assert_int_equal(reg.c->requests, 0);
}

static void test_index(void **state)
{
	(void)state;
	pull(image("multi"), 0);
	assert_whole(3);
	expect_bad(image("foreign"), -ENOTSUP, "riscv64");
	expect_bad(image("multi-foreign"), -ENOTSUP, "nothing for linux/");
	expect_bad(image("none"), -ENOENT, "has no manifests/none");
}

/* A tag moves on. */
static void test_tag_moves(void **state)
{
	_cleanup_(freep) char *first = NULL;

	(void)state;
	add_tag("moving", &(struct test_image){.layers = 2});
	pull(image("moving"), 0);
	first = strdup(clab.prepared);
	add_tag("moving", &(struct test_image){.layers = 3});
	pull(image("moving"), 0);
	assert_string_not_equal(first, clab.prepared);
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "images ls -q"), 3);
}

static unsigned count_threads(void)
{
	_cleanup_(closedirp) DIR *dir = opendir("/proc/self/task");
	const struct dirent *e;
	unsigned n = 0;

	while (dir && (e = readdir(dir)))
		n += e->d_name[0] != '.';
	return n;
}

static void test_several_at_a_time(void **state)
{
	(void)state;
	reg.c->pace_us = 20000;
	pull(image("1.0"), 0);
	print_message("# at most %u at once\n", reg.c->most_at_once);
	assert_int_equal(reg.c->most_at_once, 3);
	assert_true(clab.n_progress > 2);
	/* nobody was asked in a thread */
	assert_int_equal(count_threads(), 1);
}

/* --- who asks ------------------------------------------------------------------------------------
 */

static void test_passwords(void **state)
{
	(void)state;
	reg.c->auth = REGISTRY_BASIC;
	pull(image("multi"), 0);
	assert_string_equal(reg.c->authorization, "Basic");
	nothing_left(NULL);

	reg.c->auth = REGISTRY_BEARER;
	pull(image("multi"), 0);
	assert_string_equal(reg.c->authorization, "Bearer");
	assert_int_equal(reg.c->tokens, 1);
	assert_string_equal(reg.c->scope, "test registry|repository:test/image:pull");
	nothing_left(NULL);

	/* a token that is soon used up; a token server with a bad day */
	reg.c->token_uses = 4;
	reg.c->fail_tokens = 1;
	pull(image("1.0"), 0);
	print_message("# %u tokens\n", reg.c->tokens);
	assert_true(reg.c->tokens > 2);
}

static void test_wrong_password(void **state)
{
	(void)state;
	use_settings(anonymous);
	reg.c->auth = REGISTRY_BASIC;
	expect_bad(image("1.0"), -EACCES, "does not give it to anybody");
	reg.c->auth = REGISTRY_BEARER;
	expect_bad(image("1.0"), -EACCES, "does not give it to anybody");
	use_settings(settings);
	reg.c->no_token = true;
	expect_bad(image("1.0"), -EBADMSG, "no token");
	reg.c->no_token = false;
	reg.c->fail = 1;
	reg.c->fail_status = 403;
	expect_bad(image("1.0"), -EACCES, "does not give it to weft");
}

/* --- redirects -----------------------------------------------------------------------------------
 */

static void test_redirects(void **state)
{
	(void)state;
	reg.c->redirect = REGISTRY_TO_STORE;
	reg.c->auth = REGISTRY_BEARER;
	reg.c->cuts = 2;
	pull(image("1.0"), 0);
	assert_true(reg.c->ranges >= 2);
	assert_string_equal(reg.c->stray, ""); /* who we are was told to nobody else */
	nothing_left(NULL);
	reg.c->redirect = REGISTRY_IN_CIRCLES;
	expect_bad(image("1.0"), -EPROTO, "redirects too often");
	reg.c->redirect = REGISTRY_TO_HTTP;
	expect_bad(image("1.0"), -EPROTO, "is not https");
	reg.c->redirect = REGISTRY_TO_NOWHERE;
	expect_bad(image("1.0"), -EPROTO, "redirects to nowhere");
}

/* --- breaking off --------------------------------------------------------------------------------
 */

static void test_goes_on(void **state)
{
	(void)state;
	for (int early = 0; early < 2; early++) {
		test_registry_reset(&reg);
		reg.c->cuts = 6;
		reg.c->ends_early = early;
		pull(image("1.0"), 0);
		print_message("# %u ranges, %.1f of %.1f MB sent\n", reg.c->ranges,
			(double)reg.c->sent / 1e6, (double)clab.size / 1e6);
		assert_true(reg.c->ranges >= 6);
		assert_true(reg.c->sent < clab.size + 600000); /* what was on its way */
		assert_whole(LAYERS + 1);
		nothing_left(NULL);
	}
	test_registry_reset(&reg);
	reg.c->cuts = 3;
	reg.c->ignore_range = true;
	pull(image("1.0"), 0);
	assert_whole(LAYERS + 1);
	nothing_left(NULL);
	test_registry_reset(&reg);
	reg.c->cuts = 1;
	reg.c->wrong_range = true;
	expect_bad(image("1.0"), -EBADMSG, "sent another part");
}

static void test_busy_registry(void **state)
{
	(void)state;
	reg.c->fail = 3;
	reg.c->fail_status = 503;
	pull(image("multi"), 0);
	nothing_left(NULL);
	reg.c->fail = 1;
	reg.c->fail_status = 429;
	reg.c->retry_after = 1;
	pull(image("multi"), 0);
	nothing_left(NULL);
	reg.c->fail = 1;
	reg.c->retry_after = 3000;
	expect_bad(image("multi"), -EAGAIN, "asked too often");
	reg.c->fail = 1;
	reg.c->fail_status = 418;
	expect_bad(image("multi"), -EIO, "says HTTP 418");
	reg.c->fail = 1000;
	reg.c->retry_after = 0;
	reg.c->fail_status = 500;
	expect_bad(image("multi"), -EIO, "says HTTP 500");
}

/* The daemon ends in the middle; the next one has only the rest sent. */
static void test_next_daemon_goes_on(void **state)
{
	uint64_t before;

	(void)state;
	reg.c->pace_us = 30000;
	assert_int_equal(CLAB_OPS->prepare(clab.rt, image("1.0"), weft_arch_host(),
				 clab_on_prepared, NULL, &clab.err),
		0);
	clab_wait_for(clab.bytes > FILLER && clab.bytes < clab.total);
	CLAB_OPS->free_(clab.rt);
	clab.rt = clab_runtime();
	assert_false(clab.answered);
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "leases ls -q"), 1);
	before = reg.c->sent;
	reg.c->pace_us = 0;
	pull(image("1.0"), 0);
	print_message("# %.2f MB, then %.2f MB\n", (double)before / 1e6,
		(double)(reg.c->sent - before) / 1e6);
	assert_true(reg.c->sent - before < clab.size - FILLER / 2);
	assert_whole(LAYERS + 1);
}

/* --- lies ----------------------------------------------------------------------------------------
 */

static void test_lies(void **state)
{
	(void)state;
	reg.c->wrong_layer = true;
	expect_bad(image("1.0"), -EBADMSG, "does not match its digest");
	reg.c->wrong_layer = false;
	reg.c->too_long = true;
	expect_bad(image("1.0"), -EBADMSG, "more than it should");
	reg.c->too_long = false;
	reg.c->wrong_text = true;
	expect_bad(image("multi"), -EBADMSG, "has the digest");
	reg.c->wrong_text = false;
	reg.c->endless_text = true;
	expect_bad(image("1.0"), -EBADMSG, "more than it should");
	reg.c->endless_text = false;
	/* nothing of all that is gone on from */
	pull(image("1.0"), 0);
	assert_whole(LAYERS + 1);
}

/* --- not there -----------------------------------------------------------------------------------
 */

static void test_away(void **state)
{
	_cleanup_(freep) char *name = weft_strf("localhost:%u/test/image:1.0", http.port);
	struct test_registry gone;
	_cleanup_(freep) char *dir = weft_strf("%s/registry", clab.ctrd.dir);

	(void)state;
	pull(name, 0);
	snprintf(clab.ref, sizeof(clab.ref), "%s", clab.prepared);
	gone = http;
	test_registry_stop(&gone);
	http.pid = 0;
	/* what the tag meant last is here */
	pull(name, 0);
	assert_string_equal(clab.prepared, clab.ref);
	free(name);
	name = weft_strf("localhost:%u/test/image:other", http.port);
	expect_bad(name, -ECONNREFUSED, "localhost");
	free(name);
	name = strdup("no-such-registry.invalid/test/image:1.0");
	expect_bad(name, -EHOSTUNREACH, "no such host");
	test_registry_start(&http, dir, NULL);
	write_settings();
}

static void test_transport_is_safe(void **state)
{
	_cleanup_(freep) char *plain = weft_strf("localhost:%u/test/image:1.0", http.port);

	(void)state;
	use_settings(NULL); /* neither the CA is known nor is HTTP allowed */
	expect_bad(image("1.0"), -EPROTO, "certificate");
	assert_non_null(strstr(clab.err.hint, "CA"));
	expect_bad(plain, -EPROTO, "localhost");
	use_settings(settings);
	pull(plain, 0);
	assert_true(http.c->requests > 0);
}

static void test_bad_settings(void **state)
{
	(void)state;
	assert_int_equal(chmod(settings, 0644), 0);
	pull(image("1.0"), -EPERM);
	assert_non_null(strstr(clab.err.msg, "others may read it"));
	assert_int_equal(chmod(settings, 0600), 0);
	assert_int_equal(reg.c->requests, 0);
}

/* --- several -------------------------------------------------------------------------------------
 */

struct waiter {
	unsigned n;
	int r;
};

static void count(void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	struct waiter *w = userdata;

	(void)ref;
	(void)size;
	if (r < 0)
		print_message("# %s\n", err->msg);
	w->n++;
	w->r = w->r < 0 ? w->r : r;
}

static void ask(const char *name, struct waiter *w)
{
	assert_int_equal(
		CLAB_OPS->prepare(clab.rt, name, weft_arch_host(), count, w, &clab.err), 0);
}

/* The same image twice, another one with the same layers, and one from the disk, which does not
 * wait for any of them. */
static void test_at_once(void **state)
{
	_cleanup_(freep) char *init = weft_strf("%s/init", clab.ctrd.dir);
	struct waiter pulls = {}, disk = {};

	(void)state;
	add_tag("cousin", &(struct test_image){.program = init,
				  .layers = LAYERS,
				  .filler = FILLER,
				  .config = "{\"Cmd\":[\"/init\",\"exit\"]}"});
	reg.c->pace_us = 20000;
	ask(image("1.0"), &pulls);
	ask(image("1.0"), &pulls);
	ask(image("cousin"), &pulls);
	ask(clab.image, &disk);
	clab_wait_for(disk.n == 1);
	assert_int_equal(disk.r, 0);
	assert_int_equal(pulls.n, 0);
	reg.c->pace_us = 0;
	clab_wait_for(pulls.n == 3);
	assert_int_equal(pulls.r, 0);
	/* each layer came once */
	assert_true(reg.c->sent < (LAYERS - 1) * FILLER + 2000000);
}

static void test_free_while_it_hangs(void **state)
{
	(void)state;
	reg.c->hang = true;
	ask(image("1.0"), &(struct waiter){});
	clab_wait_for(reg.c->requests > 0);
	CLAB_OPS->free_(clab.rt);
	clab.rt = clab_runtime();
	reg.c->hang = false;
}

static void test_containerd_goes_away(void **state)
{
	struct waiter w = {};

	(void)state;
	reg.c->pace_us = 30000;
	clab.bytes = 0;
	ask(image("1.0"), &w);
	clab_wait_for(clab.bytes > 0);
	test_ctrd_kill(&clab.ctrd);
	clab_wait_for(w.n == 1);
	assert_int_equal(w.r, -ECONNREFUSED);
	assert_int_equal(test_ctrd_start(&clab.ctrd), 0);
	reg.c->pace_us = 0;
	clab_wait_for(test_ctrd_lines(&clab.ctrd, "version") > 0);
	pull(image("1.0"), 0);
	assert_whole(LAYERS + 1);
}

/* --- a full disk ---------------------------------------------------------------------------------
 */

static uint64_t disk_used(void)
{
	struct statvfs s;

	assert_int_equal(statvfs(clab.ctrd.disk, &s), 0);
	return (s.f_blocks - s.f_bfree) * s.f_frsize;
}

/* What could not be done leaves the disk as it was; what fits goes on working. */
static void test_full_disk(void **state)
{
	uint64_t before = disk_used();

	(void)state;
	for (int i = 0; i < 2; i++) {
		pull(image("1.0"), -ENOSPC);
		print_message("# %s\n", clab.err.msg);
		clab_wait_for(disk_used() < before + (1 << 20));
	}
	pull(clab.image, 0);
	snprintf(clab.ref, sizeof(clab.ref), "%s", clab.prepared);
	clab_run(clab_spec("test.small", "serve"));
	clab_wait_log("test.small", "on stderr");
	clab_delete("test.small");
}

static void test_full_disk_while_unpacking(void **state)
{
	_cleanup_(freep) char *path = weft_strf("%s/ballast", clab.ctrd.disk);
	_cleanup_(freep) char *ballast = calloc(1, 3 << 20);
	uint64_t before = disk_used();

	(void)state;
	/* the blobs fit, the layers unpacked do not */
	assert_int_equal(weft_write_file(path, ballast, 3 << 20, 0600), 0);
	add_tag("half", &(struct test_image){.layers = 4, .filler = FILLER, .seed = 7});
	pull(image("half"), -ENOSPC);
	print_message("# %s\n", clab.err.msg);
	unlink(path);
	clab_wait_for(disk_used() < before + (1 << 20));
	pull(image("half"), 0);
	assert_whole(5);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, well_behaved, nothing_left)
	const struct CMUnitTest tests[] = {
		T(test_pull),
		T(test_index),
		T(test_tag_moves),
		T(test_several_at_a_time),
		T(test_passwords),
		T(test_wrong_password),
		T(test_redirects),
		T(test_goes_on),
		T(test_busy_registry),
		T(test_next_daemon_goes_on),
		T(test_lies),
		T(test_away),
		T(test_transport_is_safe),
		T(test_bad_settings),
		T(test_at_once),
		T(test_free_while_it_hangs),
		T(test_containerd_goes_away),
	};
	const struct CMUnitTest on_small_disk[] = {
		T(test_full_disk),
		T(test_full_disk_while_unpacking),
	};
	const char *missing = clab_missing();
	int failed;

	if (missing) {
		printf("1..0 # SKIP %s\n", missing);
		return 0;
	}
	failed = cmocka_run_group_tests(tests, setup, teardown);
	small = true;
	return failed + cmocka_run_group_tests(on_small_disk, setup, teardown);
}
