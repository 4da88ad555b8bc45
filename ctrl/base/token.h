/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens of the API: whoever has one is let in, so that only their SHA-256 is kept anywhere. */
#ifndef WEFT_BASE_TOKEN_H
#define WEFT_BASE_TOKEN_H

#include <stddef.h>
#include <stdint.h>

#define WEFT_TOKEN_PREFIX "weft_" /* so that scanners for secrets recognise one */
#define WEFT_TOKEN_SIZE   (5 + 43 + 1)
#define WEFT_TOKEN_HASH   32
#define WEFT_TOKEN_HEX    (2 * WEFT_TOKEN_HASH + 1)

/* 32 bytes of the kernel's randomness, as base64url behind the prefix. */
int weft_token_new(char ret[WEFT_TOKEN_SIZE]);
int weft_token_hash(const char *token, size_t size, uint8_t ret[WEFT_TOKEN_HASH]);
void weft_token_hex(const uint8_t hash[WEFT_TOKEN_HASH], char ret[WEFT_TOKEN_HEX]);
/* 64 hexadecimal digits, lower case. -EINVAL. */
int weft_token_unhex(const char *hex, uint8_t ret[WEFT_TOKEN_HASH]);

#endif
