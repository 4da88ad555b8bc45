/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "tests/conformance/containerd.h"

static const char *missing(struct conf *c)
{
	_cleanup_(freep) char *cmd = weft_strf("%s/weft-runsc --version >/dev/null", c->libexec);

	if (test_ctrd_missing())
		return test_ctrd_missing();
	return cmd && system(cmd) == 0 ? NULL : "runsc does not work here";
}

int main(void)
{
	static const struct conf_target runsc = {
		.name = "runsc",
		.virt = WEFT_VIRT_GVISOR,
		.missing = missing,
		CONF_CONTAINERD,
	};

	return conf_main(&runsc);
}
