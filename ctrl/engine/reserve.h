/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that only grow, also over a daemon that was killed, a disk that did not take what was
 * numbered, and a power cut: a file says up to where they may have been given out, ahead of that.
 */
#ifndef WEFT_ENGINE_RESERVE_H
#define WEFT_ENGINE_RESERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "ctrl/base/cleanup.h"

#define WEFT_RESERVE_BLOCK  64   /* numbers that who is killed may leave out */
#define WEFT_RESERVE_SYNCED 1024 /* and a power cut: the disk is waited for */

struct weft_reserve;

/* The file need not be there, nor be one that can be written: 0, or -ENOMEM. */
int weft_reserve_open(const char *path, struct weft_reserve **ret);
/* Closes it; the numbers above last, unless that is 0, were not given out. NULL is fine. */
void weft_reserve_close(struct weft_reserve *r, uint64_t last);

/* The last number that may have been given out before it was opened; 0: none. */
uint64_t weft_reserve_last(const struct weft_reserve *r);
/* May number be given out, after all those before it? false: the disk does not take it, so that
 * another one could come to give it out again. */
bool weft_reserve_take(struct weft_reserve *r, uint64_t number);

#endif
