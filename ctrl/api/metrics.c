/* SPDX-License-Identifier: Apache-2.0 */
/* The resources as numbers, in Prometheus' text format 0.0.4, and whether the daemon is well. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctrl/api/internal.h"
#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

#define LABELS_MAX 4

/* A column of a resource: where its number is in the item ("counters.packets"), and what one of it
 * is in the metric's unit. scale 0: the text is itself `word`, 1 or 0. */
struct column {
	const char *metric, *type, *help, *path;
	double scale;
	const char *word;
};

/* A label and where its text is in the item. */
struct label {
	const char *name, *path;
};

struct table {
	const struct label *labels;
	const struct column *columns;
	size_t n_columns;
};

static const struct label of_service[LABELS_MAX] = {{"service", "name"}};
static const struct column service_columns[] = {
	{"weft_service_replicas", "gauge", "Instances that the service shall have.", "replicas", 1,
		NULL},
	{"weft_service_ready", "gauge", "Instances that answer.", "ready", 1, NULL},
	{"weft_service_up", "gauge", "1 while the service is running with all its replicas.",
		"phase", 0, "running"},
	{"weft_service_packets_total", "counter", "Packets to the service.", "counters.packets", 1,
		NULL},
	{"weft_service_bytes_total", "counter", "Bytes to the service.", "counters.bytes", 1, NULL},
	{"weft_service_new_flows_total", "counter", "Flows opened to the service.",
		"counters.new_flows", 1, NULL},
	{"weft_service_rx_packets_total", "counter", "Packets that the service answered with.",
		"counters.rx_packets", 1, NULL},
	{"weft_service_rx_bytes_total", "counter", "Bytes that the service answered with.",
		"counters.rx_bytes", 1, NULL},
};

static const struct label of_instance[LABELS_MAX] = {
	{"weft_instance", "id"}, {"service", "service"}, {"virtualization", "virtualization"}};
static const struct column instance_columns[] = {
	{"weft_instance_ready", "gauge", "1 while the instance answers.", "phase", 0, "ready"},
	{"weft_instance_weight", "gauge", "Its weight among the instances of its service.",
		"weight", 1, NULL},
	{"weft_instance_flows", "gauge", "Flows that it has now.", "flows", 1, NULL},
	{"weft_instance_cpu_seconds_total", "counter",
		"CPU time of the instance, with its sandbox or its emulator.", "cpu_ns", 1e-9,
		NULL},
	{"weft_instance_memory_bytes", "gauge", "Memory of the instance.", "memory_bytes", 1, NULL},
	{"weft_instance_helper_cpu_seconds_total", "counter",
		"CPU time of what stands by for the instance: shim, log writer.", "helper_cpu_ns",
		1e-9, NULL},
	{"weft_instance_helper_memory_bytes", "gauge", "Memory of what stands by for the instance.",
		"helper_memory_bytes", 1, NULL},
	{"weft_instance_network_receive_bytes_total", "counter", "Bytes that the instance got.",
		"rx_bytes", 1, NULL},
	{"weft_instance_network_receive_packets_total", "counter", "Packets that the instance got.",
		"rx_packets", 1, NULL},
	{"weft_instance_network_transmit_bytes_total", "counter", "Bytes that the instance sent.",
		"tx_bytes", 1, NULL},
	{"weft_instance_network_transmit_packets_total", "counter",
		"Packets that the instance sent.", "tx_packets", 1, NULL},
};

static const struct label of_runtime[LABELS_MAX] = {
	{"virtualization", "virtualization"}, {"arch", "arch"}, {"version", "version"}};
static const struct column runtime_columns[] = {
	{"weft_runtime_usable", "gauge", "1 when this node can run it.", "usable", 1, NULL},
};

static const struct label of_swap[LABELS_MAX] = {
	{"swap", "id"}, {"service", "service"}, {"from", "from"}, {"to", "to"}};
static const struct column swap_columns[] = {
	{"weft_swap_new_share", "gauge",
		"Share of new flows that a running swap gives to the new instances.", "weight_new",
		1, NULL},
	{"weft_swap_flows_old", "gauge",
		"Flows that the old instances of a running swap still have.", "flows_old", 1, NULL},
};

static const struct label of_drop[LABELS_MAX] = {{"reason", "reason"}};
static const struct column drop_columns[] = {
	{"weft_dataplane_drops_total", "counter", "Packets dropped.", "packets", 1, NULL},
};

