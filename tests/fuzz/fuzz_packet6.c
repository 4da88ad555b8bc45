/* SPDX-License-Identifier: Apache-2.0 */
/* The data plane's program, compiled natively, on sequences of IPv6 frames: as fuzz_packet.c.
 *
 * Input: frames of a header {who << 4 | fix-ups, clock, linear part, length in eight bytes} and
 * their bytes. The clock's high bit asks for an error about the last frame instead. */
#define MTU 1300
#include "tests/fuzz/packet_native.h"

#define FIX_ETHER    1
#define FIX_SOURCE   2
#define FIX_CHECK    4
#define FIX_SEMANTIC 8

#define FRAME_MAX 2048
#define L4        (IP_OFF + IP6_HLEN)

static const __be32 vip6[4] = VIP6;

static bool same6(const uint8_t *p, const __be32 addr[4])
{
	return memcmp(p, addr, 16) == 0;
}

/* --- checksums, of what has a transport header --- */

struct transport {
	uint32_t off, len, check; /* check: offset of the checksum */
	uint8_t proto;
};

/* Where it is in a frame that may be anything. */
static bool transport_of(const uint8_t *p, uint32_t len, struct transport *t)
{
	uint32_t end, off = L4;
	uint8_t next;

	if (len < L4 || p[IP_OFF] >> 4 != 6)
		return false;
	end = L4 + ((uint32_t)p[IP_OFF + 4] << 8 | p[IP_OFF + 5]);
	next = p[IP_OFF + 6];
	while (is_extension(next)) {
		uint32_t size;

		if (end > len || off + 8 > end)
			return false;
		if (next == NEXT_FRAGMENT && ((p[off + 2] << 8 | p[off + 3]) & ~6))
			return false; /* of more than one */
		size = next == NEXT_FRAGMENT ? 8 : 8 + p[off + 1] * 8U;
		next = p[off];
		off += size;
	}
	*t = (struct transport){.off = off, .len = end - off, .proto = next};
	t->check = off + (next == IPPROTO_TCP ? 16 : next == IPPROTO_UDP ? 6 : 2);
	return end <= len && t->check + 2 <= end &&
	       (next == IPPROTO_TCP || next == IPPROTO_UDP || next == NEXT_ICMP);
}

static uint16_t transport_sum(const uint8_t *p, const struct transport *t)
{
	uint64_t sum = native_sum(p + IP_OFF + IP6_SADDR_OFF, 32, 0);

	sum += bpf_htonl(t->len) + (uint64_t)bpf_htonl(t->proto);
	return native_fold(native_sum(p + t->off, t->len, native_fold(sum)));
}

static bool sum_right(const uint8_t *p, uint32_t len)
{
	struct transport t;

	return transport_of(p, len, &t) && transport_sum(p, &t) == 0xffff;
}

/* --- help for the input over the first hurdles --- */

static void fix_destination(uint8_t *p)
{
	__be32 addr[4] = INST_ADDR6((uint32_t)p[IP_OFF + 39] % (INSTANCES + 1));

	switch (p[IP_OFF + 38] & 3) {
	case 0:
	case 1:
		memcpy(p + IP_OFF + 24, vip6, 16);
		break;
	case 2:
		memcpy(p + IP_OFF + 24, addr, 16);
		break;
	case 3:
		addr[0] = bpf_htonl(0xfc000000);
		addr[3] &= bpf_htonl(0xffff);
		memcpy(p + IP_OFF + 24, addr, 16);
	}
}

static void fix_up(uint8_t *p, uint32_t len, uint32_t who, uint32_t fixes)
{
	static const uint8_t ether[ETH_HLEN] = {
		2, 'w', 'e', 'f', 't', 1, 2, 0, 0, 0, 0, 0, 0x86, 0xdd};
	const __be32 source[4] = NS_ADDR6(who);
	struct transport t;

	if (fixes & FIX_ETHER && len >= ETH_HLEN) {
		memcpy(p, ether, sizeof(ether));
		p[11] = (uint8_t)who;
	}
	if (len < L4)
		return;
	if (fixes & FIX_SOURCE) {
		uint16_t payload = bpf_htons(len - L4);

		p[IP_OFF] = 0x60;
		memcpy(p + IP_OFF + 4, &payload, 2);
		memcpy(p + IP_OFF + IP6_SADDR_OFF, source, 16);
		/* What discovers neighbours is not meant for anybody in particular. */
		if (p[IP_OFF + 6] == NEXT_ICMP && len > L4 && p[L4] == ICMP6_SOLICIT)
			p[IP_OFF + 7] = 255;
	}
	if (fixes & FIX_SEMANTIC)
		fix_destination(p);
	if (fixes & FIX_CHECK && transport_of(p, len, &t)) {
		uint16_t check;

		memset(p + t.check, 0, 2);
		check = (uint16_t)~transport_sum(p, &t);
		memcpy(p + t.check, &check, 2);
	}
}

