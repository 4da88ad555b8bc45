/* SPDX-License-Identifier: Apache-2.0 */
/* ctrl/schema/sla.schema.json and the parser's tables say the same, and the schema accepts what
 * the parser accepts. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "sched/sla_internal.h"
#include "tests/lib/schema.h"

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
		p = schema_resolve(schema, p);
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

/* --- samples
 * -------------------------------------------------------------------------------------- */

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
			if (!schema_valid(schema, schema, v))
				print_message("%s\n", path);
			assert_true(schema_valid(schema, schema, v));
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
		assert_false(schema_valid(schema, schema, v));
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
