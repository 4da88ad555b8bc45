/* SPDX-License-Identifier: Apache-2.0 */
/* An image on its way into containerd: import.c decides, import_content.c moves blobs,
 * import_unpack.c makes snapshots of layers. */
#ifndef WEFT_RUNTIMES_CONTAINERD_IMPORT_H
#define WEFT_RUNTIMES_CONTAINERD_IMPORT_H

#include "runtimes/containerd/ctrd.h"
#include "runtimes/image/oci_job.h"

struct import {
	struct ctrd_op op;
	char *path;
	enum weft_arch arch;
	weft_runtime_prepared_t prepared;
	struct weft_oci_job *job;
	struct weft_oci_image *image;
	char name[128]; /* of the image record */
	char *staging;  /* directory of the blobs, NULL: not made */
	char lease[32];
	int result;

	/* the blob being written */
	unsigned blob;
	int fd;
	char ref[WEFT_OCI_DIGEST + 8];
	const struct weft_oci_descriptor *writing;
	uint8_t *chunk;

	/* the layer being unpacked */
	unsigned layer;
	char key[96];
	char chain[WEFT_OCI_DIGEST], parent[WEFT_OCI_DIGEST];
	bool retried;
};

/* Both call import_failed() or go on with the given next part. */
void import_content(struct import *im);
void import_unpack(struct import *im); /* called when the content is there */
void import_record(struct import *im); /* called when the snapshots are there */
void import_failed(struct import *im, int r);

#endif
