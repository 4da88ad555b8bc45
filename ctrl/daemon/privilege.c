/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/daemon/privilege.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctrl/base/util.h"

static const uint8_t kept[] = {
	CAP_BPF, CAP_PERFMON,              /* programs and maps; the probes of weft trace */
	CAP_NET_ADMIN, CAP_NET_RAW,        /* links, addresses, routes; packet sockets */
	CAP_NET_BIND_SERVICE,              /* native instances at ports below 1024 */
	CAP_SYS_ADMIN,                     /* namespaces, mounts, cgroups */
	CAP_SYS_PTRACE,                    /* namespaces of instances of other users */
	CAP_SYS_CHROOT, CAP_MKNOD,         /* the roots and devices of instances */
	CAP_SYS_NICE, CAP_SYS_RESOURCE,    /* limits of instances */
	CAP_IPC_LOCK,                      /* maps, on kernels that charge them to RLIMIT_MEMLOCK */
	CAP_CHOWN, CAP_FOWNER, CAP_FSETID, /* images, unpacked with their owners and modes */
	CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH,         /* files of instances of other users */
	CAP_KILL, CAP_SETUID, CAP_SETGID, CAP_SETPCAP, /* workers and instances of other users */
};

static uint64_t kept_set(void)
{
	uint64_t set = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		set |= UINT64_C(1) << kept[i];
	return set;
}

int privilege_drop(struct weft_err *err)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	uint64_t keep = kept_set();

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (!(keep & UINT64_C(1) << cap) && prctl(PR_CAPBSET_DROP, cap) < 0 &&
			errno != EPERM)
			return weft_err_set(err, errno, "drop capability %d: %m", cap);
	if (syscall(SYS_capget, &head, data) < 0)
		return weft_err_set(err, errno, "read capabilities: %m");
	for (int i = 0; i < 2; i++) {
		uint32_t word = (uint32_t)(keep >> (32 * i));

		data[i].permitted &= word;
		data[i].effective &= word;
		data[i].inheritable &= word;
	}
	if (syscall(SYS_capset, &head, data) < 0)
		return weft_err_set(err, errno, "drop capabilities: %m");
	return 0;
}
