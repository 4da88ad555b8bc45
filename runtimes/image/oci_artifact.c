/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests of artifacts: their layers are files of some sort, and their configuration, which is
 * anything or nothing, is not looked at. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "runtimes/image/oci.h"

#define MAX_LAYERS 16

static int malformed(struct weft_err *err, const char *what, const char *why)
{
	weft_err_set(err, EBADMSG, "%s is damaged: its manifest %s", what, why);
	return weft_err_hint(err, "build or copy the image again");
}

static const char *title_of(const json_t *layer)
{
	const json_t *notes = json_object_get(layer, "annotations");
	const char *s = json_string_value(json_object_get(notes, "org.opencontainers.image.title"));

	return s ? s : "";
}

static int parse_layer(
	const char *what, const json_t *o, struct weft_oci_titled *ret, struct weft_err *err)
{
	const json_t *size = json_object_get(o, "size");
	const char *digest = json_string_value(json_object_get(o, "digest"));

	if (!weft_oci_digest_valid(digest) || !json_is_integer(size) ||
		json_integer_value(size) < 0 ||
		(uint64_t)json_integer_value(size) > WEFT_OCI_MAX_BYTES)
		return malformed(err, what, "has a malformed layer");
	memcpy(ret->descriptor.digest, digest, WEFT_OCI_DIGEST);
	ret->descriptor.size = (uint64_t)json_integer_value(size);
	/* One that is too long is none of the names that matter. */
	if ((size_t)snprintf(ret->title, sizeof(ret->title), "%s", title_of(o)) >=
		sizeof(ret->title))
		ret->title[0] = '\0';
	return 0;
}

int weft_oci_artifact_parse(const char *what, const char *text, size_t size,
	struct weft_oci_artifact *ret, struct weft_err *err)
{
	json_auto_t *o = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	const json_t *layers = json_object_get(o, "layers");
	struct weft_oci_artifact a = {};
	int r = 0;

	if (!o)
		return malformed(err, what, "is not JSON");
	if (!json_is_array(layers) || json_array_size(layers) == 0)
		return malformed(err, what, "has no layers");
	if (json_array_size(layers) > MAX_LAYERS)
		return weft_err_set(err, EBADMSG, "%s has %zu layers, and may have %d", what,
			json_array_size(layers), MAX_LAYERS);
	a.layers = calloc(json_array_size(layers), sizeof(*a.layers));
	if (!a.layers)
		return weft_err_set(err, ENOMEM, "%s: out of memory", what);
	while (r == 0 && a.n_layers < json_array_size(layers)) {
		r = parse_layer(
			what, json_array_get(layers, a.n_layers), &a.layers[a.n_layers], err);
		a.n_layers++;
	}
	if (r < 0)
		weft_oci_artifact_free(&a);
	else
		*ret = a;
	return r;
}

void weft_oci_artifact_free(struct weft_oci_artifact *a)
{
	free(a->layers);
	*a = (struct weft_oci_artifact){};
}
