/* SPDX-License-Identifier: Apache-2.0 */
/* Other nodes and their instances, for the engine's own files. */
#ifndef WEFT_ENGINE_PEER_H
#define WEFT_ENGINE_PEER_H

#include "ctrl/dataplane/peer.h"
#include "ctrl/engine/internal.h"

struct peer {
	struct peer *next;
	struct weft_engine *engine;
	uint32_t id; /* in the data plane */
	char *name;
	struct in6_addr addr;
	uint16_t port; /* 0: the format's */
	enum weft_dp_format format;
	uint32_t mtu; /* of the underlay, 0: as routes say */
	uint64_t created_ms, imported_ms;
	char problem[160]; /* as it was said last */
	uint64_t version;  /* version.c */
};

/* peer.c */
struct peer *peer_find(struct weft_engine *e, const char *name);
int peer_store(const struct peer *p, struct weft_err *err);
int peer_restore(void *engine, const char *name, const json_t *doc);
void peers_free(struct weft_engine *e);
/* After a start: the data plane knows the peers of the store, and no others. */
void peers_enter(struct weft_engine *e);
/* What the options say; a device that is not there yet is no failure. */
void uplink_enter(struct weft_engine *e);
void tunnel_tick(struct weft_engine *e, uint64_t now);
void tunnel_look(struct weft_engine *e); /* say what has changed */
json_t *view_uplink(struct weft_engine *e);
void view_tunnel_problems(struct weft_engine *e, json_t *list);

/* remote.c: the instances of peers. They are borrowed ones, with a peer instead of a device. */
int remote_restore(void *engine, const char *name, const json_t *doc);
int remote_store(struct instance *inst, struct weft_err *err);
int remote_join(struct instance *inst, struct weft_err *err);
bool remote_is_cut_off(const struct instance *inst); /* there is no way to it */
/* A service has come: what is known of it at peers are its backends; or goes: they are not. */
void remotes_bind(struct service *s);
void remote_unbind(struct instance *inst);
/* Know these instances of a peer, and no others. */
int remotes_import(struct peer *p, const json_t *doc, struct weft_err *err);
/* With its peer's record. */
int remotes_remove(struct peer *p, struct weft_err *err);

#endif
