/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/place.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"

#define SHOWN_MAX 4  /* refusals spelt out; the rest is counted */
#define REST_MAX  32 /* room for saying so */

/* Text that grows to a limit; what does not fit is left out whole. */
struct text {
	char buf[512];
	size_t used;
};

static bool add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->used, sizeof(t->buf) - t->used, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(t->buf) - t->used) {
		t->buf[t->used] = '\0';
		return false;
	}
	t->used += (size_t)n;
	return true;
}

static bool runs(
	const struct weft_sched_node *node, enum weft_virt virt, const bool arch[WEFT_ARCH_COUNT])
{
	for (size_t a = 0; a < WEFT_ARCH_COUNT; a++)
		if (node->offers[virt][a] && (!arch || arch[a]))
			return true;
	return false;
}

static void add_arches(struct text *t, const bool arch[WEFT_ARCH_COUNT])
{
	const char *separator = "";

	for (size_t a = 0; a < WEFT_ARCH_COUNT; a++) {
		if (!arch[a])
			continue;
		add(t, "%s%s", separator, weft_arch_name((enum weft_arch)a));
		separator = " or ";
	}
	if (!*separator)
		add(t, "nothing");
}

/* --- filters: may the instance run on this node?
 * -------------------------------------------------- */

typedef bool (*filter_pass_t)(const struct weft_sched_request *, const struct weft_sched_node *);
typedef void (*filter_why_t)(
	struct text *, const struct weft_sched_request *, const struct weft_sched_node *);

/* What the node's own probe has said of what is wanted and not there. */
static void add_lacks(
	struct text *t, const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	for (size_t a = 0; a < WEFT_ARCH_COUNT; a++) {
		const char *why = node->lacks[rq->virt][a];

		if (rq->arch[a] && !node->offers[rq->virt][a] && why && why[0]) {
			add(t, " (%s)", why);
			return;
		}
	}
}

static bool named_pass(const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	return !rq->node || strcmp(rq->node, node->name) == 0;
}

static void named_why(
	struct text *t, const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	(void)node;
	add(t, "%s wanted", rq->node);
}

static bool ready_pass(const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	(void)rq;
	return node->ready;
}

static void ready_why(
	struct text *t, const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	(void)rq;
	(void)node;
	add(t, "it does not report any more");
}

static bool virt_pass(const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	return runs(node, rq->virt, NULL);
}

static void virt_why(
	struct text *t, const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	const char *separator = "";

	add(t, "%s wanted, offers ", weft_virt_name(rq->virt));
	for (size_t v = 0; v < WEFT_VIRT_COUNT; v++) {
		if (!runs(node, (enum weft_virt)v, NULL))
			continue;
		add(t, "%s%s", separator, weft_virt_name((enum weft_virt)v));
		separator = ", ";
	}
	if (!*separator)
		add(t, "none");
	add_lacks(t, rq, node);
}

static bool arch_pass(const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	return runs(node, rq->virt, rq->arch);
}

static void arch_why(
	struct text *t, const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	add_arches(t, rq->arch);
	add(t, " wanted, runs %s on ", weft_virt_name(rq->virt));
	add_arches(t, node->offers[rq->virt]);
	add_lacks(t, rq, node);
}

static bool memory_pass(const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	return node->memory_free_mb >= rq->memory_mb;
}

static void memory_why(
	struct text *t, const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	add(t, "%u MiB wanted, %u MiB free", rq->memory_mb, node->memory_free_mb);
}

static bool cpu_pass(const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	return node->cpu_free_milli >= rq->cpu_milli;
}

static void cpu_why(
	struct text *t, const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	add(t, "%.10g CPUs wanted, %.10g free", rq->cpu_milli / 1000.0,
		node->cpu_free_milli / 1000.0);
}

static bool addresses_pass(const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	(void)rq;
	return node->addresses_free > 0;
}

static void addresses_why(
	struct text *t, const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	(void)rq;
	(void)node;
	add(t, "none left in its subnet");
}

/* Cheap and telling ones first: a node is reported with the first filter that refuses it. */
static const struct filter {
	const char *name;
	filter_pass_t pass;
	filter_why_t why;
	const char *hint;
} filters[] = {
	{"node", named_pass, named_why,
		"check the node's name in the descriptor's direct constraint"},
	{"ready", ready_pass, ready_why, "is weftd running on that node?"},
	{"virtualization", virt_pass, virt_why,
		"`weft status` says what each runtime lacks to be usable"},
	{"architecture", arch_pass, arch_why,
		"name an architecture that a node offers in `arch`, with an image built for it"},
	{"memory", memory_pass, memory_why,
		"lower `memory` in the descriptor, or remove instances: `weft instance list`"},
	{"cpu", cpu_pass, cpu_why,
		"lower `vcpus` in the descriptor, or remove instances: `weft instance list`"},
	{"addresses", addresses_pass, addresses_why,
		"remove instances from the node: `weft instance list`"},
};

