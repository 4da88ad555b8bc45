/* SPDX-License-Identifier: Apache-2.0 */
/* The uplink's programs, compiled natively, on what may arrive there. Nothing but a known peer's
 * datagram may come in, nothing of another's or of nobody's instance; what is no datagram of the
 * tunnel is not touched; every drop is counted once; and with XDP in front, or without
 * the Ethernet header, the outcome is the same.
 *
 * Input: datagrams of a header {how, fix-ups, linear part, length} and their bytes, which are the
 * whole frame or what is inside. */
#pragma clang diagnostic ignored "-Wmissing-prototypes"
#pragma clang diagnostic ignored "-Wsign-compare"
#pragma clang diagnostic ignored "-Wshadow"
#pragma clang diagnostic ignored "-Wunused-parameter"
#pragma clang diagnostic ignored "-Wpointer-arith"

#include "tests/fuzz/bpf_native.h"

#include "bpf/tc_uplink.bpf.c"

#define LICENSE LICENSE_XDP
#include "bpf/xdp_uplink.bpf.c"

/* how */
#define WRAP    1
#define V6      2
#define VXLAN   4
#define SUPER   8
#define CHECKED 16
#define TRANSIT 32
#define PEER(x) ((x) >> 6) /* 0: a stranger, 3: one to which there is no way */

/* fix-ups of the inner packet */
#define FIX_ADDRS  1
#define FIX_LENGTH 2
#define FIX_CHECK  4
#define FIX_TARGET 8
#define WHO(x)     ((x) >> 4)

#define FRAME_MAX 512
#define RAW_PORT  50103

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

/* fc00::ID and fdff::ID */
static void instance_addrs6(uint32_t id, __be32 ns[4], __be32 inst[4])
{
	ns[0] = bpf_htonl(0xfc000000U);
	inst[0] = bpf_htonl(0xfdff0000U);
	ns[1] = ns[2] = inst[1] = inst[2] = 0;
	ns[3] = inst[3] = bpf_htonl(id);
}

/* 1: here; 2: here, on a tap; 3, 4: behind peers 1 and 2, both backends of a service; 5: the host
 */
static void instance(uint32_t id, uint32_t service, uint32_t device, uint32_t peer)
{
	struct weft_bpf_instance inst = {
		.ns_addr = ADDR(10, 18, 0, id),
		.inst_addr = ADDR(10, 30, 1, id),
		.ifindex = peer ? 0 : 100 + id,
		.service = (uint16_t)service,
		.device = (uint8_t)device,
		.active = 1,
		.epoch = id,
		.mac = {2, 0, 0, 0, 0, (uint8_t)id},
		.peer = (uint16_t)peer,
	};
	uint32_t target = WEFT_TARGET(WEFT_TARGET_INSTANCE, id);

	instance_addrs6(id, inst.ns_addr6, inst.inst_addr6);
	memcpy(entry(NATIVE_MAP(&instances), id), &inst, sizeof(inst));
	memcpy(entry(NATIVE_MAP(&targets), 0x100 + id), &target, sizeof(target));
	bpf_map_update_elem(&ns_addrs, &inst.ns_addr, &id, BPF_ANY);
	bpf_map_update_elem(&targets6, inst.inst_addr6, &target, BPF_ANY);
	bpf_map_update_elem(&ns_addrs6, inst.ns_addr6, &id, BPF_ANY);
}

/* Node n has 192.0.2.(10 + n) or 2001:db8::(10 + n), we have the 1 of both. */
static void underlay(uint32_t n, bool v6, __be32 ret[4])
{
	memset(ret, 0, 16);
	ret[0] = v6 ? ADDR(0x20, 1, 0xd, 0xb8) : 0;
	ret[2] = v6 ? 0 : bpf_htonl(0xffff);
	ret[3] = v6 ? bpf_htonl(n) : ADDR(192, 0, 2, n);
}

static void peer(uint32_t id, uint32_t n, bool v6, bool active)
{
	struct weft_bpf_peer p = {
		.ifindex = 77,
		.mtu = 1400,
		.port = bpf_htons(RAW_PORT),
		.family = v6 ? 6 : 4,
		.active = active,
	};
	uint64_t value = id;

	underlay(10 + n, v6, p.addr);
	underlay(1, v6, p.local);
	memcpy(entry(NATIVE_MAP(&peers), id), &p, sizeof(p));
	memcpy(entry(NATIVE_MAP(&peers_by_addr), weft_peer_hash(p.addr) % WEFT_PEER_SLOTS), &value,
		sizeof(value));
}

