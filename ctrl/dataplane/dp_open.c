/* SPDX-License-Identifier: Apache-2.0 */
/* Load the program over the maps that are pinned, or over new ones. */
#include <errno.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

#define FLOWS_DEFAULT (256U * 1024) /* 2 MiB: 16,000 flows fill it to an eighth */
#define FLOWS_MIN     1024U
#define FLOWS_MAX     (64U * 1024 * 1024)

/* Programs run with preemption off, but a virtual processor may stand still: far above both. */
#define GRACE_NS 100000000ULL

_Static_assert(WEFT_MAX_SERVICES == WEFT_DP_MAX_SERVICES, "one limit");
_Static_assert(WEFT_MAX_INSTANCES == WEFT_DP_MAX_INSTANCES, "one limit");

static int print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[1024];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_debug("%s", line);
	return 0;
}

void dp_quiet_libbpf(void)
{
	libbpf_set_print(print);
}

bool dp_grace_over(const struct weft_dp *dp, uint64_t since_ns)
{
	if (since_ns < dp->opened_ns)
		since_ns = dp->opened_ns;
	return since_ns < dp->grace_ns || weft_now_ns() - since_ns >= GRACE_NS;
}

void dp_grace(struct weft_dp *dp, uint64_t since_ns)
{
	static const struct timespec wait = {.tv_nsec = 20 * 1000 * 1000};

	if (dp_grace_over(dp, since_ns))
		return;
	dp->grace_ns = weft_now_ns();
	if (!dp_has(dp, DP_MEMBARRIER) || syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
		nanosleep(&wait, NULL);
}

/* --- layout --- */

static int layout_error(const char *dir, struct weft_err *err)
{
	struct dp_layout is;

	if (dp_layout_read(dir, &is) == 0 && is.number != WEFT_ABI_LAYOUT)
		weft_err_set(err, EEXIST,
			"%s: the data plane there was made by %s%s, whose tables (layout %u) "
			"weft " WEFT_VERSION " (layout %u) cannot read",
			dir, is.version[0] ? "weft " : "another version of weft", is.version,
			is.number, WEFT_ABI_LAYOUT);
	else
		weft_err_set(
			err, EEXIST, "%s: what is pinned there is no data plane of weft's", dir);
	return weft_err_hint(err,
		"it goes on as it is: start the weftd that made it, or a newer one. Or, if open "
		"connections may be lost: rm -r %s, then start this one, which sets everything up "
		"anew",
		dir);
}

static char *map_path(struct weft_dp *dp, const char *name)
{
	return weft_strf("%s/%s/%s", dp->dir, dp->moving ? "next" : "maps", name);
}

/* 1 when a whole data plane of this layout is pinned, 0 when none or only half of one is. */
static int find(const char *dir, struct weft_err *err)
{
	struct dp_layout is;
	int r = dp_layout_read(dir, &is);

	if (r == -ENOENT || (r == 0 && !is.number))
		return 0;
	if (r < 0 && r != -EBADMSG)
		return dp_refused(err, r, dir);
	return r < 0 || is.number != WEFT_ABI_LAYOUT ? layout_error(dir, err) : 1;
}

static int read_meta(struct weft_dp *dp, struct weft_meta *ret, struct weft_err *err)
{
	_cleanup_(freep) char *path = map_path(dp, "meta");
	_cleanup_(closep) int fd = -1;
	struct weft_meta meta;
	uint32_t key = 0;

	if (!path)
		return weft_err_set(err, ENOMEM, "out of memory");
	fd = bpf_obj_get(path);
	if (fd < 0 || bpf_map_lookup_elem(fd, &key, &meta) < 0)
		return dp_refused(err, fd < 0 ? fd : errno, path);
	if (!meta.flow_buckets)
		return layout_error(dp->dir, err);
	*ret = meta;
	return 0;
}

static int new_meta(uint32_t max_flows, struct weft_meta *ret, struct weft_err *err)
{
	struct weft_meta meta = {.flow_buckets = FLOWS_MIN / WEFT_BUCKET_WORDS};

	if (!max_flows)
		max_flows = FLOWS_DEFAULT;
	if (max_flows > FLOWS_MAX)
		return weft_err_set(err, EINVAL, "a flow table of %u entries: at most %u",
			max_flows, FLOWS_MAX);
	while (meta.flow_buckets * WEFT_BUCKET_WORDS < max_flows)
		meta.flow_buckets *= 2;
	if (getrandom(meta.seed, sizeof(meta.seed), 0) != sizeof(meta.seed))
		return weft_err_set(err, errno, "no random seed: %m");
	*ret = meta;
	return 0;
}

/* --- loading --- */

/* What runs has its own programs and tables. */
static void hint_goes_on(const char *dir, const char *needs, struct weft_err *err)
{
	struct dp_layout is = {0};

	dp_layout_read(dir, &is);
	weft_err_hint(err,
		"%sthe data plane at %s goes on as it was: start the weftd%s%s again that made "
		"it; --log-level=debug has the verifier's words",
		needs, dir, is.version[0] ? " " : "", is.version);
}

static int load_error(int code, const char *dir, bool taking_over, struct weft_err *err)
{
	const char *needs = "";
	unsigned major = 0, minor = 0;
	struct utsname uts = {0};

	if (uname(&uts) == 0 && sscanf(uts.release, "%u.%u", &major, &minor) == 2 &&
		(major < 5 || (major == 5 && minor < 15))) {
		weft_err_set(err, ENOTSUP, "kernel %s is too old for the data plane", uts.release);
		return weft_err_hint(err, "weft needs Linux 5.15 or later");
	}
	if ((code == -EPERM || code == -EACCES) && geteuid() == 0) {
		needs = "weft needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; ";
		weft_err_set(err, -code, "loading the data plane: the kernel refused the program");
		weft_err_hint(err, "%sthe verifier's words are in the debug log", needs);
	} else {
		dp_refused(err, code, "loading the data plane");
	}
	if (taking_over && geteuid() == 0)
		hint_goes_on(dir, needs, err);
	return code;
}

/* Pinned maps are taken over by libbpf, others created and pinned. */
static int pin_paths(struct weft_dp *dp, struct bpf_object *obj)
{
	struct bpf_map *map;
	int r;

	bpf_object__for_each_map (map, obj) {
		_cleanup_(freep) char *path = NULL;

		if (bpf_map__is_internal(map))
			continue;
		path = map_path(dp, bpf_map__name(map));
		r = path ? bpf_map__set_pin_path(map, path) : -ENOMEM;
		if (r < 0)
			return r;
	}
	return 0;
}

int dp_prepare(struct weft_dp *dp, struct bpf_object *obj)
{
	struct bpf_map *flows = bpf_object__find_map_by_name(obj, "flows");
	int r = flows ? bpf_map__set_max_entries(flows, dp->flow_buckets) : -ENOENT;

	return r < 0 ? r : pin_paths(dp, obj);
}

static bool misshapen(struct weft_dp *dp, struct bpf_object *obj)
{
	struct bpf_map *map;

	bpf_object__for_each_map (map, obj) {
		_cleanup_(freep) char *path = map_path(dp, bpf_map__name(map));
		_cleanup_(closep) int fd = path ? bpf_obj_get(path) : -1;
		struct bpf_map_info info = {0};
		uint32_t size = sizeof(info);

		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0 &&
			(info.type != bpf_map__type(map) ||
				info.key_size != bpf_map__key_size(map) ||
				info.value_size != bpf_map__value_size(map) ||
				info.max_entries != bpf_map__max_entries(map) ||
				info.map_flags != bpf_map__map_flags(map)))
			return true;
	}
	return false;
}

