/* SPDX-License-Identifier: Apache-2.0 */
/* What the tunnel does not carry: every reason to drop a datagram, and what is left to others; and
 * XDP, which drops and takes out the same. */
#include "tests/bpf/tunnel.h"

/* --- bad datagrams --- */
static void strangers(void **state)
{
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		struct lab_outer o;

		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		f.data[o.ip + (o.v6 ? 23 : 15)] = 99;
		lab_refit(&f, &o);
		dropped(*state, &f, UNKNOWN_PEER);
		/* A peer, and an instance of another. */
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		lab_ip(&f)->saddr = lab_instance(100 + n % WAYS + 1, 0).inst_addr.s_addr;
		lab_check_ip(&f);
		wrap(&f, n);
		dropped(*state, &f, TUNNEL_SOURCE);
		/* Of nobody, of this node, no instance address, a service's. */
		static const char *const sources[] = {
			"10.30.9.9", "10.30.1.2", "10.18.0.101", "192.0.2.77", VIP};
		for (unsigned i = 0; i < ARRAY_SIZE(sources); i++) {
			far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
			lab_ip(&f)->saddr = lab_addr(sources[i]);
			lab_check_ip(&f);
			wrap(&f, n);
			dropped(*state, &f, TUNNEL_SOURCE);
		}
		/* To nobody, to another node, to an address that only callers use. */
		static const char *const targets[] = {
			"10.18.0.77", "10.18.0.101", "10.30.1.1", VIP, "192.0.2.1", "8.8.8.8"};
		for (unsigned i = 0; i < ARRAY_SIZE(targets); i++) {
			far_tcp(&f, n, targets[i], 1, 80, LAB_SYN);
			wrap(&f, n);
			dropped(*state, &f, TUNNEL_TARGET);
		}
	}
}

/* The outer headers whole, and ever less behind them. */
static void every_length(void **state)
{
	struct lab_frame whole, f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		struct lab_outer o;

		far_tcp(&whole, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&whole, n);
		for (size_t len = o.udp + 8; len < whole.len; len++) {
			f = whole;
			f.len = len;
			lab_refit(&f, &o);
			dropped(*state, &f, TUNNEL_TRUNCATED);
			/* Cut by somebody on the way, with headers that know nothing of it. */
			f = whole;
			f.len = len;
			dropped(*state, &f, TUNNEL_TRUNCATED);
		}
		/* Nor does it reach anybody when nothing of it can be told. */
		for (size_t len = o.udp; len < o.udp + 8; len++) {
			f = whole;
			f.len = len;
			passed(*state, &f);
		}
	}
}

static void malformed(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		/* What the UDP header says is longer than what is there, or no length. */
		static const uint16_t lengths[] = {0, 7, 9000};
		for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
			far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
			o = wrap(&f, n);
			((struct udphdr *)(f.data + o.udp))->len = htons(lengths[i]);
			dropped(*state, &f, TUNNEL_MALFORMED);
		}
		/* No IP packet in it. */
		for (unsigned version = 0; version < 16; version++) {
			far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
			o = wrap(&f, n);
			if (version == 4 || (version == 6 && !o.vxlan))
				continue;
			f.data[o.inner] = (uint8_t)(version << 4 | 5);
			if (version == 6) /* short enough to be one */
				f.data[o.inner + 4] = f.data[o.inner + 5] = 0;
			dropped(*state, &f, TUNNEL_MALFORMED);
		}
		/* The inner headers are looked at like any instance's. */
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		lab_tcph(&f)->doff = 4;
		wrap(&f, n);
		dropped(*state, &f, MALFORMED);
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		lab_ip(&f)->ihl = 4;
		wrap(&f, n);
		dropped(*state, &f, MALFORMED);
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		lab_ip(&f)->protocol = 132;
		lab_check_ip(&f);
		wrap(&f, n);
		dropped(*state, &f, PROTOCOL);
	}
}

static void malformed_vxlan(void **state)
{
	static const struct {
		size_t off; /* behind the UDP header */
		uint8_t xor ;
	} bad[] = {
		{0, 8},     /* without the flag that says there is an identifier */
		{0, 4},     /* the flags of relatives */
		{4, 1},     /* another network's */
		{6, 1},     /* likewise */
		{8 + 12, 1} /* no IP behind it */
	};
	struct lab_outer o;
	struct lab_frame f;

	for (uint32_t n = 2; n <= WAYS; n += 2) {
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
			far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
			o = wrap(&f, n);
			f.data[o.udp + 8 + bad[i].off] ^= bad[i].xor ;
			dropped(*state, &f, TUNNEL_MALFORMED);
		}
		/* Reserved bits say nothing. */
		far_tcp(&f, n, "10.18.0.1", 10, 80, LAB_SYN);
		o = wrap(&f, n);
		f.data[o.udp + 8 + 3] = 0xff;
		f.data[o.udp + 8 + 7] = 0xff;
		arrives(*state, &f, SERVER);
	}
}

