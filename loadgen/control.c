/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/control.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "ctrl/base/util.h"

struct load_control {
	int fd;
	bool owns_fd;
	char *made;    /* the FIFO to remove */
	bool skipping; /* the rest of a line that was too long */
	size_t size;
	char buf[1024];
};

static int fifo_error(struct weft_err *err, const char *path, int code)
{
	weft_err_set(err, code, "control %s: %s", path, strerror(abs(code)));
	return weft_err_hint(
		err, "give the path of a FIFO, or of nothing in a directory that exists");
}

static int open_fifo(struct load_control *c, const char *path, struct weft_err *err)
{
	struct stat st;

	if (mkfifo(path, 0600) == 0) {
		c->made = strdup(path);
		if (!c->made) {
			unlink(path);
			return fifo_error(err, path, -ENOMEM);
		}
	} else if (errno != EEXIST) {
		return fifo_error(err, path, -errno);
	}
	if (stat(path, &st) < 0)
		return fifo_error(err, path, -errno);
	if (!S_ISFIFO(st.st_mode)) {
		weft_err_set(err, EEXIST, "control %s: exists and is not a FIFO", path);
		return weft_err_hint(err, "choose another path, or remove it");
	}
	/* With a writer of our own there is never an end of file when another one leaves. */
	c->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	c->owns_fd = true;
	return c->fd < 0 ? fifo_error(err, path, -errno) : 0;
}

int load_control_open(const char *path, struct load_control **ret, struct weft_err *err)
{
	_cleanup_(load_control_closep) struct load_control *c = calloc(1, sizeof(*c));
	int r = 0;

	if (!c)
		return fifo_error(err, path, -ENOMEM);
	c->fd = STDIN_FILENO;
	if (strcmp(path, "-") != 0) {
		c->fd = -1;
		r = open_fifo(c, path, err);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

void load_control_close(struct load_control *c)
{
	if (!c)
		return;
	if (c->owns_fd && c->fd >= 0)
		close(c->fd);
	if (c->made)
		unlink(c->made);
	free(c->made);
	free(c);
}

int load_control_fd(const struct load_control *c)
{
	return c->fd;
}

void load_control_read(struct load_control *c)
{
	ssize_t n = read(c->fd, c->buf + c->size, sizeof(c->buf) - c->size);

	if (n > 0)
		c->size += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		c->fd = c->owns_fd ? c->fd : -1;
}

static int parse(char *line, struct load_command *ret, struct weft_err *err)
{
	const char *verb, *name, *rest;
	char *at = NULL;

	verb = strtok_r(line, " \t\r", &at);
	name = strtok_r(NULL, " \t\r", &at);
	rest = strtok_r(NULL, " \t\r", &at);
	if (strcmp(verb, "stop") == 0 && !name) {
		ret->verb = LOAD_VERB_STOP;
		return 1;
	}
	if (strcmp(verb, "phase") == 0 && name && !rest) {
		if (!weft_name_valid(name, LOAD_NAME_MAX)) {
			weft_err_set(err, EINVAL, "control: phase %s: not a name", name);
			return weft_err_hint(
				err, "use at most 32 letters, digits, '.', '_' and '-'");
		}
		ret->verb = LOAD_VERB_PHASE;
		strcpy(ret->name, name);
		return 1;
	}
	weft_err_set(err, EINVAL, "control: %s: not a command", verb);
	return weft_err_hint(err, "the commands are \"phase NAME\" and \"stop\"");
}

/* Take the first size bytes, a whole line, out of the buffer. */
static void drop(struct load_control *c, size_t size)
{
	c->size -= size;
	memmove(c->buf, c->buf + size, c->size);
}

int load_control_next(struct load_control *c, struct load_command *ret, struct weft_err *err)
{
	char *end;

	while ((end = memchr(c->buf, '\n', c->size))) {
		size_t size = (size_t)(end - c->buf) + 1;
		char line[sizeof(c->buf)];

		memcpy(line, c->buf, size);
		line[size - 1] = '\0';
		drop(c, size);
		if (c->skipping)
			c->skipping = false;
		else if (line[strspn(line, " \t\r")])
			return parse(line, ret, err);
	}
	if (c->size == sizeof(c->buf)) {
		bool first = !c->skipping;

		c->size = 0;
		c->skipping = true;
		if (first) {
			weft_err_set(err, EINVAL, "control: a line is too long");
			return weft_err_hint(err, "the commands are \"phase NAME\" and \"stop\"");
		}
	}
	return 0;
}