/* --- what may come out --- */

static bool is_reset(const uint8_t *in, uint32_t who)
{
	const uint8_t *out = native_bytes();

	if (native_skb.len != L4 + TCP_HLEN_MIN || native_redirected != 100 + who ||
		out[IP_OFF + 6] != IPPROTO_TCP || !(out[L4 + 13] & TCP_RST) ||
		memcmp(in + IP_OFF + 8, out + IP_OFF + 24, 16) != 0 ||
		memcmp(in + IP_OFF + 24, out + IP_OFF + 8, 16) != 0)
		return false;
	if (memcmp(in + IP_OFF + 8, in + IP_OFF + 24, 16) == 0)
		return false; /* one to its own address, from itself */
	MUST(native_summed != SUMMED_NONE || sum_right(out, native_skb.len));
	return true;
}

/* About what was sent, to who sent it, under the called address. */
static bool is_icmp_answer(const uint8_t *in, uint32_t len, uint32_t who)
{
	const uint8_t *out = native_bytes(), *icmp = out + L4;
	uint32_t room = IP6_HLEN + 8, quoted = native_skb.len - ETH_HLEN - room;

	if (native_skb.len < L4 + room + 8 || native_redirected != 100 + who ||
		native_skb.len > len + room || out[IP_OFF + 6] != NEXT_ICMP ||
		(icmp[0] != ICMP6_UNREACHABLE && icmp[0] != ICMP6_TOO_BIG) ||
		memcmp(in + IP_OFF + 24, out + IP_OFF + 8, 16) != 0 ||
		memcmp(icmp + 8, in + IP_OFF, quoted) != 0)
		return false;
	MUST(memcmp(in + IP_OFF + 8, out + IP_OFF + 24, 16) == 0);
	MUST(sum_right(out, native_skb.len));
	MUST(icmp[0] != ICMP6_TOO_BIG || (icmp[6] == MTU >> 8 && icmp[7] == (MTU & 0xff)));
	return true;
}

static bool is_advertisement(const uint8_t *in, uint32_t len, uint32_t who)
{
	const uint8_t *out = native_bytes();
	const __be32 own[4] = NS_ADDR6(who);

	if (len < L4 + sizeof(struct nd_message) || in[IP_OFF + 6] != NEXT_ICMP ||
		in[L4] != ICMP6_SOLICIT)
		return false;
	MUST(native_redirected == 100 + who && native_skb.len == ND_ANSWER_END);
	MUST(out[L4] == ICMP6_ADVERTISE && sum_right(out, native_skb.len));
	MUST(memcmp(out + L4 + 8, in + L4 + 8, 16) == 0);
	MUST(memcmp(out + L4 + 8, out + IP_OFF + 8, 16) == 0);
	MUST(!same6(out + IP_OFF + 8, own));
	return true;
}

static void check_forwarded(const uint8_t *in, uint32_t len, uint32_t who)
{
	const __be32 own[4] = NS_ADDR6(who), called[4] = INST_ADDR6(who),
		     to[4] = NS_ADDR6(native_redirected - 100);
	const uint8_t *out = native_bytes();
	bool plain = memcmp(in + IP_OFF + 8, out + IP_OFF + 8, 16) == 0;

	MUST(native_skb.len == len);
	MUST(same6(out + IP_OFF + 24, to));
	MUST(plain || same6(out + IP_OFF + 8, called) ||
		(same6(out + IP_OFF + 8, vip6) && who <= 2));
	MUST(same6(in + IP_OFF + 8, own) || (who == 4 && plain));
	if (sum_right(in, len))
		MUST(sum_right(out, len));
	/* Between the addresses and the transport nothing is another. */
	MUST(memcmp(in + IP_OFF, out + IP_OFF, 8) == 0);
}

