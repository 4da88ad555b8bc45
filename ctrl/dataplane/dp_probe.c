/* SPDX-License-Identifier: Apache-2.0 */
/* What this kernel offers to programs beside its helpers. */
#include <linux/bpf.h>
#include <string.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "ctrl/dataplane/dp.h"

bool dp_probe_kern_ctx(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	bool found = btf && btf__find_by_name_kind(btf, "bpf_cast_to_kern_ctx", BTF_KIND_FUNC) > 0;

	btf__free(btf);
	return found;
}

bool dp_probe_enumerator(const char *name)
{
	struct btf *btf = btf__load_vmlinux_btf();
	bool found = false;

	for (uint32_t id = 1; btf && id < btf__type_cnt(btf) && !found; id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);

		for (int i = 0; btf_is_enum(t) && i < btf_vlen(t) && !found; i++)
			found = strcmp(btf__name_by_offset(btf, btf_enum(t)[i].name_off), name) ==
				0;
	}
	btf__free(btf);
	return found;
}

void dp_drop_missing_calls(struct bpf_insn *insns, size_t n)
{
	static const struct bpf_insn nothing = {.code = BPF_ALU64 | BPF_MOV | BPF_K};

	for (size_t i = 0; i < n; i++)
		if (insns[i].code == (BPF_JMP | BPF_CALL) &&
			insns[i].src_reg == BPF_PSEUDO_KFUNC_CALL && !insns[i].imm)
			insns[i] = nothing;
}

static int prepare(struct bpf_program *prog, struct bpf_prog_load_opts *opts, long cookie)
{
	(void)opts;
	(void)cookie;
	/* libbpf means them to be changed here. */
	dp_drop_missing_calls((struct bpf_insn *)(uintptr_t)bpf_program__insns(prog),
		bpf_program__insn_cnt(prog));
	return 0;
}

int dp_probe_prepare(void)
{
	static int handler = -1;
	LIBBPF_OPTS(libbpf_prog_handler_opts, opts, .prog_prepare_load_fn = prepare);

	if (handler < 0)
		handler = libbpf_register_prog_handler("tc", BPF_PROG_TYPE_SCHED_CLS, 0, &opts);
	return handler < 0 ? handler : 0;
}
