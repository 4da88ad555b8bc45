/* SPDX-License-Identifier: Apache-2.0 */
/* For the suite's cases: a daemon with the target's runtime, and what it was told. cmocka.h is
 * included before. */
#ifndef WEFT_TESTS_CONFORMANCE_LAB_H
#define WEFT_TESTS_CONFORMANCE_LAB_H

#include <systemd/sd-event.h>

#include "tests/conformance/suite.h"

#define WAIT_NS 60000000000ULL
#define ID      "conf.case.1"
#define OTHER   "conf.case.2"

#define OPS (conf.target->ops)

extern struct conf conf;
extern struct conf_lab {
	sd_event *loop;
	struct weft_runtime *rt;
	bool in_call;
	unsigned answers, events, ended, oom;
	int r;
	struct weft_err err;
	enum weft_runtime_event end; /* the last EXITED or FAILED */
	char detail[256], ref[PATH_MAX], output[1024];
	int status;
	uint64_t size;
	struct weft_runtime_cap caps[WEFT_RUNTIME_MAX_CAPS];
	unsigned n_caps;
	char netns[128], log_path[128], inst_dir[128]; /* of the instance */
} lab;

/* Before and after every case: the daemon, an instance's directory, nothing left of it. */
int conf_setup(void **state);
int conf_teardown(void **state);

void conf_daemon_up(void);
void conf_daemon_down(void);
void conf_turn(uint64_t usec);
void conf_wait_count(const unsigned *count, unsigned n, const char *what);

/* What a call answers in the end; CALL(OPS->...(lab.rt, ..., conf_on_done, &lab, &lab.err)). */
#define CALL(...)                                                                   \
	(lab.in_call = true, lab.answers = 0, memset(&lab.err, 0, sizeof(lab.err)), \
		conf_answer(__VA_ARGS__))
int conf_answer(int r);
void conf_on_done(void *userdata, int r, const struct weft_err *err);
void conf_on_probed(void *userdata, const struct weft_runtime_cap *caps, unsigned n);
void conf_on_executed(void *userdata, int r, const struct weft_err *err, int status,
	const char *output, size_t size);

int conf_prepare(const char *image);
struct weft_runtime_spec conf_spec(enum conf_program p);
int conf_start_spec(const struct weft_runtime_spec *spec);
void conf_start(enum conf_program p); /* prepared, and it has to succeed */
int conf_stop(unsigned grace_ms);
int conf_delete(const char *id);
int conf_adopt(void);
struct weft_runtime_stats conf_stats(void);
/* CPU time that is used up within some time by what is said to be busy, or not. */
uint64_t conf_cpu_used_in(uint64_t ns);
void conf_wait_log(void); /* until it has written something */
void conf_assert_gone(void);

/* What a case takes of its target, beside a program that serves. */
#define CONF_IMAGES  (1u << 0)
#define CONF_PAUSE   (1u << 1)
#define CONF_KILL    (1u << 2)
#define CONF_EXEC    (1u << 3)
#define CONF_ROTATES (1u << 4)
#define CONF_HAS(p)  (1u << (8 + (p)))

struct conf_case {
	struct CMUnitTest test;
	unsigned takes;
};
#define CONF_CASE(name, takes)                                                          \
	{                                                                               \
		cmocka_unit_test_setup_teardown(name, conf_setup, conf_teardown), takes \
	}
#define CONF_CASES_END     \
	{                  \
		.takes = 0 \
	}
extern const struct conf_case conf_cases_life[], conf_cases_daemon[];

#endif
