/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_GUEST_STDLIB_H
#define WEFT_GUEST_STDLIB_H

#include <stddef.h>

int atoi(const char *s);

#endif
