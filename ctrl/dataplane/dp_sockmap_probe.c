/* SPDX-License-Identifier: Apache-2.0 */
/* What the shortcut needs of the host: cgroup v2 to see connections in, and a kernel that charges a
 * receiver for what is handed over to it. Before Linux 6.13 (and stable versions of its time) it
 * does not, and nothing would ever hold up a sender whose receiver does not read. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <mntent.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/sockmap_probe.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

WEFT_DEFINE_CLEANUP(struct sockmap_probe *, sockmap_probe__destroy);

static void endmntentp(FILE **f)
{
	if (*f)
		endmntent(*f);
}

/* --- cgroup v2 --- */

/* The hierarchy's root rather than a part of it that is mounted elsewhere as well; inside of a
 * cgroup namespace there may be no root to see. */
static bool is_root(const char *dir)
{
	_cleanup_(freep) char *type = weft_strf("%s/cgroup.type", dir);

	return type && access(type, F_OK) < 0 && errno == ENOENT;
}

int dp_cgroup_open(const char *dir, int *ret, struct weft_err *err)
{
	_cleanup_(endmntentp) FILE *mounts = NULL;
	_cleanup_(freep) char *found = NULL;
	const struct mntent *m;
	int fd;

	if (!dir) {
		mounts = setmntent("/proc/self/mounts", "re");
		if (!mounts)
			return weft_err_set(err, errno, "/proc/self/mounts: %m");
		while ((m = getmntent(mounts))) {
			bool better = strcmp(m->mnt_type, "cgroup2") == 0 &&
				      (!found || (!is_root(found) && is_root(m->mnt_dir)));

			if (!better)
				continue;
			free(found);
			found = strdup(m->mnt_dir);
		}
		if (!found) {
			weft_err_set(err, ENOTSUP, "cgroup v2 is not mounted");
			return weft_err_hint(
				err, "mount -t cgroup2 none /sys/fs/cgroup, then restart weftd");
		}
		dir = found;
	}
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return weft_err_set(err, errno, "cgroup v2 at %s: %m", dir);
	*ret = fd;
	return 0;
}

/* --- the kernel --- */

struct probe_pair {
	int listener, sender, receiver;
};

static void probe_pair_close(const struct probe_pair *p)
{
	closep(&p->listener);
	closep(&p->sender);
	closep(&p->receiver);
}

static int probe_pair_open(struct probe_pair *ret)
{
	_cleanup_(probe_pair_close) struct probe_pair p = {-1, -1, -1};
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	const struct timeval patience = {.tv_sec = 1};
	socklen_t size = sizeof(addr);

	p.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	p.sender = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p.listener < 0 || p.sender < 0 || bind(p.listener, (void *)&addr, size) < 0 ||
		listen(p.listener, 1) < 0 || getsockname(p.listener, (void *)&addr, &size) < 0 ||
		setsockopt(p.sender, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
		setsockopt(p.listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
		connect(p.sender, (void *)&addr, size) < 0)
		return -errno;
	p.receiver = accept4(p.listener, NULL, NULL, SOCK_CLOEXEC);
	if (p.receiver < 0)
		return -errno;
	*ret = p;
	p = (struct probe_pair){-1, -1, -1};
	return 0;
}

static int probe_enter(struct sockmap_probe *skel, const struct probe_pair *p)
{
	int map = bpf_map__fd(skel->maps.probe_socks), r;
	const uint64_t socks[] = {(uint64_t)p->sender, (uint64_t)p->receiver};

	r = bpf_prog_attach(bpf_program__fd(skel->progs.probe_send), map, BPF_SK_MSG_VERDICT, 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(socks) && r == 0; i++)
		r = bpf_map_update_elem(map, &i, &socks[i], BPF_ANY);
	return r;
}

/* 1: it is charged; 0: it is not. */
static int probe_message(const struct probe_pair *p)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t size = sizeof(info);
	char c;

	if (send(p->sender, "x", 1, MSG_NOSIGNAL) != 1 ||
		getsockopt(p->receiver, SOL_SOCKET, SO_MEMINFO, info, &size) < 0)
		return -errno;
	if (recv(p->receiver, &c, 1, MSG_DONTWAIT) != 1)
		return errno == EAGAIN ? -EPROTO : -errno;
	return info[SK_MEMINFO_RMEM_ALLOC] == 1; /* a packet would be charged with its buffer */
}

int dp_sockmap_probe(struct weft_err *err)
{
	_cleanup_(sockmap_probe__destroyp) struct sockmap_probe *skel = NULL;
	_cleanup_(probe_pair_close) struct probe_pair p = {-1, -1, -1};
	int r;

	skel = sockmap_probe__open_and_load();
	if (!skel) {
		errno = errno ? errno : ENOTSUP;
		return weft_err_set(err, ENOTSUP, "the kernel refuses its programs: %m");
	}
	r = probe_pair_open(&p);
	if (r == 0)
		r = probe_enter(skel, &p);
	if (r == 0)
		r = probe_message(&p);
	if (r < 0) {
		errno = -r;
		return weft_err_set(err, ENOTSUP, "a trial over the loopback device failed: %m");
	}
	if (r == 0) {
		weft_err_set(err, ENOTSUP,
			"the kernel does not charge a receiver for what it has not read");
		return weft_err_hint(err, "it needs Linux 6.13, or a stable version with "
					  "\"tcp_bpf: charge receive socket buffer\"");
	}
	return 0;
}
