/* SPDX-License-Identifier: Apache-2.0 */
/* OCI image archives for tests, whole or wrong in one way. */
#ifndef WEFT_TESTS_LIB_IMAGE_H
#define WEFT_TESTS_LIB_IMAGE_H

#include <stdbool.h>

struct test_image {
	const char *program; /* a static executable, becomes /init; NULL: a text file instead */
	unsigned layers;     /* 0: 1; each further one holds a small file /layerN ... */
	unsigned filler;     /* ... and /fillerN of so many bytes that do not compress */
	unsigned seed;       /* fillers of another seed are others */
	const char *arch;    /* NULL: amd64 or whatever this is */
	const char *config;  /* JSON of the configuration's "config", NULL: {"Cmd":["/init"]} */
	const char *passwd;  /* content of /etc/passwd, NULL: none */
	const char *group;   /* of /etc/group */
	bool blobs_first;    /* index.json at the end of the archive */
	bool no_platform;    /* the index does not say what it is for */
	bool other_first;    /* the index lists a manifest for another architecture first */
	bool nested;         /* the index leads to an index */
	bool wrong_layer;    /* a byte of the last layer is changed after its digest was taken */
	bool missing_layer;  /* the last layer is left out */
	bool compress;       /* gzip around the whole archive */
};

/* Abort on failure. */
void test_image_write(const char *path, const struct test_image *how);

/* The same as a layout directory, which must exist and be empty. */
void test_image_write_dir(const char *dir, const struct test_image *how);

#endif
