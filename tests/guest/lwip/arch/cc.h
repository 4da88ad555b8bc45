/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler and the platform, for lwIP. */
#ifndef WEFT_GUEST_LWIP_CC_H
#define WEFT_GUEST_LWIP_CC_H

#include <stdint.h>

#include "guest.h"

#define LWIP_NO_INTTYPES_H 1
#define LWIP_NO_LIMITS_H   1
#define LWIP_NO_UNISTD_H   1
#define LWIP_NO_CTYPE_H    1
#define SSIZE_MAX          INT64_MAX
typedef int64_t ssize_t;

#define X8_F  "02x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "u"
#define S32_F "d"
#define X32_F "x"
#define SZT_F "zu"

#define LWIP_PLATFORM_DIAG(x)   console_printf x
#define LWIP_PLATFORM_ASSERT(x) panic("lwIP: %s", x)

uint32_t netif_port_random(void);
#define LWIP_RAND() netif_port_random()

#endif
