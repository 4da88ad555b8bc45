/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the TC program and user space share: the layout of every map, the flow table's word and how
 * it ages, and the reasons for which packets are dropped. Maps are pinned and outlive the daemon:
 * whoever changes the size or the meaning of anything here raises WEFT_ABI_LAYOUT and adds the
 * step that leads there (ctrl/dataplane/dp_migrate.c). */
#ifndef WEFT_ABI_H
#define WEFT_ABI_H

#include <linux/bpf.h>
#include <linux/types.h>

#define WEFT_ABI_LAYOUT 3

/* The overlay, in host byte order: 10.16.0.0/12 as a whole, and in it the semantic range
 * 10.30.0.0/16 of service and instance addresses. */
#define WEFT_OVERLAY_NET   0x0a100000U
#define WEFT_OVERLAY_MASK  0xfff00000U
#define WEFT_SEMANTIC_NET  0x0a1e0000U
#define WEFT_SEMANTIC_MASK 0xffff0000U

/* The same for IPv6, of an address's first 32 bits: fc00::/7 and fdff::/16. */
#define WEFT_OVERLAY6_NET   0xfc000000U
#define WEFT_OVERLAY6_MASK  0xfe000000U
#define WEFT_SEMANTIC6_NET  0xfdff0000U
#define WEFT_SEMANTIC6_MASK 0xffff0000U

/* Every instance sees every overlay address behind this one locally administered address. */
#define WEFT_GATEWAY_MAC                    \
	{                                   \
		0x02, 'w', 'e', 'f', 't', 1 \
	}

#define WEFT_MAX_SERVICES  16384
#define WEFT_MAX_INSTANCES 16384

/* Drop reasons: symbol, name, sentence. Numbers are positions: append only. */
#define WEFT_DROPS(X)                                                                              \
	X(TRUNCATED, "truncated", "the frame ends inside its headers")                             \
	X(MALFORMED, "malformed", "header fields contradict each other")                           \
	X(ETHERTYPE, "ethertype", "neither IPv4, ARP nor IPv6")                                    \
	X(JUMBOGRAM, "jumbogram", "an IPv6 jumbogram")                                             \
	X(VLAN, "vlan", "a VLAN tag: an instance is in none")                                      \
	X(UNKNOWN_DEVICE, "unknown_device", "the device belongs to no instance")                   \
	X(SPOOFED_MAC, "spoofed_mac", "the source hardware address is not the instance's")         \
	X(SPOOFED_ADDR, "spoofed_addr", "the source address is not the instance's")                \
	X(SPOOFED_ARP, "spoofed_arp", "an ARP packet names a sender that is not the instance")     \
	X(ARP_IGNORED, "arp_ignored", "an ARP packet that asks for nothing in the overlay")        \
	X(PROTOCOL, "protocol", "a protocol other than TCP, UDP and ICMP to a semantic address")   \
	X(ICMP_TYPE, "icmp_type", "ICMP other than echo and errors to a semantic address")         \
	X(UNKNOWN_ADDR, "unknown_addr", "an overlay address of no service and no instance")        \
	X(NO_BACKEND, "no_backend", "a new flow to a service without a backend of weight above 0") \
	X(NO_FLOW, "no_flow", "a segment or echo reply of no known flow (TCP: answered by RST)")   \
	X(BACKEND_GONE, "backend_gone", "a segment of a flow whose backend is gone (RST sent)")    \
	X(FRAGMENT, "fragment", "a later fragment whose first was not seen")                       \
	X(NO_MEMORY, "no_memory", "the kernel could not make the packet writable")                 \
	X(ICMP_NO_FLOW, "icmp_no_flow", "an ICMP error about a packet of no known flow")           \
	X(TOO_BIG, "too_big", "larger than the overlay's MTU, not to be fragmented (ICMP sent)")   \
	X(NO_PEER, "no_peer", "for an instance of another node, to which there is no way")         \
	X(REMOTE_ADDR, "remote_addr", "the namespace address of an instance of another node")      \
	X(ENCAP, "encap", "the kernel could not put the tunnel's headers on")                      \
	X(UNKNOWN_PEER, "unknown_peer", "a tunnel datagram from an address that is no peer's")     \
	X(TUNNEL_TRUNCATED, "tunnel_truncated", "a tunnel datagram that ends inside its headers")  \
	X(TUNNEL_MALFORMED, "tunnel_malformed", "a tunnel datagram that is none of the format")    \
	X(TUNNEL_FRAGMENT, "tunnel_fragment", "a tunnel datagram in fragments")                    \
	X(TUNNEL_SOURCE, "tunnel_source", "from a peer, but from no instance that is behind it")   \
	X(TUNNEL_TARGET, "tunnel_target", "from a peer, but to no instance of this node")          \
	X(TUNNEL_DEVICE, "tunnel_device", "a tunnel datagram by another device than the uplink")   \
	X(NO_UPLINK, "no_uplink", "an answer to a published port's caller, but no uplink")         \
	X(EXTENSION, "extension", "IPv6 extension headers: misplaced, too many, or a detour")      \
	X(UDP_CHECKSUM, "udp_checksum", "a UDP datagram over IPv6 without a checksum")             \
	X(MULTICAST, "multicast", "to an IPv6 group (MLD too), which the overlay does not carry")  \
	X(SPOOFED_ND, "spoofed_nd", "neighbour discovery that names another hardware address")     \
	X(ND_IGNORED, "nd_ignored", "neighbour discovery that asks for nothing in the overlay")    \
	X(PORT_IN_USE, "port_in_use", "a new flow from a port that already talks to each backend") \
	X(ICMP_FORGED, "icmp_forged", "an instance's ICMP error about a packet that it never got") \
	X(TUNNEL_FORGED, "tunnel_forged", "a tunnel datagram that an instance sent to a node")     \
	X(WAIT_EXPIRED, "wait_expired", "has waited in vain for its address, or for a backend")    \
	X(WAIT_REFUSED, "wait_refused", "was to wait, but too many do, or its like does already")

