/* SPDX-License-Identifier: Apache-2.0 */
/* Peers: their addresses, and the way there as the host's routes have it now. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/ip6.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/link.h"

#define INNER_MIN  576
#define LOWERED_NS 600000000000ULL /* RFC 1191: then it may be worth trying more again */

_Static_assert((int)WEFT_FORMAT_RAW == (int)WEFT_DP_RAW, "one enum");
_Static_assert((int)WEFT_FORMAT_VXLAN == (int)WEFT_DP_VXLAN, "one enum");
_Static_assert(WEFT_MAX_PEERS == WEFT_DP_MAX_PEERS, "one limit");
_Static_assert(WEFT_TUNNEL_PORT == WEFT_DP_TUNNEL_PORT, "one default");

enum problem {
	WAY, /* there is a way */
	NO_UPLINK,
	NO_ROUTE,  /* code says why */
	OTHER_WAY, /* code is the device's index */
	SELF,
	MTU,
};

struct dp_peer {
	enum problem problem;
	int code;
	uint32_t mtu;  /* that the way allows, before ICMP lowered it */
	uint32_t most; /* that was set by hand, 0: no limit */
};

struct way {
	struct in6_addr local;
	uint32_t mtu; /* of the underlay */
};

static const char *const names[WEFT_DP_FORMATS] = {
	[WEFT_DP_RAW] = "raw",
	[WEFT_DP_VXLAN] = "vxlan",
};

const char *weft_dp_format_name(enum weft_dp_format format)
{
	return format < WEFT_DP_FORMATS ? names[format] : NULL;
}

int weft_dp_format_parse(const char *name)
{
	for (int i = 0; i < WEFT_DP_FORMATS; i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	return -EINVAL;
}

static struct in6_addr addr_of(const struct weft_bpf_peer *p)
{
	struct in6_addr addr;

	memcpy(&addr, p->addr, sizeof(addr));
	return addr;
}

bool dp_peer_known(struct weft_dp *dp, uint32_t id)
{
	return id > 0 && id < WEFT_MAX_PEERS && dp->peers[id].family;
}

static struct dp_peer *peer_note(struct weft_dp *dp, uint32_t id)
{
	static struct dp_peer nobody;

	if (!dp->peer_notes)
		dp->peer_notes = calloc(WEFT_MAX_PEERS, sizeof(*dp->peer_notes));
	return dp->peer_notes ? &dp->peer_notes[id] : &nobody;
}

/* --- the way there --- */

static uint64_t coarse_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* The kernel's own answer: which address would a socket send from, and how much at once? */
static int ask_route4(int fd, const struct in6_addr *addr, struct way *ret)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(WEFT_TUNNEL_PORT)};
	socklen_t size = sizeof(sa), n = sizeof(int);
	int mtu = 0;

	memcpy(&sa.sin_addr, &addr->s6_addr[12], sizeof(sa.sin_addr));
	if (connect(fd, (void *)&sa, sizeof(sa)) < 0 || getsockname(fd, (void *)&sa, &size) < 0 ||
		getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &n) < 0)
		return -errno;
	memset(&ret->local, 0, 10);
	memset(&ret->local.s6_addr[10], 0xff, 2);
	memcpy(&ret->local.s6_addr[12], &sa.sin_addr, sizeof(sa.sin_addr));
	ret->mtu = (uint32_t)mtu;
	return 0;
}

static int ask_route6(int fd, const struct in6_addr *addr, struct way *ret)
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_port = htons(WEFT_TUNNEL_PORT)};
	socklen_t size = sizeof(sa), n = sizeof(int);
	int mtu = 0;

	sa.sin6_addr = *addr;
	if (connect(fd, (void *)&sa, sizeof(sa)) < 0 || getsockname(fd, (void *)&sa, &size) < 0 ||
		getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &n) < 0)
		return -errno;
	ret->local = sa.sin6_addr;
	ret->mtu = (uint32_t)mtu;
	return 0;
}

