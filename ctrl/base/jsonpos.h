/* SPDX-License-Identifier: Apache-2.0 */
/* Where a value stands in a JSON text. jansson keeps no positions, so an error found after parsing
 * is located by reading the text a second time, only then.
 *
 * A path is written as people write it: `applications[0].microservices[1].code`; a member whose
 * name is not of [A-Za-z0-9_-] is quoted as JSON: `env["a.b"]`. The empty path is the whole
 * document. */
#ifndef WEFT_BASE_JSONPOS_H
#define WEFT_BASE_JSONPOS_H

#include <stddef.h>

struct weft_jsonpos {
	size_t offset;   /* bytes from the start */
	unsigned line;   /* from 1 */
	unsigned column; /* from 1, in characters (code points), a tab being one */
};

/* Find the value at path, or the name of the member that path ends in. The text is one that a JSON
 * parser accepted (without duplicate names: the first one is found); on any other text the answer
 * is meaningless but safe. -ENOENT: not there; -EINVAL: the path is malformed. */
int weft_jsonpos_value(const char *text, size_t size, const char *path, struct weft_jsonpos *ret);
int weft_jsonpos_name(const char *text, size_t size, const char *path, struct weft_jsonpos *ret);

/* Line and column of a byte; an offset behind the end is taken as the end. */
void weft_jsonpos_at(const char *text, size_t size, size_t offset, struct weft_jsonpos *ret);

/* Append a member or an element to the path in buf. -ENAMETOOLONG: it did not fit, and path is
 * as before. */
int weft_jsonpath_member(char *path, size_t size, const char *name);
int weft_jsonpath_element(char *path, size_t size, size_t index);

#endif
