/* SPDX-License-Identifier: Apache-2.0 */
/* Names of images in registries: HOST[:PORT]/NAME[:TAG][@sha256:HEX]. The host is always there:
 * "nginx" alone could be anybody's, and reads like a file. */
#ifndef WEFT_RUNTIMES_REGISTRY_REFERENCE_H
#define WEFT_RUNTIMES_REGISTRY_REFERENCE_H

#include "ctrl/base/err.h"
#include "runtimes/image/oci.h"

struct weft_reference {
	char host[256];               /* as written, with its port: "docker.io", "localhost:5000" */
	char api[256];                /* where it is served: "registry-1.docker.io" */
	char name[256];               /* "library/nginx" */
	char tag[129];                /* "latest" when nothing is said; "" beside a digest */
	char digest[WEFT_OCI_DIGEST]; /* "" when not said */
};

/* -EINVAL with what is wrong, and how it is written. */
int weft_reference_parse(const char *text, struct weft_reference *ret, struct weft_err *err);

/* In full: "docker.io/library/nginx:latest"; with a digest, without its tag. */
#define WEFT_REFERENCE_TEXT 768
void weft_reference_format(const struct weft_reference *ref, char ret[WEFT_REFERENCE_TEXT]);

#endif
