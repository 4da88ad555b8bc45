/* SPDX-License-Identifier: Apache-2.0 */
/* What a sandbox is called. runsc's control socket is an abstract one with nothing but the
 * sandbox's name in its own, so two daemons of one machine with an instance of the same name would
 * meet there; the directory where runsc keeps its state tells them apart. */
#ifndef WEFT_RUNTIMES_CONTAINERD_RUNSC_ID_H
#define WEFT_RUNTIMES_CONTAINERD_RUNSC_ID_H

#include <stdint.h>
#include <stdio.h>

/* "ID-0123abcd", to be freed; NULL: no memory. It has at most 85 characters, as containerd's names
 * have 76, and the socket's address holds 93. */
static inline char *weft_runsc_id(const char *root, const char *id)
{
	uint32_t h = 2166136261U; /* FNV-1a */
	char *name;

	for (const char *p = root; *p; p++)
		if (p[0] != '/' || (p[1] != '/' && p[1] != '\0')) /* a/b is a//b/ */
			h = (h ^ (uint8_t)*p) * 16777619U;
	return asprintf(&name, "%s-%08x", id, h) < 0 ? NULL : name;
}

#endif
