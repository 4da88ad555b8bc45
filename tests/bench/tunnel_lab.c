/* SPDX-License-Identifier: Apache-2.0 */
/* Set up one of two nodes in this network namespace as weftd would, and leave it.
 *   tunnel_lab client|server NETNS BPFFS-DIR UPLINK PEER raw|vxlan auto|native|generic|off
 * NETNS is a file to be made: the namespace of this node's instance. The client calls the service
 * 10.30.0.1, whose only backend is the server, on the other node. Instance n has 10.18.0.n and the
 * instance address 10.30.1.n. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/link.h"
#include "ctrl/dataplane/peer.h"
#include "tests/bench/bench.h"

#define MTU     1450
#define GATEWAY 0x0a1200fe
#define SERVICE 1
#define PEER    1

enum {
	CLIENT = 1,
	SERVER,
};

static struct weft_err error;

static void must(int r)
{
	if (r < 0)
		errx(1, "%s", error.msg);
}

static struct weft_dp_instance instance(uint32_t n)
{
	return (struct weft_dp_instance){
		.id = n,
		.service = n == SERVER ? SERVICE : 0,
		.ns_addr.s_addr = htonl(0x0a120000 + n),
		.inst_addr.s_addr = htonl(0x0a1e0100 + n),
		.mac = {2, 0, 0, 0, 0, (uint8_t)n},
	};
}

static void add_here(struct weft_dp *dp, uint32_t n, const char *netns)
{
	struct weft_dp_instance inst = instance(n);
	char host[16];
	struct weft_link_veth veth = {
		.host_name = host,
		.netns = netns,
		.peer_name = "eth0",
		.addr = inst.ns_addr,
		.prefix_len = 24,
		.gateway.s_addr = htonl(GATEWAY),
		.mtu = MTU,
	};

	snprintf(host, sizeof(host), "v%u", n);
	memcpy(veth.mac, inst.mac, sizeof(veth.mac));
	must(weft_netns_add(netns, &error));
	must(weft_link_veth_add(&veth, &inst.ifindex, &error));
	inst.device = WEFT_DP_DEV_PEER;
	must(weft_dp_instance_set(dp, &inst, &error));
}

static void add_there(struct weft_dp *dp, uint32_t n)
{
	struct weft_dp_instance inst = instance(n);

	inst.device = WEFT_DP_DEV_REMOTE;
	inst.peer = PEER;
	must(weft_dp_instance_set(dp, &inst, &error));
}

static void add_node(struct weft_dp *dp, char **argv)
{
	struct weft_dp_uplink uplink = {.device = argv[0]};
	struct weft_dp_peer peer = {.id = PEER};
	struct weft_dp_peer_status status;
	int format = weft_dp_format_parse(argv[2]), xdp = weft_dp_xdp_parse(argv[3]);

	memset(&peer.addr.s6_addr[10], 0xff, 2);
	if (inet_pton(AF_INET, argv[1], &peer.addr.s6_addr[12]) != 1 || format < 0 || xdp < 0)
		errx(2, "no peer's address, no format or no mode: %s %s %s", argv[1], argv[2],
			argv[3]);
	peer.format = (enum weft_dp_format)format;
	uplink.xdp = (enum weft_dp_xdp)xdp;
	must(weft_dp_uplink_set(dp, &uplink, &error));
	must(weft_dp_peer_set(dp, &peer, &error));
	if (weft_dp_peer_status(dp, PEER, &status) < 0 || status.problem[0])
		errx(1, "peer %s: %s", argv[1], status.problem);
}

int main(int argc, char **argv)
{
	const struct weft_dp_service service = {
		.id = SERVICE, .vip[WEFT_DP_RR].s_addr = htonl(0x0a1e0001)};
	const struct weft_dp_weight weight = {.instance = SERVER, .weight = 1};
	struct weft_dp_config config = {.mtu = MTU};
	bool client = argc == 8 && strcmp(argv[1], "client") == 0;
	struct weft_dp_uplink_status status;
	struct weft_dp *dp;

	if (argc != 8)
		errx(2, "usage: tunnel_lab client|server NETNS BPFFS-DIR UPLINK PEER FORMAT XDP");
	config.bpffs_dir = argv[3];
	must(weft_dp_open(&config, &dp, &error));
	add_node(dp, argv + 4);
	must(weft_dp_service_set(dp, &service, &error));
	add_here(dp, client ? CLIENT : SERVER, argv[2]);
	add_there(dp, client ? SERVER : CLIENT);
	must(weft_dp_service_weights(dp, SERVICE, WEFT_DP_RR, &weight, 1, &error));
	must(weft_dp_uplink_status(dp, &status));
	printf("%s, XDP %s, GRO %s\n", weft_dp_hook(dp), status.xdp, status.gro);
	weft_dp_free(dp); /* what is pinned stays */
	return 0;
}
