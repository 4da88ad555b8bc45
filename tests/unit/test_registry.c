/* SPDX-License-Identifier: Apache-2.0 */
/* What is read of registries: references, challenges, headers, tokens, and the file of settings. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "runtimes/registry/challenge.h"
#include "runtimes/registry/registry.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/weft-test-registry-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return weft_remove_tree(dir);
}

/* --- references ----------------------------------------------------------------------------------
 */

static void good(const char *text, const char *api, const char *full)
{
	char formatted[WEFT_REFERENCE_TEXT];
	struct weft_reference ref;
	struct weft_err err = {};

	if (weft_reference_parse(text, &ref, &err) < 0)
		fail_msg("%s: %s", text, err.msg);
	weft_reference_format(&ref, formatted);
	assert_string_equal(formatted, full);
	assert_string_equal(ref.api, api);
}

static void test_references(void **state)
{
	static const char *const bad[] = {"nginx", "nginx:1.25", "library/nginx", "image.tar", "",
		"/srv/x.tar", "docker.io/", "docker.io/Nginx", "docker.io/a//b",
		"docker.io/a:", "docker.io/a:b:c", "docker.io/a@sha256:12",
		"docker.io/a@md5:" HEX64, "a.b:0/x", "a.b:65536/x", "a.b:x/y", "docker://a/b",
		"https://a.b/c", "-a.b/c", "a.b-/c", "a_b.c/d", "[::1/x", "[zz]/x", "[]:5/x",
		"a.b/c/", "a.b/-c", "a.b/c-", "a.b/c___d", "a.b/c:-x", "a.b/c d", "a.b/..",
		"a.b/../c", "a.b/c@", "a.b/@sha256:" HEX64};
	char longest[400];
	struct weft_reference ref;

	(void)state;
	good("docker.io/library/nginx:1.25", "registry-1.docker.io",
		"docker.io/library/nginx:1.25");
	good("docker.io/nginx", "registry-1.docker.io", "docker.io/library/nginx:latest");
	good("index.docker.io/a/b:c", "registry-1.docker.io", "docker.io/a/b:c");
	good("localhost/x", "localhost", "localhost/x:latest");
	good("host:5000/a-b/c_d/e__f.g:V1.0-x", "host:5000", "host:5000/a-b/c_d/e__f.g:V1.0-x");
	good("[::1]:5000/x", "[::1]:5000", "[::1]:5000/x:latest");
	good("r.example/n:tag@sha256:" HEX64, "r.example", "r.example/n@sha256:" HEX64);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct weft_err err = {};

		if (weft_reference_parse(bad[i], &ref, &err) != -EINVAL)
			fail_msg("%s is taken", bad[i]);
		assert_non_null(strstr(err.msg, bad[i]));
		assert_true(err.hint[0]);
	}
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	memcpy(longest, "r.x/", 4);
	assert_int_equal(weft_reference_parse(longest, &ref, &(struct weft_err){}), -EINVAL);
}

/* --- challenges ----------------------------------------------------------------------------------
 */

static void challenge(const char *text, enum weft_challenge_scheme scheme, const char *realm,
	const char *service, const char *scope)
{
	struct weft_challenge c;

	weft_challenge_parse(text, strlen(text), &c);
	if (c.scheme != scheme || strcmp(c.realm, realm) != 0 || strcmp(c.service, service) != 0 ||
		strcmp(c.scope, scope) != 0)
		fail_msg("%s: %d %s|%s|%s", text, (int)c.scheme, c.realm, c.service, c.scope);
}

