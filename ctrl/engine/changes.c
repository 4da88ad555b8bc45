/* SPDX-License-Identifier: Apache-2.0 */
/* What differs between two descriptors, key by key. Each has one service (apply.c): its keys go by
 * their names alone, those around it by their whole path. */
#include <string.h>

#include "ctrl/engine/internal.h"

#define SERVICE_PATH "applications[0].microservices[0]"
#define MAX_DEPTH    32 /* deeper than any descriptor that is accepted */

static const char *shown(const char *path)
{
	size_t n = strlen(SERVICE_PATH);

	return strncmp(path, SERVICE_PATH ".", n + 1) == 0 ? path + n + 1 : path;
}

static void note(const char *path, const json_t *before, const json_t *after, json_t *list)
{
	json_t *change = json_pack("{s:s}", "key", shown(path));

	if (before)
		json_object_set(change, "from", (json_t *)before);
	if (after)
		json_object_set(change, "to", (json_t *)after);
	json_array_append_new(list, change);
}

static void compare(
	const char *path, const json_t *before, const json_t *after, unsigned depth, json_t *list);

static void compare_objects(
	const char *path, const json_t *before, const json_t *after, unsigned depth, json_t *list)
{
	json_auto_t *keys = json_object();
	const char *key;
	json_t *value;

	/* In the order of before, and then what after has beside it. */
	json_object_update(keys, (json_t *)before);
	json_object_update_missing(keys, (json_t *)after);
	json_object_foreach (keys, key, value) {
		_cleanup_(freep) char *at = weft_strf("%s%s%s", path, *path ? "." : "", key);

		if (at)
			compare(at, json_object_get(before, key), json_object_get(after, key),
				depth, list);
	}
}

static void compare_arrays(
	const char *path, const json_t *before, const json_t *after, unsigned depth, json_t *list)
{
	size_t n = json_array_size(before), m = json_array_size(after);

	for (size_t i = 0; i < n || i < m; i++) {
		_cleanup_(freep) char *at = weft_strf("%s[%zu]", path, i);

		if (at)
			compare(at, json_array_get(before, i), json_array_get(after, i), depth,
				list);
	}
}

static void compare(
	const char *path, const json_t *before, const json_t *after, unsigned depth, json_t *list)
{
	if (before && after && json_equal(before, after))
		return;
	if (depth < MAX_DEPTH && json_is_object(before) && json_is_object(after))
		compare_objects(path, before, after, depth + 1, list);
	else if (depth < MAX_DEPTH && json_is_array(before) && json_is_array(after))
		compare_arrays(path, before, after, depth + 1, list);
	else
		note(path, before, after, list);
}

void descriptor_changes(const json_t *before, const json_t *after, json_t *list)
{
	compare("", before, after, 0, list);
}
