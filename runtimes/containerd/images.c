/* SPDX-License-Identifier: Apache-2.0 */
/* An image is known by the digest of its manifest, so what was read of it once stays true: a start
 * saves three calls. That the image is still there shows when its snapshot is asked for. */
#include <string.h>

#include "runtimes/containerd/ctrd.h"

#define MAX_KEPT 64

static void release(struct ctrd_image *image)
{
	if (image->listed || image->users > 0)
		return;
	weft_oci_image_free(image->oci);
	free(image->ref);
	free(image);
}

static void unlist(struct weft_runtime *rt, struct ctrd_image *image)
{
	TAILQ_REMOVE(&rt->images, image, link);
	image->listed = false;
	release(image);
}

struct ctrd_image *ctrd_image_get(struct weft_runtime *rt, const char *ref, enum weft_arch arch)
{
	struct ctrd_image *image;

	TAILQ_FOREACH(image, &rt->images, link)
	{
		if (image->arch != arch || strcmp(image->ref, ref) != 0)
			continue;
		TAILQ_REMOVE(&rt->images, image, link);
		TAILQ_INSERT_HEAD(&rt->images, image, link);
		image->users++;
		return image;
	}
	return NULL;
}

struct ctrd_image *ctrd_image_keep(
	struct weft_runtime *rt, const char *ref, enum weft_arch arch, struct weft_oci_image *oci)
{
	struct ctrd_image *image = calloc(1, sizeof(*image)), *i;
	unsigned n = 0;

	if (image)
		image->ref = strdup(ref);
	if (!image || !image->ref) {
		free(image);
		weft_oci_image_free(oci);
		return NULL;
	}
	ctrd_image_forget(rt, ref);
	image->arch = arch;
	image->oci = oci;
	image->users = 1;
	image->listed = true;
	TAILQ_INSERT_HEAD(&rt->images, image, link);
	TAILQ_FOREACH(i, &rt->images, link)
	n++;
	if (n > MAX_KEPT)
		unlist(rt, TAILQ_LAST(&rt->images, ctrd_images));
	return image;
}

void ctrd_image_put(struct ctrd_image *image)
{
	if (!image)
		return;
	image->users--;
	release(image);
}

void ctrd_image_forget(struct weft_runtime *rt, const char *ref)
{
	struct ctrd_image *image, *next;

	for (image = TAILQ_FIRST(&rt->images); image; image = next) {
		next = TAILQ_NEXT(image, link);
		if (!ref || strcmp(image->ref, ref) == 0)
			unlist(rt, image);
	}
}
