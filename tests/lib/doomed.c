/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/doomed.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* At a system call whose argument has that value under the mask. The low half of an argument comes
 * first: we run on little-endian machines. */
static void die_at(unsigned nr, unsigned arg, uint32_t mask, uint32_t value)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[arg])),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
		return;
	perror("seccomp");
	_exit(1);
}

void test_die_at_rmdir(void)
{
	die_at(__NR_unlinkat, 2, AT_REMOVEDIR, AT_REMOVEDIR);
}

void test_die_at_fchmod(void)
{
	die_at(__NR_fchmod, 0, 0, 0);
}

void test_die_at_bpf(enum bpf_cmd cmd)
{
	die_at(__NR_bpf, 0, UINT32_MAX, cmd);
}

int test_await_doomed(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? 0 : -1;
}
