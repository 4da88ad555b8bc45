/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/swap/swap.h"

#define PLAN(kind) .strategy = WEFT_SHIFT_##kind, .duration_ms = 1000, .drain_ms = 3000
static const struct weft_sla_swap linear = {PLAN(LINEAR)};
static const struct weft_sla_swap exponential = {PLAN(EXPONENTIAL)};
static const struct weft_sla_swap at_once = {PLAN(AT_ONCE)};
static const struct weft_sla_swap canary = {
	PLAN(CANARY), .hold_ms = 250, .steps = {5, 25, 50, 75}, .n_steps = 4};
static const struct weft_sla_swap blue_green = {PLAN(BLUE_GREEN), .hold_ms = 1000};

static void shares_never_fall_and_end_at_100(void **state)
{
	const struct weft_sla_swap *plans[] = {
		&linear, &exponential, &at_once, &canary, &blue_green};

	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(plans); p++) {
		unsigned last = 0;

		for (uint64_t t = 0; t <= 1200; t++) {
			unsigned share = weft_swap_share(plans[p], t);

			assert_in_range(share, last, 100);
			assert_true(t < 1000 || share == 100);
			assert_true(t >= 1000 || plans[p] == &at_once || plans[p] == &blue_green ||
				    share < 100);
			assert_int_equal(
				weft_swap_shifted(plans[p], t), t >= 1000 || plans[p] == &at_once);
			last = share;
		}
	}
	assert_int_equal(weft_swap_share(&linear, 500), 50);
	assert_int_equal(weft_swap_share(&exponential, 500), 9); /* sqrt(101) - 1 */
	assert_int_equal(weft_swap_share(&at_once, 0), 100);
}

static void a_canary_holds_each_step(void **state)
{
	struct weft_sla_swap plan = canary;

	(void)state;
	assert_int_equal(weft_swap_share(&plan, 0), 5);
	assert_int_equal(weft_swap_share(&plan, 249), 5);
	assert_int_equal(weft_swap_share(&plan, 250), 25);
	assert_int_equal(weft_swap_share(&plan, 999), 75);
	plan.hold_ms = 0; /* no step is held at all */
	assert_int_equal(weft_swap_share(&plan, 0), 100);
	plan = canary;
	plan.n_steps = 0;
	assert_int_equal(weft_swap_share(&plan, 0), 100);
}

/* What it keeps has to be over first, and then there is no way back. */
static void a_handover_comes_before_the_shift(void **state)
{
	struct weft_sla_swap plan = at_once;
	struct weft_swap_observation o = {.new_total = 1, .new_running = 1, .new_ready = 1};

	(void)state;
	plan.handover = true;
	assert_int_equal(weft_swap_next(WEFT_SWAP_WARM, &plan, 1, &o), WEFT_SWAP_WARM);
	o.handed_over = true;
	assert_int_equal(weft_swap_next(WEFT_SWAP_WARM, &plan, 1, &o), WEFT_SWAP_SHIFT);
	o.failed = true;
	assert_int_equal(weft_swap_next(WEFT_SWAP_WARM, &plan, 1, &o), WEFT_SWAP_ROLLBACK);
	assert_int_equal(weft_swap_next(WEFT_SWAP_SHIFT, &plan, 1, &o), WEFT_SWAP_DRAIN);
	assert_int_equal(weft_swap_next(WEFT_SWAP_DRAIN, &plan, 1, &o), WEFT_SWAP_STOP_OLD);
	assert_false(weft_swap_can_turn_back(WEFT_SWAP_SHIFT, &plan));
}

static void pausing_stops_every_edge_but_the_one_back(void **state)
{
	struct weft_swap_observation o = {.prepared = true,
		.new_total = 2,
		.new_running = 2,
		.new_ready = 2,
		.state_ms = 100000,
		.paused = true};

	(void)state;
	for (int s = WEFT_SWAP_PREPARE; s <= WEFT_SWAP_DRAIN; s++)
		assert_int_equal(weft_swap_next((enum weft_swap_state)s, &linear, 2, &o), s);
	assert_int_equal(weft_swap_next(WEFT_SWAP_STOP_OLD, &linear, 2, &o), WEFT_SWAP_DONE);
	o.failed = true;
	assert_int_equal(weft_swap_next(WEFT_SWAP_WARM, &linear, 2, &o), WEFT_SWAP_ROLLBACK);
}

static void add(char **ids, unsigned *n, const char *prefix)
{
	ids[*n] = weft_strf("%s%u", prefix, *n);
	assert_non_null(ids[*n]);
	++*n;
}

