/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Time from hook to hook along the way of a service's packets, for as long as these programs are
 * attached. The hooks (hop_abi.h) and what is behind them:
 *
 *   veth-tx, macvtap-tx  net_dev_queue on the sender's device
 *   host-rx, veth-rx     netif_rx: a veth hands over to the backlog of its other end
 *   host-in              netif_receive_skb on the host side; tcx runs right after it
 *   redirect             net_dev_queue on a tap, or on the host's own veth
 *   veth-in, macvtap-in  tcx on the devices in the receiver's namespace; no tracepoint fires there
 *                        after a redirect_peer
 *   queued               sk_data_ready
 *   running              the last sched_switch on the reader's processor
 *   read                 skb_copy_datagram_iovec, by recv() on TCP as by qemu's read(); on UDP
 *                        sock_recv_length, or consume_skb before there was that
 *
 * What is not of a watched device goes after one look at an array. */
#include "bpf/hop_record.h"

#include <bpf/bpf_tracing.h>

#define TCX_NEXT   (-1)
#define SOCK_DGRAM 2
#define MSG_PEEK   2

#define READERS_MAX 4 /* of one UDP socket, in the middle of a receive call */

/* --- what the probes cost --- */

struct run {
	struct hop_cpu *cpu;
	__u64 start; /* 0: not timed */
};

static __always_inline bool run_begin(struct run *run)
{
	__u32 key = 0;

	run->cpu = bpf_map_lookup_elem(&cpus, &key);
	if (!run->cpu)
		return false;
	run->start = 0;
	if (run->cpu->until_timed-- == 0) {
		run->cpu->until_timed = WEFT_HOP_TIMED - 1;
		run->start = bpf_ktime_get_ns();
	}
	return true;
}

static __always_inline void run_end(const struct run *run, bool hit)
{
	struct weft_hop_counts *c = &run->cpu->counts;

	if (hit)
		c->hits++;
	else
		c->misses++;
	if (!run->start)
		return;
	if (hit) {
		c->hits_timed++;
		c->hits_ns += bpf_ktime_get_ns() - run->start;
	} else {
		c->misses_timed++;
		c->misses_ns += bpf_ktime_get_ns() - run->start;
	}
}

/* --- on the way --- */

/* Take note of the time at hook if the packet has come as far as after, and not to hook yet. */
static __always_inline bool pass(struct hop_cpu *cpu, __u64 key, __u32 after, __u32 hook)
{
	struct weft_hop_record *r = record_find(key);

	if (!r || r->last < after || (r->hooks && r->last >= hook))
		return false;
	if (hook == WEFT_HOOK_HOST)
		cpu->counts.begun[r->direction & 1]++;
	record_stamp(r, hook, bpf_ktime_get_ns());
	return true;
}

/* --- the beginning of a way --- */

static __always_inline __u32 address_kind(const struct weft_hop_addr *a, __u32 *group)
{
	__u32 *value = bpf_map_lookup_elem(&addrs, a);

	if (!value)
		return 0;
	*group = *value & 0xffff;
	return *value >> 16;
}

static __always_inline bool of_service(struct hop_cpu *cpu, const struct hop_view *v, __u32 flags,
	struct hop_packet *p, struct weft_hop_record *r)
{
	__u32 group;

	if (!hop_read_ip(v, p))
		return false;
	if (address_kind(&p->daddr, &group) == WEFT_HOP_CALLED && hop_read_l4(v, p)) {
		r->direction = WEFT_HOP_REQUEST;
		r->client_port = p->sport;
		r->backend_port = p->dport;
		return true;
	}
	if (!(flags & WEFT_HOP_MEMBER) || !hop_read_l4(v, p) || !flow_answers(cpu, p, r))
		return false;
	r->direction = WEFT_HOP_REPLY;
	r->client_port = p->dport;
	r->backend_port = p->sport;
	return true;
}

