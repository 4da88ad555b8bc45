/* SPDX-License-Identifier: Apache-2.0 */
/* What the XDP program costs a packet to a published port whose backend is on another node: to be
 * looked up, translated, put into the tunnel and sent. By BPF_PROG_TEST_RUN, net of the empty
 * program under the same stimulus.
 *   test_run_xdp OBJECT BPFFS-DIR ROUNDS CPU [FIGURE]
 * up0 is there, with 192.0.2.1, forwards, and knows its neighbour 192.0.2.2. */
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdlib.h>
#include <unistd.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/peer.h"
#include "tests/bench/stimulus.h"

#define SERVICE 1
#define BACKEND 2
#define PEER    1
#define PORT    8080
#define NODE    0xc0000201U /* 192.0.2.1 */
#define CLIENT  0xc6336401U /* 198.51.100.1, the first of them */

static struct {
	struct weft_dp *dp;
	int program;
	struct stimulator s;
} bench;

/* Datagrams open flows: a SYN is left to TC, which lowers its MSS. */
static const struct scene {
	const char *name, *what;
	uint32_t flows;
	uint8_t proto;
} scenes[] = {
	{"xdp_hit_ns", "XDP, to another node: established, 1,000 flows", 1000, IPPROTO_TCP},
	{"xdp_hit_50k_ns", "  established, 50,000 flows", 50000, IPPROTO_TCP},
	{"xdp_new_ns", "  new, 200,000 flows into 1 Mi entries", FLOWS, IPPROTO_UDP},
};

/* --- setting up --- */

static void set_up(void)
{
	const struct weft_dp_uplink uplink = {
		.device = "up0", .xdp = WEFT_DP_XDP_GENERIC, .whole_sums = true};
	const struct weft_dp_service service = {
		.id = SERVICE, .vip[WEFT_DP_RR].s_addr = htonl(0x0a1e0001)};
	const struct weft_dp_port ports[] = {{PORT, 80, IPPROTO_TCP}, {PORT, 80, IPPROTO_UDP}};
	const struct weft_dp_instance backend = {
		.id = BACKEND,
		.service = SERVICE,
		.ns_addr.s_addr = htonl(0x0a120002),
		.inst_addr.s_addr = htonl(0x0a1e0102),
		.device = WEFT_DP_DEV_REMOTE,
		.peer = PEER,
	};
	const struct weft_dp_weight weight = {.instance = BACKEND, .weight = 1};
	struct weft_dp_peer peer = {.id = PEER, .format = WEFT_DP_VXLAN};

	if (inet_pton(AF_INET6, "::ffff:192.0.2.2", &peer.addr) != 1)
		errx(1, "the peer's address");
	must(weft_dp_uplink_set(bench.dp, &uplink, &error));
	must(weft_dp_peer_set(bench.dp, &peer, &error));
	must(weft_dp_service_set(bench.dp, &service, &error));
	must(weft_dp_instance_set(bench.dp, &backend, &error));
	must(weft_dp_service_weights(bench.dp, SERVICE, WEFT_DP_RR, &weight, 1, &error));
	must(weft_dp_service_publish(bench.dp, SERVICE, ports, ARRAY_SIZE(ports), &error));
}

