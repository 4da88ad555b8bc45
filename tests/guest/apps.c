/* SPDX-License-Identifier: Apache-2.0 */
#include "apps.h"

static const struct {
	uint16_t port;
	void (*start)(const struct guest_args *args, uint16_t port);
} apps[] = {
	{80, app_http_start},
	{7, app_echo_tcp_start},
	{7, app_echo_udp_start},
};

void apps_start(const struct guest_args *args)
{
	for (unsigned i = 0; i < sizeof(apps) / sizeof(apps[0]); i++)
		apps[i].start(args, apps[i].port);
}

void apps_rename(const struct guest_args *args)
{
	app_http_rename(args);
}
