/* SPDX-License-Identifier: Apache-2.0 */
/* Other nodes: who they are, and the uplink that leads to them. What cannot be reached stays set,
 * is named in the status, and is tried again. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/engine/internal.h"
#include "ctrl/engine/peer.h"

#define LOOK_NS      2000000000ULL
#define NAME_MAX_LEN 63
#define MTU_MIN      646 /* 576 within the largest of outer headers */

struct peer *peer_find(struct weft_engine *e, const char *name)
{
	for (struct peer *p = e->peers; p; p = p->next)
		if (strcmp(p->name, name) == 0)
			return p;
	return NULL;
}

static void peer_free(struct peer *p)
{
	if (!p)
		return;
	free(p->name);
	free(p);
}
WEFT_DEFINE_CLEANUP(struct peer *, peer_free);

void peers_free(struct weft_engine *e)
{
	for (struct peer *p = e->peers, *next; p; p = next) {
		next = p->next;
		peer_free(p);
	}
	e->peers = NULL;
}

/* --- addresses -----------------------------------------------------------------------------------
 */

static int parse_address(const char *text, struct in6_addr *ret)
{
	struct in6_addr a = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	if (inet_pton(AF_INET, text, &a.s6_addr[12]) != 1 && inet_pton(AF_INET6, text, &a) != 1)
		return -EINVAL;
	*ret = a;
	return 0;
}

static const char *address_text(const struct in6_addr *a, char buf[INET6_ADDRSTRLEN])
{
	if (IN6_IS_ADDR_V4MAPPED(a))
		return inet_ntop(AF_INET, &a->s6_addr[12], buf, INET6_ADDRSTRLEN);
	return inet_ntop(AF_INET6, a, buf, INET6_ADDRSTRLEN);
}

/* --- its record ----------------------------------------------------------------------------------
 */

int peer_store(const struct peer *p, struct weft_err *err)
{
	char addr[INET6_ADDRSTRLEN];
	json_auto_t *doc = json_pack("{s:i, s:s, s:i, s:s, s:i, s:I, s:I}", "id", (int)p->id,
		"address", address_text(&p->addr, addr), "port", (int)p->port, "format",
		weft_dp_format_name(p->format), "mtu", (int)p->mtu, "created_ms",
		(json_int_t)p->created_ms, "imported_ms", (json_int_t)p->imported_ms);

	return weft_store_put(p->engine->store, "peer", p->name, doc, err);
}

int peer_restore(void *engine, const char *name, const json_t *doc)
{
	_cleanup_(peer_freep) struct peer *p = calloc(1, sizeof(*p));
	struct weft_engine *e = engine;
	const char *addr, *format;
	json_int_t created, imported;
	int id, port, mtu, f;

	if (!p || !(p->name = strdup(name)))
		return -ENOMEM;
	if (json_unpack((json_t *)doc, "{s:i, s:s, s:i, s:s, s:i, s:I, s:I}", "id", &id, "address",
		    &addr, "port", &port, "format", &format, "mtu", &mtu, "created_ms", &created,
		    "imported_ms", &imported) < 0 ||
		(f = weft_dp_format_parse(format)) < 0 || id < 1 || id >= WEFT_DP_MAX_PEERS ||
		port < 0 || port > UINT16_MAX || mtu < 0 || parse_address(addr, &p->addr) < 0) {
		log_error("stored peer %s cannot be read", name);
		return -EBADMSG;
	}
	p->engine = e;
	p->id = (uint32_t)id;
	p->port = (uint16_t)port;
	p->format = (enum weft_dp_format)f;
	p->mtu = (uint32_t)mtu;
	p->created_ms = (uint64_t)created;
	p->imported_ms = (uint64_t)imported;
	p->next = e->peers;
	e->peers = TAKE_PTR(p);
	return 0;
}

/* --- in the data plane ---------------------------------------------------------------------------
 */

static int enter(const struct peer *p, struct weft_err *err)
{
	struct weft_dp_peer dpp = {
		.id = p->id, .addr = p->addr, .port = p->port, .mtu = p->mtu, .format = p->format};
	struct weft_err why = {0};
	const char *text;
	int r = weft_dp_peer_set(p->engine->dp, &dpp, &why);

	if (r == 0)
		return 0;
	/* It knows peers by number: "peer 3: ...". */
	text = strncmp(why.msg, "peer ", 5) == 0 ? strchr(why.msg, ':') : NULL;
	return weft_err_set(
		err, r, "peer %s%s%s", p->name, text ? "" : ": ", text ? text : why.msg);
}