enum weft_drop {
#define WEFT_DROP_ENUM(symbol, name, text) WEFT_DROP_##symbol,
	WEFT_DROPS(WEFT_DROP_ENUM)
#undef WEFT_DROP_ENUM
		WEFT_DROP_COUNT,
};
#define WEFT_DROP_SLOTS 64 /* room for later reasons without a new layout */

/* Things worth counting that are no drops. */
enum weft_event {
	WEFT_EVENT_DISPLACED,    /* a live flow entry gave way: the table is too small */
	WEFT_EVENT_RESETS,       /* RST segments sent for lost flows */
	WEFT_EVENT_RACES,        /* two processors opened the same flow: the later one yielded */
	WEFT_EVENT_ICMP_SENT,    /* unreachable, fragmentation needed: the overlay's own */
	WEFT_EVENT_ICMP_LIMITED, /* not sent: the packet's sender had enough of them lately */
	WEFT_EVENT_WAITING,      /* given to user space, to wait for its address */
	WEFT_EVENT_COUNT,
};
#define WEFT_EVENT_SLOTS 16

/* One element. layout is stored last when everything else is in place: 0 means half made. */
struct weft_meta {
	__u32 layout;
	__u32 flow_buckets; /* a power of two */
	__u64 seed[2];      /* of the flow hash: must outlive the program, like the flows */
	__u32 epoch;        /* the last one given to an instance or a service */
	__u32 pad;
	char version[32]; /* of the weftd that made or took it over last */
};

enum weft_device {
	WEFT_DEVICE_PEER = 0,   /* veth into another namespace: bpf_redirect_peer */
	WEFT_DEVICE_DIRECT = 1, /* bpf_redirect */
	WEFT_DEVICE_HOST = 2,   /* the same, into the host's stack: it may forward for others */
	WEFT_DEVICE_REMOTE = 3, /* on another node: through the peer */
};

