/* SPDX-License-Identifier: Apache-2.0 */
/* The text of an error, for a person: what, which object, why; and the next step as a hint.
 * It lives on the caller's stack. Functions that take one fill it whenever they return a negative
 * errno, and accept NULL from callers that do not want the text. */
#ifndef WEFT_BASE_ERR_H
#define WEFT_BASE_ERR_H

#include <stdarg.h>

struct weft_err {
	int code;       /* positive errno, 0 while unset */
	char msg[640];  /* one line, no trailing newline or full stop */
	char hint[320]; /* the next step, may be empty */
};

/* Texts may hold what came from outside: whatever is no UTF-8, and control characters, are replaced
 * (weft_text_clean_line), so that a message can always be sent as JSON and shown on a terminal.
 *
 * Set the text and return -code. code may be given with either sign. `%m` prints errno as usual. */
int weft_err_set(struct weft_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int weft_err_vset(struct weft_err *err, int code, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

/* Add the next step; returns -err->code so that it can close a function. */
int weft_err_hint(struct weft_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Put "text: " before the message ("service shop.web: ..."). Returns -err->code. */
int weft_err_prefix(struct weft_err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The one table from errno to the word the API carries ("not_found"), an HTTP status and the
 * command line's exit status (0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 timeout,
 * 6 daemon unreachable, 7 partly done). code may have either sign. */
const char *weft_err_word(int code);
int weft_err_http(int code);
int weft_err_exit(int code);
int weft_err_from_word(const char *word); /* a positive errno, 0 for an unknown word */

#endif
