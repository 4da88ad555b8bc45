/* SPDX-License-Identifier: Apache-2.0 */
/* Instances that weft did not start: an interface of somebody else's is brought into the overlay
 * and taken out again. weft neither starts nor stops what is behind it, changes nothing of it, and
 * waits for it when it has gone. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/dataplane/link_find.h"
#include "ctrl/engine/internal.h"
#include "ctrl/engine/peer.h"

#define LOOK_NS      1000000000ULL /* from one look at it to the next */
#define ATTEMPT_MS   1000
#define TIMEOUT_MS   5000
#define NAME_MAX_LEN 76
#define LOOK_LOST_NS 10000000000ULL /* a device that comes back is told of, too */

/* --- its record ----------------------------------------------------------------------------------
 */

json_t *borrowed_pack(const struct instance *inst, uint32_t weight)
{
	char ns[INET_ADDRSTRLEN], in[INET_ADDRSTRLEN];
	json_t *doc;

	inet_ntop(AF_INET, &inst->ns_addr, ns, sizeof(ns));
	inet_ntop(AF_INET, &inst->inst_addr, in, sizeof(in));
	doc = json_pack("{s:i, s:s, s:s, s:i, s:s, s:I, s:I}", "id", (int)inst->id, "ns_addr", ns,
		"inst_addr", in, "weight", (int)weight, "phase", phase_name(inst->phase),
		"created_ms", (json_int_t)inst->created_ms, "ready_ms", (json_int_t)inst->ready_ms);
	if (doc)
		instance_ipv6_to_json(inst, doc);
	return doc;
}

int borrowed_unpack(struct instance *inst, const json_t *doc)
{
	const char *ns, *in, *phase;
	json_int_t created, ready;
	int id, weight, p;

	if (json_unpack((json_t *)doc, "{s:i, s:s, s:s, s:i, s:s, s:I, s:I}", "id", &id, "ns_addr",
		    &ns, "inst_addr", &in, "weight", &weight, "phase", &phase, "created_ms",
		    &created, "ready_ms", &ready) < 0)
		return -EBADMSG;
	p = phase_parse(phase);
	if (p < 0 || id < 1 || id >= HOST_INSTANCE || weight < 0 || weight > WEFT_DP_MAX_WEIGHT ||
		inet_pton(AF_INET, ns, &inst->ns_addr) != 1 ||
		inet_pton(AF_INET, in, &inst->inst_addr) != 1 ||
		instance_ipv6_from_json(inst, doc) < 0)
		return -EBADMSG;
	inst->id = (uint32_t)id;
	inst->phase = (enum phase)p;
	inst->created_ms = (uint64_t)created;
	inst->ready_ms = (uint64_t)ready;
	inst->borrowed->weight = (uint32_t)weight;
	return 0;
}

static int attached_store(struct instance *inst, struct weft_err *err)
{
	const struct borrowed *b = inst->borrowed;
	char mac[18];

	if (b->peer)
		return remote_store(inst, err);
	json_auto_t *doc = borrowed_pack(inst, b->weight);
	json_auto_t *own = json_pack("{s:s*, s:s*, s:s*, s:s*}", "service",
		inst->service ? inst->service->name : NULL, "device", b->device, "netns", b->netns,
		"mac", b->mac_given ? instance_mac(inst, mac) : NULL);

	if (json_object_update(doc, own) < 0)
		return weft_err_set(err, ENOMEM, "out of memory");
	return weft_store_put(inst->engine->store, "attached", inst->name, doc, err);
}

static void keep_record(struct instance *inst)
{
	struct weft_err err = {0};

	inst->unstored = attached_store(inst, &err) < 0;
	if (!inst->unstored)
		return;
	inst->store_ns = weft_now_ns() + LOOK_NS;
	log_error("instance %s: %s: %s", inst->name, phase_name(inst->phase), err.msg);
}

