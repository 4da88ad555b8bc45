/* SPDX-License-Identifier: Apache-2.0 */
/* Real sockets over IPv6: a client, two backends and the host, in namespaces whose stacks use
 * segmentation offload and partial checksums, look for neighbours and discover paths. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/link.h"
#include "tests/lib/dp_lab.h"

#define VIP4    "10.30.0.1"
#define MAPPED  "::ffff:" VIP4
#define VIP     "fdff:2000::1"
#define SERVICE 1
#define PORT    7777
#define HOST    9 /* instance ids: backends 1 and 2, client 3, the host */
#define CLIENT  3
#define OUTSIDE "2001:db8::1" /* an address of the host that is not of the overlay */

static struct {
	struct weft_dp *dp;
	char dir[64];
	int host_ns, ns[4];
	struct weft_dp_instance instances[HOST + 1];
	uint32_t mtu;
	bool clsact;
	int tcp[3], udp[3]; /* listening, on backends 1 and 2 */
} lab;

static void enter(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

static void home(void)
{
	enter(lab.host_ns);
}

static void ns_path(uint32_t n, char *ret, size_t size)
{
	snprintf(ret, size, "%s/ns%u", lab.dir, n);
}

static struct sockaddr_in6 address(const char *text, uint16_t port)
{
	return (struct sockaddr_in6){
		.sin6_family = AF_INET6,
		.sin6_addr = lab_addr6(text),
		.sin6_port = htons(port),
	};
}

static int listener(int ns, int type)
{
	struct sockaddr_in6 any = address("::", PORT);
	int fd;

	enter(ns);
	fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (void *)&any, sizeof(any)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 128), 0);
	home();
	return fd;
}

static void set_weights(uint32_t a, uint32_t b)
{
	struct weft_dp_weight w[] = {{1, a}, {2, b}};

	lab_weights(lab.dp, SERVICE, w, 2);
}

static void open_dp(bool clsact)
{
	struct weft_dp_config config = {.bpffs_dir = LAB_PINS, .mtu = lab.mtu, .clsact = clsact};
	struct weft_err err = {0};

	lab.clsact = clsact;
	if (weft_dp_open(&config, &lab.dp, &err) < 0)
		fail_msg("%s", err.msg);
	lab_service46(lab.dp, SERVICE, VIP4, VIP);
}

static void set_instance(const struct weft_dp_instance *inst)
{
	struct weft_err err = {0};

	if (weft_dp_instance_set(lab.dp, inst, &err) < 0)
		fail_msg("%s", err.msg);
	lab.instances[inst->id] = *inst;
}

static void add_instance(uint32_t n, uint32_t service)
{
	struct weft_dp_instance inst = lab_instance(n, service);
	char path[96], name[16];
	struct weft_err err = {0};
	struct weft_link_veth veth = {
		.host_name = name,
		.netns = path,
		.peer_name = "eth0",
		.addr = inst.ns_addr,
		.prefix_len = 26,
		.gateway.s_addr = inet_addr("10.18.0.9"),
		.addr6 = inst.ns_addr6,
		.prefix6_len = n == 2 ? 128 : 120, /* both ways of being on the link */
		.mtu = 1450,
	};

	ns_path(n, path, sizeof(path));
	snprintf(name, sizeof(name), "v%u", n);
	memcpy(veth.mac, inst.mac, sizeof(veth.mac));
	if (weft_netns_add(path, &err) < 0 || weft_link_veth_add(&veth, &inst.ifindex, &err) < 0)
		fail_msg("%s", err.msg);
	set_instance(&inst);
	lab.ns[n] = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(lab.ns[n] >= 0);
}

