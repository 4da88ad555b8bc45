/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's command line, compiled natively. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/guest/addr6.c"
#include "tests/guest/args.c"

static struct guest_args parse(const char *line)
{
	struct guest_args args;
	char why[160] = "";

	if (guest_args_parse(line, &args, why, sizeof(why)) < 0)
		fail_msg("%s: %s", line, why);
	return args;
}

static void assert_bytes(const uint8_t got[4], int a, int b, int c, int d)
{
	const uint8_t want[4] = {(uint8_t)a, (uint8_t)b, (uint8_t)c, (uint8_t)d};

	assert_memory_equal(got, want, 4);
}

static void test_forms(void **state)
{
	static const char *const lines[] = {
		"netdev.ip=10.1.2.3/26:10.1.2.1",
		"netdev.ip=10.1.2.3/26:10.1.2.1:8.8.8.8:9.9.9.9:host:domain --",
		"netdev.ipv4_addr=10.1.2.3 netdev.ipv4_gw_addr=10.1.2.1 "
		"netdev.ipv4_subnet_mask=255.255.255.192",
		"  ip=10.1.2.3/26   gw=10.1.2.1  ",
		"kernel unknown=1 ip=1.1.1.1/8 ip=10.1.2.3/26 gw=10.1.2.1 -- ip=9.9.9.9/9 --",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct guest_args args = parse(lines[i]);

		assert_bytes(args.addr, 10, 1, 2, 3);
		assert_bytes(args.mask, 255, 255, 255, 192);
		assert_bytes(args.gateway, 10, 1, 2, 1);
		assert_string_equal(args.name, "10.1.2.3");
		assert_int_equal(args.port, 0);
		assert_int_equal(args.spin_us, 0);
		assert_int_equal(args.keepalive, GUEST_KEEPALIVE);
		assert_int_equal(args.tsc_khz, 0);
	}
}

static void test_no_gateway(void **state)
{
	static const char *const lines[] = {"netdev.ip=10.1.2.3/24",
		"netdev.ip=10.1.2.3/24:", "netdev.ip=10.1.2.3/24::8.8.8.8",
		"netdev.ipv4_addr=10.1.2.3", "ip=10.1.2.3/24"};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct guest_args args = parse(lines[i]);

		assert_bytes(args.addr, 10, 1, 2, 3);
		assert_bytes(args.mask, 255, 255, 255, 0);
		assert_bytes(args.gateway, 0, 0, 0, 0);
	}
}

/* qemu appends the devices behind the application's words. */
static void test_rest(void **state)
{
	struct guest_args args = parse("ip=10.1.2.3/32 spin=50 tsc_khz=2600000 port=1 name=a "
				       "-- nginx -c /nginx.conf port=8080 name=shop.web.1 spin=x "
				       "virtio_mmio.device=512@0xfeb00C00:11 "
				       "virtio_mmio.device=512@0xfeb00e00:12");

	(void)state;
	assert_bytes(args.mask, 255, 255, 255, 255);
	assert_int_equal(args.spin_us, 50);
	assert_int_equal(args.tsc_khz, 2600000);
	assert_int_equal(args.port, 8080);
	assert_string_equal(args.name, "shop.web.1");
	assert_int_equal(args.n_virtio, 2);
	assert_int_equal(args.virtio[0].base, 0xfeb00c00);
	assert_int_equal(args.virtio[0].irq, 11);
	assert_int_equal(args.virtio[1].base, 0xfeb00e00);
	assert_int_equal(args.virtio[1].irq, 12);
}

