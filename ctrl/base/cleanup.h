/* SPDX-License-Identifier: Apache-2.0 */
/* Owning locals: `_cleanup_(freep) char *s = NULL;` is freed when it leaves scope; TAKE_PTR(s) and
 * TAKE_FD(fd) move ownership out and leave NULL or -1 behind. */
#ifndef WEFT_BASE_CLEANUP_H
#define WEFT_BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

#define TAKE_PTR(p)                               \
	({                                        \
		__typeof__(p) *take_p_ = &(p);    \
		__typeof__(p) take_v_ = *take_p_; \
		*take_p_ = NULL;                  \
		take_v_;                          \
	})

#define TAKE_FD(fd)                     \
	({                              \
		int *take_f_ = &(fd);   \
		int take_v_ = *take_f_; \
		*take_f_ = -1;          \
		take_v_;                \
	})

/* void NAMEp(T *p) from void NAME(T), for _cleanup_(NAMEp). NAME must accept NULL. */
#define WEFT_DEFINE_CLEANUP(type, func)     \
	static inline void func##p(type *p) \
	{                                   \
		func(*p);                   \
	}                                   \
	struct weft_require_semicolon

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void closep(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* A NULL-terminated vector of strings, both owned. */
static inline void strv_free(char **v)
{
	if (!v)
		return;
	for (char **s = v; *s; s++)
		free(*s);
	free(v);
}

static inline void strv_freep(char ***v)
{
	strv_free(*v);
}

#endif
