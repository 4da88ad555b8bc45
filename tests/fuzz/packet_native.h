/* SPDX-License-Identifier: Apache-2.0 */
/* A data plane of few instances for the native program: what the fuzzers of both families run on.
 * MTU is the overlay's, defined before. */
#ifndef WEFT_FUZZ_PACKET_NATIVE_H
#define WEFT_FUZZ_PACKET_NATIVE_H

#pragma clang diagnostic ignored "-Wmissing-prototypes"
#pragma clang diagnostic ignored "-Wsign-compare"
#pragma clang diagnostic ignored "-Wshadow"
#pragma clang diagnostic ignored "-Wunused-parameter"

#include "tests/fuzz/bpf_native.h"

#include "bpf/tc_instance.bpf.c"

#define INSTANCES 5 /* 1, 2: backends; 3: client; 4: host; 0 and 5: nobody */

#define ADDR(a, b, c, d) bpf_htonl((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define VIP              ADDR(10, 30, 0, 1)

/* fc00::ID, fdff::1:ID, fdff:2000::1 */
#define NS_ADDR6(id)                                       \
	{                                                  \
		bpf_htonl(0xfc000000), 0, 0, bpf_htonl(id) \
	}
#define INST_ADDR6(id)                                                 \
	{                                                              \
		bpf_htonl(0xfdff0000), 0, 0, bpf_htonl(0x10000 | (id)) \
	}
#define VIP6                                              \
	{                                                 \
		bpf_htonl(0xfdff2000), 0, 0, bpf_htonl(1) \
	}

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
		.ns_addr6 = NS_ADDR6(id),
		.inst_addr6 = INST_ADDR6(id),
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
	bpf_map_update_elem(&ns_addrs6, &inst.ns_addr6, &id, BPF_ANY);
	bpf_map_update_elem(&targets6, &inst.inst_addr6, &target, BPF_ANY);
}

/* What the loader does to constants. */
static void set_mtu(uint32_t mtu)
{
	uintptr_t page = (uintptr_t)&overlay_mtu & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1);

	MUST(mprotect((void *)page, sizeof(mtu) + (uintptr_t)&overlay_mtu - page,
		     PROT_READ | PROT_WRITE) == 0);
	*(volatile uint32_t *)(uintptr_t)&overlay_mtu = mtu;
}

static void set_up(void)
{
	static const uint16_t order[] = {1, 2, 1};
	uint64_t word = weft_slot_word(1, 3, 0);
	uint32_t target = WEFT_TARGET(WEFT_TARGET_SERVICE, 1);
	struct weft_bpf_service svc = {
		.epoch = 1000, .vip[WEFT_POLICY_RR] = VIP, .vip6[WEFT_POLICY_RR] = VIP6};

	set_mtu(MTU);
	instance(1, 1, WEFT_DEVICE_PEER);
	instance(2, 1, WEFT_DEVICE_DIRECT);
	instance(3, 0, WEFT_DEVICE_PEER);
	instance(4, 0, WEFT_DEVICE_HOST);
	memcpy(entry(NATIVE_MAP(&services), 1), &svc, sizeof(svc));
	memcpy(entry(NATIVE_MAP(&targets), 1), &target, sizeof(target));
	bpf_map_update_elem(&targets6, svc.vip6[WEFT_POLICY_RR], &target, BPF_ANY);
	memcpy(entry(NATIVE_MAP(&slot_dir), weft_service_policy(1, WEFT_POLICY_RR)), &word,
		sizeof(word));
	memcpy(entry(NATIVE_MAP(&slots), 0), order, sizeof(order));
}

static uint64_t total_drops(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < WEFT_DROP_SLOTS; i++)
		sum += *(uint64_t *)entry(NATIVE_MAP(&drops), i);
	return sum;
}

/* Every input begins with the same, empty tables. */
static void forget_flows(void)
{
	memset(NATIVE_MAP(&flows)->values, 0, sizeof(struct weft_bucket));
	NATIVE_MAP(&fragments)->used = 0;
	NATIVE_MAP(&fragments6)->used = 0;
	native_clock = 1ULL << 40;
}

#endif
