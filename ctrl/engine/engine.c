/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/engine/engine.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>

#include "ctrl/base/log.h"
#include "ctrl/dataplane/dp_trace.h"
#include "ctrl/dataplane/feature.h"
#include "ctrl/dataplane/sockmap.h"
#include "ctrl/engine/peer.h"
#include "runtimes/cgroup.h"
#include "runtimes/fake/script.h"

#define IDLE_TICK_MS 500
#define SWEEP_NS     10000000000ULL
#define STORE_NS     1000000000ULL

static bool is_busy(const struct weft_engine *e)
{
	if (e->n_waiting || e->purging)
		return true;
	for (struct service *s = e->services; s; s = s->next)
		if (s->swap || s->deleting || s->weigh_ns)
			return true;
	for (struct instance *i = e->instances; i; i = i->next)
		if (i->phase != PHASE_READY && !i->borrowed)
			return true;
	return false;
}

/* Swaps that drain count for themselves. */
static bool needs_flows(const struct weft_engine *e)
{
	for (struct instance *i = e->instances; i; i = i->next)
		if (i->phase == PHASE_DRAINING)
			return true;
	return false;
}

static void arm(struct weft_engine *e, unsigned ms)
{
	uint64_t now = 0;

	sd_event_now(e->event, CLOCK_MONOTONIC, &now);
	sd_event_source_set_time(e->tick, now + (uint64_t)ms * 1000);
	sd_event_source_set_enabled(e->tick, SD_EVENT_ONESHOT);
}

void engine_kick(struct weft_engine *e)
{
	if (e->tick)
		arm(e, 0);
}

void engine_step(struct weft_engine *e, const char *what, const char *step)
{
	struct weft_fault_action a = {0};

	if (e->faults)
		a = weft_fault_next(e->faults, what, "step", step);
	if (a.fault >= WEFT_FAULT_DIE_BEFORE)
		raise(SIGKILL);
}

/* Only what weft itself has made there: the state directory may be anybody's. */
static void remove_files(struct weft_engine *e)
{
	static const char *const names[] = {"netns", "instances", "logs", "containerd", "native",
		"qemu", "weft.db", "weft.db-wal", "weft.db-shm", "events.ndjson",
		"events.ndjson.reserved"};

	weft_store_free(e->store);
	e->store = NULL;
	weft_events_free(e->events);
	e->events = NULL;
	weft_remove_leftovers(e->config.state_dir);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_(freep) char *path = weft_strf("%s/%s", e->config.state_dir, names[i]);
		int r = path ? weft_remove_tree(path) : -ENOMEM;

		if (r < 0)
			log_warning("%s: %s", path, strerror(-r));
	}
}

static void finish_purge(struct weft_engine *e)
{
	struct weft_err err = {0};

	waiting_close(e);
	weft_dp_instance_remove(e->dp, HOST_INSTANCE);
	weft_link_host_del(e->config.host_device);
	weft_dp_free(e->dp);
	e->dp = NULL;
	if (weft_dp_destroy(e->config.bpffs, &err) < 0)
		log_error("%s", err.msg);
	weft_cgroup_destroy(e->config.cgroup);
	remove_files(e);
	e->tick = sd_event_source_disable_unref(e->tick);
	e->purged(e->purged_userdata);
}

static void check_store(struct weft_engine *e, uint64_t now)
{
	if (now < e->store_ns)
		return;
	e->store_ns = now + STORE_NS;
	if (weft_store_check(e->store) > 0) {
		log_info("state directory %s: it can be written again: starting anew",
			e->config.state_dir);
		sd_event_exit(e->event, WEFT_ENGINE_ANEW);
	}
}

int weft_engine_writable(const struct weft_engine *e, struct weft_err *err)
{
	return weft_store_writable(e->store, err);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_engine *e = userdata;
	uint64_t now = weft_now_ns();

	(void)source;
	(void)usec;
	if (needs_flows(e) || now >= e->sweep_ns) {
		engine_count_flows(e);
		e->sweep_ns = now + SWEEP_NS;
	}
	check_store(e, now);
	engine_runtimes_tick(e, now);
	for (struct instance *i = e->instances, *next; i; i = next) {
		next = i->next;
		instance_tick(i, now);
	}
	for (struct service *s = e->services, *next; s; s = next) {
		next = s->next;
		if (s->swap)
			swap_tick(s, now);
		else
			service_reconcile(s, now);
	}
	numbers_tick(e, now);
	weights_tick(e, now);
	policy_tick(e, now);
	images_tick(e, now);
	tunnel_tick(e, now);
	waiting_tick(e, now);
	if (e->purging && !e->services && !e->instances && images_purged(e)) {
		finish_purge(e);
		return 0;
	}
	arm(e, is_busy(e) ? TICK_MS : IDLE_TICK_MS);
	return 0;
}