static void test_ipv6(void **state)
{
	static const struct {
		const char *text, *again;
	} forms[] = {{"fc00::103", "fc00::103"}, {"FC00:0:0:0:0:0:0:0103", "fc00::103"},
		{"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"}, {"1:0:0:4:0:0:0:8", "1:0:0:4::8"},
		{"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"}, {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
		{"1::", "1::"}, {"::1", "::1"}, {"1:0:0:4:5:0:0:8", "1::4:5:0:0:8"}};
	char line[100], text[ADDR6_TEXT_SIZE], both[GUEST_ADDRESSES_SIZE];
	struct guest_args args;

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		snprintf(line, sizeof(line), "netdev.ip=10.1.2.3/26 ip6=%s/120 gw6=fe80::1",
			forms[i].text);
		args = parse(line);
		assert_string_equal(addr6_format(args.addr6, text), forms[i].again);
		assert_string_equal(addr6_format(args.gateway6, text), "fe80::1");
		assert_int_equal(args.prefix6, 120);
		assert_string_equal(args.name, "10.1.2.3");
	}
	assert_string_equal(addr6_format((const uint8_t[16]){0}, text), "::");

	args = parse("weft.ip6=fc00::103/128 weft.gw6=fe80::1");
	assert_bytes(args.addr, 0, 0, 0, 0);
	assert_string_equal(args.name, "fc00::103");
	assert_string_equal(guest_args_addresses(&args, both), "fc00::103");
	args = parse("netdev.ip=10.1.2.3/26");
	assert_true(addr6_is_none(args.addr6) && addr6_is_none(args.gateway6));
	assert_string_equal(guest_args_addresses(&args, both), "10.1.2.3");
	args = parse("netdev.ip=255.255.255.255/26 "
		     "ip6=fe80:1111:2222:3333:4444:5555:6666:7777/1 -- ip6=::1/1");
	assert_string_equal(guest_args_addresses(&args, both),
		"255.255.255.255 and fe80:1111:2222:3333:4444:5555:6666:7777");
}

static void test_errors(void **state)
{
	static const char *const lines[] = {
		"",
		"-- ip=10.1.2.3/24",
		"netdev.ip=",
		"netdev.ip=10.1.2/24",
		"netdev.ip=10.1.2.3",
		"netdev.ip=10.1.2.256/24",
		"netdev.ip=10.1.2.3/33:10.1.2.1",
		"netdev.ip=10.1.2.3/24x",
		"netdev.ip=10.1.2.3/24:10.1.2",
		"netdev.ip=10.1.2.3/24:10.1.2.1x",
		"netdev.ip=99999999999999999999.1.2.3/24",
		"netdev.ipv4_addr=10.1.2.3/24",
		"ip=10.1.2.3/24 gw=",
		"ip=10.1.2.3/24 spin=1000001",
		"ip=10.1.2.3/24 spin=-1",
		"ip=10.1.2.3/24 port=0",
		"ip=10.1.2.3/24 port=65536",
		"ip=10.1.2.3/24 name=",
		"ip=10.1.2.3/24 name=\x01",
		"ip=10.1.2.3/24 virtio_mmio.device=512@0xg:1",
		"ip6=fc00::2",
		"ip6=/64",
		"ip6=::/64",
		"ip6=ff02::1/64",
		"ip6=fc00::2/129",
		"ip6=fc00::2/64x",
		"ip6=fc00:::2/64",
		"ip6=fc00::1::2/64",
		"ip6=:1::2/64",
		"ip6=12345::2/64",
		"ip6=1:2:3:4:5:6:7/64",
		"ip6=1:2:3:4:5:6:7:8:9/64",
		"ip6=1:2:3:4::5:6:7:8/64",
		"ip6=::10.1.2.3/64",
		"ip6=fc00::g/64",
		"ip6=fc00::2/64 gw6=",
		"ip6=fc00::2/64 gw6=fe80::1/64",
		"ip6=fc00::2/64 gw6=ff02::2",
		"weft.ip6=fc00::2",
		"ip=10.1.2.3/24 virtio_mmio.device=512@0x1000",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct guest_args args, before;
		char why[160] = "";

		memset(&args, 0x5a, sizeof(args));
		before = args;
		if (guest_args_parse(lines[i], &args, why, sizeof(why)) == 0)
			fail_msg("accepted: %s", lines[i]);
		assert_true(strlen(why) > 10);
		assert_memory_equal(&args, &before, sizeof(args));
	}
}

