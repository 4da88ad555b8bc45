/* SPDX-License-Identifier: Apache-2.0 */
/* What nodes believe of routers and of each other, and what an instance therefore cannot send
 * outside: on built frames. */
#include <linux/ipv6.h>

#include "tests/bpf/tunnel.h"

#define dropped_here LAB_DROPPED
#define ROUTER       "192.0.2.77"
#define ROUTER6      "2001:db8::77"
#define MTU_TOLD     1300

static const char *peer_text(uint32_t n, char text[64])
{
	snprintf(text, 64, ways[n - 1].v6 ? "2001:db8::%x" : "192.0.2.%u", 10 + n);
	return text;
}

/* Offset of what is behind the IP header. */
static size_t l4(bool v6)
{
	return ETH_HLEN + (v6 ? 40 : 20);
}

static void check(struct lab_frame *f, bool v6)
{
	if (v6)
		lab_fit6(f);
	else
		lab_check_ip(f);
	lab_check_icmp(f);
}

/* An ICMP error by from's device to the address, about a datagram of len bytes that went from there
 * to whom by these ports. */
struct about {
	const char *to, *whom;
	uint16_t sport, dport, len;
};

static void error_about(struct lab_frame *f, uint32_t from, const struct about *a)
{
	bool v6 = strchr(a->to, ':');
	size_t icmp = l4(v6), ip = icmp + 8, head = v6 ? 40 : 20;
	uint16_t *p;

	lab_echo(f, (struct lab_tuple){from, a->to, 0, 0}, v6 ? 128 : 8);
	memset(f->data + icmp, 0, 8 + head + 8);
	f->len = ip + head + 8;
	f->data[icmp] = v6 ? 2 : 3;
	f->data[icmp + 1] = v6 ? 0 : 4;
	f->data[icmp + 6] = MTU_TOLD >> 8;
	f->data[icmp + 7] = MTU_TOLD & 0xff;
	p = (uint16_t *)(f->data + ip);
	if (v6) {
		f->data[ip] = 0x60;
		p[2] = htons((uint16_t)(a->len - 40));
		f->data[ip + 6] = IPPROTO_UDP;
		inet_pton(AF_INET6, a->to, f->data + ip + 8);
		inet_pton(AF_INET6, a->whom, f->data + ip + 24);
	} else {
		f->data[ip] = 0x45;
		p[1] = htons(a->len);
		f->data[ip + 9] = IPPROTO_UDP;
		inet_pton(AF_INET, a->to, f->data + ip + 12);
		inet_pton(AF_INET, a->whom, f->data + ip + 16);
		lab_ip(f)->tot_len = htons((uint16_t)(f->len - ETH_HLEN));
	}
	p = (uint16_t *)(f->data + ip + head);
	p[0] = htons(a->sport);
	p[1] = htons(a->dport);
	p[2] = htons((uint16_t)(a->len - head));
	check(f, v6);
}

static void passes(struct weft_dp *dp, struct lab_frame *f)
{
	size_t len = f->len;

	assert_int_equal(lab_run(dp, f), LAB_OK);
	assert_int_equal(f->len, len);
}

/* A host outside has sent something to the instance: the error goes there. */
static void errors_of_instances(void **state)
{
	static const uint32_t senders[] = {CLIENT, SERVER}; /* of no service, of one */

	for (unsigned i = 0; i < 4; i++) {
		uint32_t from = senders[i / 2];
		bool v6 = i % 2;
		char own[64];
		struct about a = {v6 ? ROUTER6 : ROUTER, own, 5000, 53, 1400};
		struct lab_frame f;

		snprintf(own, sizeof(own), v6 ? "fc00::%u" : "10.18.0.%u", from);
		error_about(&f, from, &a);
		passes(*state, &f);
		f.data[l4(v6)] = v6 ? 128 : 8; /* an echo request has no quote to be right */
		f.data[l4(v6) + 8 + 19] ^= 1;
		check(&f, v6);
		passes(*state, &f);
		/* To another than what it was sent to. */
		a.whom = v6 ? "2001:db8::1" : "192.0.2.1";
		error_about(&f, from, &a);
		dropped_here(*state, &f, ICMP_FORGED);
		/* From another than who gets the error. */
		a.whom = own;
		error_about(&f, from, &a);
		f.data[l4(v6) + 8 + (v6 ? 23 : 15)] ^= 1;
		check(&f, v6);
		dropped_here(*state, &f, ICMP_FORGED);
	}
}

static void errors_of_every_kind(void **state)
{
	static const uint8_t types[] = {3, 4, 5, 11, 12}, types6[] = {1, 2, 3, 4, 99};

	for (unsigned i = 0; i < 2 * sizeof(types); i++) {
		bool v6 = i % 2;
		struct about a = {
			v6 ? ROUTER6 : ROUTER, v6 ? "2001:db8::1" : "192.0.2.1", 5000, 53, 1400};
		struct lab_frame f, cut;

		error_about(&f, CLIENT, &a);
		f.data[l4(v6)] = v6 ? types6[i / 2] : types[i / 2];
		check(&f, v6);
		cut = f;
		dropped_here(*state, &f, ICMP_FORGED);
		/* In pieces it would hide. */
		if (v6)
			lab_fragment6(&cut, 7, 0, true);
		else
			lab_fragment(&cut, 7, 0, true);
		dropped_here(*state, &cut, ICMP_FORGED);
	}
}

