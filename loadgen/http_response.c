/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/http_response.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

/* A piece of a line; not terminated. */
struct text {
	const char *at;
	size_t len;
};

static int malformed(struct http_response *p, const char *problem)
{
	p->part = HTTP_MALFORMED;
	p->problem = problem;
	return -EBADMSG;
}

static void begin_message(struct http_response *p)
{
	p->part = HTTP_STATUS_LINE;
	p->http10 = p->close = p->persist = false;
	p->has_length = p->has_coding = p->chunked = false;
	p->last_field = HTTP_FIELD_OTHER;
	p->length = 0;
}

void http_response_init(struct http_response *p, bool head)
{
	p->status = 0;
	p->keep_alive = false;
	p->problem = NULL;
	p->head = head;
	p->interim = 0;
	p->header_bytes = 0;
	p->line_len = 0;
	begin_message(p);
}

static bool is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct text trim(struct text t)
{
	while (t.len && is_blank(t.at[0]))
		t.at++, t.len--;
	while (t.len && is_blank(t.at[t.len - 1]))
		t.len--;
	return t;
}

static bool text_is(struct text t, const char *word)
{
	return t.len == strlen(word) && strncasecmp(t.at, word, t.len) == 0;
}

/* Cut the next element off a comma-separated list. False at its end; empty elements are skipped. */
static bool next_element(struct text *list, struct text *ret)
{
	while (list->len) {
		const char *comma = memchr(list->at, ',', list->len);
		size_t len = comma ? (size_t)(comma - list->at) : list->len;
		struct text element = trim((struct text){list->at, len});

		list->at += len + (comma ? 1 : 0);
		list->len -= len + (comma ? 1 : 0);
		if (element.len) {
			*ret = element;
			return true;
		}
	}
	return false;
}

static int status_line(struct http_response *p, struct text line)
{
	const char *s = line.at;

	if (line.len < 12 || memcmp(s, "HTTP/1.", 7) != 0 || s[7] < '0' || s[7] > '9' ||
		s[8] != ' ')
		return malformed(p, "the status line does not begin with HTTP/1.x");
	for (int i = 9; i < 12; i++)
		if (s[i] < '0' || s[i] > '9')
			return malformed(p, "the status code is not three digits");
	if (line.len > 12 && s[12] != ' ')
		return malformed(p, "the status code is not three digits");
	p->http10 = s[7] == '0';
	p->status = (unsigned)(s[9] - '0') * 100 + (unsigned)(s[10] - '0') * 10 +
		    (unsigned)(s[11] - '0');
	if (p->status < 100 || p->status > 599)
		return malformed(p, "the status code is not in 100..599");
	p->part = HTTP_HEADER;
	return 0;
}

static int content_length(struct http_response *p, struct text value)
{
	struct text element;
	bool found = false;

	while (next_element(&value, &element)) {
		uint64_t length = 0;

		for (size_t i = 0; i < element.len; i++) {
			unsigned digit = (unsigned)(unsigned char)element.at[i] - '0';

			if (digit > 9)
				return malformed(p, "Content-Length is not a number");
			if (length > ((uint64_t)INT64_MAX - digit) / 10)
				return malformed(p, "Content-Length is too large");
			length = length * 10 + digit;
		}
		if (p->has_length && p->length != length)
			return malformed(p, "two Content-Length that differ");
		p->has_length = found = true;
		p->length = length;
	}
	return found ? 0 : malformed(p, "Content-Length is empty");
}

static int transfer_encoding(struct http_response *p, struct text value)
{
	struct text coding;

	p->has_coding = true;
	while (next_element(&value, &coding)) {
		if (p->chunked)
			return malformed(p, "chunked is not the last transfer coding");
		p->chunked = text_is(coding, "chunked");
	}
	return 0;
}

static void connection(struct http_response *p, struct text value)
{
	struct text option;

	while (next_element(&value, &option)) {
		if (text_is(option, "close"))
			p->close = true;
		else if (text_is(option, "keep-alive"))
			p->persist = true;
	}
}

static int header_field(struct http_response *p, struct text line)
{
	struct text name = {line.at, 0}, value;

	if (is_blank(line.at[0])) {
		/* A folded value. Of a header that frames the message it would be guesswork. */
		if (p->last_field == HTTP_FIELD_FRAMING)
			return malformed(p, "a header that frames the message is folded");
		return 0;
	}
	while (name.len < line.len && is_token_char(line.at[name.len]))
		name.len++;
	if (!name.len || name.len == line.len || line.at[name.len] != ':')
		return malformed(p, "a header line is not \"name: value\"");
	value = trim((struct text){line.at + name.len + 1, line.len - name.len - 1});

	p->last_field = HTTP_FIELD_FRAMING;
	if (text_is(name, "content-length"))
		return content_length(p, value);
	if (text_is(name, "transfer-encoding"))
		return transfer_encoding(p, value);
	if (text_is(name, "connection"))
		connection(p, value);
	else
		p->last_field = HTTP_FIELD_OTHER;
	return 0;
}

