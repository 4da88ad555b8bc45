/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

static const struct {
	int code;
	const char *word;
	int http;
	int exit;
} codes[] = {
	{EINVAL, "invalid", 400, 2},
	{EBADMSG, "malformed", 400, 2},
	{ENOENT, "not_found", 404, 3},
	{EEXIST, "conflict", 409, 4},
	{EBUSY, "conflict", 409, 4},
	{EADDRINUSE, "conflict", 409, 4},
	{ESTALE, "gone", 410, 1},
	{ETIMEDOUT, "timeout", 504, 5},
	{ECONNREFUSED, "unreachable", 503, 6},
	{EACCES, "forbidden", 403, 1},
	{EPERM, "forbidden", 403, 1},
	{EKEYREJECTED, "unauthenticated", 401, 1},
	{ENOSPC, "no_space", 507, 1},
	{EROFS, "read_only", 507, 1},
	{E2BIG, "too_large", 413, 2},
	{ENOTSUP, "unsupported", 422, 1},
	{ENODEV, "no_capacity", 422, 1},
};

int weft_err_vset(struct weft_err *err, int code, const char *fmt, va_list ap)
{
	int saved = errno;

	code = abs(code);
	if (!code)
		code = EIO;
	if (err) {
		err->code = code;
		err->hint[0] = '\0';
		errno = saved;
		vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		weft_text_clean_line(err->msg);
	}
	return -code;
}

int weft_err_set(struct weft_err *err, int code, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = weft_err_vset(err, code, fmt, ap);
	va_end(ap);
	return r;
}

int weft_err_hint(struct weft_err *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -EIO;
	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
	weft_text_clean_line(err->hint);
	return -err->code;
}

int weft_err_prefix(struct weft_err *err, const char *fmt, ...)
{
	_cleanup_(freep) char *rest = NULL;
	va_list ap;
	int n;

	if (!err)
		return -EIO;
	rest = strdup(err->msg);
	va_start(ap, fmt);
	n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(err->msg))
		snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %s", rest ? rest : "");
	weft_text_clean_line(err->msg);
	return -err->code;
}

const char *weft_err_word(int code)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].code == abs(code))
			return codes[i].word;
	return "failed";
}

int weft_err_http(int code)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].code == abs(code))
			return codes[i].http;
	return 500;
}

int weft_err_exit(int code)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].code == abs(code))
			return codes[i].exit;
	return 1;
}

int weft_err_from_word(const char *word)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(codes[i].word, word) == 0)
			return codes[i].code;
	return strcmp(word, "failed") == 0 ? EIO : 0;
}