/* A cache line. An instance has addresses of one family or of both; an absent one is 0. */
/* All other fields are valid; its device carries other traffic too, which is none of weft's
 * business; that device got its clsact qdisc from weft, which takes it away again; and the gateway
 * fe80::1 is weft there all the same, as on its own devices. */
#define WEFT_INSTANCE_ACTIVE   1
#define WEFT_INSTANCE_BORROWED 2
#define WEFT_INSTANCE_QDISC    4
#define WEFT_INSTANCE_GATEWAY6 8

struct weft_bpf_instance {
	__be32 ns_addr;
	__be32 inst_addr;
	__u32 ifindex;    /* 0: WEFT_DEVICE_REMOTE */
	__u16 service;    /* 0: backend of none */
	__u8 device;      /* enum weft_device */
	__u8 active;      /* WEFT_INSTANCE_*; 0: nobody. Stored last, cleared first. Without ACTIVE:
			   * being attached by clsact, and in no other map yet */
	__u32 generation; /* of its flows as a backend: raised to forget them */
	__u32 epoch;      /* unique to this holder of the id: part of every flow's key */
	__u8 mac[6];
	__u16 peer; /* the node it is on, 0: this one */
	__be32 ns_addr6[4];
	__be32 inst_addr6[4];
} __attribute__((aligned(64)));

/* How the backend of a new flow is chosen. Each has an address of its own to be called by, and a
 * sequence of backends; what makes them differ is what user space enters there. */
enum weft_policy {
	WEFT_POLICY_RR,           /* all alike */
	WEFT_POLICY_WRR,          /* by weights */
	WEFT_POLICY_CLOSEST,      /* the nearest alone */
	WEFT_POLICY_LEAST_LOADED, /* those that have least to do alone */
	WEFT_POLICIES,
};

struct weft_bpf_service {
	__u32 epoch; /* 0: no such service; part of its flows' keys */
	__u16 flags;
	__u16 pad;
	__be32 vip[WEFT_POLICIES];     /* 0: not called by this policy */
	__be32 vip6[WEFT_POLICIES][4]; /* likewise */
	__u16 published;               /* the first of its published ports, */
	__u16 n_published;             /* which lie in a row */
	__u32 room[9];
} __attribute__((aligned(64)));

/* What a semantic address means, by its low 16 bits (IPv4) or as a whole (IPv6). Above
 * WEFT_TARGET_SERVICE the kind is that and the policy. */
enum weft_target {
	WEFT_TARGET_NONE = 0,
	WEFT_TARGET_INSTANCE = 1,
	WEFT_TARGET_SERVICE = 8,
};
#define WEFT_TARGET(kind, id)    ((__u32)(kind) << 16 | (id))
#define WEFT_TARGET_KIND(target) ((target) >> 16)
#define WEFT_TARGET_ID(target)   ((target)&0xffff)
#define WEFT_TARGETS6            (WEFT_MAX_INSTANCES + WEFT_MAX_SERVICES * WEFT_POLICIES)

struct weft_addr6 {
	__be32 word[4];
};

/* Where a namespace address was found last, by its low bits. */
#define WEFT_NS_HINTS 4096

/* Other nodes. Datagrams in Oakestra's format, which is the bare inner packet, come to the tunnel
 * port; those in VXLAN format to the next one, because who merges VXLAN must not see others. */
#define WEFT_MAX_PEERS   1024
#define WEFT_TUNNEL_PORT 50103
#define WEFT_VXLAN_VNI   1030

enum weft_format {
	WEFT_FORMAT_RAW,
	WEFT_FORMAT_VXLAN,
};

