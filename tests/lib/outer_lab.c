/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/outer_lab.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

#define PORT_RAW   50103
#define PORT_VXLAN 50104
#define HANDOVER   0x77656674U

static const uint8_t vxlan_head[] = {8, 0, 0, 0, 0, 1030 >> 8, 1030 & 0xff, 0};

void lab_uplink_device(void)
{
	uint64_t deadline = weft_now_ns() + 10000000000ULL;

	if (lab_sh("ip link add up0 type veth peer name up1 && ip link set up1 up && "
		   "ip link set up0 up && ip addr add 192.0.2.1/24 dev up0 && "
		   "ip addr add 192.0.2.2/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad && "
		   "ip addr add 2001:db8::2/64 dev up0 nodad preferred_lft 0") != 0)
		fail_msg("no device up0");
	/* The kernel takes its time to call these addresses its own. */
	while (lab_sh("ip -6 route get 2001:db8::1 2>&1 | grep -q ^local && "
		      "ip -6 route get 2001:db8::2 2>&1 | grep -q ^local") != 0)
		if (weft_now_ns() > deadline)
			fail_msg("up0 does not get its addresses");
}

int lab_foreign_xdp(uint32_t ifindex, uint32_t flags)
{
	static const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 2},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int prog = bpf_prog_load(BPF_PROG_TYPE_XDP, "foreign", "GPL", pass, ARRAY_SIZE(pass), NULL);
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	int link = bpf_link_create(prog, (int)ifindex, BPF_XDP, &opts);

	assert_true(prog >= 0 && link >= 0);
	close(prog);
	return link;
}

uint32_t lab_up0(uint8_t ret_mac[6])
{
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = {.ifr_name = "up0"};

	assert_int_equal(ioctl(fd, SIOCGIFHWADDR, &req), 0);
	memcpy(ret_mac, req.ifr_hwaddr.sa_data, 6);
	return if_nametoindex("up0");
}

static struct in6_addr peer_addr(uint32_t n, bool v6)
{
	struct in6_addr a = {0};
	char text[INET6_ADDRSTRLEN];

	snprintf(text, sizeof(text), v6 ? "2001:db8::%x" : "::ffff:192.0.2.%u", 10 + n);
	assert_int_equal(inet_pton(AF_INET6, text, &a), 1);
	return a;
}

static struct in6_addr own_addr(bool v6)
{
	struct in6_addr a = {0};

	assert_int_equal(inet_pton(AF_INET6, v6 ? "2001:db8::1" : "::ffff:192.0.2.1", &a), 1);
	return a;
}

struct weft_dp_peer lab_peer(uint32_t n, bool v6, enum weft_dp_format format)
{
	return (struct weft_dp_peer){.id = n, .addr = peer_addr(n, v6), .format = format};
}

void lab_add_peer(
	struct weft_dp *dp, uint32_t n, bool v6, enum weft_dp_format format, uint32_t service)
{
	struct weft_dp_peer peer = lab_peer(n, v6, format);
	struct weft_dp_instance inst = lab_instance(100 + n, service);
	struct weft_dp_peer_status status;
	struct weft_err err = {0};

