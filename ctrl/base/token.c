/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/base/token.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/random.h>

int weft_token_new(char ret[WEFT_TOKEN_SIZE])
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint8_t bytes[33] = {0}; /* the last one fills up the last group of three */
	char *p = ret + strlen(WEFT_TOKEN_PREFIX);

	if (getrandom(bytes, 32, 0) != 32)
		return -EIO;
	strcpy(ret, WEFT_TOKEN_PREFIX);
	for (size_t i = 0; i < sizeof(bytes); i += 3) {
		uint32_t v = (uint32_t)(bytes[i] << 16 | bytes[i + 1] << 8 | bytes[i + 2]);

		for (int shift = 18; shift >= 0; shift -= 6)
			*p++ = digits[v >> shift & 63];
	}
	p[-1] = '\0';
	OPENSSL_cleanse(bytes, sizeof(bytes));
	return 0;
}

int weft_token_hash(const char *token, size_t size, uint8_t ret[WEFT_TOKEN_HASH])
{
	return EVP_Digest(token, size, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
}

void weft_token_hex(const uint8_t hash[WEFT_TOKEN_HASH], char ret[WEFT_TOKEN_HEX])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < WEFT_TOKEN_HASH; i++) {
		ret[2 * i] = digits[hash[i] >> 4];
		ret[2 * i + 1] = digits[hash[i] & 15];
	}
	ret[2 * WEFT_TOKEN_HASH] = '\0';
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int weft_token_unhex(const char *hex, uint8_t ret[WEFT_TOKEN_HASH])
{
	uint8_t hash[WEFT_TOKEN_HASH];

	if (strlen(hex) != 2 * sizeof(hash))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(hash); i++) {
		int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		hash[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(ret, hash, sizeof(hash));
	return 0;
}
