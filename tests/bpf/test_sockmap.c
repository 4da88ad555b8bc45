/* SPDX-License-Identifier: Apache-2.0 */
/* The shortcut between sockets: which connections take it, and what the rest of the data plane sees
 * of them. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "tests/lib/dp_lab.h"
#include "tests/lib/shortcut_lab.h"

static uint64_t packets(void)
{
	struct weft_dp_counters c;

	assert_int_equal(weft_dp_service_counters(sc.dp, SC_SERVICE, &c), 0);
	return c.packets + c.rx_packets;
}

/* n exchanges; how many of their 2 n messages took the shortcut. */
static uint64_t exchange(const struct sc_conn *c, unsigned n)
{
	uint64_t before = sc_messages();

	for (unsigned i = 0; i < n; i++)
		sc_talk(c);
	return sc_messages() - before;
}

static void talk_by_packets(struct sc_conn c)
{
	assert_int_equal(exchange(&c, 5), 0);
	sc_close(&c);
}

static void talk_by_shortcut(struct sc_conn c)
{
	assert_int_equal(exchange(&c, 5), 10);
	sc_close(&c);
}

static void no_packets_but_for_open_and_close(void **state)
{
	struct weft_dp_shortcut_counters before, after;
	uint64_t n;
	struct sc_conn c;

	(void)state;
	weft_dp_shortcut_counters(sc.dp, SC_SERVICE, &before);
	c = sc_connect(SC_CLIENT);
	n = packets();
	assert_int_equal(exchange(&c, 100), 200);
	assert_int_equal(packets(), n);
	weft_dp_shortcut_counters(sc.dp, SC_SERVICE, &after);
	assert_int_equal(after.bytes - before.bytes, 200 * 5);
	assert_int_equal(after.sockets, before.sockets + 2);
	sc_close(&c);
	sc_await_sockets((unsigned)before.sockets);
	assert_true(packets() >= n + 3);
}

/* The first message finds nobody who could say how he is going to read. */
static void before_it_is_accepted(void **state)
{
	uint64_t late = sc_left("late"), n = sc_messages();
	struct sc_conn c = {.client = sc_dial(SC_CLIENT, SC_VIP, SC_PORT)};

	(void)state;
	sc_say(c.client, "early ");
	sc_say(c.client, "bird ");
	assert_int_equal(sc_messages(), n);
	assert_int_equal(sc_left("late"), late + 1);
	c.backend = sc_accept(1);
	/* Still unread, so that this must not overtake. */
	sc_say(c.client, "and ");
	sc_expect(c.backend, "early bird and ");
	sc_say(c.client, "worm");
	sc_expect(c.backend, "worm");
	assert_int_equal(sc_messages(), n + 1);
	assert_int_equal(exchange(&c, 5), 10);
	sc_close(&c);
}

static void by_whatever_name(void **state)
{
	struct sc_conn c;

	(void)state;
	talk_by_shortcut(sc_connect(SC_HOST));
	talk_by_shortcut(sc_connect(SC_BACKEND)); /* calls itself */
	talk_by_shortcut(sc_connect(SC_OTHER));
	c.client = sc_dial(SC_CLIENT, "10.30.1.1", SC_PORT);
	c.backend = sc_accept(1);
	talk_by_shortcut(c);
	/* Nothing of this is the overlay's business. */
	c.client = sc_dial(SC_CLIENT, "10.18.0.1", SC_PORT);
	c.backend = sc_accept(1);
	talk_by_packets(c);
}