/* A peer may change its mind about the format before we hear of it. */
static void either_format(void **state)
{
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		far_tcp(&f, n, "10.18.0.1", 11, 80, LAB_SYN);
		lab_wrap(&f, n, ways[n - 1].v6, !ways[n - 1].vxlan);
		arrives(*state, &f, SERVER);
	}
}

/* Frames are padded; packets may be followed by something in their datagram. */
static void padding(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		size_t len;

		far_tcp(&f, n, "10.18.0.1", 12, 80, LAB_SYN);
		o = wrap(&f, n);
		len = f.len;
		f.len += 7;
		lab_refit(&f, &o);
		arrives(*state, &f, SERVER);
		assert_true(f.len >= len - o.inner + ETH_HLEN);
		/* And an instance's padding does not travel. */
		serve_from(*state, n);
		lab_udp(&f, (struct lab_tuple){CLIENT, VIP_FAR, (uint16_t)(50 + n), 80}, 2);
		memset(f.data + f.len, 0xee, 20);
		len = f.len;
		f.len += 20;
		assert_int_equal(lab_run(*state, &f), LAB_REDIRECT);
		unwrap(&f, n);
		assert_int_equal(f.len, len);
	}
}

/* Several packets in one datagram: a device that merges without knowing what. */
static void merged_datagrams(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	far_tcp(&f, 1, "10.18.0.1", 14, 80, LAB_SYN);
	o = wrap(&f, 1);
	memmove(f.data + f.len, f.data + o.inner, f.len - o.inner);
	f.gso_size = (uint32_t)(f.len - o.inner);
	f.len += f.len - o.inner;
	lab_refit(&f, &o);
	dropped(*state, &f, TUNNEL_MALFORMED);
}

static void outer_fragments(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	for (uint32_t n = 1; n <= 2; n++) {
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		((struct iphdr *)(f.data + o.ip))->frag_off = htons(0x2000);
		lab_refit(&f, &o);
		dropped(*state, &f, TUNNEL_FRAGMENT);
		/* Later ones are nobody's without it. */
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		((struct iphdr *)(f.data + o.ip))->frag_off = htons(0x2000 | 10);
		lab_refit(&f, &o);
		passed(*state, &f);
	}
}

/* Put an extension header between the outer IPv6 header and UDP. */
static void extend(struct lab_frame *f, const struct lab_outer *o, uint8_t kind, const char *bytes)
{
	uint8_t *at = f->data + o->udp;

	memmove(at + 8, at, f->len - o->udp);
	memcpy(at, bytes, 8);
	at[0] = f->data[o->ip + 6];
	f->data[o->ip + 6] = kind;
	f->len += 8;
	f->data[o->ip + 4] = (uint8_t)((f->len - o->udp) >> 8);
	f->data[o->ip + 5] = (uint8_t)(f->len - o->udp);
}

static void outer_extension_headers(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	for (uint32_t n = 3; n <= WAYS; n++) {
		static const uint8_t kinds[] = {0, 43, 60};

		for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
			far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
			o = wrap(&f, n);
			extend(&f, &o, 60, "\0\0\1\4\0\0\0\0");
			extend(&f, &o, kinds[i], "\0\0\1\4\0\0\0\0");
			dropped(*state, &f, TUNNEL_MALFORMED);
		}
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		extend(&f, &o, 44, "\0\0\0\1\0\0\0\7");
		dropped(*state, &f, TUNNEL_FRAGMENT);
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		extend(&f, &o, 44, "\0\0\1\1\0\0\0\7");
		passed(*state, &f);
	}
}

/* --- what is not ours --- */

static void everything_else(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	for (uint32_t n = 1; n <= WAYS; n++) {
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		((struct udphdr *)(f.data + o.udp))->dest = htons(53);
		passed(*state, &f);
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		f.data[o.ip + (o.v6 ? 6 : 9)] = IPPROTO_TCP;
		lab_refit(&f, &o);
		passed(*state, &f);
		/* An Ethernet type of somebody else's. */
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		f.data[12] = 0x88;
		f.data[13] = 0xf7;
		passed(*state, &f);
	}
	/* Bare inner packets on the underlay are the host's to judge. */
	far_tcp(&f, 1, "10.18.0.1", 1, 80, LAB_SYN);
	f.ifindex = lab_instance(1, 0).ifindex;
	passed(*state, &f);
}