/* The empty line after the headers: where does the message end (RFC 9112, 6.3)? */
static int end_of_headers(struct http_response *p)
{
	p->last_field = HTTP_FIELD_OTHER;
	if (p->has_coding && (p->has_length || p->http10))
		return malformed(p, p->http10 ? "Transfer-Encoding in HTTP/1.0"
					      : "Transfer-Encoding beside Content-Length");
	if (p->status == 101)
		return malformed(p, "switched protocols without being asked to");
	if (p->status < 200) {
		if (++p->interim > HTTP_INTERIM_MAX)
			return malformed(p, "too many interim responses");
		begin_message(p);
		return 0;
	}
	p->keep_alive = !p->close && (!p->http10 || p->persist);
	if (p->head || p->status == 204 || p->status == 304) {
		p->part = HTTP_COMPLETE;
	} else if (p->chunked) {
		p->part = HTTP_CHUNK_SIZE;
	} else if (p->has_length && !p->has_coding) {
		p->part = p->length ? HTTP_BODY_SIZED : HTTP_COMPLETE;
	} else {
		p->part = HTTP_BODY_TO_EOF;
		p->keep_alive = false;
	}
	return 0;
}

static int chunk_size(struct http_response *p, struct text line)
{
	uint64_t size = 0;
	size_t i;

	for (i = 0; i < line.len; i++) {
		char c = line.at[i];
		unsigned digit;

		if (c >= '0' && c <= '9')
			digit = (unsigned)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			digit = (unsigned)((c | 0x20) - 'a') + 10;
		else
			break;
		if (size > (INT64_MAX >> 4))
			return malformed(p, "a chunk is too large");
		size = size << 4 | digit;
	}
	if (!i)
		return malformed(p, "a chunk has no size");
	while (i < line.len && is_blank(line.at[i]))
		i++;
	if (i < line.len && line.at[i] != ';')
		return malformed(p, "something follows the size of a chunk");
	p->length = size;
	p->part = size ? HTTP_CHUNK_DATA : HTTP_TRAILER;
	return 0;
}

static int take_line(struct http_response *p, struct text line)
{
	switch (p->part) {
	case HTTP_STATUS_LINE:
		return status_line(p, line);
	case HTTP_HEADER:
		return line.len ? header_field(p, line) : end_of_headers(p);
	case HTTP_CHUNK_SIZE:
		return chunk_size(p, line);
	case HTTP_CHUNK_END:
		if (line.len)
			return malformed(p, "a chunk is longer than its size");
		p->part = HTTP_CHUNK_SIZE;
		return 0;
	case HTTP_TRAILER:
		if (!line.len)
			p->part = HTTP_COMPLETE;
		return 0;
	default:
		return malformed(p, "bytes after the end of the response");
	}
}

/* Cut a line off the input, joining it with what came before. 1: *ret is a line without its end;
 * 0: the line is not complete yet; -EBADMSG. */
static int cut_line(struct http_response *p, struct text *input, struct text *ret)
{
	const char *end = memchr(input->at, '\n', input->len);
	size_t len = end ? (size_t)(end - input->at) : input->len;
	bool counts = p->part != HTTP_CHUNK_SIZE && p->part != HTTP_CHUNK_END;
	struct text line = {input->at, len};

	if (len > HTTP_LINE_MAX - p->line_len)
		return malformed(p, "a line is too long");
	if (counts) {
		p->header_bytes += len + (end ? 1 : 0);
		if (p->header_bytes > HTTP_HEADER_MAX)
			return malformed(p, "the headers are too large");
	}
	input->at += len + (end ? 1 : 0);
	input->len -= len + (end ? 1 : 0);
	if (!end || p->line_len) {
		memcpy(p->line + p->line_len, line.at, len);
		p->line_len += len;
		line = (struct text){p->line, p->line_len};
	}
	if (!end)
		return 0;
	p->line_len = 0;
	if (line.len && line.at[line.len - 1] == '\r')
		line.len--;
	if (memchr(line.at, '\r', line.len) || memchr(line.at, '\0', line.len))
		return malformed(p, "a CR or NUL inside a line");
	*ret = line;
	return 1;
}

static void skip_body(struct http_response *p, struct text *input)
{
	size_t n = input->len < p->length ? input->len : (size_t)p->length;

	input->at += n;
	input->len -= n;
	p->length -= n;
	if (!p->length)
		p->part = p->part == HTTP_BODY_SIZED ? HTTP_COMPLETE : HTTP_CHUNK_END;
}

int http_response_feed(struct http_response *p, const char *data, size_t size, size_t *ret_used)
{
	struct text input = {data, size}, line;
	int r;

	while (input.len && p->part != HTTP_COMPLETE) {
		switch (p->part) {
		case HTTP_BODY_SIZED:
		case HTTP_CHUNK_DATA:
			skip_body(p, &input);
			break;
		case HTTP_BODY_TO_EOF:
			input.len = 0;
			break;
		case HTTP_MALFORMED:
			return -EBADMSG;
		default:
			r = cut_line(p, &input, &line);
			if (r > 0)
				r = take_line(p, line);
			if (r < 0)
				return r;
		}
	}
	if (p->part != HTTP_COMPLETE)
		return 0;
	*ret_used = size - input.len;
	return 1;
}

int http_response_eof(struct http_response *p)
{
	if (p->part != HTTP_BODY_TO_EOF)
		return -EPIPE;
	p->part = HTTP_COMPLETE;
	return 1;
}
