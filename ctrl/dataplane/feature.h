/* SPDX-License-Identifier: Apache-2.0 */
/* What the data plane's programs use of the kernel, feature by feature: whether this one has it,
 * and what there is not without it. */
#ifndef WEFT_DATAPLANE_FEATURE_H
#define WEFT_DATAPLANE_FEATURE_H

#include <stdbool.h>

#include "ctrl/dataplane/dataplane.h"

struct weft_dp_feature {
	const char *name;  /* "tcx" */
	const char *since; /* "6.6": the version of Linux that has it */
	const char *what;  /* it is for; a few words */
	const char *lost;  /* without it; NULL: there is no data plane then */
	bool has;
};

unsigned weft_dp_feature_count(void);
/* Tried when it is asked for first, in a few milliseconds; index below the count. */
struct weft_dp_feature weft_dp_feature(struct weft_dp *dp, unsigned index);

#endif
