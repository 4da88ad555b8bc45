/* SPDX-License-Identifier: Apache-2.0 */
/* What a registry says in WWW-Authenticate (RFC 9110, 11.6.1): how it wants to be asked. */
#ifndef WEFT_RUNTIMES_REGISTRY_CHALLENGE_H
#define WEFT_RUNTIMES_REGISTRY_CHALLENGE_H

#include <stddef.h>

enum weft_challenge_scheme { WEFT_CHALLENGE_NONE, WEFT_CHALLENGE_BASIC, WEFT_CHALLENGE_BEARER };

struct weft_challenge {
	enum weft_challenge_scheme scheme;
	char realm[1024]; /* Bearer: where tokens are to be had, a URL */
	char service[256], scope[1024];
};

/* One header's value. Of several challenges a Bearer one is taken, else a Basic one; what is
 * neither, is malformed or too long is passed over: NONE. */
void weft_challenge_parse(const char *value, size_t size, struct weft_challenge *ret);

#endif