static int ask_route(const struct in6_addr *addr, struct way *ret)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED(addr);
	_cleanup_(closep) int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	return v4 ? ask_route4(fd, addr, ret) : ask_route6(fd, addr, ret);
}

static enum problem find_way(struct weft_dp *dp, const struct weft_bpf_peer *p, uint32_t most,
	struct way *ret, int *ret_code)
{
	uint32_t ifindex = 0, mtu = 0, out = 0;
	struct in6_addr addr = addr_of(p);

	if (!dp_uplink_device(dp, &ifindex, &mtu))
		return NO_UPLINK;
	*ret_code = ask_route(&addr, ret);
	if (*ret_code < 0)
		return NO_ROUTE;
	if (memcmp(&ret->local, &addr, sizeof(addr)) == 0)
		return SELF;
	*ret_code = weft_link_route(&addr, &out);
	if (*ret_code < 0)
		return NO_ROUTE;
	if (out != ifindex) {
		*ret_code = (int)out;
		return OTHER_WAY;
	}
	if (ret->mtu > mtu)
		ret->mtu = mtu;
	if (ret->mtu > UINT16_MAX)
		ret->mtu = UINT16_MAX;
	if (most && ret->mtu > most)
		ret->mtu = most;
	if (ret->mtu < INNER_MIN + weft_tunnel_overhead(p->format, p->family))
		return MTU;
	return WAY;
}

void dp_peer_refresh(struct weft_dp *dp, uint32_t id)
{
	struct weft_bpf_peer *p = &dp->peers[id];
	struct dp_peer *note = peer_note(dp, id);
	uint32_t ifindex = 0, mtu = 0, inner;
	struct way way = {0};

	note->code = 0;
	note->problem = find_way(dp, p, note->most, &way, &note->code);
	if (note->problem != WAY) {
		__atomic_store_n(&p->active, 0, __ATOMIC_RELEASE);
		return;
	}
	dp_uplink_device(dp, &ifindex, &mtu);
	inner = way.mtu - weft_tunnel_overhead(p->format, p->family);
	if (p->lowered_ns && p->mtu < inner && coarse_ns() - p->lowered_ns < LOWERED_NS)
		inner = p->mtu;
	else
		p->lowered_ns = 0;
	note->mtu = inner;
	__atomic_store_n(&p->mtu, inner, __ATOMIC_RELAXED);
	if (p->active && p->ifindex == ifindex &&
		memcmp(p->local, &way.local, sizeof(p->local)) == 0)
		return;
	__atomic_store_n(&p->active, 0, __ATOMIC_RELEASE);
	p->ifindex = ifindex;
	memcpy(p->local, &way.local, sizeof(p->local));
	__atomic_store_n(&p->active, 1, __ATOMIC_RELEASE);
}

void dp_peers_refresh(struct weft_dp *dp, uint32_t most)
{
	for (uint32_t i = 1; i < WEFT_MAX_PEERS && most > 0; i++) {
		uint32_t id = 1 + (dp->peer_next + i) % (WEFT_MAX_PEERS - 1);

		if (!dp_peer_known(dp, id))
			continue;
		dp_peer_refresh(dp, id);
		dp->peer_next = id - 1;
		most--;
	}
}

/* --- by address --- */

static uint64_t *place_of(struct weft_dp *dp, const struct in6_addr *addr, uint32_t i)
{
	__be32 words[4];

	memcpy(words, addr, sizeof(words));
	return &dp->peers_by_addr[(weft_peer_hash(words) + i) % WEFT_PEER_SLOTS];
}

/* The peer of that address, 0. */
static uint32_t find(struct weft_dp *dp, const struct in6_addr *addr)
{
	for (uint32_t i = 0; i < WEFT_PEER_PROBES; i++) {
		uint32_t id = (uint32_t)*place_of(dp, addr, i);

		if (dp_peer_known(dp, id) && memcmp(dp->peers[id].addr, addr, sizeof(*addr)) == 0)
			return id;
	}
	return 0;
}

