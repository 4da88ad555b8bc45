/* SPDX-License-Identifier: Apache-2.0 */
/* The web page: files of ctrl/web, which the assembler puts into the binary as they are. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/internal.h"
#include "ctrl/base/util.h"

#define EMBED(symbol, path)                                                         \
	__asm__(".pushsection .rodata\n"                                            \
		".globl " #symbol "\n" #symbol ":\n.incbin \"" path "\"\n.byte 0\n" \
		".popsection\n");                                                   \
	extern const char symbol[]

EMBED(weft_web_index, "ctrl/web/index.html");
EMBED(weft_web_style, "ctrl/web/style.css");
EMBED(weft_web_app, "ctrl/web/app.js");
EMBED(weft_web_view, "ctrl/web/view.js");
EMBED(weft_web_plot, "ctrl/web/plot.js");
EMBED(weft_web_uplot, "ctrl/web/uPlot.iife.min.js");
EMBED(weft_web_uplot_style, "ctrl/web/uPlot.min.css");
EMBED(weft_web_uplot_licence, "ctrl/web/uPlot.LICENSE");

static const struct {
	const char *name, *type, *text;
} files[] = {
	{"", "text/html; charset=utf-8", weft_web_index},
	{"style.css", "text/css; charset=utf-8", weft_web_style},
	{"app.js", "text/javascript; charset=utf-8", weft_web_app},
	{"view.js", "text/javascript; charset=utf-8", weft_web_view},
	{"plot.js", "text/javascript; charset=utf-8", weft_web_plot},
	{"uPlot.iife.min.js", "text/javascript; charset=utf-8", weft_web_uplot},
	{"uPlot.min.css", "text/css; charset=utf-8", weft_web_uplot_style},
	{"uPlot.LICENSE", "text/plain; charset=utf-8", weft_web_uplot_licence},
};

int api_web(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	(void)e, (void)q;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (strcmp(files[i].name, name) != 0)
			continue;
		ret->status = 200;
		ret->type = files[i].type;
		ret->body = strdup(files[i].text);
		return ret->body ? 0 : -ENOMEM;
	}
	return weft_err_set(err, ENOENT, "/web/%.80s: the page has no such file", name);
}
