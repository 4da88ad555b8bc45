/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "loadgen/worker_internal.h"

#define LINGER_NS 1000000000ULL

void linger_init(struct load_worker *w)
{
	for (int i = 0; i < LINGER_MAX; i++)
		w->linger.ring[i].fd = -1;
}

static void linger_close(struct load_worker *w, uint32_t slot)
{
	struct linger_ring *l = &w->linger;

	if (l->ring[slot].fd >= 0)
		close(l->ring[slot].fd);
	l->ring[slot].fd = -1;
	/* Slots in the middle may have been closed before: drop all such at the front. */
	while (l->count && l->ring[l->first].fd < 0) {
		l->first = (l->first + 1) % LINGER_MAX;
		l->count--;
	}
}

void linger_free(struct load_worker *w)
{
	while (w->linger.count)
		linger_close(w, w->linger.first);
}

void linger_add(struct load_worker *w, int fd)
{
	struct linger_ring *l = &w->linger;
	struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP};
	uint32_t slot;

	if (l->count == LINGER_MAX)
		linger_close(w, l->first);
	slot = (l->first + l->count) % LINGER_MAX;
	e.data.u64 = SOURCE_LINGER | slot;
	if (epoll_ctl(w->epoll_fd, EPOLL_CTL_MOD, fd, &e) < 0) {
		close(fd);
		return;
	}
	l->ring[slot].fd = fd;
	l->ring[slot].deadline = weft_now_ns() + LINGER_NS;
	l->count++;
}

void linger_event(struct load_worker *w, uint32_t slot)
{
	int fd = w->linger.ring[slot].fd;
	ssize_t n;

	if (fd < 0)
		return;
	n = recv(fd, w->buf, sizeof(w->buf), MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		linger_close(w, slot);
}

uint64_t linger_deadline(const struct load_worker *w)
{
	const struct linger_ring *l = &w->linger;

	return l->count ? l->ring[l->first].deadline : UINT64_MAX;
}

void linger_expire(struct load_worker *w, uint64_t now)
{
	while (linger_deadline(w) <= now)
		linger_close(w, w->linger.first);
}
