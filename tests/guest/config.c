/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <string.h>

#include "fw_cfg.h"
#include "guest.h"

#define NAME     "opt/weft/guest"
#define MAX_SIZE 1024

static struct fw_cfg_file file;
static char text[MAX_SIZE + 1], last[MAX_SIZE + 1];

void config_init(const struct guest_args *args)
{
	if (fw_cfg_find(NAME, &file) && file.size > 0 && file.size <= MAX_SIZE) {
		/* An address on the command line is this text's already. */
		(void)config_changed();
		return;
	}
	file.size = 0;
	if (args->configured)
		panic("weft.net=fw_cfg, but fw_cfg has no " NAME);
}

bool config_changed(void)
{
	if (!file.size || !fw_cfg_read(&file, text, file.size) ||
		memcmp(text, last, file.size) == 0)
		return false;
	memcpy(last, text, file.size);
	return true;
}

bool config_take(struct guest_args *args)
{
	char why[160];

	if (guest_args_configure(text, args, why, sizeof(why)) < 0)
		panic("%s", why);
	return args->go;
}
