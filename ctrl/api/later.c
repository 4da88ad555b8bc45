/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/api/later.h"

#include <errno.h>
#include <stdlib.h>

#include "ctrl/api/gone.h"
#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

struct weft_api_later {
	struct weft_api_later *next;
	struct weft_api_laters *all;
	struct MHD_Connection *connection;
	struct weft_engine_call *call; /* NULL: answered */
	struct weft_api_gone gone;
	bool suspended;
	struct weft_api_response response;
};

struct weft_api_laters {
	sd_event *event;
	struct weft_engine *engine;
	struct weft_api_later *list;
	bool news;
};

struct weft_api_laters *weft_api_laters_new(sd_event *event, struct weft_engine *e)
{
	struct weft_api_laters *all = calloc(1, sizeof(*all));

	if (all) {
		all->event = event;
		all->engine = e;
	}
	return all;
}

void weft_api_laters_free(struct weft_api_laters *all)
{
	while (all && all->list)
		weft_api_later_drop(all->list);
	free(all);
}

static void on_done(void *userdata, int r, const struct weft_err *err, json_t *doc)
{
	struct weft_api_later *l = userdata;

	l->call = NULL;
	weft_api_op_answer(r, err, doc, &l->response);
	l->all->news = true;
}

void weft_api_later_end(struct weft_api_later *l, const struct weft_err *err)
{
	if (!l->call)
		return;
	weft_engine_call_end(TAKE_PTR(l->call));
	weft_api_error(err, 0, &l->response);
	l->all->news = true;
}

/* Nobody reads what it would say. The connection has to go on all the same, to find that out. */
static int on_gone(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct weft_err err = {0};

	(void)fd;
	(void)events;
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	weft_err_set(&err, ECANCELED, "whoever asked has gone");
	weft_api_later_end(userdata, &err);
	return 0;
}

int weft_api_later_begin(struct weft_api_laters *all, struct MHD_Connection *c,
	struct weft_api_response *a, struct weft_api_later **ret, struct weft_err *err)
{
	struct weft_engine_op *op = TAKE_PTR(a->op);
	struct weft_api_later *l = calloc(1, sizeof(*l));
	int r;

	if (!l) {
		weft_api_op_free(op);
		return weft_err_set(err, ENOMEM, "out of memory");
	}
	*l = (struct weft_api_later){.all = all, .gone = WEFT_API_GONE_INIT};
	r = weft_api_gone_watch(&l->gone, all->event, c, on_gone, l, err);
	if (r == 0)
		r = weft_engine_do(all->engine, op, on_done, l, &l->call, err);
	weft_api_op_free(op);
	if (r < 0) {
		weft_api_gone_end(&l->gone);
		free(l);
		return r;
	}
	l->connection = c;
	l->next = all->list;
	all->list = l;
	l->suspended = true;
	MHD_suspend_connection(c);
	*ret = l;
	return 0;
}

void weft_api_later_drop(struct weft_api_later *l)
{
	if (!l)
		return;
	for (struct weft_api_later **p = &l->all->list; *p; p = &(*p)->next)
		if (*p == l) {
			*p = l->next;
			break;
		}
	weft_engine_call_end(l->call);
	weft_api_gone_end(&l->gone);
	free(l->response.body);
	free(l);
}

void weft_api_later_take(struct weft_api_later *l, struct weft_api_response *ret)
{
	*ret = l->response;
	l->response.body = NULL;
	weft_api_later_drop(l);
}

bool weft_api_laters_wake(struct weft_api_laters *all)
{
	bool any = false;

	if (!all->news)
		return false;
	all->news = false;
	for (struct weft_api_later *l = all->list; l; l = l->next) {
		if (l->call || !l->suspended)
			continue;
		l->suspended = false;
		MHD_resume_connection(l->connection);
		any = true;
	}
	return any;
}

void weft_api_laters_end(struct weft_api_laters *all)
{
	struct weft_err err = {0};

	weft_err_set(&err, ECONNREFUSED, "weftd is ending");
	for (struct weft_api_later *l = all->list; l; l = l->next) {
		if (!l->call)
			continue;
		weft_engine_call_forget(TAKE_PTR(l->call));
		weft_api_error(&err, 0, &l->response);
	}
	all->news = true;
	weft_api_laters_wake(all);
}
