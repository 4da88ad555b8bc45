/* SPDX-License-Identifier: Apache-2.0 */
/* Connections on the shortcut that end in every way there is, programs that do not go with it, and
 * what the overlay resets. */
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "tests/lib/dp_lab.h"
#include "tests/lib/shortcut_lab.h"

/* One that has taken the shortcut. */
static struct sc_conn on_shortcut(void)
{
	uint64_t n = sc_messages();
	struct sc_conn c = sc_connect(SC_CLIENT);

	sc_talk(&c);
	assert_int_equal(sc_messages(), n + 2);
	return c;
}

static void close_side(int *fd)
{
	assert_int_equal(close(*fd), 0);
	*fd = -1;
}

static void expect_end(int fd)
{
	char c;

	assert_int_equal(sc_read(fd, &c, 1), 0);
}

static void expect_error(int fd, int error)
{
	char c;
	int r = sc_read(fd, &c, 1);

	if (r != -error)
		fail_msg("%s instead of: %s",
			r > 0 ? "data"
			: r   ? strerror(-r)
			      : "end",
			strerror(error));
}

/* A socket's state once it is want. */
static void await_state(int fd, int want)
{
	uint64_t deadline = weft_now_ns() + SC_PATIENCE_MS * 1000000ULL;
	struct tcp_info info;
	socklen_t size = sizeof(info);

	do {
		assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
		if (info.tcpi_state == want)
			return;
		poll(NULL, 0, 2);
	} while (weft_now_ns() < deadline);
	fail_msg("state %d, not %d", info.tcpi_state, want);
}

/* --- orderly ends --- */

static void half_close(bool by_client)
{
	struct sc_conn c = on_shortcut();
	int first = by_client ? c.client : c.backend, other = by_client ? c.backend : c.client;
	uint64_t n = sc_messages();

	sc_say(first, "the last words");
	assert_int_equal(shutdown(first, SHUT_WR), 0);
	assert_int_equal(send(first, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	sc_expect(other, "the last words");
	expect_end(other);
	for (int i = 0; i < 50; i++) {
		sc_say(other, "answer");
		sc_expect(first, "answer");
	}
	sc_say(other, "that is all");
	assert_int_equal(sc_messages(), n + 52);
	close_side(by_client ? &c.backend : &c.client);
	/* All is said and done, only not read yet. */
	await_state(first, TCP_CLOSE);
	sc_expect(first, "that is all");
	expect_end(first);
	sc_close(&c);
}

static void half_close_by_client(void **state)
{
	(void)state;
	half_close(true);
}

static void half_close_by_backend(void **state)
{
	(void)state;
	half_close(false);
}

static void closed_behind_its_data(void **state)
{
	static const size_t sizes[] = {1, 1000, 60000, 150000};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct sc_conn c = on_shortcut();

		sc_send(c.client, sizes[i], i);
		close_side(&c.client);
		await_state(c.backend, TCP_CLOSE_WAIT);
		sc_recv(c.backend, sizes[i], i);
		expect_end(c.backend);
		sc_close(&c);
	}
}

/* The difference that the kernel leaves: not a reset, because nothing unread came by packets. */
static void closed_with_data_unread(void **state)
{
	struct sc_conn c = on_shortcut();

	(void)state;
	sc_say(c.client, "never read");
	close_side(&c.backend);
	expect_end(c.client);
	assert_int_equal(send(c.client, "x", 1, MSG_NOSIGNAL), 1);
	await_state(c.client, TCP_CLOSE);
	assert_int_equal(send(c.client, "x", 1, MSG_NOSIGNAL), -1);
	sc_close(&c);
}

static void reset_by(struct sc_conn *c, bool client)
{
	const struct linger now = {.l_onoff = 1};
	int *fd = client ? &c->client : &c->backend;

	assert_int_equal(setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close_side(fd);
}

static void aborted(void **state)
{
	(void)state;
	for (int client = 0; client < 2; client++) {
		struct sc_conn c = on_shortcut();

		sc_say(client ? c.client : c.backend, "before that");
		reset_by(&c, client);
		await_state(client ? c.backend : c.client, TCP_CLOSE);
		sc_expect(client ? c.backend : c.client, "before that");
		expect_error(client ? c.backend : c.client, ECONNRESET);
		sc_close(&c);
	}
}

static void no_more_reading(void **state)
{
	struct sc_conn c = on_shortcut();

	(void)state;
	sc_say(c.client, "a");
	assert_int_equal(shutdown(c.backend, SHUT_RD), 0);
	sc_expect(c.backend, "a");
	expect_end(c.backend);
	sc_say(c.client, "b"); /* as with packets */
	sc_expect(c.backend, "b");
	sc_close(&c);
}

/* A process that does nothing but hold one side, until it is killed. */
static pid_t holder(int fd, int other)
{
	pid_t pid = fork();

	if (pid == 0) {
		close(other);
		(void)fd;
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	return pid;
}

static void killed(void **state)
{
	(void)state;
	for (int client = 0; client < 2; client++) {
		struct sc_conn c = on_shortcut();
		int *mine = client ? &c.backend : &c.client, *its = client ? &c.client : &c.backend;
		pid_t pid = holder(*its, *mine);

		sc_say(*its, "bye");
		close_side(its);
		sc_expect(*mine, "bye");
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		expect_end(*mine);
		sc_close(&c);
		/* And the next one. */
		c = on_shortcut();
		sc_close(&c);
	}
}

/* Connections between the same ports, one after the other: nothing of one reaches another. */
static void same_ports_again(void **state)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(33333)};
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(SC_PORT)};
	const int on = 1;

	(void)state;
	peer.sin_addr.s_addr = lab_addr(SC_VIP);
	for (uint64_t i = 0; i < 100; i++) {
		struct sc_conn c;

		sc_enter_ns(SC_CLIENT);
		c.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		sc_leave_ns();
		setsockopt(c.client, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		assert_int_equal(bind(c.client, (void *)&any, sizeof(any)), 0);
		if (connect(c.client, (void *)&peer, sizeof(peer)) < 0)
			assert_int_equal(errno, EINPROGRESS);
		sc_wait(c.client, POLLOUT);
		c.backend = sc_accept(1);
		sc_send(c.client, 100, i);
		sc_send(c.backend, 100, i + 1);
		sc_recv(c.backend, 100, i);
		if (i % 3 == 0)
			sc_recv(c.client, 100, i + 1);
		if (i % 2)
			reset_by(&c, true);
		sc_close(&c);
	}
}

/* A socket that is connected anew begins anew. */
static void disconnected(void **state)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(SC_PORT)};

	(void)state;
	peer.sin_addr.s_addr = lab_addr(SC_VIP);
	for (int half = 0; half < 2; half++) {
		struct sc_conn c = on_shortcut();

		sc_say(c.backend, "not for the next");
		if (half)
			assert_int_equal(shutdown(c.client, SHUT_WR), 0);
		assert_int_equal(connect(c.client, &none, sizeof(none)), 0);
		close_side(&c.backend);
		if (connect(c.client, (void *)&peer, sizeof(peer)) < 0)
			assert_int_equal(errno, EINPROGRESS);
		sc_wait(c.client, POLLOUT);
		c.backend = sc_accept(1);
		sc_say(c.backend, "fresh");
		sc_expect(c.client, "fresh");
		sc_talk(&c);
		sc_close(&c);
	}
}

