/* SPDX-License-Identifier: Apache-2.0 */
/* What the unmodified TC program costs a packet, by BPF_PROG_TEST_RUN, net of the empty program
 * under the same stimulus; and what a change of weights costs. One line of JSON per figure.
 *   test_run OBJECT BPFFS-DIR ROUNDS CPU
 *
 * The client and the first backend are set as weftd sets instances, on taps. The other thousand are
 * written into the instance table right away: TEST_RUN never gets as far as their devices. */
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/link.h"
#include "tests/bench/bench.h"
#include "tests/bench/test_run.h"

#define MANY      1000 /* backends of one service */
#define SERVICES  10000
#define PAIRS     500 /* services of two backends */
#define FLOWS     200000
#define TABLE     (1U << 20) /* entries: FLOWS fill two fifths, both directions */
#define REPEAT    100000
#define PASSES    5
#define CLIENT    1
#define BACKEND   2           /* the first of many */
#define VIP       0x0a1e0000U /* + service id */
#define TH_ACK    0x10
#define TH_SYN    0x02
#define FLAGS_OFF 47

static struct {
	struct weft_dp *dp;
	uint32_t ifindex[BACKEND + 1];
	int stimulate, empty, program, target; /* descriptors */
	struct stimulus *stimulus;
	unsigned round;
} bench;

/* Packets to service `vip` and the services - 1 after it. */
struct scene {
	const char *name;
	uint32_t flows, vip, services;
	bool opens; /* every packet is a new flow; else of an established one */
	bool backward;
};

static struct weft_err error;

static void must(int r)
{
	if (r < 0)
		errx(1, "%s", error.msg[0] ? error.msg : strerror(-r));
}

static void report(const char *measure, double value)
{
	printf("{\"round\": %u, \"measure\": \"%s\", \"value\": %.3f}\n", bench.round, measure,
		value);
}

/* --- setting up --- */

static struct weft_dp_instance instance(uint32_t n, uint32_t service)
{
	return (struct weft_dp_instance){
		.id = n,
		.service = service,
		.ns_addr.s_addr = htonl(0x0a120000 + n),
		.inst_addr.s_addr = htonl(0x0a1e8000 + n),
		.mac = {2, 0, 0, 0, (uint8_t)(n >> 8), (uint8_t)n},
		.device = WEFT_DP_DEV_PEER,
	};
}

static void add_instance(uint32_t n, uint32_t service)
{
	struct weft_dp_instance inst = instance(n, service);
	char name[16];
	int fd; /* keeps the tap, until we end */

	snprintf(name, sizeof(name), "t%u", n);
	must(weft_link_tap_add(name, ETH_DATA_LEN, &fd, &inst.ifindex, &error));
	must(weft_dp_instance_set(bench.dp, &inst, &error));
	bench.ifindex[n] = inst.ifindex;
}

static void write_instance(uint32_t n, uint32_t service)
{
	struct weft_dp_instance inst = instance(n, service);

	bench.dp->instances[n] = (struct weft_bpf_instance){
		.ns_addr = inst.ns_addr.s_addr,
		.inst_addr = inst.inst_addr.s_addr,
		.ifindex = bench.ifindex[BACKEND],
		.service = (uint16_t)service,
		.device = WEFT_DEVICE_PEER,
		.active = 1,
		.epoch = 1000000 + n,
		.mac = {2, 0, 0, 0, (uint8_t)(n >> 8), (uint8_t)n},
	};
}

static void set_weights(uint32_t service, uint32_t first, unsigned n, uint32_t a, uint32_t b)
{
	struct weft_dp_weight w[MANY];

	for (unsigned i = 0; i < n; i++)
		w[i] = (struct weft_dp_weight){first + i, i % 2 ? b : a};
	must(weft_dp_service_weights(bench.dp, service, WEFT_DP_RR, w, n, &error));
}

/* Services 1 to n of `each` backends in a row, the first of them BACKEND. */
static void set_services(uint32_t n, unsigned each)
{
	for (uint32_t i = 0; i < n * each; i++)
		if (BACKEND + i != BACKEND)
			write_instance(BACKEND + i, 1 + i / each);
	for (uint32_t id = 1; id <= n; id++) {
		const struct weft_dp_service s = {.id = id, .vip[WEFT_DP_RR] = {htonl(VIP + id)}};

		must(weft_dp_service_set(bench.dp, &s, &error));
		set_weights(id, BACKEND + (id - 1) * each, each, 1, 1);
	}
}