/* The first hook that a packet of a watched device passes. */
static __always_inline bool begin(struct hop_cpu *cpu, const struct sk_buff *skb,
	const struct hop_view *v, __u32 flags, __u32 hook)
{
	__u64 key = skb_key(skb);
	struct weft_hop_record *r = record_place(key);
	struct hop_packet p = {0};

	if (!of_service(cpu, v, flags, &p, r)) {
		if (r->key == key) /* what was noted for an earlier holder of this sk_buff */
			r->key = 0;
		return false;
	}
	r->key = key;
	r->address = (__u64)skb;
	r->seq = p.seq;
	r->proto = p.proto;
	r->socket = 0;
	if (r->direction == WEFT_HOP_REQUEST)
		r->begun_ns = r->read_ns = 0;
	r->hooks = r->last = 0;
	return pass(cpu, key, 0, hook);
}

/* Given to a device by a stack, or by whoever holds the queue of a macvtap. */
static __always_inline bool begin_tx(
	struct hop_cpu *cpu, const struct sk_buff *skb, __u32 flags, __u32 hook)
{
	struct hop_view v = hop_view(skb);

	return begin(cpu, skb, &v, flags, hook);
}

/* Received from a device: the hardware header is behind, the network header not set yet. */
static __always_inline bool begin_rx(
	struct hop_cpu *cpu, const struct sk_buff *skb, __u32 flags, __u32 hook)
{
	struct hop_view v = hop_view(skb);

	v.network = skb->data - skb->head;
	return begin(cpu, skb, &v, flags, hook);
}

/* --- its end --- */

static __always_inline bool same_packet(const struct weft_hop_record *r, const struct hop_packet *p)
{
	bool request = r->direction == WEFT_HOP_REQUEST;

	return r->proto == p->proto && r->seq == p->seq &&
	       r->client_port == (request ? p->sport : p->dport) &&
	       r->backend_port == (request ? p->dport : p->sport);
}

/* Its hops go into the histograms of its way. False when the times make no sense. */
static __always_inline bool add_hops(
	__u32 way, __u32 hooks, const struct weft_hop_record *r, __u64 *ret_first)
{
	__u64 before = 0;

	for (__u32 hook = 0; hook < WEFT_HOOK_COUNT; hook++) {
		__u64 at = r->at_ns[hook];

		if (!(hooks & WEFT_HOOK_BIT(hook)))
			continue;
		if (at < before)
			return false;
		if (before)
			hop_hist_add(way, hook, at - before);
		else if (r->read_ns && r->read_ns <= at)
			hop_hist_add(way, hook, at - r->read_ns);
		if (!before)
			*ret_first = at;
		before = at;
	}
	return true;
}

static __always_inline void sample(
	struct hop_cpu *cpu, __u32 place, __u32 way, const struct weft_hop_record *r, __u64 took)
{
	__u64 *slowest_yet = &slowest[place & 15];
	struct weft_hop_sample *s;
	__u32 slow = took > *slowest_yet;

	if (!sample_every || (!slow && cpu->until_sample-- != 0))
		return;
	if (slow)
		*slowest_yet = took;
	else
		cpu->until_sample = sample_every - 1;
	s = bpf_ringbuf_reserve(&samples, sizeof(*s), 0);
	if (!s)
		return;
	__builtin_memcpy(s->at_ns, r->at_ns, sizeof(s->at_ns));
	s->begun_ns = r->begun_ns;
	s->read_ns = r->read_ns;
	s->way = way;
	s->slowest = slow;
	bpf_ringbuf_submit(s, 0);
}

/* p: as its reader sees it, with the addresses that weft has given it. The reader may be quicker
 * than the word that there is something to read, so hooks are what was passed when it came. */
static __always_inline void end(
	struct hop_cpu *cpu, const struct hop_packet *p, struct weft_hop_record *r, __u64 now)
{
	__u32 hooks = r->hooks, last = r->last, group = r->group, way, place;
	__u64 first = 0;