/* What the loader does to constants. */
static void set_constant(const volatile void *at, const void *value, size_t size)
{
	uintptr_t mask = ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1), page = (uintptr_t)at & mask;

	MUST(mprotect((void *)page, size + (uintptr_t)at - page, PROT_READ | PROT_WRITE) == 0);
	memcpy((void *)(uintptr_t)at, value, size);
}

static void set_up(void)
{
	struct weft_bpf_service svc = {.epoch = 1000, .vip[WEFT_POLICY_RR] = VIP};
	const __be16 raw = bpf_htons(RAW_PORT), vxlan = bpf_htons(RAW_PORT + 1);
	const uint32_t mtu = 1450;
	const bool yes = true;

	set_constant(&tunnel_port, &raw, sizeof(raw));
	set_constant(&vxlan_port, &vxlan, sizeof(vxlan));
	set_constant(&overlay_mtu, &mtu, sizeof(mtu));
	set_constant(&decap_sets_protocol, &yes, sizeof(yes));
	instance(1, 0, WEFT_DEVICE_PEER, 0);
	instance(2, 0, WEFT_DEVICE_DIRECT, 0);
	instance(3, 1, WEFT_DEVICE_REMOTE, 1);
	instance(4, 1, WEFT_DEVICE_REMOTE, 2);
	instance(5, 0, WEFT_DEVICE_HOST, 0);
	instance(6, 1, WEFT_DEVICE_REMOTE, 4);
	memcpy(entry(NATIVE_MAP(&services), 1), &svc, sizeof(svc));
	peer(1, 1, false, true);
	peer(2, 2, false, true);
	peer(3, 3, false, false);
	peer(4, 1, true, true);
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

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put_check(uint8_t *ip, uint32_t hlen)
{
	uint16_t check;

	memset(ip + 10, 0, 2);
	check = (uint16_t)~native_fold(native_sum(ip, hlen, 0));
	memcpy(ip + 10, &check, 2);
}

/* Help the inner packet over its first hurdles. */
static void fix_inner(uint8_t *ip, uint32_t len, uint8_t fixes)
{
	__be32 from = ADDR(10, 30, 1, WHO(fixes) & 7), to = ADDR(10, 18, 0, WHO(fixes) & 7);
	__be32 ns6[4], inst6[4];

	if (len >= 40 && ip[0] >> 4 == 6) {
		if (fixes & FIX_LENGTH)
			put16(ip + 4, len - 40);
		instance_addrs6(WHO(fixes) & 7, ns6, inst6);
		if (fixes & FIX_ADDRS)
			memcpy(ip + 8, inst6, 16);
		instance_addrs6(1 + (ip[39] & 1), ns6, inst6);
		if (fixes & FIX_TARGET)
			memcpy(ip + 24, ns6, 16);
		return;
	}
	if (len < IP_HLEN_MIN)
		return;
	if (fixes & FIX_LENGTH) {
		ip[0] = 0x45;
		put16(ip + 2, len);
	}
	if (fixes & FIX_ADDRS)
		memcpy(ip + 12, &from, 4);
	if (fixes & FIX_TARGET) {
		to = ADDR(10, 18, 0, 1 + (ip[19] & 1));
		memcpy(ip + 16, &to, 4);
	}
	if (fixes & FIX_CHECK && (ip[0] & 15) * 4U <= len)
		put_check(ip, (ip[0] & 15) * 4U);
}

/* The outer headers in front of what is at frame + room; the frame's length. */
static uint32_t wrap(uint8_t *frame_bytes, uint32_t len, uint8_t how)
{
	bool v6 = how & V6, vxlan = how & VXLAN;
	uint32_t iph = v6 ? 40 : 20, udp = ETH_HLEN + iph, room = iph + 8 + (vxlan ? 22 : 0),
		 total = ETH_HLEN + room + len;
	uint8_t *ip = frame_bytes + ETH_HLEN, *uh = frame_bytes + udp, inner = 0;
	__be32 from[4], to[4];

	inner = frame_bytes[ETH_HLEN + room] >> 4;
	memset(frame_bytes, 0, ETH_HLEN + room);
	put16(frame_bytes + 12, v6 ? ETH_P_IPV6 : ETH_P_IP);
	underlay(10 + PEER(how), v6, from);
	underlay(1, v6, to);
	if (v6) {
		ip[0] = 0x60;
		put16(ip + 4, total - udp);
		ip[6] = IPPROTO_UDP;
		memcpy(ip + 8, from, 16);
		memcpy(ip + 24, to, 16);
	} else {
		ip[0] = 0x45;
		put16(ip + 2, total - ETH_HLEN);
		ip[9] = IPPROTO_UDP;
		memcpy(ip + 12, &from[3], 4);
		memcpy(ip + 16, &to[3], 4);
		put_check(ip, 20);
	}
	put16(uh, 50000);
	put16(uh + 2, RAW_PORT + vxlan);
	put16(uh + 4, total - udp);
	put16(uh + 6, how & CHECKED ? 0x1234 : 0);
	if (vxlan) {
		uh[8] = 8;
		put16(uh + 8 + 5, WEFT_VXLAN_VNI);
		put16(uh + 8 + 8 + 12, inner == 6 ? ETH_P_IPV6 : ETH_P_IP);
	}
	return total;
}

/* Who may have sent it: read again from the frame, as simply as can be. */
static uint32_t sender(const uint8_t *in, uint32_t len)
{
	__be32 addr[4] = {0, 0, bpf_htonl(0xffff), 0};

	MUST(len >= ETH_HLEN + 20);
	if (in[12] == 8)
		memcpy(&addr[3], in + ETH_HLEN + 12, 4);
	else
		memcpy(addr, in + ETH_HLEN + 8, 16);
	for (uint32_t id = 1; id <= 4; id++) {
		const struct weft_bpf_peer *p = entry(NATIVE_MAP(&peers), id);

		if (p->active && memcmp(p->addr, addr, sizeof(addr)) == 0)
			return id;
	}
	return 0;
}

static void check_delivered(const uint8_t *in, uint32_t len)
{
	const uint8_t *out = native_bytes();
	static const uint32_t behind[] = {0, 3, 4, 0, 6};
	uint32_t from = behind[sender(in, len)], to = native_redirected - 100;

	MUST(from);
	MUST(to == 1 || to == 2 || to == 5);
	MUST(native_skb.len >= ETH_HLEN + IP_HLEN_MIN && native_skb.len < len);
	MUST(out[0] == 2 && out[5] == to);
	if (out[12] == 0x86 && out[13] == 0xdd) {
		__be32 ns6[4], inst6[4];

		instance_addrs6(from, ns6, inst6);
		MUST(memcmp(out + ETH_HLEN + 8, inst6, 16) == 0);
		instance_addrs6(to, ns6, inst6);
		MUST(memcmp(out + ETH_HLEN + 24, ns6, 16) == 0);
		return;
	}
	MUST(out[12] == 8 && out[13] == 0);
	MUST(load32(out + ETH_HLEN + 16) == ADDR(10, 18, 0, to));
	MUST(load32(out + ETH_HLEN + 12) == ADDR(10, 30, 1, from) ||
		load32(out + ETH_HLEN + 12) == VIP);
}

struct outcome {
	int verdict;
	uint32_t len, device;
	uint8_t bytes[FRAME_MAX];
};

static void note(struct outcome *o, int verdict)
{
	o->verdict = verdict;
	o->len = native_skb.len;
	o->device = native_redirected;
	memcpy(o->bytes, native_bytes(), native_skb.len);
}

static void run_tc(const uint8_t *in, uint32_t len, struct outcome *ret)
{
	uint64_t before = total_drops();
	int verdict = tc_uplink(&native_skb);

	switch (verdict) {
	case TC_ACT_UNSPEC:
		MUST(total_drops() == before && !native_redirected);
		MUST(native_skb.len == len && memcmp(native_bytes(), in, len) == 0);
		break;
	case TC_ACT_SHOT:
		MUST(total_drops() == before + 1 && !native_redirected);
		break;
	case TC_ACT_REDIRECT:
		MUST(total_drops() == before);
		check_delivered(in, len);
		break;
	default:
		abort();
	}
	note(ret, verdict);
}

/* Through XDP first: then TC must come to the same. */
static void run_xdp(const uint8_t *in, uint32_t len, struct outcome *ret)
{
	uint64_t before = total_drops();
	struct xdp_md xdp;
	int verdict;

	native_frame(in, len, len);
	xdp = (struct xdp_md){
		.data = native_skb.data,
		.data_end = native_skb.data_end,
		.data_meta = native_skb.data,
	};
	verdict = xdp_uplink(&xdp);
	MUST(verdict == XDP_PASS || verdict == XDP_DROP);
	MUST(total_drops() == before + (verdict == XDP_DROP));
	if (verdict == XDP_DROP) {
		*ret = (struct outcome){.verdict = TC_ACT_SHOT};
		return;
	}
	native_skb.data = xdp.data;
	native_skb.data_meta = xdp.data_meta;
	native_skb.len = xdp.data_end - xdp.data;
	if (xdp.data_meta == xdp.data)
		MUST(native_skb.len == len && memcmp(native_bytes(), in, len) == 0);
	note(ret, tc_uplink(&native_skb));
}

/* Without the Ethernet header, as behind generic XDP: the same again, but for what is nobody's. */
static void run_headless(const uint8_t *in, uint32_t len, uint32_t linear, struct outcome *ret)
{
	native_frame(in, len, linear);
	native_skb.data += ETH_HLEN;
	native_skb.data_meta = native_skb.data;
	native_skb.len -= ETH_HLEN;
	native_headless = true;
	note(ret, tc_uplink(&native_skb));
	native_headless = false;
}

static void run(const uint8_t *in, uint32_t len, uint32_t linear, uint8_t how)
{
	struct native_map *m = NATIVE_MAP(&flows);
	static uint8_t saved[2 * sizeof(struct weft_bucket)];
	size_t size = (size_t)m->max * m->value_size;
	static struct outcome plain, headless_too, behind_xdp;
	uint32_t fragments_used = NATIVE_MAP(&fragments)->used;

	MUST(size <= sizeof(saved));
	memcpy(saved, m->values, size);
	native_fib = how & TRANSIT ? BPF_FIB_LKUP_RET_SUCCESS : BPF_FIB_LKUP_RET_NOT_FWDED;
	native_frame(in, len, linear);
	native_skb.ifindex = 77;
	native_skb.gso_size = how & SUPER ? 100 : 0;
	run_tc(in, len, &plain);
	native_skb.gso_size = 0;
	if (how & SUPER)
		return; /* never before GRO */
	memcpy(m->values, saved, size);
	NATIVE_MAP(&fragments)->used = fragments_used;
	run_headless(in, len, linear, &headless_too);
	MUST(plain.verdict == headless_too.verdict && plain.device == headless_too.device);
	MUST(plain.verdict != TC_ACT_REDIRECT ||
		(plain.len == headless_too.len &&
			memcmp(plain.bytes, headless_too.bytes, plain.len) == 0));
	memcpy(m->values, saved, size);
	NATIVE_MAP(&fragments)->used = fragments_used;
	run_xdp(in, len, &behind_xdp);
	MUST(plain.verdict == behind_xdp.verdict);
	if (plain.verdict != TC_ACT_REDIRECT)
		return;
	/* Padding of the outer frame may be left behind by one and not by the other: neither. */
	MUST(plain.len == behind_xdp.len && plain.device == behind_xdp.device);
	MUST(memcmp(plain.bytes, behind_xdp.bytes, plain.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t in[FRAME_MAX];

	if (!native_maps[0].def)
		set_up();
	memset(NATIVE_MAP(&flows)->values, 0,
		(size_t)NATIVE_MAP(&flows)->max * sizeof(struct weft_bucket));
	NATIVE_MAP(&fragments)->used = 0;
	native_clock = 1ULL << 40;
	while (size > 4) {
		uint8_t how = data[0], fixes = data[1];
		uint32_t len = data[3] < size - 4 ? data[3] : (uint32_t)size - 4, total = len;
		uint32_t room = ETH_HLEN + (how & V6 ? 40 : 20) + 8 + (how & VXLAN ? 22 : 0);

		native_clock += (uint64_t)data[2] << 31;
		if (how & WRAP && len) {
			memcpy(in + room, data + 4, len);
			fix_inner(in + room, len, fixes);
			total = wrap(in, len, how);
		} else {
			memcpy(in, data + 4, len);
		}
		if (total > ETH_HLEN)
			run(in, total, data[2] < ETH_HLEN ? ETH_HLEN : data[2], how);
		data += 4 + len;
		size -= 4 + len;
	}
	return 0;
}