static void set_phase(struct instance *inst, enum phase phase)
{
	if (inst->phase == phase)
		return;
	log_info("instance %s: %s%s%s", inst->name, phase_name(phase), inst->error.code ? ": " : "",
		inst->error.msg);
	inst->phase = phase;
	if (phase == PHASE_READY)
		inst->ready_ms = weft_realtime_ms();
	keep_record(inst);
	instance_say(inst, phase_name(phase));
	/* A peer may have many, and each answers for itself. */
	if (inst->service && inst->borrowed->peer && phase == PHASE_READY)
		service_weigh_soon(inst->service);
	else if (inst->service)
		service_weigh(inst->service);
	engine_kick(inst->engine);
}

void borrowed_free(struct borrowed *b)
{
	if (!b)
		return;
	free(b->device);
	free(b->netns);
	free(b->of);
	free(b);
}

static int unpack(struct instance *inst, const json_t *doc, const char **ret_service)
{
	const char *device = NULL, *netns = NULL, *mac = NULL;

	*ret_service = NULL;
	if (borrowed_unpack(inst, doc) < 0 ||
		json_unpack((json_t *)doc, "{s?s, s?s, s?s, s?s}", "service", ret_service, "device",
			&device, "netns", &netns, "mac", &mac) < 0 ||
		(!device && !netns) || (mac && weft_mac_parse(mac, inst->mac) < 0))
		return -EBADMSG;
	inst->borrowed->mac_given = mac != NULL;
	inst->borrowed->device = device ? strdup(device) : NULL;
	inst->borrowed->netns = netns ? strdup(netns) : NULL;
	return inst->borrowed->device || inst->borrowed->netns ? 0 : -ENOMEM;
}

/* An empty one, not yet in the engine's list. */
struct instance *attached_new(struct weft_engine *e, const char *name)
{
	struct instance *inst = calloc(1, sizeof(*inst));

	if (!inst)
		return NULL;
	inst->engine = e;
	inst->tap_fd = -1;
	inst->rtt_us = inst->load = -1;
	inst->name = strdup(name);
	inst->code = strdup("");
	inst->borrowed = calloc(1, sizeof(*inst->borrowed));
	if (inst->name && inst->code && inst->borrowed)
		return inst;
	instance_free(inst);
	return NULL;
}

void attached_enlist(struct instance *inst)
{
	inst->next = inst->engine->instances;
	inst->engine->instances = inst;
}

int attached_restore(void *engine, const char *name, const json_t *doc)
{
	struct weft_engine *e = engine;
	struct instance *inst = attached_new(e, name);
	const char *service = NULL;
	int r = inst ? unpack(inst, doc, &service) : -ENOMEM;

	if (r == 0 && service && !(inst->service = service_find(e, service)))
		r = -ENOENT;
	if (r < 0) {
		log_error("stored attached instance %s cannot be read: %s", name, strerror(-r));
		instance_free(inst);
		return r;
	}
	attached_enlist(inst);
	e->last_instance_id = inst->id > e->last_instance_id ? inst->id : e->last_instance_id;
	return 0;
}

/* --- its place in the data plane -----------------------------------------------------------------
 */

static int find(struct instance *inst, struct weft_link_found *ret, struct weft_err *err)
{
	const struct borrowed *b = inst->borrowed;

	return b->device ? weft_link_find_device(b->device, ret, err)
			 : weft_link_find_netns(b->netns, inst->ns_addr, ret, err);
}

static int check_owner(struct weft_engine *e, const char *device, struct weft_err *err)
{
	const char *own = e->config.host_device;
	size_t n = strlen(own);

	if (strncmp(device, own, n) != 0 ||
		(device[n] != '\0' && device[n] != '.' && strcmp(device + n, "p") != 0))
		return 0;
	return weft_err_set(err, EBUSY, "device %s is weft's own", device);
}

