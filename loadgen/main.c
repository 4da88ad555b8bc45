/* SPDX-License-Identifier: Apache-2.0 */
#include <locale.h>

#include "loadgen/cli.h"

int main(int argc, char **argv)
{
	setlocale(LC_CTYPE, ""); /* only: numbers are read and written with a point */
	return load_main(argc, argv, stdout, stderr);
}
