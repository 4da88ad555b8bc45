/* SPDX-License-Identifier: Apache-2.0 */
/* The data plane's program, compiled natively, on sequences of frames. The verifier proves that it
 * stays in bounds; what is looked for here is meaning: nothing leaves under a foreign address, no
 * right checksum comes out wrong, every drop is counted once, and time may jump.
 *
 * Input: frames of a header {who << 4 | fix-ups, clock, linear part, length} and their bytes. */
#pragma clang diagnostic ignored "-Wmissing-prototypes"
#pragma clang diagnostic ignored "-Wsign-compare"
#pragma clang diagnostic ignored "-Wshadow"

#include "tests/fuzz/bpf_native.h"

#include "bpf/tc_instance.bpf.c"

#define FIX_ETHER    1
#define FIX_SOURCE   2
#define FIX_CHECK    4
#define FIX_SEMANTIC 8

#define INSTANCES 5 /* 1, 2: backends; 3: client; 4: host; 0 and 5: nobody */

#define ADDR(a, b, c, d) bpf_htonl((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define VIP              ADDR(10, 30, 0, 1)

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static void *entry(void *def_map, uint32_t key)
{
	return native_lookup(def_map, &key);
}

static void instance(uint32_t id, uint32_t service, uint32_t device)
{
	struct weft_bpf_instance inst = {
		.ns_addr = ADDR(10, 18, 0, id),
		.inst_addr = ADDR(10, 30, 1, id),
		.ifindex = 100 + id,
		.service = (uint16_t)service,
		.device = (uint8_t)device,
		.active = 1,
		.epoch = id,
		.mac = {2, 0, 0, 0, 0, (uint8_t)id},
	};
	uint32_t target = WEFT_TARGET(WEFT_TARGET_INSTANCE, id);
	uint64_t dev = (uint64_t)inst.ifindex << 32 | id;

	memcpy(entry(NATIVE_MAP(&instances), id), &inst, sizeof(inst));
	memcpy(entry(NATIVE_MAP(&targets), 0x100 + id), &target, sizeof(target));
	memcpy(entry(NATIVE_MAP(&devices), inst.ifindex), &dev, sizeof(dev));
	bpf_map_update_elem(&ns_addrs, &inst.ns_addr, &id, BPF_ANY);
}

static void set_up(void)
{
	static const uint16_t order[] = {1, 2, 1};
	uint64_t word = weft_slot_word(1, 3, 0);
	uint32_t target = WEFT_TARGET(WEFT_TARGET_SERVICE, 1);
	struct weft_bpf_service svc = {.vip = VIP};

	instance(1, 1, WEFT_DEVICE_PEER);
	instance(2, 1, WEFT_DEVICE_DIRECT);
	instance(3, 0, WEFT_DEVICE_PEER);
	instance(4, 0, WEFT_DEVICE_HOST);
	memcpy(entry(NATIVE_MAP(&services), 1), &svc, sizeof(svc));
	memcpy(entry(NATIVE_MAP(&targets), 1), &target, sizeof(target));
	memcpy(entry(NATIVE_MAP(&slot_dir), 1), &word, sizeof(word));
	memcpy(entry(NATIVE_MAP(&slots), 1), order, sizeof(order));
}

static uint64_t total_drops(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < WEFT_DROP_SLOTS; i++)
		sum += *(uint64_t *)entry(NATIVE_MAP(&drops), i);
	return sum;
}

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
	if (native_skb.len == RST_TCP_OFF + TCP_HLEN_MIN && out[RST_TCP_OFF + 13] & TCP_RST &&
		source == load32(in + IP_OFF + 16) && native_redirected == 100 + who) {
		MUST(ip_check_right(out, native_skb.len));
		return; /* answered */
	}
	MUST(native_skb.len == len);
	MUST(!right || ip_check_right(out, len));
	MUST(source == load32(in + IP_OFF + 12) || source == ADDR(10, 30, 1, who) ||
		(source == VIP && who <= 2));
	MUST(load32(in + IP_OFF + 12) == ADDR(10, 18, 0, who) ||
		(who == 4 && source == load32(in + IP_OFF + 12)));
}

static void run(uint8_t *in, uint32_t len, uint32_t who, uint32_t linear)
{
	bool right = ip_check_right(in, len);
	uint64_t before = total_drops();
	int verdict;

	native_frame(in, len, linear);
	native_skb.ifindex = 100 + who;
	native_skb.pkt_type = PACKET_OTHERHOST;
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
	/* Every input begins with the same, empty tables. */
	memset(NATIVE_MAP(&flows)->values, 0, sizeof(struct weft_bucket));
	NATIVE_MAP(&fragments)->used = 0;
	native_clock = 1ULL << 40;
	while (size > 4) {
		uint32_t who = (data[0] >> 4) % (INSTANCES + 1), fixes = data[0] & 15,
			 len = data[3];

		native_clock += (uint64_t)data[1] << 31;
		if (len > size - 4)
			len = (uint32_t)size - 4;
		if (len > ETH_HLEN) {
			memcpy(in, data + 4, len);
			fix_up(in, len, who, fixes);
			run(in, len, who, data[2] < ETH_HLEN ? ETH_HLEN : data[2]);
		}
		data += 4 + len;
		size -= 4 + len;
	}
	return 0;
}
