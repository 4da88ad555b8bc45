/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/daemon/options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"

enum {
	OPT_ROLE = 256,
	OPT_STATE_DIR,
	OPT_SOCKET,
	OPT_BPFFS,
	OPT_NODE,
	OPT_SUBNET,
	OPT_HOST_DEVICE,
	OPT_MTU,
	OPT_CONTAINERD,
	OPT_CTRD_NAMESPACE,
	OPT_CGROUP,
	OPT_LIBEXEC,
	OPT_REGISTRIES,
	OPT_LOG_LEVEL,
	OPT_PURGE,
	OPT_VERSION,
};

static const struct option longopts[] = {
	{"role", required_argument, NULL, OPT_ROLE},
	{"state-dir", required_argument, NULL, OPT_STATE_DIR},
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"bpffs", required_argument, NULL, OPT_BPFFS},
	{"node", required_argument, NULL, OPT_NODE},
	{"subnet", required_argument, NULL, OPT_SUBNET},
	{"host-device", required_argument, NULL, OPT_HOST_DEVICE},
	{"mtu", required_argument, NULL, OPT_MTU},
	{"containerd", required_argument, NULL, OPT_CONTAINERD},
	{"containerd-namespace", required_argument, NULL, OPT_CTRD_NAMESPACE},
	{"cgroup", required_argument, NULL, OPT_CGROUP},
	{"libexec", required_argument, NULL, OPT_LIBEXEC},
	{"registries", required_argument, NULL, OPT_REGISTRIES},
	{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
	{"purge", no_argument, NULL, OPT_PURGE},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static void help(void)
{
	puts("weftd [--role=all] [--state-dir=/var/lib/weft] [--socket=/run/weft/weftd.sock]\n"
	     "      [--bpffs=/sys/fs/bpf/weft] [--node=NAME] [--subnet=10.18.0.0/26]\n"
	     "      [--host-device=weft0] [--mtu=1500] [--containerd=SOCKET]\n"
	     "      [--containerd-namespace=weft] [--cgroup=weft] [--libexec=DIR]\n"
	     "      [--registries=/etc/weft/registries.json]\n"
	     "      [--log-level=error|warning|info|debug] [--purge] [--version]\n"
	     "See weftd(8).");
}

static int parse_subnet(const char *text, struct weft_engine_config *c, struct weft_err *err)
{
	char copy[INET_ADDRSTRLEN + 4];
	uint64_t len;
	char *slash;

	snprintf(copy, sizeof(copy), "%s", strlen(text) < sizeof(copy) ? text : "");
	slash = strchr(copy, '/');
	if (slash)
		*slash = '\0';
	if (!slash || inet_pton(AF_INET, copy, &c->subnet) != 1 ||
		weft_parse_u64(slash + 1, 16, 29, &len) < 0 ||
		(ntohl(c->subnet.s_addr) & ((1u << (32 - len)) - 1)) != 0 ||
		ntohl(c->subnet.s_addr) >> 20 != 0x0a1 || ntohl(c->subnet.s_addr) >> 16 == 0x0a1e) {
		weft_err_set(err, EINVAL, "--subnet=%s is not a subnet of the overlay", text);
		return weft_err_hint(err, "a /16 to /29 in 10.16.0.0/12 outside 10.30.0.0/16, such "
					  "as 10.18.0.0/26");
	}
	c->subnet_len = (uint8_t)len;
	return 0;
}

static int parse_role(const char *role, struct weft_err *err)
{
	if (strcmp(role, "all") == 0)
		return 0;
	if (strcmp(role, "node") == 0 || strcmp(role, "cluster") == 0 || strcmp(role, "root") == 0)
		weft_err_set(err, ENOTSUP, "--role=%s: this weftd manages one node only", role);
	else
		weft_err_set(err, EINVAL, "--role=%s: unknown role", role);
	return weft_err_hint(err, "--role=all");
}

static int set_name(
	const char **ret, const char *option, const char *arg, size_t max, struct weft_err *err)
{
	if (!weft_name_valid(arg, max)) {
		weft_err_set(err, EINVAL, "%s=%s is no name", option, arg);
		return weft_err_hint(err,
			"letters, digits, '.', '_' and '-', a letter or digit first, at most %zu "
			"in all",
			max);
	}
	*ret = arg;
	return 0;
}

/* Helpers and instances are started elsewhere, where a relative path would mean another file. */
static int set_path(const char **ret, const char *option, const char *arg, struct weft_err *err)
{
	if (arg[0] != '/') {
		weft_err_set(err, EINVAL, "%s=%s is not an absolute path", option, arg);
		return weft_err_hint(err, "give it from the root: /...");
	}
	*ret = arg;
	return 0;
}

static int set_one(int opt, const char *arg, struct options *o, struct weft_err *err)
{
	struct weft_engine_config *c = &o->engine;
	uint64_t mtu;

	switch (opt) {
	case OPT_ROLE:
		return parse_role(arg, err);
	case OPT_STATE_DIR:
		return set_path(&c->state_dir, "--state-dir", arg, err);
	case OPT_SOCKET:
		return set_path(&o->socket, "--socket", arg, err);
	case OPT_BPFFS:
		return set_path(&c->bpffs, "--bpffs", arg, err);
	case OPT_NODE:
		return set_name(&c->node, "--node", arg, 128, err);
	case OPT_SUBNET:
		return parse_subnet(arg, c, err);
	case OPT_HOST_DEVICE:
		/* room for ".1023" behind it in IFNAMSIZ */
		return set_name(&c->host_device, "--host-device", arg, 10, err);
	case OPT_MTU:
		if (weft_parse_u64(arg, 576, 65000, &mtu) < 0) {
			weft_err_set(err, EINVAL, "--mtu=%s is no MTU", arg);
			return weft_err_hint(err, "a number of bytes from 576 to 65000");
		}
		c->mtu = (uint16_t)mtu;
		return 0;
	case OPT_CONTAINERD:
		return set_path(&c->containerd, "--containerd", arg, err);
	case OPT_CTRD_NAMESPACE:
		return set_name(&c->ctrd_namespace, "--containerd-namespace", arg, 76, err);
	case OPT_CGROUP:
		return set_name(&c->cgroup, "--cgroup", arg, 64, err);
	case OPT_LIBEXEC:
		return set_path(&c->libexec, "--libexec", arg, err);
	case OPT_REGISTRIES:
		return set_path(&c->registries, "--registries", arg, err);
	case OPT_LOG_LEVEL:
		if (weft_log_parse_level(arg) < 0) {
			weft_err_set(err, EINVAL, "--log-level=%s: unknown level", arg);
			return weft_err_hint(err, "error, warning, info or debug");
		}
		weft_log_level(weft_log_parse_level(arg));
		return 0;
	case OPT_PURGE:
		o->purge = true;
		return 0;
	default:
		return weft_err_set(err, EINVAL, "unknown option");
	}
}

/* Helper programs are in ../libexec/weft of an installation, or in libexec beside the binary. */
static void find_libexec(char *ret, size_t size)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	snprintf(ret, size, "%.3000s/libexec", self);
	if (access(ret, X_OK) < 0)
		snprintf(ret, size, "%.3000s/../libexec/weft", self);
}

