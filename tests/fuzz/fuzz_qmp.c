/* SPDX-License-Identifier: Apache-2.0 */
/* What qemu's side of a monitor may send, cut into writes by the bytes of the input: the whole
 * client sees it, behind a greeting so that more than the first line counts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtimes/qemu/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	struct weft_qmp *q;
	unsigned closed;
};

static void on_reply(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	struct run *run = userdata;

	/* Freeing from within a callback is the owner's right. */
	if (r == 0 && json_is_true(result)) {
		weft_qmp_free(run->q);
		run->q = NULL;
	}
	if (r < 0 && err->code != -r)
		abort();
}

static void on_ready(void *userdata)
{
	struct run *run = userdata;

	for (int i = 0; i < 3; i++)
		(void)weft_qmp_execute(run->q, "query-status", NULL, 1000, on_reply, run);
}

static void on_event(void *userdata, const char *name, const json_t *data)
{
	struct run *run = userdata;

	(void)data;
	if (strcmp(name, "FREE") == 0) {
		weft_qmp_free(run->q);
		run->q = NULL;
	}
}

static void on_closed(void *userdata, int r, const struct weft_err *err)
{
	struct run *run = userdata;

	if (r >= 0 || err->code != -r || run->closed++)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct weft_qmp_callbacks callbacks = {on_ready, on_event, on_closed};
	static const char hello[] = "{\"QMP\": {}}\n{\"return\": {}, \"id\": 0}\n";
	struct run run = {};
	sd_event *event = NULL;
	int fd[2];

	if (size < 1 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0 ||
		sd_event_new(&event) < 0)
		return 0;
	if (weft_qmp_new(event, fd[0], 1000, &callbacks, &run, &run.q) < 0)
		abort();
	if (data[0] & 1)
		(void)!send(fd[1], hello, sizeof(hello) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	for (size_t at = 1; at < size && run.q && !run.closed;) {
		size_t n = 1 + (data[0] >> 1) * (size_t)data[at];

		n = n < size - at ? n : size - at;
		(void)!send(fd[1], data + at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		at += n;
		weft_qmp_drain(run.q);
	}
	close(fd[1]);
	if (run.q)
		weft_qmp_drain(run.q);
	weft_qmp_free(run.q);
	sd_event_unref(event);
	return 0;
}
