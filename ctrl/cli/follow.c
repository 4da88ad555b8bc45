/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/cli/follow.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "ctrl/base/util.h"
#include "ctrl/cli/value.h"

#define LOOK_MS 200
#define AWAY_MS 30000 /* how long a restarting daemon is waited for */

/* A descriptor instead of a handler: no global flag, and it wakes poll(). */
int cli_follow_begin(struct cli *cli, struct weft_err *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	cli->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (cli->signal_fd < 0)
		return weft_err_set(err, errno, "signalfd: %m");
	sigprocmask(SIG_BLOCK, &set, NULL);
	return 0;
}

void cli_follow_end(struct cli *cli)
{
	struct signalfd_siginfo info;
	sigset_t set;

	if (!cli || cli->signal_fd < 0)
		return;
	while (read(cli->signal_fd, &info, sizeof(info)) > 0)
		; /* the ^C that was acted upon must not end the program too */
	close(TAKE_FD(cli->signal_fd));
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

bool cli_expired(const struct cli *cli)
{
	return cli->deadline_ns && weft_now_ns() >= cli->deadline_ns;
}

int cli_pause(struct cli *cli, unsigned ms)
{
	struct pollfd p = {.fd = cli->signal_fd, .events = POLLIN};
	uint64_t now = weft_now_ns(), left = ms;

	if (cli->deadline_ns)
		left = cli->deadline_ns > now ? (cli->deadline_ns - now) / 1000000 + 1 : 0;
	return poll(&p, 1, (int)(left < ms ? left : ms)) > 0 ? -EINTR : 0;
}

int cli_patience(struct cli *cli, int r, bool known, uint64_t *away_ns, struct weft_err *err)
{
	uint64_t now = weft_now_ns();

	if (*away_ns && !cli->unanswered) {
		cli_say(cli, "weftd answers again, after %s",
			cli_fmt_duration((now - *away_ns) / 1000000).s);
		*away_ns = 0;
	}
	if (r >= 0 || !cli->unanswered || !known || r == -EINTR || cli_expired(cli))
		return r;
	if (!*away_ns) {
		*away_ns = now;
		cli_say(cli, "%s", err->msg);
		cli_say(cli, "trying again for up to %d s (what was begun goes on)",
			AWAY_MS / 1000);
	} else if (now - *away_ns > AWAY_MS * 1000000ULL) {
		return r;
	}
	return cli_pause(cli, LOOK_MS) < 0 ? -EINTR : -EAGAIN;
}

int cli_get_patient(struct cli *cli, const char *path, struct cli_reply *ret, struct weft_err *err)
{
	uint64_t away_ns = 0;
	int r;

	do {
		bool known = cli->contacted;

		r = cli_get(cli, path, ret, err);
		r = cli_patience(cli, r, known, &away_ns, err);
	} while (r == -EAGAIN);
	return r;
}

int cli_wait(struct cli *cli, const char *path, uint64_t default_ms, cli_ended_t ended,
	void *userdata, struct weft_err *err)
{
	if (!cli->deadline_ns && default_ms)
		cli->deadline_ns = weft_now_ns() + default_ms * 1000000;
	for (;;) {
		_cleanup_(cli_reply_done) struct cli_reply reply = {0};
		int r = cli_get_patient(cli, path, &reply, err);
		bool gone = r == -ENOENT;

		if (r < 0 && cli->unanswered && cli_expired(cli))
			return -ETIMEDOUT;
		if (r < 0 && !gone)
			return r;
		r = ended(cli, gone ? NULL : &reply, userdata, err);
		if (r != 0)
			return r;
		if (cli_expired(cli))
			return -ETIMEDOUT;
		if (cli_pause(cli, LOOK_MS) < 0)
			return -EINTR;
	}
}
