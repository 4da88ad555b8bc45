/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP errors about what goes by a published port, both ways, here and between nodes. */
#include "tests/bpf/publish.h"

#define ROUTER "203.0.113.9"

/* What from says about the packet that got holds, of which it quotes size bytes; not yet addressed
 * to whoever sent that by its own path. */
static void error_about(struct lab_frame *f, const struct lab_frame *got, const char *from,
	uint8_t type, uint8_t code, size_t size)
{
	uint8_t *icmp = f->data + ETH_HLEN + 20;

	lab_echo(f, (struct lab_tuple){HERE, CALLER, 0, 0}, type);
	f->len = ETH_HLEN + 28 + size;
	lab_ip(f)->saddr = inet_addr(from);
	lab_ip(f)->daddr = lab_ip((struct lab_frame *)got)->saddr;
	lab_ip(f)->tot_len = htons((uint16_t)(28 + size));
	memcpy(icmp + 8, got->data + ETH_HLEN, size);
	icmp[1] = code;
	icmp[6] = 1300 >> 8; /* the MTU, of fragmentation needed */
	icmp[7] = 1300 & 0xff;
	lab_check_ip(f);
	lab_check_icmp(f);
}

static void at_the_uplink(struct lab_frame *f)
{
	struct ethhdr *eth = (void *)f->data;

	f->ifindex = lab_up0(eth->h_dest);
	memcpy(eth->h_source, caller_mac, sizeof(caller_mac));
}

/* Does it tell of the frame that was sent, byte for byte, whom that came from? */
static void tells(struct lab_frame *f, struct lab_frame *sent, const char *from, size_t size)
{
	const uint8_t *icmp = f->data + ETH_HLEN + 20;

	assert_true(lab_sums_right(f));
	assert_int_equal(lab_ip(f)->protocol, IPPROTO_ICMP);
	assert_int_equal(lab_ip(f)->saddr, inet_addr(from));
	assert_int_equal(lab_ip(f)->daddr, lab_ip(sent)->saddr);
	assert_int_equal(icmp[6] << 8 | icmp[7], 1300);
	assert_memory_equal(icmp + 8, sent->data + ETH_HLEN, size);
}

static const uint8_t kinds[][2] = {{3, 3}, {3, 1}, {3, 4}, {11, 0}, {12, 0}};
#define N_KINDS ARRAY_SIZE(kinds)

/* TCP with its checksum and without, whole, and not with half of it. */
static const size_t sizes[] = {28, 36, 38, 40};

