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
#include "runtimes/qemu/guest_config.h"
#include "runtimes/qemu/machine.h"

#define ID "shop.web.1"

static char *make(struct weft_cmdline *c)
{
	struct weft_err err = {};
	char *s = NULL;

	if (weft_qemu_cmdline(c, &s, &err) != 0)
		fail_msg("%s", err.msg);
	return s;
}

static void expect(struct weft_cmdline *c, const char *want)
{
	_cleanup_(freep) char *s = make(c);

	assert_string_equal(s, want);
}

static const struct weft_runtime_mount mounts[] = {
	{.source = "/srv/www", .target = "/www", .read_only = true},
	{.source = "/srv/data", .target = "/my data"},
};

static void unikraft(void **state)
{
	struct weft_hints h = {
		.netdev = WEFT_NETDEV_IP, .kernel_args = "spin=50", .args = "-c /nginx.conf"};
	struct weft_runtime_net net = {.prefix_len = 26};
	struct weft_cmdline c = {.hints = &h,
		.id = ID,
		.net = &net,
		.machine = weft_qemu_machine(WEFT_ARCH_AMD64, WEFT_MACHINE_Q35, false)};
	const char *const args[] = {"name=a b", "it's", "", "plain", NULL};
	const char *const env[] = {"A=b c", "D=e", NULL};
	const char *const none[] = {NULL};

	(void)state;
	inet_pton(AF_INET, "10.19.1.2", &net.addr);
	inet_pton(AF_INET, "10.19.1.1", &net.gateway);
	expect(&c, "netdev.ip=10.19.1.2/26:10.19.1.1 spin=50 -- -c /nginx.conf");
	/* For whom takes it, as Unikraft does not. */
	inet_pton(AF_INET6, "fc00::102", &net.addr6);
	net.prefix6_len = 128;
	expect(&c, "netdev.ip=10.19.1.2/26:10.19.1.1 spin=50 -- -c /nginx.conf");
	h.ipv6 = true;
	expect(&c,
		"netdev.ip=10.19.1.2/26:10.19.1.1 weft.ip6=fc00::102/128 spin=50 -- -c /nginx.conf");
	inet_pton(AF_INET6, "fe80::1", &net.gateway6);
	expect(&c,
		"netdev.ip=10.19.1.2/26:10.19.1.1 weft.ip6=fc00::102/128 weft.gw6=fe80::1 spin=50 "
		"-- -c /nginx.conf");
	h.ipv6 = false;
	h.netdev = WEFT_NETDEV_IPV4_ADDR;
	h.kernel_args[0] = '\0';
	c.args = args;
	c.env = env;
	expect(&c, "netdev.ipv4_addr=10.19.1.2 netdev.ipv4_gw_addr=10.19.1.1 "
		   "netdev.ipv4_subnet_mask=255.255.255.192 env.vars=[ \"A=b c\" \"D=e\" ] -- "
		   "\"name=a b\" \"it's\" \"\" plain");
	net = (struct weft_runtime_net){};
	c.args = c.env = none;
	expect(&c, "--");

	/* Mounts go behind those of the image. */
	c.mounts = mounts;
	c.n_mounts = 2;
	expect(&c, "vfs.fstab=[ \"m0:/www:9pfs\" \"m1:/my data:9pfs\" ] --");
	strcpy(h.kernel_args, "vfs.fstab=[ \"fs0:/:9pfs\" ] spin=1");
	expect(&c, "vfs.fstab=[ \"fs0:/:9pfs\"  \"m0:/www:9pfs\" \"m1:/my data:9pfs\" ] spin=1 --");

	/* Where qemu does not tell where the devices are. */
	c.n_mounts = 0;
	h.kernel_args[0] = '\0';
	c.machine = weft_qemu_machine(WEFT_ARCH_AMD64, WEFT_MACHINE_MICROVM, true);
	c.n_virtio = 2;
	expect(&c, "virtio_mmio.device=512@0xfeb00e00:23 virtio_mmio.device=512@0xfeb00c00:22 "
		   "ged.device=0xfea00000:9 --");
	c.net = NULL;
	c.n_virtio = 0;
	expect(&c, "weft.net=fw_cfg ged.device=0xfea00000:9 --");
}