static int enter(struct weft_dp *dp, const struct in6_addr *addr, uint32_t id)
{
	for (uint32_t i = 0; i < WEFT_PEER_PROBES; i++) {
		uint64_t *place = place_of(dp, addr, i);

		if (*place && *place != id && dp_peer_known(dp, (uint32_t)*place))
			continue;
		__atomic_store_n(place, id, __ATOMIC_RELEASE);
		return 0;
	}
	return -ENOSPC;
}

static void forget(struct weft_dp *dp, const struct in6_addr *addr, uint32_t id)
{
	for (uint32_t i = 0; i < WEFT_PEER_PROBES; i++)
		if (*place_of(dp, addr, i) == id)
			__atomic_store_n(place_of(dp, addr, i), 0, __ATOMIC_RELEASE);
}

/* --- set and remove --- */

static const char *text(const struct in6_addr *addr, char buf[INET6_ADDRSTRLEN])
{
	if (IN6_IS_ADDR_V4MAPPED(addr))
		return inet_ntop(AF_INET, &addr->s6_addr[12], buf, INET6_ADDRSTRLEN);
	return inet_ntop(AF_INET6, addr, buf, INET6_ADDRSTRLEN);
}

static int check(struct weft_dp *dp, const struct weft_dp_peer *peer, struct weft_err *err)
{
	const struct in6_addr *a = &peer->addr;
	char buf[INET6_ADDRSTRLEN];
	uint32_t holder;

	if (peer->id == 0 || peer->id >= WEFT_MAX_PEERS)
		return weft_err_set(
			err, EINVAL, "peer id %u is not in 1..%u", peer->id, WEFT_MAX_PEERS - 1);
	if (peer->format >= WEFT_DP_FORMATS)
		return weft_err_set(err, EINVAL, "peer %u: no such format", peer->id);
	if (IN6_IS_ADDR_UNSPECIFIED(a) || IN6_IS_ADDR_MULTICAST(a) || IN6_IS_ADDR_LOOPBACK(a) ||
		(IN6_IS_ADDR_V4MAPPED(a) &&
			(a->s6_addr[12] == 0 || a->s6_addr[12] == 127 || a->s6_addr[12] >= 224)))
		return weft_err_set(
			err, EINVAL, "peer %u: %s is no node's address", peer->id, text(a, buf));
	if (IN6_IS_ADDR_LINKLOCAL(a))
		return weft_err_set(err, EINVAL,
			"peer %u: %s is of one link alone: give it a global or a private one",
			peer->id, text(a, buf));
	holder = find(dp, a);
	if (holder && holder != peer->id)
		return weft_err_set(err, EEXIST, "peer %u: address %s is peer %u's", peer->id,
			text(a, buf), holder);
	return 0;
}

static bool same(const struct weft_bpf_peer *p, const struct weft_dp_peer *peer, __be16 port)
{
	return p->family && memcmp(p->addr, &peer->addr, sizeof(p->addr)) == 0 && p->port == port &&
	       p->format == peer->format;
}

int weft_dp_peer_set(struct weft_dp *dp, const struct weft_dp_peer *peer, struct weft_err *err)
{
	struct weft_bpf_peer *p;
	uint16_t port;
	int r = check(dp, peer, err);

	if (r < 0)
		return r;
	port = peer->port ? peer->port
			  : (uint16_t)(dp_uplink_port(dp) + (peer->format == WEFT_DP_VXLAN));
	p = &dp->peers[peer->id];
	if (!same(p, peer, htons(port))) {
		struct in6_addr old = addr_of(p);

		__atomic_store_n(&p->active, 0, __ATOMIC_RELEASE);
		if (p->family && memcmp(&old, &peer->addr, sizeof(old)) != 0)
			forget(dp, &old, peer->id);
		memcpy(p->addr, &peer->addr, sizeof(p->addr));
		p->port = htons(port);
		p->format = (uint8_t)peer->format;
		p->lowered_ns = 0;
		p->family = IN6_IS_ADDR_V4MAPPED(&peer->addr) ? 4 : 6;
	}
	peer_note(dp, peer->id)->most = peer->mtu;
	r = enter(dp, &peer->addr, peer->id);
	if (r < 0) {
		weft_dp_peer_remove(dp, peer->id);
		return weft_err_set(
			err, r, "peer %u: too many peers have an address like it", peer->id);
	}
	dp_peer_refresh(dp, peer->id);
	return 0;
}