/* Nobody else's: of this data plane's instances, or another's. */
static int check_free(
	const struct instance *inst, const struct weft_link_found *f, struct weft_err *err)
{
	for (struct instance *i = inst->engine->instances; i; i = i->next) {
		if (i == inst || i->ifindex != f->ifindex)
			continue;
		weft_err_set(err, EEXIST, "device %s is %s's already", f->host_side, i->name);
		return weft_err_hint(err, "weft instance detach %s first", i->name);
	}
	return weft_dp_device_check(inst->engine->dp, f->ifindex, f->host_side, err);
}

/* Its device, which nobody else has, and the hardware address of what is behind it. */
static int find_device(struct instance *inst, struct weft_link_found *ret, struct weft_err *err)
{
	int r = find(inst, ret, err);

	if (r == 0)
		r = check_owner(inst->engine, ret->host_side, err);
	if (r == 0)
		r = check_free(inst, ret, err);
	if (r < 0)
		return r;
	if (!inst->borrowed->mac_given && !ret->has_mac) {
		weft_err_set(err, EINVAL,
			"device %s does not tell the hardware address of what is behind it",
			ret->host_side);
		return weft_err_hint(err, "give it: --mac, as its virtual machine was given it");
	}
	if (!inst->borrowed->mac_given)
		memcpy(inst->mac, ret->mac, sizeof(inst->mac));
	return 0;
}

/* Have the data plane know it. */
static int join_by(struct instance *inst, const struct weft_link_found *f, struct weft_err *err)
{
	struct weft_dp_instance dpi = {
		.id = inst->id,
		.service = inst->service ? inst->service->id : 0,
		.ifindex = f->ifindex,
		.ns_addr = inst->ns_addr,
		.inst_addr = inst->inst_addr,
		.ns_addr6 = inst->engine->no_ipv6.code ? in6addr_any : inst->ns_addr6,
		.inst_addr6 = inst->engine->no_ipv6.code ? in6addr_any : inst->inst_addr6,
		.borrowed = true,
		.gateway6 = f->alone,
		.device = f->elsewhere ? WEFT_DP_DEV_PEER : WEFT_DP_DEV_DIRECT,
	};
	int r;

	memcpy(dpi.mac, inst->mac, sizeof(dpi.mac));
	r = weft_dp_instance_set(inst->engine->dp, &dpi, err);
	if (r < 0)
		return r;
	inst->ifindex = f->ifindex;
	snprintf(inst->device, sizeof(inst->device), "%s", f->host_side);
	instance_shortcut(inst);
	return 0;
}

static int join(struct instance *inst, struct weft_err *err)
{
	struct weft_link_found f;
	int r;

	if (inst->borrowed->peer)
		return remote_join(inst, err);
	r = find_device(inst, &f, err);
	return r < 0 ? r : join_by(inst, &f, err);
}

static bool is_probed(const struct instance *inst)
{
	return inst->service && inst->service->spec->readiness.port;
}

/* It is reachable; whether it answers is still to be seen, unless it did before or nobody asks. */
static void joined(struct instance *inst, bool answered)
{
	inst->error = (struct weft_err){0};
	inst->guard_ns = 0;
	set_phase(inst, answered || !is_probed(inst) ? PHASE_READY : PHASE_WARMING);
}

void attached_lost(struct instance *inst, const struct weft_err *why)
{
	inst->error = *why;
	inst->ifindex = 0;
	inst->retry_ns = weft_now_ns() + LOOK_NS;
	inst->probe = (weft_probe_free(inst->probe), NULL);
	/* Out of the weights first; then its flows are reset by the next packet of each. */
	set_phase(inst, PHASE_LOST);
	weft_dp_instance_remove(inst->engine->dp, inst->id);
}

static void device_gone(struct instance *inst)
{
	struct weft_err why = {0};

	weft_err_set(&why, ENODEV, "device %s is gone", inst->device);
	attached_lost(inst, &why);
}

void attached_resume(struct instance *inst)
{
	struct weft_err err = {0};

	if (join(inst, &err) < 0)
		attached_lost(inst, &err);
	else
		joined(inst, inst->phase == PHASE_READY);
}

