/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The shortcut: what one container writes to its TCP socket goes into the other's receive queue,
 * past the packet path of both. Two programs:
 *   shortcut_sockets  sees every connection being established, and keeps the sockets of those whose
 *                     two ends are instances of this node (and whose service wants it)
 *   shortcut_send     sees every message that such a socket sends, and hands it over, or lets it go
 *                     by packets
 * Everything else of a connection goes by packets: SYN, FIN, RST, keep-alive.
 *
 * Order. A receiver's kernel gives what came by the shortcut before what came by packets, whichever
 * was sent first. So a message takes the shortcut only if all that its socket has ever sent by
 * packets is read: the receiver's copied_seq is the sender's write_seq.
 *
 * Blocking reads. A thread that waits inside of recv() gets from the kernel, on a socket that is in
 * a sockmap, an EAGAIN for every wake-up without data, such as the other side's acknowledgement of
 * a FIN; it gets less than it wants with MSG_WAITALL; and it may wait for packets while data comes
 * by the shortcut. So both sockets must be O_NONBLOCK at the moment of a message, and those that
 * are not leave the sockmap as soon as they are seen to.
 *
 * Back-pressure. The kernel would queue without bound. What is unread by the shortcut may be as
 * much as the buffers of the connection hold; beyond that, messages go by packets, whose window
 * makes the sender wait.
 *
 * The flow table sees no packets of a busy connection: each message counts as one. What makes the
 * packet path reset a connection (purged flows, a backend removed or replaced) makes its data go by
 * packets, which then do that. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/service.h"
#include "bpf/sock.h"

#define AF_INET6 10

/* Bytes that the kernel charges a receiver with even when TCP is short of memory: the least that
 * net.ipv4.tcp_rmem is ever set to. */
#define ALWAYS_CHARGED 4096

#define TICK_SHIFT 32 /* 4.3 s: the flow table's finest */

struct end {
	__u64 sock;   /* its struct tcp_sock. That may be another connection's by now, ... */
	__u64 cookie; /* ... and then does not have this */
	__u64 use;    /* enum use */
};

/* Leaving shortcut_socks throws away what is unread, so a socket may do that only as long as
 * nothing has been handed over to it. */
enum use {
	UNUSED,
	USED,
	LEAVING,
};

/* Of a socket in shortcut_socks. */
struct conn {
	struct weft_shortcut_key peer; /* the other end's key */
	struct end other;              /* sock 0: not looked for yet */
	__u64 forth, back;             /* hashes of the flow's words */
	__u32 client, backend, service;
	__u32 generation; /* of the backend, when it began */
	__u32 tick;       /* in which the flow was last touched */
	int reason;       /* for which the last message went by packets, or WEFT_SHORTCUT_ON */
};

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, WEFT_SHORTCUT_SOCKETS);
	__type(key, struct weft_shortcut_key);
	__type(value, __u64);
} shortcut_socks SEC(".maps");

/* LRU, so that it can not fill up for good, whatever becomes of who should delete an entry. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEFT_SHORTCUT_SOCKETS);
	__type(key, struct weft_shortcut_key);
	__type(value, struct end);
} shortcut_ends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} shortcut_conns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEFT_MAX_SERVICES);
	__type(key, __u32);
	__type(value, struct weft_shortcut_counters);
} shortcut_stats SEC(".maps");

/* --- whose connection it is --- */

struct pair {
	struct weft_addr6 local, remote; /* IPv4: in the last word */
	__be16 lport, rport;
	__u8 family;
};

