/* SPDX-License-Identifier: Apache-2.0 */
/* From the pins of one layout to those of the next. Programs run on with the maps that they hold
 * until their successors take their places, device by device: a map that a step does not change is
 * shared by both meanwhile, which is how the flow table and the counters get over without a gap.
 * What a step changes is copied, and only the daemon writes into it.
 *
 * DIR/next is filled, step by step (DIR/step becomes the next one), and takes DIR/maps's place when
 * the new programs have been loaded over it: by two renames, between which DIR/old says that next
 * is whole. Whoever comes after a kill -9 begins anew or ends it. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

/* --- the steps -----------------------------------------------------------------------------------
 */

/* Layout 2: no version, and half as large. */
struct meta2 {
	__u32 layout, flow_buckets;
	__u64 seed[2];
	__u32 epoch, pad;
};

static void meta_3(const void *old, void *fresh)
{
	const struct meta2 *m = old;

	*(struct weft_meta *)fresh = (struct weft_meta){
		.flow_buckets = m->flow_buckets,
		.seed = {m->seed[0], m->seed[1]},
		.epoch = m->epoch,
	};
}

static const struct dp_map_change to_3[] = {{"meta", sizeof(struct weft_meta), meta_3}, {0}};

static const struct dp_step steps[] = {{2, to_3, NULL}, {0}};

const struct dp_step *const dp_steps = steps;

_Static_assert(WEFT_ABI_LAYOUT == 3, "a new layout needs a step that leads to it");

/* --- what is pinned ------------------------------------------------------------------------------
 */

int dp_layout_read(const char *dir, struct dp_layout *ret)
{
	_cleanup_(freep) char *path = dp_pin_map(dir, "meta");
	_cleanup_(freep) struct weft_meta *meta = NULL;
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info), key = 0;
	_cleanup_(closep) int fd = -1;

	if (!path)
		return -ENOMEM;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	meta = calloc(1, info.value_size + sizeof(*meta));
	if (!meta)
		return -ENOMEM;
	if (info.key_size != sizeof(key) || info.value_size < sizeof(meta->layout) ||
		bpf_map_lookup_elem(fd, &key, meta) < 0)
		return -EBADMSG;
	*ret = (struct dp_layout){.number = meta->layout};
	/* From layout 3 on it says whose it is. */
	if (meta->layout >= 3 && info.value_size >= sizeof(*meta))
		snprintf(ret->version, sizeof(ret->version), "%.*s", (int)sizeof(meta->version),
			meta->version);
	return 0;
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

int dp_migrate_recover(const char *dir)
{
	_cleanup_(freep) char *maps = weft_strf("%s/maps", dir), *old = weft_strf("%s/old", dir),
			      *next = weft_strf("%s/next", dir), *step = weft_strf("%s/step", dir),
			      *meta = dp_pin_map(dir, "meta");
	int r;

	if (!maps || !old || !next || !step || !meta)
		return -ENOMEM;
	if (exists(old) && !exists(meta) && exists(next) && rename(next, maps) < 0)
		return -errno;
	r = weft_remove_tree(old);
	if (r == 0)
		r = weft_remove_tree(step);
	return r < 0 ? r : weft_remove_tree(next);
}

/* --- one step ------------------------------------------------------------------------------------
 */

static bool is_percpu(const struct bpf_map_info *info)
{
	return info->type == BPF_MAP_TYPE_PERCPU_ARRAY || info->type == BPF_MAP_TYPE_PERCPU_HASH ||
	       info->type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

/* At a cache line, as the structs that lie there want it. */
static char *elements(size_t size)
{
	return aligned_alloc(64, (size + 63) / 64 * 64);
}

static int copy(int old, const struct bpf_map_info *info, int fresh, const struct dp_map_change *c)
{
	bool percpu = is_percpu(info);
	size_t n = percpu ? (size_t)libbpf_num_possible_cpus() : 1;
	size_t from = percpu ? (info->value_size + 7) / 8 * 8 : info->value_size;
	size_t to = percpu ? (c->value_size + 7) / 8 * 8 : c->value_size;
	_cleanup_(freep) char *key = calloc(1, info->key_size), *a = elements(n * from),
			      *b = elements(n * to);
	const void *last = NULL;
	int r;

	if (!key || !a || !b)
		return -ENOMEM;
	while ((r = bpf_map_get_next_key(old, last, key)) == 0) {
		last = key;
		if (bpf_map_lookup_elem(old, key, a) < 0)
			continue; /* it has just been taken out */
		memset(b, 0, n * to);
		for (size_t i = 0; i < n; i++)
			c->convert(a + i * from, b + i * to);
		r = bpf_map_update_elem(fresh, key, b, BPF_ANY);
		if (r < 0)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

/* The same map, or one of the new shape with the same in it, in the other directory. */
static int carry(
	const char *maps, const char *next, const char *name, const struct dp_map_change *c)
{
	_cleanup_(freep) char *from = weft_strf("%s/%s", maps, name),
			      *to = weft_strf("%s/%s", next, name);
	_cleanup_(closep) int old = -1, fresh = -1;
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);
	int r;

	if (!from || !to)
		return -ENOMEM;
	if (c && !c->convert)
		return 0; /* the new programs make one of their own, if they have any */
	old = bpf_obj_get(from);
	if (old < 0)
		return old;
	if (!c)
		return bpf_obj_pin(old, to);
	if (bpf_obj_get_info_by_fd(old, &info, &size) < 0)
		return -errno;
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = info.map_flags);
	fresh = bpf_map_create((enum bpf_map_type)info.type, name, info.key_size, c->value_size,
		info.max_entries, &opts);
	if (fresh < 0)
		return fresh;
	r = copy(old, &info, fresh, c);
	return r < 0 ? r : bpf_obj_pin(fresh, to);
}

static const struct dp_map_change *change_of(const struct dp_step *step, const char *map)
{
	for (const struct dp_map_change *c = step->changes; c->map; c++)
		if (strcmp(c->map, map) == 0)
			return c;
	return NULL;
}

/* The number is the first word of every layout's meta, and none that a program reads. */
static int number(const char *next, uint32_t layout)
{
	_cleanup_(freep) char *path = weft_strf("%s/meta", next);
	_cleanup_(closep) int fd = path ? bpf_obj_get(path) : -ENOMEM;
	_cleanup_(freep) uint32_t *meta = NULL;
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info), key = 0;
	int r;

	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	meta = calloc(1, info.value_size + sizeof(*meta));
	if (!meta)
		return -ENOMEM;
	r = bpf_map_lookup_elem(fd, &key, meta);
	if (r < 0)
		return r;
	meta[0] = layout;
	return bpf_map_update_elem(fd, &key, meta, BPF_ANY);
}