static void backlog(void **state)
{
	enum { N = 200 };
	int client[N];

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		client[i] = sc_dial(SC_CLIENT, SC_VIP, SC_PORT);
		sc_send(client[i], 500 + i, i);
	}
	for (unsigned i = 0; i < N; i++) {
		struct sc_conn c = {.client = client[i], .backend = sc_accept(1)};

		sc_recv(c.backend, 500 + i, i);
		sc_talk(&c);
		sc_close(&c);
	}
}

/* --- what the overlay ends --- */

static void purged(void **state)
{
	(void)state;
	for (int client = 0; client < 2; client++) {
		struct sc_conn c = on_shortcut();
		int first = client ? c.client : c.backend, other = client ? c.backend : c.client;

		assert_int_equal(weft_dp_flows_purge(sc.dp, SC_BACKEND), 0);
		sc_say(first, "x");
		expect_error(first, ECONNRESET);
		sc_say(other, "x");
		expect_error(other, ECONNRESET);
		sc_close(&c);
	}
}

static void backend_replaced(void **state)
{
	struct weft_dp_instance moved = sc.instances[SC_BACKEND];
	struct sc_conn c = on_shortcut();

	(void)state;
	assert_int_equal(weft_dp_instance_remove(sc.dp, SC_BACKEND), 0);
	sc_say(c.client, "x");
	expect_error(c.client, ECONNRESET);
	sc_close(&c);
	sc_set_with_sockets(SC_BACKEND);
	sc_weights(1, 0);

	c = on_shortcut();
	moved.inst_addr.s_addr = lab_addr("10.30.1.99");
	sc_set(&moved);
	sc_say(c.client, "x");
	expect_error(c.client, ECONNRESET);
	sc_close(&c);
	sc_set_with_sockets(SC_BACKEND);
	sc_weights(1, 0);
	c = on_shortcut();
	sc_close(&c);
}

/* --- programs that it is not for --- */

static void blocking(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	assert_int_equal(fcntl(fd, F_SETFL, on ? flags & ~O_NONBLOCK : flags | O_NONBLOCK), 0);
}

