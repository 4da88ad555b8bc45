/* SPDX-License-Identifier: Apache-2.0 */
/* A registry for tests (Docker distribution API v2, to read from), in a process of its own: as it
 * should be, or wrong in a way that is chosen while it runs. It serves image layouts below its
 * directory: DIR/TAG/index.json and DIR/TAG/blobs/sha256/... of repository test/image; a tag whose
 * name begins with "multi" is served as an index, others as the last manifest of theirs.
 * DIR/files/NAME is served as /files/NAME, as any web server does. */
#ifndef WEFT_TESTS_LIB_REGISTRY_H
#define WEFT_TESTS_LIB_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum test_registry_auth { REGISTRY_OPEN, REGISTRY_BASIC, REGISTRY_BEARER };
enum test_registry_redirect {
	REGISTRY_DIRECT,
	REGISTRY_TO_STORE, /* another port, that is: another origin */
	REGISTRY_IN_CIRCLES,
	REGISTRY_TO_HTTP, /* from https */
	REGISTRY_TO_NOWHERE,
};

/* Shared with the process; all of it may be set at any time. */
struct test_registry_control {
	/* how it behaves */
	enum test_registry_auth auth;         /* user "weft", password "se:cret" */
	enum test_registry_redirect redirect; /* of blobs */
	unsigned token_uses;                  /* a token is good for so many requests; 0: always */
	unsigned fail, fail_status;           /* so many requests are answered with this status */
	unsigned retry_after;                 /* said with it, seconds */
	unsigned fail_tokens;                 /* the same of token requests, with 503 */
	unsigned cuts;                        /* so many blobs break off in their middle */
	bool ends_early;                      /* ... as if that were their end */
	bool ignore_range;
	bool wrong_range;  /* answers from elsewhere than asked for */
	bool parts_only;   /* 206 and a range also to who asks for all */
	bool short_ranges; /* answers with half of what was asked for */
	bool wrong_layer;  /* a byte of each large blob is another */
	bool wrong_text;   /* the same of manifests asked for by digest */
	bool too_long;     /* blobs go on behind their end */
	bool endless_text; /* manifests do */
	bool no_token;     /* the token server's answer has none */
	unsigned pace_us;  /* between pieces of 64 KiB */
	bool hang;         /* no answer at all */
	bool dated;        /* files have a date and no ETag */
	bool unmarked;     /* files have neither */

	/* what it has seen */
	unsigned requests, manifests, blobs, files, ranges, tokens, at_once, most_at_once;
	uint64_t sent;          /* bytes of blobs */
	char stray[256];        /* an Authorization that another origin got */
	char authorization[64]; /* the scheme of the last one */
	char scope[128];        /* of the last token request */
};

struct test_registry {
	pid_t pid;
	uint16_t port, store_port;
	struct test_registry_control *c;
};

/* With TLS when tls_dir has what test_tls_make() writes; NULL: plain HTTP. Aborts on failure. */
void test_registry_start(struct test_registry *r, const char *dir, const char *tls_dir);
void test_registry_stop(struct test_registry *r);
/* As it should be, and with nothing seen. */
void test_registry_reset(struct test_registry *r);

#endif