static __always_inline void pair_of(struct bpf_sock_ops *ctx, struct pair *ret)
{
	ret->family = 4;
	ret->lport = bpf_htons((__u16)ctx->local_port);
	ret->rport = bpf_htons((__u16)bpf_ntohl(ctx->remote_port));
	ret->local.word[3] = ctx->local_ip4;
	ret->remote.word[3] = ctx->remote_ip4;
	if (ctx->family != AF_INET6)
		return;
	ret->local.word[0] = ctx->local_ip6[0];
	ret->local.word[1] = ctx->local_ip6[1];
	ret->local.word[2] = ctx->local_ip6[2];
	ret->local.word[3] = ctx->local_ip6[3];
	ret->remote.word[0] = ctx->remote_ip6[0];
	ret->remote.word[1] = ctx->remote_ip6[1];
	ret->remote.word[2] = ctx->remote_ip6[2];
	ret->remote.word[3] = ctx->remote_ip6[3];
	/* ::ffff:10.18.0.1 is an IPv6 socket that speaks IPv4. */
	if (ret->local.word[0] || ret->local.word[1] || ret->local.word[2] != bpf_htonl(0xffff))
		ret->family = 6;
}

static __always_inline __u32 target_of(const struct pair *p)
{
	__u32 low = bpf_ntohl(p->remote.word[3]) & 0xffff;
	const __u32 *target;

	if (p->family == 6)
		target = bpf_map_lookup_elem(&targets6, &p->remote);
	else if ((p->remote.word[3] & bpf_htonl(WEFT_SEMANTIC_MASK)) !=
		 bpf_htonl(WEFT_SEMANTIC_NET))
		return 0;
	else
		target = bpf_map_lookup_elem(&targets, &low);
	return target ? *target : 0;
}

/* The instance whose namespace address a socket has. Somebody else may have the same address in a
 * namespace of his own: the cookie tells. */
static __always_inline __u32 holder_of(const struct pair *p, __u64 cookie)
{
	const __u32 *id = p->family == 6 ? bpf_map_lookup_elem(&ns_addrs6, &p->local)
					 : bpf_map_lookup_elem(&ns_addrs, &p->local.word[3]);
	const struct weft_netns *ns = id ? bpf_map_lookup_elem(&shortcut_netns, id) : NULL;

	return ns && ns->cookie == cookie ? *id : 0;
}

/* NULL unless its sockets are this kernel's: not those of a guest, a sandbox or another node. */
static __always_inline const struct weft_bpf_instance *instance_with_sockets(__u32 id)
{
	const struct weft_netns *ns = bpf_map_lookup_elem(&shortcut_netns, &id);
	const struct weft_bpf_instance *inst = instance_get(id);

	return inst && ns && ns->cookie && ns->epoch == inst->epoch ? inst : NULL;
}

/* A connection's way through the overlay, as its flow's words know it. */
struct way {
	const struct weft_bpf_instance *client, *backend;
	struct flow_key forth, back;
};

/* As a packet that the socket sends. */
static __always_inline struct packet packet_of(const struct pair *p)
{
	struct packet pkt = {
		.family = p->family,
		.proto = IPPROTO_TCP,
		.sport = p->lport,
		.dport = p->rport,
	};

	return pkt;
}

/* What the client called leads to the flow's forward word, and that to the backend. */
static __always_inline bool way_from_client(const struct pair *p, struct conn *c, struct way *w)
{
	__u32 target = target_of(p), id = WEFT_TARGET_ID(target), kind = WEFT_TARGET_KIND(target);
	struct packet pkt = packet_of(p);
	const struct weft_bpf_service *svc;
	struct flow f;

	w->client = instance_with_sockets(c->client);
	if (!w->client)
		return false;
	if (kind == WEFT_TARGET_INSTANCE) {
		c->backend = id;
		w->backend = instance_with_sockets(id);
		if (!w->backend)
			return false;
		w->forth = key_direct(&pkt, w->client, w->backend);
		w->back = key_direct_other(&w->forth);
		return true;
	}
	svc = kind >= WEFT_TARGET_SERVICE ? service_get(id) : NULL;
	if (!svc)
		return false;
	w->forth = key_to_service(&pkt, w->client, svc, kind - WEFT_TARGET_SERVICE, false);
	if (!flow_find(flow_hash(&w->forth), &f))
		return false;
	c->backend = weft_flow_id(f.word);
	w->backend = instance_with_sockets(c->backend);
	if (!w->backend)
		return false;
	w->back = key_from_backend(&w->forth, w->backend);
	return true;
}

