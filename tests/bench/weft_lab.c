/* SPDX-License-Identifier: Apache-2.0 */
/* Set up weft's data plane in this network namespace as weftd would, and leave it: a client and
 * three services, of a container, of a guest on a macvtap and of one on a tap.
 *   weft_lab NETNS-DIR BPFFS-DIR TAP
 * TAP exists already. Instance n has 10.18.0.n, 02:00:00:00:00:n and the instance
 * address 10.30.1.n; service n has 10.30.0.n. */
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dataplane.h"
#include "ctrl/dataplane/link.h"
#include "tests/bench/bench.h"

#define MTU     1500
#define GATEWAY 0x0a1200fe

enum {
	CLIENT = 1,
	CONTAINER,
	MACVTAP,
	TAP,
};

static struct weft_err error;

static void must(int r)
{
	if (r < 0)
		errx(1, "%s", error.msg);
}

static struct weft_dp_instance instance(uint32_t n, uint32_t service)
{
	return (struct weft_dp_instance){
		.id = n,
		.service = service,
		.ns_addr.s_addr = htonl(0x0a120000 + n),
		.inst_addr.s_addr = htonl(0x0a1e0100 + n),
		.mac = {2, 0, 0, 0, 0, (uint8_t)n},
		.device = WEFT_DP_DEV_PEER,
	};
}

/* A namespace with eth0. The guest on a macvtap owns the address, and its macvtap the hardware
 * address that packets are sent to. */
static void add_veth(
	const char *netns_dir, const char *name, struct weft_dp_instance *inst, bool guest)
{
	char path[256], host[16];
	struct weft_link_veth veth = {
		.host_name = host,
		.netns = path,
		.peer_name = "eth0",
		.prefix_len = 24,
		.gateway.s_addr = htonl(GATEWAY),
		.mtu = MTU,
	};

	snprintf(path, sizeof(path), "%s/%s", netns_dir, name);
	snprintf(host, sizeof(host), "v%u", inst->id);
	memcpy(veth.mac, inst->mac, sizeof(veth.mac));
	veth.mac[4] = guest;
	if (!guest)
		veth.addr = inst->ns_addr;
	must(weft_netns_add(path, &error));
	must(weft_link_veth_add(&veth, &inst->ifindex, &error));
}

static void add_service(struct weft_dp *dp, const struct weft_dp_instance *backend)
{
	const struct weft_dp_weight weight = {.instance = backend->id, .weight = 1};
	const struct weft_dp_service service = {
		.id = backend->service,
		.vip[WEFT_DP_RR] = {htonl(0x0a1e0000 + backend->service)},
	};

	must(weft_dp_service_set(dp, &service, &error));
	must(weft_dp_instance_set(dp, backend, &error));
	must(weft_dp_service_weights(dp, service.id, WEFT_DP_RR, &weight, 1, &error));
}

int main(int argc, char **argv)
{
	struct weft_dp_instance client = instance(CLIENT, 0), container = instance(CONTAINER, 1),
				macvtap = instance(MACVTAP, 2), tap = instance(TAP, 3);
	struct weft_dp_config config = {.mtu = MTU};
	struct weft_dp *dp;

	if (argc != 4)
		errx(2, "usage: weft_lab NETNS-DIR BPFFS-DIR TAP");
	config.bpffs_dir = argv[2];
	add_veth(argv[1], "weft-c", &client, false);
	add_veth(argv[1], "weft-s", &container, false);
	add_veth(argv[1], "weft-m", &macvtap, true);
	if (weft_link_ifindex(argv[3], &tap.ifindex) < 0)
		errx(1, "%s: no such device", argv[3]);
	tap.device = WEFT_DP_DEV_DIRECT;

	must(weft_dp_open(&config, &dp, &error));
	must(weft_dp_instance_set(dp, &client, &error));
	add_service(dp, &container);
	add_service(dp, &macvtap);
	add_service(dp, &tap);
	printf("%s\n", weft_dp_hook(dp));
	weft_dp_free(dp); /* what is pinned stays */
	return 0;
}