void peers_enter(struct weft_engine *e)
{
	for (uint32_t id = 1; id < WEFT_DP_MAX_PEERS; id++) {
		struct peer *p = e->peers;

		while (p && p->id != id)
			p = p->next;
		if (!p)
			weft_dp_peer_remove(e->dp, id);
	}
	for (struct peer *p = e->peers; p; p = p->next) {
		struct weft_err err = {0};

		if (enter(p, &err) < 0)
			log_error("%s", err.msg);
	}
	tunnel_look(e);
}

void uplink_enter(struct weft_engine *e)
{
	struct weft_dp_uplink up = {
		.device = e->config.uplink, .port = e->config.tunnel_port, .xdp = e->config.xdp};
	struct weft_err err = {0};

	if (!up.device)
		weft_dp_uplink_remove(e->dp);
	else if (weft_dp_uplink_set(e->dp, &up, &err) < 0)
		log_error("uplink %s does not work yet: %s", up.device, err.msg);
}

/* --- what has become of it -----------------------------------------------------------------------
 */

static void weigh_those_behind(const struct peer *p)
{
	for (struct service *s = p->engine->services; s; s = s->next)
		for (struct instance *i = p->engine->instances; i; i = i->next)
			if (i->service == s && i->borrowed && i->borrowed->peer == p) {
				service_weigh(s);
				break;
			}
}

static void say(const struct peer *p, const char *action, const char *problem)
{
	weft_events_add(p->engine->events, "peer", action, p->name,
		problem ? json_pack("{s:s}", "error", problem) : NULL);
}

void tunnel_look(struct weft_engine *e)
{
	for (struct peer *p = e->peers; p; p = p->next) {
		struct weft_dp_peer_status s = {0};

		if (weft_dp_peer_status(e->dp, p->id, &s) < 0)
			snprintf(s.problem, sizeof(s.problem), "it is not in the data plane");
		if (strcmp(s.problem, p->problem) == 0)
			continue;
		memcpy(p->problem, s.problem, sizeof(p->problem));
		if (p->problem[0])
			log_warning("peer %s: %s", p->name, p->problem);
		else
			log_info("peer %s: there is a way to it", p->name);
		say(p, p->problem[0] ? "unreachable" : "reachable",
			p->problem[0] ? p->problem : NULL);
		weigh_those_behind(p);
	}
}

/* Where it names the uplink itself: without. */
static const char *uplink_problem(const struct weft_dp_uplink_status *s)
{
	size_t n = strlen(s->device);

	if (strncmp(s->problem, "uplink ", 7) == 0 && strncmp(s->problem + 7, s->device, n) == 0 &&
		strncmp(s->problem + 7 + n, ": ", 2) == 0)
		return s->problem + n + 9;
	return s->problem;
}

void tunnel_tick(struct weft_engine *e, uint64_t now)
{
	struct weft_dp_uplink_status s;

	if (now < e->tunnel_ns || (!e->config.uplink && !e->peers))
		return;
	e->tunnel_ns = now + LOOK_NS;
	if (weft_dp_tunnel_refresh(e->dp) > 0 && weft_dp_uplink_status(e->dp, &s) == 0)
		log_info("uplink %s: %s", s.device,
			s.problem[0] ? uplink_problem(&s) : "it works again, or in another way");
	tunnel_look(e);
}

/* --- requests ------------------------------------------------------------------------------------
 */

static unsigned count_instances(const struct peer *p)
{
	unsigned n = 0;

	for (struct instance *i = p->engine->instances; i; i = i->next)
		n += i->borrowed && i->borrowed->peer == p;
	return n;
}

static uint16_t port_of(const struct peer *p)
{
	uint16_t own = p->engine->config.tunnel_port;

	if (p->port)
		return p->port;
	return (uint16_t)((own ? own : WEFT_DP_TUNNEL_PORT) + (p->format == WEFT_DP_VXLAN));
}

