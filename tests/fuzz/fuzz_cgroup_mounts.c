/* SPDX-License-Identifier: Apache-2.0 */
/* mountinfo holds names that any container may choose; the parser writes into fixed arrays. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtimes/cgroup_mounts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weft_cgroup_mounts m = {0};
	char *text = malloc(size + 1), *save = NULL;
	char path[64];

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		weft_cgroup_mounts_line(&m, l);
	for (unsigned i = 0; i < m.n; i++)
		if (weft_cgroup_mounts_path(
			    &m.h[i], "weft/a", "cgroup.procs", path, sizeof(path)) == 0 &&
			strlen(path) >= sizeof(path))
			abort();
	free(text);
	return 0;
}
