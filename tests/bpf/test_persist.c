/* SPDX-License-Identifier: Apache-2.0 */
/* What outlives a daemon: pins, flows, generations, attachments; and what stands in its way. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/ip.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/dataplane/dp.h"
#include "tests/lib/doomed.h"
#include "tests/lib/dp_lab.h"

#define VIP  "10.30.0.1"
#define GONE LAB_PINS "/maps/hops" /* a map of earlier versions alone */

static struct weft_dp *open_dp(bool clsact)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 4096, .clsact = clsact};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0)
		fail_msg("%s", err.msg);
	return dp;
}

static void desired_state(struct weft_dp *dp)
{
	struct weft_dp_weight w[] = {{1, 1}, {2, 1}};
	struct weft_err err = {0};

	lab_service(dp, 1, VIP);
	for (uint32_t n = 1; n <= 3; n++) {
		struct weft_dp_instance inst = lab_instance(n, n < 3);

		if (weft_dp_instance_set(dp, &inst, &err) < 0)
			fail_msg("%s", err.msg);
	}
	lab_weights(dp, 1, w, 2);
}

static int links(void **state)
{
	(void)state;
	for (int n = 1; n <= 3; n++)
		if (lab_sh("ip link add v%d up type veth peer name p%d", n, n) != 0)
			return -1;
	return 0;
}

static int no_links(void **state)
{
	(void)state;
	weft_dp_destroy(LAB_PINS, NULL);
	return lab_sh("ip link del v1; ip link del v2; ip link del v3") == 0 ? 0 : -1;
}

static int segment(struct weft_dp *dp, uint16_t sport, uint8_t flags)
{
	struct lab_frame f;

	lab_tcp(&f, (struct lab_tuple){3, VIP, sport, 80}, flags, 1);
	return lab_run(dp, &f) == LAB_REDIRECT ? lab_receiver(&f) : -1;
}

static void successor_keeps_everything(void **state)
{
	struct weft_dp *dp = open_dp(false);
	struct weft_dp_counters before, after;
	uint32_t epoch, capacity;
	int backend[20];
	uint64_t word;

	(void)state;
	desired_state(dp);
	for (uint16_t i = 0; i < 20; i++)
		backend[i] = segment(dp, (uint16_t)(100 + i), LAB_SYN);
	weft_dp_service_counters(dp, 1, &before);
	assert_int_equal(before.flows, 20);
	word = dp->slot_dir[weft_service_policy(1, WEFT_POLICY_RR)];
	epoch = dp->meta->epoch;
	capacity = weft_dp_flow_capacity(dp);
	assert_int_equal(bpf_obj_pin(bpf_map__fd(dp->skel->maps.events), GONE), 0);
	weft_dp_free(dp);

	dp = open_dp(false);
	assert_int_equal(weft_dp_flow_capacity(dp), capacity);
	assert_int_equal(access(GONE, F_OK), -1);
	for (int round = 0; round < 2; round++) {
		for (uint16_t i = 0; i < 20; i++)
			assert_int_equal(segment(dp, (uint16_t)(100 + i), LAB_ACK), backend[i]);
		desired_state(dp);
		assert_int_equal(dp->meta->epoch, epoch);
		assert_int_equal(dp->slot_dir[weft_service_policy(1, WEFT_POLICY_RR)], word);
	}
	weft_dp_service_counters(dp, 1, &after);
	assert_int_equal(after.flows, 20);
	assert_int_equal(after.packets, 60);
	weft_dp_free(dp);
}

