/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "ctrl/daemon/config.h"

enum {
	OPT_ROLE = 256,
	OPT_STATE_DIR,
	OPT_SOCKET,
	OPT_SOCKET_GROUP,
	OPT_LISTEN,
	OPT_TLS_CERT,
	OPT_TLS_KEY,
	OPT_TOKENS,
	OPT_API_CONNECTIONS,
	OPT_API_STREAMS,
	OPT_API_CALLS,
	OPT_API_HEAD_TIMEOUT,
	OPT_BPFFS,
	OPT_NODE,
	OPT_SUBNET,
	OPT_SUBNET6,
	OPT_HOST_DEVICE,
	OPT_MTU,
	OPT_CONTAINERD,
	OPT_CTRD_NAMESPACE,
	OPT_CGROUP,
	OPT_LIBEXEC,
	OPT_REGISTRIES,
	OPT_IMAGE_KEEP,
	OPT_UPLINK,
	OPT_TUNNEL_PORT,
	OPT_XDP,
	OPT_INSTANCES,
	OPT_LOG_LEVEL,
	OPT_IN_FILE, /* from here on: of the command line alone */
	OPT_CONFIG = OPT_IN_FILE,
	OPT_CHECK_CONFIG,
	OPT_PRINT_CONFIG,
	OPT_PURGE,
	OPT_VERSION,
};

#define FIRST OPT_ROLE

