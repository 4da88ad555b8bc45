/* SPDX-License-Identifier: Apache-2.0 */
/* How a microservice is reached: port mappings. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "sched/sla_internal.h"

static const char *proto_name(uint8_t proto)
{
	return proto == IPPROTO_UDP ? "udp" : "tcp";
}

/* "host[:container][/tcp|/udp]". The text is taken apart in place. Returns 0 or -EINVAL. */
static int parse_port(char *text, struct weft_sla_port *ret)
{
	char *proto = strchr(text, '/'), *container;
	uint64_t host, inner;

	ret->proto = IPPROTO_TCP;
	if (proto) {
		*proto++ = '\0';
		if (strcmp(proto, "udp") == 0)
			ret->proto = IPPROTO_UDP;
		else if (strcmp(proto, "tcp") != 0)
			return -EINVAL;
	}
	container = strchr(text, ':');
	if (container)
		*container++ = '\0';
	if (weft_parse_u64(text, 1, 65535, &host) < 0 ||
		weft_parse_u64(container ? container : text, 1, 65535, &inner) < 0)
		return -EINVAL;
	ret->host = (uint16_t)host;
	ret->container = (uint16_t)inner;
	return 0;
}

static int check_port(const struct sla_at *at, const struct weft_sla_service *svc,
	const struct weft_sla_port *port)
{
	for (size_t i = 0; i < svc->n_ports; i++)
		if (svc->ports[i].host == port->host && svc->ports[i].proto == port->proto)
			return sla_fail(at, "host port %u/%s is mapped twice", port->host,
				proto_name(port->proto));
	return 0;
}

int sla_parse_ports(const struct sla_at *at, struct weft_sla_service *svc)
{
	_cleanup_(freep) char *copy = NULL;
	struct sla_at member;
	char *rest, *part;
	size_t n = 1;

	if (!sla_member(at, "port", &member) || json_string_length(member.value) == 0)
		return 0;
	copy = rest = strdup(json_string_value(member.value));
	if (!copy)
		return sla_no_memory(at->doc);
	for (const char *p = copy; *p; p++)
		n += *p == ';';
	if (n > SLA_PORTS_MAX)
		return sla_fail(&member, "must map at most %u ports, maps %zu", SLA_PORTS_MAX, n);
	svc->ports = calloc(n, sizeof(*svc->ports));
	if (!svc->ports)
		return sla_no_memory(at->doc);
	while ((part = strsep(&rest, ";"))) {
		struct sla_quoted shown = sla_quote(part);
		struct weft_sla_port port;
		int r = parse_port(part, &port);

		if (r < 0) {
			sla_fail(&member, "\"%s\" is not a port mapping", shown.text);
			return weft_err_hint(at->doc->err,
				"host[:container][/tcp|/udp] with ports 1 to "
				"65535, joined with ';': \"8080:80/tcp;53/udp\"");
		}
		r = check_port(&member, svc, &port);
		if (r < 0)
			return r;
		svc->ports[svc->n_ports++] = port;
	}
	return 0;
}
