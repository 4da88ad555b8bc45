/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/place.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/util.h"

#define WHY "service shop.web: no node can run it as "

/* A node that runs containers and unikernels on amd64 and is half used. */
static struct weft_sched_node node(const char *name)
{
	struct weft_sched_node n = {.name = name,
		.ready = true,
		.memory_mb = 2048,
		.memory_free_mb = 1024,
		.cpu_milli = 4000,
		.cpu_free_milli = 2000,
		.addresses_free = 60};

	n.offers[WEFT_VIRT_CONTAINER][WEFT_ARCH_AMD64] = true;
	n.offers[WEFT_VIRT_UNIKERNEL][WEFT_ARCH_AMD64] = true;
	return n;
}

static struct weft_sched_request request(void)
{
	return (struct weft_sched_request){.service = "shop.web",
		.virt = WEFT_VIRT_CONTAINER,
		.arch = {[WEFT_ARCH_AMD64] = true},
		.memory_mb = 512,
		.cpu_milli = 1000};
}

static void assert_placed(const struct weft_sched_request *rq, const struct weft_sched_node *nodes,
	size_t n, size_t want)
{
	struct weft_sched_decision d = {.node = SIZE_MAX};
	struct weft_err err = {0};

	assert_int_equal(weft_sched_place(rq, nodes, n, &d, &err), 0);
	assert_int_equal(d.node, want);
	assert_true(d.score >= 0 && d.score <= 1);
}

static void assert_refused(const struct weft_sched_request *rq, const struct weft_sched_node *nodes,
	size_t n, const char *msg, const char *hint)
{
	struct weft_sched_decision d = {.node = 12345};
	struct weft_err err = {0};

	assert_int_equal(weft_sched_place(rq, nodes, n, &d, &err), -ENODEV);
	assert_int_equal(err.code, ENODEV);
	assert_string_equal(err.msg, msg);
	if (hint)
		assert_string_equal(err.hint, hint);
	assert_int_equal(d.node, 12345);
	assert_int_equal(weft_sched_place(rq, nodes, n, &d, NULL), -ENODEV);
}

static void test_each_filter(void **state)
{
	struct weft_sched_request rq = request();
	struct weft_sched_node n = node("edge-1");

	(void)state;
	assert_placed(&rq, &n, 1, 0);

	n.ready = false;
	assert_refused(&rq, &n, 1,
		WHY "container: node edge-1: ready: it does not "
		    "report any more",
		"is weftd running on that node?");

	n = node("edge-1");
	rq.virt = WEFT_VIRT_GVISOR;
	assert_refused(&rq, &n, 1,
		WHY "gvisor: node edge-1: virtualization: gvisor "
		    "wanted, offers container, unikernel",
		"`weft status` says what each runtime lacks to be usable");
	memset(n.offers, 0, sizeof(n.offers));
	assert_refused(&rq, &n, 1,
		WHY "gvisor: node edge-1: virtualization: gvisor "
		    "wanted, offers none",
		NULL);

	n = node("edge-1");
	rq = request();
	rq.arch[WEFT_ARCH_AMD64] = false;
	rq.arch[WEFT_ARCH_ARM64] = true;
	assert_refused(&rq, &n, 1,
		WHY "container: node edge-1: architecture: arm64 "
		    "wanted, runs container on amd64",
		NULL);

	rq = request();
	n.memory_free_mb = 511;
	assert_refused(&rq, &n, 1,
		WHY "container: node edge-1: memory: 512 MiB "
		    "wanted, 511 MiB free",
		NULL);
	n.memory_free_mb = 512;
	assert_placed(&rq, &n, 1, 0);

	n.cpu_free_milli = 999;
	assert_refused(&rq, &n, 1,
		WHY "container: node edge-1: cpu: 1 CPUs wanted, "
		    "0.999 free",
		NULL);
	n.cpu_free_milli = 1000;
	n.addresses_free = 0;
	assert_refused(&rq, &n, 1,
		WHY "container: node edge-1: addresses: none left "
		    "in its subnet",
		NULL);
}

/* What the node's probe has said of the tuple that is wanted, and of no other. */
static void test_why_not(void **state)
{
	struct weft_sched_request rq = request();
	struct weft_sched_node n = node("edge-1");

	(void)state;
	rq.virt = WEFT_VIRT_GVISOR;
	n.lacks[WEFT_VIRT_GVISOR][WEFT_ARCH_ARM64] = "of what is not wanted";
	n.lacks[WEFT_VIRT_GVISOR][WEFT_ARCH_AMD64] = "runsc is not installed";
	assert_refused(&rq, &n, 1,
		WHY "gvisor: node edge-1: virtualization: gvisor "
		    "wanted, offers container, unikernel (runsc is not installed)",
		"`weft status` says what each runtime lacks to be usable");
	rq = request();
	rq.arch[WEFT_ARCH_AMD64] = false;
	rq.arch[WEFT_ARCH_ARM64] = true;
	n.lacks[WEFT_VIRT_CONTAINER][WEFT_ARCH_AMD64] = "of what it has";
	n.lacks[WEFT_VIRT_CONTAINER][WEFT_ARCH_ARM64] = "no processor for it";
	assert_refused(&rq, &n, 1,
		WHY "container: node edge-1: architecture: arm64 "
		    "wanted, runs container on amd64 (no processor for it)",
		NULL);
}

