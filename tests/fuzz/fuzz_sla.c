/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors are outside data: any text is either read, and then holds what sla.h promises, or
 * refused with an error that fits one line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/jsonpos.h"
#include "sched/sla.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int what)
{
	if (!what)
		abort();
}

static void check_service(const struct weft_sla_service *s)
{
	require(s->n_variants >= 1 && s->n_variants <= WEFT_VIRT_COUNT);
	require(s->replicas >= 1 && s->replicas <= 64);
	require(s->short_name && s->job_name && strlen(s->job_name) <= 123);
	require((s->readiness.type == WEFT_PROBE_NONE) == (s->readiness.port == 0));
	require((s->readiness.type == WEFT_PROBE_HTTP) == (s->readiness.path != NULL));
	for (size_t i = 0; i < s->n_variants; i++) {
		const struct weft_sla_variant *v = &s->variants[i];
		int arches = 0;

		require(v->code || v->virt == WEFT_VIRT_NATIVE);
		require((v->virt == WEFT_VIRT_UNIKERNEL) == (v->net != WEFT_NET_VETH));
		for (size_t a = 0; a < WEFT_ARCH_COUNT; a++) {
			arches += v->arch[a];
			require((v->image[a] != NULL) == (v->arch[a] && v->code));
		}
		require(arches > 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct weft_sla *sla = NULL;
	struct weft_jsonpos pos;
	struct weft_err err;
	int r = weft_sla_parse("fuzz", text, size, &sla, &err);

	require((r == 0) == (sla != NULL));
	if (r < 0)
		require(err.code == -r && !strchr(err.msg, '\n') && !strchr(err.hint, '\n'));
	for (size_t i = 0; sla && i < sla->n_services; i++)
		check_service(&sla->services[i]);
	weft_sla_free(sla);

	/* The position scanner alone, on text that no parser has accepted. */
	weft_jsonpos_value(text, size, "applications[0].microservices[1].code", &pos);
	weft_jsonpos_name(text, size, "[0][0][\"a\\u00e9\"].b[3]", &pos);
	return 0;
}
