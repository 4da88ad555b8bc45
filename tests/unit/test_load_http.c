/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/http_response.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

#define OK "HTTP/1.1 200 OK\r\n"

enum { TO_EOF = 2, MORE = 0, BAD = -EBADMSG };

/* In pieces of every size the outcome is the same. r: 1 complete, MORE: the end of the connection
 * truncates it, TO_EOF: the end completes it, BAD. left: bytes behind the response. */
static void assert_response(
	const char *text, bool head, int r, unsigned status, bool keep, size_t left)
{
	static struct http_response p;
	size_t size = strlen(text);

	for (size_t piece = 1; piece <= size; piece++) {
		size_t at = 0, used = 0;
		int got = 0;

		http_response_init(&p, head);
		while (got == 0 && at < size) {
			size_t n = size - at < piece ? size - at : piece;

			got = http_response_feed(&p, text + at, n, &used);
			at += got == 1 ? used : n;
		}
		if (got == 0 && http_response_eof(&p) == 1)
			got = TO_EOF;
		if (got != r)
			fail_msg("pieces of %zu: %d (%s) of: %s", piece, got,
				p.problem ? p.problem : "", text);
		if (r == BAD) {
			assert_non_null(p.problem);
			continue;
		}
		assert_null(p.problem);
		if (r == MORE)
			continue;
		assert_int_equal(p.status, status);
		assert_int_equal(p.keep_alive, keep);
		assert_int_equal(size - at, left);
	}
}

static void complete(const char *text, unsigned status, bool keep)
{
	assert_response(text, false, 1, status, keep, 0);
}

static void bad(const char *text)
{
	assert_response(text, false, BAD, 0, false, 0);
}

static void more(const char *text)
{
	assert_response(text, false, MORE, 0, false, 0);
}

static void test_length(void **state)
{
	(void)state;
	complete(OK "Content-Length: 5\r\n\r\nhello", 200, true);
	complete(OK "content-length:5\r\n\r\nhello", 200, true);
	complete(OK "CONTENT-LENGTH: \t5 \t\r\n\r\nhello", 200, true);
	complete(OK "Content-Length: 0\r\n\r\n", 200, true);
	complete(OK "Content-Length: 00005\r\n\r\nhello", 200, true);
	complete(OK "Content-Length: 5, 5\r\nContent-Length: 5\r\n\r\nhello", 200, true);
	complete("HTTP/1.1 200 \r\nContent-Length: 1\n\nx", 200, true);
	complete("HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n\n", 200, true);
	complete("HTTP/1.1 404 Not \x80 Found\r\nContent-Length: 1\r\n\r\nx", 404, true);
	more(OK "Content-Length: 6\r\n\r\nhello");
	more(OK "Content-Length: 9223372036854775807\r\n\r\nhello");
	more(OK "Content-Length: 5\r\n");
	more("HTTP");
	assert_response(OK "Content-Length: 4\r\n\r\nhello", false, 1, 200, true, 1);
}

