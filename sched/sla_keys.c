/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of a descriptor, by the object they are in. */
#include "ctrl/base/util.h"
#include "sched/sla_internal.h"

/* clang-format off */
#define KEYS(name, ...) \
	static const struct sla_key name##_list[] = {__VA_ARGS__}; \
	const struct sla_keys name = {name##_list, ARRAY_SIZE(name##_list)}

KEYS(sla_root_keys,
	{"sla_version", SLA_STRING, true},
	{"customerID", SLA_STRING, true},
	{"applications", SLA_ARRAY, true},
	{"args", SLA_STRINGS, false});

KEYS(sla_application_keys,
	{"application_name", SLA_STRING, true},
	{"application_namespace", SLA_STRING, true},
	{"microservices", SLA_ARRAY, true},
	{"applicationID", SLA_STRING, false},
	{"application_desc", SLA_STRING, false});

KEYS(sla_microservice_keys,
	{"microservice_name", SLA_STRING, true},
	{"microservice_namespace", SLA_STRING, true},
	{"virtualization", SLA_STRING, true},
	{"code", SLA_STRING, false}, /* required by the variants' rules */
	{"arch", SLA_STRINGS, false},
	{"memory", SLA_INTEGER, false},
	{"vcpus", SLA_INTEGER, false},
	{"vcpu", SLA_INTEGER, false},
	{"cmd", SLA_STRINGS, false},
	{"environment", SLA_STRINGS, false},
	{"volumes", SLA_ARRAY, false},
	{"port", SLA_STRING, false},
	{"addresses", SLA_OBJECT, false},
	{"constraints", SLA_ARRAY, false},
	/* weft's own */
	{"network", SLA_STRING, false},
	{"weight", SLA_INTEGER, false},
	{"runtime", SLA_STRING, false},
	{"user", SLA_STRING, false},
	{"capabilities", SLA_STRINGS, false},
	{"read_only", SLA_BOOL, false},
	{"cpu_limit", SLA_NUMBER, false},
	{"cpu_weight", SLA_INTEGER, false},
	{"pids_limit", SLA_INTEGER, false},
	{"log_limit", SLA_INTEGER, false},
	{"warm_start", SLA_BOOL, false},
	{"variants", SLA_ARRAY, false},
	{"readiness", SLA_OBJECT, false},
	{"liveness", SLA_OBJECT, false},
	{"handover", SLA_OBJECT, false},
	{"swap", SLA_OBJECT, false},
	{"replicas", SLA_INTEGER, false},
	{"shortcut", SLA_BOOL, false},
	/* Oakestra's, without effect here */
	{"microserviceID", SLA_STRING, false},
	{"vgpus", SLA_INTEGER, false},
	{"vgpu", SLA_INTEGER, false},
	{"vtpus", SLA_INTEGER, false},
	{"storage", SLA_INTEGER, false},
	{"bandwidth_in", SLA_INTEGER, false},
	{"bandwidth_out", SLA_INTEGER, false},
	{"one_shot", SLA_BOOL, false},
	{"privileged", SLA_BOOL, false},
	{"connectivity", SLA_ARRAY, false},
	{"state", SLA_STRING, false},
	{"added_files", SLA_STRINGS, false},
	{"args", SLA_STRINGS, false},
	{"sla_violation_strategy", SLA_STRING, false},
	{"target_node", SLA_STRING, false});

KEYS(sla_constraint_keys,
	{"type", SLA_STRING, true},
	{"area", SLA_STRING, false},
	{"cluster", SLA_STRING, false},
	{"node", SLA_STRING, false},
	{"location", SLA_STRING, false},
	{"threshold", SLA_NUMBER, false},
	{"rigidness", SLA_NUMBER, false},
	{"convergence_time", SLA_INTEGER, false},
	{"needs", SLA_STRINGS, false},
	{"allowed", SLA_STRINGS, false});

KEYS(sla_swap_keys,
	{"strategy", SLA_STRING, false},
	{"duration_s", SLA_NUMBER, false},
	{"drain_s", SLA_NUMBER, false},
	{"hold_s", SLA_NUMBER, false},
	{"steps", SLA_STRING, false},
	{"at_a_time", SLA_INTEGER, false},
	{"guard", SLA_OBJECT, false});

KEYS(sla_guard_keys,
	{"min_requests", SLA_INTEGER, false},
	{"error_percent", SLA_INTEGER, false},
	{"latency_percent", SLA_INTEGER, false},
	{"probe_failures", SLA_INTEGER, false});

KEYS(sla_variant_keys,
	{"virtualization", SLA_STRING, true},
	{"code", SLA_STRING, false},
	{"arch", SLA_STRINGS, false},
	{"memory", SLA_INTEGER, false},
	{"vcpus", SLA_INTEGER, false},
	{"vcpu", SLA_INTEGER, false},
	{"cmd", SLA_STRINGS, false},
	{"environment", SLA_STRINGS, false},
	{"volumes", SLA_ARRAY, false},
	{"network", SLA_STRING, false},
	{"weight", SLA_INTEGER, false},
	{"runtime", SLA_STRING, false},
	{"user", SLA_STRING, false},
	{"capabilities", SLA_STRINGS, false},
	{"read_only", SLA_BOOL, false},
	{"cpu_limit", SLA_NUMBER, false},
	{"cpu_weight", SLA_INTEGER, false},
	{"pids_limit", SLA_INTEGER, false},
	{"log_limit", SLA_INTEGER, false},
	{"warm_start", SLA_BOOL, false},
	{"readiness", SLA_OBJECT, false},
	{"liveness", SLA_OBJECT, false});

KEYS(sla_volume_keys,
	{"mount_path", SLA_STRING, false}, /* required where weft mounts it */
	{"host_path", SLA_STRING, false},
	{"read_only", SLA_BOOL, false},
	{"volume_id", SLA_STRING, false},
	{"csi_driver", SLA_STRING, false},
	{"config", SLA_OBJECT, false});

KEYS(sla_addresses_keys,
	{"rr_ip", SLA_STRING, false},
	{"rr_ip_v6", SLA_STRING, false},
	{"wrr_ip", SLA_STRING, false},
	{"wrr_ip_v6", SLA_STRING, false},
	{"underutilized_ip", SLA_STRING, false},
	{"underutilized_ip_v6", SLA_STRING, false},
	{"closest_ip", SLA_STRING, false},
	{"closest_ip_v6", SLA_STRING, false},
	{"instances", SLA_ARRAY, false});

KEYS(sla_readiness_keys,
	{"type", SLA_STRING, true},
	{"port", SLA_INTEGER, false},
	{"path", SLA_STRING, false},
	{"command", SLA_STRINGS, false},
	{"timeout_s", SLA_INTEGER, false});

KEYS(sla_handover_keys,
	{"type", SLA_STRING, true},
	{"port", SLA_INTEGER, false},
	{"command", SLA_STRINGS, false},
	{"timeout_s", SLA_INTEGER, false});

KEYS(sla_liveness_keys,
	{"type", SLA_STRING, true},
	{"port", SLA_INTEGER, false},
	{"path", SLA_STRING, false},
	{"command", SLA_STRINGS, false},
	{"timeout_s", SLA_INTEGER, false},
	{"interval_s", SLA_NUMBER, false},
	{"failures", SLA_INTEGER, false});
/* clang-format on */
