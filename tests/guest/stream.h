/* SPDX-License-Identifier: Apache-2.0 */
/* TCP servers on lwIP's raw API: an application sees bytes in, writes bytes out, and says when it
 * is done. Everything that is awkward about it is here, once: bytes that must wait for room to
 * answer, peers that close before they are answered, and closing without a reset. */
#ifndef WEFT_GUEST_STREAM_H
#define WEFT_GUEST_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAM_STATE_SIZE 320

struct stream;

struct stream_ops {
	const char *name;

	/* A connection begins: fill the application's state. May be NULL. */
	void (*open)(struct stream *s);

	/* Bytes came. Returns how many were taken: all of them, unless it has to wait for room to
	 * answer (stream_wait(), or a stream_write() that failed). It is then called again once
	 * there is more room, with what was not taken, which may be nothing. */
	size_t (*input)(struct stream *s, const char *data, size_t len);

	/* Nothing is owed to the peer: closing now takes nothing from it. NULL: always so. */
	bool (*idle)(const struct stream *s);
};

/* Panics if the port is taken. ops lives on. */
void stream_listen(uint16_t port, const struct stream_ops *ops);

/* The application's own, STREAM_STATE_SIZE bytes, aligned to 8. */
void *stream_state(struct stream *s);

/* How many bytes stream_write() takes now, unless memory is short. */
size_t stream_room(const struct stream *s);

void stream_wait(struct stream *s);

/* Queue all of data, or nothing: then wait as by stream_wait() and return false. copy false: data
 * never changes. */
bool stream_write(struct stream *s, const void *data, size_t len, bool copy);

/* What is queued is sent, then the connection is closed. Later input is dropped. */
void stream_finish(struct stream *s);

/* No more connections; those that are idle are finished, the others are to be when they have been
 * answered: stream_ends() says so. */
void stream_shutdown(void);
bool stream_ends(void);
unsigned stream_count(void);

#endif
