/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/cli/descriptor.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

#define BODY_MAX (1u << 20) /* the API refuses more */

static int read_stream(FILE *f, char **ret, size_t *ret_size)
{
	_cleanup_(freep) char *buf = malloc(BODY_MAX + 2);
	size_t n;

	if (!buf)
		return -ENOMEM;
	n = fread(buf, 1, BODY_MAX + 1, f);
	if (ferror(f))
		return -EIO;
	if (n > BODY_MAX)
		return -E2BIG;
	buf[n] = '\0';
	*ret = TAKE_PTR(buf);
	*ret_size = n;
	return 0;
}

int cli_read_file(
	struct cli *cli, const char *file, char **ret, size_t *ret_size, struct weft_err *err)
{
	int r = strcmp(file, "-") == 0 ? read_stream(cli->io.in, ret, ret_size)
				       : weft_read_file(file, BODY_MAX, ret, ret_size);

	if (r == -E2BIG)
		return weft_err_set(
			err, r, "%s: larger than 1 MiB, which weftd does not take", file);
	if (r < 0)
		return weft_err_set(err, r, "%s: %s", file, strerror(-r));
	return 0;
}

void cli_note_failure(struct cli *cli, struct cli_outcome *o, int r, struct weft_err *err)
{
	if (!err->code)
		weft_err_set(err, r, "%s", strerror(-r));
	cli_say_error(cli, err);
	if (o->failed++ == 0)
		o->first = weft_err_exit(err->code);
	*err = (struct weft_err){0};
}

int cli_exit_status(const struct cli_outcome *o)
{
	return o->failed && o->done ? CLI_EXIT_PARTLY : o->first;
}

static int is_descriptor(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return e->d_name[0] != '.' && n > 5 && strcmp(e->d_name + n - 5, ".json") == 0;
}

static int one_file(struct cli *cli, const char *file, bool more, cli_descriptor_t one,
	void *userdata, struct weft_err *err)
{
	_cleanup_(freep) char *body = NULL;
	size_t size = 0;
	int r = cli_read_file(cli, file, &body, &size, err);

	if (r < 0)
		return r;
	return one(cli, strcmp(file, "-") == 0 ? "stdin" : file, body, size, more, userdata, err);
}

static int each_in_directory(struct cli *cli, const char *dir, cli_descriptor_t one, void *userdata,
	struct cli_outcome *o, struct weft_err *err)
{
	const char *slash = dir[strlen(dir) - 1] == '/' ? "" : "/";
	struct dirent **list = NULL;
	int n = scandir(dir, &list, is_descriptor, alphasort);

	if (n < 0)
		return weft_err_set(err, errno, "%s: %m", dir);
	for (int i = 0; i < n; i++) {
		_cleanup_(freep) char *file = weft_strf("%s%s%s", dir, slash, list[i]->d_name);
		int r = file ? one_file(cli, file, true, one, userdata, err) : -ENOMEM;

		if (r < 0)
			cli_note_failure(cli, o, r, err);
		else
			o->done++;
		free(list[i]);
	}
	free(list);
	if (n == 0)
		return weft_err_set(err, ENOENT, "%s: no *.json in this directory", dir);
	return 0;
}

int cli_each_descriptor(struct cli *cli, const char *verb, cli_descriptor_t one, void *userdata,
	struct cli_outcome *o, struct weft_err *err)
{
	struct stat st;
	int r;

	if (!cli->file || !*cli->file) {
		weft_err_set(err, EINVAL, "weft %s: which descriptor?", verb);
		return weft_err_hint(err, "weft %s -f FILE, or -f - for stdin", verb);
	}
	if (strcmp(cli->file, "-") != 0 && stat(cli->file, &st) == 0 && S_ISDIR(st.st_mode))
		return each_in_directory(cli, cli->file, one, userdata, o, err);
	r = one_file(cli, cli->file, false, one, userdata, err);
	if (r == 0)
		o->done++;
	return r;
}
