/* SPDX-License-Identifier: Apache-2.0 */
/* What the unmodified TC program costs a packet, by BPF_PROG_TEST_RUN, net of the empty program
 * under the same stimulus; and what a change of weights costs. One line of JSON per figure.
 *   test_run OBJECT BPFFS-DIR ROUNDS CPU [FIGURE]
 *
 * The client and the first backend are set as weftd sets instances, on taps. The other thousand are
 * written into the instance table right away: TEST_RUN never gets as far as their devices. */
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <time.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/link.h"
#include "tests/bench/stimulus.h"

#define BACKENDS 1000 /* of one service */
#define SERVICES 10000
#define PAIRS    1000 /* services of two backends */
#define PASSES   9
#define CLIENT   1
#define BACKEND  2           /* the first of many */
#define VIP      0x0a1e0000U /* + service id */

static struct {
	struct weft_dp *dp;
	uint32_t ifindex[BACKEND + 1];
	int program, look;
	struct stimulator s;
	unsigned round;
	const char *only; /* that figure; NULL: all */
} bench;

/* Packets to service `vip` and the services - 1 after it. */
struct scene {
	const char *name, *what;
	uint32_t flows, vip, services;
	enum {
		HIT,  /* every packet is of an established flow, */
		BACK, /* from the backend, */
		OPEN, /* or opens a new one; */
		LOOK, /* or only has a line of memory changed */
	} kind;
};

/* Instances: a backend for each service. */
static const struct scene services[] = {
	{"tc_hit_ns", "established, 1,000 flows", 1000, 1, 1, HIT},
	{"tc_hit_1_ns", "established, 1 flow", 1, 1, 1, HIT},
	{"tc_hit_50k_ns", "established, 50,000 flows", 50000, 1, 1, HIT},
	{"tc_back_ns", "established, 1,000 flows, from the backend", 1000, 1, 1, BACK},
	{"tc_new_ns", "new, 200,000 flows into 1 Mi entries", FLOWS, 1, 1, OPEN},
	{"look_ns", "  of this machine: one line of memory that no cache has", FLOWS, 1, 1, LOOK},
	{"services_one_ns", "established, 10,000 flows to 1 service", 10000, 1, 1, HIT},
	{"services_many_ns", "  to 10,000 services", 10000, 1, SERVICES, HIT},
	{"services_one_new_ns", "new, to 1 service", FLOWS, 1, 1, OPEN},
	{"services_many_new_ns", "  to 10,000 services", FLOWS, 1, SERVICES, OPEN},
};
/* Service 1 has one backend, service 2 has the others. */
static const struct scene backends[] = {
	{"backends_one_ns", "established, 10,000 flows to 1 backend", 10000, 1, 1, HIT},
	{"backends_many_ns", "  to 1,000 backends of one service", 10000, 2, 1, HIT},
	{"backends_one_new_ns", "new, to 1 backend", FLOWS, 1, 1, OPEN},
	{"backends_many_new_ns", "  to 1,000 backends", FLOWS, 2, 1, OPEN},
};

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
	struct weft_dp_weight w[BACKENDS];

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

/* --- packets --- */

/* A segment without payload, padded. Nobody on the way checks what its transport checksum says. */
static void build(uint8_t *frame, const struct scene *s)
{
	struct weft_dp_instance from = instance(s->kind == BACK ? BACKEND : CLIENT, 0),
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
			.daddr = s->kind == BACK ? client.inst_addr.s_addr : htonl(VIP + s->vip)},
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
		.services = s->kind == BACK ? 0 : s->services,
		.vip = VIP + s->vip,
		.backward = s->kind == BACK,
	};

	build(fresh.frame, s);
	fresh.frame[FLAGS_OFF] = tcp_flags;
	*bench.s.now = fresh;
}

static double run(const struct scene *s, int target, uint32_t repeat)
{
	struct __sk_buff ctx = {.ifindex = bench.ifindex[s->kind == BACK ? BACKEND : CLIENT]};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &ctx, .ctx_size_in = sizeof(ctx));
	double ns = stimulate(&bench.s, target, repeat, &opts);

	if (opts.retval != TC_ACT_REDIRECT)
		errx(1, "%s: verdict %u", s->name, opts.retval);
	return ns;
}

