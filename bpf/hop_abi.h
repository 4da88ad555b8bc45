/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the hop probes and user space share: the hooks along a packet's way, and histograms of the
 * time from one to the next. Nothing of it is pinned: it lives as long as one trace. */
#ifndef WEFT_HOP_ABI_H
#define WEFT_HOP_ABI_H

#include <linux/types.h>

/* In the order in which a packet passes them; no packet passes all. Symbol, name, sentence. */
#define WEFT_HOOKS(X)                                                                      \
	X(UPPER_TX, "macvtap-tx", "given to the macvtap by whoever holds its queue")       \
	X(TX, "veth-tx", "given to the sender's end of its veth")                          \
	X(RX, "host-rx", "in the backlog of the host side")                                \
	X(HOST, "host-in", "at the ingress of the host side, where weft's program begins") \
	X(REDIRECT, "redirect", "given to the device that it was redirected to")           \
	X(BACKLOG, "veth-rx", "in the backlog of the receiver's end of its veth")          \
	X(DEVICE, "veth-in", "at the ingress of the receiver's end of its veth")           \
	X(UPPER, "macvtap-in", "at the ingress of the receiver's macvtap")                 \
	X(QUEUED, "queued", "in the receiver's queue: of a socket or a tap")               \
	X(RUNS, "running", "whoever reads it has a processor")                             \
	X(READ, "read", "copied by whoever reads: an application, qemu")

enum weft_hook {
#define WEFT_HOOK_ENUM(symbol, name, text) WEFT_HOOK_##symbol,
	WEFT_HOOKS(WEFT_HOOK_ENUM)
#undef WEFT_HOOK_ENUM
		WEFT_HOOK_COUNT,
};
#define WEFT_HOOK_BIT(hook) (1U << (hook))

enum weft_hop_direction {
	WEFT_HOP_REQUEST, /* to a backend of the service */
	WEFT_HOP_REPLY,
};

/* --- histograms: log-linear, 32 buckets to a power of two, so that a value is known to 1/32 ---
 * Values below 64 have a bucket each; above, a value is shifted right until it is below 64, and
 * every shift opens another group of 32. What is 2^32 ns or more is in the last bucket. */
#define WEFT_HOP_BUCKETS 896

static inline __u32 weft_hop_bucket(__u64 ns)
{
	__u32 shift = 1, x;

	if (ns < 64)
		return (__u32)ns;
	if (ns >> 32)
		return WEFT_HOP_BUCKETS - 1;
	x = (ns >> 6) & 0x3ffffff;
	for (__u32 step = 16; step; step >>= 1)
		if (x >> step) {
			x >>= step;
			shift += step;
		}
	return shift * 32 + (__u32)(ns >> shift);
}

/* The highest value that is counted in a bucket. */
static inline __u64 weft_hop_bucket_top(__u32 bucket)
{
	__u32 shift = bucket < 64 ? 0 : bucket / 32 - 1;

	return (((__u64)bucket - shift * 32 + 1) << shift) - 1;
}

struct weft_hop_hist {
	__u64 count, sum, max;
	__u32 bucket[WEFT_HOP_BUCKETS];
};

/* --- ways: packets that passed the same hooks to or from backends of one group ---
 * A word each, 0 when free: WEFT_HOP_WAY_USED | group << 17 | direction << 16 | bits of hooks. */
#define WEFT_HOP_WAYS     12
#define WEFT_HOP_GROUPS   8
#define WEFT_HOP_WAY_USED (1U << 31)
#define WEFT_HOP_WAY(group, direction, hooks) \
	(WEFT_HOP_WAY_USED | (__u32)(group) << 17 | (__u32)(direction) << 16 | (hooks))
#define WEFT_HOP_WAY_GROUP(way)     ((way) >> 17 & 0xff)
#define WEFT_HOP_WAY_DIRECTION(way) ((way) >> 16 & 1)
#define WEFT_HOP_WAY_HOOKS(way)     ((way)&0xffff)

/* A way's histograms: of the time up to each hook from the one before it. At the first hook of a
 * reply it is the time since the request was read; the last one is the round trip. */
#define WEFT_HOP_ROUND_TRIP WEFT_HOOK_COUNT
#define WEFT_HOP_HISTS      (WEFT_HOOK_COUNT + 1)

/* --- devices: WATCH bits by the low bits of an index; more bits than are right only cost time ---
 */
#define WEFT_HOP_DEVICES 65536
enum weft_hop_watch {
	WEFT_HOP_SENDER = 1,  /* an instance's end of its veth */
	WEFT_HOP_UPPER = 2,   /* a macvtap on one */
	WEFT_HOP_HOST = 4,    /* the host side of an instance */
	WEFT_HOP_ORIGIN = 8,  /* with HOST: nothing of a packet is seen before (tap) */
	WEFT_HOP_MEMBER = 16, /* of an instance of the service: it sends replies */
};