static int copy_config(struct weft_engine *e, const struct weft_engine_config *c)
{
	e->config = *c;
	e->config.state_dir = strdup(c->state_dir);
	e->config.bpffs = strdup(c->bpffs);
	e->config.node = strdup(c->node);
	e->config.host_device = strdup(c->host_device);
	e->config.containerd = c->containerd ? strdup(c->containerd) : NULL;
	e->config.ctrd_namespace = strdup(c->ctrd_namespace);
	e->config.cgroup = strdup(c->cgroup);
	e->config.libexec = strdup(c->libexec);
	e->config.registries = c->registries ? strdup(c->registries) : NULL;
	e->config.uplink = c->uplink ? strdup(c->uplink) : NULL;
	e->gateway.s_addr = htonl(ntohl(c->subnet.s_addr) + 1);
	return e->config.state_dir && e->config.bpffs && e->config.node && e->config.host_device &&
			       e->config.cgroup && e->config.libexec && e->config.ctrd_namespace
		       ? 0
		       : -ENOMEM;
}

static int make_dirs(struct weft_engine *e, struct weft_err *err)
{
	static const char *const names[] = {"netns", "instances", "logs"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_(freep) char *path = weft_strf("%s/%s", e->config.state_dir, names[i]);
		int r = path ? weft_mkdir_p(path, 0700) : -ENOMEM;

		if (r < 0)
			return weft_err_set(
				err, r, "state directory: cannot make %s: %s", path, strerror(-r));
	}
	weft_remove_leftovers(e->config.state_dir);
	return 0;
}

/* What is in the data plane but not in the store: a daemon was killed between the two, or its state
 * directory is gone. It would keep its address from others. */
static void forget_strangers(struct weft_engine *e)
{
	for (uint32_t id = 1; id < WEFT_DP_MAX_SERVICES; id++) {
		struct service *s = e->services;

		while (s && s->id != id)
			s = s->next;
		if (!s)
			weft_dp_service_remove(e->dp, id);
	}
	for (uint32_t id = 1; id < HOST_INSTANCE; id++) {
		struct instance *i = e->instances;

		if (!weft_dp_instance_known(e->dp, id))
			continue;
		while (i && i->id != id)
			i = i->next;
		if (!i)
			weft_dp_instance_remove(e->dp, id);
	}
}

/* Only once everything is read is anything acted on: swaps refer to services and instances. */
static int restore(struct weft_engine *e, struct weft_err *err)
{
	int r = weft_store_each(e->store, "image", image_restore, e, err);

	if (r == 0)
		r = weft_store_each(e->store, "service", service_restore, e, err);

	if (r == 0)
		r = weft_store_each(e->store, "instance", instance_restore, e, err);
	if (r == 0)
		r = weft_store_each(e->store, "attached", attached_restore, e, err);
	if (r == 0)
		r = weft_store_each(e->store, "peer", peer_restore, e, err);
	if (r == 0)
		r = weft_store_each(e->store, "remote", remote_restore, e, err);
	if (r == 0)
		r = weft_store_each(e->store, "swap", swap_restore, e, err);
	if (r < 0)
		return err->code ? r
				 : weft_err_set(err, r, "the state in %s cannot be read",
					   e->config.state_dir);
	forget_strangers(e);
	versions_open(e);
	uplink_enter(e);
	weights_recall(e);
	for (struct service *s = e->services; s; s = s->next) {
		hand_prune(s);
		r = vips_complete(s, err);
		if (r == 0)
			r = service_enter(s, err);
		if (r < 0)
			return r;
		/* It serves inside of the overlay all the same. */
		if (service_publish(s, s->spec, &s->error) < 0)
			log_error("%s", s->error.msg);
	}
	peers_enter(e);
	e->restoring = true;
	for (struct instance *i = e->instances, *next; i; i = next) {
		next = i->next;
		instance_resume(i);
	}
	e->restoring = false;
	for (struct service *s = e->services; s; s = s->next) {
		if (s->swap)
			swap_resume(s);
		else
			service_weigh(s);
	}
	return 0;
}

static void on_link(void *userdata, uint32_t ifindex, bool gone)
{
	struct weft_engine *e = userdata;

	for (struct instance *i = e->instances, *next; i; i = next) {
		next = i->next;
		if (i->borrowed)
			attached_link(i, ifindex, gone);
		else if (gone && i->ifindex == ifindex)
			instance_device_gone(i);
	}
	e->tunnel_ns = 0;
	engine_kick(e);
}

static int on_links(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct weft_engine *e = userdata;

	(void)source;
	(void)fd;
	(void)events;
	/* Some of what happened was lost: look for ourselves. */
	if (weft_link_watch_run(e->links) < 0)
		for (struct instance *i = e->instances, *next; i; i = next) {
			char name[IFNAMSIZ];

			next = i->next;
			if (i->ifindex && !if_indextoname(i->ifindex, name))
				on_link(e, i->ifindex, true);
		}
	return 0;
}