/* kill -9 while it changes weights, again and again: whatever is found, works. */
static void killed_at_any_moment(void **state)
{
	struct weft_dp *dp = open_dp(false);
	int backend;

	(void)state;
	desired_state(dp);
	backend = segment(dp, 4000, LAB_SYN);
	for (int round = 0; round < 8; round++) {
		struct timespec moment = {.tv_nsec = (round + 1) * 3700000L};
		pid_t pid = fork();

		if (pid == 0) {
			weft_dp_free(dp);
			for (uint32_t i = 0;; i++) {
				struct weft_dp *own = open_dp(false);
				struct weft_dp_weight w[] = {{1, i % 5}, {2, 3}};

				desired_state(own);
				lab_weights(own, 1, w, 2);
				weft_dp_free(own);
			}
		}
		nanosleep(&moment, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		assert_int_equal(segment(dp, 4000, LAB_ACK), backend);
		assert_true(segment(dp, (uint16_t)(4001 + round), LAB_SYN) > 0);
	}
	weft_dp_free(dp);
	dp = open_dp(false);
	desired_state(dp);
	assert_int_equal(segment(dp, 4000, LAB_ACK), backend);
	weft_dp_free(dp);
}

static void other_identity_other_flows(void **state)
{
	struct weft_dp *dp = open_dp(false);
	struct weft_dp_instance inst = lab_instance(1, 1);
	uint32_t generation;
	struct weft_err err = {0};

	(void)state;
	desired_state(dp);
	lab_weights(dp, 1, (struct weft_dp_weight[]){{1, 1}}, 1);
	assert_int_equal(segment(dp, 5000, LAB_SYN), 1);
	generation = dp->instances[1].generation;
	inst.ns_addr.s_addr = lab_addr("10.18.0.77");
	assert_int_equal(weft_dp_instance_set(dp, &inst, &err), 0);
	assert_int_equal(dp->instances[1].generation, generation + 1);
	assert_int_equal(lab_live(dp, 1), 0);
	assert_int_equal(segment(dp, 5000, LAB_ACK), 3); /* a reset */
	assert_int_equal(segment(dp, 5000, LAB_SYN), 1);
	/* A client's successor does not inherit what the client began either. */
	inst = lab_instance(3, 0);
	inst.inst_addr.s_addr = lab_addr("10.30.1.99");
	assert_int_equal(weft_dp_instance_set(dp, &inst, &err), 0);
	assert_int_equal(segment(dp, 5000, LAB_ACK), 3);
	weft_dp_free(dp);
}

static void contradictions(void **state)
{
	struct weft_dp *dp = open_dp(false);
	struct weft_dp_instance inst;
	struct weft_err err = {0};

	(void)state;
	desired_state(dp);
#define refused(set, code, text)                                                  \
	do {                                                                      \
		inst = lab_instance(4, 1);                                        \
		inst.ifindex = 1;                                                 \
		set;                                                              \
		assert_int_equal(weft_dp_instance_set(dp, &inst, &err), -(code)); \
		if (!strstr(err.msg, text))                                       \
			fail_msg("%s", err.msg);                                  \
		assert_false(dp->instances[4].active);                            \
	} while (0)
	refused(inst.id = 0, EINVAL, "instance id 0");
	refused(inst.id = WEFT_DP_MAX_INSTANCES, EINVAL, "instance id 16384");
	refused(inst.service = WEFT_DP_MAX_SERVICES, EINVAL, "service id 16384");
	refused(inst.ns_addr.s_addr = 0, EINVAL, "0.0.0.0 is no namespace address");
	refused(inst.ns_addr = inst.inst_addr, EINVAL, "10.30.1.4 is no namespace address");
	refused(inst.inst_addr = inst.ns_addr, EINVAL, "10.18.0.4 is not in the semantic range");
	refused(inst.inst_addr.s_addr = lab_addr(VIP), EEXIST, "10.30.0.1 is service 1's");
	refused(inst.inst_addr.s_addr = lab_addr("10.30.1.2"), EEXIST, "10.30.1.2 is instance 2's");
	refused(inst.ns_addr.s_addr = lab_addr("10.18.0.2"), EEXIST, "10.18.0.2 is instance 2's");
	refused(inst.ifindex = lab_instance(2, 0).ifindex, EEXIST, "is instance 2's");
	refused(inst.ifindex = 0, EINVAL, "no device");
	refused(inst.ifindex = 99999, ENODEV, "no device has index 99999");
	refused(inst.mac[0] = 1, EINVAL, "hardware address");
#undef refused
	weft_dp_free(dp);
}

static void contradictory_services(void **state)
{
	struct weft_dp *dp = open_dp(false);
	struct weft_err err = {0};

	(void)state;
	desired_state(dp);
#define refused(code, text, ...)                                              \
	do {                                                                  \
		struct weft_dp_service s = {__VA_ARGS__};                     \
		assert_int_equal(weft_dp_service_set(dp, &s, &err), -(code)); \
		if (!strstr(err.msg, text))                                   \
			fail_msg("%s", err.msg);                              \
		assert_int_equal(dp->services[2].epoch, 0);                   \
	} while (0)
	refused(EINVAL, "no address", .id = 2);
	refused(EINVAL, "id 0", .vip[0].s_addr = lab_addr("10.30.0.2"));
	refused(EEXIST, VIP " is service 1's", .id = 2, .vip[0].s_addr = lab_addr(VIP));
	refused(EEXIST, "is instance 1's", .id = 2, .vip[3].s_addr = lab_addr("10.30.1.1"));
	refused(EINVAL, "semantic range", .id = 2, .vip[1].s_addr = lab_addr("10.18.0.9"));
	refused(EINVAL, "semantic range", .id = 2, .vip6[1].s6_addr = {0xfd});
	refused(EINVAL, "two policies", .id = 2, .vip6[1].s6_addr = {0xfd, 0xff, 0, 1},
		.vip6[2].s6_addr = {0xfd, 0xff, 0, 1});
#undef refused
#define refused(code, id, policy, ...)                                                            \
	do {                                                                                      \
		struct weft_dp_weight w[] = {__VA_ARGS__};                                        \
		assert_int_equal(                                                                 \
			weft_dp_service_weights(dp, id, policy, w, sizeof(w) / sizeof(*w), &err), \
			-(code));                                                                 \
	} while (0)
	refused(ENOENT, 2, WEFT_DP_RR, {1, 1});
	refused(ENOENT, 1, WEFT_DP_WRR, {1, 1});
	refused(ENOENT, 1, WEFT_DP_POLICIES, {1, 1});
	refused(ENOENT, 1, WEFT_DP_RR, {7, 1});
	refused(EINVAL, 1, WEFT_DP_RR, {3, 1});
	refused(EINVAL, 1, WEFT_DP_RR, {1, 1001});
	refused(EINVAL, 1, WEFT_DP_RR, {1, 1}, {1, 2});
#undef refused
	weft_dp_free(dp);
}

/* Weights of a period beyond the table are scaled: shares stay right to a slot. */
static void weights_beyond_the_table(void **state)
{
	struct weft_dp *dp = open_dp(false);
	struct weft_dp_weight w[] = {{1, 1000}, {2, 999}, {4, 991}};
	unsigned n[5] = {0};

	(void)state;
	desired_state(dp);
	lab_add(dp, 4, 1);
	lab_weights(dp, 1, w, 3);
	for (uint16_t i = 0; i < 2048; i++)
		n[segment(dp, (uint16_t)(10000 + i), LAB_SYN)]++;
	assert_in_range(n[1], 683, 687);
	assert_in_range(n[2], 682, 686);
	assert_in_range(n[4], 677, 681);
	weft_dp_free(dp);
	assert_int_equal(lab_sh("ip link del v4"), 0);
}

static bool attached(bool clsact, uint32_t n)
{
	if (clsact)
		return lab_sh("tc filter show dev v%u ingress | grep -q tc_instance", n) == 0;

	uint32_t ids[4] = {0};
	LIBBPF_OPTS(bpf_prog_query_opts, opts, .prog_ids = ids, .prog_cnt = 4);

	if (bpf_prog_query_opts((int)lab_instance(n, 0).ifindex, 46, &opts) < 0)
		return false;
	return opts.prog_cnt == 1;
}

static uint32_t attached_program(uint32_t n)
{
	uint32_t ids[4] = {0};
	LIBBPF_OPTS(bpf_prog_query_opts, opts, .prog_ids = ids, .prog_cnt = 4);

	assert_int_equal(bpf_prog_query_opts((int)lab_instance(n, 0).ifindex, 46, &opts), 0);
	return ids[0];
}

static void attachments(bool clsact)
{
	struct weft_dp *dp = open_dp(clsact);
	struct weft_dp_instance inst = lab_instance(1, 1);
	struct weft_err err = {0};

	desired_state(dp);
	assert_string_equal(weft_dp_hook(dp), clsact ? "clsact" : "tcx");
	for (uint32_t n = 1; n <= 3; n++)
		assert_true(attached(clsact, n));
	desired_state(dp);
	assert_true(attached(clsact, 1));
	weft_dp_free(dp);
	assert_true(attached(clsact, 1));

	dp = open_dp(clsact);
	assert_true(attached(clsact, 1));
	assert_int_equal(weft_dp_instance_remove(dp, 2), 0);
	assert_false(attached(clsact, 2));

	/* The device comes back with another index. */
	assert_int_equal(lab_sh("ip link del v1 && ip link add v1 type veth peer name p1"), 0);
	assert_int_equal(weft_dp_instance_set(dp, &inst, &err), -ENODEV);
	inst = lab_instance(1, 1);
	assert_int_equal(weft_dp_instance_set(dp, &inst, &err), 0);
	assert_true(attached(clsact, 1));

	/* It has gone while nobody looked. */
	assert_int_equal(lab_sh("ip link del v1"), 0);
	weft_dp_free(dp);
	dp = open_dp(clsact);
	assert_int_equal(weft_dp_instance_remove(dp, 1), 0);
	weft_dp_free(dp);
	assert_int_equal(lab_sh("ip link add v1 type veth peer name p1"), 0);

	assert_true(attached(clsact, 3));
	assert_int_equal(weft_dp_destroy(LAB_PINS, &err), 0);
	assert_false(attached(clsact, 3));
	assert_int_equal(access(LAB_PINS, F_OK), -1);
	assert_int_equal(weft_dp_destroy(LAB_PINS, &err), 0);
}

/* By whoever was killed before it was entered: it can be taken off again, and the qdisc with it. */
static void killed_attaching(bool clsact)
{
	struct weft_dp_instance inst = lab_instance(2, 0);
	struct weft_err err = {0};
	struct weft_dp *dp;
	pid_t pid = fork();

	if (pid == 0) {
		dp = open_dp(clsact);
		test_die_at_bpf(BPF_MAP_UPDATE_ELEM);
		inst.borrowed = true;
		weft_dp_instance_set(dp, &inst, &err);
		_exit(0);
	}
	assert_int_equal(test_await_doomed(pid), 0);
	assert_true(attached(clsact, 2));
	dp = open_dp(clsact);
	assert_true(attached(clsact, 2));
	assert_int_equal(weft_dp_instance_remove(dp, 2), 0);
	assert_false(attached(clsact, 2));
	assert_int_equal(access(LAB_PINS "/links/2", F_OK), -1);
	assert_int_not_equal(lab_sh("tc qdisc show dev v2 | grep -q clsact"), 0);
	weft_dp_free(dp);
	assert_int_equal(weft_dp_destroy(LAB_PINS, &err), 0);
}

static void killed_attaching_by_clsact(void **state)
{
	(void)state;
	killed_attaching(true);
}

static void attached_by_tcx(void **state)
{
	struct weft_dp *dp = open_dp(false);
	bool tcx = strcmp(weft_dp_hook(dp), "tcx") == 0;
	uint32_t program;

	(void)state;
	weft_dp_free(dp);
	if (!tcx) {
		print_message("# no tcx in this kernel: clsact is tested alone\n");
		return;
	}
	attachments(false);
	killed_attaching(false);

	/* Who takes over runs its own build of the program. */
	dp = open_dp(false);
	desired_state(dp);
	program = attached_program(3);
	weft_dp_free(dp);
	assert_int_equal(attached_program(3), program);
	dp = open_dp(false);
	assert_int_not_equal(attached_program(3), program);
	weft_dp_free(dp);
}

static void attached_by_clsact(void **state)
{
	(void)state;
	attachments(true);
}

static void other_layout(void **state)
{
	struct weft_dp *dp = open_dp(false), *other = NULL;
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS};
	struct weft_err err = {0};

	(void)state;
	dp->meta->layout++;
	strcpy(dp->meta->version, "99.1");
	weft_dp_free(dp);
	assert_int_equal(weft_dp_open(&config, &other, &err), -EEXIST);
	assert_non_null(strstr(err.msg, LAB_PINS));
	assert_non_null(strstr(err.msg, "made by weft 99.1"));
	assert_true(err.hint[0]);
	assert_null(other);
	assert_int_equal(weft_dp_destroy(LAB_PINS, &err), 0);
}