json_t *view_peer(const struct peer *p)
{
	char addr[INET6_ADDRSTRLEN], local[INET6_ADDRSTRLEN] = "";
	struct weft_dp_peer_status s = {0};

	if (weft_dp_peer_status(p->engine->dp, p->id, &s) == 0 && s.mtu)
		address_text(&s.local, local);
	return json_pack("{s:I, s:s, s:s, s:i, s:s, s:s, s:s, s:i, s:i, s:i, s:I, s:I, s:I, s:I, "
			 "s:I, s:I, s:I}",
		"version", (json_int_t)p->version, "name", p->name, "address",
		address_text(&p->addr, addr), "port", (int)port_of(p), "format",
		weft_dp_format_name(p->format), "local", local, "problem", s.problem, "mtu",
		(int)s.mtu, "mtu_most", (int)p->mtu, "instances", (int)count_instances(p),
		"packets", (json_int_t)s.packets, "bytes", (json_int_t)s.bytes, "rx_packets",
		(json_int_t)s.rx_packets, "rx_bytes", (json_int_t)s.rx_bytes, "drops",
		(json_int_t)s.drops, "created_ms", (json_int_t)p->created_ms, "imported_ms",
		(json_int_t)p->imported_ms);
}

json_t *view_uplink(struct weft_engine *e)
{
	struct in_addr at = weft_dp_published_at(e->dp);
	struct in6_addr at6 = weft_dp_published_at6(e->dp);
	struct weft_dp_uplink_status s;

	if (weft_dp_uplink_status(e->dp, &s) < 0)
		return json_null();
	return json_pack("{s:s, s:i, s:i, s:s, s:s, s:s, s:s, s:o, s:o, s:s}", "device", s.device,
		"port", (int)s.port, "mtu", (int)s.mtu, "xdp", weft_dp_xdp_name(s.xdp_used),
		"xdp_wanted", weft_dp_xdp_name(s.xdp_wanted), "xdp_detail", s.xdp, "gro", s.gro,
		"address", at.s_addr ? view_address(at) : json_null(), "address6",
		view_address6(&at6), "problem", uplink_problem(&s));
}

void view_tunnel_problems(struct weft_engine *e, json_t *list)
{
	struct weft_dp_uplink_status s;

	if (weft_dp_uplink_status(e->dp, &s) == 0 && s.problem[0])
		json_array_append_new(
			list, json_sprintf("uplink %s: %s", s.device, uplink_problem(&s)));
	for (struct peer *p = e->peers; p; p = p->next)
		if (p->problem[0])
			json_array_append_new(
				list, json_sprintf("peer %s: %s", p->name, p->problem));
}

static int no_peer(const char *name, struct weft_err *err)
{
	weft_err_set(err, ENOENT, "peer %s: no such peer", name);
	return weft_err_hint(err, "weft peer list");
}

int weft_engine_peers(struct weft_engine *e, json_t **ret, struct weft_err *err)
{
	json_t *list = json_array();

	(void)err;
	for (struct peer *p = e->peers; p; p = p->next)
		json_array_insert_new(list, 0, view_peer(p));
	return view_items(list, ret);
}

int weft_engine_peer(struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err)
{
	const struct peer *p = peer_find(e, name);

	if (!p)
		return no_peer(name, err);
	*ret = view_peer(p);
	return 0;
}

static int check(struct weft_engine *e, const struct weft_peer_request *q, struct peer *ret,
	struct weft_err *err)
{
	int format = q->format ? weft_dp_format_parse(q->format) : WEFT_DP_VXLAN;

	if (!weft_name_valid(q->name, NAME_MAX_LEN)) {
		weft_err_set(err, EINVAL, "\"%.80s\" is no name for a peer", q->name);
		return weft_err_hint(err,
			"letters, digits, '.', '_' and '-', at most %d, a letter or digit first",
			NAME_MAX_LEN);
	}
	if (parse_address(q->address, &ret->addr) < 0) {
		weft_err_set(err, EINVAL, "peer %s: \"%.60s\" is not an IP address", q->name,
			q->address);
		return weft_err_hint(err, "that of the other node's uplink, IPv4 or IPv6");
	}
	if (format < 0) {
		weft_err_set(
			err, EINVAL, "peer %s: format \"%.20s\" is unknown", q->name, q->format);
		return weft_err_hint(err, "raw (as Oakestra's) or vxlan (faster)");
	}
	if (q->port < 0 || q->port > UINT16_MAX)
		return weft_err_set(err, EINVAL, "peer %s: a port is 1 to 65535", q->name);
	if (q->mtu != 0 && (q->mtu < MTU_MIN || q->mtu > UINT16_MAX))
		return weft_err_set(
			err, EINVAL, "peer %s: an MTU is %d to 65535", q->name, MTU_MIN);
	for (struct peer *p = e->peers; p; p = p->next)
		if (strcmp(p->name, q->name) != 0 &&
			memcmp(&p->addr, &ret->addr, sizeof(p->addr)) == 0)
			return weft_err_set(err, EADDRINUSE, "peer %s: address %s is peer %s's",
				q->name, q->address, p->name);
	ret->format = (enum weft_dp_format)format;
	ret->port = (uint16_t)q->port;
	ret->mtu = (uint32_t)q->mtu;
	return 0;
}

