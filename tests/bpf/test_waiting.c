/* SPDX-License-Identifier: Apache-2.0 */
/* Packets that wait for their address: which do, until when, and how they arrive after all. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/if.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/link.h"
#include "ctrl/dataplane/waiting.h"
#include "tests/lib/dp_lab.h"

#define HOST    50
#define CLIENT  9
#define OTHER   8
#define BACKEND 1
#define VIP     "10.30.0.1"
#define VIP6    "fdff:2000::1"
#define NOBODY  "10.30.9.9"
#define SECOND  1000000000ULL

struct fixture {
	struct weft_dp *dp;
	struct weft_dp_waiting *w;
	int fd; /* what comes to the backend */
};

static void add_host(struct weft_dp *dp)
{
	struct weft_link_host host = {
		.name = "weft0",
		.addr = {inet_addr("10.18.9.1")},
		.subnet = {inet_addr("10.18.9.0")},
		.subnet_len = 24,
		.service = {inet_addr("10.30.0.0")},
		.service_len = 16,
	};
	struct weft_dp_instance inst = {
		.id = HOST,
		.ns_addr = host.addr,
		.inst_addr = {inet_addr("10.30.253.253")},
		.device = WEFT_DP_DEV_HOST,
	};
	struct weft_err err = {0};

	if (weft_link_host_add(&host, &inst.ifindex, inst.mac, &err) < 0 ||
		weft_dp_instance_set(dp, &inst, &err) < 0)
		fail_msg("%s", err.msg);
}

static int setup(void **state)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .max_flows = 65536, .mtu = 1500};
	static struct fixture f;
	struct weft_err err = {0};

	f = (struct fixture){.fd = -1};
	if (weft_dp_open(&config, &f.dp, &err) < 0)
		fail_msg("%s", err.msg);
	add_host(f.dp);
	lab_add(f.dp, CLIENT, 0);
	lab_add(f.dp, OTHER, 0);
	if (weft_dp_waiting_open(f.dp, "weft0", &f.w, &err) < 0)
		fail_msg("%s", err.msg);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	weft_dp_waiting_close(f->w);
	if (f->fd >= 0)
		close(f->fd);
	weft_dp_free(f->dp);
	weft_link_host_del("weft0");
	lab_sh("for v in v1 v8 v9; do ip link del $v 2>/dev/null; done");
	return weft_dp_destroy(LAB_PINS, NULL);
}

static struct weft_dp_waiting_counters count(struct fixture *f)
{
	struct weft_dp_waiting_counters c;

	weft_dp_waiting_counters(f->w, &c);
	return c;
}

static unsigned run(struct fixture *f)
{
	return weft_dp_waiting_run(f->w, weft_now_ns());
}

static int udp(struct fixture *f, uint32_t from, const char *to, uint16_t sport)
{
	struct lab_frame frame;

	lab_udp(&frame, (struct lab_tuple){from, to, sport, 53}, 21);
	return lab_run(f->dp, &frame);
}