int options_parse(int argc, char **argv, struct options *ret, struct weft_err *err)
{
	int opt, r;

	*ret = (struct options){
		.engine =
			{
				.state_dir = "/var/lib/weft",
				.bpffs = "/sys/fs/bpf/weft",
				.host_device = "weft0",
				.ctrd_namespace = "weft",
				.cgroup = "weft",
				.registries = "/etc/weft/registries.json",
				.subnet_len = 26,
				.mtu = 1500,
			},
		.socket = "/run/weft/weftd.sock",
	};
	optind = 0;
	ret->engine.subnet.s_addr = htonl(0x0a120000);
	gethostname(ret->node, sizeof(ret->node) - 1);
	ret->engine.node = ret->node;
	find_libexec(ret->libexec, sizeof(ret->libexec));
	ret->engine.libexec = ret->libexec;
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "h", longopts, NULL)) >= 0) {
		if (opt == 'h' || opt == OPT_VERSION) {
			if (opt == 'h')
				help();
			else
				puts("weftd " WEFT_VERSION);
			return 1;
		}
		if (opt == '?') {
			weft_err_set(err, EINVAL, "%s: unknown option, or its value is missing",
				argv[optind - 1]);
			return weft_err_hint(err, "weftd --help");
		}
		r = set_one(opt, optarg, ret, err);
		if (r < 0)
			return r;
	}
	if (optind < argc) {
		weft_err_set(err, EINVAL, "%s: weftd takes options only", argv[optind]);
		return weft_err_hint(err, "weftd --help");
	}
	if (!weft_name_valid(ret->engine.node, 128)) {
		weft_err_set(err, EINVAL, "the host name \"%s\" cannot be this node's name",
			ret->engine.node);
		return weft_err_hint(err, "give one: --node=NAME");
	}
	return 0;
}
