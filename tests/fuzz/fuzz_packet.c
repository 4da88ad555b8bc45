/* SPDX-License-Identifier: Apache-2.0 */
/* The data plane's program, compiled natively, on sequences of frames. The verifier proves that it
 * stays in bounds; what is looked for here is meaning: nothing leaves under a foreign address, no
 * right checksum comes out wrong, every drop is counted once, and time may jump.
 *
 * Input: frames of a header {who << 4 | fix-ups, clock, linear part, length} and their bytes. The
 * clock's high bits ask for an error about the last frame instead, and for a VLAN tag. */
#define MTU 100
#include "tests/fuzz/packet_native.h"

#define FIX_ETHER    1
#define FIX_SOURCE   2
#define FIX_CHECK    4
#define FIX_SEMANTIC 8

static uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static bool ip_check_right(const uint8_t *frame_bytes, uint32_t len)
{
	uint32_t hlen = len > IP_OFF ? (frame_bytes[IP_OFF] & 15) * 4U : 0;

	return hlen >= IP_HLEN_MIN && IP_OFF + hlen <= len &&
	       native_fold(native_sum(frame_bytes + IP_OFF, hlen, 0)) == 0xffff;
}

/* Help the input over the first hurdles. */
static void fix_up(uint8_t *p, uint32_t len, uint32_t who, uint32_t fixes)
{
	static const uint8_t ether[ETH_HLEN] = {2, 'w', 'e', 'f', 't', 1, 2, 0, 0, 0, 0, 0, 8, 0};
	uint32_t source = ADDR(10, 18, 0, who);

	if (fixes & FIX_ETHER && len >= ETH_HLEN) {
		memcpy(p, ether, sizeof(ether));
		p[11] = (uint8_t)who;
	}
	if (len < IP_OFF + IP_HLEN_MIN)
		return;
	if (fixes & FIX_SOURCE) {
		uint16_t tot = bpf_htons(len - IP_OFF);

		memcpy(p + IP_OFF + 12, &source, 4);
		memcpy(p + IP_OFF + 2, &tot, 2);
		p[IP_OFF] = (uint8_t)(0x45 + (p[IP_OFF] & 1));
	}
	if (fixes & FIX_SEMANTIC) {
		p[IP_OFF + 16] = 10;
		p[IP_OFF + 17] = 30;
		p[IP_OFF + 18] &= 1;
		p[IP_OFF + 19] %= INSTANCES + 1;
	}
	if (fixes & FIX_CHECK && IP_OFF + (p[IP_OFF] & 15) * 4U <= len) {
		uint16_t check;

		memset(p + IP_OFF + 10, 0, 2);
		check = (uint16_t)~native_fold(native_sum(p + IP_OFF, (p[IP_OFF] & 15) * 4U, 0));
		memcpy(p + IP_OFF + 10, &check, 2);
	}
}

/* An error of the overlay's own: about what was sent, to who sent it, under the called address. */
static bool is_icmp_answer(const uint8_t *in, uint32_t len, uint32_t who)
{
	const uint8_t *out = native_bytes(), *icmp = out + RST_TCP_OFF;
	uint32_t room = IP_HLEN_MIN + 8, quoted = native_skb.len - ETH_HLEN - room;
	uint16_t right;

	/* There are no errors about errors: this one is only passed on. */
	if (in[IP_OFF + 9] == IPPROTO_ICMP && in[RST_TCP_OFF] != ICMP_ECHO &&
		in[RST_TCP_OFF] != ICMP_ECHOREPLY)
		return false;
	if (native_skb.len < RST_TCP_OFF + room + 8 || native_redirected != 100 + who ||
		native_skb.len > len + room || out[IP_OFF + 9] != IPPROTO_ICMP ||
		icmp[0] != ICMP_UNREACHABLE ||
		load32(in + IP_OFF + 16) != load32(out + IP_OFF + 12) ||
		memcmp(icmp + 8, in + IP_OFF, quoted) != 0)
		return false;
	MUST(ip_check_right(out, native_skb.len));
	MUST(load32(in + IP_OFF + 12) == load32(out + IP_OFF + 16));
	right = native_fold(native_sum(icmp, 8 + quoted, 0));
	MUST(right == 0xffff);
	MUST(icmp[1] != ICMP_NEEDS_FRAG || icmp[7] == MTU);
	return true;
}

/* A whole checksum that came in right goes out right; what an error quotes is part of its own. */
static void check_icmp_sum(const uint8_t *in, uint32_t len)
{
	const uint8_t *out = native_bytes();
	uint32_t hlen = (in[IP_OFF] & 15) * 4U,
		 tot = (uint32_t)in[IP_OFF + 2] << 8 | in[IP_OFF + 3];

	if (in[IP_OFF + 9] != IPPROTO_ICMP || in[IP_OFF + 6] & 0x3f || in[IP_OFF + 7] ||
		tot < hlen + 8 || IP_OFF + tot > len)
		return;
	if (native_fold(native_sum(in + IP_OFF + hlen, tot - hlen, 0)) == 0xffff)
		MUST(native_fold(native_sum(out + IP_OFF + hlen, tot - hlen, 0)) == 0xffff);
}