/* A node may be other nodes' router. */
static void in_transit(void **state)
{
	struct lab_outer o;
	struct lab_frame f;

	assert_int_equal(lab_sh("echo 1 >/proc/sys/net/ipv4/ip_forward; "
				"echo 1 >/proc/sys/net/ipv6/conf/all/forwarding; "
				"ip route add 198.51.100.0/24 via 192.0.2.77 dev up0; "
				"ip route add 2001:db8:1::/64 via 2001:db8::77 dev up0"),
		0);
	for (uint32_t n = 1; n <= WAYS; n++) {
		far_tcp(&f, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&f, n);
		if (o.v6)
			f.data[o.ip + 24 + 5] = 1;
		else
			memcpy(f.data + o.ip + 16, "\xc6\x33\x64\x01", 4);
		lab_refit(&f, &o);
		passed(*state, &f);
		/* To another address of this node's it is for us. */
		far_tcp(&f, n, "10.18.0.1", 15, 80, LAB_SYN);
		o = wrap(&f, n);
		if (o.v6)
			f.data[o.ip + 24 + 15] = 2;
		else
			f.data[o.ip + 16 + 3] = 2;
		lab_refit(&f, &o);
		arrives(*state, &f, SERVER);
	}
	assert_int_equal(lab_sh("ip route del 198.51.100.0/24; ip route del 2001:db8:1::/64; "
				"echo 0 >/proc/sys/net/ipv4/ip_forward; "
				"echo 0 >/proc/sys/net/ipv6/conf/all/forwarding"),
		0);
}

static void by_another_device(void **state)
{
	uint64_t before = lab_drops(*state, WEFT_DROP_TUNNEL_DEVICE);
	struct lab_frame f;

	far_tcp(&f, 2, "10.18.0.1", 1, 80, LAB_SYN);
	f.ifindex = lab_instance(1, 0).ifindex;
	assert_int_equal(lab_run_vxlan(*state, &f), LAB_SHOT);
	assert_int_equal(lab_drops(*state, WEFT_DROP_TUNNEL_DEVICE), before + 1);
	provoked[WEFT_DROP_TUNNEL_DEVICE] = true;
}

/* --- XDP --- */

static void by_xdp(void **state)
{
	for (uint32_t n = 1; n <= WAYS; n++) {
		struct lab_frame f, inner;
		struct lab_outer o;
		uint32_t peer;

		far_tcp(&inner, n, "10.18.0.1", 16, 80, LAB_SYN);
		f = inner;
		o = wrap(&f, n);
		f.data[o.ip + 1] |= o.v6 ? 3 << 4 : 3;
		lab_refit(&f, &o);
		assert_int_equal(lab_run_xdp(*state, &f, &peer), LAB_XDP_PASS);
		assert_int_equal(peer, n);
		assert_int_equal(f.len, inner.len);
		assert_memory_equal(f.data, "\2\0\0\0\1\1\2\0\0\0\1\2\x08\0", 14);
		assert_memory_equal(f.data + 14, inner.data + 14, inner.len - 14);
		/* Left to TC: a checksum that may be half done. */
		f = inner;
		o = wrap(&f, n);
		((struct udphdr *)(f.data + o.udp))->check = htons(0x1234);
		assert_int_equal(lab_run_xdp(*state, &f, &peer), LAB_XDP_PASS);
		assert_int_equal(peer, 0);
		assert_int_equal(f.len, inner.len + o.inner - 14);
		/* To another port. */
		((struct udphdr *)(f.data + o.udp))->dest = htons(53);
		assert_int_equal(lab_run_xdp(*state, &f, &peer), LAB_XDP_PASS);
		assert_int_equal(peer, 0);
		assert_int_equal(f.len, inner.len + o.inner - 14);
	}
}

static void xdp_drops(void **state)
{
	for (uint32_t n = 1; n <= WAYS; n++) {
		uint64_t before = lab_drops(*state, WEFT_DROP_UNKNOWN_PEER);
		struct lab_frame whole, f;
		struct lab_outer o;
		uint32_t peer;

		far_tcp(&whole, n, "10.18.0.1", 1, 80, LAB_SYN);
		o = wrap(&whole, n);
		f = whole;
		f.data[o.ip + (o.v6 ? 23 : 15)] = 99;
		lab_refit(&f, &o);
		assert_int_equal(lab_run_xdp(*state, &f, &peer), LAB_XDP_DROP);
		assert_int_equal(lab_drops(*state, WEFT_DROP_UNKNOWN_PEER), before + 1);
		before = lab_drops(*state, WEFT_DROP_TUNNEL_TRUNCATED);
		for (size_t len = o.udp + 8; len < whole.len; len++) {
			f = whole;
			f.len = len;
			lab_refit(&f, &o);
			assert_int_equal(lab_run_xdp(*state, &f, &peer), LAB_XDP_DROP);
			assert_int_equal(lab_drops(*state, WEFT_DROP_TUNNEL_TRUNCATED), ++before);
		}
	}
}

