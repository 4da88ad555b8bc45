/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/native.h"

int main(void)
{
	static const struct conf_target native = {
		.name = "native",
		.ops = &weft_runtime_native,
		CONF_NATIVE,
	};

	return conf_main(&native);
}
