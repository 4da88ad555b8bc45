/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/dp_lab.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
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

struct weft_dp_instance lab_instance(uint32_t n, uint32_t service)
{
	struct weft_dp_instance inst = {
		.id = n,
		.service = service,
		.ns_addr.s_addr = htonl(0x0a120000 + n),
		.inst_addr.s_addr = htonl(0x0a1e0100 + n),
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
	const struct weft_dp_service s = {.id = id, .vip[WEFT_DP_RR].s_addr = lab_addr(vip)};
	struct weft_err err = {0};

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

	assert_int_equal(weft_dp_flows_count(dp, n), 0);
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

static uint8_t *l4(struct lab_frame *f)
{
	return f->data + ETH_HLEN + lab_ip(f)->ihl * 4;
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
	return ntohs(lab_ip(f)->tot_len) - lab_ip(f)->ihl * 4U;
}

/* The sum over pseudo-header and transport: 0xffff when the checksum in it is right. */
static uint16_t l4_sum(struct lab_frame *f)
{
	uint32_t sum = 0;

	if (lab_ip(f)->protocol != IPPROTO_ICMP) {
		sum = add(sum, &lab_ip(f)->saddr, 8);
		sum += lab_ip(f)->protocol + (uint32_t)l4_len(f);
	}
	return fold(add(sum, l4(f), l4_len(f)));
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
	return htons(fold(add(lab_ip(f)->protocol + (uint32_t)l4_len(f), &lab_ip(f)->saddr, 8)));
}

bool lab_sums_right(struct lab_frame *f)
{
	if (fold(add(0, lab_ip(f), lab_ip(f)->ihl * 4U)) != 0xffff)
		return false;
	if (lab_ip(f)->protocol == IPPROTO_UDP && lab_udph(f)->check == 0)
		return true;
	return l4_sum(f) == 0xffff;
}

static void begin(struct lab_frame *f, const struct lab_tuple *t, uint8_t proto, size_t len)
{
	struct weft_dp_instance from = lab_instance(t->from, 0);
	struct ethhdr *eth = (void *)f->data;
	struct iphdr *ip = lab_ip(f);

	memset(f, 0, sizeof(*f));
	f->len = ETH_HLEN + sizeof(*ip) + len;
	f->ifindex = from.ifindex;
	memcpy(eth->h_dest, gateway_mac, ETH_ALEN);
	memcpy(eth->h_source, from.mac, ETH_ALEN);
	eth->h_proto = htons(ETH_P_IP);
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = proto;
	ip->tot_len = htons((uint16_t)(sizeof(*ip) + len));
	ip->saddr = from.ns_addr.s_addr;
	ip->daddr = inet_addr(t->daddr);
	lab_check_ip(f);
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
}

void lab_echo(struct lab_frame *f, struct lab_tuple t, uint8_t type)
{
	uint8_t *icmp;

	begin(f, &t, IPPROTO_ICMP, 8 + 32);
	icmp = l4(f);
	memset(icmp, 0, 8);
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

int lab_run(struct weft_dp *dp, struct lab_frame *f)
{
	uint8_t out[sizeof(f->data)] = {0};
	struct __sk_buff ctx = {.ifindex = f->ifindex, .gso_size = f->gso_size};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = (uint32_t)f->len,
		.data_out = out, .data_size_out = sizeof(out), .ctx_in = &ctx,
		.ctx_size_in = sizeof(ctx), .repeat = 1);
	int r = bpf_prog_test_run_opts(bpf_program__fd(dp->skel->progs.tc_instance), &opts);

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

uint64_t lab_drops(struct weft_dp *dp, enum weft_drop reason)
{
	uint64_t n[WEFT_DROP_COUNT];

	assert_int_equal(weft_dp_drops(dp, n), 0);
	return n[reason];
}
