/* SPDX-License-Identifier: Apache-2.0 */
/* The manuals of the descriptor and of the configuration, and what the parsers know: the same keys,
 * so that none is added, renamed or removed without a word about it. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/daemon/config.c"
#include "ctrl/daemon/options.c"
#include "ctrl/daemon/options_net.c"
#include "sched/sla_internal.h"
#include "tests/lib/schema.h"

#define PAGE      "ctrl/man/weft-descriptor.5"
#define CONF_PAGE "ctrl/man/weftd.conf.5"
#define ITEMS_MAX 200

/* What the manual says of a key: text without macros, and an example as JSON. */
struct item {
	char section[40], key[40], text[1024], example[512];
	unsigned examples;
};

static struct item items[ITEMS_MAX];
static size_t n_items;
static json_t *schema;

static const struct {
	const char *section, *more, *def; /* more: its other section, or NULL */
	const struct sla_keys *keys;
} objects[] = {
	{"The descriptor", NULL, NULL, &sla_root_keys},
	{"Application", NULL, "application", &sla_application_keys},
	{"Microservice", "Microservice and variant", "microservice", &sla_microservice_keys},
	{"Microservice and variant", NULL, "variant", &sla_variant_keys},
	{"Volume", NULL, "volume", &sla_volume_keys},
	{"Addresses", NULL, "addresses", &sla_addresses_keys},
	{"Constraint", NULL, "constraint", &sla_constraint_keys},
	{"Readiness", NULL, "readiness", &sla_readiness_keys},
	{"Liveness", NULL, "liveness", &sla_liveness_keys},
	{"Handover", NULL, "handover", &sla_handover_keys},
	{"Swap", NULL, "swap", &sla_swap_keys},
	{"Guard", NULL, "guard", &sla_guard_keys},
};

/* --- the page ------------------------------------------------------------------------------------
 */

static void append(char *buf, size_t size, const char *text)
{
	size_t n = strlen(buf);

	assert_true(n + strlen(text) + 2 < size);
	snprintf(buf + n, size - n, "%s%s", n ? " " : "", text);
}

/* roff's escapes of a quote and of a backslash */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (strncmp(s, "\\(dq", 4) == 0) {
			*to++ = '"';
			s += 3;
		} else if (strncmp(s, "\\e", 2) == 0) {
			*to++ = '\\';
			s++;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

static void read_line(char *line, char section[40], struct item **item)
{
	if (strncmp(line, ".Ss ", 4) == 0) {
		snprintf(section, 40, "%.39s", line + 4);
		*item = NULL;
	} else if (strncmp(line, ".It Cm ", 7) == 0 && *section) {
		assert_true(n_items < ITEMS_MAX);
		*item = &items[n_items++];
		snprintf((*item)->section, 40, "%s", section);
		snprintf((*item)->key, 40, "%.39s", line + 7);
	} else if (strncmp(line, ".El", 3) == 0) {
		*item = NULL;
	} else if (strncmp(line, ".Sh ", 4) == 0) {
		*section = '\0';
		*item = NULL;
	} else if (*item && strncmp(line, ".Dl ", 4) == 0) {
		unescape(line);
		append((*item)->example, sizeof((*item)->example), line + 4);
		(*item)->examples++;
	} else if (*item) {
		append((*item)->text, sizeof((*item)->text), *line == '.' ? line + 4 : line);
	}
}

static int read_page(void **state)
{
	_cleanup_(freep) char *page = NULL;
	char section[40] = "", *rest, *line;
	struct item *item = NULL;

	(void)state;
	schema = json_load_file("ctrl/schema/sla.schema.json", 0, NULL);
	if (!schema || weft_read_file(PAGE, 1 << 20, &page, NULL) < 0)
		return -1;
	for (rest = page; (line = strsep(&rest, "\n"));)
		read_line(line, section, &item);
	return 0;
}

static int free_page(void **state)
{
	(void)state;
	json_decref(schema);
	return 0;
}

static struct item *find_item(size_t object, const char *key)
{
	for (size_t i = 0; i < n_items; i++)
		if (strcmp(items[i].key, key) == 0 &&
			(strcmp(items[i].section, objects[object].section) == 0 ||
				(objects[object].more &&
					strcmp(items[i].section, objects[object].more) == 0)))
			return &items[i];
	return NULL;
}

static bool word_char(char c)
{
	return isalnum((uint8_t)c) || c == '_';
}

/* As a word of its own. */
static bool says(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = strstr(text, word); p; p = strstr(p + 1, word))
		if ((p == text || !word_char(p[-1])) && !word_char(p[n]))
			return true;
	return false;
}

