/* SPDX-License-Identifier: Apache-2.0 */
/* How a service that keeps something hands it over when it is swapped. */
#include <errno.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "sched/sla_internal.h"

#define REDIS_PORT      6379
#define HANDOVER_TIME_S 60

static int parse_type(const struct sla_at *at, enum weft_handover_type *ret)
{
	struct sla_at member;
	const char *s;

	if (!sla_member(at, "type", &member))
		return -EINVAL; /* required: checked before */
	s = json_string_value(member.value);
	if (strcmp(s, "redis") == 0)
		*ret = WEFT_HANDOVER_REDIS;
	else if (strcmp(s, "exec") == 0)
		*ret = WEFT_HANDOVER_EXEC;
	else
		return sla_fail(
			&member, "must be \"redis\" or \"exec\", is \"%s\"", sla_quote(s).text);
	return 0;
}

static int check_command(
	const struct sla_at *at, const struct sla_at *handover, const struct weft_sla_service *svc)
{
	const struct weft_sla_handover *h = &svc->handover;
	struct sla_at command = {at->doc, handover, "command", 0, NULL}, member;

	if (h->type != WEFT_HANDOVER_EXEC && sla_member(handover, "command", &member))
		return sla_fail_name(&member, "only for a handover of type exec");
	if (h->type == WEFT_HANDOVER_EXEC && sla_member(handover, "port", &member))
		return sla_fail_name(&member, "only for a handover of type redis");
	if (h->type != WEFT_HANDOVER_EXEC)
		return 0;
	if (!h->command) {
		sla_fail(&command, "required for type exec, but missing or empty");
		return weft_err_hint(at->doc->err,
			"a program in the instances: it gets what to do (sync, pause, promote, "
			"resume) and the other's address");
	}
	for (size_t i = 0; i < svc->n_variants; i++)
		if (svc->variants[i].virt == WEFT_VIRT_UNIKERNEL)
			return sla_fail(handover, "of type exec, but nothing can be run in the "
						  "service's unikernel");
	return 0;
}

int sla_parse_handover(const struct sla_at *at, struct weft_sla_service *svc)
{
	struct weft_sla_handover *h = &svc->handover;
	uint32_t port = REDIS_PORT;
	struct sla_at handover;
	int r;

	if (!sla_member(at, "handover", &handover))
		return 0;
	h->timeout_s = HANDOVER_TIME_S;
	r = sla_check(&handover, &sla_handover_keys);
	if (r == 0)
		r = parse_type(&handover, &h->type);
	if (r == 0)
		r = sla_uint(&handover, "port", 1, 65535, &port);
	if (r == 0)
		r = sla_uint(&handover, "timeout_s", 1, SLA_SECONDS_MAX, &h->timeout_s);
	if (r == 0)
		r = sla_strings(&handover, "command", &h->command);
	h->port = (uint16_t)port;
	return r < 0 ? r : check_command(at, &handover, svc);
}
