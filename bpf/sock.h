/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is read of the kernel's sockets: fields are found by BTF. One's own socket is read directly,
 * another's through its address, which may be stale: then what is read makes no sense, but does no
 * harm. */
#ifndef WEFT_BPF_SOCK_H
#define WEFT_BPF_SOCK_H

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define KERNEL_TYPE __attribute__((preserve_access_index))

struct proto {
	unsigned long *memory_pressure;
} KERNEL_TYPE;

typedef struct {
	__s64 counter;
} atomic64_t;

typedef struct {
	int counter;
} atomic_t;

struct sock_common {
	volatile unsigned char skc_state;
	struct proto *skc_prot;
	unsigned long skc_flags;
	atomic64_t skc_cookie;
} KERNEL_TYPE;

struct file {
	unsigned int f_flags;
} KERNEL_TYPE;

struct socket {
	struct file *file;
} KERNEL_TYPE;

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket; /* NULL: not accepted yet, or closed */
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	int sk_err;
	int sk_rcvbuf, sk_sndbuf, sk_rcvlowat;
	__u8 sk_shutdown;
} KERNEL_TYPE;

struct inet_sock {
	struct sock sk;
} KERNEL_TYPE;

struct tcp_ulp_ops;
struct inet_connection_sock {
	struct inet_sock icsk_inet;
	const struct tcp_ulp_ops *icsk_ulp_ops;
} KERNEL_TYPE;

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 write_seq, snd_una, rcv_nxt, copied_seq;
	bool is_mptcp;
} KERNEL_TYPE;

enum sock_flags {
	SOCK_URGINLINE,
	SOCK_ZEROCOPY,
};

#define O_NONBLOCK   04000
#define RCV_SHUTDOWN 1

static __always_inline bool sock_flag(unsigned long flags, __u32 bit)
{
	return flags >> (bit & 31) & 1;
}

#define SOCK_FLAG(flags, name) sock_flag(flags, bpf_core_enum_value(enum sock_flags, name))

/* What a sender's socket must be for its data not to need packets: open in this direction, plain
 * TCP without a layer above it (TLS), and nobody waiting for a notice that a page was sent. */
static __always_inline bool sock_may_send(struct tcp_sock *tp)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	__u8 state = sk->__sk_common.skc_state;

	return (state == BPF_TCP_ESTABLISHED || state == BPF_TCP_CLOSE_WAIT) &&
	       !tp->inet_conn.icsk_ulp_ops && !SOCK_FLAG(sk->__sk_common.skc_flags, SOCK_ZEROCOPY);
}

/* Do reads of the process return at once? */
static __always_inline bool sock_nonblocking(struct tcp_sock *tp)
{
	struct socket *socket = tp->inet_conn.icsk_inet.sk.sk_socket;
	struct file *file = socket ? socket->file : NULL;

	return file && file->f_flags & O_NONBLOCK;
}

static __always_inline bool sock_under_pressure(struct tcp_sock *tp)
{
	struct proto *prot = tp->inet_conn.icsk_inet.sk.__sk_common.skc_prot;
	unsigned long pressure = 0, *where = prot ? prot->memory_pressure : NULL;

	return where && bpf_probe_read_kernel(&pressure, sizeof(pressure), where) == 0 && pressure;
}

/* Another's socket. */
struct receiver {
	__u64 cookie;
	__u32 read; /* sequence number up to which its process has what came by packets */
	int unread, room;
	bool fit, accepted, nonblocking;
};

extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym;

static __always_inline void receiver_read(__u64 addr, struct receiver *ret)
{
	const struct tcp_sock *tp =
		bpf_rdonly_cast((void *)addr, bpf_core_type_id_kernel(struct tcp_sock));
	const struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	const struct socket *socket = sk->sk_socket;
	const struct file *file = socket ? socket->file : NULL;
	__u8 state = sk->__sk_common.skc_state;

	ret->cookie = (__u64)sk->__sk_common.skc_cookie.counter;
	ret->read = tp->copied_seq;
	ret->unread = sk->sk_backlog.rmem_alloc.counter;
	ret->room = sk->sk_rcvbuf;
	ret->accepted = file;
	ret->nonblocking = file && file->f_flags & O_NONBLOCK;
	ret->fit = (state == BPF_TCP_ESTABLISHED || state == BPF_TCP_FIN_WAIT1 ||
			   state == BPF_TCP_FIN_WAIT2) &&
		   sk->sk_rcvlowat <= 1 && !SOCK_FLAG(sk->__sk_common.skc_flags, SOCK_URGINLINE) &&
		   !tp->inet_conn.icsk_ulp_ops;
}

#endif
