/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/tc_instance.skel.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"
#include "ctrl/dataplane/waiting.h"

#define UNKNOWN_NS  1000000000ULL /* for somebody who may be about to have the address */
#define STARTING_NS 5000000000ULL /* for a service that is starting */
#define VAIN_NS     10000000000ULL
#define TAKE_MAX    256 /* in one run */
#define FLOW_BYTES  8   /* of a transport header, that tell a packet from another flow's */

struct packet {
	struct packet *next;
	uint64_t since_ns;
	struct weft_waiting_head head;
	uint8_t frame[];
};

struct weft_dp_waiting {
	struct weft_dp *dp;
	struct weft_waiting_room *room; /* a view of the map */
	struct ring_buffer *ring;
	int fd; /* sends frames */
	char device[IFNAMSIZ];
	struct packet *packets;
	unsigned n, taken; /* taken: in this run */
	uint64_t now_ns;
	struct weft_dp_waiting_counters counters, told; /* told: of what is in the table of drops */
};

/* --- what is where ------------------------------------------------------------------------------
 */

static size_t room_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static bool plausible(const struct weft_waiting *w)
{
	const struct weft_waiting_head *h = &w->head;

	return h->len <= sizeof(w->frame) && h->end <= h->len && h->l4 >= ETH_HLEN + 20 &&
	       h->l4 + FLOW_BYTES <= h->end && (h->family == 4 || h->family == 6);
}

static uint32_t target_of(struct weft_dp *dp, const struct weft_waiting_head *h)
{
	struct in_addr addr = {h->addr.word[3]};
	struct in6_addr addr6;
	uint32_t target = 0;

	memcpy(&addr6, &h->addr, sizeof(addr6));
	if ((h->family == 4 ? dp_target_get(dp, addr, &target)
			    : dp_target_get6(dp, &addr6, &target)) < 0)
		return 0;
	return target;
}

/* Is there a way to it now? */
static bool has_way(struct weft_dp *dp, uint32_t target)
{
	uint32_t kind = WEFT_TARGET_KIND(target), id = WEFT_TARGET_ID(target);

	if (!dp_target_held(dp, target))
		return false;
	if (kind < WEFT_TARGET_SERVICE)
		return true;
	return weft_slot_length(dp->slot_dir[weft_service_policy(id, kind - WEFT_TARGET_SERVICE)]) >
	       0;
}

static uint64_t patience(struct weft_dp *dp, uint32_t target)
{
	uint32_t id = WEFT_TARGET_ID(target);
	bool service =
		dp_target_held(dp, target) && WEFT_TARGET_KIND(target) >= WEFT_TARGET_SERVICE;

	return service && dp->services[id].flags & WEFT_SERVICE_STARTING ? STARTING_NS : UNKNOWN_NS;
}

/* --- checksums: what was only begun when the frame was taken has nobody to complete it ----------
 */

static uint64_t sum_of(uint64_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint64_t)p[i] << 8;
	return sum;
}

static uint16_t folded(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static int check_offset(const struct weft_waiting_head *h)
{
	switch (h->proto) {
	case IPPROTO_TCP:
		return h->l4 + 16;
	case IPPROTO_UDP:
		return h->l4 + 6;
	case IPPROTO_ICMPV6:
		return h->family == 6 ? h->l4 + 2 : -1;
	default:
		return -1; /* ICMP's covers no addresses, and is whole */
	}
}

static void complete(struct packet *p)
{
	const struct weft_waiting_head *h = &p->head;
	const uint8_t *addresses = p->frame + ETH_HLEN + (h->family == 4 ? 12 : 8);
	int at = check_offset(h);
	uint16_t check;

	if (at < 0 || at + 2 > h->end ||
		(h->family == 4 && h->proto == IPPROTO_UDP && !p->frame[at] && !p->frame[at + 1]))
		return;
	p->frame[at] = p->frame[at + 1] = 0;
	check = (uint16_t)~folded(sum_of(
		sum_of((uint64_t)h->proto + (h->end - h->l4), addresses, h->family == 4 ? 8 : 32),
		p->frame + h->l4, (size_t)(h->end - h->l4)));
	if (!check && h->proto == IPPROTO_UDP)
		check = 0xffff;
	p->frame[at] = (uint8_t)(check >> 8);
	p->frame[at + 1] = (uint8_t)check;
}

/* --- in and out ---------------------------------------------------------------------------------
 */

static bool same_flow(const struct packet *p, const struct weft_waiting *w)
{
	const struct weft_waiting_head *a = &p->head, *b = &w->head;

	return a->from == b->from && a->proto == b->proto && a->family == b->family &&
	       memcmp(&a->addr, &b->addr, sizeof(a->addr)) == 0 && a->len == b->len &&
	       memcmp(p->frame + a->l4, w->frame + b->l4, FLOW_BYTES) == 0;
}

/* A sender that sends its SYN again waits once. */
static bool has_room(const struct weft_dp_waiting *q, const struct weft_waiting *w)
{
	unsigned of = 0;

	for (const struct packet *p = q->packets; p; p = p->next) {
		of += p->head.from == w->head.from;
		if (w->head.proto == IPPROTO_TCP && same_flow(p, w))
			return false;
	}
	return q->n < WEFT_DP_WAITING_MAX && of < WEFT_DP_WAITING_OF;
}

static int take(void *userdata, void *data, size_t size)
{
	struct weft_dp_waiting *q = userdata;
	const struct weft_waiting *w = data;
	struct packet *p, **end = &q->packets;

	if (size >= sizeof(*w) && plausible(w) && has_room(q, w) &&
		(p = malloc(sizeof(*p) + w->head.len))) {
		p->next = NULL;
		p->head = w->head;
		p->since_ns = q->now_ns;
		memcpy(p->frame, w->frame, w->head.len);
		while (*end)
			end = &(*end)->next;
		*end = p;
		q->n++;
		q->counters.taken++;
	} else {
		q->counters.refused++;
	}
	return ++q->taken < TAKE_MAX ? 0 : -EAGAIN;
}

static void send_again(struct weft_dp_waiting *q, struct packet *p)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_ifindex = (int)if_nametoindex(q->device),
		.sll_halen = ETH_ALEN,
	};

	memcpy(to.sll_addr, p->frame, ETH_ALEN);
	complete(p);
	if (sendto(q->fd, p->frame, p->head.len, MSG_DONTWAIT, (struct sockaddr *)&to,
		    sizeof(to)) == p->head.len)
		q->counters.sent++;
	else
		q->counters.expired++;
}

