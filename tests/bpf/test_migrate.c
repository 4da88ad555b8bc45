/* SPDX-License-Identifier: Apache-2.0 */
/* From an older layout's pins to this one's: backends, weights and flows are what they were. The
 * older ones are made here, of the present ones: layout 2 as it was, and a layout 1 of the test's
 * own, whose instances and services look otherwise. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/capability.h>
#include <net/if.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "tests/lib/dp_lab.h"
#include "tests/lib/outer_lab.h"

#define VIP "10.30.0.1"

struct meta2 {
	__u32 layout, flow_buckets;
	__u64 seed[2];
	__u32 epoch, pad;
};
struct instance1 {
	__u32 epoch, generation, ifindex;
	__u16 service, peer;
	__be32 inst_addr, ns_addr;
	__u8 mac[6], device, active;
};
struct service1 {
	__be32 vip;
	__u32 epoch;
};

/* --- there ---------------------------------------------------------------------------------------
 */

static void instance_2(const void *old, void *fresh)
{
	const struct instance1 *o = old;
	struct weft_bpf_instance *f = fresh;

	*f = (struct weft_bpf_instance){
		.ns_addr = o->ns_addr,
		.inst_addr = o->inst_addr,
		.ifindex = o->ifindex,
		.service = o->service,
		.device = o->device,
		.active = o->active,
		.generation = o->generation,
		.epoch = o->epoch,
		.peer = o->peer,
	};
	memcpy(f->mac, o->mac, sizeof(f->mac));
}

static void service_2(const void *old, void *fresh)
{
	const struct service1 *o = old;
	struct weft_bpf_service *f = fresh;

	f->epoch = o->epoch;
	f->vip[WEFT_POLICY_RR] = o->vip;
}

static void meta_2(const void *old, void *fresh)
{
	memcpy(fresh, old, sizeof(struct meta2));
}

static const struct dp_map_change to_2[] = {
	{"instances", sizeof(struct weft_bpf_instance), instance_2},
	{"services", sizeof(struct weft_bpf_service), service_2},
	{"meta", sizeof(struct meta2), meta_2},
	{0},
};

/* --- and back ------------------------------------------------------------------------------------
 */

static void instance_1(const void *present, void *old)
{
	const struct weft_bpf_instance *p = present;
	struct instance1 *o = old;

	*o = (struct instance1){p->epoch, p->generation, p->ifindex, p->service, p->peer,
		p->inst_addr, p->ns_addr, {0}, p->device, p->active};
	memcpy(o->mac, p->mac, sizeof(o->mac));
}

static void service_1(const void *present, void *old)
{
	const struct weft_bpf_service *p = present;

	*(struct service1 *)old = (struct service1){p->vip[WEFT_POLICY_RR], p->epoch};
}

static uint32_t older; /* the layout that meta is to say */

static void meta_old(const void *present, void *old)
{
	const struct weft_meta *p = present;

	*(struct meta2 *)old =
		(struct meta2){older, p->flow_buckets, {p->seed[0], p->seed[1]}, p->epoch, 0};
}

/* Put an array of elements of that size in the place of what is pinned. */
static void replace(const char *name, uint32_t size, void (*convert)(const void *, void *))
{
	_cleanup_(freep) char *path = dp_pin_map(LAB_PINS, name);
	_cleanup_(closep) int present = bpf_obj_get(path);
	struct bpf_map_info info = {0};
	uint32_t n = sizeof(info);
	_cleanup_(closep) int old = -1;
	_Alignas(64) char a[512], b[512];

	assert_int_equal(bpf_obj_get_info_by_fd(present, &info, &n), 0);
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = info.map_flags);
	old = bpf_map_create(
		(enum bpf_map_type)info.type, name, info.key_size, size, info.max_entries, &opts);
	assert_true(old >= 0);
	for (uint32_t key = 0; key < info.max_entries; key++) {
		assert_int_equal(bpf_map_lookup_elem(present, &key, a), 0);
		memset(b, 0, sizeof(b));
		convert(a, b);
		assert_int_equal(bpf_map_update_elem(old, &key, b, BPF_ANY), 0);
	}
	assert_int_equal(unlink(path), 0);
	assert_int_equal(bpf_obj_pin(old, path), 0);
}