/* --- the descriptor's keys -----------------------------------------------------------------------
 */

static void test_manual_has_every_key(void **state)
{
	unsigned missing = 0;

	(void)state;
	for (size_t o = 0; o < ARRAY_SIZE(objects); o++)
		for (size_t k = 0; k < objects[o].keys->n; k++) {
			const char *key = objects[o].keys->keys[k].name;

			if (find_item(o, key))
				continue;
			print_message("%s: %s: no word about %s\n", PAGE, objects[o].section, key);
			missing++;
		}
	assert_int_equal(missing, 0);
}

static void test_manual_has_no_other_key(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_items; i++) {
		bool known = false;

		for (size_t o = 0; o < ARRAY_SIZE(objects) && !known; o++)
			known = find_item(o, items[i].key) == &items[i] &&
				sla_find_key(objects[o].keys, items[i].key);
		if (!known)
			fail_msg("%s: %s: %s is no key, or is there twice", PAGE, items[i].section,
				items[i].key);
	}
}

static const json_t *property(size_t object, const char *key)
{
	const json_t *def = objects[object].def ? json_object_get(json_object_get(schema, "$defs"),
							  objects[object].def)
						: schema;

	return json_object_get(json_object_get(def, "properties"), key);
}

static void check_word(const struct item *item, const char *word)
{
	if (!says(item->text, word))
		fail_msg("%s: %s: %s: does not say %s", PAGE, item->section, item->key, word);
}

static void check_value(const struct item *item, const json_t *value)
{
	char number[32];

	if (!value)
		return;
	snprintf(number, sizeof(number), "%.15g", json_number_value(value));
	check_word(item, json_is_string(value)    ? json_string_value(value)
			 : json_is_boolean(value) ? (json_is_true(value) ? "true" : "false")
						  : number);
}

/* Its limits and its default, and those of its elements. */
static void check_limits(const struct item *item, const json_t *p)
{
	static const char *const limits[] = {
		"minimum", "maximum", "default", "maxLength", "maxItems", "const"};
	const json_t *word;
	size_t i;

	p = schema_resolve(schema, p);
	for (i = 0; i < ARRAY_SIZE(limits); i++)
		check_value(item, json_object_get(p, limits[i]));
	json_array_foreach (json_object_get(p, "enum"), i, word)
		check_value(item, word);
	if (json_object_get(p, "items"))
		check_limits(item, json_object_get(p, "items"));
}

static void test_manual_has_types_and_limits(void **state)
{
	static const char *const types[] = {
		[SLA_STRING] = "String",
		[SLA_INTEGER] = "Integer",
		[SLA_NUMBER] = "Number",
		[SLA_BOOL] = "Boolean",
		[SLA_STRINGS] = "List of strings",
		[SLA_ARRAY] = "List of",
		[SLA_OBJECT] = "Object",
	};

	(void)state;
	for (size_t o = 0; o < ARRAY_SIZE(objects); o++)
		for (size_t k = 0; k < objects[o].keys->n; k++) {
			const struct sla_key *key = &objects[o].keys->keys[k];
			const struct item *item = find_item(o, key->name);

			assert_non_null(item);
			if (strncmp(item->text, types[key->kind], strlen(types[key->kind])) != 0)
				fail_msg("%s: %s: %s is no %s", PAGE, item->section, key->name,
					types[key->kind]);
			if (key->need == SLA_REQUIRED)
				check_word(item, "required");
			if (key->need == SLA_IGNORED)
				check_word(item, "no effect");
			else if (!says(item->text, "no effect"))
				check_limits(item, property(o, key->name));
		}
}

