/* SPDX-License-Identifier: Apache-2.0 */
/* What gRPC puts into HTTP/2: messages of a 5-byte header and a body in the data of a stream, and
 * the status in its trailers. */
#ifndef WEFT_RUNTIMES_GRPC_FRAME_H
#define WEFT_RUNTIMES_GRPC_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define WEFT_GRPC_FRAME_HEADER 5

/* A queue of bytes; starts as {}. */
struct weft_grpc_buf {
	uint8_t *data;
	size_t start, end, room;
};

/* Room for size more bytes at the end, NULL when out of memory; weft_grpc_buf_grow() makes them
 * part of the queue. */
uint8_t *weft_grpc_buf_reserve(struct weft_grpc_buf *b, size_t size);
void weft_grpc_buf_grow(struct weft_grpc_buf *b, size_t size);
void weft_grpc_buf_drop(struct weft_grpc_buf *b, size_t size); /* from the front */
void weft_grpc_buf_free(struct weft_grpc_buf *b);
static inline size_t weft_grpc_buf_size(const struct weft_grpc_buf *b)
{
	return b->end - b->start;
}

/* Append received data; -ENOMEM. */
int weft_grpc_buf_add(struct weft_grpc_buf *b, const void *data, size_t size);

/* Take the next whole message out: 1 with the body in *ret (it lives until the queue is touched
 * again), 0 when more bytes are needed, -EMSGSIZE for a body above max, -EBADMSG for a compressed
 * one or an unknown flag: no compression was offered. */
int weft_grpc_frame_next(
	struct weft_grpc_buf *b, size_t max, const uint8_t **ret, size_t *ret_size);

void weft_grpc_frame_header(uint8_t header[WEFT_GRPC_FRAME_HEADER], size_t size);

/* The value of grpc-status (or :status): a decimal number of at most 3 digits, else -EBADMSG. */
int weft_grpc_parse_status(const uint8_t *value, size_t size);

/* The value of grpc-message: percent-decoded, control characters become spaces, cut to fit. */
void weft_grpc_parse_message(char *buf, size_t room, const uint8_t *value, size_t size);

#endif
