/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/qmp_message.h"

#include <errno.h>

int weft_qmp_message_parse(const char *line, size_t size, struct weft_qmp_message *ret)
{
	json_auto_t *root = NULL;
	struct weft_qmp_message m = {.id = -1};
	const json_t *id, *error;

	if (size > WEFT_QMP_LINE_MAX)
		return -EBADMSG;
	root = json_loadb(line, size, 0, NULL);
	if (!json_is_object(root))
		return -EBADMSG;
	id = json_object_get(root, "id");
	if (json_is_integer(id) && json_integer_value(id) >= 0)
		m.id = json_integer_value(id);

	error = json_object_get(root, "error");
	if ((m.data = json_object_get(root, "QMP"))) {
		m.kind = WEFT_QMP_GREETING;
		if (!json_is_object(m.data))
			return -EBADMSG;
	} else if ((m.name = json_string_value(json_object_get(root, "event")))) {
		m.kind = WEFT_QMP_EVENT;
		m.data = json_object_get(root, "data");
	} else if ((m.data = json_object_get(root, "return"))) {
		m.kind = WEFT_QMP_RETURN;
	} else if (json_is_object(error)) {
		m.kind = WEFT_QMP_ERROR;
		m.name = json_string_value(json_object_get(error, "class"));
		m.text = json_string_value(json_object_get(error, "desc"));
		if (!m.name || !m.text)
			return -EBADMSG;
	} else {
		return -EBADMSG;
	}
	m.root = json_incref(root);
	*ret = m;
	return 0;
}

void weft_qmp_message_done(struct weft_qmp_message *m)
{
	json_decref(m->root);
	*m = (struct weft_qmp_message){.id = -1};
}
