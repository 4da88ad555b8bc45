/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions: %% %c %s %d %u %x %p, with l, ll or z, a width, and a leading 0. */
#ifndef WEFT_GUEST_STDIO_H
#define WEFT_GUEST_STDIO_H

#include <stdarg.h>
#include <stddef.h>

int snprintf(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

#endif
