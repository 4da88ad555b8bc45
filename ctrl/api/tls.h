/* SPDX-License-Identifier: Apache-2.0 */
/* Private to ctrl/api: a certificate and its key, which may change under connections that go on
 * with the one they began with. */
#ifndef WEFT_API_TLS_H
#define WEFT_API_TLS_H

#include <gnutls/gnutls.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"

#define WEFT_API_TLS_PRIORITIES "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct weft_api_tls {
	unsigned users;
	gnutls_certificate_credentials_t credentials;
	char *cert, *key; /* PEM */
};

/* Read, and checked to belong together. One user: the caller. A key that others than its owner and
 * group may read is -EPERM. */
int weft_api_tls_load(const char *cert_path, const char *key_path, struct weft_api_tls **ret,
	struct weft_err *err);
struct weft_api_tls *weft_api_tls_ref(struct weft_api_tls *t);
void weft_api_tls_unref(struct weft_api_tls *t); /* NULL is fine */
WEFT_DEFINE_CLEANUP(struct weft_api_tls *, weft_api_tls_unref);

#endif