/* In the store and in the data plane, or in neither. */
static int keep(struct peer *p, struct weft_err *err)
{
	int r = weft_store_begin(p->engine->store, err), end;

	if (r < 0)
		return r;
	r = peer_store(p, err);
	if (r == 0)
		r = enter(p, err);
	end = weft_store_end(p->engine->store, r == 0, r == 0 ? err : NULL);
	return r < 0 ? r : end;
}

static int change(struct peer *p, const struct peer *wanted, struct weft_err *err)
{
	struct peer before = *p;
	int r;

	p->addr = wanted->addr;
	p->port = wanted->port;
	p->format = wanted->format;
	p->mtu = wanted->mtu;
	r = keep(p, err);
	if (r == 0)
		return 0;
	*p = before;
	enter(p, NULL);
	return r;
}

static uint32_t free_id(const struct weft_engine *e)
{
	for (uint32_t id = 1; id < WEFT_DP_MAX_PEERS; id++) {
		const struct peer *p = e->peers;

		while (p && p->id != id)
			p = p->next;
		if (!p)
			return id;
	}
	return 0;
}

static int add(struct weft_engine *e, const char *name, const struct peer *wanted,
	struct peer **ret, struct weft_err *err)
{
	_cleanup_(peer_freep) struct peer *p = malloc(sizeof(*p));
	int r;

	if (!p)
		return weft_err_set(err, ENOMEM, "out of memory");
	*p = *wanted;
	p->engine = e;
	p->id = free_id(e);
	p->name = strdup(name);
	p->created_ms = weft_realtime_ms();
	if (!p->name)
		return weft_err_set(err, ENOMEM, "out of memory");
	if (!p->id)
		return weft_err_set(err, ENODEV, "peer %s: this node knows %d others already", name,
			WEFT_DP_MAX_PEERS - 1);
	r = keep(p, err);
	if (r < 0) {
		weft_dp_peer_remove(e->dp, p->id);
		return r;
	}
	p->next = e->peers;
	e->peers = p;
	*ret = TAKE_PTR(p);
	return 0;
}

int weft_engine_peer_set(struct weft_engine *e, const struct weft_peer_request *q, json_t **ret,
	struct weft_err *err)
{
	struct peer wanted = {0}, *p = peer_find(e, q->name);
	bool news = !p;
	int r = e->purging ? weft_err_set(err, EBUSY, "this node is being purged") : 0;

	if (r == 0)
		r = check(e, q, &wanted, err);
	if (r == 0)
		r = p ? change(p, &wanted, err) : add(e, q->name, &wanted, &p, err);
	if (r < 0)
		return r;
	say(p, news ? "added" : "changed", NULL);
	tunnel_look(e);
	engine_kick(e);
	*ret = view_peer(p);
	return 0;
}

int weft_engine_peer_remove(
	struct weft_engine *e, const char *name, json_t **ret, struct weft_err *err)
{
	struct peer *p = peer_find(e, name);
	json_t *view;
	int r;

	if (!p)
		return no_peer(name, err);
	view = view_peer(p);
	r = remotes_remove(p, err);
	if (r < 0) {
		json_decref(view);
		return r;
	}
	weft_dp_peer_remove(e->dp, p->id);
	say(p, "removed", NULL);
	for (struct peer **at = &e->peers; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	peer_free(p);
	engine_kick(e);
	*ret = view;
	return 0;
}

int weft_engine_peer_import(struct weft_engine *e, const char *name, const json_t *doc,
	json_t **ret, struct weft_err *err)
{
	struct peer *p = peer_find(e, name);
	int r = e->purging ? weft_err_set(err, EBUSY, "this node is being purged") : 0;

	if (r == 0 && !p)
		r = no_peer(name, err);
	if (r == 0)
		r = remotes_import(p, doc, err);
	if (r < 0)
		return r;
	say(p, "imported", NULL);
	engine_kick(e);
	*ret = view_peer(p);
	return 0;
}