/* A cache line. Addresses of IPv4 are mapped (::ffff:a.b.c.d). */
struct weft_bpf_peer {
	__be32 addr[4];   /* of the node in the underlay */
	__be32 local[4];  /* ours, that it is sent to from */
	__u32 ifindex;    /* the uplink */
	__u32 mtu;        /* of the largest inner packet; the program lowers it as ICMP tells */
	__u64 lowered_ns; /* when it did so (CLOCK_MONOTONIC_COARSE), 0: not */
	__be16 port;
	__u8 format; /* enum weft_format: what it is sent */
	__u8 family; /* 4 or 6: of the underlay */
	__u8 active; /* all other fields are valid; stored last, cleared first */
	__u8 pad[3];
} __attribute__((aligned(64)));

/* Underlay address -> peer: ids, in one of WEFT_PEER_PROBES places from weft_peer_hash() on. An
 * array, because a hash map costs the better part of what a datagram may. Who sends what collides
 * here is no peer; who enters peers sees when there is no place. */
#define WEFT_PEER_SLOTS  8192
#define WEFT_PEER_PROBES 8

static inline __u32 weft_peer_hash(const __be32 addr[4])
{
	__u64 x = ((__u64)addr[0] << 32 | addr[1]) * 0x9e3779b97f4a7c15ULL;

	x = (x ^ ((__u64)addr[2] << 32 | addr[3])) * 0xff51afd7ed558ccdULL;
	return (__u32)(x >> 40);
}

/* What a packet grows by in front of its IP header. */
static inline __u32 weft_tunnel_overhead(__u32 format, __u32 family)
{
	return (family == 4 ? 20 : 40) + 8 + (format == WEFT_FORMAT_RAW ? 0 : 8 + 14);
}

struct weft_peer_counters {
	__u64 packets, bytes;       /* towards it, without the tunnel's headers */
	__u64 rx_packets, rx_bytes; /* from it */
	__u64 drops;                /* of what came from it */
};

/* One element: user space's note of what is attached where. */
struct weft_bpf_uplink {
	__u32 ifindex; /* 0: no uplink */
	__u32 vxlan_ifindex;
	__u16 port;
	__u8 xdp_wanted, xdp_used; /* enum weft_dp_xdp */
	char device[16];
	__u8 xdp_dispatched; /* through libxdp: no link of ours */
	__u8 pad[3];
};

/* A service's port on the node's own address, for who is outside of the overlay. */
#define WEFT_MAX_PUBLISHED       16384
#define WEFT_PUBLISHED_A_SERVICE 7 /* in three bits of the flow word, and not 0 */
struct weft_bpf_published {
	__u32 service; /* 0: free */
	__be16 host_port, port;
	__u8 proto;
	__u8 active; /* stored last, cleared first */
	__u16 index; /* among those of its service */
	__u32 pad;
};

/* One element: the addresses that ports are published at; 0: none. */
struct weft_bpf_publish_at {
	__be32 addr;
	__be32 addr6[4];
	__u32 pad[3];
};

/* Where an answer to who is outside has to go, if not out of our own uplink: the node that the
 * call came by. */
struct weft_return_key {
	__be32 client[4]; /* those of IPv4 mapped */
	__u32 instance;   /* its epoch */
	__be16 client_port, port;
	__u32 proto;
};

/* The next hop to a peer as the routing table had it a moment ago: fib has both hardware addresses
 * where nh_family is not 0. */
#define WEFT_HOP_SHIFT 27 /* 134 ms */
struct weft_gateway {
	__u64 tick;                /* 0: not asked yet */
	__be32 addr[4];            /* of the peer, when it was asked, */
	struct bpf_redir_neigh nh; /* nh_family alone; 0: the kernel has to find it */
	__u32 ifindex;             /* and of its uplink */
	struct bpf_fib_lookup fib;
};

/* Device index -> instance: ifindex << 32 | id, in one of WEFT_DEV_PROBES places from
 * ifindex % WEFT_DEV_SLOTS on. An array, because a hash map costs 25 ns a packet. */