static void test_challenges(void **state)
{
	(void)state;
	challenge("Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
		  "scope=\"repository:library/nginx:pull\"",
		WEFT_CHALLENGE_BEARER, "https://auth.docker.io/token", "registry.docker.io",
		"repository:library/nginx:pull");
	challenge("bearer REALM=https://a.b/t , error=\"x\\\"y, z\" ,service = s",
		WEFT_CHALLENGE_BEARER, "https://a.b/t", "s", "");
	challenge("Basic realm=\"r\", Bearer realm=\"https://t\"", WEFT_CHALLENGE_BEARER,
		"https://t", "", "");
	challenge("Bearer realm=\"https://t\", Basic realm=\"r\"", WEFT_CHALLENGE_BEARER,
		"https://t", "", "");
	challenge("Negotiate abc==, Basic realm=\"a, b\"", WEFT_CHALLENGE_BASIC, "a, b", "", "");
	challenge("Basic", WEFT_CHALLENGE_BASIC, "", "", "");
	challenge("Bearer service=\"no realm\"", WEFT_CHALLENGE_NONE, "", "", "");
	challenge("Bearer realm=\"unended", WEFT_CHALLENGE_NONE, "", "", "");
	challenge("Digest realm=\"x\"", WEFT_CHALLENGE_NONE, "", "", "");
	challenge("", WEFT_CHALLENGE_NONE, "", "", "");
	challenge("=,=,\"", WEFT_CHALLENGE_NONE, "", "", "");
}

/* --- headers, addresses, tokens ------------------------------------------------------------------
 */

static void feed(struct weft_http_head *head, const char *line)
{
	weft_http_head_line(head, line, strlen(line));
}

static void test_headers(void **state)
{
	struct weft_http_head h = {.retry_after_s = 9};

	(void)state;
	feed(&h, "HTTP/1.1 206 Partial Content\r\n");
	assert_int_equal(h.status, 206);
	assert_int_equal(h.retry_after_s, 0);
	assert_true(h.length == UINT64_MAX && h.range_start == UINT64_MAX);
	feed(&h, "CONTENT-LENGTH:  42 \r\n");
	feed(&h, "Content-Range: bytes 100-141/142\r\n");
	feed(&h, "Content-Type: a/b; charset=x\r\n");
	feed(&h, "WWW-Authenticate: Basic\r\n");
	feed(&h, "www-authenticate: Bearer realm=\"x\"\r\n");
	feed(&h, "Retry-After: 7\r\n");
	assert_int_equal(h.length, 42);
	assert_int_equal(h.range_start, 100);
	assert_int_equal(h.range_of, 142);
	assert_string_equal(h.content_type, "a/b; charset=x");
	assert_string_equal(h.authenticate, "Basic, Bearer realm=\"x\"");
	assert_int_equal(h.retry_after_s, 7);
	feed(&h, "HTTP/1.1 200\r\n");
	feed(&h, "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n");
	feed(&h, "Content-Length: 1x\r\n");
	feed(&h, "Content-Range: bytes */5\r\n");
	feed(&h, "Content-Range: lines 3-4/5\r\n");
	feed(&h, "X: y\r\n");
	assert_int_equal(h.retry_after_s, 0);
	assert_true(h.length == UINT64_MAX && h.range_start == UINT64_MAX && !h.content_type[0]);
}

static void test_addresses(void **state)
{
	char list[64];

	(void)state;
	assert_int_equal(weft_resolve_parse("192.0.2.1      STREAM host\n192.0.2.1 DGRAM  \n"
					    "2001:db8::1 STREAM\n192.0.2.11 STREAM",
				 list, sizeof(list)),
		0);
	assert_string_equal(list, "192.0.2.1,[2001:db8::1],192.0.2.11");
	assert_int_equal(weft_resolve_parse("", list, sizeof(list)), -ENOENT);
	assert_int_equal(weft_resolve_parse("nonsense\n\n  x", list, sizeof(list)), -ENOENT);
	assert_true(weft_resolve_is_address("127.0.0.1") && weft_resolve_is_address("[::1]"));
	assert_false(weft_resolve_is_address("localhost") || weft_resolve_is_address("1.2.3"));
}

static void token(const char *text, const char *want)
{
	char *t = weft_registry_token(text, strlen(text));

	if (want)
		assert_string_equal(t ? t : "", want);
	else
		assert_null(t);
	free(t);
}

static void test_tokens(void **state)
{
	(void)state;
	token("{\"token\": \"a.b-c\"}", "a.b-c");
	token("{\"token\": \"\", \"access_token\": \"x\"}", "x");
	token("{\"token\": \"a\\r\\nX-Evil: 1\"}", NULL);
	token("{\"token\": 5}", NULL);
	token("[]", NULL);
	token("", NULL);
}

/* --- settings ------------------------------------------------------------------------------------
 */