struct reader {
	int fd;
	size_t want;
	int flags;
	volatile pid_t thread; /* 0: not there yet, or back */
	ssize_t got;
	int error;
	char buf[64];
};

static void *read_blocking(void *arg)
{
	struct reader *r = arg;

	r->thread = gettid();
	r->got = recv(r->fd, r->buf, r->want, r->flags);
	r->error = errno;
	return NULL;
}

static char thread_state(pid_t thread)
{
	char path[64], line[256], *name = NULL;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fgets(line, sizeof(line), f))
		name = strrchr(line, ')');
	fclose(f);
	return name ? name[2] : 0;
}

/* Until it waits inside of recv(), or is back already. */
static void await_sleep(const struct reader *r)
{
	uint64_t deadline = weft_now_ns() + SC_PATIENCE_MS * 1000000ULL;
	char state = 'R';

	do {
		if (r->thread)
			state = thread_state(r->thread);
		if (state == 'S' || !state)
			return;
		poll(NULL, 0, 1);
	} while (weft_now_ns() < deadline);
	fail_msg("the reader does not come to rest");
}

static void expect_read(struct reader *r, pthread_t thread, const char *text)
{
	assert_int_equal(pthread_join(thread, NULL), 0);
	if (r->got < 0)
		fail_msg("recv: %s", strerror(r->error));
	assert_int_equal(r->got, strlen(text));
	assert_memory_equal(r->buf, text, strlen(text));
}

/* Its own FIN being acknowledged would interrupt the wait with EAGAIN. */
static void half_close_and_wait(int fd, int other)
{
	struct reader r = {.fd = fd, .want = 64};
	pthread_t thread;

	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(pthread_create(&thread, NULL, read_blocking, &r), 0);
	await_sleep(&r);
	expect_end(other);
	await_state(fd, TCP_FIN_WAIT2);
	await_sleep(&r);
	sc_say(other, "patience");
	expect_read(&r, thread, "patience");
}

static void whole_buffer(int fd, int other)
{
	struct reader r = {.fd = fd, .want = 8, .flags = MSG_WAITALL};
	pthread_t thread;

	sc_say(other, "1234");
	assert_int_equal(pthread_create(&thread, NULL, read_blocking, &r), 0);
	await_sleep(&r);
	sc_say(other, "5678");
	expect_read(&r, thread, "12345678");
}

static int dial_blocking(void)
{
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(SC_PORT)};
	int fd;

	peer.sin_addr.s_addr = lab_addr(SC_VIP);
	sc_enter_ns(SC_CLIENT);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sc_leave_ns();
	assert_int_equal(connect(fd, (void *)&peer, sizeof(peer)), 0);
	return fd;
}

static void blocking_client(void **state)
{
	struct sc_conn c = {.client = dial_blocking()};
	uint64_t n = sc_messages();

	(void)state;
	c.backend = sc_accept(1);
	for (int i = 0; i < 5; i++)
		sc_talk(&c);
	assert_int_equal(sc_messages(), n);
	whole_buffer(c.client, c.backend);
	half_close_and_wait(c.client, c.backend);
	sc_close(&c);
}

/* Connected with a time limit, as libraries do, and blocking from then on. */
static void client_that_blocks_later(void **state)
{
	struct sc_conn c = sc_connect(SC_CLIENT);
	uint64_t n = sc_messages(), left = sc_left("blocking");

	(void)state;
	blocking(c.client, true);
	for (int i = 0; i < 5; i++)
		sc_talk(&c);
	assert_int_equal(sc_messages(), n);
	assert_true(sc_left("blocking") > left);
	whole_buffer(c.client, c.backend);
	half_close_and_wait(c.client, c.backend);
	sc_close(&c);
}

static void blocking_backend(void **state)
{
	struct sc_conn c = {.client = sc_dial(SC_CLIENT, SC_VIP, SC_PORT)};
	uint64_t n = sc_messages();

	(void)state;
	sc_wait(sc.listener[1], POLLIN);
	c.backend = accept4(sc.listener[1], NULL, NULL, SOCK_CLOEXEC);
	assert_true(c.backend >= 0);
	for (int i = 0; i < 5; i++)
		sc_talk(&c);
	assert_int_equal(sc_messages(), n);
	whole_buffer(c.backend, c.client);
	half_close_and_wait(c.backend, c.client);
	sc_close(&c);
}

static void now_and_then_blocking(void **state)
{
	struct sc_conn c = on_shortcut();

	(void)state;
	for (int i = 0; i < 5; i++) {
		uint64_t n = sc_messages();

		blocking(c.client, true);
		blocking(c.backend, i % 2);
		sc_talk(&c);
		assert_int_equal(sc_messages(), n);
		blocking(c.client, false);
		blocking(c.backend, false);
		sc_talk(&c);
		assert_int_equal(sc_messages(), n + 2);
	}
	sc_close(&c);
}