	if (!same_packet(r, p))
		return; /* the sk_buff has another by now: ours went without a word, merged with
			   others */
	if (r->direction == WEFT_HOP_REQUEST &&
		address_kind(&p->daddr, &group) != WEFT_HOP_BACKEND) {
		cpu->counts.odd++;
		return;
	}
	if (cpu->switched_ns && last < WEFT_HOOK_RUNS) {
		__u64 before = r->at_ns[last];

		r->at_ns[WEFT_HOOK_RUNS] = cpu->switched_ns > before ? cpu->switched_ns : before;
		hooks |= WEFT_HOOK_BIT(WEFT_HOOK_RUNS);
	}
	r->at_ns[WEFT_HOOK_READ] = now;
	hooks |= WEFT_HOOK_BIT(WEFT_HOOK_READ);
	way = WEFT_HOP_WAY(group, r->direction & 1, hooks);
	place = hop_way_place(way);
	if (place >= WEFT_HOP_WAYS) {
		cpu->counts.crowded++;
		return;
	}
	if (!add_hops(place, hooks, r, &first)) {
		cpu->counts.odd++;
		return;
	}
	cpu->counts.read[r->direction & 1]++;
	if (r->direction == WEFT_HOP_REQUEST)
		flow_asked(p, first, now, group);
	else if (r->begun_ns)
		hop_hist_add(place, WEFT_HOP_ROUND_TRIP, now - r->begun_ns);
	sample(cpu, place, way, r, now - first);
}

/* --- UDP sockets --- */

/* sk has one packet more; r, unless NULL, is the one. The counts start where the socket is first
 * seen, and again when they cannot be right: packets may be read in ways that are not counted.
 * True: it has been read already. */
static __always_inline bool await_turn(
	const struct sock *sk, const struct hop_packet *p, struct weft_hop_record *r)
{
	const struct udp_sock *up = (const void *)sk;
	__u32 waiting = sk->sk_receive_queue.qlen + BPF_CORE_READ(up, reader_queue.qlen), turn;
	struct weft_hop_socket fresh = {.queued = waiting ? waiting - 1 : 0}, *s;
	__u64 key = (__u64)sk;

	s = bpf_map_lookup_elem(&sockets, &key);
	if (!s && r) {
		bpf_map_update_elem(&sockets, &key, &fresh, BPF_NOEXIST);
		s = bpf_map_lookup_elem(&sockets, &key);
	}
	if (!s)
		return false;
	turn = __sync_fetch_and_add(&s->queued, 1) + 1;
	if (turn - s->received < waiting || turn - s->received > waiting + READERS_MAX)
		s->received = turn - waiting;
	if (!r)
		return false;
	r->saddr = p->saddr;
	r->daddr = p->daddr;
	r->socket = key;
	r->turn = turn;
	s->key[turn & (WEFT_HOP_QUEUE - 1)] = r->key;
	return (__s32)(s->received - turn) >= 0;
}

static __always_inline void end_udp(struct hop_cpu *cpu, struct weft_hop_record *r, __u64 now)
{
	bool request = r->direction == WEFT_HOP_REQUEST;
	struct hop_packet p = {
		.saddr = r->saddr,
		.daddr = r->daddr,
		.sport = request ? r->client_port : r->backend_port,
		.dport = request ? r->backend_port : r->client_port,
		.proto = IPPROTO_UDP,
	};

	end(cpu, &p, r, now);
	r->key = 0;
}

/* --- hooks --- */

static __always_inline __u32 watched(const struct net_device *dev)
{
	__u32 i = dev->ifindex & (WEFT_HOP_DEVICES - 1);

	return dev->nd_net.net->ns.inum == home_netns ? watched_home[i] : watched_away[i];
}

