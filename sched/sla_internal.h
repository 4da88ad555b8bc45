/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor's parser, inside: values that know where they stand, and tables of keys. */
#ifndef WEFT_SCHED_SLA_INTERNAL_H
#define WEFT_SCHED_SLA_INTERNAL_H

#include <jansson.h>

#include "sched/sla.h"

#define SLA_TEXT_MAX     (1024U * 1024U)
#define SLA_SERVICES_MAX 64U
#define SLA_VARIANTS_MAX 8U
#define SLA_PORTS_MAX    64U
#define SLA_ITEMS_MAX    64U /* of cmd, of environment */
#define SLA_ITEM_MAX     4096U
#define SLA_VOLUMES_MAX  32U
#define SLA_PATH_MAX     1024U
#define SLA_PIDS_MAX     4194304U        /* the kernel's own limit */
#define SLA_LOG_MAX      (1024U * 1024U) /* MiB */
#define SLA_CODE_MAX     2048U
#define SLA_SHORT_MAX    256U /* customer, node, path */
#define SLA_MEMORY_MAX   (1024U * 1024U)
#define SLA_VCPUS_MAX    1024U
#define SLA_WEIGHT_MAX   1000U /* the data plane's */
#define SLA_SECONDS_MAX  3600U
#define SLA_IGNORED_MAX  64U /* that are named */

struct sla_doc {
	char name[200]; /* as shown */
	const char *text;
	size_t size;
	struct weft_err *err; /* never NULL */
	struct weft_sla *sla; /* gets the keys that are ignored */
};

/* A value, and the way to it from the root. Lives on the stack of whoever looks at it. */
struct sla_at {
	struct sla_doc *doc;
	const struct sla_at *up; /* NULL: the root */
	const char *key;         /* name in up, or NULL: element [index] of up */
	size_t index;
	const json_t *value;
};

enum sla_kind {
	SLA_STRING,
	SLA_INTEGER,
	SLA_NUMBER,
	SLA_BOOL,
	SLA_STRINGS, /* an array of strings */
	SLA_ARRAY,   /* of objects */
	SLA_OBJECT,
};

enum sla_need {
	SLA_OPTIONAL,
	SLA_REQUIRED,
	SLA_IGNORED, /* Oakestra's, without effect here */
};

struct sla_key {
	const char *name;
	enum sla_kind kind;
	enum sla_need need;
};

struct sla_keys {
	const struct sla_key *keys;
	size_t n;
};

/* One table per kind of object; ctrl/schema/sla.schema.json says the same (a test compares). */
extern const struct sla_keys sla_root_keys, sla_application_keys, sla_microservice_keys,
	sla_variant_keys, sla_addresses_keys, sla_readiness_keys, sla_liveness_keys,
	sla_handover_keys, sla_swap_keys, sla_guard_keys, sla_constraint_keys, sla_volume_keys;

const struct sla_key *sla_find_key(const struct sla_keys *keys, const char *name);

/* Are these one edit (a letter more, less, other, or two swapped) apart, regardless of case? */
bool sla_near(const char *a, const char *b);

/* "FILE:LINE:COL: path: text" and -EINVAL. sla_fail_name points at the member's name. */
int sla_fail(const struct sla_at *at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int sla_fail_name(const struct sla_at *at, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
int sla_no_memory(const struct sla_doc *doc);

/* Outside text as it may be shown: without control characters, cut to size. */
void sla_clean(char *buf, size_t size, const char *s);
struct sla_quoted {
	char text[80];
};
struct sla_quoted sla_quote(const char *s);

/* Is the value an object of these keys: required ones there, known ones of their kind, no typos? */
int sla_check(const struct sla_at *at, const struct sla_keys *keys);

bool sla_says(const struct sla_at *at, const char *key);
bool sla_member(const struct sla_at *at, const char *key, struct sla_at *ret);
struct sla_at sla_element(const struct sla_at *at, size_t index);

/* Members of an object that passed sla_check(). An absent member is no error and leaves *ret. */
int sla_string(const struct sla_at *at, const char *key, size_t max, char **ret);
int sla_uint(const struct sla_at *at, const char *key, uint32_t min, uint32_t max, uint32_t *ret);
int sla_millis(const struct sla_at *at, const char *key, uint32_t max_s, uint32_t *ret);
int sla_strings(const struct sla_at *at, const char *key, char ***ret); /* [] gives NULL */
int sla_copy_strings(const struct sla_doc *doc, char *const *from, char ***ret);

/* The parts of a microservice, in files of their own. Each fills its fields of svc. */
int sla_parse_variants(const struct sla_at *at, struct weft_sla_service *svc);
int sla_parse_ports(const struct sla_at *at, struct weft_sla_service *svc);
int sla_parse_addresses(const struct sla_at *at, struct weft_sla_service *svc);
/* Has last, which is at, an address that another of the same file has? */
int sla_check_addresses(const struct sla_at *at, const struct weft_sla_service *last,
	const struct weft_sla_service *other);
int sla_parse_probes(const struct sla_at *at, struct weft_sla_service *svc); /* after ports */
void sla_free_probe(struct weft_sla_probe *p);
int sla_parse_handover(const struct sla_at *at, struct weft_sla_service *svc); /* after variants */
int sla_parse_swap(const struct sla_at *at, struct weft_sla_service *svc);

/* How a variant runs: limits, user, volumes, ... (sla_container.c) */
int sla_parse_container(const struct sla_at *at, struct weft_sla_variant *v);
int sla_inherit_container(const struct sla_at *at, struct weft_sla_variant *v,
	const struct weft_sla_variant *base, bool same_images);
void sla_free_container(struct weft_sla_variant *v);

#endif
