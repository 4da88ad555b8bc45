/* SPDX-License-Identifier: Apache-2.0 */
/* ctrl/schema/sla.schema.json and the parser's tables say the same, and the schema accepts what
 * the parser accepts. The validator here knows the keywords that the schema uses, no more: one it
 * does not know fails the test. */
#include <dirent.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "sched/sla_internal.h"

#define GOLDEN "tests/golden/sla/"

static json_t *schema;

static int load_schema(void **state)
{
	json_error_t e;

	(void)state;
	schema = json_load_file("ctrl/schema/sla.schema.json", JSON_REJECT_DUPLICATES, &e);
	if (!schema)
		print_message("sla.schema.json:%d: %s\n", e.line, e.text);
	return schema ? 0 : -1;
}

static int free_schema(void **state)
{
	(void)state;
	json_decref(schema);
	return 0;
}

static const json_t *resolve(const json_t *s)
{
	const char *ref = json_string_value(json_object_get(s, "$ref"));

	if (!ref)
		return s;
	assert_int_equal(strncmp(ref, "#/$defs/", 8), 0);
	s = json_object_get(json_object_get(schema, "$defs"), ref + 8);
	assert_non_null(s);
	return s;
}

/* --- the tables
 * ----------------------------------------------------------------------------------- */

/* The word that `type` must have for a kind of the tables. An enum or const stands for a string. */
static const char *type_of(enum sla_kind kind)
{
	switch (kind) {
	case SLA_STRING:
		return "string";
	case SLA_INTEGER:
		return "integer";
	case SLA_NUMBER:
		return "number";
	case SLA_BOOL:
		return "boolean";
	case SLA_STRINGS:
	case SLA_ARRAY:
		return "array";
	case SLA_OBJECT:
		return "object";
	}
	return "";
}

static bool lists(const json_t *array, const char *word)
{
	for (size_t i = 0; i < json_array_size(array); i++)
		if (strcmp(json_string_value(json_array_get(array, i)), word) == 0)
			return true;
	return false;
}

static void compare(const json_t *object, const struct sla_keys *keys)
{
	const json_t *properties = json_object_get(object, "properties");

	assert_int_equal(json_object_size(properties), keys->n);
	for (size_t i = 0; i < keys->n; i++) {
		const struct sla_key *k = &keys->keys[i];
		const json_t *p = json_object_get(properties, k->name);
		const char *type;

		if (!p)
			print_message("%s\n", k->name);
		assert_non_null(p);
		p = resolve(p);
		type = json_string_value(json_object_get(p, "type")) ?: "string";
		assert_string_equal(type, type_of(k->kind));
		assert_int_equal(lists(json_object_get(object, "required"), k->name),
			k->need == SLA_REQUIRED);
	}
}

static const json_t *def(const char *name)
{
	return json_object_get(json_object_get(schema, "$defs"), name);
}

static void test_tables(void **state)
{
	(void)state;
	compare(schema, &sla_root_keys);
	compare(def("application"), &sla_application_keys);
	compare(def("microservice"), &sla_microservice_keys);
	compare(def("variant"), &sla_variant_keys);
	compare(def("addresses"), &sla_addresses_keys);
	compare(def("readiness"), &sla_readiness_keys);
	compare(def("liveness"), &sla_liveness_keys);
	compare(def("handover"), &sla_handover_keys);
	compare(def("swap"), &sla_swap_keys);
	compare(def("volume"), &sla_volume_keys);
	compare(def("guard"), &sla_guard_keys);
	compare(def("constraint"), &sla_constraint_keys);
}

/* --- a small validator
 * ---------------------------------------------------------------------------- */

static bool valid(const json_t *s, const json_t *v);

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

static bool all_items(const json_t *s, const json_t *v)
{
	for (size_t i = 0; i < json_array_size(v); i++)
		if (!valid(s, json_array_get(v, i)))
			return false;
	return true;
}

static bool all_properties(const json_t *properties, const json_t *v)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)v, key, value) {
		const json_t *s = json_object_get(properties, key);

		if (s && !valid(s, value))
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

static bool keyword(const char *k, const json_t *arg, const json_t *v)
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
		return all_items(arg, v);
	if (strcmp(k, "properties") == 0)
		return all_properties(arg, v);
	if (strcmp(k, "required") == 0)
		return all_required(arg, v);
	fail_msg("the schema uses %s, which this test does not know", k);
	return false;
}

static bool valid(const json_t *s, const json_t *v)
{
	const char *k;
	json_t *arg;

	json_object_foreach ((json_t *)resolve(s), k, arg)
		if (!keyword(k, arg, v))
			return false;
	return true;
}

static int is_json(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return n > 5 && strcmp(e->d_name + n - 5, ".json") == 0;
}

/* Every good descriptor is valid. A bad one may be valid, as not every rule fits a schema. */
static void test_samples(void **state)
{
	struct dirent **list;
	int n = scandir(GOLDEN, &list, is_json, alphasort), good = 0;

	(void)state;
	for (int i = 0; i < n; i++) {
		_cleanup_(freep) char *path = weft_strf(GOLDEN "%s", list[i]->d_name);
		json_auto_t *v = json_load_file(path, 0, NULL);

		if (strncmp(list[i]->d_name, "bad-", 4) != 0) {
			if (!valid(schema, v))
				print_message("%s\n", path);
			assert_true(valid(schema, v));
			good++;
		}
		free(list[i]);
	}
	free(list);
	assert_true(good >= 4);
}

static void test_refuses(void **state)
{
	static const char *const bad[] = {"[]", "{}",
		"{\"sla_version\": \"v1.0\", \"customerID\": \"\", \"applications\": [{}]}",
		"{\"sla_version\": \"v2.0\", \"customerID\": \"\", \"applications\": []}",
		"{\"sla_version\": \"v2.0\", \"customerID\": \"\", \"applications\": [{"
		"\"application_name\": \"a b\", \"application_namespace\": \"c\", "
		"\"microservices\": []}]}",
		"{\"sla_version\": \"v2.0\", \"customerID\": \"\", \"applications\": [{"
		"\"application_name\": \"a\", \"application_namespace\": \"c\", "
		"\"microservices\": [{"
		"\"microservice_name\": \"a\", \"microservice_namespace\": \"c\", "
		"\"virtualization\": \"container\", \"port\": \"80;\"}]}]}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		json_auto_t *v = json_loads(bad[i], 0, NULL);

		assert_non_null(v);
		assert_false(valid(schema, v));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, load_schema, free_schema);
}