/* The backend is called by the client's instance address; the reverse word knows by which of the
 * service's addresses the client has called, if it did that. */
static __always_inline bool way_from_backend(const struct pair *p, struct conn *c, struct way *w)
{
	struct packet pkt = packet_of(p);
	const struct weft_bpf_service *svc;
	__u32 target = target_of(p);
	struct flow f;

	c->client = WEFT_TARGET_ID(target);
	w->backend = instance_with_sockets(c->backend);
	w->client = instance_with_sockets(c->client);
	if (!w->backend || !w->client || WEFT_TARGET_KIND(target) != WEFT_TARGET_INSTANCE)
		return false;
	svc = service_get(w->backend->service);
	if (!svc)
		return false;
	w->forth = key_to_service(&pkt, w->client, svc, 0, true);
	w->back = key_from_backend(&w->forth, w->backend);
	if (flow_find(flow_hash(&w->back), &f)) {
		w->forth.mark = weft_flow_aux(f.word) - 1;
		return true;
	}
	w->back = key_direct(&pkt, w->backend, w->client);
	w->forth = key_direct_other(&w->back);
	return true;
}

/* Have the flow's word count a packet. False if it no longer stands for this connection. */
static __always_inline bool flow_refresh(const struct conn *c, __u64 hash, bool reverse)
{
	__u64 fresh;
	struct flow f;

	if (!flow_find(hash, &f) || !(f.word & WEFT_FLOW_REVERSE) != !reverse ||
		weft_flow_id(f.word) != c->backend ||
		weft_flow_generation(f.word) != (c->generation & 3))
		return false;
	fresh = flow_aged(f.word, weft_flow_state(f.word));
	if (fresh != f.word)
		__sync_val_compare_and_swap(f.place, f.word, fresh);
	return true;
}

static __always_inline bool service_wants(__u32 id)
{
	const struct weft_bpf_service *svc = service_get(id);

	return svc && svc->flags & WEFT_SERVICE_SHORTCUT;
}

static __always_inline bool way_known(
	const struct pair *p, bool active, struct conn *c, struct way *w)
{
	if (active ? !way_from_client(p, c, w) : !way_from_backend(p, c, w))
		return false;
	c->service = w->backend->service;
	c->generation = w->backend->generation;
	c->forth = flow_hash(&w->forth);
	c->back = flow_hash(&w->back);
	c->peer.client = w->client->epoch;
	c->peer.backend = w->backend->epoch;
	c->peer.sport = active ? p->lport : p->rport;
	c->peer.dport = active ? p->rport : p->lport;
	return service_wants(c->service) && flow_refresh(c, c->forth, false) &&
	       flow_refresh(c, c->back, true);
}

/* --- sockets come and go --- */

static __always_inline struct weft_shortcut_key own_key(const struct conn *c)
{
	struct weft_shortcut_key key = c->peer;

	key.side = !key.side;
	return key;
}

static __always_inline struct weft_shortcut_counters *counters(__u32 service)
{
	return bpf_map_lookup_elem(&shortcut_stats, &service);
}

/* Of a service, and of all: service 0. */
static __always_inline void count_open(__u32 service, bool opened)
{
	struct weft_shortcut_counters *n = counters(service), *all = counters(0);

	if (n && opened)
		n->opened++;
	else if (n)
		n->closed++;
	if (all && opened)
		all->opened++;
	else if (all)
		all->closed++;
}

/* Nothing has been sent yet but the handshake: no data in a SYN. */
static __always_inline bool number(const struct tcp_sock *tp, bool active, struct conn *c)
{
	if (tp->is_mptcp || tp->write_seq != tp->snd_una ||
		SOCK_FLAG(tp->inet_conn.icsk_inet.sk.__sk_common.skc_flags, SOCK_ZEROCOPY))
		return false;
	c->peer.client_seq = active ? tp->write_seq : tp->rcv_nxt;
	c->peer.backend_seq = active ? tp->rcv_nxt : tp->write_seq;
	c->peer.side = active ? WEFT_SHORTCUT_BACKEND : WEFT_SHORTCUT_CLIENT;
	return true;
}