static int load(struct weft_dp *dp, const struct weft_dp_config *config,
	const struct weft_meta *meta, struct weft_err *err)
{
	int r;

	dp->seed[0] = meta->seed[0];
	dp->seed[1] = meta->seed[1];
	dp->mtu = config->mtu;
	dp->no_decap_flags = config->no_decap_flags;
	dp->flow_buckets = meta->flow_buckets;
	dp->kern_ctx = !config->no_kfuncs && dp_has(dp, DP_KERN_CTX);
	dp_probe_jiffies(&dp->jiffy_ns, &dp->jiffy_zero);
	dp->skel = tc_instance__open();
	if (!dp->skel)
		return load_error(-errno, dp->dir, meta->layout, err);
	DP_CONSTANTS(dp, dp->skel->rodata);
	r = dp_probe_prepare();
	if (r == 0)
		r = dp_prepare(dp, dp->skel->obj);
	if (r == 0)
		r = tc_instance__load(dp->skel);
	/* Of a map of this name that is something else, libbpf says the same as the verifier. */
	if (r == -EINVAL && misshapen(dp, dp->skel->obj))
		return layout_error(dp->dir, err);
	return r < 0 ? load_error(r, dp->dir, meta->layout, err) : 0;
}

/* --- views --- */

static size_t view_size(const struct bpf_map *map)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t size = (size_t)bpf_map__value_size(map) * bpf_map__max_entries(map);

	return (size + page - 1) / page * page;
}

