/* SPDX-License-Identifier: Apache-2.0 */
/* lwIP's options: raw API on one thread, hundreds of TCP connections in about 12 MiB, of which
 * only what is used is ever touched. */
#ifndef WEFT_GUEST_LWIPOPTS_H
#define WEFT_GUEST_LWIPOPTS_H

#define NO_SYS               1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN         0
#define LWIP_SOCKET          0
#define LWIP_STATS           0
#define LWIP_RAW             0
#define LWIP_DHCP            0
#define LWIP_AUTOIP          0
#define LWIP_IGMP            0
#define LWIP_DNS             0
#define LWIP_ALTCP           0
#define LWIP_SINGLE_NETIF    1
#define LWIP_NETIF_LOOPBACK  0
#define IP_FORWARD           0

/* Memory */
#define MEM_ALIGNMENT 8
#define MEM_SIZE      (8 * 1024 * 1024)
extern unsigned char *netif_port_heap;
#define LWIP_RAM_HEAP_POINTER   netif_port_heap
#define PBUF_POOL_SIZE          1024
#define PBUF_POOL_BUFSIZE       1536
#define MEMP_NUM_PBUF           8192
#define MEMP_NUM_TCP_PCB        2048
#define MEMP_NUM_TCP_PCB_LISTEN 16
#define MEMP_NUM_TCP_SEG        16384
#define MEMP_NUM_UDP_PCB        8
#define MEMP_NUM_REASSDATA      16
#define MEMP_NUM_FRAG_PBUF      64
#define IP_REASS_MAX_PBUFS      256

/* ARP: the peers are the gateway or few. */
#define ARP_TABLE_SIZE           127
#define ARP_QUEUEING             1
#define ETHARP_TABLE_MATCH_NETIF 0

/* IPv6: whoever starts the guest gives it its address and its gateway. Nothing is configured by
 * what the link says, and no address is looked for elsewhere before it is used: in the overlay
 * nobody else can have it, nobody would answer, and waiting for that would take a second of each
 * start. Without MLD: a virtio-net device without a filter takes all multicast. Addresses with a
 * lifetime have no /64 around them on the link. Pointers are longer than a fragment's header. */
#define LWIP_IPV6                     1
#define LWIP_IPV6_AUTOCONFIG          0
#define LWIP_IPV6_SEND_ROUTER_SOLICIT 0
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS 0
#define LWIP_IPV6_MLD                 0
#define LWIP_ND6_ALLOW_RA_UPDATES     0
#define LWIP_IPV6_ADDRESS_LIFETIMES   1
#define LWIP_IPV6_NUM_ADDRESSES       2
#define LWIP_ND6_NUM_NEIGHBORS        32
#define LWIP_ND6_NUM_DESTINATIONS     64
#define IPV6_FRAG_COPYHEADER          1

/* TCP. Timers twice as fine as the default: a lost segment is sent again after 200 ms at best, as
 * Linux does. TIME_WAIT is short; what would arrive late here has a path of one hop. */
#define TCP_MSS             1460
#define TCP_WND             (44 * TCP_MSS)
#define TCP_SND_BUF         (44 * TCP_MSS)
#define TCP_SND_QUEUELEN    192
#define TCP_TMR_INTERVAL    100
#define TCP_MSL             2000
#define LWIP_TCP_RTO_TIME   1000
#define TCP_OOSEQ_MAX_PBUFS 44
#define LWIP_TCP_SACK_OUT   1
#define LWIP_TCP_KEEPALIVE  1
#define TCP_LISTEN_BACKLOG  0

/* Checksums are per frame: what the device vouches for is not summed again. */
#define LWIP_CHECKSUM_CTRL_PER_NETIF 1
#define LWIP_CHKSUM_ALGORITHM        3
#define TCP_CHECKSUM_ON_COPY         0

#define LWIP_HOOK_FILENAME "lwip_hooks.h"
#define LWIP_HOOK_TCP_ISN  netif_port_isn

#define LWIP_HOOK_IP4_INPUT(p, netif)     netif_port_input4(p)
#define LWIP_HOOK_ND6_GET_GW(netif, dest) netif_port_gateway6(dest)
#define LWIP_HOOK_IP6_INPUT(p, netif)     netif_port_input6(p)

#endif
