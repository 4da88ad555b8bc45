/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/dp_lab.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <setjmp.h>

#include <cmocka.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/dataplane/dp.h"

static const uint8_t gateway_mac[ETH_ALEN] = WEFT_GATEWAY_MAC;

int lab_sh(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return system(cmd);
}

bool lab_enter(void)
{
	if (geteuid() != 0) {
		puts("1..0 # SKIP not root");
		return false;
	}
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) < 0) {
		printf("1..0 # SKIP no namespaces or no bpffs: %m\n");
		return false;
	}
	if (lab_sh("ip link set lo up") != 0) {
		puts("1..0 # SKIP no ip command");
		return false;
	}
	return true;
}

uint32_t lab_addr(const char *dotted)
{
	return inet_addr(dotted);
}

struct in6_addr lab_addr6(const char *text)
{
	struct in6_addr addr;

	if (inet_pton(AF_INET6, text, &addr) != 1)
		fail_msg("%s: no IPv6 address", text);
	return addr;
}

struct weft_dp_instance lab_instance(uint32_t n, uint32_t service)
{
	struct weft_dp_instance inst = {
		.id = n,
		.service = service,
		.ns_addr.s_addr = htonl(0x0a120000 + n),
		.inst_addr.s_addr = htonl(0x0a1e0100 + n),
		.ns_addr6.s6_addr = {0xfc, [14] = (uint8_t)(n >> 8), [15] = (uint8_t)n},
		.inst_addr6.s6_addr = {0xfd,
			0xff, [13] = 1, [14] = (uint8_t)(n >> 8), [15] = (uint8_t)n},
		.mac = {2, 0, 0, 0, (uint8_t)(n >> 8), (uint8_t)n},
		.device = WEFT_DP_DEV_PEER,
	};
	char name[IF_NAMESIZE];

	snprintf(name, sizeof(name), "v%u", n);
	inst.ifindex = if_nametoindex(name);
	return inst;
}

void lab_service(struct weft_dp *dp, uint32_t id, const char *vip)
{
	lab_service46(dp, id, vip, NULL);
}

void lab_service46(struct weft_dp *dp, uint32_t id, const char *vip, const char *vip6)
{
	struct weft_dp_service s = {.id = id};
	struct weft_err err = {0};

	if (vip)
		s.vip[WEFT_DP_RR].s_addr = lab_addr(vip);
	if (vip6)
		s.vip6[WEFT_DP_RR] = lab_addr6(vip6);
	if (weft_dp_service_set(dp, &s, &err) < 0)
		fail_msg("%s", err.msg);
}

void lab_weights(struct weft_dp *dp, uint32_t id, const struct weft_dp_weight *w, unsigned n)
{
	struct weft_err err = {0};

	if (weft_dp_service_weights(dp, id, WEFT_DP_RR, w, n, &err) < 0)
		fail_msg("%s", err.msg);
}

uint32_t lab_live(struct weft_dp *dp, uint32_t id)
{
	static uint32_t n[WEFT_DP_MAX_INSTANCES];

	assert_int_equal(weft_dp_flows_count(dp, n, NULL), 0);
	return n[id];
}

void lab_add(struct weft_dp *dp, uint32_t n, uint32_t service)
{
	struct weft_dp_instance inst;
	struct weft_err err = {0};

	if (lab_sh("ip link add v%u up type veth peer name p%u", n, n) != 0)
		fail_msg("no veth pair v%u", n);
	inst = lab_instance(n, service);
	if (weft_dp_instance_set(dp, &inst, &err) < 0)
		fail_msg("%s", err.msg);
}

/* --- frames --- */