	inst.device = WEFT_DP_DEV_REMOTE;
	inst.peer = n;
	memset(inst.mac, 0, sizeof(inst.mac));
	if (weft_dp_peer_set(dp, &peer, &err) < 0 || weft_dp_instance_set(dp, &inst, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(weft_dp_peer_status(dp, n, &status), 0);
	assert_string_equal(status.problem, "");
}

/* --- outer headers --- */

static uint32_t sum16(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static struct lab_outer outer_of(bool v6, bool vxlan)
{
	struct lab_outer o = {.v6 = v6, .vxlan = vxlan, .ip = ETH_HLEN};

	o.udp = o.ip + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	o.inner = o.udp + sizeof(struct udphdr) + (vxlan ? sizeof(vxlan_head) + ETH_HLEN : 0);
	return o;
}

void lab_refit(struct lab_frame *f, const struct lab_outer *o)
{
	struct udphdr *uh = (void *)(f->data + o->udp);
	struct ipv6hdr *ip6 = (void *)(f->data + o->ip);
	struct iphdr *ip = (void *)(f->data + o->ip);

	if (f->len >= o->udp + sizeof(*uh))
		uh->len = htons((uint16_t)(f->len - o->udp));
	if (o->v6) {
		ip6->payload_len = htons((uint16_t)(f->len - o->udp));
		return;
	}
	ip->tot_len = htons((uint16_t)(f->len - o->ip));
	ip->check = 0;
	ip->check = htons((uint16_t)~sum16(ip, sizeof(*ip)));
}

static void fill_ip(uint8_t *at, const struct in6_addr *from, const struct in6_addr *to, bool v6)
{
	struct ipv6hdr *ip6 = (void *)at;
	struct iphdr *ip = (void *)at;

	if (v6) {
		ip6->version = 6;
		ip6->nexthdr = IPPROTO_UDP;
		ip6->hop_limit = 64;
		memcpy(&ip6->saddr, from, sizeof(*from));
		memcpy(&ip6->daddr, to, sizeof(*to));
		return;
	}
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	memcpy(&ip->saddr, &from->s6_addr[12], 4);
	memcpy(&ip->daddr, &to->s6_addr[12], 4);
}

struct lab_outer lab_wrap(struct lab_frame *f, uint32_t n, bool v6, bool vxlan)
{
	struct in6_addr from = peer_addr(n, v6), to = own_addr(v6);
	struct lab_outer o = outer_of(v6, vxlan);
	struct ethhdr *eth = (void *)f->data;
	struct udphdr *uh = (void *)(f->data + o.udp);
	size_t grow = o.inner - ETH_HLEN;
	__be16 proto = eth->h_proto;

	memmove(f->data + o.inner, f->data + ETH_HLEN, f->len - ETH_HLEN);
	memset(f->data, 0, o.inner);
	f->len += grow;
	f->ifindex = if_nametoindex("up0");
	memcpy(eth->h_dest, "\2\0\0\0\1\1", ETH_ALEN);
	memcpy(eth->h_source, "\2\0\0\0\1\2", ETH_ALEN);
	eth->h_proto = htons(v6 ? ETH_P_IPV6 : ETH_P_IP);
	fill_ip(f->data + o.ip, &from, &to, v6);
	uh->source = htons(50000);
	uh->dest = htons(vxlan ? PORT_VXLAN : PORT_RAW);
	if (vxlan) {
		uint8_t *v = f->data + o.udp + sizeof(*uh);

		memcpy(v, vxlan_head, sizeof(vxlan_head));
		memcpy(v + sizeof(vxlan_head) + 2 * ETH_ALEN, &proto, sizeof(proto));
	}
	lab_refit(f, &o);
	return o;
}

static void check_ip(const struct lab_frame *f, const struct lab_outer *o, uint32_t n)
{
	struct in6_addr to = peer_addr(n, o->v6), from = own_addr(o->v6);
	const struct ipv6hdr *ip6 = (const void *)(f->data + o->ip);
	const struct iphdr *ip = (const void *)(f->data + o->ip);

	if (o->v6) {
		assert_int_equal(ip6->version, 6);
		assert_int_equal(ntohs(ip6->payload_len), f->len - o->udp);
		assert_int_equal(ip6->nexthdr, IPPROTO_UDP);
		assert_int_equal(ip6->hop_limit, 64);
		assert_memory_equal(&ip6->saddr, &from, sizeof(from));
		assert_memory_equal(&ip6->daddr, &to, sizeof(to));
		return;
	}
	assert_int_equal(f->data[o->ip], 0x45);
	assert_int_equal(ntohs(ip->tot_len), f->len - o->ip);
	assert_int_equal(ip->frag_off, htons(0x4000));
	assert_int_equal(ip->ttl, 64);
	assert_int_equal(ip->protocol, IPPROTO_UDP);
	assert_memory_equal(&ip->saddr, &from.s6_addr[12], 4);
	assert_memory_equal(&ip->daddr, &to.s6_addr[12], 4);
	assert_int_equal(sum16(ip, sizeof(*ip)), 0xffff);
}

uint16_t lab_unwrap(struct lab_frame *f, uint32_t n, bool v6, bool vxlan)
{
	struct lab_outer o = outer_of(v6, vxlan);
	const struct udphdr *uh = (const void *)(f->data + o.udp);
	struct ethhdr *eth = (void *)f->data;
	uint16_t port = ntohs(uh->source);

	assert_true(f->len > o.inner);
	assert_int_equal(eth->h_proto, htons(v6 ? ETH_P_IPV6 : ETH_P_IP));
	check_ip(f, &o, n);
	assert_in_range(port, 49152, 65535);
	assert_int_equal(ntohs(uh->dest), vxlan ? PORT_VXLAN : PORT_RAW);
	assert_int_equal(ntohs(uh->len), f->len - o.udp);
	assert_int_equal(uh->check, 0);
	if (vxlan) {
		const uint8_t *v = f->data + o.udp + sizeof(*uh);

		assert_memory_equal(v, vxlan_head, sizeof(vxlan_head));
		memcpy(f->data, v + sizeof(vxlan_head), ETH_HLEN);
	} else {
		eth->h_proto = htons(f->data[o.inner] >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP);
	}
	memmove(f->data + ETH_HLEN, f->data + o.inner, f->len - o.inner);
	f->len -= o.inner - ETH_HLEN;
	return port;
}

/* --- running --- */

/* The program behind a pinned link, or, without tcx, the device's filter. */
static int attached(struct weft_dp *dp, const char *name, uint32_t ifindex)
{
	uint32_t id = dp_attached_program(dp->dir, name, ifindex);
	int fd = id ? bpf_prog_get_fd_by_id(id) : -1;

	if (fd < 0)
		fail_msg("%s: nothing is attached", name);
	return fd;
}

static int run(struct weft_dp *dp, const char *name, uint32_t ifindex, struct lab_frame *f)
{
	_cleanup_(closep) int prog = attached(dp, name, ifindex);
	uint8_t out[sizeof(f->data)] = {0};
	struct __sk_buff ctx = {.ifindex = f->ifindex, .gso_size = f->gso_size};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = (uint32_t)f->len,
		.data_out = out, .data_size_out = sizeof(out), .ctx_in = &ctx,
		.ctx_size_in = sizeof(ctx), .repeat = 1);
	int r = bpf_prog_test_run_opts(prog, &opts);

	if (r < 0)
		fail_msg("BPF_PROG_TEST_RUN of %zu bytes: %s", f->len, strerror(-r));
	memcpy(f->data, out, opts.data_size_out);
	f->len = opts.data_size_out;
	f->verdict = (int)opts.retval;
	return f->verdict;
}

int lab_run_uplink(struct weft_dp *dp, struct lab_frame *f)
{
	return run(dp, "uplink-tc", dp->uplink->ifindex, f);
}

int lab_run_publish(struct weft_dp *dp, struct lab_frame *f)
{
	return run(dp, "publish-tc", dp->uplink->ifindex, f);
}

int lab_run_vxlan(struct weft_dp *dp, struct lab_frame *f)
{
	return run(dp, "vxlan-tc", dp->uplink->vxlan_ifindex, f);
}

int lab_run_xdp(struct weft_dp *dp, struct lab_frame *f, uint32_t *ret_peer)
{
	_cleanup_(closep) int prog = attached(dp, "uplink-xdp", 0);
	uint8_t out[sizeof(f->data)] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = (uint32_t)f->len,
		.data_out = out, .data_size_out = sizeof(out), .repeat = 1);
	int r = bpf_prog_test_run_opts(prog, &opts);
	uint32_t head[2];

	if (r < 0)
		fail_msg("BPF_PROG_TEST_RUN of %zu bytes: %s", f->len, strerror(-r));
	*ret_peer = 0;
	f->len = opts.data_size_out;
	/* What is handed over comes with its metadata in front. */
	memcpy(head, out, sizeof(head));
	if (head[0] == HANDOVER) {
		*ret_peer = head[1];
		f->len -= sizeof(head);
	}
	memcpy(f->data, out + (*ret_peer ? sizeof(head) : 0), f->len);
	f->verdict = (int)opts.retval;
	return f->verdict;
}
