/* SPDX-License-Identifier: Apache-2.0 */
/* What works here. weftd knows best; without it, a look at what it would need. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/un.h>

#include "ctrl/base/util.h"
#include "ctrl/base/virt.h"
#include "ctrl/cli/show.h"
#include "ctrl/cli/value.h"

enum verdict { GOOD, BAD, OPTIONAL };

static void put_check(const struct cli *cli, enum verdict v, const char *what, const char *detail,
	const char *next)
{
	static const char *const marks[][2] = {{"+", "✓"}, {"x", "✗"}, {"-", "–"}};
	static const char *const colors[] = {"\033[32m", "\033[31m", "\033[33m"};
	_cleanup_(freep) char *name = cli_clean(what, cli->io.utf8);
	_cleanup_(freep) char *text = cli_clean(detail, cli->io.utf8);

	if (!name || !text)
		return;
	fprintf(cli->io.out, "%s%s%s %-12s %s\n", cli->colored ? colors[v] : "",
		marks[v][cli->io.utf8], cli->colored ? "\033[0m" : "", name, text);
	if (next && *next)
		fprintf(cli->io.out, "%15s%s %s\n", "", cli->io.utf8 ? "→" : "->", next);
}

/* --- by the daemon -----------------------------------------------------------------------------
 */

static bool put_runtimes(const struct cli *cli, const json_t *doc)
{
	bool any = false;
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(doc, "runtimes"), i, v) {
		bool usable = json_is_true(json_object_get(v, "usable"));
		const char *version = cli_str(v, "version", ""), *why = cli_str(v, "detail", "");
		_cleanup_(freep) char *detail = weft_strf("%s  %s%s%s", cli_str(v, "arch", "-"),
			version, *version && *why ? ": " : "", why);

		any = any || usable;
		put_check(cli, usable ? GOOD : OPTIONAL, cli_str(v, "virtualization", "-"),
			detail ? detail : "", NULL);
	}
	if (!any)
		put_check(cli, BAD, "runtimes", "none is usable: no service can run",
			"apt-get install containerd runc qemu-system-x86, then restart weftd");
	return any;
}

static void put_problems(const struct cli *cli, const json_t *doc)
{
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(doc, "problems"), i, v)
		if (json_is_string(v))
			put_check(cli, BAD, "now", json_string_value(v), NULL);
}

/* Those that the kernel has in one line, the others with what is lost. */
static void put_features(const struct cli *cli, const json_t *dp)
{
	_cleanup_(freep) char *has = NULL;
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(dp, "features"), i, v) {
		_cleanup_(freep) char *before = TAKE_PTR(has);

		if (json_is_true(json_object_get(v, "has")))
			has = weft_strf("%s%s%s", before ? before : "", before ? ", " : "",
				cli_str(v, "name", "?"));
		else
			has = TAKE_PTR(before);
	}
	if (has)
		put_check(cli, GOOD, "kernel", has, NULL);
	json_array_foreach (json_object_get(dp, "features"), i, v) {
		_cleanup_(freep) char *text =
			weft_strf("no %s (Linux %s): %s", cli_str(v, "name", "?"),
				cli_str(v, "since", "?"), cli_str(v, "lost", "no data plane"));

		if (!json_is_true(json_object_get(v, "has")) && text)
			put_check(
				cli, cli_is_null(v, "lost") ? BAD : OPTIONAL, "kernel", text, NULL);
	}
}

static void put_uplink(const struct cli *cli, const json_t *doc)
{
	const json_t *up = json_object_get(doc, "uplink");
	_cleanup_(freep) char *text = cli_fmt_uplink(doc);
	_cleanup_(freep) char *line =
		weft_strf("%s: %s", cli_str(up, "device", "?"), text ? text : "");
	bool works = !*cli_str(up, "problem", "");

	if (text && line)
		put_check(cli, works ? GOOD : BAD, "uplink", line,
			works ? NULL : "ip link; weftd looks again every two seconds");
	else if (up)
		put_check(cli, OPTIONAL, "uplink",
			"none: no other nodes, no published ports (weftd --uplink)", NULL);
}

