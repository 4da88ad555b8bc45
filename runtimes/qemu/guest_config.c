/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/guest_config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

struct text {
	char *buf;
	size_t size;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *t, const char *fmt, ...)
{
	size_t room = WEFT_GUEST_CONFIG_SIZE + 1 - t->size;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->size, room, fmt, ap);
	va_end(ap);
	t->size += n < 0 || (size_t)n >= room ? room : (size_t)n;
}

static int add_seed(struct text *t)
{
	uint8_t seed[32];

	if (getrandom(seed, sizeof(seed), 0) != sizeof(seed))
		return -EIO;
	add(t, "seed=");
	for (size_t i = 0; i < sizeof(seed); i++)
		add(t, "%02x", seed[i]);
	add(t, "\n");
	return 0;
}

static void add_net(struct text *t, const struct weft_runtime_net *net)
{
	char addr[INET6_ADDRSTRLEN];

	add(t, "mac=%02x:%02x:%02x:%02x:%02x:%02x\n", net->mac[0], net->mac[1], net->mac[2],
		net->mac[3], net->mac[4], net->mac[5]);
	if (net->addr.s_addr)
		add(t, "ip=%s/%u\n", inet_ntop(AF_INET, &net->addr, addr, sizeof(addr)),
			net->prefix_len);
	if (net->gateway.s_addr)
		add(t, "gw=%s\n", inet_ntop(AF_INET, &net->gateway, addr, sizeof(addr)));
	if (!IN6_IS_ADDR_UNSPECIFIED(&net->addr6))
		add(t, "ip6=%s/%u\n", inet_ntop(AF_INET6, &net->addr6, addr, sizeof(addr)),
			net->prefix6_len);
	if (!IN6_IS_ADDR_UNSPECIFIED(&net->gateway6))
		add(t, "gw6=%s\n", inet_ntop(AF_INET6, &net->gateway6, addr, sizeof(addr)));
}

int weft_guest_config_text(
	const char *id, const struct weft_runtime_net *net, char buf[WEFT_GUEST_CONFIG_SIZE + 1])
{
	struct text t = {.buf = buf};
	int r = 0;

	add(&t, "weft-guest 1\nstate=%s\n", id ? "go" : "wait");
	if (id) {
		add(&t, "name=%s\n", id);
		add_net(&t, net);
		add(&t, "time_ms=%" PRIu64 "\n", weft_realtime_ms());
		r = add_seed(&t);
	}
	if (r < 0 || t.size > WEFT_GUEST_CONFIG_SIZE)
		return r < 0 ? r : -E2BIG;
	memset(buf + t.size, '\n', WEFT_GUEST_CONFIG_SIZE - t.size);
	buf[WEFT_GUEST_CONFIG_SIZE] = '\0';
	return 0;
}

int weft_guest_config_file(const char *id, const struct weft_runtime_net *net, int *ret_fd)
{
	_cleanup_(closep) int fd = -1;
	char text[WEFT_GUEST_CONFIG_SIZE + 1];
	int r = weft_guest_config_text(id, net, text);

	if (r < 0)
		return r;
	fd = memfd_create("weft-guest", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = weft_write_all(fd, text, WEFT_GUEST_CONFIG_SIZE);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}
