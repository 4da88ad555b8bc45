/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/image/oci.h"

#define OCI    "application/vnd.oci.image."
#define DOCKER "application/vnd.docker.distribution.manifest."

static const char media_manifest[] = OCI "manifest.v1+json";

#define MAX_STRINGS 4096 /* arguments or variables */
#define MAX_ENTRIES 1024 /* of an index */

/* --- digests -------------------------------------------------------------------------------------
 */

bool weft_oci_digest_valid(const char *digest)
{
	return digest && strncmp(digest, "sha256:", 7) == 0 && strlen(digest) == 71 &&
	       strspn(digest + 7, "0123456789abcdef") == 64;
}

void weft_oci_digest(const void *data, size_t size, char ret[WEFT_OCI_DIGEST])
{
	unsigned char md[EVP_MAX_MD_SIZE] = {};
	unsigned n = 0;

	EVP_Digest(data, size, md, &n, EVP_sha256(), NULL);
	strcpy(ret, "sha256:");
	for (unsigned i = 0; i < 32; i++)
		snprintf(ret + 7 + 2 * i, 3, "%02x", md[i]);
}

int weft_oci_chain_id(const struct weft_oci_image *image, unsigned n, char ret[WEFT_OCI_DIGEST])
{
	char chain[WEFT_OCI_DIGEST], both[2 * WEFT_OCI_DIGEST];

	if (n == 0 || n > image->n_layers)
		return -EINVAL;
	memcpy(chain, image->diff_ids[0], sizeof(chain));
	for (unsigned i = 1; i < n; i++) {
		int size = snprintf(both, sizeof(both), "%s %s", chain, image->diff_ids[i]);

		weft_oci_digest(both, (size_t)size, chain);
	}
	memcpy(ret, chain, sizeof(chain));
	return 0;
}

/* --- pieces of JSON ------------------------------------------------------------------------------
 */

static int malformed(struct weft_err *err, const char *what, const char *document, const char *why)
{
	weft_err_set(err, EBADMSG, "%s is damaged: its %s %s", what, document, why);
	return weft_err_hint(err, "build or copy the image again");
}

static int load(const char *what, const char *document, const char *text, size_t size, json_t **ret,
	struct weft_err *err)
{
	json_error_t at;
	json_t *o = json_loadb(text, size, JSON_REJECT_DUPLICATES, &at);

	if (!o) {
		weft_err_set(err, EBADMSG, "%s is damaged: its %s is not JSON: line %d: %s", what,
			document, at.line, at.text);
		return weft_err_hint(err, "build or copy the image again");
	}
	if (!json_is_object(o)) {
		json_decref(o);
		return malformed(err, what, document, "is no JSON object");
	}
	*ret = o;
	return 0;
}

