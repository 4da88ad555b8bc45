/* SPDX-License-Identifier: Apache-2.0 */
/* Small helpers that libc lacks. All return 0 or a negative errno; out-parameters are untouched
 * on failure. */
#ifndef WEFT_BASE_UTIL_H
#define WEFT_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* malloc'ed printf; NULL when out of memory. */
char *weft_strf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

uint64_t weft_now_ns(void);      /* CLOCK_MONOTONIC */
uint64_t weft_realtime_ms(void); /* CLOCK_REALTIME, ms since the epoch */

/* Read a whole file of at most max bytes (-E2BIG above). *ret is NUL-terminated and owned by the
 * caller; ret_size may be NULL. */
int weft_read_file(const char *path, size_t max, char **ret, size_t *ret_size);
/* What tells one boot of this machine from another: 36 characters. */
int weft_boot_id(char *buf, size_t size);

/* What is not complete yet stands beside its place under such a name. */
#define WEFT_TMP_PREFIX ".weft-tmp-"

/* Replace path by data in one rename, so that a reader or a crash sees the old or the new file. A
 * process that is killed meanwhile leaves a WEFT_TMP_PREFIX file in path's directory. */
int weft_write_file(const char *path, const void *data, size_t size, unsigned mode);
/* Remove what somebody who was killed has left so in a directory, which nobody else may be writing
 * to. One that is missing is no error. */
void weft_remove_leftovers(const char *dir);

/* mkdir -p; an existing directory is no error. */
int weft_mkdir_p(const char *path, unsigned mode);

/* rm -rf, staying on one filesystem and never following links. A missing path is no error. */
int weft_remove_tree(const char *path);

/* Write all of data to fd, resuming after short writes and EINTR. */
int weft_write_all(int fd, const void *data, size_t size);

/* Decimal number in [min, max], nothing before or after it. -EINVAL, -ERANGE. */
int weft_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);

/* Make s text that JSON can carry and a terminal can show: bytes that are no UTF-8 become '?', as
 * do control characters but tab and newline; a character cut in half at the end is dropped. Never
 * grows. Returns s. */
char *weft_text_clean(char *s);
/* The same on one line: tab and newline become spaces. */
char *weft_text_clean_line(char *s);

/* Six pairs of hexadecimal digits with ':' between. -EINVAL also for what is no unicast address. */
int weft_mac_parse(const char *s, uint8_t ret[6]);

/* Does s match [a-zA-Z0-9]([a-zA-Z0-9._-]*) and is it at most max long? */
bool weft_name_valid(const char *s, size_t max);

#endif
