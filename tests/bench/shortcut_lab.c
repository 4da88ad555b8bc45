/* SPDX-License-Identifier: Apache-2.0 */
/* Like weft_lab, but two containers alone, whose sockets take the shortcut.
 *   shortcut_lab NETNS-DIR BPFFS-DIR
 *   shortcut_lab check BPFFS-DIR    says why it can not be, if so
 * The client is in NETNS-DIR/shortcut-c, the backend of 10.30.0.1 in NETNS-DIR/shortcut-s. */
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dataplane.h"
#include "ctrl/dataplane/link.h"
#include "ctrl/dataplane/sockmap.h"
#include "tests/bench/bench.h"

#define GATEWAY 0x0a1200fe
#define VIP     0x0a1e0001
#define SERVICE 1

static struct weft_err error;

static void must(int r)
{
	if (r < 0)
		errx(1, "%s", error.msg);
}

static void add(
	struct weft_dp *dp, const char *netns_dir, const char *name, uint32_t n, uint32_t service)
{
	struct weft_dp_instance inst = {
		.id = n,
		.service = service,
		.ns_addr.s_addr = htonl(0x0a120000 + n),
		.inst_addr.s_addr = htonl(0x0a1e0100 + n),
		.mac = {2, 0, 0, 0, 0, (uint8_t)n},
		.device = WEFT_DP_DEV_PEER,
	};
	char path[256], host[16];
	struct weft_link_veth veth = {
		.host_name = host,
		.netns = path,
		.peer_name = "eth0",
		.addr = inst.ns_addr,
		.prefix_len = 24,
		.gateway.s_addr = htonl(GATEWAY),
		.mtu = 1500,
	};

	snprintf(path, sizeof(path), "%s/%s", netns_dir, name);
	snprintf(host, sizeof(host), "v%u", n);
	memcpy(veth.mac, inst.mac, sizeof(veth.mac));
	must(weft_netns_add(path, &error));
	must(weft_link_veth_add(&veth, &inst.ifindex, &error));
	must(weft_dp_instance_set(dp, &inst, &error));
	must(weft_dp_shortcut_netns(dp, n, path, &error));
}

int main(int argc, char **argv)
{
	const struct weft_dp_service service = {
		.id = SERVICE, .vip[WEFT_DP_WRR].s_addr = htonl(VIP)};
	const struct weft_dp_weight weight = {.instance = 2, .weight = 1};
	struct weft_dp_config config = {0};
	struct weft_dp *dp;

	if (argc != 3)
		errx(2, "usage: shortcut_lab NETNS-DIR|check BPFFS-DIR");
	config.bpffs_dir = argv[2];
	must(weft_dp_open(&config, &dp, &error));
	if (strcmp(argv[1], "check") == 0) {
		must(weft_dp_shortcut_supported(dp, &error));
		weft_dp_free(dp);
		must(weft_dp_destroy(argv[2], &error));
		return 0;
	}
	must(weft_dp_service_set(dp, &service, &error));
	add(dp, argv[1], "shortcut-c", 1, 0);
	add(dp, argv[1], "shortcut-s", 2, SERVICE);
	must(weft_dp_service_weights(dp, SERVICE, WEFT_DP_WRR, &weight, 1, &error));
	must(weft_dp_shortcut_service(dp, SERVICE, true, &error));
	weft_dp_free(dp); /* what is pinned stays */
	return 0;
}
