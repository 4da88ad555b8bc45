/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of a descriptor, by the object they are in. */
#include "ctrl/base/util.h"
#include "sched/sla_internal.h"

/* clang-format off */
#define KEYS(name, ...) \
	static const struct sla_key name##_list[] = {__VA_ARGS__}; \
	const struct sla_keys name = {name##_list, ARRAY_SIZE(name##_list)}

KEYS(sla_root_keys,
	{"sla_version", SLA_STRING, SLA_REQUIRED},
	{"customerID", SLA_STRING, SLA_REQUIRED},
	{"applications", SLA_ARRAY, SLA_REQUIRED},
	{"args", SLA_STRINGS, SLA_IGNORED});

KEYS(sla_application_keys,
	{"application_name", SLA_STRING, SLA_REQUIRED},
	{"application_namespace", SLA_STRING, SLA_REQUIRED},
	{"microservices", SLA_ARRAY, SLA_REQUIRED},
	{"applicationID", SLA_STRING, SLA_OPTIONAL},
	{"application_desc", SLA_STRING, SLA_OPTIONAL});

KEYS(sla_microservice_keys,
	{"microservice_name", SLA_STRING, SLA_REQUIRED},
	{"microservice_namespace", SLA_STRING, SLA_REQUIRED},
	{"virtualization", SLA_STRING, SLA_REQUIRED},
	{"code", SLA_STRING, SLA_OPTIONAL}, /* required by the variants' rules */
	{"arch", SLA_STRINGS, SLA_OPTIONAL},
	{"memory", SLA_INTEGER, SLA_OPTIONAL},
	{"vcpus", SLA_INTEGER, SLA_OPTIONAL},
	{"vcpu", SLA_INTEGER, SLA_OPTIONAL},
	{"cmd", SLA_STRINGS, SLA_OPTIONAL},
	{"environment", SLA_STRINGS, SLA_OPTIONAL},
	{"volumes", SLA_ARRAY, SLA_OPTIONAL},
	{"port", SLA_STRING, SLA_OPTIONAL},
	{"addresses", SLA_OBJECT, SLA_OPTIONAL},
	{"constraints", SLA_ARRAY, SLA_OPTIONAL},
	/* weft's own */
	{"network", SLA_STRING, SLA_OPTIONAL},
	{"weight", SLA_INTEGER, SLA_OPTIONAL},
	{"runtime", SLA_STRING, SLA_OPTIONAL},
	{"user", SLA_STRING, SLA_OPTIONAL},
	{"capabilities", SLA_STRINGS, SLA_OPTIONAL},
	{"read_only", SLA_BOOL, SLA_OPTIONAL},
	{"cpu_limit", SLA_NUMBER, SLA_OPTIONAL},
	{"cpu_weight", SLA_INTEGER, SLA_OPTIONAL},
	{"pids_limit", SLA_INTEGER, SLA_OPTIONAL},
	{"log_limit", SLA_INTEGER, SLA_OPTIONAL},
	{"warm_start", SLA_BOOL, SLA_OPTIONAL},
	{"variants", SLA_ARRAY, SLA_OPTIONAL},
	{"readiness", SLA_OBJECT, SLA_OPTIONAL},
	{"liveness", SLA_OBJECT, SLA_OPTIONAL},
	{"handover", SLA_OBJECT, SLA_OPTIONAL},
	{"swap", SLA_OBJECT, SLA_OPTIONAL},
	{"replicas", SLA_INTEGER, SLA_OPTIONAL},
	{"shortcut", SLA_BOOL, SLA_OPTIONAL},
	/* Oakestra's, without effect here */
	{"microserviceID", SLA_STRING, SLA_OPTIONAL},
	{"vgpus", SLA_INTEGER, SLA_IGNORED},
	{"vgpu", SLA_INTEGER, SLA_IGNORED},
	{"vtpus", SLA_INTEGER, SLA_IGNORED},
	{"storage", SLA_INTEGER, SLA_IGNORED},
	{"bandwidth_in", SLA_INTEGER, SLA_IGNORED},
	{"bandwidth_out", SLA_INTEGER, SLA_IGNORED},
	{"one_shot", SLA_BOOL, SLA_IGNORED},
	{"privileged", SLA_BOOL, SLA_IGNORED},
	{"connectivity", SLA_ARRAY, SLA_IGNORED},
	{"state", SLA_STRING, SLA_IGNORED},
	{"added_files", SLA_STRINGS, SLA_IGNORED},
	{"args", SLA_STRINGS, SLA_IGNORED},
	{"sla_violation_strategy", SLA_STRING, SLA_IGNORED},
	{"target_node", SLA_STRING, SLA_IGNORED});

KEYS(sla_constraint_keys,
	{"type", SLA_STRING, SLA_REQUIRED},
	{"area", SLA_STRING, SLA_IGNORED},
	{"cluster", SLA_STRING, SLA_IGNORED},
	{"node", SLA_STRING, SLA_OPTIONAL},
	{"location", SLA_STRING, SLA_IGNORED},
	{"threshold", SLA_NUMBER, SLA_IGNORED},
	{"rigidness", SLA_NUMBER, SLA_IGNORED},
	{"convergence_time", SLA_INTEGER, SLA_IGNORED},
	{"needs", SLA_STRINGS, SLA_IGNORED},
	{"allowed", SLA_STRINGS, SLA_IGNORED});

KEYS(sla_swap_keys,
	{"strategy", SLA_STRING, SLA_OPTIONAL},
	{"duration_s", SLA_NUMBER, SLA_OPTIONAL},
	{"drain_s", SLA_NUMBER, SLA_OPTIONAL},
	{"hold_s", SLA_NUMBER, SLA_OPTIONAL},
	{"steps", SLA_STRING, SLA_OPTIONAL},
	{"at_a_time", SLA_INTEGER, SLA_OPTIONAL},
	{"guard", SLA_OBJECT, SLA_OPTIONAL});

KEYS(sla_guard_keys,
	{"min_requests", SLA_INTEGER, SLA_OPTIONAL},
	{"error_percent", SLA_INTEGER, SLA_OPTIONAL},
	{"latency_percent", SLA_INTEGER, SLA_OPTIONAL},
	{"probe_failures", SLA_INTEGER, SLA_OPTIONAL});

KEYS(sla_variant_keys,
	{"virtualization", SLA_STRING, SLA_REQUIRED},
	{"code", SLA_STRING, SLA_OPTIONAL},
	{"arch", SLA_STRINGS, SLA_OPTIONAL},
	{"memory", SLA_INTEGER, SLA_OPTIONAL},
	{"vcpus", SLA_INTEGER, SLA_OPTIONAL},
	{"vcpu", SLA_INTEGER, SLA_OPTIONAL},
	{"cmd", SLA_STRINGS, SLA_OPTIONAL},
	{"environment", SLA_STRINGS, SLA_OPTIONAL},
	{"volumes", SLA_ARRAY, SLA_OPTIONAL},
	{"network", SLA_STRING, SLA_OPTIONAL},
	{"weight", SLA_INTEGER, SLA_OPTIONAL},
	{"runtime", SLA_STRING, SLA_OPTIONAL},
	{"user", SLA_STRING, SLA_OPTIONAL},
	{"capabilities", SLA_STRINGS, SLA_OPTIONAL},
	{"read_only", SLA_BOOL, SLA_OPTIONAL},
	{"cpu_limit", SLA_NUMBER, SLA_OPTIONAL},
	{"cpu_weight", SLA_INTEGER, SLA_OPTIONAL},
	{"pids_limit", SLA_INTEGER, SLA_OPTIONAL},
	{"log_limit", SLA_INTEGER, SLA_OPTIONAL},
	{"warm_start", SLA_BOOL, SLA_OPTIONAL},
	{"readiness", SLA_OBJECT, SLA_OPTIONAL},
	{"liveness", SLA_OBJECT, SLA_OPTIONAL});

KEYS(sla_volume_keys,
	{"mount_path", SLA_STRING, SLA_OPTIONAL}, /* required where weft mounts it */
	{"host_path", SLA_STRING, SLA_OPTIONAL},
	{"read_only", SLA_BOOL, SLA_OPTIONAL},
	{"volume_id", SLA_STRING, SLA_IGNORED},
	{"csi_driver", SLA_STRING, SLA_OPTIONAL},
	{"config", SLA_OBJECT, SLA_IGNORED});

KEYS(sla_addresses_keys,
	{"rr_ip", SLA_STRING, SLA_OPTIONAL},
	{"rr_ip_v6", SLA_STRING, SLA_OPTIONAL},
	{"wrr_ip", SLA_STRING, SLA_OPTIONAL},
	{"wrr_ip_v6", SLA_STRING, SLA_OPTIONAL},
	{"underutilized_ip", SLA_STRING, SLA_OPTIONAL},
	{"underutilized_ip_v6", SLA_STRING, SLA_OPTIONAL},
	{"closest_ip", SLA_STRING, SLA_OPTIONAL},
	{"closest_ip_v6", SLA_STRING, SLA_OPTIONAL},
	{"instances", SLA_ARRAY, SLA_IGNORED});

KEYS(sla_readiness_keys,
	{"type", SLA_STRING, SLA_REQUIRED},
	{"port", SLA_INTEGER, SLA_OPTIONAL},
	{"path", SLA_STRING, SLA_OPTIONAL},
	{"command", SLA_STRINGS, SLA_OPTIONAL},
	{"timeout_s", SLA_INTEGER, SLA_OPTIONAL});

KEYS(sla_handover_keys,
	{"type", SLA_STRING, SLA_REQUIRED},
	{"port", SLA_INTEGER, SLA_OPTIONAL},
	{"command", SLA_STRINGS, SLA_OPTIONAL},
	{"timeout_s", SLA_INTEGER, SLA_OPTIONAL});

KEYS(sla_liveness_keys,
	{"type", SLA_STRING, SLA_REQUIRED},
	{"port", SLA_INTEGER, SLA_OPTIONAL},
	{"path", SLA_STRING, SLA_OPTIONAL},
	{"command", SLA_STRINGS, SLA_OPTIONAL},
	{"timeout_s", SLA_INTEGER, SLA_OPTIONAL},
	{"interval_s", SLA_NUMBER, SLA_OPTIONAL},
	{"failures", SLA_INTEGER, SLA_OPTIONAL});
/* clang-format on */
