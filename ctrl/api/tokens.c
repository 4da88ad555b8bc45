/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/api/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>

#include "ctrl/base/jsonpos.h"
#include "ctrl/base/log.h"
#include "ctrl/base/token.h"
#include "ctrl/base/util.h"

struct token {
	char name[WEFT_TOKEN_NAME_MAX + 1];
	enum weft_api_role role;
	uint8_t hash[WEFT_TOKEN_HASH];
};

struct weft_tokens {
	size_t n;
	struct token list[];
};

static const char *const roles[] = {
	[WEFT_API_NOBODY] = "nobody",
	[WEFT_API_READ] = "read",
	[WEFT_API_OPERATE] = "operate",
	[WEFT_API_ADMIN] = "admin",
};

const char *weft_api_role_name(enum weft_api_role role)
{
	return roles[role];
}

/* The text, and what errors are about. */
struct file {
	const char *name, *text;
	size_t size;
};

static int bad(const struct file *f, const char *path, const char *what, struct weft_err *err)
{
	struct weft_jsonpos pos = {0, 1, 1};

	weft_jsonpos_value(f->text, f->size, path, &pos);
	weft_err_set(err, EINVAL, "%s:%u:%u: %s", f->name, pos.line, pos.column, what);
	return weft_err_hint(err, "weft token new NAME --role ROLE prints an entry");
}

static int check_keys(const struct file *f, const json_t *object, const char *path,
	const char *const *keys, struct weft_err *err)
{
	char what[120], at[160];
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)object, key, value) {
		size_t i = 0;

		while (keys[i] && strcmp(keys[i], key) != 0)
			i++;
		if (keys[i])
			continue;
		snprintf(at, sizeof(at), "%s", path);
		weft_jsonpath_member(at, sizeof(at), key);
		snprintf(what, sizeof(what), "unknown key \"%.60s\"", key);
		return bad(f, at, what, err);
	}
	return 0;
}

static int take_role(const char *word, enum weft_api_role *ret)
{
	for (int role = WEFT_API_READ; role <= WEFT_API_ADMIN; role++)
		if (word && strcmp(word, roles[role]) == 0) {
			*ret = (enum weft_api_role)role;
			return 0;
		}
	return -EINVAL;
}

static int take_token(const struct file *f, const json_t *entry, const char *path,
	const struct weft_tokens *before, struct token *ret, struct weft_err *err)
{
	static const char *const keys[] = {"name", "role", "sha256", NULL};
	const char *name = json_string_value(json_object_get(entry, "name"));
	const char *hex = json_string_value(json_object_get(entry, "sha256"));
	int r;

	if (!json_is_object(entry))
		return bad(f, path, "must be an object with name, role and sha256", err);
	r = check_keys(f, entry, path, keys, err);
	if (r < 0)
		return r;
	if (!name || !weft_name_valid(name, WEFT_TOKEN_NAME_MAX))
		return bad(f, path,
			"name must be of letters, digits, '.', '_' and '-', at most 64 of them",
			err);
	if (take_role(json_string_value(json_object_get(entry, "role")), &ret->role) < 0)
		return bad(f, path, "role must be read, operate or admin", err);
	if (!hex || weft_token_unhex(hex, ret->hash) < 0)
		return bad(f, path, "sha256 must be 64 hexadecimal digits, in lower case", err);
	strcpy(ret->name, name);
	for (size_t i = 0; i < before->n; i++) {
		if (strcmp(before->list[i].name, name) == 0)
			return bad(f, path, "another token has this name already", err);
		if (memcmp(before->list[i].hash, ret->hash, sizeof(ret->hash)) == 0)
			return bad(f, path, "this token is there already", err);
	}
	return 0;
}

static int take_all(
	const struct file *f, json_t *doc, struct weft_tokens **ret, struct weft_err *err)
{
	static const char *const keys[] = {"tokens", NULL};
	_cleanup_(weft_tokens_freep) struct weft_tokens *t = NULL;
	json_t *list = json_object_get(doc, "tokens"), *entry;
	size_t i;
	int r;

	if (!json_is_object(doc))
		return bad(f, "", "must be an object with the key tokens", err);
	r = check_keys(f, doc, "", keys, err);
	if (r < 0)
		return r;
	if (!json_is_array(list))
		return bad(f, list ? "tokens" : "", "tokens must be a list", err);
	if (json_array_size(list) > WEFT_TOKENS_MAX)
		return bad(f, "tokens", "more than 1000 tokens", err);
	t = calloc(1, sizeof(*t) + json_array_size(list) * sizeof(t->list[0]));
	if (!t)
		return weft_err_set(err, ENOMEM, "out of memory");
	json_array_foreach (list, i, entry) {
		char path[32];

		snprintf(path, sizeof(path), "tokens[%zu]", i);
		r = take_token(f, entry, path, t, &t->list[t->n], err);
		if (r < 0)
			return r;
		t->n++;
	}
	*ret = TAKE_PTR(t);
	return 0;
}

int weft_tokens_parse(const char *path, const char *text, size_t size, struct weft_tokens **ret,
	struct weft_err *err)
{
	struct file f = {path, text, size};
	json_error_t e;
	json_auto_t *doc = json_loadb(text, size, JSON_REJECT_DUPLICATES, &e);

	if (!doc) {
		weft_err_set(err, EINVAL, "%s:%d:%d: %s", path, e.line > 0 ? e.line : 1,
			e.column > 0 ? e.column : 1, e.text);
		return weft_err_hint(err, "{ \"tokens\": [ ... ] }, see weftd(8)");
	}
	return take_all(&f, doc, ret, err);
}

/* Whoever can write the file can let himself in. Who can read it learns names and roles, but no
 * token: that is said, and no reason not to serve. */
static int check_owner(const char *path, struct weft_err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return weft_err_set(err, errno, "tokens %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return weft_err_set(err, EINVAL, "tokens %s: it is no file", path);
	if ((st.st_uid == 0 || st.st_uid == geteuid()) && !(st.st_mode & 022)) {
		if (st.st_mode & 004)
			log_warning(
				"tokens %s: everybody can read the names and roles in it; hint: "
				"chmod 600 %s",
				path, path);
		return 0;
	}
	weft_err_set(err, EPERM, "tokens %s: others than root could write it", path);
	return weft_err_hint(err, "chown root %s; chmod 600 %s", path, path);
}

int weft_tokens_load(const char *path, struct weft_tokens **ret, struct weft_err *err)
{
	_cleanup_(freep) char *text = NULL;
	size_t size = 0;
	int r = check_owner(path, err);

	if (r < 0)
		return r;
	r = weft_read_file(path, WEFT_TOKENS_FILE, &text, &size);
	if (r < 0)
		return weft_err_set(err, r, "tokens %s: %s", path, strerror(-r));
	return weft_tokens_parse(path, text, size, ret, err);
}

void weft_tokens_free(struct weft_tokens *t)
{
	free(t);
}

enum weft_api_role weft_tokens_find(
	const struct weft_tokens *t, const char *token, const char **ret_name)
{
	const struct token *found = NULL;
	uint8_t hash[WEFT_TOKEN_HASH];

	if (weft_token_hash(token, strlen(token), hash) < 0)
		return WEFT_API_NOBODY;
	for (size_t i = 0; t && i < t->n; i++)
		if (CRYPTO_memcmp(t->list[i].hash, hash, sizeof(hash)) == 0)
			found = &t->list[i];
	if (!found)
		return WEFT_API_NOBODY;
	*ret_name = found->name;
	return found->role;
}
