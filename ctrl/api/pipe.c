/* SPDX-License-Identifier: Apache-2.0 */
/* libmicrohttpd asks for the body when it can send some. When there is nothing yet, the connection
 * is suspended and the pipe is watched instead; meanwhile nobody but us looks whether the client is
 * still there. */
#include "ctrl/api/pipe.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/epoll.h>

#include "ctrl/api/gone.h"
#include "ctrl/api/route.h"
#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

#define BLOCK      (16U << 10)
#define FIRST_LINE (256U << 10)

struct weft_api_pipe {
	struct weft_api_pipes *all;
	struct weft_api_pipe *prev, *next;
	struct MHD_Connection *connection;
	int fd;
	sd_event_source *readable;
	struct weft_api_gone gone;
	bool suspended, replied, over, cut;
	char *head; /* what was read before the answer began */
	size_t size, sent;
};

static void resume(struct weft_api_pipe *s)
{
	sd_event_source_set_enabled(s->readable, SD_EVENT_OFF);
	if (!s->suspended)
		return;
	s->suspended = false;
	MHD_resume_connection(s->connection);
	MHD_run(MHD_get_connection_info(s->connection, MHD_CONNECTION_INFO_DAEMON)->daemon);
}

static void suspend(struct weft_api_pipe *s)
{
	MHD_suspend_connection(s->connection);
	s->suspended = true;
	sd_event_source_set_enabled(s->readable, SD_EVENT_ON);
}

static void end(struct weft_api_pipe *s, bool cut)
{
	s->over = true;
	s->cut = s->cut || cut;
}

/* --- the first line --- */

static void read_head(struct weft_api_pipe *s)
{
	char *more = realloc(s->head, s->size + BLOCK + 1);
	ssize_t n;

	if (!more) {
		end(s, true);
		return;
	}
	s->head = more;
	n = read(s->fd, s->head + s->size, BLOCK);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		s->size += (size_t)n;
	else
		end(s, n < 0);
	s->head[s->size] = '\0';
}

static bool head_complete(const struct weft_api_pipe *s)
{
	return s->over || s->size > FIRST_LINE || (s->head && memchr(s->head, '\n', s->size));
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct weft_api_pipe *s = userdata;

	(void)source;
	(void)fd;
	(void)events;
	if (!s->replied)
		read_head(s);
	if (s->replied || head_complete(s))
		resume(s);
	return 0;
}

static int on_gone(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct weft_api_pipe *s = userdata;

	(void)fd;
	(void)events;
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	end(s, true);
	resume(s);
	return 0;
}

/* --- the body --- */

static ssize_t on_body(void *cls, uint64_t position, char *buf, size_t max)
{
	struct weft_api_pipe *s = cls;
	ssize_t n;

	(void)position;
	if (s->cut)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (s->sent < s->size) {
		n = (ssize_t)(s->size - s->sent < max ? s->size - s->sent : max);
		memcpy(buf, s->head + s->sent, (size_t)n);
		s->sent += (size_t)n;
		return n;
	}
	if (s->over)
		return MHD_CONTENT_READER_END_OF_STREAM;
	n = read(s->fd, buf, max);
	if (n > 0)
		return n;
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		suspend(s);
		return 0;
	}
	end(s, n < 0);
	return n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
}

/* The status that the first line stands for; 0 when it is no error. An error is a short line. */
static unsigned status_of_error(const struct weft_api_pipe *s)
{
	json_auto_t *doc = NULL;
	const char *word;

	if (!memchr(s->head, '\n', s->size) || strncmp(s->head, "{\"error\"", 8) != 0)
		return 0;
	doc = json_loadb(s->head, s->size, JSON_DISABLE_EOF_CHECK, NULL);
	word = json_string_value(json_object_get(json_object_get(doc, "error"), "code"));
	return (unsigned)weft_err_http(weft_err_from_word(word ? word : ""));
}

/* Whoever should have written has died instead. */
static void excuse(struct weft_api_pipe *s)
{
	struct weft_api_response response = {0};
	struct weft_err err = {0};

	weft_err_set(&err, EIO, "the answer broke off before it began");
	weft_err_hint(&err, "weftd's log says more");
	weft_api_error(&err, 0, &response);
	free(s->head);
	s->head = response.body ? weft_strf("%s\n", response.body) : NULL;
	s->size = s->head ? strlen(s->head) : 0;
	free(response.body);
}

enum MHD_Result weft_api_pipe_reply(struct weft_api_pipe *s)
{
	struct MHD_Response *r;
	enum MHD_Result q;
	unsigned failed;

	if (!s->size)
		excuse(s);
	if (!s->size)
		return MHD_NO;
	failed = status_of_error(s);

	r = failed ? MHD_create_response_from_buffer(s->size, s->head, MHD_RESPMEM_MUST_COPY)
		   : MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, on_body, s, NULL);
	if (!r)
		return MHD_NO;
	s->replied = true;
	MHD_add_response_header(
		r, "Content-Type", failed ? "application/json" : "application/x-ndjson");
	MHD_add_response_header(r, "Cache-Control", "no-store");
	q = MHD_queue_response(s->connection, failed ? failed : MHD_HTTP_OK, r);
	MHD_destroy_response(r);
	return q;
}

/* --- life --- */

static int watch(struct weft_api_pipe *s, struct weft_err *err)
{
	int r = sd_event_add_io(s->all->event, &s->readable, s->fd, EPOLLIN, on_readable, s);

	if (r < 0)
		return weft_err_set(err, r, "event loop: %s", strerror(-r));
	return weft_api_gone_watch(&s->gone, s->all->event, s->connection, on_gone, s, err);
}

int weft_api_pipe_new(struct weft_api_pipes *all, struct MHD_Connection *c, int fd,
	struct weft_api_pipe **ret, struct weft_err *err)
{
	struct weft_api_pipe *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		close(fd);
		return weft_err_set(err, ENOMEM, "out of memory");
	}
	*s = (struct weft_api_pipe){
		.all = all, .connection = c, .fd = fd, .gone = WEFT_API_GONE_INIT};
	s->next = all->first;
	if (s->next)
		s->next->prev = s;
	all->first = s;
	r = watch(s, err);
	if (r < 0) {
		weft_api_pipe_free(s);
		return r;
	}
	suspend(s);
	*ret = s;
	return 0;
}

void weft_api_pipe_free(struct weft_api_pipe *s)
{
	if (!s)
		return;
	if (s->prev)
		s->prev->next = s->next;
	else
		s->all->first = s->next;
	if (s->next)
		s->next->prev = s->prev;
	sd_event_source_disable_unref(s->readable);
	weft_api_gone_end(&s->gone);
	close(s->fd);
	free(s->head);
	free(s);
}

void weft_api_pipe_cut(struct weft_api_pipe *s)
{
	end(s, true);
	resume(s);
}

/* Resuming runs the server, which may free streams, also others. */
void weft_api_pipes_end(struct weft_api_pipes *all)
{
	struct weft_api_pipe *s = all->first;

	while (s) {
		if (!s->suspended) {
			s = s->next;
			continue;
		}
		end(s, true);
		resume(s);
		s = all->first;
	}
}