static __always_inline bool queue(struct hop_cpu *cpu, const struct sk_buff *skb)
{
	__u32 flags = watched(skb->dev);

	if (flags & WEFT_HOP_UPPER)
		return begin_tx(cpu, skb, flags, WEFT_HOOK_UPPER_TX);
	if (flags & WEFT_HOP_SENDER) {
		const struct weft_hop_record *r = record_find(skb_key(skb));

		if (r && r->last == WEFT_HOOK_UPPER_TX)
			return pass(cpu, skb_key(skb), WEFT_HOOK_UPPER_TX, WEFT_HOOK_TX);
		return begin_tx(cpu, skb, flags, WEFT_HOOK_TX);
	}
	if (!(flags & WEFT_HOP_HOST) ||
		!pass(cpu, skb_key(skb), WEFT_HOOK_HOST, WEFT_HOOK_REDIRECT))
		return false;
	cpu->receiving = skb_key(skb);
	return true;
}

static __always_inline bool backlog(struct hop_cpu *cpu, const struct sk_buff *skb)
{
	__u32 flags = watched(skb->dev);

	if (flags & WEFT_HOP_ORIGIN)
		return begin_rx(cpu, skb, flags, WEFT_HOOK_RX);
	if (flags & WEFT_HOP_HOST && pass(cpu, skb_key(skb), 0, WEFT_HOOK_RX))
		return true;
	return flags & WEFT_HOP_SENDER &&
	       pass(cpu, skb_key(skb), WEFT_HOOK_REDIRECT, WEFT_HOOK_BACKLOG);
}

static __always_inline bool receive(struct hop_cpu *cpu, const struct sk_buff *skb)
{
	__u32 flags = watched(skb->dev);
	bool hit = false;

	if (flags & WEFT_HOP_HOST)
		hit = pass(cpu, skb_key(skb), 0, WEFT_HOOK_HOST);
	if (!hit && flags & WEFT_HOP_ORIGIN)
		hit = begin_rx(cpu, skb, flags, WEFT_HOOK_HOST);
	if (!hit && flags & WEFT_HOP_SENDER)
		hit = pass(cpu, skb_key(skb), WEFT_HOOK_BACKLOG, WEFT_HOOK_DEVICE);
	cpu->receiving = hit ? skb_key(skb) : 0;
	return hit;
}

/* What the processor is receiving right now is what it makes known. A tap's queue has no port. */
static __always_inline struct weft_hop_record *announced(struct hop_cpu *cpu, const struct sock *sk)
{
	struct weft_hop_record *r = record_find(cpu->receiving);
	__u16 port = sk->__sk_common.skc_num;
	__be16 to;

	if (!r)
		return NULL;
	to = r->direction == WEFT_HOP_REQUEST ? r->backend_port : r->client_port;
	if (port != (r->last == WEFT_HOOK_REDIRECT ? 0 : bpf_ntohs(to)))
		r = NULL;
	asm volatile("" : "+r"(r)); /* as in record_find() */
	return r;
}

static __always_inline bool queued(struct hop_cpu *cpu, const struct sock *sk)
{
	struct weft_hop_record *r = announced(cpu, sk);
	struct hop_packet p = {0};
	struct hop_view v;

	if (sk->sk_type != SOCK_DGRAM || !sk->__sk_common.skc_num)
		return r && pass(cpu, cpu->receiving, WEFT_HOOK_HOST, WEFT_HOOK_QUEUED);
	if (!r) {
		await_turn(sk, &p, NULL);
		return false;
	}
	v = hop_view_at(r->address);
	if (!hop_read_ip(&v, &p) || !pass(cpu, cpu->receiving, WEFT_HOOK_HOST, WEFT_HOOK_QUEUED))
		return false;
	if (await_turn(sk, &p, r))
		end_udp(cpu, r, bpf_ktime_get_ns());
	return true;
}

