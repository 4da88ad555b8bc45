/* SPDX-License-Identifier: Apache-2.0 */
/* Enough of the kernel to run the data plane's program as plain C: include this instead of
 * <bpf/bpf_helpers.h>, then the program's source. One thread, one processor; maps live for the
 * process; a frame is one contiguous piece whose end is a guard page. */
#ifndef WEFT_FUZZ_BPF_NATIVE_H
#define WEFT_FUZZ_BPF_NATIVE_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define __BPF_HELPERS__ /* libbpf's header is not wanted */
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline      __attribute__((noinline))
#define SEC(name)
#define __uint(name, val) int(*name)[val]
#define __type(name, val) __typeof__(val) *name

/* --- maps: keyed by the address of their definition --- */

struct native_map {
	const void *def;
	uint32_t type, key_size, value_size, max, used;
	uint8_t *keys, *values;
};
static struct native_map native_maps[32];

static inline struct native_map *native_map(
	const void *def, uint32_t type, uint32_t key_size, uint32_t value_size, uint32_t max)
{
	struct native_map *m = native_maps;

	while (m->def && m->def != def)
		m++;
	if (!m->def) {
		*m = (struct native_map){def, type, key_size, value_size, max, 0, NULL, NULL};
		m->keys = calloc(max, key_size);
		m->values = aligned_alloc(64, ((size_t)max * value_size + 63) / 64 * 64);
		memset(m->values, 0, (size_t)max * value_size);
	}
	return m;
}

static inline bool native_is_hash(const struct native_map *m)
{
	return m->type == BPF_MAP_TYPE_HASH || m->type == BPF_MAP_TYPE_LRU_HASH;
}

static inline void *native_lookup(struct native_map *m, const void *key)
{
	uint32_t i;

	if (native_is_hash(m)) {
		for (i = 0; i < m->used; i++)
			if (memcmp(m->keys + (size_t)i * m->key_size, key, m->key_size) == 0)
				return m->values + (size_t)i * m->value_size;
		return NULL;
	}
	memcpy(&i, key, sizeof(i));
	return i < m->max ? m->values + (size_t)i * m->value_size : NULL;
}

static inline long native_update(struct native_map *m, const void *key, const void *value)
{
	void *place = native_lookup(m, key);

	if (!place) {
		/* A full one forgets everything: simpler than the least recently used. */
		if (m->used == m->max)
			m->used = 0;
		memcpy(m->keys + (size_t)m->used * m->key_size, key, m->key_size);
		place = m->values + (size_t)m->used++ * m->value_size;
	}
	memcpy(place, value, m->value_size);
	return 0;
}

#define NATIVE_MAP(map)                                                          \
	native_map(map, sizeof(*(map)->type) / sizeof(int), sizeof(*(map)->key), \
		sizeof(*(map)->value), sizeof(*(map)->max_entries) / sizeof(int))
#define bpf_map_lookup_elem(map, key)               native_lookup(NATIVE_MAP(map), key)
#define bpf_map_update_elem(map, key, value, flags) native_update(NATIVE_MAP(map), key, value)

/* Nobody reads. */
#define bpf_ringbuf_reserve(map, size, flags) ((void)(map), (void *)0)
#define bpf_ringbuf_submit(data, flags)       ((void)(data))
#define bpf_ringbuf_discard(data, flags)      ((void)(data))

/* --- frames --- */

#define NATIVE_FRAME_MAX 4096

static struct __sk_buff native_skb;
static uint64_t native_clock;
static uint32_t native_redirected; /* device, 0: not */

/* The program reads 32-bit addresses, so the frame lies low; its IP header is aligned, as the
 * kernel sees to. linear is how much is there without pulling. */
