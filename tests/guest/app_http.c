/* SPDX-License-Identifier: Apache-2.0 */
/* Every answer this server can give is written at start, so that answering is one tcp_write() of
 * memory that never changes. */
#include <stdio.h>
#include <string.h>

#include "apps.h"
#include "guest.h"
#include "http.h"
#include "stream.h"

#define INDEX_SIZE 612 /* as the page that nginx shows when it is new, for fair comparisons */
#define PAGE_SIZE  1024

struct page {
	uint16_t status;
	const char *reason, *path, *extra, *body;
};

static char index_body[INDEX_SIZE + 1];

/* The first page with the path or the status counts. */
static const struct page pages[] = {
	{200, "OK", "/", "", index_body},
	{200, "OK", "/healthz", "", "ok\n"},
	{404, "Not Found", NULL, "", "no such page; there are / and /healthz\n"},
	{405, "Method Not Allowed", NULL, "Allow: GET, HEAD\r\n", "GET and HEAD only\n"},
	{414, "URI Too Long", NULL, "", "request line longer than 8 KiB\n"},
	{431, "Request Header Fields Too Large", NULL, "", "header longer than 32 KiB\n"},
	{501, "Not Implemented", NULL, "", "no Transfer-Encoding here\n"},
	{505, "HTTP Version Not Supported", NULL, "", "HTTP/1.0 and 1.1 only\n"},
	{400, "Bad Request", NULL, "", "this is not a valid HTTP/1.1 request\n"},
};
#define N_PAGES  (sizeof(pages) / sizeof(pages[0]))
#define PAGE_400 (N_PAGES - 1)

/* Of each page: [0] says that the connection closes, [1] that it stays open. */
static struct {
	char data[PAGE_SIZE];
	size_t head_len, len;
} answers[N_PAGES][2];

static unsigned page_by_status(uint16_t status)
{
	for (unsigned i = 0; i < N_PAGES; i++)
		if (pages[i].status == status)
			return i;
	return PAGE_400;
}

struct http_conn {
	struct http_parser req;
	uint32_t answered;
};

static uint32_t keepalive; /* requests of a connection, 0: any number */

static unsigned page_for(const struct http_parser *req)
{
	const char *path;
	size_t len;

	if (req->error)
		return page_by_status(req->error);
	path = http_path(req, &len);
	for (unsigned i = 0; i < N_PAGES; i++)
		if (pages[i].path && strlen(pages[i].path) == len &&
			memcmp(pages[i].path, path, len) == 0)
			return req->method == HTTP_OTHER ? page_by_status(405) : i;
	return page_by_status(404);
}

/* The last answer a connection may have says so: its client goes on with a new connection, which
 * the balancer may place elsewhere. */
static bool stays_open(const struct http_conn *conn)
{
	return conn->req.keep_alive && !stream_ends() &&
	       (!keepalive || conn->answered + 1 < keepalive);
}

static bool answer(struct stream *s, const struct http_conn *conn)
{
	const struct http_parser *req = &conn->req;
	unsigned page = page_for(req);
	bool open = stays_open(conn);
	size_t len = answers[page][open].len;

	if (req->method == HTTP_HEAD)
		len = answers[page][open].head_len;
	if (!stream_write(s, answers[page][open].data, len, false))
		return false;
	if (!open)
		stream_finish(s);
	return true;
}

static void http_open(struct stream *s)
{
	struct http_conn *conn = stream_state(s);

	http_init(&conn->req);
	conn->answered = 0;
}

static size_t http_input(struct stream *s, const char *data, size_t len)
{
	struct http_conn *conn = stream_state(s);
	struct http_parser *req = &conn->req;
	size_t used = 0;

	for (;;) {
		if (http_done(req)) {
			bool open = stays_open(conn);

			if (!answer(s, conn))
				return used;
			conn->answered++;
			http_init(req);
			if (!open)
				return len;
		}
		if (used == len)
			return used;
		used += http_feed(req, data + used, len - used);
	}
}

static bool idle(const struct stream *s)
{
	const struct http_conn *conn = stream_state((struct stream *)(uintptr_t)s);

	return http_idle(&conn->req);
}

static const struct stream_ops http_ops = {
	.name = "http",
	.open = http_open,
	.input = http_input,
	.idle = idle,
};

_Static_assert(sizeof(struct http_conn) <= STREAM_STATE_SIZE, "the connection fits");

static void write_index(const struct guest_args *args)
{
	char at[GUEST_ADDRESSES_SIZE];
	int n = snprintf(index_body, sizeof(index_body),
		"<!DOCTYPE html>\n<html>\n<head><title>weft</title></head>\n<body>\n"
		"<h1>hello from a unikernel</h1>\n<p>instance %s at %s</p>\n",
		args->name, guest_args_addresses(args, at));
	static const char end[] = "\n</body>\n</html>\n";

	memset(index_body + n, ' ', (size_t)(INDEX_SIZE - n));
	for (int i = n + 72; i < INDEX_SIZE; i += 73)
		index_body[i] = '\n';
	memcpy(index_body + INDEX_SIZE - (sizeof(end) - 1), end, sizeof(end));
}

static void write_answer(unsigned i, bool open)
{
	const struct page *page = &pages[i];
	const char *type = page->body == index_body ? "text/html" : "text/plain";
	size_t n, body_len = strlen(page->body);
	char *data = answers[i][open].data;

	n = (size_t)snprintf(data, PAGE_SIZE,
		"HTTP/1.1 %u %s\r\nServer: weft-guest\r\nContent-Type: %s\r\n"
		"Content-Length: %zu\r\n%sConnection: %s\r\n\r\n",
		page->status, page->reason, type, body_len, page->extra,
		open ? "keep-alive" : "close");
	if (n + body_len > PAGE_SIZE)
		panic("http: page %u is larger than %u bytes", page->status, PAGE_SIZE);
	memcpy(data + n, page->body, body_len);
	answers[i][open].head_len = n;
	answers[i][open].len = n + body_len;
}

void app_http_rename(const struct guest_args *args)
{
	write_index(args);
	for (unsigned i = 0; i < N_PAGES; i++) {
		write_answer(i, false);
		write_answer(i, true);
	}
}

void app_http_start(const struct guest_args *args, uint16_t port)
{
	keepalive = args->keepalive;
	app_http_rename(args);
	stream_listen(args->port ? args->port : port, &http_ops);
}
