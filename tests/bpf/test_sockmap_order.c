/* SPDX-License-Identifier: Apache-2.0 */
/* What is sent arrives, once and in order, however the ways by the shortcut and by packets
 * alternate: every byte is checked. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "tests/lib/dp_lab.h"
#include "tests/lib/shortcut_lab.h"

#define PERIOD (1U << 20) /* of the content: so that it can come from a file as well */

static uint8_t *content; /* two periods, one after the other */
static int content_fd;

static void make_content(void)
{
	content_fd = memfd_create("content", MFD_CLOEXEC);
	assert_int_equal(ftruncate(content_fd, 2 * PERIOD), 0);
	content = mmap(NULL, 2 * PERIOD, PROT_READ | PROT_WRITE, MAP_SHARED, content_fd, 0);
	assert_true(content != MAP_FAILED);
	sc_pattern(content, PERIOD, 0);
	memcpy(content + PERIOD, content, PERIOD);
}

/* --- one end, as a process of its own --- */

struct end {
	int fd;
	const char *name;
	uint64_t random;
	uint64_t sent, got, total; /* as much each way */
	size_t most;               /* of one write */
	unsigned pauses; /* reads in a thousand before which it does nothing for a while */
};

static uint32_t draw(struct end *e, uint32_t below)
{
	e->random ^= e->random << 13;
	e->random ^= e->random >> 7;
	e->random ^= e->random << 17;
	return (uint32_t)(e->random >> 32) % below;
}

static __attribute__((noreturn)) void broken(const struct end *e, const char *what)
{
	fprintf(stderr, "%s: %s after %llu sent, %llu received: %s\n", e->name, what,
		(unsigned long long)e->sent, (unsigned long long)e->got, strerror(errno));
	_exit(1);
}

static ssize_t write_some(struct end *e, size_t size)
{
	size_t from = e->sent % PERIOD, half = size / 2;
	struct iovec parts[] = {{content + from, half}, {content + from + half, size - half}};
	struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
	off_t offset = (off_t)from;

	switch (draw(e, 4)) {
	case 0:
		return sendfile(e->fd, content_fd, &offset, size);
	case 1:
		return sendmsg(e->fd, &msg, MSG_NOSIGNAL);
	case 2:
		return send(e->fd, content + from, size, MSG_NOSIGNAL | MSG_MORE);
	default:
		return send(e->fd, content + from, size, MSG_NOSIGNAL);
	}
}

static void transmit(struct end *e)
{
	size_t size = 1 + draw(e, draw(e, 2) ? 200 : (uint32_t)e->most);
	ssize_t n;

	if (size > e->total - e->sent)
		size = e->total - e->sent;
	n = write_some(e, size);
	if (n < 0 && errno != EAGAIN)
		broken(e, "send");
	e->sent += n > 0 ? (uint64_t)n : 0;
	if (e->sent == e->total && shutdown(e->fd, SHUT_WR) < 0)
		broken(e, "shutdown");
}

static void receive(struct end *e)
{
	static uint8_t in[1 << 17];
	size_t size = 1 + draw(e, draw(e, 2) ? 300 : sizeof(in));
	ssize_t n;

	if (draw(e, 1000) < e->pauses)
		poll(NULL, 0, (int)draw(e, 20));
	if (draw(e, 8) == 0) {
		n = recv(e->fd, in, size, MSG_PEEK);
		if (n > 0 && memcmp(in, content + e->got % PERIOD, (size_t)n) != 0)
			broken(e, "wrong content seen");
	}
	n = recv(e->fd, in, size, 0);
	if (n < 0 && errno != EAGAIN)
		broken(e, "recv");
	if (n == 0)
		broken(e, "end");
	if (n > 0 && memcmp(in, content + e->got % PERIOD, (size_t)n) != 0)
		broken(e, "wrong content");
	e->got += n > 0 ? (uint64_t)n : 0;
}

static void run_end(struct end *e)
{
	char c;

	while (e->got < e->total || e->sent < e->total) {
		struct pollfd p = {.fd = e->fd};

		p.events = (short)((e->sent < e->total ? POLLOUT : 0) |
				   (e->got < e->total ? POLLIN : 0));
		errno = ETIMEDOUT;
		if (poll(&p, 1, 2 * SC_PATIENCE_MS) != 1)
			broken(e, "poll");
		if (p.revents & (POLLOUT | POLLERR))
			transmit(e);
		if (p.revents & (POLLIN | POLLERR | POLLHUP) && e->got < e->total)
			receive(e);
	}
	if (sc_read(e->fd, &c, 1) != 0)
		broken(e, "no end");
}

static pid_t start_end(struct end e, int other)
{
	pid_t pid = fork();

	if (pid == 0) {
		close(other);
		run_end(&e);
		_exit(0);
	}
	assert_true(pid > 0);
	return pid;
}

