/* SPDX-License-Identifier: Apache-2.0 */
/* JSON values against a JSON schema. It knows the keywords that weft's schemas use, no more: one
 * that it does not know fails the test. */
#ifndef WEFT_TESTS_LIB_SCHEMA_H
#define WEFT_TESTS_LIB_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>

/* s, or what its $ref leads to. */
const json_t *schema_resolve(const json_t *root, const json_t *s);

bool schema_valid(const json_t *root, const json_t *s, const json_t *v);

#endif