static inline void native_frame(const void *data, uint32_t len, uint32_t linear)
{
	static uint8_t *area;
	uintptr_t start;

	if (!area) {
		area = mmap((void *)0x10000000, NATIVE_FRAME_MAX * 2, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (area == MAP_FAILED ||
			mprotect(area + NATIVE_FRAME_MAX, NATIVE_FRAME_MAX, PROT_NONE) < 0)
			abort();
	}
	start = (((uintptr_t)area + NATIVE_FRAME_MAX - len - 2) & ~(uintptr_t)3) + 2;
	if (start + len > (uintptr_t)area + NATIVE_FRAME_MAX)
		start -= 4;
	memcpy((void *)start, data, len);
	native_skb.data = (uint32_t)start;
	native_skb.data_end = (uint32_t)start + (linear < len ? linear : len);
	native_skb.data_meta = native_skb.data;
	native_skb.len = len;
	native_skb.protocol = 0;
	if (len >= 14)
		memcpy(&native_skb.protocol, (const uint8_t *)data + 12, 2);
	native_redirected = 0;
}

static inline uint8_t *native_bytes(void)
{
	return (void *)(uintptr_t)native_skb.data;
}

/* --- helpers --- */

static inline uint64_t bpf_ktime_get_coarse_ns(void)
{
	return native_clock;
}

#define bpf_ktime_get_ns() bpf_ktime_get_coarse_ns()

static inline uint64_t bpf_jiffies64(void)
{
	return native_clock;
}

/* In bpf/kern_ctx.h's place. */
#define WEFT_BPF_KERN_CTX_H
enum skb_summed {
	SUMMED_NONE,
	SUMMED_UNNECESSARY,
	SUMMED_COMPLETE,
	SUMMED_PARTIAL,
	SUMMED_UNKNOWN,
};
static enum skb_summed native_summed = SUMMED_UNKNOWN;

static inline enum skb_summed skb_summed(struct __sk_buff *skb)
{
	(void)skb;
	return native_summed;
}

static bool native_headless;

static inline bool skb_headless(struct __sk_buff *skb)
{
	(void)skb;
	return native_headless;
}

static inline long bpf_skb_change_head(struct __sk_buff *skb, uint32_t grow, uint64_t flags)
{
	(void)flags;
	skb->data -= grow;
	skb->len += grow;
	memset((void *)(uintptr_t)skb->data, 0, grow);
	native_headless = false;
	return 0;
}

static inline long bpf_skb_pull_data(struct __sk_buff *skb, uint32_t len)
{
	if (len > skb->len)
		return -1;
	if (skb->data + len > skb->data_end)
		skb->data_end = skb->data + len;
	return 0;
}

static inline long bpf_skb_change_type(struct __sk_buff *skb, uint32_t type)
{
	skb->pkt_type = type;
	return 0;
}

static inline long bpf_skb_change_tail(struct __sk_buff *skb, uint32_t len, uint64_t flags)
{
	uint8_t *old = native_bytes();
	uint32_t more = len > skb->len ? (len - skb->len + 3) / 4 * 4 : 0;

	(void)flags;
	/* It ends at the guard page: to grow, it moves away from there. */
	skb->data -= more;
	memmove(native_bytes(), old, skb->len);
	if (more)
		memset(native_bytes() + skb->len, 0, len - skb->len);
	skb->data_end -= more;
	skb->len = len;
	if (more || skb->data_end > skb->data + len)
		skb->data_end = skb->data + len;
	return 0;
}

/* Only of what a device has summed up. */
static inline long bpf_csum_update(struct __sk_buff *skb, uint32_t sum)
{
	(void)skb;
	(void)sum;
	return -1;
}

static inline long bpf_skb_load_bytes(struct __sk_buff *skb, uint32_t off, void *to, uint32_t len)
{
	if (off + len > skb->len)
		return -1;
	memcpy(to, native_bytes() + off, len);
	return 0;
}

static inline long bpf_skb_store_bytes(
	struct __sk_buff *skb, uint32_t off, const void *from, uint32_t len, uint64_t flags)
{
	(void)flags;
	if (off + len > skb->len)
		return -1;
	memcpy(native_bytes() + off, from, len);
	return 0;
}

/* Behind the hardware header, which is all that is asked for. */
static inline long bpf_skb_adjust_room(
	struct __sk_buff *skb, int32_t grow, uint32_t mode, uint64_t flags)
{
	uint8_t *old = native_bytes();

	(void)mode;
	(void)flags;
	if (grow < 0 && (uint32_t)-grow + 14 + 20 > skb->len)
		return -1;
	if (skb->data - (uint32_t)grow + 14 > skb->data_end)
		bpf_skb_pull_data(skb, 14 + (uint32_t)-grow);
	skb->data -= (uint32_t)grow;
	skb->len += (uint32_t)grow;
	memmove(native_bytes(), old, 14);
	return 0;
}

/* Only the room, which is all that is counted on: 20 bytes more or less. */
static inline long bpf_skb_change_proto(struct __sk_buff *skb, uint16_t proto, uint64_t flags)
{
	(void)flags;
	return bpf_skb_adjust_room(skb, proto == __builtin_bswap16(0x86dd) ? 20 : -20, 0, 0);
}

static inline uint32_t bpf_get_hash_recalc(struct __sk_buff *skb)
{
	return skb->len * 0x9e3779b1U;
}

static inline long bpf_skb_vlan_pop(struct __sk_buff *skb)
{
	skb->vlan_present = 0;
	return 0;
}

static inline long native_redirect(uint32_t ifindex)
{
	native_redirected = ifindex;
	return 7; /* TC_ACT_REDIRECT */
}
#define bpf_redirect(ifindex, flags)                     native_redirect(ifindex)
#define bpf_redirect_peer(ifindex, flags)                native_redirect(ifindex)
#define bpf_redirect_neigh(ifindex, params, plen, flags) native_redirect(ifindex)

/* --- XDP: the same frame, whole --- */

static __attribute__((unused)) long native_fib; /* what a route lookup answers */
#define bpf_fib_lookup(ctx, params, plen, flags) ((void)(ctx), (void)(params), native_fib)

static inline long bpf_xdp_adjust_meta(struct xdp_md *xdp, int delta)
{
	xdp->data_meta = xdp->data + (uint32_t)delta;
	return 0;
}

static inline long bpf_xdp_adjust_head(struct xdp_md *xdp, int delta)
{
	uint32_t meta = xdp->data - xdp->data_meta;

	if (xdp->data + (uint32_t)delta + 14 > xdp->data_end)
		return -1;
	memmove((void *)(uintptr_t)(xdp->data_meta + (uint32_t)delta),
		(void *)(uintptr_t)xdp->data_meta, meta);
	xdp->data += (uint32_t)delta;
	xdp->data_meta += (uint32_t)delta;
	return 0;
}

static inline uint64_t bpf_xdp_get_buff_len(struct xdp_md *xdp)
{
	return xdp->data_end - xdp->data;
}

static inline uint64_t native_sum(const void *data, uint32_t len, uint64_t sum)
{
	const uint8_t *p = data;

	for (uint32_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(p[i] | p[i + 1] << 8);
	if (len & 1)
		sum += p[len - 1];
	return sum;
}

static inline uint16_t native_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static inline int64_t bpf_csum_diff(
	const void *from, uint32_t from_len, const void *to, uint32_t to_len, uint32_t seed)
{
	return native_fold(native_sum(to, to_len, seed) +
			   (uint16_t)~native_fold(native_sum(from, from_len, 0)) * !!from_len);
}

/* A whole checksum, by difference: what the program asks for. */
static inline long bpf_l4_csum_replace(
	struct __sk_buff *skb, uint32_t off, uint64_t from, uint64_t to, uint64_t flags)
{
	uint16_t check;

	if (off + 2 > skb->len)
		return -1;
	memcpy(&check, native_bytes() + off, 2);
	if ((flags & BPF_F_MARK_MANGLED_0) && !check)
		return 0;
	check = (uint16_t)~native_fold((uint64_t)(uint16_t)~check + (uint32_t)to +
				       (from ? (uint16_t) ~(uint16_t)from : 0));
	if ((flags & BPF_F_MARK_MANGLED_0) && !check)
		check = 0xffff;
	memcpy(native_bytes() + off, &check, 2);
	return bpf_skb_pull_data(skb, off + 2);
}

#endif