static __always_inline void enter(struct bpf_sock_ops *ctx, bool active)
{
	struct weft_shortcut_key own;
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp;
	struct conn c = {.reason = WEFT_SHORTCUT_ON};
	struct end end = {};
	struct pair p = {};
	struct way w = {};
	__u32 id;

	pair_of(ctx, &p);
	id = holder_of(&p, bpf_get_netns_cookie(ctx));
	tp = id && sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	/* A server's is not accepted yet: nobody knows. */
	if (!tp || (active && !sock_nonblocking(tp)))
		return;
	if (active)
		c.client = id;
	else
		c.backend = id;
	if (!way_known(&p, active, &c, &w) || !number(tp, active, &c))
		return;
	own = own_key(&c);
	end.sock = (__u64)tp;
	end.cookie = bpf_get_socket_cookie(ctx);
	if (!bpf_sk_storage_get(&shortcut_conns, sk, &c, BPF_SK_STORAGE_GET_F_CREATE))
		return;
	bpf_sock_ops_cb_flags_set(ctx,
		ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTT_CB_FLAG);
	count_open(c.service, 1);
	/* Last: from here on the other end may use it. */
	if (bpf_map_update_elem(&shortcut_ends, &own, &end, BPF_ANY) == 0)
		bpf_sock_hash_update(ctx, &shortcut_socks, &own, BPF_NOEXIST);
}

/* Its process connects it anew, after connect(AF_UNSPEC). What else closes a socket has either an
 * error or the other side's FIN to show for it, or has taken it out of shortcut_socks before. */
static __always_inline bool disconnected(struct bpf_sock *own, __u32 state)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(own);
	struct sock *sk;

	if (!tp)
		return false;
	sk = &tp->inet_conn.icsk_inet.sk;
	return !sk->sk_err && (state == BPF_TCP_CLOSE_WAIT || !(sk->sk_shutdown & RCV_SHUTDOWN));
}

static __always_inline void forget(
	struct bpf_sock *sk, const struct conn *c, const struct weft_shortcut_key *own, bool leave)
{
	count_open(c->service, 0);
	bpf_map_delete_elem(&shortcut_ends, own);
	if (leave)
		bpf_map_delete_elem(&shortcut_socks, own);
	bpf_sk_storage_delete(&shortcut_conns, sk);
}

/* A closed socket stays in shortcut_socks until its process closes it, because leaving it throws
 * away what came by the shortcut and is still unread. Only for what is not to be read any more, the
 * rest of a connection before the socket's next one, that is right. */
static __always_inline void state_changed(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct conn *c = sk ? bpf_sk_storage_get(&shortcut_conns, sk, NULL, 0) : NULL;
	struct weft_shortcut_key own;

	if (!c || ctx->args[1] != BPF_TCP_CLOSE)
		return;
	own = own_key(c);
	forget(sk, c, &own, disconnected(sk, ctx->args[0]));
}

/* An acknowledgement has come for what a socket has sent by packets. If it did that because its
 * process blocks, there is no use for it here. */
static __always_inline void acknowledged(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct conn *c = sk ? bpf_sk_storage_get(&shortcut_conns, sk, NULL, 0) : NULL;
	struct weft_shortcut_key own;
	struct tcp_sock *tp;
	struct end *end;

	if (!c || c->reason != WEFT_SHORTCUT_BLOCKING)
		return;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || sock_nonblocking(tp))
		return;
	own = own_key(c);
	end = bpf_map_lookup_elem(&shortcut_ends, &own);
	if (end && __sync_val_compare_and_swap(&end->use, UNUSED, LEAVING) == UNUSED)
		forget(sk, c, &own, true);
}

SEC("sockops")
int shortcut_sockets(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		enter(ctx, true);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		enter(ctx, false);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		state_changed(ctx);
		break;
	case BPF_SOCK_OPS_RTT_CB:
		acknowledged(ctx);
		break;
	}
	return 1;
}

/* --- messages --- */

