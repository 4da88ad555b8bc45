/* SPDX-License-Identifier: Apache-2.0 */
/* A certificate authority and a server's certificate, made for one test. */
#ifndef WEFT_TESTS_LIB_TLS_H
#define WEFT_TESTS_LIB_TLS_H

/* Writes DIR/ca.pem, DIR/server.pem and DIR/server.key: for localhost and 127.0.0.1, valid for a
 * day. Aborts on failure. */
void test_tls_make(const char *dir);

#endif