#define WEFT_DEV_SLOTS  65536
#define WEFT_DEV_PROBES 8

/* The backends of a service by one policy, in the order in which new flows get them: a room in the
 * pool of slots, of two halves. The directory word says which slots of which half are read now:
 * generation << 48 | length << 32 | first slot. */
#define WEFT_SLOTS_MAX 16384      /* of a half */
#define WEFT_SLOT_POOL (4U << 20) /* slots */
struct weft_slots {
	__u16 id[4];
};

static inline __u32 weft_service_policy(__u32 service, __u32 policy)
{
	return service * WEFT_POLICIES + policy;
}

/* User space's note of which room a service has for a policy. */
#define WEFT_ROOM_MIN 4 /* slots of a half */
union weft_room {
	struct {
		__u32 first;
		__u32 size; /* slots of a half, a power of two; 0: no room */
	};
	__u64 word; /* both, to be stored at once */
};

static inline __u64 weft_slot_word(__u16 generation, __u16 length, __u32 base)
{
	return (__u64)generation << 48 | (__u64)length << 32 | base;
}

static inline __u16 weft_slot_length(__u64 word)
{
	return (__u16)(word >> 32);
}

static inline __u16 weft_slot_generation(__u64 word)
{
	return (__u16)(word >> 48);
}

/* A cache line each, so that busy services do not share one. */
struct weft_turn {
	__u64 next;
	__u64 pad[7];
};

struct weft_counters {
	__u64 packets, bytes, flows, rx_packets, rx_bytes;
};

/* How well a backend does: of TCP alone, by all processors. Of its requests, which are segments
 * with data towards it, about one in WEFT_SAMPLE is timed until the segment with data that
 * acknowledges it. */
#define WEFT_SAMPLE          16
#define WEFT_SAMPLES         4096 /* under way at a time; a power of two */
#define WEFT_LATENCY_SHIFT   8
#define WEFT_LATENCY_BUCKETS 96 /* four to an octave, from 1 us to 17 s */
struct weft_quality {
	__u64 opened;          /* connections */
	__u64 accepted;        /* by a SYN-ACK, again when it is repeated */
	__u64 refused;         /* by a RST instead */
	__u64 resets;          /* by a RST later, before the client had closed */
	__u64 unreachable;     /* ICMP says that what was sent to it did not arrive */
	__u64 asked, answered; /* requests to be timed, and those that were */
	__u32 latency[WEFT_LATENCY_BUCKETS];
} __attribute__((aligned(64)));

struct weft_sample {
	__u64 key; /* 0: none */
	__u64 asked_ns;
};

static inline __u32 weft_latency_bucket(__u64 ns)
{
	__u64 v = ns >> WEFT_LATENCY_SHIFT;
	__u32 octave = 0, bucket;

	for (__u32 step = 16; step; step >>= 1)
		if (v >> (octave + step) >= 4)
			octave += step;
	bucket = v < 4 ? 0 : octave * 4 + ((v >> octave) & 3);
	return bucket < WEFT_LATENCY_BUCKETS ? bucket : WEFT_LATENCY_BUCKETS - 1;
}

/* The least latency that is in it; of the one behind the last: where that ends. */
static inline __u64 weft_latency_from(__u32 bucket)
{
	return (__u64)(4 + (bucket & 3)) << (bucket / 4 + WEFT_LATENCY_SHIFT);
}

/* ICMP errors that the overlay itself has sent to an instance, by one processor in one tick. */
#define WEFT_ICMP_TICK_SHIFT 26 /* 67 ms */
#define WEFT_ICMP_BURST      50
struct weft_icmp_budget {
	__u64 tick, sent;
};

/* Later fragments carry no ports: they follow their first one. */
struct weft_frag_key {
	__be32 saddr, daddr;
	__be16 id;
	__u8 proto;
	__u8 pad;
};