/* A daemon that was killed while it made its maps leaves no obstacle. */
static void half_made(void **state)
{
	struct weft_dp *dp = open_dp(false);

	(void)state;
	desired_state(dp);
	dp->meta->layout = 0;
	weft_dp_free(dp);
	dp = open_dp(false);
	assert_false(dp->instances[1].active);
	desired_state(dp);
	assert_true(segment(dp, 1, LAB_SYN) > 0);
	weft_dp_free(dp);
}

static void refusals(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = "/tmp/weft-test-persist-nowhere"};
	struct weft_dp *dp = NULL;
	struct weft_err err = {0};
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(weft_dp_open(&config, &dp, &err), -ENOTSUP);
	assert_non_null(strstr(err.msg, "not on a bpffs"));
	assert_int_equal(access(config.bpffs_dir, F_OK), -1);
	config.bpffs_dir = "relative";
	assert_int_equal(weft_dp_open(&config, &dp, &err), -EINVAL);
	config = (struct weft_dp_config){.bpffs_dir = "/sys/fs/bpf/big", .max_flows = UINT32_MAX};
	assert_int_equal(weft_dp_open(&config, &dp, &err), -EINVAL);
	assert_int_equal(access(config.bpffs_dir, F_OK), -1);
	assert_null(dp);

	pid = fork();
	if (pid == 0) {
		config = (struct weft_dp_config){.bpffs_dir = "/sys/fs/bpf/other"};
		if (setuid(65534) < 0)
			_exit(1);
		_exit(weft_dp_open(&config, &dp, &err) < 0 && strstr(err.msg, "not root") &&
					err.hint[0]
				? 0
				: 2);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	assert_int_equal(access("/sys/fs/bpf/other", F_OK), -1);
}