static void test_nothing_wanted(void **state)
{
	struct weft_sched_request rq = request();
	struct weft_sched_node n = node("edge-1");

	(void)state;
	rq.memory_mb = 0;
	rq.cpu_milli = 0;
	n.memory_free_mb = 0;
	n.cpu_free_milli = 0;
	assert_placed(&rq, &n, 1, 0);
}

static void test_direct(void **state)
{
	struct weft_sched_node nodes[] = {node("a"), node("b"), node("c")};
	struct weft_sched_request rq = request();

	(void)state;
	rq.node = "b";
	assert_placed(&rq, nodes, 3, 1);
	nodes[1].memory_free_mb = 0;
	nodes[0].ready = false;
	assert_refused(&rq, nodes, 3,
		WHY "container: node b: memory: 512 MiB wanted, "
		    "0 MiB free",
		NULL);
	rq.node = "z";
	assert_refused(&rq, nodes, 3, "service shop.web: node z: no such node",
		"check the node's name in the descriptor's direct constraint");
	assert_refused(&rq, nodes, 0, "service shop.web: there is no node to run it on", NULL);
}

static void test_best_fit(void **state)
{
	struct weft_sched_node nodes[] = {node("a"), node("b"), node("c")};
	struct weft_sched_request rq = request();

	(void)state;
	nodes[0].memory_free_mb = 2048;
	nodes[1].memory_free_mb = 600;
	assert_placed(&rq, nodes, 3, 1);
	nodes[1].memory_free_mb = 500; /* too small now, however well it fits */
	assert_placed(&rq, nodes, 3, 2);

	for (size_t i = 0; i < 3; i++)
		nodes[i] = node(nodes[i].name);
	nodes[2].cpu_free_milli = 1000;
	assert_placed(&rq, nodes, 3, 2);
}

static void test_ties(void **state)
{
	struct weft_sched_node nodes[] = {node("c"), node("a"), node("b")};
	struct weft_sched_request rq = request();

	(void)state;
	assert_placed(&rq, nodes, 3, 1);
	nodes[1].name = "d";
	assert_placed(&rq, nodes, 3, 2);
	nodes[2].name = nodes[0].name; /* even so the answer is always the same one */
	assert_placed(&rq, nodes, 3, 0);
}

static void test_arch(void **state)
{
	struct weft_sched_request rq = request();
	struct weft_sched_node n = node("edge-1");
	struct weft_sched_decision d;

	(void)state;
	rq.arch[WEFT_ARCH_ARM64] = true;
	n.offers[WEFT_VIRT_CONTAINER][WEFT_ARCH_AMD64] = false;
	n.offers[WEFT_VIRT_CONTAINER][WEFT_ARCH_ARM64] = true;
	assert_int_equal(weft_sched_place(&rq, &n, 1, &d, NULL), 0);
	assert_int_equal(d.arch, WEFT_ARCH_ARM64);
	n.offers[WEFT_VIRT_CONTAINER][WEFT_ARCH_AMD64] = true;
	assert_int_equal(weft_sched_place(&rq, &n, 1, &d, NULL), 0);
	assert_int_equal(d.arch, WEFT_ARCH_AMD64);
}

/* The first few are spelt out, the hint is for the most frequent reason, and it always fits. */
static void test_many_refusals(void **state)
{
	static char names[300][260];
	static struct weft_sched_node nodes[300];
	struct weft_sched_request rq = request();
	struct weft_sched_decision d;
	struct weft_err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		snprintf(names[i], sizeof(names[i]), "n%zu", i);
		nodes[i] = node(names[i]);
		nodes[i].memory_free_mb = 10;
	}
	nodes[0].ready = false;
	assert_refused(&rq, nodes, 7,
		WHY
		"container: node n0: ready: it does not "
		"report any more; node n1: memory: 512 MiB wanted, 10 MiB free; node n2: memory: "
		"512 MiB wanted, 10 MiB free; node n3: memory: 512 MiB wanted, 10 MiB free; "
		"and 3 more",
		"lower `memory` in the descriptor, or remove instances: `weft instance list`");

	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
		memset(names[i], 'x', sizeof(names[i]) - 1);
	assert_int_equal(weft_sched_place(&rq, nodes, ARRAY_SIZE(nodes), &d, &err), -ENODEV);
	assert_non_null(strstr(err.msg, "; and 299 more"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_filter),
		cmocka_unit_test(test_why_not),
		cmocka_unit_test(test_nothing_wanted),
		cmocka_unit_test(test_direct),
		cmocka_unit_test(test_best_fit),
		cmocka_unit_test(test_ties),
		cmocka_unit_test(test_arch),
		cmocka_unit_test(test_many_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