/* Seven instances, three at a time: 3, 3, 1; the last batch takes a straggler too. */
static void batches_cover_everybody_once(void **state)
{
	_cleanup_(weft_swap_freep) struct weft_swap *s = calloc(1, sizeof(*s));
	static const unsigned sizes[] = {3, 3, 1};
	unsigned seen = 0;

	(void)state;
	assert_non_null(s);
	s->wanted = 7;
	s->plan = linear;
	s->plan.batch = 3;
	while (s->n_old < 8)
		add(s->old_ids, &s->n_old, "old");
	for (unsigned b = 0; b < ARRAY_SIZE(sizes); b++) {
		unsigned leaving = 0;

		weft_swap_next_batch(s);
		assert_int_equal(weft_swap_batch_size(s), sizes[b]);
		assert_int_equal(weft_swap_has_more(s), b < 2);
		for (unsigned i = 0; i < sizes[b]; i++)
			add(s->new_ids, &s->n_new, "new");
		for (unsigned i = 0; i < s->n_old; i++)
			leaving += weft_swap_side(s, s->old_ids[i]) == WEFT_SWAP_LEAVING;
		seen += leaving;
		assert_int_equal(leaving, b < 2 ? 3 : 2);
		assert_int_equal(weft_swap_side(s, s->new_ids[s->n_new - 1]), WEFT_SWAP_COMING);
		assert_int_equal(weft_swap_side(s, "new0"), b ? WEFT_SWAP_NEW : WEFT_SWAP_COMING);
		weft_swap_mark(s, 0, b * 10);
		assert_int_equal(weft_swap_overall(s), 3 * b * 100 / 7);
		weft_swap_mark(s, 100, b * 10 + 5);
	}
	assert_int_equal(seen, 8);
	assert_int_equal(weft_swap_overall(s), 100);
	assert_int_equal(weft_swap_side(s, "stranger"), WEFT_SWAP_NONE);
}

/* Who is not in the batch keeps what it had, whatever the batch's numbers: an even share. */
static void weights_leave_the_others_alone(void **state)
{
	(void)state;
	for (uint64_t leaving = 1; leaving <= 4; leaving++)
		for (uint64_t coming = 1; coming <= 4; coming++)
			for (unsigned p = 0; p <= 100; p += 10) {
#define PART(side) weft_swap_part(side, p, 1, leaving, coming)
				uint64_t rest = PART(WEFT_SWAP_OLD);

				assert_int_equal(leaving * PART(WEFT_SWAP_LEAVING) +
							 coming * PART(WEFT_SWAP_COMING),
					leaving * rest);
				assert_int_equal(
					coming * PART(WEFT_SWAP_COMING) * 100, leaving * rest * p);
				assert_int_equal(rest, PART(WEFT_SWAP_NEW));
				assert_int_equal(rest, PART(WEFT_SWAP_NONE));
#undef PART
			}
	assert_int_equal(weft_swap_part(WEFT_SWAP_COMING, 0, 1, 3, 2), 0);
	assert_int_equal(weft_swap_part(WEFT_SWAP_LEAVING, 100, 1, 3, 2), 0);
	/* A side that has nobody left leaves all to the other. */
	assert_int_equal(weft_swap_part(WEFT_SWAP_COMING, 0, 7, 0, 2), 7);
	/* Weights of their own divide a side's share: 70 and 30, of a quarter that 1 and 1 have. */
	assert_int_equal(weft_swap_part(WEFT_SWAP_LEAVING, 25, 70, 100, 2) * 30,
		weft_swap_part(WEFT_SWAP_LEAVING, 25, 30, 100, 2) * 70);
	assert_int_equal(3 * 2 * weft_swap_part(WEFT_SWAP_COMING, 25, 1, 100, 2),
		weft_swap_part(WEFT_SWAP_LEAVING, 25, 100, 100, 2));
}

static void a_zero_duration_shifts_at_once(void **state)
{
	struct weft_sla_swap plan = {.strategy = WEFT_SHIFT_LINEAR};

	(void)state;
	assert_int_equal(weft_swap_share(&plan, 0), 100);
}

