/* SPDX-License-Identifier: Apache-2.0 */
#include "args.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "addr6.h"

/* A cursor over one word of the line. */
struct word {
	const char *p, *end;
};

static bool word_skip(struct word *w, char c)
{
	if (w->p == w->end || *w->p != c)
		return false;
	w->p++;
	return true;
}

static bool word_prefix(struct word *w, const char *prefix)
{
	size_t n = strlen(prefix);

	if ((size_t)(w->end - w->p) < n || memcmp(w->p, prefix, n) != 0)
		return false;
	w->p += n;
	return true;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

/* Decimal, or hexadecimal behind 0x. Fails above max. */
static bool word_number(struct word *w, uint64_t max, uint64_t *ret)
{
	unsigned base = word_prefix(w, "0x") ? 16 : 10, d;
	const char *start = w->p;
	uint64_t value = 0;

	for (; w->p < w->end && (d = (unsigned)digit(*w->p)) < base; w->p++) {
		if (d > max || value > (max - d) / base)
			return false;
		value = value * base + d;
	}
	if (w->p == start)
		return false;
	*ret = value;
	return true;
}

static bool word_ipv4(struct word *w, uint8_t ret[static 4])
{
	uint64_t part;

	for (int i = 0; i < 4; i++) {
		if (i && !word_skip(w, '.'))
			return false;
		if (!word_number(w, 255, &part))
			return false;
		ret[i] = (uint8_t)part;
	}
	return true;
}

static void mask_of(unsigned prefix, uint8_t ret[static 4])
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned bits = prefix > i * 8 ? prefix - i * 8 : 0;

		ret[i] = bits >= 8 ? 0xff : (uint8_t)(0xff00 >> bits);
	}
}

/* ADDR/PREFIX */
static bool arg_prefix(struct word *w, struct guest_args *args)
{
	uint64_t prefix;

	if (!word_ipv4(w, args->addr) || !word_skip(w, '/') || !word_number(w, 32, &prefix))
		return false;
	mask_of((unsigned)prefix, args->mask);
	return true;
}

static bool arg_ip(struct word *w, struct guest_args *args)
{
	return arg_prefix(w, args) && w->p == w->end;
}

static bool arg_gw(struct word *w, struct guest_args *args)
{
	return word_ipv4(w, args->gateway) && w->p == w->end;
}

static bool arg_addr(struct word *w, struct guest_args *args)
{
	return word_ipv4(w, args->addr) && w->p == w->end;
}

static bool arg_mask(struct word *w, struct guest_args *args)
{
	return word_ipv4(w, args->mask) && w->p == w->end;
}

/* ADDR/PREFIX[:GATEWAY[:DNS0[:DNS1[:HOSTNAME[:DOMAIN]]]]], any of the later ones may be empty */
static bool arg_netdev_ip(struct word *w, struct guest_args *args)
{
	if (!arg_prefix(w, args))
		return false;
	if (w->p == w->end)
		return true;
	if (!word_skip(w, ':'))
		return false;
	if (w->p == w->end || *w->p == ':')
		return true;
	return word_ipv4(w, args->gateway) && (w->p == w->end || *w->p == ':');
}

static bool word_ipv6(struct word *w, uint8_t ret[static 16])
{
	const char *p = addr6_parse(w->p, w->end, ret);

	if (!p)
		return false;
	w->p = p;
	return true;
}

/* ADDR/PREFIX. Several hosts' address is nobody's own. */
static bool arg_ip6(struct word *w, struct guest_args *args)
{
	uint64_t prefix;

	if (!word_ipv6(w, args->addr6) || !word_skip(w, '/') || !word_number(w, 128, &prefix))
		return false;
	args->prefix6 = (uint8_t)prefix;
	return w->p == w->end && args->addr6[0] != 0xff && !addr6_is_none(args->addr6);
}

static bool arg_gw6(struct word *w, struct guest_args *args)
{
	return word_ipv6(w, args->gateway6) && w->p == w->end && args->gateway6[0] != 0xff;
}

static bool arg_spin(struct word *w, struct guest_args *args)
{
	uint64_t us;

	if (!word_number(w, 1000000, &us) || w->p != w->end)
		return false;
	args->spin_us = (uint32_t)us;
	return true;
}

static bool arg_tsc_khz(struct word *w, struct guest_args *args)
{
	return word_number(w, 100000000, &args->tsc_khz) && w->p == w->end;
}

static bool arg_port(struct word *w, struct guest_args *args)
{
	uint64_t port;

	if (!word_number(w, UINT16_MAX, &port) || !port || w->p != w->end)
		return false;
	args->port = (uint16_t)port;
	return true;
}

