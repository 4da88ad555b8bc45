/* SPDX-License-Identifier: Apache-2.0 */
/* The applications, all started at boot. A new one is a line in apps.c's table. */
#ifndef WEFT_GUEST_APPS_H
#define WEFT_GUEST_APPS_H

#include "args.h"

void apps_start(const struct guest_args *args);
/* It has another name and address now. */
void apps_rename(const struct guest_args *args);

/* HTTP/1.1: / (612 bytes that say who answers) and /healthz. port= overrides the port. */
void app_http_start(const struct guest_args *args, uint16_t port);
void app_http_rename(const struct guest_args *args);

/* RFC 862 */
void app_echo_tcp_start(const struct guest_args *args, uint16_t port);
void app_echo_udp_start(const struct guest_args *args, uint16_t port);

#endif