/* Each example is a member of its object, as the schema has it. */
static void test_examples_of_keys(void **state)
{
	(void)state;
	for (size_t o = 0; o < ARRAY_SIZE(objects); o++)
		for (size_t k = 0; k < objects[o].keys->n; k++) {
			const char *key = objects[o].keys->keys[k].name;
			const struct item *item = find_item(o, key);
			_cleanup_(freep) char *text = NULL;
			json_auto_t *v = NULL;

			assert_non_null(item);
			if (says(item->text, "no effect"))
				continue;
			text = weft_strf("{%s}", item->example);
			v = json_loads(text, 0, NULL);
			if (item->examples != 1 || json_object_size(v) != 1 ||
				!json_object_get(v, key) ||
				!schema_valid(schema, property(o, key), json_object_get(v, key)))
				fail_msg("%s: %s: %s: its example is none: %s", PAGE, item->section,
					key, item->example);
		}
}

/* Those at the end are whole descriptors without a key that does nothing. */
static void test_whole_examples(void **state)
{
	_cleanup_(freep) char *page = NULL;
	unsigned n = 0;
	char *p;

	(void)state;
	assert_true(weft_read_file(PAGE, 1 << 20, &page, NULL) >= 0);
	p = strstr(page, ".Sh EXAMPLES");
	assert_non_null(p);
	while ((p = strstr(p, ".Bd "))) {
		char *text = strchr(p, '\n') + 1, *end = strstr(text, ".Ed");
		struct weft_err e = {0};
		struct weft_sla *sla;

		if (weft_sla_parse(PAGE, text, (size_t)(end - text), &sla, &e) < 0)
			fail_msg("example %u: %s", n + 1, e.msg);
		assert_int_equal(sla->n_ignored, 0);
		weft_sla_free(sla);
		n++;
		p = end;
	}
	assert_int_equal(n, 2);
}

/* --- the configuration's keys --------------------------------------------------------------------
 */

static void setting_key(const struct option *o, char key[40])
{
	snprintf(key, 40, "%s", o->name);
	for (char *p = key; (p = strchr(p, '-'));)
		*p = '_';
}

static void test_every_setting(void **state)
{
	_cleanup_(freep) char *page = NULL;
	unsigned n = 0;

	(void)state;
	assert_true(weft_read_file(CONF_PAGE, 1 << 20, &page, NULL) >= 0);
	for (const struct option *o = longopts; o->val < OPT_IN_FILE; o++, n++) {
		char key[40], macro[48];

		setting_key(o, key);
		snprintf(macro, sizeof(macro), "\n.Cm %s", key);
		if (!says(page, macro))
			fail_msg("%s: no word about %s", CONF_PAGE, key);
	}
	assert_true(n > 20);
}

static void test_no_other_setting(void **state)
{
	_cleanup_(freep) char *page = NULL;
	char *rest, *line;
	unsigned n = 0;

	(void)state;
	assert_true(weft_read_file(CONF_PAGE, 1 << 20, &page, NULL) >= 0);
	for (rest = page; (line = strsep(&rest, "\n"));) {
		if (strncmp(line, ".Cm ", 4) != 0)
			continue;
		line[4 + strcspn(line + 4, " ")] = '\0';
		if (options_setting(line + 4) < 0)
			fail_msg("%s: %s is no setting", CONF_PAGE, line + 4);
		n++;
	}
	assert_true(n > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_manual_has_every_key),
		cmocka_unit_test(test_manual_has_no_other_key),
		cmocka_unit_test(test_manual_has_types_and_limits),
		cmocka_unit_test(test_examples_of_keys),
		cmocka_unit_test(test_whole_examples),
		cmocka_unit_test(test_every_setting),
		cmocka_unit_test(test_no_other_setting),
	};

	return cmocka_run_group_tests(tests, read_page, free_page);
}