static void make_older(uint32_t layout)
{
	if (layout < 2) {
		replace("instances", sizeof(struct instance1), instance_1);
		replace("services", sizeof(struct service1), service_1);
	}
	older = layout;
	replace("meta", sizeof(struct meta2), meta_old);
}

/* --- a data plane with something in it -----------------------------------------------------------
 */

#define FLOWS 40

static struct weft_dp *open_dp(void)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 4096};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	return dp;
}

static int segment(struct weft_dp *dp, uint16_t sport, uint8_t flags)
{
	struct lab_frame f;

	lab_tcp(&f, (struct lab_tuple){3, VIP, sport, 80}, flags, 1);
	return lab_run(dp, &f) == LAB_REDIRECT ? lab_receiver(&f) : -1;
}

static void fill(struct weft_dp *dp, int backend[FLOWS])
{
	struct weft_dp_weight w[] = {{1, 3}, {2, 1}};

	lab_service(dp, 1, VIP);
	for (uint32_t n = 1; n <= 3; n++)
		lab_add(dp, n, n < 3);
	lab_weights(dp, 1, w, 2);
	for (uint16_t i = 0; i < FLOWS; i++)
		backend[i] = segment(dp, (uint16_t)(100 + i), LAB_SYN);
}

static void is_as_before(struct weft_dp *dp, const int backend[FLOWS])
{
	struct weft_dp_counters c;
	unsigned n[3] = {0};
	uint64_t before;

	assert_int_equal(dp->meta->layout, WEFT_ABI_LAYOUT);
	assert_string_equal(dp->meta->version, WEFT_VERSION);
	for (uint16_t i = 0; i < FLOWS; i++)
		assert_int_equal(segment(dp, (uint16_t)(100 + i), LAB_ACK), backend[i]);
	weft_dp_service_counters(dp, 1, &c);
	assert_true(c.flows >= FLOWS && c.packets >= c.flows);
	before = c.flows;
	for (uint16_t i = 0; i < 40; i++)
		n[segment(dp, (uint16_t)(before * 64 + i), LAB_SYN)]++;
	assert_int_equal(n[1], 30);
	assert_int_equal(n[2], 10);
	weft_dp_service_counters(dp, 1, &c);
	assert_int_equal(c.flows, before + 40);
}

static int leave(void **state)
{
	(void)state;
	weft_dp_destroy(LAB_PINS, NULL);
	for (int n = 1; n <= 3; n++)
		lab_sh("ip link del v%d 2>/dev/null", n);
	lab_sh("ip link del up0 2>/dev/null");
	return 0;
}

static int layouts(uint32_t *ret)
{
	struct dp_layout is;
	int r = dp_layout_read(LAB_PINS, &is);

	*ret = r == 0 ? is.number : 0;
	return r;
}

/* As a daemon does whose programs load. */
static int migrate(const struct dp_step *list, struct weft_err *err)
{
	int r = dp_migrate_prepare(LAB_PINS, list, err);

	return r > 0 ? dp_migrate_commit(LAB_PINS, list, err) : r;
}

/* --- tests ---------------------------------------------------------------------------------------
 */

static void layout_2(void **state)
{
	struct weft_dp *dp = open_dp();
	uint32_t epoch, layout;
	int backend[FLOWS];

	(void)state;
	fill(dp, backend);
	epoch = dp->meta->epoch;
	weft_dp_free(dp);
	make_older(2);
	assert_int_equal(layouts(&layout), 0);
	assert_int_equal(layout, 2);
	dp = open_dp();
	assert_int_equal(dp->meta->epoch, epoch);
	is_as_before(dp, backend);
	weft_dp_free(dp);
	dp = open_dp();
	is_as_before(dp, backend);
	weft_dp_free(dp);
}

static void two_steps(void **state)
{
	const struct dp_step list[] = {{1, to_2, NULL}, dp_steps[0], {0}};
	struct weft_dp *dp = open_dp();
	struct weft_err err = {0};
	int backend[FLOWS];
	uint32_t layout;

	(void)state;
	fill(dp, backend);
	weft_dp_free(dp);
	make_older(1);
	assert_int_equal(migrate(list, &err), 0);
	assert_int_equal(layouts(&layout), 0);
	assert_int_equal(layout, 3);
	dp = open_dp();
	is_as_before(dp, backend);
	weft_dp_free(dp);
}

