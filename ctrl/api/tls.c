/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/api/tls.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>

#include "ctrl/base/util.h"

#define MAX_PEM (1U << 20)

static int read_pem(const char *what, const char *path, char **ret, struct weft_err *err)
{
	int r = weft_read_file(path, MAX_PEM, ret, NULL);

	return r < 0 ? weft_err_set(err, r, "%s %s: %s", what, path, strerror(-r)) : 0;
}

static int check_mode(const char *path, struct weft_err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return weft_err_set(err, errno, "TLS key %s: %s", path, strerror(errno));
	if (!(st.st_mode & 027))
		return 0;
	weft_err_set(err, EPERM, "TLS key %s: others than its owner could read or write it", path);
	return weft_err_hint(err, "chmod 600 %s", path);
}

int weft_api_tls_load(const char *cert_path, const char *key_path, struct weft_api_tls **ret,
	struct weft_err *err)
{
	_cleanup_(weft_api_tls_unrefp) struct weft_api_tls *t = calloc(1, sizeof(*t));
	gnutls_datum_t cert, key;
	int r;

	if (!t || gnutls_certificate_allocate_credentials(&t->credentials) < 0) {
		free(TAKE_PTR(t));
		return weft_err_set(err, ENOMEM, "out of memory");
	}
	t->users = 1;
	r = read_pem("TLS certificate", cert_path, &t->cert, err);
	if (r == 0)
		r = check_mode(key_path, err);
	if (r == 0)
		r = read_pem("TLS key", key_path, &t->key, err);
	if (r < 0)
		return r;
	cert = (gnutls_datum_t){(unsigned char *)t->cert, (unsigned)strlen(t->cert)};
	key = (gnutls_datum_t){(unsigned char *)t->key, (unsigned)strlen(t->key)};
	r = gnutls_certificate_set_x509_key_mem(t->credentials, &cert, &key, GNUTLS_X509_FMT_PEM);
	if (r < 0) {
		weft_err_set(err, EINVAL, "TLS certificate %s with key %s: %s", cert_path, key_path,
			gnutls_strerror(r));
		return weft_err_hint(err,
			"both as PEM: the certificate first, then those that it was signed with");
	}
	*ret = TAKE_PTR(t);
	return 0;
}

struct weft_api_tls *weft_api_tls_ref(struct weft_api_tls *t)
{
	t->users++;
	return t;
}

void weft_api_tls_unref(struct weft_api_tls *t)
{
	if (!t || (t->users && --t->users))
		return;
	gnutls_certificate_free_credentials(t->credentials);
	if (t->key)
		OPENSSL_cleanse(t->key, strlen(t->key));
	free(t->key);
	free(t->cert);
	free(t);
}