static void check_redirected(const uint8_t *in, uint32_t len, uint32_t who, bool right)
{
	const uint8_t *out = native_bytes();
	uint32_t source, target;

	MUST(who >= 1 && who < INSTANCES);
	MUST(memcmp(in + 6, "\2\0\0\0\0", 5) == 0 && in[11] == who);
	MUST(native_redirected > 100 && native_redirected < 100 + INSTANCES);
	/* Always from the gateway, to the device's own instance. */
	MUST(memcmp(out + 6, gateway_mac, ETH_ALEN) == 0);
	MUST(out[5] == native_redirected - 100);
	if (in[12] != 8 || in[13] != 0)
		return;
	source = load32(out + IP_OFF + 12);
	target = load32(out + IP_OFF + 16);
	MUST(target == ADDR(10, 18, 0, native_redirected - 100));
	/* Who calls its own instance address looks like this too, but no RST answers a RST. */
	if (native_skb.len == RST_TCP_OFF + TCP_HLEN_MIN && out[RST_TCP_OFF + 13] & TCP_RST &&
		source == load32(in + IP_OFF + 16) && native_redirected == 100 + who &&
		!(in[RST_TCP_OFF + 13] & TCP_RST)) {
		MUST(ip_check_right(out, native_skb.len));
		return; /* answered */
	}
	if (is_icmp_answer(in, len, who))
		return;
	MUST(native_skb.len == len);
	check_icmp_sum(in, len);
	MUST(!right || ip_check_right(out, len));
	MUST(source == load32(in + IP_OFF + 12) || source == ADDR(10, 30, 1, who) ||
		(source == VIP && who <= 2));
	MUST(load32(in + IP_OFF + 12) == ADDR(10, 18, 0, who) ||
		(who == 4 && source == load32(in + IP_OFF + 12)));
}

/* The last frame that was delivered as it arrived, for errors to quote. */
static uint8_t last[128];
static uint32_t last_len, last_to;

static void remember(void)
{
	last_len = native_skb.len - IP_OFF < sizeof(last) ? native_skb.len - IP_OFF : sizeof(last);
	memcpy(last, native_bytes() + IP_OFF, last_len);
	last_to = native_redirected - 100;
}

/* Make in an error about it, with its own bytes mixed in where the input says so. */
static uint32_t error_about_last(uint8_t in[512], uint32_t len)
{
	static const uint8_t types[] = {3, 11, 12, 5};
	uint8_t seed[8] = {0};
	uint32_t off = IP_OFF + IP_HLEN_MIN + 8, quoted;
	uint16_t check;

	memcpy(seed, in + ETH_HLEN, len - ETH_HLEN < sizeof(seed) ? len - ETH_HLEN : sizeof(seed));
	quoted = seed[0] < last_len ? seed[0] : last_len;
	memset(in + IP_OFF, 0, off - IP_OFF);
	in[IP_OFF] = 0x44; /* 5 words, after fix_up() */
	in[IP_OFF + 9] = IPPROTO_ICMP;
	memcpy(in + IP_OFF + 16, last + 12, 4);
	in[IP_OFF + 20] = types[seed[1] & 3];
	in[IP_OFF + 21] = seed[2];
	memcpy(in + off, last, quoted);
	if (quoted && seed[3])
		in[off + seed[4] % quoted] ^= seed[5];
	check = (uint16_t)~native_fold(native_sum(in + IP_OFF + 20, 8 + quoted, 0));
	memcpy(in + IP_OFF + 22, &check, 2);
	return off + quoted;
}

static void run(uint8_t *in, uint32_t len, uint32_t who, uint32_t linear)
{
	bool right = ip_check_right(in, len);
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
		check_redirected(in, len, who, right);
		if (native_bytes()[12] == 8 && native_bytes()[13] == 0)
			remember();
		break;
	default:
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t in[512];

	if (!native_maps[0].def)
		set_up();
	forget_flows();
	last_len = 0;
	while (size > 4) {
		uint32_t who = (data[0] >> 4) % (INSTANCES + 1), fixes = data[0] & 15,
			 len = data[3];

		native_clock += (uint64_t)data[1] << 31;
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
			native_skb.vlan_present = data[1] >> 6 & 1;
			native_skb.vlan_tci = data[1] & 0x30;
			run(in, made, who, data[2] < ETH_HLEN ? ETH_HLEN : data[2]);
		}
		data += 4 + len;
		size -= 4 + len;
	}
	return 0;
}
