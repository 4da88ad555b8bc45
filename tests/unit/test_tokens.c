/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens, their file, and the roles that requests need. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/api/access.h"
#include "ctrl/base/token.h"
#include "ctrl/base/util.h"

#define HASH_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" /* of "abc" */
#define HASH_E   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" /* of "" */

static void test_hash(void **state)
{
	uint8_t hash[WEFT_TOKEN_HASH], back[WEFT_TOKEN_HASH] = {1};
	char hex[WEFT_TOKEN_HEX];

	(void)state;
	assert_int_equal(weft_token_hash("abc", 3, hash), 0);
	weft_token_hex(hash, hex);
	assert_string_equal(hex, HASH_ABC);
	assert_int_equal(weft_token_unhex(hex, back), 0);
	assert_memory_equal(hash, back, sizeof(hash));
	hex[0] = 'B'; /* lower case alone */
	assert_int_equal(weft_token_unhex(hex, back), -EINVAL);
	assert_int_equal(weft_token_unhex("ba78", back), -EINVAL);
	assert_int_equal(weft_token_unhex(HASH_ABC "00", back), -EINVAL);
	assert_memory_equal(hash, back, sizeof(hash));
}

static void test_new(void **state)
{
	char a[WEFT_TOKEN_SIZE], b[WEFT_TOKEN_SIZE];

	(void)state;
	assert_int_equal(weft_token_new(a), 0);
	assert_int_equal(weft_token_new(b), 0);
	assert_int_equal(strlen(a), WEFT_TOKEN_SIZE - 1);
	assert_memory_equal(a, "weft_", 5);
	assert_int_equal(strspn(a + 5, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				       "0123456789-_"),
		43);
	assert_string_not_equal(a, b);
}

static struct weft_tokens *parse(const char *text)
{
	struct weft_tokens *t = NULL;
	struct weft_err err = {0};

	if (weft_tokens_parse("f", text, strlen(text), &t, &err) < 0)
		fail_msg("%s", err.msg);
	return t;
}

static const char two[] = "{\"tokens\": [{\"name\": \"ci\", \"role\": \"operate\", "
			  "\"sha256\": \"" HASH_ABC "\"}, {\"name\": \"all\", "
			  "\"role\": \"admin\", \"sha256\": \"" HASH_E "\"}]}";

static void test_find(void **state)
{
	struct weft_tokens *t = parse(two);
	const char *name = "untouched";

	(void)state;
	assert_int_equal(weft_tokens_find(t, "abcd", &name), WEFT_API_NOBODY);
	assert_int_equal(weft_tokens_find(t, HASH_ABC, &name), WEFT_API_NOBODY);
	assert_string_equal(name, "untouched");
	assert_int_equal(weft_tokens_find(t, "abc", &name), WEFT_API_OPERATE);
	assert_string_equal(name, "ci");
	assert_int_equal(weft_tokens_find(t, "", &name), WEFT_API_ADMIN);
	assert_int_equal(weft_tokens_find(NULL, "abc", &name), WEFT_API_NOBODY);
	weft_tokens_free(t);
	t = parse("{\"tokens\": []}");
	assert_int_equal(weft_tokens_find(t, "abc", &name), WEFT_API_NOBODY);
	weft_tokens_free(t);
}

