/* SPDX-License-Identifier: Apache-2.0 */
/* weft-runsc: gVisor's runsc, as containerd's runc shim wants its OCI runtime. The shim passes what
 * runc understands; this puts runsc's own global flags before it.
 *
 * --platform=ptrace works everywhere; kvm hangs where the host is a guest whose KVM cannot run ring
 * 0. --network=sandbox is gVisor's own stack, fed by the interface of the namespace. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static char *const own_flags[] = {
	(char[]){"--platform=ptrace"},
	(char[]){"--network=sandbox"},
};
#define N_OWN (sizeof(own_flags) / sizeof(own_flags[0]))

/* Flags that the shim gives with their value apart. */
static int takes_value(const char *flag)
{
	static const char *const flags[] = {"root", "log", "log-format", "criu", "rootless"};

	flag += strspn(flag, "-");
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (strcmp(flag, flags[i]) == 0)
			return 1;
	return 0;
}

static const char *subcommand(char *const *argv)
{
	for (; *argv; argv++) {
		if (**argv != '-')
			return *argv;
		if (takes_value(*argv) && argv[1])
			argv++;
	}
	return "";
}

/* runsc tells the host's network namespace by a visible net.core.rmem_default, and refuses to give
 * it to a sandbox; from Linux 6.11 on every namespace has one (google/gvisor#10704). So it is not
 * shown any, in a mount namespace that ends with this one command. */
static int hide_sysctl_net(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return -errno;
	if (mount("none", "/proc/sys/net", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		    "size=4k") < 0)
		return -errno;
	return 0;
}

/* A sandbox lives in a user namespace, which the kernel refuses to make in a chroot. */
static int can_sandbox(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(unshare(CLONE_NEWUSER) < 0);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && status == 0;
}

int main(int argc, char **argv)
{
	char **args = calloc((size_t)argc + N_OWN + 1, sizeof(*args));
	const char *command;
	int r;

	if (!args || argc < 1)
		return 125;
	args[0] = (char[]){"runsc"};
	memcpy(args + 1, own_flags, sizeof(own_flags));
	memcpy(args + 1 + N_OWN, argv + 1, (size_t)(argc - 1) * sizeof(*args));

	command = subcommand(argv + 1);
	if (strcmp(command, "start") == 0 || strcmp(command, "run") == 0) {
		r = hide_sysctl_net();
		if (r < 0)
			fprintf(stderr, "weft-runsc: hide /proc/sys/net from runsc: %s\n",
				strerror(-r));
	}
	if (strcmp(command, "") == 0 && !can_sandbox()) { /* --version: we are being tried */
		fprintf(stderr, "weft-runsc: no user namespace can be made here\n");
		return 126;
	}
	if (!getenv("PATH"))
		setenv("PATH", DEFAULT_PATH, 1);
	execvp("runsc", args);
	fprintf(stderr, "weft-runsc: runsc: %s (apt-get install runsc)\n", strerror(errno));
	return 127;
}