static const struct label of_node[LABELS_MAX] = {{NULL, NULL}};
static const struct column node_columns[] = {
	{"weft_uptime_seconds", "gauge", "Since this daemon started.", "uptime_s", 1, NULL},
	{"weft_services", "gauge", "Services that are wanted.", "services", 1, NULL},
	{"weft_instances", "gauge", "Instances that there are.", "instances", 1, NULL},
	{"weft_swaps_running", "gauge", "Swaps that have not ended.", "swaps_running", 1, NULL},
	{"weft_dataplane_up", "gauge", "1 while the data plane is as it should be.",
		"dataplane.state", 0, "ok"},
	{"weft_dataplane_flows", "gauge", "Flows in the table.", "dataplane.flows", 1, NULL},
	{"weft_dataplane_flow_capacity", "gauge", "Flows that the table can hold.",
		"dataplane.flow_capacity", 1, NULL},
	{"weft_store_up", "gauge", "1 while the store can be written.", "store.state", 0, "ok"},
};

#define TABLE(labels, columns) ((struct table){labels, columns, ARRAY_SIZE(columns)})

static const json_t *at(const json_t *item, const char *path)
{
	char name[32];

	while (item && *path) {
		size_t n = strcspn(path, ".");

		if (n >= sizeof(name))
			return NULL;
		memcpy(name, path, n);
		name[n] = '\0';
		item = json_object_get(item, name);
		path += n + (path[n] == '.');
	}
	return item;
}

static void put_label(FILE *f, const char *name, const char *value)
{
	fprintf(f, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			fputc('\\', f);
		if (*value == '\n')
			fputs("\\n", f);
		else
			fputc(*value, f);
	}
	fputc('"', f);
}

static void put_labels(FILE *f, const struct label *labels, const json_t *item)
{
	bool first = true;

	for (size_t i = 0; i < LABELS_MAX && labels[i].name; i++) {
		const char *value = json_string_value(at(item, labels[i].path));

		if (!value)
			continue;
		fputc(first ? '{' : ',', f);
		put_label(f, labels[i].name, value);
		first = false;
	}
	if (!first)
		fputc('}', f);
}

static bool number(const struct column *c, const json_t *value, double *ret)
{
	const char *word = json_string_value(value);

	if (c->word && word)
		*ret = strcmp(word, c->word) == 0;
	else if (json_is_boolean(value))
		*ret = json_is_true(value);
	else if (json_is_number(value))
		*ret = json_number_value(value) * c->scale;
	else
		return false;
	return true;
}

static void put_column(
	FILE *f, const struct column *c, const struct label *labels, const json_t *items)
{
	json_t *item;
	size_t i;

	fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", c->metric, c->help, c->metric, c->type);
	json_array_foreach (items, i, item) {
		double value;

		if (!number(c, at(item, c->path), &value))
			continue;
		fputs(c->metric, f);
		put_labels(f, labels, item);
		fprintf(f, " %.17g\n", value);
	}
}

static void put_table(FILE *f, struct table t, json_t *items)
{
	for (size_t i = 0; i < t.n_columns; i++)
		put_column(f, &t.columns[i], t.labels, items);
}

typedef int (*list_fn)(struct weft_engine *e, json_t **ret, struct weft_err *err);

/* The items of a list, kept by those for which `keep` is true. */
static int put_list(FILE *f, struct weft_engine *e, list_fn list, struct table t,
	bool (*keep)(const json_t *item), struct weft_err *err)
{
	json_auto_t *doc = NULL, *kept = json_array();
	json_t *item;
	size_t i;
	int r = list(e, &doc, err);

	if (r < 0)
		return r;
	json_array_foreach (json_object_get(doc, "items"), i, item)
		if (!keep || keep(item))
			json_array_append(kept, item);
	put_table(f, t, kept);
	return 0;
}

static bool runs(const json_t *swap)
{
	return json_is_null(json_object_get(swap, "ended_ms"));
}

static int put_status(FILE *f, struct weft_engine *e, struct weft_err *err)
{
	json_auto_t *doc = NULL, *one = json_array();
	int r = weft_engine_status(e, &doc, err);

	if (r < 0)
		return r;
	fputs("# HELP weft_build_info The version that runs.\n# TYPE weft_build_info gauge\n"
	      "weft_build_info{",
		f);
	put_label(f, "version", WEFT_VERSION);
	fputs("} 1\n", f);
	json_array_append(one, doc);
	put_table(f, TABLE(of_node, node_columns), one);
	fprintf(f,
		"# HELP weft_problems Things that somebody should look at.\n"
		"# TYPE weft_problems gauge\nweft_problems %zu\n",
		json_array_size(json_object_get(doc, "problems")));
	put_table(f, TABLE(of_runtime, runtime_columns), json_object_get(doc, "runtimes"));
	return 0;
}

