/* SPDX-License-Identifier: Apache-2.0 */
/* weft-runsc: gVisor's runsc, as containerd's runc shim wants its OCI runtime. The shim passes what
 * runc understands; this puts runsc's own global flags before it. The pid that the shim knows of an
 * exec is that of a process which only waits for the one in the sandbox; so that one's pid is noted
 * as well, in ROOT.exec/NAME.pid, for whoever has to end it. And the sandbox has a longer name than
 * the container, see runsc_id.h.
 *
 * --platform=ptrace works everywhere; kvm hangs where the host is a guest whose KVM cannot run ring
 * 0. --network=sandbox is gVisor's own stack, fed by the interface of the namespace. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtimes/containerd/runsc_id.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static char *const own_flags[] = {
	(char[]){"--platform=ptrace"},
	(char[]){"--network=sandbox"},
};
static char own_name[] = "runsc";
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

/* Where the subcommand is, or the end. */
static char **subcommand(char **argv)
{
	for (; *argv; argv++) {
		if (**argv != '-')
			return argv;
		if (takes_value(*argv) && argv[1])
			argv++;
	}
	return argv;
}

static const char *value_of(char **argv, const char *flag)
{
	for (; argv[0] && argv[1]; argv++)
		if (argv[0][0] == '-' && strcmp(argv[0] + strspn(argv[0], "-"), flag) == 0)
			return argv[1];
	return NULL;
}

/* "-internal-pid-file=ROOT.exec/NAME.pid", or NULL. */
static char *inner_pid_flag(char **argv)
{
	const char *root = value_of(argv, "root"), *outer = value_of(argv, "pid-file"), *name;
	char *flag;

	if (!root || !outer)
		return NULL;
	name = strrchr(outer, '/');
	name = name ? name + 1 : outer;
	if (asprintf(&flag, "%s.exec", root) < 0)
		return NULL;
	(void)mkdir(flag, 0700);
	free(flag);
	return asprintf(&flag, "-internal-pid-file=%s.exec/%s", root, name) < 0 ? NULL : flag;
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

/* Which argument is the container's name: the last one, or before the signal. NULL: there is none.
 */
static char **id_of(int argc, char **argv, char **command)
{
	char **id;

	if (!*command || strcmp(*command, "list") == 0)
		return NULL;
	id = argv + argc - (strcmp(*command, "kill") == 0 ? 2 : 1);
	return id > command && **id != '-' ? id : NULL;
}

/* The sandbox's; one that runs since before it had a name of its own keeps the container's. */
static char *sandbox_of(const char *root, char *id)
{
	char *path;
	int there;

	if (asprintf(&path, "%s/%s_sandbox:%s.state", root, id, id) < 0)
		return NULL;
	there = access(path, F_OK) == 0;
	free(path);
	return there ? id : weft_runsc_id(root, id);
}

/* The arguments for runsc: our flags first, one behind `exec`, and the sandbox's name. */
static char **make_args(int argc, char **argv)
{
	char **args = calloc((size_t)argc + N_OWN + 2, sizeof(*args)), **command, **id, *flag;
	const char *root = value_of(argv, "root");
	size_t n = 0;

	if (!args)
		return NULL;
	args[n++] = own_name;
	for (size_t i = 0; i < N_OWN; i++)
		args[n++] = own_flags[i];
	command = subcommand(argv + 1);
	id = root ? id_of(argc, argv, command) : NULL;
	for (char **a = argv + 1; *a; a++) {
		args[n++] = a == id ? sandbox_of(root, *a) : *a;
		if (!args[n - 1])
			return NULL;
		flag = a == command && strcmp(*a, "exec") == 0 ? inner_pid_flag(argv) : NULL;
		if (flag)
			args[n++] = flag;
	}
	return args;
}

int main(int argc, char **argv)
{
	const char *command;
	char **args;
	int r;

	if (argc < 1)
		return 125;
	args = make_args(argc, argv);
	if (!args)
		return 125;
	command = *subcommand(argv + 1);
	if (command && (strcmp(command, "start") == 0 || strcmp(command, "run") == 0)) {
		r = hide_sysctl_net();
		if (r < 0)
			fprintf(stderr, "weft-runsc: hide /proc/sys/net from runsc: %s\n",
				strerror(-r));
	}
	if (!command && !can_sandbox()) { /* --version: we are being tried */
		fprintf(stderr, "weft-runsc: no user namespace can be made here\n");
		return 126;
	}
	if (!getenv("PATH"))
		setenv("PATH", DEFAULT_PATH, 1);
	execvp("runsc", args);
	fprintf(stderr, "weft-runsc: runsc: %s (apt-get install runsc)\n", strerror(errno));
	return 127;
}
