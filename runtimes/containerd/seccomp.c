/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that a container does without: those that reach into the kernel beyond what an
 * application needs. Most of them would also need a capability; seccomp keeps the code behind them
 * out of reach. Who is given the capability is given its calls. Source: seccomp(2), and the
 * syscalls of the OCI runtime specification, config-linux.md, Seccomp. */
#include <errno.h>
#include <jansson.h>
#include <linux/sched.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/containerd/ctrd.h"

static const struct {
	const char *capability; /* NULL: no capability brings them back */
	const char *names[24];
} denied[] = {
	{"CAP_SYS_ADMIN", {"mount", "umount", "umount2", "pivot_root", "fsopen", "fsconfig",
				  "fsmount", "fspick", "open_tree", "move_mount", "mount_setattr",
				  "setns", "swapon", "swapoff", "quotactl", "quotactl_fd", "bpf",
				  "fanotify_init", "lookup_dcookie", "perf_event_open"}},
	{"CAP_SYS_MODULE", {"init_module", "finit_module", "delete_module"}},
	{"CAP_SYS_BOOT", {"reboot", "kexec_load", "kexec_file_load"}},
	{"CAP_SYS_TIME", {"settimeofday", "stime", "clock_settime", "clock_settime64",
				 "clock_adjtime", "clock_adjtime64", "adjtimex"}},
	{"CAP_SYS_PACCT", {"acct"}},
	{"CAP_SYS_RAWIO", {"iopl", "ioperm"}},
	{"CAP_SYS_PTRACE", {"kcmp", "process_madvise"}},
	{"CAP_SYS_NICE", {"mbind", "set_mempolicy", "migrate_pages", "move_pages"}},
	{"CAP_DAC_READ_SEARCH", {"open_by_handle_at"}},
	{"CAP_SYSLOG", {"syslog"}},
	/* of the whole machine, or doors that exploits like best */
	{NULL, {"add_key", "keyctl", "request_key", "userfaultfd", "vmsplice", "nfsservctl",
		       "uselib", "ustat", "sysfs", "_sysctl", "get_kernel_syms", "query_module",
		       "create_module", "io_uring_setup", "io_uring_enter", "io_uring_register"}},
};

static bool has(char *const *capabilities, const char *name)
{
	for (; name && capabilities && *capabilities; capabilities++)
		if (strcmp(*capabilities, name) == 0)
			return true;
	return false;
}

static json_t *rule(const char *const *names, size_t n, int code)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n && names[i]; i++)
		json_array_append_new(list, json_string(names[i]));
	return json_pack(
		"{s:o, s:s, s:i}", "names", list, "action", "SCMP_ACT_ERRNO", "errnoRet", code);
}

/* A user namespace of one's own has every capability in it. clone3(2) hides its flags in memory: as
 * if the kernel had none, so that libraries fall back to clone(2). */
static void no_user_namespaces(json_t *rules)
{
	static const char *const by_flags[] = {"clone", "unshare"}, *const clone3[] = {"clone3"};
	json_t *r = rule(by_flags, ARRAY_SIZE(by_flags), EPERM);

	json_object_set_new(r, "args",
		json_pack("[{s:i, s:i, s:i, s:s}]", "index", 0, "value", CLONE_NEWUSER, "valueTwo",
			CLONE_NEWUSER, "op", "SCMP_CMP_MASKED_EQ"));
	json_array_append_new(rules, r);
	json_array_append_new(rules, rule(clone3, ARRAY_SIZE(clone3), ENOSYS));
}

json_t *ctrd_seccomp(char *const *capabilities)
{
	json_t *rules = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(denied); i++)
		if (!has(capabilities, denied[i].capability))
			json_array_append_new(
				rules, rule(denied[i].names, ARRAY_SIZE(denied[i].names), EPERM));
	if (!has(capabilities, "CAP_SYS_ADMIN"))
		no_user_namespaces(rules);
	return json_pack("{s:s, s:o, s:o}", "defaultAction", "SCMP_ACT_ALLOW", "architectures",
#ifdef __x86_64__
		json_pack("[s, s, s]", "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
#else
		json_pack("[s, s]", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
#endif
		"syscalls", rules);
}
