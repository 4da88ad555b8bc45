/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int max_level = LOG_INFO;
static weft_log_sink_t sink;

static const struct {
	const char *word;
	int priority;
} levels[] = {
	{"error", LOG_ERR},
	{"warning", LOG_WARNING},
	{"info", LOG_INFO},
	{"debug", LOG_DEBUG},
};

void weft_log_level(int max_priority)
{
	max_level = max_priority;
}

void weft_log_to(weft_log_sink_t to)
{
	sink = to;
}

int weft_log_parse_level(const char *word)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(levels[i].word, word) == 0)
			return levels[i].priority;
	return -EINVAL;
}

static const char *level_word(int priority)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (levels[i].priority == priority)
			return levels[i].word;
	return "info";
}

void weft_log(int priority, const char *fmt, ...)
{
	char line[1024], stamp[32];
	struct timespec now;
	struct tm tm;
	int saved = errno;
	va_list ap;

	if (priority > max_level)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (sink && sink(priority, line) >= 0) {
		errno = saved;
		return;
	}
	if (getenv("JOURNAL_STREAM")) {
		fprintf(stderr, "<%d>%s\n", priority, line);
	} else {
		clock_gettime(CLOCK_REALTIME, &now);
		gmtime_r(&now.tv_sec, &tm);
		strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
		fprintf(stderr, "%s.%03ldZ %-7s %s\n", stamp, now.tv_nsec / 1000000,
			level_word(priority), line);
	}
	errno = saved;
}