static void test_bad_length(void **state)
{
	(void)state;
	bad(OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello");
	bad(OK "Content-Length: 5, 6\r\n\r\nhello");
	bad(OK "Content-Length: -5\r\n\r\n");
	bad(OK "Content-Length: +5\r\n\r\n");
	bad(OK "Content-Length: 5 5\r\n\r\n");
	bad(OK "Content-Length: 0x5\r\n\r\n");
	bad(OK "Content-Length:\r\n\r\n");
	bad(OK "Content-Length: ,\r\n\r\n");
	bad(OK "Content-Length: 9223372036854775808\r\n\r\n");
	bad(OK "Content-Length: 99999999999999999999999\r\n\r\n");
	bad(OK "Content-Length: 5\r\n 6\r\n\r\nhello");
	bad(OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
	bad(OK "Content-Length : 5\r\n\r\nhello");
}

static void test_chunked(void **state)
{
	(void)state;
	complete(OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, true);
	complete(OK "Transfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\n", 200, true);
	complete(OK "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200,
		true);
	complete(OK "Transfer-Encoding: chunked\r\n\r\n"
		    "A;name=\"v\"\r\n0123456789\r\n00b ;x\r\n0123456789a\r\n000\r\nT: v\r\n\r\n",
		200, true);
	more(OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n");
	more(OK "Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nx");
	bad(OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n");
	bad(OK "Transfer-Encoding: chunked\r\n\r\n\r\n");
	bad(OK "Transfer-Encoding: chunked\r\n\r\n;x\r\n");
	bad(OK "Transfer-Encoding: chunked\r\n\r\n5 5\r\nhello\r\n");
	bad(OK "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n");
	bad(OK "Transfer-Encoding: chunked\r\n\r\n-5\r\n");
	bad(OK "Transfer-Encoding: chunked\r\n\r\n8000000000000000\r\n");
	bad(OK "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n");
	bad(OK "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n");
	bad(OK "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n");
	bad("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
}

static void test_to_eof(void **state)
{
	(void)state;
	assert_response(OK "\r\nhello", false, TO_EOF, 200, false, 0);
	assert_response(OK "\r\n", false, TO_EOF, 200, false, 0);
	assert_response(OK "Connection: keep-alive\r\n\r\nx", false, TO_EOF, 200, false, 0);
	assert_response(OK "Transfer-Encoding: gzip\r\n\r\nx", false, TO_EOF, 200, false, 0);
	assert_response("HTTP/1.0 200 OK\r\n\r\nx", false, TO_EOF, 200, false, 0);
}

static void test_no_body(void **state)
{
	(void)state;
	complete("HTTP/1.1 204 No Content\r\n\r\n", 204, true);
	complete("HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", 304, true);
	assert_response(OK "Content-Length: 100\r\n\r\n", true, 1, 200, true, 0);
	assert_response(OK "Transfer-Encoding: chunked\r\n\r\n", true, 1, 200, true, 0);
	assert_response(OK "\r\n", true, 1, 200, true, 0);
}

static void test_interim(void **state)
{
	char text[4096] = "";

	(void)state;
	complete("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" OK
		 "Content-Length: 1\r\n\r\nx",
		200, true);
	complete("HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n" OK
		 "Content-Length: 0\r\n\r\n",
		200, true);
	more("HTTP/1.1 100 Continue\r\n\r\n");
	bad("HTTP/1.1 101 Switching Protocols\r\n\r\n");
	for (int i = 0; i <= HTTP_INTERIM_MAX; i++)
		strcat(text, "HTTP/1.1 100 Continue\r\n\r\n");
	bad(text);
}

static void test_keep_alive(void **state)
{
	(void)state;
	complete(OK "Connection: close\r\nContent-Length: 0\r\n\r\n", 200, false);
	complete(OK "Connection: x, Close , y\r\nContent-Length: 0\r\n\r\n", 200, false);
	complete(OK "Connection: closed\r\nContent-Length: 0\r\n\r\n", 200, true);
	complete(OK "Connection: keep-alive\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 200,
		false);
	complete("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, false);
	complete("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", 200,
		true);
}

static void test_bad_lines(void **state)
{
	(void)state;
	bad("\r\n" OK "Content-Length: 0\r\n\r\n");
	bad("HTTP/2.0 200 OK\r\n\r\n");
	bad("http/1.1 200 OK\r\n\r\n");
	bad("HTTP/1.1 20 OK\r\n\r\n");
	bad("HTTP/1.1 2000 OK\r\n\r\n");
	bad("HTTP/1.1  200 OK\r\n\r\n");
	bad("HTTP/1.1 099 OK\r\n\r\n");
	bad("HTTP/1.1 600 OK\r\n\r\n");
	bad("HTTP/1.1 200 O\rK\r\n\r\n");
	bad(OK "No colon\r\n\r\n");
	bad(OK ": no name\r\n\r\n");
	bad(OK "Na me: x\r\n\r\n");
	bad(OK "X: a\rb\r\n\r\n");
	complete(OK "X: folded\r\n\tvalue\r\nContent-Length: 0\r\n\r\n", 200, true);
}

static void test_nul(void **state)
{
	static const char text[] = OK "X: a\0b\r\n\r\n";
	static struct http_response p;
	size_t used;

	(void)state;
	http_response_init(&p, false);
	assert_int_equal(http_response_feed(&p, text, sizeof(text) - 1, &used), -EBADMSG);
}

/* Feed a line of n bytes again and again. How often did it go well? */
static size_t lines_taken(size_t n, size_t piece)
{
	static struct http_response p;
	_cleanup_(freep) char *line = malloc(n + 3);
	size_t used, lines = 0;

	assert_non_null(line);
	memset(line, 'a', n);
	memcpy(line, "X:", 2);
	memcpy(line + n, "\r\n", 3);
	http_response_init(&p, false);
	assert_int_equal(http_response_feed(&p, OK, strlen(OK), &used), 0);
	for (; lines < 100000; lines++) {
		for (size_t at = 0; at < n + 2; at += piece) {
			size_t left = n + 2 - at;

			if (http_response_feed(&p, line + at, left < piece ? left : piece, &used) <
				0)
				return lines;
		}
	}
	return lines;
}

static void test_limits(void **state)
{
	(void)state;
	for (size_t piece = 1; piece < 20000; piece = piece * 7 + 1) {
		assert_int_equal(lines_taken(HTTP_LINE_MAX, piece), 0);
		assert_int_equal(lines_taken(HTTP_LINE_MAX - 1, piece), 7);
		assert_int_equal(lines_taken(30, piece), (HTTP_HEADER_MAX - (int)strlen(OK)) / 32);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_bad_length),
		cmocka_unit_test(test_chunked),
		cmocka_unit_test(test_to_eof),
		cmocka_unit_test(test_no_body),
		cmocka_unit_test(test_interim),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_bad_lines),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
