/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Fragments: the first one decides and leaves a note for those that follow. */
#ifndef WEFT_BPF_FRAG_H
#define WEFT_BPF_FRAG_H

#include "bpf/parse.h"

static __always_inline struct weft_frag_key frag_key(const struct packet *p)
{
	struct weft_frag_key key = {
		.saddr = p->saddr,
		.daddr = p->daddr,
		.id = p->ip_id,
		.proto = p->proto,
	};

	return key;
}

static __always_inline void frag_note(const struct packet *p, const struct weft_frag *decision)
{
	struct weft_frag_key key = frag_key(p);

	bpf_map_update_elem(&fragments, &key, decision, BPF_ANY);
}

static __always_inline const struct weft_frag *frag_find(const struct packet *p)
{
	struct weft_frag_key key = frag_key(p);

	return bpf_map_lookup_elem(&fragments, &key);
}

#endif