/* A backend on a device whose other end we look at. */
static void serve(struct fixture *f)
{
	struct weft_dp_instance inst;
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct weft_err err = {0};

	lab_add(f->dp, BACKEND, 1);
	inst = lab_instance(BACKEND, 1);
	inst.device = WEFT_DP_DEV_DIRECT;
	inst.ifindex = if_nametoindex("v1");
	if (weft_dp_instance_set(f->dp, &inst, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(lab_sh("ip link set p1 up; ip link set v1 up"), 0);
	f->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	at.sll_ifindex = (int)if_nametoindex("p1");
	assert_int_equal(bind(f->fd, (struct sockaddr *)&at, sizeof(at)), 0);
	lab_weights(f->dp, 1, (struct weft_dp_weight[]){{BACKEND, 1}}, 1);
}

/* The next frame for the backend; whatever else the kernel sends there is passed over. */
static void receive(struct fixture *f, struct lab_frame *ret)
{
	uint64_t deadline = weft_now_ns() + 10 * SECOND;

	while (weft_now_ns() < deadline) {
		struct pollfd p = {.fd = f->fd, .events = POLLIN};
		ssize_t n =
			poll(&p, 1, 100) == 1 ? recv(f->fd, ret->data, sizeof(ret->data), 0) : 0;

		ret->len = n > 0 ? (size_t)n : 0;
		if (ret->len > 42 && lab_receiver(ret) == BACKEND)
			return;
	}
	fail_msg("nothing came to the backend");
}

static void until_the_service_is_there(void **state)
{
	static const char *const to[] = {VIP, VIP6};
	struct fixture *f = *state;
	uint64_t unknown = lab_drops(f->dp, WEFT_DROP_UNKNOWN_ADDR);
	struct lab_frame got;

	for (int i = 0; i < 2; i++)
		assert_int_equal(udp(f, CLIENT, to[i], (uint16_t)(1000 + i)), LAB_SHOT);
	assert_int_equal(lab_drops(f->dp, WEFT_DROP_UNKNOWN_ADDR), unknown);
	assert_int_equal(run(f), 2);
	lab_service46(f->dp, 1, VIP, VIP6);
	assert_int_equal(run(f), 2);
	serve(f);
	assert_int_equal(run(f), 0);
	for (int i = 0; i < 2; i++) {
		receive(f, &got);
		assert_int_equal(ntohs(lab_udph(&got)->source), 1000 + i);
		assert_true(lab_sums_right(&got));
		assert_true(lab_from(&got, i ? "fdff::1:9" : "10.30.1.9"));
		assert_true(lab_to(&got, i ? "fc00::1" : "10.18.0.1"));
	}
	assert_int_equal(count(f).sent, 2);
	assert_int_equal(count(f).expired, 0);
	/* It is a flow like any other now. */
	assert_int_equal(udp(f, CLIENT, VIP, 1000), LAB_REDIRECT);
}

/* What was begun only is whole when it is sent again; and a SYN that its sender repeats waits once.
 */
static void a_segment_with_half_a_checksum(void **state)
{
	struct fixture *f = *state;
	struct lab_frame frame, got;

	for (int i = 0; i < 2; i++) {
		lab_tcp(&frame, (struct lab_tuple){CLIENT, VIP, 1000, 80}, LAB_SYN, 7);
		lab_tcph(&frame)->check = lab_pseudo(&frame);
		assert_int_equal(lab_run(f->dp, &frame), LAB_SHOT);
	}
	assert_int_equal(run(f), 1);
	assert_int_equal(count(f).refused, 1);
	assert_int_equal(lab_drops(f->dp, WEFT_DROP_WAIT_REFUSED), 1);
	lab_service46(f->dp, 1, VIP, VIP6);
	serve(f);
	assert_int_equal(run(f), 0);
	receive(f, &got);
	assert_true(lab_sums_right(&got));
	assert_true(lab_to(&got, "10.18.0.1"));
	assert_int_equal(lab_drops(f->dp, WEFT_DROP_WAIT_EXPIRED), 0);
}

static void in_vain(void **state)
{
	struct fixture *f = *state;
	uint64_t now = weft_now_ns();

	assert_int_equal(udp(f, CLIENT, NOBODY, 1000), LAB_SHOT);
	assert_int_equal(weft_dp_waiting_run(f->w, now), 1);
	assert_int_equal(weft_dp_waiting_run(f->w, now + SECOND / 2), 1);
	assert_int_equal(weft_dp_waiting_run(f->w, now + 2 * SECOND), 0);
	assert_int_equal(count(f).expired, 1);
	assert_int_equal(lab_drops(f->dp, WEFT_DROP_WAIT_EXPIRED), 1);
	/* From now on its callers are told at once; those of others wait. */
	assert_int_equal(udp(f, CLIENT, NOBODY, 1001), LAB_REDIRECT);
	assert_int_equal(udp(f, CLIENT, "10.30.9.8", 1001), LAB_SHOT);
	/* And it is no reason to refuse who gets the address. */
	lab_service(f->dp, 1, NOBODY);
	serve(f);
	assert_int_equal(udp(f, CLIENT, NOBODY, 1002), LAB_REDIRECT);
}

static void for_a_service_that_starts(void **state)
{
	struct fixture *f = *state;
	uint64_t now = weft_now_ns();

	lab_service46(f->dp, 1, VIP, VIP6);
	assert_int_equal(udp(f, CLIENT, VIP, 1000), LAB_REDIRECT); /* refused: nobody is to come */
	assert_int_equal(weft_dp_service_starting(f->dp, 1, true), 0);
	assert_int_equal(udp(f, CLIENT, VIP, 1000), LAB_SHOT);
	assert_int_equal(udp(f, CLIENT, VIP6, 1000), LAB_SHOT);
	assert_int_equal(weft_dp_waiting_run(f->w, now), 2);
	assert_int_equal(weft_dp_waiting_run(f->w, now + 4 * SECOND), 2);
	assert_int_equal(weft_dp_waiting_run(f->w, now + 6 * SECOND), 0);
	assert_int_equal(weft_dp_waiting_run(f->w, now), 0);
	assert_int_equal(udp(f, CLIENT, VIP, 1001), LAB_SHOT); /* it may still come */
	assert_int_equal(weft_dp_service_starting(f->dp, 1, false), 0);
	assert_int_equal(udp(f, CLIENT, VIP, 1002), LAB_REDIRECT);
	assert_int_equal(weft_dp_service_starting(f->dp, 77, true), -ENOENT);
}

static void what_does_not_wait(void **state)
{
	struct fixture *f = *state;
	struct lab_frame frame;

	/* A segment of no connection, half a datagram, a large one. */
	lab_tcp(&frame, (struct lab_tuple){CLIENT, NOBODY, 1000, 80}, LAB_ACK, 7);
	assert_int_equal(lab_run(f->dp, &frame), LAB_REDIRECT);
	lab_udp(&frame, (struct lab_tuple){CLIENT, NOBODY, 1000, 53}, 64);
	lab_fragment(&frame, 7, 0, true);
	LAB_DROPPED(f->dp, &frame, UNKNOWN_ADDR);
	/* While nobody reads, none does. */
	weft_dp_waiting_run(f->w, weft_now_ns() - 10 * SECOND);
	assert_int_equal(udp(f, CLIENT, NOBODY, 1000), LAB_REDIRECT);
	run(f);
	assert_int_equal(udp(f, CLIENT, NOBODY, 1000), LAB_SHOT);
	assert_int_equal(run(f), 1);
	weft_dp_waiting_close(f->w);
	f->w = NULL;
	assert_int_equal(lab_drops(f->dp, WEFT_DROP_WAIT_EXPIRED), 1);
	assert_int_equal(udp(f, CLIENT, NOBODY, 1000), LAB_REDIRECT);
}

/* One who sends to whatever address has a small part of the room, and the rest is refused. */
static void a_flood(void **state)
{
	struct fixture *f = *state;
	unsigned waited = 0, refused = 0;
	char to[INET_ADDRSTRLEN];

	for (unsigned i = 0; i < 4000; i++) {
		int verdict;

		snprintf(to, sizeof(to), "10.30.%u.%u", 100 + i / 250, i % 250);
		verdict = udp(f, CLIENT, to, (uint16_t)(1000 + i));
		waited += verdict == LAB_SHOT; /* or too many ICMP errors */
		refused += verdict == LAB_REDIRECT;
	}
	assert_true(refused > 0);
	assert_true(waited > 0);
	assert_int_equal(run(f), WEFT_DP_WAITING_OF);
	assert_int_equal(count(f).taken, WEFT_DP_WAITING_OF);
	assert_in_range(count(f).refused, 1, 256);
	assert_int_equal(lab_drops(f->dp, WEFT_DROP_WAIT_REFUSED), count(f).refused);
	assert_int_equal(udp(f, OTHER, VIP, 1000), LAB_SHOT);
	assert_int_equal(run(f), WEFT_DP_WAITING_OF + 1);
	lab_service(f->dp, 1, VIP);
	serve(f);
	assert_int_equal(run(f), WEFT_DP_WAITING_OF);
	assert_int_equal(count(f).sent, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(until_the_service_is_there),
		T(a_segment_with_half_a_checksum),
		T(in_vain),
		T(for_a_service_that_starts),
		T(what_does_not_wait),
		T(a_flood),
	};

	return lab_enter() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