static bool arg_keepalive(struct word *w, struct guest_args *args)
{
	uint64_t requests;

	if (!word_number(w, UINT32_MAX, &requests) || w->p != w->end)
		return false;
	args->keepalive = (uint32_t)requests;
	return true;
}

static bool arg_name(struct word *w, struct guest_args *args)
{
	size_t n = (size_t)(w->end - w->p);

	if (!n || n >= sizeof(args->name))
		return false;
	for (size_t i = 0; i < n; i++)
		if (w->p[i] < 0x21 || w->p[i] > 0x7e)
			return false;
	memcpy(args->name, w->p, n);
	args->name[n] = '\0';
	return true;
}

/* 512@ADDR:IRQ, as Linux reads it */
static bool arg_virtio(struct word *w, struct guest_args *args)
{
	uint64_t size, base, irq;

	if (!word_number(w, UINT32_MAX, &size) || !word_skip(w, '@') ||
		!word_number(w, UINT32_MAX, &base) || !word_skip(w, ':') ||
		!word_number(w, 255, &irq))
		return false;
	if (args->n_virtio == GUEST_MAX_VIRTIO)
		return false;
	args->virtio[args->n_virtio].base = base;
	args->virtio[args->n_virtio].irq = (uint32_t)irq;
	args->n_virtio++;
	return true;
}

/* ADDR:IRQ */
static bool arg_ged(struct word *w, struct guest_args *args)
{
	uint64_t base, irq;

	if (!word_number(w, UINT32_MAX, &base) || !word_skip(w, ':') ||
		!word_number(w, 255, &irq) || w->p != w->end)
		return false;
	args->ged_base = base;
	args->ged_irq = (uint32_t)irq;
	return true;
}

static bool arg_net(struct word *w, struct guest_args *args)
{
	args->configured = word_prefix(w, "fw_cfg") && w->p == w->end;
	return args->configured;
}

static bool arg_mac(struct word *w, struct guest_args *args)
{
	for (int i = 0; i < 6; i++) {
		unsigned hi, lo;

		if (i && !word_skip(w, ':'))
			return false;
		if (w->end - w->p < 2)
			return false;
		hi = (unsigned)digit(w->p[0]);
		lo = (unsigned)digit(w->p[1]);
		if (hi > 15 || lo > 15)
			return false;
		args->mac[i] = (uint8_t)(hi << 4 | lo);
		w->p += 2;
	}
	args->has_mac = true;
	return w->p == w->end && !(args->mac[0] & 1);
}

static bool arg_state(struct word *w, struct guest_args *args)
{
	args->go = word_prefix(w, "go");
	return (args->go || word_prefix(w, "wait")) && w->p == w->end;
}

/* 16 hex digits and more */
static bool arg_seed(struct word *w, struct guest_args *args)
{
	args->seed = 0;
	for (int i = 0; i < 16; i++, w->p++) {
		if (w->p == w->end || digit(*w->p) > 15)
			return false;
		args->seed = args->seed << 4 | (unsigned)digit(*w->p);
	}
	return true;
}

enum where {
	KERNEL = 1,
	APP = 2,    /* behind " -- " */
	CONFIG = 4, /* a line of fw_cfg's text */
};

static const struct {
	const char *prefix, *form;
	unsigned where;
	bool (*parse)(struct word *w, struct guest_args *args);
} table[] = {
	{"netdev.ip=", "ADDR/PREFIX:GATEWAY", KERNEL, arg_netdev_ip},
	{"netdev.ipv4_addr=", "ADDR", KERNEL, arg_addr},
	{"netdev.ipv4_gw_addr=", "ADDR", KERNEL, arg_gw},
	{"netdev.ipv4_subnet_mask=", "MASK", KERNEL, arg_mask},
	{"ip=", "ADDR/PREFIX", KERNEL | CONFIG, arg_ip},
	{"gw=", "ADDR", KERNEL | CONFIG, arg_gw},
	{"ip6=", "ADDR/PREFIX", KERNEL | CONFIG, arg_ip6},
	{"gw6=", "ADDR", KERNEL | CONFIG, arg_gw6},
	/* The same as weft writes it for Linux, too, which hands on to init what has no dot. */
	{"weft.ip6=", "ADDR/PREFIX", KERNEL, arg_ip6},
	{"weft.gw6=", "ADDR", KERNEL, arg_gw6},
	{"spin=", "MICROSECONDS, 0 to 1000000", KERNEL, arg_spin},
	{"tsc_khz=", "KILOHERTZ", KERNEL, arg_tsc_khz},
	{"port=", "1 to 65535", KERNEL | APP, arg_port},
	{"keepalive=", "REQUESTS, 0 for any number", KERNEL | APP, arg_keepalive},
	{"name=", "1 to 79 printable characters", KERNEL | APP | CONFIG, arg_name},
	/* qemu appends it to the line, so it comes behind the application's. */
	{"virtio_mmio.device=", "512@ADDR:IRQ, 8 of them", KERNEL | APP, arg_virtio},
	{"ged.device=", "ADDR:IRQ", KERNEL, arg_ged},
	{"weft.net=", "fw_cfg", KERNEL, arg_net},
	{"state=", "wait or go", CONFIG, arg_state},
	{"mac=", "AA:BB:CC:DD:EE:FF", CONFIG, arg_mac},
	{"seed=", "16 hexadecimal digits", CONFIG, arg_seed},
};