static void linux_form(void **state)
{
	struct weft_hints h = {.netdev = WEFT_NETDEV_LINUX, .kernel_args = "console=ttyS0"};
	struct weft_runtime_net net = {.prefix_len = 24};
	struct weft_cmdline c = {.hints = &h,
		.id = ID,
		.net = &net,
		.machine = weft_qemu_machine(WEFT_ARCH_AMD64, WEFT_MACHINE_PC, true),
		.mounts = mounts,
		.n_mounts = 2};
	const char *const args[] = {"redis-server", "--save", "", "a=b c", "it's", NULL};
	const char *const env[] = {"TZ=UTC", "GREETING=good day", NULL};

	(void)state;
	inet_pton(AF_INET, "10.0.0.2", &net.addr);
	c.args = args;
	c.env = env;
	expect(&c, "ip=10.0.0.2:::255.255.255.0:" ID ":eth0:off console=ttyS0 "
		   "weft.mount=\"m0:/www:ro\" weft.mount=\"m1:/my data\" TZ=UTC "
		   "GREETING=\"good day\" -- redis-server --save \"\" a=\"b c\" it's");
	inet_pton(AF_INET, "10.0.0.1", &net.gateway);
	c.args = c.env = NULL;
	c.n_mounts = 0;
	strcpy(h.args, "/sbin/app -x");
	expect(&c, "ip=10.0.0.2::10.0.0.1:255.255.255.0:" ID ":eth0:off console=ttyS0 -- "
		   "/sbin/app -x");
}

static void refused(void **state)
{
	const struct {
		enum weft_netdev_args form;
		const char *arg, *env, *target;
		int r;
	} bad[] = {
		{WEFT_NETDEV_IP, "a\nb", NULL, NULL, -EINVAL},
		{WEFT_NETDEV_IP, "both ' and \"", NULL, NULL, -EINVAL},
		{WEFT_NETDEV_IP, NULL, "A=\"", NULL, -EINVAL},
		{WEFT_NETDEV_IP, NULL, NULL, "/a:b", -EINVAL},
		{WEFT_NETDEV_LINUX, "say \"hi\"", NULL, NULL, -EINVAL},
		{WEFT_NETDEV_LINUX, NULL, "a.b=c", NULL, -EINVAL},
		{WEFT_NETDEV_LINUX, NULL, "A=\t", NULL, -EINVAL},
		{WEFT_NETDEV_LINUX, NULL, NULL, "/a\"b", -EINVAL},
	};
	_cleanup_(freep) char *huge = calloc(1, 6000);
	const char *many[40] = {NULL}, *const one[] = {memset(huge, 'x', 5999), NULL};
	struct weft_runtime_net net = {};
	struct weft_hints h = {.netdev = WEFT_NETDEV_IP};
	struct weft_cmdline c = {.hints = &h,
		.id = ID,
		.net = &net,
		.machine = weft_qemu_machine(WEFT_ARCH_AMD64, WEFT_MACHINE_PC, true)};
	char *s = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *const args[] = {bad[i].arg, NULL}, *const env[] = {bad[i].env, NULL};
		const struct weft_runtime_mount m = {.source = "/x", .target = bad[i].target};
		struct weft_err err = {};

		h.netdev = bad[i].form;
		c.args = args;
		c.env = env;
		c.mounts = &m;
		c.n_mounts = bad[i].target ? 1 : 0;
		assert_int_equal(weft_qemu_cmdline(&c, &s, &err), bad[i].r);
		assert_true(err.msg[0]);
	}
	c.n_mounts = 0;
	c.env = NULL;
	c.args = one;
	h.netdev = WEFT_NETDEV_IP;
	assert_int_equal(weft_qemu_cmdline(&c, &s, NULL), -E2BIG);
	h.netdev = WEFT_NETDEV_LINUX;
	huge[2100] = '\0';
	assert_int_equal(weft_qemu_cmdline(&c, &s, NULL), -E2BIG);
	huge[1900] = '\0';
	assert_int_equal(weft_qemu_cmdline(&c, &s, NULL), 0);
	free(TAKE_PTR(s));
	for (size_t i = 0; i + 1 < ARRAY_SIZE(many); i++)
		many[i] = "x=1";
	c.args = many;
	assert_int_equal(weft_qemu_cmdline(&c, &s, NULL), -E2BIG);
	c.args = NULL;
	c.env = many;
	assert_int_equal(weft_qemu_cmdline(&c, &s, NULL), -E2BIG);
	h.netdev = WEFT_NETDEV_IP;
	assert_int_equal(weft_qemu_cmdline(&c, &s, NULL), 0);
	free(TAKE_PTR(s));
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
		.machine = weft_qemu_machine(WEFT_ARCH_AMD64, WEFT_MACHINE_MICROVM, false),
		.image = &image,
		.cmdline = "x",
		.log_path = "/a,b",
		.memory_mb = 64,
		.vcpus = 2,
		.queues = 1,
		.mac = {2, 0, 0, 0, 0, 0xa},
		.mtu = 1450,
	};
	_cleanup_(strv_freep) char **micro = NULL;

	(void)state;
	assert_int_equal(weft_qemu_argv(&a, &micro), 0);
	assert_true(has(micro, "file,id=console,append=on,path=/a,,b"));
	assert_true(has(micro, "virtio-net-device,netdev=n0,mac=02:00:00:00:00:0a,host_mtu=1450"));
	assert_true(has(micro, "virtio-mmio.force-legacy=false"));
	assert_true(has(micro, "tap,id=n0,fd=4,vhost=off"));
	assert_true(has(micro, "initrd"));
	assert_false(has(micro, "-runas"));
	assert_false(has(micro, "-incoming"));
	assert_int_equal(weft_qemu_virtio_count(&a), 3);
}