static void add_host(void)
{
	struct weft_dp_instance inst = lab_instance(HOST, 0);
	struct weft_err err = {0};
	struct weft_link_host host = {
		.name = "weft0",
		.addr = inst.ns_addr,
		.subnet.s_addr = inet_addr("10.18.0.0"),
		.subnet_len = 26,
		.service.s_addr = inet_addr("10.30.0.0"),
		.service_len = 16,
		.addr6 = inst.ns_addr6,
		.subnet6 = inst.ns_addr6,
		.subnet6_len = 120,
		.service6 = lab_addr6("fdff::"),
		.service6_len = 16,
		.mtu = 1450,
	};

	inst.device = WEFT_DP_DEV_HOST;
	if (weft_link_host_add(&host, &inst.ifindex, inst.mac, &err) < 0)
		fail_msg("%s", err.msg);
	set_instance(&inst);
	assert_int_equal(lab_sh("ip addr add " OUTSIDE "/128 dev lo"), 0);
}

static int setup(void **state)
{
	(void)state;
	lab.host_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	snprintf(lab.dir, sizeof(lab.dir), "/tmp/weft-test-traffic6-XXXXXX");
	if (!mkdtemp(lab.dir))
		return -1;
	open_dp(false);
	add_host();
	add_instance(1, SERVICE);
	add_instance(2, SERVICE);
	add_instance(CLIENT, 0);
	for (int n = 1; n <= 2; n++) {
		lab.tcp[n] = listener(lab.ns[n], SOCK_STREAM);
		lab.udp[n] = listener(lab.ns[n], SOCK_DGRAM);
	}
	return 0;
}

static int teardown(void **state)
{
	char path[96];

	(void)state;
	home();
	for (uint32_t n = 1; n <= 3; n++) {
		ns_path(n, path, sizeof(path));
		weft_netns_del(path);
		close(lab.ns[n]);
	}
	for (int n = 1; n <= 2; n++) {
		close(lab.tcp[n]);
		close(lab.udp[n]);
	}
	rmdir(lab.dir);
	close(lab.host_ns);
	weft_dp_free(lab.dp);
	return weft_dp_destroy(LAB_PINS, NULL);
}

/* --- connections --- */

static int dial_type(int ns, const char *to, uint16_t port, int type)
{
	struct sockaddr_in6 peer = address(to, port);
	struct timeval patience = {.tv_sec = 10};
	int fd;

	enter(ns);
	fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
	home();
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (void *)&peer, sizeof(peer)) < 0)
		fail_msg("connect to %s: %s", to, strerror(errno));
	return fd;
}

static int dial(int ns, const char *to)
{
	return dial_type(ns, to, PORT, SOCK_STREAM);
}