static void load_stimulus(const char *path)
{
	struct bpf_object *o = bpf_object__open_file(path, NULL);

	if (!o || bpf_object__load(o) < 0)
		err(1, "%s", path);
	bench.stimulate = bpf_program__fd(bpf_object__find_program_by_name(o, "stimulate"));
	bench.empty = bpf_program__fd(bpf_object__find_program_by_name(o, "empty"));
	bench.program = bpf_program__fd(bench.dp->skel->progs.tc_instance);
	bench.target = bpf_object__find_map_fd_by_name(o, "target");
	bench.stimulus = mmap(NULL, sizeof(*bench.stimulus), PROT_READ | PROT_WRITE, MAP_SHARED,
		bpf_object__find_map_fd_by_name(o, "stimulus"), 0);
	if (bench.stimulus == MAP_FAILED)
		err(1, "%s: stimulus", path);
}

/* --- packets --- */

static void sum_ip(struct iphdr *ip)
{
	const uint16_t *p = (const void *)ip;
	uint32_t sum = 0;

	for (unsigned i = 0; i < sizeof(*ip) / 2; i++)
		sum += p[i];
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

/* A segment without payload, padded. Nobody on the way checks what its transport checksum says. */
static void build(uint8_t *frame, const struct scene *s)
{
	struct weft_dp_instance from = instance(s->backward ? BACKEND : CLIENT, 0),
				client = instance(CLIENT, 0);
	static const uint8_t gateway[] = WEFT_GATEWAY_MAC;
	struct {
		struct ethhdr eth;
		struct iphdr ip;
		struct tcphdr tcp;
	} __attribute__((packed)) f = {
		.eth.h_proto = htons(ETH_P_IP),
		.ip = {.version = 4,
			.ihl = 5,
			.ttl = 64,
			.protocol = IPPROTO_TCP,
			.tot_len = htons(sizeof(f.ip) + sizeof(f.tcp)),
			.saddr = from.ns_addr.s_addr,
			.daddr = s->backward ? client.inst_addr.s_addr : htonl(VIP + s->vip)},
		.tcp = {.doff = sizeof(f.tcp) / 4, .window = htons(1000), .check = 0x1234},
	};
	struct iphdr ip = f.ip;

	sum_ip(&ip);
	f.ip.check = ip.check;
	memcpy(f.eth.h_dest, gateway, ETH_ALEN);
	memcpy(f.eth.h_source, from.mac, ETH_ALEN);
	memset(frame, 0, FRAME_SIZE);
	memcpy(frame, &f, sizeof(f));
}

static void set_stimulus(const struct scene *s, uint8_t tcp_flags)
{
	struct stimulus fresh = {
		.flows = s->flows,
		.services = s->backward ? 0 : s->services,
		.vip = VIP + s->vip,
		.backward = s->backward,
	};

	build(fresh.frame, s);
	fresh.frame[FLAGS_OFF] = tcp_flags;
	*bench.stimulus = fresh;
}

/* ns per packet. The kernel leaves out the time in which others ran. */
static double run(const struct scene *s, int target, uint32_t repeat)
{
	struct __sk_buff ctx = {.ifindex = bench.ifindex[s->backward ? BACKEND : CLIENT]};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = bench.stimulus->frame,
		.data_size_in = FRAME_SIZE, .ctx_in = &ctx, .ctx_size_in = sizeof(ctx),
		.repeat = (int)repeat);
	uint32_t key = 0;

	if (bpf_map_update_elem(bench.target, &key, &target, BPF_ANY) < 0 ||
		bpf_prog_test_run_opts(bench.stimulate, &opts) < 0)
		err(1, "BPF_PROG_TEST_RUN");
	if (opts.retval != TC_ACT_REDIRECT)
		errx(1, "%s: verdict %u", s->name, opts.retval);
	return opts.duration;
}

static void count(uint64_t *ret_packets, uint64_t *ret_flows)
{
	uint64_t packets = 0, flows = 0;

	for (uint32_t id = 1; id <= SERVICES; id++) {
		struct weft_dp_counters c;

		must(weft_dp_service_counters(bench.dp, id, &c));
		packets += c.packets + c.rx_packets;
		flows += c.flows;
	}
	*ret_packets = packets;
	*ret_flows = flows;
}

/* Have all flows of the scene in the table, established, and nothing else. */
static void open_flows(const struct scene *s)
{
	struct scene forward = *s;

	forward.backward = false;
	set_stimulus(&forward, TH_SYN);
	run(&forward, bench.program, s->flows);
	set_stimulus(&forward, TH_ACK);
	run(&forward, bench.program, s->flows);
}

