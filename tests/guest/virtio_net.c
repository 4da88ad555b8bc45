/* SPDX-License-Identifier: Apache-2.0 */
/* Frames are copied out of the receive buffers and into the transmit buffers: they are small, and
 * every buffer then belongs to one descriptor for ever, which leaves nothing to allocate or to run
 * out of. */
#include "virtio_net.h"

#include <string.h>

#include "cpu.h"
#include "guest.h"

/* virtio 1.1, 4.2.2: MMIO registers */
#define REG_MAGIC         0x000
#define REG_VERSION       0x004
#define REG_DEVICE_ID     0x008
#define REG_FEATURES      0x010
#define REG_FEATURES_SEL  0x014
#define REG_DRIVER        0x020
#define REG_DRIVER_SEL    0x024
#define REG_QUEUE_SEL     0x030
#define REG_QUEUE_MAX     0x034
#define REG_QUEUE_NUM     0x038
#define REG_QUEUE_READY   0x044
#define REG_QUEUE_NOTIFY  0x050
#define REG_INTERRUPT_ACK 0x064
#define REG_STATUS        0x070
#define REG_QUEUE_DESC    0x080
#define REG_QUEUE_DRIVER  0x090
#define REG_QUEUE_DEVICE  0x0a0
#define REG_CONFIG_MAC    0x100
#define REG_CONFIG_MTU    0x10a

#define MAGIC      0x74726976 /* "virt" */
#define DEVICE_NET 1

#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER      2
#define STATUS_DRIVER_OK   4
#define STATUS_FEATURES_OK 8

#define F_CSUM       (1ULL << 0)
#define F_GUEST_CSUM (1ULL << 1)
#define F_MTU        (1ULL << 3)
#define F_MAC        (1ULL << 5)
#define F_EVENT_IDX  (1ULL << 29)
#define F_VERSION_1  (1ULL << 32)
#define F_WANTED     (F_CSUM | F_GUEST_CSUM | F_MTU | F_MAC | F_EVENT_IDX | F_VERSION_1)

#define DESC_WRITE         2
#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY     1

#define INTERRUPT_ALL 3 /* queue, configuration */

#define HDR_NEEDS_CSUM 1
#define HDR_DATA_VALID 2

#define QUEUE_SIZE  256
#define BUFFER_SIZE 2048

/* How long a sender waits for the device to make room: it is reading already, and does not stop. */
#define TX_WAIT_US 200

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct avail {
	uint16_t flags, idx, ring[QUEUE_SIZE], used_event;
};

struct used_elem {
	uint32_t id, len;
};

struct used {
	uint16_t flags, idx;
	struct used_elem ring[QUEUE_SIZE];
	uint16_t avail_event;
};

struct net_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

struct queue {
	struct desc *desc;
	struct avail *avail;
	struct used *used;
	uint8_t (*buffers)[BUFFER_SIZE]; /* buffers[i] is desc[i]'s */
	unsigned number;
	uint16_t next;     /* avail->idx, ours */
	uint16_t seen;     /* used->idx up to where we looked */
	uint16_t notified; /* next, when the device was last told */
};

_Static_assert(sizeof(struct net_hdr) == 12, "virtio_net_hdr_v1");
_Static_assert(sizeof(struct net_hdr) + VIRTIO_NET_MAX_FRAME <= BUFFER_SIZE, "a frame fits");

static struct queue rx, tx;
static uintptr_t regs;
static uint64_t features;
static struct virtio_net_info info;

