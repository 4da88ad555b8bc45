/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/daemon/journal.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"

static const struct {
	const char *word, *field;
} kinds[] = {
	{"swap ", "SWAP"},
	{"instance ", "INSTANCE"},
	{"service ", "SERVICE"},
	{"peer ", "PEER"},
	{"image ", "IMAGE"},
};
_Static_assert(ARRAY_SIZE(kinds) <= JOURNAL_FIELDS, "a field of each kind");

static bool has(const struct journal_fields *f, const char *field)
{
	size_t n = strlen(field);

	for (unsigned i = 0; i < f->n; i++)
		if (strncmp(f->text[i], field, n) == 0 && f->text[i][n] == '=')
			return true;
	return false;
}

static void put(struct journal_fields *f, const char *field, const char *value, size_t size)
{
	if (size > 0 && size < 160 && f->n < JOURNAL_FIELDS && !has(f, field))
		snprintf(f->text[f->n++], sizeof(f->text[0]), "%s=%.*s", field, (int)size, value);
}

/* A name ends where the sentence goes on; an image's has colons of its own. */
static size_t name_size(const char *s, bool image)
{
	size_t n = strcspn(s, image ? " ,;()\"" : " :,;()\"");

	while (n > 0 && (s[n - 1] == ':' || s[n - 1] == '.'))
		n--;
	return n;
}

/* "shop.web.1", or "shop.web.1@edge-2" of a peer: its service is what is before the number. */
static void put_service_of(struct journal_fields *f, const char *instance, size_t size)
{
	const char *at = memchr(instance, '@', size);
	size_t n = at ? (size_t)(at - instance) : size;
	size_t digits = 0;

	while (n > digits && isdigit((unsigned char)instance[n - 1 - digits]))
		digits++;
	if (digits > 0 && n > digits + 1 && instance[n - 1 - digits] == '.' &&
		memchr(instance, '.', n - digits - 1))
		put(f, "SERVICE", instance, n - digits - 1);
}

static void put_kind(struct journal_fields *f, size_t kind, const char *name)
{
	size_t n = name_size(name, strcmp(kinds[kind].field, "IMAGE") == 0);
	const char *rest = name + n;

	put(f, kinds[kind].field, name, n);
	if (strcmp(kinds[kind].field, "INSTANCE") == 0)
		put_service_of(f, name, n);
	/* "swap 7f3a: shop.web: warm" */
	if (strcmp(kinds[kind].field, "SWAP") == 0 && strncmp(rest, ": ", 2) == 0) {
		n = name_size(rest + 2, false);
		if (rest[2 + n] == ':' && memchr(rest + 2, '.', n))
			put(f, "SERVICE", rest + 2, n);
	}
}

void journal_fields(const char *line, struct journal_fields *ret)
{
	ret->n = 0;
	for (const char *p = line; *p; p++)
		for (size_t k = 0; k < ARRAY_SIZE(kinds) && (p == line || p[-1] == ' '); k++)
			if (strncmp(p, kinds[k].word, strlen(kinds[k].word)) == 0 &&
				!has(ret, kinds[k].field))
				put_kind(ret, k, p + strlen(kinds[k].word));
}

static int send_line(int priority, const char *line)
{
	struct iovec iov[JOURNAL_FIELDS + 3];
	struct journal_fields f;
	char level[16], message[1100];
	int n = 0;

	journal_fields(line, &f);
	snprintf(level, sizeof(level), "PRIORITY=%d", priority);
	snprintf(message, sizeof(message), "MESSAGE=%s", line);
	iov[n++] = (struct iovec){message, strlen(message)};
	iov[n++] = (struct iovec){level, strlen(level)};
	iov[n++] = (struct iovec){(void *)"SYSLOG_IDENTIFIER=weftd", 23};
	for (unsigned i = 0; i < f.n; i++)
		iov[n++] = (struct iovec){f.text[i], strlen(f.text[i])};
	return sd_journal_sendv(iov, n);
}

/* As systemd says it: JOURNAL_STREAM is the device and the inode of the stream to the journal, and
 * is inherited also by those whose stderr leads elsewhere. */
static bool is_journal(int fd)
{
	const char *text = getenv("JOURNAL_STREAM");
	uint64_t device, inode;
	struct stat st;
	int end = 0;

	return text && sscanf(text, "%" SCNu64 ":%" SCNu64 "%n", &device, &inode, &end) == 2 &&
	       !text[end] && fstat(fd, &st) == 0 && (uint64_t)st.st_dev == device &&
	       (uint64_t)st.st_ino == inode;
}

void journal_open(void)
{
	if (is_journal(STDERR_FILENO))
		weft_log_to(send_line);
}