static __always_inline bool copied(struct hop_cpu *cpu, const struct sk_buff *skb)
{
	struct weft_hop_record *r = record_find(skb_key(skb));
	struct hop_view v = hop_view(skb);
	struct hop_packet p = {0};
	__u64 now;

	if (!r)
		return false;
	now = bpf_ktime_get_ns();
	if (record_has(r, WEFT_HOOK_HOST) && hop_read_ip(&v, &p) && hop_read_l4(&v, &p))
		end(cpu, &p, r, now);
	r->key = 0;
	return true;
}

/* A receive call on any socket has come to its end. */
static __always_inline bool received(struct hop_cpu *cpu, const struct sock *sk)
{
	__u64 key = (__u64)sk, now;
	struct weft_hop_record *r;
	struct weft_hop_socket *s;
	__u32 turn;

	if (sk->sk_type != SOCK_DGRAM)
		return false;
	s = bpf_map_lookup_elem(&sockets, &key);
	if (!s)
		return false;
	turn = __sync_fetch_and_add(&s->received, 1) + 1;
	r = record_find(s->key[turn & (WEFT_HOP_QUEUE - 1)]);
	if (!r || r->turn != turn || r->socket != key)
		return false;
	now = bpf_ktime_get_ns();
	end_udp(cpu, r, now);
	return true;
}

/* Without sock_recv_length: after a datagram was copied it is let go with a word. */
static __always_inline bool consumed(struct hop_cpu *cpu, const struct sk_buff *skb)
{
	struct weft_hop_record *r = record_find(skb_key(skb));

	if (!r || r->proto != IPPROTO_UDP || !record_has(r, WEFT_HOOK_HOST))
		return false;
	return copied(cpu, skb);
}

static __always_inline bool freed(struct hop_cpu *cpu, const struct sk_buff *skb)
{
	struct weft_hop_record *r = record_find(skb_key(skb));

	if (!r)
		return false;
	if (record_has(r, WEFT_HOOK_HOST))
		cpu->counts.lost[r->direction & 1]++;
	r->key = 0;
	return true;
}

#define HOP_PROBE(tracepoint, type, function)                     \
	SEC("tp_btf/" #tracepoint)                                \
	int BPF_PROG(at_##tracepoint, type *object)               \
	{                                                         \
		struct run run;                                   \
                                                                  \
		if (run_begin(&run))                              \
			run_end(&run, function(run.cpu, object)); \
		return 0;                                         \
	}

HOP_PROBE(net_dev_queue, struct sk_buff, queue)
HOP_PROBE(netif_rx, struct sk_buff, backlog)
HOP_PROBE(netif_receive_skb, struct sk_buff, receive)
HOP_PROBE(sk_data_ready, struct sock, queued)
HOP_PROBE(skb_copy_datagram_iovec, struct sk_buff, copied)
HOP_PROBE(consume_skb, struct sk_buff, consumed)
HOP_PROBE(kfree_skb, struct sk_buff, freed)

SEC("tp_btf/sock_recv_length")
int BPF_PROG(at_sock_recv_length, struct sock *sk, int ret, int flags)
{
	struct run run;

	if (ret >= 0 && !(flags & MSG_PEEK) && run_begin(&run))
		run_end(&run, received(run.cpu, sk));
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(at_sched_switch)
{
	struct run run;

	if (!run_begin(&run))
		return 0;
	run.cpu->switched_ns = bpf_ktime_get_ns();
	run_end(&run, false);
	return 0;
}

static __always_inline int arrived(__u32 hook)
{
	struct run run;

	if (run_begin(&run))
		run_end(&run, pass(run.cpu, run.cpu->receiving, WEFT_HOOK_HOST, hook));
	return TCX_NEXT;
}

SEC("tc")
int at_veth_in(struct __sk_buff *skb)
{
	return arrived(WEFT_HOOK_DEVICE);
}

SEC("tc")
int at_macvtap_in(struct __sk_buff *skb)
{
	return arrived(WEFT_HOOK_UPPER);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