static void count(const struct scene *s, uint64_t *ret_packets, uint64_t *ret_flows)
{
	uint64_t packets = 0, flows = 0;

	for (uint32_t i = 0; i < s->services; i++) {
		struct weft_dp_counters c;

		must(weft_dp_service_counters(bench.dp, s->vip + i, &c));
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

	forward.kind = HIT;
	set_stimulus(&forward, TH_SYN);
	run(&forward, bench.program, s->flows);
	set_stimulus(&forward, TH_ACK);
	run(&forward, bench.program, s->flows);
}

static void measure(const struct scene *s)
{
	bool opens = s->kind == OPEN, looks = s->kind == LOOK;
	uint32_t repeat = opens || looks ? s->flows : REPEAT;
	uint64_t packets, flows, packets_after, flows_after;
	double floor, ns;

	memset(bench.dp->flows, 0, bench.dp->flow_buckets * sizeof(*bench.dp->flows));
	if (!opens && !looks)
		open_flows(s);
	set_stimulus(s, opens ? TH_SYN : TH_ACK);
	floor = run(s, bench.s.empty, repeat);
	bench.s.now->next = 0;
	count(s, &packets, &flows);
	ns = run(s, looks ? bench.look : bench.program, repeat);
	count(s, &packets_after, &flows_after);
	if (looks)
		packets_after += repeat;
	if (packets_after - packets != repeat || flows_after - flows != (opens ? repeat : 0))
		errx(1, "%s: %u packets, of which %llu were handled, opened %llu flows", s->name,
			repeat, (unsigned long long)(packets_after - packets),
			(unsigned long long)(flows_after - flows));
	report(bench.round, s->name, ns - floor, "ns", s->what);
}

static void measure_all(const struct scene *scenes, size_t n, unsigned rounds)
{
	for (bench.round = 1; bench.round <= rounds; bench.round++)
		for (size_t i = 0; i < n; i++) {
			const struct scene *s = &scenes[bench.round % 2 ? i : n - 1 - i];

			if (!bench.only || strcmp(s->name, bench.only) == 0)
				measure(s);
		}
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

/* Steps of a swap come less often than a grace period takes. */
static void next_step(void)
{
	static const struct timespec step = {.tv_nsec = 120000000};

	nanosleep(&step, NULL);
}

/* Every service's two backends get other weights; then the last one's once more, so soon that the
 * half it had before may still be read. */
static void measure_updates(void)
{
	double us[PAIRS], sum = 0;

	for (bench.round = 1; bench.round <= PASSES; bench.round++) {
		uint32_t share = 10 * bench.round + 3, last = BACKEND + 2 * (PAIRS - 1);

		next_step();
		sum = 0;
		for (uint32_t id = 1; id <= PAIRS; id++) {
			us[id - 1] = update_us(id, BACKEND + 2 * (id - 1), 2, share, 100 - share);
			sum += us[id - 1];
		}
		qsort(us, PAIRS, sizeof(*us), compare);
		report(bench.round, "weights_update_us", us[PAIRS / 2], "µs",
			"weights: a service of two backends");
		report(bench.round, "weights_update_1000_ms", sum / 1e3, "ms",
			"weights: 1,000 such services");
		report(bench.round, "weights_update_at_once_us", update_us(PAIRS, last, 2, 1, 1),
			"µs", "weights: the same service at once: after a grace period");
	}
}

static void measure_update_of_many(void)
{
	for (bench.round = 1; bench.round <= PASSES; bench.round++) {
		next_step();
		report(bench.round, "weights_update_1000_backends_us",
			update_us(2, BACKEND + 1, BACKENDS, bench.round, bench.round + 1), "µs",
			"weights: a service of 1,000 backends");
	}
}

int main(int argc, char **argv)
{
	struct weft_dp_config config = {.max_flows = TABLE, .mtu = ETH_DATA_LEN};
	struct bpf_object *o;
	uint64_t rounds, cpu;

	if (argc < 5 || argc > 6 || weft_parse_u64(argv[3], 1, 1000, &rounds) < 0 ||
		weft_parse_u64(argv[4], 0, CPU_SETSIZE - 1, &cpu) < 0)
		errx(2, "usage: test_run OBJECT BPFFS-DIR ROUNDS CPU [FIGURE]");
	bench.only = argv[5];
	pin(cpu);
	config.bpffs_dir = argv[2];
	must(weft_dp_open(&config, &bench.dp, &error));
	bench.program = bpf_program__fd(bench.dp->skel->progs.tc_instance);
	o = bpf_object__open_file(argv[1], NULL);
	if (!o)
		err(1, "%s", argv[1]);
	stimulator_load(&bench.s, o);
	bench.look = bpf_program__fd(bpf_object__find_program_by_name(o, "look"));
	add_instance(CLIENT, 0);
	add_instance(BACKEND, 1);

	set_services(SERVICES, 1);
	measure_all(services, ARRAY_SIZE(services), (unsigned)rounds);

	for (uint32_t i = 1; i <= BACKENDS; i++)
		write_instance(BACKEND + i, 2);
	set_weights(2, BACKEND + 1, BACKENDS, 1, 1);
	measure_all(backends, ARRAY_SIZE(backends), (unsigned)rounds);
	if (!bench.only) {
		measure_update_of_many();
		set_services(PAIRS, 2);
		measure_updates();
	}
	weft_dp_free(bench.dp);
	must(weft_dp_destroy(argv[2], &error));
	return 0;
}
