/* SPDX-License-Identifier: Apache-2.0 */
/* The fake without a script: as good as what it stands around. */
#include <stdlib.h>

#include "runtimes/fake/fake.h"
#include "tests/conformance/native.h"

int main(void)
{
	static const struct conf_target fake = {
		.name = "fake",
		.ops = &weft_runtime_fake,
		CONF_NATIVE,
	};

	unsetenv("WEFT_FAULTS");
	return conf_main(&fake);
}