struct weft_frag {
	__be32 saddr, daddr; /* the translation */
	__u16 to;            /* instance it goes to, */
	__u16 backend;       /* the one it is counted for, */
	__u16 service;       /* its service when it was called by it, */
	__u16 reverse;       /* and whether it comes back from it */
};

struct weft_frag6_key {
	__be32 saddr[4], daddr[4];
	__be32 id;
};

struct weft_frag6 {
	__u32 epoch; /* of the instance it goes to */
	__u16 to, backend, service;
	__u8 reverse, policy; /* which of the service's addresses it comes back from */
};

/* --- packets that wait for their address ---------------------------------------------------------
 * How they come to user space: an element of a ring buffer each. */
#define WEFT_WAITING_RING   (256 * 1024)
#define WEFT_WAITING_FRAME  1600 /* a larger one does not wait */
#define WEFT_WAITING_READER 5000000000ULL

struct weft_waiting_head {
	struct weft_addr6 addr; /* that it is sent to; those of IPv4 mapped */
	__u32 from;             /* the instance that sent it */
	__u16 len, l4, end;     /* of the frame; its transport header's offset; the packet's end */
	__u8 family, proto;
	__u32 pad;
};

struct weft_waiting {
	struct weft_waiting_head head;
	__u8 frame[WEFT_WAITING_FRAME];
	__u32 pad;
};

/* One element, of user space's. */
struct weft_waiting_room {
	__u64 reader_ns; /* when it was last seen reading (CLOCK_MONOTONIC), 0: nobody reads */
	__u32 mark;      /* of what it sends again */
	__u32 pad;
};

/* --- the flow table ------------------------------------------------------------------------------
 * Set-associative, eight words to a bucket of one cache line. Both directions of a flow have a
 * word: forward under (client, instance or service by a policy), reverse under (backend, client).
 *
 *   63..31 tag      of the hash; the bucket is the hash's low bits, the lowest of which tells a
 *                   flow's directions apart
 *   30..28 aux      forward, TCP: of the SYN's initial sequence number.
 *                   reverse: what the client called: 0 the instance's own address, else 1 + the
 *                   policy whose service address
 *   27..26 gen      the backend's generation
 *   25..12 id       the backend
 *   11     reverse
 *   10..8  state
 *    7..0  time     in the state's unit
 * A word is 0 or has a state, and is only ever changed as a whole by compare-and-swap. */
#define WEFT_BUCKET_WORDS 8
struct weft_bucket {
	__u64 word[WEFT_BUCKET_WORDS];
} __attribute__((aligned(64)));

enum weft_flow_state {
	WEFT_FLOW_EMPTY = 0,
	WEFT_FLOW_DATAGRAM,
	WEFT_FLOW_SYN,
	WEFT_FLOW_ESTABLISHED,
	WEFT_FLOW_FIN_CLIENT, /* one side has closed: the other may go on for long */
	WEFT_FLOW_FIN_SERVER,
	WEFT_FLOW_CLOSED,
};

#define WEFT_FLOW_TAG_SHIFT   31
#define WEFT_FLOW_AUX_SHIFT   28
#define WEFT_FLOW_GEN_SHIFT   26
#define WEFT_FLOW_ID_SHIFT    12
#define WEFT_FLOW_REVERSE     (1ULL << 11)
#define WEFT_FLOW_STATE_SHIFT 8
#define WEFT_FLOW_AGING       0x7ffULL /* state and time: what changes during a flow's life */

static inline __u64 weft_flow_tag(__u64 word)
{
	return word >> WEFT_FLOW_TAG_SHIFT;
}

static inline __u32 weft_flow_aux(__u64 word)
{
	return (word >> WEFT_FLOW_AUX_SHIFT) & 7;
}

static inline __u32 weft_flow_generation(__u64 word)
{
	return (word >> WEFT_FLOW_GEN_SHIFT) & 3;
}

static inline __u32 weft_flow_id(__u64 word)
{
	return (word >> WEFT_FLOW_ID_SHIFT) & (WEFT_MAX_INSTANCES - 1);
}

