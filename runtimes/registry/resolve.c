/* SPDX-License-Identifier: Apache-2.0 */
/* The system's own way to look a host up takes its time, and libcurl would put it into a thread.
 * getent is on every Debian and is run like any helper. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "ctrl/base/util.h"
#include "runtimes/job.h"
#include "runtimes/registry/http.h"

#define TIMEOUT_MS    15000
#define MAX_OUTPUT    65536
#define MAX_ADDRESSES 8

struct weft_resolve {
	struct weft_job *job;
	weft_resolved_t done;
	void *userdata;
};

bool weft_resolve_is_address(const char *host)
{
	struct in6_addr a;

	return host[0] == '[' || inet_pton(AF_INET, host, &a) == 1 ||
	       inet_pton(AF_INET6, host, &a) == 1;
}

/* Does the list have it already? An address comes once for each kind of socket. */
static bool listed(const char *list, const char *address)
{
	size_t n = strlen(address);

	for (const char *p = list; (p = strstr(p, address)); p++)
		if ((p == list || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
			return true;
	return false;
}

int weft_resolve_parse(const char *output, char *ret, size_t size)
{
	unsigned n = 0;

	ret[0] = '\0';
	for (const char *line = output; *line && n < MAX_ADDRESSES; line++) {
		char address[INET6_ADDRSTRLEN], item[INET6_ADDRSTRLEN + 2];
		size_t len = strcspn(line, " \t\n"), used = strlen(ret);
		struct in6_addr a;

		snprintf(address, sizeof(address), "%.*s", len < sizeof(address) ? (int)len : 0,
			line);
		line += strcspn(line, "\n");
		if (inet_pton(AF_INET, address, &a) == 1)
			snprintf(item, sizeof(item), "%s", address);
		else if (inet_pton(AF_INET6, address, &a) == 1)
			snprintf(item, sizeof(item), "[%s]", address);
		else
			item[0] = '\0';
		if (item[0] && !listed(ret, item) && used + strlen(item) + 2 <= size) {
			snprintf(ret + used, size - used, "%s%s", n ? "," : "", item);
			n++;
		}
		if (!*line)
			break;
	}
	return n ? 0 : -ENOENT;
}

static void on_done(void *userdata, const struct weft_job_result *result)
{
	struct weft_resolve *r = userdata;
	char list[512];
	bool ended = !result->timed_out && WIFEXITED(result->status);

	if (ended && WEXITSTATUS(result->status) == 0 &&
		weft_resolve_parse(result->output, list, sizeof(list)) == 0)
		r->done(r->userdata, list, NULL);
	else
		r->done(r->userdata, NULL,
			ended ? "no such host" : "looking the host up took too long");
}

int weft_resolve(sd_event *event, const char *host, weft_resolved_t done, void *userdata,
	struct weft_resolve **ret)
{
	const char *argv[] = {"getent", "--", "ahosts", host, NULL};
	struct weft_process_spec spec = {
		.argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};
	struct weft_resolve *r = calloc(1, sizeof(*r));
	struct weft_err err = {};
	int q;

	if (!r)
		return -ENOMEM;
	r->done = done;
	r->userdata = userdata;
	q = weft_job_run(event, &spec, MAX_OUTPUT, TIMEOUT_MS, on_done, r, &r->job, &err);
	if (q < 0) {
		free(r);
		return q;
	}
	*ret = r;
	return 0;
}

void weft_resolve_free(struct weft_resolve *r)
{
	if (!r)
		return;
	weft_job_free(r->job);
	free(r);
}
