/* SPDX-License-Identifier: Apache-2.0 */
/* The log under systemd: what a line is about becomes fields of its entry, so that
 * `journalctl SERVICE=shop.web` has all that happened to a service. */
#ifndef WEFT_DAEMON_JOURNAL_H
#define WEFT_DAEMON_JOURNAL_H

#include <stddef.h>

#define JOURNAL_FIELDS 5

struct journal_fields {
	char text[JOURNAL_FIELDS][192]; /* "SERVICE=shop.web" */
	unsigned n;
};

/* What a line is about by its own words: "swap 7f3a: shop.web: ...", "instance shop.web.1: ...",
 * "service S", "peer P", "image I"; the first of each kind, and the service of an instance. */
void journal_fields(const char *line, struct journal_fields *ret);

/* If stderr is the journal's, log to it by its own protocol from now on. */
void journal_open(void);

#endif