static void argv_more(void **state)
{
	const struct weft_unpacked image = {.files = "files"}, arm = {.hints.watchdog = true};
	struct weft_qemu_args a = {
		.id = ID,
		.machine = weft_qemu_machine(WEFT_ARCH_AMD64, WEFT_MACHINE_Q35, false),
		.image = &image,
		.cmdline = "x",
		.log_path = "/x",
		.memory_mb = 64,
		.vcpus = 2,
		.queues = 2,
		.mac = {2, 0, 0, 0, 0, 0xa},
		.mtu = 1500,
		.kvm = true,
		.drop = true,
		.vhost = true,
		.config = true,
		.mounts = mounts,
		.n_mounts = 2,
	};
	_cleanup_(strv_freep) char **q35 = NULL, **virt = NULL, **warm = NULL;

	(void)state;
	assert_int_equal(weft_qemu_argv(&a, &q35), 0);
	assert_true(has(q35, "virtio-net-pci,romfile=,netdev=n0,mac=02:00:00:00:00:0a,"
			     "mq=on,vectors=6"));
	assert_true(has(q35, "tap,id=n0,fds=4:5,vhost=on,vhostfds=6:7"));
	assert_true(has(q35, "name=" WEFT_GUEST_CONFIG_NAME ",file=/dev/fd/8"));
	assert_true(has(q35, WEFT_QEMU_KVM_CPU));
	assert_true(has(q35, "-runas"));
	assert_true(has(q35, "virtio-9p-pci,fsdev=fs1,mount_tag=fs1"));
	assert_true(has(q35, "local,id=m0,path=/srv/www,security_model=none,readonly=on"));
	assert_true(has(q35, "local,id=m1,path=/srv/data,security_model=none"));

	a.incoming = true;
	a.ram = "/x/ram";
	assert_int_equal(weft_qemu_argv(&a, &warm), 0);
	assert_true(has(warm, "defer"));
	assert_true(has(warm, "memory-backend-file,id=ram,size=64M,share=off,mem-path=/x/ram"));
	assert_true(has(warm, "q35,usb=off,vmport=off,memory-backend=ram"));

	a = (struct weft_qemu_args){.id = ID,
		.machine = weft_qemu_machine(WEFT_ARCH_ARM64, WEFT_MACHINE_VIRT, true),
		.image = &arm,
		.cmdline = "x",
		.log_path = "/x",
		.memory_mb = 64,
		.vcpus = 1};
	assert_int_equal(weft_qemu_argv(&a, &virt), 0);
	assert_string_equal(virt[0], WEFT_QEMU_ARM64);
	assert_true(has(virt, "pvpanic-pci"));
	assert_true(has(virt, "i6300esb"));
	assert_true(has(virt, "watchdog=pause"));
	assert_false(has(virt, "-netdev"));
	assert_null(weft_qemu_machine(WEFT_ARCH_ARM64, WEFT_MACHINE_Q35, true));
	assert_null(weft_qemu_machine(WEFT_ARCH_AMD64, WEFT_MACHINE_VIRT, true));
}