static void on_probe(void *userdata, int r, unsigned attempts, const struct weft_err *err)
{
	struct instance *inst = userdata;

	(void)attempts;
	inst->probe = (weft_probe_free(inst->probe), NULL);
	inst->guard_ns = weft_now_ns() + LOOK_NS;
	if (inst->phase == PHASE_LOST)
		return;
	if (r == 0)
		inst->error = (struct weft_err){0};
	else
		inst->error = *err;
	set_phase(inst, r == 0 ? PHASE_READY : PHASE_WARMING);
}

/* Asked by its instance address, and so by the way that its clients' packets take. */
static void ask(struct instance *inst)
{
	const struct weft_sla_probe *p = &inst->service->spec->readiness;
	struct weft_probe_config config = {
		.addr = inst->inst_addr,
		.port = p->port,
		.http_path = p->type == WEFT_PROBE_HTTP ? p->path : NULL,
		.attempt_ms = ATTEMPT_MS,
		.interval_ms = 50,
		.timeout_ms = TIMEOUT_MS,
	};

	if (weft_probe_start(inst->engine->event, &config, on_probe, inst, &inst->probe) < 0)
		inst->guard_ns = weft_now_ns() + LOOK_NS;
}

void attached_tick(struct instance *inst, uint64_t now)
{
	if (inst->unstored && now >= inst->store_ns)
		keep_record(inst);
	if (inst->phase == PHASE_LOST) {
		struct weft_err err = {0};

		if (now < inst->retry_ns)
			return;
		inst->retry_ns = now + LOOK_LOST_NS;
		if (join(inst, &err) == 0)
			joined(inst, false);
		return;
	}
	if (is_probed(inst) && !inst->probe && now >= inst->guard_ns)
		ask(inst);
	if (!is_probed(inst) && inst->phase == PHASE_WARMING)
		set_phase(inst, PHASE_READY); /* its service is not probed any more */
}

void attached_link(struct instance *inst, uint32_t ifindex, bool gone)
{
	if (gone && inst->ifindex == ifindex)
		device_gone(inst);
	else if (!gone && inst->phase == PHASE_LOST)
		inst->retry_ns = 0;
}

/* --- requests ------------------------------------------------------------------------------------
 */

static int check_name(struct weft_engine *e, const char *name, struct weft_err *err)
{
	if (!weft_name_valid(name, NAME_MAX_LEN) || strcmp(name, "host") == 0) {
		weft_err_set(err, EINVAL, "\"%.80s\" is no name for an instance", name);
		return weft_err_hint(err,
			"letters, digits, '.', '_' and '-', at most %d, a letter or digit first; "
			"not \"host\"",
			NAME_MAX_LEN);
	}
	if (instance_find(e, name)) {
		weft_err_set(err, EEXIST, "instance %s is there already", name);
		return weft_err_hint(err, "weft instance show %s", name);
	}
	/* Logs, weights by number and swaps would take it for one of those. */
	for (const struct service *s = e->services; s; s = s->next)
		if (instance_name_is_of(s, name)) {
			weft_err_set(err, EEXIST,
				"instance %s: so service %s names its own instances, this or a "
				"later one",
				name, s->name);
			return weft_err_hint(err,
				"attach it by another name, also if it is to be one of the "
				"service's backends");
		}
	return 0;
}

bool weft_ns_addr_valid(struct in_addr a)
{
	uint32_t h = ntohl(a.s_addr);

	return h >> 24 != 0 && h >> 24 != 127 && h >> 28 < 0xe && h >> 16 != (10 << 8 | 30);
}