/* Accept on the backend that was chosen, and say which that is and who it thinks calls. */
static int take(int *ret_backend, char peer[INET6_ADDRSTRLEN])
{
	struct pollfd fds[2] = {{lab.tcp[1], POLLIN, 0}, {lab.tcp[2], POLLIN, 0}};
	struct sockaddr_in6 from;
	socklen_t size = sizeof(from);
	int backend, fd;

	assert_int_equal(poll(fds, 2, 10000), 1);
	backend = fds[0].revents ? 1 : 2;
	fd = accept4(lab.tcp[backend], (void *)&from, &size, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	if (peer)
		inet_ntop(AF_INET6, &from.sin6_addr, peer, INET6_ADDRSTRLEN);
	*ret_backend = backend;
	return fd;
}

static void talk(int a, int b)
{
	char word[8] = {0};

	assert_int_equal(send(a, "hello", 5, MSG_NOSIGNAL), 5);
	assert_int_equal(recv(b, word, sizeof(word), 0), 5);
	assert_string_equal(word, "hello");
	assert_int_equal(send(b, "again", 5, MSG_NOSIGNAL), 5);
	assert_int_equal(recv(a, word, sizeof(word), 0), 5);
	assert_string_equal(word, "again");
}

static void await_live(uint32_t id, uint32_t want)
{
	uint64_t deadline = weft_now_ns() + 10000000000ULL;

	while (lab_live(lab.dp, id) != want) {
		if (weft_now_ns() > deadline)
			fail_msg("%u flows of instance %u, not %u", lab_live(lab.dp, id), id, want);
		poll(NULL, 0, 5);
	}
}

/* Checksum errors that the stack of ns has met, of all protocols. */
static unsigned long long csum_errors(int ns)
{
	unsigned long long sum = 0, n;
	char line[256], name[64];
	FILE *f;

	enter(ns);
	f = fopen("/proc/thread-self/net/snmp6", "re");
	home();
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %llu", name, &n) == 2 && strstr(name, "InCsumErrors"))
			sum += n;
	fclose(f);
	return sum;
}

static unsigned long long all_csum_errors(void)
{
	unsigned long long sum = csum_errors(lab.host_ns);

	for (int n = 1; n <= CLIENT; n++)
		sum += csum_errors(lab.ns[n]);
	return sum;
}

static void checksum_offload(int ns, const char *device, uint32_t on)
{
	struct ethtool_value value = {.cmd = ETHTOOL_STXCSUM, .data = on};
	struct ifreq ifr = {.ifr_data = (void *)&value};
	int fd;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", device);
	enter(ns);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	home();
	assert_int_equal(ioctl(fd, SIOCETHTOOL, &ifr), 0);
	close(fd);
}

/* --- tests --- */

static void service_by_tcp(void **state)
{
	int served[3] = {0}, backend;
	char peer[INET6_ADDRSTRLEN];

	(void)state;
	set_weights(3, 1);
	for (int i = 0; i < 12; i++) {
		int a = dial(lab.ns[CLIENT], VIP), b = take(&backend, peer);

		assert_string_equal(peer, "fdff::1:3");
		talk(a, b);
		served[backend]++;
		close(a);
		close(b);
	}
	assert_int_equal(served[1], 9);
	assert_int_equal(served[2], 3);
	await_live(1, 0);
	await_live(2, 0);
}

/* From an instance and from the host: neighbours are found, echoes come back, in fragments too. */
static void everybody_answers_pings(void **state)
{
	static const char *const to[] = {"fc00::1", "fc00::2", "fdff::1:1", "fdff::1:2", VIP};
	const int from[] = {lab.ns[CLIENT], lab.host_ns, lab.ns[2]};

	(void)state;
	set_weights(1, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(from); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(to); k++) {
			int r;

			enter(from[i]);
			r = lab_sh("ping -6 -c1 -W5 %s >/dev/null", to[k]);
			if (r == 0)
				r = lab_sh("ping -6 -c1 -W5 -s 4000 %s >/dev/null", to[k]);
			/* The overlay is one hop. */
			if (r == 0)
				r = lab_sh("ping -6 -c1 -W5 -t 1 %s >/dev/null", to[k]);
			home();
			if (r != 0)
				fail_msg("no answer of %s to %u", to[k], i);
		}
	}
	enter(lab.ns[2]); /* whose link has nobody else on it */
	assert_int_equal(lab_sh("ping -6 -c1 -W5 fc00::9 >/dev/null"), 0);
	assert_int_equal(
		lab_sh("ip -6 neigh show fe80::1 | grep -q '02:77:65:66:74:01 router'"), 0);
	home();
}

static void host_calls_the_service(void **state)
{
	char peer[INET6_ADDRSTRLEN];
	int a, b, backend;

	(void)state;
	set_weights(1, 0);
	a = dial(lab.host_ns, VIP);
	b = take(&backend, peer);
	assert_string_equal(peer, "fdff::1:9");
	talk(a, b);
	close(a);
	close(b);
	a = dial(lab.host_ns, "fc00::2"); /* as a readiness probe does */
	b = take(&backend, peer);
	assert_int_equal(backend, 2);
	assert_string_equal(peer, "fc00::9");
	talk(a, b);
	close(a);
	close(b);
}

