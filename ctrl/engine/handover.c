/* SPDX-License-Identifier: Apache-2.0 */
/* A service that keeps something: before its new instance gets the first flow, the old one's state
 * is handed over to it.
 *
 *   role       an earlier try's fence is found, and
 *   unfence    taken away
 *   clear      a pause of an earlier try ends
 *   follow     the new instance copies the old one's state, which goes on serving
 *   pause      the old one does not write any more; its clients wait
 *   catch-up   until the new one has replicated as far as the old one (its offset is measured)
 *   fence      the old one refuses writes also when its pause has ended; then both are compared
 * anew promote    the new one takes writes flip       all new flows go to it (the swap's edges to
 * shift and drain) cut        the old one's connections are closed: what it had not answered, it
 * never will
 *
 * For Redis that is replication; for others a command in the instances, which is told the step and
 * the other's address. A daemon that dies before the flip is stored begins anew: the new instance
 * has had no client yet. Until another one comes, the old one's pause may end by itself: before the
 * fence it then goes on, and the new one follows; behind it, it answers writes with an error, so
 * that none is acknowledged by who is not asked any more once the new one is. The fence is to
 * follow a master that is not there, which leaves the old one all that it has. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/internal.h"
#include "ctrl/health/redis.h"

#define PAUSE_MS    "30000"        /* of writes, at the most: then Redis goes on by itself */
#define FLIP_NS     12000000000ULL /* paused for so long, and not flipped: begin anew */
#define CATCH_UP_NS 2000000000ULL
#define LOOK_MS     50 /* at the copying */
#define CATCH_MS    2  /* at what is left of it */
#define CUT_MS      100
#define CALL_MS     2000

#define FENCE_HOST "127.0.0.1"
#define FENCE_PORT "1"
#define UNDO_MS    500            /* from one try to undo it to the next */
#define UNDO_NS    60000000000ULL /* the last one then */

enum stage {
	ROLE,
	UNFENCE,
	CLEAR,
	FOLLOW,
	COPY,
	PAUSE,
	MEASURE,
	CATCH_UP,
	FENCE,
	PROMOTE,
	HANDED,
	CUT,
	PURGE,
	RESUME,
};

static const char *const stage_names[] = {
	[ROLE] = "role",
	[UNFENCE] = "unfence",
	[CLEAR] = "clear",
	[FOLLOW] = "follow",
	[COPY] = "copy",
	[PAUSE] = "pause",
	[MEASURE] = "measure",
	[CATCH_UP] = "catch-up",
	[FENCE] = "fence",
	[PROMOTE] = "promote",
	[HANDED] = "handed",
	[CUT] = "cut",
	[PURGE] = "purge",
	[RESUME] = "resume",
};

struct handover {
	struct service *service;
	char *old_name, *new_name;
	struct in_addr old_addr, new_addr;
	enum stage stage;
	struct weft_redis *old, *coming;
	struct weft_engine_call *call;
	sd_event_source *timer;
	bool fenced; /* what is measured now is all there will be */
	bool undo;   /* the old one is to be as it was, and that is all */
	bool tried;  /* in vain, to undo it */
	bool barred; /* Redis wants a password or a right of us: that does not pass by itself */
	uint64_t began_ns, paused_ns;
	uint64_t offset; /* of the old one's replication, when its writes were paused */
};

static void issue(struct handover *h);

void handover_free(struct service *s)
{
	struct handover *h = s->handover;

	if (!h)
		return;
	s->handover = NULL;
	weft_engine_call_forget(h->call);
	weft_redis_free(h->old);
	weft_redis_free(h->coming);
	sd_event_source_disable_unref(h->timer);
	free(h->old_name);
	free(h->new_name);
	free(h);
}

bool handover_done(const struct service *s)
{
	return s->handover && s->handover->stage == HANDED;
}

bool handover_busy(const struct service *s)
{
	return s->handover != NULL;
}

static const struct weft_sla_handover *wanted_by(const struct service *s)
{
	return &s->spec->handover;
}

static const struct weft_sla_handover *wanted(const struct handover *h)
{
	return wanted_by(h->service);
}