/* The first filter that refuses the node, NULL when it may be used. */
static const struct filter *refusing(
	const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		if (!filters[i].pass(rq, node))
			return &filters[i];
	return NULL;
}

/* --- score: best fit
 * ------------------------------------------------------------------------------ */

/* The most that is free anywhere among the nodes in question: the unit of what is left over. */
struct scale {
	double memory, cpu;
};

static double left_over(uint32_t free_now, uint32_t wanted, double unit)
{
	return unit > 0 ? (free_now - wanted) / unit : 0;
}

/* 1: nothing is left over on the node, 0: as much as can be. Best fit packs, so that whole nodes
 * stay free for what is big; weights of memory and CPU are equal, as no one knows better. */
static double score(const struct weft_sched_request *rq, const struct weft_sched_node *node,
	const struct scale *scale)
{
	return 1 - (left_over(node->memory_free_mb, rq->memory_mb, scale->memory) +
			   left_over(node->cpu_free_milli, rq->cpu_milli, scale->cpu)) /
			   2;
}

static bool better(const struct weft_sched_node *nodes, const struct weft_sched_decision *a,
	const struct weft_sched_decision *b)
{
	if (a->score != b->score)
		return a->score > b->score;
	return strcmp(nodes[a->node].name, nodes[b->node].name) < 0;
}

static enum weft_arch pick_arch(
	const struct weft_sched_request *rq, const struct weft_sched_node *node)
{
	size_t a = 0;

	while (!node->offers[rq->virt][a] || !rq->arch[a])
		a++; /* ends: the architecture filter passed */
	return (enum weft_arch)a;
}

/* --- refusal
 * -------------------------------------------------------------------------------------- */

static bool known(const char *name, const struct weft_sched_node *nodes, size_t n_nodes)
{
	for (size_t i = 0; i < n_nodes; i++)
		if (strcmp(nodes[i].name, name) == 0)
			return true;
	return false;
}

/* The hint is that of the filter that refused most nodes. Nodes not asked for are not mentioned. */
static int refuse(const struct weft_sched_request *rq, const struct weft_sched_node *nodes,
	size_t n_nodes, struct weft_err *err)
{
	size_t counts[ARRAY_SIZE(filters)] = {0}, most = 0, shown = 0, rest = 0;
	struct text text = {{0}, 0};

	if (!err)
		return -ENODEV;
	if (n_nodes == 0) {
		weft_err_set(err, ENODEV, "service %s: there is no node to run it on", rq->service);
		return weft_err_hint(err, "start weftd on a machine of this cluster");
	}
	if (rq->node && !known(rq->node, nodes, n_nodes)) {
		weft_err_set(
			err, ENODEV, "service %s: node %s: no such node", rq->service, rq->node);
		return weft_err_hint(err, "%s", filters[0].hint);
	}
	for (size_t i = 0; i < n_nodes; i++) {
		const struct filter *f = refusing(rq, &nodes[i]);
		struct text one = {{0}, 0};

		if (f == &filters[0])
			continue;
		counts[f - filters]++;
		add(&one, "%snode %s: %s: ", shown ? "; " : "", nodes[i].name, f->name);
		f->why(&one, rq, &nodes[i]);
		if (shown < SHOWN_MAX && text.used + one.used < sizeof(text.buf) - REST_MAX &&
			add(&text, "%s", one.buf))
			shown++;
		else
			rest++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		if (counts[i] > counts[most])
			most = i;
	if (rest)
		add(&text, "; and %zu more", rest);
	weft_err_set(err, ENODEV, "service %s: no node can run it as %s: %s", rq->service,
		weft_virt_name(rq->virt), text.buf);
	return weft_err_hint(err, "%s", filters[most].hint);
}

int weft_sched_place(const struct weft_sched_request *request, const struct weft_sched_node *nodes,
	size_t n_nodes, struct weft_sched_decision *ret, struct weft_err *err)
{
	struct weft_sched_decision best = {0};
	struct scale scale = {0, 0};
	bool found = false;

	for (size_t i = 0; i < n_nodes; i++) {
		if (refusing(request, &nodes[i]))
			continue;
		if (nodes[i].memory_free_mb > scale.memory)
			scale.memory = nodes[i].memory_free_mb;
		if (nodes[i].cpu_free_milli > scale.cpu)
			scale.cpu = nodes[i].cpu_free_milli;
	}
	for (size_t i = 0; i < n_nodes; i++) {
		struct weft_sched_decision this = {.node = i};

		if (refusing(request, &nodes[i]))
			continue;
		this.score = score(request, &nodes[i], &scale);
		this.arch = pick_arch(request, &nodes[i]);
		if (!found || better(nodes, &this, &best))
			best = this;
		found = true;
	}
	if (!found)
		return refuse(request, nodes, n_nodes, err);
	*ret = best;
	return 0;
}