/* From an instance to the host's own addresses and back, with a source from outside the overlay. */
static void instance_reaches_the_host_stack(void **state)
{
	struct sockaddr_in6 any = address(OUTSIDE, PORT);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), a, b;

	(void)state;
	assert_int_equal(bind(fd, (void *)&any, sizeof(any)), 0);
	assert_int_equal(listen(fd, 8), 0);
	a = dial(lab.ns[CLIENT], OUTSIDE);
	b = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(b >= 0);
	talk(a, b);
	close(a);
	close(b);
	close(fd);
}

static void hairpin(void **state)
{
	char peer[INET6_ADDRSTRLEN];
	int a, b, backend;

	(void)state;
	set_weights(1, 0);
	a = dial(lab.ns[1], VIP);
	b = take(&backend, peer);
	assert_int_equal(backend, 1);
	assert_string_equal(peer, "fdff::1:1");
	talk(a, b);
	close(a);
	close(b);
}

static void datagrams(void **state)
{
	static const size_t sizes[] = {1, 100, 1402, 1403, 4000, 30000, 65000, 65527};
	static char sent[65536], got[65536];
	int a;

	(void)state;
	set_weights(1, 1);
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)(i * 31 + (i >> 8));
	a = dial_type(lab.ns[CLIENT], VIP, PORT, SOCK_DGRAM);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct pollfd fds[2] = {{lab.udp[1], POLLIN, 0}, {lab.udp[2], POLLIN, 0}};
		struct sockaddr_in6 from;
		socklen_t size = sizeof(from);
		int b;

		assert_int_equal(send(a, sent, sizes[i], 0), sizes[i]);
		assert_int_equal(poll(fds, 2, 10000), 1);
		b = fds[0].revents ? lab.udp[1] : lab.udp[2];
		assert_int_equal(recvfrom(b, got, sizeof(got), 0, (void *)&from, &size), sizes[i]);
		assert_memory_equal(sent, got, sizes[i]);
		assert_int_equal(sendto(b, got, sizes[i], 0, (void *)&from, size), sizes[i]);
		memset(got, 0, sizes[i]);
		/* A connected socket: it takes answers of the service's address alone. */
		assert_int_equal(recv(a, got, sizeof(got), 0), sizes[i]);
		assert_memory_equal(sent, got, sizes[i]);
	}
	close(a);
}

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 2654435761U >> 13);
}

/* size bytes from a to b, both polled by this one thread. */
static void bulk(int a, int b, size_t size)
{
	static uint8_t out[1 << 17], in[1 << 17];
	size_t sent = 0, got = 0;

	while (got < size) {
		struct pollfd fds[2] = {{a, sent < size ? POLLOUT : 0, 0}, {b, POLLIN, 0}};

		assert_true(poll(fds, 2, 10000) > 0);
		if (fds[0].revents) {
			size_t n = size - sent < sizeof(out) ? size - sent : sizeof(out);
			ssize_t r;

			for (size_t i = 0; i < n; i++)
				out[i] = pattern(sent + i);
			r = send(a, out, n, MSG_NOSIGNAL | MSG_DONTWAIT);
			assert_true(r > 0 || errno == EAGAIN);
			sent += r > 0 ? (size_t)r : 0;
		}
		if (fds[1].revents) {
			ssize_t r = recv(b, in, sizeof(in), MSG_DONTWAIT);

			assert_true(r > 0 || (r < 0 && errno == EAGAIN));
			for (ssize_t i = 0; i < r; i++)
				if (in[i] != pattern(got + (size_t)i))
					fail_msg("wrong byte at %zu", got + (size_t)i);
			got += r > 0 ? (size_t)r : 0;
		}
	}
}

#define BULK (24UL << 20)