/* Without the header that tells, which would come in the next fragment, or never. */
static void nothing_to_tell_by(void **state)
{
	struct lab_frame f;
	struct about a = {ROUTER, "192.0.2.1", 5000, 53, 1400};

	error_about(&f, CLIENT, &a);
	f.len = ETH_HLEN + 20 + 8 + 19;
	lab_ip(&f)->tot_len = htons((uint16_t)(f.len - ETH_HLEN));
	check(&f, false);
	dropped_here(*state, &f, TRUNCATED);
	lab_udp(&f, (struct lab_tuple){CLIENT, ROUTER6, 5000, 50103}, 8);
	lab_extension(&f, 60, "\0\0\1\4\0\0\0\0", 8);
	lab_fragment6(&f, 9, 0, true);
	lab_ip6(&f)->payload_len = htons(16); /* the rest is padding */
	dropped_here(*state, &f, TRUNCATED);
}

/* The host may masquerade it, and the peer could not tell. */
static void datagrams_to_tunnels(void **state)
{
	for (uint32_t n = 1; n <= WAYS; n++) {
		char to[64];

		for (uint16_t port = 50102; port <= 50105; port++) {
			struct lab_tuple t = {CLIENT, peer_text(n, to), 4000, port};
			struct lab_frame f, cut;

			lab_udp(&f, t, 64);
			cut = f;
			if (ways[n - 1].v6)
				lab_fragment6(&cut, 7, 0, true);
			else
				lab_fragment(&cut, 7, 0, true);
			if (port == 50102 || port == 50105) {
				passes(*state, &f);
				passes(*state, &cut);
				continue;
			}
			dropped_here(*state, &f, TUNNEL_FORGED);
			dropped_here(*state, &cut, TUNNEL_FORGED);
			/* Nor to who is no peer: it may be another address of one. */
			t.daddr = ways[n - 1].v6 ? ROUTER6 : ROUTER;
			lab_udp(&f, t, 64);
			dropped_here(*state, &f, TUNNEL_FORGED);
			/* And TCP is no tunnel's. */
			t.daddr = to;
			lab_tcp(&f, t, LAB_SYN, 1);
			passes(*state, &f);
		}
	}
}

/* --- what an uplink's program believes --- */

static uint32_t mtu_of(struct weft_dp *dp, uint32_t n)
{
	struct weft_dp_peer_status status;

	assert_int_equal(weft_dp_peer_status(dp, n, &status), 0);
	return status.mtu;
}

/* A router's error about what we have sent to peer n: the MTU of the tunnel then. */
static uint32_t told(struct weft_dp *dp, uint32_t n, const struct about *a, bool to_another)
{
	bool v6 = ways[n - 1].v6;
	struct ethhdr *eth;
	struct lab_frame f;

	error_about(&f, CLIENT, a);
	eth = (void *)f.data;
	f.ifindex = lab_up0(eth->h_dest);
	if (v6) {
		inet_pton(AF_INET6, ROUTER6, &lab_ip6(&f)->saddr);
		lab_ip6(&f)->daddr.s6_addr[15] = to_another ? 2 : 1;
	} else {
		lab_ip(&f)->saddr = inet_addr(ROUTER);
		lab_ip(&f)->daddr = inet_addr(to_another ? "192.0.2.2" : "192.0.2.1");
	}
	check(&f, v6);
	assert_int_equal(lab_run_uplink(dp, &f), LAB_UNSPEC);
	return mtu_of(dp, n);
}

static void path_mtus(void **state)
{
	for (uint32_t n = 1; n <= WAYS; n++) {
		bool v6 = ways[n - 1].v6;
		char whom[64];
		const struct about right = {v6 ? "2001:db8::1" : "192.0.2.1", peer_text(n, whom),
			49152, (uint16_t)(50103 + ways[n - 1].vxlan), 1400};
		struct about a = right;
		uint32_t before = mtu_of(*state, n);

		a.sport = 49151; /* none that we send from */
		assert_int_equal(told(*state, n, &a, false), before);
		a = right;
		a.len = MTU_TOLD; /* what was short enough already */
		assert_int_equal(told(*state, n, &a, false), before);
		a = right;
		a.dport = 53;
		assert_int_equal(told(*state, n, &a, false), before);
		/* What another address than the one it is sent to has sent. */
		assert_int_equal(told(*state, n, &right, true), before);
		assert_int_equal(told(*state, n, &right, false),
			MTU_TOLD - weft_tunnel_overhead(
					   ways[n - 1].vxlan ? WEFT_FORMAT_VXLAN : WEFT_FORMAT_RAW,
					   v6 ? 6 : 4));
		lab_add_peer(*state, n, v6, ways[n - 1].vxlan ? WEFT_DP_VXLAN : WEFT_DP_RAW, 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_of_instances),
		cmocka_unit_test(errors_of_every_kind),
		cmocka_unit_test(nothing_to_tell_by),
		cmocka_unit_test(datagrams_to_tunnels),
		cmocka_unit_test(path_mtus),
	};

	if (!lab_enter())
		return 0;
	lab_uplink_device();
	return cmocka_run_group_tests_name("outside", tests, setup, teardown);
}
