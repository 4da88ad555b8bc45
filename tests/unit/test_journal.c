/* SPDX-License-Identifier: Apache-2.0 */
/* Under systemd a log line is an entry of the journal with its ids as fields: sent by libsystemd to
 * a journal's socket that is ours, in a mount namespace of our own. */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/daemon/journal.c"

#define SOCKET "/run/systemd/journal/socket"

static int journal = -1;

static void expect_fields(const char *line, const char *wanted)
{
	struct journal_fields f;
	char text[512] = "";

	journal_fields(line, &f);
	for (unsigned i = 0; i < f.n; i++) {
		strcat(text, i ? " " : "");
		strcat(text, f.text[i]);
	}
	assert_string_equal(text, wanted);
}

static void test_fields(void **state)
{
	(void)state;
	expect_fields("weftd 0.1.0 ready: node a, socket /run/weft/weftd.sock", "");
	expect_fields("service shop.web: created", "SERVICE=shop.web");
	expect_fields("instance shop.web.1: ready", "INSTANCE=shop.web.1 SERVICE=shop.web");
	expect_fields("instance shop.web.12@edge-2: told",
		"INSTANCE=shop.web.12@edge-2 SERVICE=shop.web");
	expect_fields("instance vm1: attached by device tap0", "INSTANCE=vm1");
	expect_fields("instance 7: attached", "INSTANCE=7");
	expect_fields("swap 7f3a: shop.web: shift", "SWAP=7f3a SERVICE=shop.web");
	expect_fields("swap 7f3a: paused", "SWAP=7f3a");
	expect_fields("service shop.web: swap 7f3a is running", "SERVICE=shop.web SWAP=7f3a");
	expect_fields("service a.b: handed over to a.b.2: instance a.b.2 and instance a.b.3",
		"SERVICE=a.b INSTANCE=a.b.2");
	expect_fields("image docker.io/library/nginx:1.25: removed",
		"IMAGE=docker.io/library/nginx:1.25");
	expect_fields("peer edge-2: there is a way to it", "PEER=edge-2");
	expect_fields("a microservice x, service ", "");
	expect_fields("", "");
}

/* The entry that comes next, in the journal's own protocol: a field a line. */
static char *entry(void)
{
	static char buf[8192];
	ssize_t n = recv(journal, buf, sizeof(buf) - 1, 0);

	assert_true(n > 0);
	for (ssize_t i = 0; i < n; i++) /* of a length before a value of several lines */
		buf[i] = buf[i] ? buf[i] : '?';
	buf[n] = '\0';
	return buf;
}

static void test_sent(void **state)
{
	char *text;

	(void)state;
	log_warning("swap %s: %s: shift", "7f3a", "shop.web");
	text = entry();
	assert_non_null(strstr(text, "MESSAGE=swap 7f3a: shop.web: shift\n"));
	assert_non_null(strstr(text, "PRIORITY=4\n"));
	assert_non_null(strstr(text, "SYSLOG_IDENTIFIER=weftd\n"));
	assert_non_null(strstr(text, "SWAP=7f3a\n"));
	assert_non_null(strstr(text, "SERVICE=shop.web\n"));
	assert_null(strstr(text, "INSTANCE="));
	log_debug("not at this level");
	log_error("service a.b: two\nlines");
	text = entry();
	assert_non_null(strstr(text, "PRIORITY=3\n"));
	assert_non_null(strstr(text, "SERVICE=a.b\n"));
	assert_non_null(strstr(text, "two\nlines"));
}

static void set_stream(int fd, unsigned more)
{
	char text[64];
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino + more);
	setenv("JOURNAL_STREAM", text, 1);
}

static void test_only_if_stderr_is_it(void **state)
{
	(void)state;
	set_stream(STDERR_FILENO, 1);
	assert_false(is_journal(STDERR_FILENO));
	setenv("JOURNAL_STREAM", "1:", 1);
	assert_false(is_journal(STDERR_FILENO));
	unsetenv("JOURNAL_STREAM");
	assert_false(is_journal(STDERR_FILENO));
}

/* /run of this process alone, with a journal's socket in it. */
static int open_journal(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = SOCKET};
	struct timeval patience = {.tv_sec = 60};
	int fd;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0 ||
		weft_mkdir_p("/run/systemd/journal", 0755) < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return -1;
	return fd;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_sent),
		cmocka_unit_test(test_only_if_stderr_is_it),
	};

	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root: a mount namespace with a journal's socket\n");
		return 0;
	}
	journal = open_journal();
	if (journal < 0) {
		perror("a journal's socket");
		return 1;
	}
	set_stream(STDERR_FILENO, 0);
	journal_open();
	return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
