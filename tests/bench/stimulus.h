/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs that measure a BPF program by BPF_PROG_TEST_RUN share: its stimulus, which
 * restores and varies the packet and goes on to it, and the report of figures. */
#ifndef WEFT_TESTS_BENCH_STIMULUS_H
#define WEFT_TESTS_BENCH_STIMULUS_H

#include <errno.h>
#include <linux/ip.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "ctrl/base/err.h"
#include "tests/bench/bench.h"
#include "tests/bench/test_run.h"

#define FLOWS     200000
#define TABLE     (1U << 20) /* entries: FLOWS fill two fifths, both directions */
#define REPEAT    100000
#define TH_ACK    0x10
#define TH_SYN    0x02
#define FLAGS_OFF 47 /* TCP's in the frame */

static struct weft_err error;

static inline void must(int r)
{
	if (r < 0)
		errx(1, "%s", error.msg[0] ? error.msg : strerror(-r));
}

static inline void report(
	unsigned round, const char *measure, double value, const char *unit, const char *what)
{
	printf("{\"round\": %u, \"measure\": \"%s\", \"value\": %.3f, \"unit\": \"%s\", "
	       "\"what\": \"%s\"}\n",
		round, measure, value, unit, what);
}

struct stimulator {
	int stimulate, empty, target; /* descriptors */
	struct stimulus *now;
};

/* Of an object that has been opened, but not loaded. */
static inline void stimulator_load(struct stimulator *s, struct bpf_object *o)
{
	if (bpf_object__load(o) < 0)
		err(1, "the stimulus");
	s->stimulate = bpf_program__fd(bpf_object__find_program_by_name(o, "stimulate"));
	s->empty = bpf_program__fd(bpf_object__find_program_by_name(o, "empty"));
	s->target = bpf_object__find_map_fd_by_name(o, "target");
	s->now = mmap(NULL, sizeof(*s->now), PROT_READ | PROT_WRITE, MAP_SHARED,
		bpf_object__find_map_fd_by_name(o, "stimulus"), 0);
	if (s->now == MAP_FAILED)
		err(1, "the stimulus");
}

/* ns per packet of target; opts say in which context. The kernel leaves out the time in which
 * others ran. */
static inline double stimulate(
	const struct stimulator *s, int target, uint32_t repeat, struct bpf_test_run_opts *opts)
{
	uint32_t key = 0;

	opts->data_in = s->now->frame;
	opts->data_size_in = FRAME_SIZE;
	opts->repeat = (int)repeat;
	if (bpf_map_update_elem(s->target, &key, &target, BPF_ANY) < 0 ||
		bpf_prog_test_run_opts(s->stimulate, opts) < 0)
		err(1, "BPF_PROG_TEST_RUN");
	return opts->duration;
}

static inline void sum_ip(struct iphdr *ip)
{
	uint16_t words[sizeof(*ip) / 2];
	uint32_t sum = 0;

	ip->check = 0;
	memcpy(words, ip, sizeof(words));
	for (unsigned i = 0; i < sizeof(*ip) / 2; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

#endif