/* What a layout cannot take over is left behind, and the rest is not. */
static void without_flows(void **state)
{
	static const struct dp_map_change changes[] = {
		{"flows", 0, NULL}, {"meta", sizeof(struct meta2), meta_2}, {0}};
	const struct dp_step list[] = {{1, changes, "open connections are lost"}, {0}};
	struct weft_dp *dp = open_dp();
	struct weft_err err = {0};
	int backend[FLOWS];

	(void)state;
	fill(dp, backend);
	weft_dp_free(dp);
	older = 1;
	replace("meta", sizeof(struct meta2), meta_old);
	assert_int_equal(migrate(list, &err), 0);
	dp = open_dp();
	assert_int_equal(lab_live(dp, 1) + lab_live(dp, 2), 0);
	assert_int_equal(segment(dp, 100, LAB_ACK), 3); /* a reset */
	assert_in_range(segment(dp, 100, LAB_SYN), 1, 2);
	weft_dp_free(dp);
}

/* A step that fails half way has changed nothing. */
static void failing_step(void **state)
{
	static const struct dp_map_change no_meta[] = {
		{"services", sizeof(struct weft_bpf_service), service_2}, {0}};
	static const struct dp_map_change too_big[] = {
		{"services", UINT32_MAX, service_2}, {"meta", sizeof(struct meta2), meta_2}, {0}};
	static const struct dp_map_change *const bad[] = {no_meta, too_big};
	const struct dp_step good[] = {{1, to_2, NULL}, {0}};
	struct weft_dp *dp = open_dp();
	int backend[FLOWS];
	uint32_t layout;

	(void)state;
	fill(dp, backend);
	weft_dp_free(dp);
	make_older(1);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const struct dp_step list[] = {{1, bad[i], NULL}, {0}};
		struct weft_err err = {0};

		assert_true(migrate(list, &err) < 0);
		assert_non_null(strstr(err.msg, "from layout 1 to 2"));
		assert_int_equal(layouts(&layout), 0);
		assert_int_equal(layout, 1);
		assert_int_equal(access(LAB_PINS "/next", F_OK), -1);
	}
	assert_int_equal(migrate(good, &(struct weft_err){0}), 0);
	dp = open_dp();
	is_as_before(dp, backend);
	weft_dp_free(dp);
}

