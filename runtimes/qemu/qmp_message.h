/* SPDX-License-Identifier: Apache-2.0 */
/* One line of QMP, qemu's monitor protocol, as qemu sends it. Pure. */
#ifndef WEFT_RUNTIMES_QEMU_QMP_MESSAGE_H
#define WEFT_RUNTIMES_QEMU_QMP_MESSAGE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* The longest line we care to read; qemu's answers to our commands have less than 1 KiB. */
#define WEFT_QMP_LINE_MAX (256 * 1024)

enum weft_qmp_kind {
	WEFT_QMP_GREETING, /* data: the "QMP" object */
	WEFT_QMP_EVENT,    /* name: which; data: its "data" or NULL */
	WEFT_QMP_RETURN,   /* id, data: the result */
	WEFT_QMP_ERROR,    /* id, name: class, text: what qemu says */
};

struct weft_qmp_message {
	enum weft_qmp_kind kind;
	int64_t id; /* -1: none, or not one of ours */
	const char *name, *text;
	const json_t *data;
	json_t *root; /* owns all of the above */
};

/* -EBADMSG: not a QMP message. On success the caller owns *ret and ends it with _done(). */
int weft_qmp_message_parse(const char *line, size_t size, struct weft_qmp_message *ret);
void weft_qmp_message_done(struct weft_qmp_message *m);

#endif
