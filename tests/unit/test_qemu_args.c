/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's command line and qemu's, which nothing needs to run for. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/qemu/cmdline.h"
#include "runtimes/qemu/machine.h"

#define ID "shop.web.1"

static void cmdline(void **state)
{
	struct weft_hints h = {.kernel_args = "spin=50", .args = "-c /nginx.conf"};
	struct weft_runtime_net net = {.prefix_len = 26};
	const char *const args[] = {"name=a b", "it's", "", "plain", NULL};
	const char *const env[] = {"A=b c", "D=e", NULL};
	const char *const bad[][2] = {{"a\nb"}, {"both ' and \""}};
	const char *const none[] = {NULL};
	struct weft_err err = {};
	char *s;

	(void)state;
	inet_pton(AF_INET, "10.19.1.2", &net.addr);
	inet_pton(AF_INET, "10.19.1.1", &net.gateway);
	assert_int_equal(weft_qemu_cmdline(&h, &net, NULL, NULL, &s, &err), 0);
	assert_string_equal(s, "netdev.ip=10.19.1.2/26:10.19.1.1 spin=50 -- -c /nginx.conf");
	free(s);
	h.netdev = WEFT_NETDEV_IPV4_ADDR;
	h.kernel_args[0] = '\0';
	assert_int_equal(weft_qemu_cmdline(&h, &net, args, env, &s, &err), 0);
	assert_string_equal(s,
		"netdev.ipv4_addr=10.19.1.2 netdev.ipv4_gw_addr=10.19.1.1 "
		"netdev.ipv4_subnet_mask=255.255.255.192 env.vars=[ \"A=b c\" \"D=e\" ] -- "
		"\"name=a b\" \"it's\" \"\" plain");
	free(s);
	net = (struct weft_runtime_net){};
	assert_int_equal(weft_qemu_cmdline(&h, &net, none, none, &s, &err), 0);
	assert_string_equal(s, "--");
	free(s);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(weft_qemu_cmdline(&h, &net, bad[i], NULL, &s, &err), -EINVAL);
	{
		_cleanup_(freep) char *huge = calloc(1, 6000);
		const char *const v[] = {memset(huge, 'x', 5999), NULL};

		assert_int_equal(weft_qemu_cmdline(&h, &net, v, NULL, &s, &err), -E2BIG);
	}
}

static bool has(char **argv, const char *word)
{
	for (; *argv; argv++)
		if (strcmp(*argv, word) == 0)
			return true;
	return false;
}

static void argv(void **state)
{
	const struct weft_unpacked image = {.initrd = true, .files = "files"};
	struct weft_qemu_args a = {
		.id = ID,
		.machine = weft_qemu_machine(WEFT_ARCH_AMD64, WEFT_MACHINE_MICROVM),
		.image = &image,
		.cmdline = "x",
		.log_path = "/a,b",
		.memory_mb = 64,
		.vcpus = 2,
		.tap = true,
		.mac = {2, 0, 0, 0, 0, 0xa},
		.mtu = 1450,
	};
	_cleanup_(strv_freep) char **micro = NULL, **q35 = NULL;

	(void)state;
	assert_int_equal(weft_qemu_argv(&a, &micro), 0);
	assert_true(has(micro, "file,id=console,path=/a,,b,append=on"));
	assert_true(has(micro, "virtio-net-device,netdev=n0,mac=02:00:00:00:00:0a,host_mtu=1450"));
	assert_true(has(micro, "virtio-mmio.force-legacy=false"));
	assert_true(has(micro, "initrd"));
	assert_false(has(micro, "-runas"));
	a.machine = weft_qemu_machine(WEFT_ARCH_AMD64, WEFT_MACHINE_Q35);
	a.kvm = a.drop = true;
	a.mtu = 1500;
	assert_int_equal(weft_qemu_argv(&a, &q35), 0);
	assert_true(has(q35, "virtio-net-pci,romfile=,netdev=n0,mac=02:00:00:00:00:0a"));
	assert_true(has(q35, WEFT_QEMU_KVM_CPU));
	assert_true(has(q35, "-runas"));
	assert_true(has(q35, "virtio-9p-pci,fsdev=fs1,mount_tag=fs1"));
	assert_null(weft_qemu_machine(WEFT_ARCH_ARM64, WEFT_MACHINE_Q35));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cmdline),
		cmocka_unit_test(argv),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