/* --- addresses of the service. IPv4 is mapped: ::ffff:a.b.c.d --- */
struct weft_hop_addr {
	__be32 word[4];
};
enum weft_hop_addr_kind {
	WEFT_HOP_CALLED = 1, /* what clients call: of the service, of one of its instances */
	WEFT_HOP_BACKEND,    /* namespace address of one of its instances */
};
#define WEFT_HOP_ADDR(kind, group) ((__u32)(kind) << 16 | (group))

struct weft_hop_flow_key {
	struct weft_hop_addr client, backend; /* as the backend sees them */
	__be16 client_port, backend_port;
	__u8 proto;
	__u8 pad[3];
};

enum weft_hop_flow_state {
	WEFT_HOP_IDLE,
	WEFT_HOP_WAITING, /* one request was read, and is not answered */
	WEFT_HOP_SEVERAL, /* more than one: which of them is answered is not known */
};

struct weft_hop_flow {
	__u64 begun_ns, read_ns; /* of the last request */
	__u32 end;               /* TCP: the sequence number after it */
	__u8 state;
	__u8 group;
	__u8 pad[2];
};

/* A packet under way, known by the address of its sk_buff, which stays the same from the sender's
 * stack, across veth, bpf_redirect_peer, macvtap and a tap's queue, to whoever reads it. */
#define WEFT_HOP_RECORDS 8192
struct weft_hop_record {
	__u64 key;     /* what it is found by, 0: free */
	__u64 address; /* of the sk_buff */
	__u64 at_ns[WEFT_HOOK_COUNT];
	__u64 begun_ns, read_ns; /* of a reply that is known to answer a request: the request's */
	__u64 socket;            /* UDP: that it is queued at, */
	__u32 turn;              /* and the receive call that will get it */
	__u32 seq;
	struct weft_hop_addr saddr, daddr; /* UDP, from QUEUED on */
	__be16 client_port, backend_port;
	__u16 hooks; /* bits */
	__u8 last;   /* hook */
	__u8 proto;
	__u8 direction;
	__u8 group; /* of a reply */
	__u8 pad[14];
};

/* A UDP socket. Its packets are handed on without a tracepoint that names them, but in order: so
 * what came in as the n-th is what the n-th receive call gets. */
#define WEFT_HOP_QUEUE 32
struct weft_hop_socket {
	__u32 queued, received;
	__u64 key[WEFT_HOP_QUEUE]; /* of records, by turn */
};

struct weft_hop_counts {
	__u64 begun[2], read[2], lost[2];
	__u64 odd;      /* passed hooks in an order that makes no sense: not counted */
	__u64 crowded;  /* passed other hooks than WEFT_HOP_WAYS ways: not counted */
	__u64 unpaired; /* replies to one of several requests */
	/* The probes themselves: runs that had to do with a packet of the service, others; every
	 * WEFT_HOP_TIMED-th of them is timed. */
	__u64 hits, hits_timed, hits_ns;
	__u64 misses, misses_timed, misses_ns;
};
#define WEFT_HOP_TIMED 61 /* a prime: traffic in step with it would be timed at one hook only */

/* A processor's own. */
struct hop_cpu {
	__u64 switched_ns; /* when it last went from one task to another */
	__u64 receiving;   /* sk_buff that is on its way up a stack here */
	__u32 until_timed, until_sample;
	struct weft_hop_counts counts;
};

/* Sent by ring buffer: some packets as they are, and each that took longer than all before. */
struct weft_hop_sample {
	__u64 at_ns[WEFT_HOOK_COUNT];
	__u64 begun_ns, read_ns;
	__u32 way; /* its word */
	__u32 slowest;
};

_Static_assert(sizeof(struct weft_hop_hist) == 24 + 4 * WEFT_HOP_BUCKETS, "layout");
_Static_assert(sizeof(struct weft_hop_flow_key) == 40, "layout");
_Static_assert(sizeof(struct weft_hop_flow) == 24, "layout");
_Static_assert(sizeof(struct weft_hop_record) == 192, "three cache lines");
_Static_assert((WEFT_HOP_QUEUE & (WEFT_HOP_QUEUE - 1)) == 0, "turns are masked");
_Static_assert(sizeof(struct weft_hop_sample) == 112, "layout");
_Static_assert(WEFT_HOOK_COUNT <= 16, "a way's bits");
_Static_assert(WEFT_HOP_GROUPS <= 256, "a way's group");

#endif
