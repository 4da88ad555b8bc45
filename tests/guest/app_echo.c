/* SPDX-License-Identifier: Apache-2.0 */
#include "apps.h"
#include "guest.h"
#include "stream.h"

#include "lwip/udp.h"

static size_t echo_input(struct stream *s, const char *data, size_t len)
{
	size_t room = stream_room(s), n = len < room ? len : room;

	if (n && !stream_write(s, data, n, true))
		return 0;
	if (n < len)
		stream_wait(s);
	return n;
}

static const struct stream_ops echo_ops = {
	.name = "echo",
	.input = echo_input,
};

static void on_datagram(
	void *arg, struct udp_pcb *pcb, struct pbuf *p, const ip_addr_t *addr, u16_t port)
{
	(void)arg;
	udp_sendto(pcb, p, addr, port);
	pbuf_free(p);
}

void app_echo_tcp_start(const struct guest_args *args, uint16_t port)
{
	(void)args;
	stream_listen(port, &echo_ops);
}

void app_echo_udp_start(const struct guest_args *args, uint16_t port)
{
	struct udp_pcb *pcb = udp_new_ip_type(IPADDR_TYPE_ANY);

	(void)args;
	if (!pcb || udp_bind(pcb, IP_ANY_TYPE, port) != ERR_OK)
		panic("echo: cannot bind UDP port %u", port);
	udp_recv(pcb, on_datagram, NULL);
}