static int diagnose(const struct cli *cli, const json_t *doc)
{
	const json_t *dp = json_object_get(doc, "dataplane"),
		     *store = json_object_get(doc, "store");
	const char *dp_state = cli_str(dp, "state", "unknown");
	const char *store_state = cli_str(store, "state", "unknown");
	const char *trace = cli_str(dp, "trace", "unknown");
	const char *ipv6 = cli_str(dp, "ipv6", "unknown");
	const char *outside = cli_str(dp, "outside", "unknown");
	const char *shortcut = cli_str(dp, "shortcut", "unknown");
	bool dp_ok = strcmp(dp_state, "ok") == 0, store_ok = strcmp(store_state, "ok") == 0,
	     trace_ok = strcmp(trace, "ok") == 0, ipv6_ok = strcmp(ipv6, "ok") == 0,
	     outside_ok = strcmp(outside, "ok") == 0, shortcut_ok = strcmp(shortcut, "ok") == 0;
	_cleanup_(freep) char *daemon = NULL, *data = NULL;
	bool any;

	daemon = weft_strf("weftd %s, role %s, up %s", cli_str(doc, "version", "?"),
		cli_str(doc, "role", "?"), cli_fmt_uptime(cli_u64(doc, "uptime_s")).s);
	data = weft_strf("%s, %s of %s flows, %s drops", cli_str(dp, "hook", "?"),
		cli_fmt_count(cli_u64(dp, "flows")).s,
		cli_fmt_count(cli_u64(dp, "flow_capacity")).s,
		cli_fmt_count(cli_u64(dp, "drops")).s);
	if (!daemon || !data)
		return -ENOMEM;
	put_check(cli, GOOD, "daemon", daemon, NULL);
	put_check(cli, dp_ok ? GOOD : BAD, "data plane", dp_ok ? data : dp_state,
		dp_ok ? NULL : "weftd's log says more");
	put_features(cli, dp);
	if (!cli_is_null(dp, "trace"))
		put_check(cli, trace_ok ? GOOD : OPTIONAL, "trace",
			trace_ok ? "weft trace: the kernel has the tracepoints" : trace, NULL);
	if (!cli_is_null(dp, "ipv6"))
		put_check(cli, ipv6_ok ? GOOD : OPTIONAL, "IPv6",
			ipv6_ok ? "services and instances have addresses" : ipv6,
			ipv6_ok ? NULL : cli_str(dp, "ipv6_hint", NULL));
	if (!cli_is_null(dp, "outside"))
		put_check(cli, outside_ok ? GOOD : OPTIONAL, "outside",
			outside_ok ? "the host forwards what instances send elsewhere" : outside,
			outside_ok ? NULL : cli_str(dp, "outside_hint", NULL));
	if (!cli_is_null(dp, "shortcut"))
		put_check(cli, shortcut_ok ? GOOD : OPTIONAL, "shortcut",
			shortcut_ok ? "TCP between local sockets can bypass the packet path"
				    : shortcut,
			NULL);
	put_check(cli, store_ok ? GOOD : BAD, "store",
		store_ok ? cli_str(store, "kind", "?") : store_state,
		store_ok ? NULL : "is there room and permission in weftd's --state-dir?");
	put_uplink(cli, doc);
	any = put_runtimes(cli, doc);
	put_problems(cli, doc);
	return dp_ok && store_ok && any ? 0 : 1;
}

/* --- without it --------------------------------------------------------------------------------
 */

static void put_file(
	const struct cli *cli, const char *what, const char *path, int mode, const char *next)
{
	_cleanup_(freep) char *full = weft_strf("%s%s", cli->io.root, path);
	_cleanup_(freep) char *detail = NULL;
	bool ok = full && access(full, mode) == 0;

	detail = ok ? strdup(path) : weft_strf("%s: %s", path, strerror(errno));
	put_check(cli, ok ? GOOD : BAD, what, detail ? detail : path, ok ? NULL : next);
}

static void put_bpffs(const struct cli *cli)
{
	_cleanup_(freep) char *full = weft_strf("%s/sys/fs/bpf", cli->io.root);
	struct statfs st;
	bool mounted = full && statfs(full, &st) == 0 && st.f_type == BPF_FS_MAGIC;

	put_check(cli, mounted ? GOOD : OPTIONAL, "bpffs",
		mounted ? "/sys/fs/bpf" : "nothing is mounted at /sys/fs/bpf",
		mounted ? NULL : "weftd mounts it; by hand: mount -t bpf bpf /sys/fs/bpf");
}

static int try_connect(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	strcpy(un.sun_path, path);
	return connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0 ? -errno : 0;
}

