/* SPDX-License-Identifier: Apache-2.0 */
/* A user-space overlay proxy as plain as it can be: what weft's TC program does, done the way of
 * proxies on a TUN device, with one client and one backend and therefore no table at all. A real
 * one does more for every packet; this is the least that the way through user space costs.
 *   tun_proxy DEVICE VIP CLIENT CLIENT-ALIAS BACKEND CPU
 * Packets from CLIENT to VIP leave as from CLIENT-ALIAS to BACKEND, and back. */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ctrl/base/util.h"
#include "tests/bench/bench.h"

struct rule {
	uint32_t saddr, daddr, new_saddr, new_daddr;
};

static int open_tun(const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.15s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0)
		err(1, "%s", name);
	return fd;
}

/* RFC 1624, for two addresses at once. */
static void adjust(uint16_t *check, const uint32_t old[2], const uint32_t fresh[2])
{
	uint64_t sum = (uint16_t) ~*check;

	sum += (uint64_t)(uint32_t)~old[0] + (uint32_t)~old[1];
	sum += (uint64_t)fresh[0] + fresh[1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	*check = (uint16_t)~sum;
}

static uint16_t *transport_check(struct iphdr *ip, size_t size)
{
	uint8_t *l4 = (uint8_t *)ip + ip->ihl * 4;
	size_t room = size - ip->ihl * 4U;

	if (ip->protocol == IPPROTO_TCP && room >= sizeof(struct tcphdr))
		return &((struct tcphdr *)l4)->check;
	if (ip->protocol == IPPROTO_UDP && room >= sizeof(struct udphdr))
		return &((struct udphdr *)l4)->check;
	return NULL;
}

static bool translate(const struct rule *rules, void *packet, size_t size)
{
	struct iphdr *ip = packet;
	uint16_t *check;

	if (size < sizeof(*ip) || ip->version != 4 || ip->ihl < 5 || ip->ihl * 4U > size)
		return false;
	check = transport_check(ip, size);
	for (int i = 0; check && i < 2; i++) {
		const uint32_t old[2] = {ip->saddr, ip->daddr};
		const uint32_t fresh[2] = {rules[i].new_saddr, rules[i].new_daddr};

		if (ip->saddr != rules[i].saddr || ip->daddr != rules[i].daddr)
			continue;
		adjust(&ip->check, old, fresh);
		adjust(check, old, fresh);
		ip->saddr = fresh[0];
		ip->daddr = fresh[1];
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	static _Alignas(8) char packet[65536];
	struct rule rules[2];
	uint32_t vip, client, alias, backend;
	uint64_t cpu;
	int fd;

	if (argc != 7 || weft_parse_u64(argv[6], 0, CPU_SETSIZE - 1, &cpu) < 0)
		errx(2, "usage: tun_proxy DEVICE VIP CLIENT CLIENT-ALIAS BACKEND CPU");
	vip = socket_address(argv[2], 0).sin_addr.s_addr;
	client = socket_address(argv[3], 0).sin_addr.s_addr;
	alias = socket_address(argv[4], 0).sin_addr.s_addr;
	backend = socket_address(argv[5], 0).sin_addr.s_addr;
	rules[0] = (struct rule){client, vip, alias, backend};
	rules[1] = (struct rule){backend, alias, vip, client};
	pin(cpu);
	fd = open_tun(argv[1]);
	for (;;) {
		ssize_t n = read(fd, packet, sizeof(packet));

		if (n < 0)
			err(1, "%s", argv[1]);
		if (translate(rules, packet, (size_t)n) && write(fd, packet, (size_t)n) < 0)
			warn("%s", argv[1]);
	}
}
