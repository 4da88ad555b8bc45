/* SPDX-License-Identifier: Apache-2.0 */
/* The event log: order, bounds, what a restart finds, and a file that is torn, foreign or full. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/engine/events.h"
#include "ctrl/engine/reserve.h"

static char dir[] = "/tmp/weft-test-events-XXXXXX";
static char *path, *reserved;

static int setup(void **state)
{
	(void)state;
	unlink(path);
	unlink(reserved);
	return 0;
}

static int seen[2];

static struct weft_events *open_log(const char *file)
{
	struct weft_events *l = NULL;

	assert_int_equal(weft_events_open(file, &l), 0);
	return l;
}

static json_int_t number(const struct weft_events *l, uint64_t seq, const char *key)
{
	json_t *doc = json_loads(weft_events_line(l, seq), 0, NULL);
	json_int_t v = json_integer_value(json_object_get(doc, key));

	json_decref(doc);
	return v;
}

static void fill(struct weft_events *l, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		weft_events_add(l, "weights", "set", "shop.web", json_pack("{s:i}", "i", (int)i));
}

static void an_event_is_a_line(void **state)
{
	struct weft_events *l = open_log(NULL);
	json_t *doc;

	(void)state;
	assert_int_equal(weft_events_first(l), 1);
	assert_int_equal(weft_events_last(l), 0);
	assert_null(weft_events_line(l, 1));
	weft_events_add(l, "instance", "ready", "shop.web.1", json_pack("{s:s}", "a", "b\n\"c"));
	weft_events_add(l, "service", "created", "shop.web", NULL);
	doc = json_loads(weft_events_line(l, 1), 0, NULL);
	assert_non_null(doc);
	assert_null(strchr(weft_events_line(l, 1), '\n'));
	assert_string_equal(json_string_value(json_object_get(doc, "kind")), "instance");
	assert_string_equal(json_string_value(json_object_get(doc, "action")), "ready");
	assert_string_equal(json_string_value(json_object_get(doc, "object")), "shop.web.1");
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(doc, "data"), "a")), "b\n\"c");
	json_decref(doc);
	assert_null(strstr(weft_events_line(l, 2), "data"));
	assert_int_equal(number(l, 1, "seq"), 1);
	assert_int_equal(number(l, 2, "seq"), 2);
	assert_true(number(l, 2, "mono_us") >= number(l, 1, "mono_us"));
	assert_in_range((uint64_t)number(l, 2, "mono_us"), weft_now_ns() / 1000 - 60000000,
		weft_now_ns() / 1000);
	assert_in_range((uint64_t)number(l, 2, "t_us"), (weft_realtime_ms() - 60000) * 1000,
		(weft_realtime_ms() + 1) * 1000);
	weft_events_free(l);
	weft_events_add(NULL, "service", "created", "x", json_object()); /* nobody listens */
}

static void the_oldest_go_first(void **state)
{
	struct weft_events *l = open_log(NULL);

	(void)state;
	fill(l, WEFT_EVENTS_MAX + 10);
	assert_int_equal(weft_events_last(l), WEFT_EVENTS_MAX + 10);
	assert_int_equal(weft_events_first(l), 11);
	assert_null(weft_events_line(l, 10));
	assert_int_equal(number(l, 11, "seq"), 11);
	assert_null(weft_events_line(l, WEFT_EVENTS_MAX + 11));
	weft_events_free(l);
}

static void bytes_are_bounded_too(void **state)
{
	char text[8192];
	struct weft_events *l = open_log(NULL);
	size_t sum = 0;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < 300; i++)
		weft_events_add(l, "instance", "failed", "a", json_pack("{s:s}", "error", text));
	assert_int_equal(weft_events_last(l), 300);
	for (uint64_t seq = weft_events_first(l); seq <= 300; seq++)
		sum += strlen(weft_events_line(l, seq));
	assert_in_range(sum, WEFT_EVENTS_MAX_BYTES / 2, WEFT_EVENTS_MAX_BYTES);
	weft_events_free(l);
}

static void who_has_seen_some_gets_the_rest(void **state)
{
	struct weft_events *l = open_log(NULL);

	(void)state;
	assert_int_equal(weft_events_next(l, 0), 1);
	assert_int_equal(weft_events_next(l, 99), 1);
	fill(l, WEFT_EVENTS_MAX + 10);
	assert_int_equal(weft_events_next(l, 0), 11);
	assert_int_equal(weft_events_next(l, 5), 11); /* some are lost: the gap in seq tells */
	assert_int_equal(weft_events_next(l, 10), 11);
	assert_int_equal(weft_events_next(l, 11), 12);
	assert_int_equal(weft_events_next(l, WEFT_EVENTS_MAX + 10), WEFT_EVENTS_MAX + 11);
	/* A number of another log: all that is known. */
	assert_int_equal(weft_events_next(l, WEFT_EVENTS_MAX + 11), 11);
	assert_int_equal(weft_events_next(l, UINT64_MAX), 11);
	weft_events_free(l);
}