static void put_containerd(const struct cli *cli)
{
	static const char path[] = "/run/containerd/containerd.sock";
	_cleanup_(freep) char *full = weft_strf("%s%s", cli->io.root, path);
	int r = full ? try_connect(full) : -ENOMEM;
	_cleanup_(freep) char *detail = r < 0 ? weft_strf("%s: %s", path, strerror(-r)) : NULL;
	const char *next = "start it: systemctl start containerd; or weftd --containerd=SOCKET";

	if (r == -ENOENT)
		next = "apt-get install containerd runc, and start containerd";
	else if (r == -EACCES)
		next = "ask as root: sudo weft doctor";
	put_check(
		cli, r < 0 ? BAD : GOOD, "containerd", detail ? detail : path, r < 0 ? next : NULL);
}

/* Where name is in PATH or in the system's own folders, which a user's PATH may lack. */
static char *find_program(const char *name)
{
	const char *path = getenv("PATH");
	_cleanup_(freep) char *all = weft_strf("%s:/usr/sbin:/usr/bin", path ? path : "");
	char *save = NULL;

	for (char *dir = all ? strtok_r(all, ":", &save) : NULL; dir;
		dir = strtok_r(NULL, ":", &save)) {
		_cleanup_(freep) char *full = weft_strf("%s/%s", dir, name);

		if (full && access(full, X_OK) == 0)
			return TAKE_PTR(full);
	}
	return NULL;
}

static void put_program(const struct cli *cli, const char *what, const char *name,
	enum verdict without, const char *next)
{
	_cleanup_(freep) char *full = find_program(name);
	_cleanup_(freep) char *missing = weft_strf("%s is not in PATH", name);

	put_check(cli, full ? GOOD : without, what,
		full      ? full
		: missing ? missing
			  : name,
		full ? NULL : next);
}

/* cpuinfo's flags do not tell whether KVM works; making a machine does. */
static void put_kvm(const struct cli *cli)
{
	_cleanup_(freep) char *path = weft_strf("%s/dev/kvm", cli->io.root);
	_cleanup_(closep) int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	_cleanup_(closep) int vm = fd >= 0 ? ioctl(fd, KVM_CREATE_VM, 0) : -1;

	put_check(cli, vm >= 0 ? GOOD : OPTIONAL, "kvm",
		vm >= 0 ? "/dev/kvm" : "/dev/kvm does not work: unikernels are emulated, slower",
		NULL);
}

static void look_around(const struct cli *cli)
{
	bool arm = weft_arch_host() == WEFT_ARCH_ARM64, root = geteuid() == 0;

	put_check(cli, root ? GOOD : BAD, "root",
		root ? "yes" : "weft runs as a user; weftd needs root",
		root ? NULL : "sudo weftd --role=all");
	put_file(cli, "kernel BTF", "/sys/kernel/btf/vmlinux", R_OK,
		"a kernel with CONFIG_DEBUG_INFO_BTF; Debian 12's own has it");
	put_bpffs(cli);
	put_file(cli, "tun", "/dev/net/tun", F_OK, "modprobe tun (unikernels need it)");
	put_containerd(cli);
	put_program(cli, "runc", "runc", BAD, "apt-get install runc (containers need it)");
	put_program(cli, "runsc", "runsc", OPTIONAL,
		"apt-get install runsc (gVisor sandboxes need it)");
	put_program(cli, "qemu", arm ? "qemu-system-aarch64" : "qemu-system-x86_64", BAD,
		arm ? "apt-get install qemu-system-arm (unikernels need it)"
		    : "apt-get install qemu-system-x86 (unikernels need it)");
	put_kvm(cli);
}

int cli_cmd_doctor(struct cli *cli, struct weft_err *err)
{
	_cleanup_(cli_reply_done) struct cli_reply reply = {0};
	int r = cli_get(cli, "/v1/status", &reply, err);

	if (r < 0 && (!cli->unanswered || cli->output == CLI_JSON || cli->output == CLI_NAME))
		return r;
	if (r < 0) {
		put_check(cli, BAD, "daemon", err->msg, err->hint);
		look_around(cli);
		return weft_err_exit(r);
	}
	if (cli->output == CLI_JSON)
		cli_put_body(cli, &reply, false);
	else if (cli->output == CLI_NAME)
		cli_put_names(cli, json_object_get(reply.doc, "node"), "name");
	else
		return diagnose(cli, reply.doc);
	return 0;
}
