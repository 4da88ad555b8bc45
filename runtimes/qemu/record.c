/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/record.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

static char *record_path(const char *dir, const char *id)
{
	return weft_strf("%s/%s.json", dir, id);
}

int weft_vm_record_save(const char *dir, const char *id, const struct weft_vm_record *rec)
{
	_cleanup_(freep) char *path = record_path(dir, id), *text = NULL;
	json_auto_t *o = json_pack("{s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:b, s:b}", "pid",
		(json_int_t)rec->pid, "start_time", (json_int_t)rec->start_time, "qmp",
		rec->qmp_path, "image", rec->image, "accel", rec->accel, "machine", rec->machine,
		"shape", rec->shape, "powerdown", rec->powerdown, "saving", rec->saving);

	text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
	if (!path || !text)
		return -ENOMEM;
	return weft_write_file(path, text, strlen(text), 0600);
}

int weft_vm_record_load(const char *dir, const char *id, struct weft_vm_record *ret)
{
	_cleanup_(freep) char *path = record_path(dir, id), *text = NULL;
	const char *qmp, *image, *accel, *machine, *shape = "";
	struct weft_vm_record rec;
	json_auto_t *o = NULL;
	json_int_t pid, start;
	int powerdown, saving = 0, r;

	if (!path)
		return -ENOMEM;
	r = weft_read_file(path, 65536, &text, NULL);
	if (r < 0)
		return r;
	o = json_loads(text, 0, NULL);
	if (json_unpack(o, "{s:I, s:I, s:s, s:s, s:s, s:s, s?s, s:b, s?b}", "pid", &pid,
		    "start_time", &start, "qmp", &qmp, "image", &image, "accel", &accel, "machine",
		    &machine, "shape", &shape, "powerdown", &powerdown, "saving", &saving) < 0 ||
		pid <= 1 || pid > INT32_MAX || start < 0)
		return -EBADMSG;
	rec = (struct weft_vm_record){
		.pid = (pid_t)pid,
		.start_time = (uint64_t)start,
		.qmp_path = strdup(qmp),
		.image = strdup(image),
		.accel = strdup(accel),
		.machine = strdup(machine),
		.shape = strdup(shape),
		.powerdown = powerdown,
		.saving = saving,
	};
	if (!rec.qmp_path || !rec.image || !rec.accel || !rec.machine || !rec.shape) {
		weft_vm_record_done(&rec);
		return -ENOMEM;
	}
	*ret = rec;
	return 0;
}

void weft_vm_record_remove(const char *dir, const char *id)
{
	_cleanup_(freep) char *path = record_path(dir, id);

	if (path)
		unlink(path);
}

void weft_vm_record_done(struct weft_vm_record *rec)
{
	free(rec->qmp_path);
	free(rec->image);
	free(rec->accel);
	free(rec->machine);
	free(rec->shape);
	*rec = (struct weft_vm_record){};
}
