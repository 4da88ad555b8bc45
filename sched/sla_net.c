/* SPDX-License-Identifier: Apache-2.0 */
/* How a microservice is reached: port mappings, the readiness probe. */
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
	if (port->host == SLA_TUNNEL_PORT && port->proto == IPPROTO_UDP) {
		sla_fail(at, "host port %u/udp belongs to the overlay's tunnel", SLA_TUNNEL_PORT);
		return weft_err_hint(
			at->doc->err, "map another host port: \"<other>:%u/udp\"", port->container);
	}
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

static uint16_t first_tcp_port(const struct weft_sla_service *svc)
{
	for (size_t i = 0; i < svc->n_ports; i++)
		if (svc->ports[i].proto == IPPROTO_TCP)
			return svc->ports[i].container;
	return 0;
}

/* The path goes into a request line as it is. */
static int parse_path(const struct sla_at *at, struct weft_sla_probe *probe)
{
	struct sla_at member;
	int r = sla_string(at, "path", SLA_SHORT_MAX, &probe->path);

	if (r < 0)
		return r;
	if (!probe->path) {
		probe->path = strdup("/");
		return probe->path ? 0 : sla_no_memory(at->doc);
	}
	sla_member(at, "path", &member);
	if (probe->path[0] != '/')
		return sla_fail(
			&member, "must start with '/', is \"%s\"", sla_quote(probe->path).text);
	for (const char *p = probe->path; *p; p++)
		if (*p <= ' ' || *p > '~')
			return sla_fail(&member,
				"must be printable ASCII without spaces "
				"(%%-encode the rest), is \"%s\"",
				sla_quote(probe->path).text);
	return 0;
}

static int parse_type(const struct sla_at *at, enum weft_probe_type *ret)
{
	static const char *const types[] = {
		[WEFT_PROBE_NONE] = "none",
		[WEFT_PROBE_TCP] = "tcp",
		[WEFT_PROBE_HTTP] = "http",
	};
	struct sla_at member;
	const char *s;

	if (!sla_member(at, "type", &member))
		return -EINVAL; /* required: checked before */
	s = json_string_value(member.value);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (strcmp(s, types[i]) != 0)
			continue;
		*ret = (enum weft_probe_type)i;
		return 0;
	}
	return sla_fail(
		&member, "must be \"none\", \"tcp\" or \"http\", is \"%s\"", sla_quote(s).text);
}

int sla_parse_readiness(const struct sla_at *at, struct weft_sla_service *svc)
{
	struct weft_sla_probe *probe = &svc->readiness;
	uint32_t port = first_tcp_port(svc);
	struct sla_at readiness, member;
	int r;

	probe->type = port ? WEFT_PROBE_TCP : WEFT_PROBE_NONE;
	probe->port = (uint16_t)port;
	probe->timeout_s = 30;
	if (!sla_member(at, "readiness", &readiness))
		return 0;
	r = sla_check(&readiness, &sla_readiness_keys);
	if (r == 0)
		r = parse_type(&readiness, &probe->type);
	if (r == 0)
		r = sla_uint(&readiness, "port", 1, 65535, &port);
	if (r == 0)
		r = sla_uint(&readiness, "timeout_s", 1, SLA_SECONDS_MAX, &probe->timeout_s);
	if (r < 0)
		return r;
	probe->port = probe->type == WEFT_PROBE_NONE ? 0 : (uint16_t)port;
	if (probe->type != WEFT_PROBE_HTTP && sla_member(&readiness, "path", &member))
		return sla_fail_name(&member, "only for readiness of type http");
	if (probe->type != WEFT_PROBE_NONE && port == 0) {
		struct sla_at missing = {at->doc, &readiness, "port", 0, NULL};

		sla_fail(&missing, "required, as the microservice maps no TCP port to default to");
		return -EINVAL;
	}
	return probe->type == WEFT_PROBE_HTTP ? parse_path(&readiness, probe) : 0;
}
