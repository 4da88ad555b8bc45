/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of the overlay and of the way to other nodes. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "ctrl/daemon/options.h"

/* "10.18.0.0/26", without bits behind the length. */
static int parse_prefix(
	const char *text, uint64_t min, uint64_t max, struct in_addr *ret, uint8_t *ret_len)
{
	char copy[INET_ADDRSTRLEN + 4];
	struct in_addr addr;
	uint64_t len;
	char *slash;

	snprintf(copy, sizeof(copy), "%s", strlen(text) < sizeof(copy) ? text : "");
	slash = strchr(copy, '/');
	if (slash)
		*slash = '\0';
	if (!slash || inet_pton(AF_INET, copy, &addr) != 1 ||
		weft_parse_u64(slash + 1, min, max, &len) < 0 ||
		(ntohl(addr.s_addr) & ((1u << (32 - len)) - 1)) != 0)
		return -EINVAL;
	*ret = addr;
	*ret_len = (uint8_t)len;
	return 0;
}

int options_subnet(
	const char *option, const char *text, struct weft_engine_config *c, struct weft_err *err)
{
	struct in_addr subnet;
	uint8_t len;

	if (parse_prefix(text, 16, 29, &subnet, &len) < 0 || ntohl(subnet.s_addr) >> 20 != 0x0a1 ||
		ntohl(subnet.s_addr) >> 16 == 0x0a1e) {
		weft_err_set(err, EINVAL, "%s=%s is not a subnet of the overlay", option, text);
		return weft_err_hint(err, "a /16 to /29 in 10.16.0.0/12 outside 10.30.0.0/16, such "
					  "as 10.18.0.0/26");
	}
	c->subnet = subnet;
	c->subnet_len = len;
	return 0;
}

/* Oakestra numbers subnets from fc00:: on; fdfe::/16 is reserved, fdff::/16 the services'. */
int options_subnet6(
	const char *option, const char *text, struct weft_engine_config *c, struct weft_err *err)
{
	char copy[INET6_ADDRSTRLEN + 5];
	struct in6_addr a = {0};
	uint64_t len = 0;
	char *slash;
	bool ok;

	c->subnet6_len = 0;
	if (strcmp(text, "off") == 0)
		return 0;
	snprintf(copy, sizeof(copy), "%s", strlen(text) < sizeof(copy) ? text : "");
	slash = strchr(copy, '/');
	if (slash)
		*slash = '\0';
	ok = slash && inet_pton(AF_INET6, copy, &a) == 1 &&
	     weft_parse_u64(slash + 1, 112, 124, &len) == 0 && (a.s6_addr[0] & 0xfe) == 0xfc &&
	     (a.s6_addr[0] != 0xfd || a.s6_addr[1] < 0xfe);
	for (unsigned bit = (unsigned)len; ok && bit < 128; bit++)
		ok = !(a.s6_addr[bit / 8] & 0x80 >> bit % 8);
	if (!ok) {
		weft_err_set(err, EINVAL, "%s=%s is not a subnet of the overlay", option, text);
		return weft_err_hint(err, "a /112 to /124 in fc00::/7 outside fdfe::/15, such as "
					  "fc00::/120; or off");
	}
	c->subnet6 = a;
	c->subnet6_len = (uint8_t)len;
	return 0;
}

/* The third byte of Oakestra's pool goes up to 253. */
int options_instances(
	const char *option, const char *text, struct weft_engine_config *c, struct weft_err *err)
{
	struct in_addr range;
	uint8_t len;

	if (parse_prefix(text, 17, 28, &range, &len) < 0 ||
		ntohl(range.s_addr) >> 15 != 0x0a1e8000u >> 15 ||
		(ntohl(range.s_addr) >> 8 & 255) > 253) {
		weft_err_set(err, EINVAL, "%s=%s is no range of instance addresses", option, text);
		return weft_err_hint(err, "a /17 to /28 in 10.30.128.0/17 up to 10.30.253.255, one "
					  "for each node, such as 10.30.129.0/24");
	}
	c->instances = range;
	c->instances_len = len;
	return 0;
}

int options_uplink(
	const char *option, const char *text, struct weft_engine_config *c, struct weft_err *err)
{
	if (!*text || strlen(text) >= IF_NAMESIZE || strpbrk(text, "/ \t\n")) {
		weft_err_set(err, EINVAL, "%s=%s is no device's name", option, text);
		return weft_err_hint(err, "the device of the default route: ip route show default");
	}
	c->uplink = text;
	return 0;
}

int options_tunnel_port(
	const char *option, const char *text, struct weft_engine_config *c, struct weft_err *err)
{
	uint64_t port;

	if (weft_parse_u64(text, 1, 65534, &port) < 0) {
		weft_err_set(err, EINVAL, "%s=%s is no port for a tunnel", option, text);
		return weft_err_hint(
			err, "1 to 65534; the next one is used, too, for the VXLAN format");
	}
	c->tunnel_port = (uint16_t)port;
	return 0;
}

int options_xdp(
	const char *option, const char *text, struct weft_engine_config *c, struct weft_err *err)
{
	int mode = weft_dp_xdp_parse(text);

	if (mode < 0) {
		weft_err_set(err, EINVAL, "%s=%s: unknown mode", option, text);
		return weft_err_hint(err, "auto, native, generic or off");
	}
	c->xdp = (enum weft_dp_xdp)mode;
	return 0;
}