/* What is not said follows from the kernel. */
static void settle(void **state)
{
	const struct {
		struct weft_kernel kernel;
		enum weft_arch arch;
		enum weft_machine machine;
		enum weft_netdev_args netdev;
		int powerdown;
	} want[] = {
		{{WEFT_KERNEL_BZIMAGE, false}, WEFT_ARCH_AMD64, WEFT_MACHINE_PC, WEFT_NETDEV_LINUX,
			1},
		{{WEFT_KERNEL_MULTIBOOT, true}, WEFT_ARCH_AMD64, WEFT_MACHINE_Q35,
			WEFT_NETDEV_IPV4_ADDR, 0},
		{{WEFT_KERNEL_PVH, false}, WEFT_ARCH_AMD64, WEFT_MACHINE_Q35, WEFT_NETDEV_IP, 0},
		{{WEFT_KERNEL_ELF, false}, WEFT_ARCH_ARM64, WEFT_MACHINE_VIRT, WEFT_NETDEV_IP, 0},
		{{WEFT_KERNEL_IMAGE, false}, WEFT_ARCH_ARM64, WEFT_MACHINE_VIRT, WEFT_NETDEV_LINUX,
			1},
	};
	struct weft_hints h, said;
	struct weft_err err = {};
	json_auto_t *o = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		weft_hints_default(&h);
		weft_hints_settle(&h, want[i].arch, &want[i].kernel);
		assert_int_equal(h.machine, want[i].machine);
		assert_int_equal(h.netdev, want[i].netdev);
		assert_int_equal(h.powerdown, want[i].powerdown);
		assert_int_equal(h.queues, 1);
	}
	{
		static const char text[] =
			"{\"machine\": \"microvm\", \"netdev\": \"ip\", \"powerdown\": true, "
			"\"queues\": 4, \"watchdog\": true, \"warm\": \"can\"}";

		assert_int_equal(weft_hints_parse(text, sizeof(text) - 1, &h, &err), 0);
	}
	said = h;
	weft_hints_settle(&h, WEFT_ARCH_AMD64, &want[1].kernel);
	assert_memory_equal(&h, &said, sizeof(h));
	assert_int_equal(h.warm, WEFT_WARM_CAN);
	o = weft_hints_to_json(&h);
	assert_int_equal(weft_hints_from_json(o, &said, &err), 0);
	assert_memory_equal(&h, &said, sizeof(h));
	assert_int_equal(weft_hints_parse("{\"queues\": 9}", 13, &h, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "queues is not a number from 1 to 8"));
}

static void guest_config(void **state)
{
	char wait[WEFT_GUEST_CONFIG_SIZE + 1], go[WEFT_GUEST_CONFIG_SIZE + 1], again[sizeof(go)];
	struct weft_runtime_net net = {.prefix_len = 26, .mac = {2, 0, 0x0a, 0x13, 1, 2}};
	char long_id[77];

	(void)state;
	inet_pton(AF_INET, "10.19.1.2", &net.addr);
	inet_pton(AF_INET, "10.19.1.1", &net.gateway);
	memset(long_id, 'x', 76);
	long_id[76] = '\0';
	assert_int_equal(weft_guest_config_text(NULL, NULL, wait), 0);
	assert_int_equal(weft_guest_config_text(ID, &net, go), 0);
	assert_int_equal(weft_guest_config_text(ID, &net, again), 0);
	assert_int_equal(weft_guest_config_text(long_id, &net, again), 0);
	assert_int_equal(strlen(wait), WEFT_GUEST_CONFIG_SIZE);
	assert_int_equal(strlen(go), WEFT_GUEST_CONFIG_SIZE);
	assert_int_equal(strncmp(wait, "weft-guest 1\nstate=wait\n\n", 25), 0);
	assert_int_equal(strncmp(go,
				 "weft-guest 1\nstate=go\nname=" ID "\nmac=02:00:0a:13:01:02\n"
				 "ip=10.19.1.2/26\ngw=10.19.1.1\ntime_ms=1",
				 90),
		0);
	assert_string_not_equal(strstr(go, "seed="), strstr(again, "seed="));
	/* The longest there can be. */
	inet_pton(AF_INET6, "fc00:1111:2222:3333:4444:5555:6666:7777", &net.addr6);
	inet_pton(AF_INET6, "fe80:1111:2222:3333:4444:5555:6666:7777", &net.gateway6);
	net.prefix6_len = 128;
	assert_int_equal(weft_guest_config_text(long_id, &net, again), 0);
	assert_non_null(strstr(again, "\nip6=fc00:1111:2222:3333:4444:5555:6666:7777/128\n"
				      "gw6=fe80:1111:2222:3333:4444:5555:6666:7777\ntime_ms=1"));
	assert_string_equal(again + WEFT_GUEST_CONFIG_SIZE - 1, "\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unikraft),
		cmocka_unit_test(linux_form),
		cmocka_unit_test(refused),
		cmocka_unit_test(argv),
		cmocka_unit_test(argv_more),
		cmocka_unit_test(settle),
		cmocka_unit_test(guest_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