static inline __u32 weft_flow_state(__u64 word)
{
	return (word >> WEFT_FLOW_STATE_SHIFT) & 7;
}

/* Ticks are 2^32 ns (4.3 s), for established flows 2^35 ns (34 s): eight bits then reach over
 * the two hours and four minutes that RFC 5382 wants, and the others stay exact enough. */
static inline __u32 weft_flow_tick_shift(__u32 state)
{
	return state == WEFT_FLOW_ESTABLISHED ? 35 : 32;
}

/* Ticks without a packet after which a flow counts as ended. */
static inline __u32 weft_flow_idle(__u32 state)
{
	switch (state) {
	case WEFT_FLOW_DATAGRAM:
		return 28; /* 2 min, RFC 4787 */
	case WEFT_FLOW_ESTABLISHED:
		return 217; /* 2 h 4 min */
	case WEFT_FLOW_FIN_CLIENT:
	case WEFT_FLOW_FIN_SERVER:
		return 210; /* 15 min */
	default:
		return 14; /* 1 min: SYN, CLOSED (what TIME-WAIT may still have to answer) */
	}
}

static inline __u64 weft_flow_time(__u32 state, __u64 now_ns)
{
	return (now_ns >> weft_flow_tick_shift(state)) & 0xff;
}

/* Age in ticks. now_ns may have been read a moment before another processor stored the word: what
 * looks like an age beyond every idle time is a time stamp from the near future. */
static inline __u32 weft_flow_age(__u64 word, __u64 now_ns)
{
	__u32 age = (weft_flow_time(weft_flow_state(word), now_ns) - word) & 0xff;

	return age > 240 ? 0 : age;
}

static inline int weft_flow_expired(__u64 word, __u64 now_ns)
{
	return weft_flow_age(word, now_ns) > weft_flow_idle(weft_flow_state(word));
}

/* Neither empty, ended nor expired. */
static inline int weft_flow_live(__u64 word, __u64 now_ns)
{
	return word && weft_flow_state(word) != WEFT_FLOW_CLOSED &&
	       !weft_flow_expired(word, now_ns);
}

/* --- the shortcut between sockets ----------------------------------------------------------------
 * Two TCP sockets of this node that are each other's ends may hand data over without packets. */
#define WEFT_SERVICE_SHORTCUT 1     /* of a service's flags: for connections to its backends */
#define WEFT_SERVICE_STARTING 2     /* its first backends are to come soon */
#define WEFT_SHORTCUT_SOCKETS 65536 /* known at a time, two to a connection */

/* Whose sockets an instance's are: those of a network namespace. Valid for one epoch. */
struct weft_netns {
	__u64 cookie;
	__u32 epoch;
	__u32 pad;
};

/* One end of a connection. Epochs say who, and the sequence numbers, which no translation changes,
 * that it is this connection and no earlier or later one between the same ports. */
struct weft_shortcut_key {
	__u32 client, backend; /* epochs */
	__be16 sport, dport;   /* as the client sees them */
	__u32 client_seq, backend_seq;
	__u32 side; /* enum weft_shortcut_side */
};

enum weft_shortcut_side {
	WEFT_SHORTCUT_CLIENT,
	WEFT_SHORTCUT_BACKEND,
};

/* Why a direction's data goes by packets: symbol, name, sentence. From the last three it does not
 * come back to the shortcut. */
#define WEFT_SHORTCUT_REASONS(X)                                                             \
	X(LATE, "late", "data was sent before the other socket was accepted")                \
	X(FULL, "full", "more would have been unread than the buffers of a connection hold") \
	X(BLOCKING, "blocking", "a program reads or writes without O_NONBLOCK")              \
	X(UNFIT, "unfit", "an option or the state of a socket needs packets")                \
	X(GONE, "gone", "the flow, the backend or the other socket is gone")                 \
	X(OFF, "off", "the service's shortcut was switched off")

