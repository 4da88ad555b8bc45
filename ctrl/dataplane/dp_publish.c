/* SPDX-License-Identifier: Apache-2.0 */
/* Published ports: entries in a row for each service, and the table from a port to its entry.
 *
 * An entry that packets can see never changes: a service's ports are entered anew elsewhere, turned
 * to, and the old ones taken out of sight; whoever still has a flow by one of those is found by the
 * index among the service's ports, which stays the same for those that stay. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/tc_publish.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

static uint64_t *port_place(struct weft_dp *dp, uint16_t port, uint8_t proto)
{
	return &dp->publish_ports[(size_t)port + (proto == IPPROTO_UDP ? 65536 : 0)];
}

static const char *proto_name(uint8_t proto)
{
	return proto == IPPROTO_UDP ? "udp" : "tcp";
}

static int check(struct weft_dp *dp, uint32_t service, const struct weft_dp_port *ports, unsigned n,
	struct weft_err *err)
{
	if (service == 0 || service >= WEFT_MAX_SERVICES || !dp->services[service].epoch)
		return weft_err_set(err, ENOENT, "service %u is not known", service);
	if (n > WEFT_DP_MAX_PORTS)
		return weft_err_set(err, E2BIG, "service %u: %u published ports, %u at most",
			service, n, WEFT_DP_MAX_PORTS);
	for (unsigned i = 0; i < n; i++) {
		uint64_t id;

		if (!ports[i].host || !ports[i].port ||
			(ports[i].proto != IPPROTO_TCP && ports[i].proto != IPPROTO_UDP))
			return weft_err_set(err, EINVAL,
				"service %u: port %u:%u of protocol %u cannot be published",
				service, ports[i].host, ports[i].port, ports[i].proto);
		id = *port_place(dp, ports[i].host, ports[i].proto);
		if (id && dp->published[id].service != service)
			return weft_err_set(err, EADDRINUSE,
				"service %u: port %u/%s is published for service %u", service,
				ports[i].host, proto_name(ports[i].proto),
				dp->published[id].service);
	}
	return 0;
}

/* n free entries in a row, 0: there are none. Entry 0 is nobody's. */
static uint32_t find_row(struct weft_dp *dp, unsigned n)
{
	uint32_t run = 0;

	for (uint32_t id = 1; id < WEFT_MAX_PUBLISHED; id++) {
		run = dp->published[id].service ? 0 : run + 1;
		if (run == n)
			return id + 1 - n;
	}
	return 0;
}

static bool same(struct weft_dp *dp, uint32_t service, const struct weft_dp_port *ports, unsigned n)
{
	const struct weft_bpf_service *svc = &dp->services[service];

	for (unsigned i = 0; i < n && svc->n_published == n; i++) {
		const struct weft_bpf_published *pub = &dp->published[svc->published + i];

		if (!pub->active || pub->host_port != htons(ports[i].host) ||
			pub->port != htons(ports[i].port) || pub->proto != ports[i].proto)
			return false;
	}
	return svc->n_published == n;
}

static void withdraw(struct weft_dp *dp, uint32_t service, uint32_t first, unsigned n)
{
	for (uint32_t id = first; id < first + n; id++) {
		struct weft_bpf_published *pub = &dp->published[id];
		uint64_t *place = port_place(dp, ntohs(pub->host_port), pub->proto);

		if (pub->service != service)
			continue;
		__atomic_store_n(&pub->active, 0, __ATOMIC_RELEASE);
		if (*place == id)
			__atomic_store_n(place, 0, __ATOMIC_RELEASE);
	}
}

static void enter(struct weft_dp *dp, uint32_t service, uint32_t first,
	const struct weft_dp_port *ports, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct weft_bpf_published *pub = &dp->published[first + i];

		*pub = (struct weft_bpf_published){
			.service = service,
			.host_port = htons(ports[i].host),
			.port = htons(ports[i].port),
			.proto = ports[i].proto,
			.index = (uint16_t)i,
		};
		__atomic_store_n(&pub->active, 1, __ATOMIC_RELEASE);
	}
	dp->services[service].published = (uint16_t)first;
	__atomic_store_n(&dp->services[service].n_published, (uint16_t)n, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < n; i++)
		__atomic_store_n(
			port_place(dp, ports[i].host, ports[i].proto), first + i, __ATOMIC_RELEASE);
}

