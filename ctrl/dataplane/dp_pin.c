/* SPDX-License-Identifier: Apache-2.0 */
/* DIR/maps/NAME and DIR/links/INSTANCE on a bpffs: what keeps the data plane alive without us. */
#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <bpf/bpf.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

#define BPFFS "/sys/fs/bpf"

char *dp_pin_map(const char *dir, const char *name)
{
	return weft_strf("%s/maps/%s", dir, name);
}

char *dp_pin_link(const char *dir, uint32_t id)
{
	return weft_strf("%s/links/%u", dir, id);
}

char *dp_pin_name(const char *dir, const char *name)
{
	return weft_strf("%s/links/%s", dir, name);
}

int dp_refused(struct weft_err *err, int code, const char *what)
{
	if (code < 0)
		code = -code;
	if ((code == EPERM || code == EACCES) && geteuid() != 0) {
		weft_err_set(err, code, "%s: not root", what);
		return weft_err_hint(err, "run weftd as root");
	}
	errno = code;
	return weft_err_set(err, code, "%s: %m", what);
}

/* Is path, or the nearest of its parents that exists, on a bpffs? */
static int on_bpffs(const char *path, bool *ret)
{
	_cleanup_(freep) char *p = strdup(path);
	struct statfs fs;

	if (!p)
		return -ENOMEM;
	while (statfs(*p ? p : "/", &fs) < 0) {
		char *slash = strrchr(p, '/');

		if (errno != ENOENT || !slash)
			return -errno;
		*slash = '\0';
	}
	*ret = fs.f_type == BPF_FS_MAGIC;
	return 0;
}

static int mount_bpffs(struct weft_err *err)
{
	if (mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") == 0)
		return 0;
	if (errno == ENODEV) {
		weft_err_set(err, ENOTSUP, "mounting a bpffs at " BPFFS ": the kernel has none");
		return weft_err_hint(err, "weft needs a kernel with CONFIG_BPF_SYSCALL");
	}
	return dp_refused(err, errno, "mounting a bpffs at " BPFFS);
}

int dp_pin_prepare(const char *dir, struct weft_err *err)
{
	static const char *const sub[] = {"maps", "links"};
	bool found = false;
	int r;

	if (dir[0] != '/')
		return weft_err_set(err, EINVAL, "%s: not an absolute path", dir);
	r = on_bpffs(dir, &found);
	if (r == 0 && !found && strncmp(dir, BPFFS "/", strlen(BPFFS "/")) == 0) {
		r = mount_bpffs(err);
		if (r < 0)
			return r;
		r = on_bpffs(dir, &found);
	}
	if (r < 0)
		return dp_refused(err, r, dir);
	if (!found) {
		weft_err_set(err, ENOTSUP, "%s: not on a bpffs", dir);
		return weft_err_hint(
			err, "choose a directory below " BPFFS ", or mount -t bpf bpf %s", dir);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(sub); i++) {
		_cleanup_(freep) char *path = weft_strf("%s/%s", dir, sub[i]);

		r = path ? weft_mkdir_p(path, 0700) : -ENOMEM;
		if (r < 0)
			return dp_refused(err, r, path ? path : dir);
	}
	return 0;
}

/* Take off what instances are attached by, which clsact keeps no pin of. The fields that this reads
 * are where they have been in every layout. */
static void detach_instances(const char *dir)
{
	_cleanup_(freep) char *path = dp_pin_map(dir, "instances");
	_cleanup_(closep) int fd = path ? bpf_obj_get(path) : -1;
	_cleanup_(freep) struct weft_bpf_instance *inst = NULL;
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0 ||
		info.key_size != sizeof(uint32_t))
		return;
	inst = calloc(1, info.value_size + sizeof(*inst));
	for (uint32_t id = 1; inst && id < info.max_entries; id++)
		if (bpf_map_lookup_elem(fd, &id, inst) == 0 && inst->active) {
			dp_detach(dir, id, inst->ifindex);
			if (inst->active & WEFT_INSTANCE_QDISC)
				dp_detach_qdisc(inst->ifindex);
		}
}

static void detach_links(const char *dir)
{
	_cleanup_(freep) char *path = weft_strf("%s/links", dir);
	_cleanup_(closedirp) DIR *links = path ? opendir(path) : NULL;
	struct dirent *entry;
	uint64_t id;

	while (links && (entry = readdir(links)))
		if (weft_parse_u64(entry->d_name, 0, UINT32_MAX, &id) == 0)
			dp_detach(dir, (uint32_t)id, 0);
}

/* Attachments come off before the maps go, so that no program is left that drops everything. */
static void detach_all(const char *dir)
{
	dp_uplink_destroy(dir);
	detach_instances(dir);
	detach_links(dir);
}

/* Only what is ours: the directory may hold pins of others. */
static int remove_pins(const char *dir)
{
	_cleanup_(freep) char *maps = weft_strf("%s/maps", dir),
			      *links = weft_strf("%s/links", dir);
	int r = maps && links ? weft_remove_tree(links) : -ENOMEM;

	if (r == 0)
		r = weft_remove_tree(maps);
	if (r < 0)
		return r;
	rmdir(dir);
	return 0;
}

int weft_dp_destroy(const char *bpffs_dir, struct weft_err *err)
{
	struct statfs fs;
	int r;

	dp_quiet_libbpf();
	if (statfs(bpffs_dir, &fs) < 0)
		return errno == ENOENT ? 0 : dp_refused(err, errno, bpffs_dir);
	if (fs.f_type != BPF_FS_MAGIC)
		return weft_err_set(err, EINVAL, "%s: not on a bpffs, so no data plane", bpffs_dir);
	r = dp_migrate_recover(bpffs_dir);
	if (r < 0)
		return dp_refused(err, r, bpffs_dir);
	detach_all(bpffs_dir);
	dp_sockmap_detach(bpffs_dir);
	r = remove_pins(bpffs_dir);
	return r < 0 ? dp_refused(err, r, bpffs_dir) : 0;
}
