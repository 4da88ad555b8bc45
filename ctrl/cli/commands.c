/* SPDX-License-Identifier: Apache-2.0 */
/* The commands. Help, the search for a command and the check of its arguments follow this table. */
#include "ctrl/cli/cli.h"

#define SHOWN CLI_OPT_WATCH

const struct cli_command cli_commands[] = {
	{"status", "", 0, 0, SHOWN, cli_cmd_status, "the daemon, its runtimes and the data plane",
		"Bare weft is weft status."},
	{"doctor", "", 0, 0, 0, cli_cmd_doctor, "what works here, what does not, and what to do",
		"Asks weftd; when it cannot be reached, looks at what weftd would need on this "
		"machine."},
	{"apply", "", 0, 0, CLI_OPT_FILE | CLI_OPT_WAIT | CLI_OPT_VERSION, cli_cmd_apply,
		"create or update the services of a descriptor",
		"An error comes with its place: FILE:LINE:COL. --wait returns when every service "
		"runs or has\nfailed, after 5 minutes at the latest unless --timeout "
		"says otherwise."},
	{"diff", "", 0, 0, CLI_OPT_FILE, cli_cmd_diff, "what apply would change",
		"Ends with 0 when that is nothing, with 1 when it is something, with 2 or more when "
		"it cannot\nbe said. Its last line is how to apply that and nothing else: refused "
		"if somebody else\nwas faster."},
	{"delete", "", 0, 0, CLI_OPT_FILE | CLI_OPT_WAIT | CLI_OPT_VERSION, cli_cmd_delete,
		"remove the services of a descriptor", NULL},
	{"service list", "", 0, 0, SHOWN, cli_cmd_service_list, "services", NULL},
	{"service show", "NAME", 1, 1, SHOWN, cli_cmd_service_show, "one service and its variants",
		NULL},
	{"service set", "NAME shortcut=on|off", 2, 2, CLI_OPT_VERSION, cli_cmd_service_set,
		"change a running service",
		"shortcut: TCP between containers and native processes of this node goes from "
		"socket to socket.\nWhat is set holds until a changed descriptor is applied."},
	{"service delete", "NAME...", 1, 1000, CLI_OPT_WAIT | CLI_OPT_VERSION,
		cli_cmd_service_delete, "remove services and their instances", NULL},
	{"service scale", "NAME N", 2, 2, CLI_OPT_VERSION, cli_cmd_service_scale,
		"have so many instances of a service",
		"Those that are too many are drained first. The number is kept, until the "
		"descriptor is applied\nwith another."},
	{"service weights", "NAME [INSTANCE=N...]", 1, 1000, CLI_OPT_RESET | CLI_OPT_VERSION,
		cli_cmd_service_weights, "show or set the shares of new flows",
		"An instance is named by its name or its number; one that is not named gets none. "
		"The shares\nstay until --reset gives them back, or a swap is done."},
	{"instance list", "", 0, 0, SHOWN, cli_cmd_instance_list, "instances", NULL},
	{"instance show", "ID", 1, 1, SHOWN, cli_cmd_instance_show, "one instance", NULL},
	{"instance logs", "ID|SERVICE", 1, 1, CLI_OPT_TAIL | CLI_OPT_FOLLOW, cli_cmd_instance_logs,
		"what an instance, or those of a service, wrote to the console",
		"Of several instances each line begins with its instance's name. -f, --follow goes on: "
		"over\nrotation of the log, and when the instance has ended, with the next one of its "
		"service; of a\nservice, with all and those to come."},
	{"instance pause", "ID...", 1, 1000, 0, cli_cmd_instance_pause,
		"have instances stand still; they get no new flows", NULL},
	{"instance resume", "ID...", 1, 1000, 0, cli_cmd_instance_resume,
		"have paused instances go on", NULL},
	{"instance exec", "ID -- COMMAND [ARG...]", 2, 257, 0, cli_cmd_instance_exec,
		"run a command in an instance",
		"Prints what it wrote, at most 64 KiB, and ends with its status. It is killed "
		"after 30 s, or\nafter --timeout."},
	{"instance attach", "NAME", 1, 1, CLI_OPT_SERVICE | CLI_OPT_ATTACH, cli_cmd_instance_attach,
		"bring an interface into the overlay that weft did not make",
		"Another engine's container by the host side of its veth or by its namespace, a "
		"virtual machine\nby its tap or macvtap. With --service it is one of its "
		"backends, without a client. Nothing\nof the interface is changed."},
	{"instance detach", "NAME", 1, 1, 0, cli_cmd_instance_detach,
		"take an attached interface out again", NULL},
	{"logs", "ID|SERVICE", 1, 1, CLI_OPT_TAIL | CLI_OPT_FOLLOW, cli_cmd_instance_logs,
		"the same as instance logs", "Also -f for --follow."},
	{"top", "", 0, 0, CLI_OPT_SERVICE, cli_cmd_top, "services and instances at work, live",
		"Every two seconds until ^C: requests, CPU, memory, latency, weights. -o json is one "
		"look."},
	{"peer list", "", 0, 0, SHOWN, cli_cmd_peer_list, "other nodes, and the way to each", NULL},
	{"peer show", "NAME", 1, 1, SHOWN, cli_cmd_peer_show, "another node, and the way to it",
		NULL},
	{"peer add", "NAME", 1, 1, CLI_OPT_PEER, cli_cmd_peer_add,
		"make another node known, or change it",
		"weftd needs an uplink to reach it, and each node a subnet and a range of "
		"instances' addresses\nof its own. What it runs is told by weft peer import."},
	{"peer remove", "NAME", 1, 1, 0, cli_cmd_peer_remove,
		"forget another node, and its instances", NULL},
	{"peer export", "", 0, 0, 0, cli_cmd_peer_export,
		"what other nodes have to know of this one's instances", NULL},
	{"peer import", "NAME", 1, 1, CLI_OPT_FILE, cli_cmd_peer_import,
		"know a peer's instances: what it exports",
		"They replace those known before, are backends of the services of the same name "
		"here, and may\ncall this node's."},
	{"swap start", "SERVICE", 1, 1, CLI_OPT_TO | CLI_OPT_WATCH | CLI_OPT_WAIT,
		cli_cmd_swap_start, "move a running service to another virtualization",
		"--watch shows its progress, --wait only returns when it has ended: with 0 when "
		"done, "
		"1 when it\nwas rolled back. ^C detaches, the swap goes on."},
	{"swap list", "", 0, 0, SHOWN, cli_cmd_swap_list, "swaps, the newest first", NULL},
	{"swap show", "ID", 1, 1, 0, cli_cmd_swap_show, "one swap and its phases", NULL},
	{"swap watch", "ID", 1, 1, CLI_OPT_WATCH | CLI_OPT_WAIT, cli_cmd_swap_watch,
		"follow a swap until it ends", "Ends with 0 when done, 1 when rolled back."},
	{"swap abort", "ID", 1, 1, CLI_OPT_WAIT, cli_cmd_swap_abort,
		"turn a swap back: all traffic to the old instances", NULL},
	{"swap pause", "ID", 1, 1, 0, cli_cmd_swap_pause, "have a swap stay at its present shares",
		NULL},
	{"swap resume", "ID", 1, 1, 0, cli_cmd_swap_resume, "go on with a paused swap", NULL},
	{"swap rollback", "ID", 1, 1, CLI_OPT_WAIT | CLI_OPT_WATCH, cli_cmd_swap_rollback,
		"turn a running swap back, or swap back at once when it is done", NULL},
	{"image list", "", 0, 0, SHOWN, cli_cmd_image_list,
		"images on the node, and who wants them", NULL},
	{"image pull", "IMAGE [VIRTUALIZATION]", 1, 2, 0, cli_cmd_image_pull,
		"have an image ready before it is needed",
		"IMAGE is what a descriptor's `code` says. For a container unless it says "
		"unikernel."},
	{"image remove", "IMAGE...", 1, 1000, 0, cli_cmd_image_remove,
		"remove images that nobody wants",
		"By name, or by digest or the first six digits of it at least."},
	{"image prune", "", 0, 0, 0, cli_cmd_image_prune,
		"remove all images that no service names and no instance runs from",
		"weftd does so by itself a day after the last use."},
	{"events", "", 0, 0, SHOWN | CLI_OPT_SINCE, cli_cmd_events,
		"what has happened: services, instances, swaps, weights",
		"--watch goes on as it happens. The times are made to be laid over a measurement: "
		"-o json has\nthem in microseconds, of the wall clock and of CLOCK_MONOTONIC."},
	{"dp lb list", "", 0, 0, SHOWN | CLI_OPT_SERVICE, cli_cmd_dp_lb,
		"load balancer: each service's backends", NULL},
	{"dp flows list", "", 0, 0, SHOWN | CLI_OPT_SERVICE | CLI_OPT_FLOWS, cli_cmd_dp_flows,
		"the flow table",
		"A page of it, and how many there are in all. --instance host: of the node itself."},
	{"dp drops list", "", 0, 0, SHOWN | CLI_OPT_ALL, cli_cmd_dp_drops,
		"dropped packets by reason", "Reasons that have counted nothing are left out."},
	{"dp stats list", "", 0, 0, SHOWN | CLI_OPT_SERVICE, cli_cmd_dp_stats,
		"packets and bytes by service and "
		"instance",
		NULL},
	{"trace", "SERVICE", 1, 1, CLI_OPT_DURATION | SHOWN, cli_cmd_trace,
		"which hop of a service's packets takes how long",
		"For 10 seconds unless --duration says otherwise; ^C and --timeout end it and show "
		"what there\nis. --watch shows it every second, -o wide every way that packets took."},
	{"completion", "", 0, 0, 0, cli_cmd_completion, "bash completion of weft's command line",
		"eval \"$(weft completion)\", or put it where bash-completion looks."},
	{"token new", "NAME", 1, 1, CLI_OPT_ROLE, cli_cmd_token_new,
		"make a token for the API over TLS",
		"Prints the token, and on a second line its entry for weftd's file of tokens, which "
		"has\nno secret in it. Asks no daemon."},
	{"help", "[COMMAND]", 0, 3, 0, cli_cmd_help, "this, or what a command does", NULL},
	{0},
};