static const struct option longopts[] = {
	{"role", required_argument, NULL, OPT_ROLE},
	{"state-dir", required_argument, NULL, OPT_STATE_DIR},
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"socket-group", required_argument, NULL, OPT_SOCKET_GROUP},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"tls-cert", required_argument, NULL, OPT_TLS_CERT},
	{"tls-key", required_argument, NULL, OPT_TLS_KEY},
	{"tokens", required_argument, NULL, OPT_TOKENS},
	{"api-connections", required_argument, NULL, OPT_API_CONNECTIONS},
	{"api-streams", required_argument, NULL, OPT_API_STREAMS},
	{"api-calls", required_argument, NULL, OPT_API_CALLS},
	{"api-head-timeout", required_argument, NULL, OPT_API_HEAD_TIMEOUT},
	{"bpffs", required_argument, NULL, OPT_BPFFS},
	{"node", required_argument, NULL, OPT_NODE},
	{"subnet", required_argument, NULL, OPT_SUBNET},
	{"subnet6", required_argument, NULL, OPT_SUBNET6},
	{"host-device", required_argument, NULL, OPT_HOST_DEVICE},
	{"mtu", required_argument, NULL, OPT_MTU},
	{"containerd", required_argument, NULL, OPT_CONTAINERD},
	{"containerd-namespace", required_argument, NULL, OPT_CTRD_NAMESPACE},
	{"cgroup", required_argument, NULL, OPT_CGROUP},
	{"libexec", required_argument, NULL, OPT_LIBEXEC},
	{"registries", required_argument, NULL, OPT_REGISTRIES},
	{"image-keep", required_argument, NULL, OPT_IMAGE_KEEP},
	{"uplink", required_argument, NULL, OPT_UPLINK},
	{"tunnel-port", required_argument, NULL, OPT_TUNNEL_PORT},
	{"xdp", required_argument, NULL, OPT_XDP},
	{"instances", required_argument, NULL, OPT_INSTANCES},
	{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
	{"config", required_argument, NULL, OPT_CONFIG},
	{"check-config", no_argument, NULL, OPT_CHECK_CONFIG},
	{"print-config", no_argument, NULL, OPT_PRINT_CONFIG},
	{"purge", no_argument, NULL, OPT_PURGE},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static void help(void)
{
	puts("weftd [--config=/etc/weft/weftd.conf] [--check-config | --print-config]\n"
	     "      [--role=all] [--state-dir=/var/lib/weft] [--socket=/run/weft/weftd.sock]\n"
	     "      [--socket-group=NAME] [--listen=ADDRESS:PORT --tls-cert=FILE --tls-key=FILE\n"
	     "      --tokens=FILE]\n"
	     "      [--api-connections=256] [--api-streams=32] [--api-calls=32]\n"
	     "      [--api-head-timeout=10]\n"
	     "      [--bpffs=/sys/fs/bpf/weft] [--node=NAME] [--subnet=10.18.0.0/26]\n"
	     "      [--subnet6=fc00::/120|off] [--host-device=weft0] [--mtu=1500]\n"
	     "      [--containerd=SOCKET] [--containerd-namespace=weft] [--cgroup=weft]\n"
	     "      [--libexec=DIR] [--registries=/etc/weft/registries.json]\n"
	     "      [--image-keep=86400]\n"
	     "      [--instances=10.30.128.0/17] [--uplink=DEVICE] [--tunnel-port=50103]\n"
	     "      [--xdp=auto|native|generic|off]\n"
	     "      [--log-level=error|warning|info|debug] [--purge] [--version]\n"
	     "See weftd(8).");
}

static int parse_role(const char *option, const char *role, struct weft_err *err)
{
	if (strcmp(role, "all") == 0)
		return 0;
	if (strcmp(role, "node") == 0 || strcmp(role, "cluster") == 0 || strcmp(role, "root") == 0)
		weft_err_set(err, ENOTSUP, "%s=%s: this weftd manages one node only", option, role);
	else
		weft_err_set(err, EINVAL, "%s=%s: unknown role", option, role);
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

static int set_mtu(
	const char *option, const char *arg, struct weft_engine_config *c, struct weft_err *err)
{
	uint64_t mtu;

	if (weft_parse_u64(arg, 576, 65000, &mtu) < 0) {
		weft_err_set(err, EINVAL, "%s=%s is no MTU", option, arg);
		return weft_err_hint(err, "a number of bytes from 576 to 65000");
	}
	c->mtu = (uint16_t)mtu;
	return 0;
}

static int set_image_keep(
	const char *option, const char *arg, struct weft_engine_config *c, struct weft_err *err)
{
	uint64_t seconds;

	if (weft_parse_u64(arg, 1, UINT32_MAX, &seconds) < 0) {
		weft_err_set(err, EINVAL, "%s=%s is no time", option, arg);
		return weft_err_hint(err, "a number of seconds from 1 on; a day is 86400");
	}
	c->image_keep_s = (uint32_t)seconds;
	return 0;
}

static int set_limit(
	unsigned *ret, const char *option, const char *arg, unsigned max, struct weft_err *err)
{
	uint64_t n;

	if (weft_parse_u64(arg, 1, max, &n) < 0) {
		weft_err_set(err, EINVAL, "%s=%s is no limit", option, arg);
		return weft_err_hint(err, "a number from 1 to %u", max);
	}
	*ret = (unsigned)n;
	return 0;
}

static int set_each(int opt, const char *option, const char *arg, struct weft_api_each *each,
	struct weft_err *err)
{
	switch (opt) {
	case OPT_API_CONNECTIONS:
		return set_limit(&each->connections, option, arg, 512, err);
	case OPT_API_STREAMS:
		return set_limit(&each->streams, option, arg, 64, err);
	case OPT_API_CALLS:
		return set_limit(&each->calls, option, arg, 64, err);
	default:
		return set_limit(&each->head_s, option, arg, 3600, err);
	}
}

static int set_api(int opt, const char *option, const char *arg, struct weft_api_config *c,
	struct weft_err *err)
{
	switch (opt) {
	case OPT_SOCKET:
		return set_path(&c->socket, option, arg, err);
	case OPT_SOCKET_GROUP:
		return set_name(&c->socket_group, option, arg, 32, err);
	case OPT_TLS_CERT:
		return set_path(&c->tls_cert, option, arg, err);
	case OPT_TLS_KEY:
		return set_path(&c->tls_key, option, arg, err);
	case OPT_TOKENS:
		return set_path(&c->tokens, option, arg, err);
	default:
		break;
	}
	if (weft_api_check_listen(arg) < 0) {
		weft_err_set(err, EINVAL, "%s=%s is not ADDRESS:PORT", option, arg);
		return weft_err_hint(err, "0.0.0.0:7443, or [::1]:7443");
	}
	c->listen = arg;
	return 0;
}

/* There is no API over TCP without TLS and tokens. */
static int check_api(const struct weft_api_config *c, struct weft_err *err)
{
	if (!c->listen || (c->tls_cert && c->tls_key && c->tokens))
		return 0;
	weft_err_set(err, EINVAL, "listen=%s: %s is missing", c->listen,
		!c->tls_cert  ? "tls-cert"
		: !c->tls_key ? "tls-key"
			      : "tokens");
	return weft_err_hint(err, "--tls-cert=FILE --tls-key=FILE --tokens=FILE; see weftd(8)");
}

static int set_log_level(
	const char *option, const char *arg, struct options *o, struct weft_err *err)
{
	int level = weft_log_parse_level(arg);

	if (level < 0) {
		weft_err_set(err, EINVAL, "%s=%s: unknown level", option, arg);
		return weft_err_hint(err, "error, warning, info or debug");
	}
	o->log_level = level;
	return 0;
}

static int set_network(int opt, const char *option, const char *arg, struct weft_engine_config *c,
	struct weft_err *err)
{
	switch (opt) {
	case OPT_SUBNET:
		return options_subnet(option, arg, c, err);
	case OPT_SUBNET6:
		return options_subnet6(option, arg, c, err);
	case OPT_MTU:
		return set_mtu(option, arg, c, err);
	case OPT_UPLINK:
		return options_uplink(option, arg, c, err);
	case OPT_TUNNEL_PORT:
		return options_tunnel_port(option, arg, c, err);
	case OPT_XDP:
		return options_xdp(option, arg, c, err);
	case OPT_INSTANCES:
		return options_instances(option, arg, c, err);
	default:
		return weft_err_set(err, EINVAL, "unknown option");
	}
}

/* option is what it is called where it was given. */
static int set_one(
	int opt, const char *option, const char *arg, struct options *o, struct weft_err *err)
{
	struct weft_engine_config *c = &o->engine;

	if (opt >= OPT_SOCKET && opt <= OPT_TOKENS)
		return set_api(opt, option, arg, &o->api, err);
	if (opt >= OPT_API_CONNECTIONS && opt <= OPT_API_HEAD_TIMEOUT)
		return set_each(opt, option, arg, &o->api.each, err);
	switch (opt) {
	case OPT_ROLE:
		return parse_role(option, arg, err);
	case OPT_STATE_DIR:
		return set_path(&c->state_dir, option, arg, err);
	case OPT_BPFFS:
		return set_path(&c->bpffs, option, arg, err);
	case OPT_NODE:
		return set_name(&c->node, option, arg, 128, err);
	case OPT_HOST_DEVICE:
		/* room for ".1023" behind it in IFNAMSIZ */
		return set_name(&c->host_device, option, arg, 10, err);
	case OPT_CONTAINERD:
		return set_path(&c->containerd, option, arg, err);
	case OPT_CTRD_NAMESPACE:
		return set_name(&c->ctrd_namespace, option, arg, 76, err);
	case OPT_CGROUP:
		return set_name(&c->cgroup, option, arg, 64, err);
	case OPT_LIBEXEC:
		return set_path(&c->libexec, option, arg, err);
	case OPT_REGISTRIES:
		return set_path(&c->registries, option, arg, err);
	case OPT_IMAGE_KEEP:
		return set_image_keep(option, arg, c, err);
	case OPT_LOG_LEVEL:
		return set_log_level(option, arg, o, err);
	case OPT_CONFIG:
		return set_path(&o->config, option, arg, err);
	case OPT_CHECK_CONFIG:
		o->check_config = true;
		return 0;
	case OPT_PRINT_CONFIG:
		o->print_config = true;
		return 0;
	case OPT_PURGE:
		o->purge = true;
		return 0;
	default:
		return set_network(opt, option, arg, c, err);
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

static const struct option *option_of(int opt)
{
	for (const struct option *o = longopts; o->name; o++)
		if (o->val == opt)
			return o;
	return NULL;
}

static void defaults(struct options *o)
{
	static const char *const values[OPTIONS_MAX] = {
		[OPT_ROLE - FIRST] = "all",
		[OPT_STATE_DIR - FIRST] = "/var/lib/weft",
		[OPT_SOCKET - FIRST] = "/run/weft/weftd.sock",
		[OPT_API_CONNECTIONS - FIRST] = "256",
		[OPT_API_STREAMS - FIRST] = "32",
		[OPT_API_CALLS - FIRST] = "32",
		[OPT_API_HEAD_TIMEOUT - FIRST] = "10",
		[OPT_BPFFS - FIRST] = "/sys/fs/bpf/weft",
		[OPT_SUBNET - FIRST] = "10.18.0.0/26",
		[OPT_SUBNET6 - FIRST] = "fc00::/120",
		[OPT_HOST_DEVICE - FIRST] = "weft0",
		[OPT_MTU - FIRST] = "1500",
		[OPT_CTRD_NAMESPACE - FIRST] = "weft",
		[OPT_CGROUP - FIRST] = "weft",
		[OPT_REGISTRIES - FIRST] = "/etc/weft/registries.json",
		[OPT_IMAGE_KEEP - FIRST] = "86400",
		[OPT_TUNNEL_PORT - FIRST] = "50103",
		[OPT_XDP - FIRST] = "auto",
		[OPT_INSTANCES - FIRST] = "10.30.128.0/17",
		[OPT_LOG_LEVEL - FIRST] = "info",
	};

	_Static_assert(OPT_IN_FILE - FIRST <= OPTIONS_MAX, "a value for each setting");
	*o = (struct options){.config = CONFIG_DEFAULT};
	memcpy(o->value, values, sizeof(values));
	gethostname(o->node, sizeof(o->node) - 1);
	o->value[OPT_NODE - FIRST] = o->engine.node = o->node;
	find_libexec(o->libexec, sizeof(o->libexec));
	o->value[OPT_LIBEXEC - FIRST] = o->engine.libexec = o->libexec;
}

/* What was given, in longopts' order of values; 1 when help or version was wanted. */
static int scan(int argc, char **argv, const char *given[OPT_VERSION - FIRST], struct weft_err *err)
{
	int opt;

	optind = 0;
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
		given[opt - FIRST] = optarg ? optarg : "";
	}
	if (optind < argc) {
		weft_err_set(err, EINVAL, "%s: weftd takes options only", argv[optind]);
		return weft_err_hint(err, "weftd --help");
	}
	return 0;
}

int options_setting(const char *key)
{
	for (const struct option *o = longopts; o->val < OPT_IN_FILE; o++) {
		size_t n = strlen(o->name), i;

		for (i = 0; i < n && key[i] == (o->name[i] == '-' ? '_' : o->name[i]); i++)
			;
		if (i == n && !key[n])
			return o->val;
	}
	return -ENOENT;
}

int options_set(
	struct options *o, int setting, const char *label, const char *value, struct weft_err *err)
{
	int r = set_one(setting, label, value, o, err);

	if (r == 0 && setting < OPT_IN_FILE)
		o->value[setting - FIRST] = value;
	return r;
}

static int set_all(
	struct options *o, const char *const *given, int from, int to, struct weft_err *err)
{
	char label[40];
	int r = 0;

	for (int opt = from; opt < to && r == 0; opt++) {
		if (!given[opt - FIRST])
			continue;
		snprintf(label, sizeof(label), "--%s", option_of(opt)->name);
		r = options_set(o, opt, label, given[opt - FIRST], err);
	}
	return r;
}

int options_parse(int argc, char **argv, struct options *ret, struct weft_err *err)
{
	const char *given[OPT_VERSION - FIRST] = {NULL};
	int r;

	defaults(ret);
	for (int opt = FIRST; opt < OPT_IN_FILE; opt++)
		if (ret->value[opt - FIRST] && opt != OPT_NODE)
			set_one(opt, "", ret->value[opt - FIRST], ret, err);
	r = scan(argc, argv, given, err);
	if (r == 0)
		r = set_all(ret, given, OPT_IN_FILE, OPT_VERSION, err);
	if (r == 0)
		r = config_read(ret->config, given[OPT_CONFIG - FIRST] != NULL, ret, err);
	if (r == 0)
		r = set_all(ret, given, FIRST, OPT_IN_FILE, err);
	if (r == 0 && !weft_name_valid(ret->engine.node, 128)) {
		weft_err_set(err, EINVAL, "the host name \"%s\" cannot be this node's name",
			ret->engine.node);
		r = weft_err_hint(err, "give one: --node=NAME");
	}
	if (r == 0)
		r = check_api(&ret->api, err);
	if (r != 0)
		options_free(ret);
	return r;
}

void options_free(struct options *o)
{
	for (size_t i = 0; i < ARRAY_SIZE(o->owned); i++) {
		free(o->owned[i]);
		o->owned[i] = NULL;
	}
}

static bool is_number(int opt)
{
	return opt == OPT_MTU || opt == OPT_TUNNEL_PORT || opt == OPT_IMAGE_KEEP ||
	       (opt >= OPT_API_CONNECTIONS && opt <= OPT_API_HEAD_TIMEOUT);
}

int options_print(const struct options *o)
{
	json_auto_t *doc = json_object();
	uint64_t number;
	char key[40];
	int r;

	for (int opt = FIRST; opt < OPT_IN_FILE; opt++) {
		const char *value = o->value[opt - FIRST];

		if (!value)
			continue;
		snprintf(key, sizeof(key), "%s", option_of(opt)->name);
		for (char *p = key; (p = strchr(p, '-')) != NULL;)
			*p = '_';
		json_object_set_new(doc, key,
			is_number(opt) && weft_parse_u64(value, 0, UINT32_MAX, &number) == 0
				? json_integer((json_int_t)number)
				: json_string(value));
	}
	r = json_dumpf(doc, stdout, JSON_INDENT(2));
	return r < 0 || puts("") < 0 || fflush(stdout) < 0 ? -EIO : 0;
}

void options_reload(struct options *now, const struct options *fresh)
{
	if (now->log_level != fresh->log_level) {
		weft_log_level(fresh->log_level);
		log_info("log_level is %s now", fresh->value[OPT_LOG_LEVEL - FIRST]);
		now->log_level = fresh->log_level;
	}
	for (int opt = FIRST; opt < OPT_IN_FILE; opt++) {
		const char *a = now->value[opt - FIRST], *b = fresh->value[opt - FIRST];

		if (opt != OPT_LOG_LEVEL && (!a != !b || (a && strcmp(a, b) != 0)))
			log_warning("%s has changed: it counts from the next start on",
				option_of(opt)->name);
	}
}
