/* SPDX-License-Identifier: Apache-2.0 */
#include "time_wait.h"

#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/tcp.h"
#include "lwip/tcp.h"

void time_wait_look(
	const void *segment, size_t len, const ip_addr_t *remote, const ip_addr_t *local)
{
	const struct tcp_hdr *tcp = segment;
	uint16_t sport, dport;

	if (len < TCP_HLEN || (TCPH_FLAGS(tcp) & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN)
		return;
	sport = lwip_ntohs(tcp->src);
	dport = lwip_ntohs(tcp->dest);
	for (struct tcp_pcb *pcb = tcp_tw_pcbs; pcb; pcb = pcb->next) {
		if (pcb->remote_port != sport || pcb->local_port != dport ||
			!ip_addr_cmp(&pcb->remote_ip, remote) ||
			!ip_addr_cmp(&pcb->local_ip, local))
			continue;
		if (TCP_SEQ_GEQ(lwip_ntohl(tcp->seqno), pcb->rcv_nxt))
			tcp_abort(pcb); /* in TIME_WAIT it just goes */
		return;
	}
}