static void put_histogram(FILE *f, const char *metric, const struct label *labels, json_t *item)
{
	const json_t *count = json_object_get(item, "count");
	json_auto_t *row = json_deep_copy(item);
	json_t *bucket;
	char le[32];
	size_t i;

	json_array_foreach (json_object_get(item, "buckets"), i, bucket) {
		snprintf(le, sizeof(le), "%g", json_number_value(json_array_get(bucket, 0)));
		json_object_set_new(row, "le", json_string(le));
		fprintf(f, "%s_bucket", metric);
		put_labels(f, labels, row);
		fprintf(f, " %.17g\n", json_number_value(json_array_get(bucket, 1)));
	}
	json_object_set_new(row, "le", json_string("+Inf"));
	fprintf(f, "%s_bucket", metric);
	put_labels(f, labels, row);
	json_object_del(row, "le");
	fprintf(f, " %.17g\n%s_sum", json_number_value(count), metric);
	put_labels(f, labels, row);
	fprintf(f, " %.17g\n%s_count", json_number_value(json_object_get(item, "sum_s")), metric);
	put_labels(f, labels, row);
	fprintf(f, " %.17g\n", json_number_value(count));
}

static int put_spans(FILE *f, struct weft_engine *e, struct weft_err *err)
{
	static const struct label of_span[LABELS_MAX] = {
		{"phase", "phase"}, {"virtualization", "virtualization"}, {"le", "le"}};
	const char *metric = "weft_instance_phase_seconds";
	json_auto_t *doc = NULL;
	json_t *item;
	size_t i;
	int r = weft_engine_spans(e, &doc, err);

	if (r < 0)
		return r;
	fprintf(f,
		"# HELP %s How long it took to prepare an image, to start an instance, from then "
		"to its first answer, and to stop it.\n# TYPE %s histogram\n",
		metric, metric);
	json_array_foreach (json_object_get(doc, "items"), i, item)
		put_histogram(f, metric, of_span, item);
	return 0;
}

/* Of this process, by the names that every exporter gives them. */
static void put_process(FILE *f)
{
	struct timespec cpu = {0};
	long pages = 0;
	FILE *statm = fopen("/proc/self/statm", "re");

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	fprintf(f,
		"# HELP process_cpu_seconds_total CPU time of the daemon.\n"
		"# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %lld.%09ld\n",
		(long long)cpu.tv_sec, cpu.tv_nsec);
	if (statm && fscanf(statm, "%*s %ld", &pages) == 1)
		fprintf(f,
			"# HELP process_resident_memory_bytes Memory of the daemon.\n"
			"# TYPE process_resident_memory_bytes gauge\n"
			"process_resident_memory_bytes %lld\n",
			(long long)pages * sysconf(_SC_PAGESIZE));
	if (statm)
		fclose(statm);
}

int api_metrics(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	int r;

	(void)q, (void)name;
	if (!f)
		return -ENOMEM;
	r = put_status(f, e, err);
	if (r == 0)
		r = put_list(
			f, e, weft_engine_services, TABLE(of_service, service_columns), NULL, err);
	if (r == 0)
		r = put_list(f, e, weft_engine_instances, TABLE(of_instance, instance_columns),
			NULL, err);
	if (r == 0)
		r = put_list(f, e, weft_engine_swaps, TABLE(of_swap, swap_columns), runs, err);
	if (r == 0)
		r = put_list(f, e, weft_engine_dp_drops, TABLE(of_drop, drop_columns), NULL, err);
	if (r == 0)
		r = put_spans(f, e, err);
	put_process(f);
	if (fclose(f) != 0 && r == 0)
		r = -ENOMEM;
	if (r < 0) {
		free(text);
		return r;
	}
	ret->status = 200;
	ret->type = "text/plain; version=0.0.4; charset=utf-8";
	ret->body = text;
	return 0;
}

static int plain(struct weft_api_response *ret, int status, char *text)
{
	ret->status = status;
	ret->type = "text/plain; charset=utf-8";
	ret->body = text;
	return text ? 0 : -ENOMEM;
}

/* Alive: the loop turned to answer. */
int api_healthz(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	(void)e, (void)q, (void)name, (void)err;
	return plain(ret, 200, strdup("ok\n"));
}

/* Ready: what is asked of this daemon now can be done, and be kept. */
int api_readyz(struct weft_engine *e, const struct weft_api_request *q, const char *name,
	struct weft_api_response *ret, struct weft_err *err)
{
	json_auto_t *doc = NULL;
	const char *dp, *store;
	int r = weft_engine_status(e, &doc, err);

	(void)q, (void)name;
	if (r < 0)
		return r;
	dp = json_string_value(at(doc, "dataplane.state"));
	store = json_string_value(at(doc, "store.state"));
	if (dp && store && strcmp(dp, "ok") == 0 && strcmp(store, "ok") == 0)
		return plain(ret, 200, strdup("ok\n"));
	return plain(ret, 503,
		weft_strf("data plane: %s\nstore: %s\n", dp ? dp : "?", store ? store : "?"));
}
