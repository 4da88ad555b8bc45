/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/cmdline.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/cleanup.h"

/* Arguments, and variables, that Linux hands to init; more, and it panics. */
#define LINUX_WORDS_MAX 30
#define FSTAB           "vfs.fstab=["

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

static int control_character(const char *what, const char *word, struct weft_err *err)
{
	for (const char *c = word; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return weft_err_set(
				err, EINVAL, "%s \"%.60s\" has a control character", what, word);
	return 0;
}

static int unquotable(const char *what, const char *word, struct weft_err *err)
{
	return weft_err_set(err, EINVAL,
		"%s \"%.60s\" has quotes that a kernel's command line cannot carry", what, word);
}

/* The guest splits at blanks and knows both quotes, but no escapes. */
static int add_word(
	struct line *l, const char *what, const char *word, bool quote, struct weft_err *err)
{
	const char *q = quote || !*word || strpbrk(word, " '\"") ? "\"" : "";
	int r = control_character(what, word, err);

	if (r < 0)
		return r;
	if (*q && strchr(word, '"')) {
		q = "'";
		if (quote || strchr(word, '\''))
			return unquotable(what, word, err);
	}
	add(l, "%s%s%s", q, word, q);
	return 0;
}

/* Linux knows double quotes alone. Of NAME=VALUE it wants them behind the '='. */
static int add_linux_word(struct line *l, const char *what, const char *word, struct weft_err *err)
{
	const char *q = !*word || strchr(word, ' ') ? "\"" : "", *eq = strchr(word, '=');
	size_t name = eq ? (size_t)(eq + 1 - word) : 0;
	int r = control_character(what, word, err);

	if (r < 0)
		return r;
	if (strchr(word, '"'))
		return unquotable(what, word, err);
	if (memchr(word, ' ', name))
		name = 0;
	add(l, "%.*s%s%s%s", (int)name, word, q, word + name, q);
	return 0;
}

/* --- address -------------------------------------------------------------------------------------
 */

static void add_address(struct line *l, const struct weft_cmdline *c)
{
	const struct weft_runtime_net *net = c->net;
	char addr[INET_ADDRSTRLEN], gateway[INET_ADDRSTRLEN] = "", mask[INET_ADDRSTRLEN];
	struct in_addr m = {.s_addr = net->prefix_len ? htonl(~0U << (32 - net->prefix_len)) : 0};
	bool routed = net->gateway.s_addr != 0;

	inet_ntop(AF_INET, &net->addr, addr, sizeof(addr));
	if (routed)
		inet_ntop(AF_INET, &net->gateway, gateway, sizeof(gateway));
	inet_ntop(AF_INET, &m, mask, sizeof(mask));
	switch (c->hints->netdev) {
	case WEFT_NETDEV_LINUX:
		add(l, "ip=%s::%s:%s:%s:eth0:off", addr, gateway, mask, c->id);
		break;
	case WEFT_NETDEV_IPV4_ADDR:
		add(l, "netdev.ipv4_addr=%s", addr);
		if (routed)
			add(l, "netdev.ipv4_gw_addr=%s", gateway);
		add(l, "netdev.ipv4_subnet_mask=%s", mask);
		break;
	default:
		add(l, "netdev.ip=%s/%u%s%s", addr, net->prefix_len, routed ? ":" : "", gateway);
	}
}

/* Unikraft has no such arguments; the dots keep Linux from handing them on to init. */
static void add_address6(struct line *l, const struct weft_cmdline *c)
{
	const struct weft_runtime_net *net = c->net;
	char addr[INET6_ADDRSTRLEN];

	if (!c->hints->ipv6 || IN6_IS_ADDR_UNSPECIFIED(&net->addr6))
		return;
	inet_ntop(AF_INET6, &net->addr6, addr, sizeof(addr));
	add(l, "weft.ip6=%s/%u", addr, net->prefix6_len);
	if (IN6_IS_ADDR_UNSPECIFIED(&net->gateway6))
		return;
	inet_ntop(AF_INET6, &net->gateway6, addr, sizeof(addr));
	add(l, "weft.gw6=%s", addr);
}

/* --- what the kernel is told besides -------------------------------------------------------------
 */

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

/* What Linux does not know itself it hands to init's environment, unless the name has a dot. */
static int add_linux_env(struct line *l, const char *const *env, struct weft_err *err)
{
	unsigned n = 0;

	for (; env && *env; env++) {
		size_t name = strcspn(*env, "=");
		int r;

		if (memchr(*env, '.', name) || memchr(*env, ' ', name))
			return weft_err_set(err, EINVAL,
				"environment variable \"%.60s\" has a name that Linux does not "
				"hand on from its command line",
				*env);
		if (++n > LINUX_WORDS_MAX)
			return weft_err_set(err, E2BIG,
				"more than %d environment variables, of which Linux hands on no "
				"more",
				LINUX_WORDS_MAX);
		r = add_linux_word(l, "environment variable", *env, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_mount(const struct weft_runtime_mount *m, struct weft_err *err)
{
	if (strpbrk(m->target, ":\""))
		return weft_err_set(err, EINVAL,
			"mount of %s: its target %s has a ':' or '\"', which a kernel's command "
			"line cannot carry",
			m->source, m->target);
	return control_character("mount", m->target, err);
}

/* Unikraft mounts what vfs.fstab= lists, once: ours go behind those of the image. */
static int add_kernel_args(struct line *l, const struct weft_cmdline *c, struct weft_err *err)
{
	const char *args = c->hints->kernel_args, *list = strstr(args, FSTAB);
	const char *end = list ? strchr(list, ']') : NULL;

	if (c->n_mounts == 0) {
		if (*args)
			add(l, "%s", args);
		return 0;
	}
	if (list && !end)
		return weft_err_set(
			err, EINVAL, "the image's kernel_args have a vfs.fstab= that does not end");
	if (end)
		add(l, "%.*s", (int)(end - args), args);
	else if (*args)
		add(l, "%s " FSTAB, args);
	else
		add(l, FSTAB);
	for (unsigned i = 0; i < c->n_mounts; i++) {
		int r = check_mount(&c->mounts[i], err);

		if (r < 0)
			return r;
		add(l, "\"m%u:%s:9pfs\"", i, c->mounts[i].target);
	}
	add(l, "%s", end ? end : "]");
	return 0;
}

static int add_linux_args(struct line *l, const struct weft_cmdline *c, struct weft_err *err)
{
	if (c->hints->kernel_args[0])
		add(l, "%s", c->hints->kernel_args);
	for (unsigned i = 0; i < c->n_mounts; i++) {
		int r = check_mount(&c->mounts[i], err);

		if (r < 0)
			return r;
		add(l, "weft.mount=\"m%u:%s%s\"", i, c->mounts[i].target,
			c->mounts[i].read_only ? ":ro" : "");
	}
	return add_linux_env(l, c->env, err);
}

static int add_args(struct line *l, const struct weft_cmdline *c, struct weft_err *err)
{
	bool linux_ = c->hints->netdev == WEFT_NETDEV_LINUX;
	unsigned n = 0;
	int r = 0;

	/* Without the mark Unikraft takes all of the line for the application's arguments. */
	add(l, "--");
	if (!c->args && c->hints->args[0])
		add(l, "%s", c->hints->args);
	for (const char *const *a = c->args; r == 0 && a && *a; a++) {
		if (linux_ && ++n > LINUX_WORDS_MAX)
			return weft_err_set(err, E2BIG,
				"more than %d arguments, of which Linux hands on no more",
				LINUX_WORDS_MAX);
		r = linux_ ? add_linux_word(l, "argument", *a, err)
			   : add_word(l, "argument", *a, false, err);
	}
	return r;
}

int weft_qemu_cmdline(const struct weft_cmdline *c, char **ret, struct weft_err *err)
{
	_cleanup_(freep) struct line *l = calloc(1, sizeof(*l));
	bool linux_ = c->hints->netdev == WEFT_NETDEV_LINUX;
	char *text;
	int r;

	if (!l)
		return weft_err_set(err, ENOMEM, "command line: out of memory");
	if (!c->net)
		add(l, "weft.net=fw_cfg");
	else if (c->net->addr.s_addr != 0)
		add_address(l, c);
	if (c->net)
		add_address6(l, c);
	for (unsigned i = 0; c->machine->mmio_at && i < c->n_virtio; i++)
		add(l, "virtio_mmio.device=512@0x%" PRIx64 ":%u", c->machine->mmio_at - i * 512,
			c->machine->mmio_irq - i);
	if (c->machine->power_arg)
		add(l, "%s", c->machine->power_arg);
	r = linux_ ? add_linux_args(l, c, err) : add_kernel_args(l, c, err);
	if (r == 0 && !linux_)
		r = add_env(l, c->env, err);
	if (r == 0)
		r = add_args(l, c, err);
	if (r < 0)
		return r;
	if (l->full || (linux_ && l->size >= WEFT_CMDLINE_LINUX_MAX))
		return weft_err_set(err, E2BIG, "the kernel's command line is longer than %d bytes",
			(linux_ ? WEFT_CMDLINE_LINUX_MAX : WEFT_CMDLINE_MAX) - 1);
	text = strdup(l->text);
	if (!text)
		return weft_err_set(err, ENOMEM, "command line: out of memory");
	*ret = text;
	return 0;
}