static void measure(const struct scene *s)
{
	uint32_t repeat = s->opens ? s->flows : REPEAT;
	uint64_t packets, flows, packets_after, flows_after;
	double floor, ns;

	memset(bench.dp->flows, 0, bench.dp->flow_buckets * sizeof(*bench.dp->flows));
	if (!s->opens)
		open_flows(s);
	set_stimulus(s, s->opens ? TH_SYN : TH_ACK);
	floor = run(s, bench.empty, repeat);
	bench.stimulus->next = 0;
	count(&packets, &flows);
	ns = run(s, bench.program, repeat);
	count(&packets_after, &flows_after);
	if (packets_after - packets != repeat || flows_after - flows != (s->opens ? repeat : 0))
		errx(1, "%s: %u packets, of which %llu were handled, opened %llu flows", s->name,
			repeat, (unsigned long long)(packets_after - packets),
			(unsigned long long)(flows_after - flows));
	report(s->name, ns - floor);
}

static void measure_all(const struct scene *scenes, size_t n, unsigned rounds)
{
	for (bench.round = 1; bench.round <= rounds; bench.round++)
		for (size_t i = 0; i < n; i++)
			measure(&scenes[bench.round % 2 ? i : n - 1 - i]);
}

/* --- weights --- */

static double update_us(uint32_t service, uint32_t first, unsigned n, uint32_t a, uint32_t b)
{
	uint64_t before = weft_now_ns();

	set_weights(service, first, n, a, b);
	return (double)(weft_now_ns() - before) / 1e3;
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Steps of a swap: every service's two backends get other weights. The first update of each pass
 * comes so soon after the last that it waits for a grace period; steps come less often. */
static void measure_updates(void)
{
	double us[PAIRS];

	for (bench.round = 1; bench.round <= PASSES; bench.round++) {
		uint32_t share = 10 * bench.round + 3;

		for (uint32_t id = 1; id <= PAIRS; id++)
			us[id - 1] = update_us(id, BACKEND + 2 * (id - 1), 2, share, 100 - share);
		report("weights_update_at_once_us", us[0]);
		qsort(us + 1, PAIRS - 1, sizeof(*us), compare);
		report("weights_update_us", us[PAIRS / 2]);
	}
}

static void measure_update_of_many(void)
{
	static const struct timespec step = {.tv_nsec = 120000000};

	for (bench.round = 1; bench.round <= PASSES; bench.round++) {
		nanosleep(&step, NULL);
		report("weights_update_1000_backends_us",
			update_us(2, BACKEND + 1, MANY, bench.round, bench.round + 1));
	}
}

int main(int argc, char **argv)
{
	static const struct scene services[] = {
		{"tc_hit_1_ns", 1, 1, 1, false, false},
		{"tc_hit_ns", 1000, 1, 1, false, false},
		{"tc_hit_back_ns", 1000, 1, 1, false, true},
		{"tc_hit_50k_ns", 50000, 1, 1, false, false},
		{"tc_new_ns", FLOWS, 1, 1, true, false},
		{"services_1_ns", 10000, 1, 1, false, false},
		{"services_10000_ns", 10000, 1, SERVICES, false, false},
		{"services_1_new_ns", FLOWS, 1, 1, true, false},
		{"services_10000_new_ns", FLOWS, 1, SERVICES, true, false},
	};
	static const struct scene backends[] = {
		{"backends_1_ns", 10000, 1, 1, false, false},
		{"backends_1000_ns", 10000, 2, 1, false, false},
		{"backends_1_new_ns", FLOWS, 1, 1, true, false},
		{"backends_1000_new_ns", FLOWS, 2, 1, true, false},
	};
	struct weft_dp_config config = {.max_flows = TABLE};
	uint64_t rounds, cpu;

	if (argc != 5 || weft_parse_u64(argv[3], 1, 1000, &rounds) < 0 ||
		weft_parse_u64(argv[4], 0, CPU_SETSIZE - 1, &cpu) < 0)
		errx(2, "usage: test_run OBJECT BPFFS-DIR ROUNDS CPU");
	pin(cpu);
	config.bpffs_dir = argv[2];
	must(weft_dp_open(&config, &bench.dp, &error));
	load_stimulus(argv[1]);
	add_instance(CLIENT, 0);
	add_instance(BACKEND, 1);

	set_services(SERVICES, 1);
	measure_all(services, ARRAY_SIZE(services), (unsigned)rounds);

	for (uint32_t i = 1; i <= MANY; i++)
		write_instance(BACKEND + i, 2);
	set_weights(2, BACKEND + 1, MANY, 1, 1);
	measure_all(backends, ARRAY_SIZE(backends), (unsigned)rounds);
	measure_update_of_many();

	set_services(PAIRS, 2);
	measure_updates();
	weft_dp_free(bench.dp);
	must(weft_dp_destroy(argv[2], &error));
	return 0;
}
