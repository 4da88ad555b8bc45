/* SPDX-License-Identifier: Apache-2.0 */
/* Which program runs an instance. containerd starts a shim, the shim an OCI runtime: runc's shim
 * works with all that take runc's arguments, others have a shim of their own. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/containerd/ctrd.h"

#define RUNC_SHIM    "io.containerd.runc.v2"
#define SHIM_PREFIX  "io.containerd."
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* containerd's own PATH is what its shims are looked up in, and what they look theirs up in. */
static char *containerd_path(const struct weft_runtime *rt)
{
	_cleanup_(freep) char *file = weft_strf("/proc/%d/environ", (int)weft_grpc_peer(rt->grpc));
	_cleanup_(freep) char *text = NULL;
	size_t size;

	if (!file || weft_read_file(file, 1 << 20, &text, &size) < 0)
		return strdup(DEFAULT_PATH);
	for (const char *p = text; p < text + size; p += strlen(p) + 1)
		if (strncmp(p, "PATH=", 5) == 0)
			return strdup(p + 5);
	return strdup(DEFAULT_PATH);
}

bool ctrd_program_there(const struct weft_runtime *rt, const char *name)
{
	_cleanup_(freep) char *path = containerd_path(rt);
	char *save = NULL;

	if (!path)
		return false;
	for (char *d = strtok_r(path, ":", &save); d; d = strtok_r(NULL, ":", &save)) {
		_cleanup_(freep) char *file = weft_strf("%s/%s", d, name);
		struct stat st;

		if (file && stat(file, &st) == 0 && S_ISREG(st.st_mode) && access(file, X_OK) == 0)
			return true;
	}
	return false;
}

/* "io.containerd.kata.v2" is run by containerd-shim-kata-v2. */
static int shim_name(const char *runtime, char *ret, size_t size)
{
	const char *name = runtime + strlen(SHIM_PREFIX), *version = strrchr(name, '.');

	if (!version || version == name || version[1] != 'v' ||
		!isdigit((unsigned char)version[2]) ||
		version[2 + strspn(version + 2, "0123456789")] != '\0' ||
		memchr(name, '.', (size_t)(version - name)))
		return -EINVAL;
	if ((size_t)snprintf(ret, size, "containerd-shim-%.*s-%s", (int)(version - name), name,
		    version + 1) >= size)
		return -ENAMETOOLONG;
	return 0;
}

static int missing(const char *name, const char *program, struct weft_err *err)
{
	weft_err_set(err, ENOTSUP, "runtime %s: %s is not in containerd's PATH", name, program);
	return weft_err_hint(err, "install it, or leave \"runtime\" out for runc");
}

static int find_named(const struct weft_runtime *rt, const char *name, struct ctrd_handler *h,
	struct weft_err *err)
{
	char shim[192];

	if (!weft_name_valid(name, sizeof(h->runtime) - 1))
		return weft_err_set(err, EINVAL, "runtime \"%.80s\": not a valid name", name);
	if (strncmp(name, SHIM_PREFIX, strlen(SHIM_PREFIX)) != 0) {
		if (!ctrd_program_there(rt, name))
			return missing(name, "the program", err);
		snprintf(h->binary, sizeof(h->binary), "%s", name);
		h->recursive_ro = false;
		return 0;
	}
	if (shim_name(name, shim, sizeof(shim)) < 0) {
		weft_err_set(err, EINVAL, "runtime %s: not a name that containerd knows", name);
		return weft_err_hint(err, "io.containerd.NAME.vN: io.containerd.runc.v2");
	}
	if (!ctrd_program_there(rt, shim))
		return missing(name, shim, err);
	if (strcmp(name, RUNC_SHIM) == 0)
		return 0;
	h->runc = h->recursive_ro = false;
	h->binary[0] = '\0';
	snprintf(h->runtime, sizeof(h->runtime), "%s", name);
	return 0;
}

int ctrd_handler_find(const struct weft_runtime *rt, enum weft_virt virt, const char *name,
	struct ctrd_handler *ret, struct weft_err *err)
{
	struct ctrd_handler h = {.runtime = RUNC_SHIM, .runc = true};
	int r;

	if (virt == WEFT_VIRT_CONTAINER) {
		h.recursive_ro = true;
		snprintf(h.binary, sizeof(h.binary), "runc");
	} else if (virt == WEFT_VIRT_GVISOR && rt->runsc) {
		/* Debian has no shim for runsc; runc's works with it. */
		snprintf(h.binary, sizeof(h.binary), "%s", rt->runsc);
	} else {
		return weft_err_set(
			err, ENOTSUP, "containerd cannot run a %s here", weft_virt_name(virt));
	}
	if (name && virt != WEFT_VIRT_CONTAINER)
		return weft_err_set(err, ENOTSUP, "runtime %s: a %s has one of its own", name,
			weft_virt_name(virt));
	r = name ? find_named(rt, name, &h, err) : 0;
	if (r == 0)
		*ret = h;
	return r;
}