/* Would the packet path let it pass? If so, it is one for the flow table as well. */
static __always_inline bool flow_goes_on(struct conn *c)
{
	const struct weft_bpf_instance *client = instance_get(c->client),
				       *backend = instance_get(c->backend);
	__u32 tick = (__u32)(clock_ns() >> TICK_SHIFT);

	if (!client || client->epoch != c->peer.client || !backend ||
		backend->epoch != c->peer.backend || backend->generation != c->generation)
		return false;
	if (tick == c->tick)
		return true;
	c->tick = tick;
	return flow_refresh(c, c->forth, false) && flow_refresh(c, c->back, true);
}

static __always_inline bool other_known(struct conn *c)
{
	const struct end *other;

	if (c->other.sock)
		return true;
	other = bpf_map_lookup_elem(&shortcut_ends, &c->peer);
	if (!other)
		return false;
	c->other = *other;
	return true;
}

/* From now on the other socket stays in shortcut_socks. */
static __always_inline bool other_used(struct conn *c)
{
	struct end *other;

	if (c->other.use == USED)
		return true;
	other = bpf_map_lookup_elem(&shortcut_ends, &c->peer);
	if (!other || __sync_val_compare_and_swap(&other->use, UNUSED, USED) == LEAVING)
		return false;
	c->other.use = USED;
	return true;
}

/* Sending that fails because the receiver can not be charged is an error to a program. A small
 * message to one that has read all can be charged always, others unless TCP is short of memory. */
static __always_inline bool room_for(struct tcp_sock *tp, const struct receiver *r, __u32 size)
{
	__u64 room = (__u64)r->room + tp->inet_conn.icsk_inet.sk.sk_sndbuf;

	if (!r->unread && size <= ALWAYS_CHARGED)
		return true;
	return (!r->unread || (__u64)r->unread + size <= room) && !sock_under_pressure(tp);
}

static __always_inline int hand_over(struct sk_msg_md *msg, struct conn *c)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(msg->sk);
	struct receiver r;

	if (!tp || !sock_may_send(tp))
		return WEFT_SHORTCUT_UNFIT;
	if (!service_wants(c->service))
		return WEFT_SHORTCUT_OFF;
	if (!flow_goes_on(c))
		return WEFT_SHORTCUT_GONE;
	if (!sock_nonblocking(tp))
		return WEFT_SHORTCUT_BLOCKING;
	if (!other_known(c))
		return WEFT_SHORTCUT_LATE;
	receiver_read(c->other.sock, &r);
	if (r.cookie != c->other.cookie)
		return WEFT_SHORTCUT_GONE;
	if (!r.fit)
		return WEFT_SHORTCUT_UNFIT;
	if (r.read != tp->write_seq || !r.accepted)
		return WEFT_SHORTCUT_LATE;
	if (!r.nonblocking)
		return WEFT_SHORTCUT_BLOCKING;
	if (!room_for(tp, &r, msg->size))
		return WEFT_SHORTCUT_FULL;
	if (!other_used(c) ||
		bpf_msg_redirect_hash(msg, &shortcut_socks, &c->peer, BPF_F_INGRESS) != SK_PASS)
		return WEFT_SHORTCUT_GONE;
	return WEFT_SHORTCUT_ON;
}

/* SK_PASS either way: hand_over() has left a note of where to. */
SEC("sk_msg")
int shortcut_send(struct sk_msg_md *msg)
{
	struct weft_shortcut_counters *n;
	struct conn *c = NULL;
	int before, reason;

	if (msg->sk)
		c = bpf_sk_storage_get(&shortcut_conns, msg->sk, NULL, 0);
	if (!c || c->reason >= WEFT_SHORTCUT_UNFIT)
		return SK_PASS;
	before = c->reason;
	c->reason = reason = hand_over(msg, c);
	n = counters(c->service);
	if (n && reason == WEFT_SHORTCUT_ON) {
		n->messages++;
		n->bytes += msg->size;
	} else if (n && before == WEFT_SHORTCUT_ON && reason >= 0 &&
		   reason < WEFT_SHORTCUT_REASON_SLOTS) {
		n->left[reason]++;
	}
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