int weft_dp_service_publish(struct weft_dp *dp, uint32_t service, const struct weft_dp_port *ports,
	unsigned n, struct weft_err *err)
{
	struct weft_bpf_service *svc;
	uint32_t first = 0, old;
	unsigned n_old;
	int r = check(dp, service, ports, n, err);

	if (r < 0 || same(dp, service, ports, n))
		return r;
	svc = &dp->services[service];
	old = svc->published;
	n_old = svc->n_published;
	if (n) {
		first = find_row(dp, n);
		if (!first)
			return weft_err_set(err, ENOSPC,
				"service %u: no room is left for published ports", service);
		enter(dp, service, first, ports, n);
	} else {
		__atomic_store_n(&svc->n_published, 0, __ATOMIC_RELEASE);
	}
	withdraw(dp, service, old, n_old);
	/* Before an entry has another owner, nobody may still be reading it. */
	dp_grace(dp, weft_now_ns());
	for (uint32_t id = old; n_old && id < old + n_old; id++)
		if (dp->published[id].service == service && !dp->published[id].active)
			dp->published[id].service = 0;
	return 0;
}

static struct in_addr address_of(const char *device)
{
	_cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in sa = {0};
	struct ifreq req = {0};

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", device);
	if (fd >= 0 && ioctl(fd, SIOCGIFADDR, &req) == 0)
		memcpy(&sa, &req.ifr_addr, sizeof(sa));
	return sa.sin_addr;
}

#define IF_TEMPORARY  0x01 /* IFA_F_*, of which <linux/if_addr.h> has the rest */
#define IF_DADFAILED  0x08
#define IF_DEPRECATED 0x20

/* A line of if_inet6: address, index, prefix length, scope, flags, device. */
static bool line_address6(const char *line, const char *device, struct in6_addr *ret)
{
	unsigned byte[16], scope, flags;
	char hex[33], name[32];

	if (sscanf(line, "%32s %*x %*x %x %x %31s", hex, &scope, &flags, name) != 4 ||
		strcmp(name, device) != 0 || scope != 0 ||
		flags & (IF_TEMPORARY | IF_DADFAILED | IF_DEPRECATED))
		return false;
	for (int i = 0; i < 16; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte[i]) != 1)
			return false;
		ret->s6_addr[i] = (uint8_t)byte[i];
	}
	return true;
}

static struct in6_addr address6_of(const char *device)
{
	_cleanup_(fclosep) FILE *f = fopen("/proc/thread-self/net/if_inet6", "re");
	struct in6_addr a;
	char line[160];

	while (f && fgets(line, sizeof(line), f))
		if (line_address6(line, device, &a))
			return a;
	return in6addr_any;
}

void dp_publish_at(struct weft_dp *dp, const char *device)
{
	struct in_addr addr = {device ? address_of(device).s_addr : 0};
	struct in6_addr addr6 = device ? address6_of(device) : in6addr_any;

	__atomic_store_n(&dp->publish_at->addr, addr.s_addr, __ATOMIC_RELEASE);
	for (int i = 0; i < 4; i++)
		__atomic_store_n(&dp->publish_at->addr6[i], addr6.s6_addr32[i], __ATOMIC_RELEASE);
}

static int load(struct weft_dp *dp, struct tc_publish **ret, struct weft_err *err)
{
	struct tc_publish *skel = tc_publish__open();
	int r;

	if (!skel)
		return dp_refused(err, -errno, "the program for published ports");
	DP_CONSTANTS(dp, skel->rodata);
	r = dp_prepare(dp, skel->obj);
	if (r == 0)
		r = tc_publish__load(skel);
	if (r < 0) {
		tc_publish__destroy(skel);
		return dp_refused(err, r, "loading the program for published ports");
	}
	*ret = skel;
	return 0;
}

/* Where there is none, as the kernel refused it before, nothing is lost when it does so again. */
int dp_publish_rehearse(struct weft_dp *dp, struct weft_err *err)
{
	if (!dp_attached_program(dp->dir, DP_PUBLISH_LINK, dp->uplink->ifindex))
		return 0;
	return load(dp, &dp->publish, err);
}

void dp_publish_free(struct weft_dp *dp)
{
	tc_publish__destroy(dp->publish);
	dp->publish = NULL;
}

/* The program stays loaded with its link, or its filter, alone. */
int dp_publish_attach(
	struct weft_dp *dp, uint32_t ifindex, const char *device, struct weft_err *err)
{
	struct tc_publish *skel = TAKE_PTR(dp->publish);
	int r;

	dp_publish_at(dp, device);
	r = skel ? 0 : load(dp, &skel, err);
	if (r == 0)
		r = dp_attach_program(
			dp, bpf_program__fd(skel->progs.tc_publish), DP_PUBLISH_LINK, ifindex, err);
	tc_publish__destroy(skel);
	return r;
}

void dp_publish_detach(const char *dir, uint32_t ifindex)
{
	dp_detach_program(dir, DP_PUBLISH_LINK, ifindex);
}

struct in_addr weft_dp_published_at(struct weft_dp *dp)
{
	return (struct in_addr){dp->publish_at->addr};
}

struct in6_addr weft_dp_published_at6(struct weft_dp *dp)
{
	struct in6_addr addr;

	memcpy(&addr, dp->publish_at->addr6, sizeof(addr));
	return addr;
}