static void urgent_data(void **state)
{
	struct sc_conn c = sc_connect(SC_CLIENT);
	uint64_t unfit = sc_left("unfit");
	const int on = 1;

	(void)state;
	/* Without a mark, but where it belongs. */
	assert_int_equal(send(c.client, "ab!", 3, MSG_OOB | MSG_NOSIGNAL), 3);
	sc_expect(c.backend, "ab!");
	/* Who says that he looks for one gets it. */
	assert_int_equal(setsockopt(c.backend, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)), 0);
	assert_int_equal(send(c.client, "cd!", 3, MSG_OOB | MSG_NOSIGNAL), 3);
	sc_expect(c.backend, "cd");
	assert_int_equal(sockatmark(c.backend), 1);
	sc_expect(c.backend, "!");
	assert_int_equal(sc_left("unfit"), unfit + 1);
	sc_close(&c);
}

static void low_water_mark(void **state)
{
	struct sc_conn c = on_shortcut();
	struct pollfd p = {c.backend, POLLIN, 0};
	const int eight = 8;

	(void)state;
	assert_int_equal(setsockopt(c.backend, SOL_SOCKET, SO_RCVLOWAT, &eight, sizeof(eight)), 0);
	sc_say(c.client, "1234");
	assert_int_equal(poll(&p, 1, 200), 0);
	sc_say(c.client, "5678");
	sc_expect(c.backend, "12345678");
	sc_close(&c);
}

/* A sender that hears when its pages are free. */
static void zero_copy(void **state)
{
	static uint8_t page[20000];
	struct sc_conn c = sc_connect(SC_CLIENT);
	struct pollfd p = {c.client, 0, 0};
	char control[128];
	struct msghdr notice = {.msg_control = control, .msg_controllen = sizeof(control)};
	const int on = 1;

	(void)state;
	assert_int_equal(setsockopt(c.client, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)), 0);
	sc_pattern(page, sizeof(page), 0);
	assert_int_equal(
		send(c.client, page, sizeof(page), MSG_ZEROCOPY | MSG_NOSIGNAL), sizeof(page));
	sc_recv(c.backend, sizeof(page), 0);
	assert_int_equal(poll(&p, 1, SC_PATIENCE_MS), 1);
	assert_int_equal(recvmsg(c.client, &notice, MSG_ERRQUEUE), 0);
	sc_close(&c);
}

static void edge_triggered(void **state)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
	struct sc_conn c = on_shortcut();
	int poller = epoll_create1(EPOLL_CLOEXEC);

	(void)state;
	assert_int_equal(epoll_ctl(poller, EPOLL_CTL_ADD, c.backend, &event), 0);
	assert_int_equal(epoll_wait(poller, &event, 1, 0), 0);
	for (int i = 0; i < 100; i++) {
		sc_say(c.client, "edge");
		assert_int_equal(epoll_wait(poller, &event, 1, SC_PATIENCE_MS), 1);
		assert_true(event.events & EPOLLIN);
		if (i % 2)
			sc_expect(c.backend, "edgeedge");
	}
	close_side(&c.client);
	do
		assert_int_equal(epoll_wait(poller, &event, 1, SC_PATIENCE_MS), 1);
	while (!(event.events & EPOLLRDHUP));
	expect_end(c.backend);
	close(poller);
	sc_close(&c);
}

static void nothing_is_left(void **state)
{
	(void)state;
	sc_await_sockets(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(half_close_by_client),
		cmocka_unit_test(half_close_by_backend),
		cmocka_unit_test(closed_behind_its_data),
		cmocka_unit_test(closed_with_data_unread),
		cmocka_unit_test(aborted),
		cmocka_unit_test(no_more_reading),
		cmocka_unit_test(killed),
		cmocka_unit_test(same_ports_again),
		cmocka_unit_test(disconnected),
		cmocka_unit_test(backlog),
		cmocka_unit_test(purged),
		cmocka_unit_test(backend_replaced),
		cmocka_unit_test(blocking_client),
		cmocka_unit_test(client_that_blocks_later),
		cmocka_unit_test(blocking_backend),
		cmocka_unit_test(now_and_then_blocking),
		cmocka_unit_test(urgent_data),
		cmocka_unit_test(low_water_mark),
		cmocka_unit_test(zero_copy),
		cmocka_unit_test(edge_triggered),
		cmocka_unit_test(nothing_is_left),
	};

	if (!lab_enter() || !sc_supported())
		return 0;
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("sockmap faults", tests, sc_setup, sc_teardown);
}