static int check_address(
	struct weft_engine *e, const char *text, struct in_addr *ret, struct weft_err *err)
{
	const char *by = NULL;
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1) {
		weft_err_set(err, EINVAL, "\"%.60s\" is not an IPv4 address", text);
		return weft_err_hint(err, "as 10.18.0.9, without a prefix length");
	}
	if (!weft_ns_addr_valid(a)) {
		weft_err_set(
			err, EINVAL, "%s is not an address that an interface can have here", text);
		return weft_err_hint(err, "the address of the interface itself; 10.30.0.0/16 has "
					  "those of services and instances");
	}
	if (engine_ns_addr_taken(e, a, &by)) {
		weft_err_set(err, EADDRINUSE, "address %s is already taken by %s", text, by);
		return weft_err_hint(err, "weft instance list has those that are");
	}
	*ret = a;
	return 0;
}

static int check_mac(const char *text, struct instance *inst, struct weft_err *err)
{
	if (weft_mac_parse(text, inst->mac) < 0) {
		weft_err_set(err, EINVAL, "\"%.40s\" is no unicast hardware address", text);
		return weft_err_hint(err, "six pairs of hexadecimal digits: 52:54:00:12:34:56");
	}
	inst->borrowed->mac_given = true;
	return 0;
}

static int check_service(
	struct weft_engine *e, const char *name, struct service **ret, struct weft_err *err)
{
	struct service *s = service_find(e, name);

	if (!s) {
		weft_err_set(err, ENOENT, "service %s: no such service", name);
		return weft_err_hint(err, "weft service list; or attach it without --service");
	}
	if (s->deleting)
		return weft_err_set(err, EBUSY, "service %s is being deleted", s->name);
	*ret = s;
	return 0;
}

static int fill(struct instance *inst, const struct weft_attach_request *q, struct weft_err *err)
{
	struct borrowed *b = inst->borrowed;
	int r = 0;

	if (!(q->device && q->device[0]) == !(q->netns && q->netns[0])) {
		weft_err_set(err, EINVAL, "instance %s: by which device, or in which namespace?",
			inst->name);
		return weft_err_hint(err, "one of --device NAME and --netns PATH");
	}
	if (q->weight > WEFT_DP_MAX_WEIGHT)
		return weft_err_set(err, EINVAL, "instance %s: a weight is 0 to %u", inst->name,
			WEFT_DP_MAX_WEIGHT);
	if (q->service)
		r = check_service(inst->engine, q->service, &inst->service, err);
	if (r == 0)
		r = check_address(inst->engine, q->ns_addr, &inst->ns_addr, err);
	if (r == 0 && q->ns_addr6)
		r = ipv6_check_attached(inst->engine, q->ns_addr6, &inst->ns_addr6, err);
	if (r == 0 && q->mac)
		r = check_mac(q->mac, inst, err);
	if (r < 0)
		return r;
	b->weight = q->weight < 0 ? 1 : (uint32_t)q->weight;
	b->device = q->device ? strdup(q->device) : NULL;
	b->netns = q->netns ? strdup(q->netns) : NULL;
	inst->created_ms = weft_realtime_ms();
	inst->phase = PHASE_WARMING;
	return b->device || b->netns ? engine_alloc_attached(inst->engine, inst, err)
				     : weft_err_set(err, ENOMEM, "out of memory");
}

/* In the store and among its service's weights. */
static int enter(struct instance *inst, struct weft_err *err)
{
	struct service *s = inst->service;
	int r = weft_store_begin(inst->engine->store, err), end;

	if (r < 0)
		return r;
	r = attached_store(inst, err);
	if (r == 0 && s) {
		hand_add(s, inst, inst->borrowed->weight);
		r = service_store(s, err);
	}
	end = weft_store_end(inst->engine->store, r == 0, r == 0 ? err : NULL);
	if (r == 0)
		r = end;
	if (r < 0 && s)
		hand_drop(s, inst);
	return r;
}

