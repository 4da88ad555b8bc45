/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/containerd.h"

static const char *missing(struct conf *c)
{
	(void)c;
	return test_ctrd_missing();
}

int main(void)
{
	static const struct conf_target runc = {
		.name = "runc",
		.virt = WEFT_VIRT_CONTAINER,
		.missing = missing,
		CONF_CONTAINERD,
	};

	return conf_main(&runc);
}