static void bulk_with_offload(void **state)
{
	unsigned long long errors = all_csum_errors();
	struct weft_dp_counters before, after;
	int a, b, backend;

	(void)state;
	set_weights(0, 1);
	weft_dp_instance_counters(lab.dp, 2, &before);
	a = dial(lab.ns[CLIENT], VIP);
	b = take(&backend, NULL);
	bulk(a, b, BULK);
	bulk(b, a, BULK);
	weft_dp_instance_counters(lab.dp, 2, &after);
	assert_true(after.bytes - before.bytes > BULK);
	assert_true(after.rx_bytes - before.rx_bytes > BULK);
	/* Segments are counted, not the super-packets that they travelled in. */
	assert_true(after.packets - before.packets >= BULK / 1450);
	close(a);
	close(b);
	/* A device that completes checksums itself finds them right too. */
	for (int n = 2; n <= CLIENT; n++)
		checksum_offload(lab.ns[n], "eth0", 0);
	a = dial(lab.ns[CLIENT], VIP);
	b = take(&backend, NULL);
	bulk(a, b, 1 << 20);
	bulk(b, a, 1 << 20);
	close(a);
	close(b);
	for (int n = 2; n <= CLIENT; n++)
		checksum_offload(lab.ns[n], "eth0", 1);
	assert_int_equal(all_csum_errors(), errors);
}

/* New connections move, old ones stay until they end. */
static void shift(void **state)
{
	uint32_t datagram_flows = lab_live(lab.dp, 1);
	int a, b, backend;

	(void)state;
	set_weights(1, 0);
	a = dial(lab.ns[CLIENT], VIP);
	b = take(&backend, NULL);
	assert_int_equal(backend, 1);
	for (uint32_t step = 0; step <= 10; step += 5) {
		int served[3] = {0};

		set_weights(10 - step, step);
		for (int i = 0; i < 10; i++) {
			int c = dial(lab.ns[CLIENT], VIP), d = take(&backend, NULL);

			talk(c, d);
			served[backend]++;
			close(c);
			close(d);
			talk(a, b);
		}
		assert_int_equal(served[2], step);
	}
	await_live(1, datagram_flows + 1);
	close(a);
	close(b);
	await_live(1, datagram_flows);
}

/* At the end of its patience a drain purges: both ends learn it at once, and reconnect. */
static void purge_resets(void **state)
{
	static const char big[60000];
	int a, b, backend;
	char c;

	(void)state;
	for (uint32_t offload = 0; offload < 2; offload++) {
		for (int n = 1; n <= CLIENT; n++)
			checksum_offload(lab.ns[n], "eth0", offload);
		set_weights(1, 0);
		a = dial(lab.ns[CLIENT], VIP);
		b = take(&backend, NULL);
		talk(a, b);
		set_weights(0, 1);
		assert_int_equal(weft_dp_flows_purge(lab.dp, 1), 0);
		assert_int_equal(send(a, "x", 1, MSG_NOSIGNAL), 1);
		assert_int_equal(recv(a, &c, 1, 0), -1);
		assert_int_equal(errno, ECONNRESET);
		assert_int_equal(send(b, "x", 1, MSG_NOSIGNAL), 1);
		assert_int_equal(recv(b, &c, 1, 0), -1);
		assert_int_equal(errno, ECONNRESET);
		close(a);
		close(b);
		a = dial(lab.ns[CLIENT], VIP);
		b = take(&backend, NULL);
		assert_int_equal(backend, 2);
		assert_int_equal(weft_dp_flows_purge(lab.dp, 2), 0);
		assert_true(send(a, big, sizeof(big), MSG_NOSIGNAL) > 0);
		assert_int_equal(recv(a, &c, 1, 0), -1);
		assert_int_equal(errno, ECONNRESET);
		close(a);
		close(b);
	}
}

/* --- ICMPv6 --- */

static int error_of(int fd)
{
	struct pollfd p = {fd, 0, 0};
	socklen_t size = sizeof(int);
	int error = 0;

	if (poll(&p, 1, 10000) == 1)
		assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
	return error;
}

static int path_mtu(int fd)
{
	socklen_t size = sizeof(int);
	int mtu = 0;

	assert_int_equal(getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &size), 0);
	return mtu;
}