static int listen_on(uint32_t n, int family, uint16_t port, int type)
{
	struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd;

	sc_enter_ns(n);
	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, type);
	sc_leave_ns();
	assert_true(fd >= 0);
	if (family == AF_INET6)
		assert_int_equal(bind(fd, (void *)&any6, sizeof(any6)), 0);
	else
		assert_int_equal(bind(fd, (void *)&any, sizeof(any)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static struct sc_conn connect_port(int listener, uint16_t port)
{
	struct sc_conn c = {.client = sc_dial(SC_CLIENT, SC_VIP, port)};

	sc_wait(listener, POLLIN);
	c.backend = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(c.backend >= 0);
	return c;
}

static void ipv6_sockets_that_speak_ipv4(void **state)
{
	int fd = listen_on(SC_BACKEND, AF_INET6, 7778, 0);

	(void)state;
	talk_by_shortcut(connect_port(fd, 7778));
	close(fd);
}

static void multipath_tcp(void **state)
{
	struct sc_conn c;
	int fd;

	(void)state;
	if (access("/proc/sys/net/mptcp", F_OK) < 0)
		return;
	fd = listen_on(SC_BACKEND, AF_INET, 7779, IPPROTO_MPTCP);
	c = connect_port(fd, 7779); /* by a client without */
	for (int i = 0; i < 5; i++)
		sc_talk(&c);
	sc_close(&c);
	close(fd);
}

/* Who says that his sockets are another's is not believed, nor is an instance that has said nothing
 * (a virtual machine), or that is a new one behind the same name. */
static void whose_sockets(void **state)
{
	struct weft_err err = {0};
	char path[96];

	(void)state;
	snprintf(path, sizeof(path), "%s/ns4", sc.dir);
	assert_int_equal(weft_dp_shortcut_netns(sc.dp, SC_CLIENT, path, &err), 0);
	talk_by_packets(sc_connect(SC_CLIENT));
	sc_set_with_sockets(SC_CLIENT);
	talk_by_shortcut(sc_connect(SC_CLIENT));

	assert_int_equal(weft_dp_instance_remove(sc.dp, SC_CLIENT), 0);
	sc_set(&sc.instances[SC_CLIENT]);
	talk_by_packets(sc_connect(SC_CLIENT));
	sc_set_with_sockets(SC_CLIENT);
	talk_by_shortcut(sc_connect(SC_CLIENT));

	assert_int_equal(weft_dp_instance_remove(sc.dp, SC_BACKEND), 0);
	sc_set(&sc.instances[SC_BACKEND]);
	sc_weights(1, 0);
	talk_by_packets(sc_connect(SC_CLIENT));
	sc_set_with_sockets(SC_BACKEND);
	talk_by_shortcut(sc_connect(SC_CLIENT));

	assert_int_equal(weft_dp_shortcut_netns(sc.dp, SC_CLIENT, "/no/such", &err), -ENOENT);
	assert_int_equal(weft_dp_shortcut_netns(sc.dp, 77, NULL, &err), -ENOENT);
	assert_int_equal(weft_dp_shortcut_service(sc.dp, 77, true, &err), -ENOENT);
}

static bool attached(void)
{
	return access(LAB_PINS "/links/shortcut", F_OK) == 0;
}

static void switched_per_service(void **state)
{
	struct weft_dp_service other = {.id = 2, .vip[WEFT_DP_RR].s_addr = inet_addr("10.30.0.2")};
	struct sc_conn c = sc_connect(SC_CLIENT);
	uint64_t off = sc_left("off");
	struct weft_err err = {0};

	(void)state;
	assert_int_equal(exchange(&c, 5), 10);
	sc_say(c.client, "one ");
	sc_switch(false);
	assert_false(weft_dp_shortcut_wanted(sc.dp, SC_SERVICE));
	/* The program is there until it has seen all of its sockets off. */
	assert_true(attached());
	/* An open connection goes on, in order. */
	sc_say(c.client, "two");
	sc_expect(c.backend, "one two");
	talk_by_packets(sc_connect(SC_CLIENT));
	assert_int_equal(exchange(&c, 5), 0);
	assert_int_equal(sc_left("off"), off + 2);
	sc_switch(true);
	assert_true(attached());
	assert_int_equal(exchange(&c, 5), 0);
	talk_by_shortcut(sc_connect(SC_CLIENT));
	sc_close(&c);

	assert_int_equal(weft_dp_service_set(sc.dp, &other, &err), 0);
	assert_int_equal(weft_dp_shortcut_service(sc.dp, 2, true, &err), 0);
	sc_switch(false);
	assert_true(attached());
	talk_by_packets(sc_connect(SC_CLIENT));
	sc_switch(true);
	assert_int_equal(weft_dp_service_remove(sc.dp, 2), 0);
	assert_false(weft_dp_shortcut_wanted(sc.dp, 2));
	assert_true(attached());
	talk_by_shortcut(sc_connect(SC_CLIENT));
	sc_await_sockets(0);
	sc_switch(false);
	assert_false(attached());
	sc_switch(true);
}

static void daemon_comes_and_goes(void **state)
{
	struct sc_conn c = sc_connect(SC_CLIENT);

	(void)state;
	for (int i = 0; i < 5; i++) {
		uint64_t before = sc_messages();

		sc_say(c.client, "still ");
		weft_dp_free(sc.dp);
		sc.dp = NULL;
		sc_say(c.client, "there");
		sc_expect(c.backend, "still there");
		sc_talk(&c);
		sc_open();
		assert_int_equal(sc_messages() - before, 4);
		assert_int_equal(exchange(&c, 5), 10);
		talk_by_shortcut(sc_connect(SC_CLIENT));
	}
	sc_close(&c);
}

/* --- flows --- */

static uint32_t live(uint32_t id)
{
	uint32_t *n = calloc(WEFT_DP_MAX_INSTANCES, sizeof(*n)), r;

	assert_non_null(n);
	weft_dp_flows_count(sc.dp, n, NULL);
	r = n[id];
	free(n);
	return r;
}

static void await_live(uint32_t id, uint32_t want)
{
	uint64_t deadline = weft_now_ns() + SC_PATIENCE_MS * 1000000ULL;

	while (live(id) != want) {
		if (weft_now_ns() > deadline)
			fail_msg("%u flows of instance %u, not %u", live(id), id, want);
		poll(NULL, 0, 5);
	}
}

/* Make every established flow look as if it had been idle for nearly as long as it may. */
static void age(void)
{
	uint64_t *word = (uint64_t *)sc.dp->flows;

	for (size_t i = 0; i < (size_t)sc.dp->flow_buckets * WEFT_BUCKET_WORDS; i++)
		if (weft_flow_state(word[i]) == WEFT_FLOW_ESTABLISHED)
			word[i] = (word[i] & ~0xffULL) | ((word[i] - 200) & 0xff);
}

static int oldest(void *userdata, const struct weft_dp_flow *f)
{
	uint32_t *seconds = userdata;

	if (strcmp(f->state, "established") == 0 && f->idle_s > *seconds)
		*seconds = f->idle_s;
	return 0;
}

static uint32_t idle(void)
{
	uint32_t seconds = 0;

	weft_dp_flows_each(sc.dp, 0, UINT64_MAX, oldest, &seconds);
	return seconds;
}

/* A tick of the flow table may go by before the next touch. */
static void flows_stay_alive(void **state)
{
	uint64_t deadline = weft_now_ns() + 60 * 1000000000ULL, before;
	struct sc_conn c;

	(void)state;
	await_live(1, 0);
	c = sc_connect(SC_CLIENT);
	assert_int_equal(exchange(&c, 5), 10);
	assert_int_equal(live(1), 1);
	age();
	assert_true(idle() > 3600);
	before = sc_messages();
	while (idle() > 100) {
		assert_true(weft_now_ns() < deadline);
		sc_talk(&c);
		poll(NULL, 0, 50);
	}
	assert_true(sc_messages() - before >= 2);
	assert_int_equal(live(1), 1);
	sc_close(&c);
	await_live(1, 0);
}

static void shift_and_drain(void **state)
{
	struct sc_conn c = sc_connect(SC_CLIENT);

	(void)state;
	for (uint32_t step = 0; step <= 10; step++) {
		sc_weights(10 - step, step);
		for (int i = 0; i < 10; i++)
			talk_by_shortcut(sc_connect(SC_CLIENT));
		assert_int_equal(exchange(&c, 2), 4);
	}
	await_live(1, 1);
	assert_int_equal(exchange(&c, 2), 4);
	sc_close(&c);
	await_live(1, 0);
	sc_weights(1, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_packets_but_for_open_and_close),
		cmocka_unit_test(before_it_is_accepted),
		cmocka_unit_test(by_whatever_name),
		cmocka_unit_test(ipv6_sockets_that_speak_ipv4),
		cmocka_unit_test(multipath_tcp),
		cmocka_unit_test(whose_sockets),
		cmocka_unit_test(switched_per_service),
		cmocka_unit_test(daemon_comes_and_goes),
		cmocka_unit_test(flows_stay_alive),
		cmocka_unit_test(shift_and_drain),
	};

	if (!lab_enter() || !sc_supported())
		return 0;
	return cmocka_run_group_tests_name("sockmap", tests, sc_setup, sc_teardown);
}