bool handover_fenced(const struct service *s)
{
	return s->handover && s->handover->undo && wanted_by(s)->type == WEFT_HANDOVER_REDIS;
}

static void again(struct handover *h, unsigned ms)
{
	sd_event_source_set_time(h->timer, (weft_now_ns() + ms * 1000000ULL) / 1000);
	sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT);
}

static void go(struct handover *h, enum stage stage)
{
	h->stage = stage;
	if (stage == PAUSE) /* it begins then at the soonest, and so does not end before we think */
		h->paused_ns = weft_now_ns();
	issue(h);
}

/* A Redis that is alive, but does not answer just now, or is busy, may be fenced: then it must not
 * stay so. */
static bool try_again(const struct handover *h)
{
	const struct instance *inst = instance_find(h->service->engine, h->old_name);

	return wanted(h)->type == WEFT_HANDOVER_REDIS && !h->barred && inst &&
	       inst->phase == PHASE_READY && weft_now_ns() - h->began_ns < UNDO_NS;
}

/* What is left to do is somebody else's: the history says so, and what. */
static void not_undone(struct handover *h, const struct weft_err *why)
{
	struct service *s = h->service;
	const struct instance *inst = instance_find(s->engine, h->old_name);
	bool redis = wanted(h)->type == WEFT_HANDOVER_REDIS && inst && inst->phase == PHASE_READY;
	struct weft_swap *swap = s->swap;
	struct weft_err hint = {0};

	weft_err_hint(&hint, "have %s take writes again: REPLICAOF NO ONE, then CLIENT UNPAUSE",
		h->old_name);
	log_warning("service %s: handover, not undone: %s%s%s", s->name, why->msg,
		redis ? "; hint: " : "", redis ? hint.hint : "");
	if (!swap)
		return;
	if (swap->n_phases > 0) {
		char *detail = swap->phases[swap->n_phases - 1].detail;

		snprintf(detail, sizeof(swap->phases[0].detail), "not undone%s: %.120s",
			redis ? ", it may refuse writes" : "", why->msg);
		weft_text_clean_line(detail);
	}
	if (redis && swap->error.code)
		weft_err_hint(&swap->error, "%s", hint.hint);
}

/* The swap turns back, which ends the handover. */
static void fail(struct handover *h, const struct weft_err *err)
{
	struct service *s = h->service;
	struct weft_err why = *err;

	if (h->stage == CUT) {
		/* It does not answer: then its flows are cut off without its doing. */
		log_warning("service %s: handover: %s", s->name, why.msg);
		go(h, PURGE);
		return;
	}
	if (h->undo && try_again(h)) {
		if (!h->tried)
			log_warning("service %s: handover, being undone: %s: trying again", s->name,
				why.msg);
		h->tried = true;
		again(h, UNDO_MS);
		return;
	}
	if (h->undo || !s->swap) {
		not_undone(h, &why);
		handover_free(s);
		engine_kick(s->engine);
		return;
	}
	weft_err_prefix(
		&why, "service %s: handover from %s to %s", s->name, h->old_name, h->new_name);
	weft_err_hint(&why, "weft logs %s", h->new_name);
	swap_turn_back(s, &why);
	engine_kick(s->engine);
}

static void fail_text(struct handover *h, int code, const char *text)
{
	struct weft_err err = {0};

	weft_err_set(&err, code, "%s", text);
	fail(h, &err);
}

static void undone(struct handover *h)
{
	struct service *s = h->service;

	log_info("service %s: %s goes on as before the handover", s->name, h->old_name);
	handover_free(s);
	engine_kick(s->engine);
}

static void handed(struct handover *h)
{
	struct service *s = h->service;
	uint64_t now = weft_now_ns();

	h->stage = HANDED;
	engine_step(s->engine, "handover", stage_names[HANDED]);
	log_info("service %s: handed over to %s: copied in %.1f s, writes pause since %.1f ms",
		s->name, h->new_name, (double)(h->paused_ns - h->began_ns) / 1e9,
		(double)(now - h->paused_ns) / 1e6);
	if (s->swap && s->swap->n_phases > 0)
		snprintf(s->swap->phases[s->swap->n_phases - 1].detail,
			sizeof(s->swap->phases[0].detail), "copied in %.1f s, then writes paused",
			(double)(h->paused_ns - h->began_ns) / 1e9);
	engine_kick(s->engine);
}