static void reset_counters(struct weft_dp *dp, uint32_t id)
{
	int fd = bpf_map__fd(dp->skel->maps.peer_stats), cpus = libbpf_num_possible_cpus();
	_cleanup_(freep) struct weft_peer_counters *zero = NULL;

	if (cpus > 0)
		zero = calloc((size_t)cpus, sizeof(*zero));
	if (zero)
		bpf_map_update_elem(fd, &id, zero, BPF_ANY);
}

int weft_dp_peer_remove(struct weft_dp *dp, uint32_t id)
{
	struct in6_addr addr;

	if (id == 0 || id >= WEFT_MAX_PEERS)
		return -EINVAL;
	if (!dp_peer_known(dp, id))
		return 0;
	addr = addr_of(&dp->peers[id]);
	__atomic_store_n(&dp->peers[id].active, 0, __ATOMIC_RELEASE);
	forget(dp, &addr, id);
	for (uint32_t i = 1; i < WEFT_MAX_INSTANCES; i++)
		if (dp->instances[i].active && dp->instances[i].peer == id)
			weft_dp_instance_remove(dp, i);
	memset(&dp->peers[id], 0, sizeof(dp->peers[id]));
	reset_counters(dp, id);
	return 0;
}

/* --- status --- */

static void say_problem(struct weft_dp *dp, uint32_t id, char *ret, size_t size)
{
	const struct dp_peer *note = peer_note(dp, id);
	char other[IF_NAMESIZE];

	switch (note->problem) {
	case WAY:
		ret[0] = '\0';
		break;
	case NO_UPLINK:
		snprintf(ret, size, dp->up ? "uplink %s does not work" : "there is no uplink%s",
			dp_uplink_wanted(dp));
		break;
	case NO_ROUTE:
		snprintf(ret, size, "no route: %s", strerror(-note->code));
		break;
	case OTHER_WAY:
		if (!if_indextoname((unsigned)note->code, other))
			snprintf(other, sizeof(other), "device %d", note->code);
		snprintf(ret, size, "its route leaves by %s and not by the uplink", other);
		break;
	case SELF:
		snprintf(ret, size, "it is this node's own address");
		break;
	case MTU:
		snprintf(ret, size, "the MTU of the way there is too small for a tunnel");
		break;
	}
}

int weft_dp_peer_status(struct weft_dp *dp, uint32_t id, struct weft_dp_peer_status *ret)
{
	union {
		struct weft_peer_counters c;
		uint64_t words[sizeof(struct weft_peer_counters) / sizeof(uint64_t)];
	} total;
	int r;

	if (!dp_peer_known(dp, id))
		return -ENOENT;
	r = dp_stats_sum(dp->skel->maps.peer_stats, id, total.words, ARRAY_SIZE(total.words));
	if (r < 0)
		return r;
	*ret = (struct weft_dp_peer_status){
		.mtu = dp->peers[id].active ? dp->peers[id].mtu : 0,
		.packets = total.c.packets,
		.bytes = total.c.bytes,
		.rx_packets = total.c.rx_packets,
		.rx_bytes = total.c.rx_bytes,
		.drops = total.c.drops,
	};
	if (dp->peers[id].active)
		memcpy(&ret->local, dp->peers[id].local, sizeof(ret->local));
	say_problem(dp, id, ret->problem, sizeof(ret->problem));
	return 0;
}
