/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines to stderr, with the journal's <N> priority prefix when stderr is the journal, or to a
 * sink that knows more to do with them (ctrl/daemon/journal.h).
 * Libraries log at debug only; the daemon's own code may log at any level. */
#ifndef WEFT_BASE_LOG_H
#define WEFT_BASE_LOG_H

#include <syslog.h>

void weft_log_level(int max_priority);      /* LOG_ERR .. LOG_DEBUG; default LOG_INFO */
int weft_log_parse_level(const char *word); /* "error" .. "debug"; -EINVAL */
void weft_log(int priority, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Where lines go instead of stderr; a negative return: to stderr all the same. NULL: to stderr. */
typedef int (*weft_log_sink_t)(int priority, const char *line);
void weft_log_to(weft_log_sink_t sink);

#define log_error(...)   weft_log(LOG_ERR, __VA_ARGS__)
#define log_warning(...) weft_log(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    weft_log(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   weft_log(LOG_DEBUG, __VA_ARGS__)

#endif