/* From a router on the way to the caller, about an answer of the backend's. */
static void about_an_answer(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f, sent, out;

	call_tcp(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	lab_tcp(&sent, (struct lab_tuple){HERE, CALLER, PORT, 40000}, LAB_SYN | LAB_ACK, 9);
	out = sent;
	assert_int_equal(lab_run(dp, &out), LAB_REDIRECT);
	for (size_t i = 0; i < N_KINDS * ARRAY_SIZE(sizes); i++) {
		size_t size = sizes[i % ARRAY_SIZE(sizes)];

		error_about(&f, &out, ROUTER, kinds[i % N_KINDS][0], kinds[i % N_KINDS][1], size);
		at_the_uplink(&f);
		assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
		assert_int_equal(lab_receiver(&f), HERE);
		tells(&f, &sent, ROUTER, size);
	}
	assert_int_equal(lab_live(dp, HERE), 1);
}

/* From the backend, about what the caller sent: a port at which nobody listens. */
static void about_a_call(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f, sent, got;
	char here[INET_ADDRSTRLEN];

	lab_udp(&sent, (struct lab_tuple){HERE, "10.30.0.1", 40000, 5353}, 20);
	from_outside(&sent, NODE);
	got = sent;
	assert_int_equal(lab_run_publish(dp, &got), LAB_REDIRECT);
	for (size_t i = 0; i < N_KINDS; i++) {
		error_about(&f, &got, ns_text(HERE, here), kinds[i][0], kinds[i][1], 48);
		assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
		tells(&f, &sent, NODE, 48);
	}
}

/* What is about nobody's flow is the host's. */
static void about_nothing_of_ours(void **state)
{
	struct weft_dp *dp = *state;
	struct lab_frame f, other, before;

	call_tcp(&f, 40000, HOST, LAB_SYN);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	for (int i = 0; i < 4; i++) {
		lab_tcp(&other, (struct lab_tuple){HERE, CALLER, HOST, 40000}, LAB_ACK, 9);
		lab_ip(&other)->saddr = inet_addr(i == 1 ? "192.0.2.2" : NODE);
		if (i == 0)
			lab_tcph(&other)->source = htons(22);
		if (i == 2)
			lab_tcph(&other)->dest = htons(40009);
		lab_check_ip(&other);
		error_about(&f, &other, ROUTER, i == 3 ? 5 : 3, 1, 40);
		at_the_uplink(&f);
		before = f;
		assert_int_equal(lab_run_publish(dp, &f), LAB_UNSPEC);
		assert_memory_equal(f.data, before.data, f.len);
	}
	/* Echo is the host's as well. */
	lab_echo(&f, (struct lab_tuple){HERE, NODE, 7, 0}, 8);
	at_the_uplink(&f);
	assert_int_equal(lab_run_publish(dp, &f), LAB_UNSPEC);
	/* And of an instance's what is about its own calls. */
	lab_tcp(&other, (struct lab_tuple){HERE, CALLER, 40009, PORT}, LAB_ACK, 9);
	lab_ip(&other)->daddr = lab_ip(&other)->saddr;
	lab_ip(&other)->saddr = inet_addr(CALLER);
	lab_check_ip(&other);
	error_about(&f, &other, CALLER, 3, 1, 40);
	lab_tcp(&other, (struct lab_tuple){HERE, CALLER, PORT, 40009}, LAB_ACK, 9);
	memcpy(f.data, other.data, ETH_HLEN);
	f.ifindex = other.ifindex;
	lab_ip(&f)->saddr = lab_ip(&other)->saddr;
	lab_ip(&f)->daddr = lab_ip(&other)->daddr;
	lab_check_ip(&f);
	assert_int_equal(lab_run(dp, &f), LAB_OK);
}

/* The same where the backend is on another node: the error goes along by the tunnel ... */
static void between_nodes(void **state)
{
	struct lab_frame f, sent, out, got;
	struct weft_dp *dp = *state;
	char far[INET_ADDRSTRLEN];

	lab_weights(dp, 1, (struct weft_dp_weight[]){{FAR, 1}}, 1);
	call_tcp(&sent, 40000, HOST, LAB_SYN);
	got = sent;
	assert_int_equal(lab_run_publish(dp, &got), LAB_REDIRECT);
	lab_unwrap(&got, PEER, false, false);
	error_about(&f, &got, ns_text(FAR, far), 3, 3, 40);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
	tells(&f, &sent, NODE, 36); /* its MSS was lowered, and the checksum by that */

	lab_tcp(&sent, (struct lab_tuple){HERE, CALLER, PORT, 40000}, LAB_ACK, 9);
	lab_ip(&sent)->saddr = inet_addr(far);
	lab_check_ip(&sent);
	lab_check_tcp(&sent);
	out = sent;
	lab_wrap(&out, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &out), LAB_REDIRECT);
	error_about(&f, &out, ROUTER, 3, 4, 40);
	at_the_uplink(&f);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	lab_unwrap(&f, PEER, false, false);
	tells(&f, &sent, ROUTER, 40);
}

/* ... and comes to the backend as it is, and back. Of strangers and about nothing it does not. */
static void for_a_peers_caller(void **state)
{
	struct lab_frame f, sent, got;
	struct weft_dp *dp = *state;
	char here[INET_ADDRSTRLEN];
	uint64_t before;

	call_tcp(&sent, 40000, PORT, LAB_SYN);
	lab_ip(&sent)->daddr = ns_addr(HERE);
	lab_check_ip(&sent);
	lab_check_tcp(&sent);
	got = sent;
	lab_wrap(&got, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &got), LAB_REDIRECT);
	error_about(&f, &got, ns_text(HERE, here), 3, 3, 40);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	lab_unwrap(&f, PEER, false, false);
	tells(&f, &sent, here, 40);

	lab_tcp(&sent, (struct lab_tuple){HERE, CALLER, PORT, 40000}, LAB_ACK, 9);
	error_about(&f, &sent, ROUTER, 3, 4, 40);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), HERE);
	tells(&f, &sent, ROUTER, 40);

	before = lab_drops(dp, WEFT_DROP_ICMP_NO_FLOW);
	lab_tcp(&sent, (struct lab_tuple){HERE, CALLER, PORT, 40001}, LAB_ACK, 9);
	error_about(&f, &sent, ROUTER, 3, 4, 40);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_SHOT);
	assert_int_equal(lab_drops(dp, WEFT_DROP_ICMP_NO_FLOW), before + 1);
	before = lab_drops(dp, WEFT_DROP_TUNNEL_SOURCE);
	error_about(&f, &sent, "10.18.0.77", 3, 4, 40);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_SHOT);
	assert_int_equal(lab_drops(dp, WEFT_DROP_TUNNEL_SOURCE), before + 1);
}