/* kill -9 at any moment of it; the one between the two renames besides. */
static void killed_amid(void **state)
{
	const struct dp_step list[] = {{1, to_2, NULL}, dp_steps[0], {0}};
	struct weft_dp *dp = open_dp();
	struct weft_err err = {0};
	int backend[FLOWS];
	uint32_t layout;

	(void)state;
	fill(dp, backend);
	for (int round = 0; round < 5; round++) {
		struct timespec moment = {.tv_nsec = round * 6100000L};
		pid_t pid;

		weft_dp_free(dp);
		make_older(1);
		pid = fork();
		if (pid == 0)
			_exit(migrate(list, &err) < 0);
		nanosleep(&moment, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		assert_int_equal(migrate(list, &err), 0);
		dp = open_dp();
		is_as_before(dp, backend);
		assert_int_equal(access(LAB_PINS "/next", F_OK), -1);
		assert_int_equal(access(LAB_PINS "/step", F_OK), -1);
		assert_int_equal(access(LAB_PINS "/old", F_OK), -1);
	}
	weft_dp_free(dp);
	assert_int_equal(rename(LAB_PINS "/maps", LAB_PINS "/next"), 0);
	assert_int_equal(mkdir(LAB_PINS "/old", 0700), 0);
	assert_true(layouts(&layout) == -ENOENT);
	dp = open_dp();
	is_as_before(dp, backend);
	weft_dp_free(dp);
}

/* --- programs that do not load -------------------------------------------------------------------
 */

struct left {
	char name[64];
	uint32_t id;
};

/* What is pinned there, and which: of maps their ids, of links those of their programs. */
static unsigned look(const char *dir, struct left ret[64])
{
	struct dirent **entry = NULL;
	int all = scandir(dir, &entry, NULL, alphasort);
	unsigned n = 0;

	assert_true(all >= 0);
	for (int i = 0; i < all; i++) {
		struct bpf_link_info link = {0};
		struct bpf_map_info map = {0};
		uint32_t map_size = sizeof(map), link_size = sizeof(link);
		_cleanup_(freep) char *path = weft_strf("%s/%s", dir, entry[i]->d_name);
		_cleanup_(closep) int fd = entry[i]->d_name[0] == '.' ? -1 : bpf_obj_get(path);
		bool is_link = strstr(dir, "links");

		if (fd >= 0 && n < 64) {
			assert_int_equal(is_link ? bpf_obj_get_info_by_fd(fd, &link, &link_size)
						 : bpf_obj_get_info_by_fd(fd, &map, &map_size),
				0);
			snprintf(ret[n].name, sizeof(ret[n].name), "%.60s", entry[i]->d_name);
			ret[n++].id = is_link ? link.prog_id : map.id;
		}
		free(entry[i]);
	}
	free(entry);
	return n;
}

static struct before {
	struct left maps[64], links[64];
	unsigned n_maps, n_links;
} before;

static void look_before(void)
{
	memset(&before, 0, sizeof(before));
	before.n_maps = look(LAB_PINS "/maps", before.maps);
	before.n_links = look(LAB_PINS "/links", before.links);
	assert_true(before.n_maps > 20);
}

static void nothing_has_changed(uint32_t layout)
{
	struct left now[64] = {0};
	uint32_t is;

	assert_int_equal(look(LAB_PINS "/maps", now), before.n_maps);
	assert_memory_equal(now, before.maps, sizeof(now));
	memset(now, 0, sizeof(now));
	assert_int_equal(look(LAB_PINS "/links", now), before.n_links);
	assert_memory_equal(now, before.links, sizeof(now));
	assert_int_equal(layouts(&is), 0);
	assert_int_equal(is, layout);
	assert_int_equal(access(LAB_PINS "/next", F_OK), -1);
	assert_int_equal(access(LAB_PINS "/old", F_OK), -1);
}

/* Of a program from somebody without these the verifier asks more than ours can show. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data) < 0)
		return -errno;
	data[0].effective &= ~(1U << CAP_SYS_ADMIN);
	data[1].effective &= ~(1U << (CAP_PERFMON - 32));
	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

/* By a process of its own, as a daemon is: its errors are ours. */
static void refused(int (*prepare)(void), const char *what)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 4096};
	struct weft_err err = {0};
	struct weft_dp *dp;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (prepare() < 0 || weft_dp_open(&config, &dp, &err) == 0)
			_exit(1);
		fprintf(stderr, "# %s\n# %s\n", err.msg, err.hint);
		_exit(!strstr(err.msg, what) ||
			!strstr(err.hint, "the data plane at " LAB_PINS " goes on as it was"));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* The old programs, which old holds, forward as before: flows that there are, and new ones. */
static void forwards(struct weft_dp *old, const int backend[FLOWS], uint16_t port)
{
	for (uint16_t i = 0; i < FLOWS; i++)
		assert_int_equal(segment(old, (uint16_t)(100 + i), LAB_ACK), backend[i]);
	assert_in_range(segment(old, port, LAB_SYN), 1, 2);
}

static void verifier_refuses(void **state)
{
	struct weft_dp *old = open_dp(), *dp;
	int backend[FLOWS];

	(void)state;
	fill(old, backend);
	for (uint32_t layout = 3; layout >= 2; layout--) {
		if (layout < 3)
			make_older(layout);
		look_before();
		refused(drop_capabilities, "the kernel refused the program");
		nothing_has_changed(layout);
		forwards(old, backend, (uint16_t)(5000 + layout));
	}
	dp = open_dp();
	is_as_before(dp, backend);
	weft_dp_free(dp);
	weft_dp_free(old);
}

static int nothing(void)
{
	return 0;
}

/* One of the others: the shortcut's, which finds a table that is not its own. */
static void another_refused(void **state)
{
	struct weft_dp *old = open_dp(), *dp;
	_cleanup_(closep) int wrong = -1;
	int backend[FLOWS];

	(void)state;
	fill(old, backend);
	make_older(2);
	wrong = bpf_map_create(BPF_MAP_TYPE_ARRAY, "shortcut_stats", 4, 4, 1, NULL);
	assert_int_equal(bpf_obj_pin(wrong, LAB_PINS "/maps/shortcut_stats"), 0);
	/* Anything pinned there says that the shortcut is attached. */
	assert_int_equal(bpf_obj_pin(wrong, LAB_PINS "/links/shortcut"), 0);
	before = (struct before){0};
	before.n_maps = look(LAB_PINS "/maps", before.maps);
	refused(nothing, "loading the shortcut");
	assert_int_equal(unlink(LAB_PINS "/links/shortcut"), 0);
	before.n_links = look(LAB_PINS "/links", before.links);
	nothing_has_changed(2);
	forwards(old, backend, 5000);
	assert_int_equal(unlink(LAB_PINS "/maps/shortcut_stats"), 0);
	dp = open_dp();
	is_as_before(dp, backend);
	weft_dp_free(dp);
	weft_dp_free(old);
}

