/* SPDX-License-Identifier: Apache-2.0 */
#include <langinfo.h>
#include <locale.h>
#include <string.h>

#include "ctrl/cli/cli.h"

int main(int argc, char *argv[])
{
	struct cli_io io = {.in = stdin, .out = stdout, .err = stderr, .root = ""};

	setlocale(LC_CTYPE, "");
	io.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	return weft_cli(argc, argv, &io);
}
