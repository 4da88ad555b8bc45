/* SPDX-License-Identifier: Apache-2.0 */
/* weftd's file of tokens: it is taken, or refused with a position; what it lets in has a name. The
 * first line is a token that is looked for, the rest the file. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/tokens.h"
#include "ctrl/base/token.h"
#include "ctrl/base/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, '\n', size);
	struct weft_tokens *tokens = NULL;
	struct weft_err err = {0};
	const char *name = NULL;
	enum weft_api_role role;
	char token[200] = "";
	int r;

	if (!end || (size_t)(end - data) >= sizeof(token))
		return 0;
	memcpy(token, data, (size_t)(end - data));
	end++;
	r = weft_tokens_parse("f", (const char *)end, size - (size_t)(end - data), &tokens, &err);
	if (r < 0 && (tokens || (strncmp(err.msg, "f:", 2) != 0 && r != -ENOMEM)))
		abort();
	role = weft_tokens_find(tokens, token, &name);
	if ((role != WEFT_API_NOBODY) != (name != NULL) || role > WEFT_API_ADMIN)
		abort();
	if (name && !weft_name_valid(name, WEFT_TOKEN_NAME_MAX))
		abort();
	weft_tokens_free(tokens);
	return 0;
}