static int load(
	const char *text, const char *image, struct weft_registry_settings *s, struct weft_err *err)
{
	struct weft_reference ref;

	assert_int_equal(weft_reference_parse(image, &ref, err), 0);
	return weft_registry_settings_parse("f", text, strlen(text), &ref, s, err);
}

static void test_settings(void **state)
{
	static const char text[] =
		"{\"auths\": {\"https://index.docker.io/v1/\": {\"auth\": \"d2VmdDpzZTpjcmV0\"},"
		"\"r.example:5000\": {\"username\": \"u\", \"password\": \"p\"}, \"other\": 5},"
		"\"credHelpers\": {}, \"registries\": {\"r.example:5000\": {\"insecure\": true,"
		"\"ca\": \"/etc/passwd\"}}}";
	struct weft_registry_settings s = {};
	struct weft_err err = {};

	(void)state;
	assert_int_equal(load(text, "docker.io/nginx", &s, &err), 0);
	assert_string_equal(s.user, "weft");
	assert_string_equal(s.password, "se:cret");
	assert_false(s.insecure || s.ca);
	weft_registry_settings_done(&s);
	assert_int_equal(load(text, "r.example:5000/x", &s, &err), 0);
	assert_string_equal(s.user, "u");
	assert_string_equal(s.ca, "/etc/passwd");
	assert_true(s.insecure);
	weft_registry_settings_done(&s);
	assert_int_equal(load(text, "r.example/x", &s, &err), 0);
	assert_null(s.user);
}

static void test_bad_settings(void **state)
{
	static const struct {
		const char *text, *want;
	} bad[] = {
		{"{", "f:1:1: "},
		{"[]", "must be a JSON object"},
		{"{\"auths\": {\"r.x\": 5}}", "auths: \"r.x\": must be an object"},
		{"{\"auths\": {\"r.x\": {\"auth\": \"!!!!\"}}}", "base64"},
		{"{\"auths\": {\"r.x\": {\"auth\": \"d2VmdA==\"}}}", "base64 of USER:PASSWORD"},
		{"{\"auths\": {\"r.x\": {\"username\": \"u\"}}}", "needs username and password"},
		{"{\"auths\": {\"r.x\": {\"username\": 5, \"password\": \"\"}}}", "strings"},
		{"{\"registries\": {\"r.x\": {\"insecur\": true}}}", "not understood"},
		{"{\"registries\": {\"r.x\": {\"insecure\": \"yes\"}}}", "not understood"},
		{"{\"registries\": {\"r.x\": {\"ca\": \"/no/such.pem\"}}}",
			"ca /no/such.pem: No such"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct weft_registry_settings s = {};
		struct weft_err err = {};

		assert_true(load(bad[i].text, "r.x/y", &s, &err) < 0);
		if (!strstr(err.msg, bad[i].want))
			fail_msg("%s: %s", bad[i].text, err.msg);
		assert_true(!s.user && !s.password && !s.ca);
	}
}

static void test_settings_file(void **state)
{
	_cleanup_(freep) char *path = weft_strf("%s/registries.json", dir);
	static const char text[] = "{\"auths\": {\"r.x\": {\"auth\": \"YTpi\"}}}";
	struct weft_registry_settings s = {};
	struct weft_reference ref, other;
	struct weft_err err = {};

	(void)state;
	assert_int_equal(weft_reference_parse("r.x/y", &ref, &err), 0);
	assert_int_equal(weft_reference_parse("r.z/y", &other, &err), 0);
	assert_int_equal(weft_registry_settings_load(path, &ref, &s, &err), 0);
	assert_int_equal(weft_registry_settings_load(NULL, &ref, &s, &err), 0);
	assert_null(s.user);
	assert_int_equal(weft_write_file(path, text, strlen(text), 0644), 0);
	assert_int_equal(weft_registry_settings_load(path, &ref, &s, &err), -EPERM);
	assert_non_null(strstr(err.hint, "chmod 600"));
	assert_null(s.password);
	assert_int_equal(weft_registry_settings_load(path, &other, &s, &err), 0);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(weft_registry_settings_load(path, &ref, &s, &err), 0);
	assert_string_equal(s.password, "b");
	weft_registry_settings_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_challenges),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_bad_settings),
		cmocka_unit_test(test_settings_file),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
