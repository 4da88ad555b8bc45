/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/containerd.h"
#include "tests/lib/ctrd_lab.h"

static const char *missing(struct conf *c)
{
	(void)c;
	return test_ctrd_missing();
}

int main(void)
{
	struct conf_target runc = {
		.name = "runc",
		.virt = WEFT_VIRT_CONTAINER,
		.missing = missing,
		CONF_CONTAINERD,
	};

	runc.exec = !clab_in_chroot();
	return conf_main(&runc);
}