static int parse_word(
	struct word w, enum where where, struct guest_args *args, char *why, size_t why_size)
{
	int n = (int)(w.end - w.p);
	const char *text = w.p;
	char copy[64];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (!(table[i].where & where) || !word_prefix(&w, table[i].prefix))
			continue;
		if (table[i].parse(&w, args))
			return 0;
		n = n < (int)sizeof(copy) - 1 ? n : (int)sizeof(copy) - 1;
		memcpy(copy, text, (size_t)n);
		copy[n] = '\0';
		snprintf(why, why_size, "argument %s: want %s%s", copy, table[i].prefix,
			table[i].form);
		return -1;
	}
	return 0;
}

const char *guest_args_addresses(
	const struct guest_args *args, char text[static GUEST_ADDRESSES_SIZE])
{
	static const uint8_t none[4];
	bool v4 = memcmp(args->addr, none, 4) != 0, v6 = !addr6_is_none(args->addr6);
	char text6[ADDR6_TEXT_SIZE] = "";

	if (v6)
		addr6_format(args->addr6, text6);
	if (v4 || !v6)
		snprintf(text, GUEST_ADDRESSES_SIZE, "%u.%u.%u.%u%s%s", args->addr[0],
			args->addr[1], args->addr[2], args->addr[3], v6 ? " and " : "", text6);
	else
		snprintf(text, GUEST_ADDRESSES_SIZE, "%s", text6);
	return text;
}

/* What follows from the rest. */
static void complete(struct guest_args *args)
{
	static const uint8_t none[4];

	if (memcmp(args->mask, none, 4) == 0)
		mask_of(24, args->mask);
	if (!args->name[0] && memcmp(args->addr, none, 4) == 0 && !addr6_is_none(args->addr6))
		addr6_format(args->addr6, args->name);
	else if (!args->name[0])
		snprintf(args->name, sizeof(args->name), "%u.%u.%u.%u", args->addr[0],
			args->addr[1], args->addr[2], args->addr[3]);
}

int guest_args_parse(const char *line, struct guest_args *ret, char *why, size_t why_size)
{
	static const uint8_t none[4];
	struct guest_args args = {.keepalive = GUEST_KEEPALIVE};
	enum where where = KERNEL;

	while (*line) {
		struct word w = {line, line};

		while (*w.end && *w.end != ' ')
			w.end++;
		line = *w.end ? w.end + 1 : w.end;
		if (w.end - w.p == 2 && memcmp(w.p, "--", 2) == 0)
			where = APP;
		else if (w.p != w.end && parse_word(w, where, &args, why, why_size) < 0)
			return -1;
	}
	if (memcmp(args.addr, none, 4) == 0 && addr6_is_none(args.addr6) && !args.configured) {
		snprintf(why, why_size, "no address: give netdev.ip=ADDR/PREFIX:GATEWAY");
		return -1;
	}
	if (!args.configured)
		complete(&args);
	*ret = args;
	return 0;
}

int guest_args_configure(const char *text, struct guest_args *args, char *why, size_t why_size)
{
	static const char head[] = "weft-guest 1\n";
	struct guest_args out = *args;

	if (strncmp(text, head, sizeof(head) - 1) != 0) {
		snprintf(why, why_size, "fw_cfg's text begins with other than weft-guest 1");
		return -1;
	}
	text += sizeof(head) - 1;
	/* None of the former life's. */
	memset(out.addr, 0, 4);
	memset(out.mask, 0, 4);
	memset(out.gateway, 0, 4);
	memset(out.addr6, 0, 16);
	memset(out.gateway6, 0, 16);
	out.prefix6 = 0;
	out.go = false;
	while (*text) {
		struct word w = {text, text};

		while (*w.end && *w.end != '\n')
			w.end++;
		text = *w.end ? w.end + 1 : w.end;
		if (w.p != w.end && parse_word(w, CONFIG, &out, why, why_size) < 0)
			return -1;
	}
	complete(&out);
	if (out.go)
		*args = out;
	else
		args->go = false;
	return 0;
}
