/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/token.h"
#include "ctrl/base/util.h"
#include "ctrl/cli/cli.h"

static int check(const struct cli *cli, struct weft_err *err)
{
	static const char *const roles[] = {"read", "operate", "admin"};

	if (!weft_name_valid(cli->args[0], 64)) {
		weft_err_set(err, EINVAL, "\"%s\" is no name of a token", cli->args[0]);
		return weft_err_hint(
			err, "letters, digits, '.', '_' and '-', at most 64 characters");
	}
	for (size_t i = 0; cli->role && i < ARRAY_SIZE(roles); i++)
		if (strcmp(cli->role, roles[i]) == 0)
			return 0;
	if (cli->role)
		weft_err_set(err, EINVAL, "--role %s: unknown word", cli->role);
	else
		weft_err_set(err, EINVAL, "what is the token for? --role is missing");
	return weft_err_hint(err, "--role read, operate or admin");
}

int cli_cmd_token_new(struct cli *cli, struct weft_err *err)
{
	_cleanup_(freep) char *text = NULL;
	json_auto_t *entry = NULL;
	char token[WEFT_TOKEN_SIZE], hex[WEFT_TOKEN_HEX];
	uint8_t hash[WEFT_TOKEN_HASH];
	int r = check(cli, err);

	if (r < 0)
		return r;
	r = weft_token_new(token);
	if (r == 0)
		r = weft_token_hash(token, strlen(token), hash);
	if (r < 0)
		return weft_err_set(err, r, "no token could be made: %s", strerror(-r));
	weft_token_hex(hash, hex);
	entry = json_pack(
		"{s:s, s:s, s:s}", "name", cli->args[0], "role", cli->role, "sha256", hex);
	text = json_dumps(entry, 0);
	if (!text)
		return -ENOMEM;
	fprintf(cli->io.out, "%s\n%s\n", token, text);
	explicit_bzero(token, sizeof(token));
	if (cli->tty)
		cli_say(cli, "The first line is the token: keep it, it is not stored anywhere. The "
			     "second belongs into the list \"tokens\" of weftd's --tokens file; "
			     "then: systemctl reload weftd, or SIGHUP");
	return 0;
}