/* --- Redis ---------------------------------------------------------------------------------------
 */

static void look_at_copy(struct handover *h, const char *info)
{
	uint64_t limit = wanted(h)->timeout_s * 1000000000ULL;

	if (strstr(info, "master_link_status:up") && !strstr(info, "master_sync_in_progress:1"))
		go(h, PAUSE);
	else if (weft_now_ns() - h->began_ns > limit)
		fail_text(h, ETIMEDOUT, "the new one did not copy the old one's state in time");
	else
		again(h, LOOK_MS);
}

static void look_at_rest(struct handover *h, const char *info)
{
	uint64_t offset;

	if (weft_redis_info_u64(info, "slave_repl_offset", &offset) == 0 && offset >= h->offset)
		go(h, h->fenced ? PROMOTE : FENCE);
	else if (weft_now_ns() - h->paused_ns > CATCH_UP_NS)
		fail_text(h, ETIMEDOUT, "the new one did not catch up with the old one in 2 s");
	else
		again(h, CATCH_MS);
}

static bool is_fenced(const char *info)
{
	return strstr(info, "\nmaster_host:" FENCE_HOST "\r\n") &&
	       strstr(info, "\nmaster_port:" FENCE_PORT "\r\n");
}

static void on_reply(void *userdata, int r, const char *text, const struct weft_err *err)
{
	struct handover *h = userdata;

	if (r < 0) {
		h->barred = r == -EKEYREJECTED;
		fail(h, err);
		return;
	}
	switch (h->stage) {
	case ROLE:
		go(h, is_fenced(text) ? UNFENCE : CLEAR);
		break;
	case UNFENCE:
		go(h, CLEAR);
		break;
	case CLEAR:
		if (h->undo)
			undone(h);
		else
			go(h, FOLLOW);
		break;
	case FOLLOW:
		go(h, COPY);
		break;
	case COPY:
		look_at_copy(h, text);
		break;
	case PAUSE:
		go(h, MEASURE);
		break;
	case MEASURE:
		if (weft_redis_info_u64(text, "master_repl_offset", &h->offset) < 0)
			fail_text(
				h, EBADMSG, "the old one does not tell how much it has replicated");
		else
			go(h, CATCH_UP);
		break;
	case CATCH_UP:
		look_at_rest(h, text);
		break;
	case FENCE:
		h->fenced = true;
		go(h, MEASURE);
		break;
	case PROMOTE:
		handed(h);
		break;
	case CUT:
		h->stage = PURGE;
		again(h, CUT_MS); /* for its last packets to leave */
		break;
	case RESUME:
	case HANDED:
	case PURGE:
		break;
	}
}