static int strike(struct instance *inst, struct weft_err *err)
{
	struct service *s = inst->service;
	struct weft_engine *e = inst->engine;
	int r = weft_store_begin(e->store, err), end;
	uint32_t weight;

	if (r < 0)
		return r;
	weight = s ? hand_weight(inst) : 0;
	r = weft_store_del(e->store, inst->borrowed->peer ? "remote" : "attached", inst->name, err);
	if (r == 0 && s) {
		hand_drop(s, inst);
		r = service_store(s, err);
	}
	end = weft_store_end(e->store, r == 0, r == 0 ? err : NULL);
	if (r == 0)
		r = end;
	if (r < 0 && s)
		hand_add(s, inst, weight);
	return r;
}

/* Written down before a program is on its device: one that nobody knows of would stay there and
 * drop all that its owner sends. */
static int enter_and_join(struct instance *inst, struct weft_err *err)
{
	struct weft_err why = {0};
	struct weft_link_found f;
	int r = find_device(inst, &f, err);

	if (r == 0)
		r = enter(inst, err);
	if (r < 0)
		return r;
	engine_step(inst->engine, "attach", "entered");
	r = join_by(inst, &f, err);
	engine_step(inst->engine, "attach", "joined");
	if (r == 0)
		return 0;
	if (strike(inst, &why) < 0)
		log_error("instance %s: refused, but its record stays: %s; after a restart it is "
			  "there, and weft instance detach removes it",
			inst->name, why.msg);
	if (inst->service)
		hand_drop(inst->service, inst);
	return r;
}

int weft_engine_attach(struct weft_engine *e, const struct weft_attach_request *q, json_t **ret,
	struct weft_err *err)
{
	struct instance *inst;
	int r = e->purging ? weft_err_set(err, EBUSY, "this node is being purged") : 0;

	if (r == 0)
		r = check_name(e, q->name, err);
	if (r < 0)
		return r;
	inst = attached_new(e, q->name);
	if (!inst)
		return weft_err_set(err, ENOMEM, "out of memory");
	r = fill(inst, q, err);
	if (r == 0)
		r = enter_and_join(inst, err);
	if (r < 0) {
		if (err->code && strncmp(err->msg, "instance ", 9) != 0)
			weft_err_prefix(err, "instance %s", q->name);
		instance_free(inst);
		return r;
	}
	attached_enlist(inst);
	log_info("instance %s: attached by device %s", inst->name, inst->device);
	instance_say(inst, "attached");
	if (!is_probed(inst))
		set_phase(inst, PHASE_READY);
	engine_kick(e);
	*ret = view_instance(inst);
	return 0;
}

int attached_destroy(struct instance *inst, struct weft_err *err)
{
	struct service *s = inst->service;
	struct weft_engine *e = inst->engine;
	int r = strike(inst, err);

	if (r < 0)
		return r;
	inst->phase = PHASE_STOPPING; /* so that it has no weight any more */
	if (s)
		service_weigh(s);
	weft_dp_instance_remove(e->dp, inst->id);
	log_info("instance %s: detached", inst->name);
	instance_say(inst, "detached");
	instance_free(inst);
	return 0;
}

int weft_engine_detach(struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err)
{
	struct instance *inst = instance_find(e, name);
	json_t *view;
	int r;

	if (!inst) {
		weft_err_set(err, ENOENT, "instance %s: no such instance", name);
		return weft_err_hint(err, "weft instance list");
	}
	if (!inst->borrowed) {
		weft_err_set(err, EBUSY, "instance %s is run by weft, not attached", name);
		return weft_err_hint(err, "weft service show %s", inst->service->name);
	}
	if (inst->borrowed->peer) {
		weft_err_set(err, EBUSY, "instance %s runs on another node, peer %s", name,
			inst->borrowed->peer->name);
		return weft_err_hint(err, "weft peer import %s -f FILE says which instances it has",
			inst->borrowed->peer->name);
	}
	view = view_instance(inst);
	r = attached_destroy(inst, err);
	if (r < 0) {
		json_decref(view);
		return r;
	}
	engine_kick(e);
	*ret = view;
	return 0;
}
