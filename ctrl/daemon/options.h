/* SPDX-License-Identifier: Apache-2.0 */
/* weftd's settings: defaults, over them the configuration file, over that the command line. */
#ifndef WEFT_DAEMON_OPTIONS_H
#define WEFT_DAEMON_OPTIONS_H

#include <limits.h>
#include <stdbool.h>

#include "ctrl/api/server.h"
#include "ctrl/engine/engine.h"

#define OPTIONS_MAX    32
#define CONFIG_DEFAULT "/etc/weft/weftd.conf"

struct options {
	struct weft_engine_config engine;
	struct weft_api_config api;
	int log_level; /* syslog's */
	const char *config;
	bool purge, check_config, print_config;
	const char *value[OPTIONS_MAX]; /* each setting as it was given; NULL: none */
	char *owned[OPTIONS_MAX];       /* values out of the file */
	char node[256], libexec[PATH_MAX];
};

/* 0: go on; 1: help or version was printed; negative errno with err filled. Values point into argv
 * and into ret, which must stay where it is; to be freed when the return is 0. */
int options_parse(int argc, char **argv, struct options *ret, struct weft_err *err);
void options_free(struct options *o);

/* The settings in force, as a configuration file. */
int options_print(const struct options *o);
/* Take over from fresh what can be changed while running, and warn about the rest. */
void options_reload(struct options *now, const struct options *fresh);

/* For the file: the setting that a key names (-ENOENT), and its value, which must outlive o; label
 * is what errors call it. */
int options_setting(const char *key);
int options_set(
	struct options *o, int setting, const char *label, const char *value, struct weft_err *err);

/* options_net.c */
typedef int options_network_t(
	const char *option, const char *text, struct weft_engine_config *c, struct weft_err *err);
options_network_t options_subnet, options_subnet6, options_instances, options_uplink,
	options_tunnel_port, options_xdp;

#endif
