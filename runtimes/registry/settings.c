/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/registry/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctrl/base/util.h"

#define MAX_FILE (1U << 20)
#define MAX_AUTH 4096

void weft_registry_settings_done(struct weft_registry_settings *s)
{
	if (s->password)
		explicit_bzero(s->password, strlen(s->password));
	free(s->user);
	free(s->password);
	free(s->ca);
	*s = (struct weft_registry_settings){};
}

static int malformed(
	const char *file, const char *key, const char *host, const char *why, struct weft_err *err)
{
	return weft_err_set(err, EINVAL, "%s: %s: \"%.200s\": %s", file, key, host, why);
}

/* Docker's file has keys such as "https://index.docker.io/v1/". */
static bool names_host(const char *key, const struct weft_reference *ref)
{
	size_t n;

	if (strncmp(key, "https://", 8) == 0)
		key += 8;
	else if (strncmp(key, "http://", 7) == 0)
		key += 7;
	n = strcspn(key, "/");
	if (strncmp(key, "index.docker.io", n) == 0 && n == strlen("index.docker.io") &&
		strcmp(ref->host, "docker.io") == 0)
		return true;
	return (strlen(ref->host) == n && strncasecmp(key, ref->host, n) == 0) ||
	       (strlen(ref->api) == n && strncasecmp(key, ref->api, n) == 0);
}

/* The member of object `section` that is about the registry, and its name. */
static const json_t *find(const json_t *o, const char *section, const struct weft_reference *ref,
	const char **ret_key)
{
	const char *key;
	json_t *value;

	json_object_foreach (json_object_get(o, section), key, value) {
		if (!names_host(key, ref))
			continue;
		*ret_key = key;
		return value;
	}
	return NULL;
}

static int take_string(const json_t *o, const char *key, char **ret)
{
	const json_t *v = json_object_get(o, key);

	if (!v)
		return 0;
	if (!json_is_string(v))
		return -EINVAL;
	*ret = strdup(json_string_value(v));
	return *ret ? 0 : -ENOMEM;
}

/* base64 of "user:password" */
static int take_auth(const char *auth, struct weft_registry_settings *s)
{
	unsigned char plain[MAX_AUTH];
	size_t size = strlen(auth);
	char *colon;
	int n;

	if (size == 0 || size % 4 != 0 || size / 4 * 3 >= sizeof(plain))
		return -EINVAL;
	n = EVP_DecodeBlock(plain, (const unsigned char *)auth, (int)size);
	if (n < 0)
		return -EINVAL;
	n -= auth[size - 1] == '=' ? (auth[size - 2] == '=' ? 2 : 1) : 0;
	plain[n] = '\0';
	colon = strchr((char *)plain, ':');
	if (!colon || strlen((char *)plain) != (size_t)n)
		return -EINVAL;
	*colon = '\0';
	s->user = strdup((char *)plain);
	s->password = strdup(colon + 1);
	explicit_bzero(plain, sizeof(plain));
	return s->user && s->password ? 0 : -ENOMEM;
}

static int take_credentials(const char *file, const char *host, const json_t *o,
	struct weft_registry_settings *s, struct weft_err *err)
{
	const char *auth = json_string_value(json_object_get(o, "auth"));
	int r;

	if (!json_is_object(o))
		return malformed(file, "auths", host, "must be an object", err);
	if (auth && *auth) {
		r = take_auth(auth, s);
		return r < 0 ? malformed(file, "auths", host,
				       "auth must be the base64 of USER:PASSWORD", err)
			     : 0;
	}
	r = take_string(o, "username", &s->user);
	if (r == 0)
		r = take_string(o, "password", &s->password);
	if (r < 0)
		return malformed(file, "auths", host, "username and password must be strings", err);
	if (!s->user != !s->password)
		return malformed(file, "auths", host, "needs username and password", err);
	return 0;
}

static int take_words(const char *file, const char *host, const json_t *o,
	struct weft_registry_settings *s, struct weft_err *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(o))
		return malformed(file, "registries", host, "must be an object", err);
	json_object_foreach ((json_t *)(uintptr_t)o, key, value) {
		if (strcmp(key, "insecure") == 0 && json_is_boolean(value)) {
			s->insecure = json_is_true(value);
		} else if (strcmp(key, "ca") == 0 && json_is_string(value)) {
			s->ca = strdup(json_string_value(value));
			if (!s->ca)
				return weft_err_set(err, ENOMEM, "%s: out of memory", file);
			if (access(s->ca, R_OK) < 0)
				return weft_err_set(err, errno,
					"%s: registries: \"%.200s\": ca %s: %m", file, host, s->ca);
		} else {
			malformed(
				file, "registries", host, "has a key that is not understood", err);
			return weft_err_hint(
				err, "ca: a file of certificates; insecure: true or false");
		}
	}
	return 0;
}

int weft_registry_settings_parse(const char *file, const char *text, size_t size,
	const struct weft_reference *ref, struct weft_registry_settings *ret, struct weft_err *err)
{
	struct weft_registry_settings s = {};
	json_auto_t *o = NULL;
	const json_t *found;
	const char *key;
	json_error_t at;
	int r = 0;

	o = json_loadb(text, size, JSON_REJECT_DUPLICATES, &at);
	if (!json_is_object(o))
		return weft_err_set(err, EINVAL, "%s:%d:%d: %s", file, at.line, at.column,
			o ? "must be a JSON object" : at.text);
	found = find(o, "auths", ref, &key);
	if (found)
		r = take_credentials(file, key, found, &s, err);
	found = r == 0 ? find(o, "registries", ref, &key) : NULL;
	if (found)
		r = take_words(file, key, found, &s, err);
	if (r < 0) {
		weft_registry_settings_done(&s);
		return r;
	}
	*ret = s;
	return 0;
}

int weft_registry_settings_load(const char *file, const struct weft_reference *ref,
	struct weft_registry_settings *ret, struct weft_err *err)
{
	_cleanup_(freep) char *text = NULL;
	struct stat st;
	size_t size;
	int r;

	if (!file || (stat(file, &st) < 0 && errno == ENOENT)) {
		*ret = (struct weft_registry_settings){};
		return 0;
	}
	r = weft_read_file(file, MAX_FILE, &text, &size);
	if (r < 0)
		return weft_err_set(err, r, "registries file %s: %s", file, strerror(-r));
	r = weft_registry_settings_parse(file, text, size, ref, ret, err);
	explicit_bzero(text, size);
	if (r < 0 || !ret->password || !(st.st_mode & 077))
		return r;
	weft_registry_settings_done(ret);
	weft_err_set(
		err, EPERM, "registries file %s: it has passwords, and others may read it", file);
	return weft_err_hint(err, "chmod 600 %s", file);
}

char *weft_registry_basic(const struct weft_registry_settings *s)
{
	_cleanup_(freep) char *plain = weft_strf("%s:%s", s->user, s->password);
	size_t n = plain ? strlen(plain) : 0;
	_cleanup_(freep) char *coded = malloc(n / 3 * 4 + 8);
	char *value;

	if (!plain || !coded)
		return NULL;
	EVP_EncodeBlock((unsigned char *)coded, (const unsigned char *)plain, (int)n);
	value = weft_strf("Basic %s", coded);
	explicit_bzero(plain, n);
	explicit_bzero(coded, strlen(coded));
	return value;
}
