/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Can this kernel do what sockmap.bpf.c needs of it? Loaded for a moment, around one connection of
 * the loopback device. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/sock.h"

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2); /* sender, receiver */
	__type(key, __u32);
	__type(value, __u64);
} probe_socks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} probe_storage SEC(".maps");

SEC("sk_msg")
int probe_send(struct sk_msg_md *msg)
{
	struct tcp_sock *tp = msg->sk ? bpf_skc_to_tcp_sock(msg->sk) : NULL;

	if (tp && tp->write_seq == tp->snd_una &&
		!bpf_sk_storage_get(&probe_storage, msg->sk, NULL, 0))
		bpf_msg_redirect_map(msg, &probe_socks, 1, BPF_F_INGRESS);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