static int view_map(const struct bpf_map *map, void **ret)
{
	void *view =
		mmap(NULL, view_size(map), PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	if (view == MAP_FAILED)
		return -errno;
	*ret = view;
	return 0;
}

#define VIEWS(X)         VIEWS_BASE(X) VIEWS_MORE(X) VIEWS_PUBLISH(X)
#define VIEWS_BASE(X)    X(meta) X(instances) X(services) X(devices) X(slot_dir) X(rooms) X(slots)
#define VIEWS_MORE(X)    X(flows) X(peers) X(peers_by_addr) X(uplink) X(shortcut_netns)
#define VIEWS_PUBLISH(X) X(published) X(publish_ports) X(publish_at) X(quality)

static int view(struct weft_dp *dp, struct weft_err *err)
{
	int r;

#define VIEW(name)                                             \
	r = view_map(dp->skel->maps.name, (void **)&dp->name); \
	if (r < 0)                                             \
		return dp_refused(err, r, "mapping " #name);
	VIEWS(VIEW)
#undef VIEW
	if (dp_slots_open(dp) < 0)
		return weft_err_set(err, ENOMEM, "out of memory");
	return 0;
}

void weft_dp_free(struct weft_dp *dp)
{
	if (!dp)
		return;
#define UNVIEW(name)  \
	if (dp->name) \
		munmap(dp->name, view_size(dp->skel->maps.name));
	VIEWS(UNVIEW)
#undef UNVIEW
	dp_sockmap_free(dp);
	tc_instance__destroy(dp->skel);
	dp_uplink_free(dp);
	free(dp->peer_notes);
	free(dp->slots_used);
	free(dp->slots_given_back);
	free(dp->cgroup);
	free(dp->dir);
	free(dp);
}

/* --- open --- */

static int take_over(struct weft_dp *dp, struct weft_err *err)
{
	for (uint32_t id = 1; id < WEFT_MAX_INSTANCES; id++) {
		int r;

		/* One that was being attached may have nothing on its device yet, and stays so. */
		if (!(dp->instances[id].active & WEFT_INSTANCE_ACTIVE) ||
			!dp->instances[id].ifindex)
			continue;
		r = dp_attach_refresh(dp, id, dp->instances[id].ifindex);
		/* Its device has gone meanwhile: whoever owns the instance will find out. */
		if (r == -ENOLINK || r == -ENODEV || r == -EINVAL)
			continue;
		if (r < 0) {
			dp_refused(err, r, "replacing the program on its device");
			weft_err_prefix(err, "instance %u", id);
			return r;
		}
	}
	dp_uplink_take_over(dp);
	return 0;
}

static int open_new(struct weft_dp *dp, const struct weft_dp_config *config, struct weft_err *err)
{
	struct weft_meta meta;
	int r;

	/* Remains of an earlier daemon that was killed while it made one. */
	r = weft_dp_destroy(dp->dir, err);
	if (r == 0)
		r = new_meta(config->max_flows, &meta, err);
	if (r == 0)
		r = dp_pin_prepare(dp->dir, err);
	if (r < 0)
		return r;
	r = load(dp, config, &meta, err);
	if (r == 0)
		r = view(dp, err);
	if (r < 0) {
		weft_dp_destroy(dp->dir, NULL);
		return r;
	}
	*dp->meta = meta;
	__atomic_store_n(&dp->meta->layout, WEFT_ABI_LAYOUT, __ATOMIC_RELEASE);
	return 0;
}

/* All that will run is loaded before anything changes for what runs. */
static int open_found(struct weft_dp *dp, const struct weft_dp_config *config, struct weft_err *err)
{
	struct weft_meta meta;
	int r = read_meta(dp, &meta, err);

	if (r == 0)
		r = load(dp, config, &meta, err);
	if (r == 0)
		r = view(dp, err);
	if (r < 0)
		return r;
	r = dp_uplink_rehearse(dp, err);
	if (r == 0)
		r = dp_sockmap_rehearse(dp, err);
	if (r < 0) {
		hint_goes_on(dp->dir, "", err);
		return r;
	}
	if (dp->moving)
		r = dp_migrate_commit(dp->dir, dp_steps, err);
	dp->moving = false;
	return r;
}

/* Maps of earlier versions, which no program has any more. */
static void forget_maps(struct weft_dp *dp)
{
	static const char *const gone[] = {"clocks", "hops"};

	for (size_t i = 0; i < ARRAY_SIZE(gone); i++) {
		_cleanup_(freep) char *path = map_path(dp, gone[i]);

		if (path)
			unlink(path);
	}
}

static int open_prepared(
	struct weft_dp *dp, const struct weft_dp_config *config, struct weft_err *err)
{
	int r = dp_migrate_prepare(dp->dir, dp_steps, err), found;

	if (r < 0)
		return r;
	dp->moving = r > 0;
	found = dp->moving ? 1 : find(dp->dir, err);
	if (found < 0)
		return found;
	r = found ? open_found(dp, config, err) : open_new(dp, config, err);
	if (r < 0 && found)
		dp_migrate_recover(dp->dir);
	if (r < 0)
		return r;
	snprintf(dp->meta->version, sizeof(dp->meta->version), "%s", WEFT_VERSION);
	dp->tcx = !config->clsact && dp_has(dp, DP_TCX);
	r = found ? take_over(dp, err) : 0;
	if (r == 0) {
		dp_sockmap_take_over(dp);
		forget_maps(dp);
	}
	return r;
}

int weft_dp_open(const struct weft_dp_config *config, struct weft_dp **ret, struct weft_err *err)
{
	_cleanup_(weft_dp_freep) struct weft_dp *dp = NULL;
	int r;

	if (config->mtu && (config->mtu < 576 || config->mtu > 65535))
		return weft_err_set(err, EINVAL,
			"an overlay MTU of %u: 576 to 65535, or 0 for none", config->mtu);
	dp_quiet_libbpf();
	dp = calloc(1, sizeof(*dp));
	if (dp)
		dp->dir = strdup(config->bpffs_dir);
	if (dp && config->cgroup)
		dp->cgroup = strdup(config->cgroup);
	if (!dp || !dp->dir || !dp->cgroup != !config->cgroup)
		return weft_err_set(err, ENOMEM, "out of memory");
	/* What an earlier daemon did in its last moments is not known. */
	dp->opened_ns = weft_now_ns();
	r = dp_feature_hide(dp, config->without, err);
	if (r == 0)
		r = dp_feature_check(dp, err);
	if (r == 0)
		r = dp_pin_prepare(dp->dir, err);
	if (r == 0)
		r = open_prepared(dp, config, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(dp);
	return 0;
}

const char *weft_dp_hook(struct weft_dp *dp)
{
	return dp->tcx ? "tcx" : "clsact";
}

uint32_t weft_dp_flow_capacity(struct weft_dp *dp)
{
	return dp->flow_buckets * WEFT_BUCKET_WORDS;
}
