/* SPDX-License-Identifier: Apache-2.0 */
/* Values out of the API's answers, and how they are written for people. An answer may come from
 * another version of the daemon: a key that is missing or has another type is its default. */
#ifndef WEFT_CLI_VALUE_H
#define WEFT_CLI_VALUE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* obj may be NULL or no object. Strings live as long as obj. */
const char *cli_str(const json_t *obj, const char *key, const char *fallback);
uint64_t cli_u64(const json_t *obj, const char *key); /* 0 also for negative numbers */
double cli_share(const json_t *obj, const char *key); /* clamped to 0..1 */
const json_t *cli_items(const json_t *doc);           /* doc.items, or NULL */
bool cli_is_null(const json_t *obj, const char *key); /* missing counts as null */

/* A number as text, by value: printf("%s", cli_fmt_count(n).s). */
struct cli_text {
	char s[32];
};

struct cli_text cli_fmt_count(uint64_t n);          /* 950, 4.9k, 12k, 3.1M */
struct cli_text cli_fmt_bytes(uint64_t n);          /* 512 B, 3.1 MiB */
struct cli_text cli_fmt_duration(uint64_t ms);      /* 0.4s, 12s, 3m20s, 3h4m, 3d4h */
struct cli_text cli_fmt_uptime(uint64_t s);         /* the same, whole seconds below a minute */
struct cli_text cli_fmt_age(uint64_t ms);           /* 12s, 3m, 2h, 4d */
struct cli_text cli_fmt_ns(uint64_t ns, bool utf8); /* 190µs, 1.2ms, 12s */

/* A status' uplink in a line, without its device; NULL: it has none, or out of memory. */
char *cli_fmt_uplink(const json_t *status);

/* A copy that is safe to print: control characters become '?', and without utf8 whatever is not
 * ASCII does too. NULL when out of memory. */
char *cli_clean(const char *s, bool utf8);
/* Columns that s takes on a terminal (code points), and s cut to at most n of them in place. */
size_t cli_columns(const char *s);
void cli_cut(char *s, size_t n);

#endif
