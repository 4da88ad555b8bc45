/* SPDX-License-Identifier: Apache-2.0 */
/* Leases of imports that were broken off. They keep what was written from the collector, so that
 * the next try goes on from it, and expire after a day; when the image is whole they are let go.
 * One of ours is told from an earlier daemon's by its end. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/containerd/ctrd.h"

#define PREFIX "weft-import-"

void ctrd_lease_name(const struct weft_runtime *rt, const char *digest, char ret[CTRD_LEASE_NAME])
{
	snprintf(ret, CTRD_LEASE_NAME, PREFIX "%.16s-%" PRIx64, WEFT_OCI_HEX(digest), rt->token);
}

static bool is_old(const struct weft_runtime *rt, const char *id)
{
	char end[24];
	size_t n = (size_t)snprintf(end, sizeof(end), "-%" PRIx64, rt->token), size = strlen(id);

	return strncmp(id, PREFIX, strlen(PREFIX)) == 0 &&
	       !(size > n && strcmp(id + size - n, end) == 0);
}

static void note(struct weft_runtime *rt, const char *id)
{
	char **more = reallocarray(rt->old_leases, rt->n_old_leases + 1, sizeof(*more));

	if (!more)
		return; /* it expires by itself */
	rt->old_leases = more;
	more[rt->n_old_leases] = strdup(id);
	if (more[rt->n_old_leases])
		rt->n_old_leases++;
}

void ctrd_leases_free(struct weft_runtime *rt)
{
	while (rt->n_old_leases > 0)
		free(rt->old_leases[--rt->n_old_leases]);
	free(rt->old_leases);
	rt->old_leases = NULL;
}

static void got_leases(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__ListLeasesResponse *m = (const Ctrd__ListLeasesResponse *)res->reply;
	struct weft_runtime *rt = op->rt;

	ctrd_op_free(op);
	ctrd_leases_free(rt);
	for (size_t i = 0; m && i < m->n_leases; i++)
		if (is_old(rt, m->leases[i]->id))
			note(rt, m->leases[i]->id);
}

void ctrd_leases_list(struct weft_runtime *rt)
{
	Ctrd__ListLeasesRequest q = CTRD__LIST_LEASES_REQUEST__INIT;
	struct ctrd_op *op = ctrd_op_new(rt, sizeof(*op), NULL);

	if (op)
		ctrd_op_call(op, CTRD_LEASE_LIST, &q.base, CTRD_QUICK_MS, got_leases);
}

bool ctrd_lease_settle(struct ctrd_op *op, const char *digest, ctrd_step_t next)
{
	Ctrd__DeleteLeaseRequest q = CTRD__DELETE_LEASE_REQUEST__INIT;
	struct weft_runtime *rt = op->rt;
	char prefix[CTRD_LEASE_NAME];

	snprintf(prefix, sizeof(prefix), PREFIX "%.16s", WEFT_OCI_HEX(digest));
	for (size_t i = 0; i < rt->n_old_leases; i++) {
		_cleanup_(freep) char *id = NULL;

		if (strncmp(rt->old_leases[i], prefix, strlen(prefix)) != 0)
			continue;
		id = rt->old_leases[i];
		rt->old_leases[i] = rt->old_leases[--rt->n_old_leases];
		op->lease = NULL;
		q.id = id;
		ctrd_op_call(op, CTRD_LEASE_DELETE, &q.base, CTRD_QUICK_MS, next);
		return true;
	}
	return false;
}