static void refuses(int ns, const char *to, uint16_t port, int want)
{
	int fd = dial_type(ns, to, port, SOCK_DGRAM), one = 1;

	/* The overlay is one hop: so traceroute shows the service's address as the first. */
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &one, sizeof(one)), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &one, sizeof(one)), 0);
	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_int_equal(error_of(fd), want);
	close(fd);
}

/* By the stack of a backend, and by that of the host as a caller. */
static void closed_port_refuses(void **state)
{
	const int from[] = {lab.ns[CLIENT], lab.host_ns, lab.ns[1]};

	(void)state;
	set_weights(1, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(from); i++)
		refuses(from[i], VIP, PORT + 1, ECONNREFUSED);
}

/* The client's socket is gone when the answer comes: the backend learns that. */
static void closed_client_refuses(void **state)
{
	struct sockaddr_in6 from;
	socklen_t size = sizeof(from);
	struct pollfd p = {lab.udp[1], POLLIN, 0};
	char c;
	int a, b;

	(void)state;
	set_weights(1, 0);
	a = dial_type(lab.ns[CLIENT], VIP, PORT, SOCK_DGRAM);
	assert_int_equal(send(a, "x", 1, 0), 1);
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(recvfrom(lab.udp[1], &c, 1, 0, (void *)&from, &size), 1);
	close(a);
	b = lab.udp[1];
	assert_int_equal(connect(b, (void *)&from, sizeof(from)), 0);
	assert_int_equal(send(b, "y", 1, 0), 1);
	assert_int_equal(error_of(b), ECONNREFUSED);
	from.sin6_family = AF_UNSPEC;
	assert_int_equal(connect(b, (void *)&from, sizeof(from)), 0);
}

/* The overlay's own errors: about checksums that are whole, begun, and begun but completed on the
 * way back by a device that leaves none undone. */
static void no_backend_refuses(void **state)
{
	unsigned long long errors = all_csum_errors();

	(void)state;
	set_weights(0, 0);
	refuses(lab.ns[CLIENT], VIP, PORT + 2, ECONNREFUSED);
	checksum_offload(lab.ns[CLIENT], "eth0", 0);
	refuses(lab.ns[CLIENT], VIP, PORT + 2, ECONNREFUSED);
	checksum_offload(lab.ns[CLIENT], "eth0", 1);
	checksum_offload(lab.host_ns, "v3", 0);
	refuses(lab.ns[CLIENT], VIP, PORT + 2, ECONNREFUSED);
	refuses(lab.ns[CLIENT], MAPPED, PORT + 2, ECONNREFUSED);
	checksum_offload(lab.host_ns, "v3", 1);
	refuses(lab.ns[CLIENT], "fdff:7777::1", PORT, EHOSTUNREACH);
	assert_int_equal(all_csum_errors(), errors);
	set_weights(1, 1);
}

static void forget_paths(void)
{
	for (int n = 1; n <= CLIENT; n++) {
		enter(lab.ns[n]);
		assert_int_equal(lab_sh("ip -6 route flush cache"), 0);
		home();
	}
}

/* An overlay narrower than its devices: datagrams learn of it, TCP keeps to it by itself, and when
 * the path becomes narrower during a connection. */
