/* SPDX-License-Identifier: Apache-2.0 */
/* Requests about an instance whose answer comes later. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/internal.h"
#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

#define MAX_ARGS       256
#define TIMEOUT_MS     30000
#define MAX_TIMEOUT_MS 3600000

void weft_api_op_free(struct weft_engine_op *op)
{
	if (!op)
		return;
	strv_free(op->argv);
	free(op->instance);
	free(op->virt);
	free(op);
}
WEFT_DEFINE_CLEANUP(struct weft_engine_op *, weft_api_op_free);

void weft_api_op_answer(
	int r, const struct weft_err *err, json_t *doc, struct weft_api_response *ret)
{
	struct weft_err why = *err;

	*ret = (struct weft_api_response){0};
	if (r == 0)
		r = api_answer(ret, 200, doc);
	if (r == 0)
		return;
	if (!why.code)
		weft_err_set(&why, r, "%s", strerror(-r));
	weft_api_error(&why, 0, ret);
}

static struct weft_engine_op *new_op(enum weft_engine_op_kind kind, const char *name)
{
	struct weft_engine_op *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->kind = kind;
	op->instance = name ? strdup(name) : NULL;
	if (name && !op->instance) {
		free(op);
		return NULL;
	}
	return op;
}

static int simple(enum weft_engine_op_kind kind, const char *name, struct weft_api_response *ret)
{
	ret->op = new_op(kind, name);
	return ret->op ? 0 : -ENOMEM;
}

int api_pause(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	(void)e, (void)q, (void)err;
	return simple(WEFT_ENGINE_PAUSE, name, ret);
}

int api_resume(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	(void)e, (void)q, (void)err;
	return simple(WEFT_ENGINE_RESUME, name, ret);
}

static int bad(const char *key, const char *wants, struct weft_err *err)
{
	weft_err_set(err, EINVAL, "exec: %s: must be %s", key, wants);
	return weft_err_hint(err, "{\"command\": [\"/bin/ls\", \"/\"], \"timeout_ms\": 5000}");
}

static int get_command(const json_t *doc, struct weft_engine_op *op, struct weft_err *err)
{
	const json_t *list = json_object_get(doc, "command");
	size_t n = json_array_size(list);

	if (!json_is_array(list) || n == 0 || n > MAX_ARGS)
		return bad("command", "a list of 1 to 256 strings", err);
	op->argv = calloc(n + 1, sizeof(*op->argv));
	for (size_t i = 0; op->argv && i < n; i++) {
		const char *s = json_string_value(json_array_get(list, i));

		if (!s || (i == 0 && !*s))
			return bad("command", "a list of strings, the first one a program", err);
		op->argv[i] = strdup(s);
		if (!op->argv[i])
			return -ENOMEM;
	}
	return op->argv ? 0 : -ENOMEM;
}

static int get_timeout(const json_t *doc, struct weft_engine_op *op, struct weft_err *err)
{
	const json_t *v = json_object_get(doc, "timeout_ms");
	json_int_t ms = v ? json_integer_value(v) : TIMEOUT_MS;

	if ((v && !json_is_integer(v)) || ms < 1 || ms > MAX_TIMEOUT_MS)
		return bad("timeout_ms", "a whole number from 1 to 3600000", err);
	op->timeout_ms = (unsigned)ms;
	return 0;
}

static int check_keys(const json_t *doc, struct weft_err *err)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)doc, key, value)
		if (strcmp(key, "command") != 0 && strcmp(key, "timeout_ms") != 0) {
			weft_err_set(err, EINVAL, "exec: unknown key \"%.40s\"", key);
			return weft_err_hint(err, "command, timeout_ms");
		}
	return 0;
}

int api_exec(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	_cleanup_(weft_api_op_freep) struct weft_engine_op *op = new_op(WEFT_ENGINE_EXEC, name);
	json_error_t je;
	json_auto_t *doc = json_loadb(q->body, q->body_size, JSON_REJECT_DUPLICATES, &je);
	int r;

	(void)e;
	if (!op)
		return -ENOMEM;
	if (!doc)
		return weft_err_set(err, EBADMSG, "request: line %d column %d: %s", je.line,
			je.column, je.text);
	if (!json_is_object(doc))
		return weft_err_set(err, EINVAL, "request: must be an object");
	r = check_keys(doc, err);
	if (r == 0)
		r = get_command(doc, op, err);
	if (r == 0)
		r = get_timeout(doc, op, err);
	if (r == 0)
		ret->op = TAKE_PTR(op);
	return r;
}

/* --- images --------------------------------------------------------------------------------------
 */

int api_images(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	(void)e, (void)q, (void)name, (void)err;
	return simple(WEFT_ENGINE_IMAGE_LIST, NULL, ret);
}

int api_images_prune(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	(void)e, (void)q, (void)name, (void)err;
	return simple(WEFT_ENGINE_IMAGE_PRUNE, NULL, ret);
}

/* An image's name may have slashes, which a path cannot carry. */
int api_image_remove(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	const char *image = q->query(q->userdata, "image");

	(void)e, (void)name;
	if (!image || !*image)
		return weft_err_set(err, EINVAL, "image: which one? DELETE /v1/images?image=ID");
	return simple(WEFT_ENGINE_IMAGE_REMOVE, image, ret);
}

int api_image_pull(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	json_auto_t *doc = json_loadb(q->body, q->body_size, JSON_REJECT_DUPLICATES, NULL);
	const json_t *image = json_object_get(doc, "image");
	const json_t *virt = json_object_get(doc, "virtualization");
	_cleanup_(weft_api_op_freep) struct weft_engine_op *op = NULL;

	(void)e, (void)name;
	if (!json_is_string(image) || !*json_string_value(image) ||
		(virt && !json_is_string(virt)) || json_object_size(doc) != (virt ? 2U : 1U)) {
		weft_err_set(err, EINVAL, "image: image, and perhaps virtualization, are strings");
		return weft_err_hint(err, "{\"image\": \"docker.io/library/nginx:1.25\", "
					  "\"virtualization\": \"container\"}");
	}
	op = new_op(WEFT_ENGINE_IMAGE_PULL, json_string_value(image));
	if (!op)
		return -ENOMEM;
	if (virt) {
		op->virt = strdup(json_string_value(virt));
		if (!op->virt)
			return -ENOMEM;
	}
	ret->op = TAKE_PTR(op);
	return 0;
}