enum weft_shortcut_reason {
	WEFT_SHORTCUT_ON = -1, /* it does not */
#define WEFT_SHORTCUT_ENUM(symbol, name, text) WEFT_SHORTCUT_##symbol,
	WEFT_SHORTCUT_REASONS(WEFT_SHORTCUT_ENUM)
#undef WEFT_SHORTCUT_ENUM
		WEFT_SHORTCUT_REASON_COUNT,
};
#define WEFT_SHORTCUT_REASON_SLOTS 8

/* Of a service, by one processor. */
struct weft_shortcut_counters {
	__u64 opened, closed; /* sockets */
	__u64 messages, bytes;
	__u64 left[WEFT_SHORTCUT_REASON_SLOTS]; /* times that a direction did, by the reason */
};

_Static_assert(WEFT_DROP_COUNT <= WEFT_DROP_SLOTS, "drop counters");
_Static_assert(WEFT_EVENT_COUNT <= WEFT_EVENT_SLOTS, "event counters");
_Static_assert(sizeof(struct weft_meta) == 64, "layout");
_Static_assert(sizeof(struct weft_bpf_instance) == 64, "layout");
_Static_assert(sizeof(struct weft_bpf_service) == 128, "layout");
_Static_assert(sizeof(struct weft_addr6) == 16, "layout");
_Static_assert(sizeof(struct weft_bpf_peer) == 64, "layout");
_Static_assert(sizeof(struct weft_peer_counters) == 40, "layout");
_Static_assert(sizeof(struct weft_bpf_uplink) == 32, "layout");
_Static_assert(sizeof(struct weft_bpf_published) == 16, "layout");
_Static_assert(sizeof(struct weft_bpf_publish_at) == 32, "layout");
_Static_assert(sizeof(struct weft_return_key) == 28, "layout");
_Static_assert(sizeof(struct weft_gateway) == 112, "layout");
_Static_assert(sizeof(struct weft_slots) == 8, "layout");
_Static_assert(sizeof(union weft_room) == 8, "layout");
_Static_assert(sizeof(struct weft_turn) == 64, "layout");
_Static_assert(sizeof(struct weft_counters) == 40, "layout");
_Static_assert(sizeof(struct weft_quality) == 448, "layout");
_Static_assert(sizeof(struct weft_sample) == 16, "layout");
_Static_assert(sizeof(struct weft_icmp_budget) == 16, "layout");
_Static_assert(sizeof(struct weft_frag_key) == 12, "layout");
_Static_assert(sizeof(struct weft_frag) == 16, "layout");
_Static_assert(sizeof(struct weft_frag6_key) == 36, "layout");
_Static_assert(sizeof(struct weft_frag6) == 12, "layout");
_Static_assert(sizeof(struct weft_waiting_head) == 32, "layout");
_Static_assert(sizeof(struct weft_waiting) == 1636, "layout");
_Static_assert(sizeof(struct weft_waiting_room) == 16, "layout");
_Static_assert(sizeof(struct weft_bucket) == 64, "layout");
_Static_assert(
	WEFT_SHORTCUT_REASON_COUNT <= WEFT_SHORTCUT_REASON_SLOTS, "counters of the shortcut");
_Static_assert(sizeof(struct weft_netns) == 16, "layout");
_Static_assert(sizeof(struct weft_shortcut_key) == 24, "layout");
_Static_assert(sizeof(struct weft_shortcut_counters) == 96, "layout");
_Static_assert(WEFT_MAX_INSTANCES == 1 << (26 - WEFT_FLOW_ID_SHIFT), "ids fit the flow word");
_Static_assert(WEFT_MAX_SERVICES <= 65536, "ids fit a target");
_Static_assert(WEFT_POLICIES < 8, "policies fit the flow word and a target's kind");
_Static_assert(WEFT_SLOTS_MAX <= 65535, "lengths fit the directory word");

#endif
