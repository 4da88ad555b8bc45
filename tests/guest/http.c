/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <string.h>

enum state {
	START, /* empty lines before a request are allowed */
	METHOD,
	TARGET,
	VERSION,
	LINE, /* of a header: its first character */
	NAME,
	VALUE,
	VALUE_CR, /* a CR came, LF must follow */
	END_CR,
	BODY,
	DONE,
};

enum header {
	OTHER,
	CONNECTION,
	CONTENT_LENGTH,
	HOST,
	TRANSFER_ENCODING,
};

static const char *const header_names[] = {
	[CONNECTION] = "connection",
	[CONTENT_LENGTH] = "content-length",
	[HOST] = "host",
	[TRANSFER_ENCODING] = "transfer-encoding",
};

void http_init(struct http_parser *p)
{
	/* Not the target: clearing it costs more than parsing a short request. */
	p->error = 0;
	p->method = HTTP_OTHER;
	p->keep_alive = false;
	p->target[0] = '\0';
	p->target_len = 0;
	p->state = START;
	p->header = OTHER;
	p->token_len = 0;
	p->http11 = p->has_host = p->has_length = p->has_close = false;
	p->line_len = p->head_len = 0;
	p->body_len = 0;
}

bool http_done(const struct http_parser *p)
{
	return p->state == DONE;
}

bool http_idle(const struct http_parser *p)
{
	return p->state == START;
}

static void refuse(struct http_parser *p, uint16_t status)
{
	p->error = status;
	p->keep_alive = false;
	p->state = DONE;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* RFC 9110: tchar */
static bool is_token(char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c))
		return true;
	switch (c) {
	case '!':
	case '#':
	case '$':
	case '%':
	case '&':
	case '\'':
	case '*':
	case '+':
	case '-':
	case '.':
	case '^':
	case '_':
	case '`':
	case '|':
	case '~':
		return true;
	default:
		return false;
	}
}

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* A token too long to be one that matters ends as one that matches nothing. */
static void token_add(struct http_parser *p, char c)
{
	if (p->token_len < sizeof(p->token))
		p->token[p->token_len++] = c;
}

static bool token_is(const struct http_parser *p, const char *s)
{
	return p->token_len == strlen(s) && memcmp(p->token, s, p->token_len) == 0;
}

static void on_method(struct http_parser *p, char c)
{
	if (is_token(c)) {
		token_add(p, c);
		if (p->token_len == sizeof(p->token))
			refuse(p, 400);
		return;
	}
	if (c != ' ' || !p->token_len) {
		refuse(p, 400);
		return;
	}
	if (token_is(p, "GET"))
		p->method = HTTP_GET;
	else if (token_is(p, "HEAD"))
		p->method = HTTP_HEAD;
	p->token_len = 0;
	p->state = TARGET;
}

static void on_target(struct http_parser *p, char c)
{
	if (c == ' ' && p->target_len) {
		p->state = VERSION;
		return;
	}
	if (c == ' ' || is_control(c)) {
		refuse(p, 400);
		return;
	}
	if (p->target_len < sizeof(p->target) - 1) {
		p->target[p->target_len] = c;
		p->target[p->target_len + 1] = '\0';
	}
	p->target_len++;
}

static void on_version(struct http_parser *p, char c)
{
	if (c != '\r' && c != '\n') {
		/* A CR is kept as part of the token: nothing but LF may follow it. */
		if (p->token_len == sizeof("HTTP/1.1\r") - 1 || is_control(c) || c == ' ')
			refuse(p, 400);
		else
			token_add(p, c);
		return;
	}
	if (c == '\r') {
		token_add(p, c);
		return;
	}
	if (p->token_len && p->token[p->token_len - 1] == '\r')
		p->token_len--;
	if (p->token_len != 8 || memcmp(p->token, "HTTP/", 5) != 0 || !is_digit(p->token[5]) ||
		p->token[6] != '.' || !is_digit(p->token[7])) {
		refuse(p, 400);
	} else if (p->token[5] != '1') {
		refuse(p, 505);
	} else {
		p->http11 = p->token[7] != '0';
		p->keep_alive = p->http11;
		p->token_len = 0;
		p->line_len = 0;
		p->state = LINE;
	}
}

static void on_head_end(struct http_parser *p)
{
	if (p->http11 && !p->has_host) {
		refuse(p, 400);
		return;
	}
	if (p->has_close)
		p->keep_alive = false;
	p->state = p->body_len ? BODY : DONE;
}

static void on_line(struct http_parser *p, char c)
{
	if (c == '\n') {
		on_head_end(p);
	} else if (c == '\r') {
		p->state = END_CR;
	} else if (!is_token(c)) {
		refuse(p, 400);
	} else {
		p->token_len = 0;
		token_add(p, lower(c));
		p->state = NAME;
	}
}