/* Whoever calls with more than the tunnel takes is told how much that is. */
static void too_big_for_the_tunnel(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t before = lab_drops(dp, WEFT_DROP_TOO_BIG);
	const uint8_t *icmp;
	struct lab_frame f;

	lab_weights(dp, 1, (struct weft_dp_weight[]){{FAR, 1}}, 1);
	lab_udp(&f, (struct lab_tuple){HERE, "10.30.0.1", 40000, 5353}, 1472);
	lab_ip(&f)->frag_off = htons(0x4000);
	from_outside(&f, NODE);
	assert_int_equal(lab_run_publish(dp, &f), LAB_REDIRECT);
	icmp = f.data + ETH_HLEN + 20;
	assert_true(lab_sums_right(&f));
	assert_memory_equal(f.data, caller_mac, 6);
	assert_int_equal(lab_ip(&f)->daddr, inet_addr(CALLER));
	assert_int_equal(icmp[0], 3);
	assert_int_equal(icmp[1], 4);
	assert_in_range(icmp[6] << 8 | icmp[7], 1300, 1472);
	assert_int_equal(lab_drops(dp, WEFT_DROP_TOO_BIG), before + 1);
}

/* So is the backend that answers a peer's caller with more; what fits goes. */
static void too_big_for_a_peers_caller(void **state)
{
	struct weft_dp *dp = *state;
	uint64_t before = lab_drops(dp, WEFT_DROP_TOO_BIG);
	const uint8_t *icmp;
	struct lab_frame f;
	unsigned mtu;

	lab_udp(&f, (struct lab_tuple){HERE, "10.30.0.1", 40000, 53}, 20);
	from_outside(&f, NODE);
	lab_ip(&f)->daddr = ns_addr(HERE);
	lab_check_ip(&f);
	lab_wrap(&f, PEER, false, false);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), HERE);

	lab_udp(&f, (struct lab_tuple){HERE, CALLER, 53, 40000}, 1472);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	assert_int_equal(lab_receiver(&f), HERE);
	icmp = f.data + ETH_HLEN + 20;
	assert_int_equal(icmp[0], 3);
	assert_int_equal(icmp[1], 4);
	mtu = (unsigned)icmp[6] << 8 | icmp[7];
	assert_in_range(mtu, 1300, 1472);
	assert_true(lab_sums_right(&f));
	assert_int_equal(lab_ip(&f)->saddr, inet_addr(CALLER));
	assert_int_equal(lab_ip(&f)->daddr, ns_addr(HERE));
	assert_int_equal(lab_drops(dp, WEFT_DROP_TOO_BIG), before + 1);

	lab_udp(&f, (struct lab_tuple){HERE, CALLER, 53, 40000}, mtu - 28);
	assert_int_equal(lab_run(dp, &f), LAB_REDIRECT);
	lab_unwrap(&f, PEER, false, false);
	assert_tuple(&f, ns_text(HERE, (char[INET_ADDRSTRLEN]){0}), 53, inet_addr(CALLER), 40000);
	assert_int_equal(lab_drops(dp, WEFT_DROP_TOO_BIG), before + 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(about_an_answer),
		T(about_a_call),
		T(about_nothing_of_ours),
		T(between_nodes),
		T(for_a_peers_caller),
		T(too_big_for_the_tunnel),
		T(too_big_for_a_peers_caller),
	};

	if (!lab_enter())
		return 0;
	lab_uplink_device();
	return cmocka_run_group_tests_name("publish_icmp", tests, group_setup, group_teardown);
}