static uint16_t load(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void publish(uint16_t *p, uint16_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

/* Our store must be seen before our next load is made: both sides look at what the other wrote. */
static void full_barrier(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool virtio_net_probe(uintptr_t base)
{
	return mmio_read(base + REG_MAGIC) == MAGIC && mmio_read(base + REG_VERSION) == 2 &&
	       mmio_read(base + REG_DEVICE_ID) == DEVICE_NET;
}

static void negotiate(void)
{
	mmio_write(regs + REG_STATUS, 0);
	mmio_write(regs + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	mmio_write(regs + REG_FEATURES_SEL, 0);
	features = mmio_read(regs + REG_FEATURES);
	mmio_write(regs + REG_FEATURES_SEL, 1);
	features |= (uint64_t)mmio_read(regs + REG_FEATURES) << 32;
	features &= F_WANTED;
	mmio_write(regs + REG_DRIVER_SEL, 0);
	mmio_write(regs + REG_DRIVER, (uint32_t)features);
	mmio_write(regs + REG_DRIVER_SEL, 1);
	mmio_write(regs + REG_DRIVER, (uint32_t)(features >> 32));
	mmio_write(regs + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
	if (!(features & F_VERSION_1) || !(mmio_read(regs + REG_STATUS) & STATUS_FEATURES_OK))
		panic("virtio-net: the device refuses features %lx", features);
}

static void write_address(unsigned reg, const void *addr)
{
	mmio_write(regs + reg, (uint32_t)(uintptr_t)addr);
	mmio_write(regs + reg + 4, (uint32_t)((uintptr_t)addr >> 32));
}

static void queue_init(struct queue *q, unsigned number, uint32_t len, uint16_t flags)
{
	q->number = number;
	q->desc = memory_alloc(sizeof(struct desc) * QUEUE_SIZE, 16);
	q->avail = memory_alloc(sizeof(struct avail), 64);
	q->used = memory_alloc(sizeof(struct used), 64);
	q->buffers = memory_alloc((size_t)BUFFER_SIZE * QUEUE_SIZE, BUFFER_SIZE);
	for (unsigned i = 0; i < QUEUE_SIZE; i++) {
		q->desc[i].addr = (uintptr_t)q->buffers[i];
		q->desc[i].len = len;
		q->desc[i].flags = flags;
		q->avail->ring[i] = (uint16_t)i;
	}
	mmio_write(regs + REG_QUEUE_SEL, number);
	if (mmio_read(regs + REG_QUEUE_MAX) < QUEUE_SIZE)
		panic("virtio-net: queue %u has fewer than %u entries", number, QUEUE_SIZE);
	mmio_write(regs + REG_QUEUE_NUM, QUEUE_SIZE);
	write_address(REG_QUEUE_DESC, q->desc);
	write_address(REG_QUEUE_DRIVER, q->avail);
	write_address(REG_QUEUE_DEVICE, q->used);
	mmio_write(regs + REG_QUEUE_READY, 1);
}

/* With EVENT_IDX: the interrupt comes when used->idx passes event. Half the ring's numbers away is
 * never. The receive queue is the only one that ever interrupts. */
static void interrupt_off(struct queue *q)
{
	if (features & F_EVENT_IDX)
		publish(&q->avail->used_event, q->seen + 0x8000);
	else
		publish(&q->avail->flags, AVAIL_NO_INTERRUPT);
}

static void interrupt_on(struct queue *q)
{
	if (features & F_EVENT_IDX)
		publish(&q->avail->used_event, q->seen);
	else
		publish(&q->avail->flags, 0);
}

static void notify(struct queue *q)
{
	bool wanted;

	if (q->notified == q->next)
		return;
	full_barrier();
	if (features & F_EVENT_IDX)
		wanted = (uint16_t)(q->next - load(&q->used->avail_event) - 1) <
			 (uint16_t)(q->next - q->notified);
	else
		wanted = !(load(&q->used->flags) & USED_NO_NOTIFY);
	q->notified = q->next;
	if (wanted)
		mmio_write(regs + REG_QUEUE_NOTIFY, q->number);
}

static void read_config(void)
{
	uint32_t lo = mmio_read(regs + REG_CONFIG_MAC), hi = mmio_read(regs + REG_CONFIG_MAC + 4);

	if (!(features & F_MAC))
		panic("virtio-net: the device has no MAC address");
	memcpy(info.mac, &lo, 4);
	memcpy(info.mac + 4, &hi, 2);
	info.mtu = 1500;
	if (features & F_MTU) {
		uint16_t mtu = *(volatile uint16_t *)(regs + REG_CONFIG_MTU);

		if (mtu >= 68 && mtu < info.mtu)
			info.mtu = mtu;
	}
	info.tx_csum = features & F_CSUM;
}

void virtio_net_init(uintptr_t base)
{
	regs = base;
	negotiate();
	read_config();
	queue_init(&rx, 0, BUFFER_SIZE, DESC_WRITE);
	queue_init(&tx, 1, 0, 0);
	mmio_write(regs + REG_STATUS,
		STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
	interrupt_off(&rx);
	interrupt_off(&tx);
	rx.next = QUEUE_SIZE;
	publish(&rx.avail->idx, rx.next);
	notify(&rx);
}

void virtio_net_get_info(struct virtio_net_info *ret)
{
	*ret = info;
}

unsigned virtio_net_poll(virtio_net_input_t input, unsigned budget)
{
	uint16_t end = load(&rx.used->idx);
	unsigned n = 0;

	for (; rx.seen != end && n < budget; rx.seen++, n++) {
		const struct used_elem *e = &rx.used->ring[rx.seen % QUEUE_SIZE];
		const struct net_hdr *hdr;

		if (e->id >= QUEUE_SIZE || e->len > BUFFER_SIZE)
			panic("virtio-net: the device used buffer %u, length %u", e->id, e->len);
		hdr = (const struct net_hdr *)rx.buffers[e->id];
		if (e->len > sizeof(*hdr))
			input(rx.buffers[e->id] + sizeof(*hdr), e->len - sizeof(*hdr),
				hdr->flags & (HDR_NEEDS_CSUM | HDR_DATA_VALID));
		rx.avail->ring[rx.next++ % QUEUE_SIZE] = (uint16_t)e->id;
	}
	if (n) {
		publish(&rx.avail->idx, rx.next);
		interrupt_off(&rx);
		notify(&rx);
	}
	return n;
}

static bool tx_full(void)
{
	tx.seen = load(&tx.used->idx);
	return (uint16_t)(tx.next - tx.seen) == QUEUE_SIZE;
}

uint8_t *virtio_net_tx_buffer(void)
{
	if (tx_full()) {
		uint64_t end = cpu_cycles() + clock_khz() * TX_WAIT_US / 1000;

		virtio_net_flush();
		while (tx_full()) {
			if (cpu_cycles() >= end)
				return NULL;
			cpu_relax();
		}
	}
	return tx.buffers[tx.next % QUEUE_SIZE] + sizeof(struct net_hdr);
}

/* The ring is filled in order and the device of a NIC uses it in order, so slot, descriptor and
 * buffer have one number. */
void virtio_net_tx(size_t len, uint16_t csum_start, uint16_t csum_offset)
{
	unsigned slot = tx.next % QUEUE_SIZE;
	struct net_hdr *hdr = (struct net_hdr *)tx.buffers[slot];

	memset(hdr, 0, sizeof(*hdr));
	if (csum_start) {
		hdr->flags = HDR_NEEDS_CSUM;
		hdr->csum_start = csum_start;
		hdr->csum_offset = csum_offset;
	}
	tx.desc[slot].len = (uint32_t)(len + sizeof(*hdr));
	publish(&tx.avail->idx, ++tx.next);
	interrupt_off(&tx);
}

void virtio_net_flush(void)
{
	notify(&tx);
}

bool virtio_net_arm(void)
{
	interrupt_on(&rx);
	full_barrier();
	return load(&rx.used->idx) == rx.seen;
}

void virtio_net_disarm(void)
{
	interrupt_off(&rx);
}

/* The line stays up until this, and the IOAPIC sees edges only. Before the queue is read: a frame
 * that comes in between raises it again. */
void virtio_net_ack(void)
{
	mmio_write(regs + REG_INTERRUPT_ACK, INTERRUPT_ALL); /* asking which costs an exit */
}