/* Before the programs of that name are loaded, the capabilities go: here, where libbpf's own is
 * called from otherwise. */
static const char *unwanted;

int bpf_object__load_skeleton(struct bpf_object_skeleton *s)
{
	int (*load)(struct bpf_object_skeleton *) = NULL;

	*(void **)&load = dlsym(RTLD_NEXT, "bpf_object__load_skeleton");
	if (!load || (unwanted && strcmp(s->name, unwanted) == 0 && drop_capabilities() < 0))
		return -ENOSYS;
	return load(s);
}

static uint32_t xdp_on_up0(void)
{
	uint32_t id = 0;

	assert_int_equal(bpf_xdp_query_id((int)if_nametoindex("up0"), 0, &id), 0);
	return id;
}

static void uplink_up(struct weft_dp *dp)
{
	struct weft_dp_uplink uplink = {.device = "up0", .xdp = WEFT_DP_XDP_NATIVE};
	struct weft_err err = {0};

	lab_uplink_device();
	if (weft_dp_uplink_set(dp, &uplink, &err) < 0)
		fail_msg("%s", err.msg);
}

/* The uplink's programs, one after the other, whether the tables move or not. */
static void uplinks_refused(void **state)
{
	static const struct {
		const char *name, *what;
	} programs[] = {
		{"tc_uplink", "loading the uplink's program: "},
		{"tc_publish", "loading the program for published ports: "},
		{"xdp_uplink", "loading the uplink's XDP program: "},
	};
	struct weft_dp *old = open_dp(), *dp;
	int backend[FLOWS];
	uint32_t xdp;

	(void)state;
	fill(old, backend);
	uplink_up(old);
	xdp = xdp_on_up0();
	assert_int_not_equal(xdp, 0);
	for (uint32_t layout = 3; layout >= 2; layout--) {
		if (layout < 3)
			make_older(layout);
		look_before();
		for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
			unwanted = programs[i].name;
			refused(nothing, programs[i].what);
			unwanted = NULL;
			nothing_has_changed(layout);
			assert_int_equal(xdp_on_up0(), xdp);
			forwards(old, backend, (uint16_t)(5000 + layout * 8 + i));
		}
	}
	dp = open_dp();
	is_as_before(dp, backend);
	assert_int_not_equal(xdp_on_up0(), xdp);
	weft_dp_free(dp);
	weft_dp_free(old);
}

static void opens_without(const char *name)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 4096};
	struct weft_err err = {0};
	struct weft_dp *dp;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		unwanted = name;
		if (weft_dp_open(&config, &dp, &err) == 0)
			_exit(0);
		fprintf(stderr, "# %s\n", err.msg);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* What the kernel refused before does not keep a later daemon from going on without it. */
static void what_did_not_run_is_no_reason(void **state)
{
	struct weft_dp *old = open_dp();
	uint32_t up0;

	(void)state;
	uplink_up(old);
	up0 = if_nametoindex("up0");
	assert_int_not_equal(dp_attached_program(LAB_PINS, DP_PUBLISH_LINK, up0), 0);
	dp_publish_detach(LAB_PINS, up0);
	weft_dp_free(old);
	opens_without("tc_publish");
	assert_int_equal(dp_attached_program(LAB_PINS, DP_PUBLISH_LINK, up0), 0);
	weft_dp_free(open_dp());
	assert_int_not_equal(dp_attached_program(LAB_PINS, DP_PUBLISH_LINK, up0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(layout_2, leave),
		cmocka_unit_test_teardown(two_steps, leave),
		cmocka_unit_test_teardown(without_flows, leave),
		cmocka_unit_test_teardown(failing_step, leave),
		cmocka_unit_test_teardown(killed_amid, leave),
		cmocka_unit_test_teardown(verifier_refuses, leave),
		cmocka_unit_test_teardown(another_refused, leave),
		cmocka_unit_test_teardown(uplinks_refused, leave),
		cmocka_unit_test_teardown(what_did_not_run_is_no_reason, leave),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
