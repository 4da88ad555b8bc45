/* SPDX-License-Identifier: Apache-2.0 */
/* A connection is never closed here, which only libmicrohttpd may: its socket is shut down, and
 * that is seen at once. */
#include "ctrl/api/peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"

#define S        1000000000ULL
#define FULL     (WEFT_API_MAX_CONNECTIONS - 16) /* from here on room is made for new ones */
#define WHO_SIZE 96

struct weft_api_user {
	struct weft_api_user *next;
	unsigned connections, uses[WEFT_API_USES];
	char who[WHO_SIZE];
};

/* --- users --- */

static struct weft_api_user *user_get(struct weft_api_peers *all, const char *who)
{
	struct weft_api_user *u = all->users;

	while (u && strcmp(u->who, who) != 0)
		u = u->next;
	if (u)
		return u;
	u = calloc(1, sizeof(*u));
	if (!u)
		return NULL;
	snprintf(u->who, sizeof(u->who), "%s", who);
	u->next = all->users;
	all->users = u;
	return u;
}

static void user_unref(struct weft_api_peers *all, struct weft_api_user *user)
{
	if (!user || --user->connections > 0)
		return;
	for (struct weft_api_user **u = &all->users; *u; u = &(*u)->next)
		if (*u == user) {
			*u = user->next;
			break;
		}
	free(user);
}

/* --- shutting down --- */

static void shut(struct weft_api_peers *all, struct weft_api_peer *p, const char *why)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(p->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	log_debug("api: a connection of %s is closed: %s", p->user ? p->user->who : "nobody", why);
	if (info)
		shutdown(info->connect_fd, SHUT_RDWR);
	p->gone = true;
	all->n--;
	if (p->busy)
		return; /* what it uses is given back when its request ends */
	user_unref(all, p->user);
	p->user = NULL;
}

static bool shut_oldest(struct weft_api_peers *all, const struct weft_api_user *user, bool any,
	const struct weft_api_peer *but, const char *why)
{
	for (struct weft_api_peer *p = all->last; p; p = p->prev)
		if (p != but && !p->gone && !p->busy && (any || p->user == user)) {
			shut(all, p, why);
			return true;
		}
	return false;
}

/* Who has not said who he is goes first. */
static void make_room(struct weft_api_peers *all, const struct weft_api_peer *newest)
{
	static const char why[] = "the listener is full, and it was idle";

	if (all->n < FULL || shut_oldest(all, NULL, false, newest, why))
		return;
	(void)shut_oldest(all, NULL, true, newest, why);
}

/* -EMFILE: he has more than he may, and none of the others is idle. */
static int belongs(struct weft_api_peers *all, struct weft_api_peer *p, const char *who)
{
	struct weft_api_user *u = user_get(all, who);

	if (!u)
		return -ENOMEM;
	if (p->user != u) {
		u->connections++;
		user_unref(all, p->user);
		p->user = u;
	}
	if (u->connections <= all->each->connections ||
		shut_oldest(all, u, false, p, "its user has too many, and it was idle"))
		return 0;
	return -EMFILE;
}

/* --- life --- */

struct weft_api_peer *weft_api_peer_new(
	struct weft_api_peers *all, struct MHD_Connection *c, const char *who)
{
	struct weft_api_peer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->connection = c;
	p->deadline_ns = weft_now_ns() + all->each->head_s * S;
	p->next = all->first;
	if (p->next)
		p->next->prev = p;
	else
		all->last = p;
	all->first = p;
	all->n++;
	make_room(all, p);
	if (who)
		(void)belongs(all, p, who); /* if he has too many, its first request says so */
	return p;
}

void weft_api_peer_free(struct weft_api_peers *all, struct weft_api_peer *p)
{
	if (p->prev)
		p->prev->next = p->next;
	else
		all->first = p->next;
	if (p->next)
		p->next->prev = p->prev;
	else
		all->last = p->prev;
	if (!p->gone)
		all->n--;
	user_unref(all, p->user);
	free(p);
}

int weft_api_peer_begin(
	struct weft_api_peers *all, struct weft_api_peer *p, const char *who, struct weft_err *err)
{
	int r;

	p->busy = true;
	p->deadline_ns = weft_now_ns() + WEFT_API_BODY_S * S;
	r = belongs(all, p, who);
	if (r == 0)
		return 0;
	if (r == -ENOMEM)
		return weft_err_set(err, ENOMEM, "out of memory");
	weft_err_set(err, ENODEV, "%s has %u connections already, and all of them are busy", who,
		all->each->connections);
	return weft_err_hint(err, "end some of them; weftd's --api-connections is how many one "
				  "user may have");
}

void weft_api_peer_whole(struct weft_api_peer *p)
{
	p->deadline_ns = 0;
}

static int too_many(
	const char *who, enum weft_api_use use, unsigned most, bool his, struct weft_err *err)
{
	weft_err_set(err, ENODEV, "%s %u %s already", who, most,
		use == WEFT_API_STREAM ? "streams" : "calls under way");
	if (!his)
		return weft_err_hint(err, "end one of them, or try again later");
	return weft_err_hint(err, "end one of them; weftd's --api-%s is how many one user may have",
		use == WEFT_API_STREAM ? "streams" : "calls");
}

int weft_api_peer_use(struct weft_api_peers *all, struct weft_api_peer *p, enum weft_api_use use,
	struct weft_err *err)
{
	unsigned each = use == WEFT_API_STREAM ? all->each->streams : all->each->calls;
	unsigned most = use == WEFT_API_STREAM ? WEFT_API_MAX_STREAMS : WEFT_API_MAX_CALLS;
	char has[WHO_SIZE + 8];

	if (use == WEFT_API_SHORT)
		return 0;
	if (p->user && p->user->uses[use] >= each) {
		snprintf(has, sizeof(has), "%s has", p->user->who);
		return too_many(has, use, each, true, err);
	}
	if (all->uses[use] >= most)
		return too_many("the clients of this weftd have", use, most, false, err);
	if (p->user)
		p->user->uses[use]++;
	all->uses[use]++;
	return 0;
}

void weft_api_peer_done(struct weft_api_peers *all, struct weft_api_peer *p, enum weft_api_use use)
{
	p->busy = false;
	p->deadline_ns = weft_now_ns() + WEFT_API_IDLE_S * S;
	if (use == WEFT_API_SHORT)
		return;
	all->uses[use]--;
	if (p->user)
		p->user->uses[use]--;
}

void weft_api_peers_look(struct weft_api_peers *all, uint64_t now_ns)
{
	for (struct weft_api_peer *p = all->first; p; p = p->next)
		if (!p->gone && p->deadline_ns && now_ns >= p->deadline_ns)
			shut(all, p,
				p->busy ? "the body of its request did not come"
					: "no whole head of a request came");
}