static void a_restart_goes_on(void **state)
{
	struct weft_events *l = open_log(path);
	char *line;

	(void)state;
	fill(l, 20);
	line = strdup(weft_events_line(l, 7));
	weft_events_free(l);
	l = open_log(path);
	assert_int_equal(weft_events_first(l), 1);
	assert_int_equal(weft_events_last(l), 20);
	assert_string_equal(weft_events_line(l, 7), line);
	fill(l, 1);
	assert_int_equal(number(l, 21, "seq"), 21);
	weft_events_free(l);
	free(line);
}

static void the_file_is_bounded(void **state)
{
	struct weft_events *l = open_log(path);
	struct stat st;
	uint64_t last;

	(void)state;
	for (int i = 0; i < 8; i++)
		fill(l, WEFT_EVENTS_MAX);
	last = weft_events_last(l);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size <= 2 * (off_t)WEFT_EVENTS_MAX_BYTES + 65536);
	assert_int_equal(st.st_mode & 077, 0);
	weft_events_free(l);
	l = open_log(path);
	assert_int_equal(weft_events_last(l), last);
	assert_int_equal(weft_events_first(l), last - WEFT_EVENTS_MAX + 1);
	weft_events_free(l);
}

static void write_text(const char *text)
{
	assert_int_equal(weft_write_file(path, text, strlen(text), 0600), 0);
}

static void what_is_no_event_is_passed_over(void **state)
{
	struct weft_events *l;

	(void)state;
	write_text("{\"seq\":5,\"kind\":\"a\"}\n"
		   "{\"seq\":6,\"kind\":\"tor\n"
		   "garbage\n\n"
		   "{\"seq\":\"7\"}\n"
		   "{\"seq\":-1}\n"
		   "[8]\n"
		   "{\"seq\":5,\"kind\":\"twice\"}\n"
		   "{\"seq\":9,\"kind\":\"b\"}\n"
		   "{\"seq\":10");
	l = open_log(path);
	assert_int_equal(weft_events_first(l), 5);
	assert_int_equal(weft_events_last(l), 9);
	assert_string_equal(weft_events_line(l, 5), "{\"seq\":5,\"kind\":\"a\"}");
	assert_null(weft_events_line(l, 7));
	fill(l, 1);
	assert_int_equal(number(l, 10, "seq"), 10);
	weft_events_free(l);
	l = open_log(path); /* and the torn end is gone */
	assert_int_equal(weft_events_last(l), 10);
	assert_int_equal(number(l, 10, "mono_us") > 0, 1);
	weft_events_free(l);
}

static void numbers_far_apart_are_no_trouble(void **state)
{
	struct weft_events *l;

	(void)state;
	write_text("{\"seq\":5}\n{\"seq\":9223372036854775800}\n");
	l = open_log(path);
	assert_int_equal(weft_events_first(l), 9223372036854775800u);
	assert_null(weft_events_line(l, 5));
	weft_events_free(l);
}

/* A disk without room costs what happens meanwhile after a restart, nothing now. */
static void a_full_disk_is_survived(void **state)
{
	struct rlimit limit, small;
	struct weft_events *l = open_log(path);

	(void)state;
	fill(l, 10);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = limit;
	small.rlim_cur = 100;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	fill(l, 10);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(weft_events_last(l), 20);
	assert_int_equal(number(l, 15, "seq"), 15);
	fill(l, 1);
	weft_events_free(l);
	l = open_log(path); /* as soon as there is room again all of it is there */
	assert_int_equal(weft_events_first(l), 1);
	assert_int_equal(weft_events_last(l), 21);
	for (uint64_t seq = 1; seq <= 21; seq++)
		assert_int_equal(number(l, seq, "seq"), seq);
	weft_events_free(l);
}

static void a_place_that_cannot_be_written_is_none(void **state)
{
	struct weft_events *l = open_log("/proc/nowhere/events");

	(void)state;
	fill(l, 3);
	assert_int_equal(weft_events_last(l) - weft_events_first(l), 2);
	weft_events_free(l);
}

struct range {
	uint64_t first, last;
};

