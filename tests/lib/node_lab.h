/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes: a network namespace each, with a data plane of its own, an uplink, and instances in
 * namespaces of theirs. Between them the lab's own namespace routes: node n is 198.51.100.(4n +
 * 2)/30 and 2001:db8:n::2/64 on its "up0", whose other end here is "nodeN". */
#ifndef WEFT_TESTS_NODE_LAB_H
#define WEFT_TESTS_NODE_LAB_H

#include "ctrl/dataplane/peer.h"
#include "tests/lib/dp_lab.h"
#include "tests/lib/traffic.h"

#define NODES     4 /* 1..3 */
#define INSTANCES 64
#define NODE_PORT 7777

struct node {
	unsigned n;
	int ns;
	struct weft_dp *dp;
	struct weft_dp_config config;
	char pins[64];
	struct weft_dp_uplink uplink;
};

/* Instance i is on node i / 10; lab_instance(i) has its addresses. -1: none. */
extern int node_instance_ns[INSTANCES];

/* The lab's namespace; everything else is made and removed from here. */
void node_lab_open(void);
void node_lab_close(void);

/* A namespace, linked to the others, without a data plane. */
void node_make(struct node *node, unsigned n);
void node_start(struct node *node, enum weft_dp_xdp xdp); /* open, uplink; again after stop */
void node_xdp(struct node *node, enum weft_dp_xdp xdp);   /* in another mode; it takes effect */
void node_free(struct node *node);                        /* the daemon goes, the pins stay */
void node_stop(struct node *node);                        /* all of it */
void node_delete(struct node *node);
/* Each of both becomes the other's peer, under its number as the id. */
void node_join(struct node *a, struct node *b, bool v6, enum weft_dp_format format);
struct weft_dp_peer node_peer(unsigned n, bool v6, enum weft_dp_format format);
const char *node_addr(unsigned n, bool v6, char buf[64]);

/* Make the instance's namespace and device, and set it. Again: set it alone. */
void node_add(struct node *node, uint32_t i, uint32_t service, enum weft_dp_device device);
void node_add_remote(struct node *node, uint32_t i, uint32_t service);
void node_drop_instances(void);

uint64_t node_drops(struct node *node, enum weft_drop reason);

#endif