static int watch_links(struct weft_engine *e, struct weft_err *err)
{
	int r = weft_link_watch_open(on_link, e, &e->links, err);

	if (r < 0)
		return r;
	r = sd_event_add_io(
		e->event, &e->links_io, weft_link_watch_fd(e->links), EPOLLIN, on_links, e);
	return r < 0 ? weft_err_set(err, r, "event loop: %s", strerror(-r)) : 0;
}

int weft_engine_open(sd_event *event, const struct weft_engine_config *config,
	struct weft_engine **ret, struct weft_err *err)
{
	_cleanup_(weft_engine_freep) struct weft_engine *e = calloc(1, sizeof(*e));
	_cleanup_(freep) char *path = weft_strf("%s/weft.db", config->state_dir);
	_cleanup_(freep) char *events = weft_strf("%s/events.ndjson", config->state_dir);
	struct weft_dp_config dp = {
		.bpffs_dir = config->bpffs, .mtu = config->mtu, .without = getenv("WEFT_WITHOUT")};
	int r;

	if (!e || !path || !events || copy_config(e, config) < 0)
		return weft_err_set(err, ENOMEM, "out of memory");
	e->event = sd_event_ref(event);
	e->started_ns = weft_now_ns();
	r = getenv("WEFT_FAULTS") ? weft_fault_script_load(getenv("WEFT_FAULTS"), &e->faults, err)
				  : 0;
	if (r == 0)
		r = make_dirs(e, err);
	if (r == 0)
		r = weft_store_open(path, &e->store, err);
	if (r == 0)
		r = weft_events_open(events, &e->events);
	if (r == 0)
		r = weft_dp_open(&dp, &e->dp, err);
	/* Now rather than when somebody asks: it takes its time. */
	for (unsigned i = 0; r == 0 && i < weft_dp_feature_count(); i++)
		weft_dp_feature(e->dp, i);
	if (r == 0)
		weft_dp_trace_supported(e->dp, &e->no_trace);
	ipv6_open(e);
	if (r == 0)
		weft_dp_shortcut_supported(e->dp, &e->no_shortcut);
	if (r == 0)
		r = engine_host_device(e, err);
	if (r == 0)
		r = engine_runtimes_open(e, err);
	if (r == 0)
		r = weft_link_reader_new(&e->reader, err);
	if (r == 0)
		r = watch_links(e, err);
	if (r == 0)
		r = restore(e, err);
	if (r < 0)
		return r;
	waiting_open(e);
	r = sd_event_add_time(event, &e->tick, CLOCK_MONOTONIC, 0, 1000, on_tick, e);
	if (r < 0)
		return weft_err_set(err, r, "event loop: %s", strerror(-r));
	weft_events_add(e->events, "daemon", "started", config->node,
		json_pack("{s:s, s:i}", "version", WEFT_VERSION, "pid", (int)getpid()));
	*ret = TAKE_PTR(e);
	return 0;
}

struct weft_events *weft_engine_events(struct weft_engine *e)
{
	return e->events;
}

void weft_engine_free(struct weft_engine *e)
{
	if (!e)
		return;
	sd_event_source_disable_unref(e->tick);
	e->tick = NULL;
	traces_free(e);
	waiting_close(e);
	sd_event_source_disable_unref(e->links_io);
	weft_link_watch_free(e->links);
	weft_link_reader_free(e->reader);
	for (unsigned i = 0; i < N_RUNTIMES; i++)
		if (e->runtimes[i].rt)
			e->runtimes[i].ops->free_(e->runtimes[i].rt);
	image_jobs_free(e);
	engine_calls_free(e);
	asks_free(e);
	images_free(e);
	while (e->instances)
		instance_free(e->instances);
	peers_free(e);
	for (struct service *s = e->services, *next; s; s = next) {
		next = s->next;
		service_free(s);
	}
	for (unsigned i = 0; i < e->n_swaps; i++)
		weft_swap_free(e->swaps[i]);
	weft_dp_free(e->dp);
	weft_store_free(e->store);
	weft_events_free(e->events);
	weft_fault_script_free(e->faults);
	sd_event_unref(e->event);
	free((char *)e->config.state_dir);
	free((char *)e->config.bpffs);
	free((char *)e->config.node);
	free((char *)e->config.host_device);
	free((char *)e->config.containerd);
	free((char *)e->config.ctrd_namespace);
	free((char *)e->config.cgroup);
	free((char *)e->config.libexec);
	free((char *)e->config.registries);
	free((char *)e->config.uplink);
	free(e);
}

void weft_engine_purge(struct weft_engine *e, void (*done)(void *userdata), void *userdata)
{
	e->purging = true;
	e->purged = done;
	e->purged_userdata = userdata;
	for (struct service *s = e->services; s; s = s->next) {
		s->deleting = true;
		if (s->swap && !s->swap->error.code &&
			weft_swap_can_turn_back(s->swap->state, &s->swap->plan))
			weft_err_set(&s->swap->error, ECANCELED, "the node is being purged");
	}
	for (struct instance *i = e->instances, *next; i; i = next) {
		next = i->next;
		if (i->borrowed)
			instance_destroy(i);
	}
	engine_kick(e);
}
