/* SPDX-License-Identifier: Apache-2.0 */
/* What a gRPC server may send: messages cut into pieces of any size, statuses, messages of errors;
 * and the bodies as the messages that are read from containerd. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "runtimes/containerd/containerd.pb-c.h"
#include "runtimes/grpc/frame.h"

#define MAX 65536

static void unpack(const uint8_t *data, size_t size)
{
	static const ProtobufCMessageDescriptor *const messages[] = {
		&ctrd__version_response__descriptor,
		&ctrd__plugins_response__descriptor,
		&ctrd__read_content_response__descriptor,
		&ctrd__write_content_response__descriptor,
		&ctrd__image_response__descriptor,
		&ctrd__prepare_snapshot_response__descriptor,
		&ctrd__apply_response__descriptor,
		&ctrd__container_response__descriptor,
		&ctrd__list_tasks_response__descriptor,
		&ctrd__envelope__descriptor,
	};

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		ProtobufCMessage *m = protobuf_c_message_unpack(messages[i], NULL, size, data);

		if (m)
			protobuf_c_message_free_unpacked(m, NULL);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weft_grpc_buf b = {};
	size_t step, total = 0;
	char text[64];
	int r = 0;

	if (size < 1)
		return 0;
	weft_grpc_parse_message(text, 1 + data[0] % sizeof(text), data, size);
	assert(strlen(text) < sizeof(text));
	r = weft_grpc_parse_status(data, size);
	assert(r < 1000);
	step = 1 + data[0];
	for (size_t at = 1; at < size; at += step) {
		size_t n = size - at < step ? size - at : step, body;
		const uint8_t *p;

		assert(weft_grpc_buf_add(&b, data + at, n) == 0);
		while ((r = weft_grpc_frame_next(&b, MAX, &p, &body)) > 0) {
			assert(body <= MAX);
			total += body + WEFT_GRPC_FRAME_HEADER;
			unpack(p, body);
		}
		if (r < 0)
			break;
	}
	assert(total <= size);
	weft_grpc_buf_free(&b);
	return 0;
}
