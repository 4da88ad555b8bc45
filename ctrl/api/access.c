/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/api/access.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_GROUPS 65536 /* the kernel's own limit */

static bool in_group(int fd, const struct ucred *peer, gid_t gid)
{
	_cleanup_(freep) gid_t *groups = NULL;
	socklen_t size = 0;

	if (peer->gid == gid)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE)
		return false;
	if (size > MAX_GROUPS * sizeof(*groups))
		return false;
	groups = malloc(size);
	if (!groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
		return false;
	for (size_t i = 0; i < size / sizeof(*groups); i++)
		if (groups[i] == gid)
			return true;
	return false;
}

static void take_token(const struct weft_tokens *tokens, const char *auth, struct weft_api_who *ret)
{
	const char *name = NULL;

	if (strncasecmp(auth, "Bearer ", 7) != 0) {
		ret->why = "the Authorization header is no \"Bearer TOKEN\"";
		return;
	}
	auth += 7 + strspn(auth + 7, " ");
	ret->role = weft_tokens_find(tokens, auth, &name);
	if (name)
		snprintf(ret->text, sizeof(ret->text), "token %s", name);
	else
		ret->why = "its token is not one of this weftd's";
}

void weft_api_who_remote(
	const struct weft_tokens *tokens, const char *auth, struct weft_api_who *ret)
{
	*ret = (struct weft_api_who){.text = "nobody",
		.why = "it has no token",
		.next = "Authorization: Bearer TOKEN; weft token new makes one"};
	if (auth)
		take_token(tokens, auth, ret);
}

void weft_api_who_local(int fd, gid_t gid, const struct weft_tokens *tokens, const char *auth,
	struct weft_api_who *ret)
{
	struct ucred peer = {.uid = (uid_t)-1};
	struct weft_api_who with = {0};
	socklen_t size = sizeof(peer);

	*ret = (struct weft_api_who){.why = "its user is neither root nor of the socket's group",
		.next = "sudo, or join that group; a token does not help here"};
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
		ret->why = "who it is cannot be told";
		return;
	}
	snprintf(ret->text, sizeof(ret->text), "uid %u", peer.uid);
	snprintf(ret->user, sizeof(ret->user), "uid %u", peer.uid);
	if (peer.uid == 0 || peer.uid == geteuid() || in_group(fd, &peer, gid))
		ret->role = WEFT_API_ADMIN;
	if (!auth || !tokens || ret->role == WEFT_API_NOBODY)
		return;
	weft_api_who_remote(tokens, auth, &with);
	memcpy(with.user, ret->user, sizeof(with.user));
	*ret = with;
	snprintf(ret->text + strlen(ret->text), sizeof(ret->text) - strlen(ret->text), " of uid %u",
		peer.uid);
}

int weft_api_permit(const struct weft_api_who *who, const char *method, const char *path,
	struct weft_api_response *ret)
{
	enum weft_api_role needs = weft_api_needs(method, path);
	struct weft_err err = {0};

	if (who->role >= needs)
		return 0;
	*ret = (struct weft_api_response){0};
	if (who->role == WEFT_API_NOBODY) {
		weft_err_set(&err, EKEYREJECTED, "%.20s %.200s: the request is refused: %s", method,
			path, who->why);
		weft_err_hint(&err, "%s", who->next);
	} else {
		weft_err_set(&err, EACCES, "%.20s %.200s: needs the role %s, and %s has %s", method,
			path, weft_api_role_name(needs), who->text, weft_api_role_name(who->role));
		weft_err_hint(&err, "use a token with the role %s", weft_api_role_name(needs));
	}
	weft_api_error(&err, 0, ret);
	return ret->status;
}
