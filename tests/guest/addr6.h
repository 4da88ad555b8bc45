/* SPDX-License-Identifier: Apache-2.0 */
/* IPv6 addresses as text (RFC 4291, 5952). Compiles hosted as well, for tests. */
#ifndef WEFT_GUEST_ADDR6_H
#define WEFT_GUEST_ADDR6_H

#include <stdbool.h>
#include <stdint.h>

#define ADDR6_TEXT_SIZE 40

/* Returns where the address ends that begins at p, NULL if there is none; nothing at or behind end
 * is read. No IPv4 in its last words. */
const char *addr6_parse(const char *p, const char *end, uint8_t ret[static 16]);

/* Returns text. */
const char *addr6_format(const uint8_t addr[static 16], char text[static ADDR6_TEXT_SIZE]);

/* ::, which is nobody's */
bool addr6_is_none(const uint8_t addr[static 16]);

#endif