static int fill(const char *from, const char *to, const struct dp_step *step, struct weft_err *err)
{
	_cleanup_(closedirp) DIR *maps = opendir(from);
	struct dirent *entry;
	int r = maps && mkdir(to, 0700) == 0 ? 0 : -errno;

	while (r == 0 && (entry = readdir(maps))) {
		if (entry->d_name[0] == '.')
			continue;
		r = carry(from, to, entry->d_name, change_of(step, entry->d_name));
		if (r < 0)
			return dp_refused(err, r, entry->d_name);
	}
	if (r == 0)
		r = number(to, step->from + 1);
	return r < 0 ? dp_refused(err, r, "making the maps of the next layout") : 0;
}

/* What an earlier step has made takes this one's maps in its place. */
static int fill_again(
	const char *dir, const char *next, const struct dp_step *step, struct weft_err *err)
{
	_cleanup_(freep) char *again = weft_strf("%s/step", dir);
	int r = again ? fill(next, again, step, err) : -ENOMEM;

	if (r < 0)
		return r;
	r = weft_remove_tree(next);
	if (r == 0 && rename(again, next) < 0)
		r = -errno;
	return r < 0 ? dp_refused(err, r, "making the maps of the next layout") : 0;
}

/* The change of meta makes it one of its own, whose number nobody else sees yet. */
static int take_step(const char *dir, const struct dp_step *step, bool first, struct weft_err *err)
{
	_cleanup_(freep) char *maps = weft_strf("%s/maps", dir), *next = weft_strf("%s/next", dir);
	int r = maps && next ? 0 : -ENOMEM;

	if (r == 0 && !change_of(step, "meta"))
		r = -EINVAL;
	if (r == 0)
		r = first ? fill(maps, next, step, err) : fill_again(dir, next, step, err);
	if (r == 0)
		return 0;
	if (!err->code)
		weft_err_set(err, r, r == -EINVAL ? "a step without a new meta" : "out of memory");
	weft_err_prefix(err, "%s: from layout %u to %u", dir, step->from, step->from + 1);
	return r;
}

int dp_migrate_prepare(const char *dir, const struct dp_step *list, struct weft_err *err)
{
	struct dp_layout is;
	int r = dp_migrate_recover(dir), taken = 0;

	if (r < 0)
		return dp_refused(err, r, dir);
	if (dp_layout_read(dir, &is) < 0)
		return 0;
	for (const struct dp_step *s = list; s->changes; s++) {
		if (is.number != s->from)
			continue;
		r = take_step(dir, s, taken == 0, err);
		if (r < 0) {
			dp_migrate_recover(dir);
			return r;
		}
		is.number++;
		taken++;
	}
	return taken;
}

/* --- in place ------------------------------------------------------------------------------------
 */

static void say(const struct dp_step *list, uint32_t from)
{
	for (const struct dp_step *s = list; s->changes; s++) {
		if (from != s->from)
			continue;
		from++;
		log_info("data plane: layout %u has become %u", s->from, from);
		if (s->lost)
			log_warning("data plane: %s", s->lost);
	}
}

int dp_migrate_commit(const char *dir, const struct dp_step *list, struct weft_err *err)
{
	_cleanup_(freep) char *maps = weft_strf("%s/maps", dir), *old = weft_strf("%s/old", dir),
			      *next = weft_strf("%s/next", dir);
	struct dp_layout is;
	int r;

	if (!maps || !old || !next)
		return weft_err_set(err, ENOMEM, "out of memory");
	r = dp_layout_read(dir, &is);
	if (r == 0 && (rename(maps, old) < 0 || rename(next, maps) < 0))
		r = -errno;
	if (r == 0)
		r = weft_remove_tree(old);
	if (r == 0)
		say(list, is.number);
	return r < 0 ? dp_refused(err, r, "putting the maps of the next layout in place") : 0;
}