static const char *get_string(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static int parse_descriptor(const json_t *o, struct weft_oci_descriptor *ret)
{
	const json_t *size = json_object_get(o, "size");
	const char *digest = get_string(o, "digest"), *type = get_string(o, "mediaType");

	if (!weft_oci_digest_valid(digest) || !json_is_integer(size) ||
		json_integer_value(size) < 0 ||
		(uint64_t)json_integer_value(size) > WEFT_OCI_MAX_BYTES ||
		strlen(type) >= sizeof(ret->media_type))
		return -EBADMSG;
	memcpy(ret->digest, digest, WEFT_OCI_DIGEST);
	strcpy(ret->media_type, type);
	ret->size = (uint64_t)json_integer_value(size);
	return 0;
}

/* Append the strings of an array (or nothing, for null) to *v, which has *n. */
static int append_strings(const json_t *a, char ***v, size_t *n)
{
	size_t more = json_array_size(a), i;
	char **p;
	json_t *s;

	if (a && !json_is_null(a) && !json_is_array(a))
		return -EBADMSG;
	if (more > MAX_STRINGS - *n)
		return -E2BIG;
	p = reallocarray(*v, *n + more + 1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	*v = p;
	p[*n] = NULL;
	json_array_foreach (a, i, s) {
		if (!json_is_string(s))
			return -EBADMSG;
		p[*n] = strdup(json_string_value(s));
		if (!p[*n])
			return -ENOMEM;
		p[++*n] = NULL;
	}
	return 0;
}

/* --- index ---------------------------------------------------------------------------------------
 */

static int entry_kind(const char *type)
{
	if (strcmp(type, OCI "index.v1+json") == 0 || strcmp(type, DOCKER "list.v2+json") == 0)
		return WEFT_OCI_INDEX;
	if (!*type || strcmp(type, media_manifest) == 0 || strcmp(type, DOCKER "v2+json") == 0)
		return WEFT_OCI_MANIFEST;
	return -ENOTSUP;
}

/* A document that could be read as both might be taken for one thing by us and for another by
 * whoever has looked through it. */
static int kind_of_content(const json_t *o)
{
	bool list = json_object_get(o, "manifests");
	bool image = json_object_get(o, "config") || json_object_get(o, "layers");

	if (list == image)
		return -EBADMSG;
	return list ? WEFT_OCI_INDEX : WEFT_OCI_MANIFEST;
}

int weft_oci_document_kind(const char *what, const char *text, size_t size, enum weft_oci_kind *ret,
	struct weft_err *err)
{
	json_auto_t *o = NULL;
	const char *type;
	int kind, r;

	r = load(what, "manifest", text, size, &o, err);
	if (r < 0)
		return r;
	kind = kind_of_content(o);
	if (kind < 0)
		return malformed(err, what, "manifest", "is neither one of an image nor an index");
	type = get_string(o, "mediaType");
	if (*type && entry_kind(type) != kind) {
		weft_err_set(
			err, EBADMSG, "%s: its manifest says that it is \"%.100s\"", what, type);
		return weft_err_hint(err, "push the image again with a tool of today");
	}
	*ret = (enum weft_oci_kind)kind;
	return 0;
}

int weft_oci_index_parse(const char *what, const char *text, size_t size,
	struct weft_oci_index *ret, struct weft_err *err)
{
	json_auto_t *o = NULL;
	struct weft_oci_index index = {};
	const json_t *list;
	size_t i;
	json_t *e;
	int r;

	r = load(what, "index", text, size, &o, err);
	if (r < 0)
		return r;
	list = json_object_get(o, "manifests");
	if (!json_is_array(list) || json_array_size(list) > MAX_ENTRIES)
		return malformed(err, what, "index", "has no list of manifests");
	index.entries = calloc(json_array_size(list) + 1, sizeof(*index.entries));
	if (!index.entries)
		return weft_err_set(err, ENOMEM, "%s: %m", what);
	json_array_foreach (list, i, e) {
		struct weft_oci_entry *entry = &index.entries[index.n_entries];
		const json_t *platform = json_object_get(e, "platform");
		const char *os = get_string(platform, "os");

		if (parse_descriptor(e, &entry->descriptor) < 0) {
			weft_oci_index_free(&index);
			return malformed(err, what, "index", "has a malformed descriptor");
		}
		r = entry_kind(entry->descriptor.media_type);
		if (r < 0)
			continue; /* an artifact that is no image */
		entry->kind = (enum weft_oci_kind)r;
		entry->linux_os = !*os || strcmp(os, "linux") == 0;
		snprintf(entry->arch, sizeof(entry->arch), "%s",
			get_string(platform, "architecture"));
		index.n_entries++;
	}
	*ret = index;
	return 0;
}

void weft_oci_index_free(struct weft_oci_index *index)
{
	free(index->entries);
	*index = (struct weft_oci_index){};
}

/* --- manifest ------------------------------------------------------------------------------------
 */

int weft_oci_manifest_config(const char *what, const char *text, size_t size,
	struct weft_oci_descriptor *ret, struct weft_err *err)
{
	json_auto_t *o = NULL;
	int r;

	r = load(what, "manifest", text, size, &o, err);
	if (r < 0)
		return r;
	if (parse_descriptor(json_object_get(o, "config"), ret) < 0)
		return malformed(err, what, "manifest", "names no configuration");
	if (ret->size > WEFT_OCI_MAX_TEXT)
		return malformed(err, what, "configuration", "is too large");
	return 0;
}

static int parse_layers(
	const char *what, const json_t *list, struct weft_oci_image *image, struct weft_err *err)
{
	uint64_t total = 0;
	size_t i;
	json_t *l;

	if (!json_is_array(list) || json_array_size(list) == 0)
		return malformed(err, what, "manifest", "has no layers");
	if (json_array_size(list) > WEFT_OCI_MAX_LAYERS)
		return malformed(err, what, "manifest", "has too many layers");
	image->layers = calloc(json_array_size(list), sizeof(*image->layers));
	if (!image->layers)
		return weft_err_set(err, ENOMEM, "%s: %m", what);
	json_array_foreach (list, i, l) {
		if (parse_descriptor(l, &image->layers[i]) < 0)
			return malformed(err, what, "manifest", "has a malformed layer");
		total += image->layers[i].size;
		if (total > WEFT_OCI_MAX_BYTES)
			return malformed(err, what, "manifest", "describes too large an image");
		image->n_layers++;
	}
	return 0;
}

static int parse_manifest(const char *what, const char *media_type, const char *text, size_t size,
	struct weft_oci_image *image, struct weft_err *err)
{
	json_auto_t *o = NULL;
	const char *type;
	int r;

	r = load(what, "manifest", text, size, &o, err);
	if (r < 0)
		return r;
	if (json_integer_value(json_object_get(o, "schemaVersion")) != 2)
		return malformed(err, what, "manifest", "is not of schema version 2");
	type = get_string(o, "mediaType");
	if (!*type)
		type = media_type && *media_type ? media_type : media_manifest;
	if (entry_kind(type) != WEFT_OCI_MANIFEST ||
		strlen(type) >= sizeof(image->manifest.media_type))
		return malformed(err, what, "manifest", "is of an unknown media type");
	strcpy(image->manifest.media_type, type);
	weft_oci_digest(text, size, image->manifest.digest);
	image->manifest.size = size;
	if (parse_descriptor(json_object_get(o, "config"), &image->config) < 0)
		return malformed(err, what, "manifest", "names no configuration");
	return parse_layers(what, json_object_get(o, "layers"), image, err);
}

/* --- configuration -------------------------------------------------------------------------------
 */

static int parse_diff_ids(
	const char *what, const json_t *o, struct weft_oci_image *image, struct weft_err *err)
{
	const json_t *list = json_object_get(json_object_get(o, "rootfs"), "diff_ids");
	size_t i;
	json_t *id;

	if (!json_is_array(list) || json_array_size(list) != image->n_layers)
		return malformed(
			err, what, "configuration", "does not list as many layers as the manifest");
	image->diff_ids = calloc(image->n_layers, sizeof(*image->diff_ids));
	if (!image->diff_ids)
		return weft_err_set(err, ENOMEM, "%s: %m", what);
	json_array_foreach (list, i, id) {
		if (!weft_oci_digest_valid(json_string_value(id)))
			return malformed(err, what, "configuration", "has a malformed diff_id");
		memcpy(image->diff_ids[i], json_string_value(id), WEFT_OCI_DIGEST);
	}
	return weft_oci_chain_id(image, image->n_layers, image->chain_id);
}

/* "SIGTERM", "TERM", "15", "SIGRTMIN+3"; what nobody understands is SIGTERM. */
static int parse_signal(const char *s)
{
	uint64_t n;

	if (weft_parse_u64(s, 1, (uint64_t)SIGRTMAX, &n) == 0)
		return (int)n;
	if (strncmp(s, "SIG", 3) == 0)
		s += 3;
	if (strncmp(s, "RTMIN+", 6) == 0 &&
		weft_parse_u64(s + 6, 0, (uint64_t)(SIGRTMAX - SIGRTMIN), &n) == 0)
		return SIGRTMIN + (int)n;
	for (int sig = 1; sig < SIGRTMIN; sig++) {
		const char *name = sigabbrev_np(sig);

		if (name && strcmp(name, s) == 0)
			return sig;
	}
	return SIGTERM;
}

static int parse_process(
	const char *what, const json_t *c, struct weft_oci_process *p, struct weft_err *err)
{
	const char *cwd = get_string(c, "WorkingDir");
	size_t n_args = 0, n_env = 0;

	if (append_strings(json_object_get(c, "Entrypoint"), &p->args, &n_args) < 0 ||
		append_strings(json_object_get(c, "Cmd"), &p->args, &n_args) < 0 ||
		append_strings(json_object_get(c, "Env"), &p->env, &n_env) < 0)
		return malformed(
			err, what, "configuration", "has a malformed Entrypoint, Cmd or Env");
	p->user = strdup(get_string(c, "User"));
	p->cwd = *cwd == '/' ? strdup(cwd) : weft_strf("/%s", cwd);
	if (!p->user || !p->cwd)
		return weft_err_set(err, ENOMEM, "%s: %m", what);
	p->stop_signal = parse_signal(get_string(c, "StopSignal"));
	return 0;
}

static int parse_config(const char *what, const char *text, size_t size, enum weft_arch arch,
	struct weft_oci_image *image, struct weft_err *err)
{
	char digest[WEFT_OCI_DIGEST];
	json_auto_t *o = NULL;
	const char *has, *os;
	int r;

	weft_oci_digest(text, size, digest);
	if (strcmp(digest, image->config.digest) != 0 || size != image->config.size)
		return malformed(err, what, "configuration", "does not match its digest");
	r = load(what, "configuration", text, size, &o, err);
	if (r < 0)
		return r;
	has = get_string(o, "architecture");
	os = get_string(o, "os");
	if (weft_arch_parse(has) != (int)arch || strcmp(os, "linux") != 0) {
		weft_err_set(err, ENOTSUP, "%s is for %.32s/%.32s, not for linux/%s", what,
			*os ? os : "?", *has ? has : "?", weft_arch_name(arch));
		return weft_err_hint(err, "build the image for linux/%s", weft_arch_name(arch));
	}
	r = parse_diff_ids(what, o, image, err);
	if (r < 0)
		return r;
	return parse_process(what, json_object_get(o, "config"), &image->process, err);
}

int weft_oci_image_parse(const char *what, const char *media_type, const char *manifest,
	size_t manifest_size, const char *config, size_t config_size, enum weft_arch arch,
	struct weft_oci_image **ret, struct weft_err *err)
{
	_cleanup_(weft_oci_image_freep) struct weft_oci_image *image = calloc(1, sizeof(*image));
	int r;

	if (!image)
		return weft_err_set(err, ENOMEM, "%s: %m", what);
	r = parse_manifest(what, media_type, manifest, manifest_size, image, err);
	if (r < 0)
		return r;
	r = parse_config(what, config, config_size, arch, image, err);
	if (r < 0)
		return r;
	image->manifest_text = strndup(manifest, manifest_size);
	image->config_text = strndup(config, config_size);
	if (!image->manifest_text || !image->config_text)
		return weft_err_set(err, ENOMEM, "%s: %m", what);
	*ret = TAKE_PTR(image);
	return 0;
}

void weft_oci_image_free(struct weft_oci_image *image)
{
	if (!image)
		return;
	free(image->layers);
	free(image->diff_ids);
	strv_free(image->process.args);
	strv_free(image->process.env);
	free(image->process.user);
	free(image->process.cwd);
	free(image->manifest_text);
	free(image->config_text);
	free(image);
}
