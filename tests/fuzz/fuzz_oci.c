/* SPDX-License-Identifier: Apache-2.0 */
/* An OCI image nobody vouches for: as an archive, as its documents alone, and as the answer of the
 * child that reads archives. The first byte says which. */
#include <assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "ctrl/base/util.h"
#include "runtimes/image/oci.h"
#include "runtimes/image/oci_job.h"

static void check(int r, const struct weft_oci_image *image, const struct weft_err *err)
{
	if (r < 0) {
		assert(!image && err->code == -r && err->msg[0]);
		return;
	}
	assert(image && image->n_layers > 0 && image->n_layers <= WEFT_OCI_MAX_LAYERS);
	assert(weft_oci_digest_valid(image->manifest.digest));
	assert(weft_oci_digest_valid(image->chain_id));
	for (unsigned i = 0; i < image->n_layers; i++)
		assert(weft_oci_digest_valid(image->layers[i].digest));
}

static void archive(const uint8_t *data, size_t size)
{
	struct weft_oci_image *image = NULL;
	struct weft_err err = {};
	char path[64];
	int fd = memfd_create("image", MFD_CLOEXEC), r;

	if (fd < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (weft_write_all(fd, data, size) == 0) {
		r = weft_oci_inspect(path, WEFT_ARCH_AMD64, &image, &err);
		check(r, image, &err);
	}
	weft_oci_image_free(image);
	close(fd);
}

/* The configuration is wrapped in a manifest that fits it, or nothing behind it would be reached.
 */
static void config(const uint8_t *data, size_t size)
{
	struct weft_oci_image *image = NULL;
	char digest[WEFT_OCI_DIGEST], manifest[1024];
	struct weft_err err = {};
	int r;

	weft_oci_digest(data, size, digest);
	snprintf(manifest, sizeof(manifest),
		"{\"schemaVersion\":2,\"config\":{\"digest\":\"%s\",\"size\":%zu},"
		"\"layers\":[{\"digest\":\"%s\",\"size\":1}]}",
		digest, size, digest);
	r = weft_oci_image_parse("image", NULL, manifest, strlen(manifest), (const char *)data,
		size, WEFT_ARCH_AMD64, &image, &err);
	check(r, image, &err);
	weft_oci_image_free(image);
}

static void documents(const uint8_t *data, size_t size)
{
	struct weft_oci_descriptor descriptor;
	struct weft_oci_image *image = NULL;
	struct weft_oci_artifact artifact = {};
	struct weft_oci_index index = {};
	enum weft_oci_kind kind;
	const char *text = (const char *)data;
	struct weft_err err = {};
	int r;

	if (weft_oci_artifact_parse("image", text, size, &artifact, &err) == 0)
		assert(artifact.n_layers > 0 &&
			weft_oci_digest_valid(artifact.layers[0].descriptor.digest));
	weft_oci_artifact_free(&artifact);
	if (weft_oci_index_parse("image", text, size, &index, &err) == 0)
		for (unsigned i = 0; i < index.n_entries; i++)
			assert(weft_oci_digest_valid(index.entries[i].descriptor.digest));
	weft_oci_index_free(&index);
	if (weft_oci_manifest_config("image", text, size, &descriptor, &err) == 0)
		assert(weft_oci_digest_valid(descriptor.digest));
	err = (struct weft_err){};
	if (weft_oci_document_kind("image", text, size, &kind, &err) < 0)
		assert(err.code && err.msg[0]);
	err = (struct weft_err){};
	r = weft_oci_image_parse("image", NULL, text, size, "{}", 2, WEFT_ARCH_AMD64, &image, &err);
	check(r, image, &err);
	weft_oci_image_free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weft_oci_image *image = NULL;
	struct weft_err err = {};
	int r;

	if (size < 1)
		return 0;
	switch (data[0] % 4) {
	case 0:
		archive(data + 1, size - 1);
		break;
	case 1:
		config(data + 1, size - 1);
		break;
	case 2:
		documents(data + 1, size - 1);
		break;
	default:
		r = weft_oci_answer_parse(
			(const char *)data + 1, size - 1, "/image", WEFT_ARCH_AMD64, &image, &err);
		check(r, image, &err);
		weft_oci_image_free(image);
	}
	return 0;
}