/* Each edge's condition, one short of it, and it. */
static void goes_forward_edge_by_edge(void **state)
{
	struct weft_swap_observation o = {0};

	(void)state;
#define NEXT(s) weft_swap_next(s, &linear, 2, &o)
	assert_int_equal(NEXT(WEFT_SWAP_PREPARE), WEFT_SWAP_PREPARE);
	o.prepared = true;
	assert_int_equal(NEXT(WEFT_SWAP_PREPARE), WEFT_SWAP_START_NEW);
	o.new_total = 2;
	o.new_running = 1;
	assert_int_equal(NEXT(WEFT_SWAP_START_NEW), WEFT_SWAP_START_NEW);
	o.new_running = 2;
	assert_int_equal(NEXT(WEFT_SWAP_START_NEW), WEFT_SWAP_WARM);
	o.new_ready = 1;
	assert_int_equal(NEXT(WEFT_SWAP_WARM), WEFT_SWAP_WARM);
	o.new_ready = 2;
	assert_int_equal(NEXT(WEFT_SWAP_WARM), WEFT_SWAP_SHIFT);
	o.state_ms = 999;
	assert_int_equal(NEXT(WEFT_SWAP_SHIFT), WEFT_SWAP_SHIFT);
	o.state_ms = 1000;
	assert_int_equal(NEXT(WEFT_SWAP_SHIFT), WEFT_SWAP_DRAIN);
	o.old_flows = 1;
	o.old_left = 1;
	o.state_ms = 2999;
	assert_int_equal(NEXT(WEFT_SWAP_DRAIN), WEFT_SWAP_DRAIN);
	o.old_flows = 0;
	assert_int_equal(NEXT(WEFT_SWAP_DRAIN), WEFT_SWAP_STOP_OLD);
	o.old_flows = 7;
	o.state_ms = 3000;
	assert_int_equal(NEXT(WEFT_SWAP_DRAIN), WEFT_SWAP_STOP_OLD);
	assert_int_equal(NEXT(WEFT_SWAP_STOP_OLD), WEFT_SWAP_STOP_OLD);
	o.old_left = 0;
	o.more = true;
	assert_int_equal(NEXT(WEFT_SWAP_STOP_OLD), WEFT_SWAP_START_NEW);
	o.more = false;
	assert_int_equal(NEXT(WEFT_SWAP_STOP_OLD), WEFT_SWAP_DONE);
	assert_int_equal(NEXT(WEFT_SWAP_DONE), WEFT_SWAP_DONE);
#undef NEXT
}

static void a_failure_turns_back_until_the_old_are_removed(void **state)
{
	struct weft_swap_observation o = {.failed = true, .prepared = true, .new_total = 1};

	(void)state;
	for (int s = WEFT_SWAP_PREPARE; s <= WEFT_SWAP_DRAIN; s++) {
		assert_true(weft_swap_can_turn_back((enum weft_swap_state)s, &linear));
		assert_int_equal(weft_swap_next((enum weft_swap_state)s, &linear, 1, &o),
			WEFT_SWAP_ROLLBACK);
	}
	o.old_left = 1;
	assert_false(weft_swap_can_turn_back(WEFT_SWAP_STOP_OLD, &linear));
	assert_int_equal(weft_swap_next(WEFT_SWAP_STOP_OLD, &linear, 1, &o), WEFT_SWAP_STOP_OLD);
	assert_int_equal(weft_swap_next(WEFT_SWAP_ROLLBACK, &linear, 1, &o), WEFT_SWAP_ROLLBACK);
	o.new_total = 0;
	assert_int_equal(weft_swap_next(WEFT_SWAP_ROLLBACK, &linear, 1, &o), WEFT_SWAP_ROLLED_BACK);
	assert_true(weft_swap_ended(WEFT_SWAP_ROLLED_BACK));
}

static struct weft_swap *example(void)
{
	struct weft_swap *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	strcpy(s->id, "00c0ffee");
	strcpy(s->service, "shop.web");
	s->from = WEFT_VIRT_CONTAINER;
	s->to = WEFT_VIRT_UNIKERNEL;
	s->plan = canary;
	s->plan.guard = (struct weft_sla_guard){50, 5, 300, 3};
	s->plan.batch = 1;
	s->old_end = 1;
	s->paused = true;
	s->wanted = 1;
	s->started_ms = 1000;
	s->old_ids[s->n_old++] = strdup("shop.web.1");
	s->new_ids[s->n_new++] = strdup("shop.web.2");
	weft_swap_enter(s, WEFT_SWAP_PREPARE, 1000);
	weft_swap_mark(s, 0, 1000);
	weft_swap_enter(s, WEFT_SWAP_START_NEW, 1100);
	weft_swap_enter(s, WEFT_SWAP_WARM, 1200);
	weft_swap_enter(s, WEFT_SWAP_SHIFT, 1300);
	weft_swap_mark(s, 37, 1400);
	s->phases[2].old = (struct weft_guard_effect){.requests = 70, .p90_us = 90, .cpu_ms = 3};
	s->phases[2].coming = (struct weft_guard_effect){.requests = 7, .failed = 1};
	s->plan.handover = true;
	s->state_ms = 100;
	return s;
}

