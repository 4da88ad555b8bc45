/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/schema.h"

#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/util.h"

const json_t *schema_resolve(const json_t *root, const json_t *s)
{
	const char *ref = json_string_value(json_object_get(s, "$ref"));

	if (!ref)
		return s;
	assert_int_equal(strncmp(ref, "#/$defs/", 8), 0);
	s = json_object_get(json_object_get(root, "$defs"), ref + 8);
	assert_non_null(s);
	return s;
}

static bool has_type(const json_t *v, const char *type)
{
	if (strcmp(type, "object") == 0)
		return json_is_object(v);
	if (strcmp(type, "array") == 0)
		return json_is_array(v);
	if (strcmp(type, "string") == 0)
		return json_is_string(v);
	if (strcmp(type, "boolean") == 0)
		return json_is_boolean(v);
	return strcmp(type, "integer") == 0 ? json_is_integer(v) : json_is_number(v);
}

static bool matches(const char *pattern, const json_t *v)
{
	regex_t re;
	bool hit;

	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	hit = regexec(&re, json_string_value(v), 0, NULL, 0) == 0;
	regfree(&re);
	return hit;
}

static bool any_equal(const json_t *list, const json_t *v)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (json_equal(json_array_get(list, i), v))
			return true;
	return false;
}

static bool all_items(const json_t *root, const json_t *s, const json_t *v)
{
	for (size_t i = 0; i < json_array_size(v); i++)
		if (!schema_valid(root, s, json_array_get(v, i)))
			return false;
	return true;
}

static bool all_properties(const json_t *root, const json_t *properties, const json_t *v)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)v, key, value) {
		const json_t *s = json_object_get(properties, key);

		if (s && !schema_valid(root, s, value))
			return false;
	}
	return true;
}

static bool all_required(const json_t *names, const json_t *v)
{
	for (size_t i = 0; i < json_array_size(names); i++)
		if (!json_object_get(v, json_string_value(json_array_get(names, i))))
			return false;
	return true;
}

static bool keyword(const json_t *root, const char *k, const json_t *arg, const json_t *v)
{
	static const char *const notes[] = {
		"$schema", "$id", "$defs", "title", "description", "default", "uniqueItems"};

	for (size_t i = 0; i < ARRAY_SIZE(notes); i++)
		if (strcmp(k, notes[i]) == 0)
			return true;
	if (strcmp(k, "type") == 0)
		return has_type(v, json_string_value(arg));
	if (strcmp(k, "const") == 0)
		return json_equal(arg, v);
	if (strcmp(k, "enum") == 0)
		return any_equal(arg, v);
	if (strcmp(k, "pattern") == 0)
		return matches(json_string_value(arg), v);
	if (strcmp(k, "maxLength") == 0)
		return (json_int_t)json_string_length(v) <= json_integer_value(arg);
	if (strcmp(k, "minimum") == 0)
		return json_number_value(v) >= json_number_value(arg);
	if (strcmp(k, "maximum") == 0)
		return json_number_value(v) <= json_number_value(arg);
	if (strcmp(k, "minItems") == 0)
		return (json_int_t)json_array_size(v) >= json_integer_value(arg);
	if (strcmp(k, "maxItems") == 0)
		return (json_int_t)json_array_size(v) <= json_integer_value(arg);
	if (strcmp(k, "items") == 0)
		return all_items(root, arg, v);
	if (strcmp(k, "properties") == 0)
		return all_properties(root, arg, v);
	if (strcmp(k, "required") == 0)
		return all_required(arg, v);
	fail_msg("the schema uses %s, which this test does not know", k);
	return false;
}

bool schema_valid(const json_t *root, const json_t *s, const json_t *v)
{
	const char *k;
	json_t *arg;

	json_object_foreach ((json_t *)schema_resolve(root, s), k, arg)
		if (!keyword(root, k, arg, v))
			return false;
	return true;
}
