/* SPDX-License-Identifier: Apache-2.0 */
/* Real sockets over IPv4, and VLAN tags. */
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include "tests/bpf/traffic_tests.h"

/* An ARP request of the client, tagged up to twice: is it answered? */
static bool tagged_is_answered(uint16_t outer, uint16_t inner)
{
	struct sockaddr_ll any = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ARP)};
	struct timeval patience = {.tv_usec = 300000};
	uint8_t frame[ETH_HLEN + 8 + 28], got[128];
	struct lab_frame arp;
	ssize_t r;
	int fd;

	lab_arp(&arp, CLIENT, "10.18.0.254");
	memcpy(frame, arp.data, 12);
	memcpy(frame + 12, "\x81\0\0\0\x81\0\0\0", 8);
	frame[14] = (uint8_t)(outer >> 8);
	frame[15] = (uint8_t)outer;
	frame[18] = (uint8_t)(inner >> 8);
	frame[19] = (uint8_t)inner;
	memcpy(frame + (inner ? 20 : 16), arp.data + 12, 30);
	ns_enter(lab.ns[CLIENT]);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	any.sll_ifindex = (int)if_nametoindex("eth0");
	ns_home();
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (void *)&any, sizeof(any)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_true(send(fd, frame, inner ? 50 : 46, 0) > 0);
	r = recv(fd, got, sizeof(got), 0);
	close(fd);
	/* The answer carries no tag. */
	return r >= 42 && got[12] == 8 && got[13] == 6 && got[21] == 2;
}

/* An instance's device is an access port: a tag may give a priority, but name no VLAN. */
static void vlan_tags(void **state)
{
	uint64_t before = lab_drops(lab.dp, WEFT_DROP_VLAN);

	(void)state;
	assert_true(tagged_is_answered(0x0000, 0));
	assert_true(tagged_is_answered(0xe000, 0));
	assert_int_equal(lab_drops(lab.dp, WEFT_DROP_VLAN), before);
	assert_false(tagged_is_answered(0x0001, 0));
	assert_false(tagged_is_answered(0xefff, 0));
	assert_false(tagged_is_answered(0xe000, 0xe000));
	assert_int_equal(lab_drops(lab.dp, WEFT_DROP_VLAN), before + 3);
}

static void nothing_was_lost(void **state)
{
	(void)state;
	nothing_was_lost_but(1ULL << WEFT_DROP_ARP_IGNORED | 1ULL << WEFT_DROP_VLAN);
}

/* All of it again. */
static void on_an_old_kernel(void **state)
{
	become_old();
	run_again(state);
	vlan_tags(state);
	nothing_was_lost(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TESTS_OF_BOTH,
		cmocka_unit_test(vlan_tags),
		cmocka_unit_test(nothing_was_lost),
		cmocka_unit_test(on_an_old_kernel),
	};

	if (!lab_enter())
		return 0;
	return cmocka_run_group_tests_name("traffic", tests, setup, teardown);
}
