/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/cmdline.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/cleanup.h"

struct line {
	char text[WEFT_CMDLINE_MAX];
	size_t size;
	bool full;
};

/* One word, with a blank before it unless it is the first. */
static void __attribute__((format(printf, 2, 3))) add(struct line *l, const char *fmt, ...)
{
	size_t room = sizeof(l->text) - l->size;
	va_list ap;
	int n;

	if (l->size > 0 && room > 1) {
		l->text[l->size++] = ' ';
		room--;
	}
	va_start(ap, fmt);
	n = vsnprintf(l->text + l->size, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room)
		l->full = true;
	else
		l->size += (size_t)n;
}

/* The guest splits at blanks and knows both quotes, but no escapes. */
static int add_word(
	struct line *l, const char *what, const char *word, bool quote, struct weft_err *err)
{
	const char *q = quote || !*word || strpbrk(word, " '\"") ? "\"" : "";

	for (const char *c = word; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return weft_err_set(
				err, EINVAL, "%s \"%.60s\" has a control character", what, word);
	if (*q && strchr(word, '"')) {
		q = "'";
		if (quote || strchr(word, '\''))
			return weft_err_set(err, EINVAL,
				"%s \"%.60s\" has quotes that a kernel's command line cannot carry",
				what, word);
	}
	add(l, "%s%s%s", q, word, q);
	return 0;
}

static void add_address(
	struct line *l, enum weft_netdev_args form, const struct weft_runtime_net *net)
{
	char addr[INET_ADDRSTRLEN], gateway[INET_ADDRSTRLEN], mask[INET_ADDRSTRLEN];
	struct in_addr m = {.s_addr = net->prefix_len ? htonl(~0U << (32 - net->prefix_len)) : 0};
	bool routed = net->gateway.s_addr != 0;

	inet_ntop(AF_INET, &net->addr, addr, sizeof(addr));
	inet_ntop(AF_INET, &net->gateway, gateway, sizeof(gateway));
	inet_ntop(AF_INET, &m, mask, sizeof(mask));
	if (form == WEFT_NETDEV_IP) {
		add(l, "netdev.ip=%s/%u%s%s", addr, net->prefix_len, routed ? ":" : "",
			routed ? gateway : "");
		return;
	}
	add(l, "netdev.ipv4_addr=%s", addr);
	if (routed)
		add(l, "netdev.ipv4_gw_addr=%s", gateway);
	add(l, "netdev.ipv4_subnet_mask=%s", mask);
}

static int add_env(struct line *l, const char *const *env, struct weft_err *err)
{
	if (!env || !env[0])
		return 0;
	add(l, "env.vars=[");
	for (; *env; env++) {
		int r = add_word(l, "environment variable", *env, true, err);

		if (r < 0)
			return r;
	}
	add(l, "]");
	return 0;
}

int weft_qemu_cmdline(const struct weft_hints *hints, const struct weft_runtime_net *net,
	const char *const *args, const char *const *env, char **ret, struct weft_err *err)
{
	_cleanup_(freep) struct line *l = calloc(1, sizeof(*l));
	char *text;
	int r;

	if (!l)
		return weft_err_set(err, ENOMEM, "command line: out of memory");
	if (net->addr.s_addr != 0)
		add_address(l, hints->netdev, net);
	if (hints->kernel_args[0])
		add(l, "%s", hints->kernel_args);
	r = add_env(l, env, err);
	/* Without the mark Unikraft takes all of the line for the application's arguments. */
	add(l, "--");
	if (!args && hints->args[0])
		add(l, "%s", hints->args);
	for (; r == 0 && args && *args; args++)
		r = add_word(l, "argument", *args, false, err);
	if (r < 0)
		return r;
	if (l->full)
		return weft_err_set(err, E2BIG, "the kernel's command line is longer than %d bytes",
			WEFT_CMDLINE_MAX - 1);
	text = strdup(l->text);
	if (!text)
		return weft_err_set(err, ENOMEM, "command line: out of memory");
	*ret = text;
	return 0;
}