/* In generic mode GRO comes first: XDP drops what is no good, and leaves the rest to TC. */
static void by_generic_xdp(void **state)
{
	struct weft_dp_uplink uplink = {.device = "up0", .xdp = WEFT_DP_XDP_GENERIC};
	struct weft_err err = {0};

	assert_int_equal(weft_dp_uplink_set(*state, &uplink, &err), 0);
	for (uint32_t n = 1; n <= WAYS; n++) {
		struct lab_frame f, before;
		struct lab_outer o;
		uint32_t peer;

		far_tcp(&f, n, "10.18.0.1", 18, 80, LAB_SYN);
		o = wrap(&f, n);
		((struct udphdr *)(f.data + o.udp))->check = htons(0x1234);
		before = f;
		assert_int_equal(lab_run_xdp(*state, &f, &peer), LAB_XDP_PASS);
		assert_int_equal(peer, 0);
		assert_int_equal(f.len, before.len);
		assert_memory_equal(f.data, before.data, f.len);
		f.data[o.ip + (o.v6 ? 23 : 15)] = 99;
		lab_refit(&f, &o);
		assert_int_equal(lab_run_xdp(*state, &f, &peer), LAB_XDP_DROP);
	}
	uplink.xdp = WEFT_DP_XDP_NATIVE;
	assert_int_equal(weft_dp_uplink_set(*state, &uplink, &err), 0);
}

/* A sender's checksum, whatever it is, does no harm. */
static void outer_checksum(void **state)
{
	for (uint32_t n = 1; n <= WAYS; n++) {
		struct lab_outer o;
		struct lab_frame f;

		far_tcp(&f, n, "10.18.0.1", 17, 80, LAB_SYN);
		o = wrap(&f, n);
		((struct udphdr *)(f.data + o.udp))->check = htons(0x1234);
		arrives(*state, &f, SERVER);
	}
}

static void no_way(void **state)
{
	struct weft_dp_peer_status status;
	uint64_t before = lab_drops(*state, WEFT_DROP_NO_PEER);
	struct lab_frame f;

	serve_from(*state, 1);
	weft_dp_uplink_remove(*state);
	assert_int_equal(weft_dp_peer_status(*state, 1, &status), 0);
	assert_string_equal(status.problem, "there is no uplink");
	lab_udp(&f, (struct lab_tuple){CLIENT, VIP_FAR, 20, 80}, 20);
	assert_int_equal(lab_run(*state, &f), LAB_SHOT);
	assert_int_equal(lab_drops(*state, WEFT_DROP_NO_PEER), before + 1);
	provoked[WEFT_DROP_NO_PEER] = true;
}

static void reasons_have_tests(void **state)
{
	static const enum weft_drop ours[] = {WEFT_DROP_UNKNOWN_PEER, WEFT_DROP_TUNNEL_TRUNCATED,
		WEFT_DROP_TUNNEL_MALFORMED, WEFT_DROP_TUNNEL_FRAGMENT, WEFT_DROP_TUNNEL_SOURCE,
		WEFT_DROP_TUNNEL_TARGET, WEFT_DROP_TUNNEL_DEVICE, WEFT_DROP_NO_PEER};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(ours); i++)
		if (!provoked[ours[i]])
			fail_msg("no test drops a packet as %s", weft_dp_drop_name(ours[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strangers),
		cmocka_unit_test(every_length),
		cmocka_unit_test(malformed),
		cmocka_unit_test(malformed_vxlan),
		cmocka_unit_test(either_format),
		cmocka_unit_test(padding),
		cmocka_unit_test(merged_datagrams),
		cmocka_unit_test(outer_fragments),
		cmocka_unit_test(outer_extension_headers),
		cmocka_unit_test(everything_else),
		cmocka_unit_test(in_transit),
		cmocka_unit_test(by_another_device),
		cmocka_unit_test(by_xdp),
		cmocka_unit_test(xdp_drops),
		cmocka_unit_test(by_generic_xdp),
		cmocka_unit_test(outer_checksum),
		cmocka_unit_test(no_way),
		cmocka_unit_test(reasons_have_tests),
	};

	if (!lab_enter())
		return 0;
	lab_uplink_device();
	return cmocka_run_group_tests_name("tunnel, bad datagrams", tests, setup, teardown);
}
