/* SPDX-License-Identifier: Apache-2.0 */
/* An image on its way into containerd: import.c decides, import_content.c moves blobs,
 * import_unpack.c makes snapshots of layers. From a registry pull.c decides first and pull_layer.c
 * moves the layers; the rest is the same. */
#ifndef WEFT_RUNTIMES_CONTAINERD_IMPORT_H
#define WEFT_RUNTIMES_CONTAINERD_IMPORT_H

#include "runtimes/containerd/ctrd.h"
#include "runtimes/image/oci_job.h"
#include "runtimes/registry/find.h"

#define IMPORT_NAME_PREFIX "weft.local/image@" /* and the manifest's digest */

struct import {
	struct ctrd_op op;
	char *path; /* or reference: what prepare() was asked for */
	enum weft_arch arch;
	weft_runtime_prepared_t prepared;
	struct weft_oci_job *job;
	struct weft_oci_image *image;
	char name[128];                  /* of the image record */
	char alias[WEFT_REFERENCE_TEXT]; /* of one more, "": none */
	bool aliased;
	char *staging; /* directory of the blobs, NULL: not made */
	char lease[CTRD_LEASE_NAME];
	int result;
	ctrd_step_t turn; /* when it is this one's turn in rt->imports */

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

void import_queue(struct import *im, ctrd_step_t turn); /* behind those that are at it */
void import_finish(struct import *im, int r);           /* tells, and goes */
void import_release(struct ctrd_op *op);
/* next asks import_has_lease(), which has called import_failed() when it says no. */
void import_take_lease(struct import *im, ctrd_step_t next);
bool import_has_lease(struct import *im, const struct weft_grpc_result *res);
/* From memory: the layers are there already. */
void import_documents(struct import *im);
/* Does a Write fail since another one of the same blob goes on? */
bool import_is_locked(const struct weft_grpc_result *res);

/* Both call import_failed() or go on with the given next part. */
void import_content(struct import *im);
void import_unpack(struct import *im); /* called when the content is there */
void import_record(struct import *im); /* called when the snapshots are there */
void import_failed(struct import *im, int r);

/* --- pull.c, pull_layer.c -----------------------------------------------------------------------
 */

struct pull;

struct pull_layer {
	struct pull *pull;
	const struct weft_oci_descriptor *d;
	char ref[WEFT_OCI_DIGEST + 8];
	struct weft_grpc_call *write;
	struct weft_registry_call *get;
	sd_event_source *timer; /* until the next try at a locked blob; or nothing moves */
	uint8_t *chunk;
	size_t n;             /* bytes in chunk */
	uint64_t sent, acked; /* of the blob; sent counts what is in chunk */
	bool paused, complete;
};

struct pull {
	struct import im;
	struct weft_reference ref;
	struct weft_registry *registry;
	struct weft_registry_find *find;
	struct weft_registry_call *call;
	bool running;
	char *manifest;
	size_t manifest_size;
	char type[128];               /* of the manifest */
	struct weft_oci_image *local; /* what the reference meant last, all of it here */

	struct pull_layer *layers;
	unsigned n_layers, next, active;
	uint64_t total, told_ns;
};

/* -EINVAL for what is no reference. */
int ctrd_pull(struct weft_runtime *rt, const char *image, enum weft_arch arch,
	weft_runtime_prepared_t done, void *userdata, struct weft_err *err);
void ctrd_pull_next(struct weft_runtime *rt); /* one has ended: others may begin */

void pull_layers(struct pull *p); /* calls one of the next two */
void pull_layers_done(struct pull *p);
void pull_failed(struct pull *p, int r); /* with im.op.err */
void pull_layers_release(struct pull *p);
void pull_progress(struct pull *p, bool now);

#endif
