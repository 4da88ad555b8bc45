/* SPDX-License-Identifier: Apache-2.0 */
/* What weftd does without: see SECURITY.md. */
#ifndef WEFT_DAEMON_PRIVILEGE_H
#define WEFT_DAEMON_PRIVILEGE_H

#include "ctrl/base/err.h"

/* Give up every capability that is not needed, for this process and all that it starts
 * (capabilities(7)): the set is that of ctrl/systemd/weftd.service. What cannot be dropped because
 * the process may not do so is kept. */
int privilege_drop(struct weft_err *err);

#endif