static void await_end(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

struct hammering {
	uint64_t total;
	size_t most;
	unsigned pauses;
	int buffer; /* SO_RCVBUF and SO_SNDBUF, 0: the kernel's choice */
};

static void set_buffers(int fd, int size)
{
	if (!size)
		return;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
}

static void hammer(const struct hammering *h)
{
	uint64_t seed = weft_now_ns() | 1, messages = sc_messages(), full = sc_left("full");
	struct sc_conn c = sc_connect(SC_CLIENT);
	struct end a = {.fd = c.client, .name = "client", .random = seed, .total = h->total};
	struct end b = {.fd = c.backend, .name = "backend", .random = seed * 7, .total = h->total};
	pid_t client, backend;

	print_message("# seed %llu\n", (unsigned long long)seed);
	a.most = b.most = h->most;
	a.pauses = b.pauses = h->pauses;
	set_buffers(c.client, h->buffer);
	set_buffers(c.backend, h->buffer);
	client = start_end(a, c.backend);
	backend = start_end(b, c.client);
	sc_close(&c);
	await_end(client);
	await_end(backend);
	print_message("# %llu messages by the shortcut, left it %llu times\n",
		(unsigned long long)(sc_messages() - messages),
		(unsigned long long)(sc_left("full") - full));
	assert_true(sc_messages() > messages);
}

static void small_messages(void **state)
{
	static const struct hammering h = {.total = 4 << 20, .most = 2000};

	(void)state;
	hammer(&h);
}

/* Both ways in turn, many times. */
static void readers_that_fall_behind(void **state)
{
	static const struct hammering h[] = {
		{.total = 48 << 20, .most = 100000, .pauses = 100},
		{.total = 24 << 20, .most = 20000, .pauses = 30, .buffer = 8192},
		{.total = 48 << 20, .most = 500000, .pauses = 10},
		{.total = 24 << 20, .most = 5000, .pauses = 30, .buffer = 100000},
	};
	uint64_t before = sc_left("full");

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(h); i++)
		hammer(&h[i]);
	assert_true(sc_left("full") - before >= 20);
}

/* The same while the other way is taken for reasons of its own. */
static void while_it_is_switched(void **state)
{
	struct sc_conn c = sc_connect(SC_CLIENT);
	struct end a = {.fd = c.client, .name = "client", .random = 5, .total = 64 << 20};
	struct end b = {.fd = c.backend, .name = "backend", .random = 7, .total = 64 << 20};
	uint64_t messages = sc_messages();
	pid_t client, backend;

	(void)state;
	a.most = b.most = 3000;
	client = start_end(a, c.backend);
	backend = start_end(b, c.client);
	while (sc_messages() - messages < 1000)
		poll(NULL, 0, 1);
	for (int i = 0; i < 200; i++) {
		int flags = fcntl(c.client, F_GETFL);

		assert_int_equal(fcntl(c.client, F_SETFL, flags ^ O_NONBLOCK), 0);
		poll(NULL, 0, 1);
		assert_int_equal(fcntl(c.client, F_SETFL, flags), 0);
		poll(NULL, 0, 1);
	}
	sc_switch(false);
	sc_close(&c);
	await_end(client);
	await_end(backend);
	sc_switch(true);
}

static void a_byte_at_a_time(void **state)
{
	struct sc_conn c = sc_connect(SC_CLIENT);
	uint64_t before = sc_messages();

	(void)state;
	for (uint64_t i = 0; i < 20000; i++)
		assert_int_equal(send(c.client, content + i, 1, MSG_NOSIGNAL), 1);
	assert_int_equal(sc_messages(), before + 20000);
	for (uint64_t i = 0; i < 20000; i += 1000)
		sc_recv(c.backend, 1000, i);
	sc_close(&c);
}

/* A sender has to wait as it does for packets, and what it was rid of is there. */
static void a_receiver_that_does_not_read(void **state)
{
	(void)state;
	for (int client = 0; client < 2; client++) {
		struct sc_conn c = sc_connect(SC_CLIENT);
		int from = client ? c.client : c.backend, to = client ? c.backend : c.client;
		uint64_t full = sc_left("full"), messages = sc_messages(), sent = 0;
		ssize_t n;

		while ((n = send(from, content + sent % PERIOD, 10000, MSG_NOSIGNAL)) > 0) {
			sent += (uint64_t)n;
			assert_true(sent < 64 << 20);
		}
		assert_int_equal(errno, EAGAIN);
		assert_int_equal(sc_left("full"), full + 1);
		assert_true(sc_messages() > messages);
		for (uint64_t got = 0; got < sent; got += (uint64_t)n) {
			static uint8_t in[50000];

			n = sc_read(to, in, sizeof(in));
			assert_true(n > 0);
			assert_memory_equal(in, content + got % PERIOD, (size_t)n);
		}
		/* Now that all is read, it may come by the shortcut again. */
		messages = sc_messages();
		for (int i = 0; i < 100 && sc_messages() < messages + 2; i++)
			sc_talk(&c); /* once what went by packets is acknowledged */
		assert_true(sc_messages() >= messages + 2);
		sc_close(&c);
	}
}

static void huge_writes(void **state)
{
	static const struct hammering h = {.total = 64 << 20, .most = PERIOD};

	(void)state;
	hammer(&h);
}

static void many_at_once(void **state)
{
	enum { N = 20 };
	pid_t ends[2 * N];

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		struct sc_conn c = sc_connect(i % 2 ? SC_CLIENT : SC_HOST);
		struct end e = {.name = "one of many",
			.total = 1 << 20,
			.most = 10000,
			.pauses = 20,
			.random = i + 1};

		e.fd = c.client;
		ends[2 * i] = start_end(e, c.backend);
		e.fd = c.backend;
		ends[2 * i + 1] = start_end(e, c.client);
		sc_close(&c);
	}
	for (unsigned i = 0; i < 2 * N; i++)
		await_end(ends[i]);
	sc_await_sockets(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_messages),
		cmocka_unit_test(readers_that_fall_behind),
		cmocka_unit_test(while_it_is_switched),
		cmocka_unit_test(a_byte_at_a_time),
		cmocka_unit_test(a_receiver_that_does_not_read),
		cmocka_unit_test(huge_writes),
		cmocka_unit_test(many_at_once),
	};

	if (!lab_enter() || !sc_supported())
		return 0;
	signal(SIGPIPE, SIG_IGN);
	make_content();
	return cmocka_run_group_tests_name("sockmap order", tests, sc_setup, sc_teardown);
}