/* A daemon is killed after n events of which the disk has no file grow beyond so many bytes. */
static struct range killed_after(unsigned n, rlim_t most)
{
	struct rlimit limit = {.rlim_cur = most, .rlim_max = most};
	struct range r = {0};
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct weft_events *l = open_log(path);

		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &limit);
		fill(l, 1);
		r.first = weft_events_last(l);
		fill(l, n - 1);
		r.last = weft_events_last(l);
		if (write(seen[1], &r, sizeof(r)) == sizeof(r))
			raise(SIGKILL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(read(seen[0], &r, sizeof(r)), sizeof(r));
	return r;
}

static void a_number_is_never_given_out_twice(void **state)
{
	/* All is well; the log takes nothing; nor does what reserves its numbers. */
	static const rlim_t limits[] = {RLIM_INFINITY, 200, 1};
	struct range all[4 * ARRAY_SIZE(limits)];

	(void)state;
	assert_int_equal(pipe(seen), 0);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		all[i] = killed_after(
			i % 2 ? 3 : 3 * WEFT_RESERVE_BLOCK, limits[i % ARRAY_SIZE(limits)]);
		for (size_t k = 0; k < i; k++)
			assert_true(all[i].first > all[k].last || all[i].last < all[k].first);
	}
	close(seen[0]);
	close(seen[1]);
}

/* Who was killed while all was well leaves out few of them, and keeps what there is. */
static void a_kill_leaves_out_few_numbers(void **state)
{
	struct weft_events *l;

	(void)state;
	assert_int_equal(pipe(seen), 0);
	assert_int_equal(killed_after(10, RLIM_INFINITY).last, 10);
	l = open_log(path);
	assert_int_equal(weft_events_first(l), 1);
	assert_in_range(weft_events_last(l), 10, WEFT_RESERVE_BLOCK);
	assert_int_equal(number(l, 10, "seq"), 10);
	weft_events_free(l);
	close(seen[0]);
	close(seen[1]);
}

/* After a power cut the disk may not have the newest block, but the larger one. */
static void after_a_power_cut_more_are_left_out(void **state)
{
	static const char text[] = "00000000000000000064 00000000000000001024 another-boot\n";
	struct weft_events *l;

	(void)state;
	assert_int_equal(weft_write_file(reserved, text, sizeof(text) - 1, 0600), 0);
	l = open_log(path);
	assert_int_equal(weft_events_last(l), WEFT_RESERVE_SYNCED);
	assert_int_equal(weft_events_first(l), WEFT_RESERVE_SYNCED + 1);
	weft_events_free(l);
	assert_int_equal(weft_write_file(reserved, "garbage", 7, 0600), 0);
	l = open_log(path);
	assert_int_equal(weft_events_last(l), 0);
	weft_events_free(l);
}

static void count_news(void *userdata)
{
	++*(unsigned *)userdata;
}

static void the_listener_hears_each(void **state)
{
	struct weft_events *l = open_log(NULL);
	unsigned n = 0;

	(void)state;
	fill(l, 1);
	weft_events_listen(l, count_news, &n);
	fill(l, 3);
	assert_int_equal(n, 3);
	weft_events_listen(l, NULL, NULL);
	fill(l, 1);
	assert_int_equal(n, 3);
	weft_events_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_event_is_a_line),
		cmocka_unit_test(the_oldest_go_first),
		cmocka_unit_test(bytes_are_bounded_too),
		cmocka_unit_test(who_has_seen_some_gets_the_rest),
		cmocka_unit_test_setup(a_restart_goes_on, setup),
		cmocka_unit_test_setup(the_file_is_bounded, setup),
		cmocka_unit_test_setup(what_is_no_event_is_passed_over, setup),
		cmocka_unit_test_setup(numbers_far_apart_are_no_trouble, setup),
		cmocka_unit_test_setup(a_full_disk_is_survived, setup),
		cmocka_unit_test_setup(a_number_is_never_given_out_twice, setup),
		cmocka_unit_test_setup(a_kill_leaves_out_few_numbers, setup),
		cmocka_unit_test_setup(after_a_power_cut_more_are_left_out, setup),
		cmocka_unit_test(a_place_that_cannot_be_written_is_none),
		cmocka_unit_test(the_listener_hears_each),
	};
	int r;

	if (!mkdtemp(dir) || !(path = weft_strf("%s/events.ndjson", dir)) ||
		!(reserved = weft_strf("%s.reserved", path)))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	weft_remove_tree(dir);
	free(path);
	free(reserved);
	return r;
}
