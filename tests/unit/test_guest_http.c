/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's HTTP request parser, compiled natively. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/guest/http.c"

/* Feed from a heap block of exactly that size, so that reading past it is seen. */
static size_t feed(struct http_parser *p, const char *data, size_t len)
{
	char *copy = malloc(len ? len : 1);
	size_t used;

	assert_non_null(copy);
	memcpy(copy, data, len);
	used = http_feed(p, copy, len);
	assert_true(used <= len);
	free(copy);
	return used;
}

static struct http_parser parse(const char *text)
{
	struct http_parser p;

	http_init(&p);
	feed(&p, text, strlen(text));
	return p;
}

static void assert_path(const struct http_parser *p, const char *want)
{
	const char *path;
	size_t len;

	path = http_path(p, &len);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(path, want, len);
}

static void test_simple(void **state)
{
	struct http_parser p = parse("GET /a?b=c HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n");

	(void)state;
	assert_true(http_done(&p));
	assert_int_equal(p.error, 0);
	assert_int_equal(p.method, HTTP_GET);
	assert_true(p.keep_alive);
	assert_string_equal(p.target, "/a?b=c");
	assert_path(&p, "/a");

	p = parse("HEAD / HTTP/1.1\nhost:x\n\n");
	assert_true(http_done(&p));
	assert_int_equal(p.error, 0);
	assert_int_equal(p.method, HTTP_HEAD);

	p = parse("BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(http_done(&p));
	assert_int_equal(p.error, 0);
	assert_int_equal(p.method, HTTP_OTHER);
}

static void test_absolute_form(void **state)
{
	struct http_parser p = parse("GET http://x:80/y?z HTTP/1.1\r\nHost: x\r\n\r\n");

	(void)state;
	assert_path(&p, "/y");
	p = parse("GET http://x HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_path(&p, "/");
	p = parse("GET http://x?y HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_path(&p, "/");
}

static void test_keep_alive(void **state)
{
	static const struct {
		const char *version, *header;
		bool want;
	} cases[] = {
		{"1.1", "", true},
		{"1.1", "Connection: close\r\n", false},
		{"1.1", "CONNECTION:   Close \r\n", false},
		{"1.1", "Connection: upgrade, close\r\n", false},
		{"1.1", "Connection: close, keep-alive\r\n", false},
		{"1.1", "Connection: close\r\nConnection: keep-alive\r\n", false},
		{"1.1", "Connection: closed\r\n", true},
		{"1.1", "X-Connection: close\r\n", true},
		{"1.1", "Connection: a-very-long-token-that-means-nothing-at-all\r\n", true},
		{"1.9", "", true},
		{"1.0", "", false},
		{"1.0", "Connection: keep-alive\r\n", true},
		{"1.0", "Connection: Keep-Alive, foo\r\n", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_parser p;
		char text[256];

		snprintf(text, sizeof(text), "GET / HTTP/%s\r\nHost: x\r\n%s\r\n", cases[i].version,
			cases[i].header);
		p = parse(text);
		assert_true(http_done(&p));
		assert_int_equal(p.error, 0);
		if (p.keep_alive != cases[i].want)
			fail_msg("HTTP/%s %s", cases[i].version, cases[i].header);
	}
}

static void test_errors(void **state)
{
	static const struct {
		uint16_t error;
		const char *text;
	} cases[] = {
		{400, "GET\r\n\r\n"},
		{400, "GET /\r\n\r\n"},
		{400, " GET / HTTP/1.1\r\n"},
		{400, "GET  / HTTP/1.1\r\n"},
		{400, "GET /  HTTP/1.1\r\n"},
		{400, "GET / HTTP/1.1 \r\n"},
		{400, "GET / http/1.1\r\n"},
		{400, "GET / HTTP/1.1\r\r\n"},
		{400, "GET / HTTP/1.x\r\n"},
		{400, "GET / HTTP/1.10\r\n"},
		{400, "GET /\001 HTTP/1.1\r\n"},
		{400, "\x16\x03\x01\x02\x00\x01"}, /* TLS */
		{400, "this-is-not-even-a-method-by-any-measure"},
		{505, "PRI * HTTP/2.0\r\n"},
		{505, "GET / HTTP/0.9\r\n"},
		{400, "GET / HTTP/1.1\r\n\r\n"}, /* no Host */
		{400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n"},
		{400, "GET / HTTP/1.1\r\nHost : a\r\n"},
		{400, "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n"},
		{400, "GET / HTTP/1.1\r\nHost: a\rb\r\n"},
		{400, "GET / HTTP/1.1\r\nHost: a\x01\r\n"},
		{400, "GET / HTTP/1.1\r\nHost: a\r\n\rX"},
		{400, "GET / HTTP/1.1\r\nno colon\r\n"},
		{400, "GET / HTTP/1.1\r\nContent-Length: 1x\r\n"},
		{400, "GET / HTTP/1.1\r\nContent-Length: -1\r\n"},
		{400, "GET / HTTP/1.1\r\nContent-Length: 1 2\r\n"},
		{400, "GET / HTTP/1.1\r\nContent-Length:\r\n"},
		{400, "GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n"},
		{400, "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n"},
		{400, "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n"},
		{501, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_parser p = parse(cases[i].text);

		if (!http_done(&p) || p.error != cases[i].error)
			fail_msg("%s: done %d, error %u", cases[i].text, http_done(&p), p.error);
		assert_false(p.keep_alive);
	}
}

static void test_limits(void **state)
{
	static const char header[] = "X: y\r\n";
	struct http_parser p;
	char line[101];

	(void)state;
	memset(line, 'a', 100);
	line[100] = '\0';

	http_init(&p);
	feed(&p, "GET /", 5);
	for (int i = 0; i < 200 && !http_done(&p); i++)
		feed(&p, line, 100);
	assert_int_equal(p.error, 414);

	http_init(&p);
	feed(&p, "GET / HTTP/1.1\r\nX: ", 19);
	for (int i = 0; i < 200 && !http_done(&p); i++)
		feed(&p, line, 100);
	assert_int_equal(p.error, 431);

	http_init(&p);
	feed(&p, "GET / HTTP/1.1\r\n", 16);
	for (int i = 0; i < 10000 && !http_done(&p); i++)
		feed(&p, header, sizeof(header) - 1);
	assert_int_equal(p.error, 431);

	/* Empty lines come before a request, but not for ever. */
	http_init(&p);
	for (int i = 0; i < 10000 && !http_done(&p); i++)
		feed(&p, "\r\n", 2);
	assert_int_equal(p.error, 414);

	/* A target longer than what is kept is cut, and its length is told. */
	http_init(&p);
	feed(&p, "GET /", 5);
	for (int i = 0; i < 5; i++)
		feed(&p, line, 100);
	feed(&p, " HTTP/1.0\r\n\r\n", 13);
	assert_true(http_done(&p));
	assert_int_equal(p.error, 0);
	assert_int_equal(p.target_len, 501);
	assert_int_equal(strlen(p.target), HTTP_TARGET_SIZE - 1);
}

static void test_body(void **state)
{
	static const char text[] =
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5 \r\n\r\nhelloGET";
	struct http_parser p;
	size_t used;

	(void)state;
	http_init(&p);
	used = feed(&p, text, sizeof(text) - 1);
	assert_int_equal(used, sizeof(text) - 1 - 3);
	assert_true(http_done(&p));
	assert_int_equal(p.error, 0);

	http_init(&p);
	feed(&p, text, sizeof(text) - 1 - 4);
	assert_false(http_done(&p));
	assert_int_equal(feed(&p, "o", 1), 1);
	assert_true(http_done(&p));
}

/* However the bytes are cut, the requests are the same. */
static void test_pipelined_in_pieces(void **state)
{
	static const char text[] = "GET /1 HTTP/1.1\r\nHost: x\r\nUser-Agent: some agent\r\n\r\n"
				   "\r\nPOST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
				   "HEAD /3 HTTP/1.0\nConnection: keep-alive\n\n";
	static const char *const paths[] = {"/1", "/2", "/3"};

	(void)state;
	for (size_t piece = 1; piece < sizeof(text); piece++) {
		struct http_parser p;
		size_t at = 0, n = 0;

		http_init(&p);
		assert_true(http_idle(&p));
		while (at < sizeof(text) - 1) {
			size_t left = sizeof(text) - 1 - at;

			at += feed(&p, text + at, left < piece ? left : piece);
			if (!http_done(&p))
				continue;
			assert_int_equal(p.error, 0);
			assert_path(&p, paths[n++]);
			assert_true(p.keep_alive);
			http_init(&p);
		}
		assert_int_equal(n, 3);
		assert_true(http_idle(&p));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_simple),
		cmocka_unit_test(test_absolute_form),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_body),
		cmocka_unit_test(test_pipelined_in_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
