/* SPDX-License-Identifier: Apache-2.0 */
/* The programs of the tunnel on built frames, both formats over both underlays: a data plane with a
 * service here and one whose backends are other nodes', and what can become of a datagram. */
#ifndef WEFT_TESTS_BPF_TUNNEL_H
#define WEFT_TESTS_BPF_TUNNEL_H

#include <arpa/inet.h>
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

#define VIP     "10.30.0.1" /* backend: instance 1, here */
#define VIP_FAR "10.30.0.2" /* backend: an instance of another node */
#define SERVER  1
#define CLIENT  2
#define MTU     1500

#define USED __attribute__((unused)) /* not by every test */

/* Peer n speaks ways[n - 1]; its instance is 100 + n. */
static const struct {
	bool v6, vxlan;
} ways[] = {{false, false}, {false, true}, {true, false}, {true, true}};
#define WAYS ARRAY_SIZE(ways)

USED static bool provoked[WEFT_DROP_COUNT];

USED static int setup_without(void **state, const char *features)
{
	struct weft_dp_config config = {
		.bpffs_dir = LAB_PINS, .max_flows = 65536, .mtu = MTU, .without = features};
	struct weft_dp_uplink uplink = {.device = "up0", .xdp = WEFT_DP_XDP_NATIVE};
	struct weft_err err = {0};
	struct weft_dp *dp;

	if (weft_dp_open(&config, &dp, &err) < 0 || weft_dp_uplink_set(dp, &uplink, &err) < 0)
		fail_msg("%s", err.msg);
	lab_service(dp, 1, VIP);
	lab_service(dp, 2, VIP_FAR);
	lab_add(dp, SERVER, 1);
	lab_add(dp, CLIENT, 0);
	lab_weights(dp, 1, (struct weft_dp_weight[]){{SERVER, 1}}, 1);
	for (uint32_t n = 1; n <= WAYS; n++)
		lab_add_peer(
			dp, n, ways[n - 1].v6, ways[n - 1].vxlan ? WEFT_DP_VXLAN : WEFT_DP_RAW, 2);
	*state = dp;
	return 0;
}

/* A program in a dispatcher can not be run on built frames. */
USED static int setup(void **state)
{
	return setup_without(state, "program extensions");
}

/* As on the kernels before 6.6. */
USED static int setup_clsact(void **state)
{
	return setup_without(state, "program extensions,tcx");
}

USED static int teardown(void **state)
{
	weft_dp_free(*state);
	lab_sh("ip link del v1 2>/dev/null; ip link del v2 2>/dev/null");
	return weft_dp_destroy(LAB_PINS, NULL);
}

USED static void serve_from(struct weft_dp *dp, uint32_t n)
{
	lab_weights(dp, 2, (struct weft_dp_weight[]){{100 + n, 1}}, 1);
}

/* An inner packet as peer n's instance sends it. */
USED static void from_far(struct lab_frame *f, uint32_t n)
{
	lab_ip(f)->saddr = lab_instance(100 + n, 0).inst_addr.s_addr;
	lab_check_ip(f);
	if (lab_ip(f)->protocol == IPPROTO_TCP)
		lab_check_tcp(f);
	else if (lab_ip(f)->protocol == IPPROTO_UDP)
		lab_udph(f)->check = 0;
}

USED static void far_tcp(struct lab_frame *f, uint32_t n, const char *to, uint16_t sport,
	uint16_t dport, uint8_t flags)
{
	lab_tcp(f, (struct lab_tuple){100 + n, to, sport, dport}, flags, 7);
	from_far(f, n);
}

USED static struct lab_outer wrap(struct lab_frame *f, uint32_t n)
{
	return lab_wrap(f, n, ways[n - 1].v6, ways[n - 1].vxlan);
}

USED static uint16_t unwrap(struct lab_frame *f, uint32_t n)
{
	return lab_unwrap(f, n, ways[n - 1].v6, ways[n - 1].vxlan);
}

/* Built, taken in and delivered: what is left is for instance to. */
USED static void arrives_at(
	struct weft_dp *dp, struct lab_frame *f, uint32_t to, const char *file, int line)
{
	if (lab_run_uplink(dp, f) != LAB_REDIRECT || lab_receiver(f) != (int)to)
		fail_msg("%s:%d: verdict %d, to %d", file, line, f->verdict, lab_receiver(f));
	assert_int_equal(((struct ethhdr *)f->data)->h_proto, htons(ETH_P_IP));
	assert_true(lab_sums_right(f));
}
#define arrives(dp, f, to) arrives_at(dp, f, to, __FILE__, __LINE__)

USED static void dropped_at(
	struct weft_dp *dp, struct lab_frame *f, enum weft_drop reason, const char *file, int line)
{
	uint64_t before = lab_drops(dp, reason);
	int verdict = lab_run_uplink(dp, f);

	if (verdict != LAB_SHOT || lab_drops(dp, reason) != before + 1)
		fail_msg("%s:%d: verdict %d, not dropped as %s", file, line, verdict,
			weft_dp_drop_name(reason));
	provoked[reason] = true;
}
#define dropped(dp, f, reason) dropped_at(dp, f, WEFT_DROP_##reason, __FILE__, __LINE__)

USED static void passed_at(struct weft_dp *dp, struct lab_frame *f, const char *file, int line)
{
	struct lab_frame before = *f;

	if (lab_run_uplink(dp, f) != LAB_UNSPEC || f->len != before.len ||
		memcmp(f->data, before.data, f->len) != 0)
		fail_msg("%s:%d: verdict %d, or no longer what it was", file, line, f->verdict);
}
#define passed(dp, f) passed_at(dp, f, __FILE__, __LINE__)

#endif
