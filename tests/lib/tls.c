/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/tls.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "test TLS: %s failed\n", what);
	abort();
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *e;
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	check(e && X509_add_ext(cert, e, -1) == 1, value);
	X509_EXTENSION_free(e);
}

/* Signed by itself when issuer is NULL. */
static X509 *make_cert(EVP_PKEY *key, const char *name, X509 *issuer, EVP_PKEY *issuer_key)
{
	X509 *cert = X509_new();
	X509_NAME *subject;

	check(cert != NULL, "X509_new");
	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), issuer ? 2 : 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	X509_set_pubkey(cert, key);
	subject = X509_get_subject_name(cert);
	X509_NAME_add_entry_by_txt(
		subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : subject);
	if (issuer) {
		add_extension(cert, issuer, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
	} else {
		add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE");
		add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign");
	}
	check(X509_sign(cert, issuer ? issuer_key : key, EVP_sha256()) > 0, "X509_sign");
	return cert;
}

static void write_pem(const char *dir, const char *name, X509 *cert, EVP_PKEY *key)
{
	_cleanup_(freep) char *path = weft_strf("%s/%s", dir, name);
	FILE *f = path ? fopen(path, "we") : NULL;

	check(f != NULL, name);
	check((cert ? PEM_write_X509(f, cert)
		    : PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL)) == 1,
		name);
	fclose(f);
}

void test_tls_make(const char *dir)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
	X509 *ca, *cert;

	check(ca_key && key, "EVP_EC_gen");
	ca = make_cert(ca_key, "weft test CA", NULL, NULL);
	cert = make_cert(key, "localhost", ca, ca_key);
	write_pem(dir, "ca.pem", ca, NULL);
	write_pem(dir, "server.pem", cert, NULL);
	write_pem(dir, "server.key", NULL, key);
	X509_free(ca);
	X509_free(cert);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(key);
}
