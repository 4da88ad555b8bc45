/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include "guest.h"

#include "lwip/memp.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"

/* A poll is two turns of lwIP's slow timer. */
#define POLL_MS           1000
#define POLL_TICKS        (POLL_MS / TCP_SLOW_INTERVAL)
#define LINGER_POLLS      5
#define IDLE_POLLS        10
#define KEEPALIVE_IDLE_MS 60000
#define KEEPALIVE_MS      10000
#define KEEPALIVE_COUNT   6

#define MAX_LISTENERS 8

struct stream {
	struct stream *prev, *next; /* of all */
	struct tcp_pcb *pcb;
	const struct stream_ops *ops;
	struct pbuf *rx;  /* received, not taken by the application */
	uint16_t rx_used; /* of the first pbuf */
	bool blocked;     /* the application waits for room */
	bool peer_done;   /* FIN received */
	bool finished;    /* the application is done */
	bool shut;        /* FIN sent */
	uint8_t polls;    /* since the last byte, or since FIN was sent */
	uint64_t state[STREAM_STATE_SIZE / 8];
};

static struct stream *streams_first;
static unsigned n_streams, n_listeners;
static struct tcp_pcb *listeners[MAX_LISTENERS];
static bool ends;

/* As many as lwIP has connections: an accepted one always finds its stream. */
LWIP_MEMPOOL_DECLARE(streams, MEMP_NUM_TCP_PCB, sizeof(struct stream), "streams")

void *stream_state(struct stream *s)
{
	return s->state;
}

size_t stream_room(const struct stream *s)
{
	return tcp_sndbuf(s->pcb);
}

void stream_wait(struct stream *s)
{
	s->blocked = true;
}

bool stream_write(struct stream *s, const void *data, size_t len, bool copy)
{
	if (len <= tcp_sndbuf(s->pcb) &&
		tcp_write(s->pcb, data, (u16_t)len, copy ? TCP_WRITE_FLAG_COPY : 0) == ERR_OK)
		return true;
	stream_wait(s);
	return false;
}

void stream_finish(struct stream *s)
{
	s->finished = true;
}

static void stream_free(struct stream *s)
{
	if (s->next)
		s->next->prev = s->prev;
	if (s->prev)
		s->prev->next = s->next;
	else
		streams_first = s->next;
	n_streams--;
	if (s->rx)
		pbuf_free(s->rx);
	LWIP_MEMPOOL_FREE(streams, s);
}

/* The pcb lives on in lwIP until the peer has acknowledged everything. */
static void stream_close(struct stream *s)
{
	struct tcp_pcb *pcb = s->pcb;

	tcp_arg(pcb, NULL);
	tcp_recv(pcb, NULL);
	tcp_sent(pcb, NULL);
	tcp_poll(pcb, NULL, 0);
	tcp_err(pcb, NULL);
	stream_free(s);
	tcp_close(pcb);
}

static void drop_input(struct stream *s)
{
	if (!s->rx)
		return;
	tcp_recved(s->pcb, (u16_t)(s->rx->tot_len - s->rx_used));
	pbuf_free(s->rx);
	s->rx = NULL;
	s->rx_used = 0;
}

static void feed(struct stream *s)
{
	while ((s->rx || s->blocked) && !s->finished) {
		struct pbuf *p = s->rx;
		size_t len = p ? (size_t)(p->len - s->rx_used) : 0, used;

		s->blocked = false;
		used = s->ops->input(s, p ? (const char *)p->payload + s->rx_used : NULL, len);
		if (used) {
			s->rx_used += (u16_t)used;
			tcp_recved(s->pcb, (u16_t)used);
		}
		if (p && s->rx_used == p->len) {
			s->rx = p->next;
			s->rx_used = 0;
			if (p->next)
				pbuf_ref(p->next);
			pbuf_free(p);
		}
		if (s->blocked)
			break;
	}
}

/* Go on as far as possible; s may be gone afterwards.
 *
 * tcp_close() answers whatever the peer sends later with a reset, and the reset may overtake the
 * answers that the peer has not read yet. So only our side is shut, and input is read and dropped
 * until the peer has closed, too, or for some seconds. */