static void ask_redis(struct handover *h)
{
	char addr[INET_ADDRSTRLEN], port[8];
	const char *const follow[] = {"REPLICAOF", addr, port, NULL};
	static const char *const info[] = {"INFO", "replication", NULL};
	static const char *const pause[] = {"CLIENT", "PAUSE", PAUSE_MS, "WRITE", NULL};
	static const char *const fence[] = {"REPLICAOF", FENCE_HOST, FENCE_PORT, NULL};
	static const char *const master[] = {"REPLICAOF", "NO", "ONE", NULL};
	static const char *const cut[] = {
		"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL};
	static const char *const resume[] = {"CLIENT", "UNPAUSE", NULL};
	const char *const *const commands[] = {
		[ROLE] = info,
		[UNFENCE] = master,
		[CLEAR] = resume,
		[FOLLOW] = follow,
		[COPY] = info,
		[PAUSE] = pause,
		[MEASURE] = info,
		[CATCH_UP] = info,
		[FENCE] = fence,
		[PROMOTE] = master,
		[CUT] = cut,
	};
	bool of_new = h->stage == FOLLOW || h->stage == COPY || h->stage == CATCH_UP ||
		      h->stage == PROMOTE;
	int r;

	inet_ntop(AF_INET, &h->old_addr, addr, sizeof(addr));
	snprintf(port, sizeof(port), "%u", wanted(h)->port);
	r = weft_redis_call(of_new ? h->coming : h->old, commands[h->stage], CALL_MS, on_reply, h);
	if (r < 0)
		fail_text(h, -r, strerror(-r));
}

/* --- a command in the instances ------------------------------------------------------------------
 */

static void on_executed(void *userdata, int r, const struct weft_err *err, json_t *doc)
{
	struct handover *h = userdata;
	json_int_t status = json_integer_value(json_object_get(doc, "status"));
	_cleanup_(freep) char *text = NULL;

	h->call = NULL;
	if (r == 0 && status != 0)
		text = weft_strf("%s ended with status %d: %.200s", wanted(h)->command[0],
			(int)status, json_string_value(json_object_get(doc, "output")));
	json_decref(doc);
	if (r < 0) {
		fail(h, err);
	} else if (status != 0) {
		fail_text(h, EIO, text ? weft_text_clean_line(text) : "failed");
	} else if (h->stage == FOLLOW) {
		go(h, PAUSE);
	} else if (h->stage == PAUSE) {
		go(h, PROMOTE);
	} else if (h->stage == PROMOTE) {
		handed(h);
	} else {
		undone(h);
	}
}

static void run_command(struct handover *h)
{
	static const char *const words[] = {
		[FOLLOW] = "sync", [PAUSE] = "pause", [PROMOTE] = "promote", [RESUME] = "resume"};
	bool of_new = h->stage == FOLLOW || h->stage == PROMOTE;
	struct weft_engine_op op = {.kind = WEFT_ENGINE_EXEC,
		.instance = of_new ? h->new_name : h->old_name,
		.timeout_ms = wanted(h)->timeout_s * 1000};
	_cleanup_(freep) char **argv = NULL;
	char addr[INET_ADDRSTRLEN];
	struct weft_err err = {0};
	size_t n = 0;
	int r;

	while (wanted(h)->command[n])
		n++;
	argv = calloc(n + 3, sizeof(*argv));
	if (!argv) {
		fail_text(h, ENOMEM, "out of memory");
		return;
	}
	memcpy(argv, wanted(h)->command, n * sizeof(*argv));
	inet_ntop(AF_INET, of_new ? &h->old_addr : &h->new_addr, addr, sizeof(addr));
	argv[n] = (char *)words[h->stage];
	argv[n + 1] = addr;
	op.argv = argv;
	r = weft_engine_do(h->service->engine, &op, on_executed, h, &h->call, &err);
	if (r < 0)
		fail(h, &err);
}

/* --- both ----------------------------------------------------------------------------------------
 */

static void purge(struct handover *h)
{
	struct instance *inst = instance_find(h->service->engine, h->old_name);
	struct service *s = h->service;

	if (inst)
		weft_dp_flows_purge(s->engine->dp, inst->id);
	handover_free(s);
	engine_kick(s->engine);
}

static void issue(struct handover *h)
{
	engine_step(h->service->engine, "handover", stage_names[h->stage]);
	if (h->stage == PURGE)
		purge(h);
	else if (wanted(h)->type == WEFT_HANDOVER_REDIS)
		ask_redis(h);
	else if (h->stage == CUT)
		go(h, PURGE);
	else if (h->stage == ROLE)
		go(h, h->undo ? RESUME : FOLLOW);
	else
		run_command(h);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	issue(userdata);
	return 0;
}

static int begin(struct service *s, struct handover **ret)
{
	struct handover *h = calloc(1, sizeof(*h));
	struct weft_engine *e = s->engine;
	int r = h ? 0 : -ENOMEM;

	s->handover = h;
	if (h)
		h->service = s;
	for (struct instance *i = e->instances; i && r == 0; i = i->next) {
		enum weft_swap_side side = weft_swap_side(s->swap, i->name);

		if (i->service == s && side == WEFT_SWAP_LEAVING) {
			h->old_name = strdup(i->name);
			h->old_addr = i->ns_addr;
		} else if (i->service == s && side == WEFT_SWAP_COMING) {
			h->new_name = strdup(i->name);
			h->new_addr = i->ns_addr;
		}
	}
	if (r == 0 && (!h->old_name || (!h->new_name && s->swap->state != WEFT_SWAP_ROLLBACK)))
		r = -ENOENT;
	if (r == 0)
		r = weft_redis_new(e->event, h->old_addr, wanted(h)->port, &h->old);
	if (r == 0 && h->new_name)
		r = weft_redis_new(e->event, h->new_addr, wanted(h)->port, &h->coming);
	if (r == 0)
		r = sd_event_add_time(e->event, &h->timer, CLOCK_MONOTONIC, 0, 500, on_timer, h);
	if (r < 0) {
		handover_free(s);
		return r;
	}
	sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
	h->began_ns = weft_now_ns();
	*ret = h;
	return 0;
}

static bool all_ready(const struct service *s)
{
	unsigned n = 0;

	for (struct instance *i = s->engine->instances; i; i = i->next)
		n += i->service == s && i->phase == PHASE_READY && !i->adopted &&
		     weft_swap_side(s->swap, i->name) == WEFT_SWAP_COMING;
	return n > 0 && n >= weft_swap_batch_size(s->swap);
}

void handover_tick(struct service *s, uint64_t now)
{
	struct weft_err err = {0};
	struct handover *h = s->handover;
	int r;

	if (s->swap->state != WEFT_SWAP_WARM || !s->swap->plan.handover || s->swap->error.code)
		return;
	if (h && h->stage == HANDED && s->swap->paused) {
		/* By hand, for who knows how long: the old one is to write again meanwhile. */
		handover_turned_back(s);
		return;
	}
	if (h && h->stage == HANDED && wanted(h)->type == WEFT_HANDOVER_REDIS &&
		now - h->paused_ns > FLIP_NS) {
		h->began_ns = now;
		h->fenced = false;
		go(h, ROLE);
		return;
	}
	if (h || s->swap->paused || !all_ready(s))
		return;
	r = begin(s, &h);
	if (r < 0) {
		weft_err_set(&err, r, "service %s: handover: %s", s->name,
			r == -ENOENT ? "there is no old instance" : strerror(-r));
		swap_turn_back(s, &err);
		return;
	}
	go(h, ROLE);
}

void handover_flipped(struct service *s)
{
	struct handover *h = s->handover;

	if (!h && begin(s, &h) < 0)
		return; /* the old one has gone, and its connections with it */
	go(h, CUT);
}

static void undo(struct handover *h)
{
	h->undo = true;
	h->barred = false; /* the other one may have said that */
	h->began_ns = weft_now_ns();
	go(h, ROLE);
}

void handover_turned_back(struct service *s)
{
	struct handover *h = s->handover;

	/* What an earlier daemon had come to is not known. */
	if (!h && wanted_by(s)->type == WEFT_HANDOVER_REDIS)
		handover_resume(s);
	if (!h || h->undo)
		return;
	weft_engine_call_forget(h->call);
	h->call = NULL;
	sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
	/* What was asked of either is not waited for any more. */
	weft_redis_free(h->old);
	h->old = NULL;
	weft_redis_free(h->coming);
	h->coming = NULL;
	if ((h->stage < PAUSE && wanted(h)->type != WEFT_HANDOVER_REDIS) || h->stage >= CUT ||
		weft_redis_new(s->engine->event, h->old_addr, wanted(h)->port, &h->old) < 0) {
		handover_free(s);
		return;
	}
	undo(h);
}

void handover_resume(struct service *s)
{
	bool back = s->swap->state == WEFT_SWAP_ROLLBACK ||
		    (s->swap->state == WEFT_SWAP_WARM && s->swap->paused);
	bool warm = false;
	struct handover *h;

	for (unsigned i = 0; i < s->swap->n_phases; i++)
		warm |= s->swap->phases[i].state == WEFT_SWAP_WARM;
	if (s->swap->plan.handover && back && warm && !s->handover && begin(s, &h) == 0)
		undo(h);
}