static int attached(const char *name)
{
	_cleanup_(freep) char *path = dp_pin_name(bench.dp->dir, name);
	_cleanup_(closep) int link = bpf_obj_get(path);
	struct bpf_link_info info = {0};
	uint32_t size = sizeof(info);
	int fd;

	if (link < 0 || bpf_obj_get_info_by_fd(link, &info, &size) < 0)
		err(1, "%s", path);
	fd = bpf_prog_get_fd_by_id(info.prog_id);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

/* A program array takes the like of its first user: either all know frames in pieces, or none. */
static void load_stimulus(const char *path, bool frags)
{
	struct bpf_object *o = bpf_object__open_file(path, NULL);
	struct bpf_program *p;
	uint32_t key = 0;

	if (!o)
		err(1, "%s", path);
	bpf_object__for_each_program(p, o)
		bpf_program__set_flags(p, frags ? BPF_F_XDP_HAS_FRAGS : 0);
	stimulator_load(&bench.s, o);
	if (bpf_map_update_elem(bench.s.target, &key, &bench.program, BPF_ANY) == 0)
		return;
	if (frags)
		err(1, "%s: the program", path);
	bpf_object__close(o);
	load_stimulus(path, true);
}

/* --- packets --- */

static void build(uint8_t *frame, uint8_t proto)
{
	struct {
		struct ethhdr eth;
		struct iphdr ip;
		union {
			struct tcphdr tcp;
			struct udphdr udp;
		};
	} __attribute__((packed)) f = {
		.eth.h_proto = htons(ETH_P_IP),
		.ip = {.version = 4,
			.ihl = 5,
			.ttl = 64,
			.protocol = proto,
			.tot_len = htons(FRAME_SIZE - ETH_HLEN),
			.saddr = htonl(CLIENT),
			.daddr = htonl(NODE)},
	};
	struct iphdr ip = f.ip;

	sum_ip(&ip);
	f.ip = ip;
	if (proto == IPPROTO_TCP)
		f.tcp = (struct tcphdr){
			.dest = htons(PORT), .doff = sizeof(f.tcp) / 4, .check = 0x1234};
	else
		f.udp = (struct udphdr){.dest = htons(PORT),
			.len = htons(FRAME_SIZE - ETH_HLEN - sizeof(f.ip)),
			.check = 0x1234};
	memset(frame, 0, FRAME_SIZE);
	memcpy(frame, &f, sizeof(f));
}

static void set_stimulus(const struct scene *s, uint8_t tcp_flags)
{
	struct stimulus fresh = {.flows = s->flows, .vip = CLIENT};

	build(fresh.frame, s->proto);
	if (s->proto == IPPROTO_TCP)
		fresh.frame[FLAGS_OFF] = tcp_flags;
	*bench.s.now = fresh;
}

/* Once a second one packet is left to TC: so many at most while we measure, which may be the last.
 */
#define LEFT 2

static double run(const struct scene *s, int target, uint32_t repeat, bool passed)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	double ns = stimulate(&bench.s, target, repeat, &opts);

	if (opts.retval != XDP_PASS &&
		(passed || (opts.retval != XDP_TX && opts.retval != XDP_REDIRECT)))
		errx(1, "%s: verdict %u", s->name, opts.retval);
	return ns;
}

static void count(uint64_t *ret_packets, uint64_t *ret_flows)
{
	struct weft_dp_counters c;

	must(weft_dp_service_counters(bench.dp, SERVICE, &c));
	*ret_packets = c.packets;
	*ret_flows = c.flows;
}

static void measure(const struct scene *s, unsigned round)
{
	bool opens = s->proto == IPPROTO_UDP;
	uint32_t repeat = opens ? s->flows : REPEAT;
	uint64_t packets, flows, packets_after, flows_after;
	double floor, ns;

	memset(bench.dp->flows, 0, bench.dp->flow_buckets * sizeof(*bench.dp->flows));
	if (!opens) {
		set_stimulus(s, TH_SYN);
		run(s, bench.program, s->flows, true);
		set_stimulus(s, TH_ACK);
		run(s, bench.program, s->flows, false);
	}
	set_stimulus(s, TH_ACK);
	floor = run(s, bench.s.empty, repeat, false);
	bench.s.now->next = 0;
	count(&packets, &flows);
	ns = run(s, bench.program, repeat, false);
	count(&packets_after, &flows_after);
	if (packets_after - packets > repeat || packets_after - packets + LEFT < repeat ||
		flows_after - flows != (opens ? repeat : 0))
		errx(1, "%s: %u packets, of which %llu were handled, opened %llu flows", s->name,
			repeat, (unsigned long long)(packets_after - packets),
			(unsigned long long)(flows_after - flows));
	report(round, s->name, ns - floor, "ns", s->what);
}

int main(int argc, char **argv)
{
	struct weft_dp_config config = {.max_flows = TABLE, .mtu = ETH_DATA_LEN};
	uint64_t rounds, cpu;

	if (argc < 5 || argc > 6 || weft_parse_u64(argv[3], 1, 1000, &rounds) < 0 ||
		weft_parse_u64(argv[4], 0, CPU_SETSIZE - 1, &cpu) < 0)
		errx(2, "usage: test_run_xdp OBJECT BPFFS-DIR ROUNDS CPU [FIGURE]");
	pin(cpu);
	config.bpffs_dir = argv[2];
	must(weft_dp_open(&config, &bench.dp, &error));
	set_up();
	bench.program = attached("uplink-xdp");
	load_stimulus(argv[1], false);
	for (unsigned round = 1; round <= rounds; round++)
		for (size_t i = 0; i < ARRAY_SIZE(scenes); i++) {
			const struct scene *s = &scenes[round % 2 ? i : ARRAY_SIZE(scenes) - 1 - i];

			if (argc < 6 || strcmp(s->name, argv[5]) == 0)
				measure(s, round);
		}
	weft_dp_free(bench.dp);
	must(weft_dp_destroy(argv[2], &error));
	return 0;
}