static void on_name(struct http_parser *p, char c)
{
	if (is_token(c)) {
		token_add(p, lower(c));
		return;
	}
	if (c != ':') {
		refuse(p, 400);
		return;
	}
	p->header = OTHER;
	for (unsigned i = CONNECTION; i <= TRANSFER_ENCODING; i++)
		if (token_is(p, header_names[i]))
			p->header = (uint8_t)i;
	if ((p->header == HOST && p->has_host) || (p->header == CONTENT_LENGTH && p->has_length)) {
		refuse(p, 400);
		return;
	}
	if (p->header == HOST)
		p->has_host = true;
	if (p->header == TRANSFER_ENCODING) {
		refuse(p, 501);
		return;
	}
	p->token_len = 0;
	p->state = VALUE;
}

/* The list of Connection: close wins over keep-alive. */
static void on_connection_token(struct http_parser *p)
{
	if (token_is(p, "close"))
		p->has_close = true;
	else if (token_is(p, "keep-alive"))
		p->keep_alive = true;
	p->token_len = 0;
}

/* Digits with white space around them; token[0] holds where we are. */
static void on_length_char(struct http_parser *p, char c)
{
	if (c == ' ' || c == '\t') {
		if (p->has_length)
			p->token_len = 1;
		return;
	}
	if (!is_digit(c) || p->token_len || p->body_len > UINT32_MAX) {
		refuse(p, 400);
		return;
	}
	p->has_length = true;
	p->body_len = p->body_len * 10 + (uint64_t)(c - '0');
}

static void on_value_end(struct http_parser *p)
{
	if (p->header == CONNECTION)
		on_connection_token(p);
	if (p->header == CONTENT_LENGTH && !p->has_length) {
		refuse(p, 400);
		return;
	}
	p->token_len = 0;
	p->line_len = 0;
	p->state = LINE;
}

static void on_value(struct http_parser *p, char c)
{
	if (c == '\n') {
		on_value_end(p);
	} else if (c == '\r') {
		p->state = VALUE_CR;
	} else if (is_control(c) && c != '\t') {
		refuse(p, 400);
	} else if (p->header == CONTENT_LENGTH) {
		on_length_char(p, c);
	} else if (p->header == CONNECTION) {
		if (c == ',')
			on_connection_token(p);
		else if (c != ' ' && c != '\t')
			token_add(p, lower(c));
	}
}

static void on_char(struct http_parser *p, char c)
{
	switch (p->state) {
	case START:
		if (c == '\r' || c == '\n')
			break;
		p->state = METHOD;
		p->line_len = 0;
		on_method(p, c);
		break;
	case METHOD:
		on_method(p, c);
		break;
	case TARGET:
		on_target(p, c);
		break;
	case VERSION:
		on_version(p, c);
		break;
	case LINE:
		on_line(p, c);
		break;
	case NAME:
		on_name(p, c);
		break;
	case VALUE:
		on_value(p, c);
		break;
	case VALUE_CR:
		if (c == '\n')
			on_value_end(p);
		else
			refuse(p, 400);
		break;
	case END_CR:
		if (c == '\n')
			on_head_end(p);
		else
			refuse(p, 400);
		break;
	}
}

/* The bytes of a value that nobody asks for: most of a typical request. */
static size_t skip_value(const char *data, size_t len)
{
	size_t n = 0;

	while (n < len && !is_control(data[n]))
		n++;
	return n;
}

size_t http_feed(struct http_parser *p, const char *data, size_t len)
{
	size_t used = 0, n;

	while (used < len && p->state != DONE) {
		if (p->state == BODY) {
			n = p->body_len < len - used ? (size_t)p->body_len : len - used;
			used += n;
			p->body_len -= n;
			if (!p->body_len)
				p->state = DONE;
			continue;
		}
		n = 1;
		if (p->state == VALUE && (p->header == OTHER || p->header == HOST))
			n = skip_value(data + used, len - used);
		if (n <= 1) {
			n = 1;
			on_char(p, data[used]);
		}
		used += n;
		p->line_len += n;
		p->head_len += n;
		if (p->state == DONE || p->state == BODY)
			continue;
		if (p->state <= VERSION && p->line_len > HTTP_MAX_LINE)
			refuse(p, 414);
		else if (p->line_len > HTTP_MAX_LINE || p->head_len > HTTP_MAX_HEAD)
			refuse(p, 431);
	}
	return used;
}

const char *http_path(const struct http_parser *p, size_t *ret_len)
{
	size_t len = p->target_len < sizeof(p->target) ? p->target_len : sizeof(p->target) - 1;
	const char *path = p->target, *end = p->target + len;

	/* absolute form, as sent to proxies: http://host/path */
	if (len > 7 && memcmp(path, "http://", 7) == 0) {
		path += 7;
		while (path < end && *path != '/' && *path != '?')
			path++;
		if (path == end || *path == '?') {
			*ret_len = 1;
			return "/";
		}
	}
	len = 0;
	while (path + len < end && path[len] != '?')
		len++;
	*ret_len = len;
	return path;
}
