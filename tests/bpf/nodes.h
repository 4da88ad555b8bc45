/* SPDX-License-Identifier: Apache-2.0 */
/* Three nodes: a client on the first, a service's backends on the others. */
#ifndef WEFT_TESTS_BPF_NODES_H
#define WEFT_TESTS_BPF_NODES_H

#include <arpa/inet.h>
#include <errno.h>
#include <linux/errqueue.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <net/if.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "tests/lib/node_lab.h"

#define VIP     "10.30.0.1"
#define VIP6    "fdff:2000::1"
#define SERVICE 1
#define CLIENT  11 /* on node 1; backends 21 and 31 on the others */
#define BULK    (16UL << 20)
#define RAW     50103

#define USED __attribute__((unused)) /* not by every test */

static struct node node[NODES];
static int tcp[NODES], udp[NODES];

struct way {
	bool v6;
	enum weft_dp_format format;
};
USED static const struct way ways[] = {
	{false, WEFT_DP_RAW}, {false, WEFT_DP_VXLAN}, {true, WEFT_DP_RAW}, {true, WEFT_DP_VXLAN}};

USED static void join_all(const struct way *w)
{
	node_join(&node[1], &node[2], w->v6, w->format);
	node_join(&node[1], &node[3], w->v6, w->format);
	node_join(&node[2], &node[3], w->v6, w->format);
}

/* What every node knows: its own instance, those of others, the service and its weights. */
USED static void populate(struct node *n)
{
	struct weft_dp_weight w[] = {{21, 1}, {31, 1}};

	lab_service46(n->dp, SERVICE, VIP, VIP6);
	for (unsigned i = 1; i < NODES; i++) {
		uint32_t id = 10 * i + 1, service = i > 1 ? SERVICE : 0;

		if (i == n->n)
			node_add(n, id, service, WEFT_DP_DEV_PEER);
		else
			node_add_remote(n, id, service);
	}
	lab_weights(n->dp, SERVICE, w, 2);
}

USED static void serve_from(uint32_t only)
{
	struct weft_dp_weight w[] = {{21, only != 31}, {31, only != 21}};

	lab_weights(node[1].dp, SERVICE, w, 2);
}

USED static int setup(void **state)
{
	(void)state;
	node_lab_open();
	for (unsigned n = 1; n < NODES; n++) {
		node_make(&node[n], n);
		node_start(&node[n], WEFT_DP_XDP_AUTO);
	}
	join_all(&ways[1]);
	for (unsigned n = 1; n < NODES; n++)
		populate(&node[n]);
	for (unsigned n = 2; n < NODES; n++) {
		tcp[n] = ns_listen(node_instance_ns[10 * n + 1], SOCK_STREAM, "0.0.0.0", NODE_PORT);
		udp[n] = ns_listen(node_instance_ns[10 * n + 1], SOCK_DGRAM, "0.0.0.0", NODE_PORT);
	}
	return 0;
}

USED static int teardown(void **state)
{
	(void)state;
	for (unsigned n = 2; n < NODES; n++) {
		close(tcp[n]);
		close(udp[n]);
	}
	node_drop_instances();
	for (unsigned n = 1; n < NODES; n++)
		node_delete(&node[n]);
	node_lab_close();
	return 0;
}

USED static int client(void)
{
	return node_instance_ns[CLIENT];
}

USED static void connect_pair(const char *to, unsigned n, int *ret_a, int *ret_b)
{
	char peer[64];

	*ret_a = ns_dial(client(), to, NODE_PORT, SOCK_STREAM);
	*ret_b = ns_accept(tcp[n], peer);
	/* Each side sees the other by the address that its node knows it under. */
	assert_string_equal(peer, "10.30.1.11");
}

USED static void close_pair(int a, int b)
{
	close(a);
	close(b);
}

USED static void rejoin(const struct way *w)
{
	join_all(w);
}

#endif