static void path_mtu_is_discovered(void **state)
{
	static const char big[1402];
	int fd, a, b, backend, mss, mode = IPV6_PMTUDISC_DO;
	socklen_t size = sizeof(mss);

	(void)state;
	set_weights(0, 1);
	forget_paths();
	a = dial(lab.ns[CLIENT], VIP);
	b = take(&backend, NULL);
	assert_int_equal(path_mtu(a), 1450);
	weft_dp_free(lab.dp);
	lab.mtu = 1300;
	open_dp(lab.clsact);
	/* Opened before: it hears of the new limit by ICMP. */
	bulk(a, b, 4 << 20);
	bulk(b, a, 4 << 20);
	assert_int_equal(path_mtu(a), 1300);
	assert_int_equal(path_mtu(b), 1300);
	close(a);
	close(b);
	forget_paths();

	a = dial(lab.ns[CLIENT], VIP);
	b = take(&backend, NULL);
	assert_int_equal(getsockopt(b, IPPROTO_TCP, TCP_MAXSEG, &mss, &size), 0);
	assert_in_range(mss, 1180, 1240);
	assert_int_equal(getsockopt(a, IPPROTO_TCP, TCP_MAXSEG, &mss, &size), 0);
	assert_in_range(mss, 1180, 1240);
	bulk(a, b, 4 << 20);
	bulk(b, a, 4 << 20);
	assert_int_equal(path_mtu(a), 1450); /* nothing was ever too big */
	close(a);
	close(b);

	fd = dial_type(lab.ns[CLIENT], VIP, PORT, SOCK_DGRAM);
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &mode, sizeof(mode)), 0);
	assert_int_equal(send(fd, big, sizeof(big), 0), sizeof(big));
	assert_int_equal(error_of(fd), EMSGSIZE);
	assert_int_equal(path_mtu(fd), 1300);
	assert_int_equal(send(fd, big, 1252, 0), 1252);
	assert_int_equal(recv(lab.udp[2], &(char[2000]){0}, 2000, 0), 1252);
	close(fd);
	weft_dp_free(lab.dp);
	lab.mtu = 0;
	open_dp(lab.clsact);
	forget_paths();
}

static void nothing_was_lost(void **state)
{
	uint64_t drops[WEFT_DROP_COUNT];
	struct weft_dp_events events;

	(void)state;
	assert_int_equal(weft_dp_drops(lab.dp, drops), 0);
	for (unsigned i = 0; i < WEFT_DROP_COUNT; i++)
		if (drops[i] && i != WEFT_DROP_NO_FLOW && i != WEFT_DROP_MULTICAST &&
			i != WEFT_DROP_NO_BACKEND && i != WEFT_DROP_UNKNOWN_ADDR &&
			i != WEFT_DROP_TOO_BIG && i != WEFT_DROP_ND_IGNORED &&
			i != WEFT_DROP_UNKNOWN_DEVICE) /* reports while it was being set */
			fail_msg("%llu packets dropped as %s", (unsigned long long)drops[i],
				weft_dp_drop_name(i));
	weft_dp_events(lab.dp, &events);
	assert_int_equal(events.displaced, 0);
}

/* All of it again on kernels without tcx. */
static void attached_by_clsact(void **state)
{
	weft_dp_free(lab.dp);
	lab.dp = NULL;
	assert_int_equal(weft_dp_destroy(LAB_PINS, NULL), 0);
	open_dp(true);
	set_instance(&lab.instances[HOST]);
	for (uint32_t n = 1; n <= CLIENT; n++)
		set_instance(&lab.instances[n]);
	service_by_tcp(state);
	everybody_answers_pings(state);
	host_calls_the_service(state);
	instance_reaches_the_host_stack(state);
	hairpin(state);
	datagrams(state);
	bulk_with_offload(state);
	purge_resets(state);
	closed_port_refuses(state);
	no_backend_refuses(state);
	path_mtu_is_discovered(state);
	nothing_was_lost(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(service_by_tcp),
		cmocka_unit_test(everybody_answers_pings),
		cmocka_unit_test(host_calls_the_service),
		cmocka_unit_test(instance_reaches_the_host_stack),
		cmocka_unit_test(hairpin),
		cmocka_unit_test(datagrams),
		cmocka_unit_test(bulk_with_offload),
		cmocka_unit_test(shift),
		cmocka_unit_test(purge_resets),
		cmocka_unit_test(closed_port_refuses),
		cmocka_unit_test(closed_client_refuses),
		cmocka_unit_test(no_backend_refuses),
		cmocka_unit_test(path_mtu_is_discovered),
		cmocka_unit_test(nothing_was_lost),
		cmocka_unit_test(attached_by_clsact),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("traffic6", tests, setup, teardown);
}
