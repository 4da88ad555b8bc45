/* SPDX-License-Identifier: Apache-2.0 */
/* Any request gets an answer that is JSON with a status, or a log. Input: a byte for the method, a
 * byte for what the engine does, then path, value of the query and body, each ended by a NUL. */
#include <stdint.h>

#include "ctrl/api/route.h"
#include "ctrl/engine/events.h"
#include "tests/lib/fake_engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *query(void *userdata, const char *key)
{
	(void)key;
	return userdata;
}

static char *take(const uint8_t **data, size_t *size, bool last)
{
	const uint8_t *end = last ? NULL : memchr(*data, '\0', *size);
	size_t n = end ? (size_t)(end - *data) : *size;
	char *s = malloc(n + 1);

	if (!s)
		abort();
	memcpy(s, *data, n);
	s[n] = '\0';
	*data += n + (end != NULL);
	*size -= n + (end != NULL);
	return s;
}

static void check(const struct weft_api_response *a)
{
	json_t *doc, *message;

	if (!(a->body || a->follow) || !a->type || a->status < 200 || a->status > 599)
		abort();
	if (a->follow || strcmp(a->type, "application/json") != 0)
		return;
	doc = json_loads(a->body, 0, NULL);
	if (!doc)
		abort();
	message = json_object_get(json_object_get(doc, "error"), "message");
	if ((a->status >= 400) != json_is_string(message))
		abort();
	json_decref(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const methods[] = {"GET", "POST", "DELETE", "PUT", ""};
	static const int results[] = {0, 0, -2, -16, -5};
	static struct weft_events *events;
	struct weft_api_response response;
	struct weft_api_request q = {.query = query};
	char *path, *value, *body;

	if (size < 2)
		return 0;
	q.method = methods[data[0] % 5];
	memset(&fake_engine, 0, sizeof(fake_engine));
	fake_engine.r = results[data[1] % 5];
	if (!events && weft_events_open(NULL, &events) < 0)
		abort();
	if (weft_events_last(events) < 3)
		weft_events_add(events, "service", "created", "shop.web", NULL);
	fake_engine.events = events;
	data += 2;
	size -= 2;
	path = take(&data, &size, false);
	value = take(&data, &size, false);
	q.body_size = size;
	body = take(&data, &size, true);
	fake_engine.err = value; /* texts from outside end up in errors */
	q.path = path;
	q.body = body;
	q.userdata = value[0] ? value : NULL;
	weft_api_route(NULL, &q, &response);
	if (response.op) {
		if (response.body || !response.op->instance[0] ||
			(response.op->kind == WEFT_ENGINE_EXEC && !response.op->argv[0][0]))
			abort();
		weft_api_op_free(response.op);
		response.op = NULL;
	} else {
		check(&response);
	}
	free(response.body);
	free(path);
	free(value);
	free(body);
	return 0;
}