static void mounts_a_bpffs(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = "/sys/fs/bpf/weft"};
	struct weft_err err = {0};
	struct weft_dp *dp;

	(void)state;
	while (umount("/sys/fs/bpf") == 0)
		;
	assert_int_equal(weft_dp_open(&config, &dp, &err), 0);
	weft_dp_free(dp);
	assert_int_equal(weft_dp_destroy(config.bpffs_dir, &err), 0);
	assert_int_equal(umount("/sys/fs/bpf"), 0);
	assert_int_equal(mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL), 0);
}

/* Pins of others below the same directory stay. */
static void destroys_only_its_own(void **state)
{
	struct weft_dp *dp = open_dp(false);

	(void)state;
	assert_int_equal(mkdir(LAB_PINS "/neighbour", 0700), 0);
	weft_dp_free(dp);
	assert_int_equal(weft_dp_destroy(LAB_PINS, NULL), 0);
	assert_int_equal(access(LAB_PINS "/maps", F_OK), -1);
	assert_int_equal(rmdir(LAB_PINS "/neighbour"), 0);
	assert_int_equal(rmdir(LAB_PINS), 0);
}

#define with_links(test) cmocka_unit_test_setup_teardown(test, links, no_links)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_links(successor_keeps_everything),
		with_links(killed_at_any_moment),
		with_links(other_identity_other_flows),
		with_links(contradictions),
		with_links(contradictory_services),
		with_links(weights_beyond_the_table),
		with_links(attached_by_tcx),
		with_links(attached_by_clsact),
		with_links(killed_attaching_by_clsact),
		with_links(half_made),
		cmocka_unit_test(other_layout),
		cmocka_unit_test(refusals),
		cmocka_unit_test(mounts_a_bpffs),
		cmocka_unit_test(destroys_only_its_own),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("persist", tests, NULL, NULL);
}
