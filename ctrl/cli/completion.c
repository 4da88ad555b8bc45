/* SPDX-License-Identifier: Apache-2.0 */
/* Completion for bash, out of the tables of commands and flags. */
#include <string.h>

#include "ctrl/cli/cli.h"

/* What goes before the commands' part: values of flags, and the words so far without flags. */
static const char head[] =
	"# bash completion for weft: eval \"$(weft completion)\"\n"
	"_weft_names() { weft \"$1\" list -o name --timeout 2 2>/dev/null; }\n"
	"_weft() {\n"
	"\tlocal cur=${COMP_WORDS[COMP_CWORD]} i w\n"
	"\tlocal line='' flags='' names='' words=''\n"
	"\tCOMPREPLY=()\n"
	"\tcase ${COMP_WORDS[COMP_CWORD - 1]} in\n"
	"\t--to) words='container gvisor unikernel native' ;;\n"
	"\t--strategy) words='linear exponential at-once canary blue-green' ;;\n"
	"\t-o | --output) words='table wide json name' ;;\n"
	"\t--color) words='auto always never' ;;\n"
	"\t--service) words=$(_weft_names service) ;;\n"
	"\t--instance) words=$(_weft_names instance) ;;\n"
	"\t--peer) words=$(_weft_names peer) ;;\n"
	"\t--role) words='read operate admin' ;;\n"
	"\t--format) words='vxlan raw' ;;\n"
	"\t-f | --file | --netns | --ca | --token-file) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") && return ;;\n"
	"\tesac\n"
	"\tif [ -n \"$words\" ]; then\n"
	"\t\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
	"\t\treturn\n"
	"\tfi\n"
	"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	"\t\tcase ${COMP_WORDS[i]} in\n"
	"\t-*) [[ \" $_weft_valued \" != *\" ${COMP_WORDS[i]} \"* ]] || i=$((i + 1)) ;;\n"
	"\t*) line+=\"${COMP_WORDS[i]} \" ;;\n"
	"\tesac\n"
	"\tdone\n"
	"\tcase $line in\n";

/* And behind it: the next words of the commands that begin so, then names or flags. */
static const char tail[] =
	"\tesac\n"
	"\twhile read -r w; do\n"
	"\t\t[[ $w != \"$line\"* ]] || { w=${w#\"$line\"} && words+=\"${w%% *} \"; }\n"
	"\tdone <<<\"$_weft_commands\"\n"
	"\tfor w in $names; do words+=\"$(_weft_names \"$w\") \"; done\n"
	"\t[[ $cur != -* ]] || words=\"$flags $_weft_flags\"\n"
	"\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\" | sort -u)\n"
	"}\n"
	"complete -F _weft weft\n";

/* What a command's arguments are names of, one or more kinds, or "". */
static const char *names_of(const struct cli_command *c)
{
	static const struct {
		const char *words, *args, *noun;
	} table[] = {
		{"", "SERVICE", "service"},
		{"service ", "NAME", "service"},
		{"instance attach", "NAME", ""},
		{"instance logs", "ID", "instance service"},
		{"instance ", "ID", "instance"},
		{"instance ", "NAME", "instance"},
		{"logs", "ID", "instance service"},
		{"swap ", "ID", "swap"},
		{"peer add", "NAME", ""},
		{"peer ", "NAME", "peer"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strncmp(c->words, table[i].words, strlen(table[i].words)) == 0 &&
			strncmp(c->args, table[i].args, strlen(table[i].args)) == 0)
			return table[i].noun;
	return "";
}

int cli_cmd_completion(struct cli *cli, struct weft_err *err)
{
	FILE *f = cli->io.out;

	(void)err;
	fputs("_weft_commands='", f);
	for (const struct cli_command *c = cli_commands; c->words; c++)
		fprintf(f, "%s%s", c == cli_commands ? "" : "\n", c->words);
	fputs("'\n_weft_flags='", f);
	cli_flag_names(f, NULL);
	fputs("'\n_weft_valued='", f);
	cli_valued_flags(f);
	fprintf(f, "'\n%s", head);
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		fprintf(f, "\t'%s '*) names='%s' flags='", c->words, names_of(c));
		cli_flag_names(f, c);
		fputs("' ;;\n", f);
	}
	fputs(tail, f);
	return 0;
}
