/* SPDX-License-Identifier: Apache-2.0 */
/* Published ports on built frames: a data plane with a service that has ports, a backend here and
 * one on another node. */
#ifndef WEFT_TESTS_BPF_PUBLISH_H
#define WEFT_TESTS_BPF_PUBLISH_H

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "tests/lib/outer_lab.h"

#define USED __attribute__((unused)) /* not by every test */

#define NODE   "192.0.2.1"
#define CALLER "198.51.100.7"
#define HERE   1
#define PEER   1
#define FAR    (100 + PEER)
#define HOST   8080
#define PORT   80

USED static const uint8_t caller_mac[6] = {2, 1, 2, 3, 4, 5};

static const struct weft_dp_port ports[] = {
	{HOST, PORT, IPPROTO_TCP}, {5353, 53, IPPROTO_UDP}, {81, 81, IPPROTO_TCP}};

#define CAN_BE_RUN "program extensions" /* unlike what is in a dispatcher */

/* Loading the programs takes longer than all of the tests. */
static struct weft_dp *shared;

USED static void set_up_with(bool whole_sums, const char *without)
{
	struct weft_dp_config config = {
		.bpffs_dir = LAB_PINS, .max_flows = 65536, .mtu = 1400, .without = without};
	struct weft_dp_uplink uplink = {
		.device = "up0", .xdp = WEFT_DP_XDP_GENERIC, .whole_sums = whole_sums};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0 || weft_dp_uplink_set(dp, &uplink, &err) < 0)
		fail_msg("%s", err.msg);
	lab_service46(dp, 1, "10.30.0.1", "fdff:2000::1");
	lab_add(dp, HERE, 1);
	lab_add_peer(dp, PEER, false, WEFT_DP_RAW, 1);
	shared = dp;
}

USED static int group_setup(void **state)
{
	(void)state;
	set_up_with(false, CAN_BE_RUN);
	return 0;
}

USED static int group_setup_clsact(void **state)
{
	(void)state;
	set_up_with(false, CAN_BE_RUN ",tcx");
	return 0;
}

USED static int group_setup_whole(void **state)
{
	(void)state;
	set_up_with(true, CAN_BE_RUN);
	/* XDP asks the routing table of a device that forwards, for a neighbour that is known; TC
	 * does without both. */
	return lab_sh("ip neigh replace 192.0.2.%d lladdr 02:00:00:00:00:99 dev up0 && "
		      "echo 1 >/proc/sys/net/ipv4/conf/up0/forwarding",
		10 + PEER);
}

USED static int group_teardown(void **state)
{
	(void)state;
	weft_dp_free(shared);
	lab_sh("ip link del v1 2>/dev/null");
	return weft_dp_destroy(LAB_PINS, NULL);
}

/* Each test begins with the ports published and without flows. */
USED static int setup(void **state)
{
	struct weft_err err = {0};

	lab_service46(shared, 1, "10.30.0.1", "fdff:2000::1");
	if (weft_dp_service_publish(shared, 1, ports, ARRAY_SIZE(ports), &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(weft_dp_published_at(shared).s_addr, inet_addr(NODE));
	weft_dp_flows_purge(shared, HERE);
	weft_dp_flows_purge(shared, FAR);
	lab_weights(shared, 1, (struct weft_dp_weight[]){{HERE, 1}}, 1);
	*state = shared;
	return 0;
}

USED static int teardown(void **state)
{
	(void)state;
	weft_dp_service_remove(shared, 2);
	return weft_dp_service_remove(shared, 1);
}

/* f, built as an instance's, as one that arrives at the uplink from CALLER. */
USED static void from_outside(struct lab_frame *f, const char *to)
{
	struct ethhdr *eth = (void *)f->data;

	f->ifindex = lab_up0(eth->h_dest);
	memcpy(eth->h_source, caller_mac, sizeof(caller_mac));
	lab_ip(f)->saddr = inet_addr(CALLER);
	lab_ip(f)->daddr = inet_addr(to);
	lab_check_ip(f);
	if (lab_ip(f)->protocol == IPPROTO_TCP)
		lab_check_tcp(f);
	else
		lab_udph(f)->check = 0;
}

USED static void call_tcp(struct lab_frame *f, uint16_t sport, uint16_t dport, uint8_t flags)
{
	lab_tcp(f, (struct lab_tuple){HERE, "10.30.0.1", sport, dport}, flags, 7);
	from_outside(f, NODE);
}

/* Is it from and to these, with right checksums? */
USED static void assert_tuple(
	struct lab_frame *f, const char *from, uint16_t sport, uint32_t to, uint16_t dport)
{
	struct udphdr *head = lab_udph(f); /* where TCP has its too */

	assert_int_equal(lab_ip(f)->saddr, inet_addr(from));
	assert_int_equal(lab_ip(f)->daddr, to);
	assert_int_equal(ntohs(head->source), sport);
	assert_int_equal(ntohs(head->dest), dport);
	assert_true(lab_sums_right(f));
}

USED static uint32_t ns_addr(uint32_t n)
{
	return lab_instance(n, 0).ns_addr.s_addr;
}

USED static const char *ns_text(uint32_t n, char text[INET_ADDRSTRLEN])
{
	struct in_addr a = {ns_addr(n)};

	return inet_ntop(AF_INET, &a, text, INET_ADDRSTRLEN);
}

#endif