static uint32_t add(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	if (len & 1)
		sum += (uint32_t)p[len - 1] << 8;
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

struct iphdr *lab_ip(struct lab_frame *f)
{
	return (void *)(f->data + ETH_HLEN);
}

struct ipv6hdr *lab_ip6(struct lab_frame *f)
{
	return (void *)(f->data + ETH_HLEN);
}

static bool is6(const struct lab_frame *f)
{
	return f->data[12] == 0x86;
}

/* Where the transport header is, and what it is of. */
static uint8_t *l4_of(struct lab_frame *f, uint8_t *ret_proto)
{
	uint8_t *at = f->data + ETH_HLEN, next;

	if (!is6(f)) {
		*ret_proto = lab_ip(f)->protocol;
		return at + lab_ip(f)->ihl * 4;
	}
	next = lab_ip6(f)->nexthdr;
	at += sizeof(struct ipv6hdr);
	while (next == 0 || next == 43 || next == 44 || next == 60) {
		size_t len = next == 44 ? 8 : 8 + at[1] * 8U;

		next = at[0];
		at += len;
	}
	*ret_proto = next;
	return at;
}

static uint8_t *l4(struct lab_frame *f)
{
	uint8_t proto;

	return l4_of(f, &proto);
}

struct tcphdr *lab_tcph(struct lab_frame *f)
{
	return (void *)l4(f);
}

struct udphdr *lab_udph(struct lab_frame *f)
{
	return (void *)l4(f);
}

static size_t l4_len(struct lab_frame *f)
{
	uint8_t *ip = f->data + ETH_HLEN;

	if (!is6(f))
		return ntohs(lab_ip(f)->tot_len) - lab_ip(f)->ihl * 4U;
	return sizeof(struct ipv6hdr) + ntohs(lab_ip6(f)->payload_len) - (size_t)(l4(f) - ip);
}

static uint16_t pseudo_sum(struct lab_frame *f)
{
	uint32_t sum;
	uint8_t proto;

	l4_of(f, &proto);
	sum = proto + (uint32_t)l4_len(f);
	return fold(is6(f) ? add(sum, &lab_ip6(f)->saddr, 32) : add(sum, &lab_ip(f)->saddr, 8));
}

/* The sum over pseudo-header and transport: 0xffff when the checksum in it is right. */
static uint16_t l4_sum(struct lab_frame *f)
{
	uint8_t proto, *at = l4_of(f, &proto);

	return fold(add(proto == IPPROTO_ICMP ? 0 : pseudo_sum(f), at, l4_len(f)));
}

void lab_check_ip(struct lab_frame *f)
{
	lab_ip(f)->check = 0;
	lab_ip(f)->check = htons((uint16_t)~fold(add(0, lab_ip(f), lab_ip(f)->ihl * 4U)));
}

void lab_check_icmp(struct lab_frame *f)
{
	uint16_t *check = (void *)(l4(f) + 2);

	*check = 0;
	*check = htons((uint16_t)~l4_sum(f));
}

void lab_check_tcp(struct lab_frame *f)
{
	lab_tcph(f)->check = 0;
	lab_tcph(f)->check = htons((uint16_t)~l4_sum(f));
}

uint16_t lab_pseudo(struct lab_frame *f)
{
	return htons(pseudo_sum(f));
}

bool lab_sums_right(struct lab_frame *f)
{
	if (is6(f))
		return l4_sum(f) == 0xffff;
	if (fold(add(0, lab_ip(f), lab_ip(f)->ihl * 4U)) != 0xffff)
		return false;
	if (lab_ip(f)->protocol == IPPROTO_UDP && lab_udph(f)->check == 0)
		return true;
	return l4_sum(f) == 0xffff;
}

static void begin_ip(struct lab_frame *f, const struct weft_dp_instance *from, const char *daddr,
	uint8_t proto, size_t len)
{
	struct iphdr *ip = lab_ip(f);

	f->len = ETH_HLEN + sizeof(*ip) + len;
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = proto;
	ip->tot_len = htons((uint16_t)(sizeof(*ip) + len));
	ip->saddr = from->ns_addr.s_addr;
	ip->daddr = inet_addr(daddr);
	lab_check_ip(f);
}

static void begin_ip6(struct lab_frame *f, const struct weft_dp_instance *from, const char *daddr,
	uint8_t proto, size_t len)
{
	struct in6_addr to = lab_addr6(daddr);
	struct ipv6hdr *ip = lab_ip6(f);

	f->len = ETH_HLEN + sizeof(*ip) + len;
	ip->version = 6;
	ip->flow_lbl[2] = 77;
	ip->hop_limit = 64;
	ip->nexthdr = proto == IPPROTO_ICMP ? IPPROTO_ICMPV6 : proto;
	ip->payload_len = htons((uint16_t)len);
	memcpy(&ip->saddr, &from->ns_addr6, sizeof(ip->saddr));
	memcpy(&ip->daddr, &to, sizeof(ip->daddr));
}

static void begin(struct lab_frame *f, const struct lab_tuple *t, uint8_t proto, size_t len)
{
	struct weft_dp_instance from = lab_instance(t->from, 0);
	bool v6 = strchr(t->daddr, ':');
	struct ethhdr *eth = (void *)f->data;

	memset(f, 0, sizeof(*f));
	f->ifindex = from.ifindex;
	memcpy(eth->h_dest, gateway_mac, ETH_ALEN);
	memcpy(eth->h_source, from.mac, ETH_ALEN);
	eth->h_proto = htons(v6 ? ETH_P_IPV6 : ETH_P_IP);
	(v6 ? begin_ip6 : begin_ip)(f, &from, t->daddr, proto, len);
	for (size_t i = 0; i < len; i++)
		l4(f)[i] = (uint8_t)(i * 7);
}

void lab_tcp(struct lab_frame *f, struct lab_tuple t, uint8_t flags, uint32_t seq)
{
	struct tcphdr *th;

	begin(f, &t, IPPROTO_TCP, sizeof(*th) + 11);
	th = lab_tcph(f);
	memset(th, 0, sizeof(*th));
	th->source = htons(t.sport);
	th->dest = htons(t.dport);
	th->seq = htonl(seq);
	th->ack_seq = htonl(0xabcdef01);
	th->doff = sizeof(*th) / 4;
	((uint8_t *)th)[13] = flags;
	th->window = htons(1000);
	th->check = htons((uint16_t)~l4_sum(f));
}

void lab_udp(struct lab_frame *f, struct lab_tuple t, size_t payload)
{
	struct udphdr *uh;

	begin(f, &t, IPPROTO_UDP, sizeof(*uh) + payload);
	uh = lab_udph(f);
	uh->source = htons(t.sport);
	uh->dest = htons(t.dport);
	uh->len = htons((uint16_t)(sizeof(*uh) + payload));
	uh->check = 0;
	uh->check = htons((uint16_t)~l4_sum(f));
	if (!uh->check)
		uh->check = 0xffff;
}

void lab_echo(struct lab_frame *f, struct lab_tuple t, uint8_t type)
{
	uint8_t *icmp;

	begin(f, &t, IPPROTO_ICMP, 8 + 32);
	icmp = l4(f);
	memset(icmp, 0, 8);
	if (is6(f) && (type == 8 || type == 0))
		type = type ? 128 : 129;
	icmp[0] = type;
	icmp[4] = (uint8_t)(t.sport >> 8);
	icmp[5] = (uint8_t)t.sport;
	*(uint16_t *)(icmp + 2) = htons((uint16_t)~l4_sum(f));
}

void lab_arp(struct lab_frame *f, uint32_t from_id, const char *asked)
{
	struct weft_dp_instance from = lab_instance(from_id, 0);
	struct ethhdr *eth = (void *)f->data;
	uint8_t *arp = f->data + ETH_HLEN;
	uint32_t target = inet_addr(asked);

	memset(f, 0, sizeof(*f));
	f->len = ETH_HLEN + 28;
	f->ifindex = from.ifindex;
	memset(eth->h_dest, 0xff, ETH_ALEN);
	memcpy(eth->h_source, from.mac, ETH_ALEN);
	eth->h_proto = htons(ETH_P_ARP);
	memcpy(arp, "\0\1\x08\0\6\4\0\1", 8);
	memcpy(arp + 8, from.mac, 6);
	memcpy(arp + 14, &from.ns_addr, 4);
	memcpy(arp + 24, &target, 4);
}

void lab_solicit(struct lab_frame *f, uint32_t from_id, const char *source, const char *asked)
{
	struct weft_dp_instance from = lab_instance(from_id, 0);
	struct in6_addr target = lab_addr6(asked), to = lab_addr6("ff02::1:ff00:0");
	bool probe = strcmp(source, "::") == 0;
	struct lab_tuple t = {from_id, "ff02::1", 0, 0};
	uint8_t *nd;

	begin(f, &t, IPPROTO_ICMP, probe ? 24 : 32);
	nd = l4(f);
	memset(nd, 0, 8);
	memcpy(to.s6_addr + 13, target.s6_addr + 13, 3);
	memcpy(&lab_ip6(f)->daddr, &to, sizeof(to));
	if (source[0]) {
		struct in6_addr as = lab_addr6(source);

		memcpy(&lab_ip6(f)->saddr, &as, sizeof(as));
	}
	lab_ip6(f)->hop_limit = 255;
	nd[0] = 135;
	memcpy(nd + 8, &target, 16);
	if (!probe) {
		nd[24] = nd[25] = 1;
		memcpy(nd + 26, from.mac, 6);
	}
	lab_check_icmp(f);
}

void lab_fit6(struct lab_frame *f)
{
	lab_ip6(f)->payload_len = htons((uint16_t)(f->len - ETH_HLEN - sizeof(struct ipv6hdr)));
}

void lab_extension(struct lab_frame *f, uint8_t kind, const void *bytes, size_t len)
{
	uint8_t *at = f->data + ETH_HLEN + sizeof(struct ipv6hdr);

	memmove(at + len, at, f->len - (size_t)(at - f->data));
	memcpy(at, bytes, len);
	at[0] = lab_ip6(f)->nexthdr;
	if (kind != 44)
		at[1] = (uint8_t)(len / 8 - 1);
	lab_ip6(f)->nexthdr = kind;
	f->len += len;
	lab_fit6(f);
}

void lab_fragment6(struct lab_frame *f, uint32_t id, uint16_t offset, bool more)
{
	uint8_t h[8] = {0, 0, (uint8_t)(offset >> 8), (uint8_t)(offset | more), (uint8_t)(id >> 24),
		(uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};

	lab_extension(f, 44, h, sizeof(h));
}

void lab_options(struct lab_frame *f, unsigned words)
{
	uint8_t *old = l4(f);

	memmove(old + words * 4, old, f->len - (size_t)(old - f->data));
	memset(old, 1, (size_t)words * 4);
	f->len += (size_t)words * 4;
	lab_ip(f)->ihl = (5 + words) & 0xf;
	lab_ip(f)->tot_len = htons((uint16_t)(ntohs(lab_ip(f)->tot_len) + words * 4));
	lab_check_ip(f);
}

void lab_fragment(struct lab_frame *f, uint16_t id, uint16_t offset, bool more)
{
	lab_ip(f)->id = htons(id);
	lab_ip(f)->frag_off = htons((uint16_t)(offset / 8 | (more ? 0x2000 : 0)));
	lab_check_ip(f);
}

/* --- running --- */

bool lab_summed;

int lab_run(struct weft_dp *dp, struct lab_frame *f)
{
	uint8_t out[sizeof(f->data)] = {0};
	struct __sk_buff ctx = {.ifindex = f->ifindex, .gso_size = f->gso_size};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = (uint32_t)f->len,
		.data_out = out, .data_size_out = sizeof(out), .ctx_in = &ctx,
		.ctx_size_in = sizeof(ctx), .repeat = 1,
		.flags = lab_summed ? BPF_F_TEST_SKB_CHECKSUM_COMPLETE : 0);
	int r = bpf_prog_test_run_opts(bpf_program__fd(dp->skel->progs.tc_instance), &opts);

	if (r == -EINVAL && lab_summed) { /* a kernel that does not know the flag */
		lab_summed = false;
		return lab_run(dp, f);
	}
	if (r == -EBADMSG)
		fail_msg("the kernel's sum over the packet is not right any more");

	if (r < 0)
		fail_msg("BPF_PROG_TEST_RUN of %zu bytes: %s", f->len, strerror(-r));
	memcpy(f->data, out, opts.data_size_out);
	f->len = opts.data_size_out;
	f->verdict = (int)opts.retval;
	return f->verdict;
}

int lab_receiver(const struct lab_frame *f)
{
	const uint8_t *mac = f->data;

	if (memcmp(mac, gateway_mac, ETH_ALEN) == 0)
		return 0;
	return memcmp(mac, "\2\0\0\0", 4) == 0 ? mac[4] << 8 | mac[5] : -1;
}

static bool has_addr(struct lab_frame *f, const char *addr, bool source)
{
	struct in6_addr v6;

	if (!is6(f))
		return !strchr(addr, ':') &&
		       (source ? lab_ip(f)->saddr : lab_ip(f)->daddr) == lab_addr(addr);
	v6 = lab_addr6(addr);
	return memcmp(source ? (void *)&lab_ip6(f)->saddr : (void *)&lab_ip6(f)->daddr, &v6,
		       sizeof(v6)) == 0;
}

bool lab_from(struct lab_frame *f, const char *addr)
{
	return has_addr(f, addr, true);
}

bool lab_to(struct lab_frame *f, const char *addr)
{
	return has_addr(f, addr, false);
}

void lab_dropped(
	struct weft_dp *dp, struct lab_frame *f, enum weft_drop reason, const char *file, int line)
{
	uint64_t before = lab_drops(dp, reason);
	int verdict = lab_run(dp, f);

	if (verdict != LAB_SHOT || lab_drops(dp, reason) != before + 1)
		fail_msg("%s:%d: verdict %d, not dropped as %s", file, line, verdict,
			weft_dp_drop_name(reason));
}

uint64_t lab_drops(struct weft_dp *dp, enum weft_drop reason)
{
	uint64_t n[WEFT_DROP_COUNT];

	assert_int_equal(weft_dp_drops(dp, n), 0);
	return n[reason];
}
