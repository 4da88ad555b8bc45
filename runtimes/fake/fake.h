/* SPDX-License-Identifier: Apache-2.0 */
/* Faults on order: a runtime around another one, which does the work, that delays, fails, hangs or
 * dies where a script says so. For tests of what uses runtimes, and of nothing else.
 *
 * The script is the JSON file that WEFT_FAULTS names, an array of rules; the first that fits a call
 * and is not used up acts on it:
 *   "call"   new, probe, prepare, start, adopt, stop, delete, pause, resume, kill, exec, check,
 *            checkpoint
 *   "runtime", "id"   shell patterns on the runtime's name and the instance's id; "*"
 *   "skip"   so many fitting calls first pass unharmed; 0
 *   "times"  acts so often; 1. 0: for ever
 *   "do"     fail        answers "error" (a name such as EIO), without doing anything
 *            refuse      the same, but from the call itself
 *            delay       does it, and answers "ms" later
 *            hang        never answers, without doing anything
 *            swallow     does it, and never answers
 *            die-before, die-after, die-answer     SIGKILLs the process: before the work, when it
 *                        is under way, when its answer comes. Such a rule acts once in the life of
 *                        the script, whatever process it was in: FILE.N then says so.
 * "call": "step" with one of the last dies before a step of the engine's: "runtime" is "swap" and
 * "id" the state that was just stored and is not yet acted on; "handover" and its stage; or
 * "attach", and "id" "entered" when it is stored, "joined" when it is in the data plane. */
#ifndef WEFT_RUNTIMES_FAKE_H
#define WEFT_RUNTIMES_FAKE_H

#include "runtimes/runtime.h"

extern const struct weft_runtime_ops weft_runtime_fake; /* around native */

/* ops, or what stands around them when WEFT_FAULTS is set. */
const struct weft_runtime_ops *weft_fake_around(const struct weft_runtime_ops *ops);

#endif
