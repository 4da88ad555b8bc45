/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The fields of the kernel's own structures that the hop probes read. Where they lie is found out
 * when the programs are loaded. */
#ifndef WEFT_BPF_HOP_KERNEL_H
#define WEFT_BPF_HOP_KERNEL_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
};

struct sk_buff {
	struct net_device *dev;
	unsigned int len, tail;
	__u16 network_header;
	unsigned char *head, *data;
};

struct sock_common {
	__u16 skc_num;
};

struct sk_buff_head {
	__u32 qlen;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	__u16 sk_type;
};

struct udp_sock {
	struct sk_buff_head reader_queue;
};

#pragma clang attribute pop

#endif