static void in_vain(struct weft_dp_waiting *q, const struct packet *p, uint32_t target)
{
	uint64_t until = q->now_ns + VAIN_NS;

	q->counters.expired++;
	if (!dp_target_held(q->dp, target))
		bpf_map_update_elem(
			bpf_map__fd(q->dp->skel->maps.waited), &p->head.addr, &until, BPF_ANY);
}

static void tell(struct weft_dp_waiting *q)
{
	if (q->counters.expired != q->told.expired)
		dp_drops_add(q->dp, WEFT_DROP_WAIT_EXPIRED, q->counters.expired - q->told.expired);
	if (q->counters.refused != q->told.refused)
		dp_drops_add(q->dp, WEFT_DROP_WAIT_REFUSED, q->counters.refused - q->told.refused);
	q->told = q->counters;
}

unsigned weft_dp_waiting_run(struct weft_dp_waiting *q, uint64_t now_ns)
{
	struct packet **at = &q->packets;

	q->now_ns = now_ns;
	q->taken = 0;
	ring_buffer__consume(q->ring);
	while (*at) {
		struct packet *p = *at;
		uint32_t target = target_of(q->dp, &p->head);

		if (has_way(q->dp, target)) {
			send_again(q, p);
		} else if (now_ns - p->since_ns >= patience(q->dp, target)) {
			in_vain(q, p, target);
		} else {
			at = &p->next;
			continue;
		}
		*at = p->next;
		free(p);
		q->n--;
	}
	__atomic_store_n(&q->room->reader_ns, now_ns, __ATOMIC_RELEASE);
	tell(q);
	return q->n;
}

void weft_dp_waiting_counters(const struct weft_dp_waiting *w, struct weft_dp_waiting_counters *ret)
{
	*ret = w->counters;
}

int weft_dp_waiting_fd(struct weft_dp_waiting *w)
{
	return ring_buffer__epoll_fd(w->ring);
}

/* --- open and close -----------------------------------------------------------------------------
 */

static int open_sender(struct weft_dp_waiting *q, struct weft_err *err)
{
	uint32_t mark = 0;

	/* Protocol 0: it receives nothing. */
	q->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	while (q->fd >= 0 && !mark)
		if (getrandom(&mark, sizeof(mark), 0) != sizeof(mark))
			break;
	if (q->fd < 0 || !mark || setsockopt(q->fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0)
		return dp_refused(err, errno, "a socket for packets that have waited");
	q->room->mark = mark;
	return 0;
}

int weft_dp_waiting_open(struct weft_dp *dp, const char *host_device, struct weft_dp_waiting **ret,
	struct weft_err *err)
{
	_cleanup_(weft_dp_waiting_closep) struct weft_dp_waiting *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return weft_err_set(err, ENOMEM, "out of memory");
	q->dp = dp;
	q->fd = -1;
	snprintf(q->device, sizeof(q->device), "%s", host_device);
	q->room = mmap(NULL, room_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
		bpf_map__fd(dp->skel->maps.waiting_room), 0);
	if (q->room == MAP_FAILED) {
		q->room = NULL;
		return dp_refused(err, errno, "mapping waiting_room");
	}
	q->ring = ring_buffer__new(bpf_map__fd(dp->skel->maps.waiting), take, q, NULL);
	if (!q->ring)
		return dp_refused(err, errno, "the ring of packets that wait");
	r = open_sender(q, err);
	if (r < 0)
		return r;
	weft_dp_waiting_run(q, weft_now_ns());
	*ret = TAKE_PTR(q);
	return 0;
}

void weft_dp_waiting_close(struct weft_dp_waiting *q)
{
	if (!q)
		return;
	if (q->room) {
		__atomic_store_n(&q->room->reader_ns, 0, __ATOMIC_RELEASE);
		munmap(q->room, room_size());
	}
	ring_buffer__free(q->ring);
	if (q->fd >= 0)
		close(q->fd);
	for (struct packet *p = q->packets, *next; p; p = next) {
		next = p->next;
		free(p);
	}
	q->counters.expired += q->n;
	tell(q);
	free(q);
}

int weft_dp_service_starting(struct weft_dp *dp, uint32_t id, bool starting)
{
	if (id == 0 || id >= WEFT_MAX_SERVICES || !dp->services[id].epoch)
		return -ENOENT;
	if (starting)
		__atomic_or_fetch(&dp->services[id].flags, WEFT_SERVICE_STARTING, __ATOMIC_RELAXED);
	else
		__atomic_and_fetch(&dp->services[id].flags, (uint16_t)~WEFT_SERVICE_STARTING,
			__ATOMIC_RELAXED);
	return 0;
}