static void a_document_comes_back_as_it_was(void **state)
{
	_cleanup_(weft_swap_freep) struct weft_swap *a = example(), *b = NULL;
	struct weft_err err = {0};

	(void)state;
	weft_err_set(&a->error, ETIMEDOUT, "no answer");
	weft_err_hint(&a->error, "weft logs shop.web.2");
	json_auto_t *doc = weft_swap_to_json(a);
	assert_non_null(doc);
	assert_int_equal(weft_swap_from_json(doc, &b, &err), 0);
	json_auto_t *again = weft_swap_to_json(b);
	assert_true(json_equal(doc, again));
	assert_int_equal(b->state, WEFT_SWAP_SHIFT);
	assert_int_equal(b->state_ms, 100);
	assert_int_equal(b->batch_percent, 37);
	assert_int_equal(b->plan.n_steps, 4);
	assert_int_equal(b->plan.steps[3], 75);
	assert_int_equal(b->plan.guard.latency_percent, 300);
	assert_int_equal(weft_swap_side(b, "shop.web.1"), WEFT_SWAP_LEAVING);
	assert_true(b->paused);
	assert_int_equal(b->error.code, ETIMEDOUT);
	assert_int_equal(b->phases[0].ended_ms, 1100);
	assert_int_equal(b->phases[3].ended_ms, 0);
	assert_int_equal(b->phases[2].old.p90_us, 90);
	assert_int_equal(b->phases[2].coming.failed, 1);
	assert_true(b->plan.handover);
}

static void a_damaged_document_is_refused(void **state)
{
	static const char *const keys[] = {"id", "service", "from", "to", "state", "strategy",
		"duration_ms", "drain_ms", "wanted", "started_ms", "state_elapsed_ms"};
	_cleanup_(weft_swap_freep) struct weft_swap *a = example();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		_cleanup_(weft_swap_freep) struct weft_swap *b = NULL;
		struct weft_err err = {0};

		json_auto_t *doc = weft_swap_to_json(a);
		json_object_set_new(doc, keys[i], json_null());
		assert_int_equal(weft_swap_from_json(doc, &b, &err), -EBADMSG);
		assert_null(b);
		assert_non_null(strstr(err.msg, "swap"));
	}
}

static void a_long_trace_is_thinned_and_keeps_its_ends(void **state)
{
	_cleanup_(weft_swap_freep) struct weft_swap *s = example();

	(void)state;
	s->n_trace = 0;
	for (unsigned i = 0; i < 5000; i++)
		weft_swap_mark(s, i % 2 ? 40 : 60, i);
	assert_in_range(s->n_trace, WEFT_SWAP_MAX_TRACE / 2, WEFT_SWAP_MAX_TRACE);
	assert_int_equal(s->trace[0].t_ms, 0);
	assert_int_equal(s->trace[s->n_trace - 1].t_ms, 4999);
	for (unsigned i = 1; i < s->n_trace; i++)
		assert_true(s->trace[i].t_ms > s->trace[i - 1].t_ms);
	weft_swap_mark(s, 40, 6000); /* no change, no entry */
	assert_int_equal(s->trace[s->n_trace - 1].t_ms, 4999);
}

static void names_parse_back(void **state)
{
	(void)state;
	for (int i = 0; i < WEFT_SWAP_STATE_COUNT; i++)
		assert_int_equal(
			weft_swap_state_parse(weft_swap_state_name((enum weft_swap_state)i)), i);
	assert_int_equal(weft_swap_state_parse("shifty"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares_never_fall_and_end_at_100),
		cmocka_unit_test(a_zero_duration_shifts_at_once),
		cmocka_unit_test(a_canary_holds_each_step),
		cmocka_unit_test(a_handover_comes_before_the_shift),
		cmocka_unit_test(pausing_stops_every_edge_but_the_one_back),
		cmocka_unit_test(batches_cover_everybody_once),
		cmocka_unit_test(weights_leave_the_others_alone),
		cmocka_unit_test(goes_forward_edge_by_edge),
		cmocka_unit_test(a_failure_turns_back_until_the_old_are_removed),
		cmocka_unit_test(a_document_comes_back_as_it_was),
		cmocka_unit_test(a_damaged_document_is_refused),
		cmocka_unit_test(a_long_trace_is_thinned_and_keeps_its_ends),
		cmocka_unit_test(names_parse_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
