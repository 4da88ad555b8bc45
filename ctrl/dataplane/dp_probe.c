/* SPDX-License-Identifier: Apache-2.0 */
/* What this kernel offers to programs beside its helpers. */
#include <linux/bpf.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>
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

/* Half of the jiffies: a program's return value has 32 bits. */
static int jiffies_half(int shift)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_jiffies64},
		{.code = BPF_ALU64 | BPF_RSH | BPF_K, .dst_reg = BPF_REG_0, .imm = shift},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "jiffies", "GPL", insns,
		sizeof(insns) / sizeof(insns[0]), NULL);
}

static bool run(int program, uint32_t *ret)
{
	uint8_t frame[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));

	if (bpf_prog_test_run_opts(program, &opts) < 0)
		return false;
	*ret = opts.retval;
	return true;
}

/* All of it within one jiffy: rather often it is. */
#define JIFFY_TRIES 16

bool dp_probe_jiffies(uint64_t *ret_ns, uint64_t *ret_zero)
{
	_cleanup_(closep) int low = jiffies_half(0), high = jiffies_half(32);
	struct timespec step, now;
	uint32_t l, h, again;

	*ret_ns = *ret_zero = 0;
	if (low < 0 || high < 0 || clock_getres(CLOCK_MONOTONIC_COARSE, &step) < 0 || step.tv_sec)
		return false;
	for (int i = 0; i < JIFFY_TRIES; i++) {
		if (!run(low, &l) || !run(high, &h) ||
			clock_gettime(CLOCK_MONOTONIC_COARSE, &now) < 0 || !run(low, &again))
			return false;
		if (l != again)
			continue;
		*ret_ns = (uint64_t)step.tv_nsec;
		*ret_zero = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec -
			    ((uint64_t)h << 32 | l) * *ret_ns;
		return true;
	}
	return false;
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