static void stream_run(struct stream *s)
{
	feed(s);
	if (s->peer_done && !s->rx && !s->blocked)
		s->finished = true;
	if (!s->finished)
		return;
	drop_input(s);
	if (s->peer_done) {
		stream_close(s);
	} else if (!s->shut && tcp_shutdown(s->pcb, 0, 1) == ERR_OK) {
		s->shut = true;
		s->polls = 0;
	}
}

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	struct stream *s = arg;

	(void)err;
	if (!p) {
		s->peer_done = true;
	} else if (s->rx) {
		pbuf_cat(s->rx, p);
	} else {
		s->rx = p;
		s->rx_used = 0;
	}
	if (!s->shut)
		s->polls = 0;
	tcp_setprio(pcb, TCP_PRIO_NORMAL);
	stream_run(s);
	return ERR_OK;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
	struct stream *s = arg;

	(void)pcb;
	(void)len;
	if (s->blocked)
		stream_run(s);
	return ERR_OK;
}

/* lwIP has freed the pcb. */
static void on_error(void *arg, err_t err)
{
	(void)err;
	stream_free(arg);
}

/* Idle connections stay open for as long as the peer is there: closing one would race with its next
 * request. But when there are no more connections, lwIP may take the longest idle of them. */
static err_t on_poll(void *arg, struct tcp_pcb *pcb)
{
	struct stream *s = arg;

	if (s->polls < UINT8_MAX)
		s->polls++;
	if (s->shut && s->polls > LINGER_POLLS) {
		tcp_abort(pcb); /* calls on_error() */
		return ERR_ABRT;
	}
	if (s->polls == IDLE_POLLS)
		tcp_setprio(pcb, TCP_PRIO_MIN);
	stream_run(s);
	return ERR_OK;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
	struct stream *s;

	if (err != ERR_OK || !pcb)
		return ERR_VAL;
	s = LWIP_MEMPOOL_ALLOC(streams);
	if (!s)
		return ERR_MEM;
	s->prev = NULL;
	s->next = streams_first;
	if (s->next)
		s->next->prev = s;
	streams_first = s;
	n_streams++;
	s->pcb = pcb;
	s->ops = arg;
	s->rx = NULL;
	s->rx_used = 0;
	s->blocked = s->peer_done = s->finished = s->shut = false;
	s->polls = 0;
	tcp_nagle_disable(pcb);
	ip_set_option(pcb, SOF_KEEPALIVE);
	pcb->keep_idle = KEEPALIVE_IDLE_MS;
	pcb->keep_intvl = KEEPALIVE_MS;
	pcb->keep_cnt = KEEPALIVE_COUNT;
	tcp_arg(pcb, s);
	tcp_recv(pcb, on_recv);
	tcp_sent(pcb, on_sent);
	tcp_err(pcb, on_error);
	tcp_poll(pcb, on_poll, POLL_TICKS);
	if (s->ops->open)
		s->ops->open(s);
	return ERR_OK;
}

void stream_listen(uint16_t port, const struct stream_ops *ops)
{
	static bool initialized;
	struct tcp_pcb *pcb, *listener;

	if (!initialized)
		LWIP_MEMPOOL_INIT(streams);
	initialized = true;
	pcb = tcp_new_ip_type(IPADDR_TYPE_ANY);
	if (!pcb || tcp_bind(pcb, IP_ANY_TYPE, port) != ERR_OK)
		panic("%s: cannot bind port %u", ops->name, port);
	listener = tcp_listen(pcb);
	if (!listener)
		panic("%s: cannot listen on port %u", ops->name, port);
	tcp_arg(listener, (void *)ops);
	tcp_accept(listener, on_accept);
	if (n_listeners == MAX_LISTENERS)
		panic("%s: more than %u ports", ops->name, MAX_LISTENERS);
	listeners[n_listeners++] = listener;
}

void stream_shutdown(void)
{
	struct stream *next;

	ends = true;
	while (n_listeners > 0)
		tcp_close(listeners[--n_listeners]);
	for (struct stream *s = streams_first; s; s = next) {
		next = s->next;
		if (s->rx || s->blocked || (s->ops->idle && !s->ops->idle(s)))
			continue;
		s->finished = true;
		stream_run(s);
	}
}

bool stream_ends(void)
{
	return ends;
}

unsigned stream_count(void)
{
	return n_streams;
}