static void test_too_long(void **state)
{
	struct guest_args args;
	char line[400], why[160];

	(void)state;
	strcpy(line, "ip=10.1.2.3/24 name=");
	memset(line + strlen(line), 'n', 300);
	line[320] = '\0';
	assert_int_equal(guest_args_parse(line, &args, why, sizeof(why)), -1);
	assert_true(strlen(why) < sizeof(why));

	strcpy(line, "ip=10.1.2.3/24");
	for (int i = 0; i <= GUEST_MAX_VIRTIO; i++)
		strcat(line, " virtio_mmio.device=512@0x1000:1");
	assert_int_equal(guest_args_parse(line, &args, why, sizeof(why)), -1);
}

/* --- fw_cfg --------------------------------------------------------------------------------------
 */

static void test_configuration(void **state)
{
	struct guest_args args = parse("weft.net=fw_cfg ged.device=0xfea00000:9 -- keepalive=7");
	const struct guest_args before = args;
	char why[160] = "";

	(void)state;
	assert_true(args.configured);
	assert_int_equal(args.ged_base, 0xfea00000);
	assert_int_equal(args.ged_irq, 9);
	assert_int_equal(
		guest_args_configure("weft-guest 1\nstate=wait\n\n\n", &args, why, 160), 0);
	assert_memory_equal(&args, &before, sizeof(args));
	assert_int_equal(guest_args_configure("weft-guest 1\nstate=go\nname=a.b.1\n"
					      "mac=02:00:0a:13:01:fE\nip=10.19.1.2/26\n"
					      "gw=10.19.1.1\nip6=fc00::103/128\n"
					      "gw6=fe80::1\ntime_ms=12\nfuture=x\n"
					      "seed=00112233445566778899aabbccddeeff\n\n",
				 &args, why, sizeof(why)),
		0);
	assert_true(args.go && args.has_mac);
	assert_bytes(args.addr, 10, 19, 1, 2);
	assert_bytes(args.mask, 255, 255, 255, 192);
	assert_bytes(args.gateway, 10, 19, 1, 1);
	assert_string_equal(args.name, "a.b.1");
	assert_memory_equal(args.addr6, "\xfc\0\0\0\0\0\0\0\0\0\0\0\0\0\1\3", 16);
	assert_int_equal(args.gateway6[0], 0xfe);
	assert_int_equal(args.prefix6, 128);
	assert_memory_equal(args.mac, "\x02\x00\x0a\x13\x01\xfe", 6);
	assert_true(args.seed == 0x0011223344556677);
	assert_int_equal(args.keepalive, 7);
	/* Another life: nothing of this one is left but what the command line said. */
	assert_int_equal(
		guest_args_configure("weft-guest 1\nstate=go\nip=1.1.1.1/8", &args, why, 160), 0);
	assert_bytes(args.addr, 1, 1, 1, 1);
	assert_bytes(args.gateway, 0, 0, 0, 0);
	assert_true(addr6_is_none(args.addr6) && addr6_is_none(args.gateway6));
}

static void test_bad_configuration(void **state)
{
	static const char *const bad[] = {"", "weft-guest 2\n", "weft-guest 1",
		"weft-guest 1\nstate=\n", "weft-guest 1\nstate=gone\n",
		"weft-guest 1\nmac=02:00:00:00:00\n", "weft-guest 1\nmac=01:00:00:00:00:00\n",
		"weft-guest 1\nmac=02:00:00:00:00:0g\n", "weft-guest 1\nseed=12\n",
		"weft-guest 1\nip=1.2.3.4\n", "weft-guest 1\nip6=fc00::1\n",
		"weft-guest 1\ngw6=fc00::1/64\n", "weft-guest 1\nstate=go\nname=\n"};
	struct guest_args args = parse("weft.net=fw_cfg");
	const struct guest_args before = args;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char why[160] = "";

		assert_int_equal(guest_args_configure(bad[i], &args, why, sizeof(why)), -1);
		assert_true(why[0]);
		assert_memory_equal(&args, &before, sizeof(args));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_no_gateway),
		cmocka_unit_test(test_rest),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_bad_configuration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
