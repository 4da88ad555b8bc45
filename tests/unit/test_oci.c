/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/image/oci.h"
#include "runtimes/image/oci_job.h"
#include "tests/lib/image.h"

static char dir[64];
static char path[96];

static const enum weft_arch amd64 = WEFT_ARCH_AMD64;

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/weft-test-oci-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/image.tar", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return weft_remove_tree(dir);
}

static struct weft_oci_image *inspect_ok(const char *where)
{
	struct weft_oci_image *image = NULL;
	struct weft_err err = {};

	if (weft_oci_inspect(where, amd64, &image, &err) < 0)
		fail_msg("%s (%s)", err.msg, err.hint);
	return image;
}

static void inspect_fails(int code, const char *says)
{
	struct weft_oci_image *untouched = (void *)dir, *image = untouched;
	struct weft_err err = {};

	assert_int_equal(weft_oci_inspect(path, amd64, &image, &err), code);
	assert_ptr_equal(image, untouched);
	if (!strstr(err.msg, says) || !strstr(err.msg, path) || !err.hint[0])
		fail_msg("%s (%s)", err.msg, err.hint);
}

static int open_out(void)
{
	char out[96];

	snprintf(out, sizeof(out), "%s/out", dir);
	weft_remove_tree(out);
	assert_int_equal(mkdir(out, 0700), 0);
	return open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void extract_ok(const char *where, const struct weft_oci_image *image)
{
	_cleanup_(closep) int out = open_out();
	struct weft_err err = {};
	struct stat st;

	if (weft_oci_extract(where, image, out, &err) < 0)
		fail_msg("%s (%s)", err.msg, err.hint);
	for (unsigned i = 0; i < image->n_layers; i++) {
		assert_int_equal(fstatat(out, WEFT_OCI_HEX(image->layers[i].digest), &st, 0), 0);
		assert_int_equal(st.st_size, image->layers[i].size);
	}
	assert_int_equal(faccessat(out, WEFT_OCI_HEX(image->manifest.digest), R_OK, 0), 0);
	assert_int_equal(faccessat(out, WEFT_OCI_HEX(image->config.digest), R_OK, 0), 0);
}

/* --- whole images --------------------------------------------------------------------------------
 */

static void test_archives(void **state)
{
	const struct test_image how[] = {
		{.arch = "amd64"},
		{.arch = "amd64", .blobs_first = true},
		{.arch = "amd64", .layers = 7, .compress = true},
		{.arch = "amd64", .no_platform = true},
		{.arch = "amd64", .other_first = true},
		{.arch = "amd64", .other_first = true, .no_platform = true},
		{.arch = "amd64", .nested = true, .other_first = true, .layers = 2},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
		_cleanup_(weft_oci_image_freep) struct weft_oci_image *image = NULL;

		test_image_write(path, &how[i]);
		image = inspect_ok(path);
		assert_int_equal(image->n_layers, how[i].layers ? how[i].layers : 1);
		assert_string_equal(image->process.args[0], "/init");
		extract_ok(path, image);
	}
}

static void test_directory(void **state)
{
	_cleanup_(weft_oci_image_freep) struct weft_oci_image *image = NULL, *same = NULL;
	const struct test_image how = {.arch = "amd64", .layers = 3};
	char layout[96];

	(void)state;
	snprintf(layout, sizeof(layout), "%s/layout", dir);
	test_image_write_dir(layout, &how);
	image = inspect_ok(layout);
	extract_ok(layout, image);
	test_image_write(path, &how);
	same = inspect_ok(path);
	assert_string_equal(image->manifest.digest, same->manifest.digest);
	assert_string_equal(image->chain_id, same->chain_id);
}

static void test_process(void **state)
{
	_cleanup_(weft_oci_image_freep) struct weft_oci_image *image = NULL;

	(void)state;
	test_image_write(path,
		&(struct test_image){.arch = "amd64",
			.config = "{\"Entrypoint\":[\"/init\",\"-x\"],\"Cmd\":[\"serve\"],"
				  "\"Env\":[\"A=1\"],\"User\":\"web:www\",\"WorkingDir\":\"/srv\","
				  "\"StopSignal\":\"SIGQUIT\"}"});
	image = inspect_ok(path);
	assert_string_equal(image->process.args[0], "/init");
	assert_string_equal(image->process.args[1], "-x");
	assert_string_equal(image->process.args[2], "serve");
	assert_null(image->process.args[3]);
	assert_string_equal(image->process.env[0], "A=1");
	assert_string_equal(image->process.user, "web:www");
	assert_string_equal(image->process.cwd, "/srv");
	assert_int_equal(image->process.stop_signal, SIGQUIT);
	weft_oci_image_free(TAKE_PTR(image));

	test_image_write(path, &(struct test_image){.arch = "amd64", .config = "{}"});
	image = inspect_ok(path);
	assert_null(image->process.args[0]);
	assert_string_equal(image->process.user, "");
	assert_string_equal(image->process.cwd, "/");
	assert_int_equal(image->process.stop_signal, SIGTERM);
}

/* By the rule of the specification: sha256 of "chain diff", checked with sha256sum. */
static void test_chain_id(void **state)
{
	char ids[2][WEFT_OCI_DIGEST] = {
		"sha256:0000000000000000000000000000000000000000000000000000000000000000",
		"sha256:1111111111111111111111111111111111111111111111111111111111111111"};
	const struct weft_oci_image image = {.n_layers = 2, .diff_ids = ids};
	char chain[WEFT_OCI_DIGEST], want[WEFT_OCI_DIGEST];
	FILE *p;

	(void)state;
	assert_int_equal(weft_oci_chain_id(&image, 1, chain), 0);
	assert_string_equal(chain, ids[0]);
	assert_int_equal(weft_oci_chain_id(&image, 2, chain), 0);
	p = popen(
		"printf 'sha256:%064d sha256:%s' 0 $(printf '%064d' 0 | tr 0 1) | sha256sum", "re");
	assert_non_null(p);
	strcpy(want, "sha256:");
	assert_int_equal(fread(want + 7, 1, 64, p), 64);
	want[71] = '\0';
	pclose(p);
	assert_string_equal(chain, want);
	assert_int_equal(weft_oci_chain_id(&image, 0, chain), -EINVAL);
	assert_int_equal(weft_oci_chain_id(&image, 3, chain), -EINVAL);
}

/* --- images with something wrong -----------------------------------------------------------------
 */

static void write_text(const char *text)
{
	assert_int_equal(weft_write_file(path, text, strlen(text), 0644), 0);
}

static void test_not_images(void **state)
{
	char cmd[256];

	(void)state;
	unlink(path);
	inspect_fails(-ENOENT, "No such file");
	write_text("just a text\n");
	inspect_fails(-EBADMSG, "not an OCI image");
	write_text("");
	inspect_fails(-EBADMSG, "not an OCI image");
	snprintf(cmd, sizeof(cmd), "tar -C /etc -cf %s passwd group", path);
	assert_int_equal(system(cmd), 0);
	inspect_fails(-EBADMSG, "no index.json");
	snprintf(cmd, sizeof(cmd), "cd %s && echo '[]' >manifest.json && tar -cf %s manifest.json",
		dir, path);
	assert_int_equal(system(cmd), 0);
	inspect_fails(-EBADMSG, "no index.json");
	snprintf(cmd, sizeof(cmd),
		"cd %s && echo '{\"manifests\":[]}' >index.json && tar -cf %s index.json", dir,
		path);
	assert_int_equal(system(cmd), 0);
	inspect_fails(-EBADMSG, "nothing for linux/amd64");
}

static void test_other_architecture(void **state)
{
	(void)state;
	test_image_write(path, &(struct test_image){.arch = "arm64"});
	inspect_fails(-ENOTSUP, "only for arm64");
	test_image_write(path, &(struct test_image){.arch = "s390x", .no_platform = true});
	inspect_fails(-ENOTSUP, "linux/s390x");
}

/* Cut at every point: never a crash, never a success of both steps. */
static void truncated(const struct test_image *how, size_t step)
{
	_cleanup_(weft_oci_image_freep) struct weft_oci_image *whole = NULL;
	_cleanup_(freep) char *data = NULL;
	size_t size, end;

	test_image_write(path, how);
	whole = inspect_ok(path);
	assert_int_equal(weft_read_file(path, 1 << 24, &data, &size), 0);
	/* Behind the last entry there is only padding, which nobody misses. */
	end = size - (how->compress ? 64 : 1024 + 512);
	for (size_t cut = 1; cut < end; cut += step) {
		_cleanup_(weft_oci_image_freep) struct weft_oci_image *image = NULL;
		_cleanup_(closep) int out = -1;
		struct weft_err err = {};
		int r;

		assert_int_equal(weft_write_file(path, data, cut, 0644), 0);
		r = weft_oci_inspect(path, amd64, &image, &err);
		if (r == 0) {
			out = open_out();
			r = weft_oci_extract(path, image, out, &err);
		}
		if (r != -EBADMSG || !strstr(err.msg, path))
			fail_msg("cut at %zu of %zu: %d %s", cut, size, r, err.msg);
	}
}

static void test_truncated(void **state)
{
	(void)state;
	truncated(&(struct test_image){.arch = "amd64", .layers = 2}, 509);
	truncated(&(struct test_image){.arch = "amd64", .blobs_first = true}, 509);
	truncated(&(struct test_image){.arch = "amd64", .compress = true}, 7);
}

static void test_digests(void **state)
{
	_cleanup_(weft_oci_image_freep) struct weft_oci_image *image = NULL;
	_cleanup_(closep) int out = open_out();
	struct weft_err err = {};

	(void)state;
	test_image_write(path, &(struct test_image){.arch = "amd64", .wrong_layer = true});
	image = inspect_ok(path);
	assert_int_equal(weft_oci_extract(path, image, out, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "damaged"));
	test_image_write(path, &(struct test_image){.arch = "amd64", .missing_layer = true});
	inspect_fails(-EBADMSG, "is missing");
}

static void test_changed_config(void **state)
{
	_cleanup_(freep) char *data = NULL;
	size_t size;
	char *at;

	(void)state;
	test_image_write(path, &(struct test_image){.arch = "amd64"});
	assert_int_equal(weft_read_file(path, 1 << 24, &data, &size), 0);
	at = memmem(data, size, "/init\"", 6);
	assert_non_null(at);
	at[1] = 'x';
	assert_int_equal(weft_write_file(path, data, size, 0644), 0);
	inspect_fails(-EBADMSG, "does not match its digest");
}

static void parse_fails(const char *manifest, const char *says)
{
	struct weft_oci_image *image = NULL;
	struct weft_err err = {};

	assert_int_equal(weft_oci_image_parse("image X", NULL, manifest, strlen(manifest), "{}", 2,
				 amd64, &image, &err),
		-EBADMSG);
	if (!strstr(err.msg, says))
		fail_msg("%s", err.msg);
}

static void test_manifests(void **state)
{
#define D                      \
	"\"digest\":\"sha256:" \
	"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\""
	(void)state;
	parse_fails("", "not JSON");
	parse_fails("[]", "no JSON object");
	parse_fails("{}", "schema version");
	parse_fails("{\"schemaVersion\":1}", "schema version");
	parse_fails("{\"schemaVersion\":2,\"mediaType\":\"text/plain\"}", "media type");
	parse_fails("{\"schemaVersion\":2}", "no configuration");
	parse_fails("{\"schemaVersion\":2,\"config\":{" D ",\"size\":-1}}", "no configuration");
	parse_fails("{\"schemaVersion\":2,\"config\":{\"digest\":\"sha256:../../etc\",\"size\":2}}",
		"no configuration");
	parse_fails("{\"schemaVersion\":2,\"config\":{" D ",\"size\":2}}", "no layers");
	parse_fails("{\"schemaVersion\":2,\"config\":{" D ",\"size\":2},\"layers\":[{}]}",
		"malformed layer");
	parse_fails("{\"schemaVersion\":2,\"config\":{" D ",\"size\":2},\"layers\":[{" D
		    ",\"size\":60000000000},{" D ",\"size\":60000000000}]}",
		"too large");
	assert_false(weft_oci_digest_valid(NULL));
	assert_false(weft_oci_digest_valid("sha512:00"));
	assert_false(weft_oci_digest_valid("sha256:44136FA355B3678A1146AD16F7E8649E94FB4FC21FE77E8"
					   "310C060F61CAAFF8A"));
}

/* --- in a child ----------------------------------------------------------------------------------
 */

struct answer {
	bool come;
	int r;
	struct weft_err err;
	struct weft_oci_image *image;
};

static void on_answer(
	void *userdata, int r, const struct weft_err *err, struct weft_oci_image *image)
{
	struct answer *a = userdata;

	a->come = true;
	a->r = r;
	a->err = *err;
	a->image = image;
}

static void wait_for(sd_event *loop, struct answer *a)
{
	uint64_t end = weft_now_ns() + 20000000000ULL;

	while (!a->come && weft_now_ns() < end)
		assert_true(sd_event_run(loop, 100000) >= 0);
	assert_true(a->come);
	a->come = false;
}

static void test_job(void **state)
{
	_cleanup_(weft_oci_image_freep) struct weft_oci_image *image = NULL, *direct = NULL;
	_cleanup_(sd_event_unrefp) sd_event *loop = NULL;
	struct weft_oci_job *job = NULL;
	struct answer a = {};
	char out[96];

	(void)state;
	assert_true(sd_event_new(&loop) >= 0);
	test_image_write(path, &(struct test_image){.arch = "amd64", .layers = 3});
	direct = inspect_ok(path);
	assert_int_equal(weft_oci_job_inspect(loop, path, amd64, on_answer, &a, &job), 0);
	wait_for(loop, &a);
	weft_oci_job_free(job);
	assert_int_equal(a.r, 0);
	image = a.image;
	assert_string_equal(image->manifest.digest, direct->manifest.digest);
	assert_string_equal(image->chain_id, direct->chain_id);

	close(open_out());
	snprintf(out, sizeof(out), "%s/out", dir);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(weft_oci_job_extract(loop, path, image, out, on_answer, &a, &job), 0);
	wait_for(loop, &a);
	weft_oci_job_free(job);
	if (a.r < 0)
		fail_msg("%s", a.err.msg);
	assert_null(a.image);
	/* Who has unpacked it is nobody, though the image is root's alone. */
	for (unsigned i = 0; geteuid() == 0 && i < image->n_layers; i++) {
		_cleanup_(freep) char *blob =
			weft_strf("%s/%s", out, WEFT_OCI_HEX(image->layers[i].digest));
		struct stat st;

		assert_int_equal(stat(blob, &st), 0);
		assert_int_equal(st.st_uid, 65534);
		assert_int_equal(st.st_gid, 65534);
	}

	write_text("nothing");
	assert_int_equal(weft_oci_job_inspect(loop, path, amd64, on_answer, &a, &job), 0);
	wait_for(loop, &a);
	weft_oci_job_free(job);
	assert_int_equal(a.r, -EBADMSG);
	assert_non_null(strstr(a.err.msg, path));
	assert_true(a.err.hint[0]);

	assert_int_equal(weft_oci_job_inspect(loop, path, amd64, on_answer, &a, &job), 0);
	weft_oci_job_free(job);
	sd_event_run(loop, 10000);
	assert_false(a.come);
}

static void test_answers(void **state)
{
	static const char *const bad[] = {"", "[]", "{}", "{\"image\":{}}", "{\"error\":{}}",
		"{\"error\":{\"code\":0,\"msg\":\"\",\"hint\":\"\"}}",
		"{\"error\":{\"code\":-5,\"msg\":\"\",\"hint\":\"\"}}",
		"{\"image\":{\"type\":1,\"manifest\":\"\",\"config\":\"\"}}"};
	struct weft_oci_image *image = NULL;
	struct weft_err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(
			weft_oci_answer_parse(bad[i], strlen(bad[i]), "/x", amd64, &image, &err),
			-EPROTO);
	assert_null(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_archives),
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_process),
		cmocka_unit_test(test_chain_id),
		cmocka_unit_test(test_not_images),
		cmocka_unit_test(test_other_architecture),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_changed_config),
		cmocka_unit_test(test_manifests),
		cmocka_unit_test(test_job),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