static void test_bad_files(void **state)
{
	static const struct {
		const char *text, *msg;
	} cases[] = {
		{"", "f:1:1: "},
		{"[]", "f:1:1: must be an object"},
		{"{}", "f:1:1: tokens must be a list"},
		{"{\"tokens\": {}}", "f:1:12: tokens must be a list"},
		{"{\"tokens\": [], \"more\": 1}", "f:1:24: unknown key \"more\""},
		{"{\"tokens\": [], \"tokens\": []}", "f:1:"},
		{"{\"tokens\": [\n 7]}", "f:2:2: must be an object with"},
		{"{\"tokens\": [{\"name\": \"a\", \"role\": \"read\", \"secret\": \"x\"}]}",
			"f:1:53: unknown key \"secret\""},
		{"{\"tokens\": [{\"role\": \"read\"}]}", "f:1:13: name must be"},
		{"{\"tokens\": [{\"name\": \"-\", \"role\": \"read\"}]}", "f:1:13: name must be"},
		{"{\"tokens\": [{\"name\": \"a\", \"role\": \"nobody\"}]}", "f:1:13: role must be"},
		{"{\"tokens\": [{\"name\": \"a\", \"role\": 3}]}", "f:1:13: role must be"},
		{"{\"tokens\": [{\"name\": \"a\", \"role\": \"read\", \"sha256\": \"12\"}]}",
			"f:1:13: sha256 must be"},
		{"{\"tokens\": [{\"name\": \"a\", \"role\": \"read\", \"sha256\": \"" HASH_E
		 "\"},\n{\"name\": \"a\", \"role\": \"read\", \"sha256\": \"" HASH_ABC "\"}]}",
			"f:2:1: another token has this name"},
		{"{\"tokens\": [{\"name\": \"a\", \"role\": \"read\", \"sha256\": \"" HASH_E
		 "\"},\n{\"name\": \"b\", \"role\": \"read\", \"sha256\": \"" HASH_E "\"}]}",
			"f:2:1: this token is there already"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct weft_tokens *t = NULL;
		struct weft_err err = {0};

		assert_int_equal(
			weft_tokens_parse("f", cases[i].text, strlen(cases[i].text), &t, &err),
			-EINVAL);
		assert_null(t);
		if (strncmp(err.msg, cases[i].msg, strlen(cases[i].msg)) != 0)
			fail_msg("case %zu: %s", i, err.msg);
	}
}

static void test_modes(void **state)
{
	char path[] = "/tmp/weft-tokens-XXXXXX";
	int fd = mkstemp(path);
	struct weft_tokens *t = NULL;
	struct weft_err err = {0};

	(void)state;
	assert_int_equal(weft_write_all(fd, two, strlen(two)), 0);
	assert_int_equal(fchmod(fd, 0644), 0); /* there is no secret in it */
	assert_int_equal(weft_tokens_load(path, &t, &err), 0);
	weft_tokens_free(t);
	t = NULL;
	assert_int_equal(fchmod(fd, 0620), 0);
	assert_int_equal(weft_tokens_load(path, &t, &err), -EPERM);
	assert_non_null(strstr(err.hint, "chmod 600"));
	assert_int_equal(fchmod(fd, 0600), 0);
	if (geteuid() == 0) {
		assert_int_equal(fchown(fd, 4711, 0), 0);
		assert_int_equal(weft_tokens_load(path, &t, &err), -EPERM);
	}
	close(fd);
	unlink(path);
	assert_int_equal(weft_tokens_load(path, &t, &err), -ENOENT);
	assert_int_equal(weft_tokens_load("/dev/zero", &t, &err), -EINVAL);
	assert_null(t);
}

static void test_needs(void **state)
{
	static const struct {
		const char *method, *path;
		enum weft_api_role role;
	} rows[] = {
		{"GET", "/healthz", WEFT_API_NOBODY},
		{"POST", "/healthz", WEFT_API_READ}, /* to be told that there is no such thing */
		{"GET", "/metrics", WEFT_API_READ},
		{"GET", "/v1/status", WEFT_API_READ},
		{"GET", "/nothing", WEFT_API_READ},
		{"POST", "/v1/apply", WEFT_API_ADMIN},
		{"DELETE", "/v1/services/a", WEFT_API_ADMIN},
		{"DELETE", "/v1/services/a/weights", WEFT_API_OPERATE},
		{"POST", "/v1/services/a/weights", WEFT_API_OPERATE},
		{"POST", "/v1/instances/a/exec", WEFT_API_ADMIN},
		{"POST", "/v1/instances/a/pause", WEFT_API_OPERATE},
		{"POST", "/v1/instances", WEFT_API_ADMIN},
		{"POST", "/v1/swaps", WEFT_API_OPERATE},
		{"POST", "/v1/swaps/a/abort", WEFT_API_OPERATE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(weft_api_needs(rows[i].method, rows[i].path), rows[i].role);
}

static void test_permit(void **state)
{
	struct weft_api_response a = {0};
	struct weft_tokens *t = parse(two);
	struct weft_api_who who;

	(void)state;
	weft_api_who_remote(t, "bearer  abc", &who);
	assert_int_equal(who.role, WEFT_API_OPERATE);
	assert_string_equal(who.text, "token ci");
	assert_int_equal(weft_api_permit(&who, "POST", "/v1/swaps", &a), 0);
	assert_null(a.body);
	assert_int_equal(weft_api_permit(&who, "POST", "/v1/apply", &a), 403);
	assert_non_null(strstr(a.body, "needs the role admin, and token ci has operate"));
	free(a.body);
	weft_api_who_remote(t, "Basic abc", &who);
	assert_int_equal(weft_api_permit(&who, "GET", "/v1/status", &a), 401);
	assert_non_null(strstr(a.body, "is no \\\"Bearer TOKEN\\\""));
	free(a.body);
	weft_api_who_remote(t, NULL, &who);
	assert_int_equal(weft_api_permit(&who, "GET", "/healthz", &a), 0);
	weft_tokens_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_new),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_needs),
		cmocka_unit_test(test_permit),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
