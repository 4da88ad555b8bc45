/* SPDX-License-Identifier: Apache-2.0 */
/* Private to ctrl/api: who asks, and whether he may. */
#ifndef WEFT_API_ACCESS_H
#define WEFT_API_ACCESS_H

#include <microhttpd.h>
#include <sys/types.h>

#include "ctrl/api/route.h"
#include "ctrl/api/tokens.h"

struct weft_api_who {
	enum weft_api_role role;
	char text[96];    /* "uid 1000", "token ci", for the log and for errors */
	char user[96];    /* the same, but only by uid where there is one: whose limits count */
	const char *why;  /* of a NOBODY: what is missing */
	const char *next; /* and what to do about it */
};

/* One that came by the unix socket, whose group is gid: root and that group may do everything,
 * others nothing. With a token, only what that one may as well. */
void weft_api_who_local(int fd, gid_t gid, const struct weft_tokens *tokens, const char *auth,
	struct weft_api_who *ret);
/* One that came by TCP: what its token may. auth: the Authorization header, or NULL. */
void weft_api_who_remote(
	const struct weft_tokens *tokens, const char *auth, struct weft_api_who *ret);

/* 0, or 401 or 403 with the answer in ret. */
int weft_api_permit(const struct weft_api_who *who, const char *method, const char *path,
	struct weft_api_response *ret);

#endif