static void check_redirected(const uint8_t *in, uint32_t len, uint32_t who)
{
	const uint8_t *out = native_bytes();

	MUST(who >= 1 && who < INSTANCES);
	MUST(memcmp(in + 6, "\2\0\0\0\0", 5) == 0 && in[11] == who);
	MUST(native_redirected > 100 && native_redirected < 100 + INSTANCES);
	/* Always from the gateway, to the device's own instance. */
	MUST(memcmp(out + 6, gateway_mac, ETH_ALEN) == 0);
	MUST(out[5] == native_redirected - 100);
	if (in[12] != 0x86 || in[13] != 0xdd)
		return;
	if (!is_advertisement(in, len, who) && !is_reset(in, who) && !is_icmp_answer(in, len, who))
		check_forwarded(in, len, who);
}

/* --- errors about what came out --- */

static uint8_t last[256];
static uint32_t last_len, last_to;

static void remember(void)
{
	last_len = native_skb.len - IP_OFF < sizeof(last) ? native_skb.len - IP_OFF : sizeof(last);
	memcpy(last, native_bytes() + IP_OFF, last_len);
	last_to = native_redirected - 100;
}

/* Make in an error about it, with its own bytes mixed in where the input says so. */
static uint32_t error_about_last(uint8_t in[FRAME_MAX], uint32_t len)
{
	uint8_t seed[8] = {0};
	uint32_t off = L4 + 8, quoted;

	memcpy(seed, in + ETH_HLEN, len - ETH_HLEN < sizeof(seed) ? len - ETH_HLEN : sizeof(seed));
	quoted = seed[0] < last_len ? seed[0] : last_len;
	memset(in + IP_OFF, 0, off - IP_OFF);
	in[IP_OFF + 6] = NEXT_ICMP;
	memcpy(in + IP_OFF + 24, last + IP6_SADDR_OFF, 16);
	in[L4] = (uint8_t)(1 + seed[1] % 5);
	in[L4 + 1] = seed[2];
	memcpy(in + off, last, quoted);
	if (quoted && seed[3])
		in[off + seed[4] % quoted] ^= seed[5];
	return off + quoted;
}

static void run(uint8_t *in, uint32_t len, uint32_t who, uint32_t linear)
{
	uint64_t before = total_drops();
	int verdict;

	native_frame(in, len, linear);
	native_skb.ifindex = 100 + who;
	native_skb.pkt_type = PACKET_OTHERHOST;
	native_summed = linear % 2 ? SUMMED_NONE : SUMMED_UNKNOWN;
	verdict = tc_instance(&native_skb);
	switch (verdict) {
	case TC_ACT_SHOT:
		MUST(total_drops() == before + 1 && !native_redirected);
		break;
	case TC_ACT_OK:
		MUST(total_drops() == before && !native_redirected);
		MUST(native_skb.len == len && memcmp(native_bytes(), in, len) == 0);
		MUST(who != 4);
		break;
	case TC_ACT_REDIRECT:
		MUST(total_drops() <= before + 1);
		check_redirected(in, len, who);
		if (native_bytes()[12] == 0x86 && native_bytes()[13] == 0xdd)
			remember();
		break;
	default:
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t in[FRAME_MAX + 8];

	if (!native_maps[0].def)
		set_up();
	forget_flows();
	last_len = 0;
	while (size > 4) {
		uint32_t who = (data[0] >> 4) % (INSTANCES + 1), fixes = data[0] & 15,
			 len = data[3] * 8U + 6;

		native_clock += (uint64_t)(data[1] & 0x7f) << 31;
		if (len > size - 4)
			len = (uint32_t)size - 4;
		if (len > ETH_HLEN) {
			uint32_t made = len;

			memcpy(in, data + 4, len);
			if (data[1] & 0x80 && last_len) {
				made = error_about_last(in, len);
				who = last_to;
				fixes = FIX_ETHER | FIX_SOURCE | FIX_CHECK;
			}
			fix_up(in, made, who, fixes);
			native_skb.vlan_present = 0;
			run(in, made, who, data[2] < ETH_HLEN ? ETH_HLEN : data[2]);
		}
		data += 4 + len;
		size -= 4 + len;
	}
	return 0;
}
